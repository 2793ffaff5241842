package jwt_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

const (
	issuerName = "https://issuer.example"
	otherName  = "https://other.example"
	audience   = "https://mcp.example.com/mcp"
)

var (
	ours    = tokentest.SharedSecret("ours") // the key of issuerName
	others  = tokentest.SharedSecret("others")
	hs      = ours.Header()
	discard = slog.New(slog.DiscardHandler)
)

// signedBy returns an issuer with the one key.
func signedBy(name string, key tokentest.Key) jwt.Issuer {
	iss := jwt.Issuer{Name: name, Audience: []string{audience}, Algorithms: []jwt.Algorithm{jwt.Algorithm(key.Algorithm)}}
	if secret, ok := key.Private.([]byte); ok {
		iss.Keys = []jwt.KeySource{jwt.Secret(mcpauth.NewSecret(string(secret)))}
	} else {
		iss.Keys = []jwt.KeySource{jwt.PEM(key.PEM())}
	}
	return iss
}

// newProvider returns a provider that is closed when the test ends.
func newProvider(t testing.TB, c jwt.Config) *jwt.Provider {
	t.Helper()
	if c.Logger == nil {
		c.Logger = discard
	}
	p, err := jwt.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// only is a configuration of one issuer.
func only(iss jwt.Issuer) jwt.Config { return jwt.Config{Issuers: []jwt.Issuer{iss}} }

// provider takes tokens of issuerName signed with ours.
func provider(t testing.TB) *jwt.Provider {
	t.Helper()
	return newProvider(t, only(signedBy(issuerName, ours)))
}

// claims are those of a good token, with members replaced by others, given as
// name and JSON text; an empty text takes the member out.
func claims(pairs ...string) string {
	now := time.Now().Unix()
	members := map[string]json.RawMessage{
		"iss": json.RawMessage(`"` + issuerName + `"`), "aud": json.RawMessage(`"` + audience + `"`), "userId": json.RawMessage(`"user-1"`),
		"exp": json.RawMessage(fmt.Sprint(now + 3600)), "iat": json.RawMessage(fmt.Sprint(now)),
	}
	order := []string{"iss", "aud", "userId", "exp", "iat"}
	for i := 0; i < len(pairs); i += 2 {
		if _, there := members[pairs[i]]; !there {
			order = append(order, pairs[i])
		}
		members[pairs[i]] = json.RawMessage(pairs[i+1])
	}
	text := ""
	for _, name := range order {
		if value := members[name]; len(value) > 0 {
			text += fmt.Sprintf(",%q:%s", name, value)
		}
	}
	return "{" + text[1:] + "}"
}

// in is a time from now as a NumericDate.
func in(d time.Duration) string { return fmt.Sprint(time.Now().Add(d).Unix()) }

// good is a token with those claims, signed with ours.
func good(pairs ...string) string { return ours.Token(hs, claims(pairs...)) }

func verify(p *jwt.Provider, token string) (*mcpauth.Identity, error) {
	return p.Verify(context.Background(), token)
}

// passes fails the test unless the token is accepted.
func passes(t testing.TB, p *jwt.Provider, token string) *mcpauth.Identity {
	t.Helper()
	id, err := verify(p, token)
	if err != nil {
		t.Fatalf("refused: %v (cause: %v)", err, errors.Unwrap(err))
	}
	return id
}

// refused fails the test unless the token is refused with code, and with
// message where one is given.
func refused(t testing.TB, p *jwt.Provider, token string, code mcpauth.Code, message ...string) *mcpauth.Error {
	t.Helper()
	id, err := verify(p, token)
	var e *mcpauth.Error
	if !errors.As(err, &e) || id != nil {
		t.Fatalf("got %v and error %v, want %s", id, err, code)
	}
	if e.Code != code || len(message) > 0 && e.Message != message[0] {
		t.Errorf("refused with %v (cause: %v), want %s %q", e, e.Cause, code, message)
	}
	return e
}

// faults returns what is wrong with c, and fails the test if nothing is.
func faults(t testing.TB, c jwt.Config) *mcpauth.ConfigError {
	t.Helper()
	p, err := jwt.New(c)
	var config *mcpauth.ConfigError
	if !errors.As(err, &config) {
		if p != nil {
			p.Close()
		}
		t.Fatalf("New = %v, want a *ConfigError", err)
	}
	return config
}

// debugLogger writes everything to w.
func debugLogger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug - 100, AddSource: true}))
}

func mustInt(t testing.TB, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
