package mcpauth

import (
	"encoding/json"
	"maps"
)

// Verification is how an Identity reaches what its provider knows of the verified
// credential beyond the fields of IdentityFields. Its methods are safe for
// concurrent use and wait for nothing.
type Verification interface {
	// Claims decodes what the credential says about the user, anew at each call.
	// Only Identity.Claim and Identity.Metadata call it, so that a request that
	// never asks pays nothing.
	Claims(*Identity) map[string]json.RawMessage
	// UserIDClaim returns the name of the claim that holds the user id, which
	// Metadata leaves out, or "".
	UserIDClaim() string
	// Revocable returns what a revocation of the credential may name besides
	// issuer and user id, which Identity.Revocable fills in.
	Revocable(*Identity) Revocable
	// Standing returns nil as long as the credential still stands, and else the
	// *Error that a request with it would get: its key has been removed, its API
	// key revoked, its token has become inactive. The passing of time is not its
	// concern: Identity.Expiry says when a credential expires. While the authority
	// that could tell is unavailable, a credential stands for as long as its last
	// confirmed answer counts, and then the error is ErrUnavailable.
	//
	// Standing answers from memory. A provider that has to ask elsewhere asks in
	// the background and announces what it learns: see StandingNotifier.
	Standing(*Identity) error
}

// FixedVerification is the Verification of a credential about which everything is known
// when it is verified: until it expires, only a list of Revocations can end it.
type FixedVerification struct {
	// AllClaims is what Claims returns a copy of. The values are JSON.
	AllClaims map[string]json.RawMessage
	// IDClaim is the name of the claim that holds the user id, or "".
	IDClaim string
	// Named is what Revocable returns.
	Named Revocable
}

var _ Verification = FixedVerification{}

// Claims implements [Verification].
func (v FixedVerification) Claims(*Identity) map[string]json.RawMessage {
	all := make(map[string]json.RawMessage, len(v.AllClaims))
	maps.Copy(all, v.AllClaims)
	return all
}

// UserIDClaim implements [Verification].
func (v FixedVerification) UserIDClaim() string { return v.IDClaim }

// Revocable implements [Verification].
func (v FixedVerification) Revocable(*Identity) Revocable { return v.Named }

// Standing implements [Verification]: the credential always stands.
func (FixedVerification) Standing(*Identity) error { return nil }
