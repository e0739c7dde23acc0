package doctor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"homing/internal/linux"

	"golang.org/x/sys/unix"
)

// probeTrace traces the victim as a supervisor traces a program: seize,
// interrupt, look at registers and memory, let go.
func probeTrace(args []string) map[string]finding {
	if len(args) != 2 {
		return map[string]finding{"": {false, "no victim given"}}
	}
	pid, _ := strconv.Atoi(args[0])
	addr, _ := strconv.ParseUint(args[1], 10, 64)
	got := map[string]finding{}
	if err := linux.Seize(pid, 0); err != nil {
		got[""] = finding{false, fmt.Sprintf("seize: %v%s", err, yama())}
		return got
	}
	got["ptrace"] = result(stopAndLook(pid), "seized, stopped, read")
	_, err := linux.GetRseq(pid)
	got["rseq"] = result(err, "readable")
	got["process-vm"] = result(readVictim(pid, addr), "readable")
	if err := linux.Detach(pid, 0); err != nil {
		got["ptrace"] = finding{false, fmt.Sprintf("detach: %v", err)}
	}
	return got
}

func stopAndLook(pid int) error {
	if err := linux.Interrupt(pid); err != nil {
		return fmt.Errorf("interrupt: %w", err)
	}
	var ws unix.WaitStatus
	for {
		_, err := linux.Wait(pid, &ws, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait: %w", err)
		}
		break
	}
	if !ws.Stopped() {
		return fmt.Errorf("not stopped, wait status %#x", int(ws))
	}
	var regs linux.Regs
	if err := linux.GetRegs(pid, &regs); err != nil {
		return fmt.Errorf("read registers: %w", err)
	}
	return nil
}

func readVictim(pid int, addr uint64) error {
	var b [8]byte
	if _, err := linux.ReadMemory(pid, addr, b[:]); err != nil {
		return err
	}
	if got := binary.NativeEndian.Uint64(b[:]); got != victimWord {
		return fmt.Errorf("read %#x, want %#x", got, uint64(victimWord))
	}
	return nil
}

// yama adds the setting that most likely explains a refusal.
func yama() string {
	b, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	if err != nil {
		return ""
	}
	return " (kernel.yama.ptrace_scope is " + string(b[:1]) + ")"
}

// probeSeccomp traps a call of one thread and answers it from another.
func probeSeccomp() map[string]finding {
	got := map[string]finding{}
	listener := make(chan int, 1)
	answered := make(chan uintptr, 1)
	var install error
	flags := uintptr(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
	go func() {
		runtime.LockOSThread() // ends with it: the filter is this thread's
		fd := -1
		if install = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); install == nil {
			fd, install = installFilter(trapGetppid(), flags)
			if errors.Is(install, unix.EINVAL) { // no WAIT_KILLABLE_RECV
				flags &^= unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
				fd, install = installFilter(trapGetppid(), flags)
			}
		}
		listener <- fd
		if install == nil {
			v, _, _ := unix.Syscall(unix.SYS_GETPPID, 0, 0, 0)
			answered <- v
		}
	}()
	fd := <-listener
	if install != nil {
		got[""] = finding{false, install.Error()}
		return got
	}
	got["wait-killable"] = finding{flags&unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV != 0, "accepted"}
	if !got["wait-killable"].OK {
		got["wait-killable"] = finding{false, "refused"}
	}
	got["sync-wake-up"] = result(linux.NotifSyncWakeUp(fd), "accepted")
	err := answerTrap(fd, got)
	if err == nil {
		if v := <-answered; v != trapAnswer {
			err = fmt.Errorf("the caller got %d, not %d", v, trapAnswer)
		}
	}
	got["notify"] = result(err, "a call was trapped and answered")
	return got
}

const trapAnswer = 4711

func answerTrap(fd int, got map[string]finding) error {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if n, err := linux.Poll(fds, int(childLimit.Milliseconds()/2)); err != nil || n == 0 {
		return fmt.Errorf("no notification came (%w)", errors.Join(err, unix.ETIMEDOUT))
	}
	var n linux.Notif
	if err := linux.NotifReceive(fd, &n); err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	const free = 100
	got["addfd"] = result(linux.NotifAddFD(fd, n.ID, 2, free), "passed")
	if err := linux.NotifSend(fd, &linux.NotifResp{ID: n.ID, Val: trapAnswer}); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}

// trapGetppid is a filter that notifies of getppid(2) and allows all else.
func trapGetppid() []unix.SockFilter {
	return []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // seccomp_data.nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_GETPPID},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
}
