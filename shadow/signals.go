package shadow

import (
	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/internal/stub"
	"homing/internal/tracer"
	"homing/signals"
)

// Codes of signals sent to a thread by tkill(2) or tgkill(2), and of timers.
const siTkill, siTimer = -6, -2

// unackedSignal is a signal passed to the pod and not yet taken over by it.
type unackedSignal struct {
	pid, tid int
	directed bool
	info     signals.Info
}

// onSignal handles a signal-delivery stop: the home kernel accepted a signal
// for the program. It is passed to the pod, which knows masks and handlers.
// A thread that stands in a call is held until the pod has decided, so that
// the call is neither restarted nor ended too early; and any thread whose
// process does not catch the signal, so that it makes no call after its death.
// (Real-time signals are not used to kill, but queued and waited for in numbers.)
func (s *Supervisor) onSignal(th *thread, sig int) {
	if th.proc.getState() == starting {
		s.cont(th, sig)
		return
	}
	if sig == int(unix.SIGSTOP) {
		s.stopGuestFirst(th, sig)
		return
	}
	if th.pass == sig {
		th.pass = 0
		s.deliver(th, sig)
		return
	}
	var info signals.Info
	if err := linux.GetSiginfo(th.tid, &info); err != nil {
		s.cont(th, 0)
		return
	}
	s.traceLog.signal(th.tid, &info)
	own := th.sentToThread(sig, &info)
	switch {
	case th.own&signals.Bit(sig) != 0:
		_ = linux.SetSigmask(th.tid, th.proc.shadowMask(th)) // ESRCH: it is dying
	case !own && ordered(sig, &info) && th.proc.ordered&signals.Bit(sig) == 0:
		defer s.keepOrder(th, sig)()
	}
	inCall := th.seq.Load() != 0
	directed := own ||
		inCall && (sig == int(unix.SIGPIPE) || sig == int(unix.SIGXFSZ)) // sent by the call itself
	onDescriptor := th.proc.signalfd.Load()&signals.Bit(sig) != 0
	s.signalID++
	s.unacked[s.signalID] = unackedSignal{th.proc.pid, th.tid, directed, info}
	th.proc.sendSignal(protocol.SignalMessage{
		ID: s.signalID, PID: th.proc.pid, TID: th.tid, Gen: th.proc.gen, Directed: directed, Info: info[:], SignalFD: onDescriptor,
	})
	if th.abandon != 0 { // the stop at which it would be given up comes after this one, which may last
		s.resolveAbandon(th)
		inCall = false
	}
	mayKill := sig < signals.FirstRealTime && th.proc.caught&signals.Bit(sig) == 0
	if !inCall && !onDescriptor && !mayKill {
		s.cont(th, 0)
		return
	}
	th.held, th.heldInfo = s.signalID, info
	s.heldBy[s.signalID] = th
}

// deliver lets the home kernel act on a signal at its delivery stop.
func (s *Supervisor) deliver(th *thread, sig int) {
	s.makeDefault(th, sig)
	if signals.Default(sig) == signals.Stop {
		s.stopGuestFirst(th, sig)
		return
	}
	s.cont(th, sig)
}

// stopGuestFirst keeps a thread in the delivery stop of a stop signal until the
// guest stands still: only then the home kernel may tell the parent.
func (s *Supervisor) stopGuestFirst(th *thread, sig int) {
	th.stopSig = sig
	th.proc.stopped = true
	th.proc.send(protocol.Stop, th.proc.ref())
}

// onStopped lets the stop happen. Whether it does is for the kernel to say
// (orphaned process groups are not stopped by a terminal's signals): an
// interruption reports it, see onEventStop.
func (s *Supervisor) onStopped(_ *site, m protocol.ProcRef) {
	s.tr.Post(func() {
		p := s.process(m.PID)
		if p == nil {
			return
		}
		for _, th := range s.of(p) {
			if sig := th.stopSig; sig != 0 {
				th.stopSig, th.checkStop = 0, true
				s.cont(th, sig)
				_ = linux.Interrupt(th.tid) // ESRCH: it is dying
			}
		}
	})
}

func (s *Supervisor) release(id uint64) *thread {
	delete(s.unacked, id)
	th := s.heldBy[id]
	delete(s.heldBy, id)
	if th != nil && th.held == id {
		th.held = 0
		return th
	}
	return nil
}

