package shadow

import (
	"bytes"
	"os"

	"golang.org/x/sys/unix"
)

// coreWanted tells whether the kernel would write a core file for a process,
// see core(5).
func coreWanted(pid int) bool {
	pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	if err == nil && bytes.HasPrefix(pattern, []byte{'|'}) {
		return true
	}
	var lim unix.Rlimit
	return unix.Prlimit(pid, unix.RLIMIT_CORE, nil, &lim) == nil && lim.Cur > 0
}
