package jwk_test

import (
	"encoding/json"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth/internal/jwk"
	"github.com/mcpauth-go/mcpauth/internal/jws"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

// accepts judges a token at the signature layer: form, header, key and
// signature, whatever the payload.
func accepts(t *testing.T, keys []jwk.Key, token string) bool {
	t.Helper()
	parsed, err := jws.Split([]byte(token))
	if err != nil {
		return false
	}
	header, err := new(jws.Headers).Parse(parsed, nil)
	if err != nil {
		return false
	}
	set, faults := jwk.NewSet(keys)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	good := false
	set.Candidates(header.Algorithm, header.KeyID, func(k *jwk.Key) bool {
		good = parsed.Verify(k.Key, nil)
		return good
	})
	return good
}

// publicOnly takes the private members of an asymmetric JWK away.
func publicOnly(t *testing.T, document []byte) []byte {
	t.Helper()
	var key map[string]json.RawMessage
	if err := json.Unmarshal(document, &key); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"d", "p", "q", "dp", "dq", "qi"} {
		delete(key, name)
	}
	stripped, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	return stripped
}

func TestWycheproof(t *testing.T) {
	var file tokentest.Wycheproof
	tokentest.ReadVectors(t, tokentest.Vectors(t, "wycheproof_jws.json"), &file)
	results := map[string]int{}
	for _, g := range file.TestGroups {
		keys, faults := jwk.Parse(publicOnly(t, g.Key()), nil)
		for _, test := range g.Tests {
			results[test.Result]++
			if test.Result == "valid" && len(keys) == 0 {
				t.Errorf("%s, case %d: the key is refused: %v", g.Comment, test.TcID, faults)
			} else if got := accepts(t, keys, tokentest.Compact(test.JWS)); got != (test.Result == "valid") {
				t.Errorf("%s, case %d (%s): accepted = %v, want %s", g.Comment, test.TcID, test.Comment, got, test.Result)
			}
		}
	}
	if results["valid"] != 34 || results["invalid"] != 318 {
		t.Errorf("cases run: %v", results)
	}
}

func TestCookbook(t *testing.T) {
	verified, refused := 0, 0
	root := tokentest.Vectors(t, "ietf-jose-cookbook")
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".json" || filepath.Base(path) == "package.json" || strings.Contains(path, "/jwk/") {
			return err
		}
		var example struct {
			Title string
			Input struct {
				Payload string
				Key     json.RawMessage
				Enc     string
			}
			Output struct {
				Compact, JSON json.RawMessage
				JSONFlat      json.RawMessage `json:"json_flat"`
			}
		}
		tokentest.ReadVectors(t, path, &example)
		var keys []jwk.Key
		alone := len(example.Input.Key) > 0 && example.Input.Key[0] == '{' // else several keys
		if alone {
			keys, _ = jwk.Parse(publicOnly(t, example.Input.Key), nil)
		}
		// An RSA key without "alg" serves RS256; the example may want PS384.
		if strings.Contains(path, "rsa-pss") {
			keys, _ = jwk.Parse(publicOnly(t, example.Input.Key), []jws.Algorithm{jws.PS384})
		}
		good := strings.Contains(path, "/jws/4_1.") || strings.Contains(path, "/jws/4_2.") || strings.Contains(path, "/jws/4_3.") || strings.Contains(path, "/jws/4_4.") || strings.HasSuffix(path, "/curve25519/jws.json")
		for form, output := range map[string]json.RawMessage{"compact": example.Output.Compact, "JSON": example.Output.JSON, "flat JSON": example.Output.JSONFlat} {
			if output == nil {
				continue
			}
			want := good && form == "compact"
			if got := accepts(t, keys, tokentest.Compact(output)); got != want {
				// A detached payload is an empty one to us: the signature,
				// made over the real one, must not fit.
				t.Errorf("%s as %s: accepted = %v, want %v", example.Title, form, got, want)
			}
			if want {
				verified++
			} else {
				refused++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if verified != 5 || refused < 20 {
		t.Errorf("%d examples verified, %d refused", verified, refused)
	}
}
