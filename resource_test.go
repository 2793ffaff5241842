package mcpauth_test

import (
	"encoding/json"
	"errors"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth"
)

func TestResourceURLs(t *testing.T) {
	as := []string{"https://issuer.example"}
	for _, test := range []struct {
		name                 string
		config               mcpauth.ResourceConfig
		identifier, url, doc string // doc is the path of the document
	}{
		{"with a path", mcpauth.ResourceConfig{PublicURL: "https://mcp.example.com", Path: "/mcp", AuthorizationServers: as},
			"https://mcp.example.com/mcp", "https://mcp.example.com/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource/mcp"},
		{"with a deep path", mcpauth.ResourceConfig{PublicURL: "https://mcp.example.com", Path: "/a/b", AuthorizationServers: as},
			"https://mcp.example.com/a/b", "https://mcp.example.com/.well-known/oauth-protected-resource/a/b", "/.well-known/oauth-protected-resource/a/b"},
		{"the whole origin has the root form", mcpauth.ResourceConfig{PublicURL: "https://mcp.example.com", AuthorizationServers: as},
			"https://mcp.example.com", "https://mcp.example.com/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource"},
		{"the URL is brought to its normal form", mcpauth.ResourceConfig{PublicURL: "HTTPS://MCP.Example.COM:443/", Path: "/mcp", AuthorizationServers: as},
			"https://mcp.example.com/mcp", "https://mcp.example.com/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource/mcp"},
		{"loopback with a port", mcpauth.ResourceConfig{PublicURL: "http://127.0.0.1:8080", Path: "/mcp", AuthorizationServers: as},
			"http://127.0.0.1:8080/mcp", "http://127.0.0.1:8080/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource/mcp"},
		{"IPv6 loopback", mcpauth.ResourceConfig{PublicURL: "http://[::1]:80", Path: "/mcp", AuthorizationServers: as},
			"http://[::1]/mcp", "http://[::1]/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource/mcp"},
		{"IPv6, written out", mcpauth.ResourceConfig{PublicURL: "https://[2001:0DB8:0:0::1]:8443", Path: "/mcp", AuthorizationServers: []string{"https://b\u00fccher.example/"}},
			"https://[2001:db8::1]:8443/mcp", "https://[2001:db8::1]:8443/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource/mcp"},
		{"without authorization servers there is no document", mcpauth.ResourceConfig{PublicURL: "https://mcp.example.com", Path: "/mcp"},
			"https://mcp.example.com/mcp", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newResource(t, test.config)
			if r.Identifier() != test.identifier || r.MetadataURL() != test.url || r.MetadataPath() != test.doc {
				t.Errorf("identifier %q, URL %q, path %q; want %q, %q, %q", r.Identifier(), r.MetadataURL(), r.MetadataPath(), test.identifier, test.url, test.doc)
			}
		})
	}
}

func TestResourceDocument(t *testing.T) {
	for _, test := range []struct {
		method string
		status int
		body   bool
	}{{"GET", 200, true}, {"HEAD", 200, true}, {"OPTIONS", 204, false}, {"POST", 405, false}, {"DELETE", 405, false}} {
		t.Run(test.method, func(t *testing.T) {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(test.method, "/.well-known/oauth-protected-resource/mcp", nil)
			r.Header.Set("Origin", "https://any.example")
			exampleResource(t).ServeHTTP(w, r)
			if w.Code != test.status {
				t.Errorf("status = %d, want %d", w.Code, test.status)
			}
			if got := w.Header().Get("Access-Control-Allow-Origin"); got != "*" {
				t.Errorf("Access-Control-Allow-Origin = %q, want *", got)
			}
			if !test.body {
				return
			}
			var got map[string]any
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			want := map[string]any{
				"resource":                 "https://mcp.example.com/mcp",
				"authorization_servers":    []any{"https://issuer.example"},
				"scopes_supported":         []any{"read", "write"},
				"bearer_methods_supported": []any{"header"},
			}
			if !reflect.DeepEqual(got, want) || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("document = %v as %s", got, w.Header().Get("Content-Type"))
			}
		})
	}
	w := httptest.NewRecorder()
	newResource(t, mcpauth.ResourceConfig{PublicURL: "https://mcp.example.com"}).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != 404 {
		t.Errorf("without authorization servers: status = %d, want 404", w.Code)
	}
}

