package chain_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/chain"
	"github.com/mcpauth-go/mcpauth/authn/env"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/revoke"
)

func TestTheFormOfTheCredentialDecides(t *testing.T) {
	sk, pat, all := prefixed("sk_"), prefixed("pat_"), &provider{name: "all"}
	c := newChain(t, keyed(), sk, pat, tokens(t, issuerName, ours), tokens(t, otherName, others), all)
	for _, test := range []struct {
		name   string
		header http.Header
		issuer string
		code   mcpauth.Code
	}{
		{"a header of its own", http.Header{"X-Api-Key": {"x"}}, "key", ""},
		{"a prefix", http.Header{"Authorization": {"Bearer sk_1"}}, "sk_", ""},
		{"another prefix", http.Header{"Authorization": {"bearer pat_1"}}, "pat_", ""},
		{"a token", bearer(token(issuerName, ours)).Header, issuerName, ""},
		{"a token of another issuer", bearer(token(otherName, others)).Header, otherName, ""},
		{"a token of an issuer that is nobody's", bearer(token("https://x.example", ours)).Header, "all", ""},
		{"something else", http.Header{"Authorization": {"Bearer opaque"}}, "all", ""},
		{"nothing", nil, "all", ""},
		{"a token of one issuer under the other's key", bearer(token(issuerName, others)).Header, "", mcpauth.ErrBadSignature},
		{"no token, in three segments", http.Header{"Authorization": {"Bearer a.b.c"}}, "", mcpauth.ErrMalformedToken},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got, issuer := code(t, c, &mcpauth.Request{Header: test.header}); got != test.code || issuer != test.issuer {
				t.Errorf("%q by %q, want %q by %q", got, issuer, test.code, test.issuer)
			}
		})
	}
}

func TestARefusalIsFinal(t *testing.T) {
	for _, refused := range []mcpauth.Code{
		mcpauth.ErrMissingCredential, mcpauth.ErrMalformedToken, mcpauth.ErrUnknownKey, mcpauth.ErrWrongIssuer, mcpauth.ErrExpired, mcpauth.ErrRevoked, mcpauth.ErrUnavailable,
	} {
		first, second, all := prefixed("sk_"), prefixed("sk_"), &provider{name: "all"}
		first.err = refusal(refused)
		c := newChain(t, first, second, all)
		if got, _ := code(t, c, bearer("sk_1")); got != refused || first.asked != 1 || second.asked+all.asked != 0 {
			t.Errorf("%s: refused with %q; asked %d, %d, %d", refused, got, first.asked, second.asked, all.asked)
		}
	}
}

func TestAnAnswerOfNothingIsHandedOnAsSuch(t *testing.T) {
	first, all := prefixed("sk_"), &provider{name: "all"}
	first.none = true
	id, err := newChain(t, first, all).Authenticate(context.Background(), bearer("sk_1"))
	if id != nil || err != nil || all.asked != 0 { // which mcpauth.Require answers with 503
		t.Errorf("%v, %v, another was asked %d times", id, err, all.asked)
	}
}

func TestWhatNobodyRecognizes(t *testing.T) {
	strict := func() selective {
		s := prefixed("sk_")
		s.err = refusal(mcpauth.ErrMalformedToken)
		return s
	}
	for _, test := range []struct {
		name   string
		header http.Header
		code   mcpauth.Code
		asked  int // the first one
	}{
		{"nothing", nil, mcpauth.ErrMissingCredential, 0},
		{"an empty header", http.Header{"Authorization": {""}}, mcpauth.ErrMissingCredential, 0},
		{"an empty key", http.Header{"X-Api-Key": {""}}, mcpauth.ErrMissingCredential, 0},
		{"other headers", http.Header{"Cookie": {"session=1"}, "X-User-Id": {"alice"}}, mcpauth.ErrMissingCredential, 0},
		{"a bearer token", http.Header{"Authorization": {"Bearer opaque"}}, mcpauth.ErrMalformedToken, 1},
		{"another scheme", http.Header{"Authorization": {"Basic x"}}, mcpauth.ErrMalformedToken, 1},
		{"two headers", http.Header{"Authorization": {"Bearer sk_1", "Bearer sk_1"}}, mcpauth.ErrMalformedToken, 1},
		{"two empty headers", http.Header{"Authorization": {"", ""}}, mcpauth.ErrMalformedToken, 1},
		{"a key that no provider is for", http.Header{"X-Api-Key": {"x"}}, mcpauth.ErrMalformedToken, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			first, second := strict(), prefixed("pat_")
			got, _ := code(t, newChain(t, first, second), &mcpauth.Request{Header: test.header})
			if got != test.code || first.asked != test.asked || second.asked != 0 {
				t.Errorf("%q, asked %d and %d", got, first.asked, second.asked)
			}
		})
	}
	t.Run("and the first would take", func(t *testing.T) {
		if got, issuer := code(t, newChain(t, prefixed("sk_"), prefixed("pat_")), bearer("opaque")); got != mcpauth.ErrMalformedToken || issuer != "" {
			t.Errorf("%q, by %q", got, issuer)
		}
	})
}

