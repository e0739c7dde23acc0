package checkpoint

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/internal/tracer"
)

func le64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// Place is what the rebuilding of an address space needs to know of its target.
type Place struct {
	TID  int
	Body *tracer.Body
	Keep []linux.Range   // ours: stub, table, arena
	VDSO []linux.Mapping // the target's own, where they are now
	// OpenFile returns the descriptor number by which the target can map file
	// i while the calls returned before run; calls are prepended to open it.
	OpenFile func(i int) (fd int, calls []tracer.Call, err error)
	// Segment maps a piece of a System V shared memory segment; nil if that is a
	// file like others here.
	Segment func(f File, v *VMA) []tracer.Call
	// OpenObject likewise for shared anonymous memory; nil: a private copy.
	Object func(v VMA) (calls []tracer.Call, ok bool)
}

// Unmap returns the calls which remove everything but the given ranges.
func Unmap(keep []linux.Range) []tracer.Call {
	keep = slices.Clone(keep)
	slices.SortFunc(keep, func(a, b linux.Range) int {
		if a.Start < b.Start {
			return -1
		}
		return 1
	})
	var calls []tracer.Call
	at := uint64(0x10000)
	for _, k := range keep {
		if k.Start > at {
			calls = append(calls, tracer.C(unix.SYS_MUNMAP, at, k.Start-at))
		}
		at = max(at, k.End)
	}
	if at < taskSize {
		calls = append(calls, tracer.C(unix.SYS_MUNMAP, at, taskSize-at))
	}
	return calls
}

// matchVDSO finds, for each part of an image's vDSO, that of the target. A
// program may have unmapped or moved parts of its own.
func matchVDSO(image, target []linux.Mapping) (from []linux.Mapping, ok bool) {
	for _, want := range image {
		i := slices.IndexFunc(target, func(m linux.Mapping) bool {
			return m.Path == want.Path && m.End-m.Start == want.End-want.Start
		})
		if i < 0 {
			return nil, false
		}
		from = append(from, target[i])
	}
	return from, true
}

// RestoreMemory rebuilds the image's mappings in the target, without contents.
func (im *Image) RestoreMemory(p *Place) error {
	from, ok := matchVDSO(im.VDSO, p.VDSO)
	if !ok {
		return fmt.Errorf("the vDSO here has not the parts of the one it comes from: kernels differ")
	}
	if im.VDSOBuild != vdsoBuild() {
		return fmt.Errorf("this kernel's vDSO is another build than that of the kernel it comes from (%.12s, %.12s)", vdsoBuild(), im.VDSOBuild)
	}
	if err := p.checkKeep(im.VMAs); err != nil {
		return err
	}
	keep := slices.Clone(p.Keep)
	for _, m := range from {
		keep = append(keep, linux.Range{Start: m.Start, End: m.End})
	}
	var steps []step
	for _, c := range append(Unmap(keep), moveVDSO(from, im.VDSO)...) {
		steps = append(steps, step{call: c})
	}
	if err := p.allocateKeys(im.VMAs); err != nil {
		return err
	}
	more, err := p.mapSteps(im, im.VMAs)
	if err != nil {
		return err
	}
	if err := p.run(append(steps, more...)); err != nil {
		return fmt.Errorf("rebuild the address space of process %d: %w", im.PID, err)
	}
	if err := p.nameVMAs(im.VMAs); err != nil {
		return err
	}
	if err := im.restoreHuge(p); err != nil {
		return err
	}
	return im.restoreLayout(p)
}

// restoreHuge says whether the process may have huge pages.
func (im *Image) restoreHuge(p *Place) error {
	if im.Huge == HugeUnknown {
		return nil
	}
	disable := uint64(0)
	if im.Huge == HugeDisabled {
		disable = 1
	}
	return p.run([]step{wish(unix.SYS_PRCTL, unix.PR_SET_THP_DISABLE, disable)})
}

