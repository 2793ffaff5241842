package inproc

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/envelope"
)

// This file has the Streamable HTTP transport of the protocol versions with
// sessions (MCP 2025-11-25, Transports). A POST brings messages, and what
// answers them goes over the stream that is its response; a GET opens the
// standalone stream, for what the server says by itself, or resumes a stream
// that broke. (The SDK's handler decodes each message several times, which costs
// more than the rest of a call.)

// streamable is the SDK's connection to the client of a session: an
// mcp.Transport and its mcp.Connection.
type streamable struct {
	id       string
	store    *sessionReplay // nil where streams cannot be resumed
	incoming chan jsonrpc.Message
	end      func()        // may be called again
	ended    chan struct{} // closed by end

	mu      sync.Mutex
	streams map[string]*stream     // that go on
	calls   map[jsonrpc.ID]*stream // those that are not answered yet
}

const (
	eventHeader = "Last-Event-Id"
	// oldestVersion is that of clients which do not say.
	oldestVersion = "2025-03-26"
	// unbatchedVersion is the first protocol version without batches.
	unbatchedVersion = "2025-06-18"
	// primedVersion is the first whose streams begin with the id of an event.
	primedVersion = "2025-11-25"
	// maxWaiting bounds the calls of a session that wait for their turn. Those
	// that a server works on are bounded for the user.
	maxWaiting = 100
	// primeDelay is how long that may wait for the first message, which mostly
	// comes at once.
	primeDelay = 10 * time.Millisecond
)

func newStreamable(store *sessionReplay) *streamable {
	c := &streamable{
		id: rand.Text(), store: store,
		incoming: make(chan jsonrpc.Message), ended: make(chan struct{}),
		streams: map[string]*stream{}, calls: map[jsonrpc.ID]*stream{},
	}
	c.streams[""] = &stream{store: store, calls: 1}
	c.end = sync.OnceFunc(func() {
		close(c.ended)
		if store != nil {
			store.close()
		}
	})
	if store != nil {
		store.open("")
	}
	return c
}

// streamKey is for the stream that answers a request, in the context of what it
// asks for.
type streamKey struct{}

// post answers a POST. It reports whether it has opened the session, if that is
// what the POST is for.
func (u *Upstream) post(w http.ResponseWriter, r *http.Request, s *session, messages []envelope.Message, opens bool) (opened bool) {
	c, version := s.streamable, cmp.Or(r.Header.Get(versionHeader), oldestVersion)
	refuse := func(id []byte, message string) {
		envelope.WriteError(w, http.StatusBadRequest, id, envelope.CodeInvalidRequest, message)
	}
	if len(messages) > 1 && version >= unbatchedVersion {
		refuse(nil, "There are no batches in protocol versions from "+unbatchedVersion+" on")
		return false
	}
	decoded := make([]jsonrpc.Message, len(messages))
	answers := &stream{id: rand.Text(), store: c.store}
	for i := range messages {
		m := &messages[i]
		var err error
		if decoded[i], err = decode(m); err != nil {
			refuse(nil, "Malformed message: "+err.Error())
			return false
		}
		request, ok := decoded[i].(*jsonrpc.Request)
		if ok && m.Version != "" && m.Method != "server/discover" {
			refuseVersion(w, request.ID, m.Version)
			return false
		}
		if ok && request.IsCall() {
			answers.calls++
		}
	}
	ctx := r.Context()
	if answers.calls > 0 {
		ctx = context.WithValue(ctx, streamKey{}, answers)
	}
	extra := extraOf(ctx, s.in, r.Header)
	for _, m := range decoded {
		if request, ok := m.(*jsonrpc.Request); ok {
			own := *extra
			if request.IsCall() {
				own.CloseSSEStream = answers.close
			}
			request.Extra = &own
		}
	}
	if answers.calls == 0 {
		for _, m := range decoded {
			if err := c.take(ctx, m); errors.Is(err, errEnded) {
				u.noSession(w, r, err)
				return false
			} else if err != nil {
				return false // the client has left
			}
		}
		w.WriteHeader(http.StatusAccepted)
		return false
	}

	listener := &listener{w: w, polls: version >= primedVersion, left: make(chan struct{})}
	answers.client = listener
	if opens {
		answers.opens = decoded[0].(*jsonrpc.Request).ID
		listener.header = func(answer *jsonrpc.Response) {
			if answer == nil || answer.Error == nil {
				w.Header().Set(sessionHeader, c.id)
			}
		}
	}
	switch taken, err := c.register(answers, decoded, u.config.Limits.CallsPerUser+maxWaiting); {
	case errors.Is(err, errTooManyCalls):
		u.config.Refuse(w, r, &mcpauth.Error{Code: mcpauth.ErrRateLimited, Message: tooManyCalls, Cause: err})
		return false
	case err != nil:
		refuse(messages[taken].ID, "The id of this request is that of another one in progress")
		return false
	}
	defer c.disclaim(answers)
	if c.store != nil {
		c.store.open(answers.id)
		if listener.polls {
			answers.prime()
			defer time.AfterFunc(primeDelay, answers.flush).Stop()
		}
	}
	for _, m := range decoded {
		// However long the request lasts: the client may come back for the
		// answer.
		if c.take(context.WithoutCancel(ctx), m) != nil {
			break
		}
	}
	select {
	case <-listener.left:
		if c.store != nil && ctx.Err() == nil {
			c.store.deliver(answers.id)
		}
	case <-ctx.Done():
	case <-c.ended:
	}
	if silent := answers.release(listener); silent && ctx.Err() == nil {
		u.noSession(w, r, errEnded)
	}
	answers.mu.Lock()
	defer answers.mu.Unlock()
	return answers.opened
}

