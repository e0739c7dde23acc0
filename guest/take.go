package guest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/checkpoint/transfer"
	"homing/internal/carry"
	"homing/internal/fault"
	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/internal/tracer"
	"homing/signals"
	"homing/syscallfwd"
)

// Leaving this node, for home or for another one. Home orders it:
//
//  1. All threads of the process, and of those that share memory with it, are
//     asked to stop. A call that is pending at home stays pending there: home
//     keeps its answer (Hold), the thread is taken out of it. A call that is
//     half ours (clone, exec, a file mapping) is finished first.
//  2. Each stopped thread is put back to where it can go on without us: a local
//     call that was interrupted is rewound to its syscall instruction, a thread
//     inside the vDSO is stepped out of it.
//  3. The images are handed to home (Take). Until home says that the processes
//     run elsewhere (Gone) they are here, standing still; if the move fails they
//     run on (Thaw).

// freezeLimit bounds the wait for a process to stand still.
const freezeLimit = 10 * time.Second

// weigh serves Weigh.
func (p *pod) weigh(ctx context.Context, req protocol.ProcRef) (any, error) {
	pr := p.awaitBody(ctx, req)
	if pr == nil {
		return nil, fmt.Errorf("process %d is not on this node", req.PID)
	}
	var r protocol.WeighReply
	for _, m := range p.family(pr) {
		r.Bytes += checkpoint.PrivateBytes(m.body)
	}
	return r, nil
}

// take serves Take.
func (p *pod) take(ctx context.Context, req protocol.TakeRequest) (any, error) {
	pr := p.awaitBody(ctx, req.ProcRef)
	if pr == nil {
		return nil, fmt.Errorf("process %d is not on this node", req.PID)
	}
	for end := time.Now().Add(freezeLimit); pr != nil && pr.sharesVM && time.Now().Before(end); pr = p.procOf(req.ProcRef) {
		time.Sleep(200 * time.Microsecond) // until it executes a program, in a body of its own
	}
	if pr == nil {
		return nil, fmt.Errorf("process %d is not on this node", req.PID)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.mu.Lock()
	p.takes[req.Move] = cancel
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.takes, req.Move)
		p.mu.Unlock()
	}()
	m, conn, err := p.sending(ctx, &req)
	if errors.Is(err, errPeer) {
		return protocol.TakeReply{Unreached: err.Error()}, nil
	}
	if err != nil {
		return nil, err
	}
	if err := pr.complete(ctx); err != nil {
		m.close()
		return nil, err
	}
	t := &taking{pod: p, pr: pr, conn: conn}
	if t.early, err = checkpoint.EarlyFlags(pr.body); err != nil {
		m.close()
		return nil, err
	}
	if err := fault.Point("node.take.begin", conn); err != nil {
		m.close()
		return nil, err
	}
	s := &carry.Sender{
		Want: transfer.Strategy(req.Strategy), Ahead: req.To != nil, Alone: len(p.family(pr)) == 1 && !mapsShared(pr), PID: pr.body,
		Hidden: []linux.Range{{Start: stubAddr, End: stubEnd}},
		Options: transfer.Options{Rate: req.Rate, Progress: func(g transfer.Progress) {
			p.out.Send(protocol.Progress, protocol.ProgressMessage{Move: req.Move, Round: g.Round, Pages: g.Pages, Bytes: g.Bytes, Total: g.Total})
		}},
		Conditions: transfer.Conditions{
			Bytes: checkpoint.PrivateBytes(pr.body), Bandwidth: req.Bandwidth, Track: because(req.Track), Fault: because(req.Fault),
		},
		Userfault: t.userfault,
		Sketch:    func() (*protocol.ProcImage, error) { return p.sketch(pr) },
		Freeze:    t.freeze,
	}
	sent, err := s.Send(ctx, conn)
	if err == nil {
		err = fault.Point("node.take.sent", conn)
	}
	if err != nil {
		m.close()
		failed := protocol.TakeReply{Failed: err.Error()}
		for _, pr := range t.group {
			failed.Standing = append(failed.Standing, protocol.ProcRef{PID: pr.pid, Gen: pr.gen})
		}
		return failed, nil
	}
	reply := protocol.TakeReply{Procs: inShort(t.procs), Strategy: string(sent.Strategy), Note: sent.Note, Bandwidth: sent.Bandwidth, Rounds: protocol.RoundsOf(sent.Rounds)}
	if sent.Serve != nil {
		reply.Lazy = true
		pr.draining = make(chan struct{})
		go func() {
			defer close(pr.draining)
			if _, err := sent.Serve(m.ctx); err != nil {
				p.log.Warn("memory left behind was not fetched", "pid", pr.pid, "err", err)
			}
			m.close()
		}()
	} else {
		m.close()
	}
	p.out.Flush() // what was said of signals before must be known at home
	reply.Frozen = int64(time.Since(t.began))
	return reply, nil
}

