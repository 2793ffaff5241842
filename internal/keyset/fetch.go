package keyset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/mcpauth-go/mcpauth/internal/outbound"
)

const (
	maxDocument  = 512 << 10
	maxRedirects = 3
)

// get fetches the set, by way of the metadata where that leads to it. The
// metadata is read again with each regular fetch; for an unknown key, the set
// itself is what counts.
func (s *Source) get(ctx context.Context, forKey bool) (document []byte, life time.Duration, err error) {
	target, fromDocument := s.setURL, s.config.URL == ""
	if !fromDocument {
		if target, err = outbound.ParseURL(s.config.URL, s.config.PlainHTTPHosts); err != nil {
			return nil, 0, err
		}
	} else if target == nil || !forKey {
		if target, err = s.discover(ctx); err != nil {
			return nil, 0, err
		}
		s.setURL = target
	}
	document, header, err := s.client.get(ctx, target, fromDocument, forKey)
	if err != nil {
		return nil, 0, err
	}
	return document, s.life(header), nil
}

// discover returns where the issuer's metadata says that the set is.
func (s *Source) discover(ctx context.Context) (*url.URL, error) {
	var failures []error
	for _, raw := range s.config.Metadata {
		set, err := s.discoverAt(ctx, raw)
		if err == nil {
			return set, nil
		}
		failures = append(failures, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(failures...)
}

func (s *Source) discoverAt(ctx context.Context, raw string) (*url.URL, error) {
	u, err := outbound.ParseURL(raw, s.config.PlainHTTPHosts)
	if err != nil {
		return nil, err
	}
	document, _, err := s.client.get(ctx, u, false, false)
	if err != nil {
		return nil, err
	}
	jwksURI, err := ParseMetadata(document, s.config.Issuer)
	if err != nil {
		return nil, fmt.Errorf("metadata at %s: %w", outbound.Shown(raw), err)
	}
	set, err := outbound.ParseURL(jwksURI, s.config.PlainHTTPHosts)
	if err != nil {
		return nil, fmt.Errorf(`metadata at %s: "jwks_uri": %w`, outbound.Shown(raw), err)
	}
	return set, nil
}

// client fetches documents.
type client struct {
	own        []string // hosts with ports that the operator wrote
	plainHTTP  []string
	transports map[outbound.Reach]http.RoundTripper
}

func newClient(c Config) client {
	cl := client{plainHTTP: c.PlainHTTPHosts, transports: map[outbound.Reach]http.RoundTripper{}}
	for _, raw := range append([]string{c.URL, c.Issuer}, c.Metadata...) {
		if u, err := url.Parse(raw); err == nil && u.Hostname() != "" {
			cl.own = append(cl.own, outbound.HostPort(u))
		}
	}
	for _, r := range []outbound.Reach{outbound.Anywhere, outbound.Public, outbound.Loopback} {
		cl.transports[r] = c.Transport
		if c.Transport == nil {
			cl.transports[r] = outbound.NewTransport(outbound.Transport{Reach: r, Roots: c.Roots, Proxy: c.Proxy, Resolver: c.Resolver})
		}
	}
	return cl
}

// reachOf returns where a request for u may go. A document that leads back to
// the very host and port that the operator wrote leads nowhere new.
func (c client) reachOf(u *url.URL, fromDocument bool) outbound.Reach {
	own := !fromDocument || outbound.Listed(u, c.plainHTTP)
	for _, host := range c.own {
		own = own || host == outbound.HostPort(u)
	}
	switch {
	case !own:
		return outbound.Public
	case u.Scheme == "http" && !outbound.Listed(u, c.plainHTTP):
		return outbound.Loopback
	}
	return outbound.Anywhere
}

func (c client) get(ctx context.Context, u *url.URL, fromDocument, anew bool) (document []byte, header http.Header, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, nil, errors.New("not a URL that can be asked for")
	}
	request.Header.Set("Accept", "application/json, application/jwk-set+json")
	request.Header.Set("User-Agent", "mcpauth")
	if anew { // a cache on the way does not have the new key either
		request.Header.Set("Cache-Control", "no-cache")
	}
	requester := http.Client{Transport: c.transports[c.reachOf(u, fromDocument)], CheckRedirect: checkRedirect}
	document, header, err = c.read(requester.Do(request))
	if err != nil {
		// The text of package url has the whole URL, which may hold secrets.
		if e := (*url.Error)(nil); errors.As(err, &e) {
			err = e.Err
		}
		return nil, nil, fmt.Errorf("fetch %s: %w", outbound.Shown(u.String()), err)
	}
	return document, header, nil
}

func (c client) read(response *http.Response, err error) ([]byte, http.Header, error) {
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("answered with status %d", response.StatusCode)
	}
	// The transport has undone gzip: what is bounded is what comes out.
	document, err := io.ReadAll(io.LimitReader(response.Body, maxDocument+1))
	if err == nil {
		// While a connection is closed for want of time, a server may end its
		// answer as if it were complete.
		err = response.Request.Context().Err()
	}
	switch {
	case err != nil:
		return nil, nil, err
	case len(document) > maxDocument:
		return nil, nil, fmt.Errorf("the document is larger than %d bytes", maxDocument)
	}
	return document, response.Header, nil
}

// checkRedirect keeps a request where it was sent: another host would be one
// that nobody has named, and plain http would give up what https was for.
func checkRedirect(request *http.Request, via []*http.Request) error {
	first := via[0].URL
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("redirected more than %d times", maxRedirects)
	case first.Scheme != "https" || request.URL.Scheme != "https":
		return errors.New("redirected, which is followed on https only")
	case outbound.HostPort(request.URL) != outbound.HostPort(first):
		return fmt.Errorf("redirected to another host, %.100q", request.URL.Host)
	case request.URL.User != nil:
		return errors.New("redirected to a URL with a user name or password")
	}
	return nil
}
