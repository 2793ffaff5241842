package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/admin"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
)

// look asks an operations listener.
func look(t *testing.T, addr, path string) (int, string) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// scrape returns the samples of a scrape, but for those of Go and the process,
// and the buckets of histograms.
func scrape(t *testing.T, addr string) map[string]float64 {
	t.Helper()
	status, text := look(t, addr, "/metrics")
	if status != http.StatusOK {
		t.Fatalf("metrics: %d %s", status, text)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	samples := map[string]float64{}
	for name, family := range families {
		if !strings.HasPrefix(name, "mcpauth_") {
			continue
		}
		for _, m := range family.GetMetric() {
			key := name
			for _, l := range m.GetLabel() {
				key += fmt.Sprintf(" %s=%s", l.GetName(), l.GetValue())
			}
			switch {
			case m.GetHistogram() != nil:
				samples[key] = float64(m.GetHistogram().GetSampleCount())
			case m.GetCounter() != nil:
				samples[key] = m.GetCounter().GetValue()
			default:
				samples[key] = m.GetGauge().GetValue()
			}
		}
		if family.GetHelp() == "" {
			t.Errorf("%s has no help", name)
		}
	}
	if families["go_goroutines"] == nil || families["process_start_time_seconds"] == nil {
		t.Error("nothing of Go or of the process")
	}
	return samples
}

func TestMetrics(t *testing.T) {
	addr := gatewaytest.FreeAddr(t)
	factory := newWaiting()
	setup := factory.Setup
	factory.Setup = func(server *mcp.Server, call gateway.Call) {
		setup(server, call)
		gatewaytest.AddTool(server, "fail", func(context.Context, *mcp.CallToolRequest) (string, error) { return "", errors.New("no") })
	}
	broken := func(ctx context.Context, call gateway.Call) (gateway.Instance, error) {
		if call.Identity.UserID() == "broken" {
			return gateway.Instance{}, errors.New("disk full")
		}
		return factory.Make(ctx, call)
	}
	s := gatewaytest.Start(t, gateway.Config{Factory: broken, OperationsAddr: addr, Rules: notedRules, Audit: closed{}})
	gatewaytest.Eventually(t, "operations are served", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
	before := scrape(t, addr)
	for name, value := range before {
		if value != 0 && !strings.HasPrefix(name, "mcpauth_jwt_") {
			t.Errorf("before any traffic, %s is %v", name, value)
		}
	}
	if _, ok := before["mcpauth_refusals_total code=insufficient_scope"]; !ok {
		t.Error("the refusals that have not happened yet are not there at zero")
	}

	alice := s.Token(t, "alice")
	session := s.Open(t, alice, gatewaytest.Legacy)
	stream(t, s, gatewaytest.Request{Method: "GET", Token: alice, Session: session, Version: gatewaytest.Legacy}, ": ok")
	for range 3 {
		s.Do(t, gatewaytest.ModernCall(alice, 7, "whoami", "{}"))
	}
	s.Do(t, gatewaytest.ModernCall(alice, 7, "fail", "{}"))
	s.Do(t, gatewaytest.ModernCall(alice, 7, "save", "{}"))
	s.Do(t, gatewaytest.ModernCall("", 7, "whoami", "{}"))
	s.Do(t, gatewaytest.ModernCall(s.Token(t, "broken"), 7, "whoami", "{}"))
	s.Do(t, gatewaytest.Request{Token: alice, Body: gatewaytest.Message(7, "made/up", "")})
	var hanging sync.WaitGroup
	hanging.Go(func() { s.Try(t.Context(), gatewaytest.ModernCall(alice, 7, "wait", "{}")) })
	gatewaytest.Receive(t, "the call that hangs", factory.began)
	want := map[string]float64{
		"mcpauth_requests_total method=initialize outcome=ok":                1,
		"mcpauth_requests_total method=notifications/initialized outcome=ok": 1,
		"mcpauth_requests_total method=none outcome=ok":                      1, // the stream
		"mcpauth_requests_total method=none outcome=refused":                 1,
		"mcpauth_requests_total method=tools/call outcome=ok":                3,
		"mcpauth_requests_total method=tools/call outcome=failed":            1,
		"mcpauth_requests_total method=tools/call outcome=refused":           2,
		"mcpauth_requests_total method=other outcome=failed":                 1,
		"mcpauth_request_duration_seconds method=initialize":                 1,
		"mcpauth_request_duration_seconds method=notifications/initialized":  1,
		"mcpauth_request_duration_seconds method=none":                       1,
		"mcpauth_request_duration_seconds method=tools/call":                 6,
		"mcpauth_request_duration_seconds method=other":                      1,
		"mcpauth_refusals_total code=insufficient_scope":                     1,
		"mcpauth_refusals_total code=missing_credential":                     1,
		"mcpauth_refusals_total code=unavailable":                            1,
		"mcpauth_audit_failures_total":                                       11,
		"mcpauth_requests_in_progress":                                       1,
		"mcpauth_sessions":                                                   1,
		"mcpauth_streams":                                                    1,
		"mcpauth_instances mode=session":                                     1,
		"mcpauth_instances mode=user":                                        1,
		"mcpauth_instances_created_total mode=session":                       1,
		"mcpauth_instances_created_total mode=user":                          1,
		"mcpauth_instance_failures_total":                                    1,
	}
	gatewaytest.Eventually(t, "all is counted", func() bool { return scrape(t, addr)["mcpauth_audit_failures_total"] == 11 })
	got := scrape(t, addr)
	for name, value := range got {
		if strings.HasPrefix(name, "mcpauth_jwt_") {
			continue
		}
		if value != want[name] {
			t.Errorf("%s is %v, want %v", name, value, want[name])
		}
		delete(want, name)
	}
	for name, value := range want {
		t.Errorf("%s is not there, want %v", name, value)
	}
	_, text := look(t, addr, "/metrics")
	for _, secret := range []string{"alice", "broken", "whoami", "made/up", "eyJ", "issuer.example"} {
		if strings.Contains(text, secret) {
			t.Errorf("the metrics have %q", secret)
		}
	}
	close(factory.proceed)
	hanging.Wait()
}

func TestProbesDuringAStop(t *testing.T) {
	addr := gatewaytest.FreeAddr(t)
	factory := newWaiting()
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make, Provider: &names{}, OperationsAddr: addr})
	request := wait(s, t, "alice", gatewaytest.Legacy) // and so it serves
	probes := func(when string, live, ready int) {
		t.Helper()
		for path, want := range map[string]int{"/livez": live, "/readyz": ready} {
			if status, body := look(t, addr, path); status != want {
				t.Errorf("%s, %s: %d %s, want %d", when, path, status, body, want)
			}
		}
	}
	probes("before", 200, 200)
	if status, _ := look(t, addr, "/mcp"); status != http.StatusNotFound {
		t.Errorf("MCP is answered with %d", status)
	}
	if status, _ := look(t, addr, "/debug/pprof/"); status != http.StatusNotFound {
		t.Errorf("profiles are answered with %d", status)
	}
	if got := s.Do(t, gatewaytest.Request{Method: "GET", Path: "/metrics"}); got.Status != http.StatusNotFound {
		t.Errorf("metrics for everybody: %d", got.Status)
	}
	var call sync.WaitGroup
	call.Go(func() { s.Try(context.WithoutCancel(t.Context()), request) })
	gatewaytest.Receive(t, "the call", factory.began)
	s.BeginStop()
	gatewaytest.Eventually(t, "it is not ready", func() bool {
		status, _ := look(t, addr, "/readyz")
		return status == http.StatusServiceUnavailable
	})
	probes("during a stop", 200, 503)
	close(factory.proceed)
	call.Wait()
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if conn, err := net.Dial("tcp", addr); err == nil {
		conn.Close()
		t.Error("operations are still served")
	}
}

