package shadow

import (
	"os"
	"strconv"
	"strings"

	"homing/internal/linux"
	"homing/node"
)

// A process at home is an ordinary one: not traced, known by a pidfd. What it
// forks there is found through /proc when it is asked for.

// adopt takes a process at home into the job.
func (s *Supervisor) adopt(pid int) *process {
	s.mu.Lock()
	if p := s.procs[pid]; p != nil {
		s.mu.Unlock()
		return p
	}
	s.lastGen++
	p := &process{pid: pid, gen: s.lastGen}
	p.setState(home)
	s.procs[pid] = p
	s.mu.Unlock()
	s.describe(p)
	s.watch(p)
	return p
}

// natives lists the descendants at home of the job's processes at home, which
// the job has not taken up (yet).
func (s *Supervisor) natives() []node.Process {
	s.mu.RLock()
	known := make(map[int]bool, len(s.procs))
	var roots []int
	for pid, p := range s.procs {
		known[pid] = true
		if p.getState() == home {
			roots = append(roots, pid)
		}
	}
	s.mu.RUnlock()
	if len(roots) == 0 {
		return nil
	}
	t := s.ownProcesses()
	var out []node.Process
	for _, root := range roots {
		for _, pid := range t.descendants(root) {
			if known[pid] {
				continue
			}
			known[pid] = true
			st := t.stats[pid]
			command := strings.Join(readArgv(pid), " ")
			if command == "" {
				command = "[" + st.Comm + "]"
			}
			out = append(out, node.Process{PID: pid, Job: s.root, Where: "home", Command: command, CPUSeconds: cpuSeconds(st)})
		}
	}
	return out
}

func cpuSeconds(st linux.Stat) float64 {
	const ticks = 100 // USER_HZ
	return float64(st.UTime+st.STime) / ticks
}

// processes is a picture of the processes of this machine.
type processes struct {
	stats map[int]linux.Stat
	kids  map[int][]int
}

func readProcesses() processes {
	t := processes{map[int]linux.Stat{}, map[int][]int{}}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return t
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		st, err := linux.ReadStat("/proc/" + e.Name() + "/stat")
		if err != nil || st.State == 'Z' || st.State == 'X' {
			continue // has ended
		}
		t.stats[pid] = st
		t.kids[st.PPID] = append(t.kids[st.PPID], pid)
	}
	return t
}

// descendants lists the descendants of a process, parents first.
func (t processes) descendants(root int) []int {
	var out []int
	for queue := t.kids[root]; len(queue) > 0; queue = queue[1:] {
		out = append(out, queue[0])
		queue = append(queue, t.kids[queue[0]]...)
	}
	return out
}
