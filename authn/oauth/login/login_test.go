package login_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/oauth/login"
	"github.com/mcpauth-go/mcpauth/internal/mint"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// authority is an authorization server with one user, who is logged in.
type authority struct {
	*httptest.Server
	t        *testing.T
	signer   *mint.Signer
	metadata map[string]any
	idToken  map[string]any                             // changes of the ID token; nil takes a claim away
	redirect func(url.Values)                           // changes what the browser brings back
	token    func(http.ResponseWriter, url.Values) bool // answers in place of the endpoint

	mu        sync.Mutex
	asked     url.Values // the authorization request
	refreshes int
	refresh   string // the one refresh token that is good
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	signer, err := mint.NewSigner("", tokentest.KeyFor("ES256").Private, "k")
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{t: t, signer: signer, metadata: map[string]any{}, idToken: map[string]any{}, refresh: "canary-refresh-0"}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		d := map[string]any{
			"issuer": a.URL, "authorization_endpoint": a.URL + "/auth", "token_endpoint": a.URL + "/token", "jwks_uri": a.URL + "/jwks",
			"authorization_response_iss_parameter_supported": true, "code_challenge_methods_supported": []string{"S256"},
		}
		for name, value := range a.metadata {
			d[name] = value
		}
		json.NewEncoder(w).Encode(d)
	})
	mux.HandleFunc("GET /jwks", func(w http.ResponseWriter, _ *http.Request) {
		set, _ := signer.JWKS()
		w.Write(set)
	})
	mux.HandleFunc("GET /auth", func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		a.asked = r.URL.Query()
		a.mu.Unlock()
		back := url.Values{"code": {"canary-code"}, "state": a.asked["state"], "iss": {a.URL}}
		if a.redirect != nil {
			a.redirect(back)
		}
		http.Redirect(w, r, a.asked.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
	})
	mux.HandleFunc("POST /token", a.giveTokens)
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.Server.Close)
	return a
}

