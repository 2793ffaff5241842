package platform_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/credential"
	"github.com/mcpauth-go/mcpauth/credential/platform"
	"github.com/mcpauth-go/mcpauth/internal/dnstest"
)

func TestSeedCPlatformIsAskedWithTheUsersToken(t *testing.T) {
	s := newSite(t)
	s.connect("alice", "github", "gho_alice")
	src := source(t, platform.Config{BaseURL: s.URL, Audience: audience, Headers: map[string]mcpauth.Secret{
		"X-Api-Key": mcpauth.NewSecret("key of this server"), "x-tenant": mcpauth.NewSecret("one"),
	}})
	alice := identity(t, "alice", "")
	c, err := src.Fetch(t.Context(), alice, "github")
	if err != nil || c.Token.Reveal() != "gho_alice" {
		t.Fatalf("%v, %v", c, err)
	}
	if left := time.Until(c.Expiry); left < 3590*time.Second || left > time.Hour {
		t.Errorf("ends in %s", left)
	}
	r := s.asked()[0]
	if r.Method != "GET" || r.URL.Path != "/api/credentials/github" || r.URL.RawQuery != "" {
		t.Errorf("%s %s", r.Method, r.URL)
	}
	for name, want := range map[string]string{
		"Authorization": "Bearer " + alice.Token().Reveal(), "X-User-Id": "alice", "Accept": "application/json",
		"X-Api-Key": "key of this server", "X-Tenant": "one", "Cookie": "",
	} {
		if got := strings.Join(r.Header.Values(name), ", "); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if !src.ForwardsToken() {
		t.Error("does not say that it forwards")
	}
}

func TestSeedCNotFoundIsNotConnected(t *testing.T) {
	s := newSite(t)
	if c, err := source(t, platform.Config{BaseURL: s.URL, Audience: audience}).Fetch(t.Context(), identity(t, "alice", ""), "github"); c != nil || err != nil {
		t.Errorf("%v, %v", c, err)
	}
}

func TestSeedCTenantManagerIsAskedWithAServiceToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "service-token")
	if err := os.WriteFile(file, []byte("service\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]platform.Config{
		"given":       {ServiceToken: mcpauth.NewSecret("service")},
		"from a file": {ServiceTokenFile: file},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.connect("alice", "github", "gho_alice")
			c.BaseURL, c.TenantManager, c.Issuer = s.URL, true, issuer
			src := source(t, c)
			// The user's token plays no part, whatever its audience.
			alice := identityOf(t, "alice", `{"aud":"elsewhere"}`)
			found, err := src.Fetch(t.Context(), alice, "github")
			if err != nil || found.Token.Reveal() != "gho_alice" || src.ForwardsToken() {
				t.Fatalf("%v, %v", found, err)
			}
			r := s.asked()[0]
			if r.URL.Path != "/api/credentials/alice/github" || r.Header.Get("Authorization") != "Bearer service" {
				t.Errorf("%s, %q", r.URL, r.Header)
			}
			if strings.Contains(fmt.Sprint(r.Header), alice.Token().Reveal()) {
				t.Error("the user's token was sent")
			}
		})
	}
	t.Run("the file changes", func(t *testing.T) {
		s := newSite(t)
		src := source(t, platform.Config{BaseURL: s.URL, TenantManager: true, Issuer: issuer, ServiceTokenFile: file})
		for _, text := range []string{"one", "two\r\n"} {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			src.Fetch(t.Context(), identity(t, "alice", ""), "github")
			asked := s.asked()
			if got := asked[len(asked)-1].Header.Get("Authorization"); got != "Bearer "+strings.TrimSpace(text) {
				t.Errorf("%q", got)
			}
		}
		n := len(s.asked())
		for _, text := range []string{"", "can ary", "canary\n\n"} {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if c, err := src.Fetch(t.Context(), identity(t, "alice", ""), "github"); c != nil || err == nil || strings.Contains(err.Error(), "ary") || len(s.asked()) != n {
				t.Errorf("%q: %v, %v", text, c, err)
			}
		}
	})
	t.Run("a file that is none of a token", func(t *testing.T) {
		s := newSite(t)
		large := filepath.Join(t.TempDir(), "large")
		if err := os.WriteFile(large, []byte(strings.Repeat("x", 64<<10+1)), 0o600); err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]string{
			"/none/canary": "platform: its service token: no such file or directory",
			large:          "platform: its service token: the file is too large to be a token",
		} {
			src := source(t, platform.Config{BaseURL: s.URL, TenantManager: true, Issuer: issuer, ServiceTokenFile: path})
			if c, err := src.Fetch(t.Context(), identity(t, "alice", ""), "github"); c != nil || err == nil || err.Error() != want || len(s.asked()) != 0 {
				t.Errorf("%v, %v, want %s", c, err, want)
			}
		}
	})
	// Two issuers may have one id for two people.
	t.Run("a user of another issuer", func(t *testing.T) {
		s := newSite(t)
		s.connect("alice", "github", "gho_alice")
		src := source(t, platform.Config{BaseURL: s.URL, TenantManager: true, Issuer: "https://other.example.com", ServiceToken: mcpauth.NewSecret("service")})
		if c, err := src.Fetch(t.Context(), identity(t, "alice", ""), "github"); c != nil || !errors.Is(err, mcpauth.ErrForbidden) || len(s.asked()) != 0 {
			t.Errorf("%v, %v", c, err)
		}
	})
}

