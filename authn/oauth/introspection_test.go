package oauth_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/oauth"
)

// The rows of part E of the pattern that this project grew from.

func TestSeedEIntrospectionSaysWhoTheUserIs(t *testing.T) {
	a := newAuthority(t, good("username", `"al"`, "email", `"alice@example.com"`, "n", "12345678901234567890"))
	p := newProvider(t, a.config())
	id, err := p.Authenticate(t.Context(), header("bearer  opaque-token"))
	if err != nil {
		t.Fatal(err)
	}
	if id.Issuer() != a.URL || id.UserID() != "alice" || id.Subject() != "alice" || id.Token().Reveal() != "opaque-token" ||
		!slices.Equal(id.Scopes(), []string{"notes:read", "notes:write"}) || time.Until(id.Expiry()) < 59*time.Minute {
		t.Errorf("%+v, scopes %v, until %v", id, id.Scopes(), id.Expiry())
	}
	want := map[string]json.RawMessage{"username": json.RawMessage(`"al"`), "email": json.RawMessage(`"alice@example.com"`), "n": json.RawMessage("12345678901234567890"),
		"scope": json.RawMessage(`"notes:read notes:write"`), "client_id": json.RawMessage(`"client"`), "token_type": json.RawMessage(`"Bearer"`)}
	if got := id.Metadata(); !reflect.DeepEqual(got, want) {
		t.Errorf("metadata %s", got)
	}
}

func TestSeedEUserIDIsOneMemberFixedInConfiguration(t *testing.T) {
	for _, test := range []struct {
		name, claim, answer, want string // want is a user, or a code
	}{
		{"sub by default", "", good("id", `"7"`), "alice"},
		{"another", "id", good("id", `"seven"`), "seven"},
		{"a number", "id", good("id", `7000000000000000001`), "7000000000000000001"},
		{"no second choice", "id", good(), "missing_claim"},
		{"no sub", "", good("sub", ""), "missing_claim"},
		{"an empty one", "", good("sub", `""`), "missing_claim"},
		{"null", "", good("sub", "null"), "missing_claim"},
		{"a fraction", "id", good("id", "1.5"), "unavailable"},
		{"negative", "id", good("id", "-1"), "unavailable"},
		{"an object", "id", good("id", `{"a":1}`), "unavailable"},
		{"a line break", "", good("sub", `"a\nb"`), "unavailable"},
		{"NUL", "", good("sub", `"a\u0000b"`), "unavailable"},
		{"another case beside it", "", good("SUB", `"mallory"`), "unavailable"},
		{"a name that folds to it", "", good("ſub", `"mallory"`), "unavailable"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newAuthority(t, test.answer)
			c := a.config()
			c.UserIDClaim = test.claim
			id, err := newProvider(t, c).Verify(t.Context(), "t")
			got := ""
			if err != nil {
				got = string(mcpauth.AsError(err).Code)
			} else {
				got = id.UserID()
			}
			if got != test.want {
				t.Errorf("%q (%v), want %q", got, err, test.want)
			}
		})
	}
}

func TestSeedECachedForFiveMinutesCappedByExp(t *testing.T) {
	for _, test := range []struct {
		name string
		life time.Duration // 0 for no "exp"
		kept time.Duration
		code mcpauth.Code // after that, when the server still says the same
	}{
		{"five minutes", time.Hour, 5 * time.Minute, ""},
		{"to the token's end", 90 * time.Second, 90 * time.Second, mcpauth.ErrExpired},
		{"five minutes without an end", 0, 5 * time.Minute, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newAuthority(t, "")
			p := newProvider(t, a.config())
			clock := p.Clocked()
			exp := ""
			if test.life > 0 {
				exp = fmt.Sprint(clock.Wall + int64(test.life/time.Second))
			}
			a.says(good("exp", exp))
			first := passes(t, p, "t")
			clock.Pass(test.kept - time.Second)
			if passes(t, p, "t") != first || a.asked.Load() != 1 {
				t.Error("not answered from memory")
			}
			clock.Pass(time.Second)
			if test.code != "" {
				refused(t, p, "t", test.code)
			} else if passes(t, p, "t") == first || a.asked.Load() != 2 {
				t.Errorf("answered from memory for too long; asked %d times", a.asked.Load())
			}
			if test.life == 0 && !first.Expiry().Equal(time.Unix(clock.Wall, 0)) {
				t.Errorf("without an end, until %v, which is %v from the end of the answer", first.Expiry(), first.Expiry().Sub(time.Unix(clock.Wall, 0)))
			}
		})
	}
}

