package shadow

import (
	"fmt"
	"slices"
	"sync"
)

// others are processes at home that the job's own have forked and that do not
// belong to it, nor does what they fork: an adopted program's earlier children,
// and what was let go of. Its lock is a leaf.
type others struct {
	mu    sync.Mutex
	start map[int]uint64 // by pid: the process's start time
}

func (o *others) add(t processes, pid int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.start == nil {
		o.start = map[int]uint64{}
	}
	o.start[pid] = t.stats[pid].StartTime
}

// ownProcesses is a picture of the processes of this machine in which nobody is
// the parent of those that do not belong to the job though their parents do.
func (s *Supervisor) ownProcesses() processes {
	t := readProcesses()
	s.others.mu.Lock()
	defer s.others.mu.Unlock()
	for pid, start := range s.others.start {
		st, ok := t.stats[pid]
		if !ok || st.StartTime != start {
			delete(s.others.start, pid)
			continue
		}
		t.kids[st.PPID] = slices.DeleteFunc(t.kids[st.PPID], func(kid int) bool { return kid == pid })
		st.PPID = 0
		t.stats[pid] = st
	}
	return t
}

// adoptFamily takes a process at home into the job. Of a running program it
// takes the descendants as well, or marks them as not the job's.
func (s *Supervisor) adoptFamily(pid int, cfg Config) {
	s.adopt(pid)
	if cfg.Attach == 0 {
		return
	}
	t := readProcesses()
	if cfg.Tree {
		for _, kid := range t.descendants(pid) {
			s.adopt(kid)
		}
		return
	}
	for _, kid := range t.kids[pid] {
		s.others.add(t, kid)
	}
}

// Release lets go of processes at home: they are ordinary ones from here on.
// Their children stay with the job unless tree is set.
func (s *Supervisor) Release(pids []int, tree bool) error {
	t := s.ownProcesses()
	going := slices.Clone(pids)
	for _, pid := range pids {
		if tree {
			going = append(going, t.descendants(pid)...)
		} else {
			for _, kid := range t.kids[pid] {
				s.adopt(kid)
			}
		}
	}
	for _, pid := range going {
		if p := s.process(pid); p != nil && p.getState() != home {
			return fmt.Errorf("process %d is away", pid)
		}
	}
	for _, pid := range going {
		s.others.add(t, pid)
		if p := s.process(pid); p != nil {
			s.log.Info("process let go of", "pid", pid)
			s.processEnded(p)
		}
	}
	return nil
}
