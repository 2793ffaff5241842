package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.uber.org/goleak"

	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/limit"
)

// What becomes of a call whose client is gone in the middle of its stream.
// Nothing is left of it in the end, in no case.
func TestFaultClientGoneMidStream(t *testing.T) {
	const timeout = 3 * time.Second
	for _, test := range []struct {
		name    string
		version string
		config  gateway.Config
		runsOn  bool                                                               // until end, or the time-out
		end     func(token, session string) (then gatewaytest.Request, status int) // nil: nothing is needed
	}{
		{"without a session, the call is cancelled", gatewaytest.Modern, gateway.Config{}, false, nil},
		{"in a session, until it is cancelled", gatewaytest.Legacy, gateway.Config{}, true, func(token, session string) (gatewaytest.Request, int) {
			return gatewaytest.Request{Token: token, Session: session, Version: gatewaytest.Legacy,
				Body: `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`}, http.StatusAccepted
		}},
		{"in a session, until its time is up", gatewaytest.Legacy, gateway.Config{RequestTimeout: timeout}, false, nil},
		{"in a session, until that is deleted", gatewaytest.Legacy, gateway.Config{}, true, func(token, session string) (gatewaytest.Request, int) {
			return gatewaytest.Request{Method: "DELETE", Token: token, Session: session, Version: gatewaytest.Legacy}, http.StatusNoContent
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			factory := newTelling(1)
			test.config.Factory = factory.Make
			s := gatewaytest.Start(t, test.config)
			alice := s.Token(t, "alice")
			session := sessionIn(t, s, alice, test.version)
			if session == "" { // have her server made
				s.Do(t, gatewaytest.ModernCall(alice, 1, "whoami", "{}"))
			}
			before := goleak.IgnoreCurrent()

			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			began := time.Now()
			follow(t, s, ctx, tell(alice, session, 7, `"t"`, tale{"hello", 2}))
			call := gatewaytest.Receive(t, "the call", factory.began)
			leave()
			gatewaytest.Eventually(t, "the server learns of it", func() bool { return s.Stats().Calls == 0 })
			if test.runsOn && call.Err() != nil {
				t.Errorf("the call has ended with its client: %v", call.Err())
			}
			if test.end != nil {
				request, status := test.end(alice, session)
				if got := s.Do(t, request); got.Status != status {
					t.Errorf("%d %s, want %d", got.Status, got.Body, status)
				}
			}
			gatewaytest.Receive(t, "the call to end", call.Done())
			if lasted := time.Since(began); lasted < test.config.RequestTimeout {
				t.Errorf("the call lasts %s, while nobody has ended it", lasted)
			}
			gatewaytest.Eventually(t, "no goroutine is left of it", func() bool {
				s.HTTP.CloseIdleConnections()
				return goleak.Find(before) == nil
			})
		})
	}
}

// What the child of TestFaultTermination tells its parent.
type child struct {
	Addr, Operations string
	Tokens           []string
}

const childVariable = "MCPAUTH_TEST_TERMINATION"

