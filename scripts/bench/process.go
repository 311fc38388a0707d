package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cpuTime is what this process has used of all processors, user and system.
func cpuTime() (time.Duration, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0, fmt.Errorf("reading the process' CPU time: %w", err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}

// tick is the unit of the times in /proc/<pid>/stat on every Linux port of Go.
const tick = 10 * time.Millisecond

// cpuTimeOf is what another process has used; 0 where there is no /proc.
// proc_pid_stat(5): the name may hold anything, so fields count from behind it.
func cpuTimeOf(pid int) (time.Duration, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading a process' CPU time: %w", err)
	}
	const user, system = 11, 12
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) <= system {
		return 0, errors.New("reading a process' CPU time: too few fields")
	}
	u, userErr := strconv.Atoi(fields[user])
	s, systemErr := strconv.Atoi(fields[system])
	if err := errors.Join(userErr, systemErr); err != nil {
		return 0, fmt.Errorf("reading a process' CPU time: %w", err)
	}
	return time.Duration(u+s) * tick, nil
}

// residentOf reads VmRSS; 0 where there is no /proc.
func residentOf(pid int) (int64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading resident memory: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("reading resident memory: %w", err)
			}
			return n << 10, nil
		}
	}
	return 0, errors.New("reading resident memory: no VmRSS")
}
