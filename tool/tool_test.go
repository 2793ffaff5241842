package tool_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/tool"
)

func TestAHandlerKnowsItsCaller(t *testing.T) {
	type seen struct {
		Credential, Note, Tool, User string // in the order in which JSON objects are written
	}
	type in struct {
		Note string `json:"note"`
	}
	look := func(ctx context.Context, call *tool.Call, in in) (seen, error) {
		if call.Identity != mcpauth.FromContext(ctx) || call.Credential != mcpauth.CredentialFrom(ctx) {
			t.Error("the call is not that of its context")
		}
		s := seen{User: call.Identity.UserID(), Tool: call.Request.Params.Name, Note: in.Note}
		if call.Credential != nil {
			s.Credential = call.Credential.Token.Reveal()
		}
		return s, nil
	}
	pass := func(ctx context.Context, _ *tool.Call, next func(context.Context) error) error { return next(ctx) }
	for _, test := range []struct {
		name  string
		who   caller
		steps []tool.Step
		want  seen
	}{
		{"a user", alice, nil, seen{"", "milk", "look", "alice"}},
		{"another user", bob, nil, seen{"", "milk", "look", "bob"}},
		{"a user with a credential", alice.with("key"), nil, seen{"key", "milk", "look", "alice"}},
		{"behind steps", alice.with("key"), []tool.Step{pass, tool.Timeout(time.Hour), tool.Compose(), pass}, seen{"key", "milk", "look", "alice"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			session := connect(t, test.who, nil, func(s *mcp.Server) { tool.Add(s, &mcp.Tool{Name: "look"}, look, test.steps...) })
			got, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "look", Arguments: in{"milk"}})
			if err != nil {
				t.Fatal(err)
			}
			if got, want := asJSON(t, got.StructuredContent), asJSON(t, test.want); got != want {
				t.Errorf("seen %s, want %s", got, want)
			}
		})
	}
}

func TestACallWithoutVerifiedUserIsRefusedFirst(t *testing.T) {
	mark := func(context.Context, *tool.Call, func(context.Context) error) error {
		t.Error("a step ran")
		return nil
	}
	run := func(context.Context, *tool.Call, none) (string, error) {
		t.Error("the handler ran")
		return "", nil
	}
	const want = `protocol: calling "tools/call": this tool needs a verified user, and the server knows of none: it must be served behind mcpauth`
	for _, test := range []struct {
		name  string
		who   caller
		steps []tool.Step
	}{
		{"no identity", nobody, nil},
		{"no identity, with steps", nobody, []tool.Step{mark}},
		{"a credential alone", nobody.with("key"), []tool.Step{mark}},
		{"an identity of nobody", caller{id: &mcpauth.Identity{}}, []tool.Step{mark}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := try(t, test.who, run, test.steps...); got != want {
				t.Errorf("answer = %s", got)
			}
		})
	}
}

type output struct {
	Text string `json:"text"`
}

var twoLetters = json.RawMessage(`{"type":"object","properties":{"text":{"type":"string","maxLength":2}}}`)

// both adds the same tool with mcp.AddTool to one server and with tool.Add to
// two others, of which one has steps, and compares what a client sees.
func both[In, Out any](t *testing.T, definition mcp.Tool, arguments any, f func() (Out, error)) {
	t.Helper()
	definition.Name = "it"
	h := func(context.Context, *tool.Call, In) (Out, error) { return f() }
	look := func(add func(*mcp.Server)) string {
		session := connect(t, alice, nil, add)
		defer session.Close()
		list, err := session.ListTools(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		seen := asJSON(t, list.Tools)
		result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "it", Arguments: arguments})
		var wire *jsonrpc.Error
		switch {
		case errors.As(err, &wire):
			return fmt.Sprint(seen, "\nprotocol: ", wire.Code, " ", wire.Message, " ", string(wire.Data))
		case err != nil:
			return seen + "\nerror: " + err.Error()
		}
		return seen + "\n" + asJSON(t, result)
	}
	want := look(func(s *mcp.Server) {
		mcp.AddTool(s, &definition, func(context.Context, *mcp.CallToolRequest, In) (*mcp.CallToolResult, Out, error) {
			out, err := f()
			return nil, out, err
		})
	})
	for name, steps := range map[string][]tool.Step{"no steps": nil, "steps": {tool.Timeout(time.Hour), tool.Retry(tool.RetryPolicy{})}} {
		if got := look(func(s *mcp.Server) { tool.Add(s, &definition, h, steps...) }); got != want {
			t.Errorf("with %s:\n%s\nwith mcp.AddTool:\n%s", name, got, want)
		}
	}
}

