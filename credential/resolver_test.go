package credential_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/credential"
)

func TestSeedCCacheOfFiveMinutesCappedByExpiresIn(t *testing.T) {
	start := time.Now
	for _, test := range []struct {
		name        string
		config      credential.Config
		life, token time.Duration // of the credential and of the user's token; 0 for none
		lasts       time.Duration
	}{
		{"five minutes by default", credential.Config{}, 0, 0, 5 * time.Minute},
		{"the configured time", credential.Config{TTL: time.Minute}, 0, 0, time.Minute},
		{"no longer than the credential", credential.Config{}, 90 * time.Second, 0, 90 * time.Second},
		{"no longer than the user's token", credential.Config{}, time.Hour, 2 * time.Minute, 2 * time.Minute},
		{"no longer than five minutes, whatever expires_in", credential.Config{}, time.Hour, time.Hour, 5 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &source{}
				s.numbered(test.life)
				test.config.Source = s
				r := resolver(t, test.config)
				defer r.Close()
				first, second := person{user: "alice"}, person{user: "alice"}
				if test.token > 0 {
					first.expiry = start().Add(test.token)
				}
				gets(t, r, first.identity(t), "token-1")
				// Nobody asks while it could be refreshed ahead.
				time.Sleep(test.lasts*4/5 - time.Millisecond)
				gets(t, r, second.identity(t), "token-1")
				time.Sleep(test.lasts/5 + time.Millisecond)
				gets(t, r, second.identity(t), "token-2")
				if s.count() != 2 {
					t.Errorf("%d fetches", s.count())
				}
			})
		})
	}
}

func TestSeedCConcurrentMissesFetchOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		s.becomes(func(ctx context.Context, id *mcpauth.Identity, _ string) (*mcpauth.Credential, error) {
			time.Sleep(time.Second)
			return token("shared"), nil
		})
		r := resolver(t, credential.Config{Source: s})
		defer r.Close()
		var group sync.WaitGroup
		for range 200 {
			id := user(t, "alice") // each request with an identity of its own
			group.Go(func() { gets(t, r, id, "shared") })
		}
		group.Wait()
		if s.count() != 1 {
			t.Errorf("%d fetches", s.count())
		}
	})
}

// A request may look into the cache just before a fetch has landed, and ask just
// after: what that fetch has brought is its answer, and no reason for another.
func TestAFetchThatLandsBetweenLookingAndAskingIsEnough(t *testing.T) {
	down := credential.Transient(errors.New("down"), time.Minute) // later than anybody waits
	for _, test := range []struct {
		name    string
		found   *mcpauth.Credential
		failure error
		stale   bool // there is a good one, and it is time for another
		want    string
	}{
		{"a credential", token("shared"), nil, false, "shared"},
		{"no account", nil, nil, false, ""},
		{"a failure", nil, down, false, "unavailable"},
		{"another credential", token("shared"), nil, true, "shared"},
		{"a failure, and the last good one stays", nil, down, true, "kept"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for range 300 {
				s := &source{}
				r := resolver(t, credential.Config{Source: s})
				if test.stale {
					s.becomes(func(context.Context, *mcpauth.Identity, string) (*mcpauth.Credential, error) {
						return &mcpauth.Credential{Token: mcpauth.NewSecret("kept"), Expiry: time.Now().Add(time.Hour)}, nil
					})
					gets(t, r, user(t, "alice"), "kept")
					r.Pass(6 * time.Minute)
				}
				before := s.count()
				s.becomes(func(context.Context, *mcpauth.Identity, string) (*mcpauth.Credential, error) {
					return test.found, test.failure
				})
				var group sync.WaitGroup
				for range 16 {
					id := user(t, "alice")
					group.Go(func() {
						c, err := r.Resolve(t.Context(), id, resource)
						got := ""
						switch {
						case errors.Is(err, mcpauth.ErrUnavailable):
							got = "unavailable"
						case err != nil:
							got = err.Error()
						case c != nil:
							got = c.Token.Reveal()
						}
						if got != test.want {
							t.Errorf("got %q, want %q", got, test.want)
						}
					})
				}
				group.Wait()
				if n := s.count() - before; n != 1 {
					t.Errorf("%d fetches", n)
				}
				if err := r.Close(); err != nil {
					t.Fatal(err)
				}
				if t.Failed() {
					return
				}
			}
		})
	}
}

