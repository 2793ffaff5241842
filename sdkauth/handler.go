package sdkauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/envelope"
	"github.com/mcpauth-go/mcpauth/internal/sdk"
)

// NewStreamableHTTPHandler returns the SDK's handler of the same name for requests
// that [mcpauth.Require] has let pass. The package comment says what it adds to it.
//
// getServer is called with the request of the current user. The servers that it
// returns serve requests of this handler only. opts may be nil; its Logger, or
// slog.Default(), also takes a record of each request that this package refuses.
func NewStreamableHTTPHandler(getServer func(*http.Request) *mcp.Server, opts *mcp.StreamableHTTPOptions) http.Handler {
	h := &handler{getServer: getServer, logger: slog.Default()}
	if opts != nil {
		h.stateless = opts.Stateless
		if opts.Logger != nil {
			h.logger = opts.Logger
		}
	}
	h.sdk = mcp.NewStreamableHTTPHandler(h.server, opts)
	h.identified = sdk.Identify(func(ctx context.Context) *auth.TokenInfo {
		return sdk.TokenInfo(mcpauth.FromContext(ctx))
	})(http.HandlerFunc(h.serve))
	return h
}

type handler struct {
	getServer  func(*http.Request) *mcp.Server
	stateless  bool
	logger     *slog.Logger
	sdk        http.Handler
	identified http.Handler // serve, for requests whose context has a TokenInfo
	servers    sdk.Owners   // those that have the middleware
	sessions   sessions
}

const sessionHeader = "Mcp-Session-Id"

var (
	errNoIdentity = errors.New("sdkauth: a request without an identity: mcpauth.Require must be in front of this handler")
	errNotHere    = errors.New("this server can be called only through its authenticated HTTP handler")
)

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := mcpauth.FromContext(r.Context())
	if id == nil {
		e := mcpauth.AsError(errNoIdentity)
		h.refused(r, e)
		mcpauth.Requirement{}.Refuse(w, e)
		return
	}
	// The SDK would tell a foreign session, with 403, from one that does not exist.
	if session := r.Header.Get(sessionHeader); session != "" && !h.stateless && !h.sessions.has(session, id.Principal()) {
		const message = "Session not found"
		h.refused(r, &mcpauth.Error{Code: mcpauth.ErrUnknownSession, Message: message, Cause: fmt.Errorf("sdkauth: %v has no session of this id", id)})
		envelope.WriteError(w, http.StatusNotFound, nil, envelope.CodeSession, message)
		return
	}
	ctx := r.Context()
	if r.Method == http.MethodGet {
		var cancel context.CancelFunc
		ctx, cancel = whileValid(ctx, id)
		defer cancel()
	}
	r = r.WithContext(ctx)
	r.Header = maps.Clone(r.Header)
	r.Header["Authorization"] = []string{sdk.Authorization}
	h.identified.ServeHTTP(w, r)
}

func (h *handler) refused(r *http.Request, e *mcpauth.Error) {
	h.logger.LogAttrs(r.Context(), slog.LevelInfo, "MCP request refused", slog.Any("refusal", e))
}

// serve hands r to the SDK. The TokenInfo in its context carries that context to
// the handlers; the context that the SDK itself gets has no other values.
func (h *handler) serve(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	info := auth.TokenInfoFromContext(ctx) // made for this request alone
	*info = *sdk.WithRequest(ctx, info)
	h.sdk.ServeHTTP(w, r.WithContext(bare{ctx}))
}

// server answers the SDK, which asks for each request.
func (h *handler) server(r *http.Request) *mcp.Server {
	ctx, _ := r.Context().Value(requestKey{}).(context.Context)
	server := h.getServer(r.WithContext(ctx))
	if server != nil {
		h.servers.Claim(server, "", func() { server.AddReceivingMiddleware(h.onBehalfOfUser) })
	}
	return server
}

// onBehalfOfUser is MCP middleware that calls next with the values of the current
// request's context.
func (h *handler) onBehalfOfUser(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
		ctx = sdk.RequestContext(ctx, req)
		if ctx == nil || mcpauth.FromContext(ctx) == nil {
			return nil, &jsonrpc.Error{Code: envelope.CodeInvalidRequest, Message: errNotHere.Error()}
		}
		id := mcpauth.FromContext(ctx)
		if method == "subscriptions/listen" {
			var cancel context.CancelFunc
			ctx, cancel = whileValid(ctx, id)
			defer cancel()
		}
		result, err := next(ctx, method, req)
		if err != nil {
			return nil, err
		}
		if session, ok := req.GetSession().(*mcp.ServerSession); ok && method == "initialize" {
			h.sessions.bind(session, id.Principal()) // before the client knows its id
		}
		return sdk.Private(result), nil
	}
}

// whileValid returns ctx for a stream of id, which ends with the credential.
func whileValid(ctx context.Context, id *mcpauth.Identity) (context.Context, context.CancelFunc) {
	if end := id.Expiry(); !end.IsZero() {
		return context.WithDeadline(ctx, end)
	}
	return ctx, func() {}
}

// bare is a request's context as the SDK gets it. The SDK keeps the context of a
// session's first request for all later ones. Without its values, nothing that
// misses the middleware can take the first request for the current one.
type bare struct{ context.Context }

// requestKey is the key for the context that bare hides.
type requestKey struct{}

// Value implements context.Context.
func (c bare) Value(key any) any {
	if key == (requestKey{}) {
		return c.Context
	}
	v := c.Context.Value(key)
	if _, ok := v.(*auth.TokenInfo); ok || key == http.LocalAddrContextKey {
		return v // the SDK asks for these
	}
	return nil
}
