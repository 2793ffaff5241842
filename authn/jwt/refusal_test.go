package jwt_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

const (
	malformed   = "JWT verification failed: malformed token"
	unsupported = "JWT verification failed: unsupported algorithm"
	badSig      = "JWT verification failed: invalid signature"
	unknownKey  = "JWT verification failed: unknown signing key"
	wrongIss    = "JWT verification failed: wrong issuer"
	wrongAud    = "JWT verification failed: the token is meant for another audience. Please request a token for this server"
	notYet      = "JWT verification failed: the token is not valid yet"
	tooLarge    = "JWT verification failed: the token is too large"
	expired     = "JWT token has expired. Please refresh your token."
	noUser      = "JWT missing required userId claim"
)

// refusal is a token that no provider of ours may take.
type refusal struct {
	name, token string
	code        mcpauth.Code
	message     string
	// several is the code where there are several issuers, if another: then
	// the issuer is looked for before the signature is checked.
	several mcpauth.Code
}

// refusals are hostile and faulty tokens of every kind. They are made anew for
// each test, as time goes on.
func refusals() []refusal {
	token := good()
	s := strings.Split(token, ".")
	raw := func(header, claims string) string { return ours.Token(header, claims) }
	rs := tokentest.KeyFor("RS256")
	confused := func(secret []byte) string {
		return tokentest.Key{Algorithm: "HS256", Private: secret}.Token(hs, claims())
	}
	unsigned := func(alg string) string {
		return tokentest.Encode(`{"alg":"`+alg+`"}`) + "." + s[1] + "."
	}
	lastByteChanged := func(segment string) string {
		b, _ := base64.RawURLEncoding.DecodeString(segment)
		b[len(b)-1] ^= 1
		return base64.RawURLEncoding.EncodeToString(b)
	}
	list := []refusal{
		{"empty", "", mcpauth.ErrMissingCredential, "No token provided", ""},
		{"1 MB", strings.Repeat("a", 1<<20), mcpauth.ErrTooLarge, tooLarge, ""},
		{"one byte over the limit", strings.Repeat("a", 16<<10+1), mcpauth.ErrTooLarge, tooLarge, ""},
		{"100 000 dots", strings.Repeat(".", 100_000), mcpauth.ErrTooLarge, tooLarge, ""},

		// Form.
		{"8 KB of letters", strings.Repeat("a", 8<<10), mcpauth.ErrMalformedToken, malformed, ""},
		{"16 000 dots", strings.Repeat(".", 16_000), mcpauth.ErrMalformedToken, malformed, ""},
		{"binary", "\x00\xff\xfe\x80.\x00.\x00", mcpauth.ErrMalformedToken, malformed, ""},
		{"one segment", s[0], mcpauth.ErrMalformedToken, malformed, ""},
		{"two segments", s[0] + "." + s[1], mcpauth.ErrMalformedToken, malformed, ""},
		{"four segments", token + "." + s[2], mcpauth.ErrMalformedToken, malformed, ""},
		{"JWE: five segments", token + ".AAAA.AAAA", mcpauth.ErrMalformedToken, malformed, ""},
		{"JSON serialization", `{"payload":"` + s[1] + `","protected":"` + s[0] + `","signature":"` + s[2] + `"}`, mcpauth.ErrMalformedToken, malformed, ""},
		{"padding", token + "=", mcpauth.ErrMalformedToken, malformed, ""},
		{"line feed at the end", token + "\n", mcpauth.ErrMalformedToken, malformed, ""},
		{"line feed inside the payload", s[0] + "." + s[1][:4] + "\n" + s[1][4:] + "." + s[2], mcpauth.ErrMalformedToken, malformed, ""},
		{"carriage return inside the signature", s[0] + "." + s[1] + "." + s[2][:4] + "\r" + s[2][4:], mcpauth.ErrMalformedToken, malformed, ""},
		{"spare bits of the signature", s[0] + "." + s[1] + "." + s[2][:42] + spareBit(s[2][42]), mcpauth.ErrMalformedToken, malformed, ""},
		{"standard alphabet", strings.NewReplacer("a", "+").Replace(token), mcpauth.ErrMalformedToken, malformed, ""},
		{"scheme inside", "Bearer " + token, mcpauth.ErrMalformedToken, malformed, ""},
		{"full-width dots", s[0] + "．" + s[1] + "．" + s[2], mcpauth.ErrMalformedToken, malformed, ""},

		// Header.
		{"header no JSON", raw("x", claims()), mcpauth.ErrMalformedToken, malformed, ""},
		{"header an array", raw(`["HS256"]`, claims()), mcpauth.ErrMalformedToken, malformed, ""},
		{"header with trailing data", raw(hs+"x", claims()), mcpauth.ErrMalformedToken, malformed, ""},
		{"header deep", raw(ours.HeaderWith(`"x":`+tokentest.Deep(1000)), claims()), mcpauth.ErrMalformedToken, malformed, ""},
		{"header with invalid UTF-8", raw(ours.HeaderWith("\"x\":\"\xff\""), claims()), mcpauth.ErrMalformedToken, malformed, ""},
		{"alg twice", raw(`{"alg":"none","alg":"HS256"}`, claims()), mcpauth.ErrMalformedToken, malformed, ""},
		{"no alg", raw(`{"typ":"JWT"}`, claims()), mcpauth.ErrMalformedToken, malformed, ""},
		{"ALG", raw(`{"ALG":"HS256"}`, claims()), mcpauth.ErrMalformedToken, malformed, ""},
		{"alg null", raw(`{"alg":null}`, claims()), mcpauth.ErrMalformedToken, malformed, ""},
		{"crit", raw(ours.HeaderWith(`"crit":["exp"]`), claims()), mcpauth.ErrMalformedToken, malformed, ""},
		{"b64", raw(ours.HeaderWith(`"b64":false`), claims()), mcpauth.ErrMalformedToken, malformed, ""},
		{"enc", raw(ours.HeaderWith(`"enc":"A256GCM"`), claims()), mcpauth.ErrMalformedToken, malformed, ""},
		{"kid object", raw(ours.HeaderWith(`"kid":{"$ne":1}`), claims()), mcpauth.ErrMalformedToken, malformed, ""},
		{"typ of an ID token", raw(ours.HeaderWith(`"typ":"id+jwt"`), claims()), mcpauth.ErrMalformedToken, malformed, ""},
		{"typ of a logout token", raw(ours.HeaderWith(`"typ":"logout+jwt"`), claims()), mcpauth.ErrMalformedToken, malformed, ""},
		{"typ of a DPoP proof", raw(ours.HeaderWith(`"typ":"dpop+jwt"`), claims()), mcpauth.ErrMalformedToken, malformed, ""},
		{"typ application/jwt", raw(ours.HeaderWith(`"typ":"application/jwt"`), claims()), mcpauth.ErrMalformedToken, malformed, ""},
		{"typ empty", raw(ours.HeaderWith(`"typ":""`), claims()), mcpauth.ErrMalformedToken, malformed, ""},
		{"typ with a fold variant", raw(ours.HeaderWith(`"typ":"at+jwt\u0000"`), claims()), mcpauth.ErrMalformedToken, malformed, ""},
		{"typ null", raw(ours.HeaderWith(`"typ":null`), claims()), mcpauth.ErrMalformedToken, malformed, ""},

		// Algorithm.
		{"alg hs256", raw(`{"alg":"hs256"}`, claims()), mcpauth.ErrUnsupportedAlgorithm, unsupported, ""},
		{"alg of no key", raw(`{"alg":"HS512"}`, claims()), mcpauth.ErrUnsupportedAlgorithm, unsupported, ""},
		{"alg RS256 of another kind", rs.Token(rs.Header(), claims()), mcpauth.ErrUnsupportedAlgorithm, unsupported, ""},
		{"alg ES256K", raw(`{"alg":"ES256K"}`, claims()), mcpauth.ErrUnsupportedAlgorithm, unsupported, ""},

		// Signature.
		{"no signature", s[0] + "." + s[1] + ".", mcpauth.ErrBadSignature, badSig, ""},
		{"signature of another secret", others.Token(hs, claims()), mcpauth.ErrBadSignature, badSig, ""},
		{"empty secret", confused(nil), mcpauth.ErrBadSignature, badSig, ""},
		{"payload changed", s[0] + "." + tokentest.Encode(claims("userId", `"admin"`)) + "." + s[2], mcpauth.ErrBadSignature, badSig, ""},
		{"signature changed", s[0] + "." + s[1] + "." + lastByteChanged(s[2]), mcpauth.ErrBadSignature, badSig, ""},
		{"signature longer", s[0] + "." + s[1] + "." + s[2] + "AAAA", mcpauth.ErrBadSignature, badSig, ""},
		{"8 KB forged", others.Token(hs, claims("x", `"`+strings.Repeat("x", 8<<10)+`"`)), mcpauth.ErrBadSignature, badSig, ""},
		{"forged and no JSON", others.Token(hs, "x"), mcpauth.ErrBadSignature, badSig, mcpauth.ErrMalformedToken},
		{"forged in another's name", others.Token(hs, claims("iss", `"https://evil.example"`)), mcpauth.ErrBadSignature, badSig, mcpauth.ErrWrongIssuer},

		// Claims.
		{"payload empty", raw(hs, ""), mcpauth.ErrMalformedToken, malformed, ""},
		{"payload no JSON", raw(hs, "x"), mcpauth.ErrMalformedToken, malformed, ""},
		{"payload an array", raw(hs, "["+claims()+"]"), mcpauth.ErrMalformedToken, malformed, ""},
		{"payload null", raw(hs, "null"), mcpauth.ErrMalformedToken, malformed, ""},
		{"payload with trailing data", raw(hs, claims()+"{}"), mcpauth.ErrMalformedToken, malformed, ""},
		{"payload with a trailing NUL", raw(hs, claims()+"\x00"), mcpauth.ErrMalformedToken, malformed, ""},
		{"payload with a byte order mark", raw(hs, "\ufeff"+claims()), mcpauth.ErrMalformedToken, malformed, ""},
		{"payload deep", good("x", tokentest.Deep(65)), mcpauth.ErrMalformedToken, malformed, ""},
		{"payload very deep", good("x", tokentest.Deep(5000)), mcpauth.ErrMalformedToken, malformed, ""},
		{"invalid UTF-8", good("x", "\"\xff\""), mcpauth.ErrMalformedToken, malformed, ""},
		{"invalid UTF-8 in the user id", good("userId", "\"a\xffb\""), mcpauth.ErrMalformedToken, malformed, ""},
		{"half a surrogate in the user id", good("userId", `"a\ud800"`), mcpauth.ErrMalformedToken, malformed, ""},
		{"duplicate deep inside", good("x", `{"a":1,"a":2}`), mcpauth.ErrMalformedToken, malformed, ""},

		{"no iss", good("iss", ""), mcpauth.ErrMissingClaim, "JWT missing required iss claim", ""},
		{"other issuer", good("iss", `"https://evil.example"`), mcpauth.ErrWrongIssuer, wrongIss, ""},
		{"issuer empty", good("iss", `""`), mcpauth.ErrWrongIssuer, wrongIss, ""},
		{"issuer with a slash", good("iss", `"`+issuerName+`/"`), mcpauth.ErrWrongIssuer, wrongIss, ""},
		{"issuer in another case", good("iss", `"HTTPS://issuer.example"`), mcpauth.ErrWrongIssuer, wrongIss, ""},
		{"issuer an array", good("iss", `["`+issuerName+`"]`), mcpauth.ErrMalformedToken, malformed, ""},

		{"no exp", good("exp", ""), mcpauth.ErrMissingClaim, "JWT missing required exp claim", ""},
		{"exp a second ago", good("exp", in(-time.Second)), mcpauth.ErrExpired, expired, ""},
		{"exp now", good("exp", in(0)), mcpauth.ErrExpired, expired, ""},
		{"exp now and a fraction", good("exp", in(0)+".999"), mcpauth.ErrExpired, expired, ""},
		{"exp 0", good("exp", "0"), mcpauth.ErrExpired, expired, ""},
		{"exp minus zero", good("exp", "-0"), mcpauth.ErrExpired, expired, ""},
		{"nbf in an hour", good("nbf", in(time.Hour)), mcpauth.ErrNotYetValid, notYet, ""},
		{"iat in an hour", good("iat", in(time.Hour)), mcpauth.ErrNotYetValid, notYet, ""},

		{"no aud", good("aud", ""), mcpauth.ErrMissingClaim, "JWT missing required aud claim", ""},
		{"other audience", good("aud", `"https://other.example"`), mcpauth.ErrWrongAudience, wrongAud, ""},
		{"audience with a slash", good("aud", `"`+audience+`/"`), mcpauth.ErrWrongAudience, wrongAud, ""},
		{"audience in another case", good("aud", `"`+strings.ToUpper(audience)+`"`), mcpauth.ErrWrongAudience, wrongAud, ""},
		{"audience a part", good("aud", `"`+audience[:len(audience)-1]+`"`), mcpauth.ErrWrongAudience, wrongAud, ""},
		{"audience empty", good("aud", `""`), mcpauth.ErrWrongAudience, wrongAud, ""},
		{"audience an empty array", good("aud", `[]`), mcpauth.ErrWrongAudience, wrongAud, ""},
		{"audience an array of others", good("aud", `["a","b"]`), mcpauth.ErrWrongAudience, wrongAud, ""},
		{"audience a number", good("aud", `1`), mcpauth.ErrMalformedToken, malformed, ""},
		{"audience an object", good("aud", `{"a":"`+audience+`"}`), mcpauth.ErrMalformedToken, malformed, ""},
		{"audience an array with null", good("aud", `["`+audience+`",null]`), mcpauth.ErrMalformedToken, malformed, ""},
		{"audience an array in an array", good("aud", `[["`+audience+`"]]`), mcpauth.ErrMalformedToken, malformed, ""},

		{"no user id", good("userId", "", "sub", `"u"`), mcpauth.ErrMissingClaim, noUser, ""},
		{"user id empty", good("userId", `""`), mcpauth.ErrMissingClaim, noUser, ""},
		{"user id a number", good("userId", `42`), mcpauth.ErrMissingClaim, noUser, ""},
		{"user id true", good("userId", `true`), mcpauth.ErrMissingClaim, noUser, ""},
		{"user id an array", good("userId", `["admin"]`), mcpauth.ErrMissingClaim, noUser, ""},
		{"user id an object", good("userId", `{"id":"admin"}`), mcpauth.ErrMissingClaim, noUser, ""},

		{"cnf", good("cnf", `{"jkt":"x"}`), mcpauth.ErrMalformedToken, malformed, ""},
		{"token_use id", good("token_use", `"id"`), mcpauth.ErrMalformedToken, malformed, ""},
		{"token_use Access", good("token_use", `"Access"`), mcpauth.ErrMalformedToken, malformed, ""},
		{"token_use null", good("token_use", `null`), mcpauth.ErrMalformedToken, malformed, ""},
		{"Keycloak's ID token", good("typ", `"ID"`), mcpauth.ErrMalformedToken, malformed, ""},
		{"Keycloak's refresh token", good("typ", `"Refresh"`), mcpauth.ErrMalformedToken, malformed, ""},
		{"Keycloak's offline token", good("typ", `"Offline"`), mcpauth.ErrMalformedToken, malformed, ""},
		{"scope a number", good("scope", `1`), mcpauth.ErrMalformedToken, malformed, ""},
		{"scope null", good("scope", `null`), mcpauth.ErrMalformedToken, malformed, ""},
		{"scp an array of numbers", good("scp", `[1]`), mcpauth.ErrMalformedToken, malformed, ""},
	}
	for _, alg := range []string{"none", "None", "NONE", "nOnE", "", "none ", "NoNe"} {
		list = append(list, refusal{"unsigned with alg " + alg, unsigned(alg), mcpauth.ErrUnsupportedAlgorithm, unsupported, ""},
			refusal{"signed with alg " + alg, raw(`{"alg":"`+alg+`"}`, claims()), mcpauth.ErrUnsupportedAlgorithm, unsupported, ""})
	}
	for _, name := range []string{"iss", "aud", "exp", "iat", "userId", "x"} {
		list = append(list, refusal{"duplicate " + name, raw(hs, tokentest.With(tokentest.With(claims(), `"x":1`), `"`+name+`":1`)), mcpauth.ErrMalformedToken, malformed, ""})
	}
	for _, name := range []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "userId"} {
		list = append(list, refusal{"null in " + name, good(name, "null"), mcpauth.ErrMalformedToken, malformed, ""})
	}
	for _, name := range []string{"sub", "jti"} {
		list = append(list, refusal{"number in " + name, good(name, "1"), mcpauth.ErrMalformedToken, malformed, ""})
	}
	for _, name := range []string{"ISS", "iſs", "Sub", "SUB", "ſub", "\\u017fub", "AUD", "Aud", "EXP", "Exp", "NBF", "IAT", "JTI", "USERID", "userid", "UserId", "uſerId", "uSERiD"} {
		list = append(list, refusal{"case variant " + name, raw(hs, tokentest.With(claims(), `"`+name+`":"x"`)), mcpauth.ErrMalformedToken, malformed, ""})
	}
	for _, name := range []string{"exp", "nbf", "iat"} {
		for _, value := range []string{`"` + in(time.Hour) + `"`, "1e300", "-1", "-0.5", "-1e300", "1e400", "253402300800", "99999999999999999999", "9223372036854775808", "true", "[]", "{}", `""`, `"NaN"`} {
			list = append(list, refusal{name + " of " + value, good(name, value), mcpauth.ErrMalformedToken, malformed, ""})
		}
	}
	for _, id := range []string{`\u0000`, `a\u0000b`, `\n`, `a\r\nb`, `\t`, `\u001b[31m`, `\u007f`, `\u0085`, `a\u009f`} {
		list = append(list, refusal{"control character in the user id " + id, good("userId", `"`+id+`"`), mcpauth.ErrMalformedToken, malformed, ""})
	}
	for name, secret := range map[string][]byte{"PEM": rs.PEM(), "DER": rs.DER(), "JWK": []byte(rs.JWK(""))} {
		list = append(list, refusal{"public key as the secret: " + name, confused(secret), mcpauth.ErrBadSignature, badSig, ""})
	}
	return list
}

