package inproc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"sync"
	"syscall"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/envelope"
)

// cancelPatience is how long calls have to end that have been told to.
const cancelPatience = 2 * time.Second

// ServeLocal serves the one user in ctx, who needs no verification because the
// transport is theirs alone, as standard input and output are. Both eras are
// served. resolve finds the user's credential, for each request anew, so that a
// changed one is seen.
//
// It returns when the client has left, once the calls in progress are answered,
// or when ctx ends, which cancels them. The instance is no longer in use then;
// Shutdown waits until it is closed.
func (u *Upstream) ServeLocal(ctx context.Context, transport mcp.Transport, resolve func(context.Context) (*mcpauth.Credential, error)) error {
	credential, err := resolve(ctx)
	if err != nil {
		return err
	}
	in, err := u.create(mcpauth.WithCredential(ctx, credential), &http.Request{URL: &url.URL{}}, PerSession, func() {})
	if err != nil {
		if ctx.Err() != nil {
			return nil // told to stop before anything has begun
		}
		return err
	}
	defer u.pool.finish(in)
	in.made.Server.AddReceivingMiddleware(u.withCredential(resolve))

	values := mcpauth.NewContext(context.Background(), mcpauth.FromContext(ctx))
	l := &local{transport: transport, extra: extraOf(values, in, nil), timeout: u.config.CallTimeout, closed: make(chan struct{})}
	bound, err := in.made.Server.Connect(context.WithoutCancel(ctx), l, nil)
	if err != nil {
		return fmt.Errorf("inproc: %w", err)
	}
	ended := make(chan error, 1)
	go func() { // not waited for: a call that is not over leaves it behind
		err := bound.Wait()
		bound.Close() // ends the SDK's keep-alive
		ended <- err
	}()
	select {
	case err := <-ended:
		if err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, io.ErrClosedPipe) {
			return fmt.Errorf("inproc: %w", err)
		}
		return nil
	case <-ctx.Done():
	}
	began := time.Now() // before any call hears of the end
	l.Close()
	late := time.NewTimer(cancelPatience)
	defer late.Stop()
	select {
	case <-ended:
		// With the patience used up, it has ended because a call was left behind.
		if time.Since(began) < cancelPatience {
			return nil
		}
	case <-late.C:
	}
	return errors.New("inproc: calls in progress that do not heed their context")
}

// withCredential is MCP middleware that finds the user's credential, in the
// goroutine of the request, so that others do not wait for it.
func (u *Upstream) withCredential(resolve func(context.Context) (*mcpauth.Credential, error)) mcp.Middleware {
	return func(next mcp.MethodHandler) mcp.MethodHandler {
		return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
			credential, err := resolve(ctx)
			if err != nil {
				u.config.Logger.ErrorContext(ctx, "the user's credential cannot be had", "method", method, "error", err)
				return nil, &jsonrpc.Error{Code: envelope.CodeInternal, Message: "The user's credential cannot be had now. Please try again later."}
			}
			return next(mcpauth.WithCredential(ctx, credential), method, req)
		}
	}
}

// local is a transport, and its connection, whose requests are all of one user.
type local struct {
	transport mcp.Transport
	extra     *mcp.RequestExtra
	timeout   time.Duration
	calls     calls
	once      sync.Once
	closed    chan struct{}
	mcp.Connection
}

// Connect implements mcp.Transport.
func (l *local) Connect(ctx context.Context) (mcp.Connection, error) {
	var err error
	l.Connection, err = l.transport.Connect(ctx)
	return l, err
}

// Read implements mcp.Connection. A client that has no more to ask, as at the
// end of a pipe, still gets its answers: at the error, the SDK would drop them.
func (l *local) Read(ctx context.Context) (jsonrpc.Message, error) {
	m, err := l.Connection.Read(ctx)
	if errors.Is(err, io.EOF) {
		late := time.NewTimer(l.timeout)
		defer late.Stop()
		select {
		case <-l.calls.none():
		case <-l.closed:
		case <-late.C:
		}
	}
	if request, ok := m.(*jsonrpc.Request); ok {
		request.Extra = l.extra
		if request.IsCall() && request.Method != methodListen {
			_ = l.calls.begin(request.ID, math.MaxInt) // the SDK refuses an id in use
		}
	}
	return m, err
}

// Write implements mcp.Connection.
func (l *local) Write(ctx context.Context, m jsonrpc.Message) error {
	if response, ok := m.(*jsonrpc.Response); ok {
		l.calls.answered(response.ID)
		defer l.calls.written()
	}
	return l.Connection.Write(ctx, m)
}

// Close implements mcp.Connection.
func (l *local) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Connection.Close()
}
