package inproc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/envelope"
	"github.com/mcpauth-go/mcpauth/internal/sdk"
)

// told is what the SDK is told of a user, made once for an identity that many
// requests come with. It is shared by them, and so for reading only.
type told struct {
	id   *mcpauth.Identity
	info *auth.TokenInfo
}

// tell returns what the SDK is told of id.
func (in *instance) tell(id *mcpauth.Identity) *auth.TokenInfo {
	last := in.told.Load()
	if last == nil || last.id != id {
		last = &told{id, sdk.TokenInfo(id)}
		in.told.Store(last)
	}
	return last.info
}

// onBehalfOf is MCP middleware of a server that belongs to principal.
func (u *Upstream) onBehalfOf(principal string) mcp.Middleware {
	return func(next mcp.MethodHandler) mcp.MethodHandler {
		next = boundSubscriptions(next)
		return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
			ctx = sdk.RequestContext(ctx, req)
			if ctx == nil || mcpauth.FromContext(ctx) == nil || mcpauth.FromContext(ctx).Principal() != principal {
				return nil, errors.New("this server belongs to another user")
			}
			if s := servingFrom(ctx).inSession(); s != nil {
				// The request may be gone before the call has ended.
				u.pool.hold(s)
				defer u.pool.done(s)
			}
			result, err := u.config.Unconnected.answer(ctx, method, req)
			if result == nil && err == nil {
				result, err = u.call(ctx, next, method, req)
			}
			// A notification has been answered before.
			if reason := failure(result, err); reason != "" && u.config.Failed != nil && !strings.HasPrefix(method, notifications) {
				u.config.Failed(ctx, reason)
			}
			if err != nil {
				return nil, err // a nil result within the interface would not do
			}
			return result, nil
		}
	}
}

// failure says why a call has failed, without words of the author's, which may
// hold what is not for a log; "" if it has not.
func failure(result mcp.Result, err error) string {
	tool, ok := result.(*mcp.CallToolResult)
	rpc, _ := err.(*jsonrpc.Error)
	switch {
	case rpc != nil && rpc.Code == envelope.CodeTimeout:
		return rpc.Message
	case rpc != nil:
		return answeredWith(rpc)
	case err != nil:
		return "the server answers with an error"
	case ok && tool.IsError:
		return "the tool says that it has failed"
	}
	return ""
}

func answeredWith(e *jsonrpc.Error) string {
	return fmt.Sprintf("the server answers with error %d", e.Code)
}

// call calls next, which has its time.
func (u *Upstream) call(ctx context.Context, next mcp.MethodHandler, method string, req mcp.Request) (mcp.Result, error) {
	switch {
	case method == methodListen:
		return u.safely(ctx, next, method, req)
	case strings.HasPrefix(method, notifications):
		return nil, u.notify(ctx, next, method, req)
	}
	ctx, release := u.apart(ctx)
	defer release()
	owner, err := u.pool.begin(mcpauth.FromContext(ctx).Principal())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, u.config.CallTimeout)
	defer cancel()
	if s := servingFrom(ctx).inSession(); s != nil {
		defer context.AfterFunc(s.ending, cancel)()
	}
	type outcome struct {
		result mcp.Result
		err    error
	}
	answered := make(chan outcome, 1)
	go func() {
		growStack()
		result, err := func() (mcp.Result, error) {
			defer u.pool.over(owner) // before its answer lets the client ask for more
			return u.safely(ctx, next, method, req)
		}()
		answered <- outcome{result, err}
	}()
	select {
	case o := <-answered:
		return u.unlessLate(ctx, o.result, o.err)
	case <-ctx.Done():
	}
	if ctx.Err() == context.Canceled {
		// What it answers now may still be wanted, by who resumes the stream of a
		// session.
		deadline, _ := ctx.Deadline()
		patience := time.Until(deadline)
		if Ended(ctx) != nil || servingFrom(ctx).inSession() == nil { // nobody is to have it
			patience = min(patience, cancelPatience)
		}
		late := time.NewTimer(patience)
		defer late.Stop()
		select {
		case o := <-answered:
			return u.unlessLate(ctx, o.result, o.err)
		case <-late.C:
		}
	}
	// A handler that does not listen to its context is left to itself.
	return u.unlessLate(ctx, nil, timedOut(u.config.CallTimeout))
}

const notifications = "notifications/"

// notifyPatience is how long what comes behind a notification waits for it.
const notifyPatience = time.Second

// notify calls next with a notification, which has its time as a call has. The
// SDK takes notifications, and what comes behind them in a session, one after
// the other; so it waits for a short while only, after which the handler goes on
// by itself.
func (u *Upstream) notify(ctx context.Context, next mcp.MethodHandler, method string, req mcp.Request) error {
	// The SDK ends the context of a notification when it waits no longer.
	if o, ok := ctx.(sdk.Overlaid); ok {
		ctx = sdk.Overlaid{Context: context.WithoutCancel(o.Context), Values: o.Values}
	}
	ctx, release := u.apart(ctx)
	owner, err := u.pool.begin(mcpauth.FromContext(ctx).Principal())
	if err != nil {
		release()
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, u.config.CallTimeout)
	leave := func() {}
	stop := func() bool { return true }
	if s := servingFrom(ctx).inSession(); s != nil {
		stop = context.AfterFunc(s.ending, cancel)
		u.pool.hold(s)
		leave = sync.OnceFunc(func() { u.pool.done(s) })
		context.AfterFunc(ctx, leave) // whether or not the handler heeds it
	}
	handled := make(chan error, 1)
	go func() {
		_, err := func() (mcp.Result, error) {
			defer u.pool.over(owner)
			defer release()
			defer stop()
			defer cancel()
			defer leave()
			return u.safely(ctx, next, method, req)
		}()
		handled <- err
	}()
	patience := time.NewTimer(min(notifyPatience, u.config.CallTimeout))
	defer patience.Stop()
	select {
	case err := <-handled:
		return err
	case <-patience.C:
		return nil
	}
}