// A wall clock that is put back extends nothing.
func TestCacheFollowsTheMonotonicClock(t *testing.T) {
	a := newAuthority(t, good())
	p := newProvider(t, a.config())
	clock := p.Clocked()
	passes(t, p, "t")
	clock.Mono += 5 * time.Minute
	clock.Wall -= 5
	passes(t, p, "t")
	if a.asked.Load() != 2 {
		t.Errorf("asked %d times", a.asked.Load())
	}
}

func TestWhatIntrospectionSays(t *testing.T) {
	now := time.Now()
	ago := fmt.Sprint(now.Add(-time.Minute).Unix())
	for _, test := range []struct {
		name, answer string
		code         mcpauth.Code // "" for a pass
		change       func(*oauth.Config)
	}{
		{name: "good", answer: good()},
		{name: "not active", answer: `{"active":false}`, code: mcpauth.ErrInactive},
		{name: "not active, with everything else", answer: good("active", "false"), code: mcpauth.ErrInactive},
		{name: "active as a string", answer: good("active", `"true"`), code: mcpauth.ErrUnavailable},
		{name: "active as a number", answer: good("active", "1"), code: mcpauth.ErrUnavailable},
		{name: "active is null", answer: good("active", "null"), code: mcpauth.ErrUnavailable},
		{name: "no active", answer: good("active", ""), code: mcpauth.ErrUnavailable},
		{name: "active twice", answer: `{"active":false,` + good()[1:], code: mcpauth.ErrUnavailable},
		{name: "active in another case too", answer: good("Active", "false"), code: mcpauth.ErrUnavailable},

		{name: "its own issuer", answer: good("iss", `"{issuer}"`)},
		{name: "a slash at the issuer's end", answer: good("iss", `"{issuer}/"`), code: mcpauth.ErrWrongIssuer},
		{name: "another issuer", answer: good("iss", `"https://other.example"`), code: mcpauth.ErrWrongIssuer},
		{name: "issuer of another type", answer: good("iss", "1"), code: mcpauth.ErrUnavailable},
		{name: "issuer is null", answer: good("iss", "null"), code: mcpauth.ErrUnavailable},

		{name: "one of several audiences", answer: good("aud", `["x","`+audience+`"]`)},
		{name: "another audience", answer: good("aud", `"https://other.example"`), code: mcpauth.ErrWrongAudience},
		{name: "no audience", answer: good("aud", ""), code: mcpauth.ErrWrongAudience},
		{name: "an empty list of audiences", answer: good("aud", "[]"), code: mcpauth.ErrWrongAudience},
		{name: "audience in another case", answer: good("aud", `"HTTPS://mcp.example.com/mcp"`), code: mcpauth.ErrWrongAudience},
		{name: "audience of another type", answer: good("aud", `{"a":1}`), code: mcpauth.ErrUnavailable},
		{name: "audience is null", answer: good("aud", "null"), code: mcpauth.ErrUnavailable},
		{name: "no audience, an allowed client", answer: good("aud", ""), change: func(c *oauth.Config) { c.AllowedClients = []string{"client"} }},
		{name: "another audience, an allowed client", answer: good("aud", `"account"`), change: func(c *oauth.Config) { c.AllowedClients = []string{"client"} }},
		{name: "another client", answer: good("aud", "", "client_id", `"other"`), code: mcpauth.ErrWrongAudience, change: func(c *oauth.Config) { c.AllowedClients = []string{"client"} }},
		{name: "an allowed client alone", answer: good("aud", ""), change: func(c *oauth.Config) { c.Audience, c.AllowedClients = nil, []string{"client"} }},
		{name: "no client", answer: good("aud", "", "client_id", ""), code: mcpauth.ErrWrongAudience, change: func(c *oauth.Config) { c.AllowedClients = []string{"client"} }},
		{name: "any client, by choice", answer: good("aud", "", "client_id", ""), change: func(c *oauth.Config) { c.Audience, c.AcceptAnyClient = nil, true }},

		{name: "no end", answer: good("exp", "")},
		{name: "past its end", answer: good("exp", ago), code: mcpauth.ErrExpired},
		{name: "past its end, within the leeway", answer: good("exp", ago), change: func(c *oauth.Config) { c.ExpiryLeeway = 2 * time.Minute }},
		{name: "end as a fraction", answer: good("exp", fmt.Sprint(now.Add(time.Hour).Unix())+".75")},
		{name: "end as a string", answer: good("exp", `"4000000000"`), code: mcpauth.ErrUnavailable},
		{name: "end at 1e18", answer: good("exp", "1e18"), code: mcpauth.ErrUnavailable},
		{name: "end at 1e400", answer: good("exp", "1e400"), code: mcpauth.ErrUnavailable},
		{name: "a negative end", answer: good("exp", "-1"), code: mcpauth.ErrUnavailable},
		{name: "end is null", answer: good("exp", "null"), code: mcpauth.ErrUnavailable},
		{name: "end is true", answer: good("exp", "true"), code: mcpauth.ErrUnavailable},
		{name: "end at 0", answer: good("exp", "0"), code: mcpauth.ErrExpired},
		{name: "begins within the tolerance", answer: good("nbf", fmt.Sprint(now.Add(50*time.Second).Unix()))},
		{name: "not begun", answer: good("nbf", fmt.Sprint(now.Add(5*time.Minute).Unix())), code: mcpauth.ErrNotYetValid},
		{name: "issued in the future", answer: good("iat", fmt.Sprint(now.Add(5*time.Minute).Unix())), code: mcpauth.ErrNotYetValid},

		{name: "type in another case", answer: good("token_type", `"bearer"`)},
		{name: "no type", answer: good("token_type", "")},
		{name: "no type, which is required", answer: good("token_type", ""), code: mcpauth.ErrMalformedToken, change: func(c *oauth.Config) { c.RequireTokenType = true }},
		{name: "DPoP", answer: good("token_type", `"DPoP"`), code: mcpauth.ErrMalformedToken},
		{name: "a refresh token", answer: good("token_type", `"refresh_token"`), code: mcpauth.ErrMalformedToken},
		{name: "a refresh token of Keycloak", answer: good("typ", `"Refresh"`), code: mcpauth.ErrMalformedToken},
		{name: "an access token of Keycloak", answer: good("typ", `"Bearer"`)},
		{name: "an access token by use", answer: good("token_use", `"access"`)},
		{name: "an ID token by use", answer: good("token_use", `"id"`), code: mcpauth.ErrMalformedToken},
		{name: "bound to a key", answer: good("cnf", `{"jkt":"x"}`), code: mcpauth.ErrMalformedToken},
		{name: "bound to a key, by choice", answer: good("cnf", `{"jkt":"x"}`), change: func(c *oauth.Config) { c.AllowBoundTokens = true }},

		{name: "scopes of another type", answer: good("scope", "1"), code: mcpauth.ErrUnavailable},
		{name: "scopes as an array", answer: good("scope", "", "scp", `["a","b"]`)},
		{name: "no scopes", answer: good("scope", "null")},
		{name: "a tenant", answer: good("tid", `"T"`), change: func(c *oauth.Config) { c.TenantClaim = "tid" }},
		{name: "no tenant", answer: good(), code: mcpauth.ErrMissingClaim, change: func(c *oauth.Config) { c.TenantClaim = "tid" }},
		{name: "a token id that is none", answer: good("jti", "1"), code: mcpauth.ErrUnavailable},

		{name: "nothing", answer: "", code: mcpauth.ErrUnavailable},
		{name: "HTML", answer: "<html>active: true</html>", code: mcpauth.ErrUnavailable},
		{name: "an array", answer: "[" + good() + "]", code: mcpauth.ErrUnavailable},
		{name: "data behind it", answer: good() + "{}", code: mcpauth.ErrUnavailable},
		{name: "cut off", answer: good()[:40], code: mcpauth.ErrUnavailable},
		{name: "invalid UTF-8", answer: good("x", "\"\xff\""), code: mcpauth.ErrUnavailable},
		{name: "too deep", answer: good("x", strings.Repeat("[", 100)+strings.Repeat("]", 100)), code: mcpauth.ErrUnavailable},
		{name: "a name twice", answer: good()[:len(good())-1] + `,"sub":"mallory"}`, code: mcpauth.ErrUnavailable},
		{name: "a JWT", answer: "eyJhbGciOiJub25lIn0.eyJhY3RpdmUiOnRydWV9.", code: mcpauth.ErrUnavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newAuthority(t, "")
			a.says(strings.ReplaceAll(test.answer, "{issuer}", a.URL))
			c := a.config()
			if test.change != nil {
				test.change(&c)
			}
			p := newProvider(t, c)
			if test.code == "" {
				passes(t, p, "canary-token")
				return
			}
			e := refused(t, p, "canary-token", test.code)
			if text := e.Error() + fmt.Sprint(e.Cause); strings.Contains(text, "canary") || strings.Contains(e.Message, "127.0.0.1") {
				t.Errorf("it says %s", text)
			}
			if again := a.asked.Load(); true {
				refused(t, p, "canary-token", test.code)
				remembered := a.asked.Load() == again
				lasting := slices.Contains([]mcpauth.Code{mcpauth.ErrInactive, mcpauth.ErrMalformedToken, mcpauth.ErrWrongIssuer, mcpauth.ErrWrongAudience, mcpauth.ErrExpired}, test.code)
				if remembered != lasting {
					t.Errorf("remembered: %v, want %v", remembered, lasting)
				}
			}
		})
	}
}

