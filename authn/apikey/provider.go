package apikey

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/clock"
	"github.com/mcpauth-go/mcpauth/internal/gate"
	"github.com/mcpauth-go/mcpauth/internal/recall"
	"github.com/mcpauth-go/mcpauth/internal/standing"
)

// Provider takes API keys. It is safe for concurrent use.
type Provider struct {
	config  Config
	errForm error

	accepted *recall.Bounded[Hash, *entry]
	refused  *otter.Cache[Hash, refusal]
	flight   singleflight.Group
	changes  [256]changes // by the first byte of hashes
	standing *standing.Checker
	now      func() clock.Instant
	limits   *otter.Cache[Hash, *limiter]

	inAll    *rate.Limiter
	bySource *otter.Cache[string, *rate.Limiter]
	index    index
	counts   counts
	uses     uses

	lifecycle sync.Mutex
	started   bool
	closed    atomic.Bool
	unwatch   func()
	// life ends with Close. Lookups belong to no request: many may wait for one
	// of them.
	life    context.Context
	end     context.CancelFunc
	working gate.Gate
}

var (
	_ mcpauth.Provider  = (*Provider)(nil)
	_ mcpauth.Selective = (*Provider)(nil)
	_ mcpauth.Lifecycle = (*Provider)(nil)
	_ mcpauth.Revoking  = (*Provider)(nil)
	_ mcpauth.Measuring = (*Provider)(nil)

	_ mcpauth.StandingNotifier = (*Provider)(nil)
	_ mcpauth.Verification     = (*entry)(nil)
)

// entry is a good key: the identity that it stands for, and all that decides
// whether it still does. It is the identity's mcpauth.Verification.
type entry struct {
	provider *Provider
	identity *mcpauth.Identity
	record   standing.Record
	version  atomic.Uint64 // of changes, when the key was last confirmed
	created  time.Time
	name     string
	id       string
	hash     Hash
	expires  time.Time // on the wall clock; zero for never
	until    time.Time // how long it is answered from memory, on the monotonic clock
	limit    *limiter  // nil for none
	size     uint32
	epoch    atomic.Uint32 // of the revocations, when it was last found not to be among them; 0: never
	used     atomic.Int64  // seconds since 1970
}

// refusal is why a key is refused that need not be looked up again for a while.
type refusal struct {
	err   error
	until time.Time
}

const (
	// entryOverhead is what a key takes beside extraordinary strings.
	entryOverhead = 1024
	// remembered is how long after its TTL a key counts as seen before.
	remembered = 24 * time.Hour

	refusalTTL  = 10 * time.Second
	maxRefusals = 8192
	maxSources  = 8192
	maxLimits   = 65536
)

