package doctor

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// probePod runs as pid 1 of a pod's namespaces.
func probePod() map[string]finding {
	got := map[string]finding{"namespaces": found("as uid %s", mappedUID())}
	if os.Getpid() != 1 {
		got["namespaces"] = finding{false, fmt.Sprintf("the first process has pid %d", os.Getpid())}
	}
	got["set-tid"] = result(trySetTID(), "allowed")
	got["time-ns"] = result(tryTimeNamespace(), "the child's clock is shifted")
	got["empty-root"], got["proc"] = tryMounts()
	return got
}

// mappedUID is our uid outside, user_namespaces(7).
func mappedUID() string {
	b, err := os.ReadFile("/proc/self/uid_map")
	if f := strings.Fields(string(b)); err == nil && len(f) == 3 {
		return f[1]
	}
	return "unknown"
}

// timeShift is far more than a probe takes.
const timeShift = 1_000_000 * time.Second

// tryTimeNamespace shifts the monotonic clock of our children and asks one.
// See time_namespaces(7); offsets can be set while the namespace has no member.
func tryTimeNamespace() error {
	if err := unix.Unshare(unix.CLONE_NEWTIME); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	line := fmt.Sprintf("monotonic %d 0\n", int64(timeShift.Seconds()))
	if err := os.WriteFile("/proc/self/timens_offsets", []byte(line), 0); err != nil {
		return fmt.Errorf("set offsets: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), childLimit/2)
	defer cancel()
	cmd, err := childCommand(ctx, nil, clockChild)
	if err != nil {
		return err
	}
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("start a process in it: %w", err)
	}
	there, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	if err != nil {
		return err
	}
	if off := time.Duration(there - monotonic()); off < timeShift-time.Hour {
		return fmt.Errorf("the clock there is shifted by %v only", off)
	}
	return nil
}

func sayClock() error {
	_, err := fmt.Println(monotonic())
	return err
}

func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return ts.Nano()
}

// tryMounts makes an empty root as a pod does, with a fresh procfs in it as a
// lab's node has. It is the last step: nothing of this machine is left after it.
func tryMounts() (root, proc finding) {
	fail := func(what string, err error) (finding, finding) {
		return finding{false, fmt.Sprintf("%s: %v", what, err)}, finding{false, "not tried: there is no empty root"}
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fail("make mounts private", err)
	}
	const at = "/proc" // exists everywhere
	if err := unix.Mount("homing", at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fail("mount tmpfs", err)
	}
	if err := os.Mkdir(at+"/proc", 0o755); err != nil {
		return fail("mkdir", err)
	}
	if err := unix.Chdir(at); err != nil {
		return fail("chdir", err)
	}
	// Asked before the old root is dropped: the kernel allows a fresh procfs only
	// where an unmasked one is visible, mount_namespaces(7).
	proc = result(unix.Mount("proc", "proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""), "mounted")
	if err := unix.PivotRoot(".", "."); err != nil {
		root, _ = fail("pivot_root", err)
		return root, proc
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		root, _ = fail("drop the old root", err)
		return root, proc
	}
	if _, err := os.Stat("/etc"); err == nil {
		return finding{false, "the old root is still visible"}, proc
	}
	return found("entered"), proc
}
