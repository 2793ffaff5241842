package gateway

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mcpauth-go/mcpauth/policy"
	"github.com/mcpauth-go/mcpauth/upstream/inproc"
)

// listed returns what compares the names in rules and rates with what a server
// lists; nil if there are only patterns.
func (g *Gateway) listed() func(inproc.Listing) {
	if len(g.policy.Unlisted(nil)) == 0 && len(g.ratesWithout(nil)) == 0 {
		return nil
	}
	return func(l inproc.Listing) {
		names := map[policy.Kind][]string{policy.Tool: l.Tools, policy.Prompt: l.Prompts, policy.Resource: slices.Concat(l.Resources, l.ResourceTemplates)}
		var all []policy.Operation
		for kind, list := range names {
			for _, name := range list {
				all = append(all, policy.Operation{Kind: kind, Name: name})
			}
		}
		warn := func(setting string, kind policy.Kind, name string) {
			g.config.Logger.Warn("a rule or rate names what the first server does not list", "setting", setting,
				"kind", string(kind), "name", name, "similar", similar(name, names[kind]))
		}
		for _, i := range g.policy.Unlisted(all) {
			switch r := g.config.Rules[i]; {
			case r.Tool != "":
				warn(fmt.Sprintf("Rules[%d].Tool", i), policy.Tool, r.Tool)
			case r.Prompt != "":
				warn(fmt.Sprintf("Rules[%d].Prompt", i), policy.Prompt, r.Prompt)
			default:
				warn(fmt.Sprintf("Rules[%d].Resource", i), policy.Resource, r.Resource)
			}
		}
		for _, name := range g.ratesWithout(l.Tools) {
			warn(fmt.Sprintf("ToolRates[%q]", name), policy.Tool, name)
		}
	}
}

// ratesWithout returns the names of ToolRates that are not among tools.
func (g *Gateway) ratesWithout(tools []string) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(g.config.ToolRates)), func(name string) bool {
		return name == "*" || slices.Contains(tools, name)
	})
}

// similar returns up to three of names that name may be a misspelling of, the
// nearest first. Letter case does not count.
func similar(name string, names []string) []string {
	const most, longest = 3, 256
	type near struct {
		name     string
		distance int
	}
	var found []near
	wanted := []rune(strings.ToLower(name))
	if len(wanted) > longest {
		return nil
	}
	for _, n := range names {
		other := []rune(strings.ToLower(n))
		if len(other) > longest {
			continue
		}
		if d := distance(wanted, other); d <= max(1, len(wanted)/3) {
			found = append(found, near{n, d})
		}
	}
	slices.SortFunc(found, func(a, b near) int { return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.name, b.name)) })
	var all []string
	for _, n := range found[:min(most, len(found))] {
		all = append(all, n.name)
	}
	return all
}

// distance returns the edit distance (Levenshtein) of a and b.
func distance(a, b []rune) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j := range b {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}
