// Package gate counts what goes on, so that it can be waited for, and lets
// nothing new begin once it is closed. Unlike a sync.WaitGroup, it may be
// closed while others try to enter.
package gate

import (
	"context"
	"sync"
)

// Gate is ready to use as its zero value, and open.
type Gate struct {
	mu     sync.Mutex
	inside int
	closed bool
	empty  chan struct{} // made by Close when somebody is inside
}

// Enter reports whether the gate is open. If it is, Leave must follow.
func (g *Gate) Enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.inside++
	return true
}

// Leave undoes one Enter.
func (g *Gate) Leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside--; g.inside == 0 && g.empty != nil {
		close(g.empty)
		g.empty = nil
	}
}

// Go runs f in a goroutine that is inside, and reports whether the gate is open; if
// not, it does nothing.
func (g *Gate) Go(f func()) bool {
	if !g.Enter() {
		return false
	}
	go func() {
		defer g.Leave()
		f()
	}()
	return true
}

// Close closes the gate and waits until nobody is inside. It returns ctx's
// error when ctx ends first, and may be called again.
func (g *Gate) Close(ctx context.Context) error {
	g.mu.Lock()
	g.closed = true
	if g.inside == 0 {
		g.mu.Unlock()
		return nil // also when ctx is done
	}
	if g.empty == nil {
		g.empty = make(chan struct{})
	}
	empty := g.empty
	g.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
