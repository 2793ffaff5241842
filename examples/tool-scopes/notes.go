package main

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/mcpauth-go/mcpauth/tool"
)

// notes outlives the servers of its users, as a database would, and is busy
// each other time that something is to be added, as a database may be.
var notes = struct {
	sync.Mutex
	of   map[string][]string // by principal
	busy bool
}{of: map[string][]string{}}

var errBusy = errors.New("the notes are busy, please try again")

type note struct {
	Text string `json:"text"`
}

type list struct {
	Notes []string `json:"notes"`
}

// addNote says what may be done again: only the handler knows that nothing has
// happened yet.
func addNote(_ context.Context, call *tool.Call, in note) (list, error) {
	notes.Lock()
	defer notes.Unlock()
	if notes.busy = !notes.busy; notes.busy {
		return list{}, tool.Retryable(errBusy)
	}
	user := call.Identity.Principal()
	notes.of[user] = append(notes.of[user], in.Text)
	return list{slices.Clone(notes.of[user])}, nil
}

func listNotes(_ context.Context, call *tool.Call, _ struct{}) (list, error) {
	notes.Lock()
	defer notes.Unlock()
	return list{append([]string{}, notes.of[call.Identity.Principal()]...)}, nil
}

func dropTable(context.Context, *tool.Call, struct{}) (list, error) {
	notes.Lock()
	defer notes.Unlock()
	clear(notes.of)
	return list{Notes: []string{}}, nil
}
