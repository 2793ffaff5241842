package gateway_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/limit"
	"github.com/mcpauth-go/mcpauth/policy"
	"github.com/mcpauth-go/mcpauth/upstream/inproc"
)

// sseClient is the official client on the HTTP+SSE transport.
type sseClient struct {
	*mcp.ClientSession
	token atomic.Pointer[string]
	next  http.RoundTripper
}

func (c *sseClient) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+*c.token.Load())
	return c.next.RoundTrip(r)
}

func connectSSE(t *testing.T, s *gatewaytest.Server, token, version string) *sseClient {
	t.Helper()
	c := &sseClient{next: s.HTTP}
	c.token.Store(&token)
	var err error
	c.ClientSession, err = mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(),
		&mcp.SSEClientTransport{Endpoint: s.URL + "/sse", HTTPClient: &http.Client{Transport: c}},
		&mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (c *sseClient) whoAmI(t *testing.T) gatewaytest.Who {
	t.Helper()
	result, err := c.CallTool(t.Context(), &mcp.CallToolParams{Name: "whoami", Arguments: map[string]any{}})
	if err != nil {
		t.Fatal(err)
	}
	who, err := gatewaytest.DecodeWho(result.Content[0].(*mcp.TextContent).Text)
	if err != nil {
		t.Fatal(err)
	}
	return who
}

// sseStream is such a stream, opened by hand.
type sseStream struct {
	s        *gatewaytest.Server
	token    string
	endpoint string
	lines    *bufio.Reader
	leave    func()
}

func openSSE(t *testing.T, s *gatewaytest.Server, token string) *sseStream {
	t.Helper()
	ctx, leave := context.WithCancel(context.Background())
	t.Cleanup(leave)
	resp, err := s.Begin(ctx, gatewaytest.Request{Method: "GET", Path: "/mcp/sse", Token: token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || kind != "text/event-stream" {
		t.Fatalf("GET /mcp/sse: %d %s", resp.StatusCode, kind)
	}
	stream := &sseStream{s: s, token: token, lines: bufio.NewReader(resp.Body), leave: leave}
	event, data, err := stream.next()
	if endpoint, ok := strings.CutPrefix(data, "/mcp/message?sessionId="); err != nil || event != "endpoint" || !ok || len(endpoint) < 26 {
		t.Fatalf("the stream begins with %q, %q, %v", event, data, err)
	}
	stream.endpoint = data
	return stream
}

// opened is openSSE with initialize done.
func openedSSE(t *testing.T, s *gatewaytest.Server, token string) *sseStream {
	t.Helper()
	stream := openSSE(t, s, token)
	stream.post(t, http.StatusAccepted, gatewaytest.Initialize("2024-11-05"))
	if got, want := stream.data(t), `"protocolVersion":"2024-11-05"`; !strings.Contains(got, want) {
		t.Fatalf("initialize: %s, without %s", got, want)
	}
	stream.post(t, http.StatusAccepted, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	return stream
}

func (s *sseStream) next() (event, data string, err error) {
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			return event, data, err
		}
		switch name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); name {
		case "event":
			event = value
		case "data":
			data = value
		case "":
			return event, data, nil
		}
	}
}

func (s *sseStream) data(t *testing.T) string {
	t.Helper()
	event, data, err := s.next()
	if err != nil || event != "message" {
		t.Fatalf("event %q, %q, %v", event, data, err)
	}
	return data
}

// ends waits for the stream to end, and returns what came before.
func (s *sseStream) ends(t *testing.T) []string {
	t.Helper()
	var all []string
	for {
		_, data, err := s.next()
		if err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, data)
	}
}

func (s *sseStream) request(body string) gatewaytest.Request {
	return gatewaytest.Request{Path: s.endpoint, Token: s.token, Body: body}
}

func (s *sseStream) post(t *testing.T, status int, body string) gatewaytest.Answer {
	t.Helper()
	answer := s.s.Do(t, s.request(body))
	if answer.Status != status || status == http.StatusAccepted && answer.Body != "" {
		t.Fatalf("POST %s: %d %s, want %d", body, answer.Status, answer.Body, status)
	}
	return answer
}

