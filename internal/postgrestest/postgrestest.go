// Package postgrestest runs a PostgreSQL server for a test: a process of its
// own, with its own data, that the test may hang, kill and start again.
package postgrestest

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Server is a PostgreSQL server that listens on a socket only.
type Server struct {
	dir  string // of the socket and the data
	bin  string
	as   *syscall.Credential // nil: as who runs the test
	cmd  *exec.Cmd
	gone chan struct{}
}

const patience = time.Minute

// Start makes a server and ends it with the test. Without PostgreSQL the test is
// skipped, unless that is a mistake.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{bin: find()}
	if s.bin == "" {
		const missing = "PostgreSQL is missing: install the Debian package postgresql, or put initdb and postgres into the PATH"
		if os.Getenv("CI") != "" || os.Getenv("MCPAUTH_REQUIRE_E2E") != "" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	dir, err := os.MkdirTemp("", "pg") // short: a socket's path is bounded
	if err != nil {
		t.Fatal(err)
	}
	s.dir = dir
	t.Cleanup(func() { os.RemoveAll(dir) })
	if os.Getuid() == 0 { // which PostgreSQL refuses to run as
		if s.as = somebodyElse(); s.as == nil {
			t.Fatal("no user postgres or nobody to run PostgreSQL as")
		}
		if err := os.Chown(dir, int(s.as.Uid), int(s.as.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	initdb := s.command(ctx, "initdb", "--pgdata", s.data(), "--username", "postgres", "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	s.Run(t)
	t.Cleanup(s.Kill)
	return s
}

// find returns the folder with PostgreSQL's programs, of the newest version, or
// "". Debian keeps them out of the PATH.
func find() string {
	folders, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.SortFunc(folders, func(a, b string) int { return version(b) - version(a) })
	if path, err := exec.LookPath("initdb"); err == nil {
		folders = append(folders, filepath.Dir(path))
	}
	for _, folder := range folders {
		if _, err := os.Stat(filepath.Join(folder, "initdb")); err == nil {
			if _, err := os.Stat(filepath.Join(folder, "postgres")); err == nil {
				return folder
			}
		}
	}
	return ""
}

func version(folder string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(folder)))
	return n
}

func somebodyElse() *syscall.Credential {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
		gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
		if errUID == nil && errGID == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	return nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, program), args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC", "HOME=" + s.dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.as, Setpgid: true}
	return cmd
}

// Run starts the server again after Kill, and returns once it takes connections.
func (s *Server) Run(t testing.TB) {
	t.Helper()
	s.cmd = s.command(context.Background(), "postgres", "-D", s.data(), "-k", s.dir,
		"-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=50", "-c", "shared_buffers=16MB", "-c", "restart_after_crash=off")
	said, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	s.gone = make(chan struct{})
	var all []string // until s.gone, the goroutine's
	go func() {
		defer close(s.gone)
		lines := bufio.NewScanner(said)
		for lines.Scan() {
			if all = append(all, lines.Text()); strings.HasSuffix(lines.Text(), "database system is ready to accept connections") {
				close(ready)
			}
		}
		s.cmd.Wait()
	}()
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-ready:
	case <-s.gone:
		t.Fatalf("postgres has ended before it was ready:\n%s", strings.Join(all, "\n"))
	case <-late.C:
		t.Fatal("postgres does not become ready")
	}
}

// Kill ends the server and everything that belongs to it, at once.
func (s *Server) Kill() {
	s.signal(syscall.SIGKILL)
	<-s.gone
	os.Remove(filepath.Join(s.data(), "postmaster.pid"))
}

// Hang stops the server where it is: connections stay, and nothing answers.
// Resume lets it go on.
func (s *Server) Hang() { s.signal(syscall.SIGSTOP) }

// Resume ends Hang.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

// signal reaches every process of the server. Those of PostgreSQL's that serve a
// connection are in groups of their own.
func (s *Server) signal(sig syscall.Signal) {
	pid := s.cmd.Process.Pid
	children := childrenOf(pid)
	if sig == syscall.SIGCONT { // who watches over the others last
		defer syscall.Kill(pid, sig)
	} else {
		syscall.Kill(pid, sig)
		children = childrenOf(pid) // there are no new ones now
	}
	for _, child := range children {
		syscall.Kill(child, sig)
	}
}

func childrenOf(pid int) (children []int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, field := range strings.Fields(string(text)) {
		if child, err := strconv.Atoi(field); err == nil {
			children = append(children, child)
		}
	}
	return children
}

// Database makes a database and returns its URL.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	name := "test_" + strings.ToLower(rand.Text())
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return s.url(name)
}

func (s *Server) url(database string) string {
	return "postgres://postgres@/" + database + "?host=" + url.QueryEscape(s.dir)
}
