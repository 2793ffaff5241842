// Package postgres keeps API keys in PostgreSQL, for the providers of package
// apikey of many machines.
//
//	store, err := postgres.Open(ctx, mcpauth.NewSecret(os.Getenv("KEYS_URL")))
//	…
//	defer store.Close()
//	provider, err := apikey.New(apikey.Config{Store: store})
//
// The tables are in the first schema of the role's search_path. A provider needs
// SELECT, and UPDATE of last_used; the first Open, and that of a later version,
// needs CREATE.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/apikey/sqlstore"
)

// lock is a number that others will hardly have chosen: "mcpauth1" in ASCII.
const lock = "SELECT pg_advisory_xact_lock(7882267336713201713)"

// Open connects to a database. Its URL, such as
// "postgres://mcpauth:PASSWORD@db.example.com/keys?sslmode=verify-full", or
// words such as "host=… sslmode=…", may have the password, and is a secret for
// that. Settings that it does not have come from the environment (PGHOST,
// PGPASSFILE and their like).
//
// Who can change what the database answers can let in anybody. So beyond this
// machine, sslmode has to be given: verify-full, unless the network is trusted.
// Close the Store after the provider.
func Open(ctx context.Context, url mcpauth.Secret) (*sqlstore.Store, error) {
	config, err := pgx.ParseConfig(url.Reveal())
	if err != nil {
		// What is wrong may be quoted in the error, with the password.
		return nil, errors.New("postgres: API keys: the URL is not like postgres://user:password@host/database?sslmode=verify-full")
	}
	if !strings.Contains(url.Reveal(), "sslmode=") && os.Getenv("PGSSLMODE") == "" {
		hosts := []string{config.Host}
		for _, f := range config.Fallbacks {
			hosts = append(hosts, f.Host)
		}
		for _, host := range hosts {
			if !onThisMachine(host) {
				return nil, fmt.Errorf("postgres: API keys: the URL needs an sslmode, such as verify-full, since %q is another machine", host)
			}
		}
	}
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(4)
	db.SetConnMaxLifetime(30 * time.Minute) // so that all follow a failover
	store, err := sqlstore.Open(ctx, db, sqlstore.Dialect{Name: "postgres", Lock: lock})
	if err != nil {
		db.Close()
		return nil, err
	}
	return store, nil
}

// onThisMachine reports whether host is a socket or loopback.
func onThisMachine(host string) bool {
	ip := net.ParseIP(host)
	return strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") || strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
