package env_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/env"
)

var discard = slog.New(slog.DiscardHandler)

// surroundings sets the environment for a test: nothing of it, and then pairs.
func surroundings(t testing.TB, pairs ...string) {
	t.Helper()
	for _, name := range []string{env.Variable, "APP_ENV", "GO_ENV", "NODE_ENV"} {
		t.Setenv(name, "")
		os.Unsetenv(name)
	}
	for i := 0; i < len(pairs); i += 2 {
		t.Setenv(pairs[i], pairs[i+1])
	}
}

func newProvider(t testing.TB, c env.Config) *env.Provider {
	t.Helper()
	if c.Logger == nil {
		c.Logger = discard
	}
	p, err := env.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// request is one of this machine, with headers given as name and value.
func request(pairs ...string) *mcpauth.Request {
	r := &mcpauth.Request{Header: http.Header{"Accept": {"application/json"}}, Host: "localhost:8080", RemoteAddr: "127.0.0.1:50000"}
	for i := 0; i < len(pairs); i += 2 {
		r.Header.Add(pairs[i], pairs[i+1])
	}
	return r
}

// answer returns the user whom p takes r to be from, or why it refuses r.
func answer(t testing.TB, p *env.Provider, r *mcpauth.Request) (user string, refused mcpauth.Code) {
	t.Helper()
	id, err := p.Authenticate(context.Background(), r)
	if err == nil {
		return id.UserID(), ""
	}
	var e *mcpauth.Error
	if !errors.As(err, &e) || id != nil || e.Message == "" {
		t.Fatalf("%v and %v", id, err)
	}
	return "", e.Code
}

func fieldsOf(t testing.TB, c env.Config) []string {
	t.Helper()
	p, err := env.New(c)
	var faults *mcpauth.ConfigError
	if !errors.As(err, &faults) || p != nil || faults.Package != "env" {
		t.Fatalf("New = %v, %v", p, err)
	}
	var fields []string
	for _, f := range faults.Faults {
		fields = append(fields, f.Field)
		if f.Expected == "" {
			t.Errorf("nothing is expected: %v", f)
		}
	}
	return fields
}

// The rows of the pattern that this project grew from.

func TestSeedDefaultUserFromEnvironment(t *testing.T) {
	surroundings(t, env.Variable, "alice")
	p := newProvider(t, env.Config{Scopes: []string{"notes:read"}})
	id, err := p.Authenticate(t.Context(), request())
	if err != nil {
		t.Fatal(err)
	}
	if id.UserID() != "alice" || id.Issuer() != "urn:mcpauth:env" || id.Tenant() != "" || !id.HasScopes("notes:read") || id.HasScopes("notes:write") ||
		!id.Expiry().IsZero() || !id.Token().IsZero() || len(id.Metadata()) != 0 {
		t.Errorf("%v, scopes %q", id, id.Scopes())
	}
	t.Run("which the configuration may name instead", func(t *testing.T) {
		other := newProvider(t, env.Config{User: "bob", Issuer: "urn:example"})
		if id, err := other.Authenticate(t.Context(), request()); err != nil || id.UserID() != "bob" || id.Issuer() != "urn:example" {
			t.Errorf("%v, %v", id, err)
		}
	})
	t.Run("and is read once", func(t *testing.T) {
		t.Setenv(env.Variable, "mallory")
		if user, _ := answer(t, p, request()); user != "alice" {
			t.Errorf("user %q", user)
		}
	})
	t.Run("without one there is no provider", func(t *testing.T) {
		surroundings(t)
		if got := fieldsOf(t, env.Config{}); !slices.Equal(got, []string{env.Variable}) {
			t.Errorf("faults of %q", got)
		}
	})
}

func TestSeedXUserIDOverrideIsOffByDefault(t *testing.T) {
	surroundings(t, env.Variable, "alice")
	off := newProvider(t, env.Config{AllowedUsers: []string{"alice", "bob"}})
	if user, _ := answer(t, off, request("X-User-ID", "bob")); user != "alice" {
		t.Errorf("off, the user is %q", user)
	}
	on := newProvider(t, env.Config{UserHeader: true, AllowedUsers: []string{"alice", "bob"}})
	if user, _ := answer(t, on, request("X-User-ID", "bob")); user != "bob" {
		t.Errorf("on, the user is %q", user)
	}
	if user, _ := answer(t, on, request()); user != "alice" {
		t.Errorf("on and without the header, the user is %q", user)
	}
}

func TestSeedAllowedList(t *testing.T) {
	surroundings(t, env.Variable, "alice")
	p := newProvider(t, env.Config{UserHeader: true, AllowedUsers: []string{"alice", "bob"}})
	for _, test := range []struct {
		name   string
		values []string
		user   string
		code   mcpauth.Code
	}{
		{"allowed", []string{"bob"}, "bob", ""},
		{"not allowed", []string{"mallory"}, "", mcpauth.ErrForbidden},
		{"in another case", []string{"BOB"}, "", mcpauth.ErrForbidden},
		{"a prefix", []string{"bo"}, "", mcpauth.ErrForbidden},
		{"two in one", []string{"alice, bob"}, "", mcpauth.ErrForbidden},
		{"empty", []string{""}, "", mcpauth.ErrMalformedHeader},
		{"a space behind", []string{"bob "}, "", mcpauth.ErrMalformedHeader},
		{"twice", []string{"bob", "bob"}, "", mcpauth.ErrMalformedHeader},
		{"a line feed", []string{"bob\n"}, "", mcpauth.ErrMalformedHeader},
		{"a NUL", []string{"bob\x00"}, "", mcpauth.ErrMalformedHeader},
		{"no UTF-8", []string{"bob\xff"}, "", mcpauth.ErrMalformedHeader},
		{"too long", []string{strings.Repeat("b", 257)}, "", mcpauth.ErrMalformedHeader},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := request()
			r.Header["X-User-Id"] = test.values
			if user, code := answer(t, p, r); user != test.user || code != test.code {
				t.Errorf("%q, %q, want %q, %q", user, code, test.user, test.code)
			}
		})
	}
	if got := fieldsOf(t, env.Config{AllowedUsers: []string{"bob"}, Logger: discard}); !slices.Equal(got, []string{"AllowedUsers"}) {
		t.Errorf("a default user who is not allowed: faults of %q", got)
	}
}

