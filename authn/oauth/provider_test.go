package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/authn/oauth"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
)

func TestWhoLeavesDoesNotEndTheWorkOfOthers(t *testing.T) {
	a := newAuthority(t, "")
	asked, release := make(chan struct{}), make(chan struct{})
	a.does(func(w http.ResponseWriter, _ *http.Request) {
		close(asked)
		<-release
		fmt.Fprint(w, good())
	})
	p := newProvider(t, a.config())
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := p.Verify(ctx, "t")
		left <- err
	}()
	<-asked
	leave()
	if err := <-left; !errors.Is(err, mcpauth.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("who leaves gets %v", err)
	}
	close(release)
	passes(t, p, "t")
	if a.asked.Load() != 1 {
		t.Errorf("asked %d times", a.asked.Load())
	}
}

// Wrong tokens by the thousand ask for a bounded number at a time, and are
// remembered; who has been here before does not notice.
func TestAFloodOfWrongTokensIsBounded(t *testing.T) {
	a := newAuthority(t, good())
	c := a.config()
	c.Requests.MaxConcurrent = 2
	p := newProvider(t, c)
	passes(t, p, "alice")
	var at, most atomic.Int64
	release := make(chan struct{})
	a.does(func(w http.ResponseWriter, r *http.Request) {
		most.Store(max(most.Load(), at.Add(1)))
		<-release
		at.Add(-1)
		fmt.Fprint(w, `{"active":false}`)
	})
	const tokens = 2 + 16 + 50 // asked about, waiting, turned away
	codes := make(chan mcpauth.Code, tokens)
	for i := range tokens {
		go func() {
			_, err := p.Verify(t.Context(), fmt.Sprint("wrong-", i))
			codes <- mcpauth.AsError(err).Code
		}()
	}
	for range 50 {
		if code := <-codes; code != mcpauth.ErrUnavailable {
			t.Errorf("turned away with %s", code)
		}
	}
	passes(t, p, "alice")
	close(release)
	for range 18 {
		if code := <-codes; code != mcpauth.ErrInactive {
			t.Errorf("refused with %s", code)
		}
	}
	if s := p.Stats(); most.Load() > 2 || a.asked.Load() != 1+18 || s.Turned != 50 || s.Asked != 19 || p.Waiting() != 0 {
		t.Errorf("at most %d at a time, %d in all, %+v", most.Load(), a.asked.Load(), s)
	}
}

