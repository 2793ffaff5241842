package jwt_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	golangjwt "github.com/golang-jwt/jwt/v5"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

// oracleClaims is what an oracle found in a token that it took.
type oracleClaims struct {
	Issuer  string `json:"iss"`
	Subject string `json:"sub"`
	UserID  any    `json:"userId"`
}

// Both oracles check signature, issuer, audience and time, as their
// documentation advises, with our tolerance for "nbf" and "iat".
const oracleLeeway = time.Minute

func askGolangJWT(key tokentest.Key, token string) (oracleClaims, error) {
	claims := golangjwt.MapClaims{}
	_, err := golangjwt.ParseWithClaims(token, claims, func(*golangjwt.Token) (any, error) { return key.Public(), nil },
		golangjwt.WithValidMethods([]string{key.Algorithm}), golangjwt.WithIssuer(issuerName), golangjwt.WithAudience(audience),
		golangjwt.WithExpirationRequired(), golangjwt.WithLeeway(oracleLeeway))
	iss, _ := claims["iss"].(string)
	sub, _ := claims["sub"].(string)
	return oracleClaims{iss, sub, claims["userId"]}, err
}

func askGoJose(key tokentest.Key, token string) (oracleClaims, error) {
	var found oracleClaims
	parsed, err := josejwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(key.Algorithm)})
	if err != nil {
		return found, err
	}
	var standard josejwt.Claims
	if err := parsed.Claims(key.Public(), &standard, &found); err != nil {
		return found, err
	}
	return found, standard.ValidateWithLeeway(josejwt.Expected{Issuer: issuerName, AnyAudience: []string{audience}, Time: time.Now()}, oracleLeeway)
}

// stricter are the reasons for which we refuse what an oracle takes. A refusal
// for any other reason is a difference to look into.
var stricter = map[string]string{
	"malformed_token: the same name twice in one object":    "two readers could see two values",
	"malformed_token: a claim name differs from":            "a reader that folds case would see another token",
	"malformed_token: a segment is not canonical base64url": "a token has one spelling",
	"malformed_token: a segment is not unpadded base64url":  "a token has one spelling; Go's base64 skips line breaks",
	"malformed_token: the header has \"crit\" or \"b64\"":   "no extension is understood",
	"malformed_token: an encrypted token (JWE)":             "a mixture of JWS and JWE",
	"malformed_token: the header lacks a usable parameter":  "kid and typ are strings",
	"malformed_token: \"typ\" ":                             "other kinds of token are no access tokens",
	"malformed_token: the claim \"typ\"":                    "Keycloak's ID and refresh tokens are no access tokens",
	"malformed_token: \"token_use\"":                        "ID tokens are no access tokens",
	"malformed_token: \"cnf\"":                              "bound to a key whose proof we do not check",
	"malformed_token: not valid JSON":                       "invalid UTF-8 and half surrogates are replaced by others",
	"malformed_token: nested deeper":                        "depth is bounded",
	"malformed_token: \"exp\" is not":                       "dates are numbers between 1970 and 9999",
	"malformed_token: \"nbf\" is not":                       "dates are numbers between 1970 and 9999",
	"malformed_token: \"iat\" is not":                       "dates are numbers between 1970 and 9999",
	"malformed_token: \"sub\" is not a string":              "registered claims have their types",
	"malformed_token: \"jti\" is not a string":              "registered claims have their types",
	"malformed_token: \"aud\" is not a string":              "registered claims have their types",
	"malformed_token: \"iss\" is not a string":              "registered claims have their types, also the first of two of a name",
	"malformed_token: \"userId\" is null":                   "null is no user id",
	"malformed_token: \"scp\" is not a string":              "registered claims have their types",
	"malformed_token: \"scope\" is not a string":            "registered claims have their types",
	"malformed_token: control characters in \"userId\"":     "user ids are written down",
	"malformed_token: data after the JSON value":            "trailing data",
	"missing_claim: ":                                       "the oracles do not know our user id claim, and go-jose needs no exp",
	"expired: ":                                             "our leeway for exp is 0, and a fraction is floored",
	"not_yet_valid: ":                                       "golang-jwt and go-jose check iat only when asked to, or with more leeway",
	"unknown_key: ":                                         "the oracles are given the key and ignore kid",
	"too_large: ":                                           "size is bounded",
}

