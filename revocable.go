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

// Revocations says which credentials are no longer to be taken, though they have not
// expired, as a list of package revoke does. Both methods are on the way of requests:
// they wait for nothing, and are safe for concurrent use.
//
// Nothing gets past both: a revocation is first known to Revoked and then changes
// Epoch; what was asked about in one epoch need not be asked about again in it.
type Revocations interface {
	// Epoch changes after each revocation, once Revoked knows of it. It is
	// never 0.
	Epoch() uint32
	// Revoked reports whether what is described must not be taken. It is asked
	// about a credential when that is judged, and then once an epoch.
	Revoked(Revocable) bool
}
