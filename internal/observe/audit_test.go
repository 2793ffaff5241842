package observe_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpauth-go/mcpauth/internal/observe"
)

// careful is a writer that notices when two write at a time, or half a line.
type careful struct {
	busy  atomic.Bool
	lines []string
	fault atomic.Bool
}

func (c *careful) Write(p []byte) (int, error) {
	if c.busy.Swap(true) || bytes.IndexByte(p, '\n') != len(p)-1 {
		c.fault.Store(true)
	}
	c.lines = append(c.lines, string(p))
	c.busy.Store(false)
	return len(p), nil
}

func TestAuditLinesAreWrittenWholeAndOneAtATime(t *testing.T) {
	w := &careful{}
	o := observe.New(observe.Config{Logger: slog.New(slog.DiscardHandler), Audit: w})
	e := event(t)
	const workers, each = 8, 200
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			for i := range each {
				e := e
				e.RequestID = fmt.Sprintf("%d-%d", worker, i)
				e.Name = strings.Repeat("n", i)
				o.Done(t.Context(), e)
			}
		})
	}
	group.Wait()
	seen := map[string]bool{}
	for _, line := range w.lines {
		var got struct {
			ID string `json:"request_id"`
		}
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		seen[got.ID] = true
	}
	if w.fault.Load() || len(w.lines) != workers*each || len(seen) != workers*each {
		t.Errorf("fault: %v; %d lines, %d requests", w.fault.Load(), len(w.lines), len(seen))
	}
}

// full is a disk that takes a number of bytes.
type full struct {
	bytes.Buffer
	room int
}

var errFull = errors.New("no space left")

func (f *full) Write(p []byte) (int, error) {
	n := min(len(p), f.room)
	f.room -= n
	f.Buffer.Write(p[:n])
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

func TestAWriterThatFailsIsCountedAndMentionedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		disk := &full{}
		o := observe.New(observe.Config{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelError})), Audit: disk})
		mentioned := func() string {
			defer log.Reset()
			_, text, _ := strings.Cut(log.String(), "msg=")
			return text
		}
		for i := range 3 {
			o.Done(t.Context(), event(t))
			want := "\"audit log not written\" lines=1 error=\"no space left\"\n"
			if i > 0 {
				want = ""
			}
			if got := mentioned(); got != want {
				t.Errorf("failure %d: %q, want %q", i, got, want)
			}
		}
		time.Sleep(time.Minute - 1)
		o.Done(t.Context(), event(t))
		if got := mentioned(); got != "" {
			t.Errorf("within the minute: %q", got)
		}
		time.Sleep(time.Nanosecond)
		o.Done(t.Context(), event(t))
		if got, want := mentioned(), "\"audit log not written\" lines=4 error=\"no space left\"\n"; got != want {
			t.Errorf("after a minute: %q, want %q", got, want)
		}
		if text := scrape(t, o); !strings.Contains(text, "\nmcpauth_audit_failures_total 5\n") {
			t.Errorf("metrics:\n%s", text)
		}
		disk.room = 1 << 20
		o.Done(t.Context(), event(t))
		if got := mentioned(); got != "" || strings.Count(disk.String(), "\n") != 1 {
			t.Errorf("once there is room: %q, %q", got, disk)
		}
	})
}

func TestALineTornByAFailureTakesNoOtherAlong(t *testing.T) {
	disk := &full{room: 10}
	o := observe.New(observe.Config{Logger: slog.New(slog.DiscardHandler), Audit: disk})
	o.Done(t.Context(), event(t)) // torn
	o.Done(t.Context(), event(t)) // not even a line break fits
	disk.room = 1 << 20
	o.Done(t.Context(), event(t))
	o.Done(t.Context(), event(t))
	lines := strings.Split(strings.TrimSuffix(disk.String(), "\n"), "\n")
	if len(lines) != 3 || len(lines[0]) != 10 || !json.Valid([]byte(lines[1])) || !json.Valid([]byte(lines[2])) {
		t.Errorf("written: %q", lines)
	}
}
