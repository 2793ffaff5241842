package admin_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/admin"
)

const token = "a-token-that-is-long-enough"

// buffer is a log that may be read while it is written.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// served is a Server that has been started, and a client of it.
type served struct {
	*admin.Server
	origin string
	client *http.Client
	log    *buffer
}

func start(t *testing.T, c admin.Config) *served {
	t.Helper()
	s := &served{log: &buffer{}}
	c.Logger = slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if s.Server, err = admin.New(c); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, s.Addr().Network(), s.Addr().String())
	}}
	s.client = &http.Client{Transport: transport, Timeout: 30 * time.Second}
	s.origin = "http://admin"
	if s.Addr().Network() == "tcp" {
		s.origin = "http://" + s.Addr().String()
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := s.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown = %v", err)
		}
	})
	return s
}

func (s *served) get(t *testing.T, path string, header http.Header) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.origin+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	if host := r.Header.Get("Host"); host != "" {
		r.Host = host
	}
	resp, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func tokenFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "admin") // shorter than t.TempDir, as sockets need it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// seen is a handler that says what reaches it.
func seen(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s %s %v %v", r.Method, r.URL.Path, r.Header["Authorization"], mcpauth.FromContext(r.Context()))
}

func TestConfigFaults(t *testing.T) {
	good := tokenFile(t, token+"\n")
	socket := socketPath(t)
	withMode := func(mode fs.FileMode) string {
		file := tokenFile(t, token)
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		return file
	}
	open := filepath.Join(t.TempDir(), "open")
	if err := errors.Join(os.Mkdir(open, 0o700), os.Chmod(open, 0o777)); err != nil {
		t.Fatal(err)
	}
	shared := filepath.Join(t.TempDir(), "shared")
	if err := errors.Join(os.Mkdir(shared, 0o700), os.Chmod(shared, 0o777|fs.ModeSticky)); err != nil {
		t.Fatal(err)
	}
	const tcp = "127.0.0.1:0"
	for _, test := range []struct {
		name   string
		config admin.Config
		faults []string // field: problem
	}{
		{"a socket", admin.Config{Socket: socket}, nil},
		{"a port with a token", admin.Config{Addr: tcp, TokenFile: good}, nil},
		{"nothing", admin.Config{}, []string{"Socket: missing, and so is Addr"}},
		{"both", admin.Config{Socket: socket, Addr: tcp, TokenFile: good}, []string{"Addr: set beside Socket"}},
		{"a port without token", admin.Config{Addr: tcp}, []string{"TokenFile: missing, while Addr is set"}},
		{"a socket with a token", admin.Config{Socket: socket, TokenFile: good}, []string{"TokenFile: set beside Socket"}},
		{"an address that is none, and a token that is none", admin.Config{Addr: "nowhere", TokenFile: tokenFile(t, "short")},
			[]string{`Addr: found "nowhere"`, "TokenFile: the token has 5 bytes"}},
		{"an empty token", admin.Config{Addr: tcp, TokenFile: tokenFile(t, "\n")}, []string{"TokenFile: the token has 0 bytes"}},
		{"15 characters", admin.Config{Addr: tcp, TokenFile: tokenFile(t, strings.Repeat("a", 15)+"\n")}, []string{"TokenFile: the token has 15 bytes"}},
		{"16 characters", admin.Config{Addr: tcp, TokenFile: tokenFile(t, strings.Repeat("a", 16)+"\r\n")}, nil},
		{"4096 characters", admin.Config{Addr: tcp, TokenFile: tokenFile(t, strings.Repeat("a", 4096)+"\r\n")}, nil},
		{"4097 characters", admin.Config{Addr: tcp, TokenFile: tokenFile(t, strings.Repeat("a", 4097))}, []string{"TokenFile: the token has more than 4096 bytes"}},
		{"two lines", admin.Config{Addr: tcp, TokenFile: tokenFile(t, token+"\n\n")}, []string{"TokenFile: the token has characters that cannot be sent in a header"}},
		{"spaces", admin.Config{Addr: tcp, TokenFile: tokenFile(t, "correct horse battery")}, []string{"TokenFile: the token has characters that cannot be sent in a header"}},
		{"a token that all may read", admin.Config{Addr: tcp, TokenFile: withMode(0o644)}, []string{"TokenFile: the file is open to all users (mode 0644)"}},
		{"a token that all may write", admin.Config{Addr: tcp, TokenFile: withMode(0o602)}, []string{"TokenFile: the file is open to all users (mode 0602)"}},
		{"a token that its group may read", admin.Config{Addr: tcp, TokenFile: withMode(0o640)}, nil},
		{"a token in a directory's place", admin.Config{Addr: tcp, TokenFile: open}, []string{"TokenFile: not a regular file"}},
		{"a socket of no file", admin.Config{Socket: "@admin"}, []string{`Socket: found "@admin"`}},
		{"a path that no system has room for", admin.Config{Socket: "/" + strings.Repeat("a", 103)}, []string{`Socket: "/` + strings.Repeat("a", 103) + `" has 104 bytes`}},
		{"a directory that is not there", admin.Config{Socket: "/no/where"}, []string{"Socket: stat /no: no such file or directory"}},
		{"a directory that is a file", admin.Config{Socket: "/dev/null/s"}, []string{"Socket: /dev/null is not a directory"}},
		{"a directory of sticky files", admin.Config{Socket: filepath.Join(shared, "s")}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := admin.New(test.config)
			var faults []string
			if config := (*mcpauth.ConfigError)(nil); errors.As(err, &config) {
				for _, f := range config.Faults {
					faults = append(faults, f.Field+": "+f.Problem)
				}
			}
			if !reflect.DeepEqual(faults, test.faults) || (err == nil) != (test.faults == nil) {
				t.Errorf("faults %q, want %q", faults, test.faults)
			}
		})
	}
	_, err := admin.New(admin.Config{Socket: filepath.Join(open, "s")})
	if err == nil || !strings.Contains(err.Error(), "others can write to "+open+" (mode 0777)") {
		t.Errorf("in a directory open to all: %v", err)
	}
}