func TestTenantsAreNotMixedUp(t *testing.T) {
	s := newSite(t)
	s.connect("alice", "github", "gho_alice")
	for tenant, good := range map[string]bool{"one": true, "two": false, "": false} {
		id, err := mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: issuer, UserID: "alice", Tenant: tenant})
		if err != nil {
			t.Fatal(err)
		}
		src := source(t, platform.Config{BaseURL: s.URL, TenantManager: true, Issuer: issuer, Tenant: "one", ServiceToken: mcpauth.NewSecret("service")})
		if c, err := src.Fetch(t.Context(), id, "github"); (c != nil) != good || !good && !errors.Is(err, mcpauth.ErrForbidden) {
			t.Errorf("tenant %q: %v, %v", tenant, c, err)
		}
	}
}

// A token for somebody else would open this server to the platform, and the other
// way round.
func TestATokenThatIsNotForThePlatformIsNotSent(t *testing.T) {
	for _, test := range []struct {
		name, claims string
		same         bool
		sent         bool
	}{
		{"for the platform", `{"sub":"alice","aud":"` + audience + `"}`, false, true},
		{"for the platform among others", `{"sub":"alice","aud":["x","` + audience + `"]}`, false, true},
		{"for another", `{"sub":"alice","aud":"https://mcp.example.com/mcp"}`, false, false},
		{"for others", `{"sub":"alice","aud":["https://mcp.example.com/mcp","x"]}`, false, false},
		{"for one whose name begins like it", `{"sub":"alice","aud":"` + audience + `/"}`, false, false},
		{"for one that contains it", `{"sub":"alice","aud":"x ` + audience + `"}`, false, false},
		{"for it in another case", `{"sub":"alice","aud":"HTTPS://platform.example.com"}`, false, false},
		{"for nobody", `{"sub":"alice"}`, false, false},
		{"for null", `{"sub":"alice","aud":null}`, false, false},
		{"for an empty list", `{"sub":"alice","aud":[]}`, false, false},
		{"for a list of other things", `{"sub":"alice","aud":["` + audience + `",1]}`, false, false},
		{"for an object", `{"sub":"alice","aud":{"` + audience + `":1}}`, false, false},
		{"for another, in one trust domain", `{"sub":"alice","aud":"x"}`, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t)
			s.connect("alice", "github", "gho_alice")
			c := platform.Config{BaseURL: s.URL, Audience: audience}
			if test.same {
				c.Audience, c.SameTrustDomain = "", true
			}
			found, err := source(t, c).Fetch(t.Context(), identityOf(t, "alice", test.claims), "github")
			if test.sent {
				if err != nil || found.Token.Reveal() != "gho_alice" {
					t.Errorf("%v, %v", found, err)
				}
				return
			}
			e := mcpauth.AsError(err)
			if found != nil || e.Code != mcpauth.ErrForbidden || strings.Contains(e.Message, "https") || len(s.asked()) != 0 {
				t.Errorf("%v, %v, %d requests", found, err, len(s.asked()))
			}
			if e.Cause == nil || !strings.Contains(e.Cause.Error(), "audience") {
				t.Errorf("the log is told %v", e.Cause)
			}
		})
	}
	// An API key or the like is no token for anybody.
	t.Run("no token", func(t *testing.T) {
		s := newSite(t)
		for _, token := range []string{"", "two words", "a\r\nb"} {
			id, err := mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: issuer, UserID: "alice", Token: mcpauth.NewSecret(token)})
			if err != nil {
				t.Fatal(err)
			}
			if c, err := source(t, platform.Config{BaseURL: s.URL, SameTrustDomain: true}).Fetch(t.Context(), id, "github"); c != nil || !errors.Is(err, mcpauth.ErrForbidden) || len(s.asked()) != 0 {
				t.Errorf("%q: %v, %v", token, c, err)
			}
		}
	})
}

