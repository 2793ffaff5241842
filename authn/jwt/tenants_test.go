package jwt_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
	"github.com/mcpauth-go/mcpauth/revoke"
)

const (
	pattern   = "https://login.example/{tenant}/v2.0"
	acme      = "https://login.example/acme/v2.0"
	globex    = "https://login.example/globex/v2.0"
	initech   = "https://login.example/initech/v2.0" // not a tenant of ours
	noTenant  = "JWT missing required tid claim"
	tenantMsg = "JWT verification failed: wrong issuer"
)

// withTenant is an issuer that tells users apart by "tid".
func withTenant() jwt.Issuer {
	iss := signedBy(issuerName, ours)
	iss.TenantClaim = "tid"
	return iss
}

// tenanted is an issuer with an "iss" for each of two tenants.
func tenanted() jwt.Issuer {
	iss := signedBy(pattern, ours)
	iss.Tenants = []string{"acme", "globex"}
	return iss
}

// quoted is s as JSON.
func quoted(s string) string { return fmt.Sprintf("%q", s) }

func TestTheTenantIsPartOfWhoAUserIs(t *testing.T) {
	p := newProvider(t, only(withTenant()))
	one := passes(t, p, good("tid", `"acme"`, "sub", `"s"`))
	other := passes(t, p, good("tid", `"globex"`))
	if one.Tenant() != "acme" || one.UserID() != "user-1" || one.Subject() != "s" || one.Principal() == other.Principal() {
		t.Errorf("%v and %v, principals %q and %q", one, other, one.Principal(), other.Principal())
	}
	if _, there := one.Metadata()["tid"]; !there {
		t.Error("the tenant is not in the metadata")
	}
	if again := passes(t, p, one.Token().Reveal()); again != one {
		t.Error("not answered from the cache")
	}
	if plain := passes(t, provider(t), good("tid", `"acme"`)); plain.Tenant() != "" {
		t.Errorf("without TenantClaim, the tenant is %q", plain.Tenant())
	}
}

func TestRefusalsForTheTenantClaim(t *testing.T) {
	single, both := withTenant(), tenanted()
	both.TenantClaim = "tid"
	for _, at := range []struct {
		name, issuer string
		provider     *jwt.Provider
	}{
		{"one issuer", issuerName, newProvider(t, only(single))},
		{"a pattern", acme, newProvider(t, only(both))},
		{"several issuers", acme, newProvider(t, jwt.Config{Issuers: []jwt.Issuer{signedBy(otherName, others), both}})},
	} {
		for _, test := range []struct {
			name    string
			pairs   []string
			code    mcpauth.Code
			message string
		}{
			{"missing", nil, mcpauth.ErrMissingClaim, noTenant},
			{"null", []string{"tid", "null"}, mcpauth.ErrMalformedToken, malformed},
			{"empty", []string{"tid", `""`}, mcpauth.ErrMissingClaim, noTenant},
			{"a number", []string{"tid", "7"}, mcpauth.ErrMissingClaim, noTenant},
			{"an array", []string{"tid", `["acme"]`}, mcpauth.ErrMissingClaim, noTenant},
			{"an object", []string{"tid", `{"acme":1}`}, mcpauth.ErrMissingClaim, noTenant},
			{"true", []string{"tid", "true"}, mcpauth.ErrMissingClaim, noTenant},
			{"upper case beside it", []string{"tid", `"acme"`, "TID", `"acme"`}, mcpauth.ErrMalformedToken, malformed},
			{"upper case for it", []string{"Tid", `"acme"`}, mcpauth.ErrMalformedToken, malformed},
			{"folded as Unicode does", []string{"t\u0130d", `"acme"`, "tid", `"acme"`}, "", ""}, // a dotted capital I is no i
		} {
			t.Run(at.name+"/"+test.name, func(t *testing.T) {
				token := good(append([]string{"iss", quoted(at.issuer)}, test.pairs...)...)
				if test.code == "" {
					passes(t, at.provider, token)
					return
				}
				refused(t, at.provider, token, test.code, test.message)
			})
		}
		for name, tenant := range map[string]string{"NUL": `"acme\u0000"`, "a line feed": `"ac\nme"`, "DEL": "\"ac\u007fme\"", "NUL alone": `"\u0000"`} {
			code := mcpauth.ErrMalformedToken
			if at.issuer == acme {
				code = mcpauth.ErrWrongIssuer // first of all another tenant
			}
			t.Run(at.name+"/"+name, func(t *testing.T) {
				refused(t, at.provider, good("iss", quoted(at.issuer), "tid", tenant), code)
			})
		}
	}
	// "ſ" folds to "s".
	long := signedBy(issuerName, ours)
	long.TenantClaim = "tenants"
	refused(t, newProvider(t, only(long)), good("tenants", `"a"`, "tenant\u017f", `"b"`), mcpauth.ErrMalformedToken, malformed)
}