// TestTerminationChild is the child: a process that runs a gateway until it is
// told to stop. Its tools go on when its standard input ends. It ends with 0 if
// Run returns without error and no goroutine is left.
func TestTerminationChild(t *testing.T) {
	if os.Getenv(childVariable) == "" {
		t.Skip("is run by TestFaultTermination")
	}
	issuer := gatewaytest.NewIssuer(t, "https://issuer.example")
	const public = "http://127.0.0.1:8080" // for tokens only
	factory, log := newTelling(terminationCalls), &gatewaytest.Log{}
	g, err := gateway.New(gateway.Config{
		Provider: gatewaytest.Provider(t, public+"/mcp", issuer), Factory: factory.Make,
		Addr: "127.0.0.1:0", PublicURL: public, OperationsAddr: "127.0.0.1:0", Logger: slog.New(slog.NewTextHandler(log, nil)),
		RequestTimeout: time.Minute, ShutdownTimeout: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- g.Run(context.Background()) }()
	address := func(of string) (addr string) {
		gatewaytest.Eventually(t, of+" is in the log", func() bool {
			found := regexp.MustCompile(of + `" addr=(\S+)`).FindStringSubmatch(log.String())
			if found != nil {
				addr = found[1]
			}
			return found != nil
		})
		return addr
	}
	hello := child{Addr: address("gateway serving"), Operations: address("operations serving")}
	for i := range terminationCalls {
		hello.Tokens = append(hello.Tokens, issuer.Token(t, public+"/mcp", terminationUser(i)))
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(hello); err != nil {
		t.Fatal(err)
	}
	for range terminationCalls {
		gatewaytest.Receive(t, "the calls", factory.began)
	}
	if err := out.Encode("all in"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		t.Fatal(err)
	}
	close(factory.proceed)
	if err := gatewaytest.Receive(t, "the end of Run", ran); err != nil {
		t.Errorf("Run = %v\n%s", err, log)
	}
}

const terminationCalls = 200

func terminationUser(i int) string { return fmt.Sprintf("user-%d", i) }

// SIGTERM to a real process with calls in progress: each of them gets its
// answer, all of it.
func TestFaultTermination(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestTerminationChild$", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), childVariable+"=1")
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := json.NewDecoder(output)
	var hello child
	if err := said.Decode(&hello); err != nil {
		t.Fatalf("%v\n%s", err, &complaints)
	}
	s := &gatewaytest.Server{Origin: "http://" + hello.Addr, URL: "http://" + hello.Addr + "/mcp", HTTP: &http.Transport{}}
	operations := &gatewaytest.Server{Origin: "http://" + hello.Operations, HTTP: &http.Transport{}}
	defer s.HTTP.CloseIdleConnections()
	defer operations.HTTP.CloseIdleConnections()
	ready := func() int {
		return operations.Do(t, gatewaytest.Request{Method: "GET", Path: "/readyz"}).Status
	}
	if status := ready(); status != http.StatusOK {
		t.Errorf("readyz, before: %d", status)
	}

	var playing sync.WaitGroup
	var answered atomic.Int32
	for i, token := range hello.Tokens {
		asked := tale{"hello", []int{1, 50}[i/2%2]} // half of them have much to say yet
		request := tell(token, sessionIn(t, s, token, eras[i%2]), i, `"t"`, asked)
		playing.Go(func() {
			resp, err := s.Begin(context.WithoutCancel(t.Context()), request)
			if err != nil {
				t.Errorf("call %d: %v", i, err)
				return
			}
			defer resp.Body.Close()
			got, err := newEvents(resp.Body).rest()
			answered.Add(1)
			if want := told(terminationUser(i), i, `"t"`, asked); err != nil || !slices.Equal(got, want) {
				t.Errorf("call %d: the stream says %q, %v; want %q", i, got, err, want)
			}
		})
	}
	var all string
	if err := said.Decode(&all); err != nil || all != "all in" {
		t.Fatalf("%q, %v\n%s", all, err, &complaints)
	}

	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	gatewaytest.Eventually(t, "readyz says so", func() bool { return ready() == http.StatusServiceUnavailable })
	gatewaytest.Eventually(t, "new connections are refused", func() bool {
		anew := &gatewaytest.Server{URL: s.URL, Origin: s.Origin, HTTP: &http.Transport{DisableKeepAlives: true}}
		got, err := anew.Try(t.Context(), gatewaytest.ModernCall(hello.Tokens[0], 7, "whoami", "{}"))
		return errors.Is(err, syscall.ECONNREFUSED) || err == nil && got.Status == http.StatusServiceUnavailable
	})
	if n, status := answered.Load(), ready(); n != 0 || status != http.StatusServiceUnavailable {
		t.Errorf("while the calls hang, %d have been answered, and readyz says %d", n, status)
	}
	input.Close()
	playing.Wait()
	rest, _ := io.ReadAll(io.MultiReader(said.Buffered(), output))
	if err := cmd.Wait(); err != nil {
		t.Errorf("the child ends with %v\n%s%s", err, rest, &complaints)
	}
}

// A factory that does not do its work is an outage of its user's, for as long
// as it does not, and of nobody else's.
func TestFaultFactory(t *testing.T) {
	t.Parallel()
	const timeout = time.Second
	for _, test := range []struct {
		name  string
		fault func(ctx context.Context, release <-chan struct{}) error
		log   string
	}{
		{"fails", func(context.Context, <-chan struct{}) error { return errors.New("canary: no database") }, "canary: no database"},
		{"panics", func(context.Context, <-chan struct{}) error { panic("canary: nil map") }, "canary: nil map"},
		{"ends its goroutine", func(context.Context, <-chan struct{}) error { runtime.Goexit(); return nil }, "ended its goroutine"},
		{"hangs until its time is up", func(ctx context.Context, _ <-chan struct{}) error { <-ctx.Done(); return ctx.Err() }, "deadline exceeded"},
		{"hangs whatever its time is", func(_ context.Context, release <-chan struct{}) error { <-release; return nil }, "deadline exceeded"},
	} {
		for _, version := range eras {
			t.Run(test.name+" "+version, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					release := make(chan struct{})
					defer close(release)
					var broken atomic.Bool
					broken.Store(true)
					healthy := &gatewaytest.Factory{}
					began := make(chan struct{}, 1)
					s := gatewaytest.StartInMemory(t, gateway.Config{FactoryTimeout: timeout, Factory: func(ctx context.Context, call gateway.Call) (gateway.Instance, error) {
						if call.Identity.UserID() == "alice" && broken.Load() {
							began <- struct{}{}
							if err := test.fault(ctx, release); err != nil {
								return gateway.Instance{}, err
							}
						}
						return healthy.Make(ctx, call)
					}})
					alice, bob := s.Token(t, "alice"), s.Token(t, "bob")
					opens := gatewaytest.Request{Token: alice, Body: gatewaytest.Initialize(version)}
					if version == gatewaytest.Modern {
						opens = gatewaytest.ModernCall(alice, 1, "whoami", "{}")
					}
					answers := make(chan gatewaytest.Answer, 1)
					var asking sync.WaitGroup
					asking.Go(func() {
						answer, err := s.Try(t.Context(), opens)
						if err != nil {
							t.Error(err)
						}
						answers <- answer
					})
					gatewaytest.Receive(t, "the factory to begin", began)
					if got := s.Do(t, first(s, t, bob, version)); got.Status != http.StatusOK || !strings.Contains(got.Text(), `"owner":"bob"`) {
						t.Errorf("bob, meanwhile: %d %s", got.Status, got.Body)
					}
					got := gatewaytest.Receive(t, "alice's answer", answers)
					asking.Wait()
					synctest.Wait() // a factory that ends at the last moment gives its seat back
					if got.Status != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" || strings.Contains(got.Body, "canary") {
						t.Errorf("alice: %d %v %s", got.Status, got.Header, got.Body)
					}
					if !strings.Contains(s.Log.String(), test.log) {
						t.Errorf("the log does not have %q:\n%s", test.log, s.Log)
					}
					var left gateway.UserStats
					if strings.HasPrefix(test.name, "hangs whatever") && version == gatewaytest.Legacy {
						left.Sessions = 1 // its seat, or there could be any number of these
					}
					if stats := s.StatsOf(identity(t, "https://issuer.example", "alice")); stats != left {
						t.Errorf("of alice is alive: %+v, want %+v", stats, left)
					}
					if failed := s.Stats().Failed; failed != 1 {
						t.Errorf("%d failures were counted", failed)
					}
					broken.Store(false)
					if got := s.Do(t, opens); got.Status != http.StatusOK {
						t.Errorf("alice, once the factory works: %d %s", got.Status, got.Body)
					}
				})
			})
		}
	}
}

