package apikey_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/apikey"
)

// Each way to send a credential, good and hostile: what becomes of it, whether
// this provider is the one to judge it, and that nothing of a wrong form is
// looked up.
func TestHeaders(t *testing.T) {
	memory := &apikey.Memory{}
	good, _ := create(t, memory, apikey.Spec{})
	other, _ := create(t, memory, apikey.Spec{})
	store := &counted{Store: memory}
	p := newProvider(t, apikey.Config{Store: store})
	const (
		passes    = mcpauth.Code("")
		missing   = mcpauth.ErrMissingCredential
		header    = mcpauth.ErrMalformedHeader
		malformed = mcpauth.ErrMalformedToken
	)
	swapped := func(i int, c string) string { return good[:i] + c + good[i+1:] }
	last := strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", good[45])
	twin := good[:45] + string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last+1])
	auth := func(values ...string) http.Header { return http.Header{"Authorization": values} }
	own := func(values ...string) http.Header { return http.Header{"X-Api-Key": values} }
	for _, test := range []struct {
		name   string
		header http.Header
		want   mcpauth.Code
		ours   bool
	}{
		{"nothing", nil, missing, false},
		{"bearer", auth("Bearer " + good), passes, true},
		{"bearer in another case", auth("bEaReR " + good), passes, true},
		{"bearer with more spaces", auth("Bearer    " + good), passes, true},
		{"X-API-Key", own(good), passes, true},
		{"X-API-Key beside an empty Authorization", http.Header{"X-Api-Key": {good}, "Authorization": {""}}, passes, true},
		{"bearer beside an empty X-API-Key", http.Header{"Authorization": {"Bearer " + good}, "X-Api-Key": {""}}, passes, true},
		{"an empty X-API-Key", own(""), missing, false},
		{"another scheme", auth("Basic c2tfOnNrXw=="), missing, false},
		{"in the query", http.Header{"X-Original-Url": {"/?api_key=" + good}}, missing, false},
		{"in a cookie", http.Header{"Cookie": {"api_key=" + good}}, missing, false},
		{"with an underscore", http.Header{"X_api_key": {good}, "X_Api_Key": {good}}, missing, false},
		{"both headers", http.Header{"Authorization": {"Bearer " + good}, "X-Api-Key": {good}}, header, true},
		{"both headers, two keys", http.Header{"Authorization": {"Bearer " + good}, "X-Api-Key": {other}}, header, true},
		{"a key beside somebody's JSON Web Token", http.Header{"Authorization": {"Bearer e30.e30.AA"}, "X-Api-Key": {good}}, header, true},
		{"a key beside another scheme", http.Header{"Authorization": {"Basic c2tfOnNrXw=="}, "X-Api-Key": {good}}, header, true},
		{"two X-API-Key", own(good, good), header, true},
		{"two X-API-Key, one empty", own("", good), header, true},
		{"two Authorization", auth("Bearer "+good, "Bearer "+good), header, true},
		{"two Authorization, one of them a key", auth("Bearer e30.e30.AA", "Bearer "+good), header, true},
		{"two in one Authorization", auth("Bearer " + good + ", Bearer " + other), header, true},
		{"no scheme", auth(good), header, true},
		{"a tab for the space", auth("Bearer\t" + good), header, false},
		{"a space at the end", auth("Bearer " + good + " "), header, true},
		{"bearer in X-API-Key", own("Bearer " + good), malformed, true},
		{"two in one X-API-Key", own(good + "," + other), malformed, true},
		{"a space in X-API-Key", own(" " + good), malformed, true},
		{"another prefix", auth("Bearer pk_" + good[3:]), malformed, false},
		{"the prefix in another case", auth("Bearer SK_" + good[3:]), malformed, false},
		{"no prefix", auth("Bearer " + good[3:]), malformed, false},
		{"the prefix alone", auth("Bearer sk_"), malformed, true},
		{"the prefix twice", auth("Bearer sk_" + good), malformed, true},
		{"one character less", auth("Bearer " + good[:45]), malformed, true},
		{"one character more", auth("Bearer " + good + "A"), malformed, true},
		{"padding", auth("Bearer " + good + "="), malformed, true},
		{"padding for the last", own(good[:45] + "="), malformed, true},
		{"standard base64", own(swapped(20, "+")), malformed, true},
		{"a slash", own(swapped(20, "/")), malformed, true},
		{"a dot", own(swapped(20, ".")), malformed, true},
		{"a line break", own(swapped(20, "\n")), malformed, true},
		{"a NUL", own(swapped(20, "\x00")), malformed, true},
		{"a byte beyond ASCII", own(swapped(20, "\xc3")), malformed, true},
		{"a wider letter", own(good[:20] + "Ａ" + good[23:]), malformed, true},
		{"a twin: spare bits set", own(twin), malformed, true},
		{"a hash for the key", own("sk_" + apikey.HashOf(good).String()), malformed, true},
		{"huge", own("sk_" + strings.Repeat("A", 1<<20)), malformed, true},
		{"quotes of SQL", own("sk_' OR '1'='1"), malformed, true},
		{"a JSON Web Token", auth("Bearer e30.e30.AA"), malformed, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := store.lookups.Load()
			r := &mcpauth.Request{Header: test.header}
			id, err := p.Authenticate(t.Context(), r)
			if test.want == passes {
				if err != nil || id.UserID() != "alice" {
					t.Errorf("%v, %v", id, err)
				}
			} else {
				var refusal *mcpauth.Error
				if id != nil || !errors.As(err, &refusal) || refusal.Code != test.want {
					t.Fatalf("%v, %v; want %s", id, err, test.want)
				}
				if strings.Contains(refusal.Message+refusal.Error(), good[3:13]) || refusal.Cause != nil && strings.Contains(refusal.Cause.Error(), good[3:13]) {
					t.Error("the key is in the refusal")
				}
				if n := store.lookups.Load() - before; n != 0 {
					t.Errorf("%d lookups", n)
				}
			}
			if ours := p.Recognizes(r); ours != test.ours {
				t.Errorf("recognized: %v", ours)
			}
		})
	}
}

