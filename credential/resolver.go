package credential

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/check"
	"github.com/mcpauth-go/mcpauth/internal/clock"
)

const (
	// againAfter is the pause between fetches in the background that fail.
	againAfter = 5 * time.Second
	// forcedEvery is the least time between two fetches of one credential that
	// rejections lead to: a tool must not be able to hammer the platform.
	forcedEvery = 10 * time.Second
	// A transient failure is remembered until the source wants to be asked again,
	// but for rememberedAtMost, or else for remembered: a client that asks again
	// at once does not have the source asked.
	remembered       = 2 * time.Second
	rememberedAtMost = 30 * time.Second
	// sweepEvery is how often the list of revocations is looked at without a
	// request, after Start.
	sweepEvery = time.Second
)

// Resolver is a mcpauth.Resolver that keeps what a Source says. It is safe for
// concurrent use.
type Resolver struct {
	config   Config
	source   Source // with guards
	guards   []*guard
	perToken bool
	now      func() clock.Instant
	cache    *cache

	// mu orders what the cache is told: a fetch that Invalidate has overtaken
	// must leave nothing behind.
	mu      sync.Mutex
	flights map[key]*flight
	closed  atomic.Bool

	lifecycle sync.Mutex // of Start and Close, which calls the sources' own
	started   bool

	ctx     context.Context // of everything in the background
	stop    context.CancelFunc
	working sync.WaitGroup

	hits, misses, fetches, failures atomic.Uint64
}

var (
	_ mcpauth.Resolver   = (*Resolver)(nil)
	_ mcpauth.Lifecycle  = (*Resolver)(nil)
	_ mcpauth.Revoking   = (*Resolver)(nil)
	_ mcpauth.Measuring  = (*Resolver)(nil)
	_ mcpauth.Forwarding = (*Resolver)(nil)
)

// New returns a Resolver for c. The error is a *mcpauth.ConfigError with all
// faults. It asks nobody anything yet. Close must follow, to release the caches.
func New(c Config) (*Resolver, error) {
	c = c.withDefaults()
	if faults := c.faults(); len(faults) > 0 {
		return nil, &mcpauth.ConfigError{Package: "credential", Faults: faults}
	}
	r := &Resolver{config: c, now: clock.Start(), flights: map[key]*flight{}}
	r.source = r.guarded(c.Source)
	for _, g := range r.guards {
		_, is := g.source.(interface{ PerToken() })
		r.perToken = r.perToken || is
	}
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.cache = newCache(c, r.now)
	return r, nil
}

// guarded returns s with a guard around each source that asks somebody. A source
// that is there twice has one guard.
func (r *Resolver) guarded(s Source) Source {
	switch s := s.(type) {
	case chain:
		all := make(chain, len(s))
		for i := range s {
			all[i] = r.guarded(s[i])
		}
		return all
	case byResource:
		all := byResource{}
		for name, choice := range s {
			all[strings.Clone(name)] = r.guarded(choice)
		}
		return all
	}
	for _, g := range r.guards {
		if check.Same(g.source, s) {
			return g
		}
	}
	g := newGuard(s, r.config.Logger, &r.working)
	r.guards = append(r.guards, g)
	return g
}

// ForwardsToken reports whether a source sends the user's own token on, which a
// server may do only with tokens whose audience it checks.
func (r *Resolver) ForwardsToken() bool {
	for _, g := range r.guards {
		if f, ok := g.source.(mcpauth.Forwarding); ok && f.ForwardsToken() {
			return true
		}
	}
	return false
}

// Revocations implements mcpauth.Revoking.
func (r *Resolver) Revocations() mcpauth.Revocations { return r.config.Revocations }

