// Package observe writes down what became of each request: a line in the log,
// one in the audit log, and the metrics.
//
//	o := observe.New(observe.Config{Logger: logger, Audit: file, Live: live})
//	…
//	o.Done(ctx, observe.Event{Status: 200, Method: "tools/call", Name: "search", Identity: id, …})
//	…
//	mux.Handle("GET /metrics", o.MetricsHandler())
//
// No token and no claim ever gets there. What strangers choose, such as paths
// and names, is cut after 128 bytes, and never becomes a label of a metric:
// a label's values are kept for ever, and anybody may read metrics. Users are
// named as Config.Users says.
//
// Done is on every request's way. It waits for the log and for Audit to take a
// line, and for nothing else; no failure of theirs reaches the request.
package observe

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/mcpauth-go/mcpauth"
)

// Config says where things are written and how.
type Config struct {
	// Logger takes a record of each request. Default slog.Default().
	Logger *slog.Logger
	// Users says how Logger and Audit name users.
	Users UserForm
	// HashKey is the key of UserHashed. Hashes of one key can be compared
	// between processes and over time. Default: made up for this Observer.
	HashKey mcpauth.Secret
	// Audit takes a JSON object for each decision, allowed or refused, also of
	// those refused before anybody was known: a line, in one Write, and never
	// two at a time. Default: no audit log.
	Audit io.Writer
	// Live is asked at each scrape for what is alive. Default: not measured.
	Live func() Live
	// Measured are parts that measure themselves, asked at each scrape.
	Measured []mcpauth.Measuring
}

// Observer writes down what became of requests. It is safe for concurrent
// use, and several in one process do not meet.
type Observer struct {
	logger  *slog.Logger
	users   UserForm
	hash    *userHash
	audit   *audit // nil when there is none
	metrics *metrics
}

// New returns an Observer for c.
func New(c Config) *Observer {
	o := &Observer{logger: c.Logger, users: c.Users, hash: newUserHash(c.HashKey)}
	if o.logger == nil {
		o.logger = slog.Default()
	}
	o.metrics = newMetrics(c, o.logger)
	if c.Audit != nil {
		o.audit = &audit{writer: c.Audit, logger: o.logger, failures: o.metrics.auditFailures}
	}
	return o
}

// MetricsHandler serves the metrics in the formats of Prometheus.
func (o *Observer) MetricsHandler() http.Handler { return o.metrics.handler }

// Done writes e down. It is called once for each request, when it has been
// answered.
func (o *Observer) Done(ctx context.Context, e Event) {
	if e.Time.IsZero() {
		e.Time = time.Now().Add(-e.Duration)
	}
	o.metrics.count(&e)
	level := levelOf(&e)
	logged := o.logger.Enabled(ctx, level)
	if !logged && o.audit == nil {
		return
	}
	// Made once for both; none of it costs anything where it is absent.
	issuer, user := o.user(e.Identity)
	l := line{
		level: level, outcome: e.outcome(), issuer: issuer, user: user, reason: o.reason(&e), name: o.name(&e),
		path: Harmless(e.Path, e.Identity),
	}
	if e.Refusal != nil {
		l.code = bounded(string(e.Refusal.Code), maxText)
	}
	e.RequestID, e.TraceID, e.Remote = bounded(e.RequestID, maxText), bounded(e.TraceID, maxText), bounded(e.Remote, maxText)
	e.HTTPMethod, e.Method, e.ProtocolVersion = bounded(e.HTTPMethod, maxText), Harmless(e.Method, e.Identity), Harmless(e.ProtocolVersion, e.Identity)
	if o.audit != nil {
		o.audit.write(ctx, &e, &l)
	}
	if logged {
		o.log(ctx, &e, &l)
	}
}

// line is what log and audit log say beside the event itself.
type line struct {
	level                                  slog.Level
	outcome                                Outcome
	code, reason, issuer, user, name, path string
}

// levelOf tells what an operator has to look at, which is Error, from what
// clients do wrong or right, and from what they do all the time.
func levelOf(e *Event) slog.Level {
	switch {
	case e.Refusal != nil && e.Refusal.Code == mcpauth.ErrUnavailable && e.Refusal.Cause != nil && e.outcome() != Cancelled:
		return slog.LevelError
	case e.outcome() == Cancelled:
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

func (o *Observer) log(ctx context.Context, e *Event, l *line) {
	var (
		attrs [16]slog.Attr
		n     int
	)
	add := func(key, value string) {
		if value != "" {
			attrs[n] = slog.String(key, value)
			n++
		}
	}
	add("request_id", e.RequestID)
	add("trace_id", e.TraceID)
	add("remote", e.Remote)
	add("http_method", e.HTTPMethod)
	add("path", l.path)
	if e.Status != 0 {
		attrs[n] = slog.Int("status", e.Status)
		n++
	}
	add("method", e.Method)
	add("name", l.name)
	add("version", e.ProtocolVersion)
	add("user", l.user)
	add("issuer", l.issuer)
	add("outcome", string(l.outcome))
	add("code", l.code)
	add("reason", l.reason)
	attrs[n] = slog.Duration("duration", e.Duration)
	n++
	// A record of our own, which Logger.LogAttrs would make too, but for the
	// place in the source: it would always be this one, and is costly to find.
	r := slog.NewRecord(e.Time.Add(e.Duration), l.level, "request", 0)
	r.AddAttrs(attrs[:n]...)
	o.logger.Handler().Handle(ctx, r)
}
