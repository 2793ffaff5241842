// Package jwt says who sent a request by the JSON Web Token that the request
// carries. It is the first provider of mcpauth.
//
//	provider, err := jwt.New(jwt.Config{Issuers: []jwt.Issuer{{
//		Name:     "https://issuer.example.com",
//		Audience: []string{"https://mcp.example.com/mcp"},
//		Keys:     []jwt.KeySource{jwt.JWKSFile("/etc/mcpauth/jwks.json")},
//	}}})
//
// A token passes when it has the proper form, is signed by a key of the issuer
// that it names, is within its time, is meant for this server and names a
// user. Results are cached, never beyond the token's own end and never past
// the removal of the key that signed it. Failures are *mcpauth.Error values
// with one of the codes of package mcpauth; nothing panics and nothing is
// fetched.
//
// The verification is strict (RFC 7519 with the advice of RFC 8725); what it
// refuses beyond other libraries is listed in docs/verification.md.
package jwt
