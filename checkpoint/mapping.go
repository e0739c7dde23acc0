package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/internal/tracer"
)

// Mappings have properties that only /proc/PID/smaps shows: advice, locks, how
// they count for overcommit. They are restored for what they do, and because
// the kernel joins neighbours only if all of them agree: a program that was away
// has the mappings that it would have had at home.

// Advice of madvise(2), also that which x/sys lacks.
const (
	madvNormal, madvRandom, madvSequential = 0, 1, 2
	madvDontFork, madvDoFork               = 10, 11
	madvMergeable, madvUnmergeable         = 12, 13
	madvHugePage, madvNoHugePage           = 14, 15
	madvDontDump, madvDoDump               = 16, 17
	madvWipeOnFork, madvKeepOnFork         = 18, 19
	madvPopulateWrite                      = 23
)

// advices are given again; clear takes one back, -1: nothing does.
var advices = []struct {
	flag       linux.VMFlags
	set, clear int
}{
	{linux.VMHugePage, madvHugePage, -1},
	{linux.VMHugeTLB, madvHugePage, -1}, // what has huge pages of its own gets those of the kernel's choice
	{linux.VMNoHugePage, madvNoHugePage, -1},
	{linux.VMDontCopy, madvDontFork, madvDoFork},
	{linux.VMWipeOnFork, madvWipeOnFork, madvKeepOnFork},
	{linux.VMDontDump, madvDontDump, madvDoDump},
	{linux.VMMergeable, madvMergeable, madvUnmergeable},
	{linux.VMSequential, madvSequential, madvNormal},
	{linux.VMRandom, madvRandom, madvNormal},
}

// unmovable are properties of memory that cannot be taken away, or not be
// rebuilt.
const unmovable = linux.VMSealed | linux.VMShadowStack | linux.VMDevice | linux.VMUserfault

const namedAnonymous, namedShared = "[anon:", "[anon_shmem:"

// vmaName is the name that a program has given to anonymous memory.
func vmaName(path string) string {
	for _, prefix := range []string{namedAnonymous, namedShared} {
		if name, ok := strings.CutPrefix(path, prefix); ok {
			return strings.TrimSuffix(name, "]")
		}
	}
	return ""
}

// EarlyFlags reads the properties of a large process's mappings while it runs,
// so that it need not stand still for it, see CaptureFlags. Of a small one it
// returns nil: that takes 0.3 ms at most.
func EarlyFlags(pid int) ([]linux.MappingFlags, error) {
	const small = 16384 // pages
	if residentPages(pid) < small {
		return nil, nil
	}
	flags, err := linux.ReadMappingFlags(pid)
	if err != nil {
		return nil, fmt.Errorf("properties of the mappings of process %d: %w", pid, err)
	}
	return flags, nil
}

// CaptureFlags completes the mappings with what only /proc/PID/smaps tells, see
// linux.ReadMappingFlags. If that has been read before, it is read again only if
// there are new mappings. It says why if some of the memory cannot be moved.
func (im *Image) CaptureFlags(pid int, early []linux.MappingFlags) error {
	if early == nil || !im.applyFlags(early) {
		flags, err := linux.ReadMappingFlags(pid)
		if err != nil {
			return fmt.Errorf("properties of the mappings of process %d: %w", pid, err)
		}
		im.applyFlags(flags)
	}
	var err error
	if im.Huge, err = hugePages(pid); err != nil {
		return err
	}
	for i := range im.VMAs {
		v := &im.VMAs[i]
		why := ""
		switch {
		case v.Flags&linux.VMSealed != 0:
			why = "is sealed (mseal)"
		case v.Flags&linux.VMShadowStack != 0:
			why = "is a shadow stack of the processor (user shadow stacks, CET)"
		case v.Flags&linux.VMDevice != 0:
			why = "belongs to a device"
		case v.Flags&linux.VMUserfault != 0:
			why = "is watched by a userfaultfd"
		}
		if why != "" {
			return fmt.Errorf("memory of process %d at %#x-%#x cannot move: it %s", pid, v.Start, v.End, why)
		}
	}
	return nil
}

// Unwatched refuses a process whose memory is watched by a userfaultfd of its own.
func Unwatched(pid int) error {
	flags, err := linux.ReadMappingFlags(pid)
	if err != nil {
		return fmt.Errorf("properties of the mappings of process %d: %w", pid, err)
	}
	for _, f := range flags {
		if f.Flags&linux.VMUserfault != 0 {
			return fmt.Errorf("memory of process %d at %#x-%#x is watched by a userfaultfd of its own", pid, f.Start, f.End)
		}
	}
	return nil
}

