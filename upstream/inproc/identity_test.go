package inproc_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
)

var eras = []string{gatewaytest.Legacy, gatewaytest.Modern}

// The SDK gives every tool of a session the context of its first request.
func TestToolsSeeTheIdentityOfTheirOwnRequest(t *testing.T) {
	for _, version := range eras {
		t.Run(version, func(t *testing.T) {
			factory := &gatewaytest.Factory{}
			s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make})
			client := s.Connect(t, s.Token(t, "alice", map[string]any{"scope": "read", "role": "guest"}), version)
			for _, now := range []struct{ scope, role string }{{"read", "guest"}, {"read write", "editor"}, {"", ""}, {"read", "guest"}} {
				client.SetToken(s.Token(t, "alice", map[string]any{"scope": now.scope, "role": now.role}))
				who := client.WhoAmI(t)
				want := gatewaytest.Who{Owner: "alice", Caller: "alice", Scopes: strings.Fields(now.scope), Role: now.role}
				if !reflect.DeepEqual(who, want) {
					t.Errorf("whoami = %+v, want %+v", who, want)
				}
			}
			if made := factory.Made(); len(made) != 1 {
				t.Errorf("servers made for %v", made)
			}
		})
	}
}

func TestHandlersSeeNoToken(t *testing.T) {
	for _, version := range eras {
		t.Run(version, func(t *testing.T) {
			seen := make(chan *mcp.RequestExtra, 1)
			contexts := make(chan string, 1)
			factory := &gatewaytest.Factory{Setup: func(server *mcp.Server, _ gateway.Call) {
				gatewaytest.AddTool(server, "look", func(ctx context.Context, r *mcp.CallToolRequest) (string, error) {
					seen <- r.Extra
					contexts <- fmt.Sprintf("%+v", ctx)
					return "", nil
				})
			}}
			s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make})
			token := s.Token(t, "alice", map[string]any{"scope": "read"})
			client := s.Connect(t, token, version)
			client.Call(t, "look", nil)
			extra := gatewaytest.Receive(t, "the tool", seen)

			if got := extra.Header["Authorization"]; !reflect.DeepEqual(got, []string{"bearer verified"}) {
				t.Errorf("Authorization = %q", got)
			}
			signature := token[strings.LastIndexByte(token, '.')+1:]
			for where, text := range map[string]string{
				"the headers": fmt.Sprint(extra.Header), "TokenInfo": fmt.Sprintf("%+v %#v", extra.TokenInfo, extra.TokenInfo), "the context": <-contexts,
			} {
				if strings.Contains(text, signature) {
					t.Errorf("%s give the token away: %s", where, text)
				}
			}
			info := extra.TokenInfo
			if info.UserID != "https://issuer.example\x00alice" || !reflect.DeepEqual(info.Scopes, []string{"read"}) || info.Expiration.IsZero() {
				t.Errorf("TokenInfo = %+v", info)
			}
		})
	}
}
