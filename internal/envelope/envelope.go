// Package envelope reads the outside of a JSON-RPC message (or of a batch, as
// the oldest versions of MCP send it): what is called, and under which version
// of the protocol. It reads strictly, because what is decided here must be
// what the server then does: a message with a name twice in one object is
// refused rather than read in one of two ways.
package envelope

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/mcpauth-go/mcpauth/internal/strictjson"
)

// VersionKey is the member of "_meta" in which a request of 2026-07-28 or
// later names its protocol version.
const VersionKey = "io.modelcontextprotocol/protocolVersion"

// Message is the outside of one JSON-RPC message.
type Message struct {
	Method  string // "" in a response
	ID      []byte // as it was sent; nil in a notification. A part of the body
	Version string // of "_meta", "" where there is none
	JSONRPC bool   // "jsonrpc" is "2.0"
	Params  []byte // as they were sent; nil where there are none. A part of the body
	Raw     []byte // all of it. A part of the body

	// What the params name, whether or not the method takes them.
	Name string   // "name"
	URI  string   // "uri"
	Ref  Ref      // "ref"
	URIs []string // "notifications.resourceSubscriptions"
}

// Ref is a reference to a prompt or a resource template.
type Ref struct{ Type, Name, URI string }

// HasID reports whether the message is one that asks for an answer, or gives
// one.
func (m *Message) HasID() bool { return m.ID != nil }

const (
	maxBatch = 100
	maxURIs  = 1000     // of one subscription
	maxName  = 16 << 10 // bytes of a name or a URI
	maxID    = 1 << 10  // bytes of the id of a request, which servers keep with a subscription
)

// Parse reads a request body. An error says what is wrong without quoting it.
func Parse(body []byte) ([]Message, error) {
	var messages []Message
	one := func(data []byte) error {
		if len(messages) == maxBatch {
			return fmt.Errorf("a batch of more than %d messages", maxBatch)
		}
		m, err := parseOne(data)
		messages = append(messages, m)
		return err
	}
	err := one(body)
	if errors.Is(err, strictjson.ErrNotObject) {
		messages = messages[:0]
		err = strictjson.Array(body, one)
		if err == nil && len(messages) == 0 {
			err = errors.New("an empty batch")
		}
		if errors.Is(err, strictjson.ErrNotArray) || errors.Is(err, strictjson.ErrNotObject) {
			err = errors.New("neither a JSON-RPC message nor a batch of them")
		}
	}
	return messages, err
}

func parseOne(data []byte) (m Message, err error) {
	m.Raw = data
	err = strictjson.Object(data, func(name, value []byte) error {
		switch string(name) {
		case "id":
			if len(value) > maxID {
				return fmt.Errorf("an id of more than %d bytes", maxID)
			}
			if !strictjson.IsNull(value) {
				m.ID = value
			}
		case "method":
			method, ok := strictjson.String(value)
			if !ok {
				return errors.New(`"method" is not a string`)
			}
			m.Method = string(method)
		case "params":
			m.Params = value
			return within(value, m.param)
		case "jsonrpc":
			text, ok := strictjson.String(value)
			m.JSONRPC = ok && string(text) == "2.0"
		}
		return nil
	})
	return m, err
}

// param notes one of the params.
func (m *Message) param(name, value []byte) error {
	switch string(name) {
	case "name":
		m.Name = text(value)
		return short(m.Name)
	case "uri":
		m.URI = text(value)
		return short(m.URI)
	case "ref":
		return within(value, func(name, value []byte) error {
			switch string(name) {
			case "type":
				m.Ref.Type = text(value)
			case "name":
				m.Ref.Name = text(value)
			case "uri":
				m.Ref.URI = text(value)
			}
			return nil
		})
	case "notifications":
		return within(value, func(name, value []byte) error {
			if string(name) != "resourceSubscriptions" || value[0] != '[' {
				return nil
			}
			return strictjson.Array(value, func(value []byte) error {
				if len(m.URIs) == maxURIs {
					return fmt.Errorf("more than %d resources to subscribe to", maxURIs)
				}
				m.URIs = append(m.URIs, text(value))
				return short(m.URIs[len(m.URIs)-1])
			})
		})
	case "_meta":
		return within(value, func(name, value []byte) error {
			if string(name) == VersionKey {
				m.Version = text(value)
			}
			return nil
		})
	}
	return nil
}

// short refuses a name that servers would have to keep for a client, and that is
// longer than any name is.
func short(name string) error {
	if len(name) > maxName {
		return fmt.Errorf("a name or URI of more than %d bytes", maxName)
	}
	return nil
}

// within calls member for each member of value, if that is an object.
func within(value []byte, member func(name, value []byte) error) error {
	if value[0] != '{' {
		return nil
	}
	return strictjson.Inner(value, member)
}

// text returns the string that value is, "" for anything else, which no server
// takes where a string belongs.
func text(value []byte) string {
	s, _ := strictjson.String(value)
	return string(s)
}

// Codes of JSON-RPC errors (JSON-RPC 2.0, section 5.1).
const (
	CodeParse          = -32700
	CodeInvalidRequest = -32600
	CodeMethodNotFound = -32601
	CodeInternal       = -32603
	// CodeSession is what the official SDKs say of a session that is not
	// there.
	CodeSession = -32001
	// CodeTimeout is what they say of a request that took too long.
	CodeTimeout = -32001
	// CodeHeaderMismatch is for headers that say otherwise than the body (MCP
	// 2026-07-28, Streamable HTTP, server validation).
	CodeHeaderMismatch = -32020
	CodeInvalidParams  = -32602
	// CodeRateLimited is ours, from outside of the range that JSON-RPC and MCP
	// reserve.
	CodeRateLimited = 429
	// CodeNotConnected is ours too: the user has no account where the call needs
	// one.
	CodeNotConnected = 424
)

// WriteError answers with a JSON-RPC error to the message of that id, or, when
// id is nil, to none in particular, as the MCP specification allows beside an
// HTTP status of failure. A ResponseWriter with a method Fails is told why.
func WriteError(w http.ResponseWriter, status int, id []byte, code int, message string) {
	type rpcError struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}
	if n, ok := w.(interface{ Fails(reason string) }); ok {
		n.Fails(message)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if id == nil {
		id = []byte("null")
	}
	json.NewEncoder(w).Encode(struct {
		Version string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Error   rpcError        `json:"error"`
	}{"2.0", id, rpcError{code, message}})
}
