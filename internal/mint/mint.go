// Package mint signs JSON Web Tokens: for the command line and for the
// demonstration. Nothing that verifies depends on it.
package mint

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/mcpauth-go/mcpauth/internal/jwk"
	"github.com/mcpauth-go/mcpauth/internal/jws"
)

// Signer signs claims with one key.
type Signer struct {
	key jose.SigningKey
	kid string
}

// NewSigner returns a Signer for key, which is a []byte secret or a private
// key of crypto/rsa, crypto/ecdsa or crypto/ed25519. With alg "", the key's
// usual algorithm is used. kid may be "".
func NewSigner(alg jws.Algorithm, key any, kid string) (*Signer, error) {
	public := key
	if signer, ok := key.(crypto.Signer); ok {
		public = signer.Public()
	}
	if alg == "" {
		var err error
		if alg, err = jwk.Choose(public, nil); err != nil {
			return nil, err
		}
	}
	// What the verifier would refuse is not worth signing with.
	if _, err := jws.NewKey(alg, public); err != nil {
		return nil, err
	}
	return &Signer{key: jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: key}, kid: kid}, nil
}

// Sign returns claims as a signed token of type "JWT".
func (s *Signer) Sign(claims map[string]any) (string, error) {
	options := (&jose.SignerOptions{}).WithType("JWT")
	if s.kid != "" {
		options = options.WithHeader("kid", s.kid)
	}
	signer, err := jose.NewSigner(s.key, options)
	if err != nil {
		return "", fmt.Errorf("mint: %w", err)
	}
	var payload bytes.Buffer
	encoder := json.NewEncoder(&payload)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(claims); err != nil {
		return "", fmt.Errorf("mint: claims: %w", err)
	}
	signed, err := signer.Sign(bytes.TrimSpace(payload.Bytes()))
	if err != nil {
		return "", fmt.Errorf("mint: %w", err)
	}
	return signed.CompactSerialize()
}

// JWKS returns the public key as a JWK Set.
func (s *Signer) JWKS() ([]byte, error) {
	signer, ok := s.key.Key.(crypto.Signer)
	if !ok {
		return nil, errors.New("mint: a shared secret has no public key")
	}
	return json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{
		Key: signer.Public(), KeyID: s.kid, Algorithm: string(s.key.Algorithm), Use: "sig",
	}}})
}

// ParsePrivateKey reads a private key: PEM (PKCS #8, PKCS #1, SEC 1) or JWK.
func ParsePrivateKey(data []byte) (crypto.Signer, error) {
	var key any
	if block, _ := pem.Decode(data); block != nil {
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE":
			return nil, fmt.Errorf("PEM block %q is public; signing needs the private key", block.Type)
		default:
			return nil, fmt.Errorf("PEM block %.32q is not an unencrypted private key", block.Type)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot be decoded as %s", block.Type)
		}
	} else {
		var j jose.JSONWebKey
		if json.Unmarshal(data, &j) != nil {
			return nil, errors.New("neither a PEM nor a JWK private key")
		}
		key = j.Key
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return key, nil
	case *ecdsa.PrivateKey:
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	}
	return nil, errors.New("not an RSA, ECDSA or Ed25519 private key")
}
