package shadow

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/internal/tracer"
	"homing/signals"
	"homing/syscallfwd"
)

// Coming home: the shadow is filled with its guest's memory and threads' states
// again, stub and arena are dropped, and it is released. After that it is an
// ordinary process: no tracer, no filter, no forwarding.

// returning is a process on its way home.
type returning struct {
	p     *process
	img   *protocol.ProcImage
	pages []byte // nil if they have come otherwise
	// threads in the order of the image's
	threads []*thread
	late    []lateSignal
	reason  string
	// outcome of the call that each thread was in, nil if it was in none
	outcome []*syscallfwd.Reply
	// signals that the shadow has queued to its threads, and to itself
	own    [][]signals.Info
	shared []signals.Info
}

// lateSignal is a signal that the home kernel accepted and the pod has not taken.
type lateSignal struct {
	id       uint64
	tid      int
	directed bool
	info     signals.Info
}

func (s *Supervisor) receive(img *protocol.ProcImage) (*returning, error) {
	im := &img.Image
	if err := im.Validate(); err != nil {
		return nil, err
	}
	if err := im.CheckCPU(); err != nil {
		return nil, err
	}
	p := s.process(im.PID)
	if p == nil || p.getState() != away {
		return nil, fmt.Errorf("process %d is not away", im.PID)
	}
	r := &returning{p: p, img: img}
	for _, t := range im.Threads {
		th := s.thread(t.TID)
		if th == nil || th.proc != p {
			return nil, fmt.Errorf("process %d has no thread %d", im.PID, t.TID)
		}
		r.threads = append(r.threads, th)
	}
	if len(s.of(p)) != len(r.threads) {
		return nil, fmt.Errorf("process %d has %d threads here, %d came", im.PID, len(s.of(p)), len(r.threads))
	}
	return r, s.outsideArena(p, im)
}

// outsideArena refuses an image with memory where its shadow's arena is.
func (s *Supervisor) outsideArena(p *process, im *checkpoint.Image) error {
	hole := linux.Range{Start: p.stub, End: p.arena + arenaSize}
	for _, v := range im.VMAs {
		if v.Start < hole.End && hole.Start < v.End {
			return fmt.Errorf("process %d has memory where its shadow's arena is", im.PID)
		}
	}
	return nil
}

// rebuild fills the shadow with the guest's memory and state.
func (s *Supervisor) rebuild(r *returning, objects checkpoint.Objects) error {
	var err error
	if doErr := s.tr.Do(func() { _, err = s.rebuildMemory(r, objects, nil) }); doErr != nil {
		return doErr
	}
	if err != nil {
		return err
	}
	if err := r.img.Image.WritePages(r.p.pid, r.pages); err != nil {
		return err
	}
	if err := r.finishCalls(); err != nil {
		return err
	}
	if doErr := s.tr.Do(func() { err = s.rebuildThreads(r) }); doErr != nil {
		return doErr
	}
	return err
}

// built is what has been rebuilt already, nil if nothing; fresh is what was mapped
// anew then.
func (s *Supervisor) rebuildMemory(r *returning, objects checkpoint.Objects, built *checkpoint.Image) (fresh []linux.Range, err error) {
	for _, th := range r.threads {
		if err := s.halt(th, r); err != nil {
			return nil, err
		}
	}
	leader := r.threads[0]
	im := &r.img.Image
	body := s.body(leader)
	if fresh, err = s.mapMemory(r.p, leader, body, im, objects, built); err != nil {
		return nil, err
	}
	place := &checkpoint.Place{TID: leader.tid, Body: body}
	// Mirrored handlers that the guest no longer has.
	for sig := 1; sig <= 64; sig++ {
		if _, set := im.Actions[sig]; !set && r.p.caught&signals.Bit(sig) != 0 {
			if im.Actions == nil {
				im.Actions = map[int]checkpoint.Action{}
			}
			im.Actions[sig] = checkpoint.Action{}
		}
	}
	if err := im.RestoreActions(place); err != nil {
		return nil, err
	}
	if err := im.Timers.Restore(leader.tid, body, func(home int) int { return home }); err != nil {
		s.log.Warn("timers did not come home", "pid", im.PID, "err", err)
	}
	return fresh, nil
}

