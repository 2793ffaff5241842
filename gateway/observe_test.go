package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/limit"
)

// records are lines of JSON.
func records(t *testing.T, text string) (all []map[string]any) {
	t.Helper()
	for line := range strings.Lines(text) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, record)
	}
	return all
}

// of returns those records that are of the request with that id.
func of(all []map[string]any, id string) []map[string]any {
	return slices.DeleteFunc(all, func(r map[string]any) bool { return r["request_id"] != id })
}

// watched is a gateway whose log and audit log are kept.
type watched struct {
	*gatewaytest.Server
	log, audit *gatewaytest.Log
}

func watch(t *testing.T, c gateway.Config) *watched {
	t.Helper()
	w := &watched{log: &gatewaytest.Log{}, audit: &gatewaytest.Log{}}
	c.Audit = w.audit
	c.Logger = slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w.Server = gatewaytest.Start(t, c)
	return w
}

// line returns the one audit line of a request, which the log has too.
func (w *watched) line(t *testing.T, id string) map[string]any {
	t.Helper()
	if id == "" {
		t.Fatal("the answer has no X-Request-Id")
	}
	gatewaytest.Eventually(t, "the request is written down", func() bool {
		return strings.Contains(w.audit.String(), id) && strings.Contains(w.log.String(), id)
	})
	audited, logged := of(records(t, w.audit.String()), id), of(records(t, w.log.String()), id)
	logged = slices.DeleteFunc(logged, func(line map[string]any) bool { return line["msg"] != "request" }) // what goes before
	if len(audited) != 1 || len(logged) != 1 {
		t.Fatalf("%d lines in the audit log, %d in the log", len(audited), len(logged))
	}
	for _, key := range []string{"outcome", "code", "reason", "user", "issuer", "method", "name", "status", "remote", "http_method"} {
		if audited[0][key] != logged[0][key] {
			t.Errorf("%s is %v in the audit log, %v in the log", key, audited[0][key], logged[0][key])
		}
	}
	if _, ok := audited[0]["duration_ms"].(float64); !ok || logged[0]["duration"] == nil || logged[0]["msg"] != "request" {
		t.Errorf("no duration in %v or %v", audited[0], logged[0])
	}
	return audited[0]
}

// troubled makes servers with tools that go wrong, and none at all for "broken".
func troubled() gateway.Factory {
	n := newNoted()
	setup := n.Setup
	n.Setup = func(server *mcp.Server, call gateway.Call) {
		setup(server, call)
		gatewaytest.AddTool(server, "fail", func(context.Context, *mcp.CallToolRequest) (string, error) { return "", errors.New("no") })
		gatewaytest.AddTool(server, "panic", func(context.Context, *mcp.CallToolRequest) (string, error) { panic("oh no") })
		gatewaytest.AddTool(server, "rare", func(context.Context, *mcp.CallToolRequest) (string, error) { return "", nil })
	}
	return func(ctx context.Context, call gateway.Call) (gateway.Instance, error) {
		if call.Identity.UserID() == "broken" {
			return gateway.Instance{}, errors.New("disk full")
		}
		return n.Make(ctx, call)
	}
}

