package mcpauth

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// OriginConfig says under which names a server may be called and by pages of
// which origins.
type OriginConfig struct {
	// PublicURL is the origin under which clients reach the server.
	PublicURL string
	// AllowedHosts are further values of the Host header, as "host" for any
	// port or "host:port". The public host and, on a connection that came in
	// over loopback, the loopback names are always allowed.
	AllowedHosts []string
	// AllowedOrigins are further origins, such as "https://app.example.com",
	// from which requests are not refused. Its own origin is always allowed.
	// Whether a page there may read the answers is for CORS headers to say,
	// which this does not set.
	AllowedOrigins []string
	// AnyOrigin lets pages of all origins pass. It is for development.
	AnyOrigin bool
	// Logger takes a record of each refusal; nil means slog.Default().
	Logger *slog.Logger
	// Refused, if it is not nil, is told of each refusal instead.
	Refused func(*http.Request, *Error)
}

// CheckOrigin returns middleware that refuses, with 403, requests under a
// name that is not the server's (which is how DNS rebinding reaches a local
// server) and requests from pages of other origins (MCP specification,
// transports, security). Requests without Origin pass: they come from
// programs. The error is a *ConfigError with all faults.
func CheckOrigin(c OriginConfig) (func(http.Handler) http.Handler, error) {
	var faults []Fault
	public, fault := parseOrigin(c.PublicURL)
	if fault != nil {
		fault.Field = "PublicURL"
		faults = append(faults, *fault)
		public = &url.URL{}
	}
	hosts := map[string]bool{public.Host: true}
	for i, h := range c.AllowedHosts {
		name, port, ok := splitHost(h)
		if !ok {
			faults = append(faults, Fault{fmt.Sprintf("AllowedHosts[%d]", i), fmt.Sprintf("found %q", h), `"host" or "host:port", in Punycode where need be`})
			continue
		}
		hosts[joinHost(public.Scheme, name, port)] = true
	}
	origins := map[string]bool{public.String(): true}
	for i, o := range c.AllowedOrigins {
		scheme, host, ok := splitOrigin(strings.TrimRight(o, "/"))
		if !ok {
			faults = append(faults, Fault{fmt.Sprintf("AllowedOrigins[%d]", i), found(o), `one origin, such as "https://app.example.com", in Punycode where need be`})
			continue
		}
		origins[scheme+"://"+host] = true
	}
	if len(faults) > 0 {
		return nil, &ConfigError{Package: "mcpauth", Faults: faults}
	}

	refused := refusals(c.Refused, c.Logger)
	refuse := func(w http.ResponseWriter, r *http.Request, code Code, message, found, setting string) {
		e := &Error{Code: code, Message: message, Cause: fmt.Errorf("found %.200q; see PublicURL and %s", found, setting)}
		refused(r, e)
		Requirement{}.Refuse(w, e)
	}
	allowedHost := func(r *http.Request) bool {
		name, port, ok := splitHost(r.Host)
		if !ok {
			return false
		}
		return hosts[name] || hosts[joinHost(public.Scheme, name, port)] || LoopbackHost(name) && overLoopback(r)
	}
	allowedOrigin := func(r *http.Request) bool {
		values := r.Header["Origin"]
		if len(values) == 0 || c.AnyOrigin {
			return true
		}
		scheme, host, ok := splitOrigin(values[0])
		if len(values) > 1 || !ok {
			return false
		}
		// A loopback server is its own origin under each loopback name.
		own := scheme == "http" && LoopbackHost(host) && strings.EqualFold(values[0], "http://"+r.Host) && overLoopback(r)
		return origins[scheme+"://"+host] || own
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case !allowedHost(r):
				refuse(w, r, ErrForbiddenHost, "This server does not answer to the name in the Host header.", r.Host, "AllowedHosts")
			case !allowedOrigin(r):
				refuse(w, r, ErrForbiddenOrigin, "Pages of this origin may not call this server.", r.Header.Get("Origin"), "AllowedOrigins")
			default:
				next.ServeHTTP(w, r)
			}
		})
	}, nil
}

// splitOrigin splits a serialized origin (RFC 6454, section 6.2) into its scheme and
// its host in the normal form. "null" is none.
func splitOrigin(origin string) (scheme, host string, ok bool) {
	scheme, host, _ = strings.Cut(origin, "://")
	if !validScheme(scheme) {
		return "", "", false
	}
	scheme = strings.ToLower(scheme)
	if host == "." && scheme != "http" && scheme != "https" {
		return scheme, host, true // "app://.", of some programs that are pages
	}
	name, port, ok := splitHost(host)
	return scheme, joinHost(scheme, name, port), ok
}

// validScheme reports whether s is the scheme of a URL (RFC 3986, section 3.1).
func validScheme(s string) bool {
	for i, c := range []byte(s) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789+-.", rune(c))) {
			return false
		}
	}
	return s != ""
}

// overLoopback reports whether the connection's near end is a loopback
// address, as net/http recorded it.
func overLoopback(r *http.Request) bool {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
