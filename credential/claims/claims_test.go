package claims_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/credential"
	"github.com/mcpauth-go/mcpauth/credential/claims"
)

var _ credential.Source = claims.Source{}

func identity(token string, decoded map[string]string) *mcpauth.Identity {
	all := map[string]json.RawMessage{}
	for name, value := range decoded {
		all[name] = json.RawMessage(value)
	}
	id, err := mcpauth.NewIdentity(mcpauth.IdentityFields{
		Issuer: "https://issuer.example.com", UserID: "alice", Token: mcpauth.NewSecret(token),
		Verification: mcpauth.FixedVerification{AllClaims: all},
	})
	if err != nil {
		panic(err)
	}
	return id
}

func TestSeedCCredentialsEmbeddedInTheToken(t *testing.T) {
	for _, test := range []struct {
		name, claim, value string
		want               string // "" is none
		problem            string
	}{
		{"the type's", "tokens", `{"gitlab":"glp_1","github":"gho_1"}`, "gho_1", ""},
		{"another type's only", "tokens", `{"gitlab":"glp_1"}`, "", ""},
		{"an escape", "tokens", `{"git\u0068ub":"gho\u005f1"}`, "gho_1", ""},
		{"another case", "tokens", `{"GitHub":"gho_1"}`, "", ""},
		{"empty", "tokens", `{"github":""}`, "", ""},
		{"null", "tokens", `{"github":null}`, "", ""},
		{"no types", "tokens", `{}`, "", ""},
		{"the whole claim null", "tokens", `null`, "", ""},
		{"no such claim", "other", `{"github":"gho_1"}`, "", ""},
		{"a number", "tokens", `{"github":1}`, "", `claim "tokens": what it has for the resource type is not a string`},
		{"an object", "tokens", `{"github":{"token":"canary"}}`, "", `claim "tokens": what it has for the resource type is not a string`},
		{"twice", "tokens", `{"github":"canary","github":"canary-2"}`, "", `claim "tokens": the same name twice in one object`},
		{"a list", "tokens", `["canary"]`, "", `claim "tokens": not a JSON object`},
		{"a string", "tokens", `"canary"`, "", `claim "tokens": not a JSON object`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := claims.Source{}.Fetch(t.Context(), identity("t", map[string]string{test.claim: test.value}), "github")
			if test.problem != "" {
				if err == nil || err.Error() != test.problem || c != nil {
					t.Errorf("%v, %v, want %s", c, err, test.problem)
				}
				return
			}
			if err != nil || (c == nil) != (test.want == "") || c != nil && c.Token.Reveal() != test.want {
				t.Errorf("%v, %v, want %q", c, err, test.want)
			}
		})
	}
}

func TestAnotherClaim(t *testing.T) {
	id := identity("t", map[string]string{"tokens": `{"github":"no"}`, "https://example.com/credentials": `{"github":"yes"}`})
	c, err := claims.Source{Claim: "https://example.com/credentials"}.Fetch(t.Context(), id, "github")
	if err != nil || c.Token.Reveal() != "yes" {
		t.Errorf("%v, %v", c, err)
	}
}

// The cache must not answer with what an earlier token of the user had, and checks
// what a token has as it checks any credential.
func TestTheTokenAtHandDecides(t *testing.T) {
	r, err := credential.New(credential.Config{Source: claims.Source{}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, text := range []string{"one", "two", "one"} {
		c, err := r.Resolve(t.Context(), identity("token-"+text, map[string]string{"tokens": `{"github":"` + text + `"}`}), "github")
		if err != nil || c.Token.Reveal() != text {
			t.Errorf("%v, %v, want %s", c, err, text)
		}
	}
	c, err := r.Resolve(t.Context(), identity("token-bad", map[string]string{"tokens": `{"github":"canary\r\nX-Injected: 1"}`}), "github")
	if e := mcpauth.AsError(err); c != nil || e.Code != mcpauth.ErrUnavailable || strings.Contains(fmt.Sprint(e, e.Cause), "canary") {
		t.Errorf("%v, %v", c, err)
	}
}

func Example() {
	resolver, err := credential.New(credential.Config{Source: claims.Source{}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resolver.Close()
	id := identity("…", map[string]string{"tokens": `{"github":"gho_0123456789"}`})
	found, err := resolver.Resolve(context.Background(), id, "github")
	if err != nil {
		fmt.Println(err)
		return
	}
	none, err := resolver.Resolve(context.Background(), id, "gitlab")
	fmt.Println(found.Token, len(found.Token.Reveal()), none == nil, err)
	// Output: [redacted] 14 true <nil>
}
