// Command static-server is an MCP server with the same tools for everybody:
// nothing that they answer depends on who asks. A verified user stands in front
// of them all the same, and is limited and written down.
//
//	export JWT_SECRET=$(openssl rand -base64 48)
//	go run ./examples/static-server
//
// README.md of the module shows how to make a token and to call it.
package main

import (
	"context"
	"flag"
	"log"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/limit"
)

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
	g, err := gateway.New(gateway.Config{
		Addr:     addr,
		Provider: provider,
		// The tools are shared, the servers are not: a server of the SDK knows
		// its sessions and sends them notifications, so each user has one of
		// their own. A server costs little.
		Factory: func(context.Context, gateway.Call) (gateway.Instance, error) {
			return gateway.Instance{Server: newServer()}, nil
		},
		UserRate: limit.Rate{Requests: 60, Per: time.Minute},
	})
	if err != nil {
		return err
	}
	return g.Run(context.Background()) // until SIGINT or SIGTERM
}

// newServer returns a server with the tools that everybody has.
func newServer() *mcp.Server {
	server := mcp.NewServer(&mcp.Implementation{Name: "static-server", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "count_words", Description: "Counts the words of a text."}, countWords)
	return server
}

type text struct {
	Text string `json:"text" jsonschema:"the text to look at"`
}

type count struct {
	Words int `json:"words"`
}

func countWords(_ context.Context, _ *mcp.CallToolRequest, in text) (*mcp.CallToolResult, count, error) {
	return nil, count{Words: len(strings.Fields(in.Text))}, nil
}
