package revoke

import "github.com/mcpauth-go/mcpauth"

// Len returns how many entries there are.
func (l *List) Len() int { return l.index.len() }

// Measure returns figures of the list, for the metrics.
func (l *List) Measure() []mcpauth.Measurement {
	all := make([]mcpauth.Measurement, 0, len(kinds)+5)
	for code, kind := range kinds {
		all = append(all, mcpauth.Measurement{Name: "mcpauth_revocations", Help: "Revocations in force.",
			Labels: map[string]string{"kind": string(kind)}, Value: float64(l.index.n[code].Load())})
	}
	unsaved := 0
	if l.file != nil {
		l.mu.Lock()
		unsaved = len(l.unsaved)
		l.mu.Unlock()
	}
	const failures, failuresHelp = "mcpauth_revocation_failures_total", "Revocations refused for want of room, and failed attempts to write the file."
	return append(all,
		mcpauth.Measurement{Name: "mcpauth_revocations_limit", Help: "Revocations there is room for.", Value: float64(l.config.MaxEntries)},
		mcpauth.Measurement{Name: "mcpauth_revocations_unsaved", Help: "Changes that the file is still to be told.", Value: float64(unsaved)},
		mcpauth.Measurement{Name: "mcpauth_revocations_file_bytes", Help: "Size of the file.", Value: float64(l.fileBytes.Load())},
		mcpauth.Measurement{Name: failures, Help: failuresHelp, Labels: map[string]string{"reason": "full"}, Counter: true, Value: float64(l.full.Load())},
		mcpauth.Measurement{Name: failures, Help: failuresHelp, Labels: map[string]string{"reason": "file"}, Counter: true, Value: float64(l.failed.Load())},
	)
}
