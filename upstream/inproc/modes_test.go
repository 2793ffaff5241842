package inproc_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
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

// fleet is a bench whose servers are numbered, so that a test can tell which
// of them answers and what became of each. Their tool "which" answers with the
// user the server was made for and its number: "alice 0".
type fleet struct {
	*bench
	mu     sync.Mutex
	users  []string // for whom, by number
	closes []int    // how often each was closed
	calls  atomic.Int32
}

func newFleet(setup func(*mcp.Server), change func(*inproc.Config)) *fleet {
	f := &fleet{}
	f.bench = benchWith(nil, func(c *inproc.Config) {
		c.Refuse = refuseTelling
		c.Factory = func(_ context.Context, call inproc.Call) (inproc.Instance, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			n := len(f.users)
			f.users, f.closes = append(f.users, call.Identity.UserID()), append(f.closes, 0)
			server := newServer()
			gatewaytest.AddTool(server, "which", func(ctx context.Context, _ *mcp.CallToolRequest) (string, error) {
				if caller := mcpauth.FromContext(ctx).UserID(); caller != call.Identity.UserID() {
					return "", fmt.Errorf("%s is served with the server of %s", caller, call.Identity.UserID())
				}
				return fmt.Sprint(call.Identity.UserID(), " ", n), nil
			})
			if setup != nil {
				setup(server)
			}
			return inproc.Instance{Server: server, Close: func(context.Context) error {
				f.mu.Lock()
				defer f.mu.Unlock()
				f.closes[n]++
				return nil
			}}, nil
		}
		if change != nil {
			change(c)
		}
	})
	return f
}

// refuseTelling tells a test what it needs to know of a refusal.
func refuseTelling(w http.ResponseWriter, _ *http.Request, err error) {
	refusal := mcpauth.AsError(err)
	w.Header().Set("Refused", string(refusal.Code))
	if refusal.RetryAfter > 0 {
		w.Header().Set("Retry-After", refusal.RetrySeconds())
	}
	http.Error(w, refusal.Message, http.StatusServiceUnavailable)
}

