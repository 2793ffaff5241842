package credential

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/sony/gobreaker/v2"

	"github.com/mcpauth-go/mcpauth"
)

const (
	// attempts is how often a question is asked that may be asked again.
	attempts   = 3
	firstPause = 100 * time.Millisecond
	// A source is left alone for openFor after failuresToOpen in a row.
	failuresToOpen = 5
	openFor        = 10 * time.Second
	// grace is how long a source may take to heed the end of its context, and
	// maxStray how many calls may be under way that do not.
	grace    = time.Second
	maxStray = 64
	// A user for whom the source has failed lately may try whether it is back, if
	// for spareAfter nobody else has. maxTroubled such users are remembered, each
	// for troubledFor.
	lately      = 30 * time.Second
	spareAfter  = 5 * time.Second
	troubledFor = 10 * time.Minute
	maxTroubled = 1024
)

// guard asks a source again where that may help, and does not ask it at all while
// it does not answer. Whatever the source does, an answer of the guard's comes.
type guard struct {
	source  Source
	name    string
	logger  *slog.Logger
	breaker *gobreaker.CircuitBreaker[*mcpauth.Credential]
	working *sync.WaitGroup // has the calls of source
	stray   atomic.Int32    // calls that nobody waits for any longer

	mu sync.Mutex
	// changes are those of the breaker that are still to be logged.
	changes []gobreaker.State
	// failedFor is the user of the last failure, "" after an answer, and several
	// says that there was another before: what goes wrong for a single user may
	// be that user's trouble, and must not become that of all.
	failedFor string
	several   bool
	opened    time.Time
	// troubled are the questions that the source has failed at, until it answers
	// them; answers counts those that it did answer.
	troubled map[question]trouble
	answers  uint64
	spare    time.Time // from when on one that it has failed at may be the probe
}

// question is what a source is asked, as far as its failures go by it. A user has
// few, whatever tokens they come with.
type question struct{ user, resource string }

type trouble struct {
	last    time.Time
	answers uint64 // of the source, by the first failure
}

// excluded is an error that says nothing about how the source does.
type excluded struct{ error }

func (e excluded) Unwrap() error { return e.error }

func newGuard(s Source, logger *slog.Logger, working *sync.WaitGroup) *guard {
	g := &guard{source: s, logger: logger, working: working, troubled: map[question]trouble{}}
	g.name = fmt.Sprintf("%T", s) // and not what is in it, which may be secret
	if named, ok := s.(fmt.Stringer); ok {
		g.name = named.String()
	}
	g.breaker = gobreaker.NewCircuitBreaker[*mcpauth.Credential](gobreaker.Settings{
		Timeout: openFor,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			g.mu.Lock()
			defer g.mu.Unlock()
			return c.ConsecutiveFailures >= failuresToOpen && g.several
		},
		IsSuccessful: func(err error) bool { return !failed(err) },
		IsExcluded: func(err error) bool {
			return errors.Is(err, context.Canceled) || errors.As(err, new(excluded)) // by Close, or by note
		},
		OnStateChange: func(_ string, _, to gobreaker.State) { // under the breaker's lock
			g.mu.Lock()
			defer g.mu.Unlock()
			if to == gobreaker.StateOpen {
				g.opened = time.Now()
				g.spare = g.opened.Add(openFor + spareAfter)
			}
			g.changes = append(g.changes, to)
		},
	})
	return g
}

// logChanges logs what has become of the breaker, under no lock: a handler of the
// user's may take its time, and may ask the Resolver.
func (g *guard) logChanges() {
	g.mu.Lock()
	changes := g.changes
	g.changes = nil
	g.mu.Unlock()
	for _, to := range changes {
		switch to {
		case gobreaker.StateOpen:
			g.logger.Warn("credential source fails, and is left alone for a while", "source", g.name, "seconds", openFor.Seconds())
		case gobreaker.StateClosed:
			g.logger.Info("credential source answers again", "source", g.name)
		}
	}
}

// broken is what a source has done that no source does.
type broken struct{ error }

// failed reports whether err is trouble of the source, and no answer of it.
func failed(err error) bool {
	_, is := after(err)
	return is || errors.Is(err, context.DeadlineExceeded) || errors.As(err, new(broken))
}

func (g *guard) Fetch(ctx context.Context, id *mcpauth.Identity, resourceType string) (*mcpauth.Credential, error) {
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval = firstPause
	for attempt := 1; ; attempt++ {
		found, err := g.once(ctx, id, resourceType)
		wanted, again := after(err)
		if !again || attempt == attempts || errors.Is(err, errOpen) {
			return found, err
		}
		wait := max(wanted, waits.NextBackOff())
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait {
			return nil, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		}
	}
}