// inShort is what home needs of processes to move them on: which calls they are
// in, and which shared files they map.
func inShort(procs []protocol.ProcImage) []protocol.ProcImage {
	short := make([]protocol.ProcImage, len(procs))
	for i := range procs {
		from, im := &procs[i].Image, &short[i].Image
		short[i].Gen = procs[i].Gen
		im.PID, im.Files = from.PID, from.Files
		for _, t := range from.Threads {
			im.Threads = append(im.Threads, checkpoint.Thread{TID: t.TID, Call: t.Call})
		}
	}
	return short
}

// bodyLimit bounds the wait for the body of a process that home knows already.
const bodyLimit = 5 * time.Second

// awaitBody finds a process; its body may still be in the making.
func (p *pod) awaitBody(ctx context.Context, ref protocol.ProcRef) *proc {
	for end := time.Now().Add(bodyLimit); ; {
		p.mu.RLock()
		pr, ended := p.procs[ref.PID], p.dead.has(ref.Gen)
		p.mu.RUnlock()
		if pr != nil && pr.gen == ref.Gen && !pr.isLoading() {
			return pr
		}
		if ended || ctx.Err() != nil || time.Now().After(end) {
			return nil
		}
		time.Sleep(200 * time.Microsecond)
	}
}

func because(why string) error {
	if why == "" {
		return nil
	}
	return errors.New(why)
}

// taking is a Take being served.
type taking struct {
	pod     *pod
	pr      *proc
	group   []*proc
	procs   []protocol.ProcImage
	early   []linux.MappingFlags
	began   time.Time
	watched bool // by us
	conn    net.Conn
}

// freeze stops the processes and describes them.
func (t *taking) freeze(ctx context.Context) ([]carry.Frozen, error) {
	p := t.pod
	t.began = time.Now()
	var err error
	if t.group, err = p.freezeGroup(ctx, t.pr); err != nil {
		return nil, err
	}
	var out []carry.Frozen
	live, found := false, checkpoint.Found{}
	for _, m := range t.group {
		early := t.early
		if m != t.pr {
			early = nil
		}
		im, err := p.capture(m, early, found, t.watched && m == t.pr)
		if err != nil {
			return nil, err
		}
		im.Clock = p.now()
		img := &protocol.ProcImage{Image: *im, Gen: m.gen, CPU: p.total(m), Shown: p.acct.besides(m.pid), Overruns: m.timerSignals.carry()}
		out = append(out, carry.Frozen{PID: m.body, Proc: img, Eager: carry.Eager(im)})
		bare := *img
		bare.Image.Pages = nil
		t.procs = append(t.procs, bare)
		for _, f := range im.Files {
			live = live || f.Live
		}
	}
	if live {
		if err := p.sess.Request(ctx, protocol.Settle, protocol.SettleRequest{Procs: t.procs}, &protocol.Empty{}); err != nil {
			return nil, err
		}
	}
	return out, fault.Point("node.take.frozen", t.conn)
}