func TestSocketIsItsOwnersAlone(t *testing.T) {
	path := socketPath(t)
	s := start(t, admin.Config{Socket: path, Handler: http.HandlerFunc(seen)})
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("mode = %v", info.Mode())
	}
	resp, body := s.get(t, "/x", nil)
	if resp.StatusCode != 200 || body != "GET /x [] <nil>" {
		t.Errorf("answer = %d %s", resp.StatusCode, body)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Shutdown: %v", err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("again: %v", err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := socketPath(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false) // as a process that was killed
	l.Close()
	s := start(t, admin.Config{Socket: path, Handler: http.HandlerFunc(seen)})
	if resp, _ := s.get(t, "/", nil); resp.StatusCode != 200 {
		t.Errorf("answer = %d", resp.StatusCode)
	}
}

func TestWhatIsNotStaleIsNeverRemoved(t *testing.T) {
	live := socketPath(t)
	start(t, admin.Config{Socket: live})
	file := socketPath(t)
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	directory := socketPath(t)
	if err := os.Mkdir(directory, 0o700); err != nil {
		t.Fatal(err)
	}
	link := socketPath(t)
	if err := os.Symlink(live, link); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, path, want string }{
		{"a live socket", live, " is in use by another process"},
		{"a file", file, " is there and is not a socket; it has not been removed"},
		{"a directory", directory, " is there and is not a socket; it has not been removed"},
		{"a link", link, " is there and is not a socket; it has not been removed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before, err := os.Lstat(test.path)
			if err != nil {
				t.Fatal(err)
			}
			s, err := admin.New(admin.Config{Socket: test.path, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Start(t.Context()); err == nil || err.Error() != "admin: "+test.path+test.want {
				t.Errorf("Start = %v", err)
			}
			if err := s.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown = %v", err)
			}
			if after, err := os.Lstat(test.path); err != nil || !os.SameFile(before, after) {
				t.Errorf("it is gone: %v", err)
			}
		})
	}
}

func TestShutdownLeavesTheSocketOfAnother(t *testing.T) {
	path := socketPath(t)
	s := start(t, admin.Config{Socket: path})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	start(t, admin.Config{Socket: path})
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the other's socket: %v", err)
	}
}

