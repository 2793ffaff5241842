package oauth_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/oauth"
)

func TestFaultsOfTheConfiguration(t *testing.T) {
	secret := mcpauth.NewSecret("canary-secret")
	good := func() oauth.Config {
		return oauth.Config{Issuer: "https://issuer.example", Audience: []string{"a"}, Client: oauth.Client{ClientID: "c", Secret: secret}}
	}
	for _, test := range []struct {
		name   string
		change func(*oauth.Config)
		want   []string
	}{
		{"good", func(*oauth.Config) {}, nil},
		{"nothing", func(c *oauth.Config) { *c = oauth.Config{} }, []string{"Issuer", "Audience", "Client.Method"}},
		{"an issuer that is no URL", func(c *oauth.Config) { c.Issuer = "ours" }, []string{"Issuer"}},
		{"a name for an issuer, with an endpoint", func(c *oauth.Config) { c.Issuer, c.Endpoint = "ours", "https://e.example/i" }, nil},
		{"plain http", func(c *oauth.Config) { c.Endpoint = "http://e.example/i" }, []string{"Endpoint"}},
		{"plain http, listed", func(c *oauth.Config) {
			c.Endpoint, c.Requests.PlainHTTPHosts = "http://e.example/i", []string{"e.example"}
		}, nil},
		{"a password in the URL", func(c *oauth.Config) { c.Endpoint = "https://u:canary-secret@e.example/i" }, []string{"Endpoint"}},
		{"metadata beside an endpoint", func(c *oauth.Config) { c.Endpoint, c.MetadataURL = "https://e.example/i", "https://e.example/m" }, []string{"MetadataURL"}},
		{"no audience", func(c *oauth.Config) { c.Audience = nil }, []string{"Audience"}},
		{"any client beside an audience", func(c *oauth.Config) { c.AcceptAnyClient = true }, []string{"AcceptAnyClient"}},
		{"an audience with a space", func(c *oauth.Config) { c.Audience = []string{" a"} }, []string{"Audience[0]"}},
		{"an empty client", func(c *oauth.Config) { c.AllowedClients = []string{""} }, []string{"AllowedClients[0]"}},
		{"a client that does not authenticate", func(c *oauth.Config) { c.Client = oauth.Client{ClientID: "c", Method: "none"} }, []string{"Client.Method"}},
		{"an unknown method", func(c *oauth.Config) { c.Method = "guess" }, []string{"Method"}},
		{"userinfo without proof", func(c *oauth.Config) { c.Method, c.Client = oauth.Userinfo, oauth.Client{} }, []string{"Proof"}},
		{"userinfo with a client", func(c *oauth.Config) { c.Method, c.Proof.URL = oauth.Userinfo, "https://e.example/p" }, []string{"Client"}},
		{"userinfo with a key's id", func(c *oauth.Config) {
			c.Method, c.Client, c.Proof.URL = oauth.Userinfo, oauth.Client{KeyID: "k", Algorithm: oauth.Algorithm("ES256")}, "https://e.example/p"
		}, []string{"Client"}},
		{"userinfo with a proof", func(c *oauth.Config) {
			c.Method, c.Client, c.Proof.URL = oauth.Userinfo, oauth.Client{}, "https://e.example/p"
		}, nil},
		{"userinfo with a type", func(c *oauth.Config) {
			c.Method, c.Client, c.Proof.URL, c.RequireTokenType = oauth.Userinfo, oauth.Client{}, "https://e.example/p", true
		}, []string{"RequireTokenType"}},
		{"introspection with a proof", func(c *oauth.Config) { c.Proof.URL = "https://e.example/p" }, []string{"Proof"}},
		{"a proof without URL", func(c *oauth.Config) { c.Proof.Parameter = "x" }, []string{"Proof.URL"}},
		{"one member for two things", func(c *oauth.Config) { c.TenantClaim = "sub" }, []string{"TenantClaim"}},
		{"the audience as the user", func(c *oauth.Config) { c.UserIDClaim = "aud" }, []string{"UserIDClaim"}},
		{"too long a memory", func(c *oauth.Config) { c.Cache.TTL = 6 * time.Minute }, []string{"Cache.TTL"}},
		{"too little memory", func(c *oauth.Config) { c.Cache.MaxBytes = 1 }, []string{"Cache.MaxBytes"}},
		{"too long a wait", func(c *oauth.Config) { c.Requests.Timeout = time.Hour }, []string{"Requests.Timeout"}},
		{"nobody may ask", func(c *oauth.Config) { c.Requests.MaxConcurrent = -1 }, []string{"Requests.MaxConcurrent"}},
		{"no authorities", func(c *oauth.Config) { c.Requests.CAFile = "no-such-file" }, []string{"Requests.CAFile"}},
		{"a host that is none", func(c *oauth.Config) { c.Requests.PlainHTTPHosts = []string{"http://x"} }, []string{"Requests.PlainHTTPHosts[0]"}},
		{"a part of a second", func(c *oauth.Config) { c.ExpiryLeeway = time.Millisecond }, []string{"ExpiryLeeway"}},
		{"parts of seconds", func(c *oauth.Config) { c.ExpiryLeeway, c.ClockTolerance = time.Millisecond, time.Millisecond }, []string{"ExpiryLeeway", "ClockTolerance"}},
		{"a leeway without end", func(c *oauth.Config) { c.ExpiryLeeway = time.Hour }, []string{"ExpiryLeeway"}},
		{"a list that is none", func(c *oauth.Config) { c.Revocations = (*list)(nil) }, []string{"Revocations"}},
		{"tokens of any size", func(c *oauth.Config) { c.MaxTokenSize = 1 << 30 }, []string{"MaxTokenSize"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := good()
			test.change(&c)
			p, err := oauth.New(c)
			if test.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				p.Close()
				return
			}
			var faults *mcpauth.ConfigError
			if !errors.As(err, &faults) || faults.Package != "oauth" {
				t.Fatalf("%v", err)
			}
			var fields []string
			for _, f := range faults.Faults {
				fields = append(fields, f.Field)
			}
			if !slices.Equal(fields, test.want) {
				t.Errorf("faults of %v, want %v\n%v", fields, test.want, err)
			}
			if text := fmt.Sprintf("%v %+v", err, c); containsSecret(text) && test.name != "a password in the URL" {
				t.Errorf("it says %s", text)
			}
		})
	}
}
