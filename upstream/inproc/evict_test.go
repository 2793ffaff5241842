package inproc_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/upstream/inproc"
)

// sessions bounds them, in all and for each user.
func sessions(all, each int) func(*inproc.Config) {
	return func(c *inproc.Config) { c.Limits.Sessions, c.Limits.SessionsPerUser = all, each }
}

// tryAs has user open a session. It returns the session, or what it is refused
// with.
func (f *fleet) tryAs(ctx context.Context, user string) (session, refusal string) {
	w := f.askAs(as(ctx, user, time.Time{}), "POST", "", "", gatewaytest.Initialize(gatewaytest.Legacy))
	if session = w.Header().Get("Mcp-Session-Id"); w.Code == http.StatusOK && session != "" {
		return session, ""
	}
	return "", fmt.Sprint(w.Code, " ", w.Header().Get("Retry-After"), " ", w.Body)
}

func refusedFor(seconds int) string {
	return fmt.Sprintf("503 %d Too many sessions. Please close some, or try again later.\n", seconds)
}

func refusedForOwn(seconds int) string {
	return fmt.Sprintf("503 %d Too many sessions of this user. Please close some, or try again later.\n", seconds)
}

func TestUserAtTheCapLosesTheLongestIdleSession(t *testing.T) {
	for _, mode := range []inproc.Mode{inproc.PerSession, inproc.PerUser} {
		t.Run(string(mode), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				f := newFleet(nil, func(c *inproc.Config) {
					sessions(100, 3)(c)
					c.Sessions, c.Logger = mode, slog.New(slog.NewTextHandler(&log, nil))
				})
				defer f.end(t)
				bob := f.openAs(t, "bob") // idle for longest of all
				time.Sleep(time.Minute)
				var alice []string
				for range 3 {
					alice = append(alice, f.openAs(t, "alice"))
					time.Sleep(time.Minute)
				}
				f.which(t, "alice", alice[0])
				time.Sleep(time.Minute)
				// A stream that could be resumed keeps no session.
				called := f.callAs(t.Context(), "alice", alice[1], "which")
				_, event, _ := strings.Cut(called.Body.String(), "id: ")
				event, _, _ = strings.Cut(event, "\n")
				for i, lost := range []string{alice[2], alice[0], alice[1]} {
					time.Sleep(time.Minute)
					alice = append(alice, f.openAs(t, "alice"))
					synctest.Wait()
					for _, method := range []string{"POST", "GET", "DELETE"} {
						body := ""
						if method == "POST" {
							body = gatewaytest.CallTool(1, "which", "{}")
						}
						w := f.askWith(as(t.Context(), "alice", time.Time{}), method, lost, gatewaytest.Legacy, body, nil)
						if w.Code != http.StatusNotFound {
							t.Errorf("%s to session %d that had to go: %d %s", method, i, w.Code, w.Body)
						}
					}
					if s := f.Stats(); s.Sessions != 4 || s.SessionsEvicted != i+1 || s.Alive.PerSession+s.Alive.PerUser != map[inproc.Mode]int{inproc.PerSession: 4, inproc.PerUser: 2}[mode] {
						t.Errorf("stats = %+v", s)
					}
				}
				w := f.askWith(as(t.Context(), "alice", time.Time{}), "GET", alice[1], gatewaytest.Legacy, "", http.Header{"Last-Event-Id": {event}})
				if event == "" || w.Code != http.StatusNotFound {
					t.Errorf("resuming %q in a session that had to go: %d %s", event, w.Code, w.Body)
				}
				for _, session := range alice[3:] {
					f.which(t, "alice", session)
				}
				if got := f.which(t, "bob", bob); got != "bob 0" {
					t.Errorf("bob is served by %s", got)
				}
				if mode == inproc.PerSession {
					f.wantsClosed(t, "of the sessions that had to go", 1, 2, 3)
				}
				if n := strings.Count(log.String(), `msg="session evicted, its user has opened another one"`); n != 3 {
					t.Errorf("%d evictions are logged in\n%s", n, &log)
				}
			})
		})
	}
}

