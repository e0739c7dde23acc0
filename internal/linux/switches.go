package linux

import (
	"os"
	"strconv"
	"strings"
)

// ContextSwitches counts a thread's voluntary context switches, see
// proc_pid_status(5): each time it waits, or is stopped by its tracer. ok is false
// if it has ended.
func ContextSwitches(pid, tid int) (n uint64, ok bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + strconv.Itoa(tid) + "/status")
	if err != nil {
		return 0, false
	}
	_, rest, ok := strings.Cut(string(b), "\nvoluntary_ctxt_switches:")
	if !ok {
		return 0, false
	}
	word, _, _ := strings.Cut(rest, "\n")
	n, err = strconv.ParseUint(strings.TrimSpace(word), 10, 64)
	return n, err == nil
}
