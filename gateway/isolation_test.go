package gateway_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/limit"
	"github.com/mcpauth-go/mcpauth/upstream/inproc"
)

// Many users at once, in both eras, all of whose JSON-RPC ids and progress
// tokens are the same: each stream has what its own call says, all of it, in
// order, and nothing else.
func TestIsolationUnderLoad(t *testing.T) {
	t.Parallel()
	const sessions, inSession, outside = 2, 10, 20 // of each user
	const calls = sessions*inSession + outside
	for _, test := range []struct {
		name           string
		users          int
		legacy, modern gateway.Mode
		during, after  inproc.Servers // alive
	}{
		{"a server for each user", 50, gateway.PerUser, gateway.PerUser,
			inproc.Servers{PerUser: 50}, inproc.Servers{PerUser: 50}},
		{"a server for each session and request", 10, gateway.PerSession, gateway.PerRequest,
			inproc.Servers{PerSession: 10 * sessions, PerRequest: 10 * outside}, inproc.Servers{PerSession: 10 * sessions}},
	} {
		t.Run(test.name, func(t *testing.T) {
			users := test.users
			factory := newTelling(users * calls)
			s := gatewaytest.Start(t, gateway.Config{
				Factory: factory.Make, LegacyInstances: test.legacy, ModernInstances: test.modern, UserRate: limit.Off,
				RequestTimeout: time.Hour, // all calls are in progress before the first goes on
			})
			var playing, listening sync.WaitGroup
			listenings, endListening := context.WithCancel(t.Context())
			defer listening.Wait()
			defer endListening()
			call := func(user string, request gatewaytest.Request, id int, asked tale) {
				playing.Go(func() {
					resp, err := s.Begin(t.Context(), request)
					if err != nil {
						t.Errorf("%s, %s: %v", user, asked.Echo, err)
						return
					}
					defer resp.Body.Close()
					got, err := newEvents(resp.Body).rest()
					if want := told(user, id, `"same"`, asked); err != nil || !slices.Equal(got, want) {
						t.Errorf("%s, %s: the stream says %q, %v; want %q", user, asked.Echo, got, err, want)
					}
				})
			}
			tokens, first := map[string]string{}, map[string]string{}
			heard := make(chan string, 2*users)
			for u := range users {
				user := fmt.Sprintf("user-%d", u)
				token := s.Token(t, user)
				tokens[user] = token
				for n := range sessions {
					session := s.Open(t, token, gatewaytest.Legacy)
					for id := range inSession {
						asked := tale{fmt.Sprintf("call %d in session %d", id, n), 3}
						call(user, tell(token, session, id, `"same"`, asked), id, asked)
					}
					if n > 0 {
						continue
					}
					first[user] = session
					resp, err := s.Begin(listenings, gatewaytest.Request{Method: "GET", Token: token, Session: session, Version: gatewaytest.Legacy})
					if err != nil || resp.StatusCode != http.StatusOK {
						t.Fatalf("GET: %v, %v", resp, err)
					}
					listening.Go(func() {
						defer resp.Body.Close()
						for stream := newEvents(resp.Body); ; {
							one, err := stream.next()
							if err != nil {
								return
							}
							heard <- user + ": " + one
						}
					})
				}
				for n := range outside {
					asked := tale{fmt.Sprintf("call %d outside", n), 3}
					call(user, tell(token, "", 7, `"same"`, asked), 7, asked)
				}
			}

			for range users * calls {
				gatewaytest.Receive(t, "the calls to begin", factory.began)
			}
			if got, want := s.Stats(), (gateway.Stats{Sessions: users * sessions, Streams: users, Calls: users * calls, Alive: test.during, Made: test.during}); got != want {
				t.Errorf("while the calls hang: %+v, want %+v", got, want)
			}
			statsOf := func(when string, want gateway.UserStats) {
				t.Helper()
				for user := range tokens {
					if got := s.StatsOf(identity(t, "https://issuer.example", user)); got != want {
						t.Errorf("%s, of %s: %+v, want %+v", when, user, got, want)
					}
				}
			}
			statsOf("while the calls hang", gateway.UserStats{Sessions: sessions, Streams: 1, Calls: calls})
			stranger := identity(t, "https://other.example", "user-0")
			if got := s.StatsOf(stranger); got != (gateway.UserStats{}) {
				t.Errorf("of a stranger with the same id: %+v", got)
			}

			close(factory.proceed)
			playing.Wait()
			gatewaytest.Eventually(t, "all calls are over", func() bool { return s.Stats().Calls == 0 && s.Stats().Alive == test.after })
			statsOf("after the calls", gateway.UserStats{Sessions: sessions, Streams: 1})

			// The standalone streams have had nothing of the calls; had they,
			// it would come before this.
			for user, session := range first {
				s.Do(t, gatewaytest.Request{Token: tokens[user], Session: session, Version: gatewaytest.Legacy, Body: gatewaytest.CallTool(99, "grow", "{}")})
			}
			var got, want []string
			for user := range tokens {
				got = append(got, gatewaytest.Receive(t, "the standalone streams", heard))
				want = append(want, user+": notifications/tools/list_changed")
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) || len(heard) > 0 {
				t.Errorf("the standalone streams say %q and %d more, want %q", got, len(heard), want)
			}
			endListening()
			listening.Wait()
			for user, session := range first {
				if got := s.Do(t, gatewaytest.Request{Method: "DELETE", Token: tokens[user], Session: session, Version: gatewaytest.Legacy}); got.Status != http.StatusNoContent {
					t.Errorf("DELETE: %d %s", got.Status, got.Body)
				}
			}
			gatewaytest.Eventually(t, "the streams and first sessions are gone", func() bool {
				return s.Stats().Streams == 0 && s.Stats().Sessions == users*(sessions-1)
			})
			gatewaytest.Eventually(t, "each user has a session left, and no more", func() bool {
				for user := range tokens {
					if s.StatsOf(identity(t, "https://issuer.example", user)) != (gateway.UserStats{Sessions: sessions - 1}) {
						return false
					}
				}
				return true
			})
		})
	}
}

