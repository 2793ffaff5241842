package jws

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"slices"
	"sync"
)

type hmacVerifier struct{ states sync.Pool }

type hmacState struct {
	mac hash.Hash
	sum [sha512.Size]byte
}

func newHMAC(alg Algorithm, secret []byte) (*hmacVerifier, error) {
	var newHash func() hash.Hash
	switch alg {
	case HS256:
		newHash = sha256.New
	case HS384:
		newHash = sha512.New384
	case HS512:
		newHash = sha512.New
	default:
		return nil, mismatch(alg, "a secret")
	}
	// RFC 7518, section 3.2: a shorter key is weaker than its hash.
	if size := newHash().Size(); len(secret) < size {
		return nil, fmt.Errorf("the secret has %d bytes, %s needs at least %d", len(secret), alg, size)
	}
	secret = slices.Clone(secret)
	v := &hmacVerifier{}
	v.states.New = func() any { return &hmacState{mac: hmac.New(newHash, secret)} }
	return v, nil
}

func (v *hmacVerifier) verify(signingInput, signature []byte) bool {
	s := v.states.Get().(*hmacState)
	s.mac.Reset()
	s.mac.Write(signingInput)
	ok := hmac.Equal(s.mac.Sum(s.sum[:0]), signature)
	v.states.Put(s)
	return ok
}
