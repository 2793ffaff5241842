package main

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
)

// platformServer is the platform: users have connected their accounts there, and
// it gives a credential to nobody but its user. It has verified who that is by
// itself; the header X-User-ID says nothing that it relies on.
type platformServer struct {
	http.Server
	users *jwt.Provider
}

func openPlatform(issuer jwt.Issuer) (*platformServer, error) {
	users, err := jwt.New(jwt.Config{Issuers: []jwt.Issuer{issuer}})
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	accounts := map[string]string{"alice": "api-token-1", "bob": "api-token-2"}
	p := &platformServer{users: users}
	p.Addr = listener.Addr().String()
	routes := http.NewServeMux()
	routes.Handle("GET /api/credentials/bank", mcpauth.Require(users, mcpauth.Requirement{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := accounts[mcpauth.FromContext(r.Context()).UserID()]
		if !ok {
			http.Error(w, "no account is connected", http.StatusNotFound)
			return
		}
		fmt.Fprintf(w, `{"access_token":%q,"expires_in":3600}`, token)
	})))
	p.Handler = routes
	go p.Serve(listener)
	return p, users.Start(context.Background())
}

func (p *platformServer) Close() error {
	p.users.Close()
	return p.Server.Close()
}