// A client that opens a session for each thing it does, and never ends one, is
// served for ever.
func TestEvictedSessionsLeaveNothing(t *testing.T) {
	for _, mode := range []inproc.Mode{inproc.PerSession, inproc.PerUser} {
		t.Run(string(mode), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(func(server *mcp.Server) {
					gatewaytest.AddTool(server, "hello", func(context.Context, *mcp.CallToolRequest) (string, error) { return "hello", nil })
				}, func(c *inproc.Config) { sessions(100, 2)(c); c.Sessions = mode })
				defer f.end(t)
				var want [3]int // sessions, servers, bytes kept of streams
				for i := range 50 {
					if w := f.call(t.Context(), f.openAs(t, "alice"), "hello"); text(w) != "hello" {
						t.Fatalf("in session %d: %d %s", i, w.Code, w.Body)
					}
					synctest.Wait()
					kept, real := f.ReplaySize()
					s := f.Stats()
					got := [3]int{s.Sessions, s.Alive.PerSession + s.Alive.PerUser, kept}
					if i == 1 {
						want = got
					}
					if i > 1 && got != want || kept != real || s.SessionsEvicted != max(0, i-1) {
						t.Fatalf("with session %d: %v, %d, %+v; want %v", i, got, real, s, want)
					}
				}
			})
		})
	}
}

// The end of a session is not held up by a server that asks its client, which is
// not there.
func TestEvictedSessionWaitsForNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := make(chan error, 1)
		waiting, cancel := context.WithCancel(t.Context())
		f := newFleet(func(server *mcp.Server) {
			gatewaytest.AddTool(server, "ask", func(_ context.Context, req *mcp.CallToolRequest) (string, error) {
				go func() {
					_, err := req.Session.Elicit(waiting, &mcp.ElicitParams{Message: "Sure?"})
					asked <- err
				}()
				return "asked", nil
			})
		}, sessions(100, 1))
		defer f.end(t)
		defer cancel()
		opened := f.askAs(as(t.Context(), "alice", time.Time{}), "POST", "", "", strings.Replace(gatewaytest.Initialize(gatewaytest.Legacy), `"capabilities":{}`, `"capabilities":{"elicitation":{}}`, 1))
		if w := f.callAs(t.Context(), "alice", opened.Header().Get("Mcp-Session-Id"), "ask"); text(w) != "asked" {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		synctest.Wait()
		select {
		case err := <-asked:
			t.Fatalf("the client's answer: %v", err)
		default:
		}
		f.openAs(t, "alice")
		f.wantsClosed(t, "while its server asked", 0)
		select {
		case err := <-asked:
			if err == nil {
				t.Error("the client has answered")
			}
		default:
			t.Error("the server still waits for the answer")
		}
	})
}

