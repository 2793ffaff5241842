package jwt

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/jwk"
	"github.com/mcpauth-go/mcpauth/internal/jws"
)

// Authenticate implements [mcpauth.Provider] with the bearer token of the
// Authorization header. A token answered from the cache costs no allocation.
func (p *Provider) Authenticate(ctx context.Context, r *mcpauth.Request) (*mcpauth.Identity, error) {
	token, err := mcpauth.BearerToken(r.Header)
	if err != nil {
		return nil, err
	}
	return p.Verify(ctx, token)
}

// Verify returns the identity that token proves, or an *mcpauth.Error. With
// keys at hand it never waits; ctx is for key sources that do.
func (p *Provider) Verify(_ context.Context, token string) (*mcpauth.Identity, error) {
	if p.closed.Load() {
		return nil, errClosed
	}
	if token == "" {
		return nil, errNoToken
	}
	if len(token) > p.config.MaxTokenSize {
		return nil, refuse(mcpauth.ErrTooLarge, "the token is too large",
			fmt.Errorf("%d bytes, the limit is %d", len(token), p.config.MaxTokenSize))
	}
	if p.accepted == nil {
		e, err := p.verify(token)
		return admit(e, err, p.now())
	}
	now := p.now()
	if e, ok := p.accepted.get(token, now); ok {
		if err := e.check(now); err != errKeysChanged {
			return admit(e, err, now)
		}
	}
	if p.refused != nil {
		if err, ok := p.refused.get(token, p.generation.Load(), now); ok {
			return nil, err
		}
	}
	e, err := p.verifyOnce(token)
	id, err := admit(e, err, p.now())
	if err == errKeysChanged {
		e, err := p.verify(token)
		return admit(e, err, p.now())
	}
	return id, err
}

// verifyOnce verifies a new token once for many requests that bring it at the
// same time, and keeps the result.
func (p *Provider) verifyOnce(token string) (*entry, error) {
	own := false
	verify := func() (any, error) {
		own = true
		generation := p.generation.Load()
		e, err := p.verify(token)
		if err == nil {
			p.accepted.put(strings.Clone(token), e, p.now())
		} else if p.refused != nil && lasting(err) {
			p.refused.put(token, err, generation, p.now())
		}
		return e, err
	}
	// Tokens differ in their ends, and a short key is cheap to hash. Two that
	// do not may share a flight, but never its result.
	result, err, _ := p.flight.Do(token[max(0, len(token)-64):], verify)
	if e, _ := result.(*entry); own || err == nil && e.identity.Token().Reveal() == token {
		return e, err
	}
	return p.verify(token)
}

// admit turns an entry into an answer for this moment.
func admit(e *entry, err error, now instant) (*mcpauth.Identity, error) {
	if err == nil {
		err = e.check(now)
	}
	if err != nil {
		return nil, err
	}
	return e.identity, nil
}

// entry is a verified token: the identity that it proves, and all that
// decides whether it still does.
type entry struct {
	identity  *mcpauth.Identity
	issuer    *issuer
	keys      *keys         // the state of the issuer's keys that verified it
	notBefore int64         // the first second at which it is good
	end       int64         // the first second at which it no longer is
	until     time.Duration // how long it is answered from the cache, on the monotonic clock
	size      int           // bytes of the token
}

// check is the one judgement of whether a verified token is good now. It is
// made of new results and of cached ones alike.
func (e *entry) check(now instant) error {
	switch {
	case e.issuer.keys.Load() != e.keys:
		return errKeysChanged
	case now.wall >= e.end:
		return errExpired
	case now.wall < e.notBefore:
		return errNotYetValid
	}
	return nil
}

// lasting reports whether a refusal stays right until keys change.
func lasting(err error) bool {
	switch mcpauth.AsError(err).Code {
	case mcpauth.ErrMalformedToken, mcpauth.ErrBadSignature, mcpauth.ErrWrongIssuer, mcpauth.ErrWrongAudience, mcpauth.ErrExpired:
		return true
	}
	return false
}

// scratch is the memory of one verification.
type scratch struct{ token, header, payload, signature, kept []byte }

var scratches = sync.Pool{New: func() any {
	return &scratch{header: make([]byte, 256), payload: make([]byte, 2048), signature: make([]byte, 512)}
}}