// userfault makes a userfaultfd in the running process, to see what it writes:
// one of its threads stops for a moment.
func (t *taking) userfault() (u transfer.Userfault, err error) {
	p := t.pod
	ths := p.threadsOf(t.pr)
	if len(ths) == 0 {
		return u, unix.ESRCH
	}
	if err := checkpoint.Unwatched(t.pr.body); err != nil {
		return u, err
	}
	if doErr := p.tr.Do(func() {
		err = errCalls
		for _, th := range ths {
			if u, err = p.borrow(th); !errors.Is(err, errCalls) {
				return
			}
		}
	}); doErr != nil {
		return u, doErr
	}
	if errors.Is(err, errCalls) {
		u, err = t.pause()
	}
	t.watched = err == nil
	return u, err
}

// borrowLimit bounds the wait for a thread to stop that may be in a trapped call.
const borrowLimit = 5 * time.Millisecond

var errCalls = errors.New("the thread waits for home")

// pause makes a userfaultfd in a process all of whose threads wait for home: one
// must be taken out of its call for it.
func (t *taking) pause() (u transfer.Userfault, err error) {
	p := t.pod
	group, err := p.freezeGroup(context.Background(), t.pr)
	defer p.thaw(group)
	if err != nil {
		return u, err
	}
	if doErr := p.tr.Do(func() {
		th := p.leader(t.pr)
		if th == nil {
			err = unix.ESRCH
			return
		}
		if th.saved == nil {
			var held *tracer.Held
			if held, err = tracer.Hold(th.here); err != nil {
				return
			}
			th.saved = &savedState{held.Regs, held.Mask}
		}
		th.injecting.Store(true)
		if _, err = tracer.BlockSignals(th.here); err == nil {
			u, err = p.userfault(th, true)
		}
	}); doErr != nil {
		return u, doErr
	}
	return u, err
}

// borrow makes a userfaultfd in a body through a thread that runs, or stands in
// a local call. Tracer's thread.
func (p *pod) borrow(th *thread) (u transfer.Userfault, err error) {
	th.mu.Lock()
	calls := th.calling || th.wants
	th.mu.Unlock()
	if calls || th.held || th.vfork != nil {
		return u, errCalls
	}
	if err := linux.Interrupt(th.here); err != nil {
		return u, err
	}
	ws, err := p.tr.WaitFor(th.here, borrowLimit)
	if errors.Is(err, tracer.ErrSlow) { // it waits for us; once it stops it just goes on
		return u, errCalls
	}
	if err != nil {
		return u, err
	}
	if linux.Event(ws) != linux.EventStop {
		p.Event(th.here, ws, nil) // the interruption is still to come, and changes nothing
		return u, errCalls
	}
	held, err := tracer.Hold(th.here)
	if err != nil {
		return u, err
	}
	th.injecting.Store(true)
	if _, err = tracer.BlockSignals(th.here); err == nil {
		u, err = p.userfault(th, true)
	}
	th.injecting.Store(false)
	if e := held.Release(p.tr); e != nil && err == nil {
		err = e
	}
	if th.proc.standsStill() {
		th.held = true
		return u, err
	}
	p.cont(th, 0)
	return u, err
}

// thawed serves Thaw.
func (p *pod) thawed(_ context.Context, req protocol.ProcRefs) (any, error) {
	_ = fault.Point("node.thaw", p.cut())
	var group []*proc
	for _, ref := range req.Procs {
		if pr := p.procOf(ref); pr != nil { // else it has ended
			group = append(group, pr)
		}
	}
	p.thaw(group)
	return protocol.Empty{}, nil
}

// gone serves Gone.
func (p *pod) gone(_ context.Context, req protocol.ProcRefs) (any, error) {
	_ = fault.Point("node.gone", p.cut())
	for _, ref := range req.Procs {
		if pr := p.procOf(ref); pr != nil {
			p.leave(pr)
		}
	}
	return protocol.Empty{}, nil
}

