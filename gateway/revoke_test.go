package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/admin"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
	"github.com/mcpauth-go/mcpauth/limit"
	"github.com/mcpauth-go/mcpauth/revoke"
)

const revokingIssuer = "https://issuer.example"

func openList(t *testing.T, c revoke.Config) *revoke.List {
	t.Helper()
	c.Logger = slog.New(slog.DiscardHandler)
	l, err := revoke.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func put(t *testing.T, l *revoke.List, r revoke.Revocation) {
	t.Helper()
	r.Issuer = revokingIssuer
	if _, err := l.Revoke(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

// holding makes servers with a tool, "hold", that lasts until the test proceeds
// or its context ends, and another, "stubborn", that lasts until the test
// proceeds whatever its context says.
type holding struct {
	gatewaytest.Factory
	began     chan string // the users of calls, when they begin
	cancelled chan string // and when their context ends
	proceed   chan struct{}
}

func newHolding() *holding {
	f := &holding{began: make(chan string, 100), cancelled: make(chan string, 100), proceed: make(chan struct{})}
	f.Setup = func(server *mcp.Server, _ gateway.Call) {
		gatewaytest.AddTool(server, "hold", func(ctx context.Context, _ *mcp.CallToolRequest) (string, error) {
			user := mcpauth.FromContext(ctx).UserID()
			f.began <- user
			select {
			case <-f.proceed:
				return "held for " + user, nil
			case <-ctx.Done():
				f.cancelled <- user
				return "", ctx.Err()
			}
		})
		gatewaytest.AddTool(server, "stubborn", func(ctx context.Context, _ *mcp.CallToolRequest) (string, error) {
			f.began <- mcpauth.FromContext(ctx).UserID()
			<-f.proceed
			return "confidential", nil
		})
	}
	return f
}

// busy is a user with something of every kind going on.
type busy struct {
	user, token, session string
	streams              int
	ended                chan string // names of streams that have ended
	answers              chan gatewaytest.Answer
}

// calls is how many calls a busy user has running, and how many of them are
// answered over a connection of their own.
const (
	busyCalls    = 4
	busyAnswered = 2
)

func (f *holding) busy(t *testing.T, s *gatewaytest.Server, user string, claims map[string]any) *busy {
	t.Helper()
	return f.busyWith(t, s, user, s.Token(t, user, claims))
}

// busyWith is busy with a credential of any kind.
func (f *holding) busyWith(t *testing.T, s *gatewaytest.Server, user, token string) *busy {
	t.Helper()
	b := &busy{user: user, token: token, ended: make(chan string, 10), answers: make(chan gatewaytest.Answer, 10)}
	b.session = s.Open(t, b.token, gatewaytest.Legacy)
	sse := openedSSE(t, s, b.token)
	var reading sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		sse.leave()
		reading.Wait()
	})
	read := func(name string, body io.ReadCloser) {
		b.streams++
		reading.Go(func() {
			defer body.Close()
			_, err := io.Copy(io.Discard, body)
			b.ended <- fmt.Sprintf("%s: %v", name, err)
		})
	}
	for name, r := range map[string]gatewaytest.Request{
		"GET": {Method: http.MethodGet, Token: b.token, Session: b.session, Version: gatewaytest.Legacy},
		"subscriptions/listen": {
			Token: b.token, Version: gatewaytest.Modern, Header: headers{"Mcp-Method": {"subscriptions/listen"}},
			Body: gatewaytest.Message(1, "subscriptions/listen", gatewaytest.ModernParams(gatewaytest.Modern, `{"notifications":{"toolsListChanged":true}}`)),
		},
	} {
		resp, err := s.Begin(ctx, r)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v, %v", name, resp, err)
		}
		read(name, resp.Body)
	}
	b.streams++
	reading.Go(func() {
		for {
			if _, _, err := sse.next(); err != nil {
				b.ended <- fmt.Sprintf("HTTP+SSE: %v", err)
				return
			}
		}
	})
	inSession := gatewaytest.Request{Token: b.token, Session: b.session, Version: gatewaytest.Legacy, Body: gatewaytest.CallTool(71, "hold", "{}")}
	for _, r := range []gatewaytest.Request{inSession, gatewaytest.ModernCall(b.token, 71, "hold", "{}")} {
		reading.Go(func() {
			if a, err := s.Try(ctx, r); err == nil {
				b.answers <- a
			}
		})
	}
	sse.post(t, http.StatusAccepted, gatewaytest.CallTool(71, "hold", "{}"))
	// One whose client has left.
	leaving, leave := context.WithCancel(ctx)
	left := make(chan struct{})
	inSession.Body = gatewaytest.CallTool(8, "hold", "{}")
	go func() {
		defer close(left)
		s.Try(leaving, inSession)
	}()
	for range busyCalls {
		gatewaytest.Receive(t, "the calls of "+user+" to begin", f.began)
	}
	leave()
	<-left
	return b
}