func (a *authority) giveTokens(w http.ResponseWriter, r *http.Request) {
	r.ParseForm()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token != nil && a.token(w, r.PostForm) {
		return
	}
	refuse := func(text string) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"error":"invalid_grant","error_description":%q}`, text)
	}
	answer := map[string]any{"token_type": "bearer", "expires_in": 3600}
	switch form := r.PostForm; form.Get("grant_type") {
	case "authorization_code":
		challenge := sha256.Sum256([]byte(form.Get("code_verifier")))
		if base64.RawURLEncoding.EncodeToString(challenge[:]) != a.asked.Get("code_challenge") || a.asked.Get("code_challenge_method") != "S256" ||
			form.Get("code") != "canary-code" || form.Get("redirect_uri") != a.asked.Get("redirect_uri") || form.Get("client_id") != "tool" {
			refuse("not the code")
			return
		}
		if form.Get("resource") != a.asked.Get("resource") {
			a.t.Errorf("asked for %q and then for %q", a.asked.Get("resource"), form.Get("resource"))
		}
		answer["access_token"] = "canary-access-0"
		claims := map[string]any{"iss": a.URL, "aud": "tool", "sub": "alice", "nonce": a.asked.Get("nonce"), "exp": time.Now().Add(time.Hour).Unix()}
		for name, value := range a.idToken {
			claims[name] = value
			if value == nil {
				delete(claims, name)
			}
		}
		answer["id_token"], _ = a.signer.Sign(claims)
	case "refresh_token":
		if form.Get("refresh_token") != a.refresh {
			refuse("used before")
			return
		}
		a.refreshes++
		a.refresh = fmt.Sprint("canary-refresh-", a.refreshes)
		answer["access_token"] = fmt.Sprint("canary-access-", a.refreshes)
	default:
		refuse("no such grant")
		return
	}
	answer["refresh_token"] = a.refresh
	json.NewEncoder(w).Encode(answer)
}

func (a *authority) config() login.Config {
	key, err := login.KeyFile(filepath.Join(a.t.TempDir(), "key"))
	if err != nil {
		a.t.Fatal(err)
	}
	return login.Config{Issuer: a.URL, ClientID: "tool", Scopes: []string{"openid", "notes:read"}, Store: filepath.Join(a.t.TempDir(), "store"), Key: key}
}

func newClient(t *testing.T, c login.Config) *login.Client {
	t.Helper()
	client, err := login.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// browse is the user's browser, which follows redirects.
func browse(t *testing.T, url string) (status int, body string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

func logIn(t *testing.T, c *login.Client) (user string, err error) {
	t.Helper()
	var group sync.WaitGroup
	defer group.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	return c.Login(ctx, func(url string) { group.Go(func() { browse(t, url) }) })
}

func token(t *testing.T, c *login.Client) string {
	t.Helper()
	got, err := c.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got.Reveal()
}

func TestSeedEAuthorizationCodeWithPKCEAndTokensEncryptedAtRest(t *testing.T) {
	a := newAuthority(t)
	config := a.config()
	config.Resource = "https://mcp.example.com/mcp"
	c := newClient(t, config)
	if _, err := c.Token(t.Context()); !errors.Is(err, login.ErrNoLogin) {
		t.Errorf("before the login: %v", err)
	}
	user, err := logIn(t, c)
	if err != nil || user != "alice" {
		t.Fatalf("%q, %v", user, err)
	}
	back, err := url.Parse(a.asked.Get("redirect_uri"))
	if err != nil || back.Scheme != "http" || back.Hostname() != "127.0.0.1" || back.Port() == "" || back.Path != "/callback" {
		t.Errorf("back to %v", back)
	}
	for name, want := range map[string]string{"response_type": "code", "client_id": "tool", "scope": "openid notes:read", "resource": config.Resource, "code_challenge_method": "S256"} {
		if got := a.asked.Get(name); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if len(a.asked.Get(name)) < 26 {
			t.Errorf("%s is %q", name, a.asked.Get(name))
		}
	}
	if got := token(t, newClient(t, config)); got != "canary-access-0" {
		t.Errorf("the token is %q", got)
	}
	sealed, err := os.ReadFile(config.Store)
	if err != nil || bytes.Contains(sealed, []byte("canary")) || bytes.Contains(sealed, []byte("alice")) {
		t.Errorf("the store is %q, %v", sealed, err)
	}
	if info, err := os.Stat(config.Store); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	left, _ := os.ReadDir(filepath.Dir(config.Store))
	if len(left) != 2 { // the store and its lock
		t.Errorf("left behind: %v", left)
	}
}

func TestSeedERefreshWithRotationOnceForAll(t *testing.T) {
	a := newAuthority(t)
	config := a.config()
	// Two clients are two processes: they share the file alone.
	one, two := newClient(t, config), newClient(t, config)
	if err := one.Keep("old", "canary-refresh-0", time.Now().Add(30*time.Second)); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 40 {
		group.Go(func() {
			c := one
			if i%2 == 0 {
				c = two
			}
			if got, err := c.Token(t.Context()); err != nil || got.Reveal() != "canary-access-1" {
				t.Errorf("%q, %v", got.Reveal(), err)
			}
		})
	}
	group.Wait()
	if a.refreshes != 1 {
		t.Errorf("refreshed %d times", a.refreshes)
	}
	// And with the rotated one.
	if err := one.Keep("old", a.refresh, time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if got := token(t, two); got != "canary-access-2" {
		t.Errorf("%q", got)
	}
}

func TestRefreshThatFails(t *testing.T) {
	status := func(code int, body string) func(http.ResponseWriter, url.Values) bool {
		return func(w http.ResponseWriter, _ url.Values) bool {
			w.WriteHeader(code)
			fmt.Fprint(w, body)
			return true
		}
	}
	for _, test := range []struct {
		name    string
		token   func(http.ResponseWriter, url.Values) bool
		left    time.Duration
		refresh string
		want    string // a token, or a part of the error
	}{
		{"used before", nil, -1, "canary-refresh-9", "not logged in"},
		{"used before, and a token that is still good", nil, 30 * time.Second, "canary-refresh-9", "not logged in"},
		{"the server fails", status(500, "canary"), -1, "canary-refresh-0", "status 500"},
		{"the server fails, and a token that is still good", status(500, ""), 30 * time.Second, "canary-refresh-0", "old"},
		{"nothing to refresh with", nil, -1, "", "not logged in"},
		{"nothing to refresh with, and a token that is still good", nil, 30 * time.Second, "", "old"},
		{"a code of another kind", status(400, `{"error":"invalid_client","error_description":"no\u001b[2J"}`), -1, "canary-refresh-0", "invalid_client (no[2J)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newAuthority(t)
			a.token = test.token
			c := newClient(t, a.config())
			if err := c.Keep("old", test.refresh, time.Now().Add(test.left)); err != nil {
				t.Fatal(err)
			}
			got, err := c.Token(t.Context())
			text := got.Reveal()
			if err != nil {
				text = err.Error()
			}
			if !strings.Contains(text, test.want) || strings.Contains(text, "canary") || errors.Is(err, login.ErrNoLogin) != (test.want == "not logged in") {
				t.Errorf("%q, want %q", text, test.want)
			}
		})
	}
}

func TestWhatTheBrowserBringsBack(t *testing.T) {
	for _, test := range []struct {
		name     string
		redirect func(url.Values)
		metadata map[string]any
		want     string // a part of the error, "" for a login
	}{
		{name: "a code"},
		{name: "no issuer, where none is promised", redirect: func(v url.Values) { v.Del("iss") }, metadata: map[string]any{"authorization_response_iss_parameter_supported": false}},
		{name: "no issuer", redirect: func(v url.Values) { v.Del("iss") }, want: "which the issuer's metadata promises"},
		{name: "another issuer", redirect: func(v url.Values) { v.Set("iss", "https://evil.example") }, want: `of issuer "https://evil.example"`},
		{name: "another issuer, where none is promised", redirect: func(v url.Values) { v.Set("iss", "https://evil.example") },
			metadata: map[string]any{"authorization_response_iss_parameter_supported": false}, want: `of issuer "https://evil.example"`},
		{name: "an empty issuer, where none is promised", redirect: func(v url.Values) { v.Set("iss", "") },
			metadata: map[string]any{"authorization_response_iss_parameter_supported": false}, want: `of issuer ""`},
		{name: "a refusal", redirect: func(v url.Values) {
			v.Del("code")
			v.Set("error", "access_denied")
			v.Set("error_description", "no\x1b[2J")
		}, want: "access_denied (no[2J)"},
		{name: "a refusal of another issuer", redirect: func(v url.Values) { v.Set("error", "access_denied"); v.Set("iss", "https://evil.example") }, want: "of issuer"},
		{name: "no code", redirect: func(v url.Values) { v.Del("code") }, want: "neither a code nor an error"},
		{name: "another code", redirect: func(v url.Values) { v.Set("code", "guessed") }, want: "invalid_grant (not the code)"},
		{name: "PKCE of another kind", metadata: map[string]any{"code_challenge_methods_supported": []string{"plain"}}, want: "not with S256"},
		{name: "a server that says nothing of PKCE", metadata: map[string]any{"code_challenge_methods_supported": []string{"S256", "plain"}}},
		{name: "metadata of another issuer", metadata: map[string]any{"issuer": "https://evil.example"}, want: "the document is of issuer"},
		{name: "a token endpoint in this network", metadata: map[string]any{"token_endpoint": "https://10.0.0.1/token"}, want: "not public"},
		{name: "a page that is no page", metadata: map[string]any{"authorization_endpoint": "file:///etc/passwd"}, want: "authorization_endpoint"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newAuthority(t)
			a.redirect = test.redirect
			for name, value := range test.metadata {
				a.metadata[name] = value
			}
			c := newClient(t, a.config())
			_, err := logIn(t, c)
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "canary") {
				t.Errorf("%v, want %q", err, test.want)
			}
			if _, err := c.Token(t.Context()); !errors.Is(err, login.ErrNoLogin) {
				t.Errorf("and yet there is a token: %v", err)
			}
		})
	}
}

// Whatever else comes to the listener neither ends the login nor is taken.
func TestWhoLeavesWaitsForNoMetadata(t *testing.T) {
	began, release := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began <- struct{}{}
		<-release
		http.NotFound(w, r)
	}))
	defer server.Close()
	config := newAuthority(t).config()
	config.Issuer, config.MetadataURL = server.URL, server.URL
	c := newClient(t, config)
	first := make(chan error, 1)
	go func() {
		_, err := c.Login(t.Context(), func(string) {})
		first <- err
	}()
	<-began
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Login(gone, func(string) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("who has left gets %v", err)
	}
	select {
	case err := <-first:
		t.Errorf("it waited for the other, who got %v", err)
		close(release)
	default:
		close(release)
		if <-first == nil {
			t.Error("logged in")
		}
	}
}

func TestTokensAreSecretInMemory(t *testing.T) {
	c := newClient(t, newAuthority(t).config())
	if err := c.Keep("canary-access", "canary-refresh", time.Time{}); err != nil {
		t.Fatal(err)
	}
	kept, err := c.Kept()
	if err != nil {
		t.Fatal(err)
	}
	encoded, _ := json.Marshal(kept)
	if text := fmt.Sprintf("%v %+v %#v %s", kept, kept, kept, encoded); strings.Contains(text, "canary") {
		t.Error(text)
	}
	if token(t, c) != "canary-access" {
		t.Error("it is another")
	}
}

func TestStrayRequestsDoNotEndTheLogin(t *testing.T) {
	a := newAuthority(t)
	c := newClient(t, a.config())
	user, err := c.Login(t.Context(), func(shown string) {
		go func() {
			u, _ := url.Parse(shown)
			back, state := u.Query().Get("redirect_uri"), u.Query().Get("state")
			for path, want := range map[string]int{
				"?code=x&state=guessed":                      400,
				"?code=x":                                    400,
				"?code=x&code=y&state=" + state:              400,
				"?code=x&state=" + state + "&state=" + state: 400,
				"?code=%zz&state=" + state:                   400,
				"/other?code=x&state=" + state:               404,
				"?error=access_denied":                       400,
				"?code=" + strings.Repeat("x", 17<<10):       400,
			} {
				if status, body := browse(t, back+path); status != want || strings.Contains(body, "guessed") {
					t.Errorf("%.40s: %d %s", path, status, body)
				}
			}
			for _, change := range []func(*http.Request){
				func(r *http.Request) { r.Method = "POST" },
				func(r *http.Request) { r.Host = "evil.example" },
			} {
				r, _ := http.NewRequest("GET", back+"?code=x&state="+state, nil)
				change(r)
				resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
				if err != nil || resp.StatusCode != 404 {
					t.Errorf("%v, %v", resp, err)
					continue
				}
				resp.Body.Close()
			}
			browse(t, shown)
		}()
	})
	if err != nil || user != "alice" {
		t.Errorf("%q, %v", user, err)
	}
}

func TestNobodyComesBack(t *testing.T) {
	a := newAuthority(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := newClient(t, a.config()).Login(ctx, func(string) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestIDTokens(t *testing.T) {
	past := time.Now().Add(-2 * time.Minute).Unix()
	for _, test := range []struct {
		name   string
		claims map[string]any
		want   string
	}{
		{"another nonce", map[string]any{"nonce": "x"}, "nonce"},
		{"no nonce", map[string]any{"nonce": nil}, "nonce"},
		{"another issuer", map[string]any{"iss": "https://evil.example"}, "issuer"},
		{"another client", map[string]any{"aud": "other"}, "another client"},
		{"another party", map[string]any{"aud": []string{"tool", "other"}, "azp": "other"}, "another client"},
		{"several audiences and no party", map[string]any{"aud": []string{"tool", "other"}}, "another client"},
		{"several audiences and this party", map[string]any{"aud": []string{"tool", "other"}, "azp": "tool"}, ""},
		{"past its end", map[string]any{"exp": past}, "expired"},
		{"no end", map[string]any{"exp": nil}, "expired"},
		{"an end that is none", map[string]any{"exp": "never"}, "ID token"},
		{"no user", map[string]any{"sub": nil}, "no user"},
		{"a user of another type", map[string]any{"sub": 1}, `"sub" is not a string`},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newAuthority(t)
			a.idToken = test.claims
			user, err := logIn(t, newClient(t, a.config()))
			if test.want == "" && (err != nil || user != "alice") || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%q, %v; want %q", user, err, test.want)
			}
		})
	}
	t.Run("another key", func(t *testing.T) {
		a := newAuthority(t)
		other := newAuthority(t)
		other.signer, _ = mint.NewSigner("", tokentest.KeyFor("ES384").Private, "k")
		a.metadata["jwks_uri"] = a.URL + "/other"
		a.Config.Handler.(*http.ServeMux).HandleFunc("GET /other", func(w http.ResponseWriter, _ *http.Request) {
			set, _ := other.signer.JWKS()
			w.Write(set)
		})
		if _, err := logIn(t, newClient(t, a.config())); err == nil || !strings.Contains(err.Error(), "no key of the issuer's has signed it") {
			t.Error(err)
		}
	})
}

func TestAnswersOfTheTokenEndpoint(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	defer elsewhere.Close()
	const good = `"token_type":"Bearer","refresh_token":"canary"`
	for name, test := range map[string]struct {
		status int
		body   string
		want   string
	}{
		"HTML":                   {200, "<html>canary", "not valid JSON"},
		"nothing":                {200, "", "not valid JSON"},
		"no token":               {200, "{" + good + "}", "no token that can be understood"},
		"a token twice":          {200, `{"access_token":"canary","access_token":"canary2",` + good + "}", "the same name twice"},
		"a token of many lines":  {200, `{"access_token":"a\nb",` + good + "}", "characters that no token has"},
		"a bound token":          {200, `{"access_token":"canary","token_type":"DPoP"}`, `"DPoP", not Bearer`},
		"no type":                {200, `{"access_token":"canary"}`, "not Bearer"},
		"a time of another type": {200, `{"access_token":"canary","expires_in":"soon",` + good + "}", "no token that can be understood"},
		"a time beyond measure":  {200, `{"access_token":"canary","expires_in":1e18,` + good + "}", "no token that can be understood"},
		"huge":                   {200, `{"x":"` + strings.Repeat("x", 300<<10) + `"}`, "too large"},
		"an error":               {500, "canary", "status 500"},
		"a redirect":             {307, "", "redirect"},
		"a refusal as success":   {200, `{"error":"invalid_grant"}`, "invalid_grant"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			a.token = func(w http.ResponseWriter, _ url.Values) bool {
				w.Header().Set("Location", elsewhere.URL)
				w.WriteHeader(test.status)
				fmt.Fprint(w, test.body)
				return true
			}
			config := a.config()
			config.Scopes = nil
			c := newClient(t, config)
			_, err := logIn(t, c)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "canary") {
				t.Errorf("%v, want %q", err, test.want)
			}
			if _, err := os.Stat(config.Store); err == nil {
				t.Error("something is stored")
			}
		})
	}
}

func TestStoreIsBoundToKeyIssuerClientAndResource(t *testing.T) {
	a := newAuthority(t)
	config := a.config()
	if err := newClient(t, config).Keep("canary-access", "", time.Time{}); err != nil {
		t.Fatal(err)
	}
	good, _ := os.ReadFile(config.Store)
	other, _ := login.ParseKey(strings.Repeat("ab", 32))
	for name, change := range map[string]func(*login.Config){
		"another key":      func(c *login.Config) { c.Key = other },
		"another issuer":   func(c *login.Config) { c.Issuer = "https://other.example" },
		"another client":   func(c *login.Config) { c.ClientID = "toolx" },
		"another resource": func(c *login.Config) { c.Resource = "x" },
		"one bit": func(c *login.Config) {
			os.WriteFile(c.Store, append(bytes.Clone(good[:len(good)-1]), good[len(good)-1]^1), 0o600)
		},
		"cut off":         func(c *login.Config) { os.WriteFile(c.Store, good[:20], 0o600) },
		"empty":           func(c *login.Config) { os.WriteFile(c.Store, nil, 0o600) },
		"something else":  func(c *login.Config) { os.WriteFile(c.Store, []byte(`{"access_token":"x"}`), 0o600) },
		"others may read": func(c *login.Config) { os.Chmod(c.Store, 0o644) },
	} {
		c := config
		change(&c)
		if _, err := newClient(t, c).Token(t.Context()); err == nil || errors.Is(err, login.ErrNoLogin) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
		os.WriteFile(config.Store, good, 0o600)
		os.Chmod(config.Store, 0o600)
	}
	if got := token(t, newClient(t, config)); got != "canary-access" {
		t.Errorf("%q", got)
	}
	again := newClient(t, config)
	if err := again.Keep("canary-access", "", time.Time{}); err != nil {
		t.Fatal(err)
	}
	if next, _ := os.ReadFile(config.Store); bytes.Equal(next, good) {
		t.Error("a nonce is used twice")
	}
}

func TestKeys(t *testing.T) {
	raw := bytes.Repeat([]byte{0xfb}, 32)
	for text, ok := range map[string]bool{
		fmt.Sprintf("%x", raw): true, base64.StdEncoding.EncodeToString(raw) + "\n": true, base64.RawURLEncoding.EncodeToString(raw): true,
		"": false, "password": false, base64.StdEncoding.EncodeToString(raw[:31]): false, base64.StdEncoding.EncodeToString(append(raw, 1)): false,
	} {
		key, err := login.ParseKey(text)
		if (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
		if shown := fmt.Sprintf("%v %+v %#v %s", key, key, key, key); strings.Contains(shown, "\xfb") || strings.Contains(shown, "251 251") {
			t.Errorf("it prints %s", shown)
		}
	}
	path := filepath.Join(t.TempDir(), "deeper", "key")
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if _, err := login.KeyFile(path); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	os.Chmod(path, 0o640)
	if _, err := login.KeyFile(path); err == nil {
		t.Error("a key that others may read is taken")
	}
}

func TestFaultsOfTheConfiguration(t *testing.T) {
	_, err := login.New(login.Config{Scopes: []string{"a b"}, Port: -1, Timeout: time.Hour, CAFile: "no-such-file", PlainHTTPHosts: []string{"http://x"}, MetadataURL: "http://x.example"})
	var faults *mcpauth.ConfigError
	if !errors.As(err, &faults) || len(faults.Faults) != 10 {
		t.Errorf("%v", err)
	}
}

// An answer is taken with the state of this login alone, and has everything once.
func FuzzCallback(f *testing.F) {
	for _, seed := range []string{"code=a&state=s", "code=a&state=s&state=s", "code=a&state=S", "error=x&state=s", "code=%zz&state=s", "code=a;state=s", "iss=i&iss=j&state=s&code=a", "state=s&code=a&iss=", "", "&&=&"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		code, iss, ok := login.Takes(query, "s")
		if !ok {
			return
		}
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatalf("%q is taken", query)
		}
		for name, want := range map[string]string{"state": "s", "code": code, "iss": iss} {
			if got := values[name]; len(got) > 1 || len(got) == 1 && got[0] != want || len(got) == 0 && want != "" {
				t.Errorf("%q: %s is %q, taken for %q", query, name, got, want)
			}
		}
	})
}
