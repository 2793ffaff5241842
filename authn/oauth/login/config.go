package login

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/metadata"
	"github.com/mcpauth-go/mcpauth/internal/outbound"
)

// Config says where to log in, and as what client. It is read once, by New.
type Config struct {
	// Issuer is the URL of the authorization server, whose metadata must name
	// it to the byte. Required.
	Issuer string
	// MetadataURL is where the metadata is, if the Issuer does not lead to it.
	MetadataURL string
	// ClientID is the client's id, registered as a native application with a
	// redirect to http://127.0.0.1/callback at any port. Required.
	ClientID string
	// ClientSecret is for servers that give native applications one, which is
	// no secret then. Default: none.
	ClientSecret mcpauth.Secret
	// Scopes are asked for. Many servers give a refresh token for
	// "offline_access" only.
	Scopes []string
	// Resource is the server that the token is for (RFC 8707), such as the URL
	// of an MCP server. Default: what the authorization server thinks.
	Resource string
	// Port is where the browser comes back to, on 127.0.0.1. Default: any, as
	// RFC 8252, section 7.3, has it.
	Port int
	// Store is the file that the tokens are kept in. Required.
	Store string
	// Key seals that file: see ParseKey and KeyFile. Required.
	Key Key
	// Timeout bounds what is asked of the authorization server at once. Default
	// 10 s. How long the user has is for the context of Login to say.
	Timeout time.Duration
	// CAFile has certificate authorities in PEM, to be trusted beside those of
	// the system.
	CAFile string
	// PlainHTTPHosts are hosts, each with or without a port, that may be asked
	// over plain http, as loopback may.
	PlainHTTPHosts []string

	roots    *x509.CertPool
	rootsErr error
}

const (
	callbackPath = "/callback"
	maxAnswer    = 256 << 10
)

func (c Config) withDefaults() Config {
	c.Timeout = cmp.Or(c.Timeout, 10*time.Second)
	c.Scopes = slices.Clone(c.Scopes)
	c.PlainHTTPHosts = slices.Clone(c.PlainHTTPHosts)
	if c.CAFile != "" {
		c.roots, c.rootsErr = outbound.Roots(c.CAFile)
	}
	return c
}

func (c Config) metadata() metadata.Config {
	return metadata.Config{Issuer: c.Issuer, URL: c.MetadataURL, PlainHTTPHosts: c.PlainHTTPHosts, Roots: c.roots, Timeout: c.Timeout, MaxBody: maxAnswer}
}

func (c Config) faults() []mcpauth.Fault {
	var faults []mcpauth.Fault
	add := func(field, problem, expected string) {
		faults = append(faults, mcpauth.Fault{Field: field, Problem: problem, Expected: expected})
	}
	for i, host := range c.PlainHTTPHosts {
		if err := outbound.CheckHost(host); err != nil {
			add(fmt.Sprintf("PlainHTTPHosts[%d]", i), err.Error(), `a host or host:port, such as "keycloak:8080"`)
		}
	}
	if err := outbound.CheckURL(c.Issuer, c.PlainHTTPHosts); err != nil {
		add("Issuer", err.Error(), "the https URL of the authorization server")
	}
	if c.MetadataURL != "" {
		if err := outbound.CheckURL(c.MetadataURL, c.PlainHTTPHosts); err != nil {
			add("MetadataURL", err.Error(), "the https URL of the issuer's metadata")
		}
	}
	if c.ClientID == "" || strings.ContainsFunc(c.ClientID, unicode.IsControl) {
		add("ClientID", fmt.Sprintf("found %q", c.ClientID), "the client's id at the authorization server")
	}
	for i, scope := range c.Scopes {
		if !mcpauth.ValidScope(scope) {
			add(fmt.Sprintf("Scopes[%d]", i), fmt.Sprintf("found %q", scope), "a scope (RFC 6749, section 3.3)")
		}
	}
	if c.Port < 0 || c.Port > 65535 {
		add("Port", fmt.Sprintf("found %d", c.Port), "a port, or 0 for any")
	}
	if c.Store == "" {
		add("Store", "empty", "the file to keep the tokens in")
	}
	if c.Key.secret.IsZero() {
		add("Key", "missing", "a key of KeyFile or ParseKey")
	}
	if c.Timeout < 10*time.Millisecond || c.Timeout > time.Minute {
		add("Timeout", fmt.Sprintf("found %s", c.Timeout), "between 10ms and 1m")
	}
	if c.rootsErr != nil {
		add("CAFile", c.rootsErr.Error(), "a file of certificates in PEM")
	}
	return faults
}
