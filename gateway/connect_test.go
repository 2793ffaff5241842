package gateway_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
)

// account has a credential once it is connected.
type account struct{ connected atomic.Bool }

func (a *account) Resolve(context.Context, *mcpauth.Identity, string) (*mcpauth.Credential, error) {
	if !a.connected.Load() {
		return nil, nil
	}
	return &mcpauth.Credential{Token: mcpauth.NewSecret("connected")}, nil
}

// mailServer has one of each thing that needs a credential.
func mailServer(context.Context, gateway.Call) (gateway.Instance, error) {
	server := mcp.NewServer(&mcp.Implementation{Name: "mail", Version: "1"}, nil)
	gatewaytest.AddTool(server, "send", func(ctx context.Context, _ *mcp.CallToolRequest) (string, error) {
		if c := mcpauth.CredentialFrom(ctx); c != nil {
			return "sent as " + c.Token.Reveal(), nil
		}
		return "limited", nil
	})
	server.AddPrompt(&mcp.Prompt{Name: "greet"}, func(context.Context, *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		return &mcp.GetPromptResult{}, nil
	})
	return gateway.Instance{Server: server}, nil
}

const connectURL = "https://platform.example/connect/mail"

// modern returns a request of 2026-07-28 of a client with capabilities.
func modernRequest(token, method, name, capabilities, params string) gatewaytest.Request {
	body := gatewaytest.Message(1, method, gatewaytest.ModernParams(gatewaytest.Modern, params))
	body = strings.Replace(body, `clientCapabilities":{}`, `clientCapabilities":`+capabilities, 1)
	h := headers{"Mcp-Method": {method}}
	if name != "" {
		h["Mcp-Name"] = []string{name}
	}
	return gatewaytest.Request{Token: token, Version: gatewaytest.Modern, Header: h, Body: body}
}

