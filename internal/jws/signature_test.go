package jws_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mcpauth-go/mcpauth/internal/jws"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

func newKey(t testing.TB, alg string, material any) *jws.Key {
	t.Helper()
	k, err := jws.NewKey(jws.Algorithm(alg), material)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// verify reports whether a token of proper form is signed with k.
func verify(t testing.TB, k *jws.Key, token string) bool {
	t.Helper()
	parsed, err := jws.Split([]byte(token))
	return err == nil && parsed.Verify(k, nil)
}

func TestEveryAlgorithm(t *testing.T) {
	if len(jws.Algorithms) != len(tokentest.Algorithms) {
		t.Fatalf("algorithms = %v", jws.Algorithms)
	}
	for _, alg := range tokentest.Algorithms {
		t.Run(alg, func(t *testing.T) {
			signer := tokentest.KeyFor(alg)
			k := newKey(t, alg, signer.Public())
			token := signer.Token(signer.Header(), `{"sub":"u"}`)
			if !verify(t, k, token) {
				t.Fatal("a good signature is refused")
			}
			if string(k.Algorithm()) != alg {
				t.Errorf("the key's algorithm is %s", k.Algorithm())
			}
			segments := strings.Split(token, ".")
			signature := tokentest.Decode(segments[2])
			with := func(signature string) string {
				return segments[0] + "." + segments[1] + "." + tokentest.Encode(signature)
			}
			tampered := map[string]string{
				"another payload":     segments[0] + "." + tokentest.Encode(`{"sub":"v"}`) + "." + segments[2],
				"another header":      tokentest.Encode(`{"alg":"`+alg+`"}`) + "." + segments[1] + "." + segments[2],
				"empty signature":     with(""),
				"signature of zeros":  with(strings.Repeat("\x00", len(signature))),
				"signature of ones":   with(strings.Repeat("\xff", len(signature))),
				"signature cut short": with(signature[:len(signature)-1]),
				"byte appended":       with(signature + "\x00"),
				"byte put before":     with("\x00" + signature),
				"signature doubled":   with(signature + signature),
				"100 KB of signature": with(strings.Repeat(signature, 1+100_000/len(signature))),
			}
			for _, bit := range []int{0, 7, 8 * len(signature) / 2, 8*len(signature) - 1} {
				flipped := []byte(signature)
				flipped[bit/8] ^= 1 << (bit % 8)
				tampered["bit flipped "+big.NewInt(int64(bit)).String()] = with(string(flipped))
			}
			for name, token := range tampered {
				if verify(t, k, token) {
					t.Errorf("%s is taken", name)
				}
			}
			if !verify(t, k, token) {
				t.Error("after the refusals, the good one is refused")
			}
		})
	}
}

// A key serves the algorithm that it was loaded for and no other, whatever the
// signature was made with.
func TestOneAlgorithmPerKey(t *testing.T) {
	for _, keyAlg := range tokentest.Algorithms {
		k := newKey(t, keyAlg, tokentest.KeyFor(keyAlg).Public())
		for _, alg := range tokentest.Algorithms {
			signer := tokentest.KeyFor(alg)
			if secret, ok := tokentest.KeyFor(keyAlg).Private.([]byte); ok && strings.HasPrefix(alg, "HS") {
				signer.Private = secret // the same secret under another hash
			}
			if got := verify(t, k, signer.Token(signer.Header(), "{}")); got != (alg == keyAlg) {
				t.Errorf("key for %s, signature with %s: %v", keyAlg, alg, got)
			}
		}
	}
}

func TestECDSASignatureForms(t *testing.T) {
	for alg, curve := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		signer := tokentest.KeyFor(alg)
		k := newKey(t, alg, signer.Public())
		input := tokentest.Encode(signer.Header()) + ".e30"
		signature := signer.Sign(input)
		half := len(signature) / 2
		r, s := new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])
		n, zero := curve.Params().N, new(big.Int)
		pair := func(r, s *big.Int) []byte {
			if r.BitLen() > 8*half || s.BitLen() > 8*half {
				return slices.Concat(r.Bytes(), s.Bytes())
			}
			return slices.Concat(r.FillBytes(make([]byte, half)), s.FillBytes(make([]byte, half)))
		}
		der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
		if err != nil {
			t.Fatal(err)
		}
		for name, forged := range map[string][]byte{
			"DER":           der,
			"r and s of 0":  pair(zero, zero),
			"r of 0":        pair(zero, s),
			"s of 0":        pair(r, zero),
			"r of n":        pair(n, s),
			"s of n":        pair(r, n),
			"r plus n":      pair(new(big.Int).Add(r, n), s),
			"s plus n":      pair(r, new(big.Int).Add(s, n)),
			"r and s of 1":  pair(big.NewInt(1), big.NewInt(1)),
			"r, s swapped":  pair(s, r),
			"one byte less": signature[:len(signature)-1],
		} {
			if verify(t, k, input+"."+tokentest.Encode(string(forged))) {
				t.Errorf("%s: %s is taken", alg, name)
			}
		}
	}
}

