package guest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/internal/tracer"
)

// Arriving at this node: bodies are built with all their threads, and stand
// still until home says that they run here (Run), or elsewhere (Gone).

// arrive serves Arrive.
func (p *pod) arrive(ctx context.Context, req protocol.ArriveRequest) (any, error) {
	for {
		seq := callSeq.Load()
		if seq >= req.Seq || callSeq.CompareAndSwap(seq, req.Seq) {
			break
		}
	}
	if err := p.host.admit(len(req.Procs)); err != nil {
		for i := range req.Procs {
			p.dropPages(&req.Procs[i])
		}
		return nil, err
	}
	group := make([]*proc, 0, len(req.Procs))
	objects := podObjects{}
	defer objects.close()
	if err := objects.make(req.Procs); err != nil {
		return nil, err
	}
	for i := range req.Procs {
		pr, err := p.arriveOne(ctx, &req.Procs[i], objects)
		if err != nil {
			for _, m := range group {
				p.leave(m)
			}
			return nil, err
		}
		group = append(group, pr)
	}
	return protocol.Empty{}, nil
}

func (p *pod) arriveOne(ctx context.Context, img *protocol.ProcImage, objects podObjects) (*proc, error) {
	im := &img.Image
	pages, err := im.MakePages()
	if err == nil && img.Bulk != 0 {
		err = p.sess.BulkRecv(ctx, img.Bulk, pages)
	}
	if err != nil {
		return nil, err
	}
	if err := p.acceptable(im); err != nil {
		return nil, err
	}
	if err := im.CheckCPU(); err != nil {
		return nil, err
	}
	files, err := p.filesOf(im)
	if err != nil {
		return nil, err
	}
	for id, fd := range objects {
		files[objectFile(im, id)] = fd
	}
	var leader *thread
	if doErr := p.tr.Do(func() {
		if leader, err = p.takeBody(im, nil); err != nil {
			return
		}
		leader.proc.gen, leader.proc.cpu = img.Gen, im.CPU
		leader.proc.setArrived(true)
		leader.held = true
		leader.files, leader.added = files, map[int]bool{}
		p.acct.carry(im.PID, img.CPU)
		p.order.Add(1)
		err = p.build(leader, im)
	}); doErr != nil {
		return nil, doErr
	}
	if err == nil {
		err = im.WritePages(leader.here, pages)
	}
	if err == nil {
		if doErr := p.tr.Do(func() { err = p.restoreThreads(leader, im) }); doErr != nil {
			return nil, doErr
		}
	}
	if err != nil {
		if leader != nil {
			p.leave(leader.proc)
		}
		return nil, err
	}
	if img.Stopped {
		_ = p.tr.Do(func() { // ErrClosed: the pod is ending
			p.standing[img.Gen] = true
			leader.proc.stopped = true
		})
	}
	return leader.proc, nil
}

// run serves Run.
func (p *pod) run(_ context.Context, req protocol.ProcRefs) (any, error) {
	for _, ref := range req.Procs {
		pr := p.procOf(ref)
		if pr == nil || !pr.setArrived(false) {
			continue // it has ended
		}
		pr.setLoading(false)
		p.goOn(pr)
		p.takeEarly(pr)
	}
	return protocol.Empty{}, nil
}

// restoreThreads makes the threads of an image beside its leader and gives all
// their states; they stand still. Tracer's thread.
func (p *pod) restoreThreads(leader *thread, im *checkpoint.Image) error {
	p.order.Load()
	threads := []*thread{leader}
	for i := range im.Threads[1:] {
		th, err := p.cloneThread(leader, im.Threads[1+i].TID)
		if err != nil {
			return fmt.Errorf("make thread %d: %w", im.Threads[1+i].TID, err)
		}
		threads = append(threads, th)
	}
	if err := im.RestoreLocks(leader.here, p.body(), true); err != nil {
		return err
	}
	if err := im.Timers.Restore(leader.here, p.body()); err != nil {
		p.log.Warn("timers did not come along", "pid", im.PID, "err", err)
	}
	leader.proc.mu.Lock()
	for _, t := range im.Timers.POSIX {
		leader.proc.timers.made = max(leader.proc.timers.made, t.ID-firstCPUTimer+1)
	}
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

// podObjects are memfds, by object number, for memory that processes which
// arrive together share.
type podObjects map[uint64]int

func (o podObjects) make(procs []protocol.ProcImage) error {
	sizes := map[uint64]uint64{}
	for i := range procs {
		for _, v := range procs[i].Image.VMAs {
			if v.Object != 0 && v.End > v.Start {
				sizes[v.Object] = max(sizes[v.Object], v.Offset+v.End-v.Start)
			}
		}
	}
	for id, size := range sizes {
		fd, err := unix.MemfdCreate(checkpoint.SharedName, unix.MFD_CLOEXEC)
		if err != nil {
			return fmt.Errorf("shared memory: %w", err)
		}
		o[id] = fd
		if err := unix.Ftruncate(fd, int64(size)); err != nil {
			return fmt.Errorf("shared memory: %w", err)
		}
	}
	return nil
}

func (o podObjects) close() {
	for _, fd := range o {
		unix.Close(fd)
	}
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
