package keyset

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
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

// ErrPlainHTTP is in the error of a URL that only PlainHTTPHosts would allow.
var ErrPlainHTTP = errors.New("listed for plain http")

// CheckURL says what speaks against fetching from a URL: it must be absolute
// and https, except on loopback and for plainHTTPHosts. It must hold no
// password, which would end up in logs.
func CheckURL(raw string, plainHTTPHosts []string) error {
	_, err := parseURL(raw, plainHTTPHosts)
	return err
}

func parseURL(raw string, plainHTTPHosts []string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Opaque != "" || u.Hostname() == "":
		return nil, errors.New("not an absolute URL")
	case u.User != nil:
		return nil, errors.New("the URL has a user name or password")
	case u.Fragment != "":
		return nil, errors.New("the URL has a fragment")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("the scheme is %.32q, not https", u.Scheme)
	case u.Scheme == "http" && !isLoopbackName(u.Hostname()) && !isListed(u, plainHTTPHosts):
		return nil, fmt.Errorf("http to %.100q, which is neither loopback nor %w", u.Host, ErrPlainHTTP)
	}
	return u, nil
}

// CheckHost says what is wrong with an entry of PlainHTTPHosts.
func CheckHost(host string) error {
	u, err := url.Parse("http://" + host)
	if err != nil || u.Host != host || u.Hostname() == "" || strings.ContainsAny(host, "*@ ") {
		return fmt.Errorf("found %.100q", host)
	}
	return nil
}

// isListed reports whether one of hosts, each with or without a port, is u's.
func isListed(u *url.URL, hosts []string) bool {
	for _, host := range hosts {
		if strings.EqualFold(host, u.Host) || strings.EqualFold(host, u.Hostname()) ||
			strings.EqualFold(host, "["+u.Hostname()+"]") || strings.EqualFold(host, hostPort(u)) {
			return true
		}
	}
	return false
}

func isLoopbackName(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback() || strings.EqualFold(host, "localhost")
}

// hostPort returns the host of u in lower case, always with its port.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// Shown returns a URL for messages, without what may be secret in it.
func Shown(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return "(not a URL)"
	}
	return u.Scheme + "://" + u.Host + u.EscapedPath()
}