func TestPSSSaltIsAsLongAsTheHash(t *testing.T) {
	signer := tokentest.KeyFor("PS256")
	k := newKey(t, "PS256", signer.Public())
	input := tokentest.Encode(signer.Header()) + ".e30"
	for _, length := range []int{1, 20, 31, 33, 64} {
		if verify(t, k, input+"."+tokentest.Encode(string(signPSS(t, input, length)))) {
			t.Errorf("a salt of %d bytes is taken", length)
		}
	}
	if !verify(t, k, input+"."+tokentest.Encode(string(signPSS(t, input, 32)))) {
		t.Error("a salt of 32 bytes is refused")
	}
}

func TestKeyRefusals(t *testing.T) {
	rsaKey := tokentest.RSA().PublicKey
	odd := func(bits uint) *big.Int { // a modulus of that size
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		return n.Add(n, big.NewInt(1))
	}
	p256 := tokentest.KeyFor("ES256").Public().(*ecdsa.PublicKey)
	x, y := coordinates(t, p256)
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small := func(encoded string) ed25519.PublicKey {
		b, err := hex.DecodeString(encoded)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, test := range []struct {
		name     string
		alg      string
		material any
		reason   string
	}{
		{"HS256 with 31 bytes", "HS256", tokentest.Secret("x")[:31], "the secret has 31 bytes, HS256 needs at least 32"},
		{"HS384 with 47 bytes", "HS384", tokentest.Secret("x")[:47], "the secret has 47 bytes, HS384 needs at least 48"},
		{"HS512 with 63 bytes", "HS512", tokentest.Secret("x")[:63], "the secret has 63 bytes, HS512 needs at least 64"},
		{"empty secret", "HS256", []byte{}, "the secret has 0 bytes"},
		{"secret under an RSA algorithm", "RS256", tokentest.Secret("x"), "RS256 does not work with a secret"},
		{"secret under EdDSA", "EdDSA", tokentest.Secret("x"), "EdDSA does not work with a secret"},
		{"secret under none", "none", tokentest.Secret("x"), "none does not work with a secret"},

		{"RSA key under HMAC", "HS256", &rsaKey, "HS256 does not work with an RSA key"},
		{"RSA key under ECDSA", "ES256", &rsaKey, "ES256 does not work with an RSA key"},
		{"RSA of 2047 bits", "RS256", &rsa.PublicKey{N: odd(2047), E: 65537}, "2047 bits, at least 2048"},
		{"RSA of 1024 bits", "PS256", &rsa.PublicKey{N: odd(1024), E: 65537}, "1024 bits, at least 2048"},
		{"RSA of 8193 bits", "RS256", &rsa.PublicKey{N: odd(8193), E: 65537}, "8193 bits, at most 8192"},
		{"RSA of 0", "RS256", &rsa.PublicKey{N: new(big.Int), E: 65537}, "0 bits"},
		{"RSA with an even modulus", "RS256", &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2048), E: 65537}, "modulus is even"},
		{"RSA exponent 0", "RS256", &rsa.PublicKey{N: rsaKey.N, E: 0}, "exponent 0"},
		{"RSA exponent 1", "RS256", &rsa.PublicKey{N: rsaKey.N, E: 1}, "exponent 1"},
		{"RSA exponent 2", "PS512", &rsa.PublicKey{N: rsaKey.N, E: 2}, "exponent 2"},
		{"RSA exponent even", "RS256", &rsa.PublicKey{N: rsaKey.N, E: 65536}, "exponent 65536"},
		{"RSA exponent negative", "RS256", &rsa.PublicKey{N: rsaKey.N, E: -3}, "exponent -3"},

		{"P-256 under ES384", "ES384", p256, "ES384 needs a key on P-384, not on P-256"},
		{"P-256 under RS256", "RS256", p256, "RS256 does not work with an elliptic-curve key"},
		{"P-224 under ES256", "ES256", &p224.PublicKey, "ES256 needs a key on P-256, not on P-224"},
		{"point off the curve", "ES256", rawPoint(x, new(big.Int).Add(y, big.NewInt(1))), "not a point on P-256"},
		{"point at infinity", "ES256", rawPoint(new(big.Int), new(big.Int)), "not a point on P-256"},
		{"negative coordinate", "ES256", rawPoint(new(big.Int).Neg(x), y), "not a point on P-256"},

		{"Ed25519 under ES256", "ES256", ed25519.PublicKey(make([]byte, 32)), "ES256 does not work with an Ed25519 key"},
		{"Ed25519 of 31 bytes", "EdDSA", ed25519.PublicKey(make([]byte, 31)), "31 bytes, 32 are needed"},
		{"Ed25519 of 33 bytes", "EdDSA", ed25519.PublicKey(make([]byte, 33)), "33 bytes, 32 are needed"},
		{"Ed25519 no point", "EdDSA", small("0200000000000000000000000000000000000000000000000000000000000000"), "not a point on Ed25519"},
		{"Ed25519 identity", "EdDSA", small("0100000000000000000000000000000000000000000000000000000000000000"), "small order"},
		{"Ed25519 order 2", "EdDSA", small("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"), "small order"},
		{"Ed25519 order 4", "EdDSA", small("0000000000000000000000000000000000000000000000000000000000000000"), "small order"},
		{"Ed25519 order 4, other sign", "EdDSA", small("0000000000000000000000000000000000000000000000000000000000000080"), "small order"},
		{"Ed25519 order 8", "EdDSA", small("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "small order"},
		{"Ed25519 order 8, another", "EdDSA", small("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "small order"},
		{"Ed25519 identity, not canonical", "EdDSA", small("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"), "small order"},

		{"private key", "RS256", tokentest.RSA(), "not supported"},
		{"string", "HS256", string(tokentest.Secret("x")), "not supported"},
		{"nothing", "HS256", nil, "not supported"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := jws.NewKey(jws.Algorithm(test.alg), test.material)
			if err == nil || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("error = %v, want %q in it", err, test.reason)
			}
		})
	}
}

func TestKeyKeepsItsOwnMaterial(t *testing.T) {
	secret := slices.Clone(tokentest.Secret("own"))
	k := newKey(t, "HS256", secret)
	signer := tokentest.SharedSecret("own")
	token := signer.Token(signer.Header(), "{}")
	clear(secret)
	if !verify(t, k, token) {
		t.Error("the key changed with the caller's slice")
	}
}

func TestVerifyConcurrently(t *testing.T) {
	for _, alg := range []string{"HS256", "EdDSA", "ES256", "RS256"} {
		signer := tokentest.KeyFor(alg)
		k := newKey(t, alg, signer.Public())
		good, bad := signer.Token(signer.Header(), `{"a":1}`), signer.Token(signer.Header(), `{"a":2}`)
		bad = good[:strings.LastIndexByte(good, '.')] + bad[strings.LastIndexByte(bad, '.'):]
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				for range 25 {
					if !verify(t, k, good) || verify(t, k, bad) {
						t.Errorf("%s: two verifications disturb each other", alg)
						return
					}
				}
			})
		}
		group.Wait()
	}
}

