package jwt_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
	"github.com/mcpauth-go/mcpauth/revoke"
)

// What the TypeScript pattern that this project grew from promises of its JWT
// provider, each in short: the tests beside this one go into it.

// ask has p look at a request with these Authorization headers.
func ask(p *jwt.Provider, headers ...string) (*mcpauth.Identity, error) {
	h := http.Header{}
	for _, header := range headers {
		h.Add("Authorization", header)
	}
	return p.Authenticate(context.Background(), &mcpauth.Request{Header: h})
}

// Config: secret or PEM public key, issuer and audience are all it takes; the
// algorithm is HS256 by default, and results are cached by default for 60 s.
func TestSeedAConfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(t, only(jwt.Issuer{Name: issuerName, Audience: []string{audience}, Keys: []jwt.KeySource{jwt.Secret(mcpauth.NewSecret(string(secretOf(ours))))}}))
		longer := tokentest.Key{Algorithm: "HS512", Private: secretOf(ours)}
		refused(t, p, longer.Token(longer.Header(), claims()), mcpauth.ErrUnsupportedAlgorithm, unsupported)
		token := good()
		id := passes(t, p, token)
		time.Sleep(60*time.Second - time.Nanosecond)
		if passes(t, p, token) != id {
			t.Error("the result is not cached for 60 s")
		}
		time.Sleep(time.Nanosecond)
		if passes(t, p, token) == id {
			t.Error("the result is cached for longer than 60 s")
		}
	})
	rs := tokentest.KeyFor("RS256")
	p := newProvider(t, only(jwt.Issuer{Name: issuerName, Audience: []string{audience}, Keys: []jwt.KeySource{jwt.PEM(rs.PEM())}}))
	passes(t, p, rs.Token(rs.Header(), claims()))
	if got := fields(faults(t, jwt.Config{Issuers: []jwt.Issuer{{}}})); !slices.Equal(got, []string{"Issuers[0].Name", "Issuers[0].Audience", "Issuers[0].Keys"}) {
		t.Errorf("required are %q", got)
	}
}

// Algorithms: those of the pattern, and PS256/384/512 and EdDSA.
func TestSeedAAlgorithms(t *testing.T) {
	for _, alg := range []string{"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			key := tokentest.KeyFor(alg)
			p := newProvider(t, only(signedBy(issuerName, key)))
			if got := passes(t, p, key.Token(key.Header(), claims())).UserID(); got != "user-1" {
				t.Errorf("user id = %q", got)
			}
			refused(t, p, tokentest.Encode(`{"alg":"none"}`)+"."+tokentest.Encode(claims())+".", mcpauth.ErrUnsupportedAlgorithm, unsupported)
		})
	}
}

// Token extraction: "Authorization: Bearer <token>", and distinct messages for a
// missing header and for a wrong format.
func TestSeedATokenExtraction(t *testing.T) {
	p := provider(t)
	if id, err := ask(p, "Bearer "+good()); err != nil || id.UserID() != "user-1" {
		t.Errorf("got %v, %v", id, err)
	}
	for _, test := range []struct {
		name    string
		headers []string
		code    mcpauth.Code
		message string
	}{
		{"no header", nil, mcpauth.ErrMissingCredential, "No authorization header provided"},
		{"a bare token", []string{good()}, mcpauth.ErrMalformedHeader, "Invalid authorization format. Expected: Bearer <token>"},
		{"no token", []string{"Bearer"}, mcpauth.ErrMalformedHeader, "Invalid authorization format. Expected: Bearer <token>"},
		{"two words", []string{"Bearer a b"}, mcpauth.ErrMalformedHeader, "Invalid authorization format. Expected: Bearer <token>"},
	} {
		_, err := ask(p, test.headers...)
		if e, ok := errors.AsType[*mcpauth.Error](err); !ok || e.Code != test.code || e.Message != test.message {
			t.Errorf("%s: %v, want %s %q", test.name, err, test.code, test.message)
		}
	}
}

// Claims: iss and aud must match, exp is honoured, the user id is required. It
// is in "userId" with static keys, or in the one claim that is configured.
func TestSeedAClaims(t *testing.T) {
	p := provider(t)
	refused(t, p, good("iss", `"https://evil.example"`), mcpauth.ErrWrongIssuer, wrongIss)
	refused(t, p, good("aud", `"https://elsewhere.example"`), mcpauth.ErrWrongAudience, wrongAud)
	passes(t, p, good("aud", `["https://elsewhere.example","`+audience+`"]`))
	refused(t, p, good("exp", in(0)), mcpauth.ErrExpired, expired)
	refused(t, p, good("userId", "", "sub", `"user-1"`), mcpauth.ErrMissingClaim, "JWT missing required userId claim")

	iss := signedBy(issuerName, ours)
	iss.UserIDClaim = "sub"
	p = newProvider(t, only(iss))
	if got := passes(t, p, good("sub", `"user-2"`)).UserID(); got != "user-2" {
		t.Errorf("user id = %q", got)
	}
	refused(t, p, good(), mcpauth.ErrMissingClaim, "JWT missing required sub claim")
}

