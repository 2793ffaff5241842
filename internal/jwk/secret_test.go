package jwk_test

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth/internal/jwk"
	"github.com/mcpauth-go/mcpauth/internal/jws"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

func TestDecodeSecret(t *testing.T) {
	secret := tokentest.Secret("x")
	binary := []byte("\xfb\xff\x00\r\n" + string(secret) + "\x01")
	for _, test := range []struct {
		name     string
		text     string
		encoding jwk.Encoding
		want     []byte
	}{
		{"raw", string(secret), jwk.Raw, secret},
		{"raw is the default", string(secret), "", secret},
		{"one line feed is trimmed", string(secret) + "\n", jwk.Raw, secret},
		{"one Windows line end is trimmed", string(secret) + "\r\n", jwk.Raw, secret},
		{"a second line feed is part of it", string(secret) + "\n\n", jwk.Raw, append(bytes.Clone(secret), '\n')},
		{"spaces are part of it", " " + string(secret) + " ", jwk.Raw, []byte(" " + string(secret) + " ")},
		{"base64", base64.StdEncoding.EncodeToString(binary), jwk.Base64, binary},
		{"base64 without padding", base64.RawStdEncoding.EncodeToString(binary), jwk.Base64, binary},
		{"base64url", base64.URLEncoding.EncodeToString(binary), jwk.Base64, binary},
		{"base64url without padding", base64.RawURLEncoding.EncodeToString(binary) + "\n", jwk.Base64, binary},
		{"hex", hex.EncodeToString(binary), jwk.Hex, binary},
		{"hex in capitals", strings.ToUpper(hex.EncodeToString(binary)), jwk.Hex, binary},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := jwk.DecodeSecret([]byte(test.text), test.encoding)
			if err != nil || !bytes.Equal(got, test.want) {
				t.Errorf("secret = %q, %v; want %q", got, err, test.want)
			}
		})
	}
}

