package faults_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"homing/internal/fault"
	"homing/internal/oracle"
	"homing/node"
)

// limit bounds everything that is waited for; nothing is measured.
const limit = 20 * time.Second

// patience is how long what is to go away may take.
const patience = 5 * time.Second

// A world is a lab of two nodes, and points that are armed in all of it.
type world struct {
	t      *testing.T
	user   oracle.User
	lab    *oracle.Lab
	faults string
	dies   bool // a node does
}

func newWorld(t *testing.T, u oracle.User) *world {
	t.Helper()
	w := &world{t: t, user: u}
	var err error
	if w.faults, err = os.MkdirTemp(programs, "points-"); err == nil {
		err = os.Chmod(w.faults, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
	if w.lab, err = oracle.StartLab(homing, programs, u, 2, "", fault.Variable+"="+w.faults); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		log, _ := os.ReadFile(filepath.Join(w.lab.State, "log"))
		if _, err := w.lab.Close(); err != nil && !w.dies {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("%s\nhome says: %s", w.lab.Log(), log)
		}
	})
	return w
}

// arm makes a point act, at the next who passes it.
func (w *world) arm(t *testing.T, name, action string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(w.faults, name), []byte(action), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(w.faults, name), 0o666); err != nil {
		t.Fatal(err)
	}
}

// passed tells whether somebody has passed a point since it was armed, which is so no more.
func (w *world) passed(name string) bool {
	return os.Remove(filepath.Join(w.faults, name)) != nil
}

// reached waits until somebody waits at a point.
func (w *world) reached(t *testing.T, name string) {
	t.Helper()
	w.until(t, "somebody waits at "+name, func() bool {
		_, err := os.Stat(filepath.Join(w.faults, name+".here"))
		return err == nil
	})
}

func (w *world) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// direct says whether nodes reach each other, see `homing lab --direct`.
func (w *world) direct(t *testing.T, how string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(filepath.Dir(w.lab.State), "direct"), []byte(how), 0o600); err != nil {
		t.Fatal(err)
	}
}

// command runs homing.
func (w *world) command(args ...string) *exec.Cmd {
	cmd := exec.Command(homing, args...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOMING_STATE=" + w.lab.State, fault.Variable + "=" + w.faults}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if w.user.Switch {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: w.user.UID, Gid: w.user.GID}
	}
	cmd.WaitDelay = time.Second
	return cmd
}

// A victim is the running program.
type victim struct {
	w       *world
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     chan string
	err     bytes.Buffer
	ended   chan struct{}
	pid     int
	round   int
	numbers int // signals sent
	waiting int
	group   bool
	shows   int // its supervisor
}

// start starts a program at home.
func (w *world) start(t *testing.T, args ...string) *victim {
	t.Helper()
	v := &victim{w: w, out: make(chan string, 100), ended: make(chan struct{}), group: slices.Contains(args, "group")}
	v.cmd = w.command(append([]string{"run", "--", filepath.Join(programs, "victim")}, args...)...)
	v.cmd.Stderr = &v.err
	in, err := v.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	v.in = in
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			v.out <- s.Text()
		}
		close(v.out)
		_ = v.cmd.Wait()
		close(v.ended)
	}()
	v.pid = v.cmd.Process.Pid
	t.Cleanup(func() {
		_ = v.cmd.Process.Kill()
		select {
		case <-v.ended:
		case <-time.After(patience):
		}
	})
	if got := v.line(t); got != "ready" {
		t.Fatalf("the program says %q\n%s", got, v.err.String())
	}
	return v
}

// line is the next that the program writes.
func (v *victim) line(t *testing.T) string {
	t.Helper()
	select {
	case l, ok := <-v.out:
		if !ok {
			<-v.ended
			t.Fatalf("the program has ended: %v\n%s", v.cmd.ProcessState, v.err.String())
		}
		return l
	case <-time.After(limit):
		t.Fatalf("the program does not answer\n%s", v.look())
	}
	return ""
}

// look describes the threads, for a failure.
func (v *victim) look() string {
	out, _ := exec.Command("sh", "-c", fmt.Sprintf("grep -H . /proc/%d/task/*/wchan; grep -hE '^(State|TracerPid|Sig|Shd)' /proc/%d/task/*/status", v.pid, v.pid)).CombinedOutput()
	return string(out)
}

// answers has the program check itself.
func (v *victim) answers(t *testing.T) {
	t.Helper()
	v.queue(t, 0, &v.numbers)
	fmt.Fprintf(v.in, "%d\n", v.round) // a program that has ended shows in what it answers
	want := fmt.Sprintf("%d ok", v.round)
	if got := v.line(t); got != want {
		t.Fatalf("the program says %q, not %q\n%s", got, want, v.err.String())
	}
	v.round++
}

// waits sends it a signal that it does not take before its end.
func (v *victim) waits(t *testing.T) { v.queue(t, 1, &v.waiting) }

// finish has the program end, and judges what it has found.
func (v *victim) finish(t *testing.T) {
	t.Helper()
	fmt.Fprintln(v.in, "end")
	child := 0
	if v.group {
		child = 7
	}
	want := fmt.Sprintf("lines %d, signals %d, waiting %d, child %d, bad 0", v.round, v.numbers, v.waiting, child)
	for got := v.line(t); got != want; got = v.line(t) {
		t.Errorf("the program says %q, not %q", got, want)
		if strings.HasPrefix(got, "lines") {
			break
		}
	}
	select {
	case <-v.ended:
	case <-time.After(limit):
		t.Fatalf("the program does not end\n%s", v.look())
	}
}

