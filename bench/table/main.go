// Command table reads the output of "go test -bench" and prints how the
// figures compare with one another and with their budgets, as a Markdown
// table. Of several rounds it takes the minimum of each figure.
package main

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// A row compares a figure with that of another benchmark, or only with a
// budget.
type row struct {
	work    string
	ours    string // benchmark
	unit    string
	theirs  string // benchmark; "" for none
	against string // what theirs is
	budget  float64
	of      subject
}

// subject is what a budget bounds.
type subject int

const (
	nothing subject = iota
	ours            // our own figure, from above
	share           // our own figure, from below
	ratio           // our figure divided by theirs, from above
)

const (
	ns     = "ns/op"
	allocs = "allocs/op"
)

var rows = []row{
	{"authenticate from cache, 1 live token", "Cached/live=1/mcpauth", ns, "Cached/live=1/sha256-map", "SHA-256-keyed map", 300, ours},
	{"authenticate from cache, 4096 live tokens", "Cached/live=4096/mcpauth", ns, "Cached/live=4096/sha256-map", "SHA-256-keyed map", 300, ours},
	{"… allocations", "Cached/live=4096/mcpauth", allocs, "Cached/live=4096/sha256-map", "SHA-256-keyed map", 0, ours},
	{"… with 1 000 000 revocations of others", "Revocations", ns, "", "", 300, ours},
	{"… allocations", "Revocations", allocs, "", "", 0, ours},
	{"… on two cores", "Cached/live=4096/cores=2/mcpauth", ns, "Cached/live=4096/mcpauth", "ours on one core", 0.65, ratio},
	{"authenticate by API key from cache, 1 live key", "Kind/live=1/apikey", ns, "Kind/live=1/jwt", "JWT from cache", 1.5, ratio},
	{"… 4096 live keys", "Kind/live=4096/apikey", ns, "Kind/live=4096/jwt", "JWT from cache", 1.5, ratio},
	{"… allocations", "Kind/live=4096/apikey", allocs, "Kind/live=4096/jwt", "JWT from cache", 0, ours},
	{"authenticate by opaque token from cache, 1 live token", "Kind/live=1/introspection", ns, "Kind/live=1/jwt", "JWT from cache", 1.5, ratio},
	{"… 4096 live tokens", "Kind/live=4096/introspection", ns, "Kind/live=4096/jwt", "JWT from cache", 1.5, ratio},
	{"… allocations", "Kind/live=4096/introspection", allocs, "Kind/live=4096/jwt", "JWT from cache", 0, ours},
	{"find the user's credential in the cache, 1 live user", "Resolve/live=1/mcpauth", ns, "Resolve/live=1/user-map", "map by user and resource", 500, ours},
	{"… 4096 live users", "Resolve/live=4096/mcpauth", ns, "Resolve/live=4096/user-map", "map by user and resource", 500, ours},
	{"… allocations", "Resolve/live=4096/mcpauth", allocs, "Resolve/live=4096/user-map", "map by user and resource", 0, ours},
	{"cache entry and forwarding index beside the token", "MemoryEntry", "B/entry", "", "", 512, ours},
	{"middleware and SDK tail, cached", "Middleware/mcpauth", ns, "Middleware/go-sdk", "go-sdk bearer middleware, cached", 1200, ours},
	{"verify HS256, no cache", "Verify/HS256/mcpauth", ns, "Verify/HS256/golang-jwt", "golang-jwt", 0.3, ratio},
	{"… allocations", "Verify/HS256/mcpauth", allocs, "Verify/HS256/golang-jwt", "golang-jwt", 8, ours},
	{"…", "Verify/HS256/mcpauth", ns, "Verify/HS256/go-jose", "go-jose", 0, nothing},
	{"…", "Verify/HS256/mcpauth", ns, "Verify/HS256/raw", "raw HMAC", 0, nothing},
	{"verify RS256, no cache", "Verify/RS256/mcpauth", ns, "Verify/RS256/raw", "raw RSA", 1.15, ratio},
	{"…", "Verify/RS256/mcpauth", ns, "Verify/RS256/golang-jwt", "golang-jwt", 0, nothing},
	{"verify PS256, no cache", "Verify/PS256/mcpauth", ns, "Verify/PS256/raw", "raw RSA-PSS", 1.15, ratio},
	{"…", "Verify/PS256/mcpauth", ns, "Verify/PS256/golang-jwt", "golang-jwt", 0, nothing},
	{"verify ES256, no cache", "Verify/ES256/mcpauth", ns, "Verify/ES256/raw", "raw ECDSA", 1.15, ratio},
	{"…", "Verify/ES256/mcpauth", ns, "Verify/ES256/golang-jwt", "golang-jwt", 0, nothing},
	{"verify EdDSA, no cache", "Verify/EdDSA/mcpauth", ns, "Verify/EdDSA/raw", "raw Ed25519", 1.15, ratio},
	{"…", "Verify/EdDSA/mcpauth", ns, "Verify/EdDSA/golang-jwt", "golang-jwt", 0, nothing},
	{"refuse a forged 8 KB token, one issuer (groups)", "Forged/groups/mcpauth-one", ns, "Forged/groups/raw", "raw HMAC, key state kept", 1.5, ratio},
	{"…", "Forged/groups/mcpauth-one", ns, "Forged/groups/raw-new", "raw HMAC, hmac.New each time", 1.5, ratio},
	{"… (roles)", "Forged/roles/mcpauth-one", ns, "Forged/roles/raw", "raw HMAC, key state kept", 1.5, ratio},
	{"refuse a forged 8 KB token, several issuers (groups)", "Forged/groups/mcpauth-several", ns, "Forged/groups/golang-jwt", "golang-jwt", 0.2, ratio},
	{"…", "Forged/groups/mcpauth-several", ns, "Forged/groups/go-jose", "go-jose", 0, nothing},
	{"… (roles)", "Forged/roles/mcpauth-several", ns, "Forged/roles/golang-jwt", "golang-jwt", 0.2, ratio},
	{"…", "Forged/roles/mcpauth-several", ns, "Forged/roles/go-jose", "go-jose", 0, nothing},
	{"tool call over a connection, whole line, 2025-11-25", "Server/2025-11-25/mcpauth", ns, "Server/2025-11-25/go-sdk", "bare go-sdk handler", 1 / 0.95, ratio},
	{"…", "Server/2025-11-25/mcpauth", ns, "Server/2025-11-25/go-sdk-resumable", "with the SDK's event store", 0, nothing},
	{"… 2026-07-28", "Server/2026-07-28/mcpauth", ns, "Server/2026-07-28/go-sdk", "bare go-sdk handler", 1 / 0.95, ratio},
	{"tool call without connection, 2025-11-25: verified", "Stage/2025-11-25/1-verified", ns, "Stage/2025-11-25/0-go-sdk", "bare go-sdk handler", 0, nothing},
	{"… and policy", "Stage/2025-11-25/2-policy", ns, "Stage/2025-11-25/0-go-sdk", "bare go-sdk handler", 0, nothing},
	{"… and limits", "Stage/2025-11-25/3-limits", ns, "Stage/2025-11-25/0-go-sdk", "bare go-sdk handler", 0, nothing},
	{"… and log", "Stage/2025-11-25/4-log", ns, "Stage/2025-11-25/0-go-sdk", "bare go-sdk handler", 0, nothing},
	{"… and audit log", "Stage/2025-11-25/5-audit", ns, "Stage/2025-11-25/0-go-sdk", "bare go-sdk handler", 0, nothing},
	{"tool call without connection, 2026-07-28: verified", "Stage/2026-07-28/1-verified", ns, "Stage/2026-07-28/0-go-sdk", "bare go-sdk handler", 0, nothing},
	{"… and policy", "Stage/2026-07-28/2-policy", ns, "Stage/2026-07-28/0-go-sdk", "bare go-sdk handler", 0, nothing},
	{"… and limits", "Stage/2026-07-28/3-limits", ns, "Stage/2026-07-28/0-go-sdk", "bare go-sdk handler", 0, nothing},
	{"… and log", "Stage/2026-07-28/4-log", ns, "Stage/2026-07-28/0-go-sdk", "bare go-sdk handler", 0, nothing},
	{"… and audit log", "Stage/2026-07-28/5-audit", ns, "Stage/2026-07-28/0-go-sdk", "bare go-sdk handler", 0, nothing},
	{"verify while the key server hangs: p99, as a multiple of that before", "Outage", "hung/before", "", "", 2, ours},
	{"refuse the slowest of the hostile corpus, as a share of 1.2 × raw verification and 1 ms", "Corpus", "share", "", "", 1, ours},
	{"1 000 000 users: peak of live memory as a share of the bound", "MemoryFlood", "MiB/bound", "", "", 1, ours},
	{"… hits of users who keep coming", "MemoryFlood", "hits/hot", "", "", 0.99, share},
}