// mapMemory makes an image's mappings in a shadow through a stopped thread of it,
// or changes those built for another image. Tracer's thread.
func (s *Supervisor) mapMemory(p *process, leader *thread, body *tracer.Body, im *checkpoint.Image, objects checkpoint.Objects, built *checkpoint.Image) (fresh []linux.Range, err error) {
	maps, err := linux.Mappings(p.pid)
	if err != nil {
		return nil, err
	}
	undo, err := raiseLimit(p.pid, unix.RLIMIT_NOFILE)
	if err != nil {
		return nil, err
	}
	defer undo()
	fds, err := s.openFiles(leader, body, im, objects)
	if err != nil {
		return nil, err
	}
	place := &checkpoint.Place{
		TID: leader.tid, Body: body,
		Keep:     []linux.Range{{Start: p.stub, End: p.arena + arenaSize}},
		OpenFile: func(i int) (int, []tracer.Call, error) { return fds.file[i], nil, nil },
		Segment:  func(f checkpoint.File, v *checkpoint.VMA) []tracer.Call { return segmentCalls(p, maps, f, v) },
		Object: func(v checkpoint.VMA) ([]tracer.Call, bool) {
			fd, ok := fds.object[v.Object]
			if !ok {
				return nil, false
			}
			return []tracer.Call{tracer.C(unix.SYS_MMAP, v.Start, v.End-v.Start, uint64(v.Prot), unix.MAP_SHARED|unix.MAP_FIXED, uint64(fd), v.Offset)}, true
		},
	}
	for _, m := range maps {
		switch m.Path {
		case "[vvar]", "[vvar_vclock]", "[vdso]":
			place.VDSO = append(place.VDSO, m)
		}
	}
	if built != nil {
		fresh, err = im.Remap(place, built)
	} else {
		err = im.RestoreMemory(place)
	}
	if err != nil {
		return nil, err
	}
	var closes []tracer.Call
	for _, fd := range fds.all {
		closes = append(closes, tracer.C(unix.SYS_CLOSE, uint64(fd)))
	}
	_, err = body.Inject(leader.tid, closes)
	return fresh, err
}

// halt stops an idle shadow thread; a signal that arrives meanwhile is kept.
func (s *Supervisor) halt(th *thread, r *returning) error {
	if th.held != 0 || th.stopSig != 0 { // stands already, at a signal's delivery
		delete(s.heldBy, th.held) // what it is held for is not acknowledged yet, and goes along
		sig := th.stopSig
		th.held, th.stopSig = 0, 0
		_, err := tracer.BlockSignals(th.tid)
		if sig != 0 {
			_ = unix.Kill(th.tid, unix.Signal(sig)) // ESRCH: it is dying
		}
		return err
	}
	if err := linux.Interrupt(th.tid); err != nil {
		return fmt.Errorf("stop thread %d: %w", th.tid, err)
	}
	for {
		ws, err := s.tr.Wait(th.tid)
		if err != nil {
			return err
		}
		if linux.Event(ws) == linux.EventStop {
			_, err := tracer.BlockSignals(th.tid)
			return err
		}
		if linux.Event(ws) == 0 && ws.StopSignal() != unix.SIGTRAP {
			var info signals.Info
			if linux.GetSiginfo(th.tid, &info) == nil {
				s.signalID++
				r.late = append(r.late, lateSignal{id: s.signalID, tid: th.tid, directed: signals.Code(&info) == siTkill, info: info})
			}
		}
		if err := linux.Cont(th.tid, 0); err != nil {
			return err
		}
	}
}

// descriptors of files opened in a shadow for the mappings of an image.
type descriptors struct {
	file   map[int]int
	object map[uint64]int
	all    []int
}