func TestSeedCClearedOnDemandAndOnCleanup(t *testing.T) {
	s := &source{}
	r := resolver(t, credential.Config{Source: s})
	alice, bob := user(t, "alice"), user(t, "bob")
	both := func(id *mcpauth.Identity) {
		for _, kind := range []string{resource, "gitlab"} {
			if _, err := r.Resolve(t.Context(), id, kind); err != nil {
				t.Fatal(err)
			}
		}
	}
	both(alice)
	both(bob)
	for _, test := range []struct {
		issuer, user, resource string
		forgotten, asked       int
	}{
		{issuer, "alice", "nothing", 0, 0},
		{"https://other.example.com", "alice", "", 0, 0},
		{issuer, "alice\x00", "", 0, 0},
		{issuer, "alice", resource, 1, 1},
		{issuer, "alice", "", 2, 2},
		{issuer, "bob", "gitlab", 1, 1},
	} {
		before := s.count()
		if n := r.Invalidate(test.issuer, test.user, test.resource); n != test.forgotten {
			t.Errorf("Invalidate(%q, %q, %q) = %d, want %d", test.issuer, test.user, test.resource, n, test.forgotten)
		}
		both(alice)
		both(bob)
		if n := s.count() - before; n != test.asked {
			t.Errorf("after Invalidate(%q, %q, %q), %d fetches, want %d", test.issuer, test.user, test.resource, n, test.asked)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil || s.closed != 1 {
		t.Errorf("again: %v; the source was closed %d times", err, s.closed)
	}
	if e := refused(t, r, alice, mcpauth.ErrUnavailable); strings.Contains(e.Error(), "closed") {
		t.Errorf("%v", e)
	}
	if got := r.Stats(); got.Entries != 0 || got.Bytes != 0 {
		t.Errorf("kept after Close: %+v", got)
	}
	if err := r.Start(t.Context()); err == nil {
		t.Error("started after Close")
	}
}

func TestSeedCNeverPersisted(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("TMPDIR", dir)
	t.Setenv("HOME", dir)
	r := resolver(t, credential.Config{Source: &source{}})
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	gets(t, r, user(t, "alice"), "credential-of-alice-for-github")
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("written: %v, %v", files, err)
	}
}

// What a fetch brings that an Invalidate has overtaken may be what was to be
// forgotten.
func TestAFetchThatIsOvertakenLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		n := 0
		s.becomes(func(context.Context, *mcpauth.Identity, string) (*mcpauth.Credential, error) {
			s.mu.Lock()
			n++
			text := fmt.Sprint("token-", n)
			s.mu.Unlock()
			time.Sleep(time.Second)
			return token(text), nil
		})
		r := resolver(t, credential.Config{Source: s})
		defer r.Close()
		alice := user(t, "alice")
		var group sync.WaitGroup
		group.Go(func() { gets(t, r, alice, "token-1") })
		synctest.Wait()
		r.Invalidate(issuer, "alice", "")
		group.Go(func() { gets(t, r, user(t, "alice"), "token-2") })
		group.Wait()
		gets(t, r, alice, "token-2")
	})
}

func TestNotConnectedIsSeenSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		s.gives(nil, nil)
		r := resolver(t, credential.Config{Source: s})
		defer r.Close()
		alice := user(t, "alice")
		gets(t, r, alice, "")
		s.gives(token("connected"), nil)
		time.Sleep(10*time.Second - time.Millisecond)
		gets(t, r, alice, "")
		time.Sleep(time.Millisecond)
		gets(t, r, alice, "connected")
		if s.count() != 2 {
			t.Errorf("%d fetches", s.count())
		}
	})
}

// Platform down is no proof that somebody has no account.
func TestNotConnectedDoesNotOutlastItsTimeInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		s.gives(nil, nil)
		r := resolver(t, credential.Config{Source: s})
		defer r.Close()
		gets(t, r, user(t, "alice"), "")
		s.isDown()
		time.Sleep(10 * time.Second)
		for range 3 {
			refused(t, r, user(t, "alice"), mcpauth.ErrUnavailable)
		}
	})
}

