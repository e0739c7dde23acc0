package guest

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/internal/tracer"
	"homing/signals"
	"homing/syscallfwd"
)

// A clone happens at home first: the shadow's own clone decides the child's
// number, parent and what it shares. Then the body is cloned here, by making
// the calling thread execute clone3 with that number; what concerns memory
// (stack, TLS, tid words) takes effect in that call.

// cloneRequest is a normalised clone, fork, vfork or clone3.
type cloneRequest struct {
	flags, stack, parentTID, childTID, tls uint64
	pidfd                                  uint64 // where the descriptor's number goes
	gen                                    uint64 // of the child, see protocol.ProcRef
}

// namespaceFlags ask for new namespaces: made at home natively.
const namespaceFlags = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// localCloneFlags are those that the body's clone takes. It is a child of the
// pod's first process whatever its parent at home is, and vfork's waiting is
// done by us.
const localCloneFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD |
	unix.CLONE_SYSVSEM | unix.CLONE_SETTLS | unix.CLONE_PARENT_SETTID | unix.CLONE_CHILD_CLEARTID | unix.CLONE_CHILD_SETTID

func (p *pod) callFork(th *thread, n *linux.Notif) {
	req := cloneRequest{flags: uint64(unix.SIGCHLD)}
	if n.NR == unix.SYS_VFORK {
		req.flags |= unix.CLONE_VM | unix.CLONE_VFORK
	}
	p.clone(th, req)
}

func (p *pod) callClone(th *thread, n *linux.Notif) {
	a := n.Args
	req := cloneRequest{flags: uint64(uint32(a[0])), stack: a[1], parentTID: a[2], childTID: a[3], tls: a[4]}
	if req.flags&unix.CLONE_PIDFD != 0 {
		if req.flags&unix.CLONE_PARENT_SETTID != 0 {
			p.respond(n.ID, -int64(unix.EINVAL))
			return
		}
		req.pidfd = a[2]
	}
	p.clone(th, req)
}

func (p *pod) callClone3(th *thread, n *linux.Notif) {
	size := n.Args[1]
	switch {
	case size < 64:
		p.respond(n.ID, -int64(unix.EINVAL))
		return
	case size > 4096:
		p.respond(n.ID, -int64(unix.E2BIG))
		return
	}
	raw := make([]byte, max(size, cloneArgsSize))
	if _, err := linux.ReadMemory(th.here, n.Args[0], raw[:size]); err != nil {
		p.respond(n.ID, -int64(unix.EFAULT))
		return
	}
	for _, b := range raw[cloneArgsSize:] {
		if b != 0 {
			p.respond(n.ID, -int64(unix.E2BIG))
			return
		}
	}
	w := func(i int) uint64 { return le64(raw[8*i:]) }
	const intoCgroup = 0x200000000
	req := cloneRequest{flags: w(0), pidfd: w(1), childTID: w(2), parentTID: w(3), tls: w(7)}
	exitSignal, stack, stackSize := w(4), w(5), w(6)
	switch {
	case w(8) != 0 || w(9) != 0 || req.flags&intoCgroup != 0 || req.flags>>32 != 0:
		p.bringHome(th, "clone3 with set_tid, cgroup or newer flags")
		return
	case req.flags&0xff != 0 || exitSignal > 64 ||
		req.flags&(unix.CLONE_THREAD|unix.CLONE_PARENT) != 0 && exitSignal != 0 ||
		(stack == 0) != (stackSize == 0):
		p.respond(n.ID, -int64(unix.EINVAL))
		return
	}
	if stack != 0 {
		req.stack = stack + stackSize
	}
	req.flags |= exitSignal
	p.clone(th, req)
}

func (p *pod) clone(th *thread, req cloneRequest) {
	if req.flags&unix.CLONE_VM == 0 && th.proc.mustComplete() {
		go func() { // a child could not fetch what is still elsewhere
			if err := th.proc.complete(p.sess.Context()); err == nil { // else it is about to be killed
				p.cloneComplete(th, req)
			}
		}()
		return
	}
	p.cloneComplete(th, req)
}

