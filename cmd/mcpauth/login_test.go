package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// newLoginServer is an authorization server whose user is always logged in, and
// whose tokens live for expires seconds.
func newLoginServer(t *testing.T, expires int) *httptest.Server {
	t.Helper()
	tokens := 0
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]string{"issuer": server.URL, "authorization_endpoint": server.URL + "/auth", "token_endpoint": server.URL + "/token"})
	})
	mux.HandleFunc("GET /auth", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		http.Redirect(w, r, q.Get("redirect_uri")+"?"+url.Values{"code": {"c"}, "state": q["state"]}.Encode(), http.StatusFound)
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("grant_type") == "refresh_token" && r.FormValue("refresh_token") != fmt.Sprint("canary-refresh-", tokens) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":"invalid_grant"}`)
			return
		}
		tokens++
		fmt.Fprintf(w, `{"access_token":"canary-access-%d","refresh_token":"canary-refresh-%[1]d","token_type":"Bearer","expires_in":%d}`, tokens, expires)
	})
	return server
}

// logIn runs mcpauth login, with a browser that opens what is printed.
func logIn(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	reader, writer := io.Pipe()
	var printed, stderr bytes.Buffer
	done := make(chan int)
	go func() {
		code := run(context.Background(), append([]string{"login", "--no-browser", "--timeout", "20s"}, args...), streams{strings.NewReader(""), writer, &stderr})
		writer.Close()
		done <- code
	}()
	lines := bufio.NewScanner(reader)
	for lines.Scan() {
		printed.WriteString(lines.Text() + "\n")
		if shown := strings.TrimSpace(lines.Text()); strings.HasPrefix(shown, "http") {
			client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			resp, err := client.Get(shown)
			if err != nil {
				t.Error(err)
				continue
			}
			resp.Body.Close()
		}
	}
	return <-done, printed.String(), stderr.String()
}

func TestLoginAndTokenPrint(t *testing.T) {
	home := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", home)
	t.Setenv("HOME", home)
	t.Setenv(loginKeyVariable, "")
	server := newLoginServer(t, 3600)
	flags := []string{"--issuer", server.URL, "--client-id", "tool"}
	printing := append([]string{"token", "print"}, flags...)

	if code, out, errs := cli("", printing...); code != 1 || out != "" || !strings.Contains(errs, "not logged in") || !strings.Contains(errs, "mcpauth login --issuer") {
		t.Errorf("before the login: exit %d, %q, %q", code, out, errs)
	}
	code, out, errs := logIn(t, append(flags, "--scope", "notes:read offline_access")...)
	if code != 0 || !strings.Contains(out, "Logged in.") || !strings.Contains(out, "scope=notes%3Aread+offline_access") || strings.Contains(out+errs, "canary") {
		t.Fatalf("exit %d, %q, %q", code, out, errs)
	}
	for range 2 {
		if code, out, errs := cli("", printing...); code != 0 || out != "canary-access-1\n" || errs != "" {
			t.Errorf("exit %d, %q, %q", code, out, errs)
		}
	}
	// Another resource is another login.
	more := []string{"--resource", "https://mcp.example.com/mcp?a=1", "--store", filepath.Join(home, "it's here"), "--key-file", filepath.Join(home, "key"), "--plain-http-host", "a.example", "--plain-http-host", "b.example"}
	want := "run: mcpauth login --issuer " + server.URL + " --client-id tool --resource 'https://mcp.example.com/mcp?a=1' --store '" + home + `/it'\''s here' --key-file ` + home + "/key --plain-http-host a.example --plain-http-host b.example\n"
	if code, _, errs := cli("", append(printing, more...)...); code != 1 || !strings.HasSuffix(errs, want) {
		t.Errorf("exit %d, %q", code, errs)
	}
	files, _ := filepath.Glob(filepath.Join(home, "mcpauth", "*"))
	if len(files) == 0 {
		files, _ = filepath.Glob(filepath.Join(home, "*", "*", "mcpauth", "*")) // macOS
	}
	for _, file := range files {
		text, _ := os.ReadFile(file)
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 || bytes.Contains(text, []byte("canary")) {
			t.Errorf("%s: %v, %q", file, info.Mode(), text)
		}
	}
	if len(files) < 3 { // key, store, lock
		t.Errorf("files: %v", files)
	}
}

func TestTokenPrintRefreshes(t *testing.T) {
	server := newLoginServer(t, 30) // less than is to remain
	dir := t.TempDir()
	t.Setenv(loginKeyVariable, strings.Repeat("ab", 32))
	flags := []string{"--issuer", server.URL, "--client-id", "tool", "--store", filepath.Join(dir, "store")}
	if code, out, errs := logIn(t, flags...); code != 0 {
		t.Fatalf("exit %d, %q, %q", code, out, errs)
	}
	for i := range 3 {
		if code, out, errs := cli("", append([]string{"token", "print"}, flags...)...); code != 0 || out != fmt.Sprintf("canary-access-%d\n", i+2) || errs != "" {
			t.Errorf("exit %d, %q, %q", code, out, errs)
		}
	}
	t.Setenv(loginKeyVariable, strings.Repeat("cd", 32))
	if code, out, errs := cli("", append([]string{"token", "print"}, flags...)...); code != 1 || out != "" || !strings.Contains(errs, "of another key") {
		t.Errorf("with another key: exit %d, %q, %q", code, out, errs)
	}
}

func TestLoginIsToldWhatItNeeds(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	for _, test := range []struct {
		name, key string
		args      []string
		want      string
	}{
		{"no issuer", "", []string{"--client-id", "c"}, "--issuer"},
		{"scopes with a comma", strings.Repeat("ab", 32), []string{"--issuer", "http://issuer.example", "--client-id", "c", "--store", store, "--plain-http-host", "issuer.example", "--scope", "a,b"}, "scopes are separated by spaces"},
		{"plain http", strings.Repeat("ab", 32), []string{"--issuer", "http://issuer.example", "--client-id", "c", "--store", store}, "neither loopback nor"},
		{"a key that is none", "canary-key", []string{"--issuer", "https://issuer.example", "--client-id", "c", "--store", store}, loginKeyVariable},
		{"no secret", strings.Repeat("ab", 32), []string{"--issuer", "https://issuer.example", "--client-id", "c", "--store", store, "--client-secret-env", "canary"}, "--client-secret-env"},
	} {
		t.Setenv(loginKeyVariable, test.key)
		for _, command := range [][]string{{"login", "--no-browser"}, {"token", "print"}} {
			if command[0] == "token" && strings.Contains(test.want, "scopes") {
				continue // which has no --scope
			}
			code, out, errs := cli("", append(command, test.args...)...)
			if code != 2 || out != "" || !strings.Contains(errs, test.want) || strings.Contains(errs, "canary") {
				t.Errorf("%s, %v: exit %d, %q, %q", test.name, command, code, out, errs)
			}
		}
	}
}
