package assertion_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	golang "github.com/golang-jwt/jwt/v5"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/assertion"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
)

const (
	own    = "https://mcp.example.com"
	notes  = "https://notes.internal.example.com"
	mail   = "https://mail.internal.example.com"
	issuer = "https://issuer.example.com"
)

func config() assertion.Config {
	return assertion.Config{Issuer: own, Audiences: []string{notes, mail}, Logger: slog.New(slog.DiscardHandler)}
}

func newSigner(t *testing.T, c assertion.Config) *assertion.Signer {
	t.Helper()
	s, err := assertion.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// user returns an identity with claims, which is JSON.
func user(t testing.TB, f mcpauth.IdentityFields, claims string) *mcpauth.Identity {
	t.Helper()
	if f.Issuer == "" {
		f.Issuer = issuer
	}
	f.Token = mcpauth.NewSecret("canary-token")
	var all map[string]json.RawMessage
	if claims != "" {
		if err := json.Unmarshal([]byte(claims), &all); err != nil {
			t.Error(err)
		}
	}
	f.Verification = mcpauth.FixedVerification{IDClaim: "sub", AllClaims: all}
	id, err := mcpauth.NewIdentity(f)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func sign(t *testing.T, s *assertion.Signer, id *mcpauth.Identity, audience string) string {
	t.Helper()
	token, err := s.Sign(id, audience)
	if err != nil {
		t.Fatalf("%v: %v", err, errors.Unwrap(err))
	}
	return token.Reveal()
}

// segment decodes a part of a token: 0 is the header, 1 the claims.
func segment(t *testing.T, token string, n int) map[string]any {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[n])
	var m map[string]any
	if err = errors.Join(err, json.Unmarshal(text, &m)); err != nil {
		t.Fatal(err)
	}
	return m
}

func set(t *testing.T, s http.Handler) (set jose.JSONWebKeySet) {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("GET", "/jwks", nil))
	if err := json.Unmarshal(w.Body.Bytes(), &set); err != nil || w.Code != 200 {
		t.Fatalf("%d, %v", w.Code, err)
	}
	return set
}

func kids(s jose.JSONWebKeySet) (list []string) {
	for _, k := range s.Keys {
		list = append(list, k.KeyID)
	}
	return list
}

func wantFailure(t *testing.T, token mcpauth.Secret, err error, code mcpauth.Code, cause string) {
	t.Helper()
	var e *mcpauth.Error
	if !errors.As(err, &e) || e.Code != code || !token.IsZero() || cause != "" && (e.Cause == nil || !strings.Contains(e.Cause.Error(), cause)) {
		t.Errorf("%v, %v, cause %v; want %s, %s", token, err, errors.Unwrap(err), code, cause)
	}
	if strings.Contains(fmt.Sprint(err, errors.Unwrap(err)), "canary") {
		t.Errorf("the error has the token: %v, %v", err, errors.Unwrap(err))
	}
}

