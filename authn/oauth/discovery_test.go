package oauth_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth"
)

func TestDiscovery(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked %s", r.URL) }))
	defer other.Close()
	for _, test := range []struct {
		name, path, document string
		passes               bool
	}{
		{"as OpenID Connect has it", "/.well-known/openid-configuration", `{"issuer":"{url}","introspection_endpoint":"{url}/introspect"}`, true},
		{"as RFC 8414 has it", "/.well-known/oauth-authorization-server", `{"issuer":"{url}","introspection_endpoint":"{url}/introspect"}`, true},
		{"another issuer", "/.well-known/openid-configuration", `{"issuer":"{url}/","introspection_endpoint":"{url}/introspect"}`, false},
		{"no issuer", "/.well-known/openid-configuration", `{"introspection_endpoint":"{url}/introspect"}`, false},
		{"no endpoint", "/.well-known/openid-configuration", `{"issuer":"{url}"}`, false},
		{"an endpoint of another type", "/.well-known/openid-configuration", `{"issuer":"{url}","introspection_endpoint":["{url}/introspect"]}`, false},
		{"the endpoint twice", "/.well-known/openid-configuration", `{"issuer":"{url}","introspection_endpoint":"{url}/introspect","introspection_endpoint":"{url}/introspect"}`, false},
		{"an endpoint in this machine", "/.well-known/openid-configuration", `{"issuer":"{url}","introspection_endpoint":"{other}/introspect"}`, false},
		{"an endpoint in this network", "/.well-known/openid-configuration", `{"issuer":"{url}","introspection_endpoint":"https://10.0.0.1/introspect"}`, false},
		{"an endpoint of the cloud", "/.well-known/openid-configuration", `{"issuer":"{url}","introspection_endpoint":"https://169.254.169.254/introspect"}`, false},
		{"an endpoint over plain http", "/.well-known/openid-configuration", `{"issuer":"{url}","introspection_endpoint":"http://example.com/introspect"}`, false},
		{"a file", "/.well-known/openid-configuration", `{"issuer":"{url}","introspection_endpoint":"file:///etc/passwd"}`, false},
		{"HTML", "/.well-known/openid-configuration", `<html>`, false},
		{"huge", "/.well-known/openid-configuration", `{"issuer":"{url}","introspection_endpoint":"{url}/introspect","x":"` + strings.Repeat("x", 300<<10) + `"}`, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newAuthority(t, good())
			server := httptest.NewServer(nil)
			defer server.Close()
			server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case test.path:
					fmt.Fprint(w, strings.NewReplacer("{url}", server.URL, "{other}", other.URL).Replace(test.document))
				case "/introspect":
					fmt.Fprint(w, good())
				default:
					http.NotFound(w, r)
				}
			})
			c := a.config()
			c.Issuer = server.URL
			p := newProvider(t, c)
			if test.passes {
				passes(t, p, "t")
				return
			}
			refused(t, p, "t", mcpauth.ErrUnavailable)
		})
	}
}

func TestMetadataThatTheIssuerDoesNotLeadTo(t *testing.T) {
	a := newAuthority(t, good())
	c := a.config()
	c.Issuer, c.MetadataURL = "https://issuer.example", a.URL+"/.well-known/openid-configuration"
	// It names another issuer.
	refused(t, newProvider(t, c), "t", mcpauth.ErrUnavailable)
	c.MetadataURL, c.Endpoint = "", a.URL+"/introspect"
	if id := passes(t, newProvider(t, c), "t"); id.Issuer() != "https://issuer.example" {
		t.Errorf("%v", id)
	}
}
