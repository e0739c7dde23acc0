package guest

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/internal/tracer"
	"homing/signals"
	"homing/syscallfwd"
)

// A signalfd is a descriptor, and so at home; what it reads must be pending
// there. Signals that it is for, and that all threads block, are kept at home:
// the shadow blocks them (proc.kept). When a thread is about to lift the block,
// for good or for a wait, the shadow lifts its own first: what waits there comes
// here like any other signal, and is pending when the guest's kernel executes
// the call.
//
// Calls that change a mask are the guest's kernel's own. Those of a process with
// a signalfd stop for the tracer, by a filter of its own, which its children
// inherit. There the call gets a number that is nobody's, so that it is trapped;
// when home has answered, it gets its own back and is made.

// trappedLocal marks the number of a local call that is to be trapped.
const trappedLocal = 1 << 21

// ownNumber gives a stopped thread's call its own number back. Tracer's thread.
func (p *pod) ownNumber(th *thread) {
	if !th.proc.watched.Load() {
		return
	}
	var r linux.Regs
	if linux.GetRegs(th.here, &r) != nil || int64(r.Orig_rax) < 0 || r.Orig_rax&trappedLocal == 0 {
		return
	}
	r.Orig_rax &^= trappedLocal
	_ = linux.SetRegs(th.here, &r) // ESRCH: it is dying
}

// onMaskCall handles the stop of a thread which is about to change its mask, or
// to wait for signals; it reports whether the call is now to be trapped.
// Tracer's thread.
func (p *pod) onMaskCall(th *thread, r *linux.Regs) bool {
	kept := th.proc.kept.Load()
	if kept == 0 || th.suspended != nil || th.injecting.Load() || kept&p.lifts(th, r) == 0 {
		return false
	}
	r.Orig_rax |= trappedLocal
	if linux.SetRegs(th.here, r) != nil {
		return false // it is dying
	}
	return true
}

// lifts is the set of signals that a local call would let through.
func (p *pod) lifts(th *thread, r *linux.Regs) uint64 {
	addr := r.Rdi
	if r.Orig_rax == unix.SYS_RT_SIGPROCMASK {
		addr = r.Rsi
	}
	var b [8]byte
	if _, err := linux.ReadMemory(th.here, addr, b[:]); err != nil {
		return 0 // the call will fail, or only ask
	}
	set := le64(b[:])
	switch {
	case r.Orig_rax == unix.SYS_RT_SIGTIMEDWAIT, r.Orig_rax == unix.SYS_RT_SIGPROCMASK && int32(r.Rdi) == unix.SIG_UNBLOCK:
		return set
	case r.Orig_rax == unix.SYS_RT_SIGSUSPEND, int32(r.Rdi) == unix.SIG_SETMASK:
		return ^set
	}
	return 0
}

// unkeepLocal serves a local call that onMaskCall has trapped.
func (p *pod) unkeepLocal(th *thread, n linux.Notif) {
	r := linux.Regs{
		Orig_rax: uint64(n.NR) &^ trappedLocal,
		Rdi:      n.Args[0], Rsi: n.Args[1],
	}
	again := func() { p.restart(th, n.ID, -signals.ERESTARTNOINTR) }
	if set := th.proc.kept.Load() & p.lifts(th, &r); set != 0 {
		p.lift(th, set, again)
		return
	}
	again()
}

// unkeep looks whether a thread has unblocked signals that are kept at home, or
// will while it waits in the trapped call n. That call follows after their
// handlers.
func (p *pod) unkeep(th *thread, n linux.Notif) bool {
	st, err := linux.ReadStatus(th.here)
	if err != nil {
		return false // it is dying
	}
	set := ^st.SigBlk
	if th.entry != nil {
		if mask, ok := syscallfwd.TempSigmask(th.entry, n.Args, memory(th.here)); ok {
			set |= ^mask
		}
	}
	if set &= th.proc.kept.Load(); set == 0 {
		return false
	}
	p.lift(th, set, func() {
		if deliverable(th.here) {
			p.restart(th, n.ID, -signals.ERESTARTNOINTR)
			return
		}
		th.special = nil
		p.route(th, &n)
	})
	return true
}

// lift has the shadow of a thread unblock signals that are kept at home. Those
// that wait there are taken over before then is called.
func (p *pod) lift(th *thread, set uint64, then func()) {
	pr := th.proc
	pr.lifting.Or(set)
	p.forwardRaw(th, unix.SYS_RT_SIGPROCMASK, [6]uint64{set}, func(th *thread, r *syscallfwd.Reply) {
		if !signals.IsRestart(r.Ret) {
			pr.kept.And(^set)
		}
		pr.lifting.And(^set)
		then()
	})
}

// keeps tells whether a signal that a signalfd is for is to wait at home.
func (p *pod) keeps(pr *proc, sig int, blocked bool) bool {
	return blocked && pr.lifting.Load()&signals.Bit(sig) == 0 && !p.waitsFor(pr)
}

// callSignalfd tells home which of the signals no thread can take now: they are
// kept there from the start.
func (p *pod) callSignalfd(th *thread, n *linux.Notif) {
	call, err := th.enc.Marshal(th.entry, int32(th.tid), n.Args, memory(th.here), maxImage)
	if err != nil {
		p.bringHome(th, th.entry.Name+": "+err.Error())
		return
	}
	var b [8]byte
	if _, err := linux.ReadMemory(th.here, n.Args[1], b[:]); err != nil || n.Args[2] != 8 {
		p.forward(th, n.Args) // to be refused
		return
	}
	set := le64(b[:]) &^ (signals.Bit(int(unix.SIGKILL)) | signals.Bit(int(unix.SIGSTOP)))
	for _, other := range p.threadsOf(th.proc) {
		st, err := linux.ReadStatus(other.here)
		if err != nil {
			continue // it is dying
		}
		set &= st.SigBlk
	}
	call.Args[4] = set
	th.special = func(th *thread, r *syscallfwd.Reply) {
		if r.Ret < 0 {
			p.respond(th.notifID, r.Ret)
			return
		}
		th.proc.kept.Or(set)
		p.watch(th, set, r.Ret)
	}
	p.send(th, call)
}

