package jwt

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth/internal/recall"
)

func measured(t *testing.T, p *Provider) map[string]float64 {
	t.Helper()
	values := map[string]float64{}
	for _, m := range p.Measure() {
		if m.Help == "" || m.Counter != strings.HasSuffix(m.Name, "_total") || len(m.Labels) != 1 {
			t.Errorf("measurement = %+v", m)
		}
		key := m.Name + " " + m.Labels["cache"]
		if _, twice := values[key]; twice {
			t.Errorf("%s comes twice", key)
		}
		values[key] = m.Value
	}
	return values
}

func TestMeasureSaysWhatTheCachesHold(t *testing.T) {
	p, c := clocked(t, Cache{})
	size := 0.0
	for _, user := range []string{"a", "b"} {
		token := tokenFor(user, c, time.Hour)
		mustPass(t, p, token)
		size += float64(len(token) + entryOverhead)
	}
	for i := range recall.MaxRefusals + 7 {
		code(p, fmt.Sprint("x", i))
	}
	p.accepted.CleanUp()
	p.refused.CleanUp()
	p.latest.CleanUp()
	want := map[string]float64{
		"mcpauth_jwt_cache_entries accepted":          2,
		"mcpauth_jwt_cache_entries refused":           recall.MaxRefusals,
		"mcpauth_jwt_cache_entries forwarded":         2,
		"mcpauth_jwt_cache_bytes accepted":            size,
		"mcpauth_jwt_cache_bytes forwarded":           size,
		"mcpauth_jwt_cache_evictions_total accepted":  0,
		"mcpauth_jwt_cache_evictions_total refused":   7,
		"mcpauth_jwt_cache_evictions_total forwarded": 0,
	}
	if got := measured(t, p); !reflect.DeepEqual(got, want) {
		t.Errorf("measured %v, want %v", got, want)
	}
}

func TestMeasureWithoutCacheHasTheSameNames(t *testing.T) {
	p, c := clocked(t, Cache{Off: true})
	mustPass(t, p, tokenFor("a", c, time.Hour))
	got := measured(t, p)
	if len(got) != 8 || got["mcpauth_jwt_cache_entries accepted"] != 0 || got["mcpauth_jwt_cache_entries forwarded"] != 1 {
		t.Errorf("measured %v", got)
	}
}
