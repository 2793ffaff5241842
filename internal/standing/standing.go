// Package standing keeps asking an authority about credentials that are in use, where
// only the authority can tell that one has ended: whether an API key has been revoked
// in its store, or an opaque token has become inactive at its server.
//
// A request asks the authority, or a cache that is younger than its TTL. What a request
// has begun and goes on, such as a stream, asks a Checker instead. Its answer comes from
// memory, and an authority that is unavailable ends nothing before a TTL has passed since
// it last confirmed the credential.
package standing

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/watch"
)

// Record is what is known of the standing of one credential. It belongs to the
// credential's identity.
type Record struct {
	confirmed atomic.Int64 // on the Checker's clock: when the authority was asked that last confirmed it
	asking    atomic.Bool
	refusal   atomic.Pointer[mcpauth.Error] // why it has ended or, if that is ErrUnavailable, why it was not confirmed since
}

// Confirm notes that the authority, asked at that time, has confirmed the credential.
func (r *Record) Confirm(asked time.Duration) {
	r.confirmed.Store(int64(asked))
	r.refusal.Store(nil)
}

// Confirmed returns when the authority was asked that last confirmed the credential.
func (r *Record) Confirmed() time.Duration { return time.Duration(r.confirmed.Load()) }

// Config says how a Checker asks.
type Config struct {
	// TTL is how long a confirmed answer counts.
	TTL time.Duration
	// Now is a monotonic clock.
	Now func() time.Duration
	// Go runs a function in a goroutine of the provider's, and reports whether it
	// does: not once the provider is closed.
	Go func(func()) bool
}

// Checker asks again about credentials whose last confirmed answer is old, in the
// background, a few at a time. It is safe for concurrent use.
type Checker struct {
	config    Config
	listeners watch.List[struct{}]

	mu      sync.Mutex
	queue   []func()
	workers int
}

// maxWorkers bounds the questions that a Checker asks at the same time.
const maxWorkers = 8

// NewChecker returns a Checker.
func NewChecker(c Config) *Checker { return &Checker{config: c} }

// Notify has changed called when credentials may have ended, until stop is called.
func (c *Checker) Notify(changed func()) (stop func()) {
	return c.listeners.Add(func(struct{}) { changed() })
}

// Announce tells those who are to be notified that credentials may have ended.
func (c *Checker) Announce() { c.listeners.Tell(struct{}{}) }

// Run announces, until ctx is done, often enough for every credential in use to be
// asked about once it is half a TTL old.
func (c *Checker) Run(ctx context.Context) {
	ticker := time.NewTicker(max(c.config.TTL/8, time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			c.Announce()
		}
	}
}

// Standing returns nil as long as the credential of r stands, and else why not. When
// its last confirmed answer is half a TTL old, or changed says that it may be out of
// date, ask is called in the background, and what it finds is announced if it ends the
// credential. ask returns when the authority was asked that has confirmed the
// credential, or an *mcpauth.Error. If that is ErrUnavailable, the last confirmed answer
// counts until it is a TTL old.
func (c *Checker) Standing(r *Record, changed bool, ask func() (asked time.Duration, err error)) error {
	refusal := r.refusal.Load()
	if refusal != nil && refusal.Code != mcpauth.ErrUnavailable {
		return refusal
	}
	if (changed || c.age(r) >= c.config.TTL/2) && r.asking.CompareAndSwap(false, true) {
		c.enqueue(func() { c.ask(r, ask) })
	}
	if refusal != nil && c.age(r) >= c.config.TTL {
		return refusal
	}
	return nil
}

func (c *Checker) age(r *Record) time.Duration {
	return c.config.Now() - r.Confirmed()
}

func (c *Checker) ask(r *Record, ask func() (time.Duration, error)) {
	asked, err := ask()
	if err == nil {
		r.Confirm(asked)
		r.asking.Store(false)
		return
	}
	refusal := mcpauth.AsError(err)
	r.refusal.Store(refusal)
	r.asking.Store(false)
	if refusal.Code != mcpauth.ErrUnavailable || c.age(r) >= c.config.TTL {
		c.Announce()
	}
}

func (c *Checker) enqueue(job func()) {
	c.mu.Lock()
	c.queue = append(c.queue, job)
	begin := c.workers < maxWorkers
	if begin {
		c.workers++
	}
	c.mu.Unlock()
	if begin && !c.config.Go(c.work) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.workers--
		c.queue = nil // the provider is closed
	}
}

// work does what is in the queue.
func (c *Checker) work() {
	for {
		c.mu.Lock()
		if len(c.queue) == 0 {
			c.workers--
			c.queue = nil
			c.mu.Unlock()
			return
		}
		job := c.queue[0]
		c.queue = c.queue[1:]
		c.mu.Unlock()
		job()
	}
}

// Narrowed reports whether an identity that the authority describes now falls short of
// one that it has described before: it is another user's, or lacks a scope.
func Narrowed(before, now *mcpauth.Identity) error {
	if before.Principal() != now.Principal() || !now.HasScopes(before.Scopes()...) {
		return &mcpauth.Error{Code: mcpauth.ErrRevoked, Message: "The credential no longer grants what it did. Please sign in again.", Cause: errNarrowed}
	}
	return nil
}

var errNarrowed = errors.New("the authority now names another user, or fewer scopes")
