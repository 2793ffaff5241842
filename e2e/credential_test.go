package e2e_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	golangjwt "github.com/golang-jwt/jwt/v5"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/credential"
	"github.com/mcpauth-go/mcpauth/credential/platform"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
)

var quiet = slog.New(slog.DiscardHandler)

const (
	platformIssuer   = "https://login.example.com"
	platformAudience = "https://platform.example.com"
)

// accounts is a platform that gives users their own credentials. It verifies
// their tokens itself, with another library than the gateway's, and answers when
// it is told to.
type accounts struct {
	key    any // of the issuer
	answer func() bool

	mu      sync.Mutex
	secrets map[string]string // of users
	asked   map[string]int    // by user
	refused []string
}

func (p *accounts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	claims := golangjwt.MapClaims{}
	_, err := golangjwt.ParseWithClaims(token, claims, func(*golangjwt.Token) (any, error) { return p.key, nil },
		golangjwt.WithValidMethods([]string{"ES256"}), golangjwt.WithIssuer(platformIssuer), golangjwt.WithAudience(platformAudience), golangjwt.WithExpirationRequired())
	user, _ := claims.GetSubject()
	p.mu.Lock()
	p.asked[user]++
	secret := p.secrets[user]
	if err != nil || r.Header.Get("X-User-ID") != user || r.URL.Path != "/api/credentials/notes" || secret == "" {
		p.refused = append(p.refused, fmt.Sprintf("%s for %q: %v", r.URL.Path, user, err))
		secret = ""
	}
	p.mu.Unlock()
	if secret == "" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !p.answer() {
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"access_token":%q,"expires_in":3600,"user_id":%q}`, secret, user)
}

// notes is a server of the users' data, which knows them by their credentials.
type notes struct {
	accounts *accounts

	mu    sync.Mutex
	reads map[string]int // by user
}

func (n *notes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for user, secret := range n.accounts.secrets {
		if r.Header.Get("Authorization") == "Bearer "+secret {
			n.mu.Lock()
			n.reads[user]++
			n.mu.Unlock()
			fmt.Fprintf(w, "note %s of %s", r.URL.Query().Get("id"), user)
			return
		}
	}
	w.WriteHeader(http.StatusUnauthorized)
}

// Two users come through one gateway at the same time, each with all clients, in
// both eras and with another token for each. The platform is slow: it answers when
// everybody is waiting. It is asked once for each user, and nobody ever gets what
// is another's.
func TestUsersWithCredentialsAtTheSameTime(t *testing.T) {
	needClients(t)
	const calls = 50
	users := []string{"alice", "bob"}
	key := newSigningKey(t, "k1")
	p := &accounts{key: key.Public().Key, secrets: map[string]string{}, asked: map[string]int{}}
	for _, user := range users {
		p.secrets[user] = rand.Text()
	}
	n := &notes{accounts: p, reads: map[string]int{}}
	platformServer, notesServer := httptest.NewServer(p), httptest.NewServer(n)
	t.Cleanup(platformServer.Close)
	t.Cleanup(notesServer.Close)
	transport := &http.Transport{MaxIdleConnsPerHost: calls}
	t.Cleanup(transport.CloseIdleConnections)

	source, err := platform.New(platform.Config{BaseURL: platformServer.URL, Audience: platformAudience, Timeout: time.Minute, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := credential.New(credential.Config{Source: source, Timeout: time.Minute, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	p.answer = func() bool { return resolver.Stats().Misses >= uint64(len(users)*len(crowds)) }
	factory := &gatewaytest.Factory{Setup: func(server *mcp.Server, _ gateway.Call) {
		type in struct {
			ID string `json:"id"`
		}
		mcp.AddTool(server, &mcp.Tool{Name: "read_note"}, func(ctx context.Context, _ *mcp.CallToolRequest, in in) (*mcp.CallToolResult, any, error) {
			text, err := readNote(ctx, transport, notesServer.URL, in.ID)
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil, err
		})
	}}
	s := gatewaytest.Start(t, gateway.Config{
		PublicURL: "https://mcp.example.com", Provider: staticJWTs(t, platformIssuer, oidcAudience, key), Factory: factory.Make,
		Resolver: resolver, ResourceType: "notes", RequestTimeout: time.Minute,
	})

	var all []*process
	for _, c := range crowds {
		for _, user := range users {
			now := time.Now()
			token, err := key.signer.Sign(map[string]any{
				"iss": platformIssuer, "aud": []string{oidcAudience, platformAudience}, "sub": user, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
			})
			if err != nil {
				t.Fatal(err)
			}
			mine := connection{Headers: map[string]string{"Authorization": "Bearer " + token}}
			for i := range calls {
				mine.Calls = append(mine.Calls, step{Tool: "read_note", Arguments: map[string]any{"id": fmt.Sprint(i)}})
			}
			all = append(all, &process{crowd: c, connections: []connection{mine}})
		}
	}
	playAll(t, s.URL, all)
	for i, process := range all {
		user := users[i%len(users)]
		for id, text := range process.seen[0].texts(t, process.client) {
			if want := fmt.Sprintf("note %d of %s", id, user); text != want {
				t.Errorf("%s with %s gets %q, want %q", user, process.name, text, want)
			}
		}
		if got := len(process.seen[0].Results); got != calls {
			t.Errorf("%s with %s: %d answers", user, process.name, got)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if want := map[string]int{"alice": 1, "bob": 1}; !maps.Equal(p.asked, want) || p.refused != nil {
		t.Errorf("the platform was asked %v times, want %v; it refused %q", p.asked, want, p.refused)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	each := len(crowds) * calls
	if want := map[string]int{"alice": each, "bob": each}; !maps.Equal(n.reads, want) {
		t.Errorf("notes were read %v times, want %v", n.reads, want)
	}
}

// readNote reads a note with the credential of the user whose call it is.
func readNote(ctx context.Context, transport http.RoundTripper, url, id string) (string, error) {
	c := mcpauth.CredentialFrom(ctx)
	if c == nil {
		return "", errors.New("no credential")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/?id="+id, nil)
	if err != nil {
		return "", err
	}
	r.Header.Set("Authorization", "Bearer "+c.Token.Reveal())
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		err = errors.Join(err, errors.New(resp.Status))
	}
	return string(body), err
}
