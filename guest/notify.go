package guest

import (
	"errors"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/signals"
	"homing/syscallfwd"
)

// maxImage bounds a call's image; it must fit a slot of the home's arena.
const maxImage = 2<<20 - 4096

// callSeq numbers the calls of all lanes: a late answer never fits another call.
var callSeq atomic.Uint64

// notifyLoop is the pod's only reader of trapped calls. For a forwarded call it
// reads the arguments from the guest and writes one frame to the thread's lane;
// it never waits for an answer.
func (p *pod) notifyLoop() {
	defer close(p.notified)
	fds := []unix.PollFd{{Fd: int32(p.listener), Events: unix.POLLIN}}
	var n linux.Notif
	for {
		if _, err := linux.Poll(fds, -1); err != nil {
			p.log.Error("poll of the notification descriptor", "err", err)
			return
		}
		if fds[0].Revents&unix.POLLIN == 0 {
			return // POLLHUP: the pod is empty
		}
		switch err := linux.NotifReceive(p.listener, &n); err {
		case nil:
			p.trapped(&n)
		case unix.ENOENT: // the call was interrupted; it will come again
		default:
			p.log.Error("receive a trapped call", "err", err)
			return
		}
	}
}

// restart makes a thread leave its trapped call with a restart code. No program
// may see such a number, and the kernel acts on it only where it finds a reason
// to look for signals: the interruption is one.
func (p *pod) restart(th *thread, id uint64, code int64) {
	p.tr.Post(func() {
		th.restarting.Store(true)
		if !isStanding(id) {
			_ = linux.Interrupt(th.here) // ESRCH: it is dying
		}
		p.respond(id, code)
	})
}

// respond answers a trapped call with a result.
func (p *pod) respond(id uint64, ret int64) bool {
	if isStanding(id) {
		return p.respondStanding(id, ret)
	}
	r := linux.NotifResp{ID: id}
	if ret < 0 && ret >= -4095 {
		r.Error = int32(ret)
	} else {
		r.Val = ret
	}
	p.order.Add(1)
	return linux.NotifSend(p.listener, &r) == nil // ENOENT: the thread was killed
}

// pass lets the guest's own kernel execute a trapped call.
func (p *pod) pass(id uint64) bool {
	p.order.Add(1)
	return linux.NotifSend(p.listener, &linux.NotifResp{ID: id, Flags: linux.NotifContinue}) == nil // likewise
}

func (p *pod) trapped(n *linux.Notif) {
	p.order.Load()
	th := p.threadHere(int(n.PID))
	if th == nil || th.injecting.Load() {
		if th != nil && n.NR == unix.SYS_CLOCK_GETTIME { // none of ours: it is stepped out of the vDSO, see settle
			p.callClock(th, n)
			return
		}
		if th != nil && n.NR == unix.SYS_MMAP {
			p.addFile(th, n)
		}
		if th != nil && n.NR == unix.SYS_IOCTL && n.Args[0] == deviceFile {
			p.addDevice(th, n)
		}
		p.pass(n.ID)
		return
	}
	th.restarting.Store(false)
	if n.NR != unix.SYS_MMAP {
		th.mapped = 0
	}
	th.granted.Store(nil)
	th.mu.Lock()
	th.notifID, th.args, th.special, th.sigwait = n.ID, n.Args, nil, false
	th.entry = syscallfwd.Lookup(uint32(n.NR))
	th.done, th.more = 0, false
	th.hasTemp, th.tempPending = false, false
	th.mu.Unlock()
	if hint := th.proc.sigHint.Load(); th.sigSeen.Load() != hint {
		if deliverable(th.here) {
			// A signal came before the call began: its handler runs first, then
			// the call is made.
			p.restart(th, n.ID, -signals.ERESTARTNOINTR)
			return
		}
		th.sigSeen.Store(hint)
	}
	if th.proc.isFreezing() {
		p.restart(th, n.ID, -signals.ERESTARTNOINTR) // it stops on its way out
		return
	}
	if n.NR&trappedLocal != 0 && th.proc.watched.Load() {
		p.unkeepLocal(th, *n)
		return
	}
	if th.proc.kept.Load() != 0 && p.unkeep(th, *n) {
		return
	}
	p.route(th, n)
}

