package attack

import (
	"crypto"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha512"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"filippo.io/edwards25519"

	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

func curveOf(alg string) elliptic.Curve {
	switch alg {
	case "ES384":
		return elliptic.P384()
	case "ES512":
		return elliptic.P521()
	}
	return elliptic.P256()
}

// size is the bytes of a coordinate, and of r and s.
func size(curve elliptic.Curve) int { return (curve.Params().BitSize + 7) / 8 }

// raw is a signature as JWS has it: r and s in full length (RFC 7518, section
// 3.4).
func raw(curve elliptic.Curve, r, s *big.Int) []byte {
	return append(mpint(r, size(curve)), mpint(s, size(curve))...)
}

// reverse returns b in the other byte order.
func reverse(b []byte) []byte {
	b = slices.Clone(b)
	slices.Reverse(b)
	return b
}

// mpint is the number v in n bytes.
func mpint(v *big.Int, n int) []byte { return v.FillBytes(make([]byte, n)) }

// ecdsaValue has numbers that no signature has.
func (g *generator) ecdsaValue() {
	const why = "r and s must lie between 1 and n-1, else everything fits: CVE-2022-21449 (Java, psychic signatures), CVE-2021-43572 (starkbank-ecdsa), CVE-2022-41340 (secp256k1-js), CVE-2020-13822 and CVE-2024-42460 (elliptic)"
	for _, s := range g.signers("ES") {
		curve := curveOf(s.key.Algorithm)
		n, p := curve.Params().N, curve.Params().P
		input, _ := cutSignature(s.good())
		goodR, goodS := signECDSA(s.ecdsa(), hashOf(s.key.Algorithm), input)
		zero, one := new(big.Int), big.NewInt(1)
		top := new(big.Int).Sub(new(big.Int).Lsh(one, uint(8*size(curve))), one)
		point := must(s.ecdsa().PublicKey.Bytes())
		publicX := new(big.Int).SetBytes(point[1 : 1+size(curve)])
		less, more := new(big.Int).Sub(n, one), new(big.Int).Add(n, one)
		type pair struct {
			name string
			r, s *big.Int
		}
		pairs := []pair{
			{"0, 0", zero, zero}, {"n, n", n, n}, {"0, 1", zero, one}, {"1, 0", one, zero}, {"1, 1", one, one}, {"n, 1", n, one}, {"1, n", one, n}, {"n-1, n-1", less, less}, {"n+1, n+1", more, more},
			{"p, p", p, p}, {"p, 0", p, zero}, {"all bits", top, top}, {"r, 0", goodR, zero}, {"0, s", zero, goodS}, {"r, n", goodR, n}, {"n, s", n, goodS}, {"s, r", goodS, goodR}, {"r, r", goodR, goodR},
			{"n-r, s", new(big.Int).Sub(n, goodR), goodS}, {"Gx, Gx", curve.Params().Gx, curve.Params().Gx}, {"Gx, Gy", curve.Params().Gx, curve.Params().Gy},
			{"Qx, Qx", publicX, publicX},
		}
		// P-521 leaves seven bits, so that r+n has a form too.
		for _, twin := range []pair{{"r+n, s", new(big.Int).Add(goodR, n), goodS}, {"r, s+n", goodR, new(big.Int).Add(goodS, n)}, {"r+n, s+n", new(big.Int).Add(goodR, n), new(big.Int).Add(goodS, n)}} {
			if twin.r.Cmp(top) <= 0 && twin.s.Cmp(top) <= 0 {
				pairs = append(pairs, twin)
			}
		}
		for _, v := range pairs {
			g.add("("+v.name+") for "+s.label(), s.with(raw(curve, v.r, v.s)), why)
		}
	}
}

// ecdsaForm has good numbers in a form that is not that of JWS.
func (g *generator) ecdsaForm() {
	const why = "the form is r and s, each in full length, and nothing else (RFC 7518, section 3.4): another form is another spelling of one token, or is read in part; CVE-2019-14859 (python-ecdsa), CVE-2020-14966 (jsrsasign), CVE-2024-42461 (elliptic)"
	for _, s := range g.signers("ES") {
		curve := curveOf(s.key.Algorithm)
		input, signature := cutSignature(s.good())
		good := []byte(tokentest.Decode(signature))
		n := size(curve)
		r, v := signECDSA(s.ecdsa(), hashOf(s.key.Algorithm), input)
		der := must(asn1.Marshal(struct{ R, S *big.Int }{r, v}))
		// The length of 128 and more has a long form, and BER has it for all.
		ber := slices.Concat([]byte{0x30, 0x82, 0, byte(len(der) - 2)}, der[2:])
		for _, form := range []struct {
			name string
			data []byte
		}{
			{"DER", der}, {"BER", ber}, {"DER and more", append(slices.Clone(der), 0)}, {"one byte less", good[:2*n-1]}, {"one byte more", append(slices.Clone(good), 0)}, {"a zero before", append([]byte{0}, good...)},
			{"a zero before each", slices.Concat([]byte{0}, good[:n], []byte{0}, good[n:])}, {"r only", good[:n]}, {"twice", slices.Concat(good, good)}, {"recovery byte before", append([]byte{27}, good...)},
			{"hexadecimal", []byte(hex.EncodeToString(good))}, {"base64 once more", []byte(base64.StdEncoding.EncodeToString(good))}, {"reversed", reverse(good)}, {"each reversed", append(reverse(good[:n]), reverse(good[n:])...)},
			{"as r,s in decimal", []byte(r.String() + "," + v.String())},
		} {
			g.add(form.name+" of "+s.label(), s.with(form.data), why)
		}
		for _, other := range []string{"ES256", "ES384", "ES512"} {
			if other != s.key.Algorithm {
				g.add("a signature on "+curveOf(other).Params().Name+" for "+s.label(), s.with(attacker(other, "").Sign(input)), "a signature of another curve's size")
			}
		}
	}
}

func (g *generator) ed25519() {
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	const (
		range_ = "S must be less than the order, else a token has several spellings (RFC 8032, section 5.1.7): CVE-2020-36843 (EdDSA-Java), CVE-2024-48949 (elliptic)"
		small  = "points of small order fit every message"
		length = "a signature has 64 bytes: CVE-2024-42459 (elliptic)"
		mode   = "another signature scheme of the same key (RFC 8032, section 5.1)"
	)
	for _, s := range g.signers("Ed") {
		key := s.key.Private.(ed25519.PrivateKey)
		input, signature := cutSignature(s.good())
		good := []byte(tokentest.Decode(signature))
		r, scalar := good[:32], good[32:]
		number := new(big.Int).SetBytes(reverse(scalar))
		for times := int64(1); times <= 7; times++ {
			more := new(big.Int).Add(number, new(big.Int).Mul(order, big.NewInt(times)))
			g.add(fmt.Sprintf("S+%dL for %s", times, s.label()), s.with(append(slices.Clone(r), reverse(mpint(more, 32))...)), range_)
		}
		for _, bit := range []byte{0x20, 0x40, 0x80, 0xe0} {
			high := slices.Clone(good)
			high[63] |= bit
			g.add(fmt.Sprintf("high bits %02x of S for %s", bit, s.label()), s.with(high), range_)
		}
		negative := new(big.Int).Sub(order, number)
		g.add("L-S for "+s.label(), s.with(append(slices.Clone(r), reverse(mpint(negative, 32))...)), range_)
		g.add("S = L for "+s.label(), s.with(append(slices.Clone(r), reverse(mpint(order, 32))...)), range_)

		zero := make([]byte, 32)
		for _, point := range []struct{ name, hex string }{
			{"the identity", "0100000000000000000000000000000000000000000000000000000000000000"},
			{"order 2", "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"},
			{"order 4", "0000000000000000000000000000000000000000000000000000000000000000"},
			{"order 4, other sign", "0000000000000000000000000000000000000000000000000000000000000080"},
			{"order 8", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"},
			{"order 8, other sign", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"},
			{"the identity, not canonical", "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"},
			{"the identity, other sign", "0100000000000000000000000000000000000000000000000000000000000080"},
			{"no point", "0200000000000000000000000000000000000000000000000000000000000000"},
			{"all bits", strings.Repeat("ff", 32)},
		} {
			R := must(hex.DecodeString(point.hex))
			g.add("R "+point.name+", S 0 for "+s.label(), s.with(append(slices.Clone(R), zero...)), small)
			g.add("R "+point.name+", S kept for "+s.label(), s.with(append(slices.Clone(R), scalar...)), small)
		}
		public := []byte(key.Public().(ed25519.PublicKey))
		g.add("R the public key, S 0 for "+s.label(), s.with(append(slices.Clone(public), zero...)), small)
		g.add("R the public key, S 1 for "+s.label(), s.with(append(slices.Clone(public), append([]byte{1}, zero[1:]...)...)), small)
		g.add("good with a cofactor only, by "+s.label(), s.with(cofactored(key, input)), "two verifiers disagree, where one multiplies by the cofactor: what one refuses, another takes")

		g.add("63 bytes for "+s.label(), s.with(good[:63]), length)
		g.add("65 bytes for "+s.label(), s.with(append(slices.Clone(good), 0)), length)
		g.add("32 bytes for "+s.label(), s.with(r), length)
		g.add("twice for "+s.label(), s.with(append(slices.Clone(good), good...)), length)
		g.add("with the message, as NaCl, for "+s.label(), s.with(append(slices.Clone(good), input...)), length)
		g.add("S, R for "+s.label(), s.with(append(slices.Clone(scalar), r...)), length)
		g.add("reversed for "+s.label(), s.with(reverse(good)), length)

		digest := sha512.Sum512([]byte(input))
		g.add("Ed25519ph by "+s.label(), s.with(must(key.Sign(nil, digest[:], &ed25519.Options{Hash: crypto.SHA512}))), mode)
		g.add("Ed25519ctx by "+s.label(), s.with(must(key.Sign(nil, []byte(input), &ed25519.Options{Context: "JWT"}))), mode)
		g.add("of the hash by "+s.label(), s.with(ed25519.Sign(key, digest[:])), mode)
		g.add("of SHA-256 of it by "+s.label(), s.with(ed25519.Sign(key, sum(crypto.SHA256, input))), mode)
	}
}

// cofactored signs with a part of small order in R, which only the equation
// with the cofactor forgives (RFC 8032, section 5.1.7, allows both).
func cofactored(key ed25519.PrivateKey, input string) []byte {
	h := sha512.Sum512(key.Seed())
	a := must(edwards25519.NewScalar().SetBytesWithClamping(h[:32]))
	nonce := sha512.Sum512([]byte("nonce" + input))
	r := must(edwards25519.NewScalar().SetUniformBytes(nonce[:]))
	torsion := must(new(edwards25519.Point).SetBytes(must(hex.DecodeString("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"))))
	R := new(edwards25519.Point).ScalarBaseMult(r)
	R.Add(R, torsion)
	challenge := sha512.Sum512(slices.Concat(R.Bytes(), key.Public().(ed25519.PublicKey), []byte(input)))
	k := must(edwards25519.NewScalar().SetUniformBytes(challenge[:]))
	return append(R.Bytes(), edwards25519.NewScalar().MultiplyAdd(k, a, r).Bytes()...)
}

// prefixes of DigestInfo (RFC 8017, section 9.2).
var prefixes = map[crypto.Hash]string{
	crypto.SHA1:   "3021300906052b0e03021a05000414",
	crypto.SHA256: "3031300d060960864801650304020105000420",
	crypto.SHA384: "3041300d060960864801650304020205000430",
	crypto.SHA512: "3051300d060960864801650304020305000440",
}

// rsaPKCS1 signs encodings that are nearly right with the real key: what a
// verifier that parses the padding, rather than comparing it, takes for right.
func (g *generator) rsaPKCS1() {
	const why = "the padding is to be compared as a whole (RFC 8017, section 8.2.2): CVE-2006-4339 (OpenSSL), CVE-2014-1568 (NSS, BERserk), CVE-2016-1494 (python-rsa), CVE-2018-16152 (strongSwan), CVE-2021-30246 (jsrsasign), CVE-2022-24771 and CVE-2022-24772 (node-forge)"
	for _, s := range g.signers("RS") {
		hash := hashOf(s.key.Algorithm)
		input, signature := cutSignature(s.good())
		good := []byte(tokentest.Decode(signature))
		digest := sum(hash, input)
		prefix := must(hex.DecodeString(prefixes[hash]))
		info := slices.Concat(prefix, digest)
		k := s.rsa().Size()
		// encoded is 00 01 FF… 00 info, with n bytes of FF, and the rest after it.
		encoded := func(n int, info []byte) []byte {
			em := slices.Concat([]byte{0, 1}, slices.Repeat([]byte{0xff}, n), []byte{0}, info)
			return append(em, g.bytes(k-len(em))...)
		}
		full := k - 3 - len(info)
		changed := func(at int, to byte) []byte {
			em := encoded(full, info)
			em[at] = to
			return em
		}
		noNull := slices.Concat(prefix[:1], []byte{prefix[1] - 2}, prefix[2:3], []byte{prefix[3] - 2}, prefix[4:len(prefix)-4], prefix[len(prefix)-2:], digest)
		longLength := slices.Concat([]byte{0x30, 0x81}, prefix[1:], digest)
		sha1 := slices.Concat(must(hex.DecodeString(prefixes[crypto.SHA1])), sum(crypto.SHA1, input))
		otherOID := slices.Clone(info)
		otherOID[14] ^= 7
		notNull := slices.Clone(info)
		notNull[len(prefix)-4] = 4
		for _, em := range []struct {
			name string
			data []byte
		}{
			{"8 bytes of padding and garbage after the hash", encoded(8, info)}, {"no padding and garbage after the hash", encoded(0, info)}, {"3 bytes of padding and garbage", encoded(3, info)},
			{"one byte of garbage", encoded(full-1, info)}, {"block type 0", changed(1, 0)}, {"block type 2", changed(1, 2)}, {"a first byte", changed(0, 1)}, {"padding with one other byte", changed(20, 0xfe)},
			{"padding with a zero", changed(20, 0)}, {"no zero after the padding", changed(2+full, 0xff)}, {"the bare hash", encoded(k-3-len(digest), digest)}, {"no DigestInfo, garbage before", slices.Concat([]byte{0, 1}, g.bytes(k-2-len(digest)), digest)},
			{"no NULL", encoded(k-3-len(noNull), noNull)}, {"another tag for NULL", encoded(full, notNull)}, {"long form of a length", encoded(k-3-len(longLength), longLength)}, {"SHA-1", encoded(k-3-len(sha1), sha1)},
			{"the OID of another hash", encoded(full, otherOID)}, {"an empty hash", encoded(k-3-len(prefix), prefix)}, {"only zeros", make([]byte, k)},
		} {
			g.add(em.name+" by "+s.label(), s.with(rawRSA(s.rsa(), em.data)), why)
		}
		g.rsaLengths(s, good)
		g.add("the encoding without the key for "+s.label(), s.with(encoded(full, info)), why)
	}
}

// rsaLengths has the numbers and lengths that no RSA signature has.
func (g *generator) rsaLengths(s signer, good []byte) {
	const why = "a signature is as long as the modulus and less than it (RFC 8017, sections 8.1.2 and 8.2.2): CVE-2020-14968 (jsrsasign)"
	n := s.rsa().N
	k := s.rsa().Size()
	number := new(big.Int).SetBytes(good)
	for _, v := range []struct {
		name string
		data []byte
	}{
		{"a zero before", append([]byte{0}, good...)}, {"a zero after", append(slices.Clone(good), 0)}, {"one byte less", good[:k-1]}, {"first byte gone", good[1:]}, {"half", good[:k/2]}, {"twice", slices.Concat(good, good)},
		{"0", make([]byte, k)}, {"1", mpint(big.NewInt(1), k)}, {"n", mpint(n, k)}, {"n-1", mpint(new(big.Int).Sub(n, big.NewInt(1)), k)}, {"n-s", mpint(new(big.Int).Sub(n, number), k)}, {"s+n", mpint(new(big.Int).Add(n, number), k+1)},
		{"all bits", slices.Repeat([]byte{0xff}, k)}, {"reversed", reverse(good)}, {"hexadecimal", []byte(hex.EncodeToString(good))}, {"3", mpint(big.NewInt(3), 1)},
	} {
		g.add(v.name+" for "+s.label(), s.with(v.data), why)
	}
}

func (g *generator) rsaPSS() {
	const why = "salt, hash and mask are those of the algorithm (RFC 7518, section 3.5): signatures of the same key for other purposes are none for this"
	for _, s := range g.signers("PS") {
		hash := hashOf(s.key.Algorithm)
		input, signature := cutSignature(s.good())
		n := s.rsa().Size() - hash.Size() - 2
		for _, salt := range []int{0, 1, 8, 20, hash.Size() - 1, hash.Size() + 1, 2 * hash.Size(), n} {
			g.add(fmt.Sprintf("a salt of %d bytes by %s", salt, s.label()), s.with(signPSS(s.rsa(), input, pss{hash: hash, mask: hash, salt: salt, trailer: 0xbc})), why)
		}
		other := crypto.SHA512
		if hash == other {
			other = crypto.SHA256
		}
		for _, v := range []struct {
			name string
			pss  pss
		}{
			{"mask of SHA-1", pss{hash: hash, mask: crypto.SHA1, salt: hash.Size(), trailer: 0xbc}},
			{"mask of another hash", pss{hash: hash, mask: other, salt: hash.Size(), trailer: 0xbc}},
			{"another hash", pss{hash: other, mask: other, salt: other.Size(), trailer: 0xbc}},
			{"SHA-1", pss{hash: crypto.SHA1, mask: crypto.SHA1, salt: 20, trailer: 0xbc}},
			{"trailer of ISO 9796", pss{hash: hash, mask: hash, salt: hash.Size(), trailer: 0xcc}},
			{"trailer 0", pss{hash: hash, mask: hash, salt: hash.Size()}},
			{"padding not zero", pss{hash: hash, mask: hash, salt: hash.Size(), trailer: 0xbc, padding: 1}},
			{"separator not one", pss{hash: hash, mask: hash, salt: hash.Size(), trailer: 0xbc, separator: 2}},
		} {
			g.add(v.name+" by "+s.label(), s.with(signPSS(s.rsa(), input, v.pss)), why)
		}
		g.rsaLengths(s, []byte(tokentest.Decode(signature)))
	}
}

func (g *generator) hmac() {
	const why = "the whole code is compared, and with the whole secret (RFC 7518, section 3.2)"
	for _, s := range g.signers("HS") {
		secret := s.key.Private.([]byte)
		hash := hashOf(s.key.Algorithm)
		input, signature := cutSignature(s.good())
		good := []byte(tokentest.Decode(signature))
		with := func(secret []byte) []byte { return Key{Algorithm: s.key.Algorithm, Private: secret}.Sign(input) }
		for _, v := range []struct {
			name string
			data []byte
		}{
			{"first byte", good[:1]}, {"half", good[:len(good)/2]}, {"all but one byte", good[:len(good)-1]}, {"one byte more", append(slices.Clone(good), 0)}, {"zeros", make([]byte, len(good))}, {"twice", slices.Concat(good, good)},
			{"hexadecimal", []byte(hex.EncodeToString(good))}, {"base64 once more", []byte(base64.StdEncoding.EncodeToString(good))}, {"reversed", reverse(good)}, {"hash of secret and text", sum(hash, string(secret)+input)}, {"hash of the text", sum(hash, input)},
			{"secret one byte short", with(secret[:len(secret)-1])}, {"secret and a line feed", with(append(slices.Clone(secret), '\n'))}, {"secret and a NUL", with(append(slices.Clone(secret), 0, 'x'))}, {"secret in lower case", with([]byte(strings.ToLower(string(secret))))},
			{"secret in base64", with([]byte(base64.StdEncoding.EncodeToString(secret)))}, {"secret in hexadecimal", with([]byte(hex.EncodeToString(secret)))}, {"the first 8 bytes of the secret", with(secret[:8])},
		} {
			g.add(v.name+" for "+s.label(), s.with(v.data), why)
		}
	}
}

// signature has what is wrong whatever the algorithm.
func (g *generator) signature() {
	for _, s := range g.signers() {
		input, signature := cutSignature(s.good())
		good := []byte(tokentest.Decode(signature))
		header, payload, _ := strings.Cut(input, ".")
		flipped := func(i int) []byte {
			b := slices.Clone(good)
			b[i] ^= 1
			return b
		}
		_, another := cutSignature(s.sign(s.header(), s.claims()))
		for _, v := range []struct {
			name string
			data []byte
		}{
			{"none", nil}, {"one byte", []byte{0}}, {"random", g.bytes(len(good))}, {"first bit", flipped(0)}, {"last bit", flipped(len(good) - 1)}, {"middle bit", flipped(len(good) / 2)}, {"zeros", make([]byte, len(good))},
			{"of another token", []byte(tokentest.Decode(another))}, {"2048 bytes", g.bytes(2048)}, {"of the header alone", s.key.Sign(header)}, {"of the payload alone", s.key.Sign(payload)}, {"of the decoded text", s.key.Sign(tokentest.Decode(header) + "." + tokentest.Decode(payload))},
			{"of the input and a dot", s.key.Sign(input + ".")}, {"of payload, then header", s.key.Sign(payload + "." + header)}, {"of nothing", s.key.Sign("")}, {"the text null", []byte("null")},
		} {
			g.add(v.name+" for "+s.label(), s.with(v.data), "no signature of this token: CVE-2020-28042 (ServiceStack), CVE-2017-10862 (jwt-scala)")
		}
	}
}

// tampered changes a good token under its old signature.
func (g *generator) tampered() {
	const why = "the signature is of something else: CVE-2022-39227 (python-jwt)"
	for _, s := range g.signers() {
		input, signature := cutSignature(s.good())
		header, payload, _ := strings.Cut(input, ".")
		claims := tokentest.Decode(payload)
		for _, v := range []struct{ name, header, claims string }{
			{"another user", s.header(), strings.Replace(claims, "victim", "attacker", 1)},
			{"a longer life", s.header(), strings.Replace(claims, s.in(3600e9), s.in(7200e9), 1)},
			{"a space in the claims", s.header(), strings.Replace(claims, "{", "{ ", 1)},
			{"more claims", s.header(), tokentest.With(claims, `"admin":true`)},
			{"another header", s.header("x", "1"), claims},
			{"no kid and no typ", s.header("kid", "", "typ", "", "x", "2"), claims},
			{"no claims", s.header(), "{}"},
		} {
			g.add(v.name+" for "+s.label(), tokentest.Encode(v.header)+"."+tokentest.Encode(v.claims)+"."+signature, why)
		}
		g.add("header and payload exchanged for "+s.label(), payload+"."+header+"."+signature, why)
		g.add("an empty payload for "+s.label(), header+".."+signature, why)
	}
}
