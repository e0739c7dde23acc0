package shadow

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/internal/tracer"
	"homing/signals"
)

// Leaving home at any instant. The process is seized with all its threads,
// captured, and built at the node while it stands still here. Only when that is
// done its body becomes the shadow; until then it can run on as it was.

// departing is a process on its way out.
type departing struct {
	p       *process
	family  []int              // all that leave together
	found   checkpoint.Found   // of what they share
	threads []*departingThread // the leader first
	img     protocol.ProcImage
	maps    []linux.Mapping
	booted  bool                 // stub and arena are mapped
	early   []linux.MappingFlags // nil, or read before it stood still
	texts   []procText           // files of /proc that it is reading
	ignored uint64
	caught  uint64
	left    *residue // what it has left behind
	fds     uint64   // signals that its signalfds read
}

type departingThread struct {
	th        *thread
	held      *tracer.Held
	swallow   []signals.Info // signals that came while it was being stopped
	rseq      linux.Rseq
	stopped   bool // by job control
	stopLater bool // a SIGSTOP came while it was being stopped
}

// stopLimit bounds the wait for a thread at home to stop: one that has vforked, or
// waits for a disk, does not.
const stopLimit = 2 * time.Second

// homeFamily lists the processes at home that share anonymous memory with pid,
// and pid.
func (s *Supervisor) homeFamily(pid int) ([]int, error) {
	objects := func(pid int) (map[uint64]bool, error) {
		maps, err := linux.Mappings(pid)
		if err != nil {
			return nil, gone(pid, fmt.Errorf("read mappings: %w", err))
		}
		var in map[uint64]bool
		for _, v := range maps {
			if key, ok := sharedKey(v); ok {
				if in == nil {
					in = map[uint64]bool{}
				}
				in[key] = true
			}
		}
		return in, nil
	}
	own, err := objects(pid)
	if err != nil || own == nil {
		return []int{pid}, err
	}
	t := s.ownProcesses()
	others := map[int]map[uint64]bool{}
	for other := range t.stats {
		if other == pid || !s.isNative(t, other) {
			continue
		}
		if in, err := objects(other); err == nil && in != nil {
			others[other] = in
		}
	}
	in, reached := []int{pid}, own
	for grown := true; grown; {
		grown = false
		for other, has := range others {
			if slices.Contains(in, other) {
				continue
			}
			for o := range has {
				if reached[o] {
					in, grown = append(in, other), true
					for o := range has {
						reached[o] = true
					}
					break
				}
			}
		}
	}
	return s.alsoOpen(in), nil
}

// gone gives ESRCH instead of an error that came because the process has ended.
func gone(pid int, err error) error {
	if st, e := linux.ReadStat("/proc/" + strconv.Itoa(pid) + "/stat"); e != nil || st.State == 'Z' || st.State == 'X' {
		return unix.ESRCH
	}
	return err
}

// movable refuses what cannot leave, with the reason.
func movable(pid int) error {
	dir := "/proc/" + strconv.Itoa(pid)
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return unix.ESRCH
	}
	for line := range strings.Lines(string(status)) {
		key, val, _ := strings.Cut(strings.TrimSpace(line), ":")
		val = strings.TrimSpace(val)
		switch key {
		case "State":
			switch val[0] {
			case 'Z', 'X':
				return unix.ESRCH
			case 't':
				return errors.New("another program traces it (a debugger, strace)")
			}
		case "TracerPid":
			if val != "0" {
				return fmt.Errorf("process %s traces it (a debugger, strace)", val)
			}
		case "Seccomp":
			if val != "0" {
				return errors.New("it has a seccomp filter, which holds at home only")
			}
		}
	}
	return nil
}