func TestWhatATokenSays(t *testing.T) {
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // as in every synctest
	for _, test := range []struct {
		name   string
		id     *mcpauth.Identity
		change func(*assertion.Config)
		want   map[string]any // beside what all have
	}{
		{"a user", user(t, mcpauth.IdentityFields{UserID: "alice"}, ""), nil, nil},
		{"scopes", user(t, mcpauth.IdentityFields{UserID: "alice", Scopes: []string{"a", "b c", "d\"", "", "e:f"}}, ""), nil, map[string]any{"scope": "a e:f"}},
		{"a client, of several names", user(t, mcpauth.IdentityFields{UserID: "alice"}, `{"azp":"one","client_id":"two","appid":"three"}`), nil, map[string]any{"client_id": "two"}},
		{"a client of Okta's", user(t, mcpauth.IdentityFields{UserID: "alice"}, `{"cid":"okta"}`), nil, map[string]any{"client_id": "okta"}},
		{"a client that is no text", user(t, mcpauth.IdentityFields{UserID: "alice"}, `{"client_id":["x"],"azp":""}`), nil, nil},
		{"an actor", user(t, mcpauth.IdentityFields{UserID: "alice"}, `{"act":{"sub":"robot"}}`), nil,
			map[string]any{"act": map[string]any{"sub": "robot", "iss": issuer}}},
		{"actors of actors", user(t, mcpauth.IdentityFields{UserID: "alice"}, `{"act":{"sub":"robot","iss":"https://other","n":12345678901234567890,"act":{"sub":"first"}}}`), nil,
			map[string]any{"act": map[string]any{"sub": "robot", "iss": "https://other", "n": 12345678901234567890.0, "act": map[string]any{"sub": "first", "iss": issuer}}}},
		{"what else the user's token has", user(t, mcpauth.IdentityFields{UserID: "alice"}, `{"email":"a@example.com","tokens":{"github":"canary"},"may_act":{"sub":"x"},"aud":"x"}`), nil, nil},
		{"a user whose token ends sooner", user(t, mcpauth.IdentityFields{UserID: "alice", Expiry: now.Add(20*time.Second + time.Millisecond)}, ""), nil,
			map[string]any{"exp": float64(now.Unix() + 20)}},
		{"a user whose token ends later", user(t, mcpauth.IdentityFields{UserID: "alice", Expiry: now.Add(time.Hour)}, ""), nil, nil},
		{"another life", user(t, mcpauth.IdentityFields{UserID: "alice"}, ""), func(c *assertion.Config) { c.Lifetime = 5 * time.Minute }, map[string]any{"exp": float64(now.Unix() + 300)}},
		{"users of one issuer", user(t, mcpauth.IdentityFields{UserID: "alice"}, ""), func(c *assertion.Config) { c.SubjectIssuer = issuer }, map[string]any{"sub": "alice"}},
		{"a user of a tenant", user(t, mcpauth.IdentityFields{UserID: "alice", Tenant: "one"}, ""), nil,
			map[string]any{"sub": "_zGkggMKS-9hmhe3ZQfZkYJQ1wVwMibELOJyEs3WSzM", "tenant": "one"}},
		{"markup", user(t, mcpauth.IdentityFields{UserID: "<a>&\u2028\"é"}, ""), func(c *assertion.Config) { c.SubjectIssuer = issuer },
			map[string]any{"sub": "<a>&\u2028\"é", "sub_id": map[string]any{"format": "iss_sub", "iss": issuer, "sub": "<a>&\u2028\"é"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := config()
				if test.change != nil {
					test.change(&c)
				}
				s := newSigner(t, c)
				token := sign(t, s, test.id, notes)
				want := map[string]any{
					"iss": own, "aud": notes, "iat": float64(now.Unix()), "exp": float64(now.Unix() + 60), "client_id": own,
					"sub":    "dEjzLhj-NWCjlQbQ9wUlRyTEsFol2X7f-y5Wj45J68M",
					"sub_id": map[string]any{"format": "iss_sub", "iss": issuer, "sub": "alice"},
				}
				maps.Copy(want, test.want)
				got := segment(t, token, 1)
				if jti, _ := got["jti"].(string); len(jti) < 20 {
					t.Errorf("jti %q", jti)
				}
				delete(got, "jti")
				if a, b := fmt.Sprint(got), fmt.Sprint(want); a != b {
					t.Errorf("claims\n%s, want\n%s", a, b)
				}
				header := segment(t, token, 0)
				if want := map[string]any{"alg": "ES256", "typ": "at+jwt", "kid": set(t, s).Keys[0].KeyID}; !maps.Equal(header, want) {
					t.Errorf("header %v, want %v", header, want)
				}
			})
		})
	}
}

func TestWhoseSubjectIsWhose(t *testing.T) {
	s := newSigner(t, config())
	subject := func(f mcpauth.IdentityFields, audience string) any {
		return segment(t, sign(t, s, user(t, f, ""), audience), 1)["sub"]
	}
	alice := subject(mcpauth.IdentityFields{UserID: "alice"}, notes)
	if other := subject(mcpauth.IdentityFields{UserID: "alice", Issuer: "https://other.example.com"}, notes); other == alice {
		t.Error("two issuers' users of one id have one subject")
	}
	if other := subject(mcpauth.IdentityFields{UserID: "alice", Tenant: "one"}, notes); other == alice {
		t.Error("two tenants' users of one id have one subject")
	}
	if again := subject(mcpauth.IdentityFields{UserID: "alice", Subject: "raw"}, mail); again != alice {
		t.Error("a user has two subjects")
	}
}

