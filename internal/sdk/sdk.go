// Package sdk tells the MCP Go SDK who sends a request, and hands the values of
// the request's context to the handlers that serve it. The SDK itself hands a
// session's handlers the context of the session's first request.
package sdk

import (
	"context"
	"net/http"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
)

// Authorization is the value of the Authorization header that Identify needs. It
// stands in for the credential, which has been verified before. It is in lower
// case because the SDK changes the scheme to that.
const Authorization = "bearer verified"

// Identify returns middleware that puts what tell returns into the request's
// context, where the SDK looks for it (auth.TokenInfoFromContext). It needs the
// Authorization header of this package, and verifies nothing.
func Identify(tell func(context.Context) *auth.TokenInfo) func(http.Handler) http.Handler {
	verified := func(ctx context.Context, _ string, _ *http.Request) (*auth.TokenInfo, error) { return tell(ctx), nil }
	return auth.RequireBearerToken(verified, &auth.RequireBearerTokenOptions{
		AllowMissingExpiration: true,
		ClockSkew:              24 * time.Hour, // expiry has been checked, with the provider's leeway
	})
}

// TokenInfo returns what the SDK is told about id. The SDK binds sessions to
// UserID.
func TokenInfo(id *mcpauth.Identity) *auth.TokenInfo {
	return &auth.TokenInfo{
		UserID:     id.Principal(),
		Scopes:     id.Scopes(),
		Expiration: id.Expiry(),
		Extra:      map[string]any{requestExtra: nil},
	}
}

// WithRequest returns a copy of info that carries the values of ctx, for
// RequestContext.
func WithRequest(ctx context.Context, info *auth.TokenInfo) *auth.TokenInfo {
	own := *info
	own.Extra = map[string]any{requestExtra: context.WithoutCancel(ctx)}
	return &own
}

// requestExtra is the key in TokenInfo.Extra for the context of the request. The
// value is nil where the SDK's context is already that of the request.
const requestExtra = "mcpauth.request"

// RequestContext returns ctx, which the SDK hands to the handler of req, with the
// values of the HTTP request that brought req. It returns nil if the request has
// no TokenInfo of this package.
func RequestContext(ctx context.Context, req mcp.Request) context.Context {
	extra := req.GetExtra()
	if extra == nil || extra.TokenInfo == nil {
		return nil
	}
	values, ok := extra.TokenInfo.Extra[requestExtra]
	if !ok {
		return nil
	}
	if values, ok := values.(context.Context); ok {
		return Overlaid{ctx, values}
	}
	return ctx
}

// Overlaid is a context with the values of a second one, which take precedence.
type Overlaid struct {
	context.Context
	Values context.Context // never ends: made by context.WithoutCancel
}

// Value implements context.Context.
func (c Overlaid) Value(key any) any {
	if v := c.Values.Value(key); v != nil {
		return v
	}
	return c.Context.Value(key)
}

// Private returns result marked as being for its user alone. The protocol's
// default is public, which lets caches give one user's result to another. A
// result that is marked is a copy, since the author may keep the original.
func Private(result mcp.Result) mcp.Result {
	const private = "private"
	switch r := result.(type) {
	case *mcp.DiscoverResult:
		own := *r
		own.CacheScope = private
		return &own
	case *mcp.ListToolsResult:
		own := *r
		own.CacheScope = private
		return &own
	case *mcp.ListPromptsResult:
		own := *r
		own.CacheScope = private
		return &own
	case *mcp.ListResourcesResult:
		own := *r
		own.CacheScope = private
		return &own
	case *mcp.ListResourceTemplatesResult:
		own := *r
		own.CacheScope = private
		return &own
	case *mcp.ReadResourceResult:
		own := *r
		own.CacheScope = private
		return &own
	}
	return result
}