// Resolve returns the user's credential for resources of this type, or nil if
// they have none. It waits only where nothing is cached, Config.Timeout at most, and
// a second more for a Source that does not heed it.
// The error is a *mcpauth.Error: ErrUnavailable if there is no telling now,
// ErrRevoked or ErrExpired if the token is no longer good, or what the source
// refused with.
func (r *Resolver) Resolve(ctx context.Context, id *mcpauth.Identity, resourceType string) (*mcpauth.Credential, error) {
	if l, ok := r.cache.links.GetIfPresent(near{id, resourceType}); ok {
		now := r.now()
		if h := l.held.Load(); h.good(now) && h.isFresh(now) && current(id, now) && r.inEpoch(l.epoch) {
			r.hits.Add(1)
			if int64(now.Mono) >= h.ahead.Load() {
				r.askAhead(ctx, l.key, h, id, now)
			}
			return h.credential, nil
		}
	}
	return r.look(ctx, id, resourceType)
}

// current reports whether the token of id is still taken.
func current(id *mcpauth.Identity, now clock.Instant) bool {
	return id.Expiry().IsZero() || now.Wall.Before(id.Expiry())
}

func (r *Resolver) epoch() uint32 {
	if r.config.Revocations == nil {
		return 0
	}
	return r.config.Revocations.Epoch()
}

func (r *Resolver) inEpoch(epoch uint32) bool {
	return r.config.Revocations == nil || r.config.Revocations.Epoch() == epoch
}

func (r *Resolver) revoked(id *mcpauth.Identity) bool {
	return r.config.Revocations != nil && r.config.Revocations.Revoked(id.Revocable())
}

// look is Resolve for a request that has no link, or none that is still good.
func (r *Resolver) look(ctx context.Context, id *mcpauth.Identity, resourceType string) (*mcpauth.Credential, error) {
	now, epoch := r.now(), r.epoch() // before asking: it is stored for what was there by then
	switch {
	case r.closed.Load():
		return nil, errClosed
	case id == nil:
		return nil, errNobody
	case !current(id, now):
		return nil, errExpired
	}
	k, revoked := keyOf(id, resourceType, r.perToken), r.revoked(id)
	h, e := r.kept(k)
	if h != nil && (revoked && h.id == id || h.id != id && r.revoked(h.id)) {
		r.cache.entries.ComputeIfPresent(k, dropping(e, new(int)))
		h = nil
	}
	if revoked {
		r.cache.links.Invalidate(near{id, resourceType})
		return nil, errRevoked
	}
	if h.good(now) && (h.isFresh(now) || h.failing.Load()) {
		r.hits.Add(1)
		if h.isFresh(now) {
			r.cache.links.Set(near{id, strings.Clone(resourceType)}, &link{e, epoch})
		}
		if int64(now.Mono) >= h.ahead.Load() {
			r.askAhead(ctx, k, h, id, now)
		}
		return h.credential, nil
	}
	f, err := r.fly(ctx, k, id, resourceType, h)
	if f == nil && err == nil {
		return r.look(ctx, id, resourceType)
	}
	r.misses.Add(1)
	if err != nil {
		return nil, err
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		// It goes on, for others and for next time.
		return nil, &mcpauth.Error{Code: mcpauth.ErrUnavailable, Message: unavailable, Cause: fmt.Errorf("nobody waits for it: %w", context.Cause(ctx))}
	}
	switch {
	case r.closed.Load():
		return nil, errClosed
	case !r.inEpoch(epoch) && r.revoked(id):
		return nil, errRevoked
	case f.err == nil:
		// What Invalidate has overtaken is answered to who asked before it.
		if h, e := r.kept(k); h != nil && h.credential == f.credential {
			r.cache.links.Set(near{id, f.resource}, &link{e, epoch})
		}
		return f.credential, nil
	case !final(f.err):
		// Another look: Invalidate and revocations may have come meanwhile.
		if h, _ := r.kept(k); h.good(r.now()) && h.credential != nil {
			return h.credential, nil
		}
	}
	return nil, answer(f.err)
}

