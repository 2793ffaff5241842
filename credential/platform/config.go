package platform

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/check"
	"github.com/mcpauth-go/mcpauth/internal/outbound"
)

// Config says where the platform is and what it is shown. It is read once, by New.
type Config struct {
	// BaseURL is the platform's URL, without a slash at its end. It is https,
	// except on loopback and for PlainHTTPHosts. Required.
	BaseURL string
	// Audience is what the platform is called in the "aud" of tokens. A token
	// without it is not sent, and its user refused with ErrForbidden. Required,
	// unless SameTrustDomain is set.
	Audience string
	// SameTrustDomain sends every token, whatever its audience: this server and
	// the platform have one operator, and are taken for one. Whoever can read
	// the platform's requests can then use this server in its users' names, and
	// every server that takes these tokens.
	SameTrustDomain bool
	// Headers are sent with each request, such as a key of this server's.
	Headers map[string]mcpauth.Secret

	// TenantManager asks for {BaseURL}/api/credentials/{userId}/{resourceType}
	// with a token of this server's, and sends no user's. What is given up: the
	// platform can no longer tell that the user has asked. It gives every user's
	// credential to whoever has that token, and a mistake of this server about
	// who its user is becomes the platform's.
	TenantManager bool
	// Issuer is the one issuer whose users' ids the platform knows: two issuers
	// may have one id for two people. Required with TenantManager.
	Issuer string
	// Tenant is the one tenant of it, likewise, where the issuer's users are told
	// apart within a tenant only. Default: users without one.
	Tenant string
	// ServiceToken is the token of this server's, with TenantManager.
	ServiceToken mcpauth.Secret
	// ServiceTokenFile has it instead, without anything else but a line break at
	// its end. It is read for each request.
	ServiceTokenFile string

	// Timeout bounds a request with its answer. Default 5 s, at most a minute.
	Timeout time.Duration
	// PrivateHosts are hosts, each with or without a port, whose names may turn
	// out to be in a private network. Default: only public addresses are asked,
	// loopback by its own names, and the address that BaseURL itself may be.
	PrivateHosts []string
	// PlainHTTPHosts are hosts, each with or without a port, that may be asked
	// over plain http. Whoever is between them and this server has the tokens of
	// all users and their credentials.
	PlainHTTPHosts []string
	// CAFile has certificate authorities in PEM, to be trusted beside those of
	// the system. It is read by New.
	CAFile string
	// Logger takes the warning of New. Default slog.Default().
	Logger *slog.Logger

	resolver *net.Resolver // of tests
}

const defaultTimeout = 5 * time.Second

func (c Config) withDefaults() Config {
	c.Timeout = cmp.Or(c.Timeout, defaultTimeout)
	c.Headers = maps.Clone(c.Headers)
	c.PrivateHosts, c.PlainHTTPHosts = slices.Clone(c.PrivateHosts), slices.Clone(c.PlainHTTPHosts)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// reserved are headers that are this package's, or of the connection.
var reserved = []string{"Authorization", "Proxy-Authorization", "Host", "Cookie", "X-User-Id", "Accept", "Connection", "Content-Length", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

func (c Config) faults() []mcpauth.Fault {
	var faults []mcpauth.Fault
	add := func(field, problem, expected string) {
		faults = append(faults, mcpauth.Fault{Field: field, Problem: problem, Expected: expected})
	}
	const expectedURL = `an https URL without query, such as "https://platform.example.com" (http on loopback and for PlainHTTPHosts)`
	if u, err := outbound.ParseURL(c.BaseURL, c.PlainHTTPHosts); err != nil {
		add("BaseURL", err.Error(), expectedURL)
	} else if u.RawQuery != "" || u.ForceQuery || strings.HasSuffix(u.Path, "/") || hasDots(u.Path) {
		add("BaseURL", fmt.Sprintf("found %q", outbound.Shown(c.BaseURL)), expectedURL+", without a slash at its end")
	}
	switch forwards := c.Audience != "" || c.SameTrustDomain; {
	case c.TenantManager && forwards:
		add("TenantManager", "set beside Audience or SameTrustDomain", "one of the two: the user's token is sent, or that of this server")
	case c.TenantManager && c.ServiceToken.IsZero() == (c.ServiceTokenFile == ""):
		add("ServiceToken", "neither or both of ServiceToken and ServiceTokenFile", "one of the two")
	case c.TenantManager && !c.ServiceToken.IsZero() && !check.Visible(c.ServiceToken.Reveal()):
		add("ServiceToken", "has characters that no header has", "visible ASCII characters")
	case c.TenantManager && c.Issuer == "":
		add("Issuer", "missing, with TenantManager", `the issuer whose users' ids the platform knows, exactly as in "iss"`)
	case !c.TenantManager && (!c.ServiceToken.IsZero() || c.ServiceTokenFile != "" || c.Issuer != "" || c.Tenant != ""):
		add("TenantManager", "not set, while ServiceToken, ServiceTokenFile, Issuer or Tenant is", "all or none")
	case !c.TenantManager && !forwards:
		add("Audience", "missing", `what the platform is called in the "aud" of users' tokens (SameTrustDomain sends them all)`)
	case c.Audience != "" && c.SameTrustDomain:
		add("SameTrustDomain", "set beside Audience", "one of the two")
	}
	for name, value := range c.Headers {
		field := fmt.Sprintf("Headers[%.64q]", name)
		switch {
		case name == "" || strings.ContainsFunc(name, notInName):
			add(field, "not the name of a header", `one such as "X-Api-Key"`)
		case slices.Contains(reserved, http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))):
			add(field, "is set by this package, or by the connection", "another header")
		case strings.TrimSpace(value.Reveal()) != value.Reveal() || value.IsZero() || strings.ContainsFunc(value.Reveal(), notInValue):
			add(field, "its value is empty, has control characters, or white space around it", "printable characters")
		}
	}
	if c.Timeout < 10*time.Millisecond || c.Timeout > time.Minute {
		add("Timeout", fmt.Sprintf("found %s", c.Timeout), "between 10ms and 1m0s")
	}
	for field, hosts := range map[string][]string{"PrivateHosts": c.PrivateHosts, "PlainHTTPHosts": c.PlainHTTPHosts} {
		for i, host := range hosts {
			if err := outbound.CheckHost(host); err != nil {
				add(fmt.Sprintf("%s[%d]", field, i), err.Error(), `a host or host:port, such as "platform:8080"`)
			}
		}
	}
	slices.SortFunc(faults, func(a, b mcpauth.Fault) int { return strings.Compare(a.Field, b.Field) })
	return faults
}

func notInName(c rune) bool {
	return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_')
}

func notInValue(c rune) bool { return c < ' ' || c >= 0x7f }
