package mcpauth_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/mcpauth-go/mcpauth"
)

func TestErrorAnswersEveryQuestion(t *testing.T) {
	cause := fmt.Errorf("dial 10.0.0.7: %w", context.DeadlineExceeded)
	var err error = fmt.Errorf("wrapped: %w", &mcpauth.Error{Code: mcpauth.ErrExpired, Message: "the message", Cause: cause})
	if !errors.Is(err, mcpauth.ErrExpired) || errors.Is(err, mcpauth.ErrRevoked) {
		t.Error("errors.Is does not tell the code")
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error("errors.Is does not find the cause")
	}
	var e *mcpauth.Error
	if !errors.As(err, &e) || e.Unwrap() != cause {
		t.Error("errors.As or Unwrap is wrong")
	}
	if got, want := e.Error(), "expired: the message"; got != want {
		t.Errorf("Error() = %q, want %q, without the cause", got, want)
	}
	if mcpauth.ErrExpired.Error() != "expired" {
		t.Errorf("the code as an error is %q", mcpauth.ErrExpired.Error())
	}
}

func TestAsError(t *testing.T) {
	refusal := &mcpauth.Error{Code: mcpauth.ErrRevoked, Message: "m"}
	got := mcpauth.AsError(fmt.Errorf("x: %w", refusal))
	if !reflect.DeepEqual(got, refusal) || got == refusal {
		t.Errorf("AsError of a refusal = %v, want a copy", got)
	}
	code := fmt.Errorf("x: %w", mcpauth.ErrExpired)
	if got := mcpauth.AsError(code); got.Code != mcpauth.ErrExpired || got.Message != "The request was refused: expired." || got.Cause != code {
		t.Errorf("AsError of a code = %#v", got)
	}
	if got := mcpauth.AsError((*mcpauth.Error)(nil)); got.Code != mcpauth.ErrUnavailable {
		t.Errorf("AsError of a nil *Error = %v", got)
	}
	other := errors.New("the database is at db.internal")
	got = mcpauth.AsError(other)
	if got.Code != mcpauth.ErrUnavailable || got.Cause != other {
		t.Errorf("AsError of another error = %v with cause %v, want unavailable", got.Code, got.Cause)
	}
	if want := "The server cannot serve this request now. Please try again later."; got.Message != want {
		t.Errorf("its message is %q, want %q", got.Message, want)
	}
}

func TestConfigErrorListsAllFaults(t *testing.T) {
	one := &mcpauth.ConfigError{Package: "jwt", Faults: []mcpauth.Fault{{Field: "A", Problem: "empty", Expected: "a value"}}}
	if got, want := one.Error(), "jwt: A: empty; expected a value"; got != want {
		t.Errorf("one fault reads %q, want %q", got, want)
	}
	two := &mcpauth.ConfigError{Package: "jwt", Faults: []mcpauth.Fault{{Field: "A", Problem: "empty"}, {Field: "B", Problem: "odd"}}}
	if got, want := two.Error(), "jwt: the configuration has faults:\n  - A: empty\n  - B: odd"; got != want {
		t.Errorf("two faults read %q, want %q", got, want)
	}
}