func TestEveryDecisionIsWrittenDown(t *testing.T) {
	w := watch(t, gateway.Config{
		Factory: troubled(), RequiredScopes: []string{"mcp"}, Rules: notedRules, MaxBodyBytes: 10_000,
		ToolRates: map[string]limit.Rate{"rare": perHour(1)}, MaxSessionsPerUser: 1, MaxStreamsPerUser: 1,
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
	})
	alice, bob, broken := w.Token(t, "alice", scope("mcp")), w.Token(t, "bob", scope("mcp")), w.Token(t, "broken", scope("mcp"))
	foreign := w.Open(t, bob, gatewaytest.Legacy)
	const legacy = "2025-03-26"
	carol := w.Token(t, "carol", scope("mcp"))
	stream(t, w.Server, gatewaytest.Request{Method: "GET", Token: carol, Session: w.Open(t, carol, legacy), Version: legacy}, ": ok") // in use
	session := w.Open(t, alice, legacy)
	if got := w.Do(t, gatewaytest.ModernCall(alice, 7, "rare", "{}")); got.Status != http.StatusOK {
		t.Fatalf("the first call of rare: %d %s", got.Status, got.Body)
	}
	in := func(session, body string) gatewaytest.Request {
		return gatewaytest.Request{Token: alice, Session: session, Version: legacy, Body: body}
	}
	stranger := w.Token(t, "alice", map[string]any{"aud": "https://other.example/mcp"})
	tokens := []string{alice, bob, carol, broken, stranger}
	call := gatewaytest.CallTool(7, "whoami", "{}")
	const ok, failed, refused = "ok", "failed", "refused"
	for _, test := range []struct {
		name                    string
		request                 gatewaytest.Request
		status                  float64
		outcome, code           string
		user, method, operation string
		reason                  string // a part
	}{
		{"a call", gatewaytest.ModernCall(alice, 7, "whoami", "{}"), 200, ok, "", "alice", "tools/call", "whoami", ""},
		{"a call in a session", in(session, call), 200, ok, "", "alice", "tools/call", "whoami", ""},
		{"a prompt", in(session, gatewaytest.Message(7, "prompts/get", `{"name":"hello"}`)), 200, ok, "", "alice", "prompts/get", "hello", ""},
		{"a resource", in(session, gatewaytest.Message(7, "resources/read", `{"uri":"notes://public"}`)), 200, ok, "", "alice", "resources/read", "notes://public", ""},
		{"a list", in(session, gatewaytest.Message(7, "tools/list", "")), 200, ok, "", "alice", "tools/list", "", ""},
		{"a notification", in(session, `{"jsonrpc":"2.0","method":"notifications/initialized"}`), 202, ok, "", "alice", "notifications/initialized", "", ""},
		{"a batch of calls", in(session, "["+gatewaytest.CallTool(7, "whoami", "{}")+","+gatewaytest.CallTool(8, "fail", "{}")+"]"), 200, failed, "", "alice", "tools/call", "whoami, fail", ""},
		{"a batch of all sorts", in(session, "["+gatewaytest.Message(7, "ping", "")+","+gatewaytest.CallTool(8, "whoami", "{}")+"]"), 200, ok, "", "alice", "batch", "whoami", ""},
		{"a tool that fails", gatewaytest.ModernCall(alice, 7, "fail", "{}"), 200, failed, "", "alice", "tools/call", "fail", ""},
		{"a tool that fails, in a session", in(session, gatewaytest.CallTool(7, "fail", "{}")), 200, failed, "", "alice", "tools/call", "fail", ""},
		{"a tool that panics", in(session, gatewaytest.CallTool(7, "panic", "{}")), 200, failed, "", "alice", "tools/call", "panic", ""},
		{"a tool that is not there", in(session, gatewaytest.CallTool(7, "nothing", "{}")), 200, failed, "", "alice", "tools/call", "nothing", ""},

		{"no token", gatewaytest.ModernCall("", 7, "whoami", "{}"), 401, refused, "missing_credential", "", "", "", "No authorization header provided"},
		{"a bad token", gatewaytest.ModernCall("hello", 7, "whoami", "{}"), 401, refused, "malformed_token", "", "", "", "segment"},
		{"a forged token", gatewaytest.ModernCall(alice[:len(alice)-44]+strings.Repeat("A", 44), 7, "whoami", "{}"), 401, refused, "bad_signature", "", "", "", ""},
		{"a token for another server", gatewaytest.ModernCall(stranger, 7, "whoami", "{}"), 401, refused, "wrong_audience", "", "", "", "https://other.example/mcp"},
		{"two tokens", gatewaytest.Request{Header: headers{"Authorization": {"Bearer " + alice, "Bearer " + bob}}, Body: call}, 400, refused, "malformed_header", "", "", "", ""},
		{"another origin", gatewaytest.Request{Token: alice, Body: call, Header: headers{"Origin": {"https://evil.example"}}}, 403, refused, "forbidden_origin", "", "", "", "https://evil.example"},
		{"another host", gatewaytest.Request{Token: alice, Body: call, Header: headers{"Host": {"evil.example"}}}, 403, refused, "forbidden_host", "", "", "", "evil.example"},
		{"a scope too few", gatewaytest.ModernCall(alice, 7, "save", "{}"), 403, refused, "insufficient_scope", "alice", "tools/call", "save", `lacks "notes:write", which tool "save" by Rules[0] needs`},
		{"what is denied to all", gatewaytest.ModernCall(alice, 7, "drop", "{}"), 200, refused, "forbidden", "alice", "tools/call", "drop", "which Rules[1] denies to everybody"},
		{"too often", gatewaytest.ModernCall(alice, 7, "rare", "{}"), 429, refused, "rate_limited", "alice", "tools/call", "rare", "Too many requests"},
		{"too many sessions", gatewaytest.Request{Token: carol, Body: gatewaytest.Initialize(legacy)}, 503, refused, "unavailable", "carol", "initialize", "", "Too many sessions of this user. Please close some, or try again later."},
		{"an unknown session", in("nothing", call), 404, refused, "unknown_session", "alice", "tools/call", "whoami", "no such session"},
		{"another user's session", in(foreign, call), 404, refused, "unknown_session", "alice", "tools/call", "whoami", "another user's"},
		{"another user's session, to end it", gatewaytest.Request{Method: "DELETE", Token: alice, Session: foreign, Version: legacy}, 404, refused, "unknown_session", "alice", "", "", "another user's"},
		{"a server that cannot be made", gatewaytest.ModernCall(broken, 7, "whoami", "{}"), 503, refused, "unavailable", "broken", "tools/call", "whoami", "disk full"},

		// These say what is wrong in JSON-RPC, and are no decisions about the user.
		{"a body that is too large", in(session, strings.Repeat(" ", 10_001)), 413, failed, "", "alice", "", "", ""},
		{"a body of another type", gatewaytest.Request{Token: alice, Body: call, Header: headers{"Content-Type": {"text/plain"}}}, 415, failed, "", "alice", "", "", ""},
		{"a malformed body", in(session, "{"), 400, failed, "", "alice", "", "", ""},
		{"a header that says otherwise", gatewaytest.Request{Token: alice, Body: call, Header: headers{"Mcp-Name": {"other"}}}, 400, failed, "", "alice", "tools/call", "whoami", ""},
		{"an answer that is not wanted", gatewaytest.Request{Token: alice, Body: call, Header: headers{"Accept": {"text/plain"}}}, 406, failed, "", "alice", "tools/call", "whoami", ""},
		{"another HTTP method", gatewaytest.Request{Method: "PUT", Token: alice}, 405, failed, "", "alice", "", "", ""},

		// Nor is a token found where the client has put it.
		{"a token in the URL", gatewaytest.Request{Path: "/mcp?access_token=" + alice, Body: call}, 401, refused, "missing_credential", "", "", "", ""},
		{"a token for a session", in(alice, call), 404, refused, "unknown_session", "alice", "tools/call", "whoami", ""},
		{"a token for an origin", gatewaytest.Request{Token: alice, Body: call, Header: headers{"Origin": {"https://" + alice}}}, 403, refused, "forbidden_origin", "", "", "", "[redacted]"},
		{"a token for a host", gatewaytest.Request{Token: alice, Body: call, Header: headers{"Host": {alice}}}, 403, refused, "forbidden_host", "", "", "", "[redacted]"},
		{"a token for a tool", gatewaytest.ModernCall(alice, 7, alice, "{}"), 400, failed, "", "alice", "tools/call", "[redacted]", ""},
		{"a token for a method", in(session, gatewaytest.Message(7, alice, "")), 200, failed, "", "alice", "[redacted]", "", ""},
		{"a token for a URI", in(session, gatewaytest.Message(7, "resources/read", `{"uri":"notes://secret?t=`+alice+`"}`)), 403, refused, "insufficient_scope", "alice", "resources/read", "notes://secret?t=[redacted]", ""},
		{"a token for a version", gatewaytest.Request{Token: alice, Session: session, Version: alice, Body: call}, 400, failed, "", "alice", "tools/call", "whoami", ""},
		{"a token for a proxy's words", gatewaytest.Request{Body: call, Header: headers{"X-Request-Id": {alice[:60]}, "X-Forwarded-For": {alice}, "Traceparent": {alice}}}, 401, refused, "missing_credential", "", "", "", ""},
		{"a token for a type", gatewaytest.Request{Token: alice, Body: call, Header: headers{"Content-Type": {alice}}}, 415, failed, "", "alice", "", "", ""},
		{"a token for a scheme", gatewaytest.Request{Body: call, Header: headers{"Authorization": {alice}}}, 400, refused, "malformed_header", "", "", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := w.Do(t, test.request)
			line := w.line(t, got.Header.Get("X-Request-Id"))
			want := map[string]any{"decision": "allowed", "outcome": test.outcome, "status": test.status, "remote": "127.0.0.1"}
			if test.outcome == refused {
				want["decision"] = refused
			}
			for key, value := range map[string]string{"code": test.code, "user": test.user, "method": test.method, "name": test.operation} {
				if value != "" {
					want[key] = value
				}
			}
			if test.user != "" {
				want["issuer"] = "https://issuer.example"
			}
			for _, key := range []string{"decision", "outcome", "status", "remote", "code", "user", "issuer", "method", "name"} {
				if line[key] != want[key] {
					t.Errorf("%s is %v, want %v: %v\n%d %s", key, line[key], want[key], line, got.Status, got.Body)
				}
			}
			if reason, _ := line["reason"].(string); !strings.Contains(reason, test.reason) || test.outcome == refused && reason == "" || test.outcome == ok && reason != "" {
				t.Errorf("reason = %q, want %q", reason, test.reason)
			}
		})
	}

	if err := w.Stop(); err != nil {
		t.Error(err)
	}
	written := w.log.String() + w.audit.String()
	for _, token := range tokens {
		header, payload, _ := strings.Cut(token, ".")
		payload, signature, _ := strings.Cut(payload, ".")
		for what, part := range map[string]string{"header": header, "payload": payload[:20], "signature": signature[:20]} {
			if i := strings.Index(written, part); i >= 0 {
				t.Errorf("the %s of a token has been written down: %.300s", what, written[max(0, i-150):])
			}
		}
	}
}

