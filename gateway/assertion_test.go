package gateway_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/assertion"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
)

// A backend verifies who calls it by the keys that the gateway serves, and by
// nothing else that it has been told.
func TestBackendVerifiesWhoCalls(t *testing.T) {
	const notes, gatewayURL = "https://notes.internal.example.com", "https://mcp.example.com"
	signer, err := assertion.New(assertion.Config{Issuer: gatewayURL, Audiences: []string{notes}})
	if err != nil {
		t.Fatal(err)
	}
	s := gatewaytest.Start(t, gateway.Config{Assertions: signer, PublicURL: gatewayURL, AllowedHosts: []string{"127.0.0.1"}, Factory: func(context.Context, gateway.Call) (gateway.Instance, error) {
		server := mcp.NewServer(&mcp.Implementation{Name: "notes", Version: "1"}, nil)
		gatewaytest.AddTool(server, "assert", func(ctx context.Context, _ *mcp.CallToolRequest) (string, error) {
			token, err := signer.Sign(mcpauth.FromContext(ctx), notes)
			return token.Reveal(), err
		})
		return gateway.Instance{Server: server}, nil
	}})
	backend, err := jwt.New(jwt.Config{Issuers: []jwt.Issuer{{Name: gatewayURL, Audience: []string{notes}, UserIDClaim: "sub", Keys: []jwt.KeySource{jwt.JWKSURL(s.Origin + "/.well-known/jwks.json")}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	if err := backend.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	gatewaytest.Eventually(t, "the backend has the keys", func() bool { return backend.Ready() == nil })
	subjects := map[string]bool{}
	for _, user := range []string{"alice", "bob"} {
		assertion := s.Do(t, gatewaytest.ModernCall(s.Token(t, user), 1, "assert", "{}")).Text()
		id, err := backend.Authenticate(t.Context(), &mcpauth.Request{Header: http.Header{"Authorization": {"Bearer " + assertion}}})
		if err != nil {
			t.Fatal(err)
		}
		var who struct{ Iss, Sub string }
		if ok, err := id.Claim("sub_id", &who); !ok || err != nil || who.Sub != user || who.Iss != "https://issuer.example" {
			t.Errorf("%s: sub_id = %+v, %v", user, who, err)
		}
		subjects[id.UserID()] = true
	}
	if len(subjects) != 2 {
		t.Errorf("two users are %v", subjects)
	}
	if got := s.Do(t, gatewaytest.Request{Method: "POST", Path: "/.well-known/jwks.json"}); got.Status != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", got.Status)
	}
}