// A shared result goes only to who has asked the same question.
func TestQuestionsThatDifferAreAskedApart(t *testing.T) {
	base := person{user: "alice", scopes: []string{"a", "b"}, claims: map[string]string{
		"aud": `"x"`, "azp": `"client"`, "act": `{"sub":"agent"}`, "email": `"alice@example.com"`, "jti": `"1"`,
	}}
	with := func(name, value string) person {
		p := base
		p.claims = map[string]string{}
		for n, v := range base.claims {
			p.claims[n] = v
		}
		p.claims[name] = value
		return p
	}
	other := func(change func(*person)) person { p := base; change(&p); return p }
	for _, test := range []struct {
		name string
		who  person
		same bool
	}{
		{"the same again", base, true},
		{"another token that says the same", other(func(p *person) { p.token = "other" }), true},
		{"scopes in another order", other(func(p *person) { p.scopes = []string{"b", "a"} }), true},
		{"another token id", with("jti", `"2"`), true},
		{"another user", other(func(p *person) { p.user = "bob" }), false},
		{"the same id at another issuer", other(func(p *person) { p.issuer = "https://other.example.com" }), false},
		{"the same id in a tenant", other(func(p *person) { p.tenant = "one" }), false},
		{"another authorized party", with("azp", `"evil"`), false},
		{"another client", with("client_id", `"client"`), false},
		{"another client, as Okta has it", with("cid", `"client"`), false},
		{"another client, as Entra has it", with("appid", `"client"`), false},
		{"another audience", with("aud", `["x","y"]`), false},
		{"another actor", with("act", `{"sub":"other"}`), false},
		{"fewer scopes", other(func(p *person) { p.scopes = []string{"a"} }), false},
		{"more scopes", other(func(p *person) { p.scopes = []string{"a", "b", "c"} }), false},
		{"scopes that spell the same", other(func(p *person) { p.scopes = []string{"ab"} }), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &source{}
			s.numbered(0)
			r := resolver(t, credential.Config{Source: s})
			gets(t, r, base.identity(t), "token-1")
			want := "token-2"
			if test.same {
				want = "token-1"
			}
			gets(t, r, test.who.identity(t), want)
			if c, err := r.Resolve(t.Context(), test.who.identity(t), "other"); err != nil || c.Token.Reveal() == want {
				t.Errorf("another type of resource got %v, %v", c, err)
			}
		})
	}
}

func TestNoUserEverGetsAnothersCredential(t *testing.T) {
	s := &source{}
	r := resolver(t, credential.Config{Source: s, TTL: time.Second, MaxBytes: 1 << 20})
	var group sync.WaitGroup
	for w := range 8 {
		group.Go(func() {
			ids := make([]*mcpauth.Identity, 20)
			for i := range ids {
				ids[i] = user(t, fmt.Sprint("user-", i))
			}
			for n := range 2000 {
				id := ids[(n*7+w)%len(ids)]
				kind := []string{"github", "gitlab"}[n%2]
				c, err := r.Resolve(context.Background(), id, kind)
				if want := "credential-of-" + id.UserID() + "-for-" + kind; err != nil || c.Token.Reveal() != want {
					t.Errorf("%v for %s: %v, %v", id, kind, c, err)
				}
				switch n % 50 {
				case 0:
					r.Invalidate(issuer, id.UserID(), "")
				case 25:
					c.Rejected()
				}
			}
		})
	}
	group.Wait()
}

func TestAWaiterThatLeavesEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		s.becomes(func(ctx context.Context, _ *mcpauth.Identity, _ string) (*mcpauth.Credential, error) {
			select {
			case <-time.After(2 * time.Second):
				return token("late"), nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		r := resolver(t, credential.Config{Source: s})
		defer r.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		alice := user(t, "alice")
		if c, err := r.Resolve(ctx, alice, resource); c != nil || !errors.Is(err, mcpauth.ErrUnavailable) {
			t.Errorf("%v, %v", c, err)
		}
		gets(t, r, alice, "late")
		if s.count() != 1 {
			t.Errorf("%d fetches", s.count())
		}
	})
}

func TestSeedCTimeoutOfFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		s.becomes(func(ctx context.Context, _ *mcpauth.Identity, _ string) (*mcpauth.Credential, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		r := resolver(t, credential.Config{Source: s})
		defer r.Close()
		began := time.Now()
		refused(t, r, user(t, "alice"), mcpauth.ErrUnavailable)
		if waited := time.Since(began); waited != 5*time.Second {
			t.Errorf("waited %s", waited)
		}
		s.gives(token("back"), nil)
		gets(t, r, user(t, "alice"), "back") // nothing of it is kept
	})
}

func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		s.becomes(func(ctx context.Context, _ *mcpauth.Identity, _ string) (*mcpauth.Credential, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		r := resolver(t, credential.Config{Source: s})
		began := time.Now()
		var group sync.WaitGroup
		group.Go(func() { refused(t, r, user(t, "alice"), mcpauth.ErrUnavailable) })
		synctest.Wait()
		r.Close()
		group.Wait()
		if waited := time.Since(began); waited != 0 {
			t.Errorf("waited %s", waited)
		}
	})
}

func TestRefreshAheadInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		s.numbered(0)
		r := resolver(t, credential.Config{Source: s})
		defer r.Close()
		alice := user(t, "alice")
		gets(t, r, alice, "token-1")
		time.Sleep(4 * time.Minute) // 80 % of its life
		gets(t, r, alice, "token-1")
		synctest.Wait()
		gets(t, r, alice, "token-2")
		if s.count() != 2 {
			t.Errorf("%d fetches", s.count())
		}
		// One that nobody uses is not fetched.
		time.Sleep(time.Hour)
		if s.count() != 2 {
			t.Errorf("%d fetches without a request", s.count())
		}
	})
}

func TestATokenThatHasExpiredFetchesAndGetsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		r := resolver(t, credential.Config{Source: s})
		defer r.Close()
		short := person{user: "alice", expiry: time.Now().Add(time.Minute)}.identity(t)
		gets(t, r, person{user: "alice", expiry: time.Now().Add(time.Hour)}.identity(t), "credential-of-alice-for-github")
		gets(t, r, short, "credential-of-alice-for-github")
		time.Sleep(time.Minute)
		refused(t, r, short, mcpauth.ErrExpired)
		if s.count() != 1 {
			t.Errorf("%d fetches", s.count())
		}
	})
}

// Results are kept by the monotonic clock, and what is dated ends by the wall clock:
// whichever way that is put, nothing lives longer.
func TestAWallClockThatIsPut(t *testing.T) {
	for _, test := range []struct {
		name  string
		by    time.Duration
		sleep time.Duration
		life  time.Duration // of the credential
		token time.Duration // life of the user's token, 0 for none
		kept  bool
	}{
		{"not at all", 0, time.Minute, time.Hour, 0, true},
		{"back, within the TTL", -time.Hour, time.Minute, time.Hour, 0, true},
		{"back, past the TTL", -time.Hour, 5 * time.Minute, time.Hour, 0, false},
		{"back, past the credential's life", -time.Hour, 2 * time.Minute, 2 * time.Minute, 0, false},
		{"back, past the token's life", -time.Hour, 2 * time.Minute, time.Hour, 2 * time.Minute, false},
		{"forward, past the credential's life", time.Hour, time.Second, time.Hour, 0, false},
		{"forward, past the token's life", time.Hour, time.Second, 2 * time.Hour, time.Hour, false},
		{"forward, within both", 30 * time.Minute, time.Second, time.Hour, time.Hour, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &source{}
				s.numbered(test.life)
				r := resolver(t, credential.Config{Source: s})
				defer r.Close()
				first, alice := person{user: "alice"}, user(t, "alice")
				if test.token > 0 {
					first.expiry = time.Now().Add(test.token)
				}
				gets(t, r, first.identity(t), "token-1")
				time.Sleep(test.sleep)
				r.PutWallClock(test.by)
				s.becomes(func(context.Context, *mcpauth.Identity, string) (*mcpauth.Credential, error) {
					return token("token-2"), nil
				})
				want := "token-2"
				if test.kept {
					want = "token-1"
				}
				gets(t, r, alice, want)
			})
		})
	}
}

func TestLastGoodCredentialWithinItsOwnLifetime(t *testing.T) {
	for _, test := range []struct {
		name        string
		life, token time.Duration
		lasts       time.Duration
	}{
		{"as long as the credential is said to live", time.Hour, 0, time.Hour},
		{"not longer than the user's token", time.Hour, 20 * time.Minute, 20 * time.Minute},
		{"where its life is not known, another TTL", 0, time.Hour, 10 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &source{}
				s.numbered(test.life)
				r := resolver(t, credential.Config{Source: s})
				defer r.Close()
				began := time.Now()
				p := person{user: "alice"}
				if test.token > 0 {
					p.expiry = began.Add(test.token)
				}
				gets(t, r, p.identity(t), "token-1")
				s.isDown()
				for time.Since(began) < test.lasts-time.Minute {
					time.Sleep(30 * time.Second)
					gets(t, r, person{user: "alice"}.identity(t), "token-1")
				}
				time.Sleep(test.lasts - time.Since(began))
				refused(t, r, person{user: "alice"}.identity(t), mcpauth.ErrUnavailable)
			})
		})
	}
}

