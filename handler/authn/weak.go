package authn

import "math/big"

// generator is the number whose powers the broken key generation of Infineon's
// chips took its primes from.
const generator = 65537

// fingerprintPrimes are primes modulo which not every residue is a power of the
// generator. A modulus that was made well is one modulo all of them by chance
// once in 2^27 keys.
var fingerprintPrimes = [...]int64{11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157}

// fromInfineon recognises the moduli of CVE-2017-15361 (ROCA), which are
// factored for a few thousand dollars: modulo each of the primes, they are a
// power of the generator (https://crocs.fi.muni.cz/public/papers/rsa_ccs17).
func fromInfineon(modulus *big.Int) bool {
	rest, prime := new(big.Int), new(big.Int)
	for _, p := range fingerprintPrimes {
		if !isPower(rest.Mod(modulus, prime.SetInt64(p)).Int64(), p) {
			return false
		}
	}
	return true
}

// isPower reports whether n is a power of the generator modulo p.
func isPower(n, p int64) bool {
	power := int64(1)
	for range p {
		if power == n {
			return true
		}
		power = power * generator % p
	}
	return false
}
