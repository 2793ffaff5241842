package mcpauth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
)

// providerFunc is a Provider made of a function.
type providerFunc func(context.Context, *mcpauth.Request) (*mcpauth.Identity, error)

func (f providerFunc) Authenticate(ctx context.Context, r *mcpauth.Request) (*mcpauth.Identity, error) {
	return f(ctx, r)
}

func answers(id *mcpauth.Identity, err error) mcpauth.Provider {
	return providerFunc(func(context.Context, *mcpauth.Request) (*mcpauth.Identity, error) { return id, err })
}

func newResource(t *testing.T, c mcpauth.ResourceConfig) *mcpauth.Resource {
	t.Helper()
	resource, err := mcpauth.NewResource(c)
	if err != nil {
		t.Fatal(err)
	}
	return resource
}

func exampleResource(t *testing.T) *mcpauth.Resource {
	return newResource(t, mcpauth.ResourceConfig{
		PublicURL: "https://mcp.example.com", Path: "/mcp",
		AuthorizationServers: []string{"https://issuer.example"}, Scopes: []string{"read", "write"},
	})
}

const metadataParam = `resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp"`

func TestRequireAnswersRefusals(t *testing.T) {
	refusal := func(code mcpauth.Code, message string) error {
		return &mcpauth.Error{Code: code, Message: message, Cause: errors.New(canary)}
	}
	for _, test := range []struct {
		name       string
		err        error
		scopes     []string // of the door
		status     int
		challenge  string
		retryAfter string
		code       string // in the body
		message    string
	}{
		{"no credential: a challenge without error", refusal(mcpauth.ErrMissingCredential, noHeader), nil,
			401, "Bearer " + metadataParam, "", "unauthorized", noHeader},
		{"no credential at a door with scopes", refusal(mcpauth.ErrMissingCredential, noHeader), []string{"read", "write"},
			401, `Bearer scope="read write", ` + metadataParam, "", "unauthorized", noHeader},
		{"malformed header", refusal(mcpauth.ErrMalformedHeader, headerForm), nil,
			400, `Bearer error="invalid_request", error_description="` + headerForm + `", ` + metadataParam, "", "invalid_request", headerForm},
		{"expired", refusal(mcpauth.ErrExpired, "JWT token has expired. Please refresh your token."), nil,
			401, `Bearer error="invalid_token", error_description="JWT token has expired. Please refresh your token.", ` + metadataParam, "", "invalid_token", "JWT token has expired. Please refresh your token."},
		{"bad signature", refusal(mcpauth.ErrBadSignature, "m"), nil, 401, `Bearer error="invalid_token", error_description="m", ` + metadataParam, "", "invalid_token", "m"},
		{"unknown key", refusal(mcpauth.ErrUnknownKey, "m"), nil, 401, `Bearer error="invalid_token", error_description="m", ` + metadataParam, "", "invalid_token", "m"},
		{"revoked", refusal(mcpauth.ErrRevoked, "m"), nil, 401, `Bearer error="invalid_token", error_description="m", ` + metadataParam, "", "invalid_token", "m"},
		{"too large", refusal(mcpauth.ErrTooLarge, "m"), nil, 401, `Bearer error="invalid_token", error_description="m", ` + metadataParam, "", "invalid_token", "m"},
		{"a code of the future", refusal("novel", "m"), nil, 401, `Bearer error="invalid_token", error_description="m", ` + metadataParam, "", "invalid_token", "m"},
		{"insufficient scope names the operation's scopes", &mcpauth.Error{Code: mcpauth.ErrInsufficientScope, Message: "m", Scopes: []string{"admin"}}, []string{"read"},
			403, `Bearer error="insufficient_scope", error_description="m", scope="admin", ` + metadataParam, "", "insufficient_scope", "m"},
		{"unavailable", refusal(mcpauth.ErrUnavailable, "m"), nil, 503, "", "1", "temporarily_unavailable", "m"},
		{"unavailable for a while", &mcpauth.Error{Code: mcpauth.ErrUnavailable, Message: "m", RetryAfter: 10*time.Second + time.Millisecond}, nil, 503, "", "11", "temporarily_unavailable", "m"},
		{"unavailable for less than a second", &mcpauth.Error{Code: mcpauth.ErrUnavailable, Message: "m", RetryAfter: time.Millisecond}, nil, 503, "", "1", "temporarily_unavailable", "m"},
		{"too many requests", &mcpauth.Error{Code: mcpauth.ErrRateLimited, Message: "m", RetryAfter: 90 * time.Second}, []string{"read"}, 429, "", "90", "rate_limited", "m"},
		{"too many requests, a fraction longer", &mcpauth.Error{Code: mcpauth.ErrRateLimited, Message: "m", RetryAfter: 90*time.Second + 1}, nil, 429, "", "91", "rate_limited", "m"},
		{"too many requests for an unknown time", refusal(mcpauth.ErrRateLimited, "m"), nil, 429, "", "1", "rate_limited", "m"},
		{"forbidden to all: no challenge, since no credential would help", refusal(mcpauth.ErrForbidden, "m"), nil,
			403, "", "", "forbidden", "m"},
		{"an unknown session: no challenge either", refusal(mcpauth.ErrUnknownSession, "m"), nil,
			404, "", "", "unknown_session", "m"},
		{"another error is our own trouble", errors.New(canary), nil, 503, "", "1", "temporarily_unavailable", "The server cannot serve this request now. Please try again later."},
		{"quotes and controls do not break the challenge", refusal(mcpauth.ErrExpired, "a \"b\" \\ \r\nX: é"), nil,
			401, `Bearer error="invalid_token", error_description="a 'b' ' ??X: ?", ` + metadataParam, "", "invalid_token", "a \"b\" \\ \r\nX: é"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var logged bytes.Buffer
			guard := mcpauth.Require(answers(nil, test.err), mcpauth.Requirement{
				Scopes: test.scopes, Resource: exampleResource(t), Logger: slog.New(slog.NewTextHandler(&logged, nil)),
			})
			w := httptest.NewRecorder()
			guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the request passed") })).
				ServeHTTP(w, httptest.NewRequest("POST", "/mcp", nil))
			if w.Code != test.status {
				t.Errorf("status = %d, want %d", w.Code, test.status)
			}
			if got := w.Header().Get("WWW-Authenticate"); got != test.challenge {
				t.Errorf("challenge = %s\n     want = %s", got, test.challenge)
			}
			if got := w.Header().Get("Retry-After"); got != test.retryAfter {
				t.Errorf("Retry-After = %q, want %q", got, test.retryAfter)
			}
			if w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("header = %v", w.Header())
			}
			holdsNoCanary(t, "the answer", w.Body.String())
			var body map[string]string
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
				t.Fatalf("body %q: %v", w.Body.String(), err)
			}
			if len(body) != 2 || body["error"] != test.code || body["error_description"] != test.message {
				t.Errorf("body = %v, want %s: %s", body, test.code, test.message)
			}
			if !strings.Contains(logged.String(), "request refused") {
				t.Errorf("the refusal is not in the log: %s", logged.String())
			}
		})
	}
}