// An opaque token cannot be told by its form, only by being the request's.
func TestOpaqueTokensAreNotWrittenDown(t *testing.T) {
	const token = "opaque-canary-0123456789"
	w := watch(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make, Provider: opaque{}})
	for name, request := range map[string]gatewaytest.Request{
		"as it should be": gatewaytest.ModernCall(token, 7, "whoami", "{}"),
		"for a tool":      gatewaytest.ModernCall(token, 7, token, "{}"),
		"for a method":    {Token: token, Body: gatewaytest.Message(7, token, "")},
		"for a version":   {Token: token, Version: "0" + token, Body: gatewaytest.Message(7, "ping", "")},
		"for a URI":       {Token: token, Body: gatewaytest.Message(7, "resources/read", `{"uri":"`+token+`://x"}`)},
		"for a session":   {Token: token, Session: token, Version: gatewaytest.Legacy, Body: gatewaytest.Message(7, "ping", "")},
		"in the URL":      {Token: token, Path: "/mcp?t=" + token, Body: gatewaytest.Message(7, "ping", "")},
	} {
		got := w.Do(t, request)
		w.line(t, got.Header.Get("X-Request-Id"))
		if strings.Contains(w.log.String()+w.audit.String(), token) {
			t.Fatalf("%s: %s %s", name, w.log, w.audit)
		}
	}
}

