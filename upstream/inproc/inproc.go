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
//
// Authors need Factory, Call and Instance, which package gateway has too. The
// rest is for the gateway, which verifies the user first.
package inproc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/envelope"
	"github.com/mcpauth-go/mcpauth/internal/gate"
)

// Config says how to serve. All fields are required.
type Config struct {
	// Factory makes the servers.
	Factory Factory
	// IdleTimeout ends a session, or a user's server, that has had no request
	// and no open stream for that long.
	IdleTimeout time.Duration
	// FactoryTimeout is how long a request waits for the factory.
	FactoryTimeout time.Duration
	// MaxBodyBytes bounds a request body.
	MaxBodyBytes int64
	// Refuse answers a request that cannot be served.
	Refuse func(http.ResponseWriter, *http.Request, error)
	// Logger takes failures.
	Logger *slog.Logger
}

// Upstream serves MCP requests whose user has been verified.
type Upstream struct {
	config   Config
	identify func(http.Handler) http.Handler
	requests http.Handler // from 2026-07-28 on; sessions have a handler each
	owners   owners
	pool     pool

	// stopping is done when Shutdown begins. tasks are the goroutines of ours,
	// and those in which a factory runs.
	stopping context.Context
	stop     context.CancelFunc
	tasks    gate.Gate
}

// New returns an Upstream. Shutdown releases it.
func New(c Config) *Upstream {
	u := &Upstream{config: c}
	u.pool = newPool(&u.tasks)
	// This runs behind the gateway, which has verified the user and has
	// replaced the credential. What is left to say to the SDK is who it is.
	u.identify = auth.RequireBearerToken(tokenInfo, &auth.RequireBearerTokenOptions{
		AllowMissingExpiration: true,
		ClockSkew:              24 * time.Hour, // expiry has been judged, with our leeway
	})
	u.requests = u.handler(true)
	u.stopping, u.stop = context.WithCancel(context.Background())
	u.spawn(u.sweep)
	return u
}

// handler returns a handler of the SDK for one of the eras.
func (u *Upstream) handler(stateless bool) http.Handler {
	return u.identify(mcp.NewStreamableHTTPHandler(serverOf, &mcp.StreamableHTTPOptions{
		Stateless:                    stateless,
		PropagateRequestCancellation: stateless,
		DisableLocalhostProtection:   true, // the gateway has checked Host
		MaxRequestBodyBytes:          u.config.MaxBodyBytes,
	}))
}

// spawn runs f in a goroutine that Shutdown waits for.
func (u *Upstream) spawn(f func()) {
	counted := u.tasks.Enter()
	go func() {
		if counted {
			defer u.tasks.Leave()
		}
		f()
	}()
}

const (
	versionHeader = "Mcp-Protocol-Version"
	sessionHeader = "Mcp-Session-Id"
	// modernVersion is the first protocol version without sessions.
	modernVersion = "2026-07-28"
	// methodListen opens a stream that lasts as long as the client likes.
	methodListen = "subscriptions/listen"
)

// IsStream reports whether r, with these messages in its body, opens a stream
// rather than asking for an answer.
func IsStream(r *http.Request, messages []envelope.Message) bool {
	return r.Method == http.MethodGet || slices.ContainsFunc(messages, func(m envelope.Message) bool { return m.Method == methodListen })
}

// Serve answers r, whose context has the user, whose header is the gateway's
// own copy, and whose body, in a POST, holds messages.
func (u *Upstream) Serve(w http.ResponseWriter, r *http.Request, messages []envelope.Message) {
	id := mcpauth.FromContext(r.Context())
	if id == nil || r.Method == http.MethodPost && len(messages) == 0 {
		u.config.Refuse(w, r, errors.New("inproc: a request without a verified user, or unread"))
		return
	}
	// What handlers see in place of the credential. The SDK asks for some
	// bearer token and looks no further; in lower case, because that is what
	// it turns the scheme into.
	r.Header["Authorization"] = []string{"bearer verified"}
	session := r.Header.Get(sessionHeader)
	stream := IsStream(r, messages)
	switch {
	case r.Method != http.MethodPost && r.Method != http.MethodGet && r.Method != http.MethodDelete:
		w.Header().Set("Allow", "GET, POST, DELETE")
		envelope.WriteError(w, http.StatusMethodNotAllowed, envelope.CodeInvalidRequest, "Method Not Allowed")
	case r.Method == http.MethodPost && !accepts(r):
		envelope.WriteError(w, http.StatusNotAcceptable, envelope.CodeInvalidRequest, "Accept must contain both application/json and text/event-stream")
	case stream && r.Method == http.MethodPost && r.Header.Get(versionHeader) < modernVersion:
		// The SDK would take it in every era, and keep it for as long as the
		// session lives, whether or not the client stays.
		envelope.WriteError(w, http.StatusBadRequest, envelope.CodeMethodNotFound, methodListen+" is a method of "+modernVersion+" and later")
	case modern(r, session, messages):
		if r.Method != http.MethodPost {
			// The SDK says the same, but only a server can ask it.
			w.Header().Set("Allow", http.MethodPost)
			envelope.WriteError(w, http.StatusMethodNotAllowed, envelope.CodeInvalidRequest, "Method Not Allowed")
			return
		}
		u.serveRequest(w, r, id, stream)
	case session != "":
		u.serveSession(w, r, id, session, stream)
	case r.Method == http.MethodPost && messages[0].Method == "initialize" && messages[0].HasID:
		u.openSession(w, r, id)
	default:
		envelope.WriteError(w, http.StatusBadRequest, envelope.CodeInvalidRequest, "Bad Request: the Mcp-Session-Id header is required")
	}
}

