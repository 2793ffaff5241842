package inproc_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/upstream/inproc"
)

// revoked are users.
type revoked struct {
	mu    sync.Mutex
	epoch uint32
	users []string
	asked int
}

func (r *revoked) Epoch() uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.epoch + 1
}

func (r *revoked) Revoked(c mcpauth.Revocable) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	return slices.Contains(r.users, c.UserID)
}

func (r *revoked) add(user string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.users = append(r.users, user)
	r.epoch++
}

func user(t *testing.T, name string) *mcpauth.Identity {
	t.Helper()
	id, err := mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: "i", UserID: name})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestRequestsOfTheRevokedEnd(t *testing.T) {
	list := &revoked{}
	limits := inproc.Limits{Idle: time.Hour, Lifetime: time.Hour}
	u := inproc.New(inproc.Config{Revocations: list, Limits: limits, Logger: slog.New(slog.DiscardHandler)})
	defer u.Shutdown(t.Context())
	over := func(ctx context.Context) bool { return errors.Is(context.Cause(ctx), mcpauth.ErrRevoked) }

	alice, bob := user(t, "alice"), user(t, "bob")
	epoch := list.Epoch()
	before, release := u.Admit(t.Context(), alice, epoch)
	defer release()
	other, releaseOther := u.Admit(t.Context(), bob, epoch)
	done, releaseDone := u.Admit(t.Context(), alice, epoch)
	releaseDone()
	if list.asked != 0 || before.Err() != nil {
		t.Errorf("asked %d times about what is known, %v", list.asked, before.Err())
	}
	list.add("alice")
	// Between the revocation and the search for what it ends.
	between, releaseBetween := u.Admit(t.Context(), alice, epoch)
	defer releaseBetween()
	if !over(between) || over(before) {
		t.Errorf("between: %v, before: %v", context.Cause(between), context.Cause(before))
	}
	if requests, sessions := u.EndRevoked(); requests != 2 || sessions != 0 {
		t.Errorf("%d requests and %d sessions end", requests, sessions)
	}
	if !over(before) || over(done) || other.Err() != nil {
		t.Errorf("before: %v, done: %v, of another: %v", context.Cause(before), context.Cause(done), other.Err())
	}
	releaseOther()
	if other.Err() == nil || over(other) {
		t.Errorf("released: %v", context.Cause(other))
	}

	without := inproc.New(inproc.Config{Limits: limits, Logger: slog.New(slog.DiscardHandler)})
	defer without.Shutdown(t.Context())
	ctx, release := without.Admit(t.Context(), alice, 0)
	release()
	if ctx != t.Context() {
		t.Error("without revocations, the context is another")
	}
}
