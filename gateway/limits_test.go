package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/limit"
	"github.com/mcpauth-go/mcpauth/revoke"
	"github.com/mcpauth-go/mcpauth/tool"
)

func perHour(n int) limit.Rate { return limit.Rate{Requests: n, Per: time.Hour} }

// tooMany reports that an answer is not the refusal of a rate limit to the
// request of that id.
func tooMany(t *testing.T, what string, got gatewaytest.Answer, id string) {
	t.Helper()
	seconds, err := strconv.Atoi(got.Header.Get("Retry-After"))
	if got.Status != http.StatusTooManyRequests || err != nil || seconds < 1 || seconds > 3600 {
		t.Errorf("%s: %d %v %s", what, got.Status, got.Header, got.Body)
		return
	}
	want := fmt.Sprintf("{\"jsonrpc\":\"2.0\",\"id\":%s,\"error\":{\"code\":429,\"message\":\"Too many requests. Please try again in %d s.\"}}\n", id, seconds)
	if got.Body != want {
		t.Errorf("%s: %s, want %s", what, got.Body, want)
	}
}

func TestUserRate(t *testing.T) {
	s := gatewaytest.Start(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make, UserRate: perHour(5)})
	alice := s.Token(t, "alice")
	session := s.Open(t, alice, gatewaytest.Legacy) // two messages
	call := gatewaytest.Request{Token: alice, Session: session, Version: gatewaytest.Legacy, Body: gatewaytest.CallTool(7, "whoami", "{}")}
	for i := range 3 {
		if got := s.Do(t, call); got.Status != http.StatusOK {
			t.Fatalf("call %d: %d %s", i, got.Status, got.Body)
		}
	}
	tooMany(t, "the sixth message", s.Do(t, call), "7")
	call.Body = `{"jsonrpc":"2.0","id":"a<b","method":"ping"}`
	tooMany(t, "with an id that is a string", s.Do(t, call), `"a\u003cb"`)
	call.Token = s.Token(t, "alice")
	tooMany(t, "with another token", s.Do(t, call), `"a\u003cb"`)
	tooMany(t, "in the other era", s.Do(t, gatewaytest.ModernCall(alice, 8, "whoami", "{}")), "8")
	tooMany(t, "a stream", s.Do(t, gatewaytest.Request{Method: "GET", Token: alice, Session: session, Version: gatewaytest.Legacy}), "null")
	if got := s.Do(t, gatewaytest.ModernCall(s.Token(t, "bob"), 9, "whoami", "{}")); got.Status != http.StatusOK {
		t.Errorf("another user: %d %s", got.Status, got.Body)
	}
	if got := s.Do(t, gatewaytest.Request{Method: "DELETE", Token: alice, Session: session, Version: gatewaytest.Legacy}); got.Status != http.StatusNoContent {
		t.Errorf("DELETE: %d %s", got.Status, got.Body)
	}
}

func TestUsersOfTwoIssuersHaveRatesOfTheirOwn(t *testing.T) {
	ours, theirs := gatewaytest.NewIssuer(t, "https://issuer.example"), gatewaytest.NewIssuer(t, "https://other.example")
	s := gatewaytest.Start(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make, UserRate: perHour(1)}, ours, theirs)
	for _, issuer := range []*gatewaytest.Issuer{ours, theirs} {
		request := gatewaytest.ModernCall(s.TokenOf(t, issuer, "alice"), 7, "whoami", "{}")
		if got := s.Do(t, request); got.Status != http.StatusOK {
			t.Errorf("alice of %s: %d %s", issuer.Name, got.Status, got.Body)
		}
		tooMany(t, "alice of "+issuer.Name+", again", s.Do(t, request), "7")
	}
}

