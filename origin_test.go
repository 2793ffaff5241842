package mcpauth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth"
)

func TestCheckOrigin(t *testing.T) {
	public := mcpauth.OriginConfig{
		PublicURL: "https://mcp.example.com", AllowedHosts: []string{"mcp.internal", "10.0.0.5:8443"}, AllowedOrigins: []string{"https://app.example.com", "http://localhost:3000"},
	}
	local := mcpauth.OriginConfig{PublicURL: "http://127.0.0.1:8080"}
	const (
		passes    = ""
		badHost   = "forbidden_host"
		badOrigin = "forbidden_origin"
	)
	loopback, outside := "127.0.0.1", "203.0.113.9"
	for _, test := range []struct {
		name    string
		config  mcpauth.OriginConfig
		near    string // the connection's near end
		host    string
		origins []string
		want    string
	}{
		{"public host, no Origin", public, outside, "mcp.example.com", nil, passes},
		{"public host in another case", public, outside, "MCP.Example.Com", nil, passes},
		{"public host with the default port", public, outside, "mcp.example.com:443", nil, passes},
		{"public host with a trailing dot", public, outside, "mcp.example.com.", nil, passes},
		{"listed host, any port", public, outside, "mcp.internal:9000", nil, passes},
		{"listed host and port", public, outside, "10.0.0.5:8443", nil, passes},
		{"listed host with another port", public, outside, "10.0.0.5:9", nil, badHost},
		{"no Host", public, outside, "", nil, badHost},
		{"foreign host", public, outside, "evil.example", nil, badHost},
		{"foreign host that ends like ours", public, outside, "evilmcp.example.com", nil, badHost},
		{"foreign host that begins like ours", public, outside, "mcp.example.com.evil.example", nil, badHost},
		{"loopback name from outside", public, outside, "localhost", nil, badHost},
		{"loopback address from outside", public, outside, "127.0.0.1:8080", nil, badHost},
		{"loopback name over loopback", public, loopback, "localhost:8080", nil, passes},
		{"IPv6 loopback name over loopback", public, loopback, "[::1]:8080", nil, passes},
		{"listed IPv6 host, any port", mcpauth.OriginConfig{PublicURL: "https://mcp.example.com", AllowedHosts: []string{"[2001:db8::1]"}}, outside, "[2001:db8::1]:9000", nil, passes},
		{"listed IPv6 host without port", mcpauth.OriginConfig{PublicURL: "https://mcp.example.com", AllowedHosts: []string{"[2001:db8::1]"}}, outside, "[2001:DB8::1]", nil, passes},
		{"listed IPv6 host, written out", mcpauth.OriginConfig{PublicURL: "https://mcp.example.com", AllowedHosts: []string{"[2001:0DB8:0::1]"}}, outside, "[2001:db8::1]", nil, passes},
		{"IPv6 address with a zone", mcpauth.OriginConfig{PublicURL: "https://mcp.example.com", AllowedHosts: []string{"[fe80::1]"}}, outside, "[fe80::1%25lo]", nil, badHost},
		{"a letter that is ours in lower case only", public, outside, "mcp.\u0130nternal", nil, badHost},
		{"a port that is none", public, outside, "mcp.internal:.", nil, badHost},
		{"IPv6 loopback name without port", public, "::1", "[::1]", nil, passes},

		{"own origin", public, outside, "mcp.example.com", []string{"https://mcp.example.com"}, passes},
		{"own origin with the default port", public, outside, "mcp.example.com", []string{"https://mcp.example.com:443"}, passes},
		{"listed origin", public, outside, "mcp.example.com", []string{"https://app.example.com"}, passes},
		{"listed loopback origin", public, outside, "mcp.example.com", []string{"http://localhost:3000"}, passes},
		{"an origin of a program", mcpauth.OriginConfig{PublicURL: "https://mcp.example.com", AllowedOrigins: []string{"app://.", "vscode-webview://1A2b"}}, outside, "mcp.example.com", []string{"app://."}, passes},
		{"an origin of a program, in another case", mcpauth.OriginConfig{PublicURL: "https://mcp.example.com", AllowedOrigins: []string{"app://.", "vscode-webview://1A2b"}}, outside, "mcp.example.com", []string{"vscode-webview://1a2b"}, passes},
		{"an origin with a path", public, outside, "mcp.example.com", []string{"https://app.example.com/"}, badOrigin},
		{"an origin with a query", public, outside, "mcp.example.com", []string{"https://app.example.com?x"}, badOrigin},
		{"an origin with a user", public, outside, "mcp.example.com", []string{"https://x@app.example.com"}, badOrigin},
		{"an origin with a letter that is ours in lower case only", mcpauth.OriginConfig{PublicURL: "https://mcp.example.com", AllowedOrigins: []string{"https://kiosk.example"}}, outside, "mcp.example.com", []string{"https://\u212aiosk.example"}, badOrigin},
		{"own host, other scheme", public, outside, "mcp.example.com", []string{"http://mcp.example.com"}, badOrigin},
		{"own host, other port", public, outside, "mcp.example.com", []string{"https://mcp.example.com:8443"}, badOrigin},
		{"foreign origin", public, outside, "mcp.example.com", []string{"https://evil.example"}, badOrigin},
		{"foreign origin that begins like ours", public, outside, "mcp.example.com", []string{"https://mcp.example.com.evil.example"}, badOrigin},
		{"null", public, outside, "mcp.example.com", []string{"null"}, badOrigin},
		{"empty Origin", public, outside, "mcp.example.com", []string{""}, badOrigin},
		{"no URL", public, outside, "mcp.example.com", []string{"::"}, badOrigin},
		{"two, both good", public, outside, "mcp.example.com", []string{"https://mcp.example.com", "https://mcp.example.com"}, badOrigin},
		{"two, one good", public, outside, "mcp.example.com", []string{"https://mcp.example.com", "https://evil.example"}, badOrigin},
		{"other loopback port from outside", public, outside, "mcp.example.com", []string{"http://localhost:4000"}, badOrigin},

		{"local: its own page", local, loopback, "127.0.0.1:8080", []string{"http://127.0.0.1:8080"}, passes},
		{"local: its own page under another loopback name", local, loopback, "localhost:8080", []string{"http://localhost:8080"}, passes},
		{"local: page of another local server", local, loopback, "localhost:8080", []string{"http://localhost:3000"}, badOrigin},
		{"local: page with TLS", local, loopback, "localhost:8080", []string{"https://localhost:8080"}, badOrigin},
		{"local: the name in Origin is not the name in Host", local, loopback, "localhost:8080", []string{"http://[::1]:8080"}, badOrigin},
		{"local: DNS rebinding", local, loopback, "rebound.evil.example:8080", []string{"http://rebound.evil.example:8080"}, badHost},
		{"local: DNS rebinding without Origin", local, loopback, "rebound.evil.example:8080", nil, badHost},
		{"local: DNS rebinding to a name like loopback", local, loopback, "127.0.0.1.evil.example:8080", nil, badHost},
		{"local: foreign page", local, loopback, "127.0.0.1:8080", []string{"https://evil.example"}, badOrigin},
	} {
		t.Run(test.name, func(t *testing.T) {
			check, err := mcpauth.CheckOrigin(test.config)
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest("POST", "/mcp", nil)
			r.Host = test.host
			for _, o := range test.origins {
				r.Header.Add("Origin", o)
			}
			// A forwarded name never counts.
			r.Header.Set("X-Forwarded-Host", "mcp.example.com")
			r.Header.Set("Forwarded", `host="mcp.example.com"`)
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.ParseIP(test.near), Port: 8080})))
			passed := false
			w := httptest.NewRecorder()
			check(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed = true })).ServeHTTP(w, r)
			if passed != (test.want == passes) {
				t.Fatalf("passed = %v, want %v (%d %s)", passed, test.want == passes, w.Code, w.Body)
			}
			if passed {
				return
			}
			var body map[string]string
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != 403 || body["error"] != test.want {
				t.Errorf("answer = %d %s, want 403 with %s", w.Code, w.Body, test.want)
			}
		})
	}
}

