package revoke

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcpauth-go/mcpauth"
)

// List is the revocations of a node. It is safe for concurrent use.
type List struct {
	config Config
	index  index
	epoch  atomic.Uint32
	file   *file // nil without one

	mu sync.Mutex // never held while the disk works
	// unsaved is what the file is still to be told; without a file, all there is.
	unsaved    map[string]*change
	seq        uint64 // of the last change
	nextExpiry time.Time
	closed     bool
	listeners  []*func(Revocation)
	news       []Revocation // effective, and not told yet

	telling sync.Mutex // whoever has it tells the news

	wake    chan struct{}      // something is unsaved
	sweeps  chan chan struct{} // someone waits for room
	quit    chan struct{}
	ended   chan struct{}
	closing sync.Once
	closeOf error

	full, failed atomic.Uint64
	fileBytes    atomic.Int64
}

// change is what the file is to be told of a key. The last word counts.
type change struct {
	put  *Entry // to be saved, nil for nothing
	lift bool   // to be removed instead
	seq  uint64
	told []*ticket // of those who wait
}

// ticket is of a call that waits for its changes to be saved.
type ticket struct {
	left int // changes not saved yet
	err  error
	done chan struct{}
}

func (t *ticket) settle(err error) {
	if t.left <= 0 {
		return // has failed before
	}
	if t.left--; t.left > 0 && err == nil {
		return
	}
	t.left, t.err = 0, err
	close(t.done)
}

// Open returns the list that is in c.File, or an empty one. The error of a
// wrong configuration is a *mcpauth.ConfigError with all faults; see also
// [ErrInUse] and [ErrNotList]. A list that is larger than MaxEntries is taken
// as it is, and is full.
func Open(c Config) (*List, error) {
	c, faults := c.withDefaults()
	if len(faults) > 0 {
		return nil, &mcpauth.ConfigError{Package: "revoke", Faults: faults}
	}
	l := &List{
		config:  c,
		unsaved: map[string]*change{},
		wake:    make(chan struct{}, 1),
		sweeps:  make(chan chan struct{}),
		quit:    make(chan struct{}),
		ended:   make(chan struct{}),
	}
	l.epoch.Store(1)
	l.index.seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}
	if c.File != "" {
		start := time.Now()
		var err error
		if l.file, err = openFile(c.File, l.load); err != nil {
			return nil, fmt.Errorf("revoke: %s: %w", c.File, err)
		}
		l.fileBytes.Store(l.file.size())
		c.Logger.Info("revocations loaded", "file", c.File, "entries", l.index.len(), "took", time.Since(start), "created", l.file.created)
	}
	go l.work()
	return l, nil
}

// load takes an entry of the file.
func (l *List) load(e Entry) {
	if until := l.until(e); until.IsZero() || time.Now().Before(until) {
		l.enter(e, until)
	}
}

// enter puts e where Revoked finds it.
func (l *List) enter(e Entry, until time.Time) {
	issued := int64(always)
	if e.Kind == User {
		issued = e.Before.Add(l.config.Skew).UnixMicro()
	}
	l.index.put(e.Kind.code(), e.Issuer, e.id(), issued)
	if !until.IsZero() && (l.nextExpiry.IsZero() || until.Before(l.nextExpiry)) {
		l.nextExpiry = until
	}
}

// until returns when e is forgotten, zero for never.
func (l *List) until(e Entry) time.Time {
	if e.Kind == Block {
		return time.Time{}
	}
	lifetime, known := l.config.Lifetime(e.Issuer)
	if !known || lifetime <= 0 {
		return time.Time{}
	}
	return e.from().Add(l.config.Skew).Add(lifetime)
}

// gone reports whether, at now, no token issued up to from can be valid.
func (l *List) gone(lifetime time.Duration, from, now time.Time) bool {
	return lifetime > 0 && now.After(from.Add(l.config.Skew).Add(lifetime))
}

