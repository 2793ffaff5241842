package policy_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/policy"
)

func newPolicy(t testing.TB, c policy.Config) *policy.Policy {
	t.Helper()
	p, err := policy.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func user(t testing.TB, scopes ...string) *mcpauth.Identity {
	t.Helper()
	id, err := mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: "https://issuer.example", UserID: "alice", Scopes: scopes})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func tool(name string) policy.Operation   { return policy.Operation{Kind: policy.Tool, Name: name} }
func prompt(name string) policy.Operation { return policy.Operation{Kind: policy.Prompt, Name: name} }
func resource(name string) policy.Operation {
	return policy.Operation{Kind: policy.Resource, Name: name}
}

func TestCheck(t *testing.T) {
	p := newPolicy(t, policy.Config{
		Scopes: []string{"mcp"},
		Rules: []policy.Rule{
			{Tool: "save", Scopes: []string{"write"}},
			{Tool: "sa*", Scopes: []string{"notes", "write"}},
			{Tool: "drop_*", Deny: true},
			{Prompt: "save", Scopes: []string{"prompts"}},
			{Resource: "notes://*", Scopes: []string{"read"}},
			{Resource: "notes://secret/*", Scopes: []string{"secret"}},
			{Tool: "drop_table", Scopes: []string{"dba"}},
		},
		Hierarchy: mcpauth.Hierarchy{"admin": {"write", "secret"}, "write": {"read", "notes"}, "read": {"write"}},
	})
	type operations []policy.Operation
	for _, test := range []struct {
		name       string
		granted    string
		operations operations
		code       mcpauth.Code
		scopes     string
		cause      string
	}{
		{"no operation needs what every request needs", "mcp", nil, "", "", ""},
		{"no scope at all", "", nil, mcpauth.ErrInsufficientScope, "mcp",
			`user "alice" of "https://issuer.example" lacks "mcp", which every request needs`},
		{"an operation without a rule", "mcp", operations{tool("list")}, "", "", ""},
		{"all rules that match add up", "mcp write notes", operations{tool("save")}, "", "", ""},
		{"one of two scopes is not enough", "mcp notes", operations{tool("save")}, mcpauth.ErrInsufficientScope, "mcp write notes",
			`user "alice" of "https://issuer.example" lacks "write", which tool "save" by Rules[0] needs`},
		{"the pattern alone", "mcp", operations{tool("sand")}, mcpauth.ErrInsufficientScope, "mcp notes write",
			"user \"alice\" of \"https://issuer.example\" lacks \"notes\", which tool \"sand\" by Rules[1] needs\nlacks \"write\", which tool \"sand\" by Rules[1] needs"},
		{"a prompt is no tool of that name", "mcp prompts", operations{prompt("save")}, "", "", ""},
		{"a tool is no prompt of that name", "mcp prompts", operations{tool("save")}, mcpauth.ErrInsufficientScope, "mcp write notes", ""},
		{"letter case counts in names", "mcp", operations{tool("SAVE")}, "", "", ""},
		{"denied whatever the scopes", "mcp admin", operations{tool("drop_all")}, mcpauth.ErrForbidden, "",
			`user "alice" of "https://issuer.example" asks for tool "drop_all", which Rules[2] denies to everybody`},
		{"denied though another rule has scopes", "mcp dba", operations{tool("drop_table")}, mcpauth.ErrForbidden, "", ""},
		{"denied rather than asked for scopes that would not help", "", operations{tool("save"), tool("drop_table")}, mcpauth.ErrForbidden, "", ""},
		{"every operation of a batch counts", "mcp read", operations{resource("notes://1"), resource("notes://secret/1")}, mcpauth.ErrInsufficientScope, "mcp read secret",
			`user "alice" of "https://issuer.example" lacks "secret", which resource "notes://secret/1" by Rules[5] needs`},
		{"a batch asks for its scopes at once", "", operations{tool("list"), resource("notes://secret/1"), tool("save"), prompt("save")}, mcpauth.ErrInsufficientScope, "mcp read secret write notes prompts", ""},
		{"a scope that brings others", "mcp admin", operations{resource("notes://secret/1"), tool("save")}, "", "", ""},
		{"a scope that brings others, in a circle", "mcp read", operations{tool("save")}, "", "", ""},
		{"a scope does not bring those above it", "mcp write", operations{resource("notes://secret/1")}, mcpauth.ErrInsufficientScope, "mcp read secret", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			id := user(t, strings.Fields(test.granted)...)
			e := p.Check(id, test.operations)
			if test.code == "" {
				if e != nil {
					t.Fatalf("refused: %v (%v)", e, e.Cause)
				}
			} else {
				if e == nil || e.Code != test.code || strings.Join(e.Scopes, " ") != test.scopes {
					t.Fatalf("refusal = %+v, want %s with %q", e, test.code, test.scopes)
				}
				if test.cause != "" && e.Cause.Error() != test.cause {
					t.Errorf("cause = %s\n want = %s", e.Cause, test.cause)
				}
				if strings.Contains(e.Message, "alice") || strings.Contains(e.Message, "Rules") {
					t.Errorf("the client reads %q", e.Message)
				}
			}
			if len(test.operations) == 1 {
				if got, want := p.Allows(id, test.operations[0]), test.code == ""; got != want {
					t.Errorf("Allows = %v, want %v", got, want)
				}
				if got, want := p.Denied(test.operations[0]), test.code == mcpauth.ErrForbidden; got != want {
					t.Errorf("Denied = %v, want %v", got, want)
				}
			}
		})
	}
}