func TestAnAnswerAboutTheUserEndsWhatIsCached(t *testing.T) {
	for name, err := range map[string]error{
		"refused":                credential.Refused(errors.New("403")),
		"an error of the line":   &mcpauth.Error{Code: mcpauth.ErrForbidden, Message: "No."},
		"a code alone, wrapped":  fmt.Errorf("no: %w", &mcpauth.Error{Code: mcpauth.ErrForbidden, Message: "No."}),
		"refused, in a wrapping": fmt.Errorf("no: %w", credential.Refused(errors.New("403"))),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &source{}
				s.numbered(time.Hour)
				r := resolver(t, credential.Config{Source: s})
				defer r.Close()
				alice := user(t, "alice")
				gets(t, r, alice, "token-1")
				s.gives(nil, err)
				time.Sleep(4 * time.Minute)
				gets(t, r, alice, "token-1")
				synctest.Wait() // for the refresh ahead
				code := mcpauth.ErrUnavailable
				if e := (*mcpauth.Error)(nil); errors.As(err, &e) {
					code = e.Code
				}
				refused(t, r, alice, code)
				if s.count() != 3 {
					t.Errorf("%d fetches: it was asked again", s.count())
				}
			})
		})
	}
}

func TestOnlyTransientFailuresAreTriedAgain(t *testing.T) {
	for _, test := range []struct {
		name  string
		err   error
		tries int
		least time.Duration
	}{
		{"transient", credential.Transient(errDown, 0), 3, 100 * time.Millisecond},
		{"transient, with a time", credential.Transient(errDown, time.Second), 3, 2 * time.Second},
		{"transient, later than the deadline", credential.Transient(errDown, 6*time.Second), 1, 0},
		{"any other", errDown, 1, 0},
		{"refused", credential.Refused(errDown), 1, 0},
		{"a refusal", &mcpauth.Error{Code: mcpauth.ErrForbidden, Message: "No."}, 1, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &source{}
				s.gives(nil, test.err)
				r := resolver(t, credential.Config{Source: s})
				defer r.Close()
				began := time.Now()
				_, err := r.Resolve(t.Context(), user(t, "alice"), resource)
				if e := (*mcpauth.Error)(nil); !errors.As(err, &e) || strings.Contains(e.Error(), "canary") {
					t.Errorf("%v", err)
				}
				if waited := time.Since(began); s.count() != test.tries || waited < test.least || waited > 5*time.Second {
					t.Errorf("%d tries in %s, want %d", s.count(), waited, test.tries)
				}
			})
		})
	}
	t.Run("and helps", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &source{}
			s.becomes(func(context.Context, *mcpauth.Identity, string) (*mcpauth.Credential, error) {
				if s.count() < 3 {
					return nil, credential.Transient(errDown, 0)
				}
				return token("third"), nil
			})
			r := resolver(t, credential.Config{Source: s})
			defer r.Close()
			gets(t, r, user(t, "alice"), "third")
		})
	})
}

func TestRetryAfterIsPassedOnWithinBounds(t *testing.T) {
	for wanted, want := range map[time.Duration]time.Duration{
		0: 0, 30 * time.Second: 30 * time.Second, time.Hour: 5 * time.Minute, -time.Hour: 0,
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &source{}
			s.gives(nil, credential.Transient(errDown, wanted))
			r := resolver(t, credential.Config{Source: s})
			if e := refused(t, r, user(t, "alice"), mcpauth.ErrUnavailable); e.RetryAfter != want {
				t.Errorf("of %s: %s, want %s", wanted, e.RetryAfter, want)
			}
		})
	}
}

func TestCredentialsThatNoHeaderTakesAreRefused(t *testing.T) {
	long := strings.Repeat("x", 16<<10)
	for _, test := range []struct {
		name  string
		given *mcpauth.Credential
		good  bool
	}{
		{"ordinary", token("gho_0123-._~+/="), true},
		{"the longest", token(long), true},
		{"too long", token(long + "x"), false},
		{"empty", token(""), false},
		{"a line break", token("canary\r\nX-Injected: 1"), false},
		{"a line break behind", token("canary\n"), false},
		{"a space", token("canary canary"), false},
		{"a tab", token("canary\t"), false},
		{"a NUL", token("canary\x00"), false},
		{"DEL", token("canary\x7f"), false},
		{"beyond ASCII", token("canarý"), false},
		{"a no-break space", token("canary\u00a0"), false},
		{"expired", &mcpauth.Credential{Token: mcpauth.NewSecret("canary"), Expiry: time.Now().Add(-time.Second)}, false},
		{"expired long ago", &mcpauth.Credential{Token: mcpauth.NewSecret("canary"), Expiry: time.Unix(0, 0)}, false},
		{"not yet expired", &mcpauth.Credential{Token: mcpauth.NewSecret("x"), Expiry: time.Now().Add(time.Hour)}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &source{}
			s.gives(test.given, nil)
			r := resolver(t, credential.Config{Source: s})
			for range 2 {
				c, err := r.Resolve(t.Context(), user(t, "alice"), resource)
				if test.good {
					if err != nil || !c.Equal(test.given) || !c.Expiry.Equal(test.given.Expiry) {
						t.Errorf("%v, %v", c, err)
					}
					continue
				}
				e := mcpauth.AsError(err)
				if c != nil || e.Code != mcpauth.ErrUnavailable || strings.Contains(fmt.Sprint(e, e.Cause, e.LogValue()), "canary") {
					t.Errorf("%v, %v (%v)", c, err, e.Cause)
				}
			}
			if want := map[bool]int{true: 1, false: 2}[test.good]; s.count() != want {
				t.Errorf("%d fetches: it is kept, or not", s.count())
			}
		})
	}
}

