package admin

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/mcpauth-go/mcpauth"
)

// Config says where administration is served. It is read once, by New.
type Config struct {
	// Socket is the path of a Unix socket. It gets mode 0600: who can open it
	// may do everything. Its directory must exist, and others must not be
	// able to replace what is in it.
	Socket string
	// Addr is where to listen on TCP instead, as "host:port". It needs
	// TokenFile.
	Addr string
	// TokenFile has the token that requests over TCP bring, as "Authorization:
	// Bearer": at least 16 characters and nothing else, but for a line break
	// at its end. The file must not be open to all users of the machine. It
	// is read again as it changes; while it is unusable, the last good token
	// stays.
	TokenFile string
	// Handler serves all paths but /debug/pprof/. It does not see the token.
	// Default: nothing.
	Handler http.Handler
	// Logger takes a record of each request. Default slog.Default().
	Logger *slog.Logger
}

// maxSocketPath is what the system with the shortest paths has room for.
const maxSocketPath = 103

// faults returns everything that is wrong with c, apart from the token.
func (c Config) faults() []mcpauth.Fault {
	var faults []mcpauth.Fault
	add := func(field, problem, expected string) {
		faults = append(faults, mcpauth.Fault{Field: field, Problem: problem, Expected: expected})
	}
	switch {
	case c.Socket == "" && c.Addr == "":
		add("Socket", "missing, and so is Addr", "one of the two")
	case c.Socket != "" && c.Addr != "":
		add("Addr", "set beside Socket", "one of the two")
	case c.Addr != "" && c.TokenFile == "":
		add("TokenFile", "missing, while Addr is set", "a file with a token, without which administration is not served on TCP")
	case c.Socket != "" && c.TokenFile != "":
		add("TokenFile", "set beside Socket", "no token, since the socket's mode says who may use it")
	}
	if c.Addr != "" {
		if _, port, err := net.SplitHostPort(c.Addr); err != nil || port == "" {
			add("Addr", fmt.Sprintf("found %q", c.Addr), `"host:port"`)
		}
	}
	switch {
	case c.Socket == "":
	case strings.HasPrefix(c.Socket, "@"):
		// Linux would take it for a socket without a file, open to everybody.
		add("Socket", fmt.Sprintf("found %q", c.Socket), "the path of a file, whose mode says who may use it")
	case len(c.Socket) > maxSocketPath:
		add("Socket", fmt.Sprintf("%q has %d bytes", c.Socket, len(c.Socket)), fmt.Sprintf("at most %d", maxSocketPath))
	default:
		if problem := unsafeDirectory(filepath.Dir(c.Socket)); problem != "" {
			add("Socket", problem, "a directory that exists and in which only its owner can replace files")
		}
	}
	return faults
}

// unsafeDirectory says why a socket in dir would not be its owner's alone:
// another user could put one of his own in its place.
func unsafeDirectory(dir string) string {
	info, err := os.Stat(dir)
	const (
		writable = 0o022
		sticky   = os.ModeSticky // files there are their owners' only
	)
	switch {
	case err != nil:
		return err.Error()
	case !info.IsDir():
		return fmt.Sprintf("%s is not a directory", dir)
	case runtime.GOOS != "windows" && info.Mode()&writable != 0 && info.Mode()&sticky == 0:
		return fmt.Sprintf("others can write to %s (mode %04o)", dir, info.Mode().Perm())
	}
	return ""
}
