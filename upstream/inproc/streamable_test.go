package inproc_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/upstream/inproc"
)

func TestPostsInASession(t *testing.T) {
	s := gatewaytest.Start(t, gateway.Config{Factory: func(context.Context, gateway.Call) (gateway.Instance, error) {
		return gateway.Instance{Server: versatile()}, nil
	}})
	token := s.Token(t, "alice")
	session := s.Open(t, token, gatewaytest.Legacy)
	for _, test := range []struct {
		name, version, body string
		status              int
		want                string
	}{
		{"an id that is text", "", `{"jsonrpc":"2.0","id":"a\u0062\"","method":"ping"}`, 200, `"id":"ab\"","result":{}`},
		{"an id as large as may be", "", `{"jsonrpc":"2.0","id":9007199254740992,"method":"ping"}`, 200, `"id":9007199254740992,`},
		{"an id that would be rounded", "", `{"jsonrpc":"2.0","id":9007199254740993,"method":"ping"}`, 400, `\"id\" is neither`},
		{"an id that is a fraction", "", `{"jsonrpc":"2.0","id":1.5,"method":"ping"}`, 400, `\"id\" is neither`},
		{"an id that is an object", "", `{"jsonrpc":"2.0","id":{},"method":"ping"}`, 400, `\"id\" is neither`},
		{"another JSON-RPC", "", `{"jsonrpc":"1.0","id":1,"method":"ping"}`, 400, `\"jsonrpc\" is not`},
		{"no JSON-RPC", "", `{"id":1,"method":"ping"}`, 400, `\"jsonrpc\" is not`},
		{"neither a request nor an answer", "", `{"jsonrpc":"2.0"}`, 400, "-32600"},
		{"an answer that nobody waits for", "", `{"jsonrpc":"2.0","id":77,"result":{}}`, 202, ""},
		{"a notification", "", `{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`, 202, ""},
		{"no such method", "", `{"jsonrpc":"2.0","id":1,"method":"none"}`, 200, `"code":-32601`},
		{"a batch", "2025-03-26", `[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"ping"}]`, 200, `"id":2,"result":{}`},
		{"a batch of no calls", "2025-03-26", `[{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}]`, 202, ""},
		{"a batch with an id twice", "2025-03-26", `[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":1,"method":"ping"}]`, 400, "another one in progress"},
		{"a batch where there are none", "2025-06-18", `[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"ping"}]`, 400, "no batches"},
		{"the id of the batch again", "", `{"jsonrpc":"2.0","id":1,"method":"ping"}`, 200, `"id":1,"result":{}`},
	} {
		r := gatewaytest.Request{Token: token, Session: session, Version: test.version, Body: test.body}
		if r.Version == "" {
			r.Version = gatewaytest.Legacy
		}
		got := s.Do(t, r)
		if got.Status != test.status || !strings.Contains(got.Body, test.want) || test.want == "" && got.Body != "" {
			t.Errorf("%s: %d %s, want %d %s", test.name, got.Status, got.Body, test.status, test.want)
		}
	}
}

func TestCallsInProgressHaveDifferentIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, proceed := make(chan struct{}), make(chan struct{})
		b := newBench(func(server *mcp.Server) { addWait(server, began, proceed) })
		defer b.end(t)
		session := b.open(t)
		answered := make(chan string)
		go func() { answered <- text(b.call(t.Context(), session, "wait")) }()
		<-began
		if w := b.call(t.Context(), session, "wait"); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), `"id":7`) {
			t.Errorf("a second call of that id: %d %s", w.Code, w.Body)
		}
		close(proceed)
		if got := <-answered; got != "done" {
			t.Errorf("the first: %s", got)
		}
	})
}

// A server that asks a client who does not listen, and could not catch up
// later, is told so at once.
func TestRequestThatReachesNobodyFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := benchWith(func(server *mcp.Server) {
			gatewaytest.AddTool(server, "ask", func(_ context.Context, r *mcp.CallToolRequest) (string, error) {
				if err := r.Session.Ping(context.Background(), nil); err == nil || !strings.Contains(err.Error(), "does not listen") {
					return "", errors.New("somebody answered")
				}
				return "nobody", nil
			})
		}, func(c *inproc.Config) { c.Limits.ReplayBytes = 0 })
		defer b.end(t)
		begun := time.Now()
		if w := b.call(t.Context(), b.open(t), "ask"); text(w) != "nobody" || time.Since(begun) != 0 {
			t.Errorf("after %v: %d %s", time.Since(begun), w.Code, w.Body)
		}
	})
}

