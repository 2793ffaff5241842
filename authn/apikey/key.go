package apikey

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mcpauth-go/mcpauth"
)

// Hash is the SHA-256 of a whole key, prefix included. It is what stores keep.
type Hash [sha256.Size]byte

// HashOf returns the hash of a key.
func HashOf(key string) Hash {
	// A key fits, and is copied to the stack only.
	var buf [maxPrefix + randomChars]byte
	if len(key) > len(buf) {
		return sha256.Sum256([]byte(key))
	}
	return sha256.Sum256(buf[:copy(buf[:], key)])
}

// ParseHash reads a hash that String has written.
func ParseHash(text string) (h Hash, err error) {
	if len(text) != hex.EncodedLen(len(h)) {
		return h, errHash
	}
	if _, err := hex.Decode(h[:], []byte(text)); err != nil {
		return Hash{}, errHash
	}
	return h, nil
}

var errHash = errors.New("apikey: not a SHA-256 in hexadecimal")

// String returns the hash in lower-case hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText and UnmarshalText are String and ParseHash, for JSON.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (h *Hash) UnmarshalText(text []byte) (err error) {
	*h, err = ParseHash(string(text))
	return err
}

// Key is what a store knows of a key. It is not the key itself, nor can that be
// made from it.
type Key struct {
	// ID names the key, for lists, logs and revocations. It is no secret.
	ID string
	// Hash is the key's. A key that is found must have it.
	Hash Hash
	// UserID is the owner, who may have several keys. Where users are told
	// apart within a tenant only, Tenant is a part of who they are.
	UserID, Tenant string
	// Name is what the owner calls the key.
	Name string
	// Hint is how the key begins, for people to recognize it.
	Hint string
	// Scopes are those that the key grants.
	Scopes []string
	// Created is when the key was made, LastUsed about when it was last used.
	Created, LastUsed time.Time
	// Expires is when the key ends; the zero time means never.
	Expires time.Time
	// Revoked is when the key was revoked; the zero time means that it is not.
	Revoked time.Time
	// ReplacedBy is the id of the key that a rotation has made, or "".
	ReplacedBy string
	// Rate bounds the requests with this key. Zero: it does not.
	Rate Rate
}

// Rate is a number of requests in a time: so many at once, and then as they
// refill, evenly.
type Rate struct {
	Requests int
	Per      time.Duration
}

func (r Rate) fault() string {
	switch {
	case r == (Rate{}):
	case r.Requests < 1 || r.Requests > 1_000_000_000:
		return fmt.Sprintf("found %d requests", r.Requests)
	case r.Per < time.Millisecond || r.Per > 366*24*time.Hour:
		return fmt.Sprintf("found requests per %s", r.Per)
	}
	return ""
}

const rateExpected = "both positive, such as 100 a minute, or neither"

// Fingerprint returns the beginning of the key's hash, by which a key at hand
// can be matched with a list.
func (k *Key) Fingerprint() string { return k.Hash.String()[:16] }

// The states of a key.
const (
	Active  = "active"
	Expired = "expired"
	Revoked = "revoked"
)

// State returns Active, Expired or Revoked.
func (k *Key) State(now time.Time) string {
	switch {
	case !k.Revoked.IsZero():
		return Revoked
	case !k.Expires.IsZero() && !now.Before(k.Expires):
		return Expired
	}
	return Active
}

// Clone returns a copy that shares nothing with k.
func (k *Key) Clone() *Key {
	c := *k
	c.Scopes = slices.Clone(k.Scopes)
	return &c
}

// Spec says what key to make.
type Spec struct {
	// UserID is the owner. Required. Tenant: see Key.
	UserID, Tenant string
	Name           string
	Scopes         []string
	// Expires is when the key ends; the zero time means never.
	Expires time.Time
	Rate    Rate
	// Prefix is how the key begins. It is that of Config.Prefix. Default "sk_".
	Prefix string
}

// Rotation says how a key is replaced by another of the same owner, name, scopes
// and rate.
type Rotation struct {
	// Grace is how long the old key goes on, unless it ends before. Zero: it
	// ends at once.
	Grace time.Duration
	// Expires is when the new key ends. Default: it lives as long as the old
	// one was made for.
	Expires time.Time
}

// Errors of stores.
var (
	ErrNotFound = errors.New("apikey: there is no such key")
	ErrNotGood  = errors.New("apikey: the key has expired, is revoked or has been replaced")
)

const (
	defaultPrefix = "sk_"
	randomBytes   = 32
	randomChars   = 43 // of randomBytes in base64url, without padding
	maxPrefix     = 16
	hintChars     = 4 // beyond the prefix: 24 bits of 256 are shown
	maxText       = 255
	maxScopes     = 64
)

// Generate makes a key, for a store of your own; those of this module call it.
// The secret is the key itself, to be shown to its owner once and kept by nobody
// else. The error is a *mcpauth.ConfigError.
func Generate(s Spec) (mcpauth.Secret, *Key, error) {
	s.Prefix = cmp.Or(s.Prefix, defaultPrefix)
	now := time.Now()
	if faults := s.faults(now); len(faults) > 0 {
		return mcpauth.Secret{}, nil, &mcpauth.ConfigError{Package: "apikey", Faults: faults}
	}
	var random [randomBytes]byte
	rand.Read(random[:]) // never fails: the program ends instead
	text := s.Prefix + base64.RawURLEncoding.EncodeToString(random[:])
	return mcpauth.NewSecret(text), &Key{
		ID:      strings.ToLower(rand.Text()[:16]),
		Hash:    HashOf(text),
		UserID:  s.UserID,
		Tenant:  s.Tenant,
		Name:    s.Name,
		Hint:    text[:len(s.Prefix)+hintChars],
		Scopes:  slices.Clone(s.Scopes),
		Created: stamp(now),
		Expires: stamp(s.Expires),
		Rate:    s.Rate,
	}, nil
}

