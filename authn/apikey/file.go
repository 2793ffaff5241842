package apikey

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/watch"
)

// File is a Store that somebody writes by hand or by a program, and that is read
// again as it changes:
//
//	{"keys": [{
//	  "id": "ci", "user": "build-bot", "hash": "<SHA-256 of the key, in hexadecimal>",
//	  "tenant": "", "name": "nightly build", "scopes": ["notes:read"],
//	  "created": "2026-08-01T00:00:00Z", "expires": "2027-08-01T00:00:00Z",
//	  "rate": {"requests": 100, "per": "1m"}
//	}]}
//
// id, user and hash are required. A key that is taken out is refused from the
// next reading on, which a provider that has been started does at
// Config.ReloadInterval. When keys were last used is not kept.
type File struct {
	path string

	mu   sync.RWMutex
	text []byte
	keys map[Hash]*Key

	watchers watch.List[Hash]
}

// maxFile bounds a file of keys.
const maxFile = 16 << 20

// OpenFile reads a file of keys. The error is a *mcpauth.ConfigError with
// everything that is wrong with it, or says why it cannot be read.
func OpenFile(path string) (*File, error) {
	f := &File{path: path}
	if err := f.Reload(); err != nil {
		return nil, err
	}
	return f, nil
}

// Reload reads the file again. With any fault in it, nothing changes.
func (f *File) Reload() error {
	text, err := readFile(f.path)
	if err != nil {
		return fmt.Errorf("apikey: %w", err)
	}
	f.mu.RLock()
	same := f.text != nil && bytes.Equal(text, f.text)
	f.mu.RUnlock()
	if same {
		return nil
	}
	keys, faults := parseFile(text)
	if len(faults) > 0 {
		return &mcpauth.ConfigError{Package: "apikey: " + f.path, Faults: faults}
	}
	f.mu.Lock()
	before := f.keys
	f.text, f.keys = text, keys
	f.mu.Unlock()
	for h := range before {
		f.watchers.Tell(h)
	}
	for h := range keys {
		if before[h] == nil {
			f.watchers.Tell(h)
		}
	}
	return nil
}

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	return text, err
}

// written is a key as it is in a file.
type written struct {
	ID      string    `json:"id"`
	User    string    `json:"user"`
	Tenant  string    `json:"tenant"`
	Name    string    `json:"name"`
	Hash    Hash      `json:"hash"`
	Scopes  []string  `json:"scopes"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Rate    struct {
		Requests int    `json:"requests"`
		Per      string `json:"per"`
	} `json:"rate"`
}

func parseFile(text []byte) (map[Hash]*Key, []mcpauth.Fault) {
	var content struct {
		Keys []written `json:"keys"`
	}
	if err := json.Unmarshal(text, &content, json.RejectUnknownMembers(true)); err != nil {
		return nil, []mcpauth.Fault{{Field: "file", Problem: whatIsWrong(err), Expected: `{"keys": […]}, with the members that are documented, each once`}}
	}
	var (
		faults []mcpauth.Fault
		keys   = map[Hash]*Key{}
		ids    = map[string]bool{}
	)
	for i, w := range content.Keys {
		at := func(field string) string { return fmt.Sprintf("keys[%d].%s", i, field) }
		add := func(field, problem, expected string) {
			faults = append(faults, mcpauth.Fault{Field: at(field), Problem: problem, Expected: expected})
		}
		k := &Key{ID: w.ID, Hash: w.Hash, UserID: w.User, Tenant: w.Tenant, Name: w.Name, Scopes: w.Scopes, Created: w.Created, Expires: w.Expires}
		for _, fault := range textFaults(k.UserID, k.Tenant, k.Name, k.Scopes) {
			if name, ok := map[string]string{"UserID": "user", "Tenant": "tenant", "Name": "name"}[fault.Field]; ok {
				fault.Field = name
			} else {
				fault.Field = "s" + fault.Field[1:] // Scopes
			}
			add(fault.Field, fault.Problem, fault.Expected)
		}
		switch {
		case k.ID == "" || badText(k.ID) != "":
			add("id", fmt.Sprintf("found %q", k.ID), "a name for the key")
		case ids[k.ID]:
			add("id", fmt.Sprintf("%q is there twice", k.ID), "an id for each key")
		}
		ids[k.ID] = true
		switch {
		case k.Hash == Hash{}:
			add("hash", "missing", "the SHA-256 of the key, in hexadecimal")
		case keys[k.Hash] != nil:
			add("hash", "is that of another key too", "each key once")
		}
		if w.Rate.Requests != 0 || w.Rate.Per != "" {
			per, err := time.ParseDuration(w.Rate.Per)
			k.Rate = Rate{w.Rate.Requests, per}
			if text := k.Rate.fault(); err != nil || text != "" || k.Rate == (Rate{}) {
				add("rate", fmt.Sprintf("found %d requests per %q", w.Rate.Requests, w.Rate.Per), `both positive, such as 100 and "1m"`)
			}
		}
		keys[k.Hash] = k
	}
	return keys, faults
}

// whatIsWrong says where, without quoting: somebody may have written a key
// instead of its hash.
func whatIsWrong(err error) string {
	var semantic *json.SemanticError
	switch {
	case errors.Is(err, errHash):
		return "a hash is not a SHA-256 in hexadecimal"
	case errors.As(err, &semantic):
		return fmt.Sprintf("not as expected at %q (byte %d)", semantic.JSONPointer, semantic.ByteOffset)
	}
	return "not JSON"
}

// Lookup implements Store.
func (f *File) Lookup(_ context.Context, hash Hash) (*Key, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if k, ok := f.keys[hash]; ok {
		return k.Clone(), nil
	}
	return nil, nil
}

// Hashes lists the keys that are good, for a provider.
func (f *File) Hashes(context.Context) iter.Seq2[Hash, error] {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return hashesOf(f.keys)
}

// Watch calls changed for each key that may have changed, for a provider.
func (f *File) Watch(changed func(Hash)) (stop func()) { return f.watchers.Add(changed) }
