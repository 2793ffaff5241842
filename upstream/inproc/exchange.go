package inproc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/envelope"
)

// This file has the Streamable HTTP transport of the protocol without sessions
// (MCP 2026-07-28), for requests as clients mostly send them: one call, with
// headers that say the same. All else, and what is wrong, goes to the SDK's own
// handler, which answers as the specification says. (It decodes each message
// several times, and encodes and decodes the schema of a tool with each call of
// it, which together costs more than the call.)

// exchange is the SDK's connection to the client of one request: an
// mcp.Transport and its mcp.Connection.
type exchange struct {
	cause    func() error // why the request has ended; nil while it has not
	answers  *stream
	incoming chan jsonrpc.Message
	end      func()        // may be called again
	ended    chan struct{} // closed by end
}

// Whether the headers of a request for this method have to say more than which
// it is.
var plainMethods = map[string]struct{ named bool }{
	"tools/call": {true}, "tools/list": {}, "prompts/get": {true}, "prompts/list": {}, "completion/complete": {},
	"resources/read": {true}, "resources/list": {}, "resources/templates/list": {}, "server/discover": {},
}

// plain reports whether a request can be served by an exchange. Its headers have
// been compared with its body, as far as they are there.
func (in *instance) plain(r *http.Request, messages []envelope.Message) bool {
	m := &messages[0]
	method, known := plainMethods[m.Method]
	for name := range r.Header {
		if strings.HasPrefix(name, "Mcp-Param-") {
			return false // whatever the tool was when it was listed
		}
	}
	return known && len(messages) == 1 && m.JSONRPC && m.HasID() && m.Version == modernVersion && r.Header.Get(versionHeader) == modernVersion &&
		r.Header["Mcp-Method"] != nil && (!method.named || r.Header["Mcp-Name"] != nil) &&
		(m.Method != "tools/call" || in.tools.plain(m.Name))
}

// exchange answers a request that is plain.
func (u *Upstream) exchange(w http.ResponseWriter, r *http.Request, in *instance, m *envelope.Message) {
	id, err := idOf(m.ID)
	if err != nil {
		envelope.WriteError(w, http.StatusBadRequest, nil, envelope.CodeInvalidRequest, "Malformed message: "+err.Error())
		return
	}
	listener := &listener{w: w, left: make(chan struct{})}
	c := &exchange{answers: &stream{calls: 1, client: listener}, incoming: make(chan jsonrpc.Message, 1), ended: make(chan struct{})}
	c.end = sync.OnceFunc(func() { close(c.ended) })
	ctx := context.WithValue(r.Context(), streamKey{}, c.answers)
	c.cause = func() error { return context.Cause(ctx) }
	c.incoming <- &jsonrpc.Request{ID: id, Method: m.Method, Params: m.Params,
		Extra: &mcp.RequestExtra{TokenInfo: in.tell(mcpauth.FromContext(ctx)), Header: r.Header}}
	bound, err := in.made.Server.Connect(ctx, c, nil)
	if err != nil {
		u.config.Refuse(w, r, err)
		return
	}
	select {
	case <-listener.left:
	case <-ctx.Done():
	case <-c.ended: // by the SDK, with nothing to say
	}
	if silent := c.answers.release(listener); silent && ctx.Err() == nil {
		u.config.Refuse(w, r, errEnded)
	}
	c.end()
	bound.Close()
}

// Connect implements mcp.Transport.
func (c *exchange) Connect(context.Context) (mcp.Connection, error) { return c, nil }

// SessionID implements mcp.Connection.
func (c *exchange) SessionID() string { return "" }

// Read implements mcp.Connection. That it fails is what cancels the call when
// its client has left, or its credential has been revoked.
func (c *exchange) Read(context.Context) (jsonrpc.Message, error) {
	select {
	case m := <-c.incoming:
		return m, nil
	case <-c.ended:
	}
	if cause := c.cause(); cause != nil {
		return nil, cause
	}
	return nil, io.EOF
}

// Write implements mcp.Connection. Only what is said in the course of the call
// goes to its client. There are no requests to clients in this protocol.
func (c *exchange) Write(ctx context.Context, m jsonrpc.Message) error {
	switch m := m.(type) {
	case *jsonrpc.Response:
		data, err := jsonrpc.EncodeMessage(m)
		if err != nil {
			return err
		}
		if status := statusOf(m.Error); status == 0 || !c.answers.refuse(status, m.Error, data) {
			c.answers.send(data, m)
		}
	case *jsonrpc.Request:
		if m.IsCall() {
			select {
			case c.incoming <- &jsonrpc.Response{ID: m.ID, Error: errNobody}:
			case <-c.ended:
			}
			return nil
		}
		if ctx.Value(streamKey{}) != c.answers {
			return nil
		}
		data, err := jsonrpc.EncodeMessage(m)
		if err != nil {
			return err
		}
		c.answers.send(data, nil)
	}
	return nil
}

// Close implements mcp.Connection.
func (c *exchange) Close() error {
	c.end()
	return nil
}

// statusOf returns the HTTP status that an error has instead of a stream (MCP
// 2026-07-28, Streamable HTTP, sending messages to the server), or 0.
func statusOf(err error) int {
	var e *jsonrpc.Error
	if !errors.As(err, &e) {
		return 0
	}
	switch e.Code {
	case envelope.CodeMethodNotFound:
		return http.StatusNotFound
	case envelope.CodeInvalidParams, mcp.CodeUnsupportedProtocolVersion, mcp.CodeMissingRequiredClientCapabilities:
		return http.StatusBadRequest
	}
	return 0
}

// toolbox is what lists have said of the tools of a server. It is safe for
// concurrent use.
type toolbox struct {
	mu    sync.RWMutex
	known map[string]listed
}

type listed struct {
	tool  *mcp.Tool
	plain bool
}

// note notes the tools of a list, or of a further page of it.
func (b *toolbox) note(tools []*mcp.Tool, further bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.known
	if !further || b.known == nil {
		b.known = make(map[string]listed, len(tools))
	}
	for _, tool := range tools {
		one := before[tool.Name]
		if one.tool != tool {
			one = listed{tool, !mentions(tool.InputSchema, `"x-mcp-header"`)}
		}
		b.known[tool.Name] = one
	}
}

// mentions reports whether a schema has a text in it, or cannot be said not to.
func mentions(schema any, text string) bool {
	data, err := json.Marshal(schema)
	return err != nil || bytes.Contains(data, []byte(text))
}

// plain reports whether a tool is known to have no parameters that have to be in
// headers, too. A client knows of such parameters by the same lists.
func (b *toolbox) plain(name string) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.known[name].plain
}
