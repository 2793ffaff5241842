package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
)

type headers = map[string][]string

func TestRefusalsOverTheWire(t *testing.T) {
	const maxBody = 10_000
	factory := &gatewaytest.Factory{}
	issuer := gatewaytest.NewIssuer(t, "https://issuer.example")
	s := gatewaytest.Start(t, gateway.Config{
		Factory: factory.Make, RequiredScopes: []string{"notes"}, SupportedScopes: []string{"notes", "admin"},
		AllowedHosts: []string{"mcp.internal"}, AllowedOrigins: []string{"https://app.example.com"}, MaxBodyBytes: maxBody,
	}, issuer)
	alice := s.Token(t, "alice", map[string]any{"scope": "notes"})
	metadata := `resource_metadata="` + s.Origin + `/.well-known/oauth-protected-resource/mcp"`
	initialize := gatewaytest.Initialize(gatewaytest.Legacy)
	oauth := func(code, description string) string {
		return fmt.Sprintf("{\"error\":%q,\"error_description\":%q}\n", code, description)
	}
	rpc := func(code int, message string) string {
		return fmt.Sprintf("{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":%d,\"message\":%q}}\n", code, message)
	}
	for _, test := range []struct {
		name      string
		request   gatewaytest.Request
		status    int
		challenge string
		body      string // "" is any
	}{
		{"no credential", gatewaytest.Request{Body: initialize}, 401,
			`Bearer scope="notes", ` + metadata, oauth("unauthorized", "No authorization header provided")},
		{"no credential, GET", gatewaytest.Request{Method: "GET"}, 401, `Bearer scope="notes", ` + metadata, ""},
		{"no credential, DELETE", gatewaytest.Request{Method: "DELETE"}, 401, `Bearer scope="notes", ` + metadata, ""},
		{"no credential comes before a bad body", gatewaytest.Request{Body: "hello"}, 401, `Bearer scope="notes", ` + metadata, ""},
		{"another scheme", gatewaytest.Request{Header: headers{"Authorization": {"Basic YWxpY2U6"}}}, 401, `Bearer scope="notes", ` + metadata, ""},
		{"a token in the URL", gatewaytest.Request{Path: "/mcp?access_token=" + alice, Body: initialize}, 401, `Bearer scope="notes", ` + metadata, ""},
		{"a bad token", gatewaytest.Request{Token: "hello", Body: initialize}, 401,
			`Bearer error="invalid_token", error_description="JWT verification failed: malformed token", scope="notes", ` + metadata,
			oauth("invalid_token", "JWT verification failed: malformed token")},
		{"an expired token", gatewaytest.Request{Token: s.Token(t, "alice", map[string]any{"scope": "notes", "exp": 1}), Body: initialize}, 401,
			`Bearer error="invalid_token", error_description="JWT token has expired. Please refresh your token.", scope="notes", ` + metadata, ""},
		{"a token for another server", gatewaytest.Request{Token: issuer.Token(t, "https://other.example/mcp", "alice"), Body: initialize}, 401,
			`Bearer error="invalid_token", error_description="JWT verification failed: the token is meant for another audience. Please request a token for this server", scope="notes", ` + metadata, ""},
		{"two credentials", gatewaytest.Request{Header: headers{"Authorization": {"Bearer " + alice, "Bearer " + alice}}, Body: initialize}, 400,
			`Bearer error="invalid_request", error_description="More than one authorization header. Expected: Bearer <token>, once", scope="notes", ` + metadata, ""},
		{"a scope too few", gatewaytest.Request{Token: s.Token(t, "alice", map[string]any{"scope": "admin"}), Body: initialize}, 403,
			`Bearer error="insufficient_scope", error_description="The token lacks a scope that this operation needs.", scope="notes", ` + metadata,
			oauth("insufficient_scope", "The token lacks a scope that this operation needs.")},

		{"no body", gatewaytest.Request{Token: alice}, 400, "", rpc(-32700, "The request body is empty")},
		{"no JSON", gatewaytest.Request{Token: alice, Body: "hello"}, 400, "", rpc(-32700, "Malformed message: not valid JSON at byte 0")},
		{"a name twice", gatewaytest.Request{Token: alice, Body: `{"method":"initialize","method":"tools/call"}`}, 400, "", rpc(-32700, "Malformed message: the same name twice in one object")},
		{"an empty batch", gatewaytest.Request{Token: alice, Body: `[]`}, 400, "", rpc(-32700, "Malformed message: an empty batch")},
		{"no content type", gatewaytest.Request{Token: alice, Body: initialize, Header: headers{"Content-Type": nil}}, 415, "", rpc(-32600, "Content-Type must be application/json")},
		{"another content type", gatewaytest.Request{Token: alice, Body: initialize, Header: headers{"Content-Type": {"text/plain"}}}, 415, "", rpc(-32600, "Content-Type must be application/json")},
		{"a form", gatewaytest.Request{Token: alice, Body: initialize, Header: headers{"Content-Type": {"application/x-www-form-urlencoded"}}}, 415, "", ""},
		{"a content type that begins well", gatewaytest.Request{Token: alice, Body: initialize, Header: headers{"Content-Type": {"application/jsonp"}}}, 415, "", ""},
		{"a content type with a charset", gatewaytest.Request{Token: alice, Body: initialize, Header: headers{"Content-Type": {"Application/JSON; charset=utf-8"}}}, 200, "", ""},
		{"a body over the limit", gatewaytest.Request{Token: alice, Body: strings.Repeat(" ", maxBody) + "{"}, 413, "", rpc(-32600, "The request body is larger than 10000 bytes")},
		{"a body of the limit", gatewaytest.Request{Token: alice, Body: initialize + strings.Repeat(" ", maxBody-len(initialize))}, 200, "", ""},

		{"another host", gatewaytest.Request{Token: alice, Body: initialize, Header: headers{"Host": {"evil.example"}}}, 403, "", oauth("forbidden_host", "This server does not answer to the name in the Host header.")},
		{"another host, for metadata", gatewaytest.Request{Method: "GET", Path: "/.well-known/oauth-protected-resource/mcp", Header: headers{"Host": {"evil.example"}}}, 200, "", ""},
		{"a host of the list", gatewaytest.Request{Token: alice, Body: initialize, Header: headers{"Host": {"mcp.internal"}}}, 200, "", ""},
		{"a loopback name", gatewaytest.Request{Token: alice, Body: initialize, Header: headers{"Host": {"localhost:1"}}}, 200, "", ""},
		{"another origin", gatewaytest.Request{Token: alice, Body: initialize, Header: headers{"Origin": {"https://evil.example"}}}, 403, "", oauth("forbidden_origin", "Pages of this origin may not call this server.")},
		{"another origin, GET", gatewaytest.Request{Method: "GET", Token: alice, Header: headers{"Origin": {"https://evil.example"}}}, 403, "", ""},
		{"another origin comes before the credential", gatewaytest.Request{Body: initialize, Header: headers{"Origin": {"https://evil.example"}}}, 403, "", ""},
		{"the origin null", gatewaytest.Request{Token: alice, Body: initialize, Header: headers{"Origin": {"null"}}}, 403, "", ""},
		{"two origins", gatewaytest.Request{Token: alice, Body: initialize, Header: headers{"Origin": {s.Origin, "https://evil.example"}}}, 403, "", ""},
		{"its own origin", gatewaytest.Request{Token: alice, Body: initialize, Header: headers{"Origin": {s.Origin}}}, 200, "", ""},
		{"an origin of the list", gatewaytest.Request{Token: alice, Body: initialize, Header: headers{"Origin": {"https://app.example.com"}}}, 200, "", ""},

		{"headers over the limit", gatewaytest.Request{Token: strings.Repeat("A", 80<<10), Body: initialize}, 431, "", ""},
		{"another path", gatewaytest.Request{Token: alice, Path: "/", Body: initialize}, 404, "", ""},
		{"a path below", gatewaytest.Request{Token: alice, Path: "/mcp/x", Body: initialize}, 404, "", ""},
		{"POST to health", gatewaytest.Request{Token: alice, Path: "/mcp/health", Body: initialize}, 405, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := s.Do(t, test.request)
			if got.Status != test.status || test.body != "" && got.Body != test.body {
				t.Errorf("answer = %d %s; want %d %s", got.Status, got.Body, test.status, test.body)
			}
			if c := got.Header.Get("WWW-Authenticate"); c != test.challenge {
				t.Errorf("WWW-Authenticate:\n%s; want\n%s", c, test.challenge)
			}
			if got.Status >= 400 && test.body != "" {
				if h := got.Header; h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store" {
					t.Errorf("headers = %v", h)
				}
			}
		})
	}
	if strings.Contains(s.Log.String(), alice[len(alice)-20:]) {
		t.Error("a token is in the log")
	}
}