func TestAnIssuerWithTenants(t *testing.T) {
	alone := newProvider(t, only(tenanted()))
	several := newProvider(t, jwt.Config{Issuers: []jwt.Issuer{signedBy(issuerName, others), tenanted()}})
	for name, p := range map[string]*jwt.Provider{"alone": alone, "among several": several} {
		t.Run(name, func(t *testing.T) {
			for _, iss := range []string{acme, globex} {
				id := passes(t, p, good("iss", quoted(iss)))
				if id.Issuer() != iss || id.UserID() != "user-1" || id.Tenant() != "" {
					t.Errorf("%s: %v, tenant %q", iss, id, id.Tenant())
				}
			}
			for _, iss := range []string{
				initech, pattern, "https://login.example/{tenantid}/v2.0", "https://login.example//v2.0", "https://login.example/*/v2.0",
				"https://login.example/ACME/v2.0", acme + "/", "https://login.example/acme/globex/v2.0", "https://login.example/acme%2Fv2.0",
				"https://login.example/acme/../initech/v2.0", "https://attacker.example/acme/v2.0", "acme", "", "https://login.example/acme",
			} {
				refused(t, p, good("iss", quoted(iss)), mcpauth.ErrWrongIssuer, tenantMsg)
			}
			refused(t, p, others.Token(hs, claims("iss", quoted(acme))), mcpauth.ErrBadSignature, badSig)
			refused(t, p, good("iss", ""), mcpauth.ErrMissingClaim)
		})
	}
	if got, want := several.Issuers(), []string{issuerName, acme, globex}; !slices.Equal(got, want) {
		t.Errorf("Issuers = %q, want %q", got, want)
	}
	if err := several.Ready(); err != nil {
		t.Errorf("Ready = %v", err)
	}
}

func TestTheTenantOfTheClaimIsThatOfTheIssuer(t *testing.T) {
	iss := tenanted()
	iss.TenantClaim = "tid"
	p := newProvider(t, only(iss))
	if id := passes(t, p, good("iss", quoted(acme), "tid", `"acme"`)); id.Tenant() != "acme" || id.Issuer() != acme {
		t.Errorf("%v", id)
	}
	for _, tid := range []string{"globex", "initech", "ACME", "acme ", "{tenant}"} {
		refused(t, p, good("iss", quoted(acme), "tid", quoted(tid)), mcpauth.ErrWrongIssuer, tenantMsg)
	}
}

func TestATokenOfATenantIsFoundByIt(t *testing.T) {
	p := newProvider(t, only(withTenant()))
	token := good("tid", `"acme"`)
	passes(t, p, token)
	for _, test := range []struct {
		issuer, user, tenant string
		found                bool
	}{
		{issuerName, "user-1", "acme", true},
		{issuerName, "user-1", "", false},
		{issuerName, "user-1", "globex", false},
		{issuerName, "user-1\x00acme", "", false},
		{issuerName + "\x00user-1", "acme", "", false},
	} {
		got, ok := p.TenantToken(test.issuer, test.user, test.tenant)
		if ok != test.found || ok && got.Reveal() != token {
			t.Errorf("%q, %q, %q: found %v", test.issuer, test.user, test.tenant, ok)
		}
	}
	if _, ok := p.Token(issuerName, "user-1"); ok {
		t.Error("found without the tenant")
	}
}

func TestRevocationsOfAUserHoldInAllTenants(t *testing.T) {
	l := revocations(t)
	p := guardedBy(t, l, func(c *jwt.Config) { c.Issuers[0].TenantClaim = "tid" })
	a, b, bystander := good("tid", `"acme"`), good("tid", `"globex"`), good("tid", `"acme"`, "userId", `"user-2"`)
	for _, token := range []string{a, b, bystander} {
		passes(t, p, token)
	}
	put(t, l, revoke.Revocation{Kind: revoke.Block, UserID: "user-1"})
	refused(t, p, a, mcpauth.ErrRevoked)
	refused(t, p, b, mcpauth.ErrRevoked)
	passes(t, p, bystander)
}

