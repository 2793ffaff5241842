package gateway_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/limit"
	"github.com/mcpauth-go/mcpauth/policy"
)

// warnings returns what the log warns of, without the time.
func warnings(s *gatewaytest.Server) []string {
	var all []string
	for line := range strings.Lines(s.Log.String()) {
		if _, rest, ok := strings.Cut(strings.TrimSpace(line), " level=WARN "); ok {
			all = append(all, rest)
		}
	}
	return all
}

// misspelled has rules and rates for what newNoted's servers have, and for what
// they have not.
func misspelled(c gateway.Config) gateway.Config {
	c.Rules = append(slices.Clone(notedRules), []policy.Rule{
		5:  {Tool: "*", Scopes: []string{"mcp"}},
		6:  {Tool: "sav", Deny: true},
		7:  {Tool: "nothing_like_it", Deny: true},
		8:  {Tool: "nothing_*", Deny: true},
		9:  {Prompt: "Hello", Deny: true},
		10: {Resource: "notes://pubic", Deny: true},
		11: {Resource: "users://7/names", Deny: true},
	}[5:]...)
	c.ToolRates = map[string]limit.Rate{"*": perHour(100), "whoami": perHour(100), "whoamI": perHour(1), "drop": perHour(1)}
	return c
}

var misspelledWarnings = []string{
	`msg="a rule or rate names what the first server does not list" setting=Rules[6].Tool kind=tool name=sav similar=[save]`,
	`msg="a rule or rate names what the first server does not list" setting=Rules[7].Tool kind=tool name=nothing_like_it similar=[]`,
	`msg="a rule or rate names what the first server does not list" setting=Rules[9].Prompt kind=prompt name=Hello similar=[hello]`,
	`msg="a rule or rate names what the first server does not list" setting=Rules[10].Resource kind=resource name=notes://pubic similar=[notes://public]`,
	`msg="a rule or rate names what the first server does not list" setting=Rules[11].Resource kind=resource name=users://7/names similar=[users://{id}/name]`,
	`msg="a rule or rate names what the first server does not list" setting="ToolRates[\"whoamI\"]" kind=tool name=whoamI similar=[whoami]`,
}

func withTemplate(n *noted) *noted {
	setup := n.Setup
	n.Setup = func(server *mcp.Server, call gateway.Call) {
		setup(server, call)
		server.AddResourceTemplate(&mcp.ResourceTemplate{Name: "user", URITemplate: "users://{id}/name"}, func(context.Context, *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
			return nil, mcp.ResourceNotFoundError("")
		})
	}
	return n
}

// The first server is compared with rules and rates as soon as it is there,
// whatever its client asks for, and no other is.
func TestNamesThatTheServerDoesNotHaveAreWarnedAbout(t *testing.T) {
	for _, mode := range []struct {
		name  string
		set   func(*gateway.Config)
		begin func(t *testing.T, s *gatewaytest.Server, token string)
	}{
		{"a server a session", nil, func(t *testing.T, s *gatewaytest.Server, token string) { s.Open(t, token, gatewaytest.Legacy) }},
		{"a server a user, with sessions", func(c *gateway.Config) { c.LegacyInstances = gateway.PerUser }, func(t *testing.T, s *gatewaytest.Server, token string) { s.Open(t, token, gatewaytest.Legacy) }},
		{"a server a user", nil, func(t *testing.T, s *gatewaytest.Server, token string) {
			s.Do(t, gatewaytest.ModernCall(token, 7, "whoami", "{}"))
		}},
		{"a server a request", func(c *gateway.Config) { c.ModernInstances = gateway.PerRequest }, func(t *testing.T, s *gatewaytest.Server, token string) {
			s.Do(t, gatewaytest.ModernCall(token, 7, "whoami", "{}"))
		}},
		{"strict rules", func(c *gateway.Config) { c.StrictRules = true }, func(t *testing.T, s *gatewaytest.Server, token string) { s.Open(t, token, gatewaytest.Legacy) }},
		{"HTTP+SSE, before anything is asked", func(c *gateway.Config) { c.LegacySSE = true }, func(t *testing.T, s *gatewaytest.Server, token string) { openSSE(t, s, token) }},
	} {
		t.Run(mode.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				factory := withTemplate(newNoted())
				c := misspelled(gateway.Config{Factory: factory.Make, MaxCallsPerUser: 1})
				if mode.set != nil {
					mode.set(&c)
				}
				s := gatewaytest.StartInMemory(t, c)
				if got := warnings(s); len(got) != 0 {
					t.Errorf("before there is a server: %q", got)
				}
				life := map[string]any{"scope": "mcp", "exp": time.Now().Add(time.Hour).Unix()}
				for _, user := range []string{"alice", "alice", "bob"} {
					mode.begin(t, s, s.Token(t, user, life))
					synctest.Wait()
					if got := warnings(s); !slices.Equal(got, misspelledWarnings) {
						t.Fatalf("after a request of %s: %s\nwant %s", user, strings.Join(got, "\n"), strings.Join(misspelledWarnings, "\n"))
					}
				}
			})
		})
	}
}

