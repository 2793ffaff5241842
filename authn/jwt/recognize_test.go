package jwt_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

func TestRecognizes(t *testing.T) {
	unsigned := func(payload string) string { return tokentest.Encode(hs) + "." + tokentest.Encode(payload) + ".AA" }
	pattern := tenanted()
	p := newProvider(t, jwt.Config{MaxTokenSize: 4096, Issuers: []jwt.Issuer{signedBy(issuerName, ours), pattern}})
	padded := tokentest.Encode(hs) + "." + tokentest.Encode(claims("iss", `"https://x.example"`)) + "==.AA"
	for _, test := range []struct {
		name          string
		authorization []string
		want          bool
	}{
		{"a good token", []string{"Bearer " + good()}, true},
		{"scheme in lower case", []string{"bearer " + good()}, true},
		{"of a tenant", []string{"Bearer " + unsigned(claims("iss", quoted(acme)))}, true},
		{"a bad signature", []string{"Bearer " + unsigned(claims())}, true},
		{"expired", []string{"Bearer " + good("exp", "1")}, true},
		{"too large", []string{"Bearer a." + strings.Repeat("a", 4096) + ".a"}, true},

		// The issuer cannot be read: nobody else is asked.
		{"no issuer", []string{"Bearer " + unsigned(claims("iss", ""))}, true},
		{"an issuer that is no string", []string{"Bearer " + unsigned(`{"iss":["x"]}`)}, true},
		{"no JSON", []string{"Bearer a.b.c"}, true},
		{"no object", []string{"Bearer " + unsigned(`["iss"]`)}, true},
		{"empty segments", []string{"Bearer .."}, true},
		{"another alphabet", []string{"Bearer a.+/.c"}, true},
		{"padding", []string{"Bearer " + padded}, true},
		{"spare bits", []string{"Bearer " + tokentest.Encode(hs) + "." + tokentest.Encode(`{"iss":"https://x.example"}`)[:34] + "B.AA"}, true},
		{"too deep", []string{"Bearer " + unsigned(`{"x":`+tokentest.Deep(70)+`,"iss":"https://x.example"}`)}, true},

		{"another's token", []string{"Bearer " + good("iss", `"https://x.example"`)}, false},
		{"of a tenant that is not ours", []string{"Bearer " + unsigned(claims("iss", quoted(initech)))}, false},
		{"an empty issuer", []string{"Bearer " + unsigned(claims("iss", `""`))}, false},
		{"an opaque token", []string{"Bearer 2YotnFZFEjr1zCsicMWpAA"}, false},
		{"a key with one dot", []string{"Bearer sk.live"}, false},
		{"encrypted", []string{"Bearer a.b.c.d.e"}, false},
		{"a dot at the end", []string{"Bearer a.b.c."}, true},
		{"dots and padding at the end", []string{"Bearer a.b.c=.=."}, true},
		{"a dot at the beginning", []string{"Bearer ." + good()}, true},
		{"a dot at the beginning, another's", []string{"Bearer ." + good("iss", `"https://x.example"`)}, true},
		{"an empty segment between", []string{"Bearer " + strings.Replace(good(), ".", "..", 1)}, true},
		{"padding between", []string{"Bearer " + strings.Replace(good(), ".", ".==.", 1)}, true},
		{"a further segment", []string{"Bearer " + good() + ".x"}, true},
		{"a further segment, much too large", []string{"Bearer " + good() + "." + strings.Repeat("x", 8192)}, true},
		{"a further segment, padding", []string{"Bearer " + strings.Replace(good(), ".", "=.", 2) + ".x"}, true},
		{"a further segment, another alphabet", []string{"Bearer " + tokentest.Encode(hs) + "." + strings.ReplaceAll(tokentest.Encode(claims("x", `"?????????"`)), "_", "/") + ".AA.x"}, true},
		{"a segment before", []string{"Bearer x." + good()}, true},
		{"a further segment, of a tenant", []string{"Bearer " + unsigned(claims("iss", quoted(acme))) + ".x"}, true},
		{"a further segment, another's", []string{"Bearer " + good("iss", `"https://x.example"`) + ".x"}, false},
		{"encrypted, with our issuer in its header", []string{"Bearer " + tokentest.Encode(`{"alg":"dir","enc":"A256GCM","iss":"`+issuerName+`"}`) + "..b.c.d"}, false},
		{"three dots", []string{"Bearer a.b.c.d"}, false},
		{"another scheme", []string{"Basic " + good()}, false},
		{"no scheme", []string{good()}, false},
		{"two headers", []string{"Bearer " + good(), "Bearer " + good()}, false},
		{"two tokens", []string{"Bearer " + good() + " " + good()}, false},
		{"empty", []string{""}, false},
		{"none", nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &mcpauth.Request{Header: http.Header{"Authorization": test.authorization}}
			for range 2 {
				if got := p.Recognizes(r); got != test.want {
					t.Errorf("%v, want %v", got, test.want)
				}
				id, err := p.Authenticate(context.Background(), r) // and then it is known
				if !test.want && err == nil {
					t.Errorf("not recognized, and passes as %v", id)
				}
			}
		})
	}
}

// raced says that the race detector is on, with which a sync.Pool forgets.
var raced bool

func TestRecognizingCostsNoAllocation(t *testing.T) {
	p := provider(t)
	known, other := request(good()), request(good("iss", `"https://x.example"`))
	passes(t, p, good())
	if _, err := p.Authenticate(context.Background(), known); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*mcpauth.Request{"a token that is known": known, "another's": other} {
		if n := testing.AllocsPerRun(200, func() { p.Recognizes(r) }); n != 0 && (r == known || !raced) {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// FuzzRecognizes: what is passed by is refused by the provider itself, too.
func FuzzRecognizes(f *testing.F) {
	for _, token := range []string{good("exp", "253402300799"), good("iss", `"https://x.example"`), "a.b.c", "..", "a.b", "", "e30.eyJpc3MiOiJ4IiwiaXNzIjoieSJ9.AA"} {
		f.Add("Bearer " + token)
	}
	for _, r := range refusals() {
		if len(r.token) < 4096 {
			f.Add("Bearer " + r.token)
		}
	}
	p := newProvider(f, only(signedBy(issuerName, ours)))
	f.Fuzz(func(t *testing.T, header string) {
		r := &mcpauth.Request{Header: http.Header{"Authorization": {header}}}
		recognized := p.Recognizes(r)
		if _, err := p.Authenticate(context.Background(), r); err == nil && !recognized {
			t.Errorf("%q passes, though it is not recognized", header)
		}
	})
}
