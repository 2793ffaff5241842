package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/limit"
	"github.com/mcpauth-go/mcpauth/policy"
	"github.com/mcpauth-go/mcpauth/revoke"
)

// The versions of the protocol with and without sessions.
const (
	legacy = "2025-11-25"
	modern = "2026-07-28"
)

// BenchmarkServer takes a tool call over a connection to a server and back: to
// the bare handler of go-sdk, which asks nobody who they are, and to the same
// server behind the whole line.
func BenchmarkServer(b *testing.B) {
	for _, version := range []string{legacy, modern} {
		b.Run(version, func(b *testing.B) {
			b.Run("go-sdk", func(b *testing.B) { calls(b, bare(version, nil), version, "") })
			if version == legacy {
				b.Run("go-sdk-resumable", func(b *testing.B) { calls(b, bare(version, mcp.NewMemoryEventStore(nil)), version, "") })
			}
			b.Run("mcpauth", func(b *testing.B) {
				calls(b, wrapped(b, whole), version, tokens(1)[0])
			})
			b.Run("mcpauth-revocable", func(b *testing.B) {
				calls(b, wrapped(b, revocable), version, tokens(1)[0])
			})
		})
	}
}

// BenchmarkStage takes a tool call through the handler, without a connection,
// with one station after the other put in line.
func BenchmarkStage(b *testing.B) {
	for _, version := range []string{legacy, modern} {
		b.Run(version, func(b *testing.B) {
			b.Run("0-go-sdk", func(b *testing.B) { handled(b, bare(version, nil), version, "") })
			for stage, name := range []string{"1-verified", "2-policy", "3-limits", "4-log", "5-audit", "6-revocable"} {
				b.Run(name, func(b *testing.B) {
					handled(b, wrapped(b, stage), version, tokens(1)[0])
				})
			}
		})
	}
}

// ballast is a heap as a server at work has one. Without it, the collector runs
// after every few requests, and a few more bytes that live on, such as caches,
// cost more than all the work.
var ballast = make([]byte, 256<<20)

// The stages of a line, each with those before it.
const (
	verified = iota
	withPolicy
	withLimits
	withLog
	whole
	revocable // with a list of revocations beside
)

// bare returns a handler of go-sdk as it comes.
func bare(version string, events mcp.EventStore) http.Handler {
	server := newServer()
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{
		Stateless: version == modern, PropagateRequestCancellation: version == modern, EventStore: events,
	})
}

func newServer() *mcp.Server {
	server := mcp.NewServer(&mcp.Implementation{Name: "bench", Version: "1"}, nil)
	type in struct {
		Text string `json:"text"`
	}
	mcp.AddTool(server, &mcp.Tool{Name: "echo"}, func(_ context.Context, _ *mcp.CallToolRequest, in in) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: in.Text}}}, nil, nil
	})
	return server
}

func wrapped(b *testing.B, stage int) *gateway.Gateway {
	var list *revoke.List
	settings := jwt.Config{Issuers: []jwt.Issuer{issuer(secretSource())}}
	if stage >= revocable {
		list = must(revoke.Open(revoke.Config{Lifetime: settings.Lifetime, Logger: slog.New(slog.DiscardHandler)}))
		b.Cleanup(func() { list.Close() })
		settings.Revocations = list
	}
	provider := must(jwt.New(settings))
	b.Cleanup(func() { provider.Close() })
	c := gateway.Config{
		Provider: provider, Revocations: list,
		PublicURL: "https://mcp.example.com", AllowedHosts: []string{"127.0.0.1"}, Addr: "127.0.0.1:8080",
		Factory: func(context.Context, gateway.Call) (gateway.Instance, error) {
			return gateway.Instance{Server: newServer()}, nil
		},
		UserRate: limit.Off,
		Logger:   slog.New(slog.DiscardHandler),
	}
	if stage >= withPolicy {
		c.RequiredScopes = []string{"notes:read"}
		for i := range 30 {
			c.Rules = append(c.Rules, policy.Rule{Tool: fmt.Sprintf("tool_%d_*", i), Scopes: []string{"notes:write"}})
		}
		c.Rules = append(c.Rules, policy.Rule{Tool: "echo", Scopes: []string{"notes:write"}})
		c.ScopeHierarchy = mcpauth.Hierarchy{"notes:write": {"notes:read"}}
	}
	if stage >= withLimits {
		c.UserRate = limit.Rate{Requests: 1e9, Per: time.Second}
		c.ToolRates = map[string]limit.Rate{"*": {Requests: 1e9, Per: time.Second}}
	}
	if stage >= withLog {
		c.Logger = slog.New(slog.NewJSONHandler(io.Discard, nil))
	}
	if stage >= whole {
		c.Audit = io.Discard
	}
	g := must(gateway.New(c))
	b.Cleanup(func() { g.Shutdown(context.Background()) })
	return g
}