type opaque struct{}

func (opaque) Authenticate(_ context.Context, r *mcpauth.Request) (*mcpauth.Identity, error) {
	token, err := mcpauth.BearerToken(r.Header)
	if err != nil {
		return nil, err
	}
	return mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: "opaque", UserID: "alice", Token: mcpauth.NewSecret(token)})
}

func TestUsersAreNamedAsConfigured(t *testing.T) {
	for name, test := range map[string]struct {
		form  gateway.UserForm
		key   string
		named bool
	}{
		"plain":   {gateway.UserPlain, "", true},
		"hashed":  {gateway.UserHashed, strings.Repeat("k", 32), false},
		"omitted": {gateway.UserOmitted, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := watch(t, gateway.Config{Factory: troubled(), LogUsers: test.form, LogKey: mcpauth.NewSecret(test.key), Rules: notedRules})
			user := "alice-the-canary"
			session := w.Open(t, w.Token(t, user), gatewaytest.Legacy)
			var names []any
			for _, user := range []string{user, "somebody else", user} {
				token := w.Token(t, user)
				for _, request := range []gatewaytest.Request{
					gatewaytest.ModernCall(token, 7, "whoami", "{}"),
					gatewaytest.ModernCall(token, 7, "save", "{}"),
					{Token: token, Body: gatewaytest.Message(7, "resources/read", `{"uri":"notes://alice-the-canary/1"}`)},
					{Token: token, Session: session, Version: gatewaytest.Legacy, Body: gatewaytest.Message(7, "ping", "")},
				} {
					got := w.Do(t, request)
					names = append(names, w.line(t, got.Header.Get("X-Request-Id"))["user"])
				}
			}
			if got := strings.Contains(w.log.String()+w.audit.String(), user); got != test.named {
				t.Errorf("that the user is named is %v: %s", got, w.audit)
			}
			switch test.form {
			case gateway.UserHashed:
				if names[0] != names[8] || names[0] != names[3] || names[0] == names[4] || names[0] == nil {
					t.Errorf("users are called %q", names)
				}
			case gateway.UserOmitted:
				if names[0] != nil {
					t.Errorf("users are called %q", names)
				}
			}
		})
	}
}