func (r *Resolver) kept(k key) (*held, *entry) {
	e, ok := r.cache.entries.GetIfPresent(k)
	if !ok {
		return nil, nil
	}
	return e.held.Load(), e
}

const unavailable = "Your credential for what this server works on cannot be looked up now. Please try again later."

var (
	errClosed  = &mcpauth.Error{Code: mcpauth.ErrUnavailable, Message: unavailable, Cause: errors.New("credential: closed")}
	errNobody  = &mcpauth.Error{Code: mcpauth.ErrUnavailable, Message: unavailable, Cause: errors.New("credential: asked for nobody's")}
	errExpired = &mcpauth.Error{Code: mcpauth.ErrExpired, Message: "The token has expired. Please refresh your token.", Cause: errors.New("credential: asked with a token that has expired")}
	errRevoked = &mcpauth.Error{Code: mcpauth.ErrRevoked, Message: "The token has been revoked. Please sign in again.", Cause: errors.New("credential: asked with a token that has been revoked")}
)

// answer makes of a source's failure what its user is told.
func answer(err error) *mcpauth.Error {
	wait, _ := after(err)
	e := (*mcpauth.Error)(nil)
	if errors.As(err, &e) && e != nil {
		refusal := *e
		if refusal.Code == mcpauth.ErrUnavailable {
			refusal.RetryAfter = max(refusal.RetryAfter, wait)
		}
		return &refusal
	}
	return &mcpauth.Error{Code: mcpauth.ErrUnavailable, Message: unavailable, RetryAfter: wait, Cause: fmt.Errorf("credential: %w", err)}
}

// flight is a fetch under way.
type flight struct {
	done chan struct{}
	key  key
	id   *mcpauth.Identity
	// resource is what the credential is for.
	resource string
	// overtaken says that what it brings is not to be kept. Under the mutex.
	overtaken bool
	// Both are written before done is closed.
	credential *mcpauth.Credential
	err        error
}

// fly returns the fetch of a key: the one under way, or a new one. It returns none if
// another has landed since its caller saw what is kept, which is worth another look,
// and an error if one has failed and there is nothing to go on with.
func (r *Resolver) fly(ctx context.Context, k key, id *mcpauth.Identity, resourceType string, seen *held) (*flight, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed.Load() {
		return nil, errClosed
	}
	if f, ok := r.flights[k]; ok {
		return f, nil
	}
	if h, _ := r.kept(k); h != seen {
		return nil, nil
	}
	now := r.now()
	if failure := r.cache.failure(k, now); failure != nil {
		if seen.good(now) && seen.failing.Load() {
			return nil, nil
		}
		return nil, failure
	}
	f := &flight{done: make(chan struct{}), key: k, id: id, resource: strings.Clone(resourceType)}
	r.flights[k] = f
	r.working.Go(func() { r.fetch(context.WithoutCancel(ctx), f) })
	return f, nil
}

// askAhead begins a fetch that nobody waits for.
func (r *Resolver) askAhead(ctx context.Context, k key, h *held, id *mcpauth.Identity, now clock.Instant) {
	due := h.ahead.Load()
	// Whoever moves the time begins it. A fetch that fails comes again later,
	// with jitter, lest the credentials of many users keep in step.
	pause := againAfter + rand.N(againAfter/5)
	if int64(now.Mono) >= due && h.ahead.CompareAndSwap(due, int64(now.Mono+r.config.Timeout+pause)) {
		_, _ = r.fly(ctx, k, id, h.resource, h) // where there is none, there is nothing to do
	}
}

var errEnded = errors.New("the fetch has been ended")

