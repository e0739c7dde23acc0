package guest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/internal/tracer"
	"homing/signals"
)

func le64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// startProcess serves ProcStart: the first process of a job arrives.
func (p *pod) startProcess(ctx context.Context, img protocol.ProcImage) (any, error) {
	if err := p.host.admit(1); err != nil {
		p.dropPages(&img)
		return nil, err
	}
	pages, err := img.Image.MakePages()
	if err == nil && img.Bulk != 0 {
		err = p.sess.BulkRecv(ctx, img.Bulk, pages)
	}
	if err == nil {
		err = p.load(&img.Image, pages, nil)
	}
	if err != nil {
		if !endedMeanwhile(err) {
			p.host.countHome("node cannot take it")
		}
		return nil, err
	}
	return protocol.Empty{}, nil
}

// endedMeanwhile tells whether a body could not be made because its process was
// killed: that is no refusal.
func endedMeanwhile(err error) bool {
	var ended *tracer.EndedError
	return errors.As(err, &ended) || errors.Is(err, unix.ESRCH)
}

// load makes a body from an image and lets it run. If old is given, the image is
// of the program that this thread's process has just executed: its body is used
// again where that is possible, and its lane in any case.
func (p *pod) load(im *checkpoint.Image, pages []byte, old *thread) error {
	if old != nil {
		old.proc.stopPulling() // the old program's memory is nobody's now
	}
	if err := im.Validate(); err != nil {
		return err
	}
	if uint64(len(pages)) != im.PageBytes() {
		return errors.New("image and pages do not fit")
	}
	if err := p.acceptable(im); err != nil {
		return err
	}
	im.CPU.Features = nil // it has not looked at any: it begins here
	if err := im.CheckCPU(); err != nil {
		return err
	}
	files, err := p.filesOf(im)
	if err != nil {
		return err
	}
	var th *thread
	if doErr := p.tr.Do(func() {
		if th, err = p.takeBody(im, old); err == nil {
			th.files, th.added = files, map[int]bool{}
			p.order.Add(1)
			err = p.build(th, im)
		}
	}); doErr != nil {
		return doErr
	}
	if err == nil {
		err = im.WritePages(th.here, pages)
	}
	if err == nil {
		if doErr := p.tr.Do(func() { err = p.animate(th, im) }); doErr != nil {
			return doErr
		}
	}
	if err != nil {
		if th != nil { // home runs it, or ends it
			p.replace(th.proc)
		}
		return err
	}
	return nil
}

// acceptable tells whether this node can take an image.
func (p *pod) acceptable(im *checkpoint.Image) error {
	for _, v := range im.VMAs {
		if v.Start < stubEnd && v.End > stubAddr {
			return fmt.Errorf("the program uses addresses %#x-%#x, which Homing needs", v.Start, v.End)
		}
	}
	return nil
}

// filesOf gets the contents of the files that an image maps.
func (p *pod) filesOf(im *checkpoint.Image) (map[int]int, error) {
	files := make(map[int]int, len(im.Files))
	for i, f := range im.Files {
		fd, err := p.content(f, nil)
		if err != nil {
			return nil, fmt.Errorf("content of %s: %w", f.Path, err)
		}
		files[i] = fd
	}
	return files, nil
}

// takeBody finds the body for an image: that of the process which executed it
// if it is only that thread's, else a new one. It stands still, with all
// signals blocked, and its calls are ours. Tracer's thread.
func (p *pod) takeBody(im *checkpoint.Image, old *thread) (*thread, error) {
	if old != nil {
		ths := p.threadsOf(old.proc)
		if len(ths) == 1 && ths[0] == old && old.tid == im.PID && !old.proc.sharesVM {
			old.proc.setLoading(true)
			return old, p.strip(old, im)
		}
	}
	var ln *lane
	var used protocol.CPUTime
	if old != nil {
		ln = old.lane
		used = threadTime(old.proc.body, old.here).Plus(old.spent())
		im.Pending, im.Threads[0].Pending = p.takePending(old)
		p.killBody(old)
	}
	here, err := p.cloneBody(im.PID)
	if err != nil {
		return nil, fmt.Errorf("new body: %w", err)
	}
	th := &thread{tid: im.PID, here: here, proc: &proc{pid: im.PID, body: here, loading: true, parked: p.parked}}
	if old != nil {
		th.proc.gen = old.proc.gen
		th.before[0].Store(used.User)
		th.before[1].Store(used.System)
	}
	th.injecting.Store(true)
	if im.Actions == nil {
		im.Actions = map[int]checkpoint.Action{}
	}
	for sig, a := range im.Actions {
		if sig >= 1 && sig <= 64 {
			th.proc.actions[sig] = a
		}
	}
	if _, ok := im.Actions[int(unix.SIGCHLD)]; !ok {
		// The pod's first process, from which the body was cloned, ignores it.
		im.Actions[int(unix.SIGCHLD)] = checkpoint.Action{}
	}
	if ln != nil {
		th.lane = ln
		ln.thread.Store(th)
	} else if err := p.takeLane(th); err != nil {
		_ = unix.Kill(here, unix.SIGKILL) // ESRCH: gone already
		return nil, err
	}
	p.register(th)
	p.host.countGuest()
	return th, nil
}

