package jwt

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/jws"
)

// Revocations implements mcpauth.Revoking.
func (p *Provider) Revocations() mcpauth.Revocations { return p.config.Revocations }

// Lifetime returns for how long after its "iat" a token of the issuer may at
// most be taken, or 0 if MaxLifetime does not say so, and whether there is such
// an issuer. It is for the Lifetime of a revoke.Config.
func (c Config) Lifetime(issuer string) (longest time.Duration, known bool) {
	for _, iss := range c.withDefaults().Issuers {
		if !slices.Contains(iss.names(), issuer) {
			continue
		}
		if iss.MaxLifetime > 0 {
			// The clock of the issuer may be ahead.
			longest = iss.MaxLifetime + iss.ClockTolerance
		}
		return longest, true
	}
	return 0, false
}

// TokenID returns the issuer that a token names, and the id by which a
// revocation names the token: that in its claim, which is the issuer's
// TokenIDClaim, "" standing for "jti"; or, without such a claim,
//
//	"sha256:" + hex(SHA-256(signing input))
//
// in lower case, where the signing input is everything before the last dot. (Of
// the signature there can be twins.) The token is not verified, and need not be
// valid any more. What a verified one says is in Identity.Revocable.
func TokenID(token, claim string) (issuerName, id string, err error) {
	parsed, err := jws.Split([]byte(token))
	if err != nil {
		return "", "", fmt.Errorf("jwt: malformed token: %w", err)
	}
	payload, err := parsed.Payload(nil)
	if err != nil {
		return "", "", fmt.Errorf("jwt: malformed token: %w", err)
	}
	c, err := readClaims(payload, &issuer{Issuer: Issuer{TokenIDClaim: cmp.Or(claim, defaultTokenIDClaim)}})
	if err != nil {
		return "", "", fmt.Errorf("jwt: malformed token: %w", err)
	}
	return string(c.issuer), c.revocable(parsed.SigningInput).TokenID, nil
}

// revocable returns what of the claims a revocation may name.
func (c *claims) revocable(signingInput []byte) mcpauth.Revocable {
	r := mcpauth.Revocable{TokenID: string(c.tokenID), SessionID: string(c.sessionID)}
	if r.TokenID == "" {
		sum := sha256.Sum256(signingInput)
		r.TokenID = "sha256:" + hex.EncodeToString(sum[:])
	}
	if c.issuedAt.Set {
		r.IssuedAt = time.Unix(c.issuedAt.Seconds, 0)
	}
	return r
}

// Revocable implements [mcpauth.Verification]. It decodes the token again: what it
// returns is needed too seldom to be kept with each.
func (e *entry) Revocable(id *mcpauth.Identity) mcpauth.Revocable {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	s.token = append(s.token[:0], id.Token().Reveal()...)
	// None of it can fail: the token has been verified.
	parsed, _ := jws.Split(s.token)
	payload, _ := s.decodePayload(parsed)
	c, _ := readClaims(payload, e.issuer())
	return c.revocable(parsed.SigningInput)
}

// revoked reports whether e is revoked now. Without a revocation since it was
// last asked, that is known. What is revoked is asked about each time, so that a
// block which is lifted is over at once.
func (e *entry) revoked() bool {
	list := e.issuer().revocations
	if list == nil {
		return false
	}
	epoch := list.Epoch() // before asking: it is stored for what was there by then
	if e.epoch.Load() == epoch {
		return false
	}
	if list.Revoked(e.identity.Revocable()) {
		return true
	}
	e.epoch.Store(epoch)
	return false
}

// look asks about a token that has just been read, which spares revoked the
// decoding.
func (e *entry) look(c *claims, signingInput []byte) {
	list := e.issuer().revocations
	if list == nil {
		return
	}
	epoch := list.Epoch()
	r := c.revocable(signingInput)
	r.Issuer, r.UserID = e.identity.Issuer(), e.identity.UserID()
	if !list.Revoked(r) {
		e.epoch.Store(epoch)
	}
}

// errRevoked refuses a revoked token. Refreshing it may do, where not the user is
// revoked but this one token.
func errRevoked(id *mcpauth.Identity) error {
	return &mcpauth.Error{Code: mcpauth.ErrRevoked, Message: "The token has been revoked. Please sign in again.", Cause: &revokedToken{id}}
}

// revokedToken is put into words when somebody reads it.
type revokedToken struct{ id *mcpauth.Identity }

func (r *revokedToken) Error() string { return fmt.Sprintf("a token of user %v", r.id) }
