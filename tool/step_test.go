package tool_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/tool"
)

var nothing = slog.New(slog.DiscardHandler)

func TestStepsRunInTheOrderWritten(t *testing.T) {
	var order []string
	note := func(name string) tool.Step {
		return func(ctx context.Context, _ *tool.Call, next func(context.Context) error) error {
			order = append(order, name)
			err := next(ctx)
			order = append(order, "/"+name)
			return err
		}
	}
	handler := func(context.Context, *tool.Call, none) (string, error) {
		order = append(order, "handler")
		return "done", nil
	}
	steps := []tool.Step{note("b"), note("c")}
	composed := tool.Compose(steps...)
	steps[0] = nil // Compose keeps its own
	if got := try(t, alice, handler, note("a"), composed, note("d")); got != `"done"` {
		t.Errorf("answer = %s", got)
	}
	want := []string{"a", "b", "c", "d", "handler", "/d", "/c", "/b", "/a"}
	if !reflect.DeepEqual(order, want) {
		t.Errorf("order = %v, want %v", order, want)
	}
}

func TestWhatAStepMakesOfACall(t *testing.T) {
	type next = func(context.Context) error
	protocol := &jsonrpc.Error{Code: -32042, Message: "log in first"}
	const noResult = `protocol: calling "tools/call": internal error: a step ended the call with neither a result nor an error`
	for _, test := range []struct {
		name    string
		handler tool.Handler[none, string]
		step    tool.Step
		want    string
	}{
		{"passes on", says("done", nil), func(ctx context.Context, _ *tool.Call, next next) error { return next(ctx) }, `"done"`},
		{"passes an error on", says("", errors.New("bad")), func(ctx context.Context, _ *tool.Call, next next) error { return next(ctx) }, "error: bad"},
		{"refuses", says("done", nil), func(context.Context, *tool.Call, next) error { return errors.New("not now") }, "error: not now"},
		{"refuses by the protocol", says("done", nil), func(context.Context, *tool.Call, next) error { return protocol }, `protocol: calling "tools/call": log in first`},
		{"fails after all", says("done", nil), func(ctx context.Context, _ *tool.Call, next next) error { next(ctx); return errors.New("too much") }, "error: too much"},
		{"neither calls nor fails", says("done", nil), func(context.Context, *tool.Call, next) error { return nil }, noResult},
		{"hides an error", says("done", errors.New("bad")), func(ctx context.Context, _ *tool.Call, next next) error { next(ctx); return nil }, noResult},
		{"repeats", says("done", nil), func(ctx context.Context, _ *tool.Call, next next) error { return errors.Join(next(ctx), next(ctx)) }, `"done"`},
		{"loses the context", says("done", nil), func(_ context.Context, _ *tool.Call, next next) error { return next(context.Background()) }, noResult},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := try(t, alice, test.handler, test.step); got != test.want {
				t.Errorf("answer = %s, want %s", got, test.want)
			}
			if got := try(t, alice, test.handler, tool.Timeout(time.Hour), test.step, tool.Timeout(time.Hour)); got != test.want {
				t.Errorf("with a time limit: %s, want %s", got, test.want)
			}
		})
	}
}

// A step that leaves a handler alone without knowing of outcomes, as authors may
// write it.
func TestAnAbandonedHandlerDisturbsNobody(t *testing.T) {
	var running sync.WaitGroup
	defer running.Wait()
	hasty := func(ctx context.Context, _ *tool.Call, next func(context.Context) error) error {
		running.Go(func() { next(ctx) })
		return nil
	}
	session := connect(t, alice, nil, func(s *mcp.Server) { tool.Add(s, &mcp.Tool{Name: "it"}, says("done", nil), hasty) })
	for range 100 {
		if got := answer(t, session, "it", nil); got != `"done"` && !strings.Contains(got, "neither a result nor an error") {
			t.Fatalf("answer = %s", got)
		}
	}
}

