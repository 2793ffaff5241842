package jwt_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

// The known faults of the TypeScript pattern that this project grew from, each
// with a proof that it is not here.

func TestSeedFault01CachedResultEndsWithTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := only(signedBy(issuerName, ours))
		config.Cache.TTL = time.Hour
		p := newProvider(t, config)
		token := good("exp", in(10*time.Second))
		id := passes(t, p, token)
		time.Sleep(9 * time.Second)
		if passes(t, p, token) != id {
			t.Error("not answered from the cache")
		}
		time.Sleep(time.Second)
		refused(t, p, token, mcpauth.ErrExpired, expired)
	})
}

func TestSeedFault02CachesAreBoundedAndExpiredEntriesGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := only(signedBy(issuerName, ours))
		config.Cache.MaxBytes = 1 << 20
		p := newProvider(t, config)
		for i := range 2500 {
			passes(t, p, good("userId", fmt.Sprintf(`"user-%d"`, i), "exp", in(30*time.Second)))
		}
		synctest.Wait()
		if s := p.Stats(); s.Accepted.Bytes+s.Forwarded.Bytes > 1<<20 || s.Accepted.Evictions == 0 || s.Forwarded.Evictions == 0 {
			t.Errorf("after a flood: %+v", s)
		}
		time.Sleep(5 * time.Minute)
		passes(t, p, good()) // any use of the caches
		synctest.Wait()
		if s := p.Stats(); s.Accepted.Entries > 1 || s.Forwarded.Entries > 1 {
			t.Errorf("long after the end of all tokens: %+v", s)
		}
	})
}

func TestSeedFault03ForwardedTokenIsTheFreshestOfIssuerAndUser(t *testing.T) {
	p := newProvider(t, jwt.Config{Issuers: []jwt.Issuer{signedBy(issuerName, ours), signedBy(otherName, others)}})
	phone, laptop := good("exp", in(time.Hour)), good("exp", in(2*time.Hour))
	stranger := others.Token(hs, claims("iss", `"`+otherName+`"`, "exp", in(3*time.Hour)))
	// Each session's own identity has its own token, whatever came after.
	idOfPhone, idOfLaptop, idOfStranger := passes(t, p, phone), passes(t, p, laptop), passes(t, p, stranger)
	if idOfPhone.Token().Reveal() != phone || idOfLaptop.Token().Reveal() != laptop || idOfStranger.Token().Reveal() != stranger {
		t.Error("an identity has another session's token")
	}
	passes(t, p, phone) // from the cache
	if forwarded(p, issuerName, "user-1") != laptop || forwarded(p, otherName, "user-1") != stranger {
		t.Error("the freshest token of (issuer, user) is not the one handed out")
	}
}

func TestSeedFault04SchemeIsMatchedWithoutRegardToCase(t *testing.T) {
	p := provider(t)
	for _, prefix := range []string{"Bearer ", "bearer ", "BEARER ", "bEARER   "} {
		if _, err := p.Authenticate(t.Context(), &mcpauth.Request{Header: http.Header{"Authorization": {prefix + good()}}}); err != nil {
			t.Errorf("%q: %v", prefix, err)
		}
	}
}

func TestSeedFault05KeysAreTypedAndBoundToAnAlgorithm(t *testing.T) {
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		key := tokentest.KeyFor(alg)
		e := faults(t, only(jwt.Issuer{Name: issuerName, Audience: []string{audience}, Keys: []jwt.KeySource{jwt.Secret(mcpauth.NewSecret(string(key.PEM())))}}))
		if !strings.Contains(e.Error(), "a PEM document, not a shared secret") {
			t.Errorf("a PEM as a secret: %v", e)
		}
		p := newProvider(t, only(signedBy(issuerName, key)))
		for _, secret := range [][]byte{key.PEM(), []byte(strings.TrimSpace(string(key.PEM()))), key.DER(), []byte(key.JWK(""))} {
			for _, hmac := range []string{"HS256", "HS384", "HS512"} {
				forger := tokentest.Key{Algorithm: hmac, Private: secret}
				refused(t, p, forger.Token(forger.Header(), claims()), mcpauth.ErrUnsupportedAlgorithm, unsupported)
			}
		}
	}
}

