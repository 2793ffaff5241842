package main

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/admin"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/authn/oauth"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/internal/mint"
	"github.com/mcpauth-go/mcpauth/revoke"
)

// site is a gateway with administration on a socket.
type site struct {
	*gatewaytest.Server
	list   *revoke.List
	socket string
	signer *mint.Signer
}

func newSite(t *testing.T, file bool) *site {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	dir, err := os.MkdirTemp("", "r") // short: a socket's path is bounded
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &site{socket: filepath.Join(dir, "admin.sock")}
	settings := jwt.Config{Logger: quiet, Issuers: []jwt.Issuer{{
		Name: issuer, Audience: []string{audience}, Keys: []jwt.KeySource{jwt.Secret(mcpauth.NewSecret(secret))},
	}}}
	c := revoke.Config{Logger: quiet, Lifetime: settings.Lifetime}
	if file {
		c.File = filepath.Join(dir, "revocations.db")
	}
	if s.list, err = revoke.Open(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.list.Close() })
	settings.Revocations = s.list
	provider, err := jwt.New(settings)
	if err != nil {
		t.Fatal(err)
	}
	s.Server = gatewaytest.Start(t, gateway.Config{
		Factory: (&gatewaytest.Factory{}).Make, Provider: provider, PublicURL: "https://mcp.example.com", AllowedHosts: []string{"127.0.0.1"},
		Revocations: s.list, Admin: admin.Config{Socket: s.socket},
	})
	if s.signer, err = mint.NewSigner("", []byte(secret), ""); err != nil {
		t.Fatal(err)
	}
	return s
}

