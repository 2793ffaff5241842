package revoke_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/revoke"
)

func TestWhatIsRefused(t *testing.T) {
	at := time.Now().Truncate(time.Second)
	before := revoke.Revocation{Kind: revoke.User, Issuer: issuer, UserID: "alice", Before: at}
	issued := func(iat time.Time) mcpauth.Revocable {
		return mcpauth.Revocable{Issuer: issuer, UserID: "alice", TokenID: "t9", SessionID: "s9", IssuedAt: iat}
	}
	const skew = time.Minute
	for _, test := range []struct {
		name    string
		revoked revoke.Revocation
		by      mcpauth.Revocable
		want    bool
	}{
		{"the token", tokenOf("t1"), of("alice", "t1", "s1"), true},
		{"the token, without a user", tokenOf("t1"), of("", "t1", ""), true},
		{"another token of the user", tokenOf("t1"), of("alice", "t2", "s1"), false},
		{"a token whose id begins alike", tokenOf("t1"), of("alice", "t11", "s1"), false},
		{"the same token id of another issuer", tokenOf("t1"), mcpauth.Revocable{Issuer: other, UserID: "alice", TokenID: "t1"}, false},
		{"a token without id", tokenOf("t1"), of("alice", "", ""), false},
		{"a session called like the token", tokenOf("t1"), of("alice", "t2", "t1"), false},
		{"a user called like the token", tokenOf("t1"), of("t1", "t2", ""), false},
		{"a token with an id longer than any buffer", tokenOf(strings.Repeat("x", 9000)), of("alice", strings.Repeat("x", 9000), ""), true},
		{"a token with another long id", tokenOf(strings.Repeat("x", 9000)), of("alice", strings.Repeat("x", 9001), ""), false},

		{"a token of the session", session("s1"), of("alice", "t1", "s1"), true},
		{"a token refreshed in the session, issued later", session("s1"), mcpauth.Revocable{Issuer: issuer, UserID: "alice", TokenID: "t2", SessionID: "s1", IssuedAt: at.Add(24 * time.Hour)}, true},
		{"a token of another session of the user", session("s1"), of("alice", "t1", "s2"), false},
		{"a token without a session", session("s1"), of("alice", "t1", ""), false},
		{"the same session id of another issuer", session("s1"), mcpauth.Revocable{Issuer: other, UserID: "alice", SessionID: "s1"}, false},

		{"a token issued before T", before, issued(at.Add(-time.Hour)), true},
		{"a token issued at T", before, issued(at), true},
		{"a token issued at T + skew", before, issued(at.Add(skew)), true},
		{"a token issued a second after T + skew", before, issued(at.Add(skew + time.Second)), false},
		{"a token issued a microsecond after T + skew", before, issued(at.Add(skew + time.Microsecond)), false},
		{"a token issued long after T", before, issued(at.Add(24 * time.Hour)), false},
		{"a token issued in the last year there is", before, issued(time.Unix(253402300799, 0)), false},
		{"a token issued in 1970", before, issued(time.Unix(0, 0)), true},
		{"a token without iat", before, issued(time.Time{}), true},
		{"another user's old token", before, mcpauth.Revocable{Issuer: issuer, UserID: "bob", IssuedAt: at.Add(-time.Hour)}, false},
		{"the same user id of another issuer", before, mcpauth.Revocable{Issuer: other, UserID: "alice", IssuedAt: at.Add(-time.Hour)}, false},
		{"the same user id of another issuer, without iat", before, mcpauth.Revocable{Issuer: other, UserID: "alice"}, false},

		{"a blocked user's old token", block("alice"), issued(at.Add(-time.Hour)), true},
		{"a blocked user's refreshed token", block("alice"), issued(at.Add(24 * time.Hour)), true},
		{"a blocked user's token without anything", block("alice"), mcpauth.Revocable{Issuer: issuer, UserID: "alice"}, true},
		{"another user", block("alice"), of("bob", "t1", "s1"), false},
		{"the blocked user id of another issuer", block("alice"), mcpauth.Revocable{Issuer: other, UserID: "alice"}, false},
		{"issuer and id cut elsewhere", revoke.Revocation{Kind: revoke.Block, Issuer: "a", UserID: "bc"}, mcpauth.Revocable{Issuer: "ab", UserID: "c"}, false},
	} {
		for _, in := range []string{"memory", "a file", "a file opened again"} {
			t.Run(test.name+", in "+in, func(t *testing.T) {
				c := revoke.Config{}
				if in != "memory" {
					c.File = path(t)
				}
				l := open(t, c)
				isRevoked(t, l, false, test.by)
				entries := put(t, l, test.revoked)
				if saved := entries[0].Saved; saved != (in != "memory") {
					t.Fatalf("Saved = %v", saved)
				}
				if in == "a file opened again" {
					shut(t, l)
					l = open(t, c)
				}
				isRevoked(t, l, test.want, test.by)
			})
		}
	}
}

