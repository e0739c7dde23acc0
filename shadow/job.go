package shadow

import (
	"io"
	"sort"
	"strconv"
	"strings"

	"homing/internal/linux"
	"homing/node"
)

// listenJob answers `homing ps` and the commands that move processes.
func (s *Supervisor) listenJob() (io.Closer, error) {
	return serveJob(s.cfg.StateDir, s.root, &jobServer{log: s.log, info: s.jobInfo, mover: s})
}

func (s *Supervisor) jobInfo() node.JobReply {
	r := node.JobReply{Processes: s.natives()}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, p := range s.procs {
		info := node.Process{PID: p.pid, Job: s.root, Where: "away", Moves: int(p.moves.Load()), Command: strings.Join(p.argv, " ")}
		info.CPUSeconds = float64(p.cpu.User+p.cpu.System) / 1e9
		if st := p.getState(); st != away && st != leaving {
			if hasEnded(p.pid) {
				continue // nobody has noticed yet
			}
			info.Where, info.CameHome = "home", p.reason
			if argv := readArgv(p.pid); argv != nil { // it may have executed something since
				info.Command = strings.Join(argv, " ")
			}
			if st, err := linux.ReadStat("/proc/" + strconv.Itoa(p.pid) + "/stat"); err == nil {
				info.CPUSeconds += cpuSeconds(st)
			}
		}
		if at := p.site(); at != nil {
			info.Node = at.name
		}
		if info.Command == "" {
			info.Command = p.comm
		}
		for _, th := range s.threads {
			if th.proc == p {
				info.Calls += th.calls.Load()
			}
		}
		r.Processes = append(r.Processes, info)
	}
	for i := range r.Processes {
		r.Processes[i].Attached = s.cfg.Attach != 0
	}
	sort.Slice(r.Processes, func(i, j int) bool { return r.Processes[i].PID < r.Processes[j].PID })
	return r
}
