package inproc_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/envelope"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/upstream/inproc"
)

const idleTimeout = 30 * time.Minute

// bench is an upstream without a network before it, so that time can be made
// up around it.
type bench struct {
	*inproc.Upstream
	closes atomic.Int32
	// closing, when set, is what the instances' Close does.
	closing func(context.Context) error
}

func newBench(setup func(*mcp.Server)) *bench { return benchWith(setup, nil) }

// benchWith is newBench with a configuration that change has changed.
func benchWith(setup func(*mcp.Server), change func(*inproc.Config)) *bench {
	b := &bench{}
	c := inproc.Config{
		Factory: func(context.Context, inproc.Call) (inproc.Instance, error) {
			server := newServer()
			gatewaytest.AddTool(server, "hello", func(context.Context, *mcp.CallToolRequest) (string, error) { return "hello", nil })
			if setup != nil {
				setup(server)
			}
			return inproc.Instance{Server: server, Close: func(ctx context.Context) error {
				b.closes.Add(1)
				if b.closing != nil {
					return b.closing(ctx)
				}
				return nil
			}}, nil
		},
		Sessions: inproc.PerSession, Requests: inproc.PerUser, Limits: limits,
		FactoryTimeout: time.Minute, CallTimeout: 10 * time.Hour, MaxBodyBytes: 1 << 20,
		Refuse: refuse, Refused: refused, Logger: discard,
	}
	if change != nil {
		change(&c)
	}
	b.Upstream = inproc.New(c)
	return b
}

// limits are wide, but for the time to be idle.
var limits = inproc.Limits{
	Sessions: 1000, SessionsPerUser: 1000, StreamsPerUser: 1000, CallsPerUser: 10_000, Instances: 1000,
	Idle: idleTimeout, Lifetime: 24 * time.Hour, ReplayBytes: 1 << 20,
}

// alive is what of the counts says which sessions and servers there are.
func alive(s inproc.Stats) inproc.Stats {
	s.Made, s.Evicted, s.Failed, s.Calls, s.Streams, s.SessionsEvicted = inproc.Servers{}, 0, 0, 0, 0, 0
	return s
}

func refuse(w http.ResponseWriter, _ *http.Request, err error) {
	http.Error(w, err.Error(), http.StatusServiceUnavailable)
}

func refused(*http.Request, *mcpauth.Error) {}

var discard = slog.New(slog.DiscardHandler)

// ask has alice send a request.
func (b *bench) ask(ctx context.Context, method, session, version, body string) *httptest.ResponseRecorder {
	return b.askAs(asAlice(ctx, time.Time{}), method, session, version, body)
}

// asAlice is ctx with alice's identity, whose token ends at expiry.
func asAlice(ctx context.Context, expiry time.Time) context.Context { return as(ctx, "alice", expiry) }

// as is asAlice for any user.
func as(ctx context.Context, user string, expiry time.Time) context.Context {
	id, err := mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: "https://issuer.example", UserID: user, Expiry: expiry})
	if err != nil {
		panic(err)
	}
	return mcpauth.NewContext(ctx, id)
}

// askAs is ask with an identity of the caller's in ctx.
func (b *bench) askAs(ctx context.Context, method, session, version, body string) *httptest.ResponseRecorder {
	return b.askWith(ctx, method, session, version, body, nil)
}

// askWith is askAs with headers beyond those.
func (b *bench) askWith(ctx context.Context, method, session, version, body string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, method, "/mcp", strings.NewReader(body))
	r.Header.Set("Accept", "application/json, text/event-stream")
	r.Header.Set("Content-Type", "application/json")
	if session != "" {
		r.Header.Set("Mcp-Session-Id", session)
	}
	if version != "" {
		r.Header.Set("Mcp-Protocol-Version", version)
	}
	var messages []envelope.Message
	if method == http.MethodPost {
		messages = parse(body)
		r.Header.Set("Mcp-Method", messages[0].Method)
	}
	maps.Copy(r.Header, header)
	w := httptest.NewRecorder()
	b.Serve(w, r, messages)
	return w
}

// askTo sends a message in a session, and has w take what comes back.
func (b *bench) askTo(ctx context.Context, w http.ResponseWriter, session, body string) {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/mcp", strings.NewReader(body))
	r.Header = http.Header{"Accept": {"application/json, text/event-stream"}, "Mcp-Session-Id": {session}, "Mcp-Protocol-Version": {gatewaytest.Legacy}}
	b.Serve(w, r, parse(body))
}