// deliverable tells whether a signal waits for a thread that does not block it.
func deliverable(tid int) bool {
	st, err := linux.ReadStatus(tid)
	return err == nil && (st.SigPnd|st.ShdPnd)&^st.SigBlk != 0
}

// addFile gives an injected mmap the descriptor it names.
func (p *pod) addFile(th *thread, n *linux.Notif) {
	i := int(int32(n.Args[4]))
	src, ok := th.files[i]
	if !ok || th.added[i] {
		return
	}
	if err := linux.NotifAddFD(p.listener, n.ID, src, i); err != nil {
		p.log.Error("give a file to a body", "err", err)
		return
	}
	th.added[i] = true
}

// addDevice gives an injected ioctl the device that it is made on.
func (p *pod) addDevice(th *thread, n *linux.Notif) {
	if err := linux.NotifAddFD(p.listener, n.ID, th.device, deviceFile); err != nil {
		p.log.Error("give a device to a body", "err", err)
	}
}

// route decides who serves a trapped call.
func (p *pod) route(th *thread, n *linux.Notif) {
	if th.entry == nil {
		p.bringHome(th, "system call "+itoa(int(n.NR)))
		return
	}
	if special := specials[n.NR]; special != nil {
		special(p, th, n)
		return
	}
	if th.entry.Class == syscallfwd.Repatriate {
		p.bringHome(th, th.entry.Name)
		return
	}
	if n.NR == unix.SYS_IOCTL && changesTerminal(uint32(n.Args[1])) {
		p.forwardTerminal(th)
		return
	}
	switch th.entry.Special {
	case "pselect", "ppoll", "epoll_pwait":
		p.applyTempMask(th)
		p.forward(th, th.args)
		p.endWait(th)
	default:
		p.forward(th, th.args)
	}
}

// forward marshals the thread's call and sends it home.
func (p *pod) forward(th *thread, args [6]uint64) {
	call, err := th.enc.Marshal(th.entry, int32(th.tid), args, memory(th.here), maxImage)
	if (errors.Is(err, syscallfwd.ErrTooBig) || err == nil && th.done > 0) && th.entry.Splittable() {
		call, th.part, th.more, err = th.enc.MarshalPart(th.entry, int32(th.tid), args, memory(th.here), maxImage, th.done)
	}
	if err != nil {
		p.bringHome(th, th.entry.Name+": "+err.Error())
		return
	}
	if th.deadline != 0 {
		call.SetTimeout(p.left(th.deadline))
		th.deadline = 0
	}
	p.send(th, call)
}

// forwardRaw sends a call without data.
func (p *pod) forwardRaw(th *thread, nr uint32, args [6]uint64, special func(*thread, *syscallfwd.Reply)) {
	th.special = special
	p.send(th, &syscallfwd.Call{TID: int32(th.tid), NR: nr, Args: args})
}

func (p *pod) send(th *thread, call *syscallfwd.Call) {
	seq := callSeq.Add(1)
	th.mu.Lock()
	if th.attach != 0 {
		seq, th.attach = th.attach, 0
		call.Flags |= protocol.CallAttach
	}
	call.Seq = seq
	th.call, th.seq, th.calling = call, seq, true
	lane := th.lane
	th.mu.Unlock()
	if lane == nil {
		return // the thread has ended
	}
	if th.proc.sigHint.Load() != th.sigSeen.Load() && deliverable(th.here) {
		// A signal came while the call was being prepared; see giveUpCall.
		p.out.Send(protocol.Abandon, protocol.AbandonMessage{TID: th.tid, Seq: seq})
	}
	th.wire = call.AppendBinary(th.wire[:0])
	p.host.countCall()
	if err := lane.l.WriteFrame(th.wire); err != nil {
		p.log.Debug("call not sent", "tid", th.tid, "err", err) // the session has ended, and with it the pod
	}
}

// serveLane answers trapped calls as their replies arrive.
func (p *pod) serveLane(ln *lane) {
	var r syscallfwd.Reply
	for {
		frame, err := ln.l.ReadFrame()
		if err != nil {
			return
		}
		if err := syscallfwd.ParseReply(frame, &r); err != nil {
			p.sess.Close("malformed reply: " + err.Error())
			return
		}
		p.signals.await(r.Signal, p.sess.Done())
		th := ln.thread.Load()
		if th == nil { // its thread has ended: free for another
			p.mu.Lock()
			if ln.draining {
				ln.draining = false
				p.lanes = append(p.lanes, ln)
			}
			p.mu.Unlock()
			continue
		}
		p.answer(th, ln, &r)
	}
}

