package strictjson

import (
	"bytes"
	"hash/maphash"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// manyNames reports whether data may have so many names, or such long ones, that
// comparing them is not left to the JSON library. That is quick with few, and
// keeps copies of many in a map, which takes a dozen times the room of data: and
// whoever writes names does so before anybody knows who is writing.
func manyNames(data []byte) bool {
	return len(data) > 16<<10 || bytes.Count(data, []byte{':'}) > 64
}

// names tells whether an object has a name twice, however many there are. It
// keeps eight bytes for each name of the objects that are open at a time.
type names struct {
	seed   maphash.Seed
	hashes []uint64 // of the objects that are open, one after the other
}

// maxKept bounds what a pool keeps of hashes.
const maxKept = 1024

// twice reports whether a name is twice in one object of data, at any depth.
// data is one valid JSON value, no deeper than MaxDepth.
//
// Names are compared by hash. The seed is random, so that nobody can write two
// names of one hash on purpose; by accident it happens to one message in 2^26
// of those with half a million names, and to no ordinary one, and refuses it.
func (n *names) twice(data []byte) bool {
	var (
		starts [MaxDepth + 1]int // where the names of an open object begin in hashes; -1 for an array
		depth  int
		name   bool // the next string is one
	)
	n.hashes = n.hashes[:0]
	// A list that grows is copied many times. Each name has a colon and two
	// quotes.
	if most := min(bytes.Count(data, []byte{':'}), bytes.Count(data, []byte{'"'})/2); most > maxKept {
		n.hashes = make([]uint64, 0, most)
	}
	starts[0] = -1
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			end := stringEnd(data, i)
			if name {
				n.hashes = append(n.hashes, n.hash(data[i:end]))
				name = false
			}
			i = end - 1
		case '{':
			depth++
			starts[depth], name = len(n.hashes), true
		case '[':
			depth++
			starts[depth], name = -1, false
		case ',':
			name = starts[depth] >= 0
		case '}':
			own := n.hashes[starts[depth]:]
			if repeated(own) {
				return true
			}
			n.hashes, name = n.hashes[:starts[depth]], false
			depth--
		case ']':
			depth--
		}
	}
	return false
}

// repeated reports whether a hash is in own twice. It changes the order.
func repeated(own []uint64) bool {
	if len(own) <= 8 {
		for i := 1; i < len(own); i++ {
			if slices.Contains(own[:i], own[i]) {
				return true
			}
		}
		return false
	}
	slices.Sort(own)
	for i := 1; i < len(own); i++ {
		if own[i] == own[i-1] {
			return true
		}
	}
	return false
}

// hash returns that of the string that quoted is, in whatever spelling.
func (n *names) hash(quoted []byte) uint64 {
	text := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(text, '\\') >= 0 {
		text, _ = jsontext.AppendUnquote(nil, quoted)
	}
	return maphash.Bytes(n.seed, text)
}

// stringEnd returns where the string that begins at start ends.
func stringEnd(data []byte, start int) int {
	// Hardly a string has escapes.
	end := start + 1 + bytes.IndexByte(data[start+1:], '"')
	if data[end-1] != '\\' {
		return end + 1
	}
	for end = start + 1; data[end] != '"'; end++ {
		if data[end] == '\\' {
			end++
		}
	}
	return end + 1
}
