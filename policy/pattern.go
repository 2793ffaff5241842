package policy

import "strings"

// table holds the rules of one kind.
type table struct {
	rules    []*rule
	exact    map[string][]*rule
	patterns []guarded
}

type guarded struct {
	pattern pattern
	rule    *rule
}

func (t *table) add(kind Kind, text string, r *rule) {
	t.rules = append(t.rules, r)
	spellings := []string{text}
	if kind == Resource {
		spellings = patternForms(text)
	}
	for _, s := range spellings {
		if strings.Contains(s, "*") {
			t.patterns = append(t.patterns, guarded{compile(s), r})
		} else {
			t.exact[s] = append(t.exact[s], r)
		}
	}
}

// each calls yield with the rules that match name, until yield says false,
// which each returns.
func (t *table) each(name string, yield func(*rule) bool) bool {
	for _, r := range t.exact[name] {
		if !yield(r) {
			return false
		}
	}
	for i := range t.patterns {
		if g := &t.patterns[i]; g.pattern.match(name) && !yield(g.rule) {
			return false
		}
	}
	return true
}

// matches reports whether a rule matches name.
func (t *table) matches(name string) bool {
	return !t.each(name, func(*rule) bool { return false })
}

// pattern is what its stars leave: at least two parts.
type pattern struct {
	first, last string
	middle      []string
}

func compile(text string) pattern {
	parts := strings.Split(text, "*")
	return pattern{first: parts[0], middle: parts[1 : len(parts)-1], last: parts[len(parts)-1]}
}

// match takes the first place of each part, which is as good as any other and
// takes time in proportion to name, whatever strangers write.
func (p *pattern) match(name string) bool {
	if len(name) < len(p.first)+len(p.last) || !strings.HasPrefix(name, p.first) || !strings.HasSuffix(name, p.last) {
		return false
	}
	name = name[len(p.first) : len(name)-len(p.last)]
	for _, part := range p.middle {
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name = name[i+len(part):]
	}
	return true
}