// seize stops all threads of a process. Tracer's thread.
func (s *Supervisor) seize(pid int) (*departing, error) {
	d := &departing{p: s.process(pid)}
	if d.p == nil {
		d.p = s.adopt(pid)
	}
	if d.p.getState() != home {
		return nil, fmt.Errorf("process %d is %v", pid, d.p.getState())
	}
	known := map[int]*departingThread{}
	for changed := true; changed; {
		changed = false
		tids, err := threadIDs(pid)
		if err != nil {
			return d, err
		}
		var fresh []*departingThread
		for _, tid := range tids {
			if known[tid] != nil {
				continue
			}
			if err := linux.Seize(tid, 0); err != nil {
				if err == unix.ESRCH {
					continue // it has ended, or is just ending: the list will show
				}
				return d, fmt.Errorf("trace thread %d: %w (does kernel.yama.ptrace_scope forbid it, or may its user not read the program?)", tid, err)
			}
			t := &departingThread{th: &thread{tid: tid, proc: d.p}}
			known[tid] = t
			d.threads = append(d.threads, t)
			fresh = append(fresh, t)
			changed = true
			if err := linux.Interrupt(tid); err != nil && err != unix.ESRCH {
				return d, fmt.Errorf("stop thread %d: %w", tid, err)
			}
		}
		for _, t := range fresh {
			err := s.stopThread(t)
			if ended := (*tracer.EndedError)(nil); errors.As(err, &ended) && t.th.tid != pid {
				delete(known, t.th.tid) // it was about to end
				d.threads = slices.DeleteFunc(d.threads, func(o *departingThread) bool { return o == t })
				continue
			}
			if err != nil {
				return d, fmt.Errorf("stop thread %d: %w", t.th.tid, err)
			}
		}
	}
	slices.SortFunc(d.threads, func(a, b *departingThread) int {
		switch pid {
		case a.th.tid:
			return -1
		case b.th.tid:
			return 1
		}
		return a.th.tid - b.th.tid
	})
	if len(d.threads) == 0 || d.threads[0].th.tid != pid {
		return d, unix.ESRCH
	}
	if sharesMemory(pid) { // has vforked meanwhile
		return d, errVfork
	}
	return d, nil
}

var errVfork = errors.New("it is between vfork and exec")

// sharesMemory tells whether another process uses the memory of a process: a
// vfork child uses its parent's until it executes a program or ends.
func sharesMemory(pid int) bool {
	others := childrenOf(pid)
	if st, err := linux.ReadStat("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil {
		others = append(others, st.PPID)
	}
	for _, other := range others {
		if other > 1 && linux.SameMemory(pid, other) {
			return true
		}
	}
	return false
}

// childrenOf lists a process's children.
func childrenOf(pid int) []int {
	tids, err := threadIDs(pid)
	if err != nil {
		return nil
	}
	var kids []int
	for _, tid := range tids {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + strconv.Itoa(tid) + "/children")
		if errors.Is(err, os.ErrNotExist) { // a kernel without CONFIG_PROC_CHILDREN, or it has ended
			return readProcesses().kids[pid]
		}
		for _, word := range strings.Fields(string(b)) {
			if kid, err := strconv.Atoi(word); err == nil {
				kids = append(kids, kid)
			}
		}
	}
	return kids
}

// stopThread waits until a seized thread stands. Signals that come first are
// kept: they are made again when it runs on, here or as a shadow.
func (s *Supervisor) stopThread(t *departingThread) error {
	for {
		ws, err := s.tr.WaitFor(t.th.tid, stopLimit)
		if errors.Is(err, tracer.ErrSlow) {
			s.loose[t.th.tid] = true
		}
		if err != nil {
			return err
		}
		if linux.Event(ws) == linux.EventStop {
			t.stopped = ws.StopSignal() != unix.SIGTRAP
			return nil
		}
		if linux.Event(ws) == 0 && ws.StopSignal() == unix.SIGSTOP {
			t.stopLater = true
		} else if linux.Event(ws) == 0 {
			var info signals.Info
			if linux.GetSiginfo(t.th.tid, &info) == nil {
				t.swallow = append(t.swallow, info)
			}
		}
		if err := linux.Cont(t.th.tid, 0); err != nil {
			return err
		}
	}
}

func threadIDs(pid int) ([]int, error) {
	entries, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	if err != nil {
		return nil, unix.ESRCH
	}
	var tids []int
	for _, e := range entries {
		if tid, err := strconv.Atoi(e.Name()); err == nil {
			tids = append(tids, tid)
		}
	}
	return tids, nil
}