// A handler of notifications that never ends holds up what comes behind it for a
// short while only, and neither the session nor its end.
func TestNotificationsHaveTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var handling, ended atomic.Int32
		b := &bench{}
		b.Upstream = inproc.New(inproc.Config{
			Factory: func(context.Context, inproc.Call) (inproc.Instance, error) {
				server := mcp.NewServer(&mcp.Implementation{Name: "test"}, &mcp.ServerOptions{
					ProgressNotificationHandler: func(ctx context.Context, _ *mcp.ProgressNotificationServerRequest) {
						handling.Add(1)
						defer ended.Add(1)
						<-ctx.Done() // as who asks a client that does not answer
					},
				})
				gatewaytest.AddTool(server, "hello", func(context.Context, *mcp.CallToolRequest) (string, error) { return "hello", nil })
				return inproc.Instance{Server: server, Close: func(context.Context) error { b.closes.Add(1); return nil }}, nil
			},
			Sessions: inproc.PerSession, Requests: inproc.PerUser, Limits: limits,
			FactoryTimeout: time.Minute, CallTimeout: 30 * time.Second, MaxBodyBytes: 1 << 20, Refuse: refuse, Refused: refused, Logger: discard,
		})
		session := b.open(t)
		const progress = `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":1}}`
		for range 5 {
			if w := b.ask(t.Context(), "POST", session, gatewaytest.Legacy, progress); w.Code != http.StatusAccepted {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
		}
		begun := time.Now()
		if w := b.call(t.Context(), session, "hello"); text(w) != "hello" || time.Since(begun) > 6*time.Second {
			t.Errorf("a call behind them, after %v: %d %s", time.Since(begun), w.Code, w.Body)
		}
		if handling.Load() != 5 || ended.Load() != 0 {
			t.Errorf("%d are handled, %d have ended", handling.Load(), ended.Load())
		}
		time.Sleep(time.Minute)
		if ended.Load() != 5 {
			t.Errorf("after their time, %d of 5 have ended", ended.Load())
		}
		b.ask(t.Context(), "POST", session, gatewaytest.Legacy, progress)
		synctest.Wait()
		begun = time.Now()
		if w := b.ask(t.Context(), "DELETE", session, gatewaytest.Legacy, ""); w.Code != http.StatusNoContent || time.Since(begun) > 2*time.Second {
			t.Errorf("DELETE, after %v: %d", time.Since(begun), w.Code)
		}
		b.wants(t, "after DELETE", nothing, 1)
		if ended.Load() != 6 {
			t.Errorf("the session's end has not ended its handler: %d of 6", ended.Load())
		}
		b.end(t)
	})
}

// What is kept of a stream is for one client at a time.
func TestOneClientResumesAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(nil)
		defer b.end(t)
		session := b.open(t)
		first := b.ask(t.Context(), "POST", session, gatewaytest.Legacy, gatewaytest.CallTool(7, "hello", "{}"))
		_, id, _ := strings.Cut(first.Body.String(), "id: ")
		id, _, _ = strings.Cut(id, "\n")
		last := http.Header{"Last-Event-Id": {id}}
		// One that does not read, until the test ends.
		stuck := &blocked{header: http.Header{}, reading: make(chan struct{})}
		done := make(chan struct{})
		go func() {
			defer close(done)
			b.getTo(asAlice(t.Context(), time.Time{}), stuck, session, last)
		}()
		synctest.Wait()
		if w := b.askWith(asAlice(t.Context(), time.Time{}), "GET", session, gatewaytest.Legacy, "", last); w.Code != http.StatusConflict {
			t.Errorf("a second client: %d %s", w.Code, w.Body)
		}
		close(stuck.reading)
		<-done
		if w := b.askWith(asAlice(t.Context(), time.Time{}), "GET", session, gatewaytest.Legacy, "", last); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "hello") {
			t.Errorf("when the first is gone: %d %s", w.Code, w.Body)
		}
	})
}

// blocked is a client that reads nothing for a while.
type blocked struct {
	header  http.Header
	reading chan struct{}
}