// Epoch changes with each revocation, and is never before [List.Revoked] knows
// of it: what was not revoked at an epoch, read before asking, need not be asked
// about again while Epoch returns the same. It begins with 1.
func (l *List) Epoch() uint32 { return l.epoch.Load() }

// Revoked reports whether r must not be taken. It waits for no disk and, for
// ids of usual length, allocates nothing.
func (l *List) Revoked(r mcpauth.Revocable) bool {
	const block, session, token, user = 0, 1, 2, 3 // in kinds
	if r.TokenID != "" {
		if _, ok := l.index.get(token, r.Issuer, r.TokenID); ok {
			return true
		}
	}
	if r.SessionID != "" {
		if _, ok := l.index.get(session, r.Issuer, r.SessionID); ok {
			return true
		}
	}
	if r.UserID == "" {
		return false
	}
	if _, ok := l.index.get(block, r.Issuer, r.UserID); ok {
		return true
	}
	issued, ok := l.index.get(user, r.Issuer, r.UserID)
	return ok && (r.IssuedAt.IsZero() || r.IssuedAt.UnixMicro() <= issued)
}

// Revoke puts rs on the list: all of them, or none where the error is an
// *[InvalidError], [ErrFull] or [ErrClosed], or ctx was done before. They are
// effective at once. Then Revoke tells those who asked with [List.Notify], and
// waits for the file: [ErrNotSaved] says that they are effective, but that the
// file failed, or that ctx was done before it had answered.
//
// What is on the list already may be revoked again.
func (l *List) Revoke(ctx context.Context, rs ...Revocation) ([]Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("revoke: %w", err)
	}
	now := time.Now()
	entries := make([]Entry, len(rs))
	var faults []mcpauth.Fault
	for i, r := range rs {
		faults = append(faults, l.faults(r, now)...)
		entries[i] = Entry{Revocation: r, At: stored(now)}
		if r.Kind == User {
			if r.Before.IsZero() {
				r.Before = now
			}
			entries[i].Before = stored(r.Before)
		}
	}
	if len(faults) > 0 {
		return nil, &InvalidError{faults}
	}

	t, err := l.take(entries)
	if errors.Is(err, ErrFull) && l.makeRoom(ctx) {
		t, err = l.take(entries)
	}
	if err != nil {
		if errors.Is(err, ErrFull) {
			l.full.Add(1)
			l.config.Logger.LogAttrs(ctx, slog.LevelError, "revocation refused: the list is full", slog.Int("entries", l.index.len()))
		}
		return nil, err
	}
	for _, e := range entries {
		l.config.Logger.LogAttrs(ctx, slog.LevelWarn, "revoked", slog.String("kind", string(e.Kind)),
			slog.String("issuer", e.Issuer), slog.String("user", e.UserID), slog.String("reason", e.Reason))
	}
	l.tell()
	if err := t.wait(ctx); err != nil {
		return entries, err
	}
	for i := range entries {
		entries[i].Saved = l.file != nil
	}
	return entries, nil
}

// stored returns t as it comes back from the file.
func stored(t time.Time) time.Time { return time.UnixMicro(t.UnixMicro()).UTC() }

// take makes entries effective, and completes them.
func (l *List) take(entries []Entry) (*ticket, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	keys := make([]string, len(entries))
	added := map[string]bool{}
	for i, e := range entries {
		keys[i] = e.key()
		if _, ok := l.index.get(e.Kind.code(), e.Issuer, e.id()); !ok {
			added[keys[i]] = true
		}
	}
	if n := len(added); n > 0 && l.index.len()+n > l.config.MaxEntries {
		return nil, ErrFull
	}
	t := &ticket{done: make(chan struct{})}
	for i := range entries {
		e := &entries[i]
		if e.Kind == User {
			if issued, ok := l.index.get(User.code(), e.Issuer, e.UserID); ok {
				if before := time.UnixMicro(issued).Add(-l.config.Skew).UTC(); before.After(e.Before) {
					e.Before = before
				}
			}
		}
		e.Until = l.until(*e)
		l.enter(*e, e.Until)
		saved := *e
		l.change(keys[i], t, func(c *change) { c.put, c.lift = &saved, false })
		l.news = append(l.news, e.Revocation)
	}
	l.epoch.Add(1)
	l.ask(t)
	return t, nil
}

