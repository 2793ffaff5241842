package mcpauth_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
)

func TestCredentialEqual(t *testing.T) {
	credential := func(token string, expiry int64) *mcpauth.Credential {
		return &mcpauth.Credential{Token: mcpauth.NewSecret(token), Expiry: time.Unix(expiry, 0)}
	}
	one := credential("a", 1)
	for _, test := range []struct {
		name string
		a, b *mcpauth.Credential
		want bool
	}{
		{"none and none", nil, nil, true},
		{"none and an empty one", nil, &mcpauth.Credential{}, false},
		{"none and one", nil, one, false},
		{"itself", one, one, true},
		{"the same token", one, credential("a", 1), true},
		{"the same token with another end", one, credential("a", 2), true},
		{"another token", one, credential("b", 1), false},
		{"a longer token", one, credential("aa", 1), false},
	} {
		if test.a.Equal(test.b) != test.want || test.b.Equal(test.a) != test.want {
			t.Errorf("%s: Equal is not %v", test.name, test.want)
		}
	}
}

func TestCredentialDoesNotPrintItsToken(t *testing.T) {
	c := mcpauth.Credential{Token: mcpauth.NewSecret(canary)}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		holdsNoCanary(t, format, fmt.Sprintf(format, c))
		holdsNoCanary(t, format, fmt.Sprintf(format, &c))
	}
}

func TestCredentialInContext(t *testing.T) {
	ctx := context.Background()
	if c := mcpauth.CredentialFrom(ctx); c != nil {
		t.Errorf("an empty context has the credential %v", c)
	}
	c := &mcpauth.Credential{Token: mcpauth.NewSecret(canary)}
	inside := mcpauth.WithCredential(ctx, c)
	if got := mcpauth.CredentialFrom(inside); got != c {
		t.Errorf("CredentialFrom = %v, want %v", got, c)
	}
	// A request for a user without one must not show that of an outer context.
	if got := mcpauth.CredentialFrom(mcpauth.WithCredential(inside, nil)); got != nil {
		t.Errorf("CredentialFrom = %v, want none", got)
	}
}

func TestRejectedReachesTheResolver(t *testing.T) {
	var told []*mcpauth.Credential
	c := &mcpauth.Credential{Token: mcpauth.NewSecret(canary), OnRejected: func(c *mcpauth.Credential) { told = append(told, c) }}
	c.Rejected()
	if len(told) != 1 || told[0] != c {
		t.Errorf("told of %v", told)
	}
	(*mcpauth.Credential)(nil).Rejected()
	(&mcpauth.Credential{}).Rejected()
}
