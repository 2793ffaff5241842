// Package inproc is the upstream inside this process: MCP servers made with
// the official Go SDK, one for each user.
//
// An author hands over a Factory. It is called with the verified user, when a
// server for that user is needed and not before:
//
//   - in protocol versions up to 2025-11-25, once for each session, or once for
//     each user;
//   - from 2026-07-28 on, where there are no sessions, once for each user, or
//     once for each request.
//
// Both eras are served on one URL. A server never serves two users; a session
// answers to the user who opened it and to nobody else; and the tools of a
// server see, in their context, the identity and the credential of the request
// they run for.
//
// Authors need Factory, Call, Instance and Mode, which package gateway has too.
// The rest is for the gateway, which verifies the user first.
package inproc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/envelope"
	"github.com/mcpauth-go/mcpauth/internal/gate"
	"github.com/mcpauth-go/mcpauth/internal/sdk"
)

// Mode says how many servers a user has.
type Mode string

const (
	// PerSession is a server for each session.
	PerSession Mode = "session"
	// PerUser is a server that all sessions or requests of a user share.
	PerUser Mode = "user"
	// PerRequest is a server for each request.
	PerRequest Mode = "request"
)

// Config says how to serve. Fields are required unless they say otherwise.
type Config struct {
	// Factory makes the servers.
	Factory Factory
	// Sessions is PerSession or PerUser, Requests PerUser or PerRequest.
	Sessions, Requests Mode
	// Limits bounds what is alive.
	Limits Limits
	// FactoryTimeout is how long a request waits for the factory.
	FactoryTimeout time.Duration
	// CallTimeout is how long a server has for one call, streams excepted.
	CallTimeout time.Duration
	// MaxBodyBytes bounds a request body.
	MaxBodyBytes int64
	// Standing returns nil as long as the credential of an identity stands, and else
	// why not, other than that it has expired. It answers from memory; EndFallen is to
	// be called when its answers may have changed. Nil: credentials only expire.
	Standing func(*mcpauth.Identity) error
	// Shows reports whether lists show an item to the user in ctx. Nil shows
	// all.
	Shows func(ctx context.Context, kind, name string) bool
	// Listed is told what the first server lists, as soon as it is there. Nil: it is
	// not asked.
	Listed func(Listing)
	// Unconnected refuses calls of users without a credential. Nil lets them
	// pass.
	Unconnected *Unconnected
	// Failed is told that a call has failed that a request in ctx asked for: the
	// context may have ended before. Optional.
	Failed func(ctx context.Context, reason string)
	// Refuse answers a request that cannot be served.
	Refuse func(http.ResponseWriter, *http.Request, error)
	// Refused is told of a refusal that is answered here.
	Refused func(*http.Request, *mcpauth.Error)
	// Logger takes failures.
	Logger *slog.Logger
}

// Limits bounds what is alive at the same time.
type Limits struct {
	Sessions        int           // in all
	SessionsPerUser int           // of one user
	StreamsPerUser  int           // standalone streams and subscriptions
	CallsPerUser    int           // requests in progress, and calls that servers work on
	Instances       int           // shared servers; one more closes the least recently used one without requests and sessions
	Idle            time.Duration // until a session or shared server without request and stream ends
	Lifetime        time.Duration // until a server is replaced
	ReplayBytes     int           // kept of what streams have sent, for clients that come back
}

// Upstream serves MCP requests whose user has been verified.
type Upstream struct {
	config   Config
	identify func(http.Handler) http.Handler
	requests http.HandlerFunc // the SDK's, from 2026-07-28 on
	owners   sdk.Owners
	pool     *pool
	replay   *replay
	uses     uses // where there is a Config.Standing
	epoch    atomic.Uint32
	listed   atomic.Bool // config.Listed has been, or is being, seen to

	// stopping is done when Shutdown begins. tasks are the instances, the
	// goroutines of ours, and those in which a factory runs.
	stopping context.Context
	stop     context.CancelFunc
	tasks    gate.Gate
}

// New returns an Upstream. Shutdown releases it.
func New(c Config) *Upstream {
	u := &Upstream{config: c, replay: newReplay(c.Limits.ReplayBytes)}
	u.advance()
	u.pool = newPool(c, u.discard)
	// This runs behind the gateway, which has verified the user and has
	// replaced the credential. What is left to say to the SDK is who it is.
	u.identify = sdk.Identify(func(ctx context.Context) *auth.TokenInfo { return servingFrom(ctx).in.tell(mcpauth.FromContext(ctx)) })
	u.requests = u.identified(mcp.NewStreamableHTTPHandler(serverOf, &mcp.StreamableHTTPOptions{
		Stateless: true, PropagateRequestCancellation: true,
		DisableLocalhostProtection: true, // the gateway has checked Host
		MaxRequestBodyBytes:        c.MaxBodyBytes,
	}).ServeHTTP)
	u.stopping, u.stop = context.WithCancel(context.Background())
	u.spawn(u.sweep)
	return u
}

