package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/limit"
	"github.com/mcpauth-go/mcpauth/policy"
)

// What a verified user may send that would cost others.

func TestAbuseOfWhatIsKept(t *testing.T) {
	s := gatewaytest.Start(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make})
	bob := s.Token(t, "bob")
	many := func(n int, of string) string { return strings.TrimSuffix(strings.Repeat(of+",", n), ",") }
	listen := func(params string) gatewaytest.Request {
		return gatewaytest.Request{Token: bob, Version: gatewaytest.Modern, Header: headers{"Mcp-Method": {"subscriptions/listen"}},
			Body: gatewaytest.Message(7, "subscriptions/listen", gatewaytest.ModernParams(gatewaytest.Modern, params))}
	}
	for _, test := range []struct {
		name    string
		request gatewaytest.Request
		status  int
		says    string
	}{
		{"a session that begins with much", gatewaytest.Request{Token: bob, Body: gatewaytest.Message(7, "initialize",
			`{"protocolVersion":"2025-11-25","capabilities":{"experimental":{"a":[`+many(50_000, "0")+`]}},"clientInfo":{"name":"raw","version":"1"}}`)},
			http.StatusRequestEntityTooLarge, `"id":7`},
		{"a subscription that begins with much", listen(`{"notifications":{},"x":[` + many(50_000, "0") + `]}`), http.StatusRequestEntityTooLarge, `"id":7`},
		{"a subscription to very many resources", listen(`{"notifications":{"resourceSubscriptions":[` + many(1001, `"x:y"`) + `]}}`), http.StatusBadRequest, "more than 1000"},
		{"a very long URI", gatewaytest.Request{Token: bob, Body: gatewaytest.Message(7, "resources/subscribe", `{"uri":"x:`+strings.Repeat("y", 16<<10)+`"}`)}, http.StatusBadRequest, "16384"},
		{"a subscription to a resource with much beside it", gatewaytest.Request{Token: bob, Body: gatewaytest.Message(7, "resources/subscribe", `{"uri":"x:y","z":"`+strings.Repeat("z", 64<<10)+`"}`)}, http.StatusRequestEntityTooLarge, `"id":7`},
		{"a very long log level", gatewaytest.Request{Token: bob, Body: gatewaytest.Message(7, "logging/setLevel", `{"level":"`+strings.Repeat("x", 64<<10)+`"}`)}, http.StatusRequestEntityTooLarge, `"id":7`},
		{"a very long id", gatewaytest.Request{Token: bob, Body: `{"jsonrpc":"2.0","id":"` + strings.Repeat("x", 1<<10) + `","method":"resources/subscribe","params":{"uri":"x:y"}}`}, http.StatusBadRequest, "1024"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := s.Do(t, test.request); got.Status != test.status || !strings.Contains(got.Body, test.says) {
				t.Errorf("answer = %d %.300s, want %d with %q", got.Status, got.Body, test.status, test.says)
			}
		})
	}
	if got := s.Stats(); got.Sessions != 0 || got.Streams != 0 {
		t.Errorf("in the end: %+v", got)
	}
}

// What is refused is counted like what is served.
func TestAbuseIsNotFree(t *testing.T) {
	for name, request := range map[string]gatewaytest.Request{
		"garbage":         {Body: "{"},
		"a wrong header":  {Body: gatewaytest.CallTool(7, "whoami", "{}"), Header: headers{"Mcp-Method": {"ping"}}},
		"another's scope": {Body: gatewaytest.CallTool(7, "guarded", "{}")},
	} {
		t.Run(name, func(t *testing.T) {
			s := gatewaytest.Start(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make, Rules: []policy.Rule{{Tool: "guarded", Scopes: []string{"write"}}}, UserRate: limit.Rate{Requests: 2, Per: time.Hour}})
			request.Token = s.Token(t, "bob")
			for range 2 {
				if got := s.Do(t, request); got.Status != 400 && got.Status != 403 {
					t.Fatalf("at first: %d %s", got.Status, got.Body)
				}
			}
			if got := s.Do(t, gatewaytest.ModernCall(request.Token, 8, "whoami", "{}")); got.Status != http.StatusTooManyRequests {
				t.Errorf("after that: %d %s", got.Status, got.Body)
			}
		})
	}
}

