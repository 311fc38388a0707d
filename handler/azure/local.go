package azure

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"regexp"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxStackFile bounds the local stack file.
const maxStackFile = 1 << 20

// azureMarks are set on every instance of App Service, Functions and Container
// Apps. Where one of them is set, trusting another CA or dialling another
// address is an attack or a mistake, never development.
var azureMarks = []string{"WEBSITE_INSTANCE_ID", "WEBSITE_SITE_NAME", "CONTAINER_NAME"}

var hostName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*(\.[a-z0-9][a-z0-9-]*)+$`)

// stack is the local stack as the handler sees it: whom to trust, and where
// each name is.
type stack struct {
	roots *x509.CertPool
	hosts map[string]netip.AddrPort
}

// stackFile is the form of the file on disk.
type stackFile struct {
	RootsPEM string            `json:"rootsPem"`
	Hosts    map[string]string `json:"hosts"`
}

// loadStack reads the file, or says why this process may not use one. Only
// its owner may read the file: whoever can write it chooses where tokens go.
func loadStack(path string, env func(string) string) (*stack, error) {
	for _, mark := range azureMarks {
		if env(mark) != "" {
			return nil, fmt.Errorf("refused: %s is set, so this is Azure", mark)
		}
	}
	data, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	var file stackFile
	err = json.Unmarshal(data, &file, json.RejectUnknownMembers(true), jsontext.AllowDuplicateNames(false))
	if err != nil {
		return nil, fmt.Errorf("decoding: %w", err)
	}
	s := &stack{roots: x509.NewCertPool(), hosts: make(map[string]netip.AddrPort, len(file.Hosts))}
	if !s.roots.AppendCertsFromPEM([]byte(file.RootsPEM)) {
		return nil, errors.New("rootsPem holds no certificate")
	}
	for name, target := range file.Hosts {
		if !hostName.MatchString(name) {
			return nil, fmt.Errorf("%q is not a host name", name)
		}
		address, err := netip.ParseAddrPort(target)
		if err != nil || address.Port() == 0 {
			return nil, fmt.Errorf("target of %s is not an address with a port", name)
		}
		if !address.Addr().IsLoopback() {
			return nil, fmt.Errorf("target of %s is not a loopback address", name)
		}
		s.hosts[name] = address
	}
	if len(s.hosts) == 0 {
		return nil, errors.New("hosts is empty")
	}
	return s, nil
}

// dial connects to where the local stack serves the name. TLS still verifies
// the name itself.
func (s *stack) dial(ctx context.Context, _, address string) (net.Conn, error) {
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, errHost
	}
	target, ok := s.hosts[name]
	if !ok || port != "443" {
		return nil, fmt.Errorf("%w: %q", errHost, address)
	}
	dialer := net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}
	return dialer.DialContext(ctx, "tcp", target.String())
}

func readPrivate(path string) (data []byte, err error) {
	file, err := os.Open(path) // #nosec G304 -- the developer's own setting; refused in Azure
	if err != nil {
		return nil, fmt.Errorf("opening: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("inspecting: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm() != 0o600 {
		return nil, fmt.Errorf("mode is %s, want a regular file with 0600", info.Mode())
	}
	data, err = io.ReadAll(io.LimitReader(file, maxStackFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading: %w", err)
	}
	if len(data) > maxStackFile {
		return nil, errors.New("too large")
	}
	return data, nil
}