// A stream is written down when it opens, and not again.
func TestStreamIsWrittenDownOnce(t *testing.T) {
	w := watch(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make})
	alice := w.Token(t, "alice")
	session := w.Open(t, alice, gatewaytest.Legacy)
	for method, request := range map[string]gatewaytest.Request{
		"":                     {Method: "GET", Token: alice, Session: session, Version: gatewaytest.Legacy},
		"subscriptions/listen": modern(alice, "subscriptions/listen", "", `{"notifications":{"toolsListChanged":true}}`),
	} {
		ctx, leave := context.WithCancel(t.Context())
		resp, err := w.Begin(ctx, request)
		if err != nil {
			t.Fatal(err)
		}
		id := resp.Header.Get("X-Request-Id")
		line := w.line(t, id) // while it is open
		if line["outcome"] != "ok" || line["status"] != 200.0 || line["user"] != "alice" || method != "" && line["method"] != method {
			t.Errorf("%q: %v", method, line)
		}
		if n := w.Stats().Streams; n != 1 {
			t.Errorf("%d streams are open", n)
		}
		leave()
		resp.Body.Close()
		gatewaytest.Eventually(t, "the stream has ended", func() bool { return w.Stats().Streams == 0 })
		w.line(t, id)
	}
}

func TestClientThatLeavesIsWrittenDown(t *testing.T) {
	for _, version := range eras {
		t.Run(version, func(t *testing.T) {
			factory := newWaiting()
			factory.Setup = func(server *mcp.Server, _ gateway.Call) {
				gatewaytest.AddTool(server, "wait", func(ctx context.Context, _ *mcp.CallToolRequest) (string, error) {
					factory.began <- struct{}{}
					select {
					case <-ctx.Done():
					case <-factory.proceed:
					}
					return "", nil
				})
			}
			w := watch(t, gateway.Config{Factory: factory.Make, Provider: &names{}})
			request := wait(w.Server, t, "alice", version)
			ctx, leave := context.WithCancel(t.Context())
			var left sync.WaitGroup
			left.Go(func() { w.Try(ctx, request) })
			gatewaytest.Receive(t, "the call", factory.began)
			leave()
			left.Wait()
			gatewaytest.Eventually(t, "it is written down", func() bool { return strings.Contains(w.audit.String(), `"name":"wait"`) })
			var line map[string]any
			for _, r := range records(t, w.audit.String()) {
				if r["name"] == "wait" {
					line = r
				}
			}
			if line["outcome"] != "cancelled" || line["decision"] != "allowed" || line["code"] != nil {
				t.Errorf("written down is %v", line)
			}
			close(factory.proceed)
		})
	}
}