func TestToolRates(t *testing.T) {
	factory := &gatewaytest.Factory{Setup: func(server *mcp.Server, _ gateway.Call) {
		for _, name := range []string{"mail", "other", "free"} {
			gatewaytest.AddTool(server, name, func(context.Context, *mcp.CallToolRequest) (string, error) { return name, nil })
		}
	}}
	s := gatewaytest.Start(t, gateway.Config{
		Factory: factory.Make, UserRate: limit.Off, ToolRates: map[string]limit.Rate{"mail": perHour(2), "*": perHour(1), "free": limit.Off},
	})
	call := func(user, tool string) gatewaytest.Answer {
		return s.Do(t, gatewaytest.ModernCall(s.Token(t, user), 7, tool, "{}"))
	}
	passes := func(user, tool string) {
		t.Helper()
		if got := call(user, tool); got.Status != http.StatusOK {
			t.Errorf("%s, %s: %d %s", user, tool, got.Status, got.Body)
		}
	}
	passes("alice", "mail")
	passes("alice", "mail")
	tooMany(t, "the third mail", call("alice", "mail"), "7")
	passes("bob", "mail")
	passes("alice", "other")
	tooMany(t, "another tool, twice", call("alice", "other"), "7")
	for range 10 {
		passes("alice", "free")
	}
	// Lists are not calls.
	if got := s.Do(t, modern(s.Token(t, "alice"), "tools/list", "", "{}")); got.Status != http.StatusOK {
		t.Errorf("a list: %d %s", got.Status, got.Body)
	}
}

func TestEachMessageOfABatchCounts(t *testing.T) {
	const version = "2025-03-26"
	s := gatewaytest.Start(t, gateway.Config{
		Factory: (&gatewaytest.Factory{}).Make, UserRate: perHour(10), ToolRates: map[string]limit.Rate{"whoami": perHour(3)},
	})
	batch := func(n int) string {
		return "[" + strings.TrimSuffix(strings.Repeat(gatewaytest.CallTool(7, "whoami", "{}")+",", n), ",") + "]"
	}
	pings := "[" + strings.TrimSuffix(strings.Repeat(`{"jsonrpc":"2.0","id":7,"method":"ping"},`, 6), ",") + "]"
	alice := s.Token(t, "alice")
	session := s.Open(t, alice, version) // two messages
	ask := func(body string) gatewaytest.Answer {
		return s.Do(t, gatewaytest.Request{Token: alice, Session: session, Version: version, Body: body})
	}
	if got := ask(strings.Replace(batch(2), `"id":7`, `"id":8`, 1)); got.Status != http.StatusOK {
		t.Errorf("two calls: %d %s", got.Status, got.Body)
	}
	tooMany(t, "two more, of a tool that may be called three times", ask(batch(2)), "null")
	tooMany(t, "seven messages, where six are left", ask("["+gatewaytest.Message(9, "ping", "")+","+pings[1:]), "null")
}

