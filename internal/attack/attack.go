// Package attack makes hostile tokens: for a verifier that is described as a
// [Target], everything that has ever been tried on verifiers of JSON Web
// Tokens, and what might be. Wherever it makes an attack more dangerous, a
// token is really signed with a key of the target, and has one fault.
//
//	issuer := attack.NewIssuer("https://issuer.example", audience, "userId", "RS256", "ES256", "EdDSA")
//	target := attack.Target{Issuers: []attack.Issuer{issuer}, Now: time.Now()}
//	// make a verifier that takes issuer.Name, audience and the keys of issuer.JWKS()
//	for _, token := range attack.Corpus(1, target) {
//		maps.Copy(request.Header, token.Header)
//		// send it: anything but a refusal is a hole
//	}
//	for _, token := range attack.Good(target) {
//		// send it: anything but a success, and the test proves nothing
//	}
//
// A token that is odd but means what the issuer said, such as the second
// spelling (r, n-s) of an ECDSA signature or a header with "jku" and a good
// signature, is not hostile, and not here.
//
// The corpus of a seed and a target is the same in every run, to the byte:
// ECDSA signatures are those of RFC 6979, salts of PSS are derived from what is
// signed, and [NewIssuer] derives keys from the issuer's name. The seed chooses
// which key signs which fault, and the bytes that may be any. Time faults are
// relative to Now, so a corpus is to be used within minutes of it.
package attack

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

// Target is what a verifier takes.
type Target struct {
	// Issuers are those whose tokens it takes; at least one.
	Issuers []Issuer
	// Now is the verifier's clock.
	Now time.Time
	// MaxTokenSize is its limit, in bytes. Default 16 KiB.
	MaxTokenSize int
}

// Issuer is an issuer of good tokens.
type Issuer struct {
	// Name is the exact "iss", Audience the exact "aud", UserIDClaim the claim
	// that holds the user's id.
	Name, Audience, UserIDClaim string
	// Keys sign its tokens. A verifier knows them with their IDs, each for its
	// one algorithm.
	Keys []Key
	// Claims are further ones of good tokens, as names and JSON text.
	Claims map[string]string
	// ExpiryLeeway is how long after "exp" the verifier still takes a token.
	ExpiryLeeway time.Duration
	// MaxLifetime, unless it is 0, is how long after its "iat", which is
	// required then, the verifier takes a token.
	MaxLifetime time.Duration
}

// Token is one credential on its way to a verifier.
type Token struct {
	Class, Name string
	// Header is all that a request has with it: mostly the Text as a bearer
	// token.
	Header http.Header
	// Text is the token alone, "" where it is the header that is hostile.
	Text string
	// Why says what the attack is, and where it has worked.
	Why string
}

// String names the token in messages.
func (t Token) String() string { return t.Class + "/" + t.Name }

// Sendable reports whether HTTP carries the header as it is. A client refuses
// to send what is not, or takes spaces off it, so that it arrives as another
// token; only a handler that is called in the process sees it.
func (t Token) Sendable() bool {
	for _, values := range t.Header {
		for _, v := range values {
			if strings.Trim(v, " \t") != v || strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
				return false
			}
		}
	}
	return true
}

// Good returns tokens that the target must take: of each key, with and without
// what is optional, and with each spelling of the scheme that HTTP allows.
func Good(t Target) []Token {
	g := newGenerator(0, t)
	g.class = "good"
	for _, s := range g.signers() {
		g.add(s.label(), s.good(), "an ordinary token")
		g.add(s.label()+" without kid and typ", s.sign(s.header("kid", "", "typ", ""), s.claims("x", "1")), "kid and typ are optional")
		g.add(s.label()+" of type at+jwt", s.sign(s.header("typ", `"at+jwt"`), s.claims("aud", `["https://third.example",`+quote(s.issuer.Audience)+`]`)), "RFC 9068, and one audience of several")
		g.add(s.label()+" with links to keys", s.sign(s.header("jku", `"https://attacker.example/jwks"`, "x5t", `"AAAA"`), s.claims()), "parameters that are ignored do no harm to a good signature")
	}
	for i, scheme := range []string{"bearer", "BEARER", "bEaReR", "Bearer  "} {
		s := g.pick()
		g.header("scheme "+quote(scheme), http.Header{"Authorization": {scheme + " " + s.sign(s.header(), s.claims("x", strconv.Itoa(i)))}}, "the scheme has no case, and spaces may follow (RFC 9110, section 11.4)")
	}
	return g.tokens
}

