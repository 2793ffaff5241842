package gateway_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
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
)

// names is a provider for which a token is the user's name, and which counts.
type names struct{ started, closed atomic.Int32 }

func (*names) Authenticate(_ context.Context, r *mcpauth.Request) (*mcpauth.Identity, error) {
	name, err := mcpauth.BearerToken(r.Header)
	if err != nil {
		return nil, err
	}
	return mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: "names", UserID: name})
}

func (n *names) Start(context.Context) error { n.started.Add(1); return nil }
func (n *names) Close() error                { n.closed.Add(1); return nil }

// waiting makes servers with a tool, "wait", that goes on when the test says
// so, whatever becomes of its context.
type waiting struct {
	gatewaytest.Factory
	began, proceed chan struct{}
}

func newWaiting() *waiting {
	w := &waiting{began: make(chan struct{}, 100), proceed: make(chan struct{})}
	w.Setup = func(server *mcp.Server, call gateway.Call) {
		gatewaytest.AddTool(server, "wait", func(context.Context, *mcp.CallToolRequest) (string, error) {
			w.began <- struct{}{}
			<-w.proceed
			return "done for " + call.Identity.UserID(), nil
		})
	}
	return w
}

// first is a request that makes user a server, and leaves it idle.
func first(s *gatewaytest.Server, t *testing.T, user, version string) gatewaytest.Request {
	if version == gatewaytest.Modern {
		return gatewaytest.ModernCall(user, 1, "whoami", "{}")
	}
	return gatewaytest.Request{Token: user, Session: s.Open(t, user, version), Version: version, Body: gatewaytest.CallTool(1, "whoami", "{}")}
}

func wait(s *gatewaytest.Server, t *testing.T, user, version string) gatewaytest.Request {
	if version == gatewaytest.Modern {
		return gatewaytest.ModernCall(user, 7, "wait", "{}")
	}
	return gatewaytest.Request{Token: user, Session: s.Open(t, user, version), Version: version, Body: gatewaytest.CallTool(7, "wait", "{}")}
}

// stream opens a stream and returns what ends when it does.
func stream(t *testing.T, s *gatewaytest.Server, r gatewaytest.Request, opening string) <-chan error {
	t.Helper()
	resp, err := s.Begin(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	lines := bufio.NewReader(resp.Body)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("%d: %v before %q", resp.StatusCode, err, opening)
		}
		if strings.Contains(line, opening) {
			break
		}
	}
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, lines)
		ended <- err
	}()
	return ended
}

func TestGracefulStop(t *testing.T) {
	const n = 50
	provider, factory := &names{}, newWaiting()
	s := gatewaytest.Start(t, gateway.Config{Provider: provider, Factory: factory.Make})
	if got := s.Do(t, gatewaytest.Request{Method: "GET", Path: "/mcp/health/ready"}); got.Status != 200 {
		t.Errorf("ready: %d", got.Status)
	}

	type outcome struct {
		user   string
		answer gatewaytest.Answer
		err    error
	}
	outcomes := make(chan outcome, n)
	for i := range n {
		user, version := fmt.Sprintf("user-%d", i), []string{gatewaytest.Legacy, gatewaytest.Modern}[i%2]
		request := wait(s, t, user, version)
		go func() {
			answer, err := s.Try(context.WithoutCancel(t.Context()), request)
			outcomes <- outcome{user, answer, err}
		}()
	}
	for range n {
		gatewaytest.Receive(t, "the calls to begin", factory.began)
	}
	listening := gatewaytest.Request{Method: "GET", Token: "listener", Session: s.Open(t, "listener", gatewaytest.Legacy), Version: gatewaytest.Legacy}
	ended := map[string]<-chan error{
		"the GET stream": stream(t, s, listening, ": ok"),
		"the subscription": stream(t, s, gatewaytest.Request{
			Token: "listener", Version: gatewaytest.Modern, Header: headers{"Mcp-Method": {"subscriptions/listen"}},
			Body: gatewaytest.Message(1, "subscriptions/listen", gatewaytest.ModernParams(gatewaytest.Modern, `{"notifications":{"toolsListChanged":true}}`)),
		}, "acknowledged"),
	}

	s.BeginStop()
	for what, end := range ended {
		if err := gatewaytest.Receive(t, what+" to end", end); err != nil {
			t.Errorf("%s ends with %v", what, err)
		}
	}
	gatewaytest.Eventually(t, "new requests are refused", func() bool {
		answer, err := s.Try(t.Context(), gatewaytest.Request{Token: "late", Body: gatewaytest.Initialize(gatewaytest.Legacy)})
		return err != nil || answer.Status == http.StatusServiceUnavailable
	})
	if provider.closed.Load() != 0 || len(outcomes) != 0 {
		t.Errorf("provider closed %d times and %d calls ended before the calls could", provider.closed.Load(), len(outcomes))
	}

	close(factory.proceed)
	for range n {
		o := gatewaytest.Receive(t, "the calls to end", outcomes)
		if o.err != nil || o.answer.Status != 200 || o.answer.Text() != "done for "+o.user {
			t.Errorf("the call of %s: %d %s, %v", o.user, o.answer.Status, o.answer.Body, o.err)
		}
	}
	if err := s.Stop(); err != nil {
		t.Errorf("Serve = %v", err)
	}
	if provider.started.Load() != 1 || provider.closed.Load() != 1 {
		t.Errorf("provider started %d and closed %d times", provider.started.Load(), provider.closed.Load())
	}
	made, closed := factory.Made(), factory.Closed()
	slices.Sort(made)
	slices.Sort(closed)
	if !slices.Equal(made, closed) || s.Stats().Sessions != 0 || s.Stats().Alive.PerUser != 0 {
		t.Errorf("made %d instances, closed %d; %+v", len(made), len(closed), s.Stats())
	}
	for _, said := range []string{"gateway serving", "gateway stopping"} {
		if !strings.Contains(s.Log.String(), said) {
			t.Errorf("the log does not have %q", said)
		}
	}
}

