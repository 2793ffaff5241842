package keyset_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth/internal/dnstest"
	"github.com/mcpauth-go/mcpauth/internal/keyset"
	"github.com/mcpauth-go/mcpauth/internal/outbound"
)

// serve returns an https server, and its certificate in a file.
func serve(t *testing.T, handler http.HandlerFunc) (server *httptest.Server, ca string) {
	t.Helper()
	server = httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return server, ca
}

// fetched fetches once with c and returns the document. The system's proxy is
// left out, and ca, unless empty, is trusted.
func fetched(t *testing.T, c keyset.Config, ca string) (string, error) {
	t.Helper()
	if ca != "" {
		roots, err := outbound.Roots(ca)
		if err != nil {
			t.Fatal(err)
		}
		c.Roots = roots
	}
	if c.Proxy == nil {
		c.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	}
	a := &accepted{}
	s := keyset.New(with(c, a))
	defer s.Close()
	err := s.Fetch(context.Background())
	return a.last(), err
}

func wantError(t *testing.T, err error, reason string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), reason) {
		t.Errorf("error = %v, want %q in it", err, reason)
	}
}

func TestNetworkAnswers(t *testing.T) {
	hang := func(r *http.Request) { <-r.Context().Done() }
	var elsewhere int
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { elsewhere++ }))
	defer other.Close()
	var bomb bytes.Buffer
	z, _ := gzip.NewWriterLevel(&bomb, gzip.BestSpeed)
	for range 64 {
		z.Write(make([]byte, 1<<20))
	}
	z.Close()
	for _, test := range []struct {
		name, reason string
		handler      http.HandlerFunc
	}{
		{"good", "", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "set") }},
		{"good, in gzip", "", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			io.WriteString(z, "set")
			z.Close()
		}},
		{"good, of the largest size", "", func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, 512<<10)) }},
		{"good, redirected on the host", "", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/jwks" {
				http.Redirect(w, r, "/other", http.StatusFound)
				return
			}
			io.WriteString(w, "set")
		}},
		{"hung", "deadline exceeded", func(w http.ResponseWriter, r *http.Request) { hang(r) }},
		{"hung after the header", "deadline exceeded", func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			hang(r)
		}},
		{"drop by drop", "deadline exceeded", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				io.WriteString(w, " ")
				w.(http.Flusher).Flush()
				time.Sleep(5 * time.Millisecond)
			}
		}},
		{"cut off", "EOF", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "set")
		}},
		{"garbage", "garbage", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "garbage") }},
		{"one byte too large", "larger than 524288 bytes", func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, 512<<10+1)) }},
		{"without end", "larger than 524288 bytes", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				w.Write(make([]byte, 1<<20))
			}
		}},
		{"gzip bomb", "larger than 524288 bytes", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(bomb.Bytes())
		}},
		{"broken gzip", "gzip", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			io.WriteString(w, "set set set set")
		}},
		{"huge header", "header", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 1<<20))
		}},
		{"404", "status 404", http.NotFound},
		{"500", "status 500", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) }},
		{"204", "status 204", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) }},
		{"304", "status 304", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(304) }},
		{"redirect to another host", "another host", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, strings.Replace(other.URL, "http:", "https:", 1), http.StatusFound)
		}},
		{"redirect to another name of the host", "another host", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://localhost/jwks", http.StatusFound)
		}},
		{"redirect to http", "https only", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://"+r.Host+"/jwks", http.StatusMovedPermanently)
		}},
		{"redirect to http elsewhere", "https only", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		}},
		{"redirect to itself", "more than 3 times", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/jwks", http.StatusFound) }},
		{"redirect to a file", "redirected", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}},
		{"redirect without a place", "status 302", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(302) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			server, ca := serve(t, test.handler)
			timeout := time.Minute
			if test.reason == "deadline exceeded" {
				timeout = 2 * time.Second
			}
			document, err := fetched(t, keyset.Config{URL: server.URL + "/jwks?key=canary", Timeout: timeout}, ca)
			if test.reason == "" {
				if err != nil || document == "" {
					t.Errorf("document %q, %v", document, err)
				}
				return
			}
			wantError(t, err, test.reason)
			if document != "" || err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("document %.20q, %v", document, err)
			}
		})
	}
	if elsewhere != 0 {
		t.Errorf("%d requests to another host", elsewhere)
	}
}

func TestCertificates(t *testing.T) {
	server, ca := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "set") })
	_, err := fetched(t, keyset.Config{URL: server.URL}, "")
	wantError(t, err, "certificate")
	if document, err := fetched(t, keyset.Config{URL: server.URL}, ca); document != "set" || err != nil {
		t.Errorf("with its authority: %q, %v", document, err)
	}
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	_, err = fetched(t, keyset.Config{URL: "https://localhost:" + port, Resolver: dnstest.Resolver("127.0.0.1")}, ca)
	wantError(t, err, "certificate")

	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, reason := range map[string]string{empty: "no certificate", "/does/not/exist": "no such file"} {
		_, err := outbound.Roots(path)
		wantError(t, err, reason)
	}
}

