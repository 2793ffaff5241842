package jws_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth/internal/jws"
)

func TestSplit(t *testing.T) {
	for _, test := range []struct {
		name, token string
		want        error
	}{
		{"three segments", "YWJj.YWJj.YWJj", nil},
		{"empty payload", "YWJj..YWJj", nil},
		{"empty signature", "YWJj.YWJj.", nil},
		{"whole alphabet", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.YQ.YWI", nil},

		{"empty", "", jws.ErrSegments},
		{"no dot", "YWJj", jws.ErrSegments},
		{"one dot", "YWJj.YWJj", jws.ErrSegments},
		{"three dots", "YWJj.YWJj.YWJj.", jws.ErrSegments},
		{"JWE: five segments", "YWJj.YWJj.YWJj.YWJj.YWJj", jws.ErrSegments},
		{"dots alone", "..", jws.ErrSegments},
		{"100 000 dots", strings.Repeat(".", 100_000), jws.ErrSegments},
		{"empty header", ".YWJj.YWJj", jws.ErrSegments},

		{"padding", "YQ==.YWJj.YWJj", jws.ErrAlphabet},
		{"padding of the signature", "YWJj.YWJj.YQ==", jws.ErrAlphabet},
		{"standard alphabet: plus", "YW+j.YWJj.YWJj", jws.ErrAlphabet},
		{"standard alphabet: slash", "YW/j.YWJj.YWJj", jws.ErrAlphabet},
		{"line feed inside", "YW\nJj.YWJj.YWJj", jws.ErrAlphabet},
		{"carriage return inside", "YWJj.YW\rJj.YWJj", jws.ErrAlphabet},
		{"line break inside the signature", "YWJj.YWJj.YW\r\nJj", jws.ErrAlphabet},
		{"line feed at the end", "YWJj.YWJj.YWJj\n", jws.ErrAlphabet},
		{"space at the end", "YWJj.YWJj.YWJj ", jws.ErrAlphabet},
		{"NUL", "YWJj.YWJj.YWJj\x00", jws.ErrAlphabet},
		{"percent encoding", "YWJj%2eYWJj.YWJj", jws.ErrAlphabet},
		{"full-width letter", "YWJｊ.YWJj.YWJj", jws.ErrAlphabet},
		{"high bytes", "\xff\xfe.YWJj.YWJj", jws.ErrAlphabet},
		{"JSON serialization", `{"payload":"YWJj","protected":"YWJj","signature":"YWJj"}`, jws.ErrAlphabet},

		{"impossible length of the header", "YWJjY.YWJj.YWJj", jws.ErrCanonical},
		{"impossible length of the payload", "YWJj.Y.YWJj", jws.ErrCanonical},
		{"impossible length of the signature", "YWJj.YWJj.YWJjY", jws.ErrCanonical},
		{"spare bits of a single byte", "YR.YWJj.YWJj", jws.ErrCanonical},
		{"spare bits of two bytes, one set", "YWJj.YWJ.YWJj", jws.ErrCanonical},
		{"spare bits of two bytes, both set", "YWJj.YWL.YWJj", jws.ErrCanonical},
		{"spare bits of two bytes, none set", "YWJj.YWI.YWJj", nil},
		{"spare bits of the signature", "YWJj.YWJj.YR", jws.ErrCanonical},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := jws.Split([]byte(test.token)); !errors.Is(err, test.want) {
				t.Errorf("Split = %v, want %v", err, test.want)
			}
		})
	}
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// naive is Split's judgement of the form, told in the plainest way.
func naive(token string) bool {
	segments := strings.Split(token, ".")
	if len(segments) != 3 || segments[0] == "" {
		return false
	}
	for _, s := range segments {
		if strings.Trim(s, alphabet) != "" || strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune(alphabet, r) }) {
			return false
		}
		if _, err := base64.RawURLEncoding.Strict().DecodeString(s); err != nil {
			return false
		}
	}
	return true
}

// Split reads 32 bytes at a time where it can: every byte value at every
// position of such a block, at several offsets, gets the naive answer.
func TestSplitAgreesWithANaiveCheckOnEveryByteEverywhere(t *testing.T) {
	for _, offset := range []int{0, 1, 7, 31, 32, 33} {
		header := strings.Repeat("A", offset)
		for position := range 64 {
			for value := range 256 {
				payload := []byte(strings.Repeat("a-Z_0", 13)[:64])
				payload[position] = byte(value)
				for _, token := range []string{
					header + string(payload) + ".AAAA." + string(payload),
					"AAAA." + header + string(payload) + ".AAAA",
				} {
					if _, err := jws.Split([]byte(token)); (err == nil) != naive(token) {
						t.Fatalf("byte %#02x at %d after %d bytes: Split = %v, naive = %v", value, position, offset, err, naive(token))
					}
				}
			}
		}
	}
}

func TestSplitSharesTheInput(t *testing.T) {
	raw := []byte("YWJj.ZGVm.Z2hp")
	token, err := jws.Split(raw)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := token.Payload(nil)
	if err != nil || string(payload) != "def" || string(token.SigningInput) != "YWJj.ZGVm" {
		t.Errorf("payload %q, signing input %q, %v", payload, token.SigningInput, err)
	}
	if &token.SigningInput[0] != &raw[0] {
		t.Error("the token was copied")
	}
}
