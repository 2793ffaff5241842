package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/limit"
)

// What the TypeScript pattern that this project grew from promises of a wrapped
// server, each in short: the tests beside this one go into it.

// keyring is a resolver with a credential for each user.
type keyring struct{}

func (keyring) Resolve(_ context.Context, id *mcpauth.Identity, resourceType string) (*mcpauth.Credential, error) {
	return &mcpauth.Credential{Token: mcpauth.NewSecret("the " + resourceType + " key of " + id.UserID())}, nil
}

// asks sends one call of a tool, without a session, to a gateway with names.
func asks(t *testing.T, s *gatewaytest.Server, user, tool string) gatewaytest.Answer {
	t.Helper()
	return s.Do(t, gatewaytest.ModernCall(user, 7, tool, "{}"))
}

// answers fails the test unless a call has that answer.
func answers(t *testing.T, s *gatewaytest.Server, user, tool, want string) {
	t.Helper()
	if got := asks(t, s, user, tool); got.Status != http.StatusOK || got.Text() != want {
		t.Errorf("%s, %s: %d %s, want %s", user, tool, got.Status, got.Body, want)
	}
}

// serverFactory(accessToken, userId): it is called with the user that the
// provider has found and the credential that the resolver has for the resource.
func TestSeedBServerFactory(t *testing.T) {
	factory := telltale()
	s := gatewaytest.Start(t, gateway.Config{Provider: &names{}, Resolver: keyring{}, ResourceType: "mail", Factory: factory.Make})
	for _, user := range []string{"alice", "bob", "alice"} {
		key := "the mail key of " + user
		answers(t, s, user, "which", "made with "+key+", called with "+key)
		who, err := gatewaytest.DecodeWho(asks(t, s, user, "whoami").Text())
		if err != nil || who.Owner != user || who.Caller != user {
			t.Errorf("%s is served as %+v, %v", user, who, err)
		}
	}
	if got := factory.Made(); !slices.Equal(got, []string{"alice", "bob"}) {
		t.Errorf("servers were made for %q", got)
	}
}

// A server is never shared: a factory that returns one for all serves the first
// user only.
func TestSeedBServerIsNeverShared(t *testing.T) {
	shared := mcp.NewServer(&mcp.Implementation{Name: "shared", Version: "1"}, nil)
	gatewaytest.AddTool(shared, "it", func(context.Context, *mcp.CallToolRequest) (string, error) { return "done", nil })
	s := gatewaytest.Start(t, gateway.Config{Provider: &names{}, Factory: func(context.Context, gateway.Call) (gateway.Instance, error) {
		return gateway.Instance{Server: shared}, nil
	}})
	answers(t, s, "alice", "it", "done")
	if got := asks(t, s, "bob", "it"); got.Status != http.StatusServiceUnavailable {
		t.Errorf("another user: %d %s", got.Status, got.Body)
	}
	answers(t, s, "alice", "it", "done")
}

