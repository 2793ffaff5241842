package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/policy"
)

// noted makes servers that have some of everything, and counts what of it is
// really used.
type noted struct {
	gatewaytest.Factory
	saved, dropped, guarded atomic.Int32
}

func newNoted() *noted {
	n := &noted{}
	n.Options = &mcp.ServerOptions{
		CompletionHandler: func(context.Context, *mcp.CompleteRequest) (*mcp.CompleteResult, error) {
			return &mcp.CompleteResult{Completion: mcp.CompletionResultDetails{Values: []string{"completed"}}}, nil
		},
		SubscribeHandler:   func(context.Context, *mcp.SubscribeRequest) error { return nil },
		UnsubscribeHandler: func(context.Context, *mcp.UnsubscribeRequest) error { return nil },
	}
	n.Setup = func(server *mcp.Server, _ gateway.Call) {
		count := func(name string, counter *atomic.Int32) {
			gatewaytest.AddTool(server, name, func(context.Context, *mcp.CallToolRequest) (string, error) {
				counter.Add(1)
				return name + " done", nil
			})
		}
		count("save", &n.saved)
		count("drop", &n.dropped)
		for _, name := range []string{"hello", "secret"} {
			server.AddPrompt(&mcp.Prompt{Name: name}, func(context.Context, *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
				return &mcp.GetPromptResult{Messages: []*mcp.PromptMessage{{Role: "user", Content: &mcp.TextContent{Text: name}}}}, nil
			})
		}
		for _, uri := range []string{"notes://public", "notes://secret", "notes://denied"} {
			server.AddResource(&mcp.Resource{Name: uri, URI: uri}, func(context.Context, *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
				if uri != "notes://public" {
					n.guarded.Add(1)
				}
				return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: uri, Text: uri}}}, nil
			})
		}
	}
	return n
}

var notedRules = []policy.Rule{
	{Tool: "save", Scopes: []string{"notes:write"}},
	{Tool: "drop", Deny: true},
	{Prompt: "secret", Scopes: []string{"notes:secret"}},
	{Resource: "notes://secret*", Scopes: []string{"notes:secret"}},
	{Resource: "notes://denied", Deny: true},
}

func notedConfig(n *noted) gateway.Config {
	return gateway.Config{
		Factory: n.Make, RequiredScopes: []string{"mcp"}, Rules: notedRules,
		ScopeHierarchy: mcpauth.Hierarchy{"notes:admin": {"notes:write", "notes:secret"}},
	}
}

func scope(scopes string) map[string]any { return map[string]any{"scope": scopes} }

// modern returns a request of 2026-07-28 for method.
func modern(token, method, name, params string) gatewaytest.Request {
	h := headers{"Mcp-Method": {method}}
	if name != "" {
		h["Mcp-Name"] = []string{name}
	}
	return gatewaytest.Request{Token: token, Version: gatewaytest.Modern, Header: h, Body: gatewaytest.Message(7, method, gatewaytest.ModernParams(gatewaytest.Modern, params))}
}