// quiet reports what has ended that should not.
func (b *busy) quiet(t *testing.T) {
	t.Helper()
	for len(b.ended) > 0 {
		t.Errorf("%s: %s", b.user, <-b.ended)
	}
	for len(b.answers) > 0 {
		a := <-b.answers
		t.Errorf("%s: a call is answered %d %s", b.user, a.Status, a.Body)
	}
}

func whoami(token, session string) gatewaytest.Request { return whoamiIn(token, session) }

// isRevoked reports a request that is not refused as one with a revoked token.
func isRevoked(t *testing.T, s *gatewaytest.Server, r gatewaytest.Request) {
	t.Helper()
	a := s.Do(t, r)
	if challenge := a.Header.Get("WWW-Authenticate"); a.Status != http.StatusUnauthorized || !strings.Contains(a.Body, `"invalid_token"`) ||
		!strings.Contains(a.Body, "revoked. Please sign in again.") || !strings.HasPrefix(challenge, `Bearer error="invalid_token"`) {
		t.Errorf("%d %s %s", a.Status, challenge, a.Body)
	}
}

// endsAloneOf waits for everything of alice's to end, and fails the test if anything of
// bob's does, whose calls are then let go.
func (f *holding) endsAloneOf(t *testing.T, s *gatewaytest.Server, alice, bob *busy) {
	t.Helper()
	for range alice.streams {
		if got := gatewaytest.Receive(t, "alice's streams to end", alice.ended); !strings.HasSuffix(got, ": <nil>") && !strings.HasSuffix(got, ": EOF") {
			t.Error(got)
		}
	}
	for range busyCalls {
		if got := gatewaytest.Receive(t, "alice's calls to be cancelled", f.cancelled); got != "alice" {
			t.Errorf("a call of %s is cancelled", got)
		}
	}
	for range busyAnswered {
		if a := gatewaytest.Receive(t, "alice's calls to be answered", alice.answers); a.Status == http.StatusOK && strings.Contains(a.Body, "result") {
			t.Errorf("a call is answered %s", a.Body)
		}
	}
	gatewaytest.Eventually(t, "nothing of alice's is alive", func() bool {
		now := s.Stats()
		return now.Sessions == 2 && now.Streams == 3 && now.Alive.PerSession == 2 && now.Alive.PerUser == 1
	})
	bob.quiet(t)
	if len(f.cancelled) > 0 {
		t.Errorf("a call of %s is cancelled", <-f.cancelled)
	}
	close(f.proceed)
	for range busyAnswered {
		if a := gatewaytest.Receive(t, "bob's answers", bob.answers); a.Text() != "held for bob" {
			t.Errorf("bob's call is answered %d %s", a.Status, a.Body)
		}
	}
	if a := s.Do(t, whoami(bob.token, bob.session)); a.Status != http.StatusOK {
		t.Errorf("bob: %d %s", a.Status, a.Body)
	}
	if len(bob.ended) > 0 {
		t.Errorf("bob: %s", <-bob.ended)
	}
}

