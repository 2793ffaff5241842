package platform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/credential"
	"github.com/mcpauth-go/mcpauth/internal/check"
	"github.com/mcpauth-go/mcpauth/internal/outbound"
	"github.com/mcpauth-go/mcpauth/internal/tokenfile"
)

// maxAnswer bounds what the platform says.
const maxAnswer = 64 << 10

// Source is a credential.Source that asks a platform. It is safe for concurrent
// use.
type Source struct {
	config Config
	base   string
	client *outbound.Client
}

// New returns a Source for c. The error is a *mcpauth.ConfigError with all faults.
// It asks nobody anything, and warns of what is given up by sending users' tokens
// on, or by doing without them.
func New(c Config) (*Source, error) {
	c = c.withDefaults()
	faults := c.faults()
	client := outbound.ClientConfig{
		Timeout: c.Timeout, MaxBody: maxAnswer, PrivateHosts: c.PrivateHosts, PlainHTTPHosts: c.PlainHTTPHosts, Resolver: c.resolver,
	}
	if c.CAFile != "" {
		roots, err := outbound.Roots(c.CAFile)
		if err != nil {
			faults = append(faults, mcpauth.Fault{Field: "CAFile", Problem: err.Error(), Expected: "a file with certificates in PEM"})
		}
		client.Roots = roots
	}
	if len(faults) > 0 {
		return nil, &mcpauth.ConfigError{Package: "platform", Faults: faults}
	}
	if c.TenantManager {
		c.Logger.Warn("credentials are asked for with a token of this server: the platform cannot tell whether their users have asked",
			"platform", outbound.Shown(c.BaseURL))
	} else {
		c.Logger.Warn("users' tokens are forwarded to the platform, against the MCP specification; token exchange (RFC 8693) does without",
			"platform", outbound.Shown(c.BaseURL), "audience", c.Audience, "same_trust_domain", c.SameTrustDomain)
	}
	return &Source{config: c, base: c.BaseURL + "/api/credentials/", client: outbound.NewClient(client)}, nil
}

// ForwardsToken implements mcpauth.Forwarding.
func (s *Source) ForwardsToken() bool { return !s.config.TenantManager }

// String returns where the platform is.
func (s *Source) String() string { return "platform at " + outbound.Shown(s.config.BaseURL) }

// Close closes connections that are not in use.
func (s *Source) Close() error {
	s.client.Close()
	return nil
}

// Error is what has become of a question to the platform, if not an answer. It
// quotes nothing of either.
type Error struct {
	Status  int    // of the platform's answer, 0 for none
	Problem string // what is wrong with it
	Cause   error  // of the network, or nil
}

