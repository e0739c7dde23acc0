package checkpoint

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// carried are the limits that take effect where a body is: on its memory and
// its processor time.
var carried = []int{unix.RLIMIT_AS, unix.RLIMIT_DATA, unix.RLIMIT_STACK, unix.RLIMIT_MEMLOCK, unix.RLIMIT_CPU}

// LimitCarried tells whether a resource's limit goes with a body.
func LimitCarried(resource int) bool {
	for _, r := range carried {
		if r == resource {
			return true
		}
	}
	return false
}

// CaptureLimits notes a process's limits on what its body uses.
func (im *Image) CaptureLimits(pid int) error {
	im.Limits = make(map[int]unix.Rlimit, len(carried))
	for _, r := range carried {
		var lim unix.Rlimit
		if err := unix.Prlimit(pid, r, nil, &lim); err != nil {
			return fmt.Errorf("limits of process %d: %w", pid, err)
		}
		im.Limits[r] = lim
	}
	return nil
}