func identity(t *testing.T, issuer, user string) *mcpauth.Identity {
	t.Helper()
	id, err := mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: issuer, UserID: user})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// Somebody else's session is answered like one that never was, byte for byte,
// also when the id of a real event of its owner's is known, and the owner's
// session goes on as if nothing had been.
func TestIsolationOfSessions(t *testing.T) {
	ours, theirs := gatewaytest.NewIssuer(t, "https://issuer.example"), gatewaytest.NewIssuer(t, "https://other.example")
	factory := newTelling(1)
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make}, ours, theirs)
	alice := s.Token(t, "alice")
	session := s.Open(t, alice, gatewaytest.Legacy)
	asked := tale{"hello", 3}
	stream, first := follow(t, s, t.Context(), tell(alice, session, 7, `"t"`, asked))
	event := stream.id
	if event == "" {
		t.Fatal("alice's events have no ids")
	}

	for _, test := range []struct {
		name    string
		request gatewaytest.Request
	}{
		{"POST", gatewaytest.Request{Body: gatewaytest.CallTool(7, "whoami", "{}")}},
		{"POST to cancel the owner's call", gatewaytest.Request{Body: `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`}},
		{"GET", gatewaytest.Request{Method: "GET"}},
		{"GET to resume the owner's stream", gatewaytest.Request{Method: "GET", Header: headers{"Last-Event-ID": {event}}}},
		{"DELETE", gatewaytest.Request{Method: "DELETE"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ask := func(token, session string) string {
				r := test.request
				r.Token, r.Session, r.Version = token, session, gatewaytest.Legacy
				a := s.Do(t, r)
				a.Header.Del("Date")
				a.Header.Del("X-Request-Id")
				return fmt.Sprintf("%d\n%v\n%s", a.Status, a.Header, a.Body)
			}
			for who, token := range map[string]string{"another user": s.Token(t, "bob"), "the same user id of another issuer": s.TokenOf(t, theirs, "alice")} {
				unknown, foreign := ask(token, strings.Repeat("A", len(session))), ask(token, session)
				if foreign != unknown || !strings.HasPrefix(unknown, "404\n") {
					t.Errorf("%s is answered %s\nwhere for an unknown session it is %s", who, foreign, unknown)
				}
			}
		})
	}

	close(factory.proceed)
	rest, err := stream.rest()
	if got, want := append([]string{first}, rest...), told("alice", 7, `"t"`, asked); err != nil || !slices.Equal(got, want) {
		t.Errorf("alice's stream says %q, %v; want %q", got, err, want)
	}
	if got := s.Do(t, gatewaytest.Request{Token: alice, Session: session, Version: gatewaytest.Legacy, Body: gatewaytest.CallTool(8, "whoami", "{}")}); !strings.Contains(got.Text(), `"caller":"alice"`) {
		t.Errorf("alice in her session, after all that: %d %s", got.Status, got.Body)
	}
	if made := factory.Made(); !slices.Equal(made, []string{"alice"}) {
		t.Errorf("servers were made for %v", made)
	}
}

