// Package policy says what a user may: which scopes the operations of MCP
// need, and which of them nobody may use.
//
//	p, err := policy.New(policy.Config{
//		Scopes: []string{"mcp"},
//		Rules: []policy.Rule{
//			{Tool: "delete_*", Scopes: []string{"notes:write"}},
//			{Resource: "file:///etc/*", Deny: true},
//		},
//		Hierarchy: mcpauth.Hierarchy{"notes:admin": {"notes:write"}},
//	})
//	…
//	refusal := p.Check(id, []policy.Operation{{Kind: policy.Tool, Name: "delete_note"}})
//
// Rules add up and only ever restrict: all that match an operation apply, their
// scopes together, and one that denies is enough. What no rule matches needs
// Config.Scopes alone, or, with Config.Strict, is denied to everybody.
//
// # What a rule can promise
//
// The name of a tool or a prompt is one string, and servers compare it byte by
// byte, as rules do. A resource can be written in many ways, and it is for the
// server which of them it takes for one. A rule for a resource therefore
// matches the URI as it was sent and all its usual forms: letter case of scheme
// and host, percent-encoding (twice over), dot segments, repeated slashes and
// those at the end, backslashes, user information, default ports, the host of a
// file URI, query and fragment. So file:///%73ecret does not slip past a rule
// for file:///secret*. But no list of forms is complete: a server may have
// symbolic links, a file system without letter case, or an alias of its own.
// Safe is what does not depend on spelling, the pattern "*": give everything a
// scope with {Resource: "*", Scopes: …}, rather than some of it, and put what is
// for others on a server of its own.
//
// With Config.Strict, the match is the other way around: a rule names a resource
// only if it matches the URI as it was sent and each of its decoded and
// normalized forms, up to the query. A URI that a server could read as another
// resource than the rule's is denied.
package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mcpauth-go/mcpauth"
)

// Kind is the kind of thing that a request asks for.
type Kind string

const (
	Tool     Kind = "tool"
	Prompt   Kind = "prompt"
	Resource Kind = "resource"
)

// Operation is one thing that a request asks for: a tool to call, a prompt to
// get, a resource to read or to subscribe to.
type Operation struct {
	Kind Kind
	Name string // of the tool or the prompt; the URI of the resource
}

// Rule says what operations need. Exactly one of Tool, Prompt and Resource is
// set: a name, or a pattern in which each * stands for any run of characters,
// "/" included. There is no other special character.
type Rule struct {
	Tool, Prompt string
	// Resource is a URI, or a pattern of URIs. A rule for a URI without query
	// is for that URI with any query too. A URI of more than 16 KiB that is not
	// in its normal form matches every rule for resources.
	Resource string
	// Scopes must all be granted. With Config.Strict they may be empty: the rule
	// then allows what it names to everybody who has Config.Scopes.
	Scopes []string
	// Deny means that nobody may, whatever their scopes, and that lists do not
	// show it. It excludes Scopes.
	Deny bool
}

// Config is what New makes a Policy of. The zero Config lets everybody do
// everything.
type Config struct {
	// Scopes are those that every request needs.
	Scopes []string
	// Rules say what single operations need beyond that.
	Rules []Rule
	// Strict denies every operation that no rule names, by its name or by a
	// pattern, as a rule with Deny does. Default: it needs Scopes alone.
	Strict bool
	// Hierarchy says which scopes come with others.
	Hierarchy mcpauth.Hierarchy
}

// Policy decides what a user may. It is immutable and safe for concurrent use.
type Policy struct {
	strict bool
	always []need
	tables map[Kind]*table
	known  map[string]struct{} // that something needs, and all of the hierarchy
}

// need is a scope that must be granted, by itself or by one that brings it.
type need struct {
	scope string
	by    []string // scope first
}

// rule is a Rule as Check reads it.
type rule struct {
	index   int
	literal string // the one name or URI; "" for a pattern
	needs   []need
	deny    bool
}

// New validates c. The error is a *mcpauth.ConfigError with all faults.
func New(c Config) (*Policy, error) {
	if faults := c.faults(); len(faults) > 0 {
		return nil, &mcpauth.ConfigError{Package: "policy", Faults: faults}
	}
	bring := bringers(c.Hierarchy)
	p := &Policy{strict: c.Strict, tables: map[Kind]*table{}, known: map[string]struct{}{}}
	needs := func(scopes []string) []need {
		all := make([]need, len(scopes))
		for i, s := range scopes {
			all[i] = need{scope: s, by: append([]string{s}, bring[s]...)}
			p.known[s] = struct{}{}
		}
		return all
	}
	p.always = needs(c.Scopes)
	for i, r := range c.Rules {
		kind, pattern := r.target()
		t := p.tables[kind]
		if t == nil {
			t = &table{exact: map[string][]*rule{}}
			p.tables[kind] = t
		}
		own := &rule{index: i, needs: needs(r.Scopes), deny: r.Deny}
		if !strings.Contains(pattern, "*") {
			own.literal = pattern
		}
		t.add(kind, pattern, own)
	}
	for s, brought := range c.Hierarchy {
		p.known[s] = struct{}{}
		for _, s := range brought {
			p.known[s] = struct{}{}
		}
	}
	return p, nil
}

