package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/credential/env"
	"github.com/mcpauth-go/mcpauth/upstream/inproc"
)

// Stdio serves one local user over standard input and output, with a Factory
// that serves many behind a Gateway:
//
//	err := gateway.Stdio{Factory: factory, ResourceType: "github"}.Run(ctx)
//
// Tools see an identity and a credential in their context as they do there, and
// their panics and time-outs are handled in the same way. Nobody is verified:
// the user is whoever has started the process.
//
// Standard output belongs to the protocol. A server must not print there, nor
// its logger.
type Stdio struct {
	// Factory makes the server. Required. It is called once.
	Factory Factory
	// ResourceType is what the credential is for. Default: there is no
	// credential.
	ResourceType string
	// Resolver finds the credential. Default, with a ResourceType: an
	// env.Resolver, which takes it from the environment, such as from
	// GITHUB_ACCESS_TOKEN for "github". When there is none, the Factory and
	// tools get nil. A resolver that is a mcpauth.Lifecycle belongs to Stdio
	// while it runs.
	Resolver mcpauth.Resolver
	// User is the user's id. Default "local". The issuer is StdioIssuer.
	User string
	// Scopes are the user's, for tools that ask.
	Scopes []string
	// RequestTimeout is how long the server may take to answer a call.
	// subscriptions/listen is exempt. Default 30 s.
	RequestTimeout time.Duration
	// Logger takes failures. Default: text on standard error.
	Logger *slog.Logger
}

// StdioIssuer is the issuer of the identities that Stdio makes.
const StdioIssuer = "urn:mcpauth:stdio"

// Run serves until standard input ends, and the calls in progress are answered,
// or until ctx is done or the process gets SIGINT or SIGTERM, and those calls
// are cancelled. It returns nil then, once Instance.Close has returned; a second
// signal ends the process at once. An error in the configuration is a
// *mcpauth.ConfigError.
func (s Stdio) Run(ctx context.Context) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	// A client that does not read any more must not end the process before
	// Instance.Close: with this, it is an error of the write.
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	defer signal.Stop(broken)
	return s.Serve(ctx, &mcp.StdioTransport{})
}

// Serve is Run over a transport of the caller's, which must be the one user's
// alone, and without an eye on signals.
func (s Stdio) Serve(ctx context.Context, transport mcp.Transport) (err error) {
	id, err := s.validate()
	if err != nil {
		return err
	}
	if s.Logger == nil {
		s.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	resolver := s.Resolver
	if resolver == nil {
		resolver = env.Resolver{}
	}
	if l, ok := resolver.(mcpauth.Lifecycle); ok {
		if err := l.Start(ctx); err != nil {
			return fmt.Errorf("gateway: %w", err)
		}
		defer func() { err = errors.Join(err, l.Close()) }()
	}
	timeout := cmp.Or(s.RequestTimeout, 30*time.Second)
	const long = 24 * time.Hour
	u := inproc.New(inproc.Config{
		Factory: s.Factory, Limits: inproc.Limits{Idle: long, Lifetime: long, CallsPerUser: 10_000},
		FactoryTimeout: 30 * time.Second, CallTimeout: timeout, Logger: s.Logger,
	})
	err = u.ServeLocal(mcpauth.NewContext(ctx, id), transport, s.resolve(resolver, id))
	if err != nil {
		err = fmt.Errorf("gateway: stdio: %w", err)
	}
	// Close of the instance has ten seconds.
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second+closeTimeout)
	defer cancel()
	return errors.Join(err, u.Shutdown(closing))
}

// validate returns the user's identity, or everything that is wrong.
func (s *Stdio) validate() (*mcpauth.Identity, error) {
	var faults []mcpauth.Fault
	add := func(field, problem, expected string) {
		faults = append(faults, mcpauth.Fault{Field: "Stdio." + field, Problem: problem, Expected: expected})
	}
	if s.Factory == nil {
		add("Factory", "missing", "a function that makes the user's server")
	}
	if s.Resolver != nil && s.ResourceType == "" {
		add("ResourceType", "missing, while there is a Resolver", `what the credential is for, such as "github"`)
	}
	if s.RequestTimeout < 0 {
		add("RequestTimeout", fmt.Sprintf("found %s", s.RequestTimeout), "a positive duration")
	}
	id, err := mcpauth.NewIdentity(mcpauth.IdentityFields{
		Issuer: StdioIssuer, UserID: cmp.Or(s.User, "local"), Scopes: slices.Clone(s.Scopes),
	})
	if err != nil {
		add("User", fmt.Sprintf("found %q", s.User), "a name without NUL bytes")
	}
	if len(faults) > 0 {
		return nil, &mcpauth.ConfigError{Package: "gateway", Faults: faults}
	}
	return id, nil
}

// resolve returns what finds the user's credential, and warns once when there
// is none.
func (s *Stdio) resolve(resolver mcpauth.Resolver, id *mcpauth.Identity) func(context.Context) (*mcpauth.Credential, error) {
	var warned atomic.Bool
	return func(ctx context.Context) (*mcpauth.Credential, error) {
		if s.ResourceType == "" {
			return nil, nil
		}
		credential, err := resolver.Resolve(ctx, id, s.ResourceType)
		if err == nil && credential == nil && !warned.Swap(true) {
			attrs := []any{"resource_type", s.ResourceType}
			if _, ok := resolver.(env.Resolver); ok {
				attrs = append(attrs, "variable", env.Variable(s.ResourceType))
			}
			s.Logger.WarnContext(ctx, "no credential: tools that need one will not work", attrs...)
		}
		return credential, err
	}
}
