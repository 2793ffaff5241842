package apikey

import (
	"context"
	"iter"
	"time"
)

// Store is where keys are looked up.
//
// Lookup returns the key that has this hash, or nil (or ErrNotFound) when there
// is none, whether or not it has expired or been revoked. Any other error means
// that the store cannot tell now. It is called concurrently, once for many
// requests with one key, and gives up when ctx ends. The provider only reads
// what it returns.
//
// A Store may do more, as those of this module do:
//
//	Watch(changed func(Hash)) (stop func()) // says which keys it has changed itself
//	Hashes(ctx) iter.Seq2[Hash, error]      // lists the keys that may be good
//	RecordUses(ctx, []Use) error            // keeps when keys were last used
//	Reload() error                          // reads again what somebody else has written
type Store interface {
	Lookup(ctx context.Context, hash Hash) (*Key, error)
}

// LookupFunc is a function of your own as a Store: that of a database that you
// have already, for example. When a key changes there, Provider.Changed makes
// the provider look again.
type LookupFunc func(ctx context.Context, hash Hash) (*Key, error)

// Lookup implements Store.
func (f LookupFunc) Lookup(ctx context.Context, hash Hash) (*Key, error) { return f(ctx, hash) }

// Use says about when a key was last used.
type Use struct {
	ID string
	At time.Time
}

// What a Store may do beside.
type (
	watcher interface {
		Watch(func(Hash)) (stop func())
	}
	lister interface {
		Hashes(context.Context) iter.Seq2[Hash, error]
	}
	recorder interface {
		RecordUses(context.Context, []Use) error
	}
	reloader interface{ Reload() error }
)
