package revoke

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/mcpauth-go/mcpauth"
)

// Config says where revocations are kept, and for how long.
type Config struct {
	// File is where they outlive this process. It is made when it is not there,
	// in a directory that is. "" keeps them in memory only.
	File string
	// Skew is by how much the clocks of issuers may be ahead of this one: a
	// revocation of what was issued before a time holds for that much after it,
	// too. Default 60 s, at most an hour.
	Skew time.Duration
	// Lifetime returns for how long after its "iat" a token of the issuer may at
	// most be taken, leeway included, or 0 if nothing enforces that, and whether
	// there is such an issuer. It decides how long revocations are kept: until
	// skew and lifetime have passed, or for ever. One of an issuer that is not
	// known is refused as a mistake, and kept for ever when it is in the file.
	//
	// It is asked for each revocation that is made, is found in the file, or may
	// be forgotten, so it may answer differently after a change of configuration;
	// but what has been forgotten does not come back. It must not call the List.
	// Default: every issuer is known, and nothing is enforced.
	Lifetime func(issuer string) (longest time.Duration, known bool)
	// MaxEntries is how many revocations there is room for. Default 1 000 000.
	MaxEntries int
	// Logger takes a record of each revocation, and of trouble with the file.
	// Default slog.Default().
	Logger *slog.Logger
}

const (
	defaultSkew       = time.Minute
	maxSkew           = time.Hour
	defaultMaxEntries = 1_000_000
)

// withDefaults returns c with what it leaves out, or all that is wrong with it.
func (c Config) withDefaults() (Config, []mcpauth.Fault) {
	var faults []mcpauth.Fault
	if c.Skew < 0 || c.Skew > maxSkew {
		faults = append(faults, mcpauth.Fault{Field: "Skew", Problem: fmt.Sprintf("found %v", c.Skew), Expected: "at most 1h, or 0 for 60 s"})
	}
	if c.MaxEntries < 0 {
		faults = append(faults, mcpauth.Fault{Field: "MaxEntries", Problem: fmt.Sprintf("found %d", c.MaxEntries), Expected: "at least 1, or 0 for 1 000 000"})
	}
	if c.Skew == 0 {
		c.Skew = defaultSkew
	}
	if c.MaxEntries == 0 {
		c.MaxEntries = defaultMaxEntries
	}
	if c.Lifetime == nil {
		c.Lifetime = func(string) (time.Duration, bool) { return 0, true }
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, faults
}
