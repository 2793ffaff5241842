package tool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// RetryPolicy says how often, and after which waits, a call is tried again.
// The zero value is a good one.
type RetryPolicy struct {
	// Attempts is how often the handler is called at most, the first time
	// included. Default: 3.
	Attempts int
	// Wait is about how long to wait before the second attempt; before each
	// further one it is twice as long. The actual waits are up to half of that
	// shorter or longer, so that callers who failed together do not come back
	// together. Default: 200 ms.
	Wait time.Duration
	// MaxWait is the longest wait. A RetryableAfter that asks for more ends the
	// call instead. Default: 5 s.
	MaxWait time.Duration
}

// Retry repeats what follows it when that fails with an error that is, or
// wraps, one of [Retryable] or [RetryableAfter]. Nothing else is repeated: only
// the handler knows whether its call has had an effect. Retry stops, with the
// last error, when the context ends or would end before the next attempt. It
// panics when the policy has negative values.
func Retry(policy RetryPolicy) Step {
	if policy.Attempts < 0 || policy.Wait < 0 || policy.MaxWait < 0 {
		panic(fmt.Sprintf("tool: Retry(%+v): must not be negative", policy))
	}
	attempts := cmp.Or(policy.Attempts, 3)
	first, longest := cmp.Or(policy.Wait, 200*time.Millisecond), cmp.Or(policy.MaxWait, 5*time.Second)
	return func(ctx context.Context, _ *Call, next func(context.Context) error) error {
		waits := backoff.ExponentialBackOff{InitialInterval: first, MaxInterval: longest, Multiplier: 2, RandomizationFactor: 0.5}
		for attempt := 1; ; attempt++ {
			err := next(ctx)
			again, ok := errors.AsType[*retryable](err)
			if !ok || attempt == attempts || again.after > longest {
				return err
			}
			wait := max(again.after, min(waits.NextBackOff(), longest))
			if end, ok := ctx.Deadline(); ok && time.Until(end) <= wait {
				return err
			}
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return err
			}
		}
	}
}

// Retryable marks err as one after which the same call may be made again: it
// has had no effect, or the same effect twice does no harm. The client never
// sees the mark. Retryable(nil) is nil.
func Retryable(err error) error { return RetryableAfter(err, 0) }

// RetryableAfter is Retryable, not before after has passed, such as the
// Retry-After of an API.
func RetryableAfter(err error, after time.Duration) error {
	if err == nil {
		return nil
	}
	return &retryable{err, after}
}

type retryable struct {
	err   error
	after time.Duration
}

func (r *retryable) Error() string { return r.err.Error() }

func (r *retryable) Unwrap() error { return r.err }
