package revoke_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpauth-go/mcpauth/revoke"
)

// alone has the test run in a process of its own, and reports whether this is
// it: go test writes files too.
func alone(t *testing.T) bool {
	t.Helper()
	const key = "REVOKE_TEST_ALONE"
	if os.Getenv(key) != "" {
		return true
	}
	command := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60s")
	command.Env = append(os.Environ(), key+"=1")
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("it has not run:\n%s", out)
	}
	return false
}

// fullDisk lets no file of this process grow, or be written beyond its first
// bytes, until release, as a full disk would.
func fullDisk(t *testing.T) (release func()) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	small := limit
	small.Cur = 4096
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small); err != nil {
		t.Fatal(err)
	}
	released := false
	release = func() {
		if !released {
			released = true
			if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Cleanup(release)
	return release
}

func TestFailingDiskIsReportedAndKeepsNobodyIn(t *testing.T) {
	if !alone(t) {
		return
	}
	file := path(t)
	synctest.Test(t, func(t *testing.T) {
		c := revoke.Config{File: file}
		l := open(t, c)
		put(t, l, block("alice"))
		release := fullDisk(t)

		entries, err := l.Revoke(t.Context(), block("bob"), tokenOf("t1"))
		if !errors.Is(err, revoke.ErrNotSaved) || !errors.Is(err, syscall.EFBIG) || len(entries) != 2 || entries[0].Saved {
			t.Fatal(entries, err)
		}
		isRevoked(t, l, true, of("bob", "", ""))
		isRevoked(t, l, true, of("", "t1", ""))
		// A block that the file would not let go stays.
		for _, user := range []string{"alice", "bob"} {
			if err := l.Lift(t.Context(), issuer, user); !errors.Is(err, revoke.ErrNotSaved) {
				t.Fatal(err)
			}
			isRevoked(t, l, true, of(user, "", ""))
		}
		if m := measured(l); m["mcpauth_revocations_unsaved"] != 2 || m["mcpauth_revocation_failures_total file"] != 3 {
			t.Fatal(m)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if m := measured(l); m["mcpauth_revocations_unsaved"] != 2 || m["mcpauth_revocation_failures_total file"] < 10 {
			t.Fatal(m)
		}

		release()
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if m := measured(l); m["mcpauth_revocations_unsaved"] != 0 {
			t.Fatal(m)
		}
		shut(t, l)
		l = open(t, c)
		for _, user := range []string{"alice", "bob"} {
			isRevoked(t, l, true, of(user, "", ""))
		}
		isRevoked(t, l, true, of("", "t1", ""))

		// What is lost in the end is told, too.
		release = fullDisk(t)
		if _, err := l.Revoke(t.Context(), tokenOf("t2")); !errors.Is(err, revoke.ErrNotSaved) {
			t.Fatal(err)
		}
		if err := l.Close(); !errors.Is(err, syscall.EFBIG) {
			t.Fatal(err)
		}
		isRevoked(t, l, true, of("", "t2", ""))
		release()
		l = open(t, c)
		isRevoked(t, l, true, of("", "t1", ""))
		isRevoked(t, l, false, of("", "t2", ""))
		shut(t, l)
	})
}

func TestFailingDiskDoesNotLoseWhatExpires(t *testing.T) {
	if !alone(t) {
		return
	}
	file := path(t)
	synctest.Test(t, func(t *testing.T) {
		l := open(t, revoke.Config{File: file, Skew: time.Second, Lifetime: lifetime(time.Minute)})
		put(t, l, tokenOf("t1"))
		release := fullDisk(t)
		if _, err := l.Revoke(t.Context(), tokenOf("t2")); !errors.Is(err, revoke.ErrNotSaved) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		if l.Len() != 2 {
			t.Fatalf("%d entries", l.Len())
		}
		release()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if l.Len() != 0 {
			t.Fatalf("%d entries", l.Len())
		}
		shut(t, l)
	})
}

func TestDirectoryThatCannotBeWrittenTo(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_RDONLY, ""); err == nil {
		t.Cleanup(func() { syscall.Unmount(dir, 0) })
	} else if err := os.Chmod(dir, 0o500); err != nil || os.Geteuid() == 0 {
		t.Skip("the superuser may write everywhere, and may not mount here")
	}
	_, err := revoke.Open(quiet(revoke.Config{File: filepath.Join(dir, "revocations.db")}))
	if !errors.Is(err, syscall.EROFS) && !errors.Is(err, syscall.EACCES) {
		t.Fatal(err)
	}
}

func TestFullDiskWhenTheListIsMade(t *testing.T) {
	if !alone(t) {
		return
	}
	file := path(t)
	release := fullDisk(t)
	if _, err := revoke.Open(quiet(revoke.Config{File: file})); !errors.Is(err, syscall.EFBIG) {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("half a list is left: %v", err)
	}
	release()
	shut(t, open(t, revoke.Config{File: file}))
}

func TestRealDiskThatFills(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skip("mounting is not permitted:", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, 0) })
	c := revoke.Config{File: filepath.Join(dir, "revocations.db")}
	l := open(t, c)
	saved := 0
	for ; saved < 100_000; saved += 100 {
		rs := make([]revoke.Revocation, 100)
		for i := range rs {
			rs[i] = tokenOf(string(rune('a'+saved/100%26)) + time.Duration(saved+i).String())
		}
		if _, err := l.Revoke(t.Context(), rs...); err != nil {
			if !errors.Is(err, revoke.ErrNotSaved) {
				t.Fatal(err)
			}
			break
		}
	}
	if saved == 0 || saved == 100_000 || l.Len() != saved+100 {
		t.Fatalf("%d saved, %d in force", saved, l.Len())
	}
	if err := l.Close(); !errors.Is(err, revoke.ErrNotSaved) && !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	l = open(t, c)
	if l.Len() != saved {
		t.Fatalf("%d after opening again, %d were saved", l.Len(), saved)
	}
	shut(t, l)
}
