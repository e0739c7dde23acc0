package linux

import (
	"errors"
	"structs"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ReadMemory copies from another process (process_vm_readv(2)) until p is full
// or a page cannot be read; it respects page protections. A process that is
// gone gives an error; a fault gives n < len(p) and unix.EFAULT.
func ReadMemory(pid int, addr uint64, p []byte) (int, error) {
	return vmCopy(unix.SYS_PROCESS_VM_READV, pid, addr, p)
}

// WriteMemory copies to another process (process_vm_writev(2)), with the same
// contract as ReadMemory.
func WriteMemory(pid int, addr uint64, p []byte) (int, error) {
	return vmCopy(unix.SYS_PROCESS_VM_WRITEV, pid, addr, p)
}

// remoteIovec is struct iovec of another address space.
type remoteIovec struct {
	_         structs.HostLayout
	base, len uint64
}

func vmCopy(nr uintptr, pid int, addr uint64, p []byte) (int, error) {
	done := 0
	for done < len(p) {
		local := unix.Iovec{Base: &p[done], Len: uint64(len(p) - done)}
		// process_vm moves whole iovec elements' pages; a partial copy is
		// reported as a short count at page granularity.
		remote := remoteIovec{base: addr + uint64(done), len: uint64(len(p) - done)}
		// Not a raw call: it waits where pages are still to come (userfaultfd), and
		// what fetches them may be ours.
		n, _, errno := unix.Syscall6(nr, uintptr(pid), uintptr(unsafe.Pointer(&local)), 1,
			uintptr(unsafe.Pointer(&remote)), 1, 0)
		if errno != 0 {
			return done, errno
		}
		if n == 0 {
			return done, unix.EFAULT
		}
		done += int(n)
	}
	return done, nil
}

// Range is a piece of an address space.
type Range struct{ Start, End uint64 }

// Len returns the length in bytes.
func (r Range) Len() uint64 { return r.End - r.Start }

// Without returns what of the range lies in none of the others, which are in
// order of address.
func (r Range) Without(others []Range) []Range {
	var out []Range
	for _, o := range others {
		if o.End <= r.Start || o.Start >= r.End {
			continue
		}
		if o.Start > r.Start {
			out = append(out, Range{Start: r.Start, End: o.Start})
		}
		r.Start = min(o.End, r.End)
	}
	if r.Start < r.End {
		out = append(out, r)
	}
	return out
}

const maxIovecs = 512

// CopyRanges reads (write false) or writes ranges of another process from or
// to one contiguous buffer, with as few process_vm calls as possible.
func CopyRanges(pid int, ranges []Range, buf []byte, write bool) error {
	_, err := CopyRangesPartly(pid, ranges, buf, write)
	return err
}

// CopyRangesPartly is CopyRanges that returns how many bytes were copied, in
// order, before a page that cannot be.
func CopyRangesPartly(pid int, ranges []Range, buf []byte, write bool) (int, error) {
	nr := uintptr(unix.SYS_PROCESS_VM_READV)
	if write {
		nr = unix.SYS_PROCESS_VM_WRITEV
	}
	var remote [maxIovecs]remoteIovec
	done := 0
	for len(ranges) > 0 {
		n, total := 0, uint64(0)
		for n < len(ranges) && n < maxIovecs && total < 1<<30 {
			remote[n] = remoteIovec{base: ranges[n].Start, len: ranges[n].Len()}
			total += ranges[n].Len()
			n++
		}
		if total == 0 {
			ranges = ranges[n:]
			continue
		}
		if uint64(len(buf)-done) < total {
			return done, errors.New("buffer shorter than the ranges")
		}
		local := unix.Iovec{Base: &buf[done], Len: total}
		got, _, errno := unix.Syscall6(nr, uintptr(pid), uintptr(unsafe.Pointer(&local)), 1,
			uintptr(unsafe.Pointer(&remote[0])), uintptr(n), 0)
		if errno != 0 {
			return done, errno
		}
		done += int(got)
		if uint64(got) != total {
			return done, unix.EFAULT
		}
		ranges = ranges[n:]
	}
	return done, nil
}

// FutexWait sleeps while *addr == val (futex(2), not private: the word may be
// shared with another process). It returns nil on wake-up, EAGAIN if the value
// differed and EINTR.
func FutexWait(addr *uint32, val uint32) error {
	_, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(addr)), 0, uintptr(val), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// FutexWake wakes up to n waiters of addr and returns how many there were.
func FutexWake(addr *uint32, n int) int {
	r, _, _ := unix.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(addr)), 1, uintptr(n), 0, 0, 0)
	return int(r)
}