// Clients that send drop by drop: each connection ends within its limit, and
// the others do not notice.
func TestFaultSlowClients(t *testing.T) {
	t.Parallel()                                                                                         // the limit for headers, 10 s, is no setting
	const bodyTimeout, headerTimeout, slack = 500 * time.Millisecond, 10 * time.Second, 10 * time.Second // on a busy machine
	s := gatewaytest.Start(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make, BodyTimeout: bodyTimeout, UserRate: limit.Off})
	alice, addr := s.Token(t, "alice"), strings.TrimPrefix(s.Origin, "http://")
	head := "POST /mcp HTTP/1.1\r\nHost: " + addr + "\r\nAuthorization: Bearer " + alice + "\r\nContent-Type: application/json\r\n"
	attacks := []struct {
		name, begin, drops string
		limit              time.Duration
		status             string // "" is any, or none
	}{
		{"the head", "GET /mcp HTTP/1.1\r\n", "Host: " + addr + "\r\nX-Padding: ", headerTimeout, ""},
		{"the request line", "", "GET /", headerTimeout, ""},
		{"the head of a second request", "GET /mcp/health HTTP/1.1\r\nHost: " + addr + "\r\n\r\n", "GET /mcp HTTP/1.1\r\nX-Padding: ", headerTimeout, "200"},
		{"a body of announced length", head + "Content-Length: 1000000\r\n\r\n", `{"jsonrpc":"`, bodyTimeout, "400"},
		{"a body in chunks", head + "Transfer-Encoding: chunked\r\n\r\n", "1\r\n{\r\n2\r\n  \r\n3\r\n  ", bodyTimeout, "400"},
		{"the length of a chunk", head + "Transfer-Encoding: chunked\r\n\r\n", "0000000", bodyTimeout, "400"},
		{"a stranger's body", "POST /mcp HTTP/1.1\r\nHost: " + addr + "\r\nContent-Length: 1000000\r\n\r\n", "{", bodyTimeout, "401"},
	}
	var slow sync.WaitGroup
	for range 5 {
		for _, a := range attacks {
			slow.Go(func() {
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				began := time.Now()
				if err := conn.SetDeadline(began.Add(a.limit + slack)); err != nil {
					t.Error(err)
					return
				}
				ended := make(chan struct{})
				var dripping sync.WaitGroup
				dripping.Go(func() {
					drops := a.begin + a.drops
					if _, err := io.WriteString(conn, a.begin); err != nil {
						return
					}
					drip := time.NewTicker(20 * time.Millisecond)
					defer drip.Stop()
					for i := len(a.begin); ; i++ {
						select {
						case <-ended:
							return
						case <-drip.C:
						}
						drop := byte('x')
						if i < len(drops) {
							drop = drops[i]
						} else if strings.HasPrefix(a.drops, "0") {
							drop = '0'
						}
						if _, err := conn.Write([]byte{drop}); err != nil {
							return
						}
					}
				})
				answer, err := io.ReadAll(conn)
				took := time.Since(began)
				close(ended)
				conn.Close()
				dripping.Wait()
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s: the connection is open after %s", a.name, took)
				}
				if took < a.limit/2 && a.status != "401" && !strings.HasPrefix(string(answer), "HTTP/1.1 4") {
					t.Errorf("%s: the connection ended after %s only: %s, %v", a.name, took, answer, err)
				}
				if a.status != "" && !strings.HasPrefix(string(answer), "HTTP/1.1 "+a.status+" ") {
					t.Errorf("%s: %s, %v; want %s", a.name, answer, err, a.status)
				}
			})
		}
	}
	over := make(chan struct{})
	go func() {
		slow.Wait()
		close(over)
	}()
	bob := s.Token(t, "bob")
	session := s.Open(t, bob, gatewaytest.Legacy)
	var served int
	var longest time.Duration
	for others := time.NewTicker(10 * time.Millisecond); ; {
		for _, r := range []gatewaytest.Request{
			{Token: bob, Session: session, Version: gatewaytest.Legacy, Body: gatewaytest.CallTool(7, "whoami", "{}")},
			gatewaytest.ModernCall(bob, 7, "whoami", "{}"),
		} {
			asked := time.Now()
			if got := s.Do(t, r); got.Status != http.StatusOK || !strings.Contains(got.Text(), `"caller":"bob"`) {
				t.Fatalf("bob, meanwhile: %d %s", got.Status, got.Body)
			}
			served++
			longest = max(longest, time.Since(asked))
		}
		select {
		case <-over:
			others.Stop()
			t.Logf("%d calls were served meanwhile, the slowest in %s", served, longest)
			return
		case <-others.C:
		}
	}
}