// sign returns a token of alice's with further claims.
func (s *site) sign(t *testing.T, more map[string]any) string {
	t.Helper()
	claims := map[string]any{"iss": issuer, "aud": audience, "userId": "alice", "iat": time.Now().Unix(), "exp": time.Now().Unix() + 3600}
	for name, value := range more {
		claims[name] = value
	}
	token, err := s.signer.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// status is that of a call with token.
func (s *site) status(t *testing.T, token string) int {
	t.Helper()
	return s.Do(t, gatewaytest.ModernCall(token, 1, "whoami", "{}")).Status
}

func TestRevokeOnARunningServer(t *testing.T) {
	s := newSite(t, true)
	plain := s.sign(t, nil)
	file := write(t, t.TempDir(), "token", []byte(plain+"\n"))
	for _, test := range []struct {
		name  string
		token string
		input string
		args  []string
		says  string
	}{
		{"a token by its id", s.sign(t, map[string]any{"jti": "t1"}), "", []string{"token", "--issuer", issuer, "--id", "t1"}, `revoked: token "t1", issuer "` + issuer + `"` + "\n"},
		{"a token itself, from a pipe", s.sign(t, map[string]any{"jti": "t2"}), s.sign(t, map[string]any{"jti": "t2"}), []string{"token", "--read", "-"}, `revoked: token "t2", issuer "`},
		{"a token itself, from a file", plain, "", []string{"token", "--read", file, "--reason", "seen in a log"}, `revoked: token "sha256:`},
		{"a session", s.sign(t, map[string]any{"sid": "s1", "jti": "t3"}), "", []string{"session", "--issuer", issuer, "--session", "s1"}, `revoked: session "s1"`},
		{"a user", s.sign(t, map[string]any{"userId": "bob"}), "", []string{"user", "--issuer", issuer, "--user", "bob"}, `revoked: user "bob", tokens issued up to 20`},
		{"a user, up to a time", s.sign(t, map[string]any{"userId": "dave", "iat": 1767225600}), "", []string{"user", "--issuer", issuer, "--user", "dave", "--before", "2026-01-01T00:00:00Z"},
			`revoked: user "dave", tokens issued up to 2026-01-01T00:00:00Z, issuer "`},
		{"a user, blocked", s.sign(t, map[string]any{"userId": "carol"}), "", []string{"block", "--issuer", issuer, "--user", "carol", "--reason", "left"}, `revoked: user "carol", blocked, issuer "` + issuer + `", reason "left"` + "\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := s.status(t, test.token); got != http.StatusOK {
				t.Fatalf("before: %d", got)
			}
			code, out, errs := cli(test.input, append([]string{"revoke"}, with(test.args, "--socket", s.socket)...)...)
			later := test.args[0] == "user" && strings.HasPrefix(errs, "Tokens issued up to 60 s later are refused too")
			if code != exitOK || (errs != "") != later || !strings.HasPrefix(out, test.says) {
				t.Errorf("exit %d, %q, %q", code, out, errs)
			}
			if got := s.status(t, test.token); got != http.StatusUnauthorized {
				t.Errorf("after: %d", got)
			}
		})
	}

	t.Run("unblock", func(t *testing.T) {
		unblock := []string{"revoke", "unblock", "--socket", s.socket, "--issuer", issuer, "--user", "carol"}
		if code, out, errs := cli("", unblock...); code != exitOK || out != `unblocked: user "carol", issuer "`+issuer+"\"\n" {
			t.Errorf("exit %d, %q, %q", code, out, errs)
		}
		if got := s.status(t, s.sign(t, map[string]any{"userId": "carol"})); got != http.StatusOK {
			t.Errorf("after: %d", got)
		}
		if code, out, errs := cli("", unblock...); code != exitRefused || out != "" || errs != "mcpauth: the user is not blocked\n" {
			t.Errorf("again: exit %d, %q, %q", code, out, errs)
		}
	})

	t.Run("list", func(t *testing.T) {
		code, out, errs := cli("", "revoke", "list", "--socket", s.socket)
		if code != exitOK || errs != "" || strings.Count(out, "\n") != 6 || !strings.Contains(out, `, reason "seen in a log"`) || strings.Contains(out, "memory only") {
			t.Errorf("exit %d, %s, %q", code, out, errs)
		}
		code, out, _ = cli("", "revoke", "list", "--socket", s.socket, "--json", "--kind", "user", "--issuer", issuer, "--user", "bob")
		var e revoke.Entry
		if err := json.Unmarshal([]byte(out), &e); code != exitOK || err != nil || e.UserID != "bob" || e.Kind != revoke.User || !e.Saved || strings.Count(out, "\n") != 1 {
			t.Errorf("exit %d, %q, %v", code, out, err)
		}
		if code, out, _ := cli("", "revoke", "list", "--socket", s.socket, "--kind", "block"); code != exitOK || out != "" {
			t.Errorf("exit %d, %q", code, out)
		}
	})

	t.Run("JSON", func(t *testing.T) {
		code, out, _ := cli("", "revoke", "block", "--json", "--socket", s.socket, "--issuer", issuer, "--user", "erin")
		var e revoke.Entry
		if err := json.Unmarshal([]byte(out), &e); code != exitOK || err != nil || e.UserID != "erin" || !e.Saved {
			t.Errorf("exit %d, %q, %v", code, out, err)
		}
	})

	for _, test := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"an issuer that is not the server's", []string{"block", "--issuer", issuer + "/", "--user", "a"}, exitUsage, "issuer: not an issuer of this server"},
		{"a token in place of its id", []string{"token", "--issuer", issuer, "--id", plain}, exitUsage, "token_id: it looks like a token"},
		{"a time to come", []string{"user", "--issuer", issuer, "--user", "a", "--before", "2100-01-01T00:00:00Z"}, exitUsage, "before: in the future"},
		{"no time", []string{"user", "--issuer", issuer, "--user", "a", "--before", "yesterday"}, exitUsage, "--before"},
		{"no token in the file", []string{"token", "--read", s.socket + ".missing"}, exitUsage, "--read: open"},
		{"no token at all", []string{"token", "--issuer", issuer}, exitUsage, "--id"},
		{"an empty file", []string{"token", "--read", "-"}, exitUsage, "--read: no bearer token"},
		{"an id that is not to be read", []string{"token", "--issuer", issuer, "--id", "x", "--opaque"}, exitUsage, "--opaque is for --read"},
		{"a JWT that is opaque, without an issuer", []string{"token", "--read", file, "--opaque"}, exitUsage, "--issuer is missing: an opaque token names none"},
		{"an id without an issuer", []string{"token", "--id", "x"}, exitUsage, "--issuer is missing"},
		{"a user of no issuer", []string{"list", "--user", "a"}, exitUsage, "issuer"},
		{"a token file for a socket", []string{"list", "--token-file", file}, exitUsage, "--token-file is for --url"},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, out, errs := cli("", append([]string{"revoke"}, with(test.args, "--socket", s.socket)...)...)
			if code != test.code || out != "" || !strings.Contains(errs, test.says) || strings.Contains(errs, plain) {
				t.Errorf("exit %d, %q, %q", code, out, errs)
			}
		})
	}
}

