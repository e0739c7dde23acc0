// Package checkpoint captures the body of a process (memory layout, contents
// of private pages, registers, signal state) and rebuilds it in another
// process, on either side of a move.
//
//  1. A body is captured while all its threads stand in ptrace stops. Only
//     pages that are really private to the process are read; unmodified file
//     pages and zero pages are described, not carried.
//  2. To rebuild, the target (a fresh guest body, or the shadow at home) is
//     made to execute batches of calls: everything but the stub is unmapped,
//     the vDSO is moved to the address it had, the mappings are made again at
//     their old places, PR_SET_MM_MAP restores the layout fields, then pages
//     and per-thread state follow.
//
// Kernel objects never move: an image holds no descriptor, no credential, no
// name. Trust: an image comes from the peer and is validated (Validate) before
// anything is done with it. All functions that take a thread run on its
// tracer's thread.
package checkpoint

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
)

// PageSize is the page size of x86-64.
const PageSize = 4096

// taskSize is the end of user addresses with 4-level paging.
const taskSize = 1<<47 - PageSize

// File identifies a file's content on the home node: equal keys mean equal bytes.
type File struct {
	Path  string // for messages only
	Dev   uint64
	Ino   uint64
	Size  int64
	Mtime int64 // nanoseconds
	Ctime int64 // nanoseconds
	// Live is set for the file itself instead of a content it had: its one copy
	// is where the processes are that map it shared. Only Path, Dev and Ino are
	// set then, how often home has let files be away (Turn), and ReadOnly if the
	// mapping is of a descriptor for reading.
	Live     bool   `json:",omitempty"`
	ReadOnly bool   `json:",omitempty"`
	Turn     uint64 `json:",omitempty"`
}

// SegmentDev stands for the device of a System V shared memory segment, whose
// number is Ino then, and whose size is Size.
const SegmentDev = 1<<64 - 1

// VMA is one mapping.
type VMA struct {
	Start, End uint64
	Prot       int
	Shared     bool
	GrowsDown  bool
	File       int           // index in Image.Files, -1 if anonymous
	Offset     uint64        // in the file
	Object     uint64        // shared anonymous memory: which object, unique in its pod
	Flags      linux.VMFlags `json:",omitempty"` // see CaptureFlags
	Key        int           `json:",omitempty"` // of protection, see pkeys(7)
	Name       string        `json:",omitempty"` // PR_SET_VMA_ANON_NAME
}

// Layout are the fields of struct prctl_mm_map, see PR_SET_MM(2const).
type Layout struct {
	StartCode, EndCode, StartData, EndData uint64
	StartBrk, Brk, StartStack              uint64
	ArgStart, ArgEnd, EnvStart, EnvEnd     uint64
	Auxv                                   []byte
}

// Thread is the state of one thread.
type Thread struct {
	TID        int
	Regs       linux.Regs
	Xstate     []byte // NT_X86_XSTATE
	Mask       uint64
	Rseq       linux.Rseq
	RobustHead uint64
	RobustLen  uint64
	ClearTID   uint64
	AltStack   [3]uint64 // stack_t: sp, flags, size
	Pending    []linux.Siginfo
	// Delivering is the signal in whose delivery stop the thread was captured.
	Delivering *linux.Siginfo `json:",omitempty"`
	// Call is set if the thread stands in a system call that is being executed
	// at home: Regs are as inside it, Rip behind the instruction.
	Call *Call `json:",omitempty"`
	// Deadline is when the time is over of the call that the thread is about to
	// make again, in ns of home's CLOCK_MONOTONIC; 0 if it begins anew.
	Deadline int64  `json:",omitempty"`
	Comm     []byte // its name, without the final zero
	// TimerSlack is in nanoseconds, 0 if it is not known; TSC is 2 if rdtsc
	// gives SIGSEGV (prctl(2)).
	TimerSlack uint64 `json:",omitempty"`
	TSC        uint32 `json:",omitempty"`
	// Used is the thread's processor time so far, in ns: the program's and the
	// kernel's.
	Used [2]int64
}

// Call is a forwarded system call in progress.
type Call struct {
	Seq  uint64 // its number at home
	Done uint64 // bytes moved by earlier parts of a large one
}

// Action is a signal disposition, struct kernel_sigaction.
type Action struct{ Handler, Flags, Restorer, Mask uint64 }

// Image is a body without the contents of its pages.
type Image struct {
	// Watched: the userfaultfd that watches its memory is ours.
	Watched bool `json:"-"`
	PID     int
	Threads []Thread // the leader first
	VMAs    []VMA
	Files   []File
	CPU     CPU
	Layout  Layout
	VDSO    []linux.Mapping // [vvar], [vvar_vclock], [vdso] in order of address
	// VDSOBuild is the build ID of the kernel's vDSO where the image was taken.
	VDSOBuild string
	Actions   map[int]Action // only those that are not SIG_DFL
	Limits    map[int]unix.Rlimit
	Timers    Timers
	Locks     int             // MCL_* of mlockall(2) for what will be mapped
	Huge      HugePages       `json:",omitempty"`
	Pending   []linux.Siginfo // process-directed
	Clock     int64           `json:",omitempty"` // its CLOCK_MONOTONIC when it had stopped, ns: no earlier time is to be seen
	Pages     []linux.Range   // whose contents follow, in this order
}

