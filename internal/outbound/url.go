package outbound

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/mcpauth-go/mcpauth"
)

// ErrPlainHTTP is in the error of a URL that only PlainHTTPHosts would allow.
var ErrPlainHTTP = errors.New("listed for plain http")

// CheckURL says what speaks against fetching from a URL: it must be absolute
// and https, except on loopback and for plainHTTPHosts. It must hold no
// password, which would end up in logs.
func CheckURL(raw string, plainHTTPHosts []string) error {
	_, err := ParseURL(raw, plainHTTPHosts)
	return err
}

// ParseURL returns the URL that CheckURL has nothing against.
func ParseURL(raw string, plainHTTPHosts []string) (*url.URL, error) {
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
	case u.Scheme == "http" && !mcpauth.LoopbackHost(u.Host) && !Listed(u, plainHTTPHosts):
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

// Listed reports whether one of hosts, each with or without a port, is u's.
func Listed(u *url.URL, hosts []string) bool {
	for _, host := range hosts {
		if strings.EqualFold(host, u.Host) || strings.EqualFold(host, u.Hostname()) ||
			strings.EqualFold(host, "["+u.Hostname()+"]") || strings.EqualFold(host, HostPort(u)) {
			return true
		}
	}
	return false
}

// HostPort returns the host of u in lower case, always with its port.
func HostPort(u *url.URL) string {
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