func TestCheckOriginWithoutAConnectionIsNotOverLoopback(t *testing.T) {
	check, err := mcpauth.CheckOrigin(mcpauth.OriginConfig{PublicURL: "https://mcp.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Host = "localhost"
	w := httptest.NewRecorder()
	check(http.NotFoundHandler()).ServeHTTP(w, r)
	if w.Code != 403 {
		t.Errorf("status = %d, want 403", w.Code)
	}
}

func TestCheckOriginOverARealConnection(t *testing.T) {
	check, err := mcpauth.CheckOrigin(mcpauth.OriginConfig{PublicURL: "https://mcp.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(check(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	defer server.Close()
	for host, status := range map[string]int{"": 200, "localhost": 200, "mcp.example.com": 200, "evil.example": 403} {
		r, err := http.NewRequest("GET", server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		response, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != status {
			t.Errorf("Host %q: status = %d, want %d", host, response.StatusCode, status)
		}
	}
}

func TestCheckOriginReportsAllFaultsAtOnce(t *testing.T) {
	_, err := mcpauth.CheckOrigin(mcpauth.OriginConfig{
		PublicURL:      "http://mcp.example.com",
		AllowedHosts:   []string{"good.example", "https://bad.example", "*.example", "", "a/b", "b\u00fccher.example"},
		AllowedOrigins: []string{"https://good.example", "*", "null", "https://x.example/path", "https://*.example", "app.example.com", "*://a.example", " https://a.example", "1https://a.example", "https://b\u00fccher.example", "https://.", "://a.example"},
	})
	want := []string{"PublicURL"}
	for field, n := range map[string]int{"AllowedHosts": 6, "AllowedOrigins": 12} {
		for i := 1; i < n; i++ {
			want = append(want, fmt.Sprintf("%s[%d]", field, i))
		}
	}
	slices.Sort(want[1:])
	got := faultFields(t, err)
	slices.Sort(got[1:])
	if !slices.Equal(got, want) {
		t.Errorf("faults of %v, want %v", got, want)
	}
}

func TestLoopbackHost(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LocalHost:80": true, "localhost.": true, "127.0.0.1": true, "127.9.9.9:1": true, "[::1]": true, "[0:0::1]:8080": true, "[::ffff:127.0.0.1]": true,
		"": false, ":8080": false, "0.0.0.0": false, "10.0.0.1": false, "localhost.example.com": false, "127.0.0.1.example.com": false, "::1": false, "[::1%25lo]": false,
		"localho\u017ft": false, "localhost:x": false, "[::]": false, "127.1": false, "localhost/": false,
	} {
		if got := mcpauth.LoopbackHost(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
}

func TestOriginRefusalsAreLogged(t *testing.T) {
	var log bytes.Buffer
	check, err := mcpauth.CheckOrigin(mcpauth.OriginConfig{PublicURL: "https://mcp.example.com", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	request := httptest.NewRequest(http.MethodPost, "https://evil.example/mcp", nil)
	check(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), request)
	request = httptest.NewRequest(http.MethodPost, "https://mcp.example.com/mcp", nil)
	request.Header.Set("Origin", "https://page.example")
	check(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), request)
	for _, want := range []string{
		`refusal.code=forbidden_host refusal.message="This server does not answer to the name in the Host header." refusal.cause="found \"evil.example\"; see PublicURL and AllowedHosts"`,
		`refusal.code=forbidden_origin refusal.message="Pages of this origin may not call this server." refusal.cause="found \"https://page.example\"; see PublicURL and AllowedOrigins"`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, &log)
		}
	}
}

func TestOriginRefusalsAreToldInsteadOfLogged(t *testing.T) {
	var log bytes.Buffer
	var told []mcpauth.Code
	check, err := mcpauth.CheckOrigin(mcpauth.OriginConfig{
		PublicURL: "https://mcp.example.com", Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Refused: func(r *http.Request, e *mcpauth.Error) {
			if r.URL.Path != "/mcp" || e.Cause == nil {
				t.Errorf("told of %s, %v because of %v", r.URL.Path, e, e.Cause)
			}
			told = append(told, e.Code)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ host, origin string }{{"evil.example", ""}, {"mcp.example.com", "https://evil.example"}, {"mcp.example.com", ""}} {
		r := httptest.NewRequest(http.MethodPost, "https://"+test.host+"/mcp", nil)
		if test.origin != "" {
			r.Header.Set("Origin", test.origin)
		}
		w := httptest.NewRecorder()
		check(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
		if got := w.Header().Get("WWW-Authenticate"); got != "" {
			t.Errorf("%+v: challenge %q, though a credential would not help", test, got)
		}
	}
	if want := []mcpauth.Code{mcpauth.ErrForbiddenHost, mcpauth.ErrForbiddenOrigin}; !reflect.DeepEqual(told, want) || log.Len() > 0 {
		t.Errorf("told of %q, want %q; logged %q", told, want, &log)
	}
}