// checkKeep refuses mappings where the target has ours.
func (p *Place) checkKeep(vmas []VMA) error {
	for _, v := range vmas {
		for _, k := range p.Keep {
			if v.Start < k.End && k.Start < v.End {
				return fmt.Errorf("the program has memory at %#x-%#x, where Homing's own is", v.Start, v.End)
			}
		}
	}
	return nil
}

// moveVDSO moves the parts of the vDSO to their places in the image, by way of
// a place that overlaps neither: old and new ones may overlap.
func moveVDSO(from, to []linux.Mapping) []tracer.Call {
	move := func(start, size, target uint64) tracer.Call {
		return tracer.C(unix.SYS_MREMAP, start, size, size, unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED, target)
	}
	overlap, same := false, true
	for i, a := range from {
		same = same && a.Start == to[i].Start
		for _, b := range to {
			overlap = overlap || a.Start < b.End && b.Start < a.End
		}
	}
	if same {
		return nil
	}
	var calls, second []tracer.Call
	via := uint64(0x20000) // everything else has been unmapped
	for i, a := range from {
		size := a.End - a.Start
		if !overlap {
			calls = append(calls, move(a.Start, size, to[i].Start))
			continue
		}
		calls = append(calls, move(a.Start, size, via))
		second = append(second, move(via, size, to[i].Start))
		via += size
	}
	return append(calls, second...)
}

// restoreLayout sets the fields by which the kernel knows heap, stack,
// arguments and environment: PR_SET_MM_MAP.
func (im *Image) restoreLayout(p *Place) error {
	l := &im.Layout
	scratch := p.Body.Table + uint64(p.Body.Size)
	const mapSize = 104 // struct prctl_mm_map
	b := make([]byte, mapSize, mapSize+len(l.Auxv))
	for i, v := range []uint64{
		l.StartCode, l.EndCode, l.StartData, l.EndData, l.StartBrk, l.Brk, l.StartStack,
		l.ArgStart, l.ArgEnd, l.EnvStart, l.EnvEnd, scratch + mapSize,
	} {
		binary.LittleEndian.PutUint64(b[8*i:], v)
	}
	binary.LittleEndian.PutUint32(b[96:], uint32(len(l.Auxv)))
	binary.LittleEndian.PutUint32(b[100:], ^uint32(0)) // exe_fd: keep
	if len(l.Auxv) == 0 {
		binary.LittleEndian.PutUint64(b[88:], 0)
	}
	b = append(b, l.Auxv...)
	if err := p.Body.WriteScratch(p.TID, b); err != nil {
		return err
	}
	if _, err := p.Body.Inject(p.TID, []tracer.Call{tracer.C(unix.SYS_PRCTL, unix.PR_SET_MM, unix.PR_SET_MM_MAP, scratch, mapSize)}); err != nil {
		return fmt.Errorf("restore the memory layout of process %d: %w", im.PID, err)
	}
	return nil
}

// RestoreActions sets the signal dispositions of a target whose are default.
func (im *Image) RestoreActions(p *Place) error {
	if len(im.Actions) == 0 {
		return nil
	}
	scratch := p.Body.Table + uint64(p.Body.Size)
	var b []byte
	var calls []tracer.Call
	for sig, a := range im.Actions {
		calls = append(calls, tracer.C(unix.SYS_RT_SIGACTION, uint64(sig), scratch+uint64(len(b)), 0, 8))
		for _, v := range []uint64{a.Handler, a.Flags, a.Restorer, a.Mask} {
			b = binary.LittleEndian.AppendUint64(b, v)
		}
	}
	if err := p.Body.WriteScratch(p.TID, b); err != nil {
		return err
	}
	if _, err := p.Body.Inject(p.TID, calls); err != nil {
		return fmt.Errorf("restore signal dispositions of process %d: %w", im.PID, err)
	}
	return nil
}

const ssDisable, rseqUnregister = 2, 1

