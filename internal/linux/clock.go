package linux

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Clock reads a clock in nanoseconds, see clock_gettime(2). The clocks used
// here always exist.
func Clock(id int32) int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		panic(err)
	}
	return ts.Nano()
}

// CPUTime reads how much processor time, in ns, a process or one thread of it
// has used, exactly if it does not run. The kernel shows its clocks of threads
// to the threads' own process only (clock_getcpuclockid(3)).
func CPUTime(pid, tid int) (int64, error) {
	if tid == 0 {
		const sched = 2
		var ts unix.Timespec
		if err := unix.ClockGettime(^int32(pid)<<3|sched, &ts); err != nil {
			return 0, err
		}
		return ts.Nano(), nil
	}
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + strconv.Itoa(tid) + "/schedstat")
	if err != nil {
		return 0, err
	}
	ns, _, _ := strings.Cut(string(b), " ")
	return strconv.ParseInt(ns, 10, 64)
}

// AwaitClock waits until a clock shows at least at, for a second at most.
func AwaitClock(clock func() int64, at int64) {
	for end := time.Now().Add(time.Second); clock() < at && time.Now().Before(end); {
		time.Sleep(min(time.Duration(at-clock()), 10*time.Millisecond))
	}
}