func TestTheServerIsAskedAsTheClientAndForAnAccessToken(t *testing.T) {
	a := newAuthority(t, "")
	var form string
	a.does(func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		form = id + " " + secret + " " + r.FormValue("token") + " " + r.FormValue("token_type_hint") + " " + r.Header.Get("Accept")
		fmt.Fprint(w, good())
	})
	p := newProvider(t, a.config())
	passes(t, p, "a+b/c==")
	if form != "mcp canary-of-the-client a+b/c== access_token application/json" {
		t.Errorf("asked as %q", form)
	}
}

func TestFailuresOfTheServerAre503(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	defer elsewhere.Close()
	hang := func(r *http.Request) { // until the client leaves
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}
	status := func(code int, headers ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			w.WriteHeader(code)
			fmt.Fprint(w, good())
		}
	}
	for name, answer := range map[string]http.HandlerFunc{
		"credentials refused":    status(401, "WWW-Authenticate", `Basic realm="x"`),
		"credentials not enough": status(403),
		"a bad request":          status(400),
		"an error":               status(500),
		"another success":        status(204),
		"not modified":           status(304),
		"gone":                   status(404),
		"too much":               status(429, "Retry-After", "7"),
		"overloaded":             status(503, "Retry-After", "7"),
		"a redirect":             status(307, "Location", elsewhere.URL),
		"a redirect to itself":   status(302, "Location", "/introspect"),
		"hanging":                func(_ http.ResponseWriter, r *http.Request) { hang(r) },
		"hanging up":             func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"huge": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, good("x", `"`+strings.Repeat("x", 300<<10)+`"`))
		},
		"without end": func(w http.ResponseWriter, r *http.Request) {
			w.Write([]byte(good()[:30]))
			w.(http.Flusher).Flush()
			hang(r)
		},
		"shorter than it has said": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "999")
			fmt.Fprint(w, good())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAuthority(t, "")
			a.does(answer)
			c := a.config()
			c.Requests.Timeout = 5 * time.Second
			p := newProvider(t, c)
			e := refused(t, p, "canary-token", mcpauth.ErrUnavailable)
			if text := e.Error() + fmt.Sprint(e.Cause); strings.Contains(text, "canary") || strings.Contains(e.Message, "127.0.0.1") {
				t.Errorf("it says %s", text)
			}
			if strings.HasPrefix(name, "too much") && e.RetryAfter != 7*time.Second {
				t.Errorf("try again in %v", e.RetryAfter)
			}
			// It is over as soon as the server answers.
			a.says(good())
			passes(t, p, "canary-token")
		})
	}
}