func TestRevocationsAndLifetimesOfAPattern(t *testing.T) {
	iss := tenanted()
	iss.MaxLifetime = time.Hour
	c := only(iss)
	for _, name := range []string{acme, globex} {
		if longest, known := c.Lifetime(name); longest != time.Hour+time.Minute || !known {
			t.Errorf("%s: %s, %v", name, longest, known)
		}
	}
	for _, name := range []string{pattern, initech} {
		if _, known := c.Lifetime(name); known {
			t.Errorf("%s is an issuer", name)
		}
	}
	l := revocations(t)
	c.Revocations = l
	p := newProvider(t, c)
	of := func(iss string) string { return good("iss", quoted(iss)) }
	passes(t, p, of(acme))
	passes(t, p, of(globex))
	put(t, l, revoke.Revocation{Kind: revoke.Block, Issuer: acme, UserID: "user-1"})
	refused(t, p, of(acme), mcpauth.ErrRevoked)
	passes(t, p, of(globex))
}

func TestFaultsOfTenants(t *testing.T) {
	with := func(change func(*jwt.Issuer)) jwt.Config {
		iss := signedBy(issuerName, ours)
		change(&iss)
		return only(iss)
	}
	named := func(name string, tenants ...string) jwt.Config {
		return with(func(iss *jwt.Issuer) { iss.Name, iss.Tenants = name, tenants })
	}
	claim := func(name string) jwt.Config { return with(func(iss *jwt.Issuer) { iss.TenantClaim = name }) }
	twice := jwt.Config{Issuers: []jwt.Issuer{tenanted(), signedBy(globex, others)}}
	overlap := jwt.Config{Issuers: []jwt.Issuer{signedBy(acme, others), tenanted()}}
	for _, test := range []struct {
		name   string
		config jwt.Config
		want   string
	}{
		{"a place without tenants", named(pattern), "Issuers[0].Tenants"},
		{"tenants without a place", named(issuerName, "acme"), "Issuers[0].Tenants"},
		{"two places", named("https://{tenant}.example/{tenant}", "acme"), "Issuers[0].Name"},
		{"two places without tenants", named("https://{tenant}.example/{tenant}"), "Issuers[0].Name"},
		{"another placeholder", named("https://login.example/{tenantid}/v2.0"), "Issuers[0].Name"},
		{"another placeholder with tenants", named("https://login.example/{tid}/v2.0", "acme"), "Issuers[0].Name"},
		{"an open brace", named("https://login.example/{tenant/v2.0"), "Issuers[0].Name"},
		{"nested braces", named("https://login.example/{{tenant}}/v2.0", "acme"), "Issuers[0].Name"},
		{"a wildcard", named(pattern, "*"), "Issuers[0].Tenants[0]"},
		{"a wildcard within", named(pattern, "acme", "a*"), "Issuers[0].Tenants[1]"},
		{"an empty tenant", named(pattern, ""), "Issuers[0].Tenants[0]"},
		{"a slash", named(pattern, "acme/v2.0"), "Issuers[0].Tenants[0]"},
		{"an escape", named(pattern, "acme%2e"), "Issuers[0].Tenants[0]"},
		{"a space", named(pattern, "acme "), "Issuers[0].Tenants[0]"},
		{"a line feed", named(pattern, "acme\n"), "Issuers[0].Tenants[0]"},
		{"a placeholder", named(pattern, "{tenant}"), "Issuers[0].Tenants[0]"},
		{"a query", named(pattern, "acme?x"), "Issuers[0].Tenants[0]"},
		{"not ASCII", named(pattern, "ácme"), "Issuers[0].Tenants[0]"},
		{"a tenant twice", named(pattern, "acme", "acme"), "Issuers[0].Tenants[1]"},
		{"a later issuer is one of the tenants", twice, "Issuers[1].Name"},
		{"a tenant is an earlier issuer", overlap, "Issuers[1].Name"},
		{"the user id claim", claim("userId"), "Issuers[0].TenantClaim"},
		{"the audience claim", claim("aud"), "Issuers[0].TenantClaim"},
		{"the session", claim("sid"), "Issuers[0].TenantClaim"},
		{"the token", claim("jti"), "Issuers[0].TenantClaim"},
		{"sub", claim("sub"), "Issuers[0].TenantClaim"},
		{"iss", claim("iss"), "Issuers[0].TenantClaim"},
		{"exp", claim("exp"), "Issuers[0].TenantClaim"},
		{"scope", claim("scope"), "Issuers[0].TenantClaim"},
		{"a control character", claim("t\x00"), "Issuers[0].TenantClaim"},
		{"Discover", with(func(iss *jwt.Issuer) {
			iss.Name, iss.Tenants, iss.Algorithms, iss.Keys = pattern, []string{"acme"}, nil, []jwt.KeySource{jwt.Discover()}
		}), "Issuers[0].Keys[0]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := faults(t, test.config)
			if got := strings.Join(fields(e), " "); got != test.want {
				t.Errorf("faults of %s, want %s", got, test.want)
			}
			for _, f := range e.Faults {
				if f.Expected == "" {
					t.Errorf("nothing is expected: %v", f)
				}
			}
		})
	}
}

