package outbound_test

import (
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth/internal/outbound"
)

func TestCheckURL(t *testing.T) {
	hosts := []string{"keycloak", "idp:8080", "[fd00::1]"}
	for _, test := range []struct{ url, reason string }{
		{"https://a.example/jwks", ""},
		{"https://a.example:8443/jwks?x=1", ""},
		{"https://10.0.0.1/jwks", ""},
		{"HTTPS://a.example", ""},
		{"http://localhost:8080/jwks", ""},
		{"http://LOCALHOST/jwks", ""},
		{"http://127.1.2.3/jwks", ""},
		{"http://[::1]:80/jwks", ""},
		{"http://keycloak/jwks", ""},
		{"http://keycloak:8080/jwks", ""},
		{"http://idp:8080/jwks", ""},
		{"http://[fd00::1]:1/jwks", ""},
		{"http://idp/jwks", "neither loopback nor listed"},
		{"http://idp:80/jwks", "neither loopback nor listed"},
		{"http://a.example/jwks", "neither loopback nor listed"},
		{"http://localhost.example/jwks", "neither loopback nor listed"},
		{"http://127.0.0.1.example/jwks", "neither loopback nor listed"},
		{"https://user:password@a.example/jwks", "user name or password"},
		{"https://a.example/jwks#x", "fragment"},
		{"file:///etc/passwd", "absolute"},
		{"ftp://a.example/jwks", "not https"},
		{"gopher://a.example/jwks", "not https"},
		{"https:a.example", "absolute"},
		{"https://", "absolute"},
		{"https://:443/jwks", "absolute"},
		{"//a.example/jwks", "not https"},
		{"/jwks", "absolute"},
		{"a.example", "absolute"},
		{"", "absolute"},
		{"https://a.example/\x00", "absolute"},
	} {
		err := outbound.CheckURL(test.url, hosts)
		if (err == nil) != (test.reason == "") || err != nil && !strings.Contains(err.Error(), test.reason) {
			t.Errorf("CheckURL(%q) = %v, want %q", test.url, err, test.reason)
		}
		if err != nil && strings.Contains(err.Error(), "password@") {
			t.Errorf("the password is shown: %v", err)
		}
	}
	for host, good := range map[string]bool{"a": true, "a:1": true, "[::1]:1": true, "a.example": true, "": false, "http://a": false, "a/b": false, "*": false, "*.a": false, "a@b": false, "a b": false, ":80": false} {
		if err := outbound.CheckHost(host); (err == nil) != good {
			t.Errorf("CheckHost(%q) = %v", host, err)
		}
	}
	for raw, want := range map[string]string{
		"https://user:password@a.example:1/x?key=secret#y": "https://a.example:1/x", "::": "(not a URL)", "secret": "(not a URL)", "": "(not a URL)",
	} {
		if got := outbound.Shown(raw); got != want {
			t.Errorf("Shown(%q) = %q, want %q", raw, got, want)
		}
	}
}