// A proxy sends what all users ask for over the same few connections.
func TestIsolationOnOneConnection(t *testing.T) {
	const calls = 50
	factory := &gatewaytest.Factory{}
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make})
	origin, err := url.Parse(s.Origin)
	if err != nil {
		t.Fatal(err)
	}
	var dials atomic.Int32
	behind := &http.Transport{MaxConnsPerHost: 1, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials.Add(1)
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	proxy := httptest.NewServer(&httputil.ReverseProxy{Transport: behind, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(origin) }})
	t.Cleanup(func() {
		proxy.Close()
		behind.CloseIdleConnections()
	})
	front := &gatewaytest.Server{URL: proxy.URL + "/mcp", Origin: proxy.URL, HTTP: &http.Transport{}}
	t.Cleanup(front.HTTP.CloseIdleConnections)

	alice, bob := s.Token(t, "alice"), s.Token(t, "bob")
	sessions := map[string]string{alice: front.Open(t, alice, gatewaytest.Legacy), bob: front.Open(t, bob, gatewaytest.Legacy)}
	var playing sync.WaitGroup
	for user, token := range map[string]string{"alice": alice, "bob": bob} {
		for _, session := range []string{"", sessions[token]} {
			playing.Go(func() {
				for range calls {
					got, err := front.Try(t.Context(), whoamiIn(token, session))
					who, errWho := gatewaytest.DecodeWho(got.Text())
					if err := errors.Join(err, errWho); err != nil || who.Owner != user || who.Caller != user {
						t.Errorf("%s is answered %d %s, %v", user, got.Status, got.Body, err)
						return
					}
				}
			})
		}
	}
	for name, test := range map[string]struct {
		request gatewaytest.Request
		status  int
	}{
		"nobody":                    {whoamiIn("", ""), http.StatusUnauthorized},
		"nobody, in a session":      {whoamiIn("", sessions[alice]), http.StatusUnauthorized},
		"a forger":                  {whoamiIn(alice[:len(alice)-44]+strings.Repeat("A", 44), ""), http.StatusUnauthorized},
		"bob, in alice's session":   {whoamiIn(bob, sessions[alice]), http.StatusNotFound},
		"alice, in bob's session":   {whoamiIn(alice, sessions[bob]), http.StatusNotFound},
		"a forger, in her session":  {whoamiIn(alice[:len(alice)-44]+strings.Repeat("A", 44), sessions[alice]), http.StatusUnauthorized},
		"alice, by a cookie":        {gatewaytest.Request{Header: headers{"Cookie": {"token=" + alice}}, Body: gatewaytest.CallTool(7, "whoami", "{}")}, http.StatusUnauthorized},
		"bob, who claims to be her": {gatewaytest.Request{Token: bob, Session: sessions[alice], Header: headers{"X-User-Id": {"alice"}}, Body: gatewaytest.CallTool(7, "whoami", "{}")}, http.StatusNotFound},
	} {
		playing.Go(func() {
			for range calls / 5 {
				if got, err := front.Try(t.Context(), test.request); err != nil || got.Status != test.status {
					t.Errorf("%s: %d %s, %v; want %d", name, got.Status, got.Body, err, test.status)
				}
			}
		})
	}
	playing.Wait()
	// The proxy gives a connection up now and then: when a refusal comes before
	// it has sent the whole request.
	if n := dials.Load(); n > calls {
		t.Errorf("the proxy had %d connections, so that users have hardly shared one", n)
	}
}

// Requests of two users one behind the other, before either is answered.
func TestIsolationOfPipelinedRequests(t *testing.T) {
	s := gatewaytest.Start(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make})
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.Origin, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	callers := []string{"alice", "bob", "", "alice", "", "bob"}
	var all strings.Builder
	for _, user := range callers {
		token := ""
		if user != "" {
			token = s.Token(t, user)
		}
		request, err := s.New(t.Context(), gatewaytest.ModernCall(token, 7, "whoami", "{}"))
		if err != nil {
			t.Fatal(err)
		}
		if err := request.Write(&all); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.Write([]byte(all.String())); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(conn)
	for i, user := range callers {
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		var body strings.Builder
		if _, err := bufio.NewReader(resp.Body).WriteTo(&body); err != nil {
			t.Fatal(err)
		}
		got := gatewaytest.Answer{Status: resp.StatusCode, Body: body.String()}
		if user == "" {
			if got.Status != http.StatusUnauthorized {
				t.Errorf("request %d, nobody's: %d %s", i, got.Status, got.Body)
			}
		} else if who, err := gatewaytest.DecodeWho(got.Text()); err != nil || who.Owner != user || who.Caller != user {
			t.Errorf("request %d, %s's: %d %s, %v", i, user, got.Status, got.Body, err)
		}
	}
}