func TestSSEWithTheOfficialClient(t *testing.T) {
	for _, version := range []string{"2024-11-05", "2025-03-26", "2025-11-25", ""} { // "" tries 2026-07-28 first
		t.Run("version "+version, func(t *testing.T) {
			factory := &gatewaytest.Factory{}
			s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make, LegacySSE: true})
			var playing sync.WaitGroup
			for _, user := range []string{"alice", "bob"} {
				c := connectSSE(t, s, s.Token(t, user), version)
				want := version
				if want == "" {
					want = "2025-11-25"
				}
				if got := c.InitializeResult().ProtocolVersion; got != want {
					t.Errorf("the client speaks %s, not %s", got, want)
				}
				for range 20 {
					playing.Go(func() {
						if who := c.whoAmI(t); who.Owner != user || who.Caller != user {
							t.Errorf("%s gets %+v", user, who)
						}
					})
				}
			}
			playing.Wait()
			if got, want := s.Stats(), (gateway.Stats{Sessions: 2, Streams: 2, Alive: inproc.Servers{PerSession: 2}, Made: inproc.Servers{PerSession: 2}}); got != want {
				t.Errorf("stats = %+v, want %+v", got, want)
			}
		})
	}
}

func TestSSEIsOffByDefault(t *testing.T) {
	s := gatewaytest.Start(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make})
	token := s.Token(t, "alice")
	for _, r := range []gatewaytest.Request{{Method: "GET", Path: "/mcp/sse", Token: token}, {Path: "/mcp/message?sessionId=x", Token: token, Body: gatewaytest.Initialize("2024-11-05")}} {
		if got := s.Do(t, r); got.Status != http.StatusNotFound {
			t.Errorf("%s: %d", r.Path, got.Status)
		}
	}
}

// On the way are the same stations as for MCP.
func TestSSERefusals(t *testing.T) {
	s := gatewaytest.Start(t, gateway.Config{
		Factory: (&gatewaytest.Factory{}).Make, LegacySSE: true, MaxBodyBytes: 1000, UserRate: limit.Rate{Requests: 20, Per: time.Hour},
		RequiredScopes: []string{"mcp"}, Rules: []policy.Rule{{Tool: "save", Scopes: []string{"write"}}},
	})
	token := s.Token(t, "alice", scope("mcp"))
	stream := openedSSE(t, s, token)
	with := func(change func(*gatewaytest.Request)) gatewaytest.Request {
		r := stream.request(gatewaytest.CallTool(1, "whoami", "{}"))
		change(&r)
		return r
	}
	opening := gatewaytest.Request{Method: "GET", Path: "/mcp/sse", Token: token}
	for _, test := range []struct {
		name    string
		request gatewaytest.Request
		status  int
		header  string // that is there
	}{
		{"a stream without a token", gatewaytest.Request{Method: "GET", Path: "/mcp/sse"}, 401, "Www-Authenticate"},
		{"a stream without the required scope", gatewaytest.Request{Method: "GET", Path: "/mcp/sse", Token: s.Token(t, "alice")}, 403, "Www-Authenticate"},
		{"a stream for a page of another origin", gatewaytest.Request{Method: "GET", Path: "/mcp/sse", Token: token, Header: headers{"Origin": {"https://evil.example"}}}, 403, ""},
		{"a stream with a body", func() gatewaytest.Request { r := opening; r.Body = "x"; return r }(), 400, ""},
		{"a POST to the stream's URL", gatewaytest.Request{Path: "/mcp/sse", Token: token, Body: "{}"}, 405, "Allow"},
		{"a GET of the endpoint", with(func(r *gatewaytest.Request) { r.Method, r.Body = "GET", "" }), 405, "Allow"},
		{"a DELETE of the endpoint", with(func(r *gatewaytest.Request) { r.Method, r.Body = "DELETE", "" }), 405, "Allow"},
		{"a message without a token", with(func(r *gatewaytest.Request) { r.Token = "" }), 401, "Www-Authenticate"},
		{"a message with a forged token", with(func(r *gatewaytest.Request) { r.Token += "x" }), 401, "Www-Authenticate"},
		{"a message under another name", with(func(r *gatewaytest.Request) { r.Header = headers{"Host": {"evil.example"}} }), 403, ""},
		{"a message that is no JSON", with(func(r *gatewaytest.Request) { r.Body = "{" }), 400, ""},
		{"a message that is no JSON-RPC", with(func(r *gatewaytest.Request) { r.Body = "{}" }), 400, ""},
		{"a message of another type", with(func(r *gatewaytest.Request) { r.Header = headers{"Content-Type": {"text/plain"}} }), 415, ""},
		{"a message that is too large", with(func(r *gatewaytest.Request) { r.Body = strings.Repeat(" ", 1001) }), 413, ""},
		{"a batch", with(func(r *gatewaytest.Request) { r.Body = "[" + r.Body + "]" }), 400, ""},
		{"a tool without its scope", with(func(r *gatewaytest.Request) { r.Body = gatewaytest.CallTool(1, "save", "{}") }), 403, "Www-Authenticate"},
		{"a message without a session", with(func(r *gatewaytest.Request) { r.Path = "/mcp/message" }), 404, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer := s.Do(t, test.request)
			if answer.Status != test.status || test.header != "" && answer.Header.Get(test.header) == "" {
				t.Errorf("%d %v %s, want %d with %q", answer.Status, answer.Header, answer.Body, test.status, test.header)
			}
			if challenge := answer.Header.Get("Www-Authenticate"); test.status == 403 && strings.Contains(test.name, "tool") && !strings.Contains(challenge, `scope="mcp write"`) {
				t.Errorf("the challenge is %s", challenge)
			}
		})
	}
	if got := s.Stats(); got.Sessions != 1 || got.Streams != 1 {
		t.Errorf("stats = %+v", got)
	}
	gatewaytest.Eventually(t, "the rate is used up", func() bool {
		return s.Do(t, stream.request(gatewaytest.Message(1, "ping", ""))).Status == http.StatusTooManyRequests
	})
}