// Result: who it is, or the error; the metadata are the email and every claim
// other than iss, aud, exp, iat and userId.
func TestSeedAResult(t *testing.T) {
	p := provider(t)
	id := passes(t, p, good("email", `"user@example.com"`, "plan", `{"name":"pro"}`, "sub", `"s"`, "jti", `"t"`))
	want := map[string]json.RawMessage{
		"email": json.RawMessage(`"user@example.com"`), "plan": json.RawMessage(`{"name":"pro"}`),
		"sub": json.RawMessage(`"s"`), "jti": json.RawMessage(`"t"`),
	}
	same := func(a, b json.RawMessage) bool { return string(a) == string(b) }
	if got := id.Metadata(); id.UserID() != "user-1" || id.Issuer() != issuerName || !maps.EqualFunc(got, want, same) {
		t.Errorf("%s of %s with %s, want %s", id.UserID(), id.Issuer(), got, want)
	}
	if id, err := verify(p, "x"); id != nil || err == nil {
		t.Errorf("a bad token: %v, %v", id, err)
	}
}

// Errors: a failure is a value and never a panic; an expired token is told from
// one that fails otherwise, and the message says what to do.
func TestSeedAErrors(t *testing.T) {
	p := provider(t)
	refused(t, p, good("exp", in(-time.Hour)), mcpauth.ErrExpired, "JWT token has expired. Please refresh your token.")
	for _, refusal := range refusals() {
		e := refused(t, p, refusal.token, refusal.code, refusal.message)
		if strings.HasPrefix(e.Message, "JWT token has expired") != (e.Code == mcpauth.ErrExpired) {
			t.Errorf("%s: %v", refusal.name, e)
		}
	}
	e := refused(t, p, others.Token(hs, claims()), mcpauth.ErrBadSignature)
	if reason, ok := strings.CutPrefix(e.Message, "JWT verification failed: "); !ok || reason != "invalid signature" {
		t.Errorf("message = %q", e.Message)
	}
}

// Cache: a hit avoids the verification, and there is always an end to it.
func TestSeedACache(t *testing.T) {
	for _, cache := range []jwt.Cache{{}, {TTL: time.Second}, {Off: true}} {
		synctest.Test(t, func(t *testing.T) {
			config := only(signedBy(issuerName, ours))
			config.Cache = cache
			p := newProvider(t, config)
			token := good()
			id := passes(t, p, token) // each verification makes its own
			if hit := passes(t, p, token) == id; hit == cache.Off {
				t.Errorf("%+v: answered from the cache: %t", cache, hit)
			}
			time.Sleep(time.Minute)
			if passes(t, p, token) == id {
				t.Errorf("%+v: still answered from the cache after a minute", cache)
			}
		})
	}
	for _, endless := range []time.Duration{-1, time.Hour + 1} {
		config := only(signedBy(issuerName, ours))
		config.Cache.TTL = endless
		if got := fields(faults(t, config)); !slices.Equal(got, []string{"Cache.TTL"}) {
			t.Errorf("TTL %s: faults of %q", endless, got)
		}
	}
}

// Forwarding: the original token is kept per user, and travels with the request.
func TestSeedAForwarding(t *testing.T) {
	p := provider(t)
	of := map[string]string{"user-1": good(), "user-2": good("userId", `"user-2"`)}
	for user, token := range of {
		if got := passes(t, p, token).Token().Reveal(); got != token {
			t.Errorf("the identity of %s has another token", user)
		}
	}
	for user, token := range of {
		if got, ok := p.Token(issuerName, user); !ok || got.Reveal() != token {
			t.Errorf("the token of %s: %t", user, ok)
		}
	}
	if _, ok := p.Token(issuerName, "user-3"); ok {
		t.Error("there is a token of a user who has never been here")
	}
}

// Lifecycle: the start logs issuer, audience and caching, never the secret; the
// end clears all caches.
func TestSeedALifecycle(t *testing.T) {
	var logged bytes.Buffer
	config := only(signedBy(issuerName, ours))
	config.Logger = debugLogger(&logged)
	p := newProvider(t, config)
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`msg="jwt provider started"`, "issuer=" + issuerName, "audience=[" + audience + "]", "cache=true", "cache_ttl=1m0s"} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("%s is not in the log: %s", want, &logged)
		}
	}
	token := good()
	passes(t, p, token)
	verify(p, "x")
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if s := p.Stats(); s.Accepted.Entries+s.Refused.Entries+s.Forwarded.Entries != 0 || forwarded(p, issuerName, "user-1") != "" {
		t.Errorf("after the end: %+v", s)
	}
	refused(t, p, token, mcpauth.ErrUnavailable)
	if text := logged.String(); strings.Contains(text, string(secretOf(ours))) || strings.Contains(text, token) || !strings.Contains(text, `msg="jwt provider closed"`) {
		t.Errorf("the log is %s", text)
	}
}