// spareBit returns the base64url character c with its lowest bit, which a
// signature of 32 bytes does not use, set.
func spareBit(c byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, c)|1])
}

func TestRefusals(t *testing.T) {
	two := jwt.Config{Issuers: []jwt.Issuer{signedBy(issuerName, ours), signedBy(otherName, others)}}
	one := only(signedBy(issuerName, ours))
	for name, config := range map[string]jwt.Config{"one issuer": one, "two issuers": two} {
		for _, off := range []bool{false, true} {
			config.Cache.Off = off
			p := newProvider(t, config)
			for _, r := range refusals() {
				t.Run(fmt.Sprintf("%s/cache off %v/%s", name, off, r.name), func(t *testing.T) {
					code, message := r.code, r.message
					if len(config.Issuers) > 1 && r.several != "" {
						code, message = r.several, map[mcpauth.Code]string{mcpauth.ErrMalformedToken: malformed, mcpauth.ErrWrongIssuer: wrongIss}[r.several]
					}
					refused(t, p, r.token, code, message)
					refused(t, p, r.token, code, message) // and from the cache
				})
			}
			passes(t, p, good())
			if accepted := p.Stats().Accepted.Entries; accepted > 1 {
				t.Errorf("%d tokens are in the cache of accepted ones", accepted)
			}
		}
	}
}

