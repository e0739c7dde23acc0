// Package shadow is the home side of a job: the supervisor, which traces the
// job's processes, turns them into shadows when their bodies leave, and
// executes the calls that their guests forward.
//
//  1. `homing run` starts a supervisor in its own session, is seized by it and
//     executes the program itself, so the program keeps the pid the shell knows.
//  2. At an exec stop the image is captured, the body emptied (leave.go) and
//     left with a stub and the arena: it is a shadow now.
//  3. Each guest thread's calls come over a lane. The lane's goroutine puts
//     them into the shadow thread's slot and waits on a futex: no ptrace stop.
//  4. Signals that arrive at a shadow become stops on the tracer's thread, are
//     passed to the pod and take their effect there (signals.go).
//  5. Processes move (move.go): they leave home at any instant (depart.go,
//     departure.go), go from node to node (transfer.go), and come home, where
//     the shadow is filled with the guest's memory again and released
//     (homecoming.go, return.go). Calls that are pending meanwhile are known by
//     their numbers (pending.go).
//  6. What cannot be done away comes home in the same way. At home a process is
//     not traced, and known by a pidfd (native.go, attach.go, release.go).
//
// Lock order: moving, which is held for a whole move, before all others; then
// sharedFiles.taking, sharedFile.mu, sharedFiles.mu, table.mu; a thread's useMu,
// then arena.mu. sitesMu is held while a node is dialled; it and all others are
// leaves. The tracer's thread takes neither moving nor sitesMu.
//
// Trust: everything a lane, the control stream or a move's connection says comes
// from a node; it is bounded by syscallfwd.ParseCall, Image.Validate and package
// transfer, and executed with the job's rights. If a node is lost the shadows of
// what was there are killed (for now; see docs). If the supervisor dies the kernel
// kills the shadows (EXITKILL).
package shadow

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/internal/stub"
	"homing/internal/tracer"
	"homing/kkc"
	"homing/syscallfwd"
)

const traceOptions = unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK |
	unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_EXITKILL

// Supervisor runs one job.
type Supervisor struct {
	table
	cfg    Config
	log    *slog.Logger
	tr     *tracer.Tracer
	arena  *arena
	files  files
	shared sharedFiles
	code   []byte
	spin   spinner
	root   int // pid of the program

	signalID uint64                   // tracer's thread
	lastGen  uint64                   // tracer's thread
	heldBy   map[uint64]*thread       // tracer's thread: threads held by a signal's number
	unacked  map[uint64]unackedSignal // tracer's thread
	loose    map[int]bool             // tracer's thread: threads at home to be released as soon as they stop
	strays   map[int]bool             // tracer's thread: new threads that stopped before they were known
	unborn   map[int]unix.WaitStatus  // tracer's thread: how threads ended that were not known
	traceLog *traceLog

	lastMove atomic.Uint64
	listener atomic.Pointer[listener] // to the move that a node is making
	moving   sync.Mutex               // held while processes move
	sitesMu  sync.Mutex
	sites    map[string]*site

	calls   atomic.Uint64
	ended   chan struct{}  // no process is left
	homing  sync.WaitGroup // nodes that wait to hear that a process is home
	endOnce sync.Once

	others others // not of the job, though their parents are or were
}

func newSupervisor(cfg Config, log *slog.Logger) (*Supervisor, error) {
	s := &Supervisor{
		table: table{threads: map[int]*thread{}, procs: map[int]*process{}, dead: map[int]*process{}},
		cfg:   cfg, log: log, code: stub.Code(), sites: map[string]*site{},
		strays: map[int]bool{}, loose: map[int]bool{}, unborn: map[int]unix.WaitStatus{}, heldBy: map[uint64]*thread{}, unacked: map[uint64]unackedSignal{}, ended: make(chan struct{}),
	}
	s.files.init()
	var err error
	if s.tr, err = tracer.New(s, log); err != nil {
		return nil, err
	}
	return s, nil
}

// serveLane executes the calls of one guest thread after the other.
func (s *Supervisor) serveLane(at *site, lane *kkc.Lane) {
	defer lane.Close()
	var call syscallfwd.Call
	var reply syscallfwd.Reply
	var out []byte
	for {
		frame, err := lane.ReadFrame()
		if err != nil {
			return
		}
		if err := syscallfwd.ParseCall(frame, &call); err != nil {
			at.sess.Close(fmt.Sprintf("malformed call: %v", err))
			return
		}
		s.calls.Add(1)
		if out, err = s.serveFrame(at, lane, &call, &reply, out); err != nil {
			return
		}
		if cap(out) > 4<<20 {
			out, reply.Outs = nil, nil
		}
	}
}

// serveFrame serves one call, whose thread's slot is ours until the answer has
// been sent. It returns the buffer out.
func (s *Supervisor) serveFrame(at *site, lane *kkc.Lane, call *syscallfwd.Call, reply *syscallfwd.Reply, out []byte) ([]byte, error) {
	th := s.thread(int(call.TID))
	if th != nil && !th.use() {
		th = nil
	}
	if th != nil {
		defer s.unuse(th)
		switch th.claim(call) {
		case attach:
			return s.serveAttached(at, lane, th, call, out)
		case drop:
			return out, nil
		}
	}
	reply.Outs = reply.Outs[:0]
	if !s.traced(th, call, reply) {
		return out, nil // exit: nobody waits for an answer
	}
	if th != nil && th.finish(call, reply) {
		return out, nil
	}
	return s.send(at, lane, th, call, reply, out)
}

