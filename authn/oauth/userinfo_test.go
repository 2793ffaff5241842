package oauth_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/oauth"
)

// site has userinfo and an endpoint like tokeninfo, each answering as a test
// says.
type site struct {
	*httptest.Server
	userinfo, proof http.HandlerFunc
	asked           atomic.Int64
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{userinfo: says(200, `{"sub":"alice","email":"a@example.com","aud":"nothing","exp":"never"}`), proof: says(200, `{"aud":"ours","sub":"alice","scope":"openid email"}`)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		switch {
		case r.URL.Path == "/me" && r.Method == "GET" && r.Header.Get("Authorization") == "Bearer canary-token" && r.URL.RawQuery == "":
			s.userinfo(w, r)
		case r.URL.Path == "/tokeninfo" && r.Method == "POST" && r.PostFormValue("access_token") == "canary-token" && r.Header.Get("Authorization") == "" && r.URL.RawQuery == "":
			s.proof(w, r)
		default:
			t.Errorf("asked %s %s", r.Method, r.URL)
		}
	}))
	t.Cleanup(s.Server.Close)
	return s
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

func (s *site) config() oauth.Config {
	return oauth.Config{
		Issuer: s.URL, Method: oauth.Userinfo, Endpoint: s.URL + "/me", Audience: []string{"ours"}, Proof: oauth.Proof{URL: s.URL + "/tokeninfo"},
		Logger: slog.New(slog.DiscardHandler),
	}
}

func TestSeedEUserinfoSaysWhoTheUserIs(t *testing.T) {
	s := newSite(t)
	p := newProvider(t, s.config())
	id := passes(t, p, "canary-token")
	if id.Issuer() != s.URL || id.UserID() != "alice" || !slices.Equal(id.Scopes(), []string{"openid", "email"}) || string(id.Metadata()["email"]) != `"a@example.com"` {
		t.Errorf("%v, %v, %s", id, id.Scopes(), id.Metadata())
	}
	passes(t, p, "canary-token")
	if s.asked.Load() != 2 {
		t.Errorf("asked %d times", s.asked.Load())
	}
}

func TestSeedEUserinfoWithTheNumbersOfUsers(t *testing.T) {
	s := newSite(t)
	s.userinfo = says(200, `{"login":"octocat","id":583231,"type":"User","name":null}`)
	c := s.config()
	c.Audience, c.Proof, c.AcceptAnyClient, c.UserIDClaim = nil, oauth.Proof{}, true, "id"
	if id := passes(t, newProvider(t, c), "canary-token"); id.UserID() != "583231" || time.Until(id.Expiry()) > 5*time.Minute {
		t.Errorf("%v, until %v", id, id.Expiry())
	}
}

func TestUserinfoProvesNoAudience(t *testing.T) {
	in := func(d time.Duration) string { return fmt.Sprint(time.Now().Add(d).Unix()) }
	for _, test := range []struct {
		name  string
		proof http.HandlerFunc
		user  http.HandlerFunc // nil for a good one
		code  mcpauth.Code
	}{
		{name: "the audience", proof: says(200, `{"aud":"ours"}`)},
		{name: "dates as strings, as Google writes them", proof: says(200, `{"aud":"ours","exp":"`+in(time.Minute)+`","expires_in":"60"}`)},
		{name: "an allowed party", proof: says(200, `{"aud":"x","azp":"client"}`)},
		{name: "an allowed client", proof: says(200, `{"client_id":"client"}`)},
		{name: "another audience", proof: says(200, `{"aud":"theirs"}`), code: mcpauth.ErrWrongAudience},
		{name: "another client, though the party is allowed", proof: says(200, `{"client_id":"x","azp":"client"}`), code: mcpauth.ErrWrongAudience},
		{name: "none", proof: says(200, `{}`), code: mcpauth.ErrWrongAudience},
		{name: "past its end", proof: says(200, `{"aud":"ours","exp":"`+in(-time.Minute)+`"}`), code: mcpauth.ErrExpired},
		{name: "a date that is none", proof: says(200, `{"aud":"ours","exp":"soon"}`), code: mcpauth.ErrUnavailable},
		{name: "a date beyond the year 9999", proof: says(200, `{"aud":"ours","exp":"1000000000000000000"}`), code: mcpauth.ErrUnavailable},
		{name: "another user", proof: says(200, `{"aud":"ours","sub":"bob"}`), code: mcpauth.ErrUnavailable},
		{name: "another issuer", proof: says(200, `{"aud":"ours","iss":"https://other.example"}`), code: mcpauth.ErrWrongIssuer},
		{name: "a token that the proof does not know", proof: says(400, `{"error":"invalid_token","error_description":"Invalid Value"}`), code: mcpauth.ErrInactive},
		{name: "a request that it does not know", proof: says(400, `{"error":"invalid_request"}`), code: mcpauth.ErrUnavailable},
		{name: "the proof fails", proof: says(500, `{"aud":"ours"}`), code: mcpauth.ErrUnavailable},
		{name: "the proof is HTML", proof: says(200, `<html>`), code: mcpauth.ErrUnavailable},
		{name: "a token that userinfo does not know", proof: says(200, `{"aud":"ours"}`), user: says(401, ``), code: mcpauth.ErrInactive},
		{name: "a token without the scope", proof: says(200, `{"aud":"ours"}`), user: says(403, `{"error":"insufficient_scope"}`), code: mcpauth.ErrInactive},
		{name: "a limit of requests", proof: says(200, `{"aud":"ours"}`), user: says(403, `{"message":"API rate limit exceeded"}`), code: mcpauth.ErrUnavailable},
		{name: "no user", proof: says(200, `{"aud":"ours"}`), user: says(200, `{}`), code: mcpauth.ErrMissingClaim},
		{name: "userinfo as a JWT", proof: says(200, `{"aud":"ours"}`), user: says(200, `eyJ.eyJ.`), code: mcpauth.ErrUnavailable},
		{name: "userinfo of another issuer", proof: says(200, `{"aud":"ours"}`), user: says(200, `{"sub":"alice","iss":"https://other.example"}`), code: mcpauth.ErrWrongIssuer},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t)
			s.proof = test.proof
			if test.user != nil {
				s.userinfo = test.user
			}
			c := s.config()
			c.AllowedClients = []string{"client"}
			p := newProvider(t, c)
			if test.code == "" {
				passes(t, p, "canary-token")
				return
			}
			if e := refused(t, p, "canary-token", test.code); strings.Contains(e.Error()+fmt.Sprint(e.Cause), "canary") {
				t.Errorf("it says %v, %v", e, e.Cause)
			}
		})
	}
}

func TestAcceptAnyClientIsLoud(t *testing.T) {
	s := newSite(t)
	var out log
	c := s.config()
	c.Audience, c.Proof, c.AcceptAnyClient, c.Logger = nil, oauth.Proof{}, true, out.logger()
	passes(t, newProvider(t, c), "canary-token")
	if text := out.String(); !strings.Contains(text, "level=WARN") || !strings.Contains(text, "every client and audience") {
		t.Errorf("the log is %q", text)
	}
}