// target returns what r is for. Its pattern is "" unless exactly one is set.
func (r Rule) target() (kind Kind, pattern string) {
	set := 0
	for k, text := range map[Kind]string{Tool: r.Tool, Prompt: r.Prompt, Resource: r.Resource} {
		if text != "" {
			kind, pattern = k, text
			set++
		}
	}
	if set != 1 {
		return "", ""
	}
	return kind, pattern
}

func (c Config) faults() []mcpauth.Fault {
	var faults []mcpauth.Fault
	add := func(field, problem, expected string) {
		faults = append(faults, mcpauth.Fault{Field: field, Problem: problem, Expected: expected})
	}
	scope := func(field, s string) {
		if !mcpauth.ValidScope(s) {
			add(field, fmt.Sprintf("found %q", s), "one scope of RFC 6749, section 3.3: printable ASCII without space, quote and backslash")
		} else if s == "offline_access" {
			add(field, `found "offline_access"`, "scopes of this resource (refresh tokens are the client's own affair)")
		}
	}
	scopes := func(field string, all []string) {
		for i, s := range all {
			scope(fmt.Sprintf("%s[%d]", field, i), s)
		}
	}
	scopes("Scopes", c.Scopes)
	for i, r := range c.Rules {
		field := fmt.Sprintf("Rules[%d]", i)
		if _, pattern := r.target(); pattern == "" {
			add(field, fmt.Sprintf("Tool %q, Prompt %q, Resource %q", r.Tool, r.Prompt, r.Resource), "exactly one of the three")
		}
		switch {
		case r.Deny && len(r.Scopes) > 0:
			add(field, "Deny beside Scopes", "one of the two: what is denied is denied with every scope")
		case !r.Deny && len(r.Scopes) == 0 && !c.Strict:
			add(field, "neither Scopes nor Deny", "one of the two: without a rule an operation needs Config.Scopes alone")
		}
		scopes(field+".Scopes", r.Scopes)
	}
	for _, s := range slices.Sorted(maps.Keys(c.Hierarchy)) {
		field := fmt.Sprintf("Hierarchy[%q]", s)
		scope(field, s)
		scopes(field, c.Hierarchy[s])
	}
	return faults
}

// bringers maps each scope to those that bring it, directly or not.
func bringers(h mcpauth.Hierarchy) map[string][]string {
	all := map[string][]string{}
	for _, from := range slices.Sorted(maps.Keys(h)) {
		reached := map[string]bool{from: true}
		for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
			for _, s := range h[queue[0]] {
				if !reached[s] {
					reached[s] = true
					all[s] = append(all[s], from)
					queue = append(queue, s)
				}
			}
		}
	}
	return all
}

// Check returns nil if id may do all of operations, which are those of one
// request. The refusal is ErrForbidden when nobody may do one of them, and
// otherwise ErrInsufficientScope with all the scopes that the request needs,
// granted ones included, so that a client has to ask for them once only.
func (p *Policy) Check(id *mcpauth.Identity, operations []Operation) *mcpauth.Error {
	insufficient := !granted(id, p.always)
	for _, op := range operations {
		if p.strict && !p.names(op) {
			return &mcpauth.Error{Code: mcpauth.ErrForbidden, Message: "This server does not allow this operation.",
				Cause: fmt.Errorf("user %q of %q asks for a %s that no rule names, which Strict denies to everybody", id.UserID(), id.Issuer(), op.Kind)}
		}
		denied := -1
		p.each(op, func(r *rule) bool {
			if r.deny {
				denied = r.index
				return false
			}
			insufficient = insufficient || !granted(id, r.needs)
			return true
		})
		if denied >= 0 {
			return &mcpauth.Error{Code: mcpauth.ErrForbidden, Message: "This server does not allow this operation.",
				Cause: fmt.Errorf("user %q of %q asks for %s %.200q, which Rules[%d] denies to everybody", id.UserID(), id.Issuer(), op.Kind, op.Name, denied)}
		}
	}
	if !insufficient {
		return nil
	}
	return p.insufficient(id, operations)
}