// answer finishes a thread's pending call with home's reply, which came over ln.
func (p *pod) answer(th *thread, ln *lane, r *syscallfwd.Reply) {
	th.mu.Lock()
	if !th.calling || r.Seq != th.seq {
		th.mu.Unlock()
		return
	}
	sigs := th.sigs
	th.sigs, th.requeuing = nil, len(sigs) > 0
	special := th.special
	interrupted := r.Flags == 0 && (signals.IsRestart(r.Ret) || r.Ret == -int64(unix.EINTR))
	suspend := interrupted && th.hasTemp && (len(sigs) > 0 || th.tempPending)
	// Not begun, but it must look once before a pending signal ends it.
	look := th.tempPending && len(sigs) == 0 && r.Ret == -signals.ERESTARTNOINTR && !th.freezing
	suspend = suspend && !look
	given := signals.IsRestart(r.Ret) && r.Flags == 0 && len(sigs) == 0 && !th.freezing && !suspend
	queued := given && deliverable(th.here)
	again := given && !queued
	if !again {
		th.calling = false
	}
	id := th.notifID
	th.mu.Unlock()
	switch {
	case r.Flags&protocol.ReplyGone != 0:
		return // its body is about to be told
	case r.Flags&protocol.ReplyRepatriate != 0:
		p.requeue(th, sigs)
		p.bringHome(th, string(r.Outs))
		return
	case suspend:
		p.requeue(th, sigs)
		p.suspend(th)
		return
	case interrupted && th.freezing && len(sigs) == 0:
		p.restart(th, id, -signals.ERESTARTNOINTR)
		return
	case again: // given up for nothing: make it again
		p.send(th, th.call)
		if look {
			p.out.Send(protocol.Abandon, protocol.AbandonMessage{TID: th.tid, Seq: th.seq})
		}
		return
	case special != nil:
		p.requeue(th, sigs)
		if r.Flags == 0 && signals.IsRestart(r.Ret) { // not done: it will be made again
			p.restart(th, id, r.Ret)
			return
		}
		special(th, r)
		return
	}
	var ret int64
	if r.Flags&protocol.ReplyBulk != 0 {
		var err error
		if ret, err = p.receiveBulk(th, ln, r); err != nil {
			p.sess.Close(err.Error())
			return
		}
	} else {
		ret = th.call.Scatter(memory(th.here), r)
	}
	if th.more || th.done > 0 {
		var next bool
		if ret, next = th.nextPart(ret); next {
			p.requeue(th, sigs)
			p.forwardRest(th)
			return
		}
	}
	if ret == -signals.ERESTART_RESTARTBLOCK {
		ret = -signals.ERESTARTNOHAND // with a handler the same; the block is at home
	}
	p.requeue(th, sigs)
	if signals.IsRestart(ret) {
		p.restart(th, id, ret)
		return
	}
	p.respond(id, ret)
}

// nextPart adds up the parts of a large transfer; next means that the rest is
// to be made as well.
func (th *thread) nextPart(ret int64) (total int64, next bool) {
	if ret < 0 {
		if th.done > 0 {
			return int64(th.done), false
		}
		return ret, false
	}
	th.done += uint64(ret)
	return int64(th.done), uint64(ret) >= th.part && th.more
}

// forwardRest makes the next part of a large transfer. Writing goes on as the
// kernel would; reading only from what has an offset, because of a pipe, socket
// or terminal the kernel would have returned what there was.
func (p *pod) forwardRest(th *thread) {
	switch th.entry.Nr {
	case unix.SYS_READ, unix.SYS_READV:
	default:
		p.forward(th, th.args)
		return
	}
	p.forwardRaw(th, unix.SYS_LSEEK, [6]uint64{th.args[0], 0, unix.SEEK_CUR}, func(th *thread, r *syscallfwd.Reply) {
		th.special = nil
		if r.Ret < 0 {
			p.respond(th.notifID, int64(th.done))
			return
		}
		p.forward(th, th.args)
	})
}
