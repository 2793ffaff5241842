// Package mcpauth puts a verified user in front of any MCP (Model Context
// Protocol) server.
//
// It is the contract that every station of the line shares: a [Provider] says
// who sent a [Request], as an immutable [Identity] or as an [*Error]; a
// [Secret] holds what must never be printed; [Require] is the net/http
// middleware that ties them together and answers a refusal the way RFC 6750
// and RFC 9728 ask for.
//
//	requireUser := mcpauth.Require(provider, mcpauth.Requirement{})
//	http.Handle("/notes", requireUser(notes))
//
//	func notes(w http.ResponseWriter, r *http.Request) {
//		user := mcpauth.FromContext(r.Context())
//		fmt.Fprintf(w, "hello %s", user.UserID())
//	}
//
// That is for plain HTTP. MCP has sessions, which must belong to a user: package
// gateway serves it, or package sdkauth with the SDK's own handler behind Require.
//
// Providers live in authn/…. This package depends on the standard library alone.
package mcpauth
