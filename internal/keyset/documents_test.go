package keyset_test

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth/internal/keyset"
	"github.com/mcpauth-go/mcpauth/internal/outbound"
)

func TestMaxAge(t *testing.T) {
	for _, test := range []struct {
		control []string
		age     string
		want    time.Duration
		ok      bool
	}{
		{nil, "", 0, false},
		{[]string{""}, "", 0, false},
		{[]string{"max-age=60"}, "", time.Minute, true},
		{[]string{"MAX-AGE=60"}, "", time.Minute, true},
		{[]string{` public , max-age = 60 `}, "", time.Minute, true},
		{[]string{`max-age="60"`}, "", time.Minute, true},
		{[]string{"public", "max-age=60"}, "", time.Minute, true},
		{[]string{"max-age=60, max-age=60"}, "", time.Minute, true},
		{[]string{"max-age=60, max-age=61"}, "", 0, false},
		{[]string{"max-age=60"}, "20", 40 * time.Second, true},
		{[]string{"max-age=60"}, "90", 0, true},
		{[]string{"max-age=60"}, "x", time.Minute, true},
		{[]string{"max-age=60"}, "-1", time.Minute, true},
		{[]string{"max-age=0"}, "", 0, true},
		{[]string{"max-age=-1"}, "", 0, false},
		{[]string{"max-age=1.5"}, "", 0, false},
		{[]string{"max-age=+1"}, "", 0, false},
		{[]string{"max-age"}, "", 0, false},
		{[]string{"max-age="}, "", 0, false},
		{[]string{`max-age=""`}, "", 0, false},
		{[]string{"s-maxage=60"}, "", 0, false},
		{[]string{"x-max-age=60"}, "", 0, false},
		{[]string{"max-age=60, no-store"}, "", 0, false},
		{[]string{"no-cache, max-age=60"}, "", 0, false},
		{[]string{`x="max-age=1, no-store", max-age=60`}, "", time.Minute, true},
		{[]string{`x="\", no-store", max-age=60`}, "", time.Minute, true},
		{[]string{`x="unfinished, max-age=60`}, "", 0, false},
		{[]string{"max-age=99999999999999999999999999"}, "", 1 << 31 * time.Second, true},
	} {
		h := http.Header{"Cache-Control": test.control}
		if test.age != "" {
			h.Set("Age", test.age)
		}
		if got, ok := keyset.MaxAge(h); got != test.want || ok != test.ok {
			t.Errorf("MaxAge of %q, Age %q = %s, %v; want %s, %v", test.control, test.age, got, ok, test.want, test.ok)
		}
	}
}

func FuzzCacheControl(f *testing.F) {
	for _, seed := range []string{"max-age=60", `public, max-age="60"`, `x="a\",b", max-age=1`, "no-store", ",,,", `"`, "max-age=99999999999999999999"} {
		f.Add(seed, "")
		f.Add(seed, "30")
	}
	f.Fuzz(func(t *testing.T, control, age string) {
		d, ok := keyset.MaxAge(http.Header{"Cache-Control": {control}, "Age": {age}})
		if d < 0 || d > 1<<31*time.Second || !ok && d != 0 {
			t.Errorf("%s, %v", d, ok)
		}
		if ok && !strings.Contains(strings.ToLower(control), "max-age") {
			t.Errorf("%s of %q", d, control)
		}
	})
}

func TestMetadataURLs(t *testing.T) {
	for issuer, want := range map[string][]string{
		"https://a.example":       {"https://a.example/.well-known/openid-configuration", "https://a.example/.well-known/oauth-authorization-server"},
		"https://a.example/":      {"https://a.example/.well-known/openid-configuration", "https://a.example/.well-known/oauth-authorization-server"},
		"https://a.example/x/y":   {"https://a.example/x/y/.well-known/openid-configuration", "https://a.example/.well-known/oauth-authorization-server/x/y"},
		"https://a.example:1/x/":  {"https://a.example:1/x/.well-known/openid-configuration", "https://a.example:1/.well-known/oauth-authorization-server/x"},
		"https://a.example/a%2Fb": {"https://a.example/a%2Fb/.well-known/openid-configuration", "https://a.example/.well-known/oauth-authorization-server/a%2Fb"},
	} {
		if got := keyset.MetadataURLs(issuer); !reflect.DeepEqual(got, want) {
			t.Errorf("MetadataURLs(%q) = %q, want %q", issuer, got, want)
		}
	}
}