// leave ends the body of a process that goes on elsewhere and forgets it at
// once: it may come back before the body is gone.
func (p *pod) leave(pr *proc) {
	pr.mu.Lock()
	pr.replaced, pr.freezing = true, true
	pr.mu.Unlock()
	p.acct.carry(pr.pid, protocol.CPUTime{})
	p.acct.show(pr.pid, protocol.CPUTime{})
	p.mu.Lock()
	if p.procs[pr.pid] == pr {
		delete(p.procs, pr.pid)
	}
	p.early = slices.DeleteFunc(p.early, func(m protocol.SignalMessage) bool { return m.PID == pr.pid && m.Gen == pr.gen }) // home sends them elsewhere
	for tid, th := range p.home {
		if th.proc == pr {
			delete(p.home, tid)
		}
	}
	p.mu.Unlock()
	pr.stopPulling()
	if pr.draining == nil {
		_ = unix.Kill(pr.body, unix.SIGKILL) // ESRCH: gone already
		return
	}
	go func() { // what it has left here is fetched as it is needed
		<-pr.draining
		_ = unix.Kill(pr.body, unix.SIGKILL) // ESRCH: gone already
	}()
}

// freezeGroup stops a process and those that share memory with it. What it has
// begun to freeze it returns, also with an error.
func (p *pod) freezeGroup(ctx context.Context, pr *proc) ([]*proc, error) {
	var group []*proc
	held := false
	for {
		// Once they stand still nobody is left who could have another child, or
		// who is about to map what they share.
		ended := func(m *proc) bool { return m != pr && len(p.threadsOf(m)) == 0 }
		// A child of vfork has its parent's memory: before that stands, it has
		// another program's.
		fresh := slices.DeleteFunc(p.family(pr), func(m *proc) bool {
			return slices.Contains(group, m) || ended(m) || m != pr && m.sharesVM
		})
		if len(fresh) == 0 && held {
			return slices.DeleteFunc(group, ended), nil
		}
		if len(fresh) == 0 {
			p.holdShared(group)
			held = true
			continue
		}
		for _, m := range fresh {
			m.mu.Lock()
			busy := m.freezing || m.arrived
			m.freezing = m.freezing || !busy
			shares := m.sharesVM
			m.mu.Unlock()
			if busy {
				return group, fmt.Errorf("process %d is moving already", m.pid)
			}
			group = append(group, m)
			if shares {
				return group, fmt.Errorf("process %d is between vfork and exec", m.pid)
			}
		}
		if err := p.freeze(ctx, fresh, pr); err != nil {
			return group, err
		}
	}
}

// family lists the processes that share anonymous memory with pr: they move
// together.
func (p *pod) family(pr *proc) []*proc {
	all := p.aboutToMap() // first: who has mapped it meanwhile is seen below
	p.mu.RLock()
	procs := make([]*proc, 0, len(p.procs))
	for _, m := range p.procs {
		procs = append(procs, m)
	}
	p.mu.RUnlock()
	for _, m := range procs {
		maps, err := linux.Mappings(m.body)
		if err != nil {
			continue // it is ending
		}
		for _, v := range maps {
			if v.Shared && checkpoint.IsSharedObject(v.Path) || sharesFile(v.Path) {
				if all[m] == nil {
					all[m] = map[uint64]bool{}
				}
				all[m][v.Ino] = true
			}
		}
	}
	in := []*proc{pr}
	for i := 0; i < len(in); i++ {
		for m, objects := range all {
			if slices.Contains(in, m) {
				continue
			}
			for o := range objects {
				if all[in[i]][o] {
					in = append(in, m)
					break
				}
			}
		}
	}
	return in
}

