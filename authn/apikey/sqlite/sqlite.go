// Package sqlite keeps API keys in a file, with SQLite, for a provider of
// package apikey. No server is needed, and no C compiler.
//
//	store, err := sqlite.Open(ctx, "/var/lib/mcpauth/keys.db")
//	…
//	defer store.Close()
//	provider, err := apikey.New(apikey.Config{Store: store})
//
// Several processes of one machine may have the file open, "mcpauth apikey"
// beside a server for example. It is not for file systems of a network.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"modernc.org/sqlite"

	"github.com/mcpauth-go/mcpauth/authn/apikey/sqlstore"
)

// Open opens the file at path, and makes it when there is none, for its owner
// only. Close the Store after the provider.
func Open(ctx context.Context, path string) (*sqlstore.Store, error) {
	if path == "" || strings.HasPrefix(path, ":") {
		return nil, errors.New("sqlite: API keys: the path of a file is needed")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("sqlite: API keys: %w", err)
	}
	// SQLite would make it for everybody to read. Its other files get the rights
	// of this one.
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("sqlite: API keys: %w", err)
	}
	file.Close()
	// Every transaction writes, and says so when it begins: two that find out
	// later would be in each other's way for good. With a write-ahead log,
	// readers wait for nobody.
	options := url.Values{
		"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)"},
		"_txlock": {"immediate"},
	}
	connector, err := sqlite.NewConnector("file:" + (&url.URL{Path: path}).EscapedPath() + "?" + options.Encode())
	if err != nil {
		return nil, fmt.Errorf("sqlite: API keys: %w", err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(4)
	store, err := sqlstore.Open(ctx, db, sqlstore.Dialect{Name: "sqlite"})
	if err != nil {
		db.Close()
		return nil, err
	}
	return store, nil
}
