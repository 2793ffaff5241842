package observe_test

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/observe"
)

func ExampleObserver_Done() {
	o := observe.New(observe.Config{Logger: slog.New(slog.DiscardHandler), Audit: os.Stdout})
	o.Done(context.Background(), observe.Event{
		Time: time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC), Duration: 80 * time.Microsecond,
		Remote: "192.0.2.7:4711", HTTPMethod: "POST", Path: "/mcp", Status: 401,
		Refusal: &mcpauth.Error{Code: mcpauth.ErrExpired, Message: "the token has expired"},
	})
	// Output:
	// {"time":"2026-08-01T12:00:00.000000000Z","decision":"refused","outcome":"refused","code":"expired","reason":"the token has expired","remote":"192.0.2.7:4711","http_method":"POST","status":401,"duration_ms":0.08}
}
