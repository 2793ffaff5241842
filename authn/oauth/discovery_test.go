package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/oauth"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
)

func TestDiscovery(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked %s", r.URL) }))
	defer other.Close()
	for _, test := range []struct {
		name, path, document string
		passes               bool
	}{
		{"as OpenID Connect has it", "/.well-known/openid-configuration", `{"issuer":"{url}","introspection_endpoint":"{url}/introspect"}`, true},
		{"as RFC 8414 has it", "/.well-known/oauth-authorization-server", `{"issuer":"{url}","introspection_endpoint":"{url}/introspect"}`, true},
		{"another issuer", "/.well-known/openid-configuration", `{"issuer":"{url}/","introspection_endpoint":"{url}/introspect"}`, false},
		{"no issuer", "/.well-known/openid-configuration", `{"introspection_endpoint":"{url}/introspect"}`, false},
		{"no endpoint", "/.well-known/openid-configuration", `{"issuer":"{url}"}`, false},
		{"an endpoint of another type", "/.well-known/openid-configuration", `{"issuer":"{url}","introspection_endpoint":["{url}/introspect"]}`, false},
		{"the endpoint twice", "/.well-known/openid-configuration", `{"issuer":"{url}","introspection_endpoint":"{url}/introspect","introspection_endpoint":"{url}/introspect"}`, false},
		{"an endpoint in this machine", "/.well-known/openid-configuration", `{"issuer":"{url}","introspection_endpoint":"{other}/introspect"}`, false},
		{"an endpoint in this network", "/.well-known/openid-configuration", `{"issuer":"{url}","introspection_endpoint":"https://10.0.0.1/introspect"}`, false},
		{"an endpoint of the cloud", "/.well-known/openid-configuration", `{"issuer":"{url}","introspection_endpoint":"https://169.254.169.254/introspect"}`, false},
		{"an endpoint over plain http", "/.well-known/openid-configuration", `{"issuer":"{url}","introspection_endpoint":"http://example.com/introspect"}`, false},
		{"a file", "/.well-known/openid-configuration", `{"issuer":"{url}","introspection_endpoint":"file:///etc/passwd"}`, false},
		{"HTML", "/.well-known/openid-configuration", `<html>`, false},
		{"huge", "/.well-known/openid-configuration", `{"issuer":"{url}","introspection_endpoint":"{url}/introspect","x":"` + strings.Repeat("x", 300<<10) + `"}`, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newAuthority(t, good())
			server := httptest.NewServer(nil)
			defer server.Close()
			server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case test.path:
					fmt.Fprint(w, strings.NewReplacer("{url}", server.URL, "{other}", other.URL).Replace(test.document))
				case "/introspect":
					fmt.Fprint(w, good())
				default:
					http.NotFound(w, r)
				}
			})
			c := a.config()
			c.Issuer = server.URL
			p := newProvider(t, c)
			if test.passes {
				passes(t, p, "t")
				return
			}
			refused(t, p, "t", mcpauth.ErrUnavailable)
		})
	}
}

func TestMetadataThatTheIssuerDoesNotLeadTo(t *testing.T) {
	a := newAuthority(t, good())
	c := a.config()
	c.Issuer, c.MetadataURL = "https://issuer.example", a.URL+"/.well-known/openid-configuration"
	// It names another issuer.
	refused(t, newProvider(t, c), "t", mcpauth.ErrUnavailable)
	c.MetadataURL, c.Endpoint = "", a.URL+"/introspect"
	if id := passes(t, newProvider(t, c), "t"); id.Issuer() != "https://issuer.example" {
		t.Errorf("%v", id)
	}
}

// slow is an issuer whose metadata waits for answer, which writes it.
func slow(t *testing.T, answer func(issuer string, w http.ResponseWriter, r *http.Request)) (*oauth.Provider, *atomic.Int64) {
	t.Helper()
	asked := &atomic.Int64{}
	server := httptest.NewServer(nil)
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			asked.Add(1)
			answer(server.URL, w, r)
		case "/introspect":
			fmt.Fprint(w, good())
		default:
			http.NotFound(w, r)
		}
	})
	t.Cleanup(server.Close)
	c := newAuthority(t, good()).config()
	c.Issuer = server.URL
	return newProvider(t, c), asked
}

func found(issuer string, w http.ResponseWriter) {
	fmt.Fprintf(w, `{"issuer":%q,"introspection_endpoint":%q}`, issuer, issuer+"/introspect")
}

// waiting is a context that says when its end is waited for.
type waiting struct {
	context.Context
	told func()
}

func (w *waiting) Done() <-chan struct{} {
	w.told()
	return w.Context.Done()
}

func TestWhoLeavesEndsNoDiscovery(t *testing.T) {
	began, release := make(chan struct{}), make(chan struct{})
	p, asked := slow(t, func(issuer string, w http.ResponseWriter, _ *http.Request) {
		began <- struct{}{}
		<-release
		found(issuer, w)
	})
	first, leave := context.WithCancel(t.Context())
	left, stayed := make(chan error, 1), make(chan error, 1)
	go func() { left <- p.Discover(first) }()
	<-began
	joined := make(chan struct{})
	go func() { stayed <- p.Discover(&waiting{t.Context(), sync.OnceFunc(func() { close(joined) })}) }()
	<-joined
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Discover(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("who has left waits, and gets %v", err)
	}
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("who leaves gets %v", err)
	}
	close(release)
	if err := <-stayed; err != nil {
		t.Errorf("who stays gets %v", err)
	}
	if asked.Load() != 1 {
		t.Errorf("asked %d times", asked.Load())
	}
}

func TestOneFailedDiscoveryIsOneFailure(t *testing.T) {
	release := make(chan struct{})
	var works atomic.Bool
	p, _ := slow(t, func(issuer string, w http.ResponseWriter, _ *http.Request) {
		if works.Load() {
			found(issuer, w)
			return
		}
		<-release
		w.WriteHeader(http.StatusBadGateway)
	})
	const tokens = 5
	results := make(chan error, tokens)
	for i := range tokens {
		go func() {
			_, err := p.Verify(t.Context(), fmt.Sprint("t", i))
			results <- err
		}()
	}
	gatewaytest.Eventually(t, "all wait for the metadata", func() bool { return p.Asking() == tokens })
	close(release)
	for range tokens {
		if err := <-results; mcpauth.AsError(err).Code != mcpauth.ErrUnavailable {
			t.Error(err)
		}
	}
	works.Store(true)
	passes(t, p, "t")
}

// Each discovery that nobody waits for to its end counts all the same.
func TestAnIssuerThatHangsIsLeftAloneForAWhile(t *testing.T) {
	a := newAuthority(t, good())
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer server.Close()
	c := a.config()
	c.Issuer, c.Requests.Timeout = server.URL, 10*time.Millisecond
	p := newProvider(t, c)
	var n int
	gatewaytest.Eventually(t, "it is left alone", func() bool {
		n++
		e := refused(t, p, fmt.Sprint("t", n), mcpauth.ErrUnavailable)
		return strings.Contains(fmt.Sprint(e.Cause), "left alone for a while")
	})
	if n <= 5 {
		t.Errorf("after %d tokens", n)
	}
}