// capture makes the image of a seized process. Tracer's thread.
func (s *Supervisor) capture(d *departing) error {
	p, leader := d.p, d.threads[0]
	for _, t := range d.threads { // from here on it could not go on without us
		if err := linux.SetOptions(t.th.tid, unix.PTRACE_O_EXITKILL); err != nil {
			return err
		}
	}
	maps, err := linux.Mappings(p.pid)
	if err != nil {
		return fmt.Errorf("read mappings: %w", err)
	}
	var vdso []linux.Mapping
	for _, m := range maps {
		if m.Path == "[vdso]" {
			vdso = append(vdso, m)
		}
	}
	var why error
	resolve := s.leavingFiles(p, func(calls []tracer.Call) error {
		_, err := s.body(leader.th).Inject(leader.th.tid, calls)
		return err
	}, d.family, &why)
	for _, m := range maps {
		if err := staysHere(m, resolve); err != nil {
			return err
		}
	}
	im := &d.img.Image
	im.PID, im.CPU, d.img.Gen = p.pid, p.began, p.gen
	im.Clock = linux.Clock(unix.CLOCK_MONOTONIC)
	s.mu.Lock()
	d.img.CPU = p.cpu
	s.mu.Unlock()
	d.img.Shown.User, d.img.Shown.System = usedHere(p.pid, 0)
	for _, t := range d.threads {
		if _, err := s.tr.StepOut(t.th.tid, vdso); err != nil {
			return err
		}
		if t.held, err = tracer.Hold(t.th.tid); err != nil {
			return err
		}
		const compatCS = 0x23
		if t.held.Regs.Cs == compatCS {
			return errCompat
		}
		ct, err := checkpoint.CaptureThread(t.th.tid)
		if err != nil {
			return err
		}
		t.rseq = ct.Rseq
		ct.Used[0], ct.Used[1] = usedHere(p.pid, t.th.tid)
		ct.Mask, ct.Pending = t.held.Mask, nil // what is pending arrives when the shadow runs
		ct.Regs = t.held.Regs
		p.restarted(t.th.tid, &ct.Regs)
		ct.Deadline = p.deadline(t.th.tid, &ct.Regs)
		inCall(&ct)
		im.Threads = append(im.Threads, ct)
	}
	place, err := freeRange(maps, gapSize+arenaSize)
	if err != nil {
		return err
	}
	p.stub, p.arena = place, place+gapSize
	d.texts = procTexts(p.pid)
	if err := s.boot(d, maps); err != nil {
		return err
	}
	if im.Actions, err = checkpoint.CaptureActions(p.pid, s.body(leader.th)); err != nil { // first, see there
		return err
	}
	var brk uint64
	for i, t := range d.threads {
		to := &brk
		if i > 0 {
			to = nil
		}
		if err := checkpoint.CaptureInjected(t.th.tid, s.body(t.th), &im.Threads[i], to); err != nil {
			return err
		}
	}
	if err := checkpoint.FindShared(leader.th.tid, s.body(leader.th), maps, d.found); err != nil {
		return err
	}
	hidden := []linux.Range{{Start: p.stub, End: p.arena + arenaSize}}
	if err := im.CaptureMemory(p.pid, maps, hidden, resolve); err != nil {
		return err
	}
	if why != nil {
		return why
	}
	im.Layout.Brk = brk
	if err := im.CaptureFlags(p.pid, d.early); err != nil {
		return err
	}
	if im.Timers, err = checkpoint.CaptureTimers(p.pid, p.pid, s.body(leader.th), func(here int) int { return here }); err != nil {
		return err
	}
	if err := im.CaptureLimits(p.pid); err != nil {
		return err
	}
	st, err := linux.ReadStatus(p.pid)
	if err != nil {
		return err
	}
	d.caught = st.SigCgt
	d.ignored = (signals.DefaultIgnored | st.SigIgn) &^ st.SigCgt
	d.fds = signalDescriptors(p.pid)
	d.maps = maps
	return nil
}

// staysHere refuses a mapping of memory that is shared with a device or with
// something that is no file. Files are looked at in departfiles.go.
func staysHere(m linux.Mapping, resolve checkpoint.FileResolver) error {
	if strings.HasPrefix(m.Path, "/[aio]") { // what is being read would come to the memory that it has left
		return errors.New("it uses asynchronous reads and writes of the kernel (io_setup)")
	}
	if !m.Shared || m.Ino == 0 && !strings.HasPrefix(m.Path, "/") || checkpoint.IsSharedObject(m.Path) || mayShare(m) {
		return nil
	}
	if m.Prot&unix.PROT_WRITE == 0 {
		if _, ok := resolve(m); ok {
			return nil
		}
	}
	return fmt.Errorf("it shares the memory of %s", m.Path)
}

// inCall makes of a thread, interrupted in a call, one that makes the call
// again where it arrives.
func inCall(t *checkpoint.Thread) {
	r := &t.Regs
	ret := int64(r.Rax)
	switch {
	case int64(r.Orig_rax) < 0:
		return
	case partial(r): // some of it is done: the rest will be, unless a signal comes
		t.Call = &checkpoint.Call{Done: r.Rax}
		return
	case ret == -int64(unix.EINTR) && waits(r.Orig_rax):
		r.Rax, r.Rip = r.Orig_rax, r.Rip-2
	case signals.IsRestart(ret):
		r.Rax, r.Rip = r.Orig_rax, r.Rip-2
	}
	r.Orig_rax = ^uint64(0)
}

