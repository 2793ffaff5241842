package policy_test

import (
	"fmt"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/policy"
)

func ExamplePolicy_Check() {
	p, err := policy.New(policy.Config{
		Scopes: []string{"mcp"},
		Rules: []policy.Rule{
			{Tool: "delete_*", Scopes: []string{"notes:write"}},
			{Resource: "file:///etc/*", Deny: true},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	id, err := mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: "https://issuer.example.com", UserID: "alice", Scopes: []string{"mcp"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, op := range []policy.Operation{
		{Kind: policy.Tool, Name: "list_notes"},
		{Kind: policy.Tool, Name: "delete_note"},
		{Kind: policy.Resource, Name: "file:///tmp/../etc/passwd"},
	} {
		if refusal := p.Check(id, []policy.Operation{op}); refusal != nil {
			fmt.Println(op.Name, "is", refusal.Code, refusal.Scopes)
		} else {
			fmt.Println(op.Name, "is allowed")
		}
	}
	// Output:
	// list_notes is allowed
	// delete_note is insufficient_scope [mcp notes:write]
	// file:///tmp/../etc/passwd is forbidden []
}
