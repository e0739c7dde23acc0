package checkpoint

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/internal/tracer"
	"homing/signals"
)

// FileResolver tells which file a mapping shows. ok false means that its
// content cannot be named and must be carried like private memory.
type FileResolver func(m linux.Mapping) (f File, ok bool)

// SharedName is the name of the memfds that stand for shared anonymous memory
// of several processes.
const SharedName = "homing-shared"

// IsSharedObject tells whether a shared mapping is of anonymous memory, by its
// name in /proc/PID/maps.
func IsSharedObject(path string) bool {
	return strings.HasPrefix(path, "/dev/zero") || strings.HasPrefix(path, "/memfd:"+SharedName)
}

// CaptureMemory fills in the image's mappings, layout and page ranges from a
// process whose threads are all stopped. Mappings that overlap hidden are left
// out: they are ours.
func (im *Image) CaptureMemory(pid int, maps []linux.Mapping, hidden []linux.Range, resolve FileResolver) error {
	return im.captureMemory(pid, maps, hidden, resolve, true)
}

// CaptureMappings is CaptureMemory without the page ranges. The process may run:
// then it is a sketch of it, which Remap will correct.
func (im *Image) CaptureMappings(pid int, maps []linux.Mapping, hidden []linux.Range, resolve FileResolver) error {
	return im.captureMemory(pid, maps, hidden, resolve, false)
}

func (im *Image) captureMemory(pid int, maps []linux.Mapping, hidden []linux.Range, resolve FileResolver, pages bool) error {
	pm, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/pagemap", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open pagemap of process %d: %w", pid, err)
	}
	defer unix.Close(pm)
	im.VDSOBuild, im.CPU = vdsoBuild(), im.CPU.carried()
	index := map[File]int{}
	var regions []linux.PageRegion
	for _, m := range maps {
		switch m.Path {
		case "[vvar]", "[vvar_vclock]", "[vdso]":
			im.VDSO = append(im.VDSO, m)
			continue
		case "[vsyscall]":
			continue
		}
		if overlaps(m, hidden) {
			continue
		}
		v := VMA{Start: m.Start, End: m.End, Prot: m.Prot, Shared: m.Shared, File: -1, Offset: m.Offset, GrowsDown: m.Path == "[stack]"}
		carryAll := false
		if m.Ino != 0 || strings.HasPrefix(m.Path, "/") {
			if m.Shared && IsSharedObject(m.Path) {
				v.Object, carryAll = m.Ino, true
			} else if f, ok := resolve(m); ok {
				i, known := index[f]
				if !known {
					i = len(im.Files)
					im.Files = append(im.Files, f)
					index[f] = i
				}
				v.File = i
			} else {
				carryAll = true
			}
		}
		if v.File < 0 && v.Object == 0 {
			v.Offset = 0
		}
		v.Name = vmaName(m.Path)
		im.VMAs = append(im.VMAs, v)
		if !pages || v.Shared && v.File >= 0 {
			continue // read-only by construction: the file itself has the content
		}
		if carryAll && v.Object == 0 {
			im.Pages = appendRange(im.Pages, linux.Range{Start: m.Start, End: m.End})
			continue
		}
		mask, inverted := uint64(linux.PageIsFile|linux.PageIsPFNZero), uint64(linux.PageIsFile|linux.PageIsPFNZero)
		if v.Object != 0 {
			mask, inverted = linux.PageIsPFNZero, linux.PageIsPFNZero
		}
		regions, err = linux.ScanPages(pm, m.Start, m.End, mask, inverted, linux.PageIsPresent|linux.PageIsSwapped, 0, regions[:0])
		if err != nil {
			return fmt.Errorf("scan pages of process %d (PAGEMAP_SCAN, Linux 6.7): %w", pid, err)
		}
		for _, r := range regions {
			im.Pages = appendRange(im.Pages, linux.Range{Start: r.Start, End: r.End})
		}
	}
	return im.captureLayout(pid)
}

func appendRange(rs []linux.Range, r linux.Range) []linux.Range {
	if n := len(rs); n > 0 && rs[n-1].End == r.Start {
		rs[n-1].End = r.End
		return rs
	}
	return append(rs, r)
}

func overlaps(m linux.Mapping, rs []linux.Range) bool {
	for _, r := range rs {
		if m.Start < r.End && r.Start < m.End {
			return true
		}
	}
	return false
}

