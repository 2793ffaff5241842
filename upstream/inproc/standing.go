package inproc

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/envelope"
	"github.com/mcpauth-go/mcpauth/internal/sdk"
)

// use is something that goes on by virtue of a credential.
type use struct {
	id      *mcpauth.Identity
	epoch   uint32 // in which the credential was last known to stand; 0: not known
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

// endedError is the cause with which a context ends that rested on a credential.
type endedError struct{ refusal *mcpauth.Error }

func (e *endedError) Error() string { return e.refusal.Error() }

// Ended returns why the credential that ctx rested on no longer stands, if that is why
// ctx is done, and else nil.
func Ended(ctx context.Context) *mcpauth.Error {
	if ctx.Err() == nil {
		return nil
	}
	if e, ok := context.Cause(ctx).(*endedError); ok {
		return e.refusal
	}
	return nil
}

// Epoch changes whenever credentials may have ended, before what rests on them does. It
// is never 0. A credential is known to stand in an epoch if it was verified after Epoch
// had returned it.
func (u *Upstream) Epoch() uint32 { return u.epoch.Load() }

// Admit returns ctx for a request of id, whose credential was known to stand in epoch.
// It ends when the credential does, or at once if that has happened meanwhile: see
// Ended. The caller must call release.
func (u *Upstream) Admit(ctx context.Context, id *mcpauth.Identity, epoch uint32) (admitted context.Context, release func()) {
	if u.config.Standing == nil {
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

// begin notes one, and ends it if its credential has ended already.
func (u *Upstream) begin(one *use) {
	u.uses.add(one)
	if u.Epoch() == one.epoch {
		return
	}
	if refusal := u.standing(one.id); refusal != nil {
		one.end(&endedError{refusal})
	}
}

// standing returns why the credential of id no longer stands, or nil.
func (u *Upstream) standing(id *mcpauth.Identity) *mcpauth.Error {
	if err := u.config.Standing(id); err != nil {
		return mcpauth.AsError(err)
	}
	return nil
}

// apart returns ctx for a call that does not end with the request that asked for it, but
// with the request's credential. The caller must call release.
func (u *Upstream) apart(ctx context.Context) (call context.Context, release func()) {
	by, _ := ctx.Value(useKey{}).(*use)
	if _, apart := ctx.(sdk.Overlaid); by == nil || !apart {
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

// errCredentialEnded is what a call gets instead of a result.
var errCredentialEnded = &jsonrpc.Error{Code: envelope.CodeInvalidRequest, Message: "The credential of this call is no longer valid."}

// lend notes that a stream now lasts by virtue of id, and ends it with the credential of
// id. The caller must call release.
func (u *Upstream) lend(id *mcpauth.Identity, end context.CancelCauseFunc) (release func()) {
	if u.config.Standing == nil {
		return func() {}
	}
	one := &use{id: id, end: end}
	u.begin(one)
	return func() { u.uses.remove(one) }
}

// presented notes that a request for s has come with id, whose credential decides from
// then on how long the session may go on.
func (u *Upstream) presented(s *session, id *mcpauth.Identity) {
	if u.config.Standing == nil || s.presented.Load() == id {
		return
	}
	s.presented.Store(id)
	u.unlessEnded(s)
}

// unlessEnded ends s, which EndFallen can find from now on, if its credential has ended
// before.
func (u *Upstream) unlessEnded(s *session) {
	if u.config.Standing != nil && u.standing(s.presented.Load()) != nil {
		u.pool.cutOff(s)
	}
}

// EndFallen ends everything that rests on a credential that no longer stands: requests
// with their streams and calls; sessions on which it was presented last, with everything
// that runs on them; and servers of a user who was last served by it. It waits for none
// of them, and returns how many requests and sessions there were.
func (u *Upstream) EndFallen() (requests, sessions int) {
	u.advance()
	known := map[*mcpauth.Identity]*mcpauth.Error{}
	refusal := func(id *mcpauth.Identity) *mcpauth.Error {
		if id == nil {
			return nil
		}
		answer, ok := known[id]
		if !ok {
			answer = u.standing(id)
			known[id] = answer
		}
		return answer
	}
	fallen := func(id *mcpauth.Identity) bool { return refusal(id) != nil }
	// Counted before anything ends: with its stream, a session may end too.
	sessions = u.pool.count(fallen)
	for _, one := range u.uses.now() {
		if e := refusal(one.id); e != nil {
			one.end(&endedError{e})
			if one.request {
				requests++
			}
		}
	}
	u.pool.endFallen(fallen)
	return requests, sessions
}

// advance begins another epoch.
func (u *Upstream) advance() {
	if u.epoch.Add(1) == 0 {
		u.epoch.Add(1)
	}
}

// count returns how many sessions there are on which such a credential was
// presented last. It does not ask under the mutex, which every request needs;
// nor does endFallen.
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

// endFallen ends sessions and retires shared instances.
func (p *pool) endFallen(is func(*mcpauth.Identity) bool) {
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

// withdraw forgets the credential that entitles to streams for longest, if it no longer
// stands.
func (e *entitlement) withdraw(is func(*mcpauth.Identity) bool) {
	if latest := e.latest.Load(); latest != nil && is(latest.id) {
		e.latest.CompareAndSwap(latest, nil)
	}
}