// freeze brings all threads of processes, marked as freezing, to a stop. All but
// the one that is needed may end meanwhile.
func (p *pod) freeze(ctx context.Context, group []*proc, needed *proc) error {
	deadline := time.Now().Add(freezeLimit)
	asked := map[*thread]bool{}
	for {
		var threads []*thread
		for _, pr := range group {
			of := p.threadsOf(pr)
			if len(of) == 0 && pr == needed {
				return fmt.Errorf("process %d ended meanwhile", pr.pid)
			}
			threads = append(threads, of...)
		}
		if err := p.askToStop(threads, asked); err != nil {
			return err
		}
		if err := p.detachCalls(ctx, threads); err != nil {
			return err
		}
		all := true
		if err := p.tr.Do(func() {
			for _, th := range threads {
				th.mu.Lock()
				calling := th.calling
				th.mu.Unlock()
				if !th.held || th.vfork != nil || calling {
					all = false
				}
			}
		}); err != nil {
			return err
		}
		if all {
			return nil
		}
		if time.Now().After(deadline) {
			p.tellMoving(threads)
			return fmt.Errorf("it did not stand still within %v", freezeLimit)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Microsecond):
		}
	}
}

// tellMoving logs why threads do not stand still.
func (p *pod) tellMoving(threads []*thread) {
	_ = p.tr.Do(func() { // ErrClosed: the pod is ending
		for _, th := range threads {
			th.mu.Lock()
			if !th.held || th.vfork != nil || th.calling {
				nr, flags := int64(-1), uint64(0)
				if th.call != nil {
					nr, flags = int64(th.call.NR), uint64(th.call.Flags)
				}
				p.log.Warn("thread does not stand still", "pid", th.proc.pid, "tid", th.tid, "held", th.held, "standing", th.standing,
					"calling", th.calling, "nr", nr, "flags", flags, "seq", th.seq, "kept", th.heldSeq, "special", th.special != nil,
					"signals", len(th.sigs), "deliverable", deliverable(th.here), "vfork", th.vfork != nil)
			}
			th.mu.Unlock()
		}
	})
}

func (p *pod) askToStop(threads []*thread, asked map[*thread]bool) error {
	return p.tr.Do(func() {
		for _, th := range threads {
			if !asked[th] {
				asked[th] = true
				th.mu.Lock()
				th.freezing = true
				th.mu.Unlock()
				if !th.held {
					_ = linux.Interrupt(th.here) // ESRCH: it is dying
				}
			}
			th.mu.Lock()
			wants, id := th.wants, th.notifID
			th.wants = false
			th.mu.Unlock()
			if wants {
				th.restarting.Store(true)
				p.respond(id, -signals.ERESTARTNOINTR)
			}
		}
	})
}

// detachable tells whether a thread's pending call can be left to itself at
// home: its answer concerns nothing but its result and the thread's memory, and
// no signal is about to end it.
func (p *pod) detachable(th *thread) (seq uint64, ok bool) {
	th.mu.Lock()
	calling, special, sigs, proc := th.calling, th.special != nil, len(th.sigs), th.call != nil && th.call.Flags&protocol.CallProc != 0
	seq = th.seq
	th.mu.Unlock()
	if !calling || special && !proc || sigs > 0 || deliverable(th.here) {
		return 0, false
	}
	return seq, true
}

// detachCalls takes threads out of their calls, which stay pending at home.
func (p *pod) detachCalls(ctx context.Context, threads []*thread) error {
	var req protocol.HoldRequest
	var in []*thread
	for _, th := range threads {
		if seq, ok := p.detachable(th); ok && th.heldSeq != seq {
			th.mu.Lock()
			attach := th.call != nil && th.call.Seq == seq && th.call.Flags&protocol.CallAttach != 0
			th.mu.Unlock()
			req.Calls = append(req.Calls, protocol.HeldCall{TID: th.tid, Seq: seq, Attach: attach})
			in = append(in, th)
		}
	}
	if len(in) == 0 {
		return nil
	}
	var reply protocol.HoldReply
	if err := p.sess.Request(ctx, protocol.Hold, req, &reply); err != nil {
		return err
	}
	if len(reply.Answered) != len(in) {
		return errors.New("malformed answer to hold")
	}
	for i, th := range in {
		th.heldSeq = req.Calls[i].Seq
		if !reply.Answered[i] {
			p.detach(th, req.Calls[i].Seq)
		}
	}
	return nil
}

