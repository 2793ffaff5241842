package keyset

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// MaxAge returns for how long a response says that it is fresh yet (RFC 9111,
// section 4.2): its "max-age", less the time that it has spent in caches. ok is
// false when it does not say, or says something else beside. "no-cache" and
// "no-store", which frameworks put on whatever they answer, are about keeping
// responses, and say nothing of how long keys are used.
func MaxAge(h http.Header) (age time.Duration, ok bool) {
	for _, value := range h.Values("Cache-Control") {
		for value != "" {
			var directive string
			directive, value = cutDirective(value)
			name, argument, _ := strings.Cut(directive, "=")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "no-cache", "no-store":
				return 0, false
			case "max-age":
				seconds, valid := deltaSeconds(argument)
				if !valid || ok && seconds != age {
					return 0, false
				}
				age, ok = seconds, true
			}
		}
	}
	if spent, valid := deltaSeconds(h.Get("Age")); ok && valid {
		age = max(0, age-spent)
	}
	return age, ok
}

// cutDirective returns the text before the first comma outside of quotes, and
// the text after it.
func cutDirective(s string) (directive, rest string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// deltaSeconds reads a number of seconds (RFC 9111, section 1.2.2), quoted or
// not; one that is too large stands for a long time.
func deltaSeconds(s string) (time.Duration, bool) {
	s = strings.TrimSpace(s)
	if len(s) > 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	const longest = 1 << 31
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > longest {
		n = longest
	}
	return time.Duration(n) * time.Second, true
}
