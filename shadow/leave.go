package shadow

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/internal/stub"
	"homing/internal/tracer"
	"homing/signals"
)

// onExec handles an exec stop: the new image leaves. It runs on the tracer's
// thread; what crosses the network is handed to the lane that forwarded the
// execve, or to the launcher.
func (s *Supervisor) onExec(th *thread) {
	former := th.tid
	th.proc.residue = nil // the old program's
	th.proc.images.Add(1)
	if msg, err := linux.GetEventMsg(th.tid); err == nil {
		former = int(msg)
	}
	caller := s.thread(former)
	if caller == nil {
		caller = th
	}
	caller.order.Load()
	// execve(2) ends all other threads; the caller takes the leader's number.
	for _, other := range s.of(th.proc) {
		if other != caller {
			s.remove(other.tid)
			s.dropThread(other)
		}
	}
	s.remove(caller.tid)
	caller.tid = th.proc.pid
	s.add(caller)
	th = caller
	if th.proc.getState() == starting {
		th.proc.setState(leaving)
	}
	res := s.leave(th)
	if th.hasEnded() {
		return // killed meanwhile; its lane knows
	}
	if res.err != nil {
		res.home = s.stayHome(th, res.err)
	}
	th.exec = res
	s.publish(th, execDone) // from here on th.exec is the lane's
	if res.err == nil {
		s.traceLog.note(th.tid, "+++ leaves for %s +++", th.proc.site().name)
		s.cont(th, 0)
	}
}

// stayHome lets a program that cannot leave run on natively, as if it had not
// been asked to. Nothing has been done to it yet. It reports why.
func (s *Supervisor) stayHome(th *thread, why error) string {
	if err := linux.Detach(th.tid, 0); err != nil && err != unix.ESRCH {
		s.log.Error("cannot release a program that stays at home", "pid", th.tid, "err", err)
	}
	s.remove(th.tid)
	th.gone.Store(true)
	s.describe(th.proc)
	s.log.Warn("program stays at home", "pid", th.tid, "err", why)
	reason := stayReason(why)
	s.isHome(th.proc, reason, protocol.CPUTime{})
	return reason
}

var errCompat = errors.New("32-bit program")

// stayReason says in a few words why a program could not leave at exec.
func stayReason(err error) string {
	switch {
	case errors.Is(err, errCompat):
		return errCompat.Error()
	case errors.Is(err, unix.ENOMEM):
		return "its limit on address space (ulimit -v) leaves no room for a shadow"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return "a program that its user may not read"
	}
	return "cannot leave: " + err.Error()
}

// execDone is a slot's state after a successful execve.
const execDone = 5

// leave captures a process of one thread standing at its exec stop and turns
// it into a shadow, not yet resumed.
func (s *Supervisor) leave(th *thread) *execResult {
	p := th.proc
	maps, err := linux.Mappings(p.pid)
	if err != nil {
		return &execResult{err: fmt.Errorf("read mappings of process %d: %w", p.pid, err)}
	}
	im := &checkpoint.Image{PID: p.pid}
	if err := im.CaptureMemory(p.pid, maps, nil, s.files.resolver(p.pid)); err != nil {
		return &execResult{err: err}
	}
	t, err := checkpoint.CaptureThread(th.tid)
	if err != nil {
		return &execResult{err: err}
	}
	const compatCS = 0x23
	if t.Regs.Cs == compatCS {
		return &execResult{err: errCompat}
	}
	t.Regs.Rax, t.Regs.Orig_rax = 0, ^uint64(0)
	t.Rseq = linux.Rseq{} // the kernel drops the old program's only after this stop
	t.Pending = nil       // signals pending here arrive as soon as the shadow runs
	im.Threads = []checkpoint.Thread{t}
	st, err := linux.ReadStatus(th.tid)
	if err != nil {
		return &execResult{err: err}
	}
	im.Actions = map[int]checkpoint.Action{}
	for sig := 1; sig <= 64; sig++ {
		if st.SigIgn&signals.Bit(sig) != 0 {
			im.Actions[sig] = checkpoint.Action{Handler: signals.IgnoreHandler}
		}
	}
	if err := im.CaptureLimits(p.pid); err != nil {
		return &execResult{err: err}
	}
	pages := make([]byte, im.PageBytes())
	if err := im.ReadPages(p.pid, pages); err != nil {
		return &execResult{err: err}
	}
	t.Mask = st.SigBlk
	p.caught, p.wanted, p.ignored = 0, 0, signals.DefaultIgnored|st.SigIgn
	p.ordered, p.leaderless = 0, false
	p.signalfd.Store(0)
	if err := s.park(th, im, maps); err != nil {
		return &execResult{err: fmt.Errorf("make it a shadow: %w", err)}
	}
	p.setState(away)
	p.began = checkpoint.CPU{}
	s.describe(p)
	return &execResult{image: &protocol.ProcImage{Image: *im}, pages: pages}
}

// describe notes what `homing ps` shows.
func (s *Supervisor) describe(p *process) {
	comm, argv := readComm(p.pid), readArgv(p.pid)
	s.mu.Lock()
	defer s.mu.Unlock()
	p.comm, p.argv = comm, argv
}

