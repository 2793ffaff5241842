package jwk_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/mcpauth-go/mcpauth/internal/jwk"
	"github.com/mcpauth-go/mcpauth/internal/jws"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

func without(key, member string) string {
	return strings.Replace(key, `"`+member+`":`, `"was-`+member+`":`, 1)
}

// serving returns for which (kid, algorithm) a set has keys that verify what
// the signer signs.
func serving(t *testing.T, set *jwk.Set, kid string, signer tokentest.Key) bool {
	t.Helper()
	token, err := jws.Split([]byte(signer.Token(signer.Header(), "{}")))
	if err != nil {
		t.Fatal(err)
	}
	var named []byte
	if kid != "" {
		named = []byte(kid)
	}
	good := false
	set.Candidates(jws.Algorithm(signer.Algorithm), named, func(k *jwk.Key) bool {
		good = token.Verify(k.Key, nil)
		return good
	})
	return good
}

func TestAFetchedSetServesWithoutWhatCannotBeUsed(t *testing.T) {
	good := tokentest.Ed25519("good")
	rsa, ec := tokentest.KeyFor("RS256").JWK("x"), tokentest.KeyFor("ES256").JWK("x")
	n1024 := tokentest.Encode("\xff" + strings.Repeat("\x01", 127))
	for _, test := range []struct{ name, key, reason string }{
		{"unknown type", members("kty", "AKP", "kid", "x", "alg", "ML-DSA-44"), `kty "AKP" is not supported`},
		{"unknown algorithm", strings.Replace(rsa, "RS256", "RS1", 1), `"alg" "RS1" is not supported`},
		{"of encryption, by its algorithm", strings.Replace(rsa, "RS256", "RSA-OAEP", 1), `"alg" "RSA-OAEP" is not supported`},
		{"of encryption, by its use", tokentest.With(rsa, `"use":"enc"`), `"use" is "enc"`},
		{"of encryption, by its operations", tokentest.With(rsa, `"key_ops":["encrypt"]`), `"key_ops" does not list`},
		{"of key agreement", strings.Replace(tokentest.KeyFor("EdDSA").JWK("x"), "Ed25519", "X25519", 1), `curve "X25519"`},
		{"shared secret", tokentest.KeyFor("HS256").JWK("x"), "a shared secret"},
		{"shared secret without algorithm", without(tokentest.KeyFor("HS256").JWK("x"), "alg"), "a shared secret"},
		{"RSA for HS256", strings.Replace(rsa, "RS256", "HS256", 1), "HS256 does not work with an RSA key"},
		{"private RSA", tokentest.With(rsa, `"d":"AQAB"`), "private key"},
		{"private EC", tokentest.With(ec, `"d":"AQAB"`), "private key"},
		{"RSA of 1024 bits", members("kty", "RSA", "kid", "x", "n", n1024, "e", "AQAB"), "1024 bits"},
		{"RSA of CVE-2017-15361", tokentest.Key{Algorithm: "RS256", Private: tokentest.ROCA()}.JWK("x"), `keys[0] (kid "x"): the RSA modulus can be factored (CVE-2017-15361, ROCA)`},
		{"RSA of CVE-2017-15361 without algorithm", without(tokentest.Key{Algorithm: "RS256", Private: tokentest.ROCA()}.JWK("x"), "alg"), "the RSA modulus can be factored"},
		{"RSA with exponent 1", members("kty", "RSA", "kid", "x", "n", tokentest.Encode(string(tokentest.RSA().N.Bytes())), "e", "AQ"), "exponent 1"},
		{"secp256k1", strings.Replace(ec, "P-256", "secp256k1", 1), `curve "secp256k1"`},
		{"off the curve", members("kty", "EC", "kid", "x", "crv", "P-256", "x", tokentest.Encode(strings.Repeat("\x01", 32)), "y", tokentest.Encode(strings.Repeat("\x01", 32))), "not a point"},
		{"kid a number", tokentest.With(without(rsa, "kid"), `"kid":1`), `"kid" is not`},
		{"no object", `"x"`, "not a JSON object"},
		{"null", `null`, "not a JSON object"},
		{"empty", `{}`, `"kty" is missing`},
	} {
		t.Run(test.name, func(t *testing.T) {
			set, skipped, err := jwk.ParseFetched(tokentest.JWKS(test.key, good.JWK("good")), nil)
			if err != nil || set.Len() != 1 || len(skipped) != 1 || !serving(t, set, "good", good) {
				t.Fatalf("set of %v, skipped %v, error %v", set, skipped, err)
			}
			wants(t, skipped[0], test.reason)
			if set.Serves(jws.HS256) {
				t.Error("the set serves HS256")
			}
			// By itself, it is no set to replace another one with.
			set, _, err = jwk.ParseFetched(tokentest.JWKS(test.key), nil)
			if set != nil {
				t.Error("a set without a usable key is taken")
			}
			wants(t, err, "no usable key")
		})
	}
}

