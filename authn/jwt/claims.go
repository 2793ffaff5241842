package jwt

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/claim"
	"github.com/mcpauth-go/mcpauth/internal/strictjson"
)

// claims is what verification needs of a token's claims. The byte slices
// point into the payload.
type claims struct {
	issuer, subject, userID []byte
	tenant                  []byte // nil when absent or not asked for
	tokenID, sessionID      []byte // nil when absent
	scope, scp              []byte // undecoded
	typ, tokenUse           []byte
	bound                   bool // has "cnf"
	expiry                  claim.Date
	notBefore               claim.Date
	issuedAt                claim.Date
	audience                claim.Audience
}

// readClaims decodes a payload as tokens of iss are read.
func readClaims(payload []byte, iss *issuer) (claims, error) {
	var c claims
	err := strictjson.Object(payload, func(name, value []byte) error {
		isUserID := string(name) == iss.UserIDClaim
		isAudience := string(name) == iss.AudienceClaim
		registered := true
		var err error
		switch string(name) {
		case "iss":
			c.issuer, err = claim.Text(name, value)
		case "sub":
			c.subject, err = claim.Text(name, value)
		case "jti":
			_, err = claim.Text(name, value)
		case "exp":
			c.expiry, err = claim.NumericDate(name, value)
		case "nbf":
			c.notBefore, err = claim.NumericDate(name, value)
		case "iat":
			c.issuedAt, err = claim.NumericDate(name, value)
		case "aud":
			if !isAudience && strictjson.IsNull(value) {
				err = fmt.Errorf("%q is null", name)
			}
		default:
			registered = false
		}
		if err != nil {
			return err
		}
		if isAudience {
			if err := c.audience.Read(iss.AudienceClaim, value, iss.Audience); err != nil {
				return err
			}
		}
		if isUserID {
			if strictjson.IsNull(value) {
				return fmt.Errorf("%q is null", name)
			}
			c.userID, _ = strictjson.String(value)
		}
		isTenant := iss.TenantClaim != "" && string(name) == iss.TenantClaim
		if isTenant {
			if strictjson.IsNull(value) {
				return fmt.Errorf("%q is null", name)
			}
			c.tenant, _ = strictjson.String(value)
		}
		switch string(name) {
		case iss.TokenIDClaim: // what is there and is no name could not be revoked by it
			c.tokenID, err = claim.Text(name, value)
			registered = true
		case iss.SessionIDClaim:
			if !strictjson.IsNull(value) { // as good as absent
				c.sessionID, err = claim.Text(name, value)
			}
			registered = true
		}
		if err != nil || registered || isUserID || isAudience || isTenant {
			return err
		}
		switch string(name) {
		case "scope":
			c.scope = value
		case "scp":
			c.scp = value
		case "typ":
			c.typ, err = claim.Text(name, value)
		case "token_use":
			c.tokenUse, err = claim.Text(name, value)
		case "cnf":
			c.bound = true
		default:
			if variant := foldVariant(name, iss.UserIDClaim, iss.TenantClaim); variant != "" {
				err = fmt.Errorf("a claim name differs from %q in case only", variant)
			}
		}
		return err
	})
	return c, err
}

// foldVariant returns the security-relevant claim that name equals in all but
// case, as Unicode folds it. The JSON library ignores such a name, but others
// read it as the claim itself, and would see another token than we do.
func foldVariant(name []byte, userIDClaim, tenantClaim string) string {
	ascii := true
	for _, c := range name {
		ascii = ascii && c < 0x80
	}
	differs := func(registered string) bool {
		return (!ascii || len(name) == len(registered)) && strings.EqualFold(string(name), registered)
	}
	if differs(userIDClaim) {
		return userIDClaim
	}
	if tenantClaim != "" && differs(tenantClaim) {
		return tenantClaim
	}
	if ascii && len(name) != len("iss") {
		return ""
	}
	for _, registered := range []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti"} {
		if differs(registered) {
			return registered
		}
	}
	return ""
}

// scopeText returns the scopes of "scope" (RFC 8693, section 4.2), else those
// of "scp", which some issuers write, as a string or as an array; separated by
// spaces.
func (c *claims) scopeText() ([]byte, error) {
	switch {
	case c.scope != nil:
		return claim.Text("scope", c.scope)
	case c.scp == nil:
		return nil, nil
	case c.scp[0] != '[':
		return claim.Text("scp", c.scp)
	}
	var all []byte
	err := strictjson.Array(c.scp, func(value []byte) error {
		s, err := claim.Text("scp", value)
		all = append(append(all, s...), ' ')
		return err
	})
	return all, err
}

var errNoIssuerClaim = errors.New(`no "iss"`)

// peekIssuer reads "iss" from a payload that nobody has verified yet, to find
// the keys to verify it with. A stranger's payload is worth no more than that:
// it is read properly when its signature is found good.
func peekIssuer(payload []byte) ([]byte, error) {
	value, err := strictjson.Peek(payload, "iss")
	if err != nil {
		return nil, err
	}
	if value == nil {
		return nil, errNoIssuerClaim
	}
	return claim.Text("iss", value)
}

// validID refuses ids, of users and of tenants, that would forge a line where they are written down.
func validID(id []byte) bool {
	for _, r := range string(id) {
		if unicode.IsControl(r) {
			return false
		}
	}
	return len(id) > 0
}

// Claims implements [mcpauth.Verification] with all claims of the verified token.
func (*entry) Claims(id *mcpauth.Identity) map[string]json.RawMessage {
	_, rest, _ := strings.Cut(id.Token().Reveal(), ".")
	segment, _, _ := strings.Cut(rest, ".")
	all := map[string]json.RawMessage{}
	// Neither can fail: the token has been verified.
	payload, _ := base64.RawURLEncoding.DecodeString(segment)
	_ = json.Unmarshal(payload, &all)
	return all
}
