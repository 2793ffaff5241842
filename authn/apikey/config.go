package apikey

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/check"
)

// DefaultIssuer is the issuer of identities unless Config says otherwise.
const DefaultIssuer = "urn:mcpauth:apikey"

// Config says which keys a Provider takes. It is read once, by New.
type Config struct {
	// Store is where keys are looked up. Required. It stays the caller's, who
	// closes it after the Provider.
	Store Store
	// Issuer is the issuer of the identities, which tells these users from those
	// of others. Default DefaultIssuer.
	Issuer string
	// Prefix is how keys begin. Default "sk_".
	Prefix string
	// Cache says how results are kept.
	Cache Cache
	// Timeout bounds one look into the store. Default 5 s.
	Timeout time.Duration
	// WrongKeys says how many keys that nobody knows are looked up.
	WrongKeys WrongKeys
	// UseInterval is how often it is written down which keys were used. Default
	// 30 s.
	UseInterval time.Duration
	// ReloadInterval is how often a File is read again. Default 10 s.
	ReloadInterval time.Duration
	// Revocations, if not nil, are of keys, by their ids, and of users that are
	// refused with ErrRevoked from the moment on at which they are revoked: a
	// revoke.List. Behind a gateway, it is that of the gateway's Config.
	Revocations mcpauth.Revocations
	// Logger takes what happens outside of a request. Default slog.Default().
	Logger *slog.Logger
}

// Cache says how results are kept.
type Cache struct {
	// TTL is how long a key is answered from memory: never past its expiry, and
	// for the store's own changes not at all. It bounds how long a change by
	// another process goes unseen. Default 5 minutes, at most an hour.
	TTL time.Duration
	// MaxBytes bounds the memory of good keys, of about a KiB each. Default
	// 64 MiB.
	MaxBytes int64
}

// WrongKeys says how many keys that this provider has not seen before are looked
// up in the store. Keys that it has seen to be good, or that a store which can
// list its keys has, are not counted.
type WrongKeys struct {
	// BySource bounds the wrong ones of one source, beyond which new keys from
	// there get ErrRateLimited. Default 100 in 10 s.
	BySource Rate
	// InAll bounds the new ones, right or wrong, from everywhere, beyond which
	// they get ErrUnavailable. Default 2000 in 10 s.
	InAll Rate
	// Source says where a request comes from; "" for not known, which is not
	// bounded by source. Default: the address of the connection, for IPv6 its
	// network of 64 bits. Behind a proxy, that is the proxy's.
	Source func(*mcpauth.Request) string
}

const (
	defaultTTL            = 5 * time.Minute
	maxTTL                = time.Hour
	defaultMaxBytes       = 64 << 20
	minMaxBytes           = 1 << 20
	defaultTimeout        = 5 * time.Second
	defaultUseInterval    = 30 * time.Second
	defaultReloadInterval = 10 * time.Second
)

var (
	defaultBySource = Rate{Requests: 100, Per: 10 * time.Second}
	defaultInAll    = Rate{Requests: 2000, Per: 10 * time.Second}
)

func (c Config) withDefaults() Config {
	c.Issuer = cmp.Or(c.Issuer, DefaultIssuer)
	c.Prefix = cmp.Or(c.Prefix, defaultPrefix)
	c.Cache.TTL = cmp.Or(c.Cache.TTL, defaultTTL)
	c.Cache.MaxBytes = cmp.Or(c.Cache.MaxBytes, defaultMaxBytes)
	c.Timeout = cmp.Or(c.Timeout, defaultTimeout)
	c.WrongKeys.BySource = cmp.Or(c.WrongKeys.BySource, defaultBySource)
	c.WrongKeys.InAll = cmp.Or(c.WrongKeys.InAll, defaultInAll)
	c.UseInterval = cmp.Or(c.UseInterval, defaultUseInterval)
	c.ReloadInterval = cmp.Or(c.ReloadInterval, defaultReloadInterval)
	if c.WrongKeys.Source == nil {
		c.WrongKeys.Source = sourceOf
	}
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
	within := func(field string, value, low, high time.Duration) {
		if value < low || value > high {
			add(field, fmt.Sprintf("found %s", value), fmt.Sprintf("between %s and %s", low, high))
		}
	}
	if c.Store == nil || check.IsNil(c.Store) {
		add("Store", "missing", "where keys are looked up, such as sqlite.Open or a LookupFunc")
	}
	if text := badText(c.Issuer); text != "" {
		add("Issuer", text, fmt.Sprintf("a name, such as %q", DefaultIssuer))
	}
	if text := prefixFault(c.Prefix); text != "" {
		add("Prefix", text, prefixExpected)
	}
	within("Cache.TTL", c.Cache.TTL, time.Millisecond, maxTTL)
	if c.Cache.MaxBytes < minMaxBytes {
		add("Cache.MaxBytes", fmt.Sprintf("found %d", c.Cache.MaxBytes), "at least 1 MiB")
	}
	within("Timeout", c.Timeout, time.Millisecond, time.Minute)
	for _, r := range []struct {
		field string
		rate  Rate
	}{{"WrongKeys.BySource", c.WrongKeys.BySource}, {"WrongKeys.InAll", c.WrongKeys.InAll}} {
		if text := r.rate.fault(); text != "" {
			add(r.field, text, rateExpected)
		}
	}
	within("UseInterval", c.UseInterval, time.Millisecond, 24*time.Hour)
	within("ReloadInterval", c.ReloadInterval, time.Millisecond, 24*time.Hour)
	if c.Revocations != nil && check.IsNil(c.Revocations) {
		add("Revocations", fmt.Sprintf("a nil %T", c.Revocations), "a list that is open, or nil for none")
	}
	return faults
}

// sourceOf returns the address that a request comes from. A host has a whole
// network of 64 bits to choose IPv6 addresses from.
func sourceOf(r *mcpauth.Request) string {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	addr := from.Addr().Unmap().WithZone("")
	if addr.Is6() {
		network, _ := addr.Prefix(64)
		addr = network.Addr()
	}
	return addr.String()
}
