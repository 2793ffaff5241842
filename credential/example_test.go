package credential_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/credential"
)

// vault is a source of one's own: whatever knows the users' credentials.
type vault map[string]string

func (v vault) Fetch(_ context.Context, id *mcpauth.Identity, resourceType string) (*mcpauth.Credential, error) {
	if v == nil {
		return nil, credential.Transient(errors.New("the vault is sealed"), 0)
	}
	secret, ok := v[id.Issuer()+" "+id.UserID()+" "+resourceType]
	if !ok {
		return nil, nil // not connected
	}
	return &mcpauth.Credential{Token: mcpauth.NewSecret(secret)}, nil
}

func Example() {
	resolver, err := credential.New(credential.Config{
		Source: vault{"https://issuer.example.com alice github": "gho_0123456789"},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resolver.Close()
	for _, name := range []string{"alice", "bob"} {
		id, err := mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: "https://issuer.example.com", UserID: name})
		if err != nil {
			fmt.Println(err)
			return
		}
		found, err := resolver.Resolve(context.Background(), id, "github")
		fmt.Println(name, found != nil, err)
	}
	// Output:
	// alice true <nil>
	// bob false <nil>
}

func ExampleChain() {
	source := credential.Chain(
		vault{"https://issuer.example.com alice github": "of alice"},
		vault{"https://issuer.example.com bob github": "of bob"},
	)
	id, err := mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: "https://issuer.example.com", UserID: "bob"})
	if err != nil {
		fmt.Println(err)
		return
	}
	found, err := source.Fetch(context.Background(), id, "github")
	fmt.Println(found.Token.Reveal(), err)
	// An outage is no reason to take another's place.
	found, err = credential.Chain(vault(nil), source).Fetch(context.Background(), id, "github")
	fmt.Println(found, err)
	// Output:
	// of bob <nil>
	// <nil> the vault is sealed
}

func ExampleResolver_Invalidate() {
	accounts := vault{}
	resolver, err := credential.New(credential.Config{Source: accounts})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resolver.Close()
	id, err := mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: "https://issuer.example.com", UserID: "alice"})
	if err != nil {
		fmt.Println(err)
		return
	}
	connected := func() bool {
		found, err := resolver.Resolve(context.Background(), id, "github")
		return found != nil && err == nil
	}
	fmt.Println(connected())
	accounts["https://issuer.example.com alice github"] = "gho_0123456789" // as the user connects an account
	fmt.Println(resolver.Invalidate("https://issuer.example.com", "alice", "github"), connected())
	// Output:
	// false
	// 1 true
}
