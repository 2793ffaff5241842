// Package env takes a developer at their own machine for the user that the
// environment names, and asks for no credential:
//
//	MCPAUTH_DEV_USER=alice my-server
//
//	provider, err := env.New(env.Config{})
//
// Whoever reaches the server is that user. So it is for development alone, and
// made so that it cannot be used for anything else by mistake: it cannot be made
// where the environment says that this is production, a gateway does not take it
// unless it listens on loopback, and it refuses every request that did not come
// straight from this machine, or that a page of another site has caused. It
// warns in the log that it is in use.
//
// In a package chain it may stand beside providers that ask for a credential: it
// answers requests that carry none, and no others.
package env

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"github.com/mcpauth-go/mcpauth"
)

// Variable is the environment variable that names the user.
const Variable = "MCPAUTH_DEV_USER"

// productionVariables say by the value "production", in any case, that this is
// no place for development.
var productionVariables = []string{"APP_ENV", "GO_ENV", "NODE_ENV"}

const (
	defaultIssuer = "urn:mcpauth:env"
	maxUser       = 256
)

// Config says who the user is. It is read once, by New.
type Config struct {
	// User is the id of the user. Default: that in the environment variable
	// MCPAUTH_DEV_USER. One of the two is required.
	User string
	// Issuer is what identities have as their issuer. Default "urn:mcpauth:env".
	Issuer string
	// Scopes are those of every user. Default: none.
	Scopes []string
	// UserHeader lets the header X-User-ID of a request name another user, who
	// must be one of AllowedUsers. Default: the header means nothing.
	UserHeader bool
	// AllowedUsers are all users there may be, User among them. It is required
	// with UserHeader. Default: User alone.
	AllowedUsers []string
	// Logger takes the warnings. Default slog.Default().
	Logger *slog.Logger
}

// Provider is a mcpauth.Provider for development. It is safe for concurrent use.
type Provider struct {
	logger     *slog.Logger
	user       string
	userHeader bool
	users      map[string]*mcpauth.Identity

	warned    sync.Once
	closed    atomic.Bool
	lifecycle sync.Mutex
	started   bool
}

var (
	_ mcpauth.Lifecycle       = (*Provider)(nil)
	_ mcpauth.Selective       = (*Provider)(nil)
	_ mcpauth.DevelopmentOnly = (*Provider)(nil)
)

// New returns a Provider for c. The error, a *mcpauth.ConfigError, has
// everything that is wrong with the configuration and the environment.
func New(c Config) (*Provider, error) {
	field := "User" // where the user is from
	if c.User == "" {
		field = Variable
	}
	c = c.withDefaults()
	if faults := c.faults(field); len(faults) > 0 {
		return nil, &mcpauth.ConfigError{Package: "env", Faults: faults}
	}
	p := &Provider{logger: c.Logger, user: c.User, userHeader: c.UserHeader, users: map[string]*mcpauth.Identity{}}
	users := c.AllowedUsers
	if len(users) == 0 {
		users = []string{c.User}
	}
	for _, user := range users {
		id, err := mcpauth.NewIdentity(mcpauth.IdentityFields{Issuer: c.Issuer, UserID: user, Scopes: c.Scopes})
		if err != nil {
			return nil, &mcpauth.ConfigError{Package: "env", Faults: []mcpauth.Fault{{Field: "Issuer", Problem: err.Error()}}}
		}
		p.users[user] = id
	}
	return p, nil
}

