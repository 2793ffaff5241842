package gateway

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/rs/cors"
	"go.opentelemetry.io/otel/trace"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/admin"
	"github.com/mcpauth-go/mcpauth/internal/envelope"
	"github.com/mcpauth-go/mcpauth/internal/gate"
	"github.com/mcpauth-go/mcpauth/internal/infopage"
	"github.com/mcpauth-go/mcpauth/internal/observe"
	"github.com/mcpauth-go/mcpauth/limit"
	"github.com/mcpauth-go/mcpauth/policy"
	"github.com/mcpauth-go/mcpauth/upstream/inproc"
)

// Gateway serves MCP to verified users. It is safe for concurrent use.
type Gateway struct {
	config   Config
	resource *mcpauth.Resource
	door     mcpauth.Requirement
	policy   *policy.Policy
	limiter  *limit.Limiter
	upstream *inproc.Upstream
	observer *observe.Observer
	tracer   trace.Tracer  // nil when nothing is traced
	admin    *admin.Server // nil when there is none
	routes   *http.ServeMux
	reading  readers
	requests gate.Gate
	served   atomic.Bool
	starting atomic.Bool // Run or Serve has begun, and Start has not ended
	unready  atomic.Bool // the last probe found the provider not ready
	draining atomic.Bool // Run or Serve is about to stop

	unheed func() // undoes heed
	swept  uint32 // epoch of the revocations that have been seen to; theirs alone

	// streams is done when the gateway begins to stop: it ends what would
	// otherwise stay open for as long as the client likes.
	streams    context.Context
	endStreams context.CancelFunc
}

// New returns a Gateway for c. The error, a *mcpauth.ConfigError, has
// everything that is wrong with the configuration. Run, Serve or Shutdown must
// follow.
func New(c Config) (*Gateway, error) {
	c = c.withDefaults()
	path := c.BasePath
	if path == "/" {
		path = ""
	}
	faults := c.faults()
	part := func(err error) { faults = collect(faults, err) }
	g := &Gateway{config: c, routes: http.NewServeMux()}
	var err error
	g.policy, err = policy.New(policy.Config{Scopes: c.RequiredScopes, Rules: c.Rules, Strict: c.StrictRules, Hierarchy: c.ScopeHierarchy})
	part(err)
	if c.SupportedScopes == nil && err == nil {
		c.SupportedScopes = c.RequiredScopes
	}
	g.resource, err = mcpauth.NewResource(mcpauth.ResourceConfig{
		PublicURL: c.PublicURL, Path: path, AuthorizationServers: c.AuthorizationServers, Scopes: c.SupportedScopes,
	})
	part(err)
	origins := c.AllowedOrigins
	if c.anyOrigin() {
		origins = nil
	}
	checkOrigin, err := mcpauth.CheckOrigin(mcpauth.OriginConfig{
		PublicURL: c.PublicURL, AllowedHosts: c.AllowedHosts, AllowedOrigins: origins, AnyOrigin: c.anyOrigin(), Refused: noteRefusal,
	})
	part(err)
	if c.Admin.Socket != "" || c.Admin.Addr != "" || c.Admin.TokenFile != "" || c.Admin.Handler != nil {
		if c.Admin.Logger == nil {
			c.Admin.Logger = c.Logger
		}
		c.Admin.Handler = c.administration()
		g.admin, err = admin.New(c.Admin)
		part(err)
	}
	g.limiter, err = limit.New(limit.Config{User: c.UserRate, Tools: c.ToolRates})
	part(err)
	if len(faults) > 0 {
		if g.limiter != nil {
			g.limiter.Close()
		}
		return nil, &mcpauth.ConfigError{Package: "gateway", Faults: faults}
	}

	g.door = mcpauth.Requirement{ChallengeScopes: c.RequiredScopes, Resource: g.resource, Refused: noteRefusal}
	g.streams, g.endStreams = context.WithCancel(context.Background())
	g.observer = observe.New(observe.Config{
		Logger: c.Logger, Users: c.LogUsers, HashKey: c.LogKey, Audit: c.Audit, Live: g.live, Measured: g.measured(),
	})
	if c.TracerProvider != nil {
		g.tracer = c.TracerProvider.Tracer("github.com/mcpauth-go/mcpauth/gateway")
	}
	var standing func(*mcpauth.Identity) error
	if c.tracks() {
		standing = g.standing
	}
	g.upstream = inproc.New(inproc.Config{
		Factory: c.Factory, Sessions: c.LegacyInstances, Requests: c.ModernInstances,
		Limits: inproc.Limits{
			Sessions: c.MaxSessions, SessionsPerUser: c.MaxSessionsPerUser, StreamsPerUser: c.MaxStreamsPerUser, CallsPerUser: c.MaxCallsPerUser,
			Instances: c.MaxInstances, Idle: c.IdleTimeout, Lifetime: c.MaxLifetime, ReplayBytes: c.ReplayBytes,
		},
		FactoryTimeout: c.FactoryTimeout, CallTimeout: c.RequestTimeout, MaxBodyBytes: c.MaxBodyBytes, Standing: standing, Unconnected: c.unconnected(),
		Shows: g.shows(), Listed: g.listed(), Failed: noteFailure, Refuse: g.refuse, Refused: noteRefusal, Logger: c.Logger,
	})
	g.unheed = g.heed()
	g.route(path, checkOrigin)
	return g, nil
}