// refuseVersion answers a request that is, by its "_meta", of a later version.
func refuseVersion(w http.ResponseWriter, id jsonrpc.ID, version string) {
	failure := unsupported(version)
	if n, ok := w.(interface{ Fails(reason string) }); ok {
		n.Fails(failure.Message)
	}
	data, _ := jsonrpc.EncodeMessage(&jsonrpc.Response{ID: id, Error: failure})
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	_, _ = w.Write(data)
}

// take hands m to the server.
func (c *streamable) take(ctx context.Context, m jsonrpc.Message) error {
	select {
	case c.incoming <- m:
		return nil
	case <-c.ended:
		return errEnded
	case <-ctx.Done():
		return ctx.Err()
	}
}

// register notes that s gets the answers to the calls among messages, of which
// there may be so many in progress. If one of them has the id of another call, it
// returns which one, and errIDInUse.
func (c *streamable) register(s *stream, messages []jsonrpc.Message, maximum int) (taken int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.calls)+s.calls > maximum {
		return 0, errTooManyCalls
	}
	var mine []jsonrpc.ID
	for i, m := range messages {
		request, ok := m.(*jsonrpc.Request)
		if !ok || !request.IsCall() {
			continue
		}
		if c.calls[request.ID] != nil {
			for _, id := range mine {
				delete(c.calls, id)
			}
			return i, errIDInUse
		}
		c.calls[request.ID] = s
		mine = append(mine, request.ID)
	}
	c.streams[s.id] = s
	s.claimed = true
	return 0, nil
}

// get answers a GET.
func (u *Upstream) get(w http.ResponseWriter, r *http.Request, s *session) {
	c := s.streamable
	refuse := func(status int, message string) {
		envelope.WriteError(w, status, nil, envelope.CodeInvalidRequest, message)
	}
	id, last := "", -1
	if values := r.Header[eventHeader]; len(values) > 0 {
		var ok bool
		if id, last, ok = parseEventID(values[0]); !ok || len(values) > 1 {
			refuse(http.StatusBadRequest, "Last-Event-ID is not the id of an event")
			return
		}
		if c.store == nil {
			refuse(http.StatusBadRequest, "Streams cannot be resumed here")
			return
		}
	}
	st := c.claim(id)
	if st == nil {
		refuse(http.StatusConflict, "Another connection listens to this stream")
		return
	}
	defer c.disclaim(st)
	listener := &listener{w: w, polls: cmp.Or(r.Header.Get(versionHeader), oldestVersion) >= primedVersion,
		left: make(chan struct{})}
	switch more, err := st.resume(listener, last); {
	case errors.Is(err, mcp.ErrEventsPurged):
		refuse(http.StatusBadRequest, "What came after this event is not kept any more")
		return
	case err == nil && more:
		select {
		case <-listener.left:
		case <-r.Context().Done():
		case <-c.ended:
		}
	}
	st.release(listener)
}

// claim returns the stream of that id for one client to listen to; nil if there is
// one already. disclaim must follow. A stream that is over, of which something may
// have been kept, is there again for as long.
func (c *streamable) claim(id string) *stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[id]
	if s == nil {
		s = &stream{id: id, store: c.store, over: true}
		c.streams[id] = s
	}
	if s.claimed {
		return nil
	}
	s.claimed = true
	return s
}

// uses reports whether calls are not answered yet, and whether the client
// listens to the standalone stream.
func (c *streamable) uses() (calling, listening bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.calls) > 0, c.streams[""].claimed
}

func (c *streamable) disclaim(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.claimed = false
	if s.over {
		delete(c.streams, s.id)
	}
}

// parseEventID parses the id of an event: that of its stream, and its index.
func parseEventID(text string) (stream string, index int, ok bool) {
	stream, number, ok := strings.Cut(text, "_")
	index, err := strconv.Atoi(number)
	return stream, index, ok && err == nil && index >= 0
}

