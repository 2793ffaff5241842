package credential

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/clock"
	"github.com/mcpauth-go/mcpauth/internal/recall"
)

// overhead is what an entry takes beside credential and token: the entry, the
// identity with its strings, and the caches' own records.
const overhead = 1 << 10

// until returns how far away t is on the wall clock; for ever if it is zero.
func until(t time.Time, now clock.Instant) time.Duration {
	if t.IsZero() {
		return math.MaxInt64
	}
	return t.Round(0).Sub(now.Wall)
}

// entry is what the cache has under a key. It is good as long as it is there:
// whatever takes it away, room, time or Invalidate, empties it, and with it every
// link to it.
type entry struct {
	key  key
	held atomic.Pointer[held]
}

// held is what has become of one fetch.
type held struct {
	credential *mcpauth.Credential // nil: the user has none
	id         *mcpauth.Identity   // with which it was fetched
	resource   string
	end        time.Time     // of the credential or the token, by the wall clock; zero for none
	last       time.Duration // until when it may be used at all
	forcedAt   time.Duration // when a rejection last led to a fetch of this key

	// fresh is until when it is answered without asking, and ahead from when on
	// asking begins in the background. Both move.
	fresh, ahead atomic.Int64
	// failing says that the source has not answered since ahead.
	failing atomic.Bool
	// forced says that this credential has been fetched anew for a rejection, or
	// will be: once is enough.
	forced atomic.Bool
}

// good reports whether h may be used at all.
func (h *held) good(now clock.Instant) bool {
	return h != nil && now.Mono < h.last && (h.end.IsZero() || now.Wall.Before(h.end))
}

func (h *held) isFresh(now clock.Instant) bool { return int64(now.Mono) < h.fresh.Load() }

func (h *held) weight() uint32 {
	size := overhead + len(h.id.Token().Reveal())
	if h.credential != nil {
		size += len(h.credential.Token.Reveal())
	}
	return uint32(min(size, math.MaxInt32))
}

// never is when nothing has been forced yet.
const never = time.Duration(math.MinInt64 / 2)

// hold returns what is to be kept of a fetch with id that began at began.
func (c Config) hold(id *mcpauth.Identity, resource string, credential *mcpauth.Credential, began clock.Instant) *held {
	h := &held{credential: credential, id: id, resource: resource, end: id.Expiry(), forcedAt: never}
	// All times count from when the question was asked: the answer is no younger.
	life, last := c.TTL, 2*c.TTL
	switch {
	case credential == nil:
		life = c.NotConnectedTTL
		last = life // that somebody has no account is nothing to go on with
	case !credential.Expiry.IsZero():
		last = until(credential.Expiry, began)
		if h.end.IsZero() || credential.Expiry.Before(h.end) {
			h.end = credential.Expiry
		}
	}
	h.end = h.end.Round(0)
	last = min(last, until(id.Expiry(), began))
	life = min(life, last)
	h.last = plus(began.Mono, last)
	h.fresh.Store(int64(plus(began.Mono, life)))
	h.ahead.Store(math.MaxInt64)
	if credential != nil {
		h.ahead.Store(int64(plus(began.Mono, life-life/5)))
	}
	return h
}

func plus(a, b time.Duration) time.Duration {
	if b > math.MaxInt64-a {
		return math.MaxInt64
	}
	return a + b
}

// link leads from an identity to an entry. Providers give one identity for one
// cached token, so that most requests need not decode a token to find theirs.
type link struct {
	*entry
	// epoch is the last one of revocations in which the identity was asked about.
	epoch uint32
}

// near is the key of a link. That the identity is in it keeps its address from
// being another's.
type near struct {
	id       *mcpauth.Identity
	resource string
}

// maxFailures bounds how many failures are remembered.
const maxFailures = 4096

// failure is what is remembered of a fetch that has failed.
type failure struct {
	issuer, userID, resource string
	err                      error
	until                    time.Duration // it is answered with
	again                    time.Duration // the source wants to be asked
}

// failure returns what a request is answered with whose fetch has just failed, or
// nil.
func (k *cache) failure(of key, now clock.Instant) error {
	f, ok := k.failures.GetIfPresent(of)
	if !ok || now.Mono >= f.until {
		return nil
	}
	e := answer(f.err)
	if e.Code == mcpauth.ErrUnavailable {
		e.RetryAfter = f.again - now.Mono
	}
	return e
}

// cache is both levels, and what has failed.
type cache struct {
	links    *recall.Bounded[near, *link]
	entries  *recall.Bounded[key, *entry]
	failures *otter.Cache[key, *failure]
}

func newCache(c Config, now func() clock.Instant) *cache {
	k := &cache{}
	const longest = 365 * 24 * time.Hour
	left := func(until time.Duration) time.Duration { return min(max(until-now().Mono, time.Millisecond), longest) }
	// The caches' own expiry only gives memory back: whether an entry is good is
	// for the entry to say.
	k.entries = recall.NewBounded(otter.Options[key, *entry]{
		MaximumWeight: uint64(c.MaxBytes) / 2,
		Weigher: func(_ key, e *entry) uint32 {
			if h := e.held.Load(); h != nil {
				return h.weight()
			}
			return overhead
		},
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[key, *entry]) time.Duration {
			if h := e.Value.held.Load(); h != nil {
				return left(h.last)
			}
			return time.Millisecond
		}),
		OnAtomicDeletion: func(e otter.DeletionEvent[key, *entry]) { e.Value.held.Store(nil) },
	})
	k.links = recall.NewBounded(otter.Options[near, *link]{
		MaximumWeight:    uint64(c.MaxBytes) / 2,
		Weigher:          func(n near, _ *link) uint32 { return uint32(overhead/2 + len(n.id.Token().Reveal())) },
		ExpiryCalculator: otter.ExpiryWriting[near, *link](c.TTL),
	})
	k.failures = otter.Must(&otter.Options[key, *failure]{
		MaximumSize:      maxFailures,
		ExpiryCalculator: otter.ExpiryWriting[key, *failure](rememberedAtMost),
	})
	return k
}

func (k *cache) clear() {
	k.failures.InvalidateAll()
	k.links.InvalidateAll()
	k.entries.InvalidateAll()
}

func (k *cache) stop() {
	k.links.StopAllGoroutines()
	k.entries.StopAllGoroutines()
	k.failures.StopAllGoroutines()
}

// dropping takes e out of the cache, unless another has taken its place, and
// counts it.
func dropping(e *entry, n *int) func(*entry) (*entry, otter.ComputeOp) {
	return func(present *entry) (*entry, otter.ComputeOp) {
		if present != e {
			return present, otter.CancelOp
		}
		*n++
		return nil, otter.InvalidateOp
	}
}
