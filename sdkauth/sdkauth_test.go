package sdkauth_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/sdkauth"
)

// The reason for this package. If the SDK begins to refuse what is shown here, what
// README.md and the comments say of mcpauth.Require is out of date.
func TestRequireAloneMixesUpUsers(t *testing.T) {
	s := start(t, unprotected, options(gatewaytest.Legacy))
	alice := s.Connect(t, s.token(t, "alice", "guest", "read"), gatewaytest.Legacy)
	alice.SetToken(s.token(t, "bob", "other", "read write"))
	if got := whoami(t, alice); got.User != "alice" || got.Scopes != "read" {
		t.Errorf("bob's token in alice's session runs the tool as %q with scopes %q", got.User, got.Scopes)
	}
	alice.SetToken(s.token(t, "alice", "editor", "read write"))
	if got := whoami(t, alice); got.Role != "guest" || got.Scopes != "read" {
		t.Errorf("after her step-up, alice is %q with scopes %q", got.Role, got.Scopes)
	}
}

func whoami(t *testing.T, c *gatewaytest.Client) (got seen) {
	t.Helper()
	if err := json.Unmarshal([]byte(c.Call(t, "whoami", nil)), &got); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestASessionAnswersToItsUserOnly(t *testing.T) {
	s := start(t, protected, options(gatewaytest.Legacy))
	alice, bob := s.token(t, "alice", "guest", "read"), s.token(t, "bob", "other", "read write")
	hers := s.Open(t, alice, gatewaytest.Legacy)
	for _, test := range []struct{ name, method, body string }{
		{"a call", "POST", gatewaytest.CallTool(7, "whoami", "{}")},
		{"initialize", "POST", gatewaytest.Initialize(gatewaytest.Legacy)},
		{"a notification", "POST", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`},
		{"an answer to the server's request", "POST", `{"jsonrpc":"2.0","id":1,"result":{}}`},
		{"its stream", "GET", ""},
		{"its end", "DELETE", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			request := gatewaytest.Request{Method: test.method, Token: bob, Session: hers, Version: gatewaytest.Legacy, Body: test.body}
			foreign := s.Do(t, request)
			request.Session = "MADEUPMADEUPMADEUPMADEUP00"
			unknown := s.Do(t, request)
			for _, a := range []*gatewaytest.Answer{&foreign, &unknown} {
				a.Header.Del("Date")
			}
			if foreign.Status != http.StatusNotFound || !strings.Contains(foreign.Body, "Session not found") {
				t.Errorf("another user's session: %d %s", foreign.Status, foreign.Body)
			}
			if !reflect.DeepEqual(foreign, unknown) {
				t.Errorf("another user's session: %v\nnone: %v", foreign, unknown)
			}
		})
	}
	for kind, saw := range s.sawLast() {
		if saw.User == "bob" {
			t.Errorf("%s has been called for bob: %+v", kind, saw)
		}
	}
	call := gatewaytest.Request{Token: alice, Session: hers, Version: gatewaytest.Legacy, Body: gatewaytest.CallTool(8, "whoami", "{}")}
	if a := s.Do(t, call); !strings.Contains(a.Text(), `"User":"alice"`) {
		t.Errorf("her session does not serve her any more: %d %s", a.Status, a.Body)
	}
	if log := s.Log.String(); !strings.Contains(log, `msg="MCP request refused" refusal.code=unknown_session`) || strings.Contains(log, hers) {
		t.Errorf("logged:\n%s", log)
	}

	t.Run("the official client", func(t *testing.T) {
		c := s.Connect(t, alice, gatewaytest.Legacy)
		c.SetToken(bob)
		if text, err := c.TryCall(t.Context(), "whoami", nil); err == nil || !strings.Contains(err.Error(), "session not found") {
			t.Errorf("%q, %v", text, err)
		}
	})
}

func TestHandlersSeeTheCurrentRequest(t *testing.T) {
	inBothEras(t, func(t *testing.T, version string) {
		s := start(t, protected, options(version))
		c := s.Connect(t, s.token(t, "alice", "first", "read"), version)
		for _, now := range []struct{ role, scopes string }{
			{"first", "read"}, {"editor", "read write"}, {"reader again", "read"},
		} {
			c.SetToken(s.token(t, "alice", now.role, now.scopes))
			s.sawLast()
			c.Call(t, "whoami", nil)
			if _, err := c.GetPrompt(t.Context(), &mcp.GetPromptParams{Name: "p"}); err != nil {
				t.Fatal(err)
			}
			for _, uri := range []string{"note://1", "page://1"} {
				if _, err := c.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: uri}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := c.Complete(t.Context(), &mcp.CompleteParams{Ref: &mcp.CompleteReference{Type: "ref/prompt", Name: "p"}, Argument: mcp.CompleteParamsArgument{Name: "a"}}); err != nil {
				t.Fatal(err)
			}
			if _, err := c.ListTools(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			saw := s.sawLast()
			for _, kind := range []string{"tool", "prompt", "resource", "template", "completion",
				"middleware for tools/call", "middleware for prompts/get", "middleware for resources/read", "middleware for tools/list"} {
				if got, want := saw[kind], ofRole("alice", now.role, now.scopes); got != want {
					t.Errorf("%s sees\n%+v, want\n%+v", kind, got, want)
				}
			}
			want := ofRole("alice", now.role, now.scopes)
			want.ExtraInfo, want.Authorization = "", "" // there is no MCP request yet
			if got := saw["getServer"]; got != want {
				t.Errorf("getServer sees\n%+v, want\n%+v", got, want)
			}
		}
	})
}

// Two calls at once with two tokens of one user, and calls of another user
// meanwhile: each sees its own.
func TestCallsAtTheSameTimeSeeTheirOwnRequests(t *testing.T) {
	inBothEras(t, func(t *testing.T, version string) {
		s := start(t, protected, options(version))
		begun, goOn := make(chan struct{}), make(chan struct{})
		gatewaytest.AddTool(s.server, "wait", func(ctx context.Context, r *mcp.CallToolRequest) (string, error) {
			close(begun)
			<-goOn
			text, err := json.Marshal(look(ctx, r))
			return string(text), err
		})
		alice := s.Connect(t, s.token(t, "alice", "guest", "read"), version)
		bob := s.Connect(t, s.token(t, "bob", "other", ""), version)
		first := make(chan string, 1)
		go func() {
			text, err := alice.TryCall(t.Context(), "wait", nil)
			if err != nil {
				text = err.Error()
			}
			first <- text
		}()
		gatewaytest.Receive(t, "the first call", begun)
		alice.SetToken(s.token(t, "alice", "editor", "read write"))
		if got, want := whoami(t, alice), ofRole("alice", "editor", "read write"); got != want {
			t.Errorf("the second call sees\n%+v, want\n%+v", got, want)
		}
		if got, want := whoami(t, bob), ofRole("bob", "other", ""); got != want {
			t.Errorf("the other user's call sees\n%+v, want\n%+v", got, want)
		}
		close(goOn)
		var got seen
		text := gatewaytest.Receive(t, "its end", first)
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != ofRole("alice", "guest", "read") {
			t.Errorf("the first call sees %s (%v)", text, err)
		}
	})
}

func TestResultsAreForTheirUserAlone(t *testing.T) {
	s := start(t, protected, options(gatewaytest.Modern))
	token := s.token(t, "alice", "guest", "")
	for _, test := range []struct{ method, params, name string }{
		{"server/discover", "{}", ""}, {"tools/list", "{}", ""}, {"prompts/list", "{}", ""}, {"resources/list", "{}", ""},
		{"resources/templates/list", "{}", ""}, {"resources/read", `{"uri":"note://1"}`, "note://1"},
	} {
		header := map[string][]string{"Mcp-Method": {test.method}}
		if test.name != "" {
			header["Mcp-Name"] = []string{test.name}
		}
		a := s.Do(t, gatewaytest.Request{Token: token, Version: gatewaytest.Modern, Header: header,
			Body: gatewaytest.Message(1, test.method, gatewaytest.ModernParams(gatewaytest.Modern, test.params))})
		var m struct{ Result struct{ CacheScope string } }
		if err := json.Unmarshal([]byte(a.Message()), &m); err != nil || a.Status != http.StatusOK || m.Result.CacheScope != "private" {
			t.Errorf("%s: cacheScope %q in %d %s", test.method, m.Result.CacheScope, a.Status, a.Body)
		}
	}
}

func TestStreamsEndWithTheirToken(t *testing.T) {
	listen := `{"notifications":{"toolsListChanged":true}}`
	for _, test := range []struct {
		name, version string
		request       gatewaytest.Request
	}{
		{"GET", gatewaytest.Legacy, gatewaytest.Request{Method: "GET"}},
		{"subscriptions/listen", gatewaytest.Modern, gatewaytest.Request{
			Header: map[string][]string{"Mcp-Method": {"subscriptions/listen"}},
			Body:   gatewaytest.Message(2, "subscriptions/listen", gatewaytest.ModernParams(gatewaytest.Modern, listen)),
		}},
		{"subscriptions/listen in a session", gatewaytest.Legacy, gatewaytest.Request{Body: gatewaytest.Message(2, "subscriptions/listen", listen)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := startInMemory(t, protected, options(test.version))
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				request := test.request
				request.Version = test.version
				request.Token = s.token(t, "alice", "guest", "", map[string]any{"exp": time.Now().Add(5 * time.Minute).Unix()})
				if test.version < gatewaytest.Modern {
					request.Session = s.Open(t, request.Token, test.version)
				}
				began := time.Now()
				a, err := s.Try(ctx, request)
				if took := time.Since(began); err != nil || a.Status != http.StatusOK || took != 5*time.Minute {
					t.Errorf("%d after %s, want the stream's end after 5m0s (%v)\n%s", a.Status, took, err, a.Body)
				}
			})
		})
	}
}

func TestACallMayFinishAfterItsToken(t *testing.T) {
	inBothEras(t, func(t *testing.T, version string) {
		synctest.Test(t, func(t *testing.T) {
			s := startInMemory(t, protected, options(version))
			gatewaytest.AddTool(s.server, "slow", func(ctx context.Context, r *mcp.CallToolRequest) (string, error) {
				time.Sleep(10 * time.Minute)
				return "done by " + look(ctx, r).User, ctx.Err()
			})
			token := s.token(t, "alice", "guest", "", map[string]any{"exp": time.Now().Add(5 * time.Minute).Unix()})
			call := gatewaytest.ModernCall(token, 2, "slow", "{}")
			if version < gatewaytest.Modern {
				call = gatewaytest.Request{Token: token, Session: s.Open(t, token, version), Version: version, Body: gatewaytest.CallTool(2, "slow", "{}")}
			}
			a, err := s.Try(t.Context(), call)
			if err != nil || a.Text() != "done by alice" {
				t.Errorf("%d %s (%v)", a.Status, a.Body, err)
			}
		})
	})
}

func TestARequestWithoutAnIdentityIsRefused(t *testing.T) {
	called := false
	handler := sdkauth.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server {
		called = true
		return nil
	}, &mcp.StreamableHTTPOptions{Logger: slog.New(slog.DiscardHandler)})
	for _, method := range []string{"GET", "POST", "DELETE"} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(method, "/mcp", strings.NewReader(gatewaytest.Initialize(gatewaytest.Legacy))))
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || called {
			t.Errorf("%s: %d %s, and the server is asked for: %t", method, w.Code, w.Body, called)
		}
	}
}

// A server that this package serves answers to nothing that has come another way.
func TestAServerAnswersNobodyElse(t *testing.T) {
	s := start(t, protected, options(gatewaytest.Legacy))
	s.Connect(t, s.token(t, "alice", "guest", ""), gatewaytest.Legacy)
	s.sawLast()
	const refused = "this server can be called only through its authenticated HTTP handler"
	getServer := func(*http.Request) *mcp.Server { return s.server }
	connect := func(t *testing.T, transport mcp.Transport) {
		t.Helper()
		c, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(), transport, &mcp.ClientSessionOptions{ProtocolVersion: gatewaytest.Legacy})
		if err == nil {
			c.Close()
		}
		if err == nil || !strings.Contains(err.Error(), refused) {
			t.Errorf("connecting: %v, want %q", err, refused)
		}
	}
	t.Run("a transport in memory", func(t *testing.T) {
		ours, theirs := mcp.NewInMemoryTransports()
		session, err := s.server.Connect(t.Context(), ours, nil)
		if err != nil {
			t.Fatal(err)
		}
		connect(t, theirs)
		session.Close()
	})
	for name, handler := range map[string]http.Handler{
		"the SDK's handler": mcp.NewStreamableHTTPHandler(getServer, nil),
		"HTTP+SSE":          mcp.NewSSEHandler(getServer, nil),
	} {
		t.Run(name, func(t *testing.T) {
			// Even for a verified user: the SDK would tell the server nothing.
			requireUser := mcpauth.Require(s.provider(t), mcpauth.Requirement{})
			other := httptest.NewServer(requireUser(handler))
			t.Cleanup(func() {
				other.CloseClientConnections()
				other.Close()
			})
			client := &http.Client{Transport: bearer{s.token(t, "alice", "guest", ""), other.Client().Transport}}
			if name == "HTTP+SSE" {
				connect(t, &mcp.SSEClientTransport{Endpoint: other.URL, HTTPClient: client})
			} else {
				connect(t, &mcp.StreamableClientTransport{Endpoint: other.URL, HTTPClient: client, MaxRetries: -1})
			}
		})
	}
	if saw, called := s.sawLast()["middleware for initialize"]; called {
		t.Errorf("the author's middleware has been called: %+v", saw)
	}
}

type bearer struct {
	token string
	next  http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(r)
}

// Middleware that is added to a server in use sees nobody, rather than the user of
// the session's first request.
func TestLateMiddlewareDoesNotSeeTheFirstRequest(t *testing.T) {
	inBothEras(t, func(t *testing.T, version string) {
		s := start(t, protected, options(version))
		c := s.Connect(t, s.token(t, "alice", "guest", "read"), version)
		s.server.AddReceivingMiddleware(func(next mcp.MethodHandler) mcp.MethodHandler {
			return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
				s.note("late middleware", ctx, nil)
				return next(ctx, method, req)
			}
		})
		c.SetToken(s.token(t, "alice", "editor", "read write"))
		if got, want := whoami(t, c), ofRole("alice", "editor", "read write"); got != want {
			t.Errorf("the tool sees\n%+v, want\n%+v", got, want)
		}
		saw := s.sawLast()["late middleware"]
		saw.ContextInfo = "" // the SDK's own, of a user that the session is bound to
		if saw != (seen{}) {
			t.Errorf("late middleware sees %+v", saw)
		}
	})
}

// The stream of a session carries what the server says to that session only.
func TestNotificationsReachTheirUserOnly(t *testing.T) {
	s := start(t, protected, options(gatewaytest.Legacy))
	gatewaytest.AddTool(s.server, "tell", func(ctx context.Context, r *mcp.CallToolRequest) (string, error) {
		return "", r.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: "same", Message: "for " + look(ctx, r).User})
	})
	var bodies []string
	for _, user := range []string{"alice", "bob"} {
		token := s.token(t, user, "guest", "")
		session := s.Open(t, token, gatewaytest.Legacy)
		a := s.Do(t, gatewaytest.Request{Token: token, Session: session, Version: gatewaytest.Legacy, Body: gatewaytest.CallTool(1, "tell", "{}")})
		bodies = append(bodies, a.Body)
	}
	for i, want := range []string{"for alice", "for bob"} {
		if !strings.Contains(bodies[i], want) || strings.Contains(bodies[i], []string{"for bob", "for alice"}[i]) {
			t.Errorf("%s is not in %s, or not alone", want, bodies[i])
		}
	}
}

// A user's own server can be chosen by the identity of the request.
func TestGetServerMayReturnAServerOfTheUsersOwn(t *testing.T) {
	var made []string
	handler := sdkauth.NewStreamableHTTPHandler(func(r *http.Request) *mcp.Server {
		made = append(made, mcpauth.FromContext(r.Context()).UserID())
		return mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	}, &mcp.StreamableHTTPOptions{Stateless: true})
	id, err := mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: "https://issuer.example", UserID: "carol"})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("POST", "/mcp", strings.NewReader(gatewaytest.Message(1, "ping", "")))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	r.Header.Set("Authorization", "Bearer of another kind")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r.WithContext(mcpauth.NewContext(r.Context(), id)))
	if body, _ := io.ReadAll(w.Result().Body); w.Code != http.StatusOK || !strings.Contains(string(body), `"result"`) {
		t.Errorf("%d %s", w.Code, body)
	}
	if len(made) == 0 || slices.ContainsFunc(made, func(user string) bool { return user != "carol" }) {
		t.Errorf("servers made for %q", made)
	}
	if got := r.Header.Get("Authorization"); got != "Bearer of another kind" {
		t.Errorf("the caller's request has Authorization %q", got)
	}
}