// The published examples of RFC 7515, appendix A, and RFC 8037, appendix A.
func TestRFCExamples(t *testing.T) {
	var file struct {
		Vectors []struct {
			Name, Alg, JWS, Result string
			JWK                    struct{ Kty, Crv, K, N, E, X, Y string }
		}
	}
	tokentest.ReadVectors(t, "testdata/rfc7515_8037.json", &file)
	if len(file.Vectors) != 5 {
		t.Fatalf("%d vectors, want 5", len(file.Vectors))
	}
	for _, v := range file.Vectors {
		t.Run(v.Name, func(t *testing.T) {
			token, err := jws.Split([]byte(v.JWS))
			if err != nil {
				t.Fatal(err)
			}
			header, err := new(jws.Headers).Parse(token, nil)
			if err != nil {
				t.Fatal(err)
			}
			if v.Result == "invalid" {
				if header.Algorithm != "" {
					t.Errorf("alg = %q", header.Algorithm)
				}
				return
			}
			var material any
			integer := func(s string) *big.Int { return new(big.Int).SetBytes([]byte(tokentest.Decode(s))) }
			switch v.JWK.Kty {
			case "oct":
				material = []byte(tokentest.Decode(v.JWK.K))
			case "RSA":
				material = &rsa.PublicKey{N: integer(v.JWK.N), E: int(integer(v.JWK.E).Int64())}
			case "EC":
				material = rawPoint(integer(v.JWK.X), integer(v.JWK.Y))
			case "OKP":
				material = ed25519.PublicKey(tokentest.Decode(v.JWK.X))
			}
			if string(header.Algorithm) != v.Alg || !token.Verify(newKey(t, v.Alg, material), nil) {
				t.Errorf("the example with %s is refused", header.Algorithm)
			}
		})
	}
}