func TestSeedRefusesToStartInProduction(t *testing.T) {
	for _, name := range []string{"APP_ENV", "GO_ENV", "NODE_ENV"} {
		for _, value := range []string{"production", "Production", "PRODUCTION", " production "} {
			surroundings(t, env.Variable, "alice", name, value)
			if got := fieldsOf(t, env.Config{}); !slices.Equal(got, []string{name}) {
				t.Errorf("%s=%s: faults of %q", name, value, got)
			}
		}
		for _, value := range []string{"", "development", "test", "staging"} {
			surroundings(t, env.Variable, "alice", name, value)
			newProvider(t, env.Config{})
		}
	}
	surroundings(t, "APP_ENV", "production", "GO_ENV", "production", "NODE_ENV", "development")
	if got := fieldsOf(t, env.Config{}); !slices.Equal(got, []string{"APP_ENV", "GO_ENV", env.Variable}) {
		t.Errorf("everything at once: faults of %q", got)
	}
}

func TestSeedRefusesANonLoopbackAddress(t *testing.T) {
	p := newProvider(t, env.Config{User: "alice"})
	for _, test := range []struct {
		name, remote, host string
		taken              bool
	}{
		{"loopback", "127.0.0.1:1", "127.0.0.1:8080", true},
		{"another of loopback", "127.8.9.10:1", "127.8.9.10", true},
		{"by IPv6", "[::1]:1", "[::1]:8080", true},
		{"by IPv6, without a port", "[::1]:1", "[::1]", true},
		{"mapped", "[::ffff:127.0.0.1]:1", "localhost", true},
		{"in upper case", "127.0.0.1:1", "LOCALHOST:8080", true},

		{"another machine", "192.0.2.1:1", "localhost", false},
		{"of a private network", "10.0.0.2:1", "localhost", false},
		{"of the link", "169.254.1.1:1", "localhost", false},
		{"by IPv6 from another", "[2001:db8::1]:1", "localhost", false},
		{"mapped from another", "[::ffff:192.0.2.1]:1", "localhost", false},
		{"the unspecified address", "0.0.0.0:1", "localhost", false},
		{"not known", "", "localhost", false},
		{"a Unix socket", "@", "localhost", false},
		{"without a port", "127.0.0.1", "localhost", false},
		{"a name", "localhost:1", "localhost", false},

		// A name that was made to lead here, or a tunnel.
		{"another name", "127.0.0.1:1", "attacker.example", false},
		{"another name with the port", "127.0.0.1:1", "attacker.example:8080", false},
		{"below localhost", "127.0.0.1:1", "a.localhost", false},
		{"like localhost", "127.0.0.1:1", "localhost.attacker.example", false},
		{"an address as a name", "127.0.0.1:1", "127.0.0.1.attacker.example", false},
		{"a short address", "127.0.0.1:1", "127.1", false},
		{"a number", "127.0.0.1:1", "2130706433", false},
		{"all addresses", "127.0.0.1:1", "0.0.0.0:8080", false},
		{"half a bracket", "127.0.0.1:1", "localhost]", false},
		{"user and password", "127.0.0.1:1", "localhost@attacker.example", false},
		{"none", "127.0.0.1:1", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := request()
			r.RemoteAddr, r.Host = test.remote, test.host
			if user, code := answer(t, p, r); test.taken != (user == "alice") || !test.taken && code != mcpauth.ErrForbidden {
				t.Errorf("%q, %q", user, code)
			}
		})
	}
	t.Run("and a gateway can tell", func(t *testing.T) {
		if _, ok := any(p).(mcpauth.DevelopmentOnly); !ok {
			t.Error("no marker")
		}
	})
}

