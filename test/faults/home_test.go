package faults_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"homing/internal/oracle"
	"homing/node"
)

// A supervisor that ends in the middle of a move: the program ends with it, on
// both sides.
func TestSupervisorDies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ point, from, to string }{
		{"home.leave.frozen", node.AtHome, "n1"},
		{"home.leave.arrived", node.AtHome, "n1"},
		{"home.across.arrived", "n1", "n2"},
		{"home.bring.threads", "n1", node.AtHome},
	} {
		t.Run(c.point, func(t *testing.T) {
			w := newWorld(t, oracle.Self())
			v := w.start(t, "1")
			v.goes(t, "n1", "")
			v.goes(t, c.from, "")
			w.arm(t, c.point, "kill")
			if status, said := v.migrate(t, c.to, ""); status != 1 || !strings.Contains(said, "the supervisor ended without an answer") {
				t.Errorf("status %d: %s", status, said)
			}
			v.dies(t, "")
			for _, n := range []string{"n1", "n2"} {
				w.until(t, n+" has let go of it", func() bool {
					here, ok := w.guest(n, v.pid)
					return ok && !here
				})
			}
		})
	}
}

// Home has no descriptors left for a process that comes home: it stays away, and
// comes when there are some.
func TestNoDescriptorsAtHome(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oracle.Self())
	v := w.start(t, "1")
	for _, place := range []string{"n1", "n2", node.AtHome, "n1"} {
		v.goes(t, place, "")
	}
	before := v.holds()
	var old unix.Rlimit
	free := uint64(0) // the lowest number
	for ; ; free++ {
		if _, err := os.Lstat(filepath.Join("/proc", strconv.Itoa(v.shows), "fd", strconv.FormatUint(free, 10))); err != nil {
			break
		}
	}
	if err := unix.Prlimit(v.shows, unix.RLIMIT_NOFILE, nil, &old); err != nil {
		t.Fatal(err)
	}
	for room := range uint64(6) {
		less := unix.Rlimit{Cur: free + 1 + room, Max: old.Max} // the command's connection takes one
		if err := unix.Prlimit(v.shows, unix.RLIMIT_NOFILE, &less, nil); err != nil {
			t.Fatal(err)
		}
		status, said := v.migrate(t, node.AtHome, "")
		if err := unix.Prlimit(v.shows, unix.RLIMIT_NOFILE, &old, nil); err != nil {
			t.Fatal(err)
		}
		t.Log(room, status, said)
		if status == 0 {
			v.isAt(t, node.AtHome)
			v.goes(t, "n1", "")
			continue
		}
		if !strings.Contains(said, "too many open files") {
			t.Errorf("status %d: %s", status, said)
		}
		v.isAt(t, "n1")
	}
	if l := v.leaks(before); l != "" {
		t.Errorf("left behind: %s", l)
	}
	v.goes(t, node.AtHome, "")
	v.finish(t)
}