func TestSeedFault06RefusalsAreRememberedApart(t *testing.T) {
	p := provider(t)
	id := passes(t, p, good("jti", `"kept"`))
	forged := others.Token(hs, claims())
	refused(t, p, forged, mcpauth.ErrBadSignature, badSig)
	before := p.Stats()
	refused(t, p, forged, mcpauth.ErrBadSignature, badSig)
	if s := p.Stats(); before.Refused.Entries != 1 || s.Refused.Entries != 1 || s.Accepted.Entries != 1 {
		t.Errorf("stats = %+v", s)
	}
	for i := range 10_000 {
		verify(p, fmt.Sprint("bad-", i))
	}
	if passes(t, p, id.Token().Reveal()) != id {
		t.Error("a flood of bad tokens pushed a good one out")
	}
}

// The waiting itself is in TestConcurrentFirstRequestsVerifyOnce.
func TestSeedFault07ConcurrentFirstRequestsShareOneVerification(t *testing.T) {
	p := provider(t)
	for round := range 50 {
		token := good("jti", fmt.Sprintf(`"%d"`, round))
		ids := make([]*mcpauth.Identity, 8)
		var group sync.WaitGroup
		for i := range ids {
			group.Go(func() { ids[i], _ = verify(p, token) })
		}
		group.Wait()
		for _, id := range ids {
			if id == nil || id != ids[0] { // each verification makes its own
				t.Fatalf("round %d: verified more than once", round)
			}
		}
	}
}

func TestSeedFault08RemovedKeyEndsItsTokensAtOnce(t *testing.T) {
	file := newKeyFile(t, secretOf(ours))
	p := newProvider(t, only(jwt.Issuer{Name: issuerName, Audience: []string{audience}, Keys: []jwt.KeySource{jwt.SecretFile(file.path)}}))
	token := good()
	passes(t, p, token)
	file.write(secretOf(others))
	if err := p.Reload(); err != nil {
		t.Fatal(err)
	}
	refused(t, p, token, mcpauth.ErrBadSignature, badSig)
	if forwarded(p, issuerName, "user-1") != "" {
		t.Error("the token is still handed out")
	}
}

func TestSeedFault09RefusalsCarryAChallenge(t *testing.T) {
	resource, err := mcpauth.NewResource(mcpauth.ResourceConfig{PublicURL: "https://mcp.example.com", Path: "/mcp", AuthorizationServers: []string{issuerName}})
	if err != nil {
		t.Fatal(err)
	}
	guard := mcpauth.Require(provider(t), mcpauth.Requirement{Resource: resource, Logger: discard})(http.NotFoundHandler())
	const metadata = `resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp"`
	for _, test := range []struct {
		header, challenge string
		status            int
	}{
		{"", "Bearer " + metadata, 401},
		{"Bearer " + good("exp", "1"), `Bearer error="invalid_token", error_description="` + expired + `", ` + metadata, 401},
		{"Bearer", `Bearer error="invalid_request", error_description="Invalid authorization format. Expected: Bearer <token>", ` + metadata, 400},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "/mcp", nil)
		r.Header.Set("Authorization", test.header)
		guard.ServeHTTP(w, r)
		if got := w.Header().Get("WWW-Authenticate"); w.Code != test.status || got != test.challenge {
			t.Errorf("%d with %s, want %d with %s", w.Code, got, test.status, test.challenge)
		}
	}
}

func TestSeedFault10ExpiryIsRequired(t *testing.T) {
	refused(t, provider(t), good("exp", ""), mcpauth.ErrMissingClaim, "JWT missing required exp claim")
	iss := signedBy(issuerName, ours)
	iss.AllowMissingExpiry = true
	if e := faults(t, only(iss)); e.Faults[0].Field != "Issuers[0].AllowMissingExpiry" {
		t.Errorf("AllowMissingExpiry without MaxLifetime: %v", e)
	}
	iss.MaxLifetime = time.Hour
	p := newProvider(t, only(iss))
	passes(t, p, good("exp", ""))
	refused(t, p, good("exp", "", "iat", in(-2*time.Hour)), mcpauth.ErrExpired, expired)
	refused(t, p, good("exp", "", "iat", ""), mcpauth.ErrMissingClaim, "JWT missing required iat claim")
}