// insufficient is apart from Check, which allocates nothing.
func (p *Policy) insufficient(id *mcpauth.Identity, operations []Operation) *mcpauth.Error {
	var (
		scopes []string
		seen   = map[string]bool{}
		lacks  []error // at most one a need
	)
	add := func(needs []need, whatFor func() string) {
		for _, n := range needs {
			if seen[n.scope] {
				continue
			}
			seen[n.scope] = true
			scopes = append(scopes, n.scope)
			if !n.granted(id) {
				lacks = append(lacks, fmt.Errorf("lacks %q, which %s needs", n.scope, whatFor()))
			}
		}
	}
	add(p.always, func() string { return "every request" })
	for _, op := range operations {
		p.each(op, func(r *rule) bool {
			add(r.needs, func() string { return fmt.Sprintf("%s %.200q by Rules[%d]", op.Kind, op.Name, r.index) })
			return true
		})
	}
	return &mcpauth.Error{Code: mcpauth.ErrInsufficientScope, Message: "The token lacks a scope that this operation needs.", Scopes: scopes,
		Cause: fmt.Errorf("user %q of %q %w", id.UserID(), id.Issuer(), errors.Join(lacks...))}
}

// Denied reports whether nobody may do op, so that lists do not show it.
func (p *Policy) Denied(op Operation) bool {
	denied := p.strict && !p.names(op)
	p.each(op, func(r *rule) bool {
		denied = denied || r.deny
		return !denied
	})
	return denied
}

// Allows reports whether id may do op. Lists that show only what is allowed
// hide from a client what it could ask a scope for.
func (p *Policy) Allows(id *mcpauth.Identity, op Operation) bool {
	allowed := granted(id, p.always) && !(p.strict && !p.names(op))
	p.each(op, func(r *rule) bool {
		allowed = allowed && !r.deny && granted(id, r.needs)
		return allowed
	})
	return allowed
}

// Granted returns those scopes of id that this policy knows, in the token's
// order. Clients of MCP before 2026-07-28 lose the scopes that a challenge does
// not name, so that theirs names these too.
func (p *Policy) Granted(id *mcpauth.Identity) []string {
	return slices.DeleteFunc(id.Scopes(), func(s string) bool {
		_, known := p.known[s]
		return !known
	})
}

func granted(id *mcpauth.Identity, needs []need) bool {
	for i := range needs {
		if !needs[i].granted(id) {
			return false
		}
	}
	return true
}

func (n *need) granted(id *mcpauth.Identity) bool {
	for _, s := range n.by {
		if id.HasScopes(s) {
			return true
		}
	}
	return false
}

// each calls yield with the rules that match op, some of them more than once,
// until yield says false.
func (p *Policy) each(op Operation, yield func(*rule) bool) {
	t := p.tables[op.Kind]
	switch {
	case t == nil:
	case op.Kind != Resource || plain(op.Name):
		t.each(op.Name, yield)
	case len(op.Name) > maxURI:
		for _, r := range t.rules {
			if !yield(r) {
				return
			}
		}
	default:
		for _, form := range forms(op.Name) {
			if !t.each(form, yield) {
				return
			}
		}
	}
}

// names reports whether a rule names op, in Strict's sense.
func (p *Policy) names(op Operation) bool {
	t := p.tables[op.Kind]
	switch {
	case t == nil:
		return false
	case op.Kind != Resource || plain(op.Name):
		return t.matches(op.Name)
	case len(op.Name) > maxURI:
		return false
	}
	for _, reading := range readings(op.Name) {
		if !slices.ContainsFunc(reading, t.matches) {
			return false
		}
	}
	return true
}

// Unlisted returns the indexes of the rules that name one tool, prompt or resource
// which is not in listed. A rule with a pattern is not among them. A resource is
// also listed by a URI template (RFC 6570) that it may be an expansion of.
func (p *Policy) Unlisted(listed []Operation) []int {
	found := map[*rule]bool{}
	for _, op := range listed {
		p.each(op, func(r *rule) bool {
			found[r] = true
			return true
		})
	}
	var unlisted []int
	for kind, t := range p.tables {
		for _, r := range t.rules {
			expands := func(op Operation) bool { return kind == Resource && op.Kind == kind && mayExpandTo(op.Name, r.literal) }
			if r.literal != "" && !found[r] && !slices.ContainsFunc(listed, expands) {
				unlisted = append(unlisted, r.index)
			}
		}
	}
	slices.Sort(unlisted)
	return unlisted
}