func TestPolicyOverTheWire(t *testing.T) {
	factory := newNoted()
	s := gatewaytest.Start(t, notedConfig(factory))
	metadata := `, resource_metadata="` + s.Origin + `/.well-known/oauth-protected-resource/mcp"`
	challenge := func(scopes string) string {
		return `Bearer error="insufficient_scope", error_description="The token lacks a scope that this operation needs.", scope="` + scopes + `"` + metadata
	}
	const refusal = "{\"error\":\"insufficient_scope\",\"error_description\":\"The token lacks a scope that this operation needs.\"}\n"
	unknown := fmt.Sprintf("{\"jsonrpc\":\"2.0\",\"id\":7,\"error\":{\"code\":-32602,\"message\":%q}}\n", "Unknown tool, prompt or resource")
	const listen = `{"notifications":{"resourceSubscriptions":["notes://public","notes://secret"]}}`
	for _, test := range []struct {
		name           string
		scopes         string
		method, params string
		target         string // of Mcp-Name
		only           string // the one era that has the method
		missing        string // the scopes of the challenge in 2026-07-28; "" passes
		legacy         string // those before; "" are the same
		denied         bool
	}{
		{name: "a tool without its scope", scopes: "mcp", method: "tools/call", params: `{"name":"save","arguments":{}}`, target: "save", missing: "mcp notes:write"},
		{name: "a tool, by a user with other scopes", scopes: "mcp notes:secret other", method: "tools/call", params: `{"name":"save","arguments":{}}`, target: "save",
			missing: "mcp notes:write", legacy: "mcp notes:write notes:secret"},
		{name: "without what every request needs", scopes: "notes:write", method: "tools/call", params: `{"name":"save","arguments":{}}`, target: "save", missing: "mcp notes:write"},
		{name: "without what every request needs, another tool", scopes: "notes:write", method: "tools/call", params: `{"name":"whoami","arguments":{}}`, target: "whoami",
			missing: "mcp", legacy: "mcp notes:write"},
		{name: "a tool with its scope", scopes: "mcp notes:write", method: "tools/call", params: `{"name":"save","arguments":{}}`, target: "save"},
		{name: "a tool with a scope above", scopes: "notes:admin mcp", method: "tools/call", params: `{"name":"save","arguments":{}}`, target: "save"},
		{name: "a tool without rule", scopes: "mcp", method: "tools/call", params: `{"name":"whoami","arguments":{}}`, target: "whoami"},
		{name: "a prompt without its scope", scopes: "mcp", method: "prompts/get", params: `{"name":"secret"}`, target: "secret", missing: "mcp notes:secret"},
		{name: "a prompt with its scope", scopes: "mcp notes:secret", method: "prompts/get", params: `{"name":"secret"}`, target: "secret"},
		{name: "a resource without its scope", scopes: "mcp", method: "resources/read", params: `{"uri":"notes://secret"}`, target: "notes://secret", missing: "mcp notes:secret"},
		{name: "a resource in another spelling", scopes: "mcp", method: "resources/read", params: `{"uri":"NOTES://%73ecret"}`, target: "NOTES://%73ecret", missing: "mcp notes:secret"},
		{name: "a resource with its scope", scopes: "mcp notes:secret", method: "resources/read", params: `{"uri":"notes://secret"}`, target: "notes://secret"},
		{name: "to subscribe", scopes: "mcp", method: "resources/subscribe", params: `{"uri":"notes://secret"}`, only: gatewaytest.Legacy, missing: "mcp notes:secret"},
		{name: "to subscribe with the scope", scopes: "mcp notes:secret", method: "resources/subscribe", params: `{"uri":"notes://secret"}`, only: gatewaytest.Legacy},
		{name: "to listen to one of two", scopes: "mcp", method: "subscriptions/listen", params: listen, only: gatewaytest.Modern, missing: "mcp notes:secret"},
		{name: "to complete a prompt", scopes: "mcp", method: "completion/complete", params: `{"ref":{"type":"ref/prompt","name":"secret"},"argument":{"name":"a","value":"b"}}`, missing: "mcp notes:secret"},
		{name: "to complete a resource", scopes: "mcp", method: "completion/complete", params: `{"ref":{"type":"ref/resource","uri":"notes://secret"},"argument":{"name":"a","value":"b"}}`, missing: "mcp notes:secret"},
		{name: "to complete with the scope", scopes: "mcp notes:secret", method: "completion/complete", params: `{"ref":{"type":"ref/prompt","name":"secret"},"argument":{"name":"a","value":"b"}}`},
		{name: "a denied tool", scopes: "mcp notes:admin", method: "tools/call", params: `{"name":"drop","arguments":{}}`, target: "drop", denied: true},
		{name: "a denied resource", scopes: "mcp notes:admin", method: "resources/read", params: `{"uri":"notes://denied"}`, target: "notes://denied", denied: true},
		{name: "a denied resource in another spelling", scopes: "mcp notes:admin", method: "resources/read", params: `{"uri":"notes://x@DENIED/."}`, target: "notes://x@DENIED/.", denied: true},
	} {
		for _, version := range eras {
			if test.only != "" && test.only != version {
				continue
			}
			t.Run(test.name+" "+version, func(t *testing.T) {
				saved, guarded := factory.saved.Load(), factory.guarded.Load()
				token := s.Token(t, "alice", scope(test.scopes))
				request := modern(token, test.method, test.target, test.params)
				scopes := test.missing
				if version == gatewaytest.Legacy {
					session := s.Open(t, s.Token(t, "alice", scope("mcp")), version)
					request = gatewaytest.Request{Token: token, Session: session, Version: version, Body: gatewaytest.Message(7, test.method, test.params)}
					if test.legacy != "" {
						scopes = test.legacy
					}
				}
				got := s.Do(t, request)
				switch {
				case test.denied:
					if got.Status != http.StatusOK || got.Body != unknown || got.Header.Get("WWW-Authenticate") != "" {
						t.Errorf("answer = %d %v %s", got.Status, got.Header, got.Body)
					}
				case scopes != "":
					if got.Status != http.StatusForbidden || got.Body != refusal || got.Header.Get("WWW-Authenticate") != challenge(scopes) {
						t.Errorf("answer = %d %s %s; want %s", got.Status, got.Header.Get("WWW-Authenticate"), got.Body, challenge(scopes))
					}
				default:
					if got.Status != http.StatusOK || !strings.Contains(got.Message(), `"result"`) {
						t.Errorf("answer = %d %s", got.Status, got.Body)
					}
				}
				if refused := test.denied || scopes != ""; refused && (factory.saved.Load() != saved || factory.guarded.Load() != guarded) {
					t.Error("what was refused has been done")
				}
			})
		}
	}
	if n := factory.dropped.Load(); n != 0 {
		t.Errorf("the denied tool was called %d times", n)
	}
}