func TestOfTwoTimesTheLaterHolds(t *testing.T) {
	at := time.Now().Truncate(time.Second)
	c := revoke.Config{File: path(t)}
	l := open(t, c)
	late, early := user("alice"), user("alice")
	late.Before, early.Before = at, at.Add(-time.Hour)
	put(t, l, late)
	if e := put(t, l, early)[0]; !e.Before.Equal(at) {
		t.Fatalf("Before = %v", e.Before)
	}
	token := mcpauth.Revocable{Issuer: issuer, UserID: "alice", IssuedAt: at}
	isRevoked(t, l, true, token)
	shut(t, l)
	l = open(t, c)
	isRevoked(t, l, true, token)
	if l.Len() != 1 {
		t.Fatalf("%d entries", l.Len())
	}
}

func TestBlockEndsWithLift(t *testing.T) {
	for _, file := range []string{"", path(t)} {
		t.Run(fmt.Sprintf("file %v", file != ""), func(t *testing.T) {
			c := revoke.Config{File: file}
			l := open(t, c)
			if err := l.Lift(t.Context(), issuer, "alice"); !errors.Is(err, revoke.ErrNotBlocked) {
				t.Fatalf("lift of nothing: %v", err)
			}
			put(t, l, block("alice"), tokenOf("t1"))
			if err := l.Lift(t.Context(), other, "alice"); !errors.Is(err, revoke.ErrNotBlocked) {
				t.Fatalf("lift of another issuer's: %v", err)
			}
			epoch := l.Epoch()
			if err := l.Lift(t.Context(), issuer, "alice"); err != nil {
				t.Fatal(err)
			}
			if l.Epoch() == epoch {
				t.Fatal("the epoch stayed")
			}
			isRevoked(t, l, false, of("alice", "t2", ""))
			isRevoked(t, l, true, of("alice", "t1", ""))
			if err := l.Lift(t.Context(), issuer, "alice"); !errors.Is(err, revoke.ErrNotBlocked) {
				t.Fatalf("lifted twice: %v", err)
			}
			if file == "" {
				return
			}
			shut(t, l)
			l = open(t, c)
			isRevoked(t, l, false, of("alice", "t2", ""))
			put(t, l, block("alice"))
			shut(t, l)
			l = open(t, c)
			isRevoked(t, l, true, of("alice", "t2", ""))
		})
	}
}

