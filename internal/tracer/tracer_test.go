package tracer

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/internal/stub"
)

// limit bounds what would otherwise hang; nothing is measured.
const limit = 20 * time.Second

type ended struct {
	tid int
	ws  unix.WaitStatus
}

// watcher passes the ends of tracees on and lets them go on at other stops.
type watcher struct{ ends chan ended }

func (w *watcher) Event(tid int, ws unix.WaitStatus, _ *unix.Rusage) {
	if ws.Exited() || ws.Signaled() {
		w.ends <- ended{tid, ws}
		return
	}
	sig := 0
	if linux.Event(ws) == 0 {
		sig = int(ws.StopSignal())
	}
	_ = linux.Cont(tid, sig)
}

func start(t *testing.T) (*Tracer, *watcher) {
	t.Helper()
	w := &watcher{make(chan ended, 16)}
	tr, err := New(w, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		tr.Close()
		wait(t, tr.Done(), "the tracer's thread did not end")
	})
	return tr, w
}

func wait(t *testing.T, c <-chan struct{}, otherwise string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(limit):
		t.Fatal(otherwise)
	}
}

// cat is a process that waits in read(2) until its input is closed.
type cat struct {
	*exec.Cmd
	in  io.Closer
	pid int
}

func startCat(t *testing.T) *cat {
	t.Helper()
	cmd := exec.Command("cat")
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
	return &cat{cmd, in, cmd.Process.Pid}
}

// stop attaches to a process and stops it. Tracer's thread.
func stop(pid int) error {
	if err := linux.Seize(pid, unix.PTRACE_O_EXITKILL); err != nil {
		return err
	}
	if err := linux.Interrupt(pid); err != nil {
		return err
	}
	for {
		var ws unix.WaitStatus
		if _, err := linux.Wait(pid, &ws, 0, nil); err == unix.EINTR {
			continue
		} else if err != nil {
			return err
		}
		if linux.Event(ws) == linux.EventStop {
			return nil
		}
		if err := linux.Cont(pid, 0); err != nil {
			return err
		}
	}
}

