package apikey_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/apikey"
	"github.com/mcpauth-go/mcpauth/authn/apikey/internal/storetest"
)

// What the TypeScript pattern that this project grew from asks of its provider
// of API keys, each with its proof.

func TestSeedAPIKeyValidateKeyOfTheUser(t *testing.T) {
	secret, key, err := apikey.Generate(apikey.Spec{UserID: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	var asked []apikey.Hash
	p := newProvider(t, apikey.Config{Store: apikey.LookupFunc(func(_ context.Context, h apikey.Hash) (*apikey.Key, error) {
		if asked = append(asked, h); h == key.Hash {
			return key, nil
		}
		return nil, nil
	})})
	if id := passes(t, p, secret.Reveal()); id.UserID() != "alice" || id.Issuer() != apikey.DefaultIssuer {
		t.Error(id)
	}
	refused(t, p, stranger(t), mcpauth.ErrUnknownKey)
	if len(asked) != 2 || asked[0] != apikey.HashOf(secret.Reveal()) {
		t.Errorf("asked for %v", asked)
	}
	key = &apikey.Key{ID: key.ID, Hash: key.Hash, UserID: "alice", Revoked: time.Now()}
	passes(t, p, secret.Reveal())
	p.Changed(key.Hash)
	refused(t, p, secret.Reveal(), mcpauth.ErrRevoked)
}

func TestSeedAPIKeyStores(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Store { return &apikey.Memory{} })
}

func TestSeedAPIKeyBearerOrXAPIKey(t *testing.T) {
	memory := &apikey.Memory{}
	key, _ := create(t, memory, apikey.Spec{})
	p := newProvider(t, apikey.Config{Store: memory})
	for _, h := range []http.Header{{"Authorization": {"Bearer " + key}}, {"X-Api-Key": {key}}} {
		if id, err := p.Authenticate(t.Context(), &mcpauth.Request{Header: h}); err != nil || id.UserID() != "alice" {
			t.Errorf("%v, %v", id, err)
		}
	}
}

func TestSeedAPIKeyPrefix(t *testing.T) {
	memory := &apikey.Memory{}
	ours, _ := create(t, memory, apikey.Spec{Prefix: "acme-live_"})
	usual, _ := create(t, memory, apikey.Spec{})
	p := newProvider(t, apikey.Config{Store: memory, Prefix: "acme-live_"})
	passes(t, p, ours)
	refused(t, p, usual, mcpauth.ErrMalformedToken)
	if !strings.HasPrefix(usual, "sk_") {
		t.Error(usual[:3])
	}
}

func TestSeedAPIKeyOnlyTheHashIsStored(t *testing.T) {
	memory := &apikey.Memory{}
	secret, key := create(t, memory, apikey.Spec{Name: "ci"})
	if key.Hash != apikey.HashOf(secret) || key.Fingerprint() != key.Hash.String()[:16] {
		t.Error(key.Hash)
	}
	for k := range memory.All(t.Context(), "") {
		if text := fmt.Sprintf("%+v", k); strings.Contains(text, secret[7:]) || !strings.HasPrefix(secret, k.Hint) || len(k.Hint) != 7 {
			t.Errorf("%s has the key", text)
		}
	}
}

func TestSeedAPIKeySeveralPerUser(t *testing.T) {
	memory := &apikey.Memory{}
	p := newProvider(t, apikey.Config{Store: memory})
	a, keyA := create(t, memory, apikey.Spec{Scopes: []string{"read"}})
	b, _ := create(t, memory, apikey.Spec{Scopes: []string{"read", "write"}})
	idA, idB := passes(t, p, a), passes(t, p, b)
	if idA.Principal() != idB.Principal() || idA.HasScopes("write") || !idB.HasScopes("read", "write") {
		t.Errorf("%v %v, %v %v", idA, idA.Scopes(), idB, idB.Scopes())
	}
	if _, err := memory.Revoke(t.Context(), keyA.ID); err != nil {
		t.Fatal(err)
	}
	refused(t, p, a, mcpauth.ErrRevoked)
	passes(t, p, b)
}

func TestSeedAPIKeyRotationWithoutDowntime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := &apikey.Memory{}
		p := newProvider(t, apikey.Config{Store: memory})
		old, key := create(t, memory, apikey.Spec{Scopes: []string{"read"}})
		passes(t, p, old)
		secret, _, err := memory.Rotate(t.Context(), key.ID, apikey.Rotation{Grace: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if id := passes(t, p, secret.Reveal()); id.UserID() != "alice" || !id.HasScopes("read") {
			t.Error(id)
		}
		time.Sleep(time.Hour - time.Millisecond)
		passes(t, p, old)
		time.Sleep(time.Millisecond)
		refused(t, p, old, mcpauth.ErrExpired)
		passes(t, p, secret.Reveal())
	})
}

func TestSeedAPIKeyRevocationAtOnce(t *testing.T) {
	memory := &apikey.Memory{}
	p := newProvider(t, apikey.Config{Store: memory})
	secret, key := create(t, memory, apikey.Spec{})
	passes(t, p, secret)
	if _, err := memory.Revoke(t.Context(), key.ID); err != nil {
		t.Fatal(err)
	}
	refused(t, p, secret, mcpauth.ErrRevoked)
}

func TestSeedAPIKeyExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := &apikey.Memory{}
		store := &counted{Store: memory}
		p := newProvider(t, apikey.Config{Store: store})
		end := time.Now().Add(time.Minute)
		secret, _ := create(t, memory, apikey.Spec{Expires: end})
		if id := passes(t, p, secret); !id.Expiry().Equal(end) {
			t.Error(id.Expiry())
		}
		time.Sleep(time.Minute - time.Millisecond)
		passes(t, p, secret)
		time.Sleep(time.Millisecond)
		refused(t, p, secret, mcpauth.ErrExpired)
		if n := store.lookups.Load(); n != 1 {
			t.Errorf("%d lookups", n)
		}
	})
}

func TestSeedAPIKeyLastUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := &apikey.Memory{}
		p := newProvider(t, apikey.Config{Store: memory})
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		secret, key := create(t, memory, apikey.Spec{})
		passes(t, p, secret)
		lastUsed := func() time.Time {
			k, err := memory.Get(t.Context(), key.ID)
			if err != nil {
				t.Fatal(err)
			}
			return k.LastUsed
		}
		if at := lastUsed(); !at.IsZero() {
			t.Errorf("written on the way of the request: %s", at)
		}
		first := time.Now()
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if at := lastUsed(); !at.Equal(first) {
			t.Errorf("last used %s, want %s", at, first)
		}
		passes(t, p, secret)
		now := time.Now()
		p.Close()
		if at := lastUsed(); !at.Equal(now.Truncate(time.Second)) {
			t.Errorf("not written at the end: %s, want %s", at, now)
		}
	})
}

func TestSeedAPIKeyRateLimitPerKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := &apikey.Memory{}
		p := newProvider(t, apikey.Config{Store: memory, Cache: apikey.Cache{TTL: time.Second}})
		limited, _ := create(t, memory, apikey.Spec{Rate: apikey.Rate{Requests: 3, Per: time.Minute}})
		free, _ := create(t, memory, apikey.Spec{})
		for range 3 {
			passes(t, p, limited)
		}
		if e := refused(t, p, limited, mcpauth.ErrRateLimited); e.RetryAfter < 19*time.Second || e.RetryAfter > 20*time.Second {
			t.Errorf("again in %s", e.RetryAfter)
		}
		for range 100 {
			passes(t, p, free) // of the same user
		}
		// Another look into the store fills no bucket.
		time.Sleep(19 * time.Second)
		refused(t, p, limited, mcpauth.ErrRateLimited)
		time.Sleep(time.Second)
		passes(t, p, limited)
		refused(t, p, limited, mcpauth.ErrRateLimited)
		time.Sleep(time.Hour)
		for range 3 {
			passes(t, p, limited)
		}
		refused(t, p, limited, mcpauth.ErrRateLimited)
	})
}

func TestSeedAPIKeyCache5Minutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := &apikey.Memory{}
		store := &counted{Store: memory}
		p := newProvider(t, apikey.Config{Store: store})
		secret, key := create(t, memory, apikey.Spec{})
		passes(t, p, secret)
		// Nobody tells the provider, as with another process.
		if _, err := memory.Revoke(t.Context(), key.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5*time.Minute - time.Nanosecond)
		passes(t, p, secret)
		if n := store.lookups.Load(); n != 1 {
			t.Errorf("%d lookups", n)
		}
		time.Sleep(time.Nanosecond)
		refused(t, p, secret, mcpauth.ErrRevoked)
	})
}

func TestSeedAPIKeyGenerated256BitsShownOnce(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		secret, key, err := apikey.Generate(apikey.Spec{UserID: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		text := secret.Reveal()
		if len(text) != 46 || !canonical(text[3:]) || seen[text] || seen[key.ID] {
			t.Fatal("not 256 random bits in base64url")
		}
		seen[text], seen[key.ID] = true, true
		if shown := fmt.Sprintf("%v %+v %#v %s", secret, secret, key, key.ID); strings.Contains(shown, text[7:]) {
			t.Fatal("prints itself")
		}
	}
}

func TestSeedAPIKeyConstantTimeCompare(t *testing.T) {
	// A store that finds too much, as with a collation that ignores case, is not
	// believed.
	secret, key, err := apikey.Generate(apikey.Spec{UserID: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	key.Hash[31] ^= 1
	p := newProvider(t, apikey.Config{Store: apikey.LookupFunc(func(context.Context, apikey.Hash) (*apikey.Key, error) { return key, nil })})
	refused(t, p, secret.Reveal(), mcpauth.ErrUnavailable)
	// That it is compared in constant time is for the eye, and for who changes it.
	source, err := os.ReadFile("lookup.go")
	if err != nil || !strings.Contains(string(source), "subtle.ConstantTimeCompare(key.Hash[:], hash[:])") {
		t.Error("the hash is compared otherwise", err)
	}
}

func TestIdentityOfAKey(t *testing.T) {
	memory := &apikey.Memory{}
	secret, key := create(t, memory, apikey.Spec{Tenant: "acme", Name: "nightly", Scopes: []string{"a"}})
	id := passes(t, newProvider(t, apikey.Config{Store: memory, Issuer: "urn:example:keys"}), secret)
	if id.Issuer() != "urn:example:keys" || id.UserID() != "alice" || id.Tenant() != "acme" || !id.Expiry().IsZero() || !id.HasScopes("a") {
		t.Errorf("%v", id)
	}
	if !id.Token().IsZero() {
		t.Error("the key can be forwarded")
	}
	r := id.Revocable()
	if r.TokenID != key.ID || !r.IssuedAt.Equal(key.Created) || r.UserID != "alice" || r.Issuer != "urn:example:keys" {
		t.Errorf("%+v", r)
	}
	var name string
	if ok, err := id.Claim("key_name", &name); !ok || err != nil || name != "nightly" {
		t.Error(ok, err, name)
	}
	if len(id.Metadata()) != 2 {
		t.Error(id.Metadata())
	}
}

var errDown = errors.New("the database is down")
