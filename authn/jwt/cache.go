package jwt

import (
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/mcpauth-go/mcpauth/internal/clock"
	"github.com/mcpauth-go/mcpauth/internal/recall"
)

const (
	// entryOverhead is what an accepted token takes beside its own bytes: the
	// entry with the identity, the caches' own records, and the identity's
	// strings as far as they are of ordinaryStrings.
	entryOverhead   = 512
	ordinaryStrings = 128
)

// newEntries returns a cache of entries, each counted with the size of its token.
func newEntries(maxBytes int64, life func(*entry) time.Duration) *recall.Bounded[string, *entry] {
	return recall.NewBounded(otter.Options[string, *entry]{
		MaximumWeight: uint64(maxBytes),
		Weigher:       func(_ string, e *entry) uint32 { return e.size + entryOverhead },
		ExpiryCalculator: otter.ExpiryWritingFunc(func(o otter.Entry[string, *entry]) time.Duration {
			return max(life(o.Value), time.Millisecond)
		}),
	})
}

// accepted maps tokens to their entries.
type accepted struct {
	*recall.Bounded[string, *entry]
	ttl time.Duration
}

func newAccepted(maxBytes int64, ttl time.Duration, now func() clock.Instant) *accepted {
	return &accepted{ttl: ttl, Bounded: newEntries(maxBytes, func(e *entry) time.Duration {
		return min(ttl, e.left(now()))
	})}
}

func (a *accepted) get(token string, now clock.Instant) (*entry, bool) {
	e, ok := a.GetIfPresent(token)
	return e, ok && now.Mono < e.until
}

func (a *accepted) put(e *entry, now clock.Instant) {
	e.until = now.Mono + a.ttl
	a.Set(e.identity.Token().Reveal(), e)
}

// latest maps principals to the entry of their token that ends last.
type latest struct {
	*recall.Bounded[string, *entry]
}

func newLatest(maxBytes int64, now func() clock.Instant) *latest {
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

func (e *entry) stands() bool { return e.keys.Load().current() && !e.revoked() }

// left returns how long e can still be good.
func (e *entry) left(now clock.Instant) time.Duration {
	const longest = 365 * 24 * time.Hour
	return min(time.Duration(min(e.end-now.Unix(), int64(longest/time.Second)))*time.Second, longest)
}
