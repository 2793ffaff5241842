package inproc

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/envelope"
)

// pool holds what is alive: users, their servers, their sessions. Its mutex
// guards everything below it too, but for what says otherwise.
type pool struct {
	limits                      Limits
	callTimeout, factoryTimeout time.Duration
	discard                     func(*instance) // closes an instance that nobody uses any more

	mu       sync.Mutex
	closed   bool
	users    map[string]*user    // by principal
	sessions map[string]*session // by session id
	recent   list.List           // the users' shared instances, the one used last in front
	unused   list.List           // those of them without requests and sessions, the one used least recently in front
	seats    int                 // sessions, and those being opened
	places   int                 // shared instances in use or in recent, and those being made
	stats    Stats               // but for Sessions

	nextSession, nextPlace estimate // when a full cap is expected to have room
}

// user is a principal who has something alive.
type user struct {
	principal string
	shared    *instance // nil when there is none
	making    *making   // of the next one; nil when there is none
	sessions  int       // open or being opened
	open      map[*session]struct{}
	streams   int
	calls     int // requests in progress, streams not counted
	working   int // calls that a server works on
	entitlement
}

// instance is a server for one user.
type instance struct {
	principal  string
	mode       Mode
	made       Instance
	credential *mcpauth.Credential // that it was made with
	born       time.Time
	told       atomic.Pointer[told] // what the SDK was last told of the user; not guarded
	tools      toolbox              // not guarded either

	calls     int                   // requests in progress outside of sessions
	sessions  map[*session]struct{} // those it serves
	idleSince time.Time
	left      int           // bytes of subscriptions that ended sessions have left in it
	gone      bool          // nothing new begins on it
	listing   bool          // it is being asked for its lists, and not closed meanwhile
	place     *list.Element // in pool.recent
	free      *list.Element // in pool.unused; nil while it is in use
}

// session is one of protocol versions up to 2025-11-25.
type session struct {
	owner *user
	in    *instance
	// One of these is its connection.
	streamable *streamable
	sse        *sse
	ending     context.Context // done when the client ends the session
	endNow     context.CancelFunc
	entitlement
	presented     atomic.Pointer[mcpauth.Identity] // by the last request
	subscriptions subscriptions

	id        string             // in pool.sessions; "" until it is bound
	bound     *mcp.ServerSession // nil until initialize is about to succeed
	calls     int                // requests in progress, streams included, and calls that outlast theirs
	began     time.Time          // the latest of them
	idleSince time.Time
	gone      bool          // on its way out
	uncounted bool          // among the sessions of its owner, and of all
	over      chan struct{} // closed when it holds nothing any more
}

var (
	errClosed      = errors.New("inproc: shutting down")
	errNotEntitled = errors.New("inproc: the user's credential has ended")
)

// tooMany is the refusal of a cap that is expected to have room after wait.
// cause is for what an operator has to look at.
func tooMany(what string, wait time.Duration, cause error) error {
	return &mcpauth.Error{Code: mcpauth.ErrUnavailable, Message: "Too many " + what + ". Please close some, or try again later.",
		RetryAfter: max(wait, time.Second), Cause: cause}
}

func newPool(c Config, discard func(*instance)) *pool {
	return &pool{limits: c.Limits, callTimeout: c.CallTimeout, factoryTimeout: c.FactoryTimeout, discard: discard,
		users: map[string]*user{}, sessions: map[string]*session{}}
}

// enter notes that a request of principal is in progress. leave must follow.
func (p *pool) enter(principal string, stream bool) (*user, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClosed
	}
	u := p.user(principal)
	switch {
	case !stream && u.calls >= p.limits.CallsPerUser:
		p.settle(u)
		return nil, &mcpauth.Error{Code: mcpauth.ErrRateLimited, Message: tooManyCalls}
	case !stream:
		u.calls++
		p.stats.Calls++
	case u.streams >= p.limits.StreamsPerUser:
		p.settle(u)
		return nil, &mcpauth.Error{Code: mcpauth.ErrRateLimited, Message: "Too many open streams. Please close some, or try again later.",
			RetryAfter: 30 * time.Second, Cause: errors.New("inproc: too many streams of this user")}
	default:
		u.streams++
		p.stats.Streams++
	}
	return u, nil
}

// begin notes that a server works on a call of principal, which may outlast the
// request for it, and come in a batch with others. over must follow.
func (p *pool) begin(principal string) (*user, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.user(principal)
	if u.working >= p.limits.CallsPerUser {
		p.settle(u)
		return nil, &jsonrpc.Error{Code: envelope.CodeRateLimited, Message: tooManyCalls}
	}
	u.working++
	return u, nil
}