func TestAServerThatIsNotThereIs503(t *testing.T) {
	a := newAuthority(t, good())
	c := a.config()
	a.Close()
	p := newProvider(t, c)
	refused(t, p, "t", mcpauth.ErrUnavailable)
	if err := p.Ready(); err == nil {
		t.Error("ready without an endpoint")
	}
}

func TestTheFormOfATokenIsCheckedFirst(t *testing.T) {
	a := newAuthority(t, good())
	c := a.config()
	c.MaxTokenSize = 256
	p := newProvider(t, c)
	for token, code := range map[string]mcpauth.Code{
		"":                       mcpauth.ErrMissingCredential,
		"a b":                    mcpauth.ErrMalformedToken,
		"a\r\nb":                 mcpauth.ErrMalformedToken,
		"=":                      mcpauth.ErrMalformedToken,
		"a=b":                    mcpauth.ErrMalformedToken,
		"ä":                      mcpauth.ErrMalformedToken,
		"a%20":                   mcpauth.ErrMalformedToken,
		"a&token=b":              mcpauth.ErrMalformedToken,
		"a\x00":                  mcpauth.ErrMalformedToken,
		strings.Repeat("a", 257): mcpauth.ErrTooLarge,
	} {
		refused(t, p, token, code)
	}
	if a.asked.Load() != 0 {
		t.Errorf("asked %d times", a.asked.Load())
	}
	passes(t, p, strings.Repeat("a", 256))
	passes(t, p, "AZaz09-._~+/==")
}

