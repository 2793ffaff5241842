package inproc_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/upstream/inproc"
)

// first is a request that needs a server, in each era.
var first = map[string]func(token string) gatewaytest.Request{
	gatewaytest.Legacy: func(token string) gatewaytest.Request {
		return gatewaytest.Request{Token: token, Body: gatewaytest.Initialize(gatewaytest.Legacy)}
	},
	gatewaytest.Modern: func(token string) gatewaytest.Request {
		return gatewaytest.ModernCall(token, 1, "whoami", "{}")
	},
}

func newServer() *mcp.Server { return mcp.NewServer(&mcp.Implementation{Name: "test"}, nil) }

func TestFactoryFails(t *testing.T) {
	for _, test := range []struct {
		name   string
		fail   func(closed func(context.Context) error) (gateway.Instance, error)
		logged string
		closes int32
	}{
		{"an error", func(func(context.Context) error) (gateway.Instance, error) {
			return gateway.Instance{}, errors.New("canary: no database")
		}, "canary: no database", 0},
		{"a panic", func(func(context.Context) error) (gateway.Instance, error) { panic("canary: nil map") }, "panic: canary: nil map", 0},
		{"no server", func(func(context.Context) error) (gateway.Instance, error) { return gateway.Instance{}, nil }, "no server", 0},
		{"no server, but something to close", func(closed func(context.Context) error) (gateway.Instance, error) {
			return gateway.Instance{Close: closed}, nil
		}, "no server", 1},
	} {
		for _, version := range eras {
			t.Run(test.name+"/"+version, func(t *testing.T) {
				var calls, closes atomic.Int32
				factory := &gatewaytest.Factory{}
				s := gatewaytest.Start(t, gateway.Config{Factory: func(ctx context.Context, call gateway.Call) (gateway.Instance, error) {
					if calls.Add(1) == 1 {
						return test.fail(func(context.Context) error { closes.Add(1); return nil })
					}
					return factory.Make(ctx, call)
				}})
				token := s.Token(t, "alice")
				failed := s.Do(t, first[version](token))
				const body = `{"error":"temporarily_unavailable","error_description":"The server cannot serve this request now. Please try again later."}` + "\n"
				if failed.Status != 503 || failed.Header.Get("Retry-After") != "1" || failed.Body != body {
					t.Errorf("answer = %d %v %s", failed.Status, failed.Header, failed.Body)
				}
				if !strings.Contains(s.Log.String(), test.logged) {
					t.Errorf("the log does not say %q: %s", test.logged, s.Log)
				}
				if stats := s.Stats(); stats.Sessions != 0 || stats.Alive != (inproc.Servers{}) || closes.Load() != test.closes {
					t.Errorf("stats = %+v, closed %d times", stats, closes.Load())
				}
				if again := s.Do(t, first[version](token)); again.Status != 200 {
					t.Errorf("the next request: %d %s", again.Status, again.Body)
				}
			})
		}
	}
}

func TestFactoryHasItsTime(t *testing.T) {
	for _, version := range eras {
		t.Run(version, func(t *testing.T) {
			s := gatewaytest.Start(t, gateway.Config{FactoryTimeout: time.Millisecond, Factory: func(ctx context.Context, _ gateway.Call) (gateway.Instance, error) {
				<-ctx.Done()
				return gateway.Instance{}, ctx.Err()
			}})
			if got := s.Do(t, first[version](s.Token(t, "alice"))); got.Status != 503 {
				t.Errorf("answer = %d %s", got.Status, got.Body)
			}
		})
	}
}

// The work that requests have in common does not end with the one that began
// it.
func TestFactoryOutlivesTheRequestThatCalledIt(t *testing.T) {
	called, proceed := make(chan struct{}), make(chan struct{})
	cancelled := make(chan error, 1)
	factory := &gatewaytest.Factory{}
	s := gatewaytest.Start(t, gateway.Config{Factory: func(ctx context.Context, call gateway.Call) (gateway.Instance, error) {
		close(called)
		<-proceed
		cancelled <- ctx.Err()
		return factory.Make(ctx, call)
	}})
	token := s.Token(t, "alice")
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := s.Try(ctx, first[gatewaytest.Modern](token))
		left <- err
	}()
	gatewaytest.Receive(t, "the factory to be called", called)
	leave()
	if err := gatewaytest.Receive(t, "the client to leave", left); !errors.Is(err, context.Canceled) {
		t.Errorf("the client that left: %v", err)
	}
	close(proceed)
	if err := gatewaytest.Receive(t, "the factory", cancelled); err != nil {
		t.Errorf("the factory's context: %v", err)
	}
	if got := s.Do(t, first[gatewaytest.Modern](token)); got.Status != 200 || len(factory.Made()) != 1 {
		t.Errorf("the next request: %d %s; servers made for %v", got.Status, got.Body, factory.Made())
	}
}

