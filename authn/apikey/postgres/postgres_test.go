package postgres_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"go.uber.org/goleak"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/apikey"
	"github.com/mcpauth-go/mcpauth/authn/apikey/internal/storetest"
	"github.com/mcpauth-go/mcpauth/authn/apikey/postgres"
	"github.com/mcpauth-go/mcpauth/authn/apikey/sqlstore"
	"github.com/mcpauth-go/mcpauth/internal/postgrestest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, url string) *sqlstore.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), mcpauth.NewSecret(url))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func exec(t *testing.T, url, statement string) {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func TestPostgreSQL(t *testing.T) {
	server := postgrestest.Start(t)
	t.Run("does what every store does", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Store { return open(t, server.Database(t)) })
	})
	t.Run("many open an empty database at once", func(t *testing.T) {
		url := server.Database(t)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				s, err := postgres.Open(t.Context(), mcpauth.NewSecret(url))
				if err != nil {
					t.Error(err)
					return
				}
				s.Close()
			})
		}
		wg.Wait()
	})
	t.Run("keys outlast the store", func(t *testing.T) {
		url := server.Database(t)
		secret, _, err := open(t, url).Create(t.Context(), apikey.Spec{UserID: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		if k, err := open(t, url).Lookup(t.Context(), apikey.HashOf(secret.Reveal())); err != nil || k.UserID != "alice" {
			t.Errorf("%v, %v", k, err)
		}
	})
	t.Run("tables of a later version are refused", func(t *testing.T) {
		url := server.Database(t)
		open(t, url).Close()
		exec(t, url, "INSERT INTO mcpauth_api_keys_version VALUES (99)")
		_, err := postgres.Open(t.Context(), mcpauth.NewSecret(url))
		if err == nil || !strings.Contains(err.Error(), "version 99") {
			t.Error(err)
		}
	})
	t.Run("a provider needs few rights", func(t *testing.T) {
		url := server.Database(t)
		secret, _, err := open(t, url).Create(t.Context(), apikey.Spec{UserID: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		exec(t, url, `CREATE ROLE reader LOGIN;
			GRANT SELECT ON mcpauth_api_keys, mcpauth_api_keys_version TO reader;
			GRANT UPDATE (last_used) ON mcpauth_api_keys TO reader`)
		s := open(t, strings.Replace(url, "postgres@", "reader@", 1))
		k, err := s.Lookup(t.Context(), apikey.HashOf(secret.Reveal()))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.RecordUses(t.Context(), []apikey.Use{{ID: k.ID, At: time.Now()}}); err != nil {
			t.Error(err)
		}
		if _, err := s.Revoke(t.Context(), k.ID); err == nil {
			t.Error("may revoke")
		}
	})
	t.Run("another process's change is seen within the TTL", func(t *testing.T) {
		url := server.Database(t)
		ours, theirs := open(t, url), open(t, url)
		secret, k, err := theirs.Create(t.Context(), apikey.Spec{UserID: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		p, err := apikey.New(apikey.Config{Store: ours, Cache: apikey.Cache{TTL: time.Millisecond}})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		request := storetest.Bearer(secret.Reveal())
		if _, err := p.Authenticate(t.Context(), request); err != nil {
			t.Fatal(err)
		}
		if _, err := theirs.Revoke(t.Context(), k.ID); err != nil {
			t.Fatal(err)
		}
		for start := time.Now(); ; {
			_, err := p.Authenticate(t.Context(), request)
			if errors.Is(err, mcpauth.ErrRevoked) {
				break
			}
			if time.Since(start) > time.Minute {
				t.Fatal("never seen")
			}
		}
	})
}

func TestPostgreSQLFails(t *testing.T) {
	server := postgrestest.Start(t)
	store := open(t, server.Database(t))
	keys := make([]string, 6)
	for i := range keys {
		secret, _, err := store.Create(t.Context(), apikey.Spec{UserID: fmt.Sprintf("user-%d", i)})
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = secret.Reveal()
	}
	p, err := apikey.New(apikey.Config{Store: store, Timeout: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ask := func(i int) error {
		_, err := p.Authenticate(t.Context(), storetest.Bearer(keys[i]))
		return err
	}
	unavailable := func(i int) {
		t.Helper()
		err := ask(i)
		if !errors.Is(err, mcpauth.ErrUnavailable) || mcpauth.AsError(err).RetryAfter <= 0 {
			t.Errorf("key %d: %v", i, err)
		}
	}
	passes := func(i int) {
		t.Helper()
		if err := ask(i); err != nil {
			t.Errorf("key %d: %v, %v", i, err, errors.Unwrap(err))
		}
	}
	passes(0)

	server.Hang()
	start := time.Now()
	unavailable(1)
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("a hanging database is waited for %s", took)
	}
	passes(0)
	server.Resume()
	recovers(t, func() error { return ask(1) })

	server.Kill()
	unavailable(2)
	passes(0)
	passes(1)
	server.Run(t)
	recovers(t, func() error { return ask(2) })
	passes(3)

	// Restarted between two requests: nobody notices.
	server.Kill()
	server.Run(t)
	passes(4)
}

// recovers waits until is succeeds, without a restart of anything.
func recovers(t *testing.T, is func() error) {
	t.Helper()
	for start := time.Now(); ; {
		err := is()
		if err == nil {
			return
		}
		if time.Since(start) > time.Minute {
			t.Fatalf("does not recover: %v, %v", err, errors.Unwrap(err))
		}
	}
}

func TestURLs(t *testing.T) {
	t.Setenv("PGSSLMODE", "")
	const canary = "c4nary"
	for _, test := range []struct{ name, url, says string }{
		{"no URL", "http://" + canary + ":" + canary + "@h/", "is not like"},
		{"bad port", "postgres://u:" + canary + "@h:x" + canary + "/d", "is not like"},
		{"bad mode", "postgres://u:" + canary + "@h/d?sslmode=" + canary, "is not like"},
		{"unquoted words", "host=h password=" + canary + " '", "is not like"},
		{"another machine without a mode", "postgres://u:" + canary + "@db.example.com/d", "sslmode"},
		{"one of several on another machine", "postgres://u:" + canary + "@localhost,192.0.2.1/d", "sslmode"},
		{"nobody listens", "postgres://u:" + canary + "@127.0.0.1:1/d", "connect"},
		{"nobody listens, with a mode", "postgres://u:" + canary + "@127.0.0.1:1/d?sslmode=verify-full", "connect"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			s, err := postgres.Open(ctx, mcpauth.NewSecret(test.url))
			if s != nil || err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, %v", s, err)
			}
			if strings.Contains(fmt.Sprintf("%+v", err), canary) {
				t.Errorf("the password is in the error: %v", err)
			}
		})
	}
}