// Whatever a user's id or a resource type is, it is one segment of the path, and one
// header.
func TestNothingLeavesItsSegment(t *testing.T) {
	for _, test := range []struct {
		user, resource string
		forwarded      string // the path that is asked for; "" for none
		byUser         string
	}{
		{"alice", "github", "/api/credentials/github", "/api/credentials/alice/github"},
		{"auth0|12", "google-drive", "/api/credentials/google-drive", "/api/credentials/auth0%7C12/google-drive"},
		{"a/b", "github", "/api/credentials/github", "/api/credentials/a%2Fb/github"},
		{"a?b=c#d", "github", "/api/credentials/github", "/api/credentials/a%3Fb=c%23d/github"},
		{"a%2fb", "github", "/api/credentials/github", "/api/credentials/a%252fb/github"},
		{"a;b", "github", "/api/credentials/github", "/api/credentials/a%3Bb/github"},
		{"../bob", "github", "/api/credentials/github", ""},
		{"..", "github", "/api/credentials/github", ""},
		{".", "github", "/api/credentials/github", ""},
		{"a/../../bob", "github", "/api/credentials/github", ""},
		{`..\bob`, "github", "/api/credentials/github", ""},
		{"alice", "..", "", ""},
		{"alice", "../admin", "", ""},
		{"alice", "a/b", "/api/credentials/a%2Fb", "/api/credentials/alice/a%2Fb"},
		{"alice", "", "", ""},
		{"alice", "a\r\nb", "", ""},
		{" alice", "github", "", "/api/credentials/%20alice/github"},
		{"alice\u00a0", "github", "", "/api/credentials/alice%C2%A0/github"},
		{"al\r\nX-Injected: 1", "github", "", ""},
		{"élise", "github", "/api/credentials/github", "/api/credentials/%C3%A9lise/github"},
	} {
		s := newSite(t)
		for _, form := range []struct {
			config platform.Config
			want   string
		}{
			{platform.Config{BaseURL: s.URL, SameTrustDomain: true}, test.forwarded},
			{platform.Config{BaseURL: s.URL, TenantManager: true, Issuer: issuer, ServiceToken: mcpauth.NewSecret("service")}, test.byUser},
		} {
			before := len(s.asked())
			_, err := source(t, form.config).Fetch(t.Context(), identity(t, test.user, ""), test.resource)
			asked := s.asked()[before:]
			switch {
			case form.want == "":
				if !errors.Is(err, mcpauth.ErrForbidden) || len(asked) != 0 {
					t.Errorf("%q %q: %v, %d requests", test.user, test.resource, err, len(asked))
				}
			case len(asked) != 1 || asked[0].RequestURI != form.want:
				t.Errorf("%q %q: %v, want %s, %v", test.user, test.resource, asked, form.want, err)
			case form.config.SameTrustDomain && asked[0].Header.Get("X-User-Id") != test.user:
				t.Errorf("%q: %q", test.user, asked[0].Header)
			}
		}
	}
}