// A server that asks the issuer knows a token by a "jti" in the issuer's answer
// only, never by one in the token.
func TestRevokeWhatTheIssuerIsAskedAbout(t *testing.T) {
	dir := t.TempDir()
	administrationToken := write(t, dir, "token", []byte("administration-token"))
	list, err := revoke.Open(revoke.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	server, err := admin.New(admin.Config{Addr: "127.0.0.1:0", TokenFile: administrationToken, Handler: list.Handler(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer server.Shutdown(t.Context())
	asked := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"sub":"alice"}`) }))
	defer asked.Close()
	provider, err := oauth.New(oauth.Config{Issuer: asked.URL, Method: oauth.Userinfo, Endpoint: asked.URL, AcceptAnyClient: true, Revocations: list,
		Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer provider.Close()
	signer, err := mint.NewSigner("", []byte(secret), "")
	if err != nil {
		t.Fatal(err)
	}
	sign := func(claims map[string]any) string {
		token, err := signer.Sign(claims)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	for _, test := range []struct {
		name  string
		token string
		args  []string
	}{
		{"an opaque token", "opaque-1", []string{"--issuer", asked.URL}},
		{"an opaque token, said to be one", "opaque-2==", []string{"--issuer", asked.URL, "--opaque"}},
		{"an encrypted JWT", "a.b.c.d.e", []string{"--issuer", asked.URL}},
		{"a JWT without an id", sign(map[string]any{"iss": asked.URL, "n": 1}), nil},
		{"a JWT with an id that the issuer does not repeat", sign(map[string]any{"iss": asked.URL, "jti": "1"}), []string{"--issuer", asked.URL, "--opaque"}},
		{"three parts that are no JWT", "v1.local.x", []string{"--issuer", asked.URL, "--opaque"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := provider.Verify(t.Context(), test.token); err != nil {
				t.Fatal(err)
			}
			args := with([]string{"revoke", "token", "--read", "-", "--url", "http://" + server.Addr().String(), "--token-file", administrationToken}, test.args...)
			if code, out, errs := cli(test.token+"\n", args...); code != exitOK || errs != "" || !strings.HasPrefix(out, `revoked: token "sha256:`) {
				t.Errorf("exit %d, %q, %q", code, out, errs)
			}
			if _, err := provider.Verify(t.Context(), test.token); err == nil || mcpauth.AsError(err).Code != mcpauth.ErrRevoked {
				t.Errorf("after: %v", err)
			}
		})
	}
}

