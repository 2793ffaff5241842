package revoke_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/revoke"
)

// Alice has lost her laptop: whatever was issued to her until now is of no use
// any more, and she may log in again.
func Example() {
	dir, err := os.MkdirTemp("", "revoke")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	list, err := revoke.Open(revoke.Config{
		File:   filepath.Join(dir, "revocations.db"),
		Logger: slog.New(slog.DiscardHandler),
		Lifetime: func(issuer string) (time.Duration, bool) {
			return 24 * time.Hour, issuer == "https://issuer.example.com"
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer list.Close()
	defer list.Notify(func(r revoke.Revocation) { fmt.Println("ending the sessions of", r.UserID) })()

	_, err = list.Revoke(context.Background(), revoke.Revocation{
		Kind: revoke.User, Issuer: "https://issuer.example.com", UserID: "alice", Reason: "laptop stolen",
	})
	fmt.Println(err)
	fmt.Println(list.Revoked(mcpauth.Revocable{
		Issuer: "https://issuer.example.com", UserID: "alice", IssuedAt: time.Now().Add(-time.Hour),
	}))
	fmt.Println(list.Revoked(mcpauth.Revocable{
		Issuer: "https://issuer.example.com", UserID: "alice", IssuedAt: time.Now().Add(2 * time.Minute),
	}))
	// Output:
	// ending the sessions of alice
	// <nil>
	// true
	// false
}
