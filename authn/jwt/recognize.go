package jwt

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/jws"
)

var _ mcpauth.Selective = (*Provider)(nil)

// Recognizes implements [mcpauth.Selective]. It reports true for bearer tokens of
// three segments, unless they name an issuer that is not one of the Provider's:
// these may be another provider's. A token whose issuer cannot be read is
// recognized, and then refused.
//
// Other spellings of a token of three segments are recognized too: with empty
// segments, and, where one of them holds claims of an issuer of the Provider's,
// with further segments. The Provider refuses them. A provider that asks the
// issuer might accept them, and would not find what has been revoked here.
func (p *Provider) Recognizes(r *mcpauth.Request) bool {
	token, err := mcpauth.BearerToken(r.Header)
	if err != nil {
		return false
	}
	if strings.Count(token, ".") != 2 {
		return p.recognizesSpelling(token)
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

// recognizesSpelling reports whether a decoder that drops empty segments, or that
// ignores further ones, might take token for one of the Provider's.
func (p *Provider) recognizesSpelling(token string) bool {
	segments := 0
	holdsClaims := false
	for segment := range strings.SplitSeq(token, ".") {
		segment = strings.Trim(segment, "=")
		if segment == "" {
			continue
		}
		segments++
		// The first is a header, in which an encrypted token may repeat its issuer.
		holdsClaims = holdsClaims || segments > 1 && p.holdsClaims(segment)
	}
	return segments == 3 || segments > 3 && holdsClaims
}

var toURLAlphabet = strings.NewReplacer("+", "-", "/", "_")

// holdsClaims reports whether a lenient decoder finds in segment the claims of one
// of the Provider's issuers.
func (p *Provider) holdsClaims(segment string) bool {
	text, err := base64.RawURLEncoding.DecodeString(toURLAlphabet.Replace(segment))
	if err != nil {
		return false
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	return json.Unmarshal(text, &claims) == nil && p.issuers[claims.Issuer] != nil
}