// Revocation: the pattern lists it as missing. Here a cached token ends at once.
func TestSeedARevocation(t *testing.T) {
	l := revocations(t)
	p := guardedBy(t, l)
	token, another := named("user-1", "t1", "s1"), named("user-1", "t2", "s2")
	passes(t, p, token)
	passes(t, p, another)
	put(t, l, revoke.Revocation{Kind: revoke.Token, TokenID: "t1"})
	refused(t, p, token, mcpauth.ErrRevoked)
	passes(t, p, another)
	put(t, l, revoke.Revocation{Kind: revoke.Block, UserID: "user-1"})
	refused(t, p, another, mcpauth.ErrRevoked)
}

// Secrets: from the environment or a file; current and previous serve at once
// while one is rotated out; an example out of documentation is refused.
func TestSeedASecrets(t *testing.T) {
	older, newer := tokentest.SharedSecret("older"), tokentest.SharedSecret("newer")
	t.Setenv("MCPAUTH_TEST_SEED", string(secretOf(older)))
	file := newKeyFile(t, secretOf(older))
	p := newProvider(t, only(jwt.Issuer{Name: issuerName, Audience: []string{audience}, Keys: []jwt.KeySource{
		jwt.SecretFile(file.path), jwt.SecretEnv("MCPAUTH_TEST_SEED"),
	}}))
	passes(t, p, older.Token(hs, claims()))
	file.write(secretOf(newer))
	if err := p.Reload(); err != nil {
		t.Fatal(err)
	}
	passes(t, p, older.Token(hs, claims()))
	passes(t, p, newer.Token(hs, claims()))

	for _, known := range []string{"my-super-secret-key-12345", "your-256-bit-secret", "a-string-secret-at-least-256-bits-long"} {
		e := faults(t, only(jwt.Issuer{Name: issuerName, Audience: []string{audience}, Keys: []jwt.KeySource{jwt.Secret(mcpauth.NewSecret(known))}}))
		if !strings.Contains(e.Error(), "published as an example") || strings.Contains(e.Error(), known) {
			t.Errorf("%s: %v", known, e)
		}
	}
}

// Memory: caches are bounded, in bytes as in entries, each of which counts for
// more than 512; their size and evictions are metrics.
func TestSeedAMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := only(signedBy(issuerName, ours))
		config.Cache.MaxBytes = 1 << 20
		p := newProvider(t, config)
		for i := range 2500 {
			passes(t, p, good("userId", fmt.Sprintf(`"user-%d"`, i)))
		}
		synctest.Wait()
		value := map[string]float64{}
		for _, m := range p.Measure() {
			value[strings.TrimPrefix(m.Name, "mcpauth_jwt_cache_")+" "+m.Labels["cache"]] = m.Value
		}
		for _, cache := range []string{"accepted", "forwarded"} { // half of the bound each
			entries, size, evictions := value["entries "+cache], value["bytes "+cache], value["evictions_total "+cache]
			if entries == 0 || size > 1<<19 || entries*512 > size || entries+evictions != 2500 {
				t.Errorf("%s: %v entries, %v bytes, %v evicted", cache, entries, size, evictions)
			}
		}
	})
}

// Headline: what the cache answers costs no verification and no allocation, so
// that it is far below the pattern's 0.1 ms; the figures are in
// docs/performance.md.
func TestSeedAHeadline(t *testing.T) {
	const requests = 1000
	for _, test := range []struct {
		off           bool
		verifications int
	}{{false, 1}, {true, requests}} {
		config := only(signedBy(issuerName, ours))
		config.Cache.Off = test.off
		p := newProvider(t, config)
		r := &mcpauth.Request{Header: http.Header{"Authorization": {"Bearer " + good()}}}
		made := map[*mcpauth.Identity]bool{} // each verification makes one
		for range requests {
			id, err := p.Authenticate(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			made[id] = true
		}
		if len(made) != test.verifications {
			t.Errorf("cache off %t: %d verifications, want %d", test.off, len(made), test.verifications)
		}
		ctx := t.Context()
		if n := testing.AllocsPerRun(200, func() { p.Authenticate(ctx, r) }); !test.off && n != 0 {
			t.Errorf("an answer from the cache takes %v allocations", n)
		}
	}
}