// Each of these is an error of a type, says nothing to the client, leaves nothing in
// the cache, and is tried again only where that is safe and may help.
func TestSeedCOtherAnswersAreTypedErrors(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("followed to another host with %q", r.Header)
	}))
	defer elsewhere.Close()
	says := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	for _, test := range []struct {
		name    string
		trouble http.HandlerFunc
		status  int
		reason  string
		tries   int // 0: one
	}{
		{"huge", says(200, `{"access_token":"canary","x":"`+strings.Repeat("x", 64<<10)+`"}`), 0, "too large", 0},
		{"endless", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				w.Write(make([]byte, 1<<16))
			}
		}, 0, "too large", 0},
		{"slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, 0, "deadline", 0},
		{"slow in the middle", func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"access_token":"canary`)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, 0, "deadline", 0},
		{"cut off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, `{"access_token":"canary"}`)
		}, 0, "EOF", 3},
		{"HTML", says(200, "<html>canary</html>"), 200, "not valid JSON", 0},
		{"nothing", says(200, ""), 200, "EOF|not valid JSON", 0},
		{"an array", says(200, `["canary"]`), 200, "not a JSON object", 0},
		{"a string", says(200, `"canary"`), 200, "not a JSON object", 0},
		{"no token", says(200, `{"expires_in":3600}`), 200, "access_token: missing", 0},
		{"an empty token", says(200, `{"access_token":""}`), 200, "access_token: not a string, or empty", 0},
		{"a number as token", says(200, `{"access_token":1}`), 200, "access_token: not a string", 0},
		{"null as token", says(200, `{"access_token":null}`), 200, "access_token: not a string", 0},
		{"an object as token", says(200, `{"access_token":{"canary":1}}`), 200, "access_token: not a string", 0},
		{"two tokens", says(200, `{"access_token":"canary","access_token":"canary-2"}`), 200, "the same name twice", 0},
		{"another case of the name", says(200, `{"Access_Token":"canary"}`), 200, "access_token: missing", 0},
		{"data behind", says(200, `{"access_token":"canary"}{"access_token":"x"}`), 200, "data after", 0},
		{"invalid UTF-8", says(200, "{\"access_token\":\"canary\xff\"}"), 200, "not valid JSON", 0},
		{"a line break in the token", says(200, `{"access_token":"canary\r\nX-Injected: 1"}`), 0, "control character", 0},
		{"a space in the token", says(200, `{"access_token":"canary canary"}`), 0, "white space", 0},
		{"a token too long", says(200, `{"access_token":"`+strings.Repeat("canary", 3000)+`"}`), 0, "more than 16384", 0},
		{"expires_in negative", says(200, `{"access_token":"canary","expires_in":-1}`), 200, "expires_in: not from 1", 0},
		{"expires_in 0", says(200, `{"access_token":"canary","expires_in":0}`), 200, "expires_in: not from 1", 0},
		{"expires_in of half a second", says(200, `{"access_token":"canary","expires_in":0.5}`), 200, "expires_in: not from 1", 0},
		{"expires_in 1e18", says(200, `{"access_token":"canary","expires_in":1e18}`), 200, "expires_in: not from 1", 0},
		{"expires_in 1e999", says(200, `{"access_token":"canary","expires_in":1e999}`), 200, "expires_in: not from 1", 0},
		{"expires_in a string", says(200, `{"access_token":"canary","expires_in":"3600"}`), 200, "expires_in: not a number", 0},
		{"expires_in true", says(200, `{"access_token":"canary","expires_in":true}`), 200, "expires_in: not a number", 0},
		{"another user's, by user_id", says(200, `{"access_token":"canary","user_id":"bob"}`), 200, "another user's", 0},
		{"another user's, by sub", says(200, `{"access_token":"canary","sub":"bob"}`), 200, "another user's", 0},
		{"nobody's", says(200, `{"access_token":"canary","user_id":""}`), 200, "another user's", 0},
		{"the user in another case", says(200, `{"access_token":"canary","user_id":"Alice"}`), 200, "another user's", 0},
		{"a number as user", says(200, `{"access_token":"canary","user_id":1}`), 200, "user_id: not a string", 0},
		{"a redirect to another host", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/canary", http.StatusTemporaryRedirect)
		}, 0, "redirect", 0},
		{"a redirect to itself", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/canary", http.StatusFound) }, 0, "redirect", 0},
		{"a redirect into the cloud", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data", http.StatusMovedPermanently)
		}, 0, "redirect", 0},
		{"201", says(201, `{"access_token":"canary"}`), 201, "", 0},
		{"204", says(204, ""), 204, "", 0},
		{"400", says(400, "canary"), 400, "", 0},
		{"401", says(401, "canary"), 401, "", 0},
		{"403", says(403, "canary"), 403, "", 0},
		{"429", says(429, "canary"), 429, "", 3},
		{"500", says(500, "canary"), 500, "", 3},
		{"503", says(503, "canary"), 503, "", 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t)
			s.connect("alice", "github", "good")
			s.has(test.trouble)
			timeout := 5 * time.Second
			if strings.Contains(test.reason, "deadline") {
				timeout = 2 * time.Second // enough for the answer afterwards, too
			}
			var log bytes.Buffer
			src := source(t, platform.Config{BaseURL: s.URL, Audience: audience, Timeout: timeout, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			r, err := credential.New(credential.Config{Source: src, Timeout: timeout, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			alice := identity(t, "alice", "")
			c, err := r.Resolve(t.Context(), alice, "github")
			e := mcpauth.AsError(err)
			if err == nil || c != nil || e.Code != mcpauth.ErrUnavailable {
				t.Fatalf("%v, %v", c, err)
			}
			var typed *platform.Error
			if test.status != 0 && (!errors.As(err, &typed) || typed.Status != test.status) {
				t.Errorf("%v is no *platform.Error of status %d", e.Cause, test.status)
			}
			reason, other, _ := strings.Cut(test.reason, "|")
			if cause := e.Cause.Error(); !strings.Contains(cause, reason) && (other == "" || !strings.Contains(cause, other)) {
				t.Errorf("%v, want %q", cause, test.reason)
			}
			if all := fmt.Sprint(e, e.Message, e.LogValue(), log.String()); strings.Contains(all, "canary") || strings.Contains(all, alice.Token().Reveal()) {
				t.Errorf("something of the answer or the request gets out: %s", all)
			}
			if n, want := len(s.asked()), max(test.tries, 1); n != want {
				t.Errorf("asked %d times, want %d", n, want)
			}
			if got := r.Stats().Entries; got != 0 {
				t.Errorf("%d kept", got)
			}
			s.has(nil)
			r.Invalidate(alice.Issuer(), alice.UserID(), "") // a failure is remembered for a moment
			if c, err := r.Resolve(t.Context(), alice, "github"); err != nil || c.Token.Reveal() != "good" {
				t.Errorf("afterwards: %v, %v", c, err)
			}
		})
	}
}

