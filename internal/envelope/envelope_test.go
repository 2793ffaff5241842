package envelope_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"

	"github.com/mcpauth-go/mcpauth/internal/envelope"
)

type messages = []envelope.Message

func batchOf(n int) string {
	return "[" + strings.TrimSuffix(strings.Repeat(`{"method":"ping"},`, n), ",") + "]"
}

func nested(depth int) string {
	return `{"method":"ping","x":` + strings.Repeat("[", depth-1) + strings.Repeat("]", depth-1) + "}"
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		name, body string
		want       messages
	}{
		{"a request", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}`, messages{{Method: "tools/call", ID: []byte("1"), Name: "x"}}},
		{"a notification", `{"jsonrpc":"2.0","method":"notifications/initialized"}`, messages{{Method: "notifications/initialized"}}},
		{"a response", `{"jsonrpc":"2.0","id":1,"result":{}}`, messages{{ID: []byte("1")}}},
		{"an id of null", `{"jsonrpc":"2.0","id":null,"method":"a"}`, messages{{Method: "a"}}},
		{"an error response", `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}`, messages{{ID: []byte("1")}}},
		{"an empty object", `{}`, messages{{}}},
		{"white space around", " \r\n\t{ \"method\" : \"ping\" } \n", messages{{Method: "ping"}}},
		{"an escaped name", `{"meth\u006fd":"pi\u006eg"}`, messages{{Method: "ping"}}},
		{"a name of another case is another name", `{"method":"ping","Method":"initialize","METHOD":1}`, messages{{Method: "ping"}}},
		{"a batch", `[{"method":"a"},{"method":"b"},{"result":1}]`, messages{{Method: "a"}, {Method: "b"}, {}}},
		{"a batch of 100", batchOf(100), slices.Repeat(messages{{Method: "ping"}}, 100)},
		{"a version", `{"method":"a","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`, messages{{Method: "a", Version: "2026-07-28"}}},
		{"a version before the method", `{"params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}},"method":"a"}`, messages{{Method: "a", Version: "2026-07-28"}}},
		{"a version in a batch", `[{"method":"a"},{"method":"b","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"v"}}}]`, messages{{Method: "a"}, {Method: "b", Version: "v"}}},
		{"no params", `{"method":"a","params":null}`, messages{{Method: "a"}}},
		{"params by position", `{"method":"a","params":[{"_meta":{"io.modelcontextprotocol/protocolVersion":"v"}}]}`, messages{{Method: "a"}}},
		{"no _meta", `{"method":"a","params":{"name":"x"}}`, messages{{Method: "a", Name: "x"}}},
		{"a resource", `{"id":"a","method":"resources/read","params":{"uri":"file:///x"}}`, messages{{Method: "resources/read", ID: []byte(`"a"`), URI: "file:///x"}}},
		{"a reference", `{"method":"a","params":{"ref":{"type":"ref/prompt","name":"p","uri":"u"}}}`, messages{{Method: "a", Ref: envelope.Ref{Type: "ref/prompt", Name: "p", URI: "u"}}}},
		{"subscriptions", `{"method":"a","params":{"notifications":{"resourceSubscriptions":["x","y",1]}}}`, messages{{Method: "a", URIs: []string{"x", "y", ""}}}},
		{"names of other kinds", `{"method":"a","params":{"name":1,"uri":{},"ref":"x","notifications":[]}}`, messages{{Method: "a"}}},
		{"_meta that is no object", `{"method":"a","params":{"_meta":"io.modelcontextprotocol/protocolVersion"}}`, messages{{Method: "a"}}},
		{"_meta without version", `{"method":"a","params":{"_meta":{"progressToken":1}}}`, messages{{Method: "a"}}},
		{"a version that is a number", `{"method":"a","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":20260728}}}`, messages{{Method: "a"}}},
		{"a version that is null", `{"method":"a","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":null}}}`, messages{{Method: "a"}}},
		{"_meta outside of params", `{"method":"a","_meta":{"io.modelcontextprotocol/protocolVersion":"v"}}`, messages{{Method: "a"}}},
		{"as deep as may be", nested(64), messages{{Method: "ping"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := envelope.Parse([]byte(test.body))
			for i := range got { // what is handed on is compared by FuzzEnvelope
				got[i].JSONRPC, got[i].Params, got[i].Raw = false, nil, nil
			}
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("Parse = %v, %v; want %v", got, err, test.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	const neither = "neither a JSON-RPC message nor a batch of them"
	for _, test := range []struct{ name, body, want string }{
		{"nothing", "", "not valid JSON"},
		{"white space", " \n", "not valid JSON"},
		{"garbage", "hello", "not valid JSON at byte 0"},
		{"a form", "method=initialize", "not valid JSON at byte 0"},
		{"half an object", `{"method":"ping"`, "not valid JSON"},
		{"a byte order mark", "\ufeff{}", "not valid JSON at byte 0"},
		{"a NUL byte after the value", "{}\x00", "data after the JSON value"},
		{"two values", "{}{}", "data after the JSON value"},
		{"a comment", "{/**/}", "not valid JSON"},
		{"a number", "1", neither},
		{"a string", `"initialize"`, neither},
		{"null", "null", neither},
		{"an empty batch", "[]", "an empty batch"},
		{"a batch of 101", batchOf(101), "a batch of more than 100 messages"},
		{"a batch in a batch", `[[{"method":"a"}]]`, neither},
		{"a batch with a number", `[{"method":"a"},1]`, neither},
		{"a batch that does not end", `[{"method":"a"}`, "not valid JSON"},
		{"a method that is a number", `{"method":1}`, `"method" is not a string`},
		{"a method that is null", `{"method":null}`, `"method" is not a string`},
		{"a method that is an object", `{"method":{}}`, `"method" is not a string`},
		{"two methods", `{"method":"a","method":"a"}`, "the same name twice in one object"},
		{"two methods, one in disguise", `{"method":"a","meth\u006fd":"b"}`, "the same name twice in one object"},
		{"two params", `{"method":"a","params":{},"params":{}}`, "the same name twice in one object"},
		{"a name twice deep inside", `{"method":"a","params":{"arguments":{"x":[{"y":1,"y":2}]}}}`, "the same name twice in one object"},
		{"two versions", `{"method":"a","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"a","io.modelcontextprotocol/protocolVersion":"b"}}}`, "the same name twice in one object"},
		{"a name twice in the second of a batch", `[{"method":"a"},{"id":1,"id":1}]`, "the same name twice in one object"},
		{"too deep", nested(65), "nested deeper than 64"},
		{"absurdly deep", strings.Repeat("[", 1_000_000), "nested deeper than 64"},
		{"invalid UTF-8 in a value", "{\"method\":\"\xff\"}", "not valid JSON"},
		{"invalid UTF-8 in a name", "{\"\xff\":1}", "not valid JSON"},
		{"half a surrogate pair", `{"method":"\ud800"}`, "not valid JSON"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := envelope.Parse([]byte(test.body))
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("Parse = %.200v, %v; want the error %q", got, err, test.want)
			}
		})
	}
}

// The client is told what is wrong; what it sent must not come back, since it
// goes to logs too.
func TestParseQuotesNothing(t *testing.T) {
	const secret = "canary"
	for _, body := range []string{
		secret, `{"` + secret, `{"` + secret + `":1,"` + secret + `":2}`, `{"x":` + secret + `}`, `"` + secret + `"`, `{"method":{"` + secret + `":1}}`, `{} ` + secret, `{"` + secret + "\xff\":1}",
	} {
		if _, err := envelope.Parse([]byte(body)); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("Parse(%q) = %v", body, err)
		}
	}
}

func TestWriteError(t *testing.T) {
	w := httptest.NewRecorder()
	envelope.WriteError(w, 404, nil, envelope.CodeSession, `no "session"`)
	const body = `{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"no \"session\""}}` + "\n"
	if w.Code != 404 || w.Body.String() != body {
		t.Errorf("answer = %d %s", w.Code, w.Body)
	}
	if h := w.Header(); h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store" {
		t.Errorf("headers = %v", h)
	}
}

