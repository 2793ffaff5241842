package mcpauth

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Secret holds a token, a key or a password. It never prints itself: fmt with
// any verb, log/slog, encoding/json and every encoder that asks for text get
// "[redacted]", also when the Secret sits in an unexported field of another
// value. Reveal is the only way out, so a search for it finds every place
// where a secret leaves the type.
//
// The zero Secret holds the empty string. A Secret is immutable and safe for
// concurrent use. Two Secrets are compared with Equal, not with ==.
type Secret struct {
	_ [0]func() // forbids ==, which would compare addresses
	// A pointer, because fmt reads unexported fields by reflection, without
	// asking for any method, and then prints a pointer as an address only.
	value *string
}

// NewSecret wraps value.
func NewSecret(value string) Secret { return Secret{value: &value} }

// Reveal returns the wrapped value.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports whether the Secret holds nothing.
func (s Secret) IsZero() bool { return s.value == nil || *s.value == "" }

// Equal reports whether s and other hold the same, in a time that does not
// depend on where they differ.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(other.Reveal())) == 1
}

// Format implements [fmt.Formatter] for every verb.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// String implements [fmt.Stringer] for callers that do not go through fmt.
func (s Secret) String() string { return redacted }

// LogValue implements [slog.LogValuer].
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements [encoding.TextMarshaler], which encoding/json and
// encoding/xml use too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
