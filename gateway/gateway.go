package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/envelope"
	"github.com/mcpauth-go/mcpauth/internal/gate"
	"github.com/mcpauth-go/mcpauth/upstream/inproc"
)

// Gateway serves MCP to verified users. It is safe for concurrent use.
type Gateway struct {
	config   Config
	resource *mcpauth.Resource
	door     mcpauth.Requirement
	upstream *inproc.Upstream
	routes   *http.ServeMux
	requests gate.Gate
	served   atomic.Bool

	// streams is done when the gateway begins to stop: it ends what would
	// otherwise stay open for as long as the client likes.
	streams    context.Context
	endStreams context.CancelFunc
}

// New returns a Gateway for c. The error, a *mcpauth.ConfigError, has
// everything that is wrong with the configuration. Run, Serve or Shutdown must
// follow.
func New(c Config) (*Gateway, error) {
	c = c.withDefaults()
	faults := c.faults()
	path := c.BasePath
	if path == "/" {
		path = ""
	}
	if c.SupportedScopes == nil && len(faults) == 0 {
		c.SupportedScopes = c.RequiredScopes
	}
	resource, err := mcpauth.NewResource(mcpauth.ResourceConfig{
		PublicURL: c.PublicURL, Path: path, AuthorizationServers: c.AuthorizationServers, Scopes: c.SupportedScopes,
	})
	faults = collect(faults, err)
	checkOrigin, err := mcpauth.CheckOrigin(mcpauth.OriginConfig{
		PublicURL: c.PublicURL, AllowedHosts: c.AllowedHosts, AllowedOrigins: c.AllowedOrigins, Logger: c.Logger,
	})
	faults = collect(faults, err)
	if len(faults) > 0 {
		return nil, &mcpauth.ConfigError{Package: "gateway", Faults: faults}
	}

	g := &Gateway{
		config:   c,
		resource: resource,
		door:     mcpauth.Requirement{Scopes: c.RequiredScopes, Resource: resource, Logger: c.Logger},
		routes:   http.NewServeMux(),
	}
	g.streams, g.endStreams = context.WithCancel(context.Background())
	g.upstream = inproc.New(inproc.Config{
		Factory: c.Factory, IdleTimeout: c.IdleTimeout, FactoryTimeout: c.FactoryTimeout,
		MaxBodyBytes: c.MaxBodyBytes, Refuse: g.refuse, Logger: c.Logger,
	})

	mcp := mcpauth.Require(c.Provider, g.door)(http.HandlerFunc(g.serveMCP))
	pattern := path
	if pattern == "" {
		pattern = "/{$}"
	}
	g.routes.Handle(pattern, checkOrigin(mcp))
	g.routes.HandleFunc("GET "+path+"/health", func(w http.ResponseWriter, _ *http.Request) { writeHealth(w, http.StatusOK, "ok") })
	g.routes.HandleFunc("GET "+path+"/health/ready", g.serveReady)
	if metadata := resource.MetadataPath(); metadata != "" {
		g.routes.Handle(metadata, resource)
	}
	return g, nil
}

// Resource returns what the gateway protects, with its identifier: the
// audience that tokens for it have.
func (g *Gateway) Resource() *mcpauth.Resource { return g.resource }

// Stats returns what is alive now.
func (g *Gateway) Stats() Stats { return g.upstream.Stats() }

// ServeHTTP serves MCP, health and the resource metadata.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !g.requests.Enter() {
		g.door.Refuse(w, &mcpauth.Error{Code: mcpauth.ErrUnavailable, Message: "The server is shutting down."})
		return
	}
	defer g.requests.Leave()
	if r.ContentLength != 0 {
		// A client that sends slowly must not hold the connection for ever,
		// whatever the answer: net/http reads the body before a refusal, too.
		// Not every ResponseWriter can do this; net/http's can.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(g.config.BodyTimeout))
	}
	g.routes.ServeHTTP(w, r)
}

// serveMCP reads what a verified user sends and hands it to the user's server.
func (g *Gateway) serveMCP(w http.ResponseWriter, r *http.Request) {
	var messages []envelope.Message
	switch {
	case r.Method == http.MethodPost:
		var ok bool
		if messages, ok = g.readMessages(w, r); !ok {
			return
		}
	case r.ContentLength != 0:
		// A stream that began before its request has ended could not be ended.
		w.Header().Set("Connection", "close")
		envelope.WriteError(w, http.StatusBadRequest, envelope.CodeInvalidRequest, r.Method+" takes no body")
		return
	}
	if inproc.IsStream(r, messages) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(g.streams, cancel)()
		r = r.WithContext(ctx)
	}
	g.upstream.Serve(w, r, messages)
}

