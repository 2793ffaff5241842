package outbound_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpauth-go/mcpauth/internal/outbound"
)

const secret = "canary-secret"

func request(t *testing.T, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+secret)
	return r
}

func TestAnswers(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	defer elsewhere.Close()
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/large":
			w.Write(make([]byte, 101))
		case "/full":
			w.Write(make([]byte, 100))
		case "/away":
			http.Redirect(w, r, elsewhere.URL+"/"+secret, http.StatusTemporaryRedirect)
		case "/here":
			http.Redirect(w, r, "/full", http.StatusFound)
		case "/hangs":
			<-release
		case "/cut":
			w.Header().Set("Content-Length", "100")
			w.Write(make([]byte, 10))
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	defer close(release)
	client := outbound.NewClient(outbound.ClientConfig{Timeout: 3 * time.Second, MaxBody: 100})
	defer client.Close()
	for _, test := range []struct {
		path string
		want any // a status, an error, or a part of its text
	}{
		{"/full", 200},
		{"/none", 404},
		{"/large", outbound.ErrTooLarge},
		{"/away", outbound.ErrRedirect},
		{"/here", outbound.ErrRedirect},
		{"/hangs", "deadline exceeded"},
		{"/cut", "unexpected EOF"},
	} {
		answer, err := client.Do(request(t, server.URL+test.path+"?key="+secret))
		switch want := test.want.(type) {
		case int:
			if err != nil || answer.Status != want {
				t.Errorf("%s: %v, %v, want status %d", test.path, answer, err, want)
			}
		case error:
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", test.path, err, want)
			}
		case string:
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", test.path, err, want)
			}
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error has the secret: %v", test.path, err)
		}
	}
}

func TestPlacesThatAreNotAsked(t *testing.T) {
	client := outbound.NewClient(outbound.ClientConfig{Timeout: 10 * time.Second, MaxBody: 100, PlainHTTPHosts: []string{"plain.example"}})
	for _, test := range []struct{ url, want string }{
		{"http://platform.example/", "neither loopback nor"},
		{"ftp://platform.example/", "not https"},
		{"https://user:" + secret + "@platform.example/", "user name or password"},
		{"https://169.254.169.254/", "link-local"},
		{"https://[::ffff:169.254.169.254]/", "link-local"},
		{"https://[64:ff9b::a9fe:a9fe]/", "link-local"},
	} {
		_, err := client.Do(request(t, test.url))
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v, want %q", test.url, err, test.want)
		}
	}
}

// A document must not lead into the network of the server that reads it, by a
// name or by an address, except back to where the operator has sent it.
func TestURLsOfDocumentsLeadToPublicAddresses(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	own := strings.TrimPrefix(server.URL, "http://")
	client := outbound.NewClient(outbound.ClientConfig{Timeout: 10 * time.Second, MaxBody: 100, Found: true, PrivateHosts: []string{own}})
	defer client.Close()
	for _, url := range []string{"http://127.0.0.1:1/", "https://127.0.0.1:1/", "https://localhost:1/", "https://10.0.0.1/", "https://[::ffff:10.0.0.1]/"} {
		if _, err := client.Do(request(t, url)); !errors.Is(err, outbound.ErrNotPublic) {
			t.Errorf("%s: %v, want %v", url, err, outbound.ErrNotPublic)
		}
	}
	if answer, err := client.Do(request(t, server.URL)); err != nil || answer.Status != http.StatusOK {
		t.Errorf("the operator's own: %v, %v", answer, err)
	}
}

func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
		for value, want := range map[string]time.Duration{
			"": 0, "0": 0, "30": 30 * time.Second, "2147483647": (1<<31 - 1) * time.Second,
			"2147483648": 0, "-1": 0, "1.5": 0, "+1": 0, "1e3": 0, " 1": 0, "soon": 0,
			in(time.Minute): time.Minute, in(-time.Minute): 0,
		} {
			a := outbound.Answer{Header: http.Header{"Retry-After": {value}}}
			if got := a.RetryAfter(); got != want {
				t.Errorf("%q: %s, want %s", value, got, want)
			}
		}
		if got := (&outbound.Answer{}).RetryAfter(); got != 0 {
			t.Errorf("without the header: %s", got)
		}
	})
}
