package platform_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth/credential/platform"
)

// FuzzAnswer reads whatever a platform may answer. What is taken is what another
// parser finds there, too, and an error quotes nothing.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"access_token":"a","expires_in":3600,"refresh_token":"b"}`, `{"access_token":"a","expires_in":1e18}`, `{"access_token":"a","expires_in":-0}`,
		`{"access_token":"\u0061\n","user_id":"alice","sub":null}`, `{"access_token":"a","access_token":"b"}`, `{"Access_Token":"a"}`, `{"access_token":1}`,
		`<html>`, `[]`, `{"access_token":"a"}x`, "{\"access_token\":\"\xff\"}", ``, `{"access_token":"a","expires_in":"1"}`, `{"access_token":"a","expires_in":1.999999999}`,
		`{"access_token":"` + strings.Repeat("x", 1000) + `"}`, `{"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		token, expiresIn, userID, sub, err := platform.Parse(body)
		if err != nil {
			if token != "" || expiresIn != 0 || userID != nil || sub != nil || len(err.Error()) > 100 {
				t.Errorf("%q: %v, and %q, %v", body, err, token, expiresIn)
			}
			return
		}
		var oracle map[string]any
		if json.Unmarshal(body, &oracle) != nil || oracle["access_token"] != token || token == "" {
			t.Errorf("%q: %q, another parser finds %v", body, token, oracle["access_token"])
		}
		if n, ok := oracle["expires_in"].(float64); ok != (expiresIn != 0) || ok && expiresIn != time.Duration(n)*time.Second {
			t.Errorf("%q: %s, another parser finds %v", body, expiresIn, oracle["expires_in"])
		}
		if expiresIn < 0 || expiresIn > 10*366*24*time.Hour || expiresIn != 0 && expiresIn < time.Second {
			t.Errorf("%q: %s", body, expiresIn)
		}
		if s, ok := oracle["user_id"].(string); ok != (userID != nil) || ok && *userID != s {
			t.Errorf("%q: user_id", body)
		}
		if s, ok := oracle["sub"].(string); ok != (sub != nil) || ok && *sub != s {
			t.Errorf("%q: sub", body)
		}
	})
}
