package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/policy"
)

// preflight is what a browser asks before it sends a page's request.
func preflight(origin, method, asked string) gatewaytest.Request {
	h := headers{"Access-Control-Request-Method": {method}, "Access-Control-Request-Headers": {asked}, "Accept": {"*/*"}}
	if origin != "" {
		h["Origin"] = []string{origin}
	}
	return gatewaytest.Request{Method: "OPTIONS", Header: h}
}

func corsHeaders(h http.Header) (all []string) {
	for name := range h {
		if strings.HasPrefix(name, "Access-Control-") {
			all = append(all, name)
		}
	}
	return all
}

const app = "https://app.example.com"

func TestNoCORSByDefault(t *testing.T) {
	s := gatewaytest.Start(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make, AllowedOrigins: []string{app}})
	alice := s.Token(t, "alice")
	for name, test := range map[string]struct {
		request gatewaytest.Request
		status  int
	}{
		"a request":             {gatewaytest.Request{Token: alice, Body: gatewaytest.Initialize(gatewaytest.Legacy), Header: headers{"Origin": {app}}}, http.StatusOK},
		"one without token":     {gatewaytest.Request{Body: gatewaytest.Initialize(gatewaytest.Legacy), Header: headers{"Origin": {app}}}, http.StatusUnauthorized},
		"a preflight":           {preflight(app, "POST", "authorization"), http.StatusUnauthorized},
		"the preflight of evil": {preflight("https://evil.example", "POST", "authorization"), http.StatusForbidden},
	} {
		if got := s.Do(t, test.request); got.Status != test.status || len(corsHeaders(got.Header)) > 0 {
			t.Errorf("%s: %d %v", name, got.Status, got.Header)
		}
	}
}

func TestPreflight(t *testing.T) {
	const asked = "authorization,content-type,mcp-method,mcp-name,mcp-param-region,mcp-protocol-version,mcp-session-id"
	s := gatewaytest.Start(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make, CORS: true, AllowedOrigins: []string{app, "https://Other.example:443/"}})
	for _, test := range []struct {
		name, origin, method string
		status               int
		allowed              bool
	}{
		{"of a page that may, to POST", app, "POST", http.StatusNoContent, true},
		{"of a page that may, to GET", app, "GET", http.StatusNoContent, true},
		{"of a page that may, to DELETE", app, "DELETE", http.StatusNoContent, true},
		{"of a page that may, to do what is not there", app, "PUT", http.StatusNoContent, false},
		{"of a page whose origin was configured in another spelling", "https://other.example", "POST", http.StatusNoContent, true},
		{"of another page", "https://evil.example", "POST", http.StatusForbidden, false},
		{"of a page whose origin begins like that", app + ".evil.example", "POST", http.StatusForbidden, false},
		{"of a page over plain http", "http://app.example.com", "POST", http.StatusForbidden, false},
		{"of a file", "null", "POST", http.StatusForbidden, false},
		{"of no page", "", "POST", http.StatusNoContent, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := s.Do(t, preflight(test.origin, test.method, asked))
			if got.Status != test.status || got.Header.Get("WWW-Authenticate") != "" {
				t.Errorf("answer = %d %v", got.Status, got.Header)
			}
			if !test.allowed {
				if len(corsHeaders(got.Header)) > 0 {
					t.Errorf("headers = %v", got.Header)
				}
				return
			}
			want := headers{
				"Access-Control-Allow-Origin": {test.origin}, "Access-Control-Allow-Methods": {test.method}, "Access-Control-Allow-Headers": {asked}, "Access-Control-Max-Age": {"7200"},
			}
			for name, value := range want {
				if got.Header.Get(name) != value[0] {
					t.Errorf("%s = %q, want %q", name, got.Header.Get(name), value[0])
				}
			}
			if len(corsHeaders(got.Header)) != len(want) || !strings.Contains(got.Header.Get("Vary"), "Origin") {
				t.Errorf("headers = %v", got.Header)
			}
		})
	}
}

