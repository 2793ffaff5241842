package apikey

import (
	"context"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/mcpauth-go/mcpauth"
)

// find looks up a key once for all requests that bring it at the same time, and
// waits for the outcome. seen says that the key has been good before.
func (p *Provider) find(ctx context.Context, r *mcpauth.Request, hash Hash, seen bool) (*entry, error) {
	if err, ok := p.knownWrong(hash, time.Now()); ok {
		return nil, err
	}
	source := p.config.WrongKeys.Source(r)
	outcome := p.flight.DoChan(string(hash[:]), func() (any, error) { return p.lookUp(hash, source, seen) })
	// A store that does not heed its context keeps its lookup, not the requests.
	late := time.NewTimer(p.config.Timeout + time.Second)
	defer late.Stop()
	select {
	case o := <-outcome:
		if o.Err != nil {
			return nil, o.Err
		}
		return o.Val.(*entry), nil
	case <-ctx.Done():
		return nil, unavailable(fmt.Errorf("the client did not wait: %w", context.Cause(ctx)))
	case <-late.C:
		return nil, unavailable(errors.New("the store of API keys does not answer, nor heed its time"))
	}
}

func (p *Provider) knownWrong(hash Hash, now time.Time) (error, bool) {
	known, ok := p.refused.GetIfPresent(hash)
	return known.err, ok && now.Before(known.until)
}

// lookUp looks up a key and puts away what it finds.
func (p *Provider) lookUp(hash Hash, source string, seen bool) (e *entry, err error) {
	if !p.working.Enter() {
		return nil, errClosed
	}
	defer p.working.Leave()
	// Another flight may have landed since the look into memory.
	now := time.Now()
	if e, ok := p.accepted.GetIfPresent(hash); ok && now.Before(e.until) {
		return e, nil
	}
	if err, ok := p.knownWrong(hash, now); ok {
		return nil, err
	}
	if !seen {
		if err := p.afford(hash, source, now); err != nil {
			return nil, err
		}
	}
	return p.lookUpAndKeep(hash, source)
}

// lookUpAndKeep looks up a key and keeps the result, unless a change has overtaken it.
func (p *Provider) lookUpAndKeep(hash Hash, source string) (e *entry, err error) {
	defer func() {
		if v := recover(); v != nil { // in a LookupFunc or another store of the user's
			p.counts.failed.Add(1)
			e, err = nil, unavailable(fmt.Errorf("the store of API keys panicked: %v", v))
		}
	}()
	ctx, cancel := context.WithTimeout(p.life, p.config.Timeout)
	defer cancel()
	for range 8 {
		since, asked := p.changes[hash[0]].now(), p.now().Mono
		e, err = p.lookUpOnce(ctx, hash, source)
		if err == nil {
			e.version.Store(since)
			e.record.Confirm(asked)
		}
		if p.changes[hash[0]].none(since, func() { p.keep(hash, e, err) }) {
			return e, err
		}
	}
	return nil, unavailable(errors.New("keys are changing all the time"))
}

// lookUpOnce asks the store.
func (p *Provider) lookUpOnce(ctx context.Context, hash Hash, source string) (*entry, error) {
	now := time.Now() // before asking: what is found may be as old as that
	key, err := p.config.Store.Lookup(ctx, hash)
	switch {
	case errors.Is(err, ErrNotFound) || err == nil && key == nil:
		p.counts.unknown.Add(1)
		p.chargeSource(source, now)
		return nil, errUnknown
	case err != nil && p.life.Err() != nil:
		return nil, errClosed
	case err != nil:
		p.counts.failed.Add(1)
		return nil, unavailable(fmt.Errorf("the store of API keys: %w", err))
	case subtle.ConstantTimeCompare(key.Hash[:], hash[:]) != 1:
		p.counts.failed.Add(1)
		return nil, unavailable(errors.New("the store of API keys has returned another key, or one without its hash"))
	}
	p.counts.found.Add(1)
	if !key.Revoked.IsZero() {
		return nil, errRevoked
	}
	if !key.Expires.IsZero() && !time.Now().Before(key.Expires.Round(0)) {
		return nil, errExpired
	}
	e, err := p.newEntry(key, now)
	if err != nil {
		return nil, unavailable(fmt.Errorf("the store of API keys has returned what is no key: %w", err))
	}
	return e, nil
}