func TestNoMetadataNoMentionOfItInChallenges(t *testing.T) {
	c := notedConfig(newNoted())
	c.AuthorizationServers = []string{}
	s := gatewaytest.Start(t, c)
	got := s.Do(t, gatewaytest.ModernCall(s.Token(t, "alice", scope("mcp")), 7, "save", "{}"))
	const want = `Bearer error="insufficient_scope", error_description="The token lacks a scope that this operation needs.", scope="mcp notes:write"`
	if c := got.Header.Get("WWW-Authenticate"); got.Status != http.StatusForbidden || c != want {
		t.Errorf("answer = %d %s, want %s", got.Status, c, want)
	}
}

// What is called is what the body says, read as the server reads it.
func TestNothingHidesWhatIsCalled(t *testing.T) {
	factory := newNoted()
	s := gatewaytest.Start(t, notedConfig(factory))
	alice := s.Token(t, "alice", scope("mcp"))
	session := s.Open(t, alice, gatewaytest.Legacy)
	harmless := `"arguments":{}`
	for _, test := range []struct{ name, body string }{
		{"two names", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"whoami","name":"save",` + harmless + `}}`},
		{"two names, one escaped", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"whoami","n\u0061me":"save",` + harmless + `}}`},
		{"a capital letter beside", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"whoami","Name":"save",` + harmless + `}}`},
		{"a capital letter before", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"Name":"save","name":"whoami",` + harmless + `}}`},
		{"a capital letter alone", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"NAME":"save",` + harmless + `}}`},
		{"a NUL behind the name", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"whoami","name\u0000":"save",` + harmless + `}}`},
		{"a NUL in the value", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"save\u0000",` + harmless + `}}`},
		{"other params", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"whoami",` + harmless + `},"Params":{"name":"save",` + harmless + `}}`},
		{"other params in front, with a long s", `{"jsonrpc":"2.0","id":7,"method":"tools/call","paramſ":{"name":"save",` + harmless + `},"params":{"name":"whoami",` + harmless + `}}`},
		{"another method", `{"jsonrpc":"2.0","id":7,"method":"tools/list","Method":"tools/call","params":{"name":"save",` + harmless + `}}`},
		{"another method in front", `{"jsonrpc":"2.0","id":7,"METHOD":"tools/call","method":"tools/list","params":{"name":"save",` + harmless + `}}`},
		{"two methods", `{"jsonrpc":"2.0","id":7,"method":"tools/list","method":"tools/call","params":{"name":"save",` + harmless + `}}`},
		{"an escaped method", `{"jsonrpc":"2.0","id":7,"method":"tools\/c\u0061ll","params":{"name":"save",` + harmless + `}}`},
		{"an escaped name", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"n\u0061me":"s\u0061ve",` + harmless + `}}`},
		{"a second message behind", gatewaytest.CallTool(7, "whoami", "{}") + gatewaytest.CallTool(7, "save", "{}")},
		{"a batch with it", "[" + gatewaytest.CallTool(7, "whoami", "{}") + "," + gatewaytest.CallTool(8, "save", "{}") + "]"},
		{"a batch with it and no id", `[` + gatewaytest.CallTool(7, "whoami", "{}") + `,{"jsonrpc":"2.0","method":"tools/call","params":{"name":"save",` + harmless + `}}]`},
		{"invalid UTF-8", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"save` + "\xff" + `",` + harmless + `}}`},
		{"a byte order mark", "\ufeff" + gatewaytest.CallTool(7, "save", "{}")},
	} {
		for _, header := range []headers{nil, {"Mcp-Method": {"tools/call"}, "Mcp-Name": {"whoami"}}, {"Mcp-Method": {"tools/list"}}, {"Mcp-Method": {"tools/list"}, "Mcp-Name": {"save"}}} {
			for _, request := range []gatewaytest.Request{
				{Token: alice, Session: session, Version: gatewaytest.Legacy, Header: header, Body: test.body},
				{Token: alice, Session: session, Version: "2025-03-26", Header: header, Body: test.body},
				{Token: alice, Header: header, Body: test.body},
				{Token: alice, Version: gatewaytest.Modern, Header: header, Body: strings.ReplaceAll(test.body, harmless, `"arguments":{},`+gatewaytest.ModernParams(gatewaytest.Modern, "{}")[1:len(gatewaytest.ModernParams(gatewaytest.Modern, "{}"))-1])},
			} {
				got := s.Do(t, request)
				if n := factory.saved.Swap(0); n != 0 {
					t.Errorf("%s, with version %q and %v: called, and answered %d %s", test.name, request.Version, header, got.Status, got.Body)
				}
			}
		}
	}
}

