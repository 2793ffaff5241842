package revoke_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/revoke"
)

func TestKilledRightAfterSuccessForgetsNothing(t *testing.T) {
	file := path(t)
	for range 3 { // the first makes the file, the others find it
		command := exec.Command(os.Args[0])
		command.Env = append(os.Environ(), childFile+"="+file)
		out, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		command.Process.Kill()
		command.Wait()
		if line != "saved\n" {
			t.Fatalf("the child says %q, %v", line, err)
		}
		l := open(t, revoke.Config{File: file})
		isRevoked(t, l, true, of("alice", "", ""))
		isRevoked(t, l, true, of("", "t1", ""))
		shut(t, l)
	}
}

func TestFileOfAnotherProcessIsAnErrorAtOnce(t *testing.T) {
	file := path(t)
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), childFile+"="+file)
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { command.Process.Kill(); command.Wait() }()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "saved\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	start := time.Now()
	_, err = revoke.Open(quiet(revoke.Config{File: file}))
	if !errors.Is(err, revoke.ErrInUse) || !strings.Contains(err.Error(), file) {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Fatalf("after %v", took)
	}
	if _, err := os.Stat(file); err != nil {
		t.Fatal(err)
	}
}

func TestFileIsItsOwnersAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no such modes")
	}
	file := path(t)
	shut(t, open(t, revoke.Config{File: file}))
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info.Mode(), err)
	}
	if err := os.Chmod(file, 0o604); err != nil {
		t.Fatal(err)
	}
	if _, err := revoke.Open(quiet(revoke.Config{File: file})); err == nil || !strings.Contains(err.Error(), "0604") {
		t.Fatal(err)
	}
}

func TestForeignFilesAreLeftAlone(t *testing.T) {
	otherDatabase := path(t)
	db, err := bolt.Open(otherDatabase, 0o600, &bolt.Options{NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucket([]byte("theirs"))
		return err
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	database, err := os.ReadFile(otherDatabase)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"an empty file":      {},
		"text":               []byte("alice\nbob\n"),
		"much text":          bytes.Repeat([]byte("alice\n"), 100_000),
		"zeros":              make([]byte, 1<<16),
		"another's database": database,
	} {
		t.Run(name, func(t *testing.T) {
			file := path(t)
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := revoke.Open(quiet(revoke.Config{File: file})); !errors.Is(err, revoke.ErrNotList) || !strings.Contains(err.Error(), file) {
				t.Fatal(err)
			}
			if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, content) {
				t.Fatalf("the file has changed: %v", err)
			}
		})
	}
	t.Run("a directory", func(t *testing.T) {
		if _, err := revoke.Open(quiet(revoke.Config{File: t.TempDir()})); !errors.Is(err, revoke.ErrNotList) {
			t.Fatal(err)
		}
	})
	t.Run("no directory", func(t *testing.T) {
		if _, err := revoke.Open(quiet(revoke.Config{File: filepath.Join(t.TempDir(), "missing", "file")})); !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	})
}

// A byte that has changed is either of no importance or an error. It is never
// an entry less.
func TestDamagedFileForgetsNothingSilently(t *testing.T) {
	file := path(t)
	const n = 300
	l := open(t, revoke.Config{File: file})
	for i := range n {
		put(t, l, tokenOf(fmt.Sprintf("token-%04d", i)))
		if i%100 == 99 { // so that there are a few levels and free pages
			shut(t, l)
			l = open(t, revoke.Config{File: file})
		}
	}
	shut(t, l)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(t.TempDir(), "damaged")
	try := func(name string, content []byte) (refused bool) {
		t.Helper()
		if err := os.WriteFile(damaged, content, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := revoke.Open(quiet(revoke.Config{File: damaged}))
		if err != nil {
			if !errors.Is(err, revoke.ErrNotList) {
				t.Fatalf("%s: %v", name, err)
			}
			return true
		}
		defer l.Close()
		for i := range n {
			if id := fmt.Sprintf("token-%04d", i); !l.Revoked(of("", id, "")) {
				t.Fatalf("%s: %s is forgotten", name, id)
			}
		}
		return false
	}
	if try("undamaged", good) {
		t.Fatal("the undamaged file is refused")
	}
	page := os.Getpagesize()
	refused := 0
	for at := 2 * page; at < len(good); at += 61 { // the first two pages have bbolt's own checksum, and one is the spare of the other
		content := bytes.Clone(good)
		content[at] ^= 0x41
		if try(fmt.Sprintf("byte %d", at), content) {
			refused++
		}
	}
	if refused == 0 {
		t.Fatal("no damage has been found")
	}
	t.Logf("%d of %d refused", refused, (len(good)-2*page)/61)
	for _, size := range []int{1, page, 2 * page, 3 * page, len(good) / 2} {
		if !try(fmt.Sprintf("cut to %d", size), good[:size]) {
			t.Errorf("cut to %d bytes: opened", size)
		}
	}
}

// waitsForNothing returns a context that is done from when its end is first
// waited for: the call that has it begins, and gives up where it would wait.
func waitsForNothing() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	return &impatient{ctx, cancel}
}

