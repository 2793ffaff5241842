// Package examples_test runs the examples as their readers would: built, with
// tokens of "mcpauth token mint", and called by the official client in both eras
// of the protocol.
package examples_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
)

// The last protocol version with sessions and the first without.
var eras = []string{"2025-11-25", "2026-07-28"}

const patience = 2 * time.Minute

// secret is made up for the tests.
const secret = "7k8N0cQxq3Vw5mTz1yRf9uLb2hDgJ4sP6aEoXiKv"

// bin is where the commands are.
var bin string

func TestMain(m *testing.M) {
	var err error
	if bin, err = os.MkdirTemp("", "examples"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if out, err := exec.Command("go", "build", "-o", bin, "./...", "../cmd/mcpauth").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		os.Exit(1)
	}
	status := m.Run()
	os.RemoveAll(bin)
	os.Exit(status)
}

// output is what a command writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// server is an example at work.
type server struct {
	addr string
	log  output
	stop func() error // ends it as an operator would, and waits
}

// start starts an example, which must stop at SIGTERM, and gracefully.
func start(t *testing.T, name string, args ...string) *server {
	t.Helper()
	s := &server{addr: gatewaytest.FreeAddr(t)}
	cmd := exec.Command(filepath.Join(bin, name), append([]string{"-addr", s.addr}, args...)...)
	cmd.Env = append(os.Environ(), "JWT_SECRET="+secret)
	cmd.Stdout, cmd.Stderr = &s.log, &s.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	s.stop = sync.OnceValue(func() error {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			cmd.Process.Kill()
			<-ended
			return errors.New("not within the time")
		}
	})
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("%s does not stop gracefully: %v", name, err)
		}
		if t.Failed() {
			t.Logf("%s", &s.log)
		}
	})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		if status, _ := get(t, "http://"+s.addr+"/mcp/health"); status == http.StatusOK {
			return s
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s has ended: %v", name, err)
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not come up", name)
		}
	}
}

// get returns 0 when there is no answer.
func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, ""
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(text)
}

// token returns a token of user's for s.
func (s *server) token(t *testing.T, user string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "mcpauth"), append([]string{"token", "mint", "--secret-env", "JWT_SECRET",
		"--user", user, "--issuer", "https://issuer.example.com", "--audience", "http://" + s.addr + "/mcp"}, args...)...)
	cmd.Env = append(os.Environ(), "JWT_SECRET="+secret)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// bearer adds a token, which can be exchanged, to requests.
type bearer struct{ token atomic.Pointer[string] }

func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+*b.token.Load())
	return http.DefaultTransport.RoundTrip(r)
}

// connect connects the official client over HTTP.
func (s *server) connect(t *testing.T, era, token string) *mcp.ClientSession {
	t.Helper()
	b := &bearer{}
	b.token.Store(&token)
	return s.connectAs(t, era, b)
}

func (s *server) connectAs(t *testing.T, era string, user *bearer) *mcp.ClientSession {
	t.Helper()
	return connect(t, era, &mcp.StreamableClientTransport{
		Endpoint: "http://" + s.addr + "/mcp", HTTPClient: &http.Client{Transport: user}, MaxRetries: -1,
	})
}

func connect(t *testing.T, era string, transport mcp.Transport) *mcp.ClientSession {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(ctx, transport, &mcp.ClientSessionOptions{ProtocolVersion: era})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if got := client.InitializeResult().ProtocolVersion; got != era {
		t.Fatalf("the client speaks %s, not %s", got, era)
	}
	return client
}

