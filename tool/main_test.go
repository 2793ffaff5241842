package tool_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.uber.org/goleak"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/tool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// caller is who the server takes its client for, as the gateway tells it.
type caller struct {
	id         *mcpauth.Identity
	credential *mcpauth.Credential
}

var (
	alice  = user("alice", "notes:read", "notes:write")
	bob    = user("bob")
	nobody = caller{}
)

func user(name string, scopes ...string) caller {
	id, err := mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: "team", UserID: name, Scopes: scopes, Token: mcpauth.NewSecret("token-of-" + name)})
	if err != nil {
		panic(err)
	}
	return caller{id: id}
}

func (c caller) with(credential string) caller {
	c.credential = &mcpauth.Credential{Token: mcpauth.NewSecret(credential)}
	return c
}

func (c caller) context(ctx context.Context) context.Context {
	return mcpauth.WithCredential(mcpauth.NewContext(ctx, c.id), c.credential)
}

// present is middleware that does for a server what the gateway does.
func (c caller) present(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, r mcp.Request) (mcp.Result, error) {
		return next(c.context(ctx), method, r)
	}
}

// connect returns a client of a server with the tools that add adds to it.
func connect(t testing.TB, who caller, options *mcp.ClientOptions, add func(*mcp.Server)) *mcp.ClientSession {
	t.Helper()
	server := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	server.AddReceivingMiddleware(who.present)
	add(server)
	there, here := mcp.NewInMemoryTransports()
	serving, err := server.Connect(t.Context(), there, nil)
	if err != nil {
		t.Fatal(err)
	}
	session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, options).Connect(t.Context(), here, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		session.Close()
		serving.Wait()
	})
	return session
}

// answer is a call's result in short: the text of the content, after "error: "
// for the result of a failed tool and "protocol: " for an error of the protocol.
func answer(t testing.TB, session *mcp.ClientSession, name string, arguments any) string {
	t.Helper()
	result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: name, Arguments: arguments})
	if err != nil {
		return "protocol: " + err.Error()
	}
	text := ""
	for _, content := range result.Content {
		text += content.(*mcp.TextContent).Text
	}
	if result.IsError {
		return "error: " + text
	}
	return text
}

// try returns the answer to one call, by who, of a tool with h behind steps.
func try(t testing.TB, who caller, h tool.Handler[none, string], steps ...tool.Step) string {
	t.Helper()
	session := connect(t, who, nil, func(s *mcp.Server) { tool.Add(s, &mcp.Tool{Name: "it"}, h, steps...) })
	defer session.Close()
	return answer(t, session, "it", nil)
}

type none struct{}

// says returns a handler that answers text, and err.
func says(text string, err error) tool.Handler[none, string] {
	return func(context.Context, *tool.Call, none) (string, error) { return text, err }
}

func asJSON(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
