package mcpauth

import "time"

// Revocable is what of a verified credential a revocation may name. A provider
// fills in what its kind of credential has.
type Revocable struct {
	Issuer string
	UserID string
	// TokenID is the issuer's name of this one credential, "jti" or the like.
	// Where it has none, a hash of what was signed: of the credential's bytes
	// there can be twins, which would outlive the revocation.
	TokenID string
	// SessionID is the provider's session ("sid"), "" for none. It is not the
	// session of MCP.
	SessionID string
	// IssuedAt is zero where it is not known. Such a credential is taken to be
	// as old as any.
	IssuedAt time.Time
}
