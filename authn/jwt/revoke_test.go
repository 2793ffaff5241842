package jwt_test

import (
	"context"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
	"github.com/mcpauth-go/mcpauth/revoke"
)

// revocations returns an empty list.
func revocations(t testing.TB) *revoke.List {
	t.Helper()
	l, err := revoke.Open(revoke.Config{Logger: discard, MaxEntries: 2_000_000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// put revokes r, of issuerName unless it says otherwise.
func put(t testing.TB, l *revoke.List, rs ...revoke.Revocation) {
	t.Helper()
	for i := range rs {
		if rs[i].Issuer == "" {
			rs[i].Issuer = issuerName
		}
	}
	if _, err := l.Revoke(t.Context(), rs...); err != nil {
		t.Fatal(err)
	}
}

// guarded is a provider that refuses by l.
func guardedBy(t testing.TB, l *revoke.List, change ...func(*jwt.Config)) *jwt.Provider {
	t.Helper()
	c := only(signedBy(issuerName, ours))
	c.Issuers = append(c.Issuers, signedBy(otherName, others))
	c.Revocations = l
	for _, f := range change {
		f(&c)
	}
	return newProvider(t, c)
}

func named(user, jti, sid string) string {
	return good("userId", fmt.Sprintf("%q", user), "jti", fmt.Sprintf("%q", jti), "sid", fmt.Sprintf("%q", sid))
}

func TestRevocationsTakeEffectAtOnceAndOnNobodyElse(t *testing.T) {
	const message = "The token has been revoked. Please sign in again."
	for _, test := range []struct {
		name    string
		revoked revoke.Revocation
	}{
		{"the token", revoke.Revocation{Kind: revoke.Token, TokenID: "t1"}},
		{"its session", revoke.Revocation{Kind: revoke.Session, SessionID: "s1"}},
		{"its user, up to now", revoke.Revocation{Kind: revoke.User, UserID: "alice"}},
		{"its user, altogether", revoke.Revocation{Kind: revoke.Block, UserID: "alice"}},
	} {
		for mode, change := range map[string]func(*jwt.Config){
			"cached":     func(*jwt.Config) {},
			"not cached": func(c *jwt.Config) { c.Cache.Off = true },
		} {
			t.Run(test.name+", "+mode, func(t *testing.T) {
				l := revocations(t)
				p := guardedBy(t, l, change)
				token, bobs := named("alice", "t1", "s1"), named("bob", "t2", "s2")
				namesake := others.Token(others.Header(), claims("iss", fmt.Sprintf("%q", otherName), "userId", `"alice"`, "jti", `"t1"`, "sid", `"s1"`))
				for _, token := range []string{token, bobs, namesake} {
					passes(t, p, token)
				}
				put(t, l, test.revoked)
				for range 2 {
					refused(t, p, token, mcpauth.ErrRevoked, message)
					passes(t, p, bobs)
					passes(t, p, namesake)
				}
				if got := forwarded(p, issuerName, "alice"); got != "" {
					t.Error("a revoked token is forwarded")
				}
				if forwarded(p, issuerName, "bob") != bobs {
					t.Error("another's is not forwarded")
				}
			})
		}
	}
}

func TestABlockOutlastsARefreshAndEndsAtOnce(t *testing.T) {
	l := revocations(t)
	p := guardedBy(t, l)
	old := named("alice", "t1", "s1")
	passes(t, p, old)
	put(t, l, revoke.Revocation{Kind: revoke.Block, UserID: "alice"})
	refreshed := named("alice", "t2", "s2")
	later := good("userId", `"alice"`, "iat", in(30*time.Second))
	for _, token := range []string{old, refreshed, later} {
		refused(t, p, token, mcpauth.ErrRevoked)
		refused(t, p, token, mcpauth.ErrRevoked) // as it is remembered
	}
	if err := l.Lift(t.Context(), issuerName, "alice"); err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{old, refreshed, later} {
		passes(t, p, token)
	}
	if forwarded(p, issuerName, "alice") == "" {
		t.Error("after the block nothing is forwarded")
	}
}

func TestRevokedUpToATime(t *testing.T) {
	l := revocations(t)
	p := guardedBy(t, l)
	now := time.Now()
	at := func(seconds int64) string {
		return good("userId", `"alice"`, "iat", fmt.Sprint(now.Unix()-100+seconds))
	}
	put(t, l, revoke.Revocation{Kind: revoke.User, UserID: "alice", Before: time.Unix(now.Unix()-100, 0)})
	refused(t, p, at(-1), mcpauth.ErrRevoked)
	refused(t, p, at(60), mcpauth.ErrRevoked) // the skew
	passes(t, p, at(61))
	passes(t, p, at(100))
	refused(t, p, good("userId", `"alice"`, "iat", ""), mcpauth.ErrRevoked) // who knows when
}

func TestWhatNamesAToken(t *testing.T) {
	sum := func(token string) string {
		sum := sha256.Sum256([]byte(token[:strings.LastIndex(token, ".")]))
		return "sha256:" + hex.EncodeToString(sum[:])
	}
	plain, empty, other := good("jti", ""), good("jti", `""`), good("jti", `"t1"`)
	for _, test := range []struct {
		name, claim, sid, token, id, session string
	}{
		{"jti and sid", "", "", named("u", "t1", "s1"), "t1", "s1"},
		{"no jti: what is signed", "", "", plain, sum(plain), ""},
		{"an empty one", "", "", empty, sum(empty), ""},
		{"a claim of the issuer's", "uti", "sess", good("uti", `"u1"`, "jti", `"t1"`, "sess", `"x"`, "sid", `"s1"`), "u1", "x"},
		{"that is missing, with a jti", "uti", "", other, sum(other), ""},
		{"escapes", "", "", good("jti", `"t\u0031"`), "t1", ""},
		{"no session", "", "", good("jti", `"t1"`, "sid", "null"), "t1", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			iss := signedBy(issuerName, ours)
			iss.TokenIDClaim, iss.SessionIDClaim = test.claim, test.sid
			r := passes(t, newProvider(t, only(iss)), test.token).Revocable()
			if r.TokenID != test.id || r.SessionID != test.session || r.Issuer != issuerName || r.UserID == "" || r.IssuedAt.IsZero() {
				t.Errorf("%+v", r)
			}
			name, id, err := jwt.TokenID(test.token, test.claim)
			if name != issuerName || id != test.id || err != nil {
				t.Errorf("TokenID: %q, %q, %v", name, id, err)
			}
		})
	}
	for name, token := range map[string]string{"no string": good("jti", "7"), "null": good("jti", "null"), "a session that is no string": good("sid", "7")} {
		refused(t, provider(t), token, mcpauth.ErrMalformedToken)
		if _, _, err := jwt.TokenID(token, ""); err == nil && !strings.Contains(name, "session") {
			t.Errorf("%s: an id", name)
		}
	}
	if _, _, err := jwt.TokenID("not.a.token!", ""); err == nil || strings.Contains(err.Error(), "token!") {
		t.Errorf("%v", err)
	}
}

// Whoever has a token can write its signature in another way, and must not get
// a token by it that the revocation does not name.
func TestTwinsOfARevokedTokenStayRevoked(t *testing.T) {
	for _, alg := range []string{"ES256", "ES384", "ES512"} {
		for _, jti := range []string{`"t1"`, ""} {
			key := tokentest.KeyFor(alg)
			c := only(signedBy(issuerName, key))
			l := revocations(t)
			c.Revocations = l
			p := newProvider(t, c)
			token := key.Token(key.Header(), claims("jti", jti))
			input, signature, _ := cutLast(token)
			raw := []byte(tokentest.Decode(signature))
			half := len(raw) / 2
			order := map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()}[alg].Params().N
			s := new(big.Int).Sub(order, new(big.Int).SetBytes(raw[half:]))
			twin := input + "." + tokentest.Encode(string(append(raw[:half:half], s.FillBytes(make([]byte, half))...)))
			passes(t, p, token)
			passes(t, p, twin)
			_, id, err := jwt.TokenID(token, "")
			if err != nil {
				t.Fatal(err)
			}
			put(t, l, revoke.Revocation{Kind: revoke.Token, TokenID: id})
			refused(t, p, token, mcpauth.ErrRevoked)
			refused(t, p, twin, mcpauth.ErrRevoked)
			for name, twin := range map[string]string{
				"spare bits": token[:len(token)-1] + spareBit(token[len(token)-1]),
				"padding":    token + "=",
				"line break": token + "\n",
				"more space": tokentest.Encode(" "+tokentest.Decode(strings.SplitN(token, ".", 2)[0])) + token[strings.Index(token, "."):],
			} {
				if _, err := verify(p, twin); err == nil {
					t.Errorf("%s, jti %s: %s passes", alg, jti, name)
				}
			}
		}
	}
}

func cutLast(token string) (input, signature string, ok bool) {
	i := strings.LastIndex(token, ".")
	return token[:i], token[i+1:], true
}

func TestForwardingPrefersWhatIsNotRevoked(t *testing.T) {
	l := revocations(t)
	p := guardedBy(t, l, func(c *jwt.Config) { c.Cache.Off = true })
	long := good("userId", `"alice"`, "jti", `"long"`, "exp", in(2*time.Hour))
	short := good("userId", `"alice"`, "jti", `"short"`, "exp", in(time.Hour))
	passes(t, p, long)
	passes(t, p, short)
	if forwarded(p, issuerName, "alice") != long {
		t.Fatal("not the one that ends last")
	}
	put(t, l, revoke.Revocation{Kind: revoke.Token, TokenID: "long"})
	if got := forwarded(p, issuerName, "alice"); got != "" {
		t.Fatal("a revoked one")
	}
	passes(t, p, short)
	refused(t, p, long, mcpauth.ErrRevoked)
	if forwarded(p, issuerName, "alice") != short {
		t.Fatal("not the one that is left")
	}
}

func TestRevocationsAndRequestsAtOnce(t *testing.T) {
	l := revocations(t)
	p := guardedBy(t, l)
	const users = 50
	var (
		wait  sync.WaitGroup
		asked [users]string
	)
	for i := range users {
		asked[i] = named(fmt.Sprintf("u%d", i), fmt.Sprintf("t%d", i), "s")
	}
	stop := make(chan struct{})
	for range 4 {
		wait.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := verify(p, asked[i%users]); err != nil && !errors.Is(err, mcpauth.ErrRevoked) {
					t.Error(err)
				}
			}
		})
	}
	for i := range users {
		r := revoke.Revocation{Kind: revoke.Token, TokenID: fmt.Sprintf("t%d", i)}
		if i%2 == 0 {
			r = revoke.Revocation{Kind: revoke.Block, UserID: fmt.Sprintf("u%d", i)}
		}
		put(t, l, r)
		refused(t, p, asked[i], mcpauth.ErrRevoked)
	}
	close(stop)
	wait.Wait()
	for i := range users {
		refused(t, p, asked[i], mcpauth.ErrRevoked)
	}
}

