package inproc_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/upstream/inproc"
)

func none(context.Context) (*mcpauth.Credential, error) { return nil, nil }

// wire is the client's end of a local connection.
type wire struct {
	mcp.Connection
	ended <-chan error
}

// serveLocal serves alice over a pipe until ctx ends.
func (b *bench) serveLocal(ctx context.Context, t *testing.T) wire {
	t.Helper()
	theirs, ours := mcp.NewInMemoryTransports()
	ended := make(chan error, 1)
	go func() { ended <- b.ServeLocal(asAlice(ctx, time.Time{}), ours, none) }()
	conn, err := theirs.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return wire{conn, ended}
}

func (w wire) send(t *testing.T, text string) {
	t.Helper()
	m, err := jsonrpc.DecodeMessage([]byte(text))
	if err == nil {
		err = w.Write(t.Context(), m)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (w wire) answer(t *testing.T) string {
	t.Helper()
	m, err := w.Read(t.Context())
	if err != nil {
		return err.Error()
	}
	text, err := jsonrpc.EncodeMessage(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestLocalUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(func(server *mcp.Server) {
			gatewaytest.AddTool(server, "whoami", func(ctx context.Context, _ *mcp.CallToolRequest) (string, error) {
				return mcpauth.FromContext(ctx).UserID(), nil
			})
			gatewaytest.AddTool(server, "slow", func(context.Context, *mcp.CallToolRequest) (string, error) {
				time.Sleep(11 * time.Hour)
				return "", nil
			})
		})
		defer b.end(t)
		w := b.serveLocal(t.Context(), t)
		w.send(t, gatewaytest.Initialize(gatewaytest.Legacy))
		w.answer(t)
		for _, test := range []struct{ request, want string }{
			{gatewaytest.CallTool(2, "whoami", "{}"), `"text":"alice"`},
			{gatewaytest.CallTool(3, "slow", "{}"), `request timed out after 10h0m0s`},
			{gatewaytest.Message(4, "tools/call", gatewaytest.ModernParams(gatewaytest.Modern, `{"name":"whoami","arguments":{}}`)), `"text":"alice"`},
		} {
			w.send(t, test.request)
			if got := w.answer(t); !strings.Contains(got, test.want) {
				t.Errorf("%s: %s, want %s", test.request, got, test.want)
			}
		}
		w.Close()
		if err := <-w.ended; err != nil {
			t.Error(err)
		}
		b.wants(t, "at the end", nothing, 1)
		time.Sleep(2 * time.Hour) // what is left of the slow call
	})
}

// A listener without end does not keep a client that has left.
func TestLocalListenerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(nil)
		defer b.end(t)
		w := b.serveLocal(t.Context(), t)
		w.send(t, gatewaytest.Message(1, "subscriptions/listen", gatewaytest.ModernParams(gatewaytest.Modern, `{"notifications":{"toolsListChanged":true}}`)))
		w.answer(t)
		began := time.Now()
		w.Close()
		if err := <-w.ended; err != nil || time.Since(began) != 0 {
			t.Errorf("it ends after %s with %v", time.Since(began), err)
		}
	})
}

func TestLocalStop(t *testing.T) {
	for _, test := range []struct {
		name  string
		heeds bool // the call its context
		after time.Duration
		want  string
	}{
		{"a call that heeds its context", true, 0, ""},
		{"a call that does not", false, 2 * time.Second, "inproc: calls in progress that do not heed their context"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(func(server *mcp.Server) {
					gatewaytest.AddTool(server, "slow", func(ctx context.Context, _ *mcp.CallToolRequest) (string, error) {
						if !test.heeds {
							ctx = context.Background()
						}
						select {
						case <-ctx.Done():
						case <-time.After(time.Hour):
						}
						return "", ctx.Err()
					})
				})
				defer b.end(t)
				ctx, stop := context.WithCancel(t.Context())
				w := b.serveLocal(ctx, t)
				defer w.Close()
				w.send(t, gatewaytest.Initialize(gatewaytest.Legacy))
				w.answer(t)
				w.send(t, gatewaytest.CallTool(2, "slow", "{}"))
				synctest.Wait()
				began := time.Now()
				stop()
				err := <-w.ended
				if took := time.Since(began); took != test.after || (err == nil) != (test.want == "") || err != nil && err.Error() != test.want {
					t.Errorf("it ends after %s with %v, want %s, %q", took, err, test.after, test.want)
				}
				b.wants(t, "at the end", nothing, 1)
				time.Sleep(2 * time.Hour) // what is left of the call
			})
		})
	}
}

func TestLocalDoesNotBegin(t *testing.T) {
	failure := errors.New("no")
	for _, test := range []struct {
		name    string
		resolve func(context.Context) (*mcpauth.Credential, error)
		factory inproc.Factory
		want    error
	}{
		{"no credential to be had", func(context.Context) (*mcpauth.Credential, error) { return nil, failure }, nil, failure},
		{"no server to be had", none, func(context.Context, inproc.Call) (inproc.Instance, error) { return inproc.Instance{}, failure }, failure},
		{"stopped before", none, func(ctx context.Context, _ inproc.Call) (inproc.Instance, error) {
			<-ctx.Done()
			return inproc.Instance{}, ctx.Err()
		}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := inproc.New(inproc.Config{
					Factory: test.factory, Limits: limits, FactoryTimeout: time.Minute, CallTimeout: time.Minute, Logger: discard,
				})
				_, ours := mcp.NewInMemoryTransports()
				ctx, cancel := context.WithTimeout(asAlice(t.Context(), time.Time{}), 10*time.Millisecond)
				defer cancel()
				if err := u.ServeLocal(ctx, ours, test.resolve); !errors.Is(err, test.want) {
					t.Errorf("%v, want %v", err, test.want)
				}
				if err := u.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
