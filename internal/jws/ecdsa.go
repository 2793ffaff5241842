package jws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"math/big"
)

type ecdsaVerifier struct {
	key  *ecdsa.PublicKey
	hash crypto.Hash
	size int // bytes of a coordinate
}

func newECDSA(alg Algorithm, key *ecdsa.PublicKey) (*ecdsaVerifier, error) {
	curve := CurveOf(alg)
	if curve == nil {
		return nil, mismatch(alg, "an elliptic-curve key")
	}
	if key.Curve != curve {
		return nil, fmt.Errorf("%s needs a key on %s, not on %s", alg, curve.Params().Name, key.Curve.Params().Name)
	}
	// Bytes fails for a point that is not on the curve.
	if _, err := key.Bytes(); err != nil {
		return nil, fmt.Errorf("the key is not a point on %s", curve.Params().Name)
	}
	return &ecdsaVerifier{key: key, hash: hashOf(alg), size: (curve.Params().BitSize + 7) / 8}, nil
}

func (v *ecdsaVerifier) verify(signingInput, signature []byte) bool {
	if len(signature) != 2*v.size {
		return false
	}
	r := new(big.Int).SetBytes(signature[:v.size])
	s := new(big.Int).SetBytes(signature[v.size:])
	return ecdsa.Verify(v.key, digestOf(v.hash, signingInput), r, s)
}

// CurveOf returns the curve of an ES algorithm, nil for others (RFC 7518,
// section 3.4).
func CurveOf(alg Algorithm) elliptic.Curve {
	switch alg {
	case ES256:
		return elliptic.P256()
	case ES384:
		return elliptic.P384()
	case ES512:
		return elliptic.P521()
	}
	return nil
}

func hashOf(alg Algorithm) crypto.Hash {
	switch alg {
	case RS384, PS384, ES384:
		return crypto.SHA384
	case RS512, PS512, ES512:
		return crypto.SHA512
	}
	return crypto.SHA256
}

func digestOf(hash crypto.Hash, data []byte) []byte {
	switch hash {
	case crypto.SHA384:
		d := sha512.Sum384(data)
		return d[:]
	case crypto.SHA512:
		d := sha512.Sum512(data)
		return d[:]
	}
	d := sha256.Sum256(data)
	return d[:]
}
