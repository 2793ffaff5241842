package apikey

import "time"

// Use notes a use of a key, as a request with it does.
func (p *Provider) Use(id string, at time.Time) { p.note(&entry{id: id}, at) }

// MaxUnsaved is how many keys are kept for a store that takes no uses.
const MaxUnsaved = maxUnsaved
