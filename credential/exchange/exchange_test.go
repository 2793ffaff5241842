package exchange_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/credential"
	"github.com/mcpauth-go/mcpauth/credential/exchange"
)

const (
	issuer       = "https://issuer.example.com"
	userToken    = "canary-of-the-user"
	clientSecret = "canary-of-the-client"
	actorToken   = "canary-of-the-actor"
	good         = `{"access_token":"new","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":300}`
)

func user(t testing.TB, f mcpauth.IdentityFields) *mcpauth.Identity {
	t.Helper()
	if f.Issuer == "" {
		f.Issuer = issuer
	}
	if f.UserID == "" {
		f.UserID = "alice"
	}
	if f.Token.IsZero() {
		f.Token = mcpauth.NewSecret(userToken)
	}
	id, err := mcpauth.NewIdentity(f)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// serve starts an authorization server.
func serve(t testing.TB, answer http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return server.URL
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func config(endpoint string) exchange.Config {
	return exchange.Config{
		TokenURL:       endpoint,
		Client:         exchange.Client{ClientID: "mcp", Secret: mcpauth.NewSecret(clientSecret)},
		SubjectIssuers: []string{issuer},
		Targets:        map[string]exchange.Target{exchange.AnyType: {Audience: []string{"notes"}}},
		Actor:          exchange.FixedToken(mcpauth.NewSecret(actorToken)),
	}
}

func newSource(t testing.TB, c exchange.Config) *exchange.Source {
	t.Helper()
	s, err := exchange.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// kind says what an error means to a credential.Resolver.
func kind(err error) string {
	var is func(err, want error) bool
	is = func(err, want error) bool {
		if err == nil || reflect.TypeOf(err) == reflect.TypeOf(want) {
			return err != nil
		}
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			return slices.ContainsFunc(joined.Unwrap(), func(err error) bool { return is(err, want) })
		}
		return is(errors.Unwrap(err), want)
	}
	names := func(want error) bool { return is(err, want) }
	switch {
	case err == nil:
		return "none"
	case names(credential.Transient(io.EOF, 0)):
		return "transient"
	case names(credential.Refused(io.EOF)):
		return "refused"
	}
	return "fault"
}

func wantFailure(t *testing.T, c *mcpauth.Credential, err error, of, text string) {
	t.Helper()
	if c != nil || err == nil || kind(err) != of || !strings.Contains(err.Error(), text) {
		t.Errorf("%v, %v (%s); want %s: %s", c, err, kind(err), of, text)
	}
	if shown := fmt.Sprintf("%v %+v %#v", err, err, err); err != nil && strings.Contains(shown, "canary") {
		t.Errorf("the error has a secret: %s", shown)
	}
}

func TestWhatIsAsked(t *testing.T) {
	var got *http.Request
	endpoint := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		got = r
		says(200, `{"access_token":"new","issued_token_type":"`+r.Form.Get("requested_token_type")+`","token_type":"bearer"}`)(w, r)
	})
	const accessToken = string(exchange.AccessToken)
	base := url.Values{
		"grant_type":    {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"subject_token": {userToken}, "subject_token_type": {accessToken}, "requested_token_type": {accessToken},
	}
	with := func(v url.Values) url.Values {
		all := url.Values{}
		for _, of := range []url.Values{base, v} {
			for name, values := range of {
				all[name] = values
			}
		}
		return all
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("of the file\n"[3:]), 0o600); err != nil {
		t.Fatal(err)
	}
	actor := url.Values{"actor_token": {actorToken}, "actor_token_type": {accessToken}}
	for _, test := range []struct {
		name, resourceType string
		change             func(*exchange.Config)
		want               url.Values
		basic              bool
	}{
		{"an audience", "notes", nil, with(url.Values{"audience": {"notes"}, "actor_token": actor["actor_token"], "actor_token_type": actor["actor_token_type"]}), true},
		{"all there is, for one type of resource", "mail", func(c *exchange.Config) {
			c.Actor, c.SubjectTokenType = nil, exchange.JWT
			c.Targets["mail"] = exchange.Target{
				Audience: []string{"one", "two"}, Resource: []string{"https://a.example/x?y", "urn:b"}, Scopes: []string{"read", "write"}, RequestedTokenType: exchange.JWT,
			}
		}, with(url.Values{
			"audience": {"one", "two"}, "resource": {"https://a.example/x?y", "urn:b"}, "scope": {"read write"},
			"subject_token_type": {string(exchange.JWT)}, "requested_token_type": {string(exchange.JWT)},
		}), true},
		{"a secret in the form", "notes", func(c *exchange.Config) { c.Actor, c.Client.Method = nil, exchange.ClientSecretPost },
			with(url.Values{"audience": {"notes"}, "client_id": {"mcp"}, "client_secret": {clientSecret}}), false},
		{"an actor's token of a file", "notes", func(c *exchange.Config) { c.Actor, c.ActorTokenType = exchange.TokenFile(file), exchange.JWT }, nil, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := config(endpoint)
			if test.change != nil {
				test.change(&c)
			}
			found, err := newSource(t, c).Fetch(t.Context(), user(t, mcpauth.IdentityFields{}), test.resourceType)
			if test.want == nil { // a file with spaces in it
				wantFailure(t, found, err, "fault", "the actor's token is empty or has what no token has")
				if err := os.WriteFile(file, []byte("of-the-file\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				found, err = newSource(t, c).Fetch(t.Context(), user(t, mcpauth.IdentityFields{}), test.resourceType)
				test.want = with(url.Values{"audience": {"notes"}, "actor_token": {"of-the-file"}, "actor_token_type": {string(exchange.JWT)}})
			}
			if err != nil || found == nil || found.Token.Reveal() != "new" || !found.Expiry.IsZero() {
				t.Fatalf("%+v, %v", found, err)
			}
			if got.Method != "POST" || got.URL.RawQuery != "" || got.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || got.Header.Get("Accept") != "application/json" {
				t.Errorf("%s %s %v", got.Method, got.URL, got.Header)
			}
			if !reflect.DeepEqual(got.PostForm, test.want) {
				t.Errorf("form\n%v, want\n%v", got.PostForm, test.want)
			}
			id, secret, ok := got.BasicAuth()
			if ok != test.basic || ok && (id != "mcp" || secret != clientSecret) {
				t.Errorf("client %q, %v", id, ok)
			}
		})
	}
}

// The assertion of private_key_jwt is for the issuer, where that is known.
func TestPrivateKeyJWT(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var got josejwt.Claims
	endpoint := serve(t, func(w http.ResponseWriter, r *http.Request) {
		token, err := josejwt.ParseSigned(r.FormValue("client_assertion"), []jose.SignatureAlgorithm{jose.ES256})
		if err == nil {
			err = token.Claims(key.Public(), &got)
		}
		if err != nil || r.Header.Get("Authorization") != "" {
			t.Errorf("%v, %v", err, r.Header)
		}
		says(200, good)(w, r)
	})
	for _, named := range []string{"", issuer} {
		c := config(endpoint)
		c.Issuer, c.Client = named, exchange.Client{ClientID: "mcp", Key: key}
		if _, err := newSource(t, c).Fetch(t.Context(), user(t, mcpauth.IdentityFields{}), "notes"); err != nil {
			t.Fatal(err)
		}
		want := named
		if want == "" {
			want = endpoint
		}
		if got.Issuer != "mcp" || got.Subject != "mcp" || !reflect.DeepEqual(got.Audience, josejwt.Audience{want}) {
			t.Errorf("%+v, want audience %s", got, want)
		}
	}
}

func TestWhoseTokenIsSent(t *testing.T) {
	var asked atomic.Int32
	endpoint := serve(t, func(w http.ResponseWriter, r *http.Request) { asked.Add(1); says(200, good)(w, r) })
	c := config(endpoint)
	delete(c.Targets, exchange.AnyType)
	c.Targets["notes"] = exchange.Target{Scopes: []string{"read"}}
	s := newSource(t, c)
	for _, f := range []mcpauth.IdentityFields{{Issuer: "https://other.example.com"}, {Issuer: issuer + "/"}} {
		if found, err := s.Fetch(t.Context(), user(t, f), "notes"); found != nil || err != nil {
			t.Errorf("%s: %v, %v", f.Issuer, found, err)
		}
	}
	if found, err := s.Fetch(t.Context(), nil, "notes"); found != nil || err != nil {
		t.Errorf("nobody: %v, %v", found, err)
	}
	found, err := s.Fetch(t.Context(), user(t, mcpauth.IdentityFields{}), "mail")
	wantFailure(t, found, err, "fault", `no target for the resource type "mail"`)
	empty, err := mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: issuer, UserID: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	found, err = s.Fetch(t.Context(), empty, "notes")
	wantFailure(t, found, err, "fault", "without a token")
	if n := asked.Load(); n != 0 {
		t.Errorf("asked %d times", n)
	}
}

func TestAnswers(t *testing.T) {
	with := func(members string) string { return strings.TrimSuffix(good, "}") + "," + members + "}" }
	without := func(member string) string { return strings.Replace(good, member, `"x":1`, 1) }
	instead := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	const is, expires = `"urn:ietf:params:oauth:token-type:access_token"`, `"expires_in":300`
	for _, test := range []struct {
		name   string
		status int
		body   string
		kind   string // "" for a credential
		text   string // of the error; else the life, "" for not known
	}{
		{"good", 200, good, "", "5m0s"},
		{"a token type in another case", 200, instead("Bearer", "bEARER"), "", "5m0s"},
		{"a scope", 200, with(`"scope":"read write"`), "", "5m0s"},
		{"an empty scope", 200, with(`"scope":""`), "", "5m0s"},
		{"a refresh token and more", 200, with(`"refresh_token":"canary","x":{"access_token":"y"}`), "", "5m0s"},
		{"no end", 200, without(expires), "", ""},
		{"null for an end", 200, instead(expires, `"expires_in":null`), "", ""},
		{"a fraction", 200, instead(expires, `"expires_in":299.9`), "", "4m59s"},
		{"an exponent", 200, instead(expires, `"expires_in":3e2`), "", "5m0s"},
		{"ten years", 200, instead(expires, `"expires_in":315360000`), "", "87600h0m0s"},
		{"more than ten years", 200, instead(expires, `"expires_in":315360001`), "fault", `"expires_in" is not from 1`},
		{"1e18", 200, instead(expires, `"expires_in":1e18`), "fault", `"expires_in" is not from 1`},
		{"1e999", 200, instead(expires, `"expires_in":1e999`), "fault", `"expires_in" is not from 1`},
		{"an end at once", 200, instead(expires, `"expires_in":0`), "fault", `"expires_in" is not from 1`},
		{"an end in less than a second", 200, instead(expires, `"expires_in":0.9`), "fault", `"expires_in" is not from 1`},
		{"an end in the past", 200, instead(expires, `"expires_in":-1`), "fault", `"expires_in" is not from 1`},
		{"an end in a string", 200, instead(expires, `"expires_in":"300"`), "fault", `"expires_in" is not a number`},
		{"true for an end", 200, instead(expires, `"expires_in":true`), "fault", `"expires_in" is not a number`},
		{"an end twice", 200, with(expires), "fault", "the same name twice"},

		{"no token", 200, without(`"access_token":"new"`), "fault", `no "access_token"`},
		{"an empty token", 200, instead(`"new"`, `""`), "fault", `"access_token" is empty or`},
		{"null for a token", 200, instead(`"new"`, `null`), "fault", `"access_token" is not a string`},
		{"an object for a token", 200, instead(`"new"`, `{"canary":1}`), "fault", `"access_token" is not a string`},
		{"a token with a line break", 200, instead(`"new"`, `"canary\r\nX-Injected: 1"`), "fault", `what no token has`},
		{"a token with a space", 200, instead(`"new"`, `"canary x"`), "fault", `what no token has`},
		{"a token beyond ASCII", 200, instead(`"new"`, `"canaryé"`), "fault", `what no token has`},
		{"a token of 16 KiB", 200, instead(`new`, strings.Repeat("x", 16<<10)), "", "5m0s"},
		{"a token of more", 200, instead(`new`, strings.Repeat("x", 16<<10+1)), "fault", `has more than 16384 bytes`},
		{"not a type that it is of", 200, without(`"issued_token_type":` + is), "fault", `no "issued_token_type"`},
		{"a refresh token", 200, instead("token-type:access_token", "token-type:refresh_token"), "fault", "not what was asked for"},
		{"an ID token", 200, instead("token-type:access_token", "token-type:id_token"), "fault", "not what was asked for"},
		{"no token type", 200, without(`"token_type":"Bearer"`), "fault", `no "token_type"`},
		{"a token that is bound to a key", 200, instead("Bearer", "DPoP"), "fault", `"token_type" is not Bearer`},
		{"an access token that is none", 200, instead("Bearer", "N_A"), "fault", `"token_type" is not Bearer`},
		{"a scope with a line break", 200, with(`"scope":"a\nb"`), "fault", `"scope" has what no scope has`},
		{"a scope that is a list", 200, with(`"scope":["a"]`), "fault", `"scope" is not a string`},

		{"nothing", 200, "", "fault", "the answer: "},
		{"HTML", 200, "<html>canary</html>", "fault", "the answer: not valid JSON"},
		{"an array", 200, "[" + good + "]", "fault", "not a JSON object"},
		{"more behind it", 200, good + good, "fault", "data after the JSON value"},
		{"not UTF-8", 200, instead("new", "canary\xff"), "fault", "not valid JSON"},
		{"deep", 200, with(`"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100)), "fault", "nested deeper"},
		{"huge", 200, with(`"x":"` + strings.Repeat("canary", 11<<10) + `"`), "fault", "too large"},
		{"good, with another status", 201, good, "fault", "status 201"},
		{"nothing, with a status to say so", 204, "", "fault", "status 204"},

		{"no account", 400, `{"error":"account_not_linked"}`, "none", ""},
		{"no account, with what looks like one", 200, with(`"error":"account_not_linked"`), "none", ""},
		{"a token that is not taken", 400, `{"error":"invalid_request","error_description":"canary"}`, "refused", "refused: invalid_request"},
		{"a token that has ended", 400, `{"error":"invalid_grant"}`, "refused", "refused: invalid_grant"},
		{"a target that is not for them", 400, `{"error":"invalid_target"}`, "refused", "refused: invalid_target"},
		{"access denied", 403, `{"error":"access_denied"}`, "refused", "refused: access_denied"},
		{"an error that calls itself a success", 200, `{"error":"invalid_grant"}`, "refused", "refused: invalid_grant"},
		{"a wrong secret", 401, `{"error":"invalid_client"}`, "fault", "refused: invalid_client"},
		{"a client that may not", 400, `{"error":"unauthorized_client"}`, "fault", "refused: unauthorized_client"},
		{"a server that can not", 400, `{"error":"unsupported_grant_type"}`, "fault", "refused: unsupported_grant_type"},
		{"scopes that are not there", 400, `{"error":"invalid_scope"}`, "fault", "refused: invalid_scope"},
		{"an unknown error, which may be anything", 400, `{"error":"canary-of-the-user"}`, "fault", "an error code that is not known"},
		{"an error of another type", 400, `{"error":{"code":"canary"}}`, "fault", "status 400"},
		{"an empty error", 200, `{"error":""}`, "fault", `"error" is empty`},
		{"an error in HTML", 404, `<html>canary</html>`, "fault", "status 404"},
		{"trouble for a while", 400, `{"error":"temporarily_unavailable"}`, "transient", "refused: temporarily_unavailable"},
		{"trouble, for the standard's 302", 400, `{"error":"server_error"}`, "transient", "refused: server_error"},
		{"too many requests", 429, `{"error":"invalid_grant"}`, "transient", "status 429"},
		{"a timeout", 408, ``, "transient", "status 408"},
		{"a broken server", 500, good, "transient", "status 500"},
		{"a broken proxy", 502, `<html>canary</html>`, "transient", "status 502"},
		{"maintenance", 503, `{"error":"account_not_linked"}`, "transient", "status 503"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := config(serve(t, says(test.status, test.body)) + "/token?key=canary")
			c.NotConnected = []string{"account_not_linked"}
			before := time.Now()
			found, err := newSource(t, c).Fetch(t.Context(), user(t, mcpauth.IdentityFields{}), "notes")
			switch test.kind {
			case "":
				if err != nil || found == nil || found.Token.IsZero() {
					t.Fatalf("%v, %v", found, err)
				}
				if test.text == "" {
					if !found.Expiry.IsZero() {
						t.Errorf("it ends %v", found.Expiry)
					}
					return
				}
				life, err := time.ParseDuration(test.text)
				if after := time.Now(); err != nil || found.Expiry.Before(before.Add(life).Round(0)) || found.Expiry.After(after.Add(life).Round(0)) {
					t.Errorf("it ends %v, want in %s", found.Expiry, life)
				}
			case "none":
				if found != nil || err != nil {
					t.Errorf("%v, %v", found, err)
				}
			default:
				wantFailure(t, found, err, test.kind, test.text)
			}
		})
	}
}

func TestOtherTypesOfToken(t *testing.T) {
	for tokenType, ok := range map[string]bool{"N_A": true, "n_a": true, "Bearer": true, "DPoP": false} {
		body := `{"access_token":"new","issued_token_type":"urn:ietf:params:oauth:token-type:jwt","token_type":"` + tokenType + `"}`
		c := config(serve(t, says(200, body)))
		c.Targets["notes"] = exchange.Target{Audience: []string{"notes"}, RequestedTokenType: exchange.JWT}
		found, err := newSource(t, c).Fetch(t.Context(), user(t, mcpauth.IdentityFields{}), "notes")
		if (err == nil) != ok || (found != nil) != ok {
			t.Errorf("%s: %v, %v", tokenType, found, err)
		}
	}
}

// What the server does to the connection, or with what it was sent.
func TestHostileEndpoints(t *testing.T) {
	elsewhere := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") })
	// hang waits for the client to leave, which is noticed once its body is read.
	hang := func(r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}
	raw := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			io.WriteString(conn, strings.ReplaceAll(text, "{sent}", string(body)))
		}
	}
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		kind   string
		text   string
	}{
		{"hangs", func(_ http.ResponseWriter, r *http.Request) { hang(r) }, "transient", "deadline exceeded"},
		{"hangs within the answer", func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, good[:20])
			w.(http.Flusher).Flush()
			hang(r)
		}, "transient", "deadline exceeded"},
		{"never ends", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		}, "fault", "too large"},
		{"ends too soon", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, good)
		}, "transient", "unexpected EOF"},
		{"hangs up", raw(""), "transient", "EOF"},
		{"redirects", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere, http.StatusTemporaryRedirect)
		}, "fault", "redirect"},
		{"redirects to a GET", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere+"/canary", http.StatusFound)
		}, "fault", "redirect"},
		{"redirects to itself", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/again", http.StatusPermanentRedirect)
		}, "fault", "redirect"},
		{"redirects to a file", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "file:///canary")
			w.WriteHeader(307)
		}, "fault", "redirect"},
		{"redirects nowhere", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(302) }, "fault", "status 302"},
		{"redirects with what it was sent", raw("HTTP/1.1 307 Moved\r\nLocation: :{sent}\r\n\r\n"), "transient", "not proper HTTP"},
		{"sends it back as a status", raw("HTTP/1.1 {sent}\r\n\r\n"), "transient", "not proper HTTP"},
		{"sends it back as HTTP", raw("{sent}\r\n\r\n"), "transient", "not proper HTTP"},
		{"sends it back as a header", raw("HTTP/1.1 200 OK\r\n{sent}\r\n\r\n"), "transient", "not proper HTTP"},
		{"sends it back as a length", raw("HTTP/1.1 200 OK\r\nContent-Length: {sent}\r\n\r\n"), "transient", "not proper HTTP"},
		{"sends it back as an encoding", raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: {sent}\r\n\r\n"), "transient", "not proper HTTP"},
		{"sends it back as an answer", func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }, "fault", "not valid JSON"},
		{"sends it back as an error", func(w http.ResponseWriter, r *http.Request) {
			r.ParseForm()
			json.NewEncoder(w).Encode(map[string]string{"error": r.Form.Get("subject_token"), "error_description": r.Header.Get("Authorization")})
		}, "fault", "not known"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := config(serve(t, test.answer) + "/token")
			if test.text == "deadline exceeded" {
				c.Timeout = time.Second
			}
			found, err := newSource(t, c).Fetch(t.Context(), user(t, mcpauth.IdentityFields{}), "notes")
			wantFailure(t, found, err, test.kind, test.text)
		})
	}
	t.Run("is not there", func(t *testing.T) {
		found, err := newSource(t, config("http://127.0.0.1:1")).Fetch(t.Context(), user(t, mcpauth.IdentityFields{}), "notes")
		wantFailure(t, found, err, "transient", "connection refused")
	})
	t.Run("nobody waits for it", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		endpoint := serve(t, func(_ http.ResponseWriter, r *http.Request) { cancel(); hang(r) })
		found, err := newSource(t, config(endpoint)).Fetch(ctx, user(t, mcpauth.IdentityFields{}), "notes")
		wantFailure(t, found, err, "fault", "canceled")
	})
}

// With a Resolver before it: what the client and the log see of a failure, and when
// it is asked again.
func TestResolver(t *testing.T) {
	var (
		asked  atomic.Int32
		now    sync.Mutex
		answer = says(200, good)
	)
	endpoint := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		now.Lock()
		defer now.Unlock()
		answer(w, r)
	})
	var log strings.Builder
	s, err := exchange.New(config(endpoint))
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := credential.New(credential.Config{Source: s, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	defer resolver.Close()
	for _, test := range []struct {
		user   string
		answer http.HandlerFunc
		times  int32
	}{
		{"alice", says(200, good), 1},
		{"bob", says(400, `{"error":"invalid_request","error_description":"canary"}`), 1},
		{"carol", says(401, `{"error":"invalid_client"}`), 1},
		{"dave", says(502, "canary"), 3},
	} {
		now.Lock()
		answer = test.answer
		now.Unlock()
		asked.Store(0)
		id := user(t, mcpauth.IdentityFields{UserID: test.user, Token: mcpauth.NewSecret(userToken + test.user)})
		found, err := resolver.Resolve(t.Context(), id, "notes")
		if asked.Load() != test.times {
			t.Errorf("%s: asked %d times, want %d", test.user, asked.Load(), test.times)
		}
		if test.user == "alice" {
			if err != nil || found.Token.Reveal() != "new" {
				t.Errorf("%v, %v", found, err)
			}
			continue
		}
		e := mcpauth.AsError(err)
		if found != nil || !errors.Is(err, mcpauth.ErrUnavailable) || strings.Contains(fmt.Sprint(err, e.Cause, log.String()), "canary") {
			t.Errorf("%s: %v, %v, cause %v\n%s", test.user, found, err, e.Cause, &log)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	for header, want := range map[string]time.Duration{"": 0, "7": 7 * time.Second, "-1": 0, "soon": 0, "99999999999999": 0, "4000000": 5 * time.Minute, "Mon, 01 Jan 2001 00:00:00 GMT": 0} {
		endpoint := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", header)
			w.WriteHeader(503)
		})
		s := newSource(t, config(endpoint))
		resolver, err := credential.New(credential.Config{Source: s, Timeout: 5 * time.Second, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		_, err = resolver.Resolve(t.Context(), user(t, mcpauth.IdentityFields{}), "notes")
		resolver.Close()
		if e := mcpauth.AsError(err); e.RetryAfter != want {
			t.Errorf("%q: %s, want %s", header, e.RetryAfter, want)
		}
	}
}

// The server's limit of some users must not become an outage for all.
func TestOnlyALimitOfUsersLeavesTheServerInUse(t *testing.T) {
	for status, want := range map[int]int{429: 0, 503: 1} {
		endpoint := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "10") // later than anybody waits
			w.WriteHeader(status)
		})
		r, err := credential.New(credential.Config{Source: newSource(t, config(endpoint)), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for i := range 5 {
			if c, err := r.Resolve(t.Context(), user(t, mcpauth.IdentityFields{UserID: fmt.Sprint("user-", i)}), "notes"); err == nil {
				t.Errorf("%d: %v", status, c)
			}
		}
		if got := r.Stats().Open; got != want {
			t.Errorf("%d: %d open, want %d", status, got, want)
		}
	}
}
