// Command per-user-credential calls an API with the credential that each user
// has there. Three parties beside the client: this server, which verifies the
// user's token; the platform, where users have connected their accounts, which
// gives out a credential to whoever shows a user's token; and the bank, whose API
// takes that credential. The tool "balance" says what is in the user's account;
// who has none is told where to open one.
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
	"github.com/mcpauth-go/mcpauth/credential"
	"github.com/mcpauth-go/mcpauth/credential/platform"
	"github.com/mcpauth-go/mcpauth/gateway"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "where to listen")
	flag.Parse()
	if err := run(*addr); err != nil {
		log.Fatal(err)
	}
}

func run(addr string) error {
	issuer := jwt.Issuer{
		Name:     "https://issuer.example.com",
		Audience: []string{"http://" + addr + "/mcp"},
		Keys:     []jwt.KeySource{jwt.SecretEnv("JWT_SECRET")},
	}
	provider, err := jwt.New(jwt.Config{Issuers: []jwt.Issuer{issuer}})
	if err != nil {
		return err
	}
	// Both would be elsewhere.
	b, err := openBank()
	if err != nil {
		return err
	}
	defer b.Close()
	p, err := openPlatform(issuer)
	if err != nil {
		return err
	}
	defer p.Close()

	source, err := platform.New(platform.Config{
		BaseURL:         "http://" + p.Addr,
		SameTrustDomain: true, // or Audience: what tokens for the platform have in "aud"
	})
	if err != nil {
		return err
	}
	credentials, err := credential.New(credential.Config{Source: source})
	if err != nil {
		return err
	}
	g, err := gateway.New(gateway.Config{
		Addr:         addr,
		Provider:     provider,
		Resolver:     credentials,
		ResourceType: "bank", // what the platform is asked for
		NotConnected: gateway.RefuseCalls,
		ConnectURL:   "https://platform.example.com/connect/bank",
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
	own := mcpauth.CredentialFrom(ctx)
	if own == nil { // cannot be with gateway.RefuseCalls
		return nil, account{}, errors.New("you have no account at the bank")
	}
	mine, err := b.account(ctx, own)
	return nil, mine, err
}