// verify does the whole work on a token, without any cache.
func (p *Provider) verify(token string) (*entry, error) {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	s.token = append(s.token[:0], token...)

	// Form.
	parsed, err := jws.Split(s.token)
	if err != nil {
		return nil, malformed(err)
	}
	header, err := p.headers.Parse(parsed, s.header)
	if err != nil {
		return nil, malformed(err)
	}
	if header.Algorithm == "" {
		return nil, refuse(mcpauth.ErrUnsupportedAlgorithm, "unsupported algorithm", nil)
	}

	// Issuer. With a single one, nothing of the payload is decoded before the
	// signature is found good.
	iss := p.only
	var payload []byte
	if iss == nil {
		if payload, err = s.decodePayload(parsed); err != nil {
			return nil, malformed(err)
		}
		name, err := peekIssuer(payload)
		if err == errNoIssuerClaim {
			return nil, missing("iss")
		}
		if err != nil {
			return nil, malformed(err)
		}
		if iss = p.issuers[string(name)]; iss == nil {
			return nil, wrongIssuer(name)
		}
	}
	if err := iss.checkType(header); err != nil {
		return nil, err
	}

	// Signature.
	k := iss.keys.Load()
	if !k.set.Serves(header.Algorithm) {
		return nil, refuse(mcpauth.ErrUnsupportedAlgorithm, "unsupported algorithm",
			fmt.Errorf("no key of issuer %q is for %s", iss.Name, header.Algorithm))
	}
	good := false
	tried := k.set.Candidates(header.Algorithm, header.KeyID, func(key *jwk.Key) bool {
		good = parsed.Verify(key.Key, s.signature)
		return good
	})
	if tried == 0 {
		return nil, p.unknownKey(iss, header, parsed, s)
	}
	if !good {
		return nil, errBadSignature
	}
	p.headers.Remember(parsed, header)

	// Claims.
	if payload == nil {
		if payload, err = s.decodePayload(parsed); err != nil {
			return nil, malformed(err)
		}
	}
	c, err := readClaims(payload, iss)
	if err != nil {
		return nil, malformed(err)
	}
	e := &entry{issuer: iss, keys: k, size: len(token)}
	if err := iss.judge(&c, e, p.now()); err != nil {
		return nil, err
	}
	if len(c.userID) == 0 {
		return nil, missing(iss.UserIDClaim)
	}
	if !validUserID(c.userID) {
		return nil, malformed(fmt.Errorf("control characters in %q", iss.UserIDClaim))
	}
	scopes, err := c.scopeText()
	if err != nil {
		return nil, malformed(err)
	}

	// One piece of memory for all that is kept of the claims. The token is
	// copied, since what it is a part of may be larger.
	s.kept = append(append(append(s.kept[:0], c.userID...), c.subject...), scopes...)
	kept, user, subject := string(s.kept), len(c.userID), len(c.userID)+len(c.subject)
	e.identity = mcpauth.NewIdentity(mcpauth.IdentityFields{
		Issuer:      iss.Name,
		UserID:      kept[:user],
		Subject:     kept[user:subject],
		Scopes:      strings.Fields(kept[subject:]),
		Expiry:      time.Unix(e.end, 0),
		Token:       mcpauth.NewSecret(strings.Clone(token)),
		UserIDClaim: iss.UserIDClaim,
		Claims:      decodeClaims,
	})
	p.latest.put(e)
	return e, nil
}

func (s *scratch) decodePayload(t jws.Token) ([]byte, error) {
	payload, err := t.Payload(s.payload)
	if err == nil {
		s.payload = payload[:cap(payload)]
	}
	return payload, err
}

// checkType refuses tokens that are not access tokens by their header (RFC
// 8725, section 3.11; RFC 9068, section 2.1).
func (iss *issuer) checkType(h jws.Header) error {
	if h.Type == nil {
		if iss.RequireType {
			return malformed(errNoType)
		}
		return nil
	}
	for _, typ := range []string{"JWT", "at+jwt", "application/at+jwt"} {
		if len(h.Type) == len(typ) && strings.EqualFold(string(h.Type), typ) {
			return nil
		}
	}
	return malformed(fmt.Errorf(`"typ" %.64q is not that of an access token`, h.Type))
}