func faultFields(t *testing.T, err error) []string {
	t.Helper()
	var config *mcpauth.ConfigError
	if !errors.As(err, &config) {
		t.Fatalf("error = %v, want a *ConfigError", err)
	}
	var fields []string
	for _, f := range config.Faults {
		fields = append(fields, f.Field)
	}
	return fields
}

func TestResourceReportsAllFaultsAtOnce(t *testing.T) {
	_, err := mcpauth.NewResource(mcpauth.ResourceConfig{
		PublicURL: "http://mcp.example.com", Path: "mcp",
		AuthorizationServers: []string{"https://issuer.example", "http://issuer.example", "https://issuer.example?x=1", "no URL"},
		Scopes:               []string{"read", "two words", "", "offline_access", `quo"te`},
	})
	want := []string{"PublicURL", "Path", "AuthorizationServers[1]", "AuthorizationServers[2]", "AuthorizationServers[3]", "Scopes[1]", "Scopes[2]", "Scopes[3]", "Scopes[4]"}
	if got := faultFields(t, err); !reflect.DeepEqual(got, want) {
		t.Errorf("faults of %v, want %v", got, want)
	}
}

func TestResourceRefusals(t *testing.T) {
	for _, url := range []string{
		"", "mcp.example.com", "ftp://mcp.example.com", "https://", "https:///mcp", "https://mcp.example.com/mcp", "https://mcp.example.com?x", "https://mcp.example.com#x",
		"https://user@mcp.example.com", "http://10.0.0.1", "http://localhost.example.com", "http://127.0.0.1.nip.io", "https://:443", "//mcp.example.com", "javascript:alert(1)", "https://a b",
	} {
		if _, err := mcpauth.NewResource(mcpauth.ResourceConfig{PublicURL: url}); err == nil {
			t.Errorf("the public URL %q is taken", url)
		}
	}
	for _, path := range []string{"/", "mcp", "/mcp/", "/mcp?x", "/mcp#x", "/{id}", "/a b", "/%2e"} {
		if _, err := mcpauth.NewResource(mcpauth.ResourceConfig{PublicURL: "https://mcp.example.com", Path: path}); err == nil {
			t.Errorf("the path %q is taken", path)
		}
	}
}

// A fault is written to logs and terminals: "it never holds a secret".
func TestFaultsOfURLsHoldNoPassword(t *testing.T) {
	for name, configure := range map[string]func(url string) error{
		"PublicURL": func(url string) error {
			_, err := mcpauth.NewResource(mcpauth.ResourceConfig{PublicURL: url})
			return err
		},
		"AuthorizationServers": func(url string) error {
			_, err := mcpauth.NewResource(mcpauth.ResourceConfig{PublicURL: "https://mcp.example.com", AuthorizationServers: []string{url}})
			return err
		},
		"AllowedOrigins": func(url string) error {
			_, err := mcpauth.CheckOrigin(mcpauth.OriginConfig{PublicURL: "https://mcp.example.com", AllowedOrigins: []string{url}})
			return err
		},
	} {
		for _, url := range []string{"https://user:" + canary + "@issuer.example", "ftp://user:" + canary + "@issuer.example/x?y"} {
			err := configure(url)
			if err == nil {
				t.Errorf("%s: a URL with a password is taken", name)
			} else if strings.Contains(err.Error(), canary) {
				t.Errorf("%s: the fault holds the password: %v", name, err)
			}
		}
	}
}
