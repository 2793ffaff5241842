package inproc

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/envelope"
)

// use is something that goes on by virtue of a credential.
type use struct {
	id      *mcpauth.Identity
	epoch   uint32 // of the revocations, when id was known not to be among them; 0: not known
	request bool   // or else a part of one, which may outlast it
	end     context.CancelCauseFunc
}

// uses are those that there are.
type uses struct {
	mu  sync.Mutex
	all map[*use]struct{}
}

func (u *uses) add(one *use) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.all == nil {
		u.all = map[*use]struct{}{}
	}
	u.all[one] = struct{}{}
}

func (u *uses) remove(one *use) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.all, one)
}

func (u *uses) now() []*use {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Collect(maps.Keys(u.all))
}

type useKey struct{}

var errRevoked error = &mcpauth.Error{Code: mcpauth.ErrRevoked, Message: "The credential has been revoked. Please sign in again."}

// revoked reports whether ctx has ended by a revocation.
func revoked(ctx context.Context) bool {
	return ctx.Err() != nil && errors.Is(context.Cause(ctx), mcpauth.ErrRevoked)
}

// Admit returns ctx for a request of id, whose credential was not revoked at
// epoch. It ends when the credential is, or at once if that has happened
// meanwhile; the cause is an mcpauth.ErrRevoked then. release must follow.
func (u *Upstream) Admit(ctx context.Context, id *mcpauth.Identity, epoch uint32) (admitted context.Context, release func()) {
	if u.config.Revocations == nil {
		return ctx, func() {}
	}
	ctx, end := context.WithCancelCause(ctx)
	one := &use{id: id, epoch: epoch, request: true, end: end}
	u.begin(one)
	return context.WithValue(ctx, useKey{}, one), func() {
		u.uses.remove(one)
		end(nil)
	}
}

// begin notes one, and ends it if it is revoked already.
func (u *Upstream) begin(one *use) {
	u.uses.add(one)
	if u.config.Revocations.Epoch() != one.epoch && u.isRevoked(one.id) {
		one.end(errRevoked)
	}
}

func (u *Upstream) isRevoked(id *mcpauth.Identity) bool {
	return u.config.Revocations.Revoked(id.Revocable())
}

// apart returns ctx for a call that the request which asked for it does not
// end, but the revocation of the request's credential does. release must
// follow.
func (u *Upstream) apart(ctx context.Context) (call context.Context, release func()) {
	by, _ := ctx.Value(useKey{}).(*use)
	if _, apart := ctx.(overlaid); by == nil || !apart {
		return ctx, func() {}
	}
	ctx, end := context.WithCancelCause(ctx)
	one := &use{id: by.id, epoch: by.epoch, end: end}
	u.begin(one)
	return ctx, func() {
		u.uses.remove(one)
		end(nil)
	}
}

// errCallRevoked is what a call gets instead of a result.
var errCallRevoked = &jsonrpc.Error{Code: envelope.CodeInvalidRequest, Message: "The credential of this call has been revoked."}

// lend notes that a stream now lasts by virtue of id, and ends it when that is
// revoked. release must follow.
func (u *Upstream) lend(id *mcpauth.Identity, end context.CancelCauseFunc) (release func()) {
	if u.config.Revocations == nil {
		return func() {}
	}
	one := &use{id: id, end: end}
	u.begin(one)
	return func() { u.uses.remove(one) }
}

// presented notes that a request for s has come with id, which decides from then
// on whether a revocation ends the session.
func (u *Upstream) presented(s *session, id *mcpauth.Identity) {
	if u.config.Revocations == nil || s.presented.Load() == id {
		return
	}
	s.presented.Store(id)
	u.unlessRevoked(s)
}

// unlessRevoked ends s, which a revocation can find from now on, if one has come
// before.
func (u *Upstream) unlessRevoked(s *session) {
	if u.config.Revocations != nil && u.isRevoked(s.presented.Load()) {
		u.pool.cutOff(s)
	}
}

// EndRevoked ends what goes on by virtue of a credential that is revoked:
// requests with their streams and calls; sessions on which it was presented
// last, with whatever runs on them; and servers of a user who was last served by
// it. It waits for none of them, and returns how many requests and sessions there
// were.
func (u *Upstream) EndRevoked() (requests, sessions int) {
	known := map[*mcpauth.Identity]bool{}
	is := func(id *mcpauth.Identity) bool {
		if id == nil {
			return false
		}
		answer, ok := known[id]
		if !ok {
			answer = u.isRevoked(id)
			known[id] = answer
		}
		return answer
	}
	// Counted before anything ends: with its stream, a session may end too.
	sessions = u.pool.count(is)
	for _, one := range u.uses.now() {
		if is(one.id) {
			one.end(errRevoked)
			if one.request {
				requests++
			}
		}
	}
	u.pool.endRevoked(is)
	return requests, sessions
}

// count returns how many sessions there are on which such a credential was
// presented last. It does not ask under the mutex, which every request needs;
// nor does endRevoked.
func (p *pool) count(is func(*mcpauth.Identity) bool) (n int) {
	var open []*session
	p.mu.Lock()
	for _, s := range p.sessions {
		if !s.gone {
			open = append(open, s)
		}
	}
	p.mu.Unlock()
	for _, s := range open {
		if is(s.presented.Load()) {
			n++
		}
	}
	return n
}

// endRevoked ends sessions and retires shared instances.
func (p *pool) endRevoked(is func(*mcpauth.Identity) bool) {
	p.mu.Lock()
	sessions, users := slices.Collect(maps.Values(p.sessions)), slices.Collect(maps.Values(p.users))
	var shared []*instance
	for e := p.recent.Front(); e != nil; e = e.Next() {
		shared = append(shared, e.Value.(*instance))
	}
	p.mu.Unlock()
	for _, s := range sessions {
		if is(s.presented.Load()) {
			p.cutOff(s)
			continue
		}
		s.withdraw(is)
	}
	for _, u := range users {
		u.withdraw(is)
	}
	for _, in := range shared {
		if last := in.told.Load(); last != nil && is(last.id) {
			p.mu.Lock()
			p.retire(in)
			p.mu.Unlock()
		}
	}
}

// cutOff ends a session that is bound, and its calls.
func (p *pool) cutOff(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.endNow()
	p.end(s)
}

// withdraw forgets the credential that entitles to streams for longest, if it
// is revoked.
func (e *entitlement) withdraw(is func(*mcpauth.Identity) bool) {
	if latest := e.latest.Load(); latest != nil && is(latest.id) {
		e.latest.CompareAndSwap(latest, nil)
	}
}