// start, stop, stats of live instances, and whether it is running.
func TestSeedBStartStopAndStats(t *testing.T) {
	factory, provider := &gatewaytest.Factory{}, &names{}
	s := gatewaytest.Start(t, gateway.Config{Provider: provider, Factory: factory.Make})
	running := gatewaytest.Request{Method: "GET", Path: "/mcp/health/ready"}
	if got := s.Do(t, running); got.Status != http.StatusOK || provider.started.Load() != 1 {
		t.Errorf("running: %d, and the provider was started %d times", got.Status, provider.started.Load())
	}
	asks(t, s, "alice", "whoami")
	session := s.Open(t, "alice", gatewaytest.Legacy)
	asks(t, s, "bob", "whoami")
	gatewaytest.Eventually(t, "its calls are over", func() bool { return s.Stats().Calls == 0 })
	if got := s.Stats(); session == "" || got.Sessions != 1 || got.Alive.PerUser != 2 || got.Alive.PerSession != 1 {
		t.Errorf("stats = %+v", got)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if got := s.Stats(); got.Sessions+got.Alive.PerUser+got.Alive.PerSession != 0 || len(factory.Closed()) != 3 || provider.closed.Load() != 1 {
		t.Errorf("stopped: %+v; closed %q", got, factory.Closed())
	}
	if _, err := s.Try(t.Context(), running); err == nil {
		t.Error("a stopped gateway answers")
	}
}

// Transport stdio: a single local user, with the credential of
// <RESOURCETYPE>_ACCESS_TOKEN.
func TestSeedBTransportStdio(t *testing.T) {
	t.Setenv("SEED_MAIL_ACCESS_TOKEN", "from the environment")
	factory := telltale()
	transport, ended := local(t, gateway.Stdio{Factory: factory.Make, ResourceType: "seed-mail", Logger: slog.New(slog.DiscardHandler)})
	c := connectLocal(t, transport, gatewaytest.Legacy)
	if got := callText(t, c, "which", nil); got != "made with from the environment, called with from the environment" {
		t.Errorf("answer = %s", got)
	}
	c.Close()
	if err := gatewaytest.Receive(t, "the end", ended); err != nil {
		t.Error(err)
	}
	if got := factory.Made(); !slices.Equal(got, []string{"local"}) {
		t.Errorf("servers were made for %q", got)
	}
}

// Transport http: POST at basePath (/mcp) on host and port (8080); beyond
// loopback only with the public URL.
func TestSeedBTransportHTTP(t *testing.T) {
	if c := gateway.WithDefaults(gateway.Config{}); c.Addr != "127.0.0.1:8080" || c.BasePath != "/mcp" {
		t.Errorf("the defaults are %s and %s", c.Addr, c.BasePath)
	}
	c := good()
	c.Addr = "0.0.0.0:8080"
	const fault = `gateway: PublicURL: missing, while Addr "0.0.0.0:8080" is beyond loopback; expected the origin that clients see, such as "https://mcp.example.com"`
	if _, err := gateway.New(c); err == nil || err.Error() != fault {
		t.Errorf("New = %v, want %s", err, fault)
	}
	for _, path := range []string{"/mcp", "/tools/v1"} {
		s := gatewaytest.Start(t, gateway.Config{BasePath: path, Factory: (&gatewaytest.Factory{}).Make})
		for _, version := range eras {
			if got := s.Connect(t, s.Token(t, "alice"), version).WhoAmI(t); s.URL != s.Origin+path || got.Owner != "alice" {
				t.Errorf("%s, %s: %+v", path, version, got)
			}
		}
	}
}

// Transport sse: the old one, with two endpoints, is behind a switch.
func TestSeedBTransportSSE(t *testing.T) {
	off := gatewaytest.Start(t, gateway.Config{Provider: &names{}, Factory: (&gatewaytest.Factory{}).Make})
	if got := off.Do(t, gatewaytest.Request{Method: "GET", Path: "/mcp/sse", Token: "alice"}); got.Status != http.StatusNotFound {
		t.Errorf("by default: %d %s", got.Status, got.Body)
	}
	s := gatewaytest.Start(t, gateway.Config{Provider: &names{}, Factory: (&gatewaytest.Factory{}).Make, LegacySSE: true})
	stream := openedSSE(t, s, "alice")
	stream.post(t, http.StatusAccepted, gatewaytest.CallTool(2, "whoami", "{}"))
	if got := stream.data(t); !strings.Contains(got, `"owner":"alice"`) {
		t.Errorf("the stream says %s", got)
	}
}

// cors and corsOrigin: a list of origins, required when cors is on; "*" is
// refused in production.
func TestSeedBTransportCORS(t *testing.T) {
	for _, test := range []struct {
		origins []string
		want    string
	}{
		{nil, `gateway: AllowedOrigins: missing, while CORS is on; expected the origins whose pages may call, such as "https://app.example.com"`},
		{[]string{"*"}, `gateway: AllowedOrigins[0]: found "*"; expected one origin, such as "https://app.example.com" ("*" is for Development)`},
	} {
		c := good()
		c.CORS, c.AllowedOrigins = true, test.origins
		if _, err := gateway.New(c); err == nil || err.Error() != test.want {
			t.Errorf("%q: %v, want %s", test.origins, err, test.want)
		}
	}
	s := gatewaytest.Start(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make, CORS: true, AllowedOrigins: []string{app, "https://other.example"}})
	for origin, status := range map[string]int{app: 204, "https://other.example": 204, "https://evil.example": 403} {
		got := s.Do(t, preflight(origin, "POST", "authorization"))
		if allowed := got.Header.Get("Access-Control-Allow-Origin"); got.Status != status || allowed != map[int]string{204: origin}[status] {
			t.Errorf("%s: %d, allowed is %q", origin, got.Status, allowed)
		}
	}
}

// waking is names that is not ready yet.
type waking struct{ names }

func (*waking) Ready() error { return errors.New("no keys yet, from secret.example") }

