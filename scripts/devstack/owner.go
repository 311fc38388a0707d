package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// owner names the process that listens on a loopback port, as far as this user
// may know it. It reads /proc and so knows only on Linux.
func owner(port int) string {
	inode := socketInode(port)
	if inode == "" {
		return "another process"
	}
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return "another process"
	}
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || target != "socket:["+inode+"]" {
			continue
		}
		pid := strings.Split(link, "/")[2]
		name, err := os.ReadFile("/proc/" + pid + "/comm") // #nosec G304 -- below /proc
		if err != nil {
			return "process " + pid
		}
		return fmt.Sprintf("process %s (%s)", pid, strings.TrimSpace(string(name)))
	}
	return "another process"
}

// listenState is TCP_LISTEN in /proc/net/tcp.
const listenState = "0A"

func socketInode(port int) string {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		file, err := os.Open(table) // #nosec G304 -- fixed
		if err != nil {
			continue
		}
		scanner := bufio.NewScanner(file)
		for scanner.Scan() {
			fields := strings.Fields(scanner.Text())
			if len(fields) > 9 && fields[3] == listenState && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) {
				_ = file.Close() //nolint:errcheck // only read
				return fields[9]
			}
		}
		_ = file.Close() //nolint:errcheck // only read
	}
	return ""
}
