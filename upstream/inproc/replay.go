package inproc

import (
	"context"
	"iter"
	"slices"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// replay keeps what the streams of all sessions have sent lately, so that a
// client whose connection broke can resume (MCP 2025-11-25, Streamable HTTP,
// resumability). It is bounded in bytes as a whole: what is least recent goes
// first. (The SDK's own store keeps an entry for each request that a session
// has ever made.)
type replay struct {
	mu      sync.Mutex
	max     int
	size    int
	streams *simplelru.LRU[*sent, struct{}]
}

// sent is what one stream has sent.
type sent struct {
	store  *sessionReplay
	stream string
	first  int // index of the first event that is kept
	events [][]byte
	size   int
}

const (
	streamOverhead = 300 // bytes that a stream takes without its events
	eventOverhead  = 40
)

func newReplay(maxBytes int) *replay {
	r := &replay{max: maxBytes}
	r.streams, _ = simplelru.NewLRU(max(1, maxBytes/streamOverhead), func(s *sent, _ struct{}) {
		r.size -= s.size
		delete(s.store.streams, s.stream)
	})
	return r
}

// session returns the store of one session. Each has its own, so that no
// session can ask for what another has sent, whatever its id.
func (r *replay) session() mcp.EventStore {
	if r.max == 0 {
		return nil
	}
	return &sessionReplay{all: r, streams: map[string]*sent{}}
}

// sessionReplay implements mcp.EventStore. The mutex of all guards it.
type sessionReplay struct {
	all     *replay
	streams map[string]*sent
	closed  bool
}

func (s *sessionReplay) Open(_ context.Context, _, stream string) error {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	if s.closed || s.streams[stream] != nil {
		return nil
	}
	one := &sent{store: s, stream: stream}
	s.streams[stream] = one
	s.grow(one, streamOverhead)
	return nil
}

func (s *sessionReplay) Append(_ context.Context, _, stream string, data []byte) error {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	one := s.streams[stream]
	if one == nil {
		return nil // let go of earlier, as a whole: its events could not be counted any more
	}
	one.events = append(one.events, data)
	s.grow(one, len(data)+eventOverhead)
	// One stream may have a quarter of all; it lets go of its own first.
	for one.size > s.all.max/4 && len(one.events) > 0 {
		s.grow(one, -len(one.events[0])-eventOverhead)
		one.events[0] = nil
		one.events = one.events[1:]
		one.first++
	}
	return nil
}

// grow counts bytes more of one, which is the most recent of all then, and
// makes room for them.
func (s *sessionReplay) grow(one *sent, bytes int) {
	one.size += bytes
	s.all.size += bytes
	s.all.streams.Add(one, struct{}{})
	for s.all.size > s.all.max {
		s.all.streams.RemoveOldest()
	}
}

func (s *sessionReplay) After(_ context.Context, _, stream string, index int) iter.Seq2[[]byte, error] {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	one := s.streams[stream]
	var events [][]byte
	var err error
	switch {
	case index < 0: // a stream that is opened anew: what is left will do
		if one != nil {
			events = slices.Clone(one.events)
		}
	case one == nil || index+1 < one.first:
		err = mcp.ErrEventsPurged
	default:
		events = slices.Clone(one.events[min(index+1-one.first, len(one.events)):])
	}
	return func(yield func([]byte, error) bool) {
		if err != nil {
			yield(nil, err)
			return
		}
		for _, event := range events {
			if !yield(event, nil) {
				return
			}
		}
	}
}

func (s *sessionReplay) SessionClosed(context.Context, string) error {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	for _, one := range s.streams {
		s.all.streams.Remove(one)
	}
	s.closed = true
	return nil
}
