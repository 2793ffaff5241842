package mcpauth

import (
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Code says why a request was refused. Codes are stable: programs, logs and
// metrics may rely on them. A Code is an error of its own, so that
//
//	errors.Is(err, mcpauth.ErrExpired)
//
// answers whether a refusal was for that reason.
type Code string

const (
	ErrMissingCredential    Code = "missing_credential"    // the request carries no credential that this server takes
	ErrMalformedHeader      Code = "malformed_header"      // the Authorization header is not "Bearer <token>", or there are two
	ErrMalformedToken       Code = "malformed_token"       // not a token of the form and type that this server takes
	ErrUnsupportedAlgorithm Code = "unsupported_algorithm" // signed with an algorithm that no key of the issuer serves
	ErrUnknownKey           Code = "unknown_key"           // signed with a key that the issuer does not have, or an API key that nobody has
	ErrBadSignature         Code = "bad_signature"         // the signature does not fit the key
	ErrExpired              Code = "expired"               // past its lifetime
	ErrNotYetValid          Code = "not_yet_valid"         // before its "nbf", or issued in the future
	ErrWrongIssuer          Code = "wrong_issuer"          // from an issuer that this server does not trust
	ErrWrongAudience        Code = "wrong_audience"        // meant for another server
	ErrMissingClaim         Code = "missing_claim"         // lacks a claim that this server needs
	ErrTooLarge             Code = "too_large"             // longer than the limit
	ErrRevoked              Code = "revoked"               // revoked before its time
	ErrInactive             Code = "inactive"              // not active, says the authorization server that was asked
	ErrInsufficientScope    Code = "insufficient_scope"    // a valid user without the scope that the operation needs
	ErrForbidden            Code = "forbidden"             // not allowed to anybody, whatever their scopes
	ErrForbiddenHost        Code = "forbidden_host"        // sent under a name that is not this server's
	ErrForbiddenOrigin      Code = "forbidden_origin"      // sent by a page of another origin
	ErrUnknownSession       Code = "unknown_session"       // for a session that this user does not have
	ErrRateLimited          Code = "rate_limited"          // too many requests of this user
	ErrUnavailable          Code = "unavailable"           // this server, or one that it depends on, cannot answer now
)

// Error returns the code itself.
func (c Code) Error() string { return string(c) }

// Error is a refusal. Providers return no other error type. An Error that has
// been returned may be shared between requests and is not to be changed.
type Error struct {
	// Code says why, for programs.
	Code Code
	// Message says why, for the client: it holds nothing of the credential,
	// of other users or of this server's inside.
	Message string
	// Cause says why, for the log only. It may be nil.
	Cause error
	// Scopes are those that the operation needs, for ErrInsufficientScope.
	Scopes []string
	// RetryAfter is when to try again, for ErrUnavailable and ErrRateLimited.
	// Zero means a second.
	RetryAfter time.Duration
}

// Error returns the code and the client's message, never the cause, so that
// an error which finds its way into a response gives nothing away.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Is reports whether target is the error's Code.
func (e *Error) Is(target error) bool {
	code, ok := target.(Code)
	return ok && code == e.Code
}

// RetrySeconds returns RetryAfter as the value of a Retry-After header (RFC
// 9110, section 10.2.3): whole seconds, at least one.
func (e *Error) RetrySeconds() string {
	return strconv.Itoa(max(1, int((e.RetryAfter+time.Second-1)/time.Second)))
}

// LogValue implements [slog.LogValuer]: code, message and the cause.
func (e *Error) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("code", string(e.Code)), slog.String("message", e.Message)}
	if e.Cause != nil {
		attrs = append(attrs, slog.String("cause", e.Cause.Error()))
	}
	return slog.GroupValue(attrs...)
}

// AsError returns a copy of the *Error that err is or wraps. An err that is or
// wraps a Code alone becomes an *Error of that code. Anything else becomes
// ErrUnavailable with err as its cause: a provider that fails in a way of its
// own must neither let a request pass nor tell the client to log in again.
func AsError(err error) *Error {
	var (
		e    *Error
		code Code
	)
	switch {
	case errors.As(err, &e):
		if e == nil { // a nil *Error in an error is a mistake, not a success
			err = errNilError
			break
		}
		refusal := *e
		return &refusal
	case errors.As(err, &code):
		return &Error{Code: code, Message: "The request was refused: " + strings.ReplaceAll(string(code), "_", " ") + ".", Cause: err}
	}
	return &Error{Code: ErrUnavailable, Message: "The server cannot serve this request now. Please try again later.", Cause: err}
}

var errNilError = errors.New("the provider returned a nil *mcpauth.Error as its error")

// challenged says what a refusal has in WWW-Authenticate.
type challenged int

const (
	never   challenged = iota // nothing: a credential would not help
	bare                      // a challenge without error: none was sent (RFC 6750, section 3.1)
	because                   // a challenge with error
)

// status maps a refusal to HTTP and to the "error" of the body and, with
// because, of the challenge.
func (e *Error) status() (status int, name string, c challenged) {
	switch e.Code {
	case ErrMissingCredential:
		return http.StatusUnauthorized, "unauthorized", bare
	case ErrMalformedHeader:
		return http.StatusBadRequest, "invalid_request", because
	case ErrInsufficientScope:
		return http.StatusForbidden, "insufficient_scope", because
	case ErrForbidden, ErrForbiddenHost, ErrForbiddenOrigin:
		return http.StatusForbidden, string(e.Code), never
	case ErrUnknownSession:
		return http.StatusNotFound, string(e.Code), never
	case ErrRateLimited:
		return http.StatusTooManyRequests, "rate_limited", never
	case ErrUnavailable:
		return http.StatusServiceUnavailable, "temporarily_unavailable", never
	default:
		return http.StatusUnauthorized, "invalid_token", because
	}
}