func TestRequireChallengeWithoutResourceAndScopes(t *testing.T) {
	guard := mcpauth.Require(answers(nil, &mcpauth.Error{Code: mcpauth.ErrMissingCredential}), mcpauth.Requirement{Logger: slog.New(slog.DiscardHandler)})
	w := httptest.NewRecorder()
	guard(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if got := w.Header().Get("WWW-Authenticate"); w.Code != 401 || got != "Bearer" {
		t.Errorf("%d with challenge %q, want 401 with Bearer", w.Code, got)
	}
}

func TestRequireScopes(t *testing.T) {
	for _, test := range []struct {
		name            string
		granted, needed []string
		status          int
	}{
		{"none needed", nil, nil, 200},
		{"granted", []string{"write", "read"}, []string{"read"}, 200},
		{"one of two granted", []string{"read"}, []string{"read", "write"}, 403},
		{"none granted", nil, []string{"read"}, 403},
		{"case matters", []string{"READ"}, []string{"read"}, 403},
	} {
		t.Run(test.name, func(t *testing.T) {
			guard := mcpauth.Require(answers(newIdentity(test.granted...), nil), mcpauth.Requirement{Scopes: test.needed, Logger: slog.New(slog.DiscardHandler)})
			w := httptest.NewRecorder()
			guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
			if w.Code != test.status {
				t.Errorf("status = %d, want %d", w.Code, test.status)
			}
			want := `scope="` + strings.Join(test.needed, " ") + `"`
			if challenge := w.Header().Get("WWW-Authenticate"); test.status == 403 && !strings.Contains(challenge, want) {
				t.Errorf("challenge = %s, want %s in it", challenge, want)
			}
		})
	}
}

func TestRequireHierarchy(t *testing.T) {
	hierarchy := mcpauth.Hierarchy{"admin": {"write"}, "write": {"read"}}
	for _, test := range []struct {
		name            string
		granted, needed []string
		status          int
	}{
		{"granted by a scope above", []string{"admin"}, []string{"read", "write"}, 200},
		{"not granted by a scope below", []string{"read"}, []string{"write"}, 403},
		{"one of two granted so", []string{"write"}, []string{"read", "admin"}, 403},
	} {
		t.Run(test.name, func(t *testing.T) {
			guard := mcpauth.Require(answers(newIdentity(test.granted...), nil), mcpauth.Requirement{Scopes: test.needed, Hierarchy: hierarchy, Logger: slog.New(slog.DiscardHandler)})
			w := httptest.NewRecorder()
			guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
			if w.Code != test.status {
				t.Errorf("status = %d, want %d", w.Code, test.status)
			}
			want := `scope="` + strings.Join(test.needed, " ") + `"`
			if challenge := w.Header().Get("WWW-Authenticate"); test.status == 403 && !strings.Contains(challenge, want) {
				t.Errorf("challenge = %s, want %s in it", challenge, want)
			}
		})
	}
}

func TestRequireTellsOfRefusalsInsteadOfLogging(t *testing.T) {
	for _, test := range []struct {
		name     string
		provider mcpauth.Provider
		code     mcpauth.Code // "" where nothing is refused
	}{
		{"passed", answers(newIdentity("read"), nil), ""},
		{"refused by the provider", answers(nil, &mcpauth.Error{Code: mcpauth.ErrExpired, Message: "m"}), mcpauth.ErrExpired},
		{"for another error", answers(nil, errors.New("disk full")), mcpauth.ErrUnavailable},
		{"for its scopes", answers(newIdentity(), nil), mcpauth.ErrInsufficientScope},
	} {
		t.Run(test.name, func(t *testing.T) {
			var logged bytes.Buffer
			var told []mcpauth.Code
			r := httptest.NewRequest("POST", "/mcp", nil)
			guard := mcpauth.Require(test.provider, mcpauth.Requirement{
				Scopes: []string{"read"}, Logger: slog.New(slog.NewTextHandler(&logged, nil)),
				Refused: func(refused *http.Request, e *mcpauth.Error) {
					if refused != r {
						t.Error("told of another request")
					}
					told = append(told, e.Code)
				},
			})
			w := httptest.NewRecorder()
			guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
			var want []mcpauth.Code
			if test.code != "" {
				want = []mcpauth.Code{test.code}
			}
			if !slices.Equal(told, want) || (w.Code == 200) != (test.code == "") || logged.Len() > 0 {
				t.Errorf("told of %q, want %q; answered %d; logged %q", told, want, w.Code, &logged)
			}
		})
	}
}

func TestRequireTellsTheProviderOfTheRequest(t *testing.T) {
	r := httptest.NewRequest("GET", "http://mcp.example:8080/", nil)
	var told mcpauth.Request
	guard := mcpauth.Require(providerFunc(func(_ context.Context, r *mcpauth.Request) (*mcpauth.Identity, error) {
		told = *r
		return newIdentity(), nil
	}), mcpauth.Requirement{})
	r.Header.Set("Accept", "text/plain")
	guard(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), r)
	if told.Host != "mcp.example:8080" || told.RemoteAddr != r.RemoteAddr || told.Header.Get("Accept") != "text/plain" {
		t.Errorf("told of %+v", told)
	}
}

