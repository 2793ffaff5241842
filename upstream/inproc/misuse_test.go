package inproc_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/upstream/inproc"
)

const listen = `{"jsonrpc":"2.0","id":2,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true}}}`

// The SDK takes subscriptions/listen in every era, and there keeps it for as
// long as the session lives. It is a stream only where the protocol has it.
func TestListenIsRefusedWhereTheProtocolHasNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(nil)
		defer b.end(t)
		session := b.open(t)
		for name, w := range map[string]*struct{ session, version, body string }{
			"in a session":              {session, gatewaytest.Legacy, listen},
			"in a session, in a batch":  {session, "2025-03-26", `[{"jsonrpc":"2.0","id":1,"method":"ping"},` + listen + `]`},
			"outside, without a header": {"", "", listen},
			"outside, in a batch":       {"", "", `[{"jsonrpc":"2.0","id":1,"method":"ping"},` + listen + `]`},
		} {
			if answer := b.ask(t.Context(), "POST", w.session, w.version, w.body); answer.Code != http.StatusBadRequest || !strings.Contains(answer.Body.String(), "-32601") {
				t.Errorf("%s: %d %s", name, answer.Code, answer.Body)
			}
		}
		b.wants(t, "after the refusals", oneSession, 0)
	})
}

// A request that the SDK would refuse costs no server.
func TestNoServerForARequestThatCannotBeServed(t *testing.T) {
	factory := &gatewaytest.Factory{}
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make})
	token := s.Token(t, "alice")
	for _, test := range []struct {
		name    string
		request gatewaytest.Request
		status  int
	}{
		{"initialize that wants no answer", gatewaytest.Request{Token: token, Body: `{"jsonrpc":"2.0","method":"initialize"}`}, http.StatusBadRequest},
		{"a client that takes pages only", gatewaytest.Request{Token: token, Body: gatewaytest.Initialize(gatewaytest.Legacy), Header: map[string][]string{"Accept": {"text/html"}}}, http.StatusNotAcceptable},
		{"a client that takes no streams", gatewaytest.Request{Token: token, Body: gatewaytest.Initialize(gatewaytest.Legacy), Header: map[string][]string{"Accept": {"application/json"}}}, http.StatusNotAcceptable},
	} {
		if got := s.Do(t, test.request); got.Status != test.status {
			t.Errorf("%s: %d %s, want %d", test.name, got.Status, got.Body, test.status)
		}
	}
	for _, method := range []string{"PUT", "PATCH", "HEAD", "OPTIONS"} {
		got := s.Do(t, gatewaytest.Request{Method: method, Token: token})
		if got.Status != http.StatusMethodNotAllowed || got.Header.Get("Allow") != "GET, POST, DELETE" {
			t.Errorf("%s: %d, Allow %q", method, got.Status, got.Header.Get("Allow"))
		}
	}
	if made := factory.Made(); len(made) != 0 {
		t.Errorf("servers were made for %v", made)
	}
	if got := s.Do(t, gatewaytest.Request{Token: token, Body: gatewaytest.Initialize(gatewaytest.Legacy), Header: map[string][]string{"Accept": {"text/*;q=0.5", "application/*"}}}); got.Status != http.StatusOK {
		t.Errorf("a client that takes both by wildcard: %d %s", got.Status, got.Body)
	}
}

// Sessions have ids of ours: those of an author might be the same for two users,
// or be guessed.
func TestSessionIDsAreNotTheAuthors(t *testing.T) {
	for _, own := range []string{"", "same"} {
		s := gatewaytest.Start(t, gateway.Config{Factory: func(context.Context, gateway.Call) (gateway.Instance, error) {
			server := mcp.NewServer(&mcp.Implementation{Name: "test"}, &mcp.ServerOptions{GetSessionID: func() string { return own }})
			gatewaytest.AddTool(server, "hello", func(context.Context, *mcp.CallToolRequest) (string, error) { return "hello", nil })
			return gateway.Instance{Server: server}, nil
		}})
		seen := map[string]bool{own: true}
		for _, token := range []string{s.Token(t, "alice"), s.Token(t, "alice"), s.Token(t, "bob")} {
			session := s.Open(t, token, gatewaytest.Legacy)
			if seen[session] {
				t.Errorf("session id %q", session)
			}
			seen[session] = true
			hello := gatewaytest.Request{Token: token, Session: session, Version: gatewaytest.Legacy, Body: gatewaytest.CallTool(1, "hello", "{}")}
			if got := s.Do(t, hello); got.Status != http.StatusOK || got.Text() != "hello" {
				t.Errorf("in session %q: %d %s", session, got.Status, got.Body)
			}
		}
	}
}