func TestSecretRefusals(t *testing.T) {
	rsa := tokentest.KeyFor("RS256")
	private, err := x509.MarshalPKCS8PrivateKey(rsa.Private)
	if err != nil {
		t.Fatal(err)
	}
	der, pkcs1 := string(rsa.DER()), string(x509.MarshalPKCS1PublicKey(&tokentest.RSA().PublicKey))
	std := base64.StdEncoding.EncodeToString
	wrapped := strings.ReplaceAll(string(bytes.TrimSpace(rsa.PEM())), "-----BEGIN PUBLIC KEY-----\n", "")
	wrapped = strings.ReplaceAll(wrapped, "\n-----END PUBLIC KEY-----", "")
	const pemKind, derKind, ssh, jwkKind, published = "a PEM document, not a shared secret", "a key or certificate in DER, not a shared secret", "an SSH key, not a shared secret", "a JWK, not a shared secret", "published as an example"
	for _, test := range []struct {
		name     string
		text     string
		encoding jwk.Encoding
		alg      jws.Algorithm
		reason   string
	}{
		{"empty", "", jwk.Raw, "", "the secret is empty"},
		{"line feed alone", "\n", jwk.Raw, "", "the secret is empty"},
		{"31 bytes", string(tokentest.Secret("x")[:31]), jwk.Raw, jws.HS256, "31 bytes, HS256 needs at least 32"},
		{"31 bytes and a line feed", string(tokentest.Secret("x")[:31]) + "\n", jwk.Raw, jws.HS256, "31 bytes, HS256 needs at least 32"},
		{"47 bytes", string(tokentest.Secret("x")[:47]), jwk.Raw, jws.HS384, "47 bytes, HS384 needs at least 48"},
		{"63 bytes", string(tokentest.Secret("x")[:63]), jwk.Raw, jws.HS512, "63 bytes, HS512 needs at least 64"},
		{"base64 that is long only as text", std(tokentest.Secret("x")[:24]), jwk.Base64, jws.HS256, "24 bytes"},
		{"hex that is long only as text", hex.EncodeToString(tokentest.Secret("x")[:16]), jwk.Hex, jws.HS256, "16 bytes"},
		{"no base64", "!? no base64 ?!", jwk.Base64, "", "the secret is not base64"},
		{"no hex", "not hex", jwk.Hex, "", "the secret is not hexadecimal"},
		{"hex of odd length", "abc", jwk.Hex, "", "the secret is not hexadecimal"},
		{"unknown encoding", string(tokentest.Secret("x")), "rot13", "", `encoding "rot13" is not raw, base64 or hex`},
		{"algorithm of public keys", string(tokentest.Secret("x")), jwk.Raw, jws.RS256, "fits none of the configured algorithms"},

		{"PEM", string(rsa.PEM()), jwk.Raw, "", pemKind},
		{"PEM after text", "key:\n" + string(rsa.PEM()), jwk.Raw, "", pemKind},
		{"PEM without its end", string(rsa.PEM()[:200]), jwk.Raw, "", pemKind},
		{"PEM in base64", std(rsa.PEM()), jwk.Base64, "", pemKind},
		{"PEM in hex", hex.EncodeToString(rsa.PEM()), jwk.Hex, "", pemKind},
		{"PEM in base64, said to be raw", std(rsa.PEM()), jwk.Raw, "", pemKind},
		{"PEM with escaped line breaks", strings.ReplaceAll(string(rsa.PEM()), "\n", `\n`), jwk.Raw, "", pemKind},
		{"private key in PEM", "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----", jwk.Raw, "", pemKind},
		{"DER", der, jwk.Raw, "", derKind},
		{"DER of PKCS #1", pkcs1, jwk.Raw, "", derKind},
		{"DER of a private key", string(private), jwk.Raw, "", derKind},
		{"DER in base64", std([]byte(der)), jwk.Base64, "", derKind},
		{"DER in base64, said to be raw", std([]byte(der)), jwk.Raw, "", derKind},
		{"DER in base64url, said to be raw", base64.RawURLEncoding.EncodeToString([]byte(der)), jwk.Raw, "", derKind},
		{"DER in base64 over several lines, as in a PEM without its marks", wrapped, jwk.Raw, "", derKind},
		{"DER of an Ed25519 key in base64", std(tokentest.KeyFor("EdDSA").DER()), jwk.Raw, "", derKind},
		{"DER in hex", hex.EncodeToString([]byte(der)), jwk.Hex, "", derKind},
		{"JWK", rsa.JWK("k"), jwk.Raw, "", jwkKind},
		{"JWK with space around", " " + rsa.JWK("k") + "\n\n", jwk.Raw, "", jwkKind},
		{"JWK Set", string(tokentest.JWKS(rsa.JWK("k"))), jwk.Raw, "", jwkKind},
		{"JWK in base64", std([]byte(rsa.JWK("k"))), jwk.Base64, "", jwkKind},
		{"JWK of a secret", tokentest.KeyFor("HS256").JWK(""), jwk.Raw, "", jwkKind},
		{"SSH RSA", "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7 user@host", jwk.Raw, "", ssh},
		{"SSH Ed25519", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ user@host", jwk.Raw, "", ssh},
		{"SSH ECDSA", "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY user@host", jwk.Raw, "", ssh},

		{"of jwt.io", "a-string-secret-at-least-256-bits-long", jwk.Raw, "", published},
		{"of jwt.io and a line feed", "a-string-secret-at-least-256-bits-long\n", jwk.Raw, "", published},
		{"of jwt.io in base64", std([]byte("a-string-secret-at-least-256-bits-long")), jwk.Base64, "", published},
		{"of the seed's examples", "my-super-secret-key-12345", jwk.Raw, "", published},
		{"of Supabase", "super-secret-jwt-token-with-at-least-32-characters-long", jwk.Raw, "", published},
		{"of FastAPI", "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7", jwk.Raw, "", published},
		{"of RFC 7515, A.1", "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow", jwk.Base64, "", published},
		{"of FastAPI in hex", "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7", jwk.Hex, "", published},
		{"of RFC 7515, A.1, said to be raw", "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow", jwk.Raw, "", published},
		{"one character repeated", strings.Repeat("x", 64), jwk.Raw, "", "repeats a single byte"},
		{"zeros", strings.Repeat("00", 64), jwk.Hex, "", "repeats a single byte"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var algorithms []jws.Algorithm
			if test.alg != "" {
				algorithms = []jws.Algorithm{test.alg}
			}
			_, err := jwk.ParseSecret([]byte(test.text), test.encoding, algorithms)
			wants(t, err, test.reason)
			if err != nil && len(test.text) > 8 && strings.Contains(err.Error(), test.text[:8]) {
				t.Errorf("the error quotes the secret: %v", err)
			}
		})
	}
}
