package gateway_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/admin"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/credential/env"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
	"github.com/mcpauth-go/mcpauth/limit"
	"github.com/mcpauth-go/mcpauth/policy"
	"github.com/mcpauth-go/mcpauth/revoke"
	"github.com/mcpauth-go/mcpauth/telemetry"
)

// aviary has what must not be written down, and finds it in every spelling,
// whole or in part.
type aviary struct {
	names map[string]string // of parts
	found map[string]bool
}

// part is how many bytes of a secret are not written by accident. The dump of a
// stack has single words of memory.
const part = 12

// How many bytes part takes as it is, in base64 and in hex.
var widths = []int{part, part / 3 * 4, part * 2}

func newAviary() *aviary { return &aviary{map[string]string{}, map[string]bool{}} }

// canary returns a secret of its own, with all that spellings differ in.
func (a *aviary) canary(name string) string { return a.add(name, rand.Text()+`/+"&<é`+rand.Text()) }

// plain returns one of letters and digits alone.
func (a *aviary) plain(name string) string { return a.add(name, rand.Text()+rand.Text()) }

func (a *aviary) add(name, secret string) string {
	spell := func(how, text string) {
		width := part
		switch {
		case strings.Contains(how, "base64"):
			width = widths[1]
		case strings.Contains(strings.ToLower(how), "hex"):
			width = widths[2]
		}
		for i := 0; i+width <= len(text); i++ {
			a.names[text[i:i+width]] = name + ", " + how
		}
	}
	spell("raw", secret)
	quoted, _ := json.Marshal(secret)
	spell("in JSON", strings.Trim(string(quoted), `"`))
	spell("quoted", strings.Trim(fmt.Sprintf("%q", secret), `"`))
	spell("in ASCII", strings.Trim(fmt.Sprintf("%+q", secret), `"`))
	spell("in a query", url.QueryEscape(secret))
	spell("in a path", url.PathEscape(secret))
	spell("in hex", hex.EncodeToString([]byte(secret)))
	spell("in HEX", strings.ToUpper(hex.EncodeToString([]byte(secret))))
	spell("as bytes", strings.Trim(fmt.Sprint([]byte(secret)), "[]"))
	for skip := range 3 { // wherever it begins in what is encoded
		spell("in base64", base64.RawStdEncoding.EncodeToString([]byte(secret)[skip:]))
		spell("in base64url", base64.RawURLEncoding.EncodeToString([]byte(secret)[skip:]))
	}
	return secret
}

// token adds what of a token is secret: payload and signature.
func (a *aviary) token(token string) string {
	if _, rest, ok := strings.Cut(token, "."); ok {
		a.add("token", rest)
	}
	return token
}

// find returns where in text which of the secrets are.
func (a *aviary) find(text string) map[string]int {
	all := map[string]int{}
	for _, width := range widths {
		for i := 0; i+width <= len(text); i++ {
			if name, ok := a.names[text[i:i+width]]; ok {
				all[name] = i
			}
		}
	}
	return all
}

// search fails the test if any of the secrets is in text.
func (a *aviary) search(t *testing.T, where, text string) {
	t.Helper()
	for name, at := range a.find(text) {
		if !a.found[where+name] {
			a.found[where+name] = true
			t.Errorf("%s has the %s: …%s…", where, name, text[max(0, at-200):min(len(text), at+100)])
		}
	}
}

// searchBut is search for a text that may have the token.
func (a *aviary) searchBut(t *testing.T, token, where, text string) {
	t.Helper()
	a.search(t, where, strings.ReplaceAll(text, token, ""))
}

func TestAviary(t *testing.T) {
	a := newAviary()
	secret := a.canary("secret")
	for _, text := range []string{
		secret, "x" + secret[4:17] + "x", fmt.Sprintf("%q", secret), fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret[8:]), url.QueryEscape("pass" + secret), fmt.Sprint([]byte(secret)),
		base64.StdEncoding.EncodeToString([]byte("basic:" + secret)), base64.URLEncoding.EncodeToString([]byte("user1:" + secret)), base64.StdEncoding.EncodeToString([]byte("user22:" + secret)),
	} {
		if len(a.find(text)) == 0 {
			t.Errorf("not found in %q", text)
		}
	}
	a.search(t, "a harmless text", strings.Repeat("harmless ", 1000)+secret[:part-1])
}

