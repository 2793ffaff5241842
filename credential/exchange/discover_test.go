package exchange_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/credential"
	"github.com/mcpauth-go/mcpauth/credential/exchange"
)

func discovering(issuer string) exchange.Config {
	c := config("")
	c.Issuer, c.SubjectIssuers, c.Actor = issuer, nil, nil
	return c
}

// server is an authorization server whose metadata is document, where {origin} is
// its own. It counts what it is asked.
func server(t *testing.T, document string) (origin string, metadata, exchanged *atomic.Int32) {
	metadata, exchanged = &atomic.Int32{}, &atomic.Int32{}
	origin = serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/oauth-authorization-server":
			metadata.Add(1)
			io.WriteString(w, strings.ReplaceAll(document, "{origin}", "http://"+r.Host))
		case "/token":
			exchanged.Add(1)
			says(200, good)(w, r)
		default:
			http.NotFound(w, r)
		}
	})
	return origin, metadata, exchanged
}

func TestDiscovery(t *testing.T) {
	origin, metadata, exchanged := server(t, `{"issuer":"{origin}","token_endpoint":"{origin}/token"}`)
	s := newSource(t, discovering(origin))
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if found, err := s.Fetch(t.Context(), user(t, mcpauth.IdentityFields{Issuer: origin}), "notes"); err != nil || found == nil {
				t.Errorf("%v, %v", found, err)
			}
		})
	}
	group.Wait()
	if metadata.Load() != 1 || exchanged.Load() != 20 {
		t.Errorf("metadata read %d times, for %d exchanges", metadata.Load(), exchanged.Load())
	}
	// Nobody's token goes there but the issuer's own users'.
	if found, err := s.Fetch(t.Context(), user(t, mcpauth.IdentityFields{}), "notes"); found != nil || err != nil || exchanged.Load() != 20 {
		t.Errorf("another issuer's user: %v, %v", found, err)
	}
}

// Whoever writes the metadata must not be able to send users' tokens into the
// network of this server, or over a wire in plain.
func TestWhereMetadataMayLead(t *testing.T) {
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the inside has been reached") }))
	defer inside.Close()
	_, port, _ := net.SplitHostPort(inside.Listener.Addr().String())
	for _, test := range []struct{ document, kind, text string }{
		{`{"issuer":"{origin}","token_endpoint":"{origin}/token"}`, "", ""},
		{`{"issuer":"{origin}/","token_endpoint":"{origin}/token"}`, "fault", "the document is of issuer"},
		{`{"issuer":"https://other.example.com","token_endpoint":"{origin}/token"}`, "fault", "the document is of issuer"},
		{`{"token_endpoint":"{origin}/token"}`, "fault", "the document is of issuer"},
		{`{"issuer":"{origin}"}`, "fault", `no "token_endpoint"`},
		{`{"issuer":"{origin}","token_endpoint":["{origin}/token"]}`, "fault", "not a string"},
		{`{"issuer":"{origin}","token_endpoint":"{origin}/token","token_endpoint":"{origin}/token"}`, "fault", "the same name twice"},
		{`<html>`, "fault", "not valid JSON"},
		{`{"issuer":"{origin}","token_endpoint":"/token"}`, "fault", "not an absolute URL"},
		{`{"issuer":"{origin}","token_endpoint":"file:///etc/passwd"}`, "fault", "not an absolute URL"},
		{`{"issuer":"{origin}","token_endpoint":"https://user:canary@example.com/"}`, "fault", "user name or password"},
		{`{"issuer":"{origin}","token_endpoint":"http://example.com/token"}`, "fault", "neither loopback nor"},
		{`{"issuer":"{origin}","token_endpoint":"http://127.0.0.1:` + port + `/"}`, "fault", "not public"},
		{`{"issuer":"{origin}","token_endpoint":"https://127.0.0.1:` + port + `/"}`, "fault", "not public"},
		{`{"issuer":"{origin}","token_endpoint":"https://localhost:` + port + `/"}`, "fault", "not public"},
		{`{"issuer":"{origin}","token_endpoint":"https://10.0.0.1/"}`, "fault", "not public"},
		{`{"issuer":"{origin}","token_endpoint":"https://[::ffff:10.0.0.1]/"}`, "fault", "not public"},
		{`{"issuer":"{origin}","token_endpoint":"https://[2002:a00:1::1]/"}`, "fault", "not public"},
		{`{"issuer":"{origin}","token_endpoint":"https://169.254.169.254/"}`, "transient", "link-local"},
		{`{"issuer":"{origin}","token_endpoint":"https://[64:ff9b::a9fe:a9fe]/"}`, "transient", "link-local"},
	} {
		t.Run(test.document, func(t *testing.T) {
			origin, _, _ := server(t, test.document)
			found, err := newSource(t, discovering(origin)).Fetch(t.Context(), user(t, mcpauth.IdentityFields{Issuer: origin}), "notes")
			if test.kind == "" {
				if err != nil || found == nil {
					t.Errorf("%v, %v", found, err)
				}
				return
			}
			wantFailure(t, found, err, test.kind, test.text)
		})
	}
}

