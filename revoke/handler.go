package revoke

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/adminapi"
	"github.com/mcpauth-go/mcpauth/internal/strictjson"
)

// maxBody has room for the longest names, all in escapes.
const maxBody = 256 << 10

// Handler serves the list to operators. It asks nobody who they are, which is
// for what it is mounted on: the listener of administration.
//
//	POST   /revocations                        revoke
//	GET    /revocations?kind=&issuer=&user_id=&limit=&after=
//	DELETE /blocks?issuer=…&user_id=…          lift a block
//
// A revocation is a JSON object of strings, the fields of [Revocation]:
//
//	{"kind": "user", "issuer": "https://issuer.example.com", "user_id": "alice",
//	 "before": "2026-08-01T12:00:00Z", "reason": "laptop stolen"}
//
// The answer is the [Entry], with "at", "until" (absent: for ever) and "saved".
// GET answers a [Page]; all of its parameters may be left out. DELETE answers
// 204. Errors have "error", "error_description" and, where it is one field's
// fault, "field":
//
//	400 invalid_request         no effect
//	404 not_blocked             there is no block to lift
//	413, 415                    more than 256 KiB; not application/json
//	503 not_saved               effective, but not in the file yet; or, of a block to be lifted: it stays for now
//	503 closed, unavailable     no effect
//	507 full                    no effect
func (l *List) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /revocations", l.serveRevoke)
	mux.HandleFunc("GET /revocations", l.servePage)
	mux.HandleFunc("DELETE /blocks", l.serveLift)
	return adminapi.Handler(mux)
}

func (l *List) serveRevoke(w http.ResponseWriter, r *http.Request) {
	if _, err := parameters(r); err != nil {
		l.fail(w, r, err)
		return
	}
	body, ok := adminapi.ReadBody(w, r, maxBody)
	if !ok {
		return
	}
	revocation, err := parseRevocation(body)
	if err != nil {
		l.fail(w, r, err)
		return
	}
	entries, err := l.Revoke(r.Context(), revocation)
	if err != nil {
		l.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, entries[0])
}

func (l *List) servePage(w http.ResponseWriter, r *http.Request) {
	given, err := parameters(r, "kind", "issuer", "user_id", "limit", "after")
	if err != nil {
		l.fail(w, r, err)
		return
	}
	q := Query{Kind: Kind(given.Get("kind")), Issuer: given.Get("issuer"), UserID: given.Get("user_id"), After: given.Get("after")}
	if text := given.Get("limit"); text != "" {
		if q.Limit, err = strconv.Atoi(text); err != nil || q.Limit < 1 {
			l.fail(w, r, invalid("limit", "not a number", fmt.Sprintf("1 to %d", maxPage)))
			return
		}
	}
	page, err := l.Page(q)
	if err != nil {
		l.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, page)
}

func (l *List) serveLift(w http.ResponseWriter, r *http.Request) {
	given, err := parameters(r, "issuer", "user_id")
	if err == nil {
		for _, name := range []string{"issuer", "user_id"} {
			if given.Get(name) == "" {
				err = invalid(name, "missing", "whose block to lift")
				break
			}
		}
	}
	if err == nil {
		err = l.Lift(r.Context(), given.Get("issuer"), given.Get("user_id"))
	}
	if err != nil {
		l.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// parameters returns those of the query: none but names, and each once.
func parameters(r *http.Request, names ...string) (url.Values, error) {
	given, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, invalid("", "the query is malformed", "name=value, percent-encoded")
	}
	for name, values := range given {
		switch {
		case !slices.Contains(names, name):
			return nil, invalid("", "the query has a parameter that is not known", fmt.Sprintf("of %q", names))
		case len(values) > 1:
			return nil, invalid(name, "given twice", "one value")
		case values[0] == "":
			return nil, invalid(name, "empty", "a value, or no such parameter")
		}
	}
	return given, nil
}

func parseRevocation(body []byte) (Revocation, error) {
	var r Revocation
	err := strictjson.Object(body, func(name, value []byte) error {
		text, ok := strictjson.String(value)
		var to *string
		switch string(name) {
		case "kind":
			to = (*string)(&r.Kind)
		case "issuer":
			to = &r.Issuer
		case "user_id":
			to = &r.UserID
		case "token_id":
			to = &r.TokenID
		case "session_id":
			to = &r.SessionID
		case "reason":
			to = &r.Reason
		case "before":
			var err error
			if r.Before, err = time.Parse(time.RFC3339, string(text)); !ok || err != nil || r.Before.IsZero() {
				return invalid("before", "not a time", `one as in "2026-08-01T12:00:00Z" (RFC 3339)`)
			}
			return nil
		default:
			return invalid("", "a member that is not known", `"kind", "issuer", "user_id", "token_id", "session_id", "before" and "reason"`)
		}
		if !ok {
			return invalid(string(name), "not a string", "a string")
		}
		*to = string(text)
		return nil
	})
	var fault *InvalidError
	if err != nil && !errors.As(err, &fault) {
		return r, invalid("", err.Error(), "one JSON object")
	}
	return r, err
}

func invalid(field, problem, expected string) error {
	return &InvalidError{[]mcpauth.Fault{{Field: field, Problem: problem, Expected: expected}}}
}

func (l *List) fail(w http.ResponseWriter, r *http.Request, err error) {
	var fault *InvalidError
	switch {
	case errors.As(err, &fault):
		p := adminapi.Problem{Code: "invalid_request", Field: fault.Faults[0].Field}
		for i, f := range fault.Faults {
			if i > 0 {
				p.Description += "; "
			}
			if f.Field != "" {
				p.Description += f.Field + ": "
			}
			p.Description += f.Problem
			if f.Expected != "" {
				p.Description += "; expected " + f.Expected
			}
		}
		answer(w, http.StatusBadRequest, p)
	case errors.Is(err, ErrNotBlocked):
		answer(w, http.StatusNotFound, adminapi.Problem{Code: "not_blocked", Description: "the user is not blocked"})
	case errors.Is(err, ErrFull):
		answer(w, http.StatusInsufficientStorage, adminapi.Problem{Code: "full", Description: "the list is full: the revocation has no effect"})
	case errors.Is(err, ErrNotSaved) && r.Method == http.MethodDelete:
		answer(w, http.StatusServiceUnavailable, adminapi.Problem{Code: "not_saved", Description: "the file has not taken it: the block stays for now"})
	case errors.Is(err, ErrNotSaved):
		answer(w, http.StatusServiceUnavailable, adminapi.Problem{Code: "not_saved", Description: "the file has not taken it: the revocation is effective until this process ends, and will be tried again"})
	case errors.Is(err, ErrClosed):
		answer(w, http.StatusServiceUnavailable, adminapi.Problem{Code: "closed", Description: "the server is stopping: nothing has changed"})
	default:
		l.config.Logger.LogAttrs(r.Context(), slog.LevelError, "request about revocations failed", slog.Any("error", err))
		answer(w, http.StatusServiceUnavailable, adminapi.Problem{Code: "unavailable", Description: "this cannot be done now; the log says why"})
	}
}

func answer(w http.ResponseWriter, status int, body any) {
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(int(retryEvery/time.Second)))
	}
	adminapi.Write(w, status, body)
}
