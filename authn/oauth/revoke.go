package oauth

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/mcpauth-go/mcpauth"
)

// Revocations implements mcpauth.Revoking.
func (p *Provider) Revocations() mcpauth.Revocations { return p.config.Revocations }

// Lifetime returns for how long a token of the issuer may at most be taken after
// it was issued, which is 0 since that is for the authorization server alone to
// say, and whether issuer is Config.Issuer. It is for the Lifetime of a
// revoke.Config.
func (c Config) Lifetime(issuer string) (longest time.Duration, known bool) {
	return 0, issuer == c.Issuer
}

// TokenID returns the id by which a revocation names a token that introspection
// gives no id ("jti") of:
//
//	"sha256:" + hex(SHA-256(token))
//
// in lower case. Of a token with the three parts of a JWT, only the signing input
// is hashed, which is everything before the last dot: of the signature there can
// be twins, such as the (r, n-s) of ECDSA. Nor does "=" or "." at the end of a
// token make another of it, since there are servers that pass over them.
func TokenID(token mcpauth.Secret) string {
	text := strings.TrimRight(token.Reveal(), "=.")
	if strings.Count(text, ".") == 2 {
		text = text[:strings.LastIndexByte(text, '.')]
	}
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Revocable implements [mcpauth.Verification].
func (d *details) Revocable(id *mcpauth.Identity) mcpauth.Revocable {
	r := mcpauth.Revocable{TokenID: d.tokenID, SessionID: d.sessionID}
	if r.TokenID == "" {
		r.TokenID = TokenID(id.Token())
	}
	if d.issuedAt.Set {
		r.IssuedAt = time.Unix(d.issuedAt.Seconds, 0)
	}
	return r
}

// revoked reports whether e is revoked now. Without a revocation since it was
// last asked, that is known. What is revoked is asked about each time, so that a
// block which is lifted is over at once.
func (p *Provider) revoked(e *entry) bool {
	list := p.config.Revocations
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

// errRevoked refuses a revoked token. Refreshing it may do, where not the user is
// revoked but this one token.
func errRevoked(id *mcpauth.Identity) error {
	return &mcpauth.Error{Code: mcpauth.ErrRevoked, Message: "The token has been revoked. Please sign in again.", Cause: fmt.Errorf("a token of user %v", id)}
}
