package jwt_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

// idp is an identity provider in the place of the network.
type idp struct {
	mu        sync.Mutex
	documents map[string]string // by URL
	header    http.Header
	down      bool
	hung      bool
	asked     []string
	now, most int // requests under way
}

const setURL = issuerName + "/jwks"

func newIDP(keys ...string) *idp {
	return &idp{documents: map[string]string{setURL: string(tokentest.JWKS(keys...))}}
}

func (i *idp) set(change func(*idp)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change(i)
}

func (i *idp) publish(keys ...string) {
	i.set(func(i *idp) { i.documents[setURL] = string(tokentest.JWKS(keys...)) })
}

func (i *idp) fetches() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.asked)
}

func (i *idp) RoundTrip(r *http.Request) (*http.Response, error) {
	i.mu.Lock()
	i.asked = append(i.asked, r.URL.String())
	i.now++
	i.most = max(i.most, i.now)
	down, hung := i.down, i.hung
	document, found := i.documents[r.URL.String()]
	response := &http.Response{StatusCode: http.StatusOK, Header: i.header.Clone(), Body: io.NopCloser(strings.NewReader(document)), Request: r}
	i.mu.Unlock()
	defer i.set(func(i *idp) { i.now-- })
	switch {
	case hung:
		<-r.Context().Done()
		return nil, r.Context().Err()
	case down:
		return nil, errors.New("connection refused")
	case !found:
		response.StatusCode = http.StatusNotFound
	}
	return response, nil
}

// remote is an issuer whose keys are fetched.
func remote() jwt.Issuer {
	return jwt.Issuer{Name: issuerName, Audience: []string{audience}, Keys: []jwt.KeySource{jwt.JWKSURL(setURL)}}
}

// fetching returns a provider, started, with the keys of i.
func fetching(t testing.TB, i *idp, issuers ...jwt.Issuer) *jwt.Provider {
	t.Helper()
	if len(issuers) == 0 {
		issuers = []jwt.Issuer{remote()}
	}
	p := newProvider(t, jwt.Config{Issuers: issuers, Fetch: jwt.Fetch{}.Through(i)})
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return p
}

// of is a token with a kid of k's, of a user by "sub".
func of(k tokentest.Key, kid string, pairs ...string) string {
	return k.Token(k.HeaderWith(`"kid":"`+kid+`"`), claims(append([]string{"sub", `"user-1"`}, pairs...)...))
}

var (
	first    = tokentest.Ed25519("first")
	second   = tokentest.Ed25519("second")
	stranger = tokentest.Ed25519("stranger")
)