// HugePages says whether a process may have huge pages, see
// PR_SET_THP_DISABLE(2const). Of one that has just executed a program it is
// not known.
type HugePages int

// Values of HugePages.
const (
	HugeUnknown HugePages = iota
	HugeAllowed
	HugeDisabled
)

// PageBytes is the total length of the pages' contents.
func (im *Image) PageBytes() uint64 {
	n := uint64(0)
	for _, r := range im.Pages {
		n += r.Len()
	}
	return n
}

// MakePages validates an image that came from a peer and makes room for its
// pages. What this machine could never hold is refused: the sizes are the
// peer's word, and an allocation that fails ends a Go program.
func (im *Image) MakePages() ([]byte, error) {
	if err := im.Validate(); err != nil {
		return nil, err
	}
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err != nil {
		return nil, fmt.Errorf("size of this machine's memory: %w", err)
	}
	n, limit := im.PageBytes(), (si.Totalram+si.Totalswap)*uint64(si.Unit)
	if n > limit {
		return nil, fmt.Errorf("image of process %d has %d bytes of memory, more than this machine has (%d)", im.PID, n, limit)
	}
	return make([]byte, n), nil
}

// maxXstate bounds the extended registers of a thread; with every component
// that x86-64 has today they take 11 KiB. minXstate is the part without which
// there is none.
const minXstate, maxXstate = 576, 64 << 10

// maxKey is the last protection key of x86-64, maxVMAName the longest name of
// a mapping, ANON_VMA_NAME_MAX_LEN without its zero.
const maxKey, maxVMAName = 15, 79

// mclOnFault is MCL_ONFAULT of mlockall(2).
const mclOnFault = 4

// maxComm is the longest name of a thread, TASK_COMM_LEN without its zero.
const maxComm = 15

// Validate checks an image that came from a peer. It bounds every address and
// index; it does not say that the program makes sense.
func (im *Image) Validate() error {
	if len(im.Threads) == 0 {
		return fmt.Errorf("image of process %d has no threads", im.PID)
	}
	return im.ValidateSketch()
}

// ValidateSketch is Validate for an image that was taken of a running process:
// its threads are not described yet.
func (im *Image) ValidateSketch() error {
	if len(im.Threads) > 32768 {
		return fmt.Errorf("image of process %d has %d threads", im.PID, len(im.Threads))
	}
	if len(im.VMAs) > 1<<20 || len(im.Pages) > 1<<24 || len(im.Files) > 1<<16 || len(im.Actions) > 64 || len(im.Limits) > 64 {
		return errors.New("image is too large")
	}
	for _, t := range im.Threads {
		if len(t.Comm) > maxComm {
			return fmt.Errorf("image of process %d: thread %d has a name of %d bytes", im.PID, t.TID, len(t.Comm))
		}
		if len(t.Xstate) < minXstate || len(t.Xstate) > maxXstate {
			return fmt.Errorf("image of process %d: thread %d has %d bytes of extended registers", im.PID, t.TID, len(t.Xstate))
		}
	}
	last := uint64(0)
	for _, v := range im.VMAs {
		if v.Start < last || v.End <= v.Start || v.End > taskSize+PageSize || (v.Start|v.End)%PageSize != 0 {
			return fmt.Errorf("image of process %d: bad mapping %#x-%#x", im.PID, v.Start, v.End)
		}
		if v.Flags&^linux.VMAll != 0 || v.Flags&unmovable != 0 || v.Key < 0 || v.Key > maxKey || len(v.Name) > maxVMAName || strings.ContainsRune(v.Name, 0) {
			return fmt.Errorf("image of process %d: bad properties of mapping %#x-%#x", im.PID, v.Start, v.End)
		}
		if v.Prot&^(unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC) != 0 {
			return fmt.Errorf("image of process %d: bad protection of mapping %#x-%#x", im.PID, v.Start, v.End)
		}
		if v.File < -1 || v.File >= len(im.Files) {
			return fmt.Errorf("image of process %d: mapping of unknown file %d", im.PID, v.File)
		}
		last = v.End
	}
	last = 0
	for _, r := range im.Pages {
		if r.Start < last || r.End <= r.Start || r.End > taskSize || (r.Start|r.End)%PageSize != 0 {
			return fmt.Errorf("image of process %d: bad page range %#x-%#x", im.PID, r.Start, r.End)
		}
		last = r.End
	}
	if im.Locks&^(unix.MCL_FUTURE|mclOnFault) != 0 {
		return fmt.Errorf("image of process %d: bad locks %#x", im.PID, im.Locks)
	}
	if len(im.VDSO) > 8 || len(im.Layout.Auxv) > 4096 {
		return errors.New("image: bad vdso or auxiliary vector")
	}
	if err := im.CPU.validate(); err != nil {
		return err
	}
	return im.Timers.validate()
}