func TestRevocationEndsEverythingOfItsUserAndNothingElse(t *testing.T) {
	for _, test := range []struct {
		name    string
		revoked revoke.Revocation
	}{
		{"user", revoke.Revocation{Kind: revoke.User, UserID: "alice"}},
		{"block", revoke.Revocation{Kind: revoke.Block, UserID: "alice"}},
		{"token", revoke.Revocation{Kind: revoke.Token, TokenID: "t-alice"}},
		{"session of the issuer", revoke.Revocation{Kind: revoke.Session, SessionID: "s-alice"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newHolding()
			l := openList(t, revoke.Config{})
			log := &gatewaytest.Log{}
			s := gatewaytest.Start(t, gateway.Config{Factory: f.Make, LegacySSE: true, UserRate: limit.Off, Revocations: l,
				Logger: slog.New(slog.NewJSONHandler(log, nil))})
			alice := f.busy(t, s, "alice", map[string]any{"jti": "t-alice", "sid": "s-alice"})
			bob := f.busy(t, s, "bob", map[string]any{"jti": "t-bob", "sid": "s-bob"})
			bystanders := s.Stats()
			if bystanders.Sessions != 4 || bystanders.Streams != 6 {
				t.Fatalf("%+v", bystanders)
			}
			put(t, l, test.revoked)

			// At once: without a wait.
			for range 3 {
				isRevoked(t, s, whoami(alice.token, ""))
				isRevoked(t, s, whoami(alice.token, alice.session))
			}
			isRevoked(t, s, gatewaytest.Request{Method: http.MethodGet, Path: "/mcp/sse", Token: alice.token})
			f.endsAloneOf(t, s, alice, bob)
			if text := log.String(); !strings.Contains(text, `"msg":"ended by a revocation","requests":5,"sessions":2`) || !strings.Contains(text, `"code":"revoked"`) {
				t.Errorf("the log has no word of it: %s", text)
			}
		})
	}
}

func TestOtherTokensOfTheUser(t *testing.T) {
	f := newHolding()
	l := openList(t, revoke.Config{})
	s := gatewaytest.Start(t, gateway.Config{Factory: f.Make, LegacySSE: true, UserRate: limit.Off, Revocations: l})
	laptop := f.busy(t, s, "alice", map[string]any{"jti": "laptop"})
	phone := f.busy(t, s, "alice", map[string]any{"jti": "phone"})
	put(t, l, revoke.Revocation{Kind: revoke.Token, TokenID: "laptop"})
	for range laptop.streams {
		gatewaytest.Receive(t, "the streams to end", laptop.ended)
	}
	for range busyCalls {
		gatewaytest.Receive(t, "the calls to be cancelled", f.cancelled)
	}
	isRevoked(t, s, whoami(laptop.token, ""))
	if a := s.Do(t, whoami(phone.token, laptop.session)); a.Status != http.StatusNotFound {
		t.Errorf("the session of the revoked token: %d %s", a.Status, a.Body)
	}
	phone.quiet(t)
	if a := s.Do(t, whoami(phone.token, phone.session)); a.Status != http.StatusOK {
		t.Errorf("the other token: %d %s", a.Status, a.Body)
	}
	close(f.proceed)
	for range busyAnswered {
		if a := gatewaytest.Receive(t, "answers", phone.answers); a.Text() != "held for alice" {
			t.Errorf("%d %s", a.Status, a.Body)
		}
	}
}

