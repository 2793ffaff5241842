package jwt_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/internal/attack"
)

// attacked is a provider's configuration and what is sent to it.
type attacked struct {
	name         string
	config       jwt.Config
	good, corpus []attack.Token
}

// underAttack returns configurations of one issuer and of several, with every
// algorithm among them. The tokens are made once: they live an hour.
var underAttack = sync.OnceValue(func() []attacked {
	public := attack.NewIssuer("https://public.example", audience, "userId", "RS256", "PS256", "ES384", "ES512", "ES256", "EdDSA")
	public.Claims = map[string]string{"sub": `"subject"`, "scope": `"notes"`, "email": `"victim@example.com"`}
	secret := attack.NewIssuer("https://secret.example", audience, "sub", "HS256", "HS384", "HS512")
	secret.MaxLifetime, secret.ExpiryLeeway = 2*time.Hour, time.Minute
	other := attack.NewIssuer("https://other.example", "https://other.example/mcp", "oid", "RS384", "RS512", "PS384", "PS512")
	fewPublic, fewSecret := public, secret
	fewPublic.Keys, fewSecret.Keys = public.Keys[4:], secret.Keys[:1]
	now := time.Now()
	var all []attacked
	for i, a := range []struct {
		name    string
		issuers []attack.Issuer
	}{
		{"one issuer with public keys", []attack.Issuer{public}},
		{"one issuer with secrets", []attack.Issuer{secret}},
		{"several issuers", []attack.Issuer{fewPublic, fewSecret, other}},
	} {
		target := attack.Target{Issuers: a.issuers, Now: now}
		config := jwt.Config{}
		for _, iss := range a.issuers {
			config.Issuers = append(config.Issuers, jwt.Issuer{
				Name: iss.Name, Audience: []string{iss.Audience}, UserIDClaim: iss.UserIDClaim, Keys: []jwt.KeySource{jwt.JWKS(iss.JWKS())},
				MaxLifetime: iss.MaxLifetime, ExpiryLeeway: iss.ExpiryLeeway,
			})
		}
		all = append(all, attacked{a.name, config, attack.Good(target), attack.Corpus(uint64(i), target)})
	}
	return all
})

// attackCodes are those with which each class may be refused. The first reason
// that is found counts, so that most classes have several: what is refused for
// its claims by a provider with one issuer may be of a wrong issuer for one with
// several.
var attackCodes = func() map[string][]mcpauth.Code {
	const (
		header    = mcpauth.ErrMalformedHeader
		malformed = mcpauth.ErrMalformedToken
		alg       = mcpauth.ErrUnsupportedAlgorithm
		key       = mcpauth.ErrUnknownKey
		signature = mcpauth.ErrBadSignature
		issuer    = mcpauth.ErrWrongIssuer
		claim     = mcpauth.ErrMissingClaim
	)
	return map[string][]mcpauth.Code{
		"alg none":       {alg, malformed},
		"alg value":      {alg, malformed},
		"alg confusion":  {alg, key, signature},
		"alg swap":       {alg, key, signature},
		"guessed secret": {alg, signature},
		"foreign key":    {alg, key, signature},
		"key in header":  {signature},
		"crit":           {malformed},
		"kid":            {alg, key, malformed},
		"typ":            {malformed},
		"token use":      {malformed},
		"bound token":    {malformed},
		"ecdsa value":    {signature},
		"ecdsa form":     {signature},
		"ed25519":        {signature},
		"rsa pkcs1":      {signature},
		"rsa pss":        {signature},
		"hmac":           {signature},
		"signature":      {signature},
		"tampered":       {signature, malformed, claim},
		"base64":         {malformed, header},
		"segments":       {malformed, header, signature},
		"jwe":            {malformed},
		"header json":    {malformed, signature},
		"claims json":    {malformed, signature},
		"duplicate":      {malformed, issuer},
		"claim case":     {malformed, claim},
		"claim type":     {malformed},
		"time":           {mcpauth.ErrExpired, mcpauth.ErrNotYetValid, claim},
		"audience":       {mcpauth.ErrWrongAudience, malformed, claim},
		"issuer":         {issuer, malformed, claim},
		"user id":        {malformed, claim},
		"size":           {mcpauth.ErrTooLarge},
		"not a jwt":      {malformed, header},
		"authorization":  {header, mcpauth.ErrMissingCredential, malformed, signature},
	}
}()

