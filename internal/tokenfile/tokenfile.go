// Package tokenfile reads files that hold one token, such as those that
// Kubernetes mounts and replaces.
package tokenfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/mcpauth-go/mcpauth"
)

// maxSize is more than any token has, and less than what is no file of one.
const maxSize = 64 << 10

var errTooLarge = errors.New("the file is too large to be a token")

// Read returns what the file has, less one line break at its end, which editors put
// there. The error does not have the path, which may be the token by mistake.
func Read(path string) (mcpauth.Secret, error) {
	text, err := read(path)
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		err = p.Err
	}
	if err != nil {
		return mcpauth.Secret{}, err
	}
	return mcpauth.NewSecret(strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")), nil
}

func read(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err == nil && len(text) > maxSize {
		err = errTooLarge
	}
	return text, err
}
