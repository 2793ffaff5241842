package jwt_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

// The log says when a token ended, and which key it was not signed with.
func TestCausesForTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := newProvider(t, only(jwt.Issuer{Name: issuerName, Audience: []string{audience},
			Keys: []jwt.KeySource{jwt.JWKS(tokentest.JWKS(first.JWK("1"), second.JWK("2")))}}))
		unnamed := newProvider(t, only(jwt.Issuer{Name: issuerName, Audience: []string{audience},
			Keys: []jwt.KeySource{jwt.PEM(first.PEM()), jwt.PEM(second.PEM())}}))
		lenient := newProvider(t, only(jwt.Issuer{Name: issuerName, Audience: []string{audience}, ExpiryLeeway: time.Minute,
			Keys: []jwt.KeySource{jwt.JWKS(tokentest.JWKS(first.JWK("1")))}}))
		for _, test := range []struct {
			name     string
			provider *jwt.Provider
			token    string
			code     mcpauth.Code
			want     string
		}{
			// The bubble's time begins at 2000-01-01T00:00:00Z.
			{"expired", set, of(first, "1", "exp", in(-90*time.Second)), mcpauth.ErrExpired, "good until 1999-12-31T23:58:30Z, 1m30s ago"},
			{"expired now", set, of(first, "1", "exp", in(0)), mcpauth.ErrExpired, "good until 2000-01-01T00:00:00Z, 0s ago"},
			{"expired with leeway", lenient, of(first, "1", "exp", in(-90*time.Second)), mcpauth.ErrExpired, "good until 1999-12-31T23:59:30Z, 30s ago"},
			{"forged with a kid", set, of(stranger, "2"), mcpauth.ErrBadSignature, `issuer "https://issuer.example": tried for EdDSA: the JWK Set, keys[1] (kid "2")`},
			{"forged without keys' names", unnamed, of(stranger, "2"), mcpauth.ErrBadSignature, `issuer "https://issuer.example": tried for EdDSA: the PEM data, PEM block 1, after 1 more`},
		} {
			for range 2 { // and from memory
				if e := refused(t, test.provider, test.token, test.code); e.Cause == nil || e.Cause.Error() != test.want {
					t.Errorf("%s: %v, want %s", test.name, e.Cause, test.want)
				}
			}
		}
	})
}
