package bench

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
)

// BenchmarkMiddleware takes a request with the headers of an MCP client from
// the listener's door to a handler that finds the user in the context.
func BenchmarkMiddleware(b *testing.B) {
	token := tokens(1)[0]
	request := httptest.NewRequest(http.MethodPost, "/mcp", nil)
	for name, value := range map[string]string{
		"Authorization":        "Bearer " + token,
		"Accept":               "application/json, text/event-stream",
		"Accept-Encoding":      "gzip, deflate",
		"Content-Type":         "application/json",
		"Content-Length":       "128",
		"Mcp-Protocol-Version": "2025-11-25",
		"Mcp-Session-Id":       "4QJ5TOZ6BVQH2XWJ7ZLMCGX3YI",
		"User-Agent":           "example-client/1.0",
	} {
		request.Header.Set(name, value)
	}
	response := httptest.NewRecorder()
	serve := func(b *testing.B, h http.Handler) {
		each(b, func() error { h.ServeHTTP(response, request); return nil })
	}
	handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if auth.TokenInfoFromContext(r.Context()) == nil {
			b.Error("no user in the context")
		}
	})

	b.Run("mcpauth", func(b *testing.B) {
		p := newProvider(b, jwt.Cache{TTL: time.Hour}, issuer(secretSource()))
		serve(b, mcpauth.Require(p, mcpauth.Requirement{})(sdkTail(handler)))
	})
	b.Run("go-sdk", func(b *testing.B) {
		known := newMapCache([]string{token}, &auth.TokenInfo{UserID: "user-0000000", Expiration: time.Now().Add(time.Hour)})
		verify := func(_ context.Context, token string, _ *http.Request) (*auth.TokenInfo, error) {
			if info, ok := known.get(token); ok {
				return info, nil
			}
			return nil, auth.ErrInvalidToken
		}
		serve(b, auth.RequireBearerToken(verify, nil)(handler))
	})
}

// sdkTail hands the identity over to go-sdk, which takes users from its own
// middleware only, as upstream/inproc does: what it says of an identity is
// made once for the requests that come with it.
func sdkTail(next http.Handler) http.Handler {
	type told struct {
		id   *mcpauth.Identity
		info *auth.TokenInfo
	}
	var kept atomic.Pointer[told]
	placeholder := []string{"bearer verified"}
	verified := func(ctx context.Context, _ string, _ *http.Request) (*auth.TokenInfo, error) {
		id := mcpauth.FromContext(ctx)
		last := kept.Load()
		if last == nil || last.id != id {
			last = &told{id, &auth.TokenInfo{
				UserID:     id.Principal(),
				Scopes:     id.Scopes(),
				Expiration: id.Expiry(),
				Extra:      map[string]any{"identity": id},
			}}
			kept.Store(last)
		}
		return last.info, nil
	}
	tail := auth.RequireBearerToken(verified, &auth.RequireBearerTokenOptions{AllowMissingExpiration: true, ClockSkew: 5 * time.Minute})(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header["Authorization"] = placeholder // the request is a copy of Require's
		tail.ServeHTTP(w, r)
	})
}
