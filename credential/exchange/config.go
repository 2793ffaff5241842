package exchange

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/check"
	"github.com/mcpauth-go/mcpauth/internal/clientauth"
	"github.com/mcpauth-go/mcpauth/internal/outbound"
)

// TokenType says what a token is (RFC 8693, section 3).
type TokenType string

const (
	AccessToken TokenType = "urn:ietf:params:oauth:token-type:access_token"
	JWT         TokenType = "urn:ietf:params:oauth:token-type:jwt"
	IDToken     TokenType = "urn:ietf:params:oauth:token-type:id_token"

	refreshToken TokenType = "urn:ietf:params:oauth:token-type:refresh_token"
)

// Client is how this server authenticates at the token endpoint: with ClientID and
// Secret, or a Key that signs assertions.
type Client = clientauth.Config

// ClientMethod is how a Client authenticates.
type ClientMethod = clientauth.Method

const (
	ClientSecretBasic = clientauth.SecretBasic
	ClientSecretPost  = clientauth.SecretPost
	PrivateKeyJWT     = clientauth.PrivateKeyJWT
)

// AnyType is the resource type of a Target for all types that have none of their
// own.
const AnyType = "*"

// Config says where tokens are exchanged, and for what. It is read once, by New.
type Config struct {
	// Issuer is the authorization server. Its metadata names the token endpoint,
	// unless TokenURL does.
	Issuer string
	// TokenURL is the token endpoint. Required without Issuer.
	TokenURL string
	// Client authenticates this server. Required. The "aud" of its assertions is
	// Issuer by default.
	Client Client
	// SubjectIssuers are the issuers whose users' tokens are exchanged. Those of
	// others are sent nowhere: these users have no credential here. Default:
	// Issuer. Required without it.
	SubjectIssuers []string
	// SubjectTokenType is what the users' tokens are called. Default AccessToken;
	// some servers want JWT.
	SubjectTokenType TokenType
	// Actor is the token of who acts for the user, where the authorization server
	// wants one. ActorTokenType is what it is called. Default AccessToken.
	Actor          TokenSource
	ActorTokenType TokenType
	// Targets are what tokens are exchanged for, by the type of resource; AnyType
	// is for all types without an entry. Required.
	Targets map[string]Target
	// NotConnected are the error codes with which the authorization server says
	// that the user has no account at the target. Default: none, since all codes
	// of the standard may as well mean a fault of the configuration.
	NotConnected []string

	// Timeout bounds each request. Default 5 s, at most a minute.
	Timeout time.Duration
	// CAFile has certificate authorities in PEM, to be trusted beside those of
	// the system. It is read by New.
	CAFile string
	// PlainHTTPHosts are hosts, each with or without a port, that may be asked
	// over plain http. Whoever is between them and this server can read the
	// tokens.
	PlainHTTPHosts []string

	roots    *x509.CertPool
	rootsErr error
	resolver *net.Resolver // of tests
}

// Target is what a token is exchanged for (RFC 8693, section 2.1).
type Target struct {
	// Audience names the services that the token is to be for, Resource is their
	// URLs (RFC 8707), Scopes what it is to allow there. At least one of the
	// three is required, by what the authorization server wants.
	Audience []string
	Resource []string
	Scopes   []string
	// RequestedTokenType is what is asked for. Default AccessToken.
	RequestedTokenType TokenType
}

func (c Config) withDefaults() Config {
	c.Timeout = cmp.Or(c.Timeout, 5*time.Second)
	c.SubjectTokenType = cmp.Or(c.SubjectTokenType, AccessToken)
	c.ActorTokenType = cmp.Or(c.ActorTokenType, AccessToken)
	c.SubjectIssuers = slices.Clone(c.SubjectIssuers)
	if len(c.SubjectIssuers) == 0 && c.Issuer != "" {
		c.SubjectIssuers = []string{c.Issuer}
	}
	// No other server can claim to be the issuer; the URL of an endpoint may be
	// anybody's.
	c.Client.Audience = cmp.Or(c.Client.Audience, c.Issuer)
	c.NotConnected, c.PlainHTTPHosts = slices.Clone(c.NotConnected), slices.Clone(c.PlainHTTPHosts)
	c.Targets = maps.Clone(c.Targets)
	for name, t := range c.Targets {
		t.Audience, t.Resource, t.Scopes = slices.Clone(t.Audience), slices.Clone(t.Resource), slices.Clone(t.Scopes)
		t.RequestedTokenType = cmp.Or(t.RequestedTokenType, AccessToken)
		c.Targets[name] = t
	}
	if c.CAFile != "" {
		c.roots, c.rootsErr = outbound.Roots(c.CAFile)
	}
	return c
}

