package login_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/mcpauth-go/mcpauth/authn/oauth/login"
)

func ExampleClient_Token() {
	dir, err := os.MkdirTemp("", "login")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	key, err := login.KeyFile(filepath.Join(dir, "key"))
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := login.New(login.Config{
		Issuer:   "https://issuer.example.com",
		ClientID: "my-tool",
		Scopes:   []string{"openid", "offline_access"},
		Store:    filepath.Join(dir, "tokens"),
		Key:      key,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	_, err = client.Token(context.Background())
	if errors.Is(err, login.ErrNoLogin) {
		// Now is the time for client.Login, which asks for a browser.
		fmt.Println(err)
	}
	// Output: login: not logged in
}