// openFiles makes the shadow open the files that the image maps, through the
// supervisor's own descriptors: that works for removed files, too.
func (s *Supervisor) openFiles(leader *thread, body *tracer.Body, im *checkpoint.Image, objects checkpoint.Objects) (*descriptors, error) {
	d := &descriptors{file: map[int]int{}, object: map[uint64]int{}}
	own := "/proc/" + strconv.Itoa(os.Getpid()) + "/fd/"
	var paths []byte
	var calls []tracer.Call
	scratch := body.Table + uint64(body.Size)
	add := func(fd int, flags uint64) {
		calls = append(calls, tracer.C(unix.SYS_OPENAT, uint64(1<<64-100), scratch+uint64(len(paths)), flags|unix.O_CLOEXEC))
		paths = append(append(paths, own+strconv.Itoa(fd)...), 0)
	}
	for i, f := range im.Files {
		if f.Dev == checkpoint.SegmentDev {
			continue // see segmentCalls
		}
		if f.Live {
			fd, mode, err := s.sharedDescriptor(f)
			if err != nil {
				return nil, err
			}
			d.file[i] = len(calls)
			add(fd, uint64(mode))
			continue
		}
		fd, ok := s.files.descriptor(f)
		if !ok {
			return nil, fmt.Errorf("mapped file %s (inode %d) is not one this job opened", f.Path, f.Ino)
		}
		d.file[i] = len(calls)
		add(fd, unix.O_RDONLY)
	}
	for id, fd := range objects {
		d.object[id] = len(calls)
		add(fd, unix.O_RDWR)
	}
	if len(paths) > tableSize {
		return nil, fmt.Errorf("image maps too many files (%d)", len(im.Files))
	}
	if err := body.WriteScratch(leader.tid, paths); err != nil {
		return nil, err
	}
	res, err := body.Inject(leader.tid, calls)
	if err != nil {
		return nil, fmt.Errorf("open the mapped files: %w", err)
	}
	for i, n := range d.file {
		d.file[i] = int(res[n])
	}
	for id, n := range d.object {
		d.object[id] = int(res[n])
	}
	for _, fd := range res {
		d.all = append(d.all, int(fd))
	}
	return d, nil
}

// raiseLimit lifts a process's soft limit to its hard one, or, with the rights
// for it, away, so that our work on it does not fail for the program's limits.
func raiseLimit(pid, resource int) (undo func(), err error) {
	var old unix.Rlimit
	if err := unix.Prlimit(pid, resource, nil, &old); err != nil {
		return nil, fmt.Errorf("limits of process %d: %w", pid, err)
	}
	high := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if resource == unix.RLIMIT_NOFILE || unix.Prlimit(pid, resource, &high, nil) != nil {
		high = unix.Rlimit{Cur: old.Max, Max: old.Max}
		if err := unix.Prlimit(pid, resource, &high, nil); err != nil {
			return nil, fmt.Errorf("raise limit of process %d: %w", pid, err)
		}
	}
	return func() { _ = unix.Prlimit(pid, resource, &old, nil) }, nil // ESRCH: it is gone
}

// withMissed adds to the pending signals of timers how often those expired while
// the signals were pending away.
func withMissed(infos []signals.Info, overruns map[int32]protocol.Overrun) []signals.Info {
	infos = slices.Clone(infos)
	for i := range infos {
		si := &infos[i]
		if signals.Code(si) == siTimer {
			o := overruns[int32(binary.LittleEndian.Uint32(si[16:]))]
			binary.LittleEndian.PutUint32(si[20:], binary.LittleEndian.Uint32(si[20:])+uint32(o.Missed))
		}
	}
	return infos
}

// rebuildThreads gives all threads their state; they stay stopped, and can still
// be made a shadow's again.
func (s *Supervisor) rebuildThreads(r *returning) error {
	im := &r.img.Image
	for id, l := range s.unacked {
		if l.pid == r.p.pid {
			r.late = append(r.late, lateSignal{id, l.tid, l.directed, l.info})
			delete(s.unacked, id)
		}
	}
	slices.SortFunc(r.late, func(a, b lateSignal) int { return int(int64(a.id - b.id)) })
	for i, th := range r.threads {
		t := &im.Threads[i]
		pending := withMissed(t.Pending, r.img.Overruns)
		for _, l := range r.late {
			if l.directed && l.tid == th.tid {
				pending = append(pending, l.info)
			}
		}
		r.own = append(r.own, pending)
		if err := s.requeue(th, pending, true); err != nil {
			return err
		}
		if i == 0 {
			shared := withMissed(im.Pending, r.img.Overruns)
			for _, l := range r.late {
				if !l.directed {
					shared = append(shared, l.info)
				}
			}
			r.shared = shared
			if err := s.requeue(th, shared, false); err != nil {
				return err
			}
		}
		if t.Deadline != 0 {
			if err := s.waitOn(th, t); err != nil {
				return err
			}
		}
		if i > 0 {
			if _, err := s.body(th).Inject(th.tid, []tracer.Call{tracer.C(unix.SYS_GETTID)}); err != nil {
				return err // so that its last stop is a trap, see detach
			}
			if err := t.RestoreThread(th.tid, s.body(th)); err != nil {
				return err
			}
		}
	}
	leader := r.threads[0]
	if err := im.RestoreLocks(leader.tid, s.body(leader), true); err != nil {
		return err
	}
	t := &im.Threads[0]
	return t.RestoreThread(leader.tid, s.body(leader))
}