func TestFaultsAreNamedTogetherAndQuoteNothing(t *testing.T) {
	l := open(t, revoke.Config{Lifetime: func(name string) (time.Duration, bool) { return time.Hour, name == issuer }})
	now := time.Now()
	jwt := "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"
	for _, test := range []struct {
		name   string
		r      revoke.Revocation
		fields []string
	}{
		{"nothing", revoke.Revocation{}, []string{"kind", "issuer"}},
		{"another kind", revoke.Revocation{Kind: "tokens", Issuer: issuer}, []string{"kind"}},
		{"a kind in capitals", revoke.Revocation{Kind: "Token", Issuer: issuer, TokenID: "t"}, []string{"kind"}},
		{"no id", revoke.Revocation{Kind: revoke.Token, Issuer: issuer}, []string{"token_id"}},
		{"no user", revoke.Revocation{Kind: revoke.User, Issuer: issuer}, []string{"user_id"}},
		{"no user to block", revoke.Revocation{Kind: revoke.Block, Issuer: issuer}, []string{"user_id"}},
		{"no session", revoke.Revocation{Kind: revoke.Session, Issuer: issuer}, []string{"session_id"}},
		{"an unknown issuer", revoke.Revocation{Kind: revoke.Block, Issuer: issuer + "/", UserID: "a"}, []string{"issuer"}},
		{"an issuer with NUL", revoke.Revocation{Kind: revoke.Block, Issuer: issuer + "\x00", UserID: "a"}, []string{"issuer"}},
		{"ids of other kinds", revoke.Revocation{Kind: revoke.Token, Issuer: issuer, TokenID: "t", UserID: "u", SessionID: "s", Before: now}, []string{"user_id", "session_id", "before"}},
		{"a control character", revoke.Revocation{Kind: revoke.Block, Issuer: issuer, UserID: "a\nb"}, []string{"user_id"}},
		{"no UTF-8", revoke.Revocation{Kind: revoke.Token, Issuer: issuer, TokenID: "a\xff"}, []string{"token_id"}},
		{"an id too long", revoke.Revocation{Kind: revoke.Token, Issuer: issuer, TokenID: strings.Repeat("a", 16<<10+1)}, []string{"token_id"}},
		{"a whole token", revoke.Revocation{Kind: revoke.Token, Issuer: issuer, TokenID: jwt}, []string{"token_id"}},
		{"a token as reason", revoke.Revocation{Kind: revoke.Block, Issuer: issuer, UserID: "a", Reason: jwt}, []string{"reason"}},
		{"a reason of two lines", revoke.Revocation{Kind: revoke.Block, Issuer: issuer, UserID: "a", Reason: "a\nb"}, []string{"reason"}},
		{"a reason too long", revoke.Revocation{Kind: revoke.Block, Issuer: issuer, UserID: "a", Reason: strings.Repeat("a", 1025)}, []string{"reason"}},
		{"the future", revoke.Revocation{Kind: revoke.User, Issuer: issuer, UserID: "a", Before: now.Add(time.Hour)}, []string{"before"}},
		{"milliseconds for seconds", revoke.Revocation{Kind: revoke.User, Issuer: issuer, UserID: "a", Before: time.Unix(now.UnixMilli(), 0)}, []string{"before"}},
		{"before all that can be valid", revoke.Revocation{Kind: revoke.User, Issuer: issuer, UserID: "a", Before: now.Add(-2 * time.Hour)}, []string{"before"}},
		{"before 1970", revoke.Revocation{Kind: revoke.User, Issuer: issuer, UserID: "a", Before: time.Unix(-1, 0)}, []string{"before"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			// One that is wrong keeps out those beside it.
			entries, err := l.Revoke(t.Context(), block("bob"), test.r)
			var invalid *revoke.InvalidError
			if !errors.As(err, &invalid) || entries != nil {
				t.Fatalf("%v, %v", entries, err)
			}
			var fields []string
			for _, f := range invalid.Faults {
				fields = append(fields, f.Field)
			}
			if !slices.Equal(fields, test.fields) {
				t.Fatalf("fields %q, want %q: %v", fields, test.fields, err)
			}
			if strings.Contains(err.Error(), "eyJ") {
				t.Fatalf("the error quotes a token: %v", err)
			}
		})
	}
	if l.Len() != 0 || l.Epoch() != 1 {
		t.Fatalf("%d entries at epoch %d", l.Len(), l.Epoch())
	}
}

func TestConfigurationFaults(t *testing.T) {
	_, err := revoke.Open(revoke.Config{Skew: -1, MaxEntries: -1})
	var faults *mcpauth.ConfigError
	if !errors.As(err, &faults) || len(faults.Faults) != 2 || faults.Package != "revoke" {
		t.Fatal(err)
	}
	if _, err := revoke.Open(revoke.Config{Skew: 2 * time.Hour}); !errors.As(err, &faults) {
		t.Fatal(err)
	}
}

