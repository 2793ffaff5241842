// Package sdkauth serves MCP with the official Go SDK's own Streamable HTTP
// handler, for several users at once. It is for servers that keep their HTTP
// setup and do not need the gateway.
//
// [NewStreamableHTTPHandler] takes the place of mcp.NewStreamableHTTPHandler,
// behind [mcpauth.Require]:
//
//	handler := sdkauth.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, nil)
//	requireUser := mcpauth.Require(provider, mcpauth.Requirement{Resource: resource})
//	http.Handle("/mcp", requireUser(handler))
//
//	func whoami(ctx context.Context, _ *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
//		user := mcpauth.FromContext(ctx) // of the request that calls the tool
//		…
//	}
//
// With Require directly in front of the SDK's handler, whoever has a good token
// and the session id of another user acts as that user: the SDK binds a session
// only to a user that its own auth package knows, and hands the session's
// handlers the context of its first request.
//
// # What the handler promises
//
//   - A session belongs to the principal (issuer, user id and tenant) that opened
//     it. Other users get the same 404 for it, on every method, as for a session
//     that does not exist.
//   - [mcpauth.FromContext], [mcpauth.CredentialFrom], [mcpauth.RequestID] and all
//     other context values are those of the current request, in every tool, prompt
//     and resource handler and in receiving middleware, with and without sessions.
//     So are the SDK's auth.TokenInfoFromContext and RequestExtra. A session's
//     scopes are therefore those of the token that came with the call.
//   - The Authorization header does not reach handlers.
//   - Results that clients and proxies may cache have the cacheScope "private".
//   - A stream that the client opens with GET or subscriptions/listen ends when the
//     token that opened it expires. Clients then open a new one with a newer token.
//     Calls in progress are finished.
//   - Whatever has not come through the handler and a verified user fails. That
//     holds for a request without an identity, which gets 503, and for calls that
//     reach the same server through another transport, such as mcp.NewSSEHandler,
//     stdio or another SDK handler, which get an error.
//
// # What the author does
//
// Middleware in front of the handler runs between Require and the SDK, so a
// context value that it adds reaches the tools:
//
//	http.Handle("/mcp", requireUser(addCredential(handler)))
//
// One server may serve all users. It must not keep anything of one user outside of
// what belongs to a session; a server that does is made by the getServer function
// for its user, which finds the identity in the request's context.
//
// Receiving middleware has to be added to a server before the server is first
// returned. Middleware that is added later runs outside of this package's and finds
// no identity.
//
// Require does not start the provider. A provider that is a [mcpauth.Lifecycle],
// such as one that fetches keys, needs Start before the first request and Close at
// the end. The SDK refuses foreign Host headers on loopback connections only;
// [mcpauth.CheckOrigin] in front of Require checks Host and Origin everywhere.
//
// # What only the gateway does
//
// Package gateway, which needs a factory instead of a handler, also
//
//   - ends streams, running calls and sessions when their credential is revoked.
//     Here, the provider refuses a revoked credential with the next request, and what
//     is already running continues: a call to its end, a stream until its token
//     expires;
//   - keeps a stream open for as long as its user presents newer tokens;
//   - limits the rate, sessions, streams and calls of each user, the memory that
//     messages take, and the time of a call. Here, SessionTimeout and
//     MaxRequestBodyBytes of mcp.StreamableHTTPOptions are the only limits. Without
//     SessionTimeout, sessions stay until their client deletes them;
//   - checks scopes per tool, prompt and resource (package policy), with a step-up
//     challenge, which only HTTP can carry: an error of a tool cannot have one;
//   - finds the user's upstream credential (a [mcpauth.Resolver]);
//   - gives each user, session or request a server of its own;
//   - serves both eras of the protocol on one URL. The SDK's handler serves
//     2026-07-28 with Stateless only, and sessions without it only;
//   - serves the two-endpoint HTTP+SSE transport of 2024-11-05. The SDK's handler
//     for it, mcp.NewSSEHandler, tells neither the server nor this package which
//     request brought a message, and binds no session to a user. Do not use it for
//     more than one user;
//   - turns a panic of a tool into an error, instead of the end of the process;
//   - writes the request log, audit log, metrics and traces.
package sdkauth
