package assertion

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/check"
	"github.com/mcpauth-go/mcpauth/internal/outbound"
)

// Config says what a Signer signs. It is read once, by New.
type Config struct {
	// Issuer is the "iss": this server's public URL. Required.
	Issuer string
	// Audiences are the servers that tokens may be for, each by the exact "aud"
	// that it expects. There are none for others. Required.
	Audiences []string
	// SubjectIssuer is the one issuer whose users there are tokens for, by their
	// user id as it is in "sub". Tenants are not for it. Default: there are tokens
	// for users of every issuer, and "sub" is a hash of issuer, user id and tenant.
	SubjectIssuer string
	// Lifetime is how long a token is good. Default a minute, at least 10 s, at
	// most 5 minutes.
	Lifetime time.Duration

	// RotationInterval is how long a key signs that this package has made.
	// Default 24 h; at least 15 minutes, at most 90 days.
	RotationInterval time.Duration
	// KeyFile has the private keys, instead of keys made here: PEM or a JWK Set.
	// The first one signs, and all are published. To rotate: add the new key at
	// the end, move it to the front after 5 minutes or more, and remove the old
	// one 10 minutes after that or later.
	KeyFile string
	// ReloadInterval is how often KeyFile is read again after Start. Default
	// 10 s.
	ReloadInterval time.Duration

	// Logger takes what happens to the keys. Default slog.Default().
	Logger *slog.Logger
}

const (
	defaultLifetime         = time.Minute
	minLifetime             = 10 * time.Second
	maxLifetime             = 5 * time.Minute
	defaultRotationInterval = 24 * time.Hour
	minRotationInterval     = 15 * time.Minute
	maxRotationInterval     = 90 * 24 * time.Hour
	defaultReloadInterval   = 10 * time.Second

	// maxAge is how long the set may be kept. A key is published three times as
	// long, at least, before it signs.
	maxAge = 5 * time.Minute
	// grace is how long after the end of what it has signed a key stays
	// published, for clocks that differ and requests on their way.
	grace = 5 * time.Minute
)

func (c Config) withDefaults() Config {
	c.Audiences = slices.Clone(c.Audiences)
	c.Lifetime = cmp.Or(c.Lifetime, defaultLifetime)
	c.RotationInterval = cmp.Or(c.RotationInterval, defaultRotationInterval)
	c.ReloadInterval = cmp.Or(c.ReloadInterval, defaultReloadInterval)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// faults returns everything that is wrong with c, apart from its keys.
func (c Config) faults() []mcpauth.Fault {
	var faults []mcpauth.Fault
	add := func(field, problem, expected string) {
		faults = append(faults, mcpauth.Fault{Field: field, Problem: problem, Expected: expected})
	}
	const public = `this server's public URL, such as "https://mcp.example.com"`
	if err := outbound.CheckURL(c.Issuer, nil); err != nil {
		add("Issuer", err.Error(), public)
	} else if strings.Contains(c.Issuer, "?") {
		add("Issuer", "the URL has a query", public)
	}
	if len(c.Audiences) == 0 {
		add("Audiences", "empty", "the servers that tokens are for")
	}
	for i, audience := range c.Audiences {
		field := fmt.Sprintf("Audiences[%d]", i)
		if problem := check.Text(audience); problem != "" {
			add(field, problem, `the exact "aud" that the server expects`)
		} else if j := slices.Index(c.Audiences, audience); j < i {
			add(field, fmt.Sprintf("%q is Audiences[%d] too", audience, j), "each server once")
		}
	}
	if c.SubjectIssuer != "" {
		if problem := check.Text(c.SubjectIssuer); problem != "" {
			add("SubjectIssuer", problem, `the exact "iss" of the users' tokens, or none`)
		}
	}
	for _, d := range []struct {
		field            string
		value, low, high time.Duration
	}{
		{"Lifetime", c.Lifetime, minLifetime, maxLifetime},
		{"RotationInterval", c.RotationInterval, minRotationInterval, maxRotationInterval},
		{"ReloadInterval", c.ReloadInterval, time.Second, maxAge},
	} {
		if d.value < d.low || d.value > d.high {
			add(d.field, fmt.Sprintf("found %s", d.value), fmt.Sprintf("between %s and %s", d.low, d.high))
		}
	}
	if c.Lifetime%time.Second != 0 {
		add("Lifetime", fmt.Sprintf("found %s", c.Lifetime), "whole seconds, as tokens are dated")
	}
	return faults
}
