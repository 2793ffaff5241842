package login

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/metadata"
	"github.com/mcpauth-go/mcpauth/internal/outbound"
	"github.com/mcpauth-go/mcpauth/internal/strictjson"
)

// Client logs in and hands out tokens. It is safe for concurrent use.
type Client struct {
	config Config
	server *metadata.Server
	flight singleflight.Group

	known       atomic.Pointer[metadata.Document]
	discovering chan struct{} // room for one
}

// New returns a Client for c. The error, a *mcpauth.ConfigError, has everything
// that is wrong with the configuration. It asks nothing of the network, and
// opens no file but the CAFile.
func New(c Config) (*Client, error) {
	c = c.withDefaults()
	if faults := c.faults(); len(faults) > 0 {
		return nil, &mcpauth.ConfigError{Package: "login", Faults: faults}
	}
	return &Client{config: c, server: metadata.NewServer(c.metadata()), discovering: make(chan struct{}, 1)}, nil
}

// Close closes connections that are not in use.
func (c *Client) Close() error {
	c.server.Close()
	return nil
}

// Login has the user log in with a browser, and stores what that brings. show is
// called once, with the URL that the user is to open. user is the "sub" of the ID
// token, "" without the scope openid. ctx bounds how long the user may take.
func (c *Client) Login(ctx context.Context, show func(url string)) (user string, err error) {
	server, err := c.discover(ctx)
	if err != nil {
		return "", err
	}
	if server.ChallengeMethods != nil && !slices.Contains(server.ChallengeMethods, "S256") {
		return "", fmt.Errorf("login: the authorization server offers PKCE with %q only, and not with S256", server.ChallengeMethods)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(c.config.Port)))
	if err != nil {
		return "", fmt.Errorf("login: %w", err)
	}
	flow := flow{state: rand.Text(), nonce: rand.Text(), verifier: oauth2.GenerateVerifier(), host: listener.Addr().String()}
	flow.config = c.oauth2(server)
	flow.config.RedirectURL = "http://" + flow.host + callbackPath

	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(flow.verifier)}
	if c.openID() {
		options = append(options, oauth2.SetAuthURLParam("nonce", flow.nonce))
	}
	if c.config.Resource != "" {
		options = append(options, oauth2.SetAuthURLParam("resource", c.config.Resource))
	}
	answer, err := flow.await(ctx, listener, server, func() { show(flow.config.AuthCodeURL(flow.state, options...)) })
	if err != nil {
		return "", err
	}
	options = []oauth2.AuthCodeOption{oauth2.VerifierOption(flow.verifier)}
	got, err := c.ask(ctx, flow.config, answer.code, options...)
	if err != nil {
		return "", err
	}
	t, err := asTokens(got)
	if err != nil {
		return "", err
	}
	if c.openID() {
		if t.User, err = c.verifyIDToken(ctx, server, got, flow.nonce); err != nil {
			return "", err
		}
	}
	return t.User, c.config.locked(ctx, func() error { return c.config.save(t) })
}

func (c *Client) openID() bool { return slices.Contains(c.config.Scopes, "openid") }

// remaining is how long a token must still be good to be handed out, so that
// there is time to use it.
const remaining = time.Minute

// Token returns an access token that is good for a while. It is refreshed where
// it is not, once for all who ask at the same time, other processes included.
// The error is ErrNoLogin when the user has to log in.
func (c *Client) Token(ctx context.Context) (mcpauth.Secret, error) {
	// A refresh token that has been used is none any more, so that the refresh
	// must come to its end when those leave who wait for it.
	landed := c.flight.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*c.config.Timeout)
		defer cancel()
		var t tokens
		err := c.config.locked(ctx, func() (err error) {
			t, err = c.fresh(ctx)
			return err
		})
		return t, err
	})
	select {
	case result := <-landed:
		if result.Err != nil {
			return mcpauth.Secret{}, result.Err
		}
		return result.Val.(tokens).Access, nil
	case <-ctx.Done():
		return mcpauth.Secret{}, fmt.Errorf("login: %w", context.Cause(ctx))
	}
}

func (c *Client) fresh(ctx context.Context) (tokens, error) {
	t, err := c.config.load()
	if err != nil {
		return tokens{}, err
	}
	left := time.Until(t.Expiry)
	switch {
	case t.Expiry.IsZero() || left > remaining:
		return t, nil
	case t.Refresh.IsZero() && left > 0:
		return t, nil
	case t.Refresh.IsZero():
		return tokens{}, fmt.Errorf("%w: the token has expired, and there is none to refresh it with", ErrNoLogin)
	}
	next, err := c.refresh(ctx, t)
	if err != nil {
		var refused *Refusal
		switch {
		case errors.As(err, &refused) && refused.Code == "invalid_grant":
			return tokens{}, fmt.Errorf("%w: %w", ErrNoLogin, err)
		case left > 0:
			return t, nil // still good, though not for long
		}
		return tokens{}, err
	}
	// Before it is used: the token before it is none any more.
	return next, c.config.save(next)
}