func authenticate(p mcpauth.Provider, token attack.Token) (*mcpauth.Identity, error) {
	return p.Authenticate(context.Background(), &mcpauth.Request{Header: token.Header})
}

// repelled fails the test unless the token was refused as its class may be.
func repelled(t *testing.T, token attack.Token, id *mcpauth.Identity, err error) {
	t.Helper()
	var e *mcpauth.Error
	switch {
	case err == nil || id != nil:
		t.Errorf("%s is ACCEPTED as user %q of %q: %q\n%s", token, id.UserID(), id.Issuer(), token.Header, token.Why)
	case !errors.As(err, &e):
		t.Errorf("%s: the error is no *mcpauth.Error: %v", token, err)
	case !slices.Contains(attackCodes[token.Class], e.Code):
		t.Errorf("%s is refused with %v (cause: %v), want one of %v", token, e, e.Cause, attackCodes[token.Class])
	}
}

// welcome fails the test unless every good token is accepted.
func welcome(t *testing.T, p mcpauth.Provider, good []attack.Token) {
	t.Helper()
	for _, token := range good {
		if id, err := authenticate(p, token); err != nil || id.UserID() != "victim" {
			t.Errorf("%s is refused: %v (cause: %v)", token, err, errors.Unwrap(err))
		}
	}
}

func TestAttackIsRefused(t *testing.T) {
	algorithms := map[jwt.Algorithm]bool{}
	for _, a := range underAttack() {
		classes := map[string]int{}
		for _, token := range a.corpus {
			classes[token.Class]++
		}
		t.Logf("%s: %d hostile tokens in %d classes, %d good ones", a.name, len(a.corpus), len(classes), len(a.good))
		if len(a.corpus) < 250 || len(classes) < 15 {
			t.Errorf("%s: %d tokens in %d classes, want at least 250 in 15", a.name, len(a.corpus), len(classes))
		}
		p := newProvider(t, a.config)
		for _, token := range a.corpus {
			id, err := authenticate(p, token)
			repelled(t, token, id, err)
		}
		if n := p.Stats().Accepted.Entries; n != 0 {
			t.Errorf("%s: %d tokens are in the cache of accepted ones", a.name, n)
		}
		// With the good ones in the cache, and from that of refusals.
		welcome(t, p, a.good)
		for _, token := range a.corpus {
			id, err := authenticate(p, token)
			repelled(t, token, id, err)
		}
		welcome(t, p, a.good)
		if n := p.Stats().Accepted.Entries; n > len(a.good) {
			t.Errorf("%s: %d tokens are in the cache of accepted ones, %d are good", a.name, n, len(a.good))
		}
		for _, token := range a.good {
			for _, alg := range []jwt.Algorithm{jwt.HS256, jwt.HS384, jwt.HS512, jwt.RS256, jwt.RS384, jwt.RS512, jwt.PS256, jwt.PS384, jwt.PS512, jwt.ES256, jwt.ES384, jwt.ES512, jwt.EdDSA} {
				if len(token.Name) >= len(alg) && token.Name[:len(alg)] == string(alg) {
					algorithms[alg] = true
				}
			}
		}
	}
	if len(algorithms) != 13 {
		t.Errorf("good tokens are of %d algorithms, want all 13", len(algorithms))
	}
}

// Good tokens are in the cache, or verified anew each time without one, while
// hostile ones come in any order.
func TestAttackIsRefusedWhateverComesBeside(t *testing.T) {
	for i, a := range underAttack() {
		a.config.Cache.Off = i == 1
		p := newProvider(t, a.config)
		welcome(t, p, a.good)
		var workers sync.WaitGroup
		for worker := range 3 {
			workers.Go(func() {
				random := rand.New(rand.NewPCG(uint64(worker), 7))
				for i, at := range random.Perm(len(a.corpus)) {
					token := a.corpus[at]
					id, err := authenticate(p, token)
					repelled(t, token, id, err)
					if i%8 == 0 {
						welcome(t, p, a.good[random.IntN(len(a.good)):][:1])
					}
				}
			})
		}
		workers.Wait()
	}
}

