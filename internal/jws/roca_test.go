package jws_test

import (
	"crypto/rsa"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth/internal/jws"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

// rocaModulus is a vulnerable modulus that the authors of the attack publish
// (crocs-muni/roca, roca/tests/data/mod03.txt, MIT).
const rocaModulus = "9dcd7420e420c270a68060eb8b5aa7457a9f6648f86fafed2775cc1f79ae962f1e63f1b9e51c55f9ea6fdc7332e9b0058c9ff2eb1fc89855029cf6aafe21e689" +
	"feb38ac9ffb12f1ce371bb5d0e9aae64161abce74b4244bf68f1edb4411f756a097c8929c14740245ea355f8332d1aa36bb50c7dcb4505da8de02e4e53d38f8d" +
	"f06097da7524df0df93db48eac8cc4af2d3a16257eb2b2adca6ba464e5974fa92550d31b1babf161e7692d00b86e3dd886ecab4abfbe1a8f8cc263ff4af55cdb" +
	"45f4249a5193925f5e983d762f0b6800943eb0267b08f42ed311ce1f5c86eacbc8ce4d3cb7a2fee1ef5641423a1cf4114e5ecf50034a60a412523af9e6f4aa11"

func modulus(t testing.TB, hex string) *big.Int {
	t.Helper()
	n, ok := new(big.Int).SetString(hex, 16)
	if !ok {
		t.Fatalf("%q is not a number", hex)
	}
	return n
}

func TestROCAKeysAreRefused(t *testing.T) {
	for name, n := range map[string]*big.Int{"published": modulus(t, rocaModulus), "made here": tokentest.ROCA().N} {
		for _, alg := range []jws.Algorithm{jws.RS256, jws.RS512, jws.PS256} {
			_, err := jws.NewKey(alg, &rsa.PublicKey{N: n, E: 65537})
			if want := "the RSA modulus can be factored (CVE-2017-15361, ROCA): make a new key with other software or hardware"; err == nil || err.Error() != want {
				t.Errorf("%s, %s: error = %v, want %q", name, alg, err, want)
			}
		}
	}
}

func TestOrdinaryModuliAreNotROCA(t *testing.T) {
	taken := func(name string, n *big.Int) {
		t.Helper()
		if _, err := jws.NewKey(jws.RS256, &rsa.PublicKey{N: n, E: 65537}); err != nil {
			t.Errorf("%s: %v in %x", name, err, n)
		}
	}
	taken("a generated key", tokentest.RSA().N)
	// The same source publishes these as not vulnerable (mod06 and mod07).
	taken("another first digit", modulus(t, "8"+rocaModulus[1:]))
	taken("another last digit but one", modulus(t, strings.TrimSuffix(rocaModulus, "11")+"21"))

	// Modulo small primes, a product of two random primes is as likely to be one
	// residue as another, and so is a random number without small factors. The
	// seed is fixed: these are the same numbers in each run.
	small := big.NewInt(1)
	for p := int64(3); p < 170; p += 2 {
		if prime := big.NewInt(p); prime.ProbablyPrime(0) {
			small.Mul(small, prime)
		}
	}
	source, one, bytes := rand.NewChaCha8([32]byte{}), big.NewInt(1), make([]byte, 256)
	for tried := 0; tried < 20_000; {
		source.Read(bytes)
		bytes[0], bytes[255] = bytes[0]|0x80, bytes[255]|1
		n := new(big.Int).SetBytes(bytes)
		if new(big.Int).GCD(nil, nil, new(big.Int).Mod(n, small), small).Cmp(one) != 0 {
			continue
		}
		tried++
		taken("a random number", n)
	}
}
