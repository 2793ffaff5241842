package env_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/credential/env"
)

var _ mcpauth.Resolver = env.Resolver{}

func TestVariable(t *testing.T) {
	for resourceType, want := range map[string]string{
		"github":        "GITHUB_ACCESS_TOKEN",
		"google-drive":  "GOOGLE_DRIVE_ACCESS_TOKEN",
		"Jira.Cloud v2": "JIRA_CLOUD_V2_ACCESS_TOKEN",
		"s3=x\x00":      "S3_X__ACCESS_TOKEN",
		"straße ı":      "STRA_E___ACCESS_TOKEN",
	} {
		if got := env.Variable(resourceType); got != want {
			t.Errorf("of %q: %s, want %s", resourceType, got, want)
		}
	}
}

func TestResolve(t *testing.T) {
	const name = "GOOGLE_DRIVE_ACCESS_TOKEN"
	for _, test := range []struct {
		name, value string
		want        string // "" is nil
		problem     string
	}{
		{"a token", "gho_0123456789", "gho_0123456789", ""},
		{"a token with spaces in it", "a b", "a b", ""},
		{"empty", "", "", ""},
		{"a line break behind, as of a file", "canary\n", "", "env: GOOGLE_DRIVE_ACCESS_TOKEN has white space before or after the token"},
		{"a space before", " canary", "", "env: GOOGLE_DRIVE_ACCESS_TOKEN has white space before or after the token"},
		{"nothing but white space", "  ", "", "env: GOOGLE_DRIVE_ACCESS_TOKEN has white space before or after the token"},
		{"a no-break space behind", "canary\u00a0", "", "env: GOOGLE_DRIVE_ACCESS_TOKEN has white space before or after the token"},
		{"a line break within", "canary\r\nX-Injected: 1", "", "env: GOOGLE_DRIVE_ACCESS_TOKEN has a line break or another control character in the token"},
		{"an escape", "canary\x1b[2J", "", "env: GOOGLE_DRIVE_ACCESS_TOKEN has a line break or another control character in the token"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv(name, test.value)
			got, err := env.Resolver{}.Resolve(t.Context(), nil, "google-drive")
			if test.problem != "" {
				if err == nil || err.Error() != test.problem || strings.Contains(err.Error(), "canary") || got != nil {
					t.Errorf("%v, %v, want %s", got, err, test.problem)
				}
				return
			}
			if err != nil || (got == nil) != (test.want == "") || got != nil && got.Token.Reveal() != test.want {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	t.Run("not set", func(t *testing.T) {
		if got, err := (env.Resolver{}).Resolve(t.Context(), nil, "google-drive"); got != nil || err != nil {
			t.Errorf("%v, %v", got, err)
		}
	})
}

func TestResolveReadsAnew(t *testing.T) {
	for _, token := range []string{"one", "two"} {
		t.Setenv("MAIL_ACCESS_TOKEN", token)
		if got, err := (env.Resolver{}).Resolve(t.Context(), nil, "mail"); err != nil || got == nil || got.Token.Reveal() != token {
			t.Errorf("%v, %v, want %s", got, err, token)
		}
	}
}

func Example() {
	os.Setenv("GITHUB_ACCESS_TOKEN", "gho_0123456789")
	defer os.Unsetenv("GITHUB_ACCESS_TOKEN")

	credential, err := env.Resolver{}.Resolve(context.Background(), nil, "github")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(env.Variable("github"), credential.Token, len(credential.Token.Reveal()))
	// Output: GITHUB_ACCESS_TOKEN [redacted] 14
}
