// Package claims takes a user's credentials from their token: from an issuer that
// puts them there, by type of resource.
//
//	{"sub": "alice", "tokens": {"github": "gho_…"}, …}
//
//	credential.New(credential.Config{Source: claims.Source{}})
//
// Whoever sees such a token has the credentials too, and they last as long as
// they last, whatever the token's end; so it must not be forwarded, and an issuer
// that can do otherwise had better. It asks nobody, and so never fails for want of
// one.
package claims

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/strictjson"
)

// Source is a credential.Source. The zero Source reads the claim "tokens".
type Source struct {
	// Claim is the claim that has the credentials: an object of strings, by type
	// of resource. Default "tokens".
	Claim string
}

// Fetch returns what the user's token has for the type of resource, or nil if it
// has nothing, or null, or an empty string. A claim of another form is an error,
// which does not quote it.
func (s Source) Fetch(_ context.Context, id *mcpauth.Identity, resourceType string) (*mcpauth.Credential, error) {
	name := cmp.Or(s.Claim, "tokens")
	var claim json.RawMessage
	if ok, err := id.Claim(name, &claim); !ok || err != nil || strictjson.IsNull(claim) {
		return nil, err
	}
	var found []byte
	err := strictjson.Object(claim, func(name, value []byte) error {
		if string(name) != resourceType || strictjson.IsNull(value) {
			return nil
		}
		var ok bool
		if found, ok = strictjson.String(value); !ok {
			return errors.New("what it has for the resource type is not a string")
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("claim %q: %w", name, err)
	}
	if len(found) == 0 {
		return nil, nil
	}
	return &mcpauth.Credential{Token: mcpauth.NewSecret(string(found))}, nil
}

// PerToken says that two tokens of a user may have different credentials, so that
// what one has is not answered for the other.
func (Source) PerToken() {}
