// Package gatewaytest starts real gateways for tests, with real tokens, and
// plays their clients over real connections.
package gatewaytest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/mint"
)

// The protocol versions that most tests speak: the last with sessions and the
// first without.
const (
	Legacy = "2025-11-25"
	Modern = "2026-07-28"
)

// Patience is how long a test waits for what must happen.
const Patience = 2 * time.Minute

// ports are what FreeAddr has taken so far. Processes that run beside each other
// begin at different places.
var ports atomic.Uint32

// FreeAddr returns an address on loopback, for what is started later, or again.
// Its port is of those that systems hand to nobody who leaves the choice to
// them: others are soon used by the tests of another package.
func FreeAddr(t testing.TB) string {
	t.Helper()
	const first, many = 20_000, 10_000
	for range many {
		n := uint32(os.Getpid())*97 + ports.Add(1)
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+n%many))
		if err == nil {
			defer listener.Close()
			return listener.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}

// Issuer issues tokens.
type Issuer struct {
	Name   string
	signer *mint.Signer
}

// NewIssuer returns an issuer with a key of its own.
func NewIssuer(t testing.TB, name string) *Issuer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := mint.NewSigner("", key, "key of "+name)
	if err != nil {
		t.Fatal(err)
	}
	return &Issuer{name, signer}
}

