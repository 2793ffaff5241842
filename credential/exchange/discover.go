package exchange

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mcpauth-go/mcpauth/credential"
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
		return s.config.TokenURL, s.server.Written(), nil
	}
	if f := s.discovered.Load(); f != nil && time.Now().Before(f.until) {
		return f.endpoint, s.server.Found(), nil
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
		return before.endpoint, s.server.Found(), nil
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
	return endpoint, s.server.Found(), nil
}

func (s *Source) discover(ctx context.Context) (string, error) {
	d, err := s.server.Discover(ctx)
	if err != nil {
		return "", undiscovered(ctx, err)
	}
	return s.config.tokenEndpoint(d)
}

// tokenEndpoint returns that of an issuer's metadata.
func (c Config) tokenEndpoint(d metadata.Document) (string, error) {
	if d.Token == "" {
		return "", errors.New(`metadata: no "token_endpoint"`)
	}
	if err := outbound.CheckURL(d.Token, c.PlainHTTPHosts); err != nil {
		return "", fmt.Errorf("metadata: the token endpoint: %w", err)
	}
	return d.Token, nil
}

// undiscovered says for each place what becomes of its failure: where one may
// still answer, so may the whole question.
func undiscovered(ctx context.Context, err error) error {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		var each []error
		for _, err := range all.Unwrap() {
			each = append(each, undiscovered(ctx, err))
		}
		return errors.Join(each...)
	}
	e := (*metadata.Error)(nil)
	switch {
	case !errors.As(err, &e):
		return err
	case e.Status == 0:
		return unanswered(ctx, err)
	case busy(e.Status):
		return credential.Transient(err, e.RetryAfter)
	}
	return err
}
