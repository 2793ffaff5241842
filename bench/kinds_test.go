package bench

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/apikey"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/authn/oauth"
)

// BenchmarkKind takes a request from its header to the identity, answered from
// the cache, for each kind of credential.
func BenchmarkKind(b *testing.B) {
	for _, live := range []int{1, 4096} {
		for _, kind := range []struct {
			name string
			make func(b *testing.B, users int) (mcpauth.Provider, []*mcpauth.Request)
		}{{"jwt", jwtUsers}, {"apikey", keyUsers}, {"introspection", opaqueUsers}} {
			provider, requests := kind.make(b, live)
			authenticate := func(r *mcpauth.Request) error {
				_, err := provider.Authenticate(context.Background(), r)
				return err
			}
			for _, r := range requests {
				if err := authenticate(r); err != nil {
					b.Fatal(kind.name, err)
				}
			}
			b.Run(fmt.Sprintf("live=%d/%s", live, kind.name), func(b *testing.B) {
				i := 0
				each(b, func() error { i++; return authenticate(requests[i%live]) })
			})
		}
	}
}

func jwtUsers(b *testing.B, users int) (mcpauth.Provider, []*mcpauth.Request) {
	var requests []*mcpauth.Request
	for _, token := range tokens(users) {
		requests = append(requests, &mcpauth.Request{Header: bearer(token)})
	}
	return newProvider(b, jwt.Cache{TTL: time.Hour}, issuer(secretSource())), requests
}

// keyUsers has a provider at work, which notes that a key is used.
func keyUsers(b *testing.B, users int) (mcpauth.Provider, []*mcpauth.Request) {
	store := &apikey.Memory{}
	p := must(apikey.New(apikey.Config{
		Store: store, Cache: apikey.Cache{TTL: time.Hour}, Logger: slog.New(slog.DiscardHandler),
		WrongKeys: apikey.WrongKeys{InAll: apikey.Rate{Requests: 2 * users, Per: time.Second}}, // all come for the first time at once
	}))
	b.Cleanup(func() { p.Close() })
	if err := p.Start(context.Background()); err != nil {
		b.Fatal(err)
	}
	var requests []*mcpauth.Request
	for user := range users {
		key, _, err := store.Create(context.Background(), apikey.Spec{
			UserID: fmt.Sprintf("user-%07d", user), Name: "laptop", Scopes: []string{"notes:read", "notes:write"}, Expires: time.Now().Add(12 * time.Hour),
		})
		if err != nil {
			b.Fatal(err)
		}
		requests = append(requests, &mcpauth.Request{Header: bearer(key.Reveal())})
	}
	return p, requests
}

// opaqueUsers has tokens that a server with an endpoint for introspection knows.
func opaqueUsers(b *testing.B, users int) (mcpauth.Provider, []*mcpauth.Request) {
	known := map[string]string{}
	var requests []*mcpauth.Request
	for user := range users {
		token := fmt.Sprintf("at-%040d", user)
		known[token] = fmt.Sprintf("user-%07d", user)
		requests = append(requests, &mcpauth.Request{Header: bearer(token)})
	}
	end := time.Now().Add(12 * time.Hour).Unix()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		token := r.PostFormValue("token")
		fmt.Fprintf(w, `{"active":%t,"iss":%q,"aud":%q,"sub":%q,"client_id":"cli","token_type":"Bearer","scope":"notes:read notes:write","exp":%d}`,
			known[token] != "", issuerName, audience, known[token], end)
	}))
	b.Cleanup(server.Close)
	p := must(oauth.New(oauth.Config{
		Issuer: issuerName, Endpoint: server.URL, Audience: []string{audience},
		Client: oauth.Client{ClientID: "bench", Secret: mcpauth.NewSecret(string(secret))}, Logger: slog.New(slog.DiscardHandler),
	}))
	b.Cleanup(func() { p.Close() })
	return p, requests
}
