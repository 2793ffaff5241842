package oauth

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/check"
	"github.com/mcpauth-go/mcpauth/internal/clientauth"
	"github.com/mcpauth-go/mcpauth/internal/jws"
	"github.com/mcpauth-go/mcpauth/internal/metadata"
	"github.com/mcpauth-go/mcpauth/internal/outbound"
)

// Method is how a token is validated.
type Method string

const (
	// Introspection asks the authorization server about the token (RFC 7662).
	Introspection Method = "introspection"
	// Userinfo asks, with the token, who its user is (OpenID Connect Core 1.0,
	// section 5.3, and the like of it elsewhere).
	Userinfo Method = "userinfo"
)

// Client is how this server authenticates at the introspection endpoint: with
// ClientID and Secret, a Key that signs assertions, or, with the method Bearer,
// a token in Secret. Its fields are:
//
//	ClientID  string         // required, except with Bearer
//	Method    ClientMethod   // default: ClientSecretBasic, or PrivateKeyJWT with a key
//	Secret    mcpauth.Secret // the client's secret, or the token of Bearer
//	Key       crypto.Signer  // signs assertions: an RSA, ECDSA or Ed25519 key
//	KeyFile   string         // a file with that key, in PEM or as a JWK
//	KeyID     string         // the key's "kid" at the authorization server, if any
//	Algorithm Algorithm      // default: RS256, the one of the key's curve, or EdDSA
//	Audience  string         // the "aud" of assertions; default: the Issuer, or the endpoint if that is no URL
type Client = clientauth.Config

// Algorithm is a signature algorithm by its registered name, such as "ES256".
type Algorithm = jws.Algorithm

// ClientMethod is how a Client authenticates.
type ClientMethod = clientauth.Method

const (
	ClientSecretBasic = clientauth.SecretBasic
	ClientSecretPost  = clientauth.SecretPost
	PrivateKeyJWT     = clientauth.PrivateKeyJWT
	Bearer            = clientauth.Bearer // RFC 7662, section 2.1
)

// Config says which tokens a Provider takes. It is read once, by New.
type Config struct {
	// Issuer names the authorization server, and is the issuer of its users.
	// Required. Where a token has "iss", that must be the same, to the byte.
	Issuer string
	// Method is how a token is validated. Default Introspection.
	Method Method
	// Endpoint is the URL that is asked. Default: the one that the metadata of
	// the Issuer, a URL then, has as "introspection_endpoint" or
	// "userinfo_endpoint".
	Endpoint string
	// MetadataURL is where the metadata is, if the Issuer does not lead to it.
	// The metadata must name the Issuer all the same.
	MetadataURL string
	// Client authenticates this server. Required for Introspection.
	Client Client
	// Audience lists the values of which a token's "aud" must have one:
	// usually this server's resource identifier (RFC 8707).
	Audience []string
	// AllowedClients lists the values of "client_id" with which a token passes
	// too, whatever its "aud": for servers that write no "aud". Whatever these
	// clients get a token for is good here.
	AllowedClients []string
	// AcceptAnyClient takes tokens that were issued to whatever client for
	// whatever server, and lets those servers reuse their users' tokens here.
	// Audience or AllowedClients is required otherwise.
	AcceptAnyClient bool
	// Proof is a second endpoint, which says whom a token is for. Required with
	// Userinfo, unless AcceptAnyClient is set.
	Proof Proof
	// UserIDClaim is the one member of the answer that holds the user's id: a
	// string, or a whole number. Default "sub". There is no second choice: a
	// fallback would let one user's "sub" equal another's "id".
	UserIDClaim string
	// TenantClaim is the member that holds the user's tenant, where users are
	// told apart within a tenant only. Default: none.
	TenantClaim string
	// TokenIDClaim is the member by which a revocation names a token. Default
	// "jti". A token without it is named by a hash: see the function TokenID.
	TokenIDClaim string
	// SessionIDClaim is the member by which a revocation names the issuer's
	// session that a token belongs to. Default "sid".
	SessionIDClaim string
	// RequireTokenType refuses tokens that introspection says no "token_type"
	// of. Some servers say it of access tokens alone, and call refresh tokens
	// active too. With it or without, a "token_type" must be Bearer.
	RequireTokenType bool
	// ExpiryLeeway is how long after "exp" a token still passes, for clocks
	// that differ. Default 0, at most 5 minutes.
	ExpiryLeeway time.Duration
	// ClockTolerance is how far "nbf" and "iat" may lie in the future.
	// Default 60 s, at most 5 minutes; negative for none.
	ClockTolerance time.Duration
	// AllowBoundTokens takes tokens with "cnf", which the issuer bound to a
	// key of the client's, as bearer tokens: without the proof that they ask
	// for.
	AllowBoundTokens bool
	// MaxTokenSize bounds a token, in bytes. Default 16 KiB.
	MaxTokenSize int
	// Cache says how results are kept.
	Cache Cache
	// Requests says how the authorization server is asked.
	Requests Requests
	// Revocations, if not nil, are of tokens that are refused with ErrRevoked,
	// from the moment on at which they are revoked, cached or not: a
	// revoke.List. Behind a gateway, it is that of the gateway's Config.
	Revocations mcpauth.Revocations
	// Logger takes what happens outside of a request. Default slog.Default().
	Logger *slog.Logger
}