// A session belongs to the credential that was presented on it last.
func TestSessionOutlivesARevokedTokenThatHasBeenRefreshed(t *testing.T) {
	f := newHolding()
	l := openList(t, revoke.Config{})
	s := gatewaytest.Start(t, gateway.Config{Factory: f.Make, Revocations: l})
	old, fresh := s.Token(t, "alice", map[string]any{"jti": "old"}), s.Token(t, "alice", map[string]any{"jti": "fresh"})
	session := s.Open(t, old, gatewaytest.Legacy)
	s.Do(t, whoami(fresh, session))
	put(t, l, revoke.Revocation{Kind: revoke.Token, TokenID: "old"})
	isRevoked(t, s, whoami(old, session))
	if a := s.Do(t, whoami(fresh, session)); a.Status != http.StatusOK {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	put(t, l, revoke.Revocation{Kind: revoke.Token, TokenID: "fresh"})
	third := s.Token(t, "alice")
	if a := s.Do(t, whoami(third, session)); a.Status != http.StatusNotFound {
		t.Errorf("%d %s", a.Status, a.Body)
	}
}

// A stream that has outlasted its own token does so by virtue of another one,
// and ends with that.
func TestStreamEndsWithTheTokenThatProlongedIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openList(t, revoke.Config{})
		s := gatewaytest.StartInMemory(t, gateway.Config{Factory: newHolding().Make, Revocations: l})
		expiry := time.Now().Add(2 * time.Second).Truncate(time.Second)
		short := s.Token(t, "alice", map[string]any{"jti": "short", "exp": expiry.Unix()})
		long := s.Token(t, "alice", map[string]any{"jti": "long"})
		session := s.Open(t, short, gatewaytest.Legacy)
		resp, err := s.Begin(t.Context(), gatewaytest.Request{Method: http.MethodGet, Token: short, Session: session, Version: gatewaytest.Legacy})
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(resp, err)
		}
		ended := make(chan time.Time, 1)
		go func() {
			defer resp.Body.Close()
			io.Copy(io.Discard, resp.Body)
			ended <- time.Now()
		}()
		s.Do(t, whoami(long, session))
		time.Sleep(time.Until(expiry) + time.Minute) // beyond what clocks may differ by
		synctest.Wait()
		if len(ended) > 0 {
			t.Fatal("it has ended with the first token")
		}
		revokedAt := time.Now()
		put(t, l, revoke.Revocation{Kind: revoke.Token, TokenID: "long"})
		if late := gatewaytest.Receive(t, "the stream to end", ended).Sub(revokedAt); late > 5*time.Second {
			t.Errorf("it ends %s late", late)
		}
	})
}

func TestStubbornToolIsNotHeard(t *testing.T) {
	for _, version := range eras {
		t.Run(version, func(t *testing.T) {
			f := newHolding()
			l := openList(t, revoke.Config{})
			s := gatewaytest.Start(t, gateway.Config{Factory: f.Make, Revocations: l})
			token := s.Token(t, "alice")
			session := sessionIn(t, s, token, version)
			r := gatewaytest.ModernCall(token, 7, "stubborn", "{}")
			if session != "" {
				r = gatewaytest.Request{Token: token, Session: session, Version: version, Body: gatewaytest.CallTool(7, "stubborn", "{}")}
			}
			answer := make(chan gatewaytest.Answer, 1)
			go func() {
				a, err := s.Try(context.Background(), r)
				if err != nil {
					t.Error(err)
				}
				answer <- a
			}()
			gatewaytest.Receive(t, "the call to begin", f.began)
			put(t, l, revoke.Revocation{Kind: revoke.User, UserID: "alice"})
			a := gatewaytest.Receive(t, "the client to be told, while the tool still runs", answer)
			if strings.Contains(a.Body, "confidential") || a.Status == http.StatusOK && strings.Contains(a.Body, "result") {
				t.Errorf("%d %s", a.Status, a.Body)
			}
			close(f.proceed)
		})
	}
}

func TestBlockAndUnblock(t *testing.T) {
	l := openList(t, revoke.Config{})
	s := gatewaytest.Start(t, gateway.Config{Factory: newHolding().Make, Revocations: l})
	old := s.Token(t, "alice")
	s.Do(t, whoami(old, ""))
	put(t, l, revoke.Revocation{Kind: revoke.Block, UserID: "alice"})
	refreshed := s.Token(t, "alice", map[string]any{"iat": time.Now().Unix() + 30})
	for _, token := range []string{old, refreshed} {
		isRevoked(t, s, whoami(token, ""))
	}
	if err := l.Lift(t.Context(), revokingIssuer, "alice"); err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{old, refreshed} {
		if a := s.Do(t, whoami(token, "")); a.Status != http.StatusOK {
			t.Errorf("after the block: %d %s", a.Status, a.Body)
		}
	}
}

