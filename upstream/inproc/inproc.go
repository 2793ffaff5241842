// Package inproc is the upstream inside this process: MCP servers made with
// the official Go SDK, one for each user.
//
// An author hands over a Factory. It is called with the verified user, when a
// server for that user is needed and not before:
//
//   - in protocol versions up to 2025-11-25, once for each session;
//   - from 2026-07-28 on, where there are no sessions, once for each user, and
//     again after the user has been away for a while.
//
// Both eras are served on one URL. A server never serves two users; a session
// answers to the user who opened it and to nobody else; and the tools of a
// server see, in their context, the identity of the request they run for.
package inproc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/envelope"
)

// Call is what a Factory makes a server for.
type Call struct {
	// Identity is the user, as of the request that needs the server. Later
	// requests of the same user may come with other scopes or a newer token:
	// tools take those from their own context.
	Identity *mcpauth.Identity
}

// Instance is a server for one user.
type Instance struct {
	// Server is the user's own. One server may be returned for several
	// sessions of one user, never for two users.
	Server *mcp.Server
	// Close gives back what the instance holds. It is called once, when the
	// instance is no longer needed, and may be nil.
	Close func(context.Context) error
}

// Factory makes the server of a user. It may be called concurrently. An error
// is logged, and the request answered with 503; the next request tries again.
type Factory func(context.Context, Call) (Instance, error)

// Config says how to serve.
type Config struct {
	// Factory makes the servers. Required.
	Factory Factory
	// IdleTimeout ends a session, or a user's server, that has had no request
	// and no open stream for that long.
	IdleTimeout time.Duration
	// FactoryTimeout bounds one call of the factory.
	FactoryTimeout time.Duration
	// MaxBodyBytes bounds a request body.
	MaxBodyBytes int64
	// Refuse answers a request that cannot be served.
	Refuse func(http.ResponseWriter, error)
	// Logger takes failures.
	Logger *slog.Logger
}

// Upstream serves MCP requests whose user has been verified.
type Upstream struct {
	config   Config
	sessions http.Handler // up to 2025-11-25
	requests http.Handler // from 2026-07-28 on
	owners   owners
	pool     pool
	stop     context.CancelFunc
	running  sync.WaitGroup
}

// New returns an Upstream. Close releases it.
func New(c Config) *Upstream {
	u := &Upstream{config: c, pool: newPool()}
	// This runs behind the gateway, which has verified the user and has
	// replaced the credential. What is left to say to the SDK is who it is.
	identify := auth.RequireBearerToken(tokenInfo, &auth.RequireBearerTokenOptions{
		AllowMissingExpiration: true,
		ClockSkew:              24 * time.Hour, // expiry has been judged, with our leeway
	})
	options := func(stateless bool) *mcp.StreamableHTTPOptions {
		return &mcp.StreamableHTTPOptions{
			Stateless:                    stateless,
			PropagateRequestCancellation: stateless,
			DisableLocalhostProtection:   true, // the gateway has checked Host
			MaxRequestBodyBytes:          c.MaxBodyBytes,
		}
	}
	u.sessions = identify(mcp.NewStreamableHTTPHandler(serverOf, options(false)))
	u.requests = identify(mcp.NewStreamableHTTPHandler(serverOf, options(true)))
	ctx, stop := context.WithCancel(context.Background())
	u.stop = stop
	u.running.Go(func() { u.sweep(ctx) })
	return u
}

const (
	versionHeader = "Mcp-Protocol-Version"
	sessionHeader = "Mcp-Session-Id"
	// modernVersion is the first protocol version without sessions.
	modernVersion = "2026-07-28"
)

// Serve answers r, whose context has the user and whose body, if any, holds
// messages.
func (u *Upstream) Serve(w http.ResponseWriter, r *http.Request, messages []envelope.Message) {
	id := mcpauth.FromContext(r.Context())
	if id == nil {
		u.config.Refuse(w, errors.New("inproc: a request without a verified user"))
		return
	}
	r.Header["Authorization"] = placeholder
	session := r.Header.Get(sessionHeader)
	switch {
	case modern(r, session, messages):
		if r.Method != http.MethodPost {
			// The SDK says the same, but only a server can ask it.
			w.Header().Set("Allow", http.MethodPost)
			envelope.WriteError(w, http.StatusMethodNotAllowed, envelope.CodeInvalidRequest, "Method Not Allowed")
			return
		}
		u.serveRequest(w, r, id, messages[0].Method == "subscriptions/listen")
	case session != "":
		u.serveSession(w, r, id, session)
	case r.Method == http.MethodPost && messages[0].Method == "initialize":
		u.openSession(w, r, id)
	default:
		envelope.WriteError(w, http.StatusBadRequest, envelope.CodeInvalidRequest, "Bad Request: the Mcp-Session-Id header is required")
	}
}

