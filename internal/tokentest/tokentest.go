// Package tokentest builds tokens for tests: also those that no library would
// sign, since header and claims are taken as text. It uses the standard
// library alone, so that it shares no mistake with what it tests.
package tokentest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // the larger hashes
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Algorithms are the names of all supported algorithms.
var Algorithms = []string{"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// Key signs with one algorithm.
type Key struct {
	Algorithm string
	// Private is a []byte secret, *rsa.PrivateKey, *ecdsa.PrivateKey or
	// ed25519.PrivateKey.
	Private any
}

// Public returns what verifies: the secret itself or the public key.
func (k Key) Public() any {
	if signer, ok := k.Private.(crypto.Signer); ok {
		return signer.Public()
	}
	return k.Private
}

// Secret is a shared secret, the same in every run.
func Secret(name string) []byte {
	first, second := sha256.Sum256([]byte("secret "+name)), sha256.Sum256([]byte("more "+name))
	return []byte(base64.RawStdEncoding.EncodeToString(append(first[:], second[:]...)))
}

// SharedSecret returns an HS256 key, the same in every run.
func SharedSecret(name string) Key { return Key{"HS256", Secret(name)} }

// Ed25519 returns an EdDSA key, the same in every run.
func Ed25519(name string) Key {
	seed := sha256.Sum256([]byte("ed25519 " + name))
	return Key{"EdDSA", ed25519.NewKeyFromSeed(seed[:])}
}

// RSA returns the process's one RSA key of 2048 bits.
var RSA = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })

// ROCA returns the process's one RSA key of 2048 bits with the weakness of
// CVE-2017-15361: its primes are k*M + 65537^a mod M, where M is the product of
// the first 126 primes.
var ROCA = sync.OnceValue(func() *rsa.PrivateKey {
	m, generator := big.NewInt(1), big.NewInt(65537)
	for p, n := int64(2), 0; n < 126; p++ {
		if prime := big.NewInt(p); prime.ProbablyPrime(0) {
			m.Mul(m, prime)
			n++
		}
	}
	// The two highest bits are set, so that the product has all of its bits.
	lowest := new(big.Int).Lsh(big.NewInt(3), 1022)
	multiples := new(big.Int).Div(new(big.Int).Lsh(big.NewInt(1), 1022), m)
	random := func() *big.Int {
		for {
			p := new(big.Int).Exp(generator, must(rand.Int(rand.Reader, m)), m)
			k := must(rand.Int(rand.Reader, multiples))
			k.Add(k, new(big.Int).Div(lowest, m))
			if p.Add(p, k.Mul(k, m)); p.BitLen() == 1024 && p.Cmp(lowest) > 0 && p.ProbablyPrime(20) {
				return p
			}
		}
	}
	one := big.NewInt(1)
	for {
		p, q := random(), random()
		n := new(big.Int).Mul(p, q)
		phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
		d := new(big.Int).ModInverse(generator, phi)
		if p.Cmp(q) == 0 || d == nil {
			continue
		}
		key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n, E: 65537}, D: d, Primes: []*big.Int{p, q}}
		key.Precompute()
		return key
	}
})

var curveKeys = sync.OnceValue(func() map[string]*ecdsa.PrivateKey {
	return map[string]*ecdsa.PrivateKey{
		"ES256": must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		"ES384": must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
		"ES512": must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)),
	}
})

// KeyFor returns a key of the process's for alg.
func KeyFor(alg string) Key {
	switch alg[:2] {
	case "HS":
		return Key{alg, Secret(alg)}
	case "RS", "PS":
		return Key{alg, RSA()}
	case "ES":
		return Key{alg, curveKeys()[alg]}
	}
	return Ed25519(alg)
}

// Sign returns the signature of signingInput.
func (k Key) Sign(signingInput string) []byte {
	if private, ok := k.Private.(ed25519.PrivateKey); ok {
		return ed25519.Sign(private, []byte(signingInput))
	}
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[k.Algorithm[2:]]
	if secret, ok := k.Private.([]byte); ok {
		mac := hmac.New(hash.New, secret)
		mac.Write([]byte(signingInput))
		return mac.Sum(nil)
	}
	h := hash.New()
	h.Write([]byte(signingInput))
	digest := h.Sum(nil)
	switch private := k.Private.(type) {
	case *rsa.PrivateKey:
		if strings.HasPrefix(k.Algorithm, "PS") {
			return must(rsa.SignPSS(rand.Reader, private, hash, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}))
		}
		return must(rsa.SignPKCS1v15(nil, private, hash, digest))
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, private, digest)
		if err != nil {
			panic(err)
		}
		size := (private.Curve.Params().BitSize + 7) / 8
		return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
	}
	panic("tokentest: no such key")
}

