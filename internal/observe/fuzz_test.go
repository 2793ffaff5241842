package observe_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/observe"
)

// Whatever clients and errors say, each event is one line of valid JSON in log
// and audit log, bounded, and without the user's token.
func FuzzText(f *testing.F) {
	for _, seed := range [][4]string{
		{"tools/call", "whoami", "expired", "/mcp"}, {"resources/read", "notes://" + token, "get https://x/?token=" + token + ": refused", "/" + token},
		{"eyJ", "eyJhbGciOiJub25lIn0.e30.", "\n{\"code\":\"ok\"}", "\xff\xfe"}, {token, "\u2028\x00\x1b[31m", "eyJeyJ.eyJ", strings.Repeat("é", 300)},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	tokens := regexp.MustCompile(`eyJ[A-Za-z0-9_.=-]{13}`)
	f.Fuzz(func(t *testing.T, method, name, cause, path string) {
		for _, form := range []observe.UserForm{observe.UserPlain, observe.UserHashed, observe.UserOmitted} {
			var log, audit bytes.Buffer
			o := observe.New(observe.Config{Logger: slog.New(slog.NewJSONHandler(&log, nil)), Audit: &audit, Users: form})
			o.Done(t.Context(), observe.Event{
				RequestID: "id", Method: method, Name: name, Path: path, Identity: identity(t, "alice"),
				Refusal: &mcpauth.Error{Code: mcpauth.ErrUnavailable, Message: "no", Cause: errors.New(cause)},
			})
			for where, text := range map[string]string{"log": log.String(), "audit log": audit.String()} {
				var line map[string]any
				if err := json.Unmarshal([]byte(text), &line); err != nil || strings.Count(text, "\n") != 1 || line["code"] != "unavailable" {
					t.Fatalf("%s: %q: %v", where, text, err)
				}
				if strings.Contains(text, token) {
					t.Errorf("the token is in the %s: %s", where, text)
				}
				for name, value := range line { // decoded: "\u000eyJ" begins no token
					if value, ok := value.(string); ok && tokens.MatchString(value) {
						t.Errorf("a token is in the %s: %s = %q", where, name, value)
					}
				}
				if len(text) > 16<<10 {
					t.Errorf("%d bytes in the %s", len(text), where)
				}
			}
		}
	})
}
