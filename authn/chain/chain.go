// Package chain has several providers say who sends requests to one server, each
// for the credentials of its kind:
//
//	provider, err := chain.New(keys, tokens, introspection)
//
// The form of a credential decides which of them judges it, before anything is
// verified (see mcpauth.Selective): the first that recognizes it. What that one
// answers is final. No other is asked after a refusal, so nobody can choose the
// mildest judge for a credential, and a credential is shown to nobody whom it is
// not meant for.
//
// More special forms come first: providers for keys with a prefix, then those
// for JSON Web Tokens, which know their own issuers, then one for whatever else
// is a bearer token, and one for development, which takes no credential at all.
// The last may be without Recognizes, and then gets everything that no other has
// recognized; if there is none such, the first refuses it in its own words. A
// request with two credentials, in Authorization and in X-API-Key, is refused.
package chain

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/check"
)

// Provider is what New returns. If one of its providers is mcpauth.Revoking, it is
// that, too, and likewise mcpauth.DevelopmentOnly.
type Provider interface {
	mcpauth.Provider
	// Start starts the providers in their order. When one fails, all are closed.
	// Close closes them in the opposite order, and must follow New in any case.
	mcpauth.Lifecycle
	// Issuers returns the names of those issuers that the providers list, as
	// providers of tokens do, each once. Other providers name issuers of their
	// own in their configuration, which are not among them.
	mcpauth.Issuing
	// Ready returns nil when all providers are ready.
	mcpauth.Preparing
	// Measure returns the measurements of all providers.
	mcpauth.Measuring
	// TakesAnyAudience reports whether one of the providers takes tokens that
	// are meant for others.
	mcpauth.Lenient
	// NotifyStanding passes on what the providers announce.
	mcpauth.StandingNotifier
}

// New returns the chain of providers, which belong to it from then on. All but
// the last are to be mcpauth.Selective. If one has a list of revocations, the
// others that can have one are to have the same; credentials of those that can
// not are looked up by the chain. The error is a *mcpauth.ConfigError.
func New(providers ...mcpauth.Provider) (Provider, error) {
	c := &chain{providers: slices.Clone(providers)}
	if faults := c.prepare(); len(faults) > 0 {
		return nil, &mcpauth.ConfigError{Package: "chain", Faults: faults}
	}
	// What only development may have, and what refuses by a list, is told by
	// its methods, not by what they return.
	development := slices.ContainsFunc(c.providers, func(p mcpauth.Provider) bool { _, ok := p.(mcpauth.DevelopmentOnly); return ok })
	switch {
	case c.refuses && development:
		return developmentRefusing{chainRefusing{c}}, nil
	case c.refuses:
		return chainRefusing{c}, nil
	case development:
		return developmentChain{c}, nil
	}
	return c, nil
}

type (
	chainRefusing       struct{ *chain }
	developmentChain    struct{ *chain }
	developmentRefusing struct{ chainRefusing }
)

// Revocations returns the list by which the providers refuse, or nil.
func (c chainRefusing) Revocations() mcpauth.Revocations { return c.revocations }

func (developmentChain) DevelopmentOnly()    {}
func (developmentRefusing) DevelopmentOnly() {}

type chain struct {
	providers   []mcpauth.Provider
	links       []link
	catchAll    *link // nil for none
	refuses     bool  // some provider has Revocations
	revocations mcpauth.Revocations

	closed    atomic.Bool
	lifecycle sync.Mutex
	started   bool
}

// link is a provider with what is needed of it for each request.
type link struct {
	mcpauth.Provider
	selective mcpauth.Selective   // nil for the catch-all
	list      mcpauth.Revocations // to be asked of its identities; nil where it does so itself, or for none
}

// prepare makes the links, and returns what is wrong.
func (c *chain) prepare() (faults []mcpauth.Fault) {
	add := func(i int, problem, expected string) {
		faults = append(faults, mcpauth.Fault{Field: fmt.Sprintf("Providers[%d]", i), Problem: problem, Expected: expected})
	}
	if len(c.providers) == 0 {
		return []mcpauth.Fault{{Field: "Providers", Problem: "empty", Expected: "at least one provider"}}
	}
	seen, first := map[uintptr]int{}, -1 // the first with Revocations
	for i, p := range c.providers {
		v := reflect.ValueOf(p)
		pointer := v.Kind() == reflect.Pointer
		if !v.IsValid() || pointer && v.IsNil() {
			add(i, fmt.Sprintf("a nil %T", p), "a provider, such as one of jwt.New")
			continue
		}
		if pointer && v.Type().Elem().Size() > 0 { // of others, several may have one address
			if j, twice := seen[v.Pointer()]; twice {
				add(i, fmt.Sprintf("the provider that Providers[%d] is", j), "each provider once")
				continue
			}
			seen[v.Pointer()] = i
		}
		l := link{Provider: p}
		l.selective, _ = p.(mcpauth.Selective)
		if l.selective == nil && i < len(c.providers)-1 {
			add(i, fmt.Sprintf("a %T, which does not say what it recognizes", p), "such a provider as the last one only, since all that follow would never be asked")
		}
		c.links = append(c.links, l)
		r, ok := p.(mcpauth.Revoking)
		if !ok {
			continue
		}
		switch own := r.Revocations(); {
		case own != nil && check.IsNil(own):
			add(i, fmt.Sprintf("refuses by a nil %T", own), "a list that is open, or none")
		case first < 0:
			first, c.refuses, c.revocations = i, true, own
		case !check.Same(own, c.revocations):
			add(i, fmt.Sprintf("does not refuse by the list of Providers[%d]", first), "one list of revocations, given to all providers that can have one")
		}
	}
	if len(faults) > 0 {
		return faults
	}
	for i := range c.links {
		l := &c.links[i]
		if l.selective == nil {
			c.catchAll = l
		}
		if _, itself := l.Provider.(mcpauth.Revoking); !itself {
			l.list = c.revocations
		}
	}
	return faults
}