// Strip takes from a stopped thread what points into its memory, which is about
// to go: rseq, robust list, clear_child_tid, alternate stack. RestoreThread
// brings it back.
func (th *Thread) Strip(tid int, body *tracer.Body) error {
	if err := leaveStack(tid); err != nil {
		return err
	}
	const robustSize = 24 // struct robust_list_head
	b := make([]byte, 24) // stack_t
	binary.LittleEndian.PutUint32(b[8:], ssDisable)
	if err := body.WriteScratch(tid, b); err != nil {
		return err
	}
	var calls []tracer.Call
	if th.Rseq.Addr != 0 { // first: the kernel writes there at each return
		calls = append(calls, tracer.C(unix.SYS_RSEQ, th.Rseq.Addr, uint64(th.Rseq.Size), rseqUnregister, uint64(th.Rseq.Signature)))
	}
	calls = append(calls,
		tracer.C(unix.SYS_SET_ROBUST_LIST, 0, robustSize),
		tracer.C(unix.SYS_SET_TID_ADDRESS, 0),
		tracer.C(unix.SYS_SIGALTSTACK, body.Table+uint64(body.Size), 0),
	)
	if _, err := body.Inject(tid, calls); err != nil {
		return fmt.Errorf("strip thread %d: %w", th.TID, err)
	}
	return nil
}

// leaveStack takes a thread's stack pointer off its stack: on an alternate one
// sigaltstack(2) refuses to change it.
func leaveStack(tid int) error {
	var r linux.Regs
	if err := linux.GetRegs(tid, &r); err != nil {
		return fmt.Errorf("read registers of thread %d: %w", tid, err)
	}
	r.Rsp = 0
	if err := linux.SetRegs(tid, &r); err != nil {
		return fmt.Errorf("set registers of thread %d: %w", tid, err)
	}
	return nil
}

// RestoreThread gives thread tid, new or stripped, the captured state. Its
// signal mask is set last, and the thread is left stopped.
func (th *Thread) RestoreThread(tid int, body *tracer.Body) error {
	if err := leaveStack(tid); err != nil {
		return err
	}
	scratch := body.Table + uint64(body.Size)
	b := make([]byte, 24+maxComm+1) // stack_t, name
	for i, v := range th.AltStack {
		binary.LittleEndian.PutUint64(b[8*i:], v)
	}
	flags := th.AltStack[1] &^ 1 // not SS_ONSTACK
	if th.AltStack[2] == 0 {
		flags = ssDisable
	}
	binary.LittleEndian.PutUint64(b[8:], flags)
	copy(b[24:], th.Comm)
	steps := []step{
		must(unix.SYS_SET_TID_ADDRESS, th.ClearTID),
		must(unix.SYS_PRCTL, unix.PR_SET_NAME, scratch+24),
		must(unix.SYS_SIGALTSTACK, scratch, 0),
	}
	if th.RobustHead != 0 {
		steps = append(steps, must(unix.SYS_SET_ROBUST_LIST, th.RobustHead, th.RobustLen))
	}
	if th.Rseq.Addr != 0 {
		steps = append(steps, must(unix.SYS_RSEQ, th.Rseq.Addr, uint64(th.Rseq.Size), uint64(th.Rseq.Flags), uint64(th.Rseq.Signature)))
	}
	if th.TimerSlack != 0 {
		steps = append(steps, wish(unix.SYS_PRCTL, unix.PR_SET_TIMERSLACK, th.TimerSlack))
	}
	if th.TSC != 0 {
		steps = append(steps, wish(unix.SYS_PRCTL, unix.PR_SET_TSC, uint64(th.TSC)))
	}
	if err := body.WriteScratch(tid, b); err != nil {
		return err
	}
	if err := run(tid, body, steps); err != nil {
		return fmt.Errorf("restore thread %d: %w", th.TID, err)
	}
	if err := linux.SetRegset(tid, linux.NTX86Xstate, th.Xstate); err != nil {
		return fmt.Errorf("set extended registers of thread %d (its processor has other features): %w", th.TID, err)
	}
	if err := linux.SetRegs(tid, &th.Regs); err != nil {
		return fmt.Errorf("set registers of thread %d: %w", th.TID, err)
	}
	if err := linux.SetSigmask(tid, th.Mask); err != nil {
		return fmt.Errorf("set signal mask of thread %d: %w", th.TID, err)
	}
	return nil
}
