package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/check"
	"github.com/mcpauth-go/mcpauth/revoke"
)

// This file has the station "revoked?". A provider that knows the list of
// revocations refuses by it what it answers from memory, too. What a request has
// begun by then ends here and in package inproc.

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

// provider returns what authenticates requests.
func (g *Gateway) provider() mcpauth.Provider {
	if g.config.Revocations == nil {
		return g.config.Provider
	}
	_, refuses := g.config.Provider.(mcpauth.Revoking)
	return &unrevoked{g.config.Provider, g.config.Revocations, refuses}
}

// unrevoked is a provider whose identities are not revoked.
type unrevoked struct {
	mcpauth.Provider
	list    *revoke.List
	refuses bool // by itself
}

// Authenticate implements mcpauth.Provider.
func (u *unrevoked) Authenticate(ctx context.Context, r *mcpauth.Request) (*mcpauth.Identity, error) {
	epoch := u.list.Epoch() // first: all before it is known to who is asked next
	id, err := u.Provider.Authenticate(ctx, r)
	if err != nil || id == nil || id.Principal() == "" {
		return id, err
	}
	if !u.refuses && u.list.Revoked(id.Revocable()) {
		return nil, &mcpauth.Error{Code: mcpauth.ErrRevoked, Message: "The credential has been revoked. Please sign in again.",
			Cause: fmt.Errorf("a credential of user %v", id)}
	}
	if n := noteOf(ctx); n != nil {
		n.epoch = epoch
	}
	return id, nil
}

// admit returns r as a request that ends when its credential is revoked, and w
// as one that takes nothing more then. ok is false if that is so already. done
// must follow in any case.
func (g *Gateway) admit(w http.ResponseWriter, r *http.Request) (_ http.ResponseWriter, _ *http.Request, done func(), ok bool) {
	if g.config.Revocations == nil {
		return w, r, func() {}, true
	}
	n := noteOf(r.Context())
	ctx, release := g.upstream.Admit(r.Context(), n.identity, n.epoch)
	done = func() {
		var refusal *mcpauth.Error
		if cause := context.Cause(ctx); errors.As(cause, &refusal) && refusal.Code == mcpauth.ErrRevoked {
			refusal = &mcpauth.Error{Code: refusal.Code, Message: refusal.Message, Cause: fmt.Errorf("a credential of user %v, while it was in use", n.identity)}
			noteRefusal(r, refusal)
			if n.status == 0 { // nothing has been written
				w.Header().Del("Retry-After")
				g.door.Refuse(w, refusal)
			}
		}
		release()
	}
	cut := &cutOff{w, ctx}
	return cut, r.WithContext(ctx), done, cut.over() == nil
}

// cutOff is a ResponseWriter that takes nothing more once the credential of its
// request is revoked: a tool that does not heed its context may still answer.
type cutOff struct {
	http.ResponseWriter
	ctx context.Context
}

func (w *cutOff) over() error {
	if w.ctx.Err() != nil {
		if cause := context.Cause(w.ctx); errors.Is(cause, mcpauth.ErrRevoked) {
			return cause
		}
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

// Unwrap lets http.ResponseController reach the connection.
func (w *cutOff) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// endRevoked ends what goes on by virtue of what is revoked. It is told of one
// revocation after the other; of many that were made at once, the first does for
// all.
func (g *Gateway) endRevoked(revoke.Revocation) {
	epoch := g.config.Revocations.Epoch()
	if epoch == g.swept {
		return
	}
	g.swept = epoch
	if requests, sessions := g.upstream.EndRevoked(); requests+sessions > 0 {
		g.config.Logger.Info("ended by a revocation", "requests", requests, "sessions", sessions)
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