// New returns a Provider for c. The error, a *mcpauth.ConfigError, has
// everything that is wrong with it. Nothing is asked of the store yet.
//
// The Provider answers at once. Start begins what goes on in the background: to
// write down when keys were used, and to read files again. Close must follow New
// in any case.
func New(c Config) (*Provider, error) {
	c = c.withDefaults()
	if faults := c.faults(); len(faults) > 0 {
		return nil, &mcpauth.ConfigError{Package: "apikey", Faults: faults}
	}
	p := &Provider{config: c, unwatch: func() {}}
	p.errForm = &mcpauth.Error{Code: mcpauth.ErrMalformedToken,
		Message: fmt.Sprintf("Not an API key of this server. Expected: %s and %d more characters", c.Prefix, randomChars)}
	p.accepted = recall.NewBounded(otter.Options[Hash, *entry]{
		MaximumWeight: uint64(c.Cache.MaxBytes),
		Weigher:       func(_ Hash, e *entry) uint32 { return e.size },
		// Only gives memory back: whether an entry is good is for it to say.
		ExpiryCalculator: otter.ExpiryWriting[Hash, *entry](c.Cache.TTL + remembered),
	})
	p.refused = otter.Must(&otter.Options[Hash, refusal]{
		MaximumSize: maxRefusals, ExpiryCalculator: otter.ExpiryWriting[Hash, refusal](refusalTTL)})
	p.limits = otter.Must(&otter.Options[Hash, *limiter]{
		MaximumSize: maxLimits, ExpiryCalculator: otter.ExpiryAccessingFunc(func(l otter.Entry[Hash, *limiter]) time.Duration {
			// An entry uses it for a TTL, and then it takes Per to refill.
			return c.Cache.TTL + l.Value.per() + 2*time.Second
		})})
	p.bySource = otter.Must(&otter.Options[string, *rate.Limiter]{
		MaximumSize: maxSources, ExpiryCalculator: otter.ExpiryAccessing[string, *rate.Limiter](c.WrongKeys.BySource.Per + 2*time.Second)})
	p.inAll = c.WrongKeys.InAll.limiter()
	p.life, p.end = context.WithCancel(context.Background())
	p.now = clock.Start()
	p.standing = standing.NewChecker(standing.Config{TTL: c.Cache.TTL, Now: func() time.Duration { return p.now().Mono }, Go: p.working.Go})
	if s, ok := c.Store.(watcher); ok {
		p.unwatch = s.Watch(func(h Hash) { p.Changed(h) })
	}
	return p, nil
}

// Start begins the background work. It returns at once, and fails when called
// twice or after Close.
func (p *Provider) Start(ctx context.Context) error {
	p.lifecycle.Lock()
	defer p.lifecycle.Unlock()
	if p.started || p.closed.Load() {
		return errors.New("apikey: the provider has been started or closed before")
	}
	p.started = true
	p.config.Logger.LogAttrs(ctx, slog.LevelInfo, "API key provider started",
		slog.String("issuer", p.config.Issuer), slog.String("prefix", p.config.Prefix), slog.Duration("cache_ttl", p.config.Cache.TTL))
	if s, ok := p.config.Store.(recorder); ok {
		p.uses.wanted.Store(true)
		p.working.Go(func() {
			p.every(p.config.UseInterval, "uses of API keys not written down", func() error { return p.record(s) })
		})
	}
	p.working.Go(func() { p.standing.Run(p.life) })
	if s, ok := p.config.Store.(reloader); ok {
		p.working.Go(func() { p.every(p.config.ReloadInterval, "API keys not read again, those in use stay", s.Reload) })
	}
	return nil
}

// every calls work at an interval until Close. A lasting fault is logged once.
func (p *Provider) every(interval time.Duration, fault string, work func() error) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var last string
	for {
		select {
		case <-p.life.Done():
			return
		case <-ticker.C:
		}
		err := work()
		text := ""
		if err != nil && p.life.Err() == nil {
			if text = err.Error(); text != last {
				p.config.Logger.LogAttrs(p.life, slog.LevelError, fault, slog.Any("error", err))
			}
		}
		last = text
	}
}

// Close ends what goes on, writes down which keys were used, and forgets all
// keys. From then on every request is refused with ErrUnavailable. The store
// stays open. Closing again does nothing. The error says that a lookup has not
// ended in its time.
func (p *Provider) Close() error {
	p.lifecycle.Lock()
	if p.closed.Swap(true) {
		p.lifecycle.Unlock()
		return nil
	}
	started := p.started
	p.lifecycle.Unlock()
	p.unwatch()
	p.end()
	// There is no ending a function of the user's that does not heed its context.
	late, cancel := context.WithTimeout(context.Background(), p.config.Timeout)
	defer cancel()
	err := p.working.Close(late)
	if err != nil {
		err = errors.New("apikey: a lookup in the store goes on")
	}
	if s, ok := p.config.Store.(recorder); ok && started {
		if err := p.record(s); err != nil {
			p.config.Logger.Error("uses of API keys not written down", "error", err)
		}
	}
	p.accepted.InvalidateAll()
	p.refused.InvalidateAll()
	p.accepted.StopAllGoroutines()
	p.refused.StopAllGoroutines()
	p.limits.StopAllGoroutines()
	p.bySource.StopAllGoroutines()
	if started {
		p.config.Logger.Info("API key provider closed")
	}
	return err
}

