package inproc_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/upstream/inproc"
)

// versatile returns a server whose tools answer in every way there is.
func versatile() *mcp.Server {
	server := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	gatewaytest.AddTool(server, "hello", func(context.Context, *mcp.CallToolRequest) (string, error) { return "hello", nil })
	gatewaytest.AddTool(server, "fail", func(context.Context, *mcp.CallToolRequest) (string, error) { return "", errors.New("no luck") })
	gatewaytest.AddTool(server, "break", func(context.Context, *mcp.CallToolRequest) (string, error) {
		return "", &jsonrpc.Error{Code: -32099, Message: "broken", Data: []byte(`{"x":1}`)}
	})
	gatewaytest.AddTool(server, "invalid", func(context.Context, *mcp.CallToolRequest) (string, error) {
		return "", &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "not so"}
	})
	gatewaytest.AddTool(server, "progress", func(ctx context.Context, r *mcp.CallToolRequest) (string, error) {
		for n := range 3 {
			if err := r.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: "t", Progress: float64(n)}); err != nil {
				return "", err
			}
		}
		return "done", nil
	})
	gatewaytest.AddTool(server, "late refusal", func(ctx context.Context, r *mcp.CallToolRequest) (string, error) {
		_ = r.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: "t", Progress: 1})
		return "", &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "not so"}
	})
	server.AddPrompt(&mcp.Prompt{Name: "greet"}, func(context.Context, *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		return &mcp.GetPromptResult{Messages: []*mcp.PromptMessage{{Role: "user", Content: &mcp.TextContent{Text: "hi"}}}}, nil
	})
	server.AddResource(&mcp.Resource{Name: "r", URI: "test://r"}, func(context.Context, *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
		return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: "test://r", Text: "content"}}}, nil
	})
	return server
}

// modern returns a request of 2026-07-28 as clients send it.
func modern(id, method, name, params string) gatewaytest.Request {
	h := map[string][]string{"Mcp-Method": {method}}
	if name != "" {
		h["Mcp-Name"] = []string{name}
	}
	body := `{"jsonrpc":"2.0","id":` + id + `,"method":"` + method + `","params":` + gatewaytest.ModernParams(gatewaytest.Modern, params) + `}`
	return gatewaytest.Request{Version: gatewaytest.Modern, Body: body, Header: h}
}

