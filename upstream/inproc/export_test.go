package inproc

// ID is the SDK's form of an id.
var ID = idOf

// Replay is the store of what streams have sent, for tests.
type Replay struct{ all *replay }

func NewReplay(maxBytes int) Replay { return Replay{newReplay(maxBytes)} }

// SessionReplay is what of one session is kept.
type SessionReplay struct{ of *sessionReplay }

func (r Replay) Session(principal string) SessionReplay {
	return SessionReplay{r.all.session(principal)}
}

func (s SessionReplay) Open(stream string)                      { s.of.open(stream) }
func (s SessionReplay) Append(stream string, data []byte) error { return s.of.append(stream, data) }
func (s SessionReplay) After(stream string, index int) ([][]byte, error) {
	return s.of.after(stream, index)
}
func (s SessionReplay) Deliver(stream string) { s.of.deliver(stream) }
func (s SessionReplay) Close()                { s.of.close() }

// Size returns the bytes that are counted, and those that are really there; -1 for
// the first if those of a user are not counted right.
func (r Replay) Size() (counted, real int) {
	r.all.mu.Lock()
	defer r.all.mu.Unlock()
	for _, share := range r.all.shares {
		of := real
		for _, one := range share.streams.Keys() {
			if one.store.streams[one.stream] == one {
				real += streamOverhead
			}
			for _, event := range one.events {
				real += len(event) + eventOverhead
			}
		}
		if real-of != share.size || r.all.heavy[share.at] != share || share.size > r.all.heavy[0].size {
			return -1, real
		}
	}
	return r.all.size, real
}

// ReplaySize is Size of an Upstream's.
func (u *Upstream) ReplaySize() (counted, real int) { return Replay{u.replay}.Size() }

// Subscriptions counts those of a session, for tests.
type Subscriptions struct{ of subscriptions }

func (s *Subscriptions) Subscribe(uri string) (func(ok bool), error) { return s.of.subscribe(uri) }
func (s *Subscriptions) Unsubscribe(uri string) func(ok bool)        { return s.of.unsubscribe(uri) }
func (s *Subscriptions) Size() int                                   { return s.of.size() }
func (s *Subscriptions) Has(uri string) bool                         { _, known := s.of.uris[uri]; return known }