// strip takes from a thread, which waits in its execve, what execve(2) takes
// from a process besides its memory: handlers, alternate stack, rseq, robust
// list, tid word, timers of timer_create, locked memory. Pending signals, limits
// and interval timers stay.
func (p *pod) strip(th *thread, im *checkpoint.Image) error {
	if err := linux.Interrupt(th.here); err != nil {
		return err
	}
	if !p.respond(th.notifID, 0) {
		return unix.ESRCH
	}
	if err := p.waitStop(th.here); err != nil {
		return err
	}
	th.injecting.Store(true)
	if _, err := tracer.BlockSignals(th.here); err != nil {
		return err
	}
	body := p.body()
	scratch := body.Table + uint64(body.Size)
	const ssDisable, rseqUnregister = 2, 1
	b := make([]byte, 64) // a default disposition, then a disabled stack_t
	binary.LittleEndian.PutUint32(b[40:], ssDisable)
	calls := []tracer.Call{
		tracer.C(unix.SYS_SIGALTSTACK, scratch+32, 0),
		tracer.C(unix.SYS_SET_ROBUST_LIST, 0, 24),
		tracer.C(unix.SYS_SET_TID_ADDRESS, 0),
		tracer.C(unix.SYS_MUNLOCKALL),
	}
	p.endPeaks(th.proc)
	calls = append(calls, p.dropTimers(th.proc)...)
	if rs, err := linux.GetRseq(th.here); err == nil && rs.Addr != 0 {
		calls = append(calls, tracer.C(unix.SYS_RSEQ, rs.Addr, uint64(rs.Size), rseqUnregister, uint64(rs.Signature)))
	}
	pr := th.proc
	pr.mu.Lock()
	for sig, a := range pr.actions {
		if a.Handler > signals.IgnoreHandler {
			calls = append(calls, tracer.C(unix.SYS_RT_SIGACTION, uint64(sig), scratch, 0, 8))
			pr.actions[sig] = checkpoint.Action{}
		}
	}
	pr.mu.Unlock()
	im.Actions = nil // what is ignored stays ignored
	th.suspended, th.wanted = nil, 0
	if err := body.WriteScratch(th.here, b); err != nil {
		return err
	}
	if _, err := body.Inject(th.here, calls); err != nil {
		return fmt.Errorf("strip the old program: %w", err)
	}
	return nil
}

// build rebuilds the image's address space in a body. Tracer's thread.
func (p *pod) build(th *thread, im *checkpoint.Image) error {
	here := th.here
	maps, err := linux.Mappings(here)
	if err != nil {
		return err
	}
	place := p.place(th, im, maps)
	if err := im.RestoreMemory(place); err != nil {
		return err
	}
	p.beginPeaks(th.proc)
	return p.finishBuild(th, im, place)
}

// rebuild changes a body under construction, whose mappings are those of another
// image of its process, to this one. It returns what is mapped anew. Tracer's
// thread.
func (p *pod) rebuild(th *thread, im, built *checkpoint.Image) ([]linux.Range, error) {
	maps, err := linux.Mappings(th.here)
	if err != nil {
		return nil, err
	}
	place := p.place(th, im, maps)
	fresh, err := im.Remap(place, built)
	if err != nil {
		return nil, err
	}
	return fresh, p.finishBuild(th, im, place)
}

// place describes a body to who rebuilds its memory.
func (p *pod) place(th *thread, im *checkpoint.Image, maps []linux.Mapping) *checkpoint.Place {
	return &checkpoint.Place{
		TID: th.here, Body: p.body(),
		Keep:     []linux.Range{{Start: stubAddr, End: stubEnd}},
		VDSO:     vdsoOf(maps),
		OpenFile: func(i int) (int, []tracer.Call, error) { return i, nil, nil }, // see addFile
		Object: func(v checkpoint.VMA) ([]tracer.Call, bool) {
			fd := objectFile(im, v.Object)
			if _, ok := th.files[fd]; !ok {
				return nil, false
			}
			return []tracer.Call{tracer.C(unix.SYS_MMAP, v.Start, v.End-v.Start, uint64(v.Prot), unix.MAP_SHARED|unix.MAP_FIXED, uint64(fd), v.Offset)}, true
		},
	}
}