// Changed says that the store may say something else of these keys by now, so
// that the next request with one looks it up. Stores of this module call it
// themselves.
func (p *Provider) Changed(hashes ...Hash) {
	for _, h := range hashes {
		p.changes[h[0]].note(func() {
			p.accepted.Invalidate(h)
			p.refused.Invalidate(h)
			p.flight.Forget(string(h[:])) // it may have landed, and still be joined
		})
	}
	p.standing.Announce()
}

// Revocations implements mcpauth.Revoking.
func (p *Provider) Revocations() mcpauth.Revocations { return p.config.Revocations }

// Authenticate implements [mcpauth.Provider]. A key that is answered from memory
// costs no allocation.
func (p *Provider) Authenticate(ctx context.Context, r *mcpauth.Request) (*mcpauth.Identity, error) {
	if p.closed.Load() {
		return nil, errClosed
	}
	key, err := credential(r)
	if err != nil {
		return nil, err
	}
	if len(key) != len(p.config.Prefix)+randomChars {
		return nil, p.errForm
	}
	hash := HashOf(key)
	e, seen := p.accepted.GetIfPresent(hash)
	if !seen && !wellFormed(key, p.config.Prefix) { // what has been accepted is
		return nil, p.errForm
	}
	now := time.Now()
	if !seen || !now.Before(e.until) {
		if e, err = p.find(ctx, r, hash, seen); err != nil {
			return nil, err
		}
		now = time.Now()
	}
	if err := p.judge(e, now); err != nil {
		return nil, err
	}
	p.note(e, now)
	return e.identity, nil
}

// judge says whether a key is good now. It judges what has just been looked up
// and what is kept alike.
func (p *Provider) judge(e *entry, now time.Time) error {
	if !e.expires.IsZero() && !now.Before(e.expires) {
		return errExpired
	}
	if e.revoked() {
		return errRevoked
	}
	if e.limit != nil {
		if wait, ok := e.limit.take(now); !ok {
			return &mcpauth.Error{Code: mcpauth.ErrRateLimited, Message: "Too many requests with this API key. Please try again later.", RetryAfter: wait}
		}
	}
	return nil
}

// revoked reports whether the list of revocations names e. Without a revocation since
// the list was last asked, the answer is known.
func (e *entry) revoked() bool {
	list := e.provider.config.Revocations
	if list == nil {
		return false
	}
	epoch := list.Epoch() // before asking: it is stored for what was there by then
	if e.epoch.Load() == epoch {
		return false
	}
	if list.Revoked(e.identity.Revocable()) {
		return true
	}
	e.epoch.Store(epoch)
	return false
}

// header is X-API-Key as net/http spells it.
const header = "X-Api-Key"

// credential returns the key that a request has, of whatever form.
func credential(r *mcpauth.Request) (string, error) {
	own := r.Header[header]
	if len(own) > 1 {
		return "", errHeader
	}
	token, err := mcpauth.BearerToken(r.Header)
	if len(own) == 0 || own[0] == "" {
		switch {
		case err == nil:
			return token, nil
		case errors.Is(err, mcpauth.ErrMissingCredential):
			return "", errNoKey
		}
		return "", errHeader
	}
	if bearer := r.Header["Authorization"]; len(bearer) > 1 || len(bearer) == 1 && bearer[0] != "" {
		return "", errHeader
	}
	return own[0], nil
}

// Recognizes implements [mcpauth.Selective]: it reports whether the request has
// an X-API-Key header, or something in Authorization that begins as keys do.
func (p *Provider) Recognizes(r *mcpauth.Request) bool {
	if own := r.Header[header]; len(own) > 1 || len(own) == 1 && own[0] != "" {
		return true
	}
	for _, value := range r.Header["Authorization"] {
		if scheme, token, two := strings.Cut(value, " "); two && strings.EqualFold(scheme, "Bearer") {
			value = token
		}
		if strings.HasPrefix(strings.TrimLeft(value, " \t"), p.config.Prefix) {
			return true
		}
	}
	return false
}

