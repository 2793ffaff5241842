package jwt

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/check"
	"github.com/mcpauth-go/mcpauth/internal/jws"
)

// Algorithm is a signature algorithm by its registered name.
type Algorithm = jws.Algorithm

// The supported algorithms. "none" is not among them and never will be.
const (
	HS256 = jws.HS256
	HS384 = jws.HS384
	HS512 = jws.HS512
	RS256 = jws.RS256
	RS384 = jws.RS384
	RS512 = jws.RS512
	PS256 = jws.PS256
	PS384 = jws.PS384
	PS512 = jws.PS512
	ES256 = jws.ES256
	ES384 = jws.ES384
	ES512 = jws.ES512
	EdDSA = jws.EdDSA // Ed25519
)

// Config says which tokens a Provider takes. It is read once, by New.
type Config struct {
	// Issuers are those whose tokens are taken; at least one. A token is
	// checked against the one issuer that its "iss" names exactly.
	Issuers []Issuer
	// MaxTokenSize bounds a token, in bytes. Default 16 KiB.
	MaxTokenSize int
	// Cache says how results are kept.
	Cache Cache
	// ReloadInterval is how often files are read again after Start, so that
	// keys and secrets are rotated without a restart. Default 10 s.
	ReloadInterval time.Duration
	// Fetch says how keys are fetched, for issuers with JWKSURL, Discover or
	// DiscoverAt.
	Fetch Fetch
	// Revocations, if not nil, are of tokens that are refused with ErrRevoked,
	// from the moment on at which they are revoked, cached or not: a
	// revoke.List. Behind a gateway, it is that of the gateway's Config.
	Revocations mcpauth.Revocations
	// Logger takes what happens outside of a request: start, reloads, close.
	// Default slog.Default().
	Logger *slog.Logger
}

// Issuer is one issuer of tokens.
type Issuer struct {
	// Name is the exact "iss". Required. With Tenants, it has "{tenant}" once,
	// in the place where the tenant is, as in
	// "https://login.microsoftonline.com/{tenant}/v2.0".
	Name string
	// Tenants lists the tenants of an issuer that has an "iss" for each and one
	// set of keys for all. Tokens of others are refused. An identity's Issuer is
	// the token's own "iss". Discover cannot be used then, since each tenant has
	// metadata of its own; DiscoverAt takes the metadata of all, whose "issuer"
	// must be Name with "{tenantid}" in place of "{tenant}". A key of which the
	// set says that it is one tenant's, by an "issuer", serves that one only.
	// Default: Name is the only one.
	Tenants []string
	// Audience lists the values of which a token's "aud" must have one:
	// usually this server's resource identifier (RFC 8707). Required unless
	// AnyAudience is set.
	Audience []string
	// AnyAudience takes tokens that were issued for whatever other server of
	// the issuer, and lets those servers reuse their users' tokens here.
	AnyAudience bool
	// AudienceClaim is the claim that holds the audience, for issuers that
	// write none into "aud". Default "aud".
	AudienceClaim string
	// Keys are where the issuer's keys come from; at least one. Several
	// serve at once, as during a rotation. JWKSURL, Discover and DiscoverAt
	// each stand alone.
	Keys []KeySource
	// Algorithms are those taken. Default: those of the keys. A key that
	// names no algorithm gets the one listed here that fits its type (of
	// fetched keys, the first one), or HS256, RS256, the one of its curve, or
	// EdDSA. Fetched keys never serve HS256 and its like.
	Algorithms []Algorithm
	// UserIDClaim is the one claim that holds the user's id. Default "sub"
	// with fetched keys, else "userId". There is no second choice: a fallback
	// would let one user's "sub" equal another's "userId".
	UserIDClaim string
	// TenantClaim is the claim that holds the user's tenant, such as "tid" of
	// Entra ID, for issuers that tell their users apart within a tenant only. It
	// is required then in each token, and with Tenants must be the one that "iss"
	// names. Default: none, and identities without a tenant.
	TenantClaim string
	// TokenIDClaim is the claim by which a revocation names a token. Default
	// "jti"; Entra ID has "uti". A token without it is named by a hash: see the
	// function TokenID.
	TokenIDClaim string
	// SessionIDClaim is the claim by which a revocation names the issuer's
	// session that a token belongs to. Default "sid".
	SessionIDClaim string
	// RequireType refuses tokens without "typ" in their header. With it or
	// without, a "typ" must be JWT or at+jwt.
	RequireType bool
	// ExpiryLeeway is how long after "exp" a token still passes, for clocks
	// that differ. Default 0, at most 5 minutes.
	ExpiryLeeway time.Duration
	// ClockTolerance is how far "nbf" and "iat" may lie in the future.
	// Default 60 s, at most 5 minutes; negative for none.
	ClockTolerance time.Duration
	// MaxLifetime ends a token that long after its "iat", which is required
	// then, whatever its "exp". Default 0: no such end.
	MaxLifetime time.Duration
	// AllowMissingExpiry takes tokens without "exp". It needs MaxLifetime.
	AllowMissingExpiry bool
	// AllowBoundTokens takes tokens with "cnf", which the issuer bound to a
	// key of the client's, as bearer tokens: without the proof that they ask
	// for.
	AllowBoundTokens bool
}

