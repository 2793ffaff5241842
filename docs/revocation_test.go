package docs_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/admin"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
	"github.com/mcpauth-go/mcpauth/revoke"
)

func withRevocations(file string, settings jwt.Config, c gateway.Config) (gateway.Config, *revoke.List, error) {
	list, err := revoke.Open(revoke.Config{File: file, Lifetime: settings.Lifetime})
	if err != nil {
		return c, nil, err
	}
	settings.Revocations, c.Revocations = list, list
	c.Provider, err = jwt.New(settings)
	return c, list, err // to be closed once the gateway has stopped
}

func seconds(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }

// The commands of the documentation do what it says, on a server that is made
// as it says.
func TestOperationsRevocation(t *testing.T) {
	dir, err := os.MkdirTemp("", "r") // short: a socket's path is bounded
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "mcpauth"), "../cmd/mcpauth")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const documented = "/run/mcpauth/admin.sock"
	socket := filepath.Join(dir, "admin.sock")
	key := tokentest.SharedSecret("revocation")
	c, list, err := withRevocations(filepath.Join(dir, "revocations.db"), jwt.Config{Issuers: []jwt.Issuer{{
		Name: "https://issuer.example.com", Audience: []string{origin + "/mcp"}, UserIDClaim: "sub",
		Keys: []jwt.KeySource{jwt.Secret(mcpauth.NewSecret(string(key.Private.([]byte))))},
	}}}, gateway.Config{
		Factory: (&gatewaytest.Factory{}).Make, PublicURL: origin, AllowedHosts: []string{"127.0.0.1"}, Admin: admin.Config{Socket: socket},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { list.Close() })
	s := gatewaytest.Start(t, c)
	token := func(more string) string {
		now := time.Now().Add(-time.Second).UTC()
		return key.Token(key.Header(), `{"iss":"https://issuer.example.com","aud":"`+origin+`/mcp","iat":`+seconds(now)+`,"exp":`+seconds(now.Add(time.Hour))+`,`+more+`}`)
	}
	leaked := token(`"sub":"carol"`)
	if err := os.WriteFile(filepath.Join(dir, "leaked.txt"), []byte(leaked), 0o600); err != nil {
		t.Fatal(err)
	}
	affected := map[string]string{ // by what a command says
		"revoke user":         token(`"sub":"alice"`),
		"revoke block":        token(`"sub":"bob"`),
		"revoke token --read": leaked,
		"revoke token --issu": token(`"sub":"dave","jti":"0b9f4c1e"`),
		"revoke session":      token(`"sub":"erin","sid":"8d2c77a0"`),
		"revoke unblock":      token(`"sub":"bob"`),
		"revoke list":         "",
	}
	status := func(token string) int { return s.Do(t, gatewaytest.ModernCall(token, 1, "whoami", "{}")).Status }
	text := strings.ReplaceAll(strings.Join(examples(t, "## Revocation"), "\n"), "\\\n", "")
	for command := range strings.Lines(text) {
		command = strings.TrimSpace(command)
		if !strings.Contains(command, documented) {
			t.Errorf("%q: not for the socket %s", command, documented)
		}
		found := ""
		for part := range affected {
			if strings.HasPrefix(command, "mcpauth "+part) {
				found = part
			}
		}
		if found == "" {
			t.Errorf("%q: no such command here, or twice", command)
			continue
		}
		before, after := http.StatusOK, http.StatusUnauthorized
		if found == "revoke unblock" {
			before, after = after, before
		}
		if bearer := affected[found]; bearer != "" && status(bearer) != before {
			t.Errorf("%q: before it %d", command, status(bearer))
		}
		shell := exec.CommandContext(t.Context(), "sh", "-c", strings.ReplaceAll(command, documented, socket))
		shell.Dir = dir
		shell.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
		if out, err := shell.CombinedOutput(); err != nil {
			t.Errorf("%q: %v: %s", command, err, out)
		}
		if bearer := affected[found]; bearer != "" && status(bearer) != after {
			t.Errorf("%q: after it %d", command, status(bearer))
		}
		delete(affected, found)
	}
	for part := range affected {
		t.Errorf("no example of %q", part)
	}
}
