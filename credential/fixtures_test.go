package credential_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/credential"
)

const (
	issuer   = "https://issuer.example.com"
	resource = "github"
)

// person is what an identity is made of in these tests.
type person struct {
	issuer, user, tenant, token, tokenID string
	scopes                               []string
	expiry                               time.Time
	claims                               map[string]string // name to JSON
}

func (p person) identity(t testing.TB) *mcpauth.Identity {
	t.Helper()
	claims := map[string]json.RawMessage{}
	for name, value := range p.claims {
		claims[name] = json.RawMessage(value)
	}
	id, err := mcpauth.NewIdentity(mcpauth.IdentityFields{
		Issuer: cmp.Or(p.issuer, issuer), UserID: cmp.Or(p.user, "alice"), Tenant: p.tenant, Scopes: p.scopes, Expiry: p.expiry,
		Token:        mcpauth.NewSecret(cmp.Or(p.token, "token-of-"+p.user)),
		Verification: mcpauth.FixedVerification{AllClaims: claims, Named: mcpauth.Revocable{TokenID: p.tokenID}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func user(t testing.TB, name string) *mcpauth.Identity { return person{user: name}.identity(t) }

// source is a Source that does what a test wants, and counts.
type source struct {
	mu     sync.Mutex
	asked  []string // users
	closed int
	answer func(ctx context.Context, id *mcpauth.Identity, resourceType string) (*mcpauth.Credential, error)
}

func (s *source) Fetch(ctx context.Context, id *mcpauth.Identity, resourceType string) (*mcpauth.Credential, error) {
	s.mu.Lock()
	s.asked = append(s.asked, id.UserID())
	answer := s.answer
	s.mu.Unlock()
	if answer == nil {
		return token("credential-of-" + id.UserID() + "-for-" + resourceType), nil
	}
	return answer(ctx, id, resourceType)
}

func (s *source) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed++
	return nil
}

func (s *source) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

// becomes changes what s does from now on.
func (s *source) becomes(answer func(ctx context.Context, id *mcpauth.Identity, resourceType string) (*mcpauth.Credential, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *source) gives(c *mcpauth.Credential, err error) {
	s.becomes(func(context.Context, *mcpauth.Identity, string) (*mcpauth.Credential, error) { return c, err })
}

var errDown = errors.New("canary: connection refused")

func (s *source) isDown() { s.gives(nil, credential.Transient(errDown, 0)) }

// numbered gives token-1, token-2 and so on, each for as long.
func (s *source) numbered(life time.Duration) {
	n := 0
	s.becomes(func(context.Context, *mcpauth.Identity, string) (*mcpauth.Credential, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		n++
		c := token(fmt.Sprintf("token-%d", n))
		if life > 0 {
			c.Expiry = time.Now().Add(life)
		}
		return c, nil
	})
}

func token(text string) *mcpauth.Credential {
	return &mcpauth.Credential{Token: mcpauth.NewSecret(text)}
}

// resolver returns a Resolver that is closed at the end, at the latest.
func resolver(t testing.TB, c credential.Config) *credential.Resolver {
	t.Helper()
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	r, err := credential.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// gets fails the test unless id gets that credential; "" stands for none.
func gets(t testing.TB, r *credential.Resolver, id *mcpauth.Identity, want string) *mcpauth.Credential {
	t.Helper()
	c, err := r.Resolve(context.Background(), id, resource)
	if err != nil {
		t.Fatalf("%v: %v (%v), want %q", id, err, errors.Unwrap(err), want)
	}
	got := ""
	if c != nil {
		got = c.Token.Reveal()
	}
	if got != want {
		t.Fatalf("%v: %q, want %q", id, got, want)
	}
	return c
}

// refused fails the test unless id is refused with that code.
func refused(t testing.TB, r *credential.Resolver, id *mcpauth.Identity, code mcpauth.Code) *mcpauth.Error {
	t.Helper()
	c, err := r.Resolve(context.Background(), id, resource)
	var e *mcpauth.Error
	if !errors.As(err, &e) || e.Code != code || c != nil || e.Message == "" {
		t.Fatalf("%v: %v, %v, want %s", id, c, err, code)
	}
	return e
}

// list is a list of revocations.
type list struct {
	mu     sync.Mutex
	epoch  uint32
	users  map[string]bool
	tokens map[string]bool
	asked  int
}

func newList() *list { return &list{epoch: 1, users: map[string]bool{}, tokens: map[string]bool{}} }

func (l *list) Epoch() uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epoch
}

func (l *list) Revoked(r mcpauth.Revocable) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	return l.users[r.UserID] || r.TokenID != "" && l.tokens[r.TokenID]
}

func (l *list) revoke(user, tokenID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if user != "" {
		l.users[user] = true
	}
	if tokenID != "" {
		l.tokens[tokenID] = true
	}
	l.epoch++
}
