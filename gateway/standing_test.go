package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/apikey"
	"github.com/mcpauth-go/mcpauth/authn/apikey/sqlite"
	"github.com/mcpauth-go/mcpauth/authn/chain"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/authn/oauth"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
	"github.com/mcpauth-go/mcpauth/limit"
)

const (
	standingOrigin   = "https://mcp.example.com"
	standingAudience = standingOrigin + "/mcp"
)

// ending is a provider with two users' credentials, and what ends that of alice.
type ending struct {
	provider   mcpauth.Provider
	alice, bob string
	end        func()
}

// signed returns tokens of alice and bob, each signed with a key of their own, and sets
// of the keys: both, and bob's alone.
func signed() (alice, bob string, both, bobs []byte) {
	token := func(key tokentest.Key, kid, user string) string {
		return key.Token(key.HeaderWith(fmt.Sprintf(`"kid":%q`, kid)), fmt.Sprintf(`{"iss":%q,"aud":%q,"userId":%q,"sub":%q,"iat":%d,"exp":%d}`,
			revokingIssuer, standingAudience, user, user, time.Now().Unix(), time.Now().Add(time.Hour).Unix()))
	}
	a, b := tokentest.Ed25519("alice"), tokentest.Ed25519("bob")
	return token(a, "a", "alice"), token(b, "b", "bob"), tokentest.JWKS(a.JWK("a"), b.JWK("b")), tokentest.JWKS(b.JWK("b"))
}

