// Command sdk-handler serves MCP with the official SDK's own HTTP handler instead of
// the gateway: one server for all users, whose tools see the user of each call.
//
//	export JWT_SECRET=$(openssl rand -base64 48)
//	go run ./examples/sdk-handler
//
// README.md of the module shows how to make a token and to call a tool.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/sdkauth"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "where to listen")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, addr string) error {
	origin := "http://" + addr
	provider, err := jwt.New(jwt.Config{Issuers: []jwt.Issuer{{
		Name:     "https://issuer.example.com",
		Audience: []string{origin + "/mcp"},
		Keys:     []jwt.KeySource{jwt.SecretEnv("JWT_SECRET")},
	}}})
	if err != nil {
		return err
	}
	if err := provider.Start(ctx); err != nil {
		return err
	}
	defer provider.Close()
	checkOrigin, err := mcpauth.CheckOrigin(mcpauth.OriginConfig{PublicURL: origin})
	if err != nil {
		return err
	}

	server := newServer()
	handler := sdkauth.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server },
		&mcp.StreamableHTTPOptions{SessionTimeout: 30 * time.Minute})
	requireUser := mcpauth.Require(provider, mcpauth.Requirement{Scopes: []string{"notes:read"}})
	routes := http.NewServeMux()
	routes.Handle("/mcp", checkOrigin(requireUser(handler)))
	routes.HandleFunc("GET /mcp/health", func(http.ResponseWriter, *http.Request) {})

	streams, endStreams := context.WithCancel(context.Background())
	httpServer := &http.Server{
		Addr: addr, Handler: routes, ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return streams },
	}
	// Shutdown waits for all requests, and streams do not end by themselves.
	httpServer.RegisterOnShutdown(endStreams)
	failed := make(chan error, 1)
	go func() { failed <- httpServer.ListenAndServe() }()
	select {
	case err := <-failed:
		endStreams()
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return httpServer.Shutdown(ctx)
}

// newServer returns the server that all users share. It keeps nothing of one user.
func newServer() *mcp.Server {
	server := mcp.NewServer(&mcp.Implementation{Name: "sdk-handler", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "whoami", Description: "Says who you are."}, whoami)
	mcp.AddTool(server, &mcp.Tool{Name: "add_note", Description: "Adds a note."}, addNote)
	return server
}

func whoami(ctx context.Context, _ *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
	user := mcpauth.FromContext(ctx) // of the request that calls the tool
	return say(fmt.Sprintf("you are %s and may %s", user.UserID(), strings.Join(user.Scopes(), " "))), nil, nil
}

type note struct {
	Text string `json:"text" jsonschema:"what to write down"`
}

// addNote checks its scope itself. With the gateway, package policy does that for
// all tools, and tells clients how to get the scope.
func addNote(ctx context.Context, _ *mcp.CallToolRequest, n note) (*mcp.CallToolResult, any, error) {
	user := mcpauth.FromContext(ctx)
	if !user.HasScopes("notes:write") {
		return nil, nil, errors.New("your token lacks the scope notes:write")
	}
	return say(fmt.Sprintf("%s notes %q", user.UserID(), n.Text)), nil, nil
}

func say(text string) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}
}
