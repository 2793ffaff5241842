package inproc_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
)

// A cache between us and the client must not give one user's list to another.
func TestResultsAreForTheirUserAlone(t *testing.T) {
	for _, author := range []struct {
		name    string
		options *mcp.ServerOptions
	}{
		{"says nothing", nil},
		{"says public", &mcp.ServerOptions{SetCacheable: func(_ context.Context, _ mcp.Request, c *mcp.Cacheable) { c.CacheScope = "public" }}},
	} {
		t.Run("the author "+author.name, func(t *testing.T) {
			factory := &gatewaytest.Factory{Options: author.options, Setup: func(server *mcp.Server, _ gateway.Call) {
				server.AddPrompt(&mcp.Prompt{Name: "p"}, func(context.Context, *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
					return &mcp.GetPromptResult{}, nil
				})
				server.AddResource(&mcp.Resource{URI: "note://1", Name: "r"}, func(context.Context, *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
					return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: "note://1", Text: "milk"}}}, nil
				})
				server.AddResourceTemplate(&mcp.ResourceTemplate{URITemplate: "note://{id}", Name: "t"}, nil)
			}}
			s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make})
			token := s.Token(t, "alice")
			session := s.Open(t, token, gatewaytest.Legacy)
			for _, test := range []struct{ method, params, name string }{
				{"server/discover", "{}", ""}, {"tools/list", "{}", ""}, {"prompts/list", "{}", ""}, {"resources/list", "{}", ""},
				{"resources/templates/list", "{}", ""}, {"resources/read", `{"uri":"note://1"}`, "note://1"},
			} {
				header := map[string][]string{"Mcp-Method": {test.method}}
				if test.name != "" {
					header["Mcp-Name"] = []string{test.name}
				}
				modern := s.Do(t, gatewaytest.Request{Token: token, Version: gatewaytest.Modern, Header: header,
					Body: gatewaytest.Message(1, test.method, gatewaytest.ModernParams(gatewaytest.Modern, test.params))})
				if scope := cacheScope(modern); modern.Status != 200 || scope != "private" {
					t.Errorf("%s: cacheScope %q in %d %s", test.method, scope, modern.Status, modern.Body)
				}
				legacy := s.Do(t, gatewaytest.Request{Token: token, Session: session, Version: gatewaytest.Legacy, Body: gatewaytest.Message(1, test.method, test.params)})
				if scope := cacheScope(legacy); scope != "" && scope != "private" {
					t.Errorf("%s in a session: cacheScope %q", test.method, scope)
				}
			}
		})
	}
}

func cacheScope(a gatewaytest.Answer) string {
	var m struct{ Result struct{ CacheScope string } }
	json.Unmarshal([]byte(a.Message()), &m)
	return m.Result.CacheScope
}
