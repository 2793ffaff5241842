package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/telemetry"
)

// setenv makes variables the only ones of OpenTelemetry.
func setenv(t *testing.T, variables map[string]string) {
	t.Helper()
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "OTEL_") {
			t.Setenv(name, "")
		}
	}
	for name, value := range variables {
		t.Setenv(name, value)
	}
}

// received is an export as a receiver sees it.
type received struct {
	path, contentType, header string
	request                   *collector.ExportTraceServiceRequest
	body                      []byte
}

// receiver takes exports over HTTP and gRPC, and reads their header "x-key".
type receiver struct {
	collector.UnimplementedTraceServiceServer
	exports chan received
	// hold keeps an answer back until it is closed.
	hold chan struct{}
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	got := received{path: req.URL.Path, contentType: req.Header.Get("Content-Type"), header: req.Header.Get("X-Key")}
	got.body, _ = io.ReadAll(req.Body)
	if got.contentType == "application/x-protobuf" {
		got.request = &collector.ExportTraceServiceRequest{}
		if err := proto.Unmarshal(got.body, got.request); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	}
	r.exports <- got
	<-r.hold
}

func (r *receiver) Export(ctx context.Context, request *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	r.exports <- received{header: strings.Join(md["x-key"], " "), request: request}
	<-r.hold
	return &collector.ExportTraceServiceResponse{}, nil
}

// serve starts a receiver for the protocol and returns its origin.
func (r *receiver) serve(t *testing.T, protocol string) string {
	t.Helper()
	if protocol != "grpc" {
		server := httptest.NewServer(r)
		t.Cleanup(server.Close)
		return server.URL
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, r)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return "http://" + listener.Addr().String()
}

func newReceiver() *receiver {
	r := &receiver{exports: make(chan received, 10), hold: make(chan struct{})}
	close(r.hold)
	return r
}

// fromEnv returns a provider that is on.
func fromEnv(t *testing.T, logger *slog.Logger) (trace.TracerProvider, func(context.Context) error) {
	t.Helper()
	provider, shutdown, err := telemetry.FromEnv(t.Context(), logger)
	if err != nil {
		t.Fatal(err)
	}
	if provider == nil {
		t.Fatal("traces are off")
	}
	return provider, shutdown
}

func end(provider trace.TracerProvider, name string) {
	_, span := provider.Tracer("test").Start(context.Background(), name)
	span.End()
}

func TestOff(t *testing.T) {
	for _, test := range []struct {
		name      string
		variables map[string]string
	}{
		{"nothing is set", nil},
		{"what is set does not ask for traces", map[string]string{"OTEL_SERVICE_NAME": "x", "OTEL_EXPORTER_OTLP_HEADERS": "=", "OTEL_TRACES_SAMPLER": "x"}},
		{"disabled", map[string]string{"OTEL_SDK_DISABLED": "True", "OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": "::"}},
		{"no exporter", map[string]string{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "::", "OTEL_TRACES_SAMPLER": "x"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			setenv(t, test.variables)
			before := runtime.NumGoroutine()
			provider, shutdown, err := telemetry.FromEnv(t.Context(), nil)
			if provider != nil || err != nil {
				t.Fatalf("FromEnv: provider %v, error %v; want none", provider, err)
			}
			if n := runtime.NumGoroutine(); n > before {
				t.Errorf("%d goroutines, before %d", n, before)
			}
			if err := shutdown(t.Context()); err != nil {
				t.Errorf("shutdown: %v", err)
			}
		})
	}
}

