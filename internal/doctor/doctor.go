// Package doctor finds out what this machine's kernel allows, by trying it.
//
// # How it works
//
//  1. Each fact is probed by the very call that Homing makes, never guessed from
//     a version number: distributions backport, containers forbid, security
//     modules refuse.
//  2. A probe that would change this process (a seccomp filter, a namespace, a
//     tracer) runs in a child: this executable again with probeName as its
//     argv[0], taken up by MaybeProbe before main does anything else. The child
//     writes its findings as one JSON line and ends.
//  3. Examine joins the findings with the table of checks, which says for each
//     whether lending or running needs it, what its absence costs, and how to
//     get it.
//
// # Threads and locks
//
// None. A child's probes run on its main thread, to which MaybeProbe's caller
// has locked the main goroutine.
//
// # Trust
//
// The children are ourselves. Nothing is left behind: namespaces end with their
// child, the one directory made in a cgroup is removed at once.
//
// # When something dies
//
// A child that hangs is killed after childLimit and dies with its parent
// (PR_SET_PDEATHSIG); its probes count as failed, with that reason.
package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// A Purpose is what a check is needed for.
type Purpose string

// Purposes of a check. Better means that Homing works without it, but worse.
const (
	Lend   Purpose = "lend"   // homing node
	Run    Purpose = "run"    // homing run --on
	Lab    Purpose = "lab"    // homing lab
	Better Purpose = "better" // see Check.Cost
)

// A Check is one fact about this machine.
type Check struct {
	Name   string    `json:"name"`
	Title  string    `json:"title"`
	For    []Purpose `json:"for"`
	OK     bool      `json:"ok"`
	Found  string    `json:"found"`            // what the probe saw
	Cost   string    `json:"cost,omitempty"`   // of not having it; empty if OK
	Remedy string    `json:"remedy,omitempty"` // empty if OK

	probe func(*findings) finding
}

// A Report is what Examine found.
type Report struct {
	CanLend bool    `json:"can_lend"`
	CanRun  bool    `json:"can_run"`
	CanLab  bool    `json:"can_lab"`
	Checks  []Check `json:"checks"`
}

// Examine tries everything once.
func Examine(ctx context.Context) *Report {
	f := gather(ctx)
	rep := &Report{CanLend: true, CanRun: true, CanLab: true}
	for _, c := range checks() {
		got := c.probe(f)
		c.Found, c.OK = got.Text, got.OK
		if c.OK {
			c.Cost, c.Remedy = "", ""
		} else {
			rep.without(c.For)
		}
		rep.Checks = append(rep.Checks, c)
	}
	return rep
}

func (r *Report) without(purposes []Purpose) {
	for _, p := range purposes {
		switch p {
		case Lend:
			r.CanLend, r.CanLab = false, false
		case Run:
			r.CanRun, r.CanLab = false, false
		case Lab:
			r.CanLab = false
		}
	}
}

// WriteJSON writes the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "lend this machine (homing node):     %s\n", yesNo(r.CanLend))
	fmt.Fprintf(&b, "run on other machines (homing run):  %s\n", yesNo(r.CanRun))
	fmt.Fprintf(&b, "try both here (homing lab):          %s\n\n", yesNo(r.CanLab))
	for _, c := range r.Checks {
		mark := "ok"
		if !c.OK {
			mark = "MISSING"
			if len(c.For) == 1 && c.For[0] == Better {
				mark = "without"
			}
		}
		fmt.Fprintf(&b, "%-8s %-52s %s\n", mark, c.Title, c.Found)
		if !c.OK {
			fmt.Fprintf(&b, "%9scosts: %s\n%9sdo:    %s\n", "", c.Cost, "", c.Remedy)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
