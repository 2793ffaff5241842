package apikey_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/apikey"
)

var quiet = slog.New(slog.DiscardHandler)

// counted is a store that counts the lookups, and fails or hangs on demand. It
// can do nothing else.
type counted struct {
	apikey.Store
	lookups atomic.Int64
	mu      sync.Mutex
	before  func(context.Context) error
}

func (c *counted) Lookup(ctx context.Context, h apikey.Hash) (*apikey.Key, error) {
	c.lookups.Add(1)
	c.mu.Lock()
	before := c.before
	c.mu.Unlock()
	if before != nil {
		if err := before(ctx); err != nil {
			return nil, err
		}
	}
	return c.Store.Lookup(ctx, h)
}

func (c *counted) do(before func(context.Context) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.before = before
}

func hang(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func newProvider(t testing.TB, c apikey.Config) *apikey.Provider {
	t.Helper()
	if c.Logger == nil {
		c.Logger = quiet
	}
	p, err := apikey.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func create(t testing.TB, m *apikey.Memory, s apikey.Spec) (string, *apikey.Key) {
	t.Helper()
	if s.UserID == "" {
		s.UserID = "alice"
	}
	secret, key, err := m.Create(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	return secret.Reveal(), key
}

// stranger returns a key that is in no store.
func stranger(t testing.TB) string {
	t.Helper()
	secret, _, err := apikey.Generate(apikey.Spec{UserID: "nobody"})
	if err != nil {
		t.Fatal(err)
	}
	return secret.Reveal()
}

func bearer(key string) *mcpauth.Request { return from(key, "192.0.2.1:1234") }

func from(key, addr string) *mcpauth.Request {
	return &mcpauth.Request{Header: http.Header{"Authorization": {"Bearer " + key}}, RemoteAddr: addr}
}

func passes(t testing.TB, p *apikey.Provider, key string) *mcpauth.Identity {
	t.Helper()
	id, err := p.Authenticate(context.Background(), bearer(key))
	if err != nil {
		t.Fatalf("%v: %v", err, errors.Unwrap(err))
	}
	return id
}

func refused(t testing.TB, p *apikey.Provider, key string, code mcpauth.Code) *mcpauth.Error {
	t.Helper()
	id, err := p.Authenticate(context.Background(), bearer(key))
	var e *mcpauth.Error
	if id != nil || !errors.As(err, &e) || e.Code != code {
		t.Fatalf("%v, %v (%v); want %s", id, err, errors.Unwrap(err), code)
	}
	return e
}
