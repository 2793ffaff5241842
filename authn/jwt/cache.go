package jwt

import (
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

const (
	// entryOverhead is what an accepted token takes beside its own bytes: the
	// entry with the identity, the caches' own records, and the identity's
	// strings as far as they are of ordinaryStrings.
	entryOverhead   = 512
	ordinaryStrings = 128

	refusalTTL  = 10 * time.Second
	maxRefusals = 8192
)

// bounded is a cache that counts the entries it had no room for.
type bounded[K comparable, V any] struct {
	*otter.Cache[K, V]
	evictions atomic.Uint64
}

func newBounded[K comparable, V any](o otter.Options[K, V]) *bounded[K, V] {
	b := &bounded[K, V]{}
	o.OnAtomicDeletion = func(e otter.DeletionEvent[K, V]) {
		if e.Cause == otter.CauseOverflow {
			b.evictions.Add(1)
		}
	}
	b.Cache = otter.Must(&o)
	return b
}

func (b *bounded[K, V]) stats() CacheStats {
	s := CacheStats{Entries: b.EstimatedSize(), Evictions: b.evictions.Load()}
	if b.IsWeighted() {
		s.Bytes = b.WeightedSize()
	}
	return s
}

// entries is a cache of entries, each counted with the size of its token. The
// cache's own expiry, which follows the wall clock, only gives memory back;
// whether an entry is still good is for the entry to say.
func newEntries(maxBytes int64, life func(*entry) time.Duration) *bounded[string, *entry] {
	return newBounded(otter.Options[string, *entry]{
		MaximumWeight: uint64(maxBytes),
		Weigher:       func(_ string, e *entry) uint32 { return e.size + entryOverhead },
		ExpiryCalculator: otter.ExpiryWritingFunc(func(o otter.Entry[string, *entry]) time.Duration {
			return max(life(o.Value), time.Millisecond)
		}),
	})
}

// accepted maps tokens to their entries.
type accepted struct {
	*bounded[string, *entry]
	ttl time.Duration
}

func newAccepted(maxBytes int64, ttl time.Duration, now func() instant) *accepted {
	return &accepted{ttl: ttl, bounded: newEntries(maxBytes, func(e *entry) time.Duration {
		return min(ttl, e.left(now()))
	})}
}

func (a *accepted) get(token string, now instant) (*entry, bool) {
	e, ok := a.GetIfPresent(token)
	return e, ok && now.mono < e.until
}

func (a *accepted) put(e *entry, now instant) {
	e.until = now.mono + a.ttl
	a.Set(e.identity.Token().Reveal(), e)
}

// latest maps principals to the entry of their token that ends last.
type latest struct{ *bounded[string, *entry] }

func newLatest(maxBytes int64, now func() instant) *latest {
	return &latest{newEntries(maxBytes, func(e *entry) time.Duration { return e.left(now()) })}
}

func (l *latest) put(e *entry) {
	principal := e.identity.Principal()
	if present, ok := l.GetEntryQuietly(principal); ok && !e.outlasts(present.Value) {
		return
	}
	l.Compute(principal, func(present *entry, found bool) (*entry, otter.ComputeOp) {
		if found && !e.outlasts(present) {
			return present, otter.CancelOp
		}
		return e, otter.WriteOp
	})
}

// outlasts reports whether e is to be preferred to other: a token of keys that
// are gone is worth nothing, nor is a revoked one.
func (e *entry) outlasts(other *entry) bool {
	return e.stands() && (e.end > other.end || !other.stands())
}

func (e *entry) stands() bool { return e.keys.current() && !e.revoked() }

// left returns how long e can still be good.
func (e *entry) left(now instant) time.Duration {
	const longest = 365 * 24 * time.Hour
	return min(time.Duration(min(e.end-now.wall, int64(longest/time.Second)))*time.Second, longest)
}

// refused remembers refusals under a keyed hash of the token, which strangers
// can neither fill with tokens of their choice nor read tokens out of.
type refused struct {
	*bounded[fingerprint, refusal]
	seeds [2]maphash.Seed
}

// fingerprint is 128 bits under two seeds that exist in this process only.
type fingerprint [2]uint64

type refusal struct {
	err        error
	generation uint64 // of the keys
	until      time.Duration
}

func newRefused() *refused {
	return &refused{
		seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		bounded: newBounded(otter.Options[fingerprint, refusal]{
			MaximumSize:      maxRefusals,
			ExpiryCalculator: otter.ExpiryWriting[fingerprint, refusal](refusalTTL),
		}),
	}
}

func (r *refused) fingerprint(token string) fingerprint {
	return fingerprint{maphash.String(r.seeds[0], token), maphash.String(r.seeds[1], token)}
}

func (r *refused) get(token string, generation uint64, now instant) (error, bool) {
	known, ok := r.GetIfPresent(r.fingerprint(token))
	if !ok || known.generation != generation || now.mono >= known.until {
		return nil, false
	}
	return known.err, true
}

func (r *refused) put(token string, err error, generation uint64, now instant) {
	r.Set(r.fingerprint(token), refusal{err: err, generation: generation, until: now.mono + refusalTTL})
}
