package shadow

import (
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/internal/stub"
	"homing/signals"
)

// Event is the tracer's report on a shadow thread, see tracer.Handler.
func (s *Supervisor) Event(tid int, ws unix.WaitStatus, ru *unix.Rusage) {
	th := s.thread(tid)
	if ws.Exited() || ws.Signaled() {
		delete(s.strays, tid)
		delete(s.loose, tid)
		if th != nil {
			s.threadEnded(th, ws)
			return
		}
		if len(s.unborn) >= maxUnborn {
			clear(s.unborn) // threads that an execve of theirs ended: nobody asks for those
		}
		s.unborn[tid] = ws // perhaps a new child whose parent's event comes later
		return
	}
	if !ws.Stopped() {
		return
	}
	if s.loose[tid] { // it was to leave, and could not be stopped
		delete(s.loose, tid)
		sig := 0
		if linux.Event(ws) == 0 {
			sig = int(ws.StopSignal())
		}
		_ = linux.Detach(tid, sig) // ESRCH: it is dying
		return
	}
	if th == nil {
		s.strays[tid] = true // a new child whose parent's event comes later
		s.watchStray(tid)
		return
	}
	th.order.Load()
	switch linux.Event(ws) {
	case unix.PTRACE_EVENT_EXEC:
		s.onExec(th)
	case unix.PTRACE_EVENT_FORK, unix.PTRACE_EVENT_VFORK, unix.PTRACE_EVENT_CLONE:
		s.onClone(th, linux.Event(ws) == unix.PTRACE_EVENT_VFORK)
		s.cont(th, 0)
	case linux.EventStop:
		s.onEventStop(th, ws.StopSignal())
	case 0:
		s.onSignal(th, int(ws.StopSignal()))
	default:
		s.cont(th, 0)
	}
}

func (s *Supervisor) cont(th *thread, sig int) {
	if err := linux.Cont(th.tid, sig); err != nil && err != unix.ESRCH {
		s.log.Error("cannot resume shadow thread", "pid", th.proc.pid, "tid", th.tid, "err", err)
	}
}

// onEventStop handles the end of an attachment, an interruption, and group stops.
func (s *Supervisor) onEventStop(th *thread, sig unix.Signal) {
	switch sig {
	case unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU: // group stop
		th.checkStop = false
		if !th.proc.stopped {
			th.proc.stopped = true
			th.proc.send(protocol.Stop, th.proc.ref())
		}
		s.resolveAbandon(th)
		th.inListen = true
		if err := linux.Listen(th.tid); err != nil && err != unix.ESRCH {
			s.log.Error("cannot leave shadow thread in its stop", "tid", th.tid, "err", err)
		}
		return
	}
	if th.inListen {
		th.inListen = false
		if th.proc.stopped {
			th.proc.stopped = false
			th.proc.send(protocol.Continue, th.proc.ref())
		}
	}
	if th.checkStop { // told to stop, but an orphaned process group does not: signal(7), setpgid(2)
		th.checkStop, th.proc.stopped = false, false
		th.proc.send(protocol.Continue, th.proc.ref())
	}
	if th.remask {
		th.remask = false
		_ = linux.SetSigmask(th.tid, th.proc.shadowMask(th)) // ESRCH: it is dying
	}
	if th.abandon == 0 {
		s.retryInterrupted(th)
	}
	s.resolveAbandon(th)
	s.cont(th, 0)
}

// resolveAbandon decides, for a stopped thread that was asked to give up a
// call, whether the call was not begun, interrupted or completed.
func (s *Supervisor) resolveAbandon(th *thread) {
	seq := th.abandon
	if seq == 0 {
		return
	}
	th.abandon = 0
	if th.seq.Load() != seq {
		return // answered meanwhile
	}
	s.giveUp(th)
}

