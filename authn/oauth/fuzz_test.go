package oauth_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth/authn/oauth"
)

func containsSecret(text string) bool { return strings.Contains(text, "canary") }

// A token passes only with an answer that, as encoding/json reads it, calls it
// active, for this server, within its time, and names its user.
func FuzzIntrospectionAnswer(f *testing.F) {
	const now = 1_800_000_000
	for _, seed := range []string{
		`{"active":true,"sub":"alice","aud":"a","exp":1800000001}`, `{"active":true,"sub":"alice","aud":["b","a"]}`, `{"active":true,"sub":7,"client_id":"c"}`,
		`{"active":"true","sub":"alice","aud":"a"}`, `{"active":true,"active":false}`, `{"active":false}`, `{"Active":true,"sub":"a","aud":"a"}`,
		`{"active":true,"sub":"alice","aud":"a","exp":1e18}`, `{"active":true,"sub":"alice","aud":"a","exp":"1800000001"}`, `{"active":true,"sub":"alice","aud":"a","token_type":"DPoP"}`,
		`{"active":true,"sub":"alice","aud":"a","iss":"https://other.example"}`, `{"active":true,"sub":"a\u0000","aud":"a","cnf":{}}`, `<html>`, ``, `[true]`,
	} {
		f.Add([]byte(seed))
	}
	c := oauth.Config{Issuer: "https://i.example", Audience: []string{"a"}, AllowedClients: []string{"c"}}
	f.Fuzz(func(t *testing.T, answer []byte) {
		if c.Judge(answer, now) != nil {
			return
		}
		var got map[string]any
		decoder := json.NewDecoder(bytes.NewReader(answer))
		decoder.UseNumber() // one that nobody reads may be of any size
		if err := decoder.Decode(&got); err != nil {
			t.Fatalf("%q passes: %v", answer, err)
		}
		fits := got["aud"] == "a" || got["client_id"] == "c"
		if several, ok := got["aud"].([]any); ok {
			for _, aud := range several {
				fits = fits || aud == "a"
			}
		}
		number, dated := got["exp"].(json.Number)
		exp, _ := number.Float64() // infinite, if it is too large
		iss, issued := got["iss"]
		switch {
		case got["active"] != true, !fits, got["sub"] == nil, got["sub"] == "", dated && exp < now+1, issued && iss != "https://i.example", got["cnf"] != nil,
			got["token_use"] != nil && got["token_use"] != "access":
			t.Errorf("%q passes", answer)
		}
	})
}
