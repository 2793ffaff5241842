package credential

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	"github.com/mcpauth-go/mcpauth/internal/strictjson"
)

// maxBody has room for the longest names, all in escapes.
const maxBody = 64 << 10

// Invalidation is what Handler is asked, and what it answers.
type Invalidation struct {
	Issuer string `json:"issuer"`
	UserID string `json:"user_id"`
	// Resource is the type of resource, "" for all.
	Resource string `json:"resource,omitzero"`
	// Forgotten is how many answers were kept.
	Forgotten int `json:"forgotten"`
}

// Handler serves Invalidate to operators. It asks nobody who they are, which is
// for what it is mounted on: the listener of administration.
//
//	POST /credentials/invalidate
//
// takes a JSON object of strings, "resource" being optional,
//
//	{"issuer": "https://issuer.example.com", "user_id": "alice", "resource": "github"}
//
// and answers it with "forgotten", the number of answers that were kept. Errors
// have "error" and "error_description":
//
//	400 invalid_request   no effect
//	413, 415              more than 64 KiB; not application/json
func (r *Resolver) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+invalidatePath, r.serveInvalidate)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		mux.ServeHTTP(w, req)
	})
}

const invalidatePath = "/credentials/invalidate"

// problem is the JSON of an error.
type problem struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

func (r *Resolver) serveInvalidate(w http.ResponseWriter, req *http.Request) {
	invalid := func(status int, description string) {
		writeJSON(w, status, problem{Code: "invalid_request", Description: description})
	}
	// No form of a page has this type.
	if kind, _, err := mime.ParseMediaType(req.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		invalid(http.StatusUnsupportedMediaType, "Content-Type: expected application/json")
		return
	}
	if req.URL.RawQuery != "" {
		invalid(http.StatusBadRequest, "a query; expected a JSON object alone")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		invalid(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is longer than %d bytes", maxBody))
		return
	}
	if err != nil {
		invalid(http.StatusBadRequest, "the body ended too early")
		return
	}
	what, err := parseInvalidation(body)
	if err != nil {
		invalid(http.StatusBadRequest, err.Error())
		return
	}
	what.Forgotten = r.Invalidate(what.Issuer, what.UserID, what.Resource)
	writeJSON(w, http.StatusOK, what)
}

func parseInvalidation(body []byte) (Invalidation, error) {
	var what Invalidation
	err := strictjson.Object(body, func(name, value []byte) error {
		text, ok := strictjson.String(value)
		var to *string
		switch string(name) {
		case "issuer":
			to = &what.Issuer
		case "user_id":
			to = &what.UserID
		case "resource":
			to = &what.Resource
		default:
			return errors.New(`a member that is not known; expected "issuer", "user_id" and "resource"`)
		}
		if !ok || len(text) == 0 {
			return fmt.Errorf("%s: not a string, or empty", name)
		}
		*to = string(text)
		return nil
	})
	switch {
	case err != nil:
		return what, err
	case what.Issuer == "":
		return what, errors.New("issuer: missing")
	case what.UserID == "":
		return what, errors.New("user_id: missing")
	}
	return what, nil
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that has left needs no answer
}
