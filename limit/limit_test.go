package limit_test

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/limit"
)

func newLimiter(t testing.TB, c limit.Config) *limit.Limiter {
	t.Helper()
	l, err := limit.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// bubble runs test with a limiter, and time that moves when all are asleep.
func bubble(t *testing.T, c limit.Config, test func(t *testing.T, l *limit.Limiter)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newLimiter(t, c)) })
}

func passes(t *testing.T, l *limit.Limiter, user string, n int, tools ...string) {
	t.Helper()
	if wait, ok := l.Take(user, n, tools...); !ok || wait != 0 {
		t.Fatalf("%s with %d messages and %q: refused for %v", user, n, tools, wait)
	}
}

func refused(t *testing.T, l *limit.Limiter, wait time.Duration, user string, n int, tools ...string) {
	t.Helper()
	got, ok := l.Take(user, n, tools...)
	if ok {
		t.Fatalf("%s with %d messages and %q: passed", user, n, tools)
	}
	// The hint is rounded up, by less than a few nanoseconds.
	if got < wait || got > wait+10*time.Nanosecond {
		t.Fatalf("%s with %d messages and %q: wait = %v, want %v", user, n, tools, got, wait)
	}
}

func perMinute(n int) limit.Rate { return limit.Rate{Requests: n, Per: time.Minute} }

func TestBurstAndRefill(t *testing.T) {
	bubble(t, limit.Config{User: perMinute(6)}, func(t *testing.T, l *limit.Limiter) {
		for range 6 {
			passes(t, l, "alice", 1)
		}
		refused(t, l, 10*time.Second, "alice", 1)
		refused(t, l, 20*time.Second, "alice", 2)
		time.Sleep(9 * time.Second)
		refused(t, l, time.Second, "alice", 1)
		passes(t, l, "bob", 6)
		time.Sleep(time.Second)
		passes(t, l, "alice", 1)
		refused(t, l, 10*time.Second, "alice", 1)
		time.Sleep(time.Hour)
		passes(t, l, "alice", 4)
		passes(t, l, "alice", 2)
		refused(t, l, 10*time.Second, "alice", 1)
	})
}

func TestLessThanOneMessageIsOne(t *testing.T) {
	bubble(t, limit.Config{User: perMinute(2)}, func(t *testing.T, l *limit.Limiter) {
		passes(t, l, "alice", 0)
		passes(t, l, "alice", -5)
		refused(t, l, 30*time.Second, "alice", 0)
	})
}

func TestWaitingAsLongAsToldIsEnoughAndLessIsNot(t *testing.T) {
	for _, r := range []limit.Rate{
		{Requests: 1, Per: time.Nanosecond}, {Requests: 7, Per: time.Millisecond}, {Requests: 3, Per: time.Second}, {Requests: 60, Per: time.Minute}, {Requests: 7, Per: 24 * time.Hour},
		{Requests: 1, Per: 24 * time.Hour}, {Requests: 1_000_003, Per: time.Hour}, {Requests: 1 << 40, Per: time.Second},
	} {
		t.Run(r.String(), func(t *testing.T) {
			bubble(t, limit.Config{User: limit.Off, Tools: map[string]limit.Rate{"*": r}}, func(t *testing.T, l *limit.Limiter) {
				calls := []string{"tool"}
				for passed := 0; passed < 3*min(r.Requests, 100); {
					wait, ok := l.Take("alice", 1, calls...)
					if ok {
						passed++
						continue
					}
					const early = 20 * time.Nanosecond
					if wait > early {
						time.Sleep(wait - early)
						if left, ok := l.Take("alice", 1, calls...); ok || left > early+10*time.Nanosecond {
							t.Fatalf("%v early: %v, %v left", early, ok, left)
						}
						wait = early
					}
					time.Sleep(wait)
					if again, ok := l.Take("alice", 1, calls...); !ok {
						t.Fatalf("told to wait again, for %v", again)
					}
					passed++
				}
			})
			bubble(t, limit.Config{User: r}, func(t *testing.T, l *limit.Limiter) {
				passes(t, l, "alice", r.Requests)
				wait, ok := l.Take("alice", r.Requests)
				if ok || wait < r.Per || wait > r.Per+10*time.Nanosecond {
					t.Fatalf("%v, %v for a full bucket", wait, ok)
				}
				time.Sleep(wait)
				passes(t, l, "alice", r.Requests)
			})
		})
	}
}