// What an exchange answers, and what goes to the SDK's handler instead, is what
// the SDK answers.
func TestModernAnswersAreThoseOfTheSDK(t *testing.T) {
	server := versatile()
	bare := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{Stateless: true}))
	defer bare.Close()
	s := gatewaytest.Start(t, gateway.Config{Factory: func(context.Context, gateway.Call) (gateway.Instance, error) {
		return gateway.Instance{Server: versatile()}, nil
	}})
	token := s.Token(t, "alice")
	without := func(r gatewaytest.Request, header string) gatewaytest.Request {
		delete(r.Header, header)
		return r
	}
	call := func(id, tool string) gatewaytest.Request {
		return modern(id, "tools/call", tool, `{"name":"`+tool+`","arguments":{}}`)
	}
	for _, listed := range []bool{false, true} {
		for _, test := range []struct {
			name string
			r    gatewaytest.Request
		}{
			{"a call", call("1", "hello")},
			{"an id that is text", call(`"a\u0062\""`, "hello")},
			{"an id as large as may be", call("9007199254740992", "hello")},
			{"an id below zero", call("-1", "hello")},
			{"a tool that fails", call("1", "fail")},
			{"a tool with an error of its own", call("1", "break")},
			{"a tool that says invalid params", call("1", "invalid")},
			{"progress", call("1", "progress")},
			{"no such tool", call("1", "none")},
			{"arguments of another kind", modern("1", "tools/call", "hello", `{"name":"hello","arguments":[]}`)},
			{"tools", modern("1", "tools/list", "", `{}`)},
			{"a cursor of nobody's", modern("1", "tools/list", "", `{"cursor":"x"}`)},
			{"prompts", modern("1", "prompts/list", "", `{}`)},
			{"a prompt", modern("1", "prompts/get", "greet", `{"name":"greet"}`)},
			{"no such prompt", modern("1", "prompts/get", "none", `{"name":"none"}`)},
			{"resources", modern("1", "resources/list", "", `{}`)},
			{"templates", modern("1", "resources/templates/list", "", `{}`)},
			{"a resource", modern("1", "resources/read", "test://r", `{"uri":"test://r"}`)},
			{"no such resource", modern("1", "resources/read", "test://none", `{"uri":"test://none"}`)},
			{"completion", modern("1", "completion/complete", "", `{"ref":{"type":"ref/prompt","name":"greet"},"argument":{"name":"a","value":"b"}}`)},
			{"discovery", modern("1", "server/discover", "", `{}`)},
			{"a method of before", modern("1", "ping", "", `{}`)},
			{"no such method", modern("1", "none/such", "", `{}`)},
			{"no name in the header", without(call("1", "hello"), "Mcp-Name")},
			{"no method in the header", without(call("1", "hello"), "Mcp-Method")},
			{"no client in _meta", gatewaytest.Request{Version: gatewaytest.Modern, Header: map[string][]string{"Mcp-Method": {"tools/list"}},
				Body: `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`}},
		} {
			theirs := do(t, bare.URL, test.r)
			ours := test.r
			ours.Token = token
			got := s.Do(t, ours)
			body := strings.ReplaceAll(got.Body, `"cacheScope":"private"`, `"cacheScope":"public"`)
			if got.Status != theirs.Status || got.Header.Get("Content-Type") != theirs.Header.Get("Content-Type") || body != theirs.Body {
				t.Errorf("%s, listed %t:\nours   %d %s %s\ntheirs %d %s %s", test.name, listed,
					got.Status, got.Header.Get("Content-Type"), body, theirs.Status, theirs.Header.Get("Content-Type"), theirs.Body)
			}
		}
	}
}

// The SDK writes an error that comes after progress between the events.
func TestErrorAfterProgressIsAnEvent(t *testing.T) {
	s := gatewaytest.Start(t, gateway.Config{Factory: func(context.Context, gateway.Call) (gateway.Instance, error) {
		return gateway.Instance{Server: versatile()}, nil
	}})
	token := s.Token(t, "alice")
	list := modern("1", "tools/list", "", "{}")
	list.Token = token
	s.Do(t, list)
	got := s.Do(t, gatewaytest.ModernCall(token, 1, "late refusal", "{}"))
	if got.Status != http.StatusOK || !strings.HasSuffix(got.Body, "event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32602,\"message\":\"not so\"}}\n\n") {
		t.Errorf("%d %s", got.Status, got.Body)
	}
}

// do sends r to a server that asks for no credential.
func do(t *testing.T, url string, r gatewaytest.Request) gatewaytest.Answer {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader(r.Body))
	request.RequestURI = ""
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, text/event-stream")
	request.Header.Set("Mcp-Protocol-Version", r.Version)
	for name, values := range r.Header {
		request.Header[name] = values
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	w := httptest.NewRecorder()
	if _, err := w.Body.ReadFrom(response.Body); err != nil {
		t.Fatal(err)
	}
	return gatewaytest.Answer{Status: response.StatusCode, Header: response.Header, Body: w.Body.String()}
}

