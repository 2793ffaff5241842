package inproc_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/upstream/inproc"
)

// instances bounds shared servers, which both eras use.
func instances(n int) func(*inproc.Config) {
	return func(c *inproc.Config) { c.Sessions, c.Limits.Instances = inproc.PerUser, n }
}

func TestLeastRecentlyUsedServerMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(nil, instances(3))
		defer f.end(t)
		session := f.openAs(t, "alice") // 0
		f.which(t, "bob", "")           // 1
		f.which(t, "carol", "")         // 2
		f.which(t, "alice", session)
		f.which(t, "dave", "") // 3
		f.wantsClosed(t, "bob was the last", 1)
		f.which(t, "carol", "")
		f.which(t, "erin", "") // 4
		f.wantsClosed(t, "alice was, but has a session; dave was before carol", 1, 3)
		if got := f.which(t, "alice", session); got != "alice 0" {
			t.Errorf("alice in her session is served by %s", got)
		}
		if got, want := f.Stats(), (inproc.Stats{Sessions: 1, Alive: inproc.Servers{PerUser: 3}, Made: inproc.Servers{PerUser: 5}, Evicted: 2}); got != want {
			t.Errorf("stats = %+v, want %+v", got, want)
		}
	})
}

// What is in use is not evicted: who comes then has to wait.
func TestServerInUseStays(t *testing.T) {
	type use struct {
		proceed chan struct{} // lets the tool "wait", or initialize, go on
		leave   context.CancelFunc
	}
	// The calls here have ten hours, and sessions end after another half hour.
	const call, callInASession, stream = "36000", "37800", "60"
	for _, test := range []struct {
		name  string
		retry string
		// use has alice use her server; end must end that.
		use func(ctx context.Context, t *testing.T, f *fleet)
		end func(use)
	}{
		{"by a request", call,
			func(ctx context.Context, _ *testing.T, f *fleet) { go f.callAs(ctx, "alice", "", "wait") },
			func(u use) { close(u.proceed) }},
		{"by a subscription", stream,
			func(ctx context.Context, _ *testing.T, f *fleet) {
				go f.askAs(as(ctx, "alice", time.Time{}), "POST", "", gatewaytest.Modern, listenBody())
			},
			func(u use) { u.leave() }},
		{"by a call in a session", callInASession,
			func(ctx context.Context, t *testing.T, f *fleet) {
				session := f.openAs(t, "alice")
				go f.callAs(ctx, "alice", session, "wait")
			},
			func(u use) { close(u.proceed) }},
		{"by a call in a session whose client has lost its connection", callInASession,
			func(_ context.Context, t *testing.T, f *fleet) {
				ctx, leave := context.WithCancel(t.Context())
				session := f.openAs(t, "alice")
				go f.callAs(ctx, "alice", session, "wait")
				synctest.Wait()
				leave()
			},
			func(u use) { close(u.proceed) }},
		{"by the stream of a session", stream,
			func(ctx context.Context, t *testing.T, f *fleet) {
				session := f.openAs(t, "alice")
				go f.askAs(as(ctx, "alice", time.Time{}), "GET", session, gatewaytest.Legacy, "")
			},
			func(u use) { u.leave() }},
		{"by a session that is being opened", callInASession,
			func(ctx context.Context, _ *testing.T, f *fleet) {
				go f.askAs(as(ctx, "alice", time.Time{}), "POST", "", "", gatewaytest.Initialize("2025-06-18")) // which waits
			},
			func(u use) { close(u.proceed) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				proceed := make(chan struct{})
				f := newFleet(func(server *mcp.Server) {
					gatewaytest.AddTool(server, "wait", func(context.Context, *mcp.CallToolRequest) (string, error) { <-proceed; return "", nil })
					server.AddReceivingMiddleware(func(next mcp.MethodHandler) mcp.MethodHandler {
						return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
							if p, ok := req.GetParams().(*mcp.InitializeParams); ok && p.ProtocolVersion == "2025-06-18" {
								<-proceed
							}
							return next(ctx, method, req)
						}
					})
				}, instances(1))
				defer f.end(t)
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				test.use(ctx, t, f)
				synctest.Wait()
				for _, body := range []string{gatewaytest.CallTool(1, "which", "{}"), gatewaytest.Initialize(gatewaytest.Legacy)} {
					w := f.askAs(as(ctx, "bob", time.Time{}), "POST", "", "", body)
					if w.Header().Get("Refused") != "unavailable" || w.Header().Get("Retry-After") != test.retry || w.Body.String() != "Too many users at the same time. Please close some, or try again later.\n" {
						t.Errorf("while in use: %d %v %s", w.Code, w.Header(), w.Body)
					}
				}
				f.wantsClosed(t, "while in use")
				test.end(use{proceed, leave})
				synctest.Wait()
				time.Sleep(2 * idleTimeout) // sessions make no room before their end
				synctest.Wait()
				if got := f.which(t, "bob", ""); got != "bob 1" {
					t.Errorf("after the use: %s", got)
				}
				f.wantsClosed(t, "after the use", 0)
				if got := f.StatsOf(identityOf("bob")); got != (inproc.UserStats{}) {
					t.Errorf("bob's stats = %+v", got)
				}
			})
		})
	}
}

