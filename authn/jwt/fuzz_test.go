package jwt_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

// judge asks p for a token of ours, and fails the test when the answer is of
// no proper form or when an oracle disagrees.
func judge(t *testing.T, p *jwt.Provider, token string) (taken bool) {
	t.Helper()
	id, err := verify(p, token)
	var e *mcpauth.Error
	if err != nil && (!errors.As(err, &e) || id != nil || e.Code == "" || e.Message == "" || e.Code == mcpauth.ErrUnavailable) {
		t.Errorf("%q got %v and %v", token, id, err)
	}
	if err != nil {
		return false
	}
	agree(t, ours, token, id)
	return true
}

// FuzzToken gives whole tokens to providers of one and of several issuers.
func FuzzToken(f *testing.F) {
	f.Add(good("exp", "253402300799"))
	for _, r := range refusals() {
		if len(r.token) < 4096 {
			f.Add(r.token)
		}
	}
	one := provider(f)
	several := newProvider(f, jwt.Config{Issuers: []jwt.Issuer{signedBy(issuerName, ours), signedBy(otherName, others)}})
	f.Fuzz(func(t *testing.T, token string) {
		if taken := judge(t, one, token); judge(t, several, token) != taken {
			t.Errorf("%q: taken with one issuer %v, with two %v", token, taken, !taken)
		}
	})
}

// FuzzKeyOfATenant gives a key, in the set of all tenants, whatever "issuer".
func FuzzKeyOfATenant(f *testing.F) {
	const template = "https://login.example/{tenantid}/v2.0"
	for _, value := range []string{quoted(template), quoted(pattern), quoted(acme), quoted(globex), quoted(initech), `""`, "null", "7", `["` + acme + `"]`, `"https:\/\/login.example/acme/v2.0"`, `"x","issuer":"y"`, `"` + acme + `","Issuer":"` + globex + `"`} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		iss := tenanted()
		iss.Algorithms, iss.Keys = nil, []jwt.KeySource{jwt.JWKS(tokentest.JWKS(tokentest.With(first.JWK("k"), `"issuer":`+value)))}
		p, err := jwt.New(jwt.Config{Issuers: []jwt.Issuer{iss}, Logger: discard})
		if err != nil {
			return // no set
		}
		defer p.Close()
		var named struct{ Issuer any }
		if err := json.Unmarshal([]byte(`{"Issuer":`+value+`}`), &named); err != nil {
			return // more than a value
		}
		for _, tenant := range []string{acme, globex} {
			_, err := verify(p, first.Token(first.HeaderWith(`"kid":"k"`), claims("iss", quoted(tenant))))
			if all := named.Issuer == template || named.Issuer == pattern; (err == nil) != (all || named.Issuer == tenant) && !strings.Contains(value, ",") {
				t.Errorf("a key of %s, for %s: %v", value, tenant, err)
			}
		}
	})
}

// FuzzClaims signs what it is given, so that the claims are reached.
func FuzzClaims(f *testing.F) {
	for _, r := range refusals() {
		if s := strings.Split(r.token, "."); len(s) == 3 && len(r.token) < 4096 && r.code != mcpauth.ErrMalformedToken {
			f.Add(hs, tokentest.Decode(s[1]))
		}
	}
	for _, text := range []string{
		claims("exp", "4000000000", "iat", "1"), claims("exp", "4e9"), claims("exp", "4000000000.5", "nbf", "0.5"), claims("aud", `["`+audience+`"]`), claims("userId", `"\u0061"`),
		tokentest.With(claims(), `"SUB":1`), tokentest.With(claims(), `"exp":1`), claims("scope", `"a b"`, "scp", `["c"]`), claims("x", tokentest.Deep(70)), "{}", "",
	} {
		f.Add(hs, text)
		f.Add(ours.HeaderWith(`"kid":"a","jwk":{}`), text)
	}
	one := provider(f)
	several := newProvider(f, jwt.Config{Issuers: []jwt.Issuer{signedBy(issuerName, ours), signedBy(otherName, others)}})
	f.Fuzz(func(t *testing.T, header, claims string) {
		token := ours.Token(header, claims)
		taken := judge(t, one, token)
		if judge(t, several, token) != taken {
			t.Errorf("%s.%s: taken with one issuer %v, with two %v", header, claims, taken, !taken)
		}
		if taken {
			if id := passes(t, one, token); len(id.Metadata()) > len(decodedPayload(t, token)) {
				t.Errorf("more metadata than claims: %v", id.Metadata())
			}
		}
	})
}
