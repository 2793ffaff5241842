package attack

import (
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

// registered are the claims of RFC 7519, section 4.1.
var registered = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti"}

// fault adds good claims but for one.
func (g *generator) fault(name, why string, pairs ...string) {
	s := g.pick()
	g.add(name, s.sign(s.header(), s.claims(pairs...)), why)
}

func (g *generator) tokenUse() {
	const why = "an ID, refresh or other token of the issuer, signed with the same key, is no access token (RFC 8725, section 3.12)"
	for _, use := range []string{`"id"`, `"ID"`, `"Access"`, `"access "`, `"refresh"`, `""`, "null", "1", "true", `["access"]`, `["access","id"]`, "{}"} {
		g.fault("token_use "+use, why+"; Cognito", "token_use", use)
	}
	for _, typ := range []string{`"ID"`, `"Refresh"`, `"Offline"`, `"Logout"`, `"bearer"`, `"BEARER"`, `"Bearer "`, `"Serialized-ID"`, `"RPT"`, `"JWT"`, `"email_verification"`, `""`, "null", "1", `["Bearer"]`, "{}"} {
		g.fault("typ "+typ, why+"; Keycloak", "typ", typ)
	}
}

func (g *generator) boundToken() {
	const why = "a token bound to a key of the client's (RFC 7800) is stolen, and comes without the proof"
	for _, cnf := range []string{
		`{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}`, `{"x5t#S256":"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}`, `{"jwk":{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}`, `{"kid":"client"}`, `{"jku":"https://attacker.example/jwks"}`, `{"jwe":"AA"}`,
		"{}", "null", `""`, "[]", "true", "0",
	} {
		g.fault(cnf, why, "cnf", cnf)
	}
	s := g.pick()
	g.header("with a proof that nobody checks", map[string][]string{
		"Authorization": {"Bearer " + s.sign(s.header(), s.claims("cnf", `{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}`))},
		"Dpop":          {sign(attacker("ES256", ""), `{"alg":"ES256","typ":"dpop+jwt"}`, `{"htm":"POST"}`)},
	}, why)
}

// duplicate has two members of one name, of which one reader takes the first
// and another the last.
func (g *generator) duplicate() {
	const why = "of two members of a name, one reader takes the first, another the last (RFC 8259, section 4; RFC 7519, section 4)"
	s := g.pick()
	names := append([]string{s.issuer.UserIDClaim, "scope", "x"}, registered...)
	for _, name := range names {
		s := g.pick()
		if name == names[0] {
			name = s.issuer.UserIDClaim
		}
		value := map[string]string{"iss": quote(s.issuer.Name), "aud": quote(s.issuer.Audience), "exp": s.in(time.Hour), "nbf": "0", "iat": s.in(0)}[name]
		if value == "" {
			value = `"victim"`
		}
		other := map[string]string{"exp": s.in(2 * time.Hour), "nbf": "1", "iat": s.in(-time.Minute)}[name]
		if other == "" {
			other = `"other"`
		}
		g.add("the same "+name, s.sign(s.header(), tokentest.With(s.claims(name, value), quote(name)+":"+value)), why)
		g.add("another "+name+" after", s.sign(s.header(), tokentest.With(s.claims(name, value), quote(name)+":"+other)), why)
		g.add("another "+name+" before", s.sign(s.header(), "{"+quote(name)+":"+other+","+s.claims(name, value)[1:]), why)
		g.add("an escaped "+name, s.sign(s.header(), tokentest.With(s.claims(name, value), escaped(name)+":"+value)), why)
	}
	for _, members := range []string{`"x":{"a":1,"a":2}`, `"x":[{"a":1,"a":1}]`, `"":1,"":2`, `"x":{"y":{"z":{"a":1,"a":2}}}`, `"x":{"a":1,"\u0061":1}`, `"é":1,"\u00e9":1`} {
		s := g.pick()
		g.add("inside "+members, s.sign(s.header(), tokentest.With(s.claims(), members)), why)
	}
	for _, s := range g.signers() {
		alg, header := quote(s.key.Algorithm), s.header()
		for _, members := range []string{`"alg":"none"`, `"alg":` + alg, `"\u0061lg":` + alg, `"kid":"x"`, `"typ":"JWT"`} {
			if members[1:4] == "kid" && s.key.ID == "" {
				continue
			}
			g.add("header, "+members+" after, "+s.label(), s.sign(tokentest.With(header, members), s.claims()), why)
			g.add("header, "+members+" before, "+s.label(), s.sign("{"+members+","+header[1:], s.claims()), why)
		}
	}
	for _, members := range []string{`"x":1,"x":1`, `"jwk":{"kty":"oct","kty":"RSA"}`, `"jku":"a","jku":"b"`} {
		s := g.pick()
		g.add("header, "+members, s.sign(tokentest.With(s.header(), members), s.claims()), why)
	}
}

// escaped writes a name with an escape for its first letter.
func escaped(name string) string {
	const digits = "0123456789abcdef"
	return `"\u00` + string(digits[name[0]>>4]) + string(digits[name[0]&15]) + name[1:] + `"`
}

// claimCase has names that fold to those of claims.
func (g *generator) claimCase() {
	const why = "a parser that folds case, as encoding/json does, takes the other name for the claim itself; ſ and K fold to s and k"
	for _, iss := range g.target.Issuers {
		for _, claim := range append([]string{iss.UserIDClaim}, registered...) {
			for _, name := range []string{
				strings.ToUpper(claim), strings.ToUpper(claim[:1]) + claim[1:], claim[:1] + strings.ToUpper(claim[1:]), strings.ToLower(claim),
				strings.Replace(claim, "s", "ſ", 1), strings.Replace(claim, "k", "\u212a", 1), swapCase(claim),
			} {
				if name == claim {
					continue
				}
				s := g.signerOf(iss.Name)
				g.add(quote(name)+" beside "+quote(claim)+" of "+iss.Name, s.sign(s.header(), tokentest.With(s.claims(), quote(name)+`:"attacker"`)), why)
				if claim != "sub" && claim != "nbf" && claim != "jti" || claim == iss.UserIDClaim {
					g.add(quote(name)+" for "+quote(claim)+" of "+iss.Name, s.sign(s.header(), renamed(s, claim, name)), why)
				}
			}
		}
	}
	for _, name := range []string{`"\u0053UB"`, `"\u017fub"`, `"E\u0058P"`} {
		s := g.pick()
		g.add("escaped "+name, s.sign(s.header(), tokentest.With(s.claims(), name+`:"attacker"`)), why)
	}
}

func swapCase(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsUpper(r) {
			return unicode.ToLower(r)
		}
		return unicode.ToUpper(r)
	}, s)
}