func TestUnknownMembersOfAFetchedSetAreIgnored(t *testing.T) {
	signer := tokentest.KeyFor("RS256")
	key := tokentest.With(signer.JWK("k"), `"use":"sig","key_ops":["verify"],"x5c":["AAAA"],"x5t":1,"x5t#S256":null,"x5u":"https://evil.example","issuer":"x","cloud_instance_name":"y"`)
	set, skipped, err := jwk.ParseFetched([]byte(`{"next_update":1,"keys":[`+key+`],"more":{"keys":[]}}`), nil)
	if err != nil || len(skipped) > 0 || !serving(t, set, "k", signer) {
		t.Errorf("%v, %v, %v", set, skipped, err)
	}
}

func TestKeysOfTheSameName(t *testing.T) {
	a, b := tokentest.Ed25519("a"), tokentest.Ed25519("b")
	rs, es := tokentest.KeyFor("RS256"), tokentest.KeyFor("ES256")
	ps := tokentest.Key{Algorithm: "PS256", Private: rs.Private}
	padded := strings.Replace(rs.JWK("k"), `"e":"AQAB"`, `"e":"AAEAAQ"`, 1)
	if padded == rs.JWK("k") {
		t.Fatal("the exponent is written in another way")
	}
	for _, test := range []struct {
		name    string
		keys    []string
		serves  []tokentest.Key
		not     []tokentest.Key
		len     int
		skipped int
	}{
		{"identical", []string{a.JWK("k"), a.JWK("k"), tokentest.With(a.JWK("k"), `"x5t":"1"`)}, []tokentest.Key{a}, nil, 1, 0},
		{"identical but for zeros before the exponent", []string{rs.JWK("k"), padded}, []tokentest.Key{rs}, nil, 1, 0},
		{"different", []string{a.JWK("k"), b.JWK("k"), es.JWK("e")}, nil, []tokentest.Key{a, b}, 1, 2},
		{"different, one of them twice", []string{a.JWK("k"), b.JWK("k"), a.JWK("k"), es.JWK("e")}, nil, []tokentest.Key{a, b}, 1, 3},
		{"of different types", []string{a.JWK("k"), rs.JWK("k"), es.JWK("k")}, []tokentest.Key{a, rs, es}, nil, 3, 0},
		{"one key for two algorithms", []string{rs.JWK("k"), ps.JWK("k")}, []tokentest.Key{rs, ps}, nil, 2, 0},
		{"the other one for encryption", []string{a.JWK("k"), tokentest.With(b.JWK("k"), `"use":"enc"`)}, []tokentest.Key{a}, []tokentest.Key{b}, 1, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			set, skipped, err := jwk.ParseFetched(tokentest.JWKS(test.keys...), nil)
			if err != nil || set.Len() != test.len || len(skipped) != test.skipped {
				t.Fatalf("%v keys, skipped %v, error %v", set, skipped, err)
			}
			for _, k := range test.serves {
				if !serving(t, set, "k", k) {
					t.Errorf("does not serve %s", k.Algorithm)
				}
			}
			for _, k := range test.not {
				if serving(t, set, "k", k) || serving(t, set, "", k) {
					t.Errorf("serves a key that another has the name of")
				}
			}
		})
	}
}

