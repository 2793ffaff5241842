package oauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/claim"
	"github.com/mcpauth-go/mcpauth/internal/clock"
	"github.com/mcpauth-go/mcpauth/internal/strictjson"
)

// claims is what an answer says of a token. The byte slices point into it.
type claims struct {
	active, hasActive               bool
	issuer, subject, userID, tenant []byte
	client, authorizedParty         []byte // "client_id", "azp"
	tokenID, sessionID              []byte
	scope, scp                      []byte // undecoded
	tokenType, typ, tokenUse        []byte // nil when absent
	bound                           bool   // has "cnf"
	expiry, notBefore, issuedAt     claim.Date
	audience                        claim.Audience
}

// source is what an answer is of. What a source does not speak of is not read
// from it: the members of userinfo are the user's, whatever they are called.
type source struct {
	members []string // that have their meaning
	user    bool     // it has the user's id and tenant
	digits  bool     // it writes dates as strings of digits, as Google's tokeninfo does
}

var (
	introspected = &source{
		members: []string{"active", "iss", "sub", "aud", "exp", "nbf", "iat", "jti", "scope", "scp", "client_id", "token_type", "typ", "token_use", "cnf"},
		user:    true,
	}
	ofUser  = &source{members: []string{"iss", "sub"}, user: true}
	ofProof = &source{members: []string{"iss", "sub", "aud", "exp", "scope", "client_id", "azp"}, digits: true}
)

// read decodes an answer. Its errors are the authorization server's mistakes:
// they say nothing against the token.
func (c *Config) read(answer []byte, of *source) (claims, error) {
	var got claims
	err := strictjson.Object(answer, func(name, value []byte) error {
		return c.readMember(&got, of, string(name), value)
	})
	return got, err
}

func (c *Config) readMember(got *claims, of *source, name string, value []byte) error {
	known := false
	if of.user {
		var err error
		switch name {
		case c.UserIDClaim:
			known = true
			got.userID, err = identifier(name, value)
		case c.TenantClaim:
			known = true
			got.tenant, err = identifier(name, value)
		}
		if err != nil {
			return err
		}
	}
	if of == introspected {
		switch name { // what is there and is no name could not be revoked by it
		case c.TokenIDClaim:
			known = true
			var err error
			if got.tokenID, err = claim.Text(name, value); err != nil {
				return err
			}
		case c.SessionIDClaim:
			known = true
			var err error
			if got.sessionID, err = optional(name, value); err != nil {
				return err
			}
		}
	}
	for _, member := range of.members {
		if member == name {
			return got.read(c, of, name, value)
		}
		if !known && strings.EqualFold(name, member) {
			return fmt.Errorf("a name differs from %q in case only", member)
		}
	}
	if !known && of.user && name != "" && strings.EqualFold(name, c.UserIDClaim) {
		return fmt.Errorf("a name differs from %q in case only", c.UserIDClaim)
	}
	return nil
}

func (got *claims) read(c *Config, of *source, name string, value []byte) (err error) {
	switch name {
	case "active":
		got.hasActive = true
		switch string(value) {
		case "true":
			got.active = true
		case "false":
		default:
			err = errors.New(`"active" is neither true nor false`)
		}
	case "iss":
		got.issuer, err = claim.Text(name, value)
	case "sub":
		if c.UserIDClaim == "sub" && of.user {
			got.subject = got.userID // of any form that an id may have
		} else {
			got.subject, err = identifier(name, value)
		}
	case "aud":
		err = got.audience.Read(name, value, c.Audience)
	case "exp":
		if s, ok := strictjson.String(value); ok && of.digits && len(s) > 0 && strings.Trim(string(s), "0123456789") == "" {
			value = s
		}
		got.expiry, err = claim.NumericDate(name, value)
	case "nbf":
		got.notBefore, err = claim.NumericDate(name, value)
	case "iat":
		got.issuedAt, err = claim.NumericDate(name, value)
	case "jti":
		_, err = claim.Text(name, value)
	case "scope":
		got.scope = value
	case "scp":
		got.scp = value
	case "client_id":
		got.client, err = optional(name, value)
	case "azp":
		got.authorizedParty, err = optional(name, value)
	case "token_type":
		got.tokenType, err = optional(name, value)
	case "typ":
		got.typ, err = optional(name, value)
	case "token_use":
		got.tokenUse, err = optional(name, value)
	case "cnf":
		got.bound = true
	}
	return err
}