// route puts the stations in line.
func (g *Gateway) route(path string, checkOrigin func(http.Handler) http.Handler) {
	authenticated := mcpauth.Require(contained{g.provider(), g}, g.door)
	line := func(next http.Handler) http.Handler { return g.observe(checkOrigin(g.cors(next))) }
	pattern := path
	if pattern == "" {
		pattern = "/{$}"
	}
	info := infopage.Info{Resource: g.resource.Identifier(), MetadataURL: g.resource.MetadataURL()}
	if g.config.LegacySSE {
		info.LegacySSEURL = g.resource.Identifier() + "/sse"
	}
	page := infopage.New(info)
	serve := line(infoFor(page, authenticated(http.HandlerFunc(g.serveMCP))))
	g.routes.Handle(pattern, serve)
	if path != "" {
		g.routes.Handle(path+"/{$}", serve) // as many clients write it
		g.routes.Handle("/", line(http.HandlerFunc(g.notFound)))
	}
	if g.config.LegacySSE {
		g.routes.Handle(path+"/sse", line(authenticated(g.sseStream(path+"/message"))))
		g.routes.Handle(path+"/message", line(authenticated(http.HandlerFunc(g.sseMessage))))
	}
	g.routes.Handle(path+"/health", onlyGet(func(w http.ResponseWriter, _ *http.Request) { writeHealth(w, http.StatusOK, "ok") }))
	g.routes.Handle(path+"/health/ready", onlyGet(g.serveReady))
	if metadata := g.resource.MetadataPath(); metadata != "" {
		g.routes.Handle(metadata, g.resource)
	}
	if g.config.Assertions != nil {
		g.routes.Handle("/.well-known/jwks.json", onlyGet(g.config.Assertions.ServeHTTP))
	}
}

// cors returns next with the headers that let pages of other origins read the
// answers. A preflight is answered here: it has no credential.
func (g *Gateway) cors(next http.Handler) http.Handler {
	if !g.config.CORS {
		return next
	}
	return cors.New(cors.Options{
		// What gets here has passed the origin check, which knows more than one
		// spelling of an origin. Two lists could differ.
		AllowOriginFunc: func(string) bool { return true },
		AllowedMethods:  []string{http.MethodGet, http.MethodPost, http.MethodDelete},
		AllowedHeaders:  []string{"*"}, // tools may ask for Mcp-Param-* headers of their own
		ExposedHeaders:  []string{"WWW-Authenticate", "Mcp-Session-Id", "Mcp-Protocol-Version", "Retry-After", "X-Request-Id"},
		MaxAge:          7200,
	}).Handler(next)
}