// A call that never ends is cut off. What remains of it in this process is the
// goroutine of the tool itself and those that wait for it: Go cannot end them,
// and they end when the tool does.
func TestStopCutsOffWhatNeverEnds(t *testing.T) {
	for _, version := range []string{gatewaytest.Legacy, gatewaytest.Modern} {
		t.Run(version, func(t *testing.T) {
			provider, factory := &names{}, newWaiting()
			s := gatewaytest.Start(t, gateway.Config{Provider: provider, Factory: factory.Make, ShutdownTimeout: 2 * time.Second})
			if got := s.Do(t, first(s, t, "idle", version)); got.Status != http.StatusOK {
				t.Fatalf("the idle user: %d %s", got.Status, got.Body)
			}
			request := wait(s, t, "alice", version)
			cut := make(chan error, 1)
			go func() {
				answer, err := s.Try(context.WithoutCancel(t.Context()), request)
				if err == nil && answer.Text() != "" {
					err = nil
				} else if err == nil {
					err = io.ErrUnexpectedEOF
				}
				cut <- err
			}()
			gatewaytest.Receive(t, "the call to begin", factory.began)
			began := time.Now()
			err := s.Stop()
			if err == nil || !strings.Contains(err.Error(), "requests cut off at the end of ShutdownTimeout") {
				t.Errorf("Serve = %v", err)
			}
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("stopping took %s", took)
			}
			if err := gatewaytest.Receive(t, "the client to be cut off", cut); err == nil {
				t.Error("the client has an answer")
			}
			if provider.closed.Load() != 1 {
				t.Errorf("provider closed %d times", provider.closed.Load())
			}
			closed := factory.Closed()
			if !slices.Contains(closed, "idle") {
				t.Errorf("closed are the instances of %v, not that of the idle user", closed)
			}
			if version == gatewaytest.Legacy && slices.Contains(closed, "alice") {
				t.Error("an instance was closed under a tool at work")
			}
			close(factory.proceed)
			gatewaytest.Eventually(t, "the instance is closed once its tool is done", func() bool { return len(factory.Closed()) == 2 })
		})
	}
}

// Where a POST is the whole life of a request (2026-07-28), its end is the
// end of the call.
func TestClientLeavesCallWithoutSession(t *testing.T) {
	began, ended := make(chan struct{}), make(chan error)
	factory := &gatewaytest.Factory{Setup: func(server *mcp.Server, _ gateway.Call) {
		gatewaytest.AddTool(server, "heed", func(ctx context.Context, _ *mcp.CallToolRequest) (string, error) {
			close(began)
			<-ctx.Done()
			ended <- ctx.Err()
			return "", ctx.Err()
		})
	}}
	s := gatewaytest.Start(t, gateway.Config{Provider: &names{}, Factory: factory.Make})
	ctx, leave := context.WithCancel(t.Context())
	var left sync.WaitGroup
	left.Go(func() { s.Try(ctx, gatewaytest.ModernCall("alice", 1, "heed", "{}")) })
	gatewaytest.Receive(t, "the call", began)
	leave()
	if err := gatewaytest.Receive(t, "the tool to learn of it", ended); err != context.Canceled {
		t.Errorf("the tool's context: %v", err)
	}
	left.Wait()
}

