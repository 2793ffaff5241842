package inproc_test

import (
	"net/http/httptrace"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
)

func TestBothErasOnOneURL(t *testing.T) {
	factory := &gatewaytest.Factory{}
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make})
	for _, version := range []string{"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"} {
		t.Run(version, func(t *testing.T) {
			client := s.Connect(t, s.Token(t, "alice"), version)
			if who := client.WhoAmI(t); who.Owner != "alice" || who.Caller != "alice" {
				t.Errorf("whoami = %+v", who)
			}
			if inSession := client.ID() != ""; inSession != (version < gatewaytest.Modern) {
				t.Errorf("session id %q under %s", client.ID(), version)
			}
		})
	}
}

// What the oldest clients send: no version header, and messages in batches.
func TestOldestVersionsByHand(t *testing.T) {
	factory := &gatewaytest.Factory{}
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make})
	token := s.Token(t, "alice")
	for _, version := range []string{"2024-11-05", "2025-03-26"} {
		t.Run(version, func(t *testing.T) {
			opened := s.Do(t, gatewaytest.Request{Token: token, Body: gatewaytest.Initialize(version)})
			session := opened.Header.Get("Mcp-Session-Id")
			if opened.Status != 200 || session == "" || !strings.Contains(opened.Body, `"protocolVersion":"`+version+`"`) {
				t.Fatalf("initialize: %d %s", opened.Status, opened.Body)
			}
			s.Do(t, gatewaytest.Request{Token: token, Session: session, Body: `{"jsonrpc":"2.0","method":"notifications/initialized"}`})
			batch := "[" + gatewaytest.CallTool(7, "whoami", `{"echo":"seven"}`) + "," + gatewaytest.CallTool(8, "whoami", `{"echo":"eight"}`) + "]"
			got := s.Do(t, gatewaytest.Request{Token: token, Session: session, Body: batch})
			if got.Status != 200 || !strings.Contains(got.Body, `"id":7`) || !strings.Contains(got.Body, "seven") || !strings.Contains(got.Body, `"id":8`) || !strings.Contains(got.Body, "eight") {
				t.Errorf("batch: %d %s", got.Status, got.Body)
			}
		})
	}
	if made := factory.Made(); !reflect.DeepEqual(made, []string{"alice", "alice"}) {
		t.Errorf("servers made for %v", made)
	}
}

