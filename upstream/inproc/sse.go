package inproc

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/envelope"
	"github.com/mcpauth-go/mcpauth/internal/sdk"
)

// This file has the HTTP+SSE transport of protocol version 2024-11-05: a GET
// opens a stream, which first names the URL for POSTs; a POST brings one
// message, and what answers it goes over the stream. The stream is the session.
// (The SDK's SSEHandler would take anybody's POST to a stream, and does not tell
// a tool whose request it serves.)

// sessionParam is the query parameter that has the session's id.
const sessionParam = "sessionId"

// sseKey is what the pool knows a session of that id by: no id in a header has
// a NUL byte, so that neither transport reaches the sessions of the other.
func sseKey(id string) string { return "sse\x00" + id }

// maxSSECalls bounds the calls of one session that are not answered yet: unlike
// those over the later transport, they do not keep a connection each.
const maxSSECalls = 100

// OpenSSE answers the GET that opens a stream. Its context has what Serve asks
// for. When that ends with a cause other than context.Canceled, which stands
// for the client, or the end of the credential, calls in progress are answered before the
// stream ends.
// endpoint is the path that messages are to be sent to.
func (u *Upstream) OpenSSE(w http.ResponseWriter, r *http.Request, endpoint string) {
	id := mcpauth.FromContext(r.Context())
	if id == nil {
		u.config.Refuse(w, r, errUnverified)
		return
	}
	u.serveUser(w, r, id, true, func(w http.ResponseWriter, r *http.Request, owner *user) {
		s, err := u.newSession(r, owner)
		if err != nil {
			u.config.Refuse(w, r, err)
			return
		}
		defer u.openedSession(s)
		s.sse = newSSE()
		handler := func(w http.ResponseWriter, r *http.Request) { u.streamSSE(w, r, s, endpoint) }
		u.serve(handler, w, r, &serving{in: s.in}, &s.entitlement, true)
	})
}

var errUnverified = errors.New("inproc: a request without a verified user, or unread")

// streamSSE serves s until its stream ends.
func (u *Upstream) streamSSE(w http.ResponseWriter, r *http.Request, s *session, endpoint string) {
	defer s.sse.leave(w)
	if err := u.connect(r.Context(), s, s.sse, sseKey(s.sse.id)); err != nil {
		u.config.Refuse(w, r, err)
		return
	}
	if s.sse.begin(w, endpoint) != nil {
		return // the client has left
	}
	select {
	case <-s.sse.ended:
		return
	case <-r.Context().Done():
	}
	if !errors.Is(context.Cause(r.Context()), context.Canceled) && Ended(r.Context()) == nil {
		s.sse.finish(u.config.CallTimeout)
	}
}

// PostSSE answers a POST, which brings the one message in messages. Its context
// has what Serve asks for. A message that is refused already gets failure as its
// answer: over the stream, where clients wait for it.
func (u *Upstream) PostSSE(w http.ResponseWriter, r *http.Request, messages []envelope.Message, failure *jsonrpc.Error) {
	id := mcpauth.FromContext(r.Context())
	if id == nil || len(messages) == 0 {
		u.config.Refuse(w, r, errUnverified)
		return
	}
	switch m := &messages[0]; {
	case failure != nil:
	case m.Version >= modernVersion:
		failure = unsupported(m.Version)
	case m.Method == methodListen:
		failure = &jsonrpc.Error{Code: envelope.CodeMethodNotFound, Message: methodListen + " is a method of " + modernVersion + " and later"}
	}
	u.serveUser(w, r, id, false, func(w http.ResponseWriter, r *http.Request, owner *user) {
		s := u.sessionOf(w, r, sseKey(r.URL.Query().Get(sessionParam)), owner)
		if s == nil {
			return
		}
		defer u.pool.done(s)
		handler := func(w http.ResponseWriter, r *http.Request) { u.takeSSE(w, r, s, failure) }
		u.serve(handler, w, r, &serving{in: s.in, subscriptions: &s.subscriptions}, &s.entitlement, false)
	})
}