func TestNoRulesLetEverybodyDoEverything(t *testing.T) {
	p := newPolicy(t, policy.Config{})
	id, op := user(t), resource("FILE:///%73ecret")
	if e := p.Check(id, []policy.Operation{op, tool("x")}); e != nil || p.Denied(op) || !p.Allows(id, op) {
		t.Errorf("refused: %v", e)
	}
}

func TestGranted(t *testing.T) {
	p := newPolicy(t, policy.Config{
		Scopes: []string{"mcp"}, Hierarchy: mcpauth.Hierarchy{"admin": {"write", "audit"}},
		Rules: []policy.Rule{{Tool: "b", Scopes: []string{"write", "mcp"}}, {Prompt: "a", Scopes: []string{"ask"}}},
	})
	if got, want := p.Granted(user(t, "openid", "write", "admin", "audit", "email", "mcp")), []string{"write", "admin", "audit", "mcp"}; !reflect.DeepEqual(got, want) {
		t.Errorf("Granted = %q, want %q", got, want)
	}
}

func TestPolicyKeepsNothingOfItsConfig(t *testing.T) {
	scopes, brought := []string{"read"}, []string{"read"}
	c := policy.Config{Scopes: scopes, Rules: []policy.Rule{{Tool: "x", Scopes: scopes}}, Hierarchy: mcpauth.Hierarchy{"write": brought}}
	p := newPolicy(t, c)
	scopes[0], brought[0], c.Rules[0].Tool = "none", "none", "y"
	delete(c.Hierarchy, "write")
	if e := p.Check(user(t, "write"), []policy.Operation{tool("x")}); e != nil {
		t.Errorf("refused: %v", e.Cause)
	}
	if e := p.Check(user(t), []policy.Operation{tool("x")}); e == nil || !reflect.DeepEqual(e.Scopes, []string{"read"}) {
		t.Errorf("refusal = %+v", e)
	}
}

func TestNewReportsAllFaultsAtOnce(t *testing.T) {
	_, err := policy.New(policy.Config{
		Scopes: []string{"good", "a b", "offline_access"},
		Rules: []policy.Rule{
			{Tool: "a", Scopes: []string{"x"}},
			{Scopes: []string{"x"}},
			{Tool: "a", Prompt: "b", Scopes: []string{"x", ""}},
			{Tool: "a"},
			{Resource: "*", Deny: true, Scopes: []string{`"`}},
		},
		Hierarchy: mcpauth.Hierarchy{"b": {"b", "offline_access"}, "a a": {"é"}},
	})
	var e *mcpauth.ConfigError
	if !errors.As(err, &e) || e.Package != "policy" {
		t.Fatalf("error = %v", err)
	}
	var fields []string
	for _, f := range e.Faults {
		fields = append(fields, f.Field)
		if f.Problem == "" || f.Expected == "" {
			t.Errorf("%+v says too little", f)
		}
	}
	want := []string{"Scopes[1]", "Scopes[2]", "Rules[1]", "Rules[2]", "Rules[2].Scopes[1]", "Rules[3]", "Rules[4]", "Rules[4].Scopes[0]",
		`Hierarchy["a a"]`, `Hierarchy["a a"][0]`, `Hierarchy["b"][1]`}
	if !reflect.DeepEqual(fields, want) {
		t.Errorf("faults of %q\n        want %q", fields, want)
	}
}

// many has a few dozen rules of all kinds.
func many(t testing.TB) *policy.Policy {
	c := policy.Config{Scopes: []string{"mcp"}, Hierarchy: mcpauth.Hierarchy{"write": {"read"}}}
	for c1 := range strings.SplitSeq("a b c d e f g h i j", " ") {
		c.Rules = append(c.Rules, policy.Rule{Tool: "tool_" + c1, Scopes: []string{"read"}},
			policy.Rule{Tool: "*_" + c1 + "_*", Scopes: []string{"scope:" + c1}},
			policy.Rule{Resource: "notes://" + c1 + "/*", Scopes: []string{"read"}})
	}
	return newPolicy(t, c)
}

var passing = []policy.Operation{tool("tool_c"), tool("other"), prompt("p"), resource("notes://d/groceries.txt")}

func TestCheckThatPassesAllocatesNothing(t *testing.T) {
	for name, p := range map[string]*policy.Policy{"without rules": newPolicy(t, policy.Config{}), "with rules": many(t)} {
		id := user(t, "openid", "write", "mcp")
		if n := testing.AllocsPerRun(100, func() {
			if e := p.Check(id, passing); e != nil {
				t.Fatal(e.Cause)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	id := user(b, "openid", "write", "mcp")
	for _, bench := range []struct {
		name       string
		policy     *policy.Policy
		operations []policy.Operation
	}{
		{"without rules", newPolicy(b, policy.Config{}), passing[:1]},
		{"30 rules, a tool", many(b), passing[:1]},
		{"30 rules, a resource", many(b), passing[3:]},
		{"30 rules, an odd resource", many(b), []policy.Operation{resource("notes://d/my%20groceries.txt")}},
		{"30 rules, refused", many(b), []policy.Operation{tool("x_a_x")}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				bench.policy.Check(id, bench.operations)
			}
		})
	}
}