// The rule that decides which era a request belongs to, seen from outside.
func TestEraOfARequest(t *testing.T) {
	factory := &gatewaytest.Factory{}
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make})
	token := s.Token(t, "alice")
	session := s.Open(t, token, gatewaytest.Legacy)
	const (
		legacy, modern = gatewaytest.Legacy, gatewaytest.Modern
		whoami         = `{"name":"whoami","arguments":{}}`
	)
	call := gatewaytest.Message(3, "tools/call", whoami)
	modernCall := gatewaytest.Message(3, "tools/call", gatewaytest.ModernParams(modern, whoami))
	discover := gatewaytest.Message(3, "server/discover", gatewaytest.ModernParams(modern, "{}"))
	ping := gatewaytest.Message(3, "ping", "")
	type headers = map[string][]string
	named := headers{"Mcp-Method": {"tools/call"}, "Mcp-Name": {"whoami"}}
	for _, test := range []struct {
		name    string
		request gatewaytest.Request
		status  int
		answer  string
	}{
		{"modern: header and _meta", gatewaytest.Request{Version: modern, Body: modernCall, Header: named}, 200, `"owner\":\"alice\"`},
		{"modern: with a session id, which means nothing", gatewaytest.Request{Version: modern, Session: "made-up", Body: modernCall, Header: named}, 200, `"owner\":\"alice\"`},
		{"modern: discover", gatewaytest.Request{Version: modern, Body: discover, Header: headers{"Mcp-Method": {"server/discover"}}}, 200, `"supportedVersions":["2026-07-28"`},
		{"modern: GET", gatewaytest.Request{Method: "GET", Version: modern}, 405, "Method Not Allowed"},
		{"modern: DELETE", gatewaytest.Request{Method: "DELETE", Version: modern}, 405, "Method Not Allowed"},
		{"modern: header without _meta", gatewaytest.Request{Version: modern, Body: call, Header: named}, 400, "missing or invalid _meta field"},
		{"modern: header and _meta differ", gatewaytest.Request{Version: modern, Body: strings.ReplaceAll(modernCall, modern, "2027-01-01"), Header: named}, 400, "does not match"},
		{"modern: a version to come", gatewaytest.Request{Version: "2027-01-01", Body: strings.ReplaceAll(modernCall, modern, "2027-01-01"), Header: named}, 400, `"supported":["2026-07-28"`},
		{"modern: _meta without header", gatewaytest.Request{Body: modernCall}, 400, "Mcp-Protocol-Version header is required"},
		{"modern: a version that is text", gatewaytest.Request{Version: "garbage", Body: modernCall, Header: named}, 400, "does not match"},
		{"modern: initialize under a version without it", gatewaytest.Request{Version: modern, Body: gatewaytest.Initialize(modern)}, 400, ""},
		{"modern: _meta beside a legacy header", gatewaytest.Request{Version: legacy, Body: modernCall}, 400, "does not match"},
		{"neither header nor session nor initialize: answered without a session", gatewaytest.Request{Body: call}, 200, `"owner\":\"alice\"`},
		{"likewise ping", gatewaytest.Request{Body: ping}, 200, `"result":{}`},
		{"legacy: in a session", gatewaytest.Request{Version: legacy, Session: session, Body: call}, 200, `"owner\":\"alice\"`},
		{"legacy: in a session, without header", gatewaytest.Request{Session: session, Body: call}, 200, `"owner\":\"alice\"`},
		{"legacy: a version that never was", gatewaytest.Request{Version: "1999-01-01", Session: session, Body: call}, 400, "Unsupported protocol version"},
		{"legacy: _meta in a session", gatewaytest.Request{Session: session, Body: modernCall}, 400, "sessions are for protocol versions before"},
		{"legacy: no session and not initialize", gatewaytest.Request{Version: legacy, Body: call}, 400, "the Mcp-Session-Id header is required"},
		{"legacy: a version that never was, without session", gatewaytest.Request{Version: "1999-01-01", Body: call}, 400, "Unsupported protocol version"},
		{"legacy: GET without session", gatewaytest.Request{Method: "GET", Version: legacy}, 400, "the Mcp-Session-Id header is required"},
		{"legacy: GET without session and header", gatewaytest.Request{Method: "GET"}, 400, "the Mcp-Session-Id header is required"},
		{"legacy: DELETE without session", gatewaytest.Request{Method: "DELETE"}, 400, "the Mcp-Session-Id header is required"},
		{"legacy: unknown session", gatewaytest.Request{Session: "made-up", Body: call}, 404, "Session not found"},
		{"legacy: another method", gatewaytest.Request{Method: "PUT", Session: session}, 405, "Method Not Allowed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.request.Token = token
			got := s.Do(t, test.request)
			if got.Status != test.status || !strings.Contains(got.Body, test.answer) {
				t.Errorf("answer = %d %s; want %d with %q", got.Status, got.Body, test.status, test.answer)
			}
		})
	}
	if made := factory.Made(); !reflect.DeepEqual(made, []string{"alice", "alice"}) {
		t.Errorf("servers made for %v; want alice's session's and alice's own", made)
	}
}

func TestOneServerASession(t *testing.T) {
	factory := &gatewaytest.Factory{}
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make})
	for range 2 {
		client := s.Connect(t, s.Token(t, "alice"), gatewaytest.Legacy)
		client.Call(t, "whoami", nil)
		client.Call(t, "whoami", nil)
	}
	if made := factory.Made(); !reflect.DeepEqual(made, []string{"alice", "alice"}) {
		t.Errorf("servers made for %v", made)
	}
	if stats := s.Stats(); stats.Sessions != 2 || stats.Alive.PerUser != 0 {
		t.Errorf("stats = %+v", stats)
	}
}

