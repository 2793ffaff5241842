package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
)

// telling makes servers with a tool, "tell", that says how far it has come:
// once when it begins, and the rest when the test lets it proceed. Everything
// that it says has the name of who has called it. A second tool, "grow", adds
// a tool, which the streams of the server are told.
type telling struct {
	gatewaytest.Factory
	began   chan context.Context // of each call, when it begins
	proceed chan struct{}
}

// tale is what "tell" is asked for.
type tale struct {
	Echo  string `json:"echo"`
	Times int    `json:"times"`
}

func newTelling(calls int) *telling {
	f := &telling{began: make(chan context.Context, calls), proceed: make(chan struct{})}
	f.Setup = func(server *mcp.Server, _ gateway.Call) {
		mcp.AddTool(server, &mcp.Tool{Name: "tell"}, f.tell)
		gatewaytest.AddTool(server, "grow", func(context.Context, *mcp.CallToolRequest) (string, error) {
			gatewaytest.AddTool(server, "grown", func(context.Context, *mcp.CallToolRequest) (string, error) { return "", nil })
			return "grown", nil
		})
	}
	return f
}

func (f *telling) tell(ctx context.Context, r *mcp.CallToolRequest, in tale) (*mcp.CallToolResult, any, error) {
	text := mcpauth.FromContext(ctx).UserID() + ", " + in.Echo
	for i := range in.Times {
		err := r.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{
			ProgressToken: r.Params.GetProgressToken(), Progress: float64(i + 1), Total: float64(in.Times), Message: text,
		})
		if err != nil {
			return nil, nil, err
		}
		if i == 0 {
			f.began <- ctx
			select {
			case <-f.proceed:
			case <-ctx.Done():
				return nil, nil, ctx.Err()
			}
		}
	}
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil, nil
}

// tell is a call of "tell", in session or, when that is "", without one. mark,
// JSON, is the progress token.
func tell(token, session string, id int, mark string, in tale) gatewaytest.Request {
	arguments, err := json.Marshal(in)
	if err != nil {
		panic(err)
	}
	if session == "" {
		r := gatewaytest.ModernCall(token, id, "tell", string(arguments))
		r.Body = strings.Replace(r.Body, `"_meta":{`, `"_meta":{"progressToken":`+mark+`,`, 1)
		return r
	}
	return gatewaytest.Request{
		Token: token, Session: session, Version: gatewaytest.Legacy,
		Body: gatewaytest.Message(id, "tools/call", fmt.Sprintf(`{"name":"tell","arguments":%s,"_meta":{"progressToken":%s}}`, arguments, mark)),
	}
}

// told is what the stream of such a call says, in all.
func told(user string, id int, mark string, in tale) []string {
	var all []string
	for i := range in.Times {
		all = append(all, fmt.Sprintf("%s: %d of %d, %s, %s", mark, i+1, in.Times, user, in.Echo))
	}
	return append(all, fmt.Sprintf("answer %d: %s, %s", id, user, in.Echo))
}

// events reads a stream of server-sent events.
type events struct {
	lines *bufio.Reader
	id    string // of the event that came last
}

func newEvents(body io.Reader) *events { return &events{lines: bufio.NewReader(body)} }

// next returns the next message in a form that is easy to compare. Events
// without data, from which clients can resume, are passed over.
func (e *events) next() (string, error) {
	for {
		line, err := e.lines.ReadString('\n')
		if err != nil {
			return "", err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch {
		case name == "id":
			e.id = value
		case name == "data" && value != "":
			return inShort(value), nil
		}
	}
}

// rest returns all that still comes.
func (e *events) rest() ([]string, error) {
	var all []string
	for {
		one, err := e.next()
		if err == io.EOF {
			return all, nil
		} else if err != nil {
			return all, err
		}
		all = append(all, one)
	}
}

// inShort returns what a message says.
func inShort(data string) string {
	var m struct {
		ID     *int
		Method string
		Params struct {
			ProgressToken   json.RawMessage
			Progress, Total float64
			Message         string
		}
		Result *struct {
			Content []struct{ Text string }
			IsError bool
		}
	}
	switch err := json.Unmarshal([]byte(data), &m); {
	case err != nil:
		return fmt.Sprintf("%v in %s", err, data)
	case m.Method == "notifications/progress":
		return fmt.Sprintf("%s: %v of %v, %s", m.Params.ProgressToken, m.Params.Progress, m.Params.Total, m.Params.Message)
	case m.Method == "notifications/tools/list_changed":
		return m.Method
	case m.ID != nil && m.Result != nil && !m.Result.IsError && len(m.Result.Content) == 1:
		return fmt.Sprintf("answer %d: %s", *m.ID, m.Result.Content[0].Text)
	default:
		return data
	}
}

// follow sends r and returns its stream of events, with its first message.
func follow(t *testing.T, s *gatewaytest.Server, ctx context.Context, r gatewaytest.Request) (*events, string) {
	t.Helper()
	resp, err := s.Begin(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || kind != "text/event-stream" {
		body, err := io.ReadAll(resp.Body)
		t.Fatalf("%d %s %s, %v", resp.StatusCode, kind, body, err)
	}
	stream := newEvents(resp.Body)
	one, err := stream.next()
	if err != nil {
		t.Fatal(err)
	}
	return stream, one
}

// sessionIn returns a new session, or "" where version has none.
func sessionIn(t *testing.T, s *gatewaytest.Server, token, version string) string {
	t.Helper()
	if version == gatewaytest.Modern {
		return ""
	}
	return s.Open(t, token, version)
}

var eras = []string{gatewaytest.Legacy, gatewaytest.Modern}

func TestProgressComesAsItIsMade(t *testing.T) {
	for _, version := range eras {
		for _, mark := range []string{`"t"`, `"7"`, `7`} {
			t.Run(version+" "+mark, func(t *testing.T) {
				factory := newTelling(1)
				s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make})
				alice := s.Token(t, "alice")
				asked := tale{"hello", 20}
				want := told("alice", 7, mark, asked)
				stream, first := follow(t, s, t.Context(), tell(alice, sessionIn(t, s, alice, version), 7, mark, asked))
				if first != want[0] {
					t.Errorf("while the tool is at work, the stream says %q, want %q", first, want[0])
				}
				close(factory.proceed)
				if got, err := stream.rest(); err != nil || !slices.Equal(got, want[1:]) {
					t.Errorf("the rest is %q, %v; want %q", got, err, want[1:])
				}
			})
		}
	}
}

// A client whose connection broke gets the rest, each message once.
func TestProgressGoesOnAfterTheConnectionBroke(t *testing.T) {
	factory := newTelling(1)
	s := gatewaytest.Start(t, gateway.Config{Factory: factory.Make})
	alice := s.Token(t, "alice")
	session := s.Open(t, alice, gatewaytest.Legacy)
	asked := tale{"hello", 20}
	want := told("alice", 7, `"t"`, asked)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	stream, _ := follow(t, s, ctx, tell(alice, session, 7, `"t"`, asked))
	leave()
	gatewaytest.Eventually(t, "the server learns of it", func() bool { return s.Stats().Calls == 0 })

	resume := gatewaytest.Request{Method: "GET", Token: alice, Session: session, Version: gatewaytest.Legacy, Header: headers{"Last-Event-ID": {stream.id}}}
	close(factory.proceed)
	stream, second := follow(t, s, t.Context(), resume)
	rest, err := stream.rest()
	if got := append([]string{second}, rest...); err != nil || !slices.Equal(got, want[1:]) {
		t.Errorf("the rest is %q, %v; want %q", got, err, want[1:])
	}
}
