package gateway_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/policy"
)

func encodedName(name string) string {
	return "=?base64?" + base64.StdEncoding.EncodeToString([]byte(name)) + "?="
}

const umlaut = "grüße ✓"

func greeting() *gatewaytest.Factory {
	return &gatewaytest.Factory{Setup: func(server *mcp.Server, _ gateway.Call) {
		server.AddResource(&mcp.Resource{Name: umlaut, URI: "notes://grüße"}, func(context.Context, *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
			return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: "notes://grüße", Text: "hello"}}}, nil
		})
		server.AddPrompt(&mcp.Prompt{Name: umlaut}, func(context.Context, *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
			return &mcp.GetPromptResult{Messages: []*mcp.PromptMessage{{Role: "user", Content: &mcp.TextContent{Text: "hello"}}}}, nil
		})
		for _, name := range []string{umlaut, "secret"} {
			gatewaytest.AddTool(server, name, func(context.Context, *mcp.CallToolRequest) (string, error) { return "hello", nil })
		}
	}}
}

// The official client writes such names in base64, and no server of the
// official SDK reads them.
func TestNamesBeyondASCII(t *testing.T) {
	for _, version := range eras {
		t.Run(version, func(t *testing.T) {
			s := gatewaytest.Start(t, gateway.Config{Factory: greeting().Make})
			c := s.Connect(t, s.Token(t, "alice"), version)
			if got := c.Call(t, umlaut, nil); got != "hello" {
				t.Errorf("the tool says %q", got)
			}
			if got, err := c.GetPrompt(t.Context(), &mcp.GetPromptParams{Name: umlaut}); err != nil || len(got.Messages) != 1 {
				t.Errorf("the prompt: %v, %v", got, err)
			}
			if got, err := c.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: "notes://grüße"}); err != nil || len(got.Contents) != 1 {
				t.Errorf("the resource: %v, %v", got, err)
			}
		})
	}
}

func TestHeadersThatRepeatTheBody(t *testing.T) {
	s := gatewaytest.Start(t, gateway.Config{Factory: greeting().Make, Rules: []policy.Rule{{Tool: "secret", Scopes: []string{"secret"}}}})
	alice := s.Token(t, "alice")
	session := s.Open(t, alice, gatewaytest.Legacy)
	const ok, method, name = "", "Mcp-Method", "Mcp-Name"
	for _, test := range []struct {
		title     string
		tool      string
		method    []string
		name      []string
		modern    string // ok, or the header that is refused
		legacy    string
		byTheSDK  bool // refuses it in 2026-07-28
		challenge bool // for a scope
	}{
		{title: "as they should be", tool: "whoami", method: []string{"tools/call"}, name: []string{"whoami"}},
		{title: "a plain name in base64", tool: "whoami", method: []string{"tools/call"}, name: []string{encodedName("whoami")}},
		{title: "a name beyond ASCII in base64", tool: umlaut, method: []string{"tools/call"}, name: []string{encodedName(umlaut)}},
		{title: "base64 of another name", tool: "whoami", method: []string{"tools/call"}, name: []string{encodedName("secret")}, modern: name, legacy: name},
		{title: "base64 that is none", tool: "whoami", method: []string{"tools/call"}, name: []string{"=?base64?who am i?="}, modern: name, legacy: name},
		{title: "base64 without padding", tool: "whoami1", method: []string{"tools/call"}, name: []string{"=?base64?d2hvYW1pMQ?="}, modern: name, legacy: name},
		{title: "base64 cut short", tool: "whoami", method: []string{"tools/call"}, name: []string{"=?base64?="}, modern: name, legacy: name},
		{title: "another name", tool: "whoami", method: []string{"tools/call"}, name: []string{"secret"}, modern: name, legacy: name},
		{title: "a harmless name for a guarded tool", tool: "secret", method: []string{"tools/call"}, name: []string{"whoami"}, modern: name, legacy: name},
		{title: "a guarded tool by its name", tool: "secret", method: []string{"tools/call"}, name: []string{"secret"}, challenge: true},
		{title: "the name in other letters", tool: "whoami", method: []string{"tools/call"}, name: []string{"WhoAmI"}, modern: name, legacy: name},
		{title: "two names", tool: "whoami", method: []string{"tools/call"}, name: []string{"whoami", "whoami"}, modern: name, legacy: name},
		{title: "another method", tool: "whoami", method: []string{"tools/list"}, name: []string{"whoami"}, modern: method, legacy: method},
		{title: "two methods", tool: "whoami", method: []string{"tools/call", "tools/call"}, name: []string{"whoami"}, modern: method, legacy: method},
		{title: "two methods, one wrong", tool: "whoami", method: []string{"tools/call", "tools/list"}, name: []string{"whoami"}, modern: method, legacy: method},
		{title: "an empty method", tool: "whoami", method: []string{""}, name: []string{"whoami"}, modern: method, legacy: method},
		{title: "none", tool: "whoami", byTheSDK: true},
		{title: "no name", tool: "whoami", method: []string{"tools/call"}, byTheSDK: true},
	} {
		for _, version := range eras {
			t.Run(test.title+" "+version, func(t *testing.T) {
				request, refused := gatewaytest.ModernCall(alice, 7, test.tool, "{}"), test.modern
				if version == gatewaytest.Legacy {
					request = gatewaytest.Request{Token: alice, Session: session, Version: version, Body: gatewaytest.CallTool(7, test.tool, "{}")}
					refused = test.legacy
				}
				request.Header = headers{method: test.method, name: test.name}
				got := s.Do(t, request)
				switch {
				case test.challenge:
					if got.Status != http.StatusForbidden {
						t.Errorf("answer = %d %s", got.Status, got.Body)
					}
				case test.byTheSDK && version == gatewaytest.Modern:
					if got.Status != http.StatusBadRequest {
						t.Errorf("answer = %d %s", got.Status, got.Body)
					}
				case refused != ok:
					want := fmt.Sprintf("{\"jsonrpc\":\"2.0\",\"id\":7,\"error\":{\"code\":-32020,\"message\":\"Header mismatch: %s is not what the body says\"}}\n", refused)
					if got.Status != http.StatusBadRequest || got.Body != want {
						t.Errorf("answer = %d %s; want %s", got.Status, got.Body, want)
					}
				case got.Status != http.StatusOK || got.Text() == "":
					t.Errorf("answer = %d %s", got.Status, got.Body)
				}
			})
		}
	}
	// One header cannot repeat a batch.
	got := s.Do(t, gatewaytest.Request{Token: alice, Header: headers{method: {"ping"}}, Body: "[" + gatewaytest.Message(1, "ping", "") + "," + gatewaytest.Message(2, "ping", "") + "]"})
	if got.Status != http.StatusBadRequest || got.Body != "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32020,\"message\":\"Header mismatch: Mcp-Method is not what the body says\"}}\n" {
		t.Errorf("a batch: %d %s", got.Status, got.Body)
	}
}
