package mcpauth

import (
	"context"
	"net/http"
	"strings"
)

// Request is the part of a request that a provider may look at.
type Request struct {
	// Header holds the request's headers. Providers only read it.
	Header http.Header
	// Host and RemoteAddr are those of the http.Request: the name under which
	// the client has asked for this server, and the address of whoever has the
	// other end of the connection, which may be a proxy. Either may be empty
	// where it is not known.
	Host, RemoteAddr string
}

// Provider says who sent a request.
//
// Authenticate returns the sender's identity, or an *Error; it never panics,
// whatever the request holds. It is called for every request, concurrently,
// and is expected to answer a credential that it has seen lately from memory.
// A provider that needs another service bounds its own waiting and answers
// ErrUnavailable when that service does not.
type Provider interface {
	Authenticate(ctx context.Context, r *Request) (*Identity, error)
}

// Selective is what a Provider has too that can stand beside others on one
// server, as package authn/chain has them.
//
// Recognizes reports whether the credential of r is of the provider's kind, by
// its form alone: the header that it is in, a prefix, the issuer that it says to
// be from. It is called for every request, concurrently and before anything is
// verified, so it waits for nothing and its work is bounded. True says nothing
// of whether the credential is good; it makes the provider the one to say so,
// and its refusal is final. In doubt it is true, since a credential that passes
// its own judge by may find a milder one. Authenticate refuses what Recognizes
// does not recognize.
type Selective interface {
	Recognizes(r *Request) bool
}

// Lifecycle is what a Provider or a Resolver has too if it works in the
// background or holds what has to be given back. It answers from the
// beginning, and ErrUnavailable after Close.
type Lifecycle interface {
	// Start begins the background work and returns. It fails when called
	// twice or after Close.
	Start(ctx context.Context) error
	// Close ends it, and may be called without Start and again.
	Close() error
}

// BearerToken returns the token of the Authorization header (RFC 6750,
// section 2.1), which is the only place where a token is looked for. The
// scheme is matched without regard to case and may be followed by several
// spaces (RFC 9110, section 11.4).
//
// The *Error is ErrMissingCredential when there is no such header or it is of
// another scheme, and ErrMalformedHeader when there are two or when the form
// is wrong.
func BearerToken(h http.Header) (string, error) {
	values := h["Authorization"]
	switch {
	case len(values) > 1:
		return "", errTwoHeaders
	case len(values) == 0 || values[0] == "":
		return "", errNoHeader
	}
	scheme, token, two := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		// A bare token is a mistake that clients make, and no other scheme.
		bare := !two && (len(scheme) > 24 || strings.ContainsAny(scheme, "._"))
		if bare || strings.ContainsAny(scheme, "\t,=") {
			return "", errHeaderForm
		}
		return "", errOtherScheme
	}
	token = strings.TrimLeft(token, " ")
	// A token is long and this is on every request's way: IndexByte is quick.
	if token == "" || strings.IndexByte(token, ' ') >= 0 || strings.IndexByte(token, '\t') >= 0 || strings.IndexByte(token, ',') >= 0 {
		return "", errHeaderForm
	}
	return token, nil
}

var (
	errNoHeader    = &Error{Code: ErrMissingCredential, Message: "No authorization header provided"}
	errOtherScheme = &Error{Code: ErrMissingCredential, Message: "Unsupported authorization scheme. Expected: Bearer <token>"}
	errHeaderForm  = &Error{Code: ErrMalformedHeader, Message: "Invalid authorization format. Expected: Bearer <token>"}
	errTwoHeaders  = &Error{Code: ErrMalformedHeader, Message: "More than one authorization header. Expected: Bearer <token>, once"}
)