// meta is what every request of the modern version has in its params.
const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"` + modern + `","io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}`

func listTools(token string) *http.Request {
	r := post(modern, "", token, `{"jsonrpc":"2.0","id":0,"method":"tools/list","params":{`+meta+`}}`)
	r.Header.Set("Mcp-Method", "tools/list")
	return r
}

// request returns what a client sends to call the tool.
func request(version, session, token string) *http.Request {
	params := `"name":"echo","arguments":{"text":"hello"}`
	if version == modern {
		params += "," + meta
	}
	r := post(version, session, token, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{`+params+`}}`)
	if version == modern {
		r.Header.Set("Mcp-Method", "tools/call")
		r.Header.Set("Mcp-Name", "echo")
	}
	return r
}

func post(version, session, token, body string) *http.Request {
	r := must(http.NewRequest(http.MethodPost, "http://127.0.0.1/mcp", strings.NewReader(body)))
	r.Header = http.Header{
		"Accept":               {"application/json, text/event-stream"},
		"Content-Type":         {"application/json"},
		"Mcp-Protocol-Version": {version},
		"User-Agent":           {"example-client/1.0"},
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if session != "" {
		r.Header.Set("Mcp-Session-Id", session)
	}
	return r
}

// open opens a session where there are any, and else asks for the tools, as
// clients do before they call one.
func open(h http.Handler, version, token string) string {
	if version == modern {
		h.ServeHTTP(httptest.NewRecorder(), listTools(token))
		return ""
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, post("", "", token, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"`+version+`","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}`))
	session := w.Header().Get("Mcp-Session-Id")
	h.ServeHTTP(httptest.NewRecorder(), post(version, session, token, `{"jsonrpc":"2.0","method":"notifications/initialized"}`))
	return session
}

// handled measures calls of h itself.
func handled(b *testing.B, h http.Handler, version, token string) {
	session := open(h, version, token)
	defer runtime.KeepAlive(ballast)
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, request(version, session, token))
		if !strings.Contains(w.Body.String(), `"hello"`) {
			b.Fatal(w.Code, w.Body)
		}
	}
}

// calls measures calls over connections that are kept, one for each processor,
// with a client that costs as little as can be.
func calls(b *testing.B, h http.Handler, version, token string) {
	server := httptest.NewServer(h)
	defer server.Close()
	defer runtime.KeepAlive(ballast)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		// In a session, ids of requests in progress differ; so a session each.
		var bytes strings.Builder
		if err := request(version, open(h, version, token), token).Write(&bytes); err != nil {
			b.Error(err)
			return
		}
		conn := must(net.Dial("tcp", server.Listener.Addr().String()))
		defer conn.Close()
		in := bufio.NewReader(conn)
		for pb.Next() {
			must(io.WriteString(conn, bytes.String()))
			answer := must(http.ReadResponse(in, nil))
			body := must(io.ReadAll(answer.Body))
			if !strings.Contains(string(body), `"hello"`) {
				b.Error(answer.Status, string(body))
				return
			}
		}
	})
}
