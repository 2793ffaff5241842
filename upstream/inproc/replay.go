package inproc

import (
	"container/heap"
	"slices"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// replay keeps what the streams of all sessions have sent lately, so that a
// client whose connection broke can resume (MCP 2025-11-25, Streamable HTTP,
// resumability). It is bounded in bytes as a whole: of the user who has most of it,
// what is least recent goes first, so that nobody pushes out what others may need.
// (The SDK's own store keeps an entry for each request that a session has ever
// made.)
type replay struct {
	mu     sync.Mutex
	max    int
	size   int
	shares map[string]*share // by principal
	heavy  shares
}

// share is what of one user is kept.
type share struct {
	principal string
	sessions  int // open
	size      int
	at        int // in replay.heavy
	streams   *simplelru.LRU[*sent, struct{}]
}

// shares is a heap with the largest in front.
type shares []*share

func (h shares) Len() int           { return len(h) }
func (h shares) Less(i, j int) bool { return h[i].size > h[j].size }
func (h shares) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

func (h *shares) Push(one any) {
	s := one.(*share)
	s.at = len(*h)
	*h = append(*h, s)
}

func (h *shares) Pop() any {
	last := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = nil
	*h = (*h)[:len(*h)-1]
	return last
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

func newReplay(maxBytes int) *replay { return &replay{max: maxBytes, shares: map[string]*share{}} }

// session returns the store of one session of principal. Each has its own, so that
// no session can ask for what another has sent, whatever its id. close must follow.
func (r *replay) session(principal string) *sessionReplay {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := r.shares[principal]
	if of == nil {
		of = &share{principal: principal}
		of.streams, _ = simplelru.NewLRU(max(1, r.max/streamOverhead), func(s *sent, _ struct{}) {
			r.grow(s, -s.size)
			delete(s.store.streams, s.stream)
		})
		r.shares[principal] = of
		heap.Push(&r.heavy, of)
	}
	of.sessions++
	return &sessionReplay{all: r, share: of, streams: map[string]*sent{}}
}

// sessionReplay is what of one session is kept. The mutex of all guards it.
type sessionReplay struct {
	all       *replay
	share     *share
	streams   map[string]*sent
	delivered []string // ids of streams that clients stayed with to the end, the oldest first
	closed    bool
}

// keptDelivered is how many streams a session keeps although its client stayed
// with them to the end: what was sent last may be lost on the way.
const keptDelivered = 16

// deliver notes that the client has stayed with a stream to its end.
func (s *sessionReplay) deliver(stream string) {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	if s.closed {
		return
	}
	if s.delivered = append(s.delivered, stream); len(s.delivered) > keptDelivered {
		if oldest := s.streams[s.delivered[0]]; oldest != nil {
			s.share.streams.Remove(oldest)
		}
		s.delivered = append(s.delivered[:0], s.delivered[1:]...)
	}
}

// open begins a stream, unless it is there.
func (s *sessionReplay) open(stream string) {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	if !s.closed && s.streams[stream] == nil {
		s.begin(stream)
	}
}

func (s *sessionReplay) begin(stream string) {
	one := &sent{store: s, stream: stream}
	s.streams[stream] = one
	s.all.grow(one, streamOverhead)
	s.all.keep(one)
}

// append adds an event to a stream. The error, mcp.ErrEventsPurged, says that it
// could not be kept.
func (s *sessionReplay) append(stream string, data []byte) error {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	one := s.streams[stream]
	if one == nil {
		// Let go of earlier, as a whole: its events could not be counted any
		// more.
		return mcp.ErrEventsPurged
	}
	one.events = append(one.events, data)
	s.all.grow(one, len(data)+eventOverhead)
	// One stream may have a quarter of all; it lets go of its own first.
	for one.size > s.all.max/4 && len(one.events) > 0 {
		s.all.grow(one, -len(one.events[0])-eventOverhead)
		one.events[0] = nil
		one.events = one.events[1:]
		one.first++
	}
	s.all.keep(one)
	if len(one.events) == 0 {
		return mcp.ErrEventsPurged // too much by itself
	}
	return nil
}

// grow counts bytes more of one. keep must follow.
func (r *replay) grow(one *sent, bytes int) {
	one.size += bytes
	one.store.share.size += bytes
	r.size += bytes
	heap.Fix(&r.heavy, one.store.share.at)
}

// keep makes one the most recent of its user's, and room for it.
func (r *replay) keep(one *sent) {
	own := one.store.share
	own.streams.Add(one, struct{}{})
	for r.size > r.max {
		of := r.heavy[0]
		if of == own && own.streams.Len() == 1 {
			of = r.second(own)
		}
		of.streams.RemoveOldest()
	}
}

// second returns the largest share but own, which is the largest, or own where no
// other has anything.
func (r *replay) second(own *share) *share {
	found := own
	for _, other := range r.heavy[1:min(3, len(r.heavy))] { // below the front of the heap
		if other.size > 0 && (found == own || other.size > found.size) {
			found = other
		}
	}
	return found
}

// after returns the events of a stream that follow that of an index. For -1, it
// begins the stream anew, with what is left of it as its first events.
func (s *sessionReplay) after(stream string, index int) ([][]byte, error) {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	one := s.streams[stream]
	switch {
	case index < 0 && one != nil:
		one.first = 0
		return slices.Clone(one.events), nil
	case index < 0:
		if !s.closed {
			s.begin(stream)
		}
		return nil, nil
	case one == nil || index+1 < one.first || index+1-one.first > len(one.events):
		return nil, mcp.ErrEventsPurged // or never sent: further events could not be counted
	}
	return slices.Clone(one.events[index+1-one.first:]), nil
}

// close lets go of all.
func (s *sessionReplay) close() {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	for _, one := range s.streams {
		s.share.streams.Remove(one)
	}
	if s.closed {
		return
	}
	s.closed = true
	if s.share.sessions--; s.share.sessions == 0 {
		heap.Remove(&s.all.heavy, s.share.at)
		delete(s.all.shares, s.share.principal)
	}
}
