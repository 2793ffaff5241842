package credential_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/credential"
)

// hangs has s heed nothing until release is closed.
func (s *source) hangs(release chan struct{}) {
	s.becomes(func(context.Context, *mcpauth.Identity, string) (*mcpauth.Credential, error) {
		<-release
		return token("much-too-late"), nil
	})
}

func TestASourceThatDoesNotHeedItsTimeHoldsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, release := &source{}, make(chan struct{})
		defer close(release)
		s.hangs(release)
		r := resolver(t, credential.Config{Source: s})
		defer r.Close()
		began := time.Now()
		refused(t, r, user(t, "alice"), mcpauth.ErrUnavailable)
		if waited := time.Since(began); waited != 6*time.Second {
			t.Errorf("waited %s, want the timeout and a second", waited)
		}
		s.gives(token("fine"), nil)
		gets(t, r, user(t, "alice"), "fine")
	})
}

// What comes after its time does not take the place of what has come meanwhile.
func TestAnAnswerAfterItsTimeIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, release := &source{}, make(chan struct{})
		s.hangs(release)
		r := resolver(t, credential.Config{Source: s})
		defer r.Close()
		refused(t, r, user(t, "alice"), mcpauth.ErrUnavailable)
		close(release)
		synctest.Wait()
		s.gives(token("new"), nil)
		gets(t, r, user(t, "alice"), "new")
	})
}

func TestTheLastGoodCredentialWhileTheSourceDoesNotHeedItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, release := &source{}, make(chan struct{})
		defer close(release)
		s.numbered(time.Hour)
		r := resolver(t, credential.Config{Source: s})
		defer r.Close()
		alice := user(t, "alice")
		gets(t, r, alice, "token-1")
		s.hangs(release)
		for range 20 {
			time.Sleep(time.Minute)
			at := time.Now()
			gets(t, r, alice, "token-1")
			if waited := time.Since(at); waited != 0 {
				t.Errorf("waited %s", waited)
			}
		}
	})
}

func TestCloseDoesNotWaitForASourceThatDoesNotHeedIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, release := &source{}, make(chan struct{})
		defer close(release)
		s.hangs(release)
		r := resolver(t, credential.Config{Source: s})
		done := make(chan struct{})
		go func() {
			defer close(done)
			refused(t, r, user(t, "alice"), mcpauth.ErrUnavailable)
		}()
		synctest.Wait()
		began := time.Now()
		if err := r.Close(); err == nil || err.Error() != "credential: a call of a source goes on" {
			t.Errorf("%v", err)
		}
		if waited := time.Since(began); waited != 6*time.Second || s.closed != 1 {
			t.Errorf("waited %s, closed the source %d times", waited, s.closed)
		}
		<-done
	})
}

// A probe that never comes back must not keep the breaker half open.
func TestASourceThatDoesNotComeBackIsAskedAgain(t *testing.T) {
	for name, does := range map[string]func(release chan struct{}){
		"does not heed its time": func(release chan struct{}) { <-release },
		"ends its goroutine":     func(chan struct{}) { runtime.Goexit() },
		"panics":                 func(chan struct{}) { panic("canary") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, release := &source{}, make(chan struct{})
				defer close(release)
				s.becomes(func(context.Context, *mcpauth.Identity, string) (*mcpauth.Credential, error) {
					does(release)
					return nil, nil
				})
				r := resolver(t, credential.Config{Source: s})
				defer r.Close()
				for i := range 8 {
					refused(t, r, user(t, fmt.Sprint("user-", i)), mcpauth.ErrUnavailable)
				}
				if s.count() != 5 || r.Stats().Open != 1 {
					t.Errorf("%d fetches, %d open", s.count(), r.Stats().Open)
				}
				time.Sleep(11 * time.Second)
				refused(t, r, user(t, "alice"), mcpauth.ErrUnavailable) // one finds out
				s.gives(token("fine"), nil)
				time.Sleep(11 * time.Second)
				gets(t, r, user(t, "bob"), "fine")
				gets(t, r, user(t, "alice"), "fine")
			})
		})
	}
}

func TestCallsThatDoNotComeBackAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, release := &source{}, make(chan struct{})
		s.hangs(release)
		r := resolver(t, credential.Config{Source: s})
		defer r.Close()
		alice := user(t, "alice")
		for range 100 {
			refused(t, r, alice, mcpauth.ErrUnavailable)
		}
		if s.count() != 64 {
			t.Errorf("%d calls", s.count())
		}
		close(release)
		synctest.Wait()
		gets(t, r, alice, "much-too-late")
	})
}

// runtime.Goexit is what testing.T.FailNow does in a source of a test.
func TestASourceThatEndsItsGoroutineIsAFailure(t *testing.T) {
	s := &source{}
	s.becomes(func(context.Context, *mcpauth.Identity, string) (*mcpauth.Credential, error) {
		runtime.Goexit()
		return nil, nil
	})
	r := resolver(t, credential.Config{Source: s})
	for range 2 {
		refused(t, r, user(t, "alice"), mcpauth.ErrUnavailable)
	}
	s.gives(token("fine"), nil)
	gets(t, r, user(t, "alice"), "fine")
}

// handler is a slog.Handler that calls back.
type handler func(slog.Record)

func (h handler) Enabled(context.Context, slog.Level) bool           { return true }
func (h handler) Handle(_ context.Context, record slog.Record) error { h(record); return nil }
func (h handler) WithAttrs([]slog.Attr) slog.Handler                 { return h }
func (h handler) WithGroup(string) slog.Handler                      { return h }

// unlocked fails the test if what r is asked waits for a lock.
func unlocked(t *testing.T, r *credential.Resolver, when string) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		r.Stats()
		r.Invalidate(issuer, "nobody", "")
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Errorf("%s: under a lock", when)
	}
}

func TestNothingIsLoggedUnderALock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		var r *credential.Resolver
		var logged []string
		r = resolver(t, credential.Config{Source: s, Logger: slog.New(handler(func(record slog.Record) {
			logged = append(logged, record.Message)
			unlocked(t, r, record.Message)
		}))})
		c := gets(t, r, user(t, "alice"), "credential-of-alice-for-github")
		s.isDown()
		c.Rejected()
		gets(t, r, user(t, "alice"), "credential-of-alice-for-github")
		for i := range 5 {
			refused(t, r, user(t, fmt.Sprint("user-", i)), mcpauth.ErrUnavailable)
		}
		want := []string{"credential not fetched anew, the last good one stays", "credential source fails, and is left alone for a while"}
		if fmt.Sprint(logged) != fmt.Sprint(want) {
			t.Errorf("%q, want %q", logged, want)
		}
	})
}

// starting is a Source that is started.
type starting struct {
	source
	start func() error
}

func (s *starting) Start(context.Context) error { return s.start() }

func TestSourcesAreStartedUnderNoLockOfRequests(t *testing.T) {
	s := &starting{}
	r := resolver(t, credential.Config{Source: s})
	s.start = func() error {
		unlocked(t, r, "Start")
		return errors.New("no")
	}
	if err := r.Start(t.Context()); err == nil || err.Error() != "credential: no" {
		t.Errorf("%v", err)
	}
}

func TestCloseWhileSourcesStart(t *testing.T) {
	s := &starting{}
	r := resolver(t, credential.Config{Source: s, Revocations: newList()})
	closed := make(chan error)
	s.start = func() error {
		go func() { closed <- r.Close() }()
		for _, err := r.Resolve(t.Context(), user(t, "alice"), resource); err == nil; {
			runtime.Gosched()
			_, err = r.Resolve(t.Context(), user(t, "alice"), resource)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.closed != 0 {
			t.Error("closed before it was started")
		}
		return nil
	}
	if err := r.Start(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-closed; err != nil || s.closed != 1 {
		t.Errorf("%v, closed %d times", err, s.closed)
	}
}
