package inproc_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/upstream/inproc"
)

// with is ctx with a credential of that token; "" is none.
func with(ctx context.Context, token string) context.Context {
	if token == "" {
		return ctx
	}
	return mcpauth.WithCredential(ctx, &mcpauth.Credential{Token: mcpauth.NewSecret(token), Expiry: time.Now().Add(time.Hour)})
}

func TestChangedCredentialReplacesTheServer(t *testing.T) {
	for _, test := range []struct {
		name   string
		tokens []string // of each request
		served string   // by which server
	}{
		{"the same value, in a credential of its own each time", []string{"a", "a", "a"}, "0 0 0"},
		{"never one", []string{"", ""}, "0 0"},
		{"another", []string{"a", "b", "b"}, "0 1 1"},
		{"another and back", []string{"a", "b", "a"}, "0 1 2"},
		{"the first one", []string{"", "a"}, "0 1"},
		{"no longer one", []string{"a", ""}, "0 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(nil, nil)
				defer f.end(t)
				var served []string
				for _, token := range test.tokens {
					w := f.callAs(with(t.Context(), token), "alice", "", "which")
					served = append(served, strings.TrimPrefix(text(w), "alice "))
				}
				if got := strings.Join(served, " "); got != test.served {
					t.Errorf("served by %s, want %s", got, test.served)
				}
				made := len(f.users)
				if closed := f.closed(); len(closed) != made-1 {
					t.Errorf("of %d servers, %v are closed", made, closed)
				}
			})
		})
	}
}

// What runs with the old credential goes on with the old server, which is
// closed afterwards.
func TestReplacedServerEndsWithItsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		proceed := make(chan struct{})
		f := newFleet(func(server *mcp.Server) {
			gatewaytest.AddTool(server, "wait", func(ctx context.Context, _ *mcp.CallToolRequest) (string, error) {
				<-proceed
				return mcpauth.CredentialFrom(ctx).Token.Reveal(), nil
			})
		}, func(c *inproc.Config) { c.Sessions = inproc.PerUser })
		defer f.end(t)
		var session string
		if w := f.askAs(as(with(t.Context(), "old"), "alice", time.Time{}), "POST", "", "", gatewaytest.Initialize(gatewaytest.Legacy)); w.Code == http.StatusOK {
			session = w.Header().Get("Mcp-Session-Id")
		}
		answered := make(chan string, 2)
		go func() { answered <- text(f.callAs(with(t.Context(), "old"), "alice", "", "wait")) }()
		go func() { answered <- text(f.callAs(with(t.Context(), "old"), "alice", session, "wait")) }()
		synctest.Wait()
		if got := text(f.callAs(with(t.Context(), "new"), "alice", "", "which")); got != "alice 1" {
			t.Errorf("with the new credential: %s", got)
		}
		f.wantsClosed(t, "with calls in progress")
		close(proceed)
		if one, two := <-answered, <-answered; one != "old" || two != "old" {
			t.Errorf("the calls in progress answer %q and %q", one, two)
		}
		// A session stays where it was opened: what the credential is now, its
		// tools learn from their context.
		f.wantsClosed(t, "with a session open")
		if got := text(f.callAs(with(t.Context(), "new"), "alice", session, "wait")); got != "new" {
			t.Errorf("in the session: %q", got)
		}
		f.askAs(as(t.Context(), "alice", time.Time{}), "DELETE", session, gatewaytest.Legacy, "")
		f.wantsClosed(t, "after the session", 0)
	})
}