func main() {
	figures, err := read(os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("| Work | Ours | Compared with | Theirs | Ratio | Budget | Held |")
	fmt.Println("|---|---|---|---|---|---|---|")
	for _, r := range rows {
		fmt.Println(r.print(figures))
	}
}

type figure struct{ benchmark, unit string }

var processors = regexp.MustCompile(`-\d+$`)

// read returns the least of each figure.
func read(in io.Reader) (map[figure]float64, error) {
	figures := map[figure]float64{}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		name, rest, ok := strings.Cut(lines.Text(), "\t")
		name, ok2 := strings.CutPrefix(strings.TrimSpace(name), "Benchmark")
		if !ok || !ok2 {
			continue
		}
		name = processors.ReplaceAllString(name, "")
		for pair := range strings.SplitSeq(rest, "\t") {
			text, unit, _ := strings.Cut(strings.TrimSpace(pair), " ")
			value, err := strconv.ParseFloat(text, 64)
			if unit == "" || err != nil {
				continue
			}
			at := figure{name, unit}
			if least, known := figures[at]; !known || value < least {
				figures[at] = value
			}
		}
	}
	return figures, lines.Err()
}

func (r row) print(figures map[figure]float64) string {
	our, measured := figures[figure{r.ours, r.unit}]
	if !measured {
		return fmt.Sprintf("| %s | not measured | | | | | |", r.work)
	}
	their, compared := figures[figure{r.theirs, r.unit}]
	relation, budget, held := "", "", ""
	theirText := ""
	if compared {
		theirText = text(their, r.unit)
		if their > 0 {
			relation = fmt.Sprintf("%.2f", our/their)
		}
	}
	holds := func(ok bool) {
		held = "**no**"
		if ok {
			held = "yes"
		}
	}
	switch r.of {
	case ours:
		budget = "≤ " + text(r.budget, r.unit)
		holds(our <= r.budget)
	case share:
		budget = "≥ " + text(r.budget, r.unit)
		holds(our >= r.budget)
	case ratio:
		budget = fmt.Sprintf("≤ %.3g ×", r.budget)
		holds(compared && our <= r.budget*their)
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s |", r.work, text(our, r.unit), r.against, theirText, relation, budget, held)
}

// text writes a figure the way people do.
func text(value float64, unit string) string {
	switch {
	case unit == ns && value >= 1000:
		return fmt.Sprintf("%.2f µs", value/1000)
	case unit == ns:
		return fmt.Sprintf("%.0f ns", value)
	case unit == allocs:
		return fmt.Sprintf("%.0f", value)
	case unit == "B/entry":
		return fmt.Sprintf("%.0f B", value)
	}
	return fmt.Sprintf("%.2f", value)
}