// raw speaks HTTP by hand.
func raw(t *testing.T, s *gatewaytest.Server, request string) (*http.Response, string) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.Origin, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// The answer comes before the body has been sent: an honest client need not
// send it, and a hostile one cannot make us hold it.
func TestBodyOverTheLimitIsRefusedBeforeItComes(t *testing.T) {
	s := gatewaytest.Start(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make, MaxBodyBytes: 1000})
	head := "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " + s.Token(t, "alice") + "\r\nContent-Type: application/json\r\n"
	for _, test := range []struct{ name, request string }{
		{"announced", head + "Content-Length: 1000000000\r\n\r\n"},
		{"in chunks", head + "Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + strings.Repeat(" ", 1001) + "\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			resp, body := raw(t, s, test.request)
			if resp.StatusCode != 413 || !resp.Close || !strings.Contains(body, "larger than 1000 bytes") {
				t.Errorf("answer = %d %v %s", resp.StatusCode, resp.Header, body)
			}
		})
	}
}

func TestRequestsByHand(t *testing.T) {
	s := gatewaytest.Start(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make})
	auth := "Authorization: Bearer " + s.Token(t, "alice") + "\r\n"
	const rest = "Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
	for _, test := range []struct {
		name, request string
		status        int
	}{
		{"rebinding: a stranger's name for loopback", "POST /mcp HTTP/1.1\r\nHost: rebind.example\r\n" + auth + rest, 403},
		{"a stranger's name in the request line", "POST http://rebind.example/mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n" + auth + rest, 403},
		{"no host", "POST /mcp HTTP/1.1\r\n" + auth + rest, 400},
		{"two hosts", "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: rebind.example\r\n" + auth + rest, 400},
		{"HTTP/1.0 without host", "POST /mcp HTTP/1.0\r\n" + auth + rest, 403},
		{"a header folded into two", "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer\r\n x\r\n" + rest, 401},
		{"two lengths", "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n" + auth + "Content-Length: 3\r\n" + rest, 400},
		{"a path with dots", "POST /x/../mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n" + auth + rest, 307},
	} {
		t.Run(test.name, func(t *testing.T) {
			if resp, body := raw(t, s, test.request); resp.StatusCode != test.status {
				t.Errorf("answer = %d %s, want %d", resp.StatusCode, body, test.status)
			}
		})
	}
}

