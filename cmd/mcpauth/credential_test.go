package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/admin"
	"github.com/mcpauth-go/mcpauth/credential"
)

// counted is a source that counts.
type counted struct{ fetches atomic.Int32 }

func (c *counted) Fetch(context.Context, *mcpauth.Identity, string) (*mcpauth.Credential, error) {
	c.fetches.Add(1)
	return &mcpauth.Credential{Token: mcpauth.NewSecret("canary")}, nil
}

func TestCredentialInvalidate(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	dir, err := os.MkdirTemp("", "c") // short: a socket's path is bounded
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	source := &counted{}
	resolver, err := credential.New(credential.Config{Source: source, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer resolver.Close()
	serve := func(c admin.Config) *admin.Server {
		c.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
		server, err := admin.New(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { server.Shutdown(context.Background()) })
		return server
	}
	socket, bare := filepath.Join(dir, "admin.sock"), filepath.Join(dir, "bare.sock")
	serve(admin.Config{Socket: socket, Handler: resolver.Handler()})
	serve(admin.Config{Socket: bare})
	token, wrong := write(t, dir, "token", []byte("administration-token\n")), write(t, dir, "wrong", []byte("another-token-of-admin\n"))
	url := "http://" + serve(admin.Config{Addr: "127.0.0.1:0", TokenFile: token, Handler: resolver.Handler()}).Addr().String()

	alice, err := mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: issuer, UserID: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	invalidate := []string{"credential", "invalidate", "--issuer", issuer, "--user", "alice"}
	for _, test := range []struct {
		name    string
		args    []string
		code    int
		out     string
		says    string
		fetches int32 // of the next two requests, for two types of resource
	}{
		{"everything", []string{"--socket", socket}, exitOK, `forgotten: 2 cached for user "alice", issuer "` + issuer + `", every type of resource` + "\n", "", 2},
		{"one type", []string{"--socket", socket, "--resource", "github"}, exitOK, `forgotten: 1 cached for user "alice", issuer "` + issuer + `", "github"` + "\n", "", 1},
		{"of nobody", []string{"--socket", socket, "--user", "bob"}, exitOK, `forgotten: 0 cached for user "bob", issuer "` + issuer + `", every type of resource` + "\n", "are compared exactly", 0},
		{"over TCP", []string{"--url", url, "--token-file", token}, exitOK, `forgotten: 2 cached for user "alice", issuer "` + issuer + `", every type of resource` + "\n", "", 2},
		{"with another token", []string{"--url", url, "--token-file", wrong}, exitRefused, "", "does not take the token", 0},
		{"of a server without", []string{"--socket", bare}, exitRefused, "", "no cache of credentials", 0},
		{"of no server", []string{"--socket", socket + ".none"}, exitRefused, "", "is the server running", 0},
		{"without a server", nil, exitUsage, "", "--socket", 0},
		{"an empty user", []string{"--socket", socket, "--user", ""}, exitUsage, "", "user_id", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			use := func() {
				for _, kind := range []string{"github", "gitlab"} {
					if _, err := resolver.Resolve(t.Context(), alice, kind); err != nil {
						t.Fatal(err)
					}
				}
			}
			use()
			before := source.fetches.Load()
			args := invalidate
			if strings.Contains(strings.Join(test.args, " "), "--user") {
				args = invalidate[:4]
			}
			code, out, errs := cli("", with(args, test.args...)...)
			if code != test.code || out != test.out || !strings.Contains(errs, test.says) {
				t.Errorf("exit %d, %q, %q", code, out, errs)
			}
			use()
			if n := source.fetches.Load() - before; n != test.fetches {
				t.Errorf("%d fetches afterwards", n)
			}
		})
	}
	t.Run("JSON", func(t *testing.T) {
		code, out, errs := cli("", with(invalidate, "--socket", socket, "--json")...)
		var what credential.Invalidation
		if err := json.Unmarshal([]byte(out), &what); code != exitOK || err != nil || what != (credential.Invalidation{Issuer: issuer, UserID: "alice", Forgotten: 2}) {
			t.Errorf("exit %d, %q, %q", code, out, errs)
		}
	})
}
