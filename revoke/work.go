package revoke

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	sweepEvery = 5 * time.Minute
	retryEvery = 5 * time.Second
	// batch is how many changes go into the file at once: enough that a flood
	// of revocations shares its fsync, few enough to be quick.
	batch = 10_000
)

// work writes, and forgets what has expired, until Close. It is alone in
// changing the file.
func (l *List) work() {
	defer close(l.ended)
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	var retry <-chan time.Time
	for {
		var waiting chan struct{}
		select {
		case <-l.wake:
		case <-retry:
		case <-sweep.C:
			l.sweep()
		case waiting = <-l.sweeps:
			l.sweep()
			close(waiting)
		case <-l.quit:
			l.finish()
			return
		}
		retry = nil
		if err := l.flush(); err != nil {
			retry = time.After(retryEvery)
		}
	}
}

func (l *List) finish() {
	if l.file == nil {
		return
	}
	err := l.flush()
	l.mu.Lock()
	lost := len(l.unsaved)
	l.mu.Unlock()
	if err != nil {
		err = fmt.Errorf("revoke: %d revocations are lost: %w", lost, err)
	}
	l.closeOf = errors.Join(err, l.file.close())
}

// line is what the file is told of one key.
type line struct {
	key   string
	entry *Entry // nil to remove it
	seq   uint64
}

// flush writes all that is unsaved. After an error all who wait have been told,
// and what is to be revoked is still unsaved.
func (l *List) flush() error {
	for l.file != nil {
		l.mu.Lock()
		var lines []line
		for key, c := range l.unsaved {
			if len(lines) == batch {
				break
			}
			next := line{key: key, entry: c.put, seq: c.seq}
			if c.lift {
				next.entry = nil
			}
			lines = append(lines, next)
		}
		l.mu.Unlock()
		if len(lines) == 0 {
			return nil
		}
		err := l.file.write(lines)
		l.fileBytes.Store(l.file.size())
		if err != nil {
			l.notSaved(err)
			return err
		}
		l.saved(lines)
	}
	return nil
}

func (l *List) saved(lines []line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range lines {
		c := l.unsaved[line.key]
		if c.seq != line.seq {
			continue // someone has changed his mind; the last word is written next
		}
		delete(l.unsaved, line.key)
		if line.entry == nil {
			r, _ := parseKey(line.key)
			l.lifted(line.key, r)
		}
		for _, t := range c.told { // last: they do not wait for the lock
			t.settle(nil)
		}
	}
}

func (l *List) notSaved(cause error) {
	l.failed.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, c := range l.unsaved {
		if c.lift { // the block stays
			if c.lift = false; c.put == nil {
				delete(l.unsaved, key)
			}
		}
		for _, t := range c.told {
			t.settle(fmt.Errorf("%w: %w", ErrNotSaved, cause))
		}
		c.told = nil
	}
	l.config.Logger.Error("revocations not saved", "entries", len(l.unsaved), "error", cause)
}

// makeRoom waits until what has expired is forgotten, and reports whether that
// was worth trying.
func (l *List) makeRoom(ctx context.Context) bool {
	l.mu.Lock()
	expired := l.expired(time.Now())
	l.mu.Unlock()
	if !expired {
		return false
	}
	done := make(chan struct{})
	select {
	case l.sweeps <- done:
	case <-ctx.Done():
		return false
	case <-l.quit:
		return false
	}
	<-done
	return true
}

func (l *List) expired(now time.Time) bool {
	return !l.nextExpiry.IsZero() && !now.Before(l.nextExpiry)
}

// sweep forgets what has expired, if anything can have. An entry is out of the
// file before it is out of memory, so that a list which is full of what the
// file would not let go stays full.
func (l *List) sweep() {
	now := time.Now()
	l.mu.Lock()
	due := l.expired(now)
	if due {
		l.nextExpiry = time.Time{} // of what is made meanwhile, and found below
	}
	l.mu.Unlock()
	if !due {
		return
	}
	var after []byte
	for l.file != nil {
		// Between two parts, what has just been revoked is saved.
		l.flush()
		var (
			old []string
			err error
		)
		old, after, err = l.file.scan(after, batch, func(e Entry) bool { return l.past(e, now) })
		if err == nil && len(old) > 0 {
			err = l.file.remove(old)
		}
		if err != nil {
			l.failed.Add(1)
			l.config.Logger.Error("expired revocations not removed", "error", err)
			l.mu.Lock()
			l.nextExpiry = now // to be tried again
			l.mu.Unlock()
			return
		}
		l.mu.Lock()
		for _, key := range old {
			if l.unsaved[key] == nil { // else it has been revoked again
				l.forget(key)
			}
		}
		l.mu.Unlock()
		if after == nil {
			break
		}
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	for key, c := range l.unsaved {
		switch {
		case c.put == nil || !l.pastLocked(*c.put, now):
		case l.file != nil:
			l.nextExpiry = now // once it is saved
		default:
			delete(l.unsaved, key)
			l.forget(key)
		}
	}
}

func (l *List) forget(key string) {
	r, _ := parseKey(key)
	l.index.remove(r.Kind.code(), r.Issuer, r.id())
}

// past reports whether e has expired, and otherwise remembers when it will.
func (l *List) past(e Entry, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pastLocked(e, now)
}

func (l *List) pastLocked(e Entry, now time.Time) bool {
	until := l.until(e)
	switch {
	case until.IsZero():
		return false
	case !now.Before(until):
		return true
	case l.nextExpiry.IsZero() || until.Before(l.nextExpiry):
		l.nextExpiry = until
	}
	return false
}
