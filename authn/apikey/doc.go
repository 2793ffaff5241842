// Package apikey says who sent a request by an API key: a random secret that
// stands for its owner, until it expires or is revoked.
//
//	store, err := sqlite.Open(ctx, "keys.db") // authn/apikey/sqlite
//	…
//	defer store.Close()
//	provider, err := apikey.New(apikey.Config{Store: store})
//	…
//	secret, key, err := store.Create(ctx, apikey.Spec{UserID: "alice", Scopes: []string{"notes:read"}})
//
// A client sends its key as "Authorization: Bearer sk_…" or as "X-API-Key:
// sk_…". A key is a prefix and 256 random bits in base64url. A store has the
// SHA-256 of it and nothing that the key could be made from again, so a key is
// shown once, when it is made. (With 256 random bits to guess, a slow hash would
// add nothing.)
//
// Keys are kept in a database ([sqlite] and [postgres], through one code,
// [sqlstore]), in a file that somebody writes ([File]), in memory ([Memory]),
// or wherever a function of your own looks them up ([LookupFunc]). The drivers
// of databases are linked by their own packages only.
//
// What the provider knows of a key is kept for Cache.TTL, 5 minutes unless
// configured. A revocation, or a rotation, through the provider's own store is
// seen at once. Those that another process makes are seen within Cache.TTL, the
// bound that counts when a key has leaked; a revocation by the key's id in
// Config.Revocations is seen at once there, too. Expiry is judged at each
// request.
//
// When the store fails, keys that are kept go on until their TTL ends, and all
// others are refused with ErrUnavailable, which sends nobody to get a new key.
//
// Wrong keys cost next to nothing. One of the wrong form is refused without any
// lookup, and one that is known to be wrong from memory. Those that are new are
// looked up at a bounded rate, for each source and in all (Config.WrongKeys).
// That a flood of them uses this up harms nobody whose key this provider has
// seen, nor, with a store that can list its keys, anybody else: the provider
// then reads which hashes there are, and lets those through. With a LookupFunc
// alone, a key that is used for the first time during a flood may get
// ErrUnavailable, with Retry-After.
//
// Identities have no token: an API key is good for whatever its owner may do,
// for long, and is not to be shown to anybody else.
//
// [sqlite]: https://pkg.go.dev/github.com/mcpauth-go/mcpauth/authn/apikey/sqlite
// [postgres]: https://pkg.go.dev/github.com/mcpauth-go/mcpauth/authn/apikey/postgres
// [sqlstore]: https://pkg.go.dev/github.com/mcpauth-go/mcpauth/authn/apikey/sqlstore
package apikey