// infoFor returns next, but with page for browsers: they ask for HTML, which no
// MCP client does.
func infoFor(page, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if (r.Method == http.MethodGet || r.Method == http.MethodHead) && wantsPage(r.Header.Values("Accept")) {
			noteOf(r.Context()).public = true
			page.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Resource returns what the gateway protects, with its identifier: the
// audience that tokens for it have.
func (g *Gateway) Resource() *mcpauth.Resource { return g.resource }

// Stats returns what is alive now.
func (g *Gateway) Stats() Stats { return g.upstream.Stats() }

// StatsOf returns what is alive now of one user. An author may show it to the
// user concerned.
func (g *Gateway) StatsOf(id *mcpauth.Identity) UserStats { return g.upstream.StatsOf(id) }

// ServeHTTP serves MCP, health and the resource metadata.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !g.requests.Enter() {
		g.observe(http.HandlerFunc(g.refuseLate)).ServeHTTP(w, r)
		return
	}
	defer g.requests.Leave()
	if r.ContentLength != 0 {
		// A client that sends slowly must not hold the connection for ever,
		// whatever the answer: net/http reads the body before a refusal, too.
		// Not every ResponseWriter can do this; net/http's can.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(g.config.BodyTimeout))
	}
	g.routes.ServeHTTP(w, r)
}

func (g *Gateway) notFound(w http.ResponseWriter, _ *http.Request) {
	envelope.WriteError(w, http.StatusNotFound, nil, envelope.CodeInvalidRequest, "Not found. MCP is served at "+g.config.BasePath)
}

func (g *Gateway) refuseLate(w http.ResponseWriter, r *http.Request) {
	g.refuse(w, r, &mcpauth.Error{Code: mcpauth.ErrUnavailable, Message: "The server is shutting down."})
}

// serveMCP takes what a verified user sends down the line.
func (g *Gateway) serveMCP(w http.ResponseWriter, r *http.Request) {
	g.pass(w, r, g.allowed, g.upstream.Serve)
}

// pass takes what a verified user sends down the line, by way of a transport
// with its own allowed, to serve.
func (g *Gateway) pass(w http.ResponseWriter, r *http.Request, allowed allowFunc, serve serveFunc) {
	note := noteOf(r.Context())
	note.identity = mcpauth.FromContext(r.Context())
	w, r, done, ok := g.admit(w, r)
	defer done()
	if !ok {
		return
	}
	var messages []envelope.Message
	switch {
	case r.Method == http.MethodPost:
		principal := note.identity.Principal()
		if !g.reading.enter(principal) {
			g.tooMuch(w, r, nil, 0)
			return
		}
		var ok bool
		messages, ok = g.readMessages(w, r)
		g.reading.leave(principal)
		if !ok {
			g.limiter.Take(principal, 1) // garbage is not free
			return
		}
	case r.ContentLength != 0:
		// A stream that began before its request has ended could not be ended.
		w.Header().Set("Connection", "close")
		envelope.WriteError(w, http.StatusBadRequest, nil, envelope.CodeInvalidRequest, r.Method+" takes no body")
		return
	}
	note.asked(r, messages)
	// Limits first: what is refused costs something, too.
	if !g.withinLimits(w, r, messages) || r.Method == http.MethodPost && !g.agree(w, r, messages) || !allowed(w, r, messages) {
		return
	}
	if r, ok = g.withCredential(w, r); !ok {
		return
	}
	if note.stream {
		ctx, end := context.WithCancelCause(r.Context())
		defer end(nil)
		defer context.AfterFunc(g.streams, func() { end(errStopping) })()
		r = r.WithContext(ctx)
	}
	serve(w, r, messages)
}

type (
	// allowFunc reports whether the user may do what messages ask for, or
	// answers why not.
	allowFunc func(w http.ResponseWriter, r *http.Request, messages []envelope.Message) bool
	// serveFunc answers r, which has passed every station.
	serveFunc func(w http.ResponseWriter, r *http.Request, messages []envelope.Message)
)