// applyFlags gives each mapping the flags of that which it is, or was a part of.
// It tells whether there was one for each.
func (im *Image) applyFlags(flags []linux.MappingFlags) bool {
	all, n := true, 0
	for i := range im.VMAs {
		v := &im.VMAs[i]
		for n < len(flags) && flags[n].End <= v.Start {
			n++
		}
		if n == len(flags) || flags[n].Start >= v.End {
			all = false
			continue
		}
		v.Flags, v.Key = flags[n].Flags, flags[n].Key
		if im.Watched {
			v.Flags &^= linux.VMUserfault
		}
		v.GrowsDown = v.Flags&linux.VMGrowsDown != 0
	}
	return all
}

func residentPages(pid int) int {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(f[1]) // printed by the kernel
	return n
}

// step is a call of a rebuilding. A soft one may fail: what it asks for is not
// to be had here, and the program runs without.
type step struct {
	call tracer.Call
	soft bool
}

func must(nr uint64, args ...uint64) step { return step{call: tracer.C(nr, args...)} }
func wish(nr uint64, args ...uint64) step { return step{call: tracer.C(nr, args...), soft: true} }

// Injector executes calls in a stopped thread: a tracer.Body, or a
// tracer.Native where there is none.
type Injector interface {
	Inject(tid int, calls []tracer.Call) ([]uint64, error)
}

// run makes the target execute steps.
func (p *Place) run(steps []step) error { return run(p.TID, p.Body, steps) }

func run(tid int, inj Injector, steps []step) error {
	calls := make([]tracer.Call, len(steps))
	for i, s := range steps {
		calls[i] = s.call
	}
	for len(calls) > 0 {
		res, err := inj.Inject(tid, calls)
		var failed *tracer.CallError
		switch {
		case err == nil:
			return nil
		case !errors.As(err, &failed) || !steps[len(res)].soft:
			return err
		}
		steps, calls = steps[len(res)+1:], calls[len(res)+1:]
	}
	return nil
}

// apart says how a mapping is kept from being joined with its neighbour.
type apart struct{ touch, mark bool }

// joins tells whether the kernel would make one mapping of two, had it not kept
// them apart where they come from.
func joins(im *Image, a, b *VMA) bool {
	if a.End != b.Start || a.Shared || b.Shared || a.Prot != b.Prot || a.Flags != b.Flags || a.Key != b.Key ||
		a.Name != b.Name || a.GrowsDown != b.GrowsDown || (a.File < 0) != (b.File < 0) {
		return false
	}
	return a.File < 0 || im.Files[a.File] == im.Files[b.File] && a.Offset+(a.End-a.Start) == b.Offset
}

// mapSteps makes mappings at their places, in order of address.
//
// Neighbours that agree in everything are two mappings where they come from if
// each had pages of its own before they came to agree (they have different
// anon_vmas). They are kept apart by doing the same: each gets a page, while one
// of them is marked.
func (p *Place) mapSteps(im *Image, vmas []VMA) ([]step, error) {
	keep := make([]apart, len(vmas))
	for i := 1; i < len(vmas); i++ {
		if joins(im, &vmas[i-1], &vmas[i]) {
			keep[i-1].touch = true
			keep[i] = apart{touch: true, mark: !keep[i-1].mark}
		}
	}
	var steps, after []step
	for i := range vmas {
		more, err := p.mapVMA(im, &vmas[i], keep[i])
		if err != nil {
			return nil, err
		}
		steps = append(steps, more...)
		if keep[i].mark {
			_, unmark := marks(&vmas[i])
			after = append(after, wish(unix.SYS_MADVISE, vmas[i].Start, vmas[i].End-vmas[i].Start, unmark))
		}
	}
	return append(steps, after...), nil
}

// marks are pieces of advice that a mapping has not been given otherwise.
func marks(v *VMA) (set, clear uint64) {
	if v.Flags&linux.VMDontCopy == 0 {
		return madvDontFork, madvDoFork
	}
	return madvRandom, madvNormal
}