func TestRevokeAnAPIKeyByItsIDOnly(t *testing.T) {
	const random = "c4nary-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	list, err := revoke.Open(revoke.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	dir, err := os.MkdirTemp("", "k") // short: a socket's path is bounded
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "admin.sock")
	server, err := admin.New(admin.Config{Socket: socket, Handler: list.Handler(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer server.Shutdown(t.Context())
	for _, test := range []struct {
		name, id, issuer string
		code             int
		says             string
	}{
		{"a key", "sk_" + random, "urn:mcpauth:apikey", exitUsage, "that is not the id of an API key: mcpauth apikey list shows it"},
		{"a key, at another issuer", "sk_" + random, issuer, exitUsage, "that is not the id of an API key"},
		{"a key of another prefix", "acme" + random, "urn:mcpauth:apikey", exitUsage, "that is not the id of an API key"},
		{"how a key begins", "sk_c4na", "urn:mcpauth:apikey", exitUsage, "that is not the id of an API key"},
		{"an id that was made", "abcdefghijkl2345", "urn:mcpauth:apikey", exitOK, ""},
		{"an id of a table of one's own", "0190b6a2-4c1e-7d3f-8a52-1f0e9d8c7b6a", "urn:mcpauth:apikey", exitOK, "mcpauth apikey list shows them"},
		{"a hash of a table of one's own", strings.Repeat("0f", 24), "urn:mcpauth:apikey", exitOK, "mcpauth apikey list shows them"},
		{"another issuer's token", strings.Repeat("x", 50), issuer, exitOK, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, _, errs := cli("", "revoke", "token", "--issuer", test.issuer, "--id", test.id, "--socket", socket)
			if code != test.code || !strings.Contains(errs, test.says) || test.says == "" && errs != "" || strings.Contains(errs, "c4na") {
				t.Errorf("exit %d, %q", code, errs)
			}
		})
	}
	if code, _, errs := cli("sk_"+random, "revoke", "token", "--issuer", "urn:mcpauth:apikey", "--read", "-", "--socket", socket); code != exitUsage || !strings.Contains(errs, "--read is not for API keys") || strings.Contains(errs, "c4na") {
		t.Errorf("--read: exit %d, %q", code, errs)
	}
}

func TestRevokeWithoutAServer(t *testing.T) {
	dir := t.TempDir()
	token := write(t, dir, "token", []byte("administration-token"))
	missing := filepath.Join(dir, "no.sock")
	for _, test := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"no socket there", []string{"--socket", missing}, exitRefused, "there is no socket " + missing + ": is the server running"},
		{"a file that is no socket", []string{"--socket", token}, exitRefused, "nobody listens at the socket " + token},
		{"nobody at the address", []string{"--url", "http://127.0.0.1:1", "--token-file", token}, exitRefused, "nobody listens at http://127.0.0.1:1"},
		{"no file with the token", []string{"--url", "http://127.0.0.1:1", "--token-file", missing}, exitUsage, "--token-file: open " + missing},
		{"no token", []string{"--url", "http://127.0.0.1:1"}, exitUsage, "--url needs --token-file"},
		{"in the clear", []string{"--url", "http://mcp.example.com:9091", "--token-file", token}, exitUsage, "in the clear"},
		{"a password in the URL", []string{"--url", "http://admin:canary@127.0.0.1:1", "--token-file", token}, exitUsage, `--url is not like`},
		{"neither", nil, exitUsage, "--socket"},
		{"both", []string{"--socket", missing, "--url", "http://127.0.0.1:1"}, exitUsage, "can't be used together"},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, out, errs := cli("", append([]string{"revoke", "list"}, test.args...)...)
			if code != test.code || out != "" || !strings.Contains(errs, test.says) || strings.Contains(errs, "canary") {
				t.Errorf("exit %d, %q, %q", code, out, errs)
			}
		})
	}
}

func TestRevokeOverTCP(t *testing.T) {
	dir := t.TempDir()
	token, wrong := write(t, dir, "token", []byte("administration-token\n")), write(t, dir, "wrong", []byte("another-token-of-admin\n"))
	list, err := revoke.Open(revoke.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	serve := func(h http.Handler) string {
		server, err := admin.New(admin.Config{Addr: "127.0.0.1:0", TokenFile: token, Handler: h, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { server.Shutdown(t.Context()) })
		return "http://" + server.Addr().String()
	}
	url, bare := serve(list.Handler()), serve(nil)
	block := []string{"revoke", "block", "--issuer", issuer, "--user", "alice"}
	if code, out, errs := cli("", with(block, "--url", url, "--token-file", token)...); code != exitOK || !strings.Contains(out, "in memory only") {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
	if !list.Revoked(mcpauth.Revocable{Issuer: issuer, UserID: "alice"}) {
		t.Error("not revoked")
	}
	if code, _, errs := cli("", with(block, "--url", url, "--token-file", wrong)...); code != exitRefused || !strings.Contains(errs, "does not take the token") {
		t.Errorf("another token: exit %d, %q", code, errs)
	}
	if code, _, errs := cli("", with(block, "--url", bare, "--token-file", token)...); code != exitRefused || !strings.Contains(errs, "no list of revocations") {
		t.Errorf("no list: exit %d, %q", code, errs)
	}
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	for _, command := range [][]string{block, {"credential", "invalidate", "--issuer", issuer, "--user", "alice"}} {
		want := "mcpauth: nothing of administration answers at " + other.URL + ": it is not the Addr of the server's administration, or that has no "
		if code, _, errs := cli("", with(command, "--url", other.URL, "--token-file", token)...); code != exitRefused || !strings.HasPrefix(errs, want) {
			t.Errorf("%v at another server: exit %d, %q", command, code, errs)
		}
	}
	list.Close()
	if code, _, errs := cli("", with(block, "--url", url, "--token-file", token)...); code != exitRefused || errs != "mcpauth: the server is stopping: nothing has changed\n" {
		t.Errorf("closed: exit %d, %q", code, errs)
	}
}