func TestAPanicOfASourceIsAFailure(t *testing.T) {
	s := &source{}
	s.becomes(func(context.Context, *mcpauth.Identity, string) (*mcpauth.Credential, error) { panic("canary") })
	r := resolver(t, credential.Config{Source: s})
	refused(t, r, user(t, "alice"), mcpauth.ErrUnavailable)
	s.gives(token("fine"), nil)
	gets(t, r, user(t, "alice"), "fine")
}

func TestNobodysCredential(t *testing.T) {
	s := &source{}
	r := resolver(t, credential.Config{Source: s})
	refused(t, r, nil, mcpauth.ErrUnavailable)
	if s.count() != 0 {
		t.Error("asked")
	}
}

// Requests in an outage: who is cached notices nothing, others are told at once
// when to come again, and nothing has to be restarted.
func TestAnOutageOfSixtySeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		r := resolver(t, credential.Config{Source: s})
		defer r.Close()
		cached := make([]*mcpauth.Identity, 50)
		for i := range cached {
			cached[i] = user(t, fmt.Sprint("cached-", i))
			gets(t, r, cached[i], fmt.Sprintf("credential-of-cached-%d-for-github", i))
			time.Sleep(5 * time.Second) // so that some come to be refreshed in the outage
		}
		s.becomes(func(ctx context.Context, _ *mcpauth.Identity, _ string) (*mcpauth.Credential, error) {
			<-ctx.Done() // hangs
			return nil, credential.Transient(ctx.Err(), 0)
		})
		before, began := s.count(), time.Now()
		for second := range 60 {
			for i, id := range cached {
				at := time.Now()
				gets(t, r, id, fmt.Sprintf("credential-of-cached-%d-for-github", i))
				if waited := time.Since(at); waited != 0 {
					t.Fatalf("%v waited %s", id, waited)
				}
			}
			at := time.Now()
			e := refused(t, r, user(t, fmt.Sprint("new-", second)), mcpauth.ErrUnavailable)
			if second > 15 && e.RetryAfter > 10*time.Second {
				t.Errorf("Retry-After %s", e.RetryAfter)
			}
			if waited := time.Since(at); waited < time.Second {
				time.Sleep(time.Second - waited)
			}
			if time.Since(began) > 60*time.Second {
				break
			}
		}
		if asked := s.count() - before; asked > 60 {
			t.Errorf("%d fetches in the outage", asked)
		}
		s.becomes(nil)
		time.Sleep(11 * time.Second)
		gets(t, r, user(t, "new-0"), "credential-of-new-0-for-github")
		for i, id := range cached {
			gets(t, r, id, fmt.Sprintf("credential-of-cached-%d-for-github", i))
		}
	})
}

func TestASourceThatFailsIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, healthy := &source{}, &source{}
		s.isDown()
		r := resolver(t, credential.Config{Source: credential.ByResource(map[string]credential.Source{resource: s, "again": s, "healthy": healthy})})
		defer r.Close()
		refused(t, r, user(t, "alice"), mcpauth.ErrUnavailable)
		refused(t, r, user(t, "bob"), mcpauth.ErrUnavailable)
		if s.count() != 5 || r.Stats().Open != 1 {
			t.Fatalf("%d fetches, %d open", s.count(), r.Stats().Open)
		}
		at := time.Now()
		e := refused(t, r, user(t, "carol"), mcpauth.ErrUnavailable)
		if e.RetryAfter <= 9*time.Second || e.RetryAfter > 10*time.Second || time.Since(at) != 0 {
			t.Errorf("Retry-After %s, after %s", e.RetryAfter, time.Since(at))
		}
		if _, err := r.Resolve(t.Context(), user(t, "carol"), "again"); err == nil || s.count() != 5 {
			t.Error("the same source under another name was asked")
		}
		if c, err := r.Resolve(t.Context(), user(t, "carol"), "healthy"); c == nil || err != nil {
			t.Errorf("another source: %v, %v", c, err)
		}
		time.Sleep(10*time.Second + time.Millisecond)
		refused(t, r, user(t, "carol"), mcpauth.ErrUnavailable) // one finds out
		if s.count() != 6 {
			t.Errorf("%d fetches", s.count())
		}
		s.becomes(nil)
		time.Sleep(10*time.Second + time.Millisecond)
		gets(t, r, user(t, "dave"), "credential-of-dave-for-github")
		gets(t, r, user(t, "carol"), "credential-of-carol-for-github")
		if r.Stats().Open != 0 {
			t.Error("still open")
		}
	})
}