// Proof is an endpoint like Google's tokeninfo: it is sent a token as a form,
// and answers with JSON that has "aud", "azp" or "client_id". Its "aud" must
// have one of Config.Audience, or its "client_id", else its "azp", be one of
// Config.AllowedClients. Its "exp" and "scope" hold for the token, and its "sub"
// must be that of userinfo, where they are there.
type Proof struct {
	URL string
	// Parameter is the name of the token in the form. Default "access_token".
	Parameter string
}

// Cache says how results are kept.
type Cache struct {
	// Off asks about every token anew.
	Off bool
	// TTL is how long an accepted token is answered from memory, which is
	// never longer than its own life. What the authorization server revokes
	// passes for that long. Default and maximum 5 minutes.
	TTL time.Duration
	// MaxBytes bounds the memory of accepted tokens, each counted as its
	// length, that of the answer and 512 bytes. Default 64 MiB.
	MaxBytes int64
}

// Requests says how the authorization server is asked. The URLs of a
// configuration may lead into a private network, except to link-local addresses;
// those in metadata to public addresses, or to a host and port of the
// configuration. Redirects are not followed. The proxy is that of the
// environment (HTTPS_PROXY, NO_PROXY).
type Requests struct {
	// Timeout bounds what is asked about one token, discovery included, and how
	// long a request waits for it. Default 5 s, at most a minute.
	Timeout time.Duration
	// MaxConcurrent bounds how many tokens are asked about at a time. Eight
	// times as many may wait; those beyond are refused with ErrUnavailable at
	// once. Default 32.
	MaxConcurrent int
	// CAFile has certificate authorities in PEM, to be trusted beside those of
	// the system. It is read by New.
	CAFile string
	// PlainHTTPHosts are hosts, each with or without a port, that may be asked
	// over plain http, as loopback may. Whoever is between them and this server
	// can read the tokens, and say whose they are.
	PlainHTTPHosts []string

	roots    *x509.CertPool
	rootsErr error
}

const (
	defaultMaxTokenSize  = 16 << 10
	defaultTTL           = 5 * time.Minute
	defaultMaxBytes      = 64 << 20
	minMaxBytes          = 1 << 20
	defaultTolerance     = 60 * time.Second
	maxTolerance         = 5 * time.Minute
	defaultTimeout       = 5 * time.Second
	defaultMaxConcurrent = 32
	waitingPerConcurrent = 8
	maxAnswer            = 256 << 10
)

