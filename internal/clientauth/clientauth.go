// Package clientauth is how this server, as a client, says who it is to an
// authorization server (RFC 6749, section 2.3; RFC 7523, section 2.2): for
// introspection, token exchange and refresh.
//
//	client, faults := clientauth.New("Client", config)
//	…
//	form := url.Values{"token": {token}}
//	request, err := client.NewRequest(ctx, endpoint, form)
//
// What it puts into a request is for the one endpoint that the request is for.
// Such a request must follow no redirect: see outbound.Client.
package clientauth

import (
	"context"
	"crypto"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/jws"
	"github.com/mcpauth-go/mcpauth/internal/mint"
)

// Method is a way to authenticate, by its name in the IANA registry of OAuth
// Token Endpoint Authentication Methods, except for Bearer.
type Method string

const (
	SecretBasic   Method = "client_secret_basic"
	SecretPost    Method = "client_secret_post"
	PrivateKeyJWT Method = "private_key_jwt"
	// Bearer is a token in the Authorization header (RFC 7662, section 2.1),
	// for endpoints that are protected like any other resource.
	Bearer Method = "bearer"
	// None is for public clients: the client id alone.
	None Method = "none"
)

// Config says who the client is.
type Config struct {
	// ClientID is the client's id. Required, except with Bearer.
	ClientID string
	// Method is how the client authenticates. Default: client_secret_basic
	// with a Secret, private_key_jwt with a key.
	Method Method
	// Secret is the client's secret, or the token of Bearer.
	Secret mcpauth.Secret
	// Key signs assertions, with private_key_jwt: an RSA, ECDSA or Ed25519 key.
	Key crypto.Signer
	// KeyFile is a file with that key, in PEM or as a JWK. It is read once.
	KeyFile string
	// KeyID is the key's "kid" at the authorization server, "" for none.
	KeyID string
	// Algorithm is what the key signs with. Default: RS256, the one of its
	// curve, or EdDSA.
	Algorithm jws.Algorithm
	// Audience is the "aud" of assertions: the issuer identifier of the
	// authorization server. Default: the URL of the endpoint that is asked,
	// which older servers expect.
	Audience string
}

// IsZero reports whether nothing is configured.
func (c Config) IsZero() bool {
	return c.ClientID == "" && c.Method == "" && c.Secret.IsZero() && c.Key == nil && c.KeyFile == "" &&
		c.KeyID == "" && c.Algorithm == "" && c.Audience == ""
}

// Format implements [fmt.Formatter]: the client's id, not its key.
func (c Config) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "%s %q", c.Method, c.ClientID) }

// assertionLife is how long an assertion may be on its way. It is used once.
const assertionLife = time.Minute

// Client authenticates requests. It is immutable and safe for concurrent use.
type Client struct {
	config Config
	header mcpauth.Secret // the value of Authorization, of methods that set it
	// sign has the key, where fmt does not find it.
	sign func(claims map[string]any) (string, error)
}

var methods = []Method{SecretBasic, SecretPost, PrivateKeyJWT, Bearer, None}