// unsupported is what tells a client of a later version to try an earlier one.
func unsupported(version string) *jsonrpc.Error {
	data, _ := json.Marshal(mcp.UnsupportedProtocolVersionData{Supported: legacyVersions, Requested: version})
	return &jsonrpc.Error{Code: mcp.CodeUnsupportedProtocolVersion, Message: "sessions are for protocol versions before " + modernVersion, Data: data}
}

// takeSSE hands the message in r to the server of s.
func (u *Upstream) takeSSE(w http.ResponseWriter, r *http.Request, s *session, failure *jsonrpc.Error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		envelope.WriteError(w, http.StatusBadRequest, nil, envelope.CodeParse, "The request body could not be read")
		return
	}
	m, err := jsonrpc.DecodeMessage(body)
	if err != nil { // a batch, too
		envelope.WriteError(w, http.StatusBadRequest, nil, envelope.CodeInvalidRequest, "Malformed message: the body must be one JSON-RPC message")
		return
	}
	if request, ok := m.(*jsonrpc.Request); ok {
		request.Extra = extraOf(r.Context(), s.in, r.Header)
	}
	switch err := s.sse.take(r.Context(), m, failure); {
	case err == nil:
		w.WriteHeader(http.StatusAccepted)
	case errors.Is(err, errIDInUse):
		envelope.WriteError(w, http.StatusBadRequest, nil, envelope.CodeInvalidRequest, "The id of this request is that of another one in progress")
	case errors.Is(err, errTooManyCalls):
		u.config.Refuse(w, r, &mcpauth.Error{Code: mcpauth.ErrRateLimited, Message: "Too many calls at the same time. Please wait for answers first.", Cause: err})
	default:
		u.noSession(w, r, err)
	}
}

// extraOf returns what tells handlers whose request they serve, and has the
// values of its context with it.
func extraOf(ctx context.Context, in *instance, header http.Header) *mcp.RequestExtra {
	return &mcp.RequestExtra{TokenInfo: sdk.WithRequest(ctx, in.tell(mcpauth.FromContext(ctx))), Header: header}
}

// sse is the SDK's connection to the client of a session: an mcp.Transport and
// its mcp.Connection.
type sse struct {
	id       string
	incoming chan jsonrpc.Message
	end      func()        // may be called again
	ended    chan struct{} // closed by end
	calls    calls
	last     atomic.Bool // what is in progress is answered, and then it ends

	// writing is locked until the stream begins. leave locks it again after
	// end: from when its handler returns, w must not be written to any more.
	writing sync.Mutex
	w       http.ResponseWriter
}

func newSSE() *sse {
	c := &sse{id: rand.Text(), incoming: make(chan jsonrpc.Message), ended: make(chan struct{})}
	c.end = sync.OnceFunc(func() { close(c.ended) })
	c.writing.Lock()
	return c
}

// begin begins the stream: by naming the endpoint, whatever the server has to
// say already.
func (c *sse) begin(w http.ResponseWriter, endpoint string) error {
	streamHeader(w.Header())
	c.w = w
	c.writing.Unlock()
	return c.send("endpoint", []byte(endpoint+"?"+url.Values{sessionParam: {c.id}}.Encode()))
}

// leave ends the stream. Nothing is written to w from then on.
func (c *sse) leave(w http.ResponseWriter) {
	c.end()
	if c.w != nil && !c.writing.TryLock() {
		hurry(w)
		c.writing.Lock()
	}
	c.writing.Unlock() // what waited sees that it has ended
}

// finish has the calls in progress answered, and nothing else any more.
func (c *sse) finish(timeout time.Duration) {
	c.last.Store(true)
	late := time.NewTimer(timeout)
	defer late.Stop()
	select {
	case <-c.calls.none():
	case <-c.ended:
	case <-late.C:
	}
}

var errEnded = errors.New("inproc: the stream of this session has ended")

