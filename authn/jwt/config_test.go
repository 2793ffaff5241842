package jwt_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

func fields(e *mcpauth.ConfigError) []string {
	var list []string
	for _, f := range e.Faults {
		list = append(list, f.Field)
	}
	return list
}

func TestConfigReportsAllFaultsAtOnce(t *testing.T) {
	got := faults(t, jwt.Config{
		MaxTokenSize: -1, ReloadInterval: -time.Second, Cache: jwt.Cache{TTL: 2 * time.Hour, MaxBytes: 10},
		Issuers: []jwt.Issuer{
			{Audience: []string{"a", " b"}, AnyAudience: true, AudienceClaim: "a\n", UserIDClaim: "exp", Algorithms: []jwt.Algorithm{"none"},
				ExpiryLeeway: 6 * time.Minute, ClockTolerance: 6 * time.Minute, MaxLifetime: -1},
			{Name: "x\x00", AllowMissingExpiry: true, Keys: []jwt.KeySource{{}}},
			{Name: "twice", Audience: []string{"a"}, Keys: []jwt.KeySource{jwt.Secret(mcpauth.NewSecret("short"))}},
			{Name: "twice", Audience: []string{"a"}, Keys: []jwt.KeySource{jwt.JWKS(tokentest.JWKS(`{"kty":"RSA"}`, `{"kty":"EC"}`))}},
		},
	})
	want := []string{
		"MaxTokenSize", "Cache.TTL", "Cache.MaxBytes", "ReloadInterval",
		"Issuers[0].Name", "Issuers[0].AnyAudience", "Issuers[0].Audience[1]", "Issuers[0].Algorithms[0]", "Issuers[0].Keys", "Issuers[0].UserIDClaim",
		"Issuers[0].AudienceClaim", "Issuers[0].ExpiryLeeway", "Issuers[0].ClockTolerance", "Issuers[0].MaxLifetime", "Issuers[0].MaxLifetime",
		"Issuers[1].Name", "Issuers[1].Audience", "Issuers[1].AllowMissingExpiry", "Issuers[3].Name",
		"Issuers[1].Keys[0]", "Issuers[2].Keys[0]", "Issuers[3].Keys[0]", "Issuers[3].Keys[0]",
	}
	if !reflect.DeepEqual(fields(got), want) {
		t.Errorf("faults of\n%q, want\n%q", fields(got), want)
	}
}

// All sources of one issuer are looked at, whichever of them cannot be read.
func TestKeyFaultsAreReportedTogether(t *testing.T) {
	iss := signedBy(issuerName, ours)
	iss.Algorithms = nil
	iss.Keys = []jwt.KeySource{
		jwt.SecretFile("/does/not/exist"),
		jwt.PEM([]byte("no PEM")),
		jwt.SecretEnv("MCPAUTH_TEST_NOT_SET"),
		jwt.Secret(mcpauth.NewSecret("short")),
	}
	want := []string{"Issuers[0].Keys[0]", "Issuers[0].Keys[1]", "Issuers[0].Keys[2]", "Issuers[0].Keys[3]"}
	got := map[string]bool{}
	for _, field := range fields(faults(t, only(iss))) {
		got[field] = true
	}
	for _, field := range want {
		if !got[field] {
			t.Errorf("%s is not reported", field)
		}
	}
}

