package mcpauth

// A Provider, a Resolver or another part says more of itself by having the method
// of one of the interfaces below, or of Lifecycle or Selective. Whoever is given the
// part looks for them, such as a gateway. A part that wraps others has to pass on what
// they say, as a chain of providers does.

// Issuing is a Provider that takes tokens of issuers that it knows by name: a
// gateway names them to clients as authorization servers (RFC 9728, section 2).
type Issuing interface {
	// Issuers returns the names of the issuers, as in "iss".
	Issuers() []string
}

// Preparing is a Provider that may not be able to judge credentials from the beginning,
// or not always, since it depends on another service.
type Preparing interface {
	// Ready returns nil, or what is still missing, for readiness probes. It
	// waits for nothing and is safe for concurrent use.
	Ready() error
}

// StandingNotifier is a Provider whose credentials may end before they expire, other
// than by a list of Revocations: a signing key is removed, an API key is revoked, a
// token becomes inactive. A gateway then asks [Identity.Standing] of everything that
// is in progress, and ends what rests on a credential that no longer stands.
type StandingNotifier interface {
	// NotifyStanding has changed called whenever credentials may have ended, after
	// Identity.Standing knows of it. Calls may overlap; changed does not wait. No
	// call begins after stop has returned.
	NotifyStanding(changed func()) (stop func())
}

// Measuring is a part with figures of its inside, for the metrics.
type Measuring interface {
	// Measure returns the figures as they are now. It is called at each scrape,
	// concurrently with everything else, and takes no time to speak of.
	Measure() []Measurement
}

// Revoking is a part that heeds revocations by itself, also for what it answers
// from memory. A gateway makes sure that its parts heed one list, and that it is its
// own where it is of package revoke.
type Revoking interface {
	// Revocations returns the list, or nil if the part has been given none.
	Revocations() Revocations
}

// Lenient is a Provider that may take tokens which are meant for others.
type Lenient interface {
	// TakesAnyAudience reports whether it does. Then no token may be forwarded.
	TakesAnyAudience() bool
}

// Forwarding is a Resolver, or a source that it asks, that may send on the token which
// a request came with.
type Forwarding interface {
	// ForwardsToken reports whether it does.
	ForwardsToken() bool
}

// DevelopmentOnly is a Provider that lets requests in without a credential.
type DevelopmentOnly interface {
	// DevelopmentOnly does nothing.
	DevelopmentOnly()
}

// SingleUser is a Provider, a Resolver or a source of one that knows of one user only.
type SingleUser interface {
	// SingleUser does nothing.
	SingleUser()
}