// Corpus returns the hostile tokens, none of which the target may take. No two
// have the same header, and none shares class and name with another.
func Corpus(seed uint64, t Target) []Token {
	g := newGenerator(seed, t)
	for _, part := range []struct {
		class string
		make  func(*generator)
	}{
		{"alg none", (*generator).algNone},
		{"alg value", (*generator).algValue},
		{"alg confusion", (*generator).algConfusion},
		{"alg swap", (*generator).algSwap},
		{"guessed secret", (*generator).guessedSecret},
		{"foreign key", (*generator).foreignKey},
		{"key in header", (*generator).keyInHeader},
		{"crit", (*generator).crit},
		{"kid", (*generator).kid},
		{"typ", (*generator).typ},
		{"token use", (*generator).tokenUse},
		{"bound token", (*generator).boundToken},
		{"ecdsa value", (*generator).ecdsaValue},
		{"ecdsa form", (*generator).ecdsaForm},
		{"ed25519", (*generator).ed25519},
		{"rsa pkcs1", (*generator).rsaPKCS1},
		{"rsa pss", (*generator).rsaPSS},
		{"hmac", (*generator).hmac},
		{"signature", (*generator).signature},
		{"tampered", (*generator).tampered},
		{"base64", (*generator).base64},
		{"segments", (*generator).segments},
		{"jwe", (*generator).jwe},
		{"header json", (*generator).headerJSON},
		{"claims json", (*generator).claimsJSON},
		{"duplicate", (*generator).duplicate},
		{"claim case", (*generator).claimCase},
		{"claim type", (*generator).claimType},
		{"time", (*generator).time},
		{"audience", (*generator).audience},
		{"issuer", (*generator).issuer},
		{"user id", (*generator).userID},
		{"size", (*generator).size},
		{"not a jwt", (*generator).notAJWT},
		{"authorization", (*generator).authorization},
	} {
		g.class = part.class
		part.make(g)
	}
	return g.tokens
}

type generator struct {
	target Target
	rand   *rand.Rand
	class  string
	tokens []Token
	seen   map[string]bool
	goods  map[string]string // the good token of each signer, by label
	count  int
}

func newGenerator(seed uint64, t Target) *generator {
	if len(t.Issuers) == 0 {
		panic("attack: the target has no issuer")
	}
	if t.MaxTokenSize == 0 {
		t.MaxTokenSize = 16 << 10
	}
	var bytes [32]byte
	binary.LittleEndian.PutUint64(bytes[:], seed)
	return &generator{target: t, rand: rand.New(rand.NewChaCha8(bytes)), seen: map[string]bool{}, goods: map[string]string{}}
}

// add puts text into the corpus as a bearer token.
func (g *generator) add(name, text, why string) {
	g.put(Token{Name: name, Text: text, Header: http.Header{"Authorization": {"Bearer " + text}}, Why: why})
}

// header puts a request's header into the corpus.
func (g *generator) header(name string, h http.Header, why string) {
	g.put(Token{Name: name, Header: h, Why: why})
}

// put leaves out what the corpus has: targets may make two attacks the same.
func (g *generator) put(t Token) {
	t.Class = g.class
	id := ""
	for _, name := range slices.Sorted(maps.Keys(t.Header)) {
		id += name + "\x00" + strings.Join(t.Header[name], "\x00") + "\x00\x00"
	}
	if name := "name " + t.String(); !g.seen[id] && !g.seen[name] {
		g.seen[id], g.seen[name] = true, true
		g.tokens = append(g.tokens, t)
	}
}

// bytes returns n bytes that may be any.
func (g *generator) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.rand.Uint32())
	}
	return b
}

// signer is one key of one of the target's issuers.
type signer struct {
	*generator
	issuer Issuer
	index  int // of the issuer
	key    Key
}

