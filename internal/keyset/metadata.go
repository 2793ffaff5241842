package keyset

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/mcpauth-go/mcpauth/internal/strictjson"
)

// MetadataURLs returns where the metadata of an issuer is: first as OpenID
// Connect Discovery 1.0, section 4, has it, behind the issuer, then as RFC
// 8414, section 3.1, has it, between host and path. Both drop a slash at the
// end of the issuer, for these URLs alone: "issuer" in the document keeps it.
func MetadataURLs(issuer string) []string {
	u, err := url.Parse(issuer)
	if err != nil {
		return nil
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	origin := u.Scheme + "://" + u.Host
	return []string{
		origin + path + "/.well-known/openid-configuration",
		origin + "/.well-known/oauth-authorization-server" + path,
	}
}

// ParseMetadata returns "jwks_uri" of an issuer's metadata. The document must
// name the issuer, to the byte: who can answer for one issuer must not be able
// to answer for another (RFC 8414, section 3.3).
func ParseMetadata(document []byte, issuer string) (jwksURI string, err error) {
	var found struct{ issuer, jwksURI []byte }
	err = strictjson.Object(document, func(name, value []byte) error {
		var ok bool
		switch string(name) {
		case "issuer":
			found.issuer, ok = strictjson.String(value)
		case "jwks_uri":
			found.jwksURI, ok = strictjson.String(value)
		default:
			return nil
		}
		if !ok {
			return fmt.Errorf("%q is not a string", name)
		}
		return nil
	})
	switch {
	case err != nil:
		return "", err
	case string(found.issuer) != issuer:
		return "", fmt.Errorf("the document is of issuer %.200q, not of %q", found.issuer, issuer)
	case len(found.jwksURI) == 0:
		return "", errors.New(`no "jwks_uri"`)
	}
	return string(found.jwksURI), nil
}