func TestSeedLoudWarning(t *testing.T) {
	var logged bytes.Buffer
	p := newProvider(t, env.Config{User: "alice", Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if text := logged.String(); strings.Count(text, "level=WARN") != 1 || !strings.Contains(text, "NOBODY IS ASKED FOR A CREDENTIAL") || !strings.Contains(text, "user.user=alice") {
		t.Errorf("at the start: %s", text)
	}
	logged.Reset()
	answer(t, p, request("Via", "1.1 proxy"))
	if logged.Len() > 0 {
		t.Errorf("at a refusal: %s", &logged)
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() { p.Authenticate(context.Background(), request()) })
	}
	group.Wait()
	if text := logged.String(); strings.Count(text, "level=WARN") != 1 || !strings.Contains(text, "without a credential") {
		t.Errorf("at the first requests: %s", text)
	}
}

func TestHostileRequests(t *testing.T) {
	p := newProvider(t, env.Config{User: "alice"})
	for _, test := range []struct {
		name    string
		pairs   []string
		code    mcpauth.Code
		message string
	}{
		{"a token", []string{"Authorization", "Bearer x"}, mcpauth.ErrMalformedHeader, "takes no credential"},
		{"another scheme", []string{"Authorization", "Basic x"}, mcpauth.ErrMalformedHeader, "takes no credential"},
		{"an empty header", []string{"Authorization", ""}, mcpauth.ErrMalformedHeader, "takes no credential"},
		{"a key", []string{"X-API-Key", "x"}, mcpauth.ErrMalformedHeader, "takes no credential"},
		{"an empty key", []string{"X-API-Key", ""}, mcpauth.ErrMalformedHeader, "takes no credential"},
		{"Forwarded", []string{"Forwarded", "for=192.0.2.1"}, mcpauth.ErrForbidden, "through a proxy"},
		{"Forwarded, empty", []string{"Forwarded", ""}, mcpauth.ErrForbidden, "through a proxy"},
		{"X-Forwarded-For", []string{"X-Forwarded-For", "127.0.0.1"}, mcpauth.ErrForbidden, "through a proxy"},
		{"X-Forwarded-Host", []string{"X-Forwarded-Host", "localhost"}, mcpauth.ErrForbidden, "through a proxy"},
		{"X-Forwarded-Proto", []string{"X-Forwarded-Proto", "https"}, mcpauth.ErrForbidden, "through a proxy"},
		{"one of the family that is yet to come", []string{"X-Forwarded-Anything", "x"}, mcpauth.ErrForbidden, "through a proxy"},
		{"X-Real-IP", []string{"X-Real-IP", "127.0.0.1"}, mcpauth.ErrForbidden, "through a proxy"},
		{"Via", []string{"Via", "1.1 proxy"}, mcpauth.ErrForbidden, "through a proxy"},
		{"a page of another site", []string{"Sec-Fetch-Site", "cross-site"}, mcpauth.ErrForbidden, "pages of other sites"},
		{"a page of the same site", []string{"Sec-Fetch-Site", "same-site"}, mcpauth.ErrForbidden, "pages of other sites"},
		{"a page of an unknown site", []string{"Sec-Fetch-Site", "x"}, mcpauth.ErrForbidden, "pages of other sites"},
		{"two sites", []string{"Sec-Fetch-Site", "none", "Sec-Fetch-Site", "cross-site"}, mcpauth.ErrForbidden, "pages of other sites"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := p.Authenticate(t.Context(), request(test.pairs...))
			if !errors.Is(err, test.code) || !strings.Contains(mcpauth.AsError(err).Message, test.message) {
				t.Errorf("%v, want %s: %s", err, test.code, test.message)
			}
		})
	}
	t.Run("names that net/http has not put in order", func(t *testing.T) {
		for _, name := range []string{"forwarded", "VIA", "x-forwarded-for"} {
			r := request()
			r.Header[name] = []string{"x"}
			if _, code := answer(t, p, r); code != mcpauth.ErrForbidden {
				t.Errorf("%s: %q", name, code)
			}
		}
	})
	for _, site := range []string{"none", "same-origin"} {
		if user, _ := answer(t, p, request("Sec-Fetch-Site", site)); user != "alice" {
			t.Errorf("Sec-Fetch-Site: %s is refused", site)
		}
	}
}