func TestNothingListens(t *testing.T) {
	_, err := fetched(t, keyset.Config{URL: "https://127.0.0.1:1"}, "")
	wantError(t, err, "refused")
}

// metadata serves an issuer's metadata with the given jwks_uri, in which
// {origin} is the server's own, and a set.
func metadata(t *testing.T, jwksURI string) (server *httptest.Server, ca string) {
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		origin := "https://" + r.Host
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, origin, strings.ReplaceAll(jwksURI, "{origin}", origin))
		case "/jwks":
			io.WriteString(w, "set")
		default:
			http.NotFound(w, r)
		}
	})
}

func discover(server *httptest.Server) keyset.Config {
	return keyset.Config{Issuer: server.URL, Metadata: keyset.MetadataURLs(server.URL), Timeout: time.Minute}
}

// Whoever writes the metadata must not be able to make this server look where
// they cannot look themselves.
func TestWhereMetadataMayLead(t *testing.T) {
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the inside has been reached") }))
	defer inside.Close()
	_, port, _ := net.SplitHostPort(inside.Listener.Addr().String())
	for _, test := range []struct{ jwksURI, resolvesTo, reason string }{
		{"{origin}/jwks", "", ""},
		{"https://127.0.0.1:" + port + "/jwks", "", "not public"},
		{"https://127.1.1.1:" + port + "/jwks", "", "not public"},
		{"https://[::1]:" + port + "/jwks", "", "not public"},
		{"https://[::ffff:127.0.0.1]:" + port + "/jwks", "", "not public"},
		{"https://10.0.0.1/jwks", "", "not public"},
		{"https://[fd00::1]/jwks", "", "not public"},
		{"https://169.254.169.254/latest/meta-data", "", "link-local"},
		{"https://[fe80::1]/jwks", "", "link-local"},
		{"https://[::ffff:169.254.169.254]/jwks", "", "link-local"},
		{"https://[2002:a9fe:a9fe::1]/jwks", "", "not public|link-local"},
		{"https://[64:ff9b::169.254.169.254]/jwks", "", "link-local"},
		{"https://[64:ff9b::127.0.0.1]/jwks", "", "not public"},
		{"https://0.0.0.0:" + port + "/jwks", "", "unspecified"},
		{"https://keys.test:" + port + "/jwks", "127.0.0.1", "not public"},
		{"https://keys.test:" + port + "/jwks", "10.0.0.1", "not public"},
		{"https://keys.test/jwks", "169.254.169.254", "link-local"},
		{"https://keys.test/jwks", "::ffff:169.254.169.254", "link-local"},
		{"https://keys.test/jwks", "2002:a9fe:a9fe::1", "link-local"},
		{"https://keys.test/jwks", "64:ff9b::a9fe:a9fe", "link-local"},
		{"https://keys.test:" + port + "/jwks", "64:ff9b::7f00:1", "not public"},
		{"http://127.0.0.1:" + port + "/jwks", "", "not public"},
		{"http://localhost:" + port + "/jwks", "127.0.0.1", "not public"},
		{"http://keys.test:" + port + "/jwks", "127.0.0.1", "neither loopback nor listed"},
		{"https://user:password@keys.test/jwks", "127.0.0.1", "user name or password"},
		{"file:///etc/passwd", "", "not an absolute URL"},
		{"/jwks", "", "not an absolute URL"},
	} {
		t.Run(test.jwksURI+" "+test.resolvesTo, func(t *testing.T) {
			server, ca := metadata(t, test.jwksURI)
			c := discover(server)
			if test.resolvesTo != "" {
				c.Resolver = dnstest.Resolver(test.resolvesTo)
			}
			document, err := fetched(t, c, ca)
			if test.reason == "" {
				if document != "set" || err != nil {
					t.Errorf("document %q, %v", document, err)
				}
				return
			}
			reason, _, _ := strings.Cut(test.reason, "|")
			if strings.Contains(test.reason, "|") && err != nil && strings.Contains(err.Error(), "link-local") {
				reason = "link-local"
			}
			wantError(t, err, reason)
		})
	}
}