// Requests that come with another credential each replace each other's server.
// That must come to an end, in an answer or in an error.
func TestFlappingCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const requests = 100
		var factories atomic.Int32
		f := newFleet(nil, func(c *inproc.Config) {
			make := c.Factory
			c.Factory = func(ctx context.Context, call inproc.Call) (inproc.Instance, error) {
				factories.Add(1)
				time.Sleep(time.Second) // for all to come together
				return make(ctx, call)
			}
		})
		var served, refused atomic.Int32
		var asked sync.WaitGroup
		for i := range requests {
			asked.Go(func() {
				switch w := f.callAs(with(t.Context(), fmt.Sprint(i)), "alice", "", "which"); {
				case strings.HasPrefix(text(w), "alice "):
					served.Add(1)
				case w.Header().Get("Refused") == "unavailable":
					refused.Add(1)
				default:
					t.Errorf("answer = %d %s", w.Code, w.Body)
				}
			})
		}
		began := time.Now()
		asked.Wait()
		if served.Load() < 10 || served.Load()+refused.Load() != requests { // one, for each of ten servers
			t.Errorf("%d served, %d refused", served.Load(), refused.Load())
		}
		if took := time.Since(began); took > 11*time.Second {
			t.Errorf("it took %s and %d servers", took, factories.Load())
		}
		if got := text(f.callAs(with(t.Context(), "at last"), "alice", "", "which")); got == "" {
			t.Error("no answer once it is quiet again")
		}
		f.end(t)
		if s := f.Stats(); len(f.closed()) != int(factories.Load()) || alive(s) != nothing {
			t.Errorf("%d servers made, %d closed; %+v", factories.Load(), len(f.closed()), s)
		}
	})
}

// A failure with one credential is not the answer to a request with another.
func TestFactoryFailsForOneCredential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(nil, func(c *inproc.Config) {
			make := c.Factory
			c.Factory = func(ctx context.Context, call inproc.Call) (inproc.Instance, error) {
				time.Sleep(time.Second)
				if call.Credential.Token.Reveal() == "stale" {
					return inproc.Instance{}, errors.New("the platform says no")
				}
				return make(ctx, call)
			}
		})
		defer f.end(t)
		stale := make(chan *httptest.ResponseRecorder, 1)
		go func() { stale <- f.callAs(with(t.Context(), "stale"), "alice", "", "which") }()
		synctest.Wait()
		if w := f.callAs(with(t.Context(), "fresh"), "alice", "", "which"); text(w) != "alice 0" {
			t.Errorf("with a good credential: %d %s", w.Code, w.Body)
		}
		if w := <-stale; w.Header().Get("Refused") != "unavailable" {
			t.Errorf("with a stale credential: %d %s", w.Code, w.Body)
		}
	})
}

func TestFirstRequestsShareOneCallOfTheFactory(t *testing.T) {
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprintf("which fails: %t", fails), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var calls atomic.Int32
				f := newFleet(nil, func(c *inproc.Config) {
					make := c.Factory
					c.Factory = func(ctx context.Context, call inproc.Call) (inproc.Instance, error) {
						time.Sleep(time.Second)
						if calls.Add(1) == 1 && fails {
							return inproc.Instance{}, &mcpauth.Error{Code: mcpauth.ErrForbidden, Message: "no account"}
						}
						return make(ctx, call)
					}
				})
				defer f.end(t)
				first, leave := context.WithCancel(t.Context())
				var asked sync.WaitGroup
				asked.Go(func() { f.callAs(first, "alice", "", "which") })
				synctest.Wait()
				for range 200 {
					asked.Go(func() {
						w := f.callAs(t.Context(), "alice", "", "which")
						if got := w.Header().Get("Refused"); fails && got != "forbidden" || !fails && text(w) != "alice 0" {
							t.Errorf("answer = %d %s %s", w.Code, got, w.Body)
						}
					})
				}
				synctest.Wait()
				leave() // whoever began it need not stay
				asked.Wait()
				if got := calls.Load(); got != 1 {
					t.Errorf("the factory was called %d times", got)
				}
				if got := f.which(t, "alice", ""); got != "alice 0" {
					t.Errorf("the next request: %s", got)
				}
				if s := f.Stats(); s.Made.PerUser != 1 || fails != (s.Failed == 1) {
					t.Errorf("stats = %+v", s)
				}
			})
		})
	}
}

