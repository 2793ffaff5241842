package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/attack"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
)

// besiegedURL is where the besieged gateway is reached, as its users see it.
const besiegedURL = "https://mcp.example"

// besieger is who sends the corpus, and the good tokens.
var besieger = sync.OnceValue(func() attack.Target {
	public := attack.NewIssuer("https://public.example", besiegedURL+"/mcp", "userId", "RS256", "PS256", "ES384", "ES256", "EdDSA")
	public.Claims = map[string]string{"sub": `"subject"`, "scope": `"notes"`, "email": `"victim@example.com"`}
	secret := attack.NewIssuer("https://secret.example", besiegedURL+"/mcp", "sub", "HS256", "HS512")
	secret.MaxLifetime, secret.ExpiryLeeway = 2*time.Hour, time.Minute
	return attack.Target{Issuers: []attack.Issuer{public, secret}, Now: time.Now()}
})

// besieged is a gateway that takes the tokens of besieger.
type besieged struct {
	*watched
	factory      *gatewaytest.Factory
	good, corpus []attack.Token
}

func besiege(t *testing.T) *besieged {
	t.Helper()
	target := besieger()
	config := jwt.Config{Logger: slog.New(slog.DiscardHandler)}
	for _, iss := range target.Issuers {
		config.Issuers = append(config.Issuers, jwt.Issuer{
			Name: iss.Name, Audience: []string{iss.Audience}, UserIDClaim: iss.UserIDClaim, Keys: []jwt.KeySource{jwt.JWKS(iss.JWKS())},
			MaxLifetime: iss.MaxLifetime, ExpiryLeeway: iss.ExpiryLeeway,
		})
	}
	provider, err := jwt.New(config)
	if err != nil {
		t.Fatal(err)
	}
	b := &besieged{factory: &gatewaytest.Factory{}, good: attack.Good(target), corpus: attack.Corpus(11, target)}
	b.watched = watch(t, gateway.Config{
		Provider: provider, Factory: b.factory.Make, PublicURL: besiegedURL, AuthorizationServers: []string{"https://public.example"},
	})
	return b
}

// attempts are what a token is sent with: each way into the gateway.
func attempts(session string) map[string]gatewaytest.Request {
	const call = `{"name":"whoami","arguments":{}}`
	return map[string]gatewaytest.Request{
		"a call of 2026-07-28":  gatewaytest.ModernCall("", 7, "whoami", "{}"),
		"an initialize":         {Body: gatewaytest.Initialize(gatewaytest.Legacy)},
		"a call in a session":   {Session: session, Version: gatewaytest.Legacy, Body: gatewaytest.Message(7, "tools/call", call)},
		"a stream of a session": {Method: http.MethodGet, Session: session, Version: gatewaytest.Legacy},
		"the end of a session":  {Method: http.MethodDelete, Session: session, Version: gatewaytest.Legacy},
	}
}

// often are the attempts that are made with every token; the others are made
// with each tenth.
var often = []string{"a call of 2026-07-28", "an initialize"}