func TestRequireNeitherIdentityNorErrorIsNoPass(t *testing.T) {
	guard := mcpauth.Require(answers(nil, nil), mcpauth.Requirement{Logger: slog.New(slog.DiscardHandler)})
	w := httptest.NewRecorder()
	guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the request passed") })).
		ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != 503 {
		t.Errorf("status = %d, want 503", w.Code)
	}
}

func TestRequireHandsOnTheIdentityAndNotTheCredential(t *testing.T) {
	id := newIdentity()
	var seen http.Header
	guard := mcpauth.Require(answers(id, nil), mcpauth.Requirement{})
	handler := guard(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen = r.Header
		if got := mcpauth.FromContext(r.Context()); got != id {
			t.Errorf("identity = %v, want %v", got, id)
		}
		r.Header.Set("X-Added", "by the handler")
	}))
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+canary)
	r.Header.Set("X-API-Key", canary)
	r.Header.Set("Accept", "text/plain")
	handler.ServeHTTP(httptest.NewRecorder(), r)

	holdsNoCanary(t, "what the handler saw", fmt.Sprint(seen))
	if seen.Get("Accept") != "text/plain" {
		t.Errorf("the handler saw %v", seen)
	}
	if r.Header.Get("Authorization") != "Bearer "+canary || r.Header.Get("X-API-Key") != canary || r.Header.Get("X-Added") != "" {
		t.Errorf("the caller's request has become %v", r.Header)
	}
	if mcpauth.FromContext(r.Context()) != nil {
		t.Error("the caller's context has the identity")
	}
}