// Token returns a token of user's for audience. It lives an hour; with changes
// its claims.
func (i *Issuer) Token(t testing.TB, audience, user string, with ...map[string]any) string {
	t.Helper()
	now := time.Now()
	claims := map[string]any{
		"iss": i.Name, "aud": audience, "userId": user, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	for _, more := range with {
		maps.Copy(claims, more)
	}
	token, err := i.signer.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Provider returns a jwt provider that takes the tokens of issuers for
// audience.
func Provider(t testing.TB, audience string, issuers ...*Issuer) *jwt.Provider {
	t.Helper()
	return ProviderOf(t, jwt.Config{}, audience, issuers...)
}

// ProviderOf is Provider with further configuration.
func ProviderOf(t testing.TB, c jwt.Config, audience string, issuers ...*Issuer) *jwt.Provider {
	t.Helper()
	for _, i := range issuers {
		keys, err := i.signer.JWKS()
		if err != nil {
			t.Fatal(err)
		}
		c.Issuers = append(c.Issuers, jwt.Issuer{Name: i.Name, Audience: []string{audience}, Keys: []jwt.KeySource{jwt.JWKS(keys)}})
	}
	c.Logger = slog.New(slog.DiscardHandler)
	p, err := jwt.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Server is a gateway at work.
type Server struct {
	*gateway.Gateway
	// URL is the MCP endpoint, Origin the server's.
	URL, Origin string
	// Log is what the gateway logged.
	Log *Log
	// HTTP is what clients connect with. It ends with the test.
	HTTP *http.Transport

	issuer *Issuer
	pipes  *Pipes // of StartInMemory
	cancel context.CancelFunc
	served chan error
	once   sync.Once
	err    error
}

// Start starts a gateway on a free port, which stops gracefully at the end of
// the test. What c leaves open is filled in: the provider takes tokens of
// issuers, or of an issuer of the server's own.
func Start(t testing.TB, c gateway.Config, issuers ...*Issuer) *Server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return start(t, listener, &http.Transport{MaxIdleConnsPerHost: 100}, c, issuers)
}

// StartInMemory is Start without a network, for tests in a synctest bubble.
func StartInMemory(t testing.TB, c gateway.Config, issuers ...*Issuer) *Server {
	t.Helper()
	pipes := NewPipes()
	s := start(t, pipes, &http.Transport{MaxIdleConnsPerHost: 100, DialContext: pipes.Dial}, c, issuers)
	s.pipes = pipes
	return s
}

// DialRaw returns a connection to the server.
func (s *Server) DialRaw(t testing.TB) net.Conn {
	t.Helper()
	dial := new(net.Dialer).DialContext
	if s.pipes != nil {
		dial = s.pipes.Dial
	}
	conn, err := dial(t.Context(), "tcp", strings.TrimPrefix(s.Origin, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// Pipes is a listener whose connections are in memory.
type Pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func NewPipes() *Pipes { return &Pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

// Dial connects to the listener.
func (p *Pipes) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- loopback{theirs}:
		return ours, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept implements net.Listener.
func (p *Pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *Pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr implements net.Listener.
func (p *Pipes) Addr() net.Addr { return loopback{}.LocalAddr() }

// loopback is a connection that says that it is one over loopback.
type loopback struct{ net.Conn }

func (loopback) LocalAddr() net.Addr  { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080} }
func (loopback) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 50000} }

func start(t testing.TB, listener net.Listener, transport *http.Transport, c gateway.Config, issuers []*Issuer) *Server {
	t.Helper()
	s := &Server{Log: &Log{}, HTTP: transport, served: make(chan error, 1)}
	if len(issuers) == 0 {
		issuers = []*Issuer{NewIssuer(t, "https://issuer.example")}
	}
	s.issuer = issuers[0]
	c.Addr = listener.Addr().String()
	s.Origin = "http://" + c.Addr
	if c.PublicURL == "" {
		c.PublicURL = s.Origin
	}
	path := "/mcp"
	if c.BasePath != "" {
		path = strings.TrimSuffix(c.BasePath, "/")
	}
	s.URL = s.Origin + path
	if c.Provider == nil {
		var settings jwt.Config
		if c.Revocations != nil {
			settings.Revocations = c.Revocations
		}
		c.Provider = ProviderOf(t, settings, c.PublicURL+path, issuers...)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.NewTextHandler(s.Log, nil))
	}
	var err error
	if s.Gateway, err = gateway.New(c); err != nil {
		listener.Close()
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go func() { s.served <- s.Serve(ctx, listener) }()
	t.Cleanup(func() {
		select {
		case <-ctx.Done():
			s.Stop() // the test has looked at the error
		default:
			if err := s.Stop(); err != nil {
				t.Errorf("the gateway does not stop gracefully: %v", err)
			}
		}
	})
	return s
}

// BeginStop tells the gateway to stop and does not wait.
func (s *Server) BeginStop() { s.cancel() }

// Stop stops the gateway and returns what Serve returned.
func (s *Server) Stop() error {
	s.cancel()
	s.once.Do(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			// The transport may have dialled in vain, and net/http waits 5 s
			// for the first request of a connection before it stops.
			s.HTTP.CloseIdleConnections()
			select {
			case s.err = <-s.served:
				return
			case <-tick.C:
			}
		}
	})
	return s.err
}

// Token returns a token of user's for this server, of the first issuer.
func (s *Server) Token(t testing.TB, user string, with ...map[string]any) string {
	t.Helper()
	return s.TokenOf(t, s.issuer, user, with...)
}

// TokenOf is Token of another issuer.
func (s *Server) TokenOf(t testing.TB, issuer *Issuer, user string, with ...map[string]any) string {
	t.Helper()
	return issuer.Token(t, s.Resource().Identifier(), user, with...)
}

// Client is the official client, whose token can be exchanged as it goes on.
type Client struct {
	*mcp.ClientSession
	token atomic.Pointer[string]
	next  http.RoundTripper
}

// SetToken has all further requests carry token.
func (c *Client) SetToken(token string) { c.token.Store(&token) }

// RoundTrip adds the token.
func (c *Client) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+*c.token.Load())
	return c.next.RoundTrip(r)
}

// Dial connects the official client, speaking version.
func (s *Server) Dial(ctx context.Context, token, version string) (*Client, error) {
	c := &Client{next: s.HTTP}
	c.SetToken(token)
	var err error
	c.ClientSession, err = mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(ctx,
		&mcp.StreamableClientTransport{Endpoint: s.URL, HTTPClient: &http.Client{Transport: c}, MaxRetries: -1},
		&mcp.ClientSessionOptions{ProtocolVersion: version})
	return c, err
}

// Connect is Dial for the length of the test.
func (s *Server) Connect(t testing.TB, token, version string) *Client {
	t.Helper()
	c, err := s.Dial(t.Context(), token, version)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if got := c.InitializeResult().ProtocolVersion; got != version {
		t.Fatalf("the client speaks %s, not %s", got, version)
	}
	return c
}