func TestParseMetadata(t *testing.T) {
	const issuer = "https://a.example/"
	for _, test := range []struct{ name, document, want, reason string }{
		{"good", `{"issuer":"https://a.example/","jwks_uri":"https://b.example/k","x":[{}]}`, "https://b.example/k", ""},
		{"escaped", `{"issuer":"https:\/\/a.example\/","jwks_uri":"https:\/\/b.example\/k"}`, "https://b.example/k", ""},
		{"no slash at the end", `{"issuer":"https://a.example","jwks_uri":"https://b.example/k"}`, "", "is of issuer"},
		{"another case", `{"issuer":"https://A.example/","jwks_uri":"https://b.example/k"}`, "", "is of issuer"},
		{"a template", `{"issuer":"https://a.example/{tenantid}","jwks_uri":"https://b.example/k"}`, "", "is of issuer"},
		{"no issuer", `{"jwks_uri":"https://b.example/k"}`, "", "is of issuer"},
		{"issuer twice", `{"issuer":"https://a.example/","issuer":"x","jwks_uri":"https://b.example/k"}`, "", "twice"},
		{"ISSUER", `{"ISSUER":"https://a.example/","jwks_uri":"https://b.example/k"}`, "", "is of issuer"},
		{"issuer null", `{"issuer":null,"jwks_uri":"https://b.example/k"}`, "", `"issuer" is not a string`},
		{"no jwks_uri", `{"issuer":"https://a.example/"}`, "", `no "jwks_uri"`},
		{"jwks_uri empty", `{"issuer":"https://a.example/","jwks_uri":""}`, "", `no "jwks_uri"`},
		{"jwks_uri a list", `{"issuer":"https://a.example/","jwks_uri":["https://b.example/k"]}`, "", `"jwks_uri" is not a string`},
		{"HTML", `<html></html>`, "", "not valid JSON"},
		{"empty", ``, "", "not valid JSON"},
		{"an array", `[]`, "", "not a JSON object"},
		{"trailing data", `{"issuer":"https://a.example/","jwks_uri":"https://b.example/k"}{}`, "", "data after"},
		{"deep", `{"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, "", "nested deeper"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := keyset.ParseMetadata([]byte(test.document), issuer)
			if got != test.want || (err == nil) != (test.reason == "") || err != nil && !strings.Contains(err.Error(), test.reason) {
				t.Errorf("%q, %v; want %q, %q", got, err, test.want, test.reason)
			}
		})
	}
}

func FuzzMetadata(f *testing.F) {
	for _, seed := range []string{
		`{"issuer":"https://a.example","jwks_uri":"https://b.example/k"}`, `{"issuer":"https:\u002f/a.example","jwks_uri":"x","x":{"issuer":1}}`,
		`{"ISSUER":"https://a.example"}`, `{"issuer":"https://a.example","issuer":"b"}`, `[]`, ``, `{"jwks_uri":1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		uri, err := keyset.ParseMetadata(document, "https://a.example")
		if err != nil {
			return
		}
		var oracle map[string]any
		if json.Unmarshal(document, &oracle) != nil || oracle["issuer"] != "https://a.example" || oracle["jwks_uri"] != uri {
			t.Errorf("%q gave %q", document, uri)
		}
		_ = outbound.CheckURL(uri, nil)
		if shown := outbound.Shown(uri); strings.Contains(shown, "?") {
			t.Errorf("%q is shown as %q", uri, shown)
		}
	})
}