// Nobody is sent here before the provider can tell who they are.
func TestNotReadyBeforeTheStart(t *testing.T) {
	addr := gatewaytest.FreeAddr(t)
	slow := &slow{began: make(chan struct{}), proceed: make(chan struct{})}
	gatewaytest.Start(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make, Provider: slow, OperationsAddr: addr})
	gatewaytest.Receive(t, "the provider to start", slow.began)
	if status, body := look(t, addr, "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "starting") {
		t.Errorf("while the provider starts: %d %s", status, body)
	}
	if status, _ := look(t, addr, "/livez"); status != http.StatusOK {
		t.Errorf("while the provider starts, alive: %d", status)
	}
	close(slow.proceed)
	gatewaytest.Eventually(t, "it is ready", func() bool {
		status, _ := look(t, addr, "/readyz")
		return status == http.StatusOK
	})
}

type slow struct {
	nobody
	began, proceed chan struct{}
}

func (s *slow) Start(context.Context) error {
	close(s.began)
	<-s.proceed
	return nil
}
func (*slow) Close() error { return nil }

func TestAdministration(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "admin.sock")
	s := gatewaytest.Start(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make, Admin: admin.Config{
		Socket:  socket,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "administered") }),
	}})
	s.Open(t, s.Token(t, "alice"), gatewaytest.Legacy) // and so it serves
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	for path, want := range map[string]string{"/anything": "administered", "/debug/pprof/goroutine": ""} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://admin"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || want != "" && string(body) != want {
			t.Errorf("%s: %d %s, %v", path, resp.StatusCode, body, err)
		}
	}
	if !strings.Contains(s.Log.String(), "administration request") {
		t.Error("administration does not log where the gateway does")
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket after the stop: %v", err)
	}
}

