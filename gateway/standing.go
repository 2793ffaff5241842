package gateway

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/check"
	"github.com/mcpauth-go/mcpauth/revoke"
	"github.com/mcpauth-go/mcpauth/upstream/inproc"
)

// This file has the station "revoked?". A provider that knows the list of revocations
// refuses by it what it answers from memory, too. Everything that a request has begun by
// then ends here and in package inproc, whatever ends its credential: a revocation, or
// what the provider announces (mcpauth.StandingNotifier).

// revocationFaults adds what is wrong with how the list fits those of the parts.
func (c *Config) revocationFaults(add func(field, problem, expected string)) {
	var lists []mcpauth.Revocations
	for _, part := range []struct {
		name    string
		part    any
		outlive string
	}{
		{"Provider", c.Provider, "streams and sessions would outlive its revocations"},
		{"Resolver", c.Resolver, "what it has cached would outlive the user's right to it"},
	} {
		refusing, ok := part.part.(mcpauth.Revoking)
		if !ok {
			continue // the provider is asked for it at each request
		}
		own := refusing.Revocations()
		list, ours := own.(*revoke.List)
		switch {
		case c.Revocations == nil && ours:
			add("Revocations", "missing, while the "+part.name+" has a list", "that list, or "+part.outlive)
		case c.Revocations != nil && list != c.Revocations:
			add("Revocations", "not the list that the "+part.name+" goes by", "one list, given to both: that of the "+part.name+"'s Config.Revocations")
		default:
			lists = append(lists, own)
		}
	}
	if len(lists) == 2 && !check.Same(lists[0], lists[1]) {
		add("Resolver", "does not go by the list of revocations that the Provider goes by", "one list, given to both")
	}
}

// tracks reports whether requests end with their credentials.
func (c *Config) tracks() bool {
	_, announces := c.Provider.(mcpauth.StandingNotifier)
	return announces || c.Revocations != nil
}

// standing returns nil as long as the credential of id stands, and else why not. It
// answers from memory.
func (g *Gateway) standing(id *mcpauth.Identity) (err error) {
	defer g.recovered(context.Background(), "provider", &err)
	if list := g.config.Revocations; list != nil && list.Revoked(id.Revocable()) {
		return errRevoked(id)
	}
	return id.Standing()
}

func errRevoked(id *mcpauth.Identity) error {
	return &mcpauth.Error{Code: mcpauth.ErrRevoked, Message: "The credential has been revoked. Please sign in again.",
		Cause: fmt.Errorf("a credential of user %v", id)}
}

// provider returns what authenticates requests.
func (g *Gateway) provider() mcpauth.Provider {
	if !g.config.tracks() {
		return g.config.Provider
	}
	_, refuses := g.config.Provider.(mcpauth.Revoking)
	p := &tracking{Provider: g.config.Provider, epoch: g.upstream.Epoch}
	if !refuses {
		p.list = g.config.Revocations
	}
	return p
}

// tracking is a provider whose identities are not revoked, and which notes the epoch in
// which they were known to stand.
type tracking struct {
	mcpauth.Provider
	epoch func() uint32
	list  *revoke.List // nil if there is none or the provider refuses by it
}

// Authenticate implements mcpauth.Provider.
func (t *tracking) Authenticate(ctx context.Context, r *mcpauth.Request) (*mcpauth.Identity, error) {
	epoch := t.epoch() // first: everything before it is known to the provider and the list
	id, err := t.Provider.Authenticate(ctx, r)
	if err != nil || id == nil || id.Principal() == "" {
		return id, err
	}
	if t.list != nil && t.list.Revoked(id.Revocable()) {
		return nil, errRevoked(id)
	}
	if n := noteOf(ctx); n != nil {
		n.epoch = epoch
	}
	return id, nil
}

