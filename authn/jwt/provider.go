package jwt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/clock"
	"github.com/mcpauth-go/mcpauth/internal/jws"
	"github.com/mcpauth-go/mcpauth/internal/recall"
	"github.com/mcpauth-go/mcpauth/internal/watch"
)

// Provider verifies tokens. It is safe for concurrent use.
type Provider struct {
	config  Config
	order   []*issuer          // as in the configuration
	issuers map[string]*issuer // by each exact "iss"
	names   []string           // of the issuers, as in the configuration, for messages
	only    *issuer            // the one issuer, when there is just one
	now     func() clock.Instant

	accepted *accepted               // nil when results are not kept
	refused  *recall.Refused[uint64] // nil when refusals are not kept
	latest   *latest
	flight   singleflight.Group
	headers  jws.Headers

	// generation counts the changes of any issuer's keys.
	generation atomic.Uint64
	standing   watch.List[struct{}] // told when keys have been removed
	reloading  sync.Mutex

	lifecycle sync.Mutex
	started   bool
	closed    atomic.Bool
	stop      context.CancelFunc
	stopped   sync.WaitGroup
}

var (
	_ mcpauth.Lifecycle = (*Provider)(nil)
	_ mcpauth.Issuing   = (*Provider)(nil)
	_ mcpauth.Preparing = (*Provider)(nil)
	_ mcpauth.Lenient   = (*Provider)(nil)
	_ mcpauth.Revoking  = (*Provider)(nil)
	_ mcpauth.Measuring = (*Provider)(nil)

	_ mcpauth.StandingNotifier = (*Provider)(nil)
)

// New returns a Provider for c. It reads all static keys; the error, a
// *mcpauth.ConfigError, has everything that is wrong with the configuration
// and the keys. It asks nothing of the network.
//
// The Provider answers at once; for issuers whose keys are fetched, that is
// ErrUnavailable until Start has got them (see Ready). Start begins what goes
// on in the background, and Close must follow New in any case, to release the
// caches.
func New(c Config) (*Provider, error) {
	c = c.withDefaults()
	faults := c.faults()
	p := &Provider{config: c, issuers: map[string]*issuer{}}
	for i, settings := range c.Issuers {
		iss := &issuer{Issuer: settings, tenants: tenantsOf(&settings), provider: p, revocations: c.Revocations}
		field := fmt.Sprintf("Issuers[%d]", i)
		if iss.fetches() {
			faults = append(faults, iss.fetchFaults(field, c.Fetch)...)
			iss.fetched = &fetched{}
			iss.keys.Store(&keys{issuer: iss, set: noKeys})
		} else {
			k, keyFaults := iss.load(field)
			faults = append(faults, keyFaults...)
			iss.keys.Store(k)
		}
		for _, name := range iss.names() {
			p.issuers[name] = iss
		}
		p.order, p.names, p.only = append(p.order, iss), append(p.names, iss.Name), iss
	}
	if len(faults) > 0 {
		return nil, &mcpauth.ConfigError{Package: "jwt", Faults: faults}
	}
	if len(p.order) > 1 {
		p.only = nil
	}
	for _, iss := range p.order {
		if iss.fetched != nil {
			p.newSource(iss)
		}
	}
	p.now = clock.Start()
	// The forwarding index may hold tokens that the cache has let go, so each
	// gets its share of the bound.
	share := c.Cache.MaxBytes
	if !c.Cache.Off {
		share /= 2
		p.accepted = newAccepted(share, c.Cache.TTL, p.now)
		if !c.Cache.RefusalsOff {
			p.refused = recall.NewRefused[uint64]()
		}
	}
	p.latest = newLatest(share, p.now)
	return p, nil
}

// Start logs what the provider takes, and begins to watch the files of keys
// and secrets and to fetch the keys of the other issuers. It returns at once;
// ctx bounds nothing after that. It is an error to start twice or after Close.
func (p *Provider) Start(ctx context.Context) error {
	p.lifecycle.Lock()
	defer p.lifecycle.Unlock()
	if p.started || p.closed.Load() {
		return errors.New("jwt: the provider has been started or closed before")
	}
	p.started = true
	files := false
	for _, iss := range p.order {
		p.config.Logger.LogAttrs(ctx, slog.LevelInfo, "jwt provider started",
			slog.String("issuer", iss.Name), slog.Any("audience", iss.Audience),
			slog.Bool("cache", !p.config.Cache.Off), slog.Duration("cache_ttl", p.config.Cache.TTL))
		if iss.AnyAudience {
			p.config.Logger.LogAttrs(ctx, slog.LevelWarn, "tokens of every audience are taken: another server of this issuer can reuse its users' tokens here",
				slog.String("issuer", iss.Name))
		}
		for _, source := range iss.Keys {
			files = files || source.isFile
		}
		if f := iss.fetched; f != nil {
			if err := f.source.Start(ctx); err != nil {
				return fmt.Errorf("jwt: %w", err)
			}
		}
	}
	if files {
		watch, stop := context.WithCancel(context.WithoutCancel(ctx))
		p.stop = stop
		p.stopped.Go(func() { p.watch(watch) })
	}
	return nil
}

