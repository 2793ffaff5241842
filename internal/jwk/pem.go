package jwk

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/mcpauth-go/mcpauth/internal/jws"
)

// ParsePEM reads public keys in PEM: PKIX ("PUBLIC KEY"), PKCS #1 ("RSA PUBLIC
// KEY") or one certificate, whose key alone is used: it is neither checked for
// validity nor for who issued it, since the operator chose it.
func ParsePEM(data []byte, algorithms []jws.Algorithm) ([]Key, []error) {
	var (
		keys         []Key
		faults       []error
		certificates int
	)
	rest := data
	for n := 0; len(bytes.TrimSpace(rest)) > 0; n++ {
		label := fmt.Sprintf("PEM block %d", n+1)
		if n == MaxKeys {
			return keys, append(faults, fmt.Errorf("more than %d PEM blocks", MaxKeys))
		}
		block, after := pem.Decode(rest)
		if block == nil {
			return keys, append(faults, fmt.Errorf("%s: not PEM", label))
		}
		if consumed := rest[:len(rest)-len(after)]; bytes.Count(consumed, []byte("-----BEGIN ")) > 1 {
			// Decode passes over what it cannot read.
			faults = append(faults, fmt.Errorf("%s: a block that is not PEM comes before it", label))
		}
		rest = after
		key, err := fromBlock(block, algorithms)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", label, err))
			continue
		}
		if block.Type == "CERTIFICATE" {
			certificates++
		}
		keys = append(keys, Key{Key: key, Label: label})
	}
	if certificates > 1 {
		// The rest of a chain would become signing keys of the issuer's.
		faults = append(faults, fmt.Errorf("%d certificates: give the signer's own only, without its chain", certificates))
	}
	if len(keys) == 0 && len(faults) == 0 {
		faults = append(faults, errors.New("no PEM block"))
	}
	return keys, faults
}

func fromBlock(block *pem.Block, algorithms []jws.Algorithm) (*jws.Key, error) {
	var (
		material any
		err      error
	)
	switch {
	case block.Type == "PUBLIC KEY":
		material, err = x509.ParsePKIXPublicKey(block.Bytes)
	case block.Type == "RSA PUBLIC KEY":
		material, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case block.Type == "CERTIFICATE":
		var certificate *x509.Certificate
		if certificate, err = x509.ParseCertificate(block.Bytes); err == nil {
			material = certificate.PublicKey
		}
	case strings.HasSuffix(block.Type, "PRIVATE KEY"):
		return nil, errors.New("holds a private key, which a verifier must not have: give the public key only")
	default:
		return nil, fmt.Errorf("type %.32q is not PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE", block.Type)
	}
	if err != nil {
		return nil, errors.New("cannot be decoded as " + block.Type)
	}
	alg, err := Choose(material, algorithms)
	if err != nil {
		return nil, err
	}
	return jws.NewKey(alg, material)
}
