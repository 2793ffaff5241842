// Package adminapi is how administration is spoken, on both sides: JSON over HTTP,
// with the errors of RFC 6749, section 5.2.
package adminapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
)

// Problem is the JSON of an error.
type Problem struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
	Field       string `json:"field,omitzero"` // whose value is at fault
}

// Handler serves routes with answers that are nobody else's to keep or to guess at.
func Handler(routes http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		routes.ServeHTTP(w, r)
	})
}

// ReadBody returns the body of a request with JSON. Where there is none to be had, it
// has answered, and ok is false.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int64) (body []byte, ok bool) {
	invalid := func(status int, description string) ([]byte, bool) {
		Write(w, status, Problem{Code: "invalid_request", Description: description})
		return nil, false
	}
	// No form of a page has this type.
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return invalid(http.StatusUnsupportedMediaType, "Content-Type: expected application/json")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return invalid(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is longer than %d bytes", limit))
	}
	if err != nil {
		return invalid(http.StatusBadRequest, "the body ended too early")
	}
	return body, true
}

// Write answers with body as JSON.
func Write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that has left needs no answer
}
