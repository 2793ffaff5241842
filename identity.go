package mcpauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"
)

// Identity says who sent a request, as a provider verified it. It is
// immutable and safe for concurrent use: all that changes with time, such as
// whether the credential is still valid, stays with the provider.
type Identity struct {
	principal    string // issuer, NUL, user id; where there is a tenant, NUL and the tenant
	issuerLen    int32
	userEnd      int32
	subject      string
	scopes       []string
	expiry       time.Time
	token        Secret
	verification Verification // nil for none
}

// IdentityFields are what a provider knows of a user.
type IdentityFields struct {
	// Issuer and UserID identify the user. Both are required; neither may
	// hold a NUL byte.
	Issuer, UserID string
	// Tenant, where the issuer tells users apart within a tenant only, belongs
	// to what identifies the user. It may not hold a NUL byte either. Default
	// "": there are none.
	Tenant string
	// Subject is the raw "sub" where there is one; it may differ from UserID.
	Subject string
	// Scopes are those granted. The identity keeps the slice.
	Scopes []string
	// Expiry is when the credential is no longer taken, leeway included; the
	// zero time means never.
	Expiry time.Time
	// Token is the verified credential itself, for the resolvers that
	// forward it.
	Token Secret
	// Verification answers for the credential after it has been verified. It may
	// be nil, for credentials of which no more is known than these fields.
	Verification Verification
}

// NewIdentity returns the identity of a verified user. It is for providers. It
// fails when Issuer or UserID is empty or has a NUL byte, or when Tenant has
// one, since users could then not be told apart, and when the three are longer
// than a mebibyte, which is no name.
func NewIdentity(f IdentityFields) (*Identity, error) {
	if f.Issuer == "" || f.UserID == "" || strings.IndexByte(f.Issuer, 0) >= 0 || strings.IndexByte(f.UserID, 0) >= 0 {
		return nil, errNoUser
	}
	if len(f.Issuer)+len(f.UserID)+len(f.Tenant) > maxNames {
		return nil, errLongNames
	}
	principal, subject := f.Issuer+"\x00"+f.UserID, f.Subject
	userEnd := len(principal)
	if f.Tenant != "" {
		if strings.IndexByte(f.Tenant, 0) >= 0 {
			return nil, errTenant
		}
		principal = f.Issuer + "\x00" + f.UserID + "\x00" + f.Tenant
	}
	if subject == f.UserID {
		subject = principal[len(f.Issuer)+1 : userEnd] // one string less to keep
	}
	return &Identity{
		principal:    principal,
		issuerLen:    int32(len(f.Issuer)),
		userEnd:      int32(userEnd),
		subject:      subject,
		scopes:       f.Scopes,
		expiry:       f.Expiry,
		token:        f.Token,
		verification: f.Verification,
	}, nil
}

// maxNames bounds issuer, user id and tenant together, in bytes.
const maxNames = 1 << 20

var (
	errNoUser    = errors.New("mcpauth: an identity needs an issuer and a user id, without NUL bytes")
	errTenant    = errors.New("mcpauth: the tenant of an identity has a NUL byte")
	errLongNames = fmt.Errorf("mcpauth: issuer, user id and tenant of an identity have more than %d bytes", maxNames)
)

// Issuer returns who vouches for the user: a token's "iss", or the name of
// another kind of provider.
func (id *Identity) Issuer() string { return id.principal[:id.issuerLen] }

// UserID returns the user's id at the issuer. Two issuers may use the same
// id for two people, as may two tenants of one issuer; see
// [Identity.Principal].
func (id *Identity) UserID() string { return id.principal[min(id.issuerLen+1, id.userEnd):id.userEnd] }

// Tenant returns the tenant of the issuer that the user belongs to, or "" where
// users are not told apart by it.
func (id *Identity) Tenant() string {
	if int(id.userEnd) == len(id.principal) {
		return ""
	}
	return id.principal[id.userEnd+1:]
}

