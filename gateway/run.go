package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/check"
)

// parts returns what the gateway has been given to work with, in the order of
// the line. One that is provider and resolver is one part.
func (g *Gateway) parts() []any {
	all := []any{g.config.Provider}
	if r := g.config.Resolver; r != nil && !check.Same(r, g.config.Provider) {
		all = append(all, r)
	}
	if s := g.config.Assertions; s != nil {
		all = append(all, s)
	}
	return all
}

// lifecycles returns the parts that are started with the gateway, in this order,
// and closed in the other.
func (g *Gateway) lifecycles() []mcpauth.Lifecycle {
	var all []mcpauth.Lifecycle
	for _, part := range g.parts() {
		if l, ok := part.(mcpauth.Lifecycle); ok {
			all = append(all, l)
		}
	}
	return all
}

// Start starts the provider, the resolver and the Assertions. Run and Serve do
// so themselves; who embeds a Gateway calls it once, before the first request.
// Shutdown must follow, also after an error.
func (g *Gateway) Start(ctx context.Context) error {
	g.config.Logger.Info("gateway starting", "resource", g.resource.Identifier(), "metadata", g.resource.MetadataURL())
	for _, part := range g.lifecycles() {
		if err := part.Start(ctx); err != nil {
			return fmt.Errorf("gateway: %w", err)
		}
	}
	return nil
}

// Shutdown stops gracefully: new requests get 503, open streams end, requests
// in progress finish, and then sessions, instances, Assertions, resolver and
// provider are closed. When ctx ends first, requests are no longer waited for; instances
// that are not in use are closed all the same, and the error says what was
// left. Run and Serve return then too.
func (g *Gateway) Shutdown(ctx context.Context) error {
	g.endStreams()
	err := g.requests.Close(ctx)
	if err != nil {
		err = fmt.Errorf("gateway: requests still in progress: %w", err)
	}
	if ctx.Err() != nil {
		// The time for requests is up; that for closing what is idle, or what
		// requests that have just been cut off leave, is not.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
	}
	err = errors.Join(err, g.upstream.Shutdown(ctx))
	g.unheed()
	for _, part := range slices.Backward(g.lifecycles()) {
		err = errors.Join(err, closeWithin(ctx, part))
	}
	g.limiter.Close()
	return err
}

// closeWithin closes part, and waits for that until ctx ends, but for
// closeTimeout at least.
func closeWithin(ctx context.Context, part mcpauth.Lifecycle) error {
	closed := make(chan error, 1)
	go func() { closed <- part.Close() }()
	least := time.NewTimer(closeTimeout)
	defer least.Stop()
	select {
	case err := <-closed:
		return err
	case <-least.C:
	}
	select {
	case err := <-closed:
		return err
	case <-ctx.Done():
		return fmt.Errorf("gateway: %T does not close in time", part)
	}
}

// closeTimeout is what is left for closing when requests have used up
// ShutdownTimeout.
const closeTimeout = 2 * time.Second

// ErrServed is what Run and Serve return when called again.
var ErrServed = errors.New("gateway: served before; make a new one")