// Only when all sessions of a user are in use, one more is refused: until calls
// that are in progress must have ended, if that is what they wait for.
func TestSessionInUseIsNotEvicted(t *testing.T) {
	const callTimeout, factoryTimeout, ago = time.Minute, 30 * time.Second, 20 * time.Second
	type in struct {
		*fleet
		stuck chan struct{} // closed for the tool "wait", initialize of 2025-06-18, and the factory for carol, to go on
	}
	call := func(ctx context.Context, t *testing.T, f in) {
		session := f.openAs(t, "alice")
		go f.callAs(ctx, "alice", session, "wait")
	}
	stream := func(ctx context.Context, t *testing.T, f in) {
		session := f.openAs(t, "alice")
		go f.askAs(as(ctx, "alice", time.Time{}), "GET", session, gatewaytest.Legacy, "")
	}
	for _, test := range []struct {
		name    string
		cap     int
		use     func(ctx context.Context, t *testing.T, f in)
		seconds int
		bounded bool // it ends by itself
	}{
		{"by a call", 1, call, 40, true},
		{"by a call whose client has lost its connection", 1, func(_ context.Context, t *testing.T, f in) {
			ctx, leave := context.WithCancel(t.Context())
			call(ctx, t, f)
			synctest.Wait()
			leave()
		}, 40, true},
		{"by a stream", 1, stream, 60, false},
		{"by a stream and a call", 1, func(ctx context.Context, t *testing.T, f in) {
			session := f.openAs(t, "alice")
			go f.askAs(as(ctx, "alice", time.Time{}), "GET", session, gatewaytest.Legacy, "")
			go f.callAs(ctx, "alice", session, "wait")
		}, 60, false},
		{"by streams, a call, and a later one", 4, func(ctx context.Context, t *testing.T, f in) {
			stream(ctx, t, f)
			call(ctx, t, f)
			stream(ctx, t, f)
			time.Sleep(10 * time.Second)
			call(ctx, t, f)
		}, 30, true},
		{"by a stream of HTTP+SSE", 1, func(ctx context.Context, _ *testing.T, f in) { f.listen(as(ctx, "alice", time.Time{})) }, 60, false},
		{"by its first request", 1, func(ctx context.Context, _ *testing.T, f in) {
			go f.askAs(as(ctx, "alice", time.Time{}), "POST", "", "", gatewaytest.Initialize("2025-06-18"))
		}, 40, true},
		{"while its server is made", 1, func(ctx context.Context, _ *testing.T, f in) {
			go f.askWith(as(ctx, "alice", time.Time{}), "POST", "", "", gatewaytest.Initialize(gatewaytest.Legacy), http.Header{"X-Slow": {"1"}})
		}, 90, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stuck := make(chan struct{})
				f := newFleet(func(server *mcp.Server) {
					gatewaytest.AddTool(server, "wait", func(context.Context, *mcp.CallToolRequest) (string, error) { <-stuck; return "", nil })
					server.AddReceivingMiddleware(func(next mcp.MethodHandler) mcp.MethodHandler {
						return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
							if p, ok := req.GetParams().(*mcp.InitializeParams); ok && p.ProtocolVersion == "2025-06-18" {
								<-stuck
							}
							return next(ctx, method, req)
						}
					})
				}, func(c *inproc.Config) {
					sessions(100, test.cap)(c)
					c.CallTimeout, c.FactoryTimeout = callTimeout, factoryTimeout
					make := c.Factory
					c.Factory = func(ctx context.Context, call inproc.Call) (inproc.Instance, error) {
						if call.Extras.Header.Get("X-Slow") != "" {
							<-ctx.Done()
							return inproc.Instance{}, ctx.Err()
						}
						return make(ctx, call)
					}
				})
				defer f.end(t)
				defer close(stuck)
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				test.use(ctx, t, in{f, stuck})
				synctest.Wait()
				time.Sleep(ago)
				if _, refusal := f.tryAs(t.Context(), "alice"); refusal != refusedForOwn(test.seconds) {
					t.Errorf("while in use: %q, want %q", refusal, refusedForOwn(test.seconds))
				}
				if _, refusal := f.tryAs(t.Context(), "bob"); refusal != "" {
					t.Errorf("another user: %q", refusal)
				}
				if s := f.Stats(); s.SessionsEvicted != 0 {
					t.Errorf("stats = %+v", s)
				}
				if !test.bounded {
					leave()
				}
				time.Sleep(time.Duration(test.seconds) * time.Second)
				synctest.Wait()
				if _, refusal := f.tryAs(t.Context(), "alice"); refusal != "" {
					t.Errorf("when told to try again: %q", refusal)
				}
			})
		})
	}
}