func TestOneServerAUserWithoutSessions(t *testing.T) {
	factory := &gatewaytest.Factory{}
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make})
	for range 2 {
		client := s.Connect(t, s.Token(t, "alice"), gatewaytest.Modern)
		client.Call(t, "whoami", nil)
	}
	s.Connect(t, s.Token(t, "bob"), gatewaytest.Modern).Call(t, "whoami", nil)
	if made := factory.Made(); !reflect.DeepEqual(made, []string{"alice", "bob"}) {
		t.Errorf("servers made for %v", made)
	}
	if stats := s.Stats(); stats.Sessions != 0 || stats.Alive.PerUser != 2 {
		t.Errorf("stats = %+v", stats)
	}
}

func TestManyFirstRequestsMakeOneServer(t *testing.T) {
	const n = 20
	var sent sync.WaitGroup
	sent.Add(n)
	factory := &gatewaytest.Factory{Setup: func(*mcp.Server, gateway.Call) { sent.Wait() }}
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make})
	token := s.Token(t, "alice")
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { sent.Done() }})
	var answered sync.WaitGroup
	for i := range n {
		answered.Go(func() {
			got, err := s.Try(ctx, gatewaytest.ModernCall(token, i, "whoami", "{}"))
			if err != nil || got.Status != 200 {
				t.Errorf("answer = %d %s, %v", got.Status, got.Body, err)
			}
		})
	}
	answered.Wait()
	if made := factory.Made(); !reflect.DeepEqual(made, []string{"alice"}) {
		t.Errorf("servers made for %v", made)
	}
}

func TestNoServerForWhatCannotBeServed(t *testing.T) {
	factory := &gatewaytest.Factory{}
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make, RequiredScopes: []string{"notes"}})
	token := s.Token(t, "alice", map[string]any{"scope": "notes"})
	initialize := gatewaytest.Initialize(gatewaytest.Legacy)
	for _, test := range []struct {
		name    string
		request gatewaytest.Request
		status  int
	}{
		{"no token", gatewaytest.Request{Body: initialize}, 401},
		{"a bad token", gatewaytest.Request{Token: token[:len(token)-44] + strings.Repeat("A", 44), Body: initialize}, 401},
		{"an expired token", gatewaytest.Request{Token: s.Token(t, "alice", map[string]any{"exp": 1}), Body: initialize}, 401},
		{"a scope too few", gatewaytest.Request{Token: s.Token(t, "alice"), Body: initialize}, 403},
		{"malformed", gatewaytest.Request{Token: token, Body: initialize + "}"}, 400},
		{"empty", gatewaytest.Request{Token: token}, 400},
		{"a name twice", gatewaytest.Request{Token: token, Body: `{"method":"initialize","method":"initialize"}`}, 400},
		{"wrong content type", gatewaytest.Request{Token: token, Body: initialize, Header: map[string][]string{"Content-Type": {"text/plain"}}}, 415},
		{"unknown session", gatewaytest.Request{Token: token, Session: "made-up", Body: gatewaytest.CallTool(1, "whoami", "{}")}, 404},
		{"no session", gatewaytest.Request{Token: token, Version: gatewaytest.Legacy, Body: gatewaytest.CallTool(1, "whoami", "{}")}, 400},
		{"another origin", gatewaytest.Request{Token: token, Body: initialize, Header: map[string][]string{"Origin": {"https://evil.example"}}}, 403},
		{"GET without sessions", gatewaytest.Request{Method: "GET", Token: token, Version: gatewaytest.Modern}, 405},
		{"DELETE without sessions", gatewaytest.Request{Method: "DELETE", Token: token, Version: gatewaytest.Modern}, 405},
		{"health", gatewaytest.Request{Method: "GET", Path: "/mcp/health"}, 200},
		{"metadata", gatewaytest.Request{Method: "GET", Path: "/.well-known/oauth-protected-resource/mcp"}, 200},
	} {
		if got := s.Do(t, test.request); got.Status != test.status {
			t.Errorf("%s: %d %s, want %d", test.name, got.Status, got.Body, test.status)
		}
		if made := factory.Made(); len(made) > 0 {
			t.Fatalf("%s: a server was made", test.name)
		}
	}
}