func TestWhatIsNotSigned(t *testing.T) {
	now := time.Now()
	c := config()
	c.SubjectIssuer = issuer
	s := newSigner(t, c)
	for _, test := range []struct {
		name     string
		id       *mcpauth.Identity
		audience string
		code     mcpauth.Code
		cause    string
	}{
		{"for another audience", user(t, mcpauth.IdentityFields{UserID: "alice"}, ""), "https://other.example.com", mcpauth.ErrUnavailable, "not among the configured"},
		{"for an audience with more to it", user(t, mcpauth.IdentityFields{UserID: "alice"}, ""), notes + "/", mcpauth.ErrUnavailable, "not among the configured"},
		{"for no audience", user(t, mcpauth.IdentityFields{UserID: "alice"}, ""), "", mcpauth.ErrUnavailable, "not among the configured"},
		{"for nobody", nil, notes, mcpauth.ErrUnavailable, "no identity"},
		{"for a user of another issuer", user(t, mcpauth.IdentityFields{UserID: "alice", Issuer: "https://other.example.com"}, ""), notes, mcpauth.ErrForbidden, "is not"},
		{"for a user of a tenant, by the user id", user(t, mcpauth.IdentityFields{UserID: "alice", Tenant: "one"}, ""), notes, mcpauth.ErrUnavailable, "tenant"},
		{"for an expired user", user(t, mcpauth.IdentityFields{UserID: "alice", Expiry: now.Add(-time.Second)}, ""), notes, mcpauth.ErrExpired, ""},
		{"for less than a second", user(t, mcpauth.IdentityFields{UserID: "alice", Expiry: now.Truncate(time.Second)}, ""), notes, mcpauth.ErrExpired, ""},
		{"for a user whose id is no text", user(t, mcpauth.IdentityFields{UserID: "alice\xff"}, ""), notes, mcpauth.ErrUnavailable, "no text"},
		{"for an actor who is text", user(t, mcpauth.IdentityFields{UserID: "alice"}, `{"act":"canary"}`), notes, mcpauth.ErrUnavailable, "not a chain of actors"},
		{"for an actor who is null", user(t, mcpauth.IdentityFields{UserID: "alice"}, `{"act":null}`), notes, mcpauth.ErrUnavailable, "not a chain of actors"},
		{"for an actor who is twice", user(t, mcpauth.IdentityFields{UserID: "alice"}, `{"act":{"sub":"a","sub":"b"}}`), notes, mcpauth.ErrUnavailable, "not a chain of actors"},
		{"for too many actors", user(t, mcpauth.IdentityFields{UserID: "alice"}, `{"act":`+strings.Repeat(`{"act":`, 8)+"{}"+strings.Repeat("}", 9)), notes, mcpauth.ErrUnavailable, "not a chain of actors"},
	} {
		t.Run(test.name, func(t *testing.T) {
			token, err := s.Sign(test.id, test.audience)
			wantFailure(t, token, err, test.code, test.cause)
		})
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	token, err := s.Sign(user(t, mcpauth.IdentityFields{UserID: "alice"}, ""), notes)
	wantFailure(t, token, err, mcpauth.ErrUnavailable, "closed")
	if s.Close() != nil || s.Start(t.Context()) == nil || len(set(t, s).Keys) != 2 {
		t.Error("after Close")
	}
}

func TestATokenIsUsedAgainForHalfOfItsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSigner(t, config())
		alice := user(t, mcpauth.IdentityFields{UserID: "alice", Scopes: []string{"read", "write"}, Expiry: time.Now().Add(45 * time.Second)}, "")
		less := user(t, mcpauth.IdentityFields{UserID: "alice", Scopes: []string{"read"}}, "")
		first := sign(t, s, alice, notes)
		if sign(t, s, alice, mail) == first || sign(t, s, less, notes) == first {
			t.Error("a token is used for another purpose")
		}
		time.Sleep(22 * time.Second)
		if sign(t, s, alice, notes) != first {
			t.Error("not used again")
		}
		time.Sleep(time.Second)
		second := sign(t, s, alice, notes)
		if second == first {
			t.Error("used again in the second half of its life")
		}
		if segment(t, first, 1)["jti"] == segment(t, second, 1)["jti"] {
			t.Error("two tokens of one id")
		}
		time.Sleep(22 * time.Second)
		token, err := s.Sign(alice, notes)
		wantFailure(t, token, err, mcpauth.ErrExpired, "")
	})
}

func TestKeysAreServed(t *testing.T) {
	s := newSigner(t, config())
	for method, want := range map[string]int{"GET": 200, "HEAD": 200, "POST": 405, "OPTIONS": 405} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(method, "/whatever", nil))
		if w.Code != want {
			t.Errorf("%s: %d", method, w.Code)
		}
		if want != 200 {
			continue
		}
		for name, value := range map[string]string{"Content-Type": "application/jwk-set+json", "Cache-Control": "public, max-age=300", "X-Content-Type-Options": "nosniff"} {
			if got := w.Header().Get(name); got != value {
				t.Errorf("%s: %s %q", method, name, got)
			}
		}
		if text := w.Body.String(); strings.Contains(text, `"d"`) || (text == "") != (method == "HEAD") {
			t.Errorf("%s: %s", method, text)
		}
	}
	for _, k := range set(t, s).Keys {
		if !k.IsPublic() || k.Algorithm != "ES256" || k.Use != "sig" || len(k.KeyID) != 43 {
			t.Errorf("%+v", k)
		}
	}
}