// No session makes room for another user's. One is refused until the first one
// ends for want of use.
func TestCapOfSessionsOfAll(t *testing.T) {
	for _, test := range []struct {
		name    string
		change  func(*inproc.Config)
		use     func(ctx context.Context, t *testing.T, f *fleet, alice, bob string) // in the eleventh minute
		seconds int                                                                  // from then on
		lost    []string                                                             // afterwards
	}{
		{"idle", nil, func(context.Context, *testing.T, *fleet, string, string) {}, 20 * 60, []string{"alice"}},
		{"idle since the last use", nil, func(_ context.Context, t *testing.T, f *fleet, alice, _ string) { f.which(t, "alice", alice) }, 25 * 60, []string{"bob"}},
		{"at the end of their lives", func(c *inproc.Config) { c.Limits.Lifetime = 16 * time.Minute }, func(_ context.Context, t *testing.T, f *fleet, alice, _ string) {
			f.which(t, "alice", alice)
		}, 6 * 60, []string{"alice"}},
		{"one with a stream", nil, func(ctx context.Context, t *testing.T, f *fleet, alice, _ string) {
			go f.askAs(as(ctx, "alice", time.Time{}), "GET", alice, gatewaytest.Legacy, "")
		}, 25 * 60, []string{"bob"}},
		{"in use by calls", func(c *inproc.Config) { c.CallTimeout = time.Minute }, func(ctx context.Context, t *testing.T, f *fleet, alice, bob string) {
			go f.callAs(ctx, "alice", alice, "wait")
			go f.callAs(ctx, "bob", bob, "wait")
		}, 31 * 60, []string{"alice", "bob"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stuck := make(chan struct{})
				f := newFleet(func(server *mcp.Server) {
					gatewaytest.AddTool(server, "wait", func(context.Context, *mcp.CallToolRequest) (string, error) { <-stuck; return "", nil })
				}, func(c *inproc.Config) {
					sessions(2, 2)(c)
					if test.change != nil {
						test.change(c)
					}
				})
				defer f.end(t)
				defer close(stuck)
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				time.Sleep(time.Minute) // so that nothing ends with a sweep
				open := map[string]string{"alice": f.openAs(t, "alice")}
				time.Sleep(5 * time.Minute)
				open["bob"] = f.openAs(t, "bob")
				time.Sleep(5 * time.Minute)
				test.use(ctx, t, f, open["alice"], open["bob"])
				synctest.Wait()
				for _, user := range []string{"carol", "alice"} { // alice may have more, but has no claim to a place
					if _, refusal := f.tryAs(t.Context(), user); refusal != refusedFor(test.seconds) {
						t.Errorf("%s at first: %q, want %q", user, refusal, refusedFor(test.seconds))
					}
				}
				if got := f.which(t, "carol", ""); got != "carol 2" {
					t.Errorf("carol without a session: %s", got)
				}
				time.Sleep(time.Duration(test.seconds)*time.Second - time.Millisecond)
				if _, refusal := f.tryAs(t.Context(), "carol"); refusal != refusedFor(1) {
					t.Errorf("too early: %q", refusal)
				}
				time.Sleep(time.Millisecond)
				synctest.Wait()
				if _, refusal := f.tryAs(t.Context(), "carol"); refusal != "" {
					t.Errorf("when told to try again: %q", refusal)
				}
				for user, session := range open {
					want := http.StatusOK
					if slices.Contains(test.lost, user) {
						want = http.StatusNotFound
					}
					if w := f.callAs(t.Context(), user, session, "which"); w.Code != want {
						t.Errorf("in %s's session: %d %s, want %d", user, w.Code, w.Body, want)
					}
				}
				if s := f.Stats(); s.SessionsEvicted != 0 {
					t.Errorf("stats = %+v", s)
				}
			})
		})
	}
}

// While nothing is known to end, clients are told to try again in a minute; a
// session that its client ends makes room at once.
func TestCapOfSessionsWithStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(nil, sessions(2, 2))
		defer f.end(t)
		ctx, leave := context.WithCancel(t.Context())
		var open sync.WaitGroup
		defer open.Wait()
		defer leave()
		alice, bob := f.openAs(t, "alice"), f.openAs(t, "bob")
		for user, session := range map[string]string{"alice": alice, "bob": bob} {
			open.Go(func() { f.askAs(as(ctx, user, time.Time{}), "GET", session, gatewaytest.Legacy, "") })
		}
		synctest.Wait()
		if _, refusal := f.tryAs(t.Context(), "carol"); refusal != refusedFor(60) {
			t.Errorf("the third in all: %q", refusal)
		}
		f.askAs(as(t.Context(), "alice", time.Time{}), "DELETE", alice, gatewaytest.Legacy, "")
		if _, refusal := f.tryAs(t.Context(), "carol"); refusal != "" {
			t.Errorf("in alice's place: %q", refusal)
		}
	})
}

// Where one user may have all sessions, they lose their own.
func TestUserWithAllSessionsLosesTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(nil, sessions(2, 5))
		defer f.end(t)
		first := f.openAs(t, "alice")
		time.Sleep(time.Second)
		f.openAs(t, "alice")
		f.openAs(t, "alice")
		if w := f.callAs(t.Context(), "alice", first, "which"); w.Code != http.StatusNotFound {
			t.Errorf("in the first session: %d %s", w.Code, w.Body)
		}
		if s := f.Stats(); s.Sessions != 2 || s.SessionsEvicted != 1 {
			t.Errorf("stats = %+v", s)
		}
	})
}

