package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/admin"
	"github.com/mcpauth-go/mcpauth/assertion"
	"github.com/mcpauth-go/mcpauth/internal/observe"
	"github.com/mcpauth-go/mcpauth/limit"
	"github.com/mcpauth-go/mcpauth/policy"
	"github.com/mcpauth-go/mcpauth/revoke"
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
	// Call is what a Factory makes a server for: Call.Identity, and
	// Call.Credential where there is a Resolver.
	Call = inproc.Call
	// Instance is a server for one user: Instance.Server, an *mcp.Server, and
	// Instance.Close, which gives back what it holds and may be nil.
	Instance = inproc.Instance
	// Mode says how many servers a user has.
	Mode = inproc.Mode
	// Stats is what is alive: sessions, streams, calls, servers.
	Stats = inproc.Stats
	// UserStats is what of one user is alive.
	UserStats = inproc.UserStats
)

// How many servers a user has.
const (
	PerSession = inproc.PerSession
	PerUser    = inproc.PerUser
	PerRequest = inproc.PerRequest
)

// NotConnected says what becomes of calls of users who have no credential.
type NotConnected string

// What becomes of calls of users who have no credential for the resource. What
// says what there is, such as tools/list, is served in any case.
const (
	// ServeLimited serves them: the Factory and the tools get no credential.
	ServeLimited NotConnected = "serve"
	// RefuseCalls answers them with a JSON-RPC error that says where to connect
	// the account.
	RefuseCalls NotConnected = "refuse"
	// AskToConnect has clients that can do it (elicitation of mode "url") ask
	// their user to open ConnectURL. Calls of others are refused.
	AskToConnect NotConnected = "ask"
)

// UserForm says how logs name users.
type UserForm = observe.UserForm

// How logs name users: by issuer and id, by a keyed hash of both, or not at all.
const (
	UserPlain   = observe.UserPlain
	UserHashed  = observe.UserHashed
	UserOmitted = observe.UserOmitted
)

