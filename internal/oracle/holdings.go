package oracle

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"
)

// holdings is what a lab's nodes and home hold for jobs: each thing with how many there are.
type holdings map[string]int

// holdings looks at the descriptors of each node, its processes, mounts and files, and at home's state directory and
// shared memory.
func (l *Lab) holdings() holdings {
	h := holdings{}
	for i, pid := range nodesOf(l.cmd.Process.Pid) {
		at := fmt.Sprintf("node %d ", i+1)
		proc := fmt.Sprintf("/proc/%d/", pid)
		fds, _ := os.ReadDir(proc + "fd")
		for _, fd := range fds {
			name, err := os.Readlink(proc + "fd/" + fd.Name())
			if err != nil {
				continue // closed meanwhile
			}
			h[at+"descriptor "+kindOf(name)]++
		}
		for _, p := range descendants(pid) {
			cmd, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p))
			h[at+"process "+strings.TrimSpace(string(cmd))]++
		}
		mounts, _ := os.ReadFile(proc + "mountinfo")
		h[at+"mounts"] = strings.Count(string(mounts), "\n")
		h.files(at+"file ", proc+"root/tmp")
	}
	h.files("home file ", filepath.Join(l.State, "jobs"))
	return h
}

// files counts the files below a folder by their names without digits.
func (h holdings) files(what, dir string) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && path != dir {
			h[what+kindOf(strings.TrimPrefix(path, dir))]++
		}
		return nil // it may be gone
	})
}

// kindOf is a name without what differs from one to the next.
func kindOf(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, name)
}

// leaks waits a little for everything to be as before, and says what there is more of.
func (l *Lab) leaks(before holdings, patience time.Duration) string {
	end := time.Now().Add(patience)
	for {
		var more []string
		for what, n := range l.holdings() {
			if n > before[what] && !cached(what) {
				more = append(more, fmt.Sprintf("%s: %d, not %d", what, n, before[what]))
			}
		}
		if len(more) == 0 {
			return ""
		}
		if time.Now().After(end) {
			sort.Strings(more)
			return strings.Join(more, "; ")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// cached is what a node keeps for the next job.
func cached(what string) bool { return strings.Contains(what, "/cache/") }

// descendants are the processes below one.
func descendants(pid int) (all []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		b, _ := os.ReadFile(list)
		for _, f := range strings.Fields(string(b)) {
			if child, err := strconv.Atoi(f); err == nil {
				all = append(append(all, child), descendants(child)...)
			}
		}
	}
	return all
}

// Holdings is what a lab holds for jobs at a moment.
type Holdings struct{ h holdings }

// Holdings looks at the lab's nodes and at home.
func (l *Lab) Holdings() Holdings { return Holdings{l.holdings()} }

// Leaks waits a little for everything to be as before, and says what there is more of.
func (l *Lab) Leaks(before Holdings, patience time.Duration) string {
	return l.leaks(before.h, patience)
}

// Nodes are the processes of the lab's nodes, in their order.
func (l *Lab) Nodes() []int { return nodesOf(l.cmd.Process.Pid) }
