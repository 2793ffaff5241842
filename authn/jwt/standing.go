package jwt

import (
	"time"

	"github.com/mcpauth-go/mcpauth"
)

var _ mcpauth.Verification = (*entry)(nil)

// NotifyStanding implements [mcpauth.StandingNotifier]: changed is called after a
// signing key has been removed, by a fetch, a changed file or the age of the last
// fetched set.
func (p *Provider) NotifyStanding(changed func()) (stop func()) {
	return p.standing.Add(func(struct{}) { changed() })
}

func (e *entry) issuer() *issuer { return e.keys.Load().issuer }

// UserIDClaim implements [mcpauth.Verification].
func (e *entry) UserIDClaim() string { return e.issuer().UserIDClaim }

// Standing implements [mcpauth.Verification]: a token stands while its key is among
// those of its issuer and it is not revoked. After the keys have changed it is verified
// anew, by what is known of them; nothing is fetched.
func (e *entry) Standing(*mcpauth.Identity) error {
	p := e.issuer().provider
	for !e.keys.Load().current() {
		now := p.now()
		if p.closed.Load() || now.Unix() >= e.end {
			return nil // expiry is not part of it
		}
		// Nor is a clock that has been put back.
		now.Wall = time.Unix(max(now.Unix(), e.notBefore), 0)
		again, err := p.verify(e.identity.Token().Reveal(), now)
		switch err := err.(type) {
		case nil:
			e.keys.Store(again.keys.Load())
		case *lacking:
			if err.keys.set == noKeys {
				return err.answer(false, err.issuer.fetched.source.RetryAfter(), errNoKeys)
			}
			return err.refusal
		default:
			if err == errKeysChanged {
				continue
			}
			return err
		}
	}
	if e.revoked() {
		return errRevoked(e.identity)
	}
	return nil
}
