package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
)

func TestPageForBrowsers(t *testing.T) {
	const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	for _, test := range []struct{ base, path string }{{"", "/mcp"}, {"/", "/"}, {"/a/b", "/a/b"}} {
		factory := &gatewaytest.Factory{}
		s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make, BasePath: test.base})
		for _, row := range []struct {
			name, method string
			accept       []string
			page         bool
		}{
			{"a browser", "GET", []string{browser}, true},
			{"a browser in capitals", "GET", []string{"TEXT/HTML"}, true},
			{"HEAD", "HEAD", []string{browser}, true},
			{"an MCP client", "GET", []string{"text/event-stream"}, false},
			{"an MCP client that takes all", "GET", []string{"application/json, text/event-stream", "text/html"}, false},
			{"curl", "GET", []string{"*/*"}, false},
			{"nothing said", "GET", nil, false},
			{"POST", "POST", []string{browser}, false},
			{"DELETE", "DELETE", []string{browser}, false},
		} {
			t.Run(test.path+" "+row.name, func(t *testing.T) {
				got := s.Do(t, gatewaytest.Request{Method: row.method, Path: test.path, Header: headers{"Accept": row.accept}})
				if !row.page {
					if got.Status != http.StatusUnauthorized || got.Header.Get("WWW-Authenticate") == "" {
						t.Errorf("answer = %d %v %s", got.Status, got.Header, got.Body)
					}
					return
				}
				h := got.Header
				if got.Status != http.StatusOK || h.Get("Content-Type") != "text/html; charset=utf-8" || h.Get("Vary") != "Accept" || h.Get("Cache-Control") != "no-store" ||
					!strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'") || h.Get("X-Request-Id") == "" {
					t.Errorf("answer = %d %v", got.Status, h)
				}
				if row.method == "HEAD" {
					if got.Body != "" {
						t.Errorf("HEAD has a body of %d bytes", len(got.Body))
					}
				} else if !strings.Contains(got.Body, s.Resource().Identifier()) || !strings.Contains(got.Body, "/.well-known/oauth-protected-resource") {
					t.Errorf("the page: %s", got.Body)
				}
			})
		}
		if made := factory.Made(); len(made) != 0 {
			t.Errorf("servers were made for %v", made)
		}
		// Who has a token and is no browser is served as ever.
		if got := s.Do(t, gatewaytest.Request{Path: test.path, Token: s.Token(t, "alice"), Body: gatewaytest.Initialize(gatewaytest.Legacy)}); got.Status != http.StatusOK {
			t.Errorf("initialize: %d %s", got.Status, got.Body)
		}
	}
}

// The page says what is configured, whatever a request claims.
func TestPageDoesNotRepeatTheRequest(t *testing.T) {
	s := gatewaytest.Start(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make, PublicURL: "https://mcp.example.com"})
	got := s.Do(t, gatewaytest.Request{Method: "GET", Path: "/mcp?<script>evil</script>", Header: headers{
		"Accept": {"text/html"}, "X-Forwarded-Host": {"evil.example"}, "X-Forwarded-Proto": {"evil"}, "X-Forwarded-Prefix": {"/evil"}, "Forwarded": {"host=evil.example"}, "Referer": {"https://evil.example"},
	}})
	if got.Status != http.StatusOK || strings.Contains(got.Body, "evil") || !strings.Contains(got.Body, "https://mcp.example.com/mcp") {
		t.Errorf("answer = %d %s", got.Status, got.Body)
	}
}
