package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"sync/atomic"

	"github.com/mcpauth-go/mcpauth"
)

const (
	minToken = 16
	maxToken = 4096
)

// operator is the provider of those who know the token. The file is read for
// each request: there are few of them, and a token that has been replaced must
// be good for nothing at once.
type operator struct {
	file     string
	logger   *slog.Logger
	last     atomic.Pointer[mcpauth.Secret] // good
	identity *mcpauth.Identity
}

func newOperator(file string, logger *slog.Logger) (*operator, error) {
	token, err := readToken(file)
	if err != nil {
		return nil, err
	}
	id, err := mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: "administration", UserID: "operator"})
	if err != nil {
		return nil, err
	}
	o := &operator{file: file, logger: logger, identity: id}
	o.last.Store(&token)
	return o, nil
}

// Authenticate implements mcpauth.Provider.
func (o *operator) Authenticate(ctx context.Context, r *mcpauth.Request) (*mcpauth.Identity, error) {
	text, err := mcpauth.BearerToken(r.Header)
	if err != nil {
		return nil, err
	}
	token, err := readToken(o.file)
	if err != nil {
		o.logger.LogAttrs(ctx, slog.LevelError, "administration token not read, the last one stays", slog.Any("error", err))
		token = *o.last.Load()
	} else {
		o.last.Store(&token)
	}
	if !token.Equal(mcpauth.NewSecret(text)) {
		return nil, errWrongToken
	}
	return o.identity, nil
}

var errWrongToken = &mcpauth.Error{Code: mcpauth.ErrBadSignature, Message: "This is not the administration token."}

// readToken returns the token in file. An error never quotes it.
func readToken(file string) (mcpauth.Secret, error) {
	// Before it is opened: opening a pipe would wait for a writer.
	if info, err := os.Stat(file); err != nil {
		return mcpauth.Secret{}, err
	} else if !info.Mode().IsRegular() {
		return mcpauth.Secret{}, errors.New("not a regular file")
	}
	f, err := os.Open(file)
	if err != nil {
		return mcpauth.Secret{}, err
	}
	defer f.Close()
	info, err := f.Stat() // of what is open, whatever the path says by now
	if err != nil {
		return mcpauth.Secret{}, err
	}
	// Windows has no such mode.
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o007 != 0 {
		return mcpauth.Secret{}, fmt.Errorf("the file is open to all users (mode %04o)", mode)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxToken+3))
	if err != nil {
		return mcpauth.Secret{}, err
	}
	if line, ended := bytes.CutSuffix(text, []byte("\n")); ended {
		text = bytes.TrimSuffix(line, []byte("\r"))
	}
	if len(text) < minToken || len(text) > maxToken {
		return mcpauth.Secret{}, fmt.Errorf("the token has %s bytes", size(len(text)))
	}
	for _, c := range text {
		if c <= ' ' || c > '~' || c == ',' {
			return mcpauth.Secret{}, errors.New("the token has characters that cannot be sent in a header")
		}
	}
	return mcpauth.NewSecret(string(text)), nil
}

func size(n int) string {
	if n > maxToken {
		return fmt.Sprintf("more than %d", maxToken)
	}
	return fmt.Sprint(n)
}