// faults returns everything that is wrong with c, apart from its Client.
func (c Config) faults() []mcpauth.Fault {
	var faults []mcpauth.Fault
	add := func(field, problem, expected string) {
		faults = append(faults, mcpauth.Fault{Field: field, Problem: problem, Expected: expected})
	}
	const expected = "an https URL (http on loopback and for PlainHTTPHosts)"
	switch {
	case c.TokenURL != "":
		if err := outbound.CheckURL(c.TokenURL, c.PlainHTTPHosts); err != nil {
			add("TokenURL", err.Error(), expected)
		}
	case c.Issuer == "":
		add("Issuer", "empty, as is TokenURL", "one of the two")
	default:
		if err := outbound.CheckURL(c.Issuer, c.PlainHTTPHosts); err != nil {
			add("Issuer", "leads to no metadata: "+err.Error(), expected+", or a TokenURL")
		} else if strings.Contains(c.Issuer, "?") {
			add("Issuer", "leads to no metadata: it has a query", "an issuer without one, or a TokenURL")
		}
	}
	if len(c.SubjectIssuers) == 0 {
		add("SubjectIssuers", "empty, as is Issuer", "the issuers whose users' tokens may be sent to TokenURL")
	}
	for i, issuer := range c.SubjectIssuers {
		if problem := check.Text(issuer); problem != "" {
			add(fmt.Sprintf("SubjectIssuers[%d]", i), problem, `the exact "iss" of users' tokens`)
		}
	}
	typeOf := func(field string, t TokenType) {
		if u, err := url.Parse(string(t)); err != nil || !u.IsAbs() || check.Text(string(t)) != "" {
			add(field, fmt.Sprintf("found %.100q", t), "AccessToken, JWT, or another absolute URI")
		} else if t == refreshToken {
			add(field, "a refresh token", "a token that is used as it is")
		}
	}
	typeOf("SubjectTokenType", c.SubjectTokenType)
	typeOf("ActorTokenType", c.ActorTokenType)
	if len(c.Targets) == 0 {
		add("Targets", "empty", "what tokens are exchanged for, by resource type")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Targets)) {
		t, field := c.Targets[name], fmt.Sprintf("Targets[%q]", name)
		if name == "" {
			add(field, "an empty resource type", "the ResourceType of a server, or AnyType")
		}
		if len(t.Audience)+len(t.Resource)+len(t.Scopes) == 0 {
			add(field, "empty", "an Audience, Resource or Scopes, or the new token is good for whatever the old one is")
		}
		for i, audience := range t.Audience {
			if problem := check.Text(audience); problem != "" {
				add(fmt.Sprintf("%s.Audience[%d]", field, i), problem, "a name that the authorization server knows")
			}
		}
		for i, resource := range t.Resource {
			if u, err := url.Parse(resource); err != nil || !u.IsAbs() || strings.Contains(resource, "#") || check.Text(resource) != "" {
				add(fmt.Sprintf("%s.Resource[%d]", field, i), fmt.Sprintf("found %.100q", resource), "an absolute URL without fragment (RFC 8707, section 2)")
			}
		}
		for i, scope := range t.Scopes {
			if !mcpauth.ValidScope(scope) {
				add(fmt.Sprintf("%s.Scopes[%d]", field, i), fmt.Sprintf("found %.100q", scope), "one scope (RFC 6749, section 3.3)")
			}
		}
		typeOf(field+".RequestedTokenType", t.RequestedTokenType)
	}
	for i, code := range c.NotConnected {
		if problem := check.Text(code); problem != "" {
			add(fmt.Sprintf("NotConnected[%d]", i), problem, `an error code, such as "account_not_linked"`)
		} else if slices.Contains([]string{"invalid_client", "unauthorized_client", "unsupported_grant_type", "server_error", "temporarily_unavailable"}, code) {
			add(fmt.Sprintf("NotConnected[%d]", i), fmt.Sprintf("found %q, which is not about the user", code), "a code that is")
		}
	}
	if c.Timeout < 10*time.Millisecond || c.Timeout > time.Minute {
		add("Timeout", fmt.Sprintf("found %s", c.Timeout), "between 10ms and 1m0s")
	}
	if c.rootsErr != nil {
		add("CAFile", c.rootsErr.Error(), "a file with certificates in PEM")
	}
	for i, host := range c.PlainHTTPHosts {
		if err := outbound.CheckHost(host); err != nil {
			add(fmt.Sprintf("PlainHTTPHosts[%d]", i), err.Error(), `a host or host:port, such as "keycloak:8080"`)
		}
	}
	return faults
}
