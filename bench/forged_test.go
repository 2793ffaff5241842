package bench

import (
	"context"
	"errors"
	"fmt"
	"testing"

	golangjwt "github.com/golang-jwt/jwt/v5"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
)

// forged returns HS256 tokens of 8 KB that are right in all but their
// signature: the claims of an ordinary token, and what makes tokens long, with
// users of many groups or of roles in many clients (as Keycloak writes them).
func forged(shape string) string {
	claims := claimsOf(0)
	switch shape {
	case "groups":
		var groups []string
		for i := range 145 {
			groups = append(groups, fmt.Sprintf("7d0c9e52-3b1f-4a86-9f07-%012d", i))
		}
		claims["groups"] = groups
	case "roles":
		clients := map[string]any{}
		for i := range 95 {
			clients[fmt.Sprintf("service-%03d", i)] = map[string]any{"roles": []string{"reader", "editor", "account-admin"}}
		}
		claims["resource_access"] = clients
	}
	return sign(golangjwt.SigningMethodHS256, claims, []byte("not the secret, but of equal size"))
}

var errTaken = errors.New("a forged token is taken")

func BenchmarkForged(b *testing.B) {
	other := issuer(secretSource())
	other.Name = "https://other.example.com"
	one := newProvider(b, jwt.Cache{RefusalsOff: true}, issuer(secretSource()))
	several := newProvider(b, jwt.Cache{RefusalsOff: true}, issuer(secretSource()), other)
	for _, p := range []*jwt.Provider{one, several} {
		if _, err := p.Verify(context.Background(), tokens(1)[0]); err != nil {
			b.Fatal(err)
		}
	}
	ours := func(p *jwt.Provider) func(string) error {
		return func(token string) error {
			_, err := p.Verify(context.Background(), token)
			return err
		}
	}
	for _, shape := range []string{"groups", "roles"} {
		token := forged(shape)
		if _, err := one.Verify(context.Background(), token); len(token) < 8000 || len(token) > 8300 || !errors.Is(err, mcpauth.ErrBadSignature) {
			b.Fatalf("%s: %d bytes, %v", shape, len(token), err)
		}
		raw := func(verify func() bool) func(string) error {
			return func(string) error {
				if verify() {
					return nil
				}
				return errRaw
			}
		}
		for _, c := range []struct {
			name   string
			verify func(string) error
		}{
			{"mcpauth-one", ours(one)},
			{"raw", raw(rawHMAC(signedParts(token)))},
			{"raw-new", raw(rawHMACNew(signedParts(token)))},
			{"mcpauth-several", ours(several)},
			{"golang-jwt", golangJWT("HS256", secret)},
			{"go-jose", goJOSE("HS256", secret)},
		} {
			b.Run(shape+"/"+c.name, func(b *testing.B) {
				each(b, func() error {
					if c.verify(token) == nil {
						return errTaken
					}
					return nil
				})
			})
		}
	}
}