func TestHealthAndMetadata(t *testing.T) {
	const (
		ok       = "{\"status\":\"ok\"}\n"
		document = "/.well-known/oauth-protected-resource"
	)
	for _, test := range []struct {
		name     string
		config   gateway.Config
		issuer   string
		endpoint string
		health   string
		metadata string // where it is; "" is nowhere
	}{
		{"the default path", gateway.Config{}, "https://issuer.example", "/mcp", "/mcp/health", document + "/mcp"},
		{"a path of its own", gateway.Config{BasePath: "/a/b"}, "https://issuer.example", "/a/b", "/a/b/health", document + "/a/b"},
		{"the whole origin", gateway.Config{BasePath: "/"}, "https://issuer.example", "/", "/health", document},
		{"an issuer that is no URL", gateway.Config{}, "company", "/mcp", "/mcp/health", ""},
		{"an authorization server beside it", gateway.Config{AuthorizationServers: []string{"https://login.example"}}, "company", "/mcp", "/mcp/health", document + "/mcp"},
		{"none wanted", gateway.Config{AuthorizationServers: []string{}}, "https://issuer.example", "/mcp", "/mcp/health", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.config.Factory = (&gatewaytest.Factory{}).Make
			s := gatewaytest.Start(t, test.config, gatewaytest.NewIssuer(t, test.issuer))
			for _, path := range []string{test.health, test.health + "/ready"} {
				if got := s.Do(t, gatewaytest.Request{Method: "GET", Path: path}); got.Status != 200 || got.Body != ok {
					t.Errorf("%s: %d %s", path, got.Status, got.Body)
				}
			}
			opened := s.Do(t, gatewaytest.Request{Path: test.endpoint, Token: s.Token(t, "alice"), Body: gatewaytest.Initialize(gatewaytest.Legacy)})
			if opened.Status != 200 {
				t.Errorf("initialize: %d %s", opened.Status, opened.Body)
			}

			challenge := s.Do(t, gatewaytest.Request{Path: test.endpoint, Body: "{}"}).Header.Get("WWW-Authenticate")
			if test.metadata == "" {
				if challenge != "Bearer" {
					t.Errorf("challenge = %s", challenge)
				}
				if got := s.Do(t, gatewaytest.Request{Method: "GET", Path: document + "/mcp"}); got.Status != 404 {
					t.Errorf("metadata: %d %s", got.Status, got.Body)
				}
				return
			}
			if want := `Bearer resource_metadata="` + s.Origin + test.metadata + `"`; challenge != want {
				t.Errorf("challenge = %s, want %s", challenge, want)
			}
			got := s.Do(t, gatewaytest.Request{Method: "GET", Path: test.metadata, Header: headers{"Origin": {"https://any.example"}}})
			var metadata map[string]any
			if err := json.Unmarshal([]byte(got.Body), &metadata); err != nil {
				t.Fatalf("%d %s: %v", got.Status, got.Body, err)
			}
			servers := []any{test.issuer}
			if named := test.config.AuthorizationServers; named != nil {
				servers = []any{named[0]}
			}
			want := map[string]any{"resource": strings.TrimSuffix(s.Origin+test.endpoint, "/"), "authorization_servers": servers, "bearer_methods_supported": []any{"header"}}
			if got.Header.Get("Access-Control-Allow-Origin") != "*" || !reflect.DeepEqual(metadata, want) {
				t.Errorf("metadata = %v %v, want %v", got.Header, metadata, want)
			}
		})
	}
}

