package observe

import (
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/mcpauth-go/mcpauth"
)

// Live is what is alive now, and what has come to be since the start.
type Live struct {
	InProgress int // requests
	Sessions   int
	Streams    int
	// Servers made for a session, for a user, for a request.
	PerSession, PerUser, PerRequest Instances
	// InstanceFailures counts servers that could not be made.
	InstanceFailures uint64
	// SessionsEvicted counts sessions that ended because their user had as many
	// as one may have and opened another one.
	SessionsEvicted uint64
}

// Instances counts servers of one kind.
type Instances struct {
	Alive   int
	Created uint64
}

// methods are those that clients send, in any version of MCP. All others share
// one label.
var methods = []string{
	"completion/complete", "initialize", "logging/setLevel", "ping", "prompts/get", "prompts/list",
	"resources/list", "resources/read", "resources/subscribe", "resources/templates/list", "resources/unsubscribe",
	"server/discover", "subscriptions/listen",
	"tasks/cancel", "tasks/get", "tasks/list", "tasks/result", "tasks/update", "tools/call", "tools/list",
	"notifications/cancelled", "notifications/initialized", "notifications/progress", "notifications/roots/list_changed",
	"notifications/tasks/status",
	"batch", noMethod, otherMethod,
}

const (
	noMethod    = "none"
	otherMethod = "other"
	otherCode   = "other"
)

var outcomes = []Outcome{OK, Failed, Refused, Cancelled}

var codes = []mcpauth.Code{
	mcpauth.ErrMissingCredential, mcpauth.ErrMalformedHeader, mcpauth.ErrMalformedToken, mcpauth.ErrUnsupportedAlgorithm,
	mcpauth.ErrUnknownKey, mcpauth.ErrBadSignature, mcpauth.ErrExpired, mcpauth.ErrNotYetValid, mcpauth.ErrWrongIssuer,
	mcpauth.ErrWrongAudience, mcpauth.ErrMissingClaim, mcpauth.ErrTooLarge, mcpauth.ErrRevoked, mcpauth.ErrInactive, mcpauth.ErrInsufficientScope,
	mcpauth.ErrForbidden, mcpauth.ErrForbiddenHost, mcpauth.ErrForbiddenOrigin, mcpauth.ErrRateLimited, mcpauth.ErrUnknownSession, mcpauth.ErrUnavailable,
}

type metrics struct {
	requests      *prometheus.CounterVec
	durations     *prometheus.HistogramVec
	methods       map[string]*method
	refusals      map[mcpauth.Code]prometheus.Counter
	otherRefusals prometheus.Counter
	auditFailures prometheus.Counter
	handler       http.Handler
}

// method keeps the metrics of one method, so that counting looks nothing up by
// its labels. They are made when first needed: most methods are never seen,
// and each has a histogram.
type method struct {
	name     string
	requests [4]atomic.Pointer[prometheus.Counter] // by the order of outcomes
	duration atomic.Pointer[prometheus.Observer]
}

func newMetrics(c Config, logger *slog.Logger) *metrics {
	registry := prometheus.NewRegistry() // its own: gateways of one process must not collide
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mcpauth_requests_total", Help: "Requests dealt with."},
			[]string{"outcome", "method"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "mcpauth_request_duration_seconds",
			Help:    "How long requests took, streams left out.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"method"}),
		methods:       map[string]*method{},
		refusals:      map[mcpauth.Code]prometheus.Counter{},
		auditFailures: prometheus.NewCounter(prometheus.CounterOpts{Name: "mcpauth_audit_failures_total", Help: "Lines that the audit log did not take."}),
	}
	for _, name := range methods {
		m.methods[name] = &method{name: name}
	}
	// These are there from the start, at zero, so that the first refusal of
	// its kind is an increase that an alert can see.
	refusals := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mcpauth_refusals_total", Help: "Requests refused, by the code of the refusal."}, []string{"code"})
	for _, code := range codes {
		m.refusals[code] = refusals.WithLabelValues(string(code))
	}
	m.otherRefusals = refusals.WithLabelValues(otherCode)

	registry.MustRegister(m.requests, m.durations, refusals, m.auditFailures,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if c.Live != nil {
		registry.MustRegister(live(c.Live))
	}
	if len(c.Measured) > 0 {
		registry.MustRegister(measured(slices.Clone(c.Measured)))
	}
	m.handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		// One part that measures itself badly does not take the rest along.
		ErrorHandling: promhttp.ContinueOnError,
		ErrorLog:      slog.NewLogLogger(logger.Handler(), slog.LevelError),
		Registry:      registry,
	})
	return m
}