func TestTCPNeedsTheTokenAndItsOwnName(t *testing.T) {
	s := start(t, admin.Config{Addr: "127.0.0.1:0", TokenFile: tokenFile(t, token+"\n"), Handler: http.HandlerFunc(seen)})
	bearer := func(token string, more ...string) http.Header {
		h := http.Header{"Authorization": {"Bearer " + token}}
		for i := 0; i < len(more); i += 2 {
			h.Add(more[i], more[i+1])
		}
		return h
	}
	const reached = `GET /x [] "operator" of "administration"`
	for _, test := range []struct {
		name      string
		header    http.Header
		status    int
		challenge string
		body      string
	}{
		{"the token", bearer(token), 200, "", reached},
		{"none", nil, 401, "Bearer", `{"error":"unauthorized","error_description":"No authorization header provided"}` + "\n"},
		{"another token", bearer("another-token-of-the-same-size"), 401,
			`Bearer error="invalid_token", error_description="This is not the administration token."`,
			`{"error":"invalid_token","error_description":"This is not the administration token."}` + "\n"},
		{"a prefix of it", bearer(token[:16]), 401, `Bearer error="invalid_token", error_description="This is not the administration token."`, ""},
		{"the token and more", bearer(token + "a"), 401, `Bearer error="invalid_token", error_description="This is not the administration token."`, ""},
		{"another scheme", http.Header{"Authorization": {"Basic " + token}}, 401, "Bearer", ""},
		{"localhost, as through a tunnel", bearer(token, "Host", "localhost:9999"), 200, "", reached},
		{"LOCALHOST", bearer(token, "Host", "LOCALHOST"), 200, "", reached},
		{"IPv6 loopback", bearer(token, "Host", "[::1]:9999"), 200, "", reached},
		{"rebinding", bearer(token, "Host", "rebind.example:9999"), 403, "", `{"error":"forbidden_host","error_description":"This server does not answer to the name in the Host header."}` + "\n"},
		{"rebinding without token", http.Header{"Host": {"rebind.example"}}, 403, "", ""},
		{"a name that begins as one of ours", bearer(token, "Host", "localhost.rebind.example"), 403, "", ""},
		{"another address", bearer(token, "Host", "192.0.2.1"), 403, "", ""},
		{"a page of another origin", bearer(token, "Origin", "https://evil.example"), 403, "", `{"error":"forbidden_origin","error_description":"Pages may not call this server."}` + "\n"},
		{"a page of its own origin", bearer(token, "Origin", s.origin), 403, "", ""},
		{"an empty origin", bearer(token, "Origin", ""), 403, "", ""},
		{"from another site", bearer(token, "Sec-Fetch-Site", "cross-site"), 403, "", ""},
		{"from another port", bearer(token, "Sec-Fetch-Site", "same-site"), 403, "", ""},
		{"two sites", bearer(token, "Sec-Fetch-Site", "none", "Sec-Fetch-Site", "cross-site"), 403, "", ""},
		{"typed by a person", bearer(token, "Sec-Fetch-Site", "none"), 200, "", reached},
	} {
		t.Run(test.name, func(t *testing.T) {
			resp, body := s.get(t, "/x", test.header)
			if resp.StatusCode != test.status || test.body != "" && body != test.body {
				t.Errorf("answer = %d %s; want %d %s", resp.StatusCode, body, test.status, test.body)
			}
			if got := resp.Header.Get("WWW-Authenticate"); got != test.challenge {
				t.Errorf("challenge = %q, want %q", got, test.challenge)
			}
			for name := range resp.Header {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%s is set", name)
				}
			}
		})
	}
	if resp, _ := s.get(t, "/debug/pprof/heap", nil); resp.StatusCode != 401 {
		t.Errorf("a profile without token: %d", resp.StatusCode)
	}
	if strings.Contains(s.log.String(), token) {
		t.Error("the token is in the log")
	}
}

