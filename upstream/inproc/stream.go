package inproc

import (
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// stream is what goes back over the response to one request: what answers a
// POST, or what a server says by itself. When the connection breaks, another
// one may go on with it.
type stream struct {
	id    string // "" for the standalone stream of a session, which is never over
	opens jsonrpc.ID
	store *sessionReplay // nil where nothing is kept

	// The mutex of the connection guards these.
	claimed bool // somebody listens, or is about to
	over    bool // all calls are answered

	mu     sync.Mutex
	calls  int       // not answered yet
	next   int       // index of the next event
	client *listener // nil while nobody listens
	opened bool      // the call opens has been answered with a result
}

// listener is one who listens to a stream. The mutex of the stream guards it.
type listener struct {
	w      http.ResponseWriter
	header func(answer *jsonrpc.Response) // called before anything is written; may be nil
	begun  bool                           // something has been written
	first  []byte                         // what is written before the first event
	polls  bool                           // knows how to come back when told to
	left   chan struct{}                  // closed when there is nothing more for it
}

func streamHeader(h http.Header) {
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no") // a proxy that collects events would hold them back
}

// write writes to the client, now if flush says so.
func (l *listener) write(answer *jsonrpc.Response, data []byte, flush bool) error {
	if answer != nil && answer.Error != nil {
		fails(l.w, answer.Error)
	}
	if !l.begun {
		l.begun = true
		streamHeader(l.w.Header())
		if l.header != nil {
			l.header(answer)
		}
	}
	if l.first != nil {
		data = append(l.first, data...)
		l.first = nil
	}
	_, err := l.w.Write(data)
	if err == nil && flush {
		err = http.NewResponseController(l.w).Flush()
	}
	return err
}

// event returns an event of the stream in the form of server-sent events. data
// is JSON on one line.
func (s *stream) event(name string, index int, data []byte) []byte {
	event := make([]byte, 0, len(data)+len(s.id)+64)
	event = append(event, "event: "...)
	event = append(event, name...)
	if s.store != nil {
		event = append(event, "\nid: "...)
		event = append(event, s.id...)
		event = append(event, '_')
		event = strconv.AppendInt(event, int64(index), 10)
	}
	event = append(event, "\ndata: "...)
	event = append(event, data...)
	return append(event, "\n\n"...)
}

// prime has the first thing that the client gets be the id of an event, to come
// back to.
func (s *stream) prime() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil {
		return
	}
	_ = s.store.append(s.id, nil)
	s.client.first = s.event("prime", 0, nil)
	s.next = 1
}

// send sends a message, which may be the answer to a call, or keeps it for who
// resumes the stream. reached reports that it has done either, over that all
// calls are answered now.
func (s *stream) send(data []byte, answer *jsonrpc.Response) (reached, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.store != nil {
		reached = s.store.append(s.id, data) == nil
	}
	index := s.next
	s.next++
	if answer != nil {
		s.calls--
		over = s.calls == 0
		s.opened = s.opened || answer.ID == s.opens && answer.Error == nil
	}
	if s.client == nil {
		return reached, over
	}
	// The end of the response flushes what is last.
	if err := s.client.write(answer, s.event("message", index, data), !over); err == nil {
		reached = true
	}
	if over {
		s.dismiss()
	}
	return reached, over
}

// fails says for the log that a call has been answered with an error, unless it is
// known why.
func fails(w http.ResponseWriter, err error) {
	var e *jsonrpc.Error
	if n, ok := w.(interface{ Fails(reason string) }); ok && errors.As(err, &e) {
		n.Fails(answeredWith(e))
	}
}

// refuse answers the one call of a stream with an error and a status, unless
// something has been written before, or nobody listens.
func (s *stream) refuse(status int, answer error, data []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil || s.client.begun {
		return false
	}
	fails(s.client.w, answer)
	s.client.begun = true
	s.client.w.Header().Set("Content-Type", "application/json")
	s.client.w.WriteHeader(status)
	_, _ = s.client.w.Write(data)
	s.dismiss()
	return true
}

// heard reports whether a client listens now.
func (s *stream) heard() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.client != nil
}

// flush writes what the client is to have in any case.
func (s *stream) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil && s.client.first != nil {
		_ = s.client.write(nil, nil, true)
	}
}

// dismiss tells the client's request that it may end.
func (s *stream) dismiss() {
	close(s.client.left)
	s.client = nil
}

// close ends the client's request, and tells it when to come back. It is
// mcp.RequestExtra.CloseSSEStream.
func (s *stream) close(args mcp.CloseSSEStreamArgs) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil {
		return
	}
	if s.client.polls && args.RetryAfter > 0 {
		event := "event: close\nretry: " + strconv.FormatInt(args.RetryAfter.Milliseconds(), 10) + "\ndata: \n\n"
		_ = s.client.write(nil, []byte(event), false)
	}
	s.dismiss()
}

// hurry ends what is being written to a client that does not read it. One that
// does has the time to.
func hurry(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Second))
}

// release ends the listening of l. Nothing is written to it from then on.
// silent reports that nothing has been written at all.
func (s *stream) release(l *listener) (silent bool) {
	if !s.mu.TryLock() {
		select {
		case <-l.left:
		default:
			hurry(l.w)
		}
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	if s.client == l {
		s.client = nil
	}
	return !l.begun
}
