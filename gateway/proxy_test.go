package gateway_test

import (
	"log/slog"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
)

var (
	here   = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	behind = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::/48")}
)

func TestRemoteAddress(t *testing.T) {
	for _, test := range []struct {
		name    string
		trusted []netip.Prefix
		via     []string // values of X-Forwarded-For
		want    string
	}{
		{"no proxy", nil, nil, "127.0.0.1"},
		{"no proxy is trusted", nil, []string{"203.0.113.7"}, "127.0.0.1"},
		{"a proxy at another address is trusted", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, []string{"203.0.113.7"}, "127.0.0.1"},
		{"one proxy that says nothing", here, nil, "127.0.0.1"},
		{"one proxy", here, []string{"203.0.113.7"}, "203.0.113.7"},
		{"one proxy and what the client made up", here, []string{"198.51.100.1, 203.0.113.7"}, "203.0.113.7"},
		{"one proxy and a trusted address that the client made up", here, []string{"127.0.0.1, 203.0.113.7"}, "203.0.113.7"},
		{"one proxy that adds a header of its own", here, []string{"198.51.100.1", "203.0.113.7"}, "203.0.113.7"},
		{"two proxies", behind, []string{"203.0.113.7, 10.1.2.3"}, "203.0.113.7"},
		{"two proxies, of which one is trusted", here, []string{"203.0.113.7, 10.1.2.3"}, "10.1.2.3"},
		{"two proxies and what the client made up", behind, []string{"198.51.100.1, 203.0.113.7 ,10.1.2.3"}, "203.0.113.7"},
		{"a request of a proxy's own", behind, []string{"10.9.9.9, 10.1.2.3"}, "10.9.9.9"},
		{"garbage of the client's", here, []string{"<script>, 203.0.113.7"}, "203.0.113.7"},
		{"garbage next to us", here, []string{"203.0.113.7, unknown"}, "127.0.0.1"},
		{"garbage behind a proxy", behind, []string{"203.0.113.7, _hidden, 10.1.2.3"}, "10.1.2.3"},
		{"an empty header", here, []string{""}, "127.0.0.1"},
		{"commas", here, []string{",,,"}, "127.0.0.1"},
		{"IPv6", here, []string{"2001:db8::7"}, "2001:db8::7"},
		{"IPv6 in another spelling", here, []string{"2001:0DB8:0000::0007"}, "2001:db8::7"},
		{"IPv6 proxies", behind, []string{"2001:db8::7, 2001:db8:1::1"}, "2001:db8::7"},
		{"IPv4 inside IPv6", behind, []string{"203.0.113.7, ::ffff:10.1.2.3"}, "203.0.113.7"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := gatewaytest.Start(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make, TrustedProxies: test.trusted})
			s.Do(t, gatewaytest.Request{Body: "{}", Header: headers{"X-Forwarded-For": test.via, "X-Real-Ip": {"192.0.2.1"}, "Forwarded": {"for=192.0.2.2"}}})
			gatewaytest.Eventually(t, "the request is in the log", func() bool { return strings.Contains(s.Log.String(), "msg=request") })
			if log := s.Log.String(); !strings.Contains(log, " remote="+test.want+" ") {
				t.Errorf("the log has not %s: %s", test.want, log)
			}
		})
	}
}

func TestRequestID(t *testing.T) {
	made := regexp.MustCompile(`^[A-Z2-7]{26}$`)
	for _, test := range []struct {
		name    string
		trusted []netip.Prefix
		sent    []string
		kept    bool
	}{
		{"none", here, nil, false},
		{"of a trusted proxy", here, []string{"Req-1_2.3:4"}, true},
		{"of anybody", nil, []string{"Req-1_2.3:4"}, false},
		{"empty", here, []string{""}, false},
		{"with a space", here, []string{"a b"}, false},
		{"with a quote", here, []string{`a"b`}, false},
		{"with an equals sign", here, []string{`a=b`}, false},
		{"beyond ASCII", here, []string{"grün"}, false},
		{"of 64 bytes", here, []string{strings.Repeat("a", 64)}, true},
		{"of 65 bytes", here, []string{strings.Repeat("a", 65)}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := gatewaytest.Start(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make, TrustedProxies: test.trusted})
			seen := map[string]bool{}
			for name, request := range map[string]gatewaytest.Request{
				"refused":     {Body: "{}"},
				"served":      {Token: s.Token(t, "alice"), Body: gatewaytest.Initialize(gatewaytest.Legacy)},
				"another":     {Token: s.Token(t, "alice"), Body: gatewaytest.Initialize(gatewaytest.Legacy)},
				"malformed":   {Token: s.Token(t, "alice"), Body: "{"},
				"of a page":   {Body: "{}", Header: headers{"Origin": {"https://evil.example"}}},
				"no such way": {Method: "PUT", Token: s.Token(t, "alice")},
			} {
				h := headers{"X-Request-Id": test.sent}
				for name, values := range request.Header {
					h[name] = values
				}
				request.Header = h
				got := s.Do(t, request).Header["X-Request-Id"]
				if len(got) != 1 || test.kept && got[0] != test.sent[0] || !test.kept && (!made.MatchString(got[0]) || seen[got[0]]) {
					t.Errorf("%s: X-Request-Id = %q", name, got)
					continue
				}
				seen[got[0]] = true
				gatewaytest.Eventually(t, "it is in the log", func() bool { return strings.Contains(s.Log.String(), "request_id="+got[0]+" ") })
			}
		})
	}
}

// What a proxy says of itself never becomes part of a URL.
func TestURLsDoNotDependOnProxies(t *testing.T) {
	s := gatewaytest.Start(t, gateway.Config{
		Factory: (&gatewaytest.Factory{}).Make, TrustedProxies: here, PublicURL: "https://mcp.example.com", RequiredScopes: []string{"mcp"},
		Logger: slog.New(slog.DiscardHandler),
	})
	h := headers{
		"X-Forwarded-Host": {"evil.example"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Port": {"1"}, "X-Forwarded-Prefix": {"/evil"},
		"X-Forwarded-For": {"203.0.113.7"}, "Forwarded": {"host=evil.example;proto=http"}, "X-Original-Url": {"/evil"},
	}
	const metadata = `resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp"`
	for name, token := range map[string]string{"401": "", "403": s.Token(t, "alice")} {
		got := s.Do(t, gatewaytest.Request{Token: token, Body: gatewaytest.Initialize(gatewaytest.Legacy), Header: h})
		if c := got.Header.Get("WWW-Authenticate"); !strings.HasSuffix(c, metadata) {
			t.Errorf("%s: %d %s", name, got.Status, c)
		}
	}
	got := s.Do(t, gatewaytest.Request{Method: "GET", Path: "/.well-known/oauth-protected-resource/mcp", Header: h})
	if strings.Contains(got.Body, "evil") || !strings.Contains(got.Body, `"resource":"https://mcp.example.com/mcp"`) {
		t.Errorf("metadata: %s", got.Body)
	}
}
