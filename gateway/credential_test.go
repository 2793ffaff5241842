package gateway_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
)

// vault is a resolver that answers what the test says.
type vault struct {
	mu    sync.Mutex
	token string // "" is none
	err   error
	asked []string
}

func (v *vault) Resolve(_ context.Context, id *mcpauth.Identity, resourceType string) (*mcpauth.Credential, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked = append(v.asked, id.UserID()+" "+resourceType)
	if v.err != nil || v.token == "" {
		return nil, v.err
	}
	return &mcpauth.Credential{Token: mcpauth.NewSecret(v.token)}, nil
}

func (v *vault) set(token string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.token, v.err = token, err
}

func (v *vault) forget() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	asked := v.asked
	v.asked = nil
	return asked
}

// reveal returns the secret of c, which may be nil.
func reveal(c *mcpauth.Credential) string {
	if c == nil {
		return "none"
	}
	return c.Token.Reveal()
}

// telltale makes servers with a tool that says with which credential the
// server was made and which that of the call is.
func telltale() *gatewaytest.Factory {
	return &gatewaytest.Factory{Setup: func(server *mcp.Server, call gateway.Call) {
		made := reveal(call.Credential)
		gatewaytest.AddTool(server, "which", func(ctx context.Context, _ *mcp.CallToolRequest) (string, error) {
			return "made with " + made + ", called with " + reveal(mcpauth.CredentialFrom(ctx)), nil
		})
	}}
}

func TestCredential(t *testing.T) {
	for _, version := range eras {
		for _, mode := range []gateway.Mode{gateway.PerUser, gateway.PerSession, gateway.PerRequest} {
			if mode == gateway.PerSession && version == gatewaytest.Modern || mode == gateway.PerRequest && version == gatewaytest.Legacy {
				continue
			}
			t.Run(version+" "+string(mode), func(t *testing.T) {
				v := &vault{token: "first"}
				c := gateway.Config{Factory: telltale().Make, Resolver: v, ResourceType: "notes"}
				if version == gatewaytest.Legacy {
					c.LegacyInstances = mode
				} else {
					c.ModernInstances = mode
				}
				s := gatewaytest.Start(t, c)
				alice := s.Token(t, "alice")
				request := gatewaytest.ModernCall(alice, 7, "which", "{}")
				if version == gatewaytest.Legacy {
					request = gatewaytest.Request{Token: alice, Session: s.Open(t, alice, version), Version: version, Body: gatewaytest.CallTool(7, "which", "{}")}
				}
				for _, step := range []struct{ token, made string }{{"first", "first"}, {"second", "second"}, {"", "none"}, {"third", "third"}} {
					v.set(step.token, nil)
					called := step.made
					made := step.made
					if version == gatewaytest.Legacy {
						made = "first" // a session keeps its server
					}
					v.forget()
					if got, want := s.Do(t, request).Text(), "made with "+made+", called with "+called; got != want {
						t.Errorf("the tool says %q, want %q", got, want)
					}
					if asked := v.forget(); !slices.Equal(asked, []string{"alice notes"}) {
						t.Errorf("the resolver was asked for %q", asked)
					}
				}
			})
		}
	}
}

func TestCredentialThatCannotBeHad(t *testing.T) {
	for _, test := range []struct {
		name       string
		err        error
		status     int
		retryAfter string
		body       string
		challenged bool
	}{
		{"any error", errors.New("vault at 10.0.0.9 is sealed"), http.StatusServiceUnavailable, "1",
			`{"error":"temporarily_unavailable","error_description":"The server cannot serve this request now. Please try again later."}`, false},
		{"a refusal", &mcpauth.Error{Code: mcpauth.ErrUnavailable, Message: "The vault is closed.", RetryAfter: 7 * time.Second, Cause: errors.New("10.0.0.9")}, http.StatusServiceUnavailable, "7",
			`{"error":"temporarily_unavailable","error_description":"The vault is closed."}`, false},
		{"a token that it does not take", &mcpauth.Error{Code: mcpauth.ErrRevoked, Message: "Log in again."}, http.StatusUnauthorized, "",
			`{"error":"invalid_token","error_description":"Log in again."}`, true},
		{"a lack of scope", &mcpauth.Error{Code: mcpauth.ErrInsufficientScope, Message: "Not enough.", Scopes: []string{"vault"}}, http.StatusForbidden, "",
			`{"error":"insufficient_scope","error_description":"Not enough."}`, true},
	} {
		for _, version := range eras {
			t.Run(test.name+" "+version, func(t *testing.T) {
				v, audit := &vault{token: "first"}, &gatewaytest.Log{}
				s := gatewaytest.Start(t, gateway.Config{Factory: telltale().Make, Resolver: v, ResourceType: "notes", Audit: audit})
				alice := s.Token(t, "alice")
				session := s.Open(t, alice, gatewaytest.Legacy)
				request := gatewaytest.ModernCall(alice, 7, "which", "{}")
				if version == gatewaytest.Legacy {
					request = gatewaytest.Request{Token: alice, Session: session, Version: version, Body: gatewaytest.CallTool(7, "which", "{}")}
				}
				v.set("", test.err)
				got := s.Do(t, request)
				if got.Status != test.status || got.Body != test.body+"\n" || got.Header.Get("Retry-After") != test.retryAfter || (got.Header.Get("WWW-Authenticate") != "") != test.challenged {
					t.Errorf("answer = %d %v %s", got.Status, got.Header, got.Body)
				}
				if strings.Contains(got.Body, "10.0.0.9") {
					t.Error("the client is told what the cause is")
				}
				gatewaytest.Eventually(t, "the refusal is in the audit log", func() bool { return strings.Contains(audit.String(), `"decision":"refused"`) })

				// What is given back needs none; and the session is still there.
				v.forget()
				if got := s.Do(t, gatewaytest.Request{Method: "DELETE", Token: alice, Session: session, Version: gatewaytest.Legacy}); got.Status != http.StatusNoContent {
					t.Errorf("DELETE: %d %s", got.Status, got.Body)
				}
				if asked := v.forget(); asked != nil {
					t.Errorf("for DELETE, the resolver was asked for %q", asked)
				}
			})
		}
	}
}

// Nobody is asked for who is not let in.
func TestNoCredentialForTheRefused(t *testing.T) {
	v := &vault{token: "first"}
	s := gatewaytest.Start(t, gateway.Config{Factory: telltale().Make, Resolver: v, ResourceType: "notes", Rules: notedRules})
	alice := s.Token(t, "alice")
	for name, request := range map[string]gatewaytest.Request{
		"no token":      gatewaytest.ModernCall("", 7, "which", "{}"),
		"a bad one":     gatewaytest.ModernCall("x", 7, "which", "{}"),
		"a scope short": gatewaytest.ModernCall(alice, 7, "save", "{}"),
		"a denied tool": gatewaytest.ModernCall(alice, 7, "drop", "{}"),
		"a bad body":    {Token: alice, Body: "{"},
		"a browser":     {Method: "GET", Header: headers{"Accept": {"text/html"}}},
	} {
		s.Do(t, request)
		if asked := v.forget(); asked != nil {
			t.Errorf("%s: the resolver was asked for %q", name, asked)
		}
	}
}