func TestAnswersThatAreTaken(t *testing.T) {
	for _, test := range []struct {
		name, body string
		lasts      time.Duration // 0: not known
	}{
		{"no expires_in", `{"access_token":"good"}`, 0},
		{"expires_in null", `{"access_token":"good","expires_in":null}`, 0},
		{"seconds", `{"access_token":"good","expires_in":60}`, time.Minute},
		{"a fraction is dropped", `{"access_token":"good","expires_in":60.9}`, time.Minute},
		{"in another notation", `{"access_token":"good","expires_in":6e1}`, time.Minute},
		{"ten years", `{"access_token":"good","expires_in":315360000}`, 315360000 * time.Second},
		{"more than is asked for", `{"access_token":"good","token_type":"Bearer","refresh_token":"x","scope":["a"],"x":{"access_token":"other"}}`, 0},
		{"the user's, said twice", `{"access_token":"good","user_id":"alice","sub":"alice"}`, 0},
		{"of nobody in particular", `{"access_token":"good","user_id":null,"sub":null}`, 0},
		{"escapes", `{"access_\u0074oken":"g\u006fod"}`, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t)
			s.answers(200, test.body)
			c, err := source(t, platform.Config{BaseURL: s.URL, Audience: audience}).Fetch(t.Context(), identity(t, "alice", ""), "github")
			if err != nil || c.Token.Reveal() != "good" || c.Expiry.IsZero() != (test.lasts == 0) {
				t.Fatalf("%v, %v", c, err)
			}
			if left := time.Until(c.Expiry); test.lasts != 0 && (left > test.lasts || left < test.lasts-5*time.Second) {
				t.Errorf("lasts %s", left)
			}
		})
	}
}

// "sub" of one user may be the id of another.
func TestSubIsComparedWithTheTokensOwn(t *testing.T) {
	s := newSite(t)
	id, err := mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: issuer, UserID: "alice", Subject: "bob", Token: mcpauth.NewSecret("x.y.z")})
	if err != nil {
		t.Fatal(err)
	}
	src := source(t, platform.Config{BaseURL: s.URL, SameTrustDomain: true})
	for body, good := range map[string]bool{
		`{"access_token":"x","sub":"bob","user_id":"alice"}`: true,
		`{"access_token":"x","sub":"alice"}`:                 false,
		`{"access_token":"x","user_id":"bob"}`:               false,
	} {
		s.answers(200, body)
		if _, err := src.Fetch(t.Context(), id, "github"); (err == nil) != good {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"":                     0,
		"7":                    7 * time.Second,
		"0":                    0,
		"-1":                   0,
		"x":                    0,
		"86400":                5 * time.Minute,
		"99999999999999999999": 0,
		time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat):         0,
		time.Now().Add(24 * time.Hour).UTC().Format(http.TimeFormat):     5 * time.Minute,
		time.Now().Add(100 * time.Second).UTC().Format(http.TimeFormat):  100 * time.Second,
		time.Now().Add(100 * time.Second).UTC().Format(time.RFC3339Nano): 0,
	} {
		s := newSite(t)
		s.has(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", value)
			w.WriteHeader(503)
		})
		r, err := credential.New(credential.Config{Source: source(t, platform.Config{BaseURL: s.URL, Audience: audience}), Timeout: 5 * time.Second, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Resolve(t.Context(), identity(t, "alice", ""), "github")
		late := time.Duration(0)
		if strings.HasSuffix(value, "GMT") {
			late = min(want, 30*time.Second) // time goes on meanwhile
		}
		if e := mcpauth.AsError(err); e.RetryAfter > want || e.RetryAfter < want-late {
			t.Errorf("%q: %s, want %s", value, e.RetryAfter, want)
		}
		r.Close()
	}
}