// Nor may a name that the metadata or the operator has lead there.
func TestWhereNamesMayLead(t *testing.T) {
	var asked atomic.Bool // both kinds of address are asked for at once
	resolver := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		asked.Store(true)
		return nil, errors.New("no names here")
	}}
	c := config("https://token.example.com/").Resolving(resolver)
	found, err := newSource(t, c).Fetch(t.Context(), user(t, mcpauth.IdentityFields{}), "notes")
	wantFailure(t, found, err, "transient", "no names here")
	if !asked.Load() {
		t.Error("nobody was asked for the name")
	}
	for _, at := range []string{"https://169.254.169.254/", "https://[fe80::1]/", "https://[::ffff:169.254.169.254]/", "https://[fd00:ec2::254]/"} {
		_, err := newSource(t, config(at)).Fetch(t.Context(), user(t, mcpauth.IdentityFields{}), "notes")
		if err == nil || !strings.Contains(err.Error(), "link-local") && !strings.Contains(err.Error(), "metadata server") {
			t.Errorf("%s: %v", at, err)
		}
	}
}

func TestMetadataThatIsNotThere(t *testing.T) {
	for status, want := range map[int]string{404: "fault", 401: "fault", 302: "fault", 503: "transient", 429: "transient"} {
		origin := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) })
		found, err := newSource(t, discovering(origin)).Fetch(t.Context(), user(t, mcpauth.IdentityFields{Issuer: origin}), "notes")
		wantFailure(t, found, err, want, fmt.Sprintf("status %d", status))
	}
}

func TestMetadataThatIsToBeAskedForLater(t *testing.T) {
	for status, want := range map[int]time.Duration{429: 7 * time.Second, 503: 7 * time.Second, 404: 0} {
		origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
			// One of the two places where it may be is not there at all.
			if r.URL.Path == "/.well-known/openid-configuration" {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(status)
		})
		r, err := credential.New(credential.Config{Source: newSource(t, discovering(origin)), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Resolve(t.Context(), user(t, mcpauth.IdentityFields{Issuer: origin}), "notes")
		if e := (*mcpauth.Error)(nil); !errors.As(err, &e) || e.Code != mcpauth.ErrUnavailable || e.RetryAfter != want {
			t.Errorf("status %d: %v, want to come again in %s", status, err, want)
		}
		r.Close()
	}
}

func TestFaults(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*exchange.Config)
		want   string
	}{
		{"nothing", func(c *exchange.Config) { *c = exchange.Config{} },
			"Issuer: empty, as is TokenURL; SubjectIssuers: empty, as is Issuer; Targets: empty; Client.Method: neither a secret nor a key"},
		{"a token endpoint over plain http", func(c *exchange.Config) { c.TokenURL = "http://issuer.example.com/token" }, `TokenURL: http to "issuer.example.com", which is neither`},
		{"an issuer that is no URL", func(c *exchange.Config) { c.TokenURL, c.Issuer = "", "me" }, "Issuer: leads to no metadata: not an absolute URL"},
		{"an issuer with a query", func(c *exchange.Config) { c.TokenURL, c.Issuer = "", issuer+"?x" }, "Issuer: leads to no metadata: it has a query"},
		{"a users' issuer", func(c *exchange.Config) { c.SubjectIssuers = []string{"a", " b"} }, `SubjectIssuers[1]: " b" begins`},
		{"types", func(c *exchange.Config) { c.SubjectTokenType, c.ActorTokenType = "jwt", " " }, `SubjectTokenType: found "jwt"; ActorTokenType: found " "`},
		{"a refresh token", func(c *exchange.Config) {
			c.Targets["x"] = exchange.Target{Scopes: []string{"a"}, RequestedTokenType: "urn:ietf:params:oauth:token-type:refresh_token"}
		}, `Targets["x"].RequestedTokenType: a refresh token`},
		{"targets", func(c *exchange.Config) {
			c.Targets = map[string]exchange.Target{"": {Audience: []string{""}}, "a": {}, "b": {Resource: []string{"/x", "https://a#b"}, Scopes: []string{"a b"}}}
		}, `Targets[""]: an empty resource type; Targets[""].Audience[0]: empty; Targets["a"]: empty; Targets["b"].Resource[0]: found "/x"; Targets["b"].Resource[1]: found "https://a#b"; Targets["b"].Scopes[0]: found "a b"`},
		{"codes", func(c *exchange.Config) { c.NotConnected = []string{"", "invalid_client"} }, `NotConnected[0]: empty; NotConnected[1]: found "invalid_client", which is not about the user`},
		{"a long time", func(c *exchange.Config) { c.Timeout = 1 << 40 }, "Timeout: found 18m"},
		{"no authorities", func(c *exchange.Config) { c.CAFile = "/does/not/exist" }, "CAFile: no such file"},
		{"hosts", func(c *exchange.Config) { c.PlainHTTPHosts = []string{"http://a"} }, "PlainHTTPHosts[0]: found"},
		{"a client without a name", func(c *exchange.Config) { c.Client.ClientID = "" }, "Client.ClientID: empty"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := config("https://issuer.example.com/token")
			test.change(&c)
			_, err := exchange.New(c)
			var e *mcpauth.ConfigError
			if !errors.As(err, &e) || e.Package != "exchange" {
				t.Fatal(err)
			}
			var got []string
			for _, f := range e.Faults {
				got = append(got, f.Field+": "+f.Problem)
			}
			if text := strings.Join(got, "; "); !strings.HasPrefix(text, test.want) || strings.Contains(text, "canary") || strings.Count(text, "; ") != strings.Count(test.want, "; ") {
				t.Errorf("%s, want %s", text, test.want)
			}
		})
	}
}

func TestFilesOfTokens(t *testing.T) {
	c := config("https://issuer.example.com/token")
	c.Actor = exchange.TokenFile("/does/not/exist/canary")
	found, err := newSource(t, c).Fetch(t.Context(), user(t, mcpauth.IdentityFields{}), "notes")
	wantFailure(t, found, err, "fault", "the actor's token: the file of the token: no such file or directory")
}
