// Package telemetry makes an OpenTelemetry tracer provider out of the standard
// OTEL_* environment variables:
//
//	tracers, shutdown, err := telemetry.FromEnv(ctx, logger)
//	if err != nil {
//		return err
//	}
//	defer func() {
//		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
//		defer cancel()
//		shutdown(ctx) // sends what has not been sent yet
//	}()
//
// Traces are off, at no cost, unless the environment asks for them: by
// OTEL_TRACES_EXPORTER, OTEL_EXPORTER_OTLP_ENDPOINT or
// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT. OTEL_SDK_DISABLED=true turns them off
// again. Nothing global is set, so that a program may have other providers.
//
// The variables that count are those of the OpenTelemetry specification:
//
//	OTEL_TRACES_EXPORTER            otlp (default), console (to standard output), none; or several
//	OTEL_EXPORTER_OTLP_PROTOCOL     http/protobuf (default), http/json, grpc
//	OTEL_EXPORTER_OTLP_ENDPOINT     default http://localhost:4318, with grpc http://localhost:4317
//	OTEL_EXPORTER_OTLP_HEADERS, …_TIMEOUT, …_COMPRESSION, …_CERTIFICATE, …_CLIENT_CERTIFICATE, …_CLIENT_KEY
//	OTEL_EXPORTER_OTLP_TRACES_*     the same, for traces alone
//	OTEL_SERVICE_NAME               default mcpauth
//	OTEL_RESOURCE_ATTRIBUTES
//	OTEL_TRACES_SAMPLER, …_ARG      all but jaeger_remote and xray
//	OTEL_BSP_*                      how spans are batched
//	OTEL_SPAN_*, OTEL_EVENT_*, OTEL_LINK_*, OTEL_ATTRIBUTE_* limits
//
// A value that OpenTelemetry's SDK would complain about and then ignore is an
// error here: it prints what it ignores, and for a header that is the secret.
// An endpoint is an http or https URL, whose scheme alone decides about TLS:
// OTEL_EXPORTER_OTLP_INSECURE, by which the SDK would send the headers of an
// https endpoint in clear, has no effect. Nor have OTEL_PROPAGATORS,
// OTEL_LOG_LEVEL and OTEL_CONFIG_FILE.
package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// FromEnv returns the provider that the environment asks for, and what ends
// it. The provider is nil when it asks for none; shutdown is never nil when
// err is.
//
// shutdown sends the spans that have ended and stops the provider's
// goroutines, also when its ctx is done and the receiver still does not answer:
// then it returns the error of ctx, and the spans are lost.
//
// Spans that cannot be delivered are dropped and never hold a request up.
// logger, by default slog.Default(), hears of it once a minute at most.
//
// The error is a *mcpauth.ConfigError where a variable is wrong, with all of
// them; no secret is in it.
func FromEnv(ctx context.Context, logger *slog.Logger) (provider trace.TracerProvider, shutdown func(context.Context) error, err error) {
	if !asked() {
		return nil, func(context.Context) error { return nil }, nil
	}
	s, faults := readSettings()
	if len(faults) > 0 {
		return nil, nil, &mcpauth.ConfigError{Package: "telemetry", Faults: faults}
	}
	if len(s.exporters) == 0 {
		return nil, func(context.Context) error { return nil }, nil
	}
	if logger == nil {
		logger = slog.Default()
	}

	about, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "mcpauth")),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, nil, fmt.Errorf("telemetry: resource: %w", err)
	}
	var p pipeline
	for _, name := range s.exporters {
		exporter, err := s.exporter(ctx, name)
		if err != nil {
			p.shutdown(ctx) // of those before it, which have nothing to send
			return nil, nil, fmt.Errorf("telemetry: exporter %q: %w", name, err)
		}
		exporter = &reporter{SpanExporter: exporter, logger: logger.With("exporter", name), redact: s.redact}
		p.exporters = append(p.exporters, exporter)
		if name == "console" {
			// Somebody is looking: a span is shown as it ends.
			p.processors = append(p.processors, sdk.NewSimpleSpanProcessor(exporter))
		} else {
			p.processors = append(p.processors, sdk.NewBatchSpanProcessor(exporter))
		}
	}
	options := []sdk.TracerProviderOption{sdk.WithResource(about)}
	for _, processor := range p.processors {
		options = append(options, sdk.WithSpanProcessor(processor))
	}
	p.provider = sdk.NewTracerProvider(options...)
	return p.provider, p.shutdown, nil
}

// exporter makes the exporter of that name. The endpoint is given explicitly,
// since the SDK reads OTEL_EXPORTER_OTLP_INSECURE after it.
func (s settings) exporter(ctx context.Context, name string) (sdk.SpanExporter, error) {
	switch {
	case name == "console":
		return stdouttrace.New(stdouttrace.WithWriter(os.Stdout))
	case s.protocol == "grpc":
		return otlptracegrpc.New(ctx, otlptracegrpc.WithEndpointURL(s.endpoint))
	}
	return otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(s.endpoint))
}

// pipeline is what has to be stopped.
type pipeline struct {
	provider   *sdk.TracerProvider
	processors []sdk.SpanProcessor
	exporters  []sdk.SpanExporter
}

func (p pipeline) shutdown(ctx context.Context) error {
	// A processor that is out of time leaves its goroutine behind, in an
	// export that may take minutes. Stopping the exporter ends it.
	for _, exporter := range p.exporters {
		defer context.AfterFunc(ctx, func() { exporter.Shutdown(ctx) })()
	}
	// The processors come first: once ctx is done, a provider would not stop
	// them. Spans that end from now on are dropped.
	var first error
	for _, processor := range p.processors {
		if err := processor.Shutdown(ctx); err != nil && first == nil {
			first = fmt.Errorf("telemetry: shutdown: %w", err)
		}
	}
	if p.provider != nil {
		p.provider.Shutdown(context.WithoutCancel(ctx))
	}
	// An export that its exporter's end has cut short is no error to a processor.
	if first == nil && ctx.Err() != nil {
		first = fmt.Errorf("telemetry: shutdown: %w", ctx.Err())
	}
	return first
}

// reporter reports the failures of an exporter to a logger. The SDK would give
// each of them to its error handler, which is global and prints them.
type reporter struct {
	sdk.SpanExporter
	logger *slog.Logger
	redact *strings.Replacer

	// The SDK does not call ExportSpans concurrently.
	lost int
	next time.Time
}

// ExportSpans implements [sdk.SpanExporter]. It returns no error.
func (r *reporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := r.SpanExporter.ExportSpans(ctx, spans)
	if err == nil {
		return nil
	}
	r.lost += len(spans)
	if now := time.Now(); now.After(r.next) {
		// The error quotes what the receiver answered, which may be long and
		// may quote what it got.
		cause := r.redact.Replace(err.Error())
		if len(cause) > maxCause {
			cause = strings.ToValidUTF8(cause[:maxCause], "") + "…"
		}
		r.logger.Warn("spans could not be exported", "spans", r.lost, "cause", cause)
		r.lost, r.next = 0, now.Add(time.Minute)
	}
	return nil
}

const maxCause = 500
