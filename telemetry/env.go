package telemetry

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/mcpauth-go/mcpauth"
)

// asked reports whether the environment asks for traces at all.
func asked() bool {
	return !strings.EqualFold(get("OTEL_SDK_DISABLED"), "true") &&
		(get("OTEL_TRACES_EXPORTER") != "" || get(otlp+"ENDPOINT") != "" || get(otlp+"TRACES_ENDPOINT") != "")
}

// otlp begins the variables of the OTLP exporter. Each has a twin that begins
// with "OTEL_EXPORTER_OTLP_TRACES_", counts for traces alone, and wins.
const otlp = "OTEL_EXPORTER_OTLP_"

func get(name string) string { return strings.TrimSpace(os.Getenv(name)) }

// either returns the value of an OTLP variable and the name that it was found
// under.
func either(name string) (value, from string) {
	if value := get(otlp + "TRACES_" + name); value != "" {
		return value, otlp + "TRACES_" + name
	}
	return get(otlp + name), otlp + name
}

// settings are the variables that the SDK does not read itself, or not as the
// specification has it.
type settings struct {
	exporters []string
	protocol  string
	endpoint  string
	redact    *strings.Replacer // of the secrets in the headers
}

// readSettings also validates what the SDK reads itself: a wrong value there is
// printed and ignored, and a queue of negative size panics.
func readSettings() (settings, []mcpauth.Fault) {
	var (
		s      settings
		faults []mcpauth.Fault
	)
	add := func(field, problem, expected string) {
		faults = append(faults, mcpauth.Fault{Field: field, Problem: problem, Expected: expected})
	}

	for name := range strings.SplitSeq(cmp.Or(get("OTEL_TRACES_EXPORTER"), "otlp"), ",") {
		switch name = strings.TrimSpace(name); name {
		case "none", "":
		case "otlp", "console":
			if !slices.Contains(s.exporters, name) {
				s.exporters = append(s.exporters, name)
			}
		default:
			add("OTEL_TRACES_EXPORTER", fmt.Sprintf("found %q", name), `"otlp", "console" or "none"`)
		}
	}
	if slices.Contains(s.exporters, "otlp") {
		s.readOTLP(add)
	}
	if len(s.exporters) > 0 {
		checkSDK(add)
	}
	return s, faults
}

func (s *settings) readOTLP(add func(field, problem, expected string)) {
	protocol, from := either("PROTOCOL")
	switch protocol {
	case "":
		protocol = "http/protobuf"
	case "http/protobuf", "http/json", "grpc":
	default:
		add(from, fmt.Sprintf("found %q", protocol), `"http/protobuf", "http/json" or "grpc"`)
	}
	s.protocol = protocol

	endpoint, endpointFrom := either("ENDPOINT")
	if endpoint == "" {
		endpoint = "http://localhost:4318"
		if protocol == "grpc" {
			endpoint = "http://localhost:4317"
		}
	}
	// The value is not quoted: it may hold a password, even where it does not
	// parse.
	if u, err := url.Parse(endpoint); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		add(endpointFrom, "not an http or https URL", `such as "http://localhost:4318"`)
	} else if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		// The SDK would drop them.
		add(endpointFrom, "has a user, a query or a fragment", "a URL with host and path only; credentials belong into "+otlp+"HEADERS")
	} else {
		if endpointFrom == otlp+"ENDPOINT" {
			u = u.JoinPath("v1", "traces")
		}
		s.endpoint = u.String()
	}

	var secrets []string
	for _, name := range []string{otlp + "HEADERS", otlp + "TRACES_HEADERS"} {
		secrets = append(secrets, checkHeaders(name, add)...)
	}
	s.redact = strings.NewReplacer(secrets...)

	var forTLS []string
	for _, prefix := range []string{otlp, otlp + "TRACES_"} {
		if text := get(prefix + "TIMEOUT"); text != "" {
			if n, err := strconv.Atoi(text); err != nil || n < 0 {
				add(prefix+"TIMEOUT", fmt.Sprintf("found %q", text), "milliseconds")
			}
		}
		if text := get(prefix + "COMPRESSION"); text != "" && text != "gzip" && text != "none" {
			add(prefix+"COMPRESSION", fmt.Sprintf("found %q", text), `"gzip" or "none"`)
		}
		if name := get(prefix + "CERTIFICATE"); name != "" {
			forTLS = append(forTLS, prefix+"CERTIFICATE")
			if text, err := os.ReadFile(name); err != nil {
				add(prefix+"CERTIFICATE", err.Error(), "a file of PEM certificates")
			} else if !x509.NewCertPool().AppendCertsFromPEM(text) {
				add(prefix+"CERTIFICATE", fmt.Sprintf("no certificate in %q", name), "a file of PEM certificates")
			}
		}
		certificate, key := get(prefix+"CLIENT_CERTIFICATE"), get(prefix+"CLIENT_KEY")
		if certificate != "" || key != "" {
			forTLS = append(forTLS, prefix+"CLIENT_CERTIFICATE")
			if _, err := tls.LoadX509KeyPair(certificate, key); err != nil {
				add(prefix+"CLIENT_CERTIFICATE", err.Error(), "PEM files of a certificate and, in "+prefix+"CLIENT_KEY, of its key")
			}
		}
	}
	// The SDK's two exporters disagree about what is meant.
	if strings.HasPrefix(s.endpoint, "http:") && len(forTLS) > 0 {
		add(endpointFrom, "is plain http, while "+forTLS[0]+" is set", "an https URL, or no certificates")
	}
}