// A batch is weighed before any of its calls runs. What does not fit as a whole
// runs nothing and uses up nothing of the tools' rates.
func TestABatchThatExceedsARateRunsNothing(t *testing.T) {
	const version = "2025-03-26"
	var runs atomic.Int64
	factory := &gatewaytest.Factory{Setup: func(server *mcp.Server, _ gateway.Call) {
		for _, name := range []string{"mail", "other", "third"} {
			gatewaytest.AddTool(server, name, func(context.Context, *mcp.CallToolRequest) (string, error) {
				runs.Add(1)
				return name, nil
			})
		}
	}}
	s := gatewaytest.Start(t, gateway.Config{
		Factory: factory.Make, LegacySSE: true, UserRate: perHour(60), ToolRates: map[string]limit.Rate{"mail": perHour(3), "*": perHour(2)},
	})
	batch := func(tools ...string) string {
		var calls []string
		for i, tool := range tools {
			calls = append(calls, gatewaytest.CallTool(i, tool, "{}"))
		}
		return "[" + strings.Join(calls, ",") + "]"
	}
	notification := `{"jsonrpc":"2.0","method":"tools/call","params":{"name":"mail"}}`
	alice := s.Token(t, "alice")
	session, stream := s.Open(t, alice, version), openedSSE(t, s, alice) // six messages
	ask := func(body string) gatewaytest.Answer {
		return s.Do(t, gatewaytest.Request{Token: alice, Session: session, Version: version, Body: body})
	}
	refused := func(what string, got gatewaytest.Answer) {
		t.Helper()
		const want = "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":429,\"message\":\"The batch has more messages, or more calls of one tool, than the rate limit allows at once. Please send smaller batches.\"}}\n"
		if got.Status != http.StatusRequestEntityTooLarge || got.Body != want || got.Header["Retry-After"] != nil {
			t.Errorf("%s: %d %v %s", what, got.Status, got.Header, got.Body)
		}
	}
	for _, test := range []struct{ what, body string }{
		{"fifty calls", batch(slices.Repeat([]string{"mail"}, 50)...)},
		{"one call too many, among others", batch("mail", "other", "mail", "third", "mail", "mail")},
		{"too many of a tool without a rate of its own", batch("other", "third", "other", "third", "other")},
		{"too many of a tool that is not there", batch("a", "a", "a")},
		{"calls without an id", "[" + strings.Join(slices.Repeat([]string{notification}, 4), ",") + "]"},
		{"more messages than a user may send", "[" + strings.Join(slices.Repeat([]string{`{"jsonrpc":"2.0","id":1,"method":"ping"}`}, 61), ",") + "]"},
	} {
		refused(test.what, ask(test.body))
	}
	mails := batch(slices.Repeat([]string{"mail"}, 50)...)
	refused("in the other era", s.Do(t, gatewaytest.Request{Token: alice, Version: gatewaytest.Modern, Body: mails}))
	refused("over HTTP+SSE", s.Do(t, gatewaytest.Request{Path: stream.endpoint, Token: alice, Body: mails}))
	if n := runs.Load(); n != 0 {
		t.Fatalf("%d calls of refused batches have run", n)
	}

	if got := ask(batch("mail", "mail", "mail", "other", "third", "other", "third")); got.Status != http.StatusOK || runs.Load() != 7 {
		t.Errorf("a batch that fits: %d %s, %d calls", got.Status, got.Body, runs.Load())
	}
	tooMany(t, "one more call", ask(batch("mail", "mail")), "null")
	// Six messages to open, eight refused batches at one message each, seven
	// calls: 39 of 60 are left.
	pings := func(n int) string {
		all := make([]string, n)
		for i := range all {
			all[i] = gatewaytest.Message(i, "ping", "")
		}
		return "[" + strings.Join(all, ",") + "]"
	}
	tooMany(t, "more messages than are left", ask(pings(50)), "null")
	if got := ask(pings(39)); got.Status != http.StatusOK {
		t.Errorf("as many messages as are left: %d %s", got.Status, got.Body)
	}
}

// tool.Limit is asked by each call as it runs, so that a batch is no way around it.
func TestABatchDoesNotPassTheLimitOfATool(t *testing.T) {
	const version = "2025-03-26"
	l, err := limit.New(limit.Config{User: limit.Off, Tools: map[string]limit.Rate{"mail": perHour(3)}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var runs atomic.Int64
	factory := &gatewaytest.Factory{Setup: func(server *mcp.Server, _ gateway.Call) {
		tool.Add(server, &mcp.Tool{Name: "mail"}, func(context.Context, *tool.Call, struct{}) (string, error) {
			runs.Add(1)
			return "sent", nil
		}, tool.Limit(l))
	}}
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make})
	alice := s.Token(t, "alice")
	session := s.Open(t, alice, version)
	var calls []string
	for i := range 50 {
		calls = append(calls, gatewaytest.CallTool(i, "mail", "{}"))
	}
	got := s.Do(t, gatewaytest.Request{Token: alice, Session: session, Version: version, Body: "[" + strings.Join(calls, ",") + "]"})
	if got.Status != http.StatusOK || runs.Load() != 3 || strings.Count(got.Body, "This tool has been called too often.") != 47 {
		t.Errorf("%d, %d calls: %.300s", got.Status, runs.Load(), got.Body)
	}
}

