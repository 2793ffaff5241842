package mcpauth

import (
	"context"
	"time"
)

// Credential is what a server shows to a resource on a user's behalf, such as
// the user's access token for an API. It is immutable.
type Credential struct {
	// Token is the secret itself.
	Token Secret
	// Expiry is when it ends; the zero time means that this is not known.
	Expiry time.Time
	// OnRejected is how a resolver learns of Rejected. It may be nil.
	OnRejected func(*Credential)
}

// Rejected says that the resource does not take the credential (as with a 401),
// though it should: the resolver then looks for a newer one, for the next
// request. It returns at once, and may be called for nil and again.
func (c *Credential) Rejected() {
	if c != nil && c.OnRejected != nil {
		c.OnRejected(c)
	}
}

// Equal reports whether c and other are the same secret. Nil, which stands for
// no credential, equals nil only.
func (c *Credential) Equal(other *Credential) bool {
	if c == nil || other == nil {
		return c == other
	}
	return c == other || c.Token.Equal(other.Token)
}

// Resolver finds the credential of a user.
//
// Resolve returns id's credential for resources of this type, or nil if the
// user has none there. A failure is an *Error, or any error, which is then
// answered as ErrUnavailable; it never panics. It is called for every request,
// concurrently, so it is expected to answer from memory where it can, and
// bounds its own waiting.
type Resolver interface {
	Resolve(ctx context.Context, id *Identity, resourceType string) (*Credential, error)
}

type credentialKey struct{}

// WithCredential returns ctx with c, for CredentialFrom.
func WithCredential(ctx context.Context, c *Credential) context.Context {
	return context.WithValue(ctx, credentialKey{}, c)
}

// CredentialFrom returns the user's credential as of the request that ctx
// belongs to, or nil when the user has none or nobody has asked for it.
func CredentialFrom(ctx context.Context) *Credential {
	c, _ := ctx.Value(credentialKey{}).(*Credential)
	return c
}
