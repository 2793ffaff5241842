package mcpauth

// ValidScope reports whether s is one scope (RFC 6749, section 3.3).
func ValidScope(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x21 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}

// Hierarchy says which scopes come with a scope: a token that has the key has
// the values too, and what those have in turn. It is read only, and nil means
// that scopes stand each for itself.
//
//	mcpauth.Hierarchy{"admin": {"write"}, "write": {"read"}}
type Hierarchy map[string][]string

// Grants reports whether id has every one of needed, itself or by a scope that
// brings it.
func (h Hierarchy) Grants(id *Identity, needed ...string) bool {
	if id.HasScopes(needed...) {
		return true
	}
	if len(h) == 0 {
		return false
	}
	granted := map[string]bool{}
	var grant func(scopes []string)
	grant = func(scopes []string) {
		for _, s := range scopes {
			if !granted[s] {
				granted[s] = true
				grant(h[s])
			}
		}
	}
	grant(id.scopes)
	for _, s := range needed {
		if !granted[s] {
			return false
		}
	}
	return true
}
