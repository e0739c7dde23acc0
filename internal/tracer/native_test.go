package tracer

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
)

// startIn runs a program and waits until it stands in the given system call.
func startIn(t *testing.T, nr int, name string, args ...string) *cat {
	t.Helper()
	cmd := exec.Command(name, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has ended already if all went well
		_ = cmd.Wait()
	})
	standsIn(t, nr, cmd.Process.Pid)
	return &cat{cmd, in, cmd.Process.Pid}
}

func standsIn(t *testing.T, nr, pid int) {
	t.Helper()
	for {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/syscall")
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(string(b), strconv.Itoa(nr)+" ") {
			return
		}
	}
}

func onTracer(t *testing.T, tr *Tracer, f func() error) {
	t.Helper()
	var err error
	if doErr := tr.Do(func() { err = f() }); doErr != nil {
		t.Fatal(doErr)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A program that is worked on in the middle of a call goes on with it, whatever
// the call needs to be restarted.
func TestNative(t *testing.T) {
	for name, tt := range map[string]struct {
		nr   int
		argv []string
	}{
		"read":          {unix.SYS_READ, []string{"cat"}},
		"nanosleep":     {unix.SYS_CLOCK_NANOSLEEP, []string{"sleep", "1"}}, // keeps its end in a restart block
		"SIGTRAP":       {unix.SYS_READ, []string{"sh", "-c", "trap '' TRAP; exec cat"}},
		"rt_sigsuspend": {unix.SYS_RT_SIGSUSPEND, []string{"dash", "-c", "exec 3<&0; cat <&3 & wait"}},
	} {
		t.Run(name, func(t *testing.T) {
			tr, _ := start(t)
			c := startIn(t, tt.nr, tt.argv[0], tt.argv[1:]...)
			before, err := linux.ReadStatus(c.pid)
			if err != nil {
				t.Fatal(err)
			}
			maps, err := os.ReadFile("/proc/" + strconv.Itoa(c.pid) + "/maps")
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				onTracer(t, tr, func() error { return workOn(t, tr, c.pid) })
			}
			if tt.nr != unix.SYS_CLOCK_NANOSLEEP { // that goes on as restart_syscall
				standsIn(t, tt.nr, c.pid)
			}
			after, err := linux.ReadStatus(c.pid)
			if err != nil || after != before {
				t.Errorf("signals were %+v, are %+v, %v", before, after, err)
			}
			if now, err := os.ReadFile("/proc/" + strconv.Itoa(c.pid) + "/maps"); err != nil || string(now) != string(maps) {
				t.Errorf("its mappings were\n%s, are\n%s, %v", maps, now, err)
			}
			if err := c.in.Close(); err != nil {
				t.Fatal(err)
			}
			if err := c.Wait(); err != nil {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}

func workOn(t *testing.T, tr *Tracer, pid int) error {
	if err := stop(pid); err != nil {
		return err
	}
	var before, after linux.Regs
	if err := linux.GetRegs(pid, &before); err != nil {
		return err
	}
	h, err := Hold(pid)
	if err != nil {
		return err
	}
	n, err := NewNative(tr, pid)
	if err != nil {
		return err
	}
	res, err := n.Inject(pid, []Call{C(unix.SYS_GETPID), C(unix.SYS_GETPPID)})
	if err != nil || len(res) != 2 || res[0] != uint64(pid) || res[1] != uint64(os.Getpid()) {
		t.Errorf("results %d, %v", res, err)
	}
	res, err = n.Inject(pid, []Call{C(unix.SYS_GETPID), C(unix.SYS_CLOSE, ^uint64(0)), C(unix.SYS_EXIT_GROUP, 1)})
	var failed *CallError
	if !errors.As(err, &failed) || failed.Errno != unix.EBADF || failed.Call.NR != unix.SYS_CLOSE || len(res) != 1 {
		t.Errorf("failing call: results %d, error %v", res, err)
	}
	st, err := linux.ReadStatus(pid)
	if err != nil {
		return err
	}
	if st.SigIgn&(1<<(uint(unix.SIGTRAP)-1)) == 0 { // the stub's trap would end that
		b, err := n.Boot(pid, 0x2000_0000_0000, 4096)
		if err != nil {
			return err
		}
		if err := inject(t, pid, b); err != nil {
			return err
		}
		if err := n.Unboot(pid, b); err != nil {
			return err
		}
	}
	if err := h.Release(tr); err != nil {
		return err
	}
	if err := linux.GetRegs(pid, &after); err != nil {
		return err
	}
	if after != before {
		t.Errorf("registers were %+v, are %+v", before, after)
	}
	return linux.Detach(pid, 0)
}

// What the program sends itself while it is worked on, or others do, is not lost.
func TestNativeKeepsSignals(t *testing.T) {
	tr, _ := start(t)
	c := startIn(t, unix.SYS_READ, "cat")
	onTracer(t, tr, func() error {
		if err := stop(c.pid); err != nil {
			return err
		}
		h, err := Hold(c.pid)
		if err != nil {
			return err
		}
		n, err := NewNative(tr, c.pid)
		if err != nil {
			return err
		}
		for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGTRAP} {
			if err := unix.Kill(c.pid, sig); err != nil {
				return err
			}
		}
		if res, err := n.Inject(c.pid, []Call{C(unix.SYS_GETPID)}); err != nil || res[0] != uint64(c.pid) {
			t.Errorf("results %d, %v", res, err)
		}
		if err := h.Release(tr); err != nil {
			return err
		}
		return linux.Detach(c.pid, 0)
	})
	var exit *exec.ExitError
	if err := c.Wait(); !errors.As(err, &exit) || !exit.Sys().(interface{ Signaled() bool }).Signaled() {
		t.Errorf("it ended with %v", err)
	}
}
