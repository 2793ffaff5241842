package docs_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/admin"
	"github.com/mcpauth-go/mcpauth/assertion"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/credential"
	"github.com/mcpauth-go/mcpauth/credential/claims"
	"github.com/mcpauth-go/mcpauth/credential/exchange"
	"github.com/mcpauth-go/mcpauth/credential/platform"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
	"github.com/mcpauth-go/mcpauth/revoke"
)

func withCredentials(source credential.Source, list *revoke.List, c gateway.Config) (gateway.Config, error) {
	resolver, err := credential.New(credential.Config{Source: source, Revocations: list})
	if err != nil {
		return c, err
	}
	c.Resolver, c.ResourceType = resolver, "github" // started and closed by the gateway
	c.Revocations = list
	c.Admin = admin.Config{Socket: "/run/mcpauth/admin.sock"} // serves its Handler
	return c, nil
}

func fromPlatform() (credential.Source, error) {
	return platform.New(platform.Config{
		BaseURL:  "https://platform.example.com",
		Audience: "https://platform.example.com", // what "aud" calls the platform
		Headers:  map[string]mcpauth.Secret{"X-Api-Key": mcpauth.NewSecret(os.Getenv("PLATFORM_API_KEY"))},
	})
}

func fromTenantManager() (credential.Source, error) {
	return platform.New(platform.Config{
		BaseURL:          "https://tenants.example.com",
		TenantManager:    true,
		Issuer:           "https://issuer.example.com", // whose users' ids it knows
		ServiceTokenFile: "/run/secrets/tenant-manager",
	})
}

func fromPlatformInside() (credential.Source, error) {
	return platform.New(platform.Config{
		BaseURL:        "http://platform:8080",
		PlainHTTPHosts: []string{"platform:8080"},
		Audience:       "platform",
	})
}

func fromToken() credential.Source {
	return claims.Source{Claim: "tokens"}
}

func fromSeveral(platform credential.Source) credential.Source {
	return credential.ByResource(map[string]credential.Source{
		"github": platform,
		"jira":   credential.Chain(claims.Source{}, platform),
	})
}

func withoutAccount(c gateway.Config) gateway.Config {
	c.NotConnected = gateway.AskToConnect
	c.ConnectURL = "https://platform.example.com/connect/github"
	return c
}

func notesCredential(secret mcpauth.Secret) (*credential.Resolver, error) {
	source, err := exchange.New(exchange.Config{
		Issuer: "https://issuer.example.com",
		Client: exchange.Client{ClientID: "mcp", Secret: secret},
		Targets: map[string]exchange.Target{
			"notes": {Audience: []string{"https://notes.example.com"}, Scopes: []string{"notes:read"}},
		},
	})
	if err != nil {
		return nil, err
	}
	return credential.New(credential.Config{Source: source})
}

func newAssertions() (*assertion.Signer, error) {
	return assertion.New(assertion.Config{
		Issuer:    "https://mcp.example.com",
		Audiences: []string{"https://notes.internal.example.com"},
	})
}

// callNotes is what a tool does with the identity of its call.
func callNotes(ctx context.Context, signer *assertion.Signer, id *mcpauth.Identity) (*http.Response, error) {
	token, err := signer.Sign(id, "https://notes.internal.example.com")
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, "GET", "https://notes.internal.example.com/notes", nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token.Reveal())
	return http.DefaultClient.Do(request)
}

func newVerifier() (*jwt.Provider, error) {
	return jwt.New(jwt.Config{Issuers: []jwt.Issuer{{
		Name:     "https://mcp.example.com",
		Audience: []string{"https://notes.internal.example.com"},
		Keys:     []jwt.KeySource{jwt.JWKSURL("https://mcp.example.com/.well-known/jwks.json")},
	}}})
}

