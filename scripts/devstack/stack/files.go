package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"secureapi/scripts/devstack/entra"
)

// The files in Options.Dir, all of mode 0600.
const (
	infoFile       = "stack.json"
	transportFile  = "transport.json"
	handlerEnvFile = "handler.env"
	toolEnvFile    = "vaultctl.env"
)

// Info is stack.json: what tests, the demo and tools need to use a stack that
// another process runs.
type Info struct {
	// API is the address of the app, "" when no host runs.
	API string `json:"api,omitempty"`
	// MasterKey opens the stand-in's admin endpoints.
	MasterKey string `json:"masterKey,omitempty"`
	// Handler is the handler's own address, behind the host.
	Handler string `json:"handler,omitempty"`
	// PID is the process that runs the stack.
	PID int `json:"pid"`
	// RootsPEM and Hosts are how to reach the services by their real names.
	RootsPEM string            `json:"rootsPem"`
	Hosts    map[string]string `json:"hosts"`
	// TokenURL mints a persona's token: POST {"persona": "writer"}.
	TokenURL string `json:"tokenUrl"`
	// VaultURL is where /local endpoints of the vault are, too.
	VaultURL string `json:"vaultUrl"`
	// IngestURL is where the telemetry goes and can be read at /local/items.
	IngestURL string `json:"ingestUrl"`

	Tenants     []string          `json:"tenants"`
	APIClientID string            `json:"apiClientId"`
	Personas    []entra.Persona   `json:"personas"`
	Apps        []entra.App       `json:"apps"`
	HandlerEnv  map[string]string `json:"handlerEnv"`
	LogDir      string            `json:"logDir"`
}

// Info describes the running stack.
func (s *Stack) Info() Info {
	info := Info{
		PID: os.Getpid(), RootsPEM: s.authority.RootsPEM(), Hosts: s.hosts,
		TokenURL: entra.Authority + "/local/token", VaultURL: "https://" + vaultHost, IngestURL: "https://" + ingestHost,
		Tenants: []string{entra.HomeTenant, entra.OtherTenant}, APIClientID: entra.APIClientID,
		Personas: entra.Personas(), Apps: s.Entra.Apps(), HandlerEnv: s.HandlerEnv(), LogDir: s.dir("logs"),
	}
	if s.Host != nil {
		info.API, info.Handler, info.MasterKey = s.URL(), s.Host.HandlerAddr(), s.Host.MasterKey()
	}
	return info
}

// Load reads a stack.json.
func Load(path string) (Info, error) {
	data, err := os.ReadFile(path) // #nosec G304 -- the caller's own choice
	if err != nil {
		return Info{}, fmt.Errorf("reading the stack's description: %w", err)
	}
	var info Info
	if err := json.Unmarshal(data, &info); err != nil {
		return Info{}, fmt.Errorf("decoding the stack's description: %w", err)
	}
	return info, nil
}

// writeTransport writes what the handler may know: whom to trust, whom to dial.
func (s *Stack) writeTransport() error {
	if err := s.write("roots.pem", []byte(s.authority.RootsPEM())); err != nil {
		return err
	}
	return s.writeJSON(transportFile, map[string]any{"rootsPem": s.authority.RootsPEM(), "hosts": s.hosts})
}

// writeFiles comes last: who waits for the files waits for the stack.
func (s *Stack) writeFiles(context.Context) error {
	if err := s.writeJSON(infoFile, s.Info()); err != nil {
		return err
	}
	if err := s.write(toolEnvFile, []byte(shell(s.ToolEnv()))); err != nil {
		return err
	}
	return s.write(handlerEnvFile, []byte(shell(s.HandlerEnv())))
}

func (s *Stack) writeJSON(name string, content any) error {
	data, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding %s: %w", name, err)
	}
	return s.write(name, append(data, '\n'))
}

// write makes the file appear as a whole.
func (s *Stack) write(name string, data []byte) error {
	path := filepath.Join(s.options.Dir, name)
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	s.onStop(func() error {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("removing %s: %w", name, err)
		}
		return nil
	})
	return nil
}
