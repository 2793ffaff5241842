// Package watch tells those who asked for it that something has changed.
package watch

import (
	"maps"
	"slices"
	"sync"
)

// List is who is told. The zero List tells nobody.
type List[T any] struct {
	mu    sync.Mutex
	next  int
	funcs map[int]func(T)
}

// Add has changed called for each change, by whoever makes it, until stop is
// called.
func (l *List[T]) Add(changed func(T)) (stop func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.funcs == nil {
		l.funcs = map[int]func(T){}
	}
	id := l.next
	l.next++
	l.funcs[id] = changed
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.funcs, id)
	}
}

// Tell tells everybody of the changes.
func (l *List[T]) Tell(changes ...T) {
	l.mu.Lock()
	funcs := slices.Collect(maps.Values(l.funcs))
	l.mu.Unlock()
	for _, changed := range funcs {
		for _, c := range changes {
			changed(c)
		}
	}
}