// Each configuration of credentials.md is one that New takes as it is written
// there. What they do is for the tests of their packages.
func TestConfigurationsOfCredentials(t *testing.T) {
	t.Setenv("PLATFORM_API_KEY", "0123456789")
	document, err := os.ReadFile("credentials.md")
	if err != nil {
		t.Fatal(err)
	}
	quiet(t)
	list, err := revoke.Open(revoke.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	several := func() (credential.Source, error) {
		p, err := fromPlatform()
		return fromSeveral(p), err
	}
	for name, make := range map[string]func() (credential.Source, error){
		"fromPlatform": fromPlatform, "fromTenantManager": fromTenantManager, "fromPlatformInside": fromPlatformInside,
		"fromToken": func() (credential.Source, error) { return fromToken(), nil }, "fromSeveral": several,
	} {
		t.Run(name, func(t *testing.T) {
			source, err := make()
			if err != nil {
				t.Fatal(err)
			}
			c, err := withCredentials(source, list, gateway.Config{})
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Resolver.(mcpauth.Lifecycle).Close(); err != nil {
				t.Error(err)
			}
			if !strings.Contains(string(document), "\nfunc "+name+"(") {
				t.Error("credentials.md does not have it")
			}
		})
	}
	for _, name := range []string{"withCredentials", "withoutAccount", "notesCredential", "newAssertions", "callNotes", "newVerifier"} {
		if !strings.Contains(string(document), "\nfunc "+name+"(") {
			t.Errorf("credentials.md does not have %s", name)
		}
	}
	source, err := fromTenantManager()
	if err != nil {
		t.Fatal(err)
	}
	id, err := mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: "https://issuer.example.com", UserID: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := source.Fetch(t.Context(), id, "github"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without its file: %v", err)
	}
}

// The same for the exchange of tokens, and for assertions: the request of a tool
// carries one.
func TestConfigurationsOfExchangeAndAssertions(t *testing.T) {
	quiet(t)
	resolver, err := notesCredential(mcpauth.NewSecret("of this server"))
	if err != nil {
		t.Fatal(err)
	}
	if err := resolver.Close(); err != nil {
		t.Error(err)
	}
	signer, err := newAssertions()
	if err != nil {
		t.Fatal(err)
	}
	defer signer.Close()
	verifier, err := newVerifier()
	if err != nil {
		t.Fatal(err)
	}
	defer verifier.Close()
	if c := withoutAccount(gateway.Config{}); c.NotConnected != gateway.AskToConnect || c.ConnectURL == "" {
		t.Errorf("without an account: %q, %q", c.NotConnected, c.ConnectURL)
	}
	alice, err := mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: "https://issuer.example.com", UserID: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	// The backend is played by whatever sends requests: it must get the token.
	var sent string
	before := http.DefaultClient.Transport
	http.DefaultClient.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		sent = r.URL.String() + " " + r.Header.Get("Authorization")
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
	})
	defer func() { http.DefaultClient.Transport = before }()
	response, err := callNotes(t.Context(), signer, alice)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if !strings.HasPrefix(sent, "https://notes.internal.example.com/notes Bearer ey") {
		t.Errorf("sent %.60q", sent)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// quiet keeps the default log out of a test.
func quiet(t *testing.T) {
	before := slog.Default()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	t.Cleanup(func() { slog.SetDefault(before) })
}

// A gateway as the document has it asks the resolver, and serves what "mcpauth
// credential invalidate" asks.
func TestCredentialsBehindAGateway(t *testing.T) {
	quiet(t)
	dir, err := os.MkdirTemp("", "c") // short: a socket's path is bounded
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	list, err := revoke.Open(revoke.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { list.Close() })
	key := tokentest.SharedSecret("credentials")
	provider, err := jwt.New(jwt.Config{Revocations: list, Issuers: []jwt.Issuer{{
		Name: "https://issuer.example.com", Audience: []string{origin + "/mcp"}, UserIDClaim: "sub",
		Keys: []jwt.KeySource{jwt.Secret(mcpauth.NewSecret(string(key.Private.([]byte))))},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := withCredentials(fromToken(), list, gateway.Config{
		Factory: (&gatewaytest.Factory{}).Make, Provider: provider, PublicURL: origin, AllowedHosts: []string{"127.0.0.1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Admin.Socket = filepath.Join(dir, "admin.sock")
	s := gatewaytest.Start(t, c)
	token := key.Token(key.Header(), `{"iss":"https://issuer.example.com","aud":"`+origin+`/mcp","sub":"alice","exp":4000000000,"tokens":{"github":"gho_1"}}`)
	if got := s.Do(t, gatewaytest.ModernCall(token, 1, "whoami", "{}")).Status; got != http.StatusOK {
		t.Fatalf("status %d", got)
	}
	resolver := c.Resolver.(*credential.Resolver)
	if n := resolver.Stats().Entries; n != 1 {
		t.Errorf("%d kept", n)
	}
	if n := resolver.Invalidate("https://issuer.example.com", "alice", "github"); n != 1 {
		t.Errorf("%d forgotten", n)
	}
}
