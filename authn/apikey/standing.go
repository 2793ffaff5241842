package apikey

import (
	"encoding/json"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/standing"
)

// NotifyStanding implements [mcpauth.StandingNotifier]: changed is called when keys may
// have changed (see [Provider.Changed]). Once the provider has been started, the store is
// also asked again about every key that is in use, at least once in each Cache.TTL.
func (p *Provider) NotifyStanding(changed func()) (stop func()) { return p.standing.Notify(changed) }

// Claims implements [mcpauth.Verification]: "key_id" and "key_name", where the key has
// them.
func (e *entry) Claims(*mcpauth.Identity) map[string]json.RawMessage {
	all := map[string]json.RawMessage{}
	for name, value := range map[string]string{"key_id": e.id, "key_name": e.name} {
		if value != "" {
			all[name], _ = json.Marshal(value)
		}
	}
	return all
}

// UserIDClaim implements [mcpauth.Verification]: no claim holds it.
func (*entry) UserIDClaim() string { return "" }

// Revocable implements [mcpauth.Verification].
func (e *entry) Revocable(*mcpauth.Identity) mcpauth.Revocable {
	id := e.id
	if id == "" {
		id = "sha256:" + e.hash.String()
	}
	return mcpauth.Revocable{TokenID: id, IssuedAt: e.created}
}

// Standing implements [mcpauth.Verification]: a key stands while the store has it, for
// the same user and with at least the same scopes, and while it is not revoked.
func (e *entry) Standing(*mcpauth.Identity) error {
	p := e.provider
	switch {
	case p.closed.Load() || !e.expires.IsZero() && !time.Now().Before(e.expires):
		return nil // expiry is not part of it
	case e.revoked():
		return errRevoked
	}
	changed := p.changes[e.hash[0]].now() != e.version.Load()
	return p.standing.Standing(&e.record, changed, func() (time.Duration, error) { return p.confirm(e) })
}

// confirm looks up the key of e, unless a request has done so a short while ago.
func (p *Provider) confirm(e *entry) (asked time.Duration, err error) {
	version := p.changes[e.hash[0]].now()
	found, ok := p.accepted.GetIfPresent(e.hash)
	if !ok || found.version.Load() != version || p.now().Mono-found.record.Confirmed() >= p.config.Cache.TTL/2 {
		if found, err = p.lookUpAndKeep(e.hash, ""); err != nil {
			return 0, err
		}
	}
	e.version.Store(found.version.Load())
	return found.record.Confirmed(), standing.Narrowed(e.identity, found.identity)
}
