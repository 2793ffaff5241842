package mcpauth_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth"
)

const canary = "canary-9f2c"

// spellings are the ways in which fmt could write the canary.
var spellings = []string{canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), fmt.Sprintf("%v", []byte(canary))}

func holdsNoCanary(t *testing.T, where, text string) {
	t.Helper()
	for _, spelling := range spellings {
		if strings.Contains(text, spelling) {
			t.Errorf("%s gives the secret away: %s", where, text)
		}
	}
}

type holder struct {
	Exported   mcpauth.Secret
	unexported mcpauth.Secret
	pointer    *mcpauth.Secret
	inside     struct{ deeper []mcpauth.Secret }
	table      map[string]mcpauth.Secret
	any        any
}

func newHolder() holder {
	s := mcpauth.NewSecret(canary)
	h := holder{Exported: s, unexported: s, pointer: &s, table: map[string]mcpauth.Secret{"k": s}, any: s}
	h.inside.deeper = []mcpauth.Secret{s}
	return h
}

func TestSecretNeverPrintsItself(t *testing.T) {
	s := mcpauth.NewSecret(canary)
	h := newHolder()
	values := map[string]any{
		"secret": s, "pointer": &s, "slice": []mcpauth.Secret{s}, "map": map[string]mcpauth.Secret{"k": s},
		"struct": h, "pointer to struct": &h, "interface": []any{s, h},
	}
	for name, v := range values {
		for _, flags := range []string{"", "+", "#", "-", " ", "0", "12.4", "+#"} {
			for _, verb := range "vTtbcdoOqxXUeEfFgGspw!" {
				format := "%" + flags + string(verb)
				holdsNoCanary(t, name+" with "+format, fmt.Sprintf(format, v))
			}
		}
		holdsNoCanary(t, name+" with Sprint", fmt.Sprint(v))
		holdsNoCanary(t, name+" in an error", fmt.Errorf("failed: %v", v).Error())

		var logged bytes.Buffer
		slog.New(slog.NewTextHandler(&logged, nil)).Info("text", "value", v, "group", slog.GroupValue(slog.Any("v", v)))
		slog.New(slog.NewJSONHandler(&logged, nil)).Info("json", "value", v)
		holdsNoCanary(t, name+" in slog", logged.String())

		if encoded, err := json.Marshal(v); err == nil {
			holdsNoCanary(t, name+" in JSON", string(encoded))
		}
		if encoded, err := xml.Marshal(v); err == nil {
			holdsNoCanary(t, name+" in XML", string(encoded))
		}
	}
	for _, got := range []string{s.String(), fmt.Sprint(s), fmt.Sprintf("%#v", s), fmt.Sprintf("%x", s), s.LogValue().String()} {
		if got != "[redacted]" {
			t.Errorf("a secret prints as %q, not as [redacted]", got)
		}
	}
	if got, _ := json.Marshal(map[string]any{"s": s}); string(got) != `{"s":"[redacted]"}` {
		t.Errorf("JSON of a secret = %s", got)
	}
}

func TestSecretReveal(t *testing.T) {
	if got := mcpauth.NewSecret(canary).Reveal(); got != canary {
		t.Errorf("Reveal = %q", got)
	}
	var zero mcpauth.Secret
	if zero.Reveal() != "" || !zero.IsZero() || !mcpauth.NewSecret("").IsZero() || mcpauth.NewSecret("x").IsZero() {
		t.Error("the zero Secret is not the empty one, or another is")
	}
}

func TestSecretEqual(t *testing.T) {
	var zero mcpauth.Secret
	long := strings.Repeat("x", 1000)
	for _, test := range []struct {
		name string
		a, b mcpauth.Secret
		want bool
	}{
		{"zero and zero", zero, zero, true},
		{"zero and empty", zero, mcpauth.NewSecret(""), true},
		{"zero and another", zero, mcpauth.NewSecret("x"), false},
		{"of the same text", mcpauth.NewSecret(canary), mcpauth.NewSecret(strings.Clone(canary)), true},
		{"of other text", mcpauth.NewSecret("aaaa"), mcpauth.NewSecret("aaab"), false},
		{"one begins like the other", mcpauth.NewSecret("aaaa"), mcpauth.NewSecret("aaa"), false},
		{"letter case", mcpauth.NewSecret("a"), mcpauth.NewSecret("A"), false},
		{"long ones", mcpauth.NewSecret(long), mcpauth.NewSecret(long[:999] + "y"), false},
	} {
		if test.a.Equal(test.b) != test.want || test.b.Equal(test.a) != test.want {
			t.Errorf("%s: Equal is not %v", test.name, test.want)
		}
	}
}

func TestSecretInAnErrorsCauseStaysInside(t *testing.T) {
	err := &mcpauth.Error{Code: mcpauth.ErrUnavailable, Message: "no", Cause: fmt.Errorf("with %v: %w", mcpauth.NewSecret(canary), errors.ErrUnsupported)}
	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("refused", "err", err)
	holdsNoCanary(t, "the log", logged.String())
	if !strings.Contains(logged.String(), "[redacted]") {
		t.Errorf("the cause is not in the log: %s", logged.String())
	}
}