// Every way in which a token of an issuer with fetched keys can be answered.
func TestAnswersWithFetchedKeys(t *testing.T) {
	rs, es := tokentest.KeyFor("RS256"), tokentest.KeyFor("ES256")
	down := func(i *idp) { i.down = true }
	hung := func(i *idp) { i.hung = true }
	rotated := func(i *idp) { i.documents[setURL] = string(tokentest.JWKS(first.JWK("1"), second.JWK("2"))) }
	garbage := func(i *idp) { i.documents[setURL] = "<html>" }
	unknown := func() string { return of(stranger, "unknown") }
	issued := func(text string) func() string {
		return func() string { return of(stranger, "unknown", "iat", text) }
	}
	const minute = time.Minute
	for _, test := range []struct {
		name    string
		issuer  func(*jwt.Issuer)
		idle    bool       // not started
		change  func(*idp) // after the first fetch, at 0 s; nil for none
		cooling bool       // an unknown key has been asked for then, before the change
		wait    time.Duration
		token   func() string
		code    mcpauth.Code
		fetches int
		retry   string // Retry-After
	}{
		// A known key.
		{name: "known key", token: func() string { return of(first, "1") }},
		{name: "known key, provider down", change: down, token: func() string { return of(first, "1") }},
		{name: "known key, provider hung", change: hung, token: func() string { return of(first, "1") }},
		{name: "known key, cool-down", cooling: true, token: func() string { return of(first, "1") }},
		{name: "known key, forged", token: func() string { return of(stranger, "1") }, code: mcpauth.ErrBadSignature},
		{name: "no kid", token: func() string { return first.Token(first.Header(), claims("sub", `"u"`)) }},

		// An unknown key is asked for.
		{name: "rotated: the key is there", change: rotated, token: func() string { return of(second, "2") }, fetches: 1},
		{name: "rotated, forged", change: rotated, token: func() string { return of(stranger, "2") }, code: mcpauth.ErrBadSignature, fetches: 1},
		{name: "rotated to another type", change: func(i *idp) { i.documents[setURL] = string(tokentest.JWKS(es.JWK("e"))) }, token: func() string { return of(es, "e") }, fetches: 1},
		{name: "unknown key", token: unknown, code: mcpauth.ErrUnknownKey, fetches: 1},
		{name: "unknown key, issued in the future", token: func() string { return of(stranger, "unknown", "iat", in(50*time.Second)) }, code: mcpauth.ErrUnknownKey, fetches: 1},
		{name: "unknown key, no iat", token: issued(""), code: mcpauth.ErrUnknownKey, fetches: 1},
		{name: "algorithm without a key", token: func() string { return of(rs, "1") }, code: mcpauth.ErrUnsupportedAlgorithm, fetches: 1},

		// In the cool-down, nothing is.
		{name: "cool-down, issued before the fetch", cooling: true, wait: 2 * time.Second, token: func() string { return of(stranger, "unknown", "iat", in(-3*time.Second)) }, code: mcpauth.ErrUnknownKey},
		{name: "cool-down, issued in the second of the fetch", cooling: true, wait: 2 * time.Second, token: func() string { return of(stranger, "unknown", "iat", in(-2*time.Second)) }, code: mcpauth.ErrUnavailable, retry: "8"},
		{name: "cool-down, issued after the fetch", cooling: true, wait: 2 * time.Second, token: unknown, code: mcpauth.ErrUnavailable, retry: "8"},
		{name: "cool-down, no iat", cooling: true, wait: 2 * time.Second, token: issued(""), code: mcpauth.ErrUnavailable, retry: "8"},
		{name: "cool-down, rotated", cooling: true, change: rotated, wait: 2 * time.Second, token: func() string { return of(second, "2") }, code: mcpauth.ErrUnavailable, retry: "8"},
		{name: "cool-down, algorithm without a key", cooling: true, wait: 9900 * time.Millisecond, token: func() string { return of(rs, "1") }, code: mcpauth.ErrUnavailable, retry: "1"},
		{name: "cool-down over", cooling: true, wait: 10 * time.Second, token: unknown, code: mcpauth.ErrUnknownKey, fetches: 1},
		{name: "cool-down over, rotated", cooling: true, change: rotated, wait: 10 * time.Second, token: func() string { return of(second, "2") }, fetches: 1},

		// In an outage, the last good set decides what it can.
		{name: "outage, issued before the last good fetch", change: down, wait: minute, token: func() string { return of(stranger, "unknown", "iat", in(-61*time.Second)) }, code: mcpauth.ErrUnknownKey, fetches: 1},
		{name: "outage, issued after it", change: down, wait: minute, token: unknown, code: mcpauth.ErrUnavailable, fetches: 1, retry: "10"},
		{name: "outage, no iat", change: down, wait: minute, token: issued(""), code: mcpauth.ErrUnavailable, fetches: 1, retry: "10"},
		{name: "hung, issued after it", change: hung, wait: minute, token: unknown, code: mcpauth.ErrUnavailable, fetches: 1},
		{name: "hung, issued before it", change: hung, wait: minute, token: issued("1"), code: mcpauth.ErrUnknownKey, fetches: 1},
		{name: "garbage in place of the set", change: garbage, wait: minute, token: unknown, code: mcpauth.ErrUnavailable, fetches: 1, retry: "10"},

		// Without keys, there is no judgement.
		{name: "not started", idle: true, token: func() string { return of(first, "1") }, code: mcpauth.ErrUnavailable, retry: "1"},
		{name: "not started, unknown key", idle: true, token: issued("1"), code: mcpauth.ErrUnavailable, retry: "1"},
		{name: "keys too old", change: down, wait: 24*time.Hour + minute, token: func() string { return of(first, "1") }, code: mcpauth.ErrUnavailable},
		{name: "keys too old, unknown key", change: down, wait: 24*time.Hour + minute, token: issued("1"), code: mcpauth.ErrUnavailable},

		// What no key would help is not worth a fetch.
		{name: "expired", token: func() string { return of(stranger, "unknown", "exp", in(-time.Second)) }, code: mcpauth.ErrExpired},
		{name: "not yet valid", token: func() string { return of(stranger, "unknown", "nbf", in(time.Hour)) }, code: mcpauth.ErrNotYetValid},
		{name: "for another audience", token: func() string { return of(stranger, "unknown", "aud", `"x"`) }, code: mcpauth.ErrWrongAudience},
		{name: "of another issuer", token: func() string { return of(stranger, "unknown", "iss", `"x"`) }, code: mcpauth.ErrWrongIssuer},
		{name: "without exp", token: func() string { return of(stranger, "unknown", "exp", "") }, code: mcpauth.ErrMissingClaim},
		{name: "bound", token: func() string { return of(stranger, "unknown", "cnf", "{}") }, code: mcpauth.ErrMalformedToken},
		{name: "expired, not started", idle: true, token: func() string { return of(stranger, "unknown", "exp", in(-time.Second)) }, code: mcpauth.ErrExpired},
		{name: "HS256", token: func() string { return of(ours, "unknown") }, code: mcpauth.ErrUnsupportedAlgorithm},
		{name: "HS256, not started", idle: true, token: func() string { return of(ours, "unknown") }, code: mcpauth.ErrUnsupportedAlgorithm},
		{name: "none", token: func() string {
			return tokentest.Encode(`{"alg":"none","kid":"unknown"}`) + "." + tokentest.Encode(claims()) + "."
		}, code: mcpauth.ErrUnsupportedAlgorithm},
		{name: "an algorithm that is not configured", issuer: func(i *jwt.Issuer) { i.Algorithms = []jwt.Algorithm{jwt.EdDSA} }, token: func() string { return of(rs, "unknown") }, code: mcpauth.ErrUnsupportedAlgorithm},
		{name: "malformed", token: func() string { return "x" }, code: mcpauth.ErrMalformedToken},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, several := range []bool{false, true} {
				for _, off := range []bool{false, true} {
					synctest.Test(t, func(t *testing.T) {
						i := newIDP(first.JWK("1"))
						issuer := remote()
						if test.issuer != nil {
							test.issuer(&issuer)
						}
						config := jwt.Config{Issuers: []jwt.Issuer{issuer}, Fetch: jwt.Fetch{RefreshInterval: time.Hour}.Through(i), Cache: jwt.Cache{Off: off}}
						if several {
							config.Issuers = append(config.Issuers, signedBy(otherName, others))
						}
						p := newProvider(t, config)
						defer p.Close()
						if !test.idle {
							if err := p.Start(t.Context()); err != nil {
								t.Fatal(err)
							}
							synctest.Wait()
							if err := p.Ready(); err != nil {
								t.Fatal(err)
							}
						}
						if test.cooling {
							refused(t, p, of(stranger, "first"), mcpauth.ErrUnknownKey)
						}
						if test.change != nil {
							i.set(test.change)
						}
						time.Sleep(test.wait)
						synctest.Wait()
						before, token := i.fetches(), test.token()
						began := time.Now()
						if test.code == "" {
							passes(t, p, token)
						} else if e := refused(t, p, token, test.code); test.retry != "" && e.RetrySeconds() != test.retry {
							t.Errorf("Retry-After: %s, want %s", e.RetrySeconds(), test.retry)
						}
						if n := i.fetches() - before; n != test.fetches {
							t.Errorf("%d fetches, want %d", n, test.fetches)
						}
						if took := time.Since(began); took > 5*time.Second || test.fetches == 0 && took > 0 {
							t.Errorf("took %s", took)
						}
					})
				}
			}
		})
	}
}

