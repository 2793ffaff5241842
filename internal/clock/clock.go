// Package clock tells the time on two scales, for what is dated by one and kept by
// the other.
package clock

import "time"

// Instant is a moment on both clocks: the wall clock, by which tokens and credentials
// are dated, and the monotonic one, by which results are kept, so that a wall clock
// that is put back makes nothing live longer.
type Instant struct {
	Wall time.Time     // without a monotonic reading
	Mono time.Duration // since the clock was started
}

// Unix returns the wall clock's whole seconds since 1970, as NumericDate counts.
func (i Instant) Unix() int64 { return i.Wall.Unix() }

// Start returns a clock that starts now. It is safe for concurrent use.
func Start() func() Instant {
	epoch := time.Now()
	return func() Instant {
		t := time.Now()
		return Instant{t.Round(0), t.Sub(epoch)}
	}
}
