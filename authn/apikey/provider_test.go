package apikey_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/apikey"
	"github.com/mcpauth-go/mcpauth/revoke"
)

func TestConfigFaultsComeTogether(t *testing.T) {
	_, err := apikey.New(apikey.Config{
		Issuer: "a\x00b", Prefix: "sk.", Cache: apikey.Cache{TTL: 2 * time.Hour, MaxBytes: 1}, Timeout: time.Hour, UseInterval: -1, ReloadInterval: -1,
		WrongKeys:   apikey.WrongKeys{BySource: apikey.Rate{Requests: 1}, InAll: apikey.Rate{Per: time.Second}},
		Revocations: (*revoke.List)(nil),
	})
	var config *mcpauth.ConfigError
	if !errors.As(err, &config) {
		t.Fatal(err)
	}
	var fields []string
	for _, f := range config.Faults {
		fields = append(fields, f.Field)
	}
	want := "Store Issuer Prefix Cache.TTL Cache.MaxBytes Timeout WrongKeys.BySource WrongKeys.InAll UseInterval ReloadInterval Revocations"
	if got := strings.Join(fields, " "); got != want {
		t.Errorf("faults of %s\nwant      %s", got, want)
	}
	var nobody apikey.LookupFunc
	for _, store := range []apikey.Store{nil, nobody, (*apikey.Memory)(nil)} {
		if _, err := apikey.New(apikey.Config{Store: store}); err == nil {
			t.Errorf("%T is taken", store)
		}
	}
}

func TestSpecFaultsComeTogether(t *testing.T) {
	for _, test := range []struct {
		name string
		spec apikey.Spec
		want string
	}{
		{"no owner", apikey.Spec{}, "UserID"},
		{"all", apikey.Spec{UserID: " a", Tenant: "\x00", Name: strings.Repeat("n", 256), Scopes: []string{"ok", `"`, ""}, Prefix: "a b",
			Expires: time.Now().Add(-time.Second), Rate: apikey.Rate{Requests: -1, Per: time.Second}}, "UserID Tenant Name Scopes[1] Scopes[2] Prefix Expires Rate"},
		{"not UTF-8", apikey.Spec{UserID: "\xff"}, "UserID"},
		{"a long prefix", apikey.Spec{UserID: "a", Prefix: strings.Repeat("p", 17)}, "Prefix"},
		{"many scopes", apikey.Spec{UserID: "a", Scopes: strings.Split(strings.Repeat("s ", 64)+"s", " ")}, "Scopes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			secret, key, err := apikey.Generate(test.spec)
			var config *mcpauth.ConfigError
			if !errors.As(err, &config) || key != nil || !secret.IsZero() {
				t.Fatal(key, err)
			}
			var fields []string
			for _, f := range config.Faults {
				fields = append(fields, f.Field)
			}
			if got := strings.Join(fields, " "); got != test.want {
				t.Errorf("faults of %s, want %s", got, test.want)
			}
		})
	}
}

func TestCachedKeyCostsNoAllocation(t *testing.T) {
	memory := &apikey.Memory{}
	p := newProvider(t, apikey.Config{Store: memory})
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	secret, _ := create(t, memory, apikey.Spec{Scopes: []string{"a"}, Rate: apikey.Rate{Requests: 1e6, Per: time.Second}})
	r := bearer(secret)
	passes(t, p, secret)
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := p.Authenticate(context.Background(), r); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	malformed := bearer(secret + "A")
	if n := testing.AllocsPerRun(1000, func() { p.Authenticate(context.Background(), malformed) }); n != 0 {
		t.Errorf("%v allocations for what has not the form of a key", n)
	}
}

func TestManyRequestsWithANewKeyMakeOneLookup(t *testing.T) {
	memory := &apikey.Memory{}
	secret, _ := create(t, memory, apikey.Spec{})
	store := &counted{Store: memory}
	p := newProvider(t, apikey.Config{Store: store})
	begun, release := make(chan struct{}), make(chan struct{})
	store.do(func(context.Context) error {
		close(begun)
		<-release
		return nil
	})
	// The one who began it leaves, which is nothing to the others.
	leaving, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := p.Authenticate(leaving, bearer(secret))
		left <- err
	}()
	<-begun
	leave()
	if err := <-left; !errors.Is(err, mcpauth.ErrUnavailable) {
		t.Errorf("who left got %v", err)
	}
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if _, err := p.Authenticate(t.Context(), bearer(secret)); err != nil {
				t.Error(err, errors.Unwrap(err))
			}
		})
	}
	close(release)
	wg.Wait()
	if n := store.lookups.Load(); n != 1 {
		t.Errorf("%d lookups", n)
	}
}

func TestStoreDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := &apikey.Memory{}
		known, _ := create(t, memory, apikey.Spec{})
		fresh, _ := create(t, memory, apikey.Spec{})
		store := &counted{Store: memory}
		p := newProvider(t, apikey.Config{Store: store})
		passes(t, p, known)
		for name, fault := range map[string]func(context.Context) error{
			"fails": func(context.Context) error { return errDown }, "hangs": hang, "panics": func(context.Context) error { panic("oh no") },
		} {
			store.do(fault)
			start := time.Now()
			e := refused(t, p, fresh, mcpauth.ErrUnavailable)
			if e.RetryAfter <= 0 || e.Cause == nil {
				t.Errorf("%s: %+v", name, e)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("%s: waited %s", name, took)
			}
			passes(t, p, known)
		}
		// Past the TTL nobody can tell, and nothing is forgotten as wrong.
		time.Sleep(5 * time.Minute)
		refused(t, p, known, mcpauth.ErrUnavailable)
		store.do(nil)
		passes(t, p, known)
		passes(t, p, fresh)
	})
}

func TestStoreThatDoesNotHeedItsTimeKeepsNoRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := &apikey.Memory{}
		secret, _ := create(t, memory, apikey.Spec{})
		release := make(chan struct{})
		store := &counted{Store: memory}
		store.do(func(context.Context) error { <-release; return nil })
		p := newProvider(t, apikey.Config{Store: store})
		refused(t, p, secret, mcpauth.ErrUnavailable)
		if err := p.Close(); err == nil {
			t.Error("Close has waited for it, or does not say so")
		}
		close(release)
		synctest.Wait()
	})
}

func TestStoreThatReturnsNonsenseLetsNobodyIn(t *testing.T) {
	secret, key, err := apikey.Generate(apikey.Spec{UserID: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*apikey.Key)) func() (*apikey.Key, error) {
		return func() (*apikey.Key, error) {
			k := key.Clone()
			change(k)
			return k, nil
		}
	}
	for _, test := range []struct {
		name   string
		answer func() (*apikey.Key, error)
		want   mcpauth.Code
	}{
		{"nothing", func() (*apikey.Key, error) { return nil, nil }, mcpauth.ErrUnknownKey},
		{"not found", func() (*apikey.Key, error) { return nil, fmt.Errorf("mine: %w", apikey.ErrNotFound) }, mcpauth.ErrUnknownKey},
		{"not found, and a key", func() (*apikey.Key, error) { return key, apikey.ErrNotFound }, mcpauth.ErrUnknownKey},
		{"an error, and a key", func() (*apikey.Key, error) { return key, errDown }, mcpauth.ErrUnavailable},
		{"no hash", with(func(k *apikey.Key) { k.Hash = apikey.Hash{} }), mcpauth.ErrUnavailable},
		{"another's hash", with(func(k *apikey.Key) { k.Hash[0]++ }), mcpauth.ErrUnavailable},
		{"no owner", with(func(k *apikey.Key) { k.UserID = "" }), mcpauth.ErrUnavailable},
		{"an owner with NUL", with(func(k *apikey.Key) { k.UserID = "a\x00b" }), mcpauth.ErrUnavailable},
		{"a rate of nothing", with(func(k *apikey.Key) { k.Rate = apikey.Rate{Requests: 0, Per: time.Second} }), mcpauth.ErrUnavailable},
		{"revoked", with(func(k *apikey.Key) { k.Revoked = time.Now() }), mcpauth.ErrRevoked},
		{"revoked in the future", with(func(k *apikey.Key) { k.Revoked = time.Now().Add(time.Hour) }), mcpauth.ErrRevoked},
		{"expired", with(func(k *apikey.Key) { k.Expires = time.Now() }), mcpauth.ErrExpired},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newProvider(t, apikey.Config{Store: apikey.LookupFunc(func(context.Context, apikey.Hash) (*apikey.Key, error) { return test.answer() })})
			for range 2 {
				refused(t, p, secret.Reveal(), test.want)
			}
		})
	}
}

