package docs_test

import (
	"errors"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/apikey"
	"github.com/mcpauth-go/mcpauth/authn/chain"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/authn/oauth"
	"github.com/mcpauth-go/mcpauth/revoke"
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

func entraTenants() jwt.Issuer {
	return jwt.Issuer{
		Name:        "https://login.microsoftonline.com/{tenant}/v2.0",
		Tenants:     []string{"TENANT-ID", "ANOTHER-TENANT-ID"},
		TenantClaim: "tid",
		Audience:    []string{"CLIENT-ID-OF-THIS-SERVER"},
		UserIDClaim: "oid",
		Keys:        []jwt.KeySource{jwt.DiscoverAt("https://login.microsoftonline.com/organizations/v2.0/.well-known/openid-configuration")},
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

func severalKinds(store apikey.Store, tokens jwt.Config, opaque oauth.Config, list *revoke.List) (chain.Provider, error) {
	tokens.Revocations, opaque.Revocations = list, list // one list for all
	keys, err := apikey.New(apikey.Config{Store: store, Revocations: list})
	if err != nil {
		return nil, err
	}
	signed, err := jwt.New(tokens)
	if err != nil {
		return nil, err
	}
	asked, err := oauth.New(opaque)
	if err != nil {
		return nil, err
	}
	return chain.New(keys, signed, asked) // started and closed by the gateway
}

func lifetimes(tokens jwt.Config, opaque oauth.Config) func(issuer string) (time.Duration, bool) {
	return func(issuer string) (time.Duration, bool) {
		if _, known := opaque.Lifetime(issuer); known || issuer == apikey.DefaultIssuer {
			return 0, true // no end is known: a revocation stays
		}
		return tokens.Lifetime(issuer)
	}
}

// The chain of providers.md has each credential judged by its own provider, and
// takes no request with two.
func TestSeveralKindsOfCredentials(t *testing.T) {
	quiet(t)
	tokens := jwt.Config{Issuers: []jwt.Issuer{auth0()}}
	opaque := introspection(mcpauth.NewSecret("of this server"))
	opaque.Endpoint = "http://127.0.0.1:1/nobody-is-here"
	list, err := revoke.Open(revoke.Config{Lifetime: lifetimes(tokens, opaque)})
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	var store apikey.Memory
	key, known, err := store.Create(t.Context(), apikey.Spec{UserID: "robot"})
	if err != nil {
		t.Fatal(err)
	}
	p, err := severalKinds(&store, tokens, opaque, list)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, test := range []struct {
		name string
		r    http.Header
		code mcpauth.Code // "" passes
	}{
		{"a key", http.Header{"X-Api-Key": {key.Reveal()}}, ""},
		{"the same as a bearer token", http.Header{"Authorization": {"Bearer " + key.Reveal()}}, ""},
		{"both", http.Header{"Authorization": {"Bearer " + key.Reveal()}, "X-Api-Key": {key.Reveal()}}, mcpauth.ErrMalformedHeader},
		{"a bad token of nobody's", http.Header{"Authorization": {"Bearer a.b.c"}}, mcpauth.ErrMalformedToken},
		{"an opaque token, while nobody can say", http.Header{"Authorization": {"Bearer opaque"}}, mcpauth.ErrUnavailable},
		{"nothing", http.Header{}, mcpauth.ErrMissingCredential},
	} {
		id, err := p.Authenticate(t.Context(), &mcpauth.Request{Header: test.r})
		if test.code == "" && (err != nil || id.UserID() != "robot") || test.code != "" && !errors.Is(err, test.code) {
			t.Errorf("%s: %v, %v", test.name, id, err)
		}
	}
	for issuer, is := range map[string]bool{apikey.DefaultIssuer: true, opaque.Issuer: true, auth0().Name: true, opaque.Issuer + "/": false} {
		if _, err := list.Revoke(t.Context(), revoke.Revocation{Kind: revoke.Token, Issuer: issuer, TokenID: known.ID}); (err == nil) != is {
			t.Errorf("a revocation for %q: %v", issuer, err)
		}
	}
	if id, err := p.Authenticate(t.Context(), &mcpauth.Request{Header: http.Header{"X-Api-Key": {key.Reveal()}}}); !errors.Is(err, mcpauth.ErrRevoked) {
		t.Errorf("a key that is revoked: %v, %v", id, err)
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
		"auth0": only(auth0()), "entraV2": only(entraV2()), "entraV1": only(entraV1()), "entraTenants": only(entraTenants()), "okta": only(okta()), "keycloak": only(keycloak()),
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
