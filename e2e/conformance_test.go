package e2e_test

import (
	"encoding/json"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
)

// The official conformance suite plays both eras against one URL. Its verdict
// is of the server behind the gateway as well, so that one offers all that the
// suite can ask for; what the gateway must not do is stand in the way.
func TestConformance(t *testing.T) {
	needClients(t)
	s := gatewaytest.Start(t, gateway.Config{Factory: newFixture})
	target := bearerProxy(t, s, s.Token(t, "conformance"))

	for _, c := range []struct {
		requirements string
		passed       int // in the pinned version of the suite: no fewer
	}{
		{gatewaytest.Legacy, 84},
		{gatewaytest.Modern, 165},
	} {
		t.Run(c.requirements, func(t *testing.T) {
			dir := t.TempDir()
			program := filepath.Join("node_modules", "@modelcontextprotocol", "conformance", "dist", "index.js")
			out, errs, err := node(t, nil, program, "server", "--url", target, "--requirements", c.requirements, "-o", dir)
			if err != nil {
				t.Errorf("the suite ends with %v", err)
			}
			passed := 0
			for _, check := range readChecks(t, dir) {
				switch {
				case check.Status == "SUCCESS":
					passed++
				case check.Status == "INFO", excused(check):
				default:
					t.Errorf("%s, %s: %s %s", check.scenario, check.ID, check.Status, check.ErrorMessage)
				}
			}
			if passed < c.passed {
				t.Errorf("%d checks passed, want at least %d", passed, c.passed)
			}
			if t.Failed() {
				_, summary, _ := strings.Cut(out, "=== SUMMARY ===")
				t.Logf("the suite says%s%s", summary, errs)
			}
		})
	}
}

// excused is what the suite does not score and the fixture does not offer.
func excused(c check) bool {
	// Tasks are an extension, which the SDK does not have.
	return strings.HasPrefix(c.scenario, "tasks-")
}

// check is one that the suite made.
type check struct {
	scenario                 string
	ID, Status, ErrorMessage string
}

// readChecks reads what the suite wrote: a folder for each scenario.
func readChecks(t *testing.T, dir string) (all []check) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", "checks.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var checks []check
		if err := json.Unmarshal(text, &checks); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, c := range checks {
			c.scenario = strings.TrimPrefix(filepath.Base(filepath.Dir(file)), "server-")
			all = append(all, c)
		}
	}
	return all
}

// bearerProxy stands before s and adds token, as the suite cannot. Host stays
// as the suite sends it: it tests that too.
func bearerProxy(t *testing.T, s *gatewaytest.Server, token string) string {
	t.Helper()
	to, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	reverse := &httputil.ReverseProxy{
		Transport:     s.HTTP,
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: to.Scheme, Host: to.Host})
			r.Out.Host = r.In.Host
			r.Out.Header.Set("Authorization", "Bearer "+token)
		},
	}
	return serveProxy(t, reverse) + to.Path
}
