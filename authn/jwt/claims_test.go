package jwt_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

func TestEveryAlgorithmPasses(t *testing.T) {
	for _, alg := range tokentest.Algorithms {
		key := tokentest.KeyFor(alg)
		p := newProvider(t, only(signedBy(issuerName, key)))
		if id := passes(t, p, key.Token(key.Header(), claims())); id.UserID() != "user-1" {
			t.Errorf("%s: user %q", alg, id.UserID())
		}
	}
	ed := tokentest.KeyFor("EdDSA")
	p := newProvider(t, only(jwt.Issuer{Name: issuerName, Audience: []string{audience}, Algorithms: []jwt.Algorithm{"Ed25519"}, Keys: []jwt.KeySource{jwt.PEM(ed.PEM())}}))
	passes(t, p, ed.Token(`{"alg":"Ed25519"}`, claims()))
	passes(t, p, ed.Token(`{"alg":"EdDSA"}`, claims()))
}

func TestIdentityOfAToken(t *testing.T) {
	p := provider(t)
	exp := in(time.Hour)
	token := good("exp", exp+".75", "sub", `"sub \u00e9"`, "userId", `"user\u002d1"`, "email", `"u@example.com"`, "big", "12345678901234567890", "scope", `"read  write"`, "nbf", "1")
	id := passes(t, p, token)
	if id.Issuer() != issuerName || id.UserID() != "user-1" || id.Subject() != "sub é" || id.Token().Reveal() != token {
		t.Errorf("issuer %q, user %q, subject %q", id.Issuer(), id.UserID(), id.Subject())
	}
	if got := id.Expiry().Unix(); got != mustInt(t, exp) {
		t.Errorf("expiry = %d, want %s: a fraction is floored", got, exp)
	}
	if !slices.Equal(id.Scopes(), []string{"read", "write"}) {
		t.Errorf("scopes = %q", id.Scopes())
	}
	names := slices.Sorted(maps.Keys(id.Metadata()))
	if want := []string{"big", "email", "nbf", "scope", "sub"}; !slices.Equal(names, want) {
		t.Errorf("metadata of %v, want %v", names, want)
	}
	var email string
	if ok, err := id.Claim("email", &email); !ok || err != nil || email != "u@example.com" {
		t.Errorf("email = %q, %v, %v", email, ok, err)
	}
}

func TestScopes(t *testing.T) {
	p := provider(t)
	for _, test := range []struct {
		name, scope, scp string
		want             []string
	}{
		{"none", "", "", nil},
		{"scope", `"a b"`, "", []string{"a", "b"}},
		{"scope empty", `""`, "", nil},
		{"scope before scp", `"a"`, `["b"]`, []string{"a"}},
		{"scp string", "", `"a b"`, []string{"a", "b"}},
		{"scp array", "", `["a","b"]`, []string{"a", "b"}},
		{"scp empty array", "", `[]`, nil},
		{"case matters", `"A a"`, "", []string{"A", "a"}},
		{"only a space separates: tab", `"a\tadmin"`, "", []string{"a\tadmin"}},
		{"only a space separates: no-break space", `"a\u00a0admin"`, "", []string{"a\u00a0admin"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			id := passes(t, p, good("scope", test.scope, "scp", test.scp))
			if got := id.Scopes(); !slices.Equal(got, test.want) {
				t.Errorf("scopes = %q, want %q", got, test.want)
			}
		})
	}
}

func TestTypes(t *testing.T) {
	p := provider(t)
	for _, typ := range []string{"JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt"} {
		passes(t, p, ours.Token(ours.HeaderWith(`"typ":"`+typ+`"`), claims()))
	}
	passes(t, p, ours.Token(`{"alg":"HS256"}`, claims()))
	passes(t, p, good("typ", `"Bearer"`))
	passes(t, p, good("token_use", `"access"`))

	iss := signedBy(issuerName, ours)
	iss.RequireType = true
	strict := newProvider(t, only(iss))
	refused(t, strict, ours.Token(`{"alg":"HS256"}`, claims()), mcpauth.ErrMalformedToken, malformed)
	passes(t, strict, good())
}

func TestBoundTokensAreAnOptOut(t *testing.T) {
	iss := signedBy(issuerName, ours)
	iss.AllowBoundTokens = true
	passes(t, newProvider(t, only(iss)), good("cnf", `{"jkt":"x"}`))
}

func TestAudiences(t *testing.T) {
	iss := func(change func(*jwt.Issuer)) *jwt.Provider {
		i := signedBy(issuerName, ours)
		change(&i)
		return newProvider(t, only(i))
	}
	standard := provider(t)
	passes(t, standard, good("aud", `["other","`+audience+`"]`))
	passes(t, standard, good("aud", `"`+strings.ReplaceAll(audience, "/", `\/`)+`"`))

	several := iss(func(i *jwt.Issuer) { i.Audience = []string{"a", "b"} })
	passes(t, several, good("aud", `"b"`))
	refused(t, several, good("aud", `"c"`), mcpauth.ErrWrongAudience)

	client := iss(func(i *jwt.Issuer) { i.AudienceClaim, i.Audience = "client_id", []string{"client-1"} })
	passes(t, client, good("aud", "", "client_id", `"client-1"`))
	passes(t, client, good("aud", `"whatever"`, "client_id", `"client-1"`))
	refused(t, client, good("aud", `"client-1"`), mcpauth.ErrMissingClaim, "JWT missing required client_id claim")
	refused(t, client, good("client_id", `"client-2"`), mcpauth.ErrWrongAudience, wrongAud)
	refused(t, client, good("client_id", `null`), mcpauth.ErrMalformedToken, malformed)
	refused(t, client, good("client_id", `"client-1"`, "aud", "null"), mcpauth.ErrMalformedToken, malformed)

	whatever := iss(func(i *jwt.Issuer) { i.AnyAudience, i.Audience = true, nil })
	passes(t, whatever, good("aud", ""))
	passes(t, whatever, good("aud", `"whatever"`))
	refused(t, whatever, good("aud", "null"), mcpauth.ErrMalformedToken, malformed)
}

