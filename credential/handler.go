package credential

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/mcpauth-go/mcpauth/internal/adminapi"
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
	return adminapi.Handler(mux)
}

const invalidatePath = "/credentials/invalidate"

func (r *Resolver) serveInvalidate(w http.ResponseWriter, req *http.Request) {
	invalid := func(description string) {
		adminapi.Write(w, http.StatusBadRequest, adminapi.Problem{Code: "invalid_request", Description: description})
	}
	if req.URL.RawQuery != "" {
		invalid("a query; expected a JSON object alone")
		return
	}
	body, ok := adminapi.ReadBody(w, req, maxBody)
	if !ok {
		return
	}
	what, err := parseInvalidation(body)
	if err != nil {
		invalid(err.Error())
		return
	}
	what.Forgotten = r.Invalidate(what.Issuer, what.UserID, what.Resource)
	adminapi.Write(w, http.StatusOK, what)
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
