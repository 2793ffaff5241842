package inproc_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/upstream/inproc"
)

// events reads a stream. Close it as a client whose connection breaks.
type events struct {
	status int
	body   io.Closer
	lines  *bufio.Scanner
	id     string // of the last event
}

func openStream(t *testing.T, s *gatewaytest.Server, r gatewaytest.Request) *events {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), gatewaytest.Patience)
	t.Cleanup(cancel)
	resp, err := s.Begin(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	return &events{status: resp.StatusCode, body: resp.Body, lines: lines}
}

// next returns the next message, or "" at the end of the stream.
func (e *events) next() string {
	for e.lines.Scan() {
		if id, ok := strings.CutPrefix(e.lines.Text(), "id: "); ok {
			e.id = id
		}
		if data, ok := strings.CutPrefix(e.lines.Text(), "data: "); ok && data != "" {
			return data
		}
	}
	return ""
}

// note returns what a message says: the number in a notification, or the text
// of a result.
func note(message string) string {
	if _, after, ok := strings.Cut(message, `"progress":`); ok {
		n, _, _ := strings.Cut(after, ",")
		return strings.TrimRight(n, "}")
	}
	return gatewaytest.Answer{Body: message}.Text()
}

// teller has servers with a tool "tell", which sends the numbers that it gets
// from a channel and answers when the channel is closed: on the stream of the
// call, or, as the tool "broadcast", on the standalone one.
func teller(numbers chan int, size int) *gatewaytest.Factory {
	return &gatewaytest.Factory{Setup: func(server *mcp.Server, _ gateway.Call) {
		send := func(ctx context.Context, r *mcp.CallToolRequest) (string, error) {
			for n := range numbers {
				p := &mcp.ProgressNotificationParams{ProgressToken: "t", Progress: float64(n), Message: strings.Repeat("x", size)}
				if err := r.Session.NotifyProgress(ctx, p); err != nil {
					return "", err
				}
			}
			return "done", nil
		}
		gatewaytest.AddTool(server, "tell", send)
		gatewaytest.AddTool(server, "broadcast", func(_ context.Context, r *mcp.CallToolRequest) (string, error) { return send(context.Background(), r) })
	}}
}

func TestResumeACall(t *testing.T) {
	numbers := make(chan int)
	s := gatewaytest.Start(t, gateway.Config{Factory: teller(numbers, 0).Make})
	token := s.Token(t, "alice")
	session := s.Open(t, token, gatewaytest.Legacy)
	call := openStream(t, s, gatewaytest.Request{Token: token, Session: session, Version: gatewaytest.Legacy, Body: gatewaytest.CallTool(5, "tell", "{}")})
	numbers <- 1
	if got := note(call.next()); got != "1" {
		t.Fatalf("first: %q", got)
	}
	id := call.id
	call.body.Close()
	numbers <- 2 // to nobody, or to a connection that is breaking
	numbers <- 3

	resume := func(token, session, id string) *events {
		return openStream(t, s, gatewaytest.Request{Method: "GET", Token: token, Session: session, Version: gatewaytest.Legacy, Header: map[string][]string{"Last-Event-ID": {id}}})
	}
	var again *events
	gatewaytest.Eventually(t, "the stream is free again", func() bool {
		again = resume(token, session, id)
		return again.status != http.StatusConflict
	})
	got := []string{note(again.next()), note(again.next())}
	numbers <- 4
	got = append(got, note(again.next()))
	middle := again.id
	close(numbers)
	got = append(got, note(again.next()), note(again.next()))
	if want := []string{"2", "3", "4", "done", ""}; !slices.Equal(got, want) {
		t.Errorf("resumed: %q, want %q", got, want)
	}
	// Once more, from the middle, when the call is long done.
	late := resume(token, session, middle)
	if got := []string{note(late.next()), note(late.next())}; late.status != 200 || !slices.Equal(got, []string{"done", ""}) {
		t.Errorf("resumed when all is done: %d %q", late.status, got)
	}

	// The id of the stream is of no use to anybody else.
	bob := s.Token(t, "bob")
	for name, test := range map[string]struct {
		token, session, id string
		status             int
	}{
		"another user in the session":               {bob, session, id, 404},
		"another user in a session of their own":    {bob, s.Open(t, bob, gatewaytest.Legacy), id, 400},
		"another session of the user":               {token, s.Open(t, token, gatewaytest.Legacy), id, 400},
		"an event that was never sent":              {token, session, id + "9", 400},
		"a stream that never was":                   {token, session, "AAAA_1", 400},
		"no id":                                     {token, session, "1", 400},
		"an id below all":                           {token, session, strings.Split(id, "_")[0] + "_-1", 400},
		"an id beyond all":                          {token, session, strings.Split(id, "_")[0] + "_" + strconv.Itoa(math.MaxInt), 400},
		"the standalone stream, which sent nothing": {token, session, "_0", 400},
	} {
		e := resume(test.token, test.session, test.id)
		if body := e.next(); e.status != test.status || strings.Contains(body, "progress") || strings.Contains(body, "done") {
			t.Errorf("%s: %d %q, want %d", name, e.status, body, test.status)
		}
	}
}

