package azure

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
)

// reach says which addresses a host name may resolve to.
type reach int

const (
	// public: what the internet routes, and nothing inside any network.
	public reach = iota
	// private: these, and those of private networks, where a configured service
	// has its private endpoint. Never what is the instance itself or its
	// platform: loopback, link-local, metadata, the wire server.
	private
)

func prefixes(list ...string) []netip.Prefix {
	parsed := make([]netip.Prefix, len(list))
	for i, p := range list {
		parsed[i] = netip.MustParsePrefix(p)
	}
	return parsed
}

var (
	// privateNetworks are those that virtual networks are made of: RFC 1918,
	// RFC 6598 (shared address space), RFC 4193 (unique local).
	privateNetworks = prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")

	// nobody may be dialled, whatever the name: the registries of special-purpose
	// addresses (https://www.iana.org/assignments/iana-ipv4-special-registry and
	// -ipv6-), and services that clouds put behind addresses of other blocks.
	nobody = prefixes(
		"0.0.0.0/8",          // this network
		"127.0.0.0/8",        // loopback
		"169.254.0.0/16",     // link-local, instance metadata
		"168.63.129.16/32",   // the platform's wire server
		"100.100.100.200/32", // metadata of another cloud, amid the shared space
		"192.0.0.0/24",       // protocol assignments
		"192.0.2.0/24",       // documentation
		"192.88.99.0/24",     // 6to4 relays, abandoned
		"198.18.0.0/15",      // benchmarks
		"198.51.100.0/24",    // documentation
		"203.0.113.0/24",     // documentation
		"224.0.0.0/4",        // multicast
		"240.0.0.0/4",        // reserved, broadcast
		"fd00:ec2::/32",      // metadata of another cloud, amid unique local
		"2001::/23",          // protocol assignments, Teredo among them
		"2001:db8::/32",      // documentation
		"2002::/16",          // 6to4: an IPv4 address in disguise
		"3fff::/20",          // documentation
	)

	// internet is all of IPv6 that is given out (RFC 4291, section 2.4). What
	// lies outside is loopback, link-local, multicast, mapped or reserved.
	internet = netip.MustParsePrefix("2000::/3")

	// translated holds IPv4 addresses behind a translator (RFC 6052). The
	// address inside counts: a network without IPv4 has no other way out.
	translated = netip.MustParsePrefix("64:ff9b::/96")
)

// allows is the decision about one address. What no line knows is refused.
func (r reach) allows(a netip.Addr) bool {
	if a.Zone() != "" {
		return false
	}
	a = a.Unmap()
	if translated.Contains(a) {
		bytes := a.As16()
		a = netip.AddrFrom4([4]byte(bytes[12:]))
	}
	if contains(nobody, a) {
		return false
	}
	if contains(privateNetworks, a) {
		return r == private
	}
	return a.Is4() || internet.Contains(a)
}

func contains(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// guard dials host names at addresses that they may have. The decision is about
// the address of each single connection attempt, after name resolution and just
// before the system call: a name that resolves differently the second time, or
// to several addresses that race, gains nothing.
type guard struct {
	configured map[string]bool
	dialers    [2]*net.Dialer // by reach
}

// newGuard lets the hosts of the endpoints (https://host) be in a private network.
func newGuard(endpoints []string) (*guard, error) {
	g := &guard{configured: make(map[string]bool, len(endpoints))}
	for _, endpoint := range endpoints {
		if err := CheckEndpoint(endpoint); err != nil {
			return nil, err
		}
		u, err := url.Parse(endpoint)
		if err != nil {
			return nil, errEndpoint
		}
		g.configured[strings.ToLower(u.Hostname())] = true
	}
	for _, r := range []reach{public, private} {
		g.dialers[r] = &net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive, ControlContext: r.control}
	}
	return g, nil
}

func (g *guard) dial(ctx context.Context, network, address string) (net.Conn, error) {
	name, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, errAddress
	}
	r := public
	if g.configured[strings.ToLower(name)] {
		r = private
	}
	return g.dialers[r].DialContext(ctx, network, address)
}

// control implements net.Dialer.ControlContext.
func (r reach) control(_ context.Context, network, resolved string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(resolved)
	if err != nil || !strings.HasPrefix(network, "tcp") || !r.allows(to.Addr()) {
		return fmt.Errorf("dialling: %w", errAddress)
	}
	return nil
}