func reason(err error) string {
	e := mcpauth.AsError(err)
	text := string(e.Code) + ": "
	if cause := errors.Unwrap(e); cause != nil {
		text += cause.Error()
	}
	return text
}

// ignored are the reasons for which an oracle refuses what we take. go-jose
// decodes keys and other parameters of the header that we never look at
// (RULES.md: they are ignored, since some providers send them), and golang-jwt
// every number, whether or not one fits into 64 bits.
var ignored = []string{"cannot unmarshal number", "failed to unmarshal JWK", "invalid embedded jwk", "failed to unmarshal x5c", "failed to unmarshal nonce"}

type oracle struct {
	name string
	ask  func(tokentest.Key, string) (oracleClaims, error)
}

var oracles = []oracle{{"golang-jwt", askGolangJWT}, {"go-jose", askGoJose}}

// agree fails the test unless both oracles take the token, which we took as
// id, and read the same out of it.
func agree(t *testing.T, key tokentest.Key, token string, id *mcpauth.Identity) {
	t.Helper()
	for _, o := range oracles {
		found, err := o.ask(key, token)
		switch {
		case err != nil && slices.ContainsFunc(ignored, func(r string) bool { return strings.Contains(err.Error(), r) }):
		case err != nil:
			t.Errorf("we take what %s refuses (%v): %s", o.name, err, token)
		case found.Issuer != id.Issuer() || found.Subject != id.Subject() || found.UserID != id.UserID():
			t.Errorf("%s sees %+v, we see %v with subject %q: %s", o.name, found, id, id.Subject(), token)
		}
	}
}

// explained fails the test when an oracle takes the token, which we refused
// with err, for none of the reasons in stricter.
func explained(t *testing.T, key tokentest.Key, token string, err error) {
	t.Helper()
	for r := range stricter {
		if strings.HasPrefix(reason(err), r) {
			return
		}
	}
	for _, o := range oracles {
		if _, oracleErr := o.ask(key, token); oracleErr == nil {
			t.Errorf("%s takes what we refuse with %s: %s", o.name, reason(err), token)
		}
	}
}

// generator makes tokens, good ones and such with something wrong.
type generator struct{ *rand.Rand }

func (g generator) one(list ...string) string { return list[g.IntN(len(list))] }

// claims mostly makes good claims, each with some chance of another value.
func (g generator) claims() string {
	now := time.Now().Unix()
	at := func(offset int64) string { return fmt.Sprint(now + offset) }
	members := [][2]string{
		{"iss", `"` + issuerName + `"`}, {"aud", `"` + audience + `"`}, {"userId", `"user-` + fmt.Sprint(g.IntN(100)) + `"`}, {"exp", at(3600)},
		{"sub", g.one(`"s"`, `"\u0073"`, `"é"`, `""`)}, {"iat", at(-5)}, {"nbf", at(-5)}, {"email", `"u@example.com"`},
	}
	odd := func(name string) string {
		switch name {
		case "exp", "nbf", "iat":
			return g.one(at(3600)+".5", at(30), at(-30), at(600), at(-600), "0", "1e300", "-1", `"`+at(3600)+`"`, "null", "true", "4e9", "253402300799", "253402300800")
		case "aud":
			return g.one(`["`+audience+`"]`, `["x","`+audience+`"]`, `"x"`, `[]`, `""`, "null", "1", `[1,"`+audience+`"]`, `{}`)
		case "iss":
			return g.one(`"x"`, `""`, "null", "1", `["`+issuerName+`"]`, `"https:\/\/issuer.example"`, `"`+issuerName+`/"`)
		}
		return g.one(`"v"`, `""`, "null", "1", `["v"]`, `"a\u0000b"`, `"\ud800"`, "\"\xff\"", `{"a":1,"a":2}`, "1.5")
	}
	for i := range members {
		if g.IntN(14) == 0 {
			members[i][1] = odd(members[i][0])
		}
	}
	if g.IntN(4) == 0 {
		extra := g.one("SUB", "EXP", "Iss", "USERID", "ſub", "exp", "iss", "userId", "x", "cnf", "token_use", "typ", "scope", "scp", "jti")
		members = append(members, [2]string{extra, g.one(`"x"`, odd("x"), odd("exp"))})
	}
	if g.IntN(8) == 0 {
		members = slices.Delete(members, 0, 1)
	}
	g.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	text := ""
	for _, m := range members {
		text += fmt.Sprintf(`,%s"%s":%s`, g.one("", "", " ", "\n"), m[0], m[1])
	}
	return "{" + text[1:] + "}" + g.one("", "", "", "", "", "", "", " ", "{}", "x")
}

