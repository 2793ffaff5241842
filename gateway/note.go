package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/envelope"
	"github.com/mcpauth-go/mcpauth/internal/observe"
	"github.com/mcpauth-go/mcpauth/upstream/inproc"
)

// note is what the stations note of a request, to be written down when it has
// been answered, or, if it opens a stream, when that is open. It travels in the
// request's context.
type note struct {
	began    time.Time
	id       string // of the request
	remote   string
	identity *mcpauth.Identity
	epoch    uint32 // of the upstream, in which the identity's credential was known to stand
	refusal  *mcpauth.Error
	method   string // of JSON-RPC
	name     string
	stream   bool
	status   int
	failure  atomic.Pointer[string] // why it has failed; also set by a call that outlives the request
	public   bool                   // nobody is asked who they are, and so nothing is decided
	once     sync.Once
}

type noteKey struct{}

func noteOf(ctx context.Context) *note {
	n, _ := ctx.Value(noteKey{}).(*note)
	return n
}

// noteRefusal notes that r has been refused.
func noteRefusal(r *http.Request, e *mcpauth.Error) { noteOf(r.Context()).refusal = e }

// noteFailure notes why a request has failed, in words of our own: the first of
// several reasons.
func noteFailure(ctx context.Context, reason string) {
	if n := noteOf(ctx); n != nil {
		n.failure.CompareAndSwap(nil, &reason)
	}
}

// asked notes what r asks for.
func (n *note) asked(r *http.Request, messages []envelope.Message) {
	n.stream = inproc.IsStream(r, messages)
	if len(messages) == 0 {
		return
	}
	m := &messages[0]
	n.method = m.Method
	if slices.ContainsFunc(messages, func(other envelope.Message) bool { return other.Method != m.Method }) {
		n.method = "batch"
	}
	// What a batch asks for must not hide behind its first message.
	const most = 20
	var names []string
	for _, op := range operations(messages) {
		if len(names) == most {
			names = append(names, "…")
			break
		}
		if !slices.Contains(names, op.Name) {
			names = append(names, op.Name)
		}
	}
	n.name = strings.Join(names, ", ")
}

// observe returns next with each request written down: in the log, the audit
// log, the metrics and, where there are traces, in a span.
func (g *Gateway) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		trusted := g.trusted(r)
		n := &note{began: time.Now(), id: requestID(r, trusted), remote: g.remote(r, trusted)}
		ctx := mcpauth.WithRequestID(context.WithValue(r.Context(), noteKey{}, n), n.id)
		var span trace.Span
		if g.tracer != nil {
			ctx, span = g.startSpan(ctx, r, trusted)
			defer span.End()
		}
		w.Header().Set("X-Request-Id", n.id)
		answer := &response{ResponseWriter: w, note: n, control: http.NewResponseController(w), timeout: g.config.WriteTimeout, shared: r.ProtoMajor >= 2}
		answer.begin = func(status int) {
			n.status = status
			if n.stream && status == http.StatusOK {
				g.write(ctx, r, n, span)
			}
		}
		returned := false
		defer func() {
			switch {
			case !returned: // net/http cuts the connection after a panic
				noteFailure(ctx, "panic")
			case n.status == 0 && ctx.Err() == nil:
				n.status = http.StatusOK // which net/http sends when nobody says otherwise
			}
			g.write(ctx, r, n, span)
		}()
		next.ServeHTTP(answer, r.WithContext(ctx))
		answer.finish(ctx.Value(ownServerKey{}) != nil)
		returned = true
	})
}

// write writes n down, once.
func (g *Gateway) write(ctx context.Context, r *http.Request, n *note, span trace.Span) {
	if n.public {
		return
	}
	n.once.Do(func() {
		e := observe.Event{
			Time: n.began, RequestID: n.id, Remote: n.remote, HTTPMethod: r.Method, Path: r.URL.Path, Status: n.status,
			Method: n.method, Name: n.name, ProtocolVersion: r.Header.Get("Mcp-Protocol-Version"),
			Identity: n.identity, Refusal: n.refusal, Duration: time.Since(n.began), Stream: n.stream,
		}
		gone := r.Context().Err() != nil
		switch {
		case n.refusal != nil && !(gone && errors.Is(n.refusal, context.Canceled)):
			e.Outcome = observe.Refused
		case gone:
			e.Outcome = observe.Cancelled
		case n.status >= 400 || n.failure.Load() != nil:
			e.Outcome = observe.Failed
			if reason := n.failure.Load(); reason != nil {
				e.Reason = *reason
			}
		default:
			e.Outcome = observe.OK
		}
		if span != nil {
			if id := span.SpanContext().TraceID(); id.IsValid() {
				e.TraceID = id.String()
			}
			describe(span, &e)
		}
		g.observer.Done(ctx, e)
	})
}

func (g *Gateway) startSpan(ctx context.Context, r *http.Request, trusted bool) (context.Context, trace.Span) {
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer)}
	// Not from ctx, which may have a span of the server that we are mounted on.
	sent := propagation.TraceContext{}.Extract(context.Background(), propagation.HeaderCarrier(r.Header))
	switch remote := trace.SpanContextFromContext(sent); {
	case !remote.IsValid():
	case trusted:
		ctx = trace.ContextWithRemoteSpanContext(ctx, remote)
	default:
		// A stranger decides neither what is sampled nor where it belongs.
		options = append(options, trace.WithLinks(trace.Link{SpanContext: remote}))
	}
	return g.tracer.Start(ctx, r.Method, options...)
}

