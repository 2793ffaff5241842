package credential

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/check"
)

// Config says whom a Resolver asks and how long it remembers. It is read once, by
// New. Where a field says "Default", its zero value stands for that default.
type Config struct {
	// Source is where credentials come from. Required.
	Source Source
	// TTL is how long a credential is answered from memory, at most: so late
	// does one that is exchanged or taken away at its source end. Default 5
	// minutes, at most an hour.
	TTL time.Duration
	// NotConnectedTTL is the same for a user without one. Default 10 s, at most
	// 5 minutes.
	NotConnectedTTL time.Duration
	// Timeout bounds a fetch with all its attempts, and so how long a request
	// waits. Default 5 s, at most a minute.
	Timeout time.Duration
	// MaxBytes bounds the memory of what is kept, where each credential counts
	// as its length, that of the user's token and 1 KiB. Default 32 MiB.
	MaxBytes int64
	// Revocations, if not nil, are of tokens with which nothing is fetched any
	// more, and whose credentials are forgotten: a revoke.List. Behind a
	// gateway, it is that of the gateway's Config.
	Revocations mcpauth.Revocations
	// Logger takes what happens outside of a request: sources that fail, and
	// that answer again. Default slog.Default().
	Logger *slog.Logger
}

const (
	defaultTTL             = 5 * time.Minute
	defaultNotConnectedTTL = 10 * time.Second
	defaultTimeout         = 5 * time.Second
	defaultMaxBytes        = 32 << 20
	minMaxBytes            = 1 << 20
)

func (c Config) withDefaults() Config {
	c.TTL = cmp.Or(c.TTL, defaultTTL)
	c.NotConnectedTTL = cmp.Or(c.NotConnectedTTL, defaultNotConnectedTTL)
	c.Timeout = cmp.Or(c.Timeout, defaultTimeout)
	c.MaxBytes = cmp.Or(c.MaxBytes, defaultMaxBytes)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func (c Config) faults() []mcpauth.Fault {
	var faults []mcpauth.Fault
	add := func(field, problem, expected string) {
		faults = append(faults, mcpauth.Fault{Field: field, Problem: problem, Expected: expected})
	}
	sourceFaults("Source", c.Source, add)
	for _, d := range []struct {
		field            string
		value, low, high time.Duration
	}{
		{"TTL", c.TTL, time.Second, time.Hour},
		{"NotConnectedTTL", c.NotConnectedTTL, time.Millisecond, 5 * time.Minute},
		{"Timeout", c.Timeout, 10 * time.Millisecond, time.Minute},
	} {
		if d.value < d.low || d.value > d.high {
			add(d.field, fmt.Sprintf("found %s", d.value), fmt.Sprintf("between %s and %s", d.low, d.high))
		}
	}
	if c.MaxBytes < minMaxBytes {
		add("MaxBytes", fmt.Sprintf("found %d", c.MaxBytes), "at least 1 MiB")
	}
	if check.IsNil(c.Revocations) {
		add("Revocations", fmt.Sprintf("a nil %T", c.Revocations), "a list that is open, or nil for none")
	}
	return faults
}

func sourceFaults(field string, s Source, add func(field, problem, expected string)) {
	const expected = "a source, such as one of platform.New"
	switch s := s.(type) {
	case chain:
		if len(s) == 0 {
			add(field, "an empty chain", expected)
		}
		for i, link := range s {
			sourceFaults(fmt.Sprintf("%s[%d]", field, i), link, add)
		}
	case byResource:
		if len(s) == 0 {
			add(field, "no resource type", expected)
		}
		for _, name := range slices.Sorted(maps.Keys(s)) {
			if name == "" {
				add(field, "an empty resource type", "the ResourceType of a server")
			}
			sourceFaults(fmt.Sprintf("%s[%q]", field, name), s[name], add)
		}
	default:
		if s == nil || check.IsNil(s) {
			add(field, "missing", expected)
		} else if _, one := s.(mcpauth.SingleUser); one {
			add(field, "gives every user the same credential", "one that tells users apart")
		}
	}
}
