package signals

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"testing/quick"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
)

func TestCarry(t *testing.T) {
	// All siginfos that a signal can come with: si_errno is 0 in them.
	round := func(si Info) bool {
		clear(si[4:8])
		if Code(&si) == carried {
			return true // raised by nothing that a guest has
		}
		c := Carry(si)
		if Code(&c) != carried || Signo(&c) != Signo(&si) {
			return false
		}
		head := [12]byte(c[:12])
		if !Uncarry(c[:]) || c != si {
			return false
		}
		return Uncarry(head[:]) && head == [12]byte(si[:12]) && !Uncarry(c[:])
	}
	if err := quick.Check(round, nil); err != nil {
		t.Error(err)
	}
}

// What the kernel lets a process queue to another: rt_sigqueueinfo(2).
func TestCarriedCanBeQueued(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var si Info
	si[0] = byte(unix.SIGTERM)
	const siUser, siTkill = 0, -6
	for _, code := range []int8{siUser, siTkill} {
		si[8], si[9], si[10], si[11] = byte(code), byte(code>>7), byte(code>>7), byte(code>>7)
		if err := linux.QueueSignal(cmd.Process.Pid, int(unix.SIGTERM), &si); err != unix.EPERM {
			t.Errorf("si_code %d as it is: %v, want EPERM", code, err)
		}
		c := Carry(si)
		if err := linux.QueueSignal(cmd.Process.Pid, int(unix.SIGTERM), &c); err != nil {
			t.Errorf("si_code %d carried: %v", code, err)
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Error("SIGTERM had no effect")
	}
}

// TestDefault compares with what the kernel does to a shell that sends itself
// each signal.
func TestDefault(t *testing.T) {
	own, err := linux.ReadStatus(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for sig := 1; sig <= 64; sig++ {
		if own.SigIgn&Bit(sig) != 0 {
			continue // our parent ignores it, and so would the shell
		}
		if got, want := observe(t, sig), Default(sig); got != want && !(got == Terminate && want == Core) {
			t.Errorf("signal %d: the kernel does %d, Default says %d", sig, got, want)
		}
		if ignored := DefaultIgnored&Bit(sig) != 0; ignored != (Default(sig) == Ignore) {
			t.Errorf("signal %d: DefaultIgnored says %v", sig, ignored)
		}
	}
}

// observe tells what a signal does; a core is not dumped, so that Core shows as
// Terminate.
func observe(t *testing.T, sig int) Action {
	t.Helper()
	const survived = 77
	cmd := exec.Command("sh", "-c", "ulimit -c 0; kill -"+strconv.Itoa(sig)+" $$; exit "+strconv.Itoa(survived))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // not orphaned: signals can stop it
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(cmd.Process.Pid, &ws, unix.WUNTRACED, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	switch {
	case ws.Stopped() && int(ws.StopSignal()) == sig:
		_ = cmd.Process.Kill()
		_, _ = cmd.Process.Wait()
		return Stop
	case ws.Signaled() && int(ws.Signal()) == sig:
		return Terminate
	case ws.Exited() && ws.ExitStatus() == survived:
		return Ignore
	}
	t.Fatalf("signal %d: shell ended with %#x", sig, uint32(ws))
	return 0
}

// Signals that dump core, as signal(7) lists them.
func TestCore(t *testing.T) {
	core := map[unix.Signal]bool{
		unix.SIGQUIT: true, unix.SIGILL: true, unix.SIGTRAP: true, unix.SIGABRT: true, unix.SIGBUS: true, unix.SIGFPE: true,
		unix.SIGSEGV: true, unix.SIGXCPU: true, unix.SIGXFSZ: true, unix.SIGSYS: true,
	}
	for sig := 1; sig <= 64; sig++ {
		if got := Default(sig) == Core; got != core[unix.Signal(sig)] {
			t.Errorf("signal %d dumps core: %v", sig, got)
		}
	}
}

func TestIsRestart(t *testing.T) {
	for ret, want := range map[int64]bool{
		0: false, 512: false, -4: false, -511: false, -512: true, -513: true, -514: true, -515: false, -516: true, -517: false,
	} {
		if IsRestart(ret) != want {
			t.Errorf("IsRestart(%d) is %v", ret, !want)
		}
	}
}
