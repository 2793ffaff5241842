package oauth

import (
	"errors"
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/mcpauth-go/mcpauth"
)

const (
	// entryOverhead is what an accepted token takes beside its own bytes and
	// those of the answer: the entry with the identity, and the cache's records.
	entryOverhead = 512

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

// accepted maps tokens to their entries, each of which knows the endpoint that
// it comes from. The cache's own expiry, which follows the wall clock, only gives
// memory back; whether an entry is still good is for the entry to say.
type accepted struct {
	*bounded[string, *entry]
	ttl time.Duration
}

func newAccepted(maxBytes int64, ttl time.Duration) *accepted {
	return &accepted{ttl: ttl, bounded: newBounded(otter.Options[string, *entry]{
		MaximumWeight:    uint64(maxBytes),
		Weigher:          func(_ string, e *entry) uint32 { return e.size + entryOverhead },
		ExpiryCalculator: otter.ExpiryWriting[string, *entry](ttl),
	})}
}

func (a *accepted) get(token string, at *endpoint, now instant) (*entry, bool) {
	e, ok := a.GetIfPresent(token)
	return e, ok && e.at == at && now.mono < e.until
}

// put keeps e for the TTL from asked on, the moment before the server was asked.
func (a *accepted) put(e *entry, asked instant) {
	e.until = asked.mono + a.ttl
	a.Set(e.identity.Token().Reveal(), e)
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
	err   error
	at    *endpoint
	until time.Duration
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

func (r *refused) get(token string, at *endpoint, now instant) (error, bool) {
	known, ok := r.GetIfPresent(r.fingerprint(token))
	if !ok || known.at != at || now.mono >= known.until {
		return nil, false
	}
	return known.err, true
}

func (r *refused) put(token string, err error, at *endpoint, now instant, lasts time.Duration) {
	r.Set(r.fingerprint(token), refusal{err: err, at: at, until: now.mono + lasts})
}

// lasting returns for how long a refusal stays right: not at all where time mends
// it, or where it is another's failure.
func lasting(err error) time.Duration {
	switch mcpauth.AsError(err).Code {
	case mcpauth.ErrInactive, mcpauth.ErrMalformedToken, mcpauth.ErrWrongIssuer, mcpauth.ErrWrongAudience, mcpauth.ErrExpired:
		return refusalTTL
	}
	if f := (*failure)(nil); errors.As(err, &f) && f.ownQuota {
		return min(max(f.after, time.Second), refusalTTL)
	}
	return 0
}
