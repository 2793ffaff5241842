package env_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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

func TestSeedCFromTheEnvironment(t *testing.T) {
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

func TestResolveFromAFile(t *testing.T) {
	const name = "GOOGLE_DRIVE_ACCESS_TOKEN_FILE"
	if got := env.FileVariable("google-drive"); got != name {
		t.Fatal(got)
	}
	path := filepath.Join(t.TempDir(), "token")
	t.Setenv(name, path)
	t.Setenv("GOOGLE_DRIVE_ACCESS_TOKEN", "")
	// One after the other, in one file: it is read as it is at the time.
	for _, test := range []struct{ name, text, want, problem string }{
		{"a token", "gho_1", "gho_1", ""},
		{"another, with a line break behind", "gho_2\n", "gho_2", ""},
		{"with a line break of Windows", "gho_3\r\n", "gho_3", ""},
		{"empty", "", "", ""},
		{"an empty line", "\n", "", ""},
		{"two line breaks", "canary\n\n", "", "env: the file of GOOGLE_DRIVE_ACCESS_TOKEN_FILE has white space before or after the token"},
		{"two lines", "canary\ncanary\n", "", "env: the file of GOOGLE_DRIVE_ACCESS_TOKEN_FILE has a line break or another control character in the token"},
		{"huge", strings.Repeat("canary", 1<<16), "", "env: GOOGLE_DRIVE_ACCESS_TOKEN_FILE: the file is too large to be a token"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := env.Resolver{}.Resolve(t.Context(), nil, "google-drive")
			if test.problem != "" {
				if err == nil || err.Error() != test.problem || got != nil {
					t.Errorf("%v, %v, want %s", got, err, test.problem)
				}
				return
			}
			if err != nil || (got == nil) != (test.want == "") || got != nil && got.Token.Reveal() != test.want {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	t.Run("gone", func(t *testing.T) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if got, err := (env.Resolver{}).Resolve(t.Context(), nil, "google-drive"); got != nil || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v, %v", got, err)
		}
	})
	t.Run("beside the variable", func(t *testing.T) {
		t.Setenv("GOOGLE_DRIVE_ACCESS_TOKEN", "canary")
		got, err := (env.Resolver{}).Resolve(t.Context(), nil, "google-drive")
		if got != nil || err == nil || err.Error() != "env: both GOOGLE_DRIVE_ACCESS_TOKEN and GOOGLE_DRIVE_ACCESS_TOKEN_FILE are set" {
			t.Errorf("%v, %v", got, err)
		}
	})
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
