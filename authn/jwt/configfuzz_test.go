package jwt_test

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
)

// A configuration is refused with all that is wrong with it and nothing of a
// secret, or makes a provider; a short secret never does.
func FuzzConfig(f *testing.F) {
	const long = "0123456789abcdefghijABCDEFGHIJ-canary!"
	for _, seed := range []struct{ name, audience, claim, alg, secret, encoding, keys string }{
		{"https://issuer.example", "https://mcp.example/mcp", "sub", "HS256", long, "raw", `{"keys":[]}`},
		{"", "", "", "", "", "", ""}, {"\x00", " ", "iss", "none", "secret", "base64", "-----BEGIN PUBLIC KEY-----"},
		{"issuer", "*", "exp", "HS512", "c2VjcmV0IGNhbmFyeSBzZWNyZXQgY2FuYXJ5IHNlY3JldCBjYW5hcnk=", "base64", `{"kty":"oct","k":"` + base64.RawURLEncoding.EncodeToString([]byte(long)) + `"}`},
		{"issuer", "a", "sub", "RS256", strings.Repeat("0", 64), "hex", `{"kty":"RSA","n":"AQAB","e":"AQAB"}`}, {"i", "a", "sub", "EdDSA", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "raw", "ssh-ed25519 AAAA"},
		{"i", "a", "sub", "HS256", strings.Repeat("changeme", 4), "raw", "{"},
	} {
		f.Add(seed.name, seed.audience, seed.claim, seed.alg, seed.secret, seed.encoding, []byte(seed.keys))
	}
	quiet := slog.New(slog.DiscardHandler)
	f.Fuzz(func(t *testing.T, name, audience, claim, alg, secret, encoding string, keys []byte) {
		issuer := jwt.Issuer{Name: name, Audience: []string{audience}, UserIDClaim: claim}
		if alg != "" {
			issuer.Algorithms = []jwt.Algorithm{jwt.Algorithm(alg)}
		}
		for which, source := range map[string]jwt.KeySource{
			"secret": jwt.Secret(mcpauth.NewSecret(secret)).In(jwt.Encoding(encoding)), "set": jwt.JWKS(keys), "PEM": jwt.PEM(keys),
		} {
			issuer.Keys = []jwt.KeySource{source}
			p, err := jwt.New(jwt.Config{Issuers: []jwt.Issuer{issuer}, Logger: quiet})
			if err == nil {
				p.Close()
				if which == "secret" && len(secret) < 32 {
					t.Errorf("a secret of %d bytes is taken", len(secret))
				}
				continue
			}
			var faults *mcpauth.ConfigError
			if !errors.As(err, &faults) || len(faults.Faults) == 0 || p != nil {
				t.Fatalf("%s: error = %#v", which, err)
			}
			shown := name + audience + claim + alg + encoding // may be quoted, and may be the secret
			for _, spelt := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret)), hex.EncodeToString([]byte(secret))} {
				if which == "secret" && len(spelt) >= 12 && !strings.Contains(shown, spelt[:12]) && strings.Contains(err.Error(), spelt[:12]) && !strings.Contains(expectedTexts, spelt[:12]) {
					t.Errorf("the secret %q is quoted: %v", secret, err)
				}
			}
		}
	})
}

// expectedTexts are words of ours that a fuzzer may choose for a secret.
const expectedTexts = "a secret of at least 32 bytes, such as from: openssl rand -base64 48 the secret"
