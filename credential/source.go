package credential

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/mcpauth-go/mcpauth"
)

// Source asks for a user's credential anew, every time.
//
// Fetch returns nil if the user has none there: their account is not connected.
// It ends when ctx does. It may be called concurrently. An error says what
// became of the question:
//
//   - Transient: the source cannot answer now. The same question is asked again
//     soon, so only for one that may be asked twice. RateLimited is the same where
//     it is this user who has asked too often.
//   - Refused: this user is not to have the credential. One that is cached ends.
//   - a *mcpauth.Error of another code than ErrUnavailable and ErrRateLimited:
//     the same, and the client is told what it says.
//   - any other: the question has failed, and is not asked again for this
//     request.
//
// Unless it is a *mcpauth.Error, the client is told no more than that it may try
// later. No error quotes a credential.
//
// A Source with a method Close belongs to the Resolver that it is given to, which
// closes it; one that is a mcpauth.Lifecycle is started, too. One that is a
// fmt.Stringer is called so in the log.
type Source interface {
	Fetch(ctx context.Context, id *mcpauth.Identity, resourceType string) (*mcpauth.Credential, error)
}

// Chain asks one source after the other, up to the first that has a credential.
// An error is final: an outage must not lead to another credential than the one
// that the user would have had.
func Chain(sources ...Source) Source { return chain(sources) }

type chain []Source

func (c chain) Fetch(ctx context.Context, id *mcpauth.Identity, resourceType string) (*mcpauth.Credential, error) {
	for _, s := range c {
		if found, err := s.Fetch(ctx, id, resourceType); found != nil || err != nil {
			return found, err
		}
	}
	return nil, nil
}

// ByResource has a source for each type of resource. To ask for another type is
// an error: nobody could ever connect an account for it.
func ByResource(sources map[string]Source) Source { return byResource(maps.Clone(sources)) }

type byResource map[string]Source

func (b byResource) Fetch(ctx context.Context, id *mcpauth.Identity, resourceType string) (*mcpauth.Credential, error) {
	s, ok := b[resourceType]
	if !ok {
		return nil, fmt.Errorf("no source for the resource type %.64q", resourceType)
	}
	return s.Fetch(ctx, id, resourceType)
}

// Transient marks err as one that may not come again: a network failure, an
// overloaded server. after is when the source wants to be asked again, or 0 if it
// does not say.
func Transient(err error, after time.Duration) error {
	return &transient{err, min(max(after, 0), maxAfter), false}
}

// RateLimited is Transient for a source that does answer, but not this user so
// often: status 429. However many users that befalls, the source is not left alone
// for it.
func RateLimited(err error, after time.Duration) error {
	return &transient{err, min(max(after, 0), maxAfter), true}
}

// maxAfter bounds how long another server can send our clients away.
const maxAfter = 5 * time.Minute

type transient struct {
	error
	after   time.Duration
	limited bool
}

func (t *transient) Unwrap() error { return t.error }

// Refused marks err as an answer about this user: they are not to have the
// credential, also not the one that they had.
func Refused(err error) error { return &refused{err} }

type refused struct{ error }

func (r *refused) Unwrap() error { return r.error }

// final reports whether err is an answer about the user, and no failure.
func final(err error) bool {
	if r := (*refused)(nil); errors.As(err, &r) {
		return true
	}
	e := (*mcpauth.Error)(nil)
	return errors.As(err, &e) && e != nil && e.Code != mcpauth.ErrUnavailable && e.Code != mcpauth.ErrRateLimited
}

// after returns when a transient failure wants the next question.
func after(err error) (wait time.Duration, is bool) {
	if t := (*transient)(nil); errors.As(err, &t) {
		return t.after, true
	}
	return 0, false
}

// limited reports whether err is a limit that the user has come to.
func limited(err error) bool {
	t := (*transient)(nil)
	return errors.As(err, &t) && t.limited
}

// maxToken bounds a credential. It travels in a header.
const maxToken = 16 << 10

// validate says what is wrong with a credential that a source has given.
func validate(c *mcpauth.Credential, now time.Time) error {
	if c == nil {
		return nil
	}
	token := c.Token.Reveal()
	switch {
	case token == "":
		return errors.New("the credential is empty")
	case len(token) > maxToken:
		return fmt.Errorf("the credential has %d bytes, more than %d", len(token), maxToken)
	case !c.Expiry.IsZero() && !c.Expiry.Round(0).After(now.Round(0)):
		return errors.New("the credential has expired already")
	}
	for i := range len(token) {
		// RFC 6749, appendix A.12, without the space: what is to be sent in a
		// header must not be able to end it.
		if token[i] <= ' ' || token[i] > '~' {
			return errors.New("the credential has white space, a control character or one beyond ASCII in it")
		}
	}
	return nil
}
