package credential

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
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
)

// guard asks a source again where that may help, and does not ask it at all while
// it does not answer.
type guard struct {
	source  Source
	breaker *gobreaker.CircuitBreaker[*mcpauth.Credential]

	mu sync.Mutex
	// failedFor is the user of the last failure, "" after an answer, and several
	// says that there was another before: what goes wrong for a single user may
	// be that user's trouble, and must not become that of all.
	failedFor string
	several   bool
	opened    time.Time
}

func newGuard(s Source, logger *slog.Logger) *guard {
	g := &guard{source: s}
	name := fmt.Sprintf("%T", s) // and not what is in it, which may be secret
	if named, ok := s.(fmt.Stringer); ok {
		name = named.String()
	}
	g.breaker = gobreaker.NewCircuitBreaker[*mcpauth.Credential](gobreaker.Settings{
		Timeout: openFor,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			g.mu.Lock()
			defer g.mu.Unlock()
			return c.ConsecutiveFailures >= failuresToOpen && g.several
		},
		IsSuccessful: func(err error) bool { return !failed(err) },
		IsExcluded:   func(err error) bool { return errors.Is(err, context.Canceled) }, // by Close
		OnStateChange: func(_ string, _, to gobreaker.State) {
			switch to {
			case gobreaker.StateOpen:
				g.mu.Lock()
				g.opened = time.Now()
				g.mu.Unlock()
				logger.Warn("credential source fails, and is left alone for a while", "source", name, "seconds", openFor.Seconds())
			case gobreaker.StateClosed:
				logger.Info("credential source answers again", "source", name)
			}
		},
	})
	return g
}

// failed reports whether err is trouble of the source, and no answer of it.
func failed(err error) bool {
	_, is := after(err)
	return is || errors.Is(err, context.DeadlineExceeded)
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
	found, err := g.breaker.Execute(func() (*mcpauth.Credential, error) {
		found, err := g.source.Fetch(ctx, id, resourceType)
		g.note(id, failed(err))
		return found, err
	})
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

func (g *guard) note(id *mcpauth.Identity, failed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !failed {
		g.failedFor, g.several = "", false
		return
	}
	user := id.Principal()
	g.several = g.several || g.failedFor != "" && g.failedFor != user
	g.failedFor = user
}

func (g *guard) open() bool { return g.breaker.State() == gobreaker.StateOpen }
