package sdkauth_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/sdkauth"
)

// newHandler makes the handler of a site: this package's, or the SDK's own.
type newHandler func(func(*http.Request) *mcp.Server, *mcp.StreamableHTTPOptions) http.Handler

var protected newHandler = sdkauth.NewStreamableHTTPHandler

func unprotected(getServer func(*http.Request) *mcp.Server, opts *mcp.StreamableHTTPOptions) http.Handler {
	return mcp.NewStreamableHTTPHandler(getServer, opts)
}

// site serves one MCP server to all users, behind mcpauth.Require and middleware
// of its author's. Its Server has clients, but no gateway.
type site struct {
	gatewaytest.Server
	issuer *gatewaytest.Issuer
	server *mcp.Server

	mu   sync.Mutex
	seen map[string]seen // what each kind of handler saw last
}

const audience = "https://mcp.example.com/mcp"

// token returns a token of user's whose "role" claim tells it from others.
func (s *site) token(t *testing.T, user, role, scopes string, with ...map[string]any) string {
	t.Helper()
	claims := append([]map[string]any{{"role": role, "scope": scopes}}, with...)
	return s.issuer.Token(t, audience, user, claims...)
}

// provider returns a provider that takes the tokens of the site's issuer.
func (s *site) provider(t *testing.T) mcpauth.Provider {
	t.Helper()
	p := gatewaytest.Provider(t, audience, s.issuer)
	t.Cleanup(func() { p.Close() })
	return p
}

// start serves a site over loopback.
func start(t *testing.T, build newHandler, opts mcp.StreamableHTTPOptions) *site {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startOn(t, listener, &http.Transport{}, build, opts)
}

// startInMemory is start without a network, for tests in a synctest bubble.
func startInMemory(t *testing.T, build newHandler, opts mcp.StreamableHTTPOptions) *site {
	t.Helper()
	pipes := gatewaytest.NewPipes()
	return startOn(t, pipes, &http.Transport{DialContext: pipes.Dial}, build, opts)
}

func startOn(t *testing.T, listener net.Listener, transport *http.Transport, build newHandler, opts mcp.StreamableHTTPOptions) *site {
	t.Helper()
	s := &site{issuer: gatewaytest.NewIssuer(t, "https://issuer.example"), seen: map[string]seen{}}
	s.Origin = "http://" + listener.Addr().String()
	s.URL, s.Log, s.HTTP = s.Origin+"/mcp", &gatewaytest.Log{}, transport
	logger := slog.New(slog.NewTextHandler(s.Log, nil))
	s.server = s.newServer()
	opts.Logger = logger
	handler := build(func(r *http.Request) *mcp.Server {
		if r.Method == http.MethodPost { // clients send GET whenever they like
			s.note("getServer", r.Context(), nil)
		}
		return s.server
	}, &opts)
	requireUser := mcpauth.Require(s.provider(t), mcpauth.Requirement{Logger: logger})
	httpServer := &http.Server{Handler: requireUser(addValues(handler))}
	served := make(chan error, 1)
	go func() { served <- httpServer.Serve(listener) }()
	t.Cleanup(func() {
		for session := range s.server.Sessions() {
			session.Close() // those whose clients are gone
		}
		httpServer.Close()
		<-served
		transport.CloseIdleConnections()
	})
	return s
}

type valueKey struct{}

// addValues adds what middleware in front of the handler may add. All of it
// depends on the token.
func addValues(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		role := roleOf(r.Context())
		ctx := mcpauth.WithCredential(r.Context(), &mcpauth.Credential{Token: mcpauth.NewSecret("credential of " + role)})
		ctx = mcpauth.WithRequestID(ctx, "request of "+role)
		next.ServeHTTP(w, r.WithContext(context.WithValue(ctx, valueKey{}, "value of "+role)))
	})
}

func roleOf(ctx context.Context) (role string) {
	if id := mcpauth.FromContext(ctx); id != nil {
		id.Claim("role", &role)
	}
	return role
}

