// Package env takes the credential of one local user from the environment: for
// servers that a user starts on their own machine, as over standard input and
// output (see gateway.Stdio), with their own token for what the server works
// on.
//
//	GITHUB_ACCESS_TOKEN=… my-server
//
//	credential, err := env.Resolver{}.Resolve(ctx, id, "github")
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
)

// Resolver is a mcpauth.Resolver for a single user. The environment is read
// each time.
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

// Resolve returns what is in the variable of the resource type, or nil when it
// is empty or not set. What cannot be a token as it was meant, because of white
// space around it or control characters such as a line break in it, is an
// error, which does not quote it.
func (Resolver) Resolve(_ context.Context, _ *mcpauth.Identity, resourceType string) (*mcpauth.Credential, error) {
	name := Variable(resourceType)
	value := os.Getenv(name)
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

// SingleUser marks a resolver that does not tell users apart.
func (Resolver) SingleUser() {}