func (e *Error) Error() string {
	text := "platform: "
	if e.Status != 0 {
		text += fmt.Sprintf("answered %d", e.Status)
		if e.Problem != "" {
			text += ": "
		}
	}
	text += e.Problem
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Fetch asks for the user's credential.
//
//	200                      the credential
//	404                      nil: not connected
//	401, 403                 credential.Refused
//	429                      credential.RateLimited, by Retry-After
//	408, 5xx, no answer      credential.Transient, by Retry-After
//	anything else            an *Error, which all of these are too
//
// A token that is not for the platform is not sent: that is ErrForbidden, since no
// other try would change it.
func (s *Source) Fetch(ctx context.Context, id *mcpauth.Identity, resourceType string) (*mcpauth.Credential, error) {
	r, err := s.request(ctx, id, resourceType)
	if err != nil {
		return nil, err
	}
	began := time.Now().Round(0) // the answer's time may count from here at the earliest
	answer, err := s.client.Do(r)
	if err != nil {
		return nil, s.noAnswer(err)
	}
	switch code := answer.Status; {
	case code == http.StatusOK:
		found, err := parse(answer.Body)
		if err != nil {
			return nil, &Error{Status: code, Problem: "an answer that cannot be read", Cause: err}
		}
		if !found.belongsTo(id) {
			return nil, &Error{Status: code, Problem: "the credential is said to be another user's"}
		}
		c := &mcpauth.Credential{Token: found.accessToken}
		if found.expiresIn > 0 {
			c.Expiry = began.Add(found.expiresIn)
		}
		return c, nil
	case code == http.StatusNotFound:
		return nil, nil
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return nil, credential.Refused(&Error{Status: code})
	case code == http.StatusTooManyRequests:
		return nil, credential.RateLimited(&Error{Status: code}, answer.RetryAfter())
	case code == http.StatusRequestTimeout, code >= 500:
		return nil, credential.Transient(&Error{Status: code}, answer.RetryAfter())
	default:
		return nil, &Error{Status: code}
	}
}

// request makes what is sent.
func (s *Source) request(ctx context.Context, id *mcpauth.Identity, resourceType string) (*http.Request, error) {
	segments := []string{resourceType}
	var token string
	var err error
	if s.config.TenantManager {
		if id.Issuer() != s.config.Issuer {
			return nil, forbidden("a user of issuer %q, whose ids the platform does not know", id.Issuer())
		}
		if id.Tenant() != s.config.Tenant {
			return nil, forbidden("a user of tenant %q, whose ids the platform does not know", id.Tenant())
		}
		segments = []string{id.UserID(), resourceType}
		token, err = s.serviceToken()
	} else {
		token, err = s.forwarded(id)
	}
	if err != nil {
		return nil, err
	}
	path, err := escape(segments)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+path, nil)
	if err != nil {
		return nil, &Error{Problem: "its URL cannot be made"}
	}
	for name, value := range s.config.Headers {
		r.Header.Set(name, value.Reveal())
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept", "application/json")
	if !s.config.TenantManager {
		// A header loses white space around its value, and the user would become
		// another.
		user := id.UserID()
		if strings.TrimSpace(user) != user || strings.ContainsFunc(user, unicode.IsControl) {
			return nil, forbidden("a user id that cannot be sent in a header")
		}
		r.Header.Set("X-User-ID", user)
	}
	return r, nil
}

// escape makes a path of segments, of which none can become two, or none.
func escape(segments []string) (string, error) {
	for i, segment := range segments {
		// The escapes keep slashes in. A server that undoes them too early must
		// not find a way up.
		if segment == "" || hasDots(segment) || strings.ContainsFunc(segment, unicode.IsControl) {
			return "", forbidden("a user id or resource type that cannot be in a path")
		}
		segments[i] = url.PathEscape(segment)
	}
	return strings.Join(segments, "/"), nil
}

// hasDots reports whether a path has "." or ".." as a segment.
func hasDots(path string) bool {
	for segment := range strings.FieldsFuncSeq(path, func(c rune) bool { return c == '/' || c == '\\' }) {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// forwarded returns the user's token if it may be sent to the platform.
func (s *Source) forwarded(id *mcpauth.Identity) (string, error) {
	token := id.Token().Reveal()
	if !check.Visible(token) {
		return "", forbidden("a user without a token that could be forwarded")
	}
	if !s.config.SameTrustDomain && !isFor(id, s.config.Audience) {
		return "", forbidden("a token whose audience does not include the platform, %q", s.config.Audience)
	}
	return token, nil
}

// isFor reports whether the token's "aud", one string or several (RFC 7519,
// section 4.1.3), has the audience.
func isFor(id *mcpauth.Identity, audience string) bool {
	var claim json.RawMessage
	if ok, err := id.Claim("aud", &claim); !ok || err != nil {
		return false
	}
	var one string
	if json.Unmarshal(claim, &one) == nil {
		return one == audience
	}
	var several []string
	if json.Unmarshal(claim, &several) != nil {
		return false
	}
	return slices.Contains(several, audience)
}

// forbidden refuses what another try would not change.
func forbidden(format string, args ...any) error {
	return &mcpauth.Error{Code: mcpauth.ErrForbidden, Message: "Your credential cannot be looked up with this token.",
		Cause: &Error{Problem: "not asked for " + fmt.Sprintf(format, args...)}}
}

func (s *Source) serviceToken() (string, error) {
	if s.config.ServiceTokenFile == "" {
		return s.config.ServiceToken.Reveal(), nil
	}
	token, err := tokenfile.Read(s.config.ServiceTokenFile)
	if err != nil {
		return "", &Error{Problem: "its service token", Cause: err}
	}
	if !check.Visible(token.Reveal()) {
		return "", &Error{Problem: "its service token: the file has something else in it"}
	}
	return token.Reveal(), nil
}

// noAnswer says what an error of the request means. The path is left out of it: it
// may have the user's id.
func (s *Source) noAnswer(err error) error {
	cause := err
	if inner := errors.Unwrap(err); inner != nil {
		cause = inner
	}
	e := &Error{Problem: outbound.Shown(s.config.BaseURL), Cause: cause}
	switch {
	case errors.Is(err, outbound.ErrRedirect), errors.Is(err, outbound.ErrTooLarge), errors.Is(err, outbound.ErrNotPublic), errors.Is(err, outbound.ErrPlainHTTP):
		return e
	}
	return credential.Transient(e, 0)
}