func (p *Provider) watch(ctx context.Context) {
	ticker := time.NewTicker(p.config.ReloadInterval)
	defer ticker.Stop()
	var last string
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := p.reloadStatic()
		if err == nil {
			last = ""
		} else if text := err.Error(); text != last {
			last = text // a lasting fault is logged once
			p.config.Logger.LogAttrs(ctx, slog.LevelError, "keys not reloaded, those in use stay", slog.Any("error", err))
		}
	}
}

// Reload gets all keys again, at once. A key that is gone ends every result
// that rests on it, cached ones included. With any fault of the static keys,
// which a *mcpauth.ConfigError describes, none of them changes; of issuers
// whose keys are fetched, each goes by itself, within Fetch.Timeout. It works
// without Start, too.
func (p *Provider) Reload() error {
	return errors.Join(p.reloadStatic(), p.refetchAll())
}

func (p *Provider) reloadStatic() error {
	p.reloading.Lock()
	defer p.reloading.Unlock()
	var (
		faults []mcpauth.Fault
		next   = map[*issuer]*keys{}
	)
	for i, iss := range p.order {
		if iss.fetched != nil {
			continue
		}
		k, keyFaults := iss.load(fmt.Sprintf("Issuers[%d]", i))
		faults = append(faults, keyFaults...)
		next[iss] = k
	}
	if len(faults) > 0 {
		return &mcpauth.ConfigError{Package: "jwt", Faults: faults}
	}
	for iss, k := range next {
		if p.setKeys(iss, k) {
			p.config.Logger.Info("keys reloaded", "issuer", iss.Name)
		}
	}
	return nil
}

// Close stops what Start began and clears all caches. From then on every
// request is refused with ErrUnavailable. Closing again does nothing.
func (p *Provider) Close() error {
	p.lifecycle.Lock()
	defer p.lifecycle.Unlock()
	if p.closed.Swap(true) {
		return nil
	}
	if p.stop != nil {
		p.stop()
	}
	for _, iss := range p.order {
		if iss.fetched != nil {
			iss.fetched.source.Close()
		}
	}
	p.stopped.Wait()
	p.clear()
	if p.accepted != nil {
		p.accepted.StopAllGoroutines()
	}
	if p.refused != nil {
		p.refused.StopAllGoroutines()
	}
	p.latest.StopAllGoroutines()
	if p.started {
		p.config.Logger.Info("jwt provider closed")
	}
	return nil
}

func (p *Provider) clear() {
	if p.accepted != nil {
		p.accepted.InvalidateAll()
	}
	if p.refused != nil {
		p.refused.InvalidateAll()
	}
	p.latest.InvalidateAll()
}

// TakesAnyAudience reports whether an issuer has AnyAudience: its tokens may be
// meant for whatever other server, and are not to be forwarded.
func (p *Provider) TakesAnyAudience() bool {
	return slices.ContainsFunc(p.config.Issuers, func(iss Issuer) bool { return iss.AnyAudience })
}

// Issuers returns the names of the issuers, in the order of the configuration:
// each exact "iss", where an issuer has Tenants.
func (p *Provider) Issuers() []string {
	var names []string
	for _, iss := range p.order {
		names = append(names, iss.names()...)
	}
	return names
}

// Token returns the token of the user that ends last among those verified
// here, for calls on the user's behalf that no request of theirs is at hand
// for. With a request at hand, use its own identity's Token. ok is false when
// none is known that is still good. The index is written when a token is
// verified, not when it is answered from the cache; it is bounded by
// Cache.MaxBytes and kept also when the cache is off. Tokens of an issuer with
// AnyAudience are not in it, and a revoked token is not returned. Users of an
// issuer with a TenantClaim are found by TenantToken.
func (p *Provider) Token(issuer, userID string) (token mcpauth.Secret, ok bool) {
	return p.TenantToken(issuer, userID, "")
}

// TenantToken is Token for a user of a tenant.
func (p *Provider) TenantToken(issuer, userID, tenant string) (token mcpauth.Secret, ok bool) {
	who, err := mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: issuer, UserID: userID, Tenant: tenant})
	if err != nil {
		return mcpauth.Secret{}, false
	}
	e, ok := p.latest.GetIfPresent(who.Principal())
	if !ok || p.closed.Load() || e.check(p.now()) != nil {
		return mcpauth.Secret{}, false
	}
	return e.identity.Token(), true
}

// Stats is what the caches hold now, and what has become of fetched keys.
type Stats struct {
	Accepted  CacheStats    // tokens answered from memory
	Refused   CacheStats    // refusals answered from memory
	Forwarded CacheStats    // users with a token for Provider.Token
	KeySets   []KeySetStats // of the issuers whose keys are fetched, in the order of the configuration
}

// CacheStats describes one cache.
type CacheStats struct {
	Entries   int    // approximately
	Bytes     uint64 // as counted against the bound; 0 where entries are counted
	Evictions uint64 // entries let go for want of room
}

// Stats returns the present state of the caches and of fetched keys.
func (p *Provider) Stats() Stats {
	s := Stats{Forwarded: CacheStats(p.latest.Stats())}
	if p.accepted != nil {
		s.Accepted = CacheStats(p.accepted.Stats())
	}
	if p.refused != nil {
		s.Refused = CacheStats(p.refused.Stats())
	}
	for _, iss := range p.order {
		if iss.fetched != nil {
			s.KeySets = append(s.KeySets, iss.keySetStats())
		}
	}
	return s
}
