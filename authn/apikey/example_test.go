package apikey_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/apikey"
)

func Example() {
	store := &apikey.Memory{} // or sqlite.Open, postgres.Open, apikey.OpenFile
	provider, err := apikey.New(apikey.Config{Store: store})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer provider.Close()
	secret, _, err := store.Create(context.Background(), apikey.Spec{UserID: "alice", Scopes: []string{"notes:read"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	notes := mcpauth.Require(provider, mcpauth.Requirement{Scopes: []string{"notes:read"}})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "hello ", mcpauth.FromContext(r.Context()).UserID())
	}))
	request := httptest.NewRequest("GET", "/notes", nil)
	request.Header.Set("X-API-Key", secret.Reveal())
	answer := httptest.NewRecorder()
	notes.ServeHTTP(answer, request)
	fmt.Println(answer.Code, answer.Body)
	// Output: 200 hello alice
}

// Keys that are in a place of your own already.
func ExampleLookupFunc() {
	secret, key, err := apikey.Generate(apikey.Spec{UserID: "alice"})
	if err != nil {
		fmt.Println(err)
		return
	}
	own := map[apikey.Hash]*apikey.Key{key.Hash: key}
	provider, err := apikey.New(apikey.Config{Store: apikey.LookupFunc(func(_ context.Context, hash apikey.Hash) (*apikey.Key, error) {
		return own[hash], nil
	})})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer provider.Close()
	id, err := provider.Authenticate(context.Background(), &mcpauth.Request{Header: http.Header{"Authorization": {"Bearer " + secret.Reveal()}}})
	fmt.Println(id, err)
	// Output: "alice" of "urn:mcpauth:apikey" <nil>
}