func TestTimeout(t *testing.T) {
	sleep := func(d time.Duration) tool.Handler[none, string] {
		return func(context.Context, *tool.Call, none) (string, error) {
			time.Sleep(d)
			return "done", nil
		}
	}
	listen := func(ctx context.Context, _ *tool.Call, _ none) (string, error) {
		<-ctx.Done()
		return "", fmt.Errorf("stopped: %w", ctx.Err())
	}
	for _, test := range []struct {
		name    string
		handler tool.Handler[none, string]
		want    string
		after   time.Duration
	}{
		{"a handler in time", sleep(time.Second), `"done"`, time.Second},
		{"an error in time", says("", errors.New("bad")), "error: bad", 0},
		{"a handler that listens", listen, "error: the tool did not answer within 2s", 2 * time.Second},
		{"a handler that does not", sleep(time.Minute), "error: the tool did not answer within 2s", 2 * time.Second},
		{"a panic in time", func(context.Context, *tool.Call, none) (string, error) { panic("bad") }, `protocol: calling "tools/call": internal error`, 0},
		{"a handler that ends its goroutine", func(context.Context, *tool.Call, none) (string, error) { runtime.Goexit(); return "", nil }, `protocol: calling "tools/call": internal error`, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				got := try(t, alice, test.handler, tool.Log(nothing), tool.Timeout(2*time.Second))
				if took := time.Since(start); got != test.want || took != test.after {
					t.Errorf("%s after %v, want %s after %v", got, took, test.want, test.after)
				}
				time.Sleep(time.Minute) // the handler that is left alone ends
			})
		})
	}
}

func TestALateResultIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var attempts atomic.Int32
		// The first attempt ends while the second runs, and after an answer.
		handler := func(context.Context, *tool.Call, none) (string, error) {
			if attempts.Add(1) == 1 {
				time.Sleep(3 * time.Second)
				return "first", nil
			}
			time.Sleep(1500 * time.Millisecond)
			return "second", nil
		}
		again := func(ctx context.Context, _ *tool.Call, next func(context.Context) error) error {
			if err := next(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the first attempt: %v", err)
			}
			err := next(ctx)
			time.Sleep(time.Second)
			return err
		}
		if got := try(t, alice, handler, again, tool.Timeout(2*time.Second)); got != `"second"` {
			t.Errorf("answer = %s", got)
		}
	})
}

func TestTheCallersEndEndsATimeoutToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(errors.New("inside")) })
		start := time.Now()
		err := tool.Timeout(time.Minute)(ctx, &tool.Call{Identity: alice.id}, func(context.Context) error {
			time.Sleep(time.Hour)
			return nil
		})
		if took := time.Since(start); err != context.Canceled || took != time.Second {
			t.Errorf("%v after %v", err, took)
		}
		time.Sleep(time.Hour)
	})
}

var errBusy = errors.New("busy")

// replays returns a handler that fails with the first of errs, and takes it off,
// for as long as there are any; nil is success.
func replays(errs *[]error) tool.Handler[none, string] {
	return func(context.Context, *tool.Call, none) (string, error) {
		if len(*errs) == 0 {
			return "done", nil
		}
		err := (*errs)[0]
		*errs = (*errs)[1:]
		return "done", err
	}
}

