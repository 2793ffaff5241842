package bench

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"math/big"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	golangjwt "github.com/golang-jwt/jwt/v5"

	"github.com/mcpauth-go/mcpauth/authn/jwt"
)

var errRaw = errors.New("the raw call refuses the signature")

// BenchmarkVerify takes a token to verified claims, without any cache. The raw
// call gets the decoded signature and does nothing but hash and verify.
func BenchmarkVerify(b *testing.B) {
	for _, c := range []struct {
		method  golangjwt.SigningMethod
		private any
		public  any
		source  jwt.KeySource
		raw     func(input, signature []byte) func() bool
	}{
		{golangjwt.SigningMethodHS256, secret, secret, secretSource(), rawHMAC},
		{golangjwt.SigningMethodRS256, rsaKey, &rsaKey.PublicKey, publicKeySource(&rsaKey.PublicKey), rawRSA},
		{golangjwt.SigningMethodPS256, rsaKey, &rsaKey.PublicKey, publicKeySource(&rsaKey.PublicKey), rawPSS},
		{golangjwt.SigningMethodES256, ecKey, &ecKey.PublicKey, publicKeySource(&ecKey.PublicKey), rawECDSA},
		{golangjwt.SigningMethodEdDSA, edKey, edKey.Public(), publicKeySource(edKey.Public()), rawEd25519},
	} {
		alg := c.method.Alg()
		token := sign(c.method, claimsOf(0), c.private)
		b.Run(alg+"/mcpauth", func(b *testing.B) {
			p := newProvider(b, jwt.Cache{Off: true}, issuer(c.source, jwt.Algorithm(alg)))
			each(b, func() error {
				_, err := p.Verify(context.Background(), token)
				return err
			})
		})
		b.Run(alg+"/raw", func(b *testing.B) {
			verify := c.raw(signedParts(token))
			each(b, func() error {
				if !verify() {
					return errRaw
				}
				return nil
			})
		})
		b.Run(alg+"/golang-jwt", func(b *testing.B) {
			verify := golangJWT(alg, c.public)
			each(b, func() error { return verify(token) })
		})
		b.Run(alg+"/go-jose", func(b *testing.B) {
			verify := goJOSE(alg, c.public)
			each(b, func() error { return verify(token) })
		})
	}
}

func golangJWT(alg string, key any) func(token string) error {
	parser := golangjwt.NewParser(golangjwt.WithValidMethods([]string{alg}), golangjwt.WithIssuer(issuerName),
		golangjwt.WithAudience(audience), golangjwt.WithExpirationRequired())
	keyOf := func(*golangjwt.Token) (any, error) { return key, nil }
	return func(token string) error {
		_, err := parser.ParseWithClaims(token, golangjwt.MapClaims{}, keyOf)
		return err
	}
}

func goJOSE(alg string, key any) func(token string) error {
	algorithms := []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)}
	expected := josejwt.Expected{Issuer: issuerName, AnyAudience: josejwt.Audience{audience}}
	return func(token string) error {
		parsed, err := josejwt.ParseSigned(token, algorithms)
		if err != nil {
			return err
		}
		var (
			registered josejwt.Claims
			all        map[string]any
		)
		if err := parsed.Claims(key, &registered, &all); err != nil {
			return err
		}
		expected.Time = time.Now()
		return registered.ValidateWithLeeway(expected, 0)
	}
}

// rawHMAC is the quickest form: it keeps the state of the key.
func rawHMAC(input, signature []byte) func() bool {
	mac := hmac.New(sha256.New, secret)
	sum := make([]byte, 0, sha256.Size)
	return func() bool {
		mac.Reset()
		mac.Write(input)
		return hmac.Equal(mac.Sum(sum), signature)
	}
}

func rawHMACNew(input, signature []byte) func() bool {
	return func() bool {
		mac := hmac.New(sha256.New, secret)
		mac.Write(input)
		return hmac.Equal(mac.Sum(nil), signature)
	}
}

func rawRSA(input, signature []byte) func() bool {
	return func() bool {
		digest := sha256.Sum256(input)
		return rsa.VerifyPKCS1v15(&rsaKey.PublicKey, crypto.SHA256, digest[:], signature) == nil
	}
}

func rawPSS(input, signature []byte) func() bool {
	options := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
	return func() bool {
		digest := sha256.Sum256(input)
		return rsa.VerifyPSS(&rsaKey.PublicKey, crypto.SHA256, digest[:], signature, options) == nil
	}
}

func rawECDSA(input, signature []byte) func() bool {
	half := len(signature) / 2
	r, s := new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])
	der := must(asn1.Marshal(struct{ R, S *big.Int }{r, s}))
	return func() bool {
		digest := sha256.Sum256(input)
		return ecdsa.VerifyASN1(&ecKey.PublicKey, digest[:], der)
	}
}

func rawEd25519(input, signature []byte) func() bool {
	public := edKey.Public().(ed25519.PublicKey)
	return func() bool { return ed25519.Verify(public, input, signature) }
}