// newEntry returns the entry of a key that the store has found. It fails when
// what the store says makes no sense.
func (p *Provider) newEntry(k *Key, now time.Time) (*entry, error) {
	if text := k.Rate.fault(); text != "" {
		return nil, errors.New("the key's rate: " + text)
	}
	size := entryOverhead + 2*(len(k.ID)+len(k.Name)+len(k.UserID)+len(k.Tenant))
	scopes := make([]string, len(k.Scopes))
	for i, s := range k.Scopes {
		scopes[i] = strings.Clone(s)
		size += len(s) + 16
	}
	e := &entry{provider: p, id: k.ID, hash: k.Hash, name: k.Name, created: k.Created, expires: k.Expires.Round(0), until: now.Add(p.config.Cache.TTL),
		size: uint32(min(size, math.MaxUint32))}
	var err error
	e.identity, err = mcpauth.NewIdentity(mcpauth.IdentityFields{
		Issuer: p.config.Issuer, UserID: k.UserID, Tenant: k.Tenant, Scopes: scopes, Expiry: k.Expires, Verification: e,
	})
	if err != nil {
		return nil, err
	}
	if k.Rate != (Rate{}) {
		e.limit = p.limiterOf(k.Hash, k.Rate)
	}
	return e, nil
}

// limiter is the bucket of a key, which outlasts its entries.
type limiter struct {
	*rate.Limiter
	Rate
}

func (l *limiter) per() time.Duration { return l.Rate.Per }

func (p *Provider) limiterOf(h Hash, r Rate) *limiter {
	l, _ := p.limits.Compute(h, func(present *limiter, found bool) (*limiter, otter.ComputeOp) {
		if found && present.Rate == r {
			return present, otter.WriteOp // which keeps it for longer
		}
		return &limiter{r.limiter(), r}, otter.WriteOp
	})
	return l
}

// take takes one request, or says when there will be one to take.
func (l *limiter) take(now time.Time) (wait time.Duration, ok bool) {
	if l.AllowN(now, 1) {
		return 0, true
	}
	return max(0, time.Duration((1-l.TokensAt(now))/float64(l.Limit())*float64(time.Second))), false
}

func (r Rate) limiter() *rate.Limiter {
	return rate.NewLimiter(rate.Limit(float64(r.Requests)/r.Per.Seconds()), r.Requests)
}

var (
	errNoKey = &mcpauth.Error{Code: mcpauth.ErrMissingCredential,
		Message: "No API key provided. Expected: Authorization: Bearer <key>, or X-API-Key: <key>"}
	errHeader = &mcpauth.Error{Code: mcpauth.ErrMalformedHeader,
		Message: "Invalid authorization format. Expected: Authorization: Bearer <key>, or X-API-Key: <key>, one of them once"}
	errUnknown = &mcpauth.Error{Code: mcpauth.ErrUnknownKey, Message: "Unknown API key. Please use one that was made for this server."}
	errExpired = &mcpauth.Error{Code: mcpauth.ErrExpired, Message: "The API key has expired. Please use a new one."}
	errRevoked = &mcpauth.Error{Code: mcpauth.ErrRevoked, Message: "The API key has been revoked. Please use another one."}
	errClosed  = &mcpauth.Error{Code: mcpauth.ErrUnavailable, Message: "The server is shutting down."}
)

// unavailable says that it cannot be told now whether a key is good.
func unavailable(cause error) *mcpauth.Error {
	return &mcpauth.Error{Code: mcpauth.ErrUnavailable, Message: "API keys cannot be checked now. Please try again later.",
		Cause: cause, RetryAfter: time.Second}
}