func TestARequestWithoutACredentialGetsABareChallenge(t *testing.T) {
	first := prefixed("sk_")
	first.err = refusal(mcpauth.ErrMalformedToken)
	for name, c := range map[string]mcpauth.Provider{
		"own":          newChain(t, first, keyed()),
		"of the first": newChain(t, tokens(t, issuerName, ours), keyed()),
		"of the last":  newChain(t, keyed(), unselective{tokens(t, issuerName, ours)}),
	} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			mcpauth.Require(c, mcpauth.Requirement{Logger: discard})(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest("POST", "/mcp", nil))
			if w.Code != 401 || w.Header().Get("WWW-Authenticate") != "Bearer" || !strings.Contains(w.Body.String(), "No authorization header provided") {
				t.Errorf("%d, %q, %s", w.Code, w.Header().Get("WWW-Authenticate"), w.Body)
			}
		})
	}
}

// unselective hides Recognizes.
type unselective struct{ mcpauth.Provider }

func TestTwoCredentialsAreRefused(t *testing.T) {
	key, sk, all := keyed(), prefixed("sk_"), &provider{name: "all"}
	c := newChain(t, key, sk, all)
	for _, header := range []http.Header{
		{"Authorization": {"Bearer sk_1"}, "X-Api-Key": {"sk_1"}},
		{"Authorization": {"Basic x"}, "X-Api-Key": {"sk_1"}},
		{"Authorization": {"", ""}, "X-Api-Key": {"sk_1"}},
		{"Authorization": {"Bearer sk_1"}, "X-Api-Key": {"", "x"}},
		{"Authorization": {"Bearer sk_1"}, "X-Api-Key": {" "}},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "/mcp", nil)
		r.Header = header
		mcpauth.Require(c, mcpauth.Requirement{Logger: discard})(http.NotFoundHandler()).ServeHTTP(w, r)
		if w.Code != 400 || !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), `Bearer error="invalid_request"`) {
			t.Errorf("%v: %d, %q", header, w.Code, w.Header().Get("WWW-Authenticate"))
		}
	}
	if key.asked+sk.asked+all.asked != 0 {
		t.Error("a provider was asked")
	}
	if got, _ := code(t, c, &mcpauth.Request{Header: http.Header{"Authorization": {"Bearer sk_1"}, "X-Api-Key": {""}}}); got != "" {
		t.Errorf("with an empty key: %q", got)
	}
}

func TestFaults(t *testing.T) {
	var none *provider
	twice := prefixed("sk_")
	list, other := openList(t), openList(t)
	refusing := func(l *revoke.List) mcpauth.Provider {
		return tokens(t, issuerName, ours, func(c *jwt.Config) {
			if l != nil {
				c.Revocations = l
			}
		})
	}
	same := refusing(nil)
	for _, test := range []struct {
		name      string
		providers []mcpauth.Provider
		want      string
	}{
		{"none", nil, "Providers"},
		{"a nil", []mcpauth.Provider{nil, prefixed("a")}, "Providers[0]"},
		{"a nil pointer", []mcpauth.Provider{prefixed("a"), none}, "Providers[1]"},
		{"two that do not say what they recognize", []mcpauth.Provider{&provider{}, prefixed("a"), &provider{}, &provider{}}, "Providers[0] Providers[2]"},
		{"one twice", []mcpauth.Provider{same, same}, "Providers[1]"},
		{"two lists", []mcpauth.Provider{refusing(list), refusing(other)}, "Providers[1]"},
		{"a list and none", []mcpauth.Provider{refusing(list), twice, refusing(nil)}, "Providers[2]"},
		{"none and a list", []mcpauth.Provider{refusing(nil), refusing(list)}, "Providers[1]"},
		{"a list that is nil", []mcpauth.Provider{listed{prefixed("a"), (*revoke.List)(nil)}, prefixed("b")}, "Providers[0]"},
		{"lists that cannot be compared", []mcpauth.Provider{listed{prefixed("a"), names{"x"}}, listed{prefixed("b"), names{"x"}}}, "Providers[1]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := chain.New(test.providers...)
			var faults *mcpauth.ConfigError
			if !errors.As(err, &faults) || faults.Package != "chain" || c != nil {
				t.Fatalf("%v, %v", c, err)
			}
			var got []string
			for _, f := range faults.Faults {
				got = append(got, f.Field)
				if f.Expected == "" {
					t.Errorf("nothing is expected: %v", f)
				}
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("faults of %q, want %q", got, test.want)
			}
		})
	}
}