// dropStub unmaps stub and arena with a syscall instruction of the program's, and
// sets the leader's registers for good.
func (s *Supervisor) dropStub(leader *thread, t *checkpoint.Thread, actions map[int]checkpoint.Action) error {
	native, err := tracer.NewNative(s.tr, leader.proc.pid)
	if err != nil {
		return err
	}
	if err := linux.SetSigmask(leader.tid, ^uint64(0)); err != nil {
		return err
	}
	if err := s.ignoreTrap(leader, native, actions); err != nil {
		return err
	}
	if _, err := native.Inject(leader.tid, []tracer.Call{
		tracer.C(unix.SYS_MUNMAP, leader.proc.stub, leader.proc.arena+arenaSize-leader.proc.stub),
	}); err != nil {
		return fmt.Errorf("unmap the stub: %w", err)
	}
	if t.Delivering != nil {
		if err := native.Trap(leader.tid); err != nil {
			return err
		}
	}
	held := &tracer.Held{TID: leader.tid, Regs: t.Regs, Mask: t.Mask}
	return held.Release(s.tr)
}

// ignoreTrap has a process ignore SIGTRAP again, if it did: each trap of the stub
// ends that. It is done after the last one, while the stub is still there.
func (s *Supervisor) ignoreTrap(leader *thread, native *tracer.Native, actions map[int]checkpoint.Action) error {
	a := actions[int(unix.SIGTRAP)]
	if a.Handler != signals.IgnoreHandler {
		return nil
	}
	var b []byte
	for _, v := range []uint64{a.Handler, a.Flags, a.Restorer, a.Mask} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	body := s.body(leader)
	if err := body.WriteScratch(leader.tid, b); err != nil {
		return err
	}
	if _, err := native.Inject(leader.tid, []tracer.Call{
		tracer.C(unix.SYS_RT_SIGACTION, uint64(unix.SIGTRAP), body.Table+uint64(body.Size), 0, 8),
	}); err != nil {
		return fmt.Errorf("ignore SIGTRAP: %w", err)
	}
	return nil
}

// letGo releases a rebuilt process: it runs natively from here on.
func (s *Supervisor) letGo(r *returning) error {
	linux.AwaitClock(func() int64 { return linux.Clock(unix.CLOCK_MONOTONIC) }, r.img.Image.Clock)
	err := s.dropStub(r.threads[0], &r.img.Image.Threads[0], r.img.Image.Actions)
	r.p.limits = nil
	for i := len(r.threads) - 1; i >= 0; i-- {
		th, t := r.threads[i], &r.img.Image.Threads[i]
		if i > 0 && int64(t.Regs.Orig_rax) >= 0 { // the leader's is done, see dropStub
			held := &tracer.Held{TID: th.tid, Regs: t.Regs, Mask: t.Mask}
			if e := held.Release(s.tr); e != nil {
				err = e
			}
		}
		r.p.noteLimit(th.tid, t)
		if e := s.detach(th.tid, t.Delivering); e != nil && e != unix.ESRCH {
			err = fmt.Errorf("release thread %d: %w", th.tid, e)
		}
		s.remove(th.tid)
		s.dropThread(th)
	}
	r.p.began = r.img.Image.CPU
	s.isHome(r.p, r.reason, r.img.CPU)
	return err
}

// detach releases a thread. If it was about to take a signal, it takes it now:
// it stands in the delivery stop of our last trap, whose signal is replaced.
// Queueing would not do: the kernel hands out faults before our trap.
func (s *Supervisor) detach(tid int, info *signals.Info) error {
	if info == nil {
		return linux.Detach(tid, 0)
	}
	if err := linux.SetSiginfo(tid, info); err != nil {
		return err
	}
	return linux.Detach(tid, signals.Signo(info))
}

// watch notices the end of a process at home.
func (s *Supervisor) watch(p *process) {
	p.native.Store(true)
	if !p.watched.Swap(true) { // once for all its visits
		s.watchEnd(p)
	}
	if p.ended.Load() {
		s.processEnded(p)
	}
}