// borrow runs f with a stub laid over the code at which a stopped process
// stands, and puts everything back. Tracer's thread.
func borrow(tr *Tracer, pid int, f func(*Body) error) error {
	var saved linux.Regs
	if err := linux.GetRegs(pid, &saved); err != nil {
		return err
	}
	mem, err := os.OpenFile("/proc/"+strconv.Itoa(pid)+"/mem", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer mem.Close()
	old := make([]byte, len(stub.Code()))
	if _, err := mem.ReadAt(old, int64(saved.Rip)); err != nil {
		return err
	}
	if _, err := mem.WriteAt(stub.Code(), int64(saved.Rip)); err != nil {
		return err
	}
	mask, err := BlockSignals(pid)
	if err != nil {
		return err
	}
	if err := f(&Body{Stub: saved.Rip, Table: (saved.Rsp - 16384) &^ 15, Size: 4 * stub.EntrySize, Tracer: tr}); err != nil {
		return err
	}
	if _, err := mem.WriteAt(old, int64(saved.Rip)); err != nil {
		return err
	}
	if err := linux.SetSigmask(pid, mask); err != nil {
		return err
	}
	return linux.SetRegs(pid, &saved)
}

func TestInject(t *testing.T) {
	tr, _ := start(t)
	c := startCat(t)
	err := tr.Do(func() {
		if err := stop(c.pid); err != nil {
			t.Error("stop:", err)
			return
		}
		if err := borrow(tr, c.pid, func(b *Body) error { return inject(t, c.pid, b) }); err != nil {
			t.Error("inject:", err)
		}
		if err := linux.Detach(c.pid, 0); err != nil {
			t.Error("detach:", err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	// It goes on as if nothing had happened.
	if err := c.in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("the process that was borrowed ended with %v", err)
	}
}

func inject(t *testing.T, pid int, b *Body) error {
	calls := []Call{}
	for range 11 { // more than the table holds
		calls = append(calls, C(unix.SYS_GETPID), C(unix.SYS_GETPPID))
	}
	res, err := b.Inject(pid, calls)
	if err != nil {
		return err
	}
	if len(res) != len(calls) {
		t.Errorf("%d results of %d calls", len(res), len(calls))
	}
	for i, v := range res {
		if want := []int{pid, os.Getpid()}[i%2]; v != uint64(want) {
			t.Errorf("call %d gave %d, want %d", i, v, want)
		}
	}

	// It stops at the first call that fails.
	res, err = b.Inject(pid, []Call{C(unix.SYS_GETPID), C(unix.SYS_CLOSE, ^uint64(0)), C(unix.SYS_EXIT_GROUP, 1)})
	var failed *CallError
	if !errors.As(err, &failed) || failed.Errno != unix.EBADF || failed.Call.NR != unix.SYS_CLOSE || len(res) != 1 {
		t.Errorf("failing call: results %d, error %v", res, err)
	}

	// Arguments and scratch memory.
	if err := b.WriteScratch(pid, []byte("hello")); err != nil {
		return err
	}
	scratch := b.Table + uint64(b.Size)
	res, err = b.Inject(pid, []Call{
		C(unix.SYS_PRCTL, unix.PR_SET_NAME, scratch),
		C(unix.SYS_PRCTL, unix.PR_GET_NAME, scratch+32),
	})
	if err != nil || len(res) != 2 {
		t.Errorf("prctl: %d, %v", res, err)
	}
	name := make([]byte, 37)
	if err := b.ReadScratch(pid, name); err != nil {
		return err
	}
	if string(name[32:]) != "hello" {
		t.Errorf("name set and got: %q", name[32:])
	}
	return nil
}

// A tracee that ends in the middle of a batch is reported, not waited for.
func TestInjectIntoTheDying(t *testing.T) {
	tr, _ := start(t)
	c := startCat(t)
	var got error
	err := tr.Do(func() {
		if got = stop(c.pid); got != nil {
			return
		}
		got = borrow(tr, c.pid, func(b *Body) error {
			_, err := b.Inject(c.pid, []Call{C(unix.SYS_GETPID), C(unix.SYS_EXIT_GROUP, 9), C(unix.SYS_GETPID)})
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	var ended *EndedError
	if !errors.As(got, &ended) || ended.TID != c.pid || !ended.Status.Exited() || ended.Status.ExitStatus() != 9 {
		t.Errorf("got %v, want an end with status 9", got)
	}
}

// The thread serves both its tracees and others while it blocks in wait4.
func TestPostWhileWaiting(t *testing.T) {
	tr, w := start(t)
	if err := tr.Do(func() {}); err != nil { // no tracees yet
		t.Fatal(err)
	}
	c := startCat(t)
	if err := tr.Do(func() {
		err := stop(c.pid)
		if err == nil {
			err = linux.Cont(c.pid, 0)
		}
		if err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	const posts = 200
	var group sync.WaitGroup
	n := 0 // of the tracer's thread
	for range 4 {
		group.Add(1)
		go func() {
			defer group.Done()
			for range posts {
				if err := tr.Do(func() { n++ }); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	all := make(chan struct{})
	go func() { group.Wait(); close(all) }()
	wait(t, all, "commands posted to a thread that waits for its tracee were not run")
	if n != 4*posts {
		t.Errorf("%d commands ran, want %d", n, 4*posts)
	}
	if err := unix.Kill(c.pid, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-w.ends:
		if e.tid != c.pid || !e.ws.Signaled() || e.ws.Signal() != unix.SIGTERM {
			t.Errorf("end reported: %+v", e)
		}
	case <-time.After(limit):
		t.Fatal("the end of a tracee was not reported")
	}
}

func TestClose(t *testing.T) {
	w := &watcher{make(chan ended, 1)}
	tr, err := New(w, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ran := false
	tr.Post(func() { ran = true })
	tr.Close()
	wait(t, tr.Done(), "the thread did not end")
	if !ran {
		t.Error("a command posted before Close did not run")
	}
	if err := tr.Do(func() { t.Error("ran after Close") }); !errors.Is(err, ErrClosed) {
		t.Errorf("Do after Close: %v", err)
	}
	if tr.Post(func() {}) {
		t.Error("Post after Close accepted")
	}
}
