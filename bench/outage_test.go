package bench

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/internal/attack"
	"github.com/mcpauth-go/mcpauth/revoke"
)

// BenchmarkOutage verifies tokens of known keys, without a cache, while the
// server of the key set hangs in the middle of a fetch, and before that. It
// reports how the 99th percentiles compare.
func BenchmarkOutage(b *testing.B) {
	const audience = "https://mcp.example.com/mcp"
	var hangs atomic.Bool
	asked, release := make(chan struct{}, 1), make(chan struct{})
	var keys []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hangs.Load() {
			asked <- struct{}{}
			<-release
		}
		w.Write(keys)
	}))
	defer server.Close()
	defer close(release)
	issuer := attack.NewIssuer("https://login.example.com", audience, "sub", "ES256")
	keys = issuer.JWKS()
	p := must(jwt.New(jwt.Config{
		Issuers: []jwt.Issuer{{Name: issuer.Name, Audience: []string{audience}, Keys: []jwt.KeySource{jwt.JWKSURL(server.URL)}}},
		Cache:   jwt.Cache{Off: true}, Fetch: jwt.Fetch{Timeout: time.Minute}, Logger: slog.New(slog.DiscardHandler),
	}))
	defer p.Close()
	if err := p.Reload(); err != nil {
		b.Fatal(err)
	}
	good := attack.Good(attack.Target{Issuers: []attack.Issuer{issuer}, Now: time.Now()})[0]
	request := &mcpauth.Request{Header: good.Header}
	p99 := func() float64 {
		taken := make([]time.Duration, 5000)
		for i := range taken {
			began := time.Now()
			must(p.Authenticate(context.Background(), request))
			taken[i] = time.Since(began)
		}
		slices.Sort(taken)
		return float64(taken[len(taken)*99/100])
	}
	for b.Loop() {
		before := p99()
		hangs.Store(true)
		go p.Reload()
		<-asked
		b.ReportMetric(p99()/before, "hung/before")
		hangs.Store(false)
		release <- struct{}{}
	}
}

// BenchmarkCorpus refuses every hostile token of the corpus, without a cache,
// and reports the slowest as a share of what the design allows: 1.2 times the
// raw verification by the slowest key, and a millisecond.
func BenchmarkCorpus(b *testing.B) {
	const audience = "https://mcp.example.com/mcp"
	issuer := attack.NewIssuer("https://login.example.com", audience, "userId", "RS256", "PS256", "ES256", "EdDSA")
	target := attack.Target{Issuers: []attack.Issuer{issuer}, Now: time.Now()}
	p := must(jwt.New(jwt.Config{
		Issuers: []jwt.Issuer{{Name: issuer.Name, Audience: []string{audience}, Keys: []jwt.KeySource{jwt.JWKS(issuer.JWKS())}}},
		Cache:   jwt.Cache{Off: true},
	}))
	defer p.Close()
	corpus := attack.Corpus(1, target)
	least := func(h http.Header) time.Duration {
		best := time.Hour
		for range 5 {
			began := time.Now()
			p.Authenticate(context.Background(), &mcpauth.Request{Header: h})
			best = min(best, time.Since(began))
		}
		return best
	}
	for b.Loop() {
		var good, worst time.Duration
		for _, token := range attack.Good(target) {
			good = max(good, least(token.Header))
		}
		for _, token := range corpus {
			worst = max(worst, least(token.Header))
		}
		// A good token costs 1.05 of the raw verification, or more.
		allowed := 1.2*float64(good)/1.05 + 1e6
		b.ReportMetric(float64(worst)/allowed, "share")
		b.ReportMetric(float64(len(corpus)), "tokens")
	}
}

// BenchmarkRevocations authenticates from the cache with a million revocations
// of others.
func BenchmarkRevocations(b *testing.B) {
	list := must(revoke.Open(revoke.Config{
		File:     b.TempDir() + "/revocations",
		Lifetime: func(string) (time.Duration, bool) { return 0, true }, Logger: slog.New(slog.DiscardHandler),
	}))
	defer list.Close()
	for i := range 100 {
		batch := make([]revoke.Revocation, 10_000)
		for j := range batch {
			batch[j] = revoke.Revocation{Kind: revoke.Block, Issuer: issuerName, UserID: fmt.Sprintf("stranger-%d-%d", i, j)}
		}
		must(list.Revoke(context.Background(), batch...))
	}
	p := must(jwt.New(jwt.Config{Issuers: []jwt.Issuer{issuer(secretSource())}, Revocations: list}))
	defer p.Close()
	request := &mcpauth.Request{Header: bearer(tokens(1)[0])}
	each(b, func() error {
		_, err := p.Authenticate(context.Background(), request)
		return err
	})
}
