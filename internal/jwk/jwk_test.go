package jwk_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth/internal/jwk"
	"github.com/mcpauth-go/mcpauth/internal/jws"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

// wants fails the test unless err holds reason; "" wants no error.
func wants(t *testing.T, err error, reason string) {
	t.Helper()
	switch {
	case reason == "" && err != nil:
		t.Errorf("refused: %v", err)
	case reason != "" && err == nil:
		t.Errorf("taken, want %q", reason)
	case reason != "" && !strings.Contains(err.Error(), reason):
		t.Errorf("error = %v, want %q in it", err, reason)
	}
}

// verifies reports whether one of keys verifies a token of signer's.
func verifies(t testing.TB, keys []jwk.Key, signer tokentest.Key) bool {
	t.Helper()
	token, err := jws.Split([]byte(signer.Token(signer.Header(), "{}")))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if token.Verify(k.Key, nil) {
			return true
		}
	}
	return false
}

func TestParseEveryAlgorithm(t *testing.T) {
	for _, alg := range tokentest.Algorithms {
		signer := tokentest.KeyFor(alg)
		for form, document := range map[string][]byte{
			"one key":    []byte(signer.JWK("kid-1")),
			"set":        tokentest.JWKS(signer.JWK("kid-1")),
			"with extra": []byte(tokentest.With(signer.JWK("kid-1"), `"use":"sig","key_ops":["verify"],"x5c":["AAAA"],"x5t":1,"unknown":{}`)),
		} {
			keys, faults := jwk.Parse(document, nil)
			if len(faults) > 0 || len(keys) != 1 || keys[0].ID != "kid-1" || string(keys[0].Algorithm()) != alg || !verifies(t, keys, signer) {
				t.Errorf("%s as %s: %v, %v", alg, form, keys, faults)
			}
		}
	}
}

// members returns a JWK of the given text members.
func members(pairs ...string) string {
	var list []string
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, fmt.Sprintf("%q:%q", pairs[i], pairs[i+1]))
	}
	return "{" + strings.Join(list, ",") + "}"
}