// asked notes the requests that an author's middleware sees.
type asked struct {
	mu  sync.Mutex
	all []string
}

func (a *asked) middleware(answer func(ctx context.Context, method string) error) mcp.Middleware {
	return func(next mcp.MethodHandler) mcp.MethodHandler {
		return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
			who := "nobody"
			if id := mcpauth.FromContext(ctx); id != nil {
				who = id.UserID()
			}
			a.mu.Lock()
			a.all = append(a.all, who+" "+method)
			a.mu.Unlock()
			if answer != nil {
				if err := answer(ctx, method); err != nil {
					return nil, err
				}
			}
			return next(ctx, method, req)
		}
	}
}

func (a *asked) sorted() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(slices.Values(a.all))
}

func TestTheFirstServerIsAskedForItsListsAsByItsUser(t *testing.T) {
	for _, test := range []struct {
		name string
		c    gateway.Config
		want []string
	}{
		{"names", gateway.Config{Rules: []policy.Rule{{Tool: "whoami", Deny: true}}},
			[]string{"alice prompts/list", "alice resources/list", "alice resources/templates/list", "alice tools/call", "alice tools/call", "alice tools/list"}},
		{"a rate", gateway.Config{ToolRates: map[string]limit.Rate{"whoami": perHour(9)}},
			[]string{"alice prompts/list", "alice resources/list", "alice resources/templates/list", "alice tools/call", "alice tools/call", "alice tools/list"}},
		{"patterns only", gateway.Config{Rules: []policy.Rule{{Tool: "z*", Deny: true}, {Resource: "*", Deny: true}}, ToolRates: map[string]limit.Rate{"*": perHour(9)}},
			[]string{"alice tools/call", "alice tools/call"}},
		{"nothing", gateway.Config{}, []string{"alice tools/call", "alice tools/call"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				seen := &asked{}
				factory := &gatewaytest.Factory{Setup: func(server *mcp.Server, _ gateway.Call) {
					gatewaytest.AddTool(server, "add", func(context.Context, *mcp.CallToolRequest) (string, error) { return "3", nil })
					server.AddReceivingMiddleware(seen.middleware(nil))
				}}
				test.c.Factory, test.c.ModernInstances = factory.Make, gateway.PerRequest
				s := gatewaytest.StartInMemory(t, test.c)
				token := s.Token(t, "alice", map[string]any{"exp": time.Now().Add(time.Hour).Unix()})
				for range 2 {
					if got := s.Do(t, gatewaytest.ModernCall(token, 7, "add", "{}")); got.Text() != "3" {
						t.Errorf("%d %s", got.Status, got.Body)
					}
				}
				synctest.Wait()
				if got := seen.sorted(); !slices.Equal(got, test.want) {
					t.Errorf("the author's middleware has seen %q, want %q", got, test.want)
				}
				if got := warnings(s); len(got) != 0 {
					t.Errorf("warned of %q", got)
				}
			})
		})
	}
}