// describe says in span what e says, without the user, and so without the URIs
// of resources, which often name one.
func describe(span trace.Span, e *observe.Event) {
	if !span.IsRecording() {
		return
	}
	method, name := observe.Harmless(e.Method, e.Identity), ""
	if e.Method == "tools/call" || e.Method == "prompts/get" {
		name = observe.Harmless(e.Name, e.Identity)
	}
	if method != "" {
		span.SetName(method)
	}
	attributes := []attribute.KeyValue{
		attribute.String("http.request.method", e.HTTPMethod),
		attribute.String("url.path", observe.Harmless(e.Path, e.Identity)),
		attribute.Int("http.response.status_code", e.Status),
		attribute.String("mcpauth.request_id", e.RequestID),
		attribute.String("mcpauth.outcome", string(e.Outcome)),
	}
	for key, value := range map[string]string{"mcp.method.name": method, "mcp.protocol.version": observe.Harmless(e.ProtocolVersion, e.Identity), "mcpauth.operation": name} {
		if value != "" {
			attributes = append(attributes, attribute.String(key, value))
		}
	}
	if e.Refusal != nil {
		attributes = append(attributes, attribute.String("error.type", string(e.Refusal.Code)))
	}
	if e.Status >= 500 {
		span.SetStatus(codes.Error, "")
	}
	span.SetAttributes(attributes...)
}

// trusted reports whether r comes from a proxy that is believed.
func (g *Gateway) trusted(r *http.Request) bool {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && g.trustedAddr(addr.Addr())
}

func (g *Gateway) trustedAddr(addr netip.Addr) bool {
	addr = addr.Unmap()
	return slices.ContainsFunc(g.config.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// remote returns the address of the client: the last one in X-Forwarded-For
// that is not a trusted proxy's, if r comes from one, for each proxy appends
// whom it has the request from.
func (g *Gateway) remote(r *http.Request, trusted bool) string {
	remote := r.RemoteAddr
	if host, _, err := net.SplitHostPort(remote); err == nil {
		remote = host
	}
	if !trusted {
		return remote
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		addr, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break
		}
		remote = addr.Unmap().String()
		if !g.trustedAddr(addr) {
			break
		}
	}
	return remote
}

// requestID returns the id that a trusted proxy has given r, or a new one.
func requestID(r *http.Request, trusted bool) string {
	if id := r.Header.Get("X-Request-Id"); trusted && id != "" && len(id) <= 64 && !strings.ContainsFunc(id, notInRequestID) {
		return id
	}
	return rand.Text()
}

func notInRequestID(c rune) bool {
	return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("-_.:", c))
}

// ownServerKey marks requests to a server that Run or Serve has made.
type ownServerKey struct{}

// response is a ResponseWriter that notes the status and gives up on a client
// that does not read.
type response struct {
	http.ResponseWriter
	note    *note
	control *http.ResponseController
	timeout time.Duration
	begin   func(status int) // called when the header is written
	begun   bool
	shared  bool // the connection, by several streams (HTTP/2)

	// An upstream ends a stream to which another goroutine writes.
	mu       sync.Mutex
	deadline time.Time
	ending   bool // the deadline is the upstream's, and stays
}

// extend gives the client its time for what is written next. Not every
// ResponseWriter can do this; net/http's can.
func (w *response) extend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	// Setting it takes longer than looking.
	if now := time.Now(); !w.ending && w.deadline.Sub(now) < w.timeout-w.timeout/8 {
		w.deadline = now.Add(w.timeout)
		_ = w.control.SetWriteDeadline(w.deadline)
	}
}

// SetWriteDeadline implements what http.ResponseController looks for. Nothing
// extends this time until the handler has returned.
func (w *response) SetWriteDeadline(at time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ending = true
	return w.control.SetWriteDeadline(at)
}

// finish sees to what net/http still has to send. On a server of the caller's,
// which may have set no time for that, the connection must not keep ours: it
// would strike other handlers.
func (w *response) finish(ownServer bool) {
	if ownServer {
		w.mu.Lock()
		if w.ending {
			w.ending, w.deadline = false, time.Time{}
		}
		w.mu.Unlock()
		w.extend()
	} else {
		_ = w.control.SetWriteDeadline(time.Time{})
	}
}

func (w *response) WriteHeader(status int) {
	w.extend()
	if !w.begun && status >= 200 {
		w.begun = true
		w.begin(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(data []byte) (int, error) {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	// In pieces, so that the time is for a client that does not read, not for
	// one that reads much and slowly.
	const piece = 64 << 10
	written := 0
	for {
		w.extend()
		n, err := w.ResponseWriter.Write(data[written:min(written+piece, len(data))])
		written += n
		if err != nil || written >= len(data) {
			return written, err
		}
	}
}

// FlushError implements what http.ResponseController looks for; Flush what
// others do.
func (w *response) FlushError() error {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	w.extend()
	err := w.control.Flush()
	if w.shared {
		// HTTP/2 ends a stream at its deadline, also when there is nothing to
		// write: one that is quiet has to live on.
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.ending {
			w.deadline = time.Time{}
			_ = w.control.SetWriteDeadline(time.Time{})
		}
	}
	return err
}

func (w *response) Flush() { _ = w.FlushError() }

// Fails is told why a request is answered with an error.
func (w *response) Fails(reason string) { w.note.failure.CompareAndSwap(nil, &reason) }

// Unwrap lets http.ResponseController reach the connection.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }
