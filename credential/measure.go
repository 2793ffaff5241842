package credential

import "github.com/mcpauth-go/mcpauth"

// Stats is what a Resolver holds now, and what it has done.
type Stats struct {
	Hits      uint64 // requests answered from memory
	Misses    uint64 // requests that waited for a fetch
	Fetches   uint64 // fetches, in the background too
	Failures  uint64 // fetches that brought no answer
	Entries   int    // answers kept, approximately
	Bytes     uint64 // as counted against MaxBytes
	Evictions uint64 // let go for want of room
	Open      int    // sources that fail and are left alone now
}

// Stats returns the present state.
func (r *Resolver) Stats() Stats {
	entries, links := r.cache.entries.Stats(), r.cache.links.Stats()
	s := Stats{
		Hits: r.hits.Load(), Misses: r.misses.Load(), Fetches: r.fetches.Load(), Failures: r.failures.Load(),
		Entries: entries.Entries, Bytes: entries.Bytes + links.Bytes, Evictions: entries.Evictions + links.Evictions,
	}
	for _, g := range r.guards {
		if g.open() {
			s.Open++
		}
	}
	return s
}

// Measure returns Stats as measurements, for the metrics.
func (r *Resolver) Measure() []mcpauth.Measurement {
	s := r.Stats()
	lookups := func(result string, n uint64) mcpauth.Measurement {
		return mcpauth.Measurement{Name: "mcpauth_credential_lookups_total", Help: "Requests for a user's credential: answered from memory (hit), or not.",
			Labels: map[string]string{"result": result}, Counter: true, Value: float64(n)}
	}
	return []mcpauth.Measurement{
		lookups("hit", s.Hits), lookups("miss", s.Misses),
		{Name: "mcpauth_credential_fetches_total", Help: "Questions to the sources of credentials, those in the background included.",
			Counter: true, Value: float64(s.Fetches)},
		{Name: "mcpauth_credential_fetch_failures_total", Help: "Questions to the sources of credentials that brought no answer.",
			Counter: true, Value: float64(s.Failures)},
		{Name: "mcpauth_credential_cache_entries", Help: "Answers of the sources of credentials that are kept, approximately.", Value: float64(s.Entries)},
		{Name: "mcpauth_credential_cache_bytes", Help: "Bytes of what is kept of credentials, as counted against its bound.", Value: float64(s.Bytes)},
		{Name: "mcpauth_credential_cache_evictions_total", Help: "Kept credentials let go for want of room.",
			Counter: true, Value: float64(s.Evictions)},
		{Name: "mcpauth_credential_breaker_open", Help: "Sources of credentials that fail and are left alone now.", Value: float64(s.Open)},
	}
}