// What the operator wrote may be in a private network, but not where clouds
// hand out credentials.
func TestWhereAnOperatorMayLead(t *testing.T) {
	server, ca := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "set") })
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	// The certificate of httptest is for example.com as well.
	if document, err := fetched(t, keyset.Config{URL: "https://example.com:" + port, Resolver: dnstest.Resolver("127.0.0.1")}, ca); document != "set" || err != nil {
		t.Errorf("a private address: %q, %v", document, err)
	}
	for _, to := range []string{"169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fd00:ec2::254"} {
		_, err := fetched(t, keyset.Config{URL: "https://example.com", Resolver: dnstest.Resolver(to)}, ca)
		if err == nil || !strings.Contains(err.Error(), "link-local") && !strings.Contains(err.Error(), "metadata server") {
			t.Errorf("%s: %v", to, err)
		}
	}
	_, err := fetched(t, keyset.Config{URL: "http://169.254.169.254", PlainHTTPHosts: []string{"169.254.169.254"}}, "")
	wantError(t, err, "link-local")

	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "plain") }))
	defer plain.Close()
	_, port, _ = net.SplitHostPort(plain.Listener.Addr().String())
	for _, host := range []string{"127.0.0.1:" + port, "localhost:" + port} {
		if document, err := fetched(t, keyset.Config{URL: "http://" + host, Resolver: dnstest.Resolver("127.0.0.1")}, ""); document != "plain" || err != nil {
			t.Errorf("%s: %q, %v", host, document, err)
		}
	}
	_, err = fetched(t, keyset.Config{URL: "http://idp.test:" + port, Resolver: dnstest.Resolver("127.0.0.1")}, "")
	wantError(t, err, "neither loopback nor listed")
	if document, err := fetched(t, keyset.Config{URL: "http://idp.test:" + port, Resolver: dnstest.Resolver("127.0.0.1"), PlainHTTPHosts: []string{"idp.test"}}, ""); document != "plain" || err != nil {
		t.Errorf("a listed host: %q, %v", document, err)
	}
}

func TestDiscovery(t *testing.T) {
	var paths []string
	server, ca := serve(t, func(w http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.URL.Path)
		switch r.URL.Path {
		case "/.well-known/oauth-authorization-server/tenant":
			fmt.Fprintf(w, `{"issuer":"https://%[1]s/tenant/","jwks_uri":"https://%[1]s/jwks"}`, r.Host)
		case "/jwks":
			io.WriteString(w, "set")
		default:
			http.NotFound(w, r)
		}
	})
	c := keyset.Config{Issuer: server.URL + "/tenant/", Metadata: keyset.MetadataURLs(server.URL + "/tenant/")}
	if document, err := fetched(t, c, ca); document != "set" || err != nil {
		t.Fatalf("document %q, %v", document, err)
	}
	want := "/tenant/.well-known/openid-configuration /.well-known/oauth-authorization-server/tenant /jwks"
	if got := strings.Join(paths, " "); got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
	for name, issuer := range map[string]string{"no slash at the end": server.URL + "/tenant", "another": "https://example.com"} {
		c := keyset.Config{Issuer: issuer, Metadata: []string{server.URL + "/.well-known/oauth-authorization-server/tenant"}}
		_, err := fetched(t, c, ca)
		t.Run(name, func(t *testing.T) { wantError(t, err, "the document is of issuer") })
	}
}

// An unknown key is worth one request; the regular fetch follows the metadata,
// as does a fetch after a failed one.
func TestMetadataIsReadAgain(t *testing.T) {
	var paths []string
	set := "/jwks"
	server, ca := serve(t, func(w http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.URL.Path)
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			fmt.Fprintf(w, `{"issuer":"https://%[1]s","jwks_uri":"https://%[1]s%s"}`, r.Host, set)
		case set:
			io.WriteString(w, set)
		default:
			http.NotFound(w, r)
		}
	})
	c := discover(server)
	c.Roots, _ = outbound.Roots(ca)
	a := &accepted{}
	c = with(c, a)
	c.Cooldown = 0
	s := keyset.New(c)
	defer s.Close()
	step := func(want string, fetch func() error, good bool) {
		t.Helper()
		paths = nil
		if err := fetch(); (err == nil) != good {
			t.Errorf("fetch: %v", err)
		}
		if got := strings.Join(paths, " "); got != want {
			t.Errorf("asked for %q, want %q", got, want)
		}
	}
	regular := func() error { return s.Fetch(context.Background()) }
	forKey := func() error { _, err := refetch(s); return err }
	step("/.well-known/openid-configuration /jwks", regular, true)
	step("/jwks", forKey, true)
	set = "/moved"
	step("/jwks", forKey, false)
	step("/.well-known/openid-configuration /moved", forKey, true)
	set = "/again"
	step("/.well-known/openid-configuration /again", regular, true)
	if a.last() != "/again" {
		t.Errorf("document %q", a.last())
	}
}

// The proxy resolves names, and reaches what this machine may not; an address
// in the URL itself is judged here all the same.
func TestProxy(t *testing.T) {
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.Host)
		io.WriteString(w, "by the proxy")
	}))
	defer proxy.Close()
	to, _ := url.Parse(proxy.URL)
	through := func(*http.Request) (*url.URL, error) { return to, nil }
	c := keyset.Config{URL: "http://idp.test/jwks", PlainHTTPHosts: []string{"idp.test"}, Proxy: through}
	if document, err := fetched(t, c, ""); document != "by the proxy" || err != nil || len(asked) != 1 || asked[0] != "GET idp.test" {
		t.Errorf("document %q, %v; asked %q", document, err, asked)
	}
	_, err := fetched(t, keyset.Config{URL: "http://169.254.169.254/jwks", PlainHTTPHosts: []string{"169.254.169.254"}, Proxy: through}, "")
	wantError(t, err, "link-local")
	if len(asked) != 1 {
		t.Errorf("asked %q", asked)
	}
}
