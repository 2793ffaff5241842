// Package login gets an access token for a user at a terminal, and keeps it
// fresh: the authorization code flow of a native application (RFC 8252) with
// PKCE (RFC 7636), a browser on the same machine and a listener on loopback.
//
//	client, err := login.New(login.Config{
//		Issuer:   "https://issuer.example.com",
//		ClientID: "my-tool",
//		Scopes:   []string{"notes:read", "offline_access"},
//		Resource: "https://mcp.example.com/mcp",
//		Store:    path, Key: key,
//	})
//	…
//	user, err := client.Login(ctx, func(url string) { fmt.Println("Please open", url) })
//	…
//	token, err := client.Token(ctx) // refreshed when needed
//
// Of what comes back it is checked that it is the answer to this login (state),
// from this issuer (RFC 9207), and, with the scope openid, that the ID token is
// signed by the issuer, for this client and this login (nonce).
//
// Tokens are kept in one file, sealed with AES-256-GCM and bound to issuer,
// client and resource. Refresh tokens are rotated: the file is locked meanwhile,
// since a refresh token that is used twice ends the login at many servers.
package login