// optional is text that may be null, which some servers write for what is not
// there.
func optional(name string, value []byte) ([]byte, error) {
	if strictjson.IsNull(value) {
		return nil, nil
	}
	return claim.Text(name, value)
}

// identifier is a string, or a whole number as it is written: there are servers
// whose users have numbers. Null is none.
func identifier(name string, value []byte) ([]byte, error) {
	if strictjson.IsNull(value) {
		return nil, nil
	}
	if len(value) > 0 && len(value) <= 20 && strings.Trim(string(value), "0123456789") == "" {
		return value, nil
	}
	s, ok := strictjson.String(value)
	if !ok {
		return nil, fmt.Errorf("%q is neither a string nor a whole number", name)
	}
	// It would forge a line where it is written down.
	if strings.ContainsFunc(string(s), unicode.IsControl) {
		return nil, fmt.Errorf("%q has control characters", name)
	}
	return s, nil
}

// scopes returns those of "scope" (RFC 7662, section 2.2), else those of "scp",
// which some servers write, as a string or as an array.
func (got *claims) scopes() ([]string, error) {
	value, name := got.scope, "scope"
	if value == nil || strictjson.IsNull(value) {
		value, name = got.scp, "scp"
	}
	var all string
	switch {
	case value == nil || strictjson.IsNull(value):
	case value[0] == '[' && name == "scp":
		err := strictjson.Array(value, func(value []byte) error {
			s, err := claim.Text(name, value)
			all += string(s) + " "
			return err
		})
		if err != nil {
			return nil, err
		}
	default:
		s, err := claim.Text(name, value)
		if err != nil {
			return nil, err
		}
		all = string(s)
	}
	return strings.FieldsFunc(all, func(r rune) bool { return r == ' ' }), nil
}

// judge compares what introspection says with what c asks for, and notes in e
// from when to when it holds. Its errors are refusals of the token.
func (c *Config) judge(got *claims, e *entry, now clock.Instant) error {
	switch {
	case !got.active:
		return errInactive
	case got.issuer != nil && string(got.issuer) != c.Issuer:
		return wrongIssuer(got.issuer, c.Issuer)
	case got.tokenType != nil && !strings.EqualFold(string(got.tokenType), "Bearer"):
		return wrongType("token_type", got.tokenType)
	case got.tokenType == nil && c.RequireTokenType:
		return malformed(errNoType)
	case got.typ != nil && string(got.typ) != "Bearer":
		return wrongType("typ", got.typ)
	case got.tokenUse != nil && string(got.tokenUse) != "access":
		return wrongType("token_use", got.tokenUse)
	case got.bound && !c.AllowBoundTokens:
		return malformed(errBound)
	}
	if err := c.judgeTimes(got, e, now); err != nil {
		return err
	}
	return c.judgeAudience(got)
}

func (c *Config) judgeTimes(got *claims, e *entry, now clock.Instant) error {
	// Without an end, a token is good for as long as the answer is.
	e.end = now.Unix() + int64((c.Cache.TTL+time.Second-1)/time.Second)
	if got.expiry.Set {
		e.end = got.expiry.Seconds + int64(c.ExpiryLeeway/time.Second)
	}
	e.notBefore = max(got.notBefore.Seconds, got.issuedAt.Seconds) - int64(c.ClockTolerance/time.Second)
	switch {
	case now.Unix() >= e.end:
		return expired(e.end, now)
	case now.Unix() < e.notBefore:
		return errNotYetValid
	}
	return nil
}