// Cache says how results are kept.
type Cache struct {
	// Off verifies every token anew, accepted ones and refused ones.
	Off bool
	// TTL is how long an accepted token is answered from memory, which is
	// never longer than its own life. Default 60 s, at most an hour.
	TTL time.Duration
	// MaxBytes bounds the memory of accepted tokens, each counted as its
	// length and 512 bytes. Default 64 MiB.
	MaxBytes int64
	// RefusalsOff verifies refused tokens anew. By default, refusals that
	// cannot change by themselves are remembered for 10 s, apart from the
	// accepted tokens, which they can never push out.
	RefusalsOff bool
}

const (
	defaultMaxTokenSize   = 16 << 10
	defaultTTL            = 60 * time.Second
	maxTTL                = time.Hour
	defaultMaxBytes       = 64 << 20
	minMaxBytes           = 1 << 20
	defaultTolerance      = 60 * time.Second
	maxTolerance          = 5 * time.Minute
	defaultReloadInterval = 10 * time.Second
	defaultUserIDClaim    = "userId"
	defaultAudienceClaim  = "aud"
	defaultTokenIDClaim   = "jti"
	defaultSessionIDClaim = "sid"
)

// withDefaults returns a copy of c that shares nothing that the caller could
// change, with every default filled in.
func (c Config) withDefaults() Config {
	c.MaxTokenSize = cmp.Or(c.MaxTokenSize, defaultMaxTokenSize)
	c.Cache.TTL = cmp.Or(c.Cache.TTL, defaultTTL)
	c.Cache.MaxBytes = cmp.Or(c.Cache.MaxBytes, defaultMaxBytes)
	c.ReloadInterval = cmp.Or(c.ReloadInterval, defaultReloadInterval)
	c.Fetch = c.Fetch.withDefaults()
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.Issuers = slices.Clone(c.Issuers)
	for i := range c.Issuers {
		iss := &c.Issuers[i]
		iss.Audience = slices.Clone(iss.Audience)
		iss.Tenants = slices.Clone(iss.Tenants)
		iss.Keys = slices.Clone(iss.Keys)
		iss.Algorithms = slices.Clone(iss.Algorithms)
		for j, alg := range iss.Algorithms {
			if known, ok := jws.ParseAlgorithm(string(alg)); ok {
				iss.Algorithms[j] = known // "Ed25519" is EdDSA
			}
		}
		iss.AudienceClaim = cmp.Or(iss.AudienceClaim, defaultAudienceClaim)
		if iss.fetches() {
			iss.UserIDClaim = cmp.Or(iss.UserIDClaim, "sub")
		}
		iss.UserIDClaim = cmp.Or(iss.UserIDClaim, defaultUserIDClaim)
		iss.TokenIDClaim = cmp.Or(iss.TokenIDClaim, defaultTokenIDClaim)
		iss.SessionIDClaim = cmp.Or(iss.SessionIDClaim, defaultSessionIDClaim)
		iss.ClockTolerance = max(cmp.Or(iss.ClockTolerance, defaultTolerance), 0)
	}
	return c
}