// placeholder is what handlers see in place of the credential. The SDK asks
// for some bearer token, and looks no further. In lower case, because that is
// what it turns the scheme into.
var placeholder = []string{"bearer verified"}

// modern reports whether a request belongs to the protocol without sessions.
func modern(r *http.Request, session string, messages []envelope.Message) bool {
	version := r.Header.Get(versionHeader)
	if version >= modernVersion {
		return true
	}
	if r.Method != http.MethodPost || session != "" {
		return false
	}
	return messages[0].Version != "" || version == "" && messages[0].Method != "initialize"
}

func (u *Upstream) serveRequest(w http.ResponseWriter, r *http.Request, id *mcpauth.Identity, stream bool) {
	in, err := u.pool.user(r.Context(), id.Principal(), func(ctx context.Context) (*instance, error) {
		return u.create(ctx, id)
	}, u.close)
	if err != nil {
		u.config.Refuse(w, err)
		return
	}
	defer in.release()
	serve(u.requests, w, r, in, id, stream)
}

func (u *Upstream) serveSession(w http.ResponseWriter, r *http.Request, id *mcpauth.Identity, session string) {
	in := u.pool.session(session, id.Principal())
	if in == nil {
		// The same for a session that never was and for another user's, so
		// that nobody learns which ids are in use. Decided here: the SDK
		// would tell the two apart.
		envelope.WriteError(w, http.StatusNotFound, envelope.CodeSession, "Session not found")
		return
	}
	defer in.release()
	serve(u.sessions, w, r, in, id, r.Method == http.MethodGet)
}

// serve has handler answer a request of id's. A stream lasts no longer than
// the credentials of its user.
func serve(handler http.Handler, w http.ResponseWriter, r *http.Request, in *instance, id *mcpauth.Identity, stream bool) {
	in.present(id.Expiry())
	if stream {
		ctx, cancel := in.whileEntitled(r.Context())
		defer cancel()
		r = r.WithContext(ctx)
	}
	handler.ServeHTTP(w, withInstance(r, in))
}

func (u *Upstream) openSession(w http.ResponseWriter, r *http.Request, id *mcpauth.Identity) {
	in, err := u.create(r.Context(), id)
	if err != nil {
		u.config.Refuse(w, err)
		return
	}
	serve(u.sessions, w, r, in, id, false)
	close(in.opened)
	in.release()
	if in.session.CompareAndSwap(nil, abandoned) {
		u.close(in) // initialize did not succeed, or the client has left before
	}
}

// create calls the factory and makes its server ready to serve id alone. The
// new instance is in use by the caller.
func (u *Upstream) create(ctx context.Context, id *mcpauth.Identity) (*instance, error) {
	ctx, cancel := context.WithTimeout(ctx, u.config.FactoryTimeout)
	defer cancel()
	made, err := callFactory(ctx, u.config.Factory, Call{Identity: id})
	if err != nil {
		return nil, fmt.Errorf("inproc: factory: %w", err)
	}
	in := &instance{principal: id.Principal(), made: made, opened: make(chan struct{}), uses: 1}
	if made.Server == nil {
		u.close(in)
		return nil, errors.New("inproc: factory: no server")
	}
	first, err := u.owners.claim(made.Server, in.principal)
	if err != nil {
		u.close(in)
		return nil, err
	}
	if first {
		made.Server.AddReceivingMiddleware(u.onBehalfOf(in.principal))
	}
	return in, nil
}

func callFactory(ctx context.Context, factory Factory, call Call) (made Instance, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return factory(ctx, call)
}

// onBehalfOf is MCP middleware of a server that belongs to principal. In a
// session the SDK hands every tool the context of the session's first request;
// this puts the present request's identity there.
func (u *Upstream) onBehalfOf(principal string) mcp.Middleware {
	return func(next mcp.MethodHandler) mcp.MethodHandler {
		return func(ctx context.Context, method string, req mcp.Request) (result mcp.Result, err error) {
			defer func() {
				// The SDK runs this in a goroutine of its own, where a panic
				// would end the process for all users.
				if p := recover(); p != nil {
					u.config.Logger.Error("panic in a server", "method", method, "panic", p, "stack", string(debug.Stack()))
					result, err = nil, &jsonrpc.Error{Code: envelope.CodeInternal, Message: "internal error"}
				}
			}()
			id := identityOf(req)
			if id == nil || id.Principal() != principal {
				return nil, errors.New("this server belongs to another user")
			}
			result, err = next(mcpauth.NewContext(ctx, id), method, req)
			if err != nil {
				return nil, err
			}
			if method == "initialize" {
				if err := u.bind(ctx, req); err != nil {
					return nil, err
				}
			}
			keepPrivate(result)
			return result, nil
		}
	}
}

