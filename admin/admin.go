package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/mcpauth-go/mcpauth"
)

// Server serves administration. It is safe for concurrent use.
type Server struct {
	config Config
	token  *operator // nil on a socket
	http   *http.Server

	mu       sync.Mutex
	listener net.Listener // nil before Start
	ended    bool
	stopping context.Context // done once Shutdown has begun
	stop     context.CancelFunc
	serving  sync.WaitGroup
}

// New returns a Server for c. The error is a *mcpauth.ConfigError with all
// faults. Nothing is listened on before Start.
func New(c Config) (*Server, error) {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	s := &Server{config: c}
	faults := c.faults()
	if c.TokenFile != "" {
		var err error
		if s.token, err = newOperator(c.TokenFile, c.Logger); err != nil {
			faults = append(faults, mcpauth.Fault{Field: "TokenFile", Problem: err.Error(),
				Expected: fmt.Sprintf("a file that not all users may read, with a token of %d to %d printable ASCII characters", minToken, maxToken)})
		}
	}
	if len(faults) > 0 {
		return nil, &mcpauth.ConfigError{Package: "admin", Faults: faults}
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(c.Logger.Handler(), slog.LevelWarn),
	}
	return s, nil
}

// Start listens, and serves until Shutdown. It returns at once; ctx bounds
// nothing after that. It fails when called twice or after Shutdown.
//
// The file of a socket that a process which is gone has left is removed. One
// that is in use, or a file that is no socket, is an error.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil || s.ended {
		return errors.New("admin: the server has been started or shut down before")
	}
	var err error
	if s.config.Socket != "" {
		s.listener, err = listenSocket(ctx, s.config.Socket)
	} else {
		s.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", s.config.Addr)
	}
	if err != nil {
		s.listener = nil
		return fmt.Errorf("admin: %w", err)
	}
	s.config.Logger.LogAttrs(ctx, slog.LevelInfo, "administration served", slog.String("addr", s.listener.Addr().String()))
	listener := s.listener
	s.serving.Go(func() {
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.config.Logger.Error("administration no longer served", "error", err)
		}
	})
	return nil
}

// Addr returns where the Server listens, or nil before Start.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

// Shutdown takes nothing new, ends profiles in the making, and waits for
// requests in progress until ctx is done, when it cuts them off and returns
// ctx's error. It may be called without Start and again.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.ended = true
	started := s.listener != nil
	s.mu.Unlock()
	s.stop()
	if !started {
		return nil
	}
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("admin: %w", err), s.http.Close())
	}
	s.serving.Wait()
	return err
}

func (s *Server) handler() http.Handler {
	next := s.config.Handler
	if next == nil {
		next = http.NotFoundHandler()
	}
	mux := http.NewServeMux()
	mux.Handle("/debug/pprof/", s.untilStop(profiles()))
	mux.Handle("/", next)

	var h http.Handler = mux
	if s.token != nil {
		h = mcpauth.Require(s.token, mcpauth.Requirement{Refused: refused})(h)
	}
	return s.logged(s.fromHere(h))
}

// untilStop ends requests that would otherwise hold Shutdown up.
func (s *Server) untilStop(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(s.stopping, cancel)()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// fromHere refuses what a browser sends for a page: there are no pages here,
// and no CORS, so no request with Origin is wanted.
func (s *Server) fromHere(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		site := r.Header.Get("Sec-Fetch-Site")
		var e *mcpauth.Error
		switch {
		case s.token != nil && !s.ownName(r):
			e = &mcpauth.Error{Code: mcpauth.ErrForbiddenHost, Message: "This server does not answer to the name in the Host header."}
		case r.Header["Origin"] != nil || len(r.Header["Sec-Fetch-Site"]) > 1 || site != "" && site != "none" && site != "same-origin":
			e = &mcpauth.Error{Code: mcpauth.ErrForbiddenOrigin, Message: "Pages may not call this server."}
		default:
			next.ServeHTTP(w, r)
			return
		}
		refused(r, e)
		h.Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden) // without challenge: a credential would not help
		fmt.Fprintf(w, `{"error":%q,"error_description":%q}`+"\n", e.Code, e.Message)
	})
}

// ownName reports whether a request over TCP names this server: by a loopback
// name, by the configured host, or by the address at which it came in. DNS
// rebinding needs a name that the attacker owns, so the port is of no interest,
// and differs behind a tunnel.
func (s *Server) ownName(r *http.Request) bool {
	name := hostname(r.Host)
	if strings.EqualFold(name, "localhost") {
		return true
	}
	ip := net.ParseIP(name)
	if ip == nil {
		configured := hostname(s.config.Addr)
		return configured != "" && strings.EqualFold(strings.TrimSuffix(name, "."), configured)
	}
	if ip.IsLoopback() {
		return true
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return local != nil && ip.Equal(local.IP)
}

func hostname(hostport string) string {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

// record is what the log says of a request beside the request itself.
type record struct {
	http.ResponseWriter
	status  int
	refusal *mcpauth.Error
}

type recordKey struct{}

func refused(r *http.Request, e *mcpauth.Error) {
	if rec, ok := r.Context().Value(recordKey{}).(*record); ok {
		rec.refusal = e
	}
}

func (rec *record) WriteHeader(status int) {
	if rec.status == 0 && status >= 200 {
		rec.status = status
	}
	rec.ResponseWriter.WriteHeader(status)
}

func (rec *record) Write(p []byte) (int, error) {
	if rec.status == 0 {
		rec.status = http.StatusOK
	}
	return rec.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (rec *record) Unwrap() http.ResponseWriter { return rec.ResponseWriter }

func (s *Server) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &record{ResponseWriter: w}
		began := time.Now()
		returned := false
		defer func() { // after a panic too
			attrs := []slog.Attr{
				slog.String("remote", r.RemoteAddr), slog.String("http_method", r.Method), slog.String("path", fmt.Sprintf("%.128s", r.URL.Path)),
				slog.Duration("duration", time.Since(began)),
			}
			level := slog.LevelInfo
			switch {
			case !returned:
				attrs = append(attrs, slog.Bool("aborted", true))
				level = slog.LevelError
			case rec.status == 0:
				rec.status = http.StatusOK
			}
			if rec.status != 0 {
				attrs = append(attrs, slog.Int("status", rec.status))
			}
			if rec.refusal != nil {
				level = slog.LevelWarn
				attrs = append(attrs, slog.String("code", string(rec.refusal.Code)))
			}
			s.config.Logger.LogAttrs(r.Context(), level, "administration request", attrs...)
		}()
		next.ServeHTTP(rec, r.WithContext(context.WithValue(r.Context(), recordKey{}, rec)))
		returned = true
	})
}
