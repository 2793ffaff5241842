package gateway

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mcpauth-go/mcpauth/internal/envelope"
	"github.com/mcpauth-go/mcpauth/policy"
)

// readMessages reads the body, which stays readable, or answers what is wrong
// with it.
func (g *Gateway) readMessages(w http.ResponseWriter, r *http.Request) ([]envelope.Message, bool) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		envelope.WriteError(w, http.StatusUnsupportedMediaType, nil, envelope.CodeInvalidRequest, "Content-Type must be application/json")
		return nil, false
	}
	tooLarge := func() ([]envelope.Message, bool) {
		w.Header().Set("Connection", "close")
		envelope.WriteError(w, http.StatusRequestEntityTooLarge, nil, envelope.CodeInvalidRequest,
			fmt.Sprintf("The request body is larger than %d bytes", g.config.MaxBodyBytes))
		return nil, false
	}
	if r.ContentLength > g.config.MaxBodyBytes {
		return tooLarge()
	}
	body, err := readAll(http.MaxBytesReader(w, r.Body, g.config.MaxBodyBytes), r.ContentLength)
	if err != nil {
		if tooMuch := (*http.MaxBytesError)(nil); errors.As(err, &tooMuch) {
			return tooLarge()
		}
		envelope.WriteError(w, http.StatusBadRequest, nil, envelope.CodeParse, "The request body could not be read")
		return nil, false
	}
	// What follows may take longer; ServeHTTP has set the deadline.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	if len(body) == 0 {
		envelope.WriteError(w, http.StatusBadRequest, nil, envelope.CodeParse, "The request body is empty")
		return nil, false
	}
	messages, err := envelope.Parse(body)
	if err != nil {
		envelope.WriteError(w, http.StatusBadRequest, nil, envelope.CodeParse, "Malformed message: "+err.Error())
		return nil, false
	}
	if len(body) > maxOpening && keeps(messages) {
		envelope.WriteError(w, http.StatusRequestEntityTooLarge, soleID(messages), envelope.CodeInvalidRequest,
			fmt.Sprintf("A notification, or a message that opens or changes a session or a stream, is larger than %d bytes", maxOpening))
		return nil, false
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return messages, true
}

// readAll reads a body of which so much is announced, which is believed as far as
// it costs little.
func readAll(body io.Reader, announced int64) ([]byte, error) {
	if announced < 0 || announced > 16<<10 {
		return io.ReadAll(body)
	}
	data := make([]byte, announced)
	_, err := io.ReadFull(body, data)
	return data, err
}

// maxOpening bounds a message that servers keep for as long as a session or a
// stream lives, decoded, which takes many times the memory; and notifications,
// which are kept until it is their turn, while their requests are long over.
const maxOpening = 64 << 10

// keeps reports whether messages have one of these.
func keeps(messages []envelope.Message) bool {
	return slices.ContainsFunc(messages, func(m envelope.Message) bool {
		switch m.Method {
		case "initialize", "subscriptions/listen", "resources/subscribe", "logging/setLevel":
			return true
		}
		return m.Method != "" && !m.HasID()
	})
}

// readers bounds the request bodies of one user that are being read, which are
// in memory before anything can be said of them.
type readers struct {
	mu sync.Mutex
	of map[string]int // by principal
}

const maxReading = 16

func (r *readers) enter(principal string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of == nil {
		r.of = map[string]int{}
	}
	if r.of[principal] == maxReading {
		return false
	}
	r.of[principal]++
	return true
}

func (r *readers) leave(principal string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of[principal]--; r.of[principal] == 0 {
		delete(r.of, principal)
	}
}

// soleID returns the id of the one message, nil if there are several.
func soleID(messages []envelope.Message) []byte {
	if len(messages) != 1 {
		return nil
	}
	return messages[0].ID
}

// agree reports whether the headers that repeat what is in the body say the
// same, or answers that they do not (MCP 2026-07-28, Streamable HTTP, server
// validation): what stands before us may have decided by them. Only the body
// says what is called.
func (g *Gateway) agree(w http.ResponseWriter, r *http.Request, messages []envelope.Message) bool {
	const methodHeader, nameHeader = "Mcp-Method", "Mcp-Name"
	mismatch := func(header string) bool {
		envelope.WriteError(w, http.StatusBadRequest, soleID(messages), envelope.CodeHeaderMismatch, "Header mismatch: "+header+" is not what the body says")
		return false
	}
	if len(messages) > 1 {
		if r.Header[methodHeader] != nil || r.Header[nameHeader] != nil {
			return mismatch(methodHeader)
		}
		return true
	}
	m := &messages[0]
	if methods := r.Header[methodHeader]; len(methods) > 1 || len(methods) == 1 && methods[0] != m.Method {
		return mismatch(methodHeader)
	}
	names := r.Header[nameHeader]
	if len(names) == 0 {
		return true
	}
	name, ok := decodeHeader(names[0])
	if !ok || len(names) > 1 || name != nameOf(m) {
		return mismatch(nameHeader)
	}
	// The SDK compares without decoding.
	r.Header[nameHeader] = []string{name}
	return true
}

// nameOf returns what Mcp-Name has to say of m.
func nameOf(m *envelope.Message) string {
	if m.Method == "resources/read" {
		return m.URI
	}
	return m.Name
}

// decodeHeader decodes the value of a header that repeats a part of the body
// (MCP 2026-07-28, Streamable HTTP, value encoding).
func decodeHeader(value string) (string, bool) {
	const prefix, suffix = "=?base64?", "?="
	if len(value) < len(prefix)+len(suffix) || !strings.HasPrefix(value, prefix) || !strings.HasSuffix(value, suffix) {
		return value, true
	}
	text, err := base64.StdEncoding.DecodeString(value[len(prefix) : len(value)-len(suffix)])
	return string(text), err == nil
}

// operations returns what messages ask for that a policy can have rules for.
func operations(messages []envelope.Message) []policy.Operation {
	var all []policy.Operation
	add := func(kind policy.Kind, name string) {
		all = append(all, policy.Operation{Kind: kind, Name: name})
	}
	for i := range messages {
		m := &messages[i]
		switch m.Method {
		case "tools/call":
			add(policy.Tool, m.Name)
		case "prompts/get":
			add(policy.Prompt, m.Name)
		case "resources/read", "resources/subscribe", "resources/unsubscribe":
			add(policy.Resource, m.URI)
		case "subscriptions/listen":
			for _, uri := range m.URIs {
				add(policy.Resource, uri)
			}
		case "completion/complete":
			switch m.Ref.Type {
			case "ref/prompt":
				add(policy.Prompt, m.Ref.Name)
			case "ref/resource":
				add(policy.Resource, m.Ref.URI)
			}
		}
	}
	return all
}

// toolsOf returns the names of the tools that messages call.
func toolsOf(messages []envelope.Message) []string {
	var names []string
	for i := range messages {
		if messages[i].Method == "tools/call" {
			names = append(names, messages[i].Name)
		}
	}
	return names
}

// wantsPage reports whether a client that accepts these is a browser.
func wantsPage(accept []string) bool {
	all := strings.ToLower(strings.Join(accept, ","))
	return strings.Contains(all, "text/html") && !strings.Contains(all, "text/event-stream")
}
