package oauth

import (
	"context"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/standing"
)

// NotifyStanding implements [mcpauth.StandingNotifier]. Once the provider has been
// started, the authorization server is asked again about every token that is in use, at
// least once in each Cache.TTL, also when the cache is off.
func (p *Provider) NotifyStanding(changed func()) (stop func()) { return p.standing.Notify(changed) }

// UserIDClaim implements [mcpauth.Verification].
func (e *entry) UserIDClaim() string { return e.provider.config.UserIDClaim }

// Standing implements [mcpauth.Verification]: a token stands while the authorization
// server calls it active, for the same user and with at least the same scopes, and while
// it is not revoked.
func (e *entry) Standing(*mcpauth.Identity) error {
	p := e.provider
	now := p.now()
	if p.closed.Load() || now.Unix() >= e.end {
		return nil // expiry is not part of it
	}
	if p.revoked(e) {
		return errRevoked(e.identity)
	}
	return p.standing.Standing(&e.record, false, func() (time.Duration, error) { return p.confirm(e) })
}

// confirm asks the authorization server about the token of e, unless it has been asked a
// short while ago for a request.
func (p *Provider) confirm(e *entry) (asked time.Duration, err error) {
	token, now := e.identity.Token().Reveal(), p.now()
	found, ok := (*entry)(nil), false
	if p.accepted != nil {
		found, ok = p.accepted.get(token, p.at.Load(), now)
		ok = ok && now.Mono-found.record.Confirmed() < p.config.Cache.TTL/2
	}
	if !ok {
		ctx, cancel := context.WithTimeout(p.life, p.config.Requests.Timeout)
		defer cancel()
		leave, err := p.enter(ctx, now)
		if err != nil {
			return 0, err
		}
		defer leave()
		now = p.now()
		if found, err = p.validateAndKeep(ctx, token); err != nil {
			return 0, err
		}
	}
	return found.record.Confirmed(), standing.Narrowed(e.identity, found.identity)
}
