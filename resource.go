package mcpauth

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
)

// ResourceConfig says where a protected resource is and who issues tokens
// for it.
type ResourceConfig struct {
	// PublicURL is the origin under which clients reach this server, such as
	// "https://mcp.example.com". It is the only source of the URLs that are
	// handed out; no request header changes them. Plain http is taken for
	// loopback hosts only.
	PublicURL string
	// Path is the resource's path, such as "/mcp".
	Path string
	// AuthorizationServers are the issuer URLs of the authorization servers
	// whose tokens the resource takes (RFC 9728, section 2). Without one there
	// is no metadata document and challenges do not point to any.
	AuthorizationServers []string
	// Scopes are those a client may ask for ("scopes_supported").
	Scopes []string
}

// Resource is a protected resource (RFC 9728): its identifier, its metadata
// document and the challenges that point there. It is immutable.
type Resource struct {
	public      *url.URL
	identifier  string
	metadataURL string
	document    []byte
}

// NewResource validates c. The error is a *ConfigError with all faults.
func NewResource(c ResourceConfig) (*Resource, error) {
	var faults []Fault
	public, fault := parseOrigin(c.PublicURL)
	if fault != nil {
		fault.Field = "PublicURL"
		faults = append(faults, *fault)
	}
	if c.Path != "" && (!strings.HasPrefix(c.Path, "/") || path.Clean(c.Path) != c.Path || c.Path == "/" || strings.ContainsFunc(c.Path, notInPath)) {
		faults = append(faults, Fault{"Path", fmt.Sprintf("found %q", c.Path), `a plain path such as "/mcp", without a slash at its end`})
	}
	for i, as := range c.AuthorizationServers {
		if u, err := url.Parse(as); err != nil || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil || !secureOrLoopback(u) {
			faults = append(faults, Fault{fmt.Sprintf("AuthorizationServers[%d]", i), found(as),
				"an https URL without query and fragment (http for a loopback host)"})
		}
	}
	for i, s := range c.Scopes {
		if !ValidScope(s) {
			faults = append(faults, Fault{fmt.Sprintf("Scopes[%d]", i), fmt.Sprintf("found %q", s), "one scope of RFC 6749, section 3.3: printable ASCII without space, quote and backslash"})
		} else if s == "offline_access" {
			faults = append(faults, Fault{fmt.Sprintf("Scopes[%d]", i), `found "offline_access"`, "scopes of this resource (refresh tokens are the client's own affair)"})
		}
	}
	if len(faults) > 0 {
		return nil, &ConfigError{Package: "mcpauth", Faults: faults}
	}

	r := &Resource{public: public, identifier: public.String() + c.Path}
	if len(c.AuthorizationServers) > 0 {
		r.metadataURL = public.String() + metadataPrefix + c.Path
		var err error
		r.document, err = json.Marshal(metadata{
			Resource:             r.identifier,
			AuthorizationServers: c.AuthorizationServers,
			Scopes:               c.Scopes,
			BearerMethods:        []string{"header"},
		})
		if err != nil {
			return nil, fmt.Errorf("mcpauth: resource metadata: %w", err)
		}
	}
	return r, nil
}

// notInPath finds what would need escaping in a path, or means something in a
// pattern of http.ServeMux.
func notInPath(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"#%<>?[\]^`+"`{|}", r)
}

const metadataPrefix = "/.well-known/oauth-protected-resource"

// metadata is the document of RFC 9728, section 2.
type metadata struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers"`
	Scopes               []string `json:"scopes_supported,omitempty"`
	BearerMethods        []string `json:"bearer_methods_supported"`
}

// Identifier returns the resource identifier: public URL and path. It is what
// clients put into "resource" (RFC 8707) and issuers into "aud".
func (r *Resource) Identifier() string { return r.identifier }

// MetadataURL returns where the metadata document is, or "" if there is none.
func (r *Resource) MetadataURL() string { return r.metadataURL }

// MetadataPath returns the path at which ServeHTTP has to be mounted, or ""
// when there is no document.
func (r *Resource) MetadataPath() string {
	return strings.TrimPrefix(r.metadataURL, r.public.String())
}

// ServeHTTP serves the metadata document, to any origin and without a
// credential, since clients read it before they have one.
func (r *Resource) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	switch {
	case r.document == nil:
		http.NotFound(w, req)
	case req.Method == http.MethodOptions:
		h.Set("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS")
		// Clients send MCP-Protocol-Version with every request.
		h.Set("Access-Control-Allow-Headers", "*")
		w.WriteHeader(http.StatusNoContent)
	case req.Method != http.MethodGet && req.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD, OPTIONS")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	default:
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", "max-age=300")
		w.Write(r.document)
	}
}

// parseOrigin returns the origin that text is, in its normal form.
func parseOrigin(text string) (*url.URL, *Fault) {
	expected := `an origin without path, such as "https://mcp.example.com", in Punycode where need be`
	u, err := url.Parse(text)
	if err != nil {
		return nil, &Fault{Problem: found(text), Expected: expected}
	}
	name, port, ok := splitHost(u.Host)
	switch {
	case !ok || u.Scheme != "http" && u.Scheme != "https":
		return nil, &Fault{Problem: found(text), Expected: expected}
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return nil, &Fault{Problem: found(text), Expected: expected}
	case !secureOrLoopback(u):
		return nil, &Fault{Problem: found(text), Expected: "https, since tokens travel there (plain http is for loopback hosts only)"}
	}
	return &url.URL{Scheme: u.Scheme, Host: joinHost(u.Scheme, name, port)}, nil
}

// found quotes a URL that an operator wrote, without the password that it may
// hold.
func found(text string) string {
	if u, err := url.Parse(text); err == nil {
		return fmt.Sprintf("found %q", u.Redacted())
	}
	if _, host, ok := strings.Cut(text, "@"); ok {
		text = "…@" + host
	}
	return fmt.Sprintf("found %q", text)
}

func secureOrLoopback(u *url.URL) bool {
	return u.Scheme == "https" || u.Scheme == "http" && LoopbackHost(u.Host)
}
