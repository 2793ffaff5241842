package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/apikey"
	"github.com/mcpauth-go/mcpauth/authn/apikey/postgres"
	"github.com/mcpauth-go/mcpauth/authn/apikey/sqlite"
	"github.com/mcpauth-go/mcpauth/internal/postgrestest"
)

// keyAnswer returns a provider's answer for a key in a store.
func keyAnswer(t *testing.T, store apikey.Store, key string) (*mcpauth.Identity, error) {
	t.Helper()
	p, err := apikey.New(apikey.Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	return p.Authenticate(context.Background(), &mcpauth.Request{Header: map[string][]string{"X-Api-Key": {key}}})
}

func TestAPIKeyLifeInSQLite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.db")
	lifeOfAKey(t, []string{"--db", path}, func() apikey.Store {
		s, err := sqlite.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	})
}

func TestAPIKeyLifeInPostgreSQL(t *testing.T) {
	url := postgrestest.Start(t).Database(t)
	open := func() apikey.Store {
		s, err := postgres.Open(t.Context(), mcpauth.NewSecret(url))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	t.Setenv("KEYS_URL", url)
	lifeOfAKey(t, []string{"--postgres-url-env", "KEYS_URL"}, open)
	file := write(t, t.TempDir(), "url", []byte(url+"\n"))
	if code, out, errs := cli("", "apikey", "list", "--postgres-url-file", file, "--user", "bob"); code != exitOK || out != "" || errs != "" {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
}

func lifeOfAKey(t *testing.T, where []string, open func() apikey.Store) {
	command := func(args ...string) (out, errs string) {
		t.Helper()
		code, out, errs := cli("", append(append([]string{"apikey"}, args...), where...)...)
		if code != exitOK {
			t.Fatalf("%v: exit %d, %q, %q", args, code, out, errs)
		}
		return out, errs
	}
	out, errs := command("create", "--user", "alice", "--name", "ci", "--scope", "notes:read", "--scope", "notes:write notes:share", "--rate", "100/1m", "--expires-in", "90d")
	key := strings.TrimSuffix(out, "\n")
	if len(key) != 46 || !strings.HasPrefix(key, "sk_") || strings.Contains(errs, key[7:]) || !strings.Contains(errs, "nobody can show it again") {
		t.Fatalf("%q, %q", out, errs)
	}
	store := open()
	if id, err := keyAnswer(t, store, key); err != nil || id.UserID() != "alice" || !id.HasScopes("notes:read", "notes:write", "notes:share") {
		t.Errorf("%v, %v", id, err)
	}
	list := func(flags ...string) (all []listedKey) {
		t.Helper()
		out, _ := command(append([]string{"list", "--json"}, flags...)...)
		for line := range strings.Lines(out) {
			var l listedKey
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatal(err)
			}
			all = append(all, l)
		}
		return all
	}
	first := list()[0]
	if first.User != "alice" || first.Name != "ci" || first.Hint != key[:7] || first.Fingerprint != apikey.HashOf(key).String()[:16] || first.State != "active" ||
		first.Rate != "100/1m0s" || first.LastUsed != nil || first.Key != "" || first.Expires.Sub(first.Created).Round(time.Hour) != 2160*time.Hour {
		t.Errorf("%+v", first)
	}
	out, errs = command("rotate", first.ID, "--grace", "1h")
	next := strings.TrimSuffix(out, "\n")
	if len(next) != 46 || !strings.Contains(errs, "The old one, "+first.ID+", ends ") || strings.Contains(errs, "At once") {
		t.Errorf("%q, %q", out, errs)
	}
	for _, k := range []string{key, next} {
		if id, err := keyAnswer(t, store, k); err != nil || id.UserID() != "alice" {
			t.Errorf("%v, %v", id, err)
		}
	}
	out, errs = command("revoke", first.ID)
	if !strings.HasPrefix(out, "revoked: "+first.ID) || !strings.Contains(errs, "mcpauth revoke token --issuer urn:mcpauth:apikey --id "+first.ID) {
		t.Errorf("%q, %q", out, errs)
	}
	if id, err := keyAnswer(t, store, key); id != nil || err == nil {
		t.Error("the revoked key passes")
	}
	all := list("--user", "alice")
	if len(all) != 2 || all[0].State != "revoked" || all[0].ReplacedBy != all[1].ID || all[1].State != "active" {
		t.Errorf("%+v", all)
	}
	text, _ := command("list")
	if !strings.Contains(text, first.ID) || strings.Contains(text, key[7:]) || strings.Contains(text, next[7:]) || strings.Count(text, "\n") != 2 {
		t.Errorf("%s", text)
	}
	out, errs = command("create", "--user", "alice", "--json")
	var made listedKey
	if err := json.Unmarshal([]byte(out), &made); err != nil || len(made.Key) != 46 || errs != "" {
		t.Errorf("%q, %q", out, errs)
	}
	if _, errs := command("rotate", made.ID, "--grace", "0s"); !strings.Contains(errs, "within 5 minutes by default. At once:\n  mcpauth revoke token --issuer urn:mcpauth:apikey --id "+made.ID) {
		t.Errorf("%q", errs)
	}
	if _, errs := command("create", "--user", "alice", "--prefix", "acme_"); !strings.Contains(errs, `Servers need apikey.Config{Prefix: "acme_"}`) {
		t.Errorf("%q", errs)
	}
	for _, args := range [][]string{{"revoke", "no-such"}, {"rotate", "no-such"}, {"rotate", first.ID}, {"revoke", made.Key}} {
		code, out, errs := cli("", append(append([]string{"apikey"}, args...), where...)...)
		if code != exitRefused || out != "" || strings.Contains(errs, made.Key) {
			t.Errorf("%v: exit %d, %q, %q", args, code, out, errs)
		}
	}
}

func TestAPIKeyWrongUsage(t *testing.T) {
	const canary = "c4nary"
	dir := t.TempDir()
	path := filepath.Join(dir, "keys.db")
	t.Setenv("BAD_URL", "http://"+canary)
	t.Setenv("DEAD_URL", "postgres://u:"+canary+"@127.0.0.1:1/d")
	for _, test := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"no store", []string{"list"}, exitUsage, "one of --db, --postgres-url-env or --postgres-url-file"},
		{"two stores", []string{"list", "--db", path, "--postgres-url-env", "BAD_URL"}, exitUsage, "can't be used together"},
		{"no such database", []string{"list", "--db", path}, exitUsage, "--db: there is no "},
		{"no such database to revoke in", []string{"revoke", "x", "--db", path}, exitUsage, "--db: there is no "},
		{"a URL for its variable", []string{"list", "--postgres-url-env", "postgres://u:" + canary + "@h/d"}, exitUsage, "no such variable is set"},
		{"no such file", []string{"list", "--postgres-url-file", filepath.Join(dir, "none")}, exitUsage, "--postgres-url-file: open "},
		{"no URL", []string{"list", "--postgres-url-env", "BAD_URL"}, exitRefused, "the URL is not like"},
		{"nobody listens", []string{"list", "--postgres-url-env", "DEAD_URL"}, exitRefused, "connect"},
		{"no owner", []string{"create", "--db", path}, exitUsage, "--user"},
		{"an empty owner", []string{"create", "--db", path, "--user", ""}, exitUsage, "--user: empty"},
		{"a bad scope", []string{"create", "--db", path, "--user", "a", "--scope", `a"b`}, exitUsage, "--scope: found"},
		{"a bad rate", []string{"create", "--db", path, "--user", "a", "--rate", "100"}, exitUsage, "is not like 100/1m"},
		{"in the past", []string{"create", "--db", path, "--user", "a", "--expires-in=-1h"}, exitUsage, "in the past"},
		{"at once", []string{"create", "--db", path, "--user", "a", "--expires-in", "0s"}, exitUsage, "--expires-in 0s is in the past"},
		{"rotated to end at once", []string{"rotate", "x", "--db", path, "--expires-in", "0s"}, exitUsage, "--expires-in 0s is in the past"},
		{"scopes with a comma", []string{"create", "--db", path, "--user", "a", "--scope", "a,b"}, exitUsage, "scopes are separated by spaces"},
		{"ends in the past", []string{"create", "--db", path, "--user", "a", "--expires", "2020-01-01T00:00:00Z"}, exitUsage, "--expires: in the past"},
		{"two ends", []string{"create", "--db", path, "--user", "a", "--expires-in", "1h", "--expires", "2999-01-01T00:00:00Z"}, exitUsage, "can't be used together"},
		{"a key from an argument", []string{"create", "--db", path, "--user", "a", "--key", canary}, exitUsage, "unknown flag --key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, out, errs := cli("", append([]string{"apikey"}, test.args...)...)
			if code != test.code || out != "" || !strings.Contains(errs, test.says) || strings.Contains(errs, canary) {
				t.Errorf("exit %d, %q, %q", code, out, errs)
			}
			if _, err := os.Stat(path); err == nil {
				t.Error("a database was made")
			}
		})
	}
}
