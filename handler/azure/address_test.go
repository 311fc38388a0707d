package azure

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"pgregory.net/rapid"
)

func TestAddressesThatMayBeDialled(t *testing.T) {
	for _, tt := range []struct {
		class     string
		addresses []string // first and last of each block, and beside it
		public    bool
		private   bool
	}{
		{"public", []string{
			"1.0.0.0", "9.255.255.255", "11.0.0.0", "20.190.128.1", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
			"168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.0.3.0",
			"192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255",
			"2603:1037:1:c8::a", "2001:200::1", "2000::", "2001:db7::1", "2003::1", "64:ff9b::20.190.128.1", "::ffff:20.190.128.1",
		}, true, true},
		{"RFC 1918", []string{"10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255"}, false, true},
		{"RFC 6598", []string{"100.64.0.0", "100.127.255.255"}, false, true},
		{"unique local", []string{"fc00::", "fd12:3456::1", "fdff:ffff::1"}, false, true},
		{"private, mapped", []string{"::ffff:10.0.0.1", "::ffff:100.64.0.1", "64:ff9b::10.0.0.1", "64:ff9b::192.168.1.1"}, false, true},
		{"this network", []string{"0.0.0.0", "0.255.255.255", "::"}, false, false},
		{"loopback", []string{"127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1"}, false, false},
		{"link-local", []string{"169.254.0.0", "169.254.255.255", "fe80::1", "fe80::1%eth0", "febf::1", "64:ff9b::169.254.1.1"}, false, false},
		{"metadata", []string{"169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::169.254.169.254", "100.100.100.200", "192.0.0.192", "fd00:ec2::254"}, false, false},
		{"wire server", []string{"168.63.129.16", "::ffff:168.63.129.16", "64:ff9b::168.63.129.16"}, false, false},
		{"multicast", []string{"224.0.0.0", "239.255.255.255", "ff00::1", "ff02::1", "ffff::1"}, false, false},
		{"reserved", []string{"240.0.0.0", "255.255.255.255", "192.0.0.0", "192.0.0.255", "192.88.99.0", "100::1", "5f00::1", "fec0::1", "4000::1", "::10.0.0.1"}, false, false},
		{"documentation", []string{"192.0.2.0", "192.0.2.255", "198.51.100.7", "203.0.113.255", "2001:db8::1", "3fff::1", "3fff:fff::1"}, false, false},
		{"benchmark", []string{"198.18.0.0", "198.19.255.255", "2001:2::1"}, false, false},
		{"6to4 and Teredo", []string{"2002::", "2002:a00:1::", "2002:7f00:1::", "2002:14be:8001::", "2001::1", "2001:0:7f00:1::"}, false, false},
		{"local translators", []string{"64:ff9b:1::10.0.0.1", "64:ff9b:1::20.190.128.1"}, false, false},
	} {
		for _, text := range tt.addresses {
			a := netip.MustParseAddr(text)
			if got := public.allows(a); got != tt.public {
				t.Errorf("%s: any name at %s: %v", tt.class, a, got)
			}
			if got := private.allows(a); got != tt.private {
				t.Errorf("%s: a configured name at %s: %v", tt.class, a, got)
			}
		}
	}
}

// TestNoSpellingOfAnAddressGetsFurther: an IPv4 address in an IPv6 one is what it
// is, and the standard library's notion of private agrees.
func TestNoSpellingOfAnAddressGetsFurther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], rapid.Uint32().Draw(t, "address"))
		if rapid.Bool().Draw(t, "near") { // a block that is special
			p := rapid.SampledFrom(slices.Concat(nobody, privateNetworks)).Filter(func(p netip.Prefix) bool { return p.Addr().Is4() }).Draw(t, "block")
			first := p.Addr().As4()
			b[0], b[1] = first[0], first[1]
		}
		plain := netip.AddrFrom4(b)
		mapped := netip.AddrFrom16(plain.As16())
		nat64 := netip.MustParseAddr("64:ff9b::").As16()
		copy(nat64[12:], b[:])
		sixToFour := netip.MustParseAddr("2002::").As16()
		copy(sixToFour[2:], b[:])
		for _, r := range []reach{public, private} {
			if r.allows(mapped) != r.allows(plain) || r.allows(netip.AddrFrom16(nat64)) != r.allows(plain) {
				t.Errorf("reach %d: %s is judged by its spelling", r, plain)
			}
			if r.allows(netip.AddrFrom16(sixToFour)) {
				t.Errorf("reach %d: %s by 6to4", r, plain)
			}
		}
		if public.allows(plain) && (!plain.IsGlobalUnicast() || plain.IsPrivate()) {
			t.Errorf("%s is public", plain)
		}
		if public.allows(plain) && !private.allows(plain) {
			t.Errorf("%s is closed to configured names only", plain)
		}
	})
}