// Run starts the gateway, listens on Addr and serves until ctx is done or the
// process gets SIGINT or SIGTERM. Then it stops as Shutdown does, within
// ShutdownTimeout, past which connections are cut and the contexts of their
// requests cancelled; a second signal ends the process at once. It returns nil
// after a graceful stop. A Gateway serves once.
func (g *Gateway) Run(ctx context.Context) error {
	if g.served.Swap(true) {
		return ErrServed
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", g.config.Addr)
	if err != nil {
		return errors.Join(fmt.Errorf("gateway: %w", err), g.Shutdown(ctx))
	}
	// From the first signal on, the next one does what it does by default.
	return g.serve(ctx, listener, stop)
}

// Serve is Run on a listener of the caller's, which it closes, and without an
// eye on signals.
func (g *Gateway) Serve(ctx context.Context, listener net.Listener) error {
	if g.served.Swap(true) {
		return errors.Join(ErrServed, listener.Close())
	}
	return g.serve(ctx, listener, func() {})
}

// serve calls heeded when it begins to stop.
func (g *Gateway) serve(ctx context.Context, listener net.Listener, heeded func()) error {
	if tcp, ok := listener.Addr().(*net.TCPAddr); ok && !tcp.IP.IsLoopback() && mcpauth.LoopbackHost(g.config.Addr) {
		listener.Close()
		return errors.Join(fmt.Errorf("gateway: the listener %s is beyond loopback: set Addr to it, and PublicURL to the origin that clients see", tcp), g.Shutdown(ctx))
	}
	base, cut := context.WithCancel(context.WithValue(context.WithoutCancel(ctx), ownServerKey{}, true))
	defer cut()
	failed := make(chan error, 2)
	g.starting.Store(true)
	stopAside, err := g.serveAside(ctx, failed)
	if err == nil {
		err = g.Start(ctx)
	}
	g.starting.Store(false)
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			err = nil // told to stop before it has begun
		}
		listener.Close()
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		return errors.Join(err, g.Shutdown(closing), stopAside(closing))
	}
	server := g.server(g)
	server.BaseContext = func(net.Listener) context.Context { return base }
	var serving sync.WaitGroup
	serving.Go(func() { failed <- server.Serve(listener) })
	g.config.Logger.Info("gateway serving", "addr", listener.Addr().String())

	select {
	case err = <-failed:
		err = fmt.Errorf("gateway: %w", err)
	case <-ctx.Done():
	case <-g.streams.Done(): // Shutdown
	}
	heeded()
	g.config.Logger.Info("gateway stopping")
	g.draining.Store(true)
	if err == nil && g.config.DrainDelay > 0 {
		// Who sends requests here needs some time to see that we are not ready.
		drained := time.NewTimer(g.config.DrainDelay)
		defer drained.Stop()
		select {
		case <-drained.C:
		case <-g.streams.Done():
		case err = <-failed:
			err = fmt.Errorf("gateway: %w", err)
		}
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.config.ShutdownTimeout)
	defer cancel()
	g.endStreams() // Shutdown waits for them
	if e := server.Shutdown(stopping); e != nil {
		cut()
		server.Close()
		err = errors.Join(err, fmt.Errorf("gateway: requests cut off at the end of ShutdownTimeout: %w", e))
	}
	serving.Wait() // it may not even have begun, with the listener open
	err = errors.Join(err, g.Shutdown(stopping))
	// Last, so that it can be asked until then how the stop goes.
	aside, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	err = errors.Join(err, stopAside(aside))
	g.config.Logger.Info("gateway stopped")
	return err
}

func (g *Gateway) server(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		WriteTimeout:      g.config.WriteTimeout, // MCP pushes it on with each write
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(g.config.Logger.Handler(), slog.LevelWarn),
	}
}

// serveAside serves what operators ask for: metrics and health, and, apart from
// them, administration. stop ends it, and is never nil.
func (g *Gateway) serveAside(ctx context.Context, failed chan<- error) (stop func(context.Context) error, err error) {
	var stops []func(context.Context) error
	stop = func(ctx context.Context) error {
		var err error
		for _, s := range stops {
			err = errors.Join(err, s(ctx))
		}
		return err
	}
	if g.admin != nil {
		if err := g.admin.Start(ctx); err != nil {
			return stop, fmt.Errorf("gateway: administration: %w", err)
		}
		stops = append(stops, g.admin.Shutdown)
	}
	if g.config.OperationsAddr != "" {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", g.config.OperationsAddr)
		if err != nil {
			return stop, fmt.Errorf("gateway: operations: %w", err)
		}
		server := g.server(fromHere(g.Operations()))
		var serving sync.WaitGroup
		serving.Go(func() {
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		})
		stops = append(stops, func(ctx context.Context) error {
			defer serving.Wait()
			return errors.Join(server.Shutdown(ctx), server.Close())
		})
		g.config.Logger.Info("operations serving", "addr", listener.Addr().String())
	}
	return stop, nil
}

// fromHere returns next for programs on this machine. A page that has had its
// name resolve to us anew, to read what is here, sends its own Host.
func fromHere(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !mcpauth.LoopbackHost(r.Host) || r.Header["Origin"] != nil {
			mcpauth.Requirement{}.Refuse(w, &mcpauth.Error{Code: mcpauth.ErrForbiddenHost, Message: "This is for programs on this machine."})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Operations returns a handler of /metrics, for Prometheus, and of /livez and
// /readyz. It asks nobody for a credential: Run and Serve serve it on
// OperationsAddr, and who embeds a Gateway serves it where only operators get.
func (g *Gateway) Operations() http.Handler {
	routes := http.NewServeMux()
	routes.Handle("GET /metrics", g.observer.MetricsHandler())
	routes.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { writeHealth(w, http.StatusOK, "ok") })
	routes.HandleFunc("GET /readyz", g.serveReady)
	return routes
}
