package inproc_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/upstream/inproc"
)

func callTimeout(c *inproc.Config) { c.CallTimeout = time.Minute }

// inEachEra runs a test with a session, and with none.
func inEachEra(t *testing.T, b func() *bench, test func(t *testing.T, b *bench, session string)) {
	for _, version := range eras {
		t.Run(version, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := b()
				defer b.end(t)
				session := ""
				if version == gatewaytest.Legacy {
					session = b.open(t)
				}
				test(t, b, session)
			})
		})
	}
}

// ask has alice call a tool, in a session or, as in 2026-07-28, outside.
func (b *bench) callIn(ctx context.Context, session, tool string) *httptest.ResponseRecorder {
	if session != "" {
		return b.ask(ctx, "POST", session, gatewaytest.Legacy, gatewaytest.CallTool(7, tool, "{}"))
	}
	r := gatewaytest.ModernCall("", 7, tool, "{}")
	return b.askWith(asAlice(ctx, time.Time{}), "POST", "", gatewaytest.Modern, r.Body, r.Header)
}

func TestCallTimeout(t *testing.T) {
	const late = "request timed out after 1m0s"
	for _, test := range []struct {
		name   string
		tool   func(ctx context.Context) (string, error)
		answer string
		took   time.Duration
	}{
		{"a tool that answers in time", func(context.Context) (string, error) { time.Sleep(59 * time.Second); return "done", nil }, "done", 59 * time.Second},
		{"a tool that fails in time", func(context.Context) (string, error) { time.Sleep(59 * time.Second); return "", errors.New("failed") }, "failed", 59 * time.Second},
		{"a tool that listens", func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() }, late, time.Minute},
		{"a tool that listens, and takes a while", func(ctx context.Context) (string, error) { <-ctx.Done(); time.Sleep(time.Second); return "", ctx.Err() }, late, time.Minute},
		{"a tool that does not listen", func(context.Context) (string, error) { time.Sleep(time.Hour); return "done", nil }, late, time.Minute},
		{"a tool that fails at the last moment", func(context.Context) (string, error) { time.Sleep(time.Minute + 1); return "", errors.New("failed") }, late, time.Minute},
		{"a tool that panics too late", func(context.Context) (string, error) { time.Sleep(time.Hour); panic("canary") }, late, time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			inEachEra(t, func() *bench {
				return benchWith(func(server *mcp.Server) {
					gatewaytest.AddTool(server, "tool", func(ctx context.Context, _ *mcp.CallToolRequest) (string, error) { return test.tool(ctx) })
				}, callTimeout)
			}, func(t *testing.T, b *bench, session string) {
				began := time.Now()
				w := b.callIn(t.Context(), session, "tool")
				if took := time.Since(began); text(w) != test.answer || took != test.took {
					t.Errorf("after %s: %d %s", took, w.Code, w.Body)
				}
				if isLate := strings.Contains(w.Body.String(), `"code":-32001`); isLate != (test.answer == late) {
					t.Errorf("code in %s", w.Body)
				}
				if w := b.callIn(t.Context(), session, "hello"); text(w) != "hello" {
					t.Errorf("the next call: %d %s", w.Code, w.Body)
				}
				time.Sleep(2 * time.Hour) // for what does not listen
			})
		})
	}
}