// keep puts away what the store has said of a key. A failure of the store says
// nothing.
func (p *Provider) keep(hash Hash, e *entry, err error) {
	switch err {
	case nil:
		p.accepted.Set(hash, e)
	case errUnknown, errRevoked, errExpired:
		p.accepted.Invalidate(hash)
		p.refused.Set(hash, refusal{err, time.Now().Add(refusalTTL)})
	}
}

// changes counts what the store has said of its keys, so that a lookup which a
// change has overtaken puts nothing away, and is made again.
type changes struct {
	mu    sync.Mutex
	count uint64
}

func (c *changes) now() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}

// note counts a change. No lookup puts anything away while forget is called.
func (c *changes) note(forget func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count++
	forget()
}

// none calls keep if there has been no change since then, and reports whether
// that is so.
func (c *changes) none(since uint64, keep func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count != since {
		return false
	}
	keep()
	return true
}

// afford says whether a key that has not been seen before may be looked up.
func (p *Provider) afford(hash Hash, source string, now time.Time) error {
	if source != "" {
		if l, ok := p.bySource.GetIfPresent(source); ok && l.TokensAt(now) < 1 {
			if p.listed(hash, now) {
				return nil
			}
			p.counts.shedBySource.Add(1)
			return errWrongKeys
		}
	}
	if !p.inAll.AllowN(now, 1) {
		if p.listed(hash, now) {
			return nil
		}
		p.counts.shedInAll.Add(1)
		return errNewKeys
	}
	return nil
}

var (
	errWrongKeys = &mcpauth.Error{Code: mcpauth.ErrRateLimited, Message: "Too many wrong API keys from this address. Please try again later.", RetryAfter: time.Second}
	errNewKeys   = unavailable(errors.New("too many new API keys are to be looked up (WrongKeys.InAll)"))
)

// chargeSource counts a wrong key.
func (p *Provider) chargeSource(source string, now time.Time) {
	if source == "" {
		return
	}
	l, _ := p.bySource.ComputeIfAbsent(source, func() (*rate.Limiter, bool) { return p.config.WrongKeys.BySource.limiter(), false })
	l.AllowN(now, 1)
}

// index is which hashes the store has, by their first 64 bits. It is read when
// new keys come faster than they may be looked up, and only ever lets a lookup
// through. (Whoever makes a key whose hash begins as another's, of which there
// is none to see, gains a lookup.)
type index struct {
	hashes  atomic.Pointer[[]uint64] // sorted
	reading atomic.Bool
	tried   atomic.Pointer[time.Time]
}

const (
	indexInterval = 10 * time.Second
	indexTimeout  = 30 * time.Second
	maxIndex      = 1 << 20
)

// listed reports whether the store is known to have a key, and sees to it that
// it becomes known.
func (p *Provider) listed(hash Hash, now time.Time) bool {
	if hashes := p.index.hashes.Load(); hashes != nil {
		if _, ok := slices.BinarySearch(*hashes, beginning(hash)); ok {
			return true
		}
	}
	store, ok := p.config.Store.(lister)
	if !ok {
		return false
	}
	recently := func() bool {
		last := p.index.tried.Load()
		return last != nil && now.Sub(*last) < indexInterval
	}
	if recently() || !p.index.reading.CompareAndSwap(false, true) {
		return false
	}
	p.working.Go(func() {
		defer p.index.reading.Store(false)
		if !recently() { // another reading may have ended since the look
			p.readIndex(store)
		}
	})
	return false
}