func TestAuthenticateTakesTheTokenFromTheHeader(t *testing.T) {
	p := provider(t)
	for _, test := range []struct {
		name   string
		values []string
		code   mcpauth.Code
	}{
		{"good", []string{"Bearer " + good()}, ""},
		{"none", nil, mcpauth.ErrMissingCredential},
		{"basic", []string{"Basic eA=="}, mcpauth.ErrMissingCredential},
		{"no token", []string{"Bearer "}, mcpauth.ErrMalformedHeader},
		{"two", []string{"Bearer " + good(), "Bearer " + good()}, mcpauth.ErrMalformedHeader},
		{"bad token", []string{"Bearer x"}, mcpauth.ErrMalformedToken},
	} {
		id, err := p.Authenticate(context.Background(), &mcpauth.Request{Header: http.Header{"Authorization": test.values}})
		if test.code == "" {
			if err != nil || id.UserID() != "user-1" {
				t.Errorf("%s: %v, %v", test.name, id, err)
			}
		} else if !errors.Is(err, test.code) || id != nil {
			t.Errorf("%s: %v, %v, want %s", test.name, id, err, test.code)
		}
	}
}

// Keys and links to keys inside a token are the sender's, not the issuer's.
func TestKeysInTheHeaderAreIgnoredAndNeverFetched(t *testing.T) {
	var requests atomic.Int64
	evil := tokentest.KeyFor("ES256")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		w.Write(tokentest.JWKS(evil.JWK("evil")))
	}))
	defer server.Close()
	// The issuer has a key for the same algorithm, so that the evil one would
	// only have to be taken for it.
	ed, evilEd := tokentest.Ed25519("ours"), tokentest.Ed25519("evil")
	p := newProvider(t, only(signedBy(issuerName, ed)))
	for _, members := range []string{
		`"jwk":` + evil.JWK(""), `"jwk":` + tokentest.Ed25519("evil").JWK(""), `"jku":"` + server.URL + `/jwks"`, `"x5u":"` + server.URL + `/cert"`, `"x5c":["` + base64.StdEncoding.EncodeToString(evil.DER()) + `"]`,
		`"x5t":"AAAA","x5t#S256":"AAAA"`, `"kid":"` + server.URL + `/jwks"`, `"kid":"../../../../dev/null"`, `"kid":"' OR 1=1 --"`,
	} {
		refused(t, p, evilEd.Token(evilEd.HeaderWith(members), claims()), mcpauth.ErrBadSignature)
		refused(t, p, evil.Token(evil.HeaderWith(members), claims()), mcpauth.ErrUnsupportedAlgorithm)
		if id := passes(t, p, ed.Token(ed.HeaderWith(members), claims())); id.UserID() != "user-1" {
			t.Errorf("%s: user %q", members, id.UserID())
		}
	}
	if n := requests.Load(); n != 0 {
		t.Errorf("%d requests were made", n)
	}
}

