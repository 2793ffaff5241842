package bench

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
)

// BenchmarkMemoryEntry reports what an accepted token of its own user takes
// beside its bytes, in the cache and the forwarding index together.
func BenchmarkMemoryEntry(b *testing.B) {
	const users = 20000
	for b.Loop() {
		mint := newMint()
		size := len(mint.token(0))
		p := newProvider(b, jwt.Cache{TTL: time.Hour, MaxBytes: 1 << 30}, issuer(secretSource()))
		before := liveHeap()
		for user := range users {
			if _, err := p.Verify(context.Background(), mint.token(user)); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(liveHeap()-before)/users-float64(size), "B/entry")
		b.ReportMetric(float64(size), "B/token")
		if s := p.Stats(); s.Accepted.Entries != users || s.Forwarded.Entries != users {
			b.Fatalf("not all entries are there: %+v", s)
		}
	}
}

// BenchmarkMemoryFlood sends a million users through one provider, and between
// any ten of them one of a hundred who keep coming.
func BenchmarkMemoryFlood(b *testing.B) {
	const (
		flood = 1_000_000
		bound = 64 << 20
	)
	for b.Loop() {
		mint := newMint()
		var hot [100]string
		for i := range hot {
			hot[i] = mint.token(flood + i)
		}
		p := newProvider(b, jwt.Cache{TTL: time.Hour, MaxBytes: bound}, issuer(secretSource()))
		verify := func(token string) *mcpauth.Identity {
			id, err := p.Verify(context.Background(), token)
			if err != nil {
				b.Fatal(err)
			}
			return id
		}
		before := liveHeap()
		var (
			last       [len(hot)]*mcpauth.Identity
			hits, asks int
			live, used uint64
		)
		for user := range flood {
			verify(mint.token(user))
			if user%10 != 0 {
				continue
			}
			i := user / 10 % len(hot)
			id := verify(hot[i])
			if last[i] != nil {
				asks++
			}
			if last[i] == id { // only the cache returns the same identity again
				hits++
			}
			last[i] = id
			if user%1000 == 0 {
				used = max(used, heap("/memory/classes/heap/objects:bytes"))
			}
			if user%50_000 == 0 {
				live = max(live, liveHeap())
			}
		}
		live = max(live, liveHeap())
		b.ReportMetric(float64(live-before)/(1<<20), "MiB")
		b.ReportMetric(float64(live-before)/bound, "MiB/bound")
		b.ReportMetric(float64(used)/(1<<20), "MiB-with-garbage")
		b.ReportMetric(float64(hits)/float64(asks), "hits/hot")
	}
}

// liveHeap returns the bytes that are in use, after collecting the garbage.
func liveHeap() uint64 {
	time.Sleep(50 * time.Millisecond) // for the caches to settle
	runtime.GC()
	runtime.GC()
	return heap("/gc/heap/live:bytes")
}

func heap(metric string) uint64 {
	sample := []metrics.Sample{{Name: metric}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// mint writes the tokens of many users, the same claims as claimsOf, quickly.
type mint struct {
	mac      hash.Hash
	iat, exp int64
}

func newMint() *mint {
	now := time.Now().Unix()
	return &mint{mac: hmac.New(sha256.New, secret), iat: now, exp: now + 12*3600}
}

func (m *mint) token(user int) string {
	token := base64.RawURLEncoding.AppendEncode(nil, []byte(`{"alg":"HS256","typ":"JWT"}`))
	token = append(token, '.')
	token = base64.RawURLEncoding.AppendEncode(token, fmt.Appendf(nil,
		`{"iss":%q,"aud":%q,"sub":"user-%07[3]d","userId":"user-%07[3]d","iat":%[4]d,"exp":%[5]d,`+
			`"jti":"3f6c1b9e-5a7d-4e2b-9c41-%012[3]d","scope":"notes:read notes:write","email":"user-%07[3]d@example.com",`+
			`"name":"Ada Lovelace","org":"acme","roles":["editor","reviewer"],"tenant":"eu-central","session":"0b5f3c2a9d8e7f61"}`,
		issuerName, audience, user, m.iat, m.exp))
	m.mac.Reset()
	m.mac.Write(token)
	return string(base64.RawURLEncoding.AppendEncode(append(token, '.'), m.mac.Sum(nil)))
}
