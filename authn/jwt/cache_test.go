package jwt

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/clock"
	"github.com/mcpauth-go/mcpauth/internal/recall"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

// fakeClock is both clocks of a provider, each set by hand.
type fakeClock struct {
	wall int64
	mono time.Duration
}

func (c *fakeClock) now() clock.Instant {
	return clock.Instant{Wall: time.Unix(c.wall, 0), Mono: c.mono}
}

func (c *fakeClock) pass(d time.Duration) {
	c.mono += d
	c.wall += int64(d / time.Second)
}

var cacheKey = tokentest.Key{Algorithm: "HS512", Private: tokentest.Secret("cache")}

// clocked returns a provider with a clock of its own.
func clocked(t testing.TB, cache Cache) (*Provider, *fakeClock) {
	t.Helper()
	p, err := New(Config{Cache: cache, Logger: slog.New(slog.DiscardHandler), Issuers: []Issuer{{
		Name: "i", Audience: []string{"a"}, Algorithms: []Algorithm{HS512}, Keys: []KeySource{Secret(mcpauth.NewSecret(string(tokentest.Secret("cache"))))},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	c := &fakeClock{wall: time.Now().Unix()}
	p.now = c.now
	return p, c
}

// tokenFor is a good token of the user's that ends after life.
func tokenFor(user string, c *fakeClock, life time.Duration) string {
	return cacheKey.Token(cacheKey.Header(), fmt.Sprintf(`{"iss":"i","aud":"a","userId":%q,"iat":%d,"exp":%d}`, user, c.wall, c.wall+int64(life/time.Second)))
}

func mustPass(t testing.TB, p *Provider, token string) *mcpauth.Identity {
	t.Helper()
	id, err := p.Verify(context.Background(), token)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func code(p *Provider, token string) mcpauth.Code {
	if _, err := p.Verify(context.Background(), token); err != nil {
		return mcpauth.AsError(err).Code
	}
	return ""
}

// Each verification makes an identity of its own, so that the same pointer
// again is an answer from the cache.
func TestCacheAnswersUntilTheTTLOnTheMonotonicClock(t *testing.T) {
	p, c := clocked(t, Cache{TTL: time.Minute})
	token := tokenFor("u", c, time.Hour)
	first := mustPass(t, p, token)
	c.pass(time.Minute - 1)
	if mustPass(t, p, token) != first {
		t.Error("verified again within the TTL")
	}
	c.wall -= 30 // the wall clock is put back
	if mustPass(t, p, token) != first {
		t.Error("verified again although only the wall clock moved")
	}
	c.mono++
	if mustPass(t, p, token) == first {
		t.Error("a wall clock that is put back makes a result live longer than its TTL")
	}
}

func TestCacheNeverAnswersBeyondTheEnd(t *testing.T) {
	p, c := clocked(t, Cache{TTL: time.Hour})
	token := tokenFor("u", c, 10*time.Second)
	mustPass(t, p, token)
	c.pass(9 * time.Second)
	if got := code(p, token); got != "" {
		t.Errorf("in the last second: %s", got)
	}
	c.wall++
	if got := code(p, token); got != mcpauth.ErrExpired {
		t.Errorf("after the end: %q, want expired", got)
	}
}

func TestWallClockIsCheckedOnAHit(t *testing.T) {
	p, c := clocked(t, Cache{TTL: time.Hour})
	token := tokenFor("u", c, time.Hour)
	mustPass(t, p, token)
	c.wall += 3600 // the wall clock alone is put forward
	if got := code(p, token); got != mcpauth.ErrExpired {
		t.Errorf("after the end: %q, want expired", got)
	}
	c.wall -= 7200 // and back, before the token was issued
	if got := code(p, token); got != mcpauth.ErrNotYetValid {
		t.Errorf("before the token: %q, want not_yet_valid", got)
	}
}

func TestHitsCostNoAllocation(t *testing.T) {
	p, c := clocked(t, Cache{})
	r := &mcpauth.Request{Header: http.Header{"Authorization": {"Bearer " + tokenFor("u", c, time.Hour)}}}
	ctx := context.Background()
	authenticate := func() {
		if _, err := p.Authenticate(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	authenticate()
	if n := testing.AllocsPerRun(200, authenticate); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// An entry is counted as its token and 512 bytes: the token must be there
// once.
func TestAnEntryHoldsItsTokenOnce(t *testing.T) {
	p, c := clocked(t, Cache{})
	id := mustPass(t, p, tokenFor("u", c, time.Hour))
	for key := range p.accepted.Keys() {
		if unsafe.StringData(key) != unsafe.StringData(id.Token().Reveal()) {
			t.Error("the cache's key is a second copy of the token")
		}
	}
}

func TestBytesAreBoundedAndHotTokensStay(t *testing.T) {
	p, c := clocked(t, Cache{MaxBytes: 1 << 20, TTL: time.Hour})
	hot := map[string]*mcpauth.Identity{}
	for i := range 8 {
		token := tokenFor(fmt.Sprint("hot-", i), c, time.Hour)
		hot[token] = mustPass(t, p, token)
	}
	hits, asked := 0, 0
	for i := range 6000 {
		mustPass(t, p, tokenFor(fmt.Sprint("user-", i), c, time.Hour))
		if i%20 == 0 {
			for token, id := range hot {
				asked++
				if again := mustPass(t, p, token); again == id {
					hits++
				} else {
					hot[token] = again
				}
			}
		}
	}
	p.accepted.CleanUp()
	p.latest.CleanUp()
	s := p.Stats()
	if s.Accepted.Bytes+s.Forwarded.Bytes > 1<<20 {
		t.Errorf("%d and %d bytes, more than the bound", s.Accepted.Bytes, s.Forwarded.Bytes)
	}
	if s.Accepted.Evictions == 0 || s.Forwarded.Evictions == 0 || s.Accepted.Entries < 100 {
		t.Errorf("stats = %+v", s)
	}
	if hits < asked*95/100 {
		t.Errorf("hot tokens were answered from the cache %d times of %d", hits, asked)
	}
}

func TestExpiredEntriesAreRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := New(Config{Logger: slog.New(slog.DiscardHandler), Cache: Cache{TTL: time.Minute}, Issuers: []Issuer{{
			Name: "i", Audience: []string{"a"}, Algorithms: []Algorithm{HS512}, Keys: []KeySource{Secret(mcpauth.NewSecret(string(tokentest.Secret("cache"))))},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		now := &fakeClock{wall: time.Now().Unix()}
		for i := range 100 {
			mustPass(t, p, tokenFor(fmt.Sprint(i), now, 30*time.Second))
			code(p, fmt.Sprint("bad", i))
		}
		time.Sleep(2 * time.Minute)
		p.accepted.CleanUp()
		p.refused.CleanUp()
		p.latest.CleanUp()
		if s := p.Stats(); s.Accepted.Entries != 0 || s.Refused.Entries != 0 || s.Forwarded.Entries != 0 {
			t.Errorf("after their end: %+v", s)
		}
	})
}

func TestRefusalsThatAreRemembered(t *testing.T) {
	p, c := clocked(t, Cache{})
	claims := func(format string, a ...any) string {
		return cacheKey.Token(cacheKey.Header(), fmt.Sprintf(format, a...))
	}
	exp := c.wall + 60
	good := tokenFor("u", c, time.Hour)
	stranger := tokentest.Key{Algorithm: "HS512", Private: tokentest.Secret("stranger")}
	for _, test := range []struct {
		token      string
		code       mcpauth.Code
		remembered bool
	}{
		{"x", mcpauth.ErrMalformedToken, true},
		{stranger.Token(stranger.Header(), `{"iss":"i"}`), mcpauth.ErrBadSignature, true},
		{claims(`{"iss":"x","aud":"a","userId":"u","exp":%d}`, exp), mcpauth.ErrWrongIssuer, true},
		{claims(`{"iss":"i","aud":"x","userId":"u","exp":%d}`, exp), mcpauth.ErrWrongAudience, true},
		{claims(`{"iss":"i","aud":"a","userId":"u","exp":1}`), mcpauth.ErrExpired, true},
		{claims(`{"iss":"i","aud":"a","userId":"u","exp":%d,"nbf":%d}`, exp+7200, exp+3600), mcpauth.ErrNotYetValid, false},
		{claims(`{"iss":"i","aud":"a","exp":%d}`, exp), mcpauth.ErrMissingClaim, false},
		{cacheKey.Token(`{"alg":"none"}`, `{}`), mcpauth.ErrUnsupportedAlgorithm, false},
		{strings.Repeat("a", 1<<20), mcpauth.ErrTooLarge, false},
		{good, "", false},
	} {
		if got := code(p, test.token); got != test.code {
			t.Errorf("code = %q, want %q", got, test.code)
		}
		err, remembered := p.refused.Get(test.token, p.generation.Load(), c.now())
		if remembered != test.remembered || remembered && mcpauth.AsError(err).Code != test.code {
			t.Errorf("%q remembered: %v (%v), want %v", test.code, remembered, err, test.remembered)
		}
		if _, kept := p.accepted.get(test.token, c.now()); kept != (test.code == "") {
			t.Errorf("%q among the accepted: %v", test.code, kept)
		}
		if _, other := p.refused.Get(test.token, p.generation.Load()+1, c.now()); other {
			t.Errorf("%q is remembered past a change of keys", test.code)
		}
		later := c.now()
		later.Mono += recall.RefusalTTL
		if _, late := p.refused.Get(test.token, p.generation.Load(), later); late {
			t.Errorf("%q is remembered for longer than %s", test.code, recall.RefusalTTL)
		}
	}
}

func TestUnknownKeyIsNeverRemembered(t *testing.T) {
	ed := tokentest.Ed25519("a")
	p, err := New(Config{Logger: slog.New(slog.DiscardHandler), Issuers: []Issuer{{Name: "i", Audience: []string{"a"}, Keys: []KeySource{JWKS([]byte(ed.JWK("a")))}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	token := ed.Token(ed.HeaderWith(`"kid":"b"`), fmt.Sprintf(`{"iss":"i","aud":"a","userId":"u","exp":%d}`, time.Now().Unix()+60))
	if got := code(p, token); got != mcpauth.ErrUnknownKey {
		t.Errorf("code = %q", got)
	}
	if _, remembered := p.refused.Get(token, 0, p.now()); remembered {
		t.Error("an unknown key is remembered")
	}
}

func TestRefusalsNeverPushOutAcceptedTokens(t *testing.T) {
	p, c := clocked(t, Cache{})
	token := tokenFor("u", c, time.Hour)
	id := mustPass(t, p, token)
	for i := range recall.MaxRefusals + 2000 {
		code(p, fmt.Sprintf("bad-%d", i))
	}
	p.refused.CleanUp()
	if s := p.Stats(); s.Refused.Entries > recall.MaxRefusals || s.Refused.Evictions == 0 || s.Accepted.Entries != 1 {
		t.Errorf("stats = %+v", s)
	}
	if mustPass(t, p, token) != id {
		t.Error("the accepted token was verified again")
	}
}

func TestRefusalsOff(t *testing.T) {
	p, _ := clocked(t, Cache{RefusalsOff: true})
	if got := code(p, "x"); got != mcpauth.ErrMalformedToken || p.Stats().Refused.Entries != 0 {
		t.Errorf("code %q, stats %+v", got, p.Stats())
	}
}

// One request verifies, those that come meanwhile wait for it.
func TestConcurrentFirstRequestsVerifyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c := clocked(t, Cache{})
		defer p.Close() // its goroutines are the bubble's
		token := tokenFor("u", c, time.Hour)
		// The second look at the clock is that of the first verification,
		// which stays there until all the others wait.
		var looks atomic.Int64
		proceed := make(chan struct{})
		p.now = func() clock.Instant {
			if looks.Add(1) == 2 {
				<-proceed
			}
			return c.now()
		}
		var group sync.WaitGroup
		ids := make([]*mcpauth.Identity, 32)
		for i := range ids {
			group.Go(func() { ids[i], _ = p.Verify(t.Context(), token) })
			synctest.Wait()
		}
		close(proceed)
		group.Wait()
		for i, id := range ids {
			if id == nil || id != ids[0] {
				t.Fatalf("request %d got %p, the first %p", i, id, ids[0])
			}
		}
	})
}

// A request that missed the cache just before another one's verification
// ended takes that result.
func TestAResultThatHasJustArrivedIsNotMadeAgain(t *testing.T) {
	p, c := clocked(t, Cache{})
	token := tokenFor("u", c, time.Hour)
	id := mustPass(t, p, token)
	e, err := p.verifyOnce(token) // as if the look into the cache had come first
	if err != nil || e.identity != id {
		t.Errorf("verified again: %v", err)
	}
}

// Flights go by the last 64 bytes of a token, results by the whole of it.
func TestTokensWithTheSameEndNeverShareAResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c := clocked(t, Cache{})
		defer p.Close()
		good, admin := tokenFor("user", c, time.Hour), tokenFor("admin", c, time.Hour)
		end := good[strings.LastIndexByte(good, '.'):]
		forged := admin[:strings.LastIndexByte(admin, '.')] + end
		key := func(token string) string { return token[len(token)-64:] }
		if key(good) != key(forged) {
			t.Fatal("the ends differ")
		}
		for _, test := range []struct {
			first, second string
			want          mcpauth.Code
		}{{good, forged, mcpauth.ErrBadSignature}, {forged, good, ""}} {
			proceed := make(chan struct{})
			var group sync.WaitGroup
			group.Go(func() {
				p.flight.Do(key(test.first), func() (any, error) {
					<-proceed
					e, err := p.verify(test.first, p.now())
					return &outcome{test.first, e, err}, nil
				})
			})
			synctest.Wait()
			var e *entry
			var err error
			group.Go(func() { e, err = p.verifyOnce(test.second) })
			synctest.Wait()
			close(proceed)
			group.Wait()
			if test.want != "" && (err == nil || mcpauth.AsError(err).Code != test.want) {
				t.Errorf("the forged token got %v and %v", e, err)
			}
			if test.want == "" && (err != nil || e.identity.UserID() != "user") {
				t.Errorf("the good token got %v", err)
			}
		}
	})
}

func TestManyRequestsOfEveryKindAtOnce(t *testing.T) {
	p, c := clocked(t, Cache{MaxBytes: 1 << 20})
	good := []string{tokenFor("a", c, time.Hour), tokenFor("b", c, time.Hour), tokenFor("c", c, 2*time.Hour)}
	bad := tokentest.Key{Algorithm: "HS512", Private: tokentest.Secret("stranger")}.Token(cacheKey.Header(), `{"iss":"i"}`)
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for i := range 300 {
				token := good[(worker+i)%len(good)]
				if id, err := p.Verify(context.Background(), token); err != nil || id.Token().Reveal() != token {
					t.Errorf("a good token got %v, %v", id, err)
					return
				}
				if code(p, bad) != mcpauth.ErrBadSignature {
					t.Error("a forged token passed")
					return
				}
				p.Token("i", "a")
				p.Stats()
				if i%100 == 0 {
					if err := p.Reload(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	group.Wait()
}

// There is one for each live token, and the next size class of the allocator
// has 64 bytes. The identity's has 128.
func TestSizeOfAnEntry(t *testing.T) {
	if size := unsafe.Sizeof(entry{}); size > 48 {
		t.Errorf("%d bytes", size)
	}
	if size := unsafe.Sizeof(mcpauth.Identity{}); size > 128 {
		t.Errorf("an identity: %d bytes", size)
	}
}