func TestFullListFailsLoudlyAndRefusesWhatItHas(t *testing.T) {
	for _, file := range []string{"", path(t)} {
		t.Run(fmt.Sprintf("file %v", file != ""), func(t *testing.T) {
			c := revoke.Config{File: file, MaxEntries: 3}
			l := open(t, c)
			put(t, l, tokenOf("t1"), block("alice"))
			epoch := l.Epoch()
			// All or none, and each counted once.
			if _, err := l.Revoke(t.Context(), tokenOf("t2"), tokenOf("t3")); !errors.Is(err, revoke.ErrFull) {
				t.Fatal(err)
			}
			isRevoked(t, l, false, of("", "t2", ""))
			put(t, l, tokenOf("t2"), tokenOf("t2"), tokenOf("t1"))
			if _, err := l.Revoke(t.Context(), tokenOf("t3")); !errors.Is(err, revoke.ErrFull) {
				t.Fatal(err)
			}
			isRevoked(t, l, false, of("", "t3", ""))
			for _, r := range []mcpauth.Revocable{of("", "t1", ""), of("", "t2", ""), of("alice", "", "")} {
				isRevoked(t, l, true, r)
			}
			put(t, l, tokenOf("t1"), block("alice")) // what it has, it takes again
			if l.Epoch() != epoch+2 || l.Len() != 3 {
				t.Fatalf("epoch %d after %d, %d entries", l.Epoch(), epoch, l.Len())
			}
			if got := measured(l)["mcpauth_revocation_failures_total full"]; got != 2 {
				t.Fatalf("%v failures", got)
			}
			if err := l.Lift(t.Context(), issuer, "alice"); err != nil {
				t.Fatal(err)
			}
			put(t, l, tokenOf("t3"))
			if file == "" {
				return
			}
			shut(t, l)
			c.MaxEntries = 1
			l = open(t, c) // with more than it would take
			isRevoked(t, l, true, of("", "t1", ""))
			isRevoked(t, l, true, of("", "t3", ""))
			if _, err := l.Revoke(t.Context(), tokenOf("t4")); !errors.Is(err, revoke.ErrFull) {
				t.Fatal(err)
			}
		})
	}
}

func measured(l *revoke.List) map[string]float64 {
	all := map[string]float64{}
	for _, m := range l.Measure() {
		all[strings.Join(append([]string{m.Name}, slices.Sorted(maps.Values(m.Labels))...), " ")] = m.Value
	}
	return all
}

func TestEntriesAreKeptAsLongAsTheyCanMatter(t *testing.T) {
	for _, file := range []string{"", path(t)} {
		t.Run(fmt.Sprintf("file %v", file != ""), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := revoke.Config{File: file, Skew: time.Minute, Lifetime: func(name string) (time.Duration, bool) {
					if name == issuer {
						return time.Hour, true
					}
					return 0, true
				}}
				l := open(t, c)
				start := time.Now()
				old := user("old")
				old.Before = start.Add(-30 * time.Minute)
				unbounded := revoke.Revocation{Kind: revoke.Token, Issuer: other, TokenID: "t1"}
				entries := put(t, l, tokenOf("t1"), session("s1"), user("alice"), old, block("bob"), unbounded)
				for i, want := range []time.Time{start.Add(61 * time.Minute), start.Add(61 * time.Minute), start.Add(61 * time.Minute), start.Add(31 * time.Minute), {}, {}} {
					if !entries[i].Until.Equal(want) {
						t.Errorf("%s until %v, want %v", entries[i].Kind, entries[i].Until, want)
					}
				}
				has := func(want int) {
					t.Helper()
					if l.Len() != want {
						t.Fatalf("%v later: %d entries, want %d", time.Since(start), l.Len(), want)
					}
				}
				time.Sleep(30 * time.Minute)
				synctest.Wait()
				has(6)
				time.Sleep(6 * time.Minute)
				synctest.Wait()
				has(5)
				put(t, l, session("s1")) // again, and so for longer
				time.Sleep(24 * time.Minute)
				synctest.Wait()
				isRevoked(t, l, true, of("", "t1", ""))
				isRevoked(t, l, true, mcpauth.Revocable{Issuer: issuer, UserID: "alice", IssuedAt: start})
				has(5)
				time.Sleep(6 * time.Minute)
				synctest.Wait()
				has(3)
				isRevoked(t, l, false, of("", "t1", ""))
				isRevoked(t, l, true, of("", "", "s1"))
				time.Sleep(10 * 365 * 24 * time.Hour)
				synctest.Wait()
				has(2)
				if file != "" {
					shut(t, l)
					l = open(t, c)
					has(2)
				}
				isRevoked(t, l, true, of("bob", "", ""))
				isRevoked(t, l, true, mcpauth.Revocable{Issuer: other, TokenID: "t1"})
				page, err := l.Page(revoke.Query{})
				if err != nil || len(page.Revocations) != 2 {
					t.Fatal(page, err)
				}
				shut(t, l)
			})
		})
	}
}

