package jwk

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/mcpauth-go/mcpauth/internal/jws"
	"github.com/mcpauth-go/mcpauth/internal/strictjson"
)

// ErrNoUsableKey is in the error of a set none of whose keys can be used.
var ErrNoUsableKey = errors.New("no usable key")

// ParseFetched reads a JWK Set that an issuer publishes. Unlike Parse it makes
// do with what it can use: issuers publish keys for encryption, of types yet to
// come and for their other customers, beside those that matter. skipped says
// of each key that is left out why; err, that there is no set to be had of the
// document.
//
// Shared secrets are among what is left out: what everybody can fetch is none.
// A key that names no algorithm gets the first of algorithms that fits its
// type, or else the type's usual one. Of two keys with the same kid and type
// neither is used, unless they are identical, since the one cannot be told from
// the other; of different types, the token's algorithm tells them apart.
func ParseFetched(document []byte, algorithms []jws.Algorithm) (set *Set, skipped []error, err error) {
	list, err := keysOf(document)
	if err != nil {
		return nil, nil, fmt.Errorf("not a JWK Set: %w", err)
	}
	if list == nil {
		return nil, nil, errors.New(`not a JWK Set: no "keys"`)
	}
	var (
		usable []Key
		n      int
	)
	err = strictjson.Array(list, func(value []byte) error {
		if n == MaxKeys {
			return fmt.Errorf("more than %d keys", MaxKeys)
		}
		key, err := parseFetched(value, fmt.Sprintf("keys[%d]", n), algorithms)
		if n++; err != nil {
			skipped = append(skipped, err)
		} else {
			usable = append(usable, key)
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf(`"keys": %w`, err)
	}
	set, more := distinct(usable)
	if skipped = append(skipped, more...); len(set.keys) == 0 {
		return nil, skipped, fmt.Errorf("%w among the %d of the set", ErrNoUsableKey, n)
	}
	return set, skipped, nil
}

func parseFetched(data []byte, label string, algorithms []jws.Algorithm) (Key, error) {
	m, err := readMembers(data)
	if m.kid != "" {
		label = fmt.Sprintf("%s (kid %.64q)", label, m.kid)
	}
	if err != nil {
		return Key{}, fmt.Errorf("%s: %w", label, err)
	}
	if m.kty == "oct" {
		return Key{}, fmt.Errorf("%s: a shared secret, which is none once it is published", label)
	}
	if m.alg == "" {
		m.alg = string(firstFitting(m, algorithms))
	}
	key, err := m.key(algorithms)
	if err != nil {
		return Key{}, fmt.Errorf("%s: %w", label, err)
	}
	return Key{Key: key, ID: m.kid, Label: label, kty: m.kty, material: fmt.Sprintf("%s %s %x %x %x %x",
		m.kty, m.crv, bytes.TrimLeft(m.n, "\x00"), bytes.TrimLeft(m.e, "\x00"), m.x, m.y)}, nil
}

// firstFitting returns the first of algorithms that a key works with, "" if
// there is none.
func firstFitting(m members, algorithms []jws.Algorithm) jws.Algorithm {
	material, err := m.material()
	if err != nil {
		return ""
	}
	for _, alg := range algorithms {
		if _, err := Choose(material, []jws.Algorithm{alg}); err == nil {
			return alg
		}
	}
	return ""
}

// distinct makes a set of keys, each of which a token can mean.
func distinct(keys []Key) (*Set, []error) {
	type name struct{ id, kty string }
	var (
		set     = &Set{algorithms: map[jws.Algorithm]bool{}}
		skipped []error
		first   = map[name]string{}
		clash   = map[name]bool{}
		seen    = map[string]bool{}
		unnamed = map[jws.Algorithm]int{}
	)
	for _, k := range keys {
		n := name{k.ID, k.kty}
		if other, there := first[n]; there && other != k.material && k.ID != "" {
			clash[n] = true
		} else if !there {
			first[n] = k.material
		}
	}
	for _, k := range keys {
		switch {
		case clash[name{k.ID, k.kty}]:
			skipped = append(skipped, fmt.Errorf("%s: another key has the same kid and type", k.Label))
			continue
		case seen[k.identity()]:
			continue
		case k.ID == "":
			if unnamed[k.Algorithm()]++; unnamed[k.Algorithm()] > MaxCandidates {
				skipped = append(skipped, fmt.Errorf("%s: more than %d keys for %s without a kid", k.Label, MaxCandidates, k.Algorithm()))
				continue
			}
		}
		seen[k.identity()] = true
		set.keys = append(set.keys, k)
		set.algorithms[k.Algorithm()] = true
	}
	return set, skipped
}

// identity is what two keys have in common that are the same to a token.
func (k Key) identity() string { return fmt.Sprintf("%q %s %s", k.ID, k.Algorithm(), k.material) }

// Len returns the number of keys.
func (s *Set) Len() int { return len(s.keys) }

// Without returns the keys of s that other, another fetched set, lacks.
func (s *Set) Without(other *Set) []Key {
	has := map[string]bool{}
	for _, k := range other.keys {
		has[k.identity()] = true
	}
	var rest []Key
	for _, k := range s.keys {
		if !has[k.identity()] {
			rest = append(rest, k)
		}
	}
	return rest
}