func TestConfigRefusals(t *testing.T) {
	rs, es := tokentest.KeyFor("RS256"), tokentest.KeyFor("ES256")
	secret := func(text string) []jwt.KeySource { return []jwt.KeySource{jwt.Secret(mcpauth.NewSecret(text))} }
	strong := string(tokentest.Secret("x"))
	t.Setenv("MCPAUTH_TEST_PEM", string(rs.PEM()))
	for _, test := range []struct {
		name    string
		keys    []jwt.KeySource
		algs    []jwt.Algorithm
		problem string
	}{
		{"the seed's secret of 11 bytes", secret("your-secret"), nil, "the secret has 11 bytes, HS256 needs at least 32"},
		{"an example out of the documentation", secret("your-256-bit-secret"), nil, "published as an example"},
		{"a PEM as a secret", secret(string(rs.PEM())), nil, "this is a PEM document, not a shared secret"},
		{"a PEM as a secret from the environment", []jwt.KeySource{jwt.SecretEnv("MCPAUTH_TEST_PEM")}, nil, "environment variable MCPAUTH_TEST_PEM: this is a PEM document"},
		{"a JWK as a secret", secret(rs.JWK("")), nil, "this is a JWK, not a shared secret"},
		{"a secret for RS256", secret(strong), []jwt.Algorithm{jwt.RS256}, "fits none of the configured algorithms"},
		{"an RSA key of CVE-2017-15361", []jwt.KeySource{jwt.PEM(tokentest.Key{Algorithm: "RS256", Private: tokentest.ROCA()}.PEM())}, nil, "the RSA modulus can be factored (CVE-2017-15361, ROCA)"},
		{"a public key for HS256", []jwt.KeySource{jwt.PEM(rs.PEM())}, []jwt.Algorithm{jwt.HS256}, "fits none of the configured algorithms"},
		{"secret and public key mixed", append(secret(strong), jwt.PEM(rs.PEM())), nil, "shared secrets and public keys in one set"},
		{"one kid in two sources", []jwt.KeySource{jwt.JWKS([]byte(rs.JWK("k"))), jwt.JWKS([]byte(es.JWK("k")))}, nil, "have the same kid"},
		{"5 keys without a kid", []jwt.KeySource{jwt.PEM(es.PEM()), jwt.PEM(es.PEM()), jwt.PEM(es.PEM()), jwt.PEM(es.PEM()), jwt.PEM(es.PEM())}, nil, "5 keys for ES256 without a kid"},
		{"empty set", []jwt.KeySource{jwt.JWKS([]byte(`{"keys":[]}`))}, nil, "the set is empty"},
		{"private JWK", []jwt.KeySource{jwt.JWKS([]byte(tokentest.With(rs.JWK(""), `"d":"AQAB"`)))}, nil, "private key"},
		{"PEM with an encoding", []jwt.KeySource{jwt.PEM(es.PEM()).In(jwt.Base64)}, nil, "an encoding is given"},
		{"no such encoding", []jwt.KeySource{secret(strong)[0].In("rot13")}, nil, "is not raw, base64 or hex"},
		{"variable not set", []jwt.KeySource{jwt.SecretEnv("MCPAUTH_TEST_NOT_SET")}, nil, "environment variable MCPAUTH_TEST_NOT_SET: is not set"},
		{"file that is not there", []jwt.KeySource{jwt.PEMFile("/does/not/exist")}, nil, "file /does/not/exist: no such file or directory"},
		{"file that is a folder", []jwt.KeySource{jwt.JWKSFile(t.TempDir())}, nil, "is a directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := faults(t, only(jwt.Issuer{Name: issuerName, Audience: []string{audience}, Keys: test.keys, Algorithms: test.algs}))
			if len(e.Faults) != 1 || !strings.HasPrefix(e.Faults[0].Field, "Issuers[0].Keys") || !strings.Contains(e.Faults[0].Problem, test.problem) {
				t.Errorf("faults = %v, want %q in one", e, test.problem)
			}
		})
	}
	big := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(big, make([]byte, 1<<20+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if e := faults(t, only(jwt.Issuer{Name: issuerName, Audience: []string{audience}, Keys: []jwt.KeySource{jwt.SecretFile(big)}})); !strings.Contains(e.Error(), "is larger than") {
		t.Errorf("faults of a large file = %v", e)
	}
}

func TestConfigNeverPrintsASecret(t *testing.T) {
	const canary = "canary-canary-canary"
	t.Setenv("MCPAUTH_TEST_SECRET", canary)
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(canary), 0o600); err != nil {
		t.Fatal(err)
	}
	iss := jwt.Issuer{Name: issuerName, Audience: []string{audience}}
	for _, source := range []jwt.KeySource{jwt.SecretEnv("MCPAUTH_TEST_SECRET"), jwt.SecretFile(file), jwt.Secret(mcpauth.NewSecret(canary)), jwt.PEM([]byte(canary)), jwt.JWKS([]byte(canary))} {
		for _, encoding := range []jwt.Encoding{"", jwt.Base64, jwt.Hex} {
			iss.Keys = append(iss.Keys, source.In(encoding))
			one := iss
			one.Keys = []jwt.KeySource{source.In(encoding)}
			text := fmt.Sprintf("%v %+v %#v %s", faults(t, only(one)), one, one, []any{source, only(one)})
			if strings.Contains(text, canary) || strings.Contains(text, fmt.Sprintf("%x", canary)) {
				t.Errorf("the secret is printed: %s", text)
			}
		}
	}
	if text := faults(t, only(iss)).Error(); strings.Contains(text, canary) {
		t.Errorf("the secret is printed: %s", text)
	}
}

func TestConfigIsReadOnce(t *testing.T) {
	iss := signedBy(issuerName, ours)
	config := only(iss)
	p := newProvider(t, config)
	config.Issuers[0].Audience[0], config.Issuers[0].Name = "changed", "changed"
	passes(t, p, good())
}

// A claim that is read for what it means would not be, as the claim for
// something else: its check would be gone without a word.
func TestClaimsOfOwnMeaning(t *testing.T) {
	for _, claim := range []string{"iss", "exp", "nbf", "iat", "jti", "typ", "token_use", "cnf", "scope", "scp"} {
		issuer := jwt.Issuer{Name: issuerName, Audience: []string{audience}, Keys: []jwt.KeySource{jwt.PEM(tokentest.KeyFor("ES256").PEM())}}
		issuer.UserIDClaim = claim
		if got := fields(faults(t, only(issuer))); !reflect.DeepEqual(got, []string{"Issuers[0].UserIDClaim"}) {
			t.Errorf("UserIDClaim %q: faults of %q", claim, got)
		}
		issuer.UserIDClaim, issuer.AudienceClaim = "", claim
		if got := fields(faults(t, only(issuer))); !reflect.DeepEqual(got, []string{"Issuers[0].AudienceClaim"}) {
			t.Errorf("AudienceClaim %q: faults of %q", claim, got)
		}
	}
}

// The classic slip is to give the secret where its name or place is asked for.
func TestSecretInPlaceOfItsName(t *testing.T) {
	const secret = "q4yJIQJqzUohX9FVq4yJIQJqzUohX9FVq4yJIQJqzUoh"
	for name, source := range map[string]jwt.KeySource{
		"SecretEnv":        jwt.SecretEnv(secret),
		"SecretFile":       jwt.SecretFile(secret),
		"PEMFile of a PEM": jwt.PEMFile(string(tokentest.KeyFor("ES256").PEM())),
		"JWKSFile of JSON": jwt.JWKSFile(`{"kty":"oct","k":"` + secret + `"}`),
	} {
		err := faults(t, only(jwt.Issuer{Name: issuerName, Audience: []string{audience}, Keys: []jwt.KeySource{source}}))
		if text := err.Error() + fmt.Sprint(source); strings.Contains(text, secret) || strings.Contains(text, "BEGIN") || !strings.Contains(text, "not shown") {
			t.Errorf("%s: %s", name, text)
		}
	}
}
