package gate_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/mcpauth-go/mcpauth/internal/gate"
)

func TestCloseWaitsForThoseInside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate.Gate
		for range 2 {
			if !g.Enter() {
				t.Fatal("an open gate lets nobody in")
			}
		}
		closed := make(chan error, 1)
		go func() { closed <- g.Close(context.Background()) }()
		synctest.Wait()
		if g.Enter() {
			t.Error("a closed gate lets somebody in")
		}
		g.Leave()
		synctest.Wait()
		select {
		case <-closed:
			t.Fatal("closed with somebody inside")
		default:
		}
		g.Leave()
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}

func TestGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate.Gate
		release, closed := make(chan struct{}), make(chan struct{})
		if !g.Go(func() { <-release }) {
			t.Error("an open gate lets nobody in")
		}
		go func() {
			defer close(closed)
			if err := g.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		if g.Go(func() { t.Error("a closed gate lets somebody in") }) {
			t.Error("a closed gate says that it lets somebody in")
		}
		select {
		case <-closed:
			t.Error("closed with somebody inside")
		default:
		}
		close(release)
		<-closed
	})
}

func TestCloseGivesUpWithItsContext(t *testing.T) {
	var g gate.Gate
	g.Enter()
	done, cancel := context.WithCancel(context.Background())
	cancel()
	if err := g.Close(done); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	g.Leave()
	if err := g.Close(done); err != nil {
		t.Errorf("nobody is inside: %v", err)
	}
}