// A provider that hangs for a minute is not noticed by those whose key is
// known.
func TestAHungProviderRefusesNobodyWithAKnownKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIDP(first.JWK("1"))
		i.header = http.Header{"Cache-Control": {"max-age=60"}}
		p := fetching(t, i)
		defer p.Close()
		i.set(func(i *idp) { i.hung, i.most = true, 0 })
		var group sync.WaitGroup
		refusals := 0
		for second := range 120 {
			for n := range 20 {
				token := of(first, "1", "exp", in(time.Hour), "n", fmt.Sprint(second*100+n%5))
				began := time.Now()
				if _, err := verify(p, token); err != nil || time.Since(began) != 0 {
					refusals++
				}
			}
			group.Go(func() { refused(t, p, of(stranger, fmt.Sprint("invented-", second)), mcpauth.ErrUnavailable) })
			time.Sleep(time.Second)
		}
		group.Wait()
		synctest.Wait() // for a fetch that ends at the same time as its last waiter
		if refusals != 0 || i.most != 1 || i.fetches() < 5 {
			t.Errorf("%d refusals; %d fetches, %d at a time", refusals, i.fetches(), i.most)
		}
	})
}

func TestAFloodOfInventedKeysCostsOneFetchACoolDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIDP(first.JWK("1"))
		p := fetching(t, i)
		defer p.Close()
		before, start := i.fetches(), time.Now()
		for n := range 10_000 {
			id, err := verify(p, of(stranger, fmt.Sprint("invented-", n)))
			if e := mcpauth.AsError(err); id != nil || e.Code != mcpauth.ErrUnknownKey && e.Code != mcpauth.ErrUnavailable {
				t.Fatalf("got %v, %v", id, err)
			}
			time.Sleep(time.Millisecond)
		}
		if n := i.fetches() - before; n > 2 {
			t.Errorf("%d fetches", n)
		}
		// A rotation after that flood's cool-down verifies at once.
		i.publish(first.JWK("1"), second.JWK("2"))
		time.Sleep(time.Until(start.Add(10*time.Second + time.Millisecond)))
		passes(t, p, of(second, "2"))
		if n := i.fetches() - before; n != 2 {
			t.Errorf("%d fetches, want 2", n)
		}
		if s := p.Stats(); s.Refused.Entries != 0 {
			t.Errorf("%d unknown keys are remembered as refusals", s.Refused.Entries)
		}
	})
}

