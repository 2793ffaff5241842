package e2e_test

import (
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/credential"
	tokenexchange "github.com/mcpauth-go/mcpauth/credential/exchange"
)

const notesAudience = "https://notes.example.com"

// startExchange starts oidc-provider with a grant that exchanges tokens, and
// returns its issuer.
func startExchange(t *testing.T, key, clientKey signingKey) string {
	t.Helper()
	p := &oidcProcess{script: "exchange.mjs"}
	p.start(t, map[string]any{
		"audience": notesAudience, "keys": []jose.JSONWebKey{key.JSONWebKey}, "clientKeys": []jose.JSONWebKey{clientKey.Public()},
	})
	return p.issuer
}

// signed is a token of issuer's for sub.
func signed(t *testing.T, key signingKey, issuer, audience, sub string) string {
	t.Helper()
	now := time.Now()
	token, err := key.signer.Sign(map[string]any{"iss": issuer, "aud": audience, "sub": sub, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// A user's token is exchanged at a certified provider, with each way of being its
// client, for one that the service verifies as the user's, and as meant for it.
func TestTokenExchange(t *testing.T) {
	needClients(t)
	key, clientKey := newSigningKey(t, "k1"), newSigningKey(t, "client")
	issuer := startExchange(t, key, clientKey)
	verifier := func(audience string) *jwt.Provider {
		p, err := jwt.New(jwt.Config{
			Issuers: []jwt.Issuer{{Name: issuer, Audience: []string{audience}, Keys: []jwt.KeySource{jwt.Discover()}}},
			Logger:  slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		if err := p.Reload(); err != nil {
			t.Fatal(err)
		}
		return p
	}
	server, service := verifier(oidcAudience), verifier(notesAudience)
	identity := func(token string) *mcpauth.Identity {
		id, err := server.Verify(t.Context(), token)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	alice, bob := identity(signed(t, key, issuer, oidcAudience, "alice")), identity(signed(t, key, issuer, oidcAudience, "bob"))

	secret := mcpauth.NewSecret("of the client: +/%")
	for _, test := range []struct {
		name   string
		client tokenexchange.Client
	}{
		{"basic", tokenexchange.Client{ClientID: "basic:1", Secret: secret}},
		{"post", tokenexchange.Client{ClientID: "post", Secret: secret, Method: tokenexchange.ClientSecretPost}},
		{"key", tokenexchange.Client{ClientID: "key", Key: clientKey.Key.(crypto.Signer), KeyID: "client"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			resolver := exchanging(t, issuer, tokenexchange.Config{Client: test.client, Actor: tokenexchange.FixedToken(mcpauth.NewSecret(signed(t, key, issuer, issuer, "gateway")))})
			began := time.Now()
			found, err := resolver.Resolve(t.Context(), alice, "notes")
			if err != nil || found == nil {
				t.Fatalf("%v, %v", found, cause(err))
			}
			if left := found.Expiry.Sub(began); left < 299*time.Second || left > 330*time.Second {
				t.Errorf("it ends in %s", left)
			}
			who, err := service.Verify(t.Context(), found.Token.Reveal())
			if err != nil {
				t.Fatal(cause(err))
			}
			var actor struct{ Sub string }
			if _, err := who.Claim("act", &actor); err != nil || who.UserID() != "alice" || !who.HasScopes("notes:read") || actor.Sub != "gateway" {
				t.Errorf("%v, scopes %q, actor %+v, %v", who, who.Scopes(), actor, err)
			}
			if _, err := server.Verify(t.Context(), found.Token.Reveal()); !errors.Is(err, mcpauth.ErrWrongAudience) {
				t.Errorf("at this server: %v", err)
			}
			if found, err := resolver.Resolve(t.Context(), bob, "notes"); found != nil || err != nil {
				t.Errorf("bob has %v, %v", found, cause(err))
			}
		})
	}

	for _, test := range []struct {
		name   string
		change func(*tokenexchange.Config)
		want   string
	}{
		{"a wrong secret", func(c *tokenexchange.Config) { c.Client.Secret = mcpauth.NewSecret("canary") }, "refused: invalid_client"},
		{"another target", func(c *tokenexchange.Config) {
			c.Targets = map[string]tokenexchange.Target{tokenexchange.AnyType: {Audience: []string{"https://other.example.com"}}}
		}, "refused: invalid_target"},
		{"an actor of another issuer", func(c *tokenexchange.Config) {
			c.Actor = tokenexchange.FixedToken(mcpauth.NewSecret(signed(t, newSigningKey(t, "k1"), issuer, issuer, "mallory")))
		}, "refused: invalid_request"},
		{"a type that it does not exchange", func(c *tokenexchange.Config) { c.SubjectTokenType = tokenexchange.JWT }, "refused: invalid_request"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := tokenexchange.Config{Client: tokenexchange.Client{ClientID: "basic:1", Secret: secret}}
			test.change(&c)
			found, err := exchanging(t, issuer, c).Resolve(t.Context(), alice, "notes")
			if found != nil || !errors.Is(err, mcpauth.ErrUnavailable) || !strings.Contains(cause(err), test.want) || strings.Contains(cause(err), "canary") {
				t.Errorf("%v, %s; want %s", found, cause(err), test.want)
			}
		})
	}
}

func exchanging(t *testing.T, issuer string, c tokenexchange.Config) *credential.Resolver {
	t.Helper()
	c.Issuer, c.NotConnected = issuer, []string{"account_not_linked"}
	if c.Targets == nil {
		c.Targets = map[string]tokenexchange.Target{"notes": {Audience: []string{notesAudience}, Scopes: []string{"notes:read"}}}
	}
	source, err := tokenexchange.New(c)
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := credential.New(credential.Config{Source: source, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resolver.Close() })
	return resolver
}

// cause is what the log says of an error.
func cause(err error) string { return fmt.Sprint(err, ": ", errors.Unwrap(err)) }
