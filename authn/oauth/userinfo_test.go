package oauth_test

import (
	"encoding/json"
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

// The members of userinfo may be of the user's choice, and other packages decide
// by those of a token whether to forward it and in whose name.
func TestUserinfoSaysNothingOfTheToken(t *testing.T) {
	const forged = `{"sub":"alice","email":"a@example.com","aud":"https://platform.example","AUD":"https://platform.example","azp":"x","client_id":"x","cid":"x",
		"appid":"x","act":{"sub":"boss"},"may_act":{"sub":"boss"},"scope":"admin","scp":["admin"],"exp":99999999999,"iat":1,"nbf":1,"jti":"x","cnf":{},"active":true,"token_type":"x"}`
	end := fmt.Sprint(time.Now().Add(time.Hour).Unix())
	for _, test := range []struct{ name, proof, want string }{
		{"without a proof", "", `{"email":"a@example.com","sub":"alice"}`},
		{"with one", `{"aud":["ours","theirs"],"azp":"client","exp":"0` + end + `","scope":"openid","email":"proof@example.com","jti":"t1"}`,
			`{"aud":["ours","theirs"],"azp":"client","email":"a@example.com","exp":` + end + `,"jti":"t1","scope":"openid","sub":"alice"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t)
			s.userinfo, s.proof = says(200, forged), says(200, test.proof)
			c := s.config()
			if test.proof == "" {
				c.Audience, c.Proof, c.AcceptAnyClient = nil, oauth.Proof{}, true
			}
			id := passes(t, newProvider(t, c), "canary-token")
			got := map[string]json.RawMessage{}
			for _, name := range []string{"sub", "email", "aud", "AUD", "azp", "client_id", "cid", "appid", "act", "may_act", "scope", "scp", "exp", "iat", "nbf", "jti", "cnf", "active", "token_type"} {
				var value json.RawMessage
				if ok, err := id.Claim(name, &value); err != nil {
					t.Error(err)
				} else if ok {
					got[name] = value
				}
			}
			if text, err := json.Marshal(got); err != nil || string(text) != test.want {
				t.Errorf("%s, %v\nwant %s", text, err, test.want)
			}
		})
	}
}

// Anybody can use up their own quota.
func TestAUsersQuotaAtUserinfoIsTheirs(t *testing.T) {
	for _, at := range []string{"/me", "/tokeninfo"} {
		t.Run(at, func(t *testing.T) {
			var asked atomic.Int64 // with mallory's token
			var replenished atomic.Bool
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				token := r.Header.Get("Authorization") + r.PostFormValue("access_token")
				if strings.Contains(token, "mallory") && r.URL.Path == at {
					asked.Add(1)
					if !replenished.Load() {
						w.Header().Set("Retry-After", "3600")
						w.WriteHeader(http.StatusTooManyRequests)
						return
					}
				}
				fmt.Fprint(w, `{"aud":"ours","sub":"alice"}`)
			}))
			defer s.Close()
			var out log
			p := newProvider(t, oauth.Config{Issuer: s.URL, Method: oauth.Userinfo, Endpoint: s.URL + "/me", Audience: []string{"ours"},
				Proof: oauth.Proof{URL: s.URL + "/tokeninfo"}, Logger: out.logger()})
			clock := p.Clocked()
			for i := range 10 {
				for range 2 {
					if e := refused(t, p, fmt.Sprint("mallorys-", i), mcpauth.ErrUnavailable); e.RetryAfter != time.Minute {
						t.Errorf("try again in %v", e.RetryAfter)
					}
				}
			}
			passes(t, p, "alices")
			if asked.Load() != 10 || strings.Contains(out.String(), "mallory") || strings.Contains(out.String(), "does not validate") {
				t.Errorf("asked %d times; the log is %s", asked.Load(), out.String())
			}
			replenished.Store(true)
			clock.Pass(10*time.Second - 1)
			refused(t, p, "mallorys-0", mcpauth.ErrUnavailable)
			clock.Mono++
			passes(t, p, "mallorys-0")
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
