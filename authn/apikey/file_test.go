package apikey_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/apikey"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	synctest.Test(t, func(t *testing.T) {
		a, b := stranger(t), stranger(t)
		ofA := fmt.Sprintf(`{"id": "a", "user": "alice", "tenant": "acme", "name": "n", "hash": %q, "scopes": ["x"],
			"created": "2026-08-01T00:00:00Z", "expires": "2999-01-01T00:00:00Z", "rate": {"requests": 2, "per": "1m"}}`, apikey.HashOf(a))
		ofB := fmt.Sprintf(`{"id": "b", "user": "bob", "hash": %q}`, strings.ToUpper(apikey.HashOf(b).String()))
		write(t, path, `{"keys": [`+ofA+`]}`)
		file, err := apikey.OpenFile(path)
		if err != nil {
			t.Fatal(err)
		}
		p := newProvider(t, apikey.Config{Store: file})
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		id := passes(t, p, a)
		if id.UserID() != "alice" || id.Tenant() != "acme" || !id.HasScopes("x") || id.Expiry().Year() != 2999 || id.Revocable().TokenID != "a" {
			t.Errorf("%v", id)
		}
		passes(t, p, a)
		refused(t, p, a, mcpauth.ErrRateLimited)
		refused(t, p, b, mcpauth.ErrUnknownKey)

		write(t, path, `{"keys": [`+ofB+`]}`)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if id := passes(t, p, b); id.UserID() != "bob" {
			t.Error(id)
		}
		refused(t, p, a, mcpauth.ErrUnknownKey)

		// What is wrong changes nothing.
		write(t, path, `{"keys": [`+ofA+`, {}]}`)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		passes(t, p, b)
		p.Close()
	})
}

func TestWhatAFileHandsOutIsTheCallers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	hash := apikey.HashOf(stranger(t))
	write(t, path, fmt.Sprintf(`{"keys": [{"id": "a", "user": "alice", "hash": %q, "scopes": ["x"]}]}`, hash))
	file, err := apikey.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	k, err := file.Lookup(t.Context(), hash)
	if err != nil {
		t.Fatal(err)
	}
	k.UserID, k.Scopes[0] = "mallory", "admin"
	if k, _ := file.Lookup(t.Context(), hash); k.UserID != "alice" || k.Scopes[0] != "x" {
		t.Errorf("%+v", k)
	}
	if k, err := file.Lookup(t.Context(), apikey.Hash{}); k != nil || err != nil {
		t.Errorf("of nobody: %+v, %v", k, err)
	}
}

func TestFileFaultsComeTogetherAndQuoteNoKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	key := stranger(t)
	hash := apikey.HashOf(key).String()
	good := fmt.Sprintf(`{"id": "a", "user": "alice", "hash": %q}`, hash)
	for _, test := range []struct{ name, text, want string }{
		{"empty", ``, "not JSON"},
		{"no JSON", key, "not JSON"},
		{"an unknown member", `{"keys": [{"id": "a", "user": "alice", "hash": "` + hash + `", "scope": "x"}]}`, "not as expected"},
		{"a member in another case", `{"Keys": []}`, "not as expected"},
		{"a member twice", `{"keys": [], "keys": []}`, "not JSON"},
		{"more behind it", `{"keys": []} {}`, "not JSON"},
		{"the key for its hash", `{"keys": [{"id": "a", "user": "alice", "hash": "` + key + `"}]}`, "not a SHA-256"},
		{"a hash twice", `{"keys": [` + good + `, {"id": "b", "user": "bob", "hash": "` + hash + `"}]}`, "keys[1].hash: is that of another key too"},
		{"an id twice", `{"keys": [` + good + `, {"id": "a", "user": "bob", "hash": "` + strings.Repeat("0", 63) + `1"}]}`, `keys[1].id: "a" is there twice`},
		{"nothing in it", `{"keys": [{}]}`, "keys[0].user: empty"},
		{"a rate of nothing", `{"keys": [{"id": "a", "user": "alice", "hash": "` + hash + `", "rate": {"requests": 1}}]}`, "keys[0].rate"},
		{"a scope with a space", `{"keys": [{"id": "a", "user": "alice", "hash": "` + hash + `", "scopes": ["a b"]}]}`, "keys[0].scopes[0]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			write(t, path, test.text)
			file, err := apikey.OpenFile(path)
			if file != nil {
				t.Error("a file beside an error")
			}
			var config *mcpauth.ConfigError
			if !errors.As(err, &config) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v\nwant %s", err, test.want)
			}
			if strings.Contains(fmt.Sprint(err), key[5:]) {
				t.Errorf("the key is in the error: %v", err)
			}
		})
	}
	write(t, path, `{"keys": [{}]}`)
	_, err := apikey.OpenFile(path)
	var config *mcpauth.ConfigError
	if !errors.As(err, &config) || len(config.Faults) != 3 {
		t.Errorf("%v", err)
	}
	if _, err := apikey.OpenFile(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte(`{"keys": []}`))
	f.Add([]byte(`{"keys": [{"id": "a", "user": "u", "hash": "` + strings.Repeat("ab", 32) + `", "rate": {"requests": 1, "per": "1s"}}]}`))
	f.Add([]byte(`{"keys": [{"id": "a", "hash": "x"}]}`))
	path := filepath.Join(f.TempDir(), "keys.json")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := apikey.OpenFile(path)
		if err != nil {
			return
		}
		for h := range file.Hashes(t.Context()) {
			if k, err := file.Lookup(t.Context(), h); err != nil || k.UserID == "" || k.ID == "" || k.Hash != h {
				t.Fatalf("%+v, %v", k, err)
			}
		}
	})
}