// All that bring the new key at once wait for the same fetch.
func TestARotationCostsOneFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIDP(first.JWK("1"))
		p := fetching(t, i)
		defer p.Close()
		i.publish(second.JWK("2"))
		var group sync.WaitGroup
		for n := range 200 {
			group.Go(func() { passes(t, p, of(second, "2", "n", fmt.Sprint(n%50))) })
		}
		group.Wait()
		if i.fetches() != 2 {
			t.Errorf("%d fetches, want 2", i.fetches())
		}
	})
}

func TestARemovedKeyEndsAtTheRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIDP(first.JWK("1"), second.JWK("2"))
		config := jwt.Config{Issuers: []jwt.Issuer{remote()}, Fetch: jwt.Fetch{}.Through(i), Cache: jwt.Cache{TTL: time.Hour}}
		p := newProvider(t, config)
		defer p.Close()
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ofFirst, ofSecond := of(first, "1", "exp", in(2*time.Hour)), of(second, "2", "exp", in(2*time.Hour), "sub", `"user-2"`)
		passes(t, p, ofFirst)
		id := passes(t, p, ofSecond)

		// Another order, and what cannot be used, change nothing.
		i.publish(`{"kty":"AKP"}`, second.JWK("2"), tokentest.With(first.JWK("1"), `"x5t":"1"`), first.JWK("1"))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if i.fetches() != 2 || passes(t, p, ofSecond) != id {
			t.Errorf("%d fetches; a refresh without change throws results away", i.fetches())
		}

		i.publish(second.JWK("2"))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if e := refused(t, p, ofFirst, mcpauth.ErrUnknownKey, unknownKey); e.RetryAfter != 0 {
			t.Errorf("%+v", e)
		}
		if _, ok := p.Token(issuerName, "user-1"); ok {
			t.Error("the token of a removed key is still handed out")
		}
		passes(t, p, ofSecond)
		if _, ok := p.Token(issuerName, "user-2"); !ok {
			t.Error("the token of the key that stayed is not handed out")
		}

		// A key that is replaced under its name is another key.
		i.publish(stranger.JWK("2"))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		refused(t, p, ofSecond, mcpauth.ErrBadSignature, badSig)
		passes(t, p, of(stranger, "2"))
	})
}

func TestAnOutageAtStartEndsWithoutARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIDP(first.JWK("1"))
		i.down = true
		p := fetching(t, i)
		defer p.Close()
		for range 20 {
			refused(t, p, of(first, "1"), mcpauth.ErrUnavailable)
			if err := p.Ready(); err == nil || !strings.Contains(err.Error(), issuerName) {
				t.Fatalf("Ready = %v", err)
			}
			time.Sleep(30 * time.Second)
		}
		i.set(func(i *idp) { i.down = false })
		time.Sleep(46 * time.Second)
		synctest.Wait()
		passes(t, p, of(first, "1"))
		if err := p.Ready(); err != nil {
			t.Error(err)
		}
	})
}

func TestKeysThatAreTooOldServeNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIDP(first.JWK("1"))
		config := jwt.Config{Issuers: []jwt.Issuer{remote()}, Fetch: jwt.Fetch{MaxStale: time.Hour}.Through(i), Cache: jwt.Cache{TTL: time.Hour}}
		p := newProvider(t, config)
		defer p.Close()
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		i.set(func(i *idp) { i.down = true })
		token := of(first, "1", "exp", in(3*time.Hour))
		time.Sleep(time.Hour - time.Second)
		id := passes(t, p, token)
		if err := errors.Join(p.Ready(), id.Standing()); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		refused(t, p, token, mcpauth.ErrUnavailable) // although its result was cached
		if err := id.Standing(); !errors.Is(err, mcpauth.ErrUnavailable) {
			t.Errorf("what rests on it: %v", err)
		}
		if _, ok := p.Token(issuerName, "user-1"); ok || p.Ready() == nil {
			t.Error("the provider is ready, or hands out tokens")
		}
		if s := p.Stats().KeySets[0]; s.Keys != 0 || s.Failures == 0 || s.Age != 0 {
			t.Errorf("stats = %+v", s)
		}
		i.set(func(i *idp) { i.down = false })
		time.Sleep(46 * time.Second)
		synctest.Wait()
		passes(t, p, token)
	})
}

