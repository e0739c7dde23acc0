package shadow

import (
	"context"
	"errors"
	"fmt"
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
)

// departure is the source of a move: processes at home that become shadows. Until
// commit they can run on as they were (undo).
type departure struct {
	s       *Supervisor
	pids    []int
	group   []*departing
	began   time.Time
	watched bool // by us
}

// freeze stops the processes and describes them.
func (d *departure) freeze(context.Context) ([]carry.Frozen, error) {
	s := d.s
	early, err := checkpoint.EarlyFlags(d.pids[0])
	if err != nil {
		return nil, err
	}
	d.began = time.Now()
	found := checkpoint.Found{}
	if doErr := s.tr.Do(func() {
		if err = d.seizeAll(); err != nil {
			return
		}
		for i := 0; i < len(d.group); i++ {
			one := d.group[i]
			one.family, one.found = d.pids, found
			if i == 0 {
				one.early, one.img.Image.Watched = early, d.watched
			}
			err = s.capture(one)
			if err != nil && i > 0 && gone(one.p.pid, err) == unix.ESRCH { // it was killed
				s.undo(one)
				d.group = slices.Delete(d.group, i, i+1)
				i--
				continue
			}
			if err != nil {
				return
			}
			one.p.stopped = one.threads[0].stopped
		}
		err = nil
	}); doErr != nil {
		return nil, doErr
	}
	if err != nil {
		return nil, err
	}
	var out []carry.Frozen
	for _, one := range d.group {
		out = append(out, carry.Frozen{PID: one.p.pid, Proc: &one.img, Eager: carry.Eager(&one.img.Image)})
	}
	return out, fault.Point("home.leave.frozen")
}

// seizeAll stops the process and all that it shares memory with: those it shared
// with when the move was begun may have ended, and others may have been born.
// Tracer's thread.
func (d *departure) seizeAll() error {
	first := d.pids[0]
	d.pids = nil
	for {
		family, err := d.s.homeFamily(first)
		if err != nil {
			return err
		}
		fresh := slices.DeleteFunc(family, func(pid int) bool { return slices.Contains(d.pids, pid) })
		if len(fresh) == 0 {
			return nil // those who stand still have no more children
		}
		for _, pid := range fresh {
			d.pids = append(d.pids, pid)
			d.s.shared.guard.hurry(pid)
			err := movable(pid)
			if err == nil {
				var one *departing
				if one, err = d.s.seize(pid); one != nil && (err == nil || gone(pid, err) != unix.ESRCH) {
					d.group = append(d.group, one)
				}
			}
			if err != nil && (pid == first || gone(pid, err) != unix.ESRCH) {
				return err
			}
		}
	}
}

func (d *departure) procs() []protocol.ProcImage {
	var out []protocol.ProcImage
	for _, one := range d.group {
		out = append(out, one.img)
	}
	return out
}

func (d *departure) refs() protocol.ProcRefs {
	var refs protocol.ProcRefs
	for _, one := range d.group {
		refs.Procs = append(refs.Procs, one.p.ref())
	}
	return refs
}

// small is how much memory is given back at once, while the process stands still.
const small = 4 << 20

// commit turns the processes into shadows: from here on they are at the node. Who
// is killed meanwhile does not keep the others.
func (d *departure) commit(to *site, lazy bool) error {
	var dead protocol.ProcRefs
	var err error
	if doErr := d.s.tr.Do(func() { dead, err = d.becomeAll(to, lazy) }); doErr != nil {
		return doErr
	}
	if err == nil && len(dead.Procs) > 0 {
		d.s.tellNode(to, protocol.Gone, dead)
	}
	return err
}

// becomeAll is commit on the tracer's thread. After an error none is a shadow.
func (d *departure) becomeAll(to *site, lazy bool) (dead protocol.ProcRefs, err error) {
	var became, atHome []*departing
	for _, one := range d.group {
		later := lazy || one.img.Image.PageBytes() > small
		err := d.s.become(one, to, later)
		switch {
		case err == nil:
			became = append(became, one)
			if later {
				one.p.residue = &residue{p: one.p, maps: one.maps, served: make(chan struct{}), done: make(chan struct{})}
				one.left = one.p.residue
			}
			continue
		case !errors.Is(err, unix.ESRCH) && gone(one.p.pid, err) != unix.ESRCH:
			if len(became) == 0 {
				return dead, err
			}
			d.s.log.Error("process lost while it left", "pid", one.p.pid, "err", err)
			_ = unix.Kill(one.p.pid, unix.SIGKILL) // ESRCH: it is gone already
		case one.p.getState() == home: // else its end is noticed like that of any shadow
			atHome = append(atHome, one)
		}
		dead.Procs = append(dead.Procs, one.p.ref())
	}
	if len(became) == 0 {
		return dead, unix.ESRCH
	}
	for _, one := range atHome {
		d.s.undo(one)
	}
	d.group = became
	return dead, nil
}

