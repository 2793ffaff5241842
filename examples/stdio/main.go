// Command stdio has one factory and two ways to serve it: to the one user who
// starts the command, over standard input and output, or to many, over HTTP.
//
// As an MCP client starts it, with a credential from the environment:
//
//	GITHUB_ACCESS_TOKEN=… stdio
//
// For many users, who show who they are:
//
//	export JWT_SECRET=$(openssl rand -base64 48)
//	stdio -addr 127.0.0.1:8080
package main

import (
	"context"
	"flag"
	"log"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/gateway"
)

func main() {
	addr := flag.String("addr", "", "where to listen; without it, stdio")
	flag.Parse()
	run := overStdio
	if *addr != "" {
		run = func(ctx context.Context) error { return overHTTP(ctx, *addr) }
	}
	if err := run(context.Background()); err != nil { // until SIGINT or SIGTERM
		log.Fatal(err)
	}
}

// overStdio needs no token: whoever has started the process is the user.
func overStdio(ctx context.Context) error {
	return gateway.Stdio{Factory: newServer, ResourceType: "github"}.Run(ctx)
}

func overHTTP(ctx context.Context, addr string) error {
	provider, err := jwt.New(jwt.Config{Issuers: []jwt.Issuer{{
		Name:     "https://issuer.example.com",
		Audience: []string{"http://" + addr + "/mcp"},
		Keys:     []jwt.KeySource{jwt.SecretEnv("JWT_SECRET")},
	}}})
	if err != nil {
		return err
	}
	// A Resolver of each user's own would go here: examples/per-user-credential.
	g, err := gateway.New(gateway.Config{Addr: addr, Provider: provider, Factory: newServer})
	if err != nil {
		return err
	}
	return g.Run(ctx)
}

// newServer does not know how it is served. It must not print to standard
// output, which is the protocol's over stdio.
func newServer(context.Context, gateway.Call) (gateway.Instance, error) {
	server := mcp.NewServer(&mcp.Implementation{Name: "stdio", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "whoami", Description: "Says who you are."}, whoami)
	return gateway.Instance{Server: server}, nil
}

type who struct {
	User      string `json:"user"`
	Connected bool   `json:"connected" jsonschema:"whether there is a credential"`
}

func whoami(ctx context.Context, _ *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, who, error) {
	return nil, who{mcpauth.FromContext(ctx).UserID(), mcpauth.CredentialFrom(ctx) != nil}, nil
}
