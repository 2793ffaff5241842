// Package tool adds tools to an MCP server of the official SDK whose handlers
// know their user: who calls, and with which credential of theirs. What is done
// around a handler is written beside it, as steps.
//
//	tool.Add(server, &mcp.Tool{Name: "issues", Description: "Lists your issues."},
//		func(ctx context.Context, call *tool.Call, in Query) (Issues, error) {
//			return tracker.Issues(ctx, call.Identity.UserID(), call.Credential.Token, in.Project)
//		},
//		tool.Log(logger), tool.RequireCredential("Connect your tracker first."), tool.Timeout(10*time.Second))
//
// [Add] is [mcp.AddTool] with a [Call] for the handler: schemas, validation,
// results and errors are the SDK's. It promises in addition:
//
//   - A call without a verified user is refused before any step runs, so a
//     server that is served without the gateway by mistake serves nobody.
//   - A panic in the handler or in a step ends that call only. The client is
//     told "internal error", the log gets the stack.
//   - What a handler returns after a time-out has answered for it is dropped.
//
// Steps run in the order in which they are written, the first outermost. This
// order suits most tools; leave out what yours does not need:
//
//	tool.Log(logger),               // sees all that follows, refusals too
//	tool.RequireScopes("notes"),    // cheap refusals first
//	tool.Limit(limiter),            // counts calls, not attempts
//	tool.Timeout(10*time.Second),   // bounds all attempts together
//	tool.Retry(tool.RetryPolicy{}), // repeats what the handler marks
//
// A handler can be tested by itself, with a Call made by hand. To have steps
// for all tools of a server, put them into one with [Compose]; to act on other
// requests than calls of tools, write middleware of the SDK.
package tool