// change notes what the file is to be told of key, on behalf of t.
func (l *List) change(key string, t *ticket, say func(*change)) {
	c := l.unsaved[key]
	if c == nil {
		c = &change{}
		l.unsaved[key] = c
	}
	l.seq++
	c.seq = l.seq
	say(c)
	if l.file != nil {
		t.left++
		c.told = append(c.told, t)
	}
}

// ask wakes who writes, unless there is nothing to be waited for.
func (l *List) ask(t *ticket) {
	if t.left == 0 {
		close(t.done)
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (t *ticket) wait(ctx context.Context) error {
	select {
	case <-t.done:
		return t.err
	default:
	}
	select {
	case <-t.done:
		return t.err
	case <-ctx.Done():
		return fmt.Errorf("%w yet: %w", ErrNotSaved, ctx.Err())
	}
}

// Lift ends the block of a user. It is over when Lift returns without an error.
// [ErrNotSaved] says that the block stays, since the file failed; or that ctx
// was done before the file had answered, and the block ends when it does. Tokens
// revoked by other kinds stay revoked.
func (l *List) Lift(ctx context.Context, issuer, userID string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	r := Revocation{Kind: Block, Issuer: issuer, UserID: userID}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	if _, ok := l.index.get(Block.code(), issuer, userID); !ok {
		l.mu.Unlock()
		return ErrNotBlocked
	}
	t := &ticket{done: make(chan struct{})}
	key := r.key()
	l.change(key, t, func(c *change) { c.lift = true })
	if l.file == nil {
		l.lifted(key, r)
	}
	l.ask(t)
	l.mu.Unlock()
	return t.wait(ctx)
}

// lifted ends a block in memory.
func (l *List) lifted(key string, r Revocation) {
	delete(l.unsaved, key)
	l.index.remove(r.Kind.code(), r.Issuer, r.id())
	l.epoch.Add(1)
	l.config.Logger.Warn("block lifted", "issuer", r.Issuer, "user", r.UserID)
}

// Notify has f called for each revocation that takes effect from now on, one at
// a time, in the order in which they do, each once. It is called after
// [List.Revoked] knows of the revocation and before Revoke returns, without
// waiting for the disk; whoever revokes waits for f. f must not call Revoke,
// Lift, Close or stop.
//
// When stop returns, f is not running and will not be called again.
func (l *List) Notify(f func(Revocation)) (stop func()) {
	l.telling.Lock()
	defer l.telling.Unlock()
	l.tellNews() // so that f hears nothing of what came before
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listeners = append(slices.Clip(l.listeners), &f)
	return func() {
		l.telling.Lock()
		defer l.telling.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.listeners = slices.DeleteFunc(slices.Clone(l.listeners), func(other *func(Revocation)) bool { return other == &f })
	}
}

// tell tells the news. When it returns, all that was there has been told, by
// this call or another.
func (l *List) tell() {
	l.telling.Lock()
	defer l.telling.Unlock()
	l.tellNews()
}

func (l *List) tellNews() {
	for {
		l.mu.Lock()
		news, listeners := l.news, l.listeners
		l.news = nil
		l.mu.Unlock()
		if len(news) == 0 {
			return
		}
		for _, r := range news {
			for _, f := range listeners {
				(*f)(r)
			}
		}
	}
}

// Close saves what is not saved yet, ends the work in the background and gives
// the file back. Revoked goes on to answer. An error says that some revocations
// are lost. It may be called again.
func (l *List) Close() error {
	l.closing.Do(func() {
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
		close(l.quit)
	})
	<-l.ended
	return l.closeOf
}