func TestOneServerForTwoUsersIsRefused(t *testing.T) {
	for _, version := range eras {
		for _, gone := range []bool{false, true} {
			name := version + "/while the first is there"
			if gone {
				name = version + "/after the first has gone"
			}
			t.Run(name, func(t *testing.T) {
				// A server that the test holds on to, as a careless author would.
				shared := newServer()
				gatewaytest.AddTool(shared, "whoami", func(ctx context.Context, _ *mcp.CallToolRequest) (string, error) {
					return mcpauth.FromContext(ctx).UserID(), nil
				})
				var closes atomic.Int32
				s := gatewaytest.Start(t, gateway.Config{IdleTimeout: idleIf(gone && version == gatewaytest.Modern), Factory: func(context.Context, gateway.Call) (gateway.Instance, error) {
					return gateway.Instance{Server: shared, Close: func(context.Context) error { closes.Add(1); return nil }}, nil
				}})
				alice := func() gatewaytest.Request { return gatewaytest.ModernCall(s.Token(t, "alice"), 1, "whoami", "{}") }
				if version == gatewaytest.Legacy {
					session := s.Open(t, s.Token(t, "alice"), version)
					alice = func() gatewaytest.Request {
						return gatewaytest.Request{Token: s.Token(t, "alice"), Session: session, Version: version, Body: gatewaytest.CallTool(1, "whoami", "{}")}
					}
				}
				if got := s.Do(t, alice()); got.Text() != "alice" {
					t.Fatalf("the first user: %d %s", got.Status, got.Body)
				}
				if gone {
					if end := alice(); end.Session != "" {
						end.Method, end.Body = "DELETE", ""
						s.Do(t, end)
					}
					gatewaytest.Eventually(t, "the first user's server is given up", func() bool { return alive(s.Stats()) == nothing && closes.Load() == 1 })
				}
				before := closes.Load()
				refused := s.Do(t, first[version](s.Token(t, "bob")))
				if refused.Status != 503 || refused.Header.Get("Retry-After") == "" {
					t.Errorf("the second user: %d %v %s", refused.Status, refused.Header, refused.Body)
				}
				if !strings.Contains(s.Log.String(), "one server for two users") {
					t.Errorf("the log does not say why: %s", s.Log)
				}
				if got := closes.Load() - before; got != 1 {
					t.Errorf("the refused instance was closed %d times", got)
				}
				if got := s.Do(t, alice()); !gone && got.Text() != "alice" {
					t.Errorf("the first user, after that: %d %s", got.Status, got.Body)
				}
				if again := s.Do(t, first[version](s.Token(t, "alice"))); again.Status != 200 {
					t.Errorf("the first user, once more: %d %s", again.Status, again.Body)
				}
			})
		}
	}
}

// idleIf ends what is idle at once, or never within a test.
func idleIf(atOnce bool) time.Duration {
	if atOnce {
		return time.Millisecond
	}
	return time.Hour
}

func TestOneServerForSessionsOfOneUser(t *testing.T) {
	depth := make(chan int, 1)
	shared := newServer()
	gatewaytest.AddTool(shared, "depth", func(context.Context, *mcp.CallToolRequest) (string, error) {
		depth <- runtime.Callers(0, make([]uintptr, 1000))
		return "", nil
	})
	s := gatewaytest.Start(t, gateway.Config{Factory: func(context.Context, gateway.Call) (gateway.Instance, error) {
		return gateway.Instance{Server: shared}, nil
	}})
	var depths []int
	for range 3 {
		client := s.Connect(t, s.Token(t, "alice"), gatewaytest.Legacy)
		client.Call(t, "depth", nil)
		depths = append(depths, <-depth)
	}
	if depths[0] != depths[1] || depths[1] != depths[2] {
		t.Errorf("the middleware is there more than once: stacks of %v frames", depths)
	}
	// The user's own server outside of sessions may be the same one too.
	if modern := s.Connect(t, s.Token(t, "alice"), gatewaytest.Modern); modern.Call(t, "depth", nil) != "" {
		t.Error("no answer outside of sessions")
	}
	<-depth
}
