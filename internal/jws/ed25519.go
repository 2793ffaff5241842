package jws

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"

	"filippo.io/edwards25519"
)

type ed25519Verifier struct{ key ed25519.PublicKey }

func newEd25519(alg Algorithm, key ed25519.PublicKey) (*ed25519Verifier, error) {
	if alg != EdDSA {
		return nil, mismatch(alg, "an Ed25519 key")
	}
	if len(key) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("the Ed25519 key has %d bytes, %d are needed", len(key), ed25519.PublicKeySize)
	}
	point, err := new(edwards25519.Point).SetBytes(key)
	if err != nil {
		return nil, errors.New("the key is not a point on Ed25519")
	}
	// Under a key of small order one signature fits many messages, made
	// without any private key.
	if new(edwards25519.Point).MultByCofactor(point).Equal(edwards25519.NewIdentityPoint()) == 1 {
		return nil, errors.New("the Ed25519 key is a point of small order")
	}
	return &ed25519Verifier{key: slices.Clone(key)}, nil
}

func (v *ed25519Verifier) verify(signingInput, signature []byte) bool {
	return ed25519.Verify(v.key, signingInput, signature)
}
