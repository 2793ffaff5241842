package standing_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/gate"
	"github.com/mcpauth-go/mcpauth/internal/standing"
)

const ttl = time.Minute

var errUnavailable = &mcpauth.Error{Code: mcpauth.ErrUnavailable}

// authority answers as a test says, and counts.
type authority struct {
	checker *standing.Checker
	record  standing.Record
	now     func() time.Duration
	answer  error
	asked   int
	told    atomic.Int32
}

// newAuthority has confirmed its credential just now. It is called in a bubble.
func newAuthority(t *testing.T) *authority {
	start := time.Now()
	a := &authority{now: func() time.Duration { return time.Since(start) }}
	var working gate.Gate
	t.Cleanup(func() { working.Close(t.Context()) })
	a.checker = standing.NewChecker(standing.Config{TTL: ttl, Now: a.now, Go: working.Go})
	stop := a.checker.Notify(func() { a.told.Add(1) })
	t.Cleanup(stop)
	return a
}

// standing returns what is known now, after time for the authority to answer.
func (a *authority) standing(changed bool) error {
	err := a.checker.Standing(&a.record, changed, func() (time.Duration, error) {
		a.asked++
		return a.now(), a.answer
	})
	synctest.Wait()
	return err
}

func TestCredentialIsConfirmedAgainWhenHalfItsTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		for i, want := range []int{0, 0, 1, 1, 2, 2} { // at 0, ¼, ½, … of the TTL
			if err := a.standing(false); err != nil || a.asked != want {
				t.Errorf("after %d quarters: %v, asked %d times, want %d", i, err, a.asked, want)
			}
			time.Sleep(ttl / 4)
		}
		if n := a.told.Load(); n != 0 {
			t.Errorf("announced %d times that nothing has changed", n)
		}
	})
}

func TestRefusalEndsTheCredentialForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		a.answer = &mcpauth.Error{Code: mcpauth.ErrInactive}
		if err := a.standing(true); err != nil || a.told.Load() != 1 {
			t.Errorf("before the answer: %v, announced %d times", err, a.told.Load())
		}
		a.answer = nil
		for range 2 {
			if err := a.standing(true); !errors.Is(err, mcpauth.ErrInactive) || a.asked != 1 {
				t.Errorf("after the answer: %v, asked %d times", err, a.asked)
			}
		}
	})
}

func TestCredentialOutlastsAnOutageOfLessThanTheTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		a.answer = errUnavailable
		time.Sleep(ttl - time.Nanosecond)
		for range 2 {
			if err := a.standing(true); err != nil {
				t.Errorf("within the TTL: %v", err)
			}
		}
		a.answer = nil
		a.standing(false)
		time.Sleep(ttl/2 - time.Nanosecond)
		if err := a.standing(false); err != nil || a.asked != 3 {
			t.Errorf("after the outage: %v, asked %d times", err, a.asked)
		}
	})
}

func TestOutageEndsTheCredentialWhenItsLastConfirmedAnswerIsATTLOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		a.answer = errUnavailable
		time.Sleep(ttl / 2)
		a.standing(false)
		if n := a.told.Load(); n != 0 {
			t.Errorf("announced %d times within the TTL", n)
		}
		time.Sleep(ttl / 2)
		if err := a.standing(false); !errors.Is(err, mcpauth.ErrUnavailable) {
			t.Errorf("at the end of the TTL: %v", err)
		}
	})
}

// Nobody may have asked about a credential for as long as its answer counted: the
// machine slept, say. It is not held against the credential.
func TestOldAnswerAloneEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		time.Sleep(10 * ttl)
		if err := a.standing(false); err != nil || a.asked != 1 {
			t.Errorf("%v, asked %d times", err, a.asked)
		}
		time.Sleep(10 * ttl)
		a.answer = errUnavailable
		if err := a.standing(false); err != nil || a.told.Load() != 1 {
			t.Errorf("%v, announced %d times", err, a.told.Load())
		}
		if err := a.standing(false); !errors.Is(err, mcpauth.ErrUnavailable) {
			t.Errorf("after the authority has failed to answer: %v", err)
		}
	})
}

func TestFewQuestionsAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		var asking, most, asked atomic.Int32
		records := make([]standing.Record, 100)
		for i := range records {
			err := a.checker.Standing(&records[i], true, func() (time.Duration, error) {
				most.Store(max(most.Load(), asking.Add(1)))
				time.Sleep(time.Second)
				asking.Add(-1)
				asked.Add(1)
				return a.now(), nil
			})
			if err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Minute)
		if asked.Load() != 100 || most.Load() != 8 {
			t.Errorf("%d asked, up to %d at a time", asked.Load(), most.Load())
		}
	})
}

func TestNarrowed(t *testing.T) {
	identity := func(user string, scopes ...string) *mcpauth.Identity {
		id, err := mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: "i", UserID: user, Scopes: scopes})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	before := identity("alice", "read", "write")
	for _, test := range []struct {
		name string
		now  *mcpauth.Identity
		want bool
	}{
		{"the same", identity("alice", "write", "read"), false},
		{"more scopes", identity("alice", "read", "write", "admin"), false},
		{"fewer scopes", identity("alice", "read"), true},
		{"another user", identity("bob", "read", "write"), true},
	} {
		if err := standing.Narrowed(before, test.now); errors.Is(err, mcpauth.ErrRevoked) != test.want {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
