package e2e_test

import (
	"bufio"
	"crypto"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/oauth"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
)

// opaque issues opaque access tokens.
type opaque struct {
	oidcProcess
	key signingKey // of the client gateway-key
}

func startOpaque(t *testing.T) *opaque {
	t.Helper()
	needClients(t)
	p := &opaque{oidcProcess{script: "oauth.mjs"}, newSigningKey(t, "gateway")}
	p.start(t, map[string]any{
		"audience": oidcAudience, "keys": jwks([]signingKey{newSigningKey(t, "k1")}), "gatewayKeys": []jose.JSONWebKey{p.key.Public()},
	})
	return p
}

var (
	formAction = regexp.MustCompile(`action="([^"]+)"`)
	formPrompt = regexp.MustCompile(`name="prompt" value="([^"]+)"`)
)

// browse is user's browser: it opens the page, logs in and consents.
func (p *opaque) browse(t *testing.T, page, user string) {
	jar, _ := cookiejar.New(nil)
	browser := http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	resp, err := browser.Get(page)
	for step := 0; ; step++ {
		if err != nil {
			t.Error(err)
			return
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		action, prompt := formAction.FindSubmatch(body), formPrompt.FindSubmatch(body)
		if action == nil || prompt == nil || step > 4 {
			if resp.StatusCode != http.StatusOK || !strings.Contains(string(body), "Thank you") {
				t.Errorf("the browser ends at %s with %d %s", resp.Request.URL.Host, resp.StatusCode, body)
			}
			return
		}
		to, err2 := resp.Request.URL.Parse(string(action[1]))
		if err2 != nil {
			t.Error(err2)
			return
		}
		resp, err = browser.PostForm(to.String(), url.Values{"prompt": {string(prompt[1])}, "login": {user}, "password": {"x"}})
	}
}

// session is a login of the binary's.
type session struct {
	p     *opaque
	flags []string
}

// login runs mcpauth login as user.
func (p *opaque) login(t *testing.T, user string, flags ...string) session {
	t.Helper()
	dir := t.TempDir()
	s := session{p: p, flags: append([]string{"--issuer", p.issuer, "--client-id", "tool", "--store", filepath.Join(dir, "tokens"), "--key-file", filepath.Join(dir, "key")}, flags...)}
	cmd := exec.CommandContext(t.Context(), binary, append([]string{"login", "--no-browser", "--timeout", "30s", "--scope", "openid offline_access notes:read"}, s.flags...)...)
	var errs gatewaytest.Log
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said, done := "", make(chan struct{})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		said += lines.Text() + "\n"
		if page := strings.TrimSpace(lines.Text()); strings.HasPrefix(page, p.issuer) {
			go func() {
				defer close(done)
				p.browse(t, page, user)
			}()
		}
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(said, `Logged in as "`+user+`"`) {
		t.Fatalf("mcpauth login: %v\n%s\n%s\n%s", err, said, &errs, &p.log)
	}
	<-done
	return s
}

// token runs mcpauth token print.
func (s session) token(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), binary, append([]string{"token", "print"}, s.flags...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("mcpauth token print: %v\n%s\n%s", err, out, &s.p.log)
	}
	return strings.TrimSpace(string(out))
}

func (p *opaque) config(c oauth.Client) oauth.Config {
	return oauth.Config{Issuer: p.issuer, Audience: []string{oidcAudience}, Client: c, RequireTokenType: true, Logger: slog.New(slog.DiscardHandler)}
}

func newOAuth(t *testing.T, c oauth.Config) *oauth.Provider {
	t.Helper()
	provider, err := oauth.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { provider.Close() })
	return provider
}

