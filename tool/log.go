package tool

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
)

// Log writes a record of each call to logger, nil meaning slog.Default():
//
//	request_id, behind a gateway
//	tool      its name
//	user      issuer and user id
//	duration
//	outcome   ok, error, refused, timeout, canceled or panic
//	refusal   code, message and cause of an *mcpauth.Error
//	panic     its value, and the stack
//
// Arguments, results and secrets are not written, and so neither is the text of
// other errors, which may hold any of them. A handler that wants its reason in
// the log, and not before the client, returns an *mcpauth.Error with a Cause.
//
// The level is Info, and Error for a panic. A panic in a tool without Log goes
// to slog.Default().
func Log(logger *slog.Logger) Step {
	return func(ctx context.Context, call *Call, next func(context.Context) error) error {
		start := time.Now()
		err := next(ctx)
		taken := time.Since(start)

		level, outcome, more := slog.LevelInfo, "ok", []slog.Attr(nil)
		if p := panicOf(err); p != nil {
			level, outcome, more = slog.LevelError, "panic", p.attrs()
		} else if e, ok := errors.AsType[*mcpauth.Error](err); ok {
			outcome, more = "refused", []slog.Attr{slog.Any("refusal", e)}
		} else if _, ok := errors.AsType[refusal](err); ok {
			outcome = "refused"
		} else if errors.Is(err, context.DeadlineExceeded) {
			outcome = "timeout"
		} else if errors.Is(err, context.Canceled) {
			outcome = "canceled"
		} else if err != nil || saysError(ctx) {
			outcome = "error"
		}
		to := logger
		if to == nil {
			to = slog.Default()
		}
		attrs := append(about(ctx, call), slog.Duration("duration", taken), slog.String("outcome", outcome))
		to.LogAttrs(ctx, level, "tool called", append(attrs, more...)...)
		return err
	}
}

func about(ctx context.Context, call *Call) []slog.Attr {
	var attrs []slog.Attr
	if id := mcpauth.RequestID(ctx); id != "" {
		attrs = append(attrs, slog.String("request_id", id))
	}
	return append(attrs, slog.String("tool", call.name()), slog.Any("user", call.Identity))
}

// saysError reports whether the handler has returned a result that is an error.
func saysError(ctx context.Context) bool {
	result, ok := outcomeOf(ctx).peek().(*mcp.CallToolResult)
	return ok && result != nil && result.IsError
}
