package clientauth_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/clientauth"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

const endpoint = "https://as.example/introspect?tenant=1"

func newClient(t *testing.T, c clientauth.Config) *clientauth.Client {
	t.Helper()
	client, faults := clientauth.New("Client", c)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return client
}

func sent(t *testing.T, c clientauth.Config) (*http.Request, url.Values) {
	t.Helper()
	r, err := newClient(t, c).NewRequest(t.Context(), endpoint, url.Values{"token": {"t"}})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		t.Fatal(err)
	}
	if r.Method != "POST" || r.URL.String() != endpoint || r.ContentLength != int64(len(body)) ||
		r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || form.Get("token") != "t" {
		t.Errorf("the request is %s %s %v %q", r.Method, r.URL, r.Header, body)
	}
	return r, form
}

func TestSecretInTheHeaderIsFormEncodedFirst(t *testing.T) {
	r, form := sent(t, clientauth.Config{ClientID: "a:b c", Secret: mcpauth.NewSecret("p%q+&ü")})
	id, secret, ok := r.BasicAuth()
	if !ok || id != "a%3Ab+c" || secret != "p%25q%2B%26%C3%BC" {
		t.Errorf("%q, %q, %v", id, secret, ok)
	}
	if len(form) != 1 {
		t.Errorf("the form is %v", form)
	}
}

func TestSecretInTheForm(t *testing.T) {
	r, form := sent(t, clientauth.Config{ClientID: "me", Method: clientauth.SecretPost, Secret: mcpauth.NewSecret("s+e")})
	if form.Get("client_id") != "me" || form.Get("client_secret") != "s+e" || r.Header.Get("Authorization") != "" {
		t.Errorf("%v, %v", form, r.Header)
	}
}

func TestBearerToken(t *testing.T) {
	r, form := sent(t, clientauth.Config{Method: clientauth.Bearer, Secret: mcpauth.NewSecret("abc-._~+/==")})
	if r.Header.Get("Authorization") != "Bearer abc-._~+/==" || len(form) != 1 {
		t.Errorf("%v, %v", r.Header, form)
	}
}

func TestPublicClient(t *testing.T) {
	r, form := sent(t, clientauth.Config{ClientID: "me", Method: clientauth.None})
	if form.Get("client_id") != "me" || len(form) != 2 || r.Header.Get("Authorization") != "" {
		t.Errorf("%v, %v", r.Header, form)
	}
}

func TestAssertion(t *testing.T) {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	seen := map[string]bool{}
	for _, audience := range []string{"", "https://as.example"} {
		_, form := sent(t, clientauth.Config{ClientID: "me", Key: key, KeyID: "k1", Audience: audience})
		if form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || form.Get("client_id") != "me" || form.Has("client_secret") {
			t.Errorf("the form is %v", form)
		}
		claims := jwt.MapClaims{}
		token, err := jwt.ParseWithClaims(form.Get("client_assertion"), claims, func(*jwt.Token) (any, error) { return key.Public(), nil },
			jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuer("me"), jwt.WithSubject("me"), jwt.WithIssuedAt(), jwt.WithExpirationRequired())
		if err != nil || token.Header["kid"] != "k1" {
			t.Fatalf("%v, %v", token, err)
		}
		want := audience
		if want == "" {
			want = endpoint
		}
		if claims["aud"] != want {
			t.Errorf("aud is %v, want %q", claims["aud"], want)
		}
		if life := claims["exp"].(float64) - float64(time.Now().Unix()); life > 61 {
			t.Errorf("it lives for %v s", life)
		}
		id := claims["jti"].(string)
		if len(id) < 22 || seen[id] {
			t.Errorf("jti is %q", id)
		}
		seen[id] = true
	}
}

func TestKeyFile(t *testing.T) {
	_, key, _ := ed25519.GenerateKey(rand.Reader)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	_, form := sent(t, clientauth.Config{ClientID: "me", KeyFile: file})
	if _, err := jwt.Parse(form.Get("client_assertion"), func(*jwt.Token) (any, error) { return key.Public(), nil }, jwt.WithValidMethods([]string{"EdDSA"})); err != nil {
		t.Error(err)
	}
}

