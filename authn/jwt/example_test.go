package jwt_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/internal/mint"
)

func ExampleNew() {
	// A deployment sets the variable; so that there is something to see, this
	// example also signs a token with it.
	secret := "c2VjcmV0cyBkbyBub3QgYmVsb25nIGludG8gc291cmNl"
	os.Setenv("EXAMPLE_JWT_SECRET", secret)
	signer, err := mint.NewSigner(jwt.HS256, []byte(secret), "")
	if err != nil {
		fmt.Println(err)
		return
	}
	token, err := signer.Sign(map[string]any{
		"iss": "https://issuer.example.com", "aud": "https://mcp.example.com/mcp",
		"exp": time.Now().Add(time.Hour).Unix(), "userId": "alice", "email": "alice@example.com",
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	provider, err := jwt.New(jwt.Config{
		Issuers: []jwt.Issuer{{
			Name:     "https://issuer.example.com",
			Audience: []string{"https://mcp.example.com/mcp"},
			Keys:     []jwt.KeySource{jwt.SecretEnv("EXAMPLE_JWT_SECRET")},
		}},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer provider.Close()

	user, err := provider.Verify(context.Background(), token)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s: %s\n", user.UserID(), user.Metadata())
	// Output: alice: map[email:"alice@example.com"]
}

// The keys of most identity providers are found by the issuer's name alone.
// Start fetches them, and Ready says when they are there.
func ExampleDiscover() {
	provider, err := jwt.New(jwt.Config{
		Issuers: []jwt.Issuer{{
			Name:     "https://tenant.us.auth0.com/",
			Audience: []string{"https://mcp.example.com/mcp"},
			Keys:     []jwt.KeySource{jwt.Discover()},
		}},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer provider.Close()
	fmt.Println(provider.Ready())
	// Output: jwt: no keys of ["https://tenant.us.auth0.com/"]
}

// Everything that is wrong is reported at once.
func ExampleNew_incorrect() {
	os.Setenv("EXAMPLE_SHORT_SECRET", "test-secret")
	_, err := jwt.New(jwt.Config{Issuers: []jwt.Issuer{{
		Name: "https://issuer.example.com",
		Keys: []jwt.KeySource{jwt.SecretEnv("EXAMPLE_SHORT_SECRET")},
	}}})
	fmt.Println(err)
	// Output:
	// jwt: the configuration has faults:
	//   - Issuers[0].Audience: empty; expected the values of which a token's audience must have one, such as this server's URL (AnyAudience turns the check off)
	//   - Issuers[0].Keys[0]: environment variable EXAMPLE_SHORT_SECRET: the secret has 11 bytes, HS256 needs at least 32
}
