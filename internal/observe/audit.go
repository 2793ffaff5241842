package observe

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/prometheus/client_golang/prometheus"
)

// audit writes JSON lines. The encoding is done by hand, since slog's
// JSONHandler always writes level and message, and takes three times as long
// to leave them out.
type audit struct {
	writer   io.Writer
	logger   *slog.Logger
	failures prometheus.Counter

	mu     sync.Mutex
	torn   bool      // the last line was written in part
	logged time.Time // when a failure was last logged
	missed int       // failures since
}

// complainEvery is how often a writer that keeps failing is mentioned.
const complainEvery = time.Minute

var buffers = sync.Pool{New: func() any { return new(make([]byte, 0, 1024)) }}

func (a *audit) write(ctx context.Context, e *Event, l *line) {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	*buffer = appendAudit((*buffer)[:0], e, l)

	lost, err := a.put(*buffer)
	if err != nil {
		a.failures.Inc()
	}
	if lost > 0 {
		a.logger.LogAttrs(ctx, slog.LevelError, "audit log not written", slog.Int("lines", lost), slog.Any("error", err))
	}
}

// put writes a line. If that fails and it is time to say so, lost is how many
// have been lost since that was last said.
func (a *audit) put(text []byte) (lost int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock() // also when the writer panics
	n, err := a.putLocked(text)
	a.torn = n > 0 && n < len(text)
	if err == nil {
		return 0, nil
	}
	a.missed++
	if now := time.Now(); a.logged.IsZero() || now.Sub(a.logged) >= complainEvery {
		lost, a.missed, a.logged = a.missed, 0, now
	}
	return lost, err
}

// putLocked writes a line. One that follows half a line begins anew, so that
// what was torn does not take it along.
func (a *audit) putLocked(text []byte) (int, error) {
	if a.torn {
		if _, err := a.writer.Write([]byte("\n")); err != nil {
			return 1, err // still torn
		}
	}
	n, err := a.writer.Write(text)
	if err == nil && n < len(text) {
		err = io.ErrShortWrite
	}
	return n, err
}

func appendAudit(b []byte, e *Event, l *line) []byte {
	add := func(key, value string) {
		if value != "" {
			b = append(b, `,"`...)
			b = append(b, key...)
			b = append(b, `":`...)
			b, _ = jsontext.AppendQuote(b, value) // invalid UTF-8 is replaced
		}
	}
	b = append(b, `{"time":"`...)
	b = e.Time.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000000Z07:00")
	b = append(b, '"')
	add("request_id", e.RequestID)
	add("trace_id", e.TraceID)
	if e.allowed() {
		add("decision", "allowed")
	} else {
		add("decision", "refused")
	}
	add("outcome", string(l.outcome))
	add("code", l.code)
	add("reason", l.reason)
	add("user", l.user)
	add("issuer", l.issuer)
	add("remote", e.Remote)
	add("http_method", e.HTTPMethod)
	add("method", e.Method)
	add("name", l.name)
	if e.Status != 0 {
		b = append(b, `,"status":`...)
		b = strconv.AppendInt(b, int64(e.Status), 10)
	}
	b = append(b, `,"duration_ms":`...)
	b = strconv.AppendFloat(b, float64(e.Duration.Microseconds())/1000, 'f', -1, 64)
	return append(b, "}\n"...)
}
