package jwk_test

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth/internal/jwk"
	"github.com/mcpauth-go/mcpauth/internal/jws"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// certificate returns one that expired long ago: its key alone is used.
func certificate(t testing.TB, name string) []byte {
	t.Helper()
	return certificateOf(t, name, &tokentest.RSA().PublicKey)
}

func certificateOf(t testing.TB, name string, key *rsa.PublicKey) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Unix(0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key, tokentest.RSA())
	if err != nil {
		t.Fatal(err)
	}
	return block("CERTIFICATE", der)
}

func TestParsePEM(t *testing.T) {
	es, ed := tokentest.KeyFor("ES384"), tokentest.KeyFor("EdDSA")
	for _, test := range []struct {
		name   string
		data   []byte
		signer tokentest.Key
		n      int
	}{
		{"RSA in PKIX", tokentest.KeyFor("RS256").PEM(), tokentest.KeyFor("RS256"), 1},
		{"RSA in PKCS #1", block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&tokentest.RSA().PublicKey)), tokentest.KeyFor("RS256"), 1},
		{"certificate, expired", certificate(t, "one"), tokentest.KeyFor("RS256"), 1},
		{"P-384", es.PEM(), es, 1},
		{"Ed25519", ed.PEM(), ed, 1},
		{"text around the block", []byte("# the key\n" + string(ed.PEM()) + "\n\n"), ed, 1},
		{"Windows line ends", []byte(strings.ReplaceAll(string(ed.PEM()), "\n", "\r\n")), ed, 1},
		{"several", slices.Concat(es.PEM(), []byte("\n"), ed.PEM()), ed, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			keys, faults := jwk.ParsePEM(test.data, nil)
			if len(faults) > 0 || len(keys) != test.n || !verifies(t, keys, test.signer) {
				t.Errorf("keys %v, faults %v", keys, faults)
			}
		})
	}
}

func TestParsePEMRefusals(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkix := func(public any) []byte {
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			t.Fatal(err)
		}
		return block("PUBLIC KEY", der)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(tokentest.KeyFor("EdDSA").Private)
	if err != nil {
		t.Fatal(err)
	}
	ed := tokentest.KeyFor("EdDSA").PEM()
	// One character of the first block's base64 is gone.
	broken := []byte(strings.Replace(string(tokentest.KeyFor("RS256").PEM()), "MII", "M!I", 1))
	for _, test := range []struct {
		name       string
		data       []byte
		algorithms []jws.Algorithm
		reason     string
	}{
		{"empty", nil, nil, "no PEM block"},
		{"white space", []byte(" \n\t"), nil, "no PEM block"},
		{"no PEM", []byte("hello"), nil, "PEM block 1: not PEM"},
		{"JWK", []byte(tokentest.KeyFor("EdDSA").JWK("")), nil, "not PEM"},
		{"cut short", ed[:len(ed)/2], nil, "not PEM"},
		{"garbage after a block", slices.Concat(ed, []byte("garbage")), nil, "PEM block 2: not PEM"},
		{"broken block before a good one", slices.Concat(broken, ed), nil, "PEM block 1"},
		{"private key, PKCS #8", block("PRIVATE KEY", pkcs8), nil, "private key"},
		{"private key, PKCS #1", block("RSA PRIVATE KEY", []byte("x")), nil, "private key"},
		{"private key, encrypted", block("ENCRYPTED PRIVATE KEY", []byte("x")), nil, "private key"},
		{"private key of OpenSSH", block("OPENSSH PRIVATE KEY", []byte("x")), nil, "private key"},
		{"private key beside the public one", slices.Concat(ed, block("PRIVATE KEY", pkcs8)), nil, "PEM block 2: holds a private key"},
		{"certificate request", block("CERTIFICATE REQUEST", []byte("x")), nil, "is not PUBLIC KEY"},
		{"broken DER", block("PUBLIC KEY", []byte("x")), nil, "cannot be decoded as PUBLIC KEY"},
		{"PKCS #1 labelled as PKIX", block("PUBLIC KEY", x509.MarshalPKCS1PublicKey(&tokentest.RSA().PublicKey)), nil, "cannot be decoded as PUBLIC KEY"},
		{"certificate chain", slices.Concat(certificate(t, "leaf"), certificate(t, "root")), nil, "2 certificates"},
		{"RSA of 1024 bits", pkix(&weak.PublicKey), nil, "1024 bits, at least 2048"},
		{"RSA of CVE-2017-15361", pkix(&tokentest.ROCA().PublicKey), nil, "PEM block 1: the RSA modulus can be factored (CVE-2017-15361, ROCA)"},
		{"RSA of CVE-2017-15361 in PKCS #1", block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&tokentest.ROCA().PublicKey)), nil, "PEM block 1: the RSA modulus can be factored"},
		{"certificate of an RSA key of CVE-2017-15361", certificateOf(t, "roca", &tokentest.ROCA().PublicKey), nil, "PEM block 1: the RSA modulus can be factored"},
		{"P-224", pkix(&p224.PublicKey), nil, "verifies no supported algorithm"},
		{"X25519", pkix(x25519.PublicKey()), nil, "verifies no supported algorithm"},
		{"ambiguous algorithm", tokentest.KeyFor("RS256").PEM(), []jws.Algorithm{jws.RS256, jws.RS512}, "fits several"},
		{"no such algorithm", tokentest.KeyFor("RS256").PEM(), []jws.Algorithm{jws.HS256, jws.ES256}, "fits none"},
		{"101 blocks", slices.Repeat(ed, 101), nil, "more than 100 PEM blocks"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, faults := jwk.ParsePEM(test.data, test.algorithms)
			wants(t, errors.Join(faults...), test.reason)
		})
	}
}

func FuzzPEM(f *testing.F) {
	ed := tokentest.KeyFor("EdDSA").PEM()
	f.Add(ed)
	f.Add(slices.Concat(ed, ed))
	f.Add(block("CERTIFICATE", []byte("x")))
	f.Add(block("PRIVATE KEY", []byte("x")))
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\n\n-----END PUBLIC KEY-----\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, faults := jwk.ParsePEM(data, nil)
		if len(keys) == 0 && len(faults) == 0 {
			t.Errorf("%q has neither a key nor a fault", data)
		}
		for _, k := range keys {
			if k.Algorithm().Symmetric() {
				t.Errorf("%q gave a shared secret", data)
			}
		}
		// Whatever is a PEM document is never taken as a secret.
		if _, err := jwk.DecodeSecret(data, jwk.Raw); err == nil && len(keys) > 0 {
			t.Errorf("%q is a key and a secret", data)
		}
	})
}
