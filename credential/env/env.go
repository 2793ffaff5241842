// Package env takes the credential of one local user from the environment: for
// servers that a user starts on their own machine, as over standard input and
// output (see gateway.Stdio), with their own token for what the server works
// on.
//
//	GITHUB_ACCESS_TOKEN=… my-server
//
//	credential, err := env.Resolver{}.Resolve(ctx, id, "github")
//
// Or from a file that the environment names, which may change while the server
// runs:
//
//	GITHUB_ACCESS_TOKEN_FILE=/run/secrets/github my-server
//
// Whoever asks gets the same credential, whatever their identity: behind a
// gateway with several users, each would act in the name of the one whose token
// it is. So gateway.New refuses it.
package env

import (
	"context"
	"fmt"
	"os"
	"strings"
	"unicode"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/tokenfile"
)

// Resolver is a mcpauth.Resolver for a single user. The environment, and the file
// that it names, is read each time.
type Resolver struct{}

// Variable returns the name of the environment variable for a resource type: in
// upper case, with "_" for each character that is no letter or digit, and
// "_ACCESS_TOKEN" behind; GOOGLE_DRIVE_ACCESS_TOKEN for "google-drive".
func Variable(resourceType string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z':
			return c - 'a' + 'A'
		case 'A' <= c && c <= 'Z' || '0' <= c && c <= '9':
			return c
		}
		return '_'
	}, resourceType) + "_ACCESS_TOKEN"
}

// FileVariable returns the name of the environment variable for the path of a file
// with the token: Variable with "_FILE" behind.
func FileVariable(resourceType string) string { return Variable(resourceType) + "_FILE" }

// Resolve returns what is in the variable of the resource type, or in the file that
// its FileVariable names, less one line break at the end; or nil when neither is
// set, or what is set is empty. Both are an error. What cannot be a token as it was
// meant, because of white space around it or control characters such as a line
// break in it, is an error, which does not quote it; and so is a file that is not
// there: whoever names one means it.
func (Resolver) Resolve(_ context.Context, _ *mcpauth.Identity, resourceType string) (*mcpauth.Credential, error) {
	name := Variable(resourceType)
	value, path := os.Getenv(name), os.Getenv(FileVariable(resourceType))
	if path != "" {
		if value != "" {
			return nil, fmt.Errorf("env: both %s and %s_FILE are set", name, name)
		}
		token, err := tokenfile.Read(path)
		if err != nil {
			return nil, fmt.Errorf("env: %s_FILE: %w", name, err)
		}
		value = token.Reveal()
		name = "the file of " + name + "_FILE"
	}
	switch {
	case value == "":
		return nil, nil
	case strings.TrimSpace(value) != value:
		return nil, fmt.Errorf("env: %s has white space before or after the token", name)
	case strings.ContainsFunc(value, unicode.IsControl):
		return nil, fmt.Errorf("env: %s has a line break or another control character in the token", name)
	}
	return &mcpauth.Credential{Token: mcpauth.NewSecret(value)}, nil
}

// SingleUser implements mcpauth.SingleUser: it does not tell users apart.
func (Resolver) SingleUser() {}
