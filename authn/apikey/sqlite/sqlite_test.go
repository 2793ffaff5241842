package sqlite_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/mcpauth-go/mcpauth/authn/apikey"
	"github.com/mcpauth-go/mcpauth/authn/apikey/internal/storetest"
	"github.com/mcpauth-go/mcpauth/authn/apikey/sqlite"
	"github.com/mcpauth-go/mcpauth/authn/apikey/sqlstore"
)

func open(t *testing.T, path string) *sqlstore.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestSQLiteDoesWhatEveryStoreDoes(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Store { return open(t, filepath.Join(t.TempDir(), "keys.db")) })
}

func TestFilesAreTheOwnersAndHaveNoKey(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "keys.db"))
	secret, _, err := s.Create(t.Context(), apikey.Spec{UserID: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) < 2 { // there is a log, too
		t.Fatal(entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil || bytes.Contains(text, []byte(secret.Reveal()[7:])) {
			t.Errorf("%s has the key, %v", e.Name(), err)
		}
	}
}

func TestPathsThatMeanSomethingInAURL(t *testing.T) {
	for _, name := range []string{"a b.db", "100%25.db", "what?.db", "a#b.db", "ä&_pragma=x.db", "file:x.db"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), name)
			if _, _, err := open(t, path).Create(t.Context(), apikey.Spec{UserID: "alice"}); err != nil {
				t.Fatal(err)
			}
			entries, _ := os.ReadDir(filepath.Dir(path))
			for _, e := range entries {
				if !strings.HasPrefix(e.Name(), name) {
					t.Errorf("made %q", e.Name())
				}
			}
		})
	}
	for _, path := range []string{"", ":memory:", filepath.Join(t.TempDir(), "none", "keys.db"), t.TempDir()} {
		if s, err := sqlite.Open(t.Context(), path); err == nil {
			s.Close()
			t.Errorf("%q is taken", path)
		}
	}
	path := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(path, []byte("this is no database, and it is long enough to be seen as such"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Open(t.Context(), path); err == nil {
		t.Error("what is no database is taken")
	}
}

func TestManyOpenOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.db")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			s, err := sqlite.Open(t.Context(), path)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			for range 5 {
				if _, _, err := s.Create(t.Context(), apikey.Spec{UserID: "alice"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	n := 0
	for _, err := range open(t, path).All(t.Context(), "alice") {
		if n++; err != nil {
			t.Fatal(err)
		}
	}
	if n != 40 {
		t.Errorf("%d keys", n)
	}
}