// Endpoints: MCP; health, of the status only, and readiness apart from it; a page
// for browsers at the base.
func TestSeedBEndpoints(t *testing.T) {
	s := gatewaytest.Start(t, gateway.Config{Provider: &waking{}, Factory: (&gatewaytest.Factory{}).Make})
	for _, test := range []struct {
		what    string
		request gatewaytest.Request
		status  int
		body    string // "" is any
	}{
		{"MCP", gatewaytest.ModernCall("alice", 7, "whoami", "{}"), 200, ""},
		{"MCP without a token", gatewaytest.ModernCall("", 7, "whoami", "{}"), 401, ""},
		{"health", gatewaytest.Request{Method: "GET", Path: "/mcp/health"}, 200, "{\"status\":\"ok\"}\n"},
		{"readiness", gatewaytest.Request{Method: "GET", Path: "/mcp/health/ready"}, 503, "{\"status\":\"not ready\"}\n"},
	} {
		if got := s.Do(t, test.request); got.Status != test.status || test.body != "" && got.Body != test.body {
			t.Errorf("%s: %d %q, want %d %q", test.what, got.Status, got.Body, test.status, test.body)
		}
	}
	page := s.Do(t, gatewaytest.Request{Method: "GET", Header: headers{"Accept": {"text/html"}}})
	if page.Status != 200 || page.Header.Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(page.Body, s.URL) {
		t.Errorf("a browser: %d %s", page.Status, page.Body)
	}
}

// Ephemeral instances: one for each request, closed after it.
func TestSeedBInstancesEphemeral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		factory := &gatewaytest.Factory{}
		s := gatewaytest.StartInMemory(t, gateway.Config{Provider: &names{}, Factory: factory.Make, ModernInstances: gateway.PerRequest})
		for n := 1; n <= 3; n++ {
			asks(t, s, "alice", "whoami")
			synctest.Wait()
			if len(factory.Made()) != n || len(factory.Closed()) != n || s.Stats().Alive.PerRequest != 0 {
				t.Errorf("after %d requests: %d made, %d closed, %+v", n, len(factory.Made()), len(factory.Closed()), s.Stats())
			}
		}
	})
}

// Pooled instances: one for each user, at most maxSize, of which the one used
// least recently makes room, until idleTimeout or maxLifetime.
func TestSeedBInstancesPooled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		factory := &gatewaytest.Factory{}
		s := gatewaytest.StartInMemory(t, gateway.Config{
			Provider: &names{}, Factory: factory.Make, MaxInstances: 2, IdleTimeout: 10 * time.Minute, MaxLifetime: time.Hour,
		})
		wants := func(when string, made, closed []string) {
			t.Helper()
			synctest.Wait()
			if !slices.Equal(factory.Made(), made) || !slices.Equal(factory.Closed(), closed) {
				t.Errorf("%s: made for %q, closed of %q; want %q and %q", when, factory.Made(), factory.Closed(), made, closed)
			}
		}
		for _, user := range []string{"alice", "bob", "alice", "carol"} {
			asks(t, s, user, "whoami")
			synctest.Wait()
		}
		wants("with three users", []string{"alice", "bob", "carol"}, []string{"bob"})
		for range 11 { // alice goes on for 55 minutes
			time.Sleep(5 * time.Minute)
			asks(t, s, "alice", "whoami")
		}
		wants("after carol's idle time", []string{"alice", "bob", "carol"}, []string{"bob", "carol"})
		time.Sleep(5 * time.Minute)
		asks(t, s, "alice", "whoami")
		wants("after the life of alice's", []string{"alice", "bob", "carol", "alice"}, []string{"bob", "carol", "alice"})
	})
	c := good()
	c.MaxLifetime, c.IdleTimeout = time.Minute, time.Hour
	const fault = "gateway: MaxLifetime: found 1m0s, while IdleTimeout is 1h0m0s; expected no less than IdleTimeout"
	if _, err := gateway.New(c); err == nil || err.Error() != fault {
		t.Errorf("New = %v, want %s", err, fault)
	}
}

// A changed credential replaces the pooled instance.
func TestSeedBInstanceOfAChangedCredential(t *testing.T) {
	v, factory := &vault{token: "first"}, telltale()
	s := gatewaytest.Start(t, gateway.Config{Provider: &names{}, Resolver: v, ResourceType: "mail", Factory: factory.Make})
	answers(t, s, "alice", "which", "made with first, called with first")
	v.set("second", nil)
	answers(t, s, "alice", "which", "made with second, called with second")
	gatewaytest.Eventually(t, "the first is closed", func() bool { return len(factory.Closed()) == 1 })
	if len(factory.Made()) != 2 || s.Stats().Alive.PerUser != 1 {
		t.Errorf("made for %q; %+v", factory.Made(), s.Stats())
	}
}

