package demo_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/mcpauth-go/mcpauth/internal/demo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a demonstration for the length of the test.
func start(t *testing.T) *demo.Demo {
	t.Helper()
	d, err := demo.New("127.0.0.1:0", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	return d
}

func TestCheck(t *testing.T) {
	var out bytes.Buffer
	ok, err := start(t).Check(t.Context(), &out)
	if err != nil || !ok {
		t.Fatalf("Check = %t, %v\n%s", ok, err, &out)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if head := strings.Fields(lines[0]); strings.Join(head, " ") != "TRIED EXPECTED SEEN" {
		t.Errorf("the head is %q", lines[0])
	}
	rows := lines[1 : len(lines)-2]
	for _, row := range rows {
		if !strings.HasPrefix(row, "ok  ") {
			t.Errorf("not ok: %s", row)
		}
	}
	const atLeast = 25 // of what a visitor would want to see tried
	if last := lines[len(lines)-1]; len(rows) < atLeast || last != fmt.Sprintf("%d passed, 0 failed", len(rows)) {
		t.Errorf("%d rows, then %q", len(rows), last)
	}
}

func TestCheckSeesWhatIsWrong(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(*demo.Demo)
		row   string // one that must fail
	}{
		{"the tokens are swapped", func(d *demo.Demo) { d.Alice, d.Bob = d.Bob, d.Alice }, "alice in her session, token refreshed"},
		{"two users are one", func(d *demo.Demo) { d.Bob = d.Alice }, "bob lists: his own only"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := start(t)
			test.spoil(d)
			var out bytes.Buffer
			ok, err := d.Check(t.Context(), &out)
			if ok || err != nil {
				t.Errorf("Check = %t, %v\n%s", ok, err, &out)
			}
			if !strings.Contains(out.String(), "FAIL  "+test.row) || strings.Contains(out.String(), " 0 failed") {
				t.Errorf("%q does not fail:\n%s", test.row, &out)
			}
		})
	}
	t.Run("a token is no good", func(t *testing.T) {
		d := start(t)
		d.Alice = "hello"
		if ok, err := d.Check(t.Context(), &bytes.Buffer{}); ok || err == nil || !strings.Contains(err.Error(), "a client with a good token cannot connect") {
			t.Errorf("Check = %t, %v", ok, err)
		}
	})
}

func TestOnLoopbackOnly(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0", "mcp.example.com:0", "localhost.example.com:0", "127.0.0.1.nip.io:0"} {
		if _, err := demo.New(addr, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "not on loopback") {
			t.Errorf("New(%q) = %v", addr, err)
		}
	}
	for _, addr := range []string{"", "127.0.0.1", "8080"} {
		if _, err := demo.New(addr, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "not host:port") {
			t.Errorf("New(%q) = %v", addr, err)
		}
	}
}

func TestAddressIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if _, err := demo.New(taken.Addr().String(), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("New on an address that is taken")
	}
}

// What the demonstration tells people to type does what it says.
func TestExplanationIsTrue(t *testing.T) {
	d := start(t)
	var out bytes.Buffer
	if err := d.Explain(&out); err != nil {
		t.Fatal(err)
	}
	var exports, commands []string
	for line := range strings.Lines(out.String()) {
		switch line = strings.TrimSpace(line); {
		case strings.HasPrefix(line, "export "):
			exports = append(exports, line)
		case strings.HasPrefix(line, "curl "):
			commands = append(commands, line)
		}
	}
	want := []struct {
		step  string
		shows []string
		not   []string
	}{
		{"Alice adds a note", []string{`"text":"buy milk"`, `"id":1`}, []string{"isError"}},
		{"Alice lists", []string{"buy milk"}, nil},
		{"Bob lists", []string{`"notes":[]`}, []string{"milk", "error"}},
		{"nobody in particular", []string{"HTTP/1.1 401 Unauthorized", "Www-Authenticate: Bearer", "No authorization header provided"}, []string{`error="`}},
		{"a token that was tampered with", []string{"HTTP/1.1 401 Unauthorized", `error="invalid_token"`, "invalid signature"}, nil},
	}
	if len(exports) != 2 || len(commands) != len(want) {
		t.Fatalf("%d exports and %d commands in\n%s", len(exports), len(commands), &out)
	}
	for i, step := range want {
		script := strings.Join(exports, "\n") + "\n" + commands[i]
		shell := exec.CommandContext(t.Context(), "bash", "-euc", script)
		shell.Env = append(shell.Environ(), "no_proxy=127.0.0.1")
		seen, err := shell.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v", step.step, err)
		}
		for _, text := range step.shows {
			if !strings.Contains(string(seen), text) {
				t.Errorf("%s: no %q in\n%s", step.step, text, seen)
			}
		}
		for _, text := range step.not {
			if strings.Contains(string(seen), text) {
				t.Errorf("%s: %q in\n%s", step.step, text, seen)
			}
		}
	}
	if !strings.Contains(out.String(), "claude mcp add --transport http notes "+d.URL) {
		t.Error("it does not say how to use it from a client")
	}
}
