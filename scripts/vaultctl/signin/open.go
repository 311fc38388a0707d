package signin

import (
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
	cmd := exec.Command(name, args...) // #nosec G204 -- a fixed program, and the browser outlives the sign-in
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	go func() { _ = cmd.Wait() }() // nobody waits for a browser
	return nil
}