// call calls a tool and returns its text, after "error: " if it is one.
func call(t *testing.T, client *mcp.ClientSession, name string, arguments map[string]any) string {
	t.Helper()
	if arguments == nil {
		arguments = map[string]any{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	result, err := client.CallTool(ctx, &mcp.CallToolParams{Name: name, Arguments: arguments})
	if err != nil {
		return "error: " + err.Error()
	}
	var text strings.Builder
	if result.IsError {
		text.WriteString("error: ")
	}
	for _, content := range result.Content {
		text.WriteString(content.(*mcp.TextContent).Text)
	}
	return text.String()
}

// inBothEras runs test with each version of the protocol.
func inBothEras(t *testing.T, test func(t *testing.T, era string)) {
	for _, era := range eras {
		t.Run(era, func(t *testing.T) { test(t, era) })
	}
}

func expect(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestStaticServer(t *testing.T) {
	s := start(t, "static-server")
	inBothEras(t, func(t *testing.T, era string) {
		for _, user := range []string{"alice", "bob"} {
			expect(t, call(t, s.connect(t, era, s.token(t, user)), "count_words", map[string]any{"text": "one two three"}), `{"words":3}`)
		}
	})
}

func TestPerUserCredential(t *testing.T) {
	s := start(t, "per-user-credential")
	inBothEras(t, func(t *testing.T, era string) {
		for user, want := range map[string]string{
			"alice": `{"balance":100}`,
			"bob":   `{"balance":7}`,
			"carol": `error: calling "tools/call": No account is connected for bank. Connect one at https://platform.example.com/connect/bank, and try again.`,
		} {
			expect(t, call(t, s.connect(t, era, s.token(t, user)), "balance", nil), want)
		}
	})
}

func TestToolScopes(t *testing.T) {
	s := start(t, "tool-scopes")
	inBothEras(t, func(t *testing.T, era string) {
		reader := s.connect(t, era, s.token(t, "reader "+era, "--claim", "scope=notes:read"))
		expect(t, call(t, reader, "list_notes", nil), `{"notes":[]}`)
		if got := call(t, reader, "add_note", map[string]any{"text": "milk"}); !strings.HasPrefix(got, "error: ") || !strings.Contains(got, "Forbidden") {
			t.Errorf("without the scope: %s", got)
		}
		writer := s.connect(t, era, s.token(t, "writer "+era, "--claim", "scope=notes:write"))
		expect(t, call(t, writer, "add_note", map[string]any{"text": "milk"}), `{"notes":["milk"]}`)
		expect(t, call(t, writer, "list_notes", nil), `{"notes":["milk"]}`)
		if got := call(t, writer, "drop_table", nil); !strings.Contains(got, "Unknown tool") {
			t.Errorf("a tool that is denied: %s", got)
		}
		tools, err := writer.ListTools(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, tool := range tools.Tools {
			names = append(names, tool.Name)
		}
		expect(t, strings.Join(names, " "), "add_note list_notes")
	})
	if !regexp.MustCompile(`tool called request_id=\w+ tool=add_note`).MatchString(s.log.String()) {
		t.Errorf("the call is not logged:\n%s", &s.log)
	}
}

func TestSDKHandler(t *testing.T) {
	s := start(t, "sdk-handler")
	token := func(user, scopes string) *string {
		token := s.token(t, user, "--claim", "scope="+scopes)
		return &token
	}
	her, him := &bearer{}, &bearer{}
	her.token.Store(token("alice", "notes:read"))
	him.token.Store(token("bob", "notes:read"))
	alice, bob := s.connectAs(t, eras[0], her), s.connectAs(t, eras[0], him)
	milk := map[string]any{"text": "milk"}
	expect(t, call(t, alice, "whoami", nil), "you are alice and may notes:read")
	expect(t, call(t, bob, "whoami", nil), "you are bob and may notes:read")
	expect(t, call(t, alice, "add_note", milk), "error: your token lacks the scope notes:write")
	her.token.Store(token("alice", "notes:read notes:write"))
	expect(t, call(t, alice, "add_note", milk), `alice notes "milk"`)
	expect(t, call(t, bob, "add_note", milk), "error: your token lacks the scope notes:write")
	him.token.Store(her.token.Load()) // his session, and her token
	if got := call(t, bob, "add_note", milk); !strings.Contains(got, "session not found") {
		t.Errorf("alice's token in bob's session: %s", got)
	}
}

func TestStdio(t *testing.T) {
	for _, test := range []struct{ name, environment, want string }{
		{"with a credential in the environment", "GITHUB_ACCESS_TOKEN=a token", `{"connected":true,"user":"local"}`},
		{"with none", "GITHUB_ACCESS_TOKEN=", `{"connected":false,"user":"local"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBothEras(t, func(t *testing.T, era string) {
				cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "stdio"))
				cmd.Env = append(os.Environ(), test.environment)
				client := connect(t, era, &mcp.CommandTransport{Command: cmd})
				expect(t, call(t, client, "whoami", nil), test.want)
				if err := client.Close(); err != nil { // ends standard input, and so the command
					t.Error(err)
				}
			})
		})
	}
	t.Run("over HTTP", func(t *testing.T) {
		s := start(t, "stdio")
		inBothEras(t, func(t *testing.T, era string) {
			expect(t, call(t, s.connect(t, era, s.token(t, "alice")), "whoami", nil), `{"connected":false,"user":"alice"}`)
		})
	})
}

func TestEmbed(t *testing.T) {
	operations := gatewaytest.FreeAddr(t)
	s := start(t, "embed", "-operations", operations)
	inBothEras(t, func(t *testing.T, era string) {
		expect(t, call(t, s.connect(t, era, s.token(t, "alice")), "whoami", nil), "you are alice")
	})
	_, body := get(t, "http://"+s.addr+"/hello")
	expect(t, body, "hello\n")
	for _, path := range []string{"/metrics", "/livez", "/readyz"} {
		if status, _ := get(t, "http://"+operations+path); status != http.StatusOK {
			t.Errorf("%s of operations: %d", path, status)
		}
		if status, _ := get(t, "http://"+s.addr+path); status != http.StatusNotFound {
			t.Errorf("%s where users are: %d", path, status)
		}
	}
}

// A stream that is open when embed is told to stop ends, and does not hold it up.
func TestEmbedStopsWithAnOpenStream(t *testing.T) {
	s := start(t, "embed", "-operations", gatewaytest.FreeAddr(t))
	s.connect(t, eras[0], s.token(t, "alice")) // has one open
	if err := s.stop(); err != nil {
		t.Error(err)
	}
}