// The best-known attack: the public key, which everybody has, as the secret of
// an HMAC.
func TestPublicKeyAsSecretNeverVerifies(t *testing.T) {
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		signer := tokentest.KeyFor(alg)
		k := newKey(t, alg, signer.Public())
		der, err := x509.MarshalPKIXPublicKey(signer.Public())
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range [][]byte{signer.PEM(), der, []byte(strings.TrimSpace(string(signer.PEM()))), []byte(signer.JWK(""))} {
			forger := tokentest.Key{Algorithm: "HS256", Private: secret}
			if verify(t, k, forger.Token(`{"alg":"HS256"}`, `{}`)) || verify(t, k, forger.Token(`{"alg":"`+alg+`"}`, `{}`)) {
				t.Errorf("%s: a forgery is taken", alg)
			}
		}
	}
}

func signPSS(t *testing.T, input string, saltLength int) []byte {
	t.Helper()
	digest := sha256.Sum256([]byte(input))
	signature, err := rsa.SignPSS(rand.Reader, tokentest.RSA(), crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: saltLength})
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

// rawPoint makes a P-256 key of any coordinates.
func rawPoint(x, y *big.Int) *ecdsa.PublicKey {
	//lint:ignore SA1019 no other way makes a key that is not on its curve
	return &ecdsa.PublicKey{Curve: elliptic.P256(), X: x, Y: y}
}

func coordinates(t *testing.T, key *ecdsa.PublicKey) (x, y *big.Int) {
	t.Helper()
	point, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	half := (len(point) - 1) / 2
	return new(big.Int).SetBytes(point[1 : 1+half]), new(big.Int).SetBytes(point[1+half:])
}