func TestExport(t *testing.T) {
	for _, test := range []struct {
		name      string
		protocol  string
		variables map[string]string // ORIGIN is that of the receiver
		want      received
		resource  map[string]string
	}{
		{"over HTTP by default", "",
			map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "ORIGIN"},
			received{path: "/v1/traces", contentType: "application/x-protobuf"},
			map[string]string{"service.name": "mcpauth"}},
		{"below the path of a collector", "http/protobuf",
			map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "ORIGIN/base/"},
			received{path: "/base/v1/traces", contentType: "application/x-protobuf"},
			map[string]string{"service.name": "mcpauth"}},
		{"the endpoint of traces as it is, with header and resource", "http/protobuf",
			map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://127.0.0.1:1", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "ORIGIN/here",
				"OTEL_EXPORTER_OTLP_HEADERS": "x-key=general", "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x-key=my%20key",
				"OTEL_SERVICE_NAME": "notes", "OTEL_RESOURCE_ATTRIBUTES": "service.name=other,team=a%20b"},
			received{path: "/here", contentType: "application/x-protobuf", header: "my key"},
			map[string]string{"service.name": "notes", "team": "a b"}},
		{"the scheme decides about TLS", "http/protobuf",
			map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "ORIGIN", "OTEL_EXPORTER_OTLP_INSECURE": "false", "OTEL_RESOURCE_ATTRIBUTES": "service.name=other"},
			received{path: "/v1/traces", contentType: "application/x-protobuf"},
			map[string]string{"service.name": "other"}},
		{"JSON", "http/json",
			map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "ORIGIN"},
			received{path: "/v1/traces", contentType: "application/json"}, nil},
		{"gRPC", "grpc",
			map[string]string{"OTEL_TRACES_EXPORTER": "otlp,none,otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": "ORIGIN", "OTEL_EXPORTER_OTLP_HEADERS": "x-key=my key"},
			received{header: "my key"},
			map[string]string{"service.name": "mcpauth"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newReceiver()
			origin := r.serve(t, test.protocol)
			setenv(t, map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": test.protocol})
			for name, value := range test.variables {
				t.Setenv(name, strings.ReplaceAll(value, "ORIGIN", origin))
			}
			global := otel.GetTracerProvider()
			provider, shutdown := fromEnv(t, nil)
			if otel.GetTracerProvider() != global {
				t.Error("the global provider was set")
			}
			end(provider, "tools/call")
			if err := shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}

			got := <-r.exports
			request, body := got.request, got.body
			got.request, got.body = nil, nil
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("received %+v, want %+v", got, test.want)
			}
			if test.protocol == "http/json" {
				if !json.Valid(body) || !bytes.Contains(body, []byte(`"name":"tools/call"`)) {
					t.Errorf("received %s", body)
				}
				return
			}
			spans := request.GetResourceSpans()[0]
			attributes := map[string]string{}
			for _, a := range spans.Resource.Attributes {
				if !strings.HasPrefix(a.Key, "telemetry.sdk.") {
					attributes[a.Key] = a.Value.GetStringValue()
				}
			}
			if !reflect.DeepEqual(attributes, test.resource) {
				t.Errorf("resource %v, want %v", attributes, test.resource)
			}
			if name := spans.ScopeSpans[0].Spans[0].Name; name != "tools/call" {
				t.Errorf("span %q", name)
			}
		})
	}
}

func TestConsole(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = file
	t.Cleanup(func() { os.Stdout = stdout; file.Close() })
	setenv(t, map[string]string{"OTEL_TRACES_EXPORTER": "console,"})

	provider, shutdown := fromEnv(t, nil)
	end(provider, "tools/call")
	text, _ := os.ReadFile(file.Name())
	if !bytes.Contains(text, []byte(`"Name":"tools/call"`)) {
		t.Errorf("before shutdown, the console shows %q", text)
	}
	if err := shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestShutdownIsBoundByItsContext(t *testing.T) {
	for _, protocol := range []string{"http/protobuf", "grpc"} {
		t.Run(protocol+", a receiver that hangs", func(t *testing.T) {
			r := &receiver{exports: make(chan received, 10), hold: make(chan struct{})}
			setenv(t, map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_EXPORTER_OTLP_ENDPOINT": r.serve(t, protocol)})
			t.Cleanup(func() { close(r.hold) })
			provider, shutdown := fromEnv(t, slog.New(slog.DiscardHandler))
			end(provider, "tools/call")

			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-r.exports // it has the spans, and does not answer
				cancel()
			}()
			if err := shutdown(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("shutdown: %v", err)
			}
			if err := shutdown(t.Context()); err != nil {
				t.Errorf("second shutdown: %v", err)
			}
		})
		t.Run(protocol+", no receiver", func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			listener.Close()
			setenv(t, map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + listener.Addr().String()})
			provider, shutdown := fromEnv(t, slog.New(slog.DiscardHandler))
			end(provider, "tools/call")

			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := shutdown(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("shutdown: %v", err)
			}
		})
	}
}

