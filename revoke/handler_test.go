package revoke_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth/revoke"
)

// call sends a request to the list's handler.
func call(l *revoke.List, method, target, contentType, body string) (int, string) {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	w := httptest.NewRecorder()
	l.Handler().ServeHTTP(w, r)
	return w.Code, strings.TrimSpace(w.Body.String())
}

func TestHandlerRevokesListsAndLifts(t *testing.T) {
	l := open(t, revoke.Config{File: path(t), Lifetime: lifetime(time.Hour)})
	for _, body := range []string{
		`{"kind":"token","issuer":"` + issuer + `","token_id":"t\u0031","reason":"leaked <1>"}`,
		`{"kind":"session","issuer":"` + issuer + `","session_id":"s1"}`,
		`{"kind":"user","issuer":"` + issuer + `","user_id":"alice"}`,
		`{"kind":"user","issuer":"` + issuer + `","user_id":"bob","before":"` + time.Now().Add(-time.Minute).Format(time.RFC3339) + `"}`,
		`{"kind":"block","issuer":"` + issuer + `","user_id":"carol & co"}`,
	} {
		status, answer := call(l, "POST", "/revocations", "application/json; charset=utf-8", body)
		var e revoke.Entry
		if err := json.Unmarshal([]byte(answer), &e); err != nil || status != 200 || !e.Saved || e.At.IsZero() || e.Until.IsZero() != (e.Kind == revoke.Block) {
			t.Fatalf("%s: %d %s", body, status, answer)
		}
	}
	isRevoked(t, l, true, of("", "t1", ""))
	isRevoked(t, l, true, of("carol & co", "", ""))

	status, answer := call(l, "GET", "/revocations?kind=token&limit=1", "", "")
	var page revoke.Page
	if err := json.Unmarshal([]byte(answer), &page); err != nil || status != 200 || len(page.Revocations) != 1 || page.Revocations[0].Reason != "leaked <1>" {
		t.Fatalf("%d %s", status, answer)
	}
	if status, answer := call(l, "GET", "/revocations?user_id=nobody&issuer=x", "", ""); status != 200 || answer != `{"revocations":[]}` {
		t.Fatalf("%d %s", status, answer)
	}
	if status, answer := call(l, "DELETE", "/blocks?issuer="+issuer+"&user_id=carol+%26+co", "", ""); status != 204 || answer != "" {
		t.Fatalf("%d %s", status, answer)
	}
	isRevoked(t, l, false, of("carol & co", "", ""))
}