func TestFetchedKeysWithoutAName(t *testing.T) {
	signers := make([]tokentest.Key, 6)
	var keys []string
	for i := range signers {
		signers[i] = tokentest.Ed25519(string(rune('a' + i)))
		keys = append(keys, signers[i].JWK(""), signers[i].JWK(""))
	}
	set, skipped, err := jwk.ParseFetched(tokentest.JWKS(keys...), nil)
	if err != nil || set.Len() != 4 || len(skipped) != 4 {
		t.Fatalf("%d keys, skipped %v, %v", set.Len(), skipped, err)
	}
	for i, k := range signers {
		if got := serving(t, set, "any", k); got != (i < 4) {
			t.Errorf("key %d serves: %v", i, got)
		}
	}
}

func TestAlgorithmsOfFetchedKeys(t *testing.T) {
	rs := without(tokentest.KeyFor("RS256").JWK("k"), "alg")
	for _, test := range []struct {
		name       string
		key        string
		configured []jws.Algorithm
		want       jws.Algorithm
	}{
		{"RSA by default", rs, nil, jws.RS256},
		{"RSA as configured", rs, []jws.Algorithm{jws.ES256, jws.PS256}, jws.PS256},
		{"RSA, the first of several", rs, []jws.Algorithm{jws.RS384, jws.RS256}, jws.RS384},
		{"RSA that cannot be", rs, []jws.Algorithm{jws.ES256}, ""},
		{"RSA never HS256", rs, []jws.Algorithm{jws.HS256}, ""},
		{"P-384 by default", without(tokentest.KeyFor("ES384").JWK("k"), "alg"), nil, jws.ES384},
		{"P-384 among others", without(tokentest.KeyFor("ES384").JWK("k"), "alg"), []jws.Algorithm{jws.ES256, jws.ES384}, jws.ES384},
		{"Ed25519", without(tokentest.KeyFor("EdDSA").JWK("k"), "alg"), nil, jws.EdDSA},
		{"the newer name of EdDSA", strings.Replace(tokentest.KeyFor("EdDSA").JWK("k"), `"EdDSA"`, `"Ed25519"`, 1), nil, jws.EdDSA},
		{"named, not configured", tokentest.KeyFor("PS256").JWK("k"), []jws.Algorithm{jws.RS256}, ""},
	} {
		set, skipped, err := jwk.ParseFetched(tokentest.JWKS(test.key), test.configured)
		if test.want == "" {
			if err == nil || len(skipped) != 1 {
				t.Errorf("%s: %v, skipped %v", test.name, err, skipped)
			}
			continue
		}
		if err != nil || !set.Serves(test.want) {
			t.Errorf("%s: %v, %v", test.name, set, err)
		}
	}
}

func TestDocumentsThatAreNoSet(t *testing.T) {
	key := tokentest.KeyFor("EdDSA").JWK("k")
	for _, test := range []struct{ name, document, reason string }{
		{"empty", "", "not a JWK Set"},
		{"HTML", "<!doctype html><title>Sign in</title>", "not a JWK Set"},
		{"cut off", `{"keys":[` + key, "not a JWK Set"},
		{"an array", `[` + key + `]`, "not a JSON object"},
		{"a single key", key, `no "keys"`},
		{"metadata", `{"issuer":"x","jwks_uri":"y"}`, `no "keys"`},
		{"an error", `{"error":"rate_limited"}`, `no "keys"`},
		{"KEYS", `{"KEYS":[` + key + `]}`, `no "keys"`},
		{"null", `{"keys":null}`, "not a JSON array"},
		{"an object", `{"keys":{"a":` + key + `}}`, "not a JSON array"},
		{"no keys", `{"keys":[]}`, "no usable key among the 0"},
		{"keys twice", `{"keys":[],"keys":[` + key + `]}`, "twice"},
		{"a member twice", `{"keys":[` + tokentest.With(key, `"kid":"other"`) + `]}`, "twice"},
		{"trailing data", `{"keys":[` + key + `]}x`, "data after"},
		{"deep", `{"keys":[` + tokentest.Deep(100) + `]}`, "nested deeper"},
		{"101 keys", string(tokentest.JWKS(strings.Split(strings.Repeat(key+" ", 101), " ")[:101]...)), "more than 100 keys"},
		{"512 KiB of braces", strings.Repeat("{", 512<<10), "nested deeper"},
	} {
		t.Run(test.name, func(t *testing.T) {
			set, _, err := jwk.ParseFetched([]byte(test.document), nil)
			if set != nil {
				t.Error("a set is made of it")
			}
			wants(t, err, test.reason)
		})
	}
}

