package docs_test

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/oauth"
	"github.com/mcpauth-go/mcpauth/authn/oauth/login"
)

func introspection(secret mcpauth.Secret) oauth.Config {
	return oauth.Config{
		Issuer:   "https://issuer.example.com",
		Audience: []string{"https://mcp.example.com/mcp"},
		Client:   oauth.Client{ClientID: "mcp", Secret: secret},
	}
}

func introspectionOfKeycloak(secret mcpauth.Secret) oauth.Config {
	return oauth.Config{
		Issuer:           "https://keycloak.example.com/realms/REALM",
		Endpoint:         "http://keycloak:8080/realms/REALM/protocol/openid-connect/token/introspect",
		Audience:         []string{"https://mcp.example.com/mcp"},
		Client:           oauth.Client{ClientID: "mcp", Secret: secret},
		RequireTokenType: true,
		Requests:         oauth.Requests{PlainHTTPHosts: []string{"keycloak:8080"}},
	}
}

func userinfoOfGoogle() oauth.Config {
	return oauth.Config{
		Issuer:   "https://accounts.google.com",
		Method:   oauth.Userinfo,
		Audience: []string{"CLIENT-ID.apps.googleusercontent.com"},
		Proof:    oauth.Proof{URL: "https://oauth2.googleapis.com/tokeninfo"},
	}
}

func userinfoOfGitHub() oauth.Config {
	return oauth.Config{
		Issuer:          "https://github.com",
		Method:          oauth.Userinfo,
		Endpoint:        "https://api.github.com/user",
		UserIDClaim:     "id",
		AcceptAnyClient: true,
	}
}

func loginOf(store string, key login.Key) login.Config {
	return login.Config{
		Issuer:   "https://issuer.example.com",
		ClientID: "my-tool",
		Scopes:   []string{"openid", "offline_access"},
		Resource: "https://mcp.example.com/mcp",
		Store:    store,
		Key:      key,
	}
}

// Each configuration of oauth.md is one that New takes as it is written there.
// What it makes of answers is for the tests of authn/oauth.
func TestConfigurationsOfOAuth(t *testing.T) {
	secret := mcpauth.NewSecret("from-a-secret-manager")
	for name, c := range map[string]oauth.Config{
		"introspection": introspection(secret), "introspectionOfKeycloak": introspectionOfKeycloak(secret),
		"userinfoOfGoogle": userinfoOfGoogle(), "userinfoOfGitHub": userinfoOfGitHub(),
	} {
		c.Logger = slog.New(slog.DiscardHandler)
		p, err := oauth.New(c)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		p.Close()
	}
	key, err := login.KeyFile(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	client, err := login.New(loginOf(filepath.Join(t.TempDir(), "tokens"), key))
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
}