func TestResumeTheStandaloneStream(t *testing.T) {
	numbers := make(chan int)
	s := gatewaytest.Start(t, gateway.Config{Factory: teller(numbers, 0).Make})
	token := s.Token(t, "alice")
	session := s.Open(t, token, gatewaytest.Legacy)
	get := func(id ...string) (e *events) {
		gatewaytest.Eventually(t, "the stream is free", func() bool {
			e = openStream(t, s, gatewaytest.Request{Method: "GET", Token: token, Session: session, Version: gatewaytest.Legacy, Header: map[string][]string{"Last-Event-ID": id}})
			return e.status != http.StatusConflict
		})
		return e
	}
	stream := get()
	call := openStream(t, s, gatewaytest.Request{Token: token, Session: session, Version: gatewaytest.Legacy, Body: gatewaytest.CallTool(5, "broadcast", "{}")})
	numbers <- 1
	numbers <- 2
	if one, two := note(stream.next()), note(stream.next()); one != "1" || two != "2" {
		t.Fatalf("first: %q, %q", one, two)
	}
	stream.body.Close()
	numbers <- 3
	numbers <- 4
	stream = get(stream.id)
	three, four := note(stream.next()), note(stream.next())
	numbers <- 5
	if five := note(stream.next()); three != "3" || four != "4" || five != "5" {
		t.Errorf("resumed: %q, %q, %q", three, four, five)
	}
	stream.body.Close()
	stream = get(stream.id)
	numbers <- 6
	if six := note(stream.next()); six != "6" {
		t.Errorf("resumed with nothing missed: %q", six)
	}
	close(numbers)
	if got := note(call.next()); got != "done" {
		t.Errorf("the call: %q", got)
	}
	stream.body.Close() // for the gateway to stop at once
}

// What is bounded is forgotten: then a client is told so, and can begin anew.
func TestResumeWhatIsForgotten(t *testing.T) {
	numbers := make(chan int)
	s := gatewaytest.Start(t, gateway.Config{Factory: teller(numbers, 1000).Make, ReplayBytes: 20_000})
	token := s.Token(t, "alice")
	session := s.Open(t, token, gatewaytest.Legacy)
	get := func(id ...string) (e *events) {
		gatewaytest.Eventually(t, "the stream is free", func() bool {
			e = openStream(t, s, gatewaytest.Request{Method: "GET", Token: token, Session: session, Version: gatewaytest.Legacy, Header: map[string][]string{"Last-Event-ID": id}})
			return e.status != http.StatusConflict
		})
		return e
	}
	stream := get()
	openStream(t, s, gatewaytest.Request{Token: token, Session: session, Version: gatewaytest.Legacy, Body: gatewaytest.CallTool(5, "broadcast", "{}")})
	numbers <- 1
	if got := note(stream.next()); got != "1" {
		t.Fatalf("first: %q", got)
	}
	id := stream.id
	stream.body.Close()
	for n := 2; n <= 30; n++ {
		numbers <- n
	}
	if e := get(id); e.status != http.StatusBadRequest {
		t.Errorf("after what is forgotten: %d %q", e.status, e.next())
	}
	stream = get()
	var got []string
	for len(got) == 0 || got[len(got)-1] != "30" {
		got = append(got, note(stream.next()))
	}
	// A quarter of all is kept, and the last may have come after that.
	if got[0] == "26" {
		got = got[1:]
	}
	if want := []string{"27", "28", "29", "30"}; !slices.Equal(got, want) {
		t.Errorf("anew: %q, want %q", got, want)
	}
	numbers <- 31
	if got := note(stream.next()); got != "31" {
		t.Errorf("live: %q", got)
	}
	// The new ids count from anew, and are good for resuming.
	id = stream.id
	stream.body.Close()
	numbers <- 32
	stream = get(id)
	if got := note(stream.next()); got != "32" {
		t.Errorf("resumed: %q", got)
	}
	close(numbers)
	stream.body.Close()
}

func TestWithoutReplayNothingIsResumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := benchWith(nil, func(c *inproc.Config) { c.Limits.ReplayBytes = 0 })
		defer b.end(t)
		session := b.open(t)
		if w := b.call(t.Context(), session, "hello"); text(w) != "hello" || strings.Contains(w.Body.String(), "id: ") {
			t.Errorf("a call: %d %s", w.Code, w.Body)
		}
		w := b.askWith(asAlice(t.Context(), time.Time{}), "GET", session, gatewaytest.Legacy, "", http.Header{"Last-Event-Id": {"_0"}})
		if w.Code != http.StatusBadRequest {
			t.Errorf("GET to resume: %d %s", w.Code, w.Body)
		}
	})
}

// Many sessions with many calls stay within the bound, and leave nothing.
func TestReplayIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bound = 100_000
		b := benchWith(func(server *mcp.Server) {
			gatewaytest.AddTool(server, "long", func(_ context.Context, r *mcp.CallToolRequest) (string, error) { return strings.Repeat("x", 5000), nil })
			gatewaytest.AddTool(server, "huge", func(_ context.Context, r *mcp.CallToolRequest) (string, error) {
				return strings.Repeat("x", 2*bound), nil
			})
		}, func(c *inproc.Config) { c.Limits.ReplayBytes = bound })
		most := 0
		for range 20 {
			session := b.open(t)
			for i, tool := range []string{"hello", "long", "huge", "long", "hello"} {
				b.ask(t.Context(), "POST", session, gatewaytest.Legacy, gatewaytest.CallTool(i, tool, "{}"))
				counted, real := b.ReplaySize()
				if counted != real || counted > bound {
					t.Fatalf("%d bytes are counted, %d are there; the bound is %d", counted, real, bound)
				}
				most = max(most, counted)
			}
		}
		if most < bound*9/10 {
			t.Errorf("only %d bytes of %d are ever used", most, bound)
		}
		b.end(t)
		if counted, real := b.ReplaySize(); counted != 0 || real != 0 {
			t.Errorf("in the end, %d bytes are counted and %d are there", counted, real)
		}
	})
}

func after(store inproc.SessionReplay, stream string, index int) (events []string, err error) {
	kept, err := store.After(stream, index)
	for _, data := range kept {
		events = append(events, string(data))
	}
	return events, err
}

// FuzzReplay plays what streams may do against a model that forgets nothing:
// who resumes gets all of what the model has from there on, or an error.
func FuzzReplay(f *testing.F) {
	f.Add([]byte("\x10\x00\x01\x02\x03"))
	f.Add([]byte("\x01\x00\x01\xff\x02\x09\x11\x22\x33\x44\x55\x66"))
	for seed := range 20 {
		ops := make([]byte, 600)
		x := uint32(seed + 1)
		for i := range ops {
			x = x*1664525 + 1013904223
			ops[i] = byte(x >> 24)
		}
		f.Add(ops)
	}
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) == 0 {
			return
		}
		bound := int(ops[0]) * 40
		all := inproc.NewReplay(bound)
		type key struct {
			session int
			stream  string
		}
		stores := make([]inproc.SessionReplay, 3)
		model := map[key][]string{} // of streams that have been opened
		reset := func(n int) {
			stores[n] = all.Session([]string{"alice", "alice", "bob"}[n])
			for k := range model {
				if k.session == n {
					delete(model, k)
				}
			}
		}
		for n := range stores {
			reset(n)
		}
		for i := 1; i+2 < len(ops); i += 3 {
			k := key{int(ops[i+1]) % 3, []string{"", "a", "b"}[ops[i+1]/3%3]}
			store, events := stores[k.session], model[k]
			switch ops[i] % 8 {
			default: // append
				if _, open := model[k]; !open {
					store.Open(k.stream)
				}
				event := fmt.Sprint(i, strings.Repeat("x", int(ops[i+2])))
				err := store.Append(k.stream, []byte(event))
				model[k] = append(events, event)
				if err != nil || len(events) == 0 {
					break
				}
				if got, afterErr := after(store, k.stream, len(events)-1); !slices.Equal(got, []string{event}) {
					t.Fatalf("bound %d: what was kept in %v is gone at once: %q, %v of %.3q", bound, k, got, afterErr, model[k])
				}
			case 5, 6: // resume
				index := int(ops[i+2]) % (len(events) + 2)
				got, err := after(store, k.stream, index)
				if err != nil && !errors.Is(err, mcp.ErrEventsPurged) {
					t.Fatal(err)
				}
				if err == nil && (index >= len(events) || !slices.Equal(got, events[index+1:])) {
					t.Fatalf("after %d of %q: %q", index, events, got)
				}
			case 7: // a new GET, or the end of the session
				if ops[i+2] < 64 {
					if store.Close(); store.Append(k.stream, []byte("late")) == nil {
						t.Fatal("a closed session takes events")
					}
					store.Open("late")
					after(store, "late", -1)
					reset(k.session)
					break
				}
				if _, open := model[k]; !open {
					break
				}
				got, err := after(store, k.stream, -1)
				if err != nil || len(got) > len(events) || !slices.Equal(got, events[len(events)-len(got):]) {
					t.Fatalf("anew: %q, %v of %q", got, err, events)
				}
				model[k] = got // and counts from zero
			}
			if counted, real := all.Size(); counted != real || counted > bound {
				t.Fatalf("%d bytes are counted, %d are there; the bound is %d", counted, real, bound)
			}
		}
		for n := range stores {
			stores[n].Close()
		}
		if counted, real := all.Size(); counted != 0 || real != 0 {
			t.Fatalf("in the end, %d bytes are counted and %d are there", counted, real)
		}
	})
}

