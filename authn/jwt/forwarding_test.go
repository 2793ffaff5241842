package jwt_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpauth-go/mcpauth/authn/jwt"
)

func forwarded(p *jwt.Provider, issuer, user string) string {
	token, _ := p.Token(issuer, user)
	return token.Reveal()
}

func TestForwardedToken(t *testing.T) {
	for _, off := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			config := jwt.Config{Cache: jwt.Cache{Off: off}, Issuers: []jwt.Issuer{signedBy(issuerName, ours), signedBy(otherName, others)}}
			p := newProvider(t, config)
			long, short := good("exp", in(2*time.Hour)), good("exp", in(time.Hour))
			other := others.Token(hs, claims("iss", `"`+otherName+`"`))

			if got := forwarded(p, issuerName, "user-1"); got != "" {
				t.Errorf("before any token: %q", got)
			}
			passes(t, p, short)
			if got := forwarded(p, issuerName, "user-1"); got != short {
				t.Error("the only token is not handed out")
			}
			passes(t, p, long)
			passes(t, p, short) // again, and not the one that ends last
			if got := forwarded(p, issuerName, "user-1"); got != long {
				t.Error("the token that ends last is not handed out")
			}
			passes(t, p, other)
			if forwarded(p, issuerName, "user-1") != long || forwarded(p, otherName, "user-1") != other {
				t.Error("two issuers with one user id are mixed up")
			}
			for _, pair := range [][2]string{{issuerName, "user-2"}, {"x", "user-1"}, {issuerName + "\x00user-1", ""}, {"", issuerName + "\x00user-1"}, {"", ""}} {
				if got := forwarded(p, pair[0], pair[1]); got != "" {
					t.Errorf("a token for %q", pair)
				}
			}
			verify(p, good("userId", `"user-9"`, "aud", `"x"`))
			if forwarded(p, issuerName, "user-9") != "" {
				t.Error("a refused token is handed out")
			}
			time.Sleep(time.Hour)
			if forwarded(p, otherName, "user-1") != "" || forwarded(p, issuerName, "user-1") != long {
				t.Error("after an hour the wrong tokens are handed out")
			}
			time.Sleep(time.Hour)
			if forwarded(p, issuerName, "user-1") != "" {
				t.Error("a token is handed out after its end")
			}
			fresh := good()
			passes(t, p, fresh)
			if forwarded(p, issuerName, "user-1") != fresh {
				t.Error("after an expired one, the fresh one is not handed out")
			}
		})
	}
}

// A token that may be meant for anybody is not passed on to anybody.
func TestNoForwardingWithoutAnAudience(t *testing.T) {
	issuer := signedBy(issuerName, ours)
	issuer.Audience, issuer.AnyAudience = nil, true
	p := newProvider(t, jwt.Config{Issuers: []jwt.Issuer{issuer}})
	passes(t, p, good())
	if got := forwarded(p, issuerName, "user-1"); got != "" {
		t.Error("a token is handed out although nothing says whom it is for")
	}
}