func TestTenantsAreReadOnce(t *testing.T) {
	config := only(tenanted())
	p := newProvider(t, config)
	config.Issuers[0].Tenants[0] = "initech"
	refused(t, p, good("iss", quoted(initech)), mcpauth.ErrWrongIssuer)
	if got := p.Issuers(); got[0] != acme {
		t.Errorf("Issuers = %q", got)
	}
}

const (
	commonURL  = "https://login.example/common/v2.0/.well-known/openid-configuration"
	commonKeys = "https://login.example/common/discovery/v2.0/keys"
)

// common is an issuer whose keys are those of all tenants.
func common() jwt.Issuer {
	return jwt.Issuer{Name: pattern, Tenants: []string{"acme", "globex"}, TenantClaim: "tid", Audience: []string{audience},
		Keys: []jwt.KeySource{jwt.DiscoverAt(commonURL)}}
}

// ofTenant is a token as such an issuer makes them.
func ofTenant(k tokentest.Key, kid, iss, tid string) string {
	return of(k, kid, "iss", quoted(iss), "tid", quoted(tid))
}

func TestMetadataOfAllTenants(t *testing.T) {
	for _, test := range []struct {
		name, issuer string
		taken        bool
	}{
		{"the template", "https://login.example/{tenantid}/v2.0", true},
		{"the configured name", pattern, false},
		{"one of the tenants", acme, false},
		{"another tenant", initech, false},
		{"a template of another host", "https://attacker.example/{tenantid}/v2.0", false},
		{"a template of another version", "https://login.example/{tenantid}/", false},
		{"another placeholder", "https://login.example/{TenantId}/v2.0", false},
		{"two placeholders", "https://login.example/{tenantid}/{tenantid}/v2.0", false},
		{"common", "https://login.example/common/v2.0", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newIDP()
				i.documents[commonURL] = object{"issuer": test.issuer, "jwks_uri": commonKeys}.String()
				i.documents[commonKeys] = string(tokentest.JWKS(first.JWK("1")))
				p := fetching(t, i, common())
				defer p.Close()
				if test.taken {
					id := passes(t, p, ofTenant(first, "1", globex, "globex"))
					if id.Issuer() != globex || id.Tenant() != "globex" || p.Ready() != nil {
						t.Errorf("%v, Ready = %v", id, p.Ready())
					}
					if s := p.Stats().KeySets; len(s) != 1 || s[0].Issuer != pattern || s[0].Fetches != 1 || s[0].Keys != 1 {
						t.Errorf("key sets: %+v", s)
					}
					if i.fetches() != 2 { // metadata and keys, once for all tenants
						t.Errorf("%d fetches", i.fetches())
					}
					return
				}
				refused(t, p, ofTenant(first, "1", globex, "globex"), mcpauth.ErrUnavailable)
				if err := p.Ready(); err == nil || !strings.Contains(err.Error(), pattern) {
					t.Errorf("Ready = %v", err)
				}
			})
		})
	}
}

