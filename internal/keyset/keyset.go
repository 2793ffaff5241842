// Package keyset keeps an issuer's key set at hand that is fetched over HTTP,
// from its own URL or by way of the issuer's metadata.
//
//	source := keyset.New(keyset.Config{URL: "https://issuer.example.com/jwks", Accept: accept, Expire: expire})
//	source.Start(ctx)
//	defer source.Close()
//
// It knows when and whence to fetch, and nothing of keys: Accept gets each
// document and says whether it is a set. What it promises:
//
//   - one fetch at a time, in the background, bounded in time and size;
//   - a fetch ahead of the end of the set's life, retried with growing waits
//     when it fails, while the last good set stays, up to MaxStale;
//   - Refetch, for a key that the set lacks: at once, for all that ask at the
//     same time together, and then not again for a while, so that invented
//     keys cost the issuer next to nothing;
//   - no connection to where a document should not lead (see outbound.Reach).
package keyset

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Config says what a Source fetches. URLs have passed CheckURL.
type Config struct {
	// URL is that of the key set. When it is empty, Metadata leads to it.
	URL string
	// Metadata are the URLs at which the issuer's metadata may be, tried in
	// this order.
	Metadata []string
	// Issuer is what the metadata must name as its "issuer".
	Issuer string

	// Accept is given each fetched document and when its fetch began. An
	// error makes the fetch a failed one. Calls do not overlap.
	Accept func(document []byte, began time.Time) error
	// Expire is called when the last accepted document is older than MaxStale.
	Expire func()

	Timeout         time.Duration // of a fetch as a whole, metadata included
	RefreshInterval time.Duration // the longest that a set is used before the next fetch
	Cooldown        time.Duration // between the end of one Refetch and the next
	MaxStale        time.Duration // for how long a set serves when no other can be had

	Roots          *x509.CertPool // nil for those of the system
	PlainHTTPHosts []string       // that may be asked without TLS, besides loopback
	Logger         *slog.Logger   // names the issuer

	// Transport takes the place of the own one, with its rules of addresses.
	Transport http.RoundTripper
	// Resolver and Proxy take the place of the system's resolver and of the
	// proxy that the environment names.
	Resolver *net.Resolver
	Proxy    func(*http.Request) (*url.URL, error)
}

// Source fetches the key set of one issuer. It is safe for concurrent use.
type Source struct {
	config Config
	client client
	turn   chan struct{} // held by the one fetch at a time
	asked  chan struct{} // wakes run: there is a pending flight, or another time to fetch

	setURL *url.URL                    // what the metadata led to; belongs to who has the turn
	waits  *backoff.ExponentialBackOff // likewise

	mu        sync.Mutex
	flight    *flight   // the fetch under way
	pending   *flight   // one that Refetch asked for and that has not begun
	cooling   time.Time // until when there is no Refetch
	next      time.Time // when to fetch, unless asked before
	has       bool      // a document has been accepted and has not expired
	fetched   time.Time // when the fetch of the last accepted document began
	failing   time.Time // since when fetches fail; zero while they don't
	succeeded uint64
	failed    uint64
	started   bool
	closed    bool

	stop    context.CancelFunc
	stopped sync.WaitGroup
}

// flight is one fetch, and whom it is for.
type flight struct {
	forKey bool
	began  time.Time
	done   chan struct{}
	err    error // once done
}

// ErrCooling is what Refetch returns when the last one was a short while ago.
var ErrCooling = errors.New("key set: fetched for an unknown key a moment ago")

var (
	errClosed    = errors.New("key set: closed")
	errLifecycle = errors.New("key set: started or closed before")
)

const (
	minInterval  = time.Minute // whatever a document's max-age
	firstWait    = time.Second // after a fetch that failed
	longestWait  = 30 * time.Second
	longestRetry = time.Minute // that a client is asked to wait
)

// New returns a Source, which has not fetched anything yet.
func New(c Config) *Source {
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval = firstWait, longestWait
	return &Source{
		config: c, client: newClient(c), waits: waits,
		turn: make(chan struct{}, 1), asked: make(chan struct{}, 1),
	}
}

// Start begins to fetch in the background, until Close, and returns at once.
func (s *Source) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started || s.closed {
		return errLifecycle
	}
	s.started = true
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.stopped.Go(func() { s.run(ctx) })
	return nil
}

// Close ends the background work, a fetch under way included. Closing again
// does nothing.
func (s *Source) Close() {
	s.mu.Lock()
	s.closed = true
	stop := s.stop
	s.mu.Unlock()
	if stop != nil {
		stop()
	}
	s.stopped.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending != nil {
		s.pending.err = errClosed
		close(s.pending.done)
		s.pending = nil
	}
}

func (s *Source) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.asked:
		case <-timer.C:
		}
		s.expire()
		if s.due() {
			s.fetch(ctx, s.due)
		}
		timer.Reset(s.sleep())
	}
}

func (s *Source) wake() {
	select {
	case s.asked <- struct{}{}:
	default:
	}
}

func (s *Source) due() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pending != nil || !time.Now().Before(s.next)
}

