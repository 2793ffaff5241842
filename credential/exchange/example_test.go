package exchange_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/credential"
	"github.com/mcpauth-go/mcpauth/credential/exchange"
)

// A user's token is exchanged for one of the notes service's. The resolver is for
// gateway.Config, and the credential is what a tool finds with
// mcpauth.CredentialFrom.
func Example() {
	authorizationServer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("exchanges", r.FormValue("subject_token"), "for", r.FormValue("audience"), r.FormValue("scope"))
		io.WriteString(w, `{"access_token":"for-notes","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":300}`)
	}))
	defer authorizationServer.Close()

	source, err := exchange.New(exchange.Config{
		TokenURL:       authorizationServer.URL + "/token",
		SubjectIssuers: []string{"https://issuer.example.com"},
		Client:         exchange.Client{ClientID: "mcp", Secret: mcpauth.NewSecret("of this server")},
		Targets: map[string]exchange.Target{
			"notes": {Audience: []string{"https://notes.example.com"}, Scopes: []string{"notes:read"}},
		},
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

	alice, err := mcpauth.NewIdentity(mcpauth.IdentityFields{
		Issuer: "https://issuer.example.com", UserID: "alice", Token: mcpauth.NewSecret("alice's token"),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 2 { // the second is answered from memory
		found, err := resolver.Resolve(context.Background(), alice, "notes")
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(found.Token, found.Token.Reveal())
	}
	// Output:
	// exchanges alice's token for https://notes.example.com notes:read
	// [redacted] for-notes
	// [redacted] for-notes
}