func TestToolsAreCountedApart(t *testing.T) {
	bubble(t, limit.Config{User: perMinute(100), Tools: map[string]limit.Rate{"mail": perMinute(2), "*": perMinute(4), "free": limit.Off}}, func(t *testing.T, l *limit.Limiter) {
		passes(t, l, "alice", 1, "mail")
		passes(t, l, "alice", 1, "mail")
		refused(t, l, 30*time.Second, "alice", 1, "mail")
		passes(t, l, "bob", 2, "mail", "mail")
		for _, other := range []string{"a", "b", "*"} {
			passes(t, l, "alice", 4, other, other, other, other)
			refused(t, l, 15*time.Second, "alice", 1, other)
		}
		for range 20 {
			passes(t, l, "alice", 1, "free")
		}
		// The longest wait is the one that counts.
		refused(t, l, 30*time.Second, "alice", 3, "a", "mail", "b")
		time.Sleep(30 * time.Second)
		passes(t, l, "alice", 3, "a", "mail", "b")
	})
}

func TestToolsWithoutLimitForTheOthers(t *testing.T) {
	bubble(t, limit.Config{User: limit.Off, Tools: map[string]limit.Rate{"mail": perMinute(1)}}, func(t *testing.T, l *limit.Limiter) {
		passes(t, l, "alice", 1000, "mail", "other", "other")
		passes(t, l, "alice", 1000, "other")
		refused(t, l, time.Minute, "alice", 1, "other", "mail")
	})
}

func TestAllOff(t *testing.T) {
	l := newLimiter(t, limit.Config{User: limit.Off})
	for range 1000 {
		passes(t, l, "alice", 1<<30, "tool")
	}
}

func TestARefusalTakesNothing(t *testing.T) {
	bubble(t, limit.Config{User: perMinute(10), Tools: map[string]limit.Rate{"a": perMinute(1), "b": perMinute(1)}}, func(t *testing.T, l *limit.Limiter) {
		passes(t, l, "alice", 1, "b")
		for range 100 {
			refused(t, l, time.Minute, "alice", 2, "a", "b")
		}
		passes(t, l, "alice", 1, "a")
		passes(t, l, "alice", 8)
		for range 100 {
			refused(t, l, 6*time.Second, "alice", 1)
		}
		time.Sleep(time.Minute)
		passes(t, l, "alice", 9)
		for range 100 {
			refused(t, l, 6*time.Second, "alice", 2, "a", "b")
		}
		passes(t, l, "alice", 1, "a", "b")
	})
}

func TestABatchOfOneToolIsCountedCallByCall(t *testing.T) {
	bubble(t, limit.Config{User: perMinute(100), Tools: map[string]limit.Rate{"a": perMinute(3)}}, func(t *testing.T, l *limit.Limiter) {
		passes(t, l, "alice", 2, "a", "a")
		refused(t, l, 20*time.Second, "alice", 4, "a", "x", "a")
		passes(t, l, "alice", 4, "x", "a", "x")
	})
}

func TestTakeLeavesTheCallersSliceAlone(t *testing.T) {
	l := newLimiter(t, limit.Config{User: limit.Off, Tools: map[string]limit.Rate{"*": perMinute(3)}})
	tools := []string{"b", "", "a"}
	l.Take("alice", 3, tools...)
	if want := []string{"b", "", "a"}; !reflect.DeepEqual(tools, want) {
		t.Errorf("tools = %q", tools)
	}
}

