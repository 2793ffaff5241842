// Package revoke keeps what must no longer be taken, though it has not expired:
// tokens, sessions of the provider, all that a user was given before a time,
// and users who are blocked altogether.
//
//	list, err := revoke.Open(revoke.Config{File: "/var/lib/mcpauth/revocations.db"})
//	…
//	defer list.Close()
//	_, err = list.Revoke(ctx, revoke.Revocation{
//		Kind: revoke.User, Issuer: "https://issuer.example.com", UserID: "alice", Reason: "laptop stolen",
//	})
//	…
//	if list.Revoked(credential) { // a mcpauth.Revocable
//		// 401, mcpauth.ErrRevoked
//	}
//
// # What is promised
//
// A revocation is effective on this node at once, before the disk is asked: a
// disk that is slow or full keeps nobody in. [List.Revoke] returns without an
// error when the disk has it too (fsync), so that no crash after that undoes it.
// When the disk fails, the error is [ErrNotSaved]: the revocation is in force
// until this process ends, and is tried again every few seconds meanwhile. A
// block is lifted the other way round: the disk first, then this node. Either
// way, what goes wrong refuses too much, never too little.
//
// Nothing is ever evicted. A list that is full refuses to take more, loudly, and
// goes on refusing what it has. An entry goes when no token that it names can be
// valid any more, which is known for issuers whose tokens have a longest
// lifetime; see [Config]. Others stay for ever.
//
// Another node's list is not this one's.
//
// # Memory and file
//
// In memory, an entry is a seeded hash of 128 bits and a time, some 55 bytes
// with what surrounds them, and nothing for the garbage collector to follow.
// Issuers, users and reasons are in the file, for [List.Page]; without a file
// they are in memory too, some 450 bytes an entry.
//
// The file (bbolt, mode 0600) belongs to one process at a time. It has some 180
// bytes an entry, and does not shrink: it stays as large as it was when the list
// was longest, and the room of what has been forgotten is used again. Each entry
// has a checksum, and their number is kept: a file that has lost one, or that is
// something else, is not opened, and is never overwritten.
package revoke
