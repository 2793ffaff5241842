package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/credential/env"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
)

// process is gateway/testdata/stdio at work.
type process struct {
	*exec.Cmd
	errors *gatewaytest.Log
}

func newProcess(path string, environment ...string) *process {
	p := &process{exec.Command(path), &gatewaytest.Log{}}
	p.Env = append(os.Environ(), environment...)
	p.Stderr = p.errors
	return p
}

// says runs p with these lines on its standard input, and returns those of its
// standard output.
func (p *process) says(t *testing.T, input ...string) []string {
	t.Helper()
	var output bytes.Buffer
	p.Stdin, p.Stdout = strings.NewReader(strings.Join(input, "\n")+"\n"), &output
	_ = p.Run() // wants looks at it
	return strings.Split(strings.TrimSuffix(output.String(), "\n"), "\n")
}

// wants looks at how p has ended.
func (p *process) wants(t *testing.T, code int, said ...string) {
	t.Helper()
	if got := p.ProcessState.ExitCode(); got != code {
		t.Errorf("it ends with %d, want %d; %s", got, code, p.errors)
	}
	for _, text := range said {
		if got := strings.Count(p.errors.String(), text); got != 1 {
			t.Errorf("it says %q %d times: %s", text, got, p.errors)
		}
	}
}

func (p *process) connect(t *testing.T, version string) *mcp.ClientSession {
	t.Helper()
	c, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(),
		&mcp.CommandTransport{Command: p.Cmd, TerminateDuration: gatewaytest.Patience}, &mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.InitializeResult().ProtocolVersion; got != version {
		t.Errorf("the client speaks %s, not %s", got, version)
	}
	return c
}

func callText(t *testing.T, c *mcp.ClientSession, tool string, arguments map[string]any) string {
	t.Helper()
	result, err := c.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: arguments})
	if err != nil {
		return err.Error()
	}
	return result.Content[0].(*mcp.TextContent).Text
}

var handshake = []string{gatewaytest.Initialize(gatewaytest.Legacy), `{"jsonrpc":"2.0","method":"notifications/initialized"}`}

func TestStdioProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stdio")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "./testdata/stdio").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const variable = "TEST_MAIL_ACCESS_TOKEN="

	for _, version := range []string{"2024-11-05", gatewaytest.Legacy, gatewaytest.Modern} {
		t.Run("serves "+version, func(t *testing.T) {
			p := newProcess(path, variable+"first")
			c := p.connect(t, version)
			for _, step := range []struct{ tool, set, want string }{
				{"whoami", "second", "local of urn:mcpauth:stdio, made with first, called with first"},
				{"whoami", "", "local of urn:mcpauth:stdio, made with first, called with second"},
				{"panic", "", `calling "tools/call": internal error`},
				{"whoami", "", "local of urn:mcpauth:stdio, made with first, called with second"},
			} {
				if got := callText(t, c, step.tool, map[string]any{"set": step.set}); got != step.want {
					t.Errorf("%s: %s, want %s", step.tool, got, step.want)
				}
			}
			tools, err := c.ListTools(t.Context(), nil)
			if err != nil || tools.CacheScope != "private" {
				t.Errorf("tools: %+v, %v", tools, err)
			}
			if err := c.Close(); err != nil { // waits for the end
				t.Error(err)
			}
			p.wants(t, 0, "closed\n")
		})
	}

	t.Run("without a credential", func(t *testing.T) {
		p := newProcess(path, variable)
		c := p.connect(t, gatewaytest.Legacy)
		for range 2 {
			if got, want := callText(t, c, "whoami", nil), "local of urn:mcpauth:stdio, made with none, called with none"; got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
		c.Close()
		p.wants(t, 0, "closed\n", "level=WARN", "variable=TEST_MAIL_ACCESS_TOKEN")
	})

	t.Run("with a credential that cannot be one", func(t *testing.T) {
		p := newProcess(path, variable+"canary\n")
		if got := p.says(t, handshake...); len(got) != 1 || got[0] != "" {
			t.Errorf("it says %q", got)
		}
		p.wants(t, 1, "gateway: stdio: env: TEST_MAIL_ACCESS_TOKEN has white space before or after the token\n")
		if strings.Contains(p.errors.String(), "canary") {
			t.Errorf("it quotes the credential: %s", p.errors)
		}
	})

	t.Run("answers what was asked before the end of input, and nothing else", func(t *testing.T) {
		p := newProcess(path, variable+"canary")
		lines := p.says(t, append(handshake, gatewaytest.CallTool(2, "wait", `{"wait":"100ms"}`), gatewaytest.CallTool(3, "panic", "{}"),
			gatewaytest.Message(4, "no/such", ""), gatewaytest.CallTool(5, "no such", "{}"), gatewaytest.Message(6, "ping", ""),
			gatewaytest.Message(7, "tools/list", gatewaytest.ModernParams(gatewaytest.Modern, "{}")),
			gatewaytest.Message(8, "subscriptions/listen", gatewaytest.ModernParams(gatewaytest.Modern, `{"notifications":{"toolsListChanged":true}}`)))...)
		answered := map[int]bool{}
		for _, line := range lines {
			var m struct {
				JSONRPC string
				ID      int
				Method  string
			}
			if err := json.Unmarshal([]byte(line), &m); err != nil || m.JSONRPC != "2.0" {
				t.Errorf("a line is %q, %v", line, err)
			}
			if m.Method == "" {
				answered[m.ID] = true
			}
		}
		for id := 1; id <= 7; id++ {
			if !answered[id] {
				t.Errorf("no answer to %d in %q", id, lines)
			}
		}
		p.wants(t, 0, "closed\n")
	})

	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run(fmt.Sprintf("%v while idle", sig), func(t *testing.T) {
			p := newProcess(path, variable)
			c := p.connect(t, gatewaytest.Legacy)
			if err := p.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			c.Wait()
			c.Close()
			p.wants(t, 0, "closed\n")
		})
		t.Run(fmt.Sprintf("%v in the middle of a call", sig), func(t *testing.T) {
			p := newProcess(path, variable)
			c := p.connect(t, gatewaytest.Legacy)
			ended := make(chan string, 1)
			go func() { ended <- callText(t, c, "wait", map[string]any{"wait": "1h"}) }()
			gatewaytest.Eventually(t, "the call begins", func() bool { return strings.Contains(p.errors.String(), "waiting\n") })
			if err := p.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			gatewaytest.Receive(t, "the call to end", ended)
			c.Close()
			p.wants(t, 0, "cancelled\n", "closed\n")
		})
	}

	t.Run("the client dies in the middle of a call", func(t *testing.T) {
		p := newProcess(path, variable)
		stdin, err := p.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := p.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(stdin, strings.Join(append(handshake, gatewaytest.CallTool(2, "wait", `{"wait":"200ms"}`)), "\n"))
		gatewaytest.Eventually(t, "the call begins", func() bool { return strings.Contains(p.errors.String(), "waiting\n") })
		stdout.Close()
		stdin.Close()
		p.Wait()
		p.wants(t, 0, "closed\n")
	})
}

// local serves Stdio over a pipe, and returns what a client connects to.
func local(t *testing.T, s gateway.Stdio) (transport mcp.Transport, ended <-chan error) {
	t.Helper()
	theirs, ours := mcp.NewInMemoryTransports()
	end := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() { end <- s.Serve(ctx, ours) }()
	return theirs, end
}

