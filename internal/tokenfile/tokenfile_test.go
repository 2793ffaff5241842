package tokenfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth/internal/tokenfile"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	full := strings.Repeat("x", 64<<10)
	for _, test := range []struct{ name, text, want, problem string }{
		{"a token", "canary", "canary", ""},
		{"a line break behind", "canary\n", "canary", ""},
		{"a line break of Windows", "canary\r\n", "canary", ""},
		{"an empty line behind", "canary\n\n", "canary\n", ""},
		{"white space around", " canary ", " canary ", ""},
		{"empty", "", "", ""},
		{"the largest", full, full, ""},
		{"too large", full + "x", "", "the file is too large to be a token"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(dir, "token")
			if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := tokenfile.Read(path)
			if got.Reveal() != test.want || (err == nil) != (test.problem == "") || err != nil && err.Error() != test.problem {
				t.Errorf("%d bytes, %v", len(got.Reveal()), err)
			}
		})
	}
	for _, path := range []string{filepath.Join(dir, "canary"), dir, "canary\x00", ""} {
		if got, err := tokenfile.Read(path); err == nil || !got.IsZero() || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), dir) {
			t.Errorf("%q: %v", path, err)
		}
	}
	if _, err := tokenfile.Read(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
