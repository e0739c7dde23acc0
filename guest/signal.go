package guest

import (
	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/signals"
)

func resetAction(a checkpoint.Action) checkpoint.Action {
	a.Handler = signals.DefaultHandler
	return a
}

// onSignal takes over a signal that arrived at a shadow. Only this node knows
// masks and handlers, so it decides: ignored signals are dropped, default
// actions go back to the home kernel, the rest is queued to the body. If the
// thread that is to take it waits for a call at home, that call is given up
// first; its outcome decides what the guest's kernel is told.
func (p *pod) onSignal(m protocol.SignalMessage) {
	done := func() { p.out.Send(protocol.SignalDone, protocol.SignalRef{ID: m.ID}) }
	pr := p.procHome(m.PID)
	if pr == nil {
		p.keepEarly(m)
		return
	}
	if pr.isFreezing() {
		return // home delivers what was not acknowledged, once the process is there
	}
	if len(m.Info) != linux.SiginfoSize {
		done()
		return
	}
	si := signals.Info(m.Info)
	sig := signals.Signo(&si)
	if sig < 1 || sig > 64 {
		done()
		return
	}
	th, waited := p.chooseThread(pr, sig, m)
	a := pr.action(sig)
	ignored := a.Handler == signals.IgnoreHandler || a.Handler == signals.DefaultHandler && signals.Default(sig) == signals.Ignore
	switch {
	case waited: // some thread is in sigtimedwait for it, or all block it
		if th == nil {
			th = p.leader(pr)
		}
		if th != nil {
			p.queueSignal(th, si, m.Directed)
		}
		done()
	case ignored:
		done()
	case a.Handler == signals.DefaultHandler:
		p.out.Send(protocol.Default, protocol.DefaultMessage{ID: m.ID, PID: m.PID, TID: m.TID, Info: m.Info})
	default:
		p.deliverTo(th, si, m)
	}
}

// maxEarly bounds the signals kept for processes that are not here (yet).
const maxEarly = 10000

// keepEarly keeps a signal for a process whose body is still being made: home
// knows a child before we do. What is kept for a process that has ended is
// dropped with the oldest.
func (p *pod) keepEarly(m protocol.SignalMessage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.procs[m.PID] != nil { // came in between
		go p.onSignal(m)
		return
	}
	if len(p.early) >= maxEarly {
		p.early = p.early[1:]
	}
	p.early = append(p.early, m)
}

// takeEarly delivers what was kept for a process.
func (p *pod) takeEarly(pid int) {
	p.mu.Lock()
	var mine []protocol.SignalMessage
	rest := p.early[:0]
	for _, m := range p.early {
		if m.PID == pid {
			mine = append(mine, m)
		} else {
			rest = append(rest, m)
		}
	}
	p.early = rest
	p.mu.Unlock()
	for _, m := range mine {
		p.onSignal(m)
	}
}

// deliverTo queues a caught signal to a thread that does not block it.
func (p *pod) deliverTo(th *thread, si signals.Info, m protocol.SignalMessage) {
	th.mu.Lock()
	if th.calling {
		th.sigs = append(th.sigs, queued{si, true, m.ID})
		seq := th.seq
		th.mu.Unlock()
		p.out.Send(protocol.Abandon, protocol.AbandonMessage{TID: th.tid, Seq: seq})
		return
	}
	th.mu.Unlock()
	p.queueSignal(th, si, m.Directed)
	p.out.Send(protocol.SignalDone, protocol.SignalRef{ID: m.ID})
}

func (p *pod) leader(pr *proc) *thread {
	if ths := p.threadsOf(pr); len(ths) > 0 {
		return ths[0]
	}
	return nil
}

// chooseThread picks the thread that takes a signal as the kernel does: the
// addressed one, else the leader if it does not block it, else another.
// waited means that it must be queued without looking at its disposition.
func (p *pod) chooseThread(pr *proc, sig int, m protocol.SignalMessage) (th *thread, waited bool) {
	if m.Directed {
		th = p.threadHome(m.TID)
		if th == nil {
			return nil, true
		}
		return th, blocks(th, sig)
	}
	for _, th := range p.threadsOf(pr) {
		if !blocks(th, sig) {
			return th, false
		}
	}
	return nil, true
}

// blocks tells whether a thread blocks a signal or waits for it with
// sigtimedwait, which lifts the block meanwhile.
func blocks(th *thread, sig int) bool {
	th.mu.Lock()
	sigwait := th.sigwait
	th.mu.Unlock()
	if sigwait {
		return true
	}
	st, err := linux.ReadStatus(th.here)
	if err != nil {
		return true
	}
	return st.SigBlk&signals.Bit(sig) != 0
}

// onKill: the shadow is dead, and so is the guest.
func (p *pod) onKill(m protocol.ProcRef) {
	pr := p.procHome(m.PID)
	if pr == nil {
		return
	}
	pr.mu.Lock()
	pr.exiting = true
	pr.mu.Unlock()
	_ = unix.Kill(pr.body, unix.SIGKILL) // ESRCH: gone already
}

// onStop: job control stopped the shadow; the guest loses the processor.
func (p *pod) onStop(m protocol.ProcRef) {
	p.tr.Post(func() {
		pr := p.procHome(m.PID)
		if pr == nil || pr.stopped {
			return
		}
		pr.stopped = true
		for _, th := range p.threadsOf(pr) {
			_ = linux.Interrupt(th.here) // ESRCH: it is dying
		}
	})
}

// onContinue: the shadow runs again.
func (p *pod) onContinue(m protocol.ProcRef) {
	p.tr.Post(func() {
		pr := p.procHome(m.PID)
		if pr == nil {
			return
		}
		pr.stopped = false
		for _, th := range p.threadsOf(pr) {
			if th.held && th.vfork == nil && !pr.isFreezing() {
				th.held, th.delivering = false, nil
				p.cont(th, 0)
			}
		}
	})
}
