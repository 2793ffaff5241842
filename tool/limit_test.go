package tool_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth/limit"
	"github.com/mcpauth-go/mcpauth/tool"
)

func TestLimitIsPerUserAndTool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := limit.New(limit.Config{User: limit.Off, Tools: map[string]limit.Rate{"*": {Requests: 2, Per: time.Minute}}})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		add := func(s *mcp.Server) {
			tool.Add(s, &mcp.Tool{Name: "send"}, says("sent", nil), tool.Limit(l))
			tool.Add(s, &mcp.Tool{Name: "read"}, says("milk", nil), tool.Limit(l))
		}
		// Two sessions of one user have one limit.
		one, two, other := connect(t, alice, nil, add), connect(t, alice, nil, add), connect(t, bob, nil, add)
		const refused = "error: rate_limited: This tool has been called too often. Please try again in 30s."
		for _, step := range []struct {
			what    string
			wait    time.Duration
			session *mcp.ClientSession
			tool    string
			want    string
		}{
			{"alice", 0, one, "send", `"sent"`},
			{"alice, in another session", 0, two, "send", `"sent"`},
			{"alice, too often", 500 * time.Millisecond, one, "send", refused},
			{"alice, another tool", 0, one, "read", `"milk"`},
			{"bob", 0, other, "send", `"sent"`},
			{"alice, too early by a moment", 29 * time.Second, two, "send", "error: rate_limited: This tool has been called too often. Please try again in 1s."},
			{"alice, in time", 501 * time.Millisecond, one, "send", `"sent"`},
		} {
			time.Sleep(step.wait)
			if got := answer(t, step.session, step.tool, nil); got != step.want {
				t.Errorf("%s: %s, want %s", step.what, got, step.want)
			}
		}
	})
}

func TestLimitCountsCallsNotAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := limit.New(limit.Config{User: limit.Rate{Requests: 1, Per: time.Minute}})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		attempts := []error{tool.Retryable(errBusy), tool.Retryable(errBusy), nil}
		if got := try(t, alice, replays(&attempts), tool.Limit(l), tool.Retry(tool.RetryPolicy{})); got != `"done"` {
			t.Errorf("answer = %s", got)
		}
	})
}