// Middleware, rate limit: maxRequests in a window for each user. It is on by
// default, and off when that is said.
func TestSeedBMiddlewareRateLimit(t *testing.T) {
	if got, want := gateway.WithDefaults(gateway.Config{}).UserRate, (limit.Rate{Requests: 1000, Per: time.Minute}); got != want {
		t.Errorf("the default is %v, want %v", got, want)
	}
	for rate, want := range map[limit.Rate][]int{{Requests: 2, Per: time.Minute}: {200, 200, 429, 429}, limit.Off: {200, 200, 200, 200}} {
		synctest.Test(t, func(t *testing.T) {
			s := gatewaytest.StartInMemory(t, gateway.Config{Provider: &names{}, Factory: (&gatewaytest.Factory{}).Make, UserRate: rate})
			for range 2 { // windows
				for _, user := range []string{"alice", "bob"} {
					var got []int
					for range want {
						got = append(got, asks(t, s, user, "whoami").Status)
					}
					if !slices.Equal(got, want) {
						t.Errorf("%v: %s is answered %d, want %d", rate, user, got, want)
					}
				}
				time.Sleep(time.Minute)
			}
		})
	}
}

// Middleware, logging: its level is that of the logger.
func TestSeedBMiddlewareLogging(t *testing.T) {
	for level, want := range map[slog.Level]int{slog.LevelInfo: 1, slog.LevelWarn: 0} {
		log := &gatewaytest.Log{}
		s := gatewaytest.Start(t, gateway.Config{
			Provider: &names{}, Factory: (&gatewaytest.Factory{}).Make, Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level})),
		})
		asks(t, s, "alice", "whoami")
		if err := s.Stop(); err != nil { // then it is written
			t.Fatal(err)
		}
		if got := strings.Count(log.String(), "msg=request "); got != want {
			t.Errorf("at level %v, %d lines of the request: %s", level, got, log)
		}
	}
}

// Middleware, request time-out: 30 s by default.
func TestSeedBMiddlewareTimeout(t *testing.T) {
	for _, timeout := range []time.Duration{0, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			factory := &gatewaytest.Factory{Setup: func(server *mcp.Server, _ gateway.Call) {
				gatewaytest.AddTool(server, "hang", func(ctx context.Context, _ *mcp.CallToolRequest) (string, error) { <-ctx.Done(); return "", ctx.Err() })
			}}
			s := gatewaytest.StartInMemory(t, gateway.Config{Provider: &names{}, Factory: factory.Make, RequestTimeout: timeout, WriteTimeout: time.Hour})
			want := max(timeout, 30*time.Second)
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			began := time.Now()
			got, err := s.Try(ctx, gatewaytest.ModernCall("alice", 7, "hang", "{}"))
			if took := time.Since(began); err != nil || took != want || got.Text() != fmt.Sprintf("request timed out after %v", want) {
				t.Errorf("after %v: %d %s, %v", took, got.Status, got.Body, err)
			}
		})
	}
}