func TestOAuthIntrospection(t *testing.T) {
	p := startOpaque(t)
	basic := oauth.Client{ClientID: "gateway", Secret: mcpauth.NewSecret("of the gateway: 100%+")}
	alice := p.login(t, "alice", "--resource", oidcAudience).token(t)
	own := p.login(t, "alice").token(t) // for the provider itself

	// Behind a gateway.
	provider, err := oauth.New(p.config(basic))
	if err != nil {
		t.Fatal(err)
	}
	factory := &gatewaytest.Factory{}
	g := gatewaytest.Start(t, gateway.Config{PublicURL: "https://mcp.example.com", Factory: factory.Make, Provider: provider, RequiredScopes: []string{"notes:read"}})
	gatewaytest.Eventually(t, "the gateway is ready", func() bool {
		return g.Do(t, gatewaytest.Request{Method: "GET", Path: "/mcp/health/ready"}).Status == http.StatusOK
	})
	who, err := gatewaytest.DecodeWho(g.Do(t, gatewaytest.ModernCall(alice, 1, "whoami", "{}")).Text())
	if err != nil || who.Caller != "alice" {
		t.Errorf("%+v, %v", who, err)
	}
	for name, token := range map[string]string{"a token for the provider itself": own, "an invented one": "x" + alice} {
		got := g.Do(t, gatewaytest.ModernCall(token, 1, "whoami", "{}"))
		if got.Status != http.StatusUnauthorized || !strings.Contains(got.Header.Get("WWW-Authenticate"), `error="invalid_token"`) {
			t.Errorf("%s: %d %v", name, got.Status, got.Header)
		}
	}

	for name, client := range map[string]oauth.Client{
		"client_secret_post": {ClientID: "gateway-post", Secret: mcpauth.NewSecret("of the gateway"), Method: oauth.ClientSecretPost},
		"private_key_jwt":    {ClientID: "gateway-key", Key: p.key.Key.(crypto.Signer), KeyID: "gateway"},
	} {
		provider := newOAuth(t, p.config(client))
		id, err := provider.Verify(t.Context(), alice)
		if err != nil {
			t.Errorf("%s: %v (%v)", name, err, mcpauth.AsError(err).Cause)
			continue
		}
		if id.UserID() != "alice" || id.Issuer() != p.issuer || !id.HasScopes("notes:read") || id.Expiry().IsZero() || string(id.Metadata()["client_id"]) != `"tool"` {
			t.Errorf("%s: %v, %s", name, id, id.Metadata())
		}
	}
	wrong := newOAuth(t, p.config(oauth.Client{ClientID: "gateway", Secret: mcpauth.NewSecret("guessed")}))
	if _, err := wrong.Verify(t.Context(), alice); mcpauth.AsError(err).Code != mcpauth.ErrUnavailable || !strings.Contains(mcpauth.AsError(err).Cause.Error(), "invalid_client") {
		t.Errorf("with a wrong secret: %v", err)
	}

	// Revoked at the provider.
	c := p.config(basic)
	c.Cache.Off = true
	fresh := newOAuth(t, c)
	if _, err := fresh.Verify(t.Context(), alice); err != nil {
		t.Error(err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).PostForm(p.issuer+"/token/revocation", url.Values{"client_id": {"tool"}, "token": {alice}})
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", resp, err)
	}
	resp.Body.Close()
	if _, err := fresh.Verify(t.Context(), alice); mcpauth.AsError(err).Code != mcpauth.ErrInactive {
		t.Errorf("revoked at the provider: %v", err)
	}
}

func TestOAuthUserinfo(t *testing.T) {
	p := startOpaque(t)
	own := p.login(t, "alice").token(t)
	provider := newOAuth(t, oauth.Config{Issuer: p.issuer, Method: oauth.Userinfo, AcceptAnyClient: true, Logger: slog.New(slog.DiscardHandler)})
	if id, err := provider.Verify(t.Context(), own); err != nil || id.UserID() != "alice" {
		t.Errorf("%v, %v", id, err)
	}
	if _, err := provider.Verify(t.Context(), "invented"); mcpauth.AsError(err).Code != mcpauth.ErrInactive {
		t.Errorf("an invented token: %v", err)
	}
}

func TestOAuthLoginRefreshesWithRotation(t *testing.T) {
	p := startOpaque(t)
	s := p.login(t, "alice", "--resource", oidcAudience)
	provider := newOAuth(t, p.config(oauth.Client{ClientID: "gateway", Secret: mcpauth.NewSecret("of the gateway: 100%+")}))
	// The tokens live for less than is to remain, so each is another one, of
	// another refresh token: the provider ends the login when one is used twice.
	seen := map[string]bool{}
	for range 3 {
		token := s.token(t)
		if seen[token] {
			t.Error("the same token twice")
		}
		seen[token] = true
		if id, err := provider.Verify(t.Context(), token); err != nil || id.UserID() != "alice" {
			t.Errorf("%v, %v", id, err)
		}
	}
	// Many at the same time, of several processes.
	failed := make(chan string, 6)
	for range cap(failed) {
		go func() {
			out, err := exec.Command(binary, append([]string{"token", "print"}, s.flags...)...).CombinedOutput()
			if err == nil {
				out = nil
			}
			failed <- string(out)
		}()
	}
	for range cap(failed) {
		if text := <-failed; text != "" {
			t.Errorf("mcpauth token print: %s", text)
		}
	}
}