// readMessages reads the body, which stays readable, or answers what is wrong
// with it.
func (g *Gateway) readMessages(w http.ResponseWriter, r *http.Request) ([]envelope.Message, bool) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		envelope.WriteError(w, http.StatusUnsupportedMediaType, envelope.CodeInvalidRequest, "Content-Type must be application/json")
		return nil, false
	}
	tooLarge := func() ([]envelope.Message, bool) {
		w.Header().Set("Connection", "close")
		envelope.WriteError(w, http.StatusRequestEntityTooLarge, envelope.CodeInvalidRequest,
			fmt.Sprintf("The request body is larger than %d bytes", g.config.MaxBodyBytes))
		return nil, false
	}
	if r.ContentLength > g.config.MaxBodyBytes {
		return tooLarge()
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, g.config.MaxBodyBytes))
	if err != nil {
		if tooMuch := (*http.MaxBytesError)(nil); errors.As(err, &tooMuch) {
			return tooLarge()
		}
		envelope.WriteError(w, http.StatusBadRequest, envelope.CodeParse, "The request body could not be read")
		return nil, false
	}
	// What follows may take longer; ServeHTTP has set the deadline.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	if len(body) == 0 {
		envelope.WriteError(w, http.StatusBadRequest, envelope.CodeParse, "The request body is empty")
		return nil, false
	}
	messages, err := envelope.Parse(body)
	if err != nil {
		envelope.WriteError(w, http.StatusBadRequest, envelope.CodeParse, "Malformed message: "+err.Error())
		return nil, false
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return messages, true
}

// refuse answers a request that the upstream cannot serve.
func (g *Gateway) refuse(w http.ResponseWriter, r *http.Request, err error) {
	level := slog.LevelError
	if r.Context().Err() != nil {
		level = slog.LevelDebug // the client has left
	}
	g.config.Logger.Log(r.Context(), level, "request failed", "error", err)
	g.door.Refuse(w, &mcpauth.Error{Code: mcpauth.ErrUnavailable, Message: "The server cannot serve this request now. Please try again later."})
}

func (g *Gateway) serveReady(w http.ResponseWriter, _ *http.Request) {
	if g.streams.Err() != nil {
		writeHealth(w, http.StatusServiceUnavailable, "stopping")
		return
	}
	writeHealth(w, http.StatusOK, "ok")
}

func writeHealth(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintf(w, "{\"status\":%q}\n", text)
}

// Start starts the provider. Run and Serve do so themselves.
func (g *Gateway) Start(ctx context.Context) error {
	g.config.Logger.Info("gateway starting", "resource", g.resource.Identifier(), "metadata", g.resource.MetadataURL())
	if p, ok := g.config.Provider.(mcpauth.Lifecycle); ok {
		return p.Start(ctx)
	}
	return nil
}

// Shutdown stops gracefully: new requests get 503, open streams end, requests
// in progress finish, and then sessions, instances and the provider are closed.
// When ctx ends first, requests are no longer waited for; instances that are
// not in use are closed all the same, and the error says what was left.
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
	if p, ok := g.config.Provider.(mcpauth.Lifecycle); ok {
		err = errors.Join(err, p.Close())
	}
	return err
}

// closeTimeout is what is left for closing when requests have used up
// ShutdownTimeout.
const closeTimeout = 2 * time.Second

// ErrServed is what Run and Serve return when called again.
var ErrServed = errors.New("gateway: served before; make a new one")

// Run starts the gateway, listens on Addr and serves until ctx is done. Then
// it stops as Shutdown does, within ShutdownTimeout, past which connections are
// cut and the contexts of their requests cancelled. It returns nil after a
// graceful stop. A Gateway serves once.
func (g *Gateway) Run(ctx context.Context) error {
	if g.served.Swap(true) {
		return ErrServed
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", g.config.Addr)
	if err != nil {
		return errors.Join(fmt.Errorf("gateway: %w", err), g.Shutdown(ctx))
	}
	return g.serve(ctx, listener)
}

// Serve is Run on a listener of the caller's, which it closes.
func (g *Gateway) Serve(ctx context.Context, listener net.Listener) error {
	if g.served.Swap(true) {
		return errors.Join(ErrServed, listener.Close())
	}
	return g.serve(ctx, listener)
}

func (g *Gateway) serve(ctx context.Context, listener net.Listener) error {
	if tcp, ok := listener.Addr().(*net.TCPAddr); ok && !tcp.IP.IsLoopback() && loopbackAddr(g.config.Addr) {
		listener.Close()
		return errors.Join(fmt.Errorf("gateway: the listener %s is beyond loopback: set Addr to it, and PublicURL to the origin that clients see", tcp), g.Shutdown(ctx))
	}
	if err := g.Start(ctx); err != nil {
		listener.Close()
		return errors.Join(fmt.Errorf("gateway: %w", err), g.Shutdown(ctx))
	}
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	server := &http.Server{
		Handler:           g,
		BaseContext:       func(net.Listener) context.Context { return base },
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(g.config.Logger.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	g.config.Logger.Info("gateway serving", "addr", listener.Addr().String())

	var err error
	select {
	case err = <-failed:
		err = fmt.Errorf("gateway: %w", err)
	case <-ctx.Done():
	}
	g.config.Logger.Info("gateway stopping")
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.config.ShutdownTimeout)
	defer cancel()
	g.endStreams() // Shutdown waits for them
	if e := server.Shutdown(stopping); e != nil {
		cut()
		server.Close()
		err = errors.Join(err, fmt.Errorf("gateway: requests cut off at the end of ShutdownTimeout: %w", e))
	}
	return errors.Join(err, g.Shutdown(stopping))
}
