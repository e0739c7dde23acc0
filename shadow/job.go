package shadow

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"homing/internal/linux"
	"homing/node"
)

// listenJob answers `homing ps`.
func (s *Supervisor) listenJob(state string) (io.Closer, error) {
	return serveJob(state, s.root, s.log, s.jobInfo)
}

func (s *Supervisor) jobInfo() node.JobReply {
	r := node.JobReply{Processes: s.natives()}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, p := range s.procs {
		info := node.Process{PID: p.pid, Job: s.root, Where: "away", Command: strings.Join(p.argv, " ")}
		info.CPUSeconds = float64(p.cpu.User+p.cpu.System) / 1e9
		if st := p.getState(); st != away && st != leaving {
			info.Where, info.CameHome = "home", p.reason
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
	sort.Slice(r.Processes, func(i, j int) bool { return r.Processes[i].PID < r.Processes[j].PID })
	return r
}

type jobSocket struct {
	l    net.Listener
	path string
}

func (j *jobSocket) Close() error {
	err := j.l.Close()
	_ = os.Remove(j.path) // the listener has unlinked it already
	return err
}

func serveJob(state string, pid int, log *slog.Logger, info func() node.JobReply) (io.Closer, error) {
	dir := filepath.Join(state, "jobs")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w; set HOMING_STATE to a place you can write", err)
	}
	path := filepath.Join(dir, strconv.Itoa(pid)+".sock")
	_ = os.Remove(path) // left by a supervisor that was killed
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("job socket: %w", err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answerJob(c, log, info)
		}
	}()
	return &jobSocket{l, path}, nil
}

func answerJob(c net.Conn, log *slog.Logger, info func() node.JobReply) {
	defer c.Close()
	var req node.JobRequest
	if err := json.NewDecoder(io.LimitReader(c, 1<<16)).Decode(&req); err != nil {
		return
	}
	reply := node.JobReply{Error: "unknown request " + strconv.Quote(req.Op)}
	if req.Op == "ps" {
		reply = info()
	}
	if err := json.NewEncoder(c).Encode(reply); err != nil {
		log.Debug("job request not answered", "err", err)
	}
}