func (r *Resolver) fetch(ctx context.Context, f *flight) {
	f.err = errEnded                         // unless it comes to its end
	defer r.land(ctx, f, r.now(), r.epoch()) // as of before asking
	ctx, cancel := context.WithTimeout(ctx, r.config.Timeout)
	defer cancel()
	defer context.AfterFunc(r.ctx, cancel)()
	r.fetches.Add(1)
	found, err := r.source.Fetch(ctx, f.id, f.resource)
	if err == nil {
		err = validate(found, r.now().Wall)
	}
	if err != nil {
		found = nil
		r.failures.Add(1)
	}
	if found != nil {
		found = r.reporting(found, f.key)
	}
	f.credential, f.err = found, err
}

// land ends a flight, however it came to its end.
func (r *Resolver) land(ctx context.Context, f *flight, began clock.Instant, epoch uint32) {
	defer close(f.done)
	if r.keep(f, began, epoch) {
		r.config.Logger.LogAttrs(ctx, slog.LevelDebug, "credential not fetched anew, the last good one stays",
			slog.String("resource_type", f.resource), slog.Any("error", f.err))
	}
}

// keep puts away what a flight has brought. stays says that it has brought nothing,
// and there is what the one before has brought.
func (r *Resolver) keep(f *flight, began clock.Instant, epoch uint32) (stays bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flights[f.key] == f {
		delete(r.flights, f.key)
	}
	if r.closed.Load() || f.overtaken || !r.inEpoch(epoch) && r.revoked(f.id) {
		return false
	}
	before, _ := r.kept(f.key)
	pause := r.remember(f)
	switch {
	case f.err == nil:
		h := r.config.hold(f.id, f.resource, f.credential, began)
		h.follow(before, began)
		e := &entry{key: f.key}
		e.held.Store(h)
		r.cache.entries.Set(f.key, e)
	case final(f.err):
		r.cache.entries.Invalidate(f.key)
	case before != nil:
		before.failing.Store(true)
		before.ahead.Store(int64(r.now().Mono + max(againAfter, pause) + rand.N(againAfter/5)))
		return true
	}
	return false
}

// remember keeps a transient failure, and returns for how long. That nobody has been
// asked is none: whether somebody would be, the guard says for each request.
func (r *Resolver) remember(f *flight) time.Duration {
	wait, is := after(f.err)
	if !is || errors.Is(f.err, errOpen) || final(f.err) {
		r.cache.failures.Invalidate(f.key)
		return 0
	}
	wait = cmp.Or(wait, remembered)
	pause, now := min(wait, rememberedAtMost), r.now().Mono
	r.cache.failures.Set(f.key, &failure{
		issuer: f.id.Issuer(), userID: f.id.UserID(), resource: f.resource, err: f.err, until: now + pause, again: now + wait,
	})
	return pause
}

// follow takes over what rejections of the credential before have led to.
func (h *held) follow(before *held, began clock.Instant) {
	if before == nil {
		return
	}
	h.forcedAt = before.forcedAt
	if before.forced.Load() && before.fresh.Load() <= int64(began.Mono) {
		h.forcedAt = began.Mono
		h.forced.Store(before.credential.Equal(h.credential))
	}
}

// reporting returns c with the way back for Rejected.
func (r *Resolver) reporting(c *mcpauth.Credential, k key) *mcpauth.Credential {
	of := c.OnRejected
	return &mcpauth.Credential{Token: c.Token, Expiry: c.Expiry, OnRejected: func(c *mcpauth.Credential) {
		if of != nil {
			of(c)
		}
		r.rejected(c, k)
	}}
}

// rejected has the next request ask for another credential, unless there is one
// already, or this one has been asked about before.
func (r *Resolver) rejected(c *mcpauth.Credential, k key) {
	r.cache.failures.Invalidate(k)
	h, _ := r.kept(k)
	if h == nil || !h.credential.Equal(c) || h.forced.Swap(true) {
		return
	}
	due := int64(max(r.now().Mono, h.forcedAt+forcedEvery))
	h.failing.Store(false)
	h.ahead.Store(math.MaxInt64) // the next fetch is not one in the background
	for {
		fresh := h.fresh.Load()
		if fresh <= due || h.fresh.CompareAndSwap(fresh, due) {
			return
		}
	}
}