// judgeAudience asks whom the token is for.
func (c *Config) judgeAudience(got *claims) error {
	if c.AcceptAnyClient || got.audience.Fits {
		return nil
	}
	client := got.client
	if client == nil {
		client = got.authorizedParty
	}
	for _, allowed := range c.AllowedClients {
		if string(client) == allowed {
			return nil
		}
	}
	return refuse(mcpauth.ErrWrongAudience, "the token is meant for another audience. Please request a token for this server",
		fmt.Errorf("audience %.200q is none of %q, and client %.200q none of %q", got.audience.First, c.Audience, client, c.AllowedClients))
}

// details are the parts of an answer that are seldom asked for.
type details struct {
	answer             []byte
	userinfo           bool   // answer is userinfo
	proof              []byte // of userinfo
	tokenID, sessionID string
	issuedAt           claim.Date
}

// Claims implements [mcpauth.Verification]: it decodes the answer.
func (d *details) Claims(*mcpauth.Identity) map[string]json.RawMessage {
	all := map[string]json.RawMessage{}
	_ = json.Unmarshal(d.answer, &all) // cannot fail: it has been read
	if d.userinfo {
		d.replaceTokenClaims(all)
	}
	delete(all, "active")
	return all
}

// tokenClaims speak of a token, in introspection (RFC 7662, section 2.2) and in
// JWT access tokens (RFC 9068). Whether a token may be forwarded, and in whose
// name, is read from them.
var tokenClaims = []string{"active", "aud", "azp", "client_id", "cid", "appid", "act", "may_act", "scope", "scp", "exp", "iat", "nbf", "jti", "cnf", "token_type"}

// replaceTokenClaims puts those of the proof in the place of those in a userinfo
// answer, which are part of a profile that the user may be free to write.
func (d *details) replaceTokenClaims(all map[string]json.RawMessage) {
	for name := range all {
		// In any case of letters: encoding/json takes "AUD" for "aud".
		if slices.ContainsFunc(tokenClaims, func(claim string) bool { return strings.EqualFold(name, claim) }) {
			delete(all, name)
		}
	}
	if d.proof == nil {
		return
	}
	var proof map[string]json.RawMessage
	_ = json.Unmarshal(d.proof, &proof) // cannot fail either
	for _, name := range tokenClaims {
		if value, ok := proof[name]; ok {
			all[name] = value
		}
	}
	if digits, ok := strictjson.String(proof["exp"]); ok {
		seconds, _ := strconv.ParseInt(string(digits), 10, 64) // cannot fail: it is a date that has been read
		all["exp"] = strconv.AppendInt(nil, seconds, 10)
	}
}

const failed = "Token validation failed: "

func refuse(code mcpauth.Code, reason string, cause error) error {
	return &mcpauth.Error{Code: code, Message: failed + reason, Cause: cause}
}

func malformed(cause error) error { return refuse(mcpauth.ErrMalformedToken, "malformed token", cause) }

func wrongType(name string, value []byte) error {
	return malformed(fmt.Errorf("%q %.64q is not that of an access token that the bearer may use", name, value))
}

func wrongIssuer(name []byte, known string) error {
	return refuse(mcpauth.ErrWrongIssuer, "wrong issuer", fmt.Errorf("issuer %.200q is not %q", name, known))
}

func missing(claim string) error {
	return refuse(mcpauth.ErrMissingClaim, "the token names no user", fmt.Errorf("the answer has no %q", claim))
}

func expired(end int64, now clock.Instant) error {
	return &mcpauth.Error{Code: mcpauth.ErrExpired, Message: "The access token has expired. Please refresh your token.",
		Cause: fmt.Errorf("good until %s, %s ago", time.Unix(end, 0).UTC().Format(time.RFC3339), time.Duration(now.Unix()-end)*time.Second)}
}

var (
	errInactive    = refuse(mcpauth.ErrInactive, "the token is not active: it has expired or was revoked, or is not of this authorization server. Please sign in again", nil)
	errNotYetValid = refuse(mcpauth.ErrNotYetValid, "the token is not valid yet", nil)

	errNoType = errors.New(`the answer has no "token_type", which only access tokens have`)
	errBound  = errors.New(`"cnf": the token is bound to a key of the client's, whose proof is not supported`)
)