// However full the buckets are, a batch is no way around a rate, and its refusal
// takes nothing.
func TestMoreThanABucketHoldsNeverPasses(t *testing.T) {
	bubble(t, limit.Config{User: perMinute(6), Tools: map[string]limit.Rate{"a": {Requests: 3, Per: time.Second}, "*": perMinute(2)}}, func(t *testing.T, l *limit.Limiter) {
		for _, batch := range []struct {
			n     int
			tools []string
		}{
			{n: 7},
			{n: 1 << 62},
			{n: math.MaxInt},
			{4, []string{"a", "a", "a", "a"}},
			{6, []string{"a", "x", "a", "y", "a", "a"}},
			{3, []string{"x", "x", "x"}},
			{3, []string{"", strings.Repeat("x", 200), strings.Repeat("y", 200)}}, // names that share a bucket
			{6, slices.Repeat([]string{"a"}, 50)},
		} {
			for range 2 {
				if wait, ok := l.Take("alice", batch.n, batch.tools...); ok || wait != limit.Never {
					t.Errorf("%d messages and %q: %v, %v", batch.n, batch.tools, wait, ok)
				}
			}
		}
		passes(t, l, "alice", 6, "a", "a", "a", "x", "x", "y")
		refused(t, l, 10*time.Second, "alice", 1)
		if wait, ok := l.Take("alice", 7); ok || wait != limit.Never {
			t.Errorf("with an empty bucket: %v, %v", wait, ok)
		}
		time.Sleep(time.Minute)
		passes(t, l, "alice", 6, "a", "a", "a", "x", "x", "y")
	})
}

func TestABucketIsNotForgottenBeforeItIsFull(t *testing.T) {
	bubble(t, limit.Config{User: limit.Rate{Requests: 10, Per: time.Hour}, Tools: map[string]limit.Rate{"*": perMinute(2)}}, func(t *testing.T, l *limit.Limiter) {
		passes(t, l, "alice", 10, "x", "x")
		time.Sleep(59*time.Minute + 50*time.Second)
		refused(t, l, 10*time.Second, "alice", 10)
		time.Sleep(10*time.Second + 5*time.Nanosecond)
		passes(t, l, "alice", 10, "x", "x")
		refused(t, l, 30*time.Second+5*time.Minute+30*time.Second, "alice", 1)
	})
}

func TestNamesThatNoToolHasShareABucket(t *testing.T) {
	bubble(t, limit.Config{User: limit.Off, Tools: map[string]limit.Rate{"*": perMinute(3)}}, func(t *testing.T, l *limit.Limiter) {
		passes(t, l, "alice", 1, "")
		passes(t, l, "alice", 1, strings.Repeat("a", 129), strings.Repeat("b", 1<<20))
		refused(t, l, 20*time.Second, "alice", 1, strings.Repeat("c", 200))
		passes(t, l, "alice", 1, strings.Repeat("a", 128))
	})
}

func TestInventedToolsPushOutNoUser(t *testing.T) {
	bubble(t, limit.Config{User: perMinute(1), Tools: map[string]limit.Rate{"*": perMinute(1)}, MaxUsers: 50}, func(t *testing.T, l *limit.Limiter) {
		for i := range 40 {
			passes(t, l, fmt.Sprint("user", i), 1)
		}
		names := make([]string, 2000)
		for i := range names {
			names[i] = fmt.Sprint("tool", i)
		}
		passes(t, l, "mallory", 1, names...)
		synctest.Wait()
		for i := range 40 {
			refused(t, l, time.Minute, fmt.Sprint("user", i), 1)
		}
	})
}