// A client that leaves while its credential is looked up is no failure of ours,
// that somebody would be woken for.
func TestClientThatLeavesBeforeItIsServed(t *testing.T) {
	asked := make(chan struct{})
	w := watch(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make, ResourceType: "notes", Resolver: resolver(func(ctx context.Context) error {
		close(asked)
		<-ctx.Done()
		return ctx.Err()
	})})
	ctx, leave := context.WithCancel(t.Context())
	var left sync.WaitGroup
	left.Go(func() { w.Try(ctx, gatewaytest.ModernCall(w.Token(t, "alice"), 7, "whoami", "{}")) })
	gatewaytest.Receive(t, "the resolver", asked)
	leave()
	left.Wait()
	gatewaytest.Eventually(t, "it is written down", func() bool { return w.audit.String() != "" })
	if line := records(t, w.audit.String())[0]; line["outcome"] != "cancelled" || strings.Contains(w.log.String(), `"level":"ERROR"`) {
		t.Errorf("written down is %v and %s", line, w.log)
	}
}

type resolver func(context.Context) error

func (r resolver) Resolve(ctx context.Context, _ *mcpauth.Identity, _ string) (*mcpauth.Credential, error) {
	return nil, r(ctx)
}

// A part of the line that breaks its promise is away, and no more.
func TestPanicInAPart(t *testing.T) {
	for part, c := range map[string]gateway.Config{
		"resolver": {ResourceType: "notes", Resolver: resolver(func(context.Context) error { panic("oh no") })},
		"provider": {Provider: panicking{}},
	} {
		t.Run(part, func(t *testing.T) {
			c.Factory = (&gatewaytest.Factory{}).Make
			w := watch(t, c)
			got := w.Do(t, gatewaytest.ModernCall(w.Token(t, "alice"), 7, "whoami", "{}"))
			if got.Status != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" || strings.Contains(got.Body, "oh no") {
				t.Errorf("answer = %d %s", got.Status, got.Body)
			}
			line := w.line(t, got.Header.Get("X-Request-Id"))
			if reason, _ := line["reason"].(string); line["code"] != "unavailable" || !strings.Contains(reason, "the "+part+" panicked") {
				t.Errorf("written down is %v", line)
			}
			if !strings.Contains(w.log.String(), `"panic in a part of the line"`) || !strings.Contains(w.log.String(), "observe_test.go") {
				t.Errorf("the log does not say where:\n%s", w.log)
			}
		})
	}
}

type panicking struct{}

func (panicking) Authenticate(context.Context, *mcpauth.Request) (*mcpauth.Identity, error) {
	panic("oh no")
}