// Config says what a Gateway serves and to whom. It is read once, by New. Where
// a field says "Default", its zero value stands for that default.
type Config struct {
	// Provider says who the user is. Required. A provider that is a
	// mcpauth.Lifecycle belongs to the Gateway once New has returned one: it is
	// started and closed with it. As long as its Ready() error, where it has
	// that method, returns an error, the probes of readiness get 503. To share
	// a provider, embed it in a type whose Start and Close do nothing, and see
	// to these yourself: other methods that it has, such as Issuers, then stay.
	Provider mcpauth.Provider
	// Factory makes the servers. Required.
	Factory Factory
	// Resolver finds the user's credential for resources of ResourceType,
	// which the Factory then gets, and tools with mcpauth.CredentialFrom. Both
	// or neither. A resolver that is a mcpauth.Lifecycle belongs to the Gateway
	// as a provider does. One that gives everybody the same credential, such as
	// an env.Resolver, is refused.
	Resolver     mcpauth.Resolver
	ResourceType string
	// NotConnected says what becomes of calls of users who have no credential
	// there. Default ServeLimited.
	NotConnected NotConnected
	// ConnectURL is where users connect their account, which calls that are
	// refused say. It is for people to open in a browser, where they have to sign
	// in: who opens it is not known. Required by AskToConnect.
	ConnectURL string

	// Assertions signs tokens that tell servers behind this one who is calling:
	// a Factory that has it asks it for them. Its keys are served at PublicURL +
	// "/.well-known/jwks.json", and it is started and closed with the Gateway.
	// Default: there are none.
	Assertions *assertion.Signer

	// Revocations are of what is no longer to be taken, though it has not
	// expired. A request with it is refused, and what it is used for, running
	// calls, open streams and sessions, ends at once. A provider that refuses by
	// a list itself, such as one of jwt.New, and a resolver that forgets by it,
	// such as one of credential.New, are to be given the same. Where there is
	// administration, it serves /revocations and /blocks, which "mcpauth revoke"
	// asks. The list is the caller's to close, after the Gateway has
	// stopped. Default: nothing is revoked.
	Revocations *revoke.List

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
	// LegacySSE serves the HTTP+SSE transport of protocol version 2024-11-05
	// too, at BasePath + "/sse".
	LegacySSE bool
	// AllowedHosts and AllowedOrigins: see mcpauth.OriginConfig. With
	// Development, "*" allows every origin.
	AllowedHosts   []string
	AllowedOrigins []string
	// CORS lets pages of AllowedOrigins, which is required then, read the
	// answers.
	CORS bool
	// TrustedProxies are the addresses of proxies whose X-Forwarded-For,
	// X-Request-Id and traceparent are believed. URLs never depend on headers.
	TrustedProxies []netip.Prefix
	// Development allows what is for a developer's own machine only. It
	// requires an Addr on loopback.
	Development bool

	// RequiredScopes are those every request needs.
	RequiredScopes []string
	// Rules say what single tools, prompts and resources need beyond that. A
	// call without gets 403 and the scopes to ask for.
	//
	// A rule or a rate that names one tool, prompt or resource is compared with
	// what the first server lists, and the log warns of each that is not there. For
	// that, the server is asked for its lists once, as its user would, over a
	// connection of its own. Servers of other users may list others.
	Rules []policy.Rule
	// StrictRules denies every tool, prompt and resource that no rule names, by its
	// name or by a pattern: calls are answered as with Deny, and lists do not show
	// them. A rule needs neither Scopes nor Deny then. Default: what no rule names
	// needs RequiredScopes alone.
	StrictRules bool
	// ScopeHierarchy says which scopes come with others.
	ScopeHierarchy mcpauth.Hierarchy
	// FilterByScope hides from lists what the user's scopes do not allow.
	// Clients can then not ask for more scopes, since they do not know what
	// for.
	FilterByScope bool
	// AuthorizationServers are advertised in the resource metadata (RFC 9728).
	// Default: the provider's issuers, where they are https URLs, or http on
	// loopback. With none, there is no metadata.
	AuthorizationServers []string
	// SupportedScopes are advertised there. Default RequiredScopes.
	SupportedScopes []string

	// UserRate bounds the messages of each user. Default 1000 a minute;
	// limit.Off turns it off.
	//
	// A batch counts message by message, before any of them is served: either
	// all are served, or the batch is refused. One with more messages, or more
	// calls of one tool, than a rate's Requests gets 413.
	UserRate limit.Rate
	// ToolRates bound the calls of each user on a tool of that name. "*" is
	// every tool without an entry of its own. Default: not bounded apart.
	ToolRates map[string]limit.Rate

	// LegacyInstances is how many servers a user has in protocol versions with
	// sessions: PerSession, the default, or PerUser.
	LegacyInstances Mode
	// ModernInstances is the same from 2026-07-28 on, where there are none:
	// PerUser, the default, or PerRequest.
	ModernInstances Mode
	// MaxInstances bounds the servers that users share between their sessions
	// or requests. One more closes the server that was used least recently, of
	// those without a session and a request. If there is none, it is refused
	// with 503. Default 10 000.
	MaxInstances int
	// MaxLifetime is when a server is replaced: the next request gets a new one.
	// A session keeps its own, but ends then unless it is in use. Default 24 h.
	MaxLifetime time.Duration
	// IdleTimeout ends a session, or a user's server, that has had no request
	// and no open stream for that long. Default 30 minutes.
	IdleTimeout time.Duration
	// MaxSessions bounds the sessions in all, MaxSessionsPerUser those of one
	// user. One more of a user ends the session of that user that has been idle
	// for longest: without a request, a call and an open stream. If all are in
	// use, and beyond MaxSessions, it is refused with 503. Defaults 10 000 and
	// 100.
	MaxSessions        int
	MaxSessionsPerUser int
	// MaxStreamsPerUser bounds the streams that one user has open: GET and
	// subscriptions/listen. One more is refused with 429. Default 100.
	MaxStreamsPerUser int
	// MaxCallsPerUser bounds the requests of one user that are in progress, and
	// the calls of theirs that servers work on. One more is refused with 429.
	// Default 256.
	MaxCallsPerUser int
	// ReplayBytes is how much is kept, in all, of what streams have sent, for
	// clients that resume them. What is oldest of the user who has most of it
	// goes first. Default 64 MiB; negative for none, and streams that cannot be
	// resumed.
	ReplayBytes int

	// MaxBodyBytes bounds a request body. Default 4 MiB.
	MaxBodyBytes int64
	// BodyTimeout is how long a client may take to send a body. Default 30 s.
	BodyTimeout time.Duration
	// WriteTimeout is how long a client may keep from reading what it is sent.
	// Default 30 s.
	WriteTimeout time.Duration
	// RequestTimeout is how long a server may take to answer a call. Streams
	// are exempt. Default 30 s.
	RequestTimeout time.Duration
	// FactoryTimeout is how long a request waits for Factory. Default 30 s.
	FactoryTimeout time.Duration
	// DrainDelay is how long Run and Serve go on as before once they are told to
	// stop, but not ready: a load balancer needs some time to see that. Default
	// 0 s.
	DrainDelay time.Duration
	// ShutdownTimeout is how long Run waits for requests in progress once it
	// is told to stop. Default 30 s.
	ShutdownTimeout time.Duration

	// OperationsAddr is where Run and Serve serve /metrics, /livez and /readyz:
	// a loopback address, since nobody is asked for a credential there.
	// Default: they are not served.
	OperationsAddr string
	// Admin is where they serve administration: Revocations, a Resolver that has
	// a Handler, such as one of credential.New, and profiles. Default: it is not
	// served.
	Admin admin.Config
	// Logger takes what happens. Default slog.Default().
	Logger *slog.Logger
	// LogUsers says how Logger and Audit name users. LogKey is the key of
	// UserHashed; default: made up at each start.
	LogUsers UserForm
	LogKey   mcpauth.Secret
	// Audit takes a JSON line for each decision. Default: none is written.
	Audit io.Writer
	// TracerProvider makes OpenTelemetry spans, such as that of package
	// telemetry. Default: there are none.
	TracerProvider trace.TracerProvider
}

