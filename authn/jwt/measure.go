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
	for _, set := range s.KeySets {
		labels := map[string]string{"issuer": set.Issuer}
		all = append(all,
			mcpauth.Measurement{Name: "mcpauth_jwt_keyset_fetches_total", Help: "Fetches of the issuer's key set that brought one.",
				Labels: labels, Counter: true, Value: float64(set.Fetches)},
			mcpauth.Measurement{Name: "mcpauth_jwt_keyset_fetch_failures_total", Help: "Fetches of the issuer's key set that failed.",
				Labels: labels, Counter: true, Value: float64(set.Failures)},
			mcpauth.Measurement{Name: "mcpauth_jwt_keyset_keys", Help: "Keys of the issuer in use; 0 means that its tokens cannot be verified.",
				Labels: labels, Value: float64(set.Keys)},
			mcpauth.Measurement{Name: "mcpauth_jwt_keyset_skipped_keys", Help: "Keys of the issuer's set that cannot be used.",
				Labels: labels, Value: float64(set.Skipped)})
		if set.Keys > 0 {
			all = append(all, mcpauth.Measurement{Name: "mcpauth_jwt_keyset_age_seconds", Help: "Time since the issuer's keys in use were last fetched.",
				Labels: labels, Value: set.Age.Seconds()})
		}
	}
	return all
}
