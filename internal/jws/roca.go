package jws

import "math/big"

// rocaPrimes are the primes up to 167 for which the powers of 65537 are not all
// of the nonzero residues. The others say nothing about a modulus.
var rocaPrimes = [...]int64{11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157}

// rocaResidues has, for each of rocaPrimes, the set of the powers of 65537 modulo
// that prime.
var rocaResidues = func() (sets [len(rocaPrimes)][]bool) {
	for i, p := range rocaPrimes {
		sets[i] = make([]bool, p)
		for power := int64(1); !sets[i][power]; power = power * 65537 % p {
			sets[i][power] = true
		}
	}
	return sets
}()

// isROCA reports whether n has the fingerprint of the moduli of CVE-2017-15361
// (ROCA: Nemec et al., "The Return of Coppersmith's Attack", CCS 2017, section
// 5.1). The primes of these keys are k*M + 65537^a mod M, where M is the product
// of the first primes, so that n is a power of 65537 modulo each of them, and n
// can be factored. Of other moduli, about one in 240 million has the fingerprint
// by chance.
func isROCA(n *big.Int) bool {
	var residue, prime big.Int
	for i, p := range rocaPrimes {
		if !rocaResidues[i][residue.Mod(n, prime.SetInt64(p)).Int64()] {
			return false
		}
	}
	return true
}
