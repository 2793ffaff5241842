package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/apikey"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/authn/oauth"
	"github.com/mcpauth-go/mcpauth/internal/clientauth"
	"github.com/mcpauth-go/mcpauth/revoke"
)

type revokeCommand struct {
	Token   revokeToken   `cmd:"" help:"Refuse one token."`
	User    revokeUser    `cmd:"" help:"Refuse the tokens that a user was given up to now, or up to a time. Who signs in again, a little later, gets in."`
	Session revokeSession `cmd:"" help:"Refuse the tokens of a session at the issuer, refreshed ones too."`
	Block   revokeBlock   `cmd:"" help:"Refuse a user, whatever the token, until unblock."`
	Unblock revokeUnblock `cmd:"" help:"Take a user again. What other revocations refuse stays refused."`
	List    revokeList    `cmd:"" help:"List the revocations in force."`
}

// running is how a command reaches the administration of a server.
type running struct {
	Socket    string `xor:"server" required:"" type:"path" placeholder:"PATH" help:"Unix socket of the server's administration."`
	URL       string `name:"url" xor:"server" required:"" placeholder:"URL" help:"Administration over TCP instead, such as http://127.0.0.1:9091. It needs --token-file."`
	TokenFile string `type:"path" placeholder:"FILE" help:"File with the token of administration over TCP."`
	JSON      bool   `name:"json" help:"Write JSON, an object a line."`
}

// administrationTimeout is how long a server has for one answer. A slow disk
// is worth waiting for.
const administrationTimeout = 30 * time.Second

// do calls use with a client of the server.
func (c running) do(ctx context.Context, use func(context.Context, *revoke.Client) error) error {
	client := &revoke.Client{URL: c.URL, TokenFile: c.TokenFile}
	transport := &http.Transport{DisableKeepAlives: true} // and no proxy, which the token is none of the business of
	switch {
	case c.Socket != "" && c.TokenFile != "":
		return usageError{errors.New("--token-file is for --url: a socket asks for no token")}
	case c.Socket != "":
		client.URL = "http://administration"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", c.Socket)
		}
	default:
		if err := c.checkURL(); err != nil {
			return usageError{err}
		}
	}
	client.HTTP = &http.Client{Transport: transport}
	ctx, cancel := context.WithTimeout(ctx, administrationTimeout)
	defer cancel()
	return c.explain(use(ctx, client))
}

func (c running) checkURL() error {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New(`--url is not like "http://127.0.0.1:9091"`) // which is not shown: it may have a token in it
	case c.TokenFile == "":
		return errors.New("--url needs --token-file, the file with the token of administration")
	}
	if u.Scheme == "http" && !mcpauth.LoopbackHost(u.Host) {
		return errors.New("--url: the token would cross the network in the clear; use https, or a tunnel to loopback")
	}
	return nil
}

// explain says what to do about err.
func (c running) explain(err error) error {
	var remote *revoke.RemoteError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &remote):
		return c.explainAnswer(remote)
	case errors.Is(err, fs.ErrNotExist) && c.Socket != "":
		return fmt.Errorf("there is no socket %s: is the server running, and is this the Socket of its administration?", c.Socket)
	case errors.Is(err, syscall.ECONNREFUSED) && c.Socket != "":
		return fmt.Errorf("nobody listens at the socket %s: is the server running?", c.Socket)
	case errors.Is(err, fs.ErrPermission) && c.Socket != "":
		return fmt.Errorf("the socket %s is not for this user: only its owner, whom the server runs as, may use it", c.Socket)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nobody listens at %s: is the server running, and is this the Addr of its administration?", c.URL)
	}
	var path *fs.PathError
	if errors.As(err, &path) && path.Path == c.TokenFile {
		return usageError{fmt.Errorf("--token-file: %w", path)}
	}
	return err
}

func (c running) explainAnswer(e *revoke.RemoteError) error {
	switch {
	case errors.Is(e, revoke.ErrNotSaved), errors.Is(e, revoke.ErrFull), errors.Is(e, revoke.ErrNotBlocked), errors.Is(e, revoke.ErrClosed):
		return errors.New(e.Description)
	case e.Code == "invalid_request" && e.Status == http.StatusBadRequest:
		return usageError{errors.New(e.Description)}
	case e.Status == http.StatusUnauthorized:
		return errors.New("the server does not take the token in --token-file")
	case e.Status == http.StatusNotFound:
		return c.explainNotFound("no list of revocations (gateway.Config.Revocations)")
	}
	return e
}