func TestPagesMayNotCallTheSocketEither(t *testing.T) {
	s := start(t, admin.Config{Socket: socketPath(t), Handler: http.HandlerFunc(seen)})
	if resp, _ := s.get(t, "/", http.Header{"Origin": {"http://admin"}}); resp.StatusCode != 403 {
		t.Errorf("answer = %d", resp.StatusCode)
	}
	if resp, _ := s.get(t, "/", http.Header{"Host": {"whatever.example"}}); resp.StatusCode != 200 {
		t.Errorf("the name of a socket matters: %d", resp.StatusCode)
	}
}

func TestATokenIsReplacedWithoutARestart(t *testing.T) {
	file := tokenFile(t, token)
	s := start(t, admin.Config{Addr: "127.0.0.1:0", TokenFile: file, Handler: http.HandlerFunc(seen)})
	status := func(token string) int {
		resp, _ := s.get(t, "/", http.Header{"Authorization": {"Bearer " + token}})
		return resp.StatusCode
	}
	const next = "the-token-that-comes-next"
	if err := os.WriteFile(file, []byte(next), 0o600); err != nil {
		t.Fatal(err)
	}
	if a, b := status(token), status(next); a != 401 || b != 200 {
		t.Errorf("once replaced: %d, %d", a, b)
	}
	for _, spoil := range []func() error{
		func() error { return os.WriteFile(file, []byte("short"), 0o600) },
		func() error { return errors.Join(os.WriteFile(file, []byte(token), 0o600), os.Chmod(file, 0o644)) },
		func() error { return os.Remove(file) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if a, b := status(token), status(next); a != 401 || b != 200 {
			t.Errorf("once spoilt: %d, %d", a, b)
		}
	}
	if n := strings.Count(s.log.String(), `level=ERROR msg="administration token not read, the last one stays"`); n != 6 {
		t.Errorf("said %d times:\n%s", n, s.log)
	}
}

func TestEveryRequestIsLogged(t *testing.T) {
	s := start(t, admin.Config{Addr: "127.0.0.1:0", TokenFile: tokenFile(t, token), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/panic":
			panic(http.ErrAbortHandler)
		case "/teapot":
			w.WriteHeader(http.StatusTeapot)
		}
	})})
	auth := http.Header{"Authorization": {"Bearer " + token}}
	s.get(t, "/teapot?secret=canary", auth)
	s.get(t, "/silent", auth)
	s.get(t, "/refused", nil)
	s.get(t, "/rebound", http.Header{"Host": {"rebind.example"}})
	s.get(t, "/"+strings.Repeat("a", 1000), auth)
	r, err := http.NewRequestWithContext(t.Context(), "POST", s.origin+"/panic", nil) // a GET would be sent again
	if err != nil {
		t.Fatal(err)
	}
	r.Header = auth
	if resp, err := s.client.Do(r); err == nil {
		resp.Body.Close()
		t.Error("the panic is answered")
	}
	if err := s.Shutdown(t.Context()); err != nil { // all that is to be logged has been
		t.Fatal(err)
	}
	log := s.log.String()
	for _, want := range [][2]string{
		{"level=INFO", "path=/teapot "}, {"status=418", "path=/teapot "}, {"status=200", "path=/silent "},
		{"level=WARN", "path=/refused "}, {"status=401 code=missing_credential", "path=/refused "},
		{"status=403 code=forbidden_host", "path=/rebound "}, {"level=ERROR", "path=/panic "}, {"aborted=true", "path=/panic "},
		{"http_method=GET", "path=/" + strings.Repeat("a", 127) + " "}, {"remote=127.0.0.1:", "path=/silent "},
	} {
		found := false
		for line := range strings.Lines(log) {
			found = found || strings.Contains(line, want[0]) && strings.Contains(line, want[1]) && strings.Contains(line, `msg="administration request"`)
		}
		if !found {
			t.Errorf("no line with %q and %q in\n%s", want[0], want[1], log)
		}
	}
	if strings.Contains(log, "canary") || strings.Count(log, "administration request") != 6 {
		t.Errorf("log:\n%s", log)
	}
}

