// Package gateway puts the stations of mcpauth in line and serves MCP behind
// them: a request's origin is checked, its user verified, the scopes that it
// needs demanded, its rate bounded, the user's credential found, and then it
// reaches a server of that user's own.
//
//	g, err := gateway.New(gateway.Config{
//		Provider:  provider, // such as a *jwt.Provider
//		PublicURL: "https://mcp.example.com",
//		Factory: func(ctx context.Context, call gateway.Call) (gateway.Instance, error) {
//			return gateway.Instance{Server: newServer(call.Identity.UserID())}, nil
//		},
//	})
//	…
//	err = g.Run(ctx) // until ctx is done or a signal comes, then a graceful stop
//
// A Gateway is an http.Handler too, to be mounted at "/" beside more specific
// routes (it also serves health and, under /.well-known/, the resource
// metadata). Then PublicURL says where it is; Start begins what Run would; and
// Shutdown comes before that of the http.Server, which waits for streams that
// only the Gateway ends.
package gateway
