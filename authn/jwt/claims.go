package jwt

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"

	"github.com/mcpauth-go/mcpauth"
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
	expiry                  date
	notBefore               date
	issuedAt                date
	hasAudience             bool
	audienceFits            bool
	firstAudience           []byte // for the log
}

// date is a NumericDate (RFC 7519, section 2) in whole seconds.
type date struct {
	seconds int64
	set     bool
}

// maxDate is the last second of the year 9999, the last that RFC 3339 can
// write.
const maxDate = 253402300799

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
			c.issuer, err = text(name, value)
		case "sub":
			c.subject, err = text(name, value)
		case "jti":
			_, err = text(name, value)
		case "exp":
			c.expiry, err = numericDate(name, value)
		case "nbf":
			c.notBefore, err = numericDate(name, value)
		case "iat":
			c.issuedAt, err = numericDate(name, value)
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
			if err := c.readAudience(name, value, iss.Audience); err != nil {
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
			c.tokenID, err = text(name, value)
			registered = true
		case iss.SessionIDClaim:
			if !strictjson.IsNull(value) { // as good as absent
				c.sessionID, err = text(name, value)
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
			c.typ, err = text(name, value)
		case "token_use":
			c.tokenUse, err = text(name, value)
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

func text[Name string | []byte](name Name, value []byte) ([]byte, error) {
	s, ok := strictjson.String(value)
	if !ok {
		return nil, fmt.Errorf("%q is not a string", name)
	}
	return s, nil
}

func (c *claims) readAudience(name, value []byte, wanted []string) error {
	c.hasAudience = true
	one := func(value []byte) error {
		aud, err := text(name, value)
		if err != nil {
			return err
		}
		if c.firstAudience == nil {
			c.firstAudience = aud
		}
		for _, w := range wanted {
			c.audienceFits = c.audienceFits || string(aud) == w
		}
		return nil
	}
	if len(value) > 0 && value[0] == '[' {
		return strictjson.Array(value, one)
	}
	return one(value)
}

func numericDate(name, value []byte) (date, error) {
	if c := value[0]; c != '-' && (c < '0' || c > '9') {
		return date{}, fmt.Errorf("%q is not a number", name)
	}
	// Nearly every date is a plain integer: no string, no float.
	whole, digits := int64(0), len(value) <= len("253402300799")
	for _, c := range value {
		digits = digits && c >= '0' && c <= '9'
		whole = whole*10 + int64(c-'0')
	}
	if digits && whole <= maxDate {
		return date{whole, true}, nil
	}
	f, err := strconv.ParseFloat(string(value), 64)
	if f = math.Floor(f); err != nil || !(f >= 0 && f <= maxDate) {
		return date{}, fmt.Errorf("%q is not a date between 1970 and 9999", name)
	}
	return date{int64(f), true}, nil
}

// foldVariant returns the security-relevant claim that name equals in all but
// case, as Unicode folds it. The JSON library ignores such a name, but others
// read it as the claim itself, and would see another token than we do.
func foldVariant(name []byte, userIDClaim, tenantClaim string) string {
	ascii := true
	for _, c := range name {
		ascii = ascii && c < 0x80
	}
	differs := func(claim string) bool {
		return (!ascii || len(name) == len(claim)) && strings.EqualFold(string(name), claim)
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
	for _, claim := range []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti"} {
		if differs(claim) {
			return claim
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
		return text("scope", c.scope)
	case c.scp == nil:
		return nil, nil
	case c.scp[0] != '[':
		return text("scp", c.scp)
	}
	var all []byte
	err := strictjson.Array(c.scp, func(value []byte) error {
		s, err := text("scp", value)
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
	return text("iss", value)
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

// decodeClaims returns all claims of a verified token.
func decodeClaims(token mcpauth.Secret) map[string]json.RawMessage {
	_, rest, _ := strings.Cut(token.Reveal(), ".")
	segment, _, _ := strings.Cut(rest, ".")
	all := map[string]json.RawMessage{}
	// Neither can fail: the token has been verified.
	payload, _ := base64.RawURLEncoding.DecodeString(segment)
	_ = json.Unmarshal(payload, &all)
	return all
}
