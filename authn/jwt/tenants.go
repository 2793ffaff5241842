package jwt

import (
	"fmt"
	"strings"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/strictjson"
)

// This file has issuers with tenants: one set of keys, and an "iss" for each
// tenant.

const (
	placeholder = "{tenant}"
	// templatePlaceholder is what Entra ID writes in its place, in metadata and
	// keys that are for all tenants.
	templatePlaceholder = "{tenantid}"
)

// isPattern reports whether iss stands for one "iss" a tenant.
func (iss *Issuer) isPattern() bool { return len(iss.Tenants) > 0 }

// names returns each exact "iss" of iss.
func (iss *Issuer) names() []string {
	if !iss.isPattern() {
		return []string{iss.Name}
	}
	names := make([]string, len(iss.Tenants))
	for i, tenant := range iss.Tenants {
		names[i] = strings.Replace(iss.Name, placeholder, tenant, 1)
	}
	return names
}

// template returns the name of iss as it is in a document for all tenants.
func (iss *Issuer) template() string {
	if !iss.isPattern() {
		return iss.Name
	}
	return strings.Replace(iss.Name, placeholder, templatePlaceholder, 1)
}

// tenantFaults adds what is wrong with the tenants of iss.
func (iss *Issuer) tenantFaults(at func(field string) string, add func(field, problem, expected string)) {
	const each = "each tenant whose tokens are taken, by its exact name"
	before, after, has := strings.Cut(iss.Name, placeholder)
	switch {
	case strings.ContainsAny(before+after, "{}"):
		add(at("Name"), fmt.Sprintf("%q has curly braces", iss.Name), `an exact name, or one with "{tenant}" once, in the place of the tenant`)
	case has && !iss.isPattern():
		add(at("Tenants"), `empty, while Name has "{tenant}"`, each)
	case !has && iss.isPattern():
		add(at("Tenants"), `set, while Name has no "{tenant}"`, "a Name that has it, in the place of the tenant")
	}
	seen := map[string]bool{}
	for j, tenant := range iss.Tenants {
		switch field := at(fmt.Sprintf("Tenants[%d]", j)); {
		case !exactTenant(tenant):
			add(field, fmt.Sprintf("found %q", tenant), `the exact name of a tenant, of letters, digits and "-._~"; there are no wildcards`)
		case seen[tenant]:
			add(field, fmt.Sprintf("%q is there twice", tenant), "each tenant once")
		}
		seen[tenant] = true
	}
}

// exactTenant reports whether s can only be a tenant's name: with a slash or the
// like in it, it would be a piece of a URL, and with an asterisk, a wildcard.
func exactTenant(s string) bool {
	for _, c := range s {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (c < '0' || c > '9') && !strings.ContainsRune("-._~", c) {
			return false
		}
	}
	return s != ""
}

// tenantsOf returns the tenant of each exact "iss" of iss, or nil when it has no
// tenants.
func tenantsOf(iss *Issuer) map[string]string {
	if !iss.isPattern() {
		return nil
	}
	tenants := map[string]string{}
	for i, name := range iss.names() {
		tenants[name] = iss.Tenants[i]
	}
	return tenants
}

// takes reports whether name is an "iss" of iss, and of which of its tenants.
func (iss *issuer) takes(name []byte) (tenant string, ok bool) {
	if iss.tenants == nil {
		return "", string(name) == iss.Name
	}
	tenant, ok = iss.tenants[string(name)]
	return tenant, ok
}

// reserved are keys of a set for all tenants that serve one "iss" only, by kid.
type reserved map[string]string

// reserve adds those of a set to r. It is Entra ID that says of its keys, in
// "issuer", whose they are: the template of all tenants, or a single tenant,
// whose tokens alone they may sign.
func (iss *issuer) reserve(r reserved, set []byte) {
	if iss.tenants == nil {
		return
	}
	of := reserved{}
	key := func(value []byte) error {
		var kid []byte
		name := []byte(iss.template())
		err := strictjson.Inner(value, func(member, value []byte) error {
			switch string(member) {
			case "kid":
				kid, _ = strictjson.String(value)
			case "issuer":
				name, _ = strictjson.String(value)
			}
			return nil
		})
		if other, twice := of[string(kid)]; twice && other != string(name) {
			name = nil // nobody's
		}
		of[string(kid)] = string(name)
		return err
	}
	// What cannot be read is for the parser of keys to report.
	_ = strictjson.Object(set, func(name, value []byte) error {
		if string(name) == "keys" {
			return strictjson.Array(value, key)
		}
		return nil
	})
	for kid, name := range of {
		if name != iss.template() && name != iss.Name {
			r[kid] = name
		}
	}
}

func errOtherTenant(iss *issuer, name, tenant []byte) error {
	return refuse(mcpauth.ErrWrongIssuer, "wrong issuer", fmt.Errorf("issuer %.200q, while %q is %.64q", name, iss.TenantClaim, tenant))
}

func errReservedKey(name []byte, kid, owner string) error {
	return refuse(mcpauth.ErrWrongIssuer, "wrong issuer", fmt.Errorf("issuer %.200q, while the key %.64q is for %.200q only", name, kid, owner))
}