// What Config says is the default.
const (
	defaultAddr     = "127.0.0.1:8080"
	defaultBasePath = "/mcp"
)

var defaultUserRate = limit.Rate{Requests: 1000, Per: time.Minute}

// setting is a number of Config's, with its default.
type setting[T cmp.Ordered] struct {
	field    string
	value    *T
	standard T
}

func (c *Config) counts() []setting[int] {
	return []setting[int]{
		{"MaxInstances", &c.MaxInstances, 10_000},
		{"MaxSessions", &c.MaxSessions, 10_000},
		{"MaxSessionsPerUser", &c.MaxSessionsPerUser, 100},
		{"MaxStreamsPerUser", &c.MaxStreamsPerUser, 100},
		{"MaxCallsPerUser", &c.MaxCallsPerUser, 256},
	}
}

func (c *Config) durations() []setting[time.Duration] {
	return []setting[time.Duration]{
		{"MaxLifetime", &c.MaxLifetime, 24 * time.Hour},
		{"IdleTimeout", &c.IdleTimeout, 30 * time.Minute},
		{"BodyTimeout", &c.BodyTimeout, 30 * time.Second},
		{"WriteTimeout", &c.WriteTimeout, 30 * time.Second},
		{"RequestTimeout", &c.RequestTimeout, 30 * time.Second},
		{"FactoryTimeout", &c.FactoryTimeout, 30 * time.Second},
		{"DrainDelay", &c.DrainDelay, 0},
		{"ShutdownTimeout", &c.ShutdownTimeout, 30 * time.Second},
	}
}

