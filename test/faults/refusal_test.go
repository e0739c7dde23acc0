package faults_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"homing/internal/oracle"
	"homing/node"
)

// What a place cannot take stays where it is; the reason has its figure or name.
func TestRefusals(t *testing.T) {
	t.Parallel()
	features, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	feature := "sse4_2"
	if !strings.Contains(string(features), " "+feature+" ") {
		t.Skipf("this processor has no %s to be hidden", feature)
	}
	w := newWorld(t, oracle.Self())
	v := w.start(t, "24")
	for _, place := range []string{"n1", "n2", node.AtHome} {
		v.goes(t, place, "")
	}
	for _, d := range directions {
		w.direct(t, d.direct)
		v.goes(t, d.from, "")
		before := v.holds()
		for _, c := range []struct{ name, value, says string }{
			{"memory.available", "20000000", "not enough memory: it has 24."},
			{"memory.available", "20000000", "of what is free (19.1 MiB)"},
			{"cpu.hidden", feature, "the processor has no " + feature},
			{"calls.missing", "157", "no system call prctl (157)"},
		} {
			if c.name == "calls.missing" && d.to == node.AtHome {
				continue // the node that it leaves would lack it, too
			}
			w.arm(t, c.name, c.value)
			status, said := v.migrate(t, d.to, "")
			w.passed(c.name)
			if status != 1 || !strings.Contains(said, c.says) {
				t.Errorf("%s, %s: status %d: %s", d.name, c.name, status, said)
			}
			v.isAt(t, d.from)
			if l := v.leaks(before); l != "" {
				t.Errorf("%s, %s: left behind: %s", d.name, c.name, l)
			}
		}
		point := "node.receive.body"
		if d.to == node.AtHome {
			point = "home.bring.body"
		}
		w.arm(t, point, "wait")
		result := make(chan string, 1)
		go func() {
			_, said := v.migrate(t, d.to, "")
			result <- said
		}()
		w.reached(t, point)
		w.arm(t, "memory.available", "10000000")
		w.passed(point)
		if said := <-result; !strings.Contains(said, "memory has run out while it came: 9.5 MiB are free") {
			t.Errorf("%s: it says %s", d.name, said)
		}
		w.passed("memory.available")
		v.isAt(t, d.from)
		if l := v.leaks(before); l != "" {
			t.Errorf("%s: left behind: %s", d.name, l)
		}
		v.goes(t, d.to, "")
	}
	v.finish(t)
}

// A node whose owner has taken it back takes nobody; nor does one that is full.
func TestNotLending(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oracle.Self())
	v := w.start(t, "1")
	v.goes(t, "n1", "")
	evict := func(args ...string) {
		t.Helper()
		cmd := w.command(append(append([]string{"evict"}, args...), "n1")...)
		cmd.Env = append(cmd.Env, "HOMING_LAB_DIR="+filepath.Dir(w.lab.State))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("evict: %v\n%s", err, out)
		}
	}
	evict()
	v.isAt(t, node.AtHome)
	if status, said := v.migrate(t, "n1", ""); status != 1 || !strings.Contains(said, "not lending") {
		t.Errorf("status %d: %s", status, said)
	}
	v.goes(t, "n2", "")
	if status, said := v.migrate(t, "n1", ""); status != 1 || !strings.Contains(said, "not lending") {
		t.Errorf("status %d: %s", status, said)
	}
	v.isAt(t, "n2")
	evict("--resume")
	v.goes(t, "n1", "")
	v.finish(t)
}

// Whoever ordered a move and gives it up finds the program where it was.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oracle.Self())
	v := w.start(t, "1", "group")
	for _, place := range []string{"n1", "n2", node.AtHome} {
		v.goes(t, place, "")
	}
	for _, d := range directions {
		w.direct(t, d.direct)
		v.goes(t, d.from, "")
		before := v.holds()
		for _, point := range []string{"node.receive.body", "node.arrive.threads", "node.take.frozen", "home.bring.body", "home.bring.taken"} {
			if strings.HasPrefix(point, "home.bring") != (d.to == node.AtHome) || point == "node.take.frozen" && d.from == node.AtHome {
				continue
			}
			t.Run(d.name+" at "+point, func(t *testing.T) {
				w.arm(t, point, "wait")
				result := make(chan error, 1)
				cmd := v.command(d.to)
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				go func() { result <- cmd.Wait() }()
				w.reached(t, point)
				_ = cmd.Process.Signal(os.Interrupt) // it waits for the answer
				w.passed(point)
				err := <-result
				at := d.from
				if err == nil { // it was too late
					at = d.to
				}
				v.isAt(t, at)
				v.goes(t, d.to, "")
				v.goes(t, d.from, "")
				if l := v.leaks(before); l != "" {
					t.Errorf("left behind: %s", l)
				}
			})
		}
	}
	v.finish(t)
}

// command is a move of the program.
func (v *victim) command(to string) *exec.Cmd {
	return v.w.command("migrate", strconv.Itoa(v.pid), "--to", to)
}
