package revoke_test

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/revoke"
)

const million = 1_000_000

func uuid(i int) string { return fmt.Sprintf("3f2b9c1e-7a4d-4e0b-9d55-%012x", i) }

// fill revokes n tokens, as a list has that was long in use.
func fill(t testing.TB, l *revoke.List, n int) {
	t.Helper()
	const part = 100_000
	for i := 0; i < n; {
		rs := make([]revoke.Revocation, 0, part)
		for ; i < n && len(rs) < part; i++ {
			rs = append(rs, tokenOf(uuid(i)))
		}
		put(t, l, rs...)
	}
}

// heap returns how much memory is in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestRevokedDoesNotAllocate(t *testing.T) {
	l := open(t, revoke.Config{})
	fill(t, l, 1000)
	put(t, l, block("b"), session("s"), user("u"))
	for _, r := range []mcpauth.Revocable{of("alice", uuid(1), "s1"), of("alice", uuid(5000), "s1"), of("alice", uuid(5000), "s"), of("b", "t", "s1"), of("u", "t", "")} {
		if n := testing.AllocsPerRun(100, func() { l.Revoked(r) }); n != 0 {
			t.Errorf("%+v: %v allocations", r, n)
		}
	}
}

// A million entries: what they take in memory and on the disk, and how long it
// takes to load them.
func TestMillion(t *testing.T) {
	if os.Getenv("REVOKE_TEST_MILLION") == "" {
		t.Skip("takes half a minute: set REVOKE_TEST_MILLION")
	}
	c := revoke.Config{File: path(t)}
	l := open(t, c)
	start := time.Now()
	fill(t, l, million-4)
	put(t, l, block("b"), session("s"), user("u"))
	t.Logf("filled in %v", time.Since(start))
	start = time.Now()
	put(t, l, block("c"))
	t.Logf("one more in %v", time.Since(start))
	shut(t, l)
	info, err := os.Stat(c.File)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("file: %d bytes an entry", info.Size()/million)

	l = nil
	before := heap()
	start = time.Now()
	l = open(t, c)
	took := time.Since(start)
	t.Logf("loaded in %v, %d bytes an entry", took, (heap()-before)/million)
	if took > 3*time.Second || l.Len() != million {
		t.Errorf("%d entries in %v", l.Len(), took)
	}
	for _, r := range []mcpauth.Revocable{of("alice", uuid(million/2), "s1"), of("alice", uuid(2*million), "s1")} {
		if n := testing.AllocsPerRun(100, func() { l.Revoked(r) }); n != 0 {
			t.Errorf("%+v: %v allocations", r, n)
		}
	}
	if _, err := l.Revoke(t.Context(), tokenOf("one too many")); err == nil {
		t.Error("room for more than a million")
	}
}

func BenchmarkRevoked(b *testing.B) {
	for _, n := range []int{0, 1, million} {
		l := open(b, revoke.Config{MaxEntries: million + 10})
		fill(b, l, n)
		if n > 0 {
			put(b, l, block("b"), session("s"), user("u"))
		}
		tokens := make([]mcpauth.Revocable, 4096)
		for i := range tokens {
			tokens[i] = of(uuid(i), uuid(million+i*1000), uuid(i))
		}
		b.Run(fmt.Sprintf("entries=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(p *testing.PB) {
				for i := 0; p.Next(); i++ {
					if l.Revoked(tokens[i%len(tokens)]) {
						b.Error("revoked")
					}
				}
			})
		})
	}
}

func BenchmarkRevoke(b *testing.B) {
	l := open(b, revoke.Config{File: path(b)})
	i := 0
	for b.Loop() {
		i++
		put(b, l, tokenOf(uuid(i)))
	}
}

func BenchmarkOpen(b *testing.B) {
	c := revoke.Config{File: path(b)}
	l := open(b, c)
	fill(b, l, million)
	shut(b, l)
	for b.Loop() {
		l, err := revoke.Open(quiet(c))
		if err != nil {
			b.Fatal(err)
		}
		if l.Len() != million {
			b.Fatal(l.Len())
		}
		shut(b, l)
	}
}
