package oauth

import (
	"context"
	"time"

	"github.com/mcpauth-go/mcpauth/internal/clock"
)

// Clock is both clocks of a provider, each set by hand.
type Clock struct {
	Wall int64
	Mono time.Duration
}

// Pass moves both.
func (c *Clock) Pass(d time.Duration) {
	c.Mono += d
	c.Wall += int64(d / time.Second)
}

// Clocked gives p a clock that the test sets, which nothing else may read
// meanwhile.
func (p *Provider) Clocked() *Clock {
	c := &Clock{Wall: time.Now().Unix()}
	p.now = func() clock.Instant { return clock.Instant{Wall: time.Unix(c.Wall, 0), Mono: c.Mono} }
	return c
}

// Waiting returns how many flights wait for their turn.
func (p *Provider) Waiting() int64 { return p.waiting.Load() }

// Read reads an answer of introspection, as the provider does.
func (c Config) Read(answer []byte) error {
	c = c.withDefaults()
	_, err := c.read(answer, introspected)
	return err
}

// Judge says what becomes of a token with that answer of introspection.
func (c Config) Judge(answer []byte, wall int64) error {
	p := &Provider{config: c.withDefaults()}
	got, err := p.config.read(answer, introspected)
	if err != nil {
		return err
	}
	e := &entry{}
	if err := p.config.judge(&got, e, clock.Instant{Wall: time.Unix(wall, 0)}); err != nil {
		return err
	}
	e, err = p.admissible(answered{claims: got, answer: answer, entry: e}, "token")
	if err != nil {
		return err
	}
	return p.check(e, clock.Instant{Wall: time.Unix(wall, 0)})
}

// Discover looks for the endpoint, as a request with a new token does.
func (p *Provider) Discover(ctx context.Context) error {
	_, err := p.discover(ctx)
	return err
}

// Asking returns how many tokens are being asked about.
func (p *Provider) Asking() int { return len(p.slots) }
