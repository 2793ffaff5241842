// Package gateway puts the stations of mcpauth in line and serves MCP behind
// them: a request's origin is checked, its user verified, the scopes that the
// server asks for demanded, and then it reaches a server of that user's own.
//
//	g, err := gateway.New(gateway.Config{
//		Provider:  provider, // such as a *jwt.Provider
//		PublicURL: "https://mcp.example.com",
//		Factory: func(ctx context.Context, call gateway.Call) (gateway.Instance, error) {
//			return gateway.Instance{Server: newServer(call.Identity.UserID())}, nil
//		},
//	})
//	…
//	err = g.Run(ctx) // until ctx is done, then a graceful stop
//
// A Gateway is an http.Handler too, to be mounted beside other routes; then
// Start and Shutdown stand for what Run does.
package gateway