// serveCall executes one call of a thread, nil if it has ended; false means that
// there is nothing to answer.
func (s *Supervisor) serveCall(th *thread, call *syscallfwd.Call, reply *syscallfwd.Reply) bool {
	if th == nil {
		*reply = syscallfwd.Reply{Seq: call.Seq, Flags: protocol.ReplyGone, Outs: reply.Outs[:0]}
		return call.NR != unix.SYS_EXIT && call.NR != unix.SYS_EXIT_GROUP
	}
	if th.proc.unsent.Load() != nil {
		th.proc.unsent.Store(nil) // its guest runs
	}
	if terminalRequest(call) {
		s.serveTerminal(th, call, reply)
		return true
	}
	switch call.NR {
	case unix.SYS_CLONE:
		s.serveClone(th, call, reply)
	case unix.SYS_EXECVE, unix.SYS_EXECVEAT:
		s.serveExec(th, call, reply)
	case unix.SYS_EXIT, unix.SYS_EXIT_GROUP:
		s.noteExit(th, call)
		s.tellOthers(true)
		s.execute(th, call)
		return false
	case unix.SYS_RT_SIGACTION:
		s.serveSigaction(th, call, reply)
	case unix.SYS_MMAP:
		s.serveMmap(th, call, reply)
	case unix.SYS_SENDMSG, unix.SYS_SENDMMSG:
		if s.passesOut(th, call) {
			s.repatriate(call, reply, "shared file handed to a process at home")
			return true
		}
		ret, gone := s.executeFile(th, call)
		s.answer(th, call, ret, gone, reply)
	case unix.SYS_FCNTL:
		s.serveFcntl(th, call, reply)
	case unix.SYS_SHMAT:
		s.serveAttach(th, call, reply)
	case unix.SYS_SHMDT:
		s.serveDetach(th, call, reply)
	case unix.SYS_WAIT4, unix.SYS_WAITID:
		s.serveWait(th, call, reply)
	case unix.SYS_OPEN, unix.SYS_OPENAT, unix.SYS_OPENAT2:
		s.serveOpen(th, call, reply)
	case protocol.CallFill:
		s.serveFill(th, call, reply)
	case unix.SYS_GETRUSAGE, unix.SYS_TIMES:
		s.serveRusage(th, call, reply)
	case unix.SYS_RT_SIGPROCMASK:
		s.serveUnblock(th, call, reply)
	case unix.SYS_TKILL, unix.SYS_TGKILL, unix.SYS_RT_TGSIGQUEUEINFO:
		s.serveThreadKill(th, call, reply)
	case unix.SYS_SIGNALFD, unix.SYS_SIGNALFD4:
		s.serveSignalfd(th, call, reply)
	default:
		ret, gone := s.executeFile(th, call)
		s.answer(th, call, ret, gone, reply)
	}
	return true
}

func (s *Supervisor) answer(th *thread, call *syscallfwd.Call, ret int64, gone bool, reply *syscallfwd.Reply) {
	if gone {
		*reply = syscallfwd.Reply{Seq: call.Seq, Flags: protocol.ReplyGone, Outs: reply.Outs[:0]}
		return
	}
	if s.bulkReply(th, call, ret, reply) {
		return
	}
	s.collect(th, call, ret, reply)
}

func (s *Supervisor) fail(call *syscallfwd.Call, errno unix.Errno, reply *syscallfwd.Reply) {
	*reply = syscallfwd.Reply{Seq: call.Seq, Ret: -int64(errno), Outs: reply.Outs[:0]}
}

// repatriate tells the node that the process must come home for this call.
func (s *Supervisor) repatriate(call *syscallfwd.Call, reply *syscallfwd.Reply, why string) {
	*reply = syscallfwd.Reply{Seq: call.Seq, Flags: protocol.ReplyRepatriate, Outs: append(reply.Outs[:0], why...)}
}

// tellUser writes to a program's standard error, if it has one that does not block.
func tellUser(pid int, line string) bool {
	fd, err := openProcessFD(pid, 2)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	ready, err := linux.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 0)
	if err != nil || ready == 0 {
		return false
	}
	_, err = unix.Write(fd, []byte(line))
	return err == nil
}

// processEnded forgets a process and ends the job with the last.
func (s *Supervisor) processEnded(p *process) {
	s.mu.Lock()
	if s.procs[p.pid] != p { // told twice
		s.mu.Unlock()
		return
	}
	delete(s.procs, p.pid)
	s.sweepSoon()
	s.noteDead(p)
	left := len(s.procs)
	s.mu.Unlock()
	if left == 0 {
		s.endOnce.Do(func() { close(s.ended) })
	}
}

func readlink(pid int, name string) string {
	l, err := os.Readlink(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		return ""
	}
	return l
}