// Token signs the header and claims, both given as text of whatever kind.
func (k Key) Token(header, claims string) string {
	input := Encode(header) + "." + Encode(claims)
	return input + "." + Encode(string(k.Sign(input)))
}

// Header returns the plain header of the key's tokens.
func (k Key) Header() string { return `{"alg":"` + k.Algorithm + `","typ":"JWT"}` }

// HeaderWith returns the plain header and further members, such as
// `"kid":"1"`.
func (k Key) HeaderWith(members string) string {
	return `{"alg":"` + k.Algorithm + `",` + members + `}`
}

// JWK returns the public key, or the secret, as a JWK.
func (k Key) JWK(kid string) string {
	members := map[string]string{"alg": k.Algorithm}
	if kid != "" {
		members["kid"] = kid
	}
	switch public := k.Public().(type) {
	case []byte:
		members["kty"], members["k"] = "oct", Encode(string(public))
	case *rsa.PublicKey:
		members["kty"], members["n"], members["e"] = "RSA", Encode(string(public.N.Bytes())), Encode(string(big.NewInt(int64(public.E)).Bytes()))
	case *ecdsa.PublicKey:
		point := must(public.Bytes())[1:]
		members["kty"], members["crv"] = "EC", public.Curve.Params().Name
		members["x"], members["y"] = Encode(string(point[:len(point)/2])), Encode(string(point[len(point)/2:]))
	case ed25519.PublicKey:
		members["kty"], members["crv"], members["x"] = "OKP", "Ed25519", Encode(string(public))
	}
	return string(must(json.Marshal(members)))
}

// JWKS returns a JWK Set.
func JWKS(keys ...string) []byte { return []byte(`{"keys":[` + strings.Join(keys, ",") + `]}`) }

// PEM returns the public key in PEM.
func (k Key) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: k.DER()})
}

// DER returns the public key in DER.
func (k Key) DER() []byte { return must(x509.MarshalPKIXPublicKey(k.Public())) }

// Encode is base64url without padding.
func Encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// Decode is the reverse of Encode, of a segment known to be good.
func Decode(s string) string { return string(must(base64.RawURLEncoding.DecodeString(s))) }

// With returns the JSON object text with the given members put at its end,
// whether or not it has them already.
func With(object, members string) string {
	return strings.TrimSuffix(object, "}") + "," + members + "}"
}

// Deep returns arrays in arrays, n deep.
func Deep(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

// Vectors returns the path of a third-party test vector, or skips the test
// when there are none on this machine: MCPAUTH_VECTORS names their folder. With
// the variable set, a missing file is a failure.
func Vectors(t testing.TB, name string) string {
	dir := os.Getenv("MCPAUTH_VECTORS")
	if dir == "" {
		t.Skip("MCPAUTH_VECTORS is not set")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("MCPAUTH_VECTORS: %v", err)
	}
	return path
}

// ReadVectors decodes a vector file into v.
func ReadVectors(t testing.TB, path string, v any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// Wycheproof is a file of C2SP/wycheproof for JSON Web Signature.
type Wycheproof struct {
	TestGroups []WycheproofGroup
}

// WycheproofGroup is the cases of one key.
type WycheproofGroup struct {
	Comment         string
	Public, Private json.RawMessage
	Tests           []struct {
		TcID    int
		Comment string
		JWS     json.RawMessage // nearly always a string
		Result  string
	}
}

// Key returns the group's key as a verifier may have it: the public one, or
// the secret.
func (g WycheproofGroup) Key() []byte {
	if g.Public != nil {
		return g.Public
	}
	return g.Private
}

// Compact returns the token of one case: what is no string is passed on as it
// is, for a verifier to refuse.
func Compact(jws json.RawMessage) string {
	var s string
	if json.Unmarshal(jws, &s) == nil {
		return s
	}
	return string(jws)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic("tokentest: " + err.Error())
	}
	return v
}
