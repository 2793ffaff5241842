package docs_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/admin"
	"github.com/mcpauth-go/mcpauth/assertion"
	"github.com/mcpauth-go/mcpauth/authn/apikey"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/authn/oauth"
	"github.com/mcpauth-go/mcpauth/credential"
	"github.com/mcpauth-go/mcpauth/credential/claims"
	"github.com/mcpauth-go/mcpauth/credential/exchange"
	"github.com/mcpauth-go/mcpauth/credential/platform"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/internal/mint"
	"github.com/mcpauth-go/mcpauth/internal/observe"
	"github.com/mcpauth-go/mcpauth/limit"
	"github.com/mcpauth-go/mcpauth/policy"
	"github.com/mcpauth-go/mcpauth/revoke"
	"github.com/mcpauth-go/mcpauth/tool"
)

const operations = "operations.md"

// section returns the part of operations.md under a heading, up to the next.
func section(t *testing.T, heading string) string {
	t.Helper()
	text, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut("\n"+string(text), "\n"+heading+"\n")
	if !found {
		t.Fatalf("no heading %q", heading)
	}
	if i := regexp.MustCompile(`(?m)^#+ `).FindStringIndex(after); i != nil {
		after = after[:i[0]]
	}
	return after
}

// rows returns the rows of the table under a heading, without its head, each
// cell without backquotes.
func rows(t *testing.T, heading string) [][]string {
	t.Helper()
	var all [][]string
	for line := range strings.Lines(section(t, heading)) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "|") {
			continue
		}
		var cells []string
		for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
			cells = append(cells, strings.ReplaceAll(strings.TrimSpace(cell), "`", ""))
		}
		all = append(all, cells)
	}
	if len(all) < 3 {
		t.Fatalf("no table under %q", heading)
	}
	return all[2:]
}

// table is rows by their first cell: the rest, joined where there are several
// columns to compare.
func table(t *testing.T, heading string, columns ...int) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, row := range rows(t, heading) {
		var cells []string
		for _, c := range columns {
			cells = append(cells, row[c])
		}
		if _, twice := all[row[0]]; twice {
			t.Errorf("%s: %s is there twice", heading, row[0])
		}
		all[row[0]] = strings.Join(cells, "; ")
	}
	return all
}

// same reports what is documented and not so, and what is so and not documented.
func same(t *testing.T, what string, documented, real map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(documented)) {
		if is, ok := real[name]; !ok {
			t.Errorf("%s: %s is documented, and is not there", what, name)
		} else if is != documented[name] {
			t.Errorf("%s: %s is documented as %q, and is %q", what, name, documented[name], is)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(real)) {
		if _, ok := documented[name]; !ok {
			t.Errorf("%s: %s is not documented; it is %q", what, name, real[name])
		}
	}
}

func set(names ...string) map[string]string {
	all := map[string]string{}
	for _, name := range names {
		all[name] = ""
	}
	return all
}

// examples returns the lines of the first text block under a heading.
func examples(t *testing.T, heading string) []string {
	t.Helper()
	_, block, _ := strings.Cut(section(t, heading), "```text\n")
	block, _, found := strings.Cut(block, "\n```")
	if !found {
		t.Fatalf("no example under %q", heading)
	}
	return strings.Split(block, "\n")
}

// site is a gateway at work, with what it writes down.
type site struct {
	*gatewaytest.Server
	log, audit, tools gatewaytest.Log
	spans             *tracetest.InMemoryExporter
}

const (
	alice  = "alice"
	origin = "https://mcp.example.com"
)

// parts is a provider that measures other parts with it.
type parts struct {
	mcpauth.Provider
	all []mcpauth.Measuring
}

func (p parts) Measure() (all []mcpauth.Measurement) {
	for _, part := range p.all {
		all = append(all, part.Measure()...)
	}
	return all
}