// signers returns a signer for each key whose algorithm begins with one of the
// prefixes; without any, for each key.
func (g *generator) signers(prefixes ...string) []signer {
	var all []signer
	for i, iss := range g.target.Issuers {
		for _, k := range iss.Keys {
			if len(prefixes) == 0 || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(k.Algorithm, p) }) {
				all = append(all, signer{g, iss, i, k})
			}
		}
	}
	return all
}

// pick returns any signer, and more often one that signs quickly.
func (g *generator) pick() signer {
	all, quick := g.signers(), g.signers("HS", "ES256", "Ed")
	if len(quick) > 0 && g.rand.IntN(3) > 0 {
		all = quick
	}
	return all[g.rand.IntN(len(all))]
}

// attacker returns a key of nobody's for alg, under the ID.
func attacker(alg, id string) Key { return newKey("attacker", alg, id) }

func (s signer) label() string {
	name := s.key.Algorithm
	if s.key.ID != "" {
		name += " " + s.key.ID
	}
	return fmt.Sprintf("%s of issuer %d", name, s.index)
}

// header returns that of a good token, with members replaced by others, given
// as name and JSON text; an empty text takes the member out.
func (s signer) header(pairs ...string) string {
	members := []string{"alg", quote(s.key.Algorithm), "typ", `"JWT"`}
	if s.key.ID != "" {
		members = append(members, "kid", quote(s.key.ID))
	}
	return object(append(members, pairs...))
}

// claims returns those of a good token, with others as header has them. No two
// are the same.
func (s signer) claims(pairs ...string) string {
	s.count++
	return s.claimsAs("token-"+strconv.Itoa(s.count), pairs...)
}

func (s signer) claimsAs(id string, pairs ...string) string {
	members := []string{
		"iss", quote(s.issuer.Name), "aud", quote(s.issuer.Audience), s.issuer.UserIDClaim, `"victim"`,
		"exp", s.in(time.Hour), "iat", s.in(0), "jti", quote(id),
	}
	for _, name := range slices.Sorted(maps.Keys(s.issuer.Claims)) {
		members = append(members, name, s.issuer.Claims[name])
	}
	return object(append(members, pairs...))
}

// sign returns the token of a header and claims of whatever kind.
func (s signer) sign(header, claims string) string { return sign(s.key, header, claims) }

func sign(k Key, header, claims string) string {
	return signText(k, tokentest.Encode(header), tokentest.Encode(claims))
}

// signText signs two segments as they are.
func signText(k Key, header, payload string) string {
	return header + "." + payload + "." + tokentest.Encode(string(k.Sign(header+"."+payload)))
}

// good returns the ordinary token of the signer: always the same one, so that
// it can be in a verifier's cache when its twins come.
func (s signer) good() string {
	if s.goods[s.label()] == "" {
		s.goods[s.label()] = s.sign(s.header(), s.claimsAs("good "+s.label()))
	}
	return s.goods[s.label()]
}

// with returns the good token with another signature.
func (s signer) with(signature []byte) string {
	input, _ := cutSignature(s.good())
	return input + "." + tokentest.Encode(string(signature))
}

// forge returns a token of the signer's with header, whose signature another
// makes.
func (s signer) forge(header string, signature func(input string) []byte) string {
	input := tokentest.Encode(header) + "." + tokentest.Encode(s.claims())
	return input + "." + tokentest.Encode(string(signature(input)))
}

func cutSignature(token string) (input, signature string) {
	i := strings.LastIndexByte(token, '.')
	return token[:i], token[i+1:]
}

// in is a time from now as a NumericDate.
func (g *generator) in(d time.Duration) string {
	return strconv.FormatInt(g.target.Now.Add(d).Unix(), 10)
}

// object writes pairs of name and JSON text. The last pair of a name counts;
// an empty text takes the member out.
func object(pairs []string) string {
	var names []string
	values := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		if _, there := values[pairs[i]]; !there {
			names = append(names, pairs[i])
		}
		values[pairs[i]] = pairs[i+1]
	}
	text := ""
	for _, name := range names {
		if values[name] != "" {
			text += "," + quote(name) + ":" + values[name]
		}
	}
	return "{" + strings.TrimPrefix(text, ",") + "}"
}

func quote(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic("attack: " + err.Error())
	}
	return string(text)
}
