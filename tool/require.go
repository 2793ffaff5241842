package tool

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mcpauth-go/mcpauth"
)

// RequireScopes refuses a user who lacks one of scopes, with an
// [*mcpauth.Error] of [mcpauth.ErrInsufficientScope] that names the missing
// ones. It panics when one is not a scope (RFC 6749, section 3.3), such as two
// in one string, which nobody would ever have.
//
// Over HTTP, rules of the gateway's policy are better: they answer 403 with a
// challenge (RFC 6750, section 3.1), at which a client asks its user for the
// missing scopes. A tool can do no more than tell the model. RequireScopes is
// for servers that are also served in other ways, and for a second line of
// defence. It knows no mcpauth.Hierarchy.
func RequireScopes(scopes ...string) Step {
	for _, s := range scopes {
		if !mcpauth.ValidScope(s) {
			panic(fmt.Sprintf("tool: RequireScopes: %q is not a scope", s))
		}
	}
	scopes = slices.Clone(scopes)
	return func(ctx context.Context, call *Call, next func(context.Context) error) error {
		var missing []string
		for _, s := range scopes {
			if !call.Identity.HasScopes(s) {
				missing = append(missing, s)
			}
		}
		if missing != nil {
			return &mcpauth.Error{Code: mcpauth.ErrInsufficientScope, Scopes: scopes,
				Message: "The token lacks scopes that this tool needs: " + strings.Join(missing, " ") + "."}
		}
		return next(ctx)
	}
}

// RequireCredential refuses a user who has no credential, with message, which
// should say how to get one; a handler behind it has a Call.Credential that is
// not nil.
func RequireCredential(message string) Step {
	refused := refusal(cmp.Or(message, "This tool needs an account that you have not connected yet."))
	return func(ctx context.Context, call *Call, next func(context.Context) error) error {
		if call.Credential == nil || call.Credential.Token.IsZero() {
			return refused
		}
		return next(ctx)
	}
}

// refusal is an error that Log tells from a failure.
type refusal string

func (r refusal) Error() string { return string(r) }
