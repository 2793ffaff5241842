package mcpauth_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth"
)

// Whatever a stranger says that our name is, or where his page is from: what
// passes is one of the names that were configured, by a judgement of its own.
func FuzzOrigin(f *testing.F) {
	for _, seed := range [][2]string{
		{"mcp.example.com", ""}, {"MCP.Example.com.:443", "https://mcp.example.com"}, {"mcp.internal:9000", "https://app.example.com:443"}, {"evil.example", "null"},
		{"mcp.example.com@evil.example", "https://mcp.example.com.evil.example"}, {"[::1]:80", "http://[::1]"}, {"localhost", "http://localhost"}, {"mcp.example.com:444", "https://app.example.com@evil.example"},
		{"mcp.example.com\\evil", "https://mcp%2eexample.com"}, {"", "//app.example.com"}, {"mcp.internal:", "HTTPS://APP.EXAMPLE.COM"},
		{"mcp.\u0130nternal", "https://app.example.com"}, {"mcp.internal", "\u212attps://app.example.com"},
	} {
		f.Add(seed[0], seed[1])
	}
	check, err := mcpauth.CheckOrigin(mcpauth.OriginConfig{
		PublicURL: "https://mcp.example.com", AllowedHosts: []string{"mcp.internal"}, AllowedOrigins: []string{"https://app.example.com"}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		f.Fatal(err)
	}
	passed := false
	handler := check(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed = true }))
	var (
		// Under any port: proxies and tunnels have others.
		hosts   = regexp.MustCompile(`^mcp\.(example\.com|internal)\.?(:[0-9]*)?$`)
		origins = regexp.MustCompile(`^https://(mcp|app)\.example\.com\.?(:(443)?)?$`)
		lower   = func(s string) string {
			return strings.Map(func(r rune) rune {
				if 'A' <= r && r <= 'Z' {
					r += 'a' - 'A' // and no other letter
				}
				return r
			}, s)
		}
	)
	f.Fuzz(func(t *testing.T, host, origin string) {
		r := httptest.NewRequest("POST", "/mcp", nil)
		if r.Host = host; origin != "" {
			r.Header.Set("Origin", origin)
		}
		w := httptest.NewRecorder()
		passed = false
		handler.ServeHTTP(w, r)
		if passed != (w.Code == http.StatusOK) || !passed && w.Code != http.StatusForbidden {
			t.Fatalf("%q, %q: passed %v, status %d", host, origin, passed, w.Code)
		}
		if passed && (!hosts.MatchString(lower(host)) || origin != "" && !origins.MatchString(lower(origin))) {
			t.Errorf("Host %q with Origin %q passes", host, origin)
		}
	})
}

// A configuration is refused with all that is wrong with it, or makes a
// resource whose every URL is under its origin.
func FuzzResource(f *testing.F) {
	for _, seed := range [][4]string{
		{"https://mcp.example.com", "/mcp", "https://issuer.example.com", "notes:read"}, {"http://127.0.0.1:8080", "", "http://localhost/realm", ""},
		{"https://MCP.example.com:443/", "/a/b", "https://issuer.example.com/a?b", "offline_access"}, {"https://user:password@mcp.example.com", "/mcp/", "x", `a"b`},
		{"https://[2001:db8::1]:8443", "/{$}", "https://issuer.example.com#", "a b"}, {"https://mcp.example.com/%2e%2e", "/../x", "//x", "é"}, {"javascript:alert(1)", "mcp", "", "\\"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	f.Fuzz(func(t *testing.T, public, path, server, scope string) {
		r, err := mcpauth.NewResource(mcpauth.ResourceConfig{PublicURL: public, Path: path, AuthorizationServers: []string{server}, Scopes: []string{scope}})
		if err != nil {
			var faults *mcpauth.ConfigError
			if !errors.As(err, &faults) || len(faults.Faults) == 0 || r != nil {
				t.Fatalf("error = %#v", err)
			}
			return
		}
		id, err := url.Parse(r.Identifier())
		if err != nil || id.Host == "" || id.User != nil || id.RawQuery != "" || id.Fragment != "" || id.Scheme != "https" && id.Scheme != "http" || id.Path != path {
			t.Fatalf("identifier %q: %v", r.Identifier(), err)
		}
		origin := id.Scheme + "://" + id.Host
		if want := origin + "/.well-known/oauth-protected-resource" + path; r.MetadataURL() != want || r.MetadataPath() != strings.TrimPrefix(want, origin) {
			t.Errorf("metadata is at %q, %q, want %q", r.MetadataURL(), r.MetadataPath(), want)
		}
		w := httptest.NewRecorder()
		r.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		var document struct {
			Resource string   `json:"resource"`
			Servers  []string `json:"authorization_servers"`
			Scopes   []string `json:"scopes_supported"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &document); err != nil || document.Resource != r.Identifier() || len(document.Servers) != 1 || document.Scopes[0] != scope {
			t.Errorf("document %s: %v", w.Body, err)
		}
		// No value breaks out of the quotes of a challenge.
		w = httptest.NewRecorder()
		mcpauth.Requirement{Resource: r, ChallengeScopes: []string{scope}}.Refuse(w, &mcpauth.Error{Code: mcpauth.ErrExpired, Message: "no"})
		if challenge := w.Header().Get("WWW-Authenticate"); strings.Count(challenge, `"`)%2 != 0 || strings.ContainsAny(challenge, "\\\r\n") || !strings.Contains(challenge, `resource_metadata="`+r.MetadataURL()+`"`) {
			t.Errorf("challenge %q", challenge)
		}
	})
}
