package exchange

import (
	"context"
	"fmt"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/tokenfile"
)

// TokenSource returns a token that this server has of its own. It is called for
// each exchange, concurrently, and ends when ctx does. Its error quotes no token.
type TokenSource func(ctx context.Context) (mcpauth.Secret, error)

// FixedToken is always the same token.
func FixedToken(token mcpauth.Secret) TokenSource {
	return func(context.Context) (mcpauth.Secret, error) { return token, nil }
}

// TokenFile is what a file has at the time, without a line break at its end: such
// as the token that Kubernetes gives to a service account, and replaces.
func TokenFile(path string) TokenSource {
	return func(context.Context) (mcpauth.Secret, error) {
		token, err := tokenfile.Read(path)
		if err != nil {
			return mcpauth.Secret{}, fmt.Errorf("the file of the token: %w", err)
		}
		return token, nil
	}
}