// SharedMemory is a SysV shared memory segment (shmget(2)) attached here. It
// needs no descriptor to be attached by another process.
type SharedMemory struct {
	ID   int
	Data []byte
}

const shmNoReserve = 0o10000

// NewSharedMemory makes a private segment of size bytes, attaches it and marks
// it for removal, so that it disappears with its last user whatever happens.
// On Linux a marked segment can still be attached by its ID while one is left.
func NewSharedMemory(size int) (*SharedMemory, error) {
	id, err := unix.SysvShmGet(unix.IPC_PRIVATE, size, unix.IPC_CREAT|shmNoReserve|0o600)
	if err != nil {
		return nil, err
	}
	data, err := unix.SysvShmAttach(id, 0, 0)
	if _, rmErr := unix.SysvShmCtl(id, unix.IPC_RMID, nil); err == nil && rmErr != nil {
		err = rmErr
	}
	if err != nil {
		return nil, err
	}
	return &SharedMemory{ID: id, Data: data}, nil
}

// Close detaches the segment.
func (s *SharedMemory) Close() error { return unix.SysvShmDetach(s.Data) }

// PageRegion is one answer of PAGEMAP_SCAN, struct page_region.
type PageRegion struct {
	_          structs.HostLayout
	Start, End uint64
	Categories uint64
}

// Page categories of PAGEMAP_SCAN (admin-guide/mm/pagemap).
const (
	PageIsWPAllowed = 1 << 0
	PageIsWritten   = 1 << 1
	PageIsFile      = 1 << 2
	PageIsPresent   = 1 << 3
	PageIsSwapped   = 1 << 4
	PageIsPFNZero   = 1 << 5
	PageIsHuge      = 1 << 6
)

// pmScanArg is struct pm_scan_arg.
type pmScanArg struct {
	_                                structs.HostLayout
	size, flags, start, end, walkEnd uint64
	vec                              *PageRegion // not a number: the stack that it may lie on can move
	vecLen, maxPages                 uint64
	categoryInverted, categoryMask   uint64
	categoryAnyofMask, returnMask    uint64
}

const pagemapScan = 0xc0606610 // _IOWR('f', 16, struct pm_scan_arg)

// PageScan says which pages ScanPagesFor looks for.
type PageScan struct {
	Protect  bool   // write-protect what is found; mappings that have no asynchronous write protection are passed over
	Mask     uint64 // all of these, after those of Inverted are flipped
	Inverted uint64
	AnyOf    uint64 // at least one of these, if not 0
	Return   uint64 // regions are split by, and tell, these
}

// ScanPages lists the regions in [start,end) of the process whose
// /proc/PID/pagemap is fd, that have all bits of mask after those of inverted
// are flipped, and at least one of anyof (if not 0).
func ScanPages(fd int, start, end, mask, inverted, anyof, ret uint64, out []PageRegion) ([]PageRegion, error) {
	return ScanPagesFor(fd, Range{start, end}, PageScan{Mask: mask, Inverted: inverted, AnyOf: anyof, Return: ret}, out)
}

// ScanPagesFor is PAGEMAP_SCAN of a range, see admin-guide/mm/pagemap.
func ScanPagesFor(fd int, r Range, s PageScan, out []PageRegion) ([]PageRegion, error) {
	const wpMatching = 1 // PM_SCAN_WP_MATCHING
	var vec [256]PageRegion
	for r.Start < r.End {
		arg := pmScanArg{
			start: r.Start, end: r.End, vec: &vec[0], vecLen: uint64(len(vec)),
			categoryMask: s.Mask, categoryInverted: s.Inverted, categoryAnyofMask: s.AnyOf, returnMask: s.Return,
		}
		if s.Protect {
			arg.flags = wpMatching
		}
		arg.size = uint64(unsafe.Sizeof(arg))
		n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), pagemapScan, uintptr(unsafe.Pointer(&arg)))
		if errno != 0 {
			return out, errno
		}
		out = append(out, vec[:n]...)
		if arg.walkEnd <= r.Start {
			break
		}
		r.Start = arg.walkEnd
	}
	return out, nil
}