// Principal returns issuer, NUL and user id, and NUL and the tenant where there
// is one, as one string: the key under which everything that belongs to a user
// is kept.
func (id *Identity) Principal() string { return id.principal }

// Subject returns the token's "sub", or "".
func (id *Identity) Subject() string { return id.subject }

// Scopes returns a copy of the granted scopes, in the token's order.
func (id *Identity) Scopes() []string { return slices.Clone(id.scopes) }

// HasScopes reports whether every one of scopes is granted.
func (id *Identity) HasScopes(scopes ...string) bool {
	for _, s := range scopes {
		if !slices.Contains(id.scopes, s) {
			return false
		}
	}
	return true
}

// Expiry returns when the credential is no longer taken, leeway included; the
// zero time means never.
func (id *Identity) Expiry() time.Time { return id.expiry }

// Token returns the verified credential.
func (id *Identity) Token() Secret { return id.token }

// Claim decodes the named claim into v, as encoding/json does, and reports
// whether the claim is there.
func (id *Identity) Claim(name string, v any) (bool, error) {
	raw, ok := id.decode()[name]
	if !ok {
		return false, nil
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return true, fmt.Errorf("mcpauth: claim %q is not what was asked for: %w", name, err)
	}
	return true, nil
}

// Metadata returns the claims other than iss, aud, exp, iat and the one that
// holds the user id. Values are undecoded JSON, so that numbers stay as the
// issuer wrote them. The map is the caller's own.
func (id *Identity) Metadata() map[string]json.RawMessage {
	metadata := maps.Clone(id.decode())
	for _, name := range []string{"iss", "aud", "exp", "iat"} {
		delete(metadata, name)
	}
	if id.verification != nil {
		delete(metadata, id.verification.UserIDClaim())
	}
	return metadata
}

func (id *Identity) decode() map[string]json.RawMessage {
	if id.verification == nil {
		return map[string]json.RawMessage{}
	}
	return id.verification.Claims(id)
}

// Standing returns nil as long as the verified credential still stands, and else
// why it does not: see [Verification]. It answers from memory. Expiry is not
// part of it.
func (id *Identity) Standing() error {
	if id.verification == nil {
		return nil
	}
	return id.verification.Standing(id)
}

// Revocable returns what a revocation of the credential may name. It is worked
// out at each call, which for some providers means to decode the credential.
// The tenant is not part of it: the revocation of a user holds in all tenants
// that have a user of that id.
func (id *Identity) Revocable() Revocable {
	var r Revocable
	if id.verification != nil {
		r = id.verification.Revocable(id)
	}
	r.Issuer, r.UserID = id.Issuer(), id.UserID()
	return r
}

// Format implements [fmt.Formatter]: issuer and user id, and the tenant where
// there is one, nothing else, whatever the verb.
func (id *Identity) Format(f fmt.State, _ rune) {
	if tenant := id.Tenant(); tenant != "" {
		fmt.Fprintf(f, "%q of tenant %q of %q", id.UserID(), tenant, id.Issuer())
		return
	}
	fmt.Fprintf(f, "%q of %q", id.UserID(), id.Issuer())
}

// LogValue implements [slog.LogValuer]: issuer and user id, and the tenant
// where there is one.
func (id *Identity) LogValue() slog.Value {
	issuer, user := slog.String("issuer", id.Issuer()), slog.String("user", id.UserID())
	if tenant := id.Tenant(); tenant != "" {
		return slog.GroupValue(issuer, slog.String("tenant", tenant), user)
	}
	return slog.GroupValue(issuer, user)
}

type identityKey struct{}

// NewContext returns ctx with id, for FromContext.
func NewContext(ctx context.Context, id *Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, id)
}

// FromContext returns the identity of the request that ctx belongs to, or nil
// when no provider has verified one.
func FromContext(ctx context.Context) *Identity {
	id, _ := ctx.Value(identityKey{}).(*Identity)
	return id
}
