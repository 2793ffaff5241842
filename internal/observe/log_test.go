package observe_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/observe"
)

// written is what an Observer wrote of events.
type written struct{ log, audit, metrics string }

func done(t testing.TB, c observe.Config, events ...observe.Event) written {
	t.Helper()
	var log, audit bytes.Buffer
	c.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}))
	c.Audit = &audit
	o := observe.New(c)
	for _, e := range events {
		o.Done(t.Context(), e)
	}
	return written{log.String(), audit.String(), scrape(t, o)}
}

func scrape(t testing.TB, o *observe.Observer) string {
	t.Helper()
	w := httptest.NewRecorder()
	o.MetricsHandler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("metrics: %d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func refusal(code mcpauth.Code, cause error) *mcpauth.Error {
	return &mcpauth.Error{Code: code, Message: "the message", Cause: cause}
}

func TestLogAndAuditLines(t *testing.T) {
	const came, left = "2026-08-01T14:00:00.000000005+02:00", "2026-08-01T14:00:00.001500005+02:00"
	for _, test := range []struct {
		name       string
		change     func(*observe.Event)
		log, audit string
	}{
		{"a call", func(*observe.Event) {},
			`{"time":"` + left + `","level":"INFO","msg":"request","request_id":"r-1","remote":"192.0.2.7:4711","http_method":"POST","path":"/mcp","status":200,"method":"tools/call","name":"search","version":"2025-11-25","user":"user-7","issuer":"https://issuer.example","outcome":"ok","duration":1500000}`,
			`{"time":"2026-08-01T12:00:00.000000005Z","request_id":"r-1","decision":"allowed","outcome":"ok","user":"user-7","issuer":"https://issuer.example","remote":"192.0.2.7:4711","http_method":"POST","method":"tools/call","name":"search","status":200,"duration_ms":1.5}`},
		{"nothing but a time", func(e *observe.Event) { *e = observe.Event{Time: e.Time} },
			`{"time":"` + came + `","level":"INFO","msg":"request","outcome":"ok","duration":0}`,
			`{"time":"2026-08-01T12:00:00.000000005Z","decision":"allowed","outcome":"ok","duration_ms":0}`},
		{"traced", func(e *observe.Event) { *e = observe.Event{Time: e.Time, TraceID: "4bf9"} },
			`{"time":"` + came + `","level":"INFO","msg":"request","trace_id":"4bf9","outcome":"ok","duration":0}`,
			`{"time":"2026-08-01T12:00:00.000000005Z","trace_id":"4bf9","decision":"allowed","outcome":"ok","duration_ms":0}`},
		{"refused before anybody is known", func(e *observe.Event) {
			*e = observe.Event{Time: e.Time, Status: 401, Refusal: refusal(mcpauth.ErrWrongIssuer, errors.New("issuer \"x\"\nis none of ours"))}
		},
			`{"time":"` + came + `","level":"INFO","msg":"request","status":401,"outcome":"refused","code":"wrong_issuer","reason":"issuer \"x\"\nis none of ours","duration":0}`,
			`{"time":"2026-08-01T12:00:00.000000005Z","decision":"refused","outcome":"refused","code":"wrong_issuer","reason":"issuer \"x\"\nis none of ours","status":401,"duration_ms":0}`},
		{"refused without cause", func(e *observe.Event) {
			*e = observe.Event{Time: e.Time, Status: 401, Refusal: refusal(mcpauth.ErrMissingCredential, nil)}
		},
			`{"time":"` + came + `","level":"INFO","msg":"request","status":401,"outcome":"refused","code":"missing_credential","reason":"the message","duration":0}`,
			`{"time":"2026-08-01T12:00:00.000000005Z","decision":"refused","outcome":"refused","code":"missing_credential","reason":"the message","status":401,"duration_ms":0}`},
		{"our own trouble is an error", func(e *observe.Event) {
			*e = observe.Event{Time: e.Time, Status: 503, Refusal: refusal(mcpauth.ErrUnavailable, errors.New("connection refused"))}
		},
			`{"time":"` + came + `","level":"ERROR","msg":"request","status":503,"outcome":"refused","code":"unavailable","reason":"connection refused","duration":0}`,
			`{"time":"2026-08-01T12:00:00.000000005Z","decision":"refused","outcome":"refused","code":"unavailable","reason":"connection refused","status":503,"duration_ms":0}`},
		{"a tool that failed is not ours", func(e *observe.Event) { *e = observe.Event{Time: e.Time, Outcome: observe.Failed, Status: 200} },
			`{"time":"` + came + `","level":"INFO","msg":"request","status":200,"outcome":"failed","duration":0}`,
			`{"time":"2026-08-01T12:00:00.000000005Z","decision":"allowed","outcome":"failed","status":200,"duration_ms":0}`},
		{"an outcome left out follows from the status", func(e *observe.Event) { *e = observe.Event{Time: e.Time, Status: 500} },
			`{"time":"` + came + `","level":"INFO","msg":"request","status":500,"outcome":"failed","duration":0}`,
			`{"time":"2026-08-01T12:00:00.000000005Z","decision":"allowed","outcome":"failed","status":500,"duration_ms":0}`},
		{"a client that left during its call", func(e *observe.Event) {
			*e = observe.Event{Time: e.Time, Outcome: observe.Cancelled, Identity: e.Identity}
		},
			`{"time":"` + came + `","level":"DEBUG","msg":"request","user":"user-7","issuer":"https://issuer.example","outcome":"cancelled","duration":0}`,
			`{"time":"2026-08-01T12:00:00.000000005Z","decision":"allowed","outcome":"cancelled","user":"user-7","issuer":"https://issuer.example","duration_ms":0}`},
		{"a client that left before it was known was not let through", func(e *observe.Event) {
			*e = observe.Event{Time: e.Time, Outcome: observe.Cancelled}
		},
			`{"time":"` + came + `","level":"DEBUG","msg":"request","outcome":"cancelled","duration":0}`,
			`{"time":"2026-08-01T12:00:00.000000005Z","decision":"refused","outcome":"cancelled","duration_ms":0}`},
		{"a trouble that is the client's leaving", func(e *observe.Event) {
			*e = observe.Event{Time: e.Time, Outcome: observe.Cancelled, Refusal: refusal(mcpauth.ErrUnavailable, context.Canceled)}
		},
			`{"time":"` + came + `","level":"DEBUG","msg":"request","outcome":"cancelled","code":"unavailable","reason":"context canceled","duration":0}`,
			`{"time":"2026-08-01T12:00:00.000000005Z","decision":"refused","outcome":"cancelled","code":"unavailable","reason":"context canceled","duration_ms":0}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := event(t)
			test.change(&e)
			got := done(t, observe.Config{}, e)
			if got.log != test.log+"\n" {
				t.Errorf("log:\n%swant\n%s", got.log, test.log)
			}
			if got.audit != test.audit+"\n" {
				t.Errorf("audit:\n%swant\n%s", got.audit, test.audit)
			}
		})
	}
}

func TestALevelThatIsOffLeavesTheAuditLogOn(t *testing.T) {
	var log, audit bytes.Buffer
	o := observe.New(observe.Config{Logger: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})), Audit: &audit})
	o.Done(t.Context(), event(t))
	if log.Len() > 0 || strings.Count(audit.String(), "\n") != 1 {
		t.Errorf("log %q, audit %q", &log, &audit)
	}
}

func TestValuesOfStrangersAreBounded(t *testing.T) {
	long := strings.Repeat("x", 127) + "äöü" + strings.Repeat("y", 1000)
	want := strings.Repeat("x", 127) + "…" // the cut would be inside the ä
	for _, test := range []struct {
		name string
		set  func(*observe.Event)
		log  bool // the key is in the log only
	}{
		{"request_id", func(e *observe.Event) { e.RequestID = long }, false},
		{"trace_id", func(e *observe.Event) { e.TraceID = long }, false},
		{"remote", func(e *observe.Event) { e.Remote = long }, false},
		{"http_method", func(e *observe.Event) { e.HTTPMethod = long }, false},
		{"path", func(e *observe.Event) { e.Path = long }, true},
		{"method", func(e *observe.Event) { e.Method = long }, false},
		{"name", func(e *observe.Event) { e.Name = long }, false},
		{"version", func(e *observe.Event) { e.ProtocolVersion = long }, true},
		{"code", func(e *observe.Event) { e.Refusal = refusal(mcpauth.Code(long), nil) }, false},
		{"reason", func(e *observe.Event) { e.Refusal = refusal("x", errors.New(strings.Repeat("z", 384)+long)) }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var e observe.Event
			test.set(&e)
			got := done(t, observe.Config{}, e)
			if test.name == "reason" {
				want = strings.Repeat("z", 384) + want
			}
			member := fmt.Sprintf(`"%s":"%s"`, test.name, want)
			if !strings.Contains(got.log, member) || strings.Contains(got.audit, member) == test.log {
				t.Errorf("log:\n%saudit:\n%s", got.log, got.audit)
			}
		})
	}
}

func TestBytesThatAreNotUTF8DoNotBreakALine(t *testing.T) {
	e := event(t)
	e.Name, e.Path = "a\xffb\n\x00\u2028", "/\x80"+strings.Repeat("\x80", 500)
	got := done(t, observe.Config{}, e)
	if !strings.Contains(got.audit, "\"name\":\"a\ufffdb\\n\\u0000") || strings.Count(got.audit, "\n") != 1 || strings.Count(got.log, "\n") != 1 {
		t.Errorf("audit %q, log %q", got.audit, got.log)
	}
}

// However users are named, a token, claims and the rest of an identity never
// get anywhere; and where users are not named, nothing else tells who it was.
func TestNothingThatIsSecretIsWritten(t *testing.T) {
	opaque := "opaque-credential-canary"
	known := event(t)
	leaking := known
	leaking.Path = "/mcp/" + token
	leaking.Name = "see https://api.example/?access_token=" + token + "&x"
	leaking.Status, leaking.Outcome = 503, observe.Refused
	leaking.Refusal = &mcpauth.Error{Code: mcpauth.ErrUnavailable, Message: "m",
		Cause: &url.Error{Op: "Get", URL: "https://api.example/users/user%2D7?user=user-7&token=" + token, Err: errors.New("for " + token[:40])}}
	scopes := known
	scopes.Outcome = observe.Refused
	scopes.Refusal = refusal(mcpauth.ErrInsufficientScope, fmt.Errorf("user %q of %q lacks a scope; see %v, %+v", "user-7", "https://issuer.example", known.Identity, known.Identity.Token()))
	message := known
	message.Outcome = observe.Refused
	message.Refusal = &mcpauth.Error{Code: mcpauth.ErrRevoked, Message: "user-7 is gone"}
	uri := known
	uri.Method, uri.Name = "resources/read", "notes://user-7/1"
	odd := known
	odd.Method, odd.Name = "made/up", "user-7"
	other := known
	id, err := mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: "https://issuer.example", UserID: "user-7", Token: mcpauth.NewSecret(opaque)})
	if err != nil {
		t.Fatal(err)
	}
	other.Identity, other.Name = id, "x "+opaque+" y"
	unknown := observe.Event{Refusal: refusal(mcpauth.ErrMalformedToken, errors.New("cannot read "+token))}

	secrets := []string{token, "eyJ", "c2lnbmF0dXJlLWNhbmFyeQ", email, "scope-canary", "subject-", opaque}
	who := []string{"user-7", "user%2D7", "issuer.example"}
	for _, test := range []struct {
		form    observe.UserForm
		secrets []string
	}{
		{observe.UserPlain, secrets},
		{observe.UserHashed, append(who, secrets...)},
		{observe.UserOmitted, append(who, secrets...)},
		{observe.UserForm(99), append(who, secrets...)},
	} {
		t.Run(fmt.Sprint("form ", test.form), func(t *testing.T) {
			got := done(t, observe.Config{Users: test.form, HashKey: mcpauth.NewSecret("hash-key-canary")},
				known, leaking, scopes, message, uri, odd, other, unknown)
			if n := strings.Count(got.log, "\n"); n != 8 || strings.Count(got.audit, "\n") != n {
				t.Fatalf("%d lines", n)
			}
			for _, secret := range append(test.secrets, "hash-key-canary") {
				if strings.Contains(got.log, secret) {
					t.Errorf("%q is in the log:\n%s", secret, got.log)
				}
				if strings.Contains(got.audit, secret) {
					t.Errorf("%q is in the audit log:\n%s", secret, got.audit)
				}
			}
			for _, secret := range append(who, secrets...) {
				if strings.Contains(got.metrics, secret) {
					t.Errorf("%q is in the metrics:\n%s", secret, got.metrics)
				}
			}
			if test.form == observe.UserPlain {
				for _, want := range []string{
					`"path":"/mcp/[redacted]"`, `access_token=[redacted]&x"`, `"name":"x [redacted] y"`, `"reason":"cannot read [redacted]"`,
					`"reason":"Get \"https://api.example/users/user%2D7?user=user-7&token=[redacted]\": for [redacted]"`,
				} {
					if !strings.Contains(got.log, want) {
						t.Errorf("%s is not in the log:\n%s", want, got.log)
					}
				}
			} else if !strings.Contains(got.log, `"name":"notes:"`) || !strings.Contains(got.log, `"name":"search"`) {
				t.Errorf("log:\n%s", got.log)
			}
		})
	}
}