// detach takes a thread out of its call, whose answer home keeps.
func (p *pod) detach(th *thread, seq uint64) {
	th.mu.Lock()
	if !th.calling || th.seq != seq {
		th.mu.Unlock()
		return
	}
	th.calling = false
	th.detached = &checkpoint.Call{Seq: seq, Done: th.done}
	th.hasTemp, th.tempPending = false, false
	id := th.notifID
	th.mu.Unlock()
	p.dropLane(th)
	if !isStanding(id) {
		p.restart(th, id, -signals.ERESTARTNOINTR)
	}
}

// dropLane closes a thread's lane: at home a call is being served on it.
func (p *pod) dropLane(th *thread) {
	p.mu.Lock()
	ln := th.lane
	th.lane = nil
	p.mu.Unlock()
	if ln == nil {
		return
	}
	ln.thread.Store(nil)
	ln.l.Close()
}

// thaw lets processes that were to leave run on.
func (p *pod) thaw(group []*proc) {
	p.freeShared()
	for _, pr := range group {
		p.goOn(pr)
	}
}

// goOn lets the threads of a process that stands still, because it was to leave
// or has arrived, run on: those that were
// taken out of a call attach to it again.
func (p *pod) goOn(pr *proc) {
	again := map[*thread]linux.Notif{}
	_ = p.tr.Do(func() { // ErrClosed: the pod is ending
		pr.mu.Lock()
		pr.freezing, pr.arrived = false, false
		pr.mu.Unlock()
		for _, th := range p.threadsOf(pr) {
			th.mu.Lock()
			th.freezing = false
			detached := th.detached != nil
			th.mu.Unlock()
			th.heldSeq = 0
			switch {
			case detached:
				if th.delivering != nil {
					p.queueSignal(th, *th.delivering, true)
					th.delivering = nil
				}
				n, err := p.stand(th)
				if err != nil {
					continue // it is dying
				}
				again[th] = n
			case th.delivering != nil, th.vfork != nil: // waits for home's decision, or for its child
				p.giveBack(th)
			case th.held:
				p.giveBack(th)
				if !pr.stopped && !pr.parked {
					th.held = false
					p.cont(th, 0)
				}
			}
		}
	})
	for th, n := range again {
		go p.reattach(th, &n)
	}
}

// giveBack restores what we have used of a thread. Tracer's thread.
func (p *pod) giveBack(th *thread) {
	if th.saved == nil {
		return
	}
	held := &tracer.Held{TID: th.here, Regs: th.saved.regs, Mask: th.saved.mask}
	if err := held.Release(p.tr); err != nil && !endedMeanwhile(err) {
		p.log.Error("thread not put back", "tid", th.tid, "err", err)
	}
	th.saved = nil
	p.noteLimit(th)
	th.injecting.Store(false)
}

// A thread that stands in a ptrace stop instead of a notification has a number
// of this kind for its trapped call: the kernel counts from a random number of
// 64 bits, so that one of its own is like it, and of a thread that stands, cannot
// be expected to happen.
const (
	standingCall = 0xa5c391e75b2d << 16
	standingMask = 1<<22 - 1 // room for a thread's number here, PID_MAX_LIMIT
)

func isStanding(id uint64) bool { return id&^standingMask == standingCall&^uint64(standingMask) }