// What clients see comes from PublicURL, whatever the request says.
func TestChallengesComeFromThePublicURL(t *testing.T) {
	s := gatewaytest.Start(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make, PublicURL: "https://mcp.example.com"})
	for _, header := range []headers{
		{"Host": {"mcp.example.com"}}, {"X-Forwarded-Host": {"evil.example"}, "X-Forwarded-Proto": {"http"}}, {"Forwarded": {"host=evil.example;proto=http"}},
	} {
		got := s.Do(t, gatewaytest.Request{Body: "{}", Header: header})
		if c := got.Header.Get("WWW-Authenticate"); c != `Bearer resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp"` {
			t.Errorf("with %v: %s", header, c)
		}
	}
}

// As a handler beside other routes, with Start and Close instead of Run.
func TestMountedBesideOtherRoutes(t *testing.T) {
	issuer := gatewaytest.NewIssuer(t, "company")
	g, err := gateway.New(gateway.Config{Provider: gatewaytest.Provider(t, "http://127.0.0.1:8080/mcp", issuer), Factory: (&gatewaytest.Factory{}).Make})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	routes := http.NewServeMux()
	routes.Handle("/", g)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: routes}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	transport := &http.Transport{}
	ask := func(path string, r func(*http.Request)) (int, http.Header, string) {
		req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+listener.Addr().String()+path, strings.NewReader(gatewaytest.Initialize(gatewaytest.Legacy)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		req.Header.Set("Authorization", "Bearer "+issuer.Token(t, "http://127.0.0.1:8080/mcp", "alice"))
		r(req)
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, resp.Header, string(body)
	}
	get := func(r *http.Request) { r.Method, r.Body, r.ContentLength = "GET", nil, 0 }
	if status, _, body := ask("/mcp", func(*http.Request) {}); status != 200 {
		t.Errorf("before Close: %d %s", status, body)
	}
	if err := g.Shutdown(context.WithoutCancel(t.Context())); err != nil {
		t.Errorf("Close = %v", err)
	}
	if stats := g.Stats(); stats.Sessions != 0 {
		t.Errorf("after Close: %+v", stats)
	}
	for _, path := range []string{"/mcp", "/mcp/health", "/mcp/health/ready"} {
		status, header, body := ask(path, get)
		if status != 503 || header.Get("Retry-After") == "" {
			t.Errorf("GET %s after Close: %d %v %s", path, status, header, body)
		}
	}
	if status, _, body := ask("/mcp", func(*http.Request) {}); status != 503 {
		t.Errorf("POST after Close: %d %s", status, body)
	}
	if err := g.Shutdown(t.Context()); err != nil {
		t.Errorf("Close, once more = %v", err)
	}
	transport.CloseIdleConnections()
	server.Close()
	<-served
}