func connectLocal(t *testing.T, transport mcp.Transport, version string) *mcp.ClientSession {
	t.Helper()
	c, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(), transport, &mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// moody is a resolver that fails when its error is set.
type moody struct {
	err             error
	started, closed int
}

func (m *moody) Resolve(context.Context, *mcpauth.Identity, string) (*mcpauth.Credential, error) {
	return nil, m.err
}
func (m *moody) Start(context.Context) error { m.started++; return nil }
func (m *moody) Close() error                { m.closed++; return nil }

func TestStdioServe(t *testing.T) {
	for _, version := range eras {
		t.Run(version, func(t *testing.T) {
			var log gatewaytest.Log
			factory, resolver := &gatewaytest.Factory{}, &moody{}
			transport, ended := local(t, gateway.Stdio{
				Factory: factory.Make, User: "ann", Scopes: []string{"read"}, ResourceType: "mail", Resolver: resolver,
				Logger: slog.New(slog.NewTextHandler(&log, nil)),
			})
			c := connectLocal(t, transport, version)
			who, err := gatewaytest.DecodeWho(callText(t, c, "whoami", map[string]any{"echo": "x"}))
			if err != nil || who.Owner != "ann" || who.Caller != "ann" || who.Echo != "x" || len(who.Scopes) != 1 || who.Scopes[0] != "read" {
				t.Errorf("%+v, %v", who, err)
			}
			resolver.err = errors.New("canary: the vault is closed")
			if got := callText(t, c, "whoami", map[string]any{}); !strings.HasSuffix(got, "The user's credential cannot be had now. Please try again later.") {
				t.Errorf("while there is no credential: %s", got)
			}
			if !strings.Contains(log.String(), "canary") || strings.Count(log.String(), "level=WARN") != 1 {
				t.Errorf("the log is %s", &log)
			}
			c.Close()
			if err := gatewaytest.Receive(t, "the end", ended); err != nil {
				t.Error(err)
			}
			if resolver.started != 1 || resolver.closed != 1 || len(factory.Closed()) != 1 {
				t.Errorf("started %d times, closed %d times; instances closed %q", resolver.started, resolver.closed, factory.Closed())
			}
		})
	}
}

func TestStdioFaults(t *testing.T) {
	err := gateway.Stdio{Resolver: &moody{}, User: "a\x00b", RequestTimeout: -time.Second}.Run(t.Context())
	var config *mcpauth.ConfigError
	if !errors.As(err, &config) {
		t.Fatalf("%v is no *mcpauth.ConfigError", err)
	}
	const want = `gateway: the configuration has faults:
  - Stdio.Factory: missing; expected a function that makes the user's server
  - Stdio.ResourceType: missing, while there is a Resolver; expected what the credential is for, such as "github"
  - Stdio.RequestTimeout: found -1s; expected a positive duration
  - Stdio.User: found "a\x00b"; expected a name without NUL bytes`
	if err.Error() != want {
		t.Errorf("%s, want %s", err, want)
	}
}

func TestStdioFactoryFails(t *testing.T) {
	theirs, ours := mcp.NewInMemoryTransports()
	_ = theirs
	err := gateway.Stdio{
		Factory: func(context.Context, gateway.Call) (gateway.Instance, error) {
			return gateway.Instance{}, io.ErrUnexpectedEOF
		},
		Logger: slog.New(slog.DiscardHandler),
	}.Serve(t.Context(), ours)
	if !errors.Is(err, io.ErrUnexpectedEOF) || err.Error() != "gateway: stdio: inproc: factory: unexpected EOF" {
		t.Errorf("%v", err)
	}
}

// single is a provider of one user only.
type single struct{ nobody }

func (single) SingleUser() {}

func TestSingleUserResolver(t *testing.T) {
	c := good()
	c.Resolver, c.ResourceType = env.Resolver{}, "mail"
	_, err := gateway.New(c)
	const want = "gateway: Resolver: gives every user the same credential; expected one that tells users apart; a single local user is served by Stdio"
	if err == nil || err.Error() != want {
		t.Errorf("behind a provider of many: %v, want %s", err, want)
	}
	c.Provider = single{}
	g, err := gateway.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// The same Factory serves many users behind a Gateway.
func ExampleStdio() {
	factory := func(_ context.Context, call gateway.Call) (gateway.Instance, error) {
		server := mcp.NewServer(&mcp.Implementation{Name: "notes", Version: "1"}, nil)
		mcp.AddTool(server, &mcp.Tool{Name: "whoami"}, func(ctx context.Context, _ *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
			text := fmt.Sprintf("you are %s, with a credential: %t", mcpauth.FromContext(ctx).UserID(), mcpauth.CredentialFrom(ctx) != nil)
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil, nil
		})
		return gateway.Instance{Server: server}, nil
	}
	// The credential is in GITHUB_ACCESS_TOKEN.
	if err := (gateway.Stdio{Factory: factory, ResourceType: "github"}).Run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