func TestFaults(t *testing.T) {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	garbage := filepath.Join(t.TempDir(), "garbage")
	os.WriteFile(garbage, []byte("canary-secret"), 0o600)
	secret := mcpauth.NewSecret("canary-secret")
	for name, test := range map[string]struct {
		config clientauth.Config
		want   []string // fields
	}{
		"nothing":                   {clientauth.Config{}, []string{"Method"}},
		"no client id":              {clientauth.Config{Secret: secret}, []string{"ClientID"}},
		"no secret":                 {clientauth.Config{ClientID: "me", Method: clientauth.SecretPost}, []string{"Secret"}},
		"no key":                    {clientauth.Config{ClientID: "me", Method: clientauth.PrivateKeyJWT}, []string{"Key"}},
		"two keys":                  {clientauth.Config{ClientID: "me", Key: key, KeyFile: garbage}, []string{"KeyFile"}},
		"a file that is no key":     {clientauth.Config{ClientID: "me", KeyFile: garbage}, []string{"KeyFile"}},
		"no file":                   {clientauth.Config{ClientID: "me", KeyFile: "/canary-secret"}, []string{"KeyFile"}},
		"an algorithm unlike it":    {clientauth.Config{ClientID: "me", Key: key, Algorithm: "RS256"}, []string{"Key"}},
		"a key of CVE-2017-15361":   {clientauth.Config{ClientID: "me", Key: tokentest.ROCA()}, []string{"Key"}},
		"unknown method":            {clientauth.Config{ClientID: "me", Secret: secret, Method: "tls_client_auth"}, []string{"Method"}},
		"a token with a line break": {clientauth.Config{Method: clientauth.Bearer, Secret: mcpauth.NewSecret("canary-secret\r\nX: y")}, []string{"Secret"}},
		"a secret for none":         {clientauth.Config{ClientID: "me", Secret: secret, Method: clientauth.None}, []string{"Secret"}},
		"a key for a secret":        {clientauth.Config{Secret: secret, Key: key, Method: clientauth.SecretBasic}, []string{"ClientID", "Key"}},
	} {
		_, faults := clientauth.New("Client", test.config)
		var fields []string
		for _, f := range faults {
			fields = append(fields, strings.TrimPrefix(f.Field, "Client."))
			if strings.Contains(f.String(), "canary") {
				t.Errorf("%s: %s", name, f)
			}
		}
		if fmt.Sprint(fields) != fmt.Sprint(test.want) {
			t.Errorf("%s: faults %v, want of %v", name, faults, test.want)
		}
	}
}

func TestNothingOfItPrintsTheSecret(t *testing.T) {
	key := ed25519.NewKeyFromSeed([]byte("canary-secret-of-thirty-two-byte"))
	for _, config := range []clientauth.Config{
		{ClientID: "me", Secret: mcpauth.NewSecret("canary-secret")},
		{ClientID: "me", Key: key},
	} {
		client := newClient(t, config)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
			text := fmt.Sprintf(verb, client) + fmt.Sprintf(verb, *client) + fmt.Sprintf(verb, config) + fmt.Sprintf(verb, &config)
			for _, secret := range []string{"canary", "63616e617279", "99 97 110", "0x63, 0x61", "Basic", "Y2FuYXJ5"} {
				if strings.Contains(text, secret) {
					t.Errorf("%s prints %s", verb, text)
				}
			}
		}
	}
}

func TestMethodsThatAreNotAllowed(t *testing.T) {
	secret := mcpauth.NewSecret("canary-secret")
	for _, test := range []struct {
		method clientauth.Method
		good   bool
	}{{"", true}, {clientauth.SecretBasic, true}, {clientauth.SecretPost, false}, {clientauth.Bearer, false}, {clientauth.None, false}} {
		c := clientauth.Config{ClientID: "me", Method: test.method, Secret: secret}
		if test.method == clientauth.None {
			c.Secret = mcpauth.Secret{}
		}
		client, faults := clientauth.New("Client", c, clientauth.SecretBasic, clientauth.PrivateKeyJWT)
		if test.good && len(faults) == 0 && client != nil {
			continue
		}
		if test.good || client != nil || len(faults) != 1 || faults[0].Field != "Client.Method" || faults[0].Expected != "client_secret_basic or private_key_jwt" {
			t.Errorf("%q: %v", test.method, faults)
		}
	}
}
