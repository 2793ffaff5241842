// Package bench measures the authentication path side by side with the
// libraries that Go servers use today. README.md says how to run it.
package bench

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	golangjwt "github.com/golang-jwt/jwt/v5"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
)

const (
	issuerName = "https://login.example.com/realms/acme"
	audience   = "https://mcp.example.com/mcp"
)

var (
	secret = []byte("0123456789abcdef0123456789abcdef")

	rsaKey = must(rsa.GenerateKey(rand.Reader, 2048))
	ecKey  = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	edKey  = func() ed25519.PrivateKey { _, key, err := ed25519.GenerateKey(rand.Reader); return must(key, err) }()
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// claimsOf returns the claims of an ordinary access token, all different for
// different users.
func claimsOf(user int) golangjwt.MapClaims {
	id := fmt.Sprintf("user-%07d", user)
	now := time.Now().Unix()
	return golangjwt.MapClaims{
		"iss": issuerName, "aud": audience, "sub": id, "userId": id,
		"iat": now, "exp": now + 12*3600, "jti": fmt.Sprintf("3f6c1b9e-5a7d-4e2b-9c41-%012d", user),
		"scope": "notes:read notes:write", "email": id + "@example.com", "name": "Ada Lovelace",
		"org": "acme", "roles": []string{"editor", "reviewer"}, "tenant": "eu-central",
		"session": "0b5f3c2a9d8e7f61",
	}
}

func sign(method golangjwt.SigningMethod, claims golangjwt.MapClaims, key any) string {
	return must(golangjwt.NewWithClaims(method, claims).SignedString(key))
}

// tokens returns the HS256 tokens of n users, of about 600 bytes each.
func tokens(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = sign(golangjwt.SigningMethodHS256, claimsOf(i), secret)
	}
	return all
}

func bearer(token string) http.Header {
	return http.Header{"Authorization": {"Bearer " + token}}
}

func secretSource() jwt.KeySource { return jwt.Secret(mcpauth.NewSecret(string(secret))) }

func publicKeySource(public crypto.PublicKey) jwt.KeySource {
	der := must(x509.MarshalPKIXPublicKey(public))
	return jwt.PEM(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func issuer(keys jwt.KeySource, algorithms ...jwt.Algorithm) jwt.Issuer {
	return jwt.Issuer{Name: issuerName, Audience: []string{audience}, Keys: []jwt.KeySource{keys}, Algorithms: algorithms}
}

func newProvider(b *testing.B, cache jwt.Cache, issuers ...jwt.Issuer) *jwt.Provider {
	b.Helper()
	p, err := jwt.New(jwt.Config{Issuers: issuers, Cache: cache})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { p.Close() })
	return p
}

// each runs f once for every operation of b, which ends at the first error.
func each(b *testing.B, f func() error) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		if err := f(); err != nil {
			b.Fatal(err)
		}
	}
}

// signedParts returns what the raw crypto calls are given.
func signedParts(token string) (input, signature []byte) {
	dot := strings.LastIndexByte(token, '.')
	return []byte(token[:dot]), must(golangjwt.NewParser().DecodeSegment(token[dot+1:]))
}
