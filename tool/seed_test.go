package tool_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth/limit"
	"github.com/mcpauth-go/mcpauth/tool"
)

// What the TypeScript pattern that this project grew from promises of single
// tools, each in short: the tests beside this one go into it.

// withAuth: a handler gets the arguments, the access token and the user id, and
// is not called without a user.
func TestSeedBToolWithAuth(t *testing.T) {
	type in struct {
		Title string `json:"title"`
	}
	add := func(s *mcp.Server) {
		tool.Add(s, &mcp.Tool{Name: "it"}, func(_ context.Context, call *tool.Call, in in) (string, error) {
			return fmt.Sprintf("%s for %s with %s", in.Title, call.Identity.UserID(), call.Credential.Token.Reveal()), nil
		}, tool.RequireCredential("Connect your account first."))
	}
	for _, test := range []struct {
		name string
		who  caller
		want string
	}{
		{"a user", alice.with("alice's key"), `"milk for alice with alice's key"`},
		{"another", bob.with("bob's key"), `"milk for bob with bob's key"`},
		{"a user without a credential", bob, "error: Connect your account first."},
		{"nobody", nobody.with("a key"), `protocol: calling "tools/call": this tool needs a verified user, and the server knows of none: it must be served behind mcpauth`},
	} {
		if got := answer(t, connect(t, test.who, nil, add), "it", in{"milk"}); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

// Logging, rate limit, time-out and retry of a tool are steps that compose.
func TestSeedBToolSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := limit.New(limit.Config{User: limit.Off, Tools: map[string]limit.Rate{"it": {Requests: 2, Per: time.Hour}}})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		var log records
		guard := tool.Compose(tool.Log(log.logger()), tool.Limit(l), tool.Timeout(time.Minute), tool.Retry(tool.RetryPolicy{}))
		var attempts atomic.Int32
		session := connect(t, alice, nil, func(s *mcp.Server) {
			tool.Add(s, &mcp.Tool{Name: "it"}, func(ctx context.Context, _ *tool.Call, _ none) (string, error) {
				switch attempts.Add(1) {
				case 1:
					return "", tool.RetryableAfter(errBusy, time.Second)
				case 2:
					return "done", nil
				}
				<-ctx.Done()
				return "", ctx.Err()
			}, guard)
		})
		for _, want := range []string{`"done"`, "error: the tool did not answer within 1m0s", "error: rate_limited: This tool has been called too often. Please try again in 28m59s."} {
			if got := answer(t, session, "it", nil); got != want {
				t.Errorf("answer = %s, want %s", got, want)
			}
		}
		const line = `{"level":"INFO","msg":"tool called","tool":"it","user":{"issuer":"team","user":"alice"},"duration":`
		want := line + `"1s","outcome":"ok"}` + "\n" + line + `"1m0s","outcome":"timeout"}` + "\n" +
			line + `"0s","outcome":"refused","refusal":{"code":"rate_limited","message":"This tool has been called too often. Please try again in 28m59s."}}` + "\n"
		if got := log.String(); attempts.Load() != 3 || got != want {
			t.Errorf("%d attempts, and the log is\n%swant\n%s", attempts.Load(), got, want)
		}
	})
}