func TestPanicWhileClosingAnInstance(t *testing.T) {
	s := gatewaytest.Start(t, gateway.Config{Factory: func(context.Context, gateway.Call) (gateway.Instance, error) {
		return gateway.Instance{Server: newServer(), Close: func(context.Context) error { panic("canary: closed twice") }}, nil
	}})
	alice := s.Token(t, "alice")
	session := s.Open(t, alice, gatewaytest.Legacy)
	if got := s.Do(t, gatewaytest.Request{Method: "DELETE", Token: alice, Session: session}); got.Status != http.StatusNoContent {
		t.Errorf("DELETE: %d %s", got.Status, got.Body)
	}
	gatewaytest.Eventually(t, "the panic in the log", func() bool { return strings.Contains(s.Log.String(), "canary: closed twice") })
	s.Open(t, alice, gatewaytest.Legacy)
}

// Middleware of the author's may refuse initialize after the SDK has done it.
func TestInitializeRefusedByTheAuthorLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(func(server *mcp.Server) { server.AddReceivingMiddleware(notToday) })
		if w := b.ask(t.Context(), "POST", "", "", gatewaytest.Initialize(gatewaytest.Legacy)); !strings.Contains(w.Body.String(), "not today") {
			t.Errorf("initialize: %d %s", w.Code, w.Body)
		}
		b.wants(t, "after the refusal", nothing, 1)
		b.end(t) // and synctest finds any goroutine that is left
	})
}

func TestFactoryThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var closes atomic.Int32
		u := inproc.New(inproc.Config{
			Factory: func(context.Context, inproc.Call) (inproc.Instance, error) {
				<-release // whatever becomes of its context
				return inproc.Instance{Server: newServer(), Close: func(context.Context) error { closes.Add(1); return nil }}, nil
			},
			Sessions: inproc.PerSession, Requests: inproc.PerUser, Limits: limits,
			FactoryTimeout: time.Minute, CallTimeout: time.Hour, MaxBodyBytes: 1 << 20, Refuse: refuse, Refused: refused, Logger: discard,
		})
		b := &bench{Upstream: u}
		begun := time.Now()
		for _, body := range []string{gatewaytest.Initialize(gatewaytest.Legacy), gatewaytest.CallTool(1, "hello", "{}")} {
			if w := b.ask(t.Context(), "POST", "", "", body); w.Code != http.StatusServiceUnavailable {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		}
		if waited := time.Since(begun); waited != 2*time.Minute {
			t.Errorf("two requests waited %v", waited)
		}
		close(release)
		b.end(t)
		if closes.Load() != 2 {
			t.Errorf("%d of 2 late instances were closed", closes.Load())
		}
	})
}

func TestShutdownDoesNotWaitForAFactory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := inproc.New(inproc.Config{
			Factory: func(ctx context.Context, _ inproc.Call) (inproc.Instance, error) {
				<-ctx.Done()
				return inproc.Instance{}, ctx.Err()
			},
			Sessions: inproc.PerSession, Requests: inproc.PerUser, Limits: limits,
			FactoryTimeout: time.Hour, CallTimeout: time.Hour, MaxBodyBytes: 1 << 20, Refuse: refuse, Refused: refused, Logger: discard,
		})
		b := &bench{Upstream: u}
		ctx, leave := context.WithCancel(t.Context())
		go b.ask(ctx, "POST", "", "", gatewaytest.CallTool(1, "hello", "{}"))
		synctest.Wait()
		leave()
		begun := time.Now()
		b.end(t)
		if waited := time.Since(begun); waited != 0 {
			t.Errorf("waited %v for a factory whose client has left", waited)
		}
	})
}