func TestRecognizesBearerTokens(t *testing.T) {
	p := newProvider(t, newAuthority(t, good()).config())
	for value, want := range map[string]bool{"Bearer a.b.c": true, "bearer x": true, "Bearer": true, "Bearer a b": true, "Basic eDp5": false, "DPoP x": false, "": false} {
		if got := p.Recognizes(header(value)); got != want {
			t.Errorf("%q: %v", value, got)
		}
	}
	if p.Recognizes(&mcpauth.Request{}) || !p.Recognizes(header("Bearer a", "Bearer b")) {
		t.Error("none or two headers")
	}
}

func TestManyRequestsWithANewTokenAskOnce(t *testing.T) {
	a := newAuthority(t, "")
	release := make(chan struct{})
	a.does(func(w http.ResponseWriter, _ *http.Request) {
		<-release
		fmt.Fprint(w, good())
	})
	p := newProvider(t, a.config())
	var group sync.WaitGroup
	began := make(chan struct{}, 200)
	for range 200 {
		group.Go(func() {
			began <- struct{}{}
			if _, err := p.Verify(t.Context(), "t"); err != nil {
				t.Error(err)
			}
		})
	}
	for range 200 {
		<-began
	}
	close(release)
	group.Wait()
	if a.asked.Load() != 1 {
		t.Errorf("asked %d times", a.asked.Load())
	}
}
