package faults_test

import (
	"strings"
	"testing"

	"homing/internal/oracle"
	"homing/node"
)

// A destination that dies while a program is on its way there: it runs on where
// it was, and can go elsewhere.
func TestDestinationDies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ point, from, strategy string }{
		{"node.receive.body", node.AtHome, ""},
		{"receive.pages", node.AtHome, "pre"},
		{"node.arrive.begin", node.AtHome, ""},
		{"node.arrive.done", node.AtHome, ""},
		{"node.receive.body", "n1", ""},
		{"node.arrive.done", "n1", ""},
	} {
		t.Run(c.point+" from "+c.from, func(t *testing.T) {
			w := newWorld(t, oracle.Self())
			w.dies = true
			v := w.start(t, "1")
			if c.from != node.AtHome {
				v.goes(t, c.from, "")
			}
			w.arm(t, c.point, "kill")
			status, said := v.migrate(t, "n2", c.strategy)
			if !w.passed(c.point) {
				t.Fatalf("nobody has passed %s: %d, %s", c.point, status, said)
			}
			if status != 1 || said == "" {
				t.Errorf("status %d: %s", status, said)
			}
			t.Log(said)
			v.isAt(t, c.from)
			there := "n1"
			if c.from == there {
				there = node.AtHome
			}
			v.goes(t, there, "")
			if status, said := v.migrate(t, "n2", ""); status != 1 || !strings.Contains(said, "n2") {
				t.Errorf("to a dead node: status %d: %s", status, said)
			}
			v.isAt(t, there)
			v.finish(t)
		})
	}
}

// A node that dies has the only copy of what runs there: the program ends, and
// says so; so it is at whatever moment of a move.
func TestNodeDies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		point, action, from, to, strategy, says string
	}{
		{"node.take.begin", "kill", "n1", node.AtHome, "", "node n1 lost"},
		{"node.take.frozen", "kill", "n1", node.AtHome, "", "node n1 lost"},
		{"node.take.frozen", "kill", "n1", "n2", "", "node n1 lost"},
		{"send.final", "kill", "n1", "n2", "pre", "node n1 lost"},
		{"node.run", "kill", node.AtHome, "n1", "", "node n1 lost"},
		{"node.run", "kill", "n1", "n2", "", "node n2 lost"},
		{"home.leave.committed", "cut", node.AtHome, "n1", "", "node n1 lost"},
		{"send.serve", "cut", node.AtHome, "n1", "post", "lost"},
		{"send.serve", "error cannot", node.AtHome, "n1", "post", "lost"},
		{"pull.pages", "cut", node.AtHome, "n1", "post", "lost"},
		{"send.serve", "kill", "n1", "n2", "post", "lost"},
		{"pull.pages", "error cannot", "n1", "n2", "post", "lost"},
	} {
		t.Run(c.action+" "+c.point+" to "+c.to, func(t *testing.T) {
			w := newWorld(t, oracle.Self())
			w.dies = strings.HasPrefix(c.action, "kill")
			v := w.start(t, "4")
			if c.from != node.AtHome {
				v.goes(t, c.from, "")
			}
			w.arm(t, c.point, c.action)
			status, said := v.migrate(t, c.to, c.strategy)
			t.Log(status, said)
			v.dies(t, c.says)
			if !w.passed(c.point) {
				t.Fatalf("nobody has passed %s: %d, %s", c.point, status, said)
			}
			for _, n := range []string{"n1", "n2"} {
				w.until(t, n+" has let go of it", func() bool {
					here, ok := w.guest(n, v.pid)
					return !ok || !here
				})
			}
		})
	}
}

// A node that dies when all has come home, and one that dies when all has gone on.
func TestSourceDiesAfterwards(t *testing.T) {
	t.Parallel()
	for _, to := range []string{node.AtHome, "n2"} {
		t.Run(to, func(t *testing.T) {
			w := newWorld(t, oracle.Self())
			w.dies = true
			v := w.start(t, "1")
			v.goes(t, "n1", "")
			w.arm(t, "node.gone", "kill")
			v.goes(t, to, "stop")
			w.until(t, "n1 has died", func() bool { return w.passed("node.gone") })
			v.answers(t)
			v.finish(t)
		})
	}
}
