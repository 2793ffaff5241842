package jwk

import (
	"errors"
	"fmt"

	"github.com/mcpauth-go/mcpauth/internal/jws"
)

// MaxCandidates bounds how many keys are tried for one token.
const MaxCandidates = 4

// Set is the keys of one issuer. It is immutable and safe for concurrent use.
type Set struct {
	keys       []Key
	algorithms map[jws.Algorithm]bool
}

// NewSet puts keys together and returns all that speaks against it.
func NewSet(keys []Key) (*Set, []error) {
	var (
		faults    []error
		byID      = map[string]string{}
		unnamed   = map[jws.Algorithm]int{}
		symmetric int
		set       = &Set{keys: keys, algorithms: map[jws.Algorithm]bool{}}
	)
	for _, k := range keys {
		set.algorithms[k.Algorithm()] = true
		if k.Algorithm().Symmetric() {
			symmetric++
		}
		if k.ID == "" {
			unnamed[k.Algorithm()]++
		} else if other, clash := byID[k.ID]; clash {
			faults = append(faults, fmt.Errorf("%s and %s have the same kid", other, k.Label))
		} else {
			byID[k.ID] = k.Label
		}
	}
	for alg, n := range unnamed {
		if n > MaxCandidates {
			faults = append(faults, fmt.Errorf("%d keys for %s without a kid, of which a token would try only %d", n, alg, MaxCandidates))
		}
	}
	if symmetric > 0 && symmetric < len(keys) {
		faults = append(faults, errors.New("shared secrets and public keys in one set"))
	}
	return set, faults
}

// Serves reports whether some key of the set is for alg.
func (s *Set) Serves(alg jws.Algorithm) bool { return s.algorithms[alg] }

// Candidates calls try with each key that a token with this algorithm and kid
// (nil for none) may be signed with, MaxCandidates at most, until try returns
// true. It reports how many it called.
func (s *Set) Candidates(alg jws.Algorithm, kid []byte, try func(*Key) bool) (tried int) {
	// The key that the token names first, so that the bound cannot keep it out.
	for _, exact := range []bool{true, false} {
		for i := range s.keys {
			k := &s.keys[i]
			named := kid != nil && k.ID == string(kid)
			if k.Algorithm() != alg || named != exact || !named && kid != nil && k.ID != "" {
				continue
			}
			if tried++; try(k) || tried == MaxCandidates {
				return tried
			}
		}
	}
	return tried
}
