package mcpauth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
)

func newIdentity(scopes ...string) *mcpauth.Identity {
	return identityOf(mcpauth.IdentityFields{
		Issuer: "https://issuer.example", UserID: "user-1", Subject: "sub-1", Scopes: scopes,
		Expiry: time.Unix(2_000_000_000, 0), Token: mcpauth.NewSecret(canary),
		Verification: mcpauth.FixedVerification{IDClaim: "userId", AllClaims: map[string]json.RawMessage{
			"iss": []byte(`"https://issuer.example"`), "aud": []byte(`"a"`), "exp": []byte("1"), "iat": []byte("1"), "nbf": []byte("1"),
			"userId": []byte(`"user-1"`), "sub": []byte(`"sub-1"`), "email": []byte(`"u@example.com"`), "big": []byte("12345678901234567890"),
		}},
	})
}

// identityOf returns the identity of good fields.
func identityOf(f mcpauth.IdentityFields) *mcpauth.Identity {
	id, err := mcpauth.NewIdentity(f)
	if err != nil {
		panic(err)
	}
	return id
}

func TestIdentityAccessors(t *testing.T) {
	id := newIdentity("read", "write")
	for name, pair := range map[string][2]any{
		"Issuer":    {id.Issuer(), "https://issuer.example"},
		"UserID":    {id.UserID(), "user-1"},
		"Principal": {id.Principal(), "https://issuer.example\x00user-1"},
		"Subject":   {id.Subject(), "sub-1"},
		"Expiry":    {id.Expiry().Unix(), int64(2_000_000_000)},
		"Token":     {id.Token().Reveal(), canary},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s = %v, want %v", name, pair[0], pair[1])
		}
	}
	if !id.HasScopes() || !id.HasScopes("read") || !id.HasScopes("write", "read") || id.HasScopes("read", "admin") || id.HasScopes("") {
		t.Error("HasScopes is wrong")
	}
}

func TestIdentityOfTwoIssuersWithOneUserIDDiffers(t *testing.T) {
	a := identityOf(mcpauth.IdentityFields{Issuer: "ab", UserID: "c"})
	b := identityOf(mcpauth.IdentityFields{Issuer: "a", UserID: "bc"})
	if a.Principal() == b.Principal() {
		t.Error("two users share a principal")
	}
}

func TestNoIdentityThatCouldBeAnothers(t *testing.T) {
	for _, f := range []mcpauth.IdentityFields{
		{}, {Issuer: "a"}, {UserID: "b"}, {Issuer: "a\x00b", UserID: "c"}, {Issuer: "a", UserID: "b\x00c"},
		{Issuer: "a", Tenant: "t"}, {UserID: "b", Tenant: "t"}, {Issuer: "a", UserID: "b", Tenant: "\x00"}, {Issuer: "a", UserID: "b", Tenant: "t\x00u"},
	} {
		if id, err := mcpauth.NewIdentity(f); err == nil || id != nil {
			t.Errorf("issuer %q, user %q, tenant %q: %v, %v", f.Issuer, f.UserID, f.Tenant, id, err)
		}
	}
	long := mcpauth.IdentityFields{Issuer: "a", UserID: strings.Repeat("u", 1<<20-2), Tenant: "t"}
	if id := identityOf(long); id.UserID() != long.UserID || id.Tenant() != "t" {
		t.Error("long names are not as they were")
	}
	long.Tenant = "tt"
	if id, err := mcpauth.NewIdentity(long); err == nil || id != nil {
		t.Error("names of more than a mebibyte are taken")
	}
}

func TestIdentityWithATenant(t *testing.T) {
	id := identityOf(mcpauth.IdentityFields{Issuer: "https://issuer.example", UserID: "user-1", Subject: "user-1", Tenant: "acme"})
	for name, pair := range map[string][2]string{
		"Issuer":    {id.Issuer(), "https://issuer.example"},
		"UserID":    {id.UserID(), "user-1"},
		"Tenant":    {id.Tenant(), "acme"},
		"Principal": {id.Principal(), "https://issuer.example\x00user-1\x00acme"},
		"Subject":   {id.Subject(), "user-1"},
		"Format":    {fmt.Sprintf("%v", id), `"user-1" of tenant "acme" of "https://issuer.example"`},
		"LogValue":  {id.LogValue().String(), "[issuer=https://issuer.example tenant=acme user=user-1]"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s = %q, want %q", name, pair[0], pair[1])
		}
	}
	if r := id.Revocable(); r != (mcpauth.Revocable{Issuer: "https://issuer.example", UserID: "user-1"}) {
		t.Errorf("a revocation of the user would not cover all tenants: %+v", r)
	}
	if none := newIdentity(); none.Tenant() != "" || none.LogValue().String() != "[issuer=https://issuer.example user=user-1]" {
		t.Errorf("without a tenant: %q, %s", none.Tenant(), none.LogValue())
	}
	if zero := new(mcpauth.Identity); zero.Issuer() != "" || zero.UserID() != "" || zero.Tenant() != "" || zero.Principal() != "" {
		t.Error("the zero identity is somebody")
	}
}