type impatient struct {
	context.Context
	giveUp context.CancelFunc
}

func (c *impatient) Done() <-chan struct{} {
	c.giveUp()
	return c.Context.Done()
}

func TestSlowDiskKeepsNobodyIn(t *testing.T) {
	c := revoke.Config{File: path(t)}
	l := open(t, c)
	put(t, l, block("carol"))
	release := revoke.Stall(l)

	heard := make(chan revoke.Revocation, 1)
	l.Notify(func(r revoke.Revocation) { heard <- r })
	var wait sync.WaitGroup
	wait.Go(func() {
		if entries, err := l.Revoke(context.Background(), block("alice")); err != nil || !entries[0].Saved {
			t.Error(entries, err)
		}
	})
	if r := <-heard; r.UserID != "alice" {
		t.Errorf("heard %v", r)
	}
	isRevoked(t, l, true, of("alice", "", ""))
	wait.Go(func() { // the writer is busy, and nobody waits behind it
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() { <-heard; cancel() }()
		if _, err := l.Revoke(ctx, block("bob")); !errors.Is(err, revoke.ErrNotSaved) || !errors.Is(err, context.Canceled) {
			t.Errorf("bob: %v", err)
		}
		isRevoked(t, l, true, of("bob", "", ""))
		// The other way round: not before the disk says so.
		if err := l.Lift(waitsForNothing(), issuer, "carol"); !errors.Is(err, revoke.ErrNotSaved) {
			t.Errorf("carol: %v", err)
		}
		isRevoked(t, l, true, of("carol", "", ""))
		if page, err := l.Page(revoke.Query{}); err != nil || len(page.Revocations) != 3 || page.Revocations[0].Saved {
			t.Errorf("%+v, %v", page, err)
		}
		release()
	})
	wait.Wait()
	shut(t, l) // which waits for the rest
	l = open(t, c)
	isRevoked(t, l, true, of("alice", "", ""))
	isRevoked(t, l, true, of("bob", "", ""))
	isRevoked(t, l, false, of("carol", "", ""))
}

func TestTheLastWordCounts(t *testing.T) {
	c := revoke.Config{File: path(t)}
	l := open(t, c)
	put(t, l, block("alice"), block("bob"))
	release := revoke.Stall(l)
	for _, err := range []error{
		l.Lift(waitsForNothing(), issuer, "alice"),
		func() error { _, err := l.Revoke(waitsForNothing(), block("alice"), block("dave")); return err }(),
		l.Lift(waitsForNothing(), issuer, "bob"),
		l.Lift(waitsForNothing(), issuer, "dave"),
	} {
		if !errors.Is(err, revoke.ErrNotSaved) {
			t.Error(err)
		}
	}
	release()
	for range 2 {
		shut(t, l)
		isRevoked(t, l, true, of("alice", "", ""))
		isRevoked(t, l, false, of("bob", "", ""))
		isRevoked(t, l, false, of("dave", "", ""))
		l = open(t, c)
	}
}

func TestManyAtOnce(t *testing.T) {
	c := revoke.Config{File: path(t)}
	l := open(t, c)
	var wait sync.WaitGroup
	for w := range 8 {
		wait.Go(func() {
			for i := range 50 {
				shared := block(fmt.Sprintf("u%d", i%5))
				if _, err := l.Revoke(context.Background(), tokenOf(fmt.Sprintf("%d-%d", w, i)), shared); err != nil {
					t.Error(err)
				}
				if err := l.Lift(context.Background(), issuer, shared.UserID); err != nil && !errors.Is(err, revoke.ErrNotBlocked) {
					t.Error(err)
				}
				l.Revoked(of("u1", "1-1", "s"))
			}
		})
	}
	wait.Wait()
	for i := range 5 {
		isRevoked(t, l, false, of(fmt.Sprintf("u%d", i), "", ""))
	}
	rs := make([]revoke.Revocation, 25_000) // more than go into the file at once
	for i := range rs {
		rs[i] = session(fmt.Sprint(i))
	}
	put(t, l, rs...)
	shut(t, l)
	l = open(t, c)
	if l.Len() != 400+25_000 {
		t.Fatalf("%d entries", l.Len())
	}
	isRevoked(t, l, true, of("", "7-49", ""))
	isRevoked(t, l, true, of("", "", "24999"))
	isRevoked(t, l, false, mcpauth.Revocable{Issuer: issuer, UserID: "u1"})
}
