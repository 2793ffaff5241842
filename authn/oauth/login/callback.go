package login

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/oauth2"

	"github.com/mcpauth-go/mcpauth/internal/metadata"
)

// flow is one login under way.
type flow struct {
	config                 *oauth2.Config
	state, nonce, verifier string
	host                   string // that the browser comes back to
}

// callback is what the browser brings back.
type callback struct {
	code, state        string
	issuer             string
	hasIssuer          bool
	error, errorDetail string
}

const maxQuery = 16 << 10

// parseCallback reads the query of the redirect. Whatever counts is there once.
func parseCallback(query string) (callback, error) {
	var c callback
	if len(query) > maxQuery {
		return c, errors.New("the answer is too long")
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return c, errors.New("the answer is not a query")
	}
	for _, parameter := range []struct {
		name  string
		value *string
	}{{"code", &c.code}, {"state", &c.state}, {"iss", &c.issuer}, {"error", &c.error}, {"error_description", &c.errorDetail}} {
		all := values[parameter.name]
		if len(all) > 1 {
			return callback{}, fmt.Errorf("the answer has %q twice", parameter.name)
		}
		if len(all) == 1 {
			*parameter.value = all[0]
		}
	}
	c.hasIssuer = values.Has("iss")
	return c, nil
}

// judge says what is wrong with an answer to this login, whose state fits.
func (c callback) judge(server metadata.Document) error {
	switch {
	// Before anything is believed of it, an error included: an answer of another
	// server's is what RFC 9207 is about.
	case c.hasIssuer && c.issuer != server.Issuer:
		return fmt.Errorf("login: the answer is of issuer %q, not of %q", printable(c.issuer), server.Issuer)
	case !c.hasIssuer && server.IssParameter:
		return errors.New(`login: the answer has no "iss", which the issuer's metadata promises`)
	case c.error != "":
		return fmt.Errorf("login: %w", refusal(c.error, c.errorDetail))
	case c.code == "":
		return errors.New("login: the answer has neither a code nor an error")
	}
	return nil
}

// mine reports whether an answer is to this login.
func (f flow) mine(c callback) bool {
	return subtle.ConstantTimeCompare([]byte(c.state), []byte(f.state)) == 1
}

// await serves the redirect until the browser has come back with the answer to
// this login. Any page can send a browser here with something else, which ends
// nothing.
func (f flow) await(ctx context.Context, listener net.Listener, server metadata.Document, begin func()) (callback, error) {
	type result struct {
		answer callback
		err    error
	}
	came := make(chan result, 1)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer") // the query has the code
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		if r.Method != http.MethodGet || r.URL.Path != callbackPath || r.Host != f.host {
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, page("Nothing here", "This is where a login comes back to."))
			return
		}
		answer, err := parseCallback(r.URL.RawQuery)
		if err != nil || !f.mine(answer) {
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, page("Not this login", "This is not the answer to the login under way. Please use the link that the terminal shows."))
			return
		}
		err = answer.judge(server)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, page("Login failed", "The terminal says why. You can close this window."))
		} else {
			io.WriteString(w, page("Thank you", "You can close this window and go back to the terminal."))
		}
		select {
		case came <- result{answer, err}:
		default: // the browser has been here before
		}
	})
	s := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(listener)
	}()
	defer func() {
		// The page is on its way.
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if s.Shutdown(ctx) != nil {
			s.Close()
		}
		<-served
	}()
	begin()
	select {
	case r := <-came:
		return r.answer, r.err
	case <-ctx.Done():
		return callback{}, fmt.Errorf("login: nobody has come back from the browser: %w", context.Cause(ctx))
	}
}

// page holds nothing that a request brings.
func page(title, text string) string {
	return `<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>` + title + `</title>
<style>body{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:20vh auto;padding:0 1rem;color:#222;background:#fff}
@media (prefers-color-scheme:dark){body{color:#ddd;background:#1a1a1a}}</style></head>
<body><h1>` + title + `</h1><p>` + text + `</p></body></html>
`
}
