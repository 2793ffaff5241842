package observe_test

import (
	"encoding/json"
	"testing"

	"github.com/mcpauth-go/mcpauth"
)

func identity(t testing.TB, user string) *mcpauth.Identity {
	t.Helper()
	id, err := mcpauth.NewIdentity(mcpauth.IdentityFields{
		Issuer: "https://issuer.example", UserID: user, Subject: "subject-" + user, Scopes: []string{"scope-canary"},
		Token:        mcpauth.NewSecret(token),
		Verification: mcpauth.FixedVerification{AllClaims: map[string]json.RawMessage{"email": json.RawMessage(`"` + email + `"`)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}
