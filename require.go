package mcpauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Requirement says what a door asks for.
type Requirement struct {
	// Scopes must all be granted.
	Scopes []string
	// Hierarchy says which scopes come with others.
	Hierarchy Hierarchy
	// ChallengeScopes are those that a challenge tells clients to ask for,
	// unless a refusal has scopes of its own. Default Scopes.
	ChallengeScopes []string
	// Resource is what the door protects; challenges point to its metadata.
	// It may be nil.
	Resource *Resource
	// Logger takes a record of each refusal, with its cause; nil means
	// slog.Default().
	Logger *slog.Logger
	// Refused, if it is not nil, is told of each refusal instead. The request
	// still has its credential.
	Refused func(*http.Request, *Error)
}

// refusals returns refused, or what writes refusals to logger.
func refusals(refused func(*http.Request, *Error), logger *slog.Logger) func(*http.Request, *Error) {
	if refused != nil {
		return refused
	}
	if logger == nil {
		logger = slog.Default()
	}
	return func(r *http.Request, e *Error) {
		logger.LogAttrs(r.Context(), slog.LevelInfo, "request refused",
			slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Any("refusal", e))
	}
}

// Require returns middleware that lets a request pass only with an identity
// from p and the scopes of q. Handlers find the identity with [FromContext].
// The headers Authorization and X-API-Key are taken off their copy of the
// request, so that the credential goes no further by accident; who needs it asks
// [Identity.Token].
//
// Require is for plain HTTP handlers. For MCP, use package gateway, or Require in
// front of the handler of package sdkauth. Directly in front of
// mcp.NewStreamableHTTPHandler or mcp.NewSSEHandler, it lets anybody with a good
// token and the session id of another user act as that user: the SDK's sessions are
// not bound to this package's identities, and their tools see the identity of the
// session's first request.
//
// A refusal is answered as RFC 6750, section 3, and RFC 9728, section 5.1, ask
// for: status, WWW-Authenticate, and {"error","error_description"} as JSON.
func Require(p Provider, q Requirement) func(http.Handler) http.Handler {
	q.Scopes = slices.Clone(q.Scopes)
	refused := refusals(q.Refused, q.Logger)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id, err := p.Authenticate(r.Context(), &Request{Header: r.Header, Host: r.Host, RemoteAddr: r.RemoteAddr})
			switch {
			case err != nil:
			case id == nil || id.principal == "":
				err = errNoIdentity
			case !q.Hierarchy.Grants(id, q.Scopes...):
				err = &Error{Code: ErrInsufficientScope, Message: "The token lacks a scope that this operation needs.", Scopes: q.Scopes,
					Cause: fmt.Errorf("granted %q, needed %q", id.scopes, q.Scopes)}
			}
			if err != nil {
				refusal := AsError(err)
				refused(r, refusal)
				q.Refuse(w, refusal)
				return
			}
			clean := r.WithContext(NewContext(r.Context(), id))
			clean.Header = maps.Clone(r.Header)
			delete(clean.Header, "Authorization")
			delete(clean.Header, "X-Api-Key")
			next.ServeHTTP(w, clean)
		})
	}
}

var errNoIdentity = errors.New("the provider returned neither an identity nor an error")

// Refuse answers a request with err as Require does. What is no *Error is
// answered as ErrUnavailable.
func (q Requirement) Refuse(w http.ResponseWriter, err error) {
	e := AsError(err)
	status, name, challenged := e.status()
	switch {
	case challenged != never:
		scopes := e.Scopes
		if scopes == nil {
			scopes = q.ChallengeScopes
		}
		if scopes == nil {
			scopes = q.Scopes
		}
		oauth := name
		if challenged == bare {
			oauth = ""
		}
		w.Header().Set("WWW-Authenticate", challenge(q.Resource, oauth, e.Message, scopes))
	case status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests:
		w.Header().Set("Retry-After", e.RetrySeconds())
	}
	writeBody(w, status, name, e.Message)
}

// challenge builds the Bearer challenge of RFC 6750, section 3, with the
// resource_metadata of RFC 9728, section 5.1. Without a credential in the
// request it carries no error (RFC 6750, section 3.1).
func challenge(resource *Resource, oauth, description string, scopes []string) string {
	var params []string
	add := func(name, value string) {
		if value != "" {
			params = append(params, name+`="`+quotable(value)+`"`)
		}
	}
	if oauth != "" {
		add("error", oauth)
		add("error_description", description)
	}
	add("scope", strings.Join(scopes, " "))
	if resource != nil {
		add("resource_metadata", resource.metadataURL)
	}
	if len(params) == 0 {
		return "Bearer"
	}
	return "Bearer " + strings.Join(params, ", ")
}

// quotable keeps what RFC 6750, section 3, allows in a quoted parameter.
func quotable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"' || r == '\\':
			return '\''
		case r < 0x20 || r > 0x7e:
			return '?'
		}
		return r
	}, s)
}

func writeBody(w http.ResponseWriter, status int, code, description string) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	body := json.NewEncoder(w)
	body.SetEscapeHTML(false) // "<token>" is for people to read
	body.Encode(struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{code, description})
}