func TestParseRefusals(t *testing.T) {
	rsa, ec, ed, oct := tokentest.KeyFor("RS256").JWK(""), tokentest.KeyFor("ES256").JWK(""), tokentest.KeyFor("EdDSA").JWK(""), tokentest.KeyFor("HS256").JWK("")
	n := tokentest.Encode(string(tokentest.RSA().N.Bytes()))
	without := func(key, member string) string { return strings.Replace(key, `"`+member+`":`, `"was-`+member+`":`, 1) }
	n1024 := tokentest.Encode("\xff" + strings.Repeat("\x01", 127))
	zeros := tokentest.Encode(strings.Repeat("\x00", 32))
	for _, test := range []struct{ name, document, reason string }{
		{"empty", ``, "not a JWK or JWK Set"},
		{"array", `[]`, "not a JWK or JWK Set"},
		{"trailing data", rsa + "{}", "data after"},
		{"duplicate member", tokentest.With(rsa, `"kty":"oct"`), "the same name twice"},
		{"deep", `{"keys":` + tokentest.Deep(100) + `}`, "nested deeper"},
		{"keys no array", `{"keys":{}}`, `"keys": not a JSON array`},
		{"empty set", `{"keys":[]}`, "the set is empty"},
		{"101 keys", string(tokentest.JWKS(strings.Split(strings.Repeat(ec+" ", 101), " ")[:101]...)), "more than 100 keys"},
		{"key no object", `{"keys":["x"]}`, "keys[0]: not a JSON object"},

		{"no kty", without(rsa, "kty"), `"kty" is missing`},
		{"kty in another case", strings.Replace(rsa, `"RSA"`, `"rsa"`, 1), `kty "rsa" is not supported`},
		{"unknown kty", members("kty", "AKP"), `kty "AKP" is not supported`},
		{"kid number", tokentest.With(rsa, `"kid":1`), `"kid" is not a non-empty string`},
		{"kid empty", tokentest.With(rsa, `"kid":""`), `"kid" is not a non-empty string`},
		{"use enc", tokentest.With(rsa, `"use":"enc"`), `"use" is "enc"`},
		{"use null", tokentest.With(rsa, `"use":null`), `"use" is not`},
		{"key_ops encrypt", tokentest.With(rsa, `"key_ops":["encrypt"]`), `"key_ops" does not list "verify"`},
		{"key_ops sign", tokentest.With(oct, `"key_ops":["sign"]`), `"key_ops" does not list "verify"`},
		{"key_ops empty", tokentest.With(rsa, `"key_ops":[]`), `"key_ops" does not list "verify"`},
		{"key_ops string", tokentest.With(rsa, `"key_ops":"verify"`), `"key_ops": not a JSON array`},
		{"alg unknown", members("kty", "RSA", "alg", "RS1", "n", n, "e", "AQAB"), `"alg" "RS1" is not supported`},
		{"alg none", members("kty", "RSA", "alg", "none", "n", n, "e", "AQAB"), `"alg" "none" is not supported`},
		{"alg of encryption", members("kty", "RSA", "alg", "RSA-OAEP", "n", n, "e", "AQAB"), `is not supported`},
		{"alg of another type", members("kty", "RSA", "alg", "HS256", "n", n, "e", "AQAB"), "HS256 does not work with an RSA key"},
		{"oct with a public algorithm", strings.Replace(oct, "HS256", "RS256", 1), "RS256 does not work with a secret"},

		{"private RSA", tokentest.With(rsa, `"d":"AQAB"`), "private key"},
		{"private RSA with a d that is no string", tokentest.With(rsa, `"d":null`), "private key"},
		{"private RSA by its primes", tokentest.With(rsa, `"p":"AQAB"`), "private key"},
		{"private EC", tokentest.With(ec, `"d":"AQAB"`), "private key"},
		{"private OKP", tokentest.With(ed, `"d":"AQAB"`), "private key"},

		{"RSA without n", without(rsa, "n"), `needs "n" and "e"`},
		{"RSA without e", without(rsa, "e"), `needs "n" and "e"`},
		{"RSA n with padding", members("kty", "RSA", "n", n+"==", "e", "AQAB"), `"n" is not base64url`},
		{"RSA n with a line break", `{"kty":"RSA","n":"` + n[:20] + `\n` + n[20:] + `","e":"AQAB"}`, `"n" is not base64url`},
		{"RSA e with spare bits", members("kty", "RSA", "n", n, "e", "Ax"), `"e" is not base64url`},
		{"RSA e empty", members("kty", "RSA", "n", n, "e", ""), `"e" is not base64url`},
		{"RSA of 1024 bits", members("kty", "RSA", "n", n1024, "e", "AQAB"), "1024 bits, at least 2048"},
		{"RSA of CVE-2017-15361", tokentest.Key{Algorithm: "RS256", Private: tokentest.ROCA()}.JWK(""), "the RSA modulus can be factored (CVE-2017-15361, ROCA)"},
		{"RSA of CVE-2017-15361 in a set", string(tokentest.JWKS(tokentest.Key{Algorithm: "PS256", Private: tokentest.ROCA()}.JWK("k"))), `keys[0] (kid "k"): the RSA modulus can be factored`},
		{"RSA exponent 1", members("kty", "RSA", "n", n, "e", "AQ"), "exponent 1 is"},
		{"RSA exponent 0", members("kty", "RSA", "n", n, "e", "AA"), "exponent 0 is"},
		{"RSA exponent even", members("kty", "RSA", "n", n, "e", "AQAA"), "exponent 65536 is"},
		{"RSA exponent of 32 bits", members("kty", "RSA", "n", n, "e", "gAAAAQ"), "larger than 2^31-1"},
		{"RSA exponent of 2048 bits", members("kty", "RSA", "n", n, "e", n), "larger than 2^31-1"},

		{"EC without crv", without(ec, "crv"), `curve "" is not`},
		{"EC on secp256k1", strings.Replace(ec, "P-256", "secp256k1", 1), `curve "secp256k1" is not`},
		{"EC on Ed25519", strings.Replace(ec, "P-256", "Ed25519", 1), `curve "Ed25519" is not`},
		{"EC of another curve's size", strings.Replace(ec, "P-256", "P-384", 1), "must have 48 bytes each on P-384"},
		{"EC without y", without(ec, "y"), "must have 32 bytes each on P-256"},
		{"EC with a short x", members("kty", "EC", "crv", "P-256", "x", "AQAB", "y", zeros), "must have 32 bytes each"},
		{"EC off the curve", members("kty", "EC", "crv", "P-256", "x", zeros, "y", zeros), "not a point on P-256"},
		{"EC with another curve's alg", strings.Replace(ec, "ES256", "ES384", 1), "ES384 needs a key on P-384"},

		{"OKP X25519", strings.Replace(ed, "Ed25519", "X25519", 1), `curve "X25519" is not Ed25519`},
		{"OKP Ed448", strings.Replace(ed, "Ed25519", "Ed448", 1), `curve "Ed448" is not Ed25519`},
		{"OKP without x", without(ed, "x"), `needs "x"`},
		{"OKP short", members("kty", "OKP", "crv", "Ed25519", "x", "AQAB"), "3 bytes, 32 are needed"},
		{"OKP of small order", members("kty", "OKP", "crv", "Ed25519", "x", zeros), "small order"},

		{"oct without k", members("kty", "oct"), `needs "k"`},
		{"oct short for HS256", members("kty", "oct", "k", tokentest.Encode(string(tokentest.Secret("x")[:31]))), "31 bytes, HS256 needs at least 32"},
		{"oct short for HS512", members("kty", "oct", "alg", "HS512", "k", tokentest.Encode(string(tokentest.Secret("x")[:63]))), "63 bytes, HS512 needs at least 64"},
		{"oct of RFC 7515, A.1", members("kty", "oct", "k", "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"), "published as an example"},
		{"oct of one byte repeated", members("kty", "oct", "k", zeros), "repeats a single byte"},
		{"oct that holds a PEM public key", members("kty", "oct", "k", tokentest.Encode(string(tokentest.KeyFor("RS256").PEM()))), "a PEM document"},
		{"oct that holds a DER public key", members("kty", "oct", "k", tokentest.Encode(string(tokentest.KeyFor("RS256").DER()))), "in DER"},
		{"oct that holds a JWK", members("kty", "oct", "k", tokentest.Encode(rsa)), "a JWK"},
	} {
		t.Run(test.name, func(t *testing.T) {
			keys, faults := jwk.Parse([]byte(test.document), nil)
			if len(keys) != 0 {
				t.Errorf("%d keys are taken", len(keys))
			}
			wants(t, errors.Join(faults...), test.reason)
		})
	}
}