// nameServer answers lookups with the next of its answers, the last one again and
// again.
type nameServer struct {
	mu      sync.Mutex
	answers [][]string
	served  map[string]int // lookups by name and type
}

// resolver asks the name server, over a pipe instead of a network.
func (n *nameServer) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go n.serve(server)
		return client, nil
	}}
}

func (n *nameServer) serve(conn net.Conn) {
	defer conn.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		reply, err := n.reply(query)
		if err != nil {
			return
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
			return
		}
	}
}

func (n *nameServer) reply(query []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return nil, err
	}
	question := m.Questions[0]
	m.Response, m.Authoritative, m.Additionals = true, true, nil
	for _, text := range n.next(question) {
		a := netip.MustParseAddr(text)
		header := dnsmessage.ResourceHeader{Name: question.Name, Type: question.Type, Class: question.Class}
		switch {
		case a.Is4() && question.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: a.As4()}})
		case a.Is6() && question.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	return m.Pack()
}

func (n *nameServer) next(q dnsmessage.Question) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.served == nil {
		n.served = map[string]int{}
	}
	key := q.Name.String() + q.Type.String()
	i := min(n.served[key], len(n.answers)-1)
	n.served[key]++
	return n.answers[i]
}

var errStopped = errors.New("would have been dialled")

// watched is a guard that tells what it decided, and sends nothing to anybody:
// attempts that it allows end there.
func watched(t *testing.T, names *nameServer, endpoints ...string) (g *guard, decisions func() map[string]bool) {
	t.Helper()
	g, err := newGuard(endpoints)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	seen := map[string]bool{}
	for _, d := range g.dialers {
		d.Resolver = names.resolver()
		decide := d.ControlContext
		d.ControlContext = func(ctx context.Context, network, resolved string, c syscall.RawConn) error {
			err := decide(ctx, network, resolved, c)
			mu.Lock()
			defer mu.Unlock()
			seen[resolved] = err == nil
			if err == nil {
				return errStopped
			}
			return err
		}
	}
	return g, func() map[string]bool {
		mu.Lock()
		defer mu.Unlock()
		last := maps.Clone(seen)
		clear(seen)
		return last
	}
}

const endpointHost = "vault.example.com"

func TestAConfiguredNameAloneMayBePrivate(t *testing.T) {
	names := &nameServer{answers: [][]string{{"10.1.2.3"}}}
	g, decisions := watched(t, names, "https://"+endpointHost)
	for name, want := range map[string]error{
		endpointHost: errStopped, "Vault.Example.COM": errStopped,
		"other.example.com": errAddress, "vault.example.com.": errAddress, "x." + endpointHost: errAddress,
	} {
		if conn, err := g.dial(t.Context(), "tcp", name+":443"); conn != nil || !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		if got, expect := decisions(), (map[string]bool{"10.1.2.3:443": want == errStopped}); !maps.Equal(got, expect) { //nolint:errorlint // the test's own value
			t.Errorf("%s: decided %v", name, got)
		}
	}
}