// giveUp publishes the outcome of a stopped thread's call: its result if it
// completed, else a restart code. Where the thread stands tells which, exactly
// (compare rseq(2)). The thread is put back to the head of its loop.
func (s *Supervisor) giveUp(th *thread) {
	var r linux.Regs
	if err := linux.GetRegs(th.tid, &r); err != nil {
		return // it is dying
	}
	at := r.Rip - th.proc.stub
	slot := s.arena.slot(th.slot)
	ret := int64(-signals.ERESTARTNOINTR) // not begun
	switch {
	case r.Rbx != th.loopAddr(): // newborn: where it stands is its parent's clone
		if slot.Load() != stub.Requested {
			return
		}
		r.Rbx = th.loopAddr()
	case at == stub.Called:
		ret = int64(r.Rax) // completed or interrupted
	case at >= stub.Begin && at <= stub.Call: // still loading the arguments
	case at >= stub.Loop && at < stub.Begin, at >= stub.Said: // has not seen the request
		if slot.Load() != stub.Requested {
			return
		}
	default:
		return // completed: the stub is about to say so
	}
	r.Rip = th.proc.stub + stub.Loop
	r.Orig_rax = ^uint64(0)
	if err := linux.SetRegs(th.tid, &r); err != nil {
		return // it is dying
	}
	slot.Ret = ret
	s.publish(th, stub.Done)
}

// onClone takes up a child that the thread's clone made.
func (s *Supervisor) onClone(th *thread, vfork bool) {
	msg, err := linux.GetEventMsg(th.tid)
	req := th.clone
	if err != nil || req == nil {
		s.log.Error("unexpected child of a shadow", "tid", th.tid, "err", err)
		return
	}
	tid := int(msg)
	child := &thread{tid: tid, slot: req.slot}
	if req.flags&unix.CLONE_THREAD != 0 {
		child.proc = th.proc
	} else {
		s.lastGen++
		p := th.proc
		child.proc = &process{
			pid: tid, gen: s.lastGen, stub: p.stub, arena: p.arena, keep: p.keep, comm: p.comm, argv: p.argv,
			caught: p.caught, ignored: p.ignored,
		}
		child.proc.signalfd.Store(p.signalfd.Load())
		child.proc.setState(away)
		child.proc.at.Store(p.at.Load())
	}
	child.kept = th.kept
	th.clone, th.childGen = nil, child.proc.gen
	th.order.Add(1)
	s.add(child)
	s.inherits(child, th.proc)
	if ws, ended := s.unborn[tid]; ended {
		delete(s.unborn, tid)
		if st, err := linux.ReadStat("/proc/" + strconv.Itoa(tid) + "/stat"); err != nil || st.State == 'Z' || st.State == 'X' {
			defer s.threadEnded(child, ws)
		}
	}
	if s.strays[tid] {
		delete(s.strays, tid)
		s.cont(child, 0)
	}
	if vfork {
		slot := s.arena.slot(th.slot)
		slot.Ret = int64(tid)
		s.publish(th, vforkAnswered)
	}
}

// maxUnborn bounds the ends kept of threads that are not known.
const maxUnborn = 10000

// strayLimit is how long a stray's parent may take to report it.
const strayLimit = 500 * time.Millisecond

// watchStray ends a child whose parent was killed before it could report it:
// nobody will ever let it run.
func (s *Supervisor) watchStray(tid int) {
	time.AfterFunc(strayLimit, func() {
		s.tr.Post(func() {
			if !s.strays[tid] {
				return
			}
			st, err := linux.ReadStat("/proc/" + strconv.Itoa(tid) + "/stat")
			if err == nil && s.process(st.PPID) != nil {
				s.watchStray(tid)
				return
			}
			_ = unix.Kill(tid, unix.SIGKILL) // ESRCH: it has ended
		})
	})
}

// threadEnded removes a thread; with the last of a process, the process.
func (s *Supervisor) threadEnded(th *thread, ws unix.WaitStatus) {
	s.traceLog.ended(th.tid, ws)
	s.remove(th.tid)
	s.dropThread(th)
	delete(s.heldBy, th.held)
	p := th.proc
	if len(s.of(p)) > 0 {
		return
	}
	for id, l := range s.unacked {
		if l.pid == p.pid {
			delete(s.unacked, id)
		}
	}
	if p.getState() != home {
		p.send(protocol.Kill, p.ref())
	}
	s.processEnded(p)
}

// dropThread frees what belongs to a thread that will not run in the stub again.
// Its slot stays its own as long as a lane uses it.
func (s *Supervisor) dropThread(th *thread) {
	th.useMu.Lock()
	defer th.useMu.Unlock()
	if th.dropped {
		return
	}
	th.dropped = true
	th.gone.Store(true)
	s.publish(th, stub.Gone)
	if th.used == 0 {
		s.arena.release(th.slot)
	}
}
