package jwt_test

import (
	"errors"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

func TestTokensStandWhileTheirKeyIsThere(t *testing.T) {
	a, b, c := tokentest.Ed25519("a"), tokentest.Ed25519("b"), tokentest.Ed25519("c")
	file := newKeyFile(t, tokentest.JWKS(a.JWK("a"), b.JWK("b")))
	p := newProvider(t, only(jwt.Issuer{Name: issuerName, Audience: []string{audience}, Keys: []jwt.KeySource{jwt.JWKSFile(file.path)}}))
	wall := time.Now()
	p.SetWall(&wall)
	announced := 0
	stop := p.NotifyStanding(func() { announced++ })
	alices, bobs := a.Token(a.HeaderWith(`"kid":"a"`), claims("userId", `"alice"`)), b.Token(b.HeaderWith(`"kid":"b"`), claims("userId", `"bob"`))
	alice, bob := passes(t, p, alices), passes(t, p, bobs)
	reload := func(keys ...string) {
		t.Helper()
		file.write(tokentest.JWKS(keys...))
		if err := p.Reload(); err != nil {
			t.Fatal(err)
		}
	}

	reload(a.JWK("a"), b.JWK("b"), c.JWK("c"))
	if err := errors.Join(alice.Standing(), bob.Standing()); err != nil || announced != 0 {
		t.Errorf("after a key is added: %v, announced %d times", err, announced)
	}
	reload(b.JWK("b"), c.JWK("c"))
	if err := alice.Standing(); !errors.Is(err, mcpauth.ErrUnknownKey) || announced != 1 {
		t.Errorf("after the key is removed: %v, announced %d times", err, announced)
	}
	if err := bob.Standing(); err != nil {
		t.Errorf("of another key: %v", err)
	}
	if again := passes(t, p, bobs); again != bob {
		t.Error("a token that has been found to stand is verified again for the next request")
	}
	// A clock that is put back does not hide that a key is gone, and expiry is not
	// what Standing is about.
	wall = wall.AddDate(-10, 0, 0)
	if err := alice.Standing(); !errors.Is(err, mcpauth.ErrUnknownKey) {
		t.Errorf("with the clock put back: %v", err)
	}
	wall = wall.AddDate(20, 0, 0)
	if err := errors.Join(alice.Standing(), bob.Standing()); err != nil {
		t.Errorf("expired tokens: %v", err)
	}
	stop()
	reload(c.JWK("c"))
	if announced != 1 {
		t.Errorf("announced %d times after stop", announced)
	}
}
