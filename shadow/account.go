package shadow

import (
	"context"
	"encoding/binary"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/syscallfwd"
)

// onReport takes up the processor time of guests that are still running.
func (s *Supervisor) onReport(at *site, m protocol.ReportMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for pid, cpu := range m.CPU {
		if p := s.procs[pid]; p != nil && !p.told && p.site() == at {
			p.cpu = cpu
		}
	}
}

// creditChild adds what a reaped child used away to the rusage that wait4 or
// waitid returns, and to what its parent's getrusage(RUSAGE_CHILDREN) tells.
func (s *Supervisor) creditChild(th *thread, call *syscallfwd.Call, ret int64, reply *syscallfwd.Reply) {
	pid := int(ret)
	if call.NR == unix.SYS_WAITID {
		info := outPart(reply.Outs, 0)
		if len(info) < 20 {
			return
		}
		pid = int(int32(binary.LittleEndian.Uint32(info[16:])))
	}
	used, ok := s.usedByDead(pid)
	if !ok {
		return
	}
	if call.NR == unix.SYS_WAIT4 || call.Args[3]&unix.WNOWAIT == 0 {
		s.mu.Lock()
		delete(s.dead, pid)
		th.proc.children = th.proc.children.Plus(used)
		s.mu.Unlock()
	}
	for i := range 2 {
		addUsage(outPart(reply.Outs, i), used)
	}
}

// usedByDead is what a process that has ended and its children used away.
func (s *Supervisor) usedByDead(pid int) (protocol.CPUTime, bool) {
	s.mu.RLock()
	child, running := s.dead[pid], s.procs[pid]
	s.mu.RUnlock()
	if child == nil && running != nil {
		// Stopped or continued; or it has ended this moment, and the tracer's
		// thread, which saw it before its parent could, is about to note it.
		_ = s.tr.Do(func() {}) // ErrClosed: the job has ended
		s.mu.RLock()
		child = s.dead[pid]
		s.mu.RUnlock()
	}
	if child == nil && running != nil && running.getState() == home && unix.Kill(pid, 0) == unix.ESRCH {
		child = running // whoever watches it has not noticed yet
	}
	if child == nil {
		return protocol.CPUTime{}, false
	}
	s.askUsage(child)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return child.cpu.Plus(child.children), true
}

// usageLimit bounds how long a wait call is delayed to learn what a killed
// child has used.
const usageLimit = 2 * time.Second

// askUsage completes the account of a process that died without saying how
// much it had used: it was killed here.
func (s *Supervisor) askUsage(p *process) {
	s.mu.RLock()
	told := p.told
	s.mu.RUnlock()
	if told || p.getState() != away {
		return
	}
	at := p.site()
	if at == nil {
		return
	}
	ctx, cancel := context.WithTimeout(at.sess.Context(), usageLimit)
	defer cancel()
	var used protocol.CPUTime
	if err := at.sess.Request(ctx, protocol.ProcUsage, p.ref(), &used); err != nil {
		s.log.Debug("processor time of a killed process not learnt", "pid", p.pid, "err", err)
		return // what was reported last has to do
	}
	s.mu.Lock()
	p.cpu, p.told = used, true
	s.mu.Unlock()
}

// serveRusage executes getrusage or times and adds the children's use away. The
// caller's own is filled in by its node.
func (s *Supervisor) serveRusage(th *thread, call *syscallfwd.Call, reply *syscallfwd.Reply) {
	ret, gone := s.execute(th, call)
	s.answer(th, call, ret, gone, reply)
	if gone || ret < 0 {
		return
	}
	s.mu.RLock()
	c := th.proc.children
	s.mu.RUnlock()
	out := outPart(reply.Outs, 0)
	const rusageChildren = -1
	switch {
	case call.NR == unix.SYS_TIMES && len(out) == 32:
		const tick = 1e9 / 100 // USER_HZ
		add64(out[16:], c.User/tick)
		add64(out[24:], c.System/tick)
	case call.NR == unix.SYS_GETRUSAGE && int32(call.Args[0]) == rusageChildren:
		addUsage(out, c)
	}
}

// addUsage adds to a struct rusage, see getrusage(2); other data it leaves alone.
func addUsage(ru []byte, u protocol.CPUTime) {
	const rusageSize = 144
	if len(ru) != rusageSize {
		return
	}
	addTime(ru[0:16], u.User)
	addTime(ru[16:32], u.System)
	maxRSS := ru[32:40]
	binary.LittleEndian.PutUint64(maxRSS, max(binary.LittleEndian.Uint64(maxRSS), uint64(u.MaxRSS)))
	add64(ru[64:], u.MinFlt)
	add64(ru[72:], u.MajFlt)
}

func add64(b []byte, v int64) {
	binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)+uint64(v))
}

// maxDead is how many ended processes may be waiting to be waited for before
// those are looked for that never will be: they were reaped by others.
const maxDead = 4096

// noteDead keeps an ended process until its parent waits for it. s.mu is held.
func (s *Supervisor) noteDead(p *process) {
	s.dead[p.pid] = p
	if len(s.dead) <= maxDead {
		return
	}
	for pid := range s.dead {
		if unix.Kill(pid, 0) == unix.ESRCH {
			delete(s.dead, pid)
		}
	}
	if len(s.dead) > maxDead/2 {
		clear(s.dead)
	}
}

// outPart returns the i-th range of a reply's Outs.
func outPart(outs []byte, i int) []byte {
	for ; len(outs) >= 4; i-- {
		n := binary.LittleEndian.Uint32(outs)
		if uint64(len(outs)) < 4+uint64(n) {
			return nil
		}
		if i == 0 {
			return outs[4 : 4+n]
		}
		outs = outs[4+n:]
	}
	return nil
}

// addTime adds nanoseconds to a struct timeval.
func addTime(tv []byte, ns int64) {
	us := int64(binary.LittleEndian.Uint64(tv))*1e6 + int64(binary.LittleEndian.Uint64(tv[8:])) + ns/1e3
	binary.LittleEndian.PutUint64(tv, uint64(us/1e6))
	binary.LittleEndian.PutUint64(tv[8:], uint64(us%1e6))
}

// usedHere is the processor time, in ns, that the kernel's clocks show of a
// process, or of a thread of it, at home: the program's and the kernel's. The sum
// is exact.
func usedHere(pid, tid int) (user, system int64) {
	const tick = 1e9 / 100 // USER_HZ
	path := "/proc/" + strconv.Itoa(pid) + "/stat"
	if tid != 0 {
		path = "/proc/" + strconv.Itoa(pid) + "/task/" + strconv.Itoa(tid) + "/stat"
	}
	st, err := linux.ReadStat(path)
	if err != nil {
		return 0, 0 // it is ending
	}
	sum, err := linux.CPUTime(pid, tid)
	if err != nil {
		return int64(st.UTime) * tick, int64(st.STime) * tick
	}
	system = min(int64(st.STime)*tick, sum)
	return sum - system, system
}

func readComm(pid int) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	if err != nil {
		return "?"
	}
	return strings.TrimSuffix(string(b), "\n")
}

func readArgv(pid int) []string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil || len(b) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
}