func (p *pool) over(u *user) {
	p.mu.Lock()
	defer p.mu.Unlock()
	u.working--
	p.settle(u)
}

const tooManyCalls = "Too many calls in progress. Please wait for some of them."

func (p *pool) leave(u *user, stream bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if stream {
		u.streams--
		p.stats.Streams--
	} else {
		u.calls--
		p.stats.Calls--
	}
	p.settle(u)
}

// user returns what is known of principal. It is forgotten by settle.
func (p *pool) user(principal string) *user {
	u := p.users[principal]
	if u == nil {
		u = &user{principal: principal}
		p.users[principal] = u
	}
	return u
}

// settle forgets a user who has nothing alive.
func (p *pool) settle(u *user) {
	if u.shared == nil && u.making == nil && u.sessions == 0 && u.streams == 0 && u.calls == 0 && u.working == 0 {
		delete(p.users, u.principal)
	}
}

// lease returns the shared instance of u, in use, made by create if there is
// none that fits. Many requests at once make one. The making is theirs in
// common: it goes on when the one that began it leaves. release must follow.
func (p *pool) lease(ctx context.Context, u *user, credential *mcpauth.Credential, create func(ctx context.Context, gone func()) (*instance, error)) (*instance, error) {
	// Requests of one user that come with different credentials replace each
	// other's instance; none of them may wait for that for ever.
	for range 10 {
		in, m := p.join(ctx, u, credential, create)
		if in != nil {
			return in, nil
		}
		fits := m.credential.Equal(credential)
		select {
		case <-ctx.Done():
			if fits {
				p.part(m)
			}
			return nil, ctx.Err()
		case <-m.done:
			if fits {
				return m.in, m.err
			}
		}
	}
	return nil, errors.New("inproc: the user's credential changes all the time")
}

// making is a shared instance that is being made.
type making struct {
	credential *mcpauth.Credential
	waiting    int           // requests with this credential
	done       chan struct{} // closed when in, which is in use by all of them, or err is there
	in         *instance
	err        error
}

// join returns the shared instance of u, in use, or what is to be waited for:
// the making of it, or that of another one, with another credential.
func (p *pool) join(ctx context.Context, u *user, credential *mcpauth.Credential, create func(ctx context.Context, gone func()) (*instance, error)) (*instance, *making) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if in := p.fitting(u, credential); in != nil {
		in.calls++
		p.markUsed(in)
		p.recent.MoveToFront(in.place)
		return in, nil
	}
	m := u.making
	if m == nil {
		m = &making{credential: credential, done: make(chan struct{})}
		if m.err = p.reserve(); m.err != nil {
			close(m.done)
			return nil, m
		}
		u.making = m
		go p.makeShared(context.WithoutCancel(ctx), u, m, create)
	}
	if m.credential.Equal(credential) {
		m.waiting++
	}
	return nil, m
}

// part undoes a join with the credential of m.
func (p *pool) part(m *making) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.in != nil {
		p.releaseLocked(m.in)
	} else {
		m.waiting--
	}
}

// fitting returns the shared instance of u, unless there is none or it has to
// be replaced.
func (p *pool) fitting(u *user, credential *mcpauth.Credential) *instance {
	in := u.shared
	if in != nil && (!in.credential.Equal(credential) || time.Since(in.born) >= p.limits.Lifetime) {
		p.retire(in)
		return nil
	}
	return in
}

// makeShared makes m, for which there is a place, u's shared instance.
func (p *pool) makeShared(ctx context.Context, u *user, m *making, create func(ctx context.Context, gone func()) (*instance, error)) {
	in, err := create(ctx, p.vacate)
	p.mu.Lock()
	defer p.mu.Unlock()
	defer close(m.done)
	u.making = nil
	if err != nil {
		m.err = err
		p.settle(u)
		return
	}
	m.in = in
	in.calls, in.idleSince = m.waiting, time.Now()
	in.place = p.recent.PushFront(in)
	u.shared = in
	if p.closed {
		p.retire(in)
	} else {
		p.dropUnused(in) // the requests for it may have ended
	}
}

// reserve makes a place for one more shared instance, at the cost of the one
// without requests and sessions that was used least recently, if need be.
func (p *pool) reserve() error {
	if p.closed {
		return errClosed
	}
	if p.places >= p.limits.Instances {
		least := p.unused.Front()
		if least == nil {
			wait := p.nextPlace.wait(p.placeBy)
			if wait <= 0 {
				p.sweepSessions() // whose instances are unused in a moment
			}
			return tooMany("users at the same time", wait, errors.New("inproc: Limits.Instances are all in use"))
		}
		p.stats.Evicted++
		p.retire(least.Value.(*instance))
	}
	p.places++
	return nil
}

