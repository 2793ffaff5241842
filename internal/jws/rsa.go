package jws

import (
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
)

const (
	minRSABits = 2048 // RFC 7518, section 3.3
	maxRSABits = 8192 // verifying costs time that a stranger chooses to spend
	// maxSignature is the size of the longest signature, that of the largest
	// RSA key.
	maxSignature = maxRSABits / 8
)

type rsaVerifier struct {
	key  *rsa.PublicKey
	hash crypto.Hash
	pss  bool
}

func newRSA(alg Algorithm, key *rsa.PublicKey) (*rsaVerifier, error) {
	v := &rsaVerifier{key: key}
	switch alg {
	case RS256, RS384, RS512:
	case PS256, PS384, PS512:
		v.pss = true
	default:
		return nil, mismatch(alg, "an RSA key")
	}
	v.hash = hashOf(alg)
	bits := key.N.BitLen()
	switch {
	case bits < minRSABits:
		return nil, fmt.Errorf("the RSA key has %d bits, at least %d are needed", bits, minRSABits)
	case bits > maxRSABits:
		return nil, fmt.Errorf("the RSA key has %d bits, at most %d are taken", bits, maxRSABits)
	case key.N.Bit(0) == 0:
		return nil, fmt.Errorf("the RSA modulus is even")
	case key.E < 3 || key.E%2 == 0:
		return nil, fmt.Errorf("the RSA exponent %d is not an odd number of at least 3", key.E)
	case isROCA(key.N):
		return nil, errors.New("the RSA modulus can be factored (CVE-2017-15361, ROCA): make a new key with other software or hardware")
	}
	return v, nil
}

func (v *rsaVerifier) verify(signingInput, signature []byte) bool {
	digest := digestOf(v.hash, signingInput)
	if v.pss {
		// RFC 7518, section 3.5: the salt is as long as the hash.
		return rsa.VerifyPSS(v.key, v.hash, digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
	}
	return rsa.VerifyPKCS1v15(v.key, v.hash, digest, signature) == nil
}
