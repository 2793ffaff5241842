// Package sqlstore keeps API keys in an SQL database, for a provider of package
// apikey. It knows no driver: packages sqlite and postgres open a [Store] on
// their own.
//
//	store, err := sqlite.Open(ctx, "keys.db")
//	…
//	secret, key, err := store.Create(ctx, apikey.Spec{UserID: "alice"})
//
// There is one table, mcpauth_api_keys, with the SHA-256 of each key, in
// hexadecimal, and never the key. It is made, and brought up to date, when a
// Store is opened: steps that have a number each, applied once, in one
// transaction under a lock, so that several processes may open at once. A
// database that a later version has brought further is refused.
//
// What a Store changes, the providers that have the same Store see at once; see
// package apikey for all others.
package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/apikey"
	"github.com/mcpauth-go/mcpauth/internal/watch"
)

// Store is an apikey.Store in a database. It is safe for concurrent use.
type Store struct {
	db       *sql.DB
	watchers watch.List[apikey.Hash]
}

// Dialect is what of a database differs from others. All take parameters as $1,
// $2 and so on.
type Dialect struct {
	// Name is "sqlite" or the like, for errors.
	Name string
	// Lock is executed first in the transaction that brings the tables up to
	// date, and keeps others from doing so until its end. It may be "", where a
	// transaction that writes does that already.
	Lock string
}

// Open returns a Store in db, which Close closes, and has its tables up to date.
// It is for packages of databases.
func Open(ctx context.Context, db *sql.DB, d Dialect) (*Store, error) {
	if err := migrate(ctx, db, d); err != nil {
		return nil, fmt.Errorf("%s: API keys: %w", d.Name, err)
	}
	return &Store{db: db}, nil
}

// Close closes the database. The provider is to be closed before.
func (s *Store) Close() error { return s.db.Close() }

// columns are those of a key, as scan reads them.
const columns = "id, hash, user_id, tenant, name, hint, scopes, created, expires, revoked, last_used, replaced_by, rate_requests, rate_per"

func scan(row interface{ Scan(...any) error }) (*apikey.Key, error) {
	var (
		k                                   apikey.Key
		hash, scopes                        string
		created, expires, revoked, lastUsed int64
		per                                 int64
	)
	err := row.Scan(&k.ID, &hash, &k.UserID, &k.Tenant, &k.Name, &k.Hint, &scopes, &created, &expires, &revoked, &lastUsed, &k.ReplacedBy, &k.Rate.Requests, &per)
	if err != nil {
		return nil, err
	}
	if k.Hash, err = apikey.ParseHash(hash); err != nil {
		return nil, fmt.Errorf("key %q: %w", k.ID, err)
	}
	k.Scopes = strings.Fields(scopes)
	k.Created, k.Expires, k.Revoked, k.LastUsed = at(created), at(expires), at(revoked), at(lastUsed)
	k.Rate.Per = time.Duration(per) * time.Millisecond
	return &k, nil
}

