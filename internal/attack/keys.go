package attack

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

// Key signs with one algorithm.
type Key struct {
	// ID is the "kid".
	ID        string
	Algorithm string
	// Private is a []byte secret, *rsa.PrivateKey, *ecdsa.PrivateKey or
	// ed25519.PrivateKey.
	Private any
}

// NewIssuer returns an issuer with a key for each algorithm, whose ID is the
// algorithm's name in lower case. Keys are derived from the name, and are the
// same in every run.
func NewIssuer(name, audience, userIDClaim string, algorithms ...string) Issuer {
	iss := Issuer{Name: name, Audience: audience, UserIDClaim: userIDClaim}
	for _, alg := range algorithms {
		iss.Keys = append(iss.Keys, newKey(name, alg, strings.ToLower(alg)))
	}
	return iss
}

// JWKS returns what a verifier needs, the public keys or secrets, as a JWK
// Set.
func (i Issuer) JWKS() []byte {
	var set []string
	for _, k := range i.Keys {
		set = append(set, k.jwk())
	}
	return tokentest.JWKS(set...)
}

// Public returns what verifies: the secret itself or the public key.
func (k Key) Public() any { return k.material().Public() }

func (k Key) material() tokentest.Key {
	return tokentest.Key{Algorithm: k.Algorithm, Private: k.Private}
}

func (k Key) jwk() string { return k.material().JWK(k.ID) }

func newKey(name, alg, id string) Key {
	k := Key{ID: id, Algorithm: alg}
	seed := sha256.Sum256([]byte(name + " " + alg))
	switch alg[:2] {
	case "HS":
		k.Private = tokentest.Secret(name + " " + alg)
	case "RS", "PS":
		k.Private = newRSA(seed)
	case "ES":
		curve := curveOf(alg)
		// Too long by one bit at least, so reduced; a bias does no harm here.
		d := new(big.Int).SetBytes(mgf1(crypto.SHA256, seed[:], 80))
		d.Mod(d, new(big.Int).Sub(curve.Params().N, big.NewInt(1))).Add(d, big.NewInt(1))
		k.Private = must(ecdsa.ParseRawPrivateKey(curve, d.FillBytes(make([]byte, size(curve)))))
	default:
		k.Private = ed25519.NewKeyFromSeed(seed[:])
	}
	return k
}

// rsaKeys remembers what newRSA returns, which is long in the making.
var rsaKeys sync.Map

// newRSA makes a key of 2048 bits from a seed: the standard library makes none
// twice.
func newRSA(seed [32]byte) *rsa.PrivateKey {
	if known, ok := rsaKeys.Load(seed); ok {
		return known.(*rsa.PrivateKey)
	}
	one, e := big.NewInt(1), big.NewInt(65537)
	source := rand.NewChaCha8(seed)
	prime := func() *big.Int {
		b := make([]byte, 128)
		for {
			for i := 0; i < len(b); i += 8 {
				binary.LittleEndian.PutUint64(b[i:], source.Uint64())
			}
			b[0] |= 0xc0
			b[127] |= 1
			p := new(big.Int).SetBytes(b)
			if p.ProbablyPrime(1) && new(big.Int).GCD(nil, nil, e, new(big.Int).Sub(p, one)).Cmp(one) == 0 {
				return p
			}
		}
	}
	p, q := prime(), prime()
	phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	k := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: 65537}, D: new(big.Int).ModInverse(e, phi), Primes: []*big.Int{p, q}}
	k.Precompute()
	known, _ := rsaKeys.LoadOrStore(seed, k)
	return known.(*rsa.PrivateKey)
}

func hashOf(alg string) crypto.Hash {
	switch {
	case strings.HasSuffix(alg, "384"):
		return crypto.SHA384
	case strings.HasSuffix(alg, "512"):
		return crypto.SHA512
	case strings.HasSuffix(alg, "S1"):
		return crypto.SHA1
	}
	return crypto.SHA256
}

func sum(hash crypto.Hash, data string) []byte {
	switch hash {
	case crypto.SHA1:
		d := sha1.Sum([]byte(data))
		return d[:]
	case crypto.SHA384:
		d := sha512.Sum384([]byte(data))
		return d[:]
	case crypto.SHA512:
		d := sha512.Sum512([]byte(data))
		return d[:]
	}
	d := sha256.Sum256([]byte(data))
	return d[:]
}

// Sign returns the one signature of input.
func (k Key) Sign(input string) []byte { return k.signAs(k.Algorithm, input) }

// signAs signs with the key as if it were for alg, which is of its kind.
func (k Key) signAs(alg, input string) []byte {
	hash := hashOf(alg)
	switch private := k.Private.(type) {
	case []byte:
		mac := hmac.New(hash.New, private)
		mac.Write([]byte(input))
		return mac.Sum(nil)
	case *rsa.PrivateKey:
		if strings.HasPrefix(alg, "PS") {
			return signPSS(private, input, pss{hash: hash, mask: hash, salt: hash.Size(), trailer: 0xbc})
		}
		return must(rsa.SignPKCS1v15(nil, private, hash, sum(hash, input)))
	case *ecdsa.PrivateKey:
		r, s := signECDSA(private, hash, input)
		return raw(private.Curve, r, s)
	case ed25519.PrivateKey:
		return ed25519.Sign(private, []byte(input))
	}
	panic(fmt.Sprintf("attack: no key for %s", alg))
}

