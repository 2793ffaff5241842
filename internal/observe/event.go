package observe

import (
	"time"

	"github.com/mcpauth-go/mcpauth"
)

// Outcome is what became of a request.
type Outcome string

const (
	OK        Outcome = "ok"        // answered
	Failed    Outcome = "failed"    // answered, with an error of the server or tool
	Refused   Outcome = "refused"   // turned away: see the refusal
	Cancelled Outcome = "cancelled" // the client left first
)

// Event is a request that has been dealt with. What is not known stays empty,
// and is then absent from log and audit log.
type Event struct {
	Time       time.Time // when it came
	RequestID  string
	TraceID    string // "" when not traced
	Remote     string // address of the client
	HTTPMethod string
	Path       string
	Status     int
	// Method is that of JSON-RPC; "batch" for several different ones, "" where
	// there is none.
	Method          string
	Name            string // the tool, prompt or resource URI asked for
	ProtocolVersion string
	Identity        *mcpauth.Identity // nil before somebody is known
	Refusal         *mcpauth.Error    // nil when let through
	// Reason says why a request has failed that was let through, in words that
	// name no user.
	Reason string
	// Outcome, left empty, follows from Refusal and Status.
	Outcome  Outcome
	Duration time.Duration
	// Stream marks what stays open as long as the client likes, such as a GET
	// or subscriptions/listen: its duration says nothing of ours, and is left
	// out of the histogram.
	Stream bool
}

func (e *Event) outcome() Outcome {
	switch e.Outcome {
	case OK, Failed, Refused, Cancelled:
		return e.Outcome
	}
	switch {
	case e.Refusal != nil:
		return Refused
	case e.Status >= 400:
		return Failed
	}
	return OK
}

// allowed reports whether the request was let through. A client that left
// before anybody knew who it was has not been.
func (e *Event) allowed() bool {
	o := e.outcome()
	return e.Refusal == nil && o != Refused && (o != Cancelled || e.Identity != nil)
}
