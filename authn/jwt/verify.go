package jwt

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/claim"
	"github.com/mcpauth-go/mcpauth/internal/clock"
	"github.com/mcpauth-go/mcpauth/internal/jwk"
	"github.com/mcpauth-go/mcpauth/internal/jws"
	"github.com/mcpauth-go/mcpauth/internal/recall"
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

// Verify returns the identity that token proves, or an *mcpauth.Error. It waits
// for one thing only: when the token is signed with a key that an issuer whose
// keys are fetched does not have yet, for its keys to be fetched anew, until
// ctx ends and for Fetch.Timeout at most.
func (p *Provider) Verify(ctx context.Context, token string) (*mcpauth.Identity, error) {
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
	if p.accepted != nil {
		now := p.now()
		if e, ok := p.accepted.get(token, now); ok {
			if id, err := admit(e, nil, now); err != errKeysChanged {
				return id, err
			}
		}
		if p.refused != nil {
			if err, ok := p.refused.Get(token, p.generation.Load(), now); ok {
				return nil, err
			}
		}
	}
	id, err := p.verifyNow(token)
	if lacks, ok := err.(*lacking); ok {
		return p.awaitKey(ctx, token, lacks)
	}
	return id, err
}

// verifyNow verifies a token with the keys that there are.
func (p *Provider) verifyNow(token string) (*mcpauth.Identity, error) {
	if p.accepted != nil {
		e, err := p.verifyOnce(token)
		if id, err := admit(e, err, p.now()); err != errKeysChanged {
			return id, err
		}
	}
	return p.verifyAnew(token)
}

// verifyAnew verifies a token, and does so again if the keys change meanwhile.
func (p *Provider) verifyAnew(token string) (*mcpauth.Identity, error) {
	for {
		now := p.now()
		e, err := p.verify(token, now)
		if id, err := admit(e, err, now); err != errKeysChanged {
			return id, err
		}
	}
}

// verifyOnce verifies a new token once for many requests that bring it at the
// same time, and keeps the result.
func (p *Provider) verifyOnce(token string) (*entry, error) {
	// Tokens differ in their ends, and a short key is cheap to hash. Two that
	// do not may share a flight, but never its outcome.
	result, _, _ := p.flight.Do(token[max(0, len(token)-64):], func() (any, error) {
		generation := p.generation.Load()
		now := p.now()
		// Another flight may have landed since the look into the cache.
		if e, ok := p.accepted.get(token, now); ok && e.check(now) == nil {
			return &outcome{token, e, nil}, nil
		}
		e, err := p.verify(token, now)
		if err == nil {
			p.accepted.put(e, now)
			if p.closed.Load() {
				p.clear()
			}
		} else if p.refused != nil && lasting(err) {
			p.refused.Put(token, err, generation, now, recall.RefusalTTL)
		}
		return &outcome{token, e, err}, nil
	})
	if o := result.(*outcome); o.token == token {
		return o.entry, o.err
	}
	return p.verify(token, p.now())
}

// outcome is what a flight brings, with the token that it is of.
type outcome struct {
	token string
	entry *entry
	err   error
}

// admit turns an entry into an answer for this moment.
func admit(e *entry, err error, now clock.Instant) (*mcpauth.Identity, error) {
	if err == nil {
		err = e.check(now)
	}
	if err != nil {
		return nil, err
	}
	return e.identity, nil
}

// entry is a verified token: the identity that it proves, and all that
// decides whether it still does. There is one for each live token, so its
// size counts: 48 bytes, a size class of the allocator. It is the identity's
// mcpauth.Verification.
type entry struct {
	identity  *mcpauth.Identity
	keys      atomic.Pointer[keys] // the state of the issuer's keys that verified it last
	notBefore int64                // the first second at which it is good
	end       int64                // the first second at which it no longer is
	until     time.Duration        // how long it is answered from the cache, on the monotonic clock
	size      uint32               // bytes of the token and of extraordinary strings
	epoch     atomic.Uint32        // of the revocations, when it was last found not to be among them; 0: never
}