// The platform's name may come to lead where this server must not be led, with the
// tokens of its users.
func TestPlacesThatTokensDoNotGo(t *testing.T) {
	inside := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("reached, with %q", r.Header) }))
	defer inside.Close()
	_, port, _ := net.SplitHostPort(inside.Listener.Addr().String())
	for _, test := range []struct {
		url, resolvesTo string
		lists           []string
		reason          string
	}{
		{"https://platform.test:" + port, "127.0.0.1", nil, "not public"},
		{"https://platform.test:" + port, "::1", nil, "not public"},
		{"https://platform.test:" + port, "::ffff:127.0.0.1", nil, "not public"},
		{"https://platform.test", "10.0.0.1", nil, "not public"},
		{"https://platform.test", "192.168.1.1", nil, "not public"},
		{"https://platform.test", "fd00::1", nil, "not public"},
		{"https://platform.test", "100.64.0.1", nil, "not public"},
		{"https://platform.test", "169.254.169.254", nil, "link-local"},
		{"https://platform.test", "::ffff:169.254.169.254", nil, "link-local"},
		{"https://platform.test", "fe80::1", nil, "link-local"},
		{"https://platform.test", "2002:7f00:1::1", nil, "not public"},
		{"https://platform.test", "2002:a9fe:a9fe::1", nil, "link-local"},
		{"https://platform.test", "64:ff9b::7f00:1", nil, "not public"},
		{"https://platform.test", "64:ff9b::a9fe:a9fe", nil, "link-local"},
		{"https://platform.test", "0.0.0.0", nil, "unspecified"},
		{"https://platform.test", "fd00:ec2::254", nil, "metadata server"},
		// A listed host may be private, and is no way to where clouds hand out keys.
		{"https://platform.test", "169.254.169.254", []string{"platform.test"}, "link-local"},
		{"https://platform.test", "fd00:ec2::254", []string{"platform.test"}, "metadata server"},
		{"https://169.254.169.254", "", nil, "link-local"},
		{"https://[::ffff:169.254.169.254]", "", nil, "link-local"},
	} {
		c := platform.Config{BaseURL: test.url, SameTrustDomain: true, PrivateHosts: test.lists}
		if test.resolvesTo != "" {
			c = c.With(dnstest.Resolver(test.resolvesTo))
		}
		_, err := source(t, c).Fetch(t.Context(), identity(t, "alice", ""), "github")
		if err == nil || !strings.Contains(err.Error(), test.reason) {
			t.Errorf("%s, which is %s: %v, want %q", test.url, test.resolvesTo, err, test.reason)
		}
	}
}

func TestAListedPrivateHostIsAsked(t *testing.T) {
	asked := 0
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		io.WriteString(w, `{"access_token":"good"}`)
	}))
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	// The certificate of httptest is for example.com.
	c := platform.Config{BaseURL: "https://example.com:" + port, Audience: audience, PrivateHosts: []string{"example.com"}}.With(dnstest.Resolver("127.0.0.1"))
	if _, err := source(t, c).Fetch(t.Context(), identity(t, "alice", ""), "github"); err == nil || !strings.Contains(err.Error(), "certificate") || asked != 0 {
		t.Errorf("an authority that is not known: %v", err)
	}
	c.CAFile = ca
	if got, err := source(t, c).Fetch(t.Context(), identity(t, "alice", ""), "github"); err != nil || got.Token.Reveal() != "good" {
		t.Errorf("%v, %v", got, err)
	}
}

