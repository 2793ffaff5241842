package credential_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/credential"
)

// failsFor has s fail with err for those whose id begins with "m".
func (s *source) failsFor(err error) {
	s.becomes(func(_ context.Context, id *mcpauth.Identity, _ string) (*mcpauth.Credential, error) {
		if strings.HasPrefix(id.UserID(), "m") {
			return nil, err
		}
		return token("good"), nil
	})
}

// Two accounts for which the source fails, at ten requests a second each, on a server
// where somebody else comes each five seconds only.
func TestTroubleOfTwoUsersIsNotThatOfOthers(t *testing.T) {
	for _, test := range []struct {
		name    string
		err     error
		refused int // of 60, at most
		asked   int // for each of the two in five minutes, at most
	}{
		{"429 with a time", credential.RateLimited(errDown, time.Minute), 0, 11},
		{"429 without", credential.RateLimited(errDown, 0), 0, 450},
		// The first time, it may as well be an outage.
		{"500", credential.Transient(errDown, 0), 3, 450},
		{"500 with a time", credential.Transient(errDown, time.Second), 3, 450},
		{"503 with a time", credential.Transient(errDown, time.Minute), 3, 11},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &source{}
				s.failsFor(test.err)
				r := resolver(t, credential.Config{Source: s})
				defer r.Close()
				no := 0
				done := make(chan struct{})
				var group sync.WaitGroup
				for _, name := range []string{"m1", "m2"} {
					id := user(t, name)
					group.Go(func() {
						for {
							refused(t, r, id, mcpauth.ErrUnavailable)
							select {
							case <-done:
								return
							case <-time.After(100 * time.Millisecond):
							}
						}
					})
				}
				for i := range 60 {
					time.Sleep(5 * time.Second)
					if _, err := r.Resolve(t.Context(), user(t, fmt.Sprint("user-", i)), resource); err != nil {
						no++
					}
				}
				close(done)
				group.Wait()
				if no > test.refused {
					t.Errorf("%d of 60 others were refused", no)
				}
				asked := map[string]int{}
				for _, name := range s.asked {
					asked[name]++
				}
				if asked["m1"] > test.asked || asked["m2"] > test.asked {
					t.Errorf("asked %d and %d times", asked["m1"], asked["m2"])
				}
			})
		})
	}
}

func TestALimitOfUsersIsNoFailureOfTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		s.gives(nil, credential.RateLimited(errDown, 10*time.Second))
		r := resolver(t, credential.Config{Source: s})
		defer r.Close()
		for i := range 20 {
			if e := refused(t, r, user(t, fmt.Sprint("m", i)), mcpauth.ErrUnavailable); e.RetryAfter != 10*time.Second {
				t.Errorf("Retry-After %s", e.RetryAfter)
			}
		}
		if s.count() != 20 || r.Stats().Open != 0 {
			t.Errorf("%d fetches, %d open", s.count(), r.Stats().Open)
		}
	})
}

func TestAFailureIsRememberedForAMoment(t *testing.T) {
	for _, test := range []struct {
		name        string
		err         error
		lasts, says time.Duration // said at the end of it
		tries       int
	}{
		{"without a time", credential.Transient(errDown, 0), 2 * time.Second, time.Millisecond, 3},
		{"until the time", credential.Transient(errDown, 10*time.Second), 10 * time.Second, time.Millisecond, 1},
		{"no longer than half a minute", credential.Transient(errDown, time.Minute), 30 * time.Second, 30*time.Second + time.Millisecond, 1},
		{"a limit", credential.RateLimited(errDown, 10*time.Second), 10 * time.Second, time.Millisecond, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &source{}
				s.gives(nil, test.err)
				r := resolver(t, credential.Config{Source: s})
				defer r.Close()
				alice := user(t, "alice")
				first := refused(t, r, alice, mcpauth.ErrUnavailable)
				s.becomes(nil)
				time.Sleep(test.lasts - time.Millisecond)
				e := refused(t, r, alice, mcpauth.ErrUnavailable)
				if e.RetryAfter != test.says || e.Message != first.Message || !errors.Is(e, errDown) || s.count() != test.tries {
					t.Errorf("%v, Retry-After %s, %d fetches", e, e.RetryAfter, s.count())
				}
				// Of nobody else, and of nothing else.
				gets(t, r, user(t, "bob"), "credential-of-bob-for-github")
				if _, err := r.Resolve(t.Context(), alice, "gitlab"); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Millisecond)
				gets(t, r, alice, "credential-of-alice-for-github")
			})
		})
	}
}

func TestInvalidateForgetsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		s.gives(nil, credential.Transient(errDown, 20*time.Second))
		r := resolver(t, credential.Config{Source: s})
		defer r.Close()
		alice := user(t, "alice")
		refused(t, r, alice, mcpauth.ErrUnavailable)
		s.becomes(nil)
		for _, other := range [][3]string{{issuer, "bob", ""}, {issuer, "alice", "gitlab"}, {"https://other.example.com", "alice", ""}} {
			r.Invalidate(other[0], other[1], other[2])
			refused(t, r, alice, mcpauth.ErrUnavailable)
		}
		if n := r.Invalidate(issuer, "alice", resource); n != 0 {
			t.Errorf("forgot %d answers", n)
		}
		gets(t, r, alice, "credential-of-alice-for-github")
	})
}

// After its time a credential is not the last good one any more, but what was reported
// of it still holds.
func TestRejectedForgetsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		s.numbered(time.Minute)
		r := resolver(t, credential.Config{Source: s})
		defer r.Close()
		alice := user(t, "alice")
		c := gets(t, r, alice, "token-1")
		s.gives(nil, credential.Transient(errDown, 20*time.Second))
		time.Sleep(time.Minute)
		refused(t, r, alice, mcpauth.ErrUnavailable)
		s.gives(token("token-2"), nil)
		refused(t, r, alice, mcpauth.ErrUnavailable)
		c.Rejected()
		gets(t, r, alice, "token-2")
	})
}

func TestWhoIsInFailureLeavesTheProbeToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		s.failsFor(credential.Transient(errDown, 0))
		r := resolver(t, credential.Config{Source: s, Logger: slog.New(slog.DiscardHandler)})
		defer r.Close()
		refused(t, r, user(t, "m1"), mcpauth.ErrUnavailable)
		refused(t, r, user(t, "m2"), mcpauth.ErrUnavailable)
		asked := s.count()
		time.Sleep(10*time.Second + time.Millisecond)
		if e := refused(t, r, user(t, "m1"), mcpauth.ErrUnavailable); e.RetryAfter <= 4*time.Second || e.RetryAfter > 5*time.Second || s.count() != asked {
			t.Errorf("Retry-After %s, %d fetches", e.RetryAfter, s.count()-asked)
		}
		// With nobody else there, they do find out, and open nothing again.
		time.Sleep(5 * time.Second)
		refused(t, r, user(t, "m1"), mcpauth.ErrUnavailable)
		refused(t, r, user(t, "m2"), mcpauth.ErrUnavailable)
		if s.count() != asked+1 || r.Stats().Open != 0 {
			t.Errorf("%d fetches, %d open", s.count()-asked, r.Stats().Open)
		}
		gets(t, r, user(t, "alice"), "good")
		// The source answers others: from now on, it is the trouble of these two.
		for range 50 {
			refused(t, r, user(t, "m1"), mcpauth.ErrUnavailable)
			refused(t, r, user(t, "m2"), mcpauth.ErrUnavailable)
			time.Sleep(2 * time.Second)
		}
		if r.Stats().Open != 0 {
			t.Error("open again")
		}
	})
}

// Those who were in failure may be all that there are.
func TestRecoveryWhereEverybodyWasInFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		s.isDown()
		r := resolver(t, credential.Config{Source: s})
		defer r.Close()
		for range 60 {
			refused(t, r, user(t, "alice"), mcpauth.ErrUnavailable)
			refused(t, r, user(t, "bob"), mcpauth.ErrUnavailable)
			time.Sleep(time.Second)
		}
		s.becomes(nil)
		began := time.Now()
		for _, name := range []string{"alice", "bob"} {
			for _, err := r.Resolve(t.Context(), user(t, name), resource); err != nil; {
				if time.Since(began) > 10*time.Second {
					t.Fatalf("%s is still refused after %s", name, time.Since(began))
				}
				time.Sleep(time.Second)
				_, err = r.Resolve(t.Context(), user(t, name), resource)
			}
		}
	})
}

func TestFailuresThatAreRememberedAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		s.gives(nil, credential.RateLimited(errDown, time.Minute))
		r := resolver(t, credential.Config{Source: s})
		defer r.Close()
		for i := range 5000 {
			refused(t, r, user(t, fmt.Sprint("m", i)), mcpauth.ErrUnavailable)
		}
		if failures, troubled := r.Remembered(); failures > 4096 || troubled > 1024 {
			t.Errorf("%d failures, %d users", failures, troubled)
		}
	})
}