// withDefaults returns a copy of c that shares nothing that the caller could
// change, with every default filled in but that of AllowedUsers, which the faults
// tell from a list.
func (c Config) withDefaults() Config {
	c.User = cmp.Or(c.User, os.Getenv(Variable))
	c.Issuer = cmp.Or(c.Issuer, defaultIssuer)
	c.Scopes, c.AllowedUsers = slices.Clone(c.Scopes), slices.Clone(c.AllowedUsers)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// faults returns what is wrong with c. field is where its user is from.
func (c Config) faults(field string) []mcpauth.Fault {
	var faults []mcpauth.Fault
	add := func(field, problem, expected string) {
		faults = append(faults, mcpauth.Fault{Field: field, Problem: problem, Expected: expected})
	}
	for _, name := range productionVariables {
		if value := os.Getenv(name); strings.EqualFold(strings.TrimSpace(value), "production") {
			add(name, fmt.Sprintf("found %q: this provider asks nobody for a credential", value), "a provider that does, such as one of jwt.New")
		}
	}
	const userID = "the id of a user, such as alice"
	if problem := badName(c.User); c.User == "" {
		add(Variable, "not set", userID+", there or as User")
	} else if problem != "" {
		add(field, problem, userID)
	} else if len(c.AllowedUsers) > 0 && !slices.Contains(c.AllowedUsers, c.User) {
		add("AllowedUsers", fmt.Sprintf("without %q, who is the user by %s", c.User, field), "all users, that one among them")
	}
	for i, user := range c.AllowedUsers {
		if problem := badName(user); problem != "" {
			add(fmt.Sprintf("AllowedUsers[%d]", i), problem, userID)
		}
	}
	if c.UserHeader && len(c.AllowedUsers) == 0 {
		add("AllowedUsers", "empty, while UserHeader is set", "the users that X-User-ID may name")
	}
	if problem := badName(c.Issuer); problem != "" {
		add("Issuer", problem, `a name, such as "urn:mcpauth:env"`)
	}
	for i, scope := range c.Scopes {
		if !mcpauth.ValidScope(scope) {
			add(fmt.Sprintf("Scopes[%d]", i), fmt.Sprintf("found %.300q", scope), "one scope, such as notes:read")
		}
	}
	return faults
}

// badName says what is wrong with a name that is to be compared exactly.
func badName(s string) string {
	switch {
	case s == "":
		return "empty"
	case len(s) > maxUser:
		return fmt.Sprintf("has %d bytes, more than %d", len(s), maxUser)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		return fmt.Sprintf("%q has control characters or is not UTF-8", s)
	case strings.TrimSpace(s) != s:
		return fmt.Sprintf("%q begins or ends with a space", s)
	}
	return ""
}

// DevelopmentOnly marks a provider that must not serve beyond this machine.
func (*Provider) DevelopmentOnly() {}

// Recognizes implements mcpauth.Selective: requests without a credential.
func (*Provider) Recognizes(r *mcpauth.Request) bool {
	return len(r.Header["Authorization"]) == 0 && len(r.Header["X-Api-Key"]) == 0
}

// Authenticate returns the user, for requests that this machine has made itself
// and that carry no credential.
func (p *Provider) Authenticate(ctx context.Context, r *mcpauth.Request) (*mcpauth.Identity, error) {
	if p.closed.Load() {
		return nil, errClosed
	}
	if !p.Recognizes(r) {
		return nil, errCredential
	}
	if err := local(r); err != nil {
		return nil, err
	}
	user := p.user
	if values := r.Header["X-User-Id"]; p.userHeader && len(values) > 0 {
		if len(values) > 1 || badName(values[0]) != "" {
			return nil, errUserHeader
		}
		user = values[0]
	}
	id := p.users[user]
	if id == nil {
		return nil, errNotAllowed
	}
	p.warned.Do(func() {
		p.logger.LogAttrs(ctx, slog.LevelWarn, "a request has been let in without a credential: this is for development only", slog.Any("user", id))
	})
	return id, nil
}

// local refuses requests that somebody else than the developer may have made:
// from another machine, through a proxy, or by a page of another site that the
// developer's browser shows (by its name, or by one that was made to lead to
// this machine, which is DNS rebinding).
func local(r *mcpauth.Request) error {
	if !loopbackAddress(r.RemoteAddr) {
		return errRemote
	}
	if !mcpauth.LoopbackHost(r.Host) {
		return errHost
	}
	for name := range r.Header {
		if forwarding(name) {
			return errForwarded
		}
	}
	for _, site := range r.Header["Sec-Fetch-Site"] {
		if site != "same-origin" && site != "none" {
			return errCrossSite
		}
	}
	return nil
}

// forwarding reports whether proxies add a header of this name.
func forwarding(name string) bool {
	name = http.CanonicalHeaderKey(name)
	return name == "Forwarded" || name == "Via" || name == "X-Real-Ip" || strings.HasPrefix(name, "X-Forwarded")
}

// loopbackAddress reports whether a RemoteAddr is of this machine. Only link-local
// addresses have a zone.
func loopbackAddress(hostPort string) bool {
	addr, err := netip.ParseAddrPort(hostPort)
	return err == nil && addr.Addr().Zone() == "" && addr.Addr().Unmap().IsLoopback()
}

var (
	errClosed     = &mcpauth.Error{Code: mcpauth.ErrUnavailable, Message: "The server is shutting down."}
	errCredential = &mcpauth.Error{Code: mcpauth.ErrMalformedHeader,
		Message: "This server runs for development, with a user of its own, and takes no credential. Please send the request without one."}
	errRemote = forbidden("serves requests of this machine only")
	errHost   = forbidden("is called localhost only, or by a loopback address")

	errForwarded  = forbidden("does not serve requests that came through a proxy")
	errCrossSite  = forbidden("does not serve pages of other sites")
	errNotAllowed = forbidden("does not know the user that X-User-ID names")
	errUserHeader = &mcpauth.Error{Code: mcpauth.ErrMalformedHeader, Message: "Invalid X-User-ID. Expected: one id of a user"}
)

func forbidden(what string) error {
	return &mcpauth.Error{Code: mcpauth.ErrForbidden, Message: "This server runs for development, without credentials, and " + what + "."}
}

// Start warns that the Provider is in use.
func (p *Provider) Start(ctx context.Context) error {
	p.lifecycle.Lock()
	defer p.lifecycle.Unlock()
	if p.started || p.closed.Load() {
		return errors.New("env: the provider has been started or closed before")
	}
	p.started = true
	p.logger.LogAttrs(ctx, slog.LevelWarn, "NOBODY IS ASKED FOR A CREDENTIAL: whoever reaches this server is taken for its user. This is for development only",
		slog.Any("user", p.users[p.user]), slog.Bool("user_header", p.userHeader))
	return nil
}

// Close ends the service: from then on, every request is refused with
// ErrUnavailable. Closing again does nothing.
func (p *Provider) Close() error {
	p.closed.Store(true)
	return nil
}