// A body over the limit costs what the limit allows, or, when it is announced,
// next to nothing; however large it is, and only for a while.
func TestFaultHugeBody(t *testing.T) {
	const maxBody, body, bodies = 1 << 20, 10_000_000, 10
	s := gatewaytest.Start(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make, MaxBodyBytes: maxBody})
	addr := strings.TrimPrefix(s.Origin, "http://")
	head := "POST /mcp HTTP/1.1\r\nHost: " + addr + "\r\nAuthorization: Bearer " + s.Token(t, "alice") + "\r\nContent-Type: application/json\r\n"
	piece := make([]byte, 0x10000)
	chunk := append(append([]byte("10000\r\n"), piece...), "\r\n"...)
	for _, test := range []struct {
		name   string
		head   string
		piece  []byte // sent again and again
		atMost uint64 // bytes for one body
	}{
		{"announced", fmt.Sprintf("%sContent-Length: %d\r\n\r\n", head, body), piece, maxBody / 4},
		{"in chunks", head + "Transfer-Encoding: chunked\r\n\r\n", chunk, 6 * maxBody}, // io.ReadAll grows by a quarter
	} {
		t.Run(test.name, func(t *testing.T) {
			var before, after, later runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			for range bodies {
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				if err := conn.SetDeadline(time.Now().Add(gatewaytest.Patience)); err != nil {
					t.Fatal(err)
				}
				var sending sync.WaitGroup
				sending.Go(func() {
					_, err := io.WriteString(conn, test.head)
					for sent := 0; sent < body && err == nil; sent += len(piece) {
						_, err = conn.Write(test.piece)
					}
				})
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				if resp.StatusCode != http.StatusRequestEntityTooLarge || !resp.Close {
					t.Errorf("%d %v", resp.StatusCode, resp.Header)
				}
				conn.Close()
				sending.Wait()
			}
			runtime.ReadMemStats(&after)
			runtime.GC()
			runtime.ReadMemStats(&later)
			each := (after.TotalAlloc - before.TotalAlloc) / bodies
			t.Logf("%d bytes are allocated for a body of %d; the heap grows by %d in %d of them", each, body, int64(later.HeapAlloc)-int64(before.HeapAlloc), bodies)
			if each > test.atMost {
				t.Errorf("%d bytes are allocated for a body, want at most %d", each, test.atMost)
			}
			if later.HeapAlloc > before.HeapAlloc+1<<20 {
				t.Errorf("the heap grows from %d to %d bytes", before.HeapAlloc, later.HeapAlloc)
			}
		})
	}
}

