package keyset_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpauth-go/mcpauth/internal/keyset"
)

func TestTheSetIsFetchedAheadOfItsEnd(t *testing.T) {
	for _, test := range []struct {
		name, control, age string
		life               time.Duration
	}{
		{"nothing said: the interval", "", "", 10 * time.Minute},
		{"max-age", "public, max-age=300", "", 5 * time.Minute},
		{"max-age, a part of it spent", "max-age=300", "120", 3 * time.Minute},
		{"max-age longer than the interval", "max-age=86400", "", 10 * time.Minute},
		{"max-age shorter than a minute", "max-age=1", "", time.Minute},
		{"max-age 0", "max-age=0", "", time.Minute},
		{"what frameworks put on everything", "no-cache, no-store, max-age=0, must-revalidate", "", 10 * time.Minute},
		{"nonsense", "max-age=x", "", 10 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newIssuer()
				i.header = http.Header{"Cache-Control": {test.control}, "Age": {test.age}}
				s, a := started(t, i)
				defer s.Close()
				synctest.Wait()
				if i.count() != 1 || a.last() != "1" {
					t.Fatalf("%d requests after Start, document %q", i.count(), a.last())
				}
				time.Sleep(test.life * 84 / 100)
				synctest.Wait()
				if i.count() != 1 {
					t.Error("fetched again too early")
				}
				i.set(func(i *issuer) { i.body = "2" })
				time.Sleep(test.life*96/100 - test.life*84/100)
				synctest.Wait()
				if i.count() != 2 || a.last() != "2" {
					t.Errorf("%d requests before the end, document %q", i.count(), a.last())
				}
			})
		})
	}
}

func TestFailuresAreRetriedWithGrowingWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		i.down = true
		s, a := started(t, i)
		defer s.Close()
		time.Sleep(10 * time.Second)
		early := i.count()
		if early < 3 || early > 12 {
			t.Errorf("%d requests in 10 s", early)
		}
		time.Sleep(10 * time.Minute)
		if n := i.count() - early; n < 12 || n > 45 {
			t.Errorf("%d requests in the next 10 minutes", n)
		}
		if wait := s.RetryAfter(); wait < time.Second || wait > time.Minute {
			t.Errorf("RetryAfter = %s", wait)
		}
		i.set(func(i *issuer) { i.down = false })
		time.Sleep(46 * time.Second)
		synctest.Wait()
		if a.last() != "1" {
			t.Error("not fetched after the outage")
		}
		if st := s.Stats(); st.Succeeded != 1 || st.Failed != uint64(i.count()-1) || st.Fetched.IsZero() {
			t.Errorf("stats = %+v of %d requests", st, i.count())
		}
	})
}

// The waits of one outage do not carry over to the next.
func TestEachOutageBeginsWithAShortWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		s, _ := started(t, i)
		defer s.Close()
		for range 10 {
			i.set(func(i *issuer) { i.down = true })
			time.Sleep(20 * time.Minute)
			i.set(func(i *issuer) { i.down = false })
			time.Sleep(time.Minute)
			i.set(func(i *issuer) { i.down = true })
			if s.Fetch(t.Context()) == nil {
				t.Error("fetched from an issuer that is down")
			}
			i.set(func(i *issuer) { i.down = false })
			before := i.count()
			time.Sleep(1500 * time.Millisecond)
			synctest.Wait()
			if i.count() != before+1 {
				t.Errorf("%d requests in the first 1.5 s of an outage", i.count()-before)
			}
		}
	})
}

// What is fetched by request is not fetched again because its time has come
// meanwhile.
func TestAFetchByRequestServesAsTheRegularOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		i.takes = 3 * time.Second
		a := &accepted{}
		s := keyset.New(with(keyset.Config{URL: "https://issuer.example/jwks", Transport: i}, a))
		defer s.Close()
		var group sync.WaitGroup
		group.Go(func() { s.Fetch(t.Context()) })
		synctest.Wait()
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		group.Wait()
		time.Sleep(time.Minute)
		if i.count() != 1 {
			t.Errorf("%d requests", i.count())
		}
	})
}

func TestAHungIssuerHasOneRequestAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		s, a := started(t, i)
		defer s.Close()
		synctest.Wait()
		i.set(func(i *issuer) { i.hung, i.max = true, 0 })
		var group sync.WaitGroup
		for range 60 {
			for range 10 {
				group.Go(func() { refetch(s) })
			}
			group.Go(func() { s.Fetch(context.Background()) })
			time.Sleep(time.Second)
		}
		group.Wait()
		synctest.Wait()
		if i.max != 1 || a.last() != "1" || a.expirations() != 0 {
			t.Errorf("%d requests at a time; document %q, expired %d times", i.max, a.last(), a.expirations())
		}
	})
}

func TestRefetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		s, a := started(t, i)
		defer s.Close()
		synctest.Wait()
		i.set(func(i *issuer) { i.body, i.takes = "2", time.Second })

		// All that ask at once get what one fetch brings.
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() {
				if _, err := refetch(s); err != nil || a.last() != "2" {
					t.Errorf("Refetch = %v with document %q", err, a.last())
				}
			})
		}
		// Who comes while it is under way gets it too, but as one that may be
		// too old.
		time.Sleep(time.Second / 2)
		if fresh, err := refetch(s); fresh || err != nil || a.last() != "2" {
			t.Errorf("Refetch during a fetch = %v, %v with document %q", fresh, err, a.last())
		}
		group.Wait()
		if i.count() != 2 {
			t.Fatalf("%d requests, want 2", i.count())
		}
		if got := i.requests[1].Header.Get("Cache-Control"); got != "no-cache" {
			t.Errorf("Cache-Control of the request: %q", got)
		}

		// Then there is a pause, at whose end the next one is.
		time.Sleep(10*time.Second - 1)
		if _, err := refetch(s); !errors.Is(err, keyset.ErrCooling) {
			t.Errorf("Refetch in the cool-down = %v", err)
		}
		if wait := s.RetryAfter(); wait != time.Second {
			t.Errorf("RetryAfter = %s", wait)
		}
		time.Sleep(time.Nanosecond)
		if fresh, err := refetch(s); !fresh || err != nil || i.count() != 3 {
			t.Errorf("Refetch after the cool-down = %v, %v, %d requests", fresh, err, i.count())
		}
		time.Sleep(5 * time.Second)
		if wait := s.RetryAfter(); wait != 5*time.Second {
			t.Errorf("RetryAfter = %s", wait)
		}
	})
}

func TestARegularFetchBringsNoPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		s, _ := started(t, i)
		defer s.Close()
		synctest.Wait()
		if err := s.Fetch(context.Background()); err != nil {
			t.Fatal(err)
		}
		if fresh, err := refetch(s); !fresh || err != nil || i.count() != 3 {
			t.Errorf("Refetch = %v, %v, %d requests", fresh, err, i.count())
		}
	})
}

func TestAFailedRefetchPausesToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		s, a := started(t, i)
		defer s.Close()
		synctest.Wait()
		i.set(func(i *issuer) { i.body = "garbage" })
		if _, err := refetch(s); err == nil || errors.Is(err, keyset.ErrCooling) {
			t.Errorf("Refetch = %v", err)
		}
		if _, err := refetch(s); !errors.Is(err, keyset.ErrCooling) {
			t.Errorf("Refetch again = %v", err)
		}
		if a.last() != "1" {
			t.Errorf("document %q", a.last())
		}
	})
}

func TestAWaiterThatLeavesDoesNotCancelTheFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		s, a := started(t, i)
		defer s.Close()
		synctest.Wait()
		i.set(func(i *issuer) { i.body, i.takes = "2", 3*time.Second })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var group sync.WaitGroup
		group.Go(func() {
			if _, err := s.Refetch(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("who leaves gets %v", err)
			}
		})
		group.Go(func() {
			// Which of the two has it begun is for the scheduler to say.
			if _, err := refetch(s); err != nil || a.last() != "2" {
				t.Errorf("who stays gets %q, %v", a.last(), err)
			}
		})
		group.Wait()
		if i.count() != 2 {
			t.Errorf("%d requests", i.count())
		}
	})
}

func TestASetThatIsTooOldIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		var logged bytes.Buffer
		a := &accepted{}
		s := keyset.New(with(keyset.Config{URL: "https://issuer.example/jwks?key=canary", Transport: i, Logger: slog.New(slog.NewTextHandler(&logged, nil))}, a))
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		i.set(func(i *issuer) { i.down = true })
		time.Sleep(24*time.Hour - time.Second)
		if a.expirations() != 0 {
			t.Error("given up too early")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if a.expirations() != 1 {
			t.Errorf("given up %d times", a.expirations())
		}
		time.Sleep(24 * time.Hour)
		i.set(func(i *issuer) { i.down, i.body = false, "2" })
		time.Sleep(time.Minute)
		s.Close()
		if a.expirations() != 1 || a.last() != "2" {
			t.Errorf("after recovery: given up %d times, document %q", a.expirations(), a.last())
		}
		// An outage is worth a line at its beginning and one at its end.
		text := logged.String()
		for _, line := range []string{"the last one serves on", "has become too old", "can be fetched again"} {
			if n := strings.Count(text, line); n != 1 {
				t.Errorf("%q is logged %d times", line, n)
			}
		}
		if n := strings.Count(text, "\n"); n != 3 || strings.Contains(text, "canary") {
			t.Errorf("%d lines are logged: %s", n, text)
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		i.hung = true
		s, _ := started(t, i)
		if s.Start(t.Context()) == nil {
			t.Error("a second Start is taken")
		}
		var group sync.WaitGroup
		group.Go(func() {
			if _, err := refetch(s); err == nil {
				t.Error("a waiter got a set from a closed source")
			}
		})
		synctest.Wait()
		before := time.Now()
		s.Close()
		s.Close()
		group.Wait()
		if waited := time.Since(before); waited != 0 {
			t.Errorf("Close took %s", waited)
		}
		if _, err := refetch(s); err == nil || s.Fetch(t.Context()) == nil || s.Start(t.Context()) == nil {
			t.Error("a closed source works")
		}
		if st := s.Stats(); st.Failed != 0 {
			t.Errorf("stats = %+v: a fetch that Close has ended is no failure of the issuer's", st)
		}
		keyset.New(with(keyset.Config{}, &accepted{})).Close()
	})
}

func TestWithoutStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		a := &accepted{}
		s := keyset.New(with(keyset.Config{URL: "https://issuer.example/jwks", Transport: i}, a))
		defer s.Close()
		if err := s.Fetch(t.Context()); err != nil || a.last() != "1" {
			t.Fatalf("Fetch = %v, document %q", err, a.last())
		}
		if fresh, err := refetch(s); !fresh || err != nil || i.count() != 2 {
			t.Errorf("Refetch = %v, %v", fresh, err)
		}
		if _, err := refetch(s); !errors.Is(err, keyset.ErrCooling) {
			t.Errorf("Refetch again = %v", err)
		}
	})
}