// provider returns one that takes the tokens of issuer and has, beside, every
// part of the module that measures itself.
func provider(t *testing.T, issuer *gatewaytest.Issuer) mcpauth.Provider {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := mint.NewSigner("", key, "key")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := signer.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	published := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(keys) }))
	t.Cleanup(published.Close)
	fetching, err := jwt.New(jwt.Config{Logger: quiet, Issuers: []jwt.Issuer{{
		Name: "https://login.example.com", Audience: []string{origin + "/mcp"}, Keys: []jwt.KeySource{jwt.JWKSURL(published.URL)},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := fetching.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fetching.Close() })
	revoked, err := revoke.Open(revoke.Config{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { revoked.Close() })
	keyed, err := apikey.New(apikey.Config{Store: &apikey.Memory{}, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keyed.Close() })
	asking, err := oauth.New(oauth.Config{
		Issuer: "https://login.example.com", Endpoint: "https://login.example.com/introspect", Audience: []string{origin + "/mcp"},
		Client: oauth.Client{ClientID: "mcp", Secret: mcpauth.NewSecret("of this server")}, Logger: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { asking.Close() })
	resolver, err := credential.New(credential.Config{Source: claims.Source{}, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resolver.Close() })
	static := gatewaytest.Provider(t, origin+"/mcp", issuer)
	gatewaytest.Eventually(t, "keys are fetched", func() bool {
		return slices.ContainsFunc(fetching.Measure(), func(m mcpauth.Measurement) bool { return m.Name == "mcpauth_jwt_keyset_age_seconds" })
	})
	return parts{static, []mcpauth.Measuring{static, fetching, revoked, keyed, asking, resolver}}
}

func newSite(t *testing.T) *site {
	s := &site{spans: tracetest.NewInMemoryExporter()}
	issuer := gatewaytest.NewIssuer(t, "https://issuer.example.com")
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSyncer(s.spans))
	t.Cleanup(func() { tracers.Shutdown(context.Background()) })
	logged := tool.Log(slog.New(slog.NewJSONHandler(&s.tools, nil)))
	add := func(server *mcp.Server, name string, h tool.Handler[struct{}, any]) {
		tool.Add(server, &mcp.Tool{Name: name}, h, logged)
	}
	s.Server = gatewaytest.Start(t, gateway.Config{
		Factory: (&gatewaytest.Factory{Setup: func(server *mcp.Server, _ gateway.Call) {
			add(server, "search", func(context.Context, *tool.Call, struct{}) (any, error) { return struct{}{}, nil })
			add(server, "broken", func(context.Context, *tool.Call, struct{}) (any, error) { return nil, errors.New("the disk is full") })
			add(server, "picky", func(context.Context, *tool.Call, struct{}) (any, error) {
				return nil, &mcpauth.Error{Code: mcpauth.ErrForbidden, Message: "No.", Cause: errors.New("not on Sundays")}
			})
			add(server, "panicking", func(context.Context, *tool.Call, struct{}) (any, error) { panic("no") })
			add(server, "delete_all", func(context.Context, *tool.Call, struct{}) (any, error) { return struct{}{}, nil })
		}}).Make,
		Provider:       provider(t, issuer),
		PublicURL:      origin,
		AllowedHosts:   []string{"127.0.0.1"},
		Rules:          []policy.Rule{{Tool: "delete_*", Scopes: []string{"notes:write"}}},
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Logger:         slog.New(slog.NewJSONHandler(&s.log, nil)),
		Audit:          &s.audit,
		TracerProvider: tracers,
	}, issuer)
	return s
}

// requests returns the records of requests in the log.
func (s *site) requests() []string {
	return slices.DeleteFunc(lines(s.log.String()), func(line string) bool { return !strings.Contains(line, `"msg":"request"`) })
}

func lines(text string) []string {
	return slices.Collect(strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n"))
}

// ask sends r as a proxy would, and returns what is written of it.
func (s *site) ask(t *testing.T, id string, r gatewaytest.Request) (record, audited string) {
	t.Helper()
	header := map[string][]string{
		"X-Forwarded-For": {"192.0.2.7"}, "X-Request-Id": {id}, "Traceparent": {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
	}
	maps.Copy(header, r.Header)
	r.Header = header
	response, err := s.Begin(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() // a stream stays open until here
	find := func(all []string) string {
		i := slices.IndexFunc(all, func(line string) bool { return strings.Contains(line, `"request_id":"`+id+`"`) })
		if i < 0 {
			return ""
		}
		return all[i]
	}
	gatewaytest.Eventually(t, "a request is written down", func() bool {
		record, audited = find(s.requests()), find(lines(s.audit.String()))
		return record != "" && audited != ""
	})
	return record, audited
}

// traffic returns what is written of one request of each kind.
func (s *site) traffic(t *testing.T) (records, audited []string) {
	t.Helper()
	token := s.Token(t, alice)
	session := s.Open(t, token, gatewaytest.Legacy)
	for i, r := range []gatewaytest.Request{
		gatewaytest.ModernCall(token, 1, "search", "{}"),
		gatewaytest.ModernCall(token, 1, "broken", "{}"),
		gatewaytest.ModernCall(token, 1, "delete_all", "{}"),
		gatewaytest.ModernCall(s.Token(t, alice, map[string]any{"exp": 1735689600}), 1, "search", "{}"),
		{Method: http.MethodGet, Token: token, Session: session, Version: gatewaytest.Legacy},
	} {
		record, line := s.ask(t, fmt.Sprintf("req-%d", i+1), r)
		records, audited = append(records, record), append(audited, line)
	}
	return records, audited
}

// ever replaces what differs each time.
var ever = regexp.MustCompile(`"time":"[^"]*"|"duration":\d+|"duration_ms":[\d.]+|, [\dhms]+ ago`)

func TestOperationsLogAndAudit(t *testing.T) {
	s := newSite(t)
	records, audited := s.traffic(t)
	for _, test := range []struct {
		heading string
		lines   []string
	}{{"## Log", records}, {"## Audit log", audited}} {
		keys := map[string]string{}
		for _, line := range test.lines {
			var fields map[string]any
			if err := json.Unmarshal([]byte(line), &fields); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			for key := range fields {
				keys[key] = ""
			}
		}
		same(t, test.heading, table(t, test.heading), keys)
		documented := examples(t, test.heading)
		if len(documented) != len(test.lines) {
			t.Fatalf("%s: %d examples; want\n%s", test.heading, len(documented), strings.Join(test.lines, "\n"))
		}
		for i, line := range test.lines {
			if ever.ReplaceAllString(documented[i], "") != ever.ReplaceAllString(line, "") {
				t.Errorf("%s: the example\n%s\nis really\n%s", test.heading, documented[i], line)
			}
		}
	}

	attributes := map[string]string{}
	for _, span := range s.spans.GetSpans() {
		for _, a := range span.Attributes {
			attributes[string(a.Key)] = ""
		}
	}
	same(t, "span attributes", table(t, "### Spans"), attributes)
}

func TestOperationsToolLog(t *testing.T) {
	s := newSite(t)
	for _, name := range []string{"search", "broken", "picky", "panicking"} {
		s.Do(t, gatewaytest.ModernCall(s.Token(t, alice), 1, name, "{}"))
	}
	keys, outcomes := map[string]string{}, map[string]bool{}
	for _, line := range lines(s.tools.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		for key, value := range fields {
			group, ok := value.(map[string]any)
			if !ok {
				keys[key] = ""
			}
			for inner := range group {
				keys[key+"."+inner] = ""
			}
		}
		outcomes[fields["outcome"].(string)] = true
	}
	for _, key := range []string{"time", "level", "msg"} {
		delete(keys, key)
	}
	same(t, "tool log", table(t, "### Tools"), keys)
	if len(outcomes) != 4 {
		t.Errorf("outcomes %v", outcomes)
	}
}

func TestOperationsAdministrationLog(t *testing.T) {
	var log gatewaytest.Log
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("administration-token"), 0o600); err != nil {
		t.Fatal(err)
	}
	server, err := admin.New(admin.Config{
		Addr: "127.0.0.1:0", TokenFile: file, Logger: slog.New(slog.NewJSONHandler(&log, nil)),
		Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}}
	for path, token := range map[string]string{"/": "administration-token", "/debug/pprof/": "another"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+server.Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		if response, err := client.Do(r); err == nil {
			response.Body.Close()
		}
	}
	client.CloseIdleConnections()
	if err := server.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{}
	for _, line := range lines(log.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		if fields["msg"] == "administration request" {
			for key := range fields {
				keys[key] = ""
			}
		}
	}
	for _, key := range []string{"time", "level", "msg"} {
		delete(keys, key)
	}
	same(t, "administration log", table(t, "### Administration"), keys)
}

var (
	metricName = regexp.MustCompile(`^mcpauth(_[a-z]+)+$`)
	typeLine   = regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`)
	series     = regexp.MustCompile(`(?m)^(mcpauth_[a-z_]+)(?:\{(.*)\})? \S+$`)
	label      = regexp.MustCompile(`([a-z_]+)="([^"]*)"`)
)

func TestOperationsMetrics(t *testing.T) {
	s := newSite(t)
	s.traffic(t)
	recorder := httptest.NewRecorder()
	s.Operations().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	text := recorder.Body.String()

	types, labels, values := map[string]string{}, map[string]map[string]string{}, map[string]map[string]string{}
	for _, m := range typeLine.FindAllStringSubmatch(text, -1) {
		if name := m[1]; strings.HasPrefix(name, "mcpauth_") {
			types[name], labels[name] = m[2], map[string]string{}
		} else if !slices.ContainsFunc([]string{"go_", "process_", "promhttp_"}, func(p string) bool { return strings.HasPrefix(name, p) }) {
			t.Errorf("%s is neither ours nor of the runtime", name)
		}
	}
	for _, m := range series.FindAllStringSubmatch(text, -1) {
		name := m[1]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base := strings.TrimSuffix(name, suffix); types[base] == "histogram" {
				name = base
			}
		}
		for _, l := range label.FindAllStringSubmatch(m[2], -1) {
			if l[1] == "le" {
				continue
			}
			labels[name][l[1]] = ""
			if values[l[1]] == nil {
				values[l[1]] = map[string]string{}
			}
			values[l[1]][l[2]] = ""
		}
	}
	real := map[string]string{}
	for name, kind := range types {
		real[name] = kind + "; " + strings.Join(slices.Sorted(maps.Keys(labels[name])), ", ")
	}
	same(t, "metrics", table(t, "## Metrics", 1, 2), real)

	// Outcomes and methods come to be as they happen.
	for _, o := range []observe.Outcome{observe.OK, observe.Failed, observe.Refused, observe.Cancelled} {
		values["outcome"][string(o)] = ""
	}
	for name, documented := range table(t, "### Labels", 1) {
		switch name {
		case "method", "issuer": // more than this traffic has
		case "code":
			codes := table(t, "## Refusals")
			codes["other"] = ""
			same(t, "label code", codes, values[name])
		default:
			same(t, "label "+name, set(strings.Split(documented, ", ")...), values[name])
		}
		delete(values, name)
	}
	if len(values) > 0 {
		t.Errorf("labels that are not documented: %v", values)
	}

	// Whatever measures itself must have been there to be compared.
	eachFile(t, func(path string) {
		inspect(t, path, func(n ast.Node) {
			if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				if name := unquote(t, literal); metricName.MatchString(name) && types[name] == "" {
					t.Errorf("%s has a metric %s, which this test does not meet", path, name)
				}
			}
		})
	})

	// What the document speaks of elsewhere, as in alerts, must be there too.
	document, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile(`\bmcpauth_[a-z_]+`).FindAllString(string(document), -1) {
		if types[name] == "" && types[strings.TrimSuffix(name, "_bucket")] == "" {
			t.Errorf("there is no metric %s", name)
		}
	}
}