// growStack gives a new goroutine at once the stack that a call takes. Grown as
// it goes, it would be copied several times with all that is on it, which costs
// more than the rest of the goroutine.
//
//go:noinline
func growStack() {
	var room [12 << 10]byte
	runtime.KeepAlive(&room)
}

// unlessLate returns what a handler has returned, unless it has failed for want
// of time, or nobody is to have it any more.
func (u *Upstream) unlessLate(ctx context.Context, result mcp.Result, err error) (mcp.Result, error) {
	if Ended(ctx) != nil {
		return nil, errCredentialEnded
	}
	tool, ok := result.(*mcp.CallToolResult)
	if ctx.Err() == context.DeadlineExceeded && (err != nil || ok && tool.IsError) {
		return nil, timedOut(u.config.CallTimeout)
	}
	return result, err
}

func timedOut(after time.Duration) *jsonrpc.Error {
	return &jsonrpc.Error{Code: envelope.CodeTimeout, Message: fmt.Sprintf("request timed out after %s", after)}
}

// safely calls next, whose panics would otherwise end the process for all
// users: the SDK runs this in a goroutine of its own, and encodes results in
// one.
func (u *Upstream) safely(ctx context.Context, next mcp.MethodHandler, method string, req mcp.Request) (result mcp.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			u.config.Logger.ErrorContext(ctx, "panic in a server", "request_id", mcpauth.RequestID(ctx), "method", method, "panic", p, "stack", string(debug.Stack()))
			result, err = nil, &jsonrpc.Error{Code: envelope.CodeInternal, Message: "internal error"}
		}
	}()
	if result, err = next(ctx, method, req); err != nil {
		return nil, err
	}
	if list, ok := result.(*mcp.ListToolsResult); ok {
		if to := servingFrom(ctx); to != nil {
			params, _ := req.GetParams().(*mcp.ListToolsParams)
			to.in.tools.note(list.Tools, params != nil && params.Cursor != "")
		}
	}
	return encoded(u.show(ctx, result))
}

// encoded returns result with what the author's own types hold as JSON already.
// The SDK would encode it in a goroutine where a panic of theirs ends the
// process.
func encoded(result mcp.Result) (mcp.Result, error) {
	r, ok := result.(*mcp.CallToolResult)
	if !ok || !plain(r.Content) {
		// On trial: what does not encode would be found out by the SDK only,
		// which then never answers.
		if _, err := json.Marshal(result); err != nil {
			return nil, fmt.Errorf("the result: %w", err)
		}
	}
	if !ok || r.StructuredContent == nil && len(r.Meta) == 0 {
		return result, nil
	}
	own := *r // the author may keep theirs
	if _, done := r.StructuredContent.(json.RawMessage); r.StructuredContent != nil && !done {
		text, err := json.Marshal(r.StructuredContent)
		if err != nil {
			return nil, fmt.Errorf("structured content: %w", err)
		}
		own.StructuredContent = json.RawMessage(text)
	}
	if len(r.Meta) > 0 {
		own.Meta = make(mcp.Meta, len(r.Meta))
		for name, value := range r.Meta {
			text, err := json.Marshal(value)
			if err != nil {
				return nil, fmt.Errorf("_meta: %w", err)
			}
			own.Meta[name] = json.RawMessage(text)
		}
	}
	return &own, nil
}

// plain reports whether content has nothing of the author's own types.
func plain(content []mcp.Content) bool {
	for _, c := range content {
		if t, ok := c.(*mcp.TextContent); !ok || t == nil || len(t.Meta) > 0 {
			return false
		}
	}
	return true
}

// show returns result without what its user is not to see in a list, and marked
// as being for this user alone.
func (u *Upstream) show(ctx context.Context, result mcp.Result) mcp.Result {
	result = sdk.Private(result) // a copy, where it is a list
	switch r := result.(type) {
	case *mcp.ListToolsResult:
		r.Tools = shown(ctx, u, "tool", r.Tools, func(t *mcp.Tool) string { return t.Name })
	case *mcp.ListPromptsResult:
		r.Prompts = shown(ctx, u, "prompt", r.Prompts, func(p *mcp.Prompt) string { return p.Name })
	case *mcp.ListResourcesResult:
		r.Resources = shown(ctx, u, "resource", r.Resources, func(r *mcp.Resource) string { return r.URI })
	case *mcp.ListResourceTemplatesResult:
		r.ResourceTemplates = shown(ctx, u, "resource", r.ResourceTemplates, func(t *mcp.ResourceTemplate) string { return t.URITemplate })
	}
	return result
}

// shown returns those of items that the user in ctx is to see.
func shown[T any](ctx context.Context, u *Upstream, kind string, items []T, name func(T) string) []T {
	if u.config.Shows == nil {
		return items
	}
	hidden := func(item T) bool { return !u.config.Shows(ctx, kind, name(item)) }
	return slices.DeleteFunc(slices.Clone(items), hidden)
}