// signerOf returns any signer of the issuer.
func (g *generator) signerOf(issuer string) signer {
	for {
		if s := g.pick(); s.issuer.Name == issuer {
			return s
		}
	}
}

// renamed returns the claims with one under another name.
func renamed(s signer, claim, name string) string {
	return strings.Replace(s.claims(), quote(claim)+":", quote(name)+":", 1)
}

func (g *generator) claimType() {
	const why = "claims have their types (RFC 7519, section 4.1): what a lenient reader makes of another is an accident"
	for _, claim := range []string{"iss", "sub", "jti", "aud"} {
		for _, value := range []string{"null", "1", "true", "false", "{}", `{"victim":true}`, `["victim",null]`, "[1]", "[[]]"} {
			g.fault(claim+" "+value, why, claim, value)
		}
	}
	for _, claim := range []string{"exp", "nbf", "iat"} {
		for _, value := range []string{
			"null", "true", "false", "{}", "[]", `""`, `"x"`, `"NaN"`, `"Infinity"`, "NaN", "Infinity", "-Infinity", "-1", "-0.5", "-1e300", "1e300", "1e400", "1e999999999", "253402300800", "9007199254740993", "9223372036854775807", "9223372036854775808", "18446744073709551616",
			"99999999999999999999999999999999", "0x7fffffff", "0777", "1_000", "+1", `"2099-01-01T00:00:00Z"`, `"Fri, 01 Jan 2100 00:00:00 GMT"`, `"` + g.in(time.Hour) + `"`, "[" + g.in(time.Hour) + "]", `{"$numberLong":"` + g.in(time.Hour) + `"}`, g.in(time.Hour) + "000", g.in(time.Hour) + "000000000",
		} {
			g.fault(claim+" "+value, why+", and dates are numbers of seconds (section 2)", claim, value)
		}
	}
	for _, claim := range []string{"scope", "scp"} {
		for _, value := range []string{"null", "1", "true", "{}", "[1]", "[null]", `["a",["b"]]`} {
			if claim == "scope" || value != "null" {
				g.fault(claim+" "+value, why, "scope", "", claim, value)
			}
		}
	}
}