// waits tells whether a call ends with EINTR when it is merely interrupted,
// without a signal for the program; signal(7) lists them.
func waits(nr uint64) bool {
	switch nr {
	case unix.SYS_EPOLL_WAIT, unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_PWAIT2, unix.SYS_SEMOP, unix.SYS_SEMTIMEDOP,
		unix.SYS_RT_SIGTIMEDWAIT, unix.SYS_IO_GETEVENTS, unix.SYS_MSGRCV, unix.SYS_MSGSND, unix.SYS_RECVFROM,
		unix.SYS_RECVMSG, unix.SYS_RECVMMSG, unix.SYS_SENDTO, unix.SYS_SENDMSG, unix.SYS_SENDMMSG, unix.SYS_ACCEPT,
		unix.SYS_ACCEPT4, unix.SYS_CONNECT:
		return true
	}
	return false
}

// boot gives a seized process stub and arena, and each thread its slot.
func (s *Supervisor) boot(d *departing, maps []linux.Mapping) error {
	leader := d.threads[0].th
	lower, err := raiseLimit(d.p.pid, unix.RLIMIT_AS)
	if err != nil {
		return err
	}
	defer lower()
	native, err := tracer.NewNative(s.tr, d.p.pid)
	if err != nil {
		return err
	}
	if _, err := native.Inject(leader.tid, []tracer.Call{
		tracer.C(unix.SYS_MMAP, d.p.stub, checkpoint.PageSize, unix.PROT_READ|unix.PROT_EXEC,
			unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED_NOREPLACE, ^uint64(0), 0),
	}); err != nil {
		return fmt.Errorf("map the stub: %w", err)
	}
	d.booted = true
	if err := d.unlock(native); err != nil {
		return err
	}
	if _, err := native.Inject(leader.tid, []tracer.Call{tracer.C(unix.SYS_SHMAT, uint64(s.arena.shm.ID), d.p.arena, 0)}); err != nil {
		return fmt.Errorf("map the arena (a limit on address space, ulimit -v, must leave room for 8 GiB of unused addresses): %w", err)
	}
	mem, err := os.OpenFile("/proc/"+strconv.Itoa(d.p.pid)+"/mem", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer mem.Close()
	if _, err := mem.WriteAt(s.code, int64(d.p.stub)); err != nil {
		return fmt.Errorf("write the stub: %w", err)
	}
	for _, t := range d.threads {
		slot, err := s.arena.alloc()
		if err != nil {
			return err
		}
		t.th.slot, t.th.hasSlot = slot, true
		if _, err := tracer.BlockSignals(t.th.tid); err != nil {
			return err
		}
	}
	return nil
}

// unlock sees to it that the arena, which is large, is not locked in memory as
// all that the program maps would be (mlockall(2)).
func (d *departing) unlock(native *tracer.Native) (err error) {
	im := &d.img.Image
	if im.Locks, err = checkpoint.CaptureLocks(d.p.pid, native); err != nil || im.Locks == 0 {
		return err
	}
	if d.early, err = linux.ReadMappingFlags(d.p.pid); err != nil {
		return err
	}
	return checkpoint.DropLocks(d.p.pid, native)
}

// signalDescriptors is the set of signals that a process's signalfds read.
func signalDescriptors(pid int) uint64 {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	set := uint64(0)
	for _, e := range entries {
		if l, err := os.Readlink(dir + "/" + e.Name()); err != nil || l != "anon_inode:[signalfd]" {
			continue
		}
		info, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/fdinfo/" + e.Name())
		if err != nil {
			continue
		}
		if _, mask, ok := strings.Cut(string(info), "sigmask:"); ok {
			word, _, _ := strings.Cut(strings.TrimSpace(mask), "\n")
			v, err := strconv.ParseUint(word, 16, 64)
			if err == nil {
				set |= v
			}
		}
	}
	return set
}

// become turns a seized process, whose guest stands at the node, into a shadow
// and lets it serve. Tracer's thread.
func (s *Supervisor) become(d *departing, to *site, later bool) error {
	p, leader := d.p, d.threads[0]
	if err := to.gone(); err != nil {
		return err
	}
	for _, t := range d.threads {
		if err := linux.SetOptions(t.th.tid, traceOptions); err != nil {
			return fmt.Errorf("thread %d: %w", t.th.tid, err)
		}
	}
	p.caught, p.wanted, p.ignored = d.caught, 0, d.ignored
	p.signalfd.Store(d.fds)
	s.freezeTexts(d)
	if err := d.img.Image.Timers.Disarm(leader.th.tid, s.body(leader.th)); err != nil {
		return err
	}
	for _, t := range d.threads {
		calls := []tracer.Call{
			tracer.C(unix.SYS_SET_ROBUST_LIST, 0, 24),
			tracer.C(unix.SYS_SET_TID_ADDRESS, 0),
		}
		if t.rseq.Addr != 0 {
			const unregister = 1
			calls = append(calls, tracer.C(unix.SYS_RSEQ, t.rseq.Addr, uint64(t.rseq.Size), unregister, uint64(t.rseq.Signature)))
		}
		if _, err := s.body(t.th).Inject(t.th.tid, calls); err != nil {
			return err
		}
	}
	p.keepArguments(d.img.Image.Layout.ArgStart, d.maps)
	if !later {
		if err := s.empty(leader.th, d.img.Image.Layout.ArgStart, d.maps); err != nil {
			return err
		}
	}
	p.native.Store(false) // the tracer sees its end from now on
	p.at.Store(to)
	p.setState(away)
	p.moves.Add(1)
	for _, t := range d.threads {
		s.add(t.th)
	}
	if err := s.sendPending(d); err != nil {
		return err
	}
	for _, t := range d.threads {
		if err := s.enterLoop(t.th); err != nil {
			return err
		}
		s.traceLog.note(t.th.tid, "+++ leaves for %s +++", to.name)
		if !t.stopped {
			s.cont(t.th, 0)
			if t.stopLater {
				tracer.StopLater(t.th.tid)
			}
			continue
		}
		// Only who is released goes back into a stop of job control.
		if err := linux.Detach(t.th.tid, 0); err != nil {
			return err
		}
		if err := linux.Seize(t.th.tid, traceOptions); err != nil {
			return err
		}
		_ = linux.Interrupt(t.th.tid) // so that the stop is reported
	}
	s.describe(p)
	return nil
}

// undo lets a seized process run on as if nothing had happened. Tracer's thread.
func (s *Supervisor) undo(d *departing) {
	if d.booted {
		if native, err := tracer.NewNative(s.tr, d.p.pid); err == nil {
			if err := s.ignoreTrap(d.threads[0].th, native, d.img.Image.Actions); err != nil {
				s.log.Error("SIGTRAP is not ignored any more", "pid", d.p.pid, "err", err)
			}
			if _, err := native.Inject(d.threads[0].th.tid, []tracer.Call{
				tracer.C(unix.SYS_MUNMAP, d.p.stub, d.p.arena+arenaSize-d.p.stub),
			}); err != nil {
				s.log.Error("stub not removed", "pid", d.p.pid, "err", err)
			}
			if im := (checkpoint.Image{PID: d.p.pid, Locks: d.img.Image.Locks}); im.Locks != 0 {
				for _, f := range d.early { // as it was before unlock
					im.VMAs = append(im.VMAs, checkpoint.VMA{Start: f.Start, End: f.End, Flags: f.Flags})
				}
				if err := im.RestoreLocks(d.p.pid, native, true); err != nil {
					s.log.Error("memory not locked again", "pid", d.p.pid, "err", err)
				}
			}
		}
	}
	for _, t := range d.threads {
		if t.th.hasSlot {
			s.arena.release(t.th.slot)
		}
		if t.held != nil {
			if err := t.held.Release(s.tr); err != nil && !errors.Is(err, unix.ESRCH) {
				s.log.Error("thread not put back", "tid", t.th.tid, "err", err)
			}
		}
		if s.loose[t.th.tid] {
			continue // as soon as it stops
		}
		if err := linux.Detach(t.th.tid, 0); err != nil && err != unix.ESRCH {
			s.log.Error("thread not released", "tid", t.th.tid, "err", err)
		}
		if t.stopLater {
			tracer.StopLater(t.th.tid)
		}
		for i := range t.swallow {
			info := &t.swallow[i]
			if err := linux.QueueThreadSignal(d.p.pid, t.th.tid, signals.Signo(info), info); err != nil {
				_ = unix.Tgkill(d.p.pid, t.th.tid, unix.Signal(signals.Signo(info))) // ESRCH: it is dying
			}
		}
	}
}
