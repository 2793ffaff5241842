package oauth_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/oauth"
)

const audience = "https://mcp.example.com/mcp"

// authority is an authorization server that answers as a test says.
type authority struct {
	*httptest.Server
	asked  atomic.Int64 // at its introspection endpoint
	mu     sync.Mutex
	answer http.HandlerFunc
}

// newAuthority answers each introspection with body.
func newAuthority(t testing.TB, body string) *authority {
	t.Helper()
	a := &authority{}
	a.says(body)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /introspect", func(w http.ResponseWriter, r *http.Request) {
		a.asked.Add(1)
		a.mu.Lock()
		answer := a.answer
		a.mu.Unlock()
		answer(w, r)
	})
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]string{"issuer": a.URL, "introspection_endpoint": a.URL + "/introspect", "userinfo_endpoint": a.URL + "/me"})
	})
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.Server.Close)
	return a
}

func (a *authority) does(answer http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = answer
}

func (a *authority) says(body string) {
	a.does(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, body)
	})
}

// config takes the tokens of a.
func (a *authority) config() oauth.Config {
	return oauth.Config{
		Issuer:   a.URL,
		Audience: []string{audience},
		Client:   oauth.Client{ClientID: "mcp", Secret: mcpauth.NewSecret("canary-of-the-client")},
		Logger:   slog.New(slog.DiscardHandler),
	}
}

func newProvider(t testing.TB, c oauth.Config) *oauth.Provider {
	t.Helper()
	p, err := oauth.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// good is an answer of introspection with members changed: a value of "" takes
// the member away.
func good(changes ...string) string {
	members := map[string]string{
		"active": "true", "sub": `"alice"`, "aud": fmt.Sprintf("%q", audience), "scope": `"notes:read notes:write"`,
		"client_id": `"client"`, "token_type": `"Bearer"`, "exp": fmt.Sprint(time.Now().Add(time.Hour).Unix()), "iat": fmt.Sprint(time.Now().Unix()),
	}
	for i := 0; i < len(changes); i += 2 {
		members[changes[i]] = changes[i+1]
		if changes[i+1] == "" {
			delete(members, changes[i])
		}
	}
	var b bytes.Buffer
	for name, value := range members {
		fmt.Fprintf(&b, ",%q:%s", name, value)
	}
	return "{" + b.String()[1:] + "}"
}

func passes(t testing.TB, p *oauth.Provider, token string) *mcpauth.Identity {
	t.Helper()
	id, err := p.Verify(t.Context(), token)
	if err != nil {
		t.Fatalf("%v (%v)", err, mcpauth.AsError(err).Cause)
	}
	return id
}

// refused fails the test unless the token is refused with code.
func refused(t testing.TB, p *oauth.Provider, token string, code mcpauth.Code) *mcpauth.Error {
	t.Helper()
	id, err := p.Verify(t.Context(), token)
	if err == nil {
		t.Errorf("passes, as %v; want %s", id, code)
		return &mcpauth.Error{}
	}
	e := mcpauth.AsError(err)
	if e.Code != code {
		t.Errorf("refused with %v (%v), want %s", err, e.Cause, code)
	}
	return e
}

func header(values ...string) *mcpauth.Request {
	return &mcpauth.Request{Header: http.Header{"Authorization": values}}
}

// log keeps what is written down.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *log) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
