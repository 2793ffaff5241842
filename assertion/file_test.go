package assertion_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/assertion"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

// file is a file of keys that a test changes.
type file struct {
	t    *testing.T
	path string
}

func newFile(t *testing.T, text []byte) file {
	f := file{t, filepath.Join(t.TempDir(), "keys")}
	f.write(text)
	return f
}

func (f file) write(text []byte) {
	f.t.Helper()
	if err := os.WriteFile(f.path, text, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func private(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func jwks(t testing.TB, keys ...jose.JSONWebKey) []byte {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func pemOf(t testing.TB, kind string, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if kind == "EC PRIVATE KEY" {
		der, err = x509.MarshalECPrivateKey(key.(*ecdsa.PrivateKey))
	}
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func fromFile(f file) assertion.Config {
	c := config()
	c.KeyFile = f.path
	return c
}

func TestKeysOfAFile(t *testing.T) {
	one, two := jose.JSONWebKey{Key: private(t), KeyID: "one"}, jose.JSONWebKey{Key: private(t), KeyID: "two", Use: "sig", Algorithm: "ES256"}
	single, err := json.Marshal(one)
	if err != nil {
		t.Fatal(err)
	}
	parameters := []byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n")
	for _, test := range []struct {
		name       string
		text       []byte
		algorithms []string
	}{
		{"a JWK Set", jwks(t, one, two), []string{"ES256", "ES256"}},
		{"a JWK", single, []string{"ES256"}},
		{"PEM, PKCS #8", pemOf(t, "PRIVATE KEY", one.Key), []string{"ES256"}},
		{"PEM, SEC 1, as OpenSSL writes it", append(parameters, pemOf(t, "EC PRIVATE KEY", one.Key)...), []string{"ES256"}},
		{"PEM, several", append(pemOf(t, "PRIVATE KEY", tokentest.KeyFor("EdDSA").Private), pemOf(t, "PRIVATE KEY", tokentest.RSA())...), []string{"EdDSA", "RS256"}},
		{"another algorithm", jwks(t, jose.JSONWebKey{Key: tokentest.RSA(), Algorithm: "PS384"}), []string{"PS384"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSigner(t, fromFile(newFile(t, test.text)))
			var got []string
			published := set(t, s)
			for _, k := range published.Keys {
				got = append(got, k.Algorithm)
				if !k.IsPublic() || k.KeyID == "" {
					t.Errorf("%+v", k)
				}
			}
			if !slices.Equal(got, test.algorithms) {
				t.Errorf("%q, want %q", got, test.algorithms)
			}
			token := sign(t, s, user(t, mcpauth.IdentityFields{UserID: "alice"}, ""), notes)
			parsed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(test.algorithms[0])})
			if err == nil {
				_, err = parsed.Verify(published.Keys[0])
			}
			if header := segment(t, token, 0); err != nil || header["kid"] != published.Keys[0].KeyID || header["typ"] != "at+jwt" {
				t.Errorf("%v, %v", header, err)
			}
		})
	}
}

func TestFilesThatAreNoKeys(t *testing.T) {
	key := private(t)
	many := make([]jose.JSONWebKey, 11)
	for i := range many {
		many[i] = jose.JSONWebKey{Key: private(t)}
	}
	for _, test := range []struct {
		name, text, want string
	}{
		{"empty", "", "neither PEM nor a JWK Set"},
		{"garbage", "canary", "neither PEM nor a JWK Set"},
		{"an empty set", `{"keys":[]}`, "holds no key"},
		{"no set", `{"keys":{}}`, "not a JSON array"},
		{"a public key", string(jwks(t, jose.JSONWebKey{Key: key.Public()})), "keys[0]: not an RSA, ECDSA or Ed25519 private key"},
		{"a secret", string(jwks(t, jose.JSONWebKey{Key: []byte("canary")})), "keys[0]: not an RSA, ECDSA or Ed25519 private key"},
		{"for encryption", string(jwks(t, jose.JSONWebKey{Key: key, Use: "enc"})), `keys[0]: "use" is "enc"`},
		{"of another algorithm", string(jwks(t, jose.JSONWebKey{Key: key, Algorithm: "ES384"})), "keys[0]: "},
		{"RSA of CVE-2017-15361", string(pemOf(t, "PRIVATE KEY", tokentest.ROCA())), "PEM block 1: the RSA modulus can be factored (CVE-2017-15361, ROCA)"},
		{"of no algorithm", string(jwks(t, jose.JSONWebKey{Key: key, Algorithm: "none"})), `keys[0]: "alg" "none" is not supported`},
		{"of one kid", string(jwks(t, jose.JSONWebKey{Key: key, KeyID: "a"}, jose.JSONWebKey{Key: private(t), KeyID: "a"})), `two keys have the kid "a"`},
		{"one key twice", string(jwks(t, jose.JSONWebKey{Key: key}, jose.JSONWebKey{Key: key})), "two keys have the kid"},
		{"too many", string(jwks(t, many...)), "holds more than 10 keys"},
		{"one name twice", `{"keys":[],"keys":[]}`, "the same name twice"},
		{"public PEM", string(tokentest.KeyFor("ES256").PEM()), `PEM block 1: PEM block "PUBLIC KEY" is public`},
		{"broken PEM", "-----BEGIN PRIVATE KEY-----\ncanary", "PEM block 1: not PEM"},
		{"broken PEM before a key", "-----BEGIN PRIVATE KEY-----\ncanary!\n" + string(pemOf(t, "PRIVATE KEY", key)), "PEM block 1: not PEM"},
		{"text behind a key", string(pemOf(t, "PRIVATE KEY", key)) + "canary", "PEM block 2: not PEM"},
		{"too large", strings.Repeat(" ", 64<<10+1), "is larger than 65536 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := assertion.New(fromFile(newFile(t, []byte(test.text))))
			if e := (*mcpauth.ConfigError)(nil); !errors.As(err, &e) || len(e.Faults) != 1 || e.Faults[0].Field != "KeyFile" ||
				!strings.Contains(e.Faults[0].Problem, test.want) || strings.Contains(err.Error(), "canary") {
				t.Errorf("%v, want %s", err, test.want)
			}
		})
	}
}

// An operator's rotation: the new key is added, then moved to the front, and the
// old one goes at last. Each token is taken to its end by what was published
// before it was signed.
func TestAFileIsReadAgain(t *testing.T) {
	one, two := jose.JSONWebKey{Key: private(t), KeyID: "one"}, jose.JSONWebKey{Key: private(t), KeyID: "two"}
	f := newFile(t, jwks(t, one))
	synctest.Test(t, func(t *testing.T) {
		c := fromFile(f)
		var log strings.Builder
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
		s := newSigner(t, c)
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		alice := user(t, mcpauth.IdentityFields{UserID: "alice"}, "")
		step := func(name string, text []byte, signs string, published ...string) {
			t.Helper()
			if text != nil {
				f.write(text)
			} else if err := os.Remove(f.path); err != nil {
				t.Fatal(err)
			}
			time.Sleep(21 * time.Second)
			synctest.Wait()
			if got := kids(set(t, s)); !slices.Equal(got, published) {
				t.Errorf("%s: %q, want %q", name, got, published)
			}
			// Also at once, though a token of the key before is kept.
			if kid := segment(t, sign(t, s, alice, notes), 0)["kid"]; kid != signs {
				t.Errorf("%s: signed by %v, want %s", name, kid, signs)
			}
		}
		step("added", jwks(t, one, two), "one", "one", "two")
		step("faulty", []byte("canary"), "one", "one", "two")
		step("gone", nil, "one", "one", "two")
		step("moved", jwks(t, two, one), "two", "two", "one")
		step("as before", jwks(t, two, one), "two", "two", "one")
		step("removed", jwks(t, two), "two", "two")
		text := log.String()
		if strings.Count(text, "assertion keys not reloaded") != 2 || strings.Count(text, "assertion keys replaced") != 3 || strings.Contains(text, "canary") {
			t.Errorf("log:\n%s", text)
		}
	})
}