// The way that a request really comes.
func TestBehindRequire(t *testing.T) {
	p := newProvider(t, env.Config{User: "alice"})
	server := httptest.NewServer(mcpauth.Require(p, mcpauth.Requirement{Logger: discard})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(mcpauth.FromContext(r.Context()).UserID()))
	})))
	defer server.Close()
	for _, test := range []struct {
		header, value, host string
		status              int
	}{
		{"", "", "", 200}, {"Authorization", "Bearer x", "", 400}, {"X-Forwarded-For", "192.0.2.1", "", 403},
		{"Sec-Fetch-Site", "cross-site", "", 403}, {"", "", "attacker.example", 403},
	} {
		r, err := http.NewRequestWithContext(t.Context(), "POST", server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.Host = test.host; test.header != "" {
			r.Header.Set(test.header, test.value)
		}
		response, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != test.status || response.StatusCode == 403 && response.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s %s %s: %d, want %d", test.header, test.value, test.host, response.StatusCode, test.status)
		}
	}
}

func TestRecognizesWhatHasNoCredential(t *testing.T) {
	p := newProvider(t, env.Config{User: "alice"})
	for _, test := range []struct {
		name string
		r    *mcpauth.Request
		want bool
	}{
		{"none", request(), true},
		{"none, from elsewhere", &mcpauth.Request{}, true},
		{"a user", request("X-User-ID", "bob"), true},
		{"a token", request("Authorization", "Bearer x"), false},
		{"an empty header", request("Authorization", ""), false},
		{"a key", request("X-API-Key", "x"), false},
	} {
		if got := p.Recognizes(test.r); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func TestFaults(t *testing.T) {
	surroundings(t)
	for _, test := range []struct {
		name     string
		variable string
		config   env.Config
		want     []string
	}{
		{"a user with a space", "alice ", env.Config{}, []string{env.Variable}},
		{"a user with a line feed", "", env.Config{User: "alice\n"}, []string{"User"}},
		{"a user with a NUL", "", env.Config{User: "a\x00b"}, []string{"User"}},
		{"a user that is no UTF-8", "", env.Config{User: "\xff"}, []string{"User"}},
		{"a long user", "", env.Config{User: strings.Repeat("a", 257)}, []string{"User"}},
		{"the header without a list", "alice", env.Config{UserHeader: true}, []string{"AllowedUsers"}},
		{"bad users in the list", "alice", env.Config{AllowedUsers: []string{"alice", "", "b\t"}}, []string{"AllowedUsers[1]", "AllowedUsers[2]"}},
		{"an issuer with a NUL", "alice", env.Config{Issuer: "a\x00"}, []string{"Issuer"}},
		{"scopes that are none", "alice", env.Config{Scopes: []string{"a", "", "b c", `"`, "ä"}}, []string{"Scopes[1]", "Scopes[2]", "Scopes[3]", "Scopes[4]"}},
		{"everything", "", env.Config{Issuer: " ", UserHeader: true, Scopes: []string{" "}}, []string{env.Variable, "AllowedUsers", "Issuer", "Scopes[0]"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv(env.Variable, test.variable)
			if got := fieldsOf(t, test.config); !slices.Equal(got, test.want) {
				t.Errorf("faults of %q, want %q", got, test.want)
			}
		})
	}
}

func TestLifecycle(t *testing.T) {
	p, err := env.New(env.Config{User: "alice", Logger: discard})
	if err != nil {
		t.Fatal(err)
	}
	if user, _ := answer(t, p, request()); user != "alice" {
		t.Error("no answer before Start")
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p.Start(t.Context()) == nil {
		t.Error("started twice")
	}
	if err := errors.Join(p.Close(), p.Close()); err != nil {
		t.Error(err)
	}
	if _, code := answer(t, p, request()); code != mcpauth.ErrUnavailable || p.Start(t.Context()) == nil {
		t.Errorf("after Close: %q", code)
	}
}

func TestRequestsCostNoAllocation(t *testing.T) {
	p := newProvider(t, env.Config{User: "alice", UserHeader: true, AllowedUsers: []string{"alice", "bob"}})
	r := request("X-User-ID", "bob", "Sec-Fetch-Site", "none")
	answer(t, p, r)
	if n := testing.AllocsPerRun(200, func() { p.Authenticate(context.Background(), r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzRequest: nobody but the allowed users, and nothing that was not sent by
// this machine to itself, as net/http hands it on.
func FuzzRequest(f *testing.F) {
	for _, seed := range [][4]string{
		{"127.0.0.1:1", "localhost", "X-User-Id", "bob"}, {"[::1]:1", "[::1]:80", "Accept", "x"}, {"192.0.2.1:1", "localhost", "", ""},
		{"127.0.0.1:1", "a.example", "Via", "x"}, {"127.0.0.1:1", "localhost:x", "Sec-Fetch-Site", "cross-site"}, {"", "", "X-Forwarded-For", ""},
		{"127.0.0.1:1", "[::ffff:7f00:1]", "Authorization", "Bearer x"}, {"[::1%lo]:1", "[::1%25lo]", "X-Api-Key", "x"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	p := newProvider(f, env.Config{User: "alice", UserHeader: true, AllowedUsers: []string{"alice", "bob"}})
	f.Fuzz(func(t *testing.T, remote, host, name, value string) {
		name = http.CanonicalHeaderKey(name)
		user, code := answer(t, p, &mcpauth.Request{Header: http.Header{name: {value}}, Host: host, RemoteAddr: remote})
		if code != "" {
			return
		}
		want := "alice"
		if name == "X-User-Id" {
			want = value
		}
		hostile := name == "Authorization" || name == "X-Api-Key" || name == "Via" || name == "Forwarded" || strings.HasPrefix(name, "X-Forwarded") ||
			name == "Sec-Fetch-Site" && strings.Contains(value, "site")
		from, _, err := net.SplitHostPort(remote)
		local := err == nil && net.ParseIP(from).IsLoopback()
		if user != want || user != "alice" && user != "bob" || hostile || !local || host == "" {
			t.Errorf("%q, from %q for %q, %s: %s", user, remote, host, name, value)
		}
	})
}