func TestTwoUsersWithCredentialsOfTheirOwn(t *testing.T) {
	s := newSite(t)
	s.hold = make(chan struct{})
	r := resolver(t, source(t, platform.Config{BaseURL: s.URL, Audience: audience}))
	for i := range 10 {
		s.connect(fmt.Sprint("user-", i), "github", fmt.Sprint("gho_", i))
	}
	var group, begun sync.WaitGroup
	for i := range 200 {
		id := identity(t, fmt.Sprint("user-", i%10), fmt.Sprintf(`"jti":"%d"`, i))
		begun.Add(1)
		group.Go(func() {
			begun.Done()
			if c, err := r.Resolve(context.Background(), id, "github"); err != nil || c.Token.Reveal() != fmt.Sprint("gho_", i%10) {
				t.Errorf("%v: %v, %v", id, c, err)
			}
		})
	}
	begun.Wait()
	close(s.hold)
	group.Wait()
	if n := len(s.asked()); n != 10 {
		t.Errorf("%d requests to the platform for ten users", n)
	}
}

func TestTwoHundredFirstCallsOfAUserAreOneRequest(t *testing.T) {
	s := newSite(t)
	s.connect("alice", "github", "gho_alice")
	release := make(chan struct{})
	s.has(func(w http.ResponseWriter, _ *http.Request) {
		<-release
		io.WriteString(w, `{"access_token":"gho_alice"}`)
	})
	r := resolver(t, source(t, platform.Config{BaseURL: s.URL, Audience: audience}))
	var group, begun sync.WaitGroup
	for range 200 {
		id := identity(t, "alice", "")
		begun.Add(1)
		group.Go(func() {
			begun.Done()
			if c, err := r.Resolve(context.Background(), id, "github"); err != nil || c.Token.Reveal() != "gho_alice" {
				t.Errorf("%v, %v", c, err)
			}
		})
	}
	begun.Wait()
	close(release)
	group.Wait()
	if n := len(s.asked()); n != 1 {
		t.Errorf("%d requests to the platform", n)
	}
}

// A platform that is down for all of its users, over the wire: who is cached
// notices nothing.
func TestAPlatformThatIsDown(t *testing.T) {
	s := newSite(t)
	s.connect("alice", "github", "gho_alice")
	r := resolver(t, source(t, platform.Config{BaseURL: s.URL, Audience: audience}))
	alice := identity(t, "alice", "")
	if _, err := r.Resolve(t.Context(), alice, "github"); err != nil {
		t.Fatal(err)
	}
	s.answers(503, "<html>")
	for i := range 5 {
		_, err := r.Resolve(t.Context(), identity(t, fmt.Sprint("user-", i), ""), "github")
		if e := mcpauth.AsError(err); err == nil || e.Code != mcpauth.ErrUnavailable {
			t.Errorf("%v", err)
		}
		if c, err := r.Resolve(t.Context(), alice, "github"); err != nil || c.Token.Reveal() != "gho_alice" {
			t.Errorf("%v, %v", c, err)
		}
	}
	if n := len(s.asked()); n != 6 { // and then it was left alone
		t.Errorf("%d requests to the platform", n)
	}
}

func TestNewWarnsOfWhatIsGivenUp(t *testing.T) {
	for _, test := range []struct {
		config platform.Config
		says   string
	}{
		{platform.Config{BaseURL: "https://platform.example.com", Audience: audience}, "against the MCP specification"},
		{platform.Config{BaseURL: "https://platform.example.com", SameTrustDomain: true}, "same_trust_domain=true"},
		{platform.Config{BaseURL: "https://platform.example.com", TenantManager: true, Issuer: issuer, ServiceToken: mcpauth.NewSecret("canary")}, "cannot tell whether their users have asked"},
	} {
		var log bytes.Buffer
		test.config.Logger = slog.New(slog.NewTextHandler(&log, nil))
		source(t, test.config)
		if text := log.String(); !strings.Contains(text, "level=WARN") || !strings.Contains(text, test.says) || strings.Contains(text, "canary") {
			t.Errorf("%s", text)
		}
	}
}