func TestOperationsRefusals(t *testing.T) {
	real := map[string]string{}
	inspect(t, "../error.go", func(n ast.Node) {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return
		}
		if of, ok := spec.Type.(*ast.Ident); !ok || of.Name != "Code" || len(spec.Values) != 1 {
			return
		}
		code := mcpauth.Code(unquote(t, spec.Values[0]))
		w := httptest.NewRecorder()
		door := mcpauth.Requirement{}
		door.Refuse(w, &mcpauth.Error{Code: code, Message: "no"})
		var body struct{ Error string }
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		real[string(code)] = strconv.Itoa(w.Code) + "; " + body.Error
	})
	same(t, "refusals", table(t, "## Refusals", 1, 2), real)
}

// defaults are what doc comments of a struct's numbers, durations and limits
// say is the default. That they say the truth is tested beside the struct.
func defaults(t *testing.T, file string, of reflect.Type) map[string]string {
	t.Helper()
	sentence := regexp.MustCompile(`Defaults?:? (?:and maximum )?([^.,;:]+)`)
	all := map[string]string{}
	inspect(t, file, func(n ast.Node) {
		spec, ok := n.(*ast.TypeSpec)
		if !ok || spec.Name.Name != of.Name() {
			return
		}
		var found []string // of the comment, for the fields that follow it
		for _, field := range spec.Type.(*ast.StructType).Fields.List {
			if field.Doc != nil {
				found = nil
				if m := sentence.FindStringSubmatch(strings.ReplaceAll(field.Doc.Text(), "\n", " ")); m != nil {
					found = strings.Split(m[1], " and ")
				}
			}
			for _, name := range field.Names {
				f, _ := of.FieldByName(name.Name)
				if !measurable(f.Type) {
					continue
				}
				if len(found) == 0 {
					t.Errorf("%s.%s: its comment says no default", of, name.Name)
					continue
				}
				all[of.String()+"."+name.Name], found = found[0], found[1:]
			}
		}
	})
	return all
}