// journal notes what becomes of parts with a life of their own.
type journal struct {
	mu   sync.Mutex
	says []string
}

func (j *journal) add(what string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.says = append(j.says, what)
}

type livingProvider struct {
	nobody
	*journal
	fails error
}

func (p livingProvider) Start(context.Context) error { p.add("provider starts"); return p.fails }
func (p livingProvider) Close() error                { p.add("provider closes"); return nil }

type livingResolver struct {
	*journal
	fails error
}

func (livingResolver) Resolve(context.Context, *mcpauth.Identity, string) (*mcpauth.Credential, error) {
	return nil, nil
}
func (r livingResolver) Start(context.Context) error { r.add("resolver starts"); return r.fails }
func (r livingResolver) Close() error                { r.add("resolver closes"); return nil }

// both is provider and resolver in one.
type both struct{ livingProvider }

func (both) Resolve(context.Context, *mcpauth.Identity, string) (*mcpauth.Credential, error) {
	return nil, nil
}

func TestLifecycles(t *testing.T) {
	j := &journal{}
	fault := errors.New("no keys")
	in := func(addr string) func(*gateway.Config) { return func(c *gateway.Config) { c.OperationsAddr = addr } }
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	one := &both{livingProvider{journal: j}}
	for _, test := range []struct {
		name   string
		change func(*gateway.Config)
		want   []string
		fault  string
	}{
		{"in order, and back", func(*gateway.Config) {}, []string{"provider starts", "resolver starts", "resolver closes", "provider closes"}, ""},
		{"a provider that does not start", func(c *gateway.Config) { c.Provider = livingProvider{journal: j, fails: fault} },
			[]string{"provider starts", "resolver closes", "provider closes"}, "gateway: no keys"},
		{"a resolver that does not start", func(c *gateway.Config) { c.Resolver = livingResolver{j, fault} },
			[]string{"provider starts", "resolver starts", "resolver closes", "provider closes"}, "gateway: no keys"},
		{"one that is both", func(c *gateway.Config) { c.Provider, c.Resolver = one, one }, []string{"provider starts", "provider closes"}, ""},
		{"a port for operations that is taken", in(taken.Addr().String()), []string{"resolver closes", "provider closes"}, "gateway: operations: listen tcp " + taken.Addr().String()},
		{"a socket for administration that cannot be", func(c *gateway.Config) {
			file := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
				t.Fatal(err)
			}
			c.Admin.Socket = file
		}, []string{"resolver closes", "provider closes"}, "gateway: administration: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			j.says = nil
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			addr := listener.Addr().String()
			c := gateway.Config{
				Factory: (&gatewaytest.Factory{}).Make, Addr: addr, Provider: livingProvider{journal: j}, Resolver: livingResolver{journal: j}, ResourceType: "notes",
				Logger: slog.New(slog.DiscardHandler),
			}
			test.change(&c)
			g, err := gateway.New(c)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			if test.fault == "" {
				cancel()
			}
			defer cancel()
			err = g.Serve(ctx, listener)
			if test.fault == "" && err != nil || test.fault != "" && (err == nil || !strings.HasPrefix(err.Error(), test.fault)) {
				t.Errorf("Serve = %v, want %q", err, test.fault)
			}
			if !slices.Equal(j.says, test.want) {
				t.Errorf("it goes %q, want %q", j.says, test.want)
			}
			if conn, err := net.Dial("tcp", addr); err == nil {
				conn.Close()
				t.Error("something still listens")
			}
		})
	}
}