// stand leaves a thread, which is in a call, standing until that has been
// answered. Tracer's thread.
func (p *pod) stand(th *thread) (linux.Notif, error) {
	p.giveBack(th)
	var r linux.Regs
	if err := linux.GetRegs(th.here, &r); err != nil {
		return linux.Notif{}, err
	}
	th.held, th.standing = true, true
	return linux.Notif{
		ID: standingCall&^uint64(standingMask) | uint64(th.here), PID: uint32(th.here), NR: int32(r.Orig_rax),
		Args: [6]uint64{r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8, r.R9},
	}, nil
}

// reattach makes the call again that a standing thread is in: home knows it by
// its number and hands over its answer.
func (p *pod) reattach(th *thread, n *linux.Notif) {
	if err := p.takeLane(th); err != nil {
		return // the session has ended, and with it the pod
	}
	th.mu.Lock()
	if th.freezing { // it is about to move on
		th.mu.Unlock()
		return
	}
	th.attach, th.done = th.detached.Seq, th.detached.Done
	th.detached, th.deadline = nil, 0
	th.notifID, th.args, th.special, th.sigwait = n.ID, n.Args, nil, false
	th.entry = syscallfwd.Lookup(uint32(n.NR))
	th.more, th.hasTemp, th.tempPending = false, false, false
	th.calling = true // so that whoever freezes it waits until it is made
	th.seq = 0
	th.mu.Unlock()
	th.mapped = 0
	p.route(th, n)
}

// respondStanding finishes the call of a standing thread.
func (p *pod) respondStanding(id uint64, ret int64) bool {
	th := p.threadHere(int(id & standingMask))
	if th == nil {
		return false
	}
	return p.tr.Post(func() {
		if !th.standing {
			return
		}
		th.standing = false
		var r linux.Regs
		if err := linux.GetRegs(th.here, &r); err != nil {
			return // it is dying
		}
		r.Rax = uint64(ret)
		if err := linux.SetRegs(th.here, &r); err != nil {
			return // likewise
		}
		if th.proc.standsStill() {
			return // it stands already
		}
		th.held = false
		p.cont(th, 0)
	})
}

// capture makes the image of a process that stands still.
func (p *pod) capture(pr *proc, early []linux.MappingFlags, found checkpoint.Found, watched bool) (*checkpoint.Image, error) {
	im := &checkpoint.Image{PID: pr.pid, CPU: pr.cpu, Watched: watched, Actions: map[int]checkpoint.Action{}}
	var err error
	if doErr := p.tr.Do(func() { err = p.captureThreads(pr, im, found) }); doErr != nil {
		return nil, doErr
	}
	if err != nil {
		return nil, err
	}
	brk := im.Layout.Brk
	maps, err := linux.Mappings(pr.body)
	if err != nil {
		return nil, err
	}
	hidden := []linux.Range{{Start: stubAddr, End: stubEnd}}
	if err := im.CaptureMemory(pr.body, maps, hidden, func(m linux.Mapping) (checkpoint.File, bool) {
		return p.mappedFile(pr, m)
	}); err != nil {
		return nil, err
	}
	im.Layout.Brk = brk
	if err := im.CaptureFlags(pr.body, early); err != nil {
		return nil, err
	}
	pr.mu.Lock()
	defer pr.mu.Unlock()
	im.Limits = cloneLimits(pr.limits)
	for sig, a := range pr.actions {
		if a.Handler != signals.DefaultHandler || a.Flags != 0 {
			im.Actions[sig] = a
		}
	}
	return im, nil
}

func (p *pod) captureThreads(pr *proc, im *checkpoint.Image, found checkpoint.Found) error {
	maps, err := linux.Mappings(pr.body)
	if err != nil {
		return err
	}
	vdso := vdsoOf(maps)
	for _, th := range p.threadsOf(pr) {
		t, err := p.captureThread(th, vdso, im)
		if err != nil {
			return err
		}
		im.Threads = append(im.Threads, t)
	}
	if err := checkpoint.FindShared(p.threadsOf(pr)[0].here, p.body(), maps, found); err != nil {
		return err
	}
	if im.Timers, err = p.captureTimers(pr); err != nil {
		return err
	}
	if im.Locks, err = checkpoint.CaptureLocks(pr.body, p.body()); err != nil {
		return err
	}
	if im.Pending, err = checkpoint.PendingSignals(pr.body, true); err != nil {
		return err
	}
	uncarryAll(im.Pending)
	return nil
}

