package keyset_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth/internal/keyset"
)

// issuer answers requests in the place of the network.
type issuer struct {
	mu       sync.Mutex
	body     string
	header   http.Header
	status   int
	down     bool
	hung     bool
	takes    time.Duration // for each answer
	requests []*http.Request
	now, max int // requests under way
}

func newIssuer() *issuer { return &issuer{body: "1", status: http.StatusOK, header: http.Header{}} }

func (i *issuer) set(change func(*issuer)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change(i)
}

func (i *issuer) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.requests)
}

func (i *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	i.mu.Lock()
	i.requests = append(i.requests, r)
	i.now++
	i.max = max(i.max, i.now)
	down, hung, takes := i.down, i.hung, i.takes
	response := &http.Response{StatusCode: i.status, Header: i.header.Clone(), Body: io.NopCloser(strings.NewReader(i.body)), Request: r}
	i.mu.Unlock()
	defer i.set(func(i *issuer) { i.now-- })
	if hung {
		takes = 24 * time.Hour
	}
	select {
	case <-time.After(takes):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if down {
		return nil, errors.New("connection refused")
	}
	return response, nil
}

// accepted notes the documents of a source.
type accepted struct {
	mu        sync.Mutex
	documents []string
	expired   int
}

func (a *accepted) accept(document []byte, _ time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if string(document) == "garbage" {
		return errors.New("garbage")
	}
	a.documents = append(a.documents, string(document))
	return nil
}

func (a *accepted) expire() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expired++
}

func (a *accepted) last() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.documents) == 0 {
		return ""
	}
	return a.documents[len(a.documents)-1]
}

func (a *accepted) expirations() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.expired
}

// with fills in what most tests have in common.
func with(c keyset.Config, a *accepted) keyset.Config {
	c.Accept, c.Expire = a.accept, a.expire
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	c.RefreshInterval, c.Cooldown, c.MaxStale = 10*time.Minute, 10*time.Second, 24*time.Hour
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// started returns a source that fetches from i in a bubble.
func started(t *testing.T, i *issuer) (*keyset.Source, *accepted) {
	t.Helper()
	a := &accepted{}
	s := keyset.New(with(keyset.Config{URL: "https://issuer.example/jwks", Transport: i}, a))
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s, a
}

func refetch(s *keyset.Source) (bool, error) { return s.Refetch(context.Background()) }
