package transfer

import (
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/internal/tracer"
)

// errUserOnly: futexes, robust lists, signal frames and the like make the kernel
// touch a process's memory, where such a userfaultfd gives an error.
var errUserOnly = &UnsupportedError{
	What: "post-copy",
	Need: "a userfaultfd that serves the kernel's accesses, too: run the node as root, or set vm.unprivileged_userfaultfd=1, or let its user read /dev/userfaultfd",
}

func closeFD(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd) // nothing is buffered
	}
}

// Support is what transfers can do on this machine, with our rights.
type Support struct {
	Scan  error // nil: PAGEMAP_SCAN, without which nothing can be moved
	Track error // nil: pre-copy
	Fault error // nil: post-copy; for guests, in their user namespace, see FaultDevice
	// FaultDevice: /dev/userfaultfd can be opened, and lent to a process that may
	// not make a userfaultfd of its own accord.
	FaultDevice bool
	Forks       bool // processes may fork while pages are missing
}

// Probe tries what this machine allows.
var Probe = sync.OnceValue(func() Support {
	var s Support
	s.Scan = probeScan()
	s.Track = probeTrack()
	fd, err := linux.NewUserfault(unix.O_CLOEXEC | unix.O_NONBLOCK)
	if dev, derr := OpenDevice(); derr == nil {
		s.FaultDevice = true
		if err != nil {
			fd, err = unix.IoctlRetInt(dev, linux.UserfaultNew) // flags 0
		}
		closeFD(dev)
	}
	if err != nil {
		fd = -1
		s.Fault = errUserOnly
		if errors.Is(err, unix.ENOSYS) {
			s.Fault = &UnsupportedError{What: "post-copy", Need: "a kernel with userfaultfd (CONFIG_USERFAULTFD)", Err: err}
		}
		return s
	}
	s.Forks, s.Fault = missingFeatures(fd)
	closeFD(fd)
	return s
})

// OpenDevice opens /dev/userfaultfd.
func OpenDevice() (int, error) {
	return unix.Open("/dev/userfaultfd", unix.O_RDWR|unix.O_CLOEXEC, 0)
}

func probeScan() error {
	pm, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return err
	}
	defer pm.Close()
	if _, err := linux.ScanPages(int(pm.Fd()), pageSize, 2*pageSize, 0, 0, linux.PageIsPresent, 0, nil); err != nil {
		return &UnsupportedError{What: "moving memory", Need: "PAGEMAP_SCAN (Linux 6.7)", Err: err}
	}
	return nil
}

func probeTrack() error {
	fd, err := linux.NewUserfault(unix.O_CLOEXEC | unix.O_NONBLOCK | linux.UserfaultUserModeOnly)
	if err != nil {
		return &UnsupportedError{What: "pre-copy", Need: "userfaultfd (CONFIG_USERFAULTFD)", Err: err}
	}
	defer closeFD(fd)
	return handshakeTrack(fd)
}

func handshakeTrack(fd int) error {
	if _, err := linux.UserfaultHandshake(fd, linux.UserfaultWPAsync); err != nil {
		return &UnsupportedError{What: "pre-copy", Need: "asynchronous write protection by userfaultfd (Linux 6.7, x86-64)", Err: err}
	}
	return nil
}

// UserfaultCall is the call by which a process makes a userfaultfd of its
// memory, to be injected into it; its result is a descriptor, to be taken by
// pidfd_getfd(2) and closed in the process. For tracking, userOnly needs no
// right. dev is the number of a descriptor of /dev/userfaultfd that the process
// has, or -1; the rights are those with which it was opened.
func UserfaultCall(userOnly bool, dev int) tracer.Call {
	const flags = unix.O_CLOEXEC | unix.O_NONBLOCK
	switch {
	case userOnly:
		return tracer.C(unix.SYS_USERFAULTFD, flags|linux.UserfaultUserModeOnly)
	case dev >= 0:
		return tracer.C(unix.SYS_IOCTL, uint64(dev), linux.UserfaultNew, flags)
	}
	return tracer.C(unix.SYS_USERFAULTFD, flags)
}
