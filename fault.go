package mcpauth

import "strings"

// Fault is one thing that is wrong with a configuration.
type Fault struct {
	// Field is the path of the setting, such as "Issuers[0].Audience".
	Field string
	// Problem says what was found there. It never holds a secret.
	Problem string
	// Expected says what would be right.
	Expected string
}

func (f Fault) String() string {
	text := f.Field + ": " + f.Problem
	if f.Expected != "" {
		text += "; expected " + f.Expected
	}
	return text
}

// ConfigError holds everything that is wrong with a configuration, so that
// it can be mended in one go.
type ConfigError struct {
	// Package is the configured package, such as "jwt".
	Package string
	Faults  []Fault
}

// Error lists the faults, one a line when there are several.
func (e *ConfigError) Error() string {
	if len(e.Faults) == 1 {
		return e.Package + ": " + e.Faults[0].String()
	}
	var b strings.Builder
	b.WriteString(e.Package + ": the configuration has faults:")
	for _, f := range e.Faults {
		b.WriteString("\n  - " + f.String())
	}
	return b.String()
}