func TestSignedInAgain(t *testing.T) {
	l := openList(t, revoke.Config{})
	s := gatewaytest.Start(t, gateway.Config{Factory: newHolding().Make, Revocations: l})
	now := time.Now()
	issued := func(at time.Time) string { return s.Token(t, "alice", map[string]any{"iat": at.Unix()}) }
	before := now.Add(-2 * time.Minute)
	put(t, l, revoke.Revocation{Kind: revoke.User, UserID: "alice", Before: before})
	isRevoked(t, s, whoami(issued(before.Add(-time.Second)), ""))
	isRevoked(t, s, whoami(issued(before.Add(59*time.Second)), ""))
	if a := s.Do(t, whoami(issued(before.Add(62*time.Second)), "")); a.Status != http.StatusOK {
		t.Errorf("%d %s", a.Status, a.Body)
	}
}

// known is a provider that knows nothing of revocations. Its tokens are users.
type known struct{}

func (known) Authenticate(_ context.Context, r *mcpauth.Request) (*mcpauth.Identity, error) {
	token, err := mcpauth.BearerToken(r.Header)
	if err != nil {
		return nil, err
	}
	return mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: revokingIssuer, UserID: token, Token: mcpauth.NewSecret(token)})
}

func TestProvidersThatKnowNoRevocations(t *testing.T) {
	f := newHolding()
	l := openList(t, revoke.Config{})
	s := gatewaytest.Start(t, gateway.Config{Factory: f.Make, Provider: known{}, LegacySSE: true, UserRate: limit.Off, Revocations: l})
	session := s.Open(t, "alice", gatewaytest.Legacy)
	s.Do(t, whoami("alice", session))
	put(t, l, revoke.Revocation{Kind: revoke.User, UserID: "alice"})
	isRevoked(t, s, whoami("alice", ""))
	isRevoked(t, s, whoami("alice", session))
	s.Do(t, whoami("bob", ""))
	if a := s.Do(t, whoami("bob", "")); a.Status != http.StatusOK {
		t.Errorf("bob: %d %s", a.Status, a.Body)
	}
	gatewaytest.Eventually(t, "the session has ended", func() bool { return s.Stats().Sessions == 0 })

	// One that is shared with others, and wrapped so that it is not ours.
	issuer := gatewaytest.NewIssuer(t, revokingIssuer)
	shared := gatewaytest.Provider(t, "https://mcp.example.com/mcp", issuer)
	t.Cleanup(func() { shared.Close() })
	s = gatewaytest.Start(t, gateway.Config{Factory: f.Make, Provider: struct{ mcpauth.Provider }{shared}, Revocations: l,
		PublicURL: "https://mcp.example.com", AllowedHosts: []string{"127.0.0.1"}}, issuer)
	token := s.Token(t, "carol", map[string]any{"jti": "t1"})
	if a := s.Do(t, whoami(token, "")); a.Status != http.StatusOK {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	put(t, l, revoke.Revocation{Kind: revoke.Token, TokenID: "t1"})
	isRevoked(t, s, whoami(token, ""))
}

func TestListsThatDoNotFit(t *testing.T) {
	one, another := openList(t, revoke.Config{}), openList(t, revoke.Config{})
	issuer := gatewaytest.NewIssuer(t, revokingIssuer)
	with := func(l *revoke.List) mcpauth.Provider {
		var c jwt.Config
		if l != nil {
			c.Revocations = l
		}
		p := gatewaytest.ProviderOf(t, c, "http://127.0.0.1:8080/mcp", issuer)
		t.Cleanup(func() { p.Close() })
		return p
	}
	for _, test := range []struct {
		name     string
		provider mcpauth.Provider
		list     *revoke.List
		problem  string
	}{
		{"the same", with(one), one, ""},
		{"none", with(nil), nil, ""},
		{"another", with(another), one, "not the list that the Provider goes by"},
		{"none of the provider's", with(nil), one, "not the list that the Provider goes by"},
		{"none of the gateway's", with(one), nil, "missing, while the Provider has a list"},
		{"a provider that has none", known{}, one, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			g, err := gateway.New(gateway.Config{Provider: test.provider, Factory: newHolding().Make, Revocations: test.list})
			var faulty *mcpauth.ConfigError
			switch {
			case test.problem == "":
				if err != nil {
					t.Fatal(err)
				}
				g.Shutdown(context.Background())
			case !errors.As(err, &faulty) || len(faulty.Faults) != 1 || faulty.Faults[0].Field != "Revocations" || faulty.Faults[0].Problem != test.problem:
				t.Errorf("%v", err)
			}
		})
	}
}

