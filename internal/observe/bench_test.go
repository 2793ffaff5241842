package observe_test

import (
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/observe"
)

// What one request costs beside its work: log, audit log and metrics, each
// into nothing.
func BenchmarkDone(b *testing.B) {
	json := slog.New(slog.NewJSONHandler(io.Discard, nil))
	none := slog.New(slog.DiscardHandler)
	ok := event(b)
	bad := ok
	bad.Identity, bad.Status, bad.Outcome = nil, 401, observe.Refused
	bad.Refusal = &mcpauth.Error{Code: mcpauth.ErrExpired, Message: "JWT verification failed: the token has expired"}
	for _, bench := range []struct {
		name   string
		config observe.Config
		event  observe.Event
	}{
		{"metrics", observe.Config{Logger: none}, ok},
		{"metrics+log", observe.Config{Logger: json}, ok},
		{"metrics+audit", observe.Config{Logger: none, Audit: io.Discard}, ok},
		{"all", observe.Config{Logger: json, Audit: io.Discard}, ok},
		{"all,users=hashed", observe.Config{Logger: json, Audit: io.Discard, Users: observe.UserHashed}, ok},
		{"all,refused", observe.Config{Logger: json, Audit: io.Discard}, bad},
	} {
		b.Run(bench.name, func(b *testing.B) {
			o := observe.New(bench.config)
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				o.Done(ctx, bench.event)
			}
		})
	}
}

func TestMetricsAloneCostNoAllocation(t *testing.T) {
	o := observe.New(observe.Config{Logger: slog.New(slog.DiscardHandler)})
	for _, method := range []string{"tools/call", "", "made/up"} {
		e := event(t)
		e.Method = method
		done := func() { o.Done(t.Context(), e) }
		done()
		if n := testing.AllocsPerRun(100, done); n != 0 {
			t.Errorf("method %q: %v allocations", method, n)
		}
	}
}

const (
	token = "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VySWQiOiJ1c2VyLTcifQ.c2lnbmF0dXJlLWNhbmFyeQ"
	email = "canary@example.com"
)

// event is a tool call that went well, by a user with a token and claims.
func event(t testing.TB) observe.Event {
	t.Helper()
	return observe.Event{
		Time: time.Date(2026, 8, 1, 14, 0, 0, 5, time.FixedZone("", 7200)), RequestID: "r-1", Remote: "192.0.2.7:4711",
		HTTPMethod: "POST", Path: "/mcp", Status: 200, Method: "tools/call", Name: "search", ProtocolVersion: "2025-11-25",
		Identity: identity(t, "user-7"), Outcome: observe.OK, Duration: 1500 * time.Microsecond,
	}
}