// signECDSA signs as RFC 6979 says.
func signECDSA(k *ecdsa.PrivateKey, hash crypto.Hash, input string) (r, s *big.Int) {
	var pair struct{ R, S *big.Int }
	must(asn1.Unmarshal(must(k.Sign(nil, sum(hash, input), hash)), &pair))
	return pair.R, pair.S
}

// rawRSA is the operation of the private key on an encoded message, by the
// Chinese remainder theorem (RFC 8017, section 5.1.2).
func rawRSA(k *rsa.PrivateKey, encoded []byte) []byte {
	m, p, q := new(big.Int).SetBytes(encoded), k.Primes[0], k.Primes[1]
	m.Mod(m, k.N)
	a := new(big.Int).Exp(m, k.Precomputed.Dp, p)
	b := new(big.Int).Exp(m, k.Precomputed.Dq, q)
	a.Sub(a, b).Mul(a, k.Precomputed.Qinv).Mod(a, p)
	return b.Add(b, a.Mul(a, q)).FillBytes(make([]byte, k.Size()))
}

// pss describes a PSS encoding (RFC 8017, section 9.1.1), right or wrong.
type pss struct {
	hash, mask crypto.Hash
	salt       int
	trailer    byte
	padding    byte // 0 where it is right
	separator  byte // 1 where it is 0 here
}

func signPSS(k *rsa.PrivateKey, input string, p pss) []byte {
	digest := sum(p.hash, input)
	salt := mgf1(crypto.SHA256, append([]byte("salt"), digest...), p.salt)
	h := sum(p.hash, string(make([]byte, 8))+string(digest)+string(salt))
	db := make([]byte, k.Size()-len(h)-1)
	db[len(db)-len(salt)-1] = 1
	if p.separator != 0 {
		db[len(db)-len(salt)-1] = p.separator
	}
	db[1] |= p.padding
	copy(db[len(db)-len(salt):], salt)
	for i, m := range mgf1(p.mask, h, len(db)) {
		db[i] ^= m
	}
	db[0] &= 0x7f
	return rawRSA(k, slices.Concat(db, h, []byte{p.trailer}))
}

// mgf1 is the mask generation of RFC 8017, appendix B.2.1.
func mgf1(hash crypto.Hash, seed []byte, n int) []byte {
	var out []byte
	for i := 0; len(out) < n; i++ {
		out = append(out, sum(hash, string(binary.BigEndian.AppendUint32(slices.Clone(seed), uint32(i))))...)
	}
	return out[:n]
}

// publicForm is a way to write a public key down.
type publicForm struct {
	name string
	data []byte
}

// publicForms returns what somebody may take for a shared secret.
func (k Key) publicForms() []publicForm {
	m := k.material()
	block := m.PEM()
	forms := []publicForm{
		{"PEM", block},
		{"PEM without the last line break", []byte(strings.TrimSuffix(string(block), "\n"))},
		{"PEM with CR LF", []byte(strings.ReplaceAll(string(block), "\n", "\r\n"))},
		{"PEM after a space", append([]byte(" "), block...)},
		{"PEM in one line", []byte(strings.ReplaceAll(string(block), "\n", ""))},
		{"PEM with escaped line breaks", []byte(strings.ReplaceAll(string(block), "\n", `\n`))},
		{"DER", m.DER()},
		{"base64 of DER", []byte(base64.StdEncoding.EncodeToString(m.DER()))},
		{"JWK", []byte(k.jwk())},
		{"JWK Set", tokentest.JWKS(k.jwk())},
		{"SSH", k.ssh()},
	}
	switch public := m.Public().(type) {
	case *rsa.PublicKey:
		pkcs1 := x509.MarshalPKCS1PublicKey(public)
		block := pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: pkcs1})
		forms = append(forms,
			publicForm{"PKCS #1 PEM", block},
			publicForm{"PKCS #1 PEM without the last line break", []byte(strings.TrimSuffix(string(block), "\n"))},
			publicForm{"PKCS #1 PEM after a line break", append([]byte("\n"), block...)},
			publicForm{"PKCS #1 DER", pkcs1},
			publicForm{"modulus", public.N.Bytes()},
			publicForm{"base64url of the modulus", []byte(tokentest.Encode(string(public.N.Bytes())))},
			publicForm{"decimal modulus", []byte(public.N.String())})
	case *ecdsa.PublicKey:
		point := must(public.Bytes())
		forms = append(forms, publicForm{"point", point}, publicForm{"x", point[1 : 1+len(point)/2]})
	case ed25519.PublicKey:
		forms = append(forms, publicForm{"point", public}, publicForm{"base64url of the point", []byte(tokentest.Encode(string(public)))})
	}
	return forms
}

// ssh returns the public key as OpenSSH writes it (RFC 4253, section 6.6).
func (k Key) ssh() []byte {
	var kind string
	var fields []string
	switch public := k.material().Public().(type) {
	case *rsa.PublicKey:
		kind, fields = "ssh-rsa", []string{"\x01\x00\x01", "\x00" + string(public.N.Bytes())}
	case *ecdsa.PublicKey:
		curve := fmt.Sprintf("nistp%d", public.Curve.Params().BitSize)
		kind, fields = "ecdsa-sha2-"+curve, []string{curve, string(must(public.Bytes()))}
	case ed25519.PublicKey:
		kind, fields = "ssh-ed25519", []string{string(public)}
	}
	var blob []byte
	for _, f := range append([]string{kind}, fields...) {
		blob = append(binary.BigEndian.AppendUint32(blob, uint32(len(f))), f...)
	}
	return []byte(kind + " " + base64.StdEncoding.EncodeToString(blob))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic("attack: " + err.Error())
	}
	return v
}