func TestLifetimesForTheList(t *testing.T) {
	bounded := signedBy(issuerName, ours)
	bounded.MaxLifetime, bounded.ClockTolerance = time.Hour, 5*time.Minute
	c := jwt.Config{Issuers: []jwt.Issuer{bounded, signedBy(otherName, others)}}
	for _, test := range []struct {
		issuer  string
		longest time.Duration
		known   bool
	}{
		{issuerName, time.Hour + 5*time.Minute, true}, // a token may say that it is from the future
		{otherName, 0, true},
		{"https://nobody.example", 0, false},
	} {
		if longest, known := c.Lifetime(test.issuer); longest != test.longest || known != test.known {
			t.Errorf("%s: %s, %v", test.issuer, longest, known)
		}
	}
}

func TestFaultsOfRevocations(t *testing.T) {
	iss := signedBy(issuerName, ours)
	for _, test := range []struct{ id, session, want string }{
		{"sub", "", "Issuers[0].TokenIDClaim"},
		{"userId", "", "Issuers[0].TokenIDClaim"},
		{"exp", "", "Issuers[0].TokenIDClaim"},
		{"sid", "", "Issuers[0].SessionIDClaim"},
		{" uti", "", "Issuers[0].TokenIDClaim"},
		{"", "jti", "Issuers[0].SessionIDClaim"},
		{"uti", "jti", "Issuers[0].SessionIDClaim"},
		{"", "aud", "Issuers[0].SessionIDClaim"},
	} {
		iss.TokenIDClaim, iss.SessionIDClaim = test.id, test.session
		if got := fields(faults(t, only(iss))); len(got) != 1 || got[0] != test.want {
			t.Errorf("%q, %q: faults of %q", test.id, test.session, got)
		}
	}
	var none *revoke.List
	c := only(signedBy(issuerName, ours))
	c.Revocations = none
	if got := fields(faults(t, c)); len(got) != 1 || got[0] != "Revocations" {
		t.Errorf("a nil list: faults of %q", got)
	}
	if p := provider(t); p.Revocations() != nil {
		t.Error("a list without any")
	}
	l := revocations(t)
	if p := guardedBy(t, l); p.Revocations() != any(l) {
		t.Error("another list")
	}
}

