// Package jws verifies compact JSON Web Signatures (RFC 7515) and nothing
// else of JOSE: no JSON serialization, no encryption, no detached payload, no
// "none". It is strict where the RFC leaves room, because each leniency of a
// JWT library has been an attack on somebody:
//
//   - the form of all three segments is checked before anything is decoded:
//     alphabet, padding and spare bits, so that a token has one spelling;
//   - a key serves exactly one algorithm, chosen when the key was loaded; the
//     token's "alg" can only agree or be refused;
//   - "crit" and "b64" are refused (no extension is understood), and keys that
//     come with the token ("jwk", "jku", "x5u", "x5c") are never looked at.
//
// Signatures are checked by the standard library's crypto packages.
package jws

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/mcpauth-go/mcpauth/internal/strictjson"
)

// Errors of Split and Headers.Parse.
var (
	ErrSegments  = errors.New("not three segments")
	ErrAlphabet  = errors.New("a segment is not unpadded base64url")
	ErrCanonical = errors.New("a segment is not canonical base64url")
	ErrCritical  = errors.New(`the header has "crit" or "b64", and no extension is understood`)
	ErrEncrypted = errors.New("an encrypted token (JWE)")
	ErrHeader    = errors.New("the header lacks a usable parameter")
)

// Token is a compact JWS of proper form. It shares the memory that it was
// split from.
type Token struct {
	SigningInput               []byte
	header, payload, signature []byte
}

// Header is what the protected header says of the signature.
type Header struct {
	Algorithm Algorithm // "" when unknown here
	KeyID     []byte    // nil when absent
	Type      []byte    // nil when absent
}