// sleep returns how long there is nothing to do.
func (s *Source) sleep() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending != nil {
		return 0
	}
	until := s.next
	if end := s.fetched.Add(s.config.MaxStale); s.has && end.Before(until) {
		until = end
	}
	return max(0, time.Until(until))
}

// expire gives up a document that has become too old.
func (s *Source) expire() {
	s.mu.Lock()
	old := s.has && time.Since(s.fetched) >= s.config.MaxStale
	s.has = s.has && !old
	s.mu.Unlock()
	if old {
		s.config.Logger.Error("the key set has become too old: tokens of its issuer are not taken until it can be fetched", "max_stale", s.config.MaxStale)
		s.config.Expire()
	}
}

// Fetch fetches now, after the fetch that may be under way. It works without
// Start, too. Who needs a key uses Refetch instead.
func (s *Source) Fetch(ctx context.Context) error { return s.fetch(ctx, nil) }

// fetch fetches when its turn has come, if needed, unless nil, still says so.
func (s *Source) fetch(parent context.Context, needed func() bool) error {
	ctx, cancel := context.WithTimeout(parent, s.config.Timeout)
	defer cancel()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if needed != nil && !needed() {
		return nil
	}
	f, err := s.begin()
	if err != nil {
		return err
	}
	document, life, err := s.get(ctx, f.forKey)
	if err == nil {
		err = s.config.Accept(document, f.began)
	}
	if err != nil {
		s.setURL = nil // it may have moved
	}
	s.end(f, life, err, parent.Err() != nil)
	return err
}

func (s *Source) begin() (*flight, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	f := s.pending
	if s.pending = nil; f == nil {
		f = &flight{done: make(chan struct{})}
	}
	f.began = time.Now()
	s.flight = f
	return f, nil
}

// end notes what came of a fetch. One that was given up from outside says
// nothing about the issuer.
func (s *Source) end(f *flight, life time.Duration, err error, givenUp bool) {
	s.mu.Lock()
	now := time.Now()
	since := s.failing
	switch {
	case err == nil:
		s.succeeded++
		s.has, s.fetched, s.failing = true, f.began, time.Time{}
		s.waits.Reset()
		s.next = now.Add(life)
	case !givenUp:
		s.failed++
		if s.failing.IsZero() {
			s.failing = now
		}
		s.next = now.Add(s.waits.NextBackOff())
	}
	if f.forKey {
		s.cooling = now.Add(s.config.Cooldown)
	}
	has, until := s.has, s.fetched.Add(s.config.MaxStale)
	s.flight = nil
	f.err = err
	close(f.done)
	s.mu.Unlock()
	s.wake()

	switch {
	case err == nil && !since.IsZero():
		s.config.Logger.Info("the key set can be fetched again", "outage", now.Sub(since).Round(time.Second))
	case err == nil || givenUp || !since.IsZero():
	case has:
		s.config.Logger.Error("the key set cannot be fetched: the last one serves on", "error", err, "until", until)
	default:
		s.config.Logger.Error("the key set cannot be fetched: tokens of its issuer are not taken until it can", "error", err)
	}
}

// Refetch asks for a fetch for the sake of a key that the present set lacks,
// and waits for it, or for the one that is under way. fresh says that the
// fetch began after the call: whoever signed what the caller holds had
// published the key by then. A caller whose ctx ends leaves the fetch to the
// others. After a fetch that was asked for in this way there is no other one
// until Cooldown is over, and Refetch returns ErrCooling at once.
func (s *Source) Refetch(ctx context.Context) (fresh bool, err error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return false, errClosed
	}
	f, alone := s.flight, false
	if f == nil {
		fresh = true
		if f = s.pending; f == nil {
			if time.Now().Before(s.cooling) {
				s.mu.Unlock()
				return false, ErrCooling
			}
			f = &flight{forKey: true, done: make(chan struct{})}
			s.pending = f
			alone = !s.started
			s.wake()
		}
	}
	s.mu.Unlock()
	if alone { // nobody fetches in the background
		s.fetch(context.WithoutCancel(ctx), nil)
	}
	select {
	case <-f.done:
		return fresh, f.err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// RetryAfter returns when asking again may be worth it.
func (s *Source) RetryAfter() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	wait := s.cooling.Sub(now)
	if s.flight == nil && wait <= 0 && !s.failing.IsZero() {
		wait = s.next.Sub(now)
	}
	return min(max(wait, time.Second), longestRetry)
}

// Stats is what has become of the fetches.
type Stats struct {
	Succeeded, Failed uint64
	Fetched           time.Time // when the fetch of the last accepted document began
}

// Stats returns the present figures.
func (s *Source) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{Succeeded: s.succeeded, Failed: s.failed, Fetched: s.fetched}
}

// life returns how long to use a set before the next fetch: somewhat less than
// the server allows, within bounds, and not the same in each of many replicas.
func (s *Source) life(header http.Header) time.Duration {
	longest := s.config.RefreshInterval
	d := longest
	if age, ok := MaxAge(header); ok {
		d = min(max(age, min(minInterval, longest)), longest)
	}
	return d*17/20 + rand.N(d/10+1)
}