func TestNoDocumentReplacesAGoodSetButAGoodSet(t *testing.T) {
	for name, document := range map[string]string{
		"empty": "", "HTML": "<html>Sign in</html>", "garbage": "\x00\xff", "cut off": string(tokentest.JWKS(first.JWK("1")))[:60],
		"no keys": `{"keys":[]}`, "only unusable keys": string(tokentest.JWKS(`{"kty":"AKP"}`, tokentest.With(second.JWK("2"), `"use":"enc"`))),
		"a shared secret": string(tokentest.JWKS(ours.JWK("1"))), "a private key": string(tokentest.JWKS(tokentest.With(second.JWK("2"), `"d":"AAAA"`))),
		"an error": `{"error":"slow down"}`, "huge": `{"keys":[` + second.JWK("2") + `]` + strings.Repeat(" ", 512<<10) + `}`,
		"101 keys":             string(tokentest.JWKS(strings.Split(strings.Repeat(second.JWK("2")+" ", 101), " ")[:101]...)),
		"two keys of one name": string(tokentest.JWKS(first.JWK("1"), second.JWK("1"))),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newIDP(first.JWK("1"))
				p := fetching(t, i)
				defer p.Close()
				token := of(first, "1")
				id := passes(t, p, token)
				i.set(func(i *idp) { i.documents[setURL] = document })
				if err := p.Reload(); err == nil || !strings.Contains(err.Error(), issuerName) {
					t.Errorf("Reload = %v", err)
				}
				if passes(t, p, token) != id {
					t.Error("the cached result is gone")
				}
				refused(t, p, of(ours, "1"), mcpauth.ErrUnsupportedAlgorithm)
				i.publish(second.JWK("2"))
				if err := p.Reload(); err != nil {
					t.Error(err)
				}
				passes(t, p, of(second, "2"))
			})
		})
	}
}

func TestAWaiterThatLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIDP(first.JWK("1"))
		p := fetching(t, i)
		defer p.Close()
		// The fetch is held up until all wait.
		proceed := make(chan struct{})
		held := roundTripper(func(r *http.Request) (*http.Response, error) {
			select {
			case <-proceed:
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
			return i.RoundTrip(r)
		})
		i.publish(second.JWK("2"))
		slow := newProvider(t, jwt.Config{Issuers: []jwt.Issuer{remote()}, Fetch: jwt.Fetch{}.Through(held)})
		defer slow.Close()
		if err := slow.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		proceed <- struct{}{} // the first fetch
		synctest.Wait()
		i.publish(first.JWK("1"))
		token := of(first, "1")
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			if id, err := slow.Verify(ctx, token); id != nil || mcpauth.AsError(err).Code != mcpauth.ErrUnavailable {
				t.Errorf("who leaves gets %v, %v", id, err)
			}
		})
		group.Go(func() { passes(t, slow, token) })
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(proceed)
		group.Wait()
		passes(t, slow, token) // the cancellation has left nothing behind
	})
}

// A fetch that is under way when a token comes may have begun before the
// token's key was published. Then there is one more, and no longer a wait.
func TestAFetchThatBeganTooEarly(t *testing.T) {
	for _, hung := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			i := newIDP(first.JWK("1"))
			slow := roundTripper(func(r *http.Request) (*http.Response, error) {
				response, err := i.RoundTrip(r)
				time.Sleep(2 * time.Second)
				return response, err
			})
			p := newProvider(t, jwt.Config{Issuers: []jwt.Issuer{remote()}, Fetch: jwt.Fetch{}.Through(slow)})
			defer p.Close()
			if err := p.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(4 * time.Second)
			var group sync.WaitGroup
			group.Go(func() { p.Reload() })
			time.Sleep(time.Second)
			i.publish(second.JWK("2"))
			i.set(func(i *idp) { i.hung = hung })
			began, takes := time.Now(), 3*time.Second
			if hung {
				takes = 5 * time.Second
				refused(t, p, of(second, "2"), mcpauth.ErrUnavailable)
			} else {
				passes(t, p, of(second, "2"))
			}
			if took := time.Since(began); took != takes {
				t.Errorf("took %s", took)
			}
			if i.fetches() != 3 {
				t.Errorf("%d fetches", i.fetches())
			}
			group.Wait()
		})
	}
}

// A refusal under one set of keys says nothing under the next.
func TestRefusalsEndWithTheKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIDP(first.JWK("1"))
		p := fetching(t, i)
		defer p.Close()
		token := of(stranger, "1")
		refused(t, p, token, mcpauth.ErrBadSignature)
		i.publish(stranger.JWK("1"))
		if err := p.Reload(); err != nil {
			t.Fatal(err)
		}
		passes(t, p, token)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Many requests of every kind, while keys come and go.
func TestFetchedKeysUnderManyRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIDP(first.JWK("1"))
		p := fetching(t, i)
		defer p.Close()
		var group sync.WaitGroup
		for worker := range 8 {
			group.Go(func() {
				for n := range 50 {
					passes(t, p, of(first, "1", "n", fmt.Sprint(n%7)))
					if id, err := verify(p, of(stranger, fmt.Sprint(worker, n))); id != nil || err == nil {
						t.Error("a stranger's token passes")
					}
					verify(p, of(second, "2"))
					time.Sleep(time.Second)
				}
			})
		}
		for n := range 10 {
			if n%2 == 0 {
				i.publish(second.JWK("2"), first.JWK("1"))
			} else {
				i.publish(first.JWK("1"))
			}
			p.Reload()
			time.Sleep(5 * time.Second)
		}
		group.Wait()
		synctest.Wait()
		if i.most != 1 {
			t.Errorf("%d fetches at a time", i.most)
		}
	})
}

func TestIssuersAreFetchedApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const third = "https://third.example"
		i := newIDP(first.JWK("k"))
		i.documents[third+"/.well-known/openid-configuration"] = `{"issuer":"` + third + `","jwks_uri":"` + third + `/keys"}`
		other := jwt.Issuer{Name: third, Audience: []string{audience}, Keys: []jwt.KeySource{jwt.Discover()}}
		p := fetching(t, i, remote(), other, signedBy(otherName, others))
		defer p.Close()
		passes(t, p, of(first, "k"))
		passes(t, p, others.Token(hs, claims("iss", `"`+otherName+`"`)))
		refused(t, p, of(second, "k", "iss", `"`+third+`"`), mcpauth.ErrUnavailable)
		refused(t, p, of(second, "k"), mcpauth.ErrBadSignature)
		if err := p.Ready(); err == nil || !strings.Contains(err.Error(), third) || strings.Contains(err.Error(), issuerName) {
			t.Errorf("Ready = %v", err)
		}
		i.set(func(i *idp) { i.documents[third+"/keys"] = string(tokentest.JWKS(second.JWK("k"))) })
		time.Sleep(time.Minute)
		if id := passes(t, p, of(second, "k", "iss", `"`+third+`"`)); id.Issuer() != third {
			t.Errorf("issuer %q", id.Issuer())
		}
		// A key serves its own issuer only, whatever its name.
		refused(t, p, of(second, "k"), mcpauth.ErrBadSignature)
		refused(t, p, of(first, "k", "iss", `"`+third+`"`), mcpauth.ErrBadSignature)
		if err := p.Ready(); err != nil {
			t.Error(err)
		}
	})
}

func TestReloadFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIDP(first.JWK("1"))
		p := newProvider(t, jwt.Config{Issuers: []jwt.Issuer{remote(), signedBy(otherName, others)}, Fetch: jwt.Fetch{}.Through(i)})
		defer p.Close()
		if i.fetches() != 0 || p.Ready() == nil {
			t.Errorf("%d fetches by New", i.fetches())
		}
		// Also without Start, for a program that verifies one token.
		if err := p.Reload(); err != nil {
			t.Fatal(err)
		}
		passes(t, p, of(first, "1"))
		refused(t, p, of(stranger, "x"), mcpauth.ErrUnknownKey)
		i.publish(second.JWK("2"))
		if err := p.Reload(); err != nil {
			t.Fatal(err)
		}
		passes(t, p, of(second, "2"))
		refused(t, p, of(first, "1"), mcpauth.ErrUnavailable) // the cool-down
		i.set(func(i *idp) { i.down = true })
		if err := p.Reload(); err == nil || !strings.Contains(err.Error(), `issuer "`+issuerName+`": fetch `+setURL+`: connection refused`) {
			t.Errorf("Reload = %v", err)
		}
		p.Close()
		if p.Reload() == nil || p.Ready() == nil {
			t.Error("a closed provider reloads")
		}
	})
}

// A key without a name is tried whatever the token names. When it does not
// fit, the token's key is as unknown as any.
func TestANewKeyBesideOneWithoutAName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIDP(first.JWK(""))
		p := fetching(t, i)
		defer p.Close()
		passes(t, p, of(first, "whatever"))
		if i.fetches() != 1 {
			t.Errorf("%d fetches", i.fetches())
		}
		i.publish(second.JWK(""))
		passes(t, p, of(second, "2"))
		refused(t, p, of(stranger, "3"), mcpauth.ErrUnavailable)
		refused(t, p, stranger.Token(stranger.Header(), claims("sub", `"u"`)), mcpauth.ErrBadSignature, badSig)
		if i.fetches() != 2 {
			t.Errorf("%d fetches", i.fetches())
		}
	})
}

