package linux

import (
	"encoding/binary"
	"structs"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Flags of userfaultfd(2).
const UserfaultUserModeOnly = 1 // UFFD_USER_MODE_ONLY

// UserfaultNew is USERFAULTFD_IOC_NEW, the ioctl of /dev/userfaultfd that makes
// a userfaultfd of the calling process's memory; its argument are O_* flags.
const UserfaultNew = 0xaa00

// Features of a userfaultfd, UFFD_FEATURE_*.
const (
	UserfaultEventFork    = 1 << 1
	UserfaultEventRemap   = 1 << 2
	UserfaultEventRemove  = 1 << 3
	UserfaultEventUnmap   = 1 << 6
	UserfaultThreadID     = 1 << 8
	UserfaultExactAddress = 1 << 11
	UserfaultWPAsync      = 1 << 15
	userfaultAPI          = 0xaa
	uffdioAPI             = 0xc018aa3f
	uffdioRegister        = 0xc020aa00
	uffdioUnregister      = 0x8010aa01
	uffdioWake            = 0x8010aa02
	uffdioCopy            = 0xc028aa03
	uffdioZeropage        = 0xc020aa04
)

// Modes of UserfaultRegister, UFFDIO_REGISTER_MODE_*.
const (
	UserfaultMissing      = 1 << 0
	UserfaultWriteProtect = 1 << 1
)

// Userfault events, UFFD_EVENT_*.
const (
	UserfaultPagefault = 0x12
	UserfaultFork      = 0x13
	UserfaultRemap     = 0x14
	UserfaultRemove    = 0x15
	UserfaultUnmap     = 0x16
)

// UserfaultMsgSize is sizeof(struct uffd_msg).
const UserfaultMsgSize = 32

// UserfaultMsg is a decoded struct uffd_msg, see userfaultfd(2).
type UserfaultMsg struct {
	Event   byte
	Address uint64 // pagefault
	FD      int    // fork: the child's userfaultfd, in our table
	From    uint64 // remap
	To      uint64 // remap
	Len     uint64 // remap
	Start   uint64 // remove, unmap
	End     uint64 // remove, unmap
}

// ParseUserfaultMsg decodes the UserfaultMsgSize bytes of b.
func ParseUserfaultMsg(b []byte) UserfaultMsg {
	le := binary.LittleEndian
	m := UserfaultMsg{Event: b[0]}
	switch m.Event {
	case UserfaultPagefault:
		m.Address = le.Uint64(b[16:])
	case UserfaultFork:
		m.FD = int(le.Uint32(b[8:]))
	case UserfaultRemap:
		m.From, m.To, m.Len = le.Uint64(b[8:]), le.Uint64(b[16:]), le.Uint64(b[24:])
	case UserfaultRemove, UserfaultUnmap:
		m.Start, m.End = le.Uint64(b[8:]), le.Uint64(b[16:])
	}
	return m
}

type uffdioAPIArg struct {
	_                     structs.HostLayout
	api, features, ioctls uint64
}

type uffdioRange struct {
	_          structs.HostLayout
	start, len uint64
}

type uffdioRegisterArg struct {
	_            structs.HostLayout
	r            uffdioRange
	mode, ioctls uint64
}

type uffdioCopyArg struct {
	_         structs.HostLayout
	dst       uint64
	src       *byte // not a number: the stack that it may point to can move
	len, mode uint64
	copied    int64
}

type uffdioZeropageArg struct {
	_    structs.HostLayout
	r    uffdioRange
	mode uint64
	zero int64
}

func uffdIoctl(fd int, req uintptr, arg unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), req, uintptr(arg))
	if errno != 0 {
		return errno
	}
	return nil
}

// NewUserfault makes a userfaultfd of this process's own memory, userfaultfd(2).
func NewUserfault(flags int) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, uintptr(flags), 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// UserfaultHandshake asks for features (UFFDIO_API) and returns all that the
// kernel has. It can be done once on a descriptor; with features that the
// kernel lacks it fails with EINVAL.
func UserfaultHandshake(fd int, features uint64) (uint64, error) {
	arg := uffdioAPIArg{api: userfaultAPI, features: features}
	err := uffdIoctl(fd, uffdioAPI, unsafe.Pointer(&arg))
	return arg.features, err
}

// UserfaultRegister registers a range with a mode.
func UserfaultRegister(fd int, r Range, mode uint64) error {
	arg := uffdioRegisterArg{r: uffdioRange{start: r.Start, len: r.Len()}, mode: mode}
	return uffdIoctl(fd, uffdioRegister, unsafe.Pointer(&arg))
}

// UserfaultUnregister ends the registration of a range.
func UserfaultUnregister(fd int, r Range) error {
	arg := uffdioRange{start: r.Start, len: r.Len()}
	return uffdIoctl(fd, uffdioUnregister, unsafe.Pointer(&arg))
}

// UserfaultWake lets threads go on that wait for a page of the range.
func UserfaultWake(fd int, r Range) error {
	arg := uffdioRange{start: r.Start, len: r.Len()}
	return uffdIoctl(fd, uffdioWake, unsafe.Pointer(&arg))
}

// UserfaultCopy puts whole pages at dst where none are, and wakes who waits for
// them (UFFDIO_COPY). It returns how many bytes are there. EEXIST: a page is
// there already; EAGAIN: the process changes its mappings, its event is to be
// read first; ENOENT: nothing registered is mapped there; ESRCH: the process is gone.
func UserfaultCopy(fd int, dst uint64, p []byte) (int, error) {
	done := 0
	for done < len(p) {
		arg := uffdioCopyArg{dst: dst + uint64(done), src: &p[done], len: uint64(len(p) - done)}
		err := uffdIoctl(fd, uffdioCopy, unsafe.Pointer(&arg))
		if arg.copied > 0 {
			done += int(arg.copied)
			continue // a short copy comes with EAGAIN, whatever ended it
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// UserfaultZeropage maps zero pages where none are (UFFDIO_ZEROPAGE), with the
// same errors as UserfaultCopy.
func UserfaultZeropage(fd int, r Range) error {
	for r.Start < r.End {
		arg := uffdioZeropageArg{r: uffdioRange{start: r.Start, len: r.Len()}}
		err := uffdIoctl(fd, uffdioZeropage, unsafe.Pointer(&arg))
		if arg.zero > 0 {
			r.Start += uint64(arg.zero)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// MadvCollapse is MADV_COLLAPSE: make huge pages of the range now.
const MadvCollapse = 25

// ProcessMadvise advises about memory of another process, process_madvise(2).
func ProcessMadvise(pidfd int, r Range, advice int) error {
	iov := remoteIovec{base: r.Start, len: r.Len()}
	_, _, errno := unix.Syscall6(unix.SYS_PROCESS_MADVISE, uintptr(pidfd), uintptr(unsafe.Pointer(&iov)), 1, uintptr(advice), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
