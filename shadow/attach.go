package shadow

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
)

// Attach starts a supervisor that adopts the running process cfg.Attach. The
// process notices nothing; it is not traced until it leaves.
func Attach(cfg Config) error {
	if err := Attachable(cfg.Attach); err != nil {
		return err
	}
	sock, err := startSupervisor()
	if err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	defer sock.Close()
	return handshake(sock, cfg)
}

// Attachable tells why a process cannot be adopted.
func Attachable(pid int) error {
	base := "/proc/" + strconv.Itoa(pid)
	st, err := linux.ReadStat(base + "/stat")
	status, statusErr := os.ReadFile(base + "/status")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || err == nil && statusErr != nil {
		return errors.New("there is no such process")
	}
	if err != nil {
		return err
	}
	switch {
	case statusField(status, "Tgid") != strconv.Itoa(pid):
		return fmt.Errorf("a thread of process %s; name that", statusField(status, "Tgid"))
	case pid == 1:
		return errors.New("the first process of the system cannot leave it")
	case st.Flags&linux.KernelThread != 0:
		return fmt.Errorf("a thread of the kernel (%s), not a program", st.Comm)
	case st.State == 'Z':
		return errors.New("it has ended; only its parent has not asked for its status yet")
	case isHoming(base):
		return errors.New("part of homing itself")
	}
	if err := traceable(base); err != nil {
		return err
	}
	if tracer, _ := strconv.Atoi(statusField(status, "TracerPid")); tracer != 0 {
		if isHoming("/proc/" + strconv.Itoa(tracer)) {
			return errHeld
		}
		return fmt.Errorf("traced by process %d (%s); have that let go of it first", tracer, readComm(tracer))
	}
	ours, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return err
	}
	if theirs, err := os.Readlink(base + "/ns/pid"); err == nil && theirs != ours {
		return errors.New("it lives in another pid namespace (a container); run homing in there")
	}
	return nil
}

// isHoming tells whether a process, given its directory in /proc, executes this
// very program.
func isHoming(base string) bool {
	ours, err := os.Stat("/proc/self/exe")
	if err != nil {
		return false
	}
	theirs, err := os.Stat(base + "/exe")
	return err == nil && os.SameFile(ours, theirs)
}

// traceable tells why we may not trace a process: opening its memory asks the
// kernel for the same permission, ptrace(2), and changes nothing.
func traceable(base string) error {
	f, err := os.Open(base + "/mem")
	if err == nil {
		return f.Close()
	}
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	var owner unix.Stat_t
	if unix.Stat(base, &owner) == nil && int(owner.Uid) != os.Geteuid() {
		name := "another user's"
		if u, err := user.LookupId(strconv.Itoa(int(owner.Uid))); err == nil {
			name = u.Username + "'s"
		}
		return fmt.Errorf("it is %s process, or runs with rights that you do not have; only its user and root may move it", name)
	}
	if scope, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope"); err == nil && strings.TrimSpace(string(scope)) != "0" {
		return fmt.Errorf("kernel.yama.ptrace_scope=%s forbids to trace it: run homing as root, or let root set it to 0; what `homing run` starts needs neither", strings.TrimSpace(string(scope)))
	}
	return errors.New("the kernel forbids to trace it: its program may not be read, or it has made itself unreadable (prctl(2), PR_SET_DUMPABLE); only root may move it")
}

// statusField is one field of a /proc/PID/status.
func statusField(status []byte, name string) string {
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}