var errOpen = errors.New("it has failed several times in a row, and is not asked for a while")

func (g *guard) once(ctx context.Context, id *mcpauth.Identity, resourceType string) (*mcpauth.Credential, error) {
	q := question{id.Principal(), resourceType}
	probing := g.breaker.State() == gobreaker.StateHalfOpen
	suspect, err := g.admit(q, probing)
	if err != nil {
		g.logChanges()
		return nil, err
	}
	found, err := g.breaker.Execute(func() (*mcpauth.Credential, error) {
		found, err := g.call(ctx, id, resourceType)
		if err = g.note(q, err, suspect); suspect && probing {
			g.leave()
		}
		return found, err
	})
	g.logChanges()
	if e := (excluded{}); errors.As(err, &e) {
		err = e.error
	}
	switch {
	case errors.Is(err, gobreaker.ErrOpenState):
		g.mu.Lock()
		defer g.mu.Unlock()
		return nil, Transient(errOpen, max(time.Until(g.opened.Add(openFor)), time.Second))
	case errors.Is(err, gobreaker.ErrTooManyRequests): // one request is finding out
		return nil, Transient(errOpen, time.Second)
	}
	return found, err
}

// call calls the source, in a goroutine of its own: neither one that does not heed
// its context holds who waits, nor does one that ends its goroutine end theirs.
func (g *guard) call(ctx context.Context, id *mcpauth.Identity, resourceType string) (*mcpauth.Credential, error) {
	if g.stray.Load() >= maxStray {
		return nil, broken{errors.New("too many calls of the source have not ended in their time")}
	}
	var found *mcpauth.Credential
	var err error = broken{errors.New("the source has ended its goroutine")}
	ended := make(chan struct{})
	g.working.Go(func() {
		defer close(ended)
		defer func() {
			if p := recover(); p != nil {
				found, err = nil, broken{fmt.Errorf("the source panicked: %v", p)}
			}
		}()
		found, err = g.source.Fetch(ctx, id, resourceType)
	})
	select {
	case <-ended:
		return found, err
	case <-ctx.Done():
	}
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case <-ended:
		return found, err
	case <-late.C:
	}
	g.stray.Add(1)
	g.working.Go(func() {
		<-ended
		g.stray.Add(-1)
	})
	return nil, fmt.Errorf("the source does not heed its time: %w", ctx.Err())
}

// admit reports whether a failure at q, which the source has failed at before, would
// be no news of the source: what it cannot do for some users, again and again, must
// not keep it from the others. While one request is to find out whether the source
// is back, which others should be: the error is for q to come later.
func (g *guard) admit(q question, probing bool) (suspect bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	t, ok := g.troubled[q]
	if !ok || now.Sub(t.last) > troubledFor {
		return false, nil
	}
	own := g.answers > t.answers // it has answered others since
	switch {
	case !probing:
		return own, nil
	case !own && now.Sub(t.last) > lately:
		return false, nil
	case now.Before(g.spare):
		return true, Transient(errOpen, max(g.spare.Sub(now), time.Second))
	}
	g.spare = now.Add(spareAfter) // there may be nobody else
	return true, nil
}

// leave has others be the next probe.
func (g *guard) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.spare = time.Now().Add(spareAfter)
}

// note notes what has become of a question, and returns err as it is to count.
func (g *guard) note(q question, err error, suspect bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case !failed(err):
		delete(g.troubled, q)
		g.answers++
		g.failedFor, g.several = "", false
		return err
	}
	g.remember(q)
	if suspect || limited(err) {
		return excluded{err}
	}
	g.several = g.several || g.failedFor != "" && g.failedFor != q.user
	g.failedFor = q.user
	return err
}

// remember has q be troubled. The mutex is held.
func (g *guard) remember(q question) {
	now := time.Now()
	t, ok := g.troubled[q]
	if !ok || now.Sub(t.last) > troubledFor {
		t.answers = g.answers
	}
	t.last = now
	if !ok && len(g.troubled) >= maxTroubled {
		oldest, first := question{}, now
		for other, t := range g.troubled {
			if !t.last.After(first) {
				oldest, first = other, t.last
			}
		}
		delete(g.troubled, oldest)
	}
	g.troubled[q] = t
}

func (g *guard) open() bool { return g.breaker.State() == gobreaker.StateOpen }