// accepts reports whether the client takes both forms of an answer, as the
// protocol demands of it.
func accepts(r *http.Request) bool {
	json, stream := false, false
	for _, value := range r.Header.Values("Accept") {
		for item := range strings.SplitSeq(value, ",") {
			kind, _, _ := strings.Cut(item, ";")
			kind = strings.ToLower(strings.TrimSpace(kind))
			json = json || kind == "application/json" || kind == "application/*" || kind == "*/*"
			stream = stream || kind == "text/event-stream" || kind == "text/*" || kind == "*/*"
		}
	}
	return json && stream
}

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
	}, u.end)
	if err != nil {
		u.config.Refuse(w, r, err)
		return
	}
	defer in.release()
	serve(u.requests, w, r, in, id, stream)
}

func (u *Upstream) serveSession(w http.ResponseWriter, r *http.Request, id *mcpauth.Identity, session string, stream bool) {
	in := u.pool.session(session, id.Principal())
	if in == nil {
		// The same for a session that never was and for another user's, so
		// that nobody learns which ids are in use. Decided here: the SDK
		// would tell the two apart.
		envelope.WriteError(w, http.StatusNotFound, envelope.CodeSession, "Session not found")
		return
	}
	defer in.release()
	serve(in.handler, w, r, in, id, stream)
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
		u.config.Refuse(w, r, err)
		return
	}
	// A handler of the session's own: the SDK keys sessions by ids that the
	// author may have chosen, and two of the same would meet in one handler.
	in.handler = u.handler(false)
	defer func() {
		close(in.opened)
		in.release()
		if in.abandon() {
			u.close(in.made) // initialize did not succeed, or the client has left before
		}
	}()
	serve(in.handler, w, r, in, id, false)
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
				if method == "initialize" {
					err = u.bind(ctx, req, err)
				}
				if err != nil {
					result = nil
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
			keepPrivate(result)
			return encoded(result)
		}
	}
}

// bind ties the session that is being initialized to its instance, before the
// client learns the session's id. failed is what initialize has failed with, in
// which case, or when bind fails itself, the session is closed once the client
// has its answer.
func (u *Upstream) bind(ctx context.Context, req mcp.Request, failed error) error {
	in := instanceFrom(ctx)
	session, ok := req.GetSession().(*mcp.ServerSession)
	if !ok || in == nil || in.session() == session {
		return failed
	}
	if session.ID() == "" {
		u.config.Logger.Error("a server that hands out no session ids (ServerOptions.GetSessionID) cannot be used in sessions")
		return errors.New("this server hands out no session ids")
	}
	owned := in.bind(session)
	if !owned {
		failed = errors.New("the client has left")
	} else if failed == nil {
		failed = u.pool.addSession(session.ID(), in)
	}
	// One goroutine sees to the end of both, so that the instance outlives the
	// calls of its session.
	u.spawn(func() {
		if failed != nil {
			<-in.opened // closing the session now could cut off the answer
			session.Close()
		}
		session.Wait()
		if owned {
			u.pool.removeSession(session.ID(), in)
			u.close(in.made)
		}
	})
	return failed
}

// encoded returns result with what the author's own types hold as JSON already.
// The SDK would encode it in a goroutine where a panic of theirs ends the
// process.
func encoded(result mcp.Result) (mcp.Result, error) {
	r, ok := result.(*mcp.CallToolResult)
	if !ok || r.StructuredContent == nil && len(r.Meta) == 0 {
		return result, nil
	}
	own := *r // the author may keep theirs
	if _, done := r.StructuredContent.(json.RawMessage); r.StructuredContent != nil && !done {
		text, err := json.Marshal(r.StructuredContent)
		if err != nil {
			return nil, fmt.Errorf("structured content: %w", err)
		}
		own.StructuredContent = json.RawMessage(text)
	}
	if len(r.Meta) > 0 {
		own.Meta = make(mcp.Meta, len(r.Meta))
		for name, value := range r.Meta {
			text, err := json.Marshal(value)
			if err != nil {
				return nil, fmt.Errorf("_meta: %w", err)
			}
			own.Meta[name] = json.RawMessage(text)
		}
	}
	return &own, nil
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
// requests come with. It is shared by them, and so for reading only.
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
func (u *Upstream) sweep() {
	ticker := time.NewTicker(max(u.config.IdleTimeout/4, time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-u.stopping.Done():
			return
		case <-ticker.C:
			for _, in := range u.pool.takeIdle(u.config.IdleTimeout) {
				// A call whose client has left may still be running.
				u.spawn(func() { u.end(in) })
			}
		}
	}
}

// end ends an instance that nobody can reach any more.
func (u *Upstream) end(in *instance) {
	if session := in.session(); session != nil {
		session.Close() // and the goroutine of bind closes the instance
		return
	}
	in.retire()
	u.close(in.made)
}

// Shutdown ends all sessions and instances, each on its own: those with a
// request in progress wait for it, the others do not. It returns an error when
// ctx ends first; what still waits then ends when it can. It is to be called
// once no new request can come.
func (u *Upstream) Shutdown(ctx context.Context) error {
	u.stop()
	for _, in := range u.pool.takeAll() {
		u.spawn(func() { u.end(in) })
	}
	if err := u.tasks.Close(ctx); err != nil {
		return fmt.Errorf("inproc: instances still busy: %w", err)
	}
	return nil
}