func TestTenThousandWrongKeysCostFewLookups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &counted{Store: &apikey.Memory{}}
		p := newProvider(t, apikey.Config{Store: store})
		wrong := stranger(t)
		for range 10_000 {
			refused(t, p, wrong, mcpauth.ErrUnknownKey)
		}
		if n := store.lookups.Load(); n != 1 {
			t.Errorf("one wrong key, 10000 times: %d lookups", n)
		}
		// All of one source, within a second.
		shed := 0
		for range 10_000 {
			_, err := p.Authenticate(t.Context(), bearer(stranger(t)))
			switch {
			case errors.Is(err, mcpauth.ErrRateLimited) && mcpauth.AsError(err).RetryAfter > 0:
				shed++
			case !errors.Is(err, mcpauth.ErrUnknownKey):
				t.Fatal(err)
			}
			time.Sleep(100 * time.Microsecond)
		}
		if n := store.lookups.Load(); n > 111 || shed < 9_880 {
			t.Errorf("one source: %d lookups, %d shed", n, shed)
		}
		// Of as many sources.
		before := store.lookups.Load()
		for i := range 10_000 {
			_, err := p.Authenticate(t.Context(), from(stranger(t), fmt.Sprintf("10.0.%d.%d:99", i>>8, i&255)))
			if !errors.Is(err, mcpauth.ErrUnavailable) && !errors.Is(err, mcpauth.ErrUnknownKey) {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Microsecond)
		}
		if n := store.lookups.Load() - before; n > 2_200 {
			t.Errorf("many sources: %d lookups", n)
		}
		// And from then on, at 200 a second.
		before = store.lookups.Load()
		for i := range 10_000 {
			p.Authenticate(t.Context(), from(stranger(t), fmt.Sprintf("10.1.%d.%d:99", i>>8, i&255)))
			time.Sleep(100 * time.Microsecond)
		}
		if n := store.lookups.Load() - before; n > 201 {
			t.Errorf("many sources, on and on: %d lookups", n)
		}
		s := p.Stats()
		if s.Refused > 9_000 || s.ShedBySource == 0 || s.ShedInAll == 0 || s.Unknown != uint64(store.lookups.Load()) {
			t.Errorf("%+v", s)
		}
	})
}

// listing is a counted store that can list its keys, too.
type listing struct {
	*counted
	lists atomic.Int64
}

func (l *listing) Hashes(ctx context.Context) iter.Seq2[apikey.Hash, error] {
	l.lists.Add(1)
	return l.Store.(*apikey.Memory).Hashes(ctx)
}

func TestAFloodOfWrongKeysLocksNobodyOut(t *testing.T) {
	for _, test := range []struct {
		name string
		addr func(i int) string
	}{
		{"from the same address", func(int) string { return "192.0.2.1:99" }},
		{"from everywhere", func(i int) string { return fmt.Sprintf("10.0.%d.%d:99", i>>8, i&255) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory := &apikey.Memory{}
				store := &listing{counted: &counted{Store: memory}}
				p := newProvider(t, apikey.Config{Store: store})
				keys := make([]string, 500)
				for i := range keys {
					keys[i], _ = create(t, memory, apikey.Spec{})
				}
				passes(t, p, keys[0])
				flood := func(n int) {
					for i := range n {
						p.Authenticate(t.Context(), from(stranger(t), test.addr(i)))
					}
					synctest.Wait()
				}
				flood(4_000)
				lookups := store.lookups.Load()
				for _, key := range keys {
					passes(t, p, key) // though 499 have never been seen
				}
				if n := store.lookups.Load() - lookups; n != 499 || store.lists.Load() != 1 {
					t.Errorf("%d lookups, %d lists", n, store.lists.Load())
				}
				// A key of another process is seen when the list is read again.
				late, _ := create(t, memory, apikey.Spec{})
				time.Sleep(10 * time.Second)
				flood(4_000)
				passes(t, p, late)
				if n := store.lists.Load(); n != 2 {
					t.Errorf("%d lists", n)
				}
			})
		})
	}
}