func TestRetry(t *testing.T) {
	busy := errBusy
	protocol := &jsonrpc.Error{Code: -32042, Message: "log in first"}
	between := func(low, high time.Duration) [2]time.Duration { return [2]time.Duration{low, high} }
	const ms = time.Millisecond
	for _, test := range []struct {
		name   string
		policy tool.RetryPolicy
		limit  time.Duration // of all attempts, 0 being none
		fails  []error       // of each attempt; then it succeeds
		want   string
		calls  int
		took   [2]time.Duration
	}{
		{"nothing to repeat", tool.RetryPolicy{}, 0, nil, `"done"`, 1, between(0, 0)},
		{"an error that is not marked", tool.RetryPolicy{}, 0, []error{busy}, "error: busy", 1, between(0, 0)},
		{"once", tool.RetryPolicy{}, 0, []error{tool.Retryable(busy)}, `"done"`, 2, between(100*ms, 300*ms)},
		{"marked deeper", tool.RetryPolicy{}, 0, []error{fmt.Errorf("list: %w", tool.Retryable(busy))}, `"done"`, 2, between(100*ms, 300*ms)},
		{"twice, the second wait twice as long", tool.RetryPolicy{}, 0, []error{tool.Retryable(busy), tool.Retryable(busy)}, `"done"`, 3, between(300*ms, 900*ms)},
		{"until an error that is not marked", tool.RetryPolicy{}, 0, []error{tool.Retryable(busy), errors.New("gone")}, "error: gone", 2, between(100*ms, 300*ms)},
		{"as often as allowed", tool.RetryPolicy{Attempts: 2}, 0, []error{tool.Retryable(busy), tool.Retryable(busy)}, "error: busy", 2, between(100*ms, 300*ms)},
		{"one attempt", tool.RetryPolicy{Attempts: 1}, 0, []error{tool.Retryable(busy)}, "error: busy", 1, between(0, 0)},
		{"waits are bounded", tool.RetryPolicy{Attempts: 5, Wait: 10 * time.Second, MaxWait: time.Second}, 0,
			[]error{tool.Retryable(busy), tool.Retryable(busy), tool.Retryable(busy)}, `"done"`, 4, between(1500*ms, 3*time.Second)},
		{"not before the time asked for", tool.RetryPolicy{}, 0, []error{tool.RetryableAfter(busy, 4*time.Second)}, `"done"`, 2, between(4*time.Second, 4*time.Second)},
		{"a shorter time asked for", tool.RetryPolicy{Wait: time.Second}, 0, []error{tool.RetryableAfter(busy, ms)}, `"done"`, 2, between(500*ms, 1500*ms)},
		{"a time too long to wait", tool.RetryPolicy{}, 0, []error{tool.RetryableAfter(busy, time.Hour)}, "error: busy", 1, between(0, 0)},
		{"no wait that would outlast the call", tool.RetryPolicy{}, time.Second, []error{tool.RetryableAfter(busy, 2*time.Second)}, "error: busy", 1, between(0, 0)},
		{"an error of the protocol stays one", tool.RetryPolicy{Attempts: 1}, 0, []error{tool.Retryable(tool.RetryableAfter(protocol, ms))}, `protocol: calling "tools/call": log in first`, 1, between(0, 0)},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls, fails := 0, test.fails
				replay := replays(&fails)
				handler := func(ctx context.Context, call *tool.Call, in none) (string, error) {
					calls++
					return replay(ctx, call, in)
				}
				steps := []tool.Step{tool.Retry(test.policy)}
				if test.limit > 0 {
					steps = append([]tool.Step{tool.Timeout(test.limit)}, steps...)
				}
				start := time.Now()
				got := try(t, alice, handler, steps...)
				if took := time.Since(start); got != test.want || calls != test.calls || took < test.took[0] || took > test.took[1] {
					t.Errorf("%s after %d calls and %v, want %s after %d and %v", got, calls, took, test.want, test.calls, test.took)
				}
			})
		})
	}
}

func TestRetryStopsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start, calls, busy := time.Now(), 0, tool.Retryable(errors.New("busy"))
		err := tool.Retry(tool.RetryPolicy{Wait: 4 * time.Second})(ctx, &tool.Call{Identity: alice.id}, func(context.Context) error {
			calls++
			return busy
		})
		if took := time.Since(start); err != busy || calls != 1 || took != time.Second {
			t.Errorf("%v after %d calls and %v", err, calls, took)
		}
	})
}

func TestATimeoutIsNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		handler := func(ctx context.Context, _ *tool.Call, _ none) (string, error) {
			calls.Add(1)
			<-ctx.Done()
			return "", tool.Retryable(ctx.Err())
		}
		got := try(t, alice, handler, tool.Retry(tool.RetryPolicy{}), tool.Timeout(time.Second))
		if got != "error: the tool did not answer within 1s" || calls.Load() != 1 {
			t.Errorf("%s after %d calls", got, calls.Load())
		}
	})
}

func TestNothingRetryableIsNil(t *testing.T) {
	if tool.Retryable(nil) != nil || tool.RetryableAfter(nil, time.Second) != nil {
		t.Error("an error out of nothing")
	}
	inner := errors.New("busy")
	if err := tool.Retryable(inner); err.Error() != "busy" || !errors.Is(err, inner) {
		t.Errorf("%v", err)
	}
}

