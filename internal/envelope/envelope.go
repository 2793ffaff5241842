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
	HasID   bool   // false in a notification
	Version string // of "_meta", "" where there is none
}

// maxBatch bounds a batch.
const maxBatch = 100

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
	err = strictjson.Object(data, func(name, value []byte) error {
		switch string(name) {
		case "id":
			m.HasID = !strictjson.IsNull(value)
		case "method":
			method, ok := strictjson.String(value)
			if !ok {
				return errors.New(`"method" is not a string`)
			}
			m.Method = string(method)
		case "params":
			if value[0] != '{' {
				return nil
			}
			return strictjson.Inner(value, func(name, value []byte) error {
				if string(name) != "_meta" || value[0] != '{' {
					return nil
				}
				return strictjson.Inner(value, func(name, value []byte) error {
					if string(name) == VersionKey {
						version, _ := strictjson.String(value)
						m.Version = string(version)
					}
					return nil
				})
			})
		}
		return nil
	})
	return m, err
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
)

// WriteError answers with a JSON-RPC error that belongs to no request, as the
// MCP specification allows beside an HTTP status of failure.
func WriteError(w http.ResponseWriter, status, code int, message string) {
	type rpcError struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(struct {
		Version string   `json:"jsonrpc"`
		ID      *int     `json:"id"`
		Error   rpcError `json:"error"`
	}{"2.0", nil, rpcError{code, message}})
}