// Invalidate forgets what is kept of a user for resources of this type, "" for
// all, so that the next request asks anew; and returns how many answers that
// were. A fetch that is under way leaves nothing behind. Like a revocation, it holds
// in all tenants that have a user of that id.
func (r *Resolver) Invalidate(issuer, userID, resourceType string) int {
	of := func(id *mcpauth.Identity, resource string) bool {
		return id.Issuer() == issuer && id.UserID() == userID && (resourceType == "" || resource == resourceType)
	}
	r.mu.Lock()
	for k, f := range r.flights {
		if of(f.id, f.resource) {
			f.overtaken = true
			delete(r.flights, k)
		}
	}
	for k, f := range r.cache.failures.All() {
		if f.issuer == issuer && f.userID == userID && (resourceType == "" || f.resource == resourceType) {
			r.cache.failures.Invalidate(k)
		}
	}
	r.mu.Unlock()
	return r.forget(func(h *held) bool { return of(h.id, h.resource) })
}

// forget drops what is of the given kind.
func (r *Resolver) forget(what func(*held) bool) int {
	n := 0
	for k, e := range r.cache.entries.All() {
		if h := e.held.Load(); h != nil && what(h) {
			r.cache.entries.ComputeIfPresent(k, dropping(e, &n))
		}
	}
	return n
}

// Start begins to look at revocations without a request, so that what is of a
// revoked user does not stay in memory, and starts the sources that want it. It
// returns at once; ctx bounds nothing after that. It is an error to start twice
// or after Close. A Resolver answers without it, too.
func (r *Resolver) Start(ctx context.Context) error {
	r.lifecycle.Lock()
	defer r.lifecycle.Unlock()
	if r.started || r.closed.Load() {
		return errors.New("credential: the resolver has been started or closed before")
	}
	r.started = true
	for _, g := range r.guards {
		if l, ok := g.source.(mcpauth.Lifecycle); ok {
			if err := l.Start(ctx); err != nil {
				return fmt.Errorf("credential: %w", err)
			}
		}
	}
	if r.config.Revocations != nil {
		seen := r.config.Revocations.Epoch()
		r.mu.Lock()
		defer r.mu.Unlock()
		if !r.closed.Load() {
			r.working.Go(func() { r.sweep(seen) })
		}
	}
	return nil
}

// sweep forgets what is of revoked users, who make no request any more.
func (r *Resolver) sweep(seen uint32) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-ticker.C:
		}
		epoch := r.config.Revocations.Epoch()
		if epoch == seen {
			continue
		}
		seen = epoch
		r.forget(func(h *held) bool { return r.revoked(h.id) })
		for n := range r.cache.links.Keys() {
			if r.revoked(n.id) {
				r.cache.links.Invalidate(n)
			}
		}
	}
}

// Close ends what goes on, closes the sources and forgets everything. From then
// on, Resolve is refused with ErrUnavailable. Closing again does nothing. The error
// joins those of the sources, and says if a call of one has not ended in its time.
func (r *Resolver) Close() error {
	r.mu.Lock()
	closed := r.closed.Swap(true)
	r.mu.Unlock()
	if closed {
		return nil
	}
	r.stop()
	r.lifecycle.Lock()
	defer r.lifecycle.Unlock()
	errs := []error{r.wait()}
	r.cache.clear()
	r.cache.stop()
	for _, g := range r.guards {
		if c, ok := g.source.(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// wait waits for what goes on, which has been told to stop. There is no ending a
// Source that does not heed its context.
func (r *Resolver) wait() error {
	ended := make(chan struct{})
	go func() {
		r.working.Wait()
		close(ended)
	}()
	late := time.NewTimer(r.config.Timeout + grace)
	defer late.Stop()
	select {
	case <-ended:
		return nil
	case <-late.C:
		return errors.New("credential: a call of a source goes on")
	}
}
