package jws

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
)

// Algorithm is a signature algorithm by its registered name (RFC 7518,
// section 3.1; RFC 8037, section 3.1).
type Algorithm string

const (
	HS256 Algorithm = "HS256"
	HS384 Algorithm = "HS384"
	HS512 Algorithm = "HS512"
	RS256 Algorithm = "RS256"
	RS384 Algorithm = "RS384"
	RS512 Algorithm = "RS512"
	PS256 Algorithm = "PS256"
	PS384 Algorithm = "PS384"
	PS512 Algorithm = "PS512"
	ES256 Algorithm = "ES256"
	ES384 Algorithm = "ES384"
	ES512 Algorithm = "ES512"
	// EdDSA is Ed25519; the newer name "Ed25519" (RFC 9864) means the same.
	EdDSA Algorithm = "EdDSA"
)

// Algorithms lists the supported algorithms.
var Algorithms = []Algorithm{HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA}

// ParseAlgorithm returns the algorithm of that name. ok is false for any name
// that is not supported, "none" above all.
func ParseAlgorithm(name string) (alg Algorithm, ok bool) {
	alg = parseAlgorithm([]byte(name))
	return alg, alg != ""
}

func parseAlgorithm(name []byte) Algorithm {
	if string(name) == "Ed25519" {
		return EdDSA
	}
	for _, alg := range Algorithms {
		if string(name) == string(alg) {
			return alg
		}
	}
	return ""
}

// Symmetric reports whether the key that verifies can also sign.
func (a Algorithm) Symmetric() bool { return a == HS256 || a == HS384 || a == HS512 }

// Key is a verification key bound to one algorithm. It is immutable and safe
// for concurrent use.
type Key struct {
	alg      Algorithm
	verifier verifier
}

// A verifier checks signatures of one key under one algorithm.
type verifier interface {
	verify(signingInput, signature []byte) bool
}

// Algorithm returns the one algorithm that the key serves.
func (k *Key) Algorithm() Algorithm { return k.alg }

// NewKey binds material to alg. The material is []byte for the HS algorithms,
// *rsa.PublicKey for RS and PS, *ecdsa.PublicKey for ES and ed25519.PublicKey
// for EdDSA. The error says why a key is too weak or does not fit.
func NewKey(alg Algorithm, material any) (*Key, error) {
	var (
		v   verifier
		err error
	)
	switch m := material.(type) {
	case []byte:
		v, err = newHMAC(alg, m)
	case *rsa.PublicKey:
		v, err = newRSA(alg, m)
	case *ecdsa.PublicKey:
		v, err = newECDSA(alg, m)
	case ed25519.PublicKey:
		v, err = newEd25519(alg, m)
	default:
		err = fmt.Errorf("a key of type %T is not supported", material)
	}
	if err != nil {
		return nil, err
	}
	return &Key{alg: alg, verifier: v}, nil
}

func mismatch(alg Algorithm, kind string) error {
	return fmt.Errorf("%s does not work with %s", alg, kind)
}
