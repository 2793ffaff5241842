package mcpauth_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth"
)

const (
	noHeader    = "No authorization header provided"
	headerForm  = "Invalid authorization format. Expected: Bearer <token>"
	otherScheme = "Unsupported authorization scheme. Expected: Bearer <token>"
	twoHeaders  = "More than one authorization header. Expected: Bearer <token>, once"
)

func TestBearerToken(t *testing.T) {
	for _, test := range []struct {
		name    string
		values  []string
		token   string
		code    mcpauth.Code
		message string
	}{
		{"usual form", []string{"Bearer a.b.c"}, "a.b.c", "", ""},
		{"lower case", []string{"bearer a.b.c"}, "a.b.c", "", ""},
		{"upper case", []string{"BEARER a.b.c"}, "a.b.c", "", ""},
		{"mixed case", []string{"bEaReR a.b.c"}, "a.b.c", "", ""},
		{"several spaces", []string{"Bearer    a.b.c"}, "a.b.c", "", ""},
		{"padding is for the token's reader", []string{"Bearer abc=="}, "abc==", "", ""},

		{"no header", nil, "", mcpauth.ErrMissingCredential, noHeader},
		{"empty header", []string{""}, "", mcpauth.ErrMissingCredential, noHeader},
		{"Basic", []string{"Basic dXNlcjpwYXNz"}, "", mcpauth.ErrMissingCredential, otherScheme},
		{"DPoP", []string{"DPoP a.b.c"}, "", mcpauth.ErrMissingCredential, otherScheme},
		{"Negotiate alone", []string{"Negotiate"}, "", mcpauth.ErrMissingCredential, otherScheme},
		{"scheme that begins like Bearer", []string{"Bearertoken a.b.c"}, "", mcpauth.ErrMissingCredential, otherScheme},
		{"scheme that is not ASCII", []string{"Beaſer a.b.c"}, "", mcpauth.ErrMissingCredential, otherScheme},

		{"a bare token", []string{"eyJhbGciOiJFUzI1NiJ9.e30.c2ln"}, "", mcpauth.ErrMalformedHeader, headerForm},
		{"a bare API key", []string{"sk_live_0123"}, "", mcpauth.ErrMalformedHeader, headerForm},
		{"scheme alone", []string{"Bearer"}, "", mcpauth.ErrMalformedHeader, headerForm},
		{"scheme and a space", []string{"Bearer "}, "", mcpauth.ErrMalformedHeader, headerForm},
		{"scheme and spaces", []string{"Bearer     "}, "", mcpauth.ErrMalformedHeader, headerForm},
		{"tab for the space", []string{"Bearer\ta.b.c"}, "", mcpauth.ErrMalformedHeader, headerForm},
		{"tab after the space", []string{"Bearer \ta.b.c"}, "", mcpauth.ErrMalformedHeader, headerForm},
		{"trailing space", []string{"Bearer a.b.c "}, "", mcpauth.ErrMalformedHeader, headerForm},
		{"trailing tab", []string{"Bearer a.b.c\t"}, "", mcpauth.ErrMalformedHeader, headerForm},
		{"two tokens", []string{"Bearer a.b.c d.e.f"}, "", mcpauth.ErrMalformedHeader, headerForm},
		{"scheme twice", []string{"Bearer Bearer a.b.c"}, "", mcpauth.ErrMalformedHeader, headerForm},
		{"two credentials in one value", []string{"Bearer a.b.c,Bearer d.e.f"}, "", mcpauth.ErrMalformedHeader, headerForm},
		{"comma after the token", []string{"Bearer a.b.c,"}, "", mcpauth.ErrMalformedHeader, headerForm},
		{"comma after the scheme", []string{"Bearer, a.b.c"}, "", mcpauth.ErrMalformedHeader, headerForm},
		{"parameter for a token", []string{"Bearer=a.b.c"}, "", mcpauth.ErrMalformedHeader, headerForm},

		{"two headers", []string{"Bearer a.b.c", "Bearer a.b.c"}, "", mcpauth.ErrMalformedHeader, twoHeaders},
		{"two headers, one empty", []string{"", "Bearer a.b.c"}, "", mcpauth.ErrMalformedHeader, twoHeaders},
		{"two headers of two schemes", []string{"Basic eA==", "Bearer a.b.c"}, "", mcpauth.ErrMalformedHeader, twoHeaders},
	} {
		t.Run(test.name, func(t *testing.T) {
			token, err := mcpauth.BearerToken(http.Header{"Authorization": test.values})
			if token != test.token {
				t.Errorf("token = %q, want %q", token, test.token)
			}
			if test.code == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			var e *mcpauth.Error
			if !errors.As(err, &e) || e.Code != test.code || e.Message != test.message {
				t.Errorf("refused with %v, want %s: %s", err, test.code, test.message)
			}
		})
	}
}

func TestBearerTokenIsNeverTakenFromElsewhere(t *testing.T) {
	r := httptest.NewRequest("POST", "/mcp?access_token=a.b.c", strings.NewReader("access_token=a.b.c"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Cookie", "access_token=a.b.c; Authorization=Bearer a.b.c")
	r.Header.Set("Proxy-Authorization", "Bearer a.b.c")
	r.Header.Set("X-Access-Token", "a.b.c")
	if token, err := mcpauth.BearerToken(r.Header); token != "" || !errors.Is(err, mcpauth.ErrMissingCredential) {
		t.Errorf("BearerToken = %q, %v", token, err)
	}
}

func FuzzBearer(f *testing.F) {
	for _, seed := range []string{"Bearer a.b.c", "bearer  x", "Basic eA==", "Bearer", "Bearer ", "Bearer a b", "Bearer\ta", "Bearer a,b", "", " Bearer a", "BEARER =", "Beaſer x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		token, err := mcpauth.BearerToken(http.Header{"Authorization": {value}})
		if err == nil {
			// One spelling: the scheme, spaces, a token without any.
			rest := strings.TrimLeft(value[len("Bearer"):], " ")
			if !strings.EqualFold(value[:len("Bearer")], "Bearer") || value[len("Bearer")] != ' ' || rest != token || token == "" || strings.ContainsAny(token, " \t,") {
				t.Errorf("%q gave the token %q", value, token)
			}
			return
		}
		var e *mcpauth.Error
		if token != "" || !errors.As(err, &e) || e.Code != mcpauth.ErrMissingCredential && e.Code != mcpauth.ErrMalformedHeader {
			t.Errorf("%q gave %q and %v", value, token, err)
		}
	})
}