// What is taken here must mean the same to whoever reads it next: to the
// standard library and to the SDK that serves it.
func FuzzEnvelope(f *testing.F) {
	for _, seed := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`,
		`[{"jsonrpc":"2.0","id":1,"method":"initialize"},{"jsonrpc":"2.0","id":2,"result":{}}]`,
		`{"method":"a","Method":"b"}`, `{"meth\u006fd":"\ud83d\ude00"}`, `{"method":"a","params":{"_Meta":{},"_meta":[]}}`, `{"a":{"b":[1e400,-0,"\u0000"]}}`, `[]`, `[[]]`, "{\"\xff\":1}", `{"x":1,"x":2}`, nested(64), " [ { } ] ", `{"method":"\/"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := envelope.Parse(body)
		if err != nil {
			return
		}
		elements := []json.RawMessage{body}
		if strings.TrimLeft(string(body), " \t\r\n")[0] == '[' {
			elements = nil // else they would be decoded into body
			if err := json.Unmarshal(body, &elements); err != nil {
				t.Fatalf("encoding/json refuses the batch %q: %v", body, err)
			}
		}
		if len(elements) != len(got) {
			t.Fatalf("%d messages in %q, encoding/json has %d", len(got), body, len(elements))
		}
		for i, element := range elements {
			want, err := standard(element)
			got[i].Raw = bytes.TrimSpace(got[i].Raw)
			if err != nil || !reflect.DeepEqual(got[i], want) {
				t.Fatalf("%q is read as %+v; encoding/json: %+v, %v", element, got[i], want, err)
			}
			sdk, err := jsonrpc.DecodeMessage(element)
			request, ok := sdk.(*jsonrpc.Request)
			if err != nil || !ok {
				continue
			}
			// By way of a map, since the SDK does not fold the names of members.
			var params map[string]json.RawMessage
			var name string
			err = errors.Join(json.Unmarshal(request.Params, &params), json.Unmarshal(params["name"], &name))
			if request.Method != got[i].Method || err == nil && request.Method == "tools/call" && name != got[i].Name {
				t.Fatalf("%q is read as %q %q, by the SDK as %q %q", element, got[i].Method, got[i].Name, request.Method, name)
			}
		}
	})
}

