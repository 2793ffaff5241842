package gateway_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/internal/mint"
)

// A gateway that comes up while its issuer is down tells neither the load
// balancer to send users nor the users to log in again, and finds the issuer
// when it is back.
func TestNotReadyWithoutKeys(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := mint.NewSigner("", key, "k1")
	if err != nil {
		t.Fatal(err)
	}
	set, err := signer.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	var up atomic.Bool
	asked := make(chan struct{}, 100)
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked <- struct{}{}
		if !up.Load() {
			panic(http.ErrAbortHandler) // closes the connection
		}
		w.Write(set)
	}))
	defer issuer.Close()

	const audience = "https://mcp.example.com/mcp"
	provider, err := jwt.New(jwt.Config{
		Issuers: []jwt.Issuer{{Name: issuer.URL, Audience: []string{audience}, Keys: []jwt.KeySource{jwt.JWKSURL(issuer.URL + "/jwks")}}},
		Logger:  slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	token, err := signer.Sign(map[string]any{"iss": issuer.URL, "aud": audience, "sub": "alice", "exp": time.Now().Add(time.Hour).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	addr := gatewaytest.FreeAddr(t)
	factory := &gatewaytest.Factory{}
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make, Provider: provider, OperationsAddr: addr})
	gatewaytest.Receive(t, "keys to be asked for", asked)
	probe := func() (int, int) {
		ready, _ := look(t, addr, "/readyz")
		return ready, s.Do(t, gatewaytest.Request{Method: "GET", Path: "/mcp/health/ready"}).Status
	}
	gatewaytest.Eventually(t, "the gateway has started", func() bool {
		_, body := look(t, addr, "/readyz")
		return strings.Contains(body, "not ready")
	})
	if operations, public := probe(); operations != http.StatusServiceUnavailable || public != http.StatusServiceUnavailable {
		t.Errorf("without keys: readyz %d, health/ready %d", operations, public)
	}
	if status, _ := look(t, addr, "/livez"); status != http.StatusOK {
		t.Errorf("without keys: livez %d", status)
	}
	call := gatewaytest.ModernCall(token, 1, "whoami", "{}")
	if got := s.Do(t, call); got.Status != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" || got.Header.Get("WWW-Authenticate") != "" {
		t.Errorf("without keys, a call: %d %v", got.Status, got.Header)
	}
	if got := s.Do(t, gatewaytest.ModernCall("", 1, "whoami", "{}")); got.Status != http.StatusUnauthorized {
		t.Errorf("without keys, a call without a token: %d", got.Status)
	}

	up.Store(true)
	gatewaytest.Eventually(t, "it is ready", func() bool {
		operations, public := probe()
		return operations == http.StatusOK && public == http.StatusOK
	})
	if got := s.Do(t, call); got.Status != http.StatusOK {
		t.Errorf("with keys, a call: %d %s", got.Status, got.Body)
	}
	for text, want := range map[string]int{`msg="not ready"`: 1, "msg=ready": 1} {
		if n := strings.Count(s.Log.String(), text); n != want {
			t.Errorf("%q is logged %d times, want %d\n%s", text, n, want, s.Log)
		}
	}
}
