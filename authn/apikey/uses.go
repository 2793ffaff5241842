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

	mu      sync.Mutex
	noted   []*entry
	unsaved map[string]time.Time // from times that failed
	lost    uint64
	saving  sync.Mutex
}

// maxUnsaved bounds what is kept for a store that does not take it.
const maxUnsaved = 65536

// note notes that a key is in use, once a second at most.
func (p *Provider) note(e *entry, now time.Time) {
	if at := now.Unix(); e.used.Load() != at {
		e.used.Store(at)
		if p.uses.wanted.Load() && e.id != "" && e.noted.CompareAndSwap(false, true) {
			p.uses.mu.Lock()
			p.uses.noted = append(p.uses.noted, e)
			p.uses.mu.Unlock()
		}
	}
}

// record writes the uses down. What fails is tried again the next time.
func (p *Provider) record(store recorder) error {
	u := &p.uses
	u.saving.Lock()
	defer u.saving.Unlock()
	u.mu.Lock()
	noted, latest := u.noted, u.unsaved
	u.noted, u.unsaved = nil, nil
	u.mu.Unlock()
	if latest == nil {
		latest = map[string]time.Time{}
	}
	var lost uint64
	for _, e := range noted {
		e.noted.Store(false) // first: a use after this is noted again
		at := time.Unix(e.used.Load(), 0).UTC()
		switch last, ok := latest[e.id]; {
		case !ok && len(latest) >= maxUnsaved:
			lost++
		case at.After(last):
			latest[e.id] = at
		}
	}
	var err error
	if len(latest) > 0 {
		batch := make([]Use, 0, len(latest))
		for id, at := range latest {
			batch = append(batch, Use{id, at})
		}
		slices.SortFunc(batch, func(a, b Use) int { return cmp.Compare(a.ID, b.ID) })
		ctx, cancel := context.WithTimeout(context.Background(), max(p.config.Timeout, 5*time.Second))
		defer cancel()
		err = store.RecordUses(ctx, batch)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.lost += lost
	if err != nil {
		u.unsaved = latest
	}
	return err
}

func (u *uses) stats() (pending int, lost uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.noted) + len(u.unsaved), u.lost
}