// A tenant of another sort may publish keys in the set of all.
func TestAKeyOfOneTenantServesThatOneOnly(t *testing.T) {
	set := func(issuers ...string) string {
		keys := []string{first.JWK("all"), second.JWK("one")}
		for n, issuer := range issuers {
			if issuer != "" {
				keys[n] = tokentest.With(keys[n], `"issuer":`+issuer)
			}
		}
		return string(tokentest.JWKS(keys...))
	}
	template := quoted("https://login.example/{tenantid}/v2.0")
	fetchedIssuer := common()
	fetchedIssuer.Keys = []jwt.KeySource{jwt.JWKSURL(commonKeys)}
	for _, test := range []struct {
		name, set    string
		acme, globex bool // by the second key
	}{
		{"no issuer", set(), true, true},
		{"the template", set(template, template), true, true},
		{"one tenant", set(template, quoted(acme)), true, false},
		{"one tenant that is not ours", set("", quoted(initech)), false, false},
		{"no string", set("", "7"), false, false},
		{"empty", set("", `""`), false, false},
	} {
		check := func(t *testing.T, p *jwt.Provider) {
			t.Helper()
			passes(t, p, ofTenant(first, "all", acme, "acme"))
			passes(t, p, ofTenant(first, "all", globex, "globex"))
			for _, tenant := range []struct {
				iss, tid string
				good     bool
			}{{acme, "acme", test.acme}, {globex, "globex", test.globex}} {
				token := ofTenant(second, "one", tenant.iss, tenant.tid)
				if tenant.good {
					passes(t, p, token)
				} else {
					refused(t, p, token, mcpauth.ErrWrongIssuer, tenantMsg)
				}
			}
		}
		t.Run(test.name+"/fetched", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newIDP()
				i.documents[commonKeys] = test.set
				p := fetching(t, i, fetchedIssuer)
				defer p.Close()
				check(t, p)
			})
		})
		t.Run(test.name+"/from a file", func(t *testing.T) {
			iss := fetchedIssuer
			iss.UserIDClaim, iss.Keys = "sub", []jwt.KeySource{jwt.JWKS([]byte(test.set))}
			check(t, newProvider(t, only(iss)))
		})
	}
	t.Run("a key that becomes one tenant's", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			i := newIDP()
			i.documents[commonKeys] = set()
			p := fetching(t, i, fetchedIssuer)
			defer p.Close()
			token := ofTenant(second, "one", globex, "globex")
			passes(t, p, token)
			i.set(func(i *idp) { i.documents[commonKeys] = set("", quoted(acme)) })
			time.Sleep(10 * time.Minute) // the refresh
			synctest.Wait()
			refused(t, p, ofTenant(second, "one", globex, "globex"), mcpauth.ErrWrongIssuer)
			passes(t, p, ofTenant(second, "one", acme, "acme"))
		})
	})
	t.Run("without tenants, it means nothing", func(t *testing.T) {
		iss := signedBy(issuerName, first)
		iss.Keys = []jwt.KeySource{jwt.JWKS(tokentest.JWKS(tokentest.With(first.JWK("1"), `"issuer":"https://elsewhere.example"`)))}
		passes(t, newProvider(t, only(iss)), first.Token(first.HeaderWith(`"kid":"1"`), claims()))
	})
	t.Run("one kid for keys of two tenants", func(t *testing.T) {
		rs := tokentest.KeyFor("RS256")
		iss := fetchedIssuer
		iss.Algorithms = []jwt.Algorithm{jwt.EdDSA, jwt.RS256}
		synctest.Test(t, func(t *testing.T) {
			i := newIDP()
			i.documents[commonKeys] = string(tokentest.JWKS(tokentest.With(first.JWK("x"), `"issuer":`+quoted(acme)), tokentest.With(rs.JWK("x"), `"issuer":`+quoted(globex))))
			p := fetching(t, i, iss)
			defer p.Close()
			refused(t, p, ofTenant(first, "x", acme, "acme"), mcpauth.ErrWrongIssuer)
			refused(t, p, ofTenant(rs, "x", globex, "globex"), mcpauth.ErrWrongIssuer)
		})
	})
}

// Of a token that no key would help, no key is fetched.
func TestNoFetchForATenantThatIsNotOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIDP()
		i.documents[commonKeys] = string(tokentest.JWKS(first.JWK("1")))
		iss := common()
		iss.Keys = []jwt.KeySource{jwt.JWKSURL(commonKeys)}
		p := fetching(t, i, iss)
		defer p.Close()
		before := i.fetches()
		refused(t, p, ofTenant(stranger, "9", initech, "initech"), mcpauth.ErrWrongIssuer)
		refused(t, p, ofTenant(stranger, "9", acme, "globex"), mcpauth.ErrWrongIssuer)
		if i.fetches() != before {
			t.Error("keys are fetched")
		}
	})
}

func TestManyTenantsAreOneIssuer(t *testing.T) {
	iss := tenanted()
	iss.Tenants = nil
	for n := range 5000 {
		iss.Tenants = append(iss.Tenants, fmt.Sprint("tenant-", n))
	}
	p := newProvider(t, only(iss))
	passes(t, p, good("iss", `"https://login.example/tenant-4999/v2.0"`))
	e := refused(t, p, good("iss", quoted(initech)), mcpauth.ErrWrongIssuer)
	if len(e.Cause.Error()) > 500 {
		t.Errorf("all tenants are named for each wrong one: %d bytes", len(e.Cause.Error()))
	}
	if got := p.Measure(); len(got) != 8 { // of the three caches
		t.Errorf("%d measurements", len(got))
	}
}