func TestFailedExports(t *testing.T) {
	const secret = "s3cr3t-api-key"
	exports := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		exports++
		// The worst of receivers says what it got.
		http.Error(w, "not for "+req.Header.Get("Authorization")+strings.Repeat(" at all", 1000), http.StatusForbidden)
	}))
	defer server.Close()
	setenv(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": server.URL, "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20" + secret})
	var log bytes.Buffer
	provider, shutdown := fromEnv(t, slog.New(slog.NewTextHandler(&log, nil)))
	for range 3 {
		end(provider, "tools/call")
		if err := provider.(interface{ ForceFlush(context.Context) error }).ForceFlush(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if err := shutdown(t.Context()); err != nil {
		t.Error(err)
	}

	if exports != 3 {
		t.Fatalf("%d exports, want 3", exports)
	}
	text := log.String()
	if lines := strings.Count(text, "\n"); lines != 1 {
		t.Errorf("%d lines in the log, want 1:\n%s", lines, text)
	}
	if strings.Contains(text, secret) || !strings.Contains(text, `403 Forbidden (body: not for Bearer [redacted] at all at all`) || len(text) > 800 {
		t.Errorf("the log says %s", text)
	}
}

func TestWrongEnvironment(t *testing.T) {
	const secret = "s3cr3t-api-key"
	dir := t.TempDir()
	noPEM := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(noPEM, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	const otlp = "OTEL_EXPORTER_OTLP_"
	for _, test := range []struct {
		variable, value, problem string
	}{
		{"OTEL_TRACES_EXPORTER", "otlp,zipkin", `found "zipkin"`},
		{otlp + "PROTOCOL", "http", `found "http"`},
		{otlp + "TRACES_PROTOCOL", "GRPC", `found "GRPC"`},
		{otlp + "ENDPOINT", "localhost:4318", "not an http or https URL"},
		{otlp + "ENDPOINT", "http://", "not an http or https URL"},
		{otlp + "ENDPOINT", "http://user:" + secret + "@[::1", "not an http or https URL"},
		{otlp + "TRACES_ENDPOINT", "http://user:" + secret + "@localhost", "has a user, a query or a fragment"},
		{otlp + "ENDPOINT", "http://localhost/?key=" + secret, "has a user, a query or a fragment"},
		{otlp + "HEADERS", "a=b," + secret, "entry 2 is not a header"},
		{otlp + "HEADERS", "api key=" + secret, "entry 1 is not a header"},
		{otlp + "HEADERS", "key=" + secret + "%", "entry 1 is not a header"},
		{otlp + "TRACES_HEADERS", "key=" + secret + "%0A.", "entry 1 is not a header"},
		{otlp + "TIMEOUT", "10s", `found "10s"`},
		{otlp + "TRACES_TIMEOUT", "-1", `found "-1"`},
		{otlp + "COMPRESSION", "zstd", `found "zstd"`},
		{otlp + "CERTIFICATE", dir + "/none", "open " + dir + "/none: no such file or directory"},
		{otlp + "TRACES_CERTIFICATE", noPEM, `no certificate in "` + noPEM + `"`},
		{otlp + "CLIENT_CERTIFICATE", noPEM, "open : no such file or directory"},
		{"OTEL_RESOURCE_ATTRIBUTES", "a=b,c", "entry 2 is not an attribute"},
		{"OTEL_TRACES_SAMPLER", "xray", `found "xray"`},
		{"OTEL_BSP_MAX_QUEUE_SIZE", "-1", `found "-1"`},
		{"OTEL_BSP_SCHEDULE_DELAY", "0", `found "0"`},
		{"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "-1", `found "-1"`},
	} {
		t.Run(test.variable+"="+test.value, func(t *testing.T) {
			// With an https endpoint, certificates are not in its way.
			setenv(t, map[string]string{"OTEL_TRACES_EXPORTER": "otlp", otlp + "ENDPOINT": "https://localhost:4318"})
			t.Setenv(test.variable, test.value)
			_, _, err := telemetry.FromEnv(t.Context(), nil)
			var config *mcpauth.ConfigError
			if !errors.As(err, &config) {
				t.Fatalf("FromEnv: %v", err)
			}
			if len(config.Faults) != 1 || config.Faults[0].Field != test.variable || config.Faults[0].Problem != test.problem || config.Faults[0].Expected == "" {
				t.Errorf("FromEnv: %v", err)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("FromEnv gives a secret away: %v", err)
			}
		})
	}

	t.Run("all faults together", func(t *testing.T) {
		setenv(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "collector", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "NaN"})
		_, _, err := telemetry.FromEnv(t.Context(), nil)
		want := `telemetry: the configuration has faults:
  - OTEL_EXPORTER_OTLP_ENDPOINT: not an http or https URL; expected such as "http://localhost:4318"
  - OTEL_TRACES_SAMPLER_ARG: found "NaN"; expected a number from 0 to 1`
		if err == nil || err.Error() != want {
			t.Errorf("FromEnv: %v\nwant %s", err, want)
		}
	})

	for _, protocol := range []string{"http/protobuf", "grpc"} {
		t.Run("certificates without TLS, "+protocol, func(t *testing.T) {
			ca := filepath.Join(dir, "good.pem")
			server := httptest.NewTLSServer(nil)
			defer server.Close()
			writePEM(t, ca, server.Certificate().Raw)
			setenv(t, map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE": ca})
			_, _, err := telemetry.FromEnv(t.Context(), nil)
			if want := "telemetry: OTEL_EXPORTER_OTLP_ENDPOINT: is plain http, while OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE is set; expected an https URL, or no certificates"; err == nil || err.Error() != want {
				t.Errorf("FromEnv: %v\nwant %s", err, want)
			}
		})
	}
}

func TestTLS(t *testing.T) {
	r := newReceiver()
	server := httptest.NewTLSServer(r)
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	writePEM(t, ca, server.Certificate().Raw)
	setenv(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": server.URL, "OTEL_EXPORTER_OTLP_CERTIFICATE": ca,
		// To the SDK, this would be plain HTTP.
		"OTEL_EXPORTER_OTLP_INSECURE": "true"})
	provider, shutdown := fromEnv(t, nil)
	end(provider, "tools/call")
	if err := shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if got := <-r.exports; got.request == nil {
		t.Errorf("received %+v", got)
	}
}

func writePEM(t *testing.T, name string, certificate []byte) {
	t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
