package observe_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/observe"
)

// ours returns the lines of the metrics whose names begin with prefix.
func ours(text, prefix string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, prefix) {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return lines
}

func TestMetricsOfRequests(t *testing.T) {
	call := func(method string, status int) observe.Event {
		return observe.Event{Method: method, Status: status, Duration: 3 * time.Millisecond}
	}
	refused := observe.Event{Method: "tools/call", Status: 401, Refusal: refusal(mcpauth.ErrExpired, nil)}
	ownCode := observe.Event{Status: 403, Refusal: refusal("user-7's own code", nil)}
	stream := observe.Event{Method: "subscriptions/listen", Status: 200, Stream: true, Duration: time.Hour}
	strange := call("alice/secret", 200)
	got := done(t, observe.Config{}, call("tools/call", 200), call("tools/call", 200), call("tools/call", 500), refused, ownCode, stream, strange,
		call("TOOLS/CALL", 200), call("other", 200), call("batch", 200), observe.Event{Outcome: observe.Cancelled}, observe.Event{Outcome: "odd"},
		observe.Event{Outcome: observe.Refused}).metrics
	want := []string{
		`mcpauth_requests_total{method="batch",outcome="ok"} 1`,
		`mcpauth_requests_total{method="none",outcome="cancelled"} 1`,
		`mcpauth_requests_total{method="none",outcome="ok"} 1`,
		`mcpauth_requests_total{method="none",outcome="refused"} 2`,
		`mcpauth_requests_total{method="other",outcome="ok"} 3`,
		`mcpauth_requests_total{method="subscriptions/listen",outcome="ok"} 1`,
		`mcpauth_requests_total{method="tools/call",outcome="failed"} 1`,
		`mcpauth_requests_total{method="tools/call",outcome="ok"} 2`,
		`mcpauth_requests_total{method="tools/call",outcome="refused"} 1`,
	}
	if lines := ours(got, "mcpauth_requests_total{"); !slices.Equal(lines, want) {
		t.Errorf("requests:\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	for _, line := range []string{
		`mcpauth_request_duration_seconds_bucket{method="tools/call",le="0.001"} 1`,
		`mcpauth_request_duration_seconds_bucket{method="tools/call",le="0.005"} 4`,
		`mcpauth_request_duration_seconds_bucket{method="tools/call",le="60"} 4`,
		`mcpauth_request_duration_seconds_count{method="tools/call"} 4`,
		`mcpauth_refusals_total{code="expired"} 1`,
		`mcpauth_refusals_total{code="other"} 2`,
		`mcpauth_refusals_total{code="revoked"} 0`,
		`mcpauth_audit_failures_total 0`,
	} {
		if !strings.Contains(got, "\n"+line+"\n") {
			t.Errorf("%s is not there", line)
		}
	}
	for _, absent := range []string{"mcpauth_sessions", `duration_seconds_count{method="subscriptions/listen"}`, "alice", "user-7"} {
		if strings.Contains(got, absent) {
			t.Errorf("%s is there", absent)
		}
	}
	for _, name := range []string{"go_goroutines", "process_start_time_seconds", "promhttp_metric_handler_errors_total"} {
		if len(ours(got, name)) == 0 {
			t.Errorf("%s is not there", name)
		}
	}
}

// A code that is added to the root gets a label here.
func TestEveryCodeHasItsLabel(t *testing.T) {
	file, err := parser.ParseFile(gotoken.NewFileSet(), "../../error.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if ok && len(spec.Values) == 1 {
			if name, ok := spec.Type.(*ast.Ident); ok && name.Name == "Code" {
				code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				found = append(found, code)
			}
		}
		return true
	})
	text := done(t, observe.Config{}).metrics
	for _, code := range found {
		if !strings.Contains(text, `mcpauth_refusals_total{code="`+code+`"} 0`) {
			t.Errorf("%s has none", code)
		}
	}
	if len(found) < 19 {
		t.Errorf("only %d codes found", len(found))
	}
}