func TestWithout(t *testing.T) {
	a, b, c := tokentest.Ed25519("a"), tokentest.Ed25519("b"), tokentest.Ed25519("c")
	parse := func(keys ...string) *jwk.Set {
		set, _, err := jwk.ParseFetched(tokentest.JWKS(keys...), nil)
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	names := func(keys []jwk.Key) (list []string) {
		for _, k := range keys {
			list = append(list, k.ID)
		}
		return list
	}
	first, second := parse(a.JWK("a"), b.JWK("b")), parse(b.JWK("b"), c.JWK("c"))
	if got := names(first.Without(second)); !reflect.DeepEqual(got, []string{"a"}) {
		t.Errorf("removed: %q", got)
	}
	if got := names(second.Without(first)); !reflect.DeepEqual(got, []string{"c"}) {
		t.Errorf("added: %q", got)
	}
	if got := first.Without(parse(tokentest.With(b.JWK("b"), `"x5t":"1"`), a.JWK("a"))); len(got) > 0 {
		t.Errorf("another order and other members: %q", names(got))
	}
	if got := names(first.Without(parse(a.JWK("b"), b.JWK("a")))); len(got) != 2 {
		t.Errorf("swapped names: %q", got)
	}
	if got := names(first.Without(parse(c.JWK("a"), b.JWK("b")))); !reflect.DeepEqual(got, []string{"a"}) {
		t.Errorf("another key of the same name: %q", got)
	}
	none, faults := jwk.NewSet(nil)
	if len(faults) > 0 || none.Len() != 0 || len(first.Without(none)) != 2 || len(none.Without(first)) != 0 {
		t.Errorf("against the empty set: %v", errors.Join(faults...))
	}
}

// FuzzFetched compares with go-jose: each key that is used is one that it reads
// too, as the same public key.
func FuzzFetched(f *testing.F) {
	for _, alg := range []string{"HS256", "EdDSA"} { // the same in every process
		f.Add(tokentest.JWKS(tokentest.KeyFor(alg).JWK("k")))
	}
	a, b := tokentest.Ed25519("a"), tokentest.Ed25519("b")
	f.Add(tokentest.JWKS(a.JWK("k"), b.JWK("k"), a.JWK("")))
	f.Add(tokentest.JWKS(a.JWK("k"), a.JWK("k"), tokentest.With(b.JWK("l"), `"use":"enc"`), `{"kty":"AKP"}`))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","kid":"e"}]}`))
	f.Add([]byte(`{"keys":[]}`))
	f.Add([]byte(`{"KEYS":[{}],"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		set, skipped, err := jwk.ParseFetched(document, nil)
		if (set == nil) != (err != nil) || err == nil && (set.Len() == 0 || set.Len()+len(skipped) > jwk.MaxKeys) {
			t.Fatalf("%v, %v, %v", set, skipped, err)
		}
		if err != nil {
			return
		}
		for _, alg := range []jws.Algorithm{jws.HS256, jws.HS384, jws.HS512} {
			if set.Serves(alg) {
				t.Errorf("serves %s", alg)
			}
		}
		if again, _, err := jwk.ParseFetched(document, nil); err != nil || len(set.Without(again)) > 0 {
			t.Errorf("read again, it is another set: %v", err)
		}
		var raw struct {
			Keys []json.RawMessage `json:"keys"`
		}
		if err := json.Unmarshal(document, &raw); err != nil {
			t.Fatalf("no JSON to encoding/json: %v", err)
		}
		read := map[string]bool{}
		for _, text := range raw.Keys {
			var k jose.JSONWebKey
			if json.Unmarshal(text, &k) == nil && k.Valid() && k.IsPublic() {
				read[k.KeyID] = true
			}
		}
		none, _ := jwk.NewSet(nil)
		for _, k := range set.Without(none) {
			if !read[k.ID] {
				t.Errorf("go-jose has no key of kid %q", k.ID)
			}
		}
	})
}
