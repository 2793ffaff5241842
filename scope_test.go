package mcpauth_test

import (
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth"
)

func TestValidScope(t *testing.T) {
	for _, s := range []string{"a", "read:notes", "https://example.com/scope", "!", "#[]~", "*"} {
		if !mcpauth.ValidScope(s) {
			t.Errorf("%q is refused", s)
		}
	}
	for _, s := range []string{"", " ", "a b", "a\t", `"`, `a\b`, "\x7f", "\x00", "é", "a\n"} {
		if mcpauth.ValidScope(s) {
			t.Errorf("%q is taken", s)
		}
	}
}

func TestHierarchyGrants(t *testing.T) {
	tree := mcpauth.Hierarchy{"admin": {"write", "audit"}, "write": {"read"}, "read": nil}
	circle := mcpauth.Hierarchy{"a": {"b"}, "b": {"c", "b"}, "c": {"a"}}
	for _, test := range []struct {
		name            string
		hierarchy       mcpauth.Hierarchy
		granted, needed string
		want            bool
	}{
		{"nothing needed", tree, "", "", true},
		{"nothing granted", tree, "", "read", false},
		{"the scope itself", tree, "read", "read", true},
		{"a scope that the hierarchy does not know", tree, "other", "other", true},
		{"what comes with a scope", tree, "write", "read", true},
		{"what comes with what comes with a scope", tree, "admin", "read", true},
		{"several, by several ways", tree, "other admin", "audit other read admin", true},
		{"one of them is lacking", tree, "write", "read audit", false},
		{"never upwards", tree, "read", "write", false},
		{"nor sideways", tree, "audit", "write", false},
		{"letter case matters", tree, "ADMIN", "read", false},
		{"a circle", circle, "b", "a b c", true},
		{"a circle does not bring what is outside", circle, "a", "d", false},
		{"without a hierarchy, itself", nil, "write", "write", true},
		{"without a hierarchy, nothing else", nil, "write", "read", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			id := newIdentity(strings.Fields(test.granted)...)
			if got := test.hierarchy.Grants(id, strings.Fields(test.needed)...); got != test.want {
				t.Errorf("Grants = %v, want %v", got, test.want)
			}
		})
	}
}
