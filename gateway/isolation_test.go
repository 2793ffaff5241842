package gateway_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
)

// Many users at once, all of them with the same JSON-RPC ids, in both eras:
// each answer is its owner's.
func TestUsersDoNotMix(t *testing.T) {
	const users, calls = 20, 10
	factory := &gatewaytest.Factory{}
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make})
	var playing sync.WaitGroup
	for u := range users {
		user := fmt.Sprintf("user-%d", u)
		token := s.Token(t, user, map[string]any{"role": "role of " + user})
		session := s.Open(t, token, gatewaytest.Legacy)
		for i := range calls {
			echo := fmt.Sprintf("%s's call %d", user, i)
			arguments := fmt.Sprintf(`{"echo":%q}`, echo)
			legacy := gatewaytest.Request{Token: token, Session: session, Version: gatewaytest.Legacy, Body: gatewaytest.CallTool(i, "whoami", arguments)}
			for era, request := range map[string]gatewaytest.Request{"legacy": legacy, "modern": gatewaytest.ModernCall(token, i, "whoami", arguments)} {
				playing.Go(func() {
					answer, err := s.Try(t.Context(), request)
					if err != nil || answer.Status != 200 {
						t.Errorf("%s, %s: %d %s, %v", era, echo, answer.Status, answer.Body, err)
						return
					}
					who, err := gatewaytest.DecodeWho(answer.Text())
					if err != nil || who.Owner != user || who.Caller != user || who.Role != "role of "+user || who.Echo != echo {
						t.Errorf("%s, %s: the answer is %+v, %v", era, echo, who, err)
					}
				})
			}
		}
	}
	playing.Wait()
	if stats := s.Stats(); stats.Sessions != users || stats.Alive.PerUser != users || len(factory.Made()) != 2*users {
		t.Errorf("stats = %+v, %d servers made", stats, len(factory.Made()))
	}
}
