package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/apikey"
	"github.com/mcpauth-go/mcpauth/authn/apikey/sqlite"
	"github.com/mcpauth-go/mcpauth/authn/chain"
	"github.com/mcpauth-go/mcpauth/authn/oauth"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
)

// One gateway takes API keys, JSON Web Tokens and opaque tokens of a real
// provider. Each kind is judged by its own, and nothing else is shown to the
// provider.
func TestKindsOfCredentials(t *testing.T) {
	p := startOpaque(t)
	const issuer = "https://login.example.com"
	key := newSigningKey(t, "k1")
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "keys.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	keys, err := apikey.New(apikey.Config{Store: store, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	opaques, err := oauth.New(p.config(oauth.Client{ClientID: "gateway", Secret: mcpauth.NewSecret("of the gateway: 100%+")}))
	if err != nil {
		t.Fatal(err)
	}
	provider, err := chain.New(keys, staticJWTs(t, issuer, oidcAudience, key), opaques)
	if err != nil {
		t.Fatal(err)
	}
	factory := &gatewaytest.Factory{Setup: func(server *mcp.Server, call gateway.Call) {
		owner := fmt.Sprint(call.Identity)
		gatewaytest.AddTool(server, "me", func(ctx context.Context, _ *mcp.CallToolRequest) (string, error) {
			if me := fmt.Sprint(mcpauth.FromContext(ctx)); me != owner {
				return me + " at a server of " + owner, nil
			}
			return owner, nil
		})
	}}
	s := gatewaytest.Start(t, gateway.Config{PublicURL: "https://mcp.example.com", Factory: factory.Make, Provider: provider, RequiredScopes: []string{"notes:read"}})
	gatewaytest.Eventually(t, "the gateway is ready", func() bool {
		return s.Do(t, gatewaytest.Request{Method: "GET", Path: "/mcp/health/ready"}).Status == http.StatusOK
	})

	made, created, err := store.Create(t.Context(), apikey.Spec{UserID: "carol", Scopes: []string{"notes:read"}})
	if err != nil {
		t.Fatal(err)
	}
	unknown, _, err := apikey.Generate(apikey.Spec{UserID: "carol", Scopes: []string{"notes:read"}})
	if err != nil {
		t.Fatal(err)
	}
	jwtOf := func(key signingKey, expiry time.Time) string {
		token, err := key.signer.Sign(map[string]any{"iss": issuer, "aud": oidcAudience, "sub": "bob", "scope": "notes:read", "iat": time.Now().Add(-time.Hour).Unix(), "exp": expiry.Unix()})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	later := time.Now().Add(time.Hour)
	token := p.login(t, "alice", "--resource", oidcAudience).token(t) // last: it does not live long

	bearer := func(token string) map[string]string { return map[string]string{"Authorization": "Bearer " + token} }
	ofCarol := `"carol" of "` + apikey.DefaultIssuer + `"`
	good := []struct {
		name    string
		headers map[string]string
		want    string
	}{
		{"an API key as a bearer token", bearer(made.Reveal()), ofCarol},
		{"an API key in its own header", map[string]string{"X-API-Key": made.Reveal()}, ofCarol},
		{"a JSON Web Token", bearer(jwtOf(key, later)), `"bob" of "` + issuer + `"`},
		{"an opaque token", bearer(token), `"alice" of "` + p.issuer + `"`},
	}
	var connections []connection
	for _, test := range good {
		connections = append(connections, connection{test.headers, []step{{Tool: "me"}, {Tool: "me"}, {Tool: "me"}}})
	}
	playEach(t, "good", s.URL, connections, func(t *testing.T, c crowd, i int, got seen) {
		if texts := strings.Join(got.texts(t, c.client), "; "); texts != strings.Join([]string{good[i].want, good[i].want, good[i].want}, "; ") {
			t.Errorf("%s is %s, want %s each time", good[i].name, texts, good[i].want)
		}
	})
	bad := []struct {
		name    string
		headers map[string]string
		err     string // of the challenge (RFC 6750, section 3.1)
	}{
		{"nothing", nil, ""},
		{"an unknown API key", bearer(unknown.Reveal()), "invalid_token"},
		{"an unknown API key in its own header", map[string]string{"X-API-Key": unknown.Reveal()}, "invalid_token"},
		{"what begins as an API key", bearer("sk_0123"), "invalid_token"},
		{"a JSON Web Token that another has signed", bearer(jwtOf(newSigningKey(t, "k1"), later)), "invalid_token"},
		{"one that has expired", bearer(jwtOf(key, time.Now().Add(-time.Minute))), "invalid_token"},
		{"the JSON Web Token in the API key's header", map[string]string{"X-API-Key": jwtOf(key, later)}, "invalid_token"},
	}
	connections = nil
	for _, test := range bad {
		connections = append(connections, connection{test.headers, []step{{Tool: "me"}}})
	}
	refused := func(t *testing.T, name string, got seen, err string) {
		t.Helper()
		want := challenge{"https://mcp.example.com/.well-known/oauth-protected-resource/mcp", err}
		if got.Error == nil || got.Error.Status != http.StatusUnauthorized || got.Challenge != want {
			t.Errorf("%s: %+v with %+v, want 401 with %+v", name, got.Error, got.Challenge, want)
		}
	}
	playEach(t, "bad", s.URL, connections, func(t *testing.T, _ crowd, i int, got seen) { refused(t, bad[i].name, got, bad[i].err) })
	if asked := opaques.Stats().Asked; asked != 1 {
		t.Errorf("the provider was asked about %d tokens, want the opaque one alone, once", asked)
	}

	if _, err := store.Revoke(t.Context(), created.ID); err != nil {
		t.Fatal(err)
	}
	connections = []connection{{good[0].headers, nil}, {good[1].headers, nil}, {bearer("invented"), nil}}
	playEach(t, "revoked and invented", s.URL, connections, func(t *testing.T, _ crowd, i int, got seen) {
		refused(t, []string{"a revoked API key", "one in its own header", "an invented opaque token"}[i], got, "invalid_token")
	})
}

// playEach has every client make all connections, all at the same time, and then
// checks what came of each.
func playEach(t *testing.T, phase, url string, connections []connection, check func(*testing.T, crowd, int, seen)) {
	t.Helper()
	var all []*process
	for _, c := range crowds {
		all = append(all, &process{crowd: c, connections: connections})
	}
	playAll(t, url, all)
	for _, p := range all {
		t.Run(phase+", "+p.name, func(t *testing.T) {
			for i, got := range p.seen {
				check(t, p.crowd, i, got)
			}
		})
	}
}