// More users at once than there may be servers: each is served, or told to
// wait, whoever pushes out whom; none pushes out a server that has not been
// used yet by those it was made for.
func TestManyUsersForFewServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(nil, instances(4))
		defer f.end(t)
		var asked sync.WaitGroup
		var served, refused atomic.Int32
		for i := range 400 {
			asked.Go(func() {
				user := fmt.Sprint("user", i%40)
				switch w := f.callAs(t.Context(), user, "", "which"); {
				case w.Code == http.StatusOK:
					served.Add(1)
				case w.Header().Get("Refused") == "unavailable" && (w.Header().Get("Retry-After") == "36000" || w.Header().Get("Retry-After") == "60"): // for a call, for a factory
					refused.Add(1)
				default:
					t.Errorf("%s: %d %v %s", user, w.Code, w.Header(), w.Body)
				}
				if s := f.Stats(); s.Alive.PerUser > 4+s.Evicted {
					t.Errorf("stats = %+v", s)
				}
			})
		}
		asked.Wait()
		if n := served.Load() + refused.Load(); n != 400 || served.Load() == 0 {
			t.Errorf("%d served, %d refused", served.Load(), refused.Load())
		}
		synctest.Wait()
		if s := f.Stats(); s.Alive.PerUser > 4 || s.Made.PerUser != s.Alive.PerUser+s.Evicted || s.Calls != 0 {
			t.Errorf("stats = %+v", s)
		}
	})
}

// Lifetime replaces a server: what runs goes on with the old one.
func TestLifetimeOfASharedServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		proceed := make(chan struct{})
		f := newFleet(func(server *mcp.Server) {
			gatewaytest.AddTool(server, "wait", func(context.Context, *mcp.CallToolRequest) (string, error) { <-proceed; return "done", nil })
		}, func(c *inproc.Config) { c.Limits.Lifetime, c.Limits.Idle = time.Hour, 1000*time.Hour })
		defer f.end(t)
		began := make(chan *httptest.ResponseRecorder, 1)
		go func() { began <- f.callAs(t.Context(), "alice", "", "wait") }()
		time.Sleep(time.Hour - time.Second)
		if got := f.which(t, "alice", ""); got != "alice 0" {
			t.Errorf("just before: %s", got)
		}
		time.Sleep(time.Second)
		if got := f.which(t, "alice", ""); got != "alice 1" {
			t.Errorf("at the end of its life: %s", got)
		}
		f.wantsClosed(t, "with a call in progress")
		close(proceed)
		if w := <-began; text(w) != "done" {
			t.Errorf("the call in progress: %d %s", w.Code, w.Body)
		}
		f.wantsClosed(t, "after the call", 0)
		time.Sleep(2 * time.Hour) // with no request at all
		f.wantsClosed(t, "later", 0, 1)
	})
}

