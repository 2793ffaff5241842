// Command quickstart is an MCP server in which every user has a server of
// their own.
package main

import (
	"context"
	"log"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/tool"
)

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	provider, err := jwt.New(jwt.Config{Issuers: []jwt.Issuer{{
		Name:     "https://issuer.example.com",
		Audience: []string{"http://127.0.0.1:8080/mcp"},
		Keys:     []jwt.KeySource{jwt.SecretEnv("JWT_SECRET")},
	}}})
	if err != nil {
		return err
	}
	g, err := gateway.New(gateway.Config{Provider: provider, Factory: newServer})
	if err != nil {
		return err
	}
	return g.Run(ctx) // on http://127.0.0.1:8080/mcp, until a signal
}

// newServer makes the server of one user. What it keeps is that user's alone.
func newServer(_ context.Context, call gateway.Call) (gateway.Instance, error) {
	server := mcp.NewServer(&mcp.Implementation{Name: "quickstart", Version: "1"}, nil)
	tool.Add(server, &mcp.Tool{Name: "whoami", Description: "Says who you are."}, whoami)
	return gateway.Instance{Server: server}, nil
}

// whoami has the identity of whoever makes this very call.
func whoami(_ context.Context, call *tool.Call, _ struct{}) (*mcp.CallToolResult, error) {
	text := "you are " + call.Identity.UserID()
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil
}
