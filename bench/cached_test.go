package bench

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
)

// mapCache is the cache that one writes by hand: it grows for ever.
type mapCache[V any] struct {
	mu      sync.Mutex
	entries map[[sha256.Size]byte]mapEntry[V]
}

type mapEntry[V any] struct {
	value  V
	expiry time.Time
}

func newMapCache[V any](tokens []string, value V) *mapCache[V] {
	c := &mapCache[V]{entries: map[[sha256.Size]byte]mapEntry[V]{}}
	for _, token := range tokens {
		c.entries[sha256.Sum256([]byte(token))] = mapEntry[V]{value, time.Now().Add(time.Hour)}
	}
	return c
}

func (c *mapCache[V]) get(token string) (v V, ok bool) {
	key := sha256.Sum256([]byte(token))
	c.mu.Lock()
	e, ok := c.entries[key]
	c.mu.Unlock()
	return e.value, ok && time.Now().Before(e.expiry)
}

func BenchmarkCached(b *testing.B) {
	for _, live := range []int{1, 4096} {
		all := tokens(live)
		headers := make([]http.Header, live)
		for i, token := range all {
			headers[i] = bearer(token)
		}
		p := newProvider(b, jwt.Cache{TTL: time.Hour}, issuer(secretSource()))
		authenticate := func(i int) error {
			_, err := p.Authenticate(context.Background(), &mcpauth.Request{Header: headers[i]})
			return err
		}
		for i := range headers {
			if err := authenticate(i); err != nil {
				b.Fatal(err)
			}
		}
		known := newMapCache(all, &mcpauth.Identity{})
		lookUp := func(i int) error {
			_, token, _ := strings.Cut(headers[i].Get("Authorization"), " ")
			if _, ok := known.get(token); !ok {
				return fmt.Errorf("token %d is not cached", i)
			}
			return nil
		}
		for _, c := range []struct {
			name string
			get  func(int) error
		}{{"mcpauth", authenticate}, {"sha256-map", lookUp}} {
			b.Run(fmt.Sprintf("live=%d/%s", live, c.name), func(b *testing.B) {
				i := 0
				each(b, func() error { i++; return c.get(i % live) })
			})
			b.Run(fmt.Sprintf("live=%d/cores=2/%s", live, c.name), func(b *testing.B) {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
				b.ReportAllocs()
				var start atomic.Int64
				b.RunParallel(func(pb *testing.PB) {
					for i := int(start.Add(int64(live / 2))); pb.Next(); i++ {
						if err := c.get(i % live); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}