func (d *departure) undo() {
	_ = d.s.tr.Do(func() { // ErrClosed: the job has ended
		for _, one := range d.group {
			d.s.undo(one)
		}
	})
}

// serve sends the memory that was left behind as it is asked for.
func (d *departure) serve(sent *carry.Sent, c *connection) {
	left := d.group[0].left
	go func() {
		defer close(left.served)
		defer c.conn.Close()
		if _, err := sent.Serve(c.at.sess.Context()); err != nil {
			d.s.log.Info("memory left behind was not fetched", "pid", left.p.pid, "err", err)
		}
	}()
}

// release gives back the memory that the processes have left behind.
func (d *departure) release(lazy bool) {
	for _, one := range d.group {
		if one.left == nil {
			continue
		}
		if !lazy {
			close(one.left.served)
		}
		go d.s.giveBack(one.left)
	}
}

// residue is the memory that a process had before it left: it is given back in
// pieces, while the shadow serves, and after it has been sent.
type residue struct {
	p      *process
	maps   []linux.Mapping
	served chan struct{} // nobody reads it any more
	done   chan struct{} // it is gone, or another program's
}

// awaitRelease waits until what a process has left behind is gone.
func (s *Supervisor) awaitRelease(ctx context.Context, p *process) error {
	var left *residue
	if err := s.tr.Do(func() { left = p.residue }); err != nil || left == nil {
		return err
	}
	select {
	case <-left.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// givenBack is how much memory is given back at a time: that takes the
// processor some milliseconds.
const givenBack = 32 << 20

var errBusy = errors.New("the thread is busy")

// giveBack unmaps a residue.
func (s *Supervisor) giveBack(left *residue) {
	defer close(left.done)
	<-left.served
	var calls []tracer.Call
	for _, m := range left.maps {
		if m.Path == "[vsyscall]" || overlapsAny(m, left.p.kept(left.maps)) {
			continue
		}
		for at := m.Start; at < m.End; at += givenBack {
			calls = append(calls, tracer.C(unix.SYS_MUNMAP, at, min(givenBack, m.End-at)))
		}
	}
	for len(calls) > 0 {
		n, bytes := 0, uint64(0)
		for n < len(calls) && (n == 0 || bytes+calls[n].Args[1] <= givenBack) && n < 256 {
			bytes += calls[n].Args[1]
			n++
		}
		err := s.borrowSoon(context.Background(), left.p, func(th *thread, body *tracer.Body) error {
			if left.p.residue != left {
				return errGone
			}
			_, err := body.Inject(th.tid, calls[:n])
			return err
		})
		if err != nil {
			if !errors.Is(err, errGone) && !errors.Is(err, unix.ESRCH) && !errors.Is(err, tracer.ErrClosed) {
				s.log.Debug("memory left behind not given back", "pid", left.p.pid, "err", err)
			}
			return
		}
		calls = calls[n:]
	}
	_ = s.tr.Do(func() { // ErrClosed: the job has ended
		if left.p.residue == left {
			left.p.residue = nil
		}
	})
}

var errGone = errors.New("it executes another program")

func overlapsAny(m linux.Mapping, rs []linux.Range) bool {
	for _, r := range rs {
		if m.Start < r.End && r.Start < m.End {
			return true
		}
	}
	return false
}

// borrow makes a thread of a shadow execute calls of ours, whatever call it is
// in: that goes on afterwards. The table lies in a slot of its own. Tracer's
// thread.
func (s *Supervisor) borrow(p *process, slot int, f func(th *thread, body *tracer.Body) error) error {
	th := s.toBorrow(p)
	if th == nil {
		return errBusy
	}
	if err := linux.Interrupt(th.tid); err != nil {
		return err
	}
	ws, err := s.tr.Wait(th.tid)
	if err != nil {
		return err
	}
	if linux.Event(ws) != linux.EventStop || ws.StopSignal() != unix.SIGTRAP {
		s.Event(th.tid, ws, nil) // the interruption is still to come, and changes nothing
		return errBusy
	}
	var regs linux.Regs
	if err := linux.GetRegs(th.tid, &regs); err != nil {
		return err
	}
	mask, err := tracer.BlockSignals(th.tid)
	if err != nil {
		return err
	}
	data := s.arena.data(slot)
	body := &tracer.Body{
		Stub: p.stub, Table: slotAddr(p.arena, slot) + 4096, Size: tableSize, Mem: data[:2*tableSize], Tracer: s.tr,
	}
	err = f(th, body)
	if e := linux.SetRegs(th.tid, &regs); e != nil {
		return e
	}
	if e := linux.SetSigmask(th.tid, mask); e != nil {
		return e
	}
	s.onEventStop(th, unix.SIGTRAP)
	return err
}

// toBorrow chooses a thread, one that waits for a request if there is one; nil if
// none can be interrupted now.
func (s *Supervisor) toBorrow(p *process) *thread {
	if p.stopped {
		return nil
	}
	var busy *thread
	for _, th := range s.of(p) {
		if th.held != 0 || th.stopSig != 0 || th.inListen || th.clone != nil || s.arena.slot(th.slot).Load() == vforkAnswered {
			continue
		}
		if th.seq.Load() == 0 {
			return th
		}
		busy = th
	}
	return busy
}

// borrowSoon borrows a thread as soon as that is possible.
func (s *Supervisor) borrowSoon(ctx context.Context, p *process, f func(th *thread, body *tracer.Body) error) error {
	slot, err := s.arena.alloc()
	if err != nil {
		return err
	}
	defer s.arena.release(slot)
	for {
		var err error
		if doErr := s.tr.Do(func() { err = s.borrow(p, slot, f) }); doErr != nil {
			return doErr
		}
		if !errors.Is(err, errBusy) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// userfaultIn makes a userfaultfd in a process at home, to see what it writes. It
// stops for a moment.
func (s *Supervisor) userfaultIn(pid int) (u transfer.Userfault, err error) {
	if doErr := s.tr.Do(func() { u, err = s.makeUserfault(pid) }); doErr != nil {
		return u, doErr
	}
	return u, err
}

func (s *Supervisor) makeUserfault(pid int) (u transfer.Userfault, err error) {
	if err := checkpoint.Unwatched(pid); err != nil {
		return u, err
	}
	t := &departingThread{th: &thread{tid: pid}}
	if err := linux.Seize(pid, 0); err != nil {
		return u, fmt.Errorf("trace process %d: %w", pid, err)
	}
	one := &departing{p: &process{pid: pid}, threads: []*departingThread{t}}
	defer s.undo(one)
	if err := linux.Interrupt(pid); err != nil {
		return u, err
	}
	if err := s.stopThread(t); err != nil {
		return u, err
	}
	if t.held, err = tracer.Hold(pid); err != nil {
		return u, err
	}
	native, err := tracer.NewNative(s.tr, pid)
	if err != nil {
		return u, err
	}
	res, err := native.Inject(pid, []tracer.Call{transfer.UserfaultCall(true, -1)})
	if err != nil {
		return u, fmt.Errorf("make a userfaultfd: %w", err)
	}
	pfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return u, err
	}
	defer unix.Close(pfd)
	fd, err := unix.PidfdGetfd(pfd, int(res[0]), 0)
	if _, e := native.Inject(pid, []tracer.Call{tracer.C(unix.SYS_CLOSE, res[0])}); e != nil && err == nil {
		unix.Close(fd)
		err = e
	}
	if err != nil {
		return u, fmt.Errorf("take the userfaultfd: %w", err)
	}
	return transfer.Userfault{FD: fd, UserOnly: true}, nil
}

// sketch describes a process that runs at home.
func (s *Supervisor) sketch(pid int) (*protocol.ProcImage, error) {
	p := s.adopt(pid)
	maps, err := linux.Mappings(pid)
	if err != nil {
		return nil, err
	}
	img := &protocol.ProcImage{Gen: p.gen}
	im := &img.Image
	im.PID, im.CPU, im.Watched = pid, p.began, true
	if err := im.CaptureMappings(pid, maps, nil, s.files.resolver(pid)); err != nil {
		return nil, err
	}
	return img, im.CaptureFlags(pid, nil)
}

// sharesFiles tells whether a process at home maps memory that is shared through
// files.
func sharesFiles(pid int) bool {
	maps, err := linux.Mappings(pid)
	if err != nil {
		return false
	}
	for _, m := range maps {
		if m.Shared && mayShare(m) {
			return true
		}
	}
	return false
}