// In a session the client may come back for the answer: the call runs on.
func TestClientLeavesCallInSession(t *testing.T) {
	factory := newWaiting()
	over := make(chan error, 1)
	factory.Setup = func(server *mcp.Server, _ gateway.Call) {
		gatewaytest.AddTool(server, "wait", func(ctx context.Context, _ *mcp.CallToolRequest) (string, error) {
			factory.began <- struct{}{}
			<-factory.proceed
			over <- ctx.Err()
			return "", nil
		})
	}
	left := make(chan struct{})
	s := gatewaytest.Start(t, gateway.Config{Provider: &leaving{left: left}, Factory: factory.Make})
	request := wait(s, t, "alice", gatewaytest.Legacy)
	ctx, leave := context.WithCancel(t.Context())
	request.Header = headers{"X-Watch": {"1"}}
	var client sync.WaitGroup
	client.Go(func() { s.Try(ctx, request) })
	gatewaytest.Receive(t, "the call", factory.began)
	leave()
	gatewaytest.Receive(t, "the server to learn of it", left)
	close(factory.proceed)
	if err := gatewaytest.Receive(t, "the tool to end", over); err != nil {
		t.Errorf("the tool's context: %v", err)
	}
	client.Wait()
}

// leaving is names that tells when the watched request's client has left.
type leaving struct {
	names
	left chan struct{}
}

func (l *leaving) Authenticate(ctx context.Context, r *mcpauth.Request) (*mcpauth.Identity, error) {
	if r.Header.Get("X-Watch") != "" {
		context.AfterFunc(ctx, func() { close(l.left) })
	}
	return l.names.Authenticate(ctx, r)
}

func TestAGatewayServesOnce(t *testing.T) {
	s := gatewaytest.Start(t, gateway.Config{Provider: &names{}, Factory: newWaiting().Make})
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); !errors.Is(err, gateway.ErrServed) {
		t.Errorf("Run after a stop = %v", err)
	}

	running := gatewaytest.Start(t, gateway.Config{Provider: &names{}, Factory: newWaiting().Make})
	healthy := func(when string) {
		if got := running.Do(t, gatewaytest.Request{Method: "GET", Path: "/mcp/health"}); got.Status != http.StatusOK {
			t.Errorf("health %s a second Run: %d", when, got.Status)
		}
	}
	healthy("before")
	if err := running.Run(t.Context()); !errors.Is(err, gateway.ErrServed) {
		t.Errorf("a second Run = %v", err)
	}
	healthy("after")
}

// A client that sends a body drop by drop must not hold its connection, nor
// the stop of the gateway, whatever the answer is.
func TestSlowBody(t *testing.T) {
	s := gatewaytest.Start(t, gateway.Config{Provider: &names{}, Factory: newWaiting().Make, BodyTimeout: 50 * time.Millisecond})
	for _, test := range []struct {
		name, head string
		status     string
	}{
		{"a user's", "POST /mcp HTTP/1.1\r\nAuthorization: Bearer alice\r\nContent-Type: application/json\r\nHost: ", "400"},
		{"a stranger's", "POST /mcp HTTP/1.1\r\nHost: ", "401"},
		{"of another type", "POST /mcp HTTP/1.1\r\nAuthorization: Bearer alice\r\nHost: ", "415"},
		{"for another path", "POST /elsewhere HTTP/1.1\r\nHost: ", "404"},
		{"before a stream", "GET /mcp HTTP/1.1\r\nAuthorization: Bearer alice\r\nHost: ", "400"},
	} {
		t.Run(test.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", strings.TrimPrefix(s.Origin, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(gatewaytest.Patience)); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "%s%s\r\nContent-Length: 1000\r\n\r\n{", test.head, strings.TrimPrefix(s.Origin, "http://"))
			answer, err := io.ReadAll(conn) // to the end of the connection
			if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 "+test.status+" ") {
				t.Errorf("%v: %s", err, answer)
			}
		})
	}
}

// For DrainDelay, a gateway that is told to stop says so and goes on.
func TestDrainDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := gatewaytest.StartInMemory(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make, DrainDelay: time.Second})
		token := s.Token(t, "alice")
		ready := func() int {
			return s.Do(t, gatewaytest.Request{Method: "GET", Path: "/mcp/health/ready"}).Status
		}
		if got := ready(); got != http.StatusOK {
			t.Fatalf("before: %d", got)
		}
		s.BeginStop()
		gatewaytest.Eventually(t, "the gateway is not ready", func() bool { return ready() == http.StatusServiceUnavailable })
		if got := s.Do(t, gatewaytest.ModernCall(token, 1, "whoami", "{}")); got.Status != http.StatusOK {
			t.Errorf("while it drains: %d %s", got.Status, got.Body)
		}
		if err := s.Stop(); err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
}