// admit returns r as a request that ends with its credential, and w as one that takes
// nothing more then. ok is false if that is so already. The caller must call done in any
// case.
func (g *Gateway) admit(w http.ResponseWriter, r *http.Request) (_ http.ResponseWriter, _ *http.Request, done func(), ok bool) {
	if !g.config.tracks() {
		return w, r, func() {}, true
	}
	n := noteOf(r.Context())
	ctx, release := g.upstream.Admit(r.Context(), n.identity, n.epoch)
	done = func() {
		if ended := inproc.Ended(ctx); ended != nil {
			refusal := *ended
			refusal.Cause = fmt.Errorf("a credential of user %v, while it was in use", n.identity)
			if ended.Cause != nil {
				refusal.Cause = fmt.Errorf("%w: %w", refusal.Cause, ended.Cause)
			}
			noteRefusal(r, &refusal)
			if n.status == 0 { // nothing has been written
				w.Header().Del("Retry-After")
				g.door.Refuse(w, &refusal)
			}
		}
		release()
	}
	cut := &cutOff{w, ctx}
	return cut, r.WithContext(ctx), done, cut.over() == nil
}

// cutOff is a ResponseWriter that takes nothing more once the credential of its request
// no longer stands: a tool that does not heed its context may still answer.
type cutOff struct {
	http.ResponseWriter
	ctx context.Context
}

func (w *cutOff) over() error {
	if ended := inproc.Ended(w.ctx); ended != nil {
		return ended
	}
	return nil
}

// Write implements http.ResponseWriter.
func (w *cutOff) Write(data []byte) (int, error) {
	if err := w.over(); err != nil {
		return 0, err
	}
	return w.ResponseWriter.Write(data)
}

// WriteHeader implements http.ResponseWriter.
func (w *cutOff) WriteHeader(status int) {
	if w.over() == nil {
		w.ResponseWriter.WriteHeader(status)
	}
}

// FlushError implements what http.ResponseController looks for; Flush what
// others do.
func (w *cutOff) FlushError() error {
	if err := w.over(); err != nil {
		return err
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *cutOff) Flush() { _ = w.FlushError() }

// Fails is told why a request is answered with an error.
func (w *cutOff) Fails(reason string) { noteFailure(w.ctx, reason) }

// Unwrap lets http.ResponseController reach the connection.
func (w *cutOff) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// endRevoked ends everything that rests on what has been revoked. It is told of one
// revocation after the other; of many that were made at once, the first does for all.
func (g *Gateway) endRevoked(revoke.Revocation) {
	epoch := g.config.Revocations.Epoch()
	if epoch == g.swept {
		return
	}
	g.swept = epoch
	if requests, sessions := g.upstream.EndFallen(); requests+sessions > 0 {
		g.config.Logger.Info("ended by a revocation", "requests", requests, "sessions", sessions)
	}
}

// heed has everything end that rests on a credential which no longer stands, from now
// until stop is called.
func (g *Gateway) heed() (stop func()) {
	stopList, stopProvider := func() {}, func() {}
	if g.config.Revocations != nil {
		stopList = g.config.Revocations.Notify(g.endRevoked)
	}
	if p, ok := g.config.Provider.(mcpauth.StandingNotifier); ok {
		stopProvider = g.heedProvider(p)
	}
	return func() {
		stopList()
		stopProvider()
	}
}

// heedProvider has a goroutine see to what p announces. Several announcements that come
// while it is busy are seen to together.
func (g *Gateway) heedProvider(p mcpauth.StandingNotifier) (stop func()) {
	announced := make(chan struct{}, 1)
	unheed := p.NotifyStanding(func() {
		select {
		case announced <- struct{}{}:
		default: // one that has not been seen to yet does for this one
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-announced:
			}
			if requests, sessions := g.upstream.EndFallen(); requests+sessions > 0 {
				g.config.Logger.Info("ended with their credentials", "requests", requests, "sessions", sessions)
			}
		}
	})
	return func() {
		unheed()
		cancel()
		done.Wait()
	}
}

// administration returns what administration serves beside profiles.
func (c *Config) administration() http.Handler {
	routes := http.NewServeMux()
	if c.Revocations != nil {
		list := c.Revocations.Handler()
		routes.Handle("/revocations", list)
		routes.Handle("/blocks", list)
	}
	if r, ok := c.Resolver.(interface{ Handler() http.Handler }); ok {
		routes.Handle("/credentials/", r.Handler())
	}
	if c.Admin.Handler != nil {
		routes.Handle("/", c.Admin.Handler)
	}
	return routes
}
