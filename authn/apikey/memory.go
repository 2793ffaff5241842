package apikey

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/watch"
)

// Memory is a Store that ends with the process, for tests and for keys that
// come from elsewhere. The zero Memory has no keys. It is safe for concurrent
// use.
type Memory struct {
	mu     sync.RWMutex
	byHash map[Hash]*Key
	byID   map[string]*Key

	watchers watch.List[Hash]
}

// Create makes a key. The secret is the key itself, to be shown once.
func (m *Memory) Create(_ context.Context, s Spec) (mcpauth.Secret, *Key, error) {
	secret, key, err := Generate(s)
	if err != nil {
		return mcpauth.Secret{}, nil, err
	}
	m.mu.Lock()
	m.put(key)
	m.mu.Unlock()
	m.watchers.Tell(key.Hash)
	return secret, key.Clone(), nil
}

func (m *Memory) put(k *Key) {
	if m.byHash == nil {
		m.byHash, m.byID = map[Hash]*Key{}, map[string]*Key{}
	}
	m.byHash[k.Hash], m.byID[k.ID] = k, k
}

// Rotate replaces a key by another of the same owner. The secret is the new key.
func (m *Memory) Rotate(_ context.Context, id string, r Rotation) (mcpauth.Secret, *Key, error) {
	m.mu.Lock()
	old, ok := m.byID[id]
	if !ok {
		m.mu.Unlock()
		return mcpauth.Secret{}, nil, ErrNotFound
	}
	old = old.Clone() // what has been handed out does not change
	secret, next, err := old.Successor(r)
	if err == nil {
		m.put(old)
		m.put(next)
	}
	m.mu.Unlock()
	if err != nil {
		return mcpauth.Secret{}, nil, err
	}
	m.watchers.Tell(old.Hash, next.Hash)
	return secret, next.Clone(), nil
}

// Revoke ends a key at once. A key that is revoked already stays so.
func (m *Memory) Revoke(_ context.Context, id string) (*Key, error) {
	m.mu.Lock()
	key, ok := m.byID[id]
	if ok && key.Revoked.IsZero() {
		key = key.Clone()
		key.Revoked = stamp(time.Now())
		m.put(key)
	}
	m.mu.Unlock()
	if !ok {
		return nil, ErrNotFound
	}
	m.watchers.Tell(key.Hash)
	return key.Clone(), nil
}

// Get returns the key with an id.
func (m *Memory) Get(_ context.Context, id string) (*Key, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if k, ok := m.byID[id]; ok {
		return k.Clone(), nil
	}
	return nil, ErrNotFound
}

// All returns the keys of a user, or of everybody for "", in the order in which
// they were made.
func (m *Memory) All(_ context.Context, userID string) iter.Seq2[*Key, error] {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var keys []*Key
	for _, k := range m.byID {
		if userID == "" || k.UserID == userID {
			keys = append(keys, k.Clone())
		}
	}
	slices.SortFunc(keys, func(a, b *Key) int { return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID)) })
	return func(yield func(*Key, error) bool) {
		for _, k := range keys {
			if !yield(k, nil) {
				return
			}
		}
	}
}

// Lookup implements Store.
func (m *Memory) Lookup(_ context.Context, hash Hash) (*Key, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if k, ok := m.byHash[hash]; ok {
		return k.Clone(), nil
	}
	return nil, nil
}

// Hashes lists the keys that are good, for a provider.
func (m *Memory) Hashes(context.Context) iter.Seq2[Hash, error] {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return hashesOf(m.byHash)
}

// hashesOf returns the hashes of the keys that are good now.
func hashesOf(keys map[Hash]*Key) iter.Seq2[Hash, error] {
	now := time.Now()
	var hashes []Hash
	for h, k := range keys {
		if k.State(now) == Active {
			hashes = append(hashes, h)
		}
	}
	return func(yield func(Hash, error) bool) {
		for _, h := range hashes {
			if !yield(h, nil) {
				return
			}
		}
	}
}

// RecordUses keeps when keys were last used, for a provider.
func (m *Memory) RecordUses(_ context.Context, uses []Use) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, u := range uses {
		if k, ok := m.byID[u.ID]; ok && u.At.After(k.LastUsed) {
			k = k.Clone()
			k.LastUsed = stamp(u.At)
			m.put(k)
		}
	}
	return nil
}

// Watch calls changed for each key that this Memory changes, for a provider.
func (m *Memory) Watch(changed func(Hash)) (stop func()) { return m.watchers.Add(changed) }