func TestRateOff(t *testing.T) {
	s := gatewaytest.Start(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make, UserRate: limit.Off})
	token := s.Token(t, "alice")
	for i := range 1100 { // the default is 1000 a minute
		if got := s.Do(t, gatewaytest.Request{Token: token, Version: gatewaytest.Modern, Header: headers{"Mcp-Method": {"ping"}}, Body: gatewaytest.Message(i, "ping", "")}); got.Status == http.StatusTooManyRequests {
			t.Fatalf("request %d: %d %s", i, got.Status, got.Body)
		}
	}
}

func TestCapsPerUser(t *testing.T) {
	s := gatewaytest.Start(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make, MaxSessionsPerUser: 1, MaxSessions: 2, MaxStreamsPerUser: 1})
	alice, bob := s.Token(t, "alice"), s.Token(t, "bob")
	first := s.Open(t, alice, gatewaytest.Legacy)
	session := s.Open(t, alice, gatewaytest.Legacy)
	if got := s.Do(t, gatewaytest.Request{Token: alice, Session: first, Version: gatewaytest.Legacy, Body: gatewaytest.CallTool(1, "whoami", "{}")}); got.Status != http.StatusNotFound {
		t.Errorf("in the first of two sessions: %d %s", got.Status, got.Body)
	}
	refused := func(what string, got gatewaytest.Answer, status, least, most int, body string) {
		t.Helper()
		after, _ := strconv.Atoi(got.Header.Get("Retry-After"))
		if got.Status != status || after < least || after > most || got.Body != body+"\n" {
			t.Errorf("%s: %d %v %s", what, got.Status, got.Header, got.Body)
		}
	}
	get := gatewaytest.Request{Method: "GET", Token: alice, Session: session, Version: gatewaytest.Legacy}
	stream(t, s, get, ": ok")
	refused("a second session beside one in use", s.Do(t, gatewaytest.Request{Token: alice, Body: gatewaytest.Initialize(gatewaytest.Legacy)}), http.StatusServiceUnavailable, 60, 60,
		`{"error":"temporarily_unavailable","error_description":"Too many sessions of this user. Please close some, or try again later."}`)
	s.Open(t, bob, gatewaytest.Legacy) // which is idle from now on, for half an hour
	refused("a third user's", s.Do(t, gatewaytest.Request{Token: s.Token(t, "carol"), Body: gatewaytest.Initialize(gatewaytest.Legacy)}), http.StatusServiceUnavailable, 1700, 1800,
		`{"error":"temporarily_unavailable","error_description":"Too many sessions. Please close some, or try again later."}`)
	refused("a second stream", s.Do(t, get), http.StatusTooManyRequests, 30, 30,
		`{"error":"rate_limited","error_description":"Too many open streams. Please close some, or try again later."}`)
}

func TestLargeBody(t *testing.T) {
	const size = 10 << 20
	type in struct {
		Text string `json:"text"`
	}
	factory := &gatewaytest.Factory{Setup: func(server *mcp.Server, _ gateway.Call) {
		mcp.AddTool(server, &mcp.Tool{Name: "length"}, func(_ context.Context, _ *mcp.CallToolRequest, in in) (*mcp.CallToolResult, any, error) {
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: strconv.Itoa(len(in.Text))}}}, nil, nil
		})
	}}
	arguments := `{"text":"` + strings.Repeat("x", size) + `"}`
	const tooLarge = "The request body is larger than 4194304 bytes"
	for _, test := range []struct {
		name    string
		max     int64
		version string
		chunked bool
		status  int
		text    string
	}{
		{"beyond the default", 0, gatewaytest.Modern, false, http.StatusRequestEntityTooLarge, tooLarge},
		{"beyond the default, in chunks", 0, gatewaytest.Legacy, true, http.StatusRequestEntityTooLarge, tooLarge},
		{"where it is allowed, in chunks", 11 << 20, gatewaytest.Modern, true, http.StatusOK, strconv.Itoa(size)},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make, MaxBodyBytes: test.max})
			token := s.Token(t, "alice")
			request := gatewaytest.ModernCall(token, 7, "length", arguments)
			if test.version == gatewaytest.Legacy {
				request = gatewaytest.Request{Token: token, Session: s.Open(t, token, test.version), Version: test.version, Body: gatewaytest.CallTool(7, "length", arguments)}
			}
			req, err := s.New(t.Context(), request)
			if err != nil {
				t.Fatal(err)
			}
			if test.chunked {
				req.ContentLength = -1
			}
			resp, err := s.HTTP.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			got := gatewaytest.Answer{Status: resp.StatusCode, Body: string(body)}
			if err != nil || got.Status != test.status || got.Text() != test.text {
				t.Errorf("answer = %d %.300s, %v", got.Status, got.Body, err)
			}
		})
	}
}