// A parameter that has to be in a header as well is compared, before its tool
// has been listed and after, also when it has become one meanwhile.
func TestParametersInHeadersAreCompared(t *testing.T) {
	server := mcp.NewServer(&mcp.Implementation{Name: "test"}, nil)
	add := func(schema map[string]any) {
		server.AddTool(&mcp.Tool{Name: "route", InputSchema: schema}, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "routed"}}}, nil
		})
	}
	schema := func(region map[string]any) map[string]any {
		return map[string]any{"type": "object", "properties": map[string]any{"region": region}}
	}
	s := gatewaytest.Start(t, gateway.Config{Factory: func(context.Context, gateway.Call) (gateway.Instance, error) {
		return gateway.Instance{Server: server}, nil
	}})
	token := s.Token(t, "alice")
	ask := func(r gatewaytest.Request) gatewaytest.Answer {
		r.Token = token
		return s.Do(t, r)
	}
	route := func(header ...string) gatewaytest.Answer {
		r := modern("1", "tools/call", "route", `{"name":"route","arguments":{"region":"eu"}}`)
		r.Header["Mcp-Param-Region"] = header
		return ask(r)
	}
	compared := func(when string) {
		t.Helper()
		for _, header := range [][]string{nil, {"us"}} {
			if got := route(header...); got.Status != http.StatusBadRequest || !strings.Contains(got.Body, "-32020") {
				t.Errorf("%s, header %q: %d %s", when, header, got.Status, got.Body)
			}
		}
		if got := route("eu"); got.Status != http.StatusOK || got.Text() != "routed" {
			t.Errorf("%s: %d %s", when, got.Status, got.Body)
		}
	}
	annotated := schema(map[string]any{"type": "string", "x-mcp-header": "Region"})
	add(annotated)
	compared("before it is listed")
	ask(modern("1", "tools/list", "", `{}`))
	compared("after it is listed")

	add(schema(map[string]any{"type": "string"}))
	ask(modern("1", "tools/list", "", `{}`))
	if got := route(); got.Status != http.StatusOK {
		t.Errorf("with a parameter that is in no header: %d %s", got.Status, got.Body)
	}
	add(annotated)
	// Until it is listed again, what stands before us cannot be misled at least.
	if got := route("us"); got.Status != http.StatusBadRequest || !strings.Contains(got.Body, "-32020") {
		t.Errorf("changed, not listed again: %d %s", got.Status, got.Body)
	}
	ask(modern("1", "tools/list", "", `{}`))
	compared("when it has changed")
}

// A call that nobody waits for any more does not keep its slot for all its time.
func TestCallOfAClientThatHasLeftEndsSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, proceed := make(chan struct{}), make(chan struct{})
		b := newBench(func(server *mcp.Server) { addWait(server, began, proceed) })
		ctx, leave := context.WithCancel(asAlice(t.Context(), time.Time{}))
		list, call := modern("1", "tools/list", "", "{}"), modern("1", "tools/call", "wait", `{"name":"wait","arguments":{}}`)
		b.askWith(ctx, "POST", "", gatewaytest.Modern, list.Body, list.Header)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			b.askWith(ctx, "POST", "", gatewaytest.Modern, call.Body, call.Header)
		}()
		<-began
		leave()
		left := time.Now()
		<-ended
		if took := time.Since(left); took > 10*time.Second {
			t.Errorf("the request ended %v after its client", took)
		}
		close(proceed)
		b.end(t)
	})
}

// In a request there is nobody to ask back, and nothing reaches its client that
// it has not asked for.
func TestNothingElseReachesTheClientOfARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := benchWith(func(server *mcp.Server) {
			gatewaytest.AddTool(server, "ask", func(ctx context.Context, r *mcp.CallToolRequest) (string, error) {
				if err := r.Session.Ping(ctx, nil); err == nil {
					return "", errors.New("somebody answered")
				}
				return "nobody", nil
			})
			gatewaytest.AddTool(server, "elsewhere", func(_ context.Context, r *mcp.CallToolRequest) (string, error) {
				return "done", r.Session.NotifyProgress(context.Background(), &mcp.ProgressNotificationParams{ProgressToken: "t"})
			})
		}, func(c *inproc.Config) { c.Requests = inproc.PerUser })
		defer b.end(t)
		b.askWith(asAlice(t.Context(), time.Time{}), "POST", "", gatewaytest.Modern, modern("1", "tools/list", "", "{}").Body, http.Header{"Mcp-Method": {"tools/list"}})
		for tool, want := range map[string]string{"ask": "nobody", "elsewhere": "done"} {
			r := modern("1", "tools/call", tool, `{"name":"`+tool+`","arguments":{}}`)
			w := b.askWith(asAlice(t.Context(), time.Time{}), "POST", "", gatewaytest.Modern, r.Body, r.Header)
			if text(w) != want || strings.Count(w.Body.String(), "event:") != 1 {
				t.Errorf("%s: %d %s", tool, w.Code, w.Body)
			}
		}
	})
}
