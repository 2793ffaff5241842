package oauth

import "github.com/mcpauth-go/mcpauth"

// Stats is what the caches hold now, and what has become of requests to the
// authorization server.
type Stats struct {
	Accepted CacheStats // tokens answered from memory
	Refused  CacheStats // refusals answered from memory
	Asked    uint64     // tokens that the server was asked about
	Failed   uint64     // of these, without an answer that can be understood
	Turned   uint64     // tokens that it was not asked about, for want of room or in a pause after failures
	Asking   int        // tokens that it is being asked about
}

// CacheStats describes one cache.
type CacheStats struct {
	Entries   int    // approximately
	Bytes     uint64 // as counted against the bound; 0 where entries are counted
	Evictions uint64 // entries let go for want of room
}

// Stats returns the present state.
func (p *Provider) Stats() Stats {
	s := Stats{Asked: p.asked.Load(), Failed: p.failures.Load(), Turned: p.turned.Load(), Asking: len(p.slots)}
	if p.accepted != nil {
		s.Accepted, s.Refused = CacheStats(p.accepted.Stats()), CacheStats(p.refused.Stats())
	}
	return s
}

// Measure returns Stats as measurements, for the metrics.
func (p *Provider) Measure() []mcpauth.Measurement {
	s := p.Stats()
	var all []mcpauth.Measurement
	for _, cache := range []struct {
		name     string
		stats    CacheStats
		weighted bool
	}{{"accepted", s.Accepted, true}, {"refused", s.Refused, false}} {
		labels := map[string]string{"cache": cache.name}
		all = append(all,
			mcpauth.Measurement{Name: "mcpauth_oauth_cache_entries", Help: "Entries of the cache, approximately.",
				Labels: labels, Value: float64(cache.stats.Entries)},
			mcpauth.Measurement{Name: "mcpauth_oauth_cache_evictions_total", Help: "Entries let go for want of room.",
				Labels: labels, Counter: true, Value: float64(cache.stats.Evictions)})
		if cache.weighted {
			all = append(all, mcpauth.Measurement{Name: "mcpauth_oauth_cache_bytes", Help: "Bytes of the cache, as counted against its bound.",
				Labels: labels, Value: float64(cache.stats.Bytes)})
		}
	}
	labels := map[string]string{"issuer": p.config.Issuer}
	return append(all,
		mcpauth.Measurement{Name: "mcpauth_oauth_requests_total", Help: "Tokens that the authorization server was asked about.",
			Labels: labels, Counter: true, Value: float64(s.Asked)},
		mcpauth.Measurement{Name: "mcpauth_oauth_request_failures_total", Help: "Tokens that the authorization server gave no answer of that can be understood.",
			Labels: labels, Counter: true, Value: float64(s.Failed)},
		mcpauth.Measurement{Name: "mcpauth_oauth_turned_away_total", Help: "Tokens that the authorization server was not asked about, because too many waited or it had failed.",
			Labels: labels, Counter: true, Value: float64(s.Turned)},
		mcpauth.Measurement{Name: "mcpauth_oauth_requests_in_flight", Help: "Tokens that the authorization server is being asked about.",
			Labels: labels, Value: float64(s.Asking)})
}