// Call calls a tool and returns the text that came back.
func (c *Client) Call(t testing.TB, tool string, arguments map[string]any) string {
	t.Helper()
	text, err := c.TryCall(t.Context(), tool, arguments)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TryCall is Call for calls that may fail.
func (c *Client) TryCall(ctx context.Context, tool string, arguments map[string]any) (string, error) {
	if arguments == nil {
		arguments = map[string]any{}
	}
	result, err := c.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: arguments})
	if err != nil {
		return "", err
	}
	var text string
	for _, content := range result.Content {
		text += content.(*mcp.TextContent).Text
	}
	if result.IsError {
		return "", fmt.Errorf("tool error: %s", text)
	}
	return text, nil
}

// Request is a request that no client library would send.
type Request struct {
	Method  string // default POST
	Path    string // default that of the MCP endpoint
	Token   string
	Session string
	Version string
	Body    string
	// Header replaces what a client would send; nil leaves a header out.
	Header map[string][]string
}

// Answer is what came back.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// New returns r as a request to s.
func (s *Server) New(ctx context.Context, r Request) (*http.Request, error) {
	url := s.URL
	if r.Path != "" {
		url = s.Origin + r.Path
	}
	if r.Method == "" {
		r.Method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, url, strings.NewReader(r.Body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json, text/event-stream")
	if r.Method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range map[string]string{"Mcp-Session-Id": r.Session, "Mcp-Protocol-Version": r.Version} {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	if r.Token != "" {
		req.Header.Set("Authorization", "Bearer "+r.Token)
	}
	for name, values := range r.Header {
		if name == "Host" {
			req.Host = values[0]
			continue
		}
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	return req, nil
}

// Begin sends r and returns the response with its body still to be read.
func (s *Server) Begin(ctx context.Context, r Request) (*http.Response, error) {
	req, err := s.New(ctx, r)
	if err != nil {
		return nil, err
	}
	return s.HTTP.RoundTrip(req)
}

// Try sends r and reads the whole answer.
func (s *Server) Try(ctx context.Context, r Request) (Answer, error) {
	resp, err := s.Begin(ctx, r)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return Answer{resp.StatusCode, resp.Header, string(body)}, err
}

// Do is Try for requests that must be answered.
func (s *Server) Do(t testing.TB, r Request) Answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	a, err := s.Try(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Message returns the JSON-RPC message of an answer: the last event, or the
// body.
func (a Answer) Message() string {
	text := strings.TrimSpace(a.Body)
	if i := strings.LastIndex(text, "data: "); i >= 0 {
		text, _, _ = strings.Cut(text[i+len("data: "):], "\n")
	}
	return text
}

// Text returns the first text of the result of a tool call, or the message of
// the error.
func (a Answer) Text() string {
	var m struct {
		Result struct{ Content []struct{ Text string } }
		Error  struct{ Message string }
	}
	if err := json.Unmarshal([]byte(a.Message()), &m); err != nil || len(m.Result.Content) == 0 {
		return m.Error.Message
	}
	return m.Result.Content[0].Text
}

// Message returns a JSON-RPC request. params is JSON; "" leaves it out.
func Message(id int, method, params string) string {
	if params != "" {
		params = `,"params":` + params
	}
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q%s}`, id, method, params)
}

// Initialize returns the request that opens a session in version.
func Initialize(version string) string {
	return Message(1, "initialize", fmt.Sprintf(`{"protocolVersion":%q,"capabilities":{},"clientInfo":{"name":"raw","version":"1"}}`, version))
}

// CallTool returns a call as before 2026-07-28. arguments is JSON.
func CallTool(id int, tool, arguments string) string {
	return Message(id, "tools/call", fmt.Sprintf(`{"name":%q,"arguments":%s}`, tool, arguments))
}

// ModernParams returns params, a JSON object, with what requests of 2026-07-28
// say of themselves.
func ModernParams(version, params string) string {
	meta := fmt.Sprintf(`{"_meta":{"io.modelcontextprotocol/protocolVersion":%q,"io.modelcontextprotocol/clientInfo":{"name":"raw","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}`, version)
	if inner := strings.TrimSpace(params[1 : len(params)-1]); inner != "" {
		meta += "," + inner
	}
	return meta + "}"
}

// ModernCall returns a whole tools/call request of 2026-07-28.
func ModernCall(token string, id int, tool, arguments string) Request {
	return Request{
		Token: token, Version: Modern,
		Header: map[string][]string{"Mcp-Method": {"tools/call"}, "Mcp-Name": {tool}},
		Body:   Message(id, "tools/call", ModernParams(Modern, fmt.Sprintf(`{"name":%q,"arguments":%s}`, tool, arguments))),
	}
}

// Open opens a session by hand and returns its id.
func (s *Server) Open(t testing.TB, token, version string) string {
	t.Helper()
	opened := s.Do(t, Request{Token: token, Body: Initialize(version)})
	id := opened.Header.Get("Mcp-Session-Id")
	if opened.Status != http.StatusOK || id == "" {
		t.Fatalf("initialize: %d %s", opened.Status, opened.Body)
	}
	done := s.Do(t, Request{Token: token, Session: id, Version: version, Body: `{"jsonrpc":"2.0","method":"notifications/initialized"}`})
	if done.Status != http.StatusAccepted {
		t.Fatalf("notifications/initialized: %d %s", done.Status, done.Body)
	}
	return id
}

// Factory makes servers and records which. Its servers have a tool, "whoami",
// that answers with a Who.
type Factory struct {
	// Setup adds to a new server what the test needs.
	Setup func(*mcp.Server, gateway.Call)
	// Options are those of the servers.
	Options *mcp.ServerOptions

	mu           sync.Mutex
	made, closed []string
}

// Who is what "whoami" answers.
type Who struct {
	Owner  string   `json:"owner"`  // whom the server was made for
	Caller string   `json:"caller"` // whose request this is
	Scopes []string `json:"scopes"` // of this request
	Role   string   `json:"role"`   // its "role" claim
	Echo   string   `json:"echo"`   // as in the arguments
}

// Make is the factory.
func (f *Factory) Make(_ context.Context, call gateway.Call) (gateway.Instance, error) {
	user := call.Identity.UserID()
	f.mu.Lock()
	f.made = append(f.made, user)
	f.mu.Unlock()
	return gateway.Instance{
		Server: f.server(call),
		Close: func(context.Context) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.closed = append(f.closed, user)
			return nil
		},
	}, nil
}

func (f *Factory) server(call gateway.Call) *mcp.Server {
	server := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, f.Options)
	type in struct {
		Echo string `json:"echo,omitempty"`
	}
	owner := call.Identity.UserID()
	mcp.AddTool(server, &mcp.Tool{Name: "whoami"}, func(ctx context.Context, _ *mcp.CallToolRequest, in in) (*mcp.CallToolResult, Who, error) {
		id := mcpauth.FromContext(ctx)
		who := Who{Owner: owner, Caller: id.UserID(), Scopes: append([]string{}, id.Scopes()...), Echo: in.Echo}
		_, err := id.Claim("role", &who.Role)
		return nil, who, err
	})
	if f.Setup != nil {
		f.Setup(server, call)
	}
	return server
}

// Made returns the users for whom a server was made, in order.
func (f *Factory) Made() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.made)
}

// Closed returns the users whose instances were closed, in order.
func (f *Factory) Closed() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.closed)
}

// WhoAmI calls "whoami".
func (c *Client) WhoAmI(t testing.TB) Who {
	t.Helper()
	text := c.Call(t, "whoami", nil)
	who, err := DecodeWho(text)
	if err != nil {
		t.Fatalf("whoami: %q: %v", text, err)
	}
	return who
}

// DecodeWho decodes the answer of "whoami".
func DecodeWho(text string) (who Who, err error) {
	err = json.Unmarshal([]byte(text), &who)
	return who, err
}

// AddTool adds a tool without arguments that answers with what run returns.
func AddTool(server *mcp.Server, name string, run func(context.Context, *mcp.CallToolRequest) (string, error)) {
	mcp.AddTool(server, &mcp.Tool{Name: name}, func(ctx context.Context, r *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
		text, err := run(ctx, r)
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil, err
	})
}

// Log keeps what is written to it.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Eventually waits for what must come to be so.
func Eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-deadline.C:
			t.Fatalf("it does not come to be that %s", what)
		case <-tick.C:
		}
	}
}

// Receive returns what comes over c, which must be soon.
func Receive[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(Patience):
		t.Fatalf("waiting in vain for %s", what)
		panic("unreachable")
	}
}