func (c Config) withDefaults() Config {
	idle := c.IdleTimeout != 0
	c.Addr = cmp.Or(c.Addr, defaultAddr)
	c.BasePath = cmp.Or(c.BasePath, defaultBasePath)
	c.MaxBodyBytes = cmp.Or(c.MaxBodyBytes, 4<<20)
	c.ReplayBytes = max(0, cmp.Or(c.ReplayBytes, 64<<20))
	c.NotConnected = cmp.Or(c.NotConnected, ServeLimited)
	c.LegacyInstances = cmp.Or(c.LegacyInstances, PerSession)
	c.ModernInstances = cmp.Or(c.ModernInstances, PerUser)
	for _, s := range c.counts() {
		*s.value = cmp.Or(*s.value, s.standard)
	}
	for _, s := range c.durations() {
		*s.value = cmp.Or(*s.value, s.standard)
	}
	if !idle {
		c.IdleTimeout = min(c.IdleTimeout, c.MaxLifetime)
	}
	if c.UserRate == (limit.Rate{}) {
		c.UserRate = defaultUserRate
	}
	if c.PublicURL == "" && mcpauth.LoopbackHost(c.Addr) {
		c.PublicURL = "http://" + c.Addr
	}
	c.RequiredScopes = slices.Clone(c.RequiredScopes)
	c.Rules = slices.Clone(c.Rules)
	c.ToolRates = maps.Clone(c.ToolRates)
	c.TrustedProxies = slices.Clone(c.TrustedProxies)
	if named, ok := c.Provider.(mcpauth.Issuing); ok && c.AuthorizationServers == nil {
		for _, issuer := range named.Issuers() {
			u, err := url.Parse(issuer)
			if err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http" && mcpauth.LoopbackHost(u.Host)) {
				c.AuthorizationServers = append(c.AuthorizationServers, issuer)
			}
		}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// anyOrigin reports whether pages of every origin are welcome.
func (c *Config) anyOrigin() bool { return c.Development && slices.Contains(c.AllowedOrigins, "*") }

// faults returns everything that is wrong with c, apart from what the parts
// that it is made of find themselves.
func (c *Config) faults() []mcpauth.Fault {
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
	switch {
	case c.Resolver != nil && c.ResourceType == "":
		add("ResourceType", "empty, with a Resolver", "both or neither")
	case c.Resolver == nil && c.ResourceType != "":
		add("ResourceType", fmt.Sprintf("found %q, without a Resolver", c.ResourceType), "both or neither")
	}
	if _, ok := c.Provider.(mcpauth.DevelopmentOnly); ok && !c.Development {
		add("Provider", "lets requests in without a credential", "one that asks for a credential, or Development")
	}
	if singleUser(c.Resolver) && !singleUser(c.Provider) {
		add("Resolver", "gives every user the same credential", "one that tells users apart; a single local user is served by Stdio")
	}
	forwards, _ := c.Resolver.(mcpauth.Forwarding)
	lax, _ := c.Provider.(mcpauth.Lenient)
	if forwards != nil && lax != nil && forwards.ForwardsToken() && lax.TakesAnyAudience() {
		add("Resolver", "sends users' tokens on, while the Provider takes tokens that are meant for others", "a Provider that checks the audience, or a Resolver that does not forward tokens")
	}
	c.connectFaults(add)
	if a := c.Assertions; a != nil && a.Issuer() != strings.TrimSuffix(c.PublicURL, "/") {
		add("Assertions", fmt.Sprintf("their Issuer is %q, while PublicURL is %q", a.Issuer(), c.PublicURL), "one URL, at which their keys are")
	}
	c.revocationFaults(add)
	c.addressFaults(add)
	if c.LegacyInstances != PerSession && c.LegacyInstances != PerUser {
		add("LegacyInstances", fmt.Sprintf("found %q", c.LegacyInstances), "PerSession or PerUser")
	}
	if c.ModernInstances != PerUser && c.ModernInstances != PerRequest {
		add("ModernInstances", fmt.Sprintf("found %q", c.ModernInstances), "PerUser or PerRequest")
	}
	if c.MaxBodyBytes < 0 {
		add("MaxBodyBytes", fmt.Sprintf("found %d", c.MaxBodyBytes), "a positive number of bytes")
	}
	for _, s := range c.counts() {
		if *s.value < 0 {
			add(s.field, fmt.Sprintf("found %d", *s.value), "a positive number")
		}
	}
	for _, s := range c.durations() {
		if *s.value < 0 {
			add(s.field, fmt.Sprintf("found %s", *s.value), "a positive duration")
		}
	}
	if c.MaxLifetime > 0 && c.MaxLifetime < c.IdleTimeout {
		add("MaxLifetime", fmt.Sprintf("found %s, while IdleTimeout is %s", c.MaxLifetime, c.IdleTimeout), "no less than IdleTimeout")
	}
	if c.LogUsers != UserHashed && !c.LogKey.IsZero() {
		add("LogKey", "set, while LogUsers is not UserHashed", "both or neither")
	}
	if c.LogUsers < UserPlain || c.LogUsers > UserOmitted {
		add("LogUsers", fmt.Sprintf("found %d", c.LogUsers), "UserPlain, UserHashed or UserOmitted")
	}
	if n := len(c.LogKey.Reveal()); n > 0 && n < 32 {
		add("LogKey", fmt.Sprintf("has %d bytes", n), "at least 32, made at random")
	}
	return faults
}

// connectFaults adds what is wrong with what becomes of users without a
// credential.
func (c *Config) connectFaults(add func(field, problem, expected string)) {
	switch c.NotConnected {
	case ServeLimited, RefuseCalls, AskToConnect:
	default:
		add("NotConnected", fmt.Sprintf("found %q", c.NotConnected), "ServeLimited, RefuseCalls or AskToConnect")
	}
	if c.NotConnected == ServeLimited && c.ConnectURL != "" {
		add("ConnectURL", "set, while NotConnected is ServeLimited", "RefuseCalls or AskToConnect, or no ConnectURL")
	}
	if c.NotConnected != ServeLimited && c.Resolver == nil {
		add("NotConnected", fmt.Sprintf("found %q, without a Resolver", c.NotConnected), "both or neither")
	}
	const expected = "an https URL for a browser (http for a loopback host)"
	if u, err := url.Parse(c.ConnectURL); c.ConnectURL != "" && (err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !mcpauth.LoopbackHost(u.Host))) {
		add("ConnectURL", "not a URL to send users to", expected)
	}
	if c.ConnectURL == "" && c.NotConnected == AskToConnect {
		add("ConnectURL", "missing, while NotConnected is AskToConnect", expected)
	}
}

