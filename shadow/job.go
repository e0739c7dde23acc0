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

	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/node"
)

// listenJob answers `homing ps`.
func (s *Supervisor) listenJob(state string) (io.Closer, error) {
	return serveJob(state, s.root, s.log, s.jobInfo)
}

func (s *Supervisor) jobInfo() node.JobReply {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := node.JobReply{}
	for _, p := range s.procs {
		info := node.Process{PID: p.pid, Job: s.root, Node: s.node, Where: "away", Command: strings.Join(p.argv, " ")}
		info.CPUSeconds = float64(p.cpu.User+p.cpu.System) / 1e9
		if st := p.getState(); st != away && st != leaving {
			info.Where, info.CameHome = "home", p.reason
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

// superviseAtHome keeps a job that runs natively known, without tracing it.
func superviseAtHome(hello launchHello, log *slog.Logger, c net.Conn, refuse func(error) error) error {
	pfd, err := unix.PidfdOpen(hello.PID, 0)
	if err != nil {
		return refuse(fmt.Errorf("watch process %d: %w", hello.PID, err))
	}
	defer unix.Close(pfd)
	job, err := serveJob(hello.Config.StateDir, hello.PID, log, func() node.JobReply { return homeInfo(hello.PID) })
	if err != nil {
		return refuse(err)
	}
	defer job.Close()
	if err := json.NewEncoder(c).Encode(launchReply{Ready: true}); err != nil {
		return err
	}
	_, err = linux.Poll([]unix.PollFd{{Fd: int32(pfd), Events: unix.POLLIN}}, -1)
	return err
}

// homeInfo lists a native job: the program and its descendants.
func homeInfo(root int) node.JobReply {
	r := node.JobReply{}
	kids := map[int][]int{}
	stats := map[int]linux.Stat{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return node.JobReply{Error: err.Error()}
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		st, err := linux.ReadStat("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // ended meanwhile
		}
		stats[pid] = st
		kids[st.PPID] = append(kids[st.PPID], pid)
	}
	var walk func(pid int)
	walk = func(pid int) {
		st, ok := stats[pid]
		if !ok {
			return
		}
		command := strings.Join(readArgv(pid), " ")
		if command == "" {
			command = "[" + st.Comm + "]"
		}
		const ticks = 100 // USER_HZ
		r.Processes = append(r.Processes, node.Process{
			PID: pid, Job: root, Where: "home", Command: command, CPUSeconds: float64(st.UTime+st.STime) / ticks,
		})
		for _, k := range kids[pid] {
			walk(k)
		}
	}
	walk(root)
	return r
}
