package gateway

import (
	"errors"
	"net/http"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/envelope"
)

// errStopping is why streams end when the gateway stops.
var errStopping = errors.New("gateway: stopping")

// sseStream returns what serves the streams of the HTTP+SSE transport of
// protocol version 2024-11-05. Clients send their messages to endpoint.
func (g *Gateway) sseStream(endpoint string) http.Handler {
	return onlyMethod(http.MethodGet, func(w http.ResponseWriter, r *http.Request) {
		g.pass(w, r, g.allowed, func(w http.ResponseWriter, r *http.Request, _ []envelope.Message) {
			g.upstream.OpenSSE(w, r, endpoint)
		})
	})
}

// sseMessage takes one message for such a stream. Each is authenticated by
// itself, as on the other transport.
func (g *Gateway) sseMessage(w http.ResponseWriter, r *http.Request) {
	var failure *jsonrpc.Error
	allowed := func(w http.ResponseWriter, r *http.Request, messages []envelope.Message) bool {
		id := mcpauth.FromContext(r.Context())
		refusal := g.policy.Check(id, operations(messages))
		switch {
		case refusal == nil:
			return true
		case refusal.Code == mcpauth.ErrForbidden:
			// Clients wait for it on the stream.
			noteRefusal(r, refusal)
			failure = &jsonrpc.Error{Code: envelope.CodeInvalidParams, Message: unknownOperation}
			return true
		}
		refusal.Scopes = union(refusal.Scopes, g.policy.Granted(id))
		g.refuse(w, r, refusal)
		return false
	}
	onlyMethod(http.MethodPost, func(w http.ResponseWriter, r *http.Request) {
		g.pass(w, r, allowed, func(w http.ResponseWriter, r *http.Request, messages []envelope.Message) {
			g.upstream.PostSSE(w, r, messages, failure)
		})
	}).ServeHTTP(w, r)
}

// onlyMethod returns next for requests of that method alone.
func onlyMethod(method string, next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method {
			w.Header().Set("Allow", method)
			envelope.WriteError(w, http.StatusMethodNotAllowed, nil, envelope.CodeInvalidRequest, "Method Not Allowed")
			return
		}
		next(w, r)
	})
}
