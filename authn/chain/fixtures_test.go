package chain_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/chain"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

const (
	issuerName = "https://issuer.example"
	otherName  = "https://other.example"
	audience   = "https://mcp.example.com/mcp"
)

var (
	ours    = tokentest.SharedSecret("ours")
	others  = tokentest.SharedSecret("others")
	discard = slog.New(slog.DiscardHandler)
)

// provider is one whose answers a test decides. It is Selective by way of
// selective.
type provider struct {
	name  string
	asked int
	err   error // instead of an identity
	none  bool  // neither
}

func (p *provider) Authenticate(context.Context, *mcpauth.Request) (*mcpauth.Identity, error) {
	p.asked++
	if p.err != nil || p.none {
		return nil, p.err
	}
	return mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: p.name, UserID: "user-1"})
}

// selective takes what recognizes says.
type selective struct {
	*provider
	recognizes func(*mcpauth.Request) bool
}

func (s selective) Recognizes(r *mcpauth.Request) bool { return s.recognizes(r) }

// prefixed takes bearer tokens with the prefix, and refuses others in its own
// words.
func prefixed(prefix string) selective {
	return selective{&provider{name: prefix}, func(r *mcpauth.Request) bool {
		token, err := mcpauth.BearerToken(r.Header)
		return err == nil && strings.HasPrefix(token, prefix)
	}}
}

// keyed takes whatever is in X-API-Key.
func keyed() selective {
	return selective{&provider{name: "key"}, func(r *mcpauth.Request) bool { return len(r.Header["X-Api-Key"]) > 0 }}
}

func refusal(code mcpauth.Code) error { return &mcpauth.Error{Code: code, Message: "no"} }

// tokens is a real provider of an issuer.
func tokens(t testing.TB, name string, key tokentest.Key, change ...func(*jwt.Config)) *jwt.Provider {
	t.Helper()
	c := jwt.Config{Logger: discard, Issuers: []jwt.Issuer{{Name: name, Audience: []string{audience},
		Keys: []jwt.KeySource{jwt.Secret(mcpauth.NewSecret(string(key.Private.([]byte))))}}}}
	for _, f := range change {
		f(&c)
	}
	p, err := jwt.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// token is a good one of the issuer.
func token(name string, key tokentest.Key) string {
	return key.Token(key.Header(), fmt.Sprintf(`{"iss":%q,"aud":%q,"userId":"user-1","exp":%d}`, name, audience, time.Now().Add(time.Hour).Unix()))
}

func newChain(t testing.TB, providers ...mcpauth.Provider) chain.Provider {
	t.Helper()
	c, err := chain.New(providers...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func bearer(token string) *mcpauth.Request {
	return &mcpauth.Request{Header: http.Header{"Authorization": {"Bearer " + token}}}
}

// code returns why p refuses r, or "" and who vouches for the user.
func code(t testing.TB, p mcpauth.Provider, r *mcpauth.Request) (mcpauth.Code, string) {
	t.Helper()
	id, err := p.Authenticate(context.Background(), r)
	if err == nil {
		if id == nil {
			return "", ""
		}
		return "", id.Issuer()
	}
	var e *mcpauth.Error
	if !errors.As(err, &e) || id != nil {
		t.Fatalf("%v and %v", id, err)
	}
	return e.Code, ""
}