func TestLifetimeOfSessions(t *testing.T) {
	for _, mode := range []inproc.Mode{inproc.PerSession, inproc.PerUser} {
		t.Run(string(mode), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				proceed := make(chan struct{})
				f := newFleet(func(server *mcp.Server) {
					gatewaytest.AddTool(server, "wait", func(context.Context, *mcp.CallToolRequest) (string, error) { <-proceed; return "done", nil })
				}, func(c *inproc.Config) {
					c.Sessions, c.Limits.Lifetime, c.Limits.Idle = mode, time.Hour, 1000*time.Hour
				})
				defer f.end(t)
				idle, busy := f.openAs(t, "alice"), f.openAs(t, "alice")
				began := make(chan *httptest.ResponseRecorder, 1)
				go func() { began <- f.callAs(t.Context(), "alice", busy, "wait") }()
				time.Sleep(59 * time.Minute)
				f.which(t, "alice", idle)
				time.Sleep(30 * time.Minute)
				if w := f.callAs(t.Context(), "alice", idle, "which"); w.Code != http.StatusNotFound {
					t.Errorf("a session without a call: %d %s", w.Code, w.Body)
				}
				before := f.which(t, "alice", busy)
				fresh := f.which(t, "alice", f.openAs(t, "alice"))
				if before == fresh {
					t.Errorf("the old session and a new one are both served by %s", fresh)
				}
				close(proceed)
				if w := <-began; text(w) != "done" {
					t.Errorf("the call in progress: %d %s", w.Code, w.Body)
				}
				time.Sleep(20 * time.Minute)
				if w := f.callAs(t.Context(), "alice", busy, "which"); w.Code != http.StatusNotFound {
					t.Errorf("the other session, after its call: %d %s", w.Code, w.Body)
				}
				if s := f.Stats(); s.Sessions != 1 || s.Alive.PerSession+s.Alive.PerUser != 1 {
					t.Errorf("stats = %+v", s)
				}
			})
		})
	}
}

func TestCapOfStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(nil, func(c *inproc.Config) { c.Limits.StreamsPerUser = 2 })
		defer f.end(t)
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		alice, bob := f.openAs(t, "alice"), f.openAs(t, "bob")
		var open sync.WaitGroup
		open.Go(func() { f.askAs(as(ctx, "alice", time.Time{}), "GET", alice, gatewaytest.Legacy, "") })
		open.Go(func() { f.askAs(as(ctx, "alice", time.Time{}), "POST", "", gatewaytest.Modern, listenBody()) })
		synctest.Wait()
		second := f.openAs(t, "alice")
		for name, w := range map[string]*httptest.ResponseRecorder{
			"GET":    f.askAs(as(ctx, "alice", time.Time{}), "GET", second, gatewaytest.Legacy, ""),
			"listen": f.askAs(as(ctx, "alice", time.Time{}), "POST", "", gatewaytest.Modern, listenBody()),
		} {
			if w.Header().Get("Refused") != "rate_limited" || w.Header().Get("Retry-After") != "30" {
				t.Errorf("%s: %d %v %s", name, w.Code, w.Header(), w.Body)
			}
		}
		f.which(t, "alice", second)
		open.Go(func() { f.askAs(as(ctx, "bob", time.Time{}), "GET", bob, gatewaytest.Legacy, "") })
		synctest.Wait()
		if got := f.Stats().Streams; got != 3 {
			t.Errorf("%d streams are open, want alice's two and bob's", got)
		}
		leave()
		open.Wait()
		if got := f.Stats().Streams; got != 0 {
			t.Errorf("%d streams are open in the end", got)
		}
	})
}