// unconnected is what refuses calls of users without a credential.
func (c *Config) unconnected() *inproc.Unconnected {
	if c.NotConnected == ServeLimited {
		return nil
	}
	return &inproc.Unconnected{ResourceType: c.ResourceType, URL: c.ConnectURL, Ask: c.NotConnected == AskToConnect}
}

// singleUser reports whether part knows of one user only, such as an env.Resolver.
func singleUser(part any) bool {
	_, ok := part.(mcpauth.SingleUser)
	return ok
}

// addressFaults adds what is wrong with where c listens and who may come.
func (c *Config) addressFaults(add func(field, problem, expected string)) {
	if !validAddr(c.Addr) {
		add("Addr", fmt.Sprintf("found %q", c.Addr), `"host:port", with a port from 0 to 65535`)
		if c.PublicURL == "" || c.PublicURL == "http://"+c.Addr {
			c.PublicURL = "http://127.0.0.1" // which is not at fault
		}
	} else if c.PublicURL == "" {
		add("PublicURL", fmt.Sprintf("missing, while Addr %q is beyond loopback", c.Addr), `the origin that clients see, such as "https://mcp.example.com"`)
	} else if mcpauth.LoopbackHost(c.Addr) && strings.HasSuffix(c.Addr, ":0") && c.PublicURL == "http://"+c.Addr {
		add("PublicURL", fmt.Sprintf("missing, while Addr %q leaves the port open", c.Addr), "a fixed port, or a PublicURL")
	}
	if c.OperationsAddr == c.Addr && !strings.HasSuffix(c.Addr, ":0") {
		add("OperationsAddr", fmt.Sprintf("found %q, which is Addr", c.OperationsAddr), "an address of its own")
	}
	if c.OperationsAddr != "" && (!mcpauth.LoopbackHost(c.OperationsAddr) || !validAddr(c.OperationsAddr)) {
		add("OperationsAddr", fmt.Sprintf("found %q", c.OperationsAddr), `"host:port" on loopback, since nobody is asked for a credential there`)
	}
	if c.Development && !mcpauth.LoopbackHost(c.Addr) {
		add("Development", fmt.Sprintf("set, while Addr %q is beyond loopback", c.Addr), "an Addr on loopback")
	}
	if i := slices.Index(c.AllowedOrigins, "*"); i >= 0 && !c.Development {
		add(fmt.Sprintf("AllowedOrigins[%d]", i), `found "*"`, `one origin, such as "https://app.example.com" ("*" is for Development)`)
	}
	if c.CORS && len(c.AllowedOrigins) == 0 {
		add("AllowedOrigins", "missing, while CORS is on", `the origins whose pages may call, such as "https://app.example.com"`)
	}
	for i, p := range c.TrustedProxies {
		if !p.IsValid() {
			add(fmt.Sprintf("TrustedProxies[%d]", i), "not an address range", `netip.MustParsePrefix("10.0.0.0/8")`)
		}
	}
}

// ownNames are what settings of the parts are called here.
var ownNames = map[string]map[string]string{
	"mcpauth": {"Path": "BasePath", "Scopes": "SupportedScopes"},
	"policy":  {"Scopes": "RequiredScopes", "Hierarchy": "ScopeHierarchy"},
	"limit":   {"User": "UserRate", "Tools": "ToolRates"},
	"admin":   {"": "Admin."},
}

// collect adds the faults of err, a part's *mcpauth.ConfigError, to faults.
func collect(faults []mcpauth.Fault, err error) []mcpauth.Fault {
	var part *mcpauth.ConfigError
	if errors.As(err, &part) {
		names := ownNames[part.Package]
		for _, f := range part.Faults {
			end := strings.IndexAny(f.Field, "[.")
			if end < 0 {
				end = len(f.Field)
			}
			f.Field = names[""] + cmp.Or(names[f.Field[:end]], f.Field[:end]) + f.Field[end:]
			// Parts share some settings; one mention is enough.
			if !slices.ContainsFunc(faults, func(g mcpauth.Fault) bool { return g.Field == f.Field }) {
				faults = append(faults, f)
			}
		}
	}
	return faults
}

func validAddr(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	n, errPort := strconv.Atoi(port)
	return err == nil && errPort == nil && n >= 0 && n <= 65535
}