func TestParseReportsEveryFaultAndKeepsTheGoodKeys(t *testing.T) {
	good := tokentest.KeyFor("ES256")
	keys, faults := jwk.Parse(tokentest.JWKS(members("kty", "AKP", "kid", "future"), good.JWK("good"), `{"kty":"RSA"}`), nil)
	if len(keys) != 1 || keys[0].ID != "good" || len(faults) != 2 {
		t.Fatalf("keys %v, faults %v", keys, faults)
	}
	wants(t, faults[0], `keys[0] (kid "future"): kty "AKP"`)
	wants(t, faults[1], `keys[2]: `)
}

func TestChoiceOfTheAlgorithm(t *testing.T) {
	noAlg := func(alg string) string {
		return strings.Replace(tokentest.KeyFor(alg).JWK(""), `"alg":`, `"was-alg":`, 1)
	}
	for _, test := range []struct {
		name       string
		document   string
		algorithms []jws.Algorithm
		want       jws.Algorithm
		reason     string
	}{
		{"RSA by default", noAlg("RS256"), nil, jws.RS256, ""},
		{"RSA for PS384 alone", noAlg("RS256"), []jws.Algorithm{jws.ES256, jws.PS384}, jws.PS384, ""},
		{"RSA for two", noAlg("RS256"), []jws.Algorithm{jws.RS256, jws.PS256}, "", "fits several of the configured algorithms"},
		{"RSA for none", noAlg("RS256"), []jws.Algorithm{jws.ES256}, "", "fits none of the configured algorithms"},
		{"RSA never gets HS", noAlg("RS256"), []jws.Algorithm{jws.HS256}, "", "fits none of the configured algorithms"},
		{"P-256", noAlg("ES256"), nil, jws.ES256, ""},
		{"P-384", noAlg("ES384"), nil, jws.ES384, ""},
		{"P-521", noAlg("ES512"), nil, jws.ES512, ""},
		{"P-384 for ES256", noAlg("ES384"), []jws.Algorithm{jws.ES256}, "", "fits none"},
		{"Ed25519", noAlg("EdDSA"), nil, jws.EdDSA, ""},
		{"secret by default", noAlg("HS256"), nil, jws.HS256, ""},
		{"secret for HS384", noAlg("HS384"), []jws.Algorithm{jws.HS384}, jws.HS384, ""},
		{"secret for RS256", noAlg("HS256"), []jws.Algorithm{jws.RS256}, "", "fits none"},
		{"named and configured", tokentest.KeyFor("PS256").JWK(""), []jws.Algorithm{jws.RS256, jws.PS256}, jws.PS256, ""},
		{"named and not configured", tokentest.KeyFor("PS256").JWK(""), []jws.Algorithm{jws.RS256}, "", "is for PS256, which the configured algorithms"},
		{"the new name of EdDSA", strings.Replace(tokentest.KeyFor("EdDSA").JWK(""), `"EdDSA"`, `"Ed25519"`, 1), []jws.Algorithm{jws.EdDSA}, jws.EdDSA, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			keys, faults := jwk.Parse([]byte(test.document), test.algorithms)
			wants(t, errors.Join(faults...), test.reason)
			if test.reason == "" && (len(keys) != 1 || keys[0].Algorithm() != test.want) {
				t.Errorf("keys = %v, want one for %s", keys, test.want)
			}
		})
	}
}

