package jwt_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

// jwks is an issuer with the keys of a set.
func jwks(name string, keys ...string) jwt.Issuer {
	return jwt.Issuer{Name: name, Audience: []string{audience}, Keys: []jwt.KeySource{jwt.JWKS(tokentest.JWKS(keys...))}}
}

func TestAKeyServesItsOwnIssuerOnly(t *testing.T) {
	a, b := tokentest.Ed25519("a"), tokentest.Ed25519("b")
	p := newProvider(t, jwt.Config{Issuers: []jwt.Issuer{jwks(issuerName, a.JWK("same")), jwks(otherName, b.JWK("same"))}})
	withKid := func(k tokentest.Key, iss string) string {
		return k.Token(k.HeaderWith(`"kid":"same"`), claims("iss", `"`+iss+`"`))
	}
	if id := passes(t, p, withKid(a, issuerName)); id.Issuer() != issuerName {
		t.Errorf("issuer %q", id.Issuer())
	}
	if id := passes(t, p, withKid(b, otherName)); id.Issuer() != otherName {
		t.Errorf("issuer %q", id.Issuer())
	}
	refused(t, p, withKid(a, otherName), mcpauth.ErrBadSignature, badSig)
	refused(t, p, withKid(b, issuerName), mcpauth.ErrBadSignature, badSig)
	refused(t, p, withKid(a, "https://third.example"), mcpauth.ErrWrongIssuer, wrongIss)
	if got := p.Issuers(); len(got) != 2 || got[0] != issuerName || got[1] != otherName {
		t.Errorf("Issuers = %v", got)
	}
}

func TestSettingsAreThoseOfTheTokensIssuer(t *testing.T) {
	first, second := signedBy(issuerName, ours), signedBy(otherName, others)
	second.UserIDClaim, second.Audience, second.RequireType = "sub", []string{"second"}, true
	p := newProvider(t, jwt.Config{Issuers: []jwt.Issuer{first, second}})
	ofSecond := func(header string, pairs ...string) string {
		return others.Token(header, claims(append([]string{"iss", `"` + otherName + `"`}, pairs...)...))
	}
	if id := passes(t, p, ofSecond(hs, "aud", `"second"`, "sub", `"s"`)); id.UserID() != "s" {
		t.Errorf("user %q", id.UserID())
	}
	refused(t, p, ofSecond(hs, "sub", `"s"`), mcpauth.ErrWrongAudience, wrongAud)
	refused(t, p, ofSecond(hs, "aud", `"second"`), mcpauth.ErrMissingClaim, "JWT missing required sub claim")
	refused(t, p, ofSecond(`{"alg":"HS256"}`, "aud", `"second"`, "sub", `"s"`), mcpauth.ErrMalformedToken, malformed)
	refused(t, p, good("aud", `"second"`), mcpauth.ErrWrongAudience, wrongAud)
	refused(t, p, good("iss", ""), mcpauth.ErrMissingClaim, "JWT missing required iss claim")
}

func TestAlgorithmsOfAnotherIssuerDoNotServe(t *testing.T) {
	ed := tokentest.Ed25519("a")
	p := newProvider(t, jwt.Config{Issuers: []jwt.Issuer{signedBy(issuerName, ours), signedBy(otherName, ed)}})
	refused(t, p, ed.Token(ed.Header(), claims()), mcpauth.ErrUnsupportedAlgorithm, unsupported)
	// The public key of one issuer, which everybody has, as the other's secret.
	forger := tokentest.Key{Algorithm: "HS256", Private: ed.PEM()}
	refused(t, p, forger.Token(hs, claims("iss", `"`+otherName+`"`)), mcpauth.ErrUnsupportedAlgorithm, unsupported)
	refused(t, p, forger.Token(hs, claims()), mcpauth.ErrBadSignature, badSig)
}

func TestKeyIDs(t *testing.T) {
	a, b := tokentest.Ed25519("a"), tokentest.Ed25519("b")
	p := newProvider(t, only(jwks(issuerName, a.JWK("a"), b.JWK("b"))))
	kid := func(k tokentest.Key, kid string) string { return k.Token(k.HeaderWith(`"kid":"`+kid+`"`), claims()) }
	passes(t, p, kid(a, "a"))
	passes(t, p, kid(b, "b"))
	passes(t, p, kid(b, `\u0062`))
	passes(t, p, a.Token(a.Header(), claims()))
	passes(t, p, b.Token(b.Header(), claims()))
	refused(t, p, kid(a, "b"), mcpauth.ErrBadSignature, badSig)
	refused(t, p, kid(a, "c"), mcpauth.ErrUnknownKey, unknownKey)
	refused(t, p, kid(a, "A"), mcpauth.ErrUnknownKey, unknownKey)
	refused(t, p, kid(a, ""), mcpauth.ErrUnknownKey, unknownKey)

	// A key without kid is tried whatever the token says.
	unnamed := newProvider(t, only(signedBy(issuerName, a)))
	passes(t, unnamed, kid(a, "anything"))
	passes(t, unnamed, a.Token(a.Header(), claims()))
}

func TestAtMostFourKeysAreTried(t *testing.T) {
	var set []string
	signers := make([]tokentest.Key, 6)
	for i := range signers {
		signers[i] = tokentest.Ed25519(strconv.Itoa(i))
		set = append(set, signers[i].JWK("kid-"+strconv.Itoa(i)))
	}
	p := newProvider(t, only(jwks(issuerName, set...)))
	for i, k := range signers {
		if token := k.Token(k.Header(), claims()); i < 4 {
			passes(t, p, token)
		} else {
			refused(t, p, token, mcpauth.ErrBadSignature, badSig)
		}
		passes(t, p, k.Token(k.HeaderWith(`"kid":"kid-`+strconv.Itoa(i)+`"`), claims()))
	}
}

// A token with a key that is unknown is refused for what it says of itself
// first: no key of any issuer would help it.
func TestPrecedenceForAnUnknownKey(t *testing.T) {
	a := tokentest.Ed25519("a")
	one := only(jwks(issuerName, a.JWK("a")))
	two := jwt.Config{Issuers: []jwt.Issuer{jwks(issuerName, a.JWK("a")), signedBy(otherName, others)}}
	for name, config := range map[string]jwt.Config{"one issuer": one, "two issuers": two} {
		p := newProvider(t, config)
		for _, test := range []struct {
			name   string
			claims string
			code   mcpauth.Code
		}{
			{"good", claims(), mcpauth.ErrUnknownKey},
			{"wrong issuer", claims("iss", `"x"`), mcpauth.ErrWrongIssuer},
			{"wrong issuer and expired", claims("iss", `"x"`, "exp", "1"), mcpauth.ErrWrongIssuer},
			{"expired", claims("exp", "1"), mcpauth.ErrExpired},
			{"expired, for another audience", claims("exp", "1", "aud", `"x"`), mcpauth.ErrExpired},
			{"not yet valid", claims("nbf", in(time.Hour)), mcpauth.ErrNotYetValid},
			{"wrong audience", claims("aud", `"x"`), mcpauth.ErrWrongAudience},
			{"no exp", claims("exp", ""), mcpauth.ErrMissingClaim},
			{"no JSON", "x", mcpauth.ErrMalformedToken},
			{"duplicate", tokentest.With(claims(), `"exp":1`), mcpauth.ErrMalformedToken},
		} {
			t.Run(name+"/"+test.name, func(t *testing.T) {
				refused(t, p, a.Token(a.HeaderWith(`"kid":"gone"`), test.claims), test.code)
			})
		}
	}
}
