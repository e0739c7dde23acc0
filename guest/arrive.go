package guest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/fault"
	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/internal/tracer"
)

// Arriving at this node: bodies are built with all their threads, and stand
// still until home says that they run here (Run), or elsewhere (Gone).

// run serves Run.
func (p *pod) run(_ context.Context, req protocol.ProcRefs) (any, error) {
	p.sharedArrived()
	_ = fault.Point("node.run", p.cut())
	for _, ref := range req.Procs {
		pr := p.procOf(ref)
		if pr == nil { // it has ended, or was lost after it had arrived
			p.out.Send(protocol.Died, protocol.DiedMessage{PID: ref.PID, Gen: ref.Gen, Reason: "it was lost before it ran there"})
			continue
		}
		pr.setLoading(false)
		p.takeEarly(pr)
		p.goOn(pr)
	}
	return protocol.Empty{}, nil
}

// restoreThreads makes the threads of an image beside its leader and gives all
// their states; they stand still. Tracer's thread.
func (p *pod) restoreThreads(leader *thread, img *protocol.ProcImage, filled bool) error {
	linux.AwaitClock(p.now, img.Image.Clock)
	im := &img.Image
	p.order.Load()
	threads := []*thread{leader}
	for i := range im.Threads[1:] {
		th, err := p.cloneThread(leader, im.Threads[1+i].TID)
		if err != nil {
			return fmt.Errorf("make thread %d: %w", im.Threads[1+i].TID, err)
		}
		threads = append(threads, th)
	}
	if err := im.RestoreLocks(leader.here, p.body(), filled); err != nil {
		return err
	}
	if err := im.Timers.Restore(leader.here, p.body(), func(home int) int {
		for _, th := range threads {
			if th.tid == home {
				return th.here
			}
		}
		return leader.here
	}); err != nil {
		p.log.Warn("timers did not come along", "pid", im.PID, "err", err)
	}
	leader.proc.mu.Lock()
	leader.proc.timers.came(im.Timers.POSIX)
	leader.proc.mu.Unlock()
	for i, th := range threads {
		t := &im.Threads[i]
		if err := t.RestoreThread(th.here, p.body()); err != nil {
			return err
		}
		if t.Deadline != 0 {
			if err := p.waitOn(th, t); err != nil {
				return err
			}
		}
		th.saved = &savedState{t.Regs, t.Mask}
		th.delivering = t.Delivering
		if t.Call != nil {
			th.detached = t.Call
		}
		if _, err := tracer.BlockSignals(th.here); err != nil {
			return err
		}
	}
	for _, si := range im.Pending {
		p.queueSignal(leader, si, false)
	}
	for i, th := range threads {
		for _, si := range im.Threads[i].Pending {
			p.queueSignal(th, si, true)
		}
	}
	leader.files, leader.added = nil, nil
	leader.proc.timerSignals.came(im, img.Overruns)
	p.came(leader.proc, img.Shown, threads, im)
	return nil
}

// cloneThread makes a thread of a body under construction, stopped.
func (p *pod) cloneThread(leader *thread, tid int) (*thread, error) {
	body := p.body()
	scratch := body.Table + uint64(body.Size)
	a := cloneArgs{
		flags: unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD | unix.CLONE_SYSVSEM,
		stack: scratch + 4096, stackSize: 4096, // never used: its registers are replaced
		setTID: scratch + cloneArgsSize, setTIDSize: 1,
	}
	b := binary.LittleEndian.AppendUint32(a.encode(), uint32(tid))
	var here int
	body.Event = func(tid, event int) {
		if msg, err := linux.GetEventMsg(tid); err == nil {
			here = int(msg)
		}
	}
	for attempt := 0; ; attempt++ {
		if err := body.WriteScratch(leader.here, b); err != nil {
			return nil, err
		}
		_, err := body.Inject(leader.here, []tracer.Call{tracer.C(unix.SYS_CLONE3, scratch, cloneArgsSize)})
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EEXIST) || attempt > 1000 {
			return nil, err
		}
		p.reapOne()
	}
	if here == 0 {
		return nil, errors.New("clone event missing")
	}
	th := &thread{tid: tid, here: here, proc: leader.proc, held: true}
	th.injecting.Store(true)
	if err := p.waitStop(here); err != nil {
		return nil, err
	}
	if err := p.takeLane(th); err != nil {
		return nil, err
	}
	p.register(th)
	return th, nil
}

// objectFile is the number under which a body under construction finds the
// memfd of a shared object: behind those of the image's files.
func objectFile(im *checkpoint.Image, id uint64) int {
	n := len(im.Files)
	seen := map[uint64]bool{}
	for _, v := range im.VMAs {
		if v.Object == 0 || seen[v.Object] {
			continue
		}
		if v.Object == id {
			return n + len(seen)
		}
		seen[v.Object] = true
	}
	return -1 // not one of this image's
}
