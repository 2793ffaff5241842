package exchange

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/credential"
	"github.com/mcpauth-go/mcpauth/internal/check"
	"github.com/mcpauth-go/mcpauth/internal/clientauth"
	"github.com/mcpauth-go/mcpauth/internal/metadata"
	"github.com/mcpauth-go/mcpauth/internal/outbound"
)

const (
	grantType = "urn:ietf:params:oauth:grant-type:token-exchange"
	maxAnswer = 64 << 10
)

// Source is a credential.Source that exchanges users' tokens. It is safe for
// concurrent use.
type Source struct {
	config Config
	client *clientauth.Client
	server *metadata.Server

	discovering chan struct{} // has room for one
	discovered  atomic.Pointer[found]
}

var _ credential.Source = (*Source)(nil)

// New returns a Source for c. The error, a *mcpauth.ConfigError, has everything
// that is wrong with c. It asks nothing of the network.
func New(c Config) (*Source, error) {
	c = c.withDefaults()
	faults := c.faults()
	client, clientFaults := clientauth.New("Client", c.Client, ClientSecretBasic, ClientSecretPost, PrivateKeyJWT)
	if faults = append(faults, clientFaults...); len(faults) > 0 {
		return nil, &mcpauth.ConfigError{Package: "exchange", Faults: faults}
	}
	server := metadata.NewServer(metadata.Config{
		Issuer: c.Issuer, PlainHTTPHosts: c.PlainHTTPHosts, Roots: c.roots, Timeout: c.Timeout, MaxBody: maxAnswer, Resolver: c.resolver,
	})
	return &Source{config: c, client: client, server: server, discovering: make(chan struct{}, 1)}, nil
}

// Close closes connections that are not in use.
func (s *Source) Close() error {
	s.server.Close()
	return nil
}

// Fetch exchanges the token of id for one for resources of this type. What it
// returns is in the documentation of the package. A resource type that has no
// Target is an error: nobody can have a credential for it.
func (s *Source) Fetch(ctx context.Context, id *mcpauth.Identity, resourceType string) (*mcpauth.Credential, error) {
	target, ok := s.config.Targets[resourceType]
	if !ok {
		if target, ok = s.config.Targets[AnyType]; !ok {
			return nil, fmt.Errorf("exchange: no target for the resource type %.64q", resourceType)
		}
	}
	if id == nil || !slices.Contains(s.config.SubjectIssuers, id.Issuer()) {
		return nil, nil
	}
	form, err := s.form(ctx, id, target)
	if err != nil {
		return nil, fmt.Errorf("exchange: %w", err)
	}
	endpoint, client, err := s.endpoint(ctx)
	if err != nil {
		return nil, fmt.Errorf("exchange: %w", err)
	}
	request, err := s.client.NewRequest(ctx, endpoint, form)
	if err != nil {
		return nil, fmt.Errorf("exchange: %w", err)
	}
	asked := time.Now() // from when on the token's life counts: it is no younger
	answer, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("exchange: %w", unanswered(ctx, err))
	}
	got, code, err := parse(answer.Body, target.RequestedTokenType)
	switch {
	case answer.Status == http.StatusTooManyRequests:
		return nil, credential.RateLimited(fmt.Errorf("exchange: %s: answered with status %d", outbound.Shown(endpoint), answer.Status), answer.RetryAfter())
	case busy(answer.Status):
		return nil, credential.Transient(fmt.Errorf("exchange: %s: answered with status %d", outbound.Shown(endpoint), answer.Status), answer.RetryAfter())
	case err == nil && code != "":
		return nil, s.refusal(outbound.Shown(endpoint), code)
	case answer.Status != http.StatusOK:
		return nil, fmt.Errorf("exchange: %s: answered with status %d", outbound.Shown(endpoint), answer.Status)
	case err != nil:
		return nil, fmt.Errorf("exchange: %s: the answer: %w", outbound.Shown(endpoint), err)
	}
	c := &mcpauth.Credential{Token: got.token}
	if got.life > 0 {
		c.Expiry = asked.Add(got.life).Round(0)
	}
	return c, nil
}

// form returns the request (RFC 8693, section 2.1), without the client.
func (s *Source) form(ctx context.Context, id *mcpauth.Identity, target Target) (url.Values, error) {
	if id.Token().IsZero() {
		return nil, errors.New("the user has come without a token")
	}
	form := url.Values{
		"grant_type":           {grantType},
		"subject_token":        {id.Token().Reveal()},
		"subject_token_type":   {string(s.config.SubjectTokenType)},
		"requested_token_type": {string(target.RequestedTokenType)},
	}
	// Several values are several parameters. What Encode makes of none is none.
	form["audience"], form["resource"] = target.Audience, target.Resource
	if len(target.Scopes) > 0 {
		form.Set("scope", strings.Join(target.Scopes, " "))
	}
	if s.config.Actor != nil {
		token, err := s.config.Actor(ctx)
		if err != nil {
			return nil, fmt.Errorf("the actor's token: %w", err)
		}
		if !check.Visible(token.Reveal()) {
			return nil, errors.New("the actor's token is empty or has what no token has")
		}
		form.Set("actor_token", token.Reveal())
		form.Set("actor_token_type", string(s.config.ActorTokenType))
	}
	return form, nil
}

// unanswered says what becomes of a question that has got no answer.
func unanswered(ctx context.Context, err error) error {
	final := ctx.Err() != nil
	for _, e := range []error{outbound.ErrRedirect, outbound.ErrTooLarge, outbound.ErrNotPublic, outbound.ErrPlainHTTP} {
		final = final || errors.Is(err, e)
	}
	if final {
		return err
	}
	return credential.Transient(err, 0)
}

// busy reports whether a status says that the same question may be answered later.
func busy(status int) bool {
	return status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status >= 500
}

// What the codes are about. Others than these, also those that are registered, are
// faults of a configuration.
var (
	aboutTheUser = []string{"invalid_request", "invalid_grant", "invalid_target", "invalid_token", "access_denied"}
	forAWhile    = []string{"server_error", "temporarily_unavailable"}
	otherwise    = []string{"invalid_client", "unauthorized_client", "unsupported_grant_type", "unsupported_token_type", "invalid_scope"}
)

// refusal returns what an error code means.
func (s *Source) refusal(at, code string) error {
	if slices.Contains(s.config.NotConnected, code) {
		return nil
	}
	shown := "with an error code that is not known"
	for _, known := range [][]string{aboutTheUser, forAWhile, otherwise} {
		if slices.Contains(known, code) {
			shown = code // any other might be what it was sent
		}
	}
	err := fmt.Errorf("exchange: %s: refused: %s", at, shown)
	switch {
	case slices.Contains(aboutTheUser, code):
		return credential.Refused(err)
	case slices.Contains(forAWhile, code):
		return credential.Transient(err, 0)
	}
	return err
}
