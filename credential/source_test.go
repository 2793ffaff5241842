package credential_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/credential"
)

func TestChainTakesTheFirstThatHasOne(t *testing.T) {
	for _, test := range []struct {
		name          string
		first, second *mcpauth.Credential
		firstErr      error
		want          string // "" is none
		code          mcpauth.Code
		asked         int // of the second
	}{
		{"the first has one", token("first"), token("second"), nil, "first", "", 0},
		{"the second has one", nil, token("second"), nil, "second", "", 1},
		{"none has", nil, nil, nil, "", "", 1},
		{"an outage leads to no other credential", nil, token("second"), errDown, "", mcpauth.ErrUnavailable, 0},
		{"nor does one that may pass", nil, token("second"), credential.Transient(errDown, 0), "", mcpauth.ErrUnavailable, 0},
		{"nor does a refusal", nil, token("second"), &mcpauth.Error{Code: mcpauth.ErrForbidden, Message: "No."}, "", mcpauth.ErrForbidden, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			first, second := &source{}, &source{}
			first.gives(test.first, test.firstErr)
			second.gives(test.second, nil)
			r := resolver(t, credential.Config{Source: credential.Chain(first, second)})
			if test.code != "" {
				refused(t, r, user(t, "alice"), test.code)
			} else {
				gets(t, r, user(t, "alice"), test.want)
			}
			if second.count() != test.asked {
				t.Errorf("the second was asked %d times", second.count())
			}
		})
	}
}

func TestByResourceAsksTheSourceOfTheType(t *testing.T) {
	github, gitlab := &source{}, &source{}
	github.gives(token("of-github"), nil)
	gitlab.gives(token("of-gitlab"), nil)
	r := resolver(t, credential.Config{Source: credential.ByResource(map[string]credential.Source{"github": github, "gitlab": gitlab})})
	for kind, want := range map[string]string{"github": "of-github", "gitlab": "of-gitlab"} {
		if c, err := r.Resolve(t.Context(), user(t, "alice"), kind); err != nil || c.Token.Reveal() != want {
			t.Errorf("%s: %v, %v", kind, c, err)
		}
	}
	// A type that nobody is responsible for is no account that could be connected.
	if c, err := r.Resolve(t.Context(), user(t, "alice"), "jira"); c != nil || !errors.Is(err, mcpauth.ErrUnavailable) {
		t.Errorf("%v, %v", c, err)
	}
}

type marked struct{ source }

func (*marked) PerToken()           {}
func (*marked) ForwardsToken() bool { return true }

// A source whose answers are of one token says so, and is asked for each.
func TestSourcesThatGoByTheTokenAreAskedForEach(t *testing.T) {
	s := &marked{}
	s.becomes(func(_ context.Context, id *mcpauth.Identity, _ string) (*mcpauth.Credential, error) {
		return token("within-" + id.Token().Reveal()), nil
	})
	r := resolver(t, credential.Config{Source: credential.Chain(&source{answer: func(context.Context, *mcpauth.Identity, string) (*mcpauth.Credential, error) { return nil, nil }}, s)})
	for _, text := range []string{"1", "2", "1"} {
		gets(t, r, person{user: "alice", token: text}.identity(t), "within-"+text)
	}
	if s.count() != 2 || !r.ForwardsToken() {
		t.Errorf("%d fetches, forwards: %v", s.count(), r.ForwardsToken())
	}
	if resolver(t, credential.Config{Source: &source{}}).ForwardsToken() {
		t.Error("forwards, without such a source")
	}
}

type single struct{ source }

func (*single) SingleUser() {}

func TestFaultsOfAConfiguration(t *testing.T) {
	var none *source
	var noList *list
	for _, test := range []struct {
		name   string
		config credential.Config
		fields string
	}{
		{"nothing", credential.Config{}, "Source"},
		{"a nil source", credential.Config{Source: none}, "Source"},
		{"an empty chain", credential.Config{Source: credential.Chain()}, "Source"},
		{"nil in a chain", credential.Config{Source: credential.Chain(&source{}, nil)}, "Source[1]"},
		{"nothing by resource", credential.Config{Source: credential.ByResource(nil)}, "Source"},
		{"nil by resource", credential.Config{Source: credential.ByResource(map[string]credential.Source{"github": nil})}, `Source["github"]`},
		{"no name of a resource", credential.Config{Source: credential.ByResource(map[string]credential.Source{"": &source{}})}, "Source"},
		{"one credential for all", credential.Config{Source: credential.Chain(&single{})}, "Source[0]"},
		{"times", credential.Config{Source: &source{}, TTL: 2 * 3600e9, NotConnectedTTL: -1, Timeout: 1}, "TTL NotConnectedTTL Timeout"},
		{"memory", credential.Config{Source: &source{}, MaxBytes: 1}, "MaxBytes"},
		{"a nil list", credential.Config{Source: &source{}, Revocations: noList}, "Revocations"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := credential.New(test.config)
			var faults *mcpauth.ConfigError
			if !errors.As(err, &faults) || r != nil || faults.Package != "credential" {
				t.Fatalf("%v, %v", r, err)
			}
			var fields []string
			for _, f := range faults.Faults {
				fields = append(fields, f.Field)
				if f.Problem == "" || f.Expected == "" {
					t.Errorf("%+v", f)
				}
			}
			if got := strings.Join(fields, " "); got != test.fields {
				t.Errorf("%s, want %s", got, test.fields)
			}
		})
	}
}

func TestRevocationsAreThoseOfTheConfiguration(t *testing.T) {
	l := newList()
	if got := resolver(t, credential.Config{Source: &source{}, Revocations: l}).Revocations(); got != any(l) {
		t.Errorf("%v", got)
	}
	if got := resolver(t, credential.Config{Source: &source{}}).Revocations(); got != nil {
		t.Errorf("%v", got)
	}
}