// A shared server with sessions makes room only after they have ended, and then
// when the refused have been told to come back.
func TestServerWithSessionsStaysUntilTheirEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(nil, instances(1))
		defer f.end(t)
		time.Sleep(time.Minute) // so that nothing ends with a sweep
		alice := f.openAs(t, "alice")
		time.Sleep(10 * time.Minute)
		refused := func(when, retry string) {
			t.Helper()
			w := f.callAs(t.Context(), "bob", "", "which")
			if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != retry {
				t.Errorf("%s: %d %v %s", when, w.Code, w.Header(), w.Body)
			}
		}
		refused("with an idle session", "1200")
		f.wantsClosed(t, "with an idle session")
		time.Sleep(20 * time.Minute)
		refused("in the moment that it ends", "1")
		time.Sleep(time.Second)
		if got := f.which(t, "bob", ""); got != "bob 1" {
			t.Errorf("after its end: %s", got)
		}
		if w := f.callAs(t.Context(), "alice", alice, "which"); w.Code != http.StatusNotFound {
			t.Errorf("alice's session: %d %s", w.Code, w.Body)
		}
	})
}

// Sessions are called, resumed and ended while others push them out. Whoever asks
// is served, finds the session gone, or is told that all are in use; and all
// places come back.
func TestEvictionDuringUse(t *testing.T) {
	const each, clients, rounds = 3, 12, 40
	for _, mode := range []inproc.Mode{inproc.PerSession, inproc.PerUser} {
		t.Run(string(mode), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(nil, func(c *inproc.Config) {
					sessions(2*each-1, each)(c)
					c.Sessions, c.CallTimeout, c.FactoryTimeout = mode, time.Second, time.Second
				})
				check := func(what string, w *httptest.ResponseRecorder, want string) {
					switch {
					case w.Code == http.StatusNotFound && strings.Contains(w.Body.String(), "Session not found"):
					case w.Code == http.StatusOK && strings.Contains(w.Body.String(), want), w.Code == http.StatusNoContent && want == "":
					default:
						t.Errorf("%s: %d %s", what, w.Code, w.Body)
					}
				}
				var asked sync.WaitGroup
				for i := range clients {
					user := []string{"alice", "bob"}[i%2]
					asked.Go(func() {
						for round := range rounds {
							session, refusal := f.tryAs(t.Context(), user)
							if s := f.StatsOf(identityOf(user)); s.Sessions > each {
								t.Errorf("%s has %d sessions", user, s.Sessions)
							}
							if s := f.Stats(); s.Sessions > 2*each-1 {
								t.Errorf("%d sessions", s.Sessions)
							}
							if refusal != "" {
								if !strings.HasPrefix(refusal, "503 ") {
									t.Errorf("initialize: %s", refusal)
								}
								continue
							}
							for range round % 4 {
								check("call", f.callAs(t.Context(), user, session, "which"), user)
							}
							if round%5 == i%5 {
								ctx, leave := context.WithTimeout(t.Context(), time.Millisecond)
								check("GET", f.askAs(as(ctx, user, time.Time{}), "GET", session, gatewaytest.Legacy, ""), ": ok")
								leave()
							}
							if round%7 == i%7 {
								check("DELETE", f.askAs(as(t.Context(), user, time.Time{}), "DELETE", session, gatewaytest.Legacy, ""), "")
							}
						}
					})
				}
				asked.Wait()
				synctest.Wait()
				if s := f.Stats(); s.SessionsEvicted == 0 {
					t.Errorf("nothing was evicted: %+v", s)
				}
				time.Sleep(3 * idleTimeout)
				synctest.Wait()
				if got := alive(f.Stats()); got != nothing {
					t.Errorf("in the end: %+v", got)
				}
				if kept, real := f.ReplaySize(); kept != 0 || real != 0 {
					t.Errorf("in the end, %d bytes of streams are kept, really %d", kept, real)
				}
				for n, times := range f.closes {
					if times != 1 {
						t.Errorf("server %d was closed %d times", n, times)
					}
				}
				before := f.Stats().SessionsEvicted
				for _, user := range []string{"alice", "bob"} {
					if got := f.StatsOf(identityOf(user)); got != (inproc.UserStats{}) {
						t.Errorf("%s has %+v", user, got)
					}
				}
				for range each {
					f.openAs(t, "alice")
				}
				for range each - 1 {
					f.openAs(t, "bob")
				}
				if s := f.Stats(); s.Sessions != 2*each-1 || s.SessionsEvicted != before {
					t.Errorf("afterwards: %+v", s)
				}
				f.end(t)
			})
		})
	}
}