// getTo opens a stream of a session, and has w take what comes.
func (b *bench) getTo(ctx context.Context, w http.ResponseWriter, session string, header http.Header) {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/mcp", nil)
	r.Header = http.Header{"Accept": {"text/event-stream"}, "Mcp-Session-Id": {session}, "Mcp-Protocol-Version": {gatewaytest.Legacy}}
	maps.Copy(r.Header, header)
	b.Serve(w, r, nil)
}

func parse(body string) []envelope.Message {
	messages, err := envelope.Parse([]byte(body))
	if err != nil {
		panic(err)
	}
	return messages
}

func (b *bench) open(t *testing.T) (session string) {
	t.Helper()
	w := b.ask(t.Context(), "POST", "", "", gatewaytest.Initialize(gatewaytest.Legacy))
	session = w.Header().Get("Mcp-Session-Id")
	if w.Code != http.StatusOK || session == "" {
		t.Fatalf("initialize: %d %s", w.Code, w.Body)
	}
	b.ask(t.Context(), "POST", session, gatewaytest.Legacy, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	synctest.Wait()
	return session
}

// call calls a tool in a session, or outside of one when session is "".
func (b *bench) call(ctx context.Context, session, tool string) *httptest.ResponseRecorder {
	return b.ask(ctx, "POST", session, "", gatewaytest.CallTool(7, tool, "{}"))
}

func (b *bench) end(t *testing.T) {
	t.Helper()
	if err := b.Shutdown(t.Context()); err != nil {
		t.Errorf("Close = %v", err)
	}
}

func (b *bench) wants(t *testing.T, when string, stats inproc.Stats, closes int32) {
	t.Helper()
	synctest.Wait()
	if got := alive(b.Stats()); got != stats || b.closes.Load() != closes {
		t.Errorf("%s: stats %+v, %d instances closed; want %+v, %d", when, got, b.closes.Load(), stats, closes)
	}
}

var (
	nothing    = inproc.Stats{}
	oneSession = inproc.Stats{Sessions: 1, Alive: inproc.Servers{PerSession: 1}}
	oneUser    = inproc.Stats{Alive: inproc.Servers{PerUser: 1}}
)

func TestIdleSessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(nil)
		defer b.end(t)
		session := b.open(t)
		for range 5 {
			time.Sleep(idleTimeout - time.Second)
			if w := b.call(t.Context(), session, "hello"); w.Code != 200 {
				t.Fatalf("in use: %d %s", w.Code, w.Body)
			}
			b.wants(t, "in use", oneSession, 0)
		}
		time.Sleep(idleTimeout * 3 / 2)
		b.wants(t, "idle", nothing, 1)
		if w := b.call(t.Context(), session, "hello"); w.Code != 404 {
			t.Errorf("after that: %d %s", w.Code, w.Body)
		}
	})
}

func TestIdleUserEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(nil)
		defer b.end(t)
		for range 5 {
			if w := b.call(t.Context(), "", "hello"); w.Code != 200 {
				t.Fatalf("in use: %d %s", w.Code, w.Body)
			}
			time.Sleep(idleTimeout - time.Second)
			b.wants(t, "in use", oneUser, 0)
		}
		time.Sleep(idleTimeout / 2)
		b.wants(t, "idle", nothing, 1)
		if w := b.call(t.Context(), "", "hello"); w.Code != 200 {
			t.Errorf("after that: %d %s", w.Code, w.Body)
		}
		b.wants(t, "back again", oneUser, 1)
	})
}

func TestOpenStreamKeepsItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(nil)
		defer b.end(t)
		session := b.open(t)
		ctx, leave := context.WithCancel(t.Context())
		go b.ask(ctx, "GET", session, gatewaytest.Legacy, "")
		time.Sleep(10 * idleTimeout)
		b.wants(t, "with a stream", oneSession, 0)
		leave()
		time.Sleep(idleTimeout - time.Second)
		b.wants(t, "just after the stream", oneSession, 0)
		time.Sleep(idleTimeout / 2)
		b.wants(t, "long after the stream", nothing, 1)
	})
}

func TestCallInProgressKeepsItsInstance(t *testing.T) {
	for _, era := range []struct {
		name  string
		stats inproc.Stats
	}{{gatewaytest.Legacy, oneSession}, {gatewaytest.Modern, oneUser}} {
		t.Run(era.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(func(server *mcp.Server) {
					gatewaytest.AddTool(server, "long", func(context.Context, *mcp.CallToolRequest) (string, error) {
						time.Sleep(10 * idleTimeout)
						return "at last", nil
					})
				})
				defer b.end(t)
				session := ""
				if era.stats == oneSession {
					session = b.open(t)
				}
				answered := make(chan *httptest.ResponseRecorder, 1)
				go func() { answered <- b.call(t.Context(), session, "long") }()
				time.Sleep(9 * idleTimeout)
				b.wants(t, "during the call", era.stats, 0)
				if w := <-answered; w.Code != 200 || !strings.Contains(w.Body.String(), "at last") {
					t.Errorf("the call: %d %s", w.Code, w.Body)
				}
				time.Sleep(2 * idleTimeout)
				b.wants(t, "long after the call", nothing, 1)
			})
		})
	}
}

func TestCloseWaitsForInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(nil)
		b.closing = func(context.Context) error {
			time.Sleep(5 * time.Second)
			return errors.New("logged, and no more")
		}
		b.open(t)
		b.open(t)
		b.call(t.Context(), "", "hello")
		b.wants(t, "before", inproc.Stats{Sessions: 2, Alive: inproc.Servers{PerSession: 2, PerUser: 1}}, 0)
		began := time.Now()
		if err := b.Shutdown(t.Context()); err != nil {
			t.Errorf("Close = %v", err)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("Close took %s; want the 5 s of one instance, since they close side by side", took)
		}
		b.wants(t, "after", nothing, 3)
	})
}

// Also those whose session or time has ended just before.
func TestCloseWaitsForInstancesOnTheirWayOut(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(t *testing.T, b *bench, session string)
	}{
		{"a session that was deleted", func(t *testing.T, b *bench, session string) {
			if w := b.ask(t.Context(), "DELETE", session, gatewaytest.Legacy, ""); w.Code != 204 {
				t.Errorf("DELETE: %d %s", w.Code, w.Body)
			}
		}},
		{"a session that was idle", func(*testing.T, *bench, string) { time.Sleep(idleTimeout * 3 / 2) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(nil)
				proceed, closed := make(chan struct{}), false
				b.closing = func(context.Context) error {
					<-proceed
					closed = true
					return nil
				}
				test.end(t, b, b.open(t))
				b.wants(t, "on its way out", inproc.Stats{Alive: inproc.Servers{PerSession: 1}}, 1)
				go func() {
					synctest.Wait() // for Close to wait
					close(proceed)
				}()
				b.end(t)
				if !closed {
					t.Error("Close did not wait")
				}
			})
		})
	}
}

func TestCloseBoundsWhatNeverEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		b := newBench(func(server *mcp.Server) {
			gatewaytest.AddTool(server, "stuck", func(context.Context, *mcp.CallToolRequest) (string, error) { <-release; return "", nil })
		})
		session := b.open(t)
		gone, leave := context.WithCancel(t.Context())
		go func() {
			synctest.Wait()
			leave()
		}()
		b.call(gone, session, "stuck") // which runs on
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := b.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close = %v", err)
		}
		// What waits for the tool ends with the tool.
		close(release)
		b.wants(t, "once the tool has returned", nothing, 1)
	})
}

func TestInstanceCloseHasItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(nil)
		b.closing = func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		b.open(t)
		began := time.Now()
		b.end(t)
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("Close took %s, want 10 s", took)
		}
	})
}

func TestNothingIsServedAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(nil)
		session := b.open(t)
		b.end(t)
		for name, w := range map[string]*httptest.ResponseRecorder{
			"in the session": b.call(t.Context(), session, "hello"), "outside of sessions": b.call(t.Context(), "", "hello"),
			"a new session": b.ask(t.Context(), "POST", "", "", gatewaytest.Initialize(gatewaytest.Legacy)),
		} {
			if w.Code == 200 && !strings.Contains(w.Body.String(), `"error"`) {
				t.Errorf("%s: %d %s", name, w.Code, w.Body)
			}
		}
		if got := alive(b.Stats()); got != nothing {
			t.Errorf("stats = %+v", got)
		}
	})
}

// An instance is closed once, and no session lives on without one, also when
// the client leaves while its session is being opened.
func TestClientLeavesDuringInitialize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		proceed := make(chan struct{})
		b := newBench(func(server *mcp.Server) {
			server.AddReceivingMiddleware(func(next mcp.MethodHandler) mcp.MethodHandler {
				return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
					result, err := next(ctx, method, req)
					if method == "initialize" {
						<-proceed
					}
					return result, err
				}
			})
		})
		ctx, leave := context.WithCancel(t.Context())
		left := make(chan struct{})
		go func() {
			defer close(left)
			b.ask(ctx, "POST", "", "", gatewaytest.Initialize(gatewaytest.Legacy))
		}()
		synctest.Wait()
		leave()
		<-left
		close(proceed)
		b.wants(t, "after that", nothing, 1)
		b.end(t)
		b.wants(t, "in the end", nothing, 1)
	})
}
