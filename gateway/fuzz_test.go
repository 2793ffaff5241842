package gateway_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/limit"
	"github.com/mcpauth-go/mcpauth/policy"
)

// sendableText reports whether a client can send text as a header's value.
func sendableText(text string) bool {
	return strings.Trim(text, " \t") == text && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// Whatever headers come with a good token, the gateway answers as a server
// that is well, writes one sound line, and serves only what body and headers
// agree upon.
func FuzzHeaders(f *testing.F) {
	for _, seed := range [][6]string{
		{"tools/call", "whoami", "application/json, text/event-stream", "192.0.2.7", "2026-07-28", "id-1"},
		{"tools/call", "=?base64?d2hvYW1p?=", "*/*", "192.0.2.7, 127.0.0.1", "2025-11-25", "\"><script>"},
		{"tools/list", "=?base64?d2hvYW1p", "text/html", "[::1]:80", "2099-01-01", strings.Repeat("x", 65)},
		{"", "=?base64??=", "text/event-stream;q=0", "unknown", "", ""}, {"tools/call", "WhoAmI", "", ",,,", "2026-07-28, 2025-11-25", "a b"},
		{"tools/call", "=?BASE64?d2hvYW1p?=", "application/json", "::ffff:127.0.0.1%eth0", "x", "..:--__"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3], seed[4], seed[5])
	}
	issuer := gatewaytest.NewIssuer(f, "https://issuer.example")
	var audit bytes.Buffer
	g, err := gateway.New(gateway.Config{
		Provider: gatewaytest.Provider(f, "http://127.0.0.1:8080/mcp", issuer), Factory: (&gatewaytest.Factory{}).Make,
		UserRate: limit.Off, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Audit: &audit, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { g.Shutdown(context.Background()) })
	token := issuer.Token(f, "http://127.0.0.1:8080/mcp", "alice")
	safe := regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`)
	f.Fuzz(func(t *testing.T, method, name, accept, forwarded, version, id string) {
		for _, text := range []string{method, name, accept, forwarded, version, id} {
			if !sendableText(text) {
				return
			}
		}
		body := gatewaytest.ModernCall("", 7, "whoami", "{}").Body
		if version != gatewaytest.Modern {
			body = gatewaytest.CallTool(7, "whoami", "{}")
		}
		r := httptest.NewRequest("POST", "http://127.0.0.1:8080/mcp", strings.NewReader(body))
		r.RemoteAddr, r.Host = "127.0.0.1:1234", "127.0.0.1:8080"
		for header, value := range map[string]string{
			"Authorization": "Bearer " + token, "Content-Type": "application/json", "Accept": accept, "Mcp-Method": method, "Mcp-Name": name,
			"X-Forwarded-For": forwarded, "Mcp-Protocol-Version": version, "X-Request-Id": id,
		} {
			r.Header.Set(header, value)
		}
		audit.Reset()
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		if w.Code >= 500 || w.Code == 401 || w.Code == 403 {
			t.Fatalf("answer = %d %s", w.Code, w.Body)
		}
		given := w.Header().Get("X-Request-Id")
		if !safe.MatchString(given) || safe.MatchString(id) && given != id {
			t.Errorf("sent the id %q, got %q", id, given)
		}
		var line struct{ Remote, User, Name, Request_ID string }
		if err := json.Unmarshal(audit.Bytes(), &line); err != nil || strings.Count(audit.String(), "\n") != 1 || line.User != "alice" || line.Request_ID != given {
			t.Fatalf("audit log %q: %v", &audit, err)
		}
		if _, err := netip.ParseAddr(line.Remote); err != nil {
			t.Errorf("the client is %q", line.Remote)
		}
		if w.Code == http.StatusOK && strings.Contains(w.Body.String(), `"owner"`) {
			plain := name
			if inner, found := strings.CutPrefix(name, "=?base64?"); found {
				text, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(inner, "?="))
				if plain = string(text); err != nil {
					t.Errorf("%q is taken: %v", name, err)
				}
			}
			if method != "tools/call" || plain != "whoami" {
				t.Errorf("served with the method %q and the name %q", method, name)
			}
		}
	})
}

// nobodyPasses refuses everybody.
type nobodyPasses struct{}

func (nobodyPasses) Authenticate(context.Context, *mcpauth.Request) (*mcpauth.Identity, error) {
	return nil, &mcpauth.Error{Code: mcpauth.ErrBadSignature, Message: "no"}
}

// A configuration is refused with all that is wrong with it, or makes a gateway
// that asks for a credential where it says it is.
func FuzzConfig(f *testing.F) {
	for _, seed := range [][7]string{
		{"127.0.0.1:8080", "", "/mcp", "", "", "notes:read", "https://issuer.example"}, {"0.0.0.0:443", "https://mcp.example.com", "/", "mcp.internal", "https://app.example.com", "", "*"},
		{":0", "https://mcp.example.com/", "/a/{b}", "*", "*", "a b", "notes*"}, {"[::1]:1", "http://[::1]:1", "//", "x:y:z", "null", `"`, "http://"},
		{"localhost:8080", "ftp://x", "/{$}", "[", "https://", "é", "["}, {"x", "https://a@b", "/mcp/health", "", "", "offline_access", "{"},
		{"127.0.0.1:8080", "", "/.well-known/oauth-protected-resource", "", "", "x", "https://issuer.example"}, {"127.0.0.1:8080", "", "/a%2fb", "", "", "x", "https://issuer.example?x"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3], seed[4], seed[5], seed[6])
	}
	quiet := slog.New(slog.DiscardHandler)
	f.Fuzz(func(t *testing.T, addr, public, path, host, origin, scope, other string) {
		c := gateway.Config{
			Provider: nobodyPasses{}, Factory: (&gatewaytest.Factory{}).Make, Addr: addr, PublicURL: public, BasePath: path, RequiredScopes: []string{scope},
			Rules: []policy.Rule{{Tool: other, Scopes: []string{scope}}, {Resource: other, Deny: true}}, AuthorizationServers: []string{"https://issuer.example"}, LegacySSE: true, Logger: quiet,
		}
		if host != "" {
			c.AllowedHosts = []string{host}
		}
		if origin != "" {
			c.AllowedOrigins = []string{origin}
		}
		g, err := gateway.New(c)
		if err != nil {
			var faults *mcpauth.ConfigError
			if !errors.As(err, &faults) || len(faults.Faults) == 0 || g != nil {
				t.Fatalf("error = %#v", err)
			}
			return
		}
		defer g.Shutdown(context.Background())
		at, err := url.Parse(g.Resource().Identifier())
		if err != nil {
			t.Fatal(err)
		}
		ask := func(method, path string) *httptest.ResponseRecorder {
			r := httptest.NewRequest(method, "http://x/", strings.NewReader(""))
			r.URL.Path, r.Host = path, at.Host
			w := httptest.NewRecorder()
			g.ServeHTTP(w, r)
			return w
		}
		where := at.Path
		if where == "" {
			where = "/"
		}
		if w := ask("POST", where); w.Code != http.StatusUnauthorized || !strings.Contains(w.Header().Get("WWW-Authenticate"), g.Resource().MetadataURL()) {
			t.Errorf("at %q: %d %v", where, w.Code, w.Header())
		}
		if w := ask("GET", g.Resource().MetadataPath()); w.Code != http.StatusOK || !json.Valid(w.Body.Bytes()) {
			t.Errorf("metadata at %q: %d %s", g.Resource().MetadataPath(), w.Code, w.Body)
		}
	})
}