func jwtProvider(t *testing.T, source jwt.KeySource, fetch jwt.Fetch) *jwt.Provider {
	t.Helper()
	p, err := jwt.New(jwt.Config{
		Issuers:        []jwt.Issuer{{Name: revokingIssuer, Audience: []string{standingAudience}, Keys: []jwt.KeySource{source}}},
		Fetch:          fetch,
		ReloadInterval: 20 * time.Millisecond,
		Logger:         slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func keyProvider(t *testing.T, store apikey.Store, ttl time.Duration) *apikey.Provider {
	t.Helper()
	p, err := apikey.New(apikey.Config{
		Store: store, Cache: apikey.Cache{TTL: ttl}, ReloadInterval: 20 * time.Millisecond, Timeout: time.Minute, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// maker is a store that makes keys.
type maker interface {
	Create(context.Context, apikey.Spec) (mcpauth.Secret, *apikey.Key, error)
}

func createKey(t *testing.T, store maker, user string) (secret, id string) {
	t.Helper()
	made, key, err := store.Create(t.Context(), apikey.Spec{UserID: user})
	if err != nil {
		t.Fatal(err)
	}
	return made.Reveal(), key.ID
}

func writeFile(t *testing.T, path string, content []byte) {
	t.Helper()
	next := path + ".next"
	if err := os.WriteFile(next, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}

// introspecting is an authorization server whose tokens are the names of their users.
func introspecting(t *testing.T, ttl time.Duration) (p *oauth.Provider, deactivate func(user string)) {
	t.Helper()
	var (
		mu       sync.Mutex
		inactive = map[string]bool{}
	)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		user := r.FormValue("token")
		json.NewEncoder(w).Encode(map[string]any{
			"active": !inactive[user], "sub": user, "aud": standingAudience, "client_id": "c", "exp": time.Now().Add(time.Hour).Unix(),
		})
	}))
	t.Cleanup(server.Close)
	p, err := oauth.New(oauth.Config{
		Issuer: server.URL, Endpoint: server.URL, Audience: []string{standingAudience},
		Client: oauth.Client{ClientID: "mcp", Secret: mcpauth.NewSecret("a-secret-of-the-client")},
		Cache:  oauth.Cache{TTL: ttl}, Requests: oauth.Requests{Timeout: time.Minute}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return p, func(user string) {
		mu.Lock()
		defer mu.Unlock()
		inactive[user] = true
	}
}

// Whatever ends a credential ends everything that rests on it, without a list of
// revocations, and nothing else.
func TestWhatEndsACredentialEndsEverythingThatRestsOnIt(t *testing.T) {
	const never = time.Hour // the end of a credential has to be announced
	for name, setUp := range map[string]func(t *testing.T) ending{
		"a signing key is removed from a file": func(t *testing.T) ending {
			alice, bob, both, bobs := signed()
			path := filepath.Join(t.TempDir(), "keys.json")
			writeFile(t, path, both)
			return ending{jwtProvider(t, jwt.JWKSFile(path), jwt.Fetch{}), alice, bob, func() { writeFile(t, path, bobs) }}
		},
		"a signing key is removed from the issuer's key set": func(t *testing.T) ending {
			alice, bob, both, bobs := signed()
			var mu sync.Mutex
			set := both
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				w.Write(set)
			}))
			t.Cleanup(server.Close)
			p := jwtProvider(t, jwt.JWKSURL(server.URL), jwt.Fetch{Timeout: time.Minute})
			if err := p.Reload(); err != nil {
				t.Fatal(err)
			}
			return ending{p, alice, bob, func() {
				mu.Lock()
				set = bobs
				mu.Unlock()
				if err := p.Reload(); err != nil {
					t.Error(err)
				}
			}}
		},
		"an API key is revoked in memory": func(t *testing.T) ending {
			store := &apikey.Memory{}
			alice, id := createKey(t, store, "alice")
			bob, _ := createKey(t, store, "bob")
			return ending{keyProvider(t, store, never), alice, bob, func() { store.Revoke(t.Context(), id) }}
		},
		"an API key is revoked in SQLite": func(t *testing.T) ending {
			store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "keys.db"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { store.Close() })
			alice, id := createKey(t, store, "alice")
			bob, _ := createKey(t, store, "bob")
			return ending{keyProvider(t, store, never), alice, bob, func() { store.Revoke(t.Context(), id) }}
		},
		"an API key is revoked by another process": func(t *testing.T) ending {
			path := filepath.Join(t.TempDir(), "keys.db")
			store, err := sqlite.Open(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { store.Close() })
			alice, id := createKey(t, store, "alice")
			bob, _ := createKey(t, store, "bob")
			return ending{keyProvider(t, store, 200*time.Millisecond), alice, bob, func() {
				other, err := sqlite.Open(t.Context(), path)
				if err != nil {
					t.Error(err)
					return
				}
				defer other.Close()
				if _, err := other.Revoke(t.Context(), id); err != nil {
					t.Error(err)
				}
			}}
		},
		"an API key is taken out of its file": func(t *testing.T) ending {
			entry := func(key, user string) string {
				return fmt.Sprintf(`{"id":%q,"user":%q,"hash":%q}`, user, user, apikey.HashOf(key))
			}
			alice, bob := "sk_"+strings.Repeat("a", 42)+"A", "sk_"+strings.Repeat("b", 42)+"A"
			path := filepath.Join(t.TempDir(), "keys.json")
			writeFile(t, path, fmt.Appendf(nil, `{"keys":[%s,%s]}`, entry(alice, "alice"), entry(bob, "bob")))
			store, err := apikey.OpenFile(path)
			if err != nil {
				t.Fatal(err)
			}
			return ending{keyProvider(t, store, never), alice, bob, func() { writeFile(t, path, fmt.Appendf(nil, `{"keys":[%s]}`, entry(bob, "bob"))) }}
		},
		"an opaque token becomes inactive": func(t *testing.T) ending {
			p, deactivate := introspecting(t, 200*time.Millisecond)
			return ending{p, "alice", "bob", func() { deactivate("alice") }}
		},
		"an opaque token becomes inactive, behind a chain": func(t *testing.T) ending {
			p, deactivate := introspecting(t, 200*time.Millisecond)
			_, _, both, _ := signed()
			c, err := chain.New(jwtProvider(t, jwt.JWKS(both), jwt.Fetch{}), p)
			if err != nil {
				t.Fatal(err)
			}
			return ending{c, "alice", "bob", func() { deactivate("alice") }}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := setUp(t)
			f := newHolding()
			s := gatewaytest.Start(t, gateway.Config{Factory: f.Make, Provider: e.provider, LegacySSE: true, UserRate: limit.Off,
				PublicURL: standingOrigin, AllowedHosts: []string{"127.0.0.1"}})
			alice, bob := f.busyWith(t, s, "alice", e.alice), f.busyWith(t, s, "bob", e.bob)
			e.end()
			f.endsAloneOf(t, s, alice, bob)
			gatewaytest.Eventually(t, "alice's requests are refused", func() bool {
				a := s.Do(t, whoami(alice.token, ""))
				return a.Status == http.StatusUnauthorized && strings.Contains(a.Body, `"invalid_token"`)
			})
		})
	}
}

// While the store is unavailable, what stands goes on for one TTL after the store has last
// confirmed it.
func TestOutageOfTheAuthorityEndsStreamsAfterOneTTL(t *testing.T) {
	const ttl = time.Minute
	for _, test := range []struct {
		name   string
		outage time.Duration
		ends   bool
	}{{"a short one", ttl / 2, false}, {"a long one", 2 * ttl, true}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory := &apikey.Memory{}
				key, _ := createKey(t, memory, "alice")
				var away sync.RWMutex
				from, until := time.Time{}, time.Time{}
				store := apikey.LookupFunc(func(ctx context.Context, h apikey.Hash) (*apikey.Key, error) {
					away.RLock()
					defer away.RUnlock()
					if now := time.Now(); !now.Before(from) && now.Before(until) {
						return nil, fmt.Errorf("the database is away")
					}
					return memory.Lookup(ctx, h)
				})
				s := gatewaytest.StartInMemory(t, gateway.Config{Factory: newHolding().Make, Provider: keyProvider(t, store, ttl)})
				session := s.Open(t, key, gatewaytest.Legacy)
				resp, err := s.Begin(t.Context(), gatewaytest.Request{Method: http.MethodGet, Token: key, Session: session, Version: gatewaytest.Legacy})
				if err != nil || resp.StatusCode != http.StatusOK {
					t.Fatal(resp, err)
				}
				ended := make(chan time.Time, 1)
				go func() {
					defer resp.Body.Close()
					io.Copy(io.Discard, resp.Body)
					ended <- time.Now()
				}()
				time.Sleep(10 * ttl)
				synctest.Wait()
				if len(ended) > 0 {
					t.Fatal("the stream has ended before the outage")
				}
				away.Lock()
				from, until = time.Now(), time.Now().Add(test.outage)
				away.Unlock()
				began := time.Now()
				time.Sleep(3 * ttl)
				synctest.Wait()
				if !test.ends {
					if len(ended) > 0 {
						t.Errorf("the stream has ended %s after the beginning of the outage", (<-ended).Sub(began))
					}
					resp.Body.Close()
					return
				}
				if len(ended) == 0 {
					t.Fatal("the stream goes on")
				}
				// The last confirmed answer is at most half a TTL and a tick old when the
				// outage begins.
				if after := (<-ended).Sub(began); after < ttl/4 || after > ttl+ttl/8 {
					t.Errorf("the stream ends %s after the beginning of the outage", after)
				}
			})
		})
	}
}