func (g *generator) time() {
	const why = "a token has an end and a begin (RFC 7519, section 4.1.4 and following)"
	for _, s := range g.signers() {
		past := func(d time.Duration) string { return s.in(-s.issuer.ExpiryLeeway - d) }
		for _, v := range []struct {
			name  string
			pairs []string
		}{
			{"ended a second ago", []string{"exp", past(time.Second)}}, {"ends now", []string{"exp", past(0)}}, {"no exp", []string{"exp", ""}}, {"begins in an hour", []string{"nbf", s.in(time.Hour)}},
		} {
			g.add(v.name+", "+s.label(), s.sign(s.header(), s.claims(v.pairs...)), why)
		}
	}
	far := func(d time.Duration) string { return g.in(d) }
	for _, v := range []struct {
		name  string
		pairs []string
	}{
		{"ended an hour ago", []string{"exp", far(-time.Hour), "iat", far(-2 * time.Hour)}}, {"ended yesterday", []string{"exp", far(-24 * time.Hour), "iat", far(-25 * time.Hour)}}, {"ended in 1970", []string{"exp", "0"}}, {"ended a second after 1970", []string{"exp", "1"}}, {"ended, as a fraction", []string{"exp", far(-time.Hour) + ".999"}},
		{"ended, with an exponent", []string{"exp", "1e8"}}, {"ended minus zero", []string{"exp", "-0"}}, {"ended, and exp in another claim", []string{"exp", far(-time.Hour), "expires", far(time.Hour), "expires_in", "3600"}}, {"a small fraction", []string{"exp", "0.1"}}, {"a negative exponent", []string{"exp", far(time.Hour) + "e-3"}},
		{"begins in the year 9999", []string{"nbf", "253402300799"}}, {"begins in an hour, as a fraction", []string{"nbf", far(time.Hour) + ".5"}}, {"begins tomorrow", []string{"nbf", far(24 * time.Hour), "exp", far(48 * time.Hour)}}, {"begins after its end", []string{"nbf", far(3 * time.Hour)}}, {"begins in ten minutes", []string{"nbf", far(10 * time.Minute)}},
		{"issued in an hour", []string{"iat", far(time.Hour)}}, {"issued tomorrow", []string{"iat", far(24 * time.Hour), "exp", far(48 * time.Hour)}}, {"issued in ten minutes", []string{"iat", far(10 * time.Minute)}}, {"issued in the year 9999", []string{"iat", "253402300799"}}, {"issued later, as a fraction", []string{"iat", far(time.Hour) + ".25"}},
		{"no exp and no iat", []string{"exp", "", "iat", ""}}, {"no exp, nbf in the past", []string{"exp", "", "nbf", "0"}}, {"exp in a list", []string{"exp", "", "exps", "[" + far(time.Hour) + "]"}}, {"exp nested", []string{"exp", "", "x", `{"exp":` + far(time.Hour) + `}`}}, {"exp in the header only", []string{"exp", ""}},
	} {
		s := g.pick()
		header := s.header()
		if v.name == "exp in the header only" {
			header = s.header("exp", far(time.Hour))
		}
		g.add(v.name, s.sign(header, s.claims(v.pairs...)), why)
	}
	for _, s := range g.signers() {
		if life := s.issuer.MaxLifetime; life > 0 {
			const why = "a token ends some time after it was issued, whatever else it says"
			g.add("no iat, "+s.label(), s.sign(s.header(), s.claims("iat", "")), why)
			g.add("issued too long ago, "+s.label(), s.sign(s.header(), s.claims("iat", s.in(-life))), why)
			g.add("issued in 1970, "+s.label(), s.sign(s.header(), s.claims("iat", "0")), why)
		}
	}
}

