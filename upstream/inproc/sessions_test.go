package inproc_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/limit"
)

// plain is an answer as one text, without what differs from request to request.
func plain(a gatewaytest.Answer) string {
	a.Header.Del("Date")
	a.Header.Del("X-Request-Id")
	return fmt.Sprintf("%d\n%v\n%s", a.Status, a.Header, a.Body)
}

func TestSessionsAnswerToTheirUserOnly(t *testing.T) {
	ours, theirs := gatewaytest.NewIssuer(t, "https://issuer.example"), gatewaytest.NewIssuer(t, "https://other.example")
	factory := &gatewaytest.Factory{}
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make}, ours, theirs)
	alice, bob, other := s.Token(t, "alice"), s.Token(t, "bob"), s.TokenOf(t, theirs, "alice")
	session := s.Open(t, alice, gatewaytest.Legacy)
	s.Open(t, bob, gatewaytest.Legacy)
	s.Open(t, other, gatewaytest.Legacy)

	const notFound = `{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}` + "\n"
	resume := map[string][]string{"Last-Event-ID": {"0_0"}}
	for _, test := range []struct {
		name    string
		request gatewaytest.Request
	}{
		{"POST", gatewaytest.Request{Body: gatewaytest.CallTool(1, "whoami", "{}")}},
		{"POST initialize", gatewaytest.Request{Body: gatewaytest.Initialize(gatewaytest.Legacy)}},
		{"POST notification", gatewaytest.Request{Body: `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`}},
		{"POST response", gatewaytest.Request{Body: `{"jsonrpc":"2.0","id":1,"result":{}}`}},
		{"POST batch", gatewaytest.Request{Body: "[" + gatewaytest.CallTool(1, "whoami", "{}") + "]"}},
		{"POST without version", gatewaytest.Request{Body: gatewaytest.CallTool(1, "whoami", "{}"), Header: map[string][]string{"Mcp-Protocol-Version": nil}}},
		{"GET", gatewaytest.Request{Method: "GET"}},
		{"GET to resume a stream", gatewaytest.Request{Method: "GET", Header: resume}},
		{"DELETE", gatewaytest.Request{Method: "DELETE"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ask := func(token, session string) gatewaytest.Answer {
				r := test.request
				r.Token, r.Session, r.Version = token, session, gatewaytest.Legacy
				return s.Do(t, r)
			}
			unknown := ask(bob, strings.Repeat("A", len(session)))
			if unknown.Status != http.StatusNotFound || unknown.Body != notFound {
				t.Errorf("unknown session: %d %s", unknown.Status, unknown.Body)
			}
			for who, token := range map[string]string{"another user": bob, "the same user id of another issuer": other} {
				if foreign := ask(token, session); plain(foreign) != plain(unknown) {
					t.Errorf("%s is answered differently than for an unknown session:\n%s\n%s", who, plain(foreign), plain(unknown))
				}
			}
		})
	}
	if who := s.Do(t, gatewaytest.Request{Token: alice, Session: session, Version: gatewaytest.Legacy, Body: gatewaytest.CallTool(1, "whoami", "{}")}); !strings.Contains(who.Text(), `"alice"`) {
		t.Errorf("alice in her session, after all that: %d %s", who.Status, who.Body)
	}
}

func TestSessionGoesOnWithARefreshedToken(t *testing.T) {
	factory := &gatewaytest.Factory{}
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make})
	client := s.Connect(t, s.Token(t, "alice"), gatewaytest.Legacy)
	before := client.ID()
	client.SetToken(s.Token(t, "alice"))
	client.Call(t, "whoami", nil)
	if client.ID() != before || len(factory.Made()) != 1 {
		t.Errorf("session %q became %q; servers made for %v", before, client.ID(), factory.Made())
	}
}

func TestSessionIsGoneAfterDelete(t *testing.T) {
	factory := &gatewaytest.Factory{}
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make, MaxSessionsPerUser: 1, UserRate: limit.Off})
	alice := s.Token(t, "alice")
	const times = 100 // what follows DELETE at once must not come before its effect
	for range times {
		session := s.Open(t, alice, gatewaytest.Legacy)
		in := func(method, body string) gatewaytest.Answer {
			return s.Do(t, gatewaytest.Request{Method: method, Token: alice, Session: session, Version: gatewaytest.Legacy, Body: body})
		}
		if got := in("DELETE", ""); got.Status != http.StatusNoContent {
			t.Fatalf("DELETE: %d %s", got.Status, got.Body)
		}
		if stats := s.Stats(); stats.Sessions != 0 {
			t.Errorf("stats = %+v", stats)
		}
		for method, body := range map[string]string{"POST": gatewaytest.CallTool(1, "whoami", "{}"), "GET": "", "DELETE": ""} {
			if got := in(method, body); got.Status != http.StatusNotFound {
				t.Fatalf("%s after DELETE: %d %s", method, got.Status, got.Body)
			}
		}
	}
	gatewaytest.Eventually(t, "the instances are closed", func() bool { return len(factory.Closed()) == times })
}
