package inproc

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"golang.org/x/sync/singleflight"

	"github.com/mcpauth-go/mcpauth/internal/gate"
)

// instance is a server for one user, with who uses it now.
type instance struct {
	principal string
	made      Instance
	handler   http.Handler         // of the session; nil outside of sessions
	opened    chan struct{}        // closed once the request that opens the session is answered
	told      atomic.Pointer[told] // what the SDK was last told of the user

	mu        sync.Mutex
	bound     *mcp.ServerSession // nil outside of sessions
	uses      int
	idleSince time.Time
	gone      bool          // on its way out
	unused    chan struct{} // made by retire when it is in use; closed by the last to release it
	latest    time.Time     // end of the longest-lived credential presented
}

// session returns the session that the instance is for, nil outside of
// sessions.
func (in *instance) session() *mcp.ServerSession {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.bound
}

// bind ties the instance to session, unless it is bound or gone.
func (in *instance) bind(session *mcp.ServerSession) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.bound != nil || in.gone {
		return false
	}
	in.bound = session
	return true
}

// abandon marks an instance to which no session has been bound as on its way
// out, and reports whether it did.
func (in *instance) abandon() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.bound != nil {
		return false
	}
	in.gone = true
	return true
}

// present notes that a request came with a credential that ends at expiry;
// the zero time is never.
func (in *instance) present(expiry time.Time) {
	if expiry.IsZero() {
		expiry = time.Now().AddDate(100, 0, 0)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if expiry.After(in.latest) {
		in.latest = expiry
	}
}

// left returns how long the credentials presented so far last, by the wall
// clock, by which they are dated.
func (in *instance) left() time.Duration {
	in.mu.Lock()
	defer in.mu.Unlock()
	return time.Until(in.latest)
}

// whileEntitled returns ctx for a stream, which ends with the last of the
// credentials that its user has presented to the instance: else it would
// outlive them by as long as the client likes. cancel must follow.
func (in *instance) whileEntitled(ctx context.Context) (stream context.Context, cancel context.CancelFunc) {
	stream, cancel = context.WithCancel(ctx)
	go func() {
		for {
			left := in.left()
			if left <= 0 {
				cancel()
				return
			}
			timer := time.NewTimer(left) // a later request may have presented a newer one by then
			select {
			case <-stream.Done():
				timer.Stop()
				return
			case <-timer.C:
			}
		}
	}()
	return stream, cancel
}

// acquire marks one more use. It fails for an instance on its way out.
func (in *instance) acquire() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.gone {
		return false
	}
	in.uses++
	return true
}

func (in *instance) release() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.uses--
	in.idleSince = time.Now()
	if in.uses == 0 && in.unused != nil {
		close(in.unused)
		in.unused = nil
	}
}

// retire marks the instance as on its way out and waits until it is not in
// use.
func (in *instance) retire() {
	in.mu.Lock()
	in.gone = true
	if in.uses > 0 && in.unused == nil {
		in.unused = make(chan struct{})
	}
	unused := in.unused
	in.mu.Unlock()
	if unused != nil {
		<-unused
	}
}

// take marks the instance as on its way out, if it has been idle for long
// enough.
func (in *instance) take(idle time.Duration) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.gone || in.uses > 0 || time.Since(in.idleSince) < idle {
		return false
	}
	in.gone = true
	return true
}

// pool holds the live instances.
type pool struct {
	tasks  *gate.Gate
	flight singleflight.Group

	mu       sync.Mutex
	users    map[string]*instance // by principal
	sessions map[string]*instance // by session id
	closed   bool
}

func newPool(tasks *gate.Gate) pool {
	return pool{tasks: tasks, users: map[string]*instance{}, sessions: map[string]*instance{}}
}

var errClosed = errors.New("inproc: shutting down")

// user returns the instance of principal, in use, made by create if there is
// none. Many requests at once make one. The making is theirs in common: it
// goes on when the one that began it leaves. What is made too late, after the
// pool has closed, goes to discard.
func (p *pool) user(ctx context.Context, principal string, create func(context.Context) (*instance, error), discard func(*instance)) (*instance, error) {
	for {
		p.mu.Lock()
		in, closed := p.users[principal], p.closed
		p.mu.Unlock()
		if closed {
			return nil, errClosed
		}
		if in != nil && in.acquire() {
			return in, nil
		}
		made := p.flight.DoChan(principal, func() (any, error) {
			if !p.tasks.Enter() {
				return nil, errClosed
			}
			defer p.tasks.Leave()
			if p.hasUser(principal) {
				return nil, nil // made while this request was on its way here
			}
			in, err := create(context.WithoutCancel(ctx))
			if err != nil {
				return nil, err
			}
			in.release()
			p.mu.Lock()
			closed := p.closed
			if !closed {
				p.users[principal] = in
			}
			p.mu.Unlock()
			if closed {
				discard(in)
			}
			return nil, nil
		})
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case result := <-made:
			if result.Err != nil {
				return nil, result.Err
			}
		}
	}
}

func (p *pool) hasUser(principal string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.users[principal] != nil
}

// session returns the instance of a session of principal's, in use, or nil if
// principal has no such session.
func (p *pool) session(id, principal string) *instance {
	p.mu.Lock()
	in := p.sessions[id]
	p.mu.Unlock()
	if in == nil || in.principal != principal || !in.acquire() {
		return nil
	}
	return in
}

// addSession makes a session known.
func (p *pool) addSession(id string, in *instance) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return errClosed
	case p.sessions[id] != nil:
		return errors.New("this session id is in use")
	}
	p.sessions[id] = in
	return nil
}

func (p *pool) removeSession(id string, in *instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sessions[id] == in {
		delete(p.sessions, id)
	}
}

func (p *pool) stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{Sessions: len(p.sessions), Users: len(p.users)}
}

// takeIdle returns the instances that have been idle for too long, which
// nobody else can get from then on.
func (p *pool) takeIdle(idle time.Duration) []*instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*instance
	for _, live := range []map[string]*instance{p.users, p.sessions} {
		for key, in := range live {
			if in.take(idle) {
				delete(live, key)
				out = append(out, in)
			}
		}
	}
	return out
}

// takeAll closes the pool and returns what it held.
func (p *pool) takeAll() []*instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var out []*instance
	for _, live := range []map[string]*instance{p.users, p.sessions} {
		for _, in := range live {
			out = append(out, in)
		}
		clear(live)
	}
	return out
}

// owners remembers which principal each server was given to, for as long as
// the server exists: a factory that hands one user's server to another is
// found out even when the first has long been gone.
type owners struct {
	mu sync.Mutex
	of map[weak.Pointer[mcp.Server]]string
}

// claim records that server belongs to principal. The first time, it calls
// prepare before anybody else can claim the server.
func (o *owners) claim(server *mcp.Server, principal string, prepare func()) error {
	key := weak.Make(server)
	o.mu.Lock()
	defer o.mu.Unlock()
	owner, known := o.of[key]
	if !known {
		if o.of == nil {
			o.of = map[weak.Pointer[mcp.Server]]string{}
		}
		o.of[key] = principal
		runtime.AddCleanup(server, o.forget, key)
		prepare()
		return nil
	}
	if owner != principal {
		return errors.New("inproc: the factory returned one server for two users: each needs a server of their own")
	}
	return nil
}

func (o *owners) forget(key weak.Pointer[mcp.Server]) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.of, key)
}