func TestSet(t *testing.T) {
	key := func(alg, kid string) jwk.Key {
		signer := tokentest.KeyFor(alg)
		keys, faults := jwk.Parse([]byte(signer.JWK(kid)), nil)
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		return keys[0]
	}
	many := func(n int, alg string) (keys []jwk.Key) {
		for range n {
			keys = append(keys, key(alg, ""))
		}
		return keys
	}
	for _, test := range []struct {
		name   string
		keys   []jwk.Key
		reason string
	}{
		{"several algorithms and kids", []jwk.Key{key("RS256", "a"), key("ES256", "b"), key("EdDSA", "")}, ""},
		{"several secrets", []jwk.Key{key("HS256", ""), key("HS512", "")}, ""},
		{"clashing kids", []jwk.Key{key("RS256", "a"), key("ES256", "a")}, "have the same kid"},
		{"secret beside a public key", []jwk.Key{key("HS256", "a"), key("RS256", "b")}, "shared secrets and public keys in one set"},
		{"4 keys without kid", many(4, "ES256"), ""},
		{"5 keys without kid", many(5, "ES256"), "5 keys for ES256 without a kid"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, faults := jwk.NewSet(test.keys)
			wants(t, errors.Join(faults...), test.reason)
		})
	}

	set, _ := jwk.NewSet([]jwk.Key{key("ES256", "a"), key("ES256", "b"), key("RS256", "c"), key("ES256", "")})
	if !set.Serves(jws.ES256) || !set.Serves(jws.RS256) || set.Serves(jws.PS256) || set.Serves("") {
		t.Error("Serves is wrong")
	}
	for _, test := range []struct {
		name  string
		alg   jws.Algorithm
		kid   []byte
		tried int
	}{
		{"kid of a key, and the key without", jws.ES256, []byte("a"), 2},
		{"unknown kid: the key without", jws.ES256, []byte("z"), 1},
		{"no kid: all of the algorithm", jws.ES256, nil, 3},
		{"kid of another algorithm's key", jws.RS256, []byte("a"), 0},
		{"empty kid", jws.RS256, []byte(""), 0},
		{"kid is compared exactly", jws.RS256, []byte("C"), 0},
		{"algorithm that no key has", jws.HS256, nil, 0},
	} {
		calls := 0
		tried := set.Candidates(test.alg, test.kid, func(k *jwk.Key) bool {
			calls++
			if k.Algorithm() != test.alg {
				t.Errorf("%s: a key for %s is tried", test.name, k.Algorithm())
			}
			return false
		})
		if tried != test.tried || calls != tried {
			t.Errorf("%s: %d keys tried, %d calls, want %d", test.name, tried, calls, test.tried)
		}
	}

	named, _ := jwk.NewSet([]jwk.Key{key("ES256", "1"), key("ES256", "2"), key("ES256", "3"), key("ES256", "4"), key("ES256", "5"), key("ES256", "6")})
	if tried := named.Candidates(jws.ES256, nil, func(*jwk.Key) bool { return false }); tried != jwk.MaxCandidates {
		t.Errorf("a token without kid tries %d keys, want %d", tried, jwk.MaxCandidates)
	}
	if tried := named.Candidates(jws.ES256, nil, func(*jwk.Key) bool { return true }); tried != 1 {
		t.Errorf("%d keys are tried although the first fits", tried)
	}
}

