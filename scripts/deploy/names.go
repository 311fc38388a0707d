package main

import (
	"encoding/binary"
	"math/bits"
	"strings"
)

// names are those of infra/main.bicep that a stranger can have taken: they are
// unique in all of Azure.
type names struct{ group, host, data, audit, vault, app string }

func namesOf(subscription, environment, location string) names {
	suffix := uniqueString(subscription, environment, location)[:8]
	compact := strings.ToLower(strings.ReplaceAll(environment, "-", ""))
	return names{
		group: "rg-vault-" + environment,
		host:  "st" + compact + "host" + suffix, data: "st" + compact + "data" + suffix, audit: "st" + compact + "audt" + suffix,
		vault: "kv-" + compact + "-" + suffix, app: "vault-" + environment + "-" + suffix,
	}
}

// uniqueString is the template function of this name: a hash of the
// joined arguments in base 32. A test compares
// it with what the templates expand to.
func uniqueString(parts ...string) string {
	const digits = "abcdefghijklmnopqrstuvwxyz234567"
	h := hash([]byte(strings.Join(parts, "-")))
	var b strings.Builder
	for range 13 {
		b.WriteByte(digits[h>>59])
		h <<= 5
	}
	return b.String()
}

// hash is the 64-bit variant of MurmurHash3 that the resource manager uses.
func hash(data []byte) uint64 {
	const c1, c2 = 0x239b961b, 0xab0e9789
	length := uint32(len(data)) // #nosec G115 -- names are short
	var h1, h2 uint32
	for ; len(data) >= 8; data = data[8:] {
		k1, k2 := binary.LittleEndian.Uint32(data), binary.LittleEndian.Uint32(data[4:])
		h1 ^= bits.RotateLeft32(k1*c1, 15) * c2
		h1 = (bits.RotateLeft32(h1, 19)+h2)*5 + 0x561ccd1b
		h2 ^= bits.RotateLeft32(k2*c2, 17) * c1
		h2 = (bits.RotateLeft32(h2, 13)+h1)*5 + 0x0bcaa747
	}
	var tail [8]byte
	copy(tail[:], data)
	h1 ^= bits.RotateLeft32(binary.LittleEndian.Uint32(tail[:])*c1, 15) * c2
	h2 ^= bits.RotateLeft32(binary.LittleEndian.Uint32(tail[4:])*c2, 17) * c1
	h1 ^= length
	h2 ^= length
	h1 += h2
	h2 += h1
	h1, h2 = mix(h1), mix(h2)
	h1 += h2
	h2 += h1
	return uint64(h2)<<32 | uint64(h1)
}

func mix(h uint32) uint32 {
	h ^= h >> 16
	h *= 0x85ebca6b
	h ^= h >> 13
	h *= 0xc2b2ae35
	return h ^ h>>16
}
