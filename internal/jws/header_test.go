package jws_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth/internal/jws"
	"github.com/mcpauth-go/mcpauth/internal/strictjson"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

func parseHeader(t testing.TB, header string) (jws.Header, error) {
	t.Helper()
	token, err := jws.Split([]byte(tokentest.Encode(header) + ".e30.AAAA"))
	if err != nil {
		t.Fatal(err)
	}
	return new(jws.Headers).Parse(token, nil)
}

func TestHeader(t *testing.T) {
	h, err := parseHeader(t, `{"typ":"at+jwt","alg":"RS256","kid":"k\u0031","jwk":{"kty":"oct"},"jku":"https://evil.example","x5u":"x","x5c":["x"],"x5t":"x","cty":"JWT","unknown":[1]}`)
	if err != nil || h.Algorithm != jws.RS256 || string(h.KeyID) != "k1" || string(h.Type) != "at+jwt" {
		t.Errorf("header = %+v, %v", h, err)
	}
	h, err = parseHeader(t, `{"alg":"RS256"}`)
	if err != nil || h.KeyID != nil || h.Type != nil {
		t.Errorf("absent kid and typ are %v and %v, %v", h.KeyID, h.Type, err)
	}
	h, err = parseHeader(t, `{"alg":"RS256","kid":"","typ":""}`)
	if err != nil || h.KeyID == nil || h.Type == nil {
		t.Errorf("empty kid and typ are %v and %v, %v: they are not absent", h.KeyID, h.Type, err)
	}
}

func TestHeaderRefusals(t *testing.T) {
	other := errors.New("any error")
	for _, test := range []struct {
		name, header string
		want         error
	}{
		{"crit", `{"alg":"HS256","crit":["exp"]}`, jws.ErrCritical},
		{"crit that is empty", `{"alg":"HS256","crit":[]}`, jws.ErrCritical},
		{"crit that is null", `{"alg":"HS256","crit":null}`, jws.ErrCritical},
		{"crit in another spelling", `{"alg":"HS256","cr\u0069t":[]}`, jws.ErrCritical},
		{"b64 false", `{"alg":"HS256","b64":false,"crit":["b64"]}`, jws.ErrCritical},
		{"b64 true", `{"alg":"HS256","b64":true}`, jws.ErrCritical},
		{"JWE", `{"alg":"RSA-OAEP","enc":"A256GCM"}`, jws.ErrEncrypted},
		{"JWE in three segments", `{"alg":"HS256","enc":"A256GCM"}`, jws.ErrEncrypted},
		{"no alg", `{"typ":"JWT"}`, jws.ErrHeader},
		{"alg in another case", `{"ALG":"HS256"}`, jws.ErrHeader},
		{"alg null", `{"alg":null}`, jws.ErrHeader},
		{"alg number", `{"alg":256}`, jws.ErrHeader},
		{"alg array", `{"alg":["HS256"]}`, jws.ErrHeader},
		{"kid number", `{"alg":"HS256","kid":1}`, jws.ErrHeader},
		{"kid null", `{"alg":"HS256","kid":null}`, jws.ErrHeader},
		{"kid object", `{"alg":"HS256","kid":{}}`, jws.ErrHeader},
		{"typ array", `{"alg":"HS256","typ":["JWT"]}`, jws.ErrHeader},
		{"duplicate alg", `{"alg":"HS256","alg":"none"}`, strictjson.ErrDuplicate},
		{"duplicate kid", `{"alg":"HS256","kid":"a","kid":"b"}`, strictjson.ErrDuplicate},
		{"duplicate in another spelling", `{"alg":"HS256","\u0061lg":"none"}`, strictjson.ErrDuplicate},
		{"duplicate deep inside", `{"alg":"HS256","jwk":{"a":1,"a":2}}`, strictjson.ErrDuplicate},
		{"array", `["HS256"]`, strictjson.ErrNotObject},
		{"string", `"HS256"`, strictjson.ErrNotObject},
		{"trailing data", `{"alg":"HS256"}{}`, strictjson.ErrTrailing},
		{"deep", `{"alg":"HS256","x":` + tokentest.Deep(100) + `}`, strictjson.ErrDepth},
		{"very deep", `{"alg":"HS256","x":` + tokentest.Deep(500_000) + `}`, strictjson.ErrDepth},
		{"invalid UTF-8", "{\"alg\":\"HS256\",\"x\":\"\xff\"}", other},
		{"no JSON", "\x00\x01\x02", other},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := parseHeader(t, test.header)
			if err == nil || test.want != other && !errors.Is(err, test.want) {
				t.Errorf("error = %v, want %v", err, test.want)
			}
		})
	}
}