// park empties a process's address space but for the pages with its arguments
// and environment (so that ps stays right) and the vDSO, and points its only
// thread at the resident loop.
func (s *Supervisor) park(th *thread, im *checkpoint.Image, maps []linux.Mapping) error {
	p := th.proc
	t := &im.Threads[0]
	if _, err := tracer.BlockSignals(th.tid); err != nil {
		return err
	}
	place, err := freeRange(maps, gapSize+arenaSize)
	if err != nil {
		return err
	}
	p.stub, p.arena = place, place+gapSize

	// The first calls run from the program's own entry point, which is about
	// to be unmapped, with a table below its stack pointer.
	mem, err := os.OpenFile("/proc/"+strconv.Itoa(p.pid)+"/mem", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer mem.Close()
	boot := &tracer.Body{Stub: t.Regs.Rip, Table: (t.Regs.Rsp - 8192) &^ 15, Size: 4096, Tracer: s.tr}
	lower, err := raiseLimit(p.pid, unix.RLIMIT_AS)
	if err != nil {
		return err
	}
	defer lower()
	undo := make([]byte, stub.Trap+1)
	if _, err := linux.ReadMemory(p.pid, t.Regs.Rip, undo); err != nil {
		return fmt.Errorf("read the entry point: %w", err)
	}
	if _, err := mem.WriteAt(s.code[:stub.Trap+1], int64(t.Regs.Rip)); err != nil {
		return fmt.Errorf("write at the entry point: %w", err)
	}
	if _, err := boot.Inject(th.tid, []tracer.Call{
		tracer.C(unix.SYS_MMAP, p.stub, checkpoint.PageSize, unix.PROT_READ|unix.PROT_EXEC,
			unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED_NOREPLACE, ^uint64(0), 0),
		tracer.C(unix.SYS_SHMAT, uint64(s.arena.shm.ID), p.arena, 0),
	}); err != nil {
		_, _ = mem.WriteAt(undo, int64(t.Regs.Rip)) // fails only if it is dying
		_ = linux.SetRegs(th.tid, &t.Regs)
		_ = linux.SetSigmask(th.tid, t.Mask)
		return fmt.Errorf("map stub and arena (a limit on address space, ulimit -v, must leave room for 8 GiB of unused addresses): %w", err)
	}
	if _, err := mem.WriteAt(s.code, int64(p.stub)); err != nil {
		return fmt.Errorf("write the stub: %w", err)
	}
	if err := s.empty(th, im.Layout.ArgStart, maps); err != nil {
		return err
	}
	return s.enterLoop(th)
}

// empty unmaps what is not a shadow's: all but stub and arena, the page with the
// arguments, and the vDSO. th is one of its threads and stands still.
func (s *Supervisor) empty(th *thread, argStart uint64, maps []linux.Mapping) error {
	th.proc.keepArguments(argStart, maps)
	_, err := s.body(th).Inject(th.tid, checkpoint.Unmap(th.proc.kept(maps)))
	return err
}

// keepArguments notes where the page with the arguments is.
func (p *process) keepArguments(argStart uint64, maps []linux.Mapping) {
	p.keep = linux.Range{Start: argStart &^ (checkpoint.PageSize - 1)}
	for _, m := range maps {
		if p.keep.Start >= m.Start && p.keep.Start < m.End {
			p.keep.End = m.End
		}
	}
}

// kept is what a shadow keeps.
func (p *process) kept(maps []linux.Mapping) []linux.Range {
	keep := []linux.Range{{Start: p.stub, End: p.arena + arenaSize}}
	if p.keep.End > p.keep.Start {
		keep = append(keep, p.keep)
	}
	for _, m := range maps {
		switch m.Path {
		case "[vvar]", "[vvar_vclock]", "[vdso]":
			keep = append(keep, linux.Range{Start: m.Start, End: m.End})
		}
	}
	return keep
}

// shadowMask is what a shadow thread blocks while it runs our loop.
func (p *process) shadowMask(th *thread) uint64 {
	return p.ignored&^p.wanted | th.kept | p.left(th)
}

// enterLoop points a stopped thread at the resident loop with its own mask.
func (s *Supervisor) enterLoop(th *thread) error {
	var r linux.Regs
	if err := linux.GetRegs(th.tid, &r); err != nil {
		return err
	}
	r.Rip, r.Rbx = th.proc.stub+stub.Loop, th.loopAddr()
	r.Orig_rax = ^uint64(0)
	if err := linux.SetRegs(th.tid, &r); err != nil {
		return err
	}
	th.kept = 0
	return linux.SetSigmask(th.tid, th.proc.shadowMask(th))
}

// gapSize is how far the arena is from the stub. There shadows attach the shared
// memory segments of their guests, see segments.go.
const gapSize = 64 << 30

// freeRange finds room for size bytes. Programs place nothing themselves in
// the middle of the 47-bit space; the maps decide.
func freeRange(maps []linux.Mapping, size uint64) (uint64, error) {
	for at := uint64(0x2000_0000_0000); at < 0x5000_0000_0000; at += 1 << 36 {
		free := true
		for _, m := range maps {
			if m.Start < at+size && at < m.End {
				free = false
				break
			}
		}
		if free {
			return at, nil
		}
	}
	return 0, fmt.Errorf("no room for %d bytes in the address space", size)
}