// watch prepares a process for its first signalfd, and sends home what has been
// waiting here for that. Then the thread's trapped call is answered with ret.
func (p *pod) watch(th *thread, set uint64, ret int64) {
	st, err := linux.ReadStatus(th.here)
	if err != nil {
		return // it is dying
	}
	waiting := (st.SigPnd|st.ShdPnd)&set != 0
	if isStanding(th.notifID) || !waiting && th.proc.watched.Load() {
		p.respond(th.notifID, ret)
		return
	}
	p.tr.Post(func() {
		if err := p.prepare(th, set, ret); err != nil && !endedMeanwhile(err) && !errors.Is(err, unix.ESRCH) {
			p.log.Error("process not prepared for a signalfd", "pid", th.proc.pid, "err", err)
		}
	})
}

func (p *pod) prepare(th *thread, set uint64, ret int64) error {
	if err := linux.Interrupt(th.here); err != nil {
		return err
	}
	if !p.respond(th.notifID, ret) {
		return unix.ESRCH
	}
	if err := p.waitStop(th.here); err != nil {
		return err
	}
	var saved linux.Regs
	if err := linux.GetRegs(th.here, &saved); err != nil {
		return err
	}
	mask, err := tracer.BlockSignals(th.here)
	if err != nil {
		return err
	}
	th.injecting.Store(true)
	if !th.proc.watched.Swap(true) {
		// If it fails, what is unblocked comes with the next forwarded call.
		err = p.installMaskCalls(th)
	}
	back := protocol.RequeueRequest{TID: th.tid}
	if infos, pendingErr := p.takeBack(th, set, false); pendingErr == nil {
		back.Own = infos
	}
	if infos, pendingErr := p.takeBack(th, set, true); pendingErr == nil {
		back.Shared = infos
	}
	if len(back.Own)+len(back.Shared) == 0 {
		return errors.Join(err, p.resume(th, &saved, mask))
	}
	go func() {
		if err := p.sess.Request(p.sess.Context(), protocol.Requeue, back, nil); err != nil {
			p.log.Error("signals lost that waited for a signalfd", "pid", th.proc.pid, "err", err)
		}
		p.tr.Post(func() {
			if err := p.resume(th, &saved, mask); err != nil && err != unix.ESRCH {
				p.log.Error("cannot resume body", "tid", th.tid, "err", err)
			}
		})
	}()
	return err
}

// takeBack takes signals that wait for a stopped thread, or for its process, and
// that all its threads block.
func (p *pod) takeBack(th *thread, set uint64, shared bool) ([][]byte, error) {
	pending, err := checkpoint.PendingSignals(th.here, shared)
	if err != nil {
		return nil, err
	}
	uncarryAll(pending)
	var infos [][]byte
	for i := range pending {
		if si := &pending[i]; set&signals.Bit(signals.Signo(si)) != 0 {
			th.proc.timerSignals.taken(si)
			infos = append(infos, si[:])
		}
	}
	// A thread's own come first, and in their order, as they are listed.
	body := p.body()
	scratch := body.Table + uint64(body.Size)
	wait := tracer.C(unix.SYS_RT_SIGTIMEDWAIT, scratch, 0, scratch+8, 8)
	if err := body.WriteScratch(th.here, append(binary.LittleEndian.AppendUint64(nil, set), make([]byte, 16)...)); err != nil {
		return nil, err
	}
	calls := make([]tracer.Call, len(infos))
	for i := range calls {
		calls[i] = wait
	}
	for len(calls) > 0 {
		taken, err := body.Inject(th.here, calls)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EAGAIN) {
			return nil, err
		}
		calls = calls[len(taken)+1:] // of a timer that has been stopped: the kernel drops it
	}
	return infos, nil
}

func (p *pod) installMaskCalls(th *thread) error {
	body := p.body()
	scratch := body.Table + uint64(body.Size)
	prog := maskCalls()
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(prog))) // struct sock_fprog
	b = binary.LittleEndian.AppendUint64(b, scratch+16)
	for _, ins := range prog {
		b = binary.LittleEndian.AppendUint16(b, ins.Code)
		b = append(b, ins.Jt, ins.Jf)
		b = binary.LittleEndian.AppendUint32(b, ins.K)
	}
	const setModeFilter = 1
	if err := body.WriteScratch(th.here, b); err != nil {
		return err
	}
	_, err := body.Inject(th.here, []tracer.Call{tracer.C(unix.SYS_SECCOMP, setModeFilter, unix.SECCOMP_FILTER_FLAG_TSYNC, scratch)})
	return err
}

// maskCalls is the filter: its answers are looked at together with the pod's,
// which has refused other architectures.
func maskCalls() []unix.SockFilter {
	const (
		load, equal, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
		allow, trace     = 0x7fff0000, 0x7ff00000
	)
	return []unix.SockFilter{
		{Code: load, K: 0}, // seccomp_data.nr
		{Code: equal, K: unix.SYS_RT_SIGPROCMASK, Jt: 1},
		{Code: equal, K: unix.SYS_RT_SIGSUSPEND, Jf: 1},
		{Code: ret, K: trace | 1},
		{Code: ret, K: allow},
	}
}