func TestProfiles(t *testing.T) {
	s := start(t, admin.Config{Socket: socketPath(t), Handler: http.HandlerFunc(seen)})
	const gzipped = "\x1f\x8b"
	for _, test := range []struct {
		path   string
		status int
		begins string
	}{
		{"/debug/pprof/", 200, "<!DOCTYPE html><title>profiles</title><ul>\n<li><a href=\"allocs?debug=1\">"},
		{"/debug/pprof/heap", 200, gzipped},
		{"/debug/pprof/heap?gc=1", 200, gzipped},
		{"/debug/pprof/goroutine?debug=2", 200, "goroutine "},
		{"/debug/pprof/allocs?debug=1", 200, "heap profile: "},
		{"/debug/pprof/profile?seconds=0.05", 200, gzipped},
		{"/debug/pprof/trace?seconds=0.05", 200, "go 1."},
		{"/debug/pprof/profile?seconds=NaN", 400, "seconds must be a number of at most 300"},
		{"/debug/pprof/profile?seconds=301", 400, ""},
		{"/debug/pprof/profile?seconds=0", 400, ""},
		{"/debug/pprof/trace?seconds=x", 400, ""},
		{"/debug/pprof/heap?seconds=5", 400, "this profile is of a moment"},
		{"/debug/pprof/unknown", 404, "there is no such profile"},
		{"/debug/pprof/cmdline", 404, ""},
		{"/debug/vars", 200, "GET /debug/vars"}, // the mounted handler's
	} {
		resp, body := s.get(t, test.path, http.Header{"Accept-Encoding": {"identity"}})
		if resp.StatusCode != test.status || !strings.HasPrefix(body, test.begins) {
			t.Errorf("%s: %d %.80q", test.path, resp.StatusCode, body)
		}
		if resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers = %v", test.path, resp.Header)
		}
	}
}

// Who serves http.DefaultServeMux must not find that linking this package in
// has put the memory of the process there.
func TestNothingIsPutOnTheDefaultServeMux(t *testing.T) {
	_, pattern := http.DefaultServeMux.Handler(httptest.NewRequest("GET", "/debug/pprof/heap", nil))
	if pattern != "" {
		t.Errorf("there is %q", pattern)
	}
}

func TestOneProfileAtATimeAndShutdownEndsIt(t *testing.T) {
	s := start(t, admin.Config{Socket: socketPath(t)})
	var group sync.WaitGroup
	statuses := make(chan int, 2)
	for range 2 {
		group.Go(func() {
			resp, _ := s.get(t, "/debug/pprof/profile?seconds=300", nil)
			statuses <- resp.StatusCode
		})
	}
	if first := <-statuses; first != http.StatusConflict {
		t.Errorf("the second = %d", first)
	}
	began := time.Now()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if second := <-statuses; second != 200 || time.Since(began) > time.Minute {
		t.Errorf("the first = %d after %s", second, time.Since(began))
	}
	group.Wait()
}

func TestShutdownCutsOffWhatTakesTooLong(t *testing.T) {
	entered := make(chan struct{})
	s := start(t, admin.Config{Socket: socketPath(t), Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	})})
	var group sync.WaitGroup
	group.Go(func() {
		r, _ := http.NewRequestWithContext(context.Background(), "GET", s.origin+"/", nil)
		if resp, err := s.client.Do(r); err == nil {
			resp.Body.Close()
			t.Error("it was answered")
		}
	})
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown = %v", err)
	}
	group.Wait()
}

func TestStartOnceOnly(t *testing.T) {
	const again = "admin: the server has been started or shut down before"
	s := start(t, admin.Config{Socket: socketPath(t)})
	if err := s.Start(t.Context()); err == nil || err.Error() != again {
		t.Errorf("twice: %v", err)
	}
	unused, err := admin.New(admin.Config{Socket: socketPath(t)})
	if err != nil {
		t.Fatal(err)
	}
	if unused.Addr() != nil {
		t.Errorf("before Start: %v", unused.Addr())
	}
	if err := unused.Shutdown(t.Context()); err != nil {
		t.Errorf("without Start: %v", err)
	}
	if err := unused.Start(t.Context()); err == nil || err.Error() != again {
		t.Errorf("after Shutdown: %v", err)
	}
}

func TestAnAddressThatIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s, err := admin.New(admin.Config{Addr: taken.Addr().String(), TokenFile: tokenFile(t, token)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err == nil || s.Addr() != nil {
		t.Errorf("Start = %v, Addr = %v", err, s.Addr())
	}
}