// judge compares claims with what iss says and notes in e from when to when
// they hold.
func (iss *issuer) judge(c *claims, e *entry, now instant) error {
	switch {
	case c.issuer == nil:
		return missing("iss")
	case string(c.issuer) != iss.Name:
		return wrongIssuer(c.issuer)
	case c.typ != nil && string(c.typ) != "Bearer":
		return malformed(fmt.Errorf(`the claim "typ" %.64q is not that of an access token`, c.typ))
	case c.tokenUse != nil && string(c.tokenUse) != "access":
		return malformed(fmt.Errorf(`"token_use" %.64q is not that of an access token`, c.tokenUse))
	case c.bound && !iss.AllowBoundTokens:
		return malformed(errBound)
	case !c.expiry.set && !iss.AllowMissingExpiry:
		return missing("exp")
	case !c.issuedAt.set && iss.MaxLifetime > 0:
		return missing("iat")
	}

	e.end = maxDate
	if c.expiry.set {
		e.end = c.expiry.seconds + int64(iss.ExpiryLeeway/time.Second)
	}
	if iss.MaxLifetime > 0 {
		e.end = min(e.end, c.issuedAt.seconds+int64(iss.MaxLifetime/time.Second))
	}
	if c.notBefore.set {
		e.notBefore = c.notBefore.seconds
	}
	if c.issuedAt.set {
		e.notBefore = max(e.notBefore, c.issuedAt.seconds)
	}
	e.notBefore -= int64(iss.ClockTolerance / time.Second)
	switch {
	case now.wall >= e.end:
		return errExpired
	case now.wall < e.notBefore:
		return errNotYetValid
	case !c.hasAudience && !iss.AnyAudience:
		return missing(iss.AudienceClaim)
	case !c.audienceFits && !iss.AnyAudience:
		return refuse(mcpauth.ErrWrongAudience, "the token is meant for another audience. Please request a token for this server",
			fmt.Errorf("audience %.200q is none of %q", c.firstAudience, iss.Audience))
	}
	return nil
}

// unknownKey refuses a token whose key iss does not have. The payload is not
// to be trusted, but a token which says that it is another issuer's, or out
// of date, is better refused with that.
func (p *Provider) unknownKey(iss *issuer, h jws.Header, t jws.Token, s *scratch) error {
	unknown := refuse(mcpauth.ErrUnknownKey, "unknown signing key",
		fmt.Errorf("issuer %q has no %s key with kid %.64q", iss.Name, h.Algorithm, h.KeyID))
	payload, err := s.decodePayload(t)
	if err != nil {
		return unknown
	}
	c, err := readClaims(payload, iss)
	if err != nil {
		return malformed(err)
	}
	if err := iss.judge(&c, &entry{}, p.now()); err != nil {
		return err
	}
	return unknown
}

const failed = "JWT verification failed: "

func refuse(code mcpauth.Code, reason string, cause error) error {
	return &mcpauth.Error{Code: code, Message: failed + reason, Cause: cause}
}

func malformed(cause error) error { return refuse(mcpauth.ErrMalformedToken, "malformed token", cause) }

func missing(claim string) error {
	return &mcpauth.Error{Code: mcpauth.ErrMissingClaim, Message: "JWT missing required " + claim + " claim"}
}

func wrongIssuer(name []byte) error {
	return refuse(mcpauth.ErrWrongIssuer, "wrong issuer", fmt.Errorf("issuer %.200q is not configured", name))
}

var (
	errClosed       = &mcpauth.Error{Code: mcpauth.ErrUnavailable, Message: "The server is shutting down."}
	errNoToken      = &mcpauth.Error{Code: mcpauth.ErrMissingCredential, Message: "No token provided"}
	errExpired      = &mcpauth.Error{Code: mcpauth.ErrExpired, Message: "JWT token has expired. Please refresh your token."}
	errNotYetValid  = refuse(mcpauth.ErrNotYetValid, "the token is not valid yet", nil)
	errBadSignature = refuse(mcpauth.ErrBadSignature, "invalid signature", nil)
	// errKeysChanged is what a new result gets when the keys change under it.
	errKeysChanged = &mcpauth.Error{Code: mcpauth.ErrUnavailable, Message: "The server has just changed its keys. Please try again."}

	errNoType = fmt.Errorf(`no "typ" in the header`)
	errBound  = fmt.Errorf(`"cnf": the token is bound to a key of the client's, whose proof is not supported`)
)