func (m *metrics) count(e *Event) {
	name := e.Method
	if name == "" {
		name = noMethod
	}
	of, known := m.methods[name]
	if !known {
		of = m.methods[otherMethod]
	}
	outcome := e.outcome()
	i := slices.Index(outcomes, outcome)
	requests := of.requests[i].Load()
	if requests == nil {
		counter := m.requests.WithLabelValues(string(outcomes[i]), of.name)
		requests = &counter // the same, whoever comes first
		of.requests[i].Store(requests)
	}
	(*requests).Inc()
	if !e.Stream {
		duration := of.duration.Load()
		if duration == nil {
			observer := m.durations.WithLabelValues(of.name)
			duration = &observer
			of.duration.Store(duration)
		}
		(*duration).Observe(e.Duration.Seconds())
	}
	if e.Refusal == nil && outcome != Refused {
		return
	}
	refusals := m.otherRefusals
	if e.Refusal != nil {
		if counter, known := m.refusals[e.Refusal.Code]; known {
			refusals = counter
		}
	}
	refusals.Inc()
}

// live collects what is alive, all from one look.
type live func() Live

var (
	inProgressDesc = prometheus.NewDesc("mcpauth_requests_in_progress", "Requests being dealt with.", nil, nil)
	sessionsDesc   = prometheus.NewDesc("mcpauth_sessions", "Sessions open.", nil, nil)
	streamsDesc    = prometheus.NewDesc("mcpauth_streams", "Streams open.", nil, nil)
	instancesDesc  = prometheus.NewDesc("mcpauth_instances", "Servers alive, by what each is for.", []string{"mode"}, nil)
	createdDesc    = prometheus.NewDesc("mcpauth_instances_created_total", "Servers made, by what each is for.", []string{"mode"}, nil)
	failuresDesc   = prometheus.NewDesc("mcpauth_instance_failures_total", "Servers that could not be made.", nil, nil)
	evictedDesc    = prometheus.NewDesc("mcpauth_sessions_evicted_total", "Sessions ended because their user opened more than one may have.", nil, nil)
)

func (live) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{inProgressDesc, sessionsDesc, streamsDesc, instancesDesc, createdDesc, failuresDesc, evictedDesc} {
		ch <- d
	}
}

func (f live) Collect(ch chan<- prometheus.Metric) {
	l := f()
	gauge := func(d *prometheus.Desc, value int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), labels...)
	}
	counter := func(d *prometheus.Desc, value uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
	}
	gauge(inProgressDesc, l.InProgress)
	gauge(sessionsDesc, l.Sessions)
	gauge(streamsDesc, l.Streams)
	for _, of := range []struct {
		mode string
		Instances
	}{{"session", l.PerSession}, {"user", l.PerUser}, {"request", l.PerRequest}} {
		gauge(instancesDesc, of.Alive, of.mode)
		counter(createdDesc, of.Created, of.mode)
	}
	counter(failuresDesc, l.InstanceFailures)
	counter(evictedDesc, l.SessionsEvicted)
}

// measured collects what parts measure of themselves. It describes nothing
// beforehand, since they are asked at each scrape only.
type measured []mcpauth.Measuring

func (measured) Describe(chan<- *prometheus.Desc) {}

func (parts measured) Collect(ch chan<- prometheus.Metric) {
	// Two parts of one kind, such as two providers, report the same names.
	sums := map[string]mcpauth.Measurement{}
	for _, part := range parts {
		for _, m := range part.Measure() {
			key := series(m)
			if first, ok := sums[key]; ok {
				m.Value += first.Value
			}
			sums[key] = m
		}
	}
	for _, key := range slices.Sorted(maps.Keys(sums)) {
		m := sums[key]
		kind := prometheus.GaugeValue
		if m.Counter {
			kind = prometheus.CounterValue
		}
		desc := prometheus.NewDesc(m.Name, m.Help, nil, m.Labels)
		metric, err := prometheus.NewConstMetric(desc, kind, m.Value)
		if err != nil {
			metric = prometheus.NewInvalidMetric(desc, err)
		}
		ch <- metric
	}
}

// series is what tells m from all others.
func series(m mcpauth.Measurement) string {
	var b strings.Builder
	b.WriteString(m.Name)
	for _, label := range slices.Sorted(maps.Keys(m.Labels)) {
		b.WriteString("\x00" + label + "\x00" + m.Labels[label])
	}
	return b.String()
}
