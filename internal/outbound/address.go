package outbound

import (
	"errors"
	"fmt"
	"net/netip"
)

// Reach says which addresses a request may go to. It is checked when the
// connection is made, with the address that the name has turned out to have:
// a check of the name would be answered by one DNS record, and the connection
// by the next.
type Reach int

const (
	// Anywhere is for what the operator wrote: private networks too. Only
	// what no service for others lives on is out: link-local addresses, which
	// is where clouds hand out a machine's credentials.
	Anywhere Reach = iota
	// Public is for what a document supplied: whoever wrote it must not be
	// able to make this server look into its own network.
	Public
	// Loopback is for plain http to a loopback name, which otherwise might be
	// resolved to some other machine.
	Loopback
)

// ErrNotPublic is in the error of a request that may reach public addresses only.
var ErrNotPublic = errors.New("not public")

// Check says why a connection must not go to addr.
func (r Reach) Check(addr netip.Addr) error {
	addr = addr.WithZone("").Unmap()
	for _, a := range append(embedded(addr), addr) {
		if why := never(a); why != "" {
			return fmt.Errorf("address %s is %s", addr, why)
		}
		if r == Public && !isPublic(a) {
			return fmt.Errorf("address %s is %w", addr, ErrNotPublic)
		}
	}
	if r == Loopback && !addr.IsLoopback() {
		return fmt.Errorf("address %s is not loopback, and the URL is plain http", addr)
	}
	return nil
}

// metadataServers are further addresses at which clouds hand out credentials.
var metadataServers = []netip.Addr{
	netip.MustParseAddr("100.100.100.200"), // Alibaba Cloud
	netip.MustParseAddr("168.63.129.16"),   // Azure
	netip.MustParseAddr("192.0.0.192"),     // Oracle Cloud
	netip.MustParseAddr("fd00:ec2::254"),   // AWS
	netip.MustParseAddr("fd00:ec2::23"),    // AWS, for containers
	netip.MustParseAddr("fd20:ce::254"),    // Google Cloud
}

// never says why nothing comes from addr.
func never(addr netip.Addr) string {
	switch {
	case addr.IsLinkLocalUnicast():
		return "link-local"
	case addr.IsMulticast():
		return "multicast"
	case addr.IsUnspecified():
		return "unspecified"
	}
	for _, server := range metadataServers {
		if addr == server {
			return "a cloud's metadata server"
		}
	}
	return ""
}

// special are the blocks that are not public, of what is taken for public
// otherwise (the IANA registries of special-purpose addresses).
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("224.0.0.0/3"),
	netip.MustParsePrefix("2001::/23"), // Teredo among them
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("3fff::/20"),
}

var (
	globalUnicast = netip.MustParsePrefix("2000::/3")
	nat64         = netip.MustParsePrefix("64:ff9b::/96")
	nat64Local    = netip.MustParsePrefix("64:ff9b:1::/48")
	sixToFour     = netip.MustParsePrefix("2002::/16")
	teredo        = netip.MustParsePrefix("2001::/32")
	compatible    = netip.MustParsePrefix("::/96")
)

func isPublic(addr netip.Addr) bool {
	if addr.Is6() && !globalUnicast.Contains(addr) && !nat64.Contains(addr) {
		return false
	}
	for _, block := range special {
		if block.Contains(addr) {
			return false
		}
	}
	return true
}

// embedded returns the IPv4 addresses that an IPv6 address stands for, behind
// which a translator or tunnel would find what must not be reached.
func embedded(addr netip.Addr) []netip.Addr {
	if !addr.Is6() {
		return nil
	}
	b := addr.As16()
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte(b[i : i+4])) }
	switch {
	case nat64.Contains(addr), nat64Local.Contains(addr):
		return []netip.Addr{at(12)}
	case compatible.Contains(addr) && !addr.IsLoopback() && !addr.IsUnspecified():
		return []netip.Addr{at(12)}
	case sixToFour.Contains(addr):
		return []netip.Addr{at(2)}
	case teredo.Contains(addr):
		for i := range b[12:] {
			b[12+i] ^= 0xff
		}
		return []netip.Addr{at(4), at(12)}
	}
	return nil
}