func (p *pod) finishBuild(th *thread, im *checkpoint.Image, place *checkpoint.Place) error {
	if len(th.files) > 0 {
		if _, err := place.Body.Inject(th.here, []tracer.Call{tracer.C(unix.SYS_CLOSE_RANGE, 0, uint64(^uint32(0)), 0)}); err != nil {
			return err
		}
	}
	if err := im.RestoreActions(place); err != nil {
		return err
	}
	p.applyLimits(th.proc, im.Limits)
	return nil
}

// animate gives the body its threads' states and lets it run. Tracer's thread.
func (p *pod) animate(th *thread, im *checkpoint.Image) error {
	p.order.Load()
	t := &im.Threads[0]
	if err := t.RestoreThread(th.here, p.body()); err != nil {
		return err
	}
	th.files, th.added = nil, nil
	th.injecting.Store(false)
	for _, si := range im.Pending {
		p.queueSignal(th, si, false)
	}
	for _, si := range t.Pending {
		p.queueSignal(th, si, true)
	}
	p.order.Add(1)
	th.proc.setLoading(false)
	p.takeEarly(th.proc)
	th.proc.stopped = p.standing[th.proc.gen]
	if th.proc.standsStill() {
		th.held = true
		return nil
	}
	if err := linux.Cont(th.here, 0); err != nil {
		return fmt.Errorf("start body of process %d: %w", im.PID, err)
	}
	return nil
}

// cloneBody makes the first process clone a body with the given pid in the
// pod. The body is stopped, with all signals blocked.
func (p *pod) cloneBody(pid int) (int, error) {
	body := p.body()
	scratch := body.Table + uint64(body.Size)
	args := cloneArgs{exitSignal: uint64(unix.SIGCHLD), setTID: scratch + cloneArgsSize, setTIDSize: 1}
	b := binary.LittleEndian.AppendUint32(args.encode(), uint32(pid))
	var here int
	body.Event = func(tid, event int) {
		if msg, err := linux.GetEventMsg(tid); err == nil {
			here = int(msg)
		}
	}
	for attempt := 0; ; attempt++ {
		if err := body.WriteScratch(p.init, b); err != nil {
			return 0, err
		}
		_, err := body.Inject(p.init, []tracer.Call{tracer.C(unix.SYS_CLONE3, scratch, cloneArgsSize)})
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EEXIST) || attempt > 1000 {
			return 0, err
		}
		p.reapOne() // the number's last owner is still to be reaped, by us or by the pod's first process
		time.Sleep(20 * time.Microsecond)
	}
	if here == 0 {
		return 0, errors.New("clone event missing")
	}
	return here, p.waitStop(here)
}

const cloneArgsSize = 88

// cloneArgs is struct clone_args, see clone3(2).
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal uint64
	stack, stackSize, tls, setTID, setTIDSize     uint64
	cgroup                                        uint64
}

func (a *cloneArgs) encode() []byte {
	b := make([]byte, 0, cloneArgsSize+8)
	for _, v := range []uint64{a.flags, a.pidfd, a.childTID, a.parentTID, a.exitSignal, a.stack, a.stackSize, a.tls, a.setTID, a.setTIDSize, a.cgroup} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

// queueSignal puts a signal into the guest's kernel.
func (p *pod) queueSignal(th *thread, si signals.Info, directed bool) {
	defer th.proc.sigHint.Add(1)
	c := signals.Carry(si)
	var err error
	if directed {
		err = linux.QueueThreadSignal(th.proc.body, th.here, signals.Signo(&si), &c)
	} else {
		err = linux.QueueSignal(th.proc.body, signals.Signo(&si), &c)
	}
	if err != nil && err != unix.ESRCH {
		p.log.Error("queue signal", "pid", th.proc.pid, "tid", th.tid, "sig", signals.Signo(&si), "err", err)
	}
}

// requeue queues the signals that waited for a call to be given up, and those
// that have come since, in their order.
func (p *pod) requeue(th *thread, sigs []queued) {
	for len(sigs) > 0 {
		for _, q := range sigs {
			p.queueTo(th, q.info, q.directed)
			p.out.Send(protocol.SignalDone, protocol.SignalRef{ID: q.id})
		}
		th.mu.Lock()
		sigs = th.sigs
		th.sigs, th.requeuing = nil, len(sigs) > 0
		th.mu.Unlock()
	}
}