// vacate gives back a place in which no instance has come to be.
func (p *pool) vacate() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.places--
}

// release undoes one lease.
func (p *pool) release(in *instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.releaseLocked(in)
}

func (p *pool) releaseLocked(in *instance) {
	in.calls--
	in.idleSince = time.Now()
	p.dropUnused(in)
}

// finish ends the use of an instance that serves one request only.
func (p *pool) finish(in *instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	in.calls--
	p.retire(in)
}

// listed notes that in is no longer asked for its lists.
func (p *pool) listed(in *instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	in.listing = false
	p.dropUnused(in)
}

// retire takes in out of the pool. It is closed when nobody uses it any more.
func (p *pool) retire(in *instance) {
	if in.gone {
		return
	}
	in.gone = true
	p.markUsed(in)
	if in.place != nil {
		p.recent.Remove(in.place)
	}
	if u := p.users[in.principal]; u != nil && u.shared == in {
		u.shared = nil
		p.settle(u)
	}
	p.dropUnused(in)
}

// dropUnused closes in when nobody uses it and it is gone, or else allows its
// eviction.
func (p *pool) dropUnused(in *instance) {
	if in.calls > 0 || len(in.sessions) > 0 || in.listing {
		return
	}
	switch {
	case in.gone:
		if in.place != nil {
			p.places--
		}
		go p.discard(in)
	case in.place != nil && in.free == nil:
		in.free = p.unused.PushBack(in)
	}
}

// markUsed undoes what dropUnused has done.
func (p *pool) markUsed(in *instance) {
	if in.free != nil {
		p.unused.Remove(in.free)
		in.free = nil
	}
}

// born and died keep the counts.
func (p *pool) born(mode Mode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*p.stats.Alive.of(mode)++
	*p.stats.Made.of(mode)++
}

func (p *pool) died(mode Mode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*p.stats.Alive.of(mode)--
}

func (p *pool) miscarried() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.Failed++
}

// sit makes room for one more session of u. A user who has as many as one may
// have loses the one that has been idle for longest, which evicted reports.
// rise must follow; closeSession does it.
func (p *pool) sit(u *user) (evicted bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false, errClosed
	}
	if u.sessions >= min(p.limits.SessionsPerUser, p.limits.Sessions) {
		s, wait := p.longestIdle(u)
		if s == nil {
			return false, tooMany("sessions of this user", wait, nil)
		}
		if evicted = !s.gone; evicted {
			p.stats.SessionsEvicted++
		}
		p.endIdle(s)
	}
	if p.seats >= p.limits.Sessions {
		wait := p.nextSession.wait(p.sessionBy)
		if wait <= 0 {
			p.sweepSessions()
		}
		if p.seats >= p.limits.Sessions {
			return false, tooMany("sessions", wait, errors.New("inproc: Limits.Sessions are all open"))
		}
	}
	u.sessions++
	p.seats++
	return evicted, nil
}

func (p *pool) rise(u *user) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.riseLocked(u)
}

func (p *pool) riseLocked(u *user) {
	u.sessions--
	p.seats--
	p.settle(u)
}

// newSession returns a session of u on in, which is in use by the caller and
// then by the session instead.
func (p *pool) newSession(u *user, in *instance) *session {
	now := time.Now()
	s := &session{owner: u, in: in, calls: 1, began: now, idleSince: now, over: make(chan struct{})}
	s.ending, s.endNow = context.WithCancel(context.Background())
	p.mu.Lock()
	defer p.mu.Unlock()
	if in.sessions == nil {
		in.sessions = map[*session]struct{}{}
	}
	in.sessions[s] = struct{}{}
	in.calls--
	return s
}

// bind ties s to the SDK's session and makes it known by the id.
func (p *pool) bind(s *session, bound *mcp.ServerSession, id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.bound = bound
	if p.closed {
		return errClosed
	}
	s.id = id
	p.sessions[id] = s
	if s.owner.open == nil {
		s.owner.open = map[*session]struct{}{}
	}
	s.owner.open[s] = struct{}{}
	return nil
}

// fail ends a session that has not been opened after all.
func (p *pool) fail(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end(s)
}