// Bodies that never end are in memory: no more than 16 of one user.
func TestAbuseOfBodies(t *testing.T) {
	s := gatewaytest.Start(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make})
	bob := s.Token(t, "bob")
	begin := func() (net.Conn, *bufio.Reader) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.Origin, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		// The server asks for the body once it has come to reading it.
		fmt.Fprintf(conn, "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n", bob)
		return conn, bufio.NewReader(conn)
	}
	var first net.Conn
	var answers *bufio.Reader
	for i := range 17 {
		conn, in := begin()
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := http.StatusContinue
		if i == 16 {
			want = http.StatusTooManyRequests
		}
		if resp.StatusCode != want {
			t.Errorf("body %d: %d, want %d", i, resp.StatusCode, want)
		}
		if i == 0 {
			first, answers = conn, in
		}
	}
	if got := s.Do(t, gatewaytest.ModernCall(s.Token(t, "alice"), 7, "whoami", "{}")); got.Status != http.StatusOK {
		t.Errorf("alice: %d %s", got.Status, got.Body)
	}
	io.WriteString(first, gatewaytest.CallTool(7, "whoami", "{}")+strings.Repeat(" ", 100))
	if resp, err := http.ReadResponse(answers, nil); err != nil || resp.StatusCode == http.StatusTooManyRequests {
		t.Errorf("the first body, once it is there: %v, %v", resp, err)
	}
	if _, in := begin(); true {
		if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != http.StatusContinue {
			t.Errorf("one more, then: %v, %v", resp, err)
		}
	}
}

// panics is an author's type that does not encode.
type panics struct{}

func (panics) MarshalJSON() ([]byte, error) { panic("canary") }

// A result that does not encode is an error of its call, and of that alone.
func TestResultsThatDoNotEncode(t *testing.T) {
	for name, value := range map[string]any{"a panic": panics{}, "no number": math.NaN(), "a function": func() {}} {
		t.Run(name, func(t *testing.T) {
			meta := mcp.Meta{"x": value}
			factory := &gatewaytest.Factory{Setup: func(server *mcp.Server, _ gateway.Call) {
				server.AddTool(&mcp.Tool{Name: "bad", InputSchema: map[string]any{"type": "object"}}, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
					return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "x", Meta: meta}}}, nil
				})
				server.AddPrompt(&mcp.Prompt{Name: "bad"}, func(context.Context, *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
					return &mcp.GetPromptResult{Meta: meta}, nil
				})
				server.AddResource(&mcp.Resource{Name: "bad", URI: "x:bad"}, func(context.Context, *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
					return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: "x:bad", Text: "x", Meta: meta}}}, nil
				})
			}}
			s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make})
			bob := s.Token(t, "bob")
			session := s.Open(t, bob, gatewaytest.Legacy)
			for method, params := range map[string]string{
				"tools/call": `{"name":"bad","arguments":{}}`, "prompts/get": `{"name":"bad"}`, "resources/read": `{"uri":"x:bad"}`,
			} {
				got := s.Do(t, gatewaytest.Request{Token: bob, Session: session, Version: gatewaytest.Legacy, Body: gatewaytest.Message(7, method, params)})
				if got.Status != http.StatusOK || !strings.Contains(got.Body, `"id":7,"error"`) || strings.Contains(got.Body, "canary") {
					t.Errorf("%s: %d %s", method, got.Status, got.Body)
				}
			}
		})
	}
}

// byScope resolves a credential that depends on the token, as an exchange does.
type byScope struct{}