func (im *Image) captureLayout(pid int) error {
	proc := "/proc/" + strconv.Itoa(pid)
	st, err := linux.ReadStat(proc + "/stat")
	if err != nil {
		return fmt.Errorf("read layout of process %d: %w", pid, err)
	}
	auxv, err := os.ReadFile(proc + "/auxv")
	if err != nil {
		return fmt.Errorf("read auxiliary vector of process %d: %w", pid, err)
	}
	im.Layout = Layout{
		StartCode: st.StartCode, EndCode: st.EndCode, StartData: st.StartData, EndData: st.EndData,
		StartBrk: st.StartBrk, Brk: st.StartBrk, StartStack: st.StartStack,
		ArgStart: st.ArgStart, ArgEnd: st.ArgEnd, EnvStart: st.EnvStart, EnvEnd: st.EnvEnd, Auxv: auxv,
	}
	return nil
}

// ReadPages reads the contents of the image's pages from the stopped process
// into buf, which must be PageBytes long. It may run on any thread.
func (im *Image) ReadPages(pid int, buf []byte) error {
	err := linux.CopyRanges(pid, im.Pages, buf, false)
	if err == nil {
		return nil
	}
	// Unreadable pages (PROT_NONE) hide from process_vm_readv, not from /proc/PID/mem.
	return memCopy(pid, im.Pages, buf, false)
}

// WritePages writes the contents of the image's pages into the process.
func (im *Image) WritePages(pid int, buf []byte) error {
	var run []linux.Range // neighbours in buf that are written the same way
	var length uint64
	writable := true
	flush := func() error {
		write := linux.CopyRanges
		if !writable {
			write = memCopy // process_vm_writev respects protections
		}
		err := write(pid, run, buf[:length], true)
		buf, run, length = buf[length:], run[:0], 0
		if err != nil {
			return fmt.Errorf("fill memory of process %d: %w", pid, err)
		}
		return nil
	}
	vi := 0
	for _, r := range im.Pages {
		for r.Start < r.End {
			for vi < len(im.VMAs) && im.VMAs[vi].End <= r.Start {
				vi++
			}
			piece, w := r, false
			if vi < len(im.VMAs) {
				piece.End = min(piece.End, im.VMAs[vi].End)
				w = im.VMAs[vi].Prot&unix.PROT_WRITE != 0
			}
			if w != writable {
				if err := flush(); err != nil {
					return err
				}
				writable = w
			}
			run, length = append(run, piece), length+piece.Len()
			r.Start = piece.End
		}
	}
	return flush()
}