func TestHandlerRefuses(t *testing.T) {
	var log strings.Builder
	l, err := revoke.Open(revoke.Config{Lifetime: func(name string) (time.Duration, bool) { return 0, name == issuer }, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const good = `"kind":"block","issuer":"` + issuer + `","user_id":"alice"`
	const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"
	for _, test := range []struct {
		name, body, field string
	}{
		{"nothing", ``, ""},
		{"null", `null`, ""},
		{"an array", `[{` + good + `}]`, ""},
		{"two objects", `{` + good + `}{}`, ""},
		{"no end", `{` + good, ""},
		{"a form", `kind=block`, ""},
		{"an empty object", `{}`, "kind"},
		{"a name twice", `{` + good + `,"user_id":"bob"}`, ""},
		{"a name in capitals", `{` + good + `,"USER_ID":"bob"}`, ""},
		{"an unknown member", `{` + good + `,"until":"2030-01-01T00:00:00Z"}`, ""},
		{"a number for a string", `{"kind":"block","issuer":"` + issuer + `","user_id":7}`, "user_id"},
		{"null for a string", `{"kind":"block","issuer":null,"user_id":"alice"}`, "issuer"},
		{"an object for a string", `{"kind":{"kind":"block"}}`, "kind"},
		{"invalid UTF-8", "{" + good + ",\"reason\":\"\xff\"}", ""},
		{"half a surrogate", `{` + good + `,"reason":"\ud800"}`, ""},
		{"a control character", `{` + good + `,"reason":"a\u0000b"}`, "reason"},
		{"much depth", strings.Repeat(`{"kind":`, 10_000), ""},
		{"seconds for a time", `{"kind":"user","issuer":"` + issuer + `","user_id":"alice","before":1700000000}`, "before"},
		{"a date for a time", `{"kind":"user","issuer":"` + issuer + `","user_id":"alice","before":"2026-01-01"}`, "before"},
		{"the zero time, which would mean now", `{"kind":"user","issuer":"` + issuer + `","user_id":"alice","before":"0001-01-01T00:00:00Z"}`, "before"},
		{"an unknown issuer", `{"kind":"block","issuer":"` + other + `","user_id":"alice"}`, "issuer"},
		{"a whole token", `{"kind":"token","issuer":"` + issuer + `","token_id":"` + jwt + `"}`, "token_id"},
		{"a whole token as kind", `{"kind":"` + jwt + `"}`, "kind"},
		{"a whole token as a name", `{"` + jwt + `":""}`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, answer := call(l, "POST", "/revocations", "application/json", test.body)
			var p map[string]string
			if err := json.Unmarshal([]byte(answer), &p); err != nil || status != 400 || p["error"] != "invalid_request" || p["error_description"] == "" || p["field"] != test.field {
				t.Fatalf("%d %s", status, answer)
			}
			if strings.Contains(answer, "eyJ") || strings.Contains(log.String(), "eyJ") {
				t.Fatalf("a token is quoted: %s", answer)
			}
		})
	}
	for _, test := range []struct {
		name, method, target, contentType, body string
		status                                  int
		in                                      string
	}{
		{"a form", "POST", "/revocations", "application/x-www-form-urlencoded", `{` + good + `}`, 415, "Content-Type"},
		{"text, as a page may send", "POST", "/revocations", "text/plain", `{` + good + `}`, 415, "Content-Type"},
		{"no type", "POST", "/revocations", "", `{` + good + `}`, 415, "Content-Type"},
		{"a query beside the body", "POST", "/revocations?kind=block", "application/json", `{` + good + `}`, 400, "query"},
		{"too much", "POST", "/revocations", "application/json", `{"reason":"` + strings.Repeat("a", 300<<10) + `"}`, 413, "longer"},
		{"another path", "POST", "/revocations/", "application/json", `{` + good + `}`, 404, ""},
		{"another method", "PUT", "/revocations", "application/json", `{` + good + `}`, 405, ""},
		{"GET of blocks", "GET", "/blocks", "", "", 405, ""},
		{"an unknown parameter", "GET", "/revocations?user=alice", "", "", 400, "not known"},
		{"a parameter twice", "GET", "/revocations?kind=block&kind=token", "", "", 400, `"field":"kind"`},
		{"an empty parameter", "GET", "/revocations?issuer=", "", "", 400, `"field":"issuer"`},
		{"a malformed query", "GET", "/revocations?kind=%zz", "", "", 400, "malformed"},
		{"a semicolon", "GET", "/revocations?kind=a;limit=1", "", "", 400, "malformed"},
		{"no limit", "GET", "/revocations?limit=0", "", "", 400, `"field":"limit"`},
		{"a great limit", "GET", "/revocations?limit=1001", "", "", 400, `"field":"limit"`},
		{"a limit beyond numbers", "GET", "/revocations?limit=99999999999999999999", "", "", 400, `"field":"limit"`},
		{"a made-up page", "GET", "/revocations?after=eA", "", "", 400, `"field":"after"`},
		{"lift without a user", "DELETE", "/blocks?issuer=" + issuer, "", "", 400, `"field":"user_id"`},
		{"lift without an issuer", "DELETE", "/blocks?user_id=alice", "", "", 400, `"field":"issuer"`},
		{"lift of nothing", "DELETE", "/blocks?user_id=alice&issuer=" + issuer, "", "", 404, "not_blocked"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if status, answer := call(l, test.method, test.target, test.contentType, test.body); status != test.status || !strings.Contains(answer, test.in) {
				t.Fatalf("%d %s", status, answer)
			}
		})
	}
	if l.Len() != 0 {
		t.Fatalf("%d entries", l.Len())
	}
}

