// Package outbound has the rules for requests that this server makes of its own
// accord, to identity providers and platforms. Each is made so that
//
//   - it goes over TLS, except to loopback and to what the operator has listed;
//   - it goes to no address that its URL should not lead to (see Reach), which
//     is judged when the connection is made, with the address that the name has
//     turned out to have;
//   - what it is answered with is bounded in size and time;
//   - its errors quote neither what it carries nor the secrets of its URL.
//
// A Client makes requests that carry a credential: they follow no redirect.
package outbound

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
)

const maxHeader = 64 << 10

// Roots returns the system's certificate authorities and those of a PEM file.
func Roots(path string) (*x509.CertPool, error) {
	text, err := os.ReadFile(path)
	if p := (*os.PathError)(nil); errors.As(err, &p) {
		err = p.Err
	}
	if err != nil {
		return nil, err
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(text) {
		return nil, errors.New("holds no certificate in PEM")
	}
	return roots, nil
}

// Transport says how requests of one reach are made.
type Transport struct {
	Reach Reach
	// Roots are the certificate authorities; nil for those of the system.
	Roots *x509.CertPool
	// Proxy is http.ProxyFromEnvironment by default.
	Proxy func(*http.Request) (*url.URL, error)
	// Resolver looks names up; nil for the system's.
	Resolver *net.Resolver
	// KeepAlive keeps connections open for so long; 0 closes each after use.
	KeepAlive time.Duration
}

// transport connects itself, with its rules of addresses, or leaves that to the
// proxy, whose address the operator chose.
type transport struct {
	reach           Reach
	proxy           func(*http.Request) (*url.URL, error)
	direct, proxied *http.Transport
}

// NewTransport returns what makes requests as c says.
func NewTransport(c Transport) http.RoundTripper {
	t := &transport{reach: c.Reach, proxy: c.Proxy}
	if t.proxy == nil {
		t.proxy = http.ProxyFromEnvironment
	}
	connecting := func(r Reach, proxy func(*http.Request) (*url.URL, error)) *http.Transport {
		dialer := &net.Dialer{Resolver: c.Resolver, Control: func(_, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil {
				return errors.New("not an internet address")
			}
			return r.Check(to.Addr())
		}}
		return &http.Transport{
			Proxy:                  proxy,
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12},
			MaxResponseHeaderBytes: maxHeader,
			DisableKeepAlives:      c.KeepAlive == 0,
			IdleConnTimeout:        c.KeepAlive,
			MaxIdleConnsPerHost:    16,
			ForceAttemptHTTP2:      c.KeepAlive > 0,
		}
	}
	t.direct, t.proxied = connecting(c.Reach, nil), connecting(Anywhere, t.proxy)
	return t
}

// RoundTrip implements http.RoundTripper. What a name stands for is known to
// the proxy alone; an address in the URL itself is checked here.
func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	proxy, err := t.proxy(request)
	if err != nil {
		return nil, errors.New("the proxy's URL in the environment is not valid")
	}
	if proxy == nil {
		return t.direct.RoundTrip(request)
	}
	if addr, err := netip.ParseAddr(strings.Trim(request.URL.Hostname(), "[]")); err == nil {
		if err := t.reach.Check(addr); err != nil {
			return nil, err
		}
	}
	return t.proxied.RoundTrip(request)
}

// CloseIdleConnections is what http.Client.CloseIdleConnections asks for.
func (t *transport) CloseIdleConnections() {
	t.direct.CloseIdleConnections()
	t.proxied.CloseIdleConnections()
}