// explainNotFound says what to do about a 404 that does not say it itself. Behind
// a URL, other than behind a socket, there may be any server, such as MCP's.
func (c running) explainNotFound(lacking string) error {
	if c.Socket != "" {
		return errors.New("the server has administration, but " + lacking)
	}
	return fmt.Errorf("nothing of administration answers at %s: it is not the Addr of the server's administration, or that has %s", c.URL, lacking)
}

// revoke revokes r and says what has come of it.
func (c running) revoke(ctx context.Context, std streams, r revoke.Revocation) error {
	return c.do(ctx, func(ctx context.Context, client *revoke.Client) error {
		e, err := client.Revoke(ctx, r)
		if err != nil {
			return err
		}
		if c.JSON {
			return json.NewEncoder(std.out).Encode(e)
		}
		_, err = fmt.Fprintln(std.out, "revoked: "+sentence(e))
		return err
	})
}

// sentence says what e refuses, in a line.
func sentence(e revoke.Entry) string {
	var text string
	switch e.Kind {
	case revoke.Token:
		text = fmt.Sprintf("token %q", e.TokenID)
	case revoke.Session:
		text = fmt.Sprintf("session %q", e.SessionID)
	case revoke.Block:
		text = fmt.Sprintf("user %q, blocked", e.UserID)
	default:
		text = fmt.Sprintf("user %q, tokens issued up to %s", e.UserID, e.Before.UTC().Format(time.RFC3339))
	}
	text += fmt.Sprintf(", issuer %q", e.Issuer)
	if !e.Until.IsZero() {
		text += ", kept until " + e.Until.UTC().Format(time.RFC3339)
	}
	if e.Reason != "" {
		text += fmt.Sprintf(", reason %q", e.Reason)
	}
	if !e.Saved {
		text += ", in memory only"
	}
	return text
}

// revoking are the flags of what is revoked.
type revoking struct {
	running
	Issuer string `required:"" help:"The issuer, exactly as in its tokens."`
	Reason string `help:"Why, for the log and the list."`
}

type revokeToken struct {
	running
	Issuer  string `help:"The issuer, exactly as in its tokens. Default, with --read of a JWT and without --opaque: the token's."`
	ID      string `name:"id" xor:"token" required:"" help:"The token's id: its \"jti\", or what else names the tokens of this issuer."`
	Read    string `xor:"token" required:"" placeholder:"FILE" help:"A file with the token itself, or - for standard input. It is not sent anywhere."`
	Opaque  bool   `help:"With --read: the server validates this issuer's tokens by asking the issuer, so that it knows them by their hash, JWTs too. It needs --issuer. Tokens that introspection gives a \"jti\" are revoked by --id. What is not a JWT is opaque without this flag."`
	IDClaim string `name:"id-claim" default:"jti" help:"With --read of a JWT, without --opaque: the claim that names the issuer's tokens (${default})."`
	Reason  string `help:"Why, for the log and the list."`
}

func (c revokeToken) Run(ctx context.Context, std streams) error {
	r := revoke.Revocation{Kind: revoke.Token, Issuer: c.Issuer, TokenID: c.ID, Reason: c.Reason}
	if c.Read != "" {
		token, err := readToken(c.Read, std.in)
		if err != nil {
			return usageError{fmt.Errorf("--read: %w", err)}
		}
		// Nobody has verified it: an invented one is revoked in vain.
		switch opaque := c.Opaque || strings.Count(token, ".") != 2; {
		case !clientauth.IsToken(token):
			return usageError{errors.New("--read: no bearer token, which is one word of letters, digits and -._~+/=")}
		case c.Issuer == apikey.DefaultIssuer:
			return usageError{errors.New("--read is not for API keys, which are revoked by --id: mcpauth apikey list shows it")}
		case opaque && c.Issuer == "":
			return usageError{errors.New("--issuer is missing: an opaque token names none")}
		case opaque:
			r.TokenID = oauth.TokenID(mcpauth.NewSecret(token))
		default:
			named, id, err := jwt.TokenID(token, c.IDClaim)
			if err != nil {
				return usageError{fmt.Errorf("--read: %w", err)}
			}
			r.Issuer, r.TokenID = cmp.Or(r.Issuer, named), id
		}
	} else if c.Opaque {
		return usageError{errors.New("--opaque is for --read")}
	} else if isAPIKey(c.ID, c.Issuer) {
		return usageError{errors.New("--id: that is not the id of an API key: mcpauth apikey list shows it")} // not quoted: it is a secret
	}
	if r.Issuer == "" {
		return usageError{errors.New("--issuer is missing")}
	}
	if err := c.revoke(ctx, std, r); err != nil {
		return err
	}
	if c.Issuer == apikey.DefaultIssuer && !madeID.MatchString(c.ID) {
		fmt.Fprintln(std.err, "The ids of keys made by mcpauth apikey have 16 characters of a-z and 2-7, and this has not: mcpauth apikey list shows them.")
	}
	return nil
}

