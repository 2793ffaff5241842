package oauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/clientauth"
	"github.com/mcpauth-go/mcpauth/internal/clock"
	"github.com/mcpauth-go/mcpauth/internal/gate"
	"github.com/mcpauth-go/mcpauth/internal/metadata"
	"github.com/mcpauth-go/mcpauth/internal/recall"
	"github.com/mcpauth-go/mcpauth/internal/standing"
)

// Provider validates tokens. It is safe for concurrent use.
type Provider struct {
	config Config
	client *clientauth.Client // nil with userinfo
	server *metadata.Server
	now    func() clock.Instant

	accepted *accepted // nil when results are not kept
	refused  *recall.Refused[*endpoint]
	flight   singleflight.Group

	// at is where tokens are asked about, nil until it is known. Another URL is
	// another *endpoint: results of the one before do not count any more.
	at        atomic.Pointer[endpoint]
	discovery singleflight.Group

	standing *standing.Checker

	slots   chan struct{} // taken by each token that is being asked about
	waiting atomic.Int64
	pause   pause

	asked, failures, turned atomic.Uint64

	life      context.Context // ends with Close
	end       context.CancelFunc
	lifecycle sync.Mutex
	started   bool
	closed    atomic.Bool
	working   gate.Gate
}

var (
	_ mcpauth.Lifecycle = (*Provider)(nil)
	_ mcpauth.Selective = (*Provider)(nil)
	_ mcpauth.Issuing   = (*Provider)(nil)
	_ mcpauth.Preparing = (*Provider)(nil)
	_ mcpauth.Lenient   = (*Provider)(nil)
	_ mcpauth.Revoking  = (*Provider)(nil)
	_ mcpauth.Measuring = (*Provider)(nil)

	_ mcpauth.StandingNotifier = (*Provider)(nil)
	_ mcpauth.Verification     = (*entry)(nil)
)

// New returns a Provider for c. The error, a *mcpauth.ConfigError, has
// everything that is wrong with the configuration. It asks nothing of the
// network.
//
// The Provider answers at once, and finds out about its endpoint when it first
// needs it, or with Start. Close must follow New in any case, to release the
// caches.
func New(c Config) (*Provider, error) {
	c = c.withDefaults()
	faults := c.faults()
	p := &Provider{config: c}
	switch {
	case c.Method == Userinfo:
		// The token itself is what userinfo is asked with.
		if !c.Client.IsZero() {
			faults = append(faults, mcpauth.Fault{Field: "Client", Problem: "set, with userinfo, which is asked with the token alone", Expected: "none"})
		}
	default:
		// Introspection answers nobody who does not authenticate (RFC 7662,
		// section 2.1).
		client, clientFaults := clientauth.New("Client", c.Client, ClientSecretBasic, ClientSecretPost, PrivateKeyJWT, Bearer)
		faults = append(faults, clientFaults...)
		p.client = client
	}
	if len(faults) > 0 {
		return nil, &mcpauth.ConfigError{Package: "oauth", Faults: faults}
	}
	p.config.Client = Client{} // no longer needed
	p.server = metadata.NewServer(c.metadata())
	if !c.discovers() {
		p.at.Store(&endpoint{url: c.Endpoint, client: p.server.Written()})
	}
	p.now = clock.Start()
	p.slots = make(chan struct{}, c.Requests.MaxConcurrent)
	p.life, p.end = context.WithCancel(context.Background())
	p.standing = standing.NewChecker(standing.Config{TTL: c.Cache.TTL, Now: func() time.Duration { return p.now().Mono }, Go: p.working.Go})
	if !c.Cache.Off {
		p.accepted = newAccepted(c.Cache.MaxBytes, c.Cache.TTL)
		p.refused = recall.NewRefused[*endpoint]()
	}
	if c.AcceptAnyClient {
		c.Logger.Warn("tokens of every client and audience are taken: whoever gets a user's token of this issuer, such as any site that the user has logged in to, can be that user here",
			"issuer", c.Issuer)
	}
	return p, nil
}