// measurable reports whether fields of that type are limits or time-outs.
func measurable(t reflect.Type) bool {
	return t == reflect.TypeFor[limit.Rate]() || t == reflect.TypeFor[apikey.Rate]() || t == reflect.TypeFor[map[string]limit.Rate]() || t.Kind() == reflect.Int && t.PkgPath() == "" || t.Kind() == reflect.Int64
}

func TestOperationsDefaults(t *testing.T) {
	same(t, "limits", table(t, "## Limits and time-outs", 1), defaults(t, "../gateway/config.go", reflect.TypeFor[gateway.Config]()))
	real := map[string]string{}
	for _, of := range []reflect.Type{reflect.TypeFor[jwt.Config](), reflect.TypeFor[jwt.Issuer](), reflect.TypeFor[jwt.Cache]()} {
		maps.Copy(real, defaults(t, "../authn/jwt/config.go", of))
	}
	maps.Copy(real, defaults(t, "../authn/jwt/fetch.go", reflect.TypeFor[jwt.Fetch]()))
	same(t, "limits of jwt", table(t, "### Of the JWT provider", 1), real)
	all := func(file string, types ...reflect.Type) map[string]string {
		real := map[string]string{}
		for _, of := range types {
			maps.Copy(real, defaults(t, file, of))
		}
		return real
	}
	same(t, "limits of apikey", table(t, "### Of the API key provider", 1),
		all("../authn/apikey/config.go", reflect.TypeFor[apikey.Config](), reflect.TypeFor[apikey.Cache](), reflect.TypeFor[apikey.WrongKeys]()))
	same(t, "limits of oauth", table(t, "### Of the OAuth provider", 1),
		all("../authn/oauth/config.go", reflect.TypeFor[oauth.Config](), reflect.TypeFor[oauth.Cache](), reflect.TypeFor[oauth.Requests]()))
	real = all("../credential/config.go", reflect.TypeFor[credential.Config]())
	maps.Copy(real, defaults(t, "../credential/platform/config.go", reflect.TypeFor[platform.Config]()))
	maps.Copy(real, defaults(t, "../credential/exchange/config.go", reflect.TypeFor[exchange.Config]()))
	maps.Copy(real, defaults(t, "../assertion/config.go", reflect.TypeFor[assertion.Config]()))
	same(t, "limits of credentials", table(t, "### Of credentials and assertions", 1), real)
	same(t, "fixed limits", table(t, "### Fixed", 1), fixed(t))
}

