package shadow

import (
	"encoding/binary"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"homing/internal/protocol"
	"homing/syscallfwd"
)

// onReport takes up the processor time of guests that are still running.
func (s *Supervisor) onReport(m protocol.ReportMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for pid, cpu := range m.CPU {
		if p := s.procs[pid]; p != nil {
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
		if len(info) < 16 {
			return
		}
		pid = int(int32(binary.LittleEndian.Uint32(info[12:])))
	}
	s.mu.Lock()
	child := s.dead[pid]
	if child == nil {
		s.mu.Unlock()
		return
	}
	if call.NR == unix.SYS_WAIT4 || call.Args[3]&unix.WNOWAIT == 0 {
		delete(s.dead, pid)
		c := &th.proc.children
		c.User += child.cpu.User + child.children.User
		c.System += child.cpu.System + child.children.System
	}
	user, system := child.cpu.User+child.children.User, child.cpu.System+child.children.System
	s.mu.Unlock()
	const rusageSize = 144
	for i := range 2 {
		if ru := outPart(reply.Outs, i); len(ru) == rusageSize {
			addTime(ru[0:16], user)
			addTime(ru[16:32], system)
		}
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