// Ten thousand requests for sessions get what is allowed, and no more: a user's
// own make room for each other, and for nobody else's.
func TestFaultManySessions(t *testing.T) {
	const requests, users, most, mostPerUser = 10_000, 100, 1000, 15
	var closed atomic.Int32
	s := gatewaytest.Start(t, gateway.Config{
		Factory: func(context.Context, gateway.Call) (gateway.Instance, error) {
			return gateway.Instance{
				Server: mcp.NewServer(&mcp.Implementation{Name: "test"}, nil), // which costs as little as one can
				Close:  func(context.Context) error { closed.Add(1); return nil },
			}, nil
		},
		MaxSessions: most, MaxSessionsPerUser: mostPerUser, UserRate: limit.Off,
		Logger: slog.New(slog.DiscardHandler),
	})
	tokens := make([]string, users)
	for u := range users {
		tokens[u] = s.Token(t, fmt.Sprintf("user-%d", u))
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	// each has do done n times, by several at once.
	each := func(n int, do func(i int)) {
		var next atomic.Int64
		var working sync.WaitGroup
		for range 16 {
			working.Go(func() {
				for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
					do(i)
				}
			})
		}
		working.Wait()
	}
	var mu sync.Mutex
	opened := make(map[int][]string)
	refusals := make(map[string]int)
	open := func(user int) {
		got, err := s.Try(t.Context(), gatewaytest.Request{Token: tokens[user], Body: gatewaytest.Initialize(gatewaytest.Legacy)})
		mu.Lock()
		defer mu.Unlock()
		id := got.Header.Get("Mcp-Session-Id")
		switch {
		case err != nil:
			t.Error(err)
		case got.Status == http.StatusOK && id != "":
			opened[user] = append(opened[user], id)
		case got.Status == http.StatusServiceUnavailable && got.Header.Get("Retry-After") != "" && id == "":
			refusals[description(got)]++
		default:
			t.Errorf("%d %v %s", got.Status, got.Header, got.Body)
		}
	}
	open(0) // what only the first needs
	before := heap()
	each(requests-1, func(i int) { open((i + 1) % 40) }) // 40 users may not have all
	const reached, made = 40 * mostPerUser, requests + most - 40*mostPerUser
	for user := range 40 {
		if n, stats := len(opened[user]), s.StatsOf(identity(t, "https://issuer.example", fmt.Sprintf("user-%d", user))); n != requests/40 || stats != (gateway.UserStats{Sessions: mostPerUser}) {
			t.Errorf("user %d has got %d sessions; %+v", user, n, stats)
		}
	}
	each((users-40)*mostPerUser, func(i int) { open(40 + i%(users-40)) })
	gatewaytest.Eventually(t, "the servers of sessions that had to go are closed", func() bool { return closed.Load() == requests-reached })
	after := heap()
	if stats := s.Stats(); stats.Sessions != most || stats.SessionsEvicted != requests-reached || stats.Alive.PerSession != most || stats.Made.PerSession != made {
		t.Errorf("%+v, want %d sessions", stats, most)
	}
	want := map[string]int{
		"Too many sessions. Please close some, or try again later.": (users-40)*mostPerUser - (most - reached),
	}
	if !maps.Equal(refusals, want) {
		t.Errorf("refusals = %v, want %v", refusals, want)
	}
	cost := (int64(after) - int64(before)) / (most - 1)
	t.Logf("a session costs %d bytes", cost)
	if cost > 100<<10 {
		t.Errorf("a session costs %d bytes", cost)
	}

	// Seats are free again once they are given back.
	type seat struct {
		user int
		id   string
	}
	var seats []seat
	for user, ids := range opened {
		for _, id := range ids {
			seats = append(seats, seat{user, id})
		}
	}
	var ended atomic.Int32
	each(len(seats), func(i int) {
		got, err := s.Try(t.Context(), gatewaytest.Request{Method: "DELETE", Token: tokens[seats[i].user], Session: seats[i].id, Version: gatewaytest.Legacy})
		switch {
		case err == nil && got.Status == http.StatusNoContent:
			ended.Add(1)
		case err != nil || got.Status != http.StatusNotFound:
			t.Errorf("DELETE: %d %s, %v", got.Status, got.Body, err)
		}
	})
	if n := ended.Load(); n != most {
		t.Errorf("%d sessions could be ended, want %d", n, most)
	}
	gatewaytest.Eventually(t, "all servers are closed", func() bool { return s.Stats().Alive.PerSession == 0 && closed.Load() == made })
	if left := s.Stats().Sessions; left != 0 {
		t.Errorf("%d sessions are left", left)
	}
	seats, opened = nil, make(map[int][]string)
	for range mostPerUser {
		open(0)
	}
	if n := len(opened[0]); n != mostPerUser {
		t.Errorf("afterwards, one user gets %d sessions, want %d", n, mostPerUser)
	}
	end := heap()
	t.Logf("the heap is %d bytes before, %d with all sessions, %d after", before, after, end)
	if end > before+(after-before)/4 {
		t.Errorf("the heap is %d bytes, of %d with all sessions and %d without", end, after, before)
	}
}

