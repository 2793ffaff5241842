package exchange_test

import (
	"strings"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth/credential/exchange"
)

// FuzzAnswer: of whatever a token endpoint says, what is taken can be sent in a
// header and ends some time, and what is not is not quoted.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		good, `{}`, ``, `{"error":"invalid_grant","error_description":"x"}`, good + good, `[` + good + `]`,
		strings.Replace(good, "300", "1e18", 1), strings.Replace(good, "300", "-1", 1), strings.Replace(good, "300", `"300"`, 1), strings.Replace(good, "300", "299.9", 1),
		strings.Replace(good, "new", `a\r\nb`, 1), strings.Replace(good, "Bearer", "N_A", 1), strings.Replace(good, "}", `,"access_token":"x"}`, 1),
		strings.Replace(good, "}", `,"scope":"a b"}`, 1), strings.Replace(good, "new", "\xff", 1), strings.Replace(good, "access_token\"", "ACCESS_TOKEN\"", 1),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, code, err := exchange.Parse(body, exchange.AccessToken)
		token, life := exchange.Token(got)
		if (err == nil) != (token != "" || code != "") || token != "" && code != "" {
			t.Fatalf("token %q, code %q, %v", token, code, err)
		}
		if life < 0 || life > 10*365*24*time.Hour || life%time.Second != 0 {
			t.Errorf("a life of %s", life)
		}
		if strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c > '~' }) || len(token) > 16<<10 {
			t.Errorf("token %q", token)
		}
		if err != nil && len(body) > 20 && strings.Contains(err.Error(), string(body)) {
			t.Errorf("the error quotes: %v", err)
		}
	})
}

// FuzzMetadata: nothing but a document of the issuer's own says where its token
// endpoint is.
func FuzzMetadata(f *testing.F) {
	for _, seed := range []string{
		`{"issuer":"https://issuer.example.com","token_endpoint":"https://issuer.example.com/token"}`, `{}`, ``, `[]`,
		`{"issuer":"https://issuer.example.com/","token_endpoint":"x"}`, `{"issuer":1,"token_endpoint":"x"}`, `{"issuer":"https://issuer.example.com"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		endpoint, err := exchange.ParseMetadata(document, issuer)
		if (err == nil) != (endpoint != "") {
			t.Errorf("%q, %v", endpoint, err)
		}
	})
}
