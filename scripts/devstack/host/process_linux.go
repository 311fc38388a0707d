package host

import (
	"os/exec"
	"syscall"
)

// detach keeps a terminal's Ctrl-C from the handler, which only the host may
// end, and takes the handler along should the host itself be killed.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
