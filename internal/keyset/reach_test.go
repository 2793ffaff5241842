package keyset

import (
	"net/url"
	"testing"

	"github.com/mcpauth-go/mcpauth/internal/outbound"
)

func TestReachOfURLs(t *testing.T) {
	c := newClient(Config{
		Issuer:         "https://public.example/realm",
		Metadata:       []string{"https://Idp.internal/metadata", "http://localhost:8080/metadata"},
		PlainHTTPHosts: []string{"keycloak", "127.0.0.1:1"},
	})
	for _, test := range []struct {
		url                string
		written, fromThere outbound.Reach // by the operator, by a document
	}{
		{"https://any.example/jwks", outbound.Anywhere, outbound.Public},
		{"https://idp.internal/jwks", outbound.Anywhere, outbound.Anywhere},
		{"https://IDP.INTERNAL:443/jwks", outbound.Anywhere, outbound.Anywhere},
		{"https://idp.internal:8443/jwks", outbound.Anywhere, outbound.Public},
		{"https://public.example/jwks", outbound.Anywhere, outbound.Anywhere},
		{"https://keycloak:8443/jwks", outbound.Anywhere, outbound.Anywhere},
		{"http://keycloak/jwks", outbound.Anywhere, outbound.Anywhere},
		{"http://localhost:8080/jwks", outbound.Loopback, outbound.Loopback},
		{"http://localhost:8081/jwks", outbound.Loopback, outbound.Public},
		{"http://127.0.0.1:1/jwks", outbound.Anywhere, outbound.Anywhere},
		{"http://127.0.0.1:2/jwks", outbound.Loopback, outbound.Public},
	} {
		u, err := url.Parse(test.url)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.reachOf(u, false); got != test.written {
			t.Errorf("%s, written by the operator: %d, want %d", u, got, test.written)
		}
		if got := c.reachOf(u, true); got != test.fromThere {
			t.Errorf("%s, from a document: %d, want %d", u, got, test.fromThere)
		}
	}
}
