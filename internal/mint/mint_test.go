package mint_test

import (
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth/internal/jwk"
	"github.com/mcpauth-go/mcpauth/internal/jws"
	"github.com/mcpauth-go/mcpauth/internal/mint"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

func TestWhatIsMintedVerifies(t *testing.T) {
	for _, alg := range tokentest.Algorithms {
		key := tokentest.KeyFor(alg)
		signer, err := mint.NewSigner(jws.Algorithm(alg), key.Private, "kid-1")
		if err != nil {
			t.Fatal(err)
		}
		text, err := signer.Sign(map[string]any{"sub": "<u>&"})
		if err != nil {
			t.Fatal(err)
		}
		var keys []jwk.Key
		if set, err := signer.JWKS(); err == nil {
			var faults []error
			if keys, faults = jwk.Parse(set, nil); len(faults) > 0 {
				t.Fatal(faults)
			}
		} else if !strings.HasPrefix(alg, "HS") {
			t.Fatal(err)
		} else {
			keys, _ = jwk.Parse([]byte(key.JWK("kid-1")), nil)
		}
		token, err := jws.Split([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		header, err := new(jws.Headers).Parse(token, nil)
		if err != nil || string(header.KeyID) != "kid-1" || string(header.Type) != "JWT" || string(header.Algorithm) != alg {
			t.Errorf("%s: header %+v, %v", alg, header, err)
		}
		if len(keys) != 1 || keys[0].ID != "kid-1" || !token.Verify(keys[0].Key, nil) {
			t.Errorf("%s: the token does not verify", alg)
		}
	}
}

func TestWeakKeysDoNotSign(t *testing.T) {
	if _, err := mint.NewSigner(jws.HS256, []byte("short"), ""); err == nil || !strings.Contains(err.Error(), "5 bytes") {
		t.Errorf("a short secret: %v", err)
	}
	if _, err := mint.NewSigner(jws.HS256, tokentest.RSA(), ""); err == nil {
		t.Error("an RSA key signs with HS256")
	}
	for _, alg := range []jws.Algorithm{"", jws.PS256} {
		if _, err := mint.NewSigner(alg, tokentest.ROCA(), ""); err == nil || !strings.Contains(err.Error(), "the RSA modulus can be factored") {
			t.Errorf("an RSA key of CVE-2017-15361 for %q: %v", alg, err)
		}
	}
}

func TestParsePrivateKey(t *testing.T) {
	pkcs8, err := x509.MarshalPKCS8PrivateKey(tokentest.KeyFor("EdDSA").Private)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	if key, err := mint.ParsePrivateKey(block("PRIVATE KEY", pkcs8)); err != nil || key == nil {
		t.Errorf("PKCS #8: %v", err)
	}
	if key, err := mint.ParsePrivateKey(block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(tokentest.RSA()))); err != nil || key == nil {
		t.Errorf("PKCS #1: %v", err)
	}
	for name, data := range map[string][]byte{
		"empty": nil, "garbage": []byte("canary"), "public key": tokentest.KeyFor("EdDSA").PEM(), "public JWK": []byte(tokentest.KeyFor("ES256").JWK("")),
		"secret as a JWK": []byte(tokentest.KeyFor("HS256").JWK("")), "broken": block("PRIVATE KEY", []byte("canary")), "encrypted": block("ENCRYPTED PRIVATE KEY", pkcs8),
	} {
		if key, err := mint.ParsePrivateKey(data); err == nil || key != nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v, %v", name, key, err)
		}
	}
}
