// Command embed has a gateway beside other routes, on an http.Server of the
// author's own, and shows in which order things start and stop.
//
//	export JWT_SECRET=$(openssl rand -base64 48)
//	go run ./examples/embed
//	curl http://127.0.0.1:8080/hello http://127.0.0.1:8080/mcp/health http://127.0.0.1:9090/metrics
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/gateway"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "where to listen")
	operationsAddr := flag.String("operations", "127.0.0.1:9090", "where to serve metrics and health")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr, *operationsAddr); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, addr, operationsAddr string) (err error) {
	g, err := newGateway("http://" + addr)
	if err != nil {
		return err
	}
	routes := http.NewServeMux()
	routes.HandleFunc("GET /hello", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") })
	routes.Handle("/", g) // MCP, health and, under /.well-known/, the metadata

	server := &http.Server{Addr: addr, Handler: routes, ReadHeaderTimeout: 10 * time.Second}
	operations := &http.Server{Addr: operationsAddr, Handler: g.Operations(), ReadHeaderTimeout: 10 * time.Second}

	failed := make(chan error, 2)
	if err = g.Start(ctx); err == nil { // before the first request
		go func() { failed <- server.ListenAndServe() }()
		go func() { failed <- operations.ListenAndServe() }()
		select {
		case err = <-failed:
		case <-ctx.Done():
		}
	}
	// The gateway first: server.Shutdown waits for streams, which only the
	// gateway ends. (As a function of server.RegisterOnShutdown it would end
	// them too, but nobody would wait for what else it closes.) Metrics last.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return errors.Join(err, g.Shutdown(ctx), server.Shutdown(ctx), operations.Shutdown(ctx))
}

func newGateway(origin string) (*gateway.Gateway, error) {
	provider, err := jwt.New(jwt.Config{Issuers: []jwt.Issuer{{
		Name:     "https://issuer.example.com",
		Audience: []string{origin + "/mcp"},
		Keys:     []jwt.KeySource{jwt.SecretEnv("JWT_SECRET")},
	}}})
	if err != nil {
		return nil, err
	}
	return gateway.New(gateway.Config{Provider: provider, PublicURL: origin, Factory: newServer})
}

func newServer(context.Context, gateway.Call) (gateway.Instance, error) {
	server := mcp.NewServer(&mcp.Implementation{Name: "embed", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "whoami", Description: "Says who you are."},
		func(ctx context.Context, _ *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
			text := "you are " + mcpauth.FromContext(ctx).UserID()
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil, nil
		})
	return gateway.Instance{Server: server}, nil
}