// A factory may refuse a user in words of its own.
func TestRefusalOfAFactory(t *testing.T) {
	for _, test := range []struct {
		name   string
		err    error
		status int
		body   string
		header string
	}{
		{"forbidden", &mcpauth.Error{Code: mcpauth.ErrForbidden, Message: "No account here.", Cause: errors.New("canary")},
			403, `{"error":"forbidden","error_description":"No account here."}`, ""},
		{"wrapped", fmt.Errorf("notes: %w", &mcpauth.Error{Code: mcpauth.ErrInsufficientScope, Message: "Notes are needed.", Scopes: []string{"notes"}}),
			403, `{"error":"insufficient_scope","error_description":"Notes are needed."}`, `scope="notes"`},
		{"unavailable", &mcpauth.Error{Code: mcpauth.ErrUnavailable, Message: "The shop is closed.", RetryAfter: time.Minute},
			503, `{"error":"temporarily_unavailable","error_description":"The shop is closed."}`, ""},
		{"none of ours", errors.New("canary"),
			503, `{"error":"temporarily_unavailable","error_description":"The server cannot serve this request now. Please try again later."}`, ""},
	} {
		for _, version := range eras {
			t.Run(test.name+"/"+version, func(t *testing.T) {
				s := gatewaytest.Start(t, gateway.Config{Factory: func(context.Context, gateway.Call) (gateway.Instance, error) {
					return gateway.Instance{}, test.err
				}})
				got := s.Do(t, first[version](s.Token(t, "alice")))
				if got.Status != test.status || strings.TrimSpace(got.Body) != test.body || !strings.Contains(got.Header.Get("Www-Authenticate"), test.header) {
					t.Errorf("answer = %d %v %s", got.Status, got.Header, got.Body)
				}
				if test.status == 503 && got.Header.Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
			})
		}
	}
}

type contextKey struct{}

// A call sees what its own request brought, in its context: identity,
// credential, and what handlers before us put there. It ends when the SDK says
// so, and not with the session's first request.
func TestContextOfACall(t *testing.T) {
	for _, version := range eras {
		t.Run(version, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(func(server *mcp.Server) {
					gatewaytest.AddTool(server, "look", func(ctx context.Context, _ *mcp.CallToolRequest) (string, error) {
						time.Sleep(time.Second) // longer than the first request has
						deadline, _ := ctx.Deadline()
						return fmt.Sprint(mcpauth.FromContext(ctx).Scopes(), " ", mcpauth.CredentialFrom(ctx).Token.Reveal(), " ", ctx.Value(contextKey{}), " ",
							time.Until(deadline).Round(time.Hour), " ", ctx.Err()), nil
					})
				})
				defer b.end(t)
				brought := func(n int) context.Context {
					id, err := mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: "https://issuer.example", UserID: "alice", Scopes: []string{fmt.Sprint("scope", n)}})
					if err != nil {
						t.Fatal(err)
					}
					return context.WithValue(mcpauth.NewContext(with(t.Context(), "same"), id), contextKey{}, n)
				}
				session := ""
				if version == gatewaytest.Legacy {
					ctx, cancel := context.WithTimeout(brought(0), time.Millisecond)
					defer cancel()
					session = b.askAs(ctx, "POST", "", "", gatewaytest.Initialize(version)).Header().Get("Mcp-Session-Id")
				}
				var asked sync.WaitGroup
				for n := 1; n <= 20; n++ {
					asked.Go(func() {
						ctx := brought(n)
						want := fmt.Sprintf("[scope%d] same %d 10h0m0s <nil>", n, n)
						if got := text(b.askAs(ctx, "POST", session, "", gatewaytest.CallTool(n, "look", "{}"))); got != want {
							t.Errorf("the call saw %q, want %q", got, want)
						}
					})
				}
				asked.Wait()
			})
		})
	}
}
