package env_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/env"
)

func ExampleNew() {
	os.Setenv(env.Variable, "alice")
	defer os.Unsetenv(env.Variable)

	provider, err := env.New(env.Config{Scopes: []string{"notes:read"}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer provider.Close()

	r := &mcpauth.Request{Header: http.Header{}, Host: "localhost:8080", RemoteAddr: "127.0.0.1:50000"} // which mcpauth.Require makes
	fmt.Println(provider.Authenticate(context.Background(), r))

	r.Header.Set("X-Forwarded-For", "192.0.2.1")
	fmt.Println(provider.Authenticate(context.Background(), r))
	// Output:
	// "alice" of "urn:mcpauth:env" <nil>
	// <nil> forbidden: This server runs for development, without credentials, and does not serve requests that came through a proxy.
}
