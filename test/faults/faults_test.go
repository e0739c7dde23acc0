package faults_test

import (
	"os"
	"strings"
	"testing"

	"homing/internal/oracle"
	"homing/node"
)

// A phase is a point that a move passes before it is committed.
type phase struct {
	point    string
	strategy string
	cut      bool // there is a connection to be cut on which the program does not depend
}

// Each direction of a move, and its phases.
var directions = []struct {
	name     string
	from, to string
	direct   string
	phases   []phase
}{
	{"home to node", node.AtHome, "n1", "yes", []phase{
		{"home.leave.open", "", true},
		{"send.sketch", "pre", true},
		{"send.final", "pre", true},
		{"home.leave.frozen", "", false},
		{"send.final", "stop", true},
		{"node.receive.begin", "", false},
		{"node.receive.body", "", true},
		{"node.receive.body", "pre", false},
		{"receive.pages", "", true},
		{"receive.pages", "pre", true},
		{"home.leave.sent", "", true},
		{"node.arrive.begin", "", false},
		{"node.arrive.threads", "", false},
		{"node.arrive.threads", "post", false},
		{"node.arrive.done", "", true},
		{"node.arrive.done", "post", false},
		{"home.leave.arrived", "", true},
		{"home.leave.arrived", "post", false},
	}},
	{"node to node", "n1", "n2", "yes", []phase{
		{"home.across.open", "", true},
		{"node.take.begin", "", true},
		{"send.sketch", "pre", true},
		{"node.take.frozen", "", true},
		{"node.take.frozen", "pre", true},
		{"send.final", "", true},
		{"node.receive.begin", "", false},
		{"node.receive.body", "", true},
		{"receive.pages", "", true},
		{"node.take.sent", "", false},
		{"node.take.sent", "post", false},
		{"home.across.taken", "", true},
		{"node.arrive.begin", "", false},
		{"node.arrive.threads", "", false},
		{"node.arrive.done", "", true},
		{"home.across.arrived", "", true},
		{"home.across.arrived", "post", false},
	}},
	{"node to node by way of home", "n1", "n2", "no", []phase{
		{"node.take.begin", "", true},
		{"node.take.frozen", "", true},
		{"send.final", "", true},
		{"node.receive.begin", "", false},
		{"node.receive.body", "", true},
		{"receive.pages", "", true},
		{"node.take.sent", "", false},
		{"home.across.taken", "", true},
		{"node.arrive.done", "", true},
		{"home.across.arrived", "", true},
	}},
	{"node to home", "n1", node.AtHome, "yes", []phase{
		{"home.bring.open", "", true},
		{"node.take.begin", "", true},
		{"send.sketch", "pre", true},
		{"node.take.frozen", "", true},
		{"send.final", "", true},
		{"send.final", "pre", true},
		{"home.bring.body", "stop", false},
		{"home.bring.body", "pre", false},
		{"receive.pages", "stop", true},
		{"receive.pages", "pre", true},
		{"node.take.sent", "", false},
		{"home.bring.taken", "stop", false},
		{"home.bring.taken", "pre", false},
		{"home.bring.threads", "", false},
	}},
}

// Whatever fails before the commit, the program runs on where it was.
func TestBeforeCommit(t *testing.T) {
	for _, d := range directions {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, w *world, some bool) {
				for _, group := range []bool{false, true} {
					args := []string{"1"}
					if group {
						args = append(args, "group")
					}
					w.direct(t, d.direct)
					v := w.start(t, args...)
					for _, place := range []string{"n1", "n2", node.AtHome, d.from, d.to, d.from} {
						if place != node.AtHome || v.shows != 0 {
							v.goes(t, place, "")
						}
					}
					before := v.holds()
					for i, p := range d.phases {
						switch {
						case group && (p.strategy != "" || i%2 == 0), some && i%4 != 0:
							continue
						}
						name := p.point
						if p.strategy != "" {
							name += " " + p.strategy
						}
						if group {
							name += " group"
						}
						actions := []string{"error made to fail"}
						if p.point == "node.receive.begin" {
							actions = []string{"cut"}
						}
						if p.cut {
							actions = append(actions, "cut")
						}
						for _, action := range actions {
							t.Run(strings.Fields(action)[0]+" "+name, func(t *testing.T) { fails(t, v, p, action, d.from, d.to, before) })
							if t.Failed() {
								return // what comes then says nothing
							}
						}
					}
					v.finish(t)
				}
			})
		})
	}
}

// fails moves a program from a place to another, which must fail.
func fails(t *testing.T, v *victim, p phase, action, from, to string, before holds) {
	w := v.w
	v.waits(t)
	w.arm(t, p.point, action)
	status, said := v.migrate(t, to, p.strategy)
	if !w.passed(p.point) {
		t.Fatalf("nobody has passed %s; the command says %d: %s", p.point, status, said)
	}
	if status != 1 || said == "" {
		t.Errorf("status %d: %s", status, said)
	}
	if text, ok := strings.CutPrefix(action, "error "); ok && !strings.Contains(said, text) {
		t.Errorf("%q does not say %q", said, text)
	}
	t.Log(said)
	v.isAt(t, from)
	if l := v.leaks(before); l != "" {
		t.Errorf("left behind: %s", l)
	}
	v.goes(t, to, "")
	v.goes(t, from, "")
	if l := v.leaks(before); l != "" {
		t.Errorf("left behind after another move: %s", l)
	}
}

// each runs f as the user who runs the tests and, for root, some of it as nobody.
func each(t *testing.T, f func(t *testing.T, w *world, some bool)) {
	users := []oracle.User{oracle.Self()}
	if os.Getuid() == 0 {
		users = append(users, oracle.Nobody())
	}
	for _, u := range users {
		t.Run(u.Name, func(t *testing.T) { f(t, newWorld(t, u), u.Switch) })
	}
}
