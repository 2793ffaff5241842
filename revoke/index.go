package revoke

import (
	"hash/maphash"
	"math"
	"strings"
	"sync"
	"sync/atomic"
)

// A key names what an entry is about: kind, issuer, NUL, id. Entries of one
// kind and issuer are neighbours in the file. An issuer has no NUL, so that two
// keys are the same only if all their parts are.
func appendKey(b []byte, code int, issuer, id string) []byte {
	b = append(b, "bstu"[code])
	b = append(b, issuer...)
	b = append(b, 0)
	return append(b, id...)
}

func (r Revocation) key() string { return string(appendKey(nil, r.Kind.code(), r.Issuer, r.id())) }

// parseKey returns the revocation that a key names.
func parseKey(key string) (r Revocation, ok bool) {
	if key == "" {
		return r, false
	}
	code := strings.IndexByte("bstu", key[0])
	issuer, id, found := strings.Cut(key[1:], "\x00")
	if code < 0 || !found || issuer == "" || id == "" {
		return r, false
	}
	r = Revocation{Kind: kinds[code], Issuer: issuer}
	switch r.Kind {
	case Token:
		r.TokenID = id
	case Session:
		r.SessionID = id
	default:
		r.UserID = id
	}
	return r, true
}

// hash is all that is kept of a key in memory: a map of strings would take
// twice the room, and the garbage collector through all of it. Its seeds are
// this process's alone, so that nobody can make ids that meet in one. If two
// did all the same, one in 2^128, the other would be refused, not passed.
type hash struct{ a, b uint64 }

func (x *index) hash(code int, issuer, id string) hash {
	var room [256]byte // of all but odd ids, without an allocation
	key := appendKey(room[:0], code, issuer, id)
	return hash{maphash.Bytes(x.seeds[0], key), maphash.Bytes(x.seeds[1], key)}
}

// always is the time of entries that do not depend on one.
const always = math.MaxInt64

// index is what Revoked looks into. Each entry has the time in microseconds up
// to which what was issued is refused. The locks are held for one step in a
// map, never for the disk.
type index struct {
	seeds  [2]maphash.Seed
	n      [len(kinds)]atomic.Int64
	shards [256]struct {
		sync.RWMutex
		m map[hash]int64
		_ [96]byte // a lock that one core takes is not in another's cache line
	}
}

func (x *index) get(code int, issuer, id string) (issued int64, ok bool) {
	if x.n[code].Load() == 0 { // most lists, most of the time
		return 0, false
	}
	h := x.hash(code, issuer, id)
	s := &x.shards[h.a%uint64(len(x.shards))]
	s.RLock()
	issued, ok = s.m[h]
	s.RUnlock()
	return issued, ok
}

func (x *index) put(code int, issuer, id string, issued int64) {
	h := x.hash(code, issuer, id)
	s := &x.shards[h.a%uint64(len(x.shards))]
	s.Lock()
	defer s.Unlock()
	if s.m == nil {
		s.m = map[hash]int64{}
	}
	if _, ok := s.m[h]; !ok {
		x.n[code].Add(1)
	}
	s.m[h] = issued
}

func (x *index) remove(code int, issuer, id string) {
	h := x.hash(code, issuer, id)
	s := &x.shards[h.a%uint64(len(x.shards))]
	s.Lock()
	defer s.Unlock()
	if _, ok := s.m[h]; ok {
		x.n[code].Add(-1)
		delete(s.m, h)
	}
}

func (x *index) len() int {
	n := 0
	for i := range x.n {
		n += int(x.n[i].Load())
	}
	return n
}