// at and stamp convert times: milliseconds since 1970, 0 for none.
func at(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func stamp(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// Lookup implements apikey.Store.
func (s *Store) Lookup(ctx context.Context, hash apikey.Hash) (*apikey.Key, error) {
	var k *apikey.Key
	err := s.again(ctx, func() (err error) {
		k, err = scan(s.db.QueryRowContext(ctx, "SELECT "+columns+" FROM mcpauth_api_keys WHERE hash = $1", hash.String()))
		return err
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return k, err
}

// again reads a second time when the first fails: a connection from before a
// restart of the database is noticed when it is used.
func (s *Store) again(ctx context.Context, read func() error) error {
	err := read()
	if err == nil || errors.Is(err, sql.ErrNoRows) || ctx.Err() != nil {
		return err
	}
	return read()
}

// Get returns the key with an id, or apikey.ErrNotFound.
func (s *Store) Get(ctx context.Context, id string) (*apikey.Key, error) {
	var k *apikey.Key
	err := s.again(ctx, func() (err error) {
		k, err = get(ctx, s.db, id)
		return err
	})
	return k, err
}

type querier interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}

func get(ctx context.Context, in querier, id string) (*apikey.Key, error) {
	k, err := scan(in.QueryRowContext(ctx, "SELECT "+columns+" FROM mcpauth_api_keys WHERE id = $1", id))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, apikey.ErrNotFound
	}
	return k, err
}

func insert(ctx context.Context, in querier, k *apikey.Key) error {
	if k.Rate.Per%time.Millisecond != 0 {
		k.Rate.Per = k.Rate.Per.Round(time.Millisecond)
	}
	_, err := in.ExecContext(ctx, "INSERT INTO mcpauth_api_keys ("+columns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
		k.ID, k.Hash.String(), k.UserID, k.Tenant, k.Name, k.Hint, strings.Join(k.Scopes, " "),
		stamp(k.Created), stamp(k.Expires), stamp(k.Revoked), stamp(k.LastUsed), k.ReplacedBy, k.Rate.Requests, k.Rate.Per.Milliseconds())
	return err
}

// Create makes a key. The secret is the key itself, to be shown to its owner
// once. What is wrong with spec is a *mcpauth.ConfigError.
func (s *Store) Create(ctx context.Context, spec apikey.Spec) (mcpauth.Secret, *apikey.Key, error) {
	secret, k, err := apikey.Generate(spec)
	if err != nil {
		return mcpauth.Secret{}, nil, err
	}
	if err := insert(ctx, s.db, k); err != nil {
		return mcpauth.Secret{}, nil, fmt.Errorf("the key is not stored: %w", err)
	}
	s.watchers.Tell(k.Hash)
	return secret, k, nil
}

// Rotate replaces a key by another of the same owner. The secret is the new key.
// The error is apikey.ErrNotFound, or apikey.ErrNotGood for a key that is not to
// be replaced.
func (s *Store) Rotate(ctx context.Context, id string, r apikey.Rotation) (secret mcpauth.Secret, next *apikey.Key, err error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return mcpauth.Secret{}, nil, err
	}
	defer tx.Rollback()
	old, err := get(ctx, tx, id)
	if err != nil {
		return mcpauth.Secret{}, nil, err
	}
	if secret, next, err = old.Successor(r); err != nil {
		return mcpauth.Secret{}, nil, err
	}
	// As it was when it was read: of two rotations at once, one finds nothing.
	result, err := tx.ExecContext(ctx, "UPDATE mcpauth_api_keys SET expires = $1, replaced_by = $2 WHERE id = $3 AND revoked = 0 AND replaced_by = ''",
		stamp(old.Expires), old.ReplacedBy, id)
	if err != nil {
		return mcpauth.Secret{}, nil, err
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		return mcpauth.Secret{}, nil, errors.Join(apikey.ErrNotGood, err)
	}
	if err := insert(ctx, tx, next); err != nil {
		return mcpauth.Secret{}, nil, err
	}
	defer s.watchers.Tell(old.Hash, next.Hash) // as in Revoke
	if err := tx.Commit(); err != nil {
		return mcpauth.Secret{}, nil, err
	}
	return secret, next, nil
}

// Revoke ends a key at once, and returns it. A key that is revoked already stays
// so. The error may be apikey.ErrNotFound.
func (s *Store) Revoke(ctx context.Context, id string) (*apikey.Key, error) {
	k, err := s.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	defer s.watchers.Tell(k.Hash) // whatever comes: it may be stored when the answer is lost
	if _, err := s.db.ExecContext(ctx, "UPDATE mcpauth_api_keys SET revoked = $1 WHERE id = $2 AND revoked = 0", stamp(time.Now()), id); err != nil {
		return nil, err
	}
	return s.Get(ctx, id)
}

// All returns the keys of a user, or of everybody for "", in the order in which
// they were made.
func (s *Store) All(ctx context.Context, userID string) iter.Seq2[*apikey.Key, error] {
	return func(yield func(*apikey.Key, error) bool) {
		rows, err := s.db.QueryContext(ctx, "SELECT "+columns+" FROM mcpauth_api_keys WHERE $1 = '' OR user_id = $1 ORDER BY created, id", userID)
		if err != nil {
			yield(nil, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			k, err := scan(rows)
			if !yield(k, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(nil, err)
		}
	}
}

// Hashes lists the keys that are good, for a provider.
func (s *Store) Hashes(ctx context.Context) iter.Seq2[apikey.Hash, error] {
	return func(yield func(apikey.Hash, error) bool) {
		rows, err := s.db.QueryContext(ctx, "SELECT hash FROM mcpauth_api_keys WHERE revoked = 0 AND (expires = 0 OR expires > $1)", stamp(time.Now()))
		if err != nil {
			yield(apikey.Hash{}, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			var text string
			err := rows.Scan(&text)
			var h apikey.Hash
			if err == nil {
				h, err = apikey.ParseHash(text)
			}
			if !yield(h, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(apikey.Hash{}, err)
		}
	}
}

// batch is how many uses are written in one transaction, which holds up others
// that change the same keys.
const batch = 500

// RecordUses keeps when keys were last used, for a provider. What is known to be
// later stays.
func (s *Store) RecordUses(ctx context.Context, uses []apikey.Use) error {
	for len(uses) > 0 {
		n := min(batch, len(uses))
		if err := s.recordUses(ctx, uses[:n]); err != nil {
			return err
		}
		uses = uses[n:]
	}
	return nil
}

func (s *Store) recordUses(ctx context.Context, uses []apikey.Use) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	update, err := tx.PrepareContext(ctx, "UPDATE mcpauth_api_keys SET last_used = $1 WHERE id = $2 AND last_used < $1")
	if err != nil {
		return err
	}
	defer update.Close()
	for _, u := range uses {
		if _, err := update.ExecContext(ctx, stamp(u.At), u.ID); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// Watch calls changed for each key that this Store changes, for a provider.
func (s *Store) Watch(changed func(apikey.Hash)) (stop func()) { return s.watchers.Add(changed) }
