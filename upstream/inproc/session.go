package inproc

import (
	"context"
	"fmt"
	"net/http"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/envelope"
)

func (u *Upstream) serveSession(w http.ResponseWriter, r *http.Request, owner *user, messages []envelope.Message, stream bool) {
	s := u.sessionOf(w, r, r.Header.Get(sessionHeader), owner)
	if s == nil {
		return
	}
	defer u.pool.done(s)
	handler := func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodPost:
			u.post(w, r, s, messages, false)
		case http.MethodGet:
			u.get(w, r, s)
		default:
			u.pool.cutOff(s)
			select {
			case <-s.over:
			case <-r.Context().Done(): // a call does not heed that it has been ended
			}
			w.WriteHeader(http.StatusNoContent)
		}
	}
	u.serve(handler, w, r, &serving{in: s.in, session: s, subscriptions: &s.subscriptions}, &s.entitlement, stream)
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

func (u *Upstream) openSession(w http.ResponseWriter, r *http.Request, owner *user, messages []envelope.Message, _ bool) {
	s, err := u.newSession(r, owner)
	if err != nil {
		u.config.Refuse(w, r, err)
		return
	}
	defer u.openedSession(s)
	var store *sessionReplay
	if u.config.Limits.ReplayBytes > 0 {
		store = u.replay.session(owner.principal)
	}
	s.streamable = newStreamable(store)
	handler := u.identified(func(w http.ResponseWriter, r *http.Request) {
		if err := u.connect(r.Context(), s, s.streamable, s.streamable.id); err != nil {
			s.streamable.end()
			u.config.Refuse(w, r, err)
			return
		}
		if !u.post(w, r, s, messages, true) {
			u.pool.fail(s) // initialize did not succeed, or the client has left before
		}
	})
	u.serve(handler, w, r, &serving{in: s.in, session: s, subscriptions: &s.subscriptions}, &s.entitlement, false)
}

// connect connects s to its server and makes it known by key.
func (u *Upstream) connect(ctx context.Context, s *session, transport mcp.Transport, key string) error {
	bound, err := s.in.made.Server.Connect(context.WithoutCancel(ctx), transport, nil)
	if err != nil {
		return fmt.Errorf("inproc: %w", err)
	}
	if err = u.pool.bind(s, bound, key); err == nil {
		u.unlessEnded(s)
	}
	// One goroutine sees to the end of both, so that the instance outlives the
	// calls of its session.
	u.spawn(func() {
		bound.Wait()
		bound.Close() // ends the SDK's keep-alive
		u.pool.closeSession(s)
	})
	return err
}

// newSession returns a session of owner's that is being opened. openedSession
// must follow.
func (u *Upstream) newSession(r *http.Request, owner *user) (*session, error) {
	evicted, err := u.pool.sit(owner)
	if err != nil {
		return nil, err
	}
	if evicted {
		u.config.Logger.InfoContext(r.Context(), "session evicted, its user has opened another one", "request_id", mcpauth.RequestID(r.Context()))
	}
	var in *instance
	rise := func() { u.pool.rise(owner) }
	if u.config.Sessions == PerUser {
		if in, err = u.lease(r, owner); err != nil {
			rise()
		}
	} else {
		in, err = u.create(r.Context(), r, PerSession, rise)
	}
	if err != nil {
		return nil, err
	}
	s := u.pool.newSession(owner, in)
	s.presented.Store(mcpauth.FromContext(r.Context()))
	return s, nil
}

// openedSession ends the request that was to open s.
func (u *Upstream) openedSession(s *session) {
	u.pool.done(s)
	if u.pool.abandon(s) {
		u.pool.closeSession(s) // it could not be connected
	}
}
