package credential_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth/credential"
)

func TestHandlerIsStrict(t *testing.T) {
	s := &source{}
	r := resolver(t, credential.Config{Source: s})
	const good = `{"issuer":"https://issuer.example.com","user_id":"alice"}`
	for _, test := range []struct {
		name, method, target, kind, body string
		status                           int
		says                             string
	}{
		{"everything of a user", "POST", "", "application/json", good, 200, `{"issuer":"https://issuer.example.com","user_id":"alice","forgotten":1}` + "\n"},
		{"one type of resource", "POST", "", "application/json; charset=utf-8", `{"issuer":"https://issuer.example.com","user_id":"alice","resource":"github"}`, 200, `"resource":"github","forgotten":1}`},
		{"of nobody", "POST", "", "application/json", `{"issuer":"https://issuer.example.com","user_id":"zoe"}`, 200, `"forgotten":0}`},
		{"a form of a page", "POST", "", "text/plain", good, 415, "invalid_request"},
		{"no type", "POST", "", "", good, 415, "invalid_request"},
		{"no issuer", "POST", "", "application/json", `{"user_id":"alice"}`, 400, "issuer: missing"},
		{"no user", "POST", "", "application/json", `{"issuer":"x"}`, 400, "user_id: missing"},
		{"an empty resource", "POST", "", "application/json", `{"issuer":"x","user_id":"alice","resource":""}`, 400, "resource: not a string, or empty"},
		{"a number", "POST", "", "application/json", `{"issuer":"x","user_id":1}`, 400, "user_id: not a string, or empty"},
		{"another member", "POST", "", "application/json", `{"issuer":"x","user_id":"alice","all":true}`, 400, "a member that is not known"},
		{"a name twice", "POST", "", "application/json", `{"issuer":"x","user_id":"alice","user_id":"bob"}`, 400, "the same name twice"},
		{"an array", "POST", "", "application/json", `[]`, 400, "not a JSON object"},
		{"nothing", "POST", "", "application/json", "", 400, "invalid_request"},
		{"a query", "POST", "?user_id=bob", "application/json", good, 400, "a query"},
		{"too large", "POST", "", "application/json", strings.Repeat(" ", 64<<10+1), 413, "invalid_request"},
		{"another method", "GET", "", "application/json", "", 405, ""},
		{"another path", "POST", "/x", "application/json", good, 404, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			gets(t, r, user(t, "alice"), "credential-of-alice-for-github")
			request := httptest.NewRequest(test.method, "/credentials/invalidate"+test.target, strings.NewReader(test.body))
			if test.kind != "" {
				request.Header.Set("Content-Type", test.kind)
			}
			w := httptest.NewRecorder()
			r.Handler().ServeHTTP(w, request)
			if w.Code != test.status || !strings.Contains(w.Body.String(), test.says) || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%d, %s", w.Code, w.Body)
			}
		})
	}
}

func TestClient(t *testing.T) {
	r := resolver(t, credential.Config{Source: &source{}})
	tokenFile := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(tokenFile, []byte("administrators\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch req.Header.Get("Authorization") {
		case "Bearer administrators":
			r.Handler().ServeHTTP(w, req)
		case "":
			http.Redirect(w, req, "/elsewhere", http.StatusTemporaryRedirect)
		default:
			io.WriteString(w, "<html>")
		}
	}))
	defer server.Close()
	gets(t, r, user(t, "alice"), "credential-of-alice-for-github")
	client := &credential.Client{URL: server.URL + "/", TokenFile: tokenFile}
	for _, want := range []int{1, 0} {
		if n, err := client.Invalidate(t.Context(), issuer, "alice", "github"); n != want || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	var remote *credential.RemoteError
	if _, err := client.Invalidate(t.Context(), issuer, "", ""); !errors.As(err, &remote) || remote.Status != 400 || remote.Code != "invalid_request" {
		t.Errorf("%v", err)
	}
	client.TokenFile = ""
	if _, err := client.Invalidate(t.Context(), issuer, "alice", ""); !errors.As(err, &remote) || remote.Status != http.StatusTemporaryRedirect {
		t.Errorf("a redirect: %v", err)
	}
	client.TokenFile = filepath.Join(t.TempDir(), "none")
	if _, err := client.Invalidate(t.Context(), issuer, "alice", ""); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(tokenFile, []byte("can ary"), 0o600); err != nil {
		t.Fatal(err)
	}
	client.TokenFile = tokenFile
	if _, err := client.Invalidate(t.Context(), issuer, "alice", ""); err == nil || strings.Contains(err.Error(), "ary") {
		t.Errorf("no token: %v", err)
	}
}