func (c *Client) refresh(ctx context.Context, t tokens) (tokens, error) {
	server, err := c.discover(ctx)
	if err != nil {
		return tokens{}, err
	}
	// The library's own refresh takes no parameters. An empty "code" is as good
	// as none (RFC 6749, section 3.2).
	options := []oauth2.AuthCodeOption{oauth2.SetAuthURLParam("grant_type", "refresh_token"), oauth2.SetAuthURLParam("refresh_token", t.Refresh.Reveal())}
	got, err := c.ask(ctx, c.oauth2(server), "", options...)
	if err != nil {
		return tokens{}, err
	}
	next, err := asTokens(got)
	next.User = t.User
	return next, err
}

func (c *Client) oauth2(server metadata.Document) *oauth2.Config {
	style := oauth2.AuthStyleInParams
	if !c.config.ClientSecret.IsZero() {
		style = oauth2.AuthStyleInHeader
	}
	return &oauth2.Config{
		ClientID: c.config.ClientID, ClientSecret: c.config.ClientSecret.Reveal(), Scopes: c.config.Scopes,
		Endpoint: oauth2.Endpoint{AuthURL: server.Authorization, TokenURL: server.Token, AuthStyle: style},
	}
}

// discover returns the metadata, which is asked for once.
func (c *Client) discover(ctx context.Context) (metadata.Document, error) {
	if d := c.known.Load(); d != nil {
		return *d, nil
	}
	// One at a time: whoever has waited finds what the other has found.
	select {
	case c.discovering <- struct{}{}:
		defer func() { <-c.discovering }()
	case <-ctx.Done():
		return metadata.Document{}, fmt.Errorf("login: %w", context.Cause(ctx))
	}
	if d := c.known.Load(); d != nil {
		return *d, nil
	}
	d, err := c.server.Discover(ctx)
	if err != nil {
		return d, fmt.Errorf("login: %w", err)
	}
	for _, at := range []struct{ name, url string }{{"authorization_endpoint", d.Authorization}, {"token_endpoint", d.Token}} {
		if err := outbound.CheckURL(at.url, c.config.PlainHTTPHosts); err != nil {
			return d, fmt.Errorf("login: %q of the issuer's metadata: %w", at.name, err)
		}
	}
	c.known.Store(&d)
	return d, nil
}

// Refusal is what the authorization server says in place of tokens.
type Refusal struct {
	Code        string // "error", as in RFC 6749, sections 4.1.2.1 and 5.2
	Description string // "error_description", or ""
}

func (r *Refusal) Error() string {
	text := "the authorization server refuses: " + r.Code
	if r.Description != "" {
		text += " (" + r.Description + ")"
	}
	return text
}

func refusal(code, description string) *Refusal {
	return &Refusal{printable(code), printable(description)}
}

// printable keeps what others write from moving the cursor of a terminal.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	if runes := []rune(s); len(runes) > 200 {
		s = string(runes[:200]) + "…"
	}
	return s
}

// ask has the token endpoint give tokens.
func (c *Client) ask(ctx context.Context, config *oauth2.Config, code string, options ...oauth2.AuthCodeOption) (*oauth2.Token, error) {
	if c.config.Resource != "" {
		options = append(options, oauth2.SetAuthURLParam("resource", c.config.Resource))
	}
	ctx = context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Transport: transport{c.server.Found()}})
	got, err := config.Exchange(ctx, code, options...)
	if err == nil {
		return got, nil
	}
	// The texts of the library have the whole answer.
	var refused *oauth2.RetrieveError
	var sent *url.Error
	switch {
	case errors.As(err, &refused) && refused.ErrorCode != "":
		return nil, fmt.Errorf("login: %w", refusal(refused.ErrorCode, refused.ErrorDescription))
	case errors.As(err, &refused):
		return nil, fmt.Errorf("login: the token endpoint answered with status %d", refused.Response.StatusCode)
	case errors.As(err, &sent):
		return nil, fmt.Errorf("login: %w", sent.Err)
	}
	return nil, errors.New("login: the token endpoint gave no token that can be understood")
}

func asTokens(got *oauth2.Token) (tokens, error) {
	switch {
	case !strings.EqualFold(got.TokenType, "Bearer"):
		return tokens{}, fmt.Errorf("login: the token is of the type %q, not Bearer", printable(got.TokenType))
	case strings.ContainsFunc(got.AccessToken, func(r rune) bool { return r <= ' ' || r > '~' }):
		return tokens{}, errors.New("login: the token has characters that no token has")
	}
	return tokens{Access: mcpauth.NewSecret(got.AccessToken), Refresh: mcpauth.NewSecret(got.RefreshToken), Expiry: got.Expiry}, nil
}

// transport makes the library's requests by the rules of package outbound, and
// takes answers in strict JSON only.
type transport struct{ client *outbound.Client }

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Accept", "application/json")
	answer, err := t.client.Do(r)
	if err != nil {
		return nil, err
	}
	if answer.Status == http.StatusOK {
		if err := strictjson.Object(answer.Body, func(_, _ []byte) error { return nil }); err != nil {
			return nil, fmt.Errorf("the answer of the token endpoint: %w", err)
		}
	}
	answer.Header.Set("Content-Type", "application/json")
	return &http.Response{
		StatusCode: answer.Status, Header: answer.Header, Body: io.NopCloser(bytes.NewReader(answer.Body)), Request: r,
		ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(answer.Body)),
	}, nil
}