// heeding is a part that goes by a list of its own.
type heeding struct {
	known
	list mcpauth.Revocations
}

func (h heeding) Revocations() mcpauth.Revocations { return h.list }

func (heeding) Resolve(context.Context, *mcpauth.Identity, string) (*mcpauth.Credential, error) {
	return nil, nil
}

// own is a list that is not of package revoke.
type own struct{ *revoke.List }

// A gateway without a list leaves that to its parts, which are to agree.
func TestListsOfSomebodyElse(t *testing.T) {
	one, another := own{openList(t, revoke.Config{})}, own{openList(t, revoke.Config{})}
	for _, test := range []struct {
		name               string
		provider, resolver mcpauth.Revocations
		fault              bool
	}{
		{"one", one, one, false}, {"none", nil, nil, false}, {"two", one, another, true}, {"the provider's only", one, nil, true}, {"the resolver's only", nil, one, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			g, err := gateway.New(gateway.Config{Provider: heeding{list: test.provider}, Resolver: heeding{list: test.resolver}, ResourceType: "notes", Factory: newHolding().Make})
			var faulty *mcpauth.ConfigError
			if test.fault != (errors.As(err, &faulty) && len(faulty.Faults) == 1 && faulty.Faults[0].Field == "Resolver") || !test.fault && err != nil {
				t.Errorf("%v", err)
			}
			if g != nil {
				g.Shutdown(context.Background())
			}
		})
	}
}

// slowResolver takes its time.
type slowResolver struct{ began chan struct{} }