// Who ends a call before its time, and what its tool learns of it.
func TestEndOfACall(t *testing.T) {
	for _, test := range []struct {
		name   string
		modern bool
		end    func(t *testing.T, b *bench, session string, leave context.CancelFunc)
		after  time.Duration // until the tool's context ends
		cause  error
	}{
		{"outside of sessions, the client leaves", true, func(_ *testing.T, _ *bench, _ string, leave context.CancelFunc) { leave() }, 0, context.Canceled},
		{"outside of sessions, nobody does", true, func(*testing.T, *bench, string, context.CancelFunc) {}, time.Minute, context.DeadlineExceeded},
		{"in a session, the client leaves", false, func(_ *testing.T, _ *bench, _ string, leave context.CancelFunc) { leave() }, time.Minute, context.DeadlineExceeded},
		{"in a session, the client leaves and cancels", false, func(t *testing.T, b *bench, session string, leave context.CancelFunc) {
			leave()
			time.Sleep(10 * time.Second)
			b.ask(t.Context(), "POST", session, gatewaytest.Legacy, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`)
		}, 10 * time.Second, context.Canceled},
		{"in a session, another session cancels", false, func(t *testing.T, b *bench, _ string, _ context.CancelFunc) {
			b.ask(t.Context(), "POST", b.open(t), gatewaytest.Legacy, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`)
		}, time.Minute, context.DeadlineExceeded},
		{"in a session, the client deletes it", false, func(t *testing.T, b *bench, session string, _ context.CancelFunc) {
			time.Sleep(10 * time.Second)
			if w := b.ask(t.Context(), "DELETE", session, gatewaytest.Legacy, ""); w.Code != 204 {
				t.Errorf("DELETE: %d %s", w.Code, w.Body)
			}
		}, 10 * time.Second, context.Canceled},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				type end struct {
					after time.Duration
					cause error
				}
				ended := make(chan end, 1)
				b := benchWith(func(server *mcp.Server) {
					gatewaytest.AddTool(server, "tool", func(ctx context.Context, _ *mcp.CallToolRequest) (string, error) {
						began := time.Now()
						<-ctx.Done()
						ended <- end{time.Since(began), ctx.Err()}
						return "", ctx.Err()
					})
				}, callTimeout)
				defer b.end(t)
				session := ""
				if !test.modern {
					session = b.open(t)
				}
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				answered := make(chan *httptest.ResponseRecorder, 1)
				go func() { answered <- b.callIn(ctx, session, "tool") }()
				synctest.Wait()
				test.end(t, b, session, leave)
				if got := <-ended; got != (end{test.after, test.cause}) {
					t.Errorf("the tool's context ended after %s: %v", got.after, got.cause)
				}
				<-answered
				synctest.Wait()
				if s := b.Stats(); s.Calls != 0 {
					t.Errorf("stats = %+v", s)
				}
			})
		})
	}
}

func TestSubscriptionIsNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := benchWith(nil, callTimeout)
		defer b.end(t)
		ctx, leave := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			b.ask(ctx, "POST", "", gatewaytest.Modern, listenBody())
		}()
		time.Sleep(100 * time.Minute)
		select {
		case <-ended:
			t.Error("the subscription has ended")
		default:
		}
		leave()
		<-ended
		if s := b.Stats(); s.Streams != 0 {
			t.Errorf("stats = %+v", s)
		}
	})
}

// The SDK finds the stream of a notification by the tool's context, which is
// ours: over a real connection, it arrives with the call that it belongs to.
func TestProgressReachesTheCallItBelongsTo(t *testing.T) {
	factory := &gatewaytest.Factory{Setup: func(server *mcp.Server, _ gateway.Call) {
		gatewaytest.AddTool(server, "progress", func(ctx context.Context, r *mcp.CallToolRequest) (string, error) {
			for i := range 3 {
				if err := r.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: r.Params.GetProgressToken(), Progress: float64(i)}); err != nil {
					return "", err
				}
			}
			return "done", nil
		})
	}}
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make})
	token := s.Token(t, "alice")
	session := s.Open(t, token, gatewaytest.Legacy)
	legacy := gatewaytest.Request{Token: token, Session: session, Version: gatewaytest.Legacy,
		Body: gatewaytest.Message(5, "tools/call", `{"name":"progress","arguments":{},"_meta":{"progressToken":"mine"}}`)}
	modern := gatewaytest.ModernCall(token, 5, "progress", "{}")
	modern.Body = strings.Replace(modern.Body, `"_meta":{`, `"_meta":{"progressToken":"mine",`, 1)
	for name, request := range map[string]gatewaytest.Request{"legacy": legacy, "modern": modern} {
		got := s.Do(t, request)
		if n := strings.Count(got.Body, `"progressToken":"mine"`); n != 3 || got.Text() != "done" {
			t.Errorf("%s: %d notifications in %s", name, n, got.Body)
		}
	}
}