func (p *pod) cloneComplete(th *thread, req cloneRequest) {
	if req.flags&namespaceFlags != 0 {
		p.bringHome(th, "clone into new namespaces")
		return
	}
	call := &syscallfwd.Call{TID: int32(th.tid), NR: unix.SYS_CLONE, Args: [6]uint64{req.flags}}
	if req.flags&unix.CLONE_PIDFD != 0 {
		call.Args[2], call.ArgReloc = 0, 1<<2
		call.Data, call.Size = make([]byte, 8), 8
		call.Outs = []syscallfwd.Out{{Off: 0, Len: 4, Kind: syscallfwd.OutFixed}}
	}
	th.special = func(th *thread, r *syscallfwd.Reply) {
		if r.Ret <= 0 {
			p.respond(th.notifID, r.Ret)
			return
		}
		if req.flags&unix.CLONE_PIDFD != 0 && len(r.Outs) >= 16 {
			_, _ = linux.WriteMemory(th.here, req.pidfd, r.Outs[4:8]) // EFAULT: the kernel, too, has made the child by then
		}
		child := int(r.Ret)
		if n := len(r.Outs); n >= 8 {
			req.gen = le64(r.Outs[n-8:])
		}
		p.tr.Post(func() {
			if err := p.cloneGuest(th, &req, child); err != nil {
				p.childFailed(th, child, &req, err)
			}
		})
	}
	p.send(th, call)
}

// childFailed: there is a shadow without a guest.
func (p *pod) childFailed(th *thread, child int, req *cloneRequest, err error) {
	reason := "cannot clone its body: " + err.Error()
	var ended *tracer.EndedError
	if errors.As(err, &ended) || errors.Is(err, unix.ESRCH) {
		p.log.Debug("parent ended while forking", "tid", th.tid, "child", child)
		if req.flags&unix.CLONE_THREAD != 0 {
			return // with its whole process: there is a reason, and a status
		}
		reason = ""
	} else {
		p.log.Error("cannot clone body", "tid", th.tid, "child", child, "err", err)
	}
	died := protocol.DiedMessage{PID: child, Gen: req.gen, Reason: reason}
	if req.flags&unix.CLONE_THREAD != 0 {
		died.PID, died.Gen = th.proc.pid, th.proc.gen
	}
	p.out.Send(protocol.Died, died)
}