func (b *besieged) request(t *testing.T, r gatewaytest.Request, token attack.Token) *http.Request {
	t.Helper()
	r.Header = maps.Clone(r.Header)
	if r.Header == nil {
		r.Header = headers{}
	}
	r.Header["Host"] = []string{"mcp.example"}
	request, err := b.New(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(request.Header, token.Header)
	return request
}

// answered is what became of one attempt.
type answered struct {
	what   string
	status int
	header http.Header
}

// siege sends the corpus by send, which reports false for what it cannot send,
// and then sees to it that nothing has come of it.
func (b *besieged) siege(t *testing.T, least int, send func(r *http.Request, token attack.Token) (status int, header http.Header, sent bool)) {
	victim := b.good[0]
	opening := attempts("")["an initialize"]
	status, header, _ := send(b.request(t, opening, victim), victim)
	session := header.Get("Mcp-Session-Id")
	if status != http.StatusOK || session == "" {
		t.Fatalf("the victim's initialize: %d", status)
	}
	made := b.factory.Made()

	var all []answered
	tried := map[string]int{}
	for i, token := range b.corpus {
		for _, name := range slices.Sorted(maps.Keys(attempts(session))) {
			if i%10 != 0 && !slices.Contains(often, name) {
				continue
			}
			status, header, sent := send(b.request(t, attempts(session)[name], token), token)
			if sent {
				all = append(all, answered{token.String() + ", with " + name, status, header})
				tried[name]++
			}
		}
	}
	if after := b.factory.Made(); len(after) != len(made) {
		t.Errorf("the factory was called for %q", after[len(made):])
	}
	if stats := b.Stats(); stats.Sessions != 1 {
		t.Errorf("%d sessions are open, the victim's is one", stats.Sessions)
	}
	b.refused(t, all)
	for name, n := range tried {
		if want := least; slices.Contains(often, name) && n < want || n < want/10 {
			t.Errorf("%s: only %d attempts", name, n)
		}
	}
	t.Logf("%d attempts with %d tokens: %v", len(all), len(b.corpus), tried)

	// The victim has felt nothing, and all good tokens pass.
	for name, r := range attempts(session) {
		if name == "a stream of a session" {
			continue
		}
		for i, token := range b.good {
			if name != "a call of 2026-07-28" && i > 0 {
				continue
			}
			if status, _, _ := send(b.request(t, r, token), token); status >= 300 && !(name == "a call in a session" && status == http.StatusNotFound) {
				t.Errorf("%s, with %s: status %d", token, name, status)
			}
		}
	}
}

// refused fails the test unless each of all has the form of a refusal, and is
// in the audit log as one.
func (b *besieged) refused(t *testing.T, all []answered) {
	t.Helper()
	// What has too large a header gets net/http's own answer, before anything
	// of ours.
	all = slices.DeleteFunc(all, func(a answered) bool { return a.status == http.StatusRequestHeaderFieldsTooLarge })
	gatewaytest.Eventually(t, "all is in the audit log", func() bool { return strings.Count(b.audit.String(), "\n") > len(all) })
	lines := map[string]map[string]any{}
	for _, record := range records(t, b.audit.String()) {
		lines[record["request_id"].(string)] = record
	}
	statuses := map[string]float64{
		string(mcpauth.ErrMissingCredential): 401, string(mcpauth.ErrMalformedHeader): 400, string(mcpauth.ErrTooLarge): 401, string(mcpauth.ErrMalformedToken): 401,
		string(mcpauth.ErrUnsupportedAlgorithm): 401, string(mcpauth.ErrUnknownKey): 401, string(mcpauth.ErrBadSignature): 401, string(mcpauth.ErrWrongIssuer): 401,
		string(mcpauth.ErrWrongAudience): 401, string(mcpauth.ErrExpired): 401, string(mcpauth.ErrNotYetValid): 401, string(mcpauth.ErrMissingClaim): 401,
	}
	const metadata = `resource_metadata="` + besiegedURL + `/.well-known/oauth-protected-resource/mcp"`
	for _, a := range all {
		challenge := a.header.Get("WWW-Authenticate")
		if (a.status != 401 && a.status != 400) || !strings.HasPrefix(challenge, "Bearer") || !strings.Contains(challenge, metadata) {
			t.Errorf("%s: status %d, challenge %q", a.what, a.status, challenge)
			continue
		}
		line := lines[a.header.Get("X-Request-Id")]
		code, _ := line["code"].(string)
		if line["decision"] != "refused" || statuses[code] != float64(a.status) || line["status"] != float64(a.status) || line["user"] != nil || line["reason"] == "" {
			t.Errorf("%s: status %d, in the audit log: %v", a.what, a.status, line)
		}
	}
}

func TestAttackOnTheGateway(t *testing.T) {
	b := besiege(t)
	client := &http.Client{Transport: b.HTTP}
	b.siege(t, 250, func(r *http.Request, token attack.Token) (int, http.Header, bool) {
		if !token.Sendable() {
			return 0, nil, false
		}
		ctx, cancel := context.WithTimeout(r.Context(), gatewaytest.Patience)
		defer cancel()
		response, err := client.Do(r.WithContext(ctx))
		if err != nil {
			// A server that has read enough hangs up, and the client, which is
			// still writing, may see that alone.
			if len(token.Text) > 64<<10 && !errors.Is(err, context.DeadlineExceeded) {
				return http.StatusRequestHeaderFieldsTooLarge, nil, true
			}
			t.Fatalf("%s: %v", token, err)
		}
		defer response.Body.Close()
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			t.Fatalf("%s: %v", token, err)
		}
		return response.StatusCode, response.Header, true
	})
}

// Called in the process, the gateway sees what no connection carries.
func TestAttackOnTheGatewayInTheProcess(t *testing.T) {
	b := besiege(t)
	b.siege(t, len(b.corpus), func(r *http.Request, _ attack.Token) (int, http.Header, bool) {
		r.RemoteAddr = "192.0.2.1:1234"
		if r.Host == "" {
			t.Fatal("the request has no host")
		}
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r)
		return w.Code, w.Header(), true
	})
}

// Where a credential may not be, it is not seen.
func TestGoodTokensAtTheWrongPlace(t *testing.T) {
	b := besiege(t)
	good := strings.TrimPrefix(b.good[0].Header.Get("Authorization"), "Bearer ")
	for name, change := range map[string]func(*http.Request){
		"query":                    func(r *http.Request) { r.URL.RawQuery = "access_token=" + good },
		"cookie":                   func(r *http.Request) { r.Header.Set("Cookie", "access_token="+good+"; Authorization=Bearer "+good) },
		"Proxy-Authorization":      func(r *http.Request) { r.Header.Set("Proxy-Authorization", "Bearer "+good) },
		"X-Forwarded-Access-Token": func(r *http.Request) { r.Header.Set("X-Forwarded-Access-Token", good) },
		"session id":               func(r *http.Request) { r.Header.Set("Mcp-Session-Id", good) },
		"WebSocket protocol":       func(r *http.Request) { r.Header.Set("Sec-WebSocket-Protocol", "bearer, "+good) },
		"Basic":                    func(r *http.Request) { r.SetBasicAuth("victim", good) },
		"DPoP":                     func(r *http.Request) { r.Header.Set("Authorization", "DPoP "+good) },
		"user of the URL":          func(r *http.Request) { r.URL.User = nil; r.Header.Set("X-Authorization", "Bearer "+good) },
	} {
		r := b.request(t, attempts("")["an initialize"], attack.Token{})
		change(r)
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r)
		challenge := w.Header().Get("WWW-Authenticate")
		if w.Code != http.StatusUnauthorized || strings.Contains(challenge, "error=") || !strings.HasPrefix(challenge, "Bearer") {
			t.Errorf("%s: status %d, challenge %q", name, w.Code, challenge)
		}
	}
	form := b.request(t, gatewaytest.Request{Body: "access_token=" + good, Header: headers{"Content-Type": {"application/x-www-form-urlencoded"}}}, attack.Token{})
	w := httptest.NewRecorder()
	if b.ServeHTTP(w, form); w.Code != http.StatusUnauthorized {
		t.Errorf("form: status %d", w.Code)
	}
	if made := b.factory.Made(); len(made) > 0 {
		t.Errorf("the factory was called for %q", made)
	}
	if text := b.log.String() + b.audit.String(); strings.Contains(text, good) || strings.Contains(text, fmt.Sprintf("%q", good)) {
		t.Error("the token is in the log")
	}
}
