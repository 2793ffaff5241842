package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
)

// steps bring the tables from each version to the next. A step that has been
// released is never changed; what is to be different is another step. They are
// in the SQL that all databases have in common: a text of base types, times in
// milliseconds since 1970, and 0 and ” for what is not there.
var steps = []string{
	`CREATE TABLE mcpauth_api_keys (
		id            TEXT   NOT NULL PRIMARY KEY,
		hash          TEXT   NOT NULL UNIQUE,
		user_id       TEXT   NOT NULL,
		tenant        TEXT   NOT NULL DEFAULT '',
		name          TEXT   NOT NULL DEFAULT '',
		hint          TEXT   NOT NULL DEFAULT '',
		scopes        TEXT   NOT NULL DEFAULT '',
		created       BIGINT NOT NULL,
		expires       BIGINT NOT NULL DEFAULT 0,
		revoked       BIGINT NOT NULL DEFAULT 0,
		last_used     BIGINT NOT NULL DEFAULT 0,
		replaced_by   TEXT   NOT NULL DEFAULT '',
		rate_requests BIGINT NOT NULL DEFAULT 0,
		rate_per      BIGINT NOT NULL DEFAULT 0
	)`,
	`CREATE INDEX mcpauth_api_keys_user ON mcpauth_api_keys (user_id)`,
}

// migrate applies the steps that the database has not seen.
func migrate(ctx context.Context, db *sql.DB, d Dialect) error {
	// Most often there is nothing to do, and perhaps no right to do it.
	if version, err := versionOf(ctx, db); err == nil && version == len(steps) {
		return nil
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if d.Lock != "" {
		if _, err := tx.ExecContext(ctx, d.Lock); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS mcpauth_api_keys_version (version BIGINT NOT NULL PRIMARY KEY)"); err != nil {
		return err
	}
	version, err := versionOf(ctx, tx)
	if err != nil {
		return err
	}
	if version > len(steps) {
		return fmt.Errorf("the tables are of version %d, and this program knows up to %d: it is too old", version, len(steps))
	}
	for i, step := range steps[version:] {
		if _, err := tx.ExecContext(ctx, step); err != nil {
			return fmt.Errorf("step %d of the tables: %w", version+i+1, err)
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO mcpauth_api_keys_version (version) VALUES ($1)", version+i+1); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func versionOf(ctx context.Context, in querier) (version int, err error) {
	err = in.QueryRowContext(ctx, "SELECT COALESCE(MAX(version), 0) FROM mcpauth_api_keys_version").Scan(&version)
	return version, err
}