func TestFaultsOfAConfiguration(t *testing.T) {
	const good = "https://platform.example.com"
	secret := mcpauth.NewSecret("canary")
	header := func(name, value string) platform.Config {
		return platform.Config{BaseURL: good, Audience: audience, Headers: map[string]mcpauth.Secret{name: mcpauth.NewSecret(value)}}
	}
	for _, test := range []struct {
		name   string
		config platform.Config
		fields string
	}{
		{"nothing", platform.Config{}, "Audience BaseURL"},
		{"no audience", platform.Config{BaseURL: good}, "Audience"},
		{"audience and trust domain", platform.Config{BaseURL: good, Audience: audience, SameTrustDomain: true}, "SameTrustDomain"},
		{"plain http", platform.Config{BaseURL: "http://platform.example.com", Audience: audience}, "BaseURL"},
		{"a password", platform.Config{BaseURL: "https://user:canary@platform.example.com", Audience: audience}, "BaseURL"},
		{"a query", platform.Config{BaseURL: good + "?key=canary", Audience: audience}, "BaseURL"},
		{"a fragment", platform.Config{BaseURL: good + "#canary", Audience: audience}, "BaseURL"},
		{"a slash at the end", platform.Config{BaseURL: good + "/", Audience: audience}, "BaseURL"},
		{"dots", platform.Config{BaseURL: good + "/a/../b", Audience: audience}, "BaseURL"},
		{"a file", platform.Config{BaseURL: "file:///etc", Audience: audience}, "BaseURL"},
		{"a service token without the switch", platform.Config{BaseURL: good, Audience: audience, ServiceToken: secret}, "TenantManager"},
		{"the switch beside forwarding", platform.Config{BaseURL: good, Audience: audience, TenantManager: true, Issuer: issuer, ServiceToken: secret}, "TenantManager"},
		{"the switch without a token", platform.Config{BaseURL: good, TenantManager: true, Issuer: issuer}, "ServiceToken"},
		{"the switch with two", platform.Config{BaseURL: good, TenantManager: true, Issuer: issuer, ServiceToken: secret, ServiceTokenFile: "x"}, "ServiceToken"},
		{"the switch with something else", platform.Config{BaseURL: good, TenantManager: true, Issuer: issuer, ServiceToken: mcpauth.NewSecret("canary\n")}, "ServiceToken"},
		{"the switch without an issuer", platform.Config{BaseURL: good, TenantManager: true, ServiceToken: secret}, "Issuer"},
		{"Authorization", header("Authorization", "canary"), `Headers["Authorization"]`},
		{"Host", header("host", "canary"), `Headers["host"]`},
		{"Cookie", header("COOKIE", "canary"), `Headers["COOKIE"]`},
		{"X-User-ID", header("X-User-ID", "canary"), `Headers["X-User-ID"]`},
		{"X_User_ID", header("x_user_id", "canary"), `Headers["x_user_id"]`},
		{"no header", header("X Y", "canary"), `Headers["X Y"]`},
		{"no name", header("", "canary"), `Headers[""]`},
		{"a line break", header("X-Y", "canary\r\nX-User-ID: bob"), `Headers["X-Y"]`},
		{"no value", header("X-Y", ""), `Headers["X-Y"]`},
		{"times and hosts", platform.Config{BaseURL: good, Audience: audience, Timeout: time.Hour, PrivateHosts: []string{"*"}, PlainHTTPHosts: []string{"http://x"}}, "PlainHTTPHosts[0] PrivateHosts[0] Timeout"},
		{"no authorities", platform.Config{BaseURL: good, Audience: audience, CAFile: "/does/not/exist"}, "CAFile"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.config.Logger = quiet
			s, err := platform.New(test.config)
			var faults *mcpauth.ConfigError
			if !errors.As(err, &faults) || s != nil || faults.Package != "platform" {
				t.Fatalf("%v, %v", s, err)
			}
			var fields []string
			for _, f := range faults.Faults {
				fields = append(fields, f.Field)
			}
			if got := strings.Join(fields, " "); got != test.fields || strings.Contains(err.Error(), "canary") {
				t.Errorf("%v, want %s", err, test.fields)
			}
		})
	}
}

func TestAnAnswerPrintsNoCredential(t *testing.T) {
	if text := platform.Printed([]byte(`{"access_token":"canary"}`)); strings.Contains(text, "canary") {
		t.Error(text)
	}
}

// The platform's limit of some users must not become an outage for all.
func TestOnlyALimitOfUsersLeavesThePlatformInUse(t *testing.T) {
	for status, want := range map[int]int{429: 0, 503: 1} {
		s := newSite(t)
		s.has(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "10") // later than anybody waits
			w.WriteHeader(status)
		})
		r, err := credential.New(credential.Config{Source: source(t, platform.Config{BaseURL: s.URL, Audience: audience}), Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for i := range 5 {
			if c, err := r.Resolve(t.Context(), identity(t, fmt.Sprint("user-", i), ""), "github"); err == nil {
				t.Errorf("%d: %v", status, c)
			}
		}
		if got := r.Stats().Open; got != want {
			t.Errorf("%d: %d open, want %d", status, got, want)
		}
	}
}
