package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth/policy"
)

func denies(t testing.TB, r policy.Rule, op policy.Operation) bool {
	t.Helper()
	r.Deny = true
	return newPolicy(t, policy.Config{Rules: []policy.Rule{r}}).Denied(op)
}

func TestPatterns(t *testing.T) {
	for _, test := range []struct {
		pattern string
		yes, no []string
	}{
		{"save", []string{"save"}, []string{"", "Save", "saves", "asave", "save "}},
		{"*", []string{"", "a", "a/b", "*", "\xff\n"}, nil},
		{"a*", []string{"a", "ab", "a/b", "a*"}, []string{"", "ba", "A"}},
		{"*a", []string{"a", "ba", "aa"}, []string{"", "ab"}},
		{"a*a", []string{"aa", "aba"}, []string{"a", "ab"}},
		{"a*b*c", []string{"abc", "abbc", "axbxc", "abcbc"}, []string{"ac", "acb", "abcd"}},
		{"*a*a*", []string{"aa", "xaxax"}, []string{"a", "xax"}},
		{"ab*bc", []string{"abbc", "abxbc"}, []string{"abc"}},
		{"**", []string{"", "x"}, nil},
		{"a?[b-c].d\\*", []string{`a?[b-c].d\`, `a?[b-c].d\x`}, []string{`ax[b-c].d\`, `a?b.d\`}},
	} {
		for _, name := range test.yes {
			if !denies(t, policy.Rule{Tool: test.pattern}, tool(name)) {
				t.Errorf("%q does not match %q", test.pattern, name)
			}
		}
		for _, name := range test.no {
			if denies(t, policy.Rule{Tool: test.pattern}, tool(name)) {
				t.Errorf("%q matches %q", test.pattern, name)
			}
		}
	}
}

func TestNoSpellingOfAResourceSlipsPastItsRule(t *testing.T) {
	for _, test := range []struct {
		pattern string
		yes, no []string
	}{
		{"file:///secret*", []string{
			"file:///secret", "file:///secret/key.pem", "file:///secrets",
			"FILE:///secret", "File:///secret/key", "file:///a/../secret", "file:///./secret", "file:///a/b/../../secret", "file:///../secret", "file:///secret/../secret",
			"file:///%73ecret", "file:///%73%65%63%72%65%74", "file:///%2573ecret", "file:///a/%2e%2e/secret", "file:///a/%2E./secret", "file:///a/.%2e/secret",
			"file:///a%2f..%2fsecret", "file:///a/%252e%252e/secret", "file:///a%252f..%252fsecret", "file:%2f%2f%2fsecret", "file:///%2Fsecret",
			"file:////secret", "file://///secret", "file:/secret", "file:secret", "file:a/../secret", "file://localhost/secret", "file://LOCALHOST/secret", "file://127.0.0.1/secret", "file://x/secret",
			"file://user@/secret", "file://*/secret", `file:\\\secret`, `file:///a\..\secret`, "file:///a/..%5csecret",
			" file:///secret", "\tfile:///secret\n", "fi\nle:///sec\tret", "file:///sec\r\nret", "file:///sec%0aret",
			"file:///secret?x", "file:///secret#x", "file:///x/../secret?y#z", "FILE:///secret%00.txt", "file:///SECRET/../secret", "file:///secret/../public",
		}, []string{
			"file:///public", "file:///a/secret", "file:///secre", "http://h/secret", "file:///public?/../secret", "file:///public#secret", "file:///%25252573ecret",
		}},
		{"file:///secret/key", []string{"file:///secret/key", "file:///secret/key/", "file:///secret//key", "file:///secret/./key/.", "file:///secret/key?x", "file:///secret/key%3fx"},
			[]string{"file:///secret", "file:///secret/keys", "file:///secret/"}},
		{"file:///secret/", []string{"file:///secret/", "file:///secret", "file:///secret//"}, []string{"file:///secret/key"}},
		{"FILE:///a/../%73ecret", []string{"file:///secret", "FILE:///a/../%73ecret", "file:///b/../secret"}, []string{"file:///a/secret"}},
		{"https://api.example.com/v1/*", []string{
			"https://api.example.com/v1/", "https://API.example.COM/v1/x", "HTTPS://api.example.com:443/v1/x", "https://api.example.com:/v1/x", "https://api.example.com./v1/x",
			"https://me:pw@api.example.com/v1/x", "https://evil@me@api.example.com/v1/x", "https://api.example.com/v2/../v1/x", "https://api.example.com/v1%2fx", `https:\\api.example.com\v1\x`,
			"https://%61pi.example.com/v1/x",
		}, []string{"https://api.example.com/v2/x", "https://api.example.com:8443/v1/x", "http://api.example.com/v1/x", "https://evil.example/?https://api.example.com/v1/x", "https://api.example.com/V1/x"}},
		{"https://h", []string{"https://h", "https://h/", "https://h:443", "https://H/?x"}, []string{"https://h/x", "https://hh"}},
		{"https://h/", []string{"https://h", "https://h/"}, []string{"https://h/x"}},
		{"HTTPS://*.Example.com/*", []string{"https://a.example.com/x", "https://A.EXAMPLE.com/x"}, []string{"https://example.com/x"}},
		{"db://t?key=secret*", []string{"db://t?key=secret", "DB://t?key=%73ecret1", "db://t?key=secret#x", "DB://t?key=secret#x"}, []string{"db://t", "db://t?key=public", "DB://t?key=public"}},
		{"db://t", []string{"db://t", "db://t?key=secret"}, []string{"db://tt"}},
		{"urn:notes:secret:*", []string{"urn:notes:secret:1", "URN:notes:secret:1", "urn:notes:%73ecret:1", "urn:x/../notes:secret:1"}, []string{"urn:notes:public:1"}},
		{"notes://my notes/*", []string{"notes://my%20notes/1", "notes://my notes/1", "notes://MY%20NOTES/1"}, []string{"notes://mynotes/1"}},
		{"notes://my%20notes/*", []string{"notes://my%20notes/1", "notes://my notes/1", "notes://my%2520notes/1"}, []string{"notes://mynotes/1"}},
		{"notes://a%2a/x", []string{"notes://a%2a/x", "NOTES://a%2a/x"}, []string{"notes://ab/x"}},
		{"notes://*/", []string{"notes://a/"}, []string{"notes://a"}},
		{"file://*secret*", []string{"file:///a/secret", "FILE:///a/%73ecret", "file://x/secret"}, []string{"file:///a"}},
		{"*", []string{"", "x", "file:///%zz", "%", "%2", "::", "//", "file:", "\x00", strings.Repeat("%61", 1<<20)}, nil},
		{"secret", []string{"secret", "./secret", "%73ecret", "a/../secret"}, []string{"/secret", "x:secret"}},
	} {
		for _, uri := range test.yes {
			if !denies(t, policy.Rule{Resource: test.pattern}, resource(uri)) {
				t.Errorf("%q does not match %.100q", test.pattern, uri)
			}
		}
		for _, uri := range test.no {
			if denies(t, policy.Rule{Resource: test.pattern}, resource(uri)) {
				t.Errorf("%q matches %q", test.pattern, uri)
			}
		}
	}
}

