package policy_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/policy"
)

func strict(t testing.TB) *policy.Policy {
	t.Helper()
	return newPolicy(t, policy.Config{
		Strict: true,
		Scopes: []string{"mcp"},
		Rules: []policy.Rule{
			{Tool: "read"},
			{Tool: "save", Scopes: []string{"write"}},
			{Tool: "list_*"},
			{Tool: "list_all", Deny: true},
			{Prompt: "hello"},
			{Resource: "notes://public"},
			{Resource: "file:///pub/*"},
			{Resource: "file:///pub/private/*", Scopes: []string{"private"}},
		},
	})
}

func TestStrictDeniesWhatNoRuleNames(t *testing.T) {
	p := strict(t)
	all := user(t, "mcp", "write", "private")
	for _, test := range []struct {
		op      policy.Operation
		allowed bool
	}{
		{tool("read"), true},
		{tool("save"), true},
		{tool("list_notes"), true},
		{tool("list_all"), false},
		{tool("drop"), false},
		{tool("hello"), false},
		{tool("Read"), false},
		{tool("read "), false},
		{tool(""), false},
		{prompt("hello"), true},
		{prompt("read"), false},
		{policy.Operation{Kind: "other", Name: "read"}, false},

		{resource("notes://public"), true},
		{resource("notes://public?page=2"), true},
		{resource("notes://public#top"), true},
		{resource("notes://public?page=2#top"), true},
		{resource("notes://secret"), false},
		{resource("notes://public/more"), false},
		{resource("file:///pub/a"), true},
		{resource("file:///pub/a%20b"), true},
		{resource("file:///pub/private/a"), true},
		{resource("file:///pub/{name}"), true}, // a template, in a list
		{resource("file:///etc/passwd"), false},
		{resource(""), false},
		// What a server could read as a URI that no rule names.
		{resource("file:///pub/../etc/passwd"), false},
		{resource("file:///pub/%2e%2e/etc/passwd"), false},
		{resource("file:///pub/%252e%252e/etc/passwd"), false},
		{resource(`file:///pub\..\etc\passwd`), false},
		{resource("file:///etc/../pub/a"), false},
		{resource("file:///etc/%2e%2e/pub/a"), false},
		{resource("file:///%70ub/a"), false},
		{resource("FILE:///pub/a"), false},
		{resource("file:///etc/passwd?file:///pub/a"), false},
		{resource("file:///etc/passwd#/pub/a"), false},
		{resource("notes://secret?notes://public"), false},
		{resource("notes://public\x00"), false},
		{resource("file:///pub/" + strings.Repeat("%2e", 8<<10)), false},
	} {
		err := p.Check(all, []policy.Operation{test.op})
		if test.allowed && err != nil || !test.allowed && !errors.Is(err, mcpauth.ErrForbidden) {
			t.Errorf("%.60v: %v, want allowed: %v", test.op, err, test.allowed)
		}
		if got := p.Denied(test.op); got == test.allowed {
			t.Errorf("%.60v: Denied = %v", test.op, got)
		}
		if got := p.Allows(all, test.op); got != test.allowed {
			t.Errorf("%.60v: Allows = %v", test.op, got)
		}
	}
	if err := p.Check(all, nil); err != nil {
		t.Errorf("a request without operations: %v", err)
	}
	if err := p.Check(all, []policy.Operation{tool("read"), tool("drop"), tool("save")}); !errors.Is(err, mcpauth.ErrForbidden) {
		t.Errorf("among others: %v", err)
	} else if want := `user "alice" of "https://issuer.example" asks for a tool that no rule names, which Strict denies to everybody`; err.Cause.Error() != want {
		t.Errorf("cause %q, want %q", err.Cause, want)
	}
}

// What a rule names still needs the scopes of all rules that match.
func TestStrictAsksForScopesAsBefore(t *testing.T) {
	p := strict(t)
	for _, test := range []struct {
		scopes string
		op     policy.Operation
		want   string
	}{
		{"mcp", tool("read"), ""},
		{"other", tool("read"), "mcp"},
		{"mcp", tool("save"), "mcp write"},
		{"mcp", resource("file:///pub/private/a"), "mcp private"},
		{"mcp", resource("file:///pub/%70rivate/a"), "mcp private"},
	} {
		err := p.Check(user(t, test.scopes), []policy.Operation{test.op})
		got := ""
		if err != nil {
			got = strings.Join(err.Scopes, " ")
		}
		if got != test.want || err != nil && err.Code != mcpauth.ErrInsufficientScope {
			t.Errorf("%v with %q: %v, scopes %q; want %q", test.op, test.scopes, err, got, test.want)
		}
	}
}

func TestStrictWithoutRulesDeniesEverything(t *testing.T) {
	p := newPolicy(t, policy.Config{Strict: true})
	for _, op := range []policy.Operation{tool("a"), prompt("a"), resource("a://b")} {
		if err := p.Check(user(t), []policy.Operation{op}); !errors.Is(err, mcpauth.ErrForbidden) || !p.Denied(op) {
			t.Errorf("%v: %v", op, err)
		}
	}
}

func TestStrictAllocatesNothingForWhatPasses(t *testing.T) {
	p, id := strict(t), user(t, "mcp")
	operations := []policy.Operation{tool("read"), tool("list_notes"), prompt("hello"), resource("notes://public")}
	if n := testing.AllocsPerRun(1000, func() {
		if p.Check(id, operations) != nil {
			t.Error("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestUnlisted(t *testing.T) {
	p := newPolicy(t, policy.Config{Strict: true, Rules: []policy.Rule{
		0:  {Tool: "add"},
		1:  {Tool: "ad"},
		2:  {Tool: "ad*"},
		3:  {Tool: "nothing_*"},
		4:  {Prompt: "add"},
		5:  {Prompt: "hello"},
		6:  {Resource: "notes://one"},
		7:  {Resource: "NOTES://Two/"},
		8:  {Resource: "notes://three"},
		9:  {Resource: "file:///pub/a"},
		10: {Resource: "file:///etc/passwd"},
		11: {Resource: "users://7/photo"},
		12: {Resource: "users://7/mail"},
		13: {Tool: "add"},
		14: {Resource: "*"},
	}})
	listed := []policy.Operation{
		tool("add"), tool("subtract"), prompt("hello"), resource("notes://one"), resource("notes://two"),
		resource("file:///pub/{+path}"), resource("users://{id}/photo{?size}"), resource("broken://{"),
	}
	if got, want := p.Unlisted(listed), []int{1, 4, 8, 10, 12}; !slices.Equal(got, want) {
		t.Errorf("Unlisted = %v, want %v", got, want)
	}
	if got, want := p.Unlisted(nil), []int{0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}; !slices.Equal(got, want) {
		t.Errorf("Unlisted of nothing = %v, want %v", got, want)
	}
}