func TestMetricsOfWhatIsAlive(t *testing.T) {
	live := observe.Live{InProgress: 1, Sessions: 2, Streams: 3, InstanceFailures: 4, SessionsEvicted: 11,
		PerSession: observe.Instances{Alive: 5, Created: 6}, PerUser: observe.Instances{Alive: 7, Created: 8}, PerRequest: observe.Instances{Alive: 9, Created: 10}}
	got := done(t, observe.Config{Live: func() observe.Live { return live }}).metrics
	for _, line := range []string{
		`mcpauth_requests_in_progress 1`, `mcpauth_sessions 2`, `mcpauth_streams 3`, `mcpauth_instance_failures_total 4`, `mcpauth_sessions_evicted_total 11`,
		`mcpauth_instances{mode="session"} 5`, `mcpauth_instances{mode="user"} 7`, `mcpauth_instances{mode="request"} 9`,
		`mcpauth_instances_created_total{mode="session"} 6`, `mcpauth_instances_created_total{mode="user"} 8`, `mcpauth_instances_created_total{mode="request"} 10`,
		`# TYPE mcpauth_instances gauge`, `# TYPE mcpauth_instances_created_total counter`,
	} {
		if !strings.Contains(got, "\n"+line+"\n") {
			t.Errorf("%s is not there", line)
		}
	}
}

type part []mcpauth.Measurement

func (p part) Measure() []mcpauth.Measurement { return p }

func TestPartsThatMeasureThemselves(t *testing.T) {
	entries := func(cache string, value float64) mcpauth.Measurement {
		return mcpauth.Measurement{Name: "mcpauth_x_entries", Help: "Entries.", Labels: map[string]string{"cache": cache}, Value: value}
	}
	total := mcpauth.Measurement{Name: "mcpauth_x_total", Help: "All.", Counter: true, Value: 5}
	got := done(t, observe.Config{Measured: []mcpauth.Measuring{
		part{entries("a", 1), entries("b", 2), total},
		part{entries("a", 10), total}, // another of its kind
		part{},
	}}).metrics
	want := []string{`mcpauth_x_entries{cache="a"} 11`, `mcpauth_x_entries{cache="b"} 2`, `mcpauth_x_total 10`}
	if lines := ours(got, "mcpauth_x"); !slices.Equal(lines, want) {
		t.Errorf("measured %q, want %q", lines, want)
	}
	if !strings.Contains(got, "# TYPE mcpauth_x_total counter\n") || !strings.Contains(got, "# TYPE mcpauth_x_entries gauge\n") {
		t.Errorf("types:\n%s", got)
	}
}

func TestAPartThatMeasuresItselfBadlyTakesNothingAlong(t *testing.T) {
	var log bytes.Buffer
	o := observe.New(observe.Config{Logger: slog.New(slog.NewTextHandler(&log, nil)), Measured: []mcpauth.Measuring{
		part{{Name: "", Value: 1}, {Name: "mcpauth_bad\xff", Value: 1}, {Name: "mcpauth_requests_total", Counter: true, Value: 1, Labels: map[string]string{"\xff": "x"}}},
		part{{Name: "mcpauth_good", Help: "Good.", Value: 1}},
	}})
	o.Done(t.Context(), observe.Event{Method: "ping"})
	log.Reset()
	got := scrape(t, o)
	for _, line := range []string{`mcpauth_good 1`, `mcpauth_requests_total{method="ping",outcome="ok"} 1`} {
		if !strings.Contains(got, "\n"+line+"\n") {
			t.Errorf("%s is not there", line)
		}
	}
	if !strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("the log does not say so: %s", &log)
	}
}

func TestObserversOfOneProcessDoNotMeet(t *testing.T) {
	one, two := observe.New(observe.Config{Logger: slog.New(slog.DiscardHandler)}), observe.New(observe.Config{Logger: slog.New(slog.DiscardHandler)})
	one.Done(t.Context(), observe.Event{Method: "ping"})
	if len(ours(scrape(t, one), "mcpauth_requests_total{")) != 1 || len(ours(scrape(t, two), "mcpauth_requests_total{")) != 0 {
		t.Error("one counts for the other")
	}
}