// What is too long to look at is taken for the worst.
func TestLongURI(t *testing.T) {
	p := newPolicy(t, policy.Config{Rules: []policy.Rule{{Resource: "file:///secret", Deny: true}}})
	if long := "file:///" + strings.Repeat("a/../", 4000); !p.Denied(resource(long + "x")) {
		t.Error("an odd URI of 20 KB passes")
	}
	if long := "file:///" + strings.Repeat("a/", 10_000); p.Denied(resource(long + "x")) {
		t.Error("a plain URI of 20 KB does not pass")
	}
}

// matches is what a pattern means, without a thought for time.
func matches(pattern, name string) bool {
	if pattern == "" {
		return name == ""
	}
	if pattern[0] == '*' {
		return matches(pattern[1:], name) || name != "" && matches(pattern, name[1:])
	}
	return name != "" && pattern[0] == name[0] && matches(pattern[1:], name[1:])
}

func FuzzPattern(f *testing.F) {
	for _, seed := range [][2]string{{"a*b*c", "abcbc"}, {"*", ""}, {"x", "x"}, {"a*a", "a"}, {"\xff*", "\xff\xfe"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if pattern == "" || strings.Count(pattern, "*") > 4 || len(name) > 60 {
			return
		}
		want := matches(pattern, name)
		if !strings.Contains(pattern, "*") && want != (pattern == name) {
			t.Fatalf("a literal %q matches %q: %v", pattern, name, want)
		}
		if got := denies(t, policy.Rule{Tool: pattern}, tool(name)); got != want {
			t.Errorf("%q matches %q: %v, want %v", pattern, name, got, want)
		}
	})
}

// FuzzURI writes a URI in other ways and wants each of them caught.
func FuzzURI(f *testing.F) {
	for _, seed := range []string{"file:///secret", "https://u@H:443/a/../b?c#d", "x", "urn:a:b", `\\a\b`, "%2f", "a%", "notes://a/b/", "file:", "x://", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		if uri == "" || len(uri) > 1000 || strings.Contains(uri, "*") {
			return
		}
		p := newPolicy(t, policy.Config{Rules: []policy.Rule{{Resource: uri, Deny: true}}})
		var encoded strings.Builder
		for i := range len(uri) {
			fmt.Fprintf(&encoded, "%%%02x", uri[i])
		}
		others := []string{uri, encoded.String(), strings.ReplaceAll(encoded.String(), "%", "%25"), " " + uri + "\n"}
		if !strings.ContainsAny(uri, "#?\x00") {
			others = append(others, uri+"#", uri+"?x#y")
		}
		for _, other := range others {
			if !p.Denied(resource(other)) {
				t.Errorf("%q slips past a rule for %q", other, uri)
			}
		}
	})
}