func TestUserIDClaim(t *testing.T) {
	iss := signedBy(issuerName, ours)
	iss.UserIDClaim = "sub"
	p := newProvider(t, only(iss))
	id := passes(t, p, good("sub", `"subject-1"`))
	if id.UserID() != "subject-1" || id.Subject() != "subject-1" {
		t.Errorf("user %q, subject %q", id.UserID(), id.Subject())
	}
	if m := id.Metadata(); m["sub"] != nil || m["userId"] == nil {
		t.Errorf("metadata = %v", m)
	}
	refused(t, p, good(), mcpauth.ErrMissingClaim, "JWT missing required sub claim")
	refused(t, p, good("sub", `"a\n"`), mcpauth.ErrMalformedToken, malformed)
	refused(t, p, good("sub", `"a"`, "SUB", `"b"`), mcpauth.ErrMalformedToken, malformed)
	passes(t, p, good("sub", `"a"`, "USERID", `"b"`)) // a claim like any other here
	for _, text := range []string{"日本語", "O'Hara", "a b", "😀", "a\u200bb"} {
		if id := passes(t, provider(t), good("userId", `"`+text+`"`)); id.UserID() != text {
			t.Errorf("user %q, want %q", id.UserID(), text)
		}
	}
}

func TestTimes(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*jwt.Issuer)
		claims []string // built in the bubble: times are seconds from now, as "@n"
		wait   time.Duration
		code   mcpauth.Code
	}{
		{"exp: last second", nil, []string{"exp", "@10"}, 9 * time.Second, ""},
		{"exp: reached", nil, []string{"exp", "@10"}, 10 * time.Second, mcpauth.ErrExpired},
		{"exp with leeway: last second", func(i *jwt.Issuer) { i.ExpiryLeeway = 30 * time.Second }, []string{"exp", "@10"}, 39 * time.Second, ""},
		{"exp with leeway: reached", func(i *jwt.Issuer) { i.ExpiryLeeway = 30 * time.Second }, []string{"exp", "@10"}, 40 * time.Second, mcpauth.ErrExpired},
		{"exp in the year 9999", nil, []string{"exp", "253402300799"}, 0, ""},
		{"exp in the year 9999 and a fraction", nil, []string{"exp", "253402300799.9"}, 0, ""},
		{"exp with an exponent", nil, []string{"exp", "4e9"}, 0, ""},
		{"nbf within the tolerance", nil, []string{"nbf", "@60"}, 0, ""},
		{"nbf beyond the tolerance", nil, []string{"nbf", "@61"}, 0, mcpauth.ErrNotYetValid},
		{"nbf reached by waiting", nil, []string{"nbf", "@61"}, time.Second, ""},
		{"nbf with a tolerance of 5 minutes", func(i *jwt.Issuer) { i.ClockTolerance = 5 * time.Minute }, []string{"nbf", "@300"}, 0, ""},
		{"iat within the tolerance", nil, []string{"iat", "@60"}, 0, ""},
		{"iat beyond the tolerance", nil, []string{"iat", "@61"}, 0, mcpauth.ErrNotYetValid},
		{"iat is optional", nil, []string{"iat", ""}, 0, ""},
		{"iat long ago", nil, []string{"iat", "0"}, 0, ""},
		{"max lifetime: last second", func(i *jwt.Issuer) { i.MaxLifetime = time.Minute }, nil, 59 * time.Second, ""},
		{"max lifetime: reached before exp", func(i *jwt.Issuer) { i.MaxLifetime = time.Minute }, nil, time.Minute, mcpauth.ErrExpired},
		{"max lifetime: exp comes first", func(i *jwt.Issuer) { i.MaxLifetime = time.Hour }, []string{"exp", "@10"}, 10 * time.Second, mcpauth.ErrExpired},
		{"max lifetime needs iat", func(i *jwt.Issuer) { i.MaxLifetime = time.Hour }, []string{"iat", ""}, 0, mcpauth.ErrMissingClaim},
		{"no exp, allowed", func(i *jwt.Issuer) { i.AllowMissingExpiry, i.MaxLifetime = true, time.Hour }, []string{"exp", ""}, time.Hour - time.Second, ""},
		{"no exp, allowed, too old", func(i *jwt.Issuer) { i.AllowMissingExpiry, i.MaxLifetime = true, time.Hour }, []string{"exp", ""}, time.Hour, mcpauth.ErrExpired},
		{"no exp, allowed, no iat", func(i *jwt.Issuer) { i.AllowMissingExpiry, i.MaxLifetime = true, time.Hour }, []string{"exp", "", "iat", ""}, 0, mcpauth.ErrMissingClaim},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, cached := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					iss := signedBy(issuerName, ours)
					if test.change != nil {
						test.change(&iss)
					}
					config := only(iss)
					config.Cache.TTL = time.Hour
					p := newProvider(t, config)
					pairs := slices.Clone(test.claims)
					for i, text := range pairs {
						if seconds, ok := strings.CutPrefix(text, "@"); ok {
							pairs[i] = in(time.Duration(mustInt(t, seconds)) * time.Second)
						}
					}
					token := good(pairs...)
					if cached {
						verify(p, token) // whatever the answer is now
					}
					time.Sleep(test.wait) // of the bubble's clock
					if test.code == "" {
						passes(t, p, token)
					} else {
						refused(t, p, token, test.code)
					}
				})
			}
		})
	}
}