// Nothing that is written anywhere, on whatever occasion, has a secret in it:
// not the log at its most talkative, nor the audit log, spans, metrics and
// answers.
func TestNothingSecretIsWritten(t *testing.T) {
	for form, users := range map[string]gateway.UserForm{"named": gateway.UserPlain, "hashed": gateway.UserHashed, "omitted": gateway.UserOmitted} {
		t.Run("users "+form, func(t *testing.T) { canaries(t, users) })
	}
}

// singing is a resolver that answers what the user's id says.
type singing struct{ credential *mcpauth.Credential }

func (s singing) Resolve(_ context.Context, id *mcpauth.Identity, _ string) (*mcpauth.Credential, error) {
	if strings.HasPrefix(id.UserID(), "unresolved") {
		return nil, fmt.Errorf("no account for %v with %v, %+v", id, s.credential, *s.credential)
	}
	return s.credential, nil
}

func canaries(t *testing.T, users gateway.UserForm) {
	a, people := newAviary(), newAviary() // people are no secret to themselves
	var (
		hmacKey  = a.canary("HMAC key")
		logKey   = a.canary("log key")
		vault    = a.canary("credential")
		operator = a.plain("token of administration")
		password = a.plain("password of the key set's URL")
		claim    = a.canary("claim")
		mail     = a.plain("address") + "@example.com"
	)
	const issuer, fetched, audience = "https://issuer.example", "https://fetched.example", "https://mcp.example/mcp"
	user := func(name string) string {
		if users == gateway.UserPlain {
			return name
		}
		return name + " " + people.plain("user id")
	}

	// The parts.
	spans := tracetest.NewInMemoryExporter()
	log := &gatewaytest.Log{}
	logger := slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}))
	away := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, r.URL.String(), http.StatusTeapot)
	}))
	defer away.Close()
	list, err := revoke.Open(revoke.Config{Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { list.Close() })
	provider, err := jwt.New(jwt.Config{
		Logger: logger, Revocations: list,
		Issuers: []jwt.Issuer{
			{Name: issuer, Audience: []string{audience}, Keys: []jwt.KeySource{jwt.Secret(mcpauth.NewSecret(hmacKey))}},
			{Name: fetched, Audience: []string{audience}, Keys: []jwt.KeySource{jwt.JWKSURL(away.URL + "/keys?api_key=" + password)}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	tokenFile := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(tokenFile, []byte(operator), 0o600); err != nil {
		t.Fatal(err)
	}
	adminAddr := gatewaytest.FreeAddr(t)
	var keyOfLog mcpauth.Secret
	if users == gateway.UserHashed {
		keyOfLog = mcpauth.NewSecret(logKey)
	}
	factory := &gatewaytest.Factory{Setup: func(server *mcp.Server, _ gateway.Call) {
		for name, run := range map[string]func(context.Context) (string, error){
			// What authors do with what they are given, short of asking for the
			// secret itself.
			"fail": func(ctx context.Context) (string, error) {
				return "", fmt.Errorf("%v %+v", mcpauth.FromContext(ctx), mcpauth.CredentialFrom(ctx))
			},
			"show": func(ctx context.Context) (string, error) {
				return fmt.Sprintf("%v %#v %s", mcpauth.FromContext(ctx), mcpauth.CredentialFrom(ctx), mcpauth.FromContext(ctx)), nil
			},
			"panic":   func(ctx context.Context) (string, error) { panic(mcpauth.CredentialFrom(ctx)) },
			"panic 2": func(ctx context.Context) (string, error) { panic(mcpauth.FromContext(ctx)) },
			"panic 3": func(ctx context.Context) (string, error) { panic(*mcpauth.CredentialFrom(ctx)) },
			"log": func(ctx context.Context) (string, error) {
				logger.DebugContext(ctx, "of an author", "identity", mcpauth.FromContext(ctx), "credential", mcpauth.CredentialFrom(ctx), "value", *mcpauth.CredentialFrom(ctx))
				return "", nil
			},
			"slow": func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() },
			"rare": func(context.Context) (string, error) { return "", nil },
		} {
			gatewaytest.AddTool(server, name, func(ctx context.Context, _ *mcp.CallToolRequest) (string, error) { return run(ctx) })
		}
	}}
	w := &watched{log: log, audit: &gatewaytest.Log{}}
	w.Server = gatewaytest.Start(t, gateway.Config{
		Provider: provider, PublicURL: "https://mcp.example", Resolver: singing{&mcpauth.Credential{Token: mcpauth.NewSecret(vault)}}, ResourceType: "vault",
		Factory: func(ctx context.Context, call gateway.Call) (gateway.Instance, error) {
			switch name, _, _ := strings.Cut(call.Identity.UserID(), " "); name {
			case "broken":
				return gateway.Instance{}, fmt.Errorf("no server for %v, with %v, %#v", call.Identity, call.Credential, *call.Credential)
			case "panicking":
				panic(call)
			case "panicking2":
				panic(fmt.Sprintf("%+v", call))
			}
			return factory.Make(ctx, call)
		},
		RequiredScopes: []string{"mcp"}, Rules: []policy.Rule{{Tool: "show", Scopes: []string{"show"}}}, ToolRates: map[string]limit.Rate{"rare": perHour(1)}, MaxSessionsPerUser: 2, MaxStreamsPerUser: 1,
		MaxBodyBytes: 10_000, RequestTimeout: 3 * time.Second, Revocations: list, LogUsers: users, LogKey: keyOfLog, LegacySSE: true,
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Audit: w.audit, Logger: logger,
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)), Admin: admin.Config{Addr: adminAddr, TokenFile: tokenFile},
	})

	// The tokens.
	key := tokentest.Key{Algorithm: "HS256", Private: []byte(hmacKey)}
	claims := func(change map[string]any) string {
		all := map[string]any{
			"iss": issuer, "aud": audience, "userId": user("alice"), "scope": "mcp", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
			"email": mail, "note": claim, "jti": rand.Text(), "deep": map[string]any{"note": []string{claim}},
		}
		maps.Copy(all, change)
		maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
		text, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	of := func(change map[string]any) string { return a.token(key.Token(key.Header(), claims(change))) }
	as := func(name string) string { return of(map[string]any{"userId": user(name)}) }
	aliceID := user("alice")
	alice := of(map[string]any{"userId": aliceID, "scope": "mcp show"})
	stranger := tokentest.SharedSecret("stranger")
	broken := of(map[string]any{"x": 1})
	revokedID := rand.Text()
	if _, err := list.Revoke(t.Context(), revoke.Revocation{Kind: revoke.Token, Issuer: issuer, TokenID: revokedID, Reason: "stolen"}); err != nil {
		t.Fatal(err)
	}
	refusals := map[mcpauth.Code]string{
		mcpauth.ErrTooLarge:             a.token(alice + strings.Repeat("A", 17<<10)),
		mcpauth.ErrMalformedToken:       of(map[string]any{"email": mail, "EXP": claim}),
		mcpauth.ErrUnsupportedAlgorithm: a.token(tokentest.Encode(`{"alg":"none"}`) + "." + tokentest.Encode(claims(nil)) + "."),
		mcpauth.ErrUnknownKey:           a.token(stranger.Token(stranger.HeaderWith(`"kid":"other"`), claims(map[string]any{"iss": fetched}))),
		mcpauth.ErrBadSignature:         a.token(stranger.Token(stranger.Header(), claims(nil))),
		mcpauth.ErrWrongIssuer:          of(map[string]any{"iss": "https://other.example"}),
		mcpauth.ErrWrongAudience:        of(map[string]any{"aud": "https://other.example"}),
		mcpauth.ErrExpired:              of(map[string]any{"exp": 1}),
		mcpauth.ErrNotYetValid:          of(map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}),
		mcpauth.ErrMissingClaim:         of(map[string]any{"userId": nil}),
		mcpauth.ErrRevoked:              of(map[string]any{"jti": revokedID}),
		mcpauth.ErrInsufficientScope:    of(map[string]any{"scope": "other"}),
		mcpauth.ErrUnavailable:          a.token(tokentest.Ed25519("x").Token(`{"alg":"EdDSA","kid":"k"}`, claims(map[string]any{"iss": fetched}))),
	}
	delete(refusals, mcpauth.ErrUnknownKey) // needs a set that has been fetched; its own below

	// What is sent. 403, 404 and the like are as good as 200 here.
	host := func(r gatewaytest.Request) gatewaytest.Request {
		r.Header = maps.Clone(r.Header)
		if r.Header == nil {
			r.Header = headers{}
		}
		if r.Header["Host"] == nil {
			r.Header["Host"] = []string{"mcp.example"}
		}
		return r
	}
	codes := map[int]int{}
	send := func(what string, r gatewaytest.Request) gatewaytest.Answer {
		t.Helper()
		got := w.Do(t, host(r))
		text := fmt.Sprint(got.Status, got.Header) + got.Body
		a.search(t, "the answer to "+what, text)
		codes[got.Status]++
		return got
	}
	for code, token := range refusals {
		send(string(code), gatewaytest.ModernCall(token, 7, "whoami", "{}"))
		send(string(code)+" at initialize", gatewaytest.Request{Token: token, Body: gatewaytest.Initialize(gatewaytest.Legacy)})
		send(string(code)+" at GET", gatewaytest.Request{Method: "GET", Token: token, Version: gatewaytest.Legacy, Session: "x"})
		send(string(code)+" at /sse", gatewaytest.Request{Method: "GET", Path: "/mcp/sse", Token: token})
	}
	call := gatewaytest.CallTool(7, "whoami", "{}")
	for name, header := range map[string]headers{
		"two credentials":        {"Authorization": {"Bearer " + alice, "Bearer " + alice}},
		"Basic":                  {"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("alice:"+vault))}},
		"two words":              {"Authorization": {"Bearer " + alice + " " + alice}},
		"no scheme":              {"Authorization": {alice}},
		"in the session id":      {"Authorization": {"Bearer " + alice}, "Mcp-Session-Id": {alice}},
		"in the version":         {"Authorization": {"Bearer " + alice}, "Mcp-Protocol-Version": {alice}},
		"in the method":          {"Authorization": {"Bearer " + alice}, "Mcp-Method": {alice}},
		"in the name":            {"Authorization": {"Bearer " + alice}, "Mcp-Name": {alice}},
		"in the origin":          {"Authorization": {"Bearer " + alice}, "Origin": {"https://" + alice}},
		"in the host":            {"Authorization": {"Bearer " + alice}, "Host": {alice}},
		"in the request id":      {"Authorization": {"Bearer " + alice}, "X-Request-Id": {alice}},
		"in X-Forwarded-For":     {"Authorization": {"Bearer " + alice}, "X-Forwarded-For": {alice}},
		"in a trace":             {"Authorization": {"Bearer " + alice}, "Traceparent": {alice}, "Tracestate": {"x=" + alice}, "Baggage": {"x=" + alice}},
		"in the last event id":   {"Authorization": {"Bearer " + alice}, "Last-Event-Id": {alice}},
		"in Accept":              {"Authorization": {"Bearer " + alice}, "Accept": {alice}},
		"in the content's type":  {"Authorization": {"Bearer " + alice}, "Content-Type": {alice}},
		"in a cookie":            {"Cookie": {"token=" + alice}},
		"to a page":              {"Accept": {"text/html"}, "Cookie": {alice}},
		"a broken one":           {"Authorization": {"Bearer " + broken[:len(broken)-5]}},
		"one that is no JWT":     {"Authorization": {"Bearer " + a.plain("opaque token")}},
		"one with a line's text": {"Authorization": {"Bearer " + alice + "=="}},
	} {
		for _, method := range []string{"POST", "GET", "DELETE", "PUT"} {
			body := ""
			if method == "POST" {
				body = call
			}
			send(name+", "+method, gatewaytest.Request{Method: method, Header: header, Body: body})
		}
	}
	for name, path := range map[string]string{"the path": "/mcp/" + alice, "the query": "/mcp?access_token=" + alice, "health": "/mcp/health?token=" + alice, "metadata": "/.well-known/oauth-protected-resource/mcp?" + alice, "message": "/mcp/message?sessionId=" + alice} {
		for _, token := range []string{"", alice} {
			send("a token in "+name, gatewaytest.Request{Path: path, Token: token, Body: call})
		}
	}
	for name, body := range map[string]string{
		"no JSON": alice, "half": `{"method":"` + alice, "a method": gatewaytest.Message(7, alice, ""), "a tool": gatewaytest.CallTool(7, alice, "{}"), "a name twice": `{"method":"x","` + alice + `":1,"` + alice + `":2}`,
		"a resource": gatewaytest.Message(7, "resources/read", `{"uri":"notes://`+alice+`"}`), "a prompt": gatewaytest.Message(7, "prompts/get", `{"name":"`+alice+`"}`), "an id": `{"jsonrpc":"2.0","id":{"x":"` + alice + `"},"method":"ping"}`,
		"a version": gatewaytest.Message(7, "initialize", `{"protocolVersion":"`+alice+`","capabilities":{},"clientInfo":{"name":"`+alice+`","version":"1"}}`), "too much": strings.Repeat(" ", 11_000) + alice, "nothing": "",
		"a log level": gatewaytest.Message(7, "logging/setLevel", `{"level":"`+alice+`"}`), "a cursor": gatewaytest.Message(7, "tools/list", `{"cursor":"`+alice+`"}`),
		"arguments": gatewaytest.CallTool(7, "whoami", `{"echo":{"x":"`+alice+`"}}`), "a batch": "[" + gatewaytest.Message(7, "ping", "") + "," + gatewaytest.Message(8, alice, "") + "]",
	} {
		// The SDK may quote a client's words to the client.
		got := w.Do(t, host(gatewaytest.Request{Token: alice, Body: body}))
		a.searchBut(t, alice, "the answer to "+name, fmt.Sprint(got.Header)+got.Body)
	}

	// Who has passed the door, and meets trouble behind it.
	for name, token := range map[string]string{
		"unresolved": as("unresolved"), "broken": as("broken"),
		// Whom an author names in a panic is named in the log.
		"panicking": of(map[string]any{"userId": "panicking"}), "panicking2": of(map[string]any{"userId": "panicking2"}),
	} {
		send(name, gatewaytest.ModernCall(token, 7, "whoami", "{}"))
		send(name+" at initialize", gatewaytest.Request{Token: token, Body: gatewaytest.Initialize(gatewaytest.Legacy)})
	}
	session := ""
	for range 3 {
		if id := send("initialize", gatewaytest.Request{Token: alice, Body: gatewaytest.Initialize(gatewaytest.Legacy)}).Header.Get("Mcp-Session-Id"); id != "" {
			session = id
		}
	}
	if session == "" {
		t.Fatal("alice has no session")
	}
	tools := []string{"fail", "show", "panic", "panic 3", "slow", "rare", "rare", "nothing"}
	if users == gateway.UserPlain { // so do authors name whom they will
		tools = append(tools, "panic 2", "log")
	}
	for _, tool := range tools {
		send(tool, gatewaytest.ModernCall(alice, 7, tool, "{}"))
		send(tool+" in a session", gatewaytest.Request{Token: alice, Session: session, Version: gatewaytest.Legacy, Body: gatewaytest.CallTool(7, tool, "{}")})
	}
	send("show without scope", gatewaytest.ModernCall(as("bob"), 7, "show", "{}"))
	send("a foreign session", gatewaytest.Request{Token: as("bob"), Session: session, Version: gatewaytest.Legacy, Body: call})

	// Revocation, which ends what there is, and its handler.
	handler := list.Handler()
	for name, body := range map[string]string{
		"a whole token": `{"kind":"token","issuer":"` + issuer + `","token_id":"` + alice + `"}`, "no JSON": alice, "a name": `{"` + alice + `":1}`, "a kind": `{"kind":"` + alice + `"}`, "a time": `{"kind":"user","issuer":"x","user_id":"y","before":"` + alice + `"}`,
	} {
		for _, method := range []string{"POST", "GET", "DELETE"} {
			for _, target := range []string{"/revocations", "/blocks?issuer=" + alice, "/revocations?kind=" + alice, "/revocations?after=" + alice, "/revocations?" + alice + "=1", "/blocks?issuer=x&user_id=" + alice} {
				r := httptest.NewRequest(method, target, strings.NewReader(body))
				r.Header.Set("Content-Type", "application/json")
				answer := httptest.NewRecorder()
				handler.ServeHTTP(answer, r)
				a.search(t, "the handler of revocations, "+method+" "+name, fmt.Sprint(answer.Header(), answer.Body))
			}
		}
	}
	if users == gateway.UserPlain {
		if _, err := list.Revoke(t.Context(), revoke.Revocation{Kind: revoke.Block, Issuer: issuer, UserID: aliceID}); err != nil {
			t.Fatal(err)
		}
		send("blocked", gatewaytest.Request{Token: alice, Session: session, Version: gatewaytest.Legacy, Body: call})
	}

	// Administration.
	wrong := a.plain("wrong token of administration")
	for name, header := range map[string]headers{
		"none": {}, "wrong": {"Authorization": {"Bearer " + wrong}}, "cut": {"Authorization": {"Bearer " + operator[:30]}}, "Basic": {"Authorization": {"Basic " + operator}}, "right": {"Authorization": {"Bearer " + operator}},
		"twice": {"Authorization": {"Bearer " + operator, "Bearer " + operator}}, "from a page": {"Authorization": {"Bearer " + operator}, "Origin": {"https://" + operator + ".example"}}, "in the host": {"Authorization": {"Bearer " + operator}, "Host": {operator}},
		"in a cookie": {"Cookie": {operator}},
	} {
		for _, path := range []string{"/nothing?token=" + operator, "/revocations", "/debug/pprof/"} {
			r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+adminAddr+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header = http.Header(header).Clone()
			if header["Host"] != nil {
				r.Host = header["Host"][0]
			}
			response, err := w.HTTP.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(response.Body)
			response.Body.Close()
			a.search(t, "administration, token "+name, fmt.Sprint(response.Status, response.Header)+string(body))
		}
	}

	metrics := httptest.NewRecorder()
	w.Operations().ServeHTTP(metrics, httptest.NewRequest("GET", "/metrics", nil))
	if !strings.Contains(metrics.Body.String(), `code="bad_signature"`) {
		t.Error("the metrics know of no refusal")
	}
	written := func(where, text string) {
		t.Helper()
		a.search(t, where, text)
		people.search(t, where, text)
	}
	written("the metrics", metrics.Body.String())
	if err := w.Stop(); err != nil {
		t.Error(err)
	}
	written("the log", log.String())
	written("the audit log", w.audit.String())
	for _, span := range spans.GetSpans() {
		text := span.Name + span.Status.Description
		for _, attribute := range span.Attributes {
			text += "\n" + string(attribute.Key) + "=" + attribute.Value.String()
		}
		for _, event := range span.Events {
			text += fmt.Sprintf("\n%+v", event)
		}
		for _, link := range span.Links {
			text += fmt.Sprintf("\n%v %v", link.SpanContext.TraceState(), link.Attributes)
		}
		written("a span", text+span.SpanContext.TraceState().String())
	}
	// It has all been there.
	seen := map[string]bool{}
	for _, record := range records(t, w.audit.String()) {
		code, _ := record["code"].(string)
		seen[code] = true
	}
	for _, code := range append(slices.Collect(maps.Keys(refusals)), mcpauth.ErrMissingCredential, mcpauth.ErrMalformedHeader, mcpauth.ErrForbiddenHost, mcpauth.ErrForbiddenOrigin, mcpauth.ErrRateLimited) {
		if !seen[string(code)] {
			t.Errorf("nothing was refused with %s; with %v was", code, slices.Sorted(maps.Keys(seen)))
		}
	}
	t.Logf("answers by status: %v; refusals: %v", codes, slices.Sorted(maps.Keys(seen)))
	if n := len(spans.GetSpans()); n < 100 {
		t.Errorf("%d spans", n)
	}
	for _, what := range []string{"panic", "key set cannot be fetched"} {
		if !strings.Contains(log.String(), what) {
			t.Errorf("no %q is in the log", what)
		}
	}
}

// Secrets get into the wrong field, or have a fault of their own. What is said
// of it does not have them.
func TestNothingSecretIsInErrorsOfConfigurations(t *testing.T) {
	a := newAviary()
	secret, short := a.plain("secret"), a.add("short secret", rand.Text()[:20])
	quiet := slog.New(slog.DiscardHandler)
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	withPassword := "https://user:" + secret + "@mcp.example.com"
	provider := gatewaytest.Provider(t, "x", gatewaytest.NewIssuer(t, "https://issuer.example"))
	t.Cleanup(func() { provider.Close() })
	issuer := func(change func(*jwt.Issuer)) error {
		iss := jwt.Issuer{Name: "https://issuer.example", Audience: []string{"x"}, Keys: []jwt.KeySource{jwt.Secret(mcpauth.NewSecret(secret + secret))}}
		change(&iss)
		p, err := jwt.New(jwt.Config{Issuers: []jwt.Issuer{iss}, Logger: quiet})
		if err == nil {
			p.Close()
		}
		return err
	}
	keys := func(source jwt.KeySource) error {
		return issuer(func(iss *jwt.Issuer) { iss.Keys = []jwt.KeySource{source} })
	}
	gate := func(change func(*gateway.Config)) error {
		c := gateway.Config{Provider: provider, Factory: (&gatewaytest.Factory{}).Make, Logger: quiet}
		change(&c)
		g, err := gateway.New(c)
		if err == nil {
			g.Shutdown(t.Context())
		}
		return err
	}
	control := func(c admin.Config) error { _, err := admin.New(c); return err }
	traces := func(name, value string) error {
		t.Setenv("OTEL_TRACES_EXPORTER", "otlp")
		t.Setenv(name, value)
		defer os.Unsetenv(name)
		_, shutdown, err := telemetry.FromEnv(t.Context(), quiet)
		if err == nil {
			shutdown(t.Context())
		}
		return err
	}
	resolve := func(value string) error {
		t.Setenv("VAULT_ACCESS_TOKEN", value)
		_, err := env.Resolver{}.Resolve(t.Context(), nil, "vault")
		return err
	}
	for name, err := range map[string]error{
		"public URL":           gate(func(c *gateway.Config) { c.PublicURL = withPassword }),
		"origin":               gate(func(c *gateway.Config) { c.AllowedOrigins = []string{withPassword} }),
		"authorization server": gate(func(c *gateway.Config) { c.AuthorizationServers = []string{withPassword} }),
		"short log key":        gate(func(c *gateway.Config) { c.LogKey = mcpauth.NewSecret(short) }),
		"administration": gate(func(c *gateway.Config) {
			c.Admin = admin.Config{Addr: "127.0.0.1:0", TokenFile: file("spaces", secret+" "+secret)}
		}),
		"resolver": gate(func(c *gateway.Config) { c.Resolver = singing{&mcpauth.Credential{Token: mcpauth.NewSecret(secret)}} }),

		"short secret":           keys(jwt.Secret(mcpauth.NewSecret(short))),
		"secret as a variable":   keys(jwt.SecretEnv(secret + "/" + secret)),
		"secret as a file":       keys(jwt.SecretFile(secret + secret)),
		"short secret of a file": keys(jwt.SecretFile(file("short", short))),
		"secret in base64":       keys(jwt.Secret(mcpauth.NewSecret("!" + secret + secret)).In(jwt.Base64)),
		"secret in hex":          keys(jwt.Secret(mcpauth.NewSecret(secret + secret)).In(jwt.Hex)),
		"secret as PEM":          keys(jwt.PEM([]byte(secret))),
		"private JWK":            keys(jwt.JWKS([]byte(`{"kty":"OKP","crv":"Ed25519","x":"` + secret + `","d":"` + secret + `"}`))),
		"secret as JWK":          keys(jwt.JWKS([]byte(`{"kty":"oct","k":"` + short + `","kid":"` + "k" + `"}`))),
		"secret as JSON":         keys(jwt.JWKS([]byte(`{"` + secret + `":` + secret + `}`))),
		"password":               keys(jwt.JWKSURL(withPassword)),
		"password over http":     keys(jwt.JWKSURL("http://user:" + secret + "@example.com/?" + secret)),
		"key in a query":         keys(jwt.JWKSURL("http://example.com/keys?key=" + secret)),
		"metadata":               keys(jwt.DiscoverAt("ftp://user:" + secret + "@example.com")),
		"secret as an algorithm": issuer(func(iss *jwt.Issuer) { iss.Algorithms = []jwt.Algorithm{"RS256"} }),

		"admin: short token": control(admin.Config{Addr: "127.0.0.1:0", TokenFile: file("token", short[:14])}),
		"admin: two lines":   control(admin.Config{Addr: "127.0.0.1:0", TokenFile: file("lines", secret+"\n"+secret)}),
		"resource": func() error {
			_, err := mcpauth.NewResource(mcpauth.ResourceConfig{PublicURL: withPassword})
			return err
		}(),
		"origins": func() error {
			_, err := mcpauth.CheckOrigin(mcpauth.OriginConfig{PublicURL: withPassword, AllowedOrigins: []string{withPassword}})
			return err
		}(),
		"telemetry: header":    traces("OTEL_EXPORTER_OTLP_HEADERS", "authorization:"+secret),
		"telemetry: header %":  traces("OTEL_EXPORTER_OTLP_HEADERS", "authorization=%zz"+secret),
		"telemetry: endpoint":  traces("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://user:"+secret+"@example.com"),
		"telemetry: endpoint%": traces("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://user:"+secret+"@exa mple.com"),
		"environment: space":   resolve(" " + secret),
		"environment: line":    resolve(secret + "\n" + secret),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		a.search(t, name, fmt.Sprintf("%v\n%+v\n%#v\n%s", err, err, err, unwrapped(err)))
	}
}

// unwrapped is what all the errors within err say.
func unwrapped(err error) string {
	text := ""
	for ; err != nil; err = errors.Unwrap(err) {
		text += err.Error() + "\n"
	}
	return text
}

// What "mcpauth token verify" prints is often pasted somewhere.
func TestNothingSecretIsPrintedByTheCommand(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "mcpauth")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../cmd/mcpauth").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	a := newAviary()
	secret, password, claim := a.plain("secret"), a.plain("password"), a.plain("claim")
	away := httptest.NewServer(http.NotFoundHandler())
	defer away.Close()
	key := tokentest.Key{Algorithm: "HS256", Private: []byte(secret)}
	good := map[string]string{"iss": `"https://issuer.example"`, "aud": `"a"`, "userId": `"alice"`, "exp": "4000000000", "email": `"` + claim + `"`}
	token := func(change map[string]string) string {
		all := maps.Clone(good)
		maps.Copy(all, change)
		var members []string
		for _, name := range slices.Sorted(maps.Keys(all)) {
			members = append(members, `"`+name+`":`+all[name])
		}
		return a.token(key.Token(key.Header(), "{"+strings.Join(members, ",")+"}"))
	}
	common := []string{"token", "verify", "--issuer", "https://issuer.example", "--audience", "a"}
	with := func(args ...string) []string { return append(slices.Clone(common), args...) }
	for name, args := range map[string][]string{
		"expired":         with("--secret-env", "CANARY_SECRET", token(map[string]string{"exp": "1"})),
		"malformed":       with("--secret-env", "CANARY_SECRET", token(map[string]string{"EXP": `"` + claim + `"`})),
		"another issuer":  with("--secret-env", "CANARY_SECRET", token(map[string]string{"iss": `"x"`})),
		"as JSON":         with("--secret-env", "CANARY_SECRET", "--json", token(map[string]string{"nbf": "4000000000"})),
		"another key":     with("--secret-env", "CANARY_OTHER", token(nil)),
		"a short key":     with("--secret-env", "CANARY_SHORT", token(nil)),
		"no key":          with("--secret-env", a.add("secret for a name", strings.ToLower(rand.Text())+rand.Text()), token(nil)),
		"no such file":    with("--key", filepath.Join(t.TempDir(), "none"), token(nil)),
		"a set away":      with("--jwks", away.URL+"/keys?key="+password, token(nil)),
		"with a password": with("--jwks", "http://user:"+password+"@127.0.0.1:1/keys", token(nil)),
		"metadata away":   with("--metadata-url", away.URL+"/keys?key="+password, token(nil)),
		"no JWT":          with("--secret-env", "CANARY_SECRET", a.plain("opaque token")),
	} {
		command := exec.CommandContext(t.Context(), binary, args...)
		command.Env = append(os.Environ(), "CANARY_SECRET="+secret, "CANARY_OTHER="+a.plain("other secret"), "CANARY_SHORT="+a.plain("short secret")[:20])
		out, err := command.CombinedOutput()
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		a.search(t, name, string(out))
	}
}
