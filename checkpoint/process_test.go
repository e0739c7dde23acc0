package checkpoint

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/internal/tracer"
	"homing/signals"
)

// compiled builds a C program of testdata once.
func compiled(t testing.TB, name string) string {
	t.Helper()
	build.Lock()
	defer build.Unlock()
	if path, ok := build.done[name]; ok {
		return path
	}
	if build.dir == "" {
		var err error
		if build.dir, err = os.MkdirTemp("", "homing-checkpoint"); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(build.dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(build.dir, name)
	if out, err := exec.Command("gcc", "-Wall", "-O1", "-pthread", "-o", path, "testdata/"+name+".c").CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	build.done[name] = path
	return path
}

var build = struct {
	sync.Mutex
	dir  string
	done map[string]string
}{done: map[string]string{}}

func TestMain(m *testing.M) {
	code := m.Run()
	if build.dir != "" {
		_ = os.RemoveAll(build.dir)
	}
	os.Exit(code)
}

// victim is a running program that talks over its standard input and output:
// it writes a line when it is ready, and goes on when it is told to.
type victim struct {
	*exec.Cmd
	t   testing.TB
	tr  *tracer.Tracer
	in  io.WriteCloser
	out io.Reader
	pid int
}

type nobody struct{}

func (nobody) Event(int, unix.WaitStatus, *unix.Rusage) {}

func startVictim(t testing.TB, name string, args ...string) *victim {
	t.Helper()
	tr, err := tracer.New(nobody{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	v := &victim{Cmd: exec.Command(compiled(t, name), args...), t: t, tr: tr}
	v.Stderr = os.Stderr
	if v.in, err = v.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if v.out, err = v.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := v.Start(); err != nil {
		t.Fatal(err)
	}
	v.pid = v.Process.Pid
	t.Cleanup(func() {
		_ = v.Process.Kill() // it has ended already if all went well
		_ = v.Wait()
		tr.Close()
		<-tr.Done()
	})
	return v
}

// line reads what the program says next.
func (v *victim) line() string {
	v.t.Helper()
	var b []byte
	for one := make([]byte, 1); ; {
		if _, err := v.out.Read(one); err != nil {
			v.t.Fatalf("the program ended after %q: %v", b, err)
		}
		if one[0] == '\n' {
			return string(b)
		}
		b = append(b, one[0])
	}
}

func (v *victim) tell(line string) {
	v.t.Helper()
	if _, err := io.WriteString(v.in, line+"\n"); err != nil {
		v.t.Fatal(err)
	}
}

// threads lists the threads of the program, the leader first.
func (v *victim) threads() []int {
	v.t.Helper()
	dir, err := os.ReadDir("/proc/" + strconv.Itoa(v.pid) + "/task")
	if err != nil {
		v.t.Fatal(err)
	}
	out := []int{v.pid}
	for _, e := range dir {
		if tid, err := strconv.Atoi(e.Name()); err == nil && tid != v.pid {
			out = append(out, tid)
		}
	}
	return out
}

// stopped runs f on the tracer's thread while all threads stand still with a
// stub, and lets them go on after.
func (v *victim) stopped(f func(threads []int, body *tracer.Body) error) {
	v.t.Helper()
	err := v.do(func() error {
		var held []*tracer.Held
		for _, tid := range v.threads() {
			if err := linux.Seize(tid, unix.PTRACE_O_TRACESYSGOOD); err != nil {
				return err
			}
			if err := linux.Interrupt(tid); err != nil {
				return err
			}
			if err := v.tr.WaitStop(tid, nil); err != nil {
				return err
			}
		}
		for _, tid := range v.threads() {
			h, err := tracer.Hold(tid)
			if err != nil {
				return err
			}
			held = append(held, h)
		}
		n, err := tracer.NewNative(v.tr, v.pid)
		if err != nil {
			return err
		}
		body, err := n.Boot(v.pid, testStub, testTable)
		if err != nil {
			return err
		}
		for _, tid := range v.threads()[1:] {
			if _, err := tracer.BlockSignals(tid); err != nil {
				return err
			}
		}
		if err := f(v.threads(), body); err != nil {
			return err
		}
		if n, err = tracer.NewNative(v.tr, v.pid); err != nil { // the vDSO may have moved
			return err
		}
		if err := n.Unboot(v.pid, body); err != nil {
			return err
		}
		for _, h := range held {
			if err := h.Release(v.tr); err != nil {
				return err
			}
			if err := linux.Detach(h.TID, 0); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errKilled) {
		v.t.Fatal(err)
	}
}

// errKilled ends what is done to a stopped program that has been killed.
var errKilled = errors.New("killed")

const testStub, testTable = 0x2000_0000_0000, 64 << 10

func (v *victim) do(f func() error) error {
	var err error
	if doErr := v.tr.Do(func() { err = f() }); doErr != nil {
		return doErr
	}
	return err
}

// end lets the program end and wants it to be content.
func (v *victim) end() {
	v.t.Helper()
	_ = v.in.Close()
	rest, err := io.ReadAll(v.out)
	if err != nil {
		v.t.Error(err)
	}
	if err := v.Wait(); err != nil {
		v.t.Errorf("it ended with %v: %s", err, rest)
	}
}

func TestCaptureActions(t *testing.T) {
	v := startVictim(t, "actions")
	var want [4]uint64
	for i, f := range strings.Fields(v.line()) {
		n, err := strconv.ParseUint(f, 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		want[i] = n
	}
	v.stopped(func(threads []int, body *tracer.Body) error {
		got, err := CaptureActions(v.pid, body)
		if err != nil {
			return err
		}
		a := got[int(unix.SIGUSR1)]
		if [4]uint64{a.Handler, a.Flags, a.Restorer, a.Mask} != want {
			t.Errorf("SIGUSR1: got %#x, want %#x", a, want)
		}
		if got[int(unix.SIGTRAP)].Handler != signals.IgnoreHandler || got[int(unix.SIGPIPE)].Handler != signals.IgnoreHandler {
			t.Errorf("what is ignored: %#x", got)
		}
		for sig, a := range got { // what whoever runs the tests ignores, as nohup(1) does
			if sig != int(unix.SIGTRAP) && sig != int(unix.SIGPIPE) && a.Handler == signals.IgnoreHandler {
				delete(got, sig)
			}
		}
		if got[64].Handler != a.Handler || len(got) != 4 {
			t.Errorf("got %#x", got)
		}
		return nil
	})
	v.end()
}

// A thread that has been stripped and restored has all that it had.
func TestThreads(t *testing.T) {
	v := startVictim(t, "threads")
	if got := v.line(); got != "ready" {
		t.Fatal(got)
	}
	var before, after []Thread
	capture := func(threads []int, body *tracer.Body) (all []Thread) {
		for _, tid := range threads {
			th, err := CaptureThread(tid)
			if err != nil {
				t.Fatal(err)
			}
			if err := CaptureInjected(tid, body, &th, nil); err != nil {
				t.Fatal(err)
			}
			all = append(all, th)
		}
		return all
	}
	v.stopped(func(threads []int, body *tracer.Body) error {
		before = capture(threads, body)
		for i, tid := range threads {
			if err := before[i].Strip(tid, body); err != nil {
				return err
			}
			if _, err := body.Inject(tid, []tracer.Call{tracer.C(unix.SYS_PRCTL, unix.PR_SET_TIMERSLACK, 77)}); err != nil {
				return err
			}
		}
		for i, th := range capture(threads, body) {
			if th.Rseq.Addr != 0 || th.RobustHead != 0 || th.ClearTID != 0 || th.AltStack[1] != ssDisable {
				t.Errorf("stripped: %+v", th)
			}
			if err := before[i].RestoreThread(threads[i], body); err != nil {
				return err
			}
		}
		return nil
	})
	v.stopped(func(threads []int, body *tracer.Body) error {
		after = capture(threads, body)
		return nil
	})
	names := ""
	for i, th := range before {
		names += string(th.Comm) + " "
		now := after[i]
		if th.Rseq != now.Rseq || th.RobustHead != now.RobustHead || th.ClearTID != now.ClearTID || th.AltStack != now.AltStack || string(th.Comm) != string(now.Comm) || th.TimerSlack != now.TimerSlack || th.TSC != now.TSC {
			t.Errorf("was %+v, is %+v", th, now)
		}
		if th.Rseq.Addr == 0 || th.RobustHead == 0 || th.ClearTID == 0 || th.AltStack[2] == 0 {
			t.Errorf("the program had not what is tested: %+v", th)
		}
	}
	if before[1].TimerSlack != 12345 || before[0].TSC == 0 {
		t.Errorf("timer slack %d, TSC %d", before[1].TimerSlack, before[0].TSC)
	}
	if names != "threads one two three " {
		t.Errorf("names: %s", names)
	}
	v.end()
}

// What an injected call would disturb is refused before there is one.
func TestDispatchIsRefused(t *testing.T) {
	v := startVictim(t, "dispatch")
	with := v.line() == "with"
	err := v.do(func() error {
		if err := linux.Seize(v.pid, 0); err != nil {
			return err
		}
		if err := linux.Interrupt(v.pid); err != nil {
			return err
		}
		if err := v.tr.WaitStop(v.pid, nil); err != nil {
			return err
		}
		if _, err := CaptureThread(v.pid); (err != nil) != with {
			t.Errorf("captured: %v", err)
		}
		return linux.Detach(v.pid, 0)
	})
	if err != nil {
		t.Fatal(err)
	}
	v.end()
}