func TestHandlerSaysWhatIsNotInForceOrNotSaved(t *testing.T) {
	l := open(t, revoke.Config{File: path(t), MaxEntries: 2})
	put(t, l, block("alice"))
	c := client(t, l.Handler())
	ctx := t.Context()

	release := revoke.Stall(l)
	serve := func(method, target, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(waitsForNothing(), method, target, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		l.Handler().ServeHTTP(w, r)
		return w
	}
	w := serve("POST", "/revocations", `{"kind":"block","issuer":"`+issuer+`","user_id":"bob"}`)
	if w.Code != 503 || w.Header().Get("Retry-After") != "5" || !strings.Contains(w.Body.String(), "is effective") {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	isRevoked(t, l, true, of("bob", "", ""))
	w = serve("DELETE", "/blocks?user_id=alice&issuer="+issuer, "")
	if w.Code != 503 || !strings.Contains(w.Body.String(), "the block stays") {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	isRevoked(t, l, true, of("alice", "", ""))
	release()

	put(t, l, block("alice"), block("bob")) // after the lift, whose request is still there
	_, err := c.Revoke(ctx, tokenOf("t1"))
	var remote *revoke.RemoteError
	if !errors.Is(err, revoke.ErrFull) || !errors.As(err, &remote) || remote.Status != 507 {
		t.Fatal(err)
	}
	shut(t, l)
	if _, err := c.Revoke(ctx, block("bob")); !errors.Is(err, revoke.ErrClosed) {
		t.Fatal(err)
	}
}

func client(t *testing.T, h http.Handler) *revoke.Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return &revoke.Client{URL: server.URL + "/", HTTP: server.Client()}
}

func TestClient(t *testing.T) {
	l := open(t, revoke.Config{File: path(t), Lifetime: func(name string) (time.Duration, bool) { return time.Hour, name == issuer }})
	c := client(t, l.Handler())
	at := time.Now().Add(-time.Minute)
	for _, r := range []revoke.Revocation{
		tokenOf("t&1"), session("s/1"), block("alice é"), user("bob"),
		{Kind: revoke.User, Issuer: issuer, UserID: "carol", Before: at, Reason: "why"},
	} {
		e, err := c.Revoke(t.Context(), r)
		if err != nil || !e.Saved || e.Kind != r.Kind || e.UserID != r.UserID || e.TokenID != r.TokenID || e.SessionID != r.SessionID {
			t.Fatal(e, err)
		}
	}
	isRevoked(t, l, true, of("", "t&1", ""))
	isRevoked(t, l, true, of("alice é", "", ""))
	n := 0
	for q := (revoke.Query{Limit: 2}); ; {
		page, err := c.Page(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		n += len(page.Revocations)
		if q.After = page.Next; q.After == "" {
			break
		}
	}
	if n != 5 {
		t.Fatalf("%d entries", n)
	}
	page, err := c.Page(t.Context(), revoke.Query{Issuer: issuer, UserID: "carol"})
	if err != nil || len(page.Revocations) != 1 || !page.Revocations[0].Before.Equal(at.Truncate(time.Microsecond)) || page.Revocations[0].Reason != "why" {
		t.Fatal(page, err)
	}
	if err := c.Lift(t.Context(), issuer, "alice é"); err != nil {
		t.Fatal(err)
	}
	if err := c.Lift(t.Context(), issuer, "alice é"); !errors.Is(err, revoke.ErrNotBlocked) {
		t.Fatal(err)
	}
	var remote *revoke.RemoteError
	if _, err := c.Revoke(t.Context(), revoke.Revocation{Kind: revoke.Block, Issuer: other, UserID: "a"}); !errors.As(err, &remote) || remote.Field != "issuer" || remote.Status != 400 {
		t.Fatal(err)
	}
}

func TestClientOverASocketWithAToken(t *testing.T) {
	dir := t.TempDir()
	socket, file := filepath.Join(dir, "admin.sock"), filepath.Join(dir, "token")
	l := open(t, revoke.Config{})
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("Authorization") {
		case "Bearer a-token-of-some-length":
			l.Handler().ServeHTTP(w, r)
		case "Bearer follow":
			http.Redirect(w, r, "http://elsewhere.example.com/", http.StatusTemporaryRedirect)
		default:
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, "no")
		}
	})}
	go server.Serve(listener)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(func() { transport.CloseIdleConnections(); server.Close() })
	c := &revoke.Client{URL: "http://admin", HTTP: &http.Client{Transport: transport}, TokenFile: file}
	for _, test := range []struct {
		token  string
		status int // 0: nothing is sent
	}{
		{"a-token-of-some-length", 200}, {"a-token-of-some-length\n", 200}, {"a-token-of-some-length\r\n", 200},
		{"another", 401}, {"follow", 307}, {"", 0}, {"two\nlines", 0}, {"sécret", 0},
	} {
		if err := os.WriteFile(file, []byte(test.token), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := c.Revoke(t.Context(), tokenOf("t1"))
		var remote *revoke.RemoteError
		if errors.As(err, &remote); (err == nil) != (test.status == 200) || err != nil && (remote == nil) != (test.status == 0) || remote != nil && remote.Status != test.status {
			t.Errorf("%q: %v", test.token, err)
		}
		if err != nil && test.token != "" && strings.Contains(err.Error(), test.token) {
			t.Errorf("the token is quoted: %v", err)
		}
	}
	c.TokenFile = filepath.Join(dir, "missing")
	if _, err := c.Page(t.Context(), revoke.Query{}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func FuzzHandler(f *testing.F) {
	for _, seed := range []string{
		`{"kind":"token","issuer":"i","token_id":"t"}`, `{"kind":"user","issuer":"i","user_id":"u","before":"2026-01-01T00:00:00Z","reason":"r"}`,
		`{"kind":"session","issuer":"i","session_id":"s"}`, `{"kind":"block","issuer":"i","user_id":"\u00e9"}`, `{}`, `[]`, `{"kind":"block","kind":"token"}`,
	} {
		f.Add(seed)
	}
	l := open(f, revoke.Config{MaxEntries: 1 << 30})
	f.Fuzz(func(t *testing.T, body string) {
		n := l.Len()
		status, answer := call(l, "POST", "/revocations", "application/json", body)
		switch status {
		case 200:
			var e revoke.Entry
			if err := json.Unmarshal([]byte(answer), &e); err != nil {
				t.Fatal(err)
			}
			// What is said to be revoked is, and is on the list by that name.
			by := of(e.UserID, e.TokenID, e.SessionID)
			if by.Issuer = e.Issuer; e.Kind == revoke.User {
				by.IssuedAt = e.Before
			}
			isRevoked(t, l, true, by)
			again, err := json.Marshal(e.Revocation)
			if err != nil {
				t.Fatal(err)
			}
			n = l.Len()
			if status, answer := call(l, "POST", "/revocations", "application/json", string(again)); status != 200 || l.Len() != n {
				t.Fatalf("again: %d %s", status, answer)
			}
		case 400, 413:
			var p map[string]string
			if err := json.Unmarshal([]byte(answer), &p); err != nil || p["error"] != "invalid_request" || l.Len() != n {
				t.Fatalf("%s: %v, %d entries after %d", answer, err, l.Len(), n)
			}
		default:
			t.Fatalf("%d %s", status, answer)
		}
	})
}

func ExampleClient() {
	list, err := revoke.Open(revoke.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer list.Close()
	server := httptest.NewServer(list.Handler()) // in earnest: the listener of administration
	defer server.Close()

	client := &revoke.Client{URL: server.URL}
	ctx := context.Background()
	_, err = client.Revoke(ctx, revoke.Revocation{Kind: revoke.Block, Issuer: "https://issuer.example.com", UserID: "alice", Reason: "left the company"})
	fmt.Println(err)
	page, err := client.Page(ctx, revoke.Query{Kind: revoke.Block})
	fmt.Println(page.Revocations[0].UserID, page.Revocations[0].Reason, err)
	fmt.Println(client.Lift(ctx, "https://issuer.example.com", "bob"))
	// Output:
	// <nil>
	// alice left the company <nil>
	// revoke: not_blocked: the user is not blocked
}