// Clients wait on the stream for what becomes of a request.
func TestSSEAnswersOverTheStream(t *testing.T) {
	s := gatewaytest.Start(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make, LegacySSE: true, Rules: []policy.Rule{{Tool: "drop", Deny: true}}})
	stream := openedSSE(t, s, s.Token(t, "alice"))
	for _, test := range []struct {
		name, request, want string
	}{
		{"a tool denied to all", gatewaytest.CallTool(2, "drop", "{}"), `{"jsonrpc":"2.0","id":2,"error":{"code":-32602,"message":"Unknown tool, prompt or resource"}}`},
		{"a method that is not there", gatewaytest.Message(3, "no/such", ""), `"id":3,"error":{"code":-32601,`},
		{"a method of 2026-07-28", gatewaytest.Message(4, "subscriptions/listen", `{"notifications":{}}`), `"id":4,"error":{"code":-32601,`},
		{"a request of 2026-07-28", gatewaytest.Message(5, "tools/call", gatewaytest.ModernParams(gatewaytest.Modern, `{"name":"whoami","arguments":{}}`)),
			`"data":{"supported":["2025-11-25","2025-06-18","2025-03-26","2024-11-05"],"requested":"2026-07-28"}`},
		{"initialize for a second time", gatewaytest.Initialize("2024-11-05"), `"id":1,"error":`},
		{"a call", gatewaytest.CallTool(6, "whoami", "{}"), `"id":6,"result":`},
		{"an id that is a string", strings.Replace(gatewaytest.Message(7, "ping", ""), "7", `"seven"`, 1), `{"jsonrpc":"2.0","id":"seven","result":{}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			stream.post(t, http.StatusAccepted, test.request)
			if got := stream.data(t); !strings.Contains(got, test.want) {
				t.Errorf("the stream says %s, want %s", got, test.want)
			}
		})
	}
}

// The same for a session of somebody else's as for one that never was, or that
// is over, and sessions of one transport are not there on the other.
func TestSSEForeignSession(t *testing.T) {
	ours, theirs := gatewaytest.NewIssuer(t, "https://issuer.example"), gatewaytest.NewIssuer(t, "https://other.example")
	s := gatewaytest.Start(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make, LegacySSE: true}, ours, theirs)
	alice, bob := s.Token(t, "alice"), s.Token(t, "bob")
	stream, over := openedSSE(t, s, alice), openedSSE(t, s, alice)
	over.leave()
	gatewaytest.Eventually(t, "the session is over", func() bool { return s.Stats().Sessions == 1 })
	streamable := s.Open(t, alice, gatewaytest.Legacy)
	body := gatewaytest.CallTool(1, "whoami", "{}")
	plain := func(r gatewaytest.Request) string {
		a := s.Do(t, r)
		delete(a.Header, "Date")
		delete(a.Header, "X-Request-Id")
		return fmt.Sprint(a.Status, a.Header, a.Body)
	}
	want := plain(gatewaytest.Request{Token: bob, Path: "/mcp/message?sessionId=" + strings.Repeat("A", 26), Body: body})
	if !strings.HasPrefix(want, "404 ") || !strings.Contains(want, `"message":"Session not found"`) {
		t.Fatalf("a session that never was: %s", want)
	}
	id := strings.TrimPrefix(stream.endpoint, "/mcp/message?sessionId=")
	for name, r := range map[string]gatewaytest.Request{
		"another user's":                {Token: bob, Path: stream.endpoint},
		"another issuer's user's":       {Token: s.TokenOf(t, theirs, "alice"), Path: stream.endpoint},
		"one that is over":              {Token: alice, Path: over.endpoint},
		"a streamable one":              {Token: alice, Path: "/mcp/message?sessionId=" + streamable},
		"the id in a header":            {Token: alice, Session: id, Path: "/mcp/message"},
		"on the other transport":        {Token: alice, Session: id, Version: gatewaytest.Legacy},
		"on the other, another user's":  {Token: bob, Session: id, Version: gatewaytest.Legacy},
		"with the inner name of an id":  {Token: alice, Path: "/mcp/message?sessionId=sse%00" + id},
		"the id twice, the other first": {Token: alice, Path: "/mcp/message?sessionId=x&sessionId=" + id},
	} {
		r.Body = body
		if got := plain(r); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	stream.post(t, http.StatusAccepted, body)
	if got := stream.data(t); !strings.Contains(got, `"id":1,"result"`) {
		t.Errorf("the owner's own call: %s", got)
	}
}

// counting is a resolver whose credentials are numbered.
type counting struct{ n atomic.Int32 }

func (c *counting) Resolve(_ context.Context, id *mcpauth.Identity, kind string) (*mcpauth.Credential, error) {
	return &mcpauth.Credential{Token: mcpauth.NewSecret(fmt.Sprintf("%s of %s %d", kind, id.UserID(), c.n.Add(1)))}, nil
}

// Each POST has its own token, and a tool sees that of the POST which asks for
// it, whoever opened the stream and when.
func TestSSEIdentityOfEachMessage(t *testing.T) {
	factory := &gatewaytest.Factory{Setup: func(server *mcp.Server, _ gateway.Call) {
		gatewaytest.AddTool(server, "credential", func(ctx context.Context, r *mcp.CallToolRequest) (string, error) {
			if mcpauth.RequestID(ctx) == "" || r.Extra.Header.Get("X-Mark") != "of the message" || r.Extra.Header.Get("Authorization") != "" {
				return "", fmt.Errorf("request %q, header %v", mcpauth.RequestID(ctx), r.Extra.Header)
			}
			return mcpauth.CredentialFrom(ctx).Token.Reveal(), nil
		})
	}}
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make, LegacySSE: true, Resolver: &counting{}, ResourceType: "mail"})
	c := connectSSE(t, s, s.Token(t, "alice", scope("a"), map[string]any{"role": "first"}), "2025-11-25")
	if got := c.whoAmI(t); got.Role != "first" || !slices.Equal(got.Scopes, []string{"a"}) {
		t.Errorf("at first: %+v", got)
	}
	token := s.Token(t, "alice", scope("a b"), map[string]any{"role": "second"})
	c.token.Store(&token)
	if got := c.whoAmI(t); got.Role != "second" || !slices.Equal(got.Scopes, []string{"a", "b"}) {
		t.Errorf("with another token: %+v", got)
	}

	stream := openedSSE(t, s, s.Token(t, "bob"))
	seen := map[string]bool{}
	for id := range 3 {
		r := stream.request(gatewaytest.CallTool(id, "credential", "{}"))
		r.Header = headers{"X-Mark": {"of the message"}}
		if got := s.Do(t, r); got.Status != http.StatusAccepted {
			t.Fatalf("%d %s", got.Status, got.Body)
		}
		got := stream.data(t)
		if !strings.Contains(got, "mail of bob") {
			t.Errorf("credential = %s", got)
		}
		_, number, _ := strings.Cut(got, "mail of bob ")
		seen[number] = true
	}
	if len(seen) != 3 {
		t.Errorf("the credentials of three messages are %q", slices.Collect(maps.Keys(seen)))
	}
}

// Another user's token on a stream's own connection is another user.
func TestSSEUserCannotChange(t *testing.T) {
	s := gatewaytest.Start(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make, LegacySSE: true})
	stream := openedSSE(t, s, s.Token(t, "alice"))
	stream.token = s.Token(t, "bob")
	stream.post(t, http.StatusNotFound, gatewaytest.CallTool(1, "whoami", "{}"))
}

func TestSSESharedServer(t *testing.T) {
	factory := &gatewaytest.Factory{}
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make, LegacySSE: true, LegacyInstances: gateway.PerUser})
	one, two, other := openedSSE(t, s, s.Token(t, "alice")), openedSSE(t, s, s.Token(t, "alice")), openedSSE(t, s, s.Token(t, "bob"))
	for _, stream := range []*sseStream{one, two, other} {
		stream.post(t, http.StatusAccepted, gatewaytest.CallTool(1, "whoami", "{}"))
		stream.data(t)
	}
	if got, want := factory.Made(), []string{"alice", "bob"}; !slices.Equal(got, want) {
		t.Errorf("made for %q, want %q", got, want)
	}
	if got := s.StatsOf(identity(t, "https://issuer.example", "alice")); got != (gateway.UserStats{Sessions: 2, Streams: 2}) {
		t.Errorf("alice has %+v", got)
	}
	one.leave()
	gatewaytest.Eventually(t, "one session is over", func() bool { return s.Stats().Sessions == 2 })
	two.post(t, http.StatusAccepted, gatewaytest.CallTool(2, "whoami", "{}"))
	if got := two.data(t); !strings.Contains(got, `"id":2,"result"`) {
		t.Errorf("the session that is left: %s", got)
	}
}

func TestSSELimits(t *testing.T) {
	for _, test := range []struct {
		name   string
		config gateway.Config
		status int
		second string // the user who asks for one more
	}{
		{"sessions", gateway.Config{MaxSessions: 1}, 503, "bob"},
		{"sessions of a user", gateway.Config{MaxSessionsPerUser: 1}, 503, "alice"},
		{"streams of a user", gateway.Config{MaxStreamsPerUser: 1}, 429, "alice"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.config.Factory, test.config.LegacySSE = (&gatewaytest.Factory{}).Make, true
			s := gatewaytest.Start(t, test.config)
			first := openSSE(t, s, s.Token(t, "alice"))
			again := gatewaytest.Request{Method: "GET", Path: "/mcp/sse", Token: s.Token(t, test.second)}
			if got := s.Do(t, again); got.Status != test.status || got.Header.Get("Retry-After") == "" {
				t.Errorf("one more: %d %v %s", got.Status, got.Header, got.Body)
			}
			first.leave()
			gatewaytest.Eventually(t, "there is room again", func() bool { return s.Stats().Sessions == 0 && s.Stats().Streams == 0 })
			openSSE(t, s, again.Token)
		})
	}
}

func TestSSECallsInProgress(t *testing.T) {
	factory := newWaiting()
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make, LegacySSE: true})
	stream := openedSSE(t, s, s.Token(t, "alice"))
	for id := range 100 {
		stream.post(t, http.StatusAccepted, gatewaytest.CallTool(id+10, "wait", "{}"))
	}
	for range 100 {
		gatewaytest.Receive(t, "the calls to begin", factory.began)
	}
	stream.post(t, http.StatusBadRequest, gatewaytest.CallTool(10, "wait", "{}"))
	if got := stream.post(t, http.StatusTooManyRequests, gatewaytest.CallTool(1, "wait", "{}")); got.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: %v", got.Header)
	}
	stream.post(t, http.StatusAccepted, `{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`)
	close(factory.proceed)
	for range 100 {
		if got := stream.data(t); !strings.Contains(got, "done for alice") {
			t.Fatalf("an answer: %s", got)
		}
	}
	stream.post(t, http.StatusAccepted, gatewaytest.CallTool(10, "wait", "{}"))
	stream.data(t)
}

// Of what a client leaves behind nothing is left, and its calls know.
func TestSSEClientLeaves(t *testing.T) {
	factory := newTelling(1)
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make, LegacySSE: true})
	stream := openedSSE(t, s, s.Token(t, "alice"))
	stream.post(t, http.StatusAccepted, tell("", "x", 7, `"t"`, tale{"hello", 2}).Body)
	ctx := gatewaytest.Receive(t, "the call to begin", factory.began)
	stream.leave()
	gatewaytest.Receive(t, "the call's context to end", ctx.Done())
	if err := ctx.Err(); !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
	gatewaytest.Eventually(t, "nothing is left", func() bool {
		return s.Stats() == gateway.Stats{Made: inproc.Servers{PerSession: 1}} && slices.Equal(factory.Closed(), []string{"alice"})
	})
}

func TestSSECancelledCall(t *testing.T) {
	factory := newTelling(1)
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make, LegacySSE: true})
	stream := openedSSE(t, s, s.Token(t, "alice"))
	stream.post(t, http.StatusAccepted, tell("", "x", 7, `"t"`, tale{"hello", 2}).Body)
	ctx := gatewaytest.Receive(t, "the call to begin", factory.began)
	if got, want := inShort(stream.data(t)), `"t": 1 of 2, alice, hello`; got != want {
		t.Errorf("progress: %s, want %s", got, want)
	}
	stream.post(t, http.StatusAccepted, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`)
	gatewaytest.Receive(t, "the call's context to end", ctx.Done())
}

// Answers come back to the server over POSTs too.
func TestSSEServerAsksTheClient(t *testing.T) {
	factory := &gatewaytest.Factory{Setup: func(server *mcp.Server, _ gateway.Call) {
		gatewaytest.AddTool(server, "ask", func(ctx context.Context, r *mcp.CallToolRequest) (string, error) {
			return "pong", r.Session.Ping(ctx, nil)
		})
	}}
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make, LegacySSE: true})
	c := connectSSE(t, s, s.Token(t, "alice"), "2025-11-25")
	if result, err := c.CallTool(t.Context(), &mcp.CallToolParams{Name: "ask", Arguments: map[string]any{}}); err != nil || result.IsError {
		t.Errorf("%+v, %v", result, err)
	}
}

