package inproc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
)

// Call is what a Factory makes a server for.
type Call struct {
	// Identity is the user, as of the request that needs the server. Later
	// requests of the same user may come with other scopes or a newer token:
	// tools take those from their own context, with mcpauth.FromContext. (The
	// SDK's own TokenInfo is shared between requests, for reading only, and the
	// one in a session's context is that of its first request.)
	Identity *mcpauth.Identity
	// Credential is the user's own for the resource, as of that request, or nil
	// when there is none. In a session it may change: tools take it from their
	// own context, with mcpauth.CredentialFrom.
	Credential *mcpauth.Credential
	// Extras are what else the request brought.
	Extras Extras
}

// Extras are parts of the request that needs the server which mean nothing
// here, but may to an author. Anybody can send anything in them: they are never
// to say who the user is.
type Extras struct {
	// Query are the parameters of the URL.
	Query url.Values
	// Header are the headers whose names begin with "X-", without those that by
	// their names come from a proxy, name a user or hold a key.
	Header http.Header
}

// extras returns those of r.
func extras(r *http.Request) Extras {
	e := Extras{Query: r.URL.Query(), Header: http.Header{}}
	for name, values := range r.Header {
		plain := strings.ToLower(strings.ReplaceAll(name, "_", "-"))
		means := func(part string) bool { return strings.Contains(plain, part) }
		if !strings.HasPrefix(plain, "x-") || slices.ContainsFunc(notExtra, means) {
			continue
		}
		e.Header[name] = slices.Clone(values)
	}
	return e
}

// notExtra are parts of the names of headers that claim who the user is, hold a
// credential, or are a proxy's. Parts, because every proxy has names of its own:
// X-Auth-Request-Email, X-Goog-Authenticated-User-Id, X-MS-Client-Principal.
var notExtra = []string{
	"user", "email", "principal", "identity", "subject", "consumer",
	"auth", "token", "jwt", "oidc", "assertion", "secret", "password", "credential", "cookie", "api-key", "apikey", "access-key", "cert",
	"forwarded", "real-ip", "clientip", "client-ip", "envoy-", "ssl", "-dn", "-cn",
	"group", "role", "saml", "login", "account", "session", "bearer", "passw", "pwd", "otp", "-key", "x-sub", "x-uid",
}

// Instance is a server for one user.
type Instance struct {
	// Server is the user's own. One server may be returned for several
	// sessions of one user, never for two users.
	Server *mcp.Server
	// Close gives back what the instance holds. It is called once, when the
	// instance is no longer needed, with ten seconds to go, and may be nil. A
	// tool that has not heeded the end of its time may still be running.
	Close func(context.Context) error
}

// Factory makes the server of a user. It may be called concurrently. ctx
// bounds the making only: what is to live as long as the server must not
// depend on it, and is to be ended by Instance.Close. An error, a panic or a
// time-out is logged, and the request answered with 503; the next request
// tries again. To tell the user why not, return a *mcpauth.Error of
// ErrUnavailable, ErrRateLimited, ErrForbidden or ErrInsufficientScope: its
// message is for the client. What a server's handlers return belongs to one
// call, and is not to be kept.
type Factory func(ctx context.Context, call Call) (Instance, error)

// create calls the factory on behalf of r and makes its server ready to serve
// r's user alone. Unless it is shared, the new instance is in use by the caller.
// When there is none, gone is called as soon as the factory has returned, which
// may be long after its time: what bounds the servers bounds those in the making
// too.
func (u *Upstream) create(ctx context.Context, r *http.Request, mode Mode, gone func()) (*instance, error) {
	if !u.tasks.Enter() {
		gone()
		return nil, errClosed
	}
	in, err := u.tryCreate(ctx, r, mode, gone)
	if err != nil {
		if ctx.Err() == nil { // else nobody waits for it any more
			u.pool.miscarried()
		}
		u.tasks.Leave()
		return nil, err
	}
	u.pool.born(mode)
	return in, nil
}

func (u *Upstream) tryCreate(ctx context.Context, r *http.Request, mode Mode, gone func()) (*instance, error) {
	id := mcpauth.FromContext(ctx)
	credential := mcpauth.CredentialFrom(ctx)
	made, err := u.callFactory(ctx, Call{Identity: id, Credential: credential, Extras: extras(r)}, gone)
	if err != nil {
		return nil, unmade{"the factory failed", fmt.Errorf("inproc: factory: %w", err)}
	}
	in := &instance{principal: id.Principal(), mode: mode, made: made, credential: credential, born: time.Now()}
	if mode != PerUser {
		in.calls = 1
	}
	if made.Server == nil {
		defer gone()
		u.close(made)
		const stage = "the factory returned no server"
		return nil, unmade{stage, errors.New("inproc: " + stage)}
	}
	var handle mcp.MethodHandler // of the first server
	ours := u.owners.Claim(made.Server, in.principal, func() {
		if u.config.Listed != nil && !u.listed.Swap(true) {
			made.Server.AddReceivingMiddleware(func(next mcp.MethodHandler) mcp.MethodHandler {
				handle = next
				return next
			})
		}
		made.Server.AddReceivingMiddleware(u.onBehalfOf(in.principal))
	})
	if !ours {
		defer gone()
		u.close(made)
		const stage = "the factory returned one server for two users"
		return nil, unmade{stage, errors.New("inproc: " + stage + ": each needs a server of their own")}
	}
	if handle != nil {
		u.list(ctx, in, handle)
	}
	return in, nil
}

// unmade is why there is no server.
type unmade struct {
	stage string
	error
}

func (e unmade) Unwrap() error { return e.error }

// Stage says for the log what has failed, without words of the author's.
func (e unmade) Stage() string { return e.stage }

// discard closes an instance that nobody uses any more.
func (u *Upstream) discard(in *instance) {
	defer u.tasks.Leave()
	u.close(in.made)
	u.pool.died(in.mode)
}

// callFactory calls the factory, and waits for it no longer than allowed. What
// it makes too late is closed. gone is as in create.
func (u *Upstream) callFactory(ctx context.Context, call Call, gone func()) (Instance, error) {
	ctx, cancel := context.WithTimeout(ctx, u.config.FactoryTimeout)
	stop := context.AfterFunc(u.stopping, cancel)
	type result struct {
		made Instance
		err  error
	}
	made, left := make(chan result), make(chan struct{})
	u.spawn(func() {
		defer cancel()
		defer stop()
		r := result{err: errors.New("ended its goroutine")}
		defer func() {
			if p := recover(); p != nil {
				u.config.Logger.ErrorContext(ctx, "panic in a factory", "request_id", mcpauth.RequestID(ctx), "panic", p, "stack", string(debug.Stack()))
				r.err = fmt.Errorf("panic: %v", p)
			}
			if r.err != nil {
				gone()
			}
			select {
			case made <- r:
			case <-left:
				if r.err == nil {
					defer gone()
					u.close(r.made)
				}
			}
		}()
		r.made, r.err = u.config.Factory(ctx, call)
	})
	select {
	case r := <-made:
		return r.made, r.err
	case <-ctx.Done():
		close(left)
		return Instance{}, ctx.Err()
	}
}

// closeTimeout bounds the Close of one instance.
const closeTimeout = 10 * time.Second

// close closes what a factory has made. A panic there must not end the process
// either.
func (u *Upstream) close(made Instance) {
	if made.Close == nil {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			u.config.Logger.Error("panic while closing a server instance", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := made.Close(ctx); err != nil {
		u.config.Logger.Warn("closing a server instance failed", "error", err)
	}
}
