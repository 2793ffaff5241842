package gateway_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/assertion"
	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/limit"
	"github.com/mcpauth-go/mcpauth/policy"
)

// nobody is a provider that refuses everybody.
type nobody struct{ issuers []string }

func (nobody) Authenticate(context.Context, *mcpauth.Request) (*mcpauth.Identity, error) {
	return nil, &mcpauth.Error{Code: mcpauth.ErrBadSignature, Message: "nobody"}
}

func (n nobody) Issuers() []string { return n.issuers }

// anybody is a provider for development.
type anybody struct{ nobody }

func (anybody) DevelopmentOnly() {}

// connecting has users without an account treated so.
func connecting(policy gateway.NotConnected, url string) func(*gateway.Config) {
	return func(c *gateway.Config) {
		c.Resolver, c.ResourceType, c.NotConnected, c.ConnectURL = &account{}, "mail", policy, url
	}
}

func good() gateway.Config {
	return gateway.Config{Provider: nobody{}, Factory: (&gatewaytest.Factory{}).Make}
}

func TestConfigFaults(t *testing.T) {
	other, err := assertion.New(assertion.Config{Issuer: "https://other.example.com", Audiences: []string{"https://notes.example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for _, test := range []struct {
		name   string
		change func(*gateway.Config)
		fields []string
	}{
		{"nothing wrong", func(*gateway.Config) {}, nil},
		{"everything wrong", func(c *gateway.Config) {
			*c = gateway.Config{
				Addr: "nowhere", PublicURL: "http://mcp.example.com/x", BasePath: "mcp?", AllowedHosts: []string{"good.example", "*.example"}, AllowedOrigins: []string{"null"},
				AuthorizationServers: []string{"http://issuer.example"}, SupportedScopes: []string{"two words"},
				MaxBodyBytes: -1, IdleTimeout: -1, FactoryTimeout: -1, ShutdownTimeout: -1,
			}
		}, []string{
			"Provider", "Factory", "Addr", "MaxBodyBytes", "IdleTimeout", "FactoryTimeout", "ShutdownTimeout",
			"PublicURL", "BasePath", "AuthorizationServers[0]", "SupportedScopes[0]", "AllowedHosts[1]", "AllowedOrigins[0]",
		}},
		{"beyond loopback without PublicURL", func(c *gateway.Config) { c.Addr = "0.0.0.0:8080" }, []string{"PublicURL"}},
		{"all addresses without PublicURL", func(c *gateway.Config) { c.Addr = ":8080" }, []string{"PublicURL"}},
		{"a name without PublicURL", func(c *gateway.Config) { c.Addr = "mcp.example.com:443" }, []string{"PublicURL"}},
		{"beyond loopback with PublicURL", func(c *gateway.Config) { c.Addr, c.PublicURL = "0.0.0.0:8080", "https://mcp.example.com" }, nil},
		{"beyond loopback with PublicURL over plain http", func(c *gateway.Config) { c.Addr, c.PublicURL = "0.0.0.0:8080", "http://mcp.example.com" }, []string{"PublicURL"}},
		{"an open port without PublicURL", func(c *gateway.Config) { c.Addr = "127.0.0.1:0" }, []string{"PublicURL"}},
		{"an open port with PublicURL", func(c *gateway.Config) { c.Addr, c.PublicURL = "127.0.0.1:0", "https://mcp.example.com" }, nil},
		{"loopback by name", func(c *gateway.Config) { c.Addr = "localhost:8080" }, nil},
		{"IPv6 loopback", func(c *gateway.Config) { c.Addr = "[::1]:8080" }, nil},
		{"the whole origin", func(c *gateway.Config) { c.BasePath = "/" }, nil},
		{"required scopes that are none", func(c *gateway.Config) { c.RequiredScopes = []string{`quo"te`} }, []string{"RequiredScopes[0]"}},
		{"paths that no mux takes", func(c *gateway.Config) { c.BasePath = "/a//b" }, []string{"BasePath"}},
		{"paths that climb", func(c *gateway.Config) { c.BasePath = "/a/../b" }, []string{"BasePath"}},
		{"paths with a line break", func(c *gateway.Config) { c.BasePath = "/a\nb" }, []string{"BasePath"}},
		{"a resolver without resource type", func(c *gateway.Config) { c.Resolver = resolver(nil) }, []string{"ResourceType"}},
		{"a resource type without resolver", func(c *gateway.Config) { c.ResourceType = "notes" }, []string{"ResourceType"}},
		{"nobody asked for a credential", func(c *gateway.Config) { c.Provider = anybody{} }, []string{"Provider"}},
		{"nobody asked for a credential, in development", func(c *gateway.Config) { c.Provider, c.Development = anybody{}, true }, nil},
		{"nobody asked for a credential, beyond loopback", func(c *gateway.Config) {
			c.Provider, c.Development, c.Addr, c.PublicURL = anybody{}, true, "0.0.0.0:8080", "https://mcp.example.com"
		}, []string{"Development"}},
		{"accounts without resolver", func(c *gateway.Config) { c.NotConnected = gateway.RefuseCalls }, []string{"NotConnected"}},
		{"accounts treated in a way of their own", connecting("shrug", ""), []string{"NotConnected"}},
		{"nowhere to connect accounts", connecting(gateway.AskToConnect, ""), []string{"ConnectURL"}},
		{"accounts connected over plain http", connecting(gateway.AskToConnect, "http://platform.example"), []string{"ConnectURL"}},
		{"accounts connected with a password in the URL", connecting(gateway.RefuseCalls, "https://u:p@platform.example"), []string{"ConnectURL"}},
		{"a place to connect that nobody is told of", connecting(gateway.ServeLimited, "https://platform.example"), []string{"ConnectURL"}},
		{"assertions of another server", func(c *gateway.Config) { c.Assertions = other }, []string{"Assertions"}},
		{"accounts connected", connecting(gateway.AskToConnect, "https://platform.example/connect?to=mail"), nil},
		{"an address without port", func(c *gateway.Config) { c.Addr = "127.0.0.1:" }, []string{"Addr"}},
		{"CORS for nobody", func(c *gateway.Config) { c.CORS = true }, []string{"AllowedOrigins"}},
		{"CORS for a list", func(c *gateway.Config) { c.CORS, c.AllowedOrigins = true, []string{"https://app.example.com"} }, nil},
		{"CORS for all", func(c *gateway.Config) { c.CORS, c.AllowedOrigins = true, []string{"*"} }, []string{"AllowedOrigins[0]"}},
		{"all origins without CORS", func(c *gateway.Config) { c.AllowedOrigins = []string{"https://app.example.com", "*"} }, []string{"AllowedOrigins[1]"}},
		{"all subdomains", func(c *gateway.Config) { c.Development, c.AllowedOrigins = true, []string{"https://*.example.com"} }, []string{"AllowedOrigins[0]"}},
		{"all origins in development", func(c *gateway.Config) { c.Development, c.CORS, c.AllowedOrigins = true, true, []string{"*"} }, nil},
		{"development beyond loopback", func(c *gateway.Config) {
			c.Development, c.Addr, c.PublicURL = true, "0.0.0.0:8080", "https://mcp.example.com"
		}, []string{"Development"}},
		{"all origins in development beyond loopback", func(c *gateway.Config) {
			c.Development, c.Addr, c.PublicURL, c.AllowedOrigins = true, ":8080", "https://mcp.example.com", []string{"*"}
		}, []string{"Development"}},
		{"a proxy that is no range", func(c *gateway.Config) { c.TrustedProxies = make([]netip.Prefix, 1) }, []string{"TrustedProxies[0]"}},
		{"operations beyond loopback", func(c *gateway.Config) { c.OperationsAddr = "0.0.0.0:9090" }, []string{"OperationsAddr"}},
		{"operations everywhere", func(c *gateway.Config) { c.OperationsAddr = ":9090" }, []string{"OperationsAddr"}},
		{"operations under a name", func(c *gateway.Config) { c.OperationsAddr = "metrics.internal:9090" }, []string{"OperationsAddr"}},
		{"operations at no address", func(c *gateway.Config) { c.OperationsAddr = "127.0.0.1" }, []string{"OperationsAddr"}},
		{"operations on loopback", func(c *gateway.Config) { c.OperationsAddr = "[::1]:9090" }, nil},
		{"administration without a token", func(c *gateway.Config) { c.Admin.Addr = "127.0.0.1:9091" }, []string{"Admin.TokenFile"}},
		{"administration in two places", func(c *gateway.Config) { c.Admin.Addr, c.Admin.Socket = "127.0.0.1:9091", "/tmp/mcpauth-test.sock" }, []string{"Admin.Addr"}},
		{"rules that say nothing", func(c *gateway.Config) { c.Rules = []policy.Rule{{Tool: "a", Deny: true}, {Tool: "b"}} }, []string{"Rules[1]"}},
		{"rules whose scopes are none", func(c *gateway.Config) { c.Rules = []policy.Rule{{Tool: "a", Scopes: []string{"a b"}}} }, []string{"Rules[0].Scopes[0]"}},
		{"a hierarchy of what are no scopes", func(c *gateway.Config) { c.ScopeHierarchy = mcpauth.Hierarchy{"a b": {"c"}} }, []string{`ScopeHierarchy["a b"]`}},
		{"a rate of nothing", func(c *gateway.Config) { c.UserRate = limit.Rate{Per: time.Minute} }, []string{"UserRate"}},
		{"a rate of a tool", func(c *gateway.Config) { c.ToolRates = map[string]limit.Rate{"a": {}, "b": limit.Off} }, []string{`ToolRates["a"]`}},
		{"modes of the other era", func(c *gateway.Config) {
			c.LegacyInstances, c.ModernInstances = gateway.PerRequest, gateway.PerSession
		}, []string{"LegacyInstances", "ModernInstances"}},
		{"negative counts", func(c *gateway.Config) {
			c.MaxInstances, c.MaxSessions, c.MaxSessionsPerUser, c.MaxStreamsPerUser = -1, -1, -1, -1
		}, []string{"MaxInstances", "MaxSessions", "MaxSessionsPerUser", "MaxStreamsPerUser"}},
		{"negative times", func(c *gateway.Config) { c.BodyTimeout, c.WriteTimeout, c.RequestTimeout = -1, -1, -1 }, []string{"BodyTimeout", "WriteTimeout", "RequestTimeout"}},
		{"a life shorter than idleness", func(c *gateway.Config) { c.MaxLifetime, c.IdleTimeout = time.Minute, time.Hour }, []string{"MaxLifetime"}},
		{"streams that cannot be resumed", func(c *gateway.Config) { c.ReplayBytes = -1 }, nil},
		{"users named in a way of their own", func(c *gateway.Config) { c.LogUsers = 7 }, []string{"LogUsers"}},
		{"a short key", func(c *gateway.Config) { c.LogUsers, c.LogKey = gateway.UserHashed, mcpauth.NewSecret("short") }, []string{"LogKey"}},
		{"an issuer that is no URL is not advertised", func(c *gateway.Config) { c.Provider = nobody{[]string{"company", "http://plain.example"}} }, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := good()
			test.change(&c)
			g, err := gateway.New(c)
			var fields []string
			if config := (*mcpauth.ConfigError)(nil); errors.As(err, &config) {
				for _, f := range config.Faults {
					fields = append(fields, f.Field)
				}
			}
			if !reflect.DeepEqual(fields, test.fields) || (err == nil) != (len(test.fields) == 0) {
				t.Errorf("faults of %v, want %v: %v", fields, test.fields, err)
			}
			if err == nil {
				if err := g.Shutdown(t.Context()); err != nil {
					t.Errorf("Close = %v", err)
				}
			}
		})
	}
}

func TestRunNeedsItsAddress(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c := good()
	c.Addr = taken.Addr().String()
	g, err := gateway.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Run(t.Context()); err == nil {
		t.Error("Run on an address that is taken ends without error")
	}
}

func TestServeBeyondLoopbackNeedsToBeMeant(t *testing.T) {
	listener, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	g, err := gateway.New(good())
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Serve(t.Context(), listener); err == nil {
		t.Error("a gateway for loopback serves beyond it")
	}
	if _, err := listener.Accept(); err == nil {
		t.Error("the listener is still open")
	}
}

type failing struct{ nobody }

func (failing) Start(context.Context) error { return errors.New("no keys") }
func (failing) Close() error                { return errors.New("never open") }

func TestProviderThatDoesNotStart(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := good()
	c.Provider = failing{}
	g, err := gateway.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const want = "gateway: no keys\nnever open"
	if err := g.Serve(ctx, listener); err == nil || err.Error() != want {
		t.Errorf("Serve = %v, want %q", err, want)
	}
}
