package tool

import (
	"context"
	"fmt"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/limit"
)

// Limit refuses a call that is one too many for its user, with an
// [*mcpauth.Error] of [mcpauth.ErrRateLimited] that says when to come back. l
// counts one message of the user and one call of the tool. To bound each tool
// by itself, have a limiter with [limit.Off] for User, and Tools.
//
// l is the caller's: made once, not in the factory that makes a server for each
// user or session (which would count anew each time), and not the one that the
// gateway has (which would count each call twice). Limit panics when l is nil.
func Limit(l *limit.Limiter) Step {
	if l == nil {
		panic("tool: Limit: no limiter")
	}
	return func(ctx context.Context, call *Call, next func(context.Context) error) error {
		if wait, ok := l.Take(call.Identity.Principal(), 1, call.name()); !ok {
			wait = max(time.Second, (wait + time.Second - 1).Truncate(time.Second)) // in whole seconds, rounded up
			return &mcpauth.Error{Code: mcpauth.ErrRateLimited, RetryAfter: wait,
				Message: fmt.Sprintf("This tool has been called too often. Please try again in %v.", wait)}
		}
		return next(ctx)
	}
}