func TestExpiryFreesRoomAtOnceWhenItIsNeeded(t *testing.T) {
	for _, file := range []string{"", path(t)} {
		t.Run(fmt.Sprintf("file %v", file != ""), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := open(t, revoke.Config{File: file, MaxEntries: 2, Skew: time.Second, Lifetime: lifetime(time.Second)})
				put(t, l, tokenOf("t1"), block("alice"))
				time.Sleep(2 * time.Second)
				put(t, l, tokenOf("t2"))
				isRevoked(t, l, true, of("", "t2", ""))
				isRevoked(t, l, true, of("alice", "", ""))
				if _, err := l.Revoke(t.Context(), tokenOf("t3")); !errors.Is(err, revoke.ErrFull) {
					t.Fatal(err)
				}
				shut(t, l)
			})
		})
	}
}

func TestWhatHasExpiredWhileNobodyLookedIsNotLoaded(t *testing.T) {
	file := path(t)
	synctest.Test(t, func(t *testing.T) {
		c := revoke.Config{File: file, Lifetime: lifetime(time.Hour)}
		l := open(t, c)
		put(t, l, tokenOf("t1"))
		shut(t, l)
		time.Sleep(2 * time.Hour)
		l = open(t, c)
		if l.Len() != 0 {
			t.Fatalf("%d entries", l.Len())
		}
		shut(t, l)
		// What decides is the lifetime of now.
		c.Lifetime = lifetime(24 * time.Hour)
		l = open(t, c)
		isRevoked(t, l, true, of("", "t1", ""))
		shut(t, l)
		c.Lifetime = func(string) (time.Duration, bool) { return time.Hour, false }
		l = open(t, c)
		isRevoked(t, l, true, of("", "t1", ""))
		shut(t, l)
	})
}

func TestRevokedAgainWhileExpiring(t *testing.T) {
	file := path(t)
	synctest.Test(t, func(t *testing.T) {
		c := revoke.Config{File: file, Skew: time.Second, Lifetime: lifetime(time.Second)}
		l := open(t, c)
		put(t, l, tokenOf("t1"), tokenOf("t2"))
		time.Sleep(3 * time.Second)
		put(t, l, tokenOf("t1")) // not swept yet
		if l.Len() != 2 {
			t.Fatalf("%d entries", l.Len())
		}
		shut(t, l)
		l = open(t, c)
		isRevoked(t, l, true, of("", "t1", ""))
		isRevoked(t, l, false, of("", "t2", ""))
		shut(t, l)
	})
}

