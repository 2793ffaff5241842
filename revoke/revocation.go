package revoke

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mcpauth-go/mcpauth"
)

// Kind says what a revocation names.
type Kind string

const (
	// Block refuses a user whatever the token, until [List.Lift]. It is the
	// kind that a refreshed token does not get around.
	Block Kind = "block"
	// Session refuses the tokens of a session of the provider, also those
	// refreshed later, for as long as the revocation is kept. It does not end
	// the session at the provider.
	Session Kind = "session"
	// Token refuses one token.
	Token Kind = "token"
	// User refuses the tokens that a user was given before a time. Who logs in
	// after it, and after the skew, gets in again.
	User Kind = "user"
)

// kinds are those that there are, in the order of the file.
var kinds = [...]Kind{Block, Session, Token, User}

// code returns the kind's place in kinds, or -1.
func (k Kind) code() int {
	for i, known := range kinds {
		if k == known {
			return i
		}
	}
	return -1
}

// Revocation names what is no longer to be taken, by ids of its issuer: what
// belongs to one issuer says nothing about another's.
type Revocation struct {
	Kind   Kind   `json:"kind"`
	Issuer string `json:"issuer"`
	// UserID is for User and Block.
	UserID string `json:"user_id,omitzero"`
	// TokenID is for Token. It is not the token itself, which is refused here.
	TokenID string `json:"token_id,omitzero"`
	// SessionID is for Session.
	SessionID string `json:"session_id,omitzero"`
	// Before is for User: tokens issued up to then, and up to the skew after
	// it, are refused, and those that do not say when they were issued. Zero
	// means now. Of two revocations of a user the later time holds.
	Before time.Time `json:"before,omitzero"`
	// Reason is for operators: nobody else gets to see it.
	Reason string `json:"reason,omitzero"`
}

// id returns the one that belongs to the kind.
func (r Revocation) id() string {
	switch r.Kind {
	case Token:
		return r.TokenID
	case Session:
		return r.SessionID
	default:
		return r.UserID
	}
}

// Entry is a revocation on the list.
type Entry struct {
	Revocation
	// At is when it was made, last.
	At time.Time `json:"at"`
	// Until is when it is forgotten. Zero means never.
	Until time.Time `json:"until,omitzero"`
	// Saved says that it is in the file.
	Saved bool `json:"saved"`
}

// from is the time after which nothing is issued that the entry names.
func (e Entry) from() time.Time {
	if e.Kind == User {
		return e.Before
	}
	return e.At
}

// InvalidError holds everything that is wrong with a revocation, or with a
// question about the list. Its fields are named as in JSON. It quotes no value.
type InvalidError struct{ Faults []mcpauth.Fault }

func (e *InvalidError) Error() string {
	texts := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		texts[i] = f.String()
	}
	return "revoke: " + strings.Join(texts, "; ")
}

var (
	// ErrFull says that the list has no room. The revocation has no effect.
	ErrFull = errors.New("revoke: the list is full")
	// ErrNotSaved says that the revocation is effective, but not known to be in
	// the file: it is tried again until it is, or until the process ends, which
	// forgets it. For a block that was to be lifted, see [List.Lift].
	ErrNotSaved = errors.New("revoke: not saved")
	// ErrNotBlocked says that there is no block to lift.
	ErrNotBlocked = errors.New("revoke: the user is not blocked")
	// ErrClosed says that the list has been closed. The revocation has no
	// effect.
	ErrClosed = errors.New("revoke: the list has been closed")
	// ErrInUse says that another process, or another List, has the file.
	ErrInUse = errors.New("the file is in use by another process")
	// ErrNotList says that the file is no list of revocations, or a damaged
	// one. It has been left as it is.
	ErrNotList = errors.New("the file is not a list of revocations, or is damaged; it has been left as it is")
)

const (
	maxIssuer = 2 << 10
	maxID     = 16 << 10 // a whole token has no more, by default
	maxReason = 1 << 10
)

// faults returns all that is wrong with r at now.
func (l *List) faults(r Revocation, now time.Time) []mcpauth.Fault {
	var faults []mcpauth.Fault
	add := func(field, problem, expected string) {
		faults = append(faults, mcpauth.Fault{Field: field, Problem: problem, Expected: expected})
	}
	code := r.Kind.code()
	if code < 0 {
		add("kind", missingOr(string(r.Kind), "unknown"), `"token", "user", "session" or "block"`)
	}
	var lifetime time.Duration
	if problem := textProblem(r.Issuer, maxIssuer, false); problem != "" {
		add("issuer", problem, "the name of an issuer, exactly as in its tokens")
	} else {
		var known bool
		if lifetime, known = l.config.Lifetime(r.Issuer); !known {
			// One slash too many, and nobody would be revoked.
			add("issuer", "not an issuer of this server", "the name of one, exactly as in its tokens")
		}
	}
	for _, id := range []struct {
		field, value string
		needed, any  bool
	}{
		{"user_id", r.UserID, r.Kind == User || r.Kind == Block, false},
		{"token_id", r.TokenID, r.Kind == Token, true},
		{"session_id", r.SessionID, r.Kind == Session, true},
	} {
		switch problem := textProblem(id.value, maxID, id.any); {
		case code < 0:
		case !id.needed && id.value != "":
			add(id.field, fmt.Sprintf("given, but it does not belong to kind %q", r.Kind), "nothing")
		case id.needed && problem != "":
			add(id.field, problem, "an id, exactly as in the token")
		}
	}
	switch {
	case r.Before.IsZero() || code < 0:
	case r.Kind != User:
		add("before", fmt.Sprintf("given, but it does not belong to kind %q", r.Kind), "nothing")
	case r.Before.After(now.Add(l.config.Skew)):
		add("before", "in the future", `a time that has passed; for what is to come there is kind "block"`)
	case r.Before.Unix() < 0 || l.gone(lifetime, r.Before, now):
		add("before", "so long ago that no token of that time can be valid", "a later time")
	}
	if r.Reason != "" {
		if problem := textProblem(r.Reason, maxReason, false); problem != "" {
			add("reason", problem, "a line of text, or nothing")
		}
	}
	return faults
}

// textProblem says what is wrong with s. It does not quote it: operators paste
// tokens where ids belong, and errors are logged.
func textProblem(s string, most int, control bool) string {
	switch {
	case s == "":
		return "missing"
	case len(s) > most:
		return fmt.Sprintf("longer than %d bytes", most)
	case !utf8.ValidString(s):
		return "not UTF-8"
	case !control && strings.ContainsFunc(s, unicode.IsControl):
		return "it has control characters"
	case strings.HasPrefix(s, "eyJ") && strings.Count(s, ".") >= 2:
		return "it looks like a token, which does not belong here"
	}
	return ""
}

func missingOr(s, problem string) string {
	if s == "" {
		return "missing"
	}
	return problem
}
