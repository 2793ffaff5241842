package jwt_test

import (
	"testing"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

// No invalid case of Wycheproof passes the provider. The valid ones, whose
// payloads are mostly no JSON, are those of internal/jwk.
func TestWycheproofInvalidCases(t *testing.T) {
	var file tokentest.Wycheproof
	tokentest.ReadVectors(t, tokentest.Vectors(t, "wycheproof_jws.json"), &file)
	invalid := 0
	for _, g := range file.TestGroups {
		p, err := jwt.New(jwt.Config{Logger: discard, Issuers: []jwt.Issuer{{Name: "joe", AnyAudience: true, Keys: []jwt.KeySource{jwt.JWKS(g.Key())}}}})
		for _, test := range g.Tests {
			if test.Result != "invalid" {
				continue
			}
			invalid++
			if err != nil {
				continue // the key itself is refused, as those for encryption are
			}
			if id, err := verify(p, tokentest.Compact(test.JWS)); err == nil || id != nil {
				t.Errorf("%s, case %d (%s) passes", g.Comment, test.TcID, test.Comment)
			} else if c := mcpauth.AsError(err).Code; c == mcpauth.ErrUnavailable {
				t.Errorf("%s, case %d (%s): %v", g.Comment, test.TcID, test.Comment, err)
			}
		}
		if err == nil {
			p.Close()
		}
	}
	if invalid != 318 {
		t.Errorf("%d invalid cases, want 318", invalid)
	}
}

// The tokens of golang-jwt's own tests, of which none is ours.
func TestGolangJWTTokens(t *testing.T) {
	var file struct{ Tokens []struct{ Token string } }
	tokentest.ReadVectors(t, tokentest.Vectors(t, "golang_jwt_static_tokens.json"), &file)
	if len(file.Tokens) != 51 {
		t.Errorf("%d tokens, want 51", len(file.Tokens))
	}
	for _, key := range []tokentest.Key{ours, tokentest.KeyFor("RS256"), tokentest.KeyFor("ES256"), tokentest.KeyFor("EdDSA")} {
		iss := signedBy(issuerName, key)
		iss.AnyAudience, iss.Audience = true, nil
		p := newProvider(t, only(iss))
		for _, v := range file.Tokens {
			if id, err := verify(p, v.Token); err == nil || id != nil {
				t.Errorf("%.60s passes", v.Token)
			}
		}
	}
}
