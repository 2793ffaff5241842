// Package recall is what providers keep of the credentials that they have judged:
// bounded caches, and refusals under a hash that strangers cannot steer.
package recall

import (
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/mcpauth-go/mcpauth/internal/clock"
)

// Bounded is a cache that counts the entries it had no room for. Its own expiry
// follows the wall clock and only gives memory back: whether an entry is still good
// is for the entry to say.
type Bounded[K comparable, V any] struct {
	*otter.Cache[K, V]
	evictions atomic.Uint64
}

// NewBounded returns a cache with these options.
func NewBounded[K comparable, V any](o otter.Options[K, V]) *Bounded[K, V] {
	b := &Bounded[K, V]{}
	then := o.OnAtomicDeletion
	o.OnAtomicDeletion = func(e otter.DeletionEvent[K, V]) {
		if e.Cause == otter.CauseOverflow {
			b.evictions.Add(1)
		}
		if then != nil {
			then(e)
		}
	}
	b.Cache = otter.Must(&o)
	return b
}

// Stats is what a cache holds, and what it had no room for.
type Stats struct {
	Entries   int
	Bytes     uint64 // 0 when it is bounded by entries alone
	Evictions uint64
}

// Stats returns the present counts.
func (b *Bounded[K, V]) Stats() Stats {
	s := Stats{Entries: b.EstimatedSize(), Evictions: b.evictions.Load()}
	if b.IsWeighted() {
		s.Bytes = b.WeightedSize()
	}
	return s
}

const (
	// RefusalTTL is how long a refusal is remembered at most.
	RefusalTTL = 10 * time.Second
	// MaxRefusals is how many are remembered at most.
	MaxRefusals = 8192
)

// Refused remembers refusals under a keyed hash of the token, which strangers can
// neither fill with tokens of their choice nor read tokens out of. A refusal holds
// under one basis B alone, such as a generation of the keys it was judged by.
type Refused[B comparable] struct {
	*Bounded[fingerprint, refusal[B]]
	seeds [2]maphash.Seed
}

// fingerprint is 128 bits under two seeds that exist in this process only.
type fingerprint [2]uint64

type refusal[B comparable] struct {
	err   error
	basis B
	until time.Duration
}

// NewRefused returns an empty one.
func NewRefused[B comparable]() *Refused[B] {
	return &Refused[B]{
		seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		Bounded: NewBounded(otter.Options[fingerprint, refusal[B]]{
			MaximumSize:      MaxRefusals,
			ExpiryCalculator: otter.ExpiryWriting[fingerprint, refusal[B]](RefusalTTL),
		}),
	}
}

func (r *Refused[B]) fingerprint(token string) fingerprint {
	return fingerprint{maphash.String(r.seeds[0], token), maphash.String(r.seeds[1], token)}
}

// Get returns why token has been refused on that basis, if it is remembered.
func (r *Refused[B]) Get(token string, basis B, now clock.Instant) (error, bool) {
	known, ok := r.GetIfPresent(r.fingerprint(token))
	if !ok || known.basis != basis || now.Mono >= known.until {
		return nil, false
	}
	return known.err, true
}

// Put remembers for that long, RefusalTTL at most, why token is refused.
func (r *Refused[B]) Put(token string, err error, basis B, now clock.Instant, lasts time.Duration) {
	r.Set(r.fingerprint(token), refusal[B]{err: err, basis: basis, until: now.Mono + min(lasts, RefusalTTL)})
}
