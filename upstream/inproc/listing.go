package inproc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/envelope"
)

// Listing is what a server lists: the names of its tools and prompts, the URIs of
// its resources, and the URI templates of others.
type Listing struct {
	Tools, Prompts, Resources, ResourceTemplates []string
}

// maxPages bounds a list.
const maxPages = 100

// list tells config.Listed what a new server lists to the user in ctx, without
// having the caller wait. handle is the server's own handler, without the
// middleware of this package: these requests count as none of the user's, and the
// lists have what is hidden from the user. The instance stays open meanwhile.
func (u *Upstream) list(ctx context.Context, in *instance, handle mcp.MethodHandler) {
	in.listing = true // nobody else has it yet
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), u.config.CallTimeout)
	stop := context.AfterFunc(u.stopping, cancel)
	listed := make(chan error, 1)
	go func() { // not waited for when it does not heed its context
		listing, err := u.askForLists(ctx, in, handle)
		if err == nil {
			u.config.Listed(listing)
		}
		listed <- err
	}()
	u.spawn(func() {
		defer u.pool.listed(in)
		defer cancel()
		defer stop()
		var err error
		select {
		case err = <-listed:
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil && u.stopping.Err() == nil {
			u.config.Logger.WarnContext(ctx, "what a server has is not known, and names in rules and rates are not compared with it", "error", err)
		}
	})
}

// askForLists asks for all lists.
func (u *Upstream) askForLists(ctx context.Context, in *instance, handle mcp.MethodHandler) (l Listing, err error) {
	defer func() {
		if p := recover(); p != nil {
			u.config.Logger.ErrorContext(ctx, "panic in a server", "request_id", mcpauth.RequestID(ctx), "method", "list", "panic", p, "stack", string(debug.Stack()))
			err = errors.New("panic")
		}
	}()
	c := &silent{ended: make(chan struct{})}
	session, err := in.made.Server.Connect(ctx, c, nil)
	if err != nil {
		return l, err
	}
	defer session.Close()
	defer c.Close()
	extra := extraOf(ctx, in, http.Header{})
	for _, list := range []struct {
		method  string
		request func(cursor string) mcp.Request
	}{
		{"tools/list", func(cursor string) mcp.Request {
			return &mcp.ListToolsRequest{Session: session, Params: &mcp.ListToolsParams{Cursor: cursor}, Extra: extra}
		}},
		{"prompts/list", func(cursor string) mcp.Request {
			return &mcp.ListPromptsRequest{Session: session, Params: &mcp.ListPromptsParams{Cursor: cursor}, Extra: extra}
		}},
		{"resources/list", func(cursor string) mcp.Request {
			return &mcp.ListResourcesRequest{Session: session, Params: &mcp.ListResourcesParams{Cursor: cursor}, Extra: extra}
		}},
		{"resources/templates/list", func(cursor string) mcp.Request {
			return &mcp.ListResourceTemplatesRequest{Session: session, Params: &mcp.ListResourceTemplatesParams{Cursor: cursor}, Extra: extra}
		}},
	} {
		cursor := ""
		for page := 0; page == 0 || cursor != ""; page++ {
			if page == maxPages {
				return l, fmt.Errorf("%s has more than %d pages", list.method, maxPages)
			}
			result, err := handle(ctx, list.method, list.request(cursor))
			if rpc, _ := errors.AsType[*jsonrpc.Error](err); rpc != nil && rpc.Code == envelope.CodeMethodNotFound {
				break // it has none of these
			}
			if err == nil {
				cursor, err = l.add(result)
			}
			if err != nil {
				return l, fmt.Errorf("%s: %w", list.method, err)
			}
		}
	}
	return l, nil
}

// add adds a page of a list, and returns the cursor of the next one.
func (l *Listing) add(page mcp.Result) (next string, err error) {
	switch page := page.(type) {
	case *mcp.ListToolsResult:
		for _, t := range page.Tools {
			l.Tools = append(l.Tools, t.Name)
		}
		return page.NextCursor, nil
	case *mcp.ListPromptsResult:
		for _, p := range page.Prompts {
			l.Prompts = append(l.Prompts, p.Name)
		}
		return page.NextCursor, nil
	case *mcp.ListResourcesResult:
		for _, r := range page.Resources {
			l.Resources = append(l.Resources, r.URI)
		}
		return page.NextCursor, nil
	case *mcp.ListResourceTemplatesResult:
		for _, t := range page.ResourceTemplates {
			l.ResourceTemplates = append(l.ResourceTemplates, t.URITemplate)
		}
		return page.NextCursor, nil
	}
	return "", fmt.Errorf("answered with a %T", page)
}

// silent is the SDK's connection to a client that says and hears nothing: an
// mcp.Transport and its mcp.Connection.
type silent struct {
	end   sync.Once
	ended chan struct{}
}

// Connect implements mcp.Transport.
func (c *silent) Connect(context.Context) (mcp.Connection, error) { return c, nil }

// SessionID implements mcp.Connection.
func (c *silent) SessionID() string { return "" }

// Read implements mcp.Connection.
func (c *silent) Read(context.Context) (jsonrpc.Message, error) {
	<-c.ended
	return nil, io.EOF
}

// Write implements mcp.Connection.
func (c *silent) Write(context.Context, jsonrpc.Message) error { return nil }

// Close implements mcp.Connection.
func (c *silent) Close() error {
	c.end.Do(func() { close(c.ended) })
	return nil
}