// bigSize is more than the system keeps of a connection for both ends.
const bigSize = 16 << 20

// big makes servers with a tool whose result is larger than what fits between
// the two ends of a connection.
func big() *gatewaytest.Factory {
	return &gatewaytest.Factory{Setup: func(server *mcp.Server, _ gateway.Call) {
		gatewaytest.AddTool(server, "big", func(context.Context, *mcp.CallToolRequest) (string, error) {
			return strings.Repeat("x", bigSize), nil
		})
	}}
}

// send sends r over a connection of its own.
func send(t *testing.T, s *gatewaytest.Server, r gatewaytest.Request) net.Conn {
	t.Helper()
	conn := s.DialRaw(t)
	req, err := s.New(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	var wire bytes.Buffer
	if err := req.Write(&wire); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(wire.Bytes()); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestClientThatDoesNotReadIsGivenUp(t *testing.T) {
	for _, version := range eras {
		t.Run(version, func(t *testing.T) {
			audit := &gatewaytest.Log{}
			s := gatewaytest.Start(t, gateway.Config{Factory: big().Make, WriteTimeout: time.Second, Audit: audit})
			token := s.Token(t, "alice")
			request := gatewaytest.ModernCall(token, 7, "big", "{}")
			if version == gatewaytest.Legacy {
				request = gatewaytest.Request{Token: token, Session: s.Open(t, token, version), Version: version, Body: gatewaytest.CallTool(7, "big", "{}")}
			}
			send(t, s, request) // and read nothing
			gatewaytest.Eventually(t, "the call is written down as cancelled", func() bool {
				return strings.Contains(audit.String(), `"outcome":"cancelled"`) && s.Stats().Calls == 0
			})
		})
	}
}

// A client that reads all the time, but slowly, gets all of it.
func TestClientThatReadsSlowlyIsNotGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = time.Minute
		s := gatewaytest.StartInMemory(t, gateway.Config{Factory: big().Make, WriteTimeout: timeout, RequestTimeout: time.Hour})
		conn := send(t, s, gatewaytest.ModernCall(s.Token(t, "alice", map[string]any{"exp": time.Now().Add(time.Hour).Unix()}), 7, "big", "{}"))
		began := time.Now()
		resp, err := http.ReadResponse(bufio.NewReader(&slowly{Reader: conn, rest: timeout / 4}), nil)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		if err != nil || n < bigSize {
			t.Errorf("%d bytes, %v", n, err)
		}
		if took := time.Since(began); took < 2*timeout {
			t.Errorf("that took %s: not slow enough to show anything", took)
		}
		conn.Close()
	})
}

// What a stream is sending when its credential is revoked ends soon, also for a
// client that reads all the time.
func TestAStreamThatIsBeingReadEndsWithItsCredential(t *testing.T) {
	t.Parallel()
	l := openList(t, revoke.Config{})
	s := gatewaytest.Start(t, gateway.Config{Factory: big().Make, WriteTimeout: 2 * time.Second, Revocations: l})
	token := s.Token(t, "alice")
	conn := send(t, s, gatewaytest.Request{Token: token, Session: s.Open(t, token, gatewaytest.Legacy), Version: gatewaytest.Legacy, Body: gatewaytest.CallTool(7, "big", "{}")})
	defer conn.Close()
	resp, err := http.ReadResponse(bufio.NewReader(&slowly{Reader: conn, rest: 300 * time.Millisecond}), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, resp.Body, 1<<20); err != nil {
		t.Fatal(err)
	}
	put(t, l, revoke.Revocation{Kind: revoke.Block, UserID: "alice"})
	if n, err := io.Copy(io.Discard, resp.Body); n >= bigSize-1<<20 || err == nil {
		t.Errorf("%d of %d bytes, then %v", n+(1<<20), bigSize, err)
	}
}

