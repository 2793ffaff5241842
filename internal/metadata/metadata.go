// Package metadata finds out where the endpoints of an authorization server
// are, from what it publishes of itself (OpenID Connect Discovery 1.0, RFC
// 8414), and asks them.
//
// Two kinds of URL are told apart: those that the operator wrote may lead into
// a private network; those that a document supplied may lead to public
// addresses, or back to a host and port that the operator wrote.
package metadata

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/mcpauth-go/mcpauth/internal/keyset"
	"github.com/mcpauth-go/mcpauth/internal/outbound"
	"github.com/mcpauth-go/mcpauth/internal/strictjson"
)

// Document is what an authorization server says of itself. What it does not
// say is empty.
type Document struct {
	Issuer        string
	Authorization string // endpoints
	Token         string
	Introspection string
	Userinfo      string
	KeySet        string
	// IssParameter says that answers of the authorization endpoint have "iss"
	// (RFC 9207, section 3).
	IssParameter bool
	// ChallengeMethods are those of PKCE, nil when nothing is said of them.
	ChallengeMethods []string
}

// Parse reads a document, which must name the issuer to the byte: who can
// answer for one issuer must not be able to answer for another (RFC 8414,
// section 3.3).
func Parse(document []byte, issuer string) (Document, error) {
	var d Document
	err := strictjson.Object(document, func(name, value []byte) error {
		var target *string
		switch string(name) {
		case "issuer":
			target = &d.Issuer
		case "authorization_endpoint":
			target = &d.Authorization
		case "token_endpoint":
			target = &d.Token
		case "introspection_endpoint":
			target = &d.Introspection
		case "userinfo_endpoint":
			target = &d.Userinfo
		case "jwks_uri":
			target = &d.KeySet
		case "authorization_response_iss_parameter_supported":
			switch string(value) {
			case "true":
				d.IssParameter = true
			case "false":
			default:
				return fmt.Errorf("%q is neither true nor false", name)
			}
			return nil
		case "code_challenge_methods_supported":
			d.ChallengeMethods = []string{}
			err := strictjson.Array(value, func(value []byte) error {
				method, ok := strictjson.String(value)
				if !ok {
					return fmt.Errorf("%q has what is not a string", name)
				}
				d.ChallengeMethods = append(d.ChallengeMethods, string(method))
				return nil
			})
			if err == strictjson.ErrNotArray {
				err = fmt.Errorf("%q is not an array", name)
			}
			return err
		default:
			return nil
		}
		text, ok := strictjson.String(value)
		if !ok {
			return fmt.Errorf("%q is not a string", name)
		}
		*target = string(text)
		return nil
	})
	switch {
	case err != nil:
		return Document{}, err
	case d.Issuer != issuer:
		return Document{}, fmt.Errorf("the document is of issuer %.200q, not of %q", d.Issuer, issuer)
	}
	return d, nil
}

// Config says whose metadata is looked for.
type Config struct {
	Issuer string
	// URL is where the metadata is, or "" for where the issuer leads to.
	URL string
	// Written are further URLs of the operator's, to whose hosts a document may
	// lead back.
	Written        []string
	PlainHTTPHosts []string
	Roots          *x509.CertPool // nil for those of the system
	Timeout        time.Duration  // of a request
	MaxBody        int64          // of an answer
	Resolver       *net.Resolver  // nil for the system's
}

// Server asks an authorization server. It is safe for concurrent use.
type Server struct {
	config         Config
	written, found *outbound.Client
}

// NewServer returns a Server for c, whose URLs have been checked.
func NewServer(c Config) *Server {
	var own []string
	for _, raw := range append([]string{c.Issuer, c.URL}, c.Written...) {
		if u, err := url.Parse(raw); err == nil && u.Hostname() != "" {
			own = append(own, outbound.HostPort(u))
		}
	}
	client := outbound.ClientConfig{Timeout: c.Timeout, MaxBody: c.MaxBody, PlainHTTPHosts: c.PlainHTTPHosts, Roots: c.Roots, Resolver: c.Resolver}
	written, found := client, client
	written.Private = true
	found.Found, found.PrivateHosts = true, own
	return &Server{config: c, written: outbound.NewClient(written), found: outbound.NewClient(found)}
}

// Written asks at URLs that the operator wrote.
func (s *Server) Written() *outbound.Client { return s.written }

// Found asks at URLs that a Document has.
func (s *Server) Found() *outbound.Client { return s.found }

// Close closes connections that are not in use.
func (s *Server) Close() {
	s.written.Close()
	s.found.Close()
}

// URLs returns where the metadata of c is looked for.
func (c Config) URLs() []string {
	if c.URL != "" {
		return []string{c.URL}
	}
	return keyset.MetadataURLs(c.Issuer)
}

// Error is why a place that was asked has not given the metadata.
type Error struct {
	At         string        // the place, without secrets
	Status     int           // of the answer, 0 for none
	RetryAfter time.Duration // what the answer says of it
	Cause      error         // of the network where there is no answer, or what is wrong with the document
}

func (e *Error) Error() string {
	switch {
	case e.Status == 0:
		return e.Cause.Error() // which says of itself where
	case e.Cause == nil:
		return fmt.Sprintf("metadata at %s: answered with status %d", e.At, e.Status)
	}
	return fmt.Sprintf("metadata at %s: %v", e.At, e.Cause)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Discover fetches the metadata. The error joins that of each place, an *Error if
// it was asked.
func (s *Server) Discover(ctx context.Context) (Document, error) {
	var failures []error
	for _, raw := range s.config.URLs() {
		d, err := s.discoverAt(ctx, raw)
		if err == nil {
			return d, nil
		}
		failures = append(failures, err)
		if ctx.Err() != nil {
			break
		}
	}
	return Document{}, errors.Join(failures...)
}

func (s *Server) discoverAt(ctx context.Context, raw string) (Document, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, raw, nil)
	if err != nil {
		return Document{}, errors.New("not a URL that can be asked for")
	}
	r.Header.Set("Accept", "application/json")
	answer, err := s.written.Do(r)
	if err != nil {
		return Document{}, &Error{At: outbound.Shown(raw), Cause: err}
	}
	if answer.Status != http.StatusOK {
		return Document{}, &Error{At: outbound.Shown(raw), Status: answer.Status, RetryAfter: answer.RetryAfter()}
	}
	d, err := Parse(answer.Body, s.config.Issuer)
	if err != nil {
		return Document{}, &Error{At: outbound.Shown(raw), Status: answer.Status, Cause: err}
	}
	return d, nil
}