func TestHeaderWithAnUnsupportedAlgorithmHasNone(t *testing.T) {
	for _, alg := range []string{"none", "None", "NONE", "nOnE", " none", "none ", "", "HS1", "hs256", "HS256 ", "RS1", "ES256K", "EdDSA448", "Ed448", "eddsa", "HS256\\u0000", "A128KW", "dir", "ＨＳ256"} {
		h, err := parseHeader(t, `{"alg":"`+alg+`"}`)
		if err != nil || h.Algorithm != "" {
			t.Errorf("alg %q gave %q, %v; want none", alg, h.Algorithm, err)
		}
		if known, ok := jws.ParseAlgorithm(alg); ok {
			t.Errorf("ParseAlgorithm(%q) = %q", alg, known)
		}
	}
}

func TestEd25519IsEdDSA(t *testing.T) {
	if h, err := parseHeader(t, `{"alg":"Ed25519"}`); err != nil || h.Algorithm != jws.EdDSA {
		t.Errorf("alg = %q, %v", h.Algorithm, err)
	}
}

func TestRememberedHeaderIsACopyAndFitsItsOwnSegmentOnly(t *testing.T) {
	raw := []byte(tokentest.Encode(`{"alg":"HS256","kid":"a"}`) + ".e30.AAAA")
	token, err := jws.Split(raw)
	if err != nil {
		t.Fatal(err)
	}
	var headers jws.Headers
	buf := make([]byte, 256)
	h, err := headers.Parse(token, buf)
	if err != nil {
		t.Fatal(err)
	}
	headers.Remember(token, h)
	copied := append([]byte(nil), raw...)
	for i := range raw {
		raw[i] = 'A'
	}
	clear(buf)
	token, _ = jws.Split(copied)
	if h, err := headers.Parse(token, buf); err != nil || string(h.KeyID) != "a" || h.Algorithm != jws.HS256 {
		t.Errorf("remembered header = %+v, %v", h, err)
	}
	other, _ := jws.Split([]byte(tokentest.Encode(`{"alg":"HS256","kid":"b"}`) + ".e30.AAAA"))
	if h, err := headers.Parse(other, buf); err != nil || string(h.KeyID) != "b" {
		t.Errorf("another header = %+v, %v", h, err)
	}
}

func FuzzHeader(f *testing.F) {
	for _, seed := range []string{
		`{"alg":"HS256","typ":"JWT"}`, `{"alg":"none"}`, `{"alg":"RS256","kid":"\u0061"}`, `{"alg":"HS256","crit":[]}`, `{"alg":"HS256","enc":"x"}`,
		`{"alg":"HS256","alg":"none"}`, `{"ALG":"none","alg":"HS256"}`, `{"alg":"Ed25519","x":` + tokentest.Deep(70) + `}`, "{\"alg\":\"\xff\"}", `[]`, ``,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		if header == "" {
			return
		}
		h, err := parseHeader(t, header)
		if err != nil {
			return
		}
		// Whatever is taken has one meaning for every reader.
		var alg, kid, typ string
		err = strictjson.Object([]byte(header), func(name, value []byte) error {
			s, _ := strictjson.String(value)
			switch string(name) {
			case "alg":
				alg = string(s)
			case "kid":
				kid = string(s)
			case "typ":
				typ = string(s)
			case "crit", "b64", "enc":
				t.Errorf("%q is taken", header)
			}
			return nil
		})
		if known, _ := jws.ParseAlgorithm(alg); err != nil || h.Algorithm != known || string(h.KeyID) != kid || string(h.Type) != typ {
			t.Errorf("%q gave %+v, %v", header, h, err)
		}
		if strings.EqualFold(string(h.Algorithm), "none") {
			t.Errorf("%q gave the algorithm %q", header, h.Algorithm)
		}
	})
}
