package infopage_test

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth/internal/infopage"
)

var full = infopage.Info{
	Resource:     "https://mcp.example.com/mcp",
	MetadataURL:  "https://mcp.example.com/.well-known/oauth-protected-resource/mcp",
	LegacySSEURL: "https://mcp.example.com/mcp/sse",
}

// get asks a server, so that HEAD is answered as it is over the wire.
func get(t *testing.T, info infopage.Info, method string) (*http.Response, string) {
	t.Helper()
	server := httptest.NewServer(infopage.New(info))
	defer server.Close()
	req, err := http.NewRequest(method, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// text is what a person reads: the body without tags and line breaks.
func text(page string) string {
	_, page, _ = strings.Cut(page, "<body>")
	page = regexp.MustCompile(`<[^>]*>`).ReplaceAllString(page, "")
	return html.UnescapeString(strings.Join(strings.Fields(page), " "))
}

func TestHeaders(t *testing.T) {
	_, page := get(t, full, "GET")
	_, rest, _ := strings.Cut(page, "<style>")
	style, _, found := strings.Cut(rest, "</style>")
	if !found || style == "" {
		t.Fatalf("no style in\n%s", page)
	}
	hash := sha256.Sum256([]byte(style))
	want := http.Header{
		"Cache-Control":           {"no-store"},
		"Content-Length":          {strconv.Itoa(len(page))},
		"Content-Security-Policy": {"default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
		"Content-Type":            {"text/html; charset=utf-8"},
		"Referrer-Policy":         {"no-referrer"},
		"Vary":                    {"Accept"},
		"X-Content-Type-Options":  {"nosniff"},
	}
	for _, method := range []string{"GET", "HEAD"} {
		res, body := get(t, full, method)
		res.Header.Del("Date")
		if res.StatusCode != 200 || !reflect.DeepEqual(res.Header, want) {
			t.Errorf("%s: %s, %v\nwant %v", method, res.Status, res.Header, want)
		}
		if method == "HEAD" && body != "" {
			t.Errorf("HEAD: body %q", body)
		}
	}

	res, body := get(t, full, "POST")
	if res.StatusCode != 405 || res.Header.Get("Allow") != "GET, HEAD" || body != "method not allowed\n" {
		t.Errorf("POST: %s, Allow %q, %q", res.Status, res.Header.Get("Allow"), body)
	}
}

func TestContent(t *testing.T) {
	for _, test := range []struct {
		name string
		info infopage.Info
		want string
	}{
		{"everything", full, "MCP server This is the address of an MCP server, which programs connect to. It answers verified users only. " +
			"Connect a client Add a remote server to your MCP client (transport: streamable HTTP) with this URL: https://mcp.example.com/mcp " +
			"For a client that knows only the older SSE transport: https://mcp.example.com/mcp/sse " +
			"Sign in A client needs a bearer token from one of the authorization servers in the resource metadata. " +
			"Most clients read it and open a sign-in page by themselves. Others send the token in a header of every request: Authorization: Bearer <token> " +
			"Details Resource metadata https://mcp.example.com/.well-known/oauth-protected-resource/mcp"},
		{"no more than the resource", infopage.Info{Resource: "http://127.0.0.1:8080/mcp"},
			"MCP server This is the address of an MCP server, which programs connect to. It answers verified users only. " +
				"Connect a client Add a remote server to your MCP client (transport: streamable HTTP) with this URL: http://127.0.0.1:8080/mcp " +
				"Sign in A client needs a bearer token from whoever runs this server, and sends it in a header of every request: Authorization: Bearer <token>"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, page := get(t, test.info, "GET")
			if got := text(page); got != test.want {
				t.Errorf("the page says\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

func TestNothingIsRunOrLoaded(t *testing.T) {
	_, page := get(t, full, "GET")
	if found := regexp.MustCompile(`(?i)<(script|link|img|iframe|form|base|object|svg)\b|\b(src|on\w+|style)=|@import|url\(`).FindAllString(page, -1); found != nil {
		t.Errorf("the page has %q", found)
	}
}

func TestHostileValuesStayText(t *testing.T) {
	const hostile = `https://x.example/"><script>alert(1)</script>'&lt;`
	_, page := get(t, infopage.Info{Resource: hostile, MetadataURL: "javascript:alert(1)", LegacySSEURL: "</code><b>" + hostile}, "GET")
	for _, raw := range []string{"<script", "<b>", `href="javascript:`, `example/"`} {
		if strings.Contains(page, raw) {
			t.Errorf("the page has %s:\n%s", raw, page)
		}
	}
	said := text(page)
	for _, value := range []string{" with this URL: " + hostile + " For", "Resource metadata javascript:alert(1)", "</code><b>" + hostile} {
		if !strings.Contains(said, value) {
			t.Errorf("the page does not say %q:\n%s", value, said)
		}
	}
	if !strings.Contains(page, `<a href="#ZgotmplZ">javascript:alert(1)</a>`) {
		t.Errorf("the page links to a script:\n%s", page)
	}
}