func (p *Provider) readIndex(store lister) {
	defer func() {
		now := time.Now()
		p.index.tried.Store(&now)
		if v := recover(); v != nil {
			p.config.Logger.Error("hashes of API keys not read", "error", fmt.Sprint(v))
		}
	}()
	ctx, cancel := context.WithTimeout(p.life, indexTimeout)
	defer cancel()
	hashes := []uint64{}
	for h, err := range store.Hashes(ctx) {
		if err != nil {
			p.config.Logger.LogAttrs(ctx, slog.LevelError, "hashes of API keys not read", slog.Any("error", err))
			return
		}
		if len(hashes) == maxIndex {
			break
		}
		hashes = append(hashes, beginning(h))
	}
	slices.Sort(hashes)
	p.index.hashes.Store(&hashes)
	p.config.Logger.LogAttrs(ctx, slog.LevelWarn, "new API keys come faster than they may be looked up: only those that the store lists are",
		slog.Int("listed", len(hashes)))
}

func beginning(h Hash) uint64 { return binary.BigEndian.Uint64(h[:8]) }

// counts are what became of lookups.
type counts struct{ found, unknown, failed, shedBySource, shedInAll atomic.Uint64 }

// Stats is what the provider holds now, and what has become of lookups since it
// was made.
type Stats struct {
	Accepted, Refused int    // keys answered from memory, approximately
	Bytes             uint64 // of the accepted ones, as counted against Cache.MaxBytes
	Evictions         uint64 // accepted ones let go for want of room
	// Lookups in the store, by what came of them.
	Found, Unknown, Failed uint64
	// Lookups that were not made, by what did not allow them.
	ShedBySource, ShedInAll uint64
	// Uses of keys that are still to be written down, and those that were given
	// up.
	PendingUses int
	LostUses    uint64
}

// Stats returns the present figures.
func (p *Provider) Stats() Stats {
	pending, lost := p.uses.stats()
	accepted := p.accepted.Stats()
	return Stats{
		Accepted: accepted.Entries, Refused: p.refused.EstimatedSize(), Bytes: accepted.Bytes, Evictions: accepted.Evictions,
		Found: p.counts.found.Load(), Unknown: p.counts.unknown.Load(), Failed: p.counts.failed.Load(),
		ShedBySource: p.counts.shedBySource.Load(), ShedInAll: p.counts.shedInAll.Load(),
		PendingUses: pending, LostUses: lost,
	}
}

// Measure returns Stats as measurements, for the metrics.
func (p *Provider) Measure() []mcpauth.Measurement {
	s := p.Stats()
	all := []mcpauth.Measurement{
		{Name: "mcpauth_apikey_cache_bytes", Help: "Bytes of accepted API keys, as counted against the bound.", Value: float64(s.Bytes)},
		{Name: "mcpauth_apikey_cache_evictions_total", Help: "Accepted API keys let go for want of room.", Counter: true, Value: float64(s.Evictions)},
		{Name: "mcpauth_apikey_uses_pending", Help: "API keys whose last use is still to be written down.", Value: float64(s.PendingUses)},
		{Name: "mcpauth_apikey_uses_lost_total", Help: "Last uses of API keys that were never written down.", Counter: true, Value: float64(s.LostUses)},
	}
	add := func(name, help, label string, counter bool, values map[string]float64) {
		for value, n := range values {
			all = append(all, mcpauth.Measurement{Name: name, Help: help, Labels: map[string]string{label: value}, Counter: counter, Value: n})
		}
	}
	add("mcpauth_apikey_cache_entries", "API keys answered from memory, approximately.", "cache", false,
		map[string]float64{"accepted": float64(s.Accepted), "refused": float64(s.Refused)})
	add("mcpauth_apikey_lookups_total", "Lookups of API keys in the store.", "result", true,
		map[string]float64{"found": float64(s.Found), "unknown": float64(s.Unknown), "failed": float64(s.Failed)})
	add("mcpauth_apikey_lookups_shed_total", "Lookups of new API keys that a limit did not allow.", "limit", true,
		map[string]float64{"source": float64(s.ShedBySource), "all": float64(s.ShedInAll)})
	return all
}