// allowed reports whether the user may do what messages ask for, or answers
// why not.
func (g *Gateway) allowed(w http.ResponseWriter, r *http.Request, messages []envelope.Message) bool {
	id := mcpauth.FromContext(r.Context())
	refusal := g.policy.Check(id, operations(messages))
	switch {
	case refusal == nil:
		return true
	case refusal.Code == mcpauth.ErrForbidden:
		noteRefusal(r, refusal)
		status := http.StatusOK
		if len(messages) > 1 {
			status = http.StatusBadRequest // there is no one answer to a batch
		}
		envelope.WriteError(w, status, soleID(messages), envelope.CodeInvalidParams, unknownOperation)
	default:
		if !inproc.Modern(r, messages) {
			// Clients of these versions ask for the scopes of the challenge
			// alone, and would lose those that they have.
			refusal.Scopes = union(refusal.Scopes, g.policy.Granted(id))
		}
		g.refuse(w, r, refusal)
	}
	return false
}

// unknownOperation is what is said of something that is denied to all: it is not
// shown in lists, and is not there.
const unknownOperation = "Unknown tool, prompt or resource"

func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// shows returns what decides whether a list shows an item; nil if lists show
// everything.
func (g *Gateway) shows() func(ctx context.Context, kind, name string) bool {
	denies := g.config.StrictRules || slices.ContainsFunc(g.config.Rules, func(r policy.Rule) bool { return r.Deny })
	if !denies && !g.config.FilterByScope {
		return nil
	}
	return func(ctx context.Context, kind, name string) bool {
		op := policy.Operation{Kind: policy.Kind(kind), Name: name}
		return !g.policy.Denied(op) && (!g.config.FilterByScope || g.policy.Allows(mcpauth.FromContext(ctx), op))
	}
}

// withinLimits reports whether the user has not sent too much, or answers when
// to try again.
func (g *Gateway) withinLimits(w http.ResponseWriter, r *http.Request, messages []envelope.Message) bool {
	if r.Method == http.MethodDelete {
		return true // gives back what it has
	}
	principal := mcpauth.FromContext(r.Context()).Principal()
	wait, ok := g.limiter.Take(principal, max(1, len(messages)), toolsOf(messages)...)
	switch {
	case ok:
		return true
	case wait == limit.Never:
		g.limiter.Take(principal, 1) // as for garbage
		refusal := &mcpauth.Error{Code: mcpauth.ErrRateLimited,
			Message: "The batch has more messages, or more calls of one tool, than the rate limit allows at once. Please send smaller batches."}
		noteRefusal(r, refusal)
		envelope.WriteError(w, http.StatusRequestEntityTooLarge, nil, envelope.CodeRateLimited, refusal.Message)
	default:
		g.tooMuch(w, r, soleID(messages), wait)
	}
	return false
}

// tooMuch answers a user who is to try again after wait.
func (g *Gateway) tooMuch(w http.ResponseWriter, r *http.Request, id []byte, wait time.Duration) {
	refusal := &mcpauth.Error{Code: mcpauth.ErrRateLimited, RetryAfter: wait}
	refusal.Message = "Too many requests. Please try again in " + refusal.RetrySeconds() + " s."
	noteRefusal(r, refusal)
	w.Header().Set("Retry-After", refusal.RetrySeconds())
	envelope.WriteError(w, http.StatusTooManyRequests, id, envelope.CodeRateLimited, refusal.Message)
}

// withCredential returns r with the user's credential in its context, or
// answers why there is none.
func (g *Gateway) withCredential(w http.ResponseWriter, r *http.Request) (*http.Request, bool) {
	if g.config.Resolver == nil || r.Method == http.MethodDelete {
		return r, true
	}
	credential, err := g.resolve(r.Context())
	if err != nil {
		g.refuse(w, r, unresolved{fmt.Errorf("gateway: credential for %s: %w", g.config.ResourceType, err)})
		return nil, false
	}
	return r.WithContext(mcpauth.WithCredential(r.Context(), credential)), true
}

// resolve asks the resolver, whose panics are its failures.
func (g *Gateway) resolve(ctx context.Context) (credential *mcpauth.Credential, err error) {
	defer g.recovered(ctx, "resolver", &err)
	return g.config.Resolver.Resolve(ctx, mcpauth.FromContext(ctx), g.config.ResourceType)
}

// unresolved is why there is no credential.
type unresolved struct{ error }