func TestHashedUsersCanBeToldApart(t *testing.T) {
	hashOf := func(c observe.Config, id *mcpauth.Identity) string {
		c.Users = observe.UserHashed
		got := done(t, c, observe.Event{Identity: id})
		_, rest, _ := strings.Cut(got.log, `"user":"`)
		user, _, _ := strings.Cut(rest, `"`)
		if !strings.Contains(got.audit, `"user":"`+user+`"`) {
			t.Errorf("log and audit log differ:\n%s%s", got.log, got.audit)
		}
		return user
	}
	key := observe.Config{HashKey: mcpauth.NewSecret("0123456789abcdef0123456789abcdef")}
	a, b := identity(t, "a"), identity(t, "b")
	// HMAC-SHA256 of "https://issuer.example\x00a", first 16 bytes.
	if got, want := hashOf(key, a), "56385cef7a116da99187a723c2871bee"; got != want {
		t.Errorf("hash = %q, want %q", got, want)
	}
	if hashOf(key, a) != hashOf(key, identity(t, "a")) || hashOf(key, a) == hashOf(key, b) {
		t.Error("a hash is not that of its user")
	}
	one, two := hashOf(observe.Config{}, a), hashOf(observe.Config{}, a)
	if one == two || len(one) != 32 {
		t.Errorf("without a key, two observers say %q and %q", one, two)
	}
}

