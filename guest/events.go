package guest

import (
	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/signals"
	"homing/syscallfwd"
)

// Event is the tracer's report on a body's thread, see tracer.Handler.
func (p *pod) Event(tid int, ws unix.WaitStatus, ru *unix.Rusage) {
	if ws.Exited() || ws.Signaled() {
		if tid == p.init {
			p.init = 0
			go p.sess.Close("the pod's first process died (out of memory?)")
			return
		}
		p.threadEnded(tid, ws, ru)
		return
	}
	th := p.threadHere(tid)
	if th == nil || !ws.Stopped() {
		return // a child in the making stays stopped until its parent's clone is done
	}
	switch ev := linux.Event(ws); {
	case ev == unix.PTRACE_EVENT_SECCOMP:
		p.onTrace(th)
	case ev == linux.EventStop:
		p.onEventStop(th)
	case ev != 0:
		p.cont(th, 0)
	case ws.StopSignal() == unix.SIGTRAP|0x80:
		p.onSigtimedwaitEnd(th)
	default:
		p.onDelivery(th, int(ws.StopSignal()))
	}
}

func (p *pod) cont(th *thread, sig int) {
	if err := linux.Cont(th.here, sig); err != nil && err != unix.ESRCH {
		p.log.Error("cannot resume body", "tid", th.tid, "err", err)
	}
}

func (p *pod) onEventStop(th *thread) {
	p.ownNumber(th)
	if th.proc.standsStill() {
		th.held = true
		return
	}
	p.cont(th, 0)
}

// threadEnded removes a thread; with the last of a process, the process.
func (p *pod) threadEnded(tid int, ws unix.WaitStatus, ru *unix.Rusage) {
	th := p.threadHere(tid)
	if th == nil {
		return
	}
	p.forget(th)
	pr := th.proc
	if len(p.threadsOf(pr)) > 0 {
		return
	}
	p.mu.Lock()
	if p.procs[pr.pid] == pr {
		delete(p.procs, pr.pid)
	}
	closing := p.closing
	pr.mu.Lock()
	if pr.exiting {
		p.dead.add(pr.gen)
	}
	pr.mu.Unlock()
	p.mu.Unlock()
	pr.stopPulling()
	p.releaseVfork(pr.pid)
	p.host.countCPU(ru.Utime.Nano() + ru.Stime.Nano())
	p.bodyEnded(pr, ru)
	pr.mu.Lock()
	expected := pr.exiting || pr.replaced || pr.loading || closing
	pr.mu.Unlock()
	if expected {
		return
	}
	reason := "ended with status " + itoa(ws.ExitStatus())
	if ws.Signaled() {
		reason = "killed by " + unix.SignalName(ws.Signal()) + " (out of memory on the node?)"
	}
	p.out.Send(protocol.Died, protocol.DiedMessage{PID: pr.pid, Gen: pr.gen, Signal: int(ws.Signal()), Reason: reason, CPU: protocol.CPUTime{User: ru.Utime.Nano(), System: ru.Stime.Nano()}})
}

// undisturbed keeps a call that a signal found before we had received it from
// being interrupted. The kernel ends its wait for us with ERESTARTSYS, which a
// handler without SA_RESTART would turn into EINTR, although close(2) and many
// others never give that, and natively the call would only begin after the
// handler. With ERESTARTNOINTR it does.
func (p *pod) undisturbed(th *thread) {
	var r linux.Regs
	if linux.GetRegs(th.here, &r) != nil || int64(r.Orig_rax) < 0 || int64(r.Rax) != -signals.ERESTARTSYS {
		return
	}
	if th.restarting.Swap(false) { // that was our answer, and home's
		return
	}
	if e := syscallfwd.Lookup(uint32(r.Orig_rax)); e != nil && e.Class == syscallfwd.Local {
		return // a call of the guest's own kernel
	}
	code := int64(-signals.ERESTARTNOINTR)
	r.Rax = uint64(code)
	_ = linux.SetRegs(th.here, &r) // ESRCH: it is dying
}