func TestAnswersThatPagesMayRead(t *testing.T) {
	s := gatewaytest.Start(t, gateway.Config{
		Factory: (&gatewaytest.Factory{}).Make, CORS: true, AllowedOrigins: []string{app},
		Rules: []policy.Rule{{Tool: "whoami", Scopes: []string{"who"}}}, UserRate: perHour(5),
	})
	alice := s.Token(t, "alice")
	initialize := gatewaytest.Initialize(gatewaytest.Legacy)
	for _, test := range []struct {
		name    string
		request gatewaytest.Request
		status  int
		has     string // a header that the page needs
	}{
		{"200", gatewaytest.Request{Token: alice, Body: initialize}, 200, "Mcp-Session-Id"},
		{"400", gatewaytest.Request{Token: alice, Body: "{"}, 400, "X-Request-Id"},
		{"401", gatewaytest.Request{Body: initialize}, 401, "WWW-Authenticate"},
		{"403", gatewaytest.ModernCall(alice, 7, "whoami", "{}"), 403, "WWW-Authenticate"},
		{"404", gatewaytest.Request{Token: alice, Session: "none", Version: gatewaytest.Legacy, Body: initialize}, 404, "X-Request-Id"},
		{"406", gatewaytest.Request{Token: alice, Body: initialize, Header: headers{"Accept": {"text/plain"}}}, 406, "X-Request-Id"},
		{"429", gatewaytest.Request{Token: alice, Body: initialize}, 429, "Retry-After"},
	} {
		t.Run(test.name, func(t *testing.T) {
			header := headers{"Origin": {app}}
			for name, values := range test.request.Header {
				header[name] = values
			}
			test.request.Header = header
			got := s.Do(t, test.request)
			if got.Status != test.status || got.Header.Get("Access-Control-Allow-Origin") != app || got.Header.Get("Vary") != "Origin" {
				t.Errorf("answer = %d %v %s", got.Status, got.Header, got.Body)
			}
			const exposed = "Www-Authenticate, Mcp-Session-Id, Mcp-Protocol-Version, Retry-After, X-Request-Id"
			if e := got.Header.Get("Access-Control-Expose-Headers"); e != exposed || !strings.Contains(strings.ToLower(e), strings.ToLower(test.has)) || got.Header.Get(test.has) == "" {
				t.Errorf("headers = %v", got.Header)
			}
			if got.Header.Get("Access-Control-Allow-Credentials") != "" {
				t.Error("cookies are allowed, which are nothing here")
			}
		})
	}
	// Programs send no Origin, and get none of it.
	if got := s.Do(t, gatewaytest.Request{Body: initialize}); got.Status != 401 || len(corsHeaders(got.Header)) > 0 {
		t.Errorf("without Origin: %d %v", got.Status, got.Header)
	}
}

// The origin comes first: a page that may not call learns nothing, and reaches
// nothing, whatever it brings.
func TestOriginBeforeEverything(t *testing.T) {
	factory := &gatewaytest.Factory{}
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make, CORS: true, AllowedOrigins: []string{app}})
	alice := s.Token(t, "alice")
	for name, request := range map[string]gatewaytest.Request{
		"a good call":  gatewaytest.ModernCall(alice, 7, "whoami", "{}"),
		"a bad token":  {Token: "x", Body: "{}"},
		"no token":     {Body: "{}"},
		"a large body": {Token: alice, Body: strings.Repeat(" ", 5<<20)},
		"the page":     {Method: "GET", Header: headers{"Accept": {"text/html"}}},
		"a preflight":  preflight("", "POST", "authorization"),
	} {
		h := headers{"Origin": {"https://evil.example"}}
		for name, values := range request.Header {
			h[name] = values
		}
		request.Header = h
		got := s.Do(t, request)
		if got.Status != http.StatusForbidden || !strings.Contains(got.Body, "forbidden_origin") || len(corsHeaders(got.Header)) > 0 || got.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s: %d %v %s", name, got.Status, got.Header, got.Body)
		}
	}
	if made := factory.Made(); len(made) > 0 {
		t.Errorf("servers were made for %v", made)
	}
}

func TestEveryOriginInDevelopment(t *testing.T) {
	s := gatewaytest.Start(t, gateway.Config{Factory: (&gatewaytest.Factory{}).Make, CORS: true, AllowedOrigins: []string{"*"}, Development: true})
	const anything = "http://anything.example:3000"
	if got := s.Do(t, preflight(anything, "POST", "authorization")); got.Status != http.StatusNoContent || got.Header.Get("Access-Control-Allow-Origin") != anything {
		t.Errorf("preflight: %d %v", got.Status, got.Header)
	}
	got := s.Do(t, gatewaytest.Request{Token: s.Token(t, "alice"), Body: gatewaytest.Initialize(gatewaytest.Legacy), Header: headers{"Origin": {anything}}})
	if got.Status != http.StatusOK || got.Header.Get("Access-Control-Allow-Origin") != anything {
		t.Errorf("request: %d %v", got.Status, got.Header)
	}
	// A name that was rebound to this machine is still no name of this server.
	if got := s.Do(t, gatewaytest.Request{Body: "{}", Header: headers{"Origin": {anything}, "Host": {"anything.example:3000"}}}); got.Status != http.StatusForbidden {
		t.Errorf("rebinding: %d %v", got.Status, got.Header)
	}
}
