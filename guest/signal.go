package guest

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/signals"
	"homing/syscallfwd"
)

func resetAction(a checkpoint.Action) checkpoint.Action {
	a.Handler = signals.DefaultHandler
	return a
}

// takenSignals are the signals taken over from home. They come in the order of
// their numbers, but answers to calls come on other streams: one that home gave
// after it had accepted a signal waits until that has been taken over, so that
// the handler runs before the call has returned. Lock order: mu is a leaf.
type takenSignals struct {
	last atomic.Uint64

	mu      sync.Mutex
	changed chan struct{} // closed when last changes; nil while nobody waits
}

func (t *takenSignals) add(id uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last.Store(max(id, t.last.Load()))
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

// await waits until signal id has been taken over, or the session is done.
func (t *takenSignals) await(id uint64, done <-chan struct{}) {
	for t.last.Load() < id {
		t.mu.Lock()
		if t.changed == nil {
			t.changed = make(chan struct{})
		}
		changed := t.changed
		t.mu.Unlock()
		if t.last.Load() >= id {
			return
		}
		select {
		case <-changed:
		case <-done:
			return
		}
	}
}

// takeSignal is told of each signal, in order.
func (p *pod) takeSignal(m protocol.SignalMessage) {
	p.onSignal(m)
	p.signals.add(m.ID)
}

// onSignal takes over a signal that arrived at a shadow. Only this node knows
// masks and handlers, so it decides: ignored signals are dropped, default
// actions go back to the home kernel, the rest is queued to the body. If the
// thread that is to take it waits for a call at home, that call is given up
// first; its outcome decides what the guest's kernel is told.
func (p *pod) onSignal(m protocol.SignalMessage) {
	if p.keepEarly(m) {
		return
	}
	if pr := p.procOf(protocol.ProcRef{PID: m.PID, Gen: m.Gen}); pr != nil { // else it has just ended
		p.signal(pr, m)
	}
}

func (p *pod) signal(pr *proc, m protocol.SignalMessage) {
	done := func() { p.out.Send(protocol.SignalDone, protocol.SignalRef{ID: m.ID}) }
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
	if p.fromTerminal(m, &si) {
		pr.kept.Or(signals.Bit(sig))
		p.out.Send(protocol.SignalDone, protocol.SignalRef{ID: m.ID, Block: true})
		return
	}
	th, waited := p.chooseThread(pr, sig, m)
	if m.SignalFD && p.keeps(pr, sig, waited) {
		pr.kept.Or(signals.Bit(sig))
		p.out.Send(protocol.SignalDone, protocol.SignalRef{ID: m.ID, Keep: true})
		return
	}
	a := pr.action(sig)
	ignored := a.Handler == signals.IgnoreHandler || a.Handler == signals.DefaultHandler && signals.Default(sig) == signals.Ignore
	switch {
	case waited: // some thread is in sigtimedwait for it, or all block it
		if th == nil {
			th = p.leader(pr)
		}
		if th != nil && !p.overruns(th, &si) {
			p.queueSignal(th, si, m.Directed)
			p.endWaits(pr, th, m.Directed)
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
// knows a child before we do. It reports whether the signal is to wait. To a
// process that has ended it makes no difference, but its shadow may stand still
// for it.
func (p *pod) keepEarly(m protocol.SignalMessage) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead.has(m.Gen) {
		p.out.Send(protocol.SignalDone, protocol.SignalRef{ID: m.ID})
		return true
	}
	pr := p.procs[m.PID]
	if pr != nil && pr.gen == m.Gen && !p.hasEarly(pr) {
		return false
	}
	if len(p.early) >= maxEarly {
		p.early = p.early[1:]
	}
	p.early = append(p.early, m)
	return true
}

// hasEarly tells whether signals for a process wait to be taken. pod.mu is held.
func (p *pod) hasEarly(pr *proc) bool {
	return slices.ContainsFunc(p.early, func(m protocol.SignalMessage) bool { return m.PID == pr.pid && m.Gen == pr.gen })
}

// takeEarly delivers what was kept for a process, and what comes meanwhile.
func (p *pod) takeEarly(pr *proc) {
	for {
		p.mu.Lock()
		p.early = slices.DeleteFunc(p.early, func(m protocol.SignalMessage) bool { return p.dead.has(m.Gen) })
		i := slices.IndexFunc(p.early, func(m protocol.SignalMessage) bool { return m.PID == pr.pid && m.Gen == pr.gen })
		if i < 0 {
			p.mu.Unlock()
			return
		}
		m := p.early[i]
		p.mu.Unlock()
		p.signal(pr, m)
		p.mu.Lock()
		p.early = slices.DeleteFunc(p.early, func(e protocol.SignalMessage) bool { return e.ID == m.ID })
		p.mu.Unlock()
	}
}

// deliverTo queues a caught signal to a thread that did not block it when it
// was chosen.
func (p *pod) deliverTo(th *thread, si signals.Info, m protocol.SignalMessage) {
	th.mu.Lock()
	calling, seq := th.calling, th.seq
	th.mu.Unlock()
	if calling && blocks(th, signals.Signo(&si)) {
		// It has blocked the signal since, and does until its call has ended.
		p.signal(th.proc, m)
		return
	}
	th.mu.Lock()
	if th.requeuing { // not before those that came first
		th.sigs = append(th.sigs, queued{si, m.Directed, m.ID})
		th.mu.Unlock()
		return
	}
	if calling && th.calling && th.seq == seq {
		th.sigs = append(th.sigs, queued{si, m.Directed, m.ID})
		th.mu.Unlock()
		p.out.Send(protocol.Abandon, protocol.AbandonMessage{TID: th.tid, Seq: seq})
		return
	}
	th.mu.Unlock()
	p.queueTo(th, si, m.Directed)
	p.giveUpCall(th, signals.Signo(&si))
	p.out.Send(protocol.SignalDone, protocol.SignalRef{ID: m.ID})
}

// queueTo queues a signal for a thread that was chosen. The kernel might choose
// another, whose call nobody gives up, so it is sent to that thread; but what a
// thread was sent comes before what its process was, and a signal must not
// overtake those of its number that the process has been sent already.
func (p *pod) queueTo(th *thread, si signals.Info, directed bool) {
	if !directed {
		st, err := linux.ReadStatus(th.here)
		directed = err != nil || len(p.threadsOf(th.proc)) > 1 && st.ShdPnd&signals.Bit(signals.Signo(&si)) == 0
	}
	p.queueSignal(th, si, directed)
}

// giveUpCall gives up the call that a thread has begun while a signal was being
// queued for it. Whoever begins a call looks for signals after it has said so
// (send), and whoever queues a signal looks for calls after that.
func (p *pod) giveUpCall(th *thread, sig int) {
	th.mu.Lock()
	calling, seq := th.calling, th.seq
	if calling && th.hasTemp && th.tempMask&signals.Bit(sig) == 0 {
		th.tempPending = true
	}
	th.mu.Unlock()
	if calling {
		p.out.Send(protocol.Abandon, protocol.AbandonMessage{TID: th.tid, Seq: seq})
	}
}

// waitsFor tells whether a thread of the process is in sigtimedwait.
func (p *pod) waitsFor(pr *proc) bool {
	for _, th := range p.threadsOf(pr) {
		th.mu.Lock()
		sigwait := th.sigwait
		th.mu.Unlock()
		if sigwait {
			return true
		}
	}
	return false
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
	for {
		th.mu.Lock()
		sigwait, temp, mask, waits := th.sigwait && th.waitSet&signals.Bit(sig) != 0, th.calling && th.hasTemp, th.tempMask, th.sigwaits
		th.mu.Unlock()
		switch {
		case sigwait:
			return true
		case temp:
			return mask&signals.Bit(sig) != 0
		}
		st, err := linux.ReadStatus(th.here)
		if err != nil {
			return true
		}
		th.mu.Lock()
		again := th.sigwaits != waits // the mask may have been the one of a wait
		th.mu.Unlock()
		if !again {
			return st.SigBlk&signals.Bit(sig) != 0
		}
	}
}

// onKill: the shadow is dead, and so is the guest.
func (p *pod) onKill(m protocol.ProcRef) {
	p.mu.Lock()
	p.dead.add(m.Gen)
	p.mu.Unlock()
	p.tr.Post(func() { delete(p.standing, m.Gen) })
	if pr := p.procOf(m); pr != nil {
		p.killGuest(pr)
	}
}

// ended are the generations of the processes that ended last, here or at home: a
// guest may still be in the making when it is told to end.
type ended struct {
	is   map[uint64]bool
	ring [4096]uint64
	n    int
}

func (d *ended) has(gen uint64) bool { return d.is[gen] }

func (d *ended) add(gen uint64) {
	if d.is == nil {
		d.is = map[uint64]bool{}
	}
	i := d.n % len(d.ring)
	if d.n >= len(d.ring) {
		delete(d.is, d.ring[i])
	}
	d.is[gen], d.ring[i] = true, gen
	d.n++
}

// killGuest ends a body whose shadow is dead.
func (p *pod) killGuest(pr *proc) {
	pr.mu.Lock()
	pr.exiting = true
	pr.mu.Unlock()
	_ = unix.Kill(pr.body, unix.SIGKILL) // ESRCH: gone already
}

// stopLimit bounds the wait for a process to stand still at home's wish.
const stopLimit = 5 * time.Second

// onStop: job control is about to stop the shadow; the guest loses the
// processor first, so that whoever sees the stop sees no more of its effects.
func (p *pod) onStop(m protocol.ProcRef) {
	p.tr.Post(func() {
		p.standing[m.Gen] = true // also for one that is still to come
		pr := p.procOf(m)
		if pr == nil {
			p.out.Send(protocol.Stopped, m)
			return
		}
		pr.stopped = true
		for _, th := range p.threadsOf(pr) {
			if !th.held {
				_ = linux.Interrupt(th.here) // ESRCH: it is dying
			}
		}
		go func() {
			for end := time.Now().Add(stopLimit); !p.still(pr) && time.Now().Before(end); {
				time.Sleep(100 * time.Microsecond)
			}
			p.out.Send(protocol.Stopped, m)
		}()
	})
}

// still tells whether no thread of a process runs: each stands, or waits for
// home.
func (p *pod) still(pr *proc) bool {
	still := true
	err := p.tr.Do(func() {
		for _, th := range p.threadsOf(pr) {
			th.mu.Lock()
			waits := th.calling
			th.mu.Unlock()
			if !th.held && !waits && th.vfork == nil {
				still = false
			}
		}
	})
	return still || err != nil
}

// onContinue: the shadow runs again.
func (p *pod) onContinue(m protocol.ProcRef) {
	p.tr.Post(func() {
		delete(p.standing, m.Gen)
		pr := p.procOf(m)
		if pr == nil {
			return
		}
		pr.stopped = false
		for _, th := range p.threadsOf(pr) {
			if th.held && !th.standing && th.vfork == nil && !pr.standsStill() {
				th.held, th.delivering = false, nil
				p.cont(th, 0)
			}
		}
	})
}

// applyTempMask notes the temporary mask of ppoll and its like. The call goes
// home without it; here it decides which signals end the wait.
func (p *pod) applyTempMask(th *thread) {
	mask, ok := syscallfwd.TempSigmask(th.entry, th.args, memory(th.here))
	if !ok {
		return
	}
	th.mu.Lock()
	defer th.mu.Unlock()
	th.tempMask, th.hasTemp = mask, true
}

// endWait ends a thread's wait with a temporary mask if a signal is pending that
// the mask lets through. Whoever begins such a wait looks for signals after it
// has said so, and whoever queues a signal looks for waits after that.
func (p *pod) endWait(th *thread) {
	th.mu.Lock()
	waits := th.calling && th.hasTemp
	th.mu.Unlock()
	if !waits {
		return
	}
	st, err := linux.ReadStatus(th.here)
	if err != nil {
		return // it is dying
	}
	th.mu.Lock()
	ends := th.calling && th.hasTemp && (st.SigPnd|st.ShdPnd)&^th.tempMask != 0
	if ends {
		th.tempPending = true
	}
	seq := th.seq
	th.mu.Unlock()
	if ends {
		p.out.Send(protocol.Abandon, protocol.AbandonMessage{TID: th.tid, Seq: seq})
	}
}

// endWaits does so for those that may take a signal which they blocked when it
// was queued, to th or to the process.
func (p *pod) endWaits(pr *proc, th *thread, directed bool) {
	if directed {
		p.endWait(th)
		return
	}
	for _, th := range p.threadsOf(pr) {
		p.endWait(th)
	}
}

// suspend ends a wait with a temporary mask for a signal, which is queued
// already: the thread makes rt_sigsuspend(2) with that mask instead, so that
// its own kernel applies the mask, runs the handler, restores the mask and
// returns EINTR, all in one.
func (p *pod) suspend(th *thread) {
	p.tr.Post(func() {
		if err := p.suspendHere(th); err != nil && err != unix.ESRCH {
			p.log.Error("cannot deliver a signal under a temporary mask", "tid", th.tid, "err", err)
		}
	})
}

func (p *pod) suspendHere(th *thread) error {
	if deliverable(th.here) {
		// Its own mask lets a signal through as well: that one ends the wait.
		p.respond(th.notifID, -int64(unix.EINTR))
		return nil
	}
	ptr, ok := tempMaskAddr(th)
	if !ok {
		p.respond(th.notifID, -int64(unix.EINTR))
		return nil
	}
	if th.standing {
		th.standing, th.held = false, false
	} else {
		if err := linux.Interrupt(th.here); err != nil {
			return err
		}
		if !p.respond(th.notifID, -int64(unix.EINTR)) {
			return unix.ESRCH
		}
		if err := p.waitStop(th.here); err != nil {
			return err
		}
	}
	var saved linux.Regs
	if err := linux.GetRegs(th.here, &saved); err != nil {
		return err
	}
	regs := saved
	regs.Rip -= 2
	regs.Rax, regs.Orig_rax = unix.SYS_RT_SIGSUSPEND, ^uint64(0)
	regs.Rdi, regs.Rsi = ptr, 8
	if err := linux.SetRegs(th.here, &regs); err != nil {
		return err
	}
	th.suspended = &saved
	return linux.Cont(th.here, 0)
}

// tempMaskAddr is where in the guest's memory the temporary mask lies.
func tempMaskAddr(th *thread) (uint64, bool) {
	for i := range th.entry.Args {
		switch th.entry.Args[i].Kind {
		case syscallfwd.KindSigmaskTemp:
			return th.args[i], true
		case syscallfwd.KindSigmaskPair:
			var b [8]byte
			_, err := linux.ReadMemory(th.here, th.args[i], b[:])
			return le64(b[:]), err == nil
		}
	}
	return 0, false
}

// unsuspend gives a thread back the argument registers of the call that suspend
// replaced, before its handler's frame is built from them.
func (p *pod) unsuspend(th *thread) {
	saved := th.suspended
	th.suspended = nil
	var r linux.Regs
	if err := linux.GetRegs(th.here, &r); err != nil {
		return // it is dying
	}
	r.Rdi, r.Rsi = saved.Rdi, saved.Rsi
	if err := linux.SetRegs(th.here, &r); err != nil && err != unix.ESRCH {
		p.log.Error("set registers", "tid", th.tid, "err", err)
	}
}