func (r slowResolver) Resolve(ctx context.Context, _ *mcpauth.Identity, _ string) (*mcpauth.Credential, error) {
	r.began <- struct{}{}
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestRequestThatWaitsIsRefused(t *testing.T) {
	l := openList(t, revoke.Config{})
	resolver := slowResolver{make(chan struct{}, 1)}
	w := watch(t, gateway.Config{Factory: newHolding().Make, Resolver: resolver, ResourceType: "notes", Revocations: l})
	answer := make(chan gatewaytest.Answer, 1)
	token := w.Token(t, "alice")
	go func() {
		a, _ := w.Try(context.Background(), whoami(token, ""))
		answer <- a
	}()
	gatewaytest.Receive(t, "the resolver to be asked", resolver.began)
	put(t, l, revoke.Revocation{Kind: revoke.User, UserID: "alice"})
	a := gatewaytest.Receive(t, "the answer", answer)
	if a.Status != http.StatusUnauthorized || !strings.Contains(a.Body, "revoked") || a.Header.Get("Retry-After") != "" {
		t.Errorf("%d %v %s", a.Status, a.Header, a.Body)
	}
	line := w.line(t, a.Header.Get("X-Request-Id"))
	if line["code"] != "revoked" || line["user"] != "alice" || line["status"] != 401.0 || line["decision"] != "refused" {
		t.Errorf("%v", line)
	}
}

// Whatever comes between: no request that begins after a revocation is served,
// and nothing is left of those before.
func TestRevocationsAndRequestsAtOnce(t *testing.T) {
	f := newHolding()
	l := openList(t, revoke.Config{})
	s := gatewaytest.Start(t, gateway.Config{Factory: f.Make, LegacySSE: true, UserRate: limit.Off, Revocations: l})
	const users = 12
	var (
		wait    sync.WaitGroup
		revoked [users]atomic.Bool
		served  atomic.Int64
	)
	ctx, stop := context.WithCancel(t.Context())
	for i := range users {
		token := s.Token(t, fmt.Sprint("u", i))
		bystander := s.Token(t, fmt.Sprint("v", i))
		wait.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				before := revoked[i].Load()
				var (
					a   gatewaytest.Answer
					err error
				)
				switch n % 3 {
				case 0:
					a, err = s.Try(ctx, whoami(token, ""))
				case 1:
					a, err = s.Try(ctx, gatewaytest.Request{Token: token, Body: gatewaytest.Initialize(gatewaytest.Legacy)})
				case 2:
					var resp *http.Response
					if resp, err = s.Begin(ctx, gatewaytest.Request{Method: http.MethodGet, Path: "/mcp/sse", Token: token}); err == nil {
						a.Status = resp.StatusCode
						if before || n > 20 {
							bufio.NewReader(resp.Body).ReadString('\n')
						}
						resp.Body.Close()
					}
				}
				if err == nil && before && a.Status != http.StatusUnauthorized {
					t.Errorf("after the revocation: %d %s", a.Status, a.Body)
				}
			}
		})
		wait.Go(func() {
			for ctx.Err() == nil {
				if a, err := s.Try(ctx, whoami(bystander, "")); err == nil {
					served.Add(1)
					if a.Status != http.StatusOK {
						t.Errorf("a bystander: %d %s", a.Status, a.Body)
					}
				}
			}
		})
	}
	for i := range users {
		at := served.Load()
		gatewaytest.Eventually(t, "bystanders are served", func() bool { return served.Load() > at+20 })
		put(t, l, revoke.Revocation{Kind: []revoke.Kind{revoke.User, revoke.Block}[i%2], UserID: fmt.Sprint("u", i)})
		revoked[i].Store(true)
	}
	gatewaytest.Eventually(t, "no session is left", func() bool { return s.Stats().Sessions == 0 })
	stop()
	wait.Wait()
}

func TestRevocationsOverAdministration(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "admin.sock")
	l := openList(t, revoke.Config{})
	addr := gatewaytest.FreeAddr(t)
	s := gatewaytest.Start(t, gateway.Config{Factory: newHolding().Make, Revocations: l, OperationsAddr: addr, Admin: admin.Config{
		Socket:  socket,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "the author's "+r.URL.Path) }),
	}})
	token := s.Token(t, "alice")
	s.Do(t, whoami(token, ""))
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	client := &revoke.Client{URL: "http://admin", HTTP: &http.Client{Transport: transport}}
	if e, err := client.Revoke(t.Context(), revoke.Revocation{Kind: revoke.Block, Issuer: revokingIssuer, UserID: "alice"}); err != nil || e.UserID != "alice" {
		t.Fatal(e, err)
	}
	isRevoked(t, s, whoami(token, ""))
	if page, err := client.Page(t.Context(), revoke.Query{}); err != nil || len(page.Revocations) != 1 {
		t.Error(page, err)
	}
	if got := scrape(t, addr)["mcpauth_revocations kind=block"]; got != 1 {
		t.Errorf("the metrics say %v", got)
	}
	if err := client.Lift(t.Context(), revokingIssuer, "alice"); err != nil {
		t.Error(err)
	}
	if a := s.Do(t, whoami(token, "")); a.Status != http.StatusOK {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	resp, err := (&http.Client{Transport: transport}).Get("http://admin/anything")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); string(text) != "the author's /anything" {
		t.Errorf("%s", text)
	}
}