// crowded returns a list with n revocations of others.
func crowded(t testing.TB, n int) *revoke.List {
	t.Helper()
	l := revocations(t)
	const part = 100_000
	for i := 0; i < n; {
		var rs []revoke.Revocation
		for ; i < n && len(rs) < part; i++ {
			rs = append(rs, revoke.Revocation{Kind: revoke.Token, TokenID: fmt.Sprintf("3f2b9c1e-7a4d-4e0b-9d55-%012x", i)})
		}
		put(t, l, rs...)
	}
	put(t, l, revoke.Revocation{Kind: revoke.Block, UserID: "b"}, revoke.Revocation{Kind: revoke.User, UserID: "u"}, revoke.Revocation{Kind: revoke.Session, SessionID: "s"})
	return l
}

func request(token string) *mcpauth.Request {
	return &mcpauth.Request{Header: http.Header{"Authorization": {"Bearer " + token}}}
}

func TestHitsCostNoAllocationWhateverIsRevoked(t *testing.T) {
	p := guardedBy(t, crowded(t, 10_000))
	r := request(named("alice", "t1", "s1"))
	authenticate := func() {
		if _, err := p.Authenticate(context.Background(), r); err != nil {
			t.Fatal(err)
		}
	}
	authenticate()
	if n := testing.AllocsPerRun(200, authenticate); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCachedWithRevocations(b *testing.B) {
	for _, n := range []int{-1, 0, 1_000_000} {
		name := fmt.Sprintf("revoked=%d", n)
		p := provider(b)
		if n < 0 {
			name = "no list"
		} else {
			p = guardedBy(b, crowded(b, n))
		}
		r := request(named("alice", "t1", "s1"))
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Authenticate(context.Background(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/first after a revocation", func(b *testing.B) {
			if n < 0 {
				b.Skip("no list")
			}
			i := 0
			l := p.Revocations().(*revoke.List)
			for b.Loop() {
				b.StopTimer()
				i++
				put(b, l, revoke.Revocation{Kind: revoke.Block, UserID: fmt.Sprint("x", i%1000)})
				b.StartTimer()
				if _, err := p.Authenticate(context.Background(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
