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
	pages := make([]byte, img.Image.PageBytes())
	if img.Bulk != 0 {
		if err := p.sess.BulkRecv(ctx, img.Bulk, pages); err != nil {
			return nil, fmt.Errorf("pages: %w", err)
		}
	}
	if err := p.load(&img.Image, pages, nil); err != nil {
		p.host.countHome("node cannot take it")
		return nil, err
	}
	return protocol.Empty{}, nil
}

// load makes a body from an image and lets it run. ln is the lane its leader
// uses; nil for a new one.
func (p *pod) load(im *checkpoint.Image, pages []byte, ln *lane) error {
	if err := im.Validate(); err != nil {
		return err
	}
	if uint64(len(pages)) != im.PageBytes() {
		return errors.New("image and pages do not fit")
	}
	for _, v := range im.VMAs {
		if v.Start < stubEnd && v.End > stubAddr {
			return fmt.Errorf("the program uses addresses %#x-%#x, which Homing needs", v.Start, v.End)
		}
	}
	files := make(map[int]int, len(im.Files))
	for i, f := range im.Files {
		fd, err := p.host.cache.get(p.sess, f)
		if err != nil {
			return fmt.Errorf("content of %s: %w", f.Path, err)
		}
		files[i] = fd
	}
	pr := &proc{pid: im.PID}
	for sig, a := range im.Actions {
		if sig >= 1 && sig <= 64 {
			pr.actions[sig] = a
		}
	}
	th := &thread{tid: im.PID, proc: pr, files: files, added: map[int]bool{}}
	if ln != nil {
		th.lane = ln
	} else if err := p.takeLane(th); err != nil {
		return err
	}
	var err error
	if doErr := p.tr.Do(func() { err = p.build(th, im) }); doErr != nil {
		return doErr
	}
	if err == nil {
		err = im.WritePages(th.here, pages)
	}
	if err == nil {
		if ln != nil {
			ln.thread.Store(th)
		}
		if doErr := p.tr.Do(func() { err = p.animate(th, im) }); doErr != nil {
			return doErr
		}
	}
	if err != nil {
		pr.mu.Lock()
		pr.replaced = true
		pr.mu.Unlock()
		if th.here != 0 {
			_ = unix.Kill(th.here, unix.SIGKILL) // ESRCH: gone already
		}
		return err
	}
	p.host.countGuest()
	p.takeEarly(im.PID)
	return nil
}

// build clones a body and rebuilds the image's address space in it. Tracer's
// thread. The body stands still afterwards.
func (p *pod) build(th *thread, im *checkpoint.Image) error {
	here, err := p.cloneBody(im.PID)
	if err != nil {
		return fmt.Errorf("new body: %w", err)
	}
	th.here, th.proc.body = here, here
	th.injecting.Store(true)
	p.register(th)
	maps, err := linux.Mappings(here)
	if err != nil {
		return err
	}
	place := &checkpoint.Place{
		TID: here, Body: p.body(),
		Keep:     []linux.Range{{Start: stubAddr, End: stubEnd}},
		VDSO:     vdsoOf(maps),
		OpenFile: func(i int) (int, []tracer.Call, error) { return i, nil, nil }, // see addFile
	}
	if err := im.RestoreMemory(place); err != nil {
		return err
	}
	if len(im.Files) > 0 {
		if _, err := place.Body.Inject(here, []tracer.Call{tracer.C(unix.SYS_CLOSE_RANGE, 0, uint64(^uint32(0)), 0)}); err != nil {
			return err
		}
	}
	if _, ok := im.Actions[int(unix.SIGCHLD)]; !ok {
		// The pod's first process, from which the body was cloned, ignores it.
		if im.Actions == nil {
			im.Actions = map[int]checkpoint.Action{}
		}
		im.Actions[int(unix.SIGCHLD)] = checkpoint.Action{}
	}
	if err := im.RestoreActions(place); err != nil {
		return err
	}
	p.applyLimits(th.proc, im.Limits)
	return nil
}

// animate gives the body its threads' states and lets it run. Tracer's thread.
func (p *pod) animate(th *thread, im *checkpoint.Image) error {
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
		time.Sleep(100 * time.Microsecond) // the number's last owner is still being reaped
	}
	if here == 0 {
		return 0, errors.New("clone event missing")
	}
	return here, waitStop(here)
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
	th.proc.sigHint.Store(true)
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

func (p *pod) requeue(th *thread, sigs []queued) {
	for _, q := range sigs {
		p.queueSignal(th, q.info, true)
		p.out.Send(protocol.SignalDone, protocol.SignalRef{ID: q.id})
	}
}
