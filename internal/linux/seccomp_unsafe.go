package linux

import (
	"structs"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Seccomp notification interface, see seccomp(2) and seccomp_unotify(2).
const (
	notifRecv     = 0xc0502100 // _IOWR('!', 0, struct seccomp_notif)
	notifSend     = 0xc0182101
	notifAddFD    = 0x40182103
	notifSetFlags = 0x40082104

	syncWakeUp = 1

	// NotifContinue lets the kernel execute the call itself
	// (SECCOMP_USER_NOTIF_FLAG_CONTINUE).
	NotifContinue = 1

	// FilterNewListener and FilterWaitKillable are flags of
	// SECCOMP_SET_MODE_FILTER.
	FilterNewListener  = 1 << 3
	FilterWaitKillable = 1 << 5

	addFDSetFD = 1
)

// Notif is a trapped call, struct seccomp_notif.
type Notif struct {
	_     structs.HostLayout
	ID    uint64
	PID   uint32 // thread number in the listener's pid namespace
	Flags uint32
	NR    int32
	Arch  uint32
	IP    uint64
	Args  [6]uint64
}

// NotifResp answers a Notif, struct seccomp_notif_resp.
type NotifResp struct {
	_     structs.HostLayout
	ID    uint64
	Val   int64
	Error int32 // negative errno, or 0
	Flags uint32
}

// notifAddFDArg is struct seccomp_notif_addfd.
type notifAddFDArg struct {
	_                           structs.HostLayout
	id                          uint64
	flags, srcFD, newFD, fdFlag uint32
}

func ioctl(fd int, req uintptr, arg unsafe.Pointer) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), req, uintptr(arg))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// NotifReceive takes the next trapped call. ENOENT means that the call was
// interrupted meanwhile: look again.
func NotifReceive(fd int, n *Notif) error {
	*n = Notif{}
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), notifRecv, uintptr(unsafe.Pointer(n)))
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return errno
		}
		return nil
	}
}

// NotifSend answers a trapped call. ENOENT: the thread is no longer waiting.
func NotifSend(fd int, r *NotifResp) error {
	_, err := ioctl(fd, notifSend, unsafe.Pointer(r))
	return err
}

// NotifAddFD installs our descriptor src as number dst in the waiting thread.
func NotifAddFD(fd int, id uint64, src, dst int) error {
	a := notifAddFDArg{id: id, flags: addFDSetFD, srcFD: uint32(src), newFD: uint32(dst), fdFlag: unix.O_CLOEXEC}
	_, err := ioctl(fd, notifAddFD, unsafe.Pointer(&a))
	return err
}

// NotifSyncWakeUp sets SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (Linux 6.6): the
// answer runs on the processor of the asker, which saves a cross-CPU wake-up.
func NotifSyncWakeUp(fd int) error {
	_, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), notifSetFlags, syncWakeUp)
	if errno != 0 {
		return errno
	}
	return nil
}

// Poll waits until one of fds is ready (poll(2)), with EINTR handled.
func Poll(fds []unix.PollFd, timeoutMS int) (int, error) {
	for {
		n, err := unix.Poll(fds, timeoutMS)
		if err != unix.EINTR {
			return n, err
		}
	}
}
