package apikey

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// uses are the keys that were used since it was last written down.
type uses struct {
	wanted atomic.Bool // by the store, and Start has been called

	mu     sync.Mutex
	noted  map[string]int64 // seconds since 1970, by the keys' ids
	lost   uint64
	saving sync.Mutex
}

// maxUnsaved bounds what is kept for a store that does not take it.
const maxUnsaved = 65536

// note notes that a key is in use, once a second at most.
func (p *Provider) note(e *entry, now time.Time) {
	if at := now.Unix(); e.used.Load() != at {
		e.used.Store(at)
		if p.uses.wanted.Load() && e.id != "" {
			p.uses.mu.Lock()
			p.uses.keep(e.id, at)
			p.uses.mu.Unlock()
		}
	}
}

// keep needs mu.
func (u *uses) keep(id string, at int64) {
	last, ok := u.noted[id]
	switch {
	case !ok && len(u.noted) >= maxUnsaved:
		u.lost++
		return
	case u.noted == nil:
		u.noted = map[string]int64{}
	}
	u.noted[id] = max(last, at)
}

// record writes the uses down. What fails is tried again the next time.
func (p *Provider) record(store recorder) error {
	u := &p.uses
	u.saving.Lock()
	defer u.saving.Unlock()
	u.mu.Lock()
	noted := u.noted
	u.noted = nil
	u.mu.Unlock()
	if len(noted) == 0 {
		return nil
	}
	batch := make([]Use, 0, len(noted))
	for id, at := range noted {
		batch = append(batch, Use{id, time.Unix(at, 0).UTC()})
	}
	slices.SortFunc(batch, func(a, b Use) int { return cmp.Compare(a.ID, b.ID) })
	ctx, cancel := context.WithTimeout(context.Background(), max(p.config.Timeout, 5*time.Second))
	defer cancel()
	err := store.RecordUses(ctx, batch)
	if err != nil {
		u.mu.Lock()
		defer u.mu.Unlock()
		for id, at := range noted {
			u.keep(id, at)
		}
	}
	return err
}

func (u *uses) stats() (pending int, lost uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.noted), u.lost
}