// openAs has user open a session.
func (f *fleet) openAs(t *testing.T, user string) (session string) {
	t.Helper()
	w := f.askAs(as(t.Context(), user, time.Time{}), "POST", "", "", gatewaytest.Initialize(gatewaytest.Legacy))
	session = w.Header().Get("Mcp-Session-Id")
	if w.Code != http.StatusOK || session == "" {
		t.Fatalf("initialize as %s: %d %s", user, w.Code, w.Body)
	}
	f.askAs(as(t.Context(), user, time.Time{}), "POST", session, gatewaytest.Legacy, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	return session
}

// callAs has user call a tool, in a session, or outside when session is "".
func (f *fleet) callAs(ctx context.Context, user, session, tool string) *httptest.ResponseRecorder {
	version := ""
	if session != "" {
		version = gatewaytest.Legacy
	}
	return f.askAs(as(ctx, user, time.Time{}), "POST", session, version, gatewaytest.CallTool(int(f.calls.Add(1)), tool, "{}"))
}

// which returns what the tool of that name answers.
func (f *fleet) which(t *testing.T, user, session string) string {
	t.Helper()
	w := f.callAs(t.Context(), user, session, "which")
	if w.Code != http.StatusOK {
		t.Fatalf("%s in session %q: %d %s", user, session, w.Code, w.Body)
	}
	return text(w)
}

// text returns the text of a tool's result, or the message of its error.
func text(w *httptest.ResponseRecorder) string {
	return gatewaytest.Answer{Body: w.Body.String()}.Text()
}

// closed returns the numbers of the servers that are closed. One that was
// closed twice is there twice.
func (f *fleet) closed() []int {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	numbers := []int{}
	for n, times := range f.closes {
		for range times {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

func (f *fleet) wantsClosed(t *testing.T, when string, numbers ...int) {
	t.Helper()
	if got := f.closed(); !slices.Equal(got, numbers) {
		t.Errorf("%s: servers %v are closed, want %v", when, got, numbers)
	}
}

func listenBody() string {
	return gatewaytest.Message(1, "subscriptions/listen", gatewaytest.ModernParams(gatewaytest.Modern, `{"notifications":{"toolsListChanged":true}}`))
}

// Both eras at once, by two users: who gets which server, and what the counts
// say of it.
func TestModes(t *testing.T) {
	for _, test := range []struct {
		sessions, requests inproc.Mode
		answers            []string // of alice's two sessions, twice each; alice twice outside; bob in a session and outside
		alive, made        inproc.Servers
		closed             []int // before anything has ended
	}{
		{inproc.PerSession, inproc.PerUser,
			[]string{"alice 0", "alice 1", "alice 0", "alice 1", "alice 2", "alice 2", "bob 3", "bob 4"},
			inproc.Servers{PerSession: 3, PerUser: 2}, inproc.Servers{PerSession: 3, PerUser: 2}, nil},
		{inproc.PerUser, inproc.PerUser,
			[]string{"alice 0", "alice 0", "alice 0", "alice 0", "alice 0", "alice 0", "bob 1", "bob 1"},
			inproc.Servers{PerUser: 2}, inproc.Servers{PerUser: 2}, nil},
		{inproc.PerSession, inproc.PerRequest,
			[]string{"alice 0", "alice 1", "alice 0", "alice 1", "alice 2", "alice 3", "bob 4", "bob 5"},
			inproc.Servers{PerSession: 3}, inproc.Servers{PerSession: 3, PerRequest: 3}, []int{2, 3, 5}},
		{inproc.PerUser, inproc.PerRequest,
			[]string{"alice 0", "alice 0", "alice 0", "alice 0", "alice 1", "alice 2", "bob 3", "bob 4"},
			inproc.Servers{PerUser: 2}, inproc.Servers{PerUser: 2, PerRequest: 3}, []int{1, 2, 4}},
	} {
		t.Run(fmt.Sprintf("a server for each %s and each %s", test.sessions, test.requests), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(nil, func(c *inproc.Config) { c.Sessions, c.Requests = test.sessions, test.requests })
				one, two := f.openAs(t, "alice"), f.openAs(t, "alice")
				answers := []string{f.which(t, "alice", one), f.which(t, "alice", two), f.which(t, "alice", one), f.which(t, "alice", two),
					f.which(t, "alice", ""), f.which(t, "alice", "")}
				bob := f.openAs(t, "bob")
				answers = append(answers, f.which(t, "bob", bob), f.which(t, "bob", ""))
				if !slices.Equal(answers, test.answers) {
					t.Errorf("served by %q, want %q", answers, test.answers)
				}
				f.wantsClosed(t, "with the sessions open", test.closed...)
				if got, want := f.Stats(), (inproc.Stats{Sessions: 3, Alive: test.alive, Made: test.made}); got != want {
					t.Errorf("stats = %+v, want %+v", got, want)
				}
				f.askAs(as(t.Context(), "alice", time.Time{}), "DELETE", one, gatewaytest.Legacy, "")
				if got := f.which(t, "alice", two); got != test.answers[1] {
					t.Errorf("alice's second session, after the end of her first: %s", got)
				}
				f.end(t)
				all := make([]int, len(f.users))
				for n := range all {
					all[n] = n
				}
				f.wantsClosed(t, "in the end", all...)
				if got, want := f.Stats(), (inproc.Stats{Made: test.made}); got != want {
					t.Errorf("stats in the end = %+v, want %+v", got, want)
				}
			})
		})
	}
}

// The server that sessions share outlives each of them, until it is idle.
func TestSharedServerOutlivesItsSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(nil, func(c *inproc.Config) { c.Sessions = inproc.PerUser })
		defer f.end(t)
		session := f.openAs(t, "alice")
		f.askAs(as(t.Context(), "alice", time.Time{}), "DELETE", session, gatewaytest.Legacy, "")
		f.wantsClosed(t, "after the session")
		if got := f.which(t, "alice", f.openAs(t, "alice")); got != "alice 0" {
			t.Errorf("the next session is served by %s", got)
		}
		time.Sleep(2 * idleTimeout) // the session first, then the server
		f.wantsClosed(t, "when idle", 0)
		if got, want := f.Stats(), (inproc.Stats{Made: inproc.Servers{PerUser: 1}}); got != want {
			t.Errorf("stats = %+v, want %+v", got, want)
		}
	})
}

func TestServerOfARequestEndsWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(nil, func(c *inproc.Config) { c.Requests = inproc.PerRequest })
		defer f.end(t)
		ctx, leave := context.WithCancel(t.Context())
		go f.askAs(as(ctx, "alice", time.Time{}), "POST", "", gatewaytest.Modern, listenBody())
		time.Sleep(10 * idleTimeout)
		if got := f.which(t, "alice", ""); got != "alice 1" {
			t.Errorf("a call beside the subscription is served by %s", got)
		}
		f.wantsClosed(t, "with the subscription open", 1)
		leave()
		f.wantsClosed(t, "after the subscription", 0, 1)
	})
}

// A second initialize in a session is the client's mistake, and costs it an
// error.
func TestInitializeASecondTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(nil)
		defer b.end(t)
		session := b.open(t)
		if w := b.ask(t.Context(), "POST", session, gatewaytest.Legacy, gatewaytest.Initialize(gatewaytest.Legacy)); text(w) != `duplicate "initialize" received` {
			t.Errorf("initialize again: %d %s", w.Code, w.Body)
		}
		b.wants(t, "after that", oneSession, 0)
		if w := b.call(t.Context(), session, "hello"); text(w) != "hello" {
			t.Errorf("a call, after that: %d %s", w.Code, w.Body)
		}
	})
}

func TestStatsOfAUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		proceed := make(chan struct{})
		f := newFleet(func(server *mcp.Server) {
			gatewaytest.AddTool(server, "wait", func(context.Context, *mcp.CallToolRequest) (string, error) { <-proceed; return "", nil })
		}, nil)
		defer f.end(t)
		ctx, leave := context.WithCancel(t.Context())
		var asked sync.WaitGroup
		for _, user := range []string{"alice", "alice", "bob"} {
			session := f.openAs(t, user)
			asked.Go(func() { f.askAs(as(ctx, user, time.Time{}), "GET", session, gatewaytest.Legacy, "") })
			asked.Go(func() { f.callAs(t.Context(), user, session, "wait") })
		}
		asked.Go(func() { f.askAs(as(ctx, "alice", time.Time{}), "POST", "", gatewaytest.Modern, listenBody()) })
		asked.Go(func() { f.callAs(t.Context(), "bob", "", "wait") })
		synctest.Wait()
		wants := func(when string, all inproc.UserStats, users map[string]inproc.UserStats) {
			t.Helper()
			got := map[string]inproc.UserStats{}
			for user := range users {
				got[user] = f.StatsOf(identityOf(user))
			}
			if !maps.Equal(got, users) {
				t.Errorf("%s: %+v, want %+v", when, got, users)
			}
			if s := f.Stats(); (inproc.UserStats{Sessions: s.Sessions, Streams: s.Streams, Calls: s.Calls}) != all {
				t.Errorf("%s: in all %+v, want %+v", when, s, all)
			}
		}
		wants("at work", inproc.UserStats{Sessions: 3, Streams: 4, Calls: 4}, map[string]inproc.UserStats{
			"alice": {Sessions: 2, Streams: 3, Calls: 2}, "bob": {Sessions: 1, Streams: 1, Calls: 2}, "nobody": {},
		})
		leave()
		close(proceed)
		asked.Wait()
		wants("at rest", inproc.UserStats{Sessions: 3}, map[string]inproc.UserStats{"alice": {Sessions: 2}, "bob": {Sessions: 1}})
	})
}