// badly is what a tool may return: a value that panics when it is encoded.
type badly struct{}

func (badly) MarshalJSON() ([]byte, error) { panic("canary: nil map") }

func TestPanicWhileEncodingAResult(t *testing.T) {
	s := gatewaytest.Start(t, gateway.Config{Factory: func(context.Context, gateway.Call) (gateway.Instance, error) {
		server := newServer()
		schema := map[string]any{"type": "object"}
		server.AddTool(&mcp.Tool{Name: "content", InputSchema: schema}, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return &mcp.CallToolResult{StructuredContent: badly{}}, nil
		})
		server.AddTool(&mcp.Tool{Name: "meta", InputSchema: schema}, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return &mcp.CallToolResult{Meta: mcp.Meta{"x": badly{}}}, nil
		})
		server.AddTool(&mcp.Tool{Name: "good", InputSchema: schema}, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return &mcp.CallToolResult{Meta: mcp.Meta{"x": 1}, StructuredContent: map[string]any{"y": 2}}, nil
		})
		return gateway.Instance{Server: server}, nil
	}})
	token := s.Token(t, "alice")
	for _, tool := range []string{"content", "meta"} {
		if got := s.Do(t, gatewaytest.ModernCall(token, 1, tool, "{}")); !strings.Contains(got.Body, "internal error") || strings.Contains(got.Body, "canary") {
			t.Errorf("%s: %d %s", tool, got.Status, got.Body)
		}
	}
	if got := s.Do(t, gatewaytest.ModernCall(token, 1, "good", "{}")); !strings.Contains(got.Body, `"x":1`) || !strings.Contains(got.Body, `"structuredContent":{"y":2}`) {
		t.Errorf("good: %d %s", got.Status, got.Body)
	}
}

// An instance is closed when its last call is done, not under it.
func TestShutdownWaitsForTheCallsOfAnInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, proceed := make(chan struct{}), make(chan struct{})
		b := newBench(func(server *mcp.Server) { addWait(server, began, proceed) })
		go b.call(t.Context(), "", "wait")
		<-began
		ended := make(chan error, 1)
		go func() { ended <- b.Shutdown(t.Context()) }()
		synctest.Wait()
		if len(ended) != 0 || b.closes.Load() != 0 {
			t.Errorf("under the call: %d results of Shutdown, %d instances closed", len(ended), b.closes.Load())
		}
		close(proceed)
		if err := <-ended; err != nil || b.closes.Load() != 1 {
			t.Errorf("after the call: %v, %d instances closed", err, b.closes.Load())
		}
	})
}

// A refused initialize beside a call, in one batch of the oldest protocol.
func TestInstanceOutlivesTheCallsOfARefusedSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, proceed := make(chan struct{}), make(chan struct{})
		b := newBench(func(server *mcp.Server) {
			addWait(server, began, proceed)
			server.AddReceivingMiddleware(notToday)
		})
		ctx, leave := context.WithCancel(t.Context())
		left := make(chan struct{})
		go func() {
			defer close(left)
			b.ask(ctx, "POST", "", "", "["+gatewaytest.Initialize("2025-03-26")+","+gatewaytest.CallTool(7, "wait", "{}")+"]")
		}()
		<-began
		leave()
		<-left
		synctest.Wait()
		if n := b.closes.Load(); n != 0 {
			t.Errorf("%d instances closed under a call", n)
		}
		close(proceed)
		b.wants(t, "after the call", nothing, 1)
		b.end(t)
	})
}

// addWait adds a tool that says when it has begun and waits to go on.
func addWait(server *mcp.Server, began, proceed chan struct{}) {
	gatewaytest.AddTool(server, "wait", func(context.Context, *mcp.CallToolRequest) (string, error) {
		close(began)
		<-proceed
		return "done", nil
	})
}

// notToday refuses initialize after the SDK has done it.
func notToday(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
		result, err := next(ctx, method, req)
		if method == "initialize" {
			return nil, errors.New("not today")
		}
		return result, err
	}
}