// At a stop, calls in progress are answered before their stream ends; idle ones
// end at once.
func TestSSEStop(t *testing.T) {
	factory := newWaiting()
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make, LegacySSE: true})
	idle, busy := openedSSE(t, s, s.Token(t, "alice")), openedSSE(t, s, s.Token(t, "bob"))
	busy.post(t, http.StatusAccepted, gatewaytest.CallTool(7, "wait", "{}"))
	gatewaytest.Receive(t, "the call to begin", factory.began)
	s.BeginStop()
	if got := idle.ends(t); len(got) != 0 {
		t.Errorf("the idle stream ends with %q", got)
	}
	close(factory.proceed)
	if got := busy.ends(t); len(got) != 1 || inShort(got[0]) != "answer 7: done for bob" {
		t.Errorf("the busy stream ends with %q", got)
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if got := len(factory.Closed()); got != 2 || s.Stats().Sessions != 0 {
		t.Errorf("%d instances closed, %+v", got, s.Stats())
	}
}

// A client that does not read is given up after WriteTimeout; until then it
// can go on sending.
func TestSSEClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	const size = 12 << 20 // more than sockets hold
	factory := &gatewaytest.Factory{Setup: func(server *mcp.Server, _ gateway.Call) {
		gatewaytest.AddTool(server, "much", func(context.Context, *mcp.CallToolRequest) (string, error) { return strings.Repeat("x", size), nil })
	}}
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make, LegacySSE: true, WriteTimeout: 10 * time.Second, UserRate: limit.Off})
	token := s.Token(t, "alice")
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.Origin, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /mcp/sse HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", conn.RemoteAddr(), token)
	stream := &sseStream{s: s, token: token, lines: bufio.NewReader(conn)}
	for stream.endpoint == "" {
		_, data, err := stream.next() // the header ends like an event
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(data, "/") {
			stream.endpoint = data
		}
	}
	stream.post(t, http.StatusAccepted, gatewaytest.Initialize("2024-11-05"))
	stream.post(t, http.StatusAccepted, gatewaytest.CallTool(2, "much", "{}"))
	var longest time.Duration
	gatewaytest.Eventually(t, "the stream is given up", func() bool {
		began := time.Now()
		answer := s.Do(t, stream.request(`{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`))
		longest = max(longest, time.Since(began))
		if answer.Status != http.StatusAccepted && answer.Status != http.StatusNotFound {
			t.Fatalf("%d %s", answer.Status, answer.Body)
		}
		return answer.Status == http.StatusNotFound
	})
	if longest >= 9*time.Second {
		t.Errorf("a POST takes %s", longest)
	}
	gatewaytest.Eventually(t, "nothing is left", func() bool { return s.Stats().Sessions == 0 && s.Stats().Streams == 0 })
}
