package mcpauth

import (
	"net/netip"
	"strings"
)

// splitHost splits "name", "name:port" or "[IPv6]:port" (RFC 3986, section 3.2.2),
// as Host, Origin and URLs have it. The name is in its normal form: lower case,
// without a dot at its end, IPv6 in brackets and as short as it can be written. Names
// are ASCII; what is beyond it is written in Punycode.
func splitHost(host string) (name, port string, ok bool) {
	if strings.ContainsFunc(host, func(r rune) bool { return r >= 0x80 }) {
		return "", "", false // some of it would be ASCII in lower case
	}
	name = strings.ToLower(host)
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, ']') {
		name, port = name[:i], name[i+1:]
	}
	if inner, bracketed := strings.CutPrefix(name, "["); bracketed {
		inner, closed := strings.CutSuffix(inner, "]")
		ip, err := netip.ParseAddr(inner)
		ok = closed && err == nil && ip.Is6() && ip.Zone() == ""
		name = "[" + ip.String() + "]"
	} else {
		name = strings.TrimSuffix(name, ".")
		ok = name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
	}
	return name, port, ok && strings.Trim(port, "0123456789") == ""
}

// joinHost returns a host in its normal form, which has no port that the scheme
// implies.
func joinHost(scheme, name, port string) string {
	if port == "" || scheme == "http" && port == "80" || scheme == "https" && port == "443" {
		return name
	}
	return name + ":" + port
}

// LoopbackHost reports whether a host, as a Host header or a URL has it, with or
// without a port, names this machine: "localhost" or a loopback address, IPv6 in
// brackets. Whether a request has come from there is another question.
func LoopbackHost(host string) bool {
	name, _, ok := splitHost(host)
	if !ok || name == "localhost" {
		return ok
	}
	ip, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil && ip.Unmap().IsLoopback()
}