func (p *Place) mapVMA(im *Image, v *VMA, keep apart) ([]step, error) {
	size, prot := v.End-v.Start, v.Prot
	var steps []step
	flags := uint64(unix.MAP_FIXED | unix.MAP_PRIVATE)
	if v.Shared {
		flags = unix.MAP_FIXED | unix.MAP_SHARED
	}
	if v.Flags&linux.VMNoReserve != 0 {
		flags |= unix.MAP_NORESERVE
	}
	if !v.Shared && prot&unix.PROT_EXEC == 0 {
		// What had pages of its own counts for overcommit even when it is no
		// longer writable.
		keep.touch = keep.touch || v.Flags&linux.VMAccount != 0 && prot&unix.PROT_WRITE == 0
		if keep.touch {
			prot |= unix.PROT_READ | unix.PROT_WRITE
		}
	}
	first := prot
	if keep.mark {
		first = unix.PROT_NONE // joins nothing
	}
	if v.File >= 0 && im.Files[v.File].Dev == SegmentDev && p.Segment != nil {
		for _, c := range p.Segment(im.Files[v.File], v) {
			steps = append(steps, step{call: c})
		}
	} else if v.File >= 0 {
		fd, calls, err := p.OpenFile(v.File)
		if err != nil {
			return nil, err
		}
		for _, c := range calls {
			steps = append(steps, step{call: c})
		}
		steps = append(steps, must(unix.SYS_MMAP, v.Start, size, uint64(first), flags, uint64(fd), v.Offset))
	} else if calls, ok := p.object(v); ok {
		for _, c := range calls {
			steps = append(steps, step{call: c})
		}
	} else {
		flags |= unix.MAP_ANONYMOUS
		if v.GrowsDown && !v.Shared {
			flags |= unix.MAP_GROWSDOWN
		}
		steps = append(steps, must(unix.SYS_MMAP, v.Start, size, uint64(first), flags, ^uint64(0), 0))
	}
	if keep.mark {
		mark, _ := marks(v)
		steps = append(steps,
			wish(unix.SYS_MADVISE, v.Start, size, mark),
			must(unix.SYS_MPROTECT, v.Start, size, uint64(prot)))
	}
	if keep.touch {
		steps = append(steps,
			wish(unix.SYS_MADVISE, v.Start, PageSize, madvPopulateWrite),
			wish(unix.SYS_MADVISE, v.Start, PageSize, unix.MADV_DONTNEED))
	}
	switch {
	case v.Key != 0 && v.Prot != unix.PROT_EXEC: // that has a key of the kernel's choice
		steps = append(steps, must(unix.SYS_PKEY_MPROTECT, v.Start, size, uint64(v.Prot), uint64(v.Key)))
	case prot != v.Prot:
		steps = append(steps, must(unix.SYS_MPROTECT, v.Start, size, uint64(v.Prot)))
	}
	for _, a := range advices {
		if v.Flags&a.flag != 0 {
			steps = append(steps, wish(unix.SYS_MADVISE, v.Start, size, uint64(a.set)))
		}
	}
	return steps, nil
}

func (p *Place) object(v *VMA) ([]tracer.Call, bool) {
	if v.Object == 0 || p.Object == nil {
		return nil, false
	}
	return p.Object(*v)
}

// nameVMAs gives anonymous memory its names again, where the kernel has such.
func (p *Place) nameVMAs(vmas []VMA) error {
	const prSetVMAAnonName = 0
	scratch := p.Body.Table + uint64(p.Body.Size)
	var names []byte
	var steps []step
	flush := func() error {
		if len(steps) == 0 {
			return nil
		}
		if err := p.Body.WriteScratch(p.TID, names); err != nil {
			return err
		}
		err := p.run(steps)
		names, steps = names[:0], steps[:0]
		return err
	}
	for _, v := range vmas {
		if v.Name == "" {
			continue
		}
		if len(names)+len(v.Name)+1 > minScratch {
			if err := flush(); err != nil {
				return err
			}
		}
		at := scratch + uint64(len(names))
		names = append(append(names, v.Name...), 0)
		steps = append(steps, wish(unix.SYS_PRCTL, unix.PR_SET_VMA, prSetVMAAnonName, v.Start, v.End-v.Start, at))
	}
	return flush()
}

// minScratch is the scratch memory that every body has.
const minScratch = 4096

// allocateKeys sees to it that the target has the protection keys that mappings
// use. It leaves the thread's rights to them open: its registers are restored
// later.
func (p *Place) allocateKeys(vmas []VMA) error {
	need := map[uint64]bool{}
	for _, v := range vmas {
		if v.Key != 0 && v.Prot != unix.PROT_EXEC {
			need[uint64(v.Key)] = true
		}
	}
	if len(need) == 0 {
		return nil
	}
	got, err := p.Body.Inject(p.TID, slices.Repeat([]tracer.Call{tracer.C(unix.SYS_PKEY_ALLOC, 0, 0)}, maxKey+1))
	var failed *tracer.CallError
	if !errors.As(err, &failed) { // it ends with ENOSPC
		return fmt.Errorf("protection keys: %w", err)
	}
	var free []step
	for _, key := range got {
		if !need[key] {
			free = append(free, wish(unix.SYS_PKEY_FREE, key))
		}
	}
	return p.run(free)
}