func (g generator) header(key tokentest.Key) string {
	if g.IntN(3) > 0 {
		return key.Header()
	}
	return g.one(`{"alg":"none"}`, `{"alg":"None"}`, `{"alg":"HS256"}`, `{"alg":"`+key.Algorithm+`","alg":"none"}`, `{"typ":"JWT"}`,
		key.HeaderWith(`"typ":"at+jwt"`), key.HeaderWith(`"typ":"id+jwt"`), key.HeaderWith(`"kid":"x"`), key.HeaderWith(`"kid":1`), key.HeaderWith(`"crit":["x"],"x":1`),
		key.HeaderWith(`"crit":["b64"],"b64":true`), key.HeaderWith(`"jwk":`+tokentest.Ed25519("evil").JWK("")), key.HeaderWith(`"jku":"https://evil.example"`), key.HeaderWith(`"x":{"a":1,"a":1}`),
		key.HeaderWith(`"ALG":"none"`), key.HeaderWith(`"enc":"A128GCM"`), key.HeaderWith(`"typ":null`), key.Header()+"x")
}

// mutate spoils the token's text.
func (g generator) mutate(token string) string {
	b := []byte(token)
	switch g.IntN(8) {
	case 0:
		b[g.IntN(len(b))] ^= 1 << g.IntN(8)
	case 1:
		i := g.IntN(len(b))
		b = slices.Delete(b, i, i+1)
	case 2:
		b = slices.Insert(b, g.IntN(len(b)), g.one("\n", "\r", "=", ".", " ", "A", "\x00")[0])
	case 3:
		b = b[:g.IntN(len(b))]
	case 4:
		b = append(b, g.one("=", "==", "\n", ".", ".AAAA", "A", " ")...)
	case 5: // another last character: spare bits
		b[len(b)-1] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[g.IntN(64)]
	case 6: // no signature
		b = b[:strings.LastIndexByte(token, '.')+1]
	case 7: // segments in another order
		s := strings.Split(token, ".")
		g.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
		return strings.Join(s, ".")
	}
	return string(b)
}

func TestOthersTakeWhatWeTake(t *testing.T) {
	for i, test := range []struct {
		alg string
		n   int
	}{{"HS256", 3000}, {"EdDSA", 500}, {"ES256", 150}, {"RS256", 150}, {"PS256", 100}, {"HS512", 500}} {
		t.Run(test.alg, func(t *testing.T) {
			g := generator{rand.New(rand.NewPCG(uint64(i), 42))}
			key := tokentest.KeyFor(test.alg)
			p := newProvider(t, only(signedBy(issuerName, key)))
			taken := 0
			for range test.n {
				token := key.Token(g.header(key), g.claims())
				if g.IntN(4) == 0 {
					token = g.mutate(token)
				}
				id, err := verify(p, token)
				if err != nil {
					explained(t, key, token, err)
				} else {
					agree(t, key, token, id)
					taken++
				}
			}
			if taken < test.n/20 || taken > test.n*19/20 {
				t.Errorf("%d of %d tokens are taken: the test compares too little", taken, test.n)
			}
		})
	}
}

// decodedPayload returns the payload of a token that passed.
func decodedPayload(t *testing.T, token string) map[string]json.RawMessage {
	t.Helper()
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(tokentest.Decode(strings.Split(token, ".")[1])), &members); err != nil {
		t.Fatal(err)
	}
	return members
}
