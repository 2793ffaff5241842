package tool_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth/tool"
)

// The server's side of a call, without transport: validation, handler, result.
func BenchmarkCall(b *testing.B) {
	type in struct {
		Note string `json:"note"`
	}
	bare := func(_ context.Context, _ *mcp.CallToolRequest, in in) (*mcp.CallToolResult, output, error) {
		return nil, output{in.Note}, nil
	}
	handler := func(_ context.Context, _ *tool.Call, in in) (output, error) { return output{in.Note}, nil }
	it := &mcp.Tool{Name: "it"}
	for _, test := range []struct {
		name string
		add  func(*mcp.Server)
	}{
		{"mcp.AddTool", func(s *mcp.Server) { mcp.AddTool(s, it, bare) }},
		{"no steps", func(s *mcp.Server) { tool.Add(s, it, handler) }},
		{"RequireScopes", func(s *mcp.Server) { tool.Add(s, it, handler, tool.RequireScopes("notes:read")) }},
		{"Timeout", func(s *mcp.Server) { tool.Add(s, it, handler, tool.Timeout(time.Minute)) }},
		{"Log RequireScopes Timeout Retry", func(s *mcp.Server) {
			tool.Add(s, it, handler, tool.Log(slog.New(slog.DiscardHandler)), tool.RequireScopes("notes:read"), tool.Timeout(time.Minute), tool.Retry(tool.RetryPolicy{}))
		}},
	} {
		b.Run(test.name, func(b *testing.B) {
			var again func() error
			session := connect(b, alice, nil, func(s *mcp.Server) {
				test.add(s)
				s.AddReceivingMiddleware(func(next mcp.MethodHandler) mcp.MethodHandler {
					return func(ctx context.Context, method string, r mcp.Request) (mcp.Result, error) {
						if method == "tools/call" {
							again = func() error {
								_, err := next(alice.context(b.Context()), method, r)
								return err
							}
						}
						return next(ctx, method, r)
					}
				})
			})
			if got := answer(b, session, "it", in{"milk"}); got != `{"text":"milk"}` {
				b.Fatal(got)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := again(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
