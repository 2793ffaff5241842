package mcpauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"

	"github.com/mcpauth-go/mcpauth"
)

// team takes two tokens that it knows. A real provider verifies them.
type team struct{}

func (team) Authenticate(_ context.Context, r *mcpauth.Request) (*mcpauth.Identity, error) {
	token, err := mcpauth.BearerToken(r.Header)
	if err != nil {
		return nil, err
	}
	user, ok := map[string]string{"token-of-alice": "alice", "token-of-bob": "bob"}[token]
	if !ok {
		return nil, &mcpauth.Error{Code: mcpauth.ErrBadSignature, Message: "This token is not ours."}
	}
	return mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: "team", UserID: user, Token: mcpauth.NewSecret(token)})
}

func ExampleRequire() {
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello %s\n", mcpauth.FromContext(r.Context()).UserID())
	})
	requireUser := mcpauth.Require(team{}, mcpauth.Requirement{Logger: slog.New(slog.DiscardHandler)})
	server := httptest.NewServer(requireUser(hello))
	defer server.Close()

	for _, token := range []string{"token-of-alice", "made-up"} {
		request, _ := http.NewRequest(http.MethodGet, server.URL, nil)
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			fmt.Println(err)
			return
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		fmt.Print(response.StatusCode, " ", string(body))
	}
	// Output:
	// 200 hello alice
	// 401 {"error":"invalid_token","error_description":"This token is not ours."}
}

func ExampleError() {
	_, err := team{}.Authenticate(context.Background(), &mcpauth.Request{})
	if errors.Is(err, mcpauth.ErrMissingCredential) {
		fmt.Println("please log in")
	}
	// Output: please log in
}

func ExampleSecret() {
	token := mcpauth.NewSecret("eyJhbGciOi…")
	fmt.Printf("%v %+v %#v %q\n", token, token, token, token)
	// Output: [redacted] [redacted] [redacted] [redacted]
}
