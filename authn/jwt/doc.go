// Package jwt says who sent a request by the JSON Web Token that the request
// carries. It is the first provider of mcpauth.
//
//	provider, err := jwt.New(jwt.Config{Issuers: []jwt.Issuer{{
//		Name:     "https://issuer.example.com",
//		Audience: []string{"https://mcp.example.com/mcp"},
//		Keys:     []jwt.KeySource{jwt.Discover()},
//	}}})
//
// A token passes when it has the proper form, is signed by a key of the issuer
// that it names, is within its time, is meant for this server and names a
// user. Results are cached, never beyond the token's own end and never past
// the removal of the key that signed it. Failures are *mcpauth.Error values
// with one of the codes of package mcpauth; nothing panics.
//
// Keys are static (SecretEnv, PEMFile, JWKSFile and their like, read again as
// files change) or fetched (Discover, DiscoverAt, JWKSURL) and kept fresh in
// the background. A token whose key is known never waits for a fetch. A key
// that is not known is fetched at once, and then not again for a while, so
// that rotations are seen when they happen and invented keys cost next to
// nothing. While keys cannot be had, the last good ones serve for a bounded
// time, and tokens that they cannot judge are refused with ErrUnavailable,
// which does not send anybody to log in again.
//
// An issuer with many tenants, each with an "iss" of its own, is one Issuer with
// a place for the tenant in its Name and a list of Tenants; which claim names
// the tenant that a user id belongs to, TenantClaim says. Several providers on
// one server, one of them this, are for package authn/chain.
//
// The verification is strict (RFC 7519 with the advice of RFC 8725); what it
// refuses beyond other libraries is listed in docs/verification.md.
package jwt
