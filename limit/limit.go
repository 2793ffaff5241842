// Package limit bounds how much a user asks for: so many messages in a time,
// and so many calls of a tool.
//
//	l, err := limit.New(limit.Config{
//		User:  limit.Rate{Requests: 600, Per: time.Minute},
//		Tools: map[string]limit.Rate{"send_mail": {Requests: 10, Per: time.Hour}},
//	})
//	…
//	defer l.Close()
//	if wait, ok := l.Take(id.Principal(), 1, "send_mail"); !ok {
//		// 429, with Retry-After: wait
//	}
//
// Each user has a bucket, and one more for each limited tool. A bucket holds as
// much as the rate allows at once and refills evenly. Users do not share
// buckets, so that nobody can use up what is another's.
//
// Buckets are in memory, and of this process. One that has refilled is
// forgotten, since it says nothing, and never one that has not: waiting does
// not pay. Only when more than MaxUsers are busy at once, those who come least
// often lose theirs, and begin again with full ones. Tools' buckets are kept
// apart, as many again: inventing names of tools pushes out no user's bucket.
package limit

import (
	"fmt"
	"hash/maphash"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mcpauth-go/mcpauth"
)

// Rate allows Requests per Per, at once or spread. The zero Rate is none.
type Rate struct {
	Requests int
	Per      time.Duration // at most a day
}

// Off allows everything. It has to be said: no rate is a fault.
var Off = Rate{Requests: -1}

func (r Rate) off() bool { return r == Rate{Requests: -1} }

// IsZero reports whether r has not been set.
func (r Rate) IsZero() bool { return r == Rate{} }

// String returns r as "600 per 1m0s", or "off".
func (r Rate) String() string {
	if r.off() {
		return "off"
	}
	return fmt.Sprintf("%d per %v", r.Requests, r.Per)
}

// Config says how much is allowed.
type Config struct {
	// User is how many messages each user may send. It is required; Off for as
	// many as they like.
	User Rate
	// Tools are how often each user may call the tool of that name. "*" is for
	// every tool without an entry of its own, each counted apart.
	Tools map[string]Rate
	// MaxUsers is for how many users buckets are kept, and how many buckets
	// for tools; 0 means 100 000. Each takes some 300 bytes.
	MaxUsers int
}

const (
	defaultMaxUsers = 100_000
	maxPer          = 24 * time.Hour

	// maxName is the longest name of a tool (MCP specification, tools, names).
	// Strangers who send longer ones share a bucket, rather than our memory.
	maxName = 128
)

// Limiter counts. It is safe for concurrent use.
type Limiter struct {
	user  Rate
	tools map[string]Rate
	other Rate // of the tools that are not in tools

	// One user's calls follow each other, so that a refusal takes nothing from
	// any bucket. Users are spread over the locks by a hash that they cannot
	// know.
	locks [256]sync.Mutex
	seed  maphash.Seed

	// Tools that the configuration names have buckets of their own: a stranger
	// who invents names pushes out only what else is invented.
	ofUsers, ofTools, ofOthers buckets
}

// New validates c. The error is a *mcpauth.ConfigError with all faults.
func New(c Config) (*Limiter, error) {
	var faults []mcpauth.Fault
	check := func(field string, r Rate) {
		if !r.off() && (r.Requests < 1 || r.Per <= 0 || r.Per > maxPer) {
			faults = append(faults, mcpauth.Fault{Field: field, Problem: "found " + r.String(), Expected: "at least 1 per up to 24h, or Off"})
		}
	}
	check("User", c.User)
	for _, name := range slices.Sorted(maps.Keys(c.Tools)) {
		field := fmt.Sprintf("Tools[%q]", name)
		check(field, c.Tools[name])
		if name == "" || len(name) > maxName || name != "*" && strings.Contains(name, "*") {
			faults = append(faults, mcpauth.Fault{Field: field, Problem: "no name of a tool", Expected: `up to 128 bytes without "*", or "*" alone for all others`})
		}
	}
	if c.MaxUsers < 0 {
		faults = append(faults, mcpauth.Fault{Field: "MaxUsers", Problem: fmt.Sprintf("found %d", c.MaxUsers), Expected: "at least 1, or 0 for 100 000"})
	}
	if len(faults) > 0 {
		return nil, &mcpauth.ConfigError{Package: "limit", Faults: faults}
	}

	if c.MaxUsers == 0 {
		c.MaxUsers = defaultMaxUsers
	}
	l := &Limiter{
		user: c.User, tools: maps.Clone(c.Tools), other: Off, seed: maphash.MakeSeed(),
		ofUsers: newBuckets(c.MaxUsers), ofTools: newBuckets(c.MaxUsers), ofOthers: newBuckets(c.MaxUsers),
	}
	if r, ok := c.Tools["*"]; ok {
		l.other = r
		delete(l.tools, "*") // which is not the name of one
	}
	return l, nil
}

// Never is how long to wait for what does not fit into a full bucket.
const Never = time.Duration(math.MaxInt64)

// Take counts n messages of principal, at least one, and one call of each of
// tools, which may name one several times. It counts all of them or nothing: if
// they are too much for one bucket, ok is false and wait is how long until all
// of them fit, if nothing else is taken meanwhile. For more messages, or more
// calls of one tool, than the rate's Requests, wait is Never.
func (l *Limiter) Take(principal string, n int, tools ...string) (wait time.Duration, ok bool) {
	if l.user.off() && l.other.off() && len(l.tools) == 0 {
		return 0, true
	}
	lock := &l.locks[maphash.String(l.seed, principal)%uint64(len(l.locks))]
	lock.Lock()
	defer lock.Unlock()
	now := time.Now()

	var few [4]demand // of most requests, without an allocation
	demands := few[:0]
	add := func(in buckets, key owner, r Rate, n int) {
		if r.off() {
			return
		}
		d := demand{in: in, key: key, rate: r, n: n}
		// What is not there is full. It is made when something is taken, not
		// for what is refused.
		d.bucket, _ = in.GetIfPresent(key)
		demands = append(demands, d)
		wait = max(wait, d.wait(now))
	}
	add(l.ofUsers, owner{principal: principal}, l.user, max(n, 1))
	if len(tools) > 1 {
		tools = slices.Clone(tools)
		for i, name := range tools {
			tools[i] = counted(name)
		}
		slices.Sort(tools)
	}
	for len(tools) > 0 {
		name, calls := counted(tools[0]), 1
		for calls < len(tools) && tools[calls] == name {
			calls++
		}
		tools = tools[calls:]
		if r, listed := l.tools[name]; listed {
			add(l.ofTools, owner{principal, name}, r, calls)
		} else {
			add(l.ofOthers, owner{principal, name}, l.other, calls)
		}
	}
	if wait > 0 {
		return wait, false
	}
	for i := range demands {
		demands[i].take(now)
	}
	return 0, true
}

// counted returns the name under which calls of a tool are counted.
func counted(name string) string {
	if name == "" || len(name) > maxName {
		return "*"
	}
	return name
}

// Close ends the work in the background, which is to forget full buckets. It
// may be called again.
func (l *Limiter) Close() {
	l.ofUsers.StopAllGoroutines()
	l.ofTools.StopAllGoroutines()
	l.ofOthers.StopAllGoroutines()
}
