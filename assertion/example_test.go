package assertion_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/assertion"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
)

// A backend asks who is calling, and verifies the answer with the keys that the
// gateway publishes.
func Example() {
	signer, err := assertion.New(assertion.Config{
		Issuer:    "https://mcp.example.com",
		Audiences: []string{"https://notes.internal.example.com"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer signer.Close()
	keys := httptest.NewServer(signer) // at the gateway: mux.Handle("GET /.well-known/jwks.json", signer)
	defer keys.Close()

	// At the gateway, with call.Identity:
	alice, err := mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: "https://issuer.example.com", UserID: "alice", Scopes: []string{"notes:read"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	token, err := signer.Sign(alice, "https://notes.internal.example.com")
	if err != nil {
		fmt.Println(err)
		return
	}

	// At the backend:
	verifier, err := jwt.New(jwt.Config{Issuers: []jwt.Issuer{{
		Name:     "https://mcp.example.com",
		Audience: []string{"https://notes.internal.example.com"},
		Keys:     []jwt.KeySource{jwt.JWKSURL(keys.URL)},
	}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer verifier.Close()
	if err := verifier.Reload(); err != nil { // as Start does in the background
		fmt.Println(err)
		return
	}
	request := &mcpauth.Request{Header: http.Header{"Authorization": {"Bearer " + token.Reveal()}}}
	caller, err := verifier.Authenticate(context.Background(), request)
	if err != nil {
		fmt.Println(err)
		return
	}
	var who struct{ Iss, Sub string }
	if _, err := caller.Claim("sub_id", &who); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(who.Sub, "of", who.Iss, caller.Scopes())
	_, err = signer.Sign(alice, "https://other.example.com")
	fmt.Println(errors.Is(err, mcpauth.ErrUnavailable))
	// Output:
	// alice of https://issuer.example.com [notes:read]
	// true
}