// cloneGuest clones the body of a thread that waits in its clone call.
// Tracer's thread.
func (p *pod) cloneGuest(th *thread, req *cloneRequest, childTID int) error {
	if err := linux.Interrupt(th.here); err != nil {
		return err
	}
	// It leaves the call with the child's number as result, and stops.
	if !p.respond(th.notifID, int64(childTID)) {
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
	child := &thread{tid: childTID, proc: th.proc}
	if req.flags&unix.CLONE_THREAD == 0 {
		child.proc = &proc{pid: childTID, gen: req.gen, cpu: th.proc.cpu, sharesVM: req.flags&unix.CLONE_VM != 0}
		child.proc.parked = p.parked && !child.proc.sharesVM
		th.proc.mu.Lock()
		child.proc.actions = th.proc.actions
		child.proc.limits = cloneLimits(th.proc.limits)
		child.proc.kept.Store(th.proc.kept.Load())
		child.proc.watched.Store(th.proc.watched.Load())
		th.proc.mu.Unlock()
	}
	here, cloneErr := p.injectClone(th, req, childTID)
	if cloneErr == nil {
		cloneErr = p.startChild(th, child, req, here, &saved, mask)
	}
	if cloneErr == nil && req.flags&unix.CLONE_VFORK != 0 {
		th.vfork = &vforkWait{child: childTID, regs: saved, mask: mask}
		th.injecting.Store(false)
		return nil
	}
	if err := p.resume(th, &saved, mask); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	return cloneErr // the child lives, whether the parent does or not
}

// resume lets a thread that we used go on where it was.
func (p *pod) resume(th *thread, regs *linux.Regs, mask uint64) error {
	if err := linux.SetRegs(th.here, regs); err != nil {
		return err
	}
	if err := linux.SetSigmask(th.here, mask); err != nil {
		return err
	}
	th.injecting.Store(false)
	if th.proc.standsStill() {
		th.held = true
		return nil
	}
	return linux.Cont(th.here, 0)
}

// injectClone makes the stopped thread execute clone3 and returns the child's
// number on this node.
func (p *pod) injectClone(th *thread, req *cloneRequest, childTID int) (int, error) {
	body := p.body()
	scratch := body.Table + uint64(body.Size)
	a := cloneArgs{
		flags: req.flags & localCloneFlags, parentTID: req.parentTID, childTID: req.childTID, tls: req.tls,
		setTID: scratch + cloneArgsSize, setTIDSize: 1,
	}
	if req.flags&unix.CLONE_THREAD == 0 {
		a.flags |= unix.CLONE_PARENT
	}
	if req.stack != 0 {
		a.stack, a.stackSize = req.stack-16, 16
	}
	b := binary.LittleEndian.AppendUint32(a.encode(), uint32(childTID))
	var here int
	body.Event = func(tid, event int) {
		if msg, err := linux.GetEventMsg(tid); err == nil {
			here = int(msg)
		}
	}
	th.injecting.Store(true)
	for attempt := 0; ; attempt++ {
		if err := body.WriteScratch(th.here, b); err != nil {
			return 0, err
		}
		_, err := body.Inject(th.here, []tracer.Call{tracer.C(unix.SYS_CLONE3, scratch, cloneArgsSize)})
		if err == nil {
			return here, nil
		}
		if !errors.Is(err, unix.EEXIST) || attempt > 1000 {
			return 0, err
		}
		p.reapOne() // the number's last owner is still to be reaped, perhaps by us
	}
}

// reapOne handles one event of another tracee, if there is one.
func (p *pod) reapOne() {
	var ws unix.WaitStatus
	var ru unix.Rusage
	if tid, err := linux.Wait(-1, &ws, unix.WNOHANG, &ru); err == nil && tid > 0 {
		p.Event(tid, ws, &ru)
	}
}

// startChild lets a new body go on where its parent is, with result 0.
func (p *pod) startChild(parent, child *thread, req *cloneRequest, here int, saved *linux.Regs, mask uint64) error {
	if here == 0 {
		return errors.New("clone event missing")
	}
	child.here = here
	if child.proc != parent.proc {
		child.proc.body = here
	}
	if err := p.waitStop(here); err != nil {
		return err
	}
	var own linux.Regs
	if err := linux.GetRegs(here, &own); err != nil {
		return err
	}
	regs := *saved
	regs.Rax, regs.Orig_rax = 0, ^uint64(0)
	if req.stack != 0 {
		regs.Rsp = req.stack
	}
	if req.flags&unix.CLONE_SETTLS != 0 {
		regs.Fs_base = own.Fs_base
	}
	if err := linux.SetRegs(here, &regs); err != nil {
		return err
	}
	if err := linux.SetSigmask(here, mask); err != nil {
		return err
	}
	if err := p.takeLane(child); err != nil {
		return err
	}
	p.register(child)
	if child.proc != parent.proc {
		p.host.countGuest()
		p.takeEarly(child.proc)
		child.proc.stopped = p.standing[child.proc.gen]
	}
	if child.proc.standsStill() {
		child.held = true
		return nil
	}
	return linux.Cont(here, 0)
}

// releaseVfork lets the parent of a vfork child go on, once the child has
// executed a program or ended. Tracer's thread.
func (p *pod) releaseVfork(child int) {
	p.mu.RLock()
	var parent *thread
	for _, th := range p.threads {
		if th.vfork != nil && th.vfork.child == child {
			parent = th
		}
	}
	p.mu.RUnlock()
	if parent == nil {
		return
	}
	v := parent.vfork
	parent.vfork = nil
	if err := p.resume(parent, &v.regs, v.mask); err != nil && err != unix.ESRCH {
		p.log.Error("cannot resume vfork parent", "tid", parent.tid, "err", err)
	}
}

// callExec executes a program at home. On success the reply is the new image;
// it gets a new body, which takes over the caller's lane.
func (p *pod) callExec(th *thread, n *linux.Notif) {
	entry := th.entry
	call, err := th.enc.Marshal(entry, int32(th.tid), n.Args, memory(th.here), maxImage)
	if err != nil {
		p.respond(n.ID, -int64(unix.E2BIG))
		return
	}
	st, err := linux.ReadStatus(th.here)
	if err != nil {
		return // it is dying
	}
	call.Args[5] = st.SigBlk
	th.special = func(th *thread, r *syscallfwd.Reply) {
		switch {
		case r.Flags&protocol.ReplyHome != 0:
			p.wentHome(th.proc, string(r.Outs))
			return
		case r.Flags&protocol.ReplyExec == 0:
			p.respond(th.notifID, r.Ret)
			return
		}
		outs := append([]byte(nil), r.Outs...)
		go func() {
			if err := p.exec(th, outs); err != nil {
				p.replace(th.proc)
				p.log.Error("cannot start program", "pid", th.proc.pid, "err", err)
				if !endedMeanwhile(err) {
					p.host.countHome("node cannot take it")
				}
				p.out.Send(protocol.Refused, protocol.DiedMessage{PID: th.proc.pid, Gen: th.proc.gen, Reason: err.Error()})
			}
		}()
	}
	p.send(th, call)
}

// wentHome ends the body of a process that executes a program at home.
func (p *pod) wentHome(pr *proc, reason string) {
	p.host.countHome(reason)
	p.replace(pr)
}

// replace ends a body whose process goes on elsewhere.
func (p *pod) replace(pr *proc) {
	pr.mu.Lock()
	pr.replaced = true
	pr.mu.Unlock()
	_ = unix.Kill(pr.body, unix.SIGKILL) // ESRCH: gone already
}

func (p *pod) exec(th *thread, outs []byte) error {
	if len(outs) < 4 || uint64(le32(outs)) > uint64(len(outs)-4) {
		return errors.New("malformed image")
	}
	n := le32(outs)
	var img protocol.ProcImage
	if err := json.Unmarshal(outs[4:4+n], &img); err != nil {
		return fmt.Errorf("malformed image: %w", err)
	}
	if img.Image.PID != th.proc.pid {
		return errors.New("image of another process")
	}
	if len(img.Image.Threads) == 0 {
		return errors.New("image without threads")
	}
	pages := outs[4+n:]
	if img.Bulk != 0 {
		var err error
		if pages, err = img.Image.MakePages(); err != nil {
			return err
		}
		if err := p.sess.BulkRecv(p.context(), img.Bulk, pages); err != nil {
			return err
		}
	}
	return p.load(&img.Image, pages, th)
}

// takePending collects the signals that wait in the old body of a process that
// has executed a new program, whose caller still waits in its execve: they stay
// pending, execve(2). Tracer's thread.
func (p *pod) takePending(caller *thread) (shared, own []signals.Info) {
	st, err := linux.ReadStatus(caller.here)
	if err != nil || st.SigPnd|st.ShdPnd == 0 {
		return nil, nil
	}
	if linux.Interrupt(caller.here) != nil || !p.respond(caller.notifID, 0) || p.waitStop(caller.here) != nil {
		return nil, nil // it is dying
	}
	if own, err = checkpoint.PendingSignals(caller.here, false); err == nil {
		shared, err = checkpoint.PendingSignals(caller.here, true)
	}
	if err != nil {
		p.log.Error("pending signals lost at exec", "pid", caller.proc.pid, "err", err)
	}
	uncarryAll(own)
	uncarryAll(shared)
	return shared, own
}

// killBody ends the old body of a process that has executed a new program; the
// lane of the calling thread lives on. Tracer's thread.
func (p *pod) killBody(caller *thread) {
	pr := caller.proc
	pr.mu.Lock()
	pr.replaced = true
	pr.mu.Unlock()
	p.acct.carry(pr.pid, p.total(pr))
	p.mu.Lock()
	caller.lane = nil
	p.mu.Unlock()
	if err := unix.Kill(pr.body, unix.SIGKILL); err != nil {
		return // gone already
	}
	for len(p.threadsOf(pr)) > 0 {
		var ws unix.WaitStatus
		var ru unix.Rusage
		tid, err := linux.Wait(-1, &ws, 0, &ru)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return
		}
		p.Event(tid, ws, &ru)
	}
}
