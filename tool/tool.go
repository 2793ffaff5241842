package tool

import (
	"context"
	"fmt"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
)

// Call is what a handler has of its caller. It is shared by everything that
// runs for the call, and is not to be changed.
type Call struct {
	// Identity is the user. It is never nil in a handler.
	Identity *mcpauth.Identity
	// Credential is what the user has for the resource behind the server, or
	// nil when they have none there; see RequireCredential.
	Credential *mcpauth.Credential
	// Request is the call as the SDK delivers it. Its headers and _meta come
	// from the client, and say nothing reliable about the user.
	Request *mcp.CallToolRequest
}

// Progress tells the caller of this call, and nobody else, how far it is;
// total is zero when that is not known. It does nothing when the caller has
// not asked for progress, and fails once ctx is done, since the answer may
// have been given by then. ctx is the handler's.
func (c *Call) Progress(ctx context.Context, progress, total float64, message string) error {
	if c.Request == nil || c.Request.Params == nil || c.Request.Session == nil {
		return nil
	}
	token := c.Request.Params.GetProgressToken()
	if token == nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return c.Request.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{
		ProgressToken: token, Progress: progress, Total: total, Message: message,
	})
}

// name returns the tool's name.
func (c *Call) name() string {
	if c.Request == nil || c.Request.Params == nil {
		return ""
	}
	return c.Request.Params.Name
}

// Handler does the work of a tool. In and Out are what mcp.AddTool allows: In a
// struct or map, from which the input schema is made, Out whatever is to be the
// structured content of the result, with its schema.
//
// A handler that writes the result itself, as text or images, or beside its
// structured content, has *mcp.CallToolResult for Out. The tool then has an
// output schema only if [mcp.Tool.OutputSchema] gives one, and the result's
// StructuredContent is validated against it.
//
// An error is the result of the call, for the model to read (so it must be fit
// to be read by it), but for a *jsonrpc.Error, which is an error of the
// protocol.
type Handler[In, Out any] func(ctx context.Context, call *Call, in In) (Out, error)

// Add adds t to s, with h behind steps. As mcp.AddTool does, it panics when
// the tool cannot be served: no handler, a step that is nil, or a type without
// schema.
func Add[In, Out any](s *mcp.Server, t *mcp.Tool, h Handler[In, Out], steps ...Step) {
	if h == nil {
		panic(fmt.Sprintf("tool: %q has no handler", t.Name))
	}
	var around Step
	if len(steps) > 0 {
		around = Compose(steps...)
	}
	var out Out
	switch any(&out).(type) {
	case **mcp.CallToolResult, *any:
		// The SDK would describe a result within the result.
		mcp.AddTool(s, t, func(ctx context.Context, r *mcp.CallToolRequest, in In) (*mcp.CallToolResult, any, error) {
			out, err := serve(ctx, r, in, h, around)
			if err != nil {
				return nil, nil, err
			}
			result, ok := any(out).(*mcp.CallToolResult)
			switch {
			case !ok:
				return nil, out, nil
			case result == nil || result.IsError:
				return result, nil, nil // an error need not fit the schema
			}
			return result, result.StructuredContent, nil
		})
	default:
		mcp.AddTool(s, t, func(ctx context.Context, r *mcp.CallToolRequest, in In) (*mcp.CallToolResult, Out, error) {
			out, err := serve(ctx, r, in, h, around)
			return nil, out, err
		})
	}
}

// serve runs h behind around, which is nil when there are no steps.
func serve[In, Out any](ctx context.Context, r *mcp.CallToolRequest, in In, h Handler[In, Out], around Step) (out Out, err error) {
	id := mcpauth.FromContext(ctx)
	if id == nil || id.Principal() == "" {
		return out, errNoUser
	}
	call := &Call{Identity: id, Credential: mcpauth.CredentialFrom(ctx), Request: r}
	if around == nil {
		err = contained(func() error {
			out, err = h(ctx, call, in)
			return err
		})
		return out, answer(ctx, call, err)
	}
	var end outcome
	err = around(end.in(ctx), call, func(ctx context.Context) error {
		out, err := h(ctx, call, in)
		if err == nil {
			outcomeOf(ctx).set(out)
		}
		return err
	})
	result, ok := end.take()
	if err == nil && !ok {
		return out, errNoResult
	}
	out, _ = result.(Out)
	return out, answer(ctx, call, err)
}

var (
	errNoUser = &jsonrpc.Error{Code: jsonrpc.CodeInternalError,
		Message: "this tool needs a verified user, and the server knows of none: it must be served behind mcpauth"}
	errNoResult = &jsonrpc.Error{Code: jsonrpc.CodeInternalError,
		Message: "internal error: a step ended the call with neither a result nor an error"}
	errInternal = &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "internal error"}
)

// answer returns err as the client gets it.
func answer(ctx context.Context, call *Call, err error) error {
	if p := panicOf(err); p != nil {
		p.log(ctx, call)
		return errInternal
	}
	for {
		// The SDK knows a *jsonrpc.Error only when it is not wrapped.
		again, ok := err.(*retryable)
		if !ok {
			return err
		}
		err = again.err
	}
}
