package credential

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"hash"
	"slices"

	"github.com/mcpauth-go/mcpauth"
)

// key names a credential: the hash of everything that a source may decide by.
// Two requests with one key are the same question.
type key [sha256.Size]byte

// questionClaims are those that name the client, which has different names at
// different issuers, and who acts for the user (RFC 8693, section 4.1).
var questionClaims = []string{"azp", "client_id", "cid", "appid", "act"}

// keyOf works a key out. It decodes the token, so it is not for every request.
// With perToken, each token is a question of its own.
func keyOf(id *mcpauth.Identity, resourceType string, perToken bool) key {
	h := sha256.New()
	add(h, id.Principal()) // issuer and user id, and whatever else tells users apart
	add(h, resourceType)
	claims := id.Metadata()
	for _, name := range questionClaims {
		add(h, string(claims[name]))
	}
	var audience json.RawMessage
	id.Claim("aud", &audience) // which is no metadata; without it, the question has none
	add(h, string(audience))
	scopes := id.Scopes()
	slices.Sort(scopes)
	for _, s := range scopes {
		add(h, s)
	}
	if perToken {
		add(h, "\x00token") // no scope is like that
		add(h, id.Token().Reveal())
	}
	return key(h.Sum(nil))
}

// add writes a field with its length, so that no two lists of fields are the
// same bytes.
func add(h hash.Hash, field string) {
	h.Write(binary.BigEndian.AppendUint64(make([]byte, 0, 8), uint64(len(field))))
	h.Write([]byte(field))
}