// While time stands still, a second is exactly one.
func TestAttackIsRefusedAtTheVerySecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		iss := attack.NewIssuer("https://secret.example", audience, "sub", "HS256")
		iss.MaxLifetime, iss.ExpiryLeeway = 2*time.Hour, time.Minute
		target := attack.Target{Issuers: []attack.Issuer{iss}, Now: time.Now()}
		p := newProvider(t, only(jwt.Issuer{
			Name: iss.Name, Audience: []string{iss.Audience}, UserIDClaim: iss.UserIDClaim, Keys: []jwt.KeySource{jwt.JWKS(iss.JWKS())},
			MaxLifetime: iss.MaxLifetime, ExpiryLeeway: iss.ExpiryLeeway,
		}))
		welcome(t, p, attack.Good(target))
		for _, token := range attack.Corpus(3, target) {
			id, err := authenticate(p, token)
			repelled(t, token, id, err)
		}
	})
}

// guarded is a handler behind Require that counts who passes.
func guarded(p mcpauth.Provider) (http.Handler, *atomic.Int64) {
	passed := new(atomic.Int64)
	return mcpauth.Require(p, mcpauth.Requirement{Logger: discard})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		passed.Add(1)
		w.WriteHeader(http.StatusNoContent)
	})), passed
}

// answered fails the test unless the answer is that of a refusal.
func answered(t *testing.T, token attack.Token, status int, header http.Header) {
	t.Helper()
	if status != http.StatusUnauthorized && status != http.StatusBadRequest {
		t.Errorf("%s: status %d", token, status)
	}
	if challenge := header.Get("WWW-Authenticate"); len(challenge) < len("Bearer") || challenge[:len("Bearer")] != "Bearer" {
		t.Errorf("%s: challenge %q", token, challenge)
	}
}

func TestAttackStopsAtTheDoor(t *testing.T) {
	for _, a := range underAttack() {
		door, passed := guarded(newProvider(t, a.config))
		serve := func(token attack.Token) *httptest.ResponseRecorder {
			r := httptest.NewRequest("POST", "/mcp", nil)
			maps.Copy(r.Header, token.Header)
			w := httptest.NewRecorder()
			door.ServeHTTP(w, r)
			return w
		}
		for _, token := range a.good {
			if w := serve(token); w.Code != http.StatusNoContent {
				t.Errorf("%s: status %d, %s", token, w.Code, w.Body)
			}
		}
		before := passed.Load()
		for _, token := range a.corpus {
			w := serve(token)
			answered(t, token, w.Code, w.Header())
		}
		if n := passed.Load() - before; n != 0 || before != int64(len(a.good)) {
			t.Errorf("%s: %d hostile tokens and %d good ones passed", a.name, n, before)
		}
	}
}

func TestAttackStopsAtTheDoorOverTheWire(t *testing.T) {
	a := underAttack()[2]
	door, passed := guarded(newProvider(t, a.config))
	server := httptest.NewServer(door)
	defer server.Close()
	send := func(token attack.Token) (int, http.Header) {
		r, err := http.NewRequest("POST", server.URL+"/mcp", nil)
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(r.Header, token.Header)
		response, err := server.Client().Do(r)
		if err != nil {
			t.Fatalf("%s: %v", token, err)
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
		return response.StatusCode, response.Header
	}
	for _, token := range a.good {
		if status, _ := send(token); status != http.StatusNoContent {
			t.Errorf("%s: status %d", token, status)
		}
	}
	before, sent := passed.Load(), 0
	for _, token := range a.corpus {
		if token.Sendable() {
			status, header := send(token)
			answered(t, token, status, header)
			sent++
		}
	}
	if n := passed.Load() - before; n != 0 || sent < 250 {
		t.Errorf("%d of %d hostile tokens passed", n, sent)
	}
}

// What a stranger sends within the limit of a token's size must not cost much
// more memory than itself.
func TestAttackCostsLittleMemory(t *testing.T) {
	const limit = 64 << 10
	cost := func(p *jwt.Provider, token attack.Token) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		authenticate(p, token)
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	for _, a := range underAttack() {
		p := newProvider(t, a.config)
		var most uint64
		var worst attack.Token
		for _, token := range a.corpus {
			if len(token.Text) > 16<<10 {
				continue
			}
			spent := cost(p, token)
			// Others allocate meanwhile, such as the caches: the token is to
			// blame only if it is always dear to a provider that has not seen it.
			for range 3 {
				if spent <= limit {
					break
				}
				spent = min(spent, cost(newProvider(t, a.config), token))
			}
			if spent > limit {
				t.Errorf("%s: %d bytes for %d", token, spent, len(token.Text))
			}
			if spent > most {
				most, worst = spent, token
			}
		}
		t.Logf("%s: at most %d bytes, for %s of %d", a.name, most, worst, len(worst.Text))
	}
}
