package limit

import (
	"strings"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"
)

// owner is whose bucket it is: a user's, or a user's for a tool.
type owner struct{ principal, tool string }

type bucket struct {
	*rate.Limiter
	per time.Duration
}

// buckets keeps each bucket until it must be full again.
type buckets struct{ *otter.Cache[owner, bucket] }

func newBuckets(most int) buckets {
	return buckets{otter.Must(&otter.Options[owner, bucket]{MaximumSize: most, ExpiryCalculator: refill{}})}
}

// refill is how long a bucket takes to fill: at most per, from the last time
// that something was looked for in it.
type refill struct{}

// spare is for the cache, whose reads may leave an expiry up to a second early.
const spare = 2 * time.Second

func (refill) ExpireAfterCreate(e otter.Entry[owner, bucket]) time.Duration {
	return e.Value.per + spare
}

func (refill) ExpireAfterUpdate(e otter.Entry[owner, bucket], _ bucket) time.Duration {
	return e.Value.per + spare
}

func (refill) ExpireAfterRead(e otter.Entry[owner, bucket]) time.Duration {
	return e.Value.per + spare
}

// demand is what a request wants of one bucket.
type demand struct {
	in     buckets
	key    owner
	bucket bucket // zero where there is none yet
	rate   Rate
	n      int
}

func (r Rate) perSecond() rate.Limit { return rate.Limit(float64(r.Requests) / r.Per.Seconds()) }

// wait returns how long until the demand can be met. Like the library, it takes
// less than a nanosecond for none.
func (d *demand) wait(now time.Time) time.Duration {
	if d.n > d.rate.Requests {
		return Never
	}
	if d.bucket.Limiter == nil {
		return 0
	}
	missing := float64(d.n) - d.bucket.TokensAt(now)
	wait := missing / float64(d.bucket.Limit()) * float64(time.Second)
	if wait < 1 {
		return 0
	}
	return time.Duration(wait) + 1
}

// take takes what wait has found to be there.
func (d *demand) take(now time.Time) {
	if d.bucket.Limiter == nil {
		d.bucket = bucket{rate.NewLimiter(d.rate.perSecond(), d.rate.Requests), d.rate.Per}
		d.key.tool = strings.Clone(d.key.tool) // which may be a part of a whole body
		d.in.Set(d.key, d.bucket)
	}
	d.bucket.AllowN(now, d.n)
}