// description returns what a refusal says to the client.
func description(a gatewaytest.Answer) string {
	var refusal struct {
		Description string `json:"error_description"`
	}
	if err := json.Unmarshal([]byte(a.Body), &refusal); err != nil {
		return fmt.Sprintf("%v in %s", err, a.Body)
	}
	return refusal.Description
}

// A stream lasts as long as its user, or in sessions this session, has shown a
// valid token. Package inproc has the same on a clock of its own; here it is
// the token's exp and a real connection.
func TestFaultTokenExpiresDuringAStream(t *testing.T) {
	t.Parallel()
	factory := newTelling(0)
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make})
	expiry := time.Unix(time.Now().Unix()+10, 0)
	type outcome struct {
		at  time.Time
		err error
	}
	type listener struct {
		name, user, session string
		heard               chan string
		ended               chan outcome
	}
	listenings, leave := context.WithCancel(t.Context())
	var listening sync.WaitGroup
	defer listening.Wait()
	defer leave()
	listen := func(name, version, refreshedIn string) *listener {
		l := &listener{name: name, user: name, heard: make(chan string, 10), ended: make(chan outcome, 1)}
		short, long := s.Token(t, l.user, map[string]any{"exp": expiry.Unix()}), s.Token(t, l.user)
		l.session = sessionIn(t, s, short, version)
		opens := gatewaytest.Request{Method: "GET", Token: short, Session: l.session, Version: version}
		if version == gatewaytest.Modern {
			opens = gatewaytest.Request{
				Token: short, Version: version, Header: headers{"Mcp-Method": {"subscriptions/listen"}},
				Body: gatewaytest.Message(1, "subscriptions/listen", gatewaytest.ModernParams(version, `{"notifications":{"toolsListChanged":true}}`)),
			}
		}
		resp, err := s.Begin(listenings, opens)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v, %v", name, resp, err)
		}
		listening.Go(func() {
			defer resp.Body.Close()
			for stream := newEvents(resp.Body); ; {
				one, err := stream.next()
				if err != nil {
					l.ended <- outcome{time.Now(), err}
					return
				}
				if strings.Contains(one, "list_changed") {
					l.heard <- one
				}
			}
		})
		switch refreshedIn {
		case "here":
			s.Do(t, whoamiIn(long, l.session))
		case "another session":
			s.Do(t, whoamiIn(long, s.Open(t, long, version)))
		}
		return l
	}
	ends := []*listener{
		listen("GET", gatewaytest.Legacy, ""),
		listen("GET, and a refreshed token in another session", gatewaytest.Legacy, "another session"),
		listen("subscriptions/listen", gatewaytest.Modern, ""),
	}
	goOn := []*listener{
		listen("GET, and a refreshed token", gatewaytest.Legacy, "here"),
		listen("subscriptions/listen, and a refreshed token", gatewaytest.Modern, "here"),
	}
	if !time.Now().Before(expiry) {
		t.Fatal("this machine is too slow for the test")
	}
	for _, l := range ends {
		o := gatewaytest.Receive(t, l.name+" to end", l.ended)
		if late := o.at.Sub(expiry); o.err != io.EOF || late < 0 || late > 10*time.Second {
			t.Errorf("%s: the stream ends %s after its token, with %v", l.name, late, o.err)
		}
		if got := s.Do(t, whoamiIn(s.Token(t, l.user, map[string]any{"exp": expiry.Unix()}), l.session)); got.Status != http.StatusUnauthorized {
			t.Errorf("%s: the token is answered %d after its end", l.name, got.Status)
		}
	}
	for _, l := range goOn {
		grow := whoamiIn(s.Token(t, l.user), l.session)
		grow.Body = strings.ReplaceAll(grow.Body, "whoami", "grow")
		if l.session == "" {
			grow.Header["Mcp-Name"] = []string{"grow"}
		}
		if got := s.Do(t, grow); got.Text() != "grown" {
			t.Errorf("%s: %d %s", l.name, got.Status, got.Body)
		}
		gatewaytest.Receive(t, l.name+": something on the stream", l.heard)
		if len(l.ended) > 0 {
			t.Errorf("%s: the stream has ended", l.name)
		}
	}
}

// whoamiIn is a call of "whoami" in session, or, when that is "", without one.
func whoamiIn(token, session string) gatewaytest.Request {
	if session == "" {
		return gatewaytest.ModernCall(token, 7, "whoami", "{}")
	}
	return gatewaytest.Request{Token: token, Session: session, Version: gatewaytest.Legacy, Body: gatewaytest.CallTool(7, "whoami", "{}")}
}
