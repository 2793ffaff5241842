package jwt

import "github.com/mcpauth-go/mcpauth"

// Measure returns Stats as measurements, for the metrics.
func (p *Provider) Measure() []mcpauth.Measurement {
	s := p.Stats()
	var all []mcpauth.Measurement
	for _, cache := range []struct {
		name     string
		stats    CacheStats
		weighted bool
	}{{"accepted", s.Accepted, true}, {"refused", s.Refused, false}, {"forwarded", s.Forwarded, true}} {
		labels := map[string]string{"cache": cache.name}
		all = append(all,
			mcpauth.Measurement{Name: "mcpauth_jwt_cache_entries", Help: "Entries of the cache, approximately.",
				Labels: labels, Value: float64(cache.stats.Entries)},
			mcpauth.Measurement{Name: "mcpauth_jwt_cache_evictions_total", Help: "Entries let go for want of room.",
				Labels: labels, Counter: true, Value: float64(cache.stats.Evictions)})
		if cache.weighted {
			all = append(all, mcpauth.Measurement{Name: "mcpauth_jwt_cache_bytes", Help: "Bytes of the cache, as counted against its bound.",
				Labels: labels, Value: float64(cache.stats.Bytes)})
		}
	}
	return all
}
