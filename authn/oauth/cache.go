package oauth

import (
	"errors"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/clock"
	"github.com/mcpauth-go/mcpauth/internal/recall"
)

// entryOverhead is what an accepted token takes beside its own bytes and those of
// the answer: the entry with the identity, and the cache's records.
const entryOverhead = 512

// accepted maps tokens to their entries, each of which knows the endpoint that
// it comes from.
type accepted struct {
	*recall.Bounded[string, *entry]
	ttl time.Duration
}

func newAccepted(maxBytes int64, ttl time.Duration) *accepted {
	return &accepted{ttl: ttl, Bounded: recall.NewBounded(otter.Options[string, *entry]{
		MaximumWeight:    uint64(maxBytes),
		Weigher:          func(_ string, e *entry) uint32 { return e.size + entryOverhead },
		ExpiryCalculator: otter.ExpiryWriting[string, *entry](ttl),
	})}
}

func (a *accepted) get(token string, at *endpoint, now clock.Instant) (*entry, bool) {
	e, ok := a.GetIfPresent(token)
	return e, ok && e.at == at && now.Mono < e.until
}

// put keeps e for the TTL from asked on, the moment before the server was asked.
func (a *accepted) put(e *entry, asked clock.Instant) {
	e.until = asked.Mono + a.ttl
	a.Set(e.identity.Token().Reveal(), e)
}

// lasting returns for how long a refusal stays right: not at all where time mends
// it, or where it is another's failure.
func lasting(err error) time.Duration {
	switch mcpauth.AsError(err).Code {
	case mcpauth.ErrInactive, mcpauth.ErrMalformedToken, mcpauth.ErrWrongIssuer, mcpauth.ErrWrongAudience, mcpauth.ErrExpired:
		return recall.RefusalTTL
	}
	if f := (*failure)(nil); errors.As(err, &f) && f.ownQuota {
		return min(max(f.after, time.Second), recall.RefusalTTL)
	}
	return 0
}