// identified returns handler for requests whose context tells the SDK's way who
// the user is (auth.TokenInfoFromContext).
func (u *Upstream) identified(handler http.HandlerFunc) http.HandlerFunc {
	return u.identify(handler).ServeHTTP
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

// legacyVersions are the protocol versions with sessions, the latest first.
var legacyVersions = []string{"2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"}

// IsStream reports whether r, with these messages in its body, opens a stream
// rather than asking for an answer.
func IsStream(r *http.Request, messages []envelope.Message) bool {
	return r.Method == http.MethodGet || slices.ContainsFunc(messages, func(m envelope.Message) bool { return m.Method == methodListen })
}

// Modern reports whether a request belongs to the protocol without sessions.
func Modern(r *http.Request, messages []envelope.Message) bool {
	version := r.Header.Get(versionHeader)
	if version >= modernVersion {
		return true
	}
	if r.Method != http.MethodPost || r.Header.Get(sessionHeader) != "" {
		return false
	}
	return messages[0].Version != "" || version == "" && messages[0].Method != "initialize"
}

// Serve answers r, whose context has the user, and the user's credential if
// there is one, whose header is the gateway's own copy, and whose body, in a
// POST, holds messages.
func (u *Upstream) Serve(w http.ResponseWriter, r *http.Request, messages []envelope.Message) {
	id := mcpauth.FromContext(r.Context())
	if id == nil || r.Method == http.MethodPost && len(messages) == 0 {
		u.config.Refuse(w, r, errors.New("inproc: a request without a verified user, or unread"))
		return
	}
	// What handlers see in place of the credential.
	r.Header["Authorization"] = []string{sdk.Authorization}
	stream := IsStream(r, messages)
	var serve func(http.ResponseWriter, *http.Request, *user, []envelope.Message, bool)
	switch version := r.Header.Get(versionHeader); {
	case version != "" && version < modernVersion && !slices.Contains(legacyVersions, version):
		envelope.WriteError(w, http.StatusBadRequest, nil, envelope.CodeInvalidRequest,
			"Bad Request: Unsupported protocol version (supported: "+strings.Join(legacyVersions, ", ")+", "+modernVersion+")")
	case r.Method != http.MethodPost && r.Method != http.MethodGet && r.Method != http.MethodDelete:
		w.Header().Set("Allow", "GET, POST, DELETE")
		envelope.WriteError(w, http.StatusMethodNotAllowed, nil, envelope.CodeInvalidRequest, "Method Not Allowed")
	case r.Method == http.MethodPost && !accepts(r):
		envelope.WriteError(w, http.StatusNotAcceptable, messages[0].ID, envelope.CodeInvalidRequest, "Accept must contain both application/json and text/event-stream")
	case stream && r.Method == http.MethodPost && r.Header.Get(versionHeader) < modernVersion:
		// The SDK would take it in every era, and keep it for as long as the
		// session lives, whether or not the client stays.
		envelope.WriteError(w, http.StatusBadRequest, messages[0].ID, envelope.CodeMethodNotFound, methodListen+" is a method of "+modernVersion+" and later")
	case Modern(r, messages):
		if r.Method != http.MethodPost {
			// The SDK says the same, but only a server can ask it.
			w.Header().Set("Allow", http.MethodPost)
			envelope.WriteError(w, http.StatusMethodNotAllowed, nil, envelope.CodeInvalidRequest, "Method Not Allowed")
			return
		}
		serve = u.serveRequest
	case r.Header.Get(sessionHeader) != "":
		serve = u.serveSession
	case r.Method == http.MethodPost && messages[0].Method == "initialize" && messages[0].HasID():
		serve = u.openSession
	default:
		envelope.WriteError(w, http.StatusBadRequest, nil, envelope.CodeInvalidRequest,
			"Bad Request: the Mcp-Session-Id header is required. Send an initialize request first, which opens a session")
	}
	if serve == nil {
		return
	}
	u.serveUser(w, r, id, stream, func(w http.ResponseWriter, r *http.Request, owner *user) { serve(w, r, owner, messages, stream) })
}

// serveUser calls serve with the user, who is counted as having a request in
// progress.
func (u *Upstream) serveUser(w http.ResponseWriter, r *http.Request, id *mcpauth.Identity, stream bool, serve func(http.ResponseWriter, *http.Request, *user)) {
	owner, err := u.pool.enter(id.Principal(), stream)
	if err != nil {
		u.config.Refuse(w, r, err)
		return
	}
	defer u.pool.leave(owner, stream)
	serve(w, r, owner)
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

func (u *Upstream) serveRequest(w http.ResponseWriter, r *http.Request, owner *user, messages []envelope.Message, stream bool) {
	var in *instance
	var err error
	if u.config.Requests == PerRequest {
		if in, err = u.createForRequest(r, owner); err == nil {
			defer u.pool.finish(in)
		}
	} else if in, err = u.lease(r, owner); err == nil {
		defer u.pool.release(in)
	}
	if err != nil {
		u.config.Refuse(w, r, err)
		return
	}
	handler := u.requests
	if in.plain(r, messages) {
		handler = u.identified(func(w http.ResponseWriter, r *http.Request) { u.exchange(w, r, in, &messages[0]) })
	}
	u.serve(handler, w, r, &serving{in: in}, &owner.entitlement, stream)
}

// lease returns the server that owner's requests share.
func (u *Upstream) lease(r *http.Request, owner *user) (*instance, error) {
	return u.pool.lease(r.Context(), owner, mcpauth.CredentialFrom(r.Context()), func(ctx context.Context, gone func()) (*instance, error) {
		return u.create(ctx, r, PerUser, gone)
	})
}

// createForRequest returns a server for r alone. As long as it is in the making,
// it counts as a call.
func (u *Upstream) createForRequest(r *http.Request, owner *user) (*instance, error) {
	if _, err := u.pool.begin(owner.principal); err != nil {
		return nil, &mcpauth.Error{Code: mcpauth.ErrRateLimited, Message: tooManyCalls}
	}
	over := func() { u.pool.over(owner) }
	in, err := u.create(r.Context(), r, PerRequest, over)
	if err == nil {
		over()
	}
	return in, err
}

// serving is which instance and session a request is for. It travels in the
// request's context.
type serving struct {
	in            *instance
	session       *session       // nil outside of sessions, and in those of HTTP+SSE
	subscriptions *subscriptions // of any session
}

type servingKey struct{}

func servingFrom(ctx context.Context) *serving {
	s, _ := ctx.Value(servingKey{}).(*serving)
	return s
}

// inSession returns the session, or nil outside of sessions.
func (s *serving) inSession() *session {
	if s == nil {
		return nil
	}
	return s.session
}

// serve has handler answer a request. A stream lasts no longer than the
// credentials of its user.
func (u *Upstream) serve(handler http.HandlerFunc, w http.ResponseWriter, r *http.Request, to *serving, entitled *entitlement, stream bool) {
	ctx := context.WithValue(r.Context(), servingKey{}, to)
	id := mcpauth.FromContext(ctx)
	entitled.present(id)
	if stream {
		var cancel context.CancelFunc
		ctx, cancel = entitled.while(ctx, id, u.lend)
		defer cancel()
	}
	handler(w, r.WithContext(ctx))
}

// serverOf answers the SDK, which asks several times for each request.
func serverOf(r *http.Request) *mcp.Server { return servingFrom(r.Context()).in.made.Server }

// Stats is what is alive now, and what has been.
type Stats struct {
	Sessions int     // open
	Streams  int     // standalone streams and subscriptions
	Calls    int     // other requests in progress
	Alive    Servers // servers that have not been closed yet
	Made     Servers // servers made since the start
	Evicted  int     // of those, how many had to make room for others
	Failed   int     // how often none could be made
	// SessionsEvicted is how many sessions ended because their user opened
	// another one and had as many as one may have.
	SessionsEvicted int
}

// Servers counts servers of each mode.
type Servers struct{ PerSession, PerUser, PerRequest int }

func (s *Servers) of(mode Mode) *int {
	switch mode {
	case PerSession:
		return &s.PerSession
	case PerUser:
		return &s.PerUser
	default:
		return &s.PerRequest
	}
}

// UserStats is what of one user is alive now.
type UserStats struct {
	Sessions int // open
	Streams  int // standalone streams and subscriptions
	Calls    int // other requests in progress
}

// Stats returns the counts of all users.
func (u *Upstream) Stats() Stats { return u.pool.statsOfAll() }

// StatsOf returns the counts of one user.
func (u *Upstream) StatsOf(id *mcpauth.Identity) UserStats { return u.pool.statsOf(id.Principal()) }

// sweep ends what has been idle for too long.
func (u *Upstream) sweep() {
	ticker := time.NewTicker(max(min(u.config.Limits.Idle, u.config.Limits.Lifetime)/4, time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-u.stopping.Done():
			return
		case <-ticker.C:
			u.pool.sweep()
		}
	}
}

// Shutdown ends all sessions and instances, each on its own: those with a
// request in progress wait for it, the others do not. It returns an error when
// ctx ends first; what still waits then ends when it can. It is to be called
// once no new request can come.
func (u *Upstream) Shutdown(ctx context.Context) error {
	u.stop()
	u.pool.close()
	if err := u.tasks.Close(ctx); err != nil {
		return fmt.Errorf("inproc: instances still busy: %w", err)
	}
	return nil
}