// Whatever a server does when it is asked for its lists, its user's requests are
// served in no time, and it is closed once the question is over.
func TestServersThatDoNotListHinderNoRequest(t *testing.T) {
	const unknown = `msg="what a server has is not known, and names in rules and rates are not compared with it" `
	release := make(chan struct{})
	for _, test := range []struct {
		name   string
		answer func(ctx context.Context) error
		took   time.Duration // until the server is closed
		want   string        // the one warning
	}{
		{"an error", func(context.Context) error { return fmt.Errorf("no lists today") }, 0, `"tools/list: no lists today"`},
		{"a panic", func(context.Context) error { panic("broken") }, 0, `error=panic`},
		{"slow", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, 10 * time.Second, `context deadline exceeded"`},
		{"deaf", func(context.Context) error { <-release; return nil }, 10 * time.Second, `context deadline exceeded"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release = make(chan struct{})
				defer close(release)
				seen := &asked{}
				factory := &gatewaytest.Factory{Setup: func(server *mcp.Server, _ gateway.Call) {
					server.AddReceivingMiddleware(seen.middleware(func(ctx context.Context, method string) error {
						if strings.HasSuffix(method, "/list") {
							return test.answer(ctx)
						}
						return nil
					}))
				}}
				s := gatewaytest.StartInMemory(t, gateway.Config{
					Factory: factory.Make, Rules: []policy.Rule{{Tool: "who", Deny: true}}, RequestTimeout: 10 * time.Second,
					ModernInstances: gateway.PerRequest, MaxCallsPerUser: 1,
				})
				token, began := s.Token(t, "alice", map[string]any{"exp": time.Now().Add(time.Hour).Unix()}), time.Now()
				for range 3 {
					if got := s.Do(t, gatewaytest.ModernCall(token, 7, "whoami", "{}")); got.Status != 200 || time.Since(began) != 0 {
						t.Errorf("after %v: %d %s", time.Since(began), got.Status, got.Body)
					}
				}
				synctest.Wait()
				if test.took > 0 {
					if got := factory.Closed(); len(got) != 2 {
						t.Errorf("%d servers are closed, one of them while it is asked for its lists", len(got))
					}
					time.Sleep(test.took)
					synctest.Wait()
				}
				if got := factory.Closed(); len(got) != 3 {
					t.Errorf("%d servers are closed", len(got))
				}
				if got := warnings(s); len(got) != 1 || !strings.HasPrefix(got[0], unknown) || !strings.HasSuffix(got[0], test.want) {
					t.Errorf("warned of %q, want %q … %q", got, unknown, test.want)
				}
			})
		})
	}
}

// A server may say that it has no prompts by knowing no such method.
func TestAListThatAServerDoesNotHaveIsEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := &asked{}
		factory := &gatewaytest.Factory{Options: &mcp.ServerOptions{PageSize: 2}, Setup: func(server *mcp.Server, _ gateway.Call) {
			for i := range 9 {
				gatewaytest.AddTool(server, fmt.Sprint("tool", i), func(context.Context, *mcp.CallToolRequest) (string, error) { return "", nil })
			}
			server.AddReceivingMiddleware(seen.middleware(func(_ context.Context, method string) error {
				if strings.HasPrefix(method, "prompts/") {
					return &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: "no such method"}
				}
				return nil
			}))
		}}
		s := gatewaytest.StartInMemory(t, gateway.Config{Factory: factory.Make, Rules: []policy.Rule{{Tool: "tool8", Deny: true}, {Prompt: "tool8", Deny: true}, {Tool: "tool", Deny: true}}})
		s.Open(t, s.Token(t, "alice", map[string]any{"exp": time.Now().Add(time.Hour).Unix()}), gatewaytest.Legacy)
		synctest.Wait()
		want := []string{
			`msg="a rule or rate names what the first server does not list" setting=Rules[1].Prompt kind=prompt name=tool8 similar=[]`,
			`msg="a rule or rate names what the first server does not list" setting=Rules[2].Tool kind=tool name=tool similar="[tool0 tool1 tool2]"`,
		}
		if got := warnings(s); !slices.Equal(got, want) {
			t.Errorf("warned of %q, want %q", got, want)
		}
	})
}
