package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/admin"
	"github.com/mcpauth-go/mcpauth/authn/apikey"
	"github.com/mcpauth-go/mcpauth/authn/chain"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/credential"
	"github.com/mcpauth-go/mcpauth/credential/platform"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/revoke"
)

var discard = slog.New(slog.DiscardHandler)

// accounts is a platform with a credential for each user.
type accounts struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string // X-User-ID of each request
	down  atomic.Bool
	round atomic.Int32 // of credentials
}

func openAccounts(t *testing.T) *accounts {
	a := &accounts{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user := r.Header.Get("X-User-ID")
		a.mu.Lock()
		a.asked = append(a.asked, user)
		a.mu.Unlock()
		switch {
		case a.down.Load():
			http.Error(w, "down", http.StatusInternalServerError)
		case r.URL.Path != "/api/credentials/notes" || !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer eyJ"):
			http.Error(w, "what?", http.StatusBadRequest)
		default:
			fmt.Fprintf(w, `{"access_token":"%s-%d","expires_in":3600}`, user, a.round.Load())
		}
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *accounts) questions() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.asked)
}

func (a *accounts) resolver(t *testing.T, list *revoke.List) *credential.Resolver {
	t.Helper()
	source, err := platform.New(platform.Config{BaseURL: a.URL, SameTrustDomain: true, Logger: discard})
	if err != nil {
		t.Fatal(err)
	}
	c := credential.Config{Source: source, Logger: discard}
	if list != nil {
		c.Revocations = list
	}
	r, err := credential.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A hundred first calls of a user ask the platform once, and each user has what
// is theirs, kept until an operator has it forgotten.
func TestCredentialsOfAPlatform(t *testing.T) {
	a := openAccounts(t)
	resolver := a.resolver(t, nil)
	socket := filepath.Join(t.TempDir(), "admin.sock")
	s := gatewaytest.Start(t, gateway.Config{Factory: telltale().Make, Resolver: resolver, ResourceType: "notes", Admin: admin.Config{Socket: socket}})
	tokens := map[string]string{"alice": s.Token(t, "alice"), "bob": s.Token(t, "bob")}
	var asking sync.WaitGroup
	for user, token := range tokens {
		for i := range 100 {
			asking.Go(func() {
				want := fmt.Sprintf("made with %[1]s-0, called with %[1]s-0", user)
				if got, err := s.Try(t.Context(), gatewaytest.ModernCall(token, i, "which", "{}")); err != nil || got.Text() != want {
					t.Errorf("%s: %v, %d %s", user, err, got.Status, got.Body)
				}
			})
		}
	}
	asking.Wait()
	if n := a.questions(); n != 2 {
		t.Errorf("the platform was asked %d times for 2 users", n)
	}

	a.round.Store(1)
	client := &credential.Client{URL: "http://administration", HTTP: &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
	if n, err := client.Invalidate(t.Context(), "https://issuer.example", "alice", "notes"); err != nil || n != 1 {
		t.Errorf("Invalidate = %d, %v", n, err)
	}
	for user, round := range map[string]int{"alice": 1, "bob": 0} {
		want := fmt.Sprintf("made with %[1]s-%[2]d, called with %[1]s-%[2]d", user, round)
		if got := s.Do(t, gatewaytest.ModernCall(tokens[user], 1, "which", "{}")); got.Text() != want {
			t.Errorf("%s, after alice's has been forgotten: %d %s, want %s", user, got.Status, got.Body, want)
		}
	}

	a.down.Store(true)
	if got := s.Do(t, gatewaytest.ModernCall(tokens["alice"], 1, "which", "{}")); got.Status != http.StatusOK {
		t.Errorf("alice, whose credential is cached, while the platform is down: %d %s", got.Status, got.Body)
	}
	carol := s.Token(t, "carol")
	if got := s.Do(t, gatewaytest.ModernCall(carol, 1, "which", "{}")); got.Status != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" {
		t.Errorf("carol, meanwhile: %d %v %s", got.Status, got.Header, got.Body)
	}
}

// Whoever is revoked has no credential left, here or in memory.
func TestRevokedUsersHaveNoCredential(t *testing.T) {
	a, l := openAccounts(t), openList(t, revoke.Config{})
	issuer := gatewaytest.NewIssuer(t, revokingIssuer)
	resolver := a.resolver(t, l)
	s := gatewaytest.Start(t, gateway.Config{Factory: telltale().Make, Resolver: resolver, ResourceType: "notes", Revocations: l}, issuer)
	alice := s.Token(t, "alice")
	if got := s.Do(t, gatewaytest.ModernCall(alice, 1, "which", "{}")); got.Status != http.StatusOK {
		t.Fatalf("%d %s", got.Status, got.Body)
	}
	put(t, l, revoke.Revocation{Kind: revoke.Block, UserID: "alice"})
	isRevoked(t, s, gatewaytest.ModernCall(alice, 1, "which", "{}"))
	gatewaytest.Eventually(t, "the credential is forgotten", func() bool { return resolver.Stats().Entries == 0 })
}

func TestResolversThatDoNotFit(t *testing.T) {
	a, one, another := openAccounts(t), openList(t, revoke.Config{}), openList(t, revoke.Config{})
	issuer := gatewaytest.NewIssuer(t, revokingIssuer)
	provider := func(anyAudience bool, l *revoke.List) mcpauth.Provider {
		var c jwt.Config
		if l != nil {
			c.Revocations = l
		}
		if anyAudience {
			c.Issuers = []jwt.Issuer{{Name: "https://lax.example", AnyAudience: true, Keys: []jwt.KeySource{jwt.Secret(mcpauth.NewSecret(strings.Repeat("q8", 20)))}}}
		}
		p := gatewaytest.ProviderOf(t, c, "http://127.0.0.1:8080/mcp", issuer)
		t.Cleanup(func() { p.Close() })
		return p
	}
	chained := func(p mcpauth.Provider) mcpauth.Provider {
		c, err := chain.New(p)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, test := range []struct {
		name     string
		provider mcpauth.Provider
		list     *revoke.List // of the resolver
		ours     *revoke.List
		fields   []string
	}{
		{"all fits", provider(false, one), one, one, nil},
		{"no list", provider(false, nil), nil, nil, nil},
		{"another list", provider(false, one), another, one, []string{"Revocations"}},
		{"no list of the resolver's", provider(false, one), nil, one, []string{"Revocations"}},
		{"no list of the gateway's", known{}, one, nil, []string{"Revocations"}},
		{"tokens that may be meant for others", provider(true, nil), nil, nil, []string{"Resolver"}},
		{"tokens that may be meant for others, in a chain", chained(provider(true, nil)), nil, nil, []string{"Resolver"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			resolver := a.resolver(t, test.list)
			defer resolver.Close()
			g, err := gateway.New(gateway.Config{Provider: test.provider, Factory: telltale().Make, Resolver: resolver, ResourceType: "notes", Revocations: test.ours})
			var fields []string
			if faulty := (*mcpauth.ConfigError)(nil); errors.As(err, &faulty) {
				for _, f := range faulty.Faults {
					fields = append(fields, f.Field)
				}
			} else if err == nil {
				defer g.Shutdown(context.Background())
			}
			if !slices.Equal(fields, test.fields) {
				t.Errorf("%v", err)
			}
		})
	}
}

// Keys and tokens side by side: each has its user, and a revocation of a key is
// seen at once, by a key store and by the list.
func TestAPIKeysBesideTokens(t *testing.T) {
	l := openList(t, revoke.Config{})
	store := &apikey.Memory{}
	keys, err := apikey.New(apikey.Config{Store: store, Revocations: l, Logger: discard})
	if err != nil {
		t.Fatal(err)
	}
	issuer := gatewaytest.NewIssuer(t, revokingIssuer)
	tokens := gatewaytest.ProviderOf(t, jwt.Config{Revocations: l}, "https://mcp.example.com/mcp", issuer)
	provider, err := chain.New(keys, tokens)
	if err != nil {
		t.Fatal(err)
	}
	s := gatewaytest.Start(t, gateway.Config{Provider: provider, Factory: (&gatewaytest.Factory{}).Make, Revocations: l, RequiredScopes: []string{"mcp"},
		PublicURL: "https://mcp.example.com", AllowedHosts: []string{"127.0.0.1"}}, issuer)
	secret, key, err := store.Create(t.Context(), apikey.Spec{UserID: "robot", Scopes: []string{"mcp"}})
	if err != nil {
		t.Fatal(err)
	}
	call := func(header, value string) gatewaytest.Answer {
		r := gatewaytest.ModernCall("", 1, "whoami", "{}")
		r.Header[header] = []string{value}
		return s.Do(t, r)
	}
	for _, test := range []struct{ header, value, user string }{
		{"Authorization", "Bearer " + secret.Reveal(), `"caller":"robot"`},
		{"X-API-Key", secret.Reveal(), `"caller":"robot"`},
		{"Authorization", "Bearer " + s.Token(t, "alice", scope("mcp")), `"caller":"alice"`},
	} {
		if got := call(test.header, test.value); got.Status != http.StatusOK || !strings.Contains(got.Text(), test.user) {
			t.Errorf("%s: %d %s, want %s", test.header, got.Status, got.Body, test.user)
		}
	}
	for name, value := range map[string]string{"a key that nobody has": "sk_" + strings.Repeat("A", 43), "no key": "sk_x"} {
		got := call("X-API-Key", value)
		if challenge := got.Header.Get("WWW-Authenticate"); got.Status != http.StatusUnauthorized || !strings.Contains(challenge, `error="invalid_token"`) || !strings.Contains(challenge, "resource_metadata=") {
			t.Errorf("%s: %d %q %s", name, got.Status, challenge, got.Body)
		}
	}
	if _, err := store.Revoke(t.Context(), key.ID); err != nil {
		t.Fatal(err)
	}
	if got := call("X-API-Key", secret.Reveal()); got.Status != http.StatusUnauthorized {
		t.Errorf("a key that its store has revoked: %d %s", got.Status, got.Body)
	}
	secret, key, err = store.Create(t.Context(), apikey.Spec{UserID: "robot", Scopes: []string{"mcp"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := call("X-API-Key", secret.Reveal()); got.Status != http.StatusOK {
		t.Errorf("another key: %d %s", got.Status, got.Body)
	}
	if _, err := l.Revoke(t.Context(), revoke.Revocation{Kind: revoke.Token, Issuer: apikey.DefaultIssuer, TokenID: key.ID}); err != nil {
		t.Fatal(err)
	}
	if got := call("X-API-Key", secret.Reveal()); got.Status != http.StatusUnauthorized || !strings.Contains(got.Body, "revoked") {
		t.Errorf("a key on the list of revocations: %d %s", got.Status, got.Body)
	}
}