// TestRebinding: the second lookup of a name gives what the first did not.
func TestRebinding(t *testing.T) {
	for _, name := range []string{endpointHost, "other.example.com"} {
		names := &nameServer{answers: [][]string{{"20.190.128.1"}, {"169.254.169.254"}, {"127.0.0.1"}, {"168.63.129.16"}}}
		g, _ := watched(t, names, "https://"+endpointHost)
		for i, want := range []error{errStopped, errAddress, errAddress, errAddress} {
			if conn, err := g.dial(t.Context(), "tcp", name+":443"); conn != nil || !errors.Is(err, want) {
				t.Errorf("%s, lookup %d: %v, want %v", name, i, err, want)
			}
		}
	}
}

// TestRacingAddressesAreJudgedOneByOne: a name has addresses of both families,
// which are dialled side by side, and none of them is dialled on another's word.
func TestRacingAddressesAreJudgedOneByOne(t *testing.T) {
	all := []string{"169.254.169.254", "20.190.128.1", "10.0.0.1", "::1", "fd00::1", "2603:1037::1", "fe80::1"}
	names := &nameServer{answers: [][]string{all}}
	g, decisions := watched(t, names, "https://"+endpointHost)
	for name, want := range map[string]map[string]bool{
		"other.example.com": {
			"169.254.169.254:443": false, "20.190.128.1:443": true, "10.0.0.1:443": false,
			"[::1]:443": false, "[fd00::1]:443": false, "[2603:1037::1]:443": true, "[fe80::1]:443": false,
		},
		endpointHost: {
			"169.254.169.254:443": false, "20.190.128.1:443": true, "10.0.0.1:443": true,
			"[::1]:443": false, "[fd00::1]:443": true, "[2603:1037::1]:443": true, "[fe80::1]:443": false,
		},
	} {
		conn, err := g.dial(t.Context(), "tcp", name+":443")
		if conn != nil || err == nil {
			t.Errorf("%s: connected", name)
		}
		if got := decisions(); !maps.Equal(got, want) {
			t.Errorf("%s: decided %v, want %v", name, got, want)
		}
	}
}

// TestTheTransportDialsByTheGuard goes the whole way of a request, with names
// that resolve to what no name may be and, for one that is not configured, to a
// private network. Each is refused before anything is sent.
func TestTheTransportDialsByTheGuard(t *testing.T) {
	names := &nameServer{}
	before := net.DefaultResolver
	net.DefaultResolver = names.resolver() // the transport has no resolver of its own to replace
	t.Cleanup(func() { net.DefaultResolver = before })
	transport, err := NewTransport("", environment{}.get, time.Now, "https://"+endpointHost)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.Close)
	client := transport.Client(5 * time.Second)
	for _, tt := range []struct{ name, address string }{
		{endpointHost, "127.0.0.1"},
		{endpointHost, "169.254.169.254"},
		{endpointHost, "168.63.129.16"},
		{endpointHost, "::1"},
		{"other.example.com", "10.1.2.3"},
		{"other.example.com", "192.168.1.1"},
		{"other.example.com", "100.64.0.1"},
		{"other.example.com", "fd00::1"},
	} {
		names.mu.Lock()
		names.answers, names.served = [][]string{{tt.address}}, nil
		names.mu.Unlock()
		if got, err := get(t, client, "https://"+tt.name+"/"); !errors.Is(err, errAddress) {
			t.Errorf("%s at %s: %q, %v, want errAddress", tt.name, tt.address, got, err)
		}
	}
}

func TestEndpointsOfTheConfigurationAreChecked(t *testing.T) {
	for _, endpoint := range []string{"", "vault.example.com", "http://vault.example.com", "https://vault.example.com/x"} {
		if _, err := NewTransport("", environment{}.get, time.Now, endpoint); !errors.Is(err, errEndpoint) {
			t.Errorf("%q: %v", endpoint, err)
		}
	}
	for _, address := range []string{"nonsense", "10.0.0.1", ":443"} {
		if err := private.control(t.Context(), "tcp", address, nil); !errors.Is(err, errAddress) {
			t.Errorf("%q: %v", address, err)
		}
	}
	if err := private.control(t.Context(), "udp4", "20.190.128.1:443", nil); !errors.Is(err, errAddress) {
		t.Errorf("UDP: %v", err)
	}
}