// resume has l listen, and sends it what came after the event of that index, or,
// for -1, all that is left. more reports that there may be more to come.
func (s *stream) resume(l *listener, last int) (more bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var missed [][]byte
	if s.store != nil {
		if missed, err = s.store.after(s.id, last); err != nil {
			return false, err
		}
	}
	s.client = l
	s.next = last + 1
	// Something has to be sent now: some proxies keep the header back until
	// then. Clients ignore what begins with a colon.
	err = l.write(nil, []byte(": ok\n\n"), len(missed) == 0)
	for i, data := range missed {
		if data != nil && err == nil {
			err = l.write(nil, s.event("message", s.next, data), i == len(missed)-1)
		}
		s.next++
	}
	return s.calls > 0, err
}

// decode returns the SDK's form of m, of which the gateway has read what it
// needs.
func decode(m *envelope.Message) (jsonrpc.Message, error) {
	if !m.JSONRPC {
		return nil, errors.New(`"jsonrpc" is not "2.0"`)
	}
	if m.Method == "" {
		return jsonrpc.DecodeMessage(m.Raw)
	}
	id, err := idOf(m.ID)
	if err != nil {
		return nil, err
	}
	return &jsonrpc.Request{ID: id, Method: m.Method, Params: m.Params}, nil
}

var errID = errors.New(`"id" is neither a string nor an integer of at most 2^53`)

// idOf returns the SDK's form of an id, which takes integers as floating point.
func idOf(sent []byte) (jsonrpc.ID, error) {
	const exact = 1 << 53
	switch {
	case sent == nil:
		return jsonrpc.ID{}, nil
	case sent[0] == '"':
		var text string
		if err := json.Unmarshal(sent, &text); err != nil {
			return jsonrpc.ID{}, errID
		}
		return jsonrpc.MakeID(text)
	}
	n, err := strconv.ParseInt(string(sent), 10, 64)
	if err != nil || n > exact || n < -exact {
		return jsonrpc.ID{}, errID
	}
	return jsonrpc.MakeID(float64(n))
}

// Connect implements mcp.Transport.
func (c *streamable) Connect(context.Context) (mcp.Connection, error) { return c, nil }

// SupportsProtocolVersion implements mcp.ProtocolVersionSupporter.
func (c *streamable) SupportsProtocolVersion(version string) bool {
	return slices.Contains(legacyVersions, version)
}

// SessionID implements mcp.Connection.
func (c *streamable) SessionID() string { return c.id }

// Read implements mcp.Connection.
func (c *streamable) Read(ctx context.Context) (jsonrpc.Message, error) {
	select {
	case m := <-c.incoming:
		return m, nil
	case <-c.ended:
		return nil, io.EOF
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Write implements mcp.Connection. An answer goes to the stream of its call, and
// so does what is said in the course of one, as long as that is not answered;
// all else goes to the standalone stream. A request that reaches nobody is
// answered here, with an error, as nobody else would.
func (c *streamable) Write(ctx context.Context, m jsonrpc.Message) error {
	data, err := jsonrpc.EncodeMessage(m)
	if err != nil {
		return err
	}
	answer, _ := m.(*jsonrpc.Response)
	reached := false
	request, _ := m.(*jsonrpc.Request)
	// A ping asks who is there now. Kept for later, it would end the session.
	ping := request != nil && request.Method == "ping"
	if to := c.streamOf(ctx, answer); to != nil && !(ping && !to.heard()) {
		var over bool
		if reached, over = to.send(data, answer); over {
			c.finish(to)
		}
	}
	if request != nil && request.IsCall() && !reached {
		return c.take(ctx, &jsonrpc.Response{ID: request.ID, Error: errNobody})
	}
	return nil
}

// errNobody has the code by which the SDK ends its keep-alive, instead of the
// session.
var errNobody = &jsonrpc.Error{Code: envelope.CodeMethodNotFound, Message: "the client does not listen for requests"}

// finish forgets a stream whose calls are all answered, once nobody listens to it
// any more.
func (c *streamable) finish(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.over = true
	if !s.claimed {
		delete(c.streams, s.id)
	}
}

// streamOf returns where a message goes, which may be an answer; nil for
// nowhere.
func (c *streamable) streamOf(ctx context.Context, answer *jsonrpc.Response) *stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	if answer != nil {
		// The client may use the id again as soon as it has the answer.
		to := c.calls[answer.ID]
		delete(c.calls, answer.ID)
		return to
	}
	of, ok := ctx.Value(streamKey{}).(*stream)
	switch {
	case !ok:
		return c.streams[""]
	case c.streams[of.id] == of && !of.over:
		return of
	}
	return nil // all is answered
}

// Close implements mcp.Connection.
func (c *streamable) Close() error {
	c.end()
	return nil
}
