package inproc

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/envelope"
)

// Unconnected says how calls are refused of users who have no credential for the
// resource, since they have not connected their account there.
type Unconnected struct {
	ResourceType string
	URL          string // where they connect it; "" if nobody knows
	Ask          bool   // clients that can are to open URL for their user
}

// free are the methods that work without the credential: they open the session,
// or say what there is.
var free = map[string]bool{
	"initialize": true, "ping": true, "server/discover": true, "logging/setLevel": true, "resources/unsubscribe": true,
	"tools/list": true, "prompts/list": true, "resources/list": true, "resources/templates/list": true,
}

// needs reports whether a method is one that a server needs the credential for.
func needs(method string, req mcp.Request) bool {
	if params, ok := req.GetParams().(*mcp.SubscriptionsListenParams); ok {
		return params != nil && params.Notifications != nil && len(params.Notifications.ResourceSubscriptions) > 0
	}
	return !free[method] && !strings.HasPrefix(method, notifications)
}

// answer returns what a call gets instead of a result; nil, nil if it may go on.
func (u *Unconnected) answer(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
	if u == nil || mcpauth.CredentialFrom(ctx) != nil || !needs(method, req) {
		return nil, nil
	}
	message := fmt.Sprintf("No account is connected for %s.", u.ResourceType)
	session, ok := req.GetSession().(*mcp.ServerSession)
	if u.Ask && ok && opensURLs(session) {
		if session.InitializeParams().ProtocolVersion < modernVersion {
			return nil, mcp.URLElicitationRequiredError([]*mcp.ElicitParams{
				{Mode: "url", ElicitationID: rand.Text(), URL: u.URL, Message: message + " Connect one there, and try again."},
			})
		}
		if result := u.inputRequired(method, message); result != nil {
			return result, nil
		}
	}
	data := map[string]string{"resource_type": u.ResourceType}
	if u.URL != "" {
		message += " Connect one at " + u.URL + ", and try again."
		data["connect_url"] = u.URL
	}
	text, err := json.Marshal(data)
	if err != nil {
		return nil, err
	}
	return nil, &jsonrpc.Error{Code: envelope.CodeNotConnected, Message: message, Data: text}
}

// opensURLs reports whether the client of s can open a URL for its user.
func opensURLs(s *mcp.ServerSession) bool {
	client := s.InitializeParams()
	return client != nil && client.Capabilities != nil && client.Capabilities.Elicitation != nil && client.Capabilities.Elicitation.URL != nil
}

// inputRequired returns the result that has a client of 2026-07-28 open the URL
// and call again (MCP 2026-07-28, multi round-trip requests), or nil for methods
// that have no such result. The SDK has no other way to say of what kind a result
// is than to decode it.
func (u *Unconnected) inputRequired(method, message string) mcp.Result {
	var result mcp.Result
	switch method {
	case "tools/call":
		result = new(mcp.CallToolResult)
	case "prompts/get":
		result = new(mcp.GetPromptResult)
	case "resources/read":
		result = new(mcp.ReadResourceResult)
	default:
		return nil
	}
	text, err := json.Marshal(map[string]any{
		"resultType": "input_required",
		"inputRequests": mcp.InputRequestMap{
			"connect": &mcp.ElicitParams{Mode: "url", URL: u.URL, Message: message + " Connect one there, and go on."},
		},
	})
	if err != nil || json.Unmarshal(text, result) != nil {
		return nil
	}
	return result
}