func TestRequestsAfterTheEndAreWrittenDown(t *testing.T) {
	audit := &gatewaytest.Log{}
	g, err := gateway.New(gateway.Config{Provider: &names{}, Factory: (&gatewaytest.Factory{}).Make, Audit: audit, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	answer := httptest.NewRecorder()
	g.ServeHTTP(answer, httptest.NewRequest("POST", "http://127.0.0.1:8080/mcp", strings.NewReader("{}")))
	all := records(t, audit.String())
	if answer.Code != http.StatusServiceUnavailable || answer.Header().Get("Retry-After") == "" || len(all) != 1 {
		t.Fatalf("answer = %d %v, %d lines", answer.Code, answer.Header(), len(all))
	}
	if line := all[0]; line["code"] != "unavailable" || line["reason"] != "The server is shutting down." || line["request_id"] != answer.Header().Get("X-Request-Id") {
		t.Errorf("written down is %v", line)
	}
}

// An audit log that does not take its lines stops nobody, and is counted.
func TestAuditThatFails(t *testing.T) {
	s := gatewaytest.Start(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make, Audit: closed{}})
	if got := s.Do(t, gatewaytest.ModernCall(s.Token(t, "alice"), 7, "whoami", "{}")); got.Status != http.StatusOK {
		t.Errorf("answer = %d %s", got.Status, got.Body)
	}
	gatewaytest.Eventually(t, "the log says so", func() bool { return strings.Contains(s.Log.String(), "audit log not written") })
}

type closed struct{}

func (closed) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// traced makes servers with a tool that says in which trace it runs.
func traced() *gatewaytest.Factory {
	return &gatewaytest.Factory{Setup: func(server *mcp.Server, _ gateway.Call) {
		gatewaytest.AddTool(server, "trace", func(ctx context.Context, _ *mcp.CallToolRequest) (string, error) {
			return trace.SpanContextFromContext(ctx).SpanID().String() + " " + mcpauth.RequestID(ctx), nil
		})
	}}
}

func TestTraces(t *testing.T) {
	const (
		parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
		sent   = "4bf92f3577b34da6a3ce929d0e0e4736"
	)
	for name, trusted := range map[string][]netip.Prefix{"a stranger's trace is linked": nil, "a proxy's trace goes on": here} {
		for _, version := range eras {
			t.Run(name+" "+version, func(t *testing.T) {
				spans := tracetest.NewInMemoryExporter()
				w := watch(t, gateway.Config{Factory: traced().Make, TrustedProxies: trusted, TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))})
				alice := w.Token(t, "alice")
				request := gatewaytest.ModernCall(alice, 7, "trace", "{}")
				if version == gatewaytest.Legacy {
					request = gatewaytest.Request{Token: alice, Session: w.Open(t, alice, version), Version: version, Body: gatewaytest.CallTool(7, "trace", "{}"), Header: headers{}}
				}
				gatewaytest.Eventually(t, "earlier spans have ended", func() bool { return len(spans.GetSpans()) == strings.Count(w.audit.String(), "\n") })
				spans.Reset()
				request.Header["Traceparent"] = []string{parent}
				got := w.Do(t, request)
				id := got.Header.Get("X-Request-Id")
				gatewaytest.Eventually(t, "the span has ended", func() bool { return len(spans.GetSpans()) > 0 })
				all := spans.GetSpans()
				if len(all) != 1 {
					t.Fatalf("%d spans", len(all))
				}
				span := all[0]
				if want := span.SpanContext.SpanID().String() + " " + id; got.Text() != want {
					t.Errorf("the tool sees %q, want %q", got.Text(), want)
				}
				if span.Name != "tools/call" || span.SpanKind != trace.SpanKindServer {
					t.Errorf("the span is %q, of kind %v", span.Name, span.SpanKind)
				}
				if trusted != nil {
					if span.SpanContext.TraceID().String() != sent || span.Parent.SpanID().String() != "00f067aa0ba902b7" || !span.Parent.IsRemote() || len(span.Links) != 0 {
						t.Errorf("the span is in %s, of parent %s, with links %v", span.SpanContext.TraceID(), span.Parent.SpanID(), span.Links)
					}
				} else if span.SpanContext.TraceID().String() == sent || span.Parent.IsValid() || len(span.Links) != 1 || span.Links[0].SpanContext.TraceID().String() != sent {
					t.Errorf("the span is in %s, of parent %s, with links %v", span.SpanContext.TraceID(), span.Parent.SpanID(), span.Links)
				}
				want := map[attribute.Key]string{
					"http.request.method": "POST", "url.path": "/mcp", "http.response.status_code": "200", "mcpauth.request_id": id, "mcpauth.outcome": "ok",
					"mcp.method.name": "tools/call", "mcp.protocol.version": version, "mcpauth.operation": "trace",
				}
				for _, a := range span.Attributes {
					if want[a.Key] != a.Value.String() {
						t.Errorf("%s = %s, want %q", a.Key, a.Value.String(), want[a.Key])
					}
					delete(want, a.Key)
				}
				if len(want) > 0 {
					t.Errorf("missing: %v", want)
				}
				if line := w.line(t, id); line["trace_id"] != span.SpanContext.TraceID().String() {
					t.Errorf("in the audit log, the trace is %v", line["trace_id"])
				}
			})
		}
	}
}

