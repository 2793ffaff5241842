package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/upstream/inproc"
)

// The library's way to a server per user. What the types hold and promise is in
// package upstream/inproc.
type (
	// Factory makes the server of a user:
	//
	//	func(ctx context.Context, call Call) (Instance, error)
	//
	// once for each session, or for each user where there are no sessions. It
	// may be called concurrently; ctx bounds the making only.
	Factory = inproc.Factory
	// Call is what a Factory makes a server for: Call.Identity.
	Call = inproc.Call
	// Instance is a server for one user: Instance.Server, an *mcp.Server, and
	// Instance.Close, which gives back what it holds and may be nil.
	Instance = inproc.Instance
	// Stats is what is alive: Sessions and Users.
	Stats = inproc.Stats
)

// Config says what a Gateway serves and to whom. It is read once, by New.
type Config struct {
	// Provider says who the user is. Required. A provider that is a
	// mcpauth.Lifecycle belongs to the Gateway once New has returned one: it is
	// started and closed with it. To share a provider, wrap it in a type that
	// has Authenticate only, and see to the rest yourself.
	Provider mcpauth.Provider
	// Factory makes the servers. Required.
	Factory Factory

	// Addr is where Run listens. Default "127.0.0.1:8080". Beyond loopback,
	// PublicURL is required.
	Addr string
	// PublicURL is the origin under which clients reach the gateway, such as
	// "https://mcp.example.com". Default, on loopback: "http://" and Addr; so a
	// Gateway that is mounted on a server of the caller's needs it in any case.
	PublicURL string
	// BasePath is where MCP is served. Default "/mcp"; "/" is the whole
	// origin. Health is at BasePath + "/health" and "/health/ready".
	BasePath string
	// AllowedHosts and AllowedOrigins: see mcpauth.OriginConfig.
	AllowedHosts   []string
	AllowedOrigins []string

	// RequiredScopes are those every request needs.
	RequiredScopes []string
	// AuthorizationServers are advertised in the resource metadata (RFC 9728).
	// Default: the provider's issuers, where they are https URLs. With none,
	// there is no metadata.
	AuthorizationServers []string
	// SupportedScopes are advertised there. Default RequiredScopes.
	SupportedScopes []string

	// MaxBodyBytes bounds a request body. Default 4 MiB.
	MaxBodyBytes int64
	// BodyTimeout is how long a client may take to send a body. Default 30 s.
	BodyTimeout time.Duration
	// IdleTimeout ends a session, or a user's server, that has had no request
	// and no open stream for that long. Default 30 minutes.
	IdleTimeout time.Duration
	// FactoryTimeout is how long a request waits for Factory. Default 30 s.
	FactoryTimeout time.Duration
	// ShutdownTimeout is how long Run waits for requests in progress once it
	// is told to stop. Default 30 s.
	ShutdownTimeout time.Duration

	// Logger takes what happens. Default slog.Default().
	Logger *slog.Logger
}

const (
	defaultAddr         = "127.0.0.1:8080"
	defaultBasePath     = "/mcp"
	defaultMaxBodyBytes = 4 << 20
)

func (c Config) withDefaults() Config {
	c.Addr = cmp.Or(c.Addr, defaultAddr)
	c.BasePath = cmp.Or(c.BasePath, defaultBasePath)
	c.MaxBodyBytes = cmp.Or(c.MaxBodyBytes, defaultMaxBodyBytes)
	c.RequiredScopes = slices.Clone(c.RequiredScopes)
	if c.PublicURL == "" && loopbackAddr(c.Addr) {
		c.PublicURL = "http://" + c.Addr
	}
	c.BodyTimeout = cmp.Or(c.BodyTimeout, 30*time.Second)
	c.IdleTimeout = cmp.Or(c.IdleTimeout, 30*time.Minute)
	c.FactoryTimeout = cmp.Or(c.FactoryTimeout, 30*time.Second)
	c.ShutdownTimeout = cmp.Or(c.ShutdownTimeout, 30*time.Second)
	if named, ok := c.Provider.(interface{ Issuers() []string }); ok && c.AuthorizationServers == nil {
		for _, issuer := range named.Issuers() {
			if u, err := url.Parse(issuer); err == nil && u.Scheme == "https" && u.Host != "" {
				c.AuthorizationServers = append(c.AuthorizationServers, issuer)
			}
		}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// faults returns everything that is wrong with c, apart from what the parts
// that it is made of find themselves.
func (c Config) faults() []mcpauth.Fault {
	var faults []mcpauth.Fault
	add := func(field, problem, expected string) {
		faults = append(faults, mcpauth.Fault{Field: field, Problem: problem, Expected: expected})
	}
	if c.Provider == nil {
		add("Provider", "missing", "a provider, such as one of jwt.New")
	}
	if c.Factory == nil {
		add("Factory", "missing", "a function that makes a user's server")
	}
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		add("Addr", fmt.Sprintf("found %q", c.Addr), `"host:port"`)
	} else if c.PublicURL == "" {
		add("PublicURL", fmt.Sprintf("missing, while Addr %q is beyond loopback", c.Addr), `the origin that clients see, such as "https://mcp.example.com"`)
	} else if loopbackAddr(c.Addr) && strings.HasSuffix(c.Addr, ":0") && c.PublicURL == "http://"+c.Addr {
		add("PublicURL", fmt.Sprintf("missing, while Addr %q leaves the port open", c.Addr), "a fixed port, or a PublicURL")
	}
	for i, s := range c.RequiredScopes {
		if !mcpauth.ValidScope(s) {
			add(fmt.Sprintf("RequiredScopes[%d]", i), fmt.Sprintf("found %q", s), "one scope of RFC 6749, section 3.3")
		}
	}
	if c.MaxBodyBytes < 0 {
		add("MaxBodyBytes", fmt.Sprintf("found %d", c.MaxBodyBytes), "a positive number of bytes")
	}
	for _, d := range []struct {
		field string
		value time.Duration
	}{{"BodyTimeout", c.BodyTimeout}, {"IdleTimeout", c.IdleTimeout}, {"FactoryTimeout", c.FactoryTimeout}, {"ShutdownTimeout", c.ShutdownTimeout}} {
		if d.value < 0 {
			add(d.field, fmt.Sprintf("found %s", d.value), "a positive duration")
		}
	}
	return faults
}

// ownName returns what a setting of a part is called here.
func ownName(field string) string {
	name, index, _ := strings.Cut(field, "[")
	switch {
	case name == "Path":
		return "BasePath"
	case name == "Scopes":
		return "SupportedScopes[" + index
	}
	return field
}

// collect adds the faults of err, a part's *mcpauth.ConfigError, to faults.
func collect(faults []mcpauth.Fault, err error) []mcpauth.Fault {
	var part *mcpauth.ConfigError
	if errors.As(err, &part) {
		for _, f := range part.Faults {
			f.Field = ownName(f.Field)
			// Parts share some settings; one mention is enough.
			if !slices.ContainsFunc(faults, func(g mcpauth.Fault) bool { return g.Field == f.Field }) {
				faults = append(faults, f)
			}
		}
	}
	return faults
}

func loopbackAddr(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