func TestRequirements(t *testing.T) {
	const connect = "Connect your tracker first."
	for _, test := range []struct {
		name string
		who  caller
		step tool.Step
		want string
	}{
		{"all scopes", alice, tool.RequireScopes("notes:read", "notes:write"), `"done"`},
		{"no scope needed", bob, tool.RequireScopes(), `"done"`},
		{"one missing", alice, tool.RequireScopes("notes:read", "notes:share"), "error: insufficient_scope: The token lacks scopes that this tool needs: notes:share."},
		{"all missing", bob, tool.RequireScopes("notes:read", "notes:write"), "error: insufficient_scope: The token lacks scopes that this tool needs: notes:read notes:write."},
		{"a credential", bob.with("key"), tool.RequireCredential(connect), `"done"`},
		{"no credential", bob, tool.RequireCredential(connect), "error: Connect your tracker first."},
		{"an empty credential", bob.with(""), tool.RequireCredential(connect), "error: Connect your tracker first."},
		{"no message", bob, tool.RequireCredential(""), "error: This tool needs an account that you have not connected yet."},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := try(t, test.who, says("done", nil), test.step); got != test.want {
				t.Errorf("answer = %s, want %s", got, test.want)
			}
		})
	}
}

// records is a log as text, one record a line.
type records struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *records) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *records) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

func (r *records) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(r, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch a.Key {
		case slog.TimeKey:
			return slog.Attr{}
		case "stack":
			return slog.Bool("stack", strings.Contains(a.Value.String(), "step_test.go"))
		case "duration":
			return slog.String("duration", a.Value.Duration().String())
		}
		return a
	}}))
}

