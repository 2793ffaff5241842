package policy

import (
	"slices"
	"strings"
)

// maxURI bounds the work that a stranger's URI makes. A longer one that is not
// plain matches every rule for resources.
const maxURI = 16 << 10

const (
	lower = "abcdefghijklmnopqrstuvwxyz0123456789+-."
	upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

func consists(s, of string) bool { return strings.Trim(s, of) == "" }

// plain reports whether uri is the one form of itself, as most are, so that
// nothing has to be allocated for it.
func plain(uri string) bool {
	scheme, path, ok := strings.Cut(uri, ":")
	if !ok || scheme == "" || !consists(scheme, lower) {
		return false
	}
	host := ""
	if after, ok := strings.CutPrefix(path, "//"); ok {
		slash := strings.IndexByte(after, '/')
		if slash < 0 {
			slash = len(after)
		}
		host, path = after[:slash], after[slash:]
	} else if scheme == "file" {
		return false
	}
	if !consists(host, lower+"_") || strings.HasSuffix(host, ".") || scheme == "file" && (host != "" || path == "") {
		return false
	}
	return consists(path, lower+upper+"/_~:@,;=!$&'()*") && !strings.HasSuffix(uri, "/") &&
		!strings.HasPrefix(path, ".") && !strings.Contains(path, "//") && !strings.Contains(path, "/.")
}

// forms returns the ways in which a server might read uri: its escapes decoded
// not at all, once and twice; each with all that it has, without its fragment,
// without its query, and without slashes at its end.
func forms(uri string) []string {
	all := []string{uri}
	for range 3 {
		whole, query, fragment := normal(uri, false)
		all = appendNew(all, whole, whole[:fragment], whole[:query], strings.TrimRight(whole[:query], "/"))
		uri = decode(uri, false)
	}
	return all
}

// readings returns what a server might take uri for: as it was sent, and its
// escapes decoded not at all, once and twice; each whole, without its fragment, and
// without its query.
func readings(uri string) [][]string {
	path, _ := cutAt(uri, "?#")
	whole, _ := cutAt(uri, "#")
	all := [][]string{{uri, whole, path}}
	for range 3 {
		whole, query, fragment := normal(uri, false)
		all = append(all, []string{whole, whole[:fragment], whole[:query]})
		uri = decode(uri, false)
	}
	return all
}

// mayExpandTo reports whether uri may be an expansion of a URI template.
func mayExpandTo(template, uri string) bool {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(template, "{")
		b.WriteString(before)
		_, after, closed := strings.Cut(rest, "}")
		if !found || !closed {
			break
		}
		b.WriteByte('*')
		template = after
	}
	if !strings.Contains(b.String(), "*") {
		return false
	}
	p := compile(b.String())
	return slices.ContainsFunc(patternForms(uri), p.match)
}

// patternForms returns pattern as it is and as the forms of URIs are written,
// so that they meet. None of them takes a part of the pattern away.
func patternForms(pattern string) []string {
	all := []string{pattern}
	for _, text := range []string{pattern, decode(pattern, true)} {
		whole, _, _ := normal(text, true)
		all = appendNew(all, whole)
		if bare := strings.TrimRight(whole, "/"); !strings.HasSuffix(bare, "*") {
			all = appendNew(all, bare)
		}
	}
	return all
}

func appendNew(all []string, more ...string) []string {
	for _, s := range more {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// decode undoes percent-encoding and leaves what is no escape. In a pattern,
// an escaped star does not become one.
func decode(s string, pattern bool) string {
	if !strings.Contains(s, "%") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			high, low := unhex(s[i+1]), unhex(s[i+2])
			if c := high<<4 | low; high >= 0 && low >= 0 && !(pattern && c == '*') {
				b = append(b, byte(c))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

// unhex returns the value of a hexadecimal digit, or -1.
func unhex(c byte) int {
	if 'A' <= c && c <= 'F' {
		c |= 0x20
	}
	return strings.IndexByte("0123456789abcdef", c)
}

// separators are read as browsers' URL parsers read them (WHATWG URL, section
// 4.4), which servers written in JavaScript use.
var separators = strings.NewReplacer(`\`, "/", "\t", "", "\n", "", "\r", "")

// normal returns one form for the URIs that differ in their spelling only (RFC
// 3986, section 6.2, and what servers make of file URIs), and where its query
// and its fragment begin.
func normal(uri string, pattern bool) (whole string, query, fragment int) {
	rest, fragmentPart := cutAt(separators.Replace(trim(uri)), "#")
	rest, queryPart := cutAt(rest, "?\x00") // C ends a string at NUL
	rest = trim(rest)

	scheme, authority := "", ""
	if i := strings.IndexByte(rest, ':'); i > 0 && consists(rest[:i], lower+upper+"*") {
		scheme, rest = strings.ToLower(rest[:i+1]), rest[i+1:]
	}
	if after, ok := strings.CutPrefix(rest, "//"); ok {
		host, path := cutAt(after, "/")
		host = strings.ToLower(host[strings.LastIndexByte(host, '@')+1:])
		if i := strings.LastIndexByte(host, ':'); i >= 0 && (host[i:] == ":" || scheme+host[i:] == "http::80" || scheme+host[i:] == "https::443") {
			host = host[:i]
		}
		authority, rest = "//"+strings.TrimSuffix(host, "."), path
	}
	if scheme == "file:" && !(pattern && strings.Contains(authority, "*")) {
		// Whatever its host, most servers open the path.
		authority = "//"
		if !strings.HasPrefix(rest, "/") {
			rest = "/" + rest
		}
	}
	path := scheme + authority + withoutDots(rest)
	return path + queryPart + fragmentPart, len(path), len(path) + len(queryPart)
}

// trim takes spaces and controls off both ends.
func trim(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return r <= ' ' })
}

// cutAt cuts s before the first of chars.
func cutAt(s, chars string) (before, after string) {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

// withoutDots removes dot segments (RFC 3986, section 5.2.4) and empty ones.
func withoutDots(path string) string {
	segments := strings.Split(path, "/")
	kept := make([]string, 1, len(segments)+1) // an empty one first, for the slash in front
	for _, s := range segments {
		switch s {
		case "", ".":
		case "..":
			kept = kept[:max(1, len(kept)-1)]
		default:
			kept = append(kept, s)
		}
	}
	if last := segments[len(segments)-1]; last == "" || last == "." || last == ".." {
		kept = append(kept, "")
	}
	clean := strings.Join(kept, "/")
	if !strings.HasPrefix(path, "/") {
		clean = strings.TrimPrefix(clean, "/")
	}
	return clean
}
