package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth/internal/mint"
)

// publisher is an issuer that publishes its keys.
type publisher struct {
	*httptest.Server
	signer *mint.Signer
	set    string // its key set

	documents map[string]string // by path
	down      atomic.Bool
}

func newPublisher(t *testing.T, start func(http.Handler) *httptest.Server) *publisher {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &publisher{documents: map[string]string{}}
	if p.signer, err = mint.NewSigner("", key, "k1"); err != nil {
		t.Fatal(err)
	}
	set, err := p.signer.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	p.set = string(set)
	p.Server = start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		document, there := p.documents[r.URL.Path]
		switch {
		case r.URL.Path == "/slow":
			<-r.Context().Done()
		case p.down.Load():
			panic(http.ErrAbortHandler)
		case !there:
			http.NotFound(w, r)
		default:
			io.WriteString(w, document)
		}
	}))
	t.Cleanup(p.Close)
	p.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes
	p.documents["/jwks"] = p.set
	p.documents["/.well-known/openid-configuration"] = metadata(p.URL, p.URL+"/jwks")
	return p
}

func metadata(issuer, jwksURI string) string {
	text, err := json.Marshal(map[string]string{"issuer": issuer, "jwks_uri": jwksURI})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// token is one of the issuer's, which goes by p's URL and a suffix.
func (p *publisher) token(t *testing.T, suffix string) string {
	t.Helper()
	token, err := p.signer.Sign(map[string]any{"iss": p.URL + suffix, "aud": audience, "sub": "alice", "exp": time.Now().Add(time.Hour).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// args are those that verify a token of p's.
func (p *publisher) args(more ...string) []string {
	return append([]string{"token", "verify", "--issuer", p.URL, "--audience", audience}, more...)
}

// certificate returns a file with the certificate that p has.
func certificate(t *testing.T, p *publisher) string {
	t.Helper()
	return write(t, t.TempDir(), "ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw}))
}

const alice = `{"authenticated":true,"userId":"alice","metadata":{},"error":null,"code":null}` + "\n"

func TestVerifyWithKeysThatAreFetched(t *testing.T) {
	plain, secure := newPublisher(t, httptest.NewServer), newPublisher(t, httptest.NewTLSServer)
	plain.documents["/elsewhere"] = plain.documents["/.well-known/openid-configuration"]
	authority := certificate(t, secure)
	for _, test := range []struct {
		name string
		p    *publisher
		args []string
	}{
		{"a set", plain, []string{"--jwks", plain.URL + "/jwks"}},
		{"metadata", plain, []string{"--discover"}},
		{"metadata elsewhere", plain, []string{"--metadata-url", plain.URL + "/elsewhere"}},
		{"metadata elsewhere, said twice", plain, []string{"--discover", "--metadata-url", plain.URL + "/elsewhere"}},
		{"an authority", secure, []string{"--discover", "--ca-file", authority}},
		{"a user by another claim", plain, []string{"--discover", "--user-claim", "sub"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, out, errs := cli("", test.p.args(append(test.args, "--json", test.p.token(t, ""))...)...)
			if code != 0 || out != alice || errs != "" {
				t.Errorf("exit %d: %s%s", code, out, errs)
			}
		})
	}
}

// Keys that cannot be had are said to be unavailable, a line for each token,
// and what to change goes to standard error.
func TestVerifySaysHowToGetKeys(t *testing.T) {
	p, secure := newPublisher(t, httptest.NewServer), newPublisher(t, httptest.NewTLSServer)
	authority := certificate(t, secure)
	gone := newPublisher(t, httptest.NewServer)
	gone.Close()
	gone.URL = "http://127.0.0.1:1" // where nobody else will listen
	for path, document := range map[string]string{
		"/html":      "<!doctype html><title>Log in</title>",
		"/other":     metadata("https://other.example/", p.URL+"/jwks"),
		"/plain":     metadata(p.URL, "http://keys.example/jwks"),
		"/private":   metadata(p.URL, "https://10.1.2.3/jwks"),
		"/secrets":   `{"keys":[{"kty":"oct","kid":"s","k":"c2VjcmV0"},{"kty":"OKP","crv":"X25519","kid":"x","x":"AAAA"}]}`,
		"/no-keys":   `{"keys":[]}`,
		"/slow-keys": metadata(p.URL, p.URL+"/slow"),
	} {
		p.documents[path] = document
	}
	const unavailable = `{"authenticated":false,"userId":null,"metadata":null,"error":"The keys to verify the token are not available now. Please try again later.","code":"unavailable"}` + "\n"
	for _, test := range []struct {
		name   string
		p      *publisher
		args   []string
		want   []string // on standard error
		suffix string   // of the issuer
	}{
		{name: "not there", p: p, args: []string{"--jwks", p.URL + "/nothing"}, want: []string{"/nothing: answered with status 404\n", `--jwks must be the URL of the key set itself, which is "jwks_uri" in the issuer's metadata; --discover finds it.`}},
		{name: "a page", p: p, args: []string{"--jwks", p.URL + "/html"}, want: []string{"key set: not a JWK Set: ", "--jwks must be the URL of the key set itself"}},
		{name: "metadata for a set", p: p, args: []string{"--jwks", p.URL + "/other"}, want: []string{`not a JWK Set: no "keys"`, "--discover finds it"}},
		{name: "no metadata", p: p, args: []string{"--metadata-url", p.URL + "/nothing"}, want: []string{"answered with status 404", "--metadata-url must be that of the issuer's metadata"}},
		{name: "a page for metadata", p: p, args: []string{"--metadata-url", p.URL + "/html"}, want: []string{"metadata at " + p.URL + "/html: ", "--metadata-url must be"}},
		{name: "another issuer", p: p, args: []string{"--metadata-url", p.URL + "/other"}, want: []string{`the document is of issuer "https://other.example/", not of "` + p.URL + `"`, "exactly as --issuer does, down to a slash at the end"}},
		{name: "a slash too many", p: p, args: []string{"--issuer", p.URL + "/", "--discover"}, want: []string{`the document is of issuer "` + p.URL + `", not of "` + p.URL + `/"`, "--issuer must be exactly as the issuer writes it"}, suffix: "/"},
		{name: "plain http", p: p, args: []string{"--metadata-url", p.URL + "/plain"}, want: []string{`"jwks_uri": http to "keys.example", which is neither loopback nor listed for plain http`, "--plain-http-host allows"}},
		{name: "a private network", p: p, args: []string{"--metadata-url", p.URL + "/private"}, want: []string{"address 10.1.2.3 is not public", "--jwks takes the URL of the key set itself"}},
		{name: "unusable keys", p: p, args: []string{"--jwks", p.URL + "/secrets"}, want: []string{"no usable key among the 2 of the set: ", `keys[0] (kid "s"): a shared secret, which is none once it is published`, `keys[1] (kid "x"): `, "--algorithm takes"}},
		{name: "no keys", p: p, args: []string{"--jwks", p.URL + "/no-keys"}, want: []string{"no usable key among the 0 of the set"}},
		{name: "an unknown authority", p: secure, args: []string{"--discover"}, want: []string{"certificate signed by unknown authority", "--ca-file trusts it"}},
		{name: "another name", p: secure, args: []string{"--ca-file", authority, "--metadata-url", strings.Replace(secure.URL, "127.0.0.1", "localhost", 1) + "/.well-known/openid-configuration"}, want: []string{"certificate", "localhost", "ask it under one of those"}},
		{name: "silence", p: p, args: []string{"--fetch-timeout", "50ms", "--jwks", p.URL + "/slow"}, want: []string{"/slow: context deadline exceeded", "not answered within 50ms", "--fetch-timeout gives it longer"}},
		{name: "silence after metadata", p: p, args: []string{"--fetch-timeout", "2s", "--metadata-url", p.URL + "/slow-keys"}, want: []string{"/slow: context deadline exceeded"}},
		{name: "nobody there", p: gone, args: []string{"--discover"}, want: []string{"connection refused", "is the server up"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			args := test.p.args(append(test.args, "--json", "-")...)
			token := test.p.token(t, test.suffix)
			code, out, errs := cli(token+"\n"+token+"\n", args...)
			if code != 1 || out != unavailable+unavailable {
				t.Errorf("exit %d, out\n%s", code, out)
			}
			for _, want := range test.want {
				if !strings.Contains(errs, want) {
					t.Errorf("err\n%s\nwithout %q", errs, want)
				}
			}
			if !strings.HasPrefix(errs, "mcpauth: ") || strings.Count(errs, "mcpauth: ") != 1 {
				t.Errorf("err\n%s", errs)
			}
		})
	}
}

// A token with a key that is not there shows which are.
func TestVerifyShowsTheKeysThatAreThere(t *testing.T) {
	p, other := newPublisher(t, httptest.NewServer), newPublisher(t, httptest.NewServer)
	p.documents["/jwks"] = `{"keys":[` + strings.TrimSuffix(strings.TrimPrefix(strings.Replace(p.set, `"k1"`, `"k2"`, 1), `{"keys":[`), "]}") + `,{"kty":"oct","kid":"s","k":"c2VjcmV0"}]}`
	token, err := other.signer.Sign(map[string]any{"iss": p.URL, "aud": audience, "sub": "alice", "exp": time.Now().Add(time.Hour).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	code, out, errs := cli("", p.args("--discover", token)...)
	if want := fmt.Sprintf("refused (unknown_key): JWT verification failed: unknown signing key [issuer %q has no EdDSA key with kid \"k1\"]\n", p.URL); code != 1 || out != want {
		t.Errorf("exit %d: %s", code, out)
	}
	for _, want := range []string{"keys=1", `k2`, "a shared secret, which is none once it is published"} {
		if !strings.Contains(errs, want) {
			t.Errorf("err\n%s\nwithout %q", errs, want)
		}
	}
}

// Who keeps the pipe open gets answers when the issuer is back.
func TestVerifyLinesFetchesKeysLater(t *testing.T) {
	p := newPublisher(t, httptest.NewServer)
	p.down.Store(true)
	token := p.token(t, "")
	inRead, inWrite := io.Pipe()
	outRead, outWrite := io.Pipe()
	done := make(chan int)
	go func() {
		done <- run(context.Background(), p.args("--discover", "--json", "-"), streams{inRead, outWrite, io.Discard})
	}()
	ask := func() string {
		if _, err := fmt.Fprintln(inWrite, token); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 1024)
		n, err := outRead.Read(answer)
		if err != nil {
			t.Fatal(err)
		}
		return string(answer[:n])
	}
	if got := ask(); !strings.Contains(got, `"code":"unavailable"`) {
		t.Errorf("while the issuer is down: %s", got)
	}
	p.down.Store(false)
	for deadline := time.Now().Add(20 * time.Second); ask() != alice; {
		if time.Now().After(deadline) {
			t.Fatal("never answered")
		}
	}
	inWrite.Close()
	if code := <-done; code != 1 {
		t.Errorf("exit %d", code)
	}
}