func TestAFloodHarmsNoKeyThatHasBeenSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := &apikey.Memory{}
		secret, _ := create(t, memory, apikey.Spec{})
		fresh, _ := create(t, memory, apikey.Spec{})
		p := newProvider(t, apikey.Config{Store: apikey.LookupFunc(memory.Lookup)}) // which can do nothing else
		passes(t, p, secret)
		flood := func() {
			for i := range 4_000 {
				p.Authenticate(t.Context(), from(stranger(t), fmt.Sprintf("10.0.%d.%d:99", i>>8, i&255)))
			}
		}
		flood()
		passes(t, p, secret)
		time.Sleep(6 * time.Minute) // past the TTL
		flood()
		passes(t, p, secret)
		// A new one has to wait.
		e := refused(t, p, fresh, mcpauth.ErrUnavailable)
		time.Sleep(e.RetryAfter)
		passes(t, p, fresh)
	})
}

func TestWrongKeysPushOutNoGoodOnes(t *testing.T) {
	memory := &apikey.Memory{}
	store := &counted{Store: memory}
	p := newProvider(t, apikey.Config{Store: store, WrongKeys: apikey.WrongKeys{Source: nowhere, InAll: apikey.Rate{Requests: 1e6, Per: time.Second}}})
	var keys []string
	for range 100 {
		key, _ := create(t, memory, apikey.Spec{})
		passes(t, p, key)
		keys = append(keys, key)
	}
	for range 20_000 {
		refused(t, p, stranger(t), mcpauth.ErrUnknownKey)
	}
	before := store.lookups.Load()
	for _, key := range keys {
		passes(t, p, key)
	}
	if n := store.lookups.Load() - before; n != 0 {
		t.Errorf("%d keys were pushed out", n)
	}
}

func TestGoodKeysAreBoundedInBytes(t *testing.T) {
	memory := &apikey.Memory{}
	p := newProvider(t, apikey.Config{Store: memory, Cache: apikey.Cache{MaxBytes: 1 << 20}, WrongKeys: apikey.WrongKeys{Source: nowhere, InAll: apikey.Rate{Requests: 1e6, Per: time.Second}}})
	for range 3_000 {
		key, _ := create(t, memory, apikey.Spec{})
		passes(t, p, key)
	}
	for start := time.Now(); ; runtime.Gosched() { // the cache does it in its own time
		if s := p.Stats(); s.Bytes <= 1<<20 && s.Evictions > 1_000 {
			break
		} else if time.Since(start) > 20*time.Second {
			t.Fatalf("%+v", s)
		}
	}
}

func TestSourcesOfWrongKeys(t *testing.T) {
	rate := apikey.Rate{Requests: 1, Per: time.Hour}
	for _, test := range []struct {
		name, first, second string
		same                bool
	}{
		{"one address, two ports", "192.0.2.1:1", "192.0.2.1:2", true},
		{"two addresses", "192.0.2.1:1", "192.0.2.2:1", false},
		{"one network of IPv6", "[2001:db8::1]:1", "[2001:db8::ffff:1]:1", true},
		{"two networks of IPv6", "[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false},
		{"IPv4 within IPv6", "192.0.2.1:1", "[::ffff:192.0.2.1]:1", true},
		{"IPv4 addresses within IPv6", "[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:1", false},
		{"not known", "", "", false},
		{"a socket", "@", "@", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newProvider(t, apikey.Config{Store: &apikey.Memory{}, WrongKeys: apikey.WrongKeys{BySource: rate}})
			if _, err := p.Authenticate(t.Context(), from(stranger(t), test.first)); !errors.Is(err, mcpauth.ErrUnknownKey) {
				t.Fatal(err)
			}
			_, err := p.Authenticate(t.Context(), from(stranger(t), test.second))
			if errors.Is(err, mcpauth.ErrRateLimited) != test.same {
				t.Error(err)
			}
		})
	}
}

// A lookup that has begun before a revocation, and ends after it, lets nobody in.
func TestRevocationOvertakesALookup(t *testing.T) {
	memory := &apikey.Memory{}
	secret, key := create(t, memory, apikey.Spec{})
	read, revoked := make(chan struct{}), make(chan struct{})
	var once sync.Once
	store := &slow{Memory: memory, after: func() {
		once.Do(func() {
			close(read)
			<-revoked
		})
	}}
	p := newProvider(t, apikey.Config{Store: store})
	result := make(chan error)
	go func() {
		_, err := p.Authenticate(context.Background(), bearer(secret))
		result <- err
	}()
	<-read
	if _, err := memory.Revoke(t.Context(), key.ID); err != nil {
		t.Fatal(err)
	}
	close(revoked)
	if err := <-result; !errors.Is(err, mcpauth.ErrRevoked) {
		t.Error(err)
	}
	refused(t, p, secret, mcpauth.ErrRevoked)
}