// fixed returns the limits that are written into the gateway's http.Server.
func fixed(t *testing.T) map[string]string {
	all := map[string]string{}
	inspect(t, "../gateway/run.go", func(n ast.Node) {
		literal, ok := n.(*ast.CompositeLit)
		if !ok {
			return
		}
		if of, ok := literal.Type.(*ast.SelectorExpr); !ok || of.Sel.Name != "Server" {
			return
		}
		for _, e := range literal.Elts {
			pair := e.(*ast.KeyValueExpr)
			if value, ok := number(pair.Value); ok {
				name := pair.Key.(*ast.Ident).Name
				all[name] = time.Duration(value).String()
				if strings.HasSuffix(name, "Bytes") {
					all[name] = fmt.Sprintf("%d KiB", value>>10)
				}
			}
		}
	})
	return all
}

// number returns the value of a constant expression, with time's units.
func number(e ast.Expr) (int64, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		return constant.Int64Val(constant.MakeFromLiteral(e.Value, e.Kind, 0))
	case *ast.SelectorExpr:
		unit, ok := map[string]time.Duration{"Second": time.Second, "Minute": time.Minute, "Hour": time.Hour}[e.Sel.Name]
		return int64(unit), ok
	case *ast.BinaryExpr:
		x, okX := number(e.X)
		y, okY := number(e.Y)
		switch {
		case okX && okY && e.Op == token.MUL:
			return x * y, true
		case okX && okY && e.Op == token.SHL:
			return x << y, true
		}
	}
	return 0, false
}

