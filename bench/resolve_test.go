package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/credential"
)

// vault has a credential for every user.
type vault struct{}

func (vault) Fetch(_ context.Context, id *mcpauth.Identity, resourceType string) (*mcpauth.Credential, error) {
	return &mcpauth.Credential{Token: mcpauth.NewSecret("of-" + id.UserID() + "-for-" + resourceType), Expiry: time.Now().Add(12 * time.Hour)}, nil
}

// BenchmarkResolve takes identities, as a provider gives them for cached tokens,
// to the credentials that were fetched for them before.
func BenchmarkResolve(b *testing.B) {
	const resource = "github"
	for _, live := range []int{1, 4096} {
		p := newProvider(b, jwt.Cache{TTL: time.Hour}, issuer(secretSource()))
		r := must(credential.New(credential.Config{Source: vault{}, TTL: time.Hour, Logger: slog.New(slog.DiscardHandler)}))
		b.Cleanup(func() { r.Close() })
		known := credentialMap{entries: map[credentialKey]*mcpauth.Credential{}}
		identities := make([]*mcpauth.Identity, live)
		for i, token := range tokens(live) {
			identities[i] = must(p.Verify(context.Background(), token))
			known.entries[credentialKey{identities[i].Issuer(), identities[i].UserID(), resource}] =
				must(r.Resolve(context.Background(), identities[i], resource))
		}
		for _, c := range []struct {
			name string
			get  func(*mcpauth.Identity) (*mcpauth.Credential, error)
		}{
			{"mcpauth", func(id *mcpauth.Identity) (*mcpauth.Credential, error) {
				return r.Resolve(context.Background(), id, resource)
			}},
			{"user-map", func(id *mcpauth.Identity) (*mcpauth.Credential, error) { return known.get(id, resource), nil }},
		} {
			b.Run(fmt.Sprintf("live=%d/%s", live, c.name), func(b *testing.B) {
				i := 0
				each(b, func() error {
					i++
					found, err := c.get(identities[i%live])
					if found == nil {
						err = errors.Join(err, errors.New("no credential"))
					}
					return err
				})
			})
		}
	}
}

// credentialMap is the cache that one writes by hand: it grows for ever, and
// gives a user's credential to whatever token the user comes with.
type credentialMap struct {
	mu      sync.Mutex
	entries map[credentialKey]*mcpauth.Credential
}

type credentialKey struct{ issuer, user, resource string }

func (m *credentialMap) get(id *mcpauth.Identity, resource string) *mcpauth.Credential {
	m.mu.Lock()
	c := m.entries[credentialKey{id.Issuer(), id.UserID(), resource}]
	m.mu.Unlock()
	if c == nil || !time.Now().Before(c.Expiry) {
		return nil
	}
	return c
}
