package inproc

import "time"

// This file has what happens when a cap is reached: which session or shared
// instance has to go, and how long a refused client has to wait.

// openStreams is the Retry-After of a cap when nothing is known to end by itself:
// only streams are open, which last for as long as their clients like.
const openStreams = time.Minute

// longestIdle returns the session of u that has been idle for longest. If all of
// them are in use, it returns nil, and how long it takes until one is not.
func (p *pool) longestIdle(u *user) (longest *session, wait time.Duration) {
	var soonest time.Time
	if u.sessions > len(u.open) { // some are being opened
		soonest = time.Now().Add(p.factoryTimeout + p.callTimeout)
	}
	for s := range u.open {
		switch at, idle := p.idleBy(s); {
		case idle && (longest == nil || s.idleSince.Before(longest.idleSince)):
			longest = s
		case !idle:
			soonest = earlier(soonest, at)
		}
	}
	if soonest.IsZero() {
		return longest, openStreams
	}
	return longest, time.Until(soonest)
}

// idleBy returns since when s is idle, or else when it is at the latest, unless
// it is used again: when its calls have to end. The time is zero if that is
// unknown, because a stream is open. What is kept for clients that resume a stream
// keeps no session in use.
func (p *pool) idleBy(s *session) (at time.Time, idle bool) {
	calling, listening := s.uses()
	switch {
	case s.calls == 0 && !calling:
		return s.idleSince, true
	case listening && !s.gone:
		return time.Time{}, false
	}
	return s.began.Add(p.callTimeout), false
}

// uses reports whether a call is not answered yet, and whether the client has a
// stream open that lasts for as long as it likes.
func (s *session) uses() (calling, listening bool) {
	switch {
	case s.bound == nil: // nor are its other fields to be read
		return false, false
	case s.sse != nil:
		return false, true
	}
	return s.streamable.uses()
}

// endBy returns when s ends at the latest, unless it is used again. The time is
// zero if that is unknown.
func (p *pool) endBy(s *session) time.Time {
	at, _ := p.idleBy(s)
	if at.IsZero() || s.gone {
		return at
	}
	end, lifetime := at.Add(p.limits.Idle), s.in.born.Add(p.limits.Lifetime)
	if lifetime.Before(at) {
		lifetime = at
	}
	return earlier(end, lifetime)
}

// sessionBy returns when the first of all sessions ends.
func (p *pool) sessionBy() (at time.Time) {
	for _, s := range p.sessions {
		at = earlier(at, p.endBy(s))
	}
	return at
}

// placeBy returns when the first of the shared instances is without sessions and
// calls.
func (p *pool) placeBy() (at time.Time) {
	for e := p.recent.Front(); e != nil; e = e.Next() {
		at = earlier(at, p.unusedBy(e.Value.(*instance)))
	}
	return at
}

func (p *pool) unusedBy(in *instance) (at time.Time) {
	if in.calls > 0 {
		if u := p.users[in.principal]; u == nil || u.streams > 0 {
			return time.Time{}
		}
		at = time.Now().Add(p.callTimeout)
	}
	for s := range in.sessions {
		end := p.endBy(s)
		if end.IsZero() {
			return end
		}
		if end.After(at) {
			at = end
		}
	}
	return at
}

// earlier returns the earlier of two times, of which zero ones are unknown.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// estimate is when a full cap is expected to have room. Finding out means to look
// at all sessions or instances, and so it is remembered for a second.
type estimate struct{ at, made time.Time }

func (e *estimate) wait(find func() time.Time) time.Duration {
	now := time.Now()
	if now.Sub(e.made) >= time.Second || !now.Before(e.at) {
		e.at, e.made = find(), now
		if e.at.IsZero() {
			e.at = now.Add(openStreams)
		}
	}
	return e.at.Sub(now)
}

// endIdle ends a session that is not in use. As nothing has to be waited for, it
// is no longer counted, and its server can no longer wait for its client.
func (p *pool) endIdle(s *session) {
	p.uncount(s)
	s.endNow()
	p.end(s)
	if s.streamable != nil {
		go s.streamable.end()
	}
}

// uncount forgets a session and gives its place back, unless that has been done.
func (p *pool) uncount(s *session) {
	if s.uncounted {
		return
	}
	s.uncounted = true
	if s.id != "" {
		delete(p.sessions, s.id)
		delete(s.owner.open, s)
	}
	p.riseLocked(s.owner)
}

// sweepSessions ends the sessions that have been idle for too long, or have been
// alive for too long and are idle.
func (p *pool) sweepSessions() {
	now := time.Now()
	for _, s := range p.sessions {
		if s.calls == 0 && !p.endBy(s).After(now) {
			p.endIdle(s)
		}
	}
}
