//go:build !linux

package azurite

import (
	"os/exec"
	"syscall"
)

// detach gives the process a group of its own: a terminal's Ctrl-C is for the
// stack, which stops Azurite after those who use it.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}
