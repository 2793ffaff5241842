package exchange

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/mcpauth-go/mcpauth"
)

// TokenSource returns a token that this server has of its own. It is called for
// each exchange, concurrently, and ends when ctx does. Its error quotes no token.
type TokenSource func(ctx context.Context) (mcpauth.Secret, error)

// FixedToken is always the same token.
func FixedToken(token mcpauth.Secret) TokenSource {
	return func(context.Context) (mcpauth.Secret, error) { return token, nil }
}

// maxTokenFile is more than any token has, and less than what is no file of one.
const maxTokenFile = 64 << 10

// TokenFile is what a file has at the time, without a line break at its end: such
// as the token that Kubernetes gives to a service account, and replaces.
func TokenFile(path string) TokenSource {
	return func(context.Context) (mcpauth.Secret, error) {
		f, err := os.Open(path)
		var text []byte
		if err == nil {
			defer f.Close()
			text, err = io.ReadAll(io.LimitReader(f, maxTokenFile+1))
		}
		if p := (*fs.PathError)(nil); errors.As(err, &p) {
			err = p.Err // without the path, which may be the token by mistake
		}
		switch {
		case err != nil:
			return mcpauth.Secret{}, fmt.Errorf("the file of the token: %w", err)
		case len(text) > maxTokenFile:
			return mcpauth.Secret{}, fmt.Errorf("the file of the token is larger than %d bytes", maxTokenFile)
		}
		return mcpauth.NewSecret(strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")), nil
	}
}