// onSignalDone resumes the thread that a signal stopped: the call goes on as
// if nothing had happened.
func (s *Supervisor) onSignalDone(_ *site, m protocol.SignalRef) {
	s.tr.Post(func() {
		th := s.release(m.ID)
		if th == nil {
			return
		}
		s.retryInterrupted(th)
		switch {
		case m.Keep:
			s.keep(th)
			return
		case m.Block:
			s.block(th)
			return
		}
		s.cont(th, 0)
	})
}

// keep leaves the signal that a thread is stopped with pending in the shadow,
// where a signalfd reads it: from now on the thread blocks it, and a blocked
// signal that is delivered is queued again by the kernel.
func (s *Supervisor) keep(th *thread) {
	sig := signals.Signo(&th.heldInfo)
	mask, err := linux.GetSigmask(th.tid)
	if err != nil {
		return // it is dying
	}
	th.kept |= signals.Bit(sig)
	if err := linux.SetSigmask(th.tid, mask|signals.Bit(sig)); err != nil {
		return // likewise
	}
	s.cont(th, sig)
}

// retryInterrupted makes a stopped thread repeat a call that ended with EINTR
// because of a signal which the program does not see. Calls that the kernel
// restarts by itself need nothing.
func (s *Supervisor) retryInterrupted(th *thread) {
	var r linux.Regs
	if linux.GetRegs(th.tid, &r) != nil || r.Rip != th.proc.stub+stub.Called || r.Rbx != th.loopAddr() || th.seq.Load() == 0 {
		return
	}
	switch {
	case int64(r.Rax) == -int64(unix.EINTR):
		r.Rip = th.proc.stub + stub.Begin
	case partial(&r):
		th.moved += r.Rax
		r.Rsi += r.Rax
		r.Rdx -= r.Rax
		r.Rax = r.Orig_rax
		r.Rip = th.proc.stub + stub.Call
	default:
		return
	}
	r.Orig_rax = ^uint64(0)
	_ = linux.SetRegs(th.tid, &r) // ESRCH: it is dying
}

// partial tells whether a call moved less than asked for where the kernel, not
// interrupted, would have gone on: blocking writes, and receiving with
// MSG_WAITALL. A descriptor that does not block ends the next try with EAGAIN.
func partial(r *linux.Regs) bool {
	if int64(r.Rax) <= 0 || r.Rax >= r.Rdx {
		return false
	}
	switch r.Orig_rax {
	case unix.SYS_WRITE, unix.SYS_SENDTO:
		return true
	case unix.SYS_RECVFROM:
		return r.R10&unix.MSG_WAITALL != 0
	}
	return false
}

// setIgnored changes whether the guest ignores a signal, and with it the masks
// of all shadow threads. Tracer's thread.
func (s *Supervisor) setIgnored(p *process, sig int, ignored bool) {
	old := p.ignored
	p.ignored &^= signals.Bit(sig)
	if ignored {
		p.ignored |= signals.Bit(sig)
	}
	if p.ignored != old {
		s.remaskAll(p)
	}
}

// remaskAll has all shadow threads of a process set their masks anew.
func (s *Supervisor) remaskAll(p *process) {
	for _, th := range s.of(p) {
		s.remaskThread(th)
	}
}

func (s *Supervisor) remaskThread(th *thread) {
	if th.held != 0 { // stands already
		_ = linux.SetSigmask(th.tid, th.proc.shadowMask(th)) // ESRCH: it is dying
		return
	}
	th.remask = true
	_ = linux.Interrupt(th.tid) // likewise
}

// onWanted: a guest thread waits for signals with sigtimedwait, also for
// ignored ones, which are then not to be held back here.
func (s *Supervisor) onWanted(_ *site, m protocol.WantedMessage) {
	s.tr.Post(func() {
		p := s.process(m.PID)
		if p == nil || p.wanted|m.Set == p.wanted {
			return
		}
		p.wanted |= m.Set
		s.remaskAll(p)
	})
}

// onAbandon interrupts a pending call; its reply tells the outcome.
func (s *Supervisor) onAbandon(_ *site, m protocol.AbandonMessage) { s.abandon(m) }

