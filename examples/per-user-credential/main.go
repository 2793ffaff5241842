// Command per-user-credential calls an API with the credential that each user
// has there: who is verified at the gateway is one thing, what they show to the
// API is another, which a Resolver finds. With tokens of the users alice and
// bob, the tool "balance" says what is theirs; all others have no account.
//
//	export JWT_SECRET=$(openssl rand -base64 48)
//	go run ./examples/per-user-credential
package main

import (
	"context"
	"errors"
	"flag"
	"log"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/gateway"
)

// accounts is the Resolver: each user's token for the API. A map is enough to
// see how it works; resolvers that ask somebody come with package
// credential/... It is keyed by user id, since there is one issuer; with
// several it would be by Identity.Principal.
type accounts map[string]mcpauth.Secret

func (a accounts) Resolve(_ context.Context, id *mcpauth.Identity, _ string) (*mcpauth.Credential, error) {
	token, ok := a[id.UserID()]
	if !ok {
		return nil, nil // no failure: this user has none
	}
	return &mcpauth.Credential{Token: token}, nil
}

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "where to listen")
	flag.Parse()
	if err := run(*addr); err != nil {
		log.Fatal(err)
	}
}

func run(addr string) error {
	provider, err := jwt.New(jwt.Config{Issuers: []jwt.Issuer{{
		Name:     "https://issuer.example.com",
		Audience: []string{"http://" + addr + "/mcp"},
		Keys:     []jwt.KeySource{jwt.SecretEnv("JWT_SECRET")},
	}}})
	if err != nil {
		return err
	}
	b, err := openBank()
	if err != nil {
		return err
	}
	defer b.Close()
	g, err := gateway.New(gateway.Config{
		Addr:         addr,
		Provider:     provider,
		Resolver:     accounts{"alice": mcpauth.NewSecret("api-token-1"), "bob": mcpauth.NewSecret("api-token-2")},
		ResourceType: "bank", // what the Resolver is asked for
		Factory: func(context.Context, gateway.Call) (gateway.Instance, error) {
			server := mcp.NewServer(&mcp.Implementation{Name: "per-user-credential", Version: "1"}, nil)
			mcp.AddTool(server, &mcp.Tool{Name: "balance", Description: "Says what is in your account."}, b.balance)
			return gateway.Instance{Server: server}, nil
		},
	})
	if err != nil {
		return err
	}
	return g.Run(context.Background()) // until SIGINT or SIGTERM
}

// balance takes the credential from the context: it is that of this very call,
// while the one that a factory gets is as old as the session.
func (b *bank) balance(ctx context.Context, _ *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, account, error) {
	credential := mcpauth.CredentialFrom(ctx)
	if credential == nil {
		return nil, account{}, errors.New("you have no account: open one first")
	}
	mine, err := b.account(ctx, credential.Token)
	return nil, mine, err
}
