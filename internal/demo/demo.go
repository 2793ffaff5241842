// Package demo is mcpauth in one process, to be seen and tried: an issuer of
// tokens, a notes server that keeps each user's notes apart, and the real
// gateway between them. It is for this machine alone: it listens on loopback,
// its tokens end within the hour, and its issuer signs for nobody but itself.
package demo

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"text/template"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/mint"
)

// tokenTTL is how long the demonstration's tokens live.
const tokenTTL = time.Hour

// Demo is a running demonstration.
type Demo struct {
	// URL is the MCP endpoint.
	URL string
	// Alice and Bob are the tokens of two users.
	Alice, Bob string

	issuer  *issuer
	gateway *gateway.Gateway
	listen  net.Listener
}

// New prepares a demonstration that will listen on addr, a loopback address.
func New(addr string, logger *slog.Logger) (*Demo, error) {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, fmt.Errorf("address %q is not host:port", addr)
	}
	if !mcpauth.LoopbackHost(addr) {
		return nil, fmt.Errorf("address %q is not on loopback: the demonstration has users that anybody can be", addr)
	}
	d := &Demo{}
	var err error
	if d.listen, err = net.Listen("tcp", addr); err != nil {
		return nil, err
	}
	if err := d.assemble(logger); err != nil {
		if d.issuer != nil {
			d.issuer.listen.Close()
		}
		return nil, errors.Join(err, d.listen.Close())
	}
	return d, nil
}

func (d *Demo) assemble(logger *slog.Logger) error {
	var err error
	if d.issuer, err = newIssuer(); err != nil {
		return err
	}
	public := "http://" + d.listen.Addr().String()
	d.URL = public + "/mcp"
	keys, err := d.issuer.signer.JWKS()
	if err != nil {
		return err
	}
	provider, err := jwt.New(jwt.Config{
		Issuers: []jwt.Issuer{{Name: d.issuer.url, Audience: []string{d.URL}, Keys: []jwt.KeySource{jwt.JWKS(keys)}}},
		Logger:  logger,
	})
	if err != nil {
		return err
	}
	book := &notebook{notes: map[string][]note{}}
	d.gateway, err = gateway.New(gateway.Config{
		Provider: provider, Factory: book.server, Addr: d.listen.Addr().String(), PublicURL: public, Logger: logger,
	})
	if err != nil {
		return err
	}
	if d.Alice, err = d.issuer.token(d.claims("alice")); err != nil {
		return err
	}
	d.Bob, err = d.issuer.token(d.claims("bob"))
	return err
}

// claims are those of a good token of user's.
func (d *Demo) claims(user string) map[string]any {
	now := time.Now()
	return map[string]any{
		"iss": d.issuer.url, "aud": d.URL, "userId": user, "email": user + "@example.com",
		"iat": now.Unix(), "exp": now.Add(tokenTTL).Unix(),
	}
}

// Run serves until ctx is done.
func (d *Demo) Run(ctx context.Context) error {
	d.issuer.start()
	return errors.Join(d.gateway.Serve(ctx, d.listen), d.issuer.server.Close())
}

// issuer issues tokens and publishes the key to verify them with.
type issuer struct {
	url    string
	signer *mint.Signer
	listen net.Listener
	server *http.Server
}

func newIssuer() (*issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	signer, err := mint.NewSigner(jwt.ES256, key, "demo-1")
	if err != nil {
		return nil, err
	}
	keys, err := signer.JWKS()
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	routes := http.NewServeMux()
	routes.HandleFunc("GET /jwks.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/jwk-set+json")
		w.Write(keys)
	})
	return &issuer{
		url:    "http://" + listener.Addr().String(),
		signer: signer,
		listen: listener,
		server: &http.Server{Handler: routes, ReadHeaderTimeout: 10 * time.Second},
	}, nil
}

func (i *issuer) start() { go i.server.Serve(i.listen) }

func (i *issuer) token(claims map[string]any) (string, error) { return i.signer.Sign(claims) }

// Explain writes how to try the demonstration.
func (d *Demo) Explain(w io.Writer) error {
	return explanation.Execute(w, struct{ URL, JWKS, Alice, Bob string }{d.URL, d.issuer.url + "/jwks.json", d.Alice, d.Bob})
}

var explanation = template.Must(template.New("").Parse(`This is a demonstration of mcpauth, for this machine only: it listens on
loopback, and its keys and users are made up anew at each start.

  MCP server  {{.URL}}  (tools: add_note, list_notes, delete_note)
  Issuer      keys at {{.JWKS}}

Alice and Bob each have a token for an hour. In another terminal:

  export ALICE={{.Alice}}
  export BOB={{.Bob}}

1. Alice adds a note. Shows the note with its id.

  curl -sS {{.URL}} -H "Authorization: Bearer $ALICE" -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' -d '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add_note","arguments":{"text":"buy milk"}}}'

2. Alice lists her notes. Shows "buy milk".

  curl -sS {{.URL}} -H "Authorization: Bearer $ALICE" -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' -d '{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"list_notes","arguments":{}}}'

3. Bob lists his. Shows none: what is Alice's never reaches him.

  curl -sS {{.URL}} -H "Authorization: Bearer $BOB" -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' -d '{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"list_notes","arguments":{}}}'

4. Nobody in particular tries. Shows 401 and the challenge, without an error.

  curl -sSi {{.URL}} -d '{}'

5. A token that was tampered with. Shows 401 and why.

  curl -sSi {{.URL}} -H "Authorization: Bearer ${ALICE%????????????}AAAAAAAAAAAA" -d '{}'

To use it from Claude Code, as Alice:

  claude mcp add --transport http notes {{.URL}} --header "Authorization: Bearer $ALICE"

Ctrl-C stops it.
`))
