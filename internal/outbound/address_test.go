package outbound

import (
	"net/netip"
	"strings"
	"testing"
)

func TestAddresses(t *testing.T) {
	const (
		all     = "anywhere"
		private = "not public"
	)
	for _, test := range []struct{ addr, want string }{
		// want is all when documents may lead there too, private when only an
		// operator may, and else a part of why nobody may.
		{"93.184.216.34", all},
		{"2606:2800:220:1::1", all},
		{"2a00:1450:4001:81b::200e", all},
		{"::ffff:93.184.216.34", all},
		{"64:ff9b::93.184.216.34", all},
		{"2002:5db8:d822::1", all}, // 6to4 of 93.184.216.34

		{"127.0.0.1", private},
		{"127.255.255.254", private},
		{"::1", private},
		{"::ffff:127.0.0.1", private},
		{"::127.0.0.1", private},
		{"10.1.2.3", private},
		{"172.16.0.1", private},
		{"172.31.255.255", private},
		{"192.168.1.1", private},
		{"100.64.0.1", private},
		{"198.18.0.1", private},
		{"192.0.2.1", private},
		{"0.1.2.3", private},
		{"240.0.0.1", private},
		{"255.255.255.255", private},
		{"fd12::1", private},
		{"fec0::1", private},
		{"2001:db8::1", private},
		{"3fff::1", private},
		{"100::1", private},
		{"::ffff:10.0.0.1", private},
		{"64:ff9b::10.0.0.1", private},
		{"64:ff9b::127.0.0.1", private},
		{"64:ff9b:1::93.184.216.34", private},
		{"2002:a00:1::1", private},  // 6to4 of 10.0.0.1
		{"2002:7f00:1::1", private}, // 6to4 of 127.0.0.1
		{"2001:0:5db8:d822::", "unspecified|private|multicast|not public|broadcast"},
		{"5f00::1", private},

		{"169.254.169.254", "link-local"},
		{"169.254.0.1", "link-local"},
		{"fe80::1", "link-local"},
		{"fe80::1%eth0", "link-local"},
		{"::ffff:169.254.169.254", "link-local"},
		{"::169.254.169.254", "link-local"},
		{"64:ff9b::169.254.169.254", "link-local"},
		{"64:ff9b:1::169.254.169.254", "link-local"},
		{"2002:a9fe:a9fe::1", "link-local"},
		{"2001:0:5db8:d822::5601:5601", "link-local"}, // Teredo, its client inverted
		{"2001:0:a9fe:a9fe::1", "link-local"},
		{"fd00:ec2::254", "metadata server"},
		{"fd20:ce::254", "metadata server"},
		{"100.100.100.200", "metadata server"},
		{"168.63.129.16", "metadata server"},
		{"192.0.0.192", "metadata server"},
		{"64:ff9b::100.100.100.200", "metadata server"},
		{"0.0.0.0", "unspecified"},
		{"::", "unspecified"},
		{"::ffff:0.0.0.0", "unspecified"},
		{"224.0.0.1", "multicast"},
		{"ff02::1", "multicast"},
	} {
		addr := netip.MustParseAddr(test.addr)
		operator, document := Anywhere.Check(addr), Public.Check(addr)
		switch {
		case strings.Contains(test.want, "|"): // a tunnel: never for documents
			if document == nil {
				t.Errorf("%s is open to documents", addr)
			}
		case test.want == all:
			if operator != nil || document != nil {
				t.Errorf("%s: operator %v, document %v", addr, operator, document)
			}
		case test.want == private:
			if operator != nil || document == nil || !strings.Contains(document.Error(), private) {
				t.Errorf("%s: operator %v, document %v", addr, operator, document)
			}
		default:
			for _, err := range []error{operator, document, Loopback.Check(addr)} {
				if err == nil || !strings.Contains(err.Error(), test.want) && !strings.Contains(err.Error(), private) {
					t.Errorf("%s: %v, want %q", addr, err, test.want)
				}
			}
			if operator == nil || !strings.Contains(operator.Error(), test.want) {
				t.Errorf("%s: operator %v, want %q", addr, operator, test.want)
			}
		}
		if got, want := Loopback.Check(addr) == nil, addr.Unmap().IsLoopback(); got != want {
			t.Errorf("%s for plain http to loopback: %v, want %v", addr, got, want)
		}
	}
}

func FuzzAddress(f *testing.F) {
	for _, seed := range []string{"127.0.0.1", "::ffff:169.254.169.254", "2002:a9fe:a9fe::1", "64:ff9b::a9fe:a9fe", "2606::1", "::"} {
		f.Add(netip.MustParseAddr(seed).AsSlice())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		addr, ok := netip.AddrFromSlice(raw)
		if !ok || Public.Check(addr) != nil {
			return
		}
		if plain := addr.Unmap(); Anywhere.Check(addr) != nil || plain.IsPrivate() || plain.IsLoopback() || !plain.IsGlobalUnicast() {
			t.Errorf("%s is public", addr)
		}
	})
}