// onDelivery handles a signal-delivery stop: the guest's kernel has chosen a
// thread that does not block the signal. With a handler it is delivered here;
// a default action is the home kernel's to take.
func (p *pod) onDelivery(th *thread, sig int) {
	var si signals.Info
	if err := linux.GetSiginfo(th.here, &si); err != nil {
		p.cont(th, 0)
		return
	}
	if th.suspended != nil {
		p.unsuspend(th)
	}
	if carried := signals.Uncarry(si[:]); th.proc.timerSignals.taken(&si) || carried {
		if err := linux.SetSiginfo(th.here, &si); err != nil {
			p.log.Error("set siginfo", "tid", th.tid, "err", err)
		}
	}
	p.ownNumber(th)
	p.undisturbed(th)
	a := th.proc.action(sig)
	th.mu.Lock()
	detached := th.detached != nil
	th.mu.Unlock()
	switch {
	case detached: // first its call must have an outcome, wherever it goes
		th.held, th.delivering = true, &si
	case a.Handler == signals.IgnoreHandler, a.Handler == signals.DefaultHandler && signals.Default(sig) == signals.Ignore:
		p.cont(th, 0)
	case a.Handler == signals.DefaultHandler:
		th.held, th.delivering = true, &si
		p.out.Send(protocol.Default, protocol.DefaultMessage{PID: th.proc.pid, TID: th.tid, Info: si[:]})
	default:
		if a.Flags&signals.ResetHand != 0 {
			th.proc.mu.Lock()
			th.proc.actions[sig] = resetAction(a)
			th.proc.mu.Unlock()
		}
		p.cont(th, sig)
	}
}

// onTrace: the thread is about to make a call of its own kernel that we must know.
func (p *pod) onTrace(th *thread) {
	var r linux.Regs
	if err := linux.GetRegs(th.here, &r); err != nil {
		return // it is dying
	}
	if p.onMaskCall(th, &r) || r.Orig_rax != unix.SYS_RT_SIGTIMEDWAIT {
		p.cont(th, 0)
		return
	}
	p.onSigtimedwait(th)
}

// onSigtimedwait: the thread is about to wait for signals; its result must be
// looked at, because a siginfo in transit is not what the sender sent.
func (p *pod) onSigtimedwait(th *thread) {
	var (
		r   linux.Regs
		set uint64
	)
	if err := linux.GetRegs(th.here, &r); err == nil {
		th.waitPtr = r.Rsi
		set = p.wantSignals(th, r.Rdi)
	}
	th.mu.Lock()
	th.sigwait, th.waitSet = true, set
	th.sigwaits++
	th.mu.Unlock()
	if err := linux.ContSyscall(th.here, 0); err != nil && err != unix.ESRCH {
		p.log.Error("cannot resume body", "tid", th.tid, "err", err)
	}
}

// wantSignals tells home which signals, ignored otherwise, are waited for, and
// returns all that are.
func (p *pod) wantSignals(th *thread, setAddr uint64) uint64 {
	var b [8]byte
	if _, err := linux.ReadMemory(th.here, setAddr, b[:]); err != nil {
		return 0 // the call itself will say so
	}
	var set uint64
	th.proc.mu.Lock()
	for sig := 1; sig <= 64; sig++ {
		a := th.proc.actions[sig]
		if a.Handler == signals.IgnoreHandler || a.Handler == signals.DefaultHandler && signals.Default(sig) == signals.Ignore {
			set |= signals.Bit(sig)
		}
	}
	th.proc.mu.Unlock()
	if set &= le64(b[:]); set&^th.wanted != 0 {
		th.wanted |= set
		p.out.Send(protocol.Wanted, protocol.WantedMessage{PID: th.proc.pid, Set: set})
	}
	return le64(b[:])
}

func (p *pod) onSigtimedwaitEnd(th *thread) {
	th.mu.Lock()
	th.sigwait = false
	th.mu.Unlock()
	var r linux.Regs
	if err := linux.GetRegs(th.here, &r); err == nil && int64(r.Rax) > 0 && th.waitPtr != 0 {
		var head [12]byte
		if _, err := linux.ReadMemory(th.here, th.waitPtr, head[:]); err == nil && signals.Uncarry(head[:]) {
			_, _ = linux.WriteMemory(th.here, th.waitPtr, head[:]) // just written by the kernel itself
			p.takenByWait(th, th.waitPtr)
		}
	}
	if th.proc.standsStill() {
		th.held = true
		return
	}
	p.cont(th, 0)
}