func (byScope) Resolve(_ context.Context, id *mcpauth.Identity, _ string) (*mcpauth.Credential, error) {
	return &mcpauth.Credential{Token: mcpauth.NewSecret(strings.Join(id.Scopes(), " "))}, nil
}

// Servers that had to be replaced count as long as they are in use.
func TestAbuseOfReplacedServers(t *testing.T) {
	began := make(chan struct{}, 100)
	factory := &gatewaytest.Factory{Setup: func(server *mcp.Server, _ gateway.Call) {
		gatewaytest.AddTool(server, "slow", func(ctx context.Context, _ *mcp.CallToolRequest) (string, error) {
			began <- struct{}{}
			<-ctx.Done()
			return "", ctx.Err()
		})
	}}
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make, MaxInstances: 3, Resolver: byScope{}, ResourceType: "x"})
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	var asked sync.WaitGroup
	refused := 0
	for i := range 6 {
		token := s.Token(t, "bob", map[string]any{"scope": strconv.Itoa(i % 2)})
		answered := make(chan gatewaytest.Answer, 1)
		asked.Go(func() {
			got, _ := s.Try(ctx, gatewaytest.ModernCall(token, i, "slow", "{}"))
			answered <- got
		})
		select {
		case <-began:
		case got := <-answered:
			if got.Status != http.StatusServiceUnavailable {
				t.Errorf("call %d: %d %s", i, got.Status, got.Body)
			}
			refused++
		}
	}
	if got := s.Stats(); got.Alive.PerUser != 3 || refused != 3 {
		t.Errorf("%+v, %d refused", got, refused)
	}
	leave()
	asked.Wait()
}

// Calls of one user are bounded, in batches, too, and whether or not somebody
// waits for them.
func TestAbuseOfCalls(t *testing.T) {
	began := make(chan struct{}, 100)
	factory := &gatewaytest.Factory{Setup: func(server *mcp.Server, _ gateway.Call) {
		gatewaytest.AddTool(server, "slow", func(ctx context.Context, _ *mcp.CallToolRequest) (string, error) {
			began <- struct{}{}
			<-ctx.Done()
			return "", ctx.Err()
		})
	}}
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make, MaxCallsPerUser: 5, RequestTimeout: time.Hour})
	bob := s.Token(t, "bob")
	const old = "2025-03-26"
	session := s.Open(t, bob, old)
	var calls []string
	for i := range 20 {
		calls = append(calls, gatewaytest.CallTool(100+i, "slow", "{}"))
	}
	ctx, leave := context.WithCancel(t.Context())
	resp, err := s.Begin(ctx, gatewaytest.Request{Token: bob, Session: session, Version: old, Body: "[" + strings.Join(calls, ",") + "]"})
	if err != nil {
		t.Fatal(err)
	}
	events := newEvents(resp.Body)
	for range 15 {
		if got, err := events.next(); err != nil || !strings.Contains(got, "error") && !strings.Contains(got, "429") {
			t.Fatalf("an answer: %q, %v", got, err)
		}
	}
	for range 5 {
		gatewaytest.Receive(t, "five calls begin", began)
	}
	leave()
	resp.Body.Close()
	got := s.Do(t, gatewaytest.Request{Token: bob, Session: session, Version: old, Body: gatewaytest.CallTool(7, "whoami", "{}")})
	if !strings.Contains(got.Body, "Too many calls") {
		t.Errorf("one more: %d %s", got.Status, got.Body)
	}
	if got := s.Do(t, gatewaytest.ModernCall(s.Token(t, "alice"), 7, "whoami", "{}")); !strings.Contains(got.Body, "alice") {
		t.Errorf("alice: %d %s", got.Status, got.Body)
	}
	s.Do(t, gatewaytest.Request{Method: "DELETE", Token: bob, Session: session, Version: old})
	gatewaytest.Eventually(t, "the calls are over", func() bool {
		got, err := s.Try(t.Context(), gatewaytest.ModernCall(bob, 8, "whoami", "{}"))
		return err == nil && strings.Contains(got.Body, "bob")
	})
}