// near returns what a comparison that is not exact takes for the URL s.
func near(s string) []struct{ name, value string } {
	scheme, rest, _ := strings.Cut(s, "://")
	host, path, _ := strings.Cut(rest, "/")
	dot := strings.LastIndexByte(host, '.')
	var all []struct{ name, value string }
	for _, v := range []struct{ name, value string }{
		{"prefix", s[:len(s)-1]}, {"suffix", s[1:]}, {"empty", ""}, {"a space", " "}, {"a slash after", s + "/"}, {"two slashes after", s + "//"}, {"a path after", s + "/x"}, {"a letter after", s + "x"}, {"a space after", s + " "}, {"a space before", " " + s}, {"a tab after", s + "\t"}, {"a line feed after", s + "\n"}, {"a NUL after", s + "\x00"},
		{"a NUL and more after", s + "\x00.attacker.example"}, {"a query after", s + "?x"}, {"a fragment after", s + "#"}, {"upper case", strings.ToUpper(s)}, {"scheme in upper case", strings.ToUpper(scheme) + "://" + rest}, {"host in upper case", scheme + "://" + strings.ToUpper(host) + strings.TrimPrefix(rest, host)}, {"another scheme", "ftp://" + rest}, {"no scheme", rest},
		{"scheme-relative", "//" + rest}, {"http", "http://" + rest}, {"https port", scheme + "://" + host + ":443/" + path}, {"a user", scheme + "://user@" + rest}, {"as the user of another", s + "@attacker.example"}, {"as a part of another host", scheme + "://" + host + ".attacker.example/" + path}, {"behind another host", "https://attacker.example/" + s},
		{"with its end as another host", "https://attacker-" + rest}, {"a dot after the host", scheme + "://" + host + "./" + path}, {"a dot segment", scheme + "://" + host + "/./" + path}, {"a segment up", s + "/../x"}, {"an escape", strings.Replace(s, "e", "%65", 1)}, {"a Cyrillic letter", strings.Replace(s, "e", "е", 1)}, {"a full-width letter", strings.Replace(s, "e", "ｅ", 1)},
		{"a letter for a dot", scheme + "://" + host[:max(dot, 0)] + "x" + host[dot+1:] + strings.TrimPrefix(rest, host)}, {"asterisk", "*"}, {"a pattern", ".*"}, {"the host alone", host}, {"the origin alone", scheme + "://" + host}, {"twice with a space", s + " " + s}, {"with another and a space", s + " https://attacker.example"}, {"with another and a comma", s + ",https://attacker.example"},
		{"in a JSON text", `["` + s + `"]`}, {"in quotation marks", `"` + s + `"`}, {"in angle brackets", "<" + s + ">"}, {"backslashes", strings.ReplaceAll(s, "/", `\`)}, {"zero-width space after", s + "\u200b"}, {"a byte order mark before", "\ufeff" + s}, {"another", "https://attacker.example"}, {"null as text", "null"},
	} {
		if v.value != s {
			all = append(all, v)
		}
	}
	return all
}

// takes reports whether the target takes name as an issuer.
func (g *generator) takes(name string) bool {
	for _, iss := range g.target.Issuers {
		if iss.Name == name {
			return true
		}
	}
	return false
}

func (g *generator) audience() {
	const why = "a token for another server is no token for this one, and only an equal text is this one (RFC 7519, section 4.1.3; RFC 8707); CVE-2020-26160 (jwt-go)"
	for i := range near(g.pick().issuer.Audience) {
		s := g.pick()
		all := near(s.issuer.Audience)
		v := all[min(i, len(all)-1)]
		g.add(v.name, s.sign(s.header(), s.claims("aud", quote(v.value))), why)
		if i%4 == 0 {
			g.add(v.name+", in an array", s.sign(s.header(), s.claims("aud", `["https://third.example",`+quote(v.value)+`]`)), why)
		}
	}
	for _, s := range g.signers() {
		own := quote(s.issuer.Audience)
		g.add("of another server, "+s.label(), s.sign(s.header(), s.claims("aud", `"https://third.example/mcp"`)), why)
		g.add("none, "+s.label(), s.sign(s.header(), s.claims("aud", "")), why)
		g.add("the issuer itself, "+s.label(), s.sign(s.header(), s.claims("aud", quote(s.issuer.Name))), why)
		for _, other := range g.target.Issuers {
			if other.Audience != s.issuer.Audience {
				g.add("that of "+other.Name+", "+s.label(), s.sign(s.header(), s.claims("aud", quote(other.Audience))), why)
			}
		}
		if s.index > 0 {
			continue
		}
		for _, value := range []string{
			"[]", "[[" + own + "]]", "[" + own + ",1]", "[" + own + ",null]", "[null," + own + "]", "[" + own + ",[]]", "{" + own + ":true}", `{"aud":` + own + "}", `{"0":` + own + `,"length":1}`, `{"$in":[` + own + "]}", `["https://third.example","https://another.example"]`, `[""]`, `["*"]`, "[true]",
		} {
			g.add(value+", "+s.label(), s.sign(s.header(), s.claims("aud", value)), why)
		}
		for _, name := range []string{"azp", "client_id", "resource", "audience", "aud[]", "aud ", "x"} {
			g.add("in "+quote(name)+" instead, "+s.label(), s.sign(s.header(), s.claims("aud", "", name, own)), why)
		}
		g.add("in the header, "+s.label(), s.sign(s.header("aud", own), s.claims("aud", "")), why)
	}
}

func (g *generator) issuer() {
	const why = "keys belong to the issuer whose name is exactly the token's (RFC 8725, section 3.8): CVE-2018-15801 (Spring Security), CVE-2024-5037 (OpenShift telemeter), CVE-2024-53861 (PyJWT), CVE-2025-30144 (fast-jwt)"
	for i := range near(g.pick().issuer.Name) {
		s := g.pick()
		all := near(s.issuer.Name)
		if v := all[min(i, len(all)-1)]; !g.takes(v.value) {
			g.add(v.name, s.sign(s.header(), s.claims("iss", quote(v.value))), why)
		}
	}
	for _, s := range g.signers() {
		own := quote(s.issuer.Name)
		g.add("none, "+s.label(), s.sign(s.header(), s.claims("iss", "")), why)
		g.add("an attacker's, "+s.label(), s.sign(s.header(), s.claims("iss", `"https://attacker.example"`)), why)
		g.add("an array, "+s.label(), s.sign(s.header(), s.claims("iss", `["https://attacker.example",`+own+`]`)), why)
		g.add("an array of the right one, "+s.label(), s.sign(s.header(), s.claims("iss", "["+own+"]")), why)
	}
	s := g.pick()
	own := quote(s.issuer.Name)
	for _, value := range []string{"[]", "[[" + own + "]]", "{" + own + ":true}", `{"iss":` + own + "}", "0", "1.5"} {
		g.add(value, s.sign(s.header(), s.claims("iss", value)), why)
	}
	g.add("in the header", s.sign(s.header("iss", own), s.claims("iss", "")), why)
	g.add("in issuer instead", s.sign(s.header(), s.claims("iss", "", "issuer", own)), why)
	g.add("nested", s.sign(s.header(), s.claims("iss", "", "x", `{"iss":`+own+"}")), why)
}

func (g *generator) userID() {
	const why = "the user is the text of one claim, which is there and can be written down: no other claim stands in, and no other kind of value is made text"
	last := ""
	for _, s := range g.signers() {
		claim := s.issuer.UserIDClaim
		g.add("none, "+s.label(), s.sign(s.header(), s.claims(claim, "")), why)
		if s.issuer.Name == last {
			continue
		}
		last = s.issuer.Name
		for _, value := range []string{
			`""`, "null", "0", "1", "true", "false", "[]", `["victim"]`, "{}", `{"id":"victim"}`, `{"$ne":null}`, `"\u0000"`, `"victim\u0000"`, `"victim\u0000admin"`, `"victim\n"`, `"victim\r\nX-User-ID: admin"`, `"\t"`, `"\u001b[2J"`, `"\u007f"`, `"\u0085"`, `"victim\u009b"`, "1e400", `["victim","admin"]`, "-0",
		} {
			g.add(value+", "+s.label(), s.sign(s.header(), s.claims(claim, value)), why)
		}
		for _, other := range []string{"sub", "userId", "user_id", "uid", "username", "preferred_username", "email", "oid", "client_id", "userid ", "userId.", "x.userId"} {
			if other != claim {
				g.add("in "+quote(other)+" instead, "+s.label(), s.sign(s.header(), s.claims(claim, "", other, `"victim"`)), why)
			}
		}
		g.add("in the header, "+s.label(), s.sign(s.header(claim, `"victim"`), s.claims(claim, "")), why)
		g.add("nested, "+s.label(), s.sign(s.header(), s.claims(claim, "", "user", object([]string{claim, `"victim"`}))), why)
		for i, n := range []int{1, 64} {
			id := strings.Repeat("v", n) + "\x00"
			g.add("a NUL at the end, "+strconv.Itoa(i)+", "+s.label(), s.sign(s.header(), s.claims(claim, quote(id))), why)
		}
	}
}