// What else the request brought reaches the factory, but nothing that looks
// like a user or a credential: an author might believe it.
func TestExtras(t *testing.T) {
	for _, version := range eras {
		t.Run(version, func(t *testing.T) {
			seen := make(chan inproc.Extras, 1)
			s := gatewaytest.Start(t, gateway.Config{Factory: func(_ context.Context, call gateway.Call) (gateway.Instance, error) {
				seen <- call.Extras
				return gateway.Instance{Server: newServer()}, nil
			}})
			request := first[version](s.Token(t, "alice"))
			request.Path = "/mcp?workspace=7&tag=a&tag=b"
			header := map[string][]string{"X-Workspace": {"seven", "eight"}, "X-Region": {"eu"}, "x_plan": {"free"}, "Accept-Language": {"en"}, "Cookie": {"a=b"}}
			for _, name := range []string{
				"X-User-ID", "x_user_id", "X-User_Id", "X.User.Id", "X-User", "X-Username", "X-Remote-User", "X-Authenticated-Userid", "X-WebAuth-User",
				"X-Auth-Request-Email", "X-Goog-Authenticated-User-Email", "X-Goog-IAP-JWT-Assertion", "X-Amzn-Oidc-Data", "X-Amzn-Oidc-Identity",
				"X-MS-Client-Principal", "X-MS-Token-AAD-Access-Token", "X-Consumer-Custom-Id",
				"X-API-Key", "x_api_key", "X-ApiKey", "X-Auth-Token", "X-Access-Token", "X-Token", "X-Client-Secret", "X-Client-Cert", "X-Cookie", "X-Authorization",
				"X-Forwarded-For", "X-Forwarded-User", "x_forwarded_for", "X-Original-Forwarded-For", "X-Real-IP", "X-Cluster-Client-Ip", "X-Envoy-External-Address",
			} {
				header[name] = []string{"mallory"}
			}
			maps.Copy(header, request.Header)
			request.Header = header
			s.Do(t, request)
			want := inproc.Extras{
				Query:  url.Values{"workspace": {"7"}, "tag": {"a", "b"}},
				Header: http.Header{"X-Workspace": {"seven", "eight"}, "X-Region": {"eu"}, "X_plan": {"free"}},
			}
			if got := gatewaytest.Receive(t, "the factory", seen); !reflect.DeepEqual(got, want) {
				t.Errorf("extras = %v, want %v", got, want)
			}
		})
	}
}

// They are the author's own: changing them changes nothing for the request.
func TestExtrasAreACopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := benchWith(nil, func(c *inproc.Config) {
			c.Factory = func(_ context.Context, call inproc.Call) (inproc.Instance, error) {
				call.Extras.Query.Set("tag", "changed")
				call.Extras.Header["X-Region"][0] = "changed"
				call.Extras.Header.Set("Mcp-Protocol-Version", "changed")
				return inproc.Instance{Server: newServer()}, nil
			}
		})
		defer b.end(t)
		r := httptest.NewRequestWithContext(asAlice(t.Context(), time.Time{}), "POST", "/mcp?tag=a", nil)
		r.Header = http.Header{"X-Region": {"eu"}, "Accept": {"*/*"}}
		b.Serve(httptest.NewRecorder(), r, parse(gatewaytest.Initialize(gatewaytest.Legacy)))
		if r.URL.RawQuery != "tag=a" || r.Header.Get("X-Region") != "eu" || r.Header.Get("Mcp-Protocol-Version") != "" {
			t.Errorf("the request has become %s with %v", r.URL, r.Header)
		}
	})
}

// identityOf is the identity of user, outside of any request.
func identityOf(user string) *mcpauth.Identity {
	return mcpauth.FromContext(as(context.Background(), user, time.Time{}))
}