// A batch is refused as a whole: none of its calls is made.
func TestBatchWithOneCallThatLacksAScope(t *testing.T) {
	factory := newNoted()
	s := gatewaytest.Start(t, notedConfig(factory))
	const version = "2025-03-26"
	batch := func(tools ...string) string {
		var calls []string
		for i, tool := range tools {
			calls = append(calls, gatewaytest.CallTool(i, tool, "{}"))
		}
		return "[" + strings.Join(calls, ",") + "]"
	}
	writer, reader := s.Token(t, "alice", scope("mcp notes:write")), s.Token(t, "alice", scope("mcp"))
	session := s.Open(t, writer, version)
	ask := func(token, body string) gatewaytest.Answer {
		return s.Do(t, gatewaytest.Request{Token: token, Session: session, Version: version, Body: body})
	}
	if got := ask(reader, batch("whoami", "save", "whoami")); got.Status != http.StatusForbidden || !strings.Contains(got.Header.Get("WWW-Authenticate"), `scope="mcp notes:write"`) {
		t.Errorf("without the scope: %d %v %s", got.Status, got.Header, got.Body)
	}
	const unknown = "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32602,\"message\":\"Unknown tool, prompt or resource\"}}\n"
	if got := ask(writer, batch("save", "drop")); got.Status != http.StatusBadRequest || got.Body != unknown {
		t.Errorf("with a denied tool: %d %s", got.Status, got.Body)
	}
	if n := factory.saved.Load() + factory.dropped.Load(); n != 0 {
		t.Errorf("%d calls of refused batches were made", n)
	}
	if got := ask(writer, batch("save", "save")); got.Status != http.StatusOK || strings.Count(got.Body, "save done") != 2 {
		t.Errorf("with the scope: %d %s", got.Status, got.Body)
	}
}