// Start logs what the provider takes and, unless it is configured, begins to
// find out about the endpoint, and then to look once an hour whether it has
// moved. It returns at once; ctx bounds nothing after that. It is an error to
// start twice or after Close.
func (p *Provider) Start(ctx context.Context) error {
	p.lifecycle.Lock()
	defer p.lifecycle.Unlock()
	if p.started || p.closed.Load() {
		return errors.New("oauth: the provider has been started or closed before")
	}
	p.started = true
	p.config.Logger.LogAttrs(ctx, slog.LevelInfo, "oauth provider started",
		slog.String("issuer", p.config.Issuer), slog.String("method", string(p.config.Method)), slog.Any("audience", p.config.Audience),
		slog.Any("clients", p.config.AllowedClients), slog.Bool("cache", !p.config.Cache.Off), slog.Duration("cache_ttl", p.config.Cache.TTL))
	if p.config.discovers() {
		p.working.Go(p.keepDiscovering)
	}
	p.working.Go(func() { p.standing.Run(p.life) })
	return nil
}

// Close ends all work and clears all caches. From then on every request is
// refused with ErrUnavailable. Closing again does nothing.
func (p *Provider) Close() error {
	p.lifecycle.Lock()
	was := p.closed.Swap(true)
	p.lifecycle.Unlock()
	if was {
		return nil
	}
	p.end()
	_ = p.working.Close(context.Background()) // cannot fail: all of it heeds p.life
	p.server.Close()
	if p.accepted != nil {
		p.accepted.InvalidateAll()
		p.accepted.StopAllGoroutines()
		p.refused.InvalidateAll()
		p.refused.StopAllGoroutines()
	}
	if p.started {
		p.config.Logger.Info("oauth provider closed", "issuer", p.config.Issuer)
	}
	return nil
}

// TakesAnyAudience reports whether tokens are taken that were issued to whatever
// client: they are not to be forwarded.
func (p *Provider) TakesAnyAudience() bool { return p.config.AcceptAnyClient }

// Issuers returns the name of the authorization server.
func (p *Provider) Issuers() []string { return []string{p.config.Issuer} }

// Ready returns nil when it is known where tokens are asked about. It is for a
// readiness probe.
func (p *Provider) Ready() error {
	switch {
	case p.closed.Load():
		return errors.New("oauth: closed")
	case p.at.Load() == nil:
		return fmt.Errorf("oauth: the endpoint of %q is not known", p.config.Issuer)
	}
	return nil
}

// Recognizes reports whether r has a bearer token, of whatever form: an opaque
// token may look like anything. In a chain of providers, this one comes last.
func (p *Provider) Recognizes(r *mcpauth.Request) bool {
	_, err := mcpauth.BearerToken(r.Header)
	return !errors.Is(err, mcpauth.ErrMissingCredential)
}

// Authenticate returns the identity that the bearer token of r stands for. A
// token answered from the cache costs no allocation.
func (p *Provider) Authenticate(ctx context.Context, r *mcpauth.Request) (*mcpauth.Identity, error) {
	token, err := mcpauth.BearerToken(r.Header)
	if err != nil {
		return nil, err
	}
	return p.Verify(ctx, token)
}