// take hands m to the server, or answers it with failure.
func (c *sse) take(ctx context.Context, m jsonrpc.Message, failure *jsonrpc.Error) error {
	request, _ := m.(*jsonrpc.Request)
	call := request != nil && request.IsCall()
	if call && c.last.Load() {
		return errEnded
	}
	if failure != nil {
		if !call {
			return nil
		}
		return c.Write(ctx, &jsonrpc.Response{ID: request.ID, Error: failure})
	}
	if call {
		if err := c.calls.begin(request.ID, maxSSECalls); err != nil {
			return err
		}
	}
	var err error
	select {
	case c.incoming <- m:
		return nil
	case <-c.ended:
		err = errEnded
	case <-ctx.Done():
		err = ctx.Err()
	}
	if call {
		c.calls.answered(request.ID)
		c.calls.written()
	}
	return err
}

// Connect implements mcp.Transport.
func (c *sse) Connect(context.Context) (mcp.Connection, error) { return c, nil }

// SupportsProtocolVersion implements mcp.ProtocolVersionSupporter.
func (c *sse) SupportsProtocolVersion(version string) bool { return version < modernVersion }

// SessionID implements mcp.Connection.
func (c *sse) SessionID() string { return c.id }

// Read implements mcp.Connection.
func (c *sse) Read(ctx context.Context) (jsonrpc.Message, error) {
	select {
	case m := <-c.incoming:
		return m, nil
	case <-c.ended:
		return nil, io.EOF
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Write implements mcp.Connection. It waits for a client that does not read for
// as long as the gateway lets it; nothing else waits for it but what writes to
// the same client.
func (c *sse) Write(ctx context.Context, m jsonrpc.Message) error {
	switch m := m.(type) {
	case *jsonrpc.Response:
		// The client may use the id again as soon as it has the answer.
		c.calls.answered(m.ID)
		defer c.calls.written()
	case *jsonrpc.Request:
		if !m.IsCall() && c.last.Load() {
			return nil
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	data, err := jsonrpc.EncodeMessage(m)
	if err != nil {
		return err
	}
	return c.send("message", data)
}

func (c *sse) send(event string, data []byte) error {
	// Between the tokens of JSON, where alone they can be, line breaks mean
	// nothing; in an event they would end a line.
	for _, end := range []byte("\r\n") {
		if bytes.IndexByte(data, end) >= 0 {
			data = bytes.ReplaceAll(data, []byte{end}, []byte{' '})
		}
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	select {
	case <-c.ended:
		return io.EOF
	default:
	}
	_, err := fmt.Fprintf(c.w, "event: %s\ndata: %s\n\n", event, data)
	if err == nil {
		err = http.NewResponseController(c.w).Flush()
	}
	if err != nil {
		c.end()
	}
	return err
}

// Close implements mcp.Connection.
func (c *sse) Close() error {
	c.end()
	return nil
}

// calls are those that came over a connection and are not answered yet. Its
// zero value is ready to use.
type calls struct {
	mu      sync.Mutex
	open    map[jsonrpc.ID]struct{}
	leaving int           // that have an answer, which is not written yet
	empty   chan struct{} // made by none
}

var (
	errIDInUse      = errors.New("inproc: the id of a request in progress")
	errTooManyCalls = errors.New("inproc: too many calls in progress on one session")
)

// begin notes a call, unless there are maximum of them.
func (c *calls) begin(id jsonrpc.ID, maximum int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.open[id]; ok {
		return errIDInUse
	}
	if len(c.open)+c.leaving >= maximum {
		return errTooManyCalls
	}
	if c.open == nil {
		c.open = map[jsonrpc.ID]struct{}{}
	}
	c.open[id] = struct{}{}
	return nil
}

// answered frees the id of a call, whose answer is written next: written must
// follow.
func (c *calls) answered(id jsonrpc.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, id)
	c.leaving++
}

// written notes that the answer of a call has been written.
func (c *calls) written() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaving--
	c.settle()
}

func (c *calls) settle() {
	if len(c.open)+c.leaving == 0 && c.empty != nil {
		close(c.empty)
		c.empty = nil
	}
}

// none returns a channel that is closed when no call is open. It is called once.
func (c *calls) none() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	empty := make(chan struct{})
	c.empty = empty
	c.settle()
	return empty
}