// TestRevokingProcess is a gateway in a process of its own.
func TestRevokingProcess(t *testing.T) {
	dir := os.Getenv("MCPAUTH_TEST_REVOKING_PROCESS")
	if dir == "" {
		t.Skip("it is for another test to start")
	}
	keys, err := os.ReadFile(filepath.Join(dir, "secret"))
	if err != nil {
		t.Fatal(err)
	}
	settings := jwt.Config{Issuers: []jwt.Issuer{{Name: revokingIssuer, Audience: []string{"a"}, Keys: []jwt.KeySource{jwt.Secret(mcpauth.NewSecret(string(keys)))}}}}
	l, err := revoke.Open(revoke.Config{File: filepath.Join(dir, "revocations.db"), Lifetime: settings.Lifetime})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	settings.Revocations = l
	provider, err := jwt.New(settings)
	if err != nil {
		t.Fatal(err)
	}
	g, err := gateway.New(gateway.Config{
		Provider: provider, Factory: newHolding().Make, Addr: os.Getenv("MCPAUTH_TEST_ADDR"), Revocations: l,
		Admin: admin.Config{Socket: filepath.Join(dir, "admin.sock")}, Logger: slog.New(slog.NewTextHandler(os.Stdout, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func TestRevocationsOutliveTheProcess(t *testing.T) {
	dir, err := os.MkdirTemp("", "r")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	secret := rand.Text() + rand.Text()
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	client := &revoke.Client{URL: "http://admin", HTTP: &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "admin.sock"))
		}}}}
	start := func() (*gatewaytest.Server, *exec.Cmd) {
		addr, log := gatewaytest.FreeAddr(t), &gatewaytest.Log{}
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRevokingProcess$")
		cmd.Env = append(os.Environ(), "MCPAUTH_TEST_REVOKING_PROCESS="+dir, "MCPAUTH_TEST_ADDR="+addr)
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		gatewaytest.Eventually(t, "the process serves", func() bool { return strings.Contains(log.String(), "gateway serving") })
		return &gatewaytest.Server{URL: "http://" + addr + "/mcp", HTTP: &http.Transport{DisableKeepAlives: true}}, cmd
	}
	token := func(user string) string {
		claims, _ := json.Marshal(map[string]any{"iss": revokingIssuer, "aud": "a", "userId": user, "jti": "t-" + user, "iat": time.Now().Unix(), "exp": time.Now().Unix() + 3600})
		return sharedSecret(secret, claims)
	}
	alice, bob, carol := token("alice"), token("bob"), token("carol")
	s, cmd := start()
	for _, token := range []string{alice, bob, carol} {
		if a := s.Do(t, whoami(token, "")); a.Status != http.StatusOK {
			t.Fatalf("%d %s", a.Status, a.Body)
		}
	}
	for _, r := range []revoke.Revocation{{Kind: revoke.Block, UserID: "alice"}, {Kind: revoke.Token, TokenID: "t-bob"}} {
		r.Issuer = revokingIssuer
		if e, err := client.Revoke(t.Context(), r); err != nil || !e.Saved {
			t.Fatal(e, err)
		}
	}
	if err := cmd.Process.Kill(); err != nil { // without a chance to save anything
		t.Fatal(err)
	}
	cmd.Wait()
	s, _ = start()
	isRevoked(t, s, whoami(alice, ""))
	isRevoked(t, s, whoami(bob, ""))
	if a := s.Do(t, whoami(carol, "")); a.Status != http.StatusOK {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	if _, err := client.Revoke(t.Context(), revoke.Revocation{Kind: revoke.Block, Issuer: revokingIssuer + "/", UserID: "carol"}); err == nil ||
		!bytes.Contains([]byte(err.Error()), []byte("not an issuer of this server")) {
		t.Errorf("another issuer: %v", err)
	}
}

// sharedSecret returns a token with the claims.
func sharedSecret(secret string, claims []byte) string {
	key := tokentest.Key{Algorithm: "HS256", Private: []byte(secret)}
	return key.Token(key.Header(), string(claims))
}