// backend serves the keys, from outside of the time of a test, and verifies with
// the provider of this module.
func backend(t *testing.T, audience string) (keys func(http.Handler), provider func() *jwt.Provider) {
	var now struct {
		sync.Mutex
		http.Handler
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now.Lock()
		defer now.Unlock()
		now.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	keys = func(h http.Handler) {
		now.Lock()
		defer now.Unlock()
		now.Handler = h
	}
	return keys, func() *jwt.Provider {
		p, err := jwt.New(jwt.Config{
			Issuers: []jwt.Issuer{{Name: own, Audience: []string{audience}, RequireType: true, Keys: []jwt.KeySource{jwt.JWKSURL(server.URL)}}},
			Logger:  slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
}

// A backend that reads the keys every ten minutes takes each token to its end,
// through several rotations, and others verify it as well.
func TestRotationRefusesNothing(t *testing.T) {
	serve, newProvider := backend(t, notes)
	synctest.Test(t, func(t *testing.T) {
		c := config()
		c.RotationInterval = 2 * time.Hour
		s := newSigner(t, c)
		serve(s)
		defer serve(http.NotFoundHandler())
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s.Start(t.Context()) == nil {
			t.Error("started twice")
		}
		p := newProvider()
		defer p.Close()
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := p.Reload(); err != nil {
			t.Fatal(err)
		}
		alice := user(t, mcpauth.IdentityFields{UserID: "alice", Scopes: []string{"read"}}, "")
		sub := segment(t, sign(t, s, alice, notes), 1)["sub"]
		accepted, signers := 0, map[any]bool{}
		takes := func(token, when string) {
			t.Helper()
			id, err := p.Verify(t.Context(), token)
			if err != nil {
				t.Fatalf("%s: %v: %v", when, err, errors.Unwrap(err))
			}
			if id.UserID() != sub || !id.HasScopes("read") {
				t.Fatalf("%s: %v", when, id)
			}
			accepted++
		}
		verifiesElsewhere := func(token string) {
			t.Helper()
			keys := set(t, s)
			parsed, err := golang.NewParser(golang.WithValidMethods([]string{"ES256"}), golang.WithAudience(notes), golang.WithIssuer(own), golang.WithExpirationRequired(), golang.WithTimeFunc(time.Now)).Parse(token, func(token *golang.Token) (any, error) {
				found := keys.Key(token.Header["kid"].(string))
				if len(found) != 1 {
					return nil, errors.New("no such key")
				}
				return found[0].Key, nil
			})
			if err != nil || !parsed.Valid {
				t.Errorf("golang-jwt: %v", err)
			}
			var told josejwt.Claims
			signed, err := josejwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
			if err == nil {
				err = signed.Claims(keys, &told)
			}
			if err == nil {
				err = told.ValidateWithLeeway(josejwt.Expected{Issuer: own, AnyAudience: []string{notes}, Time: time.Now()}, 0)
			}
			if err != nil {
				t.Errorf("go-jose: %v", err)
			}
		}
		start := time.Now()
		for time.Since(start) < 7*time.Hour {
			token := sign(t, s, alice, notes)
			if kid := segment(t, token, 0)["kid"]; !signers[kid] {
				verifiesElsewhere(token)
				signers[kid] = true
			}
			takes(token, "new")
			time.Sleep(59 * time.Second) // as old as a token becomes
			takes(token, "old")
			since := time.Since(start) % c.RotationInterval
			if untilNext := c.RotationInterval - since; since > 8*time.Minute && untilNext > 5*time.Minute {
				time.Sleep(min(time.Hour, untilNext-3*time.Minute))
			}
		}
		if len(signers) != 4 {
			t.Errorf("%d keys have signed", len(signers))
		}
		t.Logf("%d accepted", accepted)
	})
}

func TestWhenKeysArePublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		c.RotationInterval = time.Hour
		var log strings.Builder
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
		s := newSigner(t, c)
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		at := func(d time.Duration) []string {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			list := kids(set(t, s))
			alice := user(t, mcpauth.IdentityFields{UserID: "alice"}, "")
			if kid := segment(t, sign(t, s, alice, notes), 0)["kid"]; kid != list[0] {
				t.Errorf("signed by %v, of %v", kid, list)
			}
			return list
		}
		first := at(0)
		if len(first) != 2 || !slices.Equal(at(time.Hour-time.Second), first) {
			t.Errorf("before a rotation: %v", first)
		}
		second := at(time.Second)
		if len(second) != 3 || second[0] != first[1] || second[2] != first[0] {
			t.Errorf("after it: %v, then %v", first, second)
		}
		if !slices.Equal(at(6*time.Minute-time.Second), second) {
			t.Error("a key has gone while what it has signed may be in use")
		}
		if third := at(time.Second); !slices.Equal(third, second[:2]) {
			t.Errorf("later: %v, then %v", second, third)
		}
		if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, second[0]) {
			t.Errorf("log: %s", text)
		}
	})
}

