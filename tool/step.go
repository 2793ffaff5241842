package tool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
)

// Step is one thing that is done around a handler. It calls next with the
// context that what follows is to have, which derives from ctx; not at all, and
// returns an error, when the call is to end here; or again, when it is to be
// repeated. It returns next's error or one of its own. The handler's result is
// kept beside: it is the one of the last next that succeeded.
type Step func(ctx context.Context, call *Call, next func(context.Context) error) error

// Compose makes one step of several, in the order written, the first
// outermost. It panics when one is nil.
func Compose(steps ...Step) Step {
	steps = slices.Clone(steps)
	for i, step := range steps {
		if step == nil {
			panic(fmt.Sprintf("tool: step %d is nil", i))
		}
	}
	return func(ctx context.Context, call *Call, next func(context.Context) error) error {
		return run(ctx, call, steps, next)
	}
}

// run contains panics at each step, so that the steps before see an error.
func run(ctx context.Context, call *Call, steps []Step, next func(context.Context) error) error {
	return contained(func() error {
		if len(steps) == 0 {
			return next(ctx)
		}
		return steps[0](ctx, call, func(ctx context.Context) error { return run(ctx, call, steps[1:], next) })
	})
}

// outcome keeps the handler's result until it is taken. A step may leave a
// handler alone that still runs: what that one returns later must reach
// nobody. So whoever leaves it alone has given it an outcome of its own, by the
// context.
type outcome struct {
	mu     sync.Mutex
	result any
	ok     bool
	taken  bool
}

type outcomeKey struct{}

// in returns ctx for what is to leave its result in o.
func (o *outcome) in(ctx context.Context) context.Context {
	return context.WithValue(ctx, outcomeKey{}, o)
}

// outcomeOf returns the outcome that belongs to ctx, or nil.
func outcomeOf(ctx context.Context) *outcome {
	o, _ := ctx.Value(outcomeKey{}).(*outcome)
	return o
}

func (o *outcome) set(result any) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.taken {
		o.result, o.ok = result, true
	}
}

// peek returns the result so far.
func (o *outcome) peek() any {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.result
}

// take returns the result, if there is one. Later ones are dropped.
func (o *outcome) take() (result any, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.taken = true
	return o.result, o.ok
}

// panicError is a panic as an error. Its text is fit for the client.
type panicError struct {
	value  any
	stack  []byte
	logged atomic.Bool
}

func (*panicError) Error() string { return errInternal.Message }

// attrs returns what the log gets, once; then nothing.
func (p *panicError) attrs() []slog.Attr {
	if p.logged.Swap(true) {
		return nil
	}
	return []slog.Attr{slog.Any("panic", p.value), slog.String("stack", string(p.stack))}
}

// log sees to it that a panic is logged, Log or no Log.
func (p *panicError) log(ctx context.Context, call *Call) {
	if attrs := p.attrs(); attrs != nil {
		slog.Default().LogAttrs(ctx, slog.LevelError, "panic in a tool", append(about(ctx, call), attrs...)...)
	}
}

func panicOf(err error) *panicError {
	p, _ := errors.AsType[*panicError](err)
	return p
}

// contained calls f and returns a panic as an error.
func contained(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{value: v, stack: debug.Stack()}
		}
	}()
	return f()
}
