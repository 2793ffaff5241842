// Command tool-scopes has tools that need different scopes, and tools that
// bound, repeat and log what they do. README.md beside it shows what a client
// sees who has too few scopes.
//
//	export JWT_SECRET=$(openssl rand -base64 48)
//	go run ./examples/tool-scopes
package main

import (
	"context"
	"flag"
	"log"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/policy"
	"github.com/mcpauth-go/mcpauth/tool"
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
		Factory:  newServer,
		// Everybody needs to read, and some tools more. Who may write may read.
		RequiredScopes: []string{"notes:read"},
		Rules: []policy.Rule{
			{Tool: "add_*", Scopes: []string{"notes:write"}},
			{Tool: "drop_table", Deny: true}, // to everybody, and not in the list
		},
		ScopeHierarchy:  mcpauth.Hierarchy{"notes:write": {"notes:read"}},
		SupportedScopes: []string{"notes:read", "notes:write"},
	})
	if err != nil {
		return err
	}
	return g.Run(context.Background()) // until SIGINT or SIGTERM
}

// steps are around each tool, the first outermost.
var steps = tool.Compose(
	tool.Log(nil),                  // to slog.Default(): tool, user, duration, outcome
	tool.Timeout(5*time.Second),    // for all attempts together
	tool.Retry(tool.RetryPolicy{}), // what a handler says may be tried again
)

func newServer(context.Context, gateway.Call) (gateway.Instance, error) {
	server := mcp.NewServer(&mcp.Implementation{Name: "tool-scopes", Version: "1"}, nil)
	tool.Add(server, &mcp.Tool{Name: "list_notes", Description: "Lists your notes."}, listNotes, steps)
	tool.Add(server, &mcp.Tool{Name: "add_note", Description: "Adds a note."}, addNote, steps)
	tool.Add(server, &mcp.Tool{Name: "drop_table", Description: "Forgets everything."}, dropTable, steps)
	return gateway.Instance{Server: server}, nil
}
