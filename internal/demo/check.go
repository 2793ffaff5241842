package demo

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth/internal/mint"
)

// Check walks through a running demonstration as its users and its attackers
// would, writes a table of what was tried, expected and seen, and reports
// whether all was as expected.
func (d *Demo) Check(ctx context.Context, w io.Writer) (ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c := &check{Demo: d, client: &http.Client{Transport: &http.Transport{}}}
	defer c.client.CloseIdleConnections()
	for _, part := range []func(context.Context) error{c.sessions, c.requests, c.tokens} {
		if err := part(ctx); err != nil {
			return false, err
		}
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\tTRIED\tEXPECTED\tSEEN")
	for _, r := range c.rows {
		mark := "ok"
		if !r.ok {
			mark = "FAIL"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", mark, r.tried, r.expected, r.seen)
	}
	if err := table.Flush(); err != nil {
		return false, err
	}
	failed := 0
	for _, r := range c.rows {
		if !r.ok {
			failed++
		}
	}
	_, err = fmt.Fprintf(w, "\n%d passed, %d failed\n", len(c.rows)-failed, failed)
	return failed == 0, err
}

type check struct {
	*Demo
	client *http.Client
	rows   []row
}

// maxSeen keeps an answer on its line.
const maxSeen = 100

type row struct {
	tried, expected, seen string
	ok                    bool
}

// expect notes what was seen; it is as expected when it begins that way.
func (c *check) expect(tried, expected, seen string) {
	ok := strings.HasPrefix(seen, expected)
	seen = strings.Join(strings.Fields(seen), " ")
	if len(seen) > maxSeen {
		seen = seen[:maxSeen] + "…"
	}
	c.rows = append(c.rows, row{tried, expected, seen, ok})
}

// The protocol versions that are played: the last with sessions and the first
// without.
const (
	legacy = "2025-11-25"
	modern = "2026-07-28"
)

// sessions plays two users with the official client, in sessions.
func (c *check) sessions(ctx context.Context) error {
	alice, err := c.connect(ctx, c.Alice, legacy)
	if err != nil {
		return err
	}
	defer alice.Close()
	bob, err := c.connect(ctx, c.Bob, legacy)
	if err != nil {
		return err
	}
	defer bob.Close()

	c.expect("alice adds a note", `{"id":1,"text":"milk"}`, callTool(ctx, alice, "add_note", map[string]any{"text": "milk"}))
	c.expect("bob adds a note", `{"id":2,"text":"bread"}`, callTool(ctx, bob, "add_note", map[string]any{"text": "bread"}))
	c.expect("alice lists: her own only", `{"notes":[{"id":1,"text":"milk"}]}`, callTool(ctx, alice, "list_notes", nil))
	c.expect("bob lists: his own only", `{"notes":[{"id":2,"text":"bread"}]}`, callTool(ctx, bob, "list_notes", nil))
	c.expect("bob deletes alice's note", "tool error: you have no note 1", callTool(ctx, bob, "delete_note", map[string]any{"id": 1}))

	const list = `{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"list_notes","arguments":{}}}`
	inSession := func(method, token, session string) string {
		body := list
		if method != http.MethodPost {
			body = ""
		}
		return c.http(ctx, method, token, body, map[string]string{"Mcp-Session-Id": session, "Mcp-Protocol-Version": legacy})
	}
	for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodDelete} {
		c.expect("bob in alice's session: "+method, "404 Session not found", inSession(method, c.Bob, alice.ID()))
	}
	c.expect("bob in no session at all", "404 Session not found", inSession(http.MethodPost, c.Bob, "made-up"))
	refreshed := c.claims("alice")
	refreshed["jti"] = "refreshed"
	token, err := c.issuer.token(refreshed)
	if err != nil {
		return err
	}
	c.expect("alice in her session, token refreshed", "200", inSession(http.MethodPost, token, alice.ID()))
	return nil
}

// requests plays the same users under the protocol without sessions.
func (c *check) requests(ctx context.Context) error {
	for _, user := range []struct{ name, token, expected string }{
		{"alice", c.Alice, `{"notes":[{"id":1,"text":"milk"}]}`},
		{"bob", c.Bob, `{"notes":[{"id":2,"text":"bread"}]}`},
	} {
		client, err := c.connect(ctx, user.token, modern)
		if err != nil {
			return err
		}
		c.expect(user.name+" lists under "+modern, user.expected, callTool(ctx, client, "list_notes", nil))
		client.Close()
	}
	return nil
}

// tokens plays those who have no good token.
func (c *check) tokens(ctx context.Context) error {
	try := func(tried, expected, token string) {
		c.expect(tried, expected, c.http(ctx, http.MethodPost, token, "{}", nil))
	}
	signed := func(change map[string]any) (string, error) {
		claims := c.claims("alice")
		maps.Copy(claims, change)
		return c.issuer.token(claims)
	}
	const failed = "401 invalid_token: JWT verification failed: "

	try("no token", "401 unauthorized: No authorization header provided", "")
	try("not a token", failed+"malformed token", "hello")
	for _, t := range []struct {
		tried, expected string
		change          map[string]any
	}{
		{"an expired token", "401 invalid_token: JWT token has expired. Please refresh your token.", map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}},
		{"a token of another issuer", failed + "wrong issuer", map[string]any{"iss": "https://issuer.example.com"}},
		{"a token for another server", failed + "the token is meant for another audience", map[string]any{"aud": "https://other.example.com/mcp"}},
		{"a token without a user", "401 invalid_token: JWT missing required userId claim", map[string]any{"userId": ""}},
		{"a token from the future", failed + "the token is not valid yet", map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}},
	} {
		token, err := signed(t.change)
		if err != nil {
			return err
		}
		try(t.tried, t.expected, token)
	}

	header, rest, _ := strings.Cut(c.Alice, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	claims, err := json.Marshal(c.claims("bob"))
	if err != nil {
		return err
	}
	asBob := encode(claims)
	try("alice's token, changed to bob's", failed+"invalid signature", header+"."+asBob+"."+signature)
	try("alg none", failed+"unsupported algorithm", encode([]byte(`{"alg":"none"}`))+"."+payload+".")

	// The public key as an HMAC secret, in the form in which it is published.
	public, err := c.issuer.signer.JWKS()
	if err != nil {
		return err
	}
	input := encode([]byte(`{"alg":"HS256","kid":"demo-1"}`)) + "." + asBob
	mac := hmac.New(sha256.New, public)
	mac.Write([]byte(input))
	try("HS256 with the public key as secret", failed+"unsupported algorithm", input+"."+encode(mac.Sum(nil)))

	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	for _, t := range []struct{ kid, expected string }{{"demo-1", "invalid signature"}, {"demo-2", "unknown signing key"}} {
		signer, err := mint.NewSigner("", other, t.kid)
		if err != nil {
			return err
		}
		token, err := signer.Sign(c.claims("alice"))
		if err != nil {
			return err
		}
		try("another key, kid "+t.kid, failed+t.expected, token)
	}
	c.expect("a good token, in the URL", "401 unauthorized: No authorization header provided",
		c.do(ctx, http.MethodPost, c.URL+"?access_token="+c.Alice, "{}", nil))
	c.expect("a page of another origin", "403 forbidden_origin",
		c.http(ctx, http.MethodPost, c.Alice, "{}", map[string]string{"Origin": "https://evil.example"}))
	return nil
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func (c *check) connect(ctx context.Context, token, version string) (*mcp.ClientSession, error) {
	client := mcp.NewClient(&mcp.Implementation{Name: "check", Version: "1"}, nil)
	session, err := client.Connect(ctx, &mcp.StreamableClientTransport{
		Endpoint:   c.URL,
		HTTPClient: &http.Client{Transport: bearer{token, c.client.Transport}},
	}, &mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		return nil, fmt.Errorf("a client with a good token cannot connect: %w", err)
	}
	return session, nil
}

func callTool(ctx context.Context, session *mcp.ClientSession, name string, arguments any) string {
	if arguments == nil {
		arguments = map[string]any{}
	}
	result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: name, Arguments: arguments})
	if err != nil {
		return "error: " + err.Error()
	}
	var text string
	for _, content := range result.Content {
		if t, ok := content.(*mcp.TextContent); ok {
			text += t.Text
		}
	}
	if result.IsError {
		return "tool error: " + text
	}
	return text
}

// bearer adds a token to every request.
type bearer struct {
	token string
	next  http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(r)
}

func (c *check) http(ctx context.Context, method, token, body string, headers map[string]string) string {
	headers = maps.Clone(headers)
	if headers == nil {
		headers = map[string]string{}
	}
	if token != "" {
		headers["Authorization"] = "Bearer " + token
	}
	return c.do(ctx, method, c.URL, body, headers)
}

// do sends a request and returns status and answer in one line.
func (c *check) do(ctx context.Context, method, url, body string, headers map[string]string) string {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err.Error()
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return err.Error()
	}
	var refusal struct {
		Error       json.RawMessage `json:"error"`
		Description string          `json:"error_description"`
	}
	var rpc struct {
		Message string `json:"message"`
	}
	switch json.Unmarshal(answer, &refusal); {
	case refusal.Description != "":
		return fmt.Sprintf("%d %s: %s", resp.StatusCode, bytes.Trim(refusal.Error, `"`), refusal.Description)
	case json.Unmarshal(refusal.Error, &rpc) == nil:
		return fmt.Sprintf("%d %s", resp.StatusCode, rpc.Message)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, bytes.TrimSpace(answer))
}