// seen is what a handler sees of the request that it serves.
type seen struct {
	User, Role, Scopes, Credential, RequestID, Value string
	ContextInfo, ExtraInfo                           string // of the SDK's TokenInfo: scopes
	Authorization                                    string
}

// ofRole is what all handlers must see of a request with a token of that role.
func ofRole(user, role, scopes string) seen {
	return seen{
		User: user, Role: role, Scopes: scopes,
		Credential: "credential of " + role, RequestID: "request of " + role, Value: "value of " + role,
		ContextInfo: scopes, ExtraInfo: scopes, Authorization: "bearer verified",
	}
}

func look(ctx context.Context, req mcp.Request) (s seen) {
	if id := mcpauth.FromContext(ctx); id != nil {
		s.User, s.Role, s.Scopes = id.UserID(), roleOf(ctx), strings.Join(id.Scopes(), " ")
	}
	if c := mcpauth.CredentialFrom(ctx); c != nil {
		s.Credential = c.Token.Reveal()
	}
	s.RequestID = mcpauth.RequestID(ctx)
	s.Value, _ = ctx.Value(valueKey{}).(string)
	if info := auth.TokenInfoFromContext(ctx); info != nil {
		s.ContextInfo = strings.Join(info.Scopes, " ")
	}
	if req != nil && req.GetExtra() != nil {
		s.Authorization = req.GetExtra().Header.Get("Authorization")
		if info := req.GetExtra().TokenInfo; info != nil {
			s.ExtraInfo = strings.Join(info.Scopes, " ")
		}
	}
	return s
}

// note records what a handler of some kind sees.
func (s *site) note(kind string, ctx context.Context, req mcp.Request) {
	saw := look(ctx, req)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[kind] = saw
}

// sawLast returns what each kind of handler has seen since the last call.
func (s *site) sawLast() map[string]seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	saw := s.seen
	s.seen = map[string]seen{}
	return saw
}

func (s *site) newServer() *mcp.Server {
	server := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, &mcp.ServerOptions{
		CompletionHandler: func(ctx context.Context, r *mcp.CompleteRequest) (*mcp.CompleteResult, error) {
			s.note("completion", ctx, r)
			return &mcp.CompleteResult{Completion: mcp.CompletionResultDetails{Values: []string{}}}, nil
		},
	})
	gatewaytest.AddTool(server, "whoami", func(ctx context.Context, r *mcp.CallToolRequest) (string, error) {
		s.note("tool", ctx, r)
		text, err := json.Marshal(look(ctx, r))
		return string(text), err
	})
	server.AddPrompt(&mcp.Prompt{Name: "p"}, func(ctx context.Context, r *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		s.note("prompt", ctx, r)
		return &mcp.GetPromptResult{}, nil
	})
	read := func(kind string) mcp.ResourceHandler {
		return func(ctx context.Context, r *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
			s.note(kind, ctx, r)
			return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: r.Params.URI, Text: "milk"}}}, nil
		}
	}
	server.AddResource(&mcp.Resource{URI: "note://1", Name: "r"}, read("resource"))
	server.AddResourceTemplate(&mcp.ResourceTemplate{URITemplate: "page://{id}", Name: "t"}, read("template"))
	server.AddReceivingMiddleware(func(next mcp.MethodHandler) mcp.MethodHandler {
		return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
			s.note("middleware for "+method, ctx, req)
			return next(ctx, method, req)
		}
	})
	return server
}

// options returns those with which the SDK serves a protocol version.
func options(version string) mcp.StreamableHTTPOptions {
	return mcp.StreamableHTTPOptions{Stateless: version >= gatewaytest.Modern}
}

// inBothEras runs test with each version of the protocol.
func inBothEras(t *testing.T, test func(t *testing.T, version string)) {
	for _, version := range []string{gatewaytest.Legacy, gatewaytest.Modern} {
		t.Run(version, func(t *testing.T) { test(t, version) })
	}
}