// 10 000 requests to open a session, of 40 users, in waves: slow factories,
// factories that fail, panic or never return in time, clients that leave.
// Nothing exceeds the caps, and no seat is lost.
func TestSeatsAreNeverLost(t *testing.T) {
	const all, each, users, waves, wave = 120, 5, 40, 10, 1000
	for _, mode := range []inproc.Mode{inproc.PerSession, inproc.PerUser} {
		t.Run(string(mode), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var calls, making, most atomic.Int32
				f := newFleet(nil, func(c *inproc.Config) {
					c.Sessions, c.Limits.Sessions, c.Limits.SessionsPerUser, c.FactoryTimeout = mode, all, each, 10*time.Second
					make := c.Factory
					c.Factory = func(ctx context.Context, call inproc.Call) (inproc.Instance, error) {
						now := making.Add(1)
						defer making.Add(-1)
						for was := most.Load(); now > was && !most.CompareAndSwap(was, now); was = most.Load() {
						}
						switch calls.Add(1) % 7 {
						case 0:
							return inproc.Instance{}, errors.New("no database")
						case 1:
							panic("no database")
						case 2:
							time.Sleep(time.Second)
						case 3:
							select {
							case <-time.After(time.Minute):
							case <-ctx.Done():
								return inproc.Instance{}, ctx.Err()
							}
						}
						return make(ctx, call)
					}
				})
				for range waves {
					var asked sync.WaitGroup
					for i := range wave {
						asked.Go(func() {
							ctx := t.Context()
							if i%3 == 0 {
								var leave context.CancelFunc
								ctx, leave = context.WithTimeout(ctx, time.Duration(i)*time.Millisecond)
								defer leave()
							}
							user := fmt.Sprint("user", i%users)
							w := f.askAs(as(ctx, user, time.Time{}), "POST", "", "", gatewaytest.Initialize(gatewaytest.Legacy))
							if s := f.Stats(); s.Sessions > all {
								t.Errorf("%d sessions", s.Sessions)
							}
							if s := f.StatsOf(identityOf(user)); s.Sessions > each {
								t.Errorf("%s has %d sessions", user, s.Sessions)
							}
							if session := w.Header().Get("Mcp-Session-Id"); session != "" && i%2 == 0 {
								f.askAs(as(t.Context(), user, time.Time{}), "DELETE", session, gatewaytest.Legacy, "")
							}
						})
					}
					asked.Wait()
				}
				if n := int(most.Load()); n > all {
					t.Errorf("%d factories at work at once", n)
				}
				time.Sleep(3 * idleTimeout) // what is left is idle
				synctest.Wait()
				if got := alive(f.Stats()); got != nothing {
					t.Errorf("in the end: %+v", got)
				}
				for n, times := range f.closes {
					if times != 1 {
						t.Errorf("server %d was closed %d times", n, times)
					}
				}
				for i := range users {
					if got := f.StatsOf(identityOf(fmt.Sprint("user", i))); got != (inproc.UserStats{}) {
						t.Errorf("user%d has %+v", i, got)
					}
				}
				calls.Store(3) // the factory is well again for three calls
				for range 3 {
					f.which(t, "user1", f.openAs(t, "user1"))
				}
				f.end(t)
			})
		})
	}
}

func TestFactoryThatFailsTakesNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failures := 3
		f := newFleet(nil, func(c *inproc.Config) {
			instances(1)(c)
			make := c.Factory
			c.Factory = func(ctx context.Context, call inproc.Call) (inproc.Instance, error) {
				if failures--; failures >= 0 {
					return inproc.Instance{}, errors.New("no database")
				}
				return make(ctx, call)
			}
		})
		defer f.end(t)
		for i := range 3 {
			if w := f.callAs(t.Context(), fmt.Sprint("user", i), "", "which"); w.Code != http.StatusServiceUnavailable {
				t.Errorf("answer = %d %s", w.Code, w.Body)
			}
		}
		if got := f.which(t, "alice", ""); got != "alice 0" {
			t.Errorf("served by %s", got)
		}
		if got, want := f.Stats(), (inproc.Stats{Alive: inproc.Servers{PerUser: 1}, Made: inproc.Servers{PerUser: 1}, Failed: 3}); got != want {
			t.Errorf("stats = %+v, want %+v", got, want)
		}
	})
}