func memCopy(pid int, ranges []linux.Range, buf []byte, write bool) error {
	if len(ranges) == 0 {
		return nil
	}
	f, err := os.OpenFile("/proc/"+strconv.Itoa(pid)+"/mem", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, r := range ranges {
		n := r.Len()
		if write {
			_, err = f.WriteAt(buf[:n], int64(r.Start))
		} else {
			_, err = f.ReadAt(buf[:n], int64(r.Start))
		}
		if err != nil {
			return fmt.Errorf("memory %#x-%#x: %w", r.Start, r.End, err)
		}
		buf = buf[n:]
	}
	return nil
}

// CaptureThread reads the state of a stopped thread that needs no injected call.
// A restartable sequence that it is in is aborted.
func CaptureThread(tid int) (Thread, error) {
	th := Thread{TID: tid}
	if err := linux.GetRegs(tid, &th.Regs); err != nil {
		return th, fmt.Errorf("read registers of thread %d: %w", tid, err)
	}
	if on, err := linux.DispatchesCalls(tid); err != nil {
		return th, fmt.Errorf("read system call dispatch of thread %d: %w", tid, err)
	} else if on {
		return th, fmt.Errorf("thread %d turns its system calls into signals (syscall user dispatch): it cannot move", tid)
	}
	if err := tracer.AbortRseq(tid, &th.Regs); err != nil {
		return th, err
	}
	var err error
	if th.Comm, err = os.ReadFile("/proc/" + strconv.Itoa(tid) + "/comm"); err != nil {
		return th, fmt.Errorf("read name of thread %d: %w", tid, err)
	}
	th.Comm = bytes.TrimSuffix(th.Comm, []byte{'\n'})
	buf := make([]byte, 16<<10)
	n, err := linux.GetRegset(tid, linux.NTX86Xstate, buf)
	if err != nil {
		return th, fmt.Errorf("read extended registers of thread %d: %w", tid, err)
	}
	th.Xstate = buf[:n]
	if th.Mask, err = linux.GetSigmask(tid); err != nil {
		return th, fmt.Errorf("read signal mask of thread %d: %w", tid, err)
	}
	if th.Rseq, err = linux.GetRseq(tid); err != nil {
		return th, fmt.Errorf("read rseq of thread %d: %w", tid, err)
	}
	if th.RobustHead, th.RobustLen, err = linux.GetRobustList(tid); err != nil {
		return th, fmt.Errorf("read robust futex list of thread %d: %w", tid, err)
	}
	if th.Pending, err = PendingSignals(tid, false); err != nil {
		return th, err
	}
	return th, nil
}

// PendingSignals copies a stopped thread's own or its process's queued signals,
// but for those of an instruction that will be made again.
func PendingSignals(tid int, shared bool) ([]linux.Siginfo, error) {
	var out []linux.Siginfo
	var buf [32]linux.Siginfo
	for {
		n, err := linux.PeekSiginfo(tid, uint64(len(out)), shared, buf[:])
		if err != nil {
			return out, fmt.Errorf("read pending signals of thread %d: %w", tid, err)
		}
		if n == 0 {
			return slices.DeleteFunc(out, isFault), nil
		}
		out = append(out, buf[:n]...)
	}
}

// isFault tells whether a queued signal is of an instruction that will be made
// again when the thread goes on: nothing is lost without it.
func isFault(si linux.Siginfo) bool {
	const byKernel = 0 // SI_USER: above it, it was the kernel's finding
	return signals.Code(&si) > byKernel && tracer.IsFault(unix.Signal(signals.Signo(&si)))
}

// CaptureInjected completes the state of a stopped thread with what only the
// thread itself can ask the kernel for: alternate stack, clear_child_tid, how
// precise its timers are and, for the leader, the program break.
func CaptureInjected(tid int, body *tracer.Body, th *Thread, brk *uint64) error {
	scratch := body.Table + uint64(body.Size)
	calls := []tracer.Call{
		tracer.C(unix.SYS_SIGALTSTACK, 0, scratch),
		tracer.C(unix.SYS_PRCTL, unix.PR_GET_TID_ADDRESS, scratch+32),
		tracer.C(unix.SYS_PRCTL, unix.PR_GET_TSC, scratch+40),
		tracer.C(unix.SYS_PRCTL, unix.PR_GET_TIMERSLACK),
	}
	if brk != nil {
		calls = append(calls, tracer.C(unix.SYS_BRK, 0))
	}
	res, err := body.Inject(tid, calls)
	if err != nil {
		return fmt.Errorf("capture thread %d: %w", tid, err)
	}
	var out [44]byte
	if err := body.ReadScratch(tid, out[:]); err != nil {
		return err
	}
	for i := range th.AltStack {
		th.AltStack[i] = le64(out[8*i:])
	}
	th.AltStack[1] = uint64(uint32(th.AltStack[1])) // stack_t.ss_flags is an int
	th.ClearTID, th.TSC, th.TimerSlack = le64(out[32:]), binary.LittleEndian.Uint32(out[40:]), res[3]
	if brk != nil {
		*brk = res[4]
	}
	return nil
}

// CaptureActions asks a process for its signal dispositions through the stopped
// thread tid: all that are not SIG_DFL without flags. It must be the first that
// the body executes there: a trap takes away that SIGTRAP is ignored.
func CaptureActions(tid int, body *tracer.Body) (map[int]Action, error) {
	const last, size = 64, 32 // struct kernel_sigaction
	scratch := body.Table + uint64(body.Size)
	calls := make([]tracer.Call, last)
	for i := range calls {
		calls[i] = tracer.C(unix.SYS_RT_SIGACTION, uint64(i+1), 0, scratch+uint64(size*i), 8)
	}
	if _, err := body.Inject(tid, calls); err != nil {
		return nil, fmt.Errorf("signal dispositions of thread %d: %w", tid, err)
	}
	b := make([]byte, last*size)
	if err := body.ReadScratch(tid, b); err != nil {
		return nil, err
	}
	actions := map[int]Action{}
	for i := range last {
		// The kernel's order: handler, flags, restorer, mask.
		var a Action
		for j, to := range []*uint64{&a.Handler, &a.Flags, &a.Restorer, &a.Mask} {
			*to = binary.LittleEndian.Uint64(b[size*i+8*j:])
		}
		if a != (Action{}) {
			actions[i+1] = a
		}
	}
	return actions, nil
}

// Rewind puts a thread that was stopped inside a system call back to its
// syscall instruction, as the kernel does to restart it, but with the call's own
// number: what it kept in its restart block does not travel.
func Rewind(r *linux.Regs) {
	if int64(r.Orig_rax) >= 0 && signals.IsRestart(int64(r.Rax)) {
		r.Rax = r.Orig_rax
		r.Rip -= 2
	}
	r.Orig_rax = ^uint64(0)
}

// PrivateBytes is about how much memory of its own a process has.
func PrivateBytes(pid int) uint64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0
	}
	var size, resident, shared uint64
	if _, err := fmt.Sscan(string(b), &size, &resident, &shared); err != nil || shared > resident {
		return 0
	}
	return (resident - shared) * PageSize
}
