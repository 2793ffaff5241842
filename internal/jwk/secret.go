package jwk

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/mcpauth-go/mcpauth/internal/jws"
	"github.com/mcpauth-go/mcpauth/internal/strictjson"
)

// Encoding says how a secret is written down.
type Encoding string

const (
	Raw    Encoding = "raw"    // the bytes as they are
	Base64 Encoding = "base64" // standard or URL alphabet, padded or not
	Hex    Encoding = "hex"
)

// ParseSecret makes an HMAC key of text.
//
// A public key given as a secret is refused in every form in which it can be
// told: it is what the best-known attack on JWT verifiers rests on, where the
// attacker signs with the public key as if it were a shared secret. Secrets
// out of documentation are refused too.
func ParseSecret(text []byte, encoding Encoding, algorithms []jws.Algorithm) (Key, error) {
	secret, err := DecodeSecret(text, encoding)
	if err != nil {
		return Key{}, err
	}
	alg, err := Choose(secret, algorithms)
	if err != nil {
		return Key{}, err
	}
	key, err := jws.NewKey(alg, secret)
	if err != nil {
		return Key{}, err
	}
	return Key{Key: key, Label: "the secret"}, nil
}

// DecodeSecret returns the bytes that text stands for, unless they are no
// secret.
func DecodeSecret(text []byte, encoding Encoding) ([]byte, error) {
	// Editors and "echo" end a file with one line break.
	if line, ended := bytes.CutSuffix(text, []byte("\n")); ended {
		text = bytes.TrimSuffix(line, []byte("\r"))
	}
	if len(text) == 0 {
		return nil, errors.New("the secret is empty")
	}
	if kind := publicForm(text); kind != "" {
		return nil, fmt.Errorf("this is %s, not a shared secret", kind)
	}
	secret := text
	switch encoding {
	case Raw, "":
	case Base64:
		if secret = decodeBase64(text); secret == nil {
			return nil, errors.New("the secret is not base64")
		}
	case Hex:
		secret = make([]byte, hex.DecodedLen(len(text)))
		if _, err := hex.Decode(secret, text); err != nil {
			return nil, errors.New("the secret is not hexadecimal")
		}
	default:
		return nil, fmt.Errorf("encoding %.32q is not raw, base64 or hex", string(encoding))
	}
	if kind := publicForm(secret); kind != "" {
		return nil, fmt.Errorf("this is %s, not a shared secret", kind)
	}
	if known := wellKnown(secret); known != "" {
		return nil, errors.New(known)
	}
	return secret, nil
}

// publicForm says which form of key, rather than of secret, data has; "" if
// none.
func publicForm(data []byte) string {
	if kind := form(data); kind != "" {
		return kind
	}
	// Environment variables often hold such a document in base64.
	return form(decodeBase64(bytes.TrimSpace(data)))
}

func form(data []byte) string {
	trimmed := bytes.TrimSpace(data)
	if bytes.Contains(trimmed, []byte("-----BEGIN")) {
		return "a PEM document"
	}
	if block, _ := pem.Decode(trimmed); block != nil {
		return "a PEM document"
	}
	if isDER(data) {
		return "a key or certificate in DER"
	}
	for _, prefix := range []string{"ssh-", "sk-ssh-", "ecdsa-sha2-", "sk-ecdsa-sha2-", "---- BEGIN SSH2"} {
		if bytes.HasPrefix(trimmed, []byte(prefix)) {
			return "an SSH key"
		}
	}
	isJWK := false
	if strictjson.Object(trimmed, func(name, _ []byte) error {
		isJWK = isJWK || string(name) == "kty" || string(name) == "keys"
		return nil
	}) == nil && isJWK {
		return "a JWK"
	}
	return ""
}

func isDER(data []byte) bool {
	if len(data) == 0 || data[0] != 0x30 {
		return false
	}
	for _, parses := range []func([]byte) error{
		func(b []byte) error { _, err := x509.ParsePKIXPublicKey(b); return err },
		func(b []byte) error { _, err := x509.ParsePKCS1PublicKey(b); return err },
		func(b []byte) error { _, err := x509.ParseCertificate(b); return err },
		func(b []byte) error { _, err := x509.ParsePKCS8PrivateKey(b); return err },
		func(b []byte) error { _, err := x509.ParsePKCS1PrivateKey(b); return err },
		func(b []byte) error { _, err := x509.ParseECPrivateKey(b); return err },
	} {
		if parses(data) == nil {
			return true
		}
	}
	return false
}

// decodeBase64 returns what text is in any of the usual alphabets, or nil.
// Line breaks inside are skipped, as files wrap long values.
func decodeBase64(text []byte) []byte {
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if decoded, err := encoding.DecodeString(string(text)); err == nil {
			return decoded
		}
	}
	return nil
}

// published are secrets long enough to pass for one that everybody can read:
// from the debugger of jwt.io, from the documentation of widespread frameworks
// and from RFC 7515, appendix A.1.
var published = [][]byte{
	[]byte("a-string-secret-at-least-256-bits-long"),
	[]byte("a-valid-string-secret-that-is-at-least-384-bits-long"),
	[]byte("a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long"),
	[]byte("your-256-bit-secret"),
	[]byte("your-384-bit-secret"),
	[]byte("your-512-bit-secret"),
	[]byte("my-super-secret-key-12345"),
	[]byte("your-super-secret-jwt-token-with-at-least-32-characters-long"),
	[]byte("super-secret-jwt-token-with-at-least-32-characters-long"),
	[]byte("this-is-a-very-long-secret-key-that-is-at-least-32-characters"),
	[]byte("your-secret-key-change-this-in-production"),
	[]byte("your-secret-key-change-in-production"),
	[]byte("09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7"),
	{
		0x03, 0x23, 0x35, 0x4b, 0x2b, 0x0f, 0xa5, 0xbc, 0x83, 0x7e, 0x06, 0x65, 0x77, 0x7b, 0xa6, 0x8f,
		0x5a, 0xb3, 0x28, 0xe6, 0xf0, 0x54, 0xc9, 0x28, 0xa9, 0x0f, 0x84, 0xb2, 0xd2, 0x50, 0x2e, 0xbf,
		0xd3, 0xfb, 0x5a, 0x92, 0xd2, 0x06, 0x47, 0xef, 0x96, 0x8a, 0xb4, 0xc3, 0x77, 0x62, 0x3d, 0x22,
		0x3d, 0x2e, 0x21, 0x72, 0x05, 0x2e, 0x4f, 0x08, 0xc0, 0xcd, 0x9a, 0xf5, 0x67, 0xd0, 0x80, 0xa3,
	},
}

// wellKnown says why everybody knows secret; "" if it is not known to be.
func wellKnown(secret []byte) string {
	for _, p := range published {
		decoded, _ := hex.DecodeString(string(p))
		if bytes.Equal(secret, p) || bytes.Equal(decodeBase64(secret), p) || len(decoded) > 0 && bytes.Equal(secret, decoded) {
			return "this secret is published as an example: generate one of your own, such as with: openssl rand -base64 48"
		}
	}
	if len(secret) > 1 && bytes.Count(secret, secret[:1]) == len(secret) {
		return "this secret repeats a single byte: generate one of your own, such as with: openssl rand -base64 48"
	}
	return ""
}