// watchEnd waits for the end of a process; while it is traced the tracer sees it.
func (s *Supervisor) watchEnd(p *process) {
	pfd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil { // ended already
		p.ended.Store(true)
		return
	}
	go func() {
		defer unix.Close(pfd)
		_, _ = linux.Poll([]unix.PollFd{{Fd: int32(pfd), Events: unix.POLLIN}}, -1)
		p.ended.Store(true)
		if p.native.Load() {
			s.processEnded(p)
		}
	}()
}

// isHome notes that a process runs natively and watches for its end.
func (s *Supervisor) isHome(p *process, reason string, cpu protocol.CPUTime) {
	if p.getState() == away {
		p.moves.Add(1)
	}
	p.setState(home)
	s.mu.Lock()
	p.reason = reason
	if cpu != (protocol.CPUTime{}) {
		p.cpu = cpu
	}
	s.mu.Unlock()
	s.log.Info("process is home", "pid", p.pid, "reason", reason)
	s.traceLog.note(p.pid, "+++ runs at home: %s +++", reason)
	s.watch(p)
	go s.processIsHome(p.pid)
}

// emptyAgain makes shadows again of processes that could not be rebuilt: their
// guests run on.
func (s *Supervisor) emptyAgain(back []*returning) {
	_ = s.tr.Do(func() { // ErrClosed: the job has ended
		for _, r := range back {
			if err := s.shadowAgain(r); err != nil {
				s.log.Error("shadow lost", "pid", r.p.pid, "err", err)
				_ = unix.Kill(r.p.pid, unix.SIGKILL) // ESRCH: it is gone already
				for _, th := range r.threads {
					s.cont(th, 0)
				}
			}
			for _, l := range r.late {
				s.unacked[l.id] = unackedSignal{r.p.pid, l.tid, l.directed, l.info}
			}
			r.beginAgain()
		}
	})
}

// shadowAgain takes back what rebuildMemory and rebuildThreads have done, all or
// a part of it. Tracer's thread.
func (s *Supervisor) shadowAgain(r *returning) error {
	im, leader := &r.img.Image, r.threads[0]
	for _, th := range r.threads {
		if _, err := tracer.BlockSignals(th.tid); err != nil {
			return err
		}
	}
	if err := s.takeBack(r); err != nil {
		return err
	}
	if err := im.Timers.Disarm(leader.tid, s.body(leader)); err != nil && !errors.Is(err, unix.EINVAL) { // not made yet
		return err
	}
	if err := checkpoint.DropLocks(leader.tid, s.body(leader)); err != nil {
		return err
	}
	for i, th := range r.threads {
		if err := s.forgetAddresses(th, im.Threads[i].Rseq); err != nil {
			return err
		}
	}
	maps, err := linux.Mappings(r.p.pid)
	if err != nil {
		return err
	}
	if err := s.empty(leader, im.Layout.ArgStart, maps); err != nil {
		return err
	}
	for _, th := range r.threads {
		if err := s.enterLoop(th); err != nil {
			return err
		}
		s.cont(th, 0)
	}
	return nil
}

// forgetAddresses has the kernel forget what it was told of a thread's memory.
func (s *Supervisor) forgetAddresses(th *thread, r linux.Rseq) error {
	if _, err := s.body(th).Inject(th.tid, []tracer.Call{
		tracer.C(unix.SYS_SET_ROBUST_LIST, 0, 24), tracer.C(unix.SYS_SET_TID_ADDRESS, 0),
	}); err != nil || r.Addr == 0 {
		return err
	}
	const unregister = 1
	_, err := s.body(th).Inject(th.tid, []tracer.Call{tracer.C(unix.SYS_RSEQ, r.Addr, uint64(r.Size), unregister, uint64(r.Signature))})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) { // it was not registered yet
		return nil
	}
	return err
}

// takeBack takes the signals out of a shadow that were queued for the process
// which it was to become: the guest has them, or will get them. Tracer's thread.
func (s *Supervisor) takeBack(r *returning) error {
	for i, own := range r.own {
		th := r.threads[i]
		waiting, err := s.waiting(th, ^uint64(0), false)
		if err != nil {
			return err
		}
		var shared []signals.Info
		if i == 0 {
			if shared, err = s.waiting(th, ^uint64(0), true); err != nil {
				return err
			}
		}
		if err := s.takeOut(th, slices.Concat(waiting, shared)); err != nil {
			return err
		}
		if err := s.queueHere(th, without(waiting, own), true); err != nil {
			return err
		}
		if err := s.queueHere(th, without(shared, r.shared), false); err != nil {
			return err
		}
	}
	return nil
}
