package sdkauth

import (
	"runtime"
	"sync"
	"weak"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// sessions remembers which principal opened each session, for as long as the
// session exists. It is safe for concurrent use.
type sessions struct {
	mu   sync.Mutex
	byID map[string]owned
}

type owned struct {
	session   weak.Pointer[mcp.ServerSession]
	principal string
}

// bind records that session belongs to principal. Sessions without an id cannot be
// used again and are not recorded.
func (s *sessions) bind(session *mcp.ServerSession, principal string) {
	id := session.ID()
	if id == "" {
		return
	}
	one := owned{weak.Make(session), principal}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID[id] == one {
		return
	}
	if s.byID == nil {
		s.byID = map[string]owned{}
	}
	s.byID[id] = one
	runtime.AddCleanup(session, func(id string) { s.forget(id, one) }, id)
}

// has reports whether principal has a session of that id.
func (s *sessions) has(id, principal string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.byID[id]
	return ok && one.principal == principal
}

// forget removes a session that no longer exists. Its id may belong to a newer one.
func (s *sessions) forget(id string, one owned) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID[id] == one {
		delete(s.byID, id)
	}
}