func TestNotificationsComeOnceAndInOrder(t *testing.T) {
	l := open(t, revoke.Config{File: path(t)})
	put(t, l, tokenOf("earlier"))
	var (
		mu        sync.Mutex
		heard     [2][]string
		lastEpoch uint32
		early     int
	)
	stop := l.Notify(func(r revoke.Revocation) {
		mu.Lock()
		defer mu.Unlock()
		heard[0] = append(heard[0], r.TokenID)
		if !l.Revoked(of("", r.TokenID, "")) || l.Epoch() < lastEpoch {
			early++
		}
		lastEpoch = l.Epoch()
	})
	l.Notify(func(r revoke.Revocation) {
		mu.Lock()
		defer mu.Unlock()
		heard[1] = append(heard[1], r.TokenID)
	})
	const users, each = 8, 25
	var wait sync.WaitGroup
	for u := range users {
		wait.Go(func() {
			for i := range each {
				id := fmt.Sprintf("%d-%02d", u, i)
				if _, err := l.Revoke(context.Background(), tokenOf(id)); err != nil {
					t.Error(err)
				}
				mu.Lock()
				if !slices.Contains(heard[0], id) {
					t.Errorf("Revoke has returned before %s was told", id)
				}
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	if early > 0 {
		t.Errorf("%d were told before they were effective", early)
	}
	if !slices.Equal(heard[0], heard[1]) {
		t.Error("two listeners heard different things")
	}
	next := map[string]int{}
	for _, id := range heard[0] {
		u, i, _ := strings.Cut(id, "-")
		if i != fmt.Sprintf("%02d", next[u]) {
			t.Fatalf("%s came instead of %d", id, next[u])
		}
		next[u]++
	}
	if len(heard[0]) != users*each {
		t.Fatalf("%d told, want %d", len(heard[0]), users*each)
	}
	stop()
	stop()
	put(t, l, tokenOf("later"))
	if len(heard[0]) != users*each || len(heard[1]) != users*each+1 {
		t.Fatal("stop has stopped the wrong one")
	}
}

func TestEpochIsSeenNoLaterThanItsRevocation(t *testing.T) {
	l := open(t, revoke.Config{})
	const n = 2000
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			last := uint32(0)
			for i := 0; i < n; {
				epoch := l.Epoch()
				if epoch < last {
					t.Errorf("epoch %d after %d", epoch, last)
					return
				}
				last = epoch
				// At epoch e, the first e-1 tokens are revoked.
				for ; i < int(epoch)-1; i++ {
					if !l.Revoked(of("", fmt.Sprint(i), "")) {
						t.Errorf("token %d passes at epoch %d", i, epoch)
						return
					}
				}
			}
		})
	}
	for i := range n {
		put(t, l, tokenOf(fmt.Sprint(i)))
	}
	wait.Wait()
}

func TestRevokeWithAContextThatIsDoneHasNoEffect(t *testing.T) {
	l := open(t, revoke.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Revoke(ctx, tokenOf("t1")); !errors.Is(err, context.Canceled) || errors.Is(err, revoke.ErrNotSaved) {
		t.Fatal(err)
	}
	isRevoked(t, l, false, of("", "t1", ""))
}

func TestClosedListAnswersAndTakesNothing(t *testing.T) {
	l := open(t, revoke.Config{File: path(t)})
	put(t, l, tokenOf("t1"), block("alice"))
	shut(t, l)
	shut(t, l)
	isRevoked(t, l, true, of("", "t1", ""))
	if _, err := l.Revoke(t.Context(), tokenOf("t2")); !errors.Is(err, revoke.ErrClosed) {
		t.Fatal(err)
	}
	if err := l.Lift(t.Context(), issuer, "alice"); !errors.Is(err, revoke.ErrClosed) {
		t.Fatal(err)
	}
	if _, err := l.Page(revoke.Query{}); !errors.Is(err, revoke.ErrClosed) {
		t.Fatal(err)
	}
	isRevoked(t, l, false, of("", "t2", ""))
}

func TestPages(t *testing.T) {
	for _, file := range []string{"", path(t)} {
		t.Run(fmt.Sprintf("file %v", file != ""), func(t *testing.T) {
			l := open(t, revoke.Config{File: file})
			var rs []revoke.Revocation
			for i := range 25 {
				rs = append(rs, tokenOf(fmt.Sprintf("t%02d", i)), block(fmt.Sprintf("u%02d", i)))
			}
			rs = append(rs, user("u1"), user("u11"), block("u1"), session("s"), revoke.Revocation{Kind: revoke.Block, Issuer: other, UserID: "u1", Reason: "why"})
			put(t, l, rs...)
			for _, test := range []struct {
				name  string
				q     revoke.Query
				want  int
				first string
			}{
				{"all", revoke.Query{}, 55, "u00"},
				{"all, seven at a time", revoke.Query{Limit: 7}, 55, "u00"},
				{"all, as many as there are", revoke.Query{Limit: 55}, 55, "u00"},
				{"tokens", revoke.Query{Kind: revoke.Token, Limit: 6}, 25, "t00"},
				{"blocks", revoke.Query{Kind: revoke.Block, Limit: 1}, 27, "u00"},
				{"of an issuer", revoke.Query{Issuer: other}, 1, "u1"},
				{"of the other issuer", revoke.Query{Issuer: issuer, Limit: 13}, 54, "u00"},
				{"of a user", revoke.Query{Issuer: issuer, UserID: "u1", Limit: 1}, 2, "u1"},
				{"of a user, blocks", revoke.Query{Issuer: issuer, UserID: "u1", Kind: revoke.Block}, 1, "u1"},
				{"of nobody", revoke.Query{Issuer: issuer, UserID: "u"}, 0, ""},
				{"of part of an issuer's name", revoke.Query{Issuer: issuer[:10]}, 0, ""},
			} {
				t.Run(test.name, func(t *testing.T) {
					seen := map[string]bool{}
					first := ""
					for pages := 0; ; pages++ {
						page, err := l.Page(test.q)
						if err != nil || pages > 60 {
							t.Fatal(pages, err)
						}
						if limit := test.q.Limit; limit > 0 && len(page.Revocations) > limit {
							t.Fatalf("%d on a page", len(page.Revocations))
						}
						for _, e := range page.Revocations {
							key := fmt.Sprint(e.Kind, e.Issuer, e.UserID, e.TokenID, e.SessionID)
							if seen[key] {
								t.Fatalf("%s twice", key)
							}
							if len(seen) == 0 {
								first = e.UserID + e.TokenID
							}
							seen[key] = true
							if e.Saved != (file != "") || e.At.IsZero() || (e.Issuer == other) != (e.Reason == "why") {
								t.Fatalf("%+v", e)
							}
						}
						if test.q.After = page.Next; page.Next == "" {
							break
						}
					}
					if len(seen) != test.want || first != test.first {
						t.Fatalf("%d from %q, want %d from %q", len(seen), first, test.want, test.first)
					}
				})
			}
			for field, q := range map[string]revoke.Query{
				"kind": {Kind: "x"}, "issuer": {UserID: "alice"}, "user_id": {Kind: revoke.Token, Issuer: issuer, UserID: "a"},
				"limit": {Limit: 1001}, "after": {After: "b"},
			} {
				var invalid *revoke.InvalidError
				if _, err := l.Page(q); !errors.As(err, &invalid) || invalid.Faults[0].Field != field {
					t.Errorf("%s: %v", field, err)
				}
			}
		})
	}
}

func TestMeasurements(t *testing.T) {
	l := open(t, revoke.Config{File: path(t), MaxEntries: 10})
	put(t, l, tokenOf("t1"), tokenOf("t2"), block("a"), session("s"))
	got := measured(l)
	if got["mcpauth_revocations_file_bytes"] < 1 {
		t.Error("no bytes")
	}
	delete(got, "mcpauth_revocations_file_bytes")
	want := map[string]float64{
		"mcpauth_revocations block": 1, "mcpauth_revocations session": 1, "mcpauth_revocations token": 2, "mcpauth_revocations user": 0,
		"mcpauth_revocations_limit": 10, "mcpauth_revocations_unsaved": 0,
		"mcpauth_revocation_failures_total full": 0, "mcpauth_revocation_failures_total file": 0,
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}
