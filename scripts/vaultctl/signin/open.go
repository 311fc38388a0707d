package signin

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
)

// OpenBrowser starts the system's browser. The address is one argument of a
// fixed program; no shell reads it.
func OpenBrowser(address string) error {
	name, args := "xdg-open", []string{address}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", address}
	}
	// The browser outlives the sign-in, and its context.
	cmd := exec.CommandContext(context.Background(), name, args...) // #nosec G204 -- a fixed program
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	go cmd.Wait() //nolint:errcheck // how a browser ends is nobody's business
	return nil
}
