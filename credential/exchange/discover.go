package exchange

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/mcpauth-go/mcpauth/credential"
	"github.com/mcpauth-go/mcpauth/internal/keyset"
	"github.com/mcpauth-go/mcpauth/internal/metadata"
	"github.com/mcpauth-go/mcpauth/internal/outbound"
)

// foundFor is how long metadata is relied on.
const foundFor = 10 * time.Minute

// found is what the issuer's metadata has said.
type found struct {
	endpoint string
	until    time.Time
}

// endpoint returns the token endpoint, and what asks it.
func (s *Source) endpoint(ctx context.Context) (string, *outbound.Client, error) {
	if s.config.TokenURL != "" {
		return s.config.TokenURL, s.written, nil
	}
	if f := s.discovered.Load(); f != nil && time.Now().Before(f.until) {
		return f.endpoint, s.found, nil
	}
	// One at a time: whoever has waited finds what the other has found.
	select {
	case s.discovering <- struct{}{}:
		defer func() { <-s.discovering }()
	case <-ctx.Done():
		return "", nil, ctx.Err()
	}
	before := s.discovered.Load()
	if before != nil && time.Now().Before(before.until) {
		return before.endpoint, s.found, nil
	}
	endpoint, err := s.discover(ctx)
	switch {
	case err == nil:
	case before != nil: // which is better than none
		endpoint = before.endpoint
	default:
		return "", nil, err
	}
	s.discovered.Store(&found{endpoint, time.Now().Add(foundFor)})
	return endpoint, s.found, nil
}

func (s *Source) discover(ctx context.Context) (string, error) {
	var failures []error
	for _, at := range keyset.MetadataURLs(s.config.Issuer) {
		endpoint, err := s.discoverAt(ctx, at)
		if err == nil {
			return endpoint, nil
		}
		failures = append(failures, err)
		if ctx.Err() != nil {
			break
		}
	}
	return "", errors.Join(failures...)
}

func (s *Source) discoverAt(ctx context.Context, at string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return "", errors.New("not a URL that can be asked")
	}
	r.Header.Set("Accept", "application/json")
	answer, err := s.written.Do(r)
	if err != nil {
		return "", unanswered(ctx, err)
	}
	var endpoint string
	if busy(answer.Status) {
		err = credential.Transient(fmt.Errorf("answered with status %d", answer.Status), retryAfter(answer.Header))
	} else if answer.Status != http.StatusOK {
		err = fmt.Errorf("answered with status %d", answer.Status)
	} else if endpoint, err = parseMetadata(answer.Body, s.config.Issuer); err == nil {
		err = outbound.CheckURL(endpoint, s.config.PlainHTTPHosts)
	}
	if err != nil {
		return "", fmt.Errorf("metadata at %s: %w", outbound.Shown(at), err)
	}
	return endpoint, nil
}

// parseMetadata returns the token endpoint of an issuer's metadata.
func parseMetadata(document []byte, issuer string) (string, error) {
	d, err := metadata.Parse(document, issuer)
	if err == nil && d.Token == "" {
		err = errors.New(`no "token_endpoint"`)
	}
	return d.Token, err
}