// listed refuses by a list, or says so.
type listed struct {
	selective
	list mcpauth.Revocations
}

// names are a list of revocations that cannot be compared.
type names []string

func (names) Epoch() uint32                      { return 1 }
func (n names) Revoked(r mcpauth.Revocable) bool { return slices.Contains(n, r.TokenID) }

func (l listed) Revocations() mcpauth.Revocations { return l.list }

func openList(t testing.TB) *revoke.List {
	t.Helper()
	l, err := revoke.Open(revoke.Config{Logger: discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func block(t testing.TB, l *revoke.List, issuer string) {
	t.Helper()
	if _, err := l.Revoke(t.Context(), revoke.Revocation{Kind: revoke.Block, Issuer: issuer, UserID: "user-1"}); err != nil {
		t.Fatal(err)
	}
}

// A gateway leaves revocations to a provider that has the list. The chain sees
// to those of its providers that know of none.
func TestRevocationsHoldForAllProviders(t *testing.T) {
	l := openList(t)
	sk, all := prefixed("sk_"), &provider{name: "all"}
	c := newChain(t, sk, tokens(t, issuerName, ours, func(c *jwt.Config) { c.Revocations = l }), all)
	if own, ok := c.(mcpauth.Revoking); !ok || own.Revocations() != mcpauth.Revocations(l) {
		t.Error("the list is not that of the providers")
	}
	requests := map[string]*mcpauth.Request{"sk_": bearer("sk_1"), issuerName: bearer(token(issuerName, ours)), "all": bearer("opaque")}
	for issuer, r := range requests {
		if got, _ := code(t, c, r); got != "" {
			t.Errorf("%s: %q", issuer, got)
		}
		block(t, l, issuer)
		if got, _ := code(t, c, r); got != mcpauth.ErrRevoked {
			t.Errorf("%s, blocked: %q", issuer, got)
		}
		if err := l.Lift(t.Context(), issuer, "user-1"); err != nil {
			t.Fatal(err)
		}
		if got, _ := code(t, c, r); got != "" {
			t.Errorf("%s, no longer blocked: %q", issuer, got)
		}
	}
}

func TestWhatIsSaidByHavingAMethod(t *testing.T) {
	t.Setenv(env.Variable, "alice")
	developing := func() mcpauth.Provider {
		p, err := env.New(env.Config{Logger: discard})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, test := range []struct {
		name                  string
		providers             []mcpauth.Provider
		refusing, development bool
	}{
		{"neither", []mcpauth.Provider{prefixed("a"), prefixed("b")}, false, false},
		{"a provider with revocations, and no list", []mcpauth.Provider{prefixed("a"), tokens(t, issuerName, ours)}, true, false},
		{"a provider for development", []mcpauth.Provider{prefixed("a"), developing()}, false, true},
		{"both", []mcpauth.Provider{developing(), tokens(t, issuerName, ours)}, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newChain(t, test.providers...)
			own, refusing := c.(mcpauth.Revoking)
			_, development := c.(mcpauth.DevelopmentOnly)
			_, single := c.(mcpauth.SingleUser)
			if refusing != test.refusing || development != test.development || single {
				t.Errorf("refusing %v, development %v, single user %v", refusing, development, single)
			}
			if refusing && own.Revocations() != nil {
				t.Error("a list without any")
			}
		})
	}
}

// part is a provider with everything that one may have.
type part struct {
	selective
	log              *[]string
	failStart, fails error
}

func newPart(name string, log *[]string) *part {
	return &part{selective: prefixed(name), log: log}
}

func (p *part) Start(context.Context) error {
	*p.log = append(*p.log, "start "+p.name)
	return p.failStart
}

func (p *part) Close() error {
	*p.log = append(*p.log, "close "+p.name)
	return p.fails
}

func (p *part) Ready() error      { return p.fails }
func (p *part) Issuers() []string { return []string{"https://" + p.name, "https://common"} }
func (p *part) Measure() []mcpauth.Measurement {
	return []mcpauth.Measurement{{Name: "mcpauth_" + p.name, Value: 1}}
}

func TestLifecycle(t *testing.T) {
	broken := errors.New("broken")
	t.Run("in order, and back", func(t *testing.T) {
		var log []string
		c, err := chain.New(newPart("a", &log), prefixed("x"), newPart("b", &log), newPart("c", &log))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := c.Start(t.Context()); err == nil {
			t.Error("started twice")
		}
		if err := errors.Join(c.Close(), c.Close()); err != nil {
			t.Error(err)
		}
		if want := []string{"start a", "start b", "start c", "close c", "close b", "close a"}; !slices.Equal(log, want) {
			t.Errorf("%q, want %q", log, want)
		}
		if err := c.Start(t.Context()); err == nil {
			t.Error("started after Close")
		}
		for _, r := range []*mcpauth.Request{bearer("a"), bearer("x"), {}} {
			if got, _ := code(t, c, r); got != mcpauth.ErrUnavailable {
				t.Errorf("after Close: %q", got)
			}
		}
		if c.Ready() == nil {
			t.Error("ready after Close")
		}
	})
	t.Run("closed without a start", func(t *testing.T) {
		var log []string
		c, err := chain.New(newPart("a", &log), newPart("b", &log))
		if err = errors.Join(err, c.Close()); err != nil {
			t.Fatal(err)
		}
		if want := []string{"close b", "close a"}; !slices.Equal(log, want) {
			t.Errorf("%q, want %q", log, want)
		}
	})
	t.Run("one does not start", func(t *testing.T) {
		var log []string
		a, b, c := newPart("a", &log), newPart("b", &log), newPart("c", &log)
		b.failStart, a.fails = broken, errors.New("stuck")
		all, err := chain.New(a, b, c)
		if err != nil {
			t.Fatal(err)
		}
		if err := all.Start(t.Context()); !errors.Is(err, broken) || !errors.Is(err, a.fails) {
			t.Errorf("Start = %v", err)
		}
		if err := all.Close(); err != nil {
			t.Error(err)
		}
		if want := []string{"start a", "start b", "close c", "close b", "close a"}; !slices.Equal(log, want) {
			t.Errorf("%q, want %q", log, want)
		}
		if got, _ := code(t, all, bearer("a")); got != mcpauth.ErrUnavailable {
			t.Errorf("answers with %q", got)
		}
	})
	t.Run("all failures of Close", func(t *testing.T) {
		var log []string
		a, b := newPart("a", &log), newPart("b", &log)
		a.fails, b.fails = broken, errors.New("stuck")
		c, err := chain.New(a, b)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); !errors.Is(err, broken) || !errors.Is(err, b.fails) || len(log) != 2 {
			t.Errorf("Close = %v, %q", err, log)
		}
	})
}

func TestWhatTheProvidersSayIsPutTogether(t *testing.T) {
	var log []string
	a, b := newPart("a", &log), newPart("b", &log)
	c := newChain(t, a, prefixed("x"), b)
	if got, want := c.Issuers(), []string{"https://a", "https://common", "https://b"}; !slices.Equal(got, want) {
		t.Errorf("Issuers = %q, want %q", got, want)
	}
	if got, want := c.Measure(), append(a.Measure(), b.Measure()...); !reflect.DeepEqual(got, want) {
		t.Errorf("Measure = %v, want %v", got, want)
	}
	if err := c.Ready(); err != nil {
		t.Errorf("Ready = %v", err)
	}
	a.fails, b.fails = errors.New("no keys"), errors.New("no database")
	if err := c.Ready(); !errors.Is(err, a.fails) || !errors.Is(err, b.fails) {
		t.Errorf("Ready = %v", err)
	}
	if bare := newChain(t, prefixed("x")); bare.Issuers() != nil || bare.Measure() != nil || bare.Ready() != nil {
		t.Error("something of nothing")
	}
}

func TestTheSliceOfTheCallerIsItsOwn(t *testing.T) {
	providers := []mcpauth.Provider{prefixed("sk_"), prefixed("pat_")}
	c := newChain(t, providers...)
	providers[0] = &provider{name: "another"}
	if _, issuer := code(t, c, bearer("sk_1")); issuer != "sk_" {
		t.Errorf("answered by %q", issuer)
	}
}

// raced says that the race detector is on, with which a sync.Pool forgets: that
// of the first provider of tokens, which looks into the other's.
var raced bool

func TestHitsCostNoAllocation(t *testing.T) {
	for _, list := range []*revoke.List{nil, openList(t)} {
		with := func(c *jwt.Config) {
			if list != nil {
				c.Revocations = list
			}
		}
		c := newChain(t, keyed(), prefixed("sk_"), tokens(t, otherName, others, with), tokens(t, issuerName, ours, with), &provider{name: "all"})
		for i, r := range []*mcpauth.Request{bearer(token(otherName, others)), bearer(token(issuerName, ours))} {
			authenticate := func() {
				if _, err := c.Authenticate(context.Background(), r); err != nil {
					t.Fatal(err)
				}
			}
			authenticate()
			if n := testing.AllocsPerRun(200, authenticate); n != 0 && (i == 0 || !raced) {
				t.Errorf("with a list %v: %v allocations", list != nil, n)
			}
		}
	}
}

func BenchmarkCached(b *testing.B) {
	r := bearer(token(issuerName, ours))
	alone := tokens(b, issuerName, ours)
	for name, p := range map[string]mcpauth.Provider{
		"without a chain": alone,
		"second of three": newChain(b, prefixed("sk_"), tokens(b, issuerName, ours), &provider{name: "all"}),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Authenticate(context.Background(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// FuzzRequest: at most one provider is asked, the first that recognizes the
// request, and nobody passes who has sent two credentials.
func FuzzRequest(f *testing.F) {
	good := token(issuerName, ours)
	for _, seed := range [][2]string{{"", ""}, {"Bearer sk_1", ""}, {"", "k"}, {"Bearer " + good, ""}, {"Bearer " + good, "k"}, {"bearer a.b.c", ""}, {"Basic x", ""}, {"Bearer opaque", ""}, {"Bearer sk_1 a.b.c", ""}} {
		f.Add(seed[0], seed[1], false, false)
		f.Add(seed[0], seed[1], true, true)
	}
	real := tokens(f, issuerName, ours)
	f.Fuzz(func(t *testing.T, authorization, key string, twice, twiceKey bool) {
		header := http.Header{}
		for name, value := range map[string]string{"Authorization": authorization, "X-Api-Key": key} {
			if value != "" {
				header[name] = []string{value}
			}
		}
		if twice {
			header["Authorization"] = append(header["Authorization"], authorization)
		}
		if twiceKey {
			header["X-Api-Key"] = append(header["X-Api-Key"], key)
		}
		asked := []*provider{{name: "key"}, {name: "sk_"}, {name: "jwt"}}
		all := []selective{keyed(), prefixed("sk_"), {nil, real.Recognizes}}
		want := -1
		r := &mcpauth.Request{Header: header}
		for i := range all {
			all[i].provider = asked[i]
			if want < 0 && all[i].Recognizes(r) {
				want = i
			}
		}
		c, err := chain.New(all[0], all[1], all[2])
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		refused, issuer := code(t, c, r)
		sum := asked[0].asked + asked[1].asked + asked[2].asked
		switch {
		case authorization != "" && key != "":
			if refused != mcpauth.ErrMalformedHeader || sum != 0 {
				t.Errorf("two credentials: %q by %q, asked %d", refused, issuer, sum)
			}
		case want >= 0 && refused == "":
			if issuer != asked[want].name || sum != 1 {
				t.Errorf("by %q, asked %d, want %q", issuer, sum, asked[want].name)
			}
		case refused == "" || sum > 1:
			t.Errorf("%q by %q, asked %d", refused, issuer, sum)
		}
	})
}

func ExampleNew() {
	keys := prefixed("sk_") // such as one of package apikey
	tokens := prefixed("eyJ")
	introspection := &provider{name: "https://issuer.example"} // takes every bearer token, so it is the last

	provider, err := chain.New(keys, tokens, introspection)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer provider.Close()

	id, err := provider.Authenticate(context.Background(), bearer("sk_0123456789"))
	fmt.Println(id, err)
	// Output: "user-1" of "sk_" <nil>
}
