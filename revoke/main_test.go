package revoke_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/revoke"
)

const (
	issuer = "https://issuer.example.com"
	other  = "https://other.example.com"

	// childFile names the list that a child of the tests revokes in.
	childFile = "REVOKE_TEST_CHILD_FILE"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childFile); path != "" {
		child(path)
	}
	goleak.VerifyTestMain(m)
}

// child says when a revocation has been reported as saved, and then waits to
// be killed.
func child(path string) {
	l, err := revoke.Open(revoke.Config{File: path, Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		_, err = l.Revoke(context.Background(), block("alice"), tokenOf("t1"))
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("saved")
	time.Sleep(time.Hour)
}

func quiet(c revoke.Config) revoke.Config {
	c.Logger = slog.New(slog.DiscardHandler)
	return c
}

func open(t testing.TB, c revoke.Config) *revoke.List {
	t.Helper()
	l, err := revoke.Open(quiet(c))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func path(t testing.TB) string { return filepath.Join(t.TempDir(), "revocations.db") }

func put(t testing.TB, l *revoke.List, rs ...revoke.Revocation) []revoke.Entry {
	t.Helper()
	entries, err := l.Revoke(t.Context(), rs...)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func shut(t testing.TB, l *revoke.List) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func tokenOf(id string) revoke.Revocation {
	return revoke.Revocation{Kind: revoke.Token, Issuer: issuer, TokenID: id}
}

func block(user string) revoke.Revocation {
	return revoke.Revocation{Kind: revoke.Block, Issuer: issuer, UserID: user}
}

func user(id string) revoke.Revocation {
	return revoke.Revocation{Kind: revoke.User, Issuer: issuer, UserID: id}
}

func session(id string) revoke.Revocation {
	return revoke.Revocation{Kind: revoke.Session, Issuer: issuer, SessionID: id}
}

func isRevoked(t testing.TB, l *revoke.List, want bool, r mcpauth.Revocable) {
	t.Helper()
	if got := l.Revoked(r); got != want {
		t.Fatalf("Revoked(%+v) = %v", r, got)
	}
}

// of is a token that is fresh, but for what is said.
func of(userID, tokenID, sessionID string) mcpauth.Revocable {
	return mcpauth.Revocable{Issuer: issuer, UserID: userID, TokenID: tokenID, SessionID: sessionID, IssuedAt: time.Now().Add(time.Hour)}
}

func lifetime(d time.Duration) func(string) (time.Duration, bool) {
	return func(string) (time.Duration, bool) { return d, true }
}
