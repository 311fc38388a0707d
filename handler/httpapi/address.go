package httpapi

import (
	"net/http"
	"net/netip"
	"strings"
)

// maxAddress is the longest entry of X-Forwarded-For that is looked at.
const maxAddress = 64

// clientAddress is where a request came from, as the nearest proxies that are
// known say: each adds the address of its peer at the end of X-Forwarded-For,
// so that of the last hops entries the first is the client. What stands before
// them is the client's own text. With no hops it is the socket's peer. The
// result is invalid where there are fewer entries, or another thing than an
// address.
//
// It is told to operators, and never decides on anything.
func clientAddress(r *http.Request, hops int) netip.Addr {
	if hops == 0 {
		return parseAddress(r.RemoteAddr)
	}
	rest := strings.Join(r.Header.Values("X-Forwarded-For"), ",")
	if rest == "" {
		return netip.Addr{}
	}
	entry, found := "", true
	for range hops {
		if !found {
			return netip.Addr{}
		}
		var comma int
		if comma = strings.LastIndexByte(rest, ','); comma < 0 {
			rest, entry, found = "", rest, false
			continue
		}
		rest, entry = rest[:comma], rest[comma+1:]
	}
	return parseAddress(strings.Trim(entry, " \t"))
}

// parseAddress reads an address, with or without a port, an IPv6 one with or
// without brackets. A zone means something on another machine only.
func parseAddress(s string) netip.Addr {
	if len(s) > maxAddress {
		return netip.Addr{}
	}
	address, err := netip.ParseAddr(s)
	if withPort, portErr := netip.ParseAddrPort(s); portErr == nil {
		address, err = withPort.Addr(), nil
	}
	if inner, ok := strings.CutPrefix(s, "["); ok && err != nil {
		if inner, ok = strings.CutSuffix(inner, "]"); ok {
			address, err = netip.ParseAddr(inner)
			ok = address.Is6()
		}
		if !ok {
			return netip.Addr{}
		}
	}
	if err != nil || address.Zone() != "" {
		return netip.Addr{}
	}
	return address.Unmap()
}