func TestLog(t *testing.T) {
	const (
		begin = `{"level":"INFO","msg":"tool called","tool":"it","user":{"issuer":"team","user":"alice"},"duration":"1s","outcome":`
		bad   = `{"level":"ERROR","msg":"tool called","tool":"it","user":{"issuer":"team","user":"alice"},"duration":"1s","outcome":`
	)
	returns := func(out any, err error) func() (any, error) { return func() (any, error) { return out, err } }
	for _, test := range []struct {
		name string
		f    func() (any, error)
		want string
	}{
		{"success", returns("result-secret", nil), begin + `"ok"}`},
		{"an error, whose text may hold anything", returns(nil, errors.New("no note argument-secret")), begin + `"error"}`},
		{"an error marked as retryable", returns(nil, tool.Retryable(errors.New("no note argument-secret"))), begin + `"error"}`},
		{"a result that is an error", returns(&mcp.CallToolResult{IsError: true}, nil), begin + `"error"}`},
		{"a result that is none", returns(&mcp.CallToolResult{}, nil), begin + `"ok"}`},
		{"an error of the protocol", returns(nil, &jsonrpc.Error{Code: -32042, Message: "argument-secret"}), begin + `"error"}`},
		{"a refusal", returns(nil, &mcpauth.Error{Code: mcpauth.ErrForbidden, Message: "No.", Cause: errors.New("on holiday")}),
			begin + `"refused","refusal":{"code":"forbidden","message":"No.","cause":"on holiday"}}`},
		{"a time-out", returns(nil, fmt.Errorf("argument-secret: %w", context.DeadlineExceeded)), begin + `"timeout"}`},
		{"a cancellation", returns(nil, fmt.Errorf("argument-secret: %w", context.Canceled)), begin + `"canceled"}`},
		{"a panic", func() (any, error) { panic("bad") }, bad + `"panic","panic":"bad","stack":true}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log records
				handler := func(context.Context, *tool.Call, map[string]string) (any, error) {
					time.Sleep(time.Second)
					return test.f()
				}
				session := connect(t, alice.with("credential-secret"), nil, func(s *mcp.Server) {
					tool.Add(s, &mcp.Tool{Name: "it"}, handler, tool.Log(log.logger()), tool.Timeout(time.Minute))
				})
				answer(t, session, "it", map[string]string{"note": "argument-secret"})
				if got := log.String(); got != test.want+"\n" {
					t.Errorf("log = %swant %s", got, test.want)
				}
			})
		})
	}
}

func TestLogTellsARefusalFromAFailure(t *testing.T) {
	for _, step := range []tool.Step{tool.RequireCredential("Connect your tracker first."), tool.RequireScopes("notes:share")} {
		var log records
		try(t, alice, says("done", nil), tool.Log(log.logger()), step)
		if got := log.String(); !strings.Contains(got, `"outcome":"refused"`) {
			t.Errorf("log = %s", got)
		}
	}
}

// defaultLog makes the returned log the default one for the test.
func defaultLog(t *testing.T) *records {
	log, before := new(records), slog.Default()
	slog.SetDefault(log.logger())
	t.Cleanup(func() { slog.SetDefault(before) })
	return log
}

func TestLogWithoutLogger(t *testing.T) {
	log := defaultLog(t)
	try(t, alice, says("done", nil), tool.Log(nil))
	if got := log.String(); !strings.Contains(got, `"tool called","tool":"it"`) {
		t.Errorf("log = %s", got)
	}
}

func TestAPanicEndsItsCallOnlyAndIsLoggedOnce(t *testing.T) {
	boom := func(context.Context, *tool.Call, none) (string, error) { panic("bad") }
	boomStep := func(context.Context, *tool.Call, func(context.Context) error) error { panic("bad") }
	wrap := func(ctx context.Context, _ *tool.Call, next func(context.Context) error) error {
		return fmt.Errorf("wrapped: %w", next(ctx))
	}
	const (
		without = `{"level":"ERROR","msg":"panic in a tool","tool":"it","user":{"issuer":"team","user":"alice"},"panic":"bad","stack":true}`
		within  = `{"level":"ERROR","msg":"tool called","tool":"it","user":{"issuer":"team","user":"alice"},"duration":"0s","outcome":"panic","panic":"bad","stack":true}`
		again   = `{"level":"ERROR","msg":"tool called","tool":"it","user":{"issuer":"team","user":"alice"},"duration":"0s","outcome":"panic"}`
	)
	for _, test := range []struct {
		name    string
		handler tool.Handler[none, string]
		steps   []tool.Step
		want    string
	}{
		{"no steps", boom, nil, without},
		{"a step", boom, []tool.Step{wrap}, without},
		{"a time limit", boom, []tool.Step{tool.Timeout(time.Hour)}, without},
		{"a retry", boom, []tool.Step{tool.Retry(tool.RetryPolicy{})}, without},
		{"a log", boom, []tool.Step{tool.Log(nil)}, within},
		{"a log, a time limit and a retry", boom, []tool.Step{tool.Log(nil), tool.Timeout(time.Hour), tool.Retry(tool.RetryPolicy{})}, within},
		{"two logs", boom, []tool.Step{tool.Log(nil), tool.Log(nil)}, within + "\n" + again},
		{"a log outside of a step that panics", says("done", nil), []tool.Step{tool.Log(nil), boomStep}, within},
		{"a log inside of a step that panics", says("done", nil), []tool.Step{boomStep, tool.Log(nil)}, without},
	} {
		t.Run(test.name, func(t *testing.T) {
			log := defaultLog(t)
			synctest.Test(t, func(t *testing.T) {
				if got := try(t, alice, test.handler, test.steps...); got != `protocol: calling "tools/call": internal error` {
					t.Errorf("answer = %s", got)
				}
			})
			if got := log.String(); got != test.want+"\n" {
				t.Errorf("log = %swant %s", got, test.want)
			}
		})
	}
}

func TestALatePanicIsLogged(t *testing.T) {
	log := defaultLog(t)
	synctest.Test(t, func(t *testing.T) {
		handler := func(context.Context, *tool.Call, none) (string, error) {
			time.Sleep(time.Minute)
			panic("bad")
		}
		if got := try(t, alice, handler, tool.Timeout(time.Second)); got != "error: the tool did not answer within 1s" {
			t.Errorf("answer = %s", got)
		}
		time.Sleep(time.Minute)
	})
	var record map[string]any
	if err := json.Unmarshal([]byte(log.String()), &record); err != nil || record["panic"] != "bad" {
		t.Errorf("log = %s", log)
	}
}