// bind ties the session that is being initialized to its instance, before the
// client learns the session's id.
func (u *Upstream) bind(ctx context.Context, req mcp.Request) error {
	in := instanceFrom(ctx)
	session, ok := req.GetSession().(*mcp.ServerSession)
	if !ok || in == nil || session.ID() == "" {
		return nil
	}
	if in.session.Load() == session {
		return nil // initialized again
	}
	if !in.session.CompareAndSwap(nil, session) {
		u.running.Go(func() { session.Close() }) // it waits for this very request to end
		return errors.New("the client has left")
	}
	added := u.pool.addSession(session.ID(), in)
	u.running.Go(func() {
		if !added {
			<-in.opened // closing the session now could cut off the answer
			session.Close()
		}
		session.Wait()
		u.pool.removeSession(session.ID(), in)
		u.close(in)
	})
	if !added {
		return errors.New("no session can be opened: its id is in use, or the server is shutting down")
	}
	return nil
}

// keepPrivate tells clients and caches between us that a result is for this
// user alone; the protocol's default is public.
func keepPrivate(result mcp.Result) {
	const private = "private"
	switch r := result.(type) {
	case *mcp.DiscoverResult:
		r.CacheScope = private
	case *mcp.ListToolsResult:
		r.CacheScope = private
	case *mcp.ListPromptsResult:
		r.CacheScope = private
	case *mcp.ListResourcesResult:
		r.CacheScope = private
	case *mcp.ListResourceTemplatesResult:
		r.CacheScope = private
	case *mcp.ReadResourceResult:
		r.CacheScope = private
	}
}

const identityExtra = "mcpauth.identity"

// told is what the SDK is told of a user, made once for an identity that many
// requests come with.
type told struct {
	id   *mcpauth.Identity
	info *auth.TokenInfo
}

// tokenInfo tells the SDK who the user is. It is the one thing of a request
// that reaches each handler of a session.
func tokenInfo(ctx context.Context, _ string, _ *http.Request) (*auth.TokenInfo, error) {
	id, in := mcpauth.FromContext(ctx), instanceFrom(ctx)
	last := in.told.Load()
	if last == nil || last.id != id {
		last = &told{id, &auth.TokenInfo{
			UserID:     id.Principal(),
			Scopes:     id.Scopes(),
			Expiration: id.Expiry(),
			Extra:      map[string]any{identityExtra: id},
		}}
		in.told.Store(last)
	}
	return last.info, nil
}

func identityOf(req mcp.Request) *mcpauth.Identity {
	extra := req.GetExtra()
	if extra == nil || extra.TokenInfo == nil {
		return nil
	}
	id, _ := extra.TokenInfo.Extra[identityExtra].(*mcpauth.Identity)
	return id
}

type instanceKey struct{}

func withInstance(r *http.Request, in *instance) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), instanceKey{}, in))
}

func instanceFrom(ctx context.Context) *instance {
	in, _ := ctx.Value(instanceKey{}).(*instance)
	return in
}

// serverOf answers the SDK, which asks several times for each request.
func serverOf(r *http.Request) *mcp.Server { return instanceFrom(r.Context()).made.Server }

// Stats is what is alive now.
type Stats struct {
	Sessions int // each with a server of its own
	Users    int // with a server of their own outside of sessions
}

// Stats returns the live counts.
func (u *Upstream) Stats() Stats { return u.pool.stats() }

// sweep ends what has been idle for too long.
func (u *Upstream) sweep(ctx context.Context) {
	ticker := time.NewTicker(max(u.config.IdleTimeout/4, time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			for _, in := range u.pool.takeIdle(u.config.IdleTimeout) {
				// A call whose client has left may still be running.
				u.running.Go(func() { u.end(in) })
			}
		}
	}
}

// end ends an instance that nobody can reach any more.
func (u *Upstream) end(in *instance) {
	if session := in.session.Load(); session != nil {
		session.Close() // and the goroutine of bind closes the instance
		return
	}
	u.close(in)
}

// closeTimeout bounds the Close of one instance.
const closeTimeout = 10 * time.Second

func (u *Upstream) close(in *instance) {
	if in.made.Close == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := in.made.Close(ctx); err != nil {
		u.config.Logger.Warn("closing a server instance failed", "error", err)
	}
}

// Close ends all sessions and instances: requests in progress are waited for,
// until ctx is done. It is to be called once no new request can come.
func (u *Upstream) Close(ctx context.Context) error {
	u.stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		var ending sync.WaitGroup
		for _, in := range u.pool.takeAll() {
			ending.Go(func() { u.end(in) })
		}
		ending.Wait()
		u.running.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		select {
		case <-done:
			return nil
		default:
		}
		return fmt.Errorf("inproc: instances still busy: %w", ctx.Err())
	}
}