// TestOwnProcess is the process that the tests of signals start: a gateway by Run.
func TestOwnProcess(t *testing.T) {
	addr := os.Getenv("MCPAUTH_TEST_OWN_PROCESS")
	if addr == "" {
		t.Skip("it is for other tests to start")
	}
	factory := &gatewaytest.Factory{Setup: func(server *mcp.Server, _ gateway.Call) {
		gatewaytest.AddTool(server, "wait", func(context.Context, *mcp.CallToolRequest) (string, error) {
			fmt.Println("began")
			var one [1]byte
			_, err := os.Stdin.Read(one[:])
			return "done", err
		})
	}}
	g, err := gateway.New(gateway.Config{
		Provider: &names{}, Factory: factory.Make, Addr: addr, Logger: slog.New(slog.NewTextHandler(os.Stdout, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	fmt.Println("stopped gracefully")
}

// ownProcess is a gateway in a process of its own, with a call in progress.
type ownProcess struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *gatewaytest.Log
	answer chan gatewaytest.Answer
}

func startOwnProcess(t *testing.T) *ownProcess {
	t.Helper()
	addr := gatewaytest.FreeAddr(t)
	p := &ownProcess{cmd: exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOwnProcess$"), stdout: &gatewaytest.Log{}, answer: make(chan gatewaytest.Answer, 1)}
	p.cmd.Env = append(os.Environ(), "MCPAUTH_TEST_OWN_PROCESS="+addr)
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stdout
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill() })
	p.says(t, "gateway serving")
	s := &gatewaytest.Server{URL: "http://" + addr + "/mcp", HTTP: &http.Transport{DisableKeepAlives: true}}
	go func() {
		answer, _ := s.Try(context.WithoutCancel(t.Context()), gatewaytest.ModernCall("alice", 7, "wait", "{}"))
		p.answer <- answer
	}()
	p.says(t, "began")
	return p
}

func (p *ownProcess) says(t *testing.T, what string) {
	t.Helper()
	gatewaytest.Eventually(t, fmt.Sprintf("the process says %q", what), func() bool { return strings.Contains(p.stdout.String(), what) })
}

func (p *ownProcess) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func TestRunStopsAtASignal(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run(sig.String(), func(t *testing.T) {
			p := startOwnProcess(t)
			p.signal(t, sig)
			p.says(t, "gateway stopping")
			if len(p.answer) > 0 {
				t.Error("the call ended with the signal")
			}
			if _, err := p.stdin.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if got := gatewaytest.Receive(t, "the answer", p.answer); got.Text() != "done" {
				t.Errorf("the call is answered %d %s", got.Status, got.Body)
			}
			if err := p.cmd.Wait(); err != nil || !strings.Contains(p.stdout.String(), "stopped gracefully") {
				t.Errorf("the process ends with %v: %s", err, p.stdout)
			}
		})
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	p := startOwnProcess(t)
	p.signal(t, syscall.SIGTERM)
	p.says(t, "gateway stopping")
	p.signal(t, syscall.SIGTERM)
	var ended *exec.ExitError
	err := p.cmd.Wait()
	if !errors.As(err, &ended) || ended.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM || bytes.Contains([]byte(p.stdout.String()), []byte("stopped gracefully")) {
		t.Errorf("the process ends with %v: %s", err, p.stdout)
	}
	if got := gatewaytest.Receive(t, "the client to be cut off", p.answer); got.Status != 0 && got.Text() != "" {
		t.Errorf("the call is answered %d %s", got.Status, got.Body)
	}
}
