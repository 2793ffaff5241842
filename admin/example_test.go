package admin_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/mcpauth-go/mcpauth/admin"
)

// Administration on a Unix socket, with a handler of one's own beside the
// profiles.
func Example() {
	dir, err := os.MkdirTemp("", "admin")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "admin.sock")

	routes := http.NewServeMux()
	routes.HandleFunc("POST /revoke", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "revoked ", r.FormValue("user")) })
	a, err := admin.New(admin.Config{Socket: socket, Handler: routes, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := a.Start(context.Background()); err != nil {
		fmt.Println(err)
		return
	}

	// As curl --unix-socket does.
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	response, err := client.Post("http://admin/revoke?user=alice", "", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	body, _ := io.ReadAll(response.Body)
	response.Body.Close()
	client.CloseIdleConnections()
	fmt.Println(response.StatusCode, string(body))
	fmt.Println(a.Shutdown(context.Background()))
	// Output:
	// 200 revoked alice
	// <nil>
}
