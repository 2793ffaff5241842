// Package platform asks a platform for its users' credentials, each with the
// user's own token:
//
//	GET {BaseURL}/api/credentials/{resourceType}
//	Authorization: Bearer <the token that the user came with>
//	X-User-ID: <the user's id>
//
//	200 {"access_token": "…", "expires_in": 3600}
//	404                                              the user has not connected an account
//
//	source, err := platform.New(platform.Config{
//		BaseURL:  "https://platform.example.com",
//		Audience: "https://platform.example.com",
//	})
//	…
//	resolver, err := credential.New(credential.Config{Source: source})
//
// That a server passes on the token that it was given is what the MCP
// specification forbids, because a token for one server then opens another. It is
// done here with bounds, and said loudly by New: a token goes to no other origin
// than that of BaseURL, over TLS, to a public address unless the operator has
// listed the host, and through no redirect; and only if its "aud" names the
// platform, or the operator has stated that both are one trust domain. What gets
// by without is token exchange (RFC 8693), package exchange.
//
// The answer is bounded in size and time, and read strictly. "user_id" and "sub",
// where the platform says whose credential it gives, must be the user's.
// "refresh_token" is not kept.
package platform