// withDefaults returns a copy of c that shares nothing that the caller could
// change, with every default filled in.
func (c Config) withDefaults() Config {
	c.Method = cmp.Or(c.Method, Introspection)
	c.UserIDClaim = cmp.Or(c.UserIDClaim, "sub")
	c.TokenIDClaim = cmp.Or(c.TokenIDClaim, "jti")
	c.SessionIDClaim = cmp.Or(c.SessionIDClaim, "sid")
	c.ClockTolerance = max(cmp.Or(c.ClockTolerance, defaultTolerance), 0)
	c.MaxTokenSize = cmp.Or(c.MaxTokenSize, defaultMaxTokenSize)
	c.Cache.TTL = cmp.Or(c.Cache.TTL, defaultTTL)
	c.Cache.MaxBytes = cmp.Or(c.Cache.MaxBytes, defaultMaxBytes)
	c.Requests.Timeout = cmp.Or(c.Requests.Timeout, defaultTimeout)
	c.Requests.MaxConcurrent = cmp.Or(c.Requests.MaxConcurrent, defaultMaxConcurrent)
	c.Requests.PlainHTTPHosts = slices.Clone(c.Requests.PlainHTTPHosts)
	if c.Requests.CAFile != "" {
		c.Requests.roots, c.Requests.rootsErr = outbound.Roots(c.Requests.CAFile)
	}
	c.Audience = slices.Clone(c.Audience)
	c.AllowedClients = slices.Clone(c.AllowedClients)
	if c.Proof.URL != "" {
		c.Proof.Parameter = cmp.Or(c.Proof.Parameter, "access_token")
	}
	// The audience of an assertion is the issuer, which no other server can
	// claim to be; the URL of an endpoint may be anybody's.
	if c.Method != Userinfo && c.Client.Audience == "" && strings.Contains(c.Issuer, "://") {
		c.Client.Audience = c.Issuer
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func (c Config) metadata() metadata.Config {
	return metadata.Config{
		Issuer: c.Issuer, URL: c.MetadataURL, Written: []string{c.Endpoint, c.Proof.URL}, PlainHTTPHosts: c.Requests.PlainHTTPHosts,
		Roots: c.Requests.roots, Timeout: c.Requests.Timeout, MaxBody: maxAnswer,
	}
}

// discovers reports whether the endpoint is that of the metadata.
func (c Config) discovers() bool { return c.Endpoint == "" }

// faults returns everything that is wrong with c, apart from its Client.
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
	if text := check.Text(c.Issuer); text != "" {
		add("Issuer", text, "the name of the authorization server, as in its metadata")
	}
	if c.Method != Introspection && c.Method != Userinfo {
		add("Method", fmt.Sprintf("found %.40q", c.Method), "introspection or userinfo")
	}
	if c.RequireTokenType && c.Method == Userinfo {
		add("RequireTokenType", "set, with userinfo, which does not say it", "false, or introspection")
	}
	c.urlFaults(add)
	c.audienceFaults(add)
	c.claimFaults(add)
	within("ExpiryLeeway", c.ExpiryLeeway, 0, maxTolerance)
	within("ClockTolerance", c.ClockTolerance, 0, maxTolerance)
	for _, d := range []struct {
		field string
		value time.Duration
	}{{"ExpiryLeeway", c.ExpiryLeeway}, {"ClockTolerance", c.ClockTolerance}} {
		if d.value%time.Second != 0 {
			add(d.field, fmt.Sprintf("found %s", d.value), "whole seconds, as tokens are dated")
		}
	}
	if c.MaxTokenSize < 256 || c.MaxTokenSize > 1<<20 {
		add("MaxTokenSize", fmt.Sprintf("found %d", c.MaxTokenSize), "between 256 bytes and 1 MiB")
	}
	within("Cache.TTL", c.Cache.TTL, time.Millisecond, defaultTTL)
	if c.Cache.MaxBytes < minMaxBytes {
		add("Cache.MaxBytes", fmt.Sprintf("found %d", c.Cache.MaxBytes), "at least 1 MiB")
	}
	within("Requests.Timeout", c.Requests.Timeout, 10*time.Millisecond, time.Minute)
	if c.Requests.MaxConcurrent < 1 || c.Requests.MaxConcurrent > 10_000 {
		add("Requests.MaxConcurrent", fmt.Sprintf("found %d", c.Requests.MaxConcurrent), "between 1 and 10000")
	}
	if err := c.Requests.rootsErr; err != nil {
		add("Requests.CAFile", err.Error(), "a file of certificates in PEM")
	}
	for i, host := range c.Requests.PlainHTTPHosts {
		if err := outbound.CheckHost(host); err != nil {
			add(fmt.Sprintf("Requests.PlainHTTPHosts[%d]", i), err.Error(), `a host or host:port, such as "keycloak:8080"`)
		}
	}
	if check.IsNil(c.Revocations) {
		add("Revocations", fmt.Sprintf("a nil %T", c.Revocations), "a list that is open, or nil for none")
	}
	return faults
}

func (c Config) urlFaults(add func(field, problem, expected string)) {
	check := func(field, raw, expected string) {
		if err := outbound.CheckURL(raw, c.Requests.PlainHTTPHosts); err != nil {
			add(field, err.Error(), expected)
		}
	}
	switch {
	case !c.discovers():
		check("Endpoint", c.Endpoint, "the https URL of the endpoint")
		if c.MetadataURL != "" {
			add("MetadataURL", "set beside Endpoint", "one of the two")
		}
	case c.MetadataURL != "":
		check("MetadataURL", c.MetadataURL, "the https URL of the issuer's metadata")
	case c.Issuer != "":
		check("Issuer", c.Issuer, "the https URL of the issuer, whose metadata names the endpoint, or a name, with Endpoint or MetadataURL")
	}
	switch {
	case c.Proof.URL != "":
		check("Proof.URL", c.Proof.URL, "the https URL of the endpoint")
		if c.Method != Userinfo {
			add("Proof", "set, with introspection, which says itself whom a token is for", "none")
		}
		if c.AcceptAnyClient {
			add("Proof", "set beside AcceptAnyClient", "one of the two")
		}
	case c.Proof.Parameter != "":
		add("Proof.URL", "empty", "the https URL of the endpoint")
	}
}

func (c Config) audienceFaults(add func(field, problem, expected string)) {
	named := len(c.Audience)+len(c.AllowedClients) > 0
	switch {
	case c.AcceptAnyClient && named:
		add("AcceptAnyClient", "set beside Audience or AllowedClients", "one or the other")
	case !c.AcceptAnyClient && !named:
		add("Audience", "empty", "the values of which a token's audience must have one, such as this server's URL, or AllowedClients (AcceptAnyClient turns the check off)")
	}
	if c.Method == Userinfo && !c.AcceptAnyClient && c.Proof.URL == "" {
		add("Proof", "missing: userinfo does not say whom a token is for", "an endpoint that does, or AcceptAnyClient, with which other clients of the issuer can reuse their users' tokens here")
	}
	for i, aud := range c.Audience {
		if text := check.Text(aud); text != "" {
			add(fmt.Sprintf("Audience[%d]", i), text, "an exact audience value")
		}
	}
	for i, id := range c.AllowedClients {
		if text := check.Text(id); text != "" {
			add(fmt.Sprintf("AllowedClients[%d]", i), text, "an exact client id")
		}
	}
}

func (c Config) claimFaults(add func(field, problem, expected string)) {
	seen := map[string]string{}
	for _, claim := range []struct{ field, name, usual, example string }{
		{"UserIDClaim", c.UserIDClaim, "sub", `a member that tells users apart, such as "sub" or "id"`},
		{"TenantClaim", c.TenantClaim, "", `a member that names the tenant, such as "tid"`},
		{"TokenIDClaim", c.TokenIDClaim, "jti", `a member that tells tokens apart, such as "jti" or "uti"`},
		{"SessionIDClaim", c.SessionIDClaim, "sid", `a member that names the issuer's session, such as "sid"`},
	} {
		if claim.name == "" && claim.field == "TenantClaim" {
			continue
		}
		other, twice := seen[claim.name]
		seen[claim.name] = claim.field
		switch text := check.Text(claim.name); {
		case text != "":
			add(claim.field, text, "the name of a member")
		case twice:
			add(claim.field, fmt.Sprintf("%q is that of %s too", claim.name, other), claim.example)
		case claim.name != claim.usual && slices.Contains(membersOfOwnMeaning, claim.name):
			add(claim.field, fmt.Sprintf("found %q", claim.name), claim.example)
		}
	}
}

// membersOfOwnMeaning are read for what they mean. As the claim for something
// else, they would not be.
var membersOfOwnMeaning = []string{"active", "iss", "aud", "exp", "nbf", "iat", "jti", "typ", "token_type", "token_use", "cnf", "scope", "scp", "client_id", "azp"}
