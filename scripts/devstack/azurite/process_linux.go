package azurite

import (
	"os/exec"
	"syscall"
)

// detach gives the process a group of its own: a terminal's Ctrl-C is for the
// stack, which stops Azurite after those who use it. Should the stack itself be
// killed, Azurite is told to end, and still writes what it has acknowledged.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