// check is the one judgement of whether a verified token is good now. It is
// made of new results and of cached ones alike.
func (e *entry) check(now clock.Instant) error {
	switch {
	case !e.keys.Load().current():
		return errKeysChanged
	case now.Unix() >= e.end:
		return expired(e.end, now)
	case now.Unix() < e.notBefore:
		return errNotYetValid
	case e.revoked():
		return errRevoked(e.identity)
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
func (p *Provider) verify(token string, now clock.Instant) (*entry, error) {
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
			return nil, wrongIssuer(name, p.names...)
		}
	}
	if err := iss.checkType(header); err != nil {
		return nil, err
	}

	// Signature.
	k := iss.keys.Load()
	if !k.set.Serves(header.Algorithm) && !iss.mayServe(header.Algorithm) {
		return nil, unsupported(iss, header.Algorithm)
	}
	good, named := false, header.KeyID == nil
	var last *jwk.Key
	tried := k.set.Candidates(header.Algorithm, header.KeyID, func(key *jwk.Key) bool {
		last = key
		good = parsed.Verify(key.Key, s.signature)
		named = named || key.ID != ""
		return good
	})
	// Keys without a name are tried whatever the token names, which does not
	// make its key a known one.
	if tried == 0 || !good && !named && iss.fetched != nil {
		return nil, unknownKey(iss, k, header, parsed, s, now)
	}
	if !good {
		return nil, refuse(mcpauth.ErrBadSignature, "invalid signature", &misfit{issuer: iss.Name, key: last, tried: tried})
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
	e := &entry{}
	e.keys.Store(k)
	if err := iss.judge(&c, e, now); err != nil {
		return nil, err
	}
	if owner, reserved := k.reserved[last.ID]; reserved && owner != string(c.issuer) {
		return nil, errReservedKey(c.issuer, last.ID, owner)
	}
	if len(c.userID) == 0 {
		return nil, noUser(iss, &c)
	}
	if !validID(c.userID) {
		return nil, malformed(fmt.Errorf("control characters in %q", iss.UserIDClaim))
	}
	if iss.TenantClaim != "" {
		if len(c.tenant) == 0 {
			return nil, missing(iss.TenantClaim)
		}
		if !validID(c.tenant) {
			return nil, malformed(fmt.Errorf("control characters in %q", iss.TenantClaim))
		}
	}
	scopeText, err := c.scopeText()
	if err != nil {
		return nil, malformed(err)
	}

	// The token is copied, since what it is a part of may be larger.
	scopes := iss.splitScopes(scopeText)
	s.kept = append(append(s.kept[:0], c.userID...), c.subject...)
	kept, user := string(s.kept), len(c.userID)
	issuerName := iss.Name
	if iss.tenants != nil {
		issuerName = string(c.issuer)
	}
	e.identity, err = mcpauth.NewIdentity(mcpauth.IdentityFields{
		Issuer:       issuerName,
		UserID:       kept[:user],
		Tenant:       string(c.tenant),
		Subject:      kept[user:],
		Scopes:       scopes.list,
		Expiry:       time.Unix(e.end, 0),
		Token:        mcpauth.NewSecret(strings.Clone(token)),
		Verification: e,
	})
	if err != nil {
		return nil, malformed(err)
	}
	e.size = uint32(len(token) + max(0, len(e.identity.Principal())+len(kept)+scopes.size()-ordinaryStrings))
	e.look(&c, parsed.SigningInput)
	// Without a check of the audience there is no forwarding either: the token
	// may be meant for anybody.
	if !iss.AnyAudience {
		p.latest.put(e)
		if p.closed.Load() {
			p.clear() // Close has cleared before this was put there
		}
	}
	return e, nil
}

// scopes is a granted set. The users of an issuer mostly have the same, which
// then is kept once for all of them.
type scopes struct {
	text string
	list []string
}

func (iss *issuer) splitScopes(text []byte) *scopes {
	if last := iss.scopes.Load(); last != nil && last.text == string(text) {
		return last
	}
	s := &scopes{text: string(text)}
	s.list = strings.FieldsFunc(s.text, func(r rune) bool { return r == ' ' })
	iss.scopes.Store(s)
	return s
}

func (s *scopes) size() int { return len(s.text) + len(s.list)*16 }

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
func (iss *issuer) judge(c *claims, e *entry, now clock.Instant) error {
	tenant, ours := iss.takes(c.issuer)
	switch {
	case c.issuer == nil:
		return missing("iss")
	case !ours:
		return wrongIssuer(c.issuer, iss.Name)
	case tenant != "" && len(c.tenant) > 0 && string(c.tenant) != tenant:
		return errOtherTenant(iss, c.issuer, c.tenant)
	case c.typ != nil && string(c.typ) != "Bearer":
		return malformed(fmt.Errorf(`the claim "typ" %.64q is not that of an access token`, c.typ))
	case c.tokenUse != nil && string(c.tokenUse) != "access":
		return malformed(fmt.Errorf(`"token_use" %.64q is not that of an access token`, c.tokenUse))
	case c.bound && !iss.AllowBoundTokens:
		return malformed(errBound)
	case !c.expiry.Set && !iss.AllowMissingExpiry:
		return missing("exp")
	case !c.issuedAt.Set && iss.MaxLifetime > 0:
		return missing("iat")
	}

	e.end = claim.MaxDate
	if c.expiry.Set {
		e.end = c.expiry.Seconds + int64(iss.ExpiryLeeway/time.Second)
	}
	if iss.MaxLifetime > 0 {
		e.end = min(e.end, c.issuedAt.Seconds+int64(iss.MaxLifetime/time.Second))
	}
	if c.notBefore.Set {
		e.notBefore = c.notBefore.Seconds
	}
	if c.issuedAt.Set {
		e.notBefore = max(e.notBefore, c.issuedAt.Seconds)
	}
	e.notBefore -= int64(iss.ClockTolerance / time.Second)
	switch {
	case now.Unix() >= e.end:
		return expired(e.end, now)
	case now.Unix() < e.notBefore:
		return errNotYetValid
	case !c.audience.Present && !iss.AnyAudience:
		return missing(iss.AudienceClaim)
	case !c.audience.Fits && !iss.AnyAudience:
		return refuse(mcpauth.ErrWrongAudience, "the token is meant for another audience. Please request a token for this server",
			fmt.Errorf("audience %.200q is none of %q", c.audience.First, iss.Audience))
	}
	return nil
}

// unknownKey refuses a token whose key k does not have. The payload is not to
// be trusted, but a token which says that it is another issuer's, out of date
// or for another audience is better refused with that: no key would help it,
// and none is fetched for it. Where one may be, the result is a *lacking.
func unknownKey(iss *issuer, k *keys, h jws.Header, t jws.Token, s *scratch, now clock.Instant) error {
	unknown := refuse(mcpauth.ErrUnknownKey, "unknown signing key",
		fmt.Errorf("issuer %q has no %s key with kid %.64q", iss.Name, h.Algorithm, h.KeyID))
	if !k.set.Serves(h.Algorithm) {
		unknown = unsupported(iss, h.Algorithm)
	}
	payload, err := s.decodePayload(t)
	if err != nil {
		return unknown
	}
	c, err := readClaims(payload, iss)
	if err != nil {
		return malformed(err)
	}
	if err := iss.judge(&c, &entry{}, now); err != nil {
		return err
	}
	if iss.fetched != nil {
		return iss.lack(k, c.issuedAt, unknown)
	}
	return unknown
}

func unsupported(iss *issuer, alg Algorithm) error {
	return refuse(mcpauth.ErrUnsupportedAlgorithm, "unsupported algorithm",
		fmt.Errorf("no key of issuer %q is for %s", iss.Name, alg))
}

const failed = "JWT verification failed: "

func refuse(code mcpauth.Code, reason string, cause error) error {
	return &mcpauth.Error{Code: code, Message: failed + reason, Cause: cause}
}

func malformed(cause error) error { return refuse(mcpauth.ErrMalformedToken, "malformed token", cause) }

func missing(claim string) *mcpauth.Error {
	return &mcpauth.Error{Code: mcpauth.ErrMissingClaim, Message: "JWT missing required " + claim + " claim"}
}

// noUser refuses a token without the user id claim, and helps with the usual
// reason: an issuer that names its users in "sub".
func noUser(iss *issuer, c *claims) error {
	err := missing(iss.UserIDClaim)
	if len(c.subject) > 0 {
		err.Cause = fmt.Errorf(`the token has "sub", while the issuer's UserIDClaim is %q`, iss.UserIDClaim)
	}
	return err
}

func expired(end int64, now clock.Instant) error {
	return &mcpauth.Error{Code: mcpauth.ErrExpired, Message: "JWT token has expired. Please refresh your token.", Cause: &past{end, now.Unix()}}
}

// past and misfit are causes that are put into words when somebody reads them:
// refusing what anybody can send has to stay cheap.
type past struct{ end, now int64 }

func (p *past) Error() string {
	return fmt.Sprintf("good until %s, %s ago", time.Unix(p.end, 0).UTC().Format(time.RFC3339), time.Duration(p.now-p.end)*time.Second)
}

type misfit struct {
	issuer string
	key    *jwk.Key // the last one tried
	tried  int
}

func (m *misfit) Error() string {
	text := fmt.Sprintf("issuer %q: tried for %s: %s", m.issuer, m.key.Algorithm(), m.key.Label)
	if m.tried > 1 {
		text += fmt.Sprintf(", after %d more", m.tried-1)
	}
	return text
}

func wrongIssuer(name []byte, known ...string) error {
	return refuse(mcpauth.ErrWrongIssuer, "wrong issuer", fmt.Errorf("issuer %.200q is none of %q", name, known))
}

var (
	errClosed      = &mcpauth.Error{Code: mcpauth.ErrUnavailable, Message: "The server is shutting down."}
	errNoToken     = &mcpauth.Error{Code: mcpauth.ErrMissingCredential, Message: "No token provided"}
	errNotYetValid = refuse(mcpauth.ErrNotYetValid, "the token is not valid yet", nil)

	// errKeysChanged asks for another verification. It never leaves here.
	errKeysChanged = errors.New("the issuer's keys have changed")

	errNoType = errors.New(`no "typ" in the header`)
	errBound  = errors.New(`"cnf": the token is bound to a key of the client's, whose proof is not supported`)
)