// Spans say neither who the user is nor what the token is, and no more than
// fits.
func TestTracesOfRefusals(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	s := gatewaytest.Start(t, gateway.Config{Factory: newNoted().Make, Rules: notedRules, TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))})
	alice := s.Token(t, "alice-the-canary")
	for name, test := range map[string]struct {
		request gatewaytest.Request
		span    string
		kind    string // of the error
	}{
		"no token":         {gatewaytest.ModernCall("", 7, "whoami", "{}"), "POST", "missing_credential"},
		"a scope short":    {gatewaytest.ModernCall(alice, 7, "save", "{}"), "tools/call", "insufficient_scope"},
		"a resource":       {gatewaytest.Request{Token: alice, Body: gatewaytest.Message(7, "resources/read", `{"uri":"notes://alice-the-canary/`+strings.Repeat("x", 1000)+`"}`)}, "resources/read", ""},
		"a token for tool": {gatewaytest.ModernCall(alice, 7, alice, "{}"), "tools/call", ""},
		"a token asked":    {gatewaytest.Request{Token: alice, Body: gatewaytest.Message(7, alice, "")}, "[redacted]", ""},
		"a long method":    {gatewaytest.Request{Token: alice, Body: gatewaytest.Message(7, strings.Repeat("x", 10_000), "")}, strings.Repeat("x", 128) + "…", ""},
	} {
		t.Run(name, func(t *testing.T) {
			spans.Reset()
			s.Do(t, test.request)
			gatewaytest.Eventually(t, "the span has ended", func() bool { return len(spans.GetSpans()) > 0 })
			span := spans.GetSpans()[0]
			if span.Name != test.span {
				t.Errorf("the span is %q", span.Name)
			}
			kind := ""
			for _, a := range span.Attributes {
				text := a.Value.String()
				if strings.Contains(text, "canary") || strings.Contains(text, "eyJ") || len(text) > 200 {
					t.Errorf("%s = %s", a.Key, text)
				}
				if a.Key == "error.type" {
					kind = text
				}
			}
			if kind != test.kind {
				t.Errorf("error.type = %q", kind)
			}
		})
	}
}

// On a server that traces itself, our span is that server's.
func TestTraceOfTheServerThatWeAreMountedOn(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	s := gatewaytest.Start(t, gateway.Config{Factory: traced().Make, TracerProvider: provider})
	var outer trace.SpanContext
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, span := provider.Tracer("front").Start(r.Context(), "front")
		defer span.End()
		outer = span.SpanContext()
		s.ServeHTTP(w, r.WithContext(ctx))
	}))
	defer front.Close()
	own := &gatewaytest.Server{Origin: front.URL, URL: front.URL + "/mcp", HTTP: &http.Transport{}}
	defer own.HTTP.CloseIdleConnections()
	own.Do(t, gatewaytest.ModernCall(s.Token(t, "alice"), 7, "trace", "{}"))
	gatewaytest.Eventually(t, "both spans have ended", func() bool { return len(spans.GetSpans()) == 2 })
	if span := spans.GetSpans()[0]; span.Parent.SpanID() != outer.SpanID() || len(span.Links) != 0 {
		t.Errorf("our span has parent %s and links %v, want parent %s", span.Parent.SpanID(), span.Links, outer.SpanID())
	}
}

func TestNoTraces(t *testing.T) {
	w := watch(t, gateway.Config{Factory: traced().Make})
	request := gatewaytest.ModernCall(w.Token(t, "alice"), 7, "trace", "{}")
	request.Header["Traceparent"] = []string{"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
	got := w.Do(t, request)
	id := got.Header.Get("X-Request-Id")
	if want := "0000000000000000 " + id; got.Text() != want {
		t.Errorf("the tool sees %q, want %q", got.Text(), want)
	}
	if line := w.line(t, id); line["trace_id"] != nil {
		t.Errorf("written down is %v", line)
	}
	if id := mcpauth.RequestID(context.Background()); id != "" {
		t.Errorf("outside of requests, the id is %q", id)
	}
}