// lists returns the names of all that lists show.
func lists(t *testing.T, c *gatewaytest.Client) []string {
	t.Helper()
	var all []string
	tools, err := c.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tool := range tools.Tools {
		all = append(all, tool.Name)
	}
	prompts, err := c.ListPrompts(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range prompts.Prompts {
		all = append(all, "prompt "+p.Name)
	}
	resources, err := c.ListResources(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range resources.Resources {
		all = append(all, r.URI)
	}
	slices.Sort(all)
	return all
}

func TestLists(t *testing.T) {
	all := []string{"notes://public", "notes://secret", "prompt hello", "prompt secret", "save", "whoami"}
	for _, test := range []struct {
		name   string
		filter bool
		scopes string
		want   []string
	}{
		{"show what scopes could be acquired for", false, "mcp", all},
		{"show what is allowed, if so configured", true, "mcp", []string{"notes://public", "prompt hello", "whoami"}},
		{"show more to those who may more", true, "mcp notes:write", []string{"notes://public", "prompt hello", "save", "whoami"}},
		{"never show what is denied to all", true, "mcp notes:admin", all},
	} {
		for _, version := range eras {
			t.Run(test.name+" "+version, func(t *testing.T) {
				c := notedConfig(newNoted())
				c.FilterByScope = test.filter
				s := gatewaytest.Start(t, c)
				if got := lists(t, s.Connect(t, s.Token(t, "alice", scope(test.scopes)), version)); !slices.Equal(got, test.want) {
					t.Errorf("lists show %q, want %q", got, test.want)
				}
			})
		}
	}
}

// A client gets a token with more scopes and goes on where it was.
func TestStepUp(t *testing.T) {
	for _, version := range eras {
		t.Run(version, func(t *testing.T) {
			factory := newNoted()
			s := gatewaytest.Start(t, notedConfig(factory))
			token := s.Token(t, "alice", scope("mcp"))
			session := ""
			if version == gatewaytest.Legacy {
				session = s.Open(t, token, version)
			}
			call := func(token string) gatewaytest.Answer {
				if session == "" {
					return s.Do(t, gatewaytest.ModernCall(token, 7, "save", "{}"))
				}
				return s.Do(t, gatewaytest.Request{Token: token, Session: session, Version: version, Body: gatewaytest.CallTool(7, "save", "{}")})
			}
			first := call(token)
			_, rest, _ := strings.Cut(first.Header.Get("WWW-Authenticate"), `scope="`)
			asked, _, _ := strings.Cut(rest, `"`)
			if first.Status != http.StatusForbidden || asked != "mcp notes:write" {
				t.Fatalf("before: %d %v", first.Status, first.Header)
			}
			if got := call(s.Token(t, "alice", scope(asked))); got.Status != http.StatusOK || got.Text() != "save done" {
				t.Errorf("after: %d %s", got.Status, got.Body)
			}
			// And back: what counts is the token of the request.
			if got := call(token); got.Status != http.StatusForbidden {
				t.Errorf("with the first token again: %d %s", got.Status, got.Body)
			}
			if made := factory.Made(); !slices.Equal(made, []string{"alice"}) || factory.saved.Load() != 1 {
				t.Errorf("servers made for %v, %d calls", made, factory.saved.Load())
			}
		})
	}
}

// A server decides nothing by what a denied tool is: two users of other rights
// are told the same, and the same as of one another.
func TestDeniedIsTheSameForAll(t *testing.T) {
	s := gatewaytest.Start(t, notedConfig(newNoted()))
	var answers []string
	for user, scopes := range map[string]string{"alice": "mcp", "bob": "mcp notes:admin"} {
		got := s.Do(t, gatewaytest.ModernCall(s.Token(t, user, scope(scopes)), 7, "drop", "{}"))
		answers = append(answers, fmt.Sprint(got.Status, got.Body))
		var m struct {
			ID    int
			Error struct{ Code int }
		}
		if err := json.Unmarshal([]byte(got.Body), &m); err != nil || m.ID != 7 || m.Error.Code != -32602 {
			t.Errorf("%s is answered %s, %v", user, got.Body, err)
		}
	}
	if answers[0] != answers[1] {
		t.Errorf("the answers differ: %q", answers)
	}
}
