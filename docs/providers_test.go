package docs_test

import (
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth/authn/jwt"
)

func auth0() jwt.Issuer {
	return jwt.Issuer{
		Name:     "https://TENANT.us.auth0.com/",
		Audience: []string{"https://mcp.example.com/mcp"},
		Keys:     []jwt.KeySource{jwt.Discover()},
	}
}

func entraV2() jwt.Issuer {
	return jwt.Issuer{
		Name:        "https://login.microsoftonline.com/TENANT-ID/v2.0",
		Audience:    []string{"CLIENT-ID-OF-THIS-SERVER"},
		UserIDClaim: "oid",
		Keys:        []jwt.KeySource{jwt.Discover()},
	}
}

func entraV1() jwt.Issuer {
	return jwt.Issuer{
		Name:        "https://sts.windows.net/TENANT-ID/",
		Audience:    []string{"api://CLIENT-ID-OF-THIS-SERVER"},
		UserIDClaim: "oid",
		Keys:        []jwt.KeySource{jwt.DiscoverAt("https://login.microsoftonline.com/TENANT-ID/.well-known/openid-configuration")},
	}
}

func okta() jwt.Issuer {
	return jwt.Issuer{
		Name:        "https://DOMAIN.okta.com/oauth2/default",
		Audience:    []string{"api://default"},
		UserIDClaim: "uid",
		Keys:        []jwt.KeySource{jwt.Discover()},
	}
}

func keycloak() jwt.Issuer {
	return jwt.Issuer{
		Name:     "https://keycloak.example.com/realms/REALM",
		Audience: []string{"https://mcp.example.com/mcp"},
		Keys:     []jwt.KeySource{jwt.Discover()},
	}
}

func keycloakInside() jwt.Config {
	return jwt.Config{
		Issuers: []jwt.Issuer{{
			Name:     "https://keycloak.example.com/realms/REALM",
			Audience: []string{"https://mcp.example.com/mcp"},
			Keys:     []jwt.KeySource{jwt.JWKSURL("http://keycloak:8080/realms/REALM/protocol/openid-connect/certs")},
		}},
		Fetch: jwt.Fetch{PlainHTTPHosts: []string{"keycloak:8080"}},
	}
}

func cognito() jwt.Issuer {
	return jwt.Issuer{
		Name:          "https://cognito-idp.REGION.amazonaws.com/POOL-ID",
		AudienceClaim: "client_id",
		Audience:      []string{"APP-CLIENT-ID", "ANOTHER-APP-CLIENT-ID"},
		Keys:          []jwt.KeySource{jwt.Discover()},
	}
}

func google() jwt.Issuer {
	return jwt.Issuer{
		Name:     "https://accounts.google.com",
		Audience: []string{"https://mcp.example.com/mcp"},
		Keys:     []jwt.KeySource{jwt.Discover()},
	}
}

func oidcProvider() jwt.Issuer {
	return jwt.Issuer{
		Name:        "http://127.0.0.1:3000",
		Audience:    []string{"https://mcp.example.com/mcp"},
		RequireType: true,
		Keys:        []jwt.KeySource{jwt.Discover()},
	}
}

// Each configuration of providers.md is one that New takes as it is written
// there. What it makes of the providers' tokens is for the tests of authn/jwt.
func TestConfigurationsOfProviders(t *testing.T) {
	only := func(iss jwt.Issuer) jwt.Config { return jwt.Config{Issuers: []jwt.Issuer{iss}} }
	document, err := os.ReadFile("providers.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]jwt.Config{
		"auth0": only(auth0()), "entraV2": only(entraV2()), "entraV1": only(entraV1()), "okta": only(okta()), "keycloak": only(keycloak()),
		"keycloakInside": keycloakInside(), "cognito": only(cognito()), "google": only(google()), "oidcProvider": only(oidcProvider()),
	} {
		t.Run(name, func(t *testing.T) {
			c.Logger = slog.New(slog.DiscardHandler)
			p, err := jwt.New(c)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if err := p.Ready(); err == nil || !strings.Contains(err.Error(), c.Issuers[0].Name) {
				t.Errorf("before its keys are fetched: %v", err)
			}
			if !strings.Contains(string(document), "\nfunc "+name+"() ") {
				t.Error("providers.md does not have it")
			}
		})
	}
}
