// Package credential finds out with whose credential a server works: it asks a
// Source for the user's own, and keeps what it learns, so that a request is
// answered from memory.
//
//	source, err := platform.New(platform.Config{BaseURL: "https://platform.example.com", Audience: "https://platform.example.com"})
//	…
//	resolver, err := credential.New(credential.Config{Source: source})
//	…
//	gateway.Config{Resolver: resolver, ResourceType: "github", …}
//
// The sources are in the packages below: platform, exchange and claims. Chain
// asks several, ByResource chooses. (The env resolver stands alone: it knows one
// user only, and needs no cache.)
//
// A Resolver promises:
//
//   - A credential is given to nobody but the user that it was fetched for, with
//     the same client, audience, scopes and actor in their token, for the same
//     type of resource.
//   - It is kept for Config.TTL, and never beyond its own expiry or that of the
//     token it was fetched with. That the user has none is kept for
//     Config.NotConnectedTTL only, so that an account which has just been
//     connected is soon seen. A failure that may pass is kept until the
//     source wants to be asked again, for 2 s where it does not say, and 30 s at
//     most; other failures are not kept.
//   - Many requests for one credential make one fetch, which goes on when the
//     request that began it leaves.
//   - One that is in use is fetched anew before it ends, in the background.
//     While that fails, the last good one is used for the rest of its own
//     lifetime; where that is not known, for another TTL.
//   - A source that fails for several users in a row is left alone for a while.
//     Who has nothing cached gets ErrUnavailable then, at once. What it cannot do
//     for some users, while it answers others, becomes no outage for those.
//   - What is kept is bounded, in memory only, and forgotten on Close, on
//     Invalidate, and when its user or token is revoked.
package credential
