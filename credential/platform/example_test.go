package platform_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/credential"
	"github.com/mcpauth-go/mcpauth/credential/platform"
)

func Example() {
	there := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(r.Method, r.URL.Path, "for", r.Header.Get("X-User-ID"))
		fmt.Fprint(w, `{"access_token":"gho_0123456789","expires_in":3600}`)
	}))
	defer there.Close()

	source, err := platform.New(platform.Config{
		BaseURL:  there.URL,
		Audience: "https://platform.example.com",
		Logger:   slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	resolver, err := credential.New(credential.Config{Source: source})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resolver.Close()

	// A provider makes the identity, of a token that it has verified.
	id, err := mcpauth.NewIdentity(mcpauth.IdentityFields{
		Issuer: "https://issuer.example.com", UserID: "alice", Token: mcpauth.NewSecret("header.payload.signature"),
		Verification: mcpauth.FixedVerification{AllClaims: map[string]json.RawMessage{
			"aud": json.RawMessage(`["https://mcp.example.com/mcp","https://platform.example.com"]`),
		}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 2 {
		found, err := resolver.Resolve(context.Background(), id, "github")
		fmt.Println(found.Token, err)
	}
	// Output:
	// GET /api/credentials/github for alice
	// [redacted] <nil>
	// [redacted] <nil>
}