func TestConcurrentTakesLetNoMoreThrough(t *testing.T) {
	bubble(t, limit.Config{User: perMinute(500), Tools: map[string]limit.Rate{"a": perMinute(200), "b": perMinute(100)}}, func(t *testing.T, l *limit.Limiter) {
		var passed [3]atomic.Int64
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				for i := range 300 {
					tools := [][]string{nil, {"a"}, {"b", "a"}}[i%3]
					if _, ok := l.Take("alice", 1, tools...); ok {
						passed[i%3].Add(1)
					}
				}
			})
		}
		all.Wait()
		total, a, b := passed[0].Load()+passed[1].Load()+passed[2].Load(), passed[1].Load()+passed[2].Load(), passed[2].Load()
		if total != 500 || a > 200 || b > 100 {
			t.Errorf("%d passed, %d of them with a, %d with b", total, a, b)
		}
		refused(t, l, 120*time.Millisecond, "alice", 1)
	})
}

func TestCloseMayBeCalledAgain(t *testing.T) {
	l := newLimiter(t, limit.Config{User: perMinute(1)})
	l.Close()
	l.Close()
	passes(t, l, "alice", 1)
	if _, ok := l.Take("alice", 1); ok {
		t.Error("a closed limiter lets everything through")
	}
}

func TestNewReportsAllFaultsAtOnce(t *testing.T) {
	_, err := limit.New(limit.Config{
		Tools: map[string]limit.Rate{
			"good": perMinute(1), "off": limit.Off, "*": perMinute(1),
			"a": {}, "b": {Requests: -1, Per: time.Second}, "c": {Requests: 1}, "d": {Requests: 1, Per: 25 * time.Hour}, "e": {Per: time.Second}, "f": {Requests: 1, Per: -1},
			"g*": perMinute(1), "": perMinute(1), strings.Repeat("h", 129): perMinute(1),
		},
		MaxUsers: -1,
	})
	var e *mcpauth.ConfigError
	if !errors.As(err, &e) || e.Package != "limit" {
		t.Fatalf("error = %v", err)
	}
	var fields []string
	for _, f := range e.Faults {
		fields = append(fields, f.Field)
	}
	want := []string{"User", `Tools[""]`, `Tools["a"]`, `Tools["b"]`, `Tools["c"]`, `Tools["d"]`, `Tools["e"]`, `Tools["f"]`, `Tools["g*"]`, `Tools["` + strings.Repeat("h", 129) + `"]`, "MaxUsers"}
	if !reflect.DeepEqual(fields, want) {
		t.Errorf("faults of %q\n        want %q", fields, want)
	}
}

func TestRate(t *testing.T) {
	if got := perMinute(600).String() + ", " + limit.Off.String(); got != "600 per 1m0s, off" {
		t.Errorf("rates read %q", got)
	}
	if !(limit.Rate{}).IsZero() || limit.Off.IsZero() || perMinute(1).IsZero() {
		t.Error("IsZero is wrong")
	}
}

func TestTakeFromABucketThatIsThereAllocatesNothing(t *testing.T) {
	l := newLimiter(t, limit.Config{User: limit.Rate{Requests: 1 << 30, Per: time.Second}, Tools: map[string]limit.Rate{"*": perMinute(10)}})
	if n := testing.AllocsPerRun(1000, func() { l.Take("alice", 1, "tool") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTake(b *testing.B) {
	l := newLimiter(b, limit.Config{User: limit.Rate{Requests: 1 << 40, Per: time.Second}, Tools: map[string]limit.Rate{"tool": {Requests: 1 << 40, Per: time.Second}, "slow": {Requests: 1, Per: time.Hour}}})
	l.Take("alice", 1, "slow")
	for _, bench := range []struct {
		name  string
		tools []string
	}{{"user", nil}, {"user and tool", []string{"tool"}}, {"refused", []string{"slow"}}, {"batch of three", []string{"tool", "other", "tool"}}} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				l.Take("alice", 1, bench.tools...)
			}
		})
	}
	b.Run("new users", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			l.Take(fmt.Sprint(i), 1)
		}
	})
	b.Run("many users in parallel", func(b *testing.B) {
		var worker atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			user := fmt.Sprint("user", worker.Add(1))
			for pb.Next() {
				l.Take(user, 1, "tool")
			}
		})
	})
}