// slowly rests after each MiB.
type slowly struct {
	io.Reader
	rest time.Duration
	read int
}

func (s *slowly) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if s.read += n; s.read >= 1<<20 {
		s.read = 0
		time.Sleep(s.rest)
	}
	return n, err
}

// Quiet streams live on, over HTTP/1 and, on a server of the author's, HTTP/2.
func TestQuietStreamOutlivesWriteTimeout(t *testing.T) {
	const timeout = 50 * time.Millisecond
	for _, two := range []bool{false, true} {
		t.Run(fmt.Sprint("HTTP/2 ", two), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				factory := newTelling(1)
				s := gatewaytest.StartInMemory(t, gateway.Config{Factory: factory.Make, WriteTimeout: timeout})
				front := s
				if two {
					front = overHTTP2(t, s)
				}
				alice := s.Token(t, "alice")
				session := front.Open(t, alice, gatewaytest.Legacy)
				resp, err := front.Begin(t.Context(), gatewaytest.Request{Method: "GET", Token: alice, Session: session, Version: gatewaytest.Legacy})
				if err != nil || resp.StatusCode != http.StatusOK || (resp.ProtoMajor == 2) != two {
					t.Fatalf("GET: %v, %v", resp, err)
				}
				defer resp.Body.Close()
				asked := tale{"hello", 2}
				call, _ := follow(t, front, t.Context(), tell(alice, session, 7, `"t"`, asked))

				time.Sleep(4 * timeout)
				close(factory.proceed)
				want := told("alice", 7, `"t"`, asked)[1:]
				if got, err := call.rest(); err != nil || strings.Join(got, "\n") != strings.Join(want, "\n") {
					t.Errorf("the call, after a pause: %q, %v; want %q", got, err, want)
				}
				front.Do(t, gatewaytest.Request{Token: alice, Session: session, Version: gatewaytest.Legacy, Body: gatewaytest.CallTool(8, "grow", "{}")})
				if got, err := newEvents(resp.Body).next(); err != nil || got != "notifications/tools/list_changed" {
					t.Errorf("the stream, after a pause: %q, %v", got, err)
				}
			})
		})
	}
}

// overHTTP2 serves s a second time, over HTTP/2 without TLS.
func overHTTP2(t *testing.T, s *gatewaytest.Server) *gatewaytest.Server {
	t.Helper()
	pipes, protocols := gatewaytest.NewPipes(), new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	own := &http.Server{Handler: s.Gateway, Protocols: protocols}
	ended := make(chan error, 1)
	go func() { ended <- own.Serve(pipes) }()
	transport := &http.Transport{DialContext: pipes.Dial, Protocols: protocols}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		own.Close()
		<-ended
	})
	return &gatewaytest.Server{Origin: s.Origin, URL: s.URL, HTTP: transport}
}

// A connection that is used again has its time again, also for what is not MCP.
func TestConnectionUsedAgainAfterWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = 50 * time.Millisecond
		s := gatewaytest.StartInMemory(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make, WriteTimeout: timeout})
		conn := s.DialRaw(t)
		answers := bufio.NewReader(conn)
		for _, request := range []string{
			"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{}",
			"GET /mcp/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
			"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
			"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\nAuthorization: Bearer " + s.Token(t, "alice") + "\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n\r\n{}",
		} {
			if _, err := io.WriteString(conn, request); err != nil {
				t.Fatal(err)
			}
			for status := 100; status == 100; {
				resp, err := http.ReadResponse(answers, nil)
				if err != nil {
					t.Fatalf("%.20s: %v", request, err)
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil {
					t.Fatal(err)
				}
				status = resp.StatusCode
			}
			time.Sleep(2 * timeout)
		}
		conn.Close()
	})
}
