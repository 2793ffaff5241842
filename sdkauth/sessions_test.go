package sdkauth

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
)

func TestSessionsThatHaveEndedAreForgotten(t *testing.T) {
	server := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	h := NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, nil).(*handler)
	id, err := mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: "https://issuer.example", UserID: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	do := func(method, session, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/mcp", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "application/json, text/event-stream")
		if session != "" {
			r.Header.Set(sessionHeader, session)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r.WithContext(mcpauth.NewContext(r.Context(), id)))
		return w
	}
	for range 3 {
		session := do("POST", "", gatewaytest.Initialize(gatewaytest.Legacy)).Header().Get(sessionHeader)
		runtime.GC()
		if !h.sessions.has(session, id.Principal()) || h.sessions.has(session, "https://issuer.example\x00bob") {
			t.Fatalf("session %q is not hers alone", session)
		}
		if w := do("DELETE", session, ""); w.Code != http.StatusNoContent {
			t.Fatalf("DELETE: %d %s", w.Code, w.Body)
		}
	}
	gatewaytest.Eventually(t, "nothing is kept of the sessions", func() bool {
		runtime.GC()
		h.sessions.mu.Lock()
		defer h.sessions.mu.Unlock()
		return len(h.sessions.byID) == 0
	})
}