func TestATokenIsForOneServer(t *testing.T) {
	serve, newProvider := backend(t, mail)
	s := newSigner(t, config())
	serve(s)
	p := newProvider()
	defer p.Close()
	if err := p.Reload(); err != nil {
		t.Fatal(err)
	}
	alice := user(t, mcpauth.IdentityFields{UserID: "alice"}, "")
	if _, err := p.Verify(t.Context(), sign(t, s, alice, mail)); err != nil {
		t.Error(err)
	}
	if _, err := p.Verify(t.Context(), sign(t, s, alice, notes)); !errors.Is(err, mcpauth.ErrWrongAudience) {
		t.Errorf("the token for another: %v", err)
	}
	other := newSigner(t, config())
	if _, err := p.Verify(t.Context(), sign(t, other, alice, mail)); err == nil {
		t.Error("another's signature is taken")
	}
}

func TestManyAtOnce(t *testing.T) {
	s := newSigner(t, config())
	users := make([]*mcpauth.Identity, 20)
	for i := range users {
		users[i] = user(t, mcpauth.IdentityFields{UserID: fmt.Sprint("user", i)}, "")
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for i := range 100 {
				id := users[i%len(users)]
				token, err := s.Sign(id, notes)
				if err != nil {
					t.Error(err)
					return
				}
				if sub := segment(t, token.Reveal(), 1)["sub_id"].(map[string]any)["sub"]; sub != id.UserID() {
					t.Errorf("%v's token is %v's", id, sub)
				}
				w := httptest.NewRecorder()
				s.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
				io.Discard.Write(w.Body.Bytes())
			}
		})
	}
	group.Wait()
}

func TestFaults(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*assertion.Config)
		want   string
	}{
		{"nothing", func(c *assertion.Config) { *c = assertion.Config{} }, "Issuer: not an absolute URL; Audiences: empty"},
		{"an issuer over plain http", func(c *assertion.Config) { c.Issuer = "http://mcp.example.com" }, `Issuer: http to "mcp.example.com"`},
		{"an issuer with a query", func(c *assertion.Config) { c.Issuer += "?a" }, "Issuer: the URL has a query"},
		{"audiences", func(c *assertion.Config) { c.Audiences = []string{"a", "", "b ", "a"} }, `Audiences[1]: empty; Audiences[2]: "b " begins or ends with a space; Audiences[3]: "a" is Audiences[0] too`},
		{"another issuer", func(c *assertion.Config) { c.SubjectIssuer = "a\n" }, `SubjectIssuer: "a\n" has control characters or is not UTF-8`},
		{"too long a life", func(c *assertion.Config) { c.Lifetime = 5*time.Minute + time.Second }, "Lifetime: found 5m1s"},
		{"too short a life", func(c *assertion.Config) { c.Lifetime = time.Second }, "Lifetime: found 1s"},
		{"half seconds", func(c *assertion.Config) { c.Lifetime = 20500 * time.Millisecond }, "Lifetime: found 20.5s"},
		{"too quick a rotation", func(c *assertion.Config) { c.RotationInterval = time.Minute }, "RotationInterval: found 1m0s"},
		{"too slow a reload", func(c *assertion.Config) { c.ReloadInterval = time.Hour }, "ReloadInterval: found 1h0m0s"},
		{"no file", func(c *assertion.Config) { c.KeyFile = "/does/not/exist" }, "KeyFile: file /does/not/exist: no such file or directory"},
		{"a key for a file", func(c *assertion.Config) { c.KeyFile = "-----BEGIN canary" }, "KeyFile: file (path not shown: it looks like a key): no such file or directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := config()
			test.change(&c)
			_, err := assertion.New(c)
			var e *mcpauth.ConfigError
			if !errors.As(err, &e) || e.Package != "assertion" {
				t.Fatal(err)
			}
			var got []string
			for _, f := range e.Faults {
				got = append(got, f.Field+": "+f.Problem)
			}
			if text := strings.Join(got, "; "); !strings.HasPrefix(text, test.want) || strings.Contains(text, "canary") || strings.Count(text, "; ") != strings.Count(test.want, "; ") {
				t.Errorf("%s, want %s", text, test.want)
			}
		})
	}
}