func TestNoTwoUsersShareAPrincipal(t *testing.T) {
	seen := map[string]mcpauth.IdentityFields{}
	names := []string{"a", "b", "ab", "a b", "a/b", "ba", "aa"}
	for _, issuer := range names {
		for _, user := range names {
			for _, tenant := range append(names, "") {
				f := mcpauth.IdentityFields{Issuer: issuer, UserID: user, Tenant: tenant}
				id := identityOf(f)
				if other, twice := seen[id.Principal()]; twice {
					t.Errorf("%+v and %+v share a principal", f, other)
				}
				seen[id.Principal()] = f
				if id.Issuer() != issuer || id.UserID() != user || id.Tenant() != tenant {
					t.Errorf("%+v has become %q, %q, %q", f, id.Issuer(), id.UserID(), id.Tenant())
				}
			}
		}
	}
}

func TestIdentityCannotBeChangedFromOutside(t *testing.T) {
	id := newIdentity("read")
	id.Scopes()[0] = "admin"
	clear(id.Metadata())
	if id.HasScopes("admin") || len(id.Metadata()) == 0 {
		t.Error("what a caller got was the identity's own")
	}
}

func TestIdentityMetadataLeavesOutWhatHasAPlaceOfItsOwn(t *testing.T) {
	id := newIdentity()
	got := slices.Sorted(maps.Keys(id.Metadata()))
	if want := []string{"big", "email", "nbf", "sub"}; !slices.Equal(got, want) {
		t.Errorf("metadata = %v, want %v", got, want)
	}
	if big := string(id.Metadata()["big"]); big != "12345678901234567890" {
		t.Errorf("a number is not as the issuer wrote it: %s", big)
	}
	if m := identityOf(mcpauth.IdentityFields{Issuer: "a", UserID: "b"}).Metadata(); m == nil || len(m) != 0 {
		t.Errorf("metadata without claims = %v, want an empty map", m)
	}
}

func TestIdentityClaim(t *testing.T) {
	id := newIdentity()
	var email string
	if ok, err := id.Claim("email", &email); !ok || err != nil || email != "u@example.com" {
		t.Errorf("Claim(email) = %v, %v, %q", ok, err, email)
	}
	if ok, err := id.Claim("absent", &email); ok || err != nil {
		t.Errorf("Claim(absent) = %v, %v", ok, err)
	}
	var n int
	if ok, err := id.Claim("email", &n); !ok || err == nil || strings.Contains(err.Error(), "u@example.com") {
		t.Errorf("Claim of another type = %v, %v", ok, err)
	}
}

func TestIdentityPrintsIssuerAndUserAlone(t *testing.T) {
	id := newIdentity("read")
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got, want := fmt.Sprintf(format, id), `"user-1" of "https://issuer.example"`; got != want {
			t.Errorf("%s prints %s, want %s", format, got, want)
		}
		holdsNoCanary(t, "a struct around the identity", fmt.Sprintf(format, struct {
			exported   any
			unexported *mcpauth.Identity
			value      mcpauth.Identity
		}{id, id, *id}))
	}
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"JSON": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var logged bytes.Buffer
		slog.New(handler(&logged)).Info("hello", "id", id)
		holdsNoCanary(t, name, logged.String())
		if !strings.Contains(logged.String(), "user-1") || strings.Contains(logged.String(), "u@example.com") {
			t.Errorf("%s log: %s", name, logged.String())
		}
	}
}

func TestContext(t *testing.T) {
	if id := mcpauth.FromContext(context.Background()); id != nil {
		t.Errorf("an empty context has the identity %v", id)
	}
	id := newIdentity()
	if got := mcpauth.FromContext(mcpauth.NewContext(context.Background(), id)); got != id {
		t.Errorf("FromContext = %v, want %v", got, id)
	}
}

func TestRevocable(t *testing.T) {
	fields := mcpauth.IdentityFields{Issuer: "i", UserID: "u", Subject: "s"}
	plain, err := mcpauth.NewIdentity(fields)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := plain.Revocable(), (mcpauth.Revocable{Issuer: "i", UserID: "u"}); got != want {
		t.Errorf("without more: %+v", got)
	}
	// A provider cannot name somebody else.
	issued := time.Unix(1, 0)
	fields.Verification = mcpauth.FixedVerification{
		Named: mcpauth.Revocable{Issuer: "other", UserID: "other", TokenID: "t", SessionID: "s", IssuedAt: issued},
	}
	known, err := mcpauth.NewIdentity(fields)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := known.Revocable(), (mcpauth.Revocable{Issuer: "i", UserID: "u", TokenID: "t", SessionID: "s", IssuedAt: issued}); got != want {
		t.Errorf("with more: %+v", got)
	}
}