// checkHeaders returns what a log must not show of the headers in a variable,
// as pairs for a strings.Replacer. Entries are counted, not quoted: what lacks
// a name may be a secret as a whole.
func checkHeaders(variable string, add func(field, problem, expected string)) (redactions []string) {
	text := get(variable)
	if text == "" {
		return nil
	}
	for i, entry := range strings.Split(text, ",") {
		name, value, found := strings.Cut(entry, "=")
		value, err := url.PathUnescape(value)
		if !found || err != nil || !headerName(strings.TrimSpace(name)) || strings.ContainsFunc(strings.TrimSpace(value), unicode.IsControl) {
			add(variable, fmt.Sprintf("entry %d is not a header", i+1), `"name=value", separated by commas, with values percent-encoded`)
			continue
		}
		// "Bearer" is no secret, what follows it is; and a short word would
		// redact half of a sentence.
		for word := range strings.FieldsSeq(value) {
			if len(word) >= 8 {
				redactions = append(redactions, word, "[redacted]")
			}
		}
	}
	return redactions
}

// headerName reports whether text is a token (RFC 9110, section 5.6.2).
func headerName(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return !('a' <= r|0x20 && r|0x20 <= 'z' || '0' <= r && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
	})
}

// checkSDK checks what is common to all exporters.
func checkSDK(add func(field, problem, expected string)) {
	if text := get("OTEL_RESOURCE_ATTRIBUTES"); text != "" {
		for i, entry := range strings.Split(text, ",") {
			key, value, found := strings.Cut(entry, "=")
			if _, err := url.PathUnescape(value); !found || err != nil || strings.TrimSpace(key) == "" {
				add("OTEL_RESOURCE_ATTRIBUTES", fmt.Sprintf("entry %d is not an attribute", i+1), `"key=value", separated by commas, with values percent-encoded`)
			}
		}
	}

	sampler, arg := strings.ToLower(get("OTEL_TRACES_SAMPLER")), get("OTEL_TRACES_SAMPLER_ARG")
	switch sampler {
	case "", "always_on", "always_off", "parentbased_always_on", "parentbased_always_off":
	case "traceidratio", "parentbased_traceidratio":
		if ratio, err := strconv.ParseFloat(arg, 64); arg != "" && (err != nil || !(ratio >= 0 && ratio <= 1)) {
			add("OTEL_TRACES_SAMPLER_ARG", fmt.Sprintf("found %q", arg), "a number from 0 to 1")
		}
	default:
		add("OTEL_TRACES_SAMPLER", fmt.Sprintf("found %q", sampler),
			`"always_on", "always_off", "traceidratio", or one of them after "parentbased_"`)
	}

	for _, number := range []struct {
		name string
		min  int
	}{
		// A queue, a batch or a delay of nothing would spin or panic.
		{"OTEL_BSP_SCHEDULE_DELAY", 1}, {"OTEL_BSP_EXPORT_TIMEOUT", 0},
		{"OTEL_BSP_MAX_QUEUE_SIZE", 1}, {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1},
		// To the SDK, a negative limit is none.
		{"OTEL_ATTRIBUTE_COUNT_LIMIT", 0}, {"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", 0},
		{"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", 0}, {"OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", 0},
		{"OTEL_SPAN_EVENT_COUNT_LIMIT", 0}, {"OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", 0},
		{"OTEL_SPAN_LINK_COUNT_LIMIT", 0}, {"OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", 0},
	} {
		// Not trimmed, since the SDK does not.
		if text := os.Getenv(number.name); text != "" {
			if n, err := strconv.Atoi(text); err != nil || n < number.min {
				add(number.name, fmt.Sprintf("found %q", text), fmt.Sprintf("a number, at least %d", number.min))
			}
		}
	}
}
