package credential

import (
	"time"

	"github.com/mcpauth-go/mcpauth/internal/clock"
)

// PutWallClock puts the wall clock forward, or back.
func (r *Resolver) PutWallClock(by time.Duration) { r.put(by, 0) }

// Pass puts both clocks forward.
func (r *Resolver) Pass(by time.Duration) { r.put(by, by) }

func (r *Resolver) put(wall, mono time.Duration) {
	before := r.now
	r.now = func() clock.Instant {
		now := before()
		return clock.Instant{Wall: now.Wall.Add(wall), Mono: now.Mono + mono}
	}
}

// Settled returns Stats once the caches have let go what is too much.
func (r *Resolver) Settled() Stats {
	r.cache.entries.CleanUp()
	r.cache.links.CleanUp()
	return r.Stats()
}

// Remembered returns how many failures are remembered, and how many questions that
// a source has failed at.
func (r *Resolver) Remembered() (failures, troubled int) {
	r.cache.failures.CleanUp()
	for _, g := range r.guards {
		g.mu.Lock()
		troubled += len(g.troubled)
		g.mu.Unlock()
	}
	return r.cache.failures.EstimatedSize(), troubled
}
