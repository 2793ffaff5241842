package inproc_test

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/upstream/inproc"
)

// fallen are users whose credentials no longer stand.
type fallen struct {
	mu    sync.Mutex
	users []string
	asked int
}

func (f *fallen) standing(id *mcpauth.Identity) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if slices.Contains(f.users, id.UserID()) {
		return &mcpauth.Error{Code: mcpauth.ErrUnknownKey}
	}
	return nil
}

func (f *fallen) add(user string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.users = append(f.users, user)
}

func user(t *testing.T, name string) *mcpauth.Identity {
	t.Helper()
	id, err := mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: "i", UserID: name})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestRequestsEndWithTheirCredential(t *testing.T) {
	list := &fallen{}
	limits := inproc.Limits{Idle: time.Hour, Lifetime: time.Hour}
	u := inproc.New(inproc.Config{Standing: list.standing, Limits: limits, Logger: slog.New(slog.DiscardHandler)})
	defer u.Shutdown(t.Context())
	over := func(ctx context.Context) bool {
		ended := inproc.Ended(ctx)
		return ended != nil && ended.Code == mcpauth.ErrUnknownKey
	}

	alice, bob := user(t, "alice"), user(t, "bob")
	epoch := u.Epoch()
	before, release := u.Admit(t.Context(), alice, epoch)
	defer release()
	other, releaseOther := u.Admit(t.Context(), bob, epoch)
	done, releaseDone := u.Admit(t.Context(), alice, epoch)
	releaseDone()
	if list.asked != 0 || before.Err() != nil {
		t.Errorf("asked %d times about what is known, %v", list.asked, before.Err())
	}
	list.add("alice")
	if requests, sessions := u.EndFallen(); requests != 1 || sessions != 0 {
		t.Errorf("%d requests and %d sessions end", requests, sessions)
	}
	if !over(before) || over(done) || other.Err() != nil {
		t.Errorf("before: %v, done: %v, of another: %v", context.Cause(before), context.Cause(done), other.Err())
	}
	// Verified before the credential ended, admitted after everything was ended.
	late, releaseLate := u.Admit(t.Context(), alice, epoch)
	defer releaseLate()
	if !over(late) {
		t.Errorf("admitted late: %v", context.Cause(late))
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
		t.Error("without Standing, the context is another")
	}
}