func (s *Supervisor) abandon(m protocol.AbandonMessage) {
	s.tr.Post(func() {
		th := s.thread(m.TID)
		if th == nil {
			return // it has ended
		}
		// The call may be on its way still: lanes and messages are not ordered.
		// Then its lane finds the mark and does not begin it.
		th.early.Store(m.Seq)
		if th.seq.Load() != m.Seq {
			return // answered, or not here yet
		}
		if th.held != 0 {
			delete(s.heldBy, th.held)
			th.held = 0
			s.giveUp(th)
			s.cont(th, 0)
			return
		}
		th.abandon = m.Seq
		_ = linux.Interrupt(th.tid) // ESRCH: it is dying
	})
}

// onDefault lets the home kernel take a signal's default action, so that the
// parent sees the true status.
func (s *Supervisor) onDefault(_ *site, m protocol.DefaultMessage) {
	if len(m.Info) != linux.SiginfoSize {
		return
	}
	info := signals.Info(m.Info)
	sig := signals.Signo(&info)
	if sig < 1 || sig > 64 {
		return
	}
	s.tr.Post(func() {
		if th := s.thread(m.TID); th != nil && signals.Default(sig) == signals.Core && coreWanted(th.proc.pid) {
			delete(s.unacked, m.ID) // it travels with the process
			th.proc.send(protocol.Core, m)
			return
		}
		_, pending := s.unacked[m.ID]
		th := s.release(m.ID)
		if th != nil {
			s.deliver(th, sig)
			return
		}
		th = s.thread(m.TID)
		if th == nil && pending { // ended meanwhile, but its process has others
			if others := s.of(s.process(m.PID)); len(others) > 0 {
				th = others[0]
			}
		}
		if th == nil {
			return
		}
		th.pass = sig
		if err := unix.Tgkill(th.proc.pid, th.tid, unix.Signal(sig)); err != nil && err != unix.ESRCH {
			s.log.Error("cannot signal shadow", "tid", th.tid, "sig", sig, "err", err)
		}
	})
}

// makeDefault resets a mirrored handler before the kernel acts on a deadly
// signal. The injected call overwrites the slot's data, which a process about
// to die no longer needs.
func (s *Supervisor) makeDefault(th *thread, sig int) {
	if th.proc.caught&signals.Bit(sig) == 0 || signals.Default(sig) == signals.Stop {
		return
	}
	th.proc.caught &^= signals.Bit(sig)
	if _, err := tracer.BlockSignals(th.tid); err != nil {
		return // it is dying
	}
	body := s.body(th)
	if err := body.WriteScratch(th.tid, make([]byte, 32)); err != nil {
		return
	}
	if _, err := body.Inject(th.tid, []tracer.Call{
		tracer.C(unix.SYS_RT_SIGACTION, uint64(sig), body.Table+uint64(body.Size), 0, 8),
	}); err != nil {
		s.log.Error("cannot reset disposition of shadow", "tid", th.tid, "sig", sig, "err", err)
	}
	_ = linux.SetSigmask(th.tid, 0) // ESRCH: it is dying
}

// onDied ends a process whose guest is gone.
func (s *Supervisor) onDied(at *site, m protocol.DiedMessage) {
	p := s.process(m.PID)
	if p == nil || p.gen != m.Gen || p.getState() == home || p.site() != at {
		return
	}
	if m.Reason == "" {
		_ = unix.Kill(m.PID, unix.SIGKILL) // ESRCH: the shadow is gone as well
		return
	}
	if m.Signal == int(unix.SIGKILL) && overCPULimit(m) {
		_ = unix.Kill(m.PID, unix.SIGKILL) // ESRCH: the shadow is gone as well
		return
	}
	s.log.Error("guest died", "pid", m.PID, "node", at.name, "reason", m.Reason)
	tellUser(m.PID, "homing: the guest of process died on node "+at.name+": "+m.Reason+"\r\n")
	_ = unix.Kill(m.PID, unix.SIGKILL) // ESRCH: the shadow is gone as well
}

// overCPULimit tells whether a guest was killed for its limit on processor
// time, which is the program's own affair (setrlimit(2), RLIMIT_CPU).
func overCPULimit(m protocol.DiedMessage) bool {
	var lim unix.Rlimit
	err := unix.Prlimit(m.PID, unix.RLIMIT_CPU, nil, &lim)
	used := uint64(m.CPU.User+m.CPU.System) / 1e9
	return err == nil && lim.Max != unix.RLIM_INFINITY && used+1 >= lim.Max
}
