package inproc

import (
	"context"
	"errors"
	"net/http"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/envelope"
)

func (u *Upstream) serveSession(w http.ResponseWriter, r *http.Request, owner *user, stream bool) {
	s := u.sessionOf(w, r, r.Header.Get(sessionHeader), owner)
	if s == nil {
		return
	}
	defer u.pool.done(s)
	if r.Method == http.MethodDelete {
		s.endNow() // the SDK waits for the calls of the session
	}
	to := &serving{in: s.in, session: s}
	u.serve(s.handler, w, r, to, &s.entitlement, stream)
	if to.stream != "" && r.Context().Err() == nil {
		s.replay.deliver(to.stream)
	}
}

// sessionOf returns owner's session of that id, in use, or answers that there
// is none.
func (u *Upstream) sessionOf(w http.ResponseWriter, r *http.Request, id string, owner *user) *session {
	s, err := u.pool.session(id, owner.principal)
	if err != nil {
		u.noSession(w, r, err)
		return nil
	}
	u.presented(s, mcpauth.FromContext(r.Context()))
	return s
}

// noSession answers the same for a session that never was and for another
// user's, so that nobody learns which ids are in use. Decided here: the SDK
// would tell the two apart. Only the log has the cause.
func (u *Upstream) noSession(w http.ResponseWriter, r *http.Request, cause error) {
	const message = "Session not found"
	u.config.Refused(r, &mcpauth.Error{Code: mcpauth.ErrUnknownSession, Message: message, Cause: cause})
	envelope.WriteError(w, http.StatusNotFound, nil, envelope.CodeSession, message)
}

func (u *Upstream) openSession(w http.ResponseWriter, r *http.Request, owner *user, _ bool) {
	s, err := u.newSession(r, owner)
	if err != nil {
		u.config.Refuse(w, r, err)
		return
	}
	// A handler of the session's own: the SDK keys sessions by ids that the
	// author may have chosen, and two of the same would meet in one handler.
	options := &mcp.StreamableHTTPOptions{}
	if u.config.Limits.ReplayBytes > 0 {
		s.replay = u.replay.session()
		options.EventStore = s.replay
	}
	s.handler = u.handler(options)
	defer u.openedSession(s)
	u.serve(s.handler, w, r, &serving{in: s.in, session: s}, &s.entitlement, false)
}

// newSession returns a session of owner's that is being opened. openedSession
// must follow.
func (u *Upstream) newSession(r *http.Request, owner *user) (*session, error) {
	if err := u.pool.sit(owner); err != nil {
		return nil, err
	}
	var in *instance
	var err error
	if u.config.Sessions == PerUser {
		in, err = u.lease(r, owner)
	} else {
		in, err = u.create(r.Context(), r, PerSession)
	}
	if err != nil {
		u.pool.rise(owner)
		return nil, err
	}
	s := u.pool.newSession(owner, in)
	s.presented.Store(mcpauth.FromContext(r.Context()))
	return s, nil
}

// openedSession ends the request that was to open s.
func (u *Upstream) openedSession(s *session) {
	close(s.opened)
	u.pool.done(s)
	if u.pool.abandon(s) {
		u.pool.closeSession(s, "") // initialize did not succeed, or the client has left before
	}
}

// bind ties the session that is being initialized to ours, before the client
// learns the session's id. failed is what initialize has failed with, in which
// case, or when bind fails itself, the session is closed once the client has
// its answer.
func (u *Upstream) bind(ctx context.Context, req mcp.Request, failed error) error {
	bound, ok := req.GetSession().(*mcp.ServerSession)
	s := servingFrom(ctx).inSession()
	if !ok || s == nil {
		return failed
	}
	id := bound.ID()
	if id == "" {
		u.config.Logger.Error("a server that hands out no session ids (ServerOptions.GetSessionID) cannot be used in sessions")
		return errors.New("this server hands out no session ids")
	}
	known, err := u.pool.bind(s, bound, id)
	if !known && err == nil {
		return failed // initialize for a second time, which is no reason to end the session
	}
	if failed == nil {
		failed = err
	}
	if failed == nil {
		u.unlessRevoked(s)
	}
	// One goroutine sees to the end of both, so that the instance outlives the
	// calls of its session.
	u.spawn(func() {
		if failed != nil {
			<-s.opened // closing the session now could cut off the answer
			bound.Close()
		}
		bound.Wait()
		if known {
			u.pool.closeSession(s, id)
		}
	})
	return failed
}
