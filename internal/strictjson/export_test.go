package strictjson

import "hash/maphash"

// Twice is what finds a name twice, for any valid JSON value.
func Twice(data []byte) bool {
	return (&names{seed: maphash.MakeSeed()}).twice(data)
}
