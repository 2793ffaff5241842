package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/mcpauth-go/mcpauth/authn/jwt"
)

// crowd is a client of which one process has many connections at a time.
type crowd struct {
	client
	npm  string
	mode any
}

var crowds = []crowd{
	{client{name: "sdk 1.x", version: "2025-11-25"}, "sdk 1.x", nil},
	{client{name: "client 2.x, by default", version: "2025-11-25"}, "client 2.x", nil},
	{client{name: "client 2.x, 2026-07-28", version: "2026-07-28"}, "client 2.x", map[string]any{"pin": "2026-07-28"}},
}

// connection is one of a crowd's, with the headers that it sends with every
// request, and the calls that it makes at once.
type connection struct {
	Headers map[string]string `json:"headers"`
	Calls   []step            `json:"calls"`
}

// seen is what came of a connection.
type seen struct {
	outcome
	Challenge challenge
}

// challenge is what the client's own functions read out of the last 401.
type challenge struct{ ResourceMetadata, Error string }

// play is for any goroutine.
func (c crowd) play(t *testing.T, url string, connections ...connection) ([]seen, error) {
	input := map[string]any{"url": url, "client": c.npm, "mode": c.mode, "connections": connections}
	out, errs, err := node(t, input, filepath.Join("clients", "many.mjs"))
	var all []seen
	if err == nil {
		err = json.Unmarshal([]byte(out), &all)
	}
	if err == nil && len(all) != len(connections) {
		err = fmt.Errorf("%d answers for %d connections", len(all), len(connections))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s\n%s", c.name, err, out, errs)
	}
	return all, nil
}

// process is one of several that run at the same time.
type process struct {
	crowd
	connections []connection
	seen        []seen
}

// playAll runs processes, all at the same time.
func playAll(t *testing.T, url string, all []*process) {
	t.Helper()
	failed := make([]error, len(all))
	var running sync.WaitGroup
	for i, p := range all {
		running.Go(func() { p.seen, failed[i] = p.crowd.play(t, url, p.connections...) })
	}
	running.Wait()
	if err := errors.Join(failed...); err != nil {
		t.Fatal(err)
	}
}

// staticJWTs returns a provider of an issuer's tokens that knows its key.
func staticJWTs(t *testing.T, issuer, audience string, key signingKey) *jwt.Provider {
	t.Helper()
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := jwt.New(jwt.Config{
		Issuers: []jwt.Issuer{{Name: issuer, Audience: []string{audience}, UserIDClaim: "sub", Keys: []jwt.KeySource{jwt.JWKS(set)}}},
		Logger:  quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