func TestUsersWithoutAnAccount(t *testing.T) {
	const (
		none = `{}`
		form = `{"elicitation":{"form":{}}}`
		urls = `{"elicitation":{"url":{}}}`
	)
	refusal := `"error":{"code":424,"message":"No account is connected for mail. Connect one at ` + connectURL + `, and try again.","data":{"connect_url":"` + connectURL + `","resource_type":"mail"}}`
	for _, test := range []struct {
		name         string
		policy       gateway.NotConnected
		url          string
		capabilities string
		legacy       string // a part of what a call of 2025-11-25 is answered with
		modern       string // and of 2026-07-28
	}{
		{"by default", "", "", none, "limited", "limited"},
		{"served", gateway.ServeLimited, "", urls, "limited", "limited"},
		{"refused", gateway.RefuseCalls, connectURL, urls, refusal, refusal},
		{"refused, and nobody knows where to connect", gateway.RefuseCalls, "", none, `"No account is connected for mail."`, `"No account is connected for mail."`},
		{"asked, by a client that cannot ask", gateway.AskToConnect, connectURL, none, refusal, refusal},
		{"asked, by a client that asks with forms only", gateway.AskToConnect, connectURL, form, refusal, refusal},
		{"asked", gateway.AskToConnect, connectURL, urls, `"code":-32042,`, `"resultType":"input_required"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := &account{}
			s := gatewaytest.Start(t, gateway.Config{Factory: mailServer, Resolver: a, ResourceType: "mail", NotConnected: test.policy, ConnectURL: test.url})
			token := s.Token(t, "alice")
			opened := s.Do(t, gatewaytest.Request{Token: token, Body: strings.Replace(gatewaytest.Initialize(gatewaytest.Legacy), `"capabilities":{}`, `"capabilities":`+test.capabilities, 1)})
			session := opened.Header.Get("Mcp-Session-Id")
			legacy := gatewaytest.Request{Token: token, Session: session, Version: gatewaytest.Legacy, Body: gatewaytest.CallTool(1, "send", "{}")}
			call := modernRequest(token, "tools/call", "send", test.capabilities, `{"name":"send","arguments":{}}`)
			list := modernRequest(token, "tools/list", "", test.capabilities, `{}`)
			prompt := modernRequest(token, "prompts/get", "greet", test.capabilities, `{"name":"greet"}`)

			for range 2 { // before the tools are listed, and after
				if got := s.Do(t, legacy); !strings.Contains(got.Body, test.legacy) {
					t.Errorf("2025-11-25: %d %s", got.Status, got.Body)
				}
				if got := s.Do(t, call); got.Status != http.StatusOK || !strings.Contains(got.Body, test.modern) {
					t.Errorf("2026-07-28: %d %s", got.Status, got.Body)
				}
				if got := s.Do(t, list); !strings.Contains(got.Body, `"name":"send"`) {
					t.Errorf("tools/list: %d %s", got.Status, got.Body)
				}
			}
			if got := s.Do(t, prompt); test.modern != "limited" && !strings.Contains(got.Body, test.modern) {
				t.Errorf("prompts/get: %d %s", got.Status, got.Body)
			}

			a.connected.Store(true)
			if got := s.Do(t, legacy); got.Text() != "sent as connected" {
				t.Errorf("2025-11-25, connected: %d %s", got.Status, got.Body)
			}
			if got := s.Do(t, call); got.Text() != "sent as connected" {
				t.Errorf("2026-07-28, connected: %d %s", got.Status, got.Body)
			}
		})
	}
}

// A stream of resources is of the account, too; one of lists is not.
func TestStreamsOfUsersWithoutAnAccount(t *testing.T) {
	s := gatewaytest.Start(t, gateway.Config{Factory: func(context.Context, gateway.Call) (gateway.Instance, error) {
		server := mcp.NewServer(&mcp.Implementation{Name: "mail", Version: "1"}, &mcp.ServerOptions{
			SubscribeHandler:   func(context.Context, *mcp.SubscribeRequest) error { t.Error("subscribed"); return nil },
			UnsubscribeHandler: func(context.Context, *mcp.UnsubscribeRequest) error { return nil },
		})
		server.AddResource(&mcp.Resource{Name: "inbox", URI: "mail://inbox"}, func(context.Context, *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
			return &mcp.ReadResourceResult{}, nil
		})
		return gateway.Instance{Server: server}, nil
	}, Resolver: &account{}, ResourceType: "mail", NotConnected: gateway.RefuseCalls})
	listen := modernRequest(s.Token(t, "alice"), "subscriptions/listen", "", `{}`, `{"notifications":{"resourceSubscriptions":["mail://inbox"]}}`)
	if got := s.Do(t, listen); !strings.Contains(got.Body, `"code":424`) {
		t.Errorf("%d %s", got.Status, got.Body)
	}
}

// What a client is to show has the form that the specification asks for.
func TestHowUsersAreAskedToConnect(t *testing.T) {
	s := gatewaytest.Start(t, gateway.Config{Factory: mailServer, Resolver: &account{}, ResourceType: "mail", NotConnected: gateway.AskToConnect, ConnectURL: connectURL})
	token := s.Token(t, "alice")
	const urls = `{"elicitation":{"url":{}}}`
	opened := s.Do(t, gatewaytest.Request{Token: token, Body: strings.Replace(gatewaytest.Initialize(gatewaytest.Legacy), `"capabilities":{}`, `"capabilities":`+urls, 1)})
	got := s.Do(t, gatewaytest.Request{Token: token, Session: opened.Header.Get("Mcp-Session-Id"), Version: gatewaytest.Legacy, Body: gatewaytest.CallTool(1, "send", "{}")})
	type elicitation struct{ Mode, ElicitationID, URL, Message string }
	var failed struct {
		Error struct {
			Data struct{ Elicitations []elicitation }
		}
	}
	if err := json.Unmarshal([]byte(got.Message()), &failed); err != nil {
		t.Fatal(err, got.Body)
	}
	if all := failed.Error.Data.Elicitations; len(all) != 1 || all[0].Mode != "url" || all[0].URL != connectURL || all[0].ElicitationID == "" || all[0].Message == "" {
		t.Errorf("2025-11-25: %s", got.Body)
	}

	got = s.Do(t, modernRequest(token, "tools/call", "send", urls, `{"name":"send","arguments":{}}`))
	var result struct {
		Result struct {
			ResultType    string
			Content       any
			InputRequests map[string]struct {
				Method string
				Params elicitation
			}
		}
	}
	if err := json.Unmarshal([]byte(got.Message()), &result); err != nil {
		t.Fatal(err, got.Body)
	}
	ask := result.Result.InputRequests["connect"]
	if result.Result.ResultType != "input_required" || ask.Method != "elicitation/create" || ask.Params.Mode != "url" || ask.Params.URL != connectURL || ask.Params.Message == "" {
		t.Errorf("2026-07-28: %s", got.Body)
	}
}