// What a platform cannot do for one user must not become an outage for all.
func TestTroubleOfOneUserIsNotThatOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		s.becomes(func(_ context.Context, id *mcpauth.Identity, _ string) (*mcpauth.Credential, error) {
			if id.UserID() == "mallory" {
				return nil, credential.Transient(errDown, 0)
			}
			return token("good"), nil
		})
		r := resolver(t, credential.Config{Source: s})
		defer r.Close()
		for range 50 {
			refused(t, r, user(t, "mallory"), mcpauth.ErrUnavailable)
		}
		gets(t, r, user(t, "alice"), "good")
	})
}

func TestRejectedForcesOneRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		s.numbered(0)
		r := resolver(t, credential.Config{Source: s})
		defer r.Close()
		alice := user(t, "alice")
		first := gets(t, r, alice, "token-1")
		first.Rejected()
		first.Rejected()
		second := gets(t, r, alice, "token-2")
		first.Rejected() // late: there is another already
		gets(t, r, alice, "token-2")
		// A tool that rejects everything asks the platform each ten seconds.
		second.Rejected()
		gets(t, r, alice, "token-2")
		time.Sleep(10*time.Second - time.Millisecond)
		gets(t, r, alice, "token-2")
		time.Sleep(time.Millisecond)
		gets(t, r, alice, "token-3")
		if s.count() != 3 {
			t.Errorf("%d fetches", s.count())
		}
		// Others are not touched.
		bob := gets(t, r, user(t, "bob"), "token-4")
		bob.Rejected()
		gets(t, r, alice, "token-3")
	})
}

func TestRejectingACredentialAgainAsksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		s.gives(token("same"), nil)
		r := resolver(t, credential.Config{Source: s})
		defer r.Close()
		alice := user(t, "alice")
		for range 20 {
			gets(t, r, alice, "same").Rejected()
			time.Sleep(11 * time.Second)
		}
		if s.count() != 2 {
			t.Errorf("%d fetches in less than a TTL, want the first and one for the rejections", s.count())
		}
	})
}

func TestRejectedInAnOutageTakesNothingAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		s.numbered(time.Hour)
		r := resolver(t, credential.Config{Source: s})
		defer r.Close()
		alice := user(t, "alice")
		c := gets(t, r, alice, "token-1")
		s.isDown()
		for range 100 {
			c.Rejected()
			gets(t, r, alice, "token-1")
		}
		if s.count() != 4 {
			t.Errorf("%d fetches, want the first and three tries", s.count())
		}
	})
}

func TestRejectedAfterAnOutageAsksAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		s.numbered(time.Hour)
		r := resolver(t, credential.Config{Source: s})
		defer r.Close()
		alice := user(t, "alice")
		gets(t, r, alice, "token-1")
		s.isDown()
		time.Sleep(6 * time.Minute)
		c := gets(t, r, alice, "token-1")
		time.Sleep(time.Minute)
		s.gives(token("new"), nil)
		c.Rejected()
		gets(t, r, alice, "new")
	})
}

func TestOwnOnRejectedOfASourceIsTold(t *testing.T) {
	told := 0
	s := &source{}
	s.gives(&mcpauth.Credential{Token: mcpauth.NewSecret("x"), OnRejected: func(*mcpauth.Credential) { told++ }}, nil)
	r := resolver(t, credential.Config{Source: s})
	gets(t, r, user(t, "alice"), "x").Rejected()
	if told != 1 {
		t.Errorf("told %d times", told)
	}
}

func TestRevocationOfAUserForgetsTheirCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := &source{}, newList()
		r := resolver(t, credential.Config{Source: s, Revocations: l})
		defer r.Close()
		if err := r.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r.Start(t.Context()) == nil {
			t.Error("started twice")
		}
		alice, bob := user(t, "alice"), user(t, "bob")
		gets(t, r, alice, "credential-of-alice-for-github")
		gets(t, r, bob, "credential-of-bob-for-github")
		asked := l.asked
		gets(t, r, bob, "credential-of-bob-for-github")
		if l.asked != asked {
			t.Error("the list was asked although nothing had been revoked")
		}
		l.revoke("alice", "")
		refused(t, r, alice, mcpauth.ErrRevoked) // at once
		gets(t, r, bob, "credential-of-bob-for-github")
		if s.count() != 2 {
			t.Errorf("%d fetches", s.count())
		}
		// Without a request, too, within a second.
		l.revoke("bob", "")
		time.Sleep(time.Second)
		synctest.Wait()
		if got := r.Stats(); got.Entries != 0 {
			t.Errorf("kept of revoked users: %+v", got)
		}
	})
}

func TestRevocationOfOneTokenLeavesTheUsersOthers(t *testing.T) {
	s, l := &source{}, newList()
	s.numbered(0)
	r := resolver(t, credential.Config{Source: s, Revocations: l})
	one, two := person{user: "alice", tokenID: "1"}.identity(t), person{user: "alice", tokenID: "2"}.identity(t)
	gets(t, r, one, "token-1")
	gets(t, r, two, "token-1")
	l.revoke("", "1")
	gets(t, r, two, "token-2") // the other was fetched with a token that is revoked
	refused(t, r, one, mcpauth.ErrRevoked)
	gets(t, r, two, "token-2")
}

func TestRevocationWhileAFetchIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := &source{}, newList()
		s.becomes(func(context.Context, *mcpauth.Identity, string) (*mcpauth.Credential, error) {
			time.Sleep(time.Second)
			return token("late"), nil
		})
		r := resolver(t, credential.Config{Source: s, Revocations: l})
		defer r.Close()
		var group sync.WaitGroup
		group.Go(func() { refused(t, r, user(t, "alice"), mcpauth.ErrRevoked) })
		synctest.Wait()
		l.revoke("alice", "")
		group.Wait()
		if got := r.Stats(); got.Entries != 0 {
			t.Errorf("kept: %+v", got)
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	s := &source{}
	s.gives(token(strings.Repeat("x", 16<<10)), nil)
	r := resolver(t, credential.Config{Source: s, MaxBytes: 1 << 20})
	for i := range 500 {
		if _, err := r.Resolve(t.Context(), user(t, fmt.Sprint(i)), resource); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.Settled(); got.Bytes > 1<<20 || got.Evictions == 0 || got.Entries > 64 {
		t.Errorf("%+v", got)
	}
}

func TestMeasure(t *testing.T) {
	s := &source{}
	r := resolver(t, credential.Config{Source: s})
	alice := user(t, "alice")
	gets(t, r, alice, "credential-of-alice-for-github")
	gets(t, r, alice, "credential-of-alice-for-github")
	s.gives(nil, errDown)
	refused(t, r, user(t, "bob"), mcpauth.ErrUnavailable)
	want := map[string]float64{
		"mcpauth_credential_lookups_total hit": 1, "mcpauth_credential_lookups_total miss": 2,
		"mcpauth_credential_fetches_total ": 2, "mcpauth_credential_fetch_failures_total ": 1,
		"mcpauth_credential_cache_entries ": 1, "mcpauth_credential_cache_evictions_total ": 0, "mcpauth_credential_breaker_open ": 0,
	}
	for _, m := range r.Measure() {
		if m.Help == "" || m.Counter != strings.HasSuffix(m.Name, "_total") {
			t.Errorf("%+v", m)
		}
		if value, ok := want[m.Name+" "+m.Labels["result"]]; ok && value != m.Value {
			t.Errorf("%s %v = %v, want %v", m.Name, m.Labels, m.Value, value)
		}
	}
}

func TestCachedResolveAllocatesNothing(t *testing.T) {
	r := resolver(t, credential.Config{Source: &source{}, Revocations: newList()})
	alice := user(t, "alice")
	gets(t, r, alice, "credential-of-alice-for-github")
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := r.Resolve(ctx, alice, resource); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkResolve(b *testing.B) {
	r := resolver(b, credential.Config{Source: &source{}})
	ids := make([]*mcpauth.Identity, 1000)
	for i := range ids {
		ids[i] = user(b, fmt.Sprint("user-", i))
		r.Resolve(b.Context(), ids[i], resource)
	}
	ctx := b.Context()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := r.Resolve(ctx, ids[i%len(ids)], resource); err != nil {
			b.Fatal(err)
		}
	}
}
