// Command stdio is a server for the tests of gateway.Stdio.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/gateway"
)

type arguments struct {
	Set  string `json:"set,omitempty"`  // what becomes the token in the environment
	Wait string `json:"wait,omitempty"` // a duration
}

func main() {
	err := gateway.Stdio{Factory: factory, ResourceType: "test-mail", RequestTimeout: 10 * time.Second}.Run(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func factory(_ context.Context, call gateway.Call) (gateway.Instance, error) {
	server := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "whoami"}, func(ctx context.Context, _ *mcp.CallToolRequest, in arguments) (*mcp.CallToolResult, any, error) {
		id := mcpauth.FromContext(ctx)
		text := fmt.Sprintf("%s of %s, made with %s, called with %s", id.UserID(), id.Issuer(), token(call.Credential), token(mcpauth.CredentialFrom(ctx)))
		if in.Set != "" {
			os.Setenv("TEST_MAIL_ACCESS_TOKEN", in.Set)
		}
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil, nil
	})
	mcp.AddTool(server, &mcp.Tool{Name: "wait"}, func(ctx context.Context, _ *mcp.CallToolRequest, in arguments) (*mcp.CallToolResult, any, error) {
		long, err := time.ParseDuration(in.Wait)
		if err != nil {
			return nil, nil, err
		}
		fmt.Fprintln(os.Stderr, "waiting")
		select {
		case <-time.After(long):
		case <-ctx.Done():
			fmt.Fprintln(os.Stderr, "cancelled")
		}
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "waited"}}}, nil, ctx.Err()
	})
	mcp.AddTool(server, &mcp.Tool{Name: "panic"}, func(context.Context, *mcp.CallToolRequest, arguments) (*mcp.CallToolResult, any, error) {
		panic("canary")
	})
	return gateway.Instance{Server: server, Close: func(context.Context) error {
		fmt.Fprintln(os.Stderr, "closed")
		return nil
	}}, nil
}

func token(c *mcpauth.Credential) string {
	if c == nil {
		return "none"
	}
	return c.Token.Reveal()
}
