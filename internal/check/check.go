// Package check has what configurations are checked for.
package check

import (
	"fmt"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text returns what is wrong with a name, or "". It has to be there, and to be the
// same wherever it is written down.
func Text(s string) string {
	switch {
	case s == "":
		return "empty"
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		return fmt.Sprintf("%.100q has control characters or is not UTF-8", s)
	case strings.TrimSpace(s) != s:
		return fmt.Sprintf("%.100q begins or ends with a space", s)
	}
	return ""
}

// Visible reports whether s can be sent as a token: it is there, and all of it is
// ASCII that can be seen.
func Visible(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' })
}

// IsNil reports whether an interface, which is not nil itself, holds a pointer or a
// function that is: such a part fails at the first request.
func IsNil(part any) bool {
	v := reflect.ValueOf(part)
	return (v.Kind() == reflect.Pointer || v.Kind() == reflect.Func) && v.IsNil()
}

// Same reports whether two parts are one. Parts that cannot be compared are not.
func Same(a, b any) bool {
	if a == nil || b == nil {
		return a == b
	}
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}