func TestReasonsWhereUsersAreNotNamed(t *testing.T) {
	for _, test := range []struct {
		name  string
		cause error
		want  string
	}{
		{"none", nil, ""},
		{"unknown", errors.New("alice"), ""},
		{"cancelled", fmt.Errorf("alice: %w", context.Canceled), "cancelled"},
		{"deadline", fmt.Errorf("alice: %w", context.DeadlineExceeded), "timeout"},
		{"timeout of the network", &url.Error{Op: "Get", URL: "https://x/alice", Err: &net.OpError{Op: "dial", Err: syscall.ETIMEDOUT}}, "timeout"},
		{"connection refused", &url.Error{Op: "Get", URL: "https://x/alice", Err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}, "connection refused"},
		{"a name", &net.DNSError{Err: "no such host", Name: "alice.example"}, "host name not resolved"},
		{"a file", &fs.PathError{Op: "open", Path: "/home/alice", Err: fs.ErrNotExist}, "file does not exist"},
		{"an end", fmt.Errorf("alice: %w", fmt.Errorf("%w", io.ErrUnexpectedEOF)), "unexpected end of data"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := done(t, observe.Config{Users: observe.UserOmitted}, observe.Event{Refusal: refusal(mcpauth.ErrUnavailable, test.cause)})
			if has := strings.Contains(got.audit, `"reason":"`+test.want+`"`); has != (test.want != "") || strings.Contains(got.audit, "alice") || strings.Contains(got.audit, `"reason":""`) {
				t.Errorf("audit = %s", got.audit)
			}
		})
	}
}

func TestTimeLeftOutIsNow(t *testing.T) {
	before := time.Now().UTC().Format("2006-01-02T15:04")
	got := done(t, observe.Config{}, observe.Event{})
	after := time.Now().UTC().Format("2006-01-02T15:04")
	if !strings.HasPrefix(got.audit, `{"time":"`+before) && !strings.HasPrefix(got.audit, `{"time":"`+after) {
		t.Errorf("audit = %s", got.audit)
	}
}

// docs/operations.md says how to find a user's lines.
func TestHashAsDocumented(t *testing.T) {
	id, err := mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: "https://issuer.example.com", UserID: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	var audit strings.Builder
	o := observe.New(observe.Config{Logger: slog.New(slog.DiscardHandler), Users: observe.UserHashed, HashKey: mcpauth.NewSecret("0123456789abcdef0123456789abcdef"), Audit: &audit})
	o.Done(t.Context(), observe.Event{Identity: id})
	if !strings.Contains(audit.String(), `"user":"7d6b1a3c8fadda29e9b603a418369062"`) {
		t.Errorf("audit = %s", audit.String())
	}
}