// Middleware, request id: one for each request, the same in the answer, in the
// tool and in the log.
func TestSeedBMiddlewareRequestID(t *testing.T) {
	factory := &gatewaytest.Factory{Setup: func(server *mcp.Server, _ gateway.Call) {
		gatewaytest.AddTool(server, "id", func(ctx context.Context, _ *mcp.CallToolRequest) (string, error) { return mcpauth.RequestID(ctx), nil })
	}}
	s := gatewaytest.Start(t, gateway.Config{Provider: &names{}, Factory: factory.Make})
	seen := map[string]bool{}
	for range 3 {
		got := asks(t, s, "alice", "id")
		id := got.Header.Get("X-Request-Id")
		if id == "" || seen[id] || got.Text() != id {
			t.Errorf("the answer has %q, and the tool %q", id, got.Text())
		}
		seen[id] = true
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	for id := range seen {
		if n := strings.Count(s.Log.String(), "request_id="+id+" "); n != 1 {
			t.Errorf("%s is %d times in the log", id, n)
		}
	}
}

// Progress reaches the caller of that request only, though all users have the
// same ids and progress tokens; a user's stats are of that user's calls.
func TestSeedBProgress(t *testing.T) {
	users := []string{"alice", "bob", "carol"}
	factory := newTelling(len(users))
	s := gatewaytest.Start(t, gateway.Config{Provider: &names{}, Factory: factory.Make})
	asked := tale{"hello", 3}
	streams := map[string]*events{}
	for _, user := range users {
		stream, one := follow(t, s, t.Context(), tell(user, "", 7, `"same"`, asked))
		if want := told(user, 7, `"same"`, asked)[0]; one != want {
			t.Errorf("%s is told %q, want %q", user, one, want)
		}
		streams[user] = stream
	}
	for user, want := range map[string]int{"alice": 1, "carol": 1, "dave": 0} {
		if got := s.StatsOf(identity(t, "names", user)); got.Calls != want {
			t.Errorf("%s has %+v in progress, want %d", user, got, want)
		}
	}
	close(factory.proceed)
	for user, stream := range streams {
		if got, err := stream.rest(); err != nil || !slices.Equal(got, told(user, 7, `"same"`, asked)[1:]) {
			t.Errorf("%s is told %q, %v", user, got, err)
		}
	}
}

// Graceful stop on SIGINT and SIGTERM: the request in flight finishes, the
// instance is closed, and the caches are cleared.
func TestSeedBGracefulStop(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		addr, issuer, factory := gatewaytest.FreeAddr(t), gatewaytest.NewIssuer(t, "https://issuer.example"), newWaiting()
		audience := "http://" + addr + "/mcp"
		provider := gatewaytest.Provider(t, audience, issuer)
		g, err := gateway.New(gateway.Config{Provider: provider, Factory: factory.Make, Addr: addr, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ended, answered := make(chan error, 1), make(chan string, 1)
		go func() { ended <- g.Run(context.Background()) }()
		client := &gatewaytest.Server{URL: audience, Origin: "http://" + addr, HTTP: &http.Transport{DisableKeepAlives: true}}
		gatewaytest.Eventually(t, "it runs", func() bool {
			got, err := client.Try(t.Context(), gatewaytest.Request{Method: "GET", Path: "/mcp/health/ready"})
			return err == nil && got.Status == http.StatusOK
		})
		token := issuer.Token(t, audience, "alice")
		go func() {
			got, err := client.Try(context.WithoutCancel(t.Context()), gatewaytest.ModernCall(token, 7, "wait", "{}"))
			answered <- fmt.Sprint(got.Text(), err)
		}()
		gatewaytest.Receive(t, "the call to begin", factory.began)
		if _, ok := provider.Token(issuer.Name, "alice"); !ok {
			t.Error("her token is not kept while it runs")
		}
		if err := syscall.Kill(syscall.Getpid(), sig); err != nil {
			t.Fatal(err)
		}
		gatewaytest.Eventually(t, "nobody else is let in", func() bool {
			got, err := client.Try(t.Context(), gatewaytest.Request{Method: "GET", Path: "/mcp/health/ready"})
			return err != nil || got.Status != http.StatusOK
		})
		close(factory.proceed)
		if got := gatewaytest.Receive(t, "the answer", answered); got != "done for alice<nil>" {
			t.Errorf("%v: the call in flight: %s", sig, got)
		}
		if err := gatewaytest.Receive(t, "the end", ended); err != nil {
			t.Errorf("%v: Run = %v", sig, err)
		}
		if got := provider.Stats(); got.Accepted.Entries+got.Forwarded.Entries != 0 || !slices.Equal(factory.Closed(), []string{"alice"}) {
			t.Errorf("%v: %+v, closed %q", sig, got, factory.Closed())
		}
	}
}

// Extras: query parameters and X- headers are offered to the factory, as
// untrusted input, and never say who the user is.
func TestSeedBExtras(t *testing.T) {
	offered := make(chan gateway.Call, 1)
	factory := &gatewaytest.Factory{Setup: func(_ *mcp.Server, call gateway.Call) { offered <- call }}
	s := gatewaytest.Start(t, gateway.Config{Provider: &names{}, Factory: factory.Make})
	request := gatewaytest.ModernCall("alice", 7, "whoami", "{}")
	request.Path = "/mcp?workspace=7&userId=bob"
	for name, value := range map[string]string{"X-Workspace": "seven", "X-User-ID": "bob", "X-Api-Key": "bob's"} {
		request.Header[name] = []string{value}
	}
	who, err := gatewaytest.DecodeWho(s.Do(t, request).Text())
	if err != nil || who.Owner != "alice" || who.Caller != "alice" {
		t.Errorf("served as %+v, %v", who, err)
	}
	call := gatewaytest.Receive(t, "the factory", offered)
	if got := fmt.Sprintf("%s %v %v", call.Identity.UserID(), call.Extras.Query, call.Extras.Header); got != "alice map[userId:[bob] workspace:[7]] map[X-Workspace:[seven]]" {
		t.Errorf("the factory has %s", got)
	}
}