// New returns a Client for c, or all that is wrong with c. The fields of the
// faults begin with field. Methods that are not among allowed are a fault; with
// none given, all are allowed.
func New(field string, c Config, allowed ...Method) (*Client, []mcpauth.Fault) {
	if len(allowed) == 0 {
		allowed = methods
	}
	cl := &Client{config: c}
	var faults []mcpauth.Fault
	fault := func(name, problem, expected string) {
		faults = append(faults, mcpauth.Fault{Field: field + "." + name, Problem: problem, Expected: expected})
	}
	hasKey := c.Key != nil || c.KeyFile != ""
	if c.Method == "" {
		switch {
		case hasKey:
			cl.config.Method = PrivateKeyJWT
		case !c.Secret.IsZero():
			cl.config.Method = SecretBasic
		default:
			fault("Method", "neither a secret nor a key", "how the client authenticates, with its Secret or Key")
			return nil, faults
		}
	}
	method := cl.config.Method
	if !slices.Contains(allowed, method) {
		names := make([]string, len(allowed))
		for i, m := range allowed {
			names[i] = string(m)
		}
		last := len(names) - 1
		fault("Method", fmt.Sprintf("found %.40q", method), strings.TrimPrefix(strings.Join(names[:last], ", ")+" or "+names[last], " or "))
	}
	if c.ClientID == "" && method != Bearer {
		fault("ClientID", "empty", "the id under which the authorization server knows this server")
	}
	switch method {
	case SecretBasic, SecretPost:
		if c.Secret.IsZero() {
			fault("Secret", "empty", "the client's secret")
		}
	case Bearer:
		if !IsToken(c.Secret.Reveal()) {
			fault("Secret", "not of the form of a token", "the token for the endpoint, without \"Bearer\" and line breaks")
		}
	case PrivateKeyJWT:
		switch {
		case c.Key != nil && c.KeyFile != "":
			fault("KeyFile", "set beside Key", "one of the two")
		case !hasKey:
			fault("Key", "missing", "the private key that private_key_jwt signs with")
		default:
			key, err := c.Key, error(nil)
			name := "Key"
			if c.KeyFile != "" {
				name = "KeyFile"
				key, err = readKey(c.KeyFile)
			}
			var signer *mint.Signer
			if err == nil {
				signer, err = mint.NewSigner(c.Algorithm, key, c.KeyID)
			}
			if err == nil {
				cl.sign = signer.Sign
			} else {
				fault(name, err.Error(), "an RSA, ECDSA or Ed25519 private key, in PEM or as a JWK")
			}
		}
	case None:
		if !c.Secret.IsZero() {
			fault("Secret", "set, with the method none", "no secret, or a method that uses it")
		}
	}
	if hasKey && method != PrivateKeyJWT {
		fault("Key", fmt.Sprintf("set, with the method %.40q", method), "no key, or private_key_jwt")
	}
	if len(faults) > 0 {
		return nil, faults
	}
	cl.config.Key = nil
	switch method {
	case SecretBasic:
		// Both are form-urlencoded first (RFC 6749, section 2.3.1): an id may
		// hold a colon.
		pair := url.QueryEscape(c.ClientID) + ":" + url.QueryEscape(c.Secret.Reveal())
		cl.header = mcpauth.NewSecret("Basic " + base64.StdEncoding.EncodeToString([]byte(pair)))
	case Bearer:
		cl.header = mcpauth.NewSecret("Bearer " + c.Secret.Reveal())
	}
	return cl, nil
}

const maxKeyFile = 1 << 20

func readKey(path string) (crypto.Signer, error) {
	f, err := os.Open(path)
	if err != nil {
		// The text of a path error has the path, which may be the key by mistake.
		if p := (*fs.PathError)(nil); errors.As(err, &p) {
			err = p.Err
		}
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, errors.New("cannot be read")
	}
	return mint.ParsePrivateKey(data)
}

// IsToken reports whether s is a b64token (RFC 6750, section 2.1).
func IsToken(s string) bool {
	body := strings.TrimRight(s, "=")
	for i := range len(body) {
		if !tokenByte[body[i]] {
			return false
		}
	}
	return body != ""
}

var tokenByte = func() (is [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/") {
		is[c] = true
	}
	return is
}()

// ID returns the client's id, which may be empty with Bearer.
func (c *Client) ID() string { return c.config.ClientID }

// Method returns how the client authenticates.
func (c *Client) Method() Method { return c.config.Method }

// Apply authenticates the request r, which form is to be the body of: it sets
// r's Authorization or adds to form, which is therefore encoded afterwards.
func (c *Client) Apply(r *http.Request, form url.Values) error {
	switch c.config.Method {
	case SecretBasic, Bearer:
		r.Header.Set("Authorization", c.header.Reveal())
	case SecretPost:
		form.Set("client_id", c.config.ClientID)
		form.Set("client_secret", c.config.Secret.Reveal())
	case PrivateKeyJWT:
		audience := c.config.Audience
		if audience == "" {
			audience = r.URL.String()
		}
		now := time.Now()
		assertion, err := c.sign(map[string]any{
			"iss": c.config.ClientID, "sub": c.config.ClientID, "aud": audience, "jti": rand.Text(),
			"iat": now.Unix(), "exp": now.Add(assertionLife).Unix(),
		})
		if err != nil {
			return fmt.Errorf("the client's assertion cannot be signed: %w", err)
		}
		form.Set("client_id", c.config.ClientID)
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", assertion)
	case None:
		form.Set("client_id", c.config.ClientID)
	}
	return nil
}

// NewRequest returns a POST of form to endpoint, authenticated, which asks for
// JSON. It adds to form what the method needs.
func (c *Client) NewRequest(ctx context.Context, endpoint string, form url.Values) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, nil)
	if err != nil {
		return nil, errors.New("not a URL that can be asked")
	}
	if err := c.Apply(r, form); err != nil {
		return nil, err
	}
	body := form.Encode()
	r.Body = io.NopCloser(strings.NewReader(body))
	r.ContentLength = int64(len(body))
	// For a connection that was closed as it was used again, while nothing of
	// the request had been answered.
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil }
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	return r, nil
}