// slow is a store that takes its time to hand out what it has found.
type slow struct {
	*apikey.Memory
	after func()
}

func (s *slow) Lookup(ctx context.Context, h apikey.Hash) (*apikey.Key, error) {
	k, err := s.Memory.Lookup(ctx, h)
	s.after()
	return k, err
}

func TestRevocationsOfTheServer(t *testing.T) {
	list, err := revoke.Open(revoke.Config{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	memory := &apikey.Memory{}
	a, keyA := create(t, memory, apikey.Spec{})
	b, _ := create(t, memory, apikey.Spec{})
	p := newProvider(t, apikey.Config{Store: memory, Revocations: list})
	if p.Revocations() != list || newProvider(t, apikey.Config{Store: memory}).Revocations() != nil {
		t.Error("a gateway does not learn of the list")
	}
	passes(t, p, a)
	passes(t, p, b)
	if _, err := list.Revoke(t.Context(), revoke.Revocation{Kind: revoke.Token, Issuer: apikey.DefaultIssuer, TokenID: keyA.ID}); err != nil {
		t.Fatal(err)
	}
	refused(t, p, a, mcpauth.ErrRevoked)
	passes(t, p, b)
	if _, err := list.Revoke(t.Context(), revoke.Revocation{Kind: revoke.Block, Issuer: apikey.DefaultIssuer, UserID: "alice"}); err != nil {
		t.Fatal(err)
	}
	refused(t, p, b, mcpauth.ErrRevoked)
	if err := list.Lift(t.Context(), apikey.DefaultIssuer, "alice"); err != nil {
		t.Fatal(err)
	}
	passes(t, p, b)
}

func TestRequestsRaceWithChanges(t *testing.T) {
	memory := &apikey.Memory{}
	p := newProvider(t, apikey.Config{Store: memory, WrongKeys: apikey.WrongKeys{Source: nowhere, InAll: apikey.Rate{Requests: 1e6, Per: time.Second}}})
	var wg sync.WaitGroup
	for i := range 4 {
		user := fmt.Sprintf("user-%d", i)
		wg.Go(func() {
			for range 100 {
				secret, key := create(t, memory, apikey.Spec{UserID: user})
				var revoked atomic.Bool
				var readers sync.WaitGroup
				for range 3 {
					readers.Go(func() {
						for range 20 {
							before := revoked.Load()
							id, err := p.Authenticate(context.Background(), bearer(secret))
							if err == nil && (before || id.UserID() != user) {
								t.Errorf("passes as %v, revoked: %v", id, before)
							}
						}
					})
				}
				if _, err := memory.Revoke(context.Background(), key.ID); err != nil {
					t.Error(err)
				}
				revoked.Store(true)
				readers.Wait()
			}
		})
	}
	wg.Wait()
}

// failing is a store that does not take uses.
type failing struct {
	*apikey.Memory
	err atomic.Pointer[error]
}

func (f *failing) RecordUses(ctx context.Context, uses []apikey.Use) error {
	if err := f.err.Load(); err != nil {
		return *err
	}
	return f.Memory.RecordUses(ctx, uses)
}

func TestUsesThatCannotBeWrittenAreTriedAgainAndHoldUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &failing{Memory: &apikey.Memory{}}
		store.err.Store(&errDown)
		var log bytes.Buffer
		p := newProvider(t, apikey.Config{Store: store, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := p.Start(t.Context()); err == nil {
			t.Error("starts twice")
		}
		secret, key := create(t, store.Memory, apikey.Spec{})
		used := time.Now()
		passes(t, p, secret)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if s := p.Stats(); s.PendingUses != 1 {
			t.Errorf("%+v", s)
		}
		if n := strings.Count(log.String(), "uses of API keys not written down"); n != 1 {
			t.Errorf("logged %d times:\n%s", n, &log)
		}
		if strings.Contains(log.String(), secret[3:]) {
			t.Error("the key is in the log")
		}
		store.err.Store(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if k, _ := store.Get(t.Context(), key.ID); !k.LastUsed.Equal(used) || p.Stats().PendingUses != 0 {
			t.Errorf("last used %s, want %s", k.LastUsed, used)
		}
		p.Close()
	})
}

// A key that has been looked up again is the same key.
func TestUsesAreNotedOnceAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := &apikey.Memory{}
		p := newProvider(t, apikey.Config{Store: memory, Cache: apikey.Cache{TTL: time.Second}, UseInterval: time.Hour})
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		secret, key := create(t, memory, apikey.Spec{})
		var last time.Time
		for range 100 {
			last = time.Now()
			passes(t, p, secret)
			time.Sleep(2 * time.Second)
		}
		if s := p.Stats(); s.PendingUses != 1 || s.Found != 100 {
			t.Errorf("%+v", s)
		}
		p.Close()
		if k, _ := memory.Get(t.Context(), key.ID); !k.LastUsed.Equal(last) {
			t.Errorf("last used %s, want %s", k.LastUsed, last)
		}
	})
}

func TestUsesThatNobodyTakesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &failing{Memory: &apikey.Memory{}}
		store.err.Store(&errDown)
		p := newProvider(t, apikey.Config{Store: store})
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		for i := range apikey.MaxUnsaved + 3 {
			p.Use(fmt.Sprint(i), now)
		}
		p.Use("0", now.Add(time.Second)) // has its place
		if s := p.Stats(); s.PendingUses != apikey.MaxUnsaved || s.LostUses != 3 {
			t.Errorf("%d pending, %d lost", s.PendingUses, s.LostUses)
		}
		time.Sleep(31 * time.Second) // which brings a try in vain
		synctest.Wait()
		p.Use("another", time.Now())
		if s := p.Stats(); s.PendingUses != apikey.MaxUnsaved || s.LostUses != 4 {
			t.Errorf("%d pending, %d lost", s.PendingUses, s.LostUses)
		}
		p.Close()
	})
}

func TestClosed(t *testing.T) {
	memory := &apikey.Memory{}
	secret, _ := create(t, memory, apikey.Spec{})
	p := newProvider(t, apikey.Config{Store: memory})
	passes(t, p, secret)
	for range 2 {
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if e := refused(t, p, secret, mcpauth.ErrUnavailable); e.Message != "The server is shutting down." {
		t.Errorf("says %q", e.Message)
	}
	if err := p.Start(t.Context()); err == nil {
		t.Error("starts after Close")
	}
	create(t, memory, apikey.Spec{}) // nobody is told
}

func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	store := &counted{Store: &apikey.Memory{}}
	asked := make(chan struct{})
	store.do(func(ctx context.Context) error {
		close(asked)
		return hang(ctx)
	})
	p := newProvider(t, apikey.Config{Store: store})
	result := make(chan error)
	go func() {
		_, err := p.Authenticate(t.Context(), bearer(stranger(t)))
		result <- err
	}()
	<-asked
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if e := mcpauth.AsError(<-result); e.Code != mcpauth.ErrUnavailable || e.Message != "The server is shutting down." {
		t.Errorf("it ends with %v", e)
	}
}

func TestMeasurements(t *testing.T) {
	memory := &apikey.Memory{}
	secret, _ := create(t, memory, apikey.Spec{})
	p := newProvider(t, apikey.Config{Store: memory})
	passes(t, p, secret)
	refused(t, p, stranger(t), mcpauth.ErrUnknownKey)
	got := map[string]float64{}
	for _, m := range p.Measure() {
		name := m.Name
		for _, v := range m.Labels {
			name += " " + v
		}
		got[name] = m.Value
	}
	if len(got) != 11 || got["mcpauth_apikey_lookups_total found"] != 1 || got["mcpauth_apikey_lookups_total unknown"] != 1 ||
		got["mcpauth_apikey_cache_entries accepted"] != 1 || got["mcpauth_apikey_cache_entries refused"] != 1 {
		t.Errorf("%v", got)
	}
}

func BenchmarkCached(b *testing.B) {
	memory := &apikey.Memory{}
	secret, _ := create(b, memory, apikey.Spec{})
	p := newProvider(b, apikey.Config{Store: memory})
	r := bearer(secret)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Authenticate(context.Background(), r); err != nil {
			b.Fatal(err)
		}
	}
}