// A stream that others have pushed out can be opened, and resumed, anew.
func TestForgottenStreamBeginsAnew(t *testing.T) {
	all := inproc.NewReplay(2000)
	store, other := all.Session("alice"), all.Session("alice")
	store.Open("")
	store.Append("", []byte("before"))
	for i := range 10 {
		other.Open(strconv.Itoa(i))
	}
	if err := store.Append("", []byte("lost")); !errors.Is(err, mcp.ErrEventsPurged) {
		t.Errorf("what cannot be kept: %v", err)
	}
	if got, err := after(store, "", 0); !errors.Is(err, mcp.ErrEventsPurged) {
		t.Errorf("resumed: %q, %v", got, err)
	}
	if got, err := after(store, "", -1); err != nil || len(got) != 0 {
		t.Errorf("anew: %q, %v", got, err)
	}
	for _, event := range []string{"one", "two"} {
		if err := store.Append("", []byte(event)); err != nil {
			t.Error(err)
		}
	}
	if got, err := after(store, "", 0); err != nil || !slices.Equal(got, []string{"two"}) {
		t.Errorf("resumed: %q, %v", got, err)
	}
}

// However many streams some users have, others can resume theirs.
func TestReplayOfSomeIsNotAtTheCostOfOthers(t *testing.T) {
	all := inproc.NewReplay(100_000)
	quiet := all.Session("quiet")
	quiet.Open("")
	quiet.Append("", []byte("first"))
	quiet.Append("", []byte("second"))
	for n := range 10 {
		for session := range 4 {
			loud := all.Session(fmt.Sprint("loud-", n))
			for i := range 10 {
				stream := fmt.Sprint(session, i)
				loud.Open(stream)
				if err := loud.Append(stream, make([]byte, 5000)); err != nil {
					t.Fatal(err)
				}
				if _, err := loud.After(stream, 0); err != nil {
					t.Fatalf("user %d, what was sent last: %v", n, err)
				}
			}
		}
		if got, err := after(quiet, "", 0); err != nil || !slices.Equal(got, []string{"second"}) {
			t.Fatalf("beside %d users: %q, %v", n+1, got, err)
		}
		if counted, real := all.Size(); counted != real || counted > 100_000 {
			t.Fatalf("%d bytes are counted, %d are there", counted, real)
		}
	}
}

// A session keeps the last few streams that its client has stayed with, since
// what was sent last may be lost on the way, and lets go of those before.
func TestDeliveredStreamsAreLetGo(t *testing.T) {
	store := inproc.NewReplay(1 << 20)
	session, other := store.Session("alice"), store.Session("bob")
	begin := func(in inproc.SessionReplay, stream string) {
		t.Helper()
		in.Open(stream)
		if err := in.Append(stream, []byte(stream)); err != nil {
			t.Fatal(err)
		}
	}
	kept := func(in inproc.SessionReplay, stream string) bool {
		_, err := in.After(stream, 0)
		return err == nil
	}
	begin(session, "broken")
	begin(other, "of another session")
	other.Deliver("of another session")
	for i := range 20 {
		stream := strconv.Itoa(i)
		begin(session, stream)
		session.Deliver(stream)
	}
	for i := range 20 {
		if got, want := kept(session, strconv.Itoa(i)), i >= 4; got != want {
			t.Errorf("stream %d of 20: kept = %t, want %t", i, got, want)
		}
	}
	if !kept(session, "broken") || !kept(other, "of another session") {
		t.Error("a stream went that its client has left, or that is another session's")
	}
}