// The bound on keys to try must not keep a token from the very key that it
// names.
func TestTheNamedKeyIsAmongTheCandidates(t *testing.T) {
	signer := tokentest.KeyFor("ES256")
	parse := func(kid string) jwk.Key {
		keys, faults := jwk.Parse([]byte(signer.JWK(kid)), nil)
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		return keys[0]
	}
	named := parse("mine")
	set, faults := jwk.NewSet([]jwk.Key{parse(""), parse(""), parse(""), parse(""), named})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	found := false
	set.Candidates(jws.ES256, []byte("mine"), func(k *jwk.Key) bool {
		found = found || k.Key == named.Key
		return false
	})
	if !found {
		t.Error("four keys without kid keep the named one from being tried")
	}
}

func FuzzJWK(f *testing.F) {
	for _, alg := range []string{"HS256", "EdDSA"} { // the same in every process
		f.Add([]byte(tokentest.KeyFor(alg).JWK("k")))
	}
	for _, seed := range []string{
		`{"keys":[]}`, `{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`, `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`,
		`{"kty":"oct","k":"AA"}`, `{"kty":"RSA","n":"AA","e":"AA","d":null}`, `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`, `{"keys":[[]]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, faults := jwk.Parse(data, nil)
		if len(keys) == 0 && len(faults) == 0 {
			t.Errorf("%q has neither a key nor a fault", data)
		}
		if len(keys) > jwk.MaxKeys {
			t.Errorf("%d keys", len(keys))
		}
		token, _ := jws.Split([]byte("e30.e30.AAAA"))
		for _, k := range keys {
			if _, ok := jws.ParseAlgorithm(string(k.Algorithm())); !ok || token.Verify(k.Key, nil) {
				t.Errorf("%q gave a key for %q", data, k.Algorithm())
			}
		}
		jwk.NewSet(keys)
	})
}