// decodeMap maps a base64url character to its value, any other to invalid.
var decodeMap = func() (m [256]byte) {
	for i := range m {
		m[i] = invalid
	}
	for i := range 64 {
		m["ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[i]] = byte(i)
	}
	return m
}()

const invalid = 0x80

// decodePairs maps two base64url characters, the first one in the low byte, to
// their twelve bits, any others to invalidPair. It spares half of the look-ups
// in what a long token costs most, apart from its HMAC: finding out that its
// form is right, and decoding it.
var decodePairs = func() (m [1 << 16]uint16) {
	for pair := range m {
		if first, second := decodeMap[pair&0xff], decodeMap[pair>>8]; (first|second)&invalid != 0 {
			m[pair] = invalidPair
		} else {
			m[pair] = uint16(first)<<6 | uint16(second)
		}
	}
	return m
}()

const invalidPair = 0x8000

func decodePair(s []byte) uint16 { return decodePairs[binary.LittleEndian.Uint16(s)] }

// Split checks the form of a token. The signature may be empty, so that an
// unsecured token is told apart from a broken one.
func Split(raw []byte) (Token, error) {
	var dots [2]int
	n := 0
	for i := 0; ; i++ {
		if i += alphabetRun(raw[i:]); i == len(raw) {
			break
		}
		if raw[i] != '.' {
			return Token{}, ErrAlphabet
		}
		if n == 2 {
			return Token{}, ErrSegments
		}
		dots[n] = i
		n++
	}
	if n != 2 {
		return Token{}, ErrSegments
	}
	t := Token{
		SigningInput: raw[:dots[1]],
		header:       raw[:dots[0]],
		payload:      raw[dots[0]+1 : dots[1]],
		signature:    raw[dots[1]+1:],
	}
	if len(t.header) == 0 {
		return Token{}, ErrSegments
	}
	if !canonical(t.header) || !canonical(t.payload) || !canonical(t.signature) {
		return Token{}, ErrCanonical
	}
	return t, nil
}

// alphabetRun returns how many base64url characters s begins with.
func alphabetRun(s []byte) int {
	i := 0
	for ; len(s)-i >= 16; i += 16 {
		c := (*[16]byte)(s[i:])
		if (decodePair(c[0:])|decodePair(c[2:])|decodePair(c[4:])|decodePair(c[6:])|
			decodePair(c[8:])|decodePair(c[10:])|decodePair(c[12:])|decodePair(c[14:]))&invalidPair != 0 {
			break
		}
	}
	for i < len(s) && decodeMap[s[i]]&invalid == 0 {
		i++
	}
	return i
}

// canonical reports whether segment, of good alphabet, is the one spelling of
// the bytes that it stands for: a possible length, and spare bits of zero.
func canonical(segment []byte) bool {
	switch len(segment) % 4 {
	case 1:
		return false
	case 2:
		return decodeMap[segment[len(segment)-1]]&0x0f == 0
	case 3:
		return decodeMap[segment[len(segment)-1]]&0x03 == 0
	}
	return true
}

// Headers remembers the header of the last good token. All tokens of a key
// have the same one, so most need no decoding.
type Headers struct{ last atomic.Pointer[knownHeader] }

type knownHeader struct {
	segment []byte
	header  Header
}

// Parse decodes the protected header of t, using buf as memory where it is
// large enough.
func (hs *Headers) Parse(t Token, buf []byte) (Header, error) {
	if known := hs.last.Load(); known != nil && bytes.Equal(known.segment, t.header) {
		return known.header, nil
	}
	return t.parseHeader(buf)
}

// Remember keeps h, the header of t. It is for tokens of good signature only,
// so that strangers cannot put it to use.
func (hs *Headers) Remember(t Token, h Header) {
	if known := hs.last.Load(); known != nil && bytes.Equal(known.segment, t.header) {
		return
	}
	hs.last.Store(&knownHeader{
		segment: bytes.Clone(t.header),
		header:  Header{Algorithm: h.Algorithm, KeyID: bytes.Clone(h.KeyID), Type: bytes.Clone(h.Type)},
	})
}

func (t Token) parseHeader(buf []byte) (Header, error) {
	var (
		h      Header
		hasAlg bool
	)
	text, err := decode(buf, t.header)
	if err != nil {
		return h, err
	}
	err = strictjson.Object(text, func(name, value []byte) error {
		var into *[]byte
		switch string(name) {
		case "alg":
			alg, ok := strictjson.String(value)
			if !ok {
				return fmt.Errorf(`%w: "alg" is not a string`, ErrHeader)
			}
			hasAlg = true
			h.Algorithm = parseAlgorithm(alg)
			return nil
		case "crit", "b64":
			return ErrCritical
		case "enc":
			return ErrEncrypted
		case "kid":
			into = &h.KeyID
		case "typ":
			into = &h.Type
		default:
			return nil
		}
		s, ok := strictjson.String(value)
		if !ok {
			return fmt.Errorf("%w: a string is expected", ErrHeader)
		}
		if s == nil {
			s = []byte{}
		}
		*into = s
		return nil
	})
	if err == nil && !hasAlg {
		err = fmt.Errorf(`%w: no "alg"`, ErrHeader)
	}
	return h, err
}

// Payload decodes the payload into buf, which grows where it must.
func (t Token) Payload(buf []byte) ([]byte, error) { return decode(buf, t.payload) }

// Verify reports whether the token is signed with k. buf is memory for the
// signature.
func (t Token) Verify(k *Key, buf []byte) bool {
	if n := base64.RawURLEncoding.DecodedLen(len(t.signature)); n == 0 || n > maxSignature {
		return false
	}
	signature, err := decode(buf, t.signature)
	return err == nil && k.verifier.verify(t.SigningInput, signature)
}

// decode decodes a segment that Split has found to be of good form.
func decode(buf, segment []byte) ([]byte, error) {
	n := base64.RawURLEncoding.DecodedLen(len(segment))
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	rest := buf
	// Eight characters make six bytes; eight are written, so there must be as
	// many to come.
	for len(rest) >= 8 {
		c := (*[8]byte)(segment)
		binary.BigEndian.PutUint64(rest, uint64(decodePair(c[0:]))<<52|uint64(decodePair(c[2:]))<<40|
			uint64(decodePair(c[4:]))<<28|uint64(decodePair(c[6:]))<<16)
		segment, rest = segment[8:], rest[6:]
	}
	if _, err := base64.RawURLEncoding.Decode(rest, segment); err != nil {
		return nil, ErrAlphabet // Split has seen to it that this cannot be
	}
	return buf, nil
}