func TestResultsAndErrorsAreThoseOfTheSDK(t *testing.T) {
	type in struct {
		N int `json:"n"`
	}
	good := in{1}
	short := mcp.Tool{OutputSchema: twoLetters}
	t.Run("a struct", func(t *testing.T) {
		both[in](t, mcp.Tool{}, good, func() (output, error) { return output{"hello"}, nil })
	})
	t.Run("a pointer", func(t *testing.T) {
		both[in](t, mcp.Tool{}, good, func() (*output, error) { return &output{"hello"}, nil })
	})
	t.Run("a nil pointer", func(t *testing.T) {
		both[in](t, mcp.Tool{}, good, func() (*output, error) { return nil, nil })
	})
	t.Run("a list", func(t *testing.T) {
		both[in](t, mcp.Tool{}, good, func() ([]output, error) { return []output{{"a"}, {"b"}}, nil })
	})
	t.Run("a text", func(t *testing.T) {
		both[in](t, mcp.Tool{}, good, func() (string, error) { return "hello", nil })
	})
	t.Run("any: nothing", func(t *testing.T) {
		both[in](t, mcp.Tool{}, good, func() (any, error) { return nil, nil })
	})
	t.Run("any: a struct", func(t *testing.T) {
		both[in](t, mcp.Tool{}, good, func() (any, error) { return output{"hello"}, nil })
	})
	t.Run("any: input too", func(t *testing.T) {
		both[any](t, mcp.Tool{}, map[string]any{"x": 1}, func() (any, error) { return output{"hello"}, nil })
	})
	t.Run("any, with a schema", func(t *testing.T) {
		both[in](t, short, good, func() (any, error) { return output{"hello"}, nil })
	})
	t.Run("what does not fit the schema", func(t *testing.T) {
		both[in](t, short, good, func() (output, error) { return output{"hello"}, nil })
	})
	t.Run("arguments that do not fit", func(t *testing.T) {
		both[in](t, mcp.Tool{}, map[string]any{"n": "one"}, func() (output, error) { return output{"hello"}, nil })
	})
	t.Run("no arguments", func(t *testing.T) {
		both[in](t, mcp.Tool{}, nil, func() (output, error) { return output{"hello"}, nil })
	})
	t.Run("an error", func(t *testing.T) {
		both[in](t, mcp.Tool{}, good, func() (output, error) { return output{"hello"}, errors.New("no such note") })
	})
	t.Run("any: an error", func(t *testing.T) {
		both[in](t, mcp.Tool{}, good, func() (any, error) { return nil, errors.New("no such note") })
	})
	protocol := &jsonrpc.Error{Code: -32042, Message: "log in first", Data: []byte(`{"where":"here"}`)}
	t.Run("an error of the protocol", func(t *testing.T) {
		both[in](t, mcp.Tool{}, good, func() (output, error) { return output{}, protocol })
	})
	t.Run("any: an error of the protocol", func(t *testing.T) {
		both[in](t, mcp.Tool{}, good, func() (any, error) { return nil, protocol })
	})
	t.Run("a wrapped error of the protocol, which is one of the tool", func(t *testing.T) {
		both[in](t, mcp.Tool{}, good, func() (output, error) { return output{}, fmt.Errorf("while at it: %w", protocol) })
	})
}