// faults returns everything that is wrong with c, apart from its keys.
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
	if c.MaxTokenSize < 256 || c.MaxTokenSize > 1<<20 {
		add("MaxTokenSize", fmt.Sprintf("found %d", c.MaxTokenSize), "between 256 bytes and 1 MiB")
	}
	within("Cache.TTL", c.Cache.TTL, time.Millisecond, maxTTL)
	if c.Cache.MaxBytes < minMaxBytes {
		add("Cache.MaxBytes", fmt.Sprintf("found %d", c.Cache.MaxBytes), "at least 1 MiB")
	}
	within("ReloadInterval", c.ReloadInterval, time.Millisecond, 24*time.Hour)
	faults = append(faults, c.Fetch.faults()...)
	if check.IsNil(c.Revocations) {
		add("Revocations", fmt.Sprintf("a nil %T", c.Revocations), "a list that is open, or nil for none")
	}
	if len(c.Issuers) == 0 {
		add("Issuers", "empty", "at least one issuer")
	}
	seen := map[string]int{}
	for i, iss := range c.Issuers {
		at := func(field string) string { return fmt.Sprintf("Issuers[%d].%s", i, field) }
		if text := check.Text(iss.Name); text != "" {
			add(at("Name"), text, `the exact "iss" of the issuer's tokens`)
		} else {
			iss.tenantFaults(at, add)
			names := iss.names()
			for _, name := range names {
				if j, twice := seen[name]; twice {
					add(at("Name"), fmt.Sprintf("%q is that of Issuers[%d] too", name, j), "each issuer once, with all its keys")
					break
				}
			}
			for _, name := range names {
				seen[name] = i
			}
		}
		switch {
		case len(iss.Audience) == 0 && !iss.AnyAudience:
			add(at("Audience"), "empty", "the values of which a token's audience must have one, such as this server's URL (AnyAudience turns the check off)")
		case len(iss.Audience) > 0 && iss.AnyAudience:
			add(at("AnyAudience"), "set beside Audience", "one of the two")
		}
		for j, aud := range iss.Audience {
			if text := check.Text(aud); text != "" {
				add(at(fmt.Sprintf("Audience[%d]", j)), text, "an exact audience value")
			}
		}
		for j, alg := range iss.Algorithms {
			if _, ok := jws.ParseAlgorithm(string(alg)); !ok {
				add(at(fmt.Sprintf("Algorithms[%d]", j)), fmt.Sprintf("found %q", alg), fmt.Sprintf("one of %v", jws.Algorithms))
			}
		}
		if len(iss.Keys) == 0 {
			add(at("Keys"), "empty", "at least one source of keys")
		}
		if text := check.Text(iss.UserIDClaim); text != "" {
			add(at("UserIDClaim"), text, "a claim name")
		} else if iss.UserIDClaim == "aud" || slices.Contains(claimsOfOwnMeaning, iss.UserIDClaim) {
			add(at("UserIDClaim"), fmt.Sprintf("found %q", iss.UserIDClaim), `a claim that tells users apart, such as "userId" or "sub"`)
		}
		if text := check.Text(iss.AudienceClaim); text != "" {
			add(at("AudienceClaim"), text, "a claim name")
		} else if iss.AudienceClaim == iss.UserIDClaim || slices.Contains(claimsOfOwnMeaning, iss.AudienceClaim) {
			add(at("AudienceClaim"), fmt.Sprintf("found %q", iss.AudienceClaim), `a claim that names the audience, such as "aud" or "client_id"`)
		}
		if iss.TenantClaim != "" {
			others := append([]string{"aud", "sub", iss.UserIDClaim, iss.AudienceClaim, iss.TokenIDClaim, iss.SessionIDClaim}, claimsOfOwnMeaning...)
			if text := check.Text(iss.TenantClaim); text != "" {
				add(at("TenantClaim"), text, "a claim name")
			} else if slices.Contains(others, iss.TenantClaim) {
				add(at("TenantClaim"), fmt.Sprintf("found %q", iss.TenantClaim), `a claim that names the user's tenant, such as "tid"`)
			}
		}
		for _, claim := range []struct{ field, name, usual, other, example string }{
			{"TokenIDClaim", iss.TokenIDClaim, defaultTokenIDClaim, "", `a claim that tells tokens apart, such as "jti" or "uti"`},
			{"SessionIDClaim", iss.SessionIDClaim, "", iss.TokenIDClaim, `a claim that names the issuer's session, such as "sid"`},
		} {
			if text := check.Text(claim.name); text != "" {
				add(at(claim.field), text, "a claim name")
			} else if claim.name == claim.other || claim.name != claim.usual &&
				slices.Contains(append([]string{"aud", "sub", iss.UserIDClaim, iss.AudienceClaim}, claimsOfOwnMeaning...), claim.name) {
				add(at(claim.field), fmt.Sprintf("found %q", claim.name), claim.example)
			}
		}
		within(at("ExpiryLeeway"), iss.ExpiryLeeway, 0, maxTolerance)
		within(at("ClockTolerance"), iss.ClockTolerance, 0, maxTolerance)
		if iss.MaxLifetime < 0 {
			add(at("MaxLifetime"), fmt.Sprintf("found %s", iss.MaxLifetime), "a positive duration, or 0 for none")
		}
		for _, d := range []struct {
			field string
			value time.Duration
		}{{"ExpiryLeeway", iss.ExpiryLeeway}, {"ClockTolerance", iss.ClockTolerance}, {"MaxLifetime", iss.MaxLifetime}} {
			if d.value%time.Second != 0 {
				add(at(d.field), fmt.Sprintf("found %s", d.value), "whole seconds, as tokens are dated")
			}
		}
		if iss.AllowMissingExpiry && iss.MaxLifetime == 0 {
			add(at("AllowMissingExpiry"), "set without MaxLifetime", "a MaxLifetime, so that no token is good for ever")
		}
	}
	return faults
}

// claimsOfOwnMeaning are read for what they mean. As the claim for something
// else, they would not be.
var claimsOfOwnMeaning = []string{"iss", "exp", "nbf", "iat", "jti", "typ", "token_use", "cnf", "scope", "scp"}