// stamp returns t as stores keep it: on the wall clock, in milliseconds.
func stamp(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.UnixMilli(t.UnixMilli()).UTC()
}

// Successor makes the key that replaces k, for a store of your own, and sets
// what changes of k. Both are to be stored together.
func (k *Key) Successor(r Rotation) (mcpauth.Secret, *Key, error) {
	now := time.Now()
	if k.State(now) != Active || k.ReplacedBy != "" {
		return mcpauth.Secret{}, nil, ErrNotGood
	}
	if r.Grace < 0 {
		return mcpauth.Secret{}, nil, &mcpauth.ConfigError{Package: "apikey", Faults: []mcpauth.Fault{{
			Field: "Grace", Problem: fmt.Sprintf("found %s", r.Grace), Expected: "a positive duration, or 0 to end the old key at once"}}}
	}
	if r.Expires.IsZero() && !k.Expires.IsZero() {
		r.Expires = now.Add(k.Expires.Sub(k.Created))
	}
	secret, next, err := Generate(Spec{UserID: k.UserID, Tenant: k.Tenant, Name: k.Name, Scopes: k.Scopes, Expires: r.Expires, Rate: k.Rate,
		Prefix: k.Hint[:max(0, len(k.Hint)-hintChars)]})
	if err != nil {
		return mcpauth.Secret{}, nil, err
	}
	k.ReplacedBy = next.ID
	if end := stamp(now.Add(r.Grace)); k.Expires.IsZero() || end.Before(k.Expires) {
		k.Expires = end
	}
	return secret, next, nil
}

func (s Spec) faults(now time.Time) []mcpauth.Fault {
	faults := textFaults(s.UserID, s.Tenant, s.Name, s.Scopes)
	if text := prefixFault(s.Prefix); text != "" {
		faults = append(faults, mcpauth.Fault{Field: "Prefix", Problem: text, Expected: prefixExpected})
	}
	if !s.Expires.IsZero() && !s.Expires.After(now) {
		faults = append(faults, mcpauth.Fault{Field: "Expires", Problem: "in the past: " + s.Expires.UTC().Format(time.RFC3339), Expected: "a time to come"})
	}
	if text := s.Rate.fault(); text != "" {
		faults = append(faults, mcpauth.Fault{Field: "Rate", Problem: text, Expected: rateExpected})
	}
	return faults
}

// textFaults says what is wrong with what people write of a key.
func textFaults(userID, tenant, name string, scopes []string) []mcpauth.Fault {
	var faults []mcpauth.Fault
	for _, t := range []struct {
		field, value string
		required     bool
	}{{"UserID", userID, true}, {"Tenant", tenant, false}, {"Name", name, false}} {
		if text := badText(t.value); text != "" {
			faults = append(faults, mcpauth.Fault{Field: t.field, Problem: text, Expected: fmt.Sprintf("up to %d bytes of UTF-8", maxText)})
		} else if t.required && t.value == "" {
			faults = append(faults, mcpauth.Fault{Field: t.field, Problem: "empty", Expected: "the owner"})
		}
	}
	if len(scopes) > maxScopes {
		faults = append(faults, mcpauth.Fault{Field: "Scopes", Problem: fmt.Sprintf("found %d", len(scopes)), Expected: fmt.Sprintf("at most %d", maxScopes)})
	}
	for i, scope := range scopes {
		if !mcpauth.ValidScope(scope) || len(scope) > maxText {
			faults = append(faults, mcpauth.Fault{Field: fmt.Sprintf("Scopes[%d]", i), Problem: fmt.Sprintf("found %q", scope),
				Expected: "one scope of RFC 6749, section 3.3: printable ASCII without space, quote and backslash"})
		}
	}
	return faults
}

// badText says what is wrong with a text that people read and programs compare.
func badText(s string) string {
	switch {
	case len(s) > maxText:
		return fmt.Sprintf("has %d bytes", len(s))
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		return "has control characters or is not UTF-8"
	case strings.TrimSpace(s) != s:
		return "begins or ends with a space"
	}
	return ""
}

var prefixExpected = fmt.Sprintf("1 to %d letters, digits, \"-\" or \"_\", such as %q", maxPrefix, defaultPrefix)

func prefixFault(prefix string) string {
	if prefix == "" || len(prefix) > maxPrefix {
		return fmt.Sprintf("has %d characters", len(prefix))
	}
	for i := range len(prefix) {
		if sextet[prefix[i]] == none {
			return fmt.Sprintf("found %q", prefix)
		}
	}
	return ""
}

// sextet has the value of each character of base64url (RFC 4648, section 5), or
// none.
var sextet = func() (table [256]uint8) {
	for i := range table {
		table[i] = none
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := range len(alphabet) {
		table[alphabet[i]] = uint8(i)
	}
	return table
}()

const none = 0xff

// wellFormed reports whether key has the form of a key with that prefix: what
// has not is in no store. The spare bits of the last character are zero, so that
// a key has one spelling.
func wellFormed(key, prefix string) bool {
	if len(key) != len(prefix)+randomChars || key[:len(prefix)] != prefix {
		return false
	}
	random := key[len(prefix):]
	var seen uint8
	for i := range len(random) {
		seen |= sextet[random[i]]
	}
	return seen < 64 && sextet[random[randomChars-1]]&3 == 0
}