// Authenticate implements mcpauth.Provider. It adds no allocation to that of the
// provider which answers.
func (c *chain) Authenticate(ctx context.Context, r *mcpauth.Request) (*mcpauth.Identity, error) {
	if c.closed.Load() {
		return nil, errClosed
	}
	authorization, key := sent(r.Header["Authorization"]), sent(r.Header["X-Api-Key"])
	if authorization && key {
		return nil, errTwoCredentials
	}
	for i := range c.links {
		if l := &c.links[i]; l.selective != nil && l.selective.Recognizes(r) {
			return l.authenticate(ctx, r)
		}
	}
	switch {
	case c.catchAll != nil:
		return c.catchAll.authenticate(ctx, r)
	case !authorization && !key:
		return nil, errNoCredential
	}
	// Nobody's: the first says what it expects.
	_, err := c.links[0].Authenticate(ctx, r)
	if err == nil {
		err = errNobodys
	}
	return nil, err
}

// sent reports whether a header with these values holds anything. Two empty ones
// do: they are a fault, for a provider to find.
func sent(values []string) bool { return len(values) > 1 || len(values) == 1 && values[0] != "" }

func (l *link) authenticate(ctx context.Context, r *mcpauth.Request) (*mcpauth.Identity, error) {
	id, err := l.Provider.Authenticate(ctx, r)
	if l.list == nil || err != nil || id == nil || id.Principal() == "" {
		return id, err
	}
	if l.list.Revoked(id.Revocable()) {
		return nil, &mcpauth.Error{Code: mcpauth.ErrRevoked, Message: "The credential has been revoked. Please sign in again.",
			Cause: fmt.Errorf("a credential of user %v", id)}
	}
	return id, nil
}

var (
	errClosed         = &mcpauth.Error{Code: mcpauth.ErrUnavailable, Message: "The server is shutting down."}
	errNoCredential   = &mcpauth.Error{Code: mcpauth.ErrMissingCredential, Message: "No authorization header provided"}
	errNobodys        = &mcpauth.Error{Code: mcpauth.ErrMalformedToken, Message: "The credential is of no kind that this server takes."}
	errTwoCredentials = &mcpauth.Error{Code: mcpauth.ErrMalformedHeader, Message: "More than one credential. Expected: Authorization or X-API-Key, not both"}
)

// Start implements mcpauth.Lifecycle.
func (c *chain) Start(ctx context.Context) error {
	c.lifecycle.Lock()
	defer c.lifecycle.Unlock()
	if c.started || c.closed.Load() {
		return errors.New("chain: started or closed before")
	}
	c.started = true
	for _, p := range c.providers {
		if s, ok := p.(mcpauth.Lifecycle); ok {
			if err := s.Start(ctx); err != nil {
				c.closed.Store(true)
				return errors.Join(err, closeAll(c.providers))
			}
		}
	}
	return nil
}

// Close implements mcpauth.Lifecycle.
func (c *chain) Close() error {
	c.lifecycle.Lock()
	defer c.lifecycle.Unlock()
	if c.closed.Swap(true) {
		return nil
	}
	return closeAll(c.providers)
}

func closeAll(providers []mcpauth.Provider) error {
	var failures []error
	for _, p := range slices.Backward(providers) {
		if s, ok := p.(mcpauth.Lifecycle); ok {
			failures = append(failures, s.Close())
		}
	}
	return errors.Join(failures...)
}

// Issuers implements Provider.
func (c *chain) Issuers() []string {
	var names []string
	seen := map[string]bool{}
	for _, p := range c.providers {
		if s, ok := p.(mcpauth.Issuing); ok {
			for _, name := range s.Issuers() {
				if !seen[name] {
					names = append(names, name)
				}
				seen[name] = true
			}
		}
	}
	return names
}

// Ready implements Provider.
func (c *chain) Ready() error {
	var failures []error
	if c.closed.Load() {
		failures = append(failures, errors.New("chain: closed"))
	}
	for _, p := range c.providers {
		if s, ok := p.(mcpauth.Preparing); ok {
			failures = append(failures, s.Ready())
		}
	}
	return errors.Join(failures...)
}

// TakesAnyAudience implements Provider.
func (c *chain) TakesAnyAudience() bool {
	return slices.ContainsFunc(c.providers, func(p mcpauth.Provider) bool {
		a, ok := p.(mcpauth.Lenient)
		return ok && a.TakesAnyAudience()
	})
}

// NotifyStanding implements Provider.
func (c *chain) NotifyStanding(changed func()) (stop func()) {
	var stops []func()
	for _, p := range c.providers {
		if s, ok := p.(mcpauth.StandingNotifier); ok {
			stops = append(stops, s.NotifyStanding(changed))
		}
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}

// Measure implements Provider.
func (c *chain) Measure() []mcpauth.Measurement {
	var all []mcpauth.Measurement
	for _, p := range c.providers {
		if s, ok := p.(mcpauth.Measuring); ok {
			all = append(all, s.Measure()...)
		}
	}
	return all
}