// standard reads a message by way of maps, since encoding/json matches the
// names of struct fields without regard to case.
func standard(data []byte) (m envelope.Message, err error) {
	var message, params, ref, meta, notifications map[string]json.RawMessage
	if err := json.Unmarshal(data, &message); err != nil {
		return m, err
	}
	if raw, ok := message["method"]; ok {
		if err := json.Unmarshal(raw, &m.Method); err != nil || raw[0] != '"' {
			return m, fmt.Errorf("method: %w", err)
		}
	}
	m.Raw = bytes.TrimSpace(data)
	m.Params = message["params"]
	var version any
	json.Unmarshal(message["jsonrpc"], &version)
	m.JSONRPC = version == "2.0"
	if id, ok := message["id"]; ok && string(id) != "null" {
		m.ID = id
	}
	// What is of another kind counts as not there.
	text := func(raw json.RawMessage) (s string) {
		json.Unmarshal(raw, &s)
		return s
	}
	json.Unmarshal(message["params"], &params)
	json.Unmarshal(params["ref"], &ref)
	json.Unmarshal(params["_meta"], &meta)
	json.Unmarshal(params["notifications"], &notifications)
	m.Name, m.URI, m.Version = text(params["name"]), text(params["uri"]), text(meta[envelope.VersionKey])
	m.Ref = envelope.Ref{Type: text(ref["type"]), Name: text(ref["name"]), URI: text(ref["uri"])}
	var uris []json.RawMessage
	json.Unmarshal(notifications["resourceSubscriptions"], &uris)
	for _, uri := range uris {
		m.URIs = append(m.URIs, text(uri))
	}
	return m, nil
}