func (e unresolved) Unwrap() error { return e.error }

// Stage says for the log what has failed, without words of others.
func (unresolved) Stage() string { return "the resolver failed" }

// contained is a provider whose panics are its failures.
type contained struct {
	mcpauth.Provider
	g *Gateway
}

func (c contained) Authenticate(ctx context.Context, r *mcpauth.Request) (id *mcpauth.Identity, err error) {
	defer c.g.recovered(ctx, "provider", &err)
	return c.Provider.Authenticate(ctx, r)
}

// recovered makes err of a panic in one of the parts. To be deferred.
func (g *Gateway) recovered(ctx context.Context, part string, err *error) {
	if p := recover(); p != nil {
		g.config.Logger.ErrorContext(ctx, "panic in a part of the line", "request_id", mcpauth.RequestID(ctx), "part", part, "panic", p, "stack", string(debug.Stack()))
		*err = fmt.Errorf("the %s panicked: %v", part, p)
	}
}

// refuse answers a request that is not served. What is no refusal made for the
// client is a failure of ours, of which the client learns only that. The user
// has been verified: whatever a factory or a resolver has been told elsewhere,
// logging in here again would not help.
func (g *Gateway) refuse(w http.ResponseWriter, r *http.Request, err error) {
	refusal := mcpauth.AsError(err)
	switch refusal.Code {
	case mcpauth.ErrUnavailable, mcpauth.ErrRateLimited, mcpauth.ErrForbidden, mcpauth.ErrInsufficientScope, mcpauth.ErrRevoked:
	default:
		refusal = &mcpauth.Error{Code: mcpauth.ErrUnavailable, Message: "The server cannot serve this request now. Please try again later.", Cause: err}
	}
	noteRefusal(r, refusal)
	g.door.Refuse(w, refusal)
}

// live is what the metrics say is alive.
func (g *Gateway) live() observe.Live {
	s := g.Stats()
	of := func(alive, made int) observe.Instances { return observe.Instances{Alive: alive, Created: uint64(made)} }
	return observe.Live{
		InProgress: s.Calls, Sessions: s.Sessions, Streams: s.Streams, InstanceFailures: uint64(s.Failed), SessionsEvicted: uint64(s.SessionsEvicted),
		PerSession: of(s.Alive.PerSession, s.Made.PerSession),
		PerUser:    of(s.Alive.PerUser, s.Made.PerUser),
		PerRequest: of(s.Alive.PerRequest, s.Made.PerRequest),
	}
}

// measured returns those of the parts that measure themselves.
func (g *Gateway) measured() []mcpauth.Measuring {
	var all []mcpauth.Measuring
	for _, part := range g.parts() {
		if m, ok := part.(mcpauth.Measuring); ok {
			all = append(all, m)
		}
	}
	if g.config.Revocations != nil {
		all = append(all, g.config.Revocations)
	}
	return all
}

// onlyGet returns next for GET and HEAD alone.
func onlyGet(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		next(w, r)
	})
}

func (g *Gateway) serveReady(w http.ResponseWriter, _ *http.Request) {
	switch {
	case g.draining.Load() || g.streams.Err() != nil:
		writeHealth(w, http.StatusServiceUnavailable, "stopping")
	case g.starting.Load():
		writeHealth(w, http.StatusServiceUnavailable, "starting")
	case !g.providerReady():
		writeHealth(w, http.StatusServiceUnavailable, "not ready")
	default:
		writeHealth(w, http.StatusOK, "ok")
	}
}

// providerReady asks a provider that can tell whether it can judge credentials
// now. A change is logged by the first probe that sees it.
func (g *Gateway) providerReady() bool {
	provider, ok := g.config.Provider.(mcpauth.Preparing)
	if !ok {
		return true
	}
	err := provider.Ready()
	switch {
	case err != nil && g.unready.CompareAndSwap(false, true):
		g.config.Logger.Warn("not ready", "error", err)
	case err == nil && g.unready.CompareAndSwap(true, false):
		g.config.Logger.Info("ready")
	}
	return err == nil
}

func writeHealth(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintf(w, "{\"status\":%q}\n", text)
}
