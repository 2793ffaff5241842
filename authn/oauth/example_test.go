package oauth_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/oauth"
)

func ExampleNew() {
	// A deployment has an authorization server; so that there is something to
	// see, this example plays one, whose only token is that of alice.
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.PostFormValue("token") != "alices-token" {
			fmt.Fprint(w, `{"active":false}`)
			return
		}
		fmt.Fprint(w, `{"active":true,"sub":"alice","aud":"https://mcp.example.com/mcp","scope":"notes:read"}`)
	}))
	defer server.Close()

	provider, err := oauth.New(oauth.Config{
		Issuer:   "https://issuer.example.com",
		Endpoint: server.URL + "/introspect",
		Audience: []string{"https://mcp.example.com/mcp"},
		Client:   oauth.Client{ClientID: "mcp", Secret: mcpauth.NewSecret("from-a-secret-manager")},
		Logger:   slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer provider.Close()

	for _, token := range []string{"alices-token", "guessed"} {
		user, err := provider.Verify(context.Background(), token)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(user.UserID(), user.Scopes())
	}
	// Output:
	// alice [notes:read]
	// inactive: Token validation failed: the token is not active: it has expired or was revoked, or is not of this authorization server. Please sign in again
}
