package inproc

import "github.com/modelcontextprotocol/go-sdk/mcp"

// Replay is the store of what streams have sent, for tests.
type Replay struct{ all *replay }

func NewReplay(maxBytes int) Replay { return Replay{newReplay(maxBytes)} }

func (r Replay) Session() mcp.EventStore { return r.all.session() }

// Size returns the bytes that are counted, and those that are really there.
func (r Replay) Size() (counted, real int) {
	r.all.mu.Lock()
	defer r.all.mu.Unlock()
	for _, one := range r.all.streams.Keys() {
		if one.store.streams[one.stream] == one {
			real += streamOverhead
		}
		for _, event := range one.events {
			real += len(event) + eventOverhead
		}
	}
	return r.all.size, real
}

// ReplaySize is Size of an Upstream's.
func (u *Upstream) ReplaySize() (counted, real int) { return Replay{u.replay}.Size() }

// Delivered notes that the client has stayed with a stream of session, a
// Replay's, to its end.
func Delivered(session mcp.EventStore, stream string) { session.(*sessionReplay).deliver(stream) }
