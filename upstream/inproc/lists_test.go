package inproc_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/upstream/inproc"
)

// names returns the names, or URIs, in the answer to a list.
func names(t *testing.T, answer string) []string {
	t.Helper()
	type item struct{ Name, URI, URITemplate string }
	var m struct {
		Result struct{ Tools, Prompts, Resources, ResourceTemplates []item }
	}
	if err := json.Unmarshal([]byte(gatewaytest.Answer{Body: answer}.Message()), &m); err != nil {
		t.Fatalf("%v in %s", err, answer)
	}
	all := []string{}
	for _, i := range slices.Concat(m.Result.Tools, m.Result.Prompts, m.Result.Resources, m.Result.ResourceTemplates) {
		switch {
		case i.URI != "":
			all = append(all, i.URI)
		case i.URITemplate != "":
			all = append(all, i.URITemplate)
		default:
			all = append(all, i.Name)
		}
	}
	return all
}

// What one user is not to see is in none of the user's lists, in either era,
// and in the lists of others all the same. The author's own lists stay whole.
func TestListsShowWhatTheirUserIsToSee(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// One server a user, but the author's lists are the same for all of
		// them, as with a list that is kept.
		schema := map[string]any{"type": "object"}
		kept := map[string]mcp.Result{
			"tools/list":               &mcp.ListToolsResult{Tools: []*mcp.Tool{{Name: "open", InputSchema: schema}, {Name: "secret", InputSchema: schema}, {Name: "last", InputSchema: schema}}},
			"prompts/list":             &mcp.ListPromptsResult{Prompts: []*mcp.Prompt{{Name: "secret"}, {Name: "open"}}},
			"resources/list":           &mcp.ListResourcesResult{Resources: []*mcp.Resource{{Name: "a", URI: "note://open"}, {Name: "b", URI: "note://secret"}}},
			"resources/templates/list": &mcp.ListResourceTemplatesResult{ResourceTemplates: []*mcp.ResourceTemplate{{Name: "a", URITemplate: "secret://{id}"}, {Name: "b", URITemplate: "open://{id}"}}},
		}
		type asked struct{ kind, name string }
		seen := map[asked]bool{}
		b := benchWith(func(server *mcp.Server) {
			server.AddReceivingMiddleware(func(next mcp.MethodHandler) mcp.MethodHandler {
				return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
					// A result of its own, as the SDK makes it, with the author's slices.
					switch r := kept[method].(type) {
					case *mcp.ListToolsResult:
						return &mcp.ListToolsResult{Tools: r.Tools}, nil
					case *mcp.ListPromptsResult:
						return &mcp.ListPromptsResult{Prompts: r.Prompts}, nil
					case *mcp.ListResourcesResult:
						return &mcp.ListResourcesResult{Resources: r.Resources}, nil
					case *mcp.ListResourceTemplatesResult:
						return &mcp.ListResourceTemplatesResult{ResourceTemplates: r.ResourceTemplates}, nil
					}
					return next(ctx, method, req)
				}
			})
		}, func(c *inproc.Config) {
			c.Shows = func(ctx context.Context, kind, name string) bool {
				seen[asked{kind, name}] = true
				return mcpauth.FromContext(ctx).UserID() == "alice" || !strings.Contains(name, "secret")
			}
		})
		defer b.end(t)
		for _, test := range []struct {
			method     string
			alice, bob []string
		}{
			{"tools/list", []string{"open", "secret", "last"}, []string{"open", "last"}},
			{"prompts/list", []string{"secret", "open"}, []string{"open"}},
			{"resources/list", []string{"note://open", "note://secret"}, []string{"note://open"}},
			{"resources/templates/list", []string{"secret://{id}", "open://{id}"}, []string{"open://{id}"}},
		} {
			for _, version := range eras {
				for _, user := range []string{"alice", "bob", "alice"} {
					want := test.alice
					if user == "bob" {
						want = test.bob
					}
					ctx := as(t.Context(), user, time.Time{})
					session, body := "", gatewaytest.Message(1, test.method, gatewaytest.ModernParams(version, "{}"))
					if version == gatewaytest.Legacy {
						session = b.askAs(ctx, "POST", "", "", gatewaytest.Initialize(version)).Header().Get("Mcp-Session-Id")
						b.askAs(ctx, "POST", session, version, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
						body = gatewaytest.Message(1, test.method, "{}")
					}
					if got := names(t, b.askAs(ctx, "POST", session, version, body).Body.String()); !slices.Equal(got, want) {
						t.Errorf("%s as %s in %s: %q, want %q", test.method, user, version, got, want)
					}
				}
			}
		}
		for _, a := range []asked{{"tool", "secret"}, {"prompt", "secret"}, {"resource", "note://secret"}, {"resource", "secret://{id}"}} {
			if !seen[a] {
				t.Errorf("nobody asked whether %v is to be seen", a)
			}
		}
		for method, list := range kept {
			text, err := json.Marshal(list)
			if err != nil || strings.Count(string(text), "secret") != 1 || strings.Contains(string(text), "null") {
				t.Errorf("the author's own %s has become %s", method, text)
			}
		}
	})
}

func TestListsShowAllByDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(nil)
		defer b.end(t)
		if got := names(t, b.ask(t.Context(), "POST", b.open(t), gatewaytest.Legacy, gatewaytest.Message(1, "tools/list", "{}")).Body.String()); !slices.Equal(got, []string{"hello"}) {
			t.Errorf("tools = %q", got)
		}
	})
}
