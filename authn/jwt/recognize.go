package jwt

import (
	"strings"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/jws"
)

var _ mcpauth.Selective = (*Provider)(nil)

// Recognizes implements [mcpauth.Selective]. Bearer tokens of three segments are
// the Provider's, except those that say to be from an issuer which is not one of
// its own: these may be another provider's. One whose issuer cannot be read is
// refused here. Else a spelling that only this package finds fault with would
// lead around its revocations, to a provider that asks the issuer.
func (p *Provider) Recognizes(r *mcpauth.Request) bool {
	token, err := mcpauth.BearerToken(r.Header)
	// Who splits a string at its dots often does not count those at its end.
	if err != nil || strings.Count(token, ".") != 2 && strings.Count(strings.TrimRight(token, ".="), ".") != 2 {
		return false
	}
	if len(token) > p.config.MaxTokenSize {
		return true
	}
	if p.accepted != nil {
		if _, seen := p.accepted.GetEntryQuietly(token); seen {
			return true
		}
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	s.token = append(s.token[:0], token...)
	parsed, err := jws.Split(s.token)
	if err != nil {
		return true
	}
	payload, err := s.decodePayload(parsed)
	if err != nil {
		return true
	}
	name, err := peekIssuer(payload)
	return err != nil || p.issuers[string(name)] != nil
}
