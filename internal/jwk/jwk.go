// Package jwk turns key material in the forms that operators and issuers have
// it (JWK and JWK Set of RFC 7517, PEM, plain secrets) into verification keys,
// each bound to one algorithm, and says exactly what is wrong with material
// that cannot be used.
//
// The parsers report every fault and return the good keys beside them: a
// configuration refuses a file with any fault, while a set fetched from an
// issuer may be used without its unusable keys.
package jwk

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/mcpauth-go/mcpauth/internal/jws"
	"github.com/mcpauth-go/mcpauth/internal/strictjson"
)

// Key is a verification key as a set knows it.
type Key struct {
	*jws.Key
	// ID is the "kid"; "" when the material has none, in which case tokens
	// may name any.
	ID string
	// Label says where the key came from, for messages.
	Label string

	kty, material string // of a fetched key: what makes it the same as another
}

// MaxKeys bounds how many keys one document may hold.
const MaxKeys = 100

// Parse reads a JWK or a JWK Set. algorithms are those of the issuer: a key
// that names another is a fault, and a key that names none gets the one of
// them that fits its type, or else the type's usual one.
func Parse(data []byte, algorithms []jws.Algorithm) ([]Key, []error) {
	list, err := keysOf(data)
	if err != nil {
		return nil, []error{fmt.Errorf("not a JWK or JWK Set: %w", err)}
	}
	if list == nil {
		key, err := parseOne(data, "the key", algorithms)
		if err != nil {
			return nil, []error{err}
		}
		return []Key{key}, nil
	}

	var (
		keys   []Key
		faults []error
		n      int
	)
	err = strictjson.Array(list, func(value []byte) error {
		if n == MaxKeys {
			return fmt.Errorf("more than %d keys", MaxKeys)
		}
		key, err := parseOne(value, fmt.Sprintf("keys[%d]", n), algorithms)
		if n++; err != nil {
			faults = append(faults, err)
		} else {
			keys = append(keys, key)
		}
		return nil
	})
	if err != nil {
		return nil, []error{fmt.Errorf(`"keys": %w`, err)}
	}
	if n == 0 {
		faults = append(faults, errors.New("the set is empty"))
	}
	return keys, faults
}

// keysOf returns the value of "keys", nil when there is none.
func keysOf(document []byte) (list []byte, err error) {
	err = strictjson.Object(document, func(name, value []byte) error {
		if string(name) == "keys" {
			list = value
		}
		return nil
	})
	return list, err
}

// members are those of a JWK that matter here.
type members struct {
	kty, alg, use, kid, crv string
	n, e, x, y, k           []byte // decoded
	private                 bool
	keyOps                  []byte
}

func parseOne(data []byte, label string, algorithms []jws.Algorithm) (Key, error) {
	m, err := readMembers(data)
	if err != nil {
		return Key{}, fmt.Errorf("%s: %w", label, err)
	}
	if m.kid != "" {
		label = fmt.Sprintf("%s (kid %.64q)", label, m.kid)
	}
	key, err := m.key(algorithms)
	if err != nil {
		return Key{}, fmt.Errorf("%s: %w", label, err)
	}
	return Key{Key: key, ID: m.kid, Label: label}, nil
}

func readMembers(data []byte) (m members, err error) {
	err = strictjson.Object(data, func(name, value []byte) error {
		text := func(into *string) error {
			s, ok := strictjson.String(value)
			if !ok || len(s) == 0 {
				return fmt.Errorf("%q is not a non-empty string", name)
			}
			*into = string(s)
			return nil
		}
		octets := func(into *[]byte) error {
			s, ok := strictjson.String(value)
			if !ok {
				return fmt.Errorf("%q is not a string", name)
			}
			var err error
			if *into, err = base64.RawURLEncoding.Strict().DecodeString(string(s)); err != nil || len(s) == 0 || slices.ContainsFunc(s, isBreak) {
				return fmt.Errorf("%q is not base64url without padding", name)
			}
			return nil
		}
		switch string(name) {
		case "kty":
			return text(&m.kty)
		case "alg":
			return text(&m.alg)
		case "use":
			return text(&m.use)
		case "kid":
			return text(&m.kid)
		case "crv":
			return text(&m.crv)
		case "n":
			return octets(&m.n)
		case "e":
			return octets(&m.e)
		case "x":
			return octets(&m.x)
		case "y":
			return octets(&m.y)
		case "k":
			return octets(&m.k)
		case "d", "p", "q", "dp", "dq", "qi", "oth":
			m.private = true
		case "key_ops":
			m.keyOps = value
		}
		return nil
	})
	return m, err
}

// isBreak finds what Go's base64 skips even in strict mode.
func isBreak(c byte) bool { return c == '\r' || c == '\n' }