func (b *blocked) Header() http.Header { return b.header }
func (b *blocked) WriteHeader(int)     {}
func (b *blocked) Flush()              {}
func (b *blocked) Write(data []byte) (int, error) {
	<-b.reading
	return len(data), nil
}

// A server that pings its clients goes on serving those who cannot hear it.
func TestKeepAliveEndsNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{}
		b.Upstream = inproc.New(inproc.Config{
			Factory: func(context.Context, inproc.Call) (inproc.Instance, error) {
				server := mcp.NewServer(&mcp.Implementation{Name: "test"}, &mcp.ServerOptions{KeepAlive: 10 * time.Second})
				gatewaytest.AddTool(server, "slow", func(context.Context, *mcp.CallToolRequest) (string, error) {
					time.Sleep(time.Minute)
					return "done", nil
				})
				return inproc.Instance{Server: server}, nil
			},
			Sessions: inproc.PerSession, Requests: inproc.PerUser, Limits: limits,
			FactoryTimeout: time.Minute, CallTimeout: time.Hour, MaxBodyBytes: 1 << 20, Refuse: refuse, Refused: refused, Logger: discard,
		})
		defer b.end(t)
		session := b.open(t)
		if w := b.call(t.Context(), session, "slow"); text(w) != "done" {
			t.Errorf("in a session: %d %s", w.Code, w.Body)
		}
		ctx := asAlice(t.Context(), time.Time{})
		list, call := modern("1", "tools/list", "", "{}"), modern("1", "tools/call", "slow", `{"name":"slow","arguments":{}}`)
		b.askWith(ctx, "POST", "", gatewaytest.Modern, list.Body, list.Header)
		begun := time.Now()
		if w := b.askWith(ctx, "POST", "", gatewaytest.Modern, call.Body, call.Header); text(w) != "done" || time.Since(begun) != time.Minute {
			t.Errorf("in a request, after %v: %d %s", time.Since(begun), w.Code, w.Body)
		}
	})
}

// The first event has an id to come back to. It comes with the answer, or else
// soon.
func TestStreamsBeginWithAnID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, proceed := make(chan struct{}), make(chan struct{})
		b := newBench(func(server *mcp.Server) { addWait(server, began, proceed) })
		defer b.end(t)
		session := b.open(t)
		l := &listener{header: http.Header{}}
		done := make(chan struct{})
		go func() {
			defer close(done)
			b.askTo(asAlice(t.Context(), time.Time{}), l, session, gatewaytest.CallTool(7, "wait", "{}"))
		}()
		<-began
		synctest.Wait()
		if said := l.said(); said != "" {
			t.Errorf("at once: %q", said)
		}
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if said := l.said(); !strings.HasPrefix(said, "event: prime\nid: ") || !strings.HasSuffix(said, "_0\ndata: \n\n") {
			t.Errorf("after a while: %q", said)
		}
		close(proceed)
		<-done
		if said := l.said(); strings.Count(said, "event: ") != 2 || !strings.Contains(said, "_1\ndata: {") {
			t.Errorf("in the end: %q", said)
		}
		if w := b.ask(t.Context(), "POST", session, "2025-06-18", `{"jsonrpc":"2.0","id":8,"method":"ping"}`); strings.Contains(w.Body.String(), "prime") {
			t.Errorf("in a version that does not know it: %s", w.Body)
		}
	})
}

// FuzzID compares ids as the client sent them with those that it is answered
// with.
func FuzzID(f *testing.F) {
	for _, seed := range []string{`1`, `-0`, `"a"`, `"\u00e9\ud83d\ude00"`, `9007199254740993`, `1e3`, `1.0`, `""`, `"<>&\u2028"`, `true`, `"1"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		if !json.Valid(sent) || len(sent) == 0 || strings.ContainsAny(string(sent[:1]), " \t\r\n") {
			return
		}
		id, err := inproc.ID(sent)
		if err != nil {
			return
		}
		data, err := jsonrpc.EncodeMessage(&jsonrpc.Response{ID: id, Result: json.RawMessage("{}")})
		if err != nil {
			t.Fatal(err)
		}
		var answer struct{ ID any }
		var want any
		if json.Unmarshal(data, &answer) != nil || json.Unmarshal(sent, &want) != nil || answer.ID != want {
			t.Errorf("%s is answered as %s", sent, data)
		}
	})
}