// migrate moves the program by the command.
func (v *victim) migrate(t *testing.T, to, strategy string) (status int, said string) {
	t.Helper()
	args := []string{"migrate", strconv.Itoa(v.pid), "--to", to}
	if strategy != "" {
		args = append(args, "--strategy", strategy)
	}
	cmd := v.w.command(args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(limit):
		_ = cmd.Process.Kill()
		t.Fatalf("the command does not end\n%s", v.look())
	}
	return cmd.ProcessState.ExitCode(), strings.TrimSpace(out.String())
}

// goes moves the program, which must succeed.
func (v *victim) goes(t *testing.T, to, strategy string) {
	t.Helper()
	if status, said := v.migrate(t, to, strategy); status != 0 {
		t.Fatalf("to %s: status %d: %s", to, status, said)
	}
	v.isAt(t, to)
}

// isAt fails unless the program is there and nowhere else, and answers.
func (v *victim) isAt(t *testing.T, place string) {
	t.Helper()
	procs, err := node.Jobs(v.w.lab.State)
	i := slices.IndexFunc(procs, func(p node.Process) bool { return p.PID == v.pid })
	if i < 0 {
		t.Fatalf("nobody knows the program: %v, %v\n%s", procs, err, v.err.String())
	}
	at := procs[i].Node
	if procs[i].Where == node.AtHome {
		at = node.AtHome
	}
	if at != place {
		t.Fatalf("the program is at %s, not at %s", at, place)
	}
	v.w.until(t, "the nodes know where it is: "+place, func() bool {
		for _, n := range []string{"n1", "n2"} {
			here, ok := v.w.guest(n, v.pid)
			if ok && here != (n == place) {
				return false
			}
		}
		return true
	})
	if place == node.AtHome {
		v.isNative(t)
	} else if v.shows == 0 {
		v.shows = tracerOf(v.pid)
	}
	v.answers(t)
}

// guest tells whether a node has a body of a process; ok is false if the node is gone.
func (w *world) guest(name string, pid int) (here, ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	err := node.Control(ctx, filepath.Join(filepath.Dir(w.lab.State), name), node.ControlRequest{Op: "status"}, func(r node.ControlReply) {
		if r.Status != nil {
			ok = true
			here = here || slices.ContainsFunc(r.Status.Guests, func(g node.Guest) bool { return g.PID == pid })
		}
	})
	return here, ok && err == nil
}

func tracerOf(pid int) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(b), "TracerPid:\t")
	n, _ := strconv.Atoi(strings.SplitN(rest, "\n", 2)[0])
	return n
}

// isNative fails if anything of Homing's is in the program, which is at home.
func (v *victim) isNative(t *testing.T) {
	t.Helper()
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", v.pid))
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if err != nil {
			continue // it has ended
		}
		for _, l := range []string{"TracerPid:\t0\n", "Seccomp:\t0\n"} {
			if !strings.Contains(string(b), l) {
				t.Errorf("%s does not say %q", task, l)
			}
		}
		if strings.Contains(string(b), "State:\tt") || strings.Contains(string(b), "State:\tT") {
			t.Errorf("%s: it stands", task)
		}
	}
	maps, _ := os.ReadFile(fmt.Sprintf("/proc/%d/maps", v.pid))
	for line := range strings.Lines(string(maps)) {
		if f := strings.Fields(line); len(f) > 5 && strings.HasPrefix(f[5], "/SYSV") {
			t.Errorf("left in its memory: %s", line)
		}
	}
}

// holds is what its supervisor holds, and what the lab does.
type holds struct {
	lab  oracle.Holdings
	home map[string]int
}

func (v *victim) holds() holds {
	h := holds{lab: v.w.lab.Holdings(), home: map[string]int{}}
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", v.shows))
	for _, fd := range fds {
		name, _ := os.Readlink(fd)
		h.home[strings.TrimRight(name, "0123456789[]")]++
	}
	fds, _ = filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", v.pid))
	h.home["of the program"] = len(fds)
	return h
}

// leaks says what is held beyond what was.
func (v *victim) leaks(before holds) string {
	if l := v.w.lab.Leaks(before.lab, patience); l != "" {
		return l
	}
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		var more []string
		for what, n := range v.holds().home {
			if n > before.home[what] {
				more = append(more, fmt.Sprintf("supervisor: %s: %d, not %d", what, n, before.home[what]))
			}
		}
		if len(more) == 0 || time.Now().After(end) {
			return strings.Join(more, "; ")
		}
	}
}

// dies waits for the program's end by a kill, and wants a message of it.
func (v *victim) dies(t *testing.T, message string) {
	t.Helper()
	select {
	case <-v.ended:
	case <-time.After(limit):
		t.Fatalf("the program lives\n%s", v.look())
	}
	ws := v.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ws.Signaled() || ws.Signal() != syscall.SIGKILL {
		t.Errorf("the program ended with %v", v.cmd.ProcessState)
	}
	if !strings.Contains(v.err.String(), message) {
		t.Errorf("%q does not say %q", v.err.String(), message)
	}
}