func TestAServerThatFailsIsLeftAloneForAWhile(t *testing.T) {
	a := newAuthority(t, good())
	var out log
	c := a.config()
	c.Logger = out.logger()
	p := newProvider(t, c)
	clock := p.Clocked()
	passes(t, p, "alice")
	a.does(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	for i := range 10 {
		e := refused(t, p, fmt.Sprint("t", i), mcpauth.ErrUnavailable)
		if i > 4 && e.RetryAfter != 2*time.Second {
			t.Errorf("try again in %v", e.RetryAfter)
		}
	}
	if a.asked.Load() != 1+5 {
		t.Errorf("asked %d times", a.asked.Load())
	}
	passes(t, p, "alice") // known
	clock.Pass(2 * time.Second)
	a.says(good())
	passes(t, p, "t0")
	passes(t, p, "t1")
	if text := out.String(); strings.Count(text, "does not validate tokens") != 1 || strings.Count(text, "answers again") != 1 || strings.Contains(text, "canary") {
		t.Errorf("the log is %s", text)
	}
}

// One answer shuts nobody out, whatever it asks for.
func TestRetryAfterIsHeededOnceTheServerFailsTimeAndAgain(t *testing.T) {
	a := newAuthority(t, "")
	p := newProvider(t, a.config())
	clock := p.Clocked()
	a.does(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	for i := range 7 {
		if e := refused(t, p, fmt.Sprint("t", i), mcpauth.ErrUnavailable); e.RetryAfter != time.Minute {
			t.Errorf("try again in %v", e.RetryAfter)
		}
	}
	if a.asked.Load() != 5 {
		t.Errorf("asked %d times", a.asked.Load())
	}
	a.says(good())
	clock.Pass(time.Minute - 1)
	refused(t, p, "t", mcpauth.ErrUnavailable)
	clock.Mono++
	passes(t, p, "t")
}

// handler asks about another token while it logs: a log that is slow holds up
// nobody else.
type handler struct {
	slog.Handler
	handle func()
}

func (h handler) Handle(context.Context, slog.Record) error {
	h.handle()
	return nil
}

func TestALogHoldsUpNobody(t *testing.T) {
	a := newAuthority(t, "x")
	c := a.config()
	var p *oauth.Provider
	logged := 0
	c.Logger = slog.New(handler{slog.NewTextHandler(io.Discard, nil), func() {
		if p.Ready() != nil {
			return // the endpoint has been found
		}
		logged++
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if _, err := p.Verify(ctx, fmt.Sprint("another-", logged)); errors.Is(err, context.DeadlineExceeded) {
			t.Error("nobody gets an answer meanwhile")
		}
	}})
	c.Endpoint = a.URL + "/introspect"
	c.Requests.Timeout = time.Minute // so that who is held up comes to the end of the other time
	p = newProvider(t, c)
	refused(t, p, "t", mcpauth.ErrUnavailable)
	a.says(good())
	passes(t, p, "t")
	if logged != 2 {
		t.Errorf("logged %d times", logged)
	}
}

// An answer that is not understood says nothing of the next token's.
func TestOddAnswersDoNotEndTheAsking(t *testing.T) {
	a := newAuthority(t, `{"active":"true"}`)
	p := newProvider(t, a.config())
	for i := range 10 {
		refused(t, p, fmt.Sprint("t", i), mcpauth.ErrUnavailable)
	}
	a.says(good())
	passes(t, p, "t")
}

func TestRefusalsAreRememberedForTenSeconds(t *testing.T) {
	a := newAuthority(t, `{"active":false}`)
	p := newProvider(t, a.config())
	clock := p.Clocked()
	refused(t, p, "t", mcpauth.ErrInactive)
	a.says(good())
	clock.Pass(10*time.Second - 1)
	refused(t, p, "t", mcpauth.ErrInactive)
	clock.Mono++
	passes(t, p, "t")
}

func TestWithoutCacheEachRequestAsks(t *testing.T) {
	a := newAuthority(t, good())
	c := a.config()
	c.Cache.Off = true
	p := newProvider(t, c)
	passes(t, p, "t")
	passes(t, p, "t")
	if a.asked.Load() != 2 {
		t.Errorf("asked %d times", a.asked.Load())
	}
}

func TestCacheIsBoundedByBytes(t *testing.T) {
	a := newAuthority(t, good("x", `"`+strings.Repeat("x", 10_000)+`"`))
	c := a.config()
	c.Cache.MaxBytes = 1 << 20
	p := newProvider(t, c)
	for i := range 100 {
		passes(t, p, fmt.Sprint("t", i))
	}
	gatewaytest.Eventually(t, "the cache has made room", func() bool {
		s := p.Stats().Accepted
		return s.Bytes <= 1<<20 && s.Evictions > 40
	})
}

// list is a list of revocations.
type list struct {
	epoch   atomic.Uint32
	mu      sync.Mutex
	revoked map[string]bool // ids of tokens, sessions and users
	asked   int
}

func newList() *list {
	l := &list{revoked: map[string]bool{}}
	l.epoch.Store(1)
	return l
}

func (l *list) Epoch() uint32 { return l.epoch.Load() }

func (l *list) Revoked(r mcpauth.Revocable) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	return l.revoked[r.TokenID] || l.revoked[r.SessionID] || l.revoked[r.UserID]
}

func (l *list) set(name string, revoked bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.revoked[name] = revoked
	l.epoch.Add(1)
}

func TestRevocationEndsCachedResultsAtOnce(t *testing.T) {
	a := newAuthority(t, good("jti", `"token-1"`, "sid", `"session-1"`))
	l := newList()
	c := a.config()
	c.Revocations = l
	p := newProvider(t, c)
	for _, name := range []string{"token-1", "session-1", "alice"} {
		passes(t, p, "t")
		l.set(name, true)
		refused(t, p, "t", mcpauth.ErrRevoked)
		l.set(name, false)
	}
	passes(t, p, "t")
	before := l.asked
	passes(t, p, "t")
	if l.asked != before || a.asked.Load() != 1 {
		t.Errorf("the list was asked %d times, the server %d", l.asked-before, a.asked.Load())
	}
}

func TestATokenWithoutIDIsRevokedByItsHash(t *testing.T) {
	a := newAuthority(t, good())
	l := newList()
	c := a.config()
	c.Revocations = l
	p := newProvider(t, c)
	passes(t, p, "t")
	l.set(oauth.TokenID(mcpauth.NewSecret("t")), true)
	refused(t, p, "t", mcpauth.ErrRevoked)
	passes(t, p, "another")
	if r := passes(t, p, "another").Revocable(); r.UserID != "alice" || r.Issuer != a.URL || r.IssuedAt.IsZero() {
		t.Errorf("%+v", r)
	}
	if longest, known := c.Lifetime(a.URL); longest != 0 || !known {
		t.Errorf("lifetime %v, %v", longest, known)
	}
	if p.Revocations() != any(l) {
		t.Error("not its own list")
	}
}

func TestTwinsOfARevokedTokenAreRevoked(t *testing.T) {
	const token = "eyJhbGciOiJFUzI1NiJ9.e30.c2lnbmF0dXJl"
	for _, test := range []struct{ name, revoked, twin string }{
		{"another signature", token, "eyJhbGciOiJFUzI1NiJ9.e30.b3RoZXI"},
		{"spare bits", "eyJhbGciOiJFUzI1NiJ9.e30.b3RoZXI", "eyJhbGciOiJFUzI1NiJ9.e30.b3RoZXJ"},
		{"padding of a JWT", token, token + "="},
		{"a dot after a JWT", token, token + "."},
		{"both", token, token + "..=="},
		{"no signature", token, "eyJhbGciOiJFUzI1NiJ9.e30."},
		{"padding of an opaque token", "opaque", "opaque=="},
		{"less padding", "opaque==", "opaque"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newAuthority(t, good())
			l := newList()
			c := a.config()
			c.Revocations = l
			p := newProvider(t, c)
			passes(t, p, test.revoked)
			passes(t, p, test.twin)
			l.set(oauth.TokenID(mcpauth.NewSecret(test.revoked)), true)
			refused(t, p, test.revoked, mcpauth.ErrRevoked)
			refused(t, p, test.twin, mcpauth.ErrRevoked)
			passes(t, p, "eyJhbGciOiJFUzI1NiJ9.e31.c2lnbmF0dXJl")
			passes(t, p, "opaque.other")
		})
	}
}

