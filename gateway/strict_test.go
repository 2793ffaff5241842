package gateway_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/policy"
)

// strictConfig names some of what n's servers have.
func strictConfig(n *noted) gateway.Config {
	return gateway.Config{
		Factory: n.Make, RequiredScopes: []string{"mcp"}, StrictRules: true, LegacySSE: true,
		Rules: []policy.Rule{
			{Tool: "who*"},
			{Tool: "save", Scopes: []string{"notes:write"}},
			{Prompt: "hello"},
			{Resource: "notes://public"},
		},
	}
}

const unknownTo = `{"jsonrpc":"2.0","id":%s,"error":{"code":-32602,"message":"Unknown tool, prompt or resource"}}`

func TestStrictRulesDenyWhatNoRuleNames(t *testing.T) {
	factory := newNoted()
	s := gatewaytest.Start(t, strictConfig(factory))
	reader, writer := s.Token(t, "alice", scope("mcp")), s.Token(t, "alice", scope("mcp notes:write"))
	session, stream := s.Open(t, reader, gatewaytest.Legacy), openedSSE(t, s, reader)
	const denied, passes, lacks = "denied", "passes", "lacks a scope"
	for _, test := range []struct {
		token          string
		method, params string
		target         string // of Mcp-Name
		want           string
		only           string // the one era that has the method
	}{
		{reader, "tools/call", `{"name":"whoami","arguments":{}}`, "whoami", passes, ""},
		{reader, "tools/call", `{"name":"save","arguments":{}}`, "save", lacks, ""},
		{writer, "tools/call", `{"name":"save","arguments":{}}`, "save", passes, ""},
		{writer, "tools/call", `{"name":"drop","arguments":{}}`, "drop", denied, ""},
		{writer, "tools/call", `{"name":"not there","arguments":{}}`, "not there", denied, ""},
		{writer, "tools/call", `{"arguments":{}}`, "", denied, gatewaytest.Legacy},
		{reader, "prompts/get", `{"name":"hello"}`, "hello", passes, ""},
		{reader, "prompts/get", `{"name":"secret"}`, "secret", denied, ""},
		{reader, "prompts/get", `{"name":"whoami"}`, "whoami", denied, ""},
		{reader, "resources/read", `{"uri":"notes://public"}`, "notes://public", passes, ""},
		{reader, "resources/read", `{"uri":"notes://secret"}`, "notes://secret", denied, ""},
		{reader, "resources/subscribe", `{"uri":"notes://secret"}`, "", denied, gatewaytest.Legacy},
		{reader, "resources/unsubscribe", `{"uri":"notes://secret"}`, "", denied, gatewaytest.Legacy},
		{reader, "subscriptions/listen", `{"notifications":{"resourceSubscriptions":["notes://public","notes://secret"]}}`, "", denied, gatewaytest.Modern},
		{reader, "completion/complete", `{"ref":{"type":"ref/prompt","name":"hello"},"argument":{"name":"a","value":"b"}}`, "", passes, ""},
		{reader, "completion/complete", `{"ref":{"type":"ref/prompt","name":"secret"},"argument":{"name":"a","value":"b"}}`, "", denied, ""},
		{reader, "completion/complete", `{"ref":{"type":"ref/resource","uri":"notes://secret"},"argument":{"name":"a","value":"b"}}`, "", denied, ""},
		{reader, "tools/list", `{}`, "", passes, ""},
	} {
		message := gatewaytest.Message(7, test.method, test.params)
		answers := map[string]gatewaytest.Answer{}
		if test.only != gatewaytest.Modern {
			answers["with a session"] = s.Do(t, gatewaytest.Request{Token: test.token, Session: session, Version: gatewaytest.Legacy, Body: message})
			over := stream.request(message)
			over.Token = test.token
			answer := s.Do(t, over)
			if answer.Status == http.StatusAccepted {
				answer = gatewaytest.Answer{Status: http.StatusOK, Body: stream.data(t)}
			}
			answers["over HTTP+SSE"] = answer
		}
		if test.only != gatewaytest.Legacy {
			answers["without sessions"] = s.Do(t, modern(test.token, test.method, test.target, test.params))
		}
		for how, got := range answers {
			good := false
			switch test.want {
			case denied:
				good = got.Status == http.StatusOK && strings.TrimSpace(got.Body) == fmt.Sprintf(unknownTo, "7")
			case lacks:
				good = got.Status == http.StatusForbidden && strings.Contains(got.Header.Get("WWW-Authenticate"), `scope="mcp notes:write"`)
			case passes:
				good = got.Status == http.StatusOK && strings.Contains(got.Body, `"result":`)
			}
			if !good {
				t.Errorf("%s %s %s: %d %s, want: %s", test.method, test.params, how, got.Status, got.Body, test.want)
			}
		}
	}
	if saved, others := factory.saved.Load(), factory.dropped.Load()+factory.guarded.Load(); saved != 3 || others != 0 {
		t.Errorf("%d good calls and %d of what is denied", saved, others)
	}
}

func TestStrictRulesRefuseABatchAsAWhole(t *testing.T) {
	const version = "2025-03-26"
	factory := newNoted()
	s := gatewaytest.Start(t, strictConfig(factory))
	alice := s.Token(t, "alice", scope("mcp notes:write"))
	session := s.Open(t, alice, version)
	ask := func(tools ...string) gatewaytest.Answer {
		var calls []string
		for i, tool := range tools {
			calls = append(calls, gatewaytest.CallTool(i, tool, "{}"))
		}
		return s.Do(t, gatewaytest.Request{Token: alice, Session: session, Version: version, Body: "[" + strings.Join(calls, ",") + "]"})
	}
	if got := ask("save", "drop", "save"); got.Status != http.StatusBadRequest || got.Body != fmt.Sprintf(unknownTo, "null")+"\n" || factory.saved.Load() != 0 {
		t.Errorf("with what no rule names: %d %s, %d calls", got.Status, got.Body, factory.saved.Load())
	}
	if got := ask("save", "whoami", "save"); got.Status != http.StatusOK || factory.saved.Load() != 2 {
		t.Errorf("with what rules name: %d %s, %d calls", got.Status, got.Body, factory.saved.Load())
	}
}

// Lists show what can be called, and nothing else.
func TestStrictRulesHideWhatNoRuleNames(t *testing.T) {
	for _, version := range eras {
		for _, test := range []struct {
			filter bool
			want   []string
		}{
			{false, []string{"notes://public", "prompt hello", "save", "whoami"}},
			{true, []string{"notes://public", "prompt hello", "whoami"}},
		} {
			c := strictConfig(newNoted())
			c.FilterByScope = test.filter
			s := gatewaytest.Start(t, c)
			if got := lists(t, s.Connect(t, s.Token(t, "alice", scope("mcp")), version)); !slices.Equal(got, test.want) {
				t.Errorf("%s, filtered: %v: lists show %q, want %q", version, test.filter, got, test.want)
			}
		}
	}
	s := gatewaytest.Start(t, gateway.Config{Factory: newNoted().Make, StrictRules: true})
	if got := lists(t, s.Connect(t, s.Token(t, "alice"), gatewaytest.Legacy)); len(got) != 0 {
		t.Errorf("without rules, lists show %q", got)
	}
}