// eachFile calls see for each Go file of the module's packages.
func eachFile(t *testing.T, see func(path string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			switch d.Name() {
			case ".git", "examples", "cmd", "bench", "e2e", "demo", "gatewaytest", "node_modules", "testdata":
				return fs.SkipDir
			}
		case strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go"):
			see(path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Every record that the module writes to a logger is in one of the tables.
func TestOperationsRecords(t *testing.T) {
	real := map[string]string{}
	eachFile(t, func(path string) {
		inspect(t, path, func(n ast.Node) {
			if message, about, ok := recordOf(t, n); ok {
				real[message] = about
			}
		})
	})
	// These are the subjects of tables of their own.
	for _, message := range []string{"tool called", "administration request"} {
		if _, ok := real[message]; !ok {
			t.Errorf("%q is logged no more", message)
		}
		delete(real, message)
	}
	same(t, "records", table(t, "### Other records", 1, 2), real)
}

var levels = map[string]string{"Debug": "DEBUG", "Info": "INFO", "Warn": "WARN", "Error": "ERROR"}

// recordOf returns message, level and keys of the record that n, a call of a
// *slog.Logger, writes.
func recordOf(t *testing.T, n ast.Node) (message, about string, ok bool) {
	call, isCall := n.(*ast.CallExpr)
	if !isCall {
		return "", "", false
	}
	f, isMethod := call.Fun.(*ast.SelectorExpr)
	if !isMethod {
		return "", "", false
	}
	name, args := f.Sel.Name, call.Args
	level := levels[strings.TrimSuffix(name, "Context")]
	switch {
	case name == "every" && len(args) == 3: // of package apikey: what is logged when the work of a while fails
		if text, ok := args[1].(*ast.BasicLit); ok && text.Kind == token.STRING {
			return unquote(t, text), "ERROR; error", true
		}
		return "", "", false
	case name == "LogAttrs" && len(args) > 2:
		level = "depends"
		if l, ok := args[1].(*ast.SelectorExpr); ok {
			level = levels[strings.TrimPrefix(l.Sel.Name, "Level")]
		}
		args = args[2:]
	case strings.HasSuffix(name, "Context") && level != "" && len(args) > 1:
		args = args[1:]
	case level == "" || len(args) == 0:
		return "", "", false
	}
	text, isText := args[0].(*ast.BasicLit)
	if !isText || text.Kind != token.STRING {
		return "", "", false
	}
	var keys []string
	for i := 1; i < len(args); i++ {
		arg := args[i]
		if attr, isAttr := arg.(*ast.CallExpr); isAttr && len(attr.Args) == 2 {
			arg = attr.Args[0]
		} else {
			i++ // over the value
		}
		if key, isKey := arg.(*ast.BasicLit); isKey {
			keys = append(keys, unquote(t, key))
		}
	}
	if call.Ellipsis.IsValid() { // made elsewhere
		keys = []string{"…"}
	}
	return unquote(t, text), level + "; " + strings.Join(keys, ", "), true
}

// The variables that package telemetry reads are those of the table. The SDK
// reads OTEL_SERVICE_NAME itself.
func TestOperationsTracing(t *testing.T) {
	const otlp = "OTEL_EXPORTER_OTLP_"
	real := set("OTEL_SERVICE_NAME")
	part := regexp.MustCompile(`^[A-Z]+(_[A-Z]+)*$`)
	inspect(t, "../telemetry/env.go", func(n ast.Node) {
		literal, ok := n.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			return
		}
		switch text := unquote(t, literal); {
		case strings.HasPrefix(text, "OTEL_") && !strings.HasSuffix(text, "_"):
			real[text] = ""
		case part.MatchString(text) && !strings.HasPrefix(text, "TRACES_"):
			real[otlp+text] = ""
		}
	})
	documented := map[string]string{}
	for _, row := range rows(t, "## Tracing") {
		for name := range strings.SplitSeq(row[0], ", ") {
			documented[name] = ""
		}
	}
	same(t, "tracing", documented, real)
}

// inspect calls see for each node of a Go file.
func inspect(t *testing.T, path string, see func(ast.Node)) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		see(n)
		return true
	})
}

func unquote(t *testing.T, e ast.Expr) string {
	t.Helper()
	text, err := strconv.Unquote(e.(*ast.BasicLit).Value)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
