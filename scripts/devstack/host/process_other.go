//go:build unix && !linux

package host

import (
	"os/exec"
	"syscall"
)

// detach keeps a terminal's Ctrl-C from the handler, which only the host may
// end. Outside Linux a handler survives a host that is killed.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}