// One tool names the tokens of both kinds of providers.
func TestTheHashOfAJWTIsThatOfItsSigningInput(t *testing.T) {
	const token = "eyJhbGciOiJFUzI1NiJ9.e30.c2lnbmF0dXJl"
	_, want, err := jwt.TokenID(token, "")
	if err != nil {
		t.Fatal(err)
	}
	if got := oauth.TokenID(mcpauth.NewSecret(token)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestLifecycle(t *testing.T) {
	a := newAuthority(t, good())
	var out log
	c := a.config()
	c.Logger = out.logger()
	p := newProvider(t, c)
	if p.Ready() == nil {
		t.Error("ready before anything is known")
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p.Start(t.Context()) == nil {
		t.Error("started twice")
	}
	gatewaytest.Eventually(t, "the endpoint is found", func() bool { return p.Ready() == nil })
	passes(t, p, "canary-token")
	for range 2 {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	refused(t, p, "canary-token", mcpauth.ErrUnavailable)
	refused(t, p, "another", mcpauth.ErrUnavailable)
	if p.Ready() == nil || p.Start(t.Context()) == nil {
		t.Error("it lives after Close")
	}
	if text := out.String(); strings.Contains(text, "canary") || !strings.Contains(text, "oauth provider started") || !strings.Contains(text, a.URL) {
		t.Errorf("the log is %s", text)
	}
	if got := p.Issuers(); len(got) != 1 || got[0] != a.URL {
		t.Errorf("issuers %v", got)
	}
}

func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	a := newAuthority(t, "")
	asked := make(chan struct{})
	a.does(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		close(asked)
		<-r.Context().Done()
	})
	p := newProvider(t, a.config())
	result := make(chan error)
	go func() {
		_, err := p.Verify(t.Context(), "t")
		result <- err
	}()
	<-asked
	p.Close()
	if err := <-result; !errors.Is(err, mcpauth.ErrUnavailable) {
		t.Errorf("it ends with %v", err)
	}
}

func TestCachedTokensCostNoAllocation(t *testing.T) {
	a := newAuthority(t, good())
	c := a.config()
	c.Revocations = newList()
	p := newProvider(t, c)
	r := header("Bearer " + strings.Repeat("t", 43))
	if _, err := p.Authenticate(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() { p.Authenticate(ctx, r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCachedToken(b *testing.B) {
	a := newAuthority(b, good())
	p := newProvider(b, a.config())
	r, ctx := header("Bearer "+strings.Repeat("t", 43)), b.Context()
	if _, err := p.Authenticate(ctx, r); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Authenticate(ctx, r); err != nil {
			b.Fatal(err)
		}
	}
}

func TestMeasure(t *testing.T) {
	a := newAuthority(t, good())
	p := newProvider(t, a.config())
	passes(t, p, "t")
	a.says(`{"active":false}`)
	refused(t, p, "u", mcpauth.ErrInactive)
	a.says(`x`)
	refused(t, p, "v", mcpauth.ErrUnavailable)
	got := map[string]float64{}
	for _, m := range p.Measure() {
		if m.Help == "" || m.Counter != strings.HasSuffix(m.Name, "_total") || len(m.Labels) != 1 {
			t.Errorf("%+v", m)
		}
		got[m.Name+m.Labels["cache"]] = m.Value
	}
	for name, want := range map[string]float64{
		"mcpauth_oauth_requests_total": 3, "mcpauth_oauth_request_failures_total": 1, "mcpauth_oauth_turned_away_total": 0, "mcpauth_oauth_requests_in_flight": 0,
		"mcpauth_oauth_cache_entriesaccepted": 1, "mcpauth_oauth_cache_entriesrefused": 1, "mcpauth_oauth_cache_evictions_totalaccepted": 0,
	} {
		if value, there := got[name]; value != want || !there {
			t.Errorf("%s = %v, %v", name, value, there)
		}
	}
	if got["mcpauth_oauth_cache_bytesaccepted"] < 512 {
		t.Errorf("%v bytes", got["mcpauth_oauth_cache_bytesaccepted"])
	}
}