func (m members) key(algorithms []jws.Algorithm) (*jws.Key, error) {
	if m.use != "" && m.use != "sig" {
		return nil, fmt.Errorf(`"use" is %.32q, not "sig"`, m.use)
	}
	if m.keyOps != nil {
		verify := false
		err := strictjson.Array(m.keyOps, func(value []byte) error {
			op, ok := strictjson.String(value)
			if !ok {
				return errors.New("an element is not a string")
			}
			verify = verify || string(op) == "verify"
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf(`"key_ops": %w`, err)
		}
		if !verify {
			return nil, errors.New(`"key_ops" does not list "verify"`)
		}
	}
	if m.private {
		return nil, errors.New("holds a private key, which a verifier must not have: give the public key only")
	}
	material, err := m.material()
	if err != nil {
		return nil, err
	}
	alg, err := m.algorithm(material, algorithms)
	if err != nil {
		return nil, err
	}
	return jws.NewKey(alg, material)
}

func (m members) material() (any, error) {
	lacks := func(names string) error { return fmt.Errorf("kty %q needs %s", m.kty, names) }
	switch m.kty {
	case "":
		return nil, errors.New(`"kty" is missing`)
	case "oct":
		if m.k == nil {
			return nil, lacks(`"k"`)
		}
		if kind := publicForm(m.k); kind != "" {
			return nil, fmt.Errorf(`"k" holds %s, not a shared secret`, kind)
		}
		if known := wellKnown(m.k); known != "" {
			return nil, errors.New(known)
		}
		return m.k, nil
	case "RSA":
		if m.n == nil || m.e == nil {
			return nil, lacks(`"n" and "e"`)
		}
		e := new(big.Int).SetBytes(m.e)
		if !e.IsInt64() || e.Int64() > 1<<31-1 {
			return nil, errors.New("the RSA exponent is larger than 2^31-1")
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(m.n), E: int(e.Int64())}, nil
	case "EC":
		curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[m.crv]
		if curve == nil {
			return nil, fmt.Errorf("curve %.32q is not P-256, P-384 or P-521", m.crv)
		}
		// RFC 7518, section 6.2.1.2: full length, leading zeros included.
		size := (curve.Params().BitSize + 7) / 8
		if len(m.x) != size || len(m.y) != size {
			return nil, fmt.Errorf(`"x" and "y" must have %d bytes each on %s`, size, m.crv)
		}
		key, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, m.x, m.y))
		if err != nil {
			return nil, fmt.Errorf("the key is not a point on %s", m.crv)
		}
		return key, nil
	case "OKP":
		if m.crv != "Ed25519" {
			return nil, fmt.Errorf("curve %.32q is not Ed25519", m.crv)
		}
		if m.x == nil {
			return nil, lacks(`"x"`)
		}
		return ed25519.PublicKey(m.x), nil
	default:
		return nil, fmt.Errorf("kty %.32q is not supported", m.kty)
	}
}

func (m members) algorithm(material any, algorithms []jws.Algorithm) (jws.Algorithm, error) {
	if m.alg == "" {
		return Choose(material, algorithms)
	}
	alg, ok := jws.ParseAlgorithm(m.alg)
	if !ok {
		return "", fmt.Errorf(`"alg" %.32q is not supported`, m.alg)
	}
	if len(algorithms) > 0 && !slices.Contains(algorithms, alg) {
		return "", fmt.Errorf("is for %s, which the configured algorithms %v do not include", alg, algorithms)
	}
	return alg, nil
}

// Choose returns the algorithm of a key that names none: the one of
// algorithms that fits it, or the type's usual one where none is configured.
func Choose(material any, algorithms []jws.Algorithm) (jws.Algorithm, error) {
	var fitting []jws.Algorithm
	switch key := material.(type) {
	case []byte:
		fitting = []jws.Algorithm{jws.HS256, jws.HS384, jws.HS512}
	case *rsa.PublicKey:
		fitting = []jws.Algorithm{jws.RS256, jws.RS384, jws.RS512, jws.PS256, jws.PS384, jws.PS512}
	case *ecdsa.PublicKey:
		for _, alg := range []jws.Algorithm{jws.ES256, jws.ES384, jws.ES512} {
			if jws.CurveOf(alg) == key.Curve {
				fitting = append(fitting, alg)
			}
		}
	case ed25519.PublicKey:
		fitting = []jws.Algorithm{jws.EdDSA}
	}
	if len(fitting) == 0 {
		return "", fmt.Errorf("a key of this type (%T) verifies no supported algorithm", material)
	}
	if len(algorithms) == 0 {
		return fitting[0], nil
	}
	chosen := slices.DeleteFunc(fitting, func(a jws.Algorithm) bool { return !slices.Contains(algorithms, a) })
	switch len(chosen) {
	case 1:
		return chosen[0], nil
	case 0:
		return "", fmt.Errorf("fits none of the configured algorithms %v", algorithms)
	default:
		return "", fmt.Errorf(`names no "alg" and fits several of the configured algorithms: %v`, chosen)
	}
}
