package assertion_test

import (
	"testing"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/assertion"
)

func BenchmarkSign(b *testing.B) {
	s, err := assertion.New(config())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	fields := mcpauth.IdentityFields{UserID: "alice", Scopes: []string{"notes:read"}}
	b.Run("anew", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Sign(user(b, fields, ""), notes); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("again", func(b *testing.B) {
		id := user(b, fields, "")
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Sign(id, notes); err != nil {
				b.Fatal(err)
			}
		}
	})
}