// Every byte at every place: what is taken is a canonical key, and nothing else
// is looked up.
func TestFormAgreesWithTheStandardLibrary(t *testing.T) {
	store := &counted{Store: &apikey.Memory{}}
	p := newProvider(t, apikey.Config{Store: store, WrongKeys: apikey.WrongKeys{InAll: apikey.Rate{Requests: 1e6, Per: 1e9}, Source: nowhere}})
	key := stranger(t)
	for i := range key {
		for c := range 256 {
			text := key[:i] + string([]byte{byte(c)}) + key[i+1:]
			want := mcpauth.ErrMalformedToken
			if strings.HasPrefix(text, "sk_") && canonical(text[3:]) {
				want = mcpauth.ErrUnknownKey
			}
			_, err := p.Authenticate(t.Context(), &mcpauth.Request{Header: http.Header{"X-Api-Key": {text}}})
			if !errors.Is(err, want) {
				t.Fatalf("%q: %v, want %s", text, err, want)
			}
		}
	}
}

func nowhere(*mcpauth.Request) string { return "" }

func canonical(random string) bool {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(random)
	// The library skips line breaks.
	return err == nil && len(raw) == 32 && len(random) == 43
}

func FuzzKey(f *testing.F) {
	memory := &apikey.Memory{}
	good, _ := create(f, memory, apikey.Spec{})
	p := newProvider(f, apikey.Config{Store: memory, WrongKeys: apikey.WrongKeys{InAll: apikey.Rate{Requests: 1e9, Per: 1e9}, Source: nowhere}})
	f.Add("Bearer "+good, "")
	f.Add("", good)
	f.Add("bearer   "+good, "")
	f.Add("Bearer "+good, good)
	f.Add(good, "")
	f.Add("", good+"=")
	f.Add("", "sk_")
	f.Add("Bearer sk_"+strings.Repeat("_", 43), "")
	f.Add("", "sk_"+strings.Repeat("A", 42)+"B")
	f.Add("Basic x", " ")
	f.Fuzz(func(t *testing.T, authorization, own string) {
		r := &mcpauth.Request{Header: http.Header{}}
		for name, value := range map[string]string{"Authorization": authorization, "X-Api-Key": own} {
			if value != "" {
				r.Header[name] = []string{value}
			}
		}
		id, err := p.Authenticate(t.Context(), r)
		var refusal *mcpauth.Error
		switch {
		case err == nil:
			key := own
			if own == "" {
				key = authorization[len(authorization)-len(good):]
			}
			if id.UserID() != "alice" || key != good {
				t.Fatalf("%q and %q pass as %v", authorization, own, id)
			}
		case id != nil || !errors.As(err, &refusal):
			t.Fatalf("%v, %v", id, err)
		case errors.Is(err, mcpauth.ErrUnknownKey):
			key := own
			if own == "" {
				key = authorization[len(authorization)-46:]
			}
			if !strings.HasPrefix(key, "sk_") || !canonical(key[3:]) {
				t.Fatalf("%q was looked up", key)
			}
		}
		if (err == nil || errors.Is(err, mcpauth.ErrUnknownKey)) && !p.Recognizes(r) {
			t.Fatalf("%q and %q are looked up, and not recognized", authorization, own)
		}
	})
}

func TestChallengesNameBothForms(t *testing.T) {
	memory := &apikey.Memory{}
	good, _ := create(t, memory, apikey.Spec{Scopes: []string{"notes:read"}})
	p := newProvider(t, apikey.Config{Store: memory})
	handler := mcpauth.Require(p, mcpauth.Requirement{Scopes: []string{"notes:read"}, Logger: quiet})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Api-Key")+r.Header.Get("Authorization") != "" {
			t.Error("the handler sees the key")
		}
	}))
	for _, test := range []struct {
		name, header, value string
		status              int
		challenge, says     string
	}{
		{"no key", "", "", 401, `Bearer scope="notes:read"`, "No API key provided. Expected: Authorization: Bearer <key>, or X-API-Key: <key>"},
		{"wrong form", "X-API-Key", "sk_", 401, `Bearer error="invalid_token", error_description="Not an API key of this server. Expected: sk_ and 43 more characters", scope="notes:read"`, "Not an API key"},
		{"unknown", "X-API-Key", stranger(t), 401, `Bearer error="invalid_token", error_description="Unknown API key. Please use one that was made for this server.", scope="notes:read"`, "Unknown API key"},
		{"no scheme", "Authorization", good, 400, `Bearer error="invalid_request", error_description="Invalid authorization format. Expected: Authorization: Bearer <key>, or X-API-Key: <key>, one of them once", scope="notes:read"`, "X-API-Key: <key>"},
		{"good", "X-API-Key", good, 200, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			if test.header != "" {
				r.Header.Set(test.header, test.value)
			}
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != test.status || w.Header().Get("WWW-Authenticate") != test.challenge || !strings.Contains(w.Body.String(), test.says) {
				t.Errorf("%d, %q, %s", w.Code, w.Header().Get("WWW-Authenticate"), w.Body)
			}
		})
	}
}
