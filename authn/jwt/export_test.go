package jwt

import (
	"net/http"
	"time"

	"github.com/mcpauth-go/mcpauth/internal/clock"
)

// Through returns f with another way to the network, for tests.
func (f Fetch) Through(transport http.RoundTripper) Fetch {
	f.transport = transport
	return f
}

// SetWall gives p a wall clock that the test sets, which nothing else may read
// meanwhile.
func (p *Provider) SetWall(wall *time.Time) {
	p.now = func() clock.Instant { return clock.Instant{Wall: *wall} }
}
