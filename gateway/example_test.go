package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth/gateway"
)

// A gateway beside other routes, on a server of one's own.
func ExampleGateway() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	origin := "http://" + listener.Addr().String()

	g, err := gateway.New(gateway.Config{
		Provider:  &names{}, // such as a *jwt.Provider
		PublicURL: origin,   // such as "https://mcp.example.com"
		Factory: func(context.Context, gateway.Call) (gateway.Instance, error) {
			return gateway.Instance{Server: mcp.NewServer(&mcp.Implementation{Name: "mine", Version: "1"}, nil)}, nil
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	routes := http.NewServeMux()
	routes.HandleFunc("GET /hello", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	routes.Handle("/", g) // MCP, health and metadata

	server := &http.Server{Handler: routes}
	if err := g.Start(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	go server.Serve(listener)

	for _, path := range []string{"/hello", "/mcp/health", "/mcp"} {
		response, err := http.Get(origin + path)
		if err != nil {
			fmt.Println(err)
			return
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		fmt.Println(response.StatusCode, string(body))
	}

	// The gateway first: the server would wait for streams that only the
	// gateway ends.
	err = errors.Join(g.Shutdown(context.Background()), server.Shutdown(context.Background()))
	fmt.Println(err)
	http.DefaultClient.CloseIdleConnections()
	// Output:
	// 200 hello
	// 200 {"status":"ok"}
	//
	// 401 {"error":"unauthorized","error_description":"No authorization header provided"}
	//
	// <nil>
}
