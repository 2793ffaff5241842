package docs_test

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"path/filepath"
	"testing"

	driver "modernc.org/sqlite"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/apikey"
	"github.com/mcpauth-go/mcpauth/authn/apikey/sqlite"
	"github.com/mcpauth-go/mcpauth/authn/apikey/sqlstore"
)

func withKeys(ctx context.Context, path string) (*apikey.Provider, *sqlstore.Store, error) {
	store, err := sqlite.Open(ctx, path) // or postgres.Open(ctx, mcpauth.NewSecret(os.Getenv("KEYS_URL")))
	if err != nil {
		return nil, nil, err
	}
	provider, err := apikey.New(apikey.Config{Store: store})
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return provider, store, nil // close the provider first
}

func ownTable(db *sql.DB) apikey.LookupFunc {
	return func(ctx context.Context, hash apikey.Hash) (*apikey.Key, error) {
		key := apikey.Key{Hash: hash}
		err := db.QueryRowContext(ctx, "SELECT id, owner FROM my_keys WHERE sha256 = $1", hash.String()).Scan(&key.ID, &key.UserID)
		if errors.Is(err, sql.ErrNoRows) {
			return nil, nil // nobody knows it
		}
		return &key, err // an error is a 503, never a 401
	}
}

// The code of apikeys.md takes the keys that it is to take, and no others.
func TestAPIKeysAsDocumented(t *testing.T) {
	ask := func(p *apikey.Provider, key string) (*mcpauth.Identity, error) {
		return p.Authenticate(t.Context(), &mcpauth.Request{Header: http.Header{"X-Api-Key": {key}}})
	}
	provider, store, err := withKeys(t.Context(), filepath.Join(t.TempDir(), "keys.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	defer provider.Close()
	secret, key, err := store.Create(t.Context(), apikey.Spec{UserID: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	if id, err := ask(provider, secret.Reveal()); err != nil || id.UserID() != "alice" {
		t.Errorf("%v, %v", id, err)
	}

	connector, err := driver.NewConnector("file:" + filepath.Join(t.TempDir(), "own.db"))
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE my_keys (id TEXT, owner TEXT, sha256 TEXT PRIMARY KEY)"); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "INSERT INTO my_keys VALUES ('1', 'bob', $1)", key.Hash.String()); err != nil {
		t.Fatal(err)
	}
	own, err := apikey.New(apikey.Config{Store: ownTable(db)})
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if id, err := ask(own, secret.Reveal()); err != nil || id.UserID() != "bob" {
		t.Errorf("%v, %v", id, err)
	}
	unknown, _, err := apikey.Generate(apikey.Spec{UserID: "nobody"})
	if err != nil {
		t.Fatal(err)
	}
	if id, err := ask(own, unknown.Reveal()); id != nil || !errors.Is(err, mcpauth.ErrUnknownKey) {
		t.Errorf("%v, %v", id, err)
	}
}
