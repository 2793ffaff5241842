package inproc_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
)

// until is ctx with alice's identity, whose token ends after d.
func until(ctx context.Context, d time.Duration) context.Context {
	return asAlice(ctx, time.Now().Add(d))
}

// An open stream would else outlive the right to it by as long as the client
// likes.
func TestStreamEndsWithTheLatestToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(nil)
		defer b.end(t)
		began := time.Now()
		opened := b.askAs(until(t.Context(), time.Minute), "POST", "", "", gatewaytest.Initialize(gatewaytest.Legacy))
		session := opened.Header().Get("Mcp-Session-Id")
		b.askAs(until(t.Context(), time.Minute), "POST", session, gatewaytest.Legacy, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
		ended := make(chan time.Duration, 1)
		go func() {
			b.askAs(until(t.Context(), 5*time.Minute), "GET", session, gatewaytest.Legacy, "")
			ended <- time.Since(began)
		}()
		time.Sleep(3 * time.Minute)
		b.askAs(until(t.Context(), 9*time.Minute), "POST", session, gatewaytest.Legacy, gatewaytest.CallTool(1, "hello", "{}"))
		b.askAs(until(t.Context(), time.Minute), "POST", session, gatewaytest.Legacy, gatewaytest.CallTool(1, "hello", "{}"))
		select {
		case at := <-ended:
			if at != 12*time.Minute {
				t.Errorf("the stream ends after %s, want 12m0s", at)
			}
		case <-time.After(20 * time.Minute):
			t.Error("the stream is open long after the last token")
		}
	})
}

func TestSubscriptionEndsWithTheLatestToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(nil)
		defer b.end(t)
		began := time.Now()
		listen := gatewaytest.Message(1, "subscriptions/listen", gatewaytest.ModernParams(gatewaytest.Modern, `{"notifications":{"toolsListChanged":true}}`))
		ended := make(chan time.Duration, 1)
		go func() {
			b.askAs(until(t.Context(), 5*time.Minute), "POST", "", gatewaytest.Modern, listen)
			ended <- time.Since(began)
		}()
		select {
		case at := <-ended:
			if at != 5*time.Minute {
				t.Errorf("the subscription ends after %s, want 5m0s", at)
			}
		case <-time.After(20 * time.Minute):
			t.Error("the subscription is open long after the last token")
		}
	})
}

func TestPanicInATool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(func(server *mcp.Server) {
			gatewaytest.AddTool(server, "panic", func(context.Context, *mcp.CallToolRequest) (string, error) { panic("canary") })
		})
		defer b.end(t)
		session := b.open(t)
		for _, w := range []*httptest.ResponseRecorder{b.call(t.Context(), session, "panic"), b.call(t.Context(), "", "panic")} {
			if w.Code != 200 || !strings.Contains(w.Body.String(), `"error"`) || strings.Contains(w.Body.String(), "canary") {
				t.Errorf("answer = %d %s", w.Code, w.Body)
			}
		}
	})
}