func (p *pod) captureThread(th *thread, vdso []linux.Mapping, im *checkpoint.Image) (checkpoint.Thread, error) {
	th.mu.Lock()
	call := th.detached
	th.mu.Unlock()
	if th.saved == nil && call == nil {
		if err := p.settle(th, vdso); err != nil {
			return checkpoint.Thread{}, err
		}
	}
	t, err := checkpoint.CaptureThread(th.here)
	if err != nil {
		return t, err
	}
	if th.saved != nil {
		t.Regs, t.Mask = th.saved.regs, th.saved.mask
	}
	th.saved = &savedState{t.Regs, t.Mask}
	t.TID, t.Call, t.Delivering = th.tid, call, th.delivering
	used := threadTime(th.proc.body, th.here).Plus(th.spent())
	t.Used = [2]int64{used.User, used.System}
	if call == nil {
		if t.Regs.Orig_rax == unix.SYS_RESTART_SYSCALL {
			t.Regs.Orig_rax = unix.SYS_FUTEX // the only local call that the kernel goes on with by itself
		}
		t.Deadline = p.deadlineOf(th, &t.Regs)
		if int64(t.Regs.Orig_rax) == unix.SYS_RT_SIGTIMEDWAIT && int64(t.Regs.Rax) == -int64(unix.EINTR) && !deliverable(th.here) {
			code := int64(-signals.ERESTARTNOINTR)
			t.Regs.Rax = uint64(code)
		}
		rewind(&t.Regs)
		th.saved.regs = t.Regs
	}
	th.injecting.Store(true)
	if _, err := tracer.BlockSignals(th.here); err != nil {
		return t, err
	}
	var brk *uint64
	if th.tid == im.PID {
		brk = &im.Layout.Brk
	}
	if err := checkpoint.CaptureInjected(th.here, p.body(), &t, brk); err != nil {
		return t, err
	}
	uncarryAll(t.Pending)
	return t, nil
}

func uncarryAll(sigs []signals.Info) {
	for i := range sigs {
		signals.Uncarry(sigs[i][:])
	}
}

// rewind puts a thread that was stopped inside a system call back to its
// syscall instruction, as the kernel does to restart it.
func rewind(r *linux.Regs) {
	if int64(r.Orig_rax) >= 0 && signals.IsRestart(int64(r.Rax)) {
		r.Rax = r.Orig_rax
		r.Rip -= 2
	}
	r.Orig_rax = ^uint64(0)
}

// settle steps a thread out of the vDSO: what it has read there belongs to
// this node's time namespace.
func (p *pod) settle(th *thread, vdso []linux.Mapping) error {
	inside := func(rip uint64) bool {
		for _, m := range vdso {
			if m.Path == "[vdso]" && rip >= m.Start && rip < m.End {
				return true
			}
		}
		return false
	}
	var r linux.Regs
	if err := linux.GetRegs(th.here, &r); err != nil {
		return err
	}
	if !inside(r.Rip) {
		return nil
	}
	mask, err := tracer.BlockSignals(th.here)
	if err != nil {
		return err
	}
	th.injecting.Store(true) // a fallback call of the vDSO is the kernel's here
	for range 100000 {
		if err := linux.Step(th.here); err != nil {
			return err
		}
		if _, err := p.tr.Wait(th.here); err != nil {
			return err
		}
		if err := linux.GetRegs(th.here, &r); err != nil {
			return err
		}
		if !inside(r.Rip) {
			return linux.SetSigmask(th.here, mask)
		}
	}
	return errors.New("a thread does not leave the vDSO")
}
