package tool_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/tool"
)

type query struct {
	Project string `json:"project" jsonschema:"the project whose issues are listed"`
}

type issues struct {
	Titles []string `json:"titles"`
}

func Example() {
	list := func(ctx context.Context, call *tool.Call, in query) (issues, error) {
		user, key := call.Identity.UserID(), call.Credential.Token
		return trackerIssues(ctx, user, key, in.Project)
	}
	add := func(server *mcp.Server) {
		tool.Add(server, &mcp.Tool{Name: "issues", Description: "Lists your issues."}, list,
			tool.Log(slog.New(slog.DiscardHandler)),
			tool.RequireCredential("Connect your tracker first."),
			tool.Timeout(10*time.Second),
			tool.Retry(tool.RetryPolicy{}))
	}

	call(alice.with("alice's key"), add, "issues", query{"garden"})
	call(bob, add, "issues", query{"garden"})
	// Output:
	// {"titles":["garden: water alice's roses"]}
	// failed: Connect your tracker first.
}

// A tool whose result is text, and not data for programs.
func ExampleAdd_content() {
	greet := func(_ context.Context, call *tool.Call, _ struct{}) (*mcp.CallToolResult, error) {
		text := "Good morning, " + call.Identity.UserID() + "."
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil
	}
	call(alice, func(server *mcp.Server) { tool.Add(server, &mcp.Tool{Name: "greet"}, greet) }, "greet", nil)
	// Output: Good morning, alice.
}

// The steps of all tools of a server, in one place.
func ExampleCompose() {
	usual := tool.Compose(
		tool.Log(slog.New(slog.DiscardHandler)),
		tool.Timeout(10*time.Second),
	)
	add := func(server *mcp.Server) {
		tool.Add(server, &mcp.Tool{Name: "read"}, says("milk, eggs", nil), usual, tool.RequireScopes("notes:read"))
		tool.Add(server, &mcp.Tool{Name: "share"}, says("shared", nil), usual, tool.RequireScopes("notes:share"))
	}
	call(alice, add, "read", nil)
	call(alice, add, "share", nil)
	// Output:
	// "milk, eggs"
	// failed: insufficient_scope: The token lacks scopes that this tool needs: notes:share.
}

// A step of one's own.
func ExampleStep() {
	// closed refuses calls while the shop is closed.
	closed := func(open func(time.Time) bool) tool.Step {
		return func(ctx context.Context, call *tool.Call, next func(context.Context) error) error {
			if !open(time.Now()) {
				return fmt.Errorf("sorry, %s: we are closed", call.Identity.UserID())
			}
			return next(ctx)
		}
	}
	never := func(time.Time) bool { return false }
	call(alice, func(server *mcp.Server) {
		tool.Add(server, &mcp.Tool{Name: "order"}, says("ordered", nil), closed(never))
	}, "order", nil)
	// Output: failed: sorry, alice: we are closed
}

// A handler says which of its failures may be tried again: here those of a
// read that the API did not get to.
func ExampleRetryable() {
	answers := []int{http.StatusServiceUnavailable, http.StatusOK}
	fetch := func(context.Context, *tool.Call, struct{}) (string, error) {
		status := answers[0]
		answers = answers[1:]
		switch status {
		case http.StatusOK:
			return "sunny", nil
		case http.StatusServiceUnavailable, http.StatusTooManyRequests:
			return "", tool.Retryable(errors.New("the weather service is busy"))
		}
		return "", errors.New("the weather service failed")
	}
	call(alice, func(server *mcp.Server) {
		tool.Add(server, &mcp.Tool{Name: "weather"}, fetch, tool.Retry(tool.RetryPolicy{Wait: time.Millisecond}))
	}, "weather", nil)
	// Output: "sunny"
}

// What the log gets, and what the client.
func ExampleLog() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "duration" {
			return slog.Attr{} // so that the example prints the same each time
		}
		return a
	}}))
	book := func(context.Context, *tool.Call, struct{}) (string, error) {
		return "", &mcpauth.Error{Code: mcpauth.ErrForbidden, Message: "You cannot book rooms.",
			Cause: errors.New("contract 17 has ended")}
	}
	call(alice, func(server *mcp.Server) { tool.Add(server, &mcp.Tool{Name: "book"}, book, tool.Log(logger)) }, "book", nil)
	// Output:
	// level=INFO msg="tool called" tool=book user.issuer=team user.user=alice outcome=refused refusal.code=forbidden refusal.message="You cannot book rooms." refusal.cause="contract 17 has ended"
	// failed: forbidden: You cannot book rooms.
}

func ExampleCall_Progress() {
	copyAll := func(ctx context.Context, call *tool.Call, _ struct{}) (string, error) {
		files := []string{"a", "b", "c"}
		for i, name := range files {
			if err := call.Progress(ctx, float64(i), float64(len(files)), "copying "+name); err != nil {
				return "", err
			}
		}
		return "copied", nil
	}
	call(alice, func(server *mcp.Server) { tool.Add(server, &mcp.Tool{Name: "copy"}, copyAll) }, "copy", nil)
	// Output: "copied"
}

// A handler is a function, and can be tested as one.
func ExampleHandler() {
	var whoami tool.Handler[struct{}, string] = func(_ context.Context, call *tool.Call, _ struct{}) (string, error) {
		return call.Identity.UserID(), nil
	}
	id, _ := mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: "test", UserID: "alice"})
	fmt.Println(whoami(context.Background(), &tool.Call{Identity: id}, struct{}{}))
	// Output: alice <nil>
}

func trackerIssues(_ context.Context, user string, key mcpauth.Secret, project string) (issues, error) {
	if key.Reveal() != user+"'s key" {
		return issues{}, errors.New("the tracker does not know this key")
	}
	return issues{Titles: []string{project + ": water " + user + "'s roses"}}, nil
}

// call prints what who gets from a tool of a server made by add. The
// middleware does what the gateway does for a server behind it.
func call(who caller, add func(*mcp.Server), name string, arguments any) {
	ctx := context.Background()
	server := mcp.NewServer(&mcp.Implementation{Name: "example", Version: "1"}, nil)
	server.AddReceivingMiddleware(who.present)
	add(server)
	there, here := mcp.NewInMemoryTransports()
	if _, err := server.Connect(ctx, there, nil); err != nil {
		fmt.Println(err)
		return
	}
	session, err := mcp.NewClient(&mcp.Implementation{Name: "example", Version: "1"}, nil).Connect(ctx, here, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer session.Close()
	result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: name, Arguments: arguments})
	if err != nil {
		fmt.Println(err)
		return
	}
	var text strings.Builder
	if result.IsError {
		text.WriteString("failed: ")
	}
	for _, content := range result.Content {
		text.WriteString(content.(*mcp.TextContent).Text)
	}
	fmt.Println(text.String())
}