func TestWatchingFilesFetchesNothing(t *testing.T) {
	file := newKeyFile(t, secretOf(others))
	synctest.Test(t, func(t *testing.T) {
		i := newIDP(first.JWK("1"))
		p := fetching(t, i, remote(), jwt.Issuer{Name: otherName, Audience: []string{audience}, Keys: []jwt.KeySource{jwt.SecretFile(file.path)}})
		defer p.Close()
		time.Sleep(5 * time.Minute)
		if i.fetches() != 1 {
			t.Errorf("%d fetches", i.fetches())
		}
	})
}

func TestUserIDClaimOfFetchedKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIDP(first.JWK("1"))
		p := fetching(t, i)
		if id := passes(t, p, of(first, "1", "sub", `"subject"`, "userId", `"other"`)); id.UserID() != "subject" {
			t.Errorf("user %q", id.UserID())
		}
		refused(t, p, of(first, "1", "sub", ""), mcpauth.ErrMissingClaim, "JWT missing required sub claim")
		p.Close()
		issuer := remote()
		issuer.UserIDClaim = "userId"
		p = fetching(t, i, issuer)
		if id := passes(t, p, of(first, "1")); id.UserID() != "user-1" {
			t.Errorf("user %q", id.UserID())
		}
		p.Close()
	})
}

func TestFetchConfigFaults(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	issuer := func(name string, keys ...jwt.KeySource) jwt.Issuer {
		return jwt.Issuer{Name: name, Audience: []string{audience}, Keys: keys}
	}
	hmac := issuer("i", jwt.JWKSURL("https://a.example"))
	hmac.Algorithms = []jwt.Algorithm{jwt.RS256, jwt.HS256}
	got := faults(t, jwt.Config{
		Fetch: jwt.Fetch{Timeout: time.Hour, RefreshInterval: -1, Cooldown: time.Hour, MaxStale: -1, CAFile: empty, PlainHTTPHosts: []string{"ok", "http://a"}},
		Issuers: []jwt.Issuer{
			issuer("a", jwt.JWKSURL("http://a.example")),
			issuer("b", jwt.JWKSURL("https://user:canary@a.example/?k=canary")),
			issuer("c", jwt.Discover()),
			issuer("http://d.example", jwt.Discover()),
			issuer("https://e.example/?tenant=1", jwt.Discover()),
			issuer("f", jwt.DiscoverAt("a.example")),
			issuer("g", jwt.JWKSURL("https://a.example"), jwt.PEM(first.PEM())),
			issuer("h", jwt.JWKSURL("https://a.example"), jwt.DiscoverAt("https://a.example")),
			hmac,
			issuer("j", jwt.JWKSURL("https://a.example").In(jwt.Base64)),
			issuer("http://ok/realm", jwt.Discover()),
			issuer("http://localhost:1/realm", jwt.Discover()),
			issuer("k", jwt.JWKSURL("")),
		},
	})
	want := []string{
		"Fetch.Timeout", "Fetch.RefreshInterval", "Fetch.Cooldown", "Fetch.MaxStale", "Fetch.CAFile", "Fetch.PlainHTTPHosts[1]",
		"Issuers[0].Keys[0]", "Issuers[1].Keys[0]", "Issuers[2].Keys[0]", "Issuers[3].Keys[0]", "Issuers[4].Keys[0]", "Issuers[5].Keys[0]",
		"Issuers[6].Keys", "Issuers[7].Keys", "Issuers[8].Algorithms[1]", "Issuers[9].Keys[0]", "Issuers[12].Keys[0]",
	}
	if !reflect.DeepEqual(fields(got), want) {
		t.Errorf("faults of\n%q, want\n%q", fields(got), want)
	}
	for _, f := range got.Faults {
		if f.Expected == "" {
			t.Errorf("nothing is expected: %v", f)
		}
	}
	if text := got.Error() + fmt.Sprint(jwt.JWKSURL("https://user:canary@a.example/?k=canary"), jwt.DiscoverAt("https://user:canary@a.example/?k=canary")); strings.Contains(text, "canary") {
		t.Errorf("the secret of a URL is shown: %s", text)
	}
}

func TestChangesOfKeysAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		i := newIDP(first.JWK("1"), tokentest.With(stranger.JWK("enc"), `"use":"enc"`))
		p := newProvider(t, jwt.Config{Issuers: []jwt.Issuer{remote()}, Fetch: jwt.Fetch{}.Through(i), Logger: debugLogger(&logged)})
		defer p.Close()
		log := func() string {
			synctest.Wait()
			text := logged.String()
			logged.Reset()
			return text
		}
		has := func(text string, wanted ...string) {
			t.Helper()
			for _, want := range wanted {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not in the log: %s", want, text)
				}
			}
		}
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		has(log(), "level=INFO", "issuer="+issuerName, "keys=1", `added="\"1\" (EdDSA)"`, `removed=""`, `keys[1] (kid \"enc\"): \"use\" is \"enc\"`)
		time.Sleep(20 * time.Minute)
		if text := log(); text != "" {
			t.Errorf("a refresh without change is logged: %s", text)
		}
		i.publish(second.JWK("2"))
		time.Sleep(10 * time.Minute)
		has(log(), "level=INFO", `added="\"2\" (EdDSA)"`, `removed="\"1\" (EdDSA)"`, `skipped=""`)

		var many []string
		for n := range 90 {
			many = append(many, tokentest.With(first.JWK(strings.Repeat("k", 10_000/90)+fmt.Sprint(n)), `"use":"enc"`))
		}
		i.publish(append(many, second.JWK("2"))...)
		time.Sleep(10 * time.Minute)
		if text := log(); len(text) > 4000 || !strings.Contains(text, "and 80 more") {
			t.Errorf("%d bytes are logged: %s", len(text), text)
		}

		i.set(func(i *idp) { i.down = true })
		time.Sleep(time.Hour)
		has(log(), "level=ERROR", "cannot be fetched: the last one serves on", "connection refused")
		time.Sleep(time.Hour)
		if text := log(); text != "" {
			t.Errorf("a lasting outage is logged again: %s", text)
		}
		i.set(func(i *idp) { i.down = false })
		time.Sleep(time.Minute)
		has(log(), "level=INFO", "can be fetched again")
	})
}

func TestMeasurementsOfFetchedKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIDP(first.JWK("1"), `{"kty":"AKP"}`)
		p := fetching(t, i, remote(), signedBy(otherName, others))
		defer p.Close()
		i.set(func(i *idp) { i.down = true })
		p.Reload()
		time.Sleep(500 * time.Millisecond)
		got := map[string]float64{}
		for _, m := range p.Measure() {
			if name, ok := strings.CutPrefix(m.Name, "mcpauth_jwt_keyset_"); ok {
				if !reflect.DeepEqual(m.Labels, map[string]string{"issuer": issuerName}) || m.Help == "" || m.Counter != strings.HasSuffix(name, "_total") {
					t.Errorf("%+v", m)
				}
				got[name] = m.Value
			}
		}
		want := map[string]float64{"fetches_total": 1, "fetch_failures_total": 1, "keys": 1, "skipped_keys": 1, "age_seconds": 0.5}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("measured %v, want %v", got, want)
		}
		if s := p.Stats().KeySets; len(s) != 1 || s[0] != (jwt.KeySetStats{Issuer: issuerName, Fetches: 1, Failures: 1, Keys: 1, Skipped: 1, Age: 500 * time.Millisecond}) {
			t.Errorf("stats = %+v", s)
		}
	})
}

// The same over a real network: certificate, metadata, set, rotation.
func TestDiscoveryOverTheNetwork(t *testing.T) {
	var (
		mu   sync.Mutex
		keys = []string{first.JWK("1")}
	)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch r.URL.Path {
		case "/realm/.well-known/openid-configuration":
			fmt.Fprintf(w, `{"issuer":"https://%[1]s/realm/","jwks_uri":"https://%[1]s/keys"}`, r.Host)
		case "/keys":
			w.Write(tokentest.JWKS(keys...))
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, source := range []jwt.KeySource{jwt.Discover(), jwt.DiscoverAt(server.URL + "/realm/.well-known/openid-configuration"), jwt.JWKSURL(server.URL + "/keys")} {
		t.Run(fmt.Sprint(source), func(t *testing.T) {
			name := server.URL + "/realm/"
			p := newProvider(t, jwt.Config{Issuers: []jwt.Issuer{{Name: name, Audience: []string{audience}, Keys: []jwt.KeySource{source}}}, Fetch: jwt.Fetch{CAFile: ca}})
			if err := p.Start(context.Background()); err != nil {
				t.Fatal(err)
			}
			if err := p.Reload(); err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			keys = []string{second.JWK("2")}
			mu.Unlock()
			passes(t, p, of(first, "1", "iss", `"`+name+`"`))
			passes(t, p, of(second, "2", "iss", `"`+name+`"`))
			mu.Lock()
			keys = []string{first.JWK("1")}
			mu.Unlock()
		})
	}
	p := newProvider(t, jwt.Config{Issuers: []jwt.Issuer{{Name: server.URL + "/realm", Audience: []string{audience}, Keys: []jwt.KeySource{jwt.Discover()}}}, Fetch: jwt.Fetch{CAFile: ca}})
	if err := p.Reload(); err == nil || !strings.Contains(err.Error(), "the document is of issuer") {
		t.Errorf("Reload = %v", err)
	}
}
