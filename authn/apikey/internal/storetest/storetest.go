// Package storetest says what every store of API keys does.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/apikey"
)

// Store is what the stores of this module have in common.
type Store interface {
	apikey.Store
	Create(context.Context, apikey.Spec) (mcpauth.Secret, *apikey.Key, error)
	Rotate(context.Context, string, apikey.Rotation) (mcpauth.Secret, *apikey.Key, error)
	Revoke(context.Context, string) (*apikey.Key, error)
	Get(context.Context, string) (*apikey.Key, error)
	All(context.Context, string) iter.Seq2[*apikey.Key, error]
	Hashes(context.Context) iter.Seq2[apikey.Hash, error]
	RecordUses(context.Context, []apikey.Use) error
	Watch(func(apikey.Hash)) (stop func())
}

// Run runs the tests, each on an empty store of its own.
func Run(t *testing.T, open func(*testing.T) Store) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Store)
	}{
		{"a key is found by its hash, as it was made", found},
		{"a key of every form comes back as it was", comesBack},
		{"who does not know a key finds nothing", unknown},
		{"a bad spec makes no key", badSpec},
		{"several keys per user", severalKeys},
		{"revocation is for good, and once", revocation},
		{"rotation leaves the old key its grace", rotation},
		{"rotation without grace ends the old key", rotationAtOnce},
		{"rotation gives the new key a life as long", rotationLife},
		{"of many rotations at once, one is made", rotationsAtOnce},
		{"what is no longer good is not rotated", rotationOfTheDead},
		{"the good keys are listed for the provider", hashes},
		{"last use never goes back", lastUse},
		{"watchers are told of each change until they stop", watchers},
		{"a provider sees changes at once", provider},
		{"many at once", concurrency},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

func create(t *testing.T, s Store, spec apikey.Spec) (string, *apikey.Key) {
	t.Helper()
	secret, key, err := s.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return secret.Reveal(), key
}

func lookUp(t *testing.T, s Store, key string) *apikey.Key {
	t.Helper()
	k, err := s.Lookup(t.Context(), apikey.HashOf(key))
	if err != nil || k == nil {
		t.Fatalf("not found: %v, %v", k, err)
	}
	return k
}

func all(t *testing.T, s Store, user string) []*apikey.Key {
	t.Helper()
	var keys []*apikey.Key
	for k, err := range s.All(t.Context(), user) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	return keys
}

func same(a, b *apikey.Key) bool {
	return a.ID == b.ID && a.Hash == b.Hash && a.UserID == b.UserID && a.Tenant == b.Tenant && a.Name == b.Name && a.Hint == b.Hint &&
		slices.Equal(a.Scopes, b.Scopes) && a.Created.Equal(b.Created) && a.Expires.Equal(b.Expires) && a.Revoked.Equal(b.Revoked) &&
		a.LastUsed.Equal(b.LastUsed) && a.ReplacedBy == b.ReplacedBy && a.Rate == b.Rate
}

func found(t *testing.T, s Store) {
	secret, made := create(t, s, apikey.Spec{UserID: "alice"})
	if k := lookUp(t, s, secret); !same(k, made) || k.Hash != apikey.HashOf(secret) {
		t.Errorf("found %+v, made %+v", k, made)
	}
	if k, err := s.Get(t.Context(), made.ID); err != nil || !same(k, made) {
		t.Errorf("got %+v, %v", k, err)
	}
}

func comesBack(t *testing.T, s Store) {
	secret, made := create(t, s, apikey.Spec{UserID: "älice'; DROP TABLE mcpauth_api_keys; --", Tenant: "t'", Name: `"%_\ $1 ? 日本`,
		Scopes: []string{"notes:read", "https://example.com/a'b"}, Expires: time.Now().Add(time.Hour), Rate: apikey.Rate{Requests: 7, Per: time.Minute}, Prefix: "test_"})
	k := lookUp(t, s, secret)
	if !same(k, made) || !strings.HasPrefix(secret, "test_") || k.Hint != secret[:9] {
		t.Errorf("found %+v, made %+v", k, made)
	}
	if until := time.Until(k.Expires); until > time.Hour || until < time.Hour-time.Minute {
		t.Errorf("expires in %s", until)
	}
}

func unknown(t *testing.T, s Store) {
	_, made := create(t, s, apikey.Spec{UserID: "alice"})
	h := made.Hash
	h[31] ^= 1
	for _, h := range []apikey.Hash{{}, h} {
		if k, err := s.Lookup(t.Context(), h); k != nil || err != nil {
			t.Errorf("%v: %v, %v", h, k, err)
		}
	}
	if _, err := s.Get(t.Context(), "nobody"); !errors.Is(err, apikey.ErrNotFound) {
		t.Error(err)
	}
	if _, err := s.Revoke(t.Context(), "nobody"); !errors.Is(err, apikey.ErrNotFound) {
		t.Error(err)
	}
	if _, _, err := s.Rotate(t.Context(), "nobody", apikey.Rotation{}); !errors.Is(err, apikey.ErrNotFound) {
		t.Error(err)
	}
}

func badSpec(t *testing.T, s Store) {
	_, _, err := s.Create(t.Context(), apikey.Spec{UserID: "a\x00b", Scopes: []string{"a b"}})
	var config *mcpauth.ConfigError
	if !errors.As(err, &config) || len(config.Faults) != 2 {
		t.Errorf("%v", err)
	}
	if keys := all(t, s, ""); len(keys) != 0 {
		t.Errorf("%v", keys)
	}
}

func severalKeys(t *testing.T, s Store) {
	var made []string
	for i := range 3 {
		_, k := create(t, s, apikey.Spec{UserID: "alice", Name: fmt.Sprint(i)})
		made = append(made, k.ID)
	}
	_, bobs := create(t, s, apikey.Spec{UserID: "bob"})
	var listed []string
	for _, k := range all(t, s, "alice") {
		listed = append(listed, k.ID)
	}
	slices.Sort(made) // those of one millisecond are in any order
	slices.Sort(listed)
	if !slices.Equal(made, listed) {
		t.Errorf("made %v, listed %v", made, listed)
	}
	if keys := all(t, s, ""); len(keys) != 4 {
		t.Errorf("%d in all", len(keys))
	}
	if keys := all(t, s, "bob"); len(keys) != 1 || keys[0].ID != bobs.ID {
		t.Errorf("%v", keys)
	}
	for range s.All(t.Context(), "") {
		break // and nothing is held up
	}
	create(t, s, apikey.Spec{UserID: "carol"})
}

func revocation(t *testing.T, s Store) {
	secret, made := create(t, s, apikey.Spec{UserID: "alice"})
	first, err := s.Revoke(t.Context(), made.ID)
	if err != nil || first.Revoked.IsZero() || first.State(time.Now()) != apikey.Revoked {
		t.Fatalf("%+v, %v", first, err)
	}
	again, err := s.Revoke(t.Context(), made.ID)
	if err != nil || !again.Revoked.Equal(first.Revoked) {
		t.Errorf("%+v, %v", again, err)
	}
	if k := lookUp(t, s, secret); !k.Revoked.Equal(first.Revoked) {
		t.Errorf("%+v", k)
	}
}

func rotation(t *testing.T, s Store) {
	oldSecret, made := create(t, s, apikey.Spec{UserID: "alice", Tenant: "acme", Name: "ci", Scopes: []string{"a", "b"}, Rate: apikey.Rate{Requests: 3, Per: time.Hour}, Prefix: "my_"})
	secret, next, err := s.Rotate(t.Context(), made.ID, apikey.Rotation{Grace: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	old, k := lookUp(t, s, oldSecret), lookUp(t, s, secret.Reveal())
	if grace := time.Until(old.Expires); grace > time.Hour || grace < time.Hour-time.Minute || old.ReplacedBy != next.ID || old.State(time.Now()) != apikey.Active {
		t.Errorf("the old one: %+v", old)
	}
	if !same(k, next) || k.UserID != "alice" || k.Tenant != "acme" || k.Name != "ci" || !slices.Equal(k.Scopes, made.Scopes) || k.Rate != made.Rate ||
		!k.Expires.IsZero() || k.ID == made.ID || !strings.HasPrefix(secret.Reveal(), "my_") {
		t.Errorf("the new one: %+v", k)
	}
}

func rotationAtOnce(t *testing.T, s Store) {
	oldSecret, made := create(t, s, apikey.Spec{UserID: "alice"})
	if _, _, err := s.Rotate(t.Context(), made.ID, apikey.Rotation{}); err != nil {
		t.Fatal(err)
	}
	if old := lookUp(t, s, oldSecret); old.State(time.Now()) != apikey.Expired {
		t.Errorf("%+v", old)
	}
}

func rotationLife(t *testing.T, s Store) {
	_, made := create(t, s, apikey.Spec{UserID: "alice", Expires: time.Now().Add(time.Hour)})
	secret, next, err := s.Rotate(t.Context(), made.ID, apikey.Rotation{Grace: 48 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if old, _ := s.Get(t.Context(), made.ID); !old.Expires.Equal(made.Expires) {
		t.Errorf("the old one lives longer than before: %s, %s", old.Expires, made.Expires)
	}
	if life := next.Expires.Sub(next.Created); life < time.Hour-time.Second || life > time.Hour+time.Second {
		t.Errorf("the new one lives %s", life)
	}
	_, last, err := s.Rotate(t.Context(), next.ID, apikey.Rotation{Expires: time.Now().Add(24 * time.Hour)})
	if err != nil || last.Expires.Sub(last.Created) < 23*time.Hour {
		t.Errorf("%+v, %v", last, err)
	}
	_ = secret
}

func rotationsAtOnce(t *testing.T, s Store) {
	_, made := create(t, s, apikey.Spec{UserID: "alice"})
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		done int
	)
	for range 8 {
		wg.Go(func() {
			_, _, err := s.Rotate(t.Context(), made.ID, apikey.Rotation{Grace: time.Hour})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				done++
			case !errors.Is(err, apikey.ErrNotGood):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if keys := all(t, s, "alice"); done != 1 || len(keys) != 2 {
		t.Errorf("%d rotations, %d keys", done, len(keys))
	}
}

func rotationOfTheDead(t *testing.T, s Store) {
	_, made := create(t, s, apikey.Spec{UserID: "alice"})
	if _, err := s.Revoke(t.Context(), made.ID); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Rotate(t.Context(), made.ID, apikey.Rotation{}); !errors.Is(err, apikey.ErrNotGood) {
		t.Error(err)
	}
	_, other := create(t, s, apikey.Spec{UserID: "alice"})
	var config *mcpauth.ConfigError
	if _, _, err := s.Rotate(t.Context(), other.ID, apikey.Rotation{Grace: -1}); !errors.As(err, &config) {
		t.Error(err)
	}
	if k, _ := s.Get(t.Context(), other.ID); !same(k, other) {
		t.Errorf("changed: %+v", k)
	}
}

func hashes(t *testing.T, s Store) {
	_, good := create(t, s, apikey.Spec{UserID: "alice"})
	_, ends := create(t, s, apikey.Spec{UserID: "alice", Expires: time.Now().Add(time.Hour)})
	_, gone := create(t, s, apikey.Spec{UserID: "bob"})
	if _, err := s.Revoke(t.Context(), gone.ID); err != nil {
		t.Fatal(err)
	}
	listed := map[apikey.Hash]bool{}
	for h, err := range s.Hashes(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		listed[h] = true
	}
	if len(listed) != 2 || !listed[good.Hash] || !listed[ends.Hash] {
		t.Errorf("%v", listed)
	}
}

func lastUse(t *testing.T, s Store) {
	_, a := create(t, s, apikey.Spec{UserID: "alice"})
	_, b := create(t, s, apikey.Spec{UserID: "alice"})
	now := time.Now().Truncate(time.Second)
	uses := []apikey.Use{{ID: a.ID, At: now}, {ID: b.ID, At: now.Add(-time.Hour)}, {ID: "gone", At: now}}
	for i := range 1200 { // more than one batch
		uses = append(uses, apikey.Use{ID: fmt.Sprintf("gone-%d", i), At: now})
	}
	if err := s.RecordUses(t.Context(), uses); err != nil {
		t.Fatal(err)
	}
	if err := s.RecordUses(t.Context(), []apikey.Use{{ID: a.ID, At: now.Add(-time.Minute)}, {ID: b.ID, At: now}}); err != nil {
		t.Fatal(err)
	}
	if err := s.RecordUses(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{a.ID, b.ID} {
		if k, err := s.Get(t.Context(), id); err != nil || !k.LastUsed.Equal(now) {
			t.Errorf("%+v, %v; want %s", k, err, now)
		}
	}
}

func watchers(t *testing.T, s Store) {
	var told []apikey.Hash
	stop := s.Watch(func(h apikey.Hash) { told = append(told, h) })
	_, a := create(t, s, apikey.Spec{UserID: "alice"})
	_, next, err := s.Rotate(t.Context(), a.ID, apikey.Rotation{Grace: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Revoke(t.Context(), next.ID); err != nil {
		t.Fatal(err)
	}
	stop()
	create(t, s, apikey.Spec{UserID: "bob"})
	if want := []apikey.Hash{a.Hash, a.Hash, next.Hash, next.Hash}; !slices.Equal(told, want) {
		t.Errorf("told of %v, want %v", told, want)
	}
}

// provider plays a provider's whole life on the store, with time standing still
// for its caches.
func provider(t *testing.T, s Store) {
	p, err := apikey.New(apikey.Config{Store: s})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	passes := func(key, user string) {
		t.Helper()
		for range 2 {
			id, err := p.Authenticate(t.Context(), Bearer(key))
			if err != nil || id.UserID() != user {
				t.Fatalf("%v, %v", id, err)
			}
		}
	}
	refused := func(key string, code mcpauth.Code) {
		t.Helper()
		for range 2 {
			if id, err := p.Authenticate(t.Context(), Bearer(key)); !errors.Is(err, code) {
				t.Fatalf("%v, %v; want %s", id, err, code)
			}
		}
	}
	a, keyA := create(t, s, apikey.Spec{UserID: "alice"})
	b, keyB := create(t, s, apikey.Spec{UserID: "bob"})
	passes(a, "alice")
	passes(b, "bob")
	secret, _, err := s.Rotate(t.Context(), keyA.ID, apikey.Rotation{Grace: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	passes(a, "alice")
	passes(secret.Reveal(), "alice")
	if _, err := s.Revoke(t.Context(), keyA.ID); err != nil {
		t.Fatal(err)
	}
	refused(a, mcpauth.ErrRevoked)
	passes(secret.Reveal(), "alice")
	if _, _, err := s.Rotate(t.Context(), keyB.ID, apikey.Rotation{}); err != nil {
		t.Fatal(err)
	}
	refused(b, mcpauth.ErrExpired)
	if err := p.Close(); err != nil { // writes the uses down
		t.Fatal(err)
	}
	if k, err := s.Get(t.Context(), keyA.ID); err != nil || time.Since(k.LastUsed) > time.Minute {
		t.Errorf("%+v, %v", k, err)
	}
}

func concurrency(t *testing.T, s Store) {
	p, err := apikey.New(apikey.Config{Store: s})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			user := fmt.Sprintf("user-%d", i)
			for range 5 {
				secret, k, err := s.Create(t.Context(), apikey.Spec{UserID: user})
				if err != nil {
					t.Error(err)
					return
				}
				if id, err := p.Authenticate(t.Context(), Bearer(secret.Reveal())); err != nil || id.UserID() != user {
					t.Errorf("%v, %v", id, err)
				}
				if err := s.RecordUses(t.Context(), []apikey.Use{{ID: k.ID, At: time.Now()}}); err != nil {
					t.Error(err)
				}
				if _, err := s.Revoke(t.Context(), k.ID); err != nil {
					t.Error(err)
				}
				// The revocation has returned: nothing passes from now on.
				if id, err := p.Authenticate(t.Context(), Bearer(secret.Reveal())); !errors.Is(err, mcpauth.ErrRevoked) {
					t.Errorf("%v, %v", id, err)
				}
			}
		})
	}
	wg.Wait()
}

// Bearer returns a request with a key.
func Bearer(key string) *mcpauth.Request {
	return &mcpauth.Request{Header: map[string][]string{"Authorization": {"Bearer " + key}}, RemoteAddr: "192.0.2.1:1234"}
}
