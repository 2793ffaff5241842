package demo

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth/gateway"
)

// notebook keeps each user's notes. It outlives the users' servers.
type notebook struct {
	mu     sync.Mutex
	lastID int
	notes  map[string][]note // by principal
}

type note struct {
	ID   int    `json:"id"`
	Text string `json:"text"`
}

// server is the gateway's factory: a server that sees one user's notes.
func (b *notebook) server(_ context.Context, call gateway.Call) (gateway.Instance, error) {
	owner := call.Identity.Principal()
	server := mcp.NewServer(&mcp.Implementation{Name: "notes", Title: "Notes of " + call.Identity.UserID(), Version: "1"}, nil)

	type add struct {
		Text string `json:"text" jsonschema:"what to remember"`
	}
	mcp.AddTool(server, &mcp.Tool{Name: "add_note", Description: "Adds a note."},
		func(_ context.Context, _ *mcp.CallToolRequest, in add) (*mcp.CallToolResult, note, error) {
			return nil, b.add(owner, in.Text), nil
		})

	type list struct {
		Notes []note `json:"notes"`
	}
	mcp.AddTool(server, &mcp.Tool{Name: "list_notes", Description: "Lists your notes."},
		func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, list, error) {
			return nil, list{b.list(owner)}, nil
		})

	type remove struct {
		ID int `json:"id" jsonschema:"the note's id"`
	}
	mcp.AddTool(server, &mcp.Tool{Name: "delete_note", Description: "Deletes a note."},
		func(_ context.Context, _ *mcp.CallToolRequest, in remove) (*mcp.CallToolResult, list, error) {
			if !b.remove(owner, in.ID) {
				return nil, list{}, fmt.Errorf("you have no note %d", in.ID)
			}
			return nil, list{b.list(owner)}, nil
		})
	return gateway.Instance{Server: server}, nil
}

func (b *notebook) add(owner, text string) note {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lastID++
	n := note{b.lastID, text}
	b.notes[owner] = append(b.notes[owner], n)
	return n
}

func (b *notebook) list(owner string) []note {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]note{}, b.notes[owner]...)
}

func (b *notebook) remove(owner string, id int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	left := slices.DeleteFunc(slices.Clone(b.notes[owner]), func(n note) bool { return n.ID == id })
	removed := len(left) < len(b.notes[owner])
	b.notes[owner] = left
	return removed
}