// Nothing of a token or a secret gets into an error or a log.
func TestRefusalsGiveNothingAway(t *testing.T) {
	var logged bytes.Buffer
	config := jwt.Config{Issuers: []jwt.Issuer{signedBy(issuerName, ours), signedBy(otherName, others)}, Logger: debugLogger(&logged)}
	p := newProvider(t, config)
	if err := p.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	guard := mcpauth.Require(p, mcpauth.Requirement{Logger: debugLogger(&logged)})(http.NotFoundHandler())
	const canary = "canary-7d1"
	tokens := []string{good("email", `"`+canary+`"`), good("userId", `"`+canary+`"`, "exp", in(-time.Hour)), good("userId", `"`+canary+`\u0000"`), good("scope", `["`+canary+`"]`),
		good("x", `{"`+canary+`":1,"`+canary+`":1}`), ours.Token(hs, claims()+canary), good(canary, `"\x"`), good("exp", `"`+canary+`"`), good("sub", `["`+canary+`"]`), good("cnf", `"`+canary+`"`)}
	for _, r := range refusals() {
		tokens = append(tokens, r.token)
	}
	secrets := []string{canary, string(ours.Private.([]byte)), string(others.Private.([]byte))}
	for _, token := range tokens {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "/mcp", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		guard.ServeHTTP(w, r)
		text := fmt.Sprint(w.Header(), w.Body)
		if _, err := verify(p, token); err != nil {
			e := mcpauth.AsError(err)
			text += fmt.Sprintf("%v %+v %#v %s %v", err, err, err, e.Message, e.Cause)
		}
		text += logged.String()
		logged.Reset()
		parts := append([]string{token}, strings.Split(token, ".")...)
		for _, part := range parts {
			if len(part) >= 16 && strings.Contains(text, part) {
				t.Errorf("a part of the token is given away: %.300s", text)
			}
		}
		for _, s := range secrets {
			if strings.Contains(text, s) {
				t.Errorf("%q is given away: %.300s", s, text)
			}
		}
	}
}