func TestAHandlerMayWriteTheResultItself(t *testing.T) {
	text := []mcp.Content{&mcp.TextContent{Text: "hello"}}
	for _, test := range []struct {
		name   string
		schema any
		result *mcp.CallToolResult
		want   string
	}{
		{"content", nil, &mcp.CallToolResult{Content: text}, `{"content":[{"type":"text","text":"hello"}]}`},
		{"nothing", nil, nil, `{"content":[]}`},
		{"an error", nil, &mcp.CallToolResult{Content: text, IsError: true}, `{"content":[{"type":"text","text":"hello"}],"isError":true}`},
		{"_meta", nil, &mcp.CallToolResult{Content: text, Meta: mcp.Meta{"k": "v"}}, `{"_meta":{"k":"v"},"content":[{"type":"text","text":"hello"}]}`},
		{"beside structured content", twoLetters, &mcp.CallToolResult{Content: text, StructuredContent: output{"ab"}},
			`{"content":[{"type":"text","text":"hello"}],"structuredContent":{"text":"ab"}}`},
		{"structured content alone", twoLetters, &mcp.CallToolResult{StructuredContent: output{"ab"}},
			`{"content":[{"type":"text","text":"{\"text\":\"ab\"}"}],"structuredContent":{"text":"ab"}}`},
		{"structured content that does not fit", twoLetters, &mcp.CallToolResult{StructuredContent: output{"abc"}}, "validating tool output"},
		{"an error, which need not fit", twoLetters, &mcp.CallToolResult{Content: text, IsError: true}, `{"content":[{"type":"text","text":"hello"}],"isError":true}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			session := connect(t, alice, nil, func(s *mcp.Server) {
				write := func(context.Context, *tool.Call, none) (*mcp.CallToolResult, error) {
					if test.result == nil {
						return nil, nil
					}
					fresh := *test.result // the SDK writes into it
					fresh.Meta = maps.Clone(fresh.Meta)
					return &fresh, nil
				}
				writeAny := func(ctx context.Context, call *tool.Call, in none) (any, error) { return write(ctx, call, in) }
				tool.Add(s, &mcp.Tool{Name: "bare", OutputSchema: test.schema}, write)
				tool.Add(s, &mcp.Tool{Name: "behind steps", OutputSchema: test.schema}, write, tool.Timeout(time.Hour), tool.Log(nothing))
				tool.Add(s, &mcp.Tool{Name: "any", OutputSchema: test.schema}, writeAny)
			})
			list, err := session.ListTools(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, definition := range list.Tools {
				if (definition.OutputSchema != nil) != (test.schema != nil) {
					t.Errorf("%s: output schema %v", definition.Name, definition.OutputSchema)
				}
				result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: definition.Name})
				got := fmt.Sprint(err)
				if err == nil {
					delete(result.Meta, "io.modelcontextprotocol/serverInfo")
					got = strings.Replace(asJSON(t, result), `,"resultType":"complete"`, "", 1)
				}
				if got != test.want && (err == nil || !strings.Contains(got, test.want)) {
					t.Errorf("%s: %s, want %s", definition.Name, got, test.want)
				}
			}
		})
	}
}

func TestWhatCannotBeServedPanicsAtOnce(t *testing.T) {
	server := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	it := &mcp.Tool{Name: "it"}
	for name, test := range map[string]struct {
		do   func()
		want string
	}{
		"no handler":                 {func() { tool.Add[none, string](server, it, nil) }, `tool: "it" has no handler`},
		"a nil step":                 {func() { tool.Add(server, it, says("", nil), tool.Log(nil), nil) }, "tool: step 1 is nil"},
		"a nil step in Compose":      {func() { tool.Compose(nil) }, "tool: step 0 is nil"},
		"no time":                    {func() { tool.Timeout(0) }, "tool: Timeout(0s): must be positive"},
		"negative attempts":          {func() { tool.Retry(tool.RetryPolicy{Attempts: -1}) }, "tool: Retry({Attempts:-1 Wait:0s MaxWait:0s}): must not be negative"},
		"no limiter":                 {func() { tool.Limit(nil) }, "tool: Limit: no limiter"},
		"two scopes in one":          {func() { tool.RequireScopes("a", "b c") }, `tool: RequireScopes: "b c" is not a scope`},
		"an input that is no object": {func() { tool.Add(server, it, func(context.Context, *tool.Call, int) (any, error) { return nil, nil }) }, `AddTool "it": input schema must have type "object"`},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.HasPrefix(got, test.want) {
					t.Errorf("panic %q, want %q", got, test.want)
				}
			}()
			test.do()
		})
	}
}

func TestProgressReachesACallerWhoAskedForIt(t *testing.T) {
	for _, test := range []struct {
		name  string
		token any
		want  []mcp.ProgressNotificationParams
	}{
		{"asked", "p1", []mcp.ProgressNotificationParams{
			{ProgressToken: "p1", Progress: 1, Total: 2, Message: "half"},
			{ProgressToken: "p1", Progress: 2, Total: 2, Message: "done"}}},
		{"not asked", nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			seen := make(chan mcp.ProgressNotificationParams, 3)
			options := &mcp.ClientOptions{ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) {
				p := *r.Params
				p.Meta = nil
				seen <- p
			}}
			session := connect(t, alice, options, func(s *mcp.Server) {
				tool.Add(s, &mcp.Tool{Name: "it"}, func(ctx context.Context, call *tool.Call, _ none) (string, error) {
					ended, end := context.WithCancel(ctx)
					end()
					if err := call.Progress(ended, 3, 2, "too late"); (err != nil) != (test.token != nil) {
						t.Errorf("progress in an ended context: %v", err)
					}
					return "", errors.Join(call.Progress(ctx, 1, 2, "half"), call.Progress(ctx, 2, 2, "done"))
				})
			})
			params := &mcp.CallToolParams{Name: "it"}
			if test.token != nil {
				params.SetProgressToken(test.token)
			}
			if result, err := session.CallTool(t.Context(), params); err != nil || result.IsError {
				t.Fatal(asJSON(t, result), err)
			}
			session.Ping(t.Context(), nil) // notifications before it have been delivered
			var got []mcp.ProgressNotificationParams
			for range test.want {
				got = append(got, <-seen)
			}
			if !reflect.DeepEqual(got, test.want) || len(seen) > 0 {
				t.Errorf("progress = %+v and %d more, want %+v", got, len(seen), test.want)
			}
		})
	}
	t.Run("a call made by hand", func(t *testing.T) {
		if err := (&tool.Call{Identity: alice.id}).Progress(t.Context(), 1, 2, "half"); err != nil {
			t.Error(err)
		}
	})
}
