package platform_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/credential"
	"github.com/mcpauth-go/mcpauth/credential/platform"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

const (
	issuer   = "https://issuer.example.com"
	audience = "https://platform.example.com"
)

var (
	key   = tokentest.SharedSecret("platform")
	quiet = slog.New(slog.DiscardHandler)
)

// identity is that of a user whose token has these further claims, as JSON.
func identity(t testing.TB, user, more string) *mcpauth.Identity {
	t.Helper()
	claims := fmt.Sprintf(`{"iss":%q,"sub":%q,"aud":[%q,"https://mcp.example.com/mcp"]}`, issuer, user, audience)
	if more != "" {
		claims = strings.TrimSuffix(claims, "}") + "," + more + "}"
	}
	return identityOf(t, user, claims)
}

func identityOf(t testing.TB, user, claims string) *mcpauth.Identity {
	t.Helper()
	token := key.Token(key.Header(), claims)
	var all map[string]json.RawMessage
	if err := json.Unmarshal([]byte(payload(token)), &all); err != nil {
		t.Error(err)
	}
	id, err := mcpauth.NewIdentity(mcpauth.IdentityFields{
		Issuer: issuer, UserID: user, Subject: user, Token: mcpauth.NewSecret(token),
		Verification: mcpauth.FixedVerification{IDClaim: "sub", AllClaims: all},
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func payload(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "{}"
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "{}"
	}
	return string(text)
}

// site is a small platform. It believes the token alone about who is asking, and
// has a credential for each user, and trouble when it is told to.
type site struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*http.Request
	accounts map[string]string // by user and resource
	trouble  http.HandlerFunc  // instead of an answer
	hold     chan struct{}     // closed to let answers out, nil for none held
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{accounts: map[string]string{}}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Clone(context.Background()))
	trouble, hold := s.trouble, s.hold
	s.mu.Unlock()
	if hold != nil {
		<-hold
	}
	if trouble != nil {
		trouble(w, r)
		return
	}
	segments := strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	var claims struct{ Sub string }
	json.Unmarshal([]byte(payload(bearer)), &claims)
	user := claims.Sub
	switch {
	case len(segments) == 4 && bearer == "service":
		user = segments[2]
	case len(segments) != 3 || segments[0] != "api" || segments[1] != "credentials":
		http.Error(w, "no such page", http.StatusBadRequest)
		return
	case user == "":
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	s.mu.Lock()
	account, ok := s.accounts[user+" "+segments[len(segments)-1]]
	s.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"access_token":%q,"expires_in":3600,"refresh_token":"canary-refresh","user_id":%q}`, account, user)
}

func (s *site) connect(user, resource, account string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accounts[user+" "+resource] = account
}

func (s *site) has(trouble http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = trouble
}

func (s *site) answers(status int, body string) {
	s.has(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	})
}

func (s *site) asked() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// source returns a Source that is closed at the end.
func source(t testing.TB, c platform.Config) *platform.Source {
	t.Helper()
	if c.Logger == nil {
		c.Logger = quiet
	}
	s, err := platform.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// resolver returns a Resolver that asks s.
func resolver(t testing.TB, s credential.Source) *credential.Resolver {
	t.Helper()
	r, err := credential.New(credential.Config{Source: s, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}