// CaptureLocks tells how memory that a process maps from now on is locked
// (mlockall(2)): MCL_FUTURE, and MCL_ONFAULT, or 0. The kernel says so nowhere:
// it is tried, through the stopped thread tid.
func CaptureLocks(tid int, inj Injector) (int, error) {
	const flags = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	before, err := lockedKB(tid)
	if err != nil {
		return 0, err
	}
	res, err := inj.Inject(tid, []tracer.Call{tracer.C(unix.SYS_MMAP, 0, PageSize, unix.PROT_READ|unix.PROT_WRITE, flags, ^uint64(0), 0)})
	var failed *tracer.CallError
	if errors.As(err, &failed) && failed.Errno == unix.EAGAIN { // more than may be locked
		return unix.MCL_FUTURE, nil
	}
	if err != nil {
		return 0, fmt.Errorf("locks of thread %d: %w", tid, err)
	}
	after, err := lockedKB(tid)
	if err != nil {
		return 0, err
	}
	locks := 0
	if after > before {
		locks = unix.MCL_FUTURE
		if there, err := pagePresent(tid, res[0]); err != nil {
			return 0, err
		} else if !there {
			locks |= mclOnFault
		}
	}
	if _, err := inj.Inject(tid, []tracer.Call{tracer.C(unix.SYS_MUNMAP, res[0], PageSize)}); err != nil {
		return 0, fmt.Errorf("locks of thread %d: %w", tid, err)
	}
	return locks, nil
}

func lockedKB(tid int) (int, error) {
	text, err := statusLine(tid, "VmLck")
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(text, "kB")))
	if err != nil {
		return 0, fmt.Errorf("locks of thread %d: %w", tid, err)
	}
	return n, nil
}

func hugePages(pid int) (HugePages, error) {
	switch text, err := statusLine(pid, "THP_enabled"); text {
	case "0":
		return HugeDisabled, err
	case "1":
		return HugeAllowed, err
	default: // a kernel without them
		return HugeUnknown, err
	}
}

func statusLine(tid int, key string) (string, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(tid) + "/status")
	if err != nil {
		return "", fmt.Errorf("status of thread %d: %w", tid, err)
	}
	_, rest, _ := strings.Cut(string(b), "\n"+key+":")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line), nil
}

func pagePresent(tid int, addr uint64) (bool, error) {
	f, err := os.Open("/proc/" + strconv.Itoa(tid) + "/pagemap")
	if err != nil {
		return false, err
	}
	defer f.Close()
	var b [8]byte
	if _, err := f.ReadAt(b[:], int64(addr/PageSize*8)); err != nil {
		return false, fmt.Errorf("pagemap of thread %d: %w", tid, err)
	}
	return binary.LittleEndian.Uint64(b[:])>>62 != 0, nil // present or swapped
}

// DropLocks unlocks all memory of a process that is about to become a shadow:
// what is mapped into it then would be locked, too. What CaptureFlags tells is to
// be read before (early). RestoreLocks brings the locks back.
func DropLocks(tid int, inj Injector) error {
	if _, err := inj.Inject(tid, []tracer.Call{tracer.C(unix.SYS_MUNLOCKALL)}); err != nil {
		return fmt.Errorf("unlock memory of thread %d: %w", tid, err)
	}
	return nil
}

// RestoreLocks locks what was locked. That makes pages, so it comes when those
// that the image has are there; if they are not (filled false), each is locked
// as it comes. A node allows an ordinary user little of it: it is a wish.
func (im *Image) RestoreLocks(tid int, inj Injector, filled bool) error {
	const mlockOnFault = 1
	var steps []step
	for _, v := range im.VMAs {
		if v.Flags&linux.VMLocked == 0 {
			continue
		}
		flags := uint64(0)
		if !filled || v.Flags&linux.VMLockOnFault != 0 {
			flags = mlockOnFault
		}
		steps = append(steps, wish(unix.SYS_MLOCK2, v.Start, v.End-v.Start, flags))
	}
	if im.Locks != 0 {
		steps = append(steps, wish(unix.SYS_MLOCKALL, uint64(im.Locks)))
	}
	if err := run(tid, inj, steps); err != nil {
		return fmt.Errorf("lock memory of process %d: %w", im.PID, err)
	}
	return nil
}