// madeID is the form of ids that this module makes. A table of one's own has
// others.
var madeID = regexp.MustCompile(`^[a-z2-7]{16}$`)

// An API key is a prefix, "sk_" unless configured, and 43 characters of base64url.
var (
	usualKey = regexp.MustCompile(`^sk_[A-Za-z0-9_-]*$`)
	anyKey   = regexp.MustCompile(`^[A-Za-z0-9_-]{44,59}$`)
	// A hash in hexadecimal, as an id of one's own, is within these lengths too.
	hexadecimal = regexp.MustCompile(`^[0-9a-f]+$`)
)

// isAPIKey reports whether id is an API key, or the beginning of one, instead
// of its id.
func isAPIKey(id, issuer string) bool {
	if usualKey.MatchString(id) {
		return issuer == apikey.DefaultIssuer || anyKey.MatchString(id)
	}
	return issuer == apikey.DefaultIssuer && anyKey.MatchString(id) && !hexadecimal.MatchString(id)
}

// readToken returns the token in a file, or in standard input for "-".
func readToken(path string, in io.Reader) (string, error) {
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer file.Close()
		in = file
	}
	text, err := io.ReadAll(io.LimitReader(in, 1<<20))
	return string(bytes.TrimSpace(text)), err
}

type revokeUser struct {
	revoking
	User   string    `required:"" help:"The user's id, as in the claim that the issuer is configured with."`
	Before time.Time `placeholder:"TIME" help:"Refuse what was issued up to then, such as 2026-08-01T12:00:00Z. Default: now."`
}

func (c revokeUser) Run(ctx context.Context, std streams) error {
	err := c.revoke(ctx, std, revoke.Revocation{Kind: revoke.User, Issuer: c.Issuer, UserID: c.User, Before: c.Before, Reason: c.Reason})
	if err == nil && !c.JSON {
		fmt.Fprintln(std.err, "Tokens issued up to 60 s later are refused too, since clocks differ (revoke.Config.Skew, 60 s by default).")
	}
	return err
}

type revokeSession struct {
	revoking
	Session string `required:"" help:"The session at the issuer: the \"sid\" of its tokens. It is not a session of MCP."`
}

func (c revokeSession) Run(ctx context.Context, std streams) error {
	return c.revoke(ctx, std, revoke.Revocation{Kind: revoke.Session, Issuer: c.Issuer, SessionID: c.Session, Reason: c.Reason})
}

type revokeBlock struct {
	revoking
	User string `required:"" help:"The user's id, as in the claim that the issuer is configured with."`
}

func (c revokeBlock) Run(ctx context.Context, std streams) error {
	return c.revoke(ctx, std, revoke.Revocation{Kind: revoke.Block, Issuer: c.Issuer, UserID: c.User, Reason: c.Reason})
}

type revokeUnblock struct {
	running
	Issuer string `required:"" help:"The issuer, exactly as in its tokens."`
	User   string `required:"" help:"The user's id."`
}

func (c revokeUnblock) Run(ctx context.Context, std streams) error {
	return c.do(ctx, func(ctx context.Context, client *revoke.Client) error {
		if err := client.Lift(ctx, c.Issuer, c.User); err != nil {
			return err
		}
		if c.JSON {
			return json.NewEncoder(std.out).Encode(map[string]string{"unblocked": c.User, "issuer": c.Issuer})
		}
		_, err := fmt.Fprintf(std.out, "unblocked: user %q, issuer %q\n", c.User, c.Issuer)
		return err
	})
}

type revokeList struct {
	running
	Kind   string `enum:",token,user,session,block" default:"" help:"Only this kind: token, user, session or block."`
	Issuer string `help:"Only this issuer's."`
	User   string `help:"Only this user's: kinds user and block."`
}

func (c revokeList) Run(ctx context.Context, std streams) error {
	out := bufio.NewWriter(std.out)
	q := revoke.Query{Kind: revoke.Kind(c.Kind), Issuer: c.Issuer, UserID: c.User}
	for {
		var page revoke.Page
		err := c.do(ctx, func(ctx context.Context, client *revoke.Client) (err error) {
			page, err = client.Page(ctx, q)
			return err
		})
		if err != nil {
			return errors.Join(out.Flush(), err)
		}
		for _, e := range page.Revocations {
			if c.JSON {
				err = json.NewEncoder(out).Encode(e)
			} else {
				_, err = fmt.Fprintf(out, "%s %s\n", e.At.UTC().Format(time.RFC3339), sentence(e))
			}
			if err != nil {
				return err
			}
		}
		if page.Next == "" {
			return out.Flush()
		}
		q.After = page.Next
	}
}
