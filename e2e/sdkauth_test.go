package e2e_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/sdkauth"
)

// serveSDK serves one MCP server to all users with the SDK's own handler, behind
// sdkauth and mcpauth.Require. The tool "whoami" says whose call it is.
func serveSDK(t *testing.T, c client, issuer *gatewaytest.Issuer, audience string) (url string) {
	t.Helper()
	server := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	gatewaytest.AddTool(server, "whoami", func(ctx context.Context, _ *mcp.CallToolRequest) (string, error) {
		id := mcpauth.FromContext(ctx)
		return id.UserID() + " may " + strings.Join(id.Scopes(), " "), nil
	})
	provider := gatewaytest.Provider(t, audience, issuer)
	quiet := slog.New(slog.DiscardHandler)
	handler := sdkauth.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{Stateless: !c.hasSessions(), Logger: quiet})
	requireUser := mcpauth.Require(provider, mcpauth.Requirement{Logger: quiet})
	front := httptest.NewServer(requireUser(handler))
	t.Cleanup(func() {
		for session := range server.Sessions() {
			session.Close()
		}
		front.CloseClientConnections()
		front.Close()
		provider.Close()
	})
	return front.URL
}

// With sdkauth, a session of the SDK's own handler belongs to its user, and its
// scopes are those of the current token.
func TestSDKHandler(t *testing.T) {
	needClients(t)
	const audience = "https://mcp.example.com/mcp"
	issuer := gatewaytest.NewIssuer(t, "https://issuer.example")
	token := func(user, scopes string) string {
		return issuer.Token(t, audience, user, map[string]any{"scope": scopes})
	}
	whoami := step{Tool: "whoami"}
	steps := []step{whoami, {Token: token("alice", "read write")}, whoami, {Token: token("bob", "admin")}, whoami}
	each(t, func(t *testing.T, c client) {
		if c.oneToken {
			return
		}
		url := serveSDK(t, c, issuer, audience)
		got := c.play(t, url, token("alice", "read"), steps...).texts(t, c)
		want := []string{"alice may read", "alice may read write", "bob may admin"}
		if c.hasSessions() {
			want[2] = "404" // what else it says is the client's
			if len(got) == 3 {
				got[2], _, _ = strings.Cut(got[2], " ")
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("results\n%q, want\n%q", got, want)
		}
		if o := c.play(t, url, "", whoami); o.Error == nil || o.Error.Status != http.StatusUnauthorized {
			t.Errorf("without a token: %+v", o)
		}
	})
}
