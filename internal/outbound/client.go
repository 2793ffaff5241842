package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/mcpauth-go/mcpauth"
)

// ClientConfig says whom a Client may ask.
type ClientConfig struct {
	// Timeout bounds a request with its answer. Required.
	Timeout time.Duration
	// MaxBody bounds the body of an answer. Required.
	MaxBody int64
	// Private lets hosts that are no address themselves turn out to be in a
	// private network.
	Private bool
	// PrivateHosts are hosts, with or without a port, that may if Private is
	// not set.
	PrivateHosts []string
	// Found says that the URLs were found in documents, not written by an
	// operator: they lead to public addresses only, also where the URL is an
	// address itself, except for PrivateHosts and PlainHTTPHosts.
	Found bool
	// PlainHTTPHosts are hosts, with or without a port, that may be asked over
	// plain http, as loopback may. They may be private, too.
	PlainHTTPHosts []string
	// Roots are the certificate authorities; nil for those of the system.
	Roots *x509.CertPool
	// KeepAlive is how long a connection is kept for the next request. Default
	// 30 s.
	KeepAlive time.Duration
	// Resolver looks names up; nil for the system's.
	Resolver *net.Resolver

	transport http.RoundTripper // of tests
}

// Client makes requests that carry a credential. It is safe for concurrent use.
type Client struct {
	config     ClientConfig
	transports map[Reach]http.RoundTripper
}

// NewClient returns a Client for c.
func NewClient(c ClientConfig) *Client {
	if c.KeepAlive == 0 {
		c.KeepAlive = 30 * time.Second
	}
	cl := &Client{config: c, transports: map[Reach]http.RoundTripper{}}
	for _, r := range []Reach{Anywhere, Public, Loopback} {
		cl.transports[r] = c.transport
		if c.transport == nil {
			cl.transports[r] = NewTransport(Transport{Reach: r, Roots: c.Roots, Resolver: c.Resolver, KeepAlive: c.KeepAlive})
		}
	}
	return cl
}

// Answer is what a request was answered with.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// RetryAfter returns when the header of that name wants to be asked again (RFC 9110,
// section 10.2.3), 0 if it does not say. Whoever waits for it bounds it.
func (a *Answer) RetryAfter() time.Duration {
	value := a.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}

// Reasons why a request has no answer, beside those of the network.
var (
	ErrRedirect = errors.New("answered with a redirect, which is not followed with a credential")
	ErrTooLarge = errors.New("the answer is too large")
	ErrNotHTTP  = errors.New("answered with what is not proper HTTP")
)

// Do makes the request and reads the answer to its end. A redirect is an error:
// what the request carries is for the URL that it was made for. The error names
// neither the URL's secrets nor anything of the request's header or body.
func (c *Client) Do(r *http.Request) (*Answer, error) {
	reach, err := c.reachOf(r.URL)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), c.config.Timeout)
	defer cancel()
	if r.Header.Get("User-Agent") == "" {
		r.Header.Set("User-Agent", "mcpauth")
	}
	requester := http.Client{Transport: c.transports[reach], CheckRedirect: func(*http.Request, []*http.Request) error { return ErrRedirect }}
	answer, err := c.read(requester.Do(r.WithContext(ctx)))
	if err != nil {
		// The text of package url has the whole URL, which may hold secrets.
		if e := (*url.Error)(nil); errors.As(err, &e) {
			err = e.Err
		}
		if quotes(err) {
			err = ErrNotHTTP
		}
		return nil, fmt.Errorf("%s %s: %w", r.Method, Shown(r.URL.String()), err)
	}
	return answer, nil
}

// quotes reports whether err is about the form of an answer. Such errors quote it,
// and a server may send back what it was sent.
func quotes(err error) bool {
	if errors.As(err, new(*net.OpError)) || errors.As(err, new(*tls.CertificateVerificationError)) {
		return false
	}
	text := err.Error()
	return strings.Contains(text, "malformed") || strings.Contains(text, `"`)
}

func (c *Client) reachOf(u *url.URL) (Reach, error) {
	if _, err := ParseURL(u.String(), c.config.PlainHTTPHosts); err != nil {
		return 0, err
	}
	_, notAddress := netip.ParseAddr(u.Hostname())
	switch plain := Listed(u, c.config.PlainHTTPHosts); {
	case c.config.Found && !plain && !Listed(u, c.config.PrivateHosts):
		return Public, nil
	case u.Scheme == "http" && !plain:
		return Loopback, nil
	case plain, c.config.Private, Listed(u, c.config.PrivateHosts), notAddress == nil, mcpauth.LoopbackHost(u.Host):
		return Anywhere, nil
	}
	return Public, nil
}

func (c *Client) read(response *http.Response, err error) (*Answer, error) {
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, c.config.MaxBody+1))
	if err == nil {
		// While a connection is closed for want of time, a server may end its
		// answer as if it were complete.
		err = response.Request.Context().Err()
	}
	switch {
	case err != nil:
		return nil, err
	case int64(len(body)) > c.config.MaxBody:
		return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, c.config.MaxBody)
	}
	return &Answer{Status: response.StatusCode, Header: response.Header, Body: body}, nil
}

// Close closes connections that are not in use.
func (c *Client) Close() {
	for _, t := range c.transports {
		if t, ok := t.(interface{ CloseIdleConnections() }); ok {
			t.CloseIdleConnections()
		}
	}
}
