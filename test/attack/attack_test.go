// Package attack_test keeps what once broke Homing from breaking it again: each
// test is the smallest program, or the kill, that did.
package attack_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"homing/internal/oracle"
	"homing/node"
)

// limit bounds each run; nothing is measured.
const limit = 30 * time.Second

var homing, programs string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "attack-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err == nil {
		err = prepare(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func prepare(dir string) error {
	homing, programs = filepath.Join(dir, "homing"), dir
	build := exec.Command("go", "build", "-o", homing, "homing/cmd/homing")
	if given := os.Getenv("HOMING"); given != "" {
		build = exec.Command("cp", given, homing)
	}
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("get homing: %w\n%s", err, out)
	}
	for _, name := range []string{"fork_under_signals", "family"} {
		out, err := exec.Command("gcc", "-O1", "-w", "-pthread", "-o", filepath.Join(dir, name), "testdata/"+name+".c").CombinedOutput()
		if err != nil {
			return fmt.Errorf("compile: %w\n%s", err, out)
		}
	}
	return nil
}

// each runs f in a lab as the user who runs the tests and, for root, as nobody.
func each(t *testing.T, f func(t *testing.T, run func(argv ...string) string)) {
	users := []oracle.User{oracle.Self()}
	if os.Getuid() == 0 {
		users = append(users, oracle.Nobody())
	}
	for _, u := range users {
		t.Run(u.Name, func(t *testing.T) {
			lab, err := oracle.StartLab(homing, programs, u, 1, "")
			if err != nil {
				t.Fatal(err)
			}
			f(t, func(argv ...string) string { return run(t, lab, u, argv) })
			if _, err := lab.Close(); err != nil { // says so if the node has crashed
				t.Error(err, lab.Log())
			}
		})
	}
}

// run runs a program away and returns its output; it must end by itself with 0.
func run(t *testing.T, lab *oracle.Lab, u oracle.User, argv []string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, homing, append([]string{"run", "--on", "n1", "--"}, argv...)...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOMING_STATE=" + lab.State}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if u.Switch {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: u.UID, Gid: u.GID}
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v\n%s\n%s", argv, err, out.String(), lab.Log())
	}
	return out.String()
}

// A signal that a thread blocks after it was chosen for it must not show as
// errno 513 in fork, and none may be lost.
func TestForkUnderSignals(t *testing.T) {
	each(t, func(t *testing.T, run func(...string) string) {
		for _, mode := range []string{"0", "1", "3"} {
			if got := run(filepath.Join(programs, "fork_under_signals"), mode, "30"); got != "bad 0\n" {
				t.Errorf("mode %s: %s", mode, got)
			}
		}
	})
}

// A child killed at any moment of its birth crashed the supervisor.
func TestKillNewborn(t *testing.T) {
	const script = `for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		sleep 100 & kill -9 $!; wait $! 2>/dev/null; [ $? = 137 ] || echo bad
	done; echo done`
	each(t, func(t *testing.T, run func(...string) string) {
		for range 5 {
			if got := run("sh", "-c", script); got != "done\n" {
				t.Fatal(got)
			}
		}
	})
}

// SIGSTOP and SIGCONT while programs are being executed and stopped children killed.
// The first child may have ended before it is stopped; then dash, which looks for
// ended children after each builtin, may have reaped it before it is continued.
func TestStopNewborn(t *testing.T) {
	const script = `for i in 1 2 3 4 5 6 7 8 9 10; do
		sh -c 'exit 3' & kill -STOP $!; kill -CONT $! 2>/dev/null; wait $!; [ $? = 3 ] || echo bad $?
		sleep 100 & kill -STOP $!; kill -9 $!; wait $! 2>/dev/null
	done; echo done`
	each(t, func(t *testing.T, run func(...string) string) {
		if got := run("sh", "-c", script); got != "done\n" {
			t.Fatal(got)
		}
	})
}

// Children that are being born when the owner comes back stayed on the node, which
// was said to be free; one that had just been made by vfork was stopped before it
// executed its program, and its parent could not leave any more.
func TestEvictParents(t *testing.T) {
	lab, err := oracle.StartLab(homing, programs, oracle.Self(), 1, "")
	if err != nil {
		t.Fatal(err)
	}
	scripts := []string{
		"echo; for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 100 & done; wait",
		"echo; exec python3 -c 'import subprocess\nwhile True: subprocess.run([\"true\"])'",
	}
	for i := range 8 {
		evictParent(t, lab, scripts[i%len(scripts)], time.Duration(i)*20*time.Millisecond)
	}
	if _, err := lab.Close(); err != nil {
		t.Error(err, lab.Log())
	}
}

// evictParent evicts a script some time after it has begun.
func evictParent(t *testing.T, lab *oracle.Lab, script string, after time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.Command(homing, "run", "--on", "n1", "--", "/bin/sh", "-c", script)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOMING_STATE=" + lab.State}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait() // killed
	}()
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(after) // any moment will do
	ignore := func(node.ControlReply) {}
	if err := node.Control(ctx, owner(lab), node.ControlRequest{Op: "evict"}, ignore); err != nil {
		t.Fatalf("evict: %v\n%s", err, lab.Log())
	}
	if err := node.Control(ctx, owner(lab), node.ControlRequest{Op: "status"}, func(r node.ControlReply) {
		if r.Status != nil && len(r.Status.Guests) > 0 {
			t.Errorf("still there: %v", r.Status.Guests)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// A process that was killed after its family had been built at the node, and
// before it had left home, took the others with it: they were half shadows.
func TestKillWhileLeaving(t *testing.T) {
	lab, err := oracle.StartLab(homing, programs, oracle.Self(), 1, "15ms")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		killLeaving(t, lab, time.Duration(i)*80*time.Millisecond)
	}
	var left []node.Guest
	for end := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) { // the node hears of a death a little later
		if err := node.Control(t.Context(), owner(lab), node.ControlRequest{Op: "status"}, func(r node.ControlReply) {
			if r.Status != nil {
				left = r.Status.Guests
			}
		}); err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			break
		}
		if time.Now().After(end) {
			t.Errorf("still there: %v", left)
			break
		}
	}
	if _, err := lab.Close(); err != nil {
		t.Error(err, lab.Log())
	}
}

// killLeaving kills one of a family some time after it was told to leave. What
// becomes of the move does not matter.
func killLeaving(t *testing.T, lab *oracle.Lab, after time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, homing, "run", "--", filepath.Join(programs, "family"))
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOMING_STATE=" + lab.State}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait() // killed
	}()
	defer context.AfterFunc(ctx, func() { out.Close() })() // whoever is left holds its other end
	var pid, victim, sig int
	if _, err := fmt.Fscan(out, &pid, &victim); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(after, func() { _ = syscall.Kill(victim, syscall.SIGKILL) })
	defer kill.Stop()
	res, err := node.Move(ctx, lab.State, node.MoveRequest{PIDs: []int{pid}, To: "n1"}, nil)
	if err != nil {
		t.Error(err)
	}
	if _, err := fmt.Fscan(out, &sig); err != nil || sig != int(syscall.SIGKILL) {
		t.Errorf("killed after %v: its parent saw %d, %v; %v\n%s", after, sig, err, res, lab.Log())
	}
}

// owner is the state directory of a lab's node.
func owner(lab *oracle.Lab) string { return filepath.Join(filepath.Dir(lab.State), "n1") }
