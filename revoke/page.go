package revoke

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/mcpauth-go/mcpauth"
)

const (
	defaultPage = 100
	maxPage     = 1000
)

// Query asks for entries. Its zero value asks for the first of all.
type Query struct {
	Kind   Kind   // "" for all
	Issuer string // "" for all
	UserID string // of a Block or User; it needs Issuer
	// After is the Next of the page before.
	After string
	// Limit is for how many to ask, at most 1000. 0 means 100.
	Limit int
}

// Page is some entries, ordered by kind, issuer and id.
type Page struct {
	Revocations []Entry `json:"revocations"`
	// Next is where the next page begins, "" when there is none.
	Next string `json:"next,omitzero"`
}

// Page returns entries of the list. What is revoked or forgotten between two
// pages may be on neither. It reads the file, and costs more the longer the list
// is where there is none.
func (l *List) Page(q Query) (Page, error) {
	after, faults := q.validate()
	if len(faults) > 0 {
		return Page{}, &InvalidError{faults}
	}
	limit := q.Limit
	if limit == 0 {
		limit = defaultPage
	}

	// Before the file: what is saved meanwhile is seen twice, rather than never.
	found := map[string]Entry{}
	l.mu.Lock()
	closed := l.closed
	for key, c := range l.unsaved {
		if c.put != nil && key > after && q.wants(key) {
			found[key] = *c.put
		}
	}
	l.mu.Unlock()
	if closed {
		return Page{}, ErrClosed
	}
	if l.file != nil {
		for _, prefix := range q.prefixes() {
			err := l.file.view(func(entries *bolt.Bucket) error {
				c := entries.Cursor()
				k, v := c.Seek([]byte(max(prefix, after)))
				for n := 0; k != nil && n <= limit && strings.HasPrefix(string(k), prefix); k, v = c.Next() {
					key := string(k)
					if q.UserID != "" && key != prefix {
						break // at those whose ids only begin like this one
					}
					if key > after {
						e, err := decode(k, v)
						if err != nil {
							return err
						}
						n++
						if _, newer := found[key]; !newer {
							found[key] = e
						}
					}
				}
				return nil
			})
			if err != nil {
				return Page{}, fmt.Errorf("revoke: %w", err)
			}
		}
	}

	keys := make([]string, 0, len(found))
	for key := range found {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	page := Page{Revocations: []Entry{}}
	now := time.Now()
	for i, key := range keys {
		if i == limit {
			page.Next = base64.RawURLEncoding.EncodeToString([]byte(keys[i-1]))
			break
		}
		e := found[key]
		if e.Until = l.until(e); e.Until.IsZero() || now.Before(e.Until) {
			page.Revocations = append(page.Revocations, e)
		}
	}
	return page, nil
}

func (q Query) validate() (after string, faults []mcpauth.Fault) {
	add := func(field, problem, expected string) {
		faults = append(faults, mcpauth.Fault{Field: field, Problem: problem, Expected: expected})
	}
	if q.Kind != "" && q.Kind.code() < 0 {
		add("kind", "unknown", `"token", "user", "session", "block", or none for all`)
	}
	if q.UserID != "" && q.Issuer == "" {
		add("issuer", "missing beside user_id", "the user's issuer")
	}
	if q.UserID != "" && (q.Kind == Token || q.Kind == Session) {
		add("user_id", fmt.Sprintf("given, but it does not belong to kind %q", q.Kind), "nothing")
	}
	if q.Limit < 0 || q.Limit > maxPage {
		add("limit", "out of range", fmt.Sprintf("at most %d", maxPage))
	}
	key, err := base64.RawURLEncoding.Strict().DecodeString(q.After)
	if _, ok := parseKey(string(key)); err != nil || q.After != "" && !ok {
		add("after", "not from a page", `"next" of the page before`)
	}
	return string(key), faults
}

// prefixes are where the entries asked for are in the file.
func (q Query) prefixes() []string {
	var all []string
	for code, kind := range kinds {
		if q.Kind != "" && kind != q.Kind || q.UserID != "" && kind != Block && kind != User {
			continue
		}
		prefix := "bstu"[code : code+1]
		if q.Issuer != "" {
			prefix += q.Issuer + "\x00" + q.UserID
		}
		all = append(all, prefix)
	}
	return all
}

// wants reports whether the entry of key is asked for.
func (q Query) wants(key string) bool {
	r, ok := parseKey(key)
	return ok && (q.Kind == "" || r.Kind == q.Kind) && (q.Issuer == "" || r.Issuer == q.Issuer) &&
		(q.UserID == "" || (r.Kind == Block || r.Kind == User) && r.UserID == q.UserID)
}