// abandon marks a session to which nothing has been bound as on its way out,
// and reports whether it did.
func (p *pool) abandon(s *session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.bound != nil {
		return false
	}
	s.gone = true
	return true
}

// session returns the session of that id, in use. The error says, for the log
// only, whether there is none or it is somebody else's. done must follow.
func (p *pool) session(id, principal string) (*session, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.sessions[id]
	if s == nil || s.gone {
		return nil, errors.New("there is no such session, or no longer")
	}
	if s.in.principal != principal {
		return nil, errors.New("the session is another user's")
	}
	s.begin()
	if s.in.place != nil && !s.in.gone {
		p.recent.MoveToFront(s.in.place)
	}
	return s, nil
}

// hold notes one more use of s. done must follow.
func (p *pool) hold(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.begin()
}

func (s *session) begin() {
	s.calls++
	s.began = time.Now()
}

func (p *pool) done(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.calls--
	s.idleSince = time.Now()
}

// end ends a session that is bound. What belongs to it follows once it has
// ended: see Upstream.connect.
func (p *pool) end(s *session) {
	if !s.gone {
		s.gone = true
		go s.bound.Close()
	}
}

// closeSession lets go of what a session holds, once it has ended.
func (p *pool) closeSession(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.gone = true
	s.endNow()
	delete(s.in.sessions, s)
	s.in.idleSince = time.Now()
	s.in.left += s.subscriptions.size()
	if s.in.mode == PerSession || s.in.left > maxLeftBehind {
		p.retire(s.in)
	} else {
		p.dropUnused(s.in)
	}
	p.uncount(s)
	close(s.over)
}

// sweep ends what has been idle for too long, or has been alive for too long
// and is not in use.
func (p *pool) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sweepSessions()
	for e := p.recent.Front(); e != nil; {
		in := e.Value.(*instance)
		e = e.Next()
		idle := in.calls == 0 && len(in.sessions) == 0 && time.Since(in.idleSince) >= p.limits.Idle
		if idle || time.Since(in.born) >= p.limits.Lifetime {
			p.retire(in)
		}
	}
}

// close ends everything.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, s := range p.sessions {
		p.end(s)
	}
	for e := p.recent.Front(); e != nil; {
		in := e.Value.(*instance)
		e = e.Next()
		p.retire(in)
	}
}

func (p *pool) statsOfAll() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Sessions = len(p.sessions)
	return s
}

func (p *pool) statsOf(principal string) UserStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.users[principal]
	if u == nil {
		return UserStats{}
	}
	return UserStats{Sessions: u.sessions, Streams: u.streams, Calls: u.calls}
}

// entitlement is how long somebody has shown to be entitled to a stream. The
// mutex of the pool does not guard it.
type entitlement struct {
	latest atomic.Pointer[entitled] // the longest-lived credential presented; nil before, or when it no longer stands
}

// entitled is one credential, and when it ends.
type entitled struct {
	id  *mcpauth.Identity
	end time.Time
}

// present notes that a request came with the credential of id.
func (e *entitlement) present(id *mcpauth.Identity) {
	end := endOf(id)
	for {
		latest := e.latest.Load()
		if latest != nil && !end.After(latest.end) || e.latest.CompareAndSwap(latest, &entitled{id, end}) {
			return
		}
	}
}

// endOf returns when the credential of id ends; far away for never.
func endOf(id *mcpauth.Identity) time.Time {
	if end := id.Expiry(); !end.IsZero() {
		return end
	}
	return time.Now().AddDate(100, 0, 0).Truncate(365 * 24 * time.Hour) // the same for many requests
}

// while returns ctx for a stream of id, which ends with the last of the
// credentials that its user has presented: else it would outlive them by as long
// as the client likes. The cause is errNotEntitled then. Whenever the stream
// outlasts one credential by virtue of another, lend is called with that.
// cancel must follow.
func (e *entitlement) while(ctx context.Context, id *mcpauth.Identity, lend func(*mcpauth.Identity, context.CancelCauseFunc) (release func())) (stream context.Context, cancel context.CancelFunc) {
	stream, end := context.WithCancelCause(ctx)
	cancel = func() { end(nil) }
	go func() {
		until, release := endOf(id), func() {}
		defer func() { release() }()
		for {
			// By the wall clock, by which credentials are dated.
			left := time.Until(until)
			if left <= 0 {
				latest := e.latest.Load() // a later request may have presented a newer one
				if latest == nil || !latest.end.After(until) {
					end(errNotEntitled)
					return
				}
				release()
				until, release = latest.end, lend(latest.id, end)
				continue
			}
			timer := time.NewTimer(left)
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