// Verify returns the identity that token stands for, or an *mcpauth.Error. For a
// token that is not known it waits for the authorization server, until ctx ends
// and for Requests.Timeout at most.
func (p *Provider) Verify(ctx context.Context, token string) (*mcpauth.Identity, error) {
	if p.closed.Load() {
		return nil, errClosed
	}
	if p.accepted != nil {
		now := p.now()
		if e, ok := p.accepted.get(token, p.at.Load(), now); ok {
			return p.admit(e, now)
		}
	}
	switch {
	case token == "":
		return nil, errNoToken
	case len(token) > p.config.MaxTokenSize:
		return nil, refuse(mcpauth.ErrTooLarge, "the token is too large", fmt.Errorf("%d bytes, the limit is %d", len(token), p.config.MaxTokenSize))
	case !clientauth.IsToken(token):
		return nil, malformed(errForm)
	}
	if p.refused != nil {
		if err, ok := p.refused.Get(token, p.at.Load(), p.now()); ok {
			return nil, err
		}
	}
	// The work goes on when those leave who wait for it: it is the next one's.
	landed := p.flight.DoChan(token, func() (any, error) {
		if !p.working.Enter() {
			return nil, errClosed
		}
		defer p.working.Leave()
		ctx, cancel := context.WithTimeout(p.life, p.config.Requests.Timeout)
		defer cancel()
		return p.find(ctx, strings.Clone(token))
	})
	select {
	case result := <-landed:
		if result.Err != nil {
			return nil, result.Err
		}
		return p.admit(result.Val.(*entry), p.now())
	case <-ctx.Done():
		return nil, &mcpauth.Error{Code: mcpauth.ErrUnavailable, Message: unavailableText, Cause: context.Cause(ctx)}
	}
}

// find asks about a token, once for all who wait for it, and keeps the result.
func (p *Provider) find(ctx context.Context, token string) (*entry, error) {
	now := p.now()
	if p.accepted != nil {
		// Another flight may have landed since the look into the cache.
		at := p.at.Load()
		if e, ok := p.accepted.get(token, at, now); ok {
			return e, nil
		}
		if err, ok := p.refused.Get(token, at, now); ok {
			return nil, err
		}
	}
	leave, err := p.enter(ctx, now)
	if err != nil {
		p.turned.Add(1)
		return nil, err
	}
	defer leave()
	return p.validateAndKeep(ctx, token)
}

// validateAndKeep asks about a token and keeps the result.
func (p *Provider) validateAndKeep(ctx context.Context, token string) (*entry, error) {
	now := p.now() // there may have been a wait
	e, at, err := p.validate(ctx, token, now)
	p.note(err)
	if err == nil {
		e.record.Confirm(now.Mono)
	}
	if p.accepted != nil {
		if err == nil {
			p.accepted.put(e, now)
		} else if lasts := lasting(err); lasts > 0 {
			if !errors.Is(err, mcpauth.ErrUnavailable) {
				p.accepted.Invalidate(token)
			}
			p.refused.Put(token, err, at, p.now(), lasts)
		}
	}
	return e, err
}

// admit turns an entry into an answer for this moment.
func (p *Provider) admit(e *entry, now clock.Instant) (*mcpauth.Identity, error) {
	if err := p.check(e, now); err != nil {
		return nil, err
	}
	return e.identity, nil
}

// entry is a validated token: the identity that it stands for, and all that
// decides whether it still does. It is the identity's mcpauth.Verification.
type entry struct {
	details
	provider  *Provider
	identity  *mcpauth.Identity
	record    standing.Record
	at        *endpoint     // that said so
	notBefore int64         // the first second at which it is good
	end       int64         // the first second at which it no longer is
	until     time.Duration // how long it is answered from the cache, on the monotonic clock
	size      uint32        // bytes of the token and of the answer
	epoch     atomic.Uint32 // of the revocations, when it was last found not to be among them; 0: never
}

// check is the one judgement of whether a validated token is good now. It is
// made of new results and of cached ones alike.
func (p *Provider) check(e *entry, now clock.Instant) error {
	switch {
	case p.closed.Load():
		return errClosed
	case now.Unix() >= e.end:
		return expired(e.end, now)
	case now.Unix() < e.notBefore:
		return errNotYetValid
	case p.revoked(e):
		return errRevoked(e.identity)
	}
	return nil
}

var (
	errClosed  = &mcpauth.Error{Code: mcpauth.ErrUnavailable, Message: "The server is shutting down."}
	errNoToken = &mcpauth.Error{Code: mcpauth.ErrMissingCredential, Message: "No token provided"}
	errForm    = errors.New("characters that no bearer token has (RFC 6750, section 2.1)")
)
