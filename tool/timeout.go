package tool

import (
	"context"
	"fmt"
	"time"
)

// Timeout lets what follows it take no longer than d, which must be positive.
// Then its context is cancelled and the call answered with an error that is
// [context.DeadlineExceeded], even if the handler does not listen: that one is
// left to end on its own, with its result dropped. Likewise when the caller
// has given up.
//
// A handler should listen all the same. Nothing bounds how many that do not are
// still running, and what they do, such as writing, they do after the answer.
// That is why Retry does not repeat a time-out.
func Timeout(d time.Duration) Step {
	if d <= 0 {
		panic(fmt.Sprintf("tool: Timeout(%v): must be positive", d))
	}
	late := &timeoutError{d}
	return func(ctx context.Context, call *Call, next func(context.Context) error) error {
		own := new(outcome)
		inner, cancel := context.WithTimeoutCause(ctx, d, late)
		defer cancel()
		done, left := make(chan error), make(chan struct{})
		go func() {
			var err error
			returned := false
			defer func() {
				if !returned { // no recover sees that
					err = &panicError{value: "the handler has called runtime.Goexit"}
				}
				select {
				case done <- err:
				case <-left:
					if p := panicOf(err); p != nil {
						p.log(ctx, call) // there is nobody else to tell
					}
				}
			}()
			err = contained(func() error { return next(own.in(inner)) })
			returned = true
		}()
		select {
		case err := <-done:
			switch {
			case err == nil:
				if result, ok := own.take(); ok {
					outcomeOf(ctx).set(result)
				}
			case panicOf(err) == nil && context.Cause(inner) == error(late):
				return late // whatever the handler makes of its context's end
			}
			return err
		case <-inner.Done():
			close(left)
			if context.Cause(inner) == error(late) {
				return late
			}
			return ctx.Err()
		}
	}
}

type timeoutError struct{ d time.Duration }

func (e *timeoutError) Error() string { return fmt.Sprintf("the tool did not answer within %v", e.d) }

func (*timeoutError) Unwrap() error { return context.DeadlineExceeded }
