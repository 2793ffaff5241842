package inproc_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth/internal/envelope"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
)

// listener is a ResponseWriter on which a stream is open, and which tells when
// it is used after that.
type listener struct {
	header http.Header
	status int

	mu   sync.Mutex
	text strings.Builder
	over bool
	late error
}

func (l *listener) Header() http.Header { return l.header }

func (l *listener) WriteHeader(status int) { l.status = status }

func (l *listener) Write(data []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		l.late = errors.New("written to after the handler has returned")
	}
	return l.text.Write(data)
}

func (l *listener) Flush() {}

func (l *listener) said() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// listen opens a stream; ended has how long it was open.
func (b *bench) listen(ctx context.Context) (l *listener, ended <-chan time.Duration) {
	l = &listener{header: http.Header{}}
	end := make(chan time.Duration, 1)
	began := time.Now()
	go func() {
		b.OpenSSE(l, httptest.NewRequestWithContext(ctx, "GET", "/mcp/sse", nil), "/mcp/message")
		l.mu.Lock()
		l.over = true
		l.mu.Unlock()
		end <- time.Since(began)
	}()
	synctest.Wait()
	return l, end
}

// tell posts a message to the stream.
func (b *bench) tell(ctx context.Context, l *listener, body string, failure *jsonrpc.Error) int {
	_, path, _ := strings.Cut(l.said(), "event: endpoint\ndata: ")
	path, _, _ = strings.Cut(path, "\n")
	messages, err := envelope.Parse([]byte(body))
	if err != nil {
		panic(err)
	}
	w := httptest.NewRecorder()
	b.PostSSE(w, httptest.NewRequestWithContext(ctx, "POST", path, strings.NewReader(body)), messages, failure)
	synctest.Wait()
	return w.Code
}

func TestSSEStreamEndsWithTheLatestToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(nil)
		defer b.end(t)
		l, ended := b.listen(until(t.Context(), 5*time.Minute))
		b.tell(until(t.Context(), time.Minute), l, gatewaytest.Initialize(gatewaytest.Legacy), nil)
		time.Sleep(3 * time.Minute)
		b.tell(until(t.Context(), 50*time.Minute), l, gatewaytest.CallTool(2, "hello", "{}"), nil)
		b.tell(until(t.Context(), time.Minute), l, gatewaytest.CallTool(3, "hello", "{}"), nil)
		b.wants(t, "while it is open", oneSession, 0)
		// Nor is it idle for that long.
		if at := <-ended; at != 53*time.Minute {
			t.Errorf("the stream ends after %s, want 53m0s", at)
		}
		b.wants(t, "after its end", nothing, 1)
		if code := b.tell(until(t.Context(), time.Minute), l, gatewaytest.CallTool(4, "hello", "{}"), nil); code != http.StatusNotFound {
			t.Errorf("a message after its end: %d", code)
		}
		if l.late != nil {
			t.Error(l.late)
		}
	})
}

// A running call may finish: its answer goes over the stream, and nothing else
// does.
func TestSSECallsFinishAfterTheToken(t *testing.T) {
	for _, test := range []struct {
		name  string
		takes time.Duration
		want  time.Duration // until the stream ends
		says  string
	}{
		{"within their time", time.Hour, time.Hour, `"id":2,"result"`},
		{"cut off by their time-out", 20 * time.Hour, 10 * time.Hour, `"id":2,"error":{"code":-32001,"message":"request timed out after 10h0m0s"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var server *mcp.Server
				b := newBench(func(s *mcp.Server) {
					server = s
					gatewaytest.AddTool(s, "slow", func(context.Context, *mcp.CallToolRequest) (string, error) {
						time.Sleep(test.takes)
						return "done", nil
					})
				})
				defer b.end(t)
				ctx := until(t.Context(), time.Minute)
				l, ended := b.listen(ctx)
				b.tell(ctx, l, gatewaytest.Initialize(gatewaytest.Legacy), nil)
				b.tell(ctx, l, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, nil)
				b.tell(ctx, l, gatewaytest.CallTool(2, "slow", "{}"), nil)
				time.Sleep(2 * time.Minute)
				if code := b.tell(until(t.Context(), time.Minute), l, gatewaytest.CallTool(3, "hello", "{}"), nil); code != http.StatusNotFound {
					t.Errorf("a further call: %d", code)
				}
				gatewaytest.AddTool(server, "more", func(context.Context, *mcp.CallToolRequest) (string, error) { return "", nil })
				if at := <-ended; at != test.want {
					t.Errorf("the stream ends after %s, want %s", at, test.want)
				}
				if said := l.said(); !strings.Contains(said, test.says) || strings.Contains(said, "list_changed") {
					t.Errorf("the stream says %s, want %s", said, test.says)
				}
				time.Sleep(20 * time.Hour) // whatever is left of the tool
				if l.late != nil {
					t.Error(l.late)
				}
			})
		})
	}
}

func TestSSEShutdownEndsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(nil)
		ctx := until(t.Context(), time.Hour)
		l, ended := b.listen(ctx)
		b.tell(ctx, l, gatewaytest.Initialize(gatewaytest.Legacy), nil)
		b.end(t)
		if at := <-ended; at != 0 {
			t.Errorf("the stream ends after %s", at)
		}
		b.wants(t, "after shutdown", nothing, 1)
		late, ended := b.listen(ctx)
		<-ended
		if late.status != http.StatusServiceUnavailable {
			t.Errorf("a stream after that: %d", late.status)
		}
	})
}

// A message that has been refused is answered where the client waits for it,
// and only calls have answers.
func TestSSEFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(nil)
		defer b.end(t)
		ctx, leave := context.WithCancel(until(t.Context(), time.Hour))
		l, ended := b.listen(ctx)
		failure := &jsonrpc.Error{Code: -32602, Message: "no"}
		before := l.said()
		if code := b.tell(ctx, l, `{"jsonrpc":"2.0","method":"tools/call","params":{"name":"hello"}}`, failure); code != http.StatusAccepted || l.said() != before {
			t.Errorf("a notification: %d, %s", code, l.said())
		}
		const want = "event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":2,\"error\":{\"code\":-32602,\"message\":\"no\"}}\n\n"
		if code := b.tell(ctx, l, gatewaytest.CallTool(2, "hello", "{}"), failure); code != http.StatusAccepted || l.said() != before+want {
			t.Errorf("a call: %d, %s", code, l.said())
		}
		leave()
		<-ended
	})
}

// Without a verified user nothing is served, whoever has put it together.
func TestSSEWithoutUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(nil)
		defer b.end(t)
		w := httptest.NewRecorder()
		b.OpenSSE(w, httptest.NewRequest("GET", "/mcp/sse", nil), "/mcp/message")
		if w.Code != http.StatusServiceUnavailable {
			t.Errorf("a stream: %d", w.Code)
		}
		w = httptest.NewRecorder()
		b.PostSSE(w, httptest.NewRequest("POST", "/mcp/message", io.NopCloser(nil)), []envelope.Message{{Method: "ping"}}, nil)
		if w.Code != http.StatusServiceUnavailable {
			t.Errorf("a message: %d", w.Code)
		}
	})
}
